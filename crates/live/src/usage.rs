//! What a process uses, as the kernel counts it.

use std::fs;

/// Clock ticks per second in `/proc/PID/stat` (proc(5)); the same on every Linux that runs today.
const TICKS: f64 = 100.0;
/// Bytes of a page.
const PAGE: f64 = 4096.0;

/// What one process, or several together, have used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Used {
    /// Seconds of a core, in programs and in the kernel.
    pub cpu: f64,
    /// Megabytes resident.
    pub memory: f64,
}

impl Used {
    /// What a process has used so far; `None` if there is none.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = stat[stat.rfind(')')? + 2..].split(' ').collect();
        let number = |n: usize| fields.get(n)?.parse::<f64>().ok();
        Some(Self {
            cpu: (number(11)? + number(12)?) / TICKS,
            memory: number(21)? * PAGE / 1e6,
        })
    }

    /// What several have used together; one that is gone counts as nothing.
    pub fn of_all(pids: &[u32]) -> Self {
        let each = pids.iter().filter_map(|pid| Self::of(*pid));
        each.fold(Self::default(), |sum, one| Self {
            cpu: sum.cpu + one.cpu,
            memory: sum.memory + one.memory,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_one_that_is_not_there_nothing() {
        let used = Used::of(std::process::id()).expect("it runs");
        assert!(used.memory > 0.1, "{used:?}");
        assert_eq!(Used::of(u32::MAX), None);
    }
}
