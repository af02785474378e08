//! The files of the log: lines are added to one, which is set aside under the time once it is large enough.
//!
//! The names are those that kube-apiserver gives. The hash of the last line is kept beside the file, after the lines
//! themselves are on disk, so that a log that lost its end is noticed. What a crash left of a line is cut off, and a line
//! says so. What cannot be written is told and counted, and a later line says how many are missing; requests go on.

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::civil::DateTime;
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};

use super::chain::{self, Hash};
use crate::private_file;

/// How the time stands in the name of a file that was set aside.
const TIME: &str = "-%Y-%m-%dT%H-%M-%S%.3f";
/// Letters of that.
const TIME_CHARS: usize = 24;

/// Where the log is, and how much of it is kept.
#[derive(Clone, Debug)]
pub struct Files {
    /// The file that is written.
    pub path: PathBuf,
    /// Bytes after which it is set aside.
    pub bytes_max: u64,
    /// How many files that were set aside are kept; 0 keeps all.
    pub backups_max: usize,
}

/// A log that is open.
pub(super) struct Log {
    files: Files,
    file: File,
    /// Bytes of the file that are whole lines.
    size: u64,
    /// The hash of the last line.
    hash: Hash,
    head: File,
}

/// What was found out when a log was opened.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Bytes of a line that a crash left, and that were cut off.
    pub(super) torn: usize,
    /// The hash of the line that should be there and is not.
    pub(super) cut: Option<Hash>,
}

/// Where the hash of the last line is kept.
pub(crate) fn head_of(log: &Path) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(".head");
    PathBuf::from(name)
}

impl Log {
    /// Opens the log that is there, or begins one.
    pub(super) fn open(files: Files) -> io::Result<(Self, Found)> {
        if let Some(folder) = files.path.parent() {
            private_file::folder(folder)?;
        }
        let file = open(&files.path, true)?;
        let kept = chain::read_head(&files.path)?;
        let mut ends = End::of(&file, kept.as_deref())?;
        let (size, torn) = (ends.whole, ends.torn);
        file.set_len(size)?;
        // A crash may come after the one file and before the first line of the next.
        if let (0, Some(last)) = (size, backups(&files.path)?.pop()) {
            ends = End::of(&File::open(last)?, kept.as_deref())?;
        }
        let found = Found {
            torn,
            cut: kept.clone().filter(|_| !ends.has_head),
        };
        let hash = ends.hash.or(kept);
        let log = Self {
            head: open(&head_of(&files.path), false)?,
            files,
            file,
            size,
            hash: hash.unwrap_or_else(chain::origin),
        };
        Ok((log, found))
    }

    /// Adds events. After an error some of the last may be there and others not.
    pub(super) fn write(&mut self, events: &[String], now: Timestamp) -> io::Result<()> {
        let mut lines = Vec::new();
        let mut hash = self.hash.clone();
        for event in events {
            let begin = lines.len();
            let first = self.size == 0 && begin == 0;
            let next = chain::seal(&mut lines, event, &hash, first);
            if self.size + bytes(lines.len()) <= self.files.bytes_max || first {
                hash = next;
                continue;
            }
            lines.truncate(begin);
            self.append(&lines, &hash)?;
            lines.clear();
            self.rotate(now)?;
            hash = chain::seal(&mut lines, event, &self.hash, true);
        }
        self.append(&lines, &hash)
    }

    /// Brings everything to disk, and then its hash.
    pub(super) fn keep(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.head.seek(SeekFrom::Start(0))?;
        self.head.write_all(self.hash.as_bytes())?;
        self.head.sync_data()
    }

    fn append(&mut self, lines: &[u8], hash: &str) -> io::Result<()> {
        if let Err(error) = self.file.write_all(lines) {
            // What is there of them would look like a line that somebody changed.
            self.file.set_len(self.size)?;
            return Err(error);
        }
        self.size += bytes(lines.len());
        hash.clone_into(&mut self.hash);
        Ok(())
    }

    fn rotate(&mut self, now: Timestamp) -> io::Result<()> {
        self.keep()?;
        let last = backups(&self.files.path)?.pop();
        let aside = backup(&self.files.path, later_than(last.as_deref(), now));
        fs::rename(&self.files.path, aside)?;
        self.file = open(&self.files.path, true)?;
        self.size = 0;
        let all = backups(&self.files.path)?;
        let kept = match self.files.backups_max {
            0 => all.len(),
            max => max,
        };
        for old in all.iter().rev().skip(kept) {
            fs::remove_file(old)?;
        }
        Ok(())
    }
}

/// How the lines of a file end.
struct End {
    hash: Option<Hash>,
    /// Whether the line that was kept as the last is there, or is what the file follows.
    has_head: bool,
    /// Bytes of whole lines.
    whole: u64,
    /// Bytes after them.
    torn: usize,
}

impl End {
    fn of(file: &File, head: Option<&str>) -> io::Result<Self> {
        let mut end = Self {
            hash: None,
            has_head: head.is_none_or(|head| head == chain::origin()),
            whole: 0,
            torn: 0,
        };
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            match line.strip_suffix(b"\n") {
                Some(line) => end.line(line, head),
                None => end.torn = line.len(),
            }
            line.clear();
        }
        Ok(end)
    }

    fn line(&mut self, line: &[u8], head: Option<&str>) {
        self.whole += bytes(line.len() + 1);
        let Some((content, own)) = chain::parts(line) else {
            return;
        };
        if self.hash.is_none() {
            self.has_head |= head.is_some() && chain::previous(content) == head;
        }
        self.has_head |= head == Some(own);
        self.hash = Some(own.to_owned());
    }
}

fn open(path: &Path, append: bool) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .append(append)
        .create(true)
        .truncate(false)
        .mode(private_file::PRIVATE)
        .open(path)
}

fn bytes(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// A time after that of a file: the order of names is the order of the chain, however the clock is set.
fn later_than(last: Option<&Path>, now: Timestamp) -> Timestamp {
    let name = last
        .and_then(Path::file_stem)
        .and_then(|name| name.to_str());
    let time = name.and_then(|name| name.get(name.len().checked_sub(TIME_CHARS)?..));
    let time = time.and_then(|time| DateTime::strptime(TIME, time).ok());
    let last = time.and_then(|time| Offset::UTC.to_timestamp(time).ok());
    last.map_or(now, |last| now.max(last + SignedDuration::from_millis(1)))
}

/// `audit.log` is set aside as `audit-2026-11-29T10-34-37.123.log`.
fn backup(path: &Path, now: Timestamp) -> PathBuf {
    let time = now.strftime(TIME).to_string();
    let mut name = path.file_stem().map_or_else(OsString::new, OsString::from);
    name.push(time);
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// The files that were set aside, the oldest first.
pub(super) fn backups(path: &Path) -> io::Result<Vec<PathBuf>> {
    let sample = backup(path, Timestamp::UNIX_EPOCH);
    let text = |path: &Path| {
        path.file_name()
            .and_then(|name| name.to_str())
            .map(str::to_owned)
    };
    let (Some(sample), Some(stem)) = (text(&sample), path.file_stem().and_then(|it| it.to_str()))
    else {
        return Ok(Vec::new());
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let alike = |name: &str| {
        let mut letters = name.bytes().zip(sample.bytes()).skip(stem.len());
        let form = |byte: u8| if byte.is_ascii_digit() { b'0' } else { byte };
        name.len() == sample.len()
            && name.starts_with(stem)
            && letters.all(|(one, other)| form(one) == form(other))
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let file = entry?.path();
        if text(&file).is_some_and(|name| alike(&name)) {
            found.push(file);
        }
    }
    found.sort();
    Ok(found)
}
