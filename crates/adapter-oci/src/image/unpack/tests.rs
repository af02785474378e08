//! Unpacking: layers in order, whiteouts, and archives that try to leave their folder.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use tar::{Builder, Header};
use tempfile::TempDir;

use super::*;

/// A root to unpack into, and a file outside that must survive.
struct Bed {
    place: TempDir,
    root: Root,
}

impl Bed {
    fn new() -> Self {
        let place = tempfile::tempdir().expect("a folder");
        fs::create_dir(place.path().join("root")).expect("a root");
        fs::write(place.path().join("secret"), "untouched").expect("a file outside");
        let root = Root::open(&place.path().join("root")).expect("opened");
        Self { place, root }
    }

    fn inside(&self, path: &str) -> PathBuf {
        self.place.path().join("root").join(path)
    }

    fn unpack(&self, layer: &[u8]) -> Result<(), Error> {
        let done = hide(layer, &self.root).and_then(|()| apply(layer, &self.root));
        let secret = fs::read_to_string(self.place.path().join("secret")).expect("still there");
        assert_eq!(secret, "untouched");
        let outside = fs::read_dir(self.place.path()).expect("listed").count();
        assert_eq!(outside, 2, "something was written outside the root");
        done
    }
}

/// One entry: what it is, its path, and its content or target.
type Spec<'a> = (EntryType, &'a str, &'a str);

const FILE: EntryType = EntryType::Regular;
const FOLDER: EntryType = EntryType::Directory;
const SYMLINK: EntryType = EntryType::Symlink;
const LINK: EntryType = EntryType::Link;

fn layer(entries: &[Spec<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (kind, path, content) in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o4755);
        let own = fs::metadata("/proc/self").expect("the own process");
        header.set_uid(own.uid().into());
        header.set_gid(own.gid().into());
        // Written raw: the builder itself refuses what these tests are about.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        let data = if *kind == FILE {
            content.as_bytes()
        } else {
            b""
        };
        if matches!(*kind, SYMLINK | LINK) {
            header.as_old_mut().linkname[..content.len()].copy_from_slice(content.as_bytes());
        }
        header.set_size(data.len() as u64);
        header.set_cksum();
        builder.append(&header, data).expect("appended");
    }
    builder.into_inner().expect("finished")
}

fn refused(entries: &[Spec<'_>], because: &str) {
    let error = Bed::new().unpack(&layer(entries)).expect_err(because);
    assert!(
        api::chain(&error).contains(because),
        "{}",
        api::chain(&error)
    );
}

#[test]
fn later_layers_lie_over_earlier_ones() {
    let bed = Bed::new();
    let lower = [
        (FOLDER, "etc", ""),
        (FILE, "etc/a", "1"),
        (FILE, "etc/b", "1"),
        (FILE, "usr/bin/x", "x"),
    ];
    let upper = [
        (FILE, "etc/a", "2"),
        (FILE, "etc/.wh.b", ""),
        (SYMLINK, "bin", "usr/bin"),
        (FILE, "bin/y", "y"),
    ];
    bed.unpack(&layer(&lower)).expect("unpacked");
    bed.unpack(&layer(&upper)).expect("unpacked");
    assert_eq!(fs::read_to_string(bed.inside("etc/a")).expect("there"), "2");
    assert!(!bed.inside("etc/b").exists());
    assert_eq!(
        fs::read_to_string(bed.inside("usr/bin/y")).expect("through the link"),
        "y"
    );
    let mode = fs::metadata(bed.inside("etc/a"))
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o755, "set-uid is not kept");
}

#[test]
fn an_opaque_folder_hides_what_is_below_but_not_its_own() {
    let bed = Bed::new();
    bed.unpack(&layer(&[(FILE, "d/old", "1"), (FILE, "d/sub/old", "1")]))
        .expect("unpacked");
    bed.unpack(&layer(&[
        (FILE, "d/new", "2"),
        (FILE, "d/.wh..wh..opq", ""),
    ]))
    .expect("unpacked");
    let names: Vec<_> = fs::read_dir(bed.inside("d"))
        .expect("listed")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(names, ["new"]);
}

#[test]
fn paths_that_leave_are_refused() {
    refused(&[(FILE, "../secret", "x")], "leaves the image");
    refused(&[(FILE, "a/../../secret", "x")], "leaves the image");
    refused(&[(LINK, "a", "../secret")], "leaves the image");
}

#[test]
fn whiteouts_of_nothing_nameable_are_refused() {
    for path in [".wh.", "a/.wh..", "a/.wh..."] {
        refused(&[(FILE, "a/b", "x"), (FILE, path, "")], "names no file");
    }
}

#[test]
fn absolute_paths_and_links_mean_the_root_of_the_image() {
    let bed = Bed::new();
    let outside = bed
        .place
        .path()
        .join("secret")
        .to_string_lossy()
        .into_owned();
    let entries = [
        (FILE, "/etc/a", "inside"),
        (SYMLINK, "up", "../../../.."),
        (FILE, "up/b", "b"),
        (SYMLINK, "abs", &outside),
    ];
    bed.unpack(&layer(&entries)).expect("unpacked");
    assert_eq!(
        fs::read_to_string(bed.inside("etc/a")).expect("there"),
        "inside"
    );
    assert_eq!(
        fs::read_to_string(bed.inside("b")).expect("`..` of the root is the root"),
        "b"
    );
}

#[test]
fn a_file_replaces_a_link_instead_of_following_it() {
    let bed = Bed::new();
    symlink(bed.place.path().join("secret"), bed.inside("a")).expect("linked");
    bed.unpack(&layer(&[(FILE, "a", "new")])).expect("unpacked");
    assert_eq!(fs::read_to_string(bed.inside("a")).expect("there"), "new");
}

#[test]
fn a_whiteout_through_a_link_stays_inside() {
    let bed = Bed::new();
    symlink(bed.place.path(), bed.inside("out")).expect("linked");
    // Inside the root there is no such folder, so there is nothing to hide.
    bed.unpack(&layer(&[(FILE, "out/.wh.secret", "")]))
        .expect("nothing to hide");
}

#[test]
fn a_hard_link_cannot_reach_out_through_a_link() {
    let bed = Bed::new();
    symlink(bed.place.path(), bed.inside("out")).expect("linked");
    bed.unpack(&layer(&[(LINK, "a", "out/secret")]))
        .expect_err("no such file inside");
    bed.unpack(&layer(&[(FILE, "x", "x"), (LINK, "y", "/x")]))
        .expect("a good one");
    assert_eq!(fs::read_to_string(bed.inside("y")).expect("there"), "x");
}

#[test]
fn devices_and_pipes_are_left_out() {
    let bed = Bed::new();
    let entries = [
        (EntryType::Char, "dev/mem", ""),
        (EntryType::Block, "dev/sda", ""),
        (EntryType::Fifo, "pipe", ""),
    ];
    bed.unpack(&layer(&entries)).expect("unpacked");
    for path in ["dev/mem", "dev/sda", "pipe"] {
        assert!(!bed.inside(path).exists(), "{path}");
    }
}

#[test]
fn a_name_that_fills_the_memory_is_refused() {
    let with_name = |length: usize| {
        let name = vec![b'x'; length];
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::GNULongName);
        header.set_size(length as u64);
        header.set_cksum();
        let mut builder = Builder::new(Vec::new());
        builder.append(&header, name.as_slice()).expect("appended");
        let mut layer = builder.into_inner().expect("finished");
        layer.truncate(layer.len() - 1024);
        layer.extend(self::layer(&[(FILE, "a", "content")]));
        layer
    };
    let bed = Bed::new();
    let refused = bed.unpack(&with_name(2 << 20)).expect_err("too long");
    let said = api::chain(&refused);
    assert!(said.contains("1048576 bytes"), "{said}");
    bed.unpack(&with_name(200)).expect("a name as others have");
}
