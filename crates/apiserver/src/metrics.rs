//! What is counted and measured, by the names and labels of kube-apiserver, in the text form of OpenMetrics.
//!
//! Labels have values of what is served, never of what clients send: whatever is not served is counted together. What can
//! be read when somebody asks ([`process`], numbers of objects, the audit log) is not kept up to date before.

mod labels;
mod process;

#[cfg(test)]
mod tests;

use std::sync::atomic::Ordering;

use http::{Response, StatusCode};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use self::labels::{Answered, Kind, Level, Sort, Stored};
pub(crate) use self::labels::{Asked, Flow, Rejected, Waited};
use self::process::Process;
use crate::audit::Audit;
use crate::body::{self, Body};
use crate::request::Request;
use crate::server::Server;

/// Where they are read.
pub(crate) const PATH: &str = "/metrics";
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Bounds of durations in seconds, as in Kubernetes.
const SECONDS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0,
    10.0, 15.0, 20.0, 30.0, 45.0, 60.0,
];
/// Bounds of waits for a turn, as in Kubernetes.
const WAITS: [f64; 12] = [
    0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0,
];

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// Everything that is counted.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    durations: Histograms<Asked>,
    sizes: Histograms<Asked>,
    long: Family<Asked, Gauge>,
    inflight: [Gauge; 2],
    watch_events: Family<Kind, Counter>,
    stored: Family<Stored, Gauge>,
    writable: Gauge,
    pub(crate) flows: Flows,
}

/// What is counted of who waits for a turn.
#[derive(Clone, Default)]
pub(crate) struct Flows {
    pub(crate) dispatched: Family<Flow, Counter>,
    pub(crate) rejected: Family<Rejected, Counter>,
    pub(crate) waiting: Family<Flow, Gauge>,
    pub(crate) seats: Family<Flow, Gauge>,
    pub(crate) limits: Family<Level, Gauge>,
    pub(crate) waits: Waits,
}

/// How long requests wait for a turn.
#[derive(Clone)]
pub(crate) struct Waits(pub(crate) Histograms<Waited>);

/// Is one more while it lives.
pub(crate) struct OneMore(Gauge);

impl Metrics {
    pub(crate) fn new(audit: Option<&Audit>, commits: &Histogram) -> Self {
        let seconds: fn() -> Histogram = || Histogram::new(SECONDS);
        let sizes: fn() -> Histogram = || Histogram::new(exponential_buckets(1_000.0, 10.0, 7));
        let kinds: Family<Sort, Gauge> = Family::default();
        let mut metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            durations: Family::new_with_constructor(seconds),
            sizes: Family::new_with_constructor(sizes),
            long: Family::default(),
            inflight: ["readOnly", "mutating"].map(|sort| kinds.get_or_create_owned(&Sort(sort))),
            watch_events: Family::default(),
            stored: Family::default(),
            writable: Gauge::default(),
            flows: Flows::default(),
        };
        metrics.register(kinds);
        metrics.register_storage(commits.clone());
        metrics.flows.register(&mut metrics.registry);
        metrics.registry.register_collector(Box::new(Process));
        if let Some(audit) = audit {
            let counts = Recorded(audit.clone());
            metrics.registry.register_collector(Box::new(counts));
        }
        metrics
    }

    fn register(&mut self, inflight: Family<Sort, Gauge>) {
        let registry = &mut self.registry;
        registry.register(
            "apiserver_request",
            "Requests that were answered",
            self.requests.clone(),
        );
        let help = "How long answers took, until they began where they are streams";
        registry.register(
            "apiserver_request_duration_seconds",
            help,
            self.durations.clone(),
        );
        registry.register(
            "apiserver_response_sizes",
            "Bytes of answers to reads",
            self.sizes.clone(),
        );
        let help = "Watches and what goes through doors, now";
        registry.register("apiserver_longrunning_requests", help, self.long.clone());
        let help = "Requests under way, now";
        registry.register("apiserver_current_inflight_requests", help, inflight);
        let help = "Changes that were sent to watches";
        registry.register("apiserver_watch_events", help, self.watch_events.clone());
    }

    fn register_storage(&mut self, commits: Histogram) {
        let registry = self.registry.sub_registry_with_prefix("apiserver_storage");
        let help = "Objects that are stored, now";
        registry.register("objects", help, self.stored.clone());
        let help = "How long it took until a batch of writes was durable, or refused";
        registry.register("commit_duration_seconds", help, commits);
        let help = "Whether storage took the last write, now";
        registry.register("writable", help, self.writable.clone());
    }

    /// One request is under way.
    pub(crate) fn begin(&self, writes: bool) -> OneMore {
        OneMore::of(&self.inflight[usize::from(writes)])
    }

    /// A request was answered.
    pub(crate) fn answered(
        &self,
        asked: Asked,
        code: StatusCode,
        seconds: f64,
        bytes: Option<u64>,
    ) {
        self.durations.get_or_create(&asked).observe(seconds);
        if let (Some(bytes), "GET" | "LIST") = (bytes, asked.verb) {
            let sizes = self.sizes.get_or_create(&asked.for_any_run());
            // Sizes are far below what a float cannot tell apart.
            sizes.observe(u32::try_from(bytes).map_or(f64::MAX, f64::from));
        }
        let code = code.as_u16();
        self.requests.get_or_create(&Answered { asked, code }).inc();
    }

    /// An answer that is a stream begins.
    pub(crate) fn long(&self, asked: &Asked) -> OneMore {
        OneMore::of(&self.long.get_or_create(&asked.for_any_run()))
    }

    /// Where the changes are counted that a watch is sent.
    pub(crate) fn watch_events(&self, request: &Request) -> Counter {
        self.watch_events.get_or_create_owned(&Kind::of(request))
    }

    /// All of it.
    pub(crate) fn answer(&self, server: &Server) -> Response<Body> {
        let counts: Vec<_> = {
            let state = server.state();
            self.writable.set(state.broken.is_none().into());
            let counts = state.objects.counts();
            counts.map(|(home, n)| (Stored(home.clone()), n)).collect()
        };
        self.stored.clear();
        for (resource, n) in counts {
            let n = i64::try_from(n).unwrap_or(i64::MAX);
            self.stored.get_or_create(&resource).set(n);
        }
        let mut page = String::new();
        match text::encode(&mut page, &self.registry) {
            Ok(()) => body::typed(200, CONTENT_TYPE, page),
            Err(error) => body::typed(500, "text/plain; charset=utf-8", error.to_string()),
        }
    }
}

impl Flows {
    fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("apiserver_flowcontrol");
        let help = "Requests that got their turn";
        registry.register("dispatched_requests", help, self.dispatched.clone());
        let help = "Requests that got no turn";
        registry.register("rejected_requests", help, self.rejected.clone());
        let help = "Requests that wait for their turn, now";
        registry.register("current_inqueue_requests", help, self.waiting.clone());
        let help = "Seats that are taken, now";
        registry.register("current_executing_seats", help, self.seats.clone());
        let help = "Seats of a priority level";
        registry.register("nominal_limit_seats", help, self.limits.clone());
        let help = "How long requests waited for their turn";
        registry.register("request_wait_duration_seconds", help, self.waits.0.clone());
    }

    /// Notes how many seats a level has.
    pub(crate) fn limit(&self, level: &'static str, seats: u32) {
        self.limits.get_or_create(&Level(level)).set(seats.into());
    }
}

impl Default for Waits {
    fn default() -> Self {
        Self(Family::new_with_constructor(|| Histogram::new(WAITS)))
    }
}

impl OneMore {
    pub(crate) fn of(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for OneMore {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// What the audit log counts itself.
struct Recorded(Audit);

impl std::fmt::Debug for Recorded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recorded")
    }
}

impl Collector for Recorded {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counts = self.0.counts();
        let events = ConstCounter::new(counts.events.load(Ordering::Relaxed));
        let help = "Events of the audit log";
        let metric =
            encoder.encode_descriptor("apiserver_audit_event", help, None, MetricType::Counter)?;
        events.encode(metric)?;
        let help = "Events of the audit log that could not be written";
        let mut metric =
            encoder.encode_descriptor("apiserver_audit_error", help, None, MetricType::Counter)?;
        let errors = ConstCounter::new(counts.errors.load(Ordering::Relaxed));
        errors.encode(metric.encode_family(&[("plugin", "log")])?)
    }
}
