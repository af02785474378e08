//! A stateful firewall between the interfaces `left` and `right` of its own network namespace.
//!
//! Rules are a text file ([`rules`]), turned into one nftables ruleset ([`ruleset`]) that is applied in one transaction.
//! What belongs to an accepted connection passes both ways, and so do the ICMPv6 errors that path MTU discovery needs.
//! SIGHUP or `POST /config` reads the file again; a refused one changes nothing and shows at `/healthz`. `/` lists the
//! rules with their counters, which start anew with each ruleset. Connections accepted before a reload go on.
//!
//! Variables: `PORT` (8081), `CONFIG_FILE` (`/etc/firewall/rules`). It needs CAP_NET_ADMIN and the program `nft`.

mod rules;
mod ruleset;

use crate::rules::Rules;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use function::nft::{self, Counter};
use function::{Error, Function, Refusal, forwarding, variable};
use serde::Serialize;
use std::process::ExitCode;
use std::sync::{Arc, PoisonError, RwLock};

struct Firewall {
    /// The status port, which the ruleset keeps open.
    port: String,
    rules: RwLock<Rules>,
}

fn main() -> ExitCode {
    function::main(|| -> Result<Firewall, Error> {
        forwarding::ensure()?;
        Ok(Firewall {
            port: variable("PORT", &Firewall::PORT.to_string()),
            rules: RwLock::default(),
        })
    })
}

impl Function for Firewall {
    const NAME: &'static str = "firewall";
    const PORT: u16 = 8081;
    const CONFIG_FILE: &'static str = "/etc/firewall/rules";
    /// Without rules nobody said what may pass.
    const ABSENT: Option<&'static str> = None;

    async fn apply(&self, text: &str) -> Result<(), Refusal> {
        let rules = Rules::parse(text).map_err(Refusal)?;
        let ruleset = ruleset::text(&rules, &self.port);
        nft::apply(&ruleset)
            .await
            .map_err(|e| Refusal::from(e.to_string()))?;
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
        Ok(())
    }

    fn routes(self: Arc<Self>) -> Router {
        Router::new().route("/", get(status)).with_state(self)
    }
}

#[derive(Serialize)]
struct Status {
    default: String,
    rules: Vec<String>,
    counters: Vec<Counter>,
}

async fn status(
    State(firewall): State<Arc<Firewall>>,
) -> Result<Json<Status>, (StatusCode, String)> {
    let counting = nft::counters(ruleset::TABLE).await;
    let counters = counting.map_err(|e| (StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
    let rules = firewall
        .rules
        .read()
        .unwrap_or_else(PoisonError::into_inner);
    Ok(Json(Status {
        default: rules.default.to_string(),
        rules: rules.list.iter().map(ToString::to_string).collect(),
        counters,
    }))
}
