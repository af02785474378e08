//! Packing: the digests are right, the same input gives the same image, a layer holds what it should.

use super::layer::{self, digest};
use super::*;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;

const RECIPE: Recipe = Recipe {
    name: "sample",
    description: "a program with its libraries",
    programs: &[Program::Built("sample")],
    files: &[("/etc/sample/file", "text\n")],
    entrypoint: &["/usr/bin/sample"],
    user: "65534:65534",
    port: "8080/tcp",
    stop_signal: "SIGTERM",
};

/// A folder with a real, dynamically linked program.
fn programs() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::copy("/bin/true", folder.path().join("sample")).unwrap();
    folder
}

/// The blob of a layout, once its digest was compared with its content.
fn blob(folder: &Path, descriptor: &Value) -> Vec<u8> {
    let named = descriptor["digest"].as_str().unwrap();
    let bytes = fs::read(folder.join("blobs").join(named.replace(':', "/"))).unwrap();
    assert_eq!(digest(&bytes), named);
    assert_eq!(descriptor["size"].as_u64().unwrap(), bytes.len() as u64);
    bytes
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// Path, mode and owner of each entry of a layer.
fn entries(archive: &[u8]) -> BTreeMap<String, (u32, u64)> {
    let mut archive = tar::Archive::new(archive);
    let read = |entry: tar::Entry<'_, &[u8]>| {
        let header = entry.header();
        assert_eq!(header.mtime().unwrap(), 0);
        let path = entry.path().unwrap().display().to_string();
        (path, (header.mode().unwrap(), header.uid().unwrap()))
    };
    archive
        .entries()
        .unwrap()
        .map(|entry| read(entry.unwrap()))
        .collect()
}

#[test]
fn every_digest_of_a_layout_is_that_of_its_content() {
    let (programs, out) = (programs(), tempfile::tempdir().unwrap());
    let returned = pack(&RECIPE, programs.path(), out.path()).unwrap();
    let folder = out.path().join("sample");
    let index = json(&fs::read(folder.join("index.json")).unwrap());
    assert_eq!(index["manifests"][0]["digest"], returned);
    assert_eq!(
        index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"],
        "sample"
    );
    let manifest = json(&blob(&folder, &index["manifests"][0]));
    let configuration = json(&blob(&folder, &manifest["config"]));
    let mut archive = Vec::new();
    let packed = blob(&folder, &manifest["layers"][0]);
    flate2::read::GzDecoder::new(&packed[..])
        .read_to_end(&mut archive)
        .unwrap();
    assert_eq!(configuration["rootfs"]["diff_ids"][0], digest(&archive));
    assert_eq!(configuration["config"]["User"], "65534:65534");
    assert_eq!(configuration["config"]["StopSignal"], "SIGTERM");
    assert!(configuration["config"]["ExposedPorts"]["8080/tcp"].is_object());
}

#[test]
fn layer_holds_the_program_its_loader_and_what_is_mounted_on() {
    let programs = programs();
    let tree = tree(&RECIPE, programs.path()).unwrap();
    let layer = layer::pack(&tree).unwrap();
    let mut archive = Vec::new();
    flate2::read::GzDecoder::new(&layer.blob[..])
        .read_to_end(&mut archive)
        .unwrap();
    let entries = entries(&archive);
    assert_eq!(entries["usr/bin/sample"], (0o755, 0));
    assert_eq!(entries["etc/sample/file"], (0o644, 0));
    assert_eq!(entries["tmp"], (0o1777, 0));
    assert!(
        entries.contains_key("proc") && entries.contains_key("dev"),
        "{entries:?}"
    );
    assert!(
        entries.keys().any(|path| path.contains("libc.so")),
        "{entries:?}"
    );
}

#[test]
fn packing_twice_gives_the_same_image() {
    let (programs, first, second) = (
        programs(),
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
    );
    let digests = [&first, &second].map(|out| pack(&RECIPE, programs.path(), out.path()).unwrap());
    assert_eq!(digests[0], digests[1]);
    let index = |out: &tempfile::TempDir| fs::read(out.path().join("sample/index.json")).unwrap();
    assert_eq!(index(&first), index(&second));
}

#[test]
fn changed_program_replaces_the_layout_whole() {
    let (programs, out) = (programs(), tempfile::tempdir().unwrap());
    let before = pack(&RECIPE, programs.path(), out.path()).unwrap();
    fs::copy("/bin/false", programs.path().join("sample")).unwrap();
    let after = pack(&RECIPE, programs.path(), out.path()).unwrap();
    assert_ne!(before, after);
    let old = out
        .path()
        .join("sample/blobs")
        .join(before.replace(':', "/"));
    assert!(
        !old.exists(),
        "the blobs of the replaced image are still there"
    );
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 1);
}

#[test]
fn missing_package_is_named() {
    let error = installed("/usr/sbin/no-such-program", "no-such-package").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("install the package no-such-package"),
        "{error}"
    );
}
