//! Writing from within the process at once, as tests that play a user do: the rules of a request without its way.

use futures::FutureExt;
use http::HeaderMap;
use serde_json::Value;

use crate::access::{Author, Identity};
use crate::convert::Known;
use crate::failure::Failure;
use crate::object::meta_text;
use crate::options::DeleteOptions;
use crate::ownership::Shape;
use crate::patch::Patch;
use crate::query::{Fate, FieldValidation, Query};
use crate::request::{Request, Verb};
use crate::server::Server;
use crate::write::Writing;

/// Who writes directly.
const USER: &str = "groma";
/// Where objects go that name no namespace and need one.
const NAMESPACE: &str = "default";

impl Server {
    /// Creates the object, or merges it into the one that is there, as an administrator and without waiting.
    ///
    /// # Errors
    /// As for a request. With in-memory storage the write is visible when this returns.
    pub fn apply(&self, object: &Value) -> Result<Value, Failure> {
        let request = self.direct_request(object, Verb::Patch)?;
        let user = Identity::admin(USER);
        let author = Author::admin(&user);
        let writing = Writing::new(self, &request, author, &HeaderMap::new());
        let mut object = object.clone();
        writing.place(&mut object)?;
        let merge = Patch::Merge(object.clone());
        let next = |old: &Value, _: &Known| merge.apply(old.clone(), &Shape::Leaf);
        let done = match at_once(writing.change(next, true)) {
            Err(missing) if missing.code == 404 => at_once(writing.create_value(&object))?,
            changed => changed?,
        };
        Ok(done.decided.object.value.clone())
    }

    /// Deletes the object that this one names, as an administrator and without waiting.
    ///
    /// # Errors
    /// As for a request.
    pub fn delete(&self, object: &Value) -> Result<(), Failure> {
        self.delete_as(object, &DeleteOptions::default())
    }

    /// As [`delete`](Self::delete), with a propagation policy such as `Foreground`.
    ///
    /// # Errors
    /// As for a request.
    pub fn delete_with(&self, object: &Value, propagation: &str) -> Result<(), Failure> {
        let fate = Fate {
            policy: Some(propagation.to_owned()),
            orphans: None,
        };
        let propagation = fate.propagation();
        let options = DeleteOptions {
            propagation: propagation.map_err(|cause| Failure::delete_options(&cause))?,
            ..DeleteOptions::default()
        };
        self.delete_as(object, &options)
    }

    fn delete_as(&self, object: &Value, options: &DeleteOptions) -> Result<(), Failure> {
        let request = self.direct_request(object, Verb::Delete)?;
        let user = Identity::admin(USER);
        let author = Author::admin(&user);
        let writing = Writing::new(self, &request, author, &HeaderMap::new());
        let key = request.resource.key(&request.namespace, &request.name);
        at_once(writing.delete_one(&key, options)).map(drop)
    }

    fn direct_request(&self, object: &Value, verb: Verb) -> Result<Request, Failure> {
        let text = |field: &str| {
            object
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let registry = self.registry();
        let found = registry.by_kind(text("apiVersion"), text("kind"));
        let (resource, version) = found.ok_or_else(Failure::no_such_path)?;
        let namespace = match (resource.namespaced, meta_text(object, "namespace")) {
            (true, "") => NAMESPACE,
            (_, namespace) => namespace,
        };
        Ok(Request {
            verb,
            resource: resource.clone(),
            version,
            namespace: namespace.to_owned(),
            name: meta_text(object, "name").to_owned(),
            subresource: None,
            query: Query {
                field_validation: FieldValidation::Strict,
                ..Query::default()
            },
        })
    }
}

/// What comes of a write that nobody else is asked about.
fn at_once<T>(write: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let waits = "a webhook has to be asked, which cannot be done at once";
    write
        .now_or_never()
        .unwrap_or_else(|| Err(Failure::internal(waits)))
}
