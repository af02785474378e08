//! A rate limiter per source between the interfaces `left` and `right` of its own network namespace.
//!
//! Limits are a text file ([`limits`]), turned into one nftables ruleset ([`ruleset`]) with a token bucket per source
//! address, applied in one transaction. What is over the limit is dropped and counted; the rest passes untouched.
//! SIGHUP or `POST /config` reads the file again; a refused one changes nothing and shows at `/healthz`. `/` lists the
//! limits with their counters. Counters and buckets start anew with each ruleset.
//!
//! Variables: `PORT` (8082), `CONFIG_FILE` (`/etc/limiter/limits`). It needs CAP_NET_ADMIN and the program `nft`.

mod limits;
mod ruleset;

use crate::limits::Limits;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use function::nft::{self, Counter};
use function::{Error, Function, Refusal, forwarding};
use serde::Serialize;
use std::process::ExitCode;
use std::sync::{Arc, PoisonError, RwLock};

#[derive(Default)]
struct Limiter {
    limits: RwLock<Limits>,
}

fn main() -> ExitCode {
    function::main(|| -> Result<Limiter, Error> {
        forwarding::ensure()?;
        Ok(Limiter::default())
    })
}

impl Function for Limiter {
    const NAME: &'static str = "limiter";
    const PORT: u16 = 8082;
    const CONFIG_FILE: &'static str = "/etc/limiter/limits";
    /// A limiter without limits would only look like one.
    const ABSENT: Option<&'static str> = None;

    async fn apply(&self, text: &str) -> Result<(), Refusal> {
        let limits = Limits::parse(text).map_err(Refusal)?;
        let applying = nft::apply(&ruleset::text(&limits)).await;
        applying.map_err(|e| Refusal::from(e.to_string()))?;
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
        Ok(())
    }

    fn routes(self: Arc<Self>) -> Router {
        Router::new().route("/", get(status)).with_state(self)
    }
}

#[derive(Serialize)]
struct Status {
    limits: Vec<String>,
    counters: Vec<Counter>,
}

async fn status(State(limiter): State<Arc<Limiter>>) -> Result<Json<Status>, (StatusCode, String)> {
    let counting = nft::counters(ruleset::TABLE).await;
    let counters = counting.map_err(|e| (StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
    let limits = limiter
        .limits
        .read()
        .unwrap_or_else(PoisonError::into_inner);
    Ok(Json(Status {
        limits: limits.0.iter().map(ToString::to_string).collect(),
        counters,
    }))
}
