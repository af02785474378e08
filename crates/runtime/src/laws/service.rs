//! The client of a process under proof: each request is counted and can fail, and each watch lags.

use std::convert::Infallible;
use std::sync::Arc;

use adapter::faults::{Effect, Faults, Tripped};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use kube::Client;
use kube::client::Body;
use serde_json::json;
use tower::{BoxError, Service, ServiceExt, service_fn};

use super::body::Lagging;
use std::time::Duration;

type Answer = Response<UnsyncBoxBody<Bytes, BoxError>>;

/// A client over a server's service, whose requests go through the switch.
pub(super) fn client<S, B>(
    process: &'static str,
    server: S,
    faults: Arc<Faults>,
    lag: fn(&str) -> Duration,
) -> Client
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    let service = service_fn(move |request: Request<Body>| {
        let (server, faults) = (server.clone(), faults.clone());
        async move {
            let call = Call::of(&request);
            let what = format!("{process} {} {}", call.method, request.uri().path());
            let answer = faults
                .call(what, call.effect, server.oneshot(request))
                .await;
            Ok::<_, Infallible>(match answer {
                Ok(answer) => passed_on(answer?, call.watched.as_deref().map(lag)),
                Err(Tripped) => no_answer(),
            })
        }
    });
    Client::new(service, "default")
}

struct Call {
    method: String,
    effect: Effect,
    /// The plural that is watched.
    watched: Option<String>,
}

impl Call {
    fn of(request: &Request<Body>) -> Self {
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

fn passed_on<B>(answer: Response<B>, lag: Option<Duration>) -> Answer
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    answer.map(|body| {
        let body = body.map_err(Into::into).boxed_unsync();
        match lag {
            Some(lag) => Lagging::new(body, lag).boxed_unsync(),
            None => body,
        }
    })
}

fn no_answer() -> Answer {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure",
        "code": 503, "reason": "ServiceUnavailable", "message": "no answer",
    });
    let body = Full::from(status.to_string())
        .map_err(|never: Infallible| match never {})
        .boxed_unsync();
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    answer
}
