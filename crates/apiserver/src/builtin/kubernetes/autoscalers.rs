//! HorizontalPodAutoscalers, which are served in two versions: the older one knows no metric but the use of processors.

use k8s_openapi::api::autoscaling::{v1, v2};
use serde_json::{Map, Value, json};

use super::super::shapes::Shapes;
use super::{defaults, kind};
use crate::resource::{Conversion, Resource};

/// Where the older version keeps what it has no fields for: parts of the newer one by their paths.
const KEPT: [(&str, &str, &str); 4] = [
    ("autoscaling.alpha.kubernetes.io/metrics", "spec", "metrics"),
    (
        "autoscaling.alpha.kubernetes.io/behavior",
        "spec",
        "behavior",
    ),
    (
        "autoscaling.alpha.kubernetes.io/current-metrics",
        "status",
        "currentMetrics",
    ),
    (
        "autoscaling.alpha.kubernetes.io/conditions",
        "status",
        "conditions",
    ),
];

pub(super) fn resource(shapes: &mut Shapes) -> Resource {
    let newer = kind::<v2::HorizontalPodAutoscaler>(shapes, &["hpa"]);
    let mut resource = newer.in_all().completed(defaults::autoscaler).resource();
    let mut older = kind::<v1::HorizontalPodAutoscaler>(shapes, &["hpa"]).resource();
    let mut version = older.versions.swap_remove(0);
    version.conversion = Conversion::Remake(to_newer, to_older);
    resource.versions.push(version);
    resource
}

fn to_older(autoscaler: &mut Value) {
    for (annotation, part, field) in KEPT {
        let Some(content) = take(autoscaler, part, field) else {
            continue;
        };
        let left = match field {
            "metrics" => {
                let (goal, left) = processors(content, "target");
                put(autoscaler, part, "targetCPUUtilizationPercentage", goal);
                left
            }
            "currentMetrics" => {
                let (use_now, left) = processors(content, "current");
                put(autoscaler, part, "currentCPUUtilizationPercentage", use_now);
                left
            }
            _ => content,
        };
        if left.as_array().is_none_or(|left| !left.is_empty()) {
            put(
                &mut autoscaler["metadata"],
                "annotations",
                annotation,
                Some(left.to_string().into()),
            );
        }
    }
}

fn to_newer(autoscaler: &mut Value) {
    for (annotation, part, field) in KEPT {
        let kept = take(&mut autoscaler["metadata"], "annotations", annotation);
        let kept = kept.and_then(|text| serde_json::from_str(text.as_str()?).ok());
        let (named, place) = match field {
            "metrics" => ("targetCPUUtilizationPercentage", "target"),
            "currentMetrics" => ("currentCPUUtilizationPercentage", "current"),
            _ => ("", ""),
        };
        let mut content: Option<Value> = kept;
        if let Some(percent) = take(autoscaler, part, named) {
            let mut value = json!({"averageUtilization": percent});
            if place == "target" {
                value["type"] = "Utilization".into();
            }
            let mut first = json!({"type": "Resource", "resource": {"name": "cpu"}});
            first["resource"][place] = value;
            let others = content.as_ref().and_then(Value::as_array);
            let others = others.into_iter().flatten().cloned();
            content = Some([first].into_iter().chain(others).collect());
        }
        put(autoscaler, part, field, content);
    }
    let annotations = autoscaler.pointer("/metadata/annotations");
    if annotations
        .and_then(Value::as_object)
        .is_some_and(Map::is_empty)
    {
        take(autoscaler, "metadata", "annotations");
    }
}

/// The use of processors in a list of metrics, and what else is in it.
fn processors(metrics: Value, place: &str) -> (Option<Value>, Value) {
    let (mut found, mut left) = (None, Vec::new());
    for metric in metrics.as_array().into_iter().flatten() {
        let used = &metric["resource"][place]["averageUtilization"];
        let is_it = metric["resource"]["name"] == "cpu" && used.is_number() && found.is_none();
        match is_it {
            true => found = Some(used.clone()),
            false => left.push(metric.clone()),
        }
    }
    (found, left.into())
}

fn take(value: &mut Value, part: &str, field: &str) -> Option<Value> {
    value.get_mut(part)?.as_object_mut()?.remove(field)
}

fn put(value: &mut Value, part: &str, field: &str, content: Option<Value>) {
    if let Some(content) = content {
        value[part][field] = content;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_between_the_versions() {
        let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}});
        let other = json!({"type": "Pods", "pods": {"metric": {"name": "x"}, "target": {"type": "Value", "value": "1"}}});
        let newer = json!({"metadata": {"name": "a", "annotations": {"b": "c"}},
            "spec": {"maxReplicas": 3, "metrics": [cpu, other], "behavior": {"scaleUp": {"selectPolicy": "Max"}}},
            "status": {"desiredReplicas": 1, "conditions": [{"type": "AbleToScale", "status": "True"}]}});
        let mut older = newer.clone();
        to_older(&mut older);
        assert_eq!(
            older["spec"],
            json!({"maxReplicas": 3, "targetCPUUtilizationPercentage": 70})
        );
        assert_eq!(older["status"], json!({"desiredReplicas": 1}));
        let mut back = older.clone();
        to_newer(&mut back);
        assert_eq!(back, newer);
        to_newer(&mut back);
        assert_eq!(back, newer, "what is newer stays so");
    }
}
