//! Many watches, each of its own host: how long they take to open, and how soon the right one hears of a write.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::bench::client::{Connection, Streams};
use crate::bench::load::{Call, Meter, expect, quantile};
use crate::bench::side::Side;
use crate::bench::{Sizes, objects};

/// Watches of one connection; some servers allow no more.
const STREAMS: usize = 100;
/// How long all may take to open.
const OPEN_PATIENCE: Duration = Duration::from_mins(5);
/// How long nothing is written, to see what open watches cost.
const QUIET: Duration = Duration::from_secs(5);
/// How long is written, in proportion to a round's loads.
const WRITE_LOADS: u32 = 5;
/// How long events may come late.
const LATE: Duration = Duration::from_secs(15);
/// Connections that write.
const WRITERS: usize = 32;
/// Where the objects are that are written meanwhile.
const NAMESPACE: &str = "watched";

/// What all watches have heard.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<(usize, f64)>>>);

impl Heard {
    fn with<T>(&self, look: impl FnOnce(&mut Vec<(usize, f64)>) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Opens them, writes, and notes all figures.
pub(super) async fn measure(
    side: &Side,
    sizes: &Sizes,
    mut note: impl FnMut(&str, &'static str, f64),
) -> Result<()> {
    side.make_namespace(NAMESPACE).await?;
    let base = Instant::now();
    let heard = Heard::default();
    let mut watches = JoinSet::new();
    let meter = Meter::start(side);
    let opened = timeout(OPEN_PATIENCE, open(side, sizes, base, &heard, &mut watches)).await;
    let (took, server, _) = meter.read(side);
    // Whoever is too slow is measured with what is open.
    let n_open = opened.map_or_else(
        |_| Ok(watches.len()),
        |opened| opened.map(|()| watches.len()),
    )?;
    note("watches: open", "", n_open as f64);
    note("watches: time to open all", "s", took);
    note("watches: server's CPU to open all", "s", server);
    note("watches: memory", "MB", side.used().memory);
    let meter = Meter::start(side);
    sleep(QUIET.min(sizes.lasts)).await;
    let (took, server, _) = meter.read(side);
    note(
        "watches, nothing written: CPU",
        "% of a core",
        server / took * 100.0,
    );
    let meter = Meter::start(side);
    let lasts = sizes.lasts * WRITE_LOADS;
    let written = write(side, sizes, base, lasts).await?;
    let (took, server, client) = meter.read(side);
    note(
        "watches: writes a second",
        "1/s",
        written.len() as f64 / took,
    );
    note(
        "watches, written: CPU",
        "% of a core",
        server / took * 100.0,
    );
    note(
        "watches, written: client's CPU",
        "% of a core",
        client / took * 100.0,
    );
    note("watches, written: memory", "MB", side.used().memory);
    // Those that are late count as well.
    let begun = Instant::now();
    while heard.with(|heard| heard.len()) < written.len() && begun.elapsed() < LATE {
        sleep(Duration::from_millis(20)).await;
    }
    let heard = heard.with(std::mem::take);
    let (right, wrong) = judge(&written, &heard);
    note(
        "watches: writes that the right one heard",
        "%",
        right * 100.0,
    );
    note("watches: events that were another's", "", wrong as f64);
    let mut delays: Vec<f64> = heard.into_iter().map(|(_, delay)| delay).collect();
    delays.sort_by(f64::total_cmp);
    note("watches: event delay p50", "ms", quantile(&delays, 0.5));
    note("watches: event delay p99", "ms", quantile(&delays, 0.99));
    Ok(())
}

/// The share of writes that were heard by a watch of their host, and how many events no write was for.
fn judge(written: &[usize], heard: &[(usize, f64)]) -> (f64, usize) {
    let mut open: BTreeMap<usize, usize> = BTreeMap::new();
    for host in written {
        *open.entry(*host).or_default() += 1;
    }
    let mut wrong = 0;
    for (host, _) in heard {
        match open.get_mut(host).filter(|left| **left > 0) {
            Some(left) => *left -= 1,
            None => wrong += 1,
        }
    }
    let missed: usize = open.values().sum();
    let share = 1.0 - missed as f64 / written.len().max(1) as f64;
    (share, wrong)
}

/// Opens all watches, those of one connection together.
async fn open(
    side: &Side,
    sizes: &Sizes,
    base: Instant,
    heard: &Heard,
    watches: &mut JoinSet<()>,
) -> Result<()> {
    let mut connections = JoinSet::new();
    for first in (0..sizes.watchers).step_by(STREAMS) {
        let (endpoint, hosts) = (
            side.endpoint.clone(),
            first..sizes.watchers.min(first + STREAMS),
        );
        connections.spawn(async move {
            let streams = endpoint.connect_many().await?;
            let mut opening = JoinSet::new();
            for host in hosts {
                opening.spawn(open_one(streams.clone(), host));
            }
            let mut opened = Vec::new();
            while let Some(watch) = opening.join_next().await {
                opened.push(watch??);
            }
            anyhow::Ok((streams, opened))
        });
    }
    while let Some(opened) = connections.join_next().await {
        let (streams, opened) = opened??;
        for (host, body) in opened {
            watches.spawn(listen(streams.clone(), host, body, base, heard.clone()));
        }
    }
    Ok(())
}

async fn open_one(streams: Streams, host: usize) -> Result<(usize, Incoming)> {
    let selector = format!("fieldSelector=spec.host%3D{}", objects::host(host));
    let from_now = "watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    let path = format!("{}?{from_now}&{selector}", objects::path(NAMESPACE));
    let answer = streams.open(Call::get(path)).await?;
    ensure!(
        answer.status().is_success(),
        "a watch is answered {}",
        answer.status()
    );
    Ok((host, answer.into_body()))
}

/// Notes what a watch hears, until its connection ends.
async fn listen(_streams: Streams, host: usize, mut body: Incoming, base: Instant, heard: Heard) {
    let mut text = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        let now = base.elapsed();
        let Some(data) = frame.data_ref() else {
            continue;
        };
        text.extend_from_slice(data);
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            if let Some(sent) = sent(&line) {
                let delay = now.saturating_sub(sent).as_secs_f64() * 1e3;
                heard.with(|heard| heard.push((host, delay)));
            }
        }
    }
}

/// When the object of an event was sent; `None` if the line is no such event.
fn sent(line: &[u8]) -> Option<Duration> {
    const BEFORE: &[u8] = br#""sent":"#;
    let at = line.windows(BEFORE.len()).position(|part| part == BEFORE)?;
    let digits = line[at + BEFORE.len()..].iter();
    let digits: Vec<u8> = digits
        .take_while(|byte| byte.is_ascii_digit())
        .copied()
        .collect();
    let micros = std::str::from_utf8(&digits).ok()?.parse().ok()?;
    Some(Duration::from_micros(micros))
}

/// Makes objects at the given rate, whether or not the server keeps up; the hosts that they are for.
async fn write(side: &Side, sizes: &Sizes, base: Instant, lasts: Duration) -> Result<Vec<usize>> {
    let (give_back, mut free) = mpsc::channel(WRITERS);
    for _ in 0..WRITERS {
        let connection = side.endpoint.connect().await?;
        give_back.send(connection).await?;
    }
    let n = (lasts.as_secs_f64() * f64::from(sizes.writes)) as usize;
    let mut ticks = interval(Duration::from_secs(1) / sizes.writes);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut writing = JoinSet::new();
    let mut written = Vec::new();
    for at in 0..n {
        ticks.tick().await;
        let connection = free.recv().await.context("connections are given back")?;
        // Each host in turn, in an order that is not that of opening.
        let host = at * 7919 % sizes.watchers;
        written.push(host);
        writing.spawn(write_one(connection, at, host, base, give_back.clone()));
    }
    while let Some(done) = writing.join_next().await {
        done??;
    }
    Ok(written)
}

async fn write_one(
    mut connection: Connection,
    at: usize,
    host: usize,
    base: Instant,
    give_back: mpsc::Sender<Connection>,
) -> Result<()> {
    let name = format!("write-{at}");
    let object = objects::sent(&name, &objects::host(host), base.elapsed().as_micros());
    let call = Call::post(objects::path(NAMESPACE), Bytes::from(object));
    expect(&mut connection, call).await?;
    give_back.send(connection).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_counts_for_one_write() {
        let events = |hosts: &[usize]| hosts.iter().map(|host| (*host, 1.0)).collect::<Vec<_>>();
        assert_eq!(judge(&[1, 2, 2, 3], &events(&[2, 1, 2])), (0.75, 0));
        assert_eq!(judge(&[1, 2], &events(&[1, 1, 2])), (1.0, 1));
    }

    #[test]
    fn finds_when_an_object_was_sent() {
        let line = objects::sent("a", "b", 1_234);
        assert_eq!(sent(line.as_bytes()), Some(Duration::from_micros(1_234)));
        assert_eq!(sent(b"{}"), None);
    }
}
