//! Requests that meet another's work, or that are about no such object: names, versions, uids and owners of fields.
//!
//! Compared is what programs read: the code, the reason, and which causes there are. On purpose otherwise, and therefore not
//! tried: a version for an object that is to be made by POST, which is 500 there.

use serde_json::{Value, json};

use crate::kinds::{Kind, definitions, example};
use crate::pair::{Pair, Step};

/// A version that no object has any more.
const STALE: &str = "1";
/// A uid that no object has.
const OTHER: &str = "00000000-0000-4000-8000-000000000000";

struct Life<'a> {
    pair: &'a Pair,
    kind: &'a Kind,
}

impl Life<'_> {
    async fn send(&self, (method, content_type): (&str, &str), end: &str, body: &Value) {
        let path = format!("{}{end}", self.kind.collection);
        let content_type = &format!("application/{content_type}");
        let body = body.to_string().into_bytes();
        let step = Step {
            method,
            path: &path,
            content_type,
            body,
        };
        self.pair.compare_causes(&step).await;
    }

    async fn posts(&self, body: &Value) {
        self.send(("POST", "json"), "", body).await;
    }

    async fn puts(&self, end: &str, body: &Value) {
        self.send(("PUT", "json"), end, body).await;
    }

    async fn merges(&self, end: &str, body: &Value) {
        self.send(("PATCH", "merge-patch+json"), end, body).await;
    }

    async fn edits(&self, end: &str, body: &Value) {
        self.send(("PATCH", "json-patch+json"), end, body).await;
    }

    async fn applies(&self, end: &str, body: &Value) {
        self.send(("PATCH", "apply-patch+yaml"), end, body).await;
    }

    fn object(&self, metadata: &Value) -> Value {
        let spec = example::whole(self.kind.part("spec"), 0);
        let mut object = self.kind.object("a", &spec);
        for (name, field) in metadata.as_object().into_iter().flatten() {
            object["metadata"][name] = field.clone();
        }
        object
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_about_objects_of_ours_are_told_alike() {
    let definitions = definitions();
    let Some(pair) = Pair::new(&definitions).await else {
        return;
    };
    for kind in definitions.iter().map(Kind::of) {
        let life = Life {
            pair: &pair,
            kind: &kind,
        };
        absent(&life).await;
        life.posts(&life.object(&json!({}))).await;
        life.posts(&life.object(&json!({}))).await;
        stale(&life).await;
        names(&life).await;
        owners(&life).await;
        if kind.has_status {
            owners_of_status(&life).await;
        }
        unknown(&life).await;
    }
    pair.finish();
}

/// Nothing is there yet.
async fn absent(life: &Life<'_>) {
    life.puts("/a", &life.object(&json!({}))).await;
    let version = json!({"resourceVersion": STALE});
    life.puts("/a", &life.object(&version)).await;
    life.merges("/a", &json!({"metadata": {"labels": {"k": "v"}}}))
        .await;
    life.send(("DELETE", "json"), "/a", &json!({})).await;
    life.puts("/a/status", &life.object(&json!({}))).await;
}

/// Somebody wrote first, or it is not the object that is meant.
async fn stale(life: &Life<'_>) {
    let (version, uid) = (json!({"resourceVersion": STALE}), json!({"uid": OTHER}));
    for end in ["/a", "/a/status"] {
        life.puts(end, &life.object(&json!({}))).await;
        life.puts(end, &life.object(&version)).await;
        life.merges(end, &json!({"metadata": version})).await;
        life.merges(end, &json!({"metadata": uid})).await;
        for field in ["resourceVersion", "uid"] {
            let path = format!("/metadata/{field}");
            let test = json!([{"op": "test", "path": path, "value": OTHER}]);
            life.edits(end, &test).await;
            let value = if field == "uid" { OTHER } else { STALE };
            let replace = json!([{"op": "replace", "path": path, "value": value}]);
            life.edits(end, &replace).await;
        }
        let nowhere = json!([{"op": "replace", "path": "/status/none/x", "value": 1}]);
        life.edits(end, &nowhere).await;
        let applied = json!({"apiVersion": life.kind.api_version(), "kind": life.kind.name, "metadata": {"resourceVersion": STALE}});
        life.applies(&format!("{end}?fieldManager=m"), &applied)
            .await;
    }
    for precondition in [version, uid] {
        let options =
            json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": precondition});
        life.send(("DELETE", "json"), "/a", &options).await;
    }
}

/// Names and other metadata that no object may have.
async fn names(life: &Life<'_>) {
    let trial = "?dryRun=All";
    let long = "a".repeat(254);
    let many = |n: usize| "v".repeat(n);
    let cases = [
        json!({"name": "Upper"}),
        json!({"name": "a_b"}),
        json!({"name": "-a"}),
        json!({"name": long}),
        json!({"name": "a/b"}),
        json!({"name": null, "generateName": "A_"}),
        json!({"labels": {"a b": "c"}}),
        json!({"labels": {"a": "c d"}}),
        json!({"labels": {"a": many(64)}}),
        json!({"annotations": {"a b": "c"}}),
        json!({"finalizers": ["a b"]}),
        json!({"finalizers": [""]}),
        json!({"ownerReferences": [{"apiVersion": "", "kind": "", "name": "", "uid": ""}]}),
        json!({"ownerReferences": [
            {"apiVersion": "v1", "kind": "A", "name": "a", "uid": "1", "controller": true},
            {"apiVersion": "v1", "kind": "A", "name": "b", "uid": "2", "controller": true}]}),
        json!({"labels": {"a": 1}}),
        json!({"labels": "a"}),
        json!({"generation": "a"}),
    ];
    for metadata in cases {
        life.send(("POST", "json"), trial, &life.object(&metadata))
            .await;
    }
    let elsewhere = life.object(&json!({"name": "c", "namespace": "other"}));
    life.posts(&elsewhere).await;
    let mut other = life.object(&json!({}));
    life.puts("/b", &other).await;
    other["apiVersion"] = "groma.dev/v2".into();
    life.posts(&other).await;
    let mut other = life.object(&json!({"name": "d"}));
    other["kind"] = "Other".into();
    life.posts(&other).await;
    life.merges("/a", &json!({"kind": "Other"})).await;
}

/// Fields that another manager owns.
async fn owners(life: &Life<'_>) {
    let early = json!({"apiVersion": life.kind.api_version(), "kind": life.kind.name,
        "metadata": {"resourceVersion": STALE}, "spec": example::whole(life.kind.part("spec"), 0)});
    life.applies("/early?fieldManager=m", &early).await;
    for (manager, n) in [("one", 0), ("two", 1)] {
        let spec = example::whole(life.kind.part("spec"), n);
        let end = format!("/applied?fieldManager={manager}");
        life.applies(&end, &life.kind.object("applied", &spec))
            .await;
    }
}

async fn owners_of_status(life: &Life<'_>) {
    for (manager, n) in [("one", 0), ("two", 1)] {
        let mut object = life.kind.object("applied", &Value::Null);
        object.as_object_mut().expect("an object").remove("spec");
        object["status"] = example::whole(life.kind.part("status"), n);
        let end = format!("/applied/status?fieldManager={manager}");
        life.applies(&end, &object).await;
    }
}

/// Fields that the schema does not know, and a field that is there twice.
async fn unknown(life: &Life<'_>) {
    let strict = "fieldValidation=Strict&dryRun=All";
    let mut object = life.object(&json!({"name": "b", "none": 1}));
    object["none"] = 1.into();
    with_unknown(&mut object["spec"]);
    let end = format!("?{strict}");
    life.send(("POST", "json"), &end, &object).await;
    for patch in [json!({"none": 1}), json!({"metadata": {"none": 1}})] {
        life.merges(&format!("/a?{strict}"), &patch).await;
    }
    let added = json!([{"op": "add", "path": "/none", "value": 1}]);
    life.edits(&format!("/a?{strict}"), &added).await;
    let end = format!("/a?{strict}&fieldManager=m");
    let mut applied = life.kind.object("a", &Value::Null);
    applied["none"] = 1.into();
    life.applies(&end, &applied).await;
    let twice = format!(
        r#"{{"apiVersion":"{}","kind":"{}","metadata":{{"name":"b","name":"b"}},"spec":{{}},"spec":{{}}}}"#,
        life.kind.api_version(),
        life.kind.name
    );
    let path = format!("{}?{strict}", life.kind.collection);
    let step = Step {
        method: "POST",
        path: &path,
        content_type: "application/json",
        body: twice.into_bytes(),
    };
    life.pair.compare_causes(&step).await;
}

/// Puts a field that nobody knows into every object that has fields of its own.
fn with_unknown(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(with_unknown);
            // A map of amounts knows every name.
            if !fields.contains_key("cpu") {
                fields.insert("none".to_owned(), 1.into());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(with_unknown),
        _ => {}
    }
}
