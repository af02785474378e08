//! JSON Web Tokens (RFC 7519): what they claim, and whether a key has signed them by the one algorithm that it is for.
//!
//! Times are judged by the server's clock, and audiences by whoever is asked; the library checks signatures only.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};

use super::Refused;

/// Under which name Kubernetes tells the id of a token.
const CREDENTIAL: &str = "authentication.kubernetes.io/credential-id";

/// What a token claims.
pub(super) type Claims = Map<String, Value>;

/// Who a token says has made it, which nobody has verified.
pub(super) fn issuer(token: &str) -> Option<String> {
    let mut parts = token.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    claims.get("iss")?.as_str().map(str::to_owned)
}

/// What a token claims that the key has signed.
pub(super) fn verified(
    token: &str,
    key: &DecodingKey,
    algorithm: Algorithm,
) -> Result<Claims, Refused> {
    let mut signature = Validation::new(algorithm);
    signature.required_spec_claims.clear();
    signature.validate_exp = false;
    signature.validate_nbf = false;
    signature.validate_aud = false;
    let decoded = jsonwebtoken::decode(token, key, &signature);
    decoded.map(|it| it.claims).map_err(|_| Refused::Unsigned)
}

/// A claim that is text.
pub(super) fn text<'c>(claims: &'c Claims, name: &str) -> Option<&'c str> {
    claims.get(name)?.as_str()
}

/// A claim that is a text or a list of texts.
pub(super) fn texts(claims: &Claims, name: &str) -> Vec<String> {
    match claims.get(name) {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(many)) => {
            let many = many.iter().filter_map(Value::as_str);
            many.map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

/// What tells by which token somebody is known.
pub(super) fn credential(claims: &Claims) -> Option<(String, Vec<String>)> {
    let id = text(claims, "jti")?;
    Some((CREDENTIAL.to_owned(), vec![format!("JTI={id}")]))
}

/// How far the clocks of who makes a token and of who judges it may be apart, in seconds.
#[derive(Clone, Copy)]
pub(super) struct Leeway {
    pub(super) end: i64,
    pub(super) begin: i64,
}

/// Whether a token has begun and not ended.
pub(super) fn in_time(claims: &Claims, now: Timestamp, leeway: Leeway) -> Result<(), Refused> {
    let now = now.as_second();
    let end = seconds(claims, "exp").ok_or(Refused::Expired)?;
    if now > end.saturating_add(leeway.end) {
        return Err(Refused::Expired);
    }
    let begin = match claims.contains_key("nbf") {
        true => seconds(claims, "nbf").ok_or(Refused::Early)?,
        false => i64::MIN,
    };
    match now.saturating_add(leeway.begin) < begin {
        true => Err(Refused::Early),
        false => Ok(()),
    }
}

/// A time, in seconds since 1970 and perhaps parts of one (RFC 7519 §2, NumericDate).
fn seconds(claims: &Claims, name: &str) -> Option<i64> {
    let number = claims.get(name)?;
    let whole = number.to_string();
    let whole = whole.split('.').next().unwrap_or_default();
    number
        .as_i64()
        .or_else(|| whole.parse().ok().filter(|_| number.is_f64()))
}
