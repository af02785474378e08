//! Watches: the changes of selected objects from a revision on, as a stream of JSON lines.
//!
//! Registration and the look into the past happen under one lock, so nothing is missed and nothing comes twice.
//! A stream ends at its timeout, when its client reads too slowly, or when the right to it is taken away; the client then starts again where it was.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{Stream, unfold};
use http::{HeaderMap, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use prometheus_client::metrics::counter::Counter;
use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::time::{Instant, sleep_until};

use crate::access::{Author, Standing};
use crate::body::{self, Body};
use crate::failure::Failure;
use crate::history::{Change, Kept};
use crate::hub::{Seen, WATCHES_MAX};
use crate::list;
use crate::object::Object;
use crate::render::Render;
use crate::request::Request;
use crate::selection::Selection;
use crate::server::Server;
use crate::state::State;

/// Marks the bookmark after which a client has seen all that was there; clients wait for it.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";
/// How often a quiet watch that wants bookmarks gets one.
const BOOKMARK_EVERY: Duration = Duration::from_mins(1);
/// When a watch ends whose client gave no timeout; also the longest that a client may ask for.
const WATCH_LASTS_MAX: Duration = Duration::from_mins(30);

/// One line on its way to the client.
enum Line {
    Seen(Seen),
    Bookmark {
        revision: u64,
        initial_events_end: bool,
    },
    /// What cannot be shown; the watch ends.
    Failed(Failure),
}

/// What a watch begins with, taken under the lock and read after it.
enum Begin {
    /// What is there, and a bookmark at this revision if the client waits for one.
    There(Vec<Arc<Object>>, Option<u64>),
    /// What has changed since.
    Since(Vec<Arc<Kept>>),
}

/// A running watch.
struct Watch {
    server: Server,
    id: u64,
    render: Render,
    bookmarks: bool,
    /// What goes out before anything that arrives.
    waiting: VecDeque<Line>,
    changes: Receiver<Seen>,
    /// Whether something was sent.
    begun: bool,
    bookmark_at: Instant,
    ends_at: Instant,
    /// The right to it, if that can be taken away.
    standing: Option<Standing>,
    ended: bool,
    /// How many changes were sent to clients.
    sent: Counter,
}

pub(crate) async fn watch(
    server: &Server,
    author: Author<'_>,
    request: &Request,
    headers: &HeaderMap,
) -> Result<Response<Body>, Failure> {
    let render = Render::of(server, request, headers)?;
    let selection = list::selection(request)?;
    let (waiting, id, changes) = match open(server, request, selection) {
        Ok(opened) => opened,
        // Clients look for "too old" in the stream, not in the answer's code.
        Err(expired) if expired.code == 410 => return Ok(only(&error_line(&expired))),
        Err(failure) => return Err(failure),
    };
    let now = Instant::now();
    let lasts = request
        .query
        .timeout
        .map_or(WATCH_LASTS_MAX, |asked| asked.min(WATCH_LASTS_MAX));
    let mut watch = Watch {
        server: server.clone(),
        id,
        render,
        bookmarks: request.query.bookmarks,
        waiting: VecDeque::new(),
        changes,
        begun: false,
        bookmark_at: now + BOOKMARK_EVERY,
        ends_at: now + lasts,
        standing: Standing::of(server, author, request)?,
        ended: false,
        sent: server.metrics().watch_events(request),
    };
    watch.waiting = watch.served(waiting).await?;
    Ok(streamed(watch.lines()))
}

/// Opens the watch: what it begins with, its number, and where the changes after that arrive.
fn open(
    server: &Server,
    request: &Request,
    selection: Selection,
) -> Result<(VecDeque<Line>, u64, Receiver<Seen>), Failure> {
    let mut state = server.state();
    // Under the lock: a definition that goes closes the watches that are open.
    if server.registry().at_home(&selection.home).is_none() {
        return Err(Failure::no_such_path());
    }
    let begin = start(&state, request, &selection)?;
    if state.hub.len() >= WATCHES_MAX {
        let message = format!("the server holds {WATCHES_MAX} watches already; try again later");
        return Err(Failure::too_many_requests(message));
    }
    let (id, changes) = state.hub.open(selection.clone());
    drop(state);
    Ok((begin.lines(&selection), id, changes))
}

/// What the watch begins with.
fn start(state: &State, request: &Request, selection: &Selection) -> Result<Begin, Failure> {
    let query = &request.query;
    list::refuse_future(state, &query.resource_version)?;
    let from: u64 = query.resource_version.parse().unwrap_or(0);
    let with_initial = query.initial_events == Some(true);
    let anywhere = from == 0 && query.initial_events.is_none();
    if with_initial || anywhere {
        let there = state.objects.select(selection, None);
        let bookmark = (with_initial && query.bookmarks).then(|| state.revision());
        return Ok(Begin::There(there, bookmark));
    }
    if from == 0 {
        return Ok(Begin::Since(Vec::new()));
    }
    let since = state.history.of(selection, from)?;
    Ok(Begin::Since(since))
}

impl Begin {
    fn lines(self, selection: &Selection) -> VecDeque<Line> {
        match self {
            Self::There(objects, bookmark) => {
                let added = |object| Line::Seen((Change::Added, object));
                let end = bookmark.map(|revision| Line::Bookmark {
                    revision,
                    initial_events_end: true,
                });
                objects.into_iter().map(added).chain(end).collect()
            }
            Self::Since(kept) => {
                let seen = kept
                    .iter()
                    .filter_map(|kept| kept.event().seen(|object| selection.matches(object)));
                seen.map(Line::Seen).collect()
            }
        }
    }
}

impl Watch {
    fn lines(self) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> {
        unfold(self, |mut watch| async move {
            let line = watch.next().await?;
            Some((Ok(Frame::data(watch.text(&line))), watch))
        })
    }

    /// The lines with their objects in the version of the request.
    async fn served(&self, mut lines: VecDeque<Line>) -> Result<VecDeque<Line>, Failure> {
        let objects = lines.iter().filter_map(|line| match line {
            Line::Seen((_, object)) => Some(object.clone()),
            Line::Bookmark { .. } | Line::Failed(_) => None,
        });
        let objects: Vec<_> = objects.collect();
        let mut served = self.render.served(&objects).await?.into_iter();
        for line in &mut lines {
            if let Line::Seen((_, object)) = line
                && let Some(served) = served.next()
            {
                *object = served;
            }
        }
        Ok(lines)
    }

    async fn next(&mut self) -> Option<Line> {
        if let Some(line) = self.waiting.pop_front() {
            return Some(line);
        }
        let line = self.arrives().await?;
        match self.served(VecDeque::from([line])).await {
            Ok(mut lines) => lines.pop_front(),
            Err(failure) => {
                self.ended = true;
                Some(Line::Failed(failure))
            }
        }
    }

    /// The next line, as it is stored.
    async fn arrives(&mut self) -> Option<Line> {
        loop {
            if self.ended {
                return None;
            }
            tokio::select! {
                biased;
                () = lost(&mut self.standing) => return None,
                seen = self.changes.recv() => return seen.map(Line::Seen),
                () = sleep_until(self.ends_at) => {
                    self.ended = true;
                    if self.bookmarks {
                        return self.position();
                    }
                }
                () = sleep_until(self.bookmark_at), if self.bookmarks => {
                    self.bookmark_at = Instant::now() + BOOKMARK_EVERY;
                    return self.position();
                }
            }
        }
    }

    /// A bookmark at the revision up to which this watch has seen everything; a change, if one came just now.
    fn position(&mut self) -> Option<Line> {
        // Changes arrive under this lock, so an empty buffer means that nothing up to here is missing.
        let state = self.server.state();
        match self.changes.try_recv() {
            Ok(seen) => Some(Line::Seen(seen)),
            Err(TryRecvError::Empty) => Some(Line::Bookmark {
                revision: state.revision(),
                initial_events_end: false,
            }),
            Err(TryRecvError::Disconnected) => None,
        }
    }

    fn text(&mut self, line: &Line) -> Bytes {
        let first = !std::mem::replace(&mut self.begun, true);
        match line {
            Line::Seen((change, object)) => {
                self.sent.inc();
                let object = self.render.event(object, first);
                let mut text = Vec::with_capacity(object.len() + 40);
                text.extend_from_slice(
                    format!(r#"{{"type":"{}","object":"#, change.name()).as_bytes(),
                );
                text.extend_from_slice(&object);
                text.extend_from_slice(b"}\n");
                Bytes::from(text)
            }
            Line::Bookmark {
                revision,
                initial_events_end,
            } => {
                let mut metadata =
                    json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
                if *initial_events_end {
                    metadata["annotations"] = json!({INITIAL_EVENTS_END: "true"});
                }
                line_of("BOOKMARK", &self.render.bookmark(metadata, first))
            }
            Line::Failed(failure) => error_line(failure),
        }
    }
}

/// Returns when the right to a watch is gone.
async fn lost(standing: &mut Option<Standing>) {
    match standing {
        Some(standing) => standing.ended().await,
        None => pending().await,
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.server.state().hub.close(self.id);
    }
}

fn error_line(failure: &Failure) -> Bytes {
    line_of("ERROR", &failure.status())
}

fn line_of(kind: &str, object: &Value) -> Bytes {
    Bytes::from(format!("{}\n", json!({"type": kind, "object": object})))
}

fn only(line: &Bytes) -> Response<Body> {
    body::json(200, line.clone())
}

fn streamed(
    lines: impl Stream<Item = Result<Frame<Bytes>, Infallible>> + Send + 'static,
) -> Response<Body> {
    body::json(200, Bytes::new()).map(|_| StreamBody::new(lines).boxed_unsync())
}
