//! The connection between a process and the API server: it takes time, and it can be cut.
//!
//! A request over a line that is cut gets no answer, and what was being watched ends, as when a connection breaks.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use apiserver::Body;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::sleep;

/// How long a request and its answer take, each way.
const LATENCY: Duration = Duration::from_millis(1);

/// A line; clones are the same one.
#[derive(Clone)]
pub struct Line(watch::Sender<bool>);

impl Line {
    /// A line that holds.
    pub fn new() -> Self {
        Self(watch::Sender::new(true))
    }

    /// Cuts it: whatever is on its way is lost.
    pub fn cut(&self) {
        self.0.send_replace(false);
    }

    /// Lets it hold again, for what is sent from now on.
    pub fn mend(&self) {
        self.0.send_replace(true);
    }

    /// Carries a request and its answer.
    pub async fn carry(&self, answer: impl Future<Output = Response<Body>>) -> Response<Body> {
        let cut = self.is_cut();
        let there_and_back = async {
            sleep(LATENCY).await;
            let answer = answer.await;
            sleep(LATENCY).await;
            answer
        };
        tokio::select! {
            biased;
            () = cut => no_answer(),
            answer = there_and_back => self.tie(answer),
        }
    }

    /// An answer whose body ends when the line is cut.
    fn tie(&self, answer: Response<Body>) -> Response<Body> {
        let cut = self.is_cut();
        answer.map(|inner| Tied { inner, cut }.boxed_unsync())
    }

    /// Completes when the line is cut.
    fn is_cut(&self) -> BoxFuture<'static, ()> {
        let mut holds = self.0.subscribe();
        async move {
            // The line outlives what it carries, or nobody is left to care.
            let _ = holds.wait_for(|holds| !holds).await;
        }
        .boxed()
    }
}

struct Tied {
    inner: Body,
    cut: BoxFuture<'static, ()>,
}

impl http_body::Body for Tied {
    type Data = Bytes;
    type Error = <Body as http_body::Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.cut.poll_unpin(context).is_ready() {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.inner).poll_frame(context)
    }
}

/// What a client sees of a server that does not answer.
pub fn no_answer() -> Response<Body> {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure",
        "code": 503, "reason": "ServiceUnavailable", "message": "no answer",
    });
    let mut answer = Response::new(Full::from(status.to_string()).boxed_unsync());
    *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    answer
}
