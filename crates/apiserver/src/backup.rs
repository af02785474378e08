//! Backups of a server that goes on serving.
//!
//! What there is at one revision is taken under the lock, as texts that the server holds anyway, and written while others
//! write. Secrets go sealed into it where they are sealed in the store ([`store::sealed`](crate::store::sealed)).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::unfold;
use http::{HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::OwnedSemaphorePermit;

use crate::body::Body;
use crate::failure::Failure;
use crate::index::Place;
use crate::resource::Home;
use crate::server::Server;
use crate::store::Undo;
use crate::store::backup::Writer;
use crate::store::sealed::Sealer;

/// Bytes after which a part of the answer is sent.
const PART_BYTES: usize = 64 * 1024;

/// A backup on its way.
struct Backup {
    sealer: Option<Sealer>,
    objects: std::vec::IntoIter<(Arc<Home>, Place, Bytes)>,
    changes: VecDeque<Undo>,
    /// `None` once the last line was written.
    writer: Option<Writer>,
    /// Lines that are not sent yet.
    lines: Vec<u8>,
    /// One is taken at a time: each holds on to what there was.
    _permit: OwnedSemaphorePermit,
}

/// Answers with a backup as of now.
pub(crate) fn answer(server: &Server) -> Result<Response<Body>, Failure> {
    let permit = server.backups().clone().try_acquire_owned();
    let permit = permit.map_err(|_| {
        Failure::too_many_requests("another backup is being taken; try again later".to_owned())
    })?;
    let backup = Backup::taken(server, permit);
    let parts = unfold(backup, |mut backup| async move {
        let part = backup.next()?;
        Some((Ok::<_, Infallible>(Frame::data(part)), backup))
    });
    let mut response = Response::new(StreamBody::new(parts).boxed_unsync());
    let lines_of_json = HeaderValue::from_static("application/x-ndjson");
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, lines_of_json);
    Ok(response)
}

impl Backup {
    fn taken(server: &Server, permit: OwnedSemaphorePermit) -> Self {
        let now = server.now();
        let state = server.state();
        let (writer, lines) = Writer::begin(now, state.revision(), state.history.forgotten());
        Self {
            sealer: server.sealer().cloned(),
            objects: state.objects.texts().into_iter(),
            changes: state.history.undos().collect(),
            writer: Some(writer),
            lines,
            _permit: permit,
        }
    }

    /// The next part; `None` after the last one.
    fn next(&mut self) -> Option<Bytes> {
        let writer = self.writer.as_mut()?;
        while self.lines.len() < PART_BYTES {
            if let Some((home, (namespace, name), text)) = self.objects.next() {
                let key = home.key(&namespace, &name);
                let value = stored(self.sealer.as_ref(), &key, &text);
                writer.object(&mut self.lines, &key, &value);
            } else if let Some(mut undo) = self.changes.pop_front() {
                let before = undo.before.as_ref();
                undo.before = before.map(|text| stored(self.sealer.as_ref(), &undo.key, text));
                writer.change(&mut self.lines, &undo);
            } else {
                self.lines.extend(self.writer.take()?.end());
                break;
            }
        }
        Some(Bytes::from(std::mem::take(&mut self.lines)))
    }
}

/// A value as the store has it.
fn stored(sealer: Option<&Sealer>, key: &str, text: &Bytes) -> Bytes {
    match sealer {
        Some(sealer) => sealer.sealed(key, text),
        None => text.clone(),
    }
}
