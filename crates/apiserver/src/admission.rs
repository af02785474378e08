//! Who is asked before an object is written, and may change the write or refuse it: webhooks and policies of
//! admissionregistration.k8s.io.
//!
//! A write is a draft first ([`crate::rules`]). Mutating webhooks may change it, one after the other; once it is complete
//! and keeps its rules, policies and validating webhooks may refuse it. `scope` says which writes a webhook or policy is
//! about, `hook` asks a webhook, `policy` judges by the rules of a policy, `expression` evaluates CEL. Nothing here runs
//! under the server's lock; a write that was overtaken meanwhile is asked about again.

mod expression;
mod hook;
mod policy;
mod scope;

use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::access::Identity;
use crate::convert;
use crate::failure::Failure;
use crate::index::Objects;
use crate::limits;
use crate::object::{Object, meta_text};
use crate::ownership::Shape;
use crate::patch::Patch;
use crate::request::Request;
use crate::resource::{Home, Version};
use crate::selection::Selection;
use crate::server::Server;

pub(crate) use expression::Expression;
pub(crate) use hook::{REVIEW, TIMEOUT_DEFAULT, given};

use expression::Names;
use hook::{Answer, Hook, Refused};
use policy::Policy;
use scope::Conditions;

/// The group of all that is asked.
pub(crate) const GROUP: &str = "admissionregistration.k8s.io";

/// All that is asked.
#[derive(Default)]
pub(crate) struct Admission {
    mutating: Vec<Hook>,
    validating: Vec<Hook>,
    policies: Vec<Policy>,
}

/// What is done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Update,
    Delete,
}

/// A write that others are asked about.
pub(crate) struct Attempt<'a> {
    pub(crate) server: &'a Server,
    pub(crate) request: &'a Request,
    pub(crate) author: &'a Identity,
    pub(crate) operation: Operation,
    pub(crate) dry_run: bool,
}

/// The states before and after it, in the version of the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) object: Option<&'a Value>,
    pub(crate) old: Option<&'a Value>,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

/// Whether what is kept there says who is asked.
pub(crate) fn concerns(home: &Home) -> bool {
    home.group == GROUP
}

impl Admission {
    /// Whether nobody is asked.
    pub(crate) fn is_empty(&self) -> bool {
        self.mutating.is_empty() && self.validating.is_empty() && self.policies.is_empty()
    }

    /// What those objects say.
    pub(crate) fn of(objects: &Objects) -> Self {
        let mutating =
            all::<MutatingWebhookConfiguration>(objects, "mutatingwebhookconfigurations");
        let validating =
            all::<ValidatingWebhookConfiguration>(objects, "validatingwebhookconfigurations");
        let mutating = mutating.into_iter().flat_map(|it| it.webhooks).flatten();
        let validating = validating.into_iter().flat_map(|it| it.webhooks).flatten();
        Self {
            mutating: mutating.map(Hook::mutating).collect(),
            validating: validating.map(Hook::validating).collect(),
            policies: policy::all(
                all(objects, "validatingadmissionpolicies"),
                &all(objects, "validatingadmissionpolicybindings"),
            ),
        }
    }
}

/// The objects of a kind, by name.
fn all<T: DeserializeOwned>(objects: &Objects, plural: &str) -> Vec<T> {
    let home = Home {
        group: GROUP.to_owned(),
        plural: plural.to_owned(),
    };
    let there = objects.select(&Selection::all(Arc::new(home)), None);
    there
        .iter()
        .filter_map(|object| T::deserialize(&*object.value).ok())
        .collect()
}

impl<'a> Attempt<'a> {
    /// The draft as mutating webhooks change it, with what the client should be warned of. `reread` brings what one of them
    /// made of a draft into the form of drafts again.
    pub(crate) async fn mutate(
        &self,
        admission: &Admission,
        mut draft: Value,
        old: Option<&Value>,
        reread: impl Fn(Value, &Value) -> Result<Value, Failure>,
    ) -> Result<(Value, Vec<String>), Failure> {
        limits::apply(self.server, self.request, &mut draft, old)?;
        let mut warnings = Vec::new();
        let hooks = admission.mutating.iter().filter(|_| !self.is_exempt());
        let (mut called, mut again) = (Vec::new(), Vec::new());
        for hook in hooks {
            let subject = Subject {
                object: Some(&draft),
                old,
            };
            if let Some(changed) = self.change(hook, subject, &mut warnings).await? {
                draft = reread(changed, &draft)?;
                again.clone_from(&called);
            }
            if hook.again {
                called.push(hook);
            }
        }
        for hook in again {
            let subject = Subject {
                object: Some(&draft),
                old,
            };
            if let Some(changed) = self.change(hook, subject, &mut warnings).await? {
                draft = reread(changed, &draft)?;
            }
        }
        Ok((draft, warnings))
    }

    /// Asks all about a deletion, and says what the client should be warned of.
    pub(crate) async fn delete(
        &self,
        admission: &Admission,
        old: &Value,
    ) -> Result<Vec<String>, Failure> {
        let subject = Subject {
            object: None,
            old: Some(old),
        };
        let mut warnings = Vec::new();
        for hook in admission.mutating.iter().filter(|_| !self.is_exempt()) {
            self.change(hook, subject, &mut warnings).await?;
        }
        warnings.extend(self.validate(admission, subject).await?);
        Ok(warnings)
    }

    /// What a webhook makes of the object; `None` if it stays as it is.
    async fn change(
        &self,
        hook: &Hook,
        subject: Subject<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Value>, Failure> {
        let Some((version, seen)) = self.concerned(hook, subject).await? else {
            return Ok(None);
        };
        let answer = self.told(hook, hook.ask(self, version, seen.subject(), true).await)?;
        warnings.extend(answer.warnings);
        if answer.patch.0.is_empty() {
            return Ok(None);
        }
        let Some(before) = seen.object else {
            let name = hook.name();
            return Err(Failure::internal(format!(
                "admission webhook {name:?} attempted to modify the object, which is not supported for this operation"
            )));
        };
        let after = Patch::Json(answer.patch).apply(before.clone(), &Shape::Leaf);
        let after = after.map_err(|failure| Failure::internal(failure.message))?;
        if after == before {
            return Ok(None);
        }
        if !after.is_object() {
            let name = hook.name();
            let message = format!("admission webhook {name:?} made something else of the object");
            return Err(Failure::internal(message));
        }
        let versions = (version, self.request.served());
        let after = convert::between(&self.request.resource, versions, after).await?;
        Ok(Some(after))
    }

    /// Asks all who may refuse the write, and says what the client should be warned of.
    pub(crate) async fn validate(
        &self,
        admission: &Admission,
        subject: Subject<'_>,
    ) -> Result<Vec<String>, Failure> {
        let mut warnings = Vec::new();
        if self.is_exempt() {
            return Ok(warnings);
        }
        for policy in &admission.policies {
            warnings.extend(policy.judge(self, subject).await?);
        }
        let mut concerned = Vec::new();
        for hook in &admission.validating {
            if let Some((version, seen)) = self.concerned(hook, subject).await? {
                concerned.push((hook, version, seen));
            }
        }
        let asked = concerned.iter().map(|(hook, version, seen)| async move {
            self.told(hook, hook.ask(self, version, seen.subject(), false).await)
        });
        for answer in join_all(asked).await {
            warnings.extend(answer?.warnings);
        }
        Ok(warnings)
    }

    /// What a webhook says, if the write may go on then.
    fn told(&self, hook: &Hook, answer: Result<Answer, Refused>) -> Result<Answer, Failure> {
        match answer {
            Ok(answer) => Ok(answer),
            Err(Refused::Denied(failure)) => Err(failure),
            Err(Refused::Unasked(why)) if hook.ignores => {
                tracing::warn!(
                    webhook = hook.name(),
                    why,
                    "a webhook could not be asked and is ignored"
                );
                Ok(Answer::default())
            }
            Err(Refused::Unasked(why)) => Err(hook.unasked(&why)),
        }
    }

    /// The version in which the webhook is to be asked, if it is, and the states in it.
    async fn concerned(
        &self,
        hook: &Hook,
        subject: Subject<'_>,
    ) -> Result<Option<(&'a Version, Seen)>, Failure> {
        let Some(version) = hook.scope.version(self, subject)? else {
            return Ok(None);
        };
        let seen = self.seen(version, subject).await?;
        match self.hold(&hook.conditions, version, seen.subject()) {
            Ok(true) => Ok(Some((version, seen))),
            Ok(false) => Ok(None),
            Err(_) if hook.ignores => Ok(None),
            Err(why) => Err(self.forbidden(subject, &why)),
        }
    }

    fn hold(
        &self,
        conditions: &Conditions,
        version: &Version,
        subject: Subject<'_>,
    ) -> Result<bool, String> {
        if conditions.is_empty() {
            return Ok(true);
        }
        let request = self.described("", version, subject);
        let (object, old) = (&request["object"], &request["oldObject"]);
        conditions.hold(&Names::new([
            ("object", object),
            ("oldObject", old),
            ("request", &request),
        ]))
    }

    /// 403, as what is asked about is refused.
    fn forbidden(&self, subject: Subject<'_>, why: &str) -> Failure {
        Failure::forbidden(&self.request.resource, self.name(subject), why)
    }

    /// The name of the object; empty if it has none yet.
    fn name<'s>(&'s self, subject: Subject<'s>) -> &'s str {
        let value = subject.object.or(subject.old);
        match self.request.name.as_str() {
            "" => value.map_or("", |value| meta_text(value, "name")),
            name => name,
        }
    }

    /// Those who say who is asked are not asked about: otherwise nobody could mend them.
    fn is_exempt(&self) -> bool {
        concerns(&self.request.resource.home)
    }

    /// The states in that version.
    async fn seen(&self, version: &Version, subject: Subject<'_>) -> Result<Seen, Failure> {
        let versions = (self.request.served(), version);
        let mut states = [subject.object.cloned(), subject.old.cloned()];
        for state in states.iter_mut().flatten() {
            *state = convert::between(&self.request.resource, versions, state.take()).await?;
        }
        let [object, old] = states;
        Ok(Seen { object, old })
    }

    /// The namespace of the object, if it lives in one.
    fn namespace(&self) -> Result<Option<Arc<Object>>, Failure> {
        let name = &self.request.namespace;
        if name.is_empty() {
            return Ok(None);
        }
        let registry = self.server.registry();
        let namespaces = registry.get("", "namespaces");
        let namespaces = namespaces.ok_or_else(Failure::no_such_path)?;
        let found = self.server.engine().latest(&namespaces.key("", name));
        let found = found.ok_or_else(|| Failure::not_found(namespaces, name))?;
        Ok(Some(found))
    }

    /// How the request was made.
    fn options(&self) -> Value {
        let kind = match self.operation {
            Operation::Create => "CreateOptions",
            Operation::Update => "UpdateOptions",
            Operation::Delete => "DeleteOptions",
        };
        let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
        if !self.request.query.field_manager.is_empty() {
            options["fieldManager"] = self.request.query.field_manager.clone().into();
        }
        if self.dry_run {
            options["dryRun"] = json!(["All"]);
        }
        options
    }
}

/// The states in the version of who is asked.
struct Seen {
    object: Option<Value>,
    old: Option<Value>,
}

impl Seen {
    fn subject(&self) -> Subject<'_> {
        Subject {
            object: self.object.as_ref(),
            old: self.old.as_ref(),
        }
    }
}
