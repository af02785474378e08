//! Flux: its controllers fetch an artifact, apply what is in it, keep it so, and take away what is no longer in it.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;

use live::kubernetes::free_port;
use live::tools::{self, flux};
use live::{Groma, Skip};
use tempfile::TempDir;

use crate::registry::Registry;
use crate::run::printed;

/// How long the controllers may take for what is asked of them.
const PATIENCE: &str = "--timeout=90s";
/// How many lines of each log are shown when the test fails.
const LINES_SHOWN: usize = 40;

const DEFINITION: &str = r"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gears.flux.example.org}
spec:
  group: flux.example.org
  scope: Namespaced
  names: {plural: gears, singular: gear, kind: Gear}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              teeth: {type: integer}
              metal: {type: string, default: steel}
";
const GEAR: &str = r"
apiVersion: flux.example.org/v1
kind: Gear
metadata: {name: first, namespace: shop}
spec: {teeth: 12}
";
const SETTINGS: &str = r"
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: shop}
data: {colour: COLOUR}
";
const SOURCE: &str = r"
apiVersion: source.toolkit.fluxcd.io/v1
kind: OCIRepository
metadata: {name: shop, namespace: default}
spec: {interval: 1s, url: URL, insecure: true, ref: {tag: latest}}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: shop, namespace: default}
spec:
  interval: 1h
  retryInterval: 2s
  prune: true
  wait: true
  sourceRef: {kind: OCIRepository, name: shop}
";

/// A server with the controllers beside it.
struct Place {
    kubectl: PathBuf,
    // They end before their server and their folder go.
    running: Vec<Child>,
    groma: Groma,
    folder: TempDir,
    controllers: Vec<flux::Controller>,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_a_source_is_applied_kept_and_removed() {
    match Place::new() {
        Ok(place) => life(&place, &Registry::start().await),
        Err(skip) => skip.report(),
    }
}

fn life(place: &Place, registry: &Registry) {
    let settings = |colour: &str| SETTINGS.replace("COLOUR", colour);
    let red = settings("red");
    let first = registry.push(&[
        ("definition.yaml", DEFINITION),
        ("gear.yaml", GEAR),
        ("settings.yaml", &red),
    ]);
    place.apply(&SOURCE.replace("URL", &registry.url()));
    place.until_applied(&first);
    place.kubectl(&format!(
        "wait kustomization/shop --for=condition=Ready {PATIENCE}"
    ));
    assert_eq!(place.read("configmap/settings", ".data.colour"), "red");
    assert_eq!(
        place.read("gear/first", ".spec"),
        r#"{"metal":"steel","teeth":12}"#
    );
    let label = r".metadata.labels.kustomize\.toolkit\.fluxcd\.io/name";
    assert_eq!(place.read("gear/first", label), "shop");
    let owners = ".metadata.managedFields[*].manager";
    assert_eq!(place.read("gear/first", owners), "kustomize-controller");

    // What somebody takes away comes back, and what somebody changes is changed back.
    place.kubectl("delete gear/first -n shop");
    place.kubectl(r#"patch configmap/settings -n shop --type=merge -p {"data":{"colour":"grey"}}"#);
    place.kubectl("annotate kustomization/shop reconcile.fluxcd.io/requestedAt=now");
    place.kubectl(&format!("wait gear/first -n shop --for=create {PATIENCE}"));
    let asked = "--for=jsonpath={.status.lastHandledReconcileAt}=now";
    place.kubectl(&format!("wait kustomization/shop {asked} {PATIENCE}"));
    assert_eq!(place.read("configmap/settings", ".data.colour"), "red");

    // What is no longer in the source goes, the rest follows it.
    let blue = settings("blue");
    let second = registry.push(&[("definition.yaml", DEFINITION), ("settings.yaml", &blue)]);
    place.until_applied(&second);
    assert_eq!(place.read("configmap/settings", ".data.colour"), "blue");
    assert_eq!(place.names("gears"), "");

    // With who applied it everything goes.
    place.kubectl(&format!("delete kustomization/shop {PATIENCE}"));
    place.kubectl(&format!("wait namespace/shop --for=delete {PATIENCE}"));
    place.kubectl(&format!(
        "wait crd/gears.flux.example.org --for=delete {PATIENCE}"
    ));
    // What Go's client of HTTP does not expect of a server stands there, and nowhere else.
    for controller in &place.controllers {
        let log = place.log(controller.name);
        assert!(
            log.contains("Starting workers"),
            "{}: {log}",
            controller.name
        );
        assert!(!log.contains("protocol error"), "{log}");
    }
}

impl Place {
    fn new() -> Result<Self, Skip> {
        let mut place = Self {
            controllers: flux::controllers()?,
            kubectl: tools::kubectl()?,
            running: Vec::new(),
            groma: Groma::start(&[])?,
            folder: tempfile::tempdir().expect("a folder can be made"),
        };
        for controller in &place.controllers {
            let folder = controller.definitions.display().to_string();
            place.kubectl(&format!("apply --server-side -f {folder}"));
        }
        let started = place.controllers.iter().map(|it| place.start(it));
        place.running = started.collect();
        Ok(place)
    }

    fn start(&self, controller: &flux::Controller) -> Child {
        let log = File::create(self.log_file(controller.name)).expect("a log can be made");
        let mut command = Command::new(&controller.program);
        command.args(["--metrics-addr=0", "--health-addr=127.0.0.1:0"]);
        if controller.name == "source-controller" {
            let address = format!("127.0.0.1:{}", free_port());
            let store = self.folder.path().display();
            command.args([
                format!("--storage-path={store}"),
                format!("--storage-addr={address}"),
                format!("--storage-adv-addr={address}"),
            ]);
        }
        let started = command
            .env("KUBECONFIG", self.groma.kubeconfig())
            .env("RUNTIME_NAMESPACE", "default")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        started.unwrap_or_else(|error| panic!("{} starts: {error}", controller.name))
    }

    fn log_file(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.log"))
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.log_file(name)).unwrap_or_default()
    }

    /// Waits until what is in the source at that revision is applied.
    #[track_caller]
    fn until_applied(&self, revision: &str) {
        let applied = format!("--for=jsonpath={{.status.lastAppliedRevision}}={revision}");
        self.kubectl(&format!("wait kustomization/shop {applied} {PATIENCE}"));
    }

    #[track_caller]
    fn apply(&self, documents: &str) {
        let file = self.folder.path().join("documents.yaml");
        fs::write(&file, documents).expect("written");
        self.kubectl(&format!("apply --server-side -f {}", file.display()));
    }

    #[track_caller]
    fn read(&self, object: &str, path: &str) -> String {
        let output = format!("jsonpath={{{path}}}");
        self.kubectl(&format!(
            "get {object} -n shop --show-managed-fields -o {output}"
        ))
    }

    #[track_caller]
    fn names(&self, kind: &str) -> String {
        self.kubectl(&format!("get {kind} -n shop -o name"))
    }

    #[track_caller]
    fn kubectl(&self, line: &str) -> String {
        let mut command = Command::new(&self.kubectl);
        printed(command.args(line.split(' ')), &self.groma)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if thread::panicking() {
            for controller in &self.controllers {
                let text = self.log(controller.name);
                let lines: Vec<&str> = text.lines().collect();
                let last = &lines[lines.len().saturating_sub(LINES_SHOWN)..];
                println!("--- {}\n{}", controller.name, last.join("\n"));
            }
        }
        for controller in &mut self.running {
            // One that has ended already is what is wanted.
            let _ = controller.kill();
            let _ = controller.wait();
        }
    }
}
