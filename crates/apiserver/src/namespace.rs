//! The life of namespaces: objects need one, and one goes only after all that is in it.

use serde_json::{Value, json};

use crate::access::HOSTS_NAMESPACE;
use crate::authentication::bootstrap;
use crate::deletion::{FOREGROUND, ORPHAN};
use crate::failure::{Cause, Failure};
use crate::names;
use crate::object::{Key, is_deleting, meta_text};
use crate::registry::Registry;
use crate::request::Subresource;
use crate::resource::Resource;
use crate::state::State;

/// Namespaces that are made if they are not there, and cannot be deleted.
pub(crate) const PERMANENT: [&str; 3] = ["default", HOSTS_NAMESPACE, bootstrap::NAMESPACE];

/// The finalizer in the spec of a namespace that stands for its content.
pub(crate) const FINALIZER: &str = "kubernetes";

/// The label by which selectors find a namespace of that name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// A namespace whose name is known has its label from its creator.
pub(crate) fn complete(namespace: &mut Value, _: Option<&Value>) {
    let name = meta_text(namespace, "name").to_owned();
    if let Some(metadata) = namespace.get_mut("metadata").filter(|it| it.is_object())
        && !name.is_empty()
        && matches!(metadata["labels"], Value::Null | Value::Object(_))
    {
        metadata["labels"][NAME_LABEL] = name.into();
    }
}

/// Gives a namespace what makes it one: the finalizer in its spec, its phase and its label.
pub(crate) fn finish(resource: &Resource, mut value: Value) -> Value {
    if !resource.is_namespace() {
        return value;
    }
    let name = value["metadata"]["name"].clone();
    value["metadata"]["labels"][NAME_LABEL] = name;
    let list = value.pointer("/spec/finalizers").and_then(Value::as_array);
    let mut finalizers = list.cloned().unwrap_or_default();
    if finalizers.iter().all(|finalizer| finalizer != FINALIZER) {
        finalizers.push(FINALIZER.into());
    }
    value["spec"] = json!({"finalizers": finalizers});
    value["status"] = json!({"phase": "Active"});
    value
}

/// Only the server itself changes what makes a namespace one, but for what it waits for when it goes.
pub(crate) fn keep(new: &mut Value, old: &Value, subresource: Option<Subresource>) {
    if subresource != Some(Subresource::Finalize) {
        new["spec"] = old["spec"].clone();
    }
    new["metadata"]["labels"][NAME_LABEL] = old["metadata"]["name"].clone();
}

/// What is wrong with what a namespace waits for.
pub(crate) fn problems(old: Option<&Value>, namespace: &Value) -> Vec<Cause> {
    let list = namespace.pointer("/spec/finalizers");
    let list = list.and_then(Value::as_array).into_iter().flatten();
    let mut causes = Vec::new();
    for (index, name) in list.enumerate() {
        let field = match old {
            // As Kubernetes says it.
            None => "spec.finalizers".to_owned(),
            Some(_) => format!("spec.finalizers[{index}]"),
        };
        let refuse = |why: &str| Cause::invalid(&field, name, why);
        let text = name.as_str().unwrap_or_default();
        if let Err(why) = names::check_label_key(text) {
            causes.push(refuse(&why));
        }
        if !text.contains('/') && ![FINALIZER, FOREGROUND, ORPHAN].contains(&text) {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            causes.push(refuse(why));
        }
    }
    causes
}

/// Whether an object may be created where it wants to live.
pub(crate) fn admits(
    state: &State,
    registry: &Registry,
    resource: &Resource,
    key: &Key,
) -> Result<(), Failure> {
    if key.namespace.is_empty() {
        return Ok(());
    }
    let namespaces = registry
        .get("", "namespaces")
        .expect("namespaces are built in");
    let Some(namespace) = state.latest(&namespaces.key("", &key.namespace)) else {
        return Err(Failure::not_found(namespaces, &key.namespace));
    };
    if !is_deleting(&namespace.value) {
        return Ok(());
    }
    let why = format!(
        "unable to create new content in namespace {} because it is being terminated",
        key.namespace
    );
    let mut failure = Failure::forbidden(resource, &key.name, &why);
    let message = format!("namespace {} is being terminated", key.namespace);
    let cause = json!({"reason": "NamespaceTerminating", "message": message, "field": "metadata.namespace"});
    failure.details.insert("causes".to_owned(), json!([cause]));
    Err(failure)
}

/// Whether an object may be deleted at all.
pub(crate) fn may_go(resource: &Resource, key: &Key) -> Result<(), Failure> {
    if resource.is_namespace() && PERMANENT.contains(&key.name.as_str()) {
        return Err(Failure::forbidden(
            resource,
            &key.name,
            "this namespace may not be deleted",
        ));
    }
    Ok(())
}
