//! The words of the specs that were asked for, in a file: the kernel has routes, but no names of chains and instances.
//!
//! The file is replaced whole before anything is programmed. It is as short-lived as the kernel's own state: a folder that
//! a reboot empties is the right place. If it is lost, what is programmed counts as left over and is programmed again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use api::tcm::HostDatapathSpec;
use api::{Error, ErrorKind};

/// The file's name in the router's folder.
const FILE: &str = "datapath.json";

/// What was asked for and may still be programmed.
#[derive(Debug)]
pub(crate) struct Memory {
    folder: PathBuf,
    /// What the file says.
    known: Option<HostDatapathSpec>,
    /// The spec that this process was last asked for, and wrote down.
    learned: Option<HostDatapathSpec>,
    /// Whether something was forgotten since then.
    forgot: bool,
}

impl Memory {
    /// Reads the file of the folder; one that is missing or cut off by a crash of the machine says nothing.
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        fs::create_dir_all(folder).map_err(|error| failed("make folder", folder, error))?;
        let path = folder.join(FILE);
        let known = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed("read", &path, error)),
        };
        Ok(Self {
            folder: folder.to_owned(),
            known,
            learned: None,
            forgot: false,
        })
    }

    /// What is known; nothing before the first spec.
    pub(crate) fn known(&self) -> Option<&HostDatapathSpec> {
        self.known.as_ref()
    }

    /// Whether `wanted` was the last spec that was learned.
    pub(crate) fn has_learned(&self, wanted: &HostDatapathSpec) -> bool {
        self.learned.as_ref() == Some(wanted)
    }

    /// Whether all of `wanted` is still known: what was removed may be wanted again by the same spec.
    pub(crate) fn knows_all(&self, wanted: &HostDatapathSpec) -> bool {
        self.has_learned(wanted) && !self.forgot
    }

    /// Writes down what is known now that `wanted` is asked for.
    pub(crate) fn learn(
        &mut self,
        wanted: HostDatapathSpec,
        known: HostDatapathSpec,
    ) -> Result<(), Error> {
        self.write(known)?;
        (self.learned, self.forgot) = (Some(wanted), false);
        Ok(())
    }

    /// Writes down what is known after something was removed.
    pub(crate) fn forget(&mut self, rest: HostDatapathSpec) -> Result<(), Error> {
        self.forgot = true;
        self.write(rest)
    }

    fn write(&mut self, known: HostDatapathSpec) -> Result<(), Error> {
        let (path, next) = (
            self.folder.join(FILE),
            self.folder.join("datapath.json.next"),
        );
        let text = serde_json::to_vec(&known).map_err(|error| {
            Error::caused(ErrorKind::Internal, "cannot write down a datapath", error)
        })?;
        fs::write(&next, text).map_err(|error| failed("write", &next, error))?;
        fs::rename(&next, &path).map_err(|error| failed("replace", &path, error))?;
        self.known = Some(known);
        Ok(())
    }
}

fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    let what = format!("cannot {what} {}", path.display());
    Error::caused(ErrorKind::Unavailable, what, error)
}
