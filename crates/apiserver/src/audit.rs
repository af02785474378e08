//! The audit log: who asked for what, when, and what came of it, in the form of `audit.k8s.io/v1`.
//!
//! A policy ([`Policy`]) says how much of a request is recorded; an event is one line of JSON, chained to the line before
//! ([`chain`]) in files that are set aside by size ([`log`]). One thread writes; the queue before it is bounded by bytes, and
//! requests wait for room in it, so that nothing is left out silently. When the disk fails, requests go on, and what could
//! not be written is counted, told on stderr and by the next line that can be written. Bodies of Secrets and of what carries
//! tokens are never recorded.

pub mod chain;
mod log;
mod policy;
mod record;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use api::terminal::plain_json;
use api::{Error, ErrorKind};
use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use self::log::Files;
use self::log::Log;
pub(crate) use self::policy::Decision;
pub use self::policy::Policy;
pub(crate) use self::record::{Record, Responded};
use crate::about::About;
use crate::access::Identity;
use crate::engine::Clock;
use crate::ids::Ids;

/// What may wait to be written, in KiB; requests wait beyond it. Watches that end are not counted: their number is limited.
pub const QUEUE_KIB_MAX: u32 = 64 * 1024;
/// The largest event; a larger one is recorded without bodies.
pub const EVENT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Events that are written at once.
const BATCH_EVENTS_MAX: usize = 512;
/// How often what is written is brought to disk and the hash of the last line is kept.
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// How often a disk that fails is told of.
const TELL_EVERY: u64 = 1_000;

/// Says in a line that lines before it had been cut off.
const NOTE_CUT: &str = "audit.groma.dev/cut";
/// Says in a line how many bytes of a line a crash had left.
const NOTE_TORN: &str = "audit.groma.dev/torn";
/// Says in a line how many events could not be written before it.
const NOTE_LOST: &str = "audit.groma.dev/lost";

/// An audit log that is written. Clones are the same log.
#[derive(Clone)]
pub struct Audit(Arc<Inner>);

struct Inner {
    policy: Policy,
    ids: Ids,
    room: Arc<Semaphore>,
    /// `None` only while it closes.
    sender: Option<Sender<Entry>>,
    writer: Option<JoinHandle<()>>,
    counts: Arc<Counts>,
}

/// How often what happened, since the process began.
#[derive(Default)]
pub(crate) struct Counts {
    /// Events that were made.
    pub(crate) events: AtomicU64,
    /// Events that could not be written.
    pub(crate) errors: AtomicU64,
}

struct Entry {
    event: String,
    _room: Option<OwnedSemaphorePermit>,
}

impl Audit {
    /// Opens the log, repairs what a crash left of it, and starts to write.
    ///
    /// # Errors
    /// When the files cannot be read or written.
    pub fn open(policy: Policy, files: Files) -> Result<Self, Error> {
        Self::open_at(policy, files, Arc::new(Timestamp::now))
    }

    fn open_at(policy: Policy, files: Files, clock: Clock) -> Result<Self, Error> {
        let refuse = |error| {
            let what = "cannot open the audit log";
            Error::caused(ErrorKind::Unavailable, what, error)
        };
        let path = files.path.clone();
        let (mut log, found) = Log::open(files).map_err(refuse)?;
        let ids = Ids::random();
        let notes = notes(&found, &path);
        if !notes.is_empty() {
            let now = clock();
            let note = record::note(&ids.uid(), now, &notes);
            log.write(&[note], now).map_err(refuse)?;
        }
        let (sender, entries) = channel();
        let counts = Arc::new(Counts::default());
        let writer = Writer {
            log,
            clock,
            counts: counts.clone(),
            ids: Ids::random(),
            lost: 0,
        };
        let thread = std::thread::Builder::new().name("audit".to_owned());
        let thread = thread.spawn(move || writer.run(&entries)).map_err(refuse)?;
        Ok(Self(Arc::new(Inner {
            policy,
            ids,
            room: Arc::new(Semaphore::new(QUEUE_KIB_MAX as usize)),
            sender: Some(sender),
            writer: Some(thread),
            counts,
        })))
    }

    pub(crate) fn counts(&self) -> &Arc<Counts> {
        &self.0.counts
    }

    /// How much of this request is recorded.
    pub(crate) fn decide(&self, identity: &Identity, about: &About<'_>) -> Decision {
        self.0.policy.decide(identity, about)
    }

    /// Waits until there is room for the event, and hands it over.
    async fn write(&self, event: String) {
        let kib = u32::try_from(event.len() / 1_024 + 1).unwrap_or(u32::MAX);
        let room = self
            .0
            .room
            .clone()
            .acquire_many_owned(kib.min(QUEUE_KIB_MAX));
        let room = room.await.expect("the semaphore is never closed");
        self.hand_over(event, Some(room));
    }

    /// Hands the event over at once: only for what ends without being able to wait.
    fn write_now(&self, event: String) {
        self.hand_over(event, None);
    }

    fn hand_over(&self, event: String, room: Option<OwnedSemaphorePermit>) {
        self.0.counts.events.fetch_add(1, Ordering::Relaxed);
        // Whoever reads the log on a terminal is not fooled by what somebody is called.
        let event = plain_json(&event).into_owned();
        let entry = Entry { event, _room: room };
        let sender = self.0.sender.as_ref();
        if sender.is_none_or(|sender| sender.send(entry).is_err()) {
            self.0.counts.errors.fetch_add(1, Ordering::Relaxed);
            tracing::error!("the thread that writes the audit log is gone");
        }
    }

    fn id(&self) -> String {
        self.0.ids.uid()
    }
}

impl Drop for Inner {
    /// Waits until everything is written.
    fn drop(&mut self) {
        self.sender = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the thread that writes the audit log ended badly");
        }
    }
}

/// What a line must say about how the log was found.
fn notes(found: &log::Found, path: &std::path::Path) -> Vec<(&'static str, String)> {
    let mut notes = Vec::new();
    let path = path.display();
    if found.torn > 0 {
        tracing::warn!(%path, bytes = found.torn, "the last line of the audit log was torn and is cut off");
        notes.push((NOTE_TORN, format!("{} bytes", found.torn)));
    }
    if let Some(hash) = &found.cut {
        tracing::error!(%path, %hash, "lines of the audit log are missing: the one that was the last is not there");
        notes.push((NOTE_CUT, format!("the last line had the hash {hash}")));
    }
    notes
}

/// What runs in the thread.
struct Writer {
    log: Log,
    clock: Clock,
    counts: Arc<Counts>,
    ids: Ids,
    /// Events that could not be written and that no line tells of yet.
    lost: u64,
}

impl Writer {
    fn run(mut self, entries: &Receiver<Entry>) {
        let mut kept = true;
        loop {
            let first = match kept {
                true => entries.recv().map_err(|_| RecvTimeoutError::Disconnected),
                false => entries.recv_timeout(KEEP_EVERY),
            };
            match first {
                Ok(first) => {
                    self.batch(first, entries);
                    kept = false;
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.keep();
                    kept = true;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.keep();
    }

    fn batch(&mut self, first: Entry, entries: &Receiver<Entry>) {
        let rest = entries.try_iter().take(BATCH_EVENTS_MAX);
        let entries: Vec<Entry> = std::iter::once(first).chain(rest).collect();
        // What they hold of the queue's room is given back once they are written.
        let (mut events, _rooms): (Vec<String>, Vec<_>) = entries
            .into_iter()
            .map(|entry| (entry.event, entry._room))
            .unzip();
        let now = (self.clock)();
        if self.lost > 0 {
            let note = [(NOTE_LOST, format!("at most {} events", self.lost))];
            events.insert(0, record::note(&self.ids.uid(), now, &note));
        }
        match self.log.write(&events, now) {
            Ok(()) => self.lost = 0,
            Err(error) => self.lose(u64::try_from(events.len()).unwrap_or(u64::MAX), &error),
        }
    }

    fn lose(&mut self, n: u64, error: &std::io::Error) {
        if self.lost == 0 || self.lost / TELL_EVERY != (self.lost + n) / TELL_EVERY {
            tracing::error!(%error, "cannot write the audit log; requests go on without it");
        }
        self.lost += n;
        self.counts.errors.fetch_add(n, Ordering::Relaxed);
    }

    fn keep(&mut self) {
        if let Err(error) = self.log.keep() {
            self.counts.errors.fetch_add(1, Ordering::Relaxed);
            tracing::error!(%error, "cannot bring the audit log to disk");
        }
    }
}
