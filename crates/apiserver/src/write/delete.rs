//! Deleting as a request: one object, or all that is selected; who may refuse it is asked before each.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response};
use serde_json::{Value, json};

use super::{Done, Writing, warn};
use crate::admission::Operation;
use crate::body::{self, Body};
use crate::deletion::{Deletion, delete};
use crate::engine::{self, DECISIONS_MAX, Outcome};
use crate::failure::Failure;
use crate::object::{Key, Object};
use crate::options::DeleteOptions;
use crate::render::Render;
use crate::state::State;
use crate::{convert, definition, list, namespace};

impl Writing<'_> {
    pub(super) async fn delete(
        &self,
        render: &Render,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Response<Body>, Failure> {
        let options = DeleteOptions::parse(&self.request.query, headers, body)?;
        let key = self
            .request
            .resource
            .key(&self.request.namespace, &self.request.name);
        let (Done { decided, warnings }, gone) = self.delete_one(&key, &options).await?;
        let object = decided.settled().await?;
        let answer = match gone {
            true => body::text(&self.deleted(&object), render.pretty).into(),
            false => render.object(&render.served(&[object]).await?[0]),
        };
        let code = if options.tells_rest && !gone {
            202
        } else {
            200
        };
        let mut response = body::json(code, answer);
        warn(&mut response, &warnings);
        Ok(response)
    }

    /// What says that an object is gone.
    fn deleted(&self, object: &Object) -> Value {
        let resource = &self.request.resource;
        let (name, uid) = (&object.key.name, object.uid());
        let mut details = json!({"name": name, "kind": resource.plural, "uid": uid});
        if !resource.group.is_empty() {
            details["group"] = resource.group.clone().into();
        }
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
    }

    /// Decides about one object; also says whether it is gone.
    pub(crate) async fn delete_one(
        &self,
        key: &Key,
        options: &DeleteOptions,
    ) -> Result<(Done, bool), Failure> {
        let resource = &self.request.resource;
        let (registry, now) = (self.server.registry(), self.server.now());
        let admit = |_: &State, _: &mut Outcome| {
            namespace::may_go(resource, key)?;
            definition::may_change(&registry, resource, key)
        };
        for _ in 0..DECISIONS_MAX {
            let seen = self.server.engine().latest(key);
            let old = seen
                .as_ref()
                .ok_or_else(|| Failure::not_found(resource, &key.name))?;
            let deletion = delete(
                resource,
                old,
                &options.preconditions,
                options.propagation,
                &now,
            )?;
            let warnings = self.ask_to_delete(old, options).await?;
            let gone = deletion == Deletion::Now;
            let outcome = match deletion {
                Deletion::Already => Outcome::Keep,
                Deletion::Later(value) => Outcome::Set(*value),
                Deletion::Now => Outcome::Remove(old.value.clone()),
            };
            if let Some(decided) = self.take(key, seen.as_ref(), outcome, options.dry_run, admit)? {
                return Ok((Done { decided, warnings }, gone));
            }
        }
        Err(engine::restless(key))
    }

    /// Asks all about a deletion, and says what the client should be warned of.
    async fn ask_to_delete(
        &self,
        old: &Arc<Object>,
        options: &DeleteOptions,
    ) -> Result<Vec<String>, Failure> {
        let (admission, mut attempt) = self.attempt(Operation::Delete);
        if admission.is_empty() {
            return Ok(Vec::new());
        }
        attempt.dry_run = options.dry_run;
        let (resource, version) = (&self.request.resource, self.request.served());
        let old = convert::served(resource, version, old).await?;
        attempt.delete(&admission, &old.value).await
    }

    /// Deletes a page of what is selected, or all of it, one write each; answers with the list of what was there.
    pub(super) async fn delete_many(
        &self,
        render: &Render,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Response<Body>, Failure> {
        let options = DeleteOptions::parse(&self.request.query, headers, body)?;
        let (objects, metadata) = list::page(self.server, self.request)?;
        self.delete_all(&objects, &options).await?;
        self.server.engine().settled().await?;
        let objects = render.served(&objects).await?;
        Ok(body::json(200, render.list(&objects, metadata)))
    }

    /// Decides about all of them.
    async fn delete_all(
        &self,
        objects: &[Arc<Object>],
        options: &DeleteOptions,
    ) -> Result<(), Failure> {
        for object in objects {
            match self.delete_one(&object.key, options).await {
                // Somebody else deleted it: that is what was wanted.
                Err(failure) if failure.code != 404 => return Err(failure),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }
}
