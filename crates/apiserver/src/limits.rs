//! What one object may ask for: `LimitRange`s whose items name a resource (`type: workloads.groma.dev`) and bound the
//! amounts in `spec.resources` of its objects.
//!
//! As in Kubernetes they concern who is written from now on: an amount that was there before may stay.

use std::sync::Arc;

use api::Quantity;
use serde_json::{Value, json};

use crate::failure::{Cause, Failure};
use crate::object::Object;
use crate::request::{Request, Subresource};
use crate::resource::Home;
use crate::selection::Selection;
use crate::server::Server;

const PLURAL: &str = "limitranges";
/// Where objects say what they ask for.
const AMOUNTS: &str = "/spec/resources";

/// Gives a new draft the amounts that it must have and does not name, and refuses those that it may not have.
pub(crate) fn apply(
    server: &Server,
    request: &Request,
    draft: &mut Value,
    old: Option<&Value>,
) -> Result<(), Failure> {
    let resource = &request.resource;
    let amounts = draft.pointer(AMOUNTS).and_then(Value::as_object);
    if amounts.is_none() || !matches!(request.subresource, None | Some(Subresource::Scale)) {
        return Ok(());
    }
    for range in ranges(server, &request.namespace) {
        let items = range.value["spec"]["limits"]
            .as_array()
            .into_iter()
            .flatten();
        let own = resource.qualified();
        for item in items.filter(|item| item["type"] == own.as_str()) {
            if old.is_none() {
                fill(draft, item);
            }
            check(draft, old, item)
                .map_err(|why| Failure::forbidden(resource, &request.name, &why))?;
        }
    }
    Ok(())
}

fn ranges(server: &Server, namespace: &str) -> Vec<Arc<Object>> {
    let home = Home {
        group: String::new(),
        plural: PLURAL.to_owned(),
    };
    let mut selection = Selection::all(Arc::new(home));
    selection.namespace = Some(namespace.to_owned());
    server.snapshot(&selection).0
}

fn fill(draft: &mut Value, item: &Value) {
    let Some(amounts) = draft.pointer_mut(AMOUNTS).and_then(Value::as_object_mut) else {
        return;
    };
    for (name, amount) in item["default"].as_object().into_iter().flatten() {
        amounts.entry(name).or_insert_with(|| amount.clone());
    }
}

/// The texts are those of Kubernetes' LimitRanger.
fn check(draft: &Value, old: Option<&Value>, item: &Value) -> Result<(), String> {
    let of = |object: &Value, name: &str| quantity(object.pointer(AMOUNTS)?.get(name)?);
    for (bound, is_max) in [("min", false), ("max", true)] {
        let word = if is_max { "maximum" } else { "minimum" };
        for (name, limit) in item[bound].as_object().into_iter().flatten() {
            let asked = of(draft, name);
            if old.is_some_and(|old| asked == of(old, name)) {
                continue;
            }
            let Some(limit) = quantity(limit) else {
                continue;
            };
            let kind = item["type"].as_str().unwrap_or_default();
            match asked {
                None => {
                    return Err(format!(
                        "{word} {name} usage per {kind} is {limit}.  No request is specified"
                    ));
                }
                Some(asked) if (is_max && asked > limit) || (!is_max && asked < limit) => {
                    return Err(format!(
                        "{word} {name} usage per {kind} is {limit}, but request is {asked}"
                    ));
                }
                Some(_) => {}
            }
        }
    }
    Ok(())
}

fn quantity(amount: &Value) -> Option<Quantity> {
    match amount {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

/// What is wrong with a LimitRange: nothing is named that nobody would look at.
pub(crate) fn problems(_: Option<&Value>, range: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let items = range["spec"]["limits"].as_array().into_iter().flatten();
    for (index, item) in items.enumerate() {
        let field = format!("spec.limits[{index}]");
        let kind = item["type"].as_str().unwrap_or_default();
        if !kind.contains('.') {
            let why = "must be PLURAL.GROUP, such as workloads.groma.dev";
            causes.push(Cause::invalid(format!("{field}.type"), &json!(kind), why));
        }
        for unknown in ["defaultRequest", "maxLimitRequestRatio"] {
            if !item[unknown].is_null() {
                let why = "what is asked for is also what is had";
                causes.push(Cause::forbidden(format!("{field}.{unknown}"), why));
            }
        }
        for bound in ["default", "max", "min"] {
            for (name, amount) in item[bound].as_object().into_iter().flatten() {
                if quantity(amount).is_none() {
                    let field = format!("{field}.{bound}[{name}]");
                    causes.push(Cause::invalid(field, amount, "must be a quantity"));
                }
            }
        }
    }
    causes
}
