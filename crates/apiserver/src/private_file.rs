//! Files of the state folder that appear whole or not at all, readable by their owner only unless said otherwise.
//!
//! Content is written to a file beside the final one, synced, and then renamed or linked; a process that is killed in
//! between leaves the old state and one `.new` file that the next writer replaces. It knows nothing of the content.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Mode of files that hold keys.
pub(crate) const PRIVATE: u32 = 0o600;
/// Mode of files that anyone may read.
pub(crate) const PUBLIC: u32 = 0o644;
/// Mode of the state folder.
const FOLDER: u32 = 0o700;

/// Makes the folder and those above it, if they are not there.
pub(crate) fn folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(FOLDER)
        .create(path)
}

/// Writes the file, or replaces it in one step; one that says the same stays, so that it needs no room.
pub(crate) fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let has_mode = |there: fs::Metadata| there.permissions().mode() & 0o777 == mode;
    let is_there = fs::metadata(path).is_ok_and(has_mode);
    if is_there && fs::read(path).is_ok_and(|there| there == content) {
        return Ok(());
    }
    let unfinished = write_beside(path, content, mode)?;
    fs::rename(unfinished, path)?;
    sync_folder_of(path)
}

/// Writes the file unless it is there; tells whether it was written. Of two processes at once, one wins.
pub(crate) fn create(path: &Path, content: &[u8], mode: u32) -> io::Result<bool> {
    // One that is there needs no room.
    if path.exists() {
        return Ok(false);
    }
    let unfinished = write_beside(path, content, mode)?;
    let created = match fs::hard_link(&unfinished, path) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        Err(error) => return Err(error),
    };
    fs::remove_file(unfinished)?;
    sync_folder_of(path)?;
    Ok(created)
}

/// The content, or `None` when there is no such file.
pub(crate) fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write_beside(path: &Path, content: &[u8], mode: u32) -> io::Result<PathBuf> {
    let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
    name.push(".new");
    let unfinished = path.with_file_name(name);
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&unfinished)?;
    file.write_all(content)?;
    file.sync_all()?;
    Ok(unfinished)
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}
