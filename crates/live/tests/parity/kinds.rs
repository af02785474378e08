//! Groma's own kinds: what is wrong with one of their objects is said alike, cause by cause.
//!
//! Neither the documents nor their faults are written by hand: both follow from the schemas, so that a new kind or field is
//! compared from its first day.
//!
//! On purpose otherwise: a list is no text, even where a format of texts is asked for; kube-apiserver takes it.

mod conflicts;
mod example;
mod fault;

use std::collections::BTreeSet;

use futures::stream::{self, StreamExt};
use serde_json::{Value, json};

use crate::kinds::fault::Fault;
use crate::pair::Pair;

/// A kind of ours.
struct Kind {
    name: String,
    collection: String,
    schema: Value,
    has_status: bool,
}

impl Kind {
    fn of(definition: &Value) -> Self {
        let (spec, version) = (&definition["spec"], &definition["spec"]["versions"][0]);
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let (group, plural) = (text(&spec["group"]), text(&spec["names"]["plural"]));
        let namespace = match text(&spec["scope"]).as_str() {
            "Namespaced" => "namespaces/default/",
            _ => "",
        };
        let path = format!("/apis/{group}/{}", text(&version["name"]));
        Self {
            name: text(&spec["names"]["kind"]),
            collection: format!("{path}/{namespace}{plural}"),
            schema: version["schema"]["openAPIV3Schema"].clone(),
            has_status: version["subresources"].get("status").is_some(),
        }
    }

    fn api_version(&self) -> String {
        format!("{}/{}", api::GROUP, api::VERSION)
    }

    fn object(&self, name: &str, spec: &Value) -> Value {
        json!({"apiVersion": self.api_version(), "kind": self.name, "metadata": {"name": name}, "spec": spec})
    }

    fn part(&self, name: &str) -> &Value {
        &self.schema["properties"][name]
    }

    /// Documents that have every field in every alternative.
    fn wholes(&self, part: &str) -> Vec<Value> {
        let schema = self.part(part);
        let all = 0..example::alternatives(schema);
        all.map(|n| example::whole(schema, n)).collect()
    }

    /// A part of an object with one fault each, each only once.
    fn faulty(&self, part: &str) -> Vec<Value> {
        let mut seen = BTreeSet::new();
        let mut faulty = Vec::new();
        for document in self.wholes(part) {
            let mut faults = Vec::new();
            fault::all(self.part(part), &document, "", &mut faults);
            let is_new = |fault: &Fault| seen.insert(format!("{fault:?}"));
            let below = faults.into_iter().filter(|fault| !fault.at.is_empty());
            faulty.extend(below.filter(is_new).map(|fault| fault.of(&document)));
        }
        faulty
    }
}

fn definitions() -> Vec<Value> {
    let all = api::crds();
    let all = all.iter().map(serde_json::to_value);
    all.collect::<Result<_, _>>().expect("definitions")
}

async fn send(pair: &Pair, method: &str, path: &str, body: &Value) {
    let content_type = match method {
        "PATCH" => "application/json-patch+json",
        _ => "application/json",
    };
    pair.send((method, content_type), path, body).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_ours_are_refused_alike() {
    let definitions = definitions();
    let Some(pair) = Pair::new(&definitions).await else {
        return;
    };
    for kind in definitions.iter().map(Kind::of) {
        specs(&pair, &kind).await;
        if kind.has_status {
            statuses(&pair, &kind).await;
        }
    }
    pair.finish();
}

async fn specs(pair: &Pair, kind: &Kind) {
    let trial = &format!("{}?dryRun=All", kind.collection);
    let least = example::least(kind.part("spec"));
    let wholes = kind.wholes("spec");
    let faulty = kind.faulty("spec");
    let tried = wholes.iter().chain([&least]).chain(&faulty);
    let sent = tried.map(|spec| async {
        send(pair, "POST", trial, &kind.object("tried", spec)).await;
    });
    at_once(sent).await;
    send(
        pair,
        "POST",
        &kind.collection,
        &kind.object("a", &wholes[0]),
    )
    .await;
    // What may not change is refused, all else is taken.
    let trial = &format!("{}/a?dryRun=All", kind.collection);
    for spec in wholes.iter().chain([&least]) {
        let change = json!([{"op": "replace", "path": "/spec", "value": spec}]);
        send(pair, "PATCH", trial, &change).await;
    }
}

async fn statuses(pair: &Pair, kind: &Kind) {
    let trial = &format!("{}/a/status?dryRun=All", kind.collection);
    let (wholes, faulty) = (kind.wholes("status"), kind.faulty("status"));
    let sent = wholes.iter().chain(&faulty).map(|status| async move {
        let change = json!([{"op": "add", "path": "/status", "value": status}]);
        send(pair, "PATCH", trial, &change).await;
    });
    at_once(sent).await;
}

/// Tries that leave nothing are made side by side.
async fn at_once(tries: impl Iterator<Item = impl Future<Output = ()>>) {
    const AT_ONCE: usize = 8;
    stream::iter(tries)
        .buffer_unordered(AT_ONCE)
        .collect::<()>()
        .await;
}
