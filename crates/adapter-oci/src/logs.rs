//! What containers wrote, read back: the last lines, a whole run, or on and on as more is written.
//!
//! The shim writes numbered segments and removes the oldest; a reader that finds its segment gone goes on with the oldest
//! that is there.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use adapter::LogOptions;
use api::{Error, ErrorKind};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};

/// How often a follower looks for more.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How much is sent at once, in bytes.
const CHUNK: usize = 32 << 10;

/// The name of a segment of a run's output.
pub(crate) fn segment_name(run: u64, segment: u64) -> String {
    format!("{run}-{segment}")
}

/// All segments, in the order in which they were written.
pub(crate) fn segments(folder: &Path) -> io::Result<Vec<(u64, u64)>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let numbers = name.to_str().and_then(|name| name.split_once('-'));
        if let Some((run, segment)) = numbers
            && let (Ok(run), Ok(segment)) = (run.parse(), segment.parse())
        {
            found.push((run, segment));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Streams what a container wrote.
pub(crate) fn stream(
    folder: PathBuf,
    options: LogOptions,
) -> Result<BoxStream<'static, Result<Bytes, Error>>, Error> {
    let reader = Reader::open(folder, options).map_err(unreadable)?;
    let follow = options.follow && !options.previous;
    let next = move |mut reader: Reader| async move {
        loop {
            match reader.read() {
                Ok(Some(bytes)) => return Some((Ok(bytes), reader)),
                Ok(None) if follow && reader.folder.exists() => {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                Ok(None) => return None,
                Err(error) => {
                    // Ends after the error: the next look finds no folder.
                    reader.folder = PathBuf::new();
                    return Some((Err(unreadable(error)), reader));
                }
            }
        }
    };
    Ok(stream::unfold(reader, next).boxed())
}

fn unreadable(error: io::Error) -> Error {
    Error::caused(ErrorKind::Unavailable, "cannot read the logs", error)
}

/// A place in the output.
struct Reader {
    folder: PathBuf,
    at: Option<Open>,
    /// The last run that is read; later ones only by a follower.
    last_run: u64,
}

struct Open {
    position: (u64, u64),
    file: File,
}

impl Reader {
    fn open(folder: PathBuf, options: LogOptions) -> io::Result<Self> {
        let all = segments(&folder)?;
        let newest = all.last().map(|(run, _)| *run);
        let before = all
            .iter()
            .map(|(run, _)| *run)
            .rfind(|run| Some(*run) != newest);
        let run = if options.previous { before } else { newest };
        let mut reader = Self {
            folder,
            at: None,
            last_run: match (options.follow && !options.previous, run) {
                (true, _) => u64::MAX,
                (false, Some(run)) => run,
                (false, None) => 0,
            },
        };
        let first = all.into_iter().find(|(of, _)| Some(*of) == run);
        if let Some(position) = first {
            reader.at = reader.open_at(position)?;
            if let Some(lines) = options.tail_lines {
                reader.skip_to_last(lines)?;
            }
        }
        Ok(reader)
    }

    fn open_at(&self, position: (u64, u64)) -> io::Result<Option<Open>> {
        match File::open(self.folder.join(segment_name(position.0, position.1))) {
            Ok(file) => Ok(Some(Open { position, file })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The next bytes; `None` if there are none now.
    fn read(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            // Looked up first: once a later segment exists, nothing is added to this one any more.
            let next = self.next_position()?;
            if let Some(open) = &mut self.at {
                let mut buffer = vec![0; CHUNK];
                let count = open.file.read(&mut buffer)?;
                if count > 0 {
                    buffer.truncate(count);
                    return Ok(Some(buffer.into()));
                }
            }
            match next {
                None => return Ok(None),
                Some(position) => {
                    if let Some(open) = self.open_at(position)? {
                        self.at = Some(open);
                    }
                }
            }
        }
    }

    fn next_position(&self) -> io::Result<Option<(u64, u64)>> {
        let here = self.at.as_ref().map(|open| open.position);
        let all = segments(&self.folder)?;
        let later = all.into_iter().find(|position| Some(*position) > here);
        Ok(later.filter(|(run, _)| *run <= self.last_run))
    }

    /// Moves on to where the last lines of what is there begin.
    fn skip_to_last(&mut self, lines: u32) -> io::Result<()> {
        let start = self.at.as_ref().map(|open| open.position);
        let mut ends = Vec::new();
        let mut length = 0;
        while let Some(bytes) = self.read()? {
            let newlines = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
            ends.extend(newlines.map(|(at, _)| length + at as u64 + 1));
            length += bytes.len() as u64;
        }
        // What follows the last newline is a line too.
        let whole = ends.last() == Some(&length);
        let back = lines as usize + usize::from(whole);
        let skipped = match (lines, ends.len().checked_sub(back)) {
            (0, _) => length,
            (_, Some(at)) => ends[at],
            (_, None) => 0,
        };
        self.rewind(start, skipped)
    }

    fn rewind(&mut self, start: Option<(u64, u64)>, mut skipped: u64) -> io::Result<()> {
        let Some(start) = start else { return Ok(()) };
        self.at = self.open_at(start)?;
        while let Some(open) = &mut self.at {
            let length = open.file.metadata()?.len();
            let next = open.position;
            if skipped <= length {
                open.file.seek(SeekFrom::Start(skipped))?;
                return Ok(());
            }
            skipped -= length;
            open.file.seek(SeekFrom::End(0))?;
            match self.next_position()? {
                Some(position) if position > next => self.at = self.open_at(position)?,
                _ => return Ok(()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
