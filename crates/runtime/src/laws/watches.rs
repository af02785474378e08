//! The watches of a life on a cluster: each lags, all can be closed at once, and the past that they would go on from can be
//! gone.
//!
//! Nobody here can make a cluster forget its history, but a watch can ask for what the cluster has forgotten long ago: it is
//! the cluster itself that answers 410 then.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use http::{Request, Response, Uri};
use http_body::Frame;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use kube::client::Body;
use tokio::sync::watch;

use super::body::Lagging;

/// What a process reads of an answer.
pub(super) type Passed = UnsyncBoxBody<Bytes, <Body as http_body::Body>::Error>;

/// A version that no cluster remembers.
const LONG_AGO: &str = "resourceVersion=1";

/// All watches of a life; a clone is the same ones.
#[derive(Clone, Default)]
pub(super) struct Watches(Arc<State>);

#[derive(Default)]
struct State {
    /// Changes when all that are open end.
    closings: watch::Sender<usize>,
    known: Mutex<Known>,
}

/// Watches by what they are in the trace.
#[derive(Default)]
struct Known {
    opened: BTreeSet<String>,
    /// They find their past gone when they come again.
    forgotten: BTreeSet<String>,
    /// They found it gone, at this length of the trace.
    told: BTreeMap<String, usize>,
}

impl Watches {
    /// Ends all that are open.
    pub fn close(&self) {
        self.0.closings.send_modify(|n| *n += 1);
    }

    /// Ends all that are open; what each would go on from is forgotten.
    pub fn forget(&self) {
        {
            let mut known = self.known();
            let opened = known.opened.clone();
            known.forgotten.extend(opened);
        }
        self.close();
    }

    /// A request to watch, as it is sent at this length of the trace.
    pub fn sent(&self, what: &str, n_calls: usize, mut request: Request<Body>) -> Request<Body> {
        let mut known = self.known();
        known.opened.insert(what.to_owned());
        if known.forgotten.contains(what)
            && let Some(uri) = long_ago(request.uri())
        {
            known.forgotten.remove(what);
            known.told.insert(what.to_owned(), n_calls);
            *request.uri_mut() = uri;
        }
        request
    }

    /// The answer, late and until all are closed.
    pub fn answered(&self, answer: Response<Body>, lag: Duration) -> Response<Passed> {
        let mut closings = self.0.closings.subscribe();
        let closed = async move {
            // The switch outlives the watch, or nobody is left to care.
            let _ = closings.changed().await;
        };
        answer.map(|body| {
            let inner = Lagging::new(body, lag);
            let closed = closed.boxed();
            Tied { inner, closed }.boxed_unsync()
        })
    }

    /// Watches that were told that their past is gone, and did not list again.
    pub fn stubborn(&self, trace: &[String]) -> Vec<String> {
        let known = self.known();
        let is_stubborn = |(what, n_calls): &(&String, &usize)| {
            let list = what.replacen(" WATCH ", " GET ", 1);
            !trace[**n_calls..].contains(&list)
        };
        let stubborn = known.told.iter().filter(is_stubborn);
        stubborn.map(|(what, _)| what.clone()).collect()
    }

    /// How many were told that their past is gone.
    pub fn n_told(&self) -> usize {
        self.known().told.len()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().expect("nothing panics under it")
    }
}

/// The address of a watch that goes on from long ago, unless it goes on from nothing.
fn long_ago(uri: &Uri) -> Option<Uri> {
    let (path, query) = (uri.path(), uri.query()?);
    let is_version = |pair: &&str| pair.starts_with("resourceVersion=");
    query.split('&').find(is_version)?;
    let pairs = query.split('&');
    let pairs = pairs.map(|pair| if is_version(&pair) { LONG_AGO } else { pair });
    let query = pairs.collect::<Vec<_>>().join("&");
    let uri = format!("{path}?{query}").parse();
    Some(uri.expect("it differs from an address in a number"))
}

/// A body that ends when all watches are closed.
struct Tied {
    inner: Lagging<Body>,
    closed: BoxFuture<'static, ()>,
}

impl http_body::Body for Tied {
    type Data = Bytes;
    type Error = <Body as http_body::Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.closed.poll_unpin(cx).is_ready() {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.inner).poll_frame(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(version: &str) -> Request<Body> {
        let uri = format!("/apis/groma.dev/v1alpha1/hosts?watch=true&{version}&timeoutSeconds=290");
        let request = Request::builder().uri(uri).body(Body::empty());
        request.expect("a request")
    }

    #[test]
    fn a_watch_is_told_once_and_must_list_again() {
        let (watches, what) = (Watches::default(), "control WATCH /hosts");
        let sent = |n, version| {
            let request = watches.sent(what, n, watched(version));
            request.uri().query().unwrap_or_default().to_owned()
        };
        assert!(sent(1, "resourceVersion=7").contains("&resourceVersion=7&"));
        watches.forget();
        assert!(!sent(2, "allowWatchBookmarks=true").contains("resourceVersion"));
        assert!(sent(3, "resourceVersion=8").contains("&resourceVersion=1&"));
        assert!(sent(4, "resourceVersion=9").contains("&resourceVersion=9&"));
        let mut trace = vec!["control GET /hosts".to_owned(); 3];
        assert_eq!(
            (watches.n_told(), watches.stubborn(&trace)),
            (1, vec![what.to_owned()])
        );
        trace.push("control GET /hosts".to_owned());
        assert_eq!(watches.stubborn(&trace), [""; 0]);
    }
}
