//! The paths of one resource: which operations there are, their parameters and bodies.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Served, group_version, group_version_kind, schemas};
use crate::query::Allowed;
use crate::request::{Subresource, Verb};
use crate::resource::{Resource, Version};

/// Types of patches that every resource takes.
const PATCHES: [&str; 3] = [
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
];
/// Built-in types take these as well.
const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// One operation, before it is written down.
struct Operation {
    method: &'static str,
    action: &'static str,
    allowed: Allowed,
    /// Whether it answers with a list.
    list: bool,
}

static LIST: Operation = Operation {
    method: "get",
    action: "list",
    allowed: Allowed::List,
    list: true,
};
static CREATE: Operation = Operation {
    method: "post",
    action: "post",
    allowed: Allowed::Write,
    list: false,
};
static DELETE_MANY: Operation = Operation {
    method: "delete",
    action: "deletecollection",
    allowed: Allowed::DeleteMany,
    list: true,
};
static GET: Operation = Operation {
    method: "get",
    action: "get",
    allowed: Allowed::Get,
    list: false,
};
static UPDATE: Operation = Operation {
    method: "put",
    action: "put",
    allowed: Allowed::Write,
    list: false,
};
static PATCH: Operation = Operation {
    method: "patch",
    action: "patch",
    allowed: Allowed::Patch,
    list: false,
};
static DELETE: Operation = Operation {
    method: "delete",
    action: "delete",
    allowed: Allowed::Delete,
    list: false,
};

/// Every path of the resource in that version.
pub(super) fn of(resource: &Arc<Resource>, version: &Version) -> Map<String, Value> {
    let root = format!("/{}", group_version(resource, version));
    let everywhere = format!("{root}/{}", resource.plural);
    let collection = match resource.namespaced {
        true => format!("{root}/namespaces/{{namespace}}/{}", resource.plural),
        false => everywhere.clone(),
    };
    let item = format!("{collection}/{{name}}");
    let mut paths = Map::new();
    let mut put = |path: &str, operations: &[&Operation], form: Served<'_>| {
        let tag = group_version(resource, version);
        paths.insert(
            path.to_owned(),
            written(path, operations, (resource, &tag), form),
        );
    };
    let own = (resource, version);
    let (one, many): (Vec<&Operation>, Vec<&Operation>) = operations(resource.verbs())
        .partition(|operation| matches!(operation.action, "get" | "put" | "patch" | "delete"));
    if resource.namespaced && many.iter().any(|operation| operation.list) {
        put(&everywhere, &[&LIST], own);
    }
    put(&collection, &many, own);
    if !one.is_empty() {
        put(&item, &one, own);
    }
    for part in Subresource::of(resource, version) {
        let operations: Vec<&Operation> = operations(part.verbs()).collect();
        let path = format!("{item}/{}", part.name());
        put(&path, &operations, part.form(resource, version));
    }
    paths
}

/// What the verbs stand for; watching is a parameter of listing.
fn operations(verbs: &[Verb]) -> impl Iterator<Item = &'static Operation> {
    verbs.iter().filter_map(|verb| match verb {
        Verb::Get => Some(&GET),
        Verb::List => Some(&LIST),
        Verb::Watch => None,
        Verb::Create => Some(&CREATE),
        Verb::Update => Some(&UPDATE),
        Verb::Patch => Some(&PATCH),
        Verb::Delete => Some(&DELETE),
        Verb::DeleteCollection => Some(&DELETE_MANY),
    })
}

/// What is done at a path: of which resource, under which tag, and the kind of what is read and written there.
fn written(
    path: &str,
    operations: &[&Operation],
    of: (&Resource, &str),
    form: Served<'_>,
) -> Value {
    let in_path = ["namespace", "name"]
        .into_iter()
        .filter(|name| path.contains(&format!("{{{name}}}")));
    let parameters: Vec<Value> = in_path.map(path_parameter).collect();
    let mut item = Map::new();
    for operation in operations {
        item.insert(
            operation.method.to_owned(),
            operation.written(path, of, form),
        );
    }
    item.insert("parameters".to_owned(), parameters.into());
    item.into()
}

impl Operation {
    fn written(
        &self,
        path: &str,
        (resource, tag): (&Resource, &str),
        (kind, version): Served<'_>,
    ) -> Value {
        let answered = match self.list {
            true => schemas::list_name(kind, version),
            false => schemas::name(kind, version),
        };
        let parameters: Vec<Value> = self.allowed.names().map(query_parameter).collect();
        let mut operation = json!({
            "operationId": self.id(path),
            "tags": [tag],
            "parameters": parameters,
            "responses": {"200": {"description": "OK", "content": content(&["application/json"], &reference(&answered))}},
            "x-kubernetes-action": self.action,
            "x-kubernetes-group-version-kind": group_version_kind(kind, version, &kind.kind),
        });
        let sent = reference(&schemas::name(kind, version));
        if let Some(body) = self.body(resource, &sent) {
            operation["requestBody"] =
                json!({"required": self.method != "delete", "content": body});
        }
        operation
    }

    fn body(&self, resource: &Resource, sent: &Value) -> Option<Value> {
        match self.method {
            "post" | "put" => Some(content(&["application/json"], sent)),
            "patch" => {
                let strategic = resource.is_built_in().then_some(STRATEGIC);
                let types: Vec<&str> = PATCHES.into_iter().chain(strategic).collect();
                Some(content(
                    &types,
                    &json!({"description": "a patch of that type"}),
                ))
            }
            _ => None,
        }
    }

    /// Unique in its document: the action and the words of the path.
    fn id(&self, path: &str) -> String {
        let words = path
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|word| !word.is_empty());
        std::iter::once(self.action)
            .chain(words)
            .collect::<Vec<_>>()
            .join("-")
    }
}

fn content(types: &[&str], schema: &Value) -> Value {
    let entries = types
        .iter()
        .map(|media| ((*media).to_owned(), json!({"schema": schema})));
    Value::Object(entries.collect())
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("{}{name}", schemas::COMPONENTS)})
}

fn path_parameter(name: &str) -> Value {
    json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}})
}

fn query_parameter(name: &str) -> Value {
    let kind = match name {
        "limit" | "timeoutSeconds" | "gracePeriodSeconds" => "integer",
        "watch" | "allowWatchBookmarks" | "sendInitialEvents" | "orphanDependents" => "boolean",
        _ => "string",
    };
    json!({"name": name, "in": "query", "schema": {"type": kind}})
}
