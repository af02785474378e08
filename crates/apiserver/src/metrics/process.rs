//! What the kernel tells of this process, in the metrics that every Prometheus client has.
//!
//! Read from `/proc` when somebody asks. What cannot be read is left out.

use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use rustix::param::{clock_ticks_per_second, page_size};

/// The fields of `/proc/self/stat` after the program's name, which may hold spaces (proc_pid_stat(5)).
const UTIME: usize = 11;
const STIME: usize = 12;
const STARTTIME: usize = 19;
const RSS: usize = 21;

#[derive(Debug)]
pub(super) struct Process;

/// What is measured.
#[derive(Debug, PartialEq)]
struct Measured {
    cpu_seconds: f64,
    resident_bytes: f64,
    start_seconds: f64,
}

impl Measured {
    fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let boot = fs::read_to_string("/proc/stat").ok()?;
        let second = clock_ticks_per_second();
        Self::of(
            &stat,
            &boot,
            float(second),
            float(u64::try_from(page_size()).ok()?),
        )
    }

    fn of(stat: &str, boot: &str, ticks: f64, page: f64) -> Option<Self> {
        let (_, fields) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        let field = |n: usize| fields.get(n)?.parse::<u64>().ok().map(float);
        let booted = boot.lines().find_map(|line| line.strip_prefix("btime "))?;
        let booted = float(booted.trim().parse().ok()?);
        Some(Self {
            cpu_seconds: (field(UTIME)? + field(STIME)?) / ticks,
            resident_bytes: field(RSS)? * page,
            start_seconds: booted + field(STARTTIME)? / ticks,
        })
    }
}

/// Exact up to 2^53, which no time or size here reaches.
#[allow(
    clippy::cast_precision_loss,
    reason = "metrics are floats, and these numbers are small"
)]
fn float(n: u64) -> f64 {
    n as f64
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut gauge = |name, help, value: f64| {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(metric)
        };
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            let open = float(u64::try_from(open.count()).unwrap_or(u64::MAX));
            gauge("process_open_fds", "Files that are open", open)?;
        }
        let Some(measured) = Measured::read() else {
            return Ok(());
        };
        let help = "Memory that is held";
        gauge(
            "process_resident_memory_bytes",
            help,
            measured.resident_bytes,
        )?;
        let help = "When the process began, in seconds since 1970";
        gauge("process_start_time_seconds", help, measured.start_seconds)?;
        let help = "Time of processors that was used";
        let cpu = "process_cpu_seconds";
        let metric = encoder.encode_descriptor(cpu, help, None, MetricType::Counter)?;
        ConstCounter::new(measured.cpu_seconds).encode(metric)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_numbers_are_read_whatever_the_program_is_called() {
        let stat =
            "7 (a) b) S 1 7 7 0 -1 4194560 900 0 0 0 250 50 0 0 20 0 3 0 1000 9000000 25 18446";
        let measured = Measured::of(stat, "cpu 1\nbtime 1700000000\n", 100.0, 4096.0);
        let expected = Measured {
            cpu_seconds: 3.0,
            resident_bytes: 102_400.0,
            start_seconds: 1_700_000_010.0,
        };
        assert_eq!(measured, Some(expected));
        assert_eq!(Measured::of("7 (a", "btime 1", 1.0, 1.0), None);
        assert!(Measured::read().is_some());
    }
}
