//! What was measured, request by request, and its summary: losses, latency and the longest time without an answer.

use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Its nonce or number.
    pub(crate) name: String,
    /// When it left, counted from the start of the run.
    pub(crate) sent: Duration,
    /// How long the answer took, or why there is none.
    pub(crate) answer: Result<Duration, String>,
}

/// A whole run, in the order of sending.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) samples: Vec<Sample>,
}

/// The figures of a run. Latencies are zero when nothing was answered.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    pub(crate) sent: usize,
    pub(crate) answered: usize,
    pub(crate) lost: usize,
    pub(crate) p50_micros: u128,
    pub(crate) p99_micros: u128,
    pub(crate) max_micros: u128,
    /// The longest time between two answers, or between one and the beginning or the end of sending.
    pub(crate) longest_gap_micros: u128,
    /// Why the first lost request was lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_loss: Option<String>,
}

impl Measured {
    pub(crate) fn summary(&self) -> Summary {
        let mut latencies: Vec<_> = self
            .samples
            .iter()
            .filter_map(|s| s.answer.clone().ok())
            .collect();
        latencies.sort_unstable();
        let first_loss = self
            .samples
            .iter()
            .find_map(|sample| sample.answer.clone().err());
        Summary {
            sent: self.samples.len(),
            answered: latencies.len(),
            lost: self.samples.len() - latencies.len(),
            p50_micros: percentile(&latencies, 50),
            p99_micros: percentile(&latencies, 99),
            max_micros: percentile(&latencies, 100),
            longest_gap_micros: self.longest_gap().as_micros(),
            first_loss,
        }
    }

    fn longest_gap(&self) -> Duration {
        let end = self
            .samples
            .last()
            .map_or(Duration::ZERO, |sample| sample.sent);
        let answered = |sample: &Sample| {
            sample
                .answer
                .as_ref()
                .ok()
                .map(|latency| sample.sent + *latency)
        };
        let mut times: Vec<_> = self.samples.iter().filter_map(answered).collect();
        times.extend([Duration::ZERO, end]);
        times.sort_unstable();
        let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
        gaps.max().unwrap_or_default()
    }
}

/// The smallest latency that is not exceeded by `percent` of a hundred: nearest rank, so it is one that was seen.
fn percentile(sorted: &[Duration], percent: usize) -> u128 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).map_or(0, Duration::as_micros)
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "sent {} answered {} lost {} p50 {} us p99 {} us max {} us longest gap {} us",
            self.sent,
            self.answered,
            self.lost,
            self.p50_micros,
            self.p99_micros,
            self.max_micros,
            self.longest_gap_micros
        )?;
        self.first_loss
            .as_ref()
            .map_or(Ok(()), |why| write!(f, " first loss: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run from pairs of sending time and latency in milliseconds; no latency is a loss.
    fn run(requests: &[(u64, Option<u64>)]) -> Summary {
        let sample = |(sent, latency): &(u64, Option<u64>)| Sample {
            name: String::new(),
            sent: Duration::from_millis(*sent),
            answer: latency
                .map(Duration::from_millis)
                .ok_or_else(|| "nothing came".to_owned()),
        };
        Measured {
            samples: requests.iter().map(sample).collect(),
        }
        .summary()
    }

    #[test]
    fn percentiles_are_latencies_that_were_seen() {
        let requests: Vec<_> = (0..100).map(|n| (n, Some(n + 1))).collect();
        let summary = run(&requests);
        let figures = (summary.p50_micros, summary.p99_micros, summary.max_micros);
        assert_eq!(figures, (50_000, 99_000, 100_000));
    }

    #[test]
    fn gap_is_the_longest_time_without_an_answer() {
        let summary = run(&[
            (0, Some(1)),
            (10, None),
            (20, None),
            (30, Some(1)),
            (40, Some(1)),
        ]);
        assert_eq!(
            (summary.answered, summary.lost, summary.longest_gap_micros),
            (3, 2, 30_000)
        );
        assert_eq!(summary.first_loss.as_deref(), Some("nothing came"));
    }

    #[test]
    fn gap_counts_the_beginning_and_the_end() {
        assert_eq!(
            run(&[(0, None), (50, Some(1)), (60, Some(1))]).longest_gap_micros,
            51_000
        );
        assert_eq!(
            run(&[(0, Some(1)), (50, None), (60, None)]).longest_gap_micros,
            59_000
        );
    }

    #[test]
    fn run_without_an_answer_has_a_summary() {
        let summary = run(&[(0, None), (70, None)]);
        assert_eq!(
            (
                summary.answered,
                summary.p99_micros,
                summary.longest_gap_micros
            ),
            (0, 0, 70_000)
        );
    }
}
