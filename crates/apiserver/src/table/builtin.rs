//! The columns of built-in resources, as kubectl users know them from any cluster.

use jiff::Timestamp;
use serde_json::Value;

use super::age;
use super::columns::{self, Column, Content};
use super::kubernetes;
use crate::object::meta_text;
use crate::resource::Resource;
use crate::scale;

/// What is shown where an object says nothing.
const UNKNOWN: &str = "<unknown>";

/// The columns of a resource that has no printer columns of its own because it has no definition.
pub(super) fn columns(resource: &Resource) -> Option<Vec<Column>> {
    let columns = match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "namespaces") => named([Column::at("Status", "string", ".status.phase")]),
        ("", "configmaps") => named([Column::made("Data", |object, _| entries(object))]),
        ("", "secrets") => named([
            Column::at("Type", "string", ".type"),
            Column::made("Data", |object, _| entries(object)),
        ]),
        ("coordination.k8s.io", "leases") => {
            named([Column::at("Holder", "string", ".spec.holderIdentity")])
        }
        ("apiextensions.k8s.io", "customresourcedefinitions") => {
            let created = Column::at("Created At", "string", ".metadata.creationTimestamp");
            vec![columns::name(), created]
        }
        ("apiregistration.k8s.io", "apiservices") => named([
            Column::made("Service", |_, _| "Local".into()),
            Column::made("Available", |_, _| "True".into()),
        ]),
        ("" | "events.k8s.io", "events") => events(),
        ("", "serviceaccounts") => named([Column::made("Secrets", |account, _| {
            account["secrets"].as_array().map_or(0, Vec::len).into()
        })]),
        ("rbac.authorization.k8s.io", "roles" | "clusterroles") => {
            let created = Column::at("Created At", "string", ".metadata.creationTimestamp");
            vec![columns::name(), created]
        }
        ("rbac.authorization.k8s.io", "rolebindings" | "clusterrolebindings") => {
            named([Column::made("Role", |binding, _| {
                let role = &binding["roleRef"];
                let text = |field: &str| role[field].as_str().unwrap_or_default().to_owned();
                format!("{}/{}", text("kind"), text("name")).into()
            })])
        }
        ("certificates.k8s.io", "certificatesigningrequests") => vec![
            columns::name(),
            age(),
            Column::at("SignerName", "string", ".spec.signerName"),
            Column::at("Requestor", "string", ".spec.username"),
            Column::made("RequestedDuration", |csr, _| requested(csr)),
            Column::made("Condition", |csr, _| decided(csr)),
        ],
        ("networking.k8s.io", "networkpolicies") => {
            named([Column::made("Pod-Selector", |policy, _| selector(policy))])
        }
        (scale::GROUP, "scales") => named([
            Column::at("Desired", "integer", ".spec.replicas"),
            Column::at("Available", "integer", ".status.replicas"),
        ]),
        _ => return kubernetes::columns(resource),
    };
    Some(columns)
}

pub(super) fn named<const N: usize>(middle: [Column; N]) -> Vec<Column> {
    std::iter::once(columns::name())
        .chain(middle)
        .chain([age()])
        .collect()
}

/// Built-in resources say that they do not know it: the row of a bookmark has none.
fn age() -> Column {
    let mut column = columns::age();
    column.content = Content::Made(|object, now| {
        let created = meta_text(object, "creationTimestamp");
        age::since(created, now).into()
    });
    column
}

/// For how long a certificate is asked for.
fn requested(csr: &Value) -> Value {
    match csr["spec"]["expirationSeconds"].as_i64() {
        Some(seconds) => age::human(seconds).into(),
        None => "<none>".into(),
    }
}

/// What was decided about a request for a certificate, as kubectl knows it.
fn decided(csr: &Value) -> Value {
    let status = &csr["status"];
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let kinds: Vec<&str> = conditions
        .filter_map(|condition| condition["type"].as_str())
        .collect();
    let mut words = vec!["Pending"];
    for word in ["Approved", "Denied"] {
        if kinds.contains(&word) {
            words = vec![word];
        }
    }
    if kinds.contains(&"Failed") {
        words.push("Failed");
    }
    if status["certificate"].is_string() {
        words.push("Issued");
    }
    words.join(",").into()
}

/// The labels that a policy selects by.
fn selector(policy: &Value) -> Value {
    let labels = policy["spec"]["podSelector"]["matchLabels"].as_object();
    let labels = labels.into_iter().flatten();
    let shown: Vec<String> = labels
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
        .collect();
    match shown.is_empty() {
        true => "<none>".into(),
        false => shown.join(",").into(),
    }
}

/// How many entries a ConfigMap or Secret has.
fn entries(object: &Value) -> Value {
    let count = |field: &str| object[field].as_object().map_or(0, serde_json::Map::len);
    (count("data") + count("binaryData")).into()
}

/// Both groups of events: what is absent under one name is looked for under the other.
fn events() -> Vec<Column> {
    vec![
        Column::made("Last Seen", last_seen),
        Column::at("Type", "string", ".type"),
        Column::at("Reason", "string", ".reason"),
        Column::made("Object", |event, _| regarded(event)),
        Column::made("Subobject", |event, _| {
            of_either(event, ["involvedObject", "regarding"])["fieldPath"].clone()
        })
        .wide(),
        Column::made("Source", |event, _| source(event)).wide(),
        Column::made("Message", |event, _| {
            of_either(event, ["message", "note"]).clone()
        }),
        Column::made("First Seen", first_seen).wide(),
        Column::made("Count", |event, _| count(event)).wide(),
        columns::name().wide(),
    ]
}

fn of_either<'a>(event: &'a Value, names: [&str; 2]) -> &'a Value {
    names
        .iter()
        .filter_map(|name| event.get(name))
        .next()
        .unwrap_or(&Value::Null)
}

fn last_seen(event: &Value, now: Timestamp) -> Value {
    let in_series = &event["series"]["lastObservedTime"];
    let last = of_either(event, ["lastTimestamp", "deprecatedLastTimestamp"]);
    ago(
        [
            in_series,
            last,
            &event["eventTime"],
            &event["metadata"]["creationTimestamp"],
        ],
        now,
    )
}

fn first_seen(event: &Value, now: Timestamp) -> Value {
    let first = of_either(event, ["firstTimestamp", "deprecatedFirstTimestamp"]);
    ago(
        [
            first,
            &event["eventTime"],
            &event["metadata"]["creationTimestamp"],
            &Value::Null,
        ],
        now,
    )
}

/// The age of the first time that is there.
fn ago(times: [&Value; 4], now: Timestamp) -> Value {
    let time = times.into_iter().find_map(Value::as_str);
    time.map_or(UNKNOWN.to_owned(), |then| age::since(then, now))
        .into()
}

/// `instance/web-0`
fn regarded(event: &Value) -> Value {
    let object = of_either(event, ["involvedObject", "regarding"]);
    let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
    match object["name"].as_str() {
        Some(name) => format!("{kind}/{name}").into(),
        None => kind.into(),
    }
}

fn source(event: &Value) -> Value {
    let source = of_either(event, ["source", "deprecatedSource"])["component"].as_str();
    let reporter = of_either(event, ["reportingComponent", "reportingController"]).as_str();
    source.or(reporter).unwrap_or_default().into()
}

fn count(event: &Value) -> Value {
    let counted = of_either(event, ["count", "deprecatedCount"]);
    match (&event["series"]["count"], counted) {
        (Value::Null, Value::Null) => "1".into(),
        (Value::Null, count) | (count, _) => count.to_string().into(),
    }
}
