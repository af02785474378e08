//! Images of somebody who wants out of the container before it has begun.

mod layout;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use adapter::{ContainerId, ContainerPhase, ContainerRuntime, ContainerSpec, ContainerState};
use adapter_oci::{OciConfig, OciRuntime};
use api::wdm::{Execution, OnChange, Stop};
use api::{Quantity, Resources, Seconds};
use futures::StreamExt;
use linux::cgroup::Hierarchies;
use linux::netns;
use live::Skip;
use serde_json::{Value, json};
use tar::EntryType;
use tempfile::TempDir;
use tokio::time::{Instant, timeout};

use self::layout::{BUSYBOX, Entry, blob, devices, layer, long_name, program, zipped};

/// How long one image may take until it runs or is refused.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(20);
const SHIM: &str = env!("CARGO_BIN_EXE_container-agent");
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

#[tokio::test(flavor = "multi_thread")]
async fn an_image_writes_nothing_outside_of_itself() {
    let bed = match Bed::new().await {
        Ok(bed) => bed,
        Err(skip) => return skip.report(),
    };
    let outside = bed.place.path().join("outside");
    fs::create_dir(&outside).expect("a folder");
    let out = outside.display().to_string();
    let climbs = format!("../../../../../../../../../..{out}/planted");
    let (file, folder) = (EntryType::Regular, EntryType::Directory);
    let (symlink, link) = (EntryType::Symlink, EntryType::Link);

    // Refused, with why.
    let refused: [(&str, Vec<Entry<'_>>, &str); 5] = [
        ("climbs", vec![(file, &climbs, "")], "leaves the image"),
        (
            "links-up",
            vec![(link, "a", "../../../etc/passwd")],
            "leaves the image",
        ),
        (
            "links-out",
            vec![(symlink, "etc", "/etc"), (link, "a", "etc/shadow")],
            "cannot link",
        ),
        ("hides-up", vec![(file, "a/.wh...", "")], "names no file"),
        (
            "loops",
            vec![(symlink, "a", "b"), (symlink, "b", "a"), (file, "a/x", "")],
            "cannot unpack",
        ),
    ];
    for (name, entries, because) in refused {
        bed.image(name, &[layer(&entries)], Lie::None);
        bed.is_refused(name, because).await;
    }
    let proc: Vec<Entry<'_>> = vec![
        (symlink, "proc", &out),
        (symlink, "dev", &out),
        (symlink, "sys", "/"),
    ];
    for (name, entries) in [
        (
            "through-a-link",
            vec![(symlink, "data", &*out), (file, "data/planted", "")],
        ),
        (
            "absolute",
            vec![
                (file, "/planted", ""),
                (symlink, "x", "/"),
                (file, "x/planted", ""),
            ],
        ),
        (
            "over-a-link",
            vec![
                (symlink, "y", &*out),
                (folder, "y", ""),
                (file, "y/planted", ""),
            ],
        ),
        ("mounts", proc),
        (
            "hides-nothing",
            vec![(file, "no/such/.wh.file", ""), (file, ".wh..wh..opq", "")],
        ),
    ] {
        bed.image(name, &[layer(&entries)], Lie::None);
        // It may run or not: what it was to reach is not reached.
        bed.tried(name).await;
    }
    let planted: Vec<_> = fs::read_dir(&outside).expect("its own").flatten().collect();
    assert!(planted.is_empty(), "{planted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_what_its_digest_says_and_no_larger_than_it_may_be() {
    let bed = match Bed::new().await {
        Ok(bed) => bed,
        Err(skip) => return skip.report(),
    };
    bed.image("lies", &[layer(&[])], Lie::Layer);
    bed.is_refused("lies", "digest").await;
    bed.image("elsewhere", &[layer(&[])], Lie::Path);
    bed.is_refused("elsewhere", "cannot understand").await;
    // Headers of an entry that unpack to far more than their bytes, and too many layers.
    bed.image("headers", &[long_name(64 << 20)], Lie::None);
    bed.is_refused("headers", "headers of an entry").await;
    bed.image("layers", &vec![layer(&[]); 129], Lie::None);
    bed.is_refused("layers", "at most 128").await;
    fs::write(bed.images().join("lies/index.json"), vec![b' '; 5 << 20]).expect("written");
    bed.is_refused("lies", "cannot ").await;
    fs::write(bed.images().join("lies/index.json"), "[".repeat(1 << 20)).expect("written");
    bed.is_refused("lies", "cannot ").await;
    // Devices and rights of their owners are left behind.
    bed.image("devices", &[devices()], Lie::None);
    bed.runs("devices").await;
    let unpacked = bed.unpacked();
    assert!(!unpacked.is_empty());
    for (path, mode) in unpacked {
        let is_special = mode & 0o7_000 & !0o1_000 != 0
            || mode & 0o170_000 == 0o060_000
            || mode & 0o170_000 == 0o020_000;
        assert!(!is_special, "{} has the mode {mode:o}", path.display());
    }
}

/// In what an image lies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lie {
    None,
    /// A layer is another one than its digest says.
    Layer,
    /// The digest of a layer is a path.
    Path,
}

/// A runtime, and the folder of its images.
struct Bed {
    host: String,
    place: TempDir,
    /// `None` once it ends.
    runtime: Option<OciRuntime>,
}

impl Bed {
    async fn new() -> Result<Self, Skip> {
        let mut missing = adapter_oci::requirements();
        if !Path::new(BUSYBOX).is_file() {
            missing.push(format!(
                "the test image needs {BUSYBOX} (package busybox-static)"
            ));
        }
        if !missing.is_empty() {
            return Err(Skip::because(missing.join("; ")));
        }
        let place = tempfile::tempdir().expect("a folder");
        let unique = place.path().to_string_lossy().into_owned();
        let host = format!(
            "at{}n{:x}",
            process::id(),
            api::short_hash(&[&unique]) & 0xffff
        );
        netns::ensure(&format!("{host}-router")).expect("a router");
        let config = OciConfig {
            host: host.clone(),
            state: place.path().join("state"),
            images: place.path().join("images"),
            router_netns: format!("{host}-router"),
            attachment_mtu: 1400,
            shim: vec![SHIM.into(), "shim".into()],
            runtime_program: "runc".to_owned(),
        };
        let runtime = OciRuntime::open(config).await.expect("the runtime opens");
        Ok(Self {
            host,
            place,
            runtime: Some(runtime),
        })
    }

    fn images(&self) -> PathBuf {
        self.place.path().join("images")
    }

    /// Writes an image of a program that stays and of these layers.
    fn image(&self, name: &str, layers: &[Vec<u8>], lie: Lie) {
        let folder = self.images().join(name);
        let blobs = folder.join("blobs/sha256");
        fs::create_dir_all(&blobs).expect("a folder");
        let program = program();
        let mut described: Vec<Value> = layers
            .iter()
            .chain([&program])
            .map(|layer| blob(&blobs, LAYER, &zipped(layer)))
            .collect();
        let digest = described[0]["digest"]
            .as_str()
            .expect("a digest")
            .to_owned();
        match lie {
            Lie::None => {}
            Lie::Layer => fs::write(blobs.join(&digest[7..]), zipped(&program)).expect("written"),
            Lie::Path => described[0]["digest"] = json!("sha256:../../../../../../../etc/passwd"),
        }
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let config = json!({"architecture": architecture, "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": []}});
        let config = blob(
            &blobs,
            "application/vnd.oci.image.config.v1+json",
            config.to_string().as_bytes(),
        );
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest =
            json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": described});
        let manifest = blob(&blobs, kind, manifest.to_string().as_bytes());
        let index = json!({"schemaVersion": 2, "manifests": [manifest]});
        fs::write(folder.join("index.json"), index.to_string()).expect("written");
    }

    /// Runs a container of that image and removes it: why it did not run, if it did not.
    async fn tried(&self, image: &str) -> Option<String> {
        let id = ContainerId {
            namespace: "default".to_owned(),
            name: image.to_owned(),
            uid: format!("uid-{image}"),
        };
        if let Err(refused) = self.runtime().ensure(&id, &spec(image)).await {
            return Some(api::chain(&refused));
        }
        let settled = |state: ContainerState| match state.phase {
            ContainerPhase::Running { .. } => Some(None),
            _ => state.last_exit.map(Some),
        };
        let why = self.until(&id, |state| state.and_then(settled)).await;
        self.runtime().remove(&id).await.expect("asked");
        self.until(&id, |state| state.is_none().then_some(())).await;
        why
    }

    async fn until<T>(
        &self,
        id: &ContainerId,
        is_so: impl Fn(Option<ContainerState>) -> Option<T>,
    ) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            let state = self.runtime().find(id).await.expect("found");
            if let Some(found) = is_so(state.clone()) {
                return found;
            }
            assert!(Instant::now() < end, "{id}: {state:?}");
            let _ = timeout(LOOK, self.runtime().changes().next()).await;
        }
    }

    async fn is_refused(&self, image: &str, because: &str) {
        let why = self.tried(image).await;
        let why = why.unwrap_or_else(|| panic!("{image} runs"));
        assert!(why.contains(because), "{image}: {why}");
        // What somebody else runs there is as good as ever.
        self.image("good", &[layer(&[])], Lie::None);
        self.runs("good").await;
    }

    async fn runs(&self, image: &str) {
        assert_eq!(self.tried(image).await, None, "{image}");
    }

    /// All files of unpacked images, with their modes.
    fn unpacked(&self) -> Vec<(PathBuf, u32)> {
        fn below(folder: &Path, found: &mut Vec<(PathBuf, u32)>) {
            use std::os::unix::fs::MetadataExt;
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let about = entry.metadata().expect("its own");
                found.push((entry.path(), about.mode()));
                if about.is_dir() {
                    below(&entry.path(), found);
                }
            }
        }
        let mut found = Vec::new();
        below(&self.place.path().join("state"), &mut found);
        found.retain(|(path, _)| {
            path.ends_with("tmp/suid") || path.to_string_lossy().contains("/tmp/dev")
        });
        found
    }

    fn runtime(&self) -> &OciRuntime {
        self.runtime.as_ref().expect("it is there until the end")
    }
}

impl Drop for Bed {
    /// By force, as after a failed test.
    fn drop(&mut self) {
        self.runtime = None;
        let groups = format!("groma/{}", self.host);
        if let Ok(hierarchies) = Hierarchies::detect() {
            let _ = hierarchies.group(&groups).remove(PATIENCE);
        }
        for prefix in [
            format!("groma-{}-", self.host),
            format!("{}-router", self.host),
        ] {
            for name in netns::list(&prefix).unwrap_or_default() {
                let _ = netns::delete(&name);
            }
        }
    }
}

fn spec(image: &str) -> ContainerSpec {
    ContainerSpec {
        image: format!("layout:{image}"),
        execution: Execution {
            command: ["/bin/busybox", "sleep", "1000"]
                .map(str::to_owned)
                .to_vec(),
            stop: Stop {
                signal: Some("SIGKILL".to_owned()),
                grace_seconds: Seconds(1),
            },
            ..Execution::default()
        },
        resources: Resources::from([
            ("cpu", Quantity::milli(500)),
            ("memory", Quantity::whole(64 << 20)),
        ]),
        environment: BTreeMap::new(),
        files: BTreeMap::new(),
        on_change: OnChange::default(),
        interfaces: Vec::new(),
    }
}
