//! What the programs of a laboratory use: CPU over a few seconds, resident memory at their end.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::Result;
use live::usage::Used;
use tokio::time::sleep;

use crate::groma::Groma;

/// How long CPU is counted.
const WINDOW: Duration = Duration::from_secs(3);

/// What one sort of program uses: the mean over all of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Share {
    /// Per cent of a core.
    pub cpu: f64,
    /// Megabytes resident.
    pub memory: f64,
}

/// What all sorts use.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub serve: Share,
    pub agent: Share,
    pub shim: Share,
}

/// Measures the programs of a laboratory.
pub async fn usage(groma: &Groma) -> Result<Usage> {
    let before = programs(groma);
    sleep(WINDOW).await;
    let after = programs(groma);
    let share = |sort: &str| {
        let of_sort: Vec<_> = after
            .iter()
            .filter(|((_, found), _)| found == sort)
            .collect();
        if of_sort.is_empty() {
            return Share::default();
        }
        let n = of_sort.len() as f64;
        let used = |(key, now): &(&(u32, String), &Used)| {
            now.cpu - before.get(*key).map_or(now.cpu, |then| then.cpu)
        };
        let cpu = of_sort.iter().map(used).sum::<f64>() / WINDOW.as_secs_f64() * 100.0 / n;
        Share {
            cpu,
            memory: of_sort.iter().map(|(_, now)| now.memory).sum::<f64>() / n,
        }
    };
    Ok(Usage {
        serve: share("serve"),
        agent: share("agent"),
        shim: share("shim"),
    })
}

/// What each program has used so far, by process and sort.
fn programs(groma: &Groma) -> BTreeMap<(u32, String), Used> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return BTreeMap::new();
    };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| Some(((pid, sort(groma, pid)?), Used::of(pid)?)))
        .collect()
}

/// The first argument of a program of ours: `serve`, `agent` or `shim`.
fn sort(groma: &Groma, pid: u32) -> Option<String> {
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
    let sort = line.split('\0').nth(1)?.to_owned();
    (["serve", "agent", "shim"].contains(&sort.as_str()) && line.contains(&groma.mark()))
        .then_some(sort)
}
