//! HorizontalPodAutoscalers, which are served in two versions: the older one knows no metric but the use of processors.

use k8s_openapi::api::autoscaling::{v1, v2};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::super::shapes::Shapes;
use super::{defaults, kind};
use crate::ownership::Shape;
use crate::resource::{Conversion, Resource};

/// A part of the newer version that the older one keeps in an annotation.
struct Kept {
    annotation: &'static str,
    part: &'static str,
    field: &'static str,
    /// Whether a value is one of such a field: anybody may write the annotation.
    fits: fn(&Value) -> bool,
    /// The field of the older version for the use of processors, and where that is in the newer one.
    percent: Option<(&'static str, &'static str)>,
}

const KEPT: [Kept; 4] = [
    Kept {
        annotation: "autoscaling.alpha.kubernetes.io/metrics",
        part: "spec",
        field: "metrics",
        fits: fits::<Vec<v2::MetricSpec>>,
        percent: Some(("targetCPUUtilizationPercentage", "target")),
    },
    Kept {
        annotation: "autoscaling.alpha.kubernetes.io/behavior",
        part: "spec",
        field: "behavior",
        fits: fits::<v2::HorizontalPodAutoscalerBehavior>,
        percent: None,
    },
    Kept {
        annotation: "autoscaling.alpha.kubernetes.io/current-metrics",
        part: "status",
        field: "currentMetrics",
        fits: fits::<Vec<v2::MetricStatus>>,
        percent: Some(("currentCPUUtilizationPercentage", "current")),
    },
    Kept {
        annotation: "autoscaling.alpha.kubernetes.io/conditions",
        part: "status",
        field: "conditions",
        fits: fits::<Vec<v2::HorizontalPodAutoscalerCondition>>,
        percent: None,
    },
];

fn fits<T: DeserializeOwned>(value: &Value) -> bool {
    T::deserialize(value).is_ok()
}

pub(super) fn resource(shapes: &mut Shapes) -> Resource {
    let newer = kind::<v2::HorizontalPodAutoscaler>(shapes, &["hpa"]);
    let mut resource = newer.in_all().completed(defaults::autoscaler).resource();
    let mut older = kind::<v1::HorizontalPodAutoscaler>(shapes, &["hpa"]).resource();
    let mut version = older.versions.swap_remove(0);
    version.conversion = Conversion::Remake(to_newer, to_older);
    // Here it is owned as a whole.
    let spec = Shape::named([("scaleTargetRef", Shape::Leaf)]);
    version.shape = Shape::object([("spec", spec), ("status", Shape::named([]))]);
    resource.versions.push(version);
    resource
}

fn to_older(autoscaler: &mut Value) {
    for kept in &KEPT {
        let Some(mut content) = take(autoscaler, kept.part, kept.field) else {
            continue;
        };
        if let Some((field, place)) = kept.percent {
            let (percent, others) = processors(&content, place);
            put(autoscaler, kept.part, field, percent);
            content = others;
        }
        if content.as_array().is_none_or(|all| !all.is_empty()) {
            let text = Value::from(content.to_string());
            put(
                &mut autoscaler["metadata"],
                "annotations",
                kept.annotation,
                Some(text),
            );
        }
    }
}

fn to_newer(autoscaler: &mut Value) {
    for kept in &KEPT {
        let metadata = &mut autoscaler["metadata"];
        let text = metadata["annotations"][kept.annotation].as_str();
        let content = text.and_then(|text| serde_json::from_str::<Value>(text).ok());
        let mut content = content.filter(kept.fits);
        if content.is_some() {
            take(metadata, "annotations", kept.annotation);
        }
        if let Some((field, place)) = kept.percent
            && let Some(percent) = take(autoscaler, kept.part, field)
        {
            let mut value = json!({"averageUtilization": percent});
            if place == "target" {
                value["type"] = "Utilization".into();
            }
            let first = json!({"type": "Resource", "resource": {"name": "cpu", place: value}});
            let others = content.iter().filter_map(Value::as_array).flatten();
            content = Some(std::iter::once(&first).chain(others).cloned().collect());
        }
        put(autoscaler, kept.part, kept.field, content);
    }
    let annotations = autoscaler.pointer("/metadata/annotations");
    if annotations.is_some_and(|all| all.is_null() || all.as_object().is_some_and(Map::is_empty)) {
        take(autoscaler, "metadata", "annotations");
    }
}

/// The use of processors in a list of metrics, and what else is in it.
fn processors(metrics: &Value, place: &str) -> (Option<Value>, Value) {
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
    }

    #[test]
    fn an_annotation_that_holds_no_such_part_stays_one() {
        let annotations = json!({"autoscaling.alpha.kubernetes.io/metrics": "{\"a\": 1}", "autoscaling.alpha.kubernetes.io/behavior": "no JSON"});
        let mut odd = json!({"metadata": {"annotations": annotations}, "spec": {"maxReplicas": 1}});
        let before = odd.clone();
        to_newer(&mut odd);
        assert_eq!(odd, before);
        let mut bare = json!({"metadata": {"name": "a"}, "spec": {"maxReplicas": 1}});
        let before = bare.clone();
        to_newer(&mut bare);
        assert_eq!(bare, before);
    }
}
