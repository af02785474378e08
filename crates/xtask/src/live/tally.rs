//! Counts tests from the output of Rust's test harness: passed, failed, and skipped with the reason.
//!
//! The harness knows no skipping at run time: such a test is `ok`, and a line `skipped: REASON` is in its output or was
//! noted in a file, which does not know the test's name.

use std::fmt;

const SKIPPED: &str = "skipped: ";

/// What the lines so far amount to.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    passed: usize,
    failed: usize,
    /// Test and reason.
    skipped: Vec<(String, String)>,
    /// The test whose output is being read.
    current: String,
}

impl Tally {
    /// Takes one line of the harness's output.
    pub(crate) fn read(&mut self, line: &str) {
        if let Some(name) = line
            .strip_prefix("---- ")
            .and_then(|rest| rest.strip_suffix(" stdout ----"))
        {
            self.current = name.to_owned();
        } else if let Some(reason) = line.strip_prefix(SKIPPED) {
            self.skipped.push((self.current.clone(), reason.to_owned()));
        } else if let Some((name, reason)) = ignored(line) {
            self.skipped.push((name.to_owned(), reason.to_owned()));
            // The harness does not count an ignored test as passed; the reading below takes skipped ones off.
            self.passed += 1;
        } else if line.starts_with("test ") {
            self.passed += usize::from(line.ends_with(" ... ok"));
            self.failed += usize::from(line.ends_with(" ... FAILED"));
        }
    }

    /// Takes one line of the file in which skipped tests are noted.
    pub(crate) fn read_noted(&mut self, line: &str) {
        if let Some(reason) = line.strip_prefix(SKIPPED) {
            self.skipped.push(("a test".to_owned(), reason.to_owned()));
        }
    }
}

/// Name and reason of a test that is marked as ignored.
fn ignored(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.strip_prefix("test ")?.split_once(" ... ignored")?;
    Some((name, rest.strip_prefix(", ").unwrap_or("marked as ignored")))
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, reason) in &self.skipped {
            writeln!(f, "skipped {name}: {reason}")?;
        }
        let (n_skipped, n_failed) = (self.skipped.len(), self.failed);
        let n_passed = self.passed.saturating_sub(n_skipped);
        write!(
            f,
            "{n_passed} passed, {n_failed} failed, {n_skipped} skipped"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_tests_are_not_counted_as_passed() {
        let output = "\
running 5 tests
test a ... ok
test e ... ok
test b ... FAILED
test c ... ok
test d ... ignored, needs KVM

successes:

---- c stdout ----
skipped: not root

test result: FAILED. 3 passed; 1 failed; 1 ignored";
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally.read(line));
        tally.read_noted("skipped: no Go");
        assert_eq!(
            tally.to_string(),
            "skipped d: needs KVM\nskipped c: not root\nskipped a test: no Go\n1 passed, 1 failed, 3 skipped"
        );
    }
}
