//! One admission webhook: asked with an `AdmissionReview` of admission.k8s.io/v1, and its answer understood.

use std::sync::OnceLock;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhook, ValidatingWebhook, WebhookClientConfig,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::scope::{Conditions, Scope};
use super::{Attempt, Subject};
use crate::failure::{Failure, shown};
use crate::request::Subresource;
use crate::resource::Version;
use crate::webhook::{Given, Webhook};

/// The version of reviews that is spoken.
pub(crate) const REVIEW: &str = "v1";
/// How long a webhook that says nothing may take, in seconds.
pub(crate) const TIMEOUT_DEFAULT: i32 = 10;

/// A webhook of a configuration.
pub(crate) struct Hook {
    name: String,
    config: WebhookClientConfig,
    webhook: OnceLock<Result<Webhook, String>>,
    timeout: Duration,
    pub(super) scope: Scope,
    pub(super) conditions: Conditions,
    /// Whether a write goes on that it cannot be asked about.
    pub(super) ignores: bool,
    /// Whether asking it has no effects if the write is only tried.
    harmless: bool,
    /// Whether it is asked again about what others change after it.
    pub(super) again: bool,
}

/// What a webhook says.
#[derive(Default)]
pub(super) struct Answer {
    pub(super) patch: json_patch::Patch,
    pub(super) warnings: Vec<String>,
}

/// Why there is no answer that lets the write go on.
pub(super) enum Refused {
    /// It could not be asked, or what it said makes no sense.
    Unasked(String),
    /// It says no.
    Denied(Failure),
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Response {
    uid: Option<String>,
    allowed: Option<bool>,
    status: Option<Status>,
    patch: Option<ByteString>,
    patch_type: Option<String>,
    warnings: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    message: Option<String>,
    reason: Option<String>,
    details: Option<Map<String, Value>>,
    code: Option<u16>,
}

impl Hook {
    pub(super) fn validating(hook: ValidatingWebhook) -> Self {
        Self {
            scope: Scope::new(
                hook.rules.as_deref().unwrap_or_default(),
                hook.match_policy.as_deref(),
                hook.namespace_selector.as_ref(),
                hook.object_selector.as_ref(),
            ),
            conditions: Conditions::new(hook.match_conditions.as_ref()),
            timeout: timeout(hook.timeout_seconds),
            ignores: hook.failure_policy.as_deref() == Some("Ignore"),
            harmless: matches!(hook.side_effects.as_str(), "None" | "NoneOnDryRun"),
            again: false,
            name: hook.name,
            config: hook.client_config,
            webhook: OnceLock::new(),
        }
    }

    pub(super) fn mutating(hook: MutatingWebhook) -> Self {
        let again = hook.reinvocation_policy.as_deref() == Some("IfNeeded");
        let plain = ValidatingWebhook {
            admission_review_versions: hook.admission_review_versions,
            client_config: hook.client_config,
            failure_policy: hook.failure_policy,
            match_conditions: hook.match_conditions,
            match_policy: hook.match_policy,
            name: hook.name,
            namespace_selector: hook.namespace_selector,
            object_selector: hook.object_selector,
            rules: hook.rules,
            side_effects: hook.side_effects,
            timeout_seconds: hook.timeout_seconds,
        };
        Self {
            again,
            ..Self::validating(plain)
        }
    }

    /// Asks it about a write; both states are in that version.
    pub(super) async fn ask(
        &self,
        attempt: &Attempt<'_>,
        version: &Version,
        subject: Subject<'_>,
        mutating: bool,
    ) -> Result<Answer, Refused> {
        if attempt.dry_run && !self.harmless {
            let name = &self.name;
            let message = format!("admission webhook {name:?} does not support dry run");
            return Err(Refused::Denied(Failure::bad_request(message)));
        }
        let uid = attempt.server.ids().uid();
        let review = json!({
            "apiVersion": format!("admission.k8s.io/{REVIEW}"), "kind": "AdmissionReview",
            "request": attempt.described(&uid, version, subject),
        });
        let unasked = |why: String| Refused::Unasked(format!("failed to call webhook: {why}"));
        let webhook = self
            .webhook
            .get_or_init(|| Webhook::new(&given(&self.config)));
        let webhook = webhook.as_ref().map_err(|why| unasked(why.clone()))?;
        let answered = webhook.call(&review, self.timeout).await.map_err(unasked)?;
        let invalid =
            |why: String| Refused::Unasked(format!("received invalid webhook response: {why}"));
        let response = read(answered, &uid).map_err(invalid)?;
        let warnings = response.warnings.unwrap_or_default();
        if !response.allowed.unwrap_or_default() {
            let status = response.status.unwrap_or_default();
            return Err(Refused::Denied(self.denied(status)));
        }
        let patch = patch(response.patch, response.patch_type.as_deref(), mutating);
        let patch = patch.map_err(invalid)?;
        Ok(Answer { patch, warnings })
    }

    fn denied(&self, status: Status) -> Failure {
        const CODE_MIN: u16 = 400;
        const CODE_MAX: u16 = 599;
        let by = format!("admission webhook {:?} denied the request", self.name);
        let reason = status.reason.unwrap_or_default();
        let message = status.message.unwrap_or_default();
        let message = match (message.as_str(), reason.as_str()) {
            ("", "") => format!("{by} without explanation"),
            ("", reason) => format!("{by}: {reason}"),
            (message, _) => format!("{by}: {message}"),
        };
        let code = status.code.unwrap_or_default().clamp(CODE_MIN, CODE_MAX);
        let mut failure = Failure::new(code, reason, message);
        failure.details = status.details.unwrap_or_default();
        failure
    }

    /// Why a write does not go on that it could not be asked about.
    pub(super) fn unasked(&self, why: &str) -> Failure {
        Failure::internal(format!("failed calling webhook {:?}: {why}", self.name))
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

fn timeout(seconds: Option<i32>) -> Duration {
    let seconds = u64::try_from(seconds.unwrap_or(TIMEOUT_DEFAULT));
    Duration::from_secs(seconds.unwrap_or(1))
}

pub(crate) fn given(config: &WebhookClientConfig) -> Given<'_> {
    let service = config.service.as_ref();
    Given {
        url: config.url.as_deref(),
        service: service.map(|it| (it.namespace.as_str(), it.name.as_str(), it.port)),
        authority: config.ca_bundle.as_ref(),
    }
}

fn read(mut answered: Value, uid: &str) -> Result<Response, String> {
    let expected = format!("admission.k8s.io/{REVIEW}");
    if answered["apiVersion"] != expected.as_str() || answered["kind"] != "AdmissionReview" {
        let (version, kind) = (shown(&answered["apiVersion"]), shown(&answered["kind"]));
        return Err(format!(
            "expected webhook response of {expected}, Kind=AdmissionReview, got {version}, Kind={kind}"
        ));
    }
    let response = answered["response"].take();
    if response.is_null() {
        return Err("webhook response was absent".to_owned());
    }
    let response = Response::deserialize(response).map_err(|error| error.to_string())?;
    match response.uid.as_deref() == Some(uid) {
        true => Ok(response),
        false => Err(format!(
            "expected response.uid={uid:?}, got {}",
            shown(&response.uid.into())
        )),
    }
}

/// What is to change; a webhook that only validates changes nothing.
fn patch(
    patch: Option<ByteString>,
    kind: Option<&str>,
    mutating: bool,
) -> Result<json_patch::Patch, String> {
    let patch = patch.filter(|patch| !patch.0.is_empty());
    match (patch, kind) {
        (None, None) => Ok(json_patch::Patch(Vec::new())),
        (Some(_), _) if !mutating => {
            Err("validating webhook may not return response.patch".to_owned())
        }
        (_, Some(_)) if !mutating => {
            Err("validating webhook may not return response.patchType".to_owned())
        }
        (Some(_), None) => {
            Err("webhook returned response.patch but not response.patchType".to_owned())
        }
        (None, Some(_)) => {
            Err("webhook returned response.patchType but not response.patch".to_owned())
        }
        (Some(patch), Some("JSONPatch")) => serde_json::from_slice(&patch.0)
            .map_err(|error| format!("undecodable patch in webhook response: {error}")),
        (Some(_), Some(other)) => Err(format!("unsupported patch type {other:?}")),
    }
}

impl Attempt<'_> {
    /// The request of a review, which is also what expressions know of it.
    pub(super) fn described(&self, uid: &str, version: &Version, subject: Subject<'_>) -> Value {
        let resource = &self.request.resource;
        let asked = &self.request.version;
        let kind = |version: &str| json!({"group": resource.group, "version": version, "kind": resource.kind});
        let plural = |version: &str| json!({"group": resource.group, "version": version, "resource": resource.plural});
        let name = self.name(subject);
        let mut request = json!({
            "uid": uid, "kind": kind(&version.name), "resource": plural(&version.name),
            "requestKind": kind(asked), "requestResource": plural(asked),
            "operation": self.operation.name(), "dryRun": self.dry_run,
            "userInfo": self.author.user_info(),
            "object": subject.object, "oldObject": subject.old, "options": self.options(),
        });
        let part = self.request.subresource.map_or("", Subresource::name);
        let namespace = match resource.is_namespace() {
            true => name,
            false => &self.request.namespace,
        };
        for (field, text) in [
            ("name", name),
            ("namespace", namespace),
            ("subResource", part),
            ("requestSubResource", part),
        ] {
            if !text.is_empty() {
                request[field] = text.into();
            }
        }
        request
    }
}
