//! Calling webhooks: one document there, one document back, over HTTPS and within a time.
//!
//! What is asked and what an answer means is with those who ask ([`crate::convert`], [`crate::admission`]). Whatever goes
//! wrong on the way (nobody listens, a certificate that nobody vouches for, too slow, no JSON, too long) is one kind of
//! error: the caller has a policy for it.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use k8s_openapi::ByteString;
use rustls::RootCertStore;
use serde_json::Value;

use crate::failure::Cause;
use crate::https::{self, Client, innermost, uri};
use crate::object::OBJECT_BYTES_MAX;

/// Longest answer: an object of any size, or many, with what is around them.
const ANSWER_BYTES_MAX: usize = 4 * OBJECT_BYTES_MAX;
/// The port of a Service that names none.
const PORT_DEFAULT: i32 = 443;

/// Where a webhook is; `clientConfig` of every kind that has webhooks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Address<'a> {
    Url(&'a str),
    Service {
        namespace: &'a str,
        name: &'a str,
        port: i32,
    },
}

/// What a configuration says of a webhook's address.
pub(crate) struct Given<'a> {
    pub(crate) url: Option<&'a str>,
    /// Namespace, name and port.
    pub(crate) service: Option<(&'a str, &'a str, Option<i32>)>,
    pub(crate) authority: Option<&'a ByteString>,
}

/// A webhook that can be called.
pub(crate) struct Webhook {
    uri: Uri,
    client: Client,
}

impl<'a> Given<'a> {
    /// What is wrong with it; `field` is where it is written.
    pub(crate) fn problems(&self, field: &str) -> Vec<Cause> {
        let mut causes = Vec::new();
        match (self.url, self.service) {
            (None, None) | (Some(_), Some(_)) => {
                let why = "exactly one of url or service is required";
                causes.push(Cause::required(field, why));
            }
            (Some(url), None) => {
                if let Err(why) = uri(url) {
                    let why = format!("{why}; desired format: https://host[/path]");
                    causes.push(Cause::invalid(format!("{field}.url"), &url.into(), &why));
                }
            }
            (None, Some((namespace, name, port))) => {
                for (part, value) in [("name", name), ("namespace", namespace)] {
                    if value.is_empty() {
                        causes.push(Cause::required(format!("{field}.service.{part}"), ""));
                    }
                }
                let port = port.unwrap_or(PORT_DEFAULT);
                if u16::try_from(port).map_or(true, |port| port == 0) {
                    let why = "port is not valid: must be between 1 and 65535, inclusive";
                    let field = format!("{field}.service.port");
                    causes.push(Cause::invalid(field, &port.into(), why));
                }
            }
        }
        if let Err(why) = self.roots() {
            let field = format!("{field}.caBundle");
            causes.push(Cause::invalid(field, &"<PEM>".into(), &why));
        }
        causes
    }

    fn address(&self) -> Result<Address<'a>, String> {
        match (self.url, self.service) {
            (Some(url), None) => Ok(Address::Url(url)),
            (None, Some((namespace, name, port))) => Ok(Address::Service {
                namespace,
                name,
                port: port.unwrap_or(PORT_DEFAULT),
            }),
            _ => Err("exactly one of url or service is required".to_owned()),
        }
    }

    /// Who vouches for the webhook; `None` if that is whom the machine trusts.
    fn roots(&self) -> Result<Option<RootCertStore>, String> {
        let given = self.authority.map(|given| given.0.trim_ascii());
        let Some(pem) = given.filter(|pem| !pem.is_empty()) else {
            return Ok(None);
        };
        https::roots(pem).map(Some)
    }
}

impl Webhook {
    /// The webhook at that address.
    pub(crate) fn new(given: &Given<'_>) -> Result<Self, String> {
        let uri = match given.address()? {
            Address::Url(url) => uri(url)?,
            Address::Service {
                namespace,
                name,
                port,
            } => {
                return Err(format!(
                    "no route to the service {namespace}/{name}:{port}: this server reaches webhooks by url only"
                ));
            }
        };
        Ok(Self {
            uri,
            client: https::client(given.roots()?)?,
        })
    }

    /// Sends a document and returns the one that comes back in time.
    pub(crate) async fn call(&self, document: &Value, within: Duration) -> Result<Value, String> {
        let named = |why: String| format!("Post {:?}: {why}", self.uri.to_string());
        match tokio::time::timeout(within, self.post(document, within)).await {
            Ok(answer) => answer.map_err(named),
            Err(_) => Err(named("context deadline exceeded".to_owned())),
        }
    }

    async fn post(&self, document: &Value, within: Duration) -> Result<Value, String> {
        let separator = if self.uri.query().is_some() { '&' } else { '?' };
        let uri = format!("{}{separator}timeout={}s", self.uri, within.as_secs());
        let request = Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .body(Full::new(Bytes::from(document.to_string())))
            .map_err(|error| error.to_string())?;
        let sent = self.client.request(request).await;
        let response = sent.map_err(|error| innermost(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect();
        let body = body.await.map_err(|error| error.to_string())?.to_bytes();
        if !status.is_success() {
            return Err(format!("the webhook answered {status}"));
        }
        serde_json::from_slice(&body).map_err(|error| format!("the answer is no JSON: {error}"))
    }
}
