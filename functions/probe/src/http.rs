//! Requests to an HTTP application, each over a connection of its own and with a nonce of its own.
//!
//! An answer counts only when its status is 200 and it carries the nonce: somebody else's page is no proof.

use crate::measure::{Measured, Sample};
use crate::schedule::Schedule;
use function::{Error, client};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The most requests in flight; beyond it sending waits, so that a dead path cannot use up all file descriptors.
const IN_FLIGHT_MAX: usize = 512;

/// Where to ask: an address, and a path that the nonce is added to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    address: SocketAddr,
    path: String,
}

impl Target {
    /// Reads `http://ADDRESS:PORT/PATH`; names are not resolved, the address is the point of the test.
    pub(crate) fn parse(url: &str) -> Result<Self, Error> {
        let wrong = || Error::Variable {
            name: "URL",
            value: url.to_owned(),
            expected: "http://ADDRESS[:PORT][/PATH] as http://[2001:db8::1]:8080/echo",
        };
        let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, "echo"));
        let with_port = host.parse().or_else(|_| format!("{host}:80").parse());
        let address = with_port.map_err(|_| wrong())?;
        let clean = path.bytes().all(|byte| byte.is_ascii_graphic());
        if !clean {
            Err(wrong())
        } else {
            Ok(Self {
                address,
                path: format!("/{path}"),
            })
        }
    }

    fn page(&self, nonce: &str) -> String {
        let separator = if self.path.contains('?') { '&' } else { '?' };
        format!("{}{separator}nonce={nonce}", self.path)
    }
}

/// Sends all requests of the schedule and waits for the last answer or its time limit.
pub(crate) async fn measure(target: &Target, prefix: &str, schedule: &Schedule) -> Measured {
    let start = Instant::now();
    let free = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    let mut requests = JoinSet::new();
    for n in 0..schedule.count() {
        tokio::time::sleep_until(start + schedule.offset(n)).await;
        let permit = free.clone().acquire_owned().await;
        let (target, name, timeout) = (target.clone(), format!("{prefix}-{n}"), schedule.timeout());
        let sent = start.elapsed();
        requests.spawn(async move {
            let _permit = permit;
            let answer = request(&target, &name, timeout).await;
            (n, Sample { name, sent, answer })
        });
    }
    let mut samples = requests.join_all().await;
    samples.sort_unstable_by_key(|(n, _)| *n);
    Measured {
        samples: samples.into_iter().map(|(_, sample)| sample).collect(),
    }
}

async fn request(target: &Target, nonce: &str, timeout: Duration) -> Result<Duration, String> {
    let start = Instant::now();
    let asking = client::get(target.address, &target.page(nonce), timeout).await;
    let answer = asking.map_err(|e| e.to_string())?;
    match answer.status {
        200 if answer.body.contains(nonce) => Ok(start.elapsed()),
        200 => Err("the answer does not carry the nonce".to_owned()),
        status => Err(format!("status {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(url: &str) -> Option<(String, String)> {
        let target = Target::parse(url).ok()?;
        Some((target.address.to_string(), target.page("n")))
    }

    #[test]
    fn url_gives_address_and_page() {
        for (url, address, expected) in [
            (
                "http://[fd00::1]:8080/echo",
                "[fd00::1]:8080",
                "/echo?nonce=n",
            ),
            ("http://[fd00::1]", "[fd00::1]:80", "/echo?nonce=n"),
            (
                "http://127.0.0.1:81/a?b=c",
                "127.0.0.1:81",
                "/a?b=c&nonce=n",
            ),
        ] {
            assert_eq!(
                page(url),
                Some((address.to_owned(), expected.to_owned())),
                "{url}"
            );
        }
    }

    #[test]
    fn url_that_cannot_be_asked_is_refused() {
        for url in [
            "https://[fd00::1]/",
            "[fd00::1]:80",
            "http://name/",
            "http://[fd00::1]:80/a b",
        ] {
            assert_eq!(page(url), None, "{url}");
        }
    }
}
