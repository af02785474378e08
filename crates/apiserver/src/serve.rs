//! From an HTTP request to its answer.
//!
//! One way for all: read what the request is about, ask whether its author may, do it, write the answer down.

use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::FutureExt;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, header};
use kube::Client;

use crate::access::{self, Identity, impersonation};
use crate::authentication;
use crate::body::{self, Body};
use crate::failure::Failure;
use crate::passage::Passage;
use crate::request::{Request, Verb};
use crate::server::Server;
use crate::{list, nonresource, read, watch, write};

/// A server as one identity meets it: a tower service over HTTP requests.
#[derive(Clone)]
pub struct Service {
    server: Server,
    identity: Identity,
}

impl Server {
    /// The server for requests of one author, for a listener or a router.
    #[must_use]
    pub fn service_for(&self, identity: Identity) -> Service {
        Service {
            server: self.clone(),
            identity,
        }
    }

    /// A client in this process, without a socket, that may do everything. Must be called within a tokio runtime.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client_for(Identity::admin("groma"))
    }

    /// A client in this process for one author. Must be called within a tokio runtime.
    #[must_use]
    pub fn client_for(&self, identity: Identity) -> Client {
        Client::new(self.service_for(identity), "default")
    }

    /// Answers one request.
    pub async fn serve<B>(
        &self,
        identity: &Identity,
        mut request: http::Request<B>,
    ) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let is_head = request.method() == Method::HEAD;
        if is_head {
            *request.method_mut() = Method::GET;
        }
        let (head, body) = request.into_parts();
        let shown = authentication::author(self, identity, &head.headers).await;
        let (author, refused) = match &shown {
            Ok(author) => (&**author, None),
            Err(refused) => (identity, Some(refused.clone())),
        };
        let mut passage = Passage::begin(self, author, &head).await;
        let answered = async {
            match refused {
                None => self.answer(author, &head, body, &mut passage).await,
                Some(refused) => Err(refused),
            }
        };
        let response = match AssertUnwindSafe(answered).catch_unwind().await {
            Ok(answered) => {
                let response = answered.unwrap_or_else(|failure| refusal(&failure));
                passage.end(response).await
            }
            Err(panic) => passage.panicked(panic).await,
        };
        let mut response = match is_head {
            true => body::without(response),
            false => response,
        };
        if author != identity {
            response.extensions_mut().insert(authentication::Known);
        }
        response
    }

    async fn answer<B>(
        &self,
        identity: &Identity,
        head: &Parts,
        body: B,
        passage: &mut Passage<'_>,
    ) -> Result<Response<Body>, Failure>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
        let identity = &*impersonation::acting(self, identity, &head.headers)?;
        passage.acts_as(identity);
        let request = match Request::parse(&self.registry(), &head.method, path, query) {
            Ok(Some(request)) => request,
            // Who may not ask is not told what there would be to ask for.
            other => {
                passage.path(nonresource::known(path));
                access::check_path(self, identity, &head.method, path)?;
                other?;
                let _seat = passage.seat(identity, None).await?;
                return nonresource::answer(self, head);
            }
        };
        passage.resource(&request);
        let done = self
            .done(identity, &request, (&head.headers, body), passage)
            .await;
        let Some(warning) = &request.served().warning else {
            return done;
        };
        // However it ends.
        let mut response = done.unwrap_or_else(|failure| refusal(&failure));
        write::warn(&mut response, std::slice::from_ref(warning));
        Ok(response)
    }

    async fn done<B>(
        &self,
        identity: &Identity,
        request: &Request,
        (headers, body): (&HeaderMap, B),
        passage: &mut Passage<'_>,
    ) -> Result<Response<Body>, Failure>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let author = access::check(self, identity, request)?;
        // Before its turn: who sends slowly keeps no seat meanwhile.
        let body = match request.verb {
            Verb::Get | Verb::List | Verb::Watch => Bytes::new(),
            _ => body::read(body).await?,
        };
        passage.read(&body);
        let _seat = passage.seat(identity, Some(request)).await?;
        match request.verb {
            Verb::Get => read::get(self, author, request, headers).await,
            Verb::List => list::list(self, request, headers).await,
            Verb::Watch => watch::watch(self, author, request, headers).await,
            Verb::Create | Verb::Update | Verb::Patch | Verb::Delete | Verb::DeleteCollection => {
                write::write(self, author, request, headers, body).await
            }
        }
    }
}

/// A failure as an answer.
pub(crate) fn refusal(failure: &Failure) -> Response<Body> {
    let mut response = body::json(failure.code, failure.status().to_string());
    if let Some(seconds) = failure
        .details
        .get("retryAfterSeconds")
        .and_then(serde_json::Value::as_u64)
    {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

impl<B> tower::Service<http::Request<B>> for Service
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let Self { server, identity } = self.clone();
        Box::pin(async move { Ok(server.serve(&identity, request).await) })
    }
}
