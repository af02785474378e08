//! A tiny image: the static busybox of this machine under the names that the tests call, written as an OCI image layout.

use std::fs;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// What a test wants of its image.
#[derive(Debug, Default)]
pub struct Wish {
    pub user: &'static str,
    pub stop_signal: Option<&'static str>,
    /// A static program, to be called `/bin/program`.
    pub program: Option<Vec<u8>>,
}

const PROGRAMS: [&str; 29] = [
    "sh", "cat", "chmod", "chown", "date", "dd", "echo", "env", "grep", "head", "hostname",
    "httpd", "id", "ip", "kill", "ls", "mkdir", "mount", "nc", "ping", "rm", "seq", "sleep",
    "tail", "test", "touch", "true", "unshare", "wget",
];

/// The program that the image is made of; it must need no library.
const BUSYBOX: &str = "/bin/busybox";

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:1234:1235:web:/tmp:/bin/sh\n";
const GROUP: &str = "root:x:0:\nweb:x:1235:\nlogs:x:77:web\n";

/// What keeps the image from being made here.
pub fn missing() -> Option<String> {
    let there = fs::metadata(BUSYBOX).is_ok_and(|about| about.is_file());
    (!there).then(|| format!("the test image needs {BUSYBOX} (package busybox-static)"))
}

/// Writes an image layout into a folder of layouts and returns the digest of its manifest.
pub fn write(images: &Path, name: &str, wish: &Wish) -> String {
    let folder = images.join(name);
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("a folder");
    let layer = layer(wish);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    std::io::Write::write_all(&mut gzip, &layer).expect("compressed");
    let configuration = json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "User": wish.user,
            "Env": ["PATH=/bin", "OF_IMAGE=yes"],
            "Entrypoint": ["/bin/sh"],
            "StopSignal": wish.stop_signal.unwrap_or("SIGTERM"),
        },
        "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
    });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob(&blobs, "application/vnd.oci.image.config.v1+json", configuration.to_string().as_bytes()),
        "layers": [blob(&blobs, "application/vnd.oci.image.layer.v1.tar+gzip", &gzip.finish().expect("finished"))],
    });
    let manifest = blob(
        &blobs,
        "application/vnd.oci.image.manifest.v1+json",
        manifest.to_string().as_bytes(),
    );
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs::write(folder.join("index.json"), index.to_string()).expect("written");
    fs::write(
        folder.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .expect("written");
    manifest["digest"].as_str().expect("a digest").to_owned()
}

fn blob(blobs: &Path, kind: &str, content: &[u8]) -> Value {
    let digest = digest(content);
    let name = digest.strip_prefix("sha256:").expect("it begins so");
    fs::write(blobs.join(name), content).expect("written");
    json!({"mediaType": kind, "digest": digest, "size": content.len()})
}

fn layer(wish: &Wish) -> Vec<u8> {
    let busybox = fs::read(BUSYBOX).expect("it was there a moment ago");
    let mut builder = Builder::new(Vec::new());
    for folder in ["bin", "etc", "tmp", "root"] {
        add(&mut builder, EntryType::Directory, folder, 0o755, b"", "");
    }
    add(
        &mut builder,
        EntryType::Regular,
        "bin/busybox",
        0o755,
        &busybox,
        "",
    );
    add(
        &mut builder,
        EntryType::Regular,
        "etc/passwd",
        0o644,
        PASSWD.as_bytes(),
        "",
    );
    add(
        &mut builder,
        EntryType::Regular,
        "etc/group",
        0o644,
        GROUP.as_bytes(),
        "",
    );
    for program in PROGRAMS {
        add(
            &mut builder,
            EntryType::Symlink,
            &format!("bin/{program}"),
            0o777,
            b"",
            "busybox",
        );
    }
    if let Some(program) = &wish.program {
        let path = "bin/program";
        add(&mut builder, EntryType::Regular, path, 0o755, program, "");
    }
    builder.into_inner().expect("finished")
}

fn add(
    builder: &mut Builder<Vec<u8>>,
    kind: EntryType,
    path: &str,
    mode: u32,
    content: &[u8],
    target: &str,
) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(content.len() as u64);
    match kind {
        EntryType::Symlink => builder
            .append_link(&mut header, path, target)
            .expect("appended"),
        _ => builder
            .append_data(&mut header, path, content)
            .expect("appended"),
    }
}

fn digest(content: &[u8]) -> String {
    let hex = Sha256::digest(content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<String>();
    format!("sha256:{hex}")
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
