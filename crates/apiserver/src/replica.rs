//! One of several servers on one storage. One writes. The others hear what it writes and answer reads, once they know all
//! that anybody could have been told before; everything else they pass on to it.
//!
//! A server that writes answers reads for as long as nobody else can write; that is looked at after the answer was made.

mod pass;

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use http::request::Parts;
use http::{Method, Request, Response};
use hyper::body::Incoming;
use tokio::time::timeout;

use self::pass::Pass;
pub(crate) use self::pass::say_whence;
use crate::access::Identity;
use crate::engine::Engine;
use crate::failure::Failure;
use crate::server::Server;
use crate::state::Visible;
use crate::store::etcd::{Candidate, Following, Leading, Term};
use crate::tls::Authority;
use crate::{boot, door, health, metrics};

/// How long what was written may be on its way.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long all that others have written may take to arrive, before a server begins to write.
const LEAD_PATIENCE: Duration = Duration::from_secs(30);

/// A server beside others.
pub(crate) struct Replica {
    candidate: Candidate,
    pass: Pass,
    following: Mutex<Option<Following>>,
    /// Until when nobody else can write; set once this server does.
    term: OnceLock<Term>,
}

/// How a request is answered by one of several servers.
pub(crate) enum Way {
    /// By this one, as if it were alone.
    Here,
    /// By this one, if nobody else can have written by then.
    HereInTerm { reads: bool },
    /// By the one that writes.
    There,
}

impl Replica {
    pub(crate) fn new(candidate: Candidate, authority: &Authority) -> Result<Self, api::Error> {
        Ok(Self {
            candidate,
            pass: Pass::new(authority)?,
            following: Mutex::default(),
            term: OnceLock::new(),
        })
    }

    /// Hears from now on what others write after `revision`.
    pub(crate) fn follow(&self, server: &Server) {
        let (engine, sealer) = (server.engine().clone(), server.sealer().cloned());
        let revision = server.revision();
        let following = self.candidate.follow(revision, move |heard| {
            let opened = heard.and_then(|mut batch| {
                for write in &mut batch.writes {
                    let open = |value| match &sealer {
                        Some(sealer) => sealer.opened(&write.key, value),
                        None => Ok(value),
                    };
                    write.value = write.value.take().map(open).transpose()?;
                }
                Ok(batch)
            });
            engine.hear(opened)
        });
        *self.following() = Some(following);
    }

    fn following(&self) -> std::sync::MutexGuard<'_, Option<Following>> {
        let following = self.following.lock();
        following.unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody else writes and all that others have written is visible.
    pub(crate) async fn lead(&self, engine: &Engine, url: &str) -> Result<Leading, api::Error> {
        let leading = self.candidate.lead(url).await;
        let leading = leading.map_err(|why| boot::refused(Failure::internal(api::chain(&why))))?;
        let all = visible(engine, leading.revision(), LEAD_PATIENCE).await;
        // Nobody else writes any more.
        drop(self.following().take());
        all.map_err(boot::refused)?;
        engine.state().follows = false;
        Ok(leading)
    }

    /// Answers itself from now on.
    pub(crate) fn answer_alone(&self, term: Term) {
        // It leads once.
        let _ = self.term.set(term);
    }

    /// How a request is to be answered; one that is answered here finds all that anybody could have been told by now.
    pub(crate) async fn way(&self, server: &Server, head: &Parts) -> Result<Way, Failure> {
        let path = head.uri.path();
        // Each server has its own.
        if health::Asked::of(path).is_some() || path == metrics::PATH {
            return Ok(Way::Here);
        }
        let reads = matches!(head.method, Method::GET | Method::HEAD) && !door::is_through(path);
        if self.term.get().is_some() {
            if reads {
                let submitted = server.state().wait_for_submitted();
                arrived(submitted, PATIENCE).await?;
            }
            return Ok(Way::HereInTerm { reads });
        }
        let last = self.candidate.last_revision().await.map_err(|error| {
            tracing::warn!(
                error = api::chain(&error),
                "what was written last is not known"
            );
            Failure::unavailable("what was written last is not known just now")
        })?;
        if last == 0 {
            return Err(Failure::unavailable("no server has written anything yet"));
        }
        visible(server.engine(), last, PATIENCE).await?;
        Ok(if reads { Way::Here } else { Way::There })
    }

    /// Whether nobody else can have written until now.
    pub(crate) fn in_term(&self, server: &Server) -> bool {
        let lasts = self.term.get().is_some_and(Term::lasts);
        lasts && !server.is_broken()
    }

    /// Whether requests can be answered as far as others have to do with it.
    pub(crate) fn is_ready(&self) -> bool {
        match self.term.get() {
            Some(term) => term.lasts(),
            None => self.candidate.is_fresh(),
        }
    }

    /// What the server answers that writes.
    pub(crate) async fn pass(
        &self,
        author: &Identity,
        request: Request<Incoming>,
    ) -> Result<Response<Incoming>, Failure> {
        self.pass.on(&self.candidate, author, request).await
    }
}

/// Waits until everything up to a revision is visible.
async fn visible(engine: &Engine, revision: u64, patience: Duration) -> Result<(), Failure> {
    let visible = {
        let mut state = engine.state();
        if state.broken.is_some() {
            return Err(Failure::unavailable(
                "this server hears nothing of others any more",
            ));
        }
        state.wait_for(revision)
    };
    arrived(visible, patience).await
}

async fn arrived(visible: Option<Visible>, patience: Duration) -> Result<(), Failure> {
    let Some(visible) = visible else {
        return Ok(());
    };
    match timeout(patience, visible).await {
        Ok(Ok(Ok(()))) => Ok(()),
        _ => {
            let why = format!("what was written last has not arrived here within {patience:?}");
            Err(Failure::unavailable(why))
        }
    }
}

/// A write that reaches a server which does not write.
pub(crate) fn follows() -> Failure {
    Failure::unavailable("this server does not write, or not yet")
}

/// Another one can write by now: what was read may be older than what it has said, and what was written may be refused.
pub(crate) fn out_of_term(reads: bool) -> Failure {
    let why = "another server may write by now; this one ends";
    match reads {
        true => Failure::unavailable(why),
        // Perhaps it was done.
        false => Failure::new(504, "Timeout", why),
    }
}
