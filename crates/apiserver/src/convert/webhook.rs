//! Conversion by the webhook of a definition: `ConversionReview` of apiextensions.k8s.io.
//!
//! A webhook converts and does nothing else: it may not change what an object is, nor its metadata but labels and
//! annotations. What it gives back is brought into the form of its version's schema.

use std::sync::OnceLock;
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceConversion, WebhookConversion,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::failure::{Cause, Failure, shown};
use crate::ids::Ids;
use crate::metadata;
use crate::object::{json_bytes, meta_mut, meta_text};
use crate::schema::Schema;
use crate::webhook::{Given, Webhook};

/// How long a conversion may take, as in Kubernetes.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How many documents, and how many bytes of them, are asked about at once. One that is longer is asked about alone.
const PART_OBJECTS: usize = 500;
const PART_BYTES: usize = 1024 * 1024;
/// The versions of `ConversionReview` that are spoken.
const REVIEWS: [&str; 2] = ["v1", "v1beta1"];

/// Converts the objects of one definition.
pub(crate) struct Converter {
    given: WebhookConversion,
    /// Made when it is first called; why it cannot be called, if it cannot.
    webhook: OnceLock<Result<Webhook, String>>,
    /// The version of the documents that it reads.
    review: &'static str,
    ids: Ids,
}

/// What a webhook answers.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Response {
    uid: String,
    converted_objects: Vec<Value>,
    result: Outcome,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Outcome {
    status: Option<String>,
    message: Option<String>,
}

impl Converter {
    /// The one that a definition names, if it names one.
    pub(crate) fn of(conversion: Option<&CustomResourceConversion>) -> Option<Self> {
        let webhook = conversion.filter(|it| it.strategy == "Webhook")?;
        let webhook = webhook.webhook.as_ref()?;
        let mut reviews = webhook.conversion_review_versions.iter();
        let review = reviews.find_map(|name| REVIEWS.into_iter().find(|known| known == name))?;
        Some(Self {
            given: webhook.clone(),
            webhook: OnceLock::new(),
            review,
            ids: Ids::random(),
        })
    }

    /// The documents in that version.
    pub(crate) async fn convert(
        &self,
        api_version: &str,
        schema: Option<&Schema>,
        mut values: Vec<Value>,
    ) -> Result<Vec<Value>, Failure> {
        let mut others: Vec<&mut Value> = values
            .iter_mut()
            .filter(|value| value["apiVersion"] != api_version)
            .collect();
        let Some(first) = others.first() else {
            return Ok(values);
        };
        let failed = {
            let text = |field: &str| first[field].as_str().unwrap_or_default().to_owned();
            let (from, kind) = (text("apiVersion"), text("kind"));
            move |why: String| {
                let message = format!("conversion webhook for {from}, Kind={kind} failed: {why}");
                Failure::internal(message)
            }
        };
        let objects: Vec<&Value> = others.iter().map(|value| &**value).collect();
        let mut converted = Vec::new();
        for part in parts(&objects) {
            converted.extend(self.ask(api_version, part).await.map_err(&failed)?);
        }
        for (value, converted) in others.iter_mut().zip(converted) {
            let mut converted = accepted(value, converted, api_version).map_err(&failed)?;
            super::in_form(schema, &mut converted);
            **value = converted;
        }
        Ok(values)
    }

    async fn ask(&self, api_version: &str, objects: &[&Value]) -> Result<Vec<Value>, String> {
        let webhook = self.webhook.get_or_init(|| {
            let given = given(&self.given).ok_or("it is not said where it is")?;
            Webhook::new(&given)
        });
        let webhook = webhook.as_ref().map_err(Clone::clone)?;
        let uid = self.ids.uid();
        let of = format!("apiextensions.k8s.io/{}", self.review);
        let review = json!({
            "apiVersion": of, "kind": "ConversionReview",
            "request": {"uid": uid, "desiredAPIVersion": api_version, "objects": objects},
        });
        let mut answer = webhook.call(&review, TIMEOUT).await?;
        let is_ours = answer["kind"] == "ConversionReview" && answer["apiVersion"] == of;
        if !is_ours {
            let (kind, version) = (shown(&answer["kind"]), shown(&answer["apiVersion"]));
            return Err(format!(
                "expected webhook response of {of}, Kind=ConversionReview, got {version}, Kind={kind}"
            ));
        }
        let response = answer["response"].take();
        if response.is_null() {
            return Err("no response provided".to_owned());
        }
        let response = Response::deserialize(response).map_err(|error| error.to_string())?;
        if response.uid != uid {
            let given = response.uid;
            return Err(format!("expected response.uid={uid:?}, got {given:?}"));
        }
        let (status, message) = (response.result.status, response.result.message);
        if status.as_deref() != Some("Success") {
            let status = status.unwrap_or_default();
            let why = format!("response.result.status was '{status}', not 'Success'");
            return Err(message.filter(|it| !it.is_empty()).unwrap_or(why));
        }
        let (given, expected) = (response.converted_objects.len(), objects.len());
        match given == expected {
            true => Ok(response.converted_objects),
            false => Err(format!("it returned {given} objects, expected {expected}")),
        }
    }
}

/// The documents in parts that are asked about at once.
fn parts<'a>(objects: &'a [&'a Value]) -> impl Iterator<Item = &'a [&'a Value]> {
    let mut rest = objects;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |object: &&&Value| {
            bytes += json_bytes(object);
            bytes <= PART_BYTES
        };
        let count = rest.iter().take(PART_OBJECTS).take_while(fits).count();
        let (part, others) = rest.split_at(count.max(1).min(rest.len()));
        rest = others;
        (!part.is_empty()).then_some(part)
    })
}

/// What the webhook made of a document, if that is what it may do.
fn accepted(before: &Value, mut after: Value, api_version: &str) -> Result<Value, String> {
    if !after.is_object() {
        return Err("it returned what is no object".to_owned());
    }
    for (field, expected) in [
        ("apiVersion", &Value::from(api_version)),
        ("kind", &before["kind"]),
    ] {
        let given = &after[field];
        if given != expected {
            return Err(format!(
                "it returned an object whose {field} is {given}, not {expected}"
            ));
        }
    }
    if !after["metadata"].is_object() {
        return Err("it returned an object without metadata".to_owned());
    }
    for field in ["name", "namespace", "uid"] {
        let (given, expected) = (meta_text(&after, field), meta_text(before, field));
        if given != expected {
            return Err(format!(
                "must have the same metadata.{field}: {expected:?}, not {given:?}"
            ));
        }
    }
    let given = after["metadata"].take();
    after["metadata"] = before["metadata"].clone();
    for field in ["labels", "annotations"] {
        match given.get(field).filter(|part| !part.is_null()) {
            Some(part) => meta_mut(&mut after).insert(field.to_owned(), part.clone()),
            None => meta_mut(&mut after).remove(field),
        };
    }
    metadata::normalise(&mut after)?;
    let causes = metadata::key_problems(&after);
    match causes.first() {
        None => Ok(after),
        Some(cause) => Err(format!("it returned an object whose {cause}")),
    }
}

fn given(webhook: &WebhookConversion) -> Option<Given<'_>> {
    let config = webhook.client_config.as_ref()?;
    let service = config.service.as_ref();
    Some(Given {
        url: config.url.as_deref(),
        service: service.map(|it| (it.namespace.as_str(), it.name.as_str(), it.port)),
        authority: config.ca_bundle.as_ref(),
    })
}

/// What is wrong with how a definition converts.
pub(crate) fn problems(conversion: &Value) -> Vec<Cause> {
    const FIELD: &str = "spec.conversion";
    const CONFIG: &str = "spec.conversion.webhookClientConfig";
    const VERSIONS: &str = "spec.conversion.conversionReviewVersions";
    let Ok(read) = CustomResourceConversion::deserialize(conversion) else {
        return vec![Cause::invalid(FIELD, conversion, "is no conversion")];
    };
    match (read.strategy.as_str(), &read.webhook) {
        ("None", None) => Vec::new(),
        ("None", Some(_)) => {
            let why = "should not be set when strategy is not set to Webhook";
            vec![Cause::forbidden(CONFIG, why)]
        }
        ("Webhook", webhook) => {
            let given = webhook.as_ref().and_then(given);
            let mut causes = match given {
                Some(given) => given.problems(CONFIG),
                None => vec![Cause::required(
                    CONFIG,
                    "required when strategy is set to Webhook",
                )],
            };
            let reviews = webhook.as_ref().map(|it| &it.conversion_review_versions);
            match reviews.filter(|list| !list.is_empty()) {
                None => causes.push(Cause::required(VERSIONS, "")),
                Some(list) if !list.iter().any(|name| REVIEWS.contains(&name.as_str())) => {
                    let why = format!("must include at least one of {}", REVIEWS.join(", "));
                    causes.push(Cause::invalid(VERSIONS, &json!(list), &why));
                }
                Some(_) => {}
            }
            causes
        }
        (other, _) => vec![Cause::unsupported(
            "spec.conversion.strategy",
            &other.into(),
            &["None", "Webhook"],
        )],
    }
}
