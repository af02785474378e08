//! What is mounted into a container: kernel file systems, memory for what is written, and configuration read-only.
//!
//! A folder of configuration files is mounted as a whole, so that a file that is replaced by a rename is seen inside.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use adapter::ContainerSpec;
use api::{Error, ErrorKind};
use oci_spec::image::Config;
use serde_json::{Value, json};

use crate::image::User;

/// The memory behind `/tmp` and behind each volume that an image declares, in bytes.
const SCRATCH_BYTES: i128 = 64 << 20;

/// The memory behind `/run`, in bytes.
const RUN_BYTES: i128 = 16 << 20;

/// The most bytes of all configuration files of a container.
const FILES_BYTES_MAX: usize = 4 << 20;

/// What belongs to the kernel; nothing else is mounted on or in it.
const RESERVED: [&str; 3] = ["/proc", "/sys", "/dev"];

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Where.
    pub(crate) target: String,
    kind: &'static str,
    source: String,
    options: Vec<String>,
}

impl Mount {
    fn new(target: &str, kind: &'static str, source: &str, options: &[&str]) -> Self {
        Self {
            target: target.to_owned(),
            kind,
            source: source.to_owned(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
        }
    }

    /// Memory that can be written, owned by the container's user.
    fn memory(target: &str, bytes: i128, mode: &str, user: &User) -> Self {
        let mut mount = Self::new(target, "tmpfs", "tmpfs", &["nosuid", "nodev", mode]);
        mount.options.push(format!("size={bytes}"));
        mount.options.push(format!("uid={}", user.uid));
        mount.options.push(format!("gid={}", user.gid));
        mount
    }

    /// As `config.json` writes it.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "destination": self.target,
            "type": self.kind,
            "source": self.source,
            "options": self.options,
        })
    }
}

/// Everything that is mounted, outer folders before those in them.
pub(crate) fn all(
    spec: &ContainerSpec,
    volumes: &[String],
    user: &User,
    configuration: &Path,
) -> Vec<Mount> {
    let mut mounts = vec![
        Mount::memory("/tmp", SCRATCH_BYTES, "mode=1777", user),
        Mount::memory("/run", RUN_BYTES, "mode=755", user),
    ];
    let volumes = volumes.iter().map(|path| (path.as_str(), SCRATCH_BYTES));
    let own = spec.execution.writable.iter();
    let own = own.map(|writable| (writable.path.as_str(), writable.size.as_whole()));
    for (path, bytes) in volumes.chain(own) {
        mounts.retain(|mount| mount.target != path);
        mounts.push(Mount::memory(path, bytes, "mode=755", user));
    }
    for folder in folders(spec.files.keys()) {
        let source = configuration.join(folder_name(&folder));
        let options = ["bind", "ro", "nosuid", "nodev", "noexec"];
        mounts.retain(|mount| mount.target != folder);
        mounts.push(Mount::new(
            &folder,
            "bind",
            &source.to_string_lossy(),
            &options,
        ));
    }
    mounts.sort_by(|a, b| a.target.cmp(&b.target));
    kernel().into_iter().chain(mounts).collect()
}

/// The mount that hides a path of the image: the field that asks for it, and where it is.
pub(crate) fn over(
    spec: &ContainerSpec,
    image: &Config,
    path: &Path,
) -> Option<(&'static str, String)> {
    let files = folders(spec.files.keys()).into_iter();
    let files = files.map(|folder| ("configuration.files", folder));
    let writable = spec.execution.writable.iter();
    let writable = writable.map(|writable| ("execution.writable", writable.path.clone()));
    let volumes = image.volumes().iter().flatten().cloned();
    let volumes = volumes.map(|folder| ("a volume of the image", folder));
    let mut all = files.chain(writable).chain(volumes);
    all.find(|(_, folder)| path.starts_with(folder))
}

fn kernel() -> Vec<Mount> {
    let quiet = ["nosuid", "noexec", "nodev"];
    let read_only = ["nosuid", "noexec", "nodev", "ro"];
    let dev = ["nosuid", "strictatime", "mode=755", "size=65536k"];
    let pts = [
        "nosuid",
        "noexec",
        "newinstance",
        "ptmxmode=0666",
        "mode=0620",
    ];
    let shm = ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"];
    vec![
        Mount::new("/proc", "proc", "proc", &quiet),
        Mount::new("/dev", "tmpfs", "tmpfs", &dev),
        Mount::new("/dev/pts", "devpts", "devpts", &pts),
        Mount::new("/dev/shm", "tmpfs", "shm", &shm),
        Mount::new("/sys", "sysfs", "sysfs", &read_only),
    ]
}

/// The folders that files lie in; one inside another belongs to that.
pub(crate) fn folders<'a>(paths: impl IntoIterator<Item = &'a String>) -> BTreeSet<String> {
    let parents = paths
        .into_iter()
        .filter_map(|path| Path::new(path).parent());
    let all: BTreeSet<&Path> = parents.collect();
    let outermost = all.iter().filter(|folder| {
        let mut above = folder.ancestors().skip(1);
        !above.any(|outer| all.contains(outer))
    });
    outermost
        .map(|folder| folder.to_string_lossy().into_owned())
        .collect()
}

/// Where the content of a configuration folder lies on the host, below the container's folder of files.
pub(crate) fn folder_name(folder: &str) -> String {
    format!("{:016x}", api::short_hash(&["folder", folder]))
}

/// Where a file lies on the host, below the container's folder of files.
pub(crate) fn place(folders: &BTreeSet<String>, path: &str) -> Option<PathBuf> {
    let (folder, rest) = folders
        .iter()
        .find_map(|folder| Some((folder, Path::new(path).strip_prefix(folder).ok()?)))?;
    Some(Path::new(&folder_name(folder)).join(rest))
}

/// Refuses paths that cannot be mounted, and more than can be kept.
pub(crate) fn check(spec: &ContainerSpec) -> Result<(), Error> {
    let bytes: usize = spec.files.values().map(Vec::len).sum();
    if bytes > FILES_BYTES_MAX {
        return Err(invalid(format!(
            "configuration files have {bytes} bytes; at most {FILES_BYTES_MAX} are taken"
        )));
    }
    for path in spec.files.keys() {
        let folder = Path::new(path).parent().unwrap_or(Path::new("/"));
        check_target("configuration.files", path, folder)?;
        let mut above = folder.ancestors().filter_map(Path::to_str);
        if let Some(file) = above.find(|above| spec.files.contains_key(*above)) {
            return Err(invalid(format!(
                "configuration.files: `{path}` lies below `{file}`, which is a file too; move one of them"
            )));
        }
    }
    let folders = folders(spec.files.keys());
    for writable in &spec.execution.writable {
        let path = Path::new(&writable.path);
        check_target("execution.writable", &writable.path, path)?;
        if let Some(folder) = folders.iter().find(|folder| path.starts_with(folder)) {
            return Err(invalid(format!(
                "execution.writable: `{}` lies in `{folder}`, which holds configuration.files and is read-only; move one \
                 of them",
                writable.path
            )));
        }
    }
    Ok(())
}

fn check_target(field: &str, path: &str, target: &Path) -> Result<(), Error> {
    let clean = path.starts_with('/')
        && !path.contains("//")
        && path[1..]
            .split('/')
            .all(|part| !["", ".", ".."].contains(&part));
    let reserved = RESERVED.iter().any(|reserved| target.starts_with(reserved));
    if !clean || reserved || target == Path::new("/") {
        return Err(invalid(format!(
            "{field}: `{path}` must be an absolute path without `..`, in a folder that is neither / nor in {}",
            RESERVED.join(", ")
        )));
    }
    Ok(())
}

fn invalid(what: String) -> Error {
    Error::new(ErrorKind::Invalid, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_folders(paths: &[&str], expected: &[&str]) {
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        let seen: Vec<String> = folders(&paths).into_iter().collect();
        assert_eq!(seen, expected, "{paths:?}");
    }

    #[test]
    fn a_folder_in_another_is_no_mount_of_its_own() {
        check_folders(&["/etc/a/x", "/etc/a/y"], &["/etc/a"]);
        check_folders(&["/etc/a/x", "/etc/a/b/c/y"], &["/etc/a"]);
        check_folders(&["/etc/a/x", "/etc/ab/y"], &["/etc/a", "/etc/ab"]);
    }

    #[test]
    fn a_file_lies_in_the_folder_that_is_mounted() {
        let folders = BTreeSet::from(["/etc/a".to_owned()]);
        let expected = Path::new(&folder_name("/etc/a")).join("b/y");
        assert_eq!(place(&folders, "/etc/a/b/y"), Some(expected));
        assert_eq!(place(&folders, "/etc/ab/y"), None);
    }

    #[test]
    fn paths_that_reach_the_kernel_or_leave_are_refused() {
        for path in [
            "/x",
            "/proc/x",
            "/sys/a/x",
            "/etc/../x",
            "/etc//x",
            "etc/x",
            "/etc/a/",
        ] {
            let folder = Path::new(path).parent().unwrap_or(Path::new("/"));
            let error = check_target("files", path, folder).expect_err(path);
            assert!(error.what.contains(path), "{error}");
        }
        check_target("files", "/etc/a/x", Path::new("/etc/a")).expect("a good one");
    }
}
