//! Who may do what, as it is written down: accounts, roles and their bindings. What they permit is [`crate::access`].

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use serde_json::{Value, json};

use super::{Builtin, typed};
use crate::access::rbac::GROUP;
use crate::failure::Cause;
use crate::ownership::Shape;
use crate::resource::{Resource, Typed};

pub(super) fn resources() -> [Resource; 5] {
    [
        accounts(),
        roles("roles", "Role", true, typed::<Role>()),
        roles("clusterroles", "ClusterRole", false, typed::<ClusterRole>()),
        bindings("rolebindings", "RoleBinding", true, typed::<RoleBinding>()),
        bindings(
            "clusterrolebindings",
            "ClusterRoleBinding",
            false,
            typed::<ClusterRoleBinding>(),
        ),
    ]
}

fn accounts() -> Resource {
    let typed = typed::<ServiceAccount>();
    let mut builtin = Builtin::core("serviceaccounts", "ServiceAccount", &["sa"], typed);
    let secrets = Shape::Items(vec![("name".to_owned(), None)], Box::new(Shape::Leaf));
    builtin.shape = Shape::object([("secrets", secrets)]);
    builtin.resource()
}

fn roles(plural: &'static str, kind: &'static str, namespaced: bool, typed: Typed) -> Resource {
    let mut builtin = Builtin::core(plural, kind, &[], typed);
    builtin.group = GROUP;
    builtin.namespaced = namespaced;
    builtin.shape = Shape::object([("aggregationRule", Shape::named([]))]);
    builtin.traits.any_name = true;
    builtin.traits.problems = Some(role_problems);
    builtin.resource()
}

fn bindings(plural: &'static str, kind: &'static str, namespaced: bool, typed: Typed) -> Resource {
    let mut builtin = Builtin::core(plural, kind, &[], typed);
    builtin.group = GROUP;
    builtin.namespaced = namespaced;
    builtin.shape = Shape::object([]);
    builtin.traits.complete = Some(complete_binding);
    builtin.traits.any_name = true;
    builtin.traits.problems = Some(binding_problems);
    builtin.traits.blank = &["roleRef"];
    builtin.resource()
}

fn list<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = (usize, &'a Value)> {
    let list = value.get(field).and_then(Value::as_array);
    list.into_iter().flatten().enumerate()
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(list) => list.is_empty(),
        Value::String(text) => text.is_empty(),
        other => other.is_null(),
    }
}

/// A rule names verbs, and what they are about.
fn role_problems(_: Option<&Value>, role: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (n, rule) in list(role, "rules") {
        let at = |field: &str| format!("rules[{n}].{field}");
        if is_empty(&rule["verbs"]) {
            causes.push(Cause::required(
                at("verbs"),
                "verbs must contain at least one value",
            ));
        }
        let (paths, resources) = (
            !is_empty(&rule["nonResourceURLs"]),
            !is_empty(&rule["resources"]),
        );
        if paths && role["kind"] == "Role" {
            let why = "namespaced rules cannot apply to non-resource URLs";
            causes.push(Cause::invalid(
                at("nonResourceURLs"),
                &rule["nonResourceURLs"],
                why,
            ));
        } else if paths && resources {
            let why = "rules cannot apply to both regular resources and non-resource URLs";
            causes.push(Cause::invalid(
                at("nonResourceURLs"),
                &rule["nonResourceURLs"],
                why,
            ));
        } else if !paths {
            if is_empty(&rule["apiGroups"]) {
                let why = "resource rules must supply at least one api group";
                causes.push(Cause::required(at("apiGroups"), why));
            }
            if !resources {
                let why = "resource rules must supply at least one resource";
                causes.push(Cause::required(at("resources"), why));
            }
        }
    }
    causes
}

/// Groups that follow from the kinds.
fn complete_binding(binding: &mut Value, _: Option<&Value>) {
    if let Some(role) = binding.get_mut("roleRef").filter(|role| role.is_object())
        && is_empty(&role["apiGroup"])
    {
        role["apiGroup"] = GROUP.into();
    }
    let subjects = binding.get_mut("subjects").and_then(Value::as_array_mut);
    for subject in subjects.into_iter().flatten().filter(|it| it.is_object()) {
        if is_empty(&subject["apiGroup"])
            && (subject["kind"] == "User" || subject["kind"] == "Group")
        {
            subject["apiGroup"] = GROUP.into();
        }
    }
}

fn binding_problems(old: Option<&Value>, binding: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let role = &binding["roleRef"];
    // Who may bind a role is asked once.
    if old.is_some_and(|old| old["roleRef"] != *role) {
        let shown =
            json!({"APIGroup": role["apiGroup"], "Kind": role["kind"], "Name": role["name"]});
        causes.push(Cause::invalid("roleRef", &shown, "cannot change roleRef"));
    }
    let kinds: &[&str] = match binding["kind"] == "RoleBinding" {
        true => &["Role", "ClusterRole"],
        false => &["ClusterRole"],
    };
    if !kinds.iter().any(|kind| role["kind"] == *kind) {
        causes.push(Cause::unsupported("roleRef.kind", &role["kind"], kinds));
    }
    if is_empty(&role["name"]) {
        causes.push(Cause::required("roleRef.name", ""));
    }
    for (n, subject) in list(binding, "subjects") {
        let at = |field: &str| format!("subjects[{n}].{field}");
        if is_empty(&subject["name"]) {
            causes.push(Cause::required(at("name"), ""));
        }
        let known = ["ServiceAccount", "User", "Group"];
        if !known.iter().any(|kind| subject["kind"] == *kind) {
            causes.push(Cause::unsupported(&at("kind"), &subject["kind"], &known));
        }
        // In a namespace it is that one.
        let everywhere = binding["kind"] == "ClusterRoleBinding";
        if everywhere && subject["kind"] == "ServiceAccount" && is_empty(&subject["namespace"]) {
            causes.push(Cause::required(at("namespace"), ""));
        }
    }
    causes
}
