//! Who is asked before objects are written: webhooks and policies as they are written down. What comes of them is
//! [`crate::admission`].

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
    ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector as Given;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Builtin, typed};
use crate::admission::{self, Expression, GROUP, REVIEW};
use crate::failure::Cause;
use crate::ownership::Shape;
use crate::resource::{Complete, Problems, Resource, Typed};
use crate::selection::LabelSelector;

/// Shortest and longest time that a webhook may be given, in seconds.
const TIMEOUT_SECONDS: std::ops::RangeInclusive<i64> = 1..=30;
/// Parts of a webhook's name, at least.
const NAME_PARTS_MIN: usize = 3;

pub(super) fn resources() -> [Resource; 4] {
    let hooks = || Shape::object([("webhooks", by_name(hook_shape()))]);
    [
        resource(
            "mutatingwebhookconfigurations",
            "MutatingWebhookConfiguration",
            typed::<MutatingWebhookConfiguration>(),
            (complete_hooks, hook_problems),
            hooks(),
        ),
        resource(
            "validatingwebhookconfigurations",
            "ValidatingWebhookConfiguration",
            typed::<ValidatingWebhookConfiguration>(),
            (complete_hooks, hook_problems),
            hooks(),
        ),
        policies(),
        resource(
            "validatingadmissionpolicybindings",
            "ValidatingAdmissionPolicyBinding",
            typed::<ValidatingAdmissionPolicyBinding>(),
            (complete_binding, binding_problems),
            Shape::object([(
                "spec",
                Shape::named([("paramRef", Shape::Leaf), ("validationActions", Shape::Set)]),
            )]),
        ),
    ]
}

fn resource(
    plural: &'static str,
    kind: &'static str,
    typed: Typed,
    (complete, problems): (Complete, Problems),
    shape: Shape,
) -> Resource {
    let mut builtin = Builtin::core(plural, kind, &[], typed);
    builtin.group = GROUP;
    builtin.namespaced = false;
    builtin.shape = shape;
    builtin.traits.blank = &["spec"];
    builtin.traits.generation = true;
    builtin.traits.complete = Some(complete);
    builtin.traits.problems = Some(problems);
    builtin.resource()
}

fn policies() -> Resource {
    let spec = Shape::named([
        ("auditAnnotations", Shape::Leaf),
        ("matchConditions", by_name(Shape::named([]))),
        ("paramKind", Shape::Leaf),
        ("validations", Shape::Leaf),
        ("variables", by_name(Shape::Leaf)),
    ]);
    let mut resource = resource(
        "validatingadmissionpolicies",
        "ValidatingAdmissionPolicy",
        typed::<ValidatingAdmissionPolicy>(),
        (complete_policy, policy_problems),
        Shape::object([("spec", spec), ("status", Shape::named([]))]),
    );
    resource.versions[0].status = true;
    resource
}

fn by_name(items: Shape) -> Shape {
    Shape::Items(vec![("name".to_owned(), None)], Box::new(items))
}

fn hook_shape() -> Shape {
    let service = Shape::named([]);
    Shape::named([
        ("clientConfig", Shape::named([("service", service)])),
        ("matchConditions", by_name(Shape::named([]))),
    ])
}

fn list_mut<'a>(value: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    let list = value.get_mut(field).and_then(Value::as_array_mut);
    list.into_iter().flatten().filter(|item| item.is_object())
}

fn list<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = (usize, &'a Value)> {
    let list = value.get(field).and_then(Value::as_array);
    list.into_iter().flatten().enumerate()
}

fn default(value: &mut Value, field: &str, default: Value) {
    if value[field].is_null() {
        value[field] = default;
    }
}

/// Whom the rules are about, unless they say it: all.
fn complete_rules(value: &mut Value, field: &str) {
    for rule in list_mut(value, field) {
        default(rule, "scope", "*".into());
    }
}

fn complete_scope(value: &mut Value) {
    default(value, "matchPolicy", "Equivalent".into());
    default(value, "namespaceSelector", json!({}));
    default(value, "objectSelector", json!({}));
}

fn complete_hooks(configuration: &mut Value, _: Option<&Value>) {
    let mutating = configuration["kind"] == "MutatingWebhookConfiguration";
    for hook in list_mut(configuration, "webhooks") {
        complete_scope(hook);
        complete_rules(hook, "rules");
        default(hook, "failurePolicy", "Fail".into());
        default(hook, "timeoutSeconds", admission::TIMEOUT_DEFAULT.into());
        if mutating {
            default(hook, "reinvocationPolicy", "Never".into());
        }
        if let Some(service) = hook.pointer_mut("/clientConfig/service")
            && service.is_object()
        {
            default(service, "port", 443.into());
        }
    }
}

fn complete_policy(policy: &mut Value, _: Option<&Value>) {
    let Some(spec) = policy.get_mut("spec").filter(|spec| spec.is_object()) else {
        return;
    };
    default(spec, "failurePolicy", "Fail".into());
    if let Some(constraints) = spec.get_mut("matchConstraints").filter(|it| it.is_object()) {
        complete_resources(constraints);
    }
}

fn complete_binding(binding: &mut Value, _: Option<&Value>) {
    let resources = binding.pointer_mut("/spec/matchResources");
    if let Some(resources) = resources.filter(|it| it.is_object()) {
        complete_resources(resources);
    }
}

fn complete_resources(resources: &mut Value) {
    complete_scope(resources);
    complete_rules(resources, "resourceRules");
    complete_rules(resources, "excludeResourceRules");
}

fn hook_problems(_: Option<&Value>, configuration: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut names = Vec::new();
    for (n, hook) in list(configuration, "webhooks") {
        let at = format!("webhooks[{n}]");
        let name = &hook["name"];
        let parts = name.as_str().unwrap_or_default().split('.');
        if parts.count() < NAME_PARTS_MIN {
            let why = "should be a domain with at least three segments separated by dots";
            causes.push(Cause::invalid(format!("{at}.name"), name, why));
        }
        if names.contains(&name) {
            let message = format!("Duplicate value: {name}");
            causes.push(Cause::new(
                "FieldValueDuplicate",
                format!("{at}.name"),
                message,
            ));
        }
        names.push(name);
        causes.extend(one_of(hook, &at, "failurePolicy", &["Fail", "Ignore"]));
        causes.extend(one_of(hook, &at, "matchPolicy", &["Equivalent", "Exact"]));
        causes.extend(one_of(hook, &at, "sideEffects", &["None", "NoneOnDryRun"]));
        if configuration["kind"] == "MutatingWebhookConfiguration" {
            let known = ["IfNeeded", "Never"];
            causes.extend(one_of(hook, &at, "reinvocationPolicy", &known));
        }
        let seconds = &hook["timeoutSeconds"];
        if !seconds
            .as_i64()
            .is_some_and(|it| TIMEOUT_SECONDS.contains(&it))
        {
            let why = "the timeout value must be between 1 and 30 seconds";
            causes.push(Cause::invalid(format!("{at}.timeoutSeconds"), seconds, why));
        }
        let versions = &hook["admissionReviewVersions"];
        let mut spoken = list(hook, "admissionReviewVersions");
        if !spoken.any(|(_, version)| version == REVIEW) {
            let why = format!("must include {REVIEW}");
            let field = format!("{at}.admissionReviewVersions");
            causes.push(Cause::invalid(field, versions, &why));
        }
        if let Ok(config) = WebhookClientConfig::deserialize(&hook["clientConfig"]) {
            let field = format!("{at}.clientConfig");
            causes.extend(admission::given(&config).problems(&field));
        }
        causes.extend(rule_problems(hook, &at, "rules"));
        causes.extend(selector_problems(hook, &at));
        causes.extend(condition_problems(hook, &at));
    }
    causes
}

fn policy_problems(_: Option<&Value>, policy: &Value) -> Vec<Cause> {
    let spec = &policy["spec"];
    let mut causes = one_of(spec, "spec", "failurePolicy", &["Fail", "Ignore"]);
    let constraints = &spec["matchConstraints"];
    let at = "spec.matchConstraints";
    match list(constraints, "resourceRules").next() {
        None if constraints.is_null() => causes.push(Cause::required(at, "")),
        None => causes.push(Cause::required(format!("{at}.resourceRules"), "")),
        Some(_) => causes.extend(resource_problems(constraints, at)),
    }
    let validations = list(spec, "validations").next();
    if validations.is_none() && list(spec, "auditAnnotations").next().is_none() {
        let why = "validations or auditAnnotations must contain at least one item";
        causes.push(Cause::required("spec.validations", why));
        causes.push(Cause::required("spec.auditAnnotations", why));
    }
    causes.extend(condition_problems(spec, "spec"));
    for (n, variable) in list(spec, "variables") {
        let field = format!("spec.variables[{n}].expression");
        causes.extend(expression_problem(&variable["expression"], field));
    }
    for (n, validation) in list(spec, "validations") {
        let at = format!("spec.validations[{n}]");
        let field = format!("{at}.expression");
        causes.extend(expression_problem(&validation["expression"], field));
        if !validation["messageExpression"].is_null() {
            let field = format!("{at}.messageExpression");
            causes.extend(expression_problem(&validation["messageExpression"], field));
        }
        let known = [
            "Forbidden",
            "Invalid",
            "RequestEntityTooLarge",
            "Unauthorized",
        ];
        if !validation["reason"].is_null() {
            causes.extend(one_of(validation, &at, "reason", &known));
        }
    }
    causes
}

fn binding_problems(_: Option<&Value>, binding: &Value) -> Vec<Cause> {
    let spec = &binding["spec"];
    let mut causes = Vec::new();
    if spec["policyName"].as_str().is_none_or(str::is_empty) {
        causes.push(Cause::required("spec.policyName", ""));
    }
    if list(spec, "validationActions").next().is_none() {
        causes.push(Cause::required("spec.validationActions", ""));
    }
    let actions = ["Audit", "Deny", "Warn"];
    for (n, action) in list(spec, "validationActions") {
        if !actions.iter().any(|known| action == known) {
            let field = format!("spec.validationActions[{n}]");
            causes.push(Cause::unsupported(&field, action, &actions));
        }
    }
    let acts = |action: &str| list(spec, "validationActions").any(|(_, it)| it == action);
    if acts("Deny") && acts("Warn") {
        let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        let field = "spec.validationActions";
        causes.push(Cause::invalid(field, &spec["validationActions"], why));
    }
    let params = &spec["paramRef"];
    if !params.is_null() && params["name"].is_null() == params["selector"].is_null() {
        let why = "one of name or selector must be specified, and not both";
        causes.push(Cause::required("spec.paramRef", why));
    }
    if !spec["matchResources"].is_null() {
        causes.extend(resource_problems(
            &spec["matchResources"],
            "spec.matchResources",
        ));
    }
    causes
}

fn resource_problems(resources: &Value, at: &str) -> Vec<Cause> {
    let mut causes = one_of(resources, at, "matchPolicy", &["Equivalent", "Exact"]);
    causes.extend(rule_problems(resources, at, "resourceRules"));
    causes.extend(rule_problems(resources, at, "excludeResourceRules"));
    causes.extend(selector_problems(resources, at));
    causes
}

fn one_of(value: &Value, at: &str, field: &str, known: &[&str]) -> Vec<Cause> {
    let given = &value[field];
    let field = format!("{at}.{field}");
    match given.as_str() {
        None | Some("") => vec![Cause::required(field, "")],
        Some(given) if known.contains(&given) => Vec::new(),
        Some(_) => vec![Cause::unsupported(&field, given, known)],
    }
}

fn rule_problems(value: &Value, at: &str, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (n, rule) in list(value, field) {
        let at = format!("{at}.{field}[{n}]");
        for part in ["operations", "apiGroups", "apiVersions", "resources"] {
            if list(rule, part).next().is_none() {
                causes.push(Cause::required(format!("{at}.{part}"), ""));
            }
        }
        let known = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
        for (n, operation) in list(rule, "operations") {
            if !known.iter().any(|known| operation == known) {
                let field = format!("{at}.operations[{n}]");
                causes.push(Cause::unsupported(&field, operation, &known));
            }
        }
        causes.extend(one_of(rule, &at, "scope", &["*", "Cluster", "Namespaced"]));
    }
    causes
}

fn selector_problems(value: &Value, at: &str) -> Vec<Cause> {
    let fields = ["namespaceSelector", "objectSelector"].into_iter();
    let checked = fields.filter_map(|field| {
        let given = Option::<Given>::deserialize(&value[field]).ok()?;
        let why = LabelSelector::given(given.as_ref()).err()?;
        Some(Cause::invalid(format!("{at}.{field}"), &value[field], &why))
    });
    checked.collect()
}

fn condition_problems(value: &Value, at: &str) -> Vec<Cause> {
    let conditions = list(value, "matchConditions").filter_map(|(n, condition)| {
        let field = format!("{at}.matchConditions[{n}].expression");
        expression_problem(&condition["expression"], field)
    });
    conditions.collect()
}

fn expression_problem(expression: &Value, field: String) -> Option<Cause> {
    let text = expression.as_str().unwrap_or_default();
    if text.trim().is_empty() {
        return Some(Cause::required(field, ""));
    }
    let why = Expression::new(text).check().err()?;
    Some(Cause::invalid(field, expression, &why))
}
