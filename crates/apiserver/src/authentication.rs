//! Who shows a token: whose it is and whether it still holds, for requests that come by TLS without a certificate and for
//! `TokenReview`.
//!
//! A token says itself who made it, and is judged by its maker alone. A certificate counts before a token, as in
//! Kubernetes, and a token that does not hold is refused: nobody becomes anonymous by it. Tokens are never logged, and
//! what is said about a refused one does not repeat it. What somebody may do, others decide ([`crate::access`]).

pub(crate) mod account;
mod jwt;
pub mod oidc;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, header};

use crate::access::Identity;
use crate::access::headers::REMOTE;
use crate::failure::Failure;
use crate::server::Server;

/// Longest token that is looked at, in bytes.
pub(crate) const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// The word before a token, in any case.
const SCHEME: &str = "bearer";

/// Marks the answer to somebody whom a token has made known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known;

/// Whose a token is, and for which of the audiences that it was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Proven {
    pub(crate) identity: Identity,
    pub(crate) audiences: Vec<String>,
}

/// Why a token does not hold.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Refused {
    #[error("invalid bearer token")]
    Unknown,
    #[error("the token is longer than {TOKEN_BYTES_MAX} bytes")]
    Long,
    #[error("the token is not signed by a key of its issuer")]
    Unsigned,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    Early,
    #[error("the token is for other audiences")]
    Audience,
    #[error("the claim {0:?} of the token is not what it must be")]
    Claim(String),
    #[error("the token has been invalidated: {0} is gone")]
    Gone(&'static str),
}

/// Who makes a request: whom the door knows or for whom that one asks, or else whose token it shows.
pub(crate) async fn author<'i>(
    server: &Server,
    door: &'i Identity,
    headers: &HeaderMap,
) -> Result<Cow<'i, Identity>, Failure> {
    if door.is_server() {
        let named = REMOTE.read(headers);
        // Without a user its groups would still count.
        return match named.name.is_empty() {
            true => Err(unauthorized()),
            false => Ok(Cow::Owned(named)),
        };
    }
    let token = bearer(headers).filter(|_| *door == Identity::anonymous());
    let Some(token) = token else {
        return Ok(Cow::Borrowed(door));
    };
    match judge(server, token, &[account::AUDIENCE.to_owned()]).await {
        Ok(proven) => Ok(Cow::Owned(proven.identity)),
        Err(why) => {
            tracing::debug!(%why, "a token is refused");
            Err(unauthorized())
        }
    }
}

fn unauthorized() -> Failure {
    Failure::new(401, "Unauthorized", "Unauthorized")
}

/// Whose that token is, if it is for one of these audiences.
pub(crate) async fn judge(
    server: &Server,
    token: &str,
    audiences: &[String],
) -> Result<Proven, Refused> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(Refused::Long);
    }
    match jwt::issuer(token).as_deref() {
        Some(account::ISSUER) => account::judge(server, token, audiences),
        Some(name) => match server.oidc().filter(|issuer| issuer.is(name)) {
            Some(issuer) => issuer.judge(token, audiences, server.clock()()).await,
            None => Err(Refused::Unknown),
        },
        None => Err(Refused::Unknown),
    }
}

/// The token that a request shows, as Kubernetes reads it: other schemes are none, and mean nothing.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION);
    let value = String::from_utf8_lossy(value.map_or(b"", HeaderValue::as_bytes));
    let Cow::Borrowed(value) = value else {
        return None;
    };
    let mut parts = value.trim().splitn(3, ' ');
    let is_bearer = parts.next()?.eq_ignore_ascii_case(SCHEME);
    parts.next().filter(|token| is_bearer && !token.is_empty())
}
