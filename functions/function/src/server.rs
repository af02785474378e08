//! The pages that every function has, and its life: serve until SIGTERM, reload on SIGHUP.
//!
//! Connections still open when the end is asked for get [`GRACE`], no more: whoever stops a function waits for it.

use crate::configuration::Configured;
use crate::{Error, Function};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use std::future::Future;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What open connections get before the function ends.
const GRACE: Duration = Duration::from_millis(500);

/// Serves on every address of the namespace until SIGTERM or SIGINT.
pub(crate) async fn run<F: Function>(configured: Configured<F>, port: u16) -> Result<(), Error> {
    let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let listening = TcpListener::bind(address).await;
    let listener = listening.map_err(Error::system(format!("listen on {address}")))?;
    let mut signals = Signals::listen().map_err(Error::system("receive signals"))?;
    let configured = Arc::new(configured);
    crate::log(&format!("{} serves on {address}", F::NAME));
    let serving = serve_until(
        listener,
        router(configured.clone()),
        signals.end(&configured),
    );
    serving.await.map_err(Error::system("serve"))
}

/// The common pages beside the function's own.
pub(crate) fn router<F: Function>(configured: Arc<Configured<F>>) -> Router {
    let common = Router::new()
        .route("/healthz", get(healthz::<F>))
        .route("/config", get(show::<F>).post(reload::<F>))
        .with_state(configured.clone());
    common.merge(configured.function.clone().routes())
}

async fn serve_until(
    listener: TcpListener,
    router: Router,
    end: impl Future<Output = ()>,
) -> io::Result<()> {
    let (tell, told) = tokio::sync::oneshot::channel::<()>();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let serving = axum::serve(listener, service).with_graceful_shutdown(async {
        let _ = told.await;
    });
    let ending = async {
        end.await;
        drop(tell);
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = serving.into_future() => served,
        () = ending => Ok(()),
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Returns when the function is told to end; reloads as often as it is told to before that.
    async fn end<F: Function>(&mut self, configured: &Configured<F>) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => configured.reload_unanswered().await,
            }
        }
    }
}

async fn healthz<F: Function>(
    State(configured): State<Arc<Configured<F>>>,
) -> (StatusCode, String) {
    match configured.refused() {
        None => (StatusCode::OK, "ok".to_owned()),
        Some(refusal) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{refusal}; the previous one stays in force"),
        ),
    }
}

async fn show<F: Function>(State(configured): State<Arc<Configured<F>>>) -> String {
    configured.in_force()
}

async fn reload<F: Function>(State(configured): State<Arc<Configured<F>>>) -> (StatusCode, String) {
    match configured.reload().await {
        Ok(()) => (StatusCode::OK, "reloaded".to_owned()),
        Err(refusal) => (StatusCode::UNPROCESSABLE_ENTITY, refusal.to_string()),
    }
}
