//! One layer of an image into a root, as the OCI Image Layer Specification says, and no byte outside of it.
//!
//! A path with `..`, a whiteout of nothing nameable and a hard link to what is not there are refused; links that lead out
//! of the root lead back into it. Device nodes and pipes are left out (a container gets its own), and so are the set-uid
//! bits and extended attributes, which mean nothing without new privileges.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use api::{Error, ErrorKind};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, chownat, fchmod, fchown,
    futimens, linkat, mkdirat, openat, symlinkat,
};
use tar::{Archive, Entry, EntryType};

use super::root::{Root, kind_of, names, relative, remove};

/// The most entries of a layer.
const ENTRIES_MAX: usize = 1_000_000;

/// The most bytes of all files of a layer.
const BYTES_MAX: u64 = 16 << 30;

/// The most bytes of an entry's headers: long names and extended attributes.
const HEADER_BYTES_MAX: u64 = 1 << 20;

/// The mark of a file that a layer removes.
const WHITEOUT: &[u8] = b".wh.";

/// The name that says: nothing of the lower layers is left in this folder.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// The mode bits that are kept: permissions and the sticky bit.
const MODE_BITS: u32 = 0o1777;

/// Removes what a layer hides of those below it. Comes before [`apply`], so that a layer cannot hide its own files.
pub(super) fn hide(layer: impl Read, root: &Root) -> Result<(), Error> {
    each(layer, |_, place| {
        let Some((folder, name)) = place.split() else {
            return Ok(());
        };
        match Hidden::of(name, place)? {
            Some(hidden) => hidden
                .remove(root, folder)
                .map_err(|error| place.fail("hide", error)),
            None => Ok(()),
        }
    })
}

/// Writes what a layer adds.
pub(super) fn apply(layer: impl Read, root: &Root) -> Result<(), Error> {
    each(layer, |entry, place| add(entry, place, root))
}

/// Visits the entries of a layer, as long as it keeps its limits.
fn each<R: Read>(
    layer: R,
    mut visit: impl FnMut(&mut Entry<'_, Limited<R>>, &Place) -> Result<(), Error>,
) -> Result<(), Error> {
    let budget = Rc::new(Cell::new(HEADER_BYTES_MAX));
    let mut archive = Archive::new(Limited {
        layer,
        budget: budget.clone(),
    });
    let mut entries = archive.entries().map_err(broken)?;
    let mut left = BYTES_MAX;
    for number in 0.. {
        budget.set(HEADER_BYTES_MAX);
        let Some(entry) = entries.next() else { break };
        let mut entry = entry.map_err(broken)?;
        let size = entry.size();
        left = left
            .checked_sub(size)
            .filter(|_| number < ENTRIES_MAX)
            .ok_or_else(|| {
                refuse(format!(
                    "a layer has more than {ENTRIES_MAX} entries or {BYTES_MAX} bytes"
                ))
            })?;
        budget.set(size.saturating_add(HEADER_BYTES_MAX));
        let place = Place::of(&entry)?;
        visit(&mut entry, &place)?;
        // What is left of it would count as the header of the next one.
        io::copy(&mut entry, &mut io::sink()).map_err(broken)?;
    }
    Ok(())
}

/// A layer of which only so much can be read: long names and extended headers are kept in memory as a whole, and a small
/// compressed file can hold huge ones.
struct Limited<R> {
    layer: R,
    budget: Rc<Cell<u64>>,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.layer.read(buffer)?;
        let left = self.budget.get().checked_sub(count as u64);
        self.budget.set(left.ok_or_else(|| {
            io::Error::other(format!(
                "the headers of an entry have more than {HEADER_BYTES_MAX} bytes"
            ))
        })?);
        Ok(count)
    }
}

/// Where an entry belongs, relative to the root.
struct Place(PathBuf);

impl Place {
    fn of<R: Read>(entry: &Entry<'_, R>) -> Result<Self, Error> {
        let path = entry.path().map_err(broken)?;
        let clean = relative(&path)
            .ok_or_else(|| refuse(format!("layer entry {} leaves the image", path.display())))?;
        Ok(Self(clean))
    }

    /// Its folder and its name; `None` for the root itself.
    fn split(&self) -> Option<(&Path, &OsStr)> {
        Some((self.0.parent()?, self.0.file_name()?))
    }

    fn fail(&self, what: &str, error: impl Into<io::Error>) -> Error {
        Error::caused(
            ErrorKind::Invalid,
            format!("cannot {what} {} of a layer", self.0.display()),
            error.into(),
        )
    }
}

/// What a whiteout hides in its folder.
enum Hidden {
    All,
    One(OsString),
}

impl Hidden {
    fn of(name: &OsStr, place: &Place) -> Result<Option<Self>, Error> {
        if name.as_bytes() == OPAQUE {
            return Ok(Some(Self::All));
        }
        match name.as_bytes().strip_prefix(WHITEOUT) {
            None => Ok(None),
            Some(b"" | b"." | b"..") => Err(refuse(format!(
                "whiteout {} names no file",
                place.0.display()
            ))),
            Some(hidden) => Ok(Some(Self::One(OsStr::from_bytes(hidden).to_owned()))),
        }
    }

    fn remove(&self, root: &Root, folder: &Path) -> io::Result<()> {
        let folder = match root.folder(&Path::new(".").join(folder)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        match self {
            Self::One(name) => remove(&folder, name),
            Self::All => names(&folder)?
                .iter()
                .try_for_each(|name| remove(&folder, name)),
        }
    }
}

fn add<R: Read>(entry: &mut Entry<'_, R>, place: &Place, root: &Root) -> Result<(), Error> {
    let Some((folder, name)) = place.split() else {
        return Ok(());
    };
    if name.as_bytes().starts_with(WHITEOUT) {
        return Ok(());
    }
    let fail = |error: io::Error| place.fail("unpack", error);
    let parent = root.make_folder(folder).map_err(fail)?;
    match entry.header().entry_type() {
        EntryType::Directory => add_folder(entry, &parent, name).map_err(fail),
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            add_file(entry, &parent, name).map_err(fail)
        }
        EntryType::Symlink => add_symlink(entry, &parent, name).map_err(fail),
        EntryType::Link => add_link(entry, root, &parent, name, place),
        _ => Ok(()),
    }
}

fn add_folder<R: Read>(entry: &Entry<'_, R>, parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    if kind_of(parent, name)? != Some(FileType::Directory) {
        remove(parent, name)?;
        mkdirat(parent, name, Mode::from(0o755))?;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    own(entry, &openat(parent, name, flags, Mode::empty())?)
}

fn add_file<R: Read>(entry: &mut Entry<'_, R>, parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    remove(parent, name)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(openat(parent, name, flags, Mode::from(0o600))?);
    io::copy(entry, &mut file)?;
    own(entry, &file.into())
}

fn add_symlink<R: Read>(entry: &Entry<'_, R>, parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let target = entry.link_name()?.ok_or(io::ErrorKind::InvalidData)?;
    remove(parent, name)?;
    symlinkat(target.as_ref(), parent, name)?;
    let (user, group) = owner(entry)?;
    chownat(
        parent,
        name,
        Some(user),
        Some(group),
        AtFlags::SYMLINK_NOFOLLOW,
    )?;
    Ok(())
}

fn add_link<R: Read>(
    entry: &Entry<'_, R>,
    root: &Root,
    parent: &OwnedFd,
    name: &OsStr,
    place: &Place,
) -> Result<(), Error> {
    let target = entry.link_name().map_err(broken)?.unwrap_or_default();
    let clean = relative(&target).map(Place).ok_or_else(|| {
        refuse(format!(
            "hard link {} to {} leaves the image",
            place.0.display(),
            target.display()
        ))
    })?;
    let (folder, file) = clean
        .split()
        .ok_or_else(|| refuse(format!("hard link {} has no target", place.0.display())))?;
    let fail = |error: io::Error| place.fail("link", error);
    let folder = root.folder(&Path::new(".").join(folder)).map_err(fail)?;
    if clean.0 == place.0 {
        return Ok(());
    }
    remove(parent, name).map_err(fail)?;
    linkat(&folder, file, parent, name, AtFlags::empty()).map_err(|errno| fail(errno.into()))
}

/// Gives an open file the owner, mode and time of its entry.
fn own<R: Read>(entry: &Entry<'_, R>, file: &OwnedFd) -> io::Result<()> {
    let (user, group) = owner(entry)?;
    fchown(file, Some(user), Some(group))?;
    fchmod(file, Mode::from(entry.header().mode()? & MODE_BITS))?;
    let time = Timespec {
        tv_sec: i64::try_from(entry.header().mtime()?).unwrap_or(0),
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    Ok(futimens(file, &times)?)
}

fn owner<R: Read>(entry: &Entry<'_, R>) -> io::Result<(Uid, Gid)> {
    let number = |id: u64| u32::try_from(id).map_err(io::Error::other);
    let user = Uid::from_raw(number(entry.header().uid()?)?);
    Ok((user, Gid::from_raw(number(entry.header().gid()?)?)))
}

fn broken(error: io::Error) -> Error {
    Error::caused(ErrorKind::Invalid, "cannot read a layer", error)
}

fn refuse(what: String) -> Error {
    Error::new(ErrorKind::Invalid, what)
}

#[cfg(test)]
mod tests;
