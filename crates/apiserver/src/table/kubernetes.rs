//! The columns of Kubernetes' kinds that nothing here runs, as kubectl shows them: what their writers say of them.

use serde_json::Value;

use super::builtin::named;
use super::columns::Column;
use crate::resource::Resource;

/// The columns of such a resource; `None` if it shows a name and an age only.
pub(super) fn columns(resource: &Resource) -> Option<Vec<Column>> {
    let columns = match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "pods") => pods(),
        ("", "nodes") => named([
            Column::made("Status", |node, _| node_status(node)),
            Column::made("Roles", |node, _| roles(node)),
            text("Version", ".status.nodeInfo.kubeletVersion"),
        ]),
        ("", "services") => named([
            text("Type", ".spec.type"),
            text("Cluster-IP", ".spec.clusterIP"),
            text("External-IP", ".spec.externalIPs[0]"),
            Column::made("Port(s)", |service, _| ports(service)),
        ]),
        ("", "replicationcontrollers") | ("apps", "replicasets") => named([
            count("Desired", ".spec.replicas"),
            count("Current", ".status.replicas"),
            count("Ready", ".status.readyReplicas"),
        ]),
        ("apps", "deployments") => named([
            Column::made("Ready", |it, _| ready(it)),
            count("Up-to-date", ".status.updatedReplicas"),
            count("Available", ".status.availableReplicas"),
        ]),
        ("apps", "statefulsets") => named([Column::made("Ready", |it, _| ready(it))]),
        ("apps", "daemonsets") => named([
            count("Desired", ".status.desiredNumberScheduled"),
            count("Current", ".status.currentNumberScheduled"),
            count("Ready", ".status.numberReady"),
            count("Up-to-date", ".status.updatedNumberScheduled"),
            count("Available", ".status.numberAvailable"),
        ]),
        ("batch", "jobs") => named([Column::made("Completions", |job, _| completions(job))]),
        ("batch", "cronjobs") => named([
            text("Schedule", ".spec.schedule"),
            Column::at("Suspend", "boolean", ".spec.suspend"),
            Column::at("Last Schedule", "date", ".status.lastScheduleTime"),
        ]),
        ("", "persistentvolumes") => named([
            text("Capacity", ".spec.capacity.storage"),
            text("Reclaim Policy", ".spec.persistentVolumeReclaimPolicy"),
            text("Status", ".status.phase"),
            text("StorageClass", ".spec.storageClassName"),
        ]),
        ("", "persistentvolumeclaims") => named([
            text("Status", ".status.phase"),
            text("Volume", ".spec.volumeName"),
            text("Capacity", ".status.capacity.storage"),
            text("StorageClass", ".spec.storageClassName"),
        ]),
        ("networking.k8s.io", "ingresses") => named([text("Class", ".spec.ingressClassName")]),
        ("storage.k8s.io", "storageclasses") => named([
            text("Provisioner", ".provisioner"),
            text("ReclaimPolicy", ".reclaimPolicy"),
            text("VolumeBindingMode", ".volumeBindingMode"),
        ]),
        ("scheduling.k8s.io", "priorityclasses") => named([
            count("Value", ".value"),
            Column::at("Global-Default", "boolean", ".globalDefault"),
        ]),
        _ => return None,
    };
    Some(columns)
}

fn text(name: &str, path: &str) -> Column {
    Column::at(name, "string", path)
}

fn count(name: &str, path: &str) -> Column {
    Column::at(name, "integer", path)
}

fn pods() -> Vec<Column> {
    named([
        Column::made("Ready", |pod, _| {
            let all = statuses(pod).filter(|container| container["ready"] == true);
            format!("{}/{}", all.count(), length(&pod["spec"]["containers"])).into()
        }),
        text("Status", ".status.phase"),
        Column::made("Restarts", |pod, _| {
            let restarts = statuses(pod).filter_map(|container| container["restartCount"].as_i64());
            restarts.sum::<i64>().to_string().into()
        }),
        text("IP", ".status.podIP").wide(),
        text("Node", ".spec.nodeName").wide(),
    ])
}

fn statuses(pod: &Value) -> impl Iterator<Item = &Value> {
    let all = pod["status"]["containerStatuses"].as_array();
    all.into_iter().flatten()
}

fn length(list: &Value) -> usize {
    list.as_array().map_or(0, Vec::len)
}

/// How many replicas are ready, of those that are wanted.
fn ready(object: &Value) -> Value {
    let number = |value: &Value| value.as_i64().unwrap_or_default();
    let (status, spec) = (&object["status"], &object["spec"]);
    format!(
        "{}/{}",
        number(&status["readyReplicas"]),
        number(&spec["replicas"])
    )
    .into()
}

fn completions(job: &Value) -> Value {
    let done = job["status"]["succeeded"].as_i64().unwrap_or_default();
    let wanted = job["spec"]["completions"].as_i64().unwrap_or(1);
    format!("{done}/{wanted}").into()
}

fn node_status(node: &Value) -> Value {
    let conditions = node["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    let ready = conditions.find(|condition| condition["type"] == "Ready");
    let status = match ready.map(|condition| condition["status"] == "True") {
        Some(true) => "Ready",
        Some(false) => "NotReady",
        None => "Unknown",
    };
    match node["spec"]["unschedulable"] == true {
        true => format!("{status},SchedulingDisabled").into(),
        false => status.into(),
    }
}

fn roles(node: &Value) -> Value {
    let labels = node["metadata"]["labels"].as_object();
    let names = labels.into_iter().flatten();
    let roles: Vec<&str> = names
        .filter_map(|(name, _)| name.strip_prefix("node-role.kubernetes.io/"))
        .collect();
    match roles.is_empty() {
        true => "<none>".into(),
        false => roles.join(",").into(),
    }
}

/// `80/TCP,53:30053/UDP`
fn ports(service: &Value) -> Value {
    let ports = service["spec"]["ports"].as_array();
    let shown = ports.into_iter().flatten().map(|port| {
        let protocol = port["protocol"].as_str().unwrap_or_default();
        match port["nodePort"].as_i64() {
            Some(node) => format!("{}:{node}/{protocol}", port["port"]),
            None => format!("{}/{protocol}", port["port"]),
        }
    });
    let shown: Vec<String> = shown.collect();
    match shown.is_empty() {
        true => "<none>".into(),
        false => shown.join(",").into(),
    }
}
