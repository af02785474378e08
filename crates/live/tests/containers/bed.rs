//! A host's container runtime on this machine, with a router namespace and one small image, and the proof that nothing of
//! it is left at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use adapter::{
    ContainerId, ContainerInterface, ContainerPhase, ContainerRuntime, ContainerSpec,
    ContainerState, ExecOutput, ExecRequest, LogOptions,
};
use adapter_oci::{OciConfig, OciRuntime};
use api::wdm::{Execution, InterfaceRole, OnChange, Stop};
use api::{Quantity, Resources, Seconds};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use linux::cgroup::Hierarchies;
use linux::netns;
use live::Skip;
use tempfile::TempDir;
use tokio::time::{Instant, timeout};

use crate::image;

/// How long anything may take that a test waits for.
pub const LIMIT: Duration = Duration::from_secs(40);

/// The longest pause between two looks; hints come earlier.
const LOOK: Duration = Duration::from_millis(20);

/// Where the user of the test image may write.
pub const AGENT: &str = env!("CARGO_BIN_EXE_container-agent");

static BEDS: AtomicU32 = AtomicU32::new(0);

pub struct Bed {
    pub host: String,
    pub place: TempDir,
    runtime: Option<OciRuntime>,
}

impl Bed {
    /// A bed, or `None` with a printed reason where containers cannot run.
    pub async fn new() -> Option<Self> {
        let mut missing = adapter_oci::requirements();
        missing.extend(image::missing());
        if !missing.is_empty() {
            Skip::because(missing.join("; ")).report();
            return None;
        }
        let number = BEDS.fetch_add(1, Ordering::Relaxed);
        let host = format!("test{}n{number}", std::process::id());
        let place = tempfile::tempdir().expect("a folder");
        netns::ensure(&format!("{host}-router")).expect("a router");
        image::write(&place.path().join("images"), "box", &image::Wish::default());
        let mut bed = Self {
            host,
            place,
            runtime: None,
        };
        bed.open().await;
        Some(bed)
    }

    pub fn config(&self) -> OciConfig {
        OciConfig {
            host: self.host.clone(),
            state: self.place.path().join("state"),
            images: self.place.path().join("images"),
            router_netns: format!("{}-router", self.host),
            attachment_mtu: 1400,
            shim: vec![AGENT.into(), "shim".into()],
            runtime_program: "runc".to_owned(),
        }
    }

    /// Opens the runtime; an earlier one is dropped, as when an agent ends.
    pub async fn open(&mut self) {
        self.close().await;
        self.runtime = Some(
            OciRuntime::open(self.config())
                .await
                .expect("the runtime opens"),
        );
    }

    pub async fn close(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.close().await;
        }
    }

    pub fn runtime(&self) -> &OciRuntime {
        self.runtime.as_ref().expect("opened")
    }

    pub async fn start(&self, name: &str, spec: &ContainerSpec) -> ContainerId {
        let id = id(name);
        self.runtime().ensure(&id, spec).await.expect("taken");
        id
    }

    /// Starts a container and waits until it is ready.
    pub async fn run(&self, name: &str, spec: &ContainerSpec) -> ContainerId {
        let id = self.start(name, spec).await;
        self.until(&id, "it is ready", |state| state.ready).await;
        id
    }

    pub async fn state(&self, id: &ContainerId) -> Option<ContainerState> {
        self.runtime().find(id).await.expect("found")
    }

    /// Waits until a container looks like this.
    pub async fn until(
        &self,
        id: &ContainerId,
        what: &str,
        good: impl Fn(&ContainerState) -> bool,
    ) -> ContainerState {
        let mut hints = self.runtime().changes();
        let end = Instant::now() + LIMIT;
        loop {
            let state = self.state(id).await;
            match state {
                Some(state) if good(&state) => return state,
                seen => assert!(Instant::now() < end, "{id}: not {what}: {seen:?}"),
            }
            let _ = timeout(LOOK, hints.next()).await;
        }
    }

    pub async fn running(&self, id: &ContainerId) -> ContainerState {
        self.until(id, "running", |state| {
            matches!(state.phase, ContainerPhase::Running { .. })
        })
        .await
    }

    pub async fn remove(&self, id: &ContainerId) {
        self.runtime().remove(id).await.expect("asked");
        let end = Instant::now() + LIMIT;
        while let Some(state) = self.state(id).await {
            assert!(Instant::now() < end, "{id} is not gone: {state:?}");
            let _ = timeout(LOOK, self.runtime().changes().next()).await;
        }
    }

    /// All that a container wrote in its last run.
    pub async fn logs(&self, id: &ContainerId) -> String {
        self.logs_of(id, LogOptions::default()).await
    }

    pub async fn logs_of(&self, id: &ContainerId, options: LogOptions) -> String {
        let stream = self.runtime().logs(id, options).await.expect("logs");
        let chunks: Vec<Bytes> = stream.try_collect().await.expect("read");
        String::from_utf8_lossy(&chunks.concat()).into_owned()
    }

    /// Waits until a container has written something.
    pub async fn logged(&self, id: &ContainerId, what: &str) -> String {
        let end = Instant::now() + LIMIT;
        loop {
            let logs = self.logs(id).await;
            if logs.contains(what) {
                return logs;
            }
            assert!(
                Instant::now() < end,
                "{id} did not write {what:?}: {logs:?}"
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Runs a shell line in a container: standard output, standard error and status.
    pub async fn exec(&self, id: &ContainerId, line: &str) -> (String, String, i32) {
        self.exec_with(id, &["/bin/sh", "-c", line], "").await
    }

    pub async fn exec_with(
        &self,
        id: &ContainerId,
        command: &[&str],
        input: &str,
    ) -> (String, String, i32) {
        let input = Bytes::copy_from_slice(input.as_bytes());
        let request = ExecRequest {
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            stdin: stream::iter([input]).boxed(),
        };
        let mut output = self.runtime().exec(id, request).await.expect("started");
        let (mut out, mut err, mut status) = (Vec::new(), Vec::new(), None);
        while let Some(item) = output.next().await {
            match item.expect("streamed") {
                ExecOutput::Stdout(bytes) => out.extend_from_slice(&bytes),
                ExecOutput::Stderr(bytes) => err.extend_from_slice(&bytes),
                ExecOutput::Exit(code) => status = Some(code),
            }
        }
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
        (
            text(out),
            text(err),
            status.expect("the last item is the status"),
        )
    }

    /// Removes all containers and proves that nothing is left of them.
    pub async fn finish(mut self) {
        for id in self.runtime().list().await.expect("listed") {
            self.remove(&id).await;
        }
        self.close().await;
        assert_eq!(self.leftovers(), BTreeSet::new());
    }

    /// What is left of containers: control groups, namespaces, interfaces, processes, mounts and folders.
    pub fn leftovers(&self) -> BTreeSet<String> {
        let mut left = BTreeSet::new();
        let hierarchies = Hierarchies::detect().expect("control groups");
        let group = hierarchies.group(&format!("groma/{}", self.host));
        if group.exists() {
            left.insert(format!("group {}", group.path()));
        }
        left.extend(netns::list(&format!("groma-{}-", self.host)).expect("listed"));
        let router = netns::open(&format!("{}-router", self.host))
            .expect("opened")
            .expect("there");
        let links = linux::Netlink::open(&router)
            .expect("opened")
            .links()
            .expect("listed");
        left.extend(
            links
                .into_iter()
                .map(|link| link.name)
                .filter(|name| name.starts_with("gt")),
        );
        left.extend(self.processes());
        let state = self.place.path().join("state");
        for folder in ["containers", "removed"] {
            let entries = fs::read_dir(state.join(folder))
                .into_iter()
                .flatten()
                .flatten();
            left.extend(entries.map(|entry| entry.path().display().to_string()));
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("read");
        let own = state.to_string_lossy().into_owned();
        left.extend(
            mounts
                .lines()
                .filter(|line| line.contains(&own))
                .map(str::to_owned),
        );
        left
    }

    /// Processes, zombies too, that carry our state folder in their command line or our group.
    fn processes(&self) -> Vec<String> {
        let state = self.place.path().to_string_lossy().into_owned();
        let group = format!("/groma/{}/", self.host);
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").expect("read").flatten() {
            let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
            let line = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
            let groups = String::from_utf8_lossy(&read("cgroup")).into_owned();
            if line.contains(&state) || groups.contains(&group) {
                found.push(format!("process {:?} {line}", entry.file_name()));
            }
        }
        found
    }

    /// How many processes of our containers have ended and were not reaped.
    pub fn zombies(&self) -> usize {
        let group = format!("/groma/{}/", self.host);
        let entries = fs::read_dir("/proc").expect("read").flatten();
        let ended = entries.filter(|entry| {
            let read = |name: &str| fs::read_to_string(entry.path().join(name)).unwrap_or_default();
            read("stat").contains(") Z ") && read("cgroup").contains(&group)
        });
        ended.count()
    }

    /// The processes of each container, its shim included.
    pub fn groups(&self) -> BTreeMap<String, BTreeSet<i32>> {
        let hierarchies = Hierarchies::detect().expect("control groups");
        let all = format!("groma/{}", self.host);
        let keys = hierarchies.children(&all).into_iter();
        let with_members = keys.map(|key| {
            let members = hierarchies.group(&format!("{all}/{key}")).processes();
            (key, members)
        });
        with_members.collect()
    }
}

impl Drop for Bed {
    /// Also after a failed test: by force.
    fn drop(&mut self) {
        self.runtime = None;
        if let Ok(hierarchies) = Hierarchies::detect() {
            let _ = hierarchies
                .group(&format!("groma/{}", self.host))
                .remove(LIMIT);
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

pub fn id(name: &str) -> ContainerId {
    ContainerId {
        namespace: "default".to_owned(),
        name: name.to_owned(),
        uid: format!("uid-{name}"),
    }
}

/// A container that runs a shell script.
pub fn script(line: &str) -> ContainerSpec {
    ContainerSpec {
        image: "layout:box".to_owned(),
        execution: Execution {
            command: ["/bin/sh", "-c", line].map(str::to_owned).to_vec(),
            stop: Stop {
                signal: Some("SIGKILL".to_owned()),
                grace_seconds: Seconds(5),
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

/// A container that only stays.
pub fn idle() -> ContainerSpec {
    script("exec sleep 100000")
}

/// One end of an attachment, with a name in the router that leaves no doubt whose it is.
pub fn interface(name: &str, router: &str, role: InterfaceRole) -> ContainerInterface {
    ContainerInterface {
        name: name.to_owned(),
        router_interface: router.to_owned(),
        role,
        address: None,
    }
}

/// The folder of a container, of which there must be one.
pub fn only_folder(bed: &Bed) -> PathBuf {
    let mut entries = fs::read_dir(bed.place.path().join("state/containers")).expect("listed");
    entries.next().expect("one container").expect("read").path()
}
