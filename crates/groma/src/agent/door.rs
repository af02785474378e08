//! What the agent answers through its door: logs and exec of its instances, and the counters of its router.

use std::sync::Arc;
use std::time::Duration;

use adapter::{
    ContainerId, ContainerRuntime, ExecOutput, ExecRequest, LogOptions, Router as _, SidCounters,
};
use adapter_oci::OciRuntime;
use adapter_srv6::Srv6Router;
use anyhow::Context;
use api::wdm::ExecFrame;
use api::{Error, ErrorKind};
use apiserver::tls::client_config;
use axum::body::{Body, Bytes};
use axum::extract::{Path as PathParts, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures::StreamExt;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::credentials::Kept;
use crate::credentials::Credentials;

/// How long after a door has closed it is opened again.
const REOPEN: Duration = Duration::from_millis(500);
/// The longest that it is after where none can be opened: the server may know the host a moment later, or be another one
/// some day.
const REOPEN_IMPOSSIBLE: Duration = Duration::from_secs(60);

#[derive(Clone)]
struct Host {
    containers: Arc<OciRuntime>,
    router: Arc<Srv6Router>,
}

/// Keeps the door open, whatever happens to the connection. With new credentials another one is opened; what goes through
/// the older one goes on.
pub async fn keep_open(
    kept: &Kept,
    host: &str,
    containers: &Arc<OciRuntime>,
    router: &Arc<Srv6Router>,
) {
    let answers = answers(Host {
        containers: containers.clone(),
        router: router.clone(),
    });
    let (mut current, mut older) = (kept.current(), JoinSet::new());
    let mut pause = REOPEN;
    loop {
        let credentials = current.borrow_and_update().credentials.clone();
        let mut door = Box::pin(serve(credentials, host.to_owned(), answers.clone()));
        let served = tokio::select! {
            served = &mut door => served,
            _ = current.changed() => {
                while older.try_join_next().is_some() {}
                older.spawn(door);
                continue;
            }
        };
        let impossible = served.as_ref().is_err_and(is_impossible);
        if let Err(error) = served {
            let error = format!("{error:#}");
            match impossible && pause == REOPEN_IMPOSSIBLE {
                true => tracing::warn!(error, "no door can be opened: logs and exec do not work"),
                false => tracing::debug!(error, "the door is closed"),
            }
        }
        // New credentials may be all that was missing.
        let _ = timeout(pause, current.changed()).await;
        pause = next_pause(pause, impossible);
    }
}

/// Where no door can be opened, it is tried less and less often.
fn next_pause(pause: Duration, impossible: bool) -> Duration {
    match impossible {
        true => (pause * 2).min(REOPEN_IMPOSSIBLE),
        false => REOPEN,
    }
}

/// Whether it will be the same the next time: the server knows no doors, as that of a Kubernetes cluster, or the
/// credentials are of a form by which none is opened.
fn is_impossible(error: &anyhow::Error) -> bool {
    let refused = |error: &Error| matches!(error.kind, ErrorKind::NotFound | ErrorKind::Forbidden);
    error.downcast_ref().is_some_and(refused) || error.is::<Unusable>()
}

/// Credentials without a certificate.
#[derive(Debug)]
struct Unusable;

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the credentials lack a certificate or key, which a door needs")
    }
}

async fn serve(credentials: Credentials, host: String, answers: Router) -> anyhow::Result<()> {
    let own = credentials.own.as_ref().context(Unusable)?;
    let config = client_config(&credentials.authority, Some(own), b"http/1.1")?;
    let stream = TcpStream::connect((credentials.host.as_str(), credentials.port)).await?;
    let name = credentials
        .host
        .try_into()
        .context("the server's name is not usable")?;
    let stream = TlsConnector::from(config).connect(name, stream).await?;
    apiserver::door::agent::serve(stream, &host, answers).await?;
    Ok(())
}

fn answers(host: Host) -> Router {
    Router::new()
        .route("/namespaces/{namespace}/instances/{name}/log", get(log))
        .route("/namespaces/{namespace}/instances/{name}/exec", post(exec))
        .route("/counters", get(counters))
        .with_state(host)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LogQuery {
    #[serde(default)]
    follow: bool,
    tail_lines: Option<u32>,
    #[serde(default)]
    previous: bool,
}

async fn log(
    State(host): State<Host>,
    PathParts((namespace, name)): PathParts<(String, String)>,
    Query(query): Query<LogQuery>,
) -> Result<Response, Refusal> {
    let id = host.find(&namespace, &name).await?;
    let options = LogOptions {
        follow: query.follow,
        tail_lines: query.tail_lines,
        previous: query.previous,
    };
    let log = host.containers.logs(&id, options).await?;
    Ok(Body::from_stream(log).into_response())
}

/// The program and its arguments: `command=ls&command=-l`.
async fn exec(
    State(host): State<Host>,
    PathParts((namespace, name)): PathParts<(String, String)>,
    Query(query): Query<Vec<(String, String)>>,
    input: Body,
) -> Result<Response, Refusal> {
    let id = host.find(&namespace, &name).await?;
    let command: Vec<String> = query
        .into_iter()
        .filter(|(key, _)| key == "command")
        .map(|(_, word)| word)
        .collect();
    if command.is_empty() {
        return Err(Error::new(
            ErrorKind::Invalid,
            "command is missing: say command=PROGRAM for each word",
        )
        .into());
    }
    let stdin = input
        .into_data_stream()
        .take_while(|piece| std::future::ready(piece.is_ok()))
        .filter_map(|piece| async { piece.ok() });
    let request = ExecRequest {
        command,
        stdin: stdin.boxed(),
    };
    let output = host.containers.exec(&id, request).await?;
    let frames = output.map(|output| output.map(|output| Bytes::from(frame(output).encode())));
    Ok(Body::from_stream(frames).into_response())
}

fn frame(output: ExecOutput) -> ExecFrame {
    match output {
        ExecOutput::Stdout(bytes) => ExecFrame::Stdout(bytes.to_vec()),
        ExecOutput::Stderr(bytes) => ExecFrame::Stderr(bytes.to_vec()),
        ExecOutput::Exit(code) => ExecFrame::Exit(code),
    }
}

/// What each segment of this host has seen.
async fn counters(State(host): State<Host>) -> Result<Json<Vec<SidCounters>>, Refusal> {
    Ok(Json(host.router.counters().await?))
}

impl Host {
    async fn find(&self, namespace: &str, name: &str) -> Result<ContainerId, Error> {
        let found = self.containers.list().await?;
        let found = found
            .into_iter()
            .find(|id| id.namespace == namespace && id.name == name);
        found.ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("instance {namespace}/{name} has no container on this host"),
            )
        })
    }
}

/// An error as the answer to a request.
struct Refusal(Error);

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let code =
            StatusCode::from_u16(self.0.kind.http()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (code, self.0.what).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_does_not_know_the_host_yet_is_soon_asked_again() {
        let mut pauses = vec![REOPEN];
        for _ in 0..9 {
            pauses.push(next_pause(pauses[pauses.len() - 1], true));
        }
        let first: Duration = pauses[..4].iter().sum();
        assert!(first < Duration::from_secs(10), "{pauses:?}");
        assert_eq!(pauses.last(), Some(&REOPEN_IMPOSSIBLE));
        assert_eq!(next_pause(REOPEN_IMPOSSIBLE, false), REOPEN);
    }
}
