//! Documents with a tag (RFC 9110 §8.8.3): a client that has one already is told so instead of being sent it again.

use std::fmt::Write;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use sha2::{Digest, Sha256};

use crate::body::{self, Body};

/// What tells one text from another.
pub(crate) fn hash(text: &[u8]) -> String {
    let digest = Sha256::digest(text);
    digest.iter().fold(String::new(), |mut hash, byte| {
        write!(hash, "{byte:02X}").expect("writing to a string cannot fail");
        hash
    })
}

/// The document, or that the client has it. A hash names it in all its forms: the client names the form, too.
pub(crate) fn answer(
    headers: &HeaderMap,
    hash: &str,
    (media, bytes): (&'static str, &Bytes),
) -> Response<Body> {
    let tag = format!("\"{hash}\"");
    let mut response = body::typed(200, media, bytes.clone());
    if has(headers, &tag) {
        response = body::typed(304, media, Bytes::new());
        response.headers_mut().remove(header::CONTENT_TYPE);
    }
    let tag = HeaderValue::try_from(tag).expect("a hash in quotes is a header value");
    let answered = response.headers_mut();
    answered.insert(header::ETAG, tag);
    answered.insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}

fn has(headers: &HeaderMap, tag: &str) -> bool {
    let kept = headers.get_all(header::IF_NONE_MATCH).iter();
    let kept = kept.filter_map(|value| value.to_str().ok());
    let mut kept = kept.flat_map(|value| value.split(',').map(str::trim));
    kept.any(|kept| kept == "*" || kept == tag)
}
