//! Creating, replacing and patching: from a body to a decision, and from the decision to an answer.

mod apply;
mod delete;
mod review;
mod scale;
mod token;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use serde_json::Value;
use tokio::time::timeout;

use crate::access::{self, Author, Right, escalation};
use crate::admission::{Admission, Attempt, Operation, Subject};
use crate::body::{self, Body};
use crate::convert::{self, Known};
use crate::deletion::is_finished;
use crate::engine::{self, DECISIONS_MAX, Decided, Outcome};
use crate::failure::{Cause, Failure};
use crate::object::{Key, Object, is_deleting, meta_mut, meta_text};
use crate::ownership::{self, Writer};
use crate::patch::{self, Patch};
use crate::query::FieldValidation;
use crate::render::Render;
use crate::request::{Request, Subresource, Verb};
use crate::resource::Offered;
use crate::rules::{Admitted, By, Frame, Stamp};
use crate::server::Server;
use crate::state::State;
use crate::{builtin, decode, definition, furnish, namespace, quota, read, signing};

/// How long a write may take, with all that is asked about it, as in Kubernetes.
const WRITE_LASTS_MAX: Duration = Duration::from_secs(60);
/// How many generated names are tried before the client is told that all are taken.
const NAMES_TRIED_MAX: usize = 8;
/// Most `Warning` headers of one answer, and the longest text of one.
const WARNINGS_MAX: usize = 32;
const WARNING_CHARS_MAX: usize = 256;
/// Longest name of who writes.
const MANAGER_CHARS_MAX: usize = 128;

/// Does what a changing request asks for.
pub(crate) async fn write(
    server: &Server,
    author: Author<'_>,
    request: &Request,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Response<Body>, Failure> {
    let render = Render::of(server, request, headers)?;
    let writing = Writing::new(server, request, author, headers);
    let answer = async {
        match request.verb {
            Verb::Create if request.resource.traits.offered == Offered::Asking => {
                writing.review(&render, headers, &body).await
            }
            Verb::Create if request.subresource == Some(Subresource::Token) => {
                writing.token(&render, headers, &body).await
            }
            Verb::Delete => writing.delete(&render, headers, &body).await,
            Verb::DeleteCollection => writing.delete_many(&render, headers, &body).await,
            _ => writing.write(&render, headers, body).await,
        }
    };
    let answered = timeout(WRITE_LASTS_MAX, answer).await.unwrap_or_else(|_| {
        let message = "Timeout: request did not complete within requested timeout";
        Err(Failure::new(504, "Timeout", message))
    });
    if answered.is_err() {
        // What it was refused for may not be durable yet, and would not hold after a crash.
        server.engine().settled().await?;
    }
    answered
}

/// A decided write, with what the client should be warned of.
pub(crate) struct Done {
    pub(crate) decided: Decided,
    warnings: Vec<String>,
}

/// One changing request.
pub(crate) struct Writing<'a> {
    server: &'a Server,
    request: &'a Request,
    author: Author<'a>,
    /// `None` if the written documents say themselves who owns what.
    by: Option<By>,
}

impl<'a> Writing<'a> {
    pub(crate) fn new(
        server: &'a Server,
        request: &'a Request,
        author: Author<'a>,
        headers: &HeaderMap,
    ) -> Self {
        let by = (!patch::applies(headers)).then(|| By {
            writer: writer(request, headers, author, ownership::Operation::Update),
            now: server.now(),
            may_disown: author.right != Right::Host,
        });
        Self {
            server,
            request,
            author,
            by,
        }
    }

    /// The frame of what is sent.
    fn frame<'f>(&'f self, known: &'f Known) -> Frame<'f> {
        Frame {
            resource: self.request.form(),
            version: self.request.form_version(),
            validation: self.request.query.field_validation,
            by: self.by.clone(),
            known,
        }
    }

    /// The frame of the object, in which it is known who owns what.
    fn whole<'f>(&'f self, known: &'f Known) -> Frame<'f> {
        Frame {
            resource: &self.request.resource,
            version: self.request.served(),
            by: None,
            ..self.frame(known)
        }
    }

    async fn write(
        &self,
        render: &Render,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response<Body>, Failure> {
        let (code, done) = match self.request.verb {
            Verb::Create => (201, self.create(headers, &body).await?),
            Verb::Update => self.update(headers, &body).await?,
            Verb::Patch if self.by.is_none() => {
                access::check_applies(self.author, self.request)?;
                self.apply(headers, &body).await?
            }
            Verb::Patch => (200, self.patch(headers, &body).await?),
            _ => return Err(Failure::method_not_allowed()),
        };
        let object = read::seen(self.request, done.decided.settled().await?).await?;
        let served = render.served(&[object]).await?;
        let mut response = body::json(code, render.object(&served[0]));
        warn(&mut response, &done.warnings);
        Ok(response)
    }

    async fn create(&self, headers: &HeaderMap, body: &Bytes) -> Result<Done, Failure> {
        let (mut value, warnings) = self.decode(headers, body)?;
        self.place(&mut value)?;
        let mut done = self.create_value(&value).await?;
        done.warnings.splice(0..0, warnings);
        Ok(done)
    }

    fn decode(&self, headers: &HeaderMap, body: &Bytes) -> Result<(Value, Vec<String>), Failure> {
        let validation = self.request.query.field_validation;
        let (value, repeated) = decode::document(self.request.form(), headers, body)?;
        match validation {
            FieldValidation::Strict if !repeated.is_empty() => {
                Err(self.frame(&Known::default()).repeated(value, repeated))
            }
            FieldValidation::Strict | FieldValidation::Warn => Ok((value, repeated)),
            FieldValidation::Ignore => Ok((value, Vec::new())),
        }
    }

    /// Creates under the given name, or under generated ones until one is free.
    pub(crate) async fn create_value(&self, value: &Value) -> Result<Done, Failure> {
        let generated = meta_text(value, "name").is_empty();
        for _ in 0..NAMES_TRIED_MAX {
            let created = self.create_once(value.clone()).await;
            match created {
                Err(failure) if generated && failure.reason == "AlreadyExists" => {}
                created => return created,
            }
        }
        Err(Failure::already_exists(
            &self.request.resource,
            meta_text(value, "generateName"),
        ))
    }

    async fn create_once(&self, value: Value) -> Result<Done, Failure> {
        let resource = &self.request.resource;
        let draft = |known: &Known| self.frame(known).draft(value.clone());
        let Admitted {
            value,
            mut warnings,
        } = Known::decide(resource, draft).await?;
        access::check_created(self.server, self.author, self.request, &value)?;
        let (admission, attempt) = self.attempt(Operation::Create);
        let reread = |changed, draft: &Value| {
            let known = Known::default();
            self.frame(&known).reread(changed, draft, None)
        };
        let asked = attempt.mutate(&admission, value, None, reread);
        let (value, said) = asked.await?;
        warnings.extend(said);
        escalation::check(self.server, self.author, self.request, None, &value)?;
        let ids = self.server.ids();
        let stamp = Stamp {
            uid: ids.uid(),
            now: self.server.now(),
            suffix: ids.suffix(),
        };
        let now = stamp.now.clone();
        let value = self.frame(&Known::default()).create(value, stamp)?;
        let value = builtin::born(
            resource,
            self.request.served(),
            namespace::finish(resource, value),
        );
        let value = signing::born(self.server, self.author, self.request, value)?;
        let registry = self.server.registry();
        let subject = Subject {
            object: Some(&value),
            old: None,
        };
        warnings.extend(attempt.validate(&admission, subject).await?);
        let value = convert::stored(resource, self.request.served(), value).await?;
        let key = resource.key(&self.request.namespace, meta_text(&value, "name"));
        let admit = |state: &State, outcome: &mut Outcome| {
            namespace::admits(state, &registry, resource, &key)?;
            definition::admits(state, &registry, resource)?;
            quota::admits(state, resource, &key)?;
            definition::finish(state, &registry, &key, outcome, &now);
            Ok(())
        };
        for _ in 0..DECISIONS_MAX {
            let seen = self.server.engine().latest(&key);
            if let Some(seen) = seen {
                return Err(match is_deleting(&seen.value) {
                    true => Failure::still_exists(resource, &key.name),
                    false => Failure::already_exists(resource, &key.name),
                });
            }
            let (outcome, dry_run) = (Outcome::Set(value.clone()), self.request.query.dry_run);
            if let Some(decided) = self.take(&key, None, outcome, dry_run, admit)? {
                if resource.is_namespace() && !dry_run {
                    furnish::namespace(self.server, &key.name);
                }
                return Ok(Done { decided, warnings });
            }
        }
        Err(engine::restless(&key))
    }

    /// Checks that the body is about the namespace of the path.
    pub(crate) fn place(&self, value: &mut Value) -> Result<(), Failure> {
        let namespace = &self.request.namespace;
        if value.is_object() && !self.request.resource.namespaced {
            // As in Kubernetes, it counts for nothing.
            meta_mut(value).remove("namespace");
        }
        let given = meta_text(value, "namespace");
        if !given.is_empty() && given != namespace {
            let message = "the namespace of the provided object does not match the namespace sent on the request";
            return Err(Failure::bad_request(message));
        }
        if !value.is_object() {
            return Err(Failure::bad_request("the body must be one JSON object"));
        }
        if !namespace.is_empty() {
            meta_mut(value).insert("namespace".to_owned(), namespace.clone().into());
        }
        Ok(())
    }

    /// Checks that the body is about the object of the path.
    fn place_named(&self, value: &mut Value) -> Result<(), Failure> {
        self.place(value)?;
        let (given, name) = (meta_text(value, "name"), &self.request.name);
        if !given.is_empty() && given != name {
            let message = format!(
                "the name of the object ({given}) does not match the name on the URL ({name})"
            );
            return Err(Failure::bad_request(message));
        }
        meta_mut(value).insert("name".to_owned(), name.clone().into());
        Ok(())
    }

    async fn update(&self, headers: &HeaderMap, body: &Bytes) -> Result<(u16, Done), Failure> {
        let (mut value, warnings) = self.decode(headers, body)?;
        self.place_named(&mut value)?;
        let replaced = self.change(|_, _| Ok(value.clone()), false).await;
        let (code, mut done) = match replaced {
            Err(missing) if missing.code == 404 && self.may_create() => {
                (201, self.create_value(&value).await?)
            }
            replaced => (200, replaced?),
        };
        done.warnings.splice(0..0, warnings);
        Ok((code, done))
    }

    fn may_create(&self) -> bool {
        self.request.resource.traits.create_on_update && self.request.subresource.is_none()
    }

    async fn patch(&self, headers: &HeaderMap, body: &Bytes) -> Result<Done, Failure> {
        let Request {
            resource, query, ..
        } = self.request;
        if query.force.is_some() {
            let why = "may not be specified for non-apply patch";
            return Err(Failure::patch_options(&Cause::forbidden("force", why)));
        }
        let (patch, warnings) = Patch::parse(headers, body, resource, query.field_validation)?;
        let patched = |old: &Value, _: &Known| {
            let mut value = patch.apply(old.clone(), &self.request.form_version().shape)?;
            self.place_named(&mut value)?;
            Ok(value)
        };
        let mut done = self.change(patched, true).await?;
        done.warnings.splice(0..0, warnings);
        Ok(done)
    }

    /// Makes the next state of the object from its current one.
    pub(crate) async fn change(
        &self,
        next: impl Fn(&Value, &Known) -> Result<Value, Failure>,
        patched: bool,
    ) -> Result<Done, Failure> {
        let Request {
            resource,
            subresource,
            ..
        } = self.request;
        let version = self.request.served();
        let key = resource.key(&self.request.namespace, &self.request.name);
        let (registry, now) = (self.server.registry(), self.server.now());
        definition::may_change(&registry, resource, &key)?;
        for _ in 0..DECISIONS_MAX {
            let seen = self.server.engine().latest(&key);
            let old = seen
                .as_ref()
                .ok_or_else(|| Failure::not_found(resource, &key.name))?;
            let served = convert::served(resource, version, old).await?;
            // Before the patch: how it fails would tell what is in the object.
            access::check_found(self.author, self.request, &served.value)?;
            let draft = |known: &Known| {
                let next = |live: &Value| next(live, known);
                if let Some(scale) = self.request.scale() {
                    return self.scale(scale, (&served, known), &next, patched);
                }
                let frame = self.frame(known);
                frame.redraft(next(&served.value)?, &served, *subresource, patched)
            };
            let Admitted {
                value,
                mut warnings,
            } = Known::decide(resource, draft).await?;
            access::check_changed(self.author, self.request, &served.value, &value)?;
            let (admission, attempt) = self.attempt(Operation::Update);
            let reread = |changed, draft: &Value| {
                let known = Known::default();
                let old = Some((&*served, *subresource));
                self.whole(&known).reread(changed, draft, old)
            };
            let asked = attempt.mutate(&admission, value, Some(&served.value), reread);
            let (value, said) = asked.await?;
            warnings.extend(said);
            let before = Some(&*served.value);
            escalation::check(self.server, self.author, self.request, before, &value)?;
            let value = signing::approved(self.server, self.author, self.request, value)?;
            let value = self.whole(&Known::default()).replace(value, &served)?;
            let subject = Subject {
                object: Some(&value),
                old: Some(&served.value),
            };
            warnings.extend(attempt.validate(&admission, subject).await?);
            // What was stored in another version is stored anew, even if nobody changes it.
            let current = old.value["apiVersion"] == resource.stored_as.as_str();
            let value = match current && ownership::same(&value, &served.value) {
                true => old.value.clone(),
                false => convert::stored(resource, version, value).await?,
            };
            let outcome = outcome(self.request, old, value);
            let dry_run = self.request.query.dry_run;
            let admit = |state: &State, outcome: &mut Outcome| {
                definition::finish(state, &registry, &key, outcome, &now);
                Ok(())
            };
            if let Some(decided) = self.take(&key, seen.as_ref(), outcome, dry_run, admit)? {
                return Ok(Done { decided, warnings });
            }
        }
        Err(engine::restless(&key))
    }

    /// Decides for real, or only finds out what would be decided; `None` if what was seen has changed meanwhile.
    fn take(
        &self,
        key: &Key,
        seen: Option<&Arc<Object>>,
        mut outcome: Outcome,
        dry_run: bool,
        admit: impl Fn(&State, &mut Outcome) -> Result<(), Failure>,
    ) -> Result<Option<Decided>, Failure> {
        if !dry_run {
            return self.server.engine().take(key, seen, outcome, admit);
        }
        let mut state = self.server.state();
        admit(&state, &mut outcome)?;
        let visible = state.wait_for_all();
        drop(state);
        let object = match (outcome, seen) {
            (Outcome::Set(value) | Outcome::Remove(value), Some(seen)) => {
                Arc::new(Object::at(key.clone(), seen.revision, value))
            }
            (Outcome::Set(value), None) => Arc::new(Object::unwritten(key.clone(), value)),
            (Outcome::Keep, Some(seen)) => seen.clone(),
            (Outcome::Keep | Outcome::Remove(_), None) => {
                return Err(Failure::not_found(&self.request.resource, &key.name));
            }
        };
        Ok(Some(Decided { object, visible }))
    }

    fn attempt(&self, operation: Operation) -> (Arc<Admission>, Attempt<'_>) {
        let attempt = Attempt {
            server: self.server,
            request: self.request,
            author: self.author.identity,
            operation,
            dry_run: self.request.query.dry_run,
        };
        (self.server.engine().admission(), attempt)
    }
}

/// Who writes: by the name that the client gives, that of its program, or its own.
fn writer(
    request: &Request,
    headers: &HeaderMap,
    author: Author<'_>,
    operation: ownership::Operation,
) -> Writer {
    let program = headers
        .get(header::USER_AGENT)
        .and_then(|value| value.to_str().ok());
    let program = program.and_then(|program| program.split('/').next());
    let program = program.filter(|program| !program.is_empty());
    let form = request.form();
    let user = &author.identity.name;
    let name = match (author.right, request.query.field_manager.as_str()) {
        // An agent writes in nobody else's name.
        (Right::Host, _) => user,
        (_, "") => program.unwrap_or(user),
        (_, given) => given,
    };
    Writer {
        name: name.chars().take(MANAGER_CHARS_MAX).collect(),
        operation,
        api_version: form.api_version(&request.form_version().name),
        subresource: request.subresource.map_or("", Subresource::name).to_owned(),
    }
}

/// What the next state means: nothing new, another state, or the end of an object that waited for its finalizers.
fn outcome(request: &Request, old: &Object, value: Value) -> Outcome {
    if is_finished(&request.resource, &value) && touches_finalizers(request) {
        return Outcome::Remove(value);
    }
    match value == *old.value {
        true => Outcome::Keep,
        false => Outcome::Set(value),
    }
}

/// Whether what the request writes may be the last finalizer that goes.
fn touches_finalizers(request: &Request) -> bool {
    let status = request.subresource == Some(Subresource::Status);
    !status || request.resource.traits.status_with_metadata
}

/// Tells the client what it should be warned of.
pub(crate) fn warn(response: &mut Response<Body>, warnings: &[String]) {
    for warning in warnings.iter().take(WARNINGS_MAX) {
        let short: String = warning
            .chars()
            .filter(|c| !c.is_control())
            .take(WARNING_CHARS_MAX)
            .collect();
        let quoted = short.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
}
