//! How many requests, when, how long each may take, and how the result is printed: the same for every protocol.

use crate::measure::{Measured, Sample};
use clap::Args;
use std::time::Duration;

/// The most requests of one run: each is kept as a sample.
const COUNT_MAX: u64 = 10_000_000;

#[derive(Args)]
pub(crate) struct Schedule {
    /// How many requests to send
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=COUNT_MAX))]
    count: u64,
    /// Milliseconds between two requests
    #[arg(long, default_value_t = 100.0, value_parser = milliseconds, conflicts_with = "rate")]
    interval: f64,
    /// Requests in a second, instead of --interval
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: Option<u32>,
    /// Milliseconds after which a request without an answer is lost
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    timeout: u64,
    /// Print the summary as one line of JSON
    #[arg(long)]
    json: bool,
    /// Print one line per request before the summary
    #[arg(long)]
    lines: bool,
}

impl Schedule {
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout)
    }

    /// When request number `n` leaves, counted from the start.
    pub(crate) fn offset(&self, n: u64) -> Duration {
        let rate = self.rate.map(f64::from);
        let seconds = rate.map_or(self.interval / 1_000.0, |rate| 1.0 / rate);
        Duration::from_secs_f64(seconds * n as f64)
    }

    pub(crate) fn print(&self, measured: &Measured) {
        if self.lines {
            measured.samples.iter().for_each(print_line);
        }
        let summary = measured.summary();
        match serde_json::to_string(&summary) {
            Ok(json) if self.json => println!("{json}"),
            _ => println!("{summary}"),
        }
    }
}

fn print_line(sample: &Sample) {
    let at = sample.sent.as_micros();
    match &sample.answer {
        Ok(latency) => println!(
            "{} at={at}us latency={}us",
            sample.name,
            latency.as_micros()
        ),
        Err(why) => println!("{} at={at}us lost: {why}", sample.name),
    }
}

fn milliseconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if (0.01..=60_000.0).contains(&value) => Ok(value),
        _ => Err("expected 0.01 to 60000".to_owned()),
    }
}
