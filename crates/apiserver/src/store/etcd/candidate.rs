//! One of several servers on one etcd: it hears what the others write, learns how far they are, and may become the one that
//! writes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::Background;
use super::election::{self, Leading};
use super::gateway::Failed;
use super::place::Place;
use crate::store::{Batch, Error};

/// How long a member may take to say how far the others are, before another one is asked.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many wait to be answered together; others wait for room.
const WAITING_MAX: usize = 4096;
/// Who has heard nothing from etcd for so long may have missed something.
const FRESH: Duration = Duration::from_secs(5);
/// How many are asked.
const ASKED_MAX: usize = 3;

/// A server beside others.
pub struct Candidate {
    place: Arc<Place>,
    background: Arc<Background>,
    asking: mpsc::Sender<Asking>,
}

/// Somebody who wants to know the last revision.
type Asking = oneshot::Sender<Result<u64, Error>>;

/// Hears what others write until it is dropped.
pub struct Following(AbortHandle);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Candidate {
    pub(super) fn new(place: Arc<Place>, background: Arc<Background>) -> Self {
        let (asking, asked) = mpsc::channel(WAITING_MAX);
        background.handle().spawn(answer(place.clone(), asked));
        Self {
            place,
            background,
            asking,
        }
    }

    /// Waits until no other server writes, and keeps others waiting until the handle is dropped. Others learn that this
    /// server is reached at `url`.
    ///
    /// # Errors
    /// When etcd refuses.
    pub async fn lead(&self, url: &str) -> Result<Leading, Error> {
        let (place, background) = (self.place.clone(), self.background.clone());
        let leading = election::lead(place, background, url.to_owned());
        let leading = self.background.handle().spawn(leading);
        let leading = leading.await.map_err(Error::new)?;
        leading.map_err(Error::new)
    }

    /// Where the server is reached that writes, if one does.
    ///
    /// # Errors
    /// When no member of etcd answers.
    pub async fn leader(&self) -> Result<Option<String>, Error> {
        let place = self.place.clone();
        let leader = async move { place.leader().await };
        let leader = self.background.handle().spawn(leader);
        let leader = leader.await.map_err(Error::new)?;
        leader.map_err(Error::new)
    }

    /// The last revision that any server has written, as of some moment after the call. Who asks at the same time is answered
    /// together.
    ///
    /// # Errors
    /// When no member of etcd answers in time.
    pub async fn last_revision(&self) -> Result<u64, Error> {
        let (answer, answered) = oneshot::channel();
        let ended = || Error::new("nobody asks etcd any more");
        self.asking.send(answer).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }

    /// Whether nothing that others have written was missed until a moment ago.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.place.has_heard(FRESH)
    }

    /// Tells every batch that others write after `revision`, which was loaded, and in the end why it cannot any more.
    pub(crate) fn follow(
        &self,
        revision: u64,
        mut tell: impl FnMut(Result<Batch, Error>) -> Result<(), Error> + Send + 'static,
    ) -> Following {
        let place = self.place.clone();
        let following = self.background.handle().spawn(async move {
            let told = |batch| tell(Ok(batch)).map_err(|why| Failed::Odd(api::chain(&why)));
            let failed = place.follow(revision, told).await;
            // It is for him to do something about it.
            let _ = tell(Err(Error::new(failed)));
        });
        Following(following.abort_handle())
    }
}

/// Asks etcd for the last revision, once for all who are waiting.
async fn answer(place: Arc<Place>, mut asked: mpsc::Receiver<Asking>) {
    while let Some(first) = asked.recv().await {
        let mut waiting = vec![first];
        while let Ok(another) = asked.try_recv() {
            waiting.push(another);
        }
        let last = last_revision(&place).await.map_err(Error::new);
        for waiting in waiting {
            // He may have gone meanwhile.
            let _ = waiting.send(last.clone());
        }
    }
}

async fn last_revision(place: &Place) -> Result<u64, Failed> {
    for _ in 0..ASKED_MAX {
        match timeout(PATIENCE, place.read_head()).await {
            // Whoever refuses has passed the word on already.
            Ok(Err(Failed::Unreachable(_))) => {}
            Ok(read) => return read.map(|(head, ..)| head.revision),
            Err(_) => place.gateway.next(),
        }
    }
    let late = format!("no member has for {ASKED_MAX} times {PATIENCE:?}");
    Err(Failed::Unreachable(late))
}
