//! A chain of hashes through the lines of a log, over all its files: what was changed, removed, swapped or put in shows.
//!
//! A line is a JSON object whose last member is the SHA-256, in hexadecimal, over the hash of the line before and all that
//! stands before that member. The first line of a file names the hash before it, too, so that a file can be judged when
//! older ones are gone. Nothing here is secret: who may write the files can also write a whole new chain, and is found
//! out only by a hash that was kept elsewhere.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use api::{Error, ErrorKind};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::NOTE_CUT;

/// What stands before the hash of a line.
const HASH: &str = ",\"hash\":\"";
/// What stands before the hash that a file begins after.
const PREVIOUS: &str = ",\"previous\":\"";
/// What ends a line.
const END: &str = "\"}";
/// Letters of a hash.
const HASH_CHARS: usize = 64;
/// The longest line that is read.
pub(crate) const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The hash of a line, in hexadecimal.
pub(crate) type Hash = String;

/// The hash before the first line of all.
pub(crate) fn origin() -> Hash {
    "0".repeat(HASH_CHARS)
}

/// Writes an event as the line after the one with that hash, and answers the line's own.
pub(crate) fn seal(lines: &mut Vec<u8>, event: &str, previous: &str, first: bool) -> Hash {
    let begin = lines.len();
    lines.extend_from_slice(event.strip_suffix('}').unwrap_or(event).as_bytes());
    if first {
        for part in [PREVIOUS, previous, "\""] {
            lines.extend_from_slice(part.as_bytes());
        }
    }
    let hash = hash(previous, &lines[begin..]);
    for part in [HASH, &hash, END, "\n"] {
        lines.extend_from_slice(part.as_bytes());
    }
    hash
}

/// The hash that a line says it has, and what that is about; `None` if it is no line of a chain.
pub(crate) fn parts(line: &[u8]) -> Option<(&[u8], &str)> {
    let rest = line.strip_suffix(END.as_bytes())?;
    let (rest, hash) = rest.split_at_checked(rest.len().checked_sub(HASH_CHARS)?)?;
    let content = rest.strip_suffix(HASH.as_bytes())?;
    Some((content, std::str::from_utf8(hash).ok()?))
}

/// The hash that the content of a file's first line names as the one before it.
pub(crate) fn previous(content: &[u8]) -> Option<&str> {
    let rest = content.strip_suffix(b"\"")?;
    let (rest, hash) = rest.split_at_checked(rest.len().checked_sub(HASH_CHARS)?)?;
    rest.ends_with(PREVIOUS.as_bytes()).then_some(())?;
    std::str::from_utf8(hash).ok()
}

fn hash(previous: &str, content: &[u8]) -> Hash {
    let digest = Sha256::new()
        .chain_update(previous)
        .chain_update(content)
        .finalize();
    let mut text = String::with_capacity(HASH_CHARS);
    for byte in digest {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
    }
    text
}

/// What is known of files whose chain is whole.
#[derive(Debug, PartialEq, Eq)]
pub struct Intact {
    /// How many lines there are.
    pub lines: u64,
    /// Whether the first line is the first of all; otherwise older files are not among those that were given.
    pub from_the_beginning: bool,
    /// Whether a head that was kept beside the last file confirmed that nothing is missing at the end.
    pub end_is_known: bool,
    /// The hash of the last line: whoever keeps it elsewhere can tell later whether the log is still the same.
    pub head: String,
}

/// The first line that is not as it was written.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken {
    /// In which file.
    pub file: PathBuf,
    /// Which line, counted from 1.
    pub line: u64,
    /// What is wrong with it.
    pub why: String,
}

/// Judges the files of one log, the oldest first.
///
/// # Errors
/// When a file cannot be read. That a chain is broken is an answer.
pub fn verify(files: &[PathBuf]) -> Result<Result<Intact, Broken>, Error> {
    let mut walk = Walk::default();
    // Read before the lines: a server that writes meanwhile adds lines first.
    let head = match files.last() {
        Some(last) => read_head(last).map_err(|e| unreadable(&super::log::head_of(last), e))?,
        None => None,
    };
    for file in files {
        match walk.file(file, head.as_deref()) {
            Ok(Ok(())) => {}
            Ok(Err(broken)) => return Ok(Err(broken)),
            Err(error) => return Err(unreadable(file, error)),
        }
    }
    Ok(walk.end(files, head.as_deref()))
}

/// The hash that was kept beside a log.
pub(crate) fn read_head(log: &Path) -> io::Result<Option<Hash>> {
    let head = crate::private_file::read(&super::log::head_of(log))?;
    let head = head.map(|head| head.trim_ascii().to_owned());
    // A log that has just begun has written none.
    Ok(head.filter(|head| !head.is_empty()))
}

fn unreadable(file: &Path, error: io::Error) -> Error {
    let what = format!("cannot read {}", file.display());
    Error::caused(ErrorKind::Unavailable, what, error)
}

#[derive(Default)]
struct Walk {
    hash: Option<Hash>,
    from_the_beginning: bool,
    saw_head: bool,
    lines: u64,
    last: u64,
}

impl Walk {
    fn file(&mut self, file: &Path, head: Option<&str>) -> io::Result<Result<(), Broken>> {
        let mut reader = BufReader::new(File::open(file)?);
        let mut line = Vec::new();
        self.last = 0;
        loop {
            line.clear();
            let limit = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
            if reader.by_ref().take(limit).read_until(b'\n', &mut line)? == 0 {
                return Ok(Ok(()));
            }
            self.last += 1;
            if let Err(why) = self.line(&line, head) {
                return Ok(Err(Broken {
                    file: file.to_owned(),
                    line: self.last,
                    why: why.to_owned(),
                }));
            }
        }
    }

    fn line(&mut self, line: &[u8], head: Option<&str>) -> Result<(), &'static str> {
        let line = line.strip_suffix(b"\n").ok_or("the line has no end")?;
        let (content, own) = parts(line).ok_or("the line carries no hash")?;
        let before = match (&self.hash, previous(content)) {
            (Some(before), Some(named)) if before != named && self.last == 1 => {
                return Err("the file does not begin where the one before it ends");
            }
            (Some(before), _) => before.clone(),
            (None, Some(named)) => named.to_owned(),
            (None, None) => return Err("the first line of the file does not say what it follows"),
        };
        if hash(&before, content) != own {
            return Err("the line does not follow the one before it, or was changed");
        }
        if is_cut(line) {
            return Err("the log had been cut before this line, as the server noted when it began");
        }
        if self.lines == 0 {
            self.from_the_beginning = before == origin();
            self.saw_head = head == Some(&before);
        }
        self.saw_head |= head == Some(own);
        self.lines += 1;
        self.hash = Some(own.to_owned());
        Ok(())
    }

    fn end(self, files: &[PathBuf], head: Option<&str>) -> Result<Intact, Broken> {
        if let (Some(head), Some(file)) = (head, files.last())
            && !self.saw_head
            && head != origin()
        {
            return Err(Broken {
                file: file.clone(),
                line: self.last + 1,
                why: format!("lines are missing at the end: there was one with the hash {head}"),
            });
        }
        Ok(Intact {
            lines: self.lines,
            from_the_beginning: self.from_the_beginning,
            end_is_known: head.is_some(),
            head: self.hash.unwrap_or_else(origin),
        })
    }
}

/// Whether the server noted there that lines before are missing. Read as JSON: bodies of requests stand in lines, too.
fn is_cut(line: &[u8]) -> bool {
    let named = line
        .windows(NOTE_CUT.len())
        .any(|window| window == NOTE_CUT.as_bytes());
    named
        && serde_json::from_slice::<Value>(line)
            .is_ok_and(|event| !event["annotations"][NOTE_CUT].is_null())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Two files of a log as they were written.
    fn written(folder: &Path) -> Vec<PathBuf> {
        let mut hash = origin();
        let files = ["old.log", "new.log"].map(|name| folder.join(name));
        for file in &files {
            let mut lines = Vec::new();
            for n in 0..4 {
                hash = seal(&mut lines, &format!(r#"{{"n":{n}}}"#), &hash, n == 0);
            }
            fs::write(file, lines).unwrap();
        }
        fs::write(super::super::log::head_of(&files[1]), hash).unwrap();
        files.to_vec()
    }

    #[test]
    fn a_log_that_has_just_begun_is_intact() {
        let folder = tempfile::tempdir().unwrap();
        let files = written(folder.path());
        fs::write(super::super::log::head_of(&files[1]), "").unwrap();
        let intact = verify(&files).unwrap().expect("intact");
        assert!(!intact.end_is_known);
    }

    type Lines = Vec<String>;

    #[test]
    fn whatever_was_done_to_lines_shows() {
        type Change = fn(&mut Lines);
        type Place = (usize, u64);
        let cases: [(usize, Change, Option<Place>); 9] = [
            (0, |_| {}, None),
            (
                0,
                |lines| lines[1] = lines[1].replace("\"n\":1", "\"n\":7"),
                Some((0, 2)),
            ),
            (0, |lines| drop(lines.remove(1)), Some((0, 2))),
            (0, |lines| drop(lines.remove(0)), Some((0, 1))),
            (1, |lines| drop(lines.remove(0)), Some((1, 1))),
            (0, |lines| drop(lines.pop()), Some((1, 1))),
            (1, |lines| lines.swap(1, 2), Some((1, 2))),
            (1, |lines| lines.insert(2, lines[1].clone()), Some((1, 3))),
            (1, |lines| drop(lines.pop()), Some((1, 4))),
        ];
        for (n, (file, change, expected)) in cases.into_iter().enumerate() {
            let folder = tempfile::tempdir().unwrap();
            let files = written(folder.path());
            let text = fs::read_to_string(&files[file]).unwrap();
            let mut lines: Lines = text.lines().map(str::to_owned).collect();
            change(&mut lines);
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            fs::write(&files[file], text).unwrap();
            let found = verify(&files).unwrap();
            let found = found.err().map(|broken| (broken.file, broken.line));
            let expected = expected.map(|(file, line)| (files[file].clone(), line));
            assert_eq!(found, expected, "case {n}");
        }
    }

    #[test]
    fn a_file_is_judged_without_those_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let files = written(folder.path());
        let all = verify(&files).unwrap().unwrap();
        assert!(all.from_the_beginning && all.end_is_known);
        assert_eq!(all.lines, 8);
        let last = verify(&files[1..]).unwrap().unwrap();
        assert!(!last.from_the_beginning && last.end_is_known);
        assert_eq!((last.lines, last.head), (4, all.head));
        let first = verify(&files[..1]).unwrap().unwrap();
        assert!(first.from_the_beginning && !first.end_is_known);
        let none = verify(&[folder.path().join("none")]);
        assert!(none.unwrap_err().to_string().starts_with("cannot read"));
    }

    #[test]
    fn a_line_that_is_too_long_is_no_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("long.log");
        for (bytes, is_whole) in [(LINE_BYTES_MAX, true), (LINE_BYTES_MAX + 1, false)] {
            let mut lines = Vec::new();
            seal(&mut lines, r#"{"a":""}"#, &origin(), true);
            let text = String::from("x").repeat(bytes - lines.len());
            lines.clear();
            seal(&mut lines, &format!(r#"{{"a":"{text}"}}"#), &origin(), true);
            fs::write(&file, lines).unwrap();
            assert_eq!(
                verify(std::slice::from_ref(&file)).unwrap().is_ok(),
                is_whole
            );
        }
    }
}
