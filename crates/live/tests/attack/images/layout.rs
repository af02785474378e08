//! Layers and blobs of images as somebody writes them who keeps to no rule.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// A program that needs no library.
pub const BUSYBOX: &str = "/bin/busybox";

/// One entry of a layer: what it is, its path, and where it leads.
pub type Entry<'a> = (EntryType, &'a str, &'a str);

/// A layer with that program.
pub fn program() -> Vec<u8> {
    let program = fs::read(BUSYBOX).expect("it is there");
    let mut header = header(EntryType::Regular, 0o755);
    header.set_size(program.len() as u64);
    let mut builder = Builder::new(Vec::new());
    builder
        .append_data(&mut header, "bin/busybox", &*program)
        .expect("appended");
    builder.into_inner().expect("finished")
}

pub fn layer(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (kind, path, target) in entries {
        let mut header = header(*kind, 0o755);
        // Written raw: the builder itself refuses what these tests are about.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        builder.append(&header, &b""[..]).expect("appended");
    }
    builder.into_inner().expect("finished")
}

/// A device, a pipe, and programs with the rights of their owner.
pub fn devices() -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (kind, mode, path) in [
        (EntryType::Block, 0o666, "tmp/dev-disk"),
        (EntryType::Char, 0o666, "tmp/dev-mem"),
        (EntryType::Fifo, 0o666, "tmp/dev-pipe"),
        (EntryType::Regular, 0o6755, "tmp/suid"),
    ] {
        let mut header = header(kind, mode);
        header.set_device_major(1).expect("a number");
        header.set_device_minor(1).expect("a number");
        header.set_path(path).expect("it is short");
        header.set_cksum();
        builder.append(&header, &b""[..]).expect("appended");
    }
    builder.into_inner().expect("finished")
}

fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// An entry whose name has so many bytes.
pub fn long_name(bytes: usize) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    let mut long = header(EntryType::GNULongName, 0o644);
    long.set_path("././@LongLink").expect("it is short");
    long.set_size(bytes as u64);
    long.set_cksum();
    builder
        .append(&long, &*vec![b'a'; bytes])
        .expect("appended");
    builder.into_inner().expect("finished")
}

pub fn zipped(layer: &[u8]) -> Vec<u8> {
    let mut zip = GzEncoder::new(Vec::new(), Compression::fast());
    zip.write_all(layer).expect("packed");
    zip.finish().expect("packed")
}

pub fn blob(blobs: &Path, kind: &str, content: &[u8]) -> Value {
    let digest = Sha256::digest(content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<String>();
    fs::write(blobs.join(&digest), content).expect("written");
    json!({"mediaType": kind, "digest": format!("sha256:{digest}"), "size": content.len()})
}
