//! Owner references: reading them, resolving them, taking them out.

use serde_json::Value;

use crate::object::{Key, meta, meta_mut};
use crate::registry::Registry;

/// One owner reference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tie {
    group: String,
    kind: String,
    name: String,
    pub(super) uid: String,
    /// Whether the owner has to wait for this object when it is deleted in the foreground.
    pub(super) blocks: bool,
}

/// The owner references of a document.
pub(super) fn ties(value: &Value) -> Vec<Tie> {
    let list = meta(value).get("ownerReferences").and_then(Value::as_array);
    list.into_iter().flatten().map(Tie::read).collect()
}

/// The document without some of its owner references.
pub(super) fn without(value: &Value, which: impl Fn(&Tie) -> bool) -> Value {
    let mut value = value.clone();
    let metadata = meta_mut(&mut value);
    if let Some(list) = metadata
        .get_mut("ownerReferences")
        .and_then(Value::as_array_mut)
    {
        list.retain(|owner| !which(&Tie::read(owner)));
        if list.is_empty() {
            metadata.remove("ownerReferences");
        }
    }
    value
}

impl Tie {
    fn read(owner: &Value) -> Self {
        let text = |field: &str| {
            owner
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let api_version = text("apiVersion");
        Self {
            group: api_version
                .split_once('/')
                .map_or("", |(group, _)| group)
                .to_owned(),
            kind: text("kind"),
            name: text("name"),
            uid: text("uid"),
            blocks: owner
                .get("blockOwnerDeletion")
                .and_then(Value::as_bool)
                .unwrap_or(false),
        }
    }

    /// The key of the owner of an object in that namespace; `None` if this server cannot know whether it exists.
    pub(super) fn resolve(&self, registry: &Registry, namespace: &str) -> Option<Key> {
        let resource = registry.by_group_kind(&self.group, &self.kind)?;
        match (resource.namespaced, namespace) {
            (false, _) => Some(resource.key("", &self.name)),
            // A cluster-scoped object cannot have an owner in a namespace: nobody can say in which.
            (true, "") => None,
            (true, namespace) => Some(resource.key(namespace, &self.name)),
        }
    }
}
