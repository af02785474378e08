//! Conversion by the webhook of a definition: `ConversionReview` of apiextensions.k8s.io.
//!
//! A webhook converts and does nothing else: it may not change what an object is, nor its metadata but labels and
//! annotations. What it gives back is brought into the form of its version's schema.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceConversion, WebhookConversion,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::failure::{Cause, Failure};
use crate::ids::Ids;
use crate::object::{meta_mut, meta_text};
use crate::schema::Schema;
use crate::webhook::{Given, Webhook};

/// How long a conversion may take, as in Kubernetes.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The versions of `ConversionReview` that are spoken.
const REVIEWS: [&str; 2] = ["v1", "v1beta1"];

/// Converts the objects of one definition.
pub(crate) struct Converter {
    /// Why it cannot be called, if it cannot.
    webhook: Result<Webhook, String>,
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
    status: String,
    message: String,
}

impl Converter {
    /// The one that a definition names, if it names one.
    pub(crate) fn of(conversion: Option<&CustomResourceConversion>) -> Option<Self> {
        let webhook = conversion.filter(|it| it.strategy == "Webhook")?;
        let webhook = webhook.webhook.as_ref()?;
        let mut reviews = webhook.conversion_review_versions.iter();
        let review = reviews.find_map(|name| REVIEWS.into_iter().find(|known| known == name))?;
        Some(Self {
            webhook: Webhook::new(&given(webhook)?),
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
        let asked = self.ask(api_version, &objects).await;
        let converted = asked.map_err(&failed)?;
        for (value, converted) in others.iter_mut().zip(converted) {
            let mut converted = accepted(value, converted, api_version).map_err(&failed)?;
            if let Some(schema) = schema {
                schema.prune(&mut converted, &mut Vec::new());
                schema.fill(&mut converted);
            }
            **value = converted;
        }
        Ok(values)
    }

    async fn ask(&self, api_version: &str, objects: &[&Value]) -> Result<Vec<Value>, String> {
        let webhook = self.webhook.as_ref().map_err(Clone::clone)?;
        let uid = self.ids.uid();
        let of = format!("apiextensions.k8s.io/{}", self.review);
        let review = json!({
            "apiVersion": of, "kind": "ConversionReview",
            "request": {"uid": uid, "desiredAPIVersion": api_version, "objects": objects},
        });
        let mut answer = webhook.call(&review, TIMEOUT).await?;
        let is_ours = answer["kind"] == "ConversionReview" && answer["apiVersion"] == of;
        if !is_ours {
            let (kind, version) = (&answer["kind"], &answer["apiVersion"]);
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
        match response.result {
            Outcome { status, .. } if status == "Success" => {}
            Outcome { message, .. } if !message.is_empty() => return Err(message),
            Outcome { status, .. } => {
                return Err(format!(
                    "response.result.status was '{status}', not 'Success'"
                ));
            }
        }
        let (given, expected) = (response.converted_objects.len(), objects.len());
        match given == expected {
            true => Ok(response.converted_objects),
            false => Err(format!("it returned {given} objects, expected {expected}")),
        }
    }
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
    Ok(after)
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
