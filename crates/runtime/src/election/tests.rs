//! Two processes and one Lease, in virtual time.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use apiserver::{Identity, Server};
use futures::future::pending;
use http::Request;
use jiff::Timestamp;
use kube::client::Body;
use tower::{ServiceExt, service_fn};

use super::*;
use crate::task::Task;

/// Where they meet.
struct Ground {
    server: Server,
    /// How many work right now, and how many ever did so beside another.
    n_working: Arc<AtomicUsize>,
    n_collisions: Arc<AtomicUsize>,
    /// Whether writes are answered only after [`LATE`].
    answers_late: Arc<AtomicBool>,
}

/// Almost as long as one waits for an answer.
const LATE: Duration = Duration::from_secs(9);

/// One process.
struct Member {
    works: Arc<AtomicBool>,
    is_cut_off: Arc<AtomicBool>,
    stop: Option<oneshot::Sender<()>>,
    task: Task<()>,
}

impl Ground {
    fn new() -> Self {
        Self {
            server: Server::in_memory(Vec::new()),
            n_working: Arc::default(),
            n_collisions: Arc::default(),
            answers_late: Arc::default(),
        }
    }

    fn join(&self, me: &'static str) -> Member {
        let (works, is_cut_off) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        // Each has its own idea of the time.
        let hours = if me == "a" { 0 } else { 5 };
        let clock = Clock::starting_at(Timestamp::from_second(hours * 3600).expect("a time"));
        let election = Election::new(
            self.client(is_cut_off.clone(), self.answers_late.clone()),
            ("default", "work"),
            me,
            clock,
        );
        let (stop, stopped) = oneshot::channel();
        let (n_working, n_collisions) = (self.n_working.clone(), self.n_collisions.clone());
        let state = works.clone();
        let work = move |stopped: oneshot::Receiver<()>| {
            let (works, n_working) = (state.clone(), n_working.clone());
            n_collisions.fetch_add(n_working.fetch_add(1, SeqCst), SeqCst);
            works.store(true, SeqCst);
            let guard = Working { works, n_working };
            async move {
                let _guard = guard;
                let _ = stopped.await;
            }
        };
        let shutdown = async move {
            let _ = stopped.await;
        };
        Member {
            works,
            is_cut_off,
            stop: Some(stop),
            task: spawn(async move {
                election
                    .lead(shutdown, work)
                    .await
                    .expect("work ends when it is told")
            }),
        }
    }

    /// A client whose requests get no answer while it is cut off.
    fn client(&self, is_cut_off: Arc<AtomicBool>, answers_late: Arc<AtomicBool>) -> Client {
        let server = self.server.service_for(Identity::admin("process"));
        let service = service_fn(move |request: Request<Body>| {
            let (server, is_cut_off) = (server.clone(), is_cut_off.clone());
            let answers_late = answers_late.clone();
            async move {
                if is_cut_off.load(SeqCst) {
                    return pending().await;
                }
                let is_write = request.method() != http::Method::GET;
                let answer = server.oneshot(request).await;
                if is_write && answers_late.load(SeqCst) {
                    sleep(LATE).await;
                }
                answer.map_err(|never: Infallible| never)
            }
        });
        Client::new(service, "default")
    }

    async fn lease(&self) -> LeaseSpec {
        let leases: Api<Lease> = Api::namespaced(self.server.client(), "default");
        let lease = leases.get("work").await.expect("there is one");
        lease.spec.expect("it says something")
    }
}

/// Work under way.
struct Working {
    works: Arc<AtomicBool>,
    n_working: Arc<AtomicUsize>,
}

impl Drop for Working {
    fn drop(&mut self) {
        self.works.store(false, SeqCst);
        self.n_working.fetch_sub(1, SeqCst);
    }
}

impl Member {
    fn works(&self) -> bool {
        self.works.load(SeqCst)
    }

    /// How long until it works, or until it does not.
    async fn until(&self, works: bool) -> Duration {
        let begun = Instant::now();
        while self.works() != works {
            sleep(Duration::from_millis(100)).await;
            assert!(begun.elapsed() < Duration::from_secs(60), "never");
        }
        begun.elapsed()
    }
}

#[tokio::test(start_paused = true)]
async fn one_leads_and_another_follows_when_it_is_gone() {
    let ground = Ground::new();
    let first = ground.join("a");
    first.until(true).await;
    let second = ground.join("b");
    sleep(Duration::from_secs(120)).await;
    assert!(first.works() && !second.works());
    let lease = ground.lease().await;
    assert_eq!(lease.holder_identity.as_deref(), Some("a"));
    assert_eq!(lease.lease_transitions, Some(0));
    assert_ne!(lease.acquire_time, lease.renew_time);
    drop(first);
    let waited = second.until(true).await;
    assert!(
        waited > DURATION * 2 - RETRY * 2 && waited < DURATION * 2 + RETRY * 2,
        "{waited:?}"
    );
    assert_eq!(ground.lease().await.lease_transitions, Some(1));
}

#[tokio::test(start_paused = true)]
async fn who_hears_late_that_it_leads_does_not_lead_longer() {
    let ground = Ground::new();
    ground.answers_late.store(true, SeqCst);
    let first = ground.join("a");
    sleep(Duration::from_secs(1)).await;
    let second = ground.join("b");
    first.until(true).await;
    first.is_cut_off.store(true, SeqCst);
    ground.answers_late.store(false, SeqCst);
    second.until(true).await;
    assert_eq!(ground.n_collisions.load(SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn work_that_ends_by_itself_is_an_error() {
    let ground = Ground::new();
    let never = Arc::<AtomicBool>::default;
    let client = ground.client(never(), never());
    let clock = Clock::starting_at(Timestamp::UNIX_EPOCH);
    let election = Election::new(client, ("default", "work"), "a", clock);
    let led = election.lead(pending(), |_| async {}).await;
    assert!(led.is_err());
    assert_eq!(ground.lease().await.holder_identity.as_deref(), Some(""));
}

#[tokio::test(start_paused = true)]
async fn who_ends_gives_the_lease_back() {
    let ground = Ground::new();
    let mut first = ground.join("a");
    first.until(true).await;
    let second = ground.join("b");
    sleep(Duration::from_secs(10)).await;
    first
        .stop
        .take()
        .expect("it runs")
        .send(())
        .expect("it listens");
    assert!(second.until(true).await <= RETRY + Duration::from_secs(1));
    first.task.await.expect("it has ended");
    assert_eq!(ground.n_collisions.load(SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn who_cannot_renew_stops_before_another_begins_and_stands_by() {
    let ground = Ground::new();
    let first = ground.join("a");
    first.until(true).await;
    let second = ground.join("b");
    sleep(Duration::from_secs(10)).await;
    first.is_cut_off.store(true, SeqCst);
    assert!(first.until(false).await <= DEADLINE + RETRY);
    assert!(!second.works());
    second.until(true).await;
    first.is_cut_off.store(false, SeqCst);
    sleep(Duration::from_secs(120)).await;
    assert!(!first.works() && second.works() && !first.task.is_finished());
    assert_eq!(ground.n_collisions.load(SeqCst), 0);
    drop(second);
    first.until(true).await;
}
