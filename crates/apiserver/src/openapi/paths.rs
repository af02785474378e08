//! The paths of one resource: which operations there are, their parameters and bodies.

use serde_json::{Map, Value, json};

use super::{Served, group_version, group_version_kind, schemas};
use crate::query::Allowed;
use crate::resource::{Resource, Version};
use crate::scale;

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

const LIST: Operation = Operation {
    method: "get",
    action: "list",
    allowed: Allowed::List,
    list: true,
};
const CREATE: Operation = Operation {
    method: "post",
    action: "post",
    allowed: Allowed::Write,
    list: false,
};
const DELETE_MANY: Operation = Operation {
    method: "delete",
    action: "deletecollection",
    allowed: Allowed::DeleteMany,
    list: true,
};
const GET: Operation = Operation {
    method: "get",
    action: "get",
    allowed: Allowed::Get,
    list: false,
};
const UPDATE: Operation = Operation {
    method: "put",
    action: "put",
    allowed: Allowed::Write,
    list: false,
};
const PATCH: Operation = Operation {
    method: "patch",
    action: "patch",
    allowed: Allowed::Patch,
    list: false,
};
const DELETE: Operation = Operation {
    method: "delete",
    action: "delete",
    allowed: Allowed::Delete,
    list: false,
};

/// Every path of the resource in that version.
pub(super) fn of(resource: &Resource, version: &Version) -> Map<String, Value> {
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
    if resource.traits.asked_only {
        put(&collection, &[&CREATE], own);
        return paths;
    }
    if resource.namespaced {
        put(&everywhere, &[&LIST], own);
    }
    put(&collection, &[&LIST, &CREATE, &DELETE_MANY], own);
    put(&item, &[&GET, &UPDATE, &PATCH, &DELETE], own);
    if version.status {
        put(&format!("{item}/status"), &[&GET, &UPDATE, &PATCH], own);
    }
    if version.scale.is_some() {
        let form: Served<'_> = (&scale::RESOURCE, &scale::RESOURCE.versions[0]);
        put(&format!("{item}/scale"), &[&GET, &UPDATE, &PATCH], form);
    }
    paths
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
