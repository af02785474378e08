//! The files of an image, in memory and in order, and how a program brings its shared libraries along.
//!
//! Links are followed, so that a library lies at the very path the loader will ask for. What the loader opens at run time
//! by itself (`dlopen`) is not seen here.

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The largest program or library that is packed.
const FILE_MAX: u64 = 256 * 1024 * 1024;

/// Every path is absolute and every file's folder is an entry too.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tree(pub(crate) BTreeMap<PathBuf, Entry>);

/// One file or folder, with its mode.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Folder(u32),
    File { mode: u32, content: Vec<u8> },
}

impl Tree {
    /// The folders that a container runtime mounts on, and the users that an image may run as.
    pub(crate) fn with_base() -> Self {
        let mut tree = Self::default();
        for folder in ["/dev", "/etc", "/proc", "/run", "/sys"] {
            tree.0.insert(folder.into(), Entry::Folder(0o755));
        }
        tree.0.insert("/tmp".into(), Entry::Folder(0o1777));
        tree.add_text("/etc/passwd", PASSWD);
        tree.add_text("/etc/group", GROUP);
        tree
    }

    pub(crate) fn add_text(&mut self, path: &str, text: &str) {
        self.add(Path::new(path), 0o644, text.into());
    }

    /// Adds a program and every shared library that its loader would map.
    pub(crate) fn add_program(&mut self, from: &Path, to: &Path) -> Result<()> {
        self.add(to, 0o755, read(from)?);
        for library in libraries(from)? {
            self.add(&library, 0o755, read(&library)?);
        }
        Ok(())
    }

    fn add(&mut self, path: &Path, mode: u32, content: Vec<u8>) {
        for folder in path
            .ancestors()
            .skip(1)
            .filter(|folder| folder.parent().is_some())
        {
            self.0.entry(folder.into()).or_insert(Entry::Folder(0o755));
        }
        self.0.insert(path.into(), Entry::File { mode, content });
    }
}

const PASSWD: &str = "\
root:x:0:0:root:/:/sbin/nologin
www-data:x:33:33:www-data:/:/sbin/nologin
nobody:x:65534:65534:nobody:/:/sbin/nologin
";

const GROUP: &str = "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n";

fn read(path: &Path) -> Result<Vec<u8>> {
    let reading = || format!("cannot read {}", path.display());
    let size = std::fs::metadata(path).with_context(reading)?.len();
    if size > FILE_MAX {
        bail!(
            "{} has {size} bytes, expected at most {FILE_MAX}",
            path.display()
        );
    }
    std::fs::read(path).with_context(reading)
}

/// The libraries of a program, the loader itself included, as `ldd` names them.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd")
        .arg(program)
        .output()
        .context("cannot run ldd")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    if said.contains("not a dynamic executable") || said.contains("statically linked") {
        return Ok(Vec::new());
    }
    if !output.status.success() {
        bail!("ldd {}: {}", program.display(), said.trim());
    }
    parse_ldd(&said)
        .with_context(|| format!("cannot resolve the libraries of {}", program.display()))
}

fn parse_ldd(text: &str) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for line in text.lines().map(str::trim) {
        let resolved = line
            .split_once(" => ")
            .map_or(line, |(_, resolved)| resolved);
        if resolved == "not found" {
            bail!("{line}");
        }
        let path = resolved.split(" (0x").next().unwrap_or_default();
        // What has no path is mapped by the kernel itself.
        if path.starts_with('/') {
            paths.push(PathBuf::from(path));
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_the_loader_are_read_from_ldd() {
        let text = "\tlinux-vdso.so.1 (0x00007f)\n\tlibc.so.6 => /lib/libc.so.6 (0x00007f)\n\t/lib64/ld-linux.so.2 (0x00007f)\n";
        let paths = parse_ldd(text).unwrap();
        assert_eq!(
            paths,
            [
                Path::new("/lib/libc.so.6"),
                Path::new("/lib64/ld-linux.so.2")
            ]
        );
    }

    #[test]
    fn missing_library_is_an_error_that_names_it() {
        let error = parse_ldd("\tlibmnl.so.0 => not found\n").unwrap_err();
        assert!(error.to_string().contains("libmnl.so.0"), "{error}");
    }

    #[test]
    fn folders_of_a_file_are_entries_too() {
        let mut tree = Tree::default();
        tree.add_text("/a/b/c", "text");
        let paths: Vec<_> = tree
            .0
            .keys()
            .map(|path| path.display().to_string())
            .collect();
        assert_eq!(paths, ["/a", "/a/b", "/a/b/c"]);
    }
}
