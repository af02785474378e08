//! An OCI image layout on disk: `oci-layout`, `index.json` and the blobs by digest.
//!
//! It is written beside its place and moved there when it is whole; one that has the digest already is left alone, so
//! that whoever reads it is not disturbed.

use crate::images::layer::{self, Layer};
use crate::images::recipe::Recipe;
use crate::images::tree::Tree;
use anyhow::{Context, Result};
use oci_spec::image::{
    ANNOTATION_DESCRIPTION, ANNOTATION_REF_NAME, Arch, Config, ConfigBuilder, Descriptor,
    ImageConfiguration, ImageConfigurationBuilder, ImageIndexBuilder, ImageManifestBuilder,
    MediaType, Os, PlatformBuilder, RootFsBuilder,
};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

const SCHEMA_VERSION: u32 = 2;
const LAYOUT_VERSION: &str = "1.0.0";

/// Writes the image into `folder` and returns the digest of its manifest.
pub(crate) fn write(recipe: &Recipe, tree: &Tree, folder: &Path) -> Result<String> {
    let image = Image::new(recipe, &layer::pack(tree)?)?;
    let place = folder.join("index.json");
    if fs::read_to_string(&place).is_ok_and(|there| there == image.index) {
        return Ok(image.digest);
    }
    let fresh = beside(folder);
    let writing = remove(&fresh).and_then(|()| image.write(&fresh));
    let moving = writing
        .and_then(|()| remove(folder))
        .and_then(|()| fs::rename(&fresh, folder));
    moving.with_context(|| format!("cannot write {}", folder.display()))?;
    Ok(image.digest)
}

/// A whole image, ready to be written.
struct Image {
    digest: String,
    index: String,
    /// By digest.
    blobs: Vec<(String, Vec<u8>)>,
}

impl Image {
    fn new(recipe: &Recipe, layer: &Layer) -> Result<Self> {
        let mut blobs = Vec::new();
        let mut keep = |media_type, bytes: Vec<u8>| -> Result<Descriptor> {
            let digest = layer::digest(&bytes);
            let size = bytes.len() as u64;
            blobs.push((digest.clone(), bytes));
            let digest: oci_spec::image::Digest = digest.parse()?;
            Ok(Descriptor::new(media_type, size, digest))
        };
        let configuration = keep(
            MediaType::ImageConfig,
            text(&configuration(recipe, layer)?)?.into(),
        )?;
        let layer = keep(MediaType::ImageLayerGzip, layer.blob.clone())?;
        let manifest = ImageManifestBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageManifest)
            .config(configuration)
            .layers(vec![layer])
            .build()?;
        let mut manifest = keep(MediaType::ImageManifest, text(&manifest)?.into())?;
        let digest = manifest.digest().to_string();
        manifest.set_annotations(Some(one(ANNOTATION_REF_NAME, recipe.name)));
        manifest.set_platform(Some(
            PlatformBuilder::default()
                .architecture(Arch::default())
                .os(Os::Linux)
                .build()?,
        ));
        let index = ImageIndexBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageIndex)
            .manifests(vec![manifest])
            .build()?;
        Ok(Self {
            digest,
            index: text(&index)?,
            blobs,
        })
    }

    fn write(&self, folder: &Path) -> io::Result<()> {
        let version = format!("{{\"imageLayoutVersion\":\"{LAYOUT_VERSION}\"}}");
        for (digest, bytes) in &self.blobs {
            let path = folder.join("blobs").join(digest.replace(':', "/"));
            fs::create_dir_all(path.parent().unwrap_or(folder))?;
            fs::write(path, bytes)?;
        }
        fs::write(folder.join("oci-layout"), version)?;
        fs::write(folder.join("index.json"), &self.index)
    }
}

fn configuration(recipe: &Recipe, layer: &Layer) -> Result<ImageConfiguration> {
    let root = RootFsBuilder::default()
        .diff_ids(vec![layer.diff_id.clone()])
        .build()?;
    let configuration = ImageConfigurationBuilder::default()
        .architecture(Arch::default())
        .os(Os::Linux)
        .config(start(recipe)?)
        .rootfs(root)
        .build()?;
    Ok(configuration)
}

/// How a container of this image is started.
fn start(recipe: &Recipe) -> Result<Config> {
    let entrypoint: Vec<_> = recipe.entrypoint.iter().map(ToString::to_string).collect();
    let start = ConfigBuilder::default()
        .user(recipe.user)
        .exposed_ports(vec![recipe.port.to_owned()])
        .env(vec!["PATH=/usr/bin:/usr/sbin".to_owned()])
        .entrypoint(entrypoint)
        .volumes(vec!["/tmp".to_owned()])
        .working_dir("/")
        .labels(one(ANNOTATION_DESCRIPTION, recipe.description))
        .stop_signal(recipe.stop_signal)
        .build()?;
    Ok(start)
}

/// One entry, since the order of several would not be the same twice.
fn one(key: &str, value: &str) -> HashMap<String, String> {
    HashMap::from([(key.to_owned(), value.to_owned())])
}

fn text<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).context("cannot write JSON")
}

fn beside(folder: &Path) -> PathBuf {
    let name = folder
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    folder.with_file_name(format!(".{name}.new"))
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
