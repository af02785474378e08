//! What a container writes, in numbered files of limited size: `RUN-SEGMENT`.
//!
//! Nothing is ever renamed, so a reader that follows simply goes on with the next number. Old segments of a run and old
//! runs are removed here.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The size at which a new segment begins, in bytes.
const SEGMENT_BYTES: u64 = 1 << 20;

/// The most segments of a run that are kept.
const SEGMENTS_MAX: u64 = 4;

/// The most runs whose output is kept: this one and the one before.
const RUNS_MAX: usize = 2;

/// The output of one run.
#[derive(Debug)]
pub(super) struct Output {
    folder: PathBuf,
    run: u64,
    segment: u64,
    file: File,
    written: u64,
}

impl Output {
    /// Begins the output of a run.
    pub(super) fn open(folder: PathBuf, run: u64) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        let file = File::create(path(&folder, run, 0))?;
        forget_runs(&folder)?;
        Ok(Self {
            folder,
            run,
            segment: 0,
            file,
            written: 0,
        })
    }

    /// Adds to it.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.written >= SEGMENT_BYTES {
            self.rotate()?;
        }
        self.file.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.segment += 1;
        self.file = File::create(path(&self.folder, self.run, self.segment))?;
        self.written = 0;
        if let Some(old) = self.segment.checked_sub(SEGMENTS_MAX) {
            fs::remove_file(path(&self.folder, self.run, old))?;
        }
        Ok(())
    }
}

fn path(folder: &Path, run: u64, segment: u64) -> PathBuf {
    folder.join(crate::logs::segment_name(run, segment))
}

fn forget_runs(folder: &Path) -> io::Result<()> {
    let segments = crate::logs::segments(folder)?;
    let mut runs: Vec<u64> = segments.iter().map(|(run, _)| *run).collect();
    runs.dedup();
    let excess = runs.len().saturating_sub(RUNS_MAX);
    for (run, segment) in segments {
        if runs[..excess].contains(&run) {
            fs::remove_file(path(folder, run, segment))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_segments_of_the_last_runs_are_kept() {
        let place = tempfile::tempdir().expect("a folder");
        let chunk = vec![b'x'; usize::try_from(SEGMENT_BYTES).expect("small")];
        for run in [1, 4, 9] {
            let mut output = Output::open(place.path().to_owned(), run).expect("opened");
            for _ in 0..SEGMENTS_MAX + 2 {
                output.write(&chunk).expect("written");
            }
        }
        let kept = crate::logs::segments(place.path()).expect("listed");
        let of_run = |run| (2..6).map(move |segment| (run, segment));
        assert_eq!(kept, of_run(4).chain(of_run(9)).collect::<Vec<_>>());
    }
}
