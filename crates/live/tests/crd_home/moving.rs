//! From one home into another, and nothing is different there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Command;

use apiserver::store::backup;
use apiserver::store::sealed::Sealer;
use bytes::Bytes;
use kube::api::{DynamicObject, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::ApiResource;
use kube::{Api, Client, Config, ResourceExt};
use live::etcd::Cluster;
use live::{Groma, groma};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::block_in_place;

use crate::home::Home;

/// No controller changes anything meanwhile.
const QUIET: &str = "--blocks";
/// Who keeps the Service while it is being deleted.
const FINALIZER: &str = "example.com/keeps-it";

/// A folder with keys and exports.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder can be made"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs a command that moves something.
    fn groma(&self, words: &[&str], file: &str, more: &[&Path]) {
        let mut command = Command::new(groma::program().expect("it was built"));
        command.args(words).arg(self.path(file)).args(more);
        command.env_remove("KUBECONFIG");
        let output = command.output().expect("groma can be run");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {error}");
    }

    fn export(&self, kubeconfig: &Path, file: &str) {
        self.at_home("export", kubeconfig, file);
    }

    fn import(&self, kubeconfig: &Path, file: &str) {
        self.at_home("import", kubeconfig, file);
    }

    fn at_home(&self, word: &str, kubeconfig: &Path, file: &str) {
        let keys = self.path("keys");
        let more = [
            Path::new("--secret-keys"),
            &keys,
            Path::new("--kubeconfig"),
            kubeconfig,
        ];
        self.groma(&[word], file, &more);
    }

    /// Every object of an export.
    fn objects(&self, file: &str) -> BTreeMap<String, Value> {
        let keys = std::fs::read_to_string(self.path("keys")).expect("keys were made");
        let sealer = Sealer::parse(&keys).expect("they are keys");
        let source = BufReader::new(File::open(self.path(file)).expect("it was written"));
        let (_, content) = backup::read(source).expect("it is whole");
        let entries = content.entries.into_iter();
        let object = |(key, value): (String, Bytes)| {
            let text = sealer
                .opened(&key, value)
                .expect("it was sealed by these keys");
            (key, serde_json::from_slice(&text).expect("an object"))
        };
        entries.map(object).collect()
    }
}

/// What is the same in every home: owners by their names, and nothing that each server gives.
fn essence(objects: &BTreeMap<String, Value>) -> BTreeMap<&str, Value> {
    let by_uid: BTreeMap<&str, &str> = objects
        .iter()
        .filter_map(|(key, object)| Some((object["metadata"]["uid"].as_str()?, key.as_str())))
        .collect();
    let of_homes = |key: &&String| {
        // Every home makes its own.
        !key.ends_with("/kube-root-ca.crt")
            && !key.starts_with("/serviceaccounts/")
            && *key != "/namespaces//groma-system"
    };
    let essential = |object: &Value| {
        let mut object = object.clone();
        let is_leaving = object["metadata"]["deletionTimestamp"].is_string();
        let metadata = object["metadata"].as_object_mut().expect("it has one");
        for given in [
            "uid",
            "resourceVersion",
            "creationTimestamp",
            "generation",
            "managedFields",
            "deletionTimestamp",
        ] {
            metadata.remove(given);
        }
        metadata.insert("leaving".to_owned(), is_leaving.into());
        let owners = metadata
            .get_mut("ownerReferences")
            .and_then(Value::as_array_mut);
        for owner in owners.into_iter().flatten() {
            owner["uid"] = by_uid[owner["uid"].as_str().expect("a text")].into();
        }
        object
    };
    let objects = objects.iter().filter(|(key, _)| of_homes(key));
    objects
        .map(|(key, object)| (key.as_str(), essential(object)))
        .collect()
}

async fn client(kubeconfig: &Path) -> Client {
    let file = Kubeconfig::read_from(kubeconfig).expect("it is one");
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
    Client::try_from(config.expect("it names a server")).expect("a client")
}

/// A server with a topology and a service that is being deleted, which owns a Secret.
async fn furnished(desk: &Desk) -> Option<Groma> {
    let server = match block_in_place(|| Groma::start(&[QUIET])) {
        Ok(server) => server,
        Err(skip) => {
            skip.report();
            return None;
        }
    };
    let kubeconfig = server.kubeconfig();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/demo");
    for file in ["topology.yaml", "service.yaml"] {
        let mut command = Command::new(groma::program().expect("it was built"));
        command.args(["apply", "-f"]).arg(examples.join(file));
        command.arg("--kubeconfig").arg(&kubeconfig);
        let output = command.output().expect("groma can be run");
        assert!(
            output.status.success(),
            "{file}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let client = client(&kubeconfig).await;
    let service = ApiResource {
        group: api::GROUP.to_owned(),
        version: api::VERSION.to_owned(),
        api_version: format!("{}/{}", api::GROUP, api::VERSION),
        kind: "Service".to_owned(),
        plural: "services".to_owned(),
    };
    let services: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &service);
    let found = services
        .list(&kube::api::ListParams::default())
        .await
        .expect("they are served");
    let mut owner = found.items.into_iter().next().expect("it was applied");
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "of-service", "ownerReferences": [{
            "apiVersion": service.api_version, "kind": "Service", "name": owner.name_any(), "uid": owner.uid(),
        }]}, "stringData": {"password": "not for everybody"},
    });
    let secrets: Api<k8s_openapi::api::core::v1::Secret> = Api::default_namespaced(client.clone());
    let secret = serde_json::from_value(secret).expect("a Secret");
    secrets
        .create(&PostParams::default(), &secret)
        .await
        .expect("it is made");
    owner.finalizers_mut().push(FINALIZER.to_owned());
    let name = owner.name_any();
    let mut owner = services
        .replace(&name, &PostParams::default(), &owner)
        .await
        .expect("written");
    owner.data["status"] = json!({"conditions": [{
        "type": "Ready", "status": "False", "reason": "Waiting", "message": "as it was told",
        "lastTransitionTime": "2026-01-02T03:04:05Z",
    }]});
    services
        .replace_status(&name, &PostParams::default(), &owner)
        .await
        .expect("written");
    services
        .delete(&name, &Default::default())
        .await
        .expect("it waits for its finalizer");
    desk.export(&kubeconfig, "first");
    let text = std::fs::read_to_string(desk.path("first")).expect("it was written");
    assert!(
        !text.contains("bm90IGZvciBldmVyeWJvZHk"),
        "Secrets are sealed"
    );
    let objects = desk.objects("first");
    assert!(objects.len() > 10 && objects.contains_key("/secrets/default/of-service"));
    Some(server)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_into_an_empty_server_makes_no_difference() {
    let desk = Desk::new();
    let Some(first) = furnished(&desk).await else {
        return;
    };
    let second = block_in_place(|| Groma::start(&[QUIET])).expect("another one starts as well");
    desk.import(&second.kubeconfig(), "first");
    desk.export(&second.kubeconfig(), "second");
    let (before, after) = (desk.objects("first"), desk.objects("second"));
    assert_eq!(essence(&before), essence(&after));
    let mut again = Command::new(groma::program().expect("it was built"));
    again
        .arg("import")
        .arg(desk.path("first"))
        .arg("--secret-keys")
        .arg(desk.path("keys"));
    let refused = again
        .arg("--kubeconfig")
        .arg(first.kubeconfig())
        .output()
        .expect("it runs");
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && error.contains("import into a home without objects"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_to_a_cluster_comes_back() {
    let desk = Desk::new();
    let Some(_first) = furnished(&desk).await else {
        return;
    };
    let Some(home) = Home::installed().await else {
        return;
    };
    let cluster = home.server.kubeconfig(None);
    desk.import(&cluster, "first");
    desk.export(&cluster, "cluster");
    let (before, there) = (desk.objects("first"), desk.objects("cluster"));
    assert_eq!(essence(&before), essence(&there));
    let state = desk.path("state");
    desk.groma(&["restore"], "cluster", &[Path::new("--state"), &state]);
    let keys = format!("--secret-keys={}", desk.path("keys").display());
    let mut back = Groma::begin_at(&state, &[QUIET, &keys]).expect("it starts on it");
    block_in_place(|| back.wait());
    desk.export(&back.kubeconfig(), "back");
    let back = desk.objects("back");
    let uid = |objects: &BTreeMap<String, Value>| {
        objects["/secrets/default/of-service"]["metadata"]["uid"].clone()
    };
    assert_eq!(essence(&there), essence(&back));
    assert_eq!(
        uid(&there),
        uid(&back),
        "a server is made of the same objects"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_goes_on_in_etcd() {
    let desk = Desk::new();
    let Some(first) = furnished(&desk).await else {
        return;
    };
    let cluster = match Cluster::start(3) {
        Ok(cluster) => cluster,
        Err(skip) => return skip.report(),
    };
    let kubeconfig = first.kubeconfig();
    desk.groma(
        &["backup"],
        "backup",
        &[Path::new("--kubeconfig"), &kubeconfig],
    );
    let mut place = cluster.arguments();
    let words: Vec<&Path> = place.iter().map(Path::new).collect();
    desk.groma(&["restore"], "backup", &words);
    let keys = first.folder().join("secrets.keys");
    place.extend([
        QUIET.to_owned(),
        format!("--secret-keys={}", keys.display()),
    ]);
    let place: Vec<&str> = place.iter().map(String::as_str).collect();
    let mut second = Groma::begin(&place).expect("another one starts as well");
    block_in_place(|| second.wait_for("this server writes"));
    desk.export(&second.kubeconfig(), "etcd");
    let (before, after) = (desk.objects("first"), desk.objects("etcd"));
    assert_eq!(essence(&before), essence(&after));
    let uids = |objects: BTreeMap<String, Value>| {
        let uids = objects.into_iter();
        uids.map(|(key, object)| (key, object["metadata"]["uid"].clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(uids(before), uids(after), "all objects are the same ones");
}
