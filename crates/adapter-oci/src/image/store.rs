//! Unpacked images: one root folder per manifest digest, complete or not there.
//!
//! A root is written beside its place, flushed and renamed: a kill at any moment leaves either nothing or a whole root
//! (and a folder that the next start removes). Containers share a root read-only, so it is never changed, except that
//! folders to mount on are made in it, which is idempotent.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use api::{Error, ErrorKind};

use super::layout::{Image, hex_of};
use super::root::{Root, relative};
use super::unpack;

/// How many roots that no container uses are kept for the next one.
const UNUSED_MAX: usize = 16;

/// The beginning of the name of a root that is being written.
const UNFINISHED: &str = ".unfinished-";

/// The roots of a host.
#[derive(Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    /// Two containers of one image must not both unpack it.
    unpacking: Mutex<()>,
}

impl Store {
    /// Opens the store in a folder and removes what a crash left half written.
    pub(crate) fn open(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(Self {
            folder,
            unpacking: Mutex::new(()),
        })
    }

    /// The root of an image; if it is not there, the image is found and unpacked.
    pub(crate) fn ensure(
        &self,
        digest: &str,
        find: impl FnOnce() -> Result<Image, Error>,
    ) -> Result<PathBuf, Error> {
        let hex = hex_of(digest)?;
        let _only = self
            .unpacking
            .lock()
            .unwrap_or_else(|held| held.into_inner());
        let place = self.folder.join(hex);
        if !place.exists() {
            self.unpack(
                &find()?,
                &self.folder.join(format!("{UNFINISHED}{hex}")),
                &place,
            )?;
        }
        Ok(place)
    }

    fn unpack(&self, image: &Image, fresh: &Path, place: &Path) -> Result<(), Error> {
        let fail = |error: io::Error| {
            Error::caused(
                ErrorKind::Unavailable,
                format!("cannot unpack image {}", image.digest),
                error,
            )
        };
        if fresh.exists() {
            fs::remove_dir_all(fresh).map_err(fail)?;
        }
        fs::create_dir(fresh).map_err(fail)?;
        let root = Root::open(fresh).map_err(fail)?;
        for layer in &image.layers {
            unpack::hide(image.layer(layer)?, &root)?;
            unpack::apply(image.layer(layer)?, &root)?;
        }
        let flush = fs::File::open(fresh).and_then(|folder| Ok(rustix::fs::syncfs(folder)?));
        flush
            .and_then(|()| fs::rename(fresh, place))
            .and_then(|()| fs::File::open(&self.folder)?.sync_all())
            .map_err(fail)
    }

    /// Removes the oldest roots that none of `used` (digests) needs, but for the latest few.
    pub(crate) fn forget_unused(&self, used: &[String]) -> io::Result<()> {
        let _only = self
            .unpacking
            .lock()
            .unwrap_or_else(|held| held.into_inner());
        let mut unused = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let digest = format!("sha256:{}", entry.file_name().to_string_lossy());
            if !used.contains(&digest) {
                unused.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        unused.sort();
        let excess = unused.len().saturating_sub(UNUSED_MAX);
        unused
            .iter()
            .take(excess)
            .try_for_each(|(_, path)| fs::remove_dir_all(path))
    }
}

/// Makes the folders that a container mounts on; a runtime would make them itself, in the shared root and at any moment.
pub(crate) fn make_targets<'a>(
    root: &Root,
    targets: impl IntoIterator<Item = &'a Path>,
) -> Result<(), Error> {
    for target in targets {
        let clean = relative(target).ok_or_else(|| {
            Error::new(
                ErrorKind::Invalid,
                format!("path {} must not contain `..`", target.display()),
            )
        })?;
        root.make_folder(&clean).map_err(|error| {
            Error::caused(
                ErrorKind::Invalid,
                format!("cannot mount on {} of the image", target.display()),
                error,
            )
        })?;
    }
    Ok(())
}
