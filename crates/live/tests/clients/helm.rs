//! Helm, and a chart of ConfigMaps, a kind of its own, objects of it and of Groma, and hooks: `tests/helm/chart`.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use live::tools;
use live::{Groma, Skip};
use serde_json::Value;
use tempfile::TempDir;

/// Helm with a home of its own, kubectl to look with, and a server.
struct Place {
    helm: PathBuf,
    kubectl: PathBuf,
    groma: Groma,
    home: TempDir,
}

#[test]
fn a_chart_is_installed_upgraded_rolled_back_and_removed() {
    match Place::new() {
        Ok(place) => life(&place),
        Err(skip) => skip.report(),
    }
}

fn life(place: &Place) {
    place.release("install --create-namespace");
    assert_eq!(place.read("configmap", "settings", ".data.colour"), "red");
    assert_eq!(place.read("gear", "first", ".spec"), teeth(12));
    assert_eq!(
        place.read(
            "provider",
            "shop",
            ".metadata.labels.app\\.kubernetes\\.io/managed-by"
        ),
        "Helm"
    );
    // What nobody but a user of the cluster wrote is not the chart's.
    place
        .kubectl("patch configmap settings -n shop --type=merge -p {\"data\":{\"note\":\"mine\"}}");
    place.release("upgrade --set colour=blue --set second=other");
    assert_eq!(place.read("configmap", "settings", ".data.colour"), "blue");
    assert_eq!(place.read("configmap", "settings", ".data.note"), "mine");
    assert_eq!(
        place.read("configmap", "settings", ".data.seen"),
        "3",
        "a template sees what is there"
    );
    assert_eq!(place.read("configmap", "before", ".data.revision"), "2");
    assert_eq!(place.read("gear", "other", ".spec"), teeth(12));

    // The server refuses one object; the upgrade goes back by itself.
    let said = place.refused("upgrade shop CHART -n shop --atomic --timeout 1m --set teeth=2");
    assert!(said.contains("spec.teeth"), "{said}");
    assert_eq!(
        place.revisions(),
        ["superseded", "superseded", "failed", "deployed"]
    );
    place.helm("rollback shop 1 -n shop --wait --timeout 1m");
    assert_eq!(place.read("configmap", "settings", ".data.colour"), "red");
    assert!(!place.names("gears").contains("other"), "it goes again");

    let said = place.helm("uninstall shop -n shop --wait --timeout 1m");
    assert!(said.contains("release \"shop\" uninstalled"), "{said}");
    assert_eq!(place.names("gears"), "");
    assert_eq!(place.names("secrets"), "", "nor does the history stay");
    assert_eq!(
        place.names("configmaps"),
        "configmap/before\n",
        "what hooks made stays, as everywhere"
    );
    place.kubectl("get crd gears.helm.example.org");
}

fn teeth(number: u32) -> String {
    format!(r#"{{"metal":"steel","teeth":{number}}}"#)
}

impl Place {
    fn new() -> Result<Self, Skip> {
        Ok(Self {
            helm: tools::helm()?,
            kubectl: tools::kubectl()?,
            groma: Groma::start(&[])?,
            home: tempfile::tempdir().expect("a folder can be made"),
        })
    }

    /// Installs or upgrades the release with these words.
    #[track_caller]
    fn release(&self, words: &str) {
        let (verb, rest) = words.split_once(' ').expect("a verb and more");
        self.helm(&format!(
            "{verb} shop CHART -n shop --wait --timeout 1m {rest}"
        ));
    }

    #[track_caller]
    fn helm(&self, line: &str) -> String {
        printed(self.command(&self.helm, line), true)
    }

    #[track_caller]
    fn refused(&self, line: &str) -> String {
        printed(self.command(&self.helm, line), false)
    }

    #[track_caller]
    fn kubectl(&self, line: &str) -> String {
        printed(self.command(&self.kubectl, line), true)
    }

    #[track_caller]
    fn read(&self, kind: &str, name: &str, path: &str) -> String {
        self.kubectl(&format!("get {kind} {name} -n shop -o jsonpath={{{path}}}"))
    }

    #[track_caller]
    fn names(&self, kind: &str) -> String {
        self.kubectl(&format!("get {kind} -n shop -o name"))
    }

    /// How each revision of the release ended.
    #[track_caller]
    fn revisions(&self) -> Vec<String> {
        let said = self.helm("history shop -n shop -o json");
        let history: Vec<Value> = serde_json::from_str(&said).expect("it prints JSON");
        let status = |revision: &Value| revision["status"].as_str().unwrap_or_default().to_owned();
        history.iter().map(status).collect()
    }

    fn command(&self, program: &PathBuf, line: &str) -> Command {
        let chart = tools::helm_chart().display().to_string();
        let mut command = Command::new(program);
        command
            .args(line.split(' ').map(|word| match word {
                "CHART" => &chart,
                word => word,
            }))
            .env("KUBECONFIG", self.groma.kubeconfig())
            .env("HOME", self.home.path())
            .stdin(Stdio::null());
        command
    }
}

/// What a command says that must work, or must not.
#[track_caller]
fn printed(mut command: Command, works: bool) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?} runs: {error}"));
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        output.status.success(),
        works,
        "{command:?}\n{stdout}{stderr}"
    );
    match works {
        true => stdout.into_owned(),
        false => stderr.into_owned(),
    }
}
