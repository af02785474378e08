//! One connection: HTTP/1.1 or HTTP/2 as the client speaks, limits on heads, keep-alive, and an orderly end. A client that
//! asks for nothing, or again and again without showing who it is, is left.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use crate::authentication::Known;
use crate::failure::Failure;
use crate::passage::Peer;

/// Bytes of one request's head; longer ones are answered 431.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Requests under way on one HTTP/2 connection: an informer needs one watch per kind.
pub const STREAMS_MAX: u32 = 1_000;
/// Header fields of one request; more are answered 431.
pub const HEADERS_MAX: usize = 100;
/// Requests that somebody unknown makes on one connection before it is closed.
pub const UNKNOWN_REQUESTS_MAX: usize = 16;
/// How long a client may take to send one request's head, and to ask for anything at all.
pub(super) const HEAD_PATIENCE: Duration = Duration::from_secs(30);
/// How often a silent HTTP/2 connection is asked whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(30);
/// How long it may take to answer that.
const PING_PATIENCE: Duration = Duration::from_secs(20);

/// What answers the requests of one connection.
pub trait Service:
    tower::Service<
        Request<Incoming>,
        Response = Response<Self::Answered>,
        Error = Infallible,
        Future: Send,
    > + Clone
    + Send
    + 'static
{
    /// The body of its answers.
    type Answered: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static;
}

/// Any error of a body.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl<S, B> Service for S
where
    S: tower::Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Answered = B;
}

/// Who is on the other side of a connection.
pub(super) struct Client {
    pub(super) peer: Option<Peer>,
    /// Whether it has shown who it is.
    pub(super) is_known: bool,
}

/// Serves until the client goes, or until told to stop and the answers under way are finished.
pub(super) async fn serve<S: Service>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    Client { peer, is_known }: Client,
    service: Option<S>,
    mut stopping: watch::Receiver<bool>,
) {
    let seen = Arc::new(Seen::default());
    let seen_here = seen.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        seen_here.requests.fetch_add(1, Ordering::Relaxed);
        let (answered, seen) = (answer(service.clone(), request), seen_here.clone());
        async move {
            let answered = answered.await?;
            // Somebody may also be known by a token.
            if !is_known && answered.extensions().get::<Known>().is_none() {
                seen.answered_unknown();
            }
            Ok::<_, Infallible>(answered)
        }
    });
    let builder = builder();
    let mut connection =
        pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = told_to_stop(&mut stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = seen.enough.notified() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = seen.nothing() => return,
    };
    if let Err(error) = served {
        tracing::debug!(error, "a connection ended early");
    }
}

/// What a client has asked for so far.
#[derive(Default)]
struct Seen {
    requests: AtomicUsize,
    /// How many of these somebody has made whom nobody knows.
    unknown: AtomicUsize,
    /// Told when a client that nobody knows has asked often enough.
    enough: Notify,
}

impl Seen {
    fn answered_unknown(&self) {
        let before = self.unknown.fetch_add(1, Ordering::Relaxed);
        if before + 1 >= UNKNOWN_REQUESTS_MAX {
            self.enough.notify_one();
        }
    }

    /// Returns once a client has taken too long to ask for anything.
    async fn nothing(&self) {
        sleep(HEAD_PATIENCE).await;
        if self.requests.load(Ordering::Relaxed) > 0 {
            std::future::pending::<()>().await;
        }
    }
}

/// Returns when the door closes, or when it is gone.
pub(super) async fn told_to_stop(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}

async fn answer<S: Service>(
    service: Option<S>,
    request: Request<Incoming>,
) -> Result<Response<Either<S::Answered, Full<Bytes>>>, Infallible> {
    if request.headers().len() > HEADERS_MAX {
        let why = "too many header fields";
        let failure = Failure::new(431, "RequestHeaderFieldsTooLarge", why);
        return Ok(refused(&failure).map(Either::Right));
    }
    let Some(mut service) = service else {
        // What a client without any proof of who it is gets for everything.
        let failure = Failure::new(401, "Unauthorized", "Unauthorized");
        return Ok(refused(&failure).map(Either::Right));
    };
    std::future::poll_fn(|context| service.poll_ready(context)).await?;
    Ok(service.call(request).await?.map(Either::Left))
}

fn refused(failure: &Failure) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(failure.status().to_string()));
    *response.status_mut() =
        StatusCode::from_u16(failure.code).expect("only known codes are answered");
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).expect("it is a small constant"))
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_PATIENCE);
    builder
}
