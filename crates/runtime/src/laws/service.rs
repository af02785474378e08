//! The client of a process under proof: each request is counted and can fail, and each watch lags.

use std::convert::Infallible;
use std::time::Duration;

use adapter::faults::{Effect, Tripped};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use kube::Client;
use kube::client::Body;
use serde_json::json;
use tower::service_fn;

use super::body::Lagging;
use super::ground::Ground;

/// A client over the ground's API, whose requests go through the switch.
pub(super) fn client(process: &'static str, ground: Ground, lag: fn(&str) -> Duration) -> Client {
    let service = service_fn(move |request: Request<Body>| {
        let ground = ground.clone();
        async move {
            let call = Call::of(&request);
            let what = format!("{process} {} {}", call.method, request.uri().path());
            let answer = ground
                .faults
                .call(what, call.effect, ground.answer(request))
                .await;
            Ok::<_, Infallible>(match answer {
                Ok(answer) => passed_on(answer, call.watched.as_deref().map(lag)),
                Err(Tripped) => no_answer(|text| Full::from(text).boxed_unsync()),
            })
        }
    });
    Client::new(service, "default")
}

pub(super) struct Call {
    pub method: String,
    pub effect: Effect,
    /// The plural that is watched.
    pub watched: Option<String>,
}

impl Call {
    pub fn of(request: &Request<Body>) -> Self {
        let watching = request
            .uri()
            .query()
            .unwrap_or_default()
            .split('&')
            .any(|pair| pair.starts_with("watch="));
        let plural = request.uri().path().rsplit('/').next().unwrap_or_default();
        Self {
            method: if watching {
                "WATCH".to_owned()
            } else {
                request.method().to_string()
            },
            effect: if request.method() == Method::GET {
                Effect::Read
            } else {
                Effect::Write
            },
            watched: watching.then(|| plural.to_owned()),
        }
    }
}

fn passed_on(
    answer: Response<apiserver::Body>,
    lag: Option<Duration>,
) -> Response<apiserver::Body> {
    match lag {
        Some(lag) => answer.map(|body| Lagging::new(body, lag).boxed_unsync()),
        None => answer,
    }
}

/// What a caller hears when nothing was heard.
pub(super) fn no_answer<B>(body: impl FnOnce(String) -> B) -> Response<B> {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure",
        "code": 503, "reason": "ServiceUnavailable", "message": "no answer",
    });
    let mut answer = Response::new(body(status.to_string()));
    *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    answer
}
