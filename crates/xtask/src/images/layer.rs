//! One layer of an image: the tree as a compressed tar archive that depends on nothing but the tree.
//!
//! Entries are in order, times are zero, everything belongs to root: packing twice gives the same bytes.

use crate::images::tree::{Entry, Tree};
use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};
use std::io::Write;
use std::path::Path;
use tar::{Builder, EntryType, Header};

/// A packed layer.
pub(crate) struct Layer {
    /// The compressed archive.
    pub(crate) blob: Vec<u8>,
    /// The digest of the archive before compression (OCI image specification, "DiffID").
    pub(crate) diff_id: String,
}

/// Packs a tree.
pub(crate) fn pack(tree: &Tree) -> Result<Layer> {
    let archive = archive(tree).context("cannot write the archive")?;
    let mut encoder = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::default());
    encoder.write_all(&archive).context("cannot compress")?;
    let blob = encoder.finish().context("cannot compress")?;
    Ok(Layer {
        blob,
        diff_id: digest(&archive),
    })
}

/// `sha256:` and the hexadecimal digest.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn archive(tree: &Tree) -> std::io::Result<Vec<u8>> {
    let mut builder = Builder::new(Vec::new());
    for (path, entry) in &tree.0 {
        let relative = path.strip_prefix("/").unwrap_or(path);
        append(&mut builder, relative, entry)?;
    }
    builder.into_inner()
}

fn append(builder: &mut Builder<Vec<u8>>, path: &Path, entry: &Entry) -> std::io::Result<()> {
    let (kind, mode, content) = match entry {
        Entry::Folder(mode) => (EntryType::Directory, *mode, &[][..]),
        Entry::File { mode, content } => (EntryType::Regular, *mode, &content[..]),
    };
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    builder.append_data(&mut header, path, content)
}
