//! The agents' door: a connection that an agent opens outwards and over which the server then asks the agent.
//!
//! An agent sends an HTTP/1.1 upgrade to `hosts/NAME/door`; after it the roles are turned: the agent is an HTTP/2 server
//! and this side its client. So logs, exec and counters work behind address translation. What a user asks at
//! `instances/NAME/log`, `instances/NAME/exec` and `hosts/NAME/proxy/…` is passed through the door of the host and the
//! answer streamed back. The paths are those of Groma's kinds; what an agent answers is its own business ([`agent`]).
//! Roles permit it as `instances/log` (get), `instances/exec` (create) and `hosts/proxy`.

pub mod agent;
mod open;
mod route;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::request::Parts;
use http::{HeaderValue, Request, Response, Uri, Version, header};
use http_body_util::Either;
use hyper::body::Incoming;

pub use self::open::Doors;
use self::route::Route;
use crate::access::{self, Identity, Standing, impersonation};
use crate::authentication;
use crate::body::{self, Body};
use crate::failure::Failure;
use crate::object::Object;
use crate::passage::{Passage, Tracked};
use crate::replica::{self, Replica, Way};
use crate::serve::refusal;
use crate::server::Server;

/// The protocol's name in the `Upgrade` header.
pub const PROTOCOL: &str = "groma-door";
/// The group of the kinds in the paths.
const GROUP: &str = "groma.dev";
/// Headers of a user's request that an agent gets to see.
const PASSED_ON: [header::HeaderName; 2] = [header::ACCEPT, header::CONTENT_TYPE];

/// An answer of the server itself, or one that comes through a door or from another server.
pub type Answered = Either<Body, Either<Tracked<Incoming>, Incoming>>;

/// A server with its doors, as one identity meets it: what a listener serves.
#[derive(Clone)]
pub struct Service {
    server: Server,
    doors: Doors,
    identity: Identity,
}

impl Doors {
    /// The service for requests of one author: everything that the server answers, and what goes through doors.
    #[must_use]
    pub fn service_for(&self, server: &Server, identity: Identity) -> Service {
        Service {
            server: server.clone(),
            doors: self.clone(),
            identity,
        }
    }
}

impl Service {
    /// Answers as one of several servers, if it is one.
    async fn answer(self, mut request: Request<Incoming>) -> Response<Answered> {
        let Some(replica) = self.server.replica() else {
            return self.answer_here(request).await;
        };
        if self.identity.is_server() {
            replica::say_whence(&mut request);
        }
        let (head, body) = request.into_parts();
        let way = replica.way(&self.server, &head).await;
        let request = Request::from_parts(head, body);
        let failure = match way {
            Ok(Way::Here) => return self.answer_here(request).await,
            Ok(Way::HereInTerm { reads }) => {
                let answer = self.answer_here(request).await;
                match replica.in_term(&self.server) {
                    true => return answer,
                    false => replica::out_of_term(reads),
                }
            }
            Ok(Way::There) => {
                let headers = request.headers();
                let author = authentication::author(&self.server, &self.identity, headers).await;
                let Ok(author) = author.map(Cow::into_owned) else {
                    // Refused and recorded as anywhere.
                    return self.answer_here(request).await;
                };
                match self.answer_there(replica, author, request).await {
                    Ok(response) => return response.map(|body| Either::Right(Either::Right(body))),
                    Err(failure) => failure,
                }
            }
            Err(failure) => failure,
        };
        refusal(&failure).map(Either::Left)
    }

    /// What the server answers that writes.
    async fn answer_there(
        &self,
        replica: &Replica,
        author: Identity,
        request: Request<Incoming>,
    ) -> Result<Response<Incoming>, Failure> {
        if self.identity.is_server() {
            return Err(replica::follows());
        }
        let mut response = replica.pass(&author, request).await?;
        if author != self.identity {
            response.extensions_mut().insert(authentication::Known);
        }
        Ok(response)
    }

    async fn answer_here(&self, request: Request<Incoming>) -> Response<Answered> {
        if Route::of(request.uri().path()).is_none() {
            let answered = self.server.serve(&self.identity, request).await;
            return answered.map(Either::Left);
        }
        let (head, body) = request.into_parts();
        let request = Request::from_parts(head.clone(), body);
        let author = authentication::author(&self.server, &self.identity, &head.headers).await;
        let author = match author {
            Ok(author) => author.into_owned(),
            Err(refused) => {
                let passage = Passage::begin(&self.server, &self.identity, &head).await;
                return passage.end(refusal(&refused)).await.map(Either::Left);
            }
        };
        let mut response = self.answer_to(&author, &head, request).await;
        if author != self.identity {
            response.extensions_mut().insert(authentication::Known);
        }
        response
    }

    /// Answers what goes through a door, or opens one.
    async fn answer_to(
        &self,
        author: &Identity,
        head: &Parts,
        request: Request<Incoming>,
    ) -> Response<Answered> {
        let mut passage = Passage::begin(&self.server, author, head).await;
        let route = Route::of(head.uri.path());
        passage.door(route.as_ref().map_or("", Route::part));
        let failure = match route {
            Some(Route::Door { host }) => match self.open(author, host, request) {
                Ok(response) => return passage.end(response).await.map(Either::Left),
                Err(failure) => failure,
            },
            _ => match self.pass(author, request).await {
                Ok(response) => {
                    let response = passage.end_later(response).await;
                    return response.map(|body| Either::Right(Either::Left(body)));
                }
                Err(failure) => failure,
            },
        };
        passage.end(refusal(&failure)).await.map(Either::Left)
    }

    /// Agrees to the upgrade, and makes a door of the connection once it is done.
    fn open(
        &self,
        author: &Identity,
        host: &str,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Failure> {
        access::check_door(author, host)?;
        object(&self.server, "hosts", "", host)?;
        let asked = request
            .headers()
            .get(header::UPGRADE)
            .map(HeaderValue::as_bytes);
        if asked != Some(PROTOCOL.as_bytes()) || request.version() != Version::HTTP_11 {
            let how = format!("a door is opened with HTTP/1.1 and `Upgrade: {PROTOCOL}`");
            return Err(Failure::new(426, "UpgradeRequired", how));
        }
        let standing = Standing::of_certificate(&self.server, author);
        let upgrade = hyper::upgrade::on(request);
        self.doors.open_after(host, upgrade, standing)?;
        let mut response = body::typed(101, "application/octet-stream", "");
        response.headers_mut().clear();
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        response
            .headers_mut()
            .insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
        Ok(response)
    }

    /// Asks the agent, and gives what it answers.
    async fn pass(
        &self,
        author: &Identity,
        request: Request<Incoming>,
    ) -> Result<Response<Incoming>, Failure> {
        let path = request.uri().path();
        let identity = impersonation::acting(&self.server, author, request.headers())?;
        access::check_path(&self.server, &identity, request.method(), path)?;
        let (host, path) = match Route::of(path).ok_or_else(Failure::no_such_path)? {
            Route::Door { .. } => return Err(Failure::no_such_path()),
            Route::Proxy { host, rest } => (host.to_owned(), rest.to_owned()),
            Route::Instance {
                namespace,
                name,
                verb,
            } => {
                verb.check(request.method())?;
                let host = self.host_of(namespace, name)?;
                (
                    host,
                    format!("/namespaces/{namespace}/instances/{name}/{}", verb.name()),
                )
            }
        };
        let answer = self
            .doors
            .ask(&host, turned(&host, &path, request)?)
            .await?;
        told(&host, answer)
    }

    fn host_of(&self, namespace: &str, name: &str) -> Result<String, Failure> {
        let instance = object(&self.server, "instances", namespace, name)?;
        let host = instance.value["spec"]["host"].as_str();
        host.map(str::to_owned)
            .ok_or_else(|| Failure::internal(format!("instance {name:?} names no host")))
    }
}

/// Whether a path leads through a door, or to one.
pub(crate) fn is_through(path: &str) -> bool {
    Route::of(path).is_some()
}

fn object(
    server: &Server,
    plural: &str,
    namespace: &str,
    name: &str,
) -> Result<Arc<Object>, Failure> {
    let registry = server.registry();
    let resource = registry
        .get(GROUP, plural)
        .ok_or_else(Failure::no_such_path)?;
    let found = server.state().objects.get(&resource.key(namespace, name));
    found.ok_or_else(|| Failure::not_found(resource, name))
}

/// The user's request as the agent sees it: another path, and none of the headers that are not for it.
fn turned(
    host: &str,
    path: &str,
    request: Request<Incoming>,
) -> Result<Request<Incoming>, Failure> {
    let query = request
        .uri()
        .query()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    let uri = Uri::builder()
        .scheme("http")
        .authority(host)
        .path_and_query(format!("{path}{query}"));
    let uri = uri
        .build()
        .map_err(|error| Failure::bad_request(format!("the path cannot be passed on: {error}")))?;
    let (mut head, body) = request.into_parts();
    head.uri = uri;
    head.version = Version::HTTP_2;
    head.extensions.clear();
    let kept = PASSED_ON
        .into_iter()
        .filter_map(|name| Some((name.clone(), head.headers.get(&name)?.clone())));
    head.headers = kept.collect();
    Ok(Request::from_parts(head, body))
}

/// The agent's answer as the user sees it. The host may be somebody's who has stolen it: it sends nobody elsewhere, and
/// says nothing in the name of the server.
fn told(host: &str, answer: Response<Incoming>) -> Result<Response<Incoming>, Failure> {
    let (mut head, body) = answer.into_parts();
    if head.status.is_redirection() {
        let why = format!("the agent of host {host:?} answered {}", head.status);
        return Err(Failure::new(502, "BadGateway", why));
    }
    let kind = head.headers.remove(header::CONTENT_TYPE);
    head.headers.clear();
    head.headers
        .extend(kind.map(|kind| (header::CONTENT_TYPE, kind)));
    head.extensions.clear();
    Ok(Response::from_parts(head, body))
}

impl tower::Service<Request<Incoming>> for Service {
    type Response = Response<Answered>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.answer(request).await) })
    }
}
