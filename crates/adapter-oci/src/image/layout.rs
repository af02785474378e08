//! OCI image layouts on disk: which manifest a reference means, and blobs that are what their digest says.
//!
//! See the OCI Image Layout Specification 1.1. Only SHA-256 digests are taken.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use api::{Error, ErrorKind};
use oci_spec::image::{
    Arch, Config, Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType,
};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

/// The largest index, manifest or configuration.
const DOCUMENT_BYTES_MAX: u64 = 4 << 20;

/// The most layers of an image.
const LAYERS_MAX: usize = 128;

/// How deep indexes may lie in each other.
const INDEX_DEPTH_MAX: u32 = 3;

/// What an artefact's `image` field says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    name: String,
    digest: Option<String>,
}

/// The folder of layouts.
#[derive(Clone, Debug)]
pub(crate) struct Layouts(PathBuf);

/// An image that was found.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// The digest of its manifest.
    pub(crate) digest: String,
    /// How it is run.
    pub(crate) config: Config,
    /// Its layers, the lowest first.
    pub(crate) layers: Vec<Descriptor>,
    folder: PathBuf,
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || {
            invalid(format!(
                "image `{text}` is not of the form layout:NAME[@sha256:DIGEST]"
            ))
        };
        let rest = text.strip_prefix("layout:").ok_or_else(wrong)?;
        let (name, digest) = match rest.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (rest, None),
        };
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let good_name = name
            .bytes()
            .all(|byte| plain(byte) || b"-._".contains(&byte))
            && name.bytes().next().is_some_and(plain);
        if !good_name || !digest.is_none_or(is_sha256) {
            return Err(wrong());
        }
        Ok(Self {
            name: name.to_owned(),
            digest: digest.map(str::to_owned),
        })
    }
}

impl Layouts {
    /// The layouts in a folder.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Finds the image of this machine's architecture that a reference means.
    pub(crate) fn find(&self, reference: &Reference) -> Result<Image, Error> {
        let folder = self.0.join(&reference.name);
        let index = folder.join("index.json");
        let bytes = read_limited(&index).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::new(
                ErrorKind::NotFound,
                format!(
                    "image `layout:{0}`: this host has no image layout {0}",
                    reference.name
                ),
            ),
            _ => unreadable(&index, error),
        })?;
        let index: ImageIndex = parse(&bytes, &index)?;
        let manifest = choose(&folder, &index, reference, INDEX_DEPTH_MAX)?;
        open(folder, &manifest)
    }
}

/// The manifest that a reference means: the one of its digest, or the one of this architecture.
fn choose(
    folder: &Path,
    index: &ImageIndex,
    reference: &Reference,
    depth: u32,
) -> Result<Descriptor, Error> {
    for entry in index.manifests() {
        match entry.media_type() {
            MediaType::ImageIndex if depth > 0 => {
                let inner: ImageIndex = document(folder, entry)?;
                if let Ok(found) = choose(folder, &inner, reference, depth - 1) {
                    return Ok(found);
                }
            }
            MediaType::ImageManifest if fits(entry, reference) => return Ok(entry.clone()),
            _ => {}
        }
    }
    Err(Error::new(
        ErrorKind::NotFound,
        match &reference.digest {
            Some(digest) => format!("image layout {} has no manifest {digest}", reference.name),
            None => format!(
                "image layout {} has no image for linux/{}",
                reference.name,
                Arch::default()
            ),
        },
    ))
}

fn fits(entry: &Descriptor, reference: &Reference) -> bool {
    match &reference.digest {
        Some(digest) => *digest == entry.digest().to_string(),
        None => entry
            .platform()
            .as_ref()
            .is_none_or(|platform| *platform.architecture() == Arch::default()),
    }
}

fn open(folder: PathBuf, manifest: &Descriptor) -> Result<Image, Error> {
    let read: ImageManifest = document(&folder, manifest)?;
    if read.layers().len() > LAYERS_MAX {
        return Err(invalid(format!(
            "image {} has {} layers; at most {LAYERS_MAX} are taken",
            manifest.digest(),
            read.layers().len()
        )));
    }
    let configuration: ImageConfiguration = document(&folder, read.config())?;
    Ok(Image {
        digest: manifest.digest().to_string(),
        config: configuration.config().clone().unwrap_or_default(),
        layers: read.layers().clone(),
        folder,
    })
}

impl Image {
    /// Opens a layer, decompressed, after its digest was checked.
    pub(crate) fn layer(&self, layer: &Descriptor) -> Result<Box<dyn Read>, Error> {
        let path = blob(&self.folder, layer)?;
        let mut file = File::open(&path).map_err(|error| unreadable(&path, error))?;
        verify(&mut file, layer, &path)?;
        // The very file that was checked: another may lie under its name by now.
        file.rewind().map_err(|error| unreadable(&path, error))?;
        match layer.media_type() {
            MediaType::ImageLayer => Ok(Box::new(io::BufReader::new(file))),
            MediaType::ImageLayerGzip => Ok(Box::new(flate2::read::MultiGzDecoder::new(
                io::BufReader::new(file),
            ))),
            MediaType::Other(kind) if kind.ends_with(".tar.gzip") => Ok(Box::new(
                flate2::read::MultiGzDecoder::new(io::BufReader::new(file)),
            )),
            other => Err(invalid(format!(
                "layer {} is {other}; tar and tar+gzip are taken",
                layer.digest()
            ))),
        }
    }
}

fn document<T: DeserializeOwned>(folder: &Path, descriptor: &Descriptor) -> Result<T, Error> {
    let path = blob(folder, descriptor)?;
    let bytes = read_limited(&path).map_err(|error| unreadable(&path, error))?;
    verify(&mut bytes.as_slice(), descriptor, &path)?;
    parse(&bytes, &path)
}

fn parse<T: DeserializeOwned>(bytes: &[u8], path: &Path) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| {
        Error::caused(
            ErrorKind::Invalid,
            format!("cannot understand {}", path.display()),
            error,
        )
    })
}

fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = DOCUMENT_BYTES_MAX + 1;
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == limit {
        return Err(io::Error::other(format!(
            "it is larger than {DOCUMENT_BYTES_MAX} bytes"
        )));
    }
    Ok(bytes)
}

/// Where a blob lies. The digest becomes part of a path, so it must be nothing but a digest.
fn blob(folder: &Path, descriptor: &Descriptor) -> Result<PathBuf, Error> {
    let digest = descriptor.digest().to_string();
    Ok(folder.join("blobs/sha256").join(hex_of(&digest)?))
}

fn verify(content: &mut dyn Read, descriptor: &Descriptor, path: &Path) -> Result<(), Error> {
    let mut hasher = Sha256::new();
    io::copy(content, &mut hasher).map_err(|error| unreadable(path, error))?;
    let mut seen = String::from("sha256:");
    for byte in hasher.finalize() {
        seen += &format!("{byte:02x}");
    }
    if seen != descriptor.digest().to_string() {
        return Err(invalid(format!(
            "blob {} has the digest {seen}",
            descriptor.digest()
        )));
    }
    Ok(())
}

fn is_sha256(digest: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    digest
        .strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(digit))
}

/// The part of a digest that may name a file.
pub(super) fn hex_of(digest: &str) -> Result<&str, Error> {
    let hex = digest.strip_prefix("sha256:").filter(|_| is_sha256(digest));
    hex.ok_or_else(|| invalid(format!("digest {digest} is not of SHA-256")))
}

fn invalid(what: String) -> Error {
    Error::new(ErrorKind::Invalid, what)
}

fn unreadable(path: &Path, error: io::Error) -> Error {
    Error::caused(
        ErrorKind::Unavailable,
        format!("cannot read {}", path.display()),
        error,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_names_with_or_without_a_digest() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let reference: Reference = format!("layout:web.1@{digest}").parse().expect("good");
        assert_eq!(reference.name, "web.1");
        assert_eq!(reference.digest, Some(digest));
        assert!("layout:web".parse::<Reference>().is_ok());
    }

    #[test]
    fn what_could_leave_the_folder_is_refused_by_name() {
        for text in [
            "web",
            "layout:",
            "layout:..",
            "layout:../x",
            "layout:a/b",
            "layout:a@sha256:00",
            "layout:a@sha256:../../../etc/passwd",
            "layout:A",
        ] {
            let error = text.parse::<Reference>().expect_err(text);
            assert!(error.what.contains(&format!("`{text}`")), "{error}");
        }
    }
}
