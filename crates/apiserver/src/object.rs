//! Objects as the server keeps them, their keys, and short ways to their metadata.
//!
//! An object is a JSON document with the fixed shape of Kubernetes objects around it; nothing here knows a kind.

use std::io;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::body::BODY_BYTES_MAX;
use crate::resource::Home;

/// Largest object that a client may make, in bytes as text: as large as what it may send.
pub(crate) const OBJECT_BYTES_MAX: usize = BODY_BYTES_MAX;

/// Deepest document: what `serde_json` reads, and so what a stored object may be.
pub(crate) const DEPTH_MAX: usize = 127;

/// What identifies an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The resource.
    pub home: Arc<Home>,
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    /// Unique within resource and namespace.
    pub name: String,
}

impl Key {
    /// The key under which the object is stored.
    #[must_use]
    pub fn storage_key(&self) -> String {
        self.home.key(&self.namespace, &self.name)
    }

    /// The key that is stored as that text; `None` if it is none.
    pub(crate) fn of_storage(text: &str) -> Option<Self> {
        let mut parts = text.split('/').map(str::to_owned);
        let home = Home {
            group: parts.next()?,
            plural: parts.next()?,
        };
        Some(Self {
            home: Arc::new(home),
            namespace: parts.next()?,
            name: parts.next()?,
        })
    }
}

/// One state of one object. Never changed: a write makes another.
#[derive(Debug)]
pub struct Object {
    /// What identifies it.
    pub key: Key,
    /// Its resourceVersion as a number.
    pub revision: u64,
    /// The document, in the stored version of its kind.
    pub value: Document,
}

/// A document as it is sent and stored, which is read when somebody looks into it: as text it takes a fraction of the
/// memory, and most objects are only ever passed on.
#[derive(Debug)]
pub struct Document {
    text: Bytes,
    /// The same, once it was read.
    read: OnceLock<Value>,
}

impl Document {
    /// A document that was checked to be one.
    pub(crate) fn of_text(text: Bytes) -> Self {
        let read = OnceLock::new();
        Self { text, read }
    }

    /// The document as it is sent and stored.
    #[must_use]
    pub fn text(&self) -> &Bytes {
        &self.text
    }
}

impl From<Value> for Document {
    fn from(value: Value) -> Self {
        Self {
            text: Bytes::from(value.to_string()),
            read: OnceLock::from(value),
        }
    }
}

impl Deref for Document {
    type Target = Value;

    fn deref(&self) -> &Value {
        let read = || serde_json::from_slice(&self.text).expect("it was written from a document");
        self.read.get_or_init(read)
    }
}

impl Object {
    /// The object with that revision written into its metadata.
    pub(crate) fn at(key: Key, revision: u64, mut value: Value) -> Self {
        meta_mut(&mut value).insert("resourceVersion".to_owned(), revision.to_string().into());
        Self {
            key,
            revision,
            value: value.into(),
        }
    }

    /// The object that is stored as that text; `None` if it is none.
    pub(crate) fn of_storage(key: Key, text: Bytes) -> Option<Self> {
        let value: Value = serde_json::from_slice(&text).ok()?;
        let revision = meta_text(&value, "resourceVersion").parse().ok()?;
        let read = OnceLock::from(value);
        Some(Self {
            key,
            revision,
            value: Document { text, read },
        })
    }

    /// The object as it would be if it were written: without a version.
    pub(crate) fn unwritten(key: Key, value: Value) -> Self {
        Self {
            key,
            revision: 0,
            value: value.into(),
        }
    }

    /// The same object in another form.
    pub(crate) fn with(&self, value: Value) -> Self {
        Self {
            key: self.key.clone(),
            revision: self.revision,
            value: value.into(),
        }
    }

    /// Its uid.
    #[must_use]
    pub fn uid(&self) -> &str {
        meta_text(&self.value, "uid")
    }
}

/// The metadata of a document; empty if it has none.
pub(crate) fn meta(value: &Value) -> &Map<String, Value> {
    static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    value
        .get("metadata")
        .and_then(Value::as_object)
        .unwrap_or(&EMPTY)
}

/// The metadata of a document, made if it has none. The document must be an object.
pub(crate) fn meta_mut(value: &mut Value) -> &mut Map<String, Value> {
    let fields = value
        .as_object_mut()
        .expect("every document was checked to be a JSON object");
    let metadata = fields
        .entry("metadata")
        .or_insert_with(|| Value::Object(Map::new()));
    if !metadata.is_object() {
        *metadata = Value::Object(Map::new());
    }
    metadata
        .as_object_mut()
        .expect("it was just made an object")
}

/// A text field of the metadata; empty if absent.
pub(crate) fn meta_text<'a>(value: &'a Value, field: &str) -> &'a str {
    meta(value)
        .get(field)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The finalizers, in their order.
pub(crate) fn finalizers(value: &Value) -> Vec<&str> {
    let list = meta(value).get("finalizers").and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// Whether deletion was asked for.
pub(crate) fn is_deleting(value: &Value) -> bool {
    meta(value)
        .get("deletionTimestamp")
        .is_some_and(Value::is_string)
}

/// The value at a dotted path of field names, such as `spec.host`.
pub(crate) fn at_path<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.')
        .try_fold(value, |value, field| value.get(field))
}

/// How many lists and objects are around the innermost value, itself included if it is one.
pub(crate) fn depth(value: &Value) -> usize {
    match value {
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        Value::Array(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// The length of a document as text, without making the text.
pub(crate) fn json_bytes(value: &Value) -> usize {
    struct Counter(usize);
    impl io::Write for Counter {
        fn write(&mut self, part: &[u8]) -> io::Result<usize> {
            self.0 += part.len();
            Ok(part.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    serde_json::to_writer(&mut counter, value).expect("counting never fails");
    counter.0
}
