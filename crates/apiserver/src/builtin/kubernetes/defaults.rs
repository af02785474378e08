//! What Kubernetes fills into objects of these kinds where their writers say nothing, as far as clients see it.

use serde_json::{Value, json};

/// Sets a field that is not there; of what is no object nothing is known.
fn fill(value: &mut Value, field: &str, default: Value) {
    if let Some(fields) = value.as_object_mut()
        && fields.get(field).is_none_or(Value::is_null)
    {
        fields.insert(field.to_owned(), default);
    }
}

fn fill_all<const N: usize>(value: &mut Value, defaults: [(&str, Value); N]) {
    for (field, default) in defaults {
        fill(value, field, default);
    }
}

/// The part of an object, if there is such an object.
fn part<'a>(value: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    value.pointer_mut(path).filter(|part| part.is_object())
}

fn items<'a>(value: &'a mut Value, list: &str) -> impl Iterator<Item = &'a mut Value> {
    let list = value.get_mut(list).and_then(Value::as_array_mut);
    list.into_iter().flatten().filter(|item| item.is_object())
}

pub(super) fn pod(pod: &mut Value, _: Option<&Value>) {
    if let Some(spec) = part(pod, "/spec") {
        pod_spec(spec);
        fill(spec, "enableServiceLinks", true.into());
    }
}

pub(super) fn pod_template(template: &mut Value, _: Option<&Value>) {
    template_at(template, "/template");
}

fn template_at(value: &mut Value, path: &str) {
    if let Some(spec) = part(value, &format!("{path}/spec")) {
        pod_spec(spec);
    }
}

fn pod_spec(spec: &mut Value) {
    fill_all(
        spec,
        [
            ("dnsPolicy", "ClusterFirst".into()),
            ("restartPolicy", "Always".into()),
            ("schedulerName", "default-scheduler".into()),
            ("securityContext", json!({})),
            ("terminationGracePeriodSeconds", 30.into()),
        ],
    );
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        items(spec, list).for_each(container);
    }
    items(spec, "volumes").for_each(volume_source);
}

fn container(container: &mut Value) {
    let image = container["image"].as_str().unwrap_or_default();
    let pulled = match pulls_always(image) {
        true => "Always",
        false => "IfNotPresent",
    };
    fill_all(
        container,
        [
            ("imagePullPolicy", pulled.into()),
            ("resources", json!({})),
            ("terminationMessagePath", "/dev/termination-log".into()),
            ("terminationMessagePolicy", "File".into()),
        ],
    );
    items(container, "ports").for_each(|port| fill(port, "protocol", "TCP".into()));
    for variable in items(container, "env") {
        if let Some(field) = part(variable, "/valueFrom/fieldRef") {
            fill(field, "apiVersion", "v1".into());
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe) {
            probed(probe);
        }
    }
}

/// Whether an image without a word on it is asked for each time: one whose tag moves.
fn pulls_always(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or_default();
    match (name.contains('@'), name.rsplit_once(':')) {
        (true, _) => false,
        (false, Some((_, tag))) => tag == "latest",
        (false, None) => true,
    }
}

fn probed(probe: &mut Value) {
    fill_all(
        probe,
        [
            ("failureThreshold", 3.into()),
            ("periodSeconds", 10.into()),
            ("successThreshold", 1.into()),
            ("timeoutSeconds", 1.into()),
        ],
    );
    if let Some(get) = part(probe, "/httpGet") {
        fill_all(get, [("path", "/".into()), ("scheme", "HTTP".into())]);
    }
}

fn volume_source(volume: &mut Value) {
    for source in ["configMap", "downwardAPI", "projected", "secret"] {
        if let Some(source) = volume.get_mut(source) {
            fill(source, "defaultMode", 420.into());
        }
    }
    if let Some(path) = volume.get_mut("hostPath") {
        fill(path, "type", "".into());
    }
    if volume.as_object().is_some_and(|volume| volume.len() == 1) {
        fill(volume, "emptyDir", json!({}));
    }
}

pub(super) fn deployment(deployment: &mut Value, _: Option<&Value>) {
    template_at(deployment, "/spec/template");
    let Some(spec) = part(deployment, "/spec") else {
        return;
    };
    fill_all(
        spec,
        [
            ("progressDeadlineSeconds", 600.into()),
            ("replicas", 1.into()),
            ("revisionHistoryLimit", 10.into()),
            ("strategy", json!({})),
        ],
    );
    let strategy = &mut spec["strategy"];
    fill(strategy, "type", "RollingUpdate".into());
    if strategy["type"] == "RollingUpdate" {
        fill(strategy, "rollingUpdate", json!({}));
        let quarter = || json!("25%");
        fill_all(
            &mut strategy["rollingUpdate"],
            [("maxSurge", quarter()), ("maxUnavailable", quarter())],
        );
    }
}

pub(super) fn replica_set(set: &mut Value, _: Option<&Value>) {
    template_at(set, "/spec/template");
    if let Some(spec) = part(set, "/spec") {
        fill(spec, "replicas", 1.into());
    }
}

pub(super) fn replication_controller(controller: &mut Value, _: Option<&Value>) {
    template_at(controller, "/spec/template");
    let labels = controller
        .pointer("/spec/template/metadata/labels")
        .cloned();
    if let Some(spec) = part(controller, "/spec") {
        fill(spec, "replicas", 1.into());
        if let Some(labels) = labels {
            fill(spec, "selector", labels);
        }
    }
}

pub(super) fn daemon_set(set: &mut Value, _: Option<&Value>) {
    template_at(set, "/spec/template");
    if let Some(spec) = part(set, "/spec") {
        fill_all(
            spec,
            [
                ("revisionHistoryLimit", 10.into()),
                ("updateStrategy", json!({})),
            ],
        );
        let strategy = &mut spec["updateStrategy"];
        fill(strategy, "type", "RollingUpdate".into());
        if strategy["type"] == "RollingUpdate" {
            let rolling = json!({"maxSurge": 0, "maxUnavailable": 1});
            fill(strategy, "rollingUpdate", rolling);
        }
    }
}

pub(super) fn stateful_set(set: &mut Value, _: Option<&Value>) {
    template_at(set, "/spec/template");
    if let Some(spec) = part(set, "/spec") {
        let kept = json!({"whenDeleted": "Retain", "whenScaled": "Retain"});
        fill_all(
            spec,
            [
                ("persistentVolumeClaimRetentionPolicy", kept),
                ("podManagementPolicy", "OrderedReady".into()),
                ("replicas", 1.into()),
                ("revisionHistoryLimit", 10.into()),
                ("updateStrategy", json!({})),
            ],
        );
        let strategy = &mut spec["updateStrategy"];
        fill(strategy, "type", "RollingUpdate".into());
        if strategy["type"] == "RollingUpdate" {
            fill(strategy, "rollingUpdate", json!({"partition": 0}));
        }
    }
}

pub(super) fn job(job: &mut Value, _: Option<&Value>) {
    if let Some(spec) = part(job, "/spec") {
        job_spec(spec);
    }
}

fn job_spec(spec: &mut Value) {
    template_at(spec, "/template");
    // Of these two, one that is given alone means a queue of work.
    if spec["completions"].is_null() && spec["parallelism"].is_null() {
        fill(spec, "completions", 1.into());
    }
    fill_all(
        spec,
        [
            ("backoffLimit", 6.into()),
            ("completionMode", "NonIndexed".into()),
            ("parallelism", 1.into()),
            ("suspend", false.into()),
        ],
    );
}

pub(super) fn cron_job(job: &mut Value, _: Option<&Value>) {
    if let Some(spec) = part(job, "/spec") {
        fill_all(
            spec,
            [
                ("concurrencyPolicy", "Allow".into()),
                ("failedJobsHistoryLimit", 1.into()),
                ("successfulJobsHistoryLimit", 3.into()),
                ("suspend", false.into()),
            ],
        );
    }
    template_at(job, "/spec/jobTemplate/spec/template");
}

pub(super) fn service(service: &mut Value, _: Option<&Value>) {
    let Some(spec) = part(service, "/spec") else {
        return;
    };
    fill_all(
        spec,
        [
            ("sessionAffinity", "None".into()),
            ("type", "ClusterIP".into()),
        ],
    );
    if spec["type"] != "ExternalName" {
        fill(spec, "internalTrafficPolicy", "Cluster".into());
    }
    for port in items(spec, "ports") {
        let same = port["port"].clone();
        fill_all(port, [("protocol", "TCP".into()), ("targetPort", same)]);
    }
}

pub(super) fn endpoints(endpoints: &mut Value, _: Option<&Value>) {
    for subset in items(endpoints, "subsets") {
        items(subset, "ports").for_each(|port| fill(port, "protocol", "TCP".into()));
    }
}

pub(super) fn volume(volume: &mut Value, _: Option<&Value>) {
    if let Some(spec) = part(volume, "/spec") {
        fill_all(
            spec,
            [
                ("persistentVolumeReclaimPolicy", "Retain".into()),
                ("volumeMode", "Filesystem".into()),
            ],
        );
    }
}

pub(super) fn claim(claim: &mut Value, _: Option<&Value>) {
    if let Some(spec) = part(claim, "/spec") {
        fill(spec, "volumeMode", "Filesystem".into());
    }
}

pub(super) fn autoscaler(autoscaler: &mut Value, _: Option<&Value>) {
    if let Some(spec) = part(autoscaler, "/spec") {
        fill(spec, "minReplicas", 1.into());
    }
}

pub(super) fn storage_class(class: &mut Value, _: Option<&Value>) {
    fill_all(
        class,
        [
            ("reclaimPolicy", "Delete".into()),
            ("volumeBindingMode", "Immediate".into()),
        ],
    );
}

pub(super) fn priority_class(class: &mut Value, _: Option<&Value>) {
    fill(class, "preemptionPolicy", "PreemptLowerPriority".into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_stays() {
        let mut given = json!({"spec": {"replicas": 0, "strategy": {"type": "Recreate"},
            "template": {"spec": {"containers": [{"name": "a", "image": "r:5000/a", "ports": [{"containerPort": 1, "protocol": "UDP"}]}]}}}});
        deployment(&mut given, None);
        assert_eq!(given["spec"]["replicas"], 0);
        assert_eq!(given["spec"]["strategy"], json!({"type": "Recreate"}));
        let container = &given["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["imagePullPolicy"], "Always");
        assert_eq!(container["ports"][0]["protocol"], "UDP");
    }

    #[test]
    fn what_is_no_object_is_left_for_the_check() {
        let all = [
            pod,
            deployment,
            job,
            cron_job,
            service,
            endpoints,
            stateful_set,
            storage_class,
        ];
        for odd in [
            json!(1),
            json!({"spec": 1}),
            json!({"spec": {"containers": 1, "ports": [1], "strategy": 2, "updateStrategy": []}}),
        ] {
            for complete in all {
                complete(&mut odd.clone(), None);
            }
        }
    }
}
