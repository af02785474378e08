//! A folder that is the root of somebody else's file system: every path is resolved inside it.
//!
//! Images are written by others. Their symbolic links may lead anywhere, so no path of theirs is ever given to the host's
//! own resolution: `openat2(2)` with `RESOLVE_IN_ROOT` treats the folder as `/`, for absolute links and `..` too.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, mkdirat, openat2, statat, unlinkat,
};
use rustix::io::Errno;

/// The largest file that is read as a whole (`/etc/passwd`).
const FILE_BYTES_MAX: u64 = 1 << 20;

/// An open root.
#[derive(Debug)]
pub(crate) struct Root(OwnedFd);

impl Root {
    /// Opens the folder at `path` of the host.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(File::open(path)?.into()))
    }

    /// Opens a folder inside; links are followed inside.
    pub(crate) fn folder(&self, path: &Path) -> io::Result<OwnedFd> {
        self.open_inside(path, OFlags::PATH | OFlags::DIRECTORY)
    }

    /// Opens a folder inside, after making it and those above it.
    pub(crate) fn make_folder(&self, path: &Path) -> io::Result<OwnedFd> {
        let mut reached = PathBuf::from(".");
        for name in path.components() {
            let parent = reached.clone();
            reached.push(name);
            match self.folder(&reached) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    mkdirat(self.folder(&parent)?, name.as_os_str(), Mode::from(0o755))?;
                }
                other => drop(other?),
            }
        }
        self.folder(&reached)
    }

    /// Where a path inside really leads, links followed; `None` if there is nothing.
    pub(crate) fn real(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        let file = match self.open_inside(path, OFlags::PATH) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) || error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) =>
            {
                return Ok(None);
            }
            other => other?,
        };
        let own = |file: &OwnedFd| fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let (root, real) = (own(&self.0)?, own(&file)?);
        let inside = real.strip_prefix(root).map_err(io::Error::other)?;
        Ok(Some(Path::new("/").join(inside)))
    }

    /// Reads a small file inside; `None` if there is none.
    pub(crate) fn read(&self, path: &Path) -> io::Result<Option<String>> {
        let file = match self.open_inside(path, OFlags::RDONLY | OFlags::NONBLOCK) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => File::from(other?),
        };
        let mut text = String::new();
        file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
        Ok(Some(text))
    }

    fn open_inside(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        Ok(openat2(
            &self.0,
            path,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        )?)
    }
}

/// The parts of a path of an image, relative to its root; `None` if one of them is `..`.
pub(crate) fn relative(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(clean)
}

/// What lies under a name in an open folder, not following a link.
pub(crate) fn kind_of(folder: impl AsFd, name: &OsStr) -> io::Result<Option<FileType>> {
    match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Removes whatever lies under a name in an open folder, a folder with all that is in it; links are not followed.
pub(crate) fn remove(folder: impl AsFd, name: &OsStr) -> io::Result<()> {
    match kind_of(folder.as_fd(), name)? {
        None => Ok(()),
        Some(FileType::Directory) => fs::remove_dir_all(path_of(folder.as_fd()).join(name)),
        Some(_) => Ok(unlinkat(folder, name, AtFlags::empty())?),
    }
}

/// The names in an open folder.
pub(crate) fn names(folder: impl AsFd) -> io::Result<Vec<OsString>> {
    let entries = fs::read_dir(path_of(folder))?;
    entries.map(|entry| Ok(entry?.file_name())).collect()
}

/// A path that leads to an open folder wherever it lies.
fn path_of(folder: impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", folder.as_fd().as_raw_fd()))
}
