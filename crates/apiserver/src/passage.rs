//! What every request passes besides its work: it is recorded and counted, from when it is known to when its answer has
//! ended, and waits for its turn.
//!
//! Answers that are streams end when their body is dropped, whoever ends them. What a request is about and who its author
//! is, others have found out; what it may do, others decide.

use std::any::Any;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use tokio::time::Instant;

use crate::about::About;
use crate::access::Identity;
use crate::audit::{Decision, Record, Responded};
use crate::body::Body;
use crate::failure::Failure;
use crate::fairness::Seat;
use crate::health;
use crate::metrics::{Asked, OneMore};
use crate::request::Request;
use crate::serve::refusal;
use crate::server::Server;

/// Tells the client by which id its request is recorded.
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// From where a request comes, as the door has seen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// One request on its way.
pub(crate) struct Passage<'r> {
    server: &'r Server,
    identity: &'r Identity,
    head: &'r Parts,
    about: About<'r>,
    record: Option<Record>,
    /// How it is recorded if it is refused.
    if_refused: Option<Decision>,
    /// Whom its author acts as, if as somebody else.
    acting: Option<Identity>,
    asked: Asked,
    begun: Instant,
    _under_way: OneMore,
}

/// The body of an answer that takes as long as it likes.
pub struct Tracked<B> {
    body: B,
    /// Ends with the body, as what counts it.
    _record: Option<Record>,
    _open: OneMore,
}

impl<'r> Passage<'r> {
    /// A request has come.
    pub(crate) async fn begin(server: &'r Server, identity: &'r Identity, head: &'r Parts) -> Self {
        let about = About::of(head);
        let mut passage = Self {
            server,
            identity,
            head,
            record: None,
            if_refused: None,
            acting: None,
            asked: Asked::path(about.verb, ""),
            begun: Instant::now(),
            _under_way: server.metrics().begin(about.writes()),
            about,
        };
        if let Some(audit) = server.audit() {
            let decision = audit.decide(identity, &passage.about);
            match decision.only_refused {
                true => passage.if_refused = Some(decision),
                false => passage.record(decision),
            }
        }
        if let Some(record) = &passage.record {
            record.received().await;
        }
        passage
    }

    /// It is about a resource that is served.
    pub(crate) fn resource(&mut self, request: &Request) {
        self.asked = Asked::resource(request, &self.head.headers);
    }

    /// It is about a path that is served, or about nothing that is.
    pub(crate) fn path(&mut self, known: &'static str) {
        self.asked = Asked::path(self.about.verb, known);
    }

    /// It goes through the door of an agent.
    pub(crate) fn door(&mut self, part: &'static str) {
        let about = &self.about;
        self.asked = Asked::door((about.group, about.version), about.resource, part);
    }

    /// Its author acts as somebody else.
    pub(crate) fn acts_as(&mut self, identity: &Identity) {
        if identity == self.identity {
            return;
        }
        self.acting = Some(identity.clone());
        if let Some(record) = &mut self.record {
            record.acts_as(identity);
        }
    }

    /// Waits for the turn of whom its author acts as; whoever asks for health has it.
    pub(crate) async fn seat(
        &self,
        identity: &Identity,
        request: Option<&Request>,
    ) -> Result<Option<Seat>, Failure> {
        if health::Asked::of(self.about.path).is_some() {
            return Ok(None);
        }
        let fairness = self.server.fairness();
        fairness.seat(self.server, identity, request).await
    }

    /// The body of the request is there.
    pub(crate) fn read(&mut self, body: &Bytes) {
        if let Some(record) = &mut self.record
            && record.wants_request()
        {
            record.request(body);
        }
    }

    /// The answer is there, or begins.
    pub(crate) async fn end(mut self, response: Response<Body>) -> Response<Body> {
        if http_body::Body::size_hint(response.body())
            .exact()
            .is_none()
        {
            return self.end_later(response).await.map(BodyExt::boxed_unsync);
        }
        self.note_refusal(response.status());
        let bytes = http_body::Body::size_hint(response.body()).exact();
        self.count(response.status(), bytes);
        let Some(record) = self.record else {
            return response;
        };
        let response = marked(response, &record);
        let (head, body) = response.into_parts();
        if !record.wants_response(head.status) {
            let code = head.status;
            record.complete(Responded { code, body: None }).await;
            return Response::from_parts(head, body);
        }
        let body = body.collect().await.unwrap_or_else(|never| match never {});
        let body = body.to_bytes();
        let responded = Responded {
            code: head.status,
            body: Some(body.clone()),
        };
        record.complete(responded).await;
        Response::from_parts(head, Full::new(body).boxed_unsync())
    }

    /// An answer begins that takes as long as it likes.
    pub(crate) async fn end_later<B>(mut self, response: Response<B>) -> Response<Tracked<B>> {
        self.note_refusal(response.status());
        let response = match &mut self.record {
            None => response,
            Some(record) => {
                record.started(response.status()).await;
                marked(response, record)
            }
        };
        self.count(response.status(), None);
        let open = self.server.metrics().long(&self.asked);
        response.map(|body| Tracked {
            body,
            _record: self.record,
            _open: open,
        })
    }

    fn count(&self, code: StatusCode, bytes: Option<u64>) {
        let seconds = self.begun.elapsed().as_secs_f64();
        let metrics = self.server.metrics();
        metrics.answered(self.asked.clone(), code, seconds, bytes);
    }

    /// The work broke down.
    pub(crate) async fn panicked(self, panic: Box<dyn Any + Send>) -> Response<Body> {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let why = text.unwrap_or("for an unknown reason").to_owned();
        drop(panic);
        tracing::error!(
            why,
            path = self.head.uri.path(),
            "a request broke the server's code"
        );
        self.count(StatusCode::INTERNAL_SERVER_ERROR, None);
        if let Some(record) = self.record {
            record.panicked(&why).await;
        }
        let why = "This request caused apiserver to panic. Look in the logs for details.";
        refusal(&Failure::internal(why))
    }

    fn record(&mut self, decision: Decision) {
        let author = (self.identity, &self.about, self.head);
        let audit = self.server.audit();
        self.record = audit.map(|audit| Record::new(audit, self.server.clock(), decision, author));
        if let (Some(record), Some(acting)) = (&mut self.record, &self.acting) {
            record.acts_as(acting);
        }
    }

    /// What is recorded only when it is refused.
    fn note_refusal(&mut self, code: StatusCode) {
        if matches!(code, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
            && let Some(decision) = self.if_refused
        {
            self.record(decision);
        }
    }
}

fn marked<B>(mut response: Response<B>, record: &Record) -> Response<B> {
    if let Ok(id) = HeaderValue::from_str(record.id()) {
        response.headers_mut().insert(AUDIT_ID, id);
    }
    response
}

impl<B: http_body::Body + Unpin> http_body::Body for Tracked<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
