//! Backups: everything that is stored, as text that a person can look into and another version can read.
//!
//! Lines of JSON: first what it is and as of which revision, then every object with its key, then what each kept change
//! has replaced, and last the SHA-256 of all lines before. Values are as they are stored: an object, or, of a Secret, the
//! base64 of what was sealed, so that a backup says as little as the store does. A backup that was cut off or changed is
//! refused.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, BufRead};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::store::{Error, KEY_BYTES_MAX, Loaded, Undo, VALUE_BYTES_MAX};

/// The form of the lines; a higher one was written by a newer version.
const FORMAT: u64 = 1;
/// Longest line: the largest sealed value as base64, its key, and the names of the fields.
const LINE_BYTES_MAX: usize = VALUE_BYTES_MAX * 3 / 2 + KEY_BYTES_MAX * 2 + 1024;
/// How far the revision of a restored store is at least ahead of that of the backup.
const AHEAD: u64 = 1_000_000_000;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Head {
    /// [`FORMAT`].
    #[serde(rename = "gromaBackup")]
    format: u64,
    /// When it was taken.
    pub taken: String,
    /// The revision as of which everything is.
    pub revision: u64,
    /// Before the changes that are kept.
    pub forgotten: u64,
}

/// One line between the first and the last.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    /// Of a change, its revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    change: Option<u64>,
    /// Of a change, what was before, unless there was nothing.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    value: Option<&'a RawValue>,
}

/// The last line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    sha256: String,
}

/// Why a backup is not read.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("it cannot be read: {0}")]
    Unreadable(io::Error),
    #[error("it is no backup of Groma: {0}")]
    NoBackup(String),
    #[error("it has form {found}, written by a newer version; this one reads form {FORMAT}")]
    Newer { found: u64 },
    #[error("line {line} is damaged: {why}")]
    Damaged { line: usize, why: String },
    #[error("it ends too early, after line {line}")]
    CutOff { line: usize },
    #[error("it was changed: its lines do not have the SHA-256 that it ends with")]
    Changed,
    #[error("revision {asked} is not in it; expected one from {first} to {last}")]
    NotKept { asked: u64, first: u64, last: u64 },
}

/// Writes the lines of a backup, one after the other.
pub struct Writer {
    digest: Sha256,
}

impl Writer {
    /// Begins a backup; answers its first line.
    #[must_use]
    pub fn begin(taken: String, revision: u64, forgotten: u64) -> (Self, Vec<u8>) {
        let head = Head {
            format: FORMAT,
            taken,
            revision,
            forgotten,
        };
        let mut line = Vec::new();
        let mut writer = Self {
            digest: Sha256::new(),
        };
        writer.line(&mut line, &head);
        (writer, line)
    }

    /// Appends an object, with its value as it is stored.
    pub fn object(&mut self, lines: &mut Vec<u8>, key: &str, value: &Bytes) {
        let value = Some(raw(value));
        let (value, key, change) = (value.as_deref(), key.into(), None);
        self.line(lines, &Line { key, change, value });
    }

    /// Appends a change.
    pub(crate) fn change(&mut self, lines: &mut Vec<u8>, undo: &Undo) {
        let value = undo.before.as_ref().map(raw);
        let (key, change) = (undo.key.as_str().into(), Some(undo.revision));
        let value = value.as_deref();
        self.line(lines, &Line { key, change, value });
    }

    /// The last line.
    ///
    /// # Panics
    /// Never: texts become JSON.
    #[must_use]
    pub fn end(self) -> Vec<u8> {
        let sha256 = hex(self.digest);
        let mut line = serde_json::to_vec(&End { sha256 }).expect("texts become JSON");
        line.push(b'\n');
        line
    }

    fn line(&mut self, lines: &mut Vec<u8>, line: &impl Serialize) {
        let start = lines.len();
        serde_json::to_writer(&mut *lines, line).expect("texts become JSON");
        lines.push(b'\n');
        self.digest.update(&lines[start..]);
    }
}

/// A stored value as JSON: an object as it is, and what is none as base64.
fn raw(value: &Bytes) -> Box<RawValue> {
    let text = match value.first() {
        Some(b'{') => String::from_utf8(value.to_vec()).ok(),
        _ => None,
    };
    let text = text.unwrap_or_else(|| format!("\"{}\"", STANDARD.encode(value)));
    RawValue::from_string(text).expect("what is stored as an object is JSON")
}

/// The stored value of a line.
fn stored(value: &RawValue) -> Result<Bytes, String> {
    let text = value.get();
    if text.starts_with('{') {
        return Ok(Bytes::copy_from_slice(text.as_bytes()));
    }
    let text: String = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let value = STANDARD.decode(text).map_err(|error| error.to_string())?;
    Ok(Bytes::from(value))
}

fn hex(digest: Sha256) -> String {
    let bytes = digest.finalize();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads a whole backup, and believes it only once its end was seen.
///
/// # Errors
/// When it was cut off or changed, or is none.
pub fn read(source: impl BufRead) -> Result<(Head, Loaded), Error> {
    let mut loaded = Loaded::default();
    let head = Reader::read(source, |line| put(&mut loaded, line)).map_err(Error::new)?;
    (loaded.revision, loaded.forgotten) = (head.revision, head.forgotten);
    Ok((head, loaded))
}

/// Reads a whole backup to see that it is one, and keeps nothing of it but its first line.
///
/// # Errors
/// When it was cut off or changed, or is none.
pub fn verify(source: impl BufRead) -> Result<Head, Error> {
    Reader::read(source, |_| Ok(())).map_err(Error::new)
}

struct Reader<R> {
    source: R,
    digest: Sha256,
    line: usize,
}

impl<R: BufRead> Reader<R> {
    fn read(source: R, mut take: impl FnMut(&[u8]) -> Result<(), String>) -> Result<Head, Refused> {
        let digest = Sha256::new();
        let mut reader = Self {
            source,
            digest,
            line: 0,
        };
        let first = reader.next()?;
        let head = understood(&first)?;
        reader.digest.update(&first);
        loop {
            let line = reader.next()?;
            if let Ok(End { sha256 }) = serde_json::from_slice(&line) {
                return match sha256 == hex(reader.digest) {
                    true => Ok(head),
                    false => Err(Refused::Changed),
                };
            }
            reader.digest.update(&line);
            take(&line).map_err(|why| reader.damaged(why))?;
        }
    }

    /// The next line, with its end.
    fn next(&mut self) -> Result<Vec<u8>, Refused> {
        let mut line = Vec::new();
        let most = LINE_BYTES_MAX as u64;
        let read = io::Read::take(&mut self.source, most).read_until(b'\n', &mut line);
        read.map_err(Refused::Unreadable)?;
        if line.last() == Some(&b'\n') {
            self.line += 1;
            return Ok(line);
        }
        match line.len() {
            LINE_BYTES_MAX => Err(self.damaged("it is too long".to_owned())),
            _ => Err(Refused::CutOff { line: self.line }),
        }
    }

    fn damaged(&self, why: String) -> Refused {
        let line = self.line;
        Refused::Damaged { line, why }
    }
}

fn understood(first: &[u8]) -> Result<Head, Refused> {
    #[derive(Deserialize)]
    struct Any {
        #[serde(rename = "gromaBackup")]
        format: u64,
    }
    let none = |error: serde_json::Error| Refused::NoBackup(error.to_string());
    let Any { format } = serde_json::from_slice(first).map_err(none)?;
    match format {
        FORMAT => serde_json::from_slice(first).map_err(none),
        found => Err(Refused::Newer { found }),
    }
}

/// Takes a line that is neither the first nor the last.
fn put(loaded: &mut Loaded, line: &[u8]) -> Result<(), String> {
    let line: Line = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let value = line.value.map(stored).transpose()?;
    let key = line.key.into_owned();
    match (line.change, value) {
        (Some(revision), before) => loaded.changes.push(Undo {
            revision,
            key,
            before,
        }),
        (None, Some(value)) => loaded.entries.push((key, value)),
        (None, None) => return Err("an object without a value".to_owned()),
    }
    Ok(())
}

/// What a store starts with that goes on from a backup, as it was at a revision; from the newest on where none is given.
/// It has no past, and its revision is the time in microseconds: ahead of all that clients may have seen since the backup,
/// of another store that was restored before, too, so that none of them takes what it finds there for what it knows.
///
/// # Errors
/// When the backup does not reach back to that revision.
pub fn restored(backup: Loaded, asked: Option<u64>, now: Timestamp) -> Result<Loaded, Error> {
    let (first, last) = (backup.forgotten, backup.revision);
    let asked = asked.unwrap_or(last);
    if !(first..=last).contains(&asked) {
        return Err(Error::new(Refused::NotKept { asked, first, last }));
    }
    let mut entries: BTreeMap<String, Bytes> = backup.entries.into_iter().collect();
    let later = backup.changes.into_iter().rev();
    for undo in later.take_while(|undo| undo.revision > asked) {
        match undo.before {
            Some(before) => entries.insert(undo.key, before),
            None => entries.remove(&undo.key),
        };
    }
    let now = u64::try_from(now.as_microsecond()).unwrap_or_default();
    let revision = last.saturating_add(AHEAD).max(now);
    Ok(Loaded {
        revision,
        entries: entries.into_iter().collect(),
        forgotten: revision,
        changes: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEALED: &[u8] = b"sealed:1:a:\x00\xff\n";

    fn loaded() -> Loaded {
        let entry = |key: &str, value: &[u8]| (key.to_owned(), Bytes::copy_from_slice(value));
        let undo = |revision, key: &str, before: Option<&[u8]>| Undo {
            revision,
            key: key.to_owned(),
            before: before.map(Bytes::copy_from_slice),
        };
        Loaded {
            revision: 13,
            entries: vec![
                entry(
                    "/configmaps/default/a \"quoted\" name",
                    b"{\"n\":\"\xc3\xa9\"}",
                ),
                entry("/secrets/default/s", SEALED),
            ],
            forgotten: 10,
            changes: vec![
                undo(11, "/configmaps/default/gone", None),
                undo(12, "/secrets/default/s", None),
                undo(13, "/configmaps/default/gone", Some(b"{\"n\":1}")),
            ],
        }
    }

    fn written(loaded: &Loaded) -> Vec<u8> {
        let taken = "2026-01-01T00:00:00Z".to_owned();
        let (mut writer, mut lines) = Writer::begin(taken, loaded.revision, loaded.forgotten);
        for (key, value) in &loaded.entries {
            writer.object(&mut lines, key, value);
        }
        loaded
            .changes
            .iter()
            .for_each(|undo| writer.change(&mut lines, undo));
        lines.extend(writer.end());
        lines
    }

    fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
        api::chain(&result.expect_err("it is refused"))
    }

    #[test]
    fn what_was_written_is_read() {
        let text = written(&loaded());
        let (head, found) = read(&text[..]).expect("a backup");
        assert_eq!(verify(&text[..]).expect("a backup"), head);
        assert_eq!(
            (head.revision, head.taken.as_str()),
            (13, "2026-01-01T00:00:00Z")
        );
        assert_eq!(found, loaded());
        let lines = String::from_utf8(text).expect("text");
        assert_eq!(lines.lines().count(), 1 + 2 + 3 + 1);
    }

    #[test]
    fn what_was_cut_off_or_changed_is_refused() {
        let text = written(&loaded());
        for end in 0..text.len() {
            let refused = refusal(read(&text[..end]));
            assert!(refused.contains("ends too early"), "{end}: {refused}");
        }
        for at in 0..text.len() {
            for bit in [1, 0x20] {
                let mut changed = text.clone();
                changed[at] ^= bit;
                read(&changed[..]).expect_err(&format!("byte {at} was changed"));
            }
        }
        let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
        for line in 1..lines.len() - 1 {
            let mut fewer = lines.clone();
            fewer.remove(line);
            assert!(refusal(read(&fewer.concat()[..])).contains("it was changed"));
        }
    }

    #[test]
    fn what_is_no_backup_is_refused() {
        let cases: [(&[u8], &str); 4] = [
            (b"", "ends too early, after line 0"),
            (b"hello\n", "is no backup of Groma"),
            (
                b"{\"gromaBackup\":2,\"new\":1}\n",
                "has form 2, written by a newer version",
            ),
            (
                b"{\"gromaBackup\":1}\n",
                "is no backup of Groma: missing field",
            ),
        ];
        for (text, expected) in cases {
            let refused = refusal(read(text));
            assert!(refused.contains(expected), "{refused}");
        }
        let long = io::repeat(b'x');
        let refused = refusal(read(io::BufReader::new(long)));
        assert!(
            refused.contains("line 0 is damaged: it is too long"),
            "{refused}"
        );
    }

    #[test]
    fn a_revision_that_is_kept_can_be_gone_back_to() {
        let keys = |asked| {
            let early = Timestamp::from_second(1).expect("a time");
            let restored = restored(loaded(), asked, early).expect("it is kept");
            assert_eq!(
                (restored.revision, restored.forgotten),
                (13 + AHEAD, 13 + AHEAD)
            );
            let keys = restored.entries.into_iter();
            keys.map(|(key, _)| key.rsplit('/').next().unwrap_or_default().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(keys(None), ["a \"quoted\" name", "s"]);
        assert_eq!(keys(Some(12)), ["a \"quoted\" name", "gone", "s"]);
        assert_eq!(keys(Some(11)), ["a \"quoted\" name", "gone"]);
        assert_eq!(keys(Some(10)), ["a \"quoted\" name"]);
        let later = Timestamp::from_second(1_800_000_000).expect("a time");
        let restored_later = restored(loaded(), None, later).expect("it is kept");
        assert_eq!(restored_later.revision, 1_800_000_000_000_000);
        for asked in [9, 14] {
            let refused = refusal(restored(loaded(), Some(asked), Timestamp::UNIX_EPOCH));
            assert!(refused.contains("expected one from 10 to 13"), "{refused}");
        }
    }
}
