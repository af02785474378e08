//! `/livez`, `/readyz` and `/healthz`, as kube-apiserver answers them: text, one check or all, told one by one if asked.
//!
//! A server lives as long as it answers, and is ready as long as storage takes writes; if storage lacked something, it is
//! tried anew when somebody asks. Why a check fails is for the log: anyone may ask.

use http::{HeaderName, HeaderValue, Response};

use crate::body::{self, Body};
use crate::failure::{Failure, quoted};
use crate::query::{Allowed, Query};
use crate::server::Server;

const TEXT: &str = "text/plain; charset=utf-8";
const NOSNIFF: HeaderName = HeaderName::from_static("x-content-type-options");

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    /// Whether anything is answered.
    Ping,
    /// Whether writes are taken.
    Storage,
}

/// What a path asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Asked<'a> {
    /// Such as `readyz`.
    name: &'a str,
    checks: &'static [Check],
    /// Only one of them.
    one: Option<&'a str>,
}

impl<'a> Asked<'a> {
    /// `None` if the path is not about health.
    pub(crate) fn of(path: &'a str) -> Option<Self> {
        let path = path.strip_prefix('/')?;
        let (name, one) = match path.split_once('/') {
            Some((name, one)) => (name, Some(one)),
            None => (path, None),
        };
        let checks: &[Check] = match name {
            "livez" => &[Check::Ping],
            "readyz" | "healthz" => &[Check::Ping, Check::Storage],
            _ => return None,
        };
        Some(Self { name, checks, one })
    }

    pub(crate) fn answer(&self, server: &Server, query: &str) -> Result<Response<Body>, Failure> {
        let query = Query::parse(query, Allowed::Health)?;
        let Some(one) = self.one else {
            return Ok(self.all(server, &query));
        };
        let check = self.checks.iter().find(|check| check.name() == one);
        let check = check.ok_or_else(Failure::no_such_path)?;
        Ok(match check.fails(server) {
            None => text(200, "ok".to_owned()),
            Some(why) => text(500, format!("internal server error: {why}\n")),
        })
    }

    fn all(&self, server: &Server, query: &Query) -> Response<Body> {
        let name = self.name;
        let mut told = String::new();
        let mut failed = false;
        for check in self.checks {
            let check_name = check.name();
            let line = match check.fails(server) {
                _ if query.excluded.iter().any(|it| it == check_name) => {
                    format!("[+]{check_name} excluded: ok\n")
                }
                None => format!("[+]{check_name} ok\n"),
                Some(_) => {
                    failed = true;
                    format!("[-]{check_name} failed: reason withheld\n")
                }
            };
            told.push_str(&line);
        }
        let unknown = self.unknown(query);
        if !unknown.is_empty() {
            let names = unknown.join(",");
            told.push_str(&format!(
                "warn: some health checks cannot be excluded: no matches for {names}\n"
            ));
        }
        match (failed, query.verbose) {
            (true, _) => text(500, format!("{told}{name} check failed\n")),
            (false, true) => text(200, format!("{told}{name} check passed\n")),
            (false, false) => text(200, "ok".to_owned()),
        }
    }

    /// What is to be left out and is not there, in quotes and in order.
    fn unknown(&self, query: &Query) -> Vec<String> {
        let known = |name: &str| self.checks.iter().any(|check| check.name() == name);
        let unknown = query.excluded.iter().filter(|name| !known(name));
        let mut unknown: Vec<String> = unknown.map(|name| quoted(name)).collect();
        unknown.sort();
        unknown.dedup();
        unknown
    }
}

impl Check {
    fn name(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Storage => "storage",
        }
    }

    fn fails(self, server: &Server) -> Option<&'static str> {
        match self {
            Self::Ping => None,
            Self::Storage if server.replica().is_some_and(|replica| !replica.is_ready()) => {
                Some("what other servers write is not heard")
            }
            Self::Storage => {
                let broken = server.state().broken.is_some();
                // Whoever waits for it may be the only one who asks.
                server.engine().probe();
                broken.then_some("storage takes no writes")
            }
        }
    }
}

fn text(code: u16, text: String) -> Response<Body> {
    let mut response = body::typed(code, TEXT, text);
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(NOSNIFF, nosniff);
    response
}
