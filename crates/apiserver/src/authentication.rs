//! Who makes a request: by a certificate that still counts, or by a token, for requests that come by TLS without a
//! certificate and for `TokenReview`.
//!
//! A token says itself who made it, and is judged by its maker alone. A certificate counts before a token, as in
//! Kubernetes, and a token that does not hold is refused: nobody becomes anonymous by it. Tokens are never logged, and
//! what is said about a refused one does not repeat it. What somebody may do, others decide ([`crate::access`]).

pub(crate) mod account;
pub mod bootstrap;
pub(crate) mod certificate;
mod jwt;
pub mod oidc;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, header};
use jiff::Timestamp;
use serde_json::json;

use crate::access::Identity;
use crate::access::passed;
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
    #[error("the token ended at {0}")]
    TokenEnded(String),
    #[error("the certificate ended at {0}")]
    CertificateEnded(Timestamp),
    #[error("certificates that were issued before {0} are revoked")]
    Revoked(Timestamp),
    #[error("the ConfigMap {0} does not say from when on certificates count")]
    Unreadable(String),
    #[error("host {0} was forgotten: the certificate is for a Host that is gone")]
    Forgotten(String),
}

/// The reason in the details of the refusal of a host that was forgotten.
pub const HOST_FORGOTTEN: &str = "HostForgotten";

impl Refused {
    /// 401. Why is told to who has proven something.
    fn failure(self) -> Failure {
        tracing::debug!(why = %self, "somebody is refused");
        let is_told = matches!(
            self,
            Self::TokenEnded(_)
                | Self::CertificateEnded(_)
                | Self::Revoked(_)
                | Self::Unreadable(_)
                | Self::Forgotten(_)
        );
        if !is_told {
            return Failure::new(401, "Unauthorized", "Unauthorized");
        }
        let mut failure = Failure::new(401, "Unauthorized", self.to_string());
        if let Self::Forgotten(_) = self {
            let causes = json!([{"reason": HOST_FORGOTTEN, "message": failure.message}]);
            failure.details.insert("causes".to_owned(), causes);
        }
        failure
    }
}

/// Who makes a request: whom the door knows or for whom that one asks, or else whose token it shows.
pub(crate) async fn author<'i>(
    server: &Server,
    door: &'i Identity,
    headers: &HeaderMap,
) -> Result<Cow<'i, Identity>, Failure> {
    // One that is alone knows no other.
    if door.is_server() && server.replica().is_some() {
        let asks = passed::read(headers).ok_or(Refused::Unknown);
        let asks = asks.map_err(Refused::failure)?;
        certificate::check(server, &asks).map_err(Refused::failure)?;
        return Ok(Cow::Owned(asks));
    }
    certificate::check(server, door).map_err(Refused::failure)?;
    let token = bearer(headers).filter(|_| *door == Identity::anonymous());
    let Some(token) = token else {
        return Ok(Cow::Borrowed(door));
    };
    let proven = judge(server, token, &[account::AUDIENCE.to_owned()]).await;
    let proven = proven.map_err(Refused::failure)?;
    Ok(Cow::Owned(proven.identity))
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
    if let Some(token) = bootstrap::Token::parse(token) {
        return bootstrap::judge(server, &token, audiences);
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
