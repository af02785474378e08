//! An HTTP application that says where it runs and whom it answered: the end of a chain in demos and tests.
//!
//! | page | answer |
//! | --- | --- |
//! | `/` | the greeting of its configuration, with its instance and site |
//! | `/echo?nonce=X` | `{nonce, instance, site, peer}` as JSON; the same goes to the log, as proof of arrival |
//! | `/healthz` | 200 |
//! | `/config` | its configuration file; `POST` reads it again, 422 when it is refused |
//!
//! Variables: `INSTANCE` and `SITE` name what it says of itself, `PORT` (8080) its port, `CONFIG_FILE`
//! (`/etc/http-app/config.json`) its configuration. It keeps no state and calls nobody.

mod settings;

use crate::settings::Settings;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use function::{Error, Function, Refusal, variable};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, PoisonError, RwLock};

/// The longest nonce that is echoed: it goes to the log.
const NONCE_MAX: usize = 128;

struct App {
    instance: String,
    site: String,
    settings: RwLock<Settings>,
}

fn main() -> ExitCode {
    function::main(|| -> Result<App, Error> {
        Ok(App {
            instance: variable("INSTANCE", "unnamed"),
            site: variable("SITE", "nowhere"),
            settings: RwLock::default(),
        })
    })
}

impl Function for App {
    const NAME: &'static str = "http-app";
    const PORT: u16 = 8080;
    const CONFIG_FILE: &'static str = "/etc/http-app/config.json";
    const ABSENT: Option<&'static str> = Some("{}");

    async fn apply(&self, text: &str) -> Result<(), Refusal> {
        let settings = Settings::parse(text)?;
        *self
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner) = settings;
        Ok(())
    }

    fn routes(self: Arc<Self>) -> Router {
        Router::new()
            .route("/", get(greet))
            .route("/echo", get(echo))
            .with_state(self)
    }
}

async fn greet(State(app): State<Arc<App>>) -> String {
    let settings = app.settings.read().unwrap_or_else(PoisonError::into_inner);
    format!(
        "{} from {} at {}\n",
        settings.greeting, app.instance, app.site
    )
}

#[derive(Deserialize)]
struct Asked {
    nonce: String,
}

#[derive(Serialize)]
struct Echo {
    nonce: String,
    instance: String,
    site: String,
    peer: SocketAddr,
}

async fn echo(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Query(asked): Query<Asked>,
) -> Result<Json<Echo>, (StatusCode, String)> {
    check_nonce(&asked.nonce).map_err(|problem| (StatusCode::BAD_REQUEST, problem))?;
    function::log(&format!("echo nonce={} peer={peer}", asked.nonce));
    Ok(Json(Echo {
        nonce: asked.nonce,
        instance: app.instance.clone(),
        site: app.site.clone(),
        peer,
    }))
}

/// A nonce is one word of printable characters, so that nobody can write log lines of their own.
fn check_nonce(nonce: &str) -> Result<(), String> {
    let printable = nonce.bytes().all(|byte| byte.is_ascii_graphic());
    if printable && (1..=NONCE_MAX).contains(&nonce.len()) {
        return Ok(());
    }
    Err(format!(
        "nonce must be 1 to {NONCE_MAX} printable ASCII characters without a space"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonce_cannot_forge_a_log_line() {
        for refused in [
            "",
            "a b",
            "a\necho nonce=forged",
            "é",
            &"x".repeat(NONCE_MAX + 1),
        ] {
            assert!(check_nonce(refused).is_err(), "{refused:?}");
        }
        for accepted in ["demo-1", &"x".repeat(NONCE_MAX)] {
            assert_eq!(check_nonce(accepted), Ok(()), "{accepted:?}");
        }
    }
}
