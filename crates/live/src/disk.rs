//! Disks that can be made full, read-only or faulty: file systems of their own, mounted for one test.
//!
//! They are unmounted with their handle. Nothing here is needed of the kernel but tmpfs, ext4 and loop devices.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::Skip;

const MIB: u64 = 1024 * 1024;
/// The file that takes the room.
const BALLAST: &str = "ballast";

/// A file system. It goes with its handle.
pub struct Disk {
    /// Under the folder in which it is mounted.
    device: Option<String>,
    folder: TempDir,
    /// What its blocks are in.
    below: Option<Box<Disk>>,
}

impl Disk {
    /// One in memory.
    ///
    /// # Errors
    /// Why this machine cannot mount it.
    pub fn in_memory(mib: u64) -> Result<Self, Skip> {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let options = format!("mode=0700,size={mib}m");
        run(
            "mount",
            &["-t", "tmpfs", "-o", &options, "tmpfs"],
            folder.path(),
        )?;
        Ok(Self {
            device: None,
            folder,
            below: None,
        })
    }

    /// An ext4 of so many MiB on a disk in memory that has that much less: some of its blocks cannot be written.
    ///
    /// # Errors
    /// Why this machine cannot make or mount it.
    pub fn ext4(mib: u64, less: u64) -> Result<Self, Skip> {
        let below = Self::in_memory(mib - less)?;
        let image = below.path().join("image");
        let file = File::create(&image).expect("it can be made");
        file.set_len(mib * MIB).expect("it is as long as it likes");
        // What the file system itself needs has its blocks from the beginning, and no journal ends all of it.
        let options = "lazy_itable_init=0,nodiscard";
        run(
            "mkfs.ext4",
            &["-q", "-O", "^has_journal", "-E", options],
            &image,
        )?;
        let device = run("losetup", &["--find", "--show"], &image)?;
        let disk = Self {
            device: Some(device.trim().to_owned()),
            folder: tempfile::tempdir().expect("a folder can be made"),
            below: Some(Box::new(below)),
        };
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// What its blocks are in.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn below(&self) -> &Self {
        self.below.as_ref().expect("it is on another")
    }

    /// Fills it up.
    pub fn fill(&self) {
        let file = File::create(self.ballast()).expect("a file can be made");
        let mut length = 0;
        for chunk in [MIB, 4096] {
            let zeros = vec![0; usize::try_from(chunk).expect("it fits")];
            loop {
                match file.write_all_at(&zeros, length) {
                    Ok(()) => length += chunk,
                    Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    /// Makes room again.
    pub fn empty(&self) {
        fs::remove_file(self.ballast()).expect("it was filled");
    }

    /// Lets the file system find that it is damaged: it is read-only until it is mounted again.
    ///
    /// # Errors
    /// Why this machine cannot.
    ///
    /// # Panics
    /// When it is no ext4.
    pub fn damage(&self) -> Result<(), Skip> {
        let device = self.device.as_deref().expect("it is an ext4");
        let name = Path::new(device).file_name().unwrap_or_default();
        let trigger = Path::new("/sys/fs/ext4")
            .join(name)
            .join("trigger_fs_error");
        let unable = |error| Skip::because(format!("{}: {error}", trigger.display()));
        fs::write(&trigger, "1").map_err(unable)
    }

    /// Mounts it anew; nobody may use it meanwhile.
    ///
    /// # Panics
    /// When that fails.
    pub fn mount_again(&self) {
        self.unmount().unwrap_or_else(|skip| panic!("{}", skip.0));
        self.mount().unwrap_or_else(|skip| panic!("{}", skip.0));
    }

    fn mount(&self) -> Result<(), Skip> {
        let Some(device) = &self.device else {
            return Ok(());
        };
        let options = ["-t", "ext4", "-o", "errors=remount-ro", device];
        run("mount", &options, self.path()).map(drop)
    }

    fn unmount(&self) -> Result<(), Skip> {
        run("umount", &[], self.path()).map(drop)
    }

    fn ballast(&self) -> PathBuf {
        self.path().join(BALLAST)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whatever happened, nothing of it stays; one that somebody still holds goes with him.
        let _ = run("umount", &["--lazy"], self.path());
        if let Some(device) = &self.device {
            let _ = run("losetup", &["--detach"], device);
        }
    }
}

/// Runs a program of the machine on something.
fn run(program: &str, arguments: &[&str], what: impl AsRef<OsStr>) -> Result<String, Skip> {
    let output = Command::new(program).args(arguments).arg(what).output();
    let output = output.map_err(|error| Skip::because(format!("{program}: {error}")))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(Skip::because(format!("{program}: {}", said.trim())))
        }
    }
}
