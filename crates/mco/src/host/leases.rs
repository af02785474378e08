//! Judges hosts by how long this process has seen their Leases stand still.
//!
//! Clocks of hosts are never compared, and a restart evicts nobody: what counts is the time since this process last
//! saw a renewal, or first saw the Lease; who asks since when a host cannot be seen is told no earlier time.
//! A watch that is broken judges nobody, and before a host is called silent the API is asked once more, so that a watch
//! that hangs without an error judges nobody either.
//! Hints are given only when the judgement of a host changes, so that 10,000 hosts that renew cost no pass.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use api::{Host, SYSTEM_NAMESPACE};
use futures::stream::{BoxStream, StreamExt, unfold};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, ResourceExt};
use runtime::{Ctx, ObjectRef};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::warn;

/// A watch that failed is opened again after this time.
const RETRY: Duration = Duration::from_secs(1);

/// What is known of a host's agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It was heard of lately.
    Alive,
    /// It has not been heard of for too long.
    Silent,
    /// It has no Lease.
    Never,
}

/// The Leases of all hosts as this process sees them.
pub struct Leases {
    silence_max: Duration,
    state: Mutex<State>,
    /// Wakes those who wait for the first list.
    listed: Notify,
}

#[derive(Default)]
struct State {
    /// When a list was first complete.
    listed: Option<Timestamp>,
    /// Whether the watch is open, so that silence means something.
    sees: bool,
    hosts: BTreeMap<String, Heard>,
    /// When each host that is not silent becomes so.
    deadlines: BTreeSet<(Instant, String)>,
    /// Hosts of the list that is being read.
    listing: BTreeSet<String>,
}

/// What was last heard of a host.
struct Heard {
    renewed: Option<MicroTime>,
    deadline: Instant,
    /// When it was called silent, if it was.
    silent: Option<Timestamp>,
}

type Events = BoxStream<'static, watcher::Result<watcher::Event<Lease>>>;

struct Watch {
    ctx: Ctx,
    leases: Arc<Leases>,
    api: Api<Lease>,
    events: Events,
    changed: VecDeque<String>,
}

impl Leases {
    /// Nothing is known yet; a host is silent after this time without a renewal.
    pub fn new(silence_max: Duration) -> Self {
        Self {
            silence_max,
            state: Mutex::default(),
            listed: Notify::new(),
        }
    }

    /// What is known of a host; waits until the first list is complete.
    pub async fn sign(&self, host: &str) -> Sign {
        loop {
            // Made before the look, so that the end of the list is not missed.
            let listed = self.listed.notified();
            if self.state().listed.is_some() {
                return self.state().sign(host);
            }
            listed.await;
        }
    }

    /// Since when this process cannot see a host: since it called the host silent, or for one without a Lease since it
    /// could tell that.
    pub(crate) fn unseen_since(&self, host: &str) -> Option<Timestamp> {
        let state = self.state();
        match state.hosts.get(host) {
            Some(heard) => heard.silent,
            None => state.listed,
        }
    }

    /// Watches all Leases; yields each host whose sign changes.
    pub fn watch(self: Arc<Self>, ctx: Ctx) -> BoxStream<'static, ObjectRef> {
        let api = Api::namespaced(ctx.client(), SYSTEM_NAMESPACE);
        let watch = Watch {
            ctx,
            leases: self,
            events: open(&api),
            api,
            changed: VecDeque::new(),
        };
        unfold(watch, async |mut watch| {
            loop {
                if let Some(host) = watch.changed.pop_front() {
                    return Some((ObjectRef::new::<Host>(None, &host), watch));
                }
                watch.advance().await;
            }
        })
        .boxed()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics under this lock")
    }
}

fn open(api: &Api<Lease>) -> Events {
    watcher(api.clone(), watcher::Config::default()).boxed()
}

impl Watch {
    /// Takes one event, or judges those whose time is up.
    async fn advance(&mut self) {
        let deadline = self.leases.state().next_deadline();
        tokio::select! {
            biased;
            event = self.events.next() => match event {
                Some(Ok(event)) => self.take(event),
                Some(Err(error)) => self.broken(&api::chain(&error)).await,
                None => self.broken("it ended").await,
            },
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => self.judge().await,
        }
    }

    fn take(&mut self, event: watcher::Event<Lease>) {
        let (silence_max, now) = (self.leases.silence_max, self.ctx.now());
        let mut state = self.leases.state();
        match event {
            watcher::Event::Init => state.listing.clear(),
            watcher::Event::InitApply(lease) => {
                state.listing.insert(lease.name_any());
                self.changed.extend(state.heard(&lease, silence_max));
            }
            watcher::Event::InitDone => {
                self.changed.extend(state.end_list(silence_max, now));
                self.leases.listed.notify_waiters();
            }
            watcher::Event::Apply(lease) => self.changed.extend(state.heard(&lease, silence_max)),
            watcher::Event::Delete(lease) => self.changed.extend(state.gone(&lease.name_any())),
        }
    }

    /// Nobody is judged until the watch has listed again.
    async fn broken(&mut self, why: &str) {
        warn!(error = why, "watch of leases broken");
        self.leases.state().sees = false;
        sleep(RETRY).await;
        self.events = open(&self.api);
    }

    /// Calls those silent whose time is up, if the API still says what the watch said last.
    async fn judge(&mut self) {
        let Some(due) = self.leases.state().first_due() else {
            return;
        };
        let live = self.api.get_opt(&due).await;
        let stale = match &live {
            Ok(lease) => !self.leases.state().knows(&due, lease.as_ref()),
            Err(_) => true,
        };
        if stale {
            self.broken("it is behind the API").await;
            return;
        }
        let silent = self.leases.state().silence_due(self.ctx.now());
        self.changed.extend(silent);
    }
}

impl State {
    fn sign(&self, host: &str) -> Sign {
        match self.hosts.get(host) {
            None => Sign::Never,
            Some(heard) if heard.silent.is_some() => Sign::Silent,
            Some(_) => Sign::Alive,
        }
    }

    /// Takes the state of a Lease; returns the host if its sign changed.
    fn heard(&mut self, lease: &Lease, silence_max: Duration) -> Option<String> {
        let host = lease.name_any();
        let renewed = renewed(lease);
        let known = self.hosts.get(&host);
        if known.is_some_and(|heard| heard.renewed == renewed) {
            return None;
        }
        let before = self.sign(&host);
        self.set(&host, renewed, Instant::now() + silence_max);
        (before != Sign::Alive).then_some(host)
    }

    fn set(&mut self, host: &str, renewed: Option<MicroTime>, deadline: Instant) {
        self.gone(host);
        self.deadlines.insert((deadline, host.to_owned()));
        let heard = Heard {
            renewed,
            deadline,
            silent: None,
        };
        self.hosts.insert(host.to_owned(), heard);
    }

    fn gone(&mut self, host: &str) -> Option<String> {
        let heard = self.hosts.remove(host)?;
        self.deadlines.remove(&(heard.deadline, host.to_owned()));
        Some(host.to_owned())
    }

    /// While the watch was broken nothing could be heard, so the time of all who were not silent begins anew.
    fn end_list(&mut self, silence_max: Duration, now: Timestamp) -> Vec<String> {
        let listed = std::mem::take(&mut self.listing);
        let known: Vec<String> = self.hosts.keys().cloned().collect();
        let (kept, lost): (Vec<String>, Vec<String>) =
            known.into_iter().partition(|host| listed.contains(host));
        for host in &lost {
            self.gone(host);
        }
        for host in &kept {
            if self.sign(host) != Sign::Alive {
                continue;
            }
            let renewed = self.hosts.get(host).and_then(|heard| heard.renewed.clone());
            self.set(host, renewed, Instant::now() + silence_max);
        }
        self.listed.get_or_insert(now);
        self.sees = true;
        lost
    }

    fn next_deadline(&self) -> Option<Instant> {
        let first = self.deadlines.first().filter(|_| self.sees);
        first.map(|(deadline, _)| *deadline)
    }

    fn first_due(&self) -> Option<String> {
        let first = self.deadlines.first().filter(|_| self.sees);
        first
            .filter(|(deadline, _)| *deadline <= Instant::now())
            .map(|(_, host)| host.clone())
    }

    /// Whether what the API has is what the watch showed last.
    fn knows(&self, host: &str, lease: Option<&Lease>) -> bool {
        let known = self.hosts.get(host);
        match (known, lease) {
            (Some(heard), Some(lease)) => heard.renewed == renewed(lease),
            (None, None) => true,
            _ => false,
        }
    }

    fn silence_due(&mut self, now: Timestamp) -> Vec<String> {
        let mut silent = Vec::new();
        while let Some((deadline, host)) = self.deadlines.first().cloned() {
            if deadline > Instant::now() {
                break;
            }
            self.deadlines.pop_first();
            if let Some(heard) = self.hosts.get_mut(&host) {
                heard.silent = Some(now);
            }
            silent.push(host);
        }
        silent
    }
}

fn renewed(lease: &Lease) -> Option<MicroTime> {
    lease.spec.as_ref()?.renew_time.clone()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::coordination::v1::LeaseSpec;
    use tokio::time::advance;

    use super::*;

    const MAX: Duration = Duration::from_secs(6);
    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn lease(host: &str, second: i64) -> Lease {
        let time = jiff::Timestamp::from_second(second).unwrap();
        let mut lease = Lease::default();
        lease.metadata.name = Some(host.to_owned());
        lease.spec = Some(LeaseSpec {
            renew_time: Some(MicroTime(time)),
            ..LeaseSpec::default()
        });
        lease
    }

    fn listed(hosts: &[&str]) -> State {
        let mut state = State::default();
        for host in hosts {
            state.listing.insert((*host).to_owned());
            state.heard(&lease(host, 1), MAX);
        }
        state.end_list(MAX, NOW);
        state
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_is_silent_once_its_lease_has_stood_still_for_too_long() {
        let mut state = listed(&["a", "b"]);
        advance(Duration::from_secs(5)).await;
        assert_eq!(
            state.heard(&lease("a", 99), MAX),
            None,
            "no news: it was alive"
        );
        assert_eq!(state.heard(&lease("b", 1), MAX), None, "not renewed");
        advance(Duration::from_secs(1)).await;
        assert_eq!(state.silence_due(NOW), ["b"]);
        assert_eq!(
            (state.sign("a"), state.sign("b")),
            (Sign::Alive, Sign::Silent)
        );
        assert_eq!(state.silence_due(NOW), [] as [String; 0], "told once");
        assert_eq!(
            state.heard(&lease("b", 2), MAX).as_deref(),
            Some("b"),
            "it is back"
        );
        assert_eq!(state.sign("b"), Sign::Alive);
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_watch_is_broken_time_does_not_count() {
        let mut state = listed(&["a"]);
        state.sees = false;
        advance(Duration::from_secs(60)).await;
        assert_eq!(state.next_deadline(), None);
        state.listing.insert("a".into());
        assert_eq!(state.end_list(MAX, NOW), [] as [String; 0]);
        assert_eq!(
            state.silence_due(NOW),
            [] as [String; 0],
            "its time began anew"
        );
        advance(MAX).await;
        assert_eq!(state.silence_due(NOW), ["a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_is_gone_is_no_sign() {
        let mut state = listed(&["a", "b"]);
        state.listing.insert("b".into());
        assert_eq!(state.end_list(MAX, NOW), ["a"]);
        assert_eq!(state.sign("a"), Sign::Never);
        assert_eq!(state.gone("b").as_deref(), Some("b"));
        assert_eq!(state.next_deadline(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_the_watch_did_not_show_means_that_the_watch_is_behind() {
        let state = listed(&["a"]);
        assert!(state.knows("a", Some(&lease("a", 1))));
        assert!(!state.knows("a", Some(&lease("a", 2))));
        assert!(!state.knows("a", None));
    }
}
