//! Which objects a list, a watch or a deletion of many is about: resource, namespace, labels and fields.
//!
//! A selection also says which one equality is narrowest, so that the index of watchers and the index of objects can
//! leave everything else alone.

pub(crate) mod field;
pub(crate) mod label;

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use crate::object::{Object, meta};
use crate::resource::Home;

pub use field::FieldSelector;
pub use label::LabelSelector;

/// Most requirements that one selector may have.
pub(crate) const REQUIREMENTS_MAX: usize = 256;

/// A set of objects, described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The resource.
    pub home: Arc<Home>,
    /// Only this namespace.
    pub namespace: Option<String>,
    /// Only objects with such labels.
    pub labels: LabelSelector,
    /// Only objects with such fields.
    pub fields: FieldSelector,
}

/// The equality by which a selection is found in an index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Narrowest {
    /// One name, in any namespace.
    Name(String),
    /// One value at one path.
    Field(String, String),
    /// One namespace.
    Namespace(String),
    /// All of the resource.
    All,
}

impl Selection {
    /// Everything of a resource.
    #[must_use]
    pub fn all(home: Arc<Home>) -> Self {
        Self {
            home,
            namespace: None,
            labels: LabelSelector::default(),
            fields: FieldSelector::default(),
        }
    }

    /// Whether the object belongs to it. The resource is not compared.
    #[must_use]
    pub fn matches(&self, object: &Object) -> bool {
        self.namespace
            .as_ref()
            .is_none_or(|namespace| *namespace == object.key.namespace)
            && self.fields.matches(&object.value)
            && self.labels.matches(meta(&object.value).get("labels"))
    }

    /// Whether an object belongs to it that is known as text only, without reading more of it than must be.
    pub(crate) fn matches_text(&self, (namespace, name): (&str, &str), text: &[u8]) -> bool {
        let is_there = self.namespace.as_ref().is_none_or(|it| it == namespace);
        let fields = self.fields.matches_key(namespace, name);
        if !is_there || fields == Some(false) {
            return false;
        }
        if fields.is_none() {
            let value: Value = serde_json::from_slice(text).unwrap_or_default();
            return self.fields.matches(&value) && self.labels.matches(meta(&value).get("labels"));
        }
        if self.labels.is_empty() {
            return true;
        }
        let labelled: Labelled = serde_json::from_slice(text).unwrap_or_default();
        self.labels.matches(Some(&labelled.metadata.labels))
    }

    /// What to look it up by.
    #[must_use]
    pub fn narrowest(&self) -> Narrowest {
        if let Some(name) = self.fields.wanted("metadata.name") {
            return Narrowest::Name(name.to_owned());
        }
        if let Some((path, value)) = self.fields.equality() {
            return Narrowest::Field(path.to_owned(), value.to_owned());
        }
        match &self.namespace {
            Some(namespace) => Narrowest::Namespace(namespace.clone()),
            None => Narrowest::All,
        }
    }
}

/// What is read of an object to know its labels.
#[derive(Default, Deserialize)]
struct Labelled {
    #[serde(default)]
    metadata: LabelledMetadata,
}

#[derive(Default, Deserialize)]
struct LabelledMetadata {
    #[serde(default)]
    labels: Value,
}
