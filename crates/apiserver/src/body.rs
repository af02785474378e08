//! Bodies of requests and answers.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use serde_json::Value;
use tokio::time::timeout;

use crate::failure::Failure;

/// Largest body of a request, in bytes.
pub const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// How long a client may take to send a body, as long as a whole request may in Kubernetes.
pub(crate) const BODY_PATIENCE: Duration = Duration::from_secs(60);

/// The body of an answer.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// All of a request's body.
pub(crate) async fn read<B>(body: B) -> Result<Bytes, Failure>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let all = Limited::new(body, BODY_BYTES_MAX).collect();
    let Ok(read) = timeout(BODY_PATIENCE, all).await else {
        let why = "Timeout: request did not complete within the allotted timeout";
        return Err(Failure::new(504, "Timeout", why));
    };
    match read {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            let message = format!("Request entity too large: limit is {BODY_BYTES_MAX}");
            Err(Failure::new(413, "RequestEntityTooLarge", message))
        }
        Err(error) => Err(Failure::bad_request(format!(
            "cannot read the body: {error}"
        ))),
    }
}

/// An answer with a JSON document.
pub(crate) fn json(code: u16, json: impl Into<Bytes>) -> Response<Body> {
    typed(code, "application/json", json)
}

/// An answer with a body of some type.
pub(crate) fn typed(
    code: u16,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()).boxed_unsync());
    *response.status_mut() =
        http::StatusCode::from_u16(code).expect("only known codes are answered");
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// The answer to HEAD: what a GET would be answered, without the body (RFC 9110 §9.3.2). Clients that get one all the same
/// take it for an error of the connection.
pub(crate) fn without(response: Response<Body>) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    if let Some(length) = http_body::Body::size_hint(&body).exact() {
        head.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    Response::from_parts(head, Full::default().boxed_unsync())
}

/// A document as text, with line breaks if a person reads it.
pub(crate) fn text(value: &Value, pretty: bool) -> String {
    match pretty {
        true => format!("{value:#}\n"),
        false => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_has_its_size_and_its_time() {
        for (bytes, expected) in [(BODY_BYTES_MAX, None), (BODY_BYTES_MAX + 1, Some(413))] {
            let body = Full::new(Bytes::from(vec![b' '; bytes]));
            assert_eq!(read(body).await.err().map(|failure| failure.code), expected);
        }
        // A byte now and then does not help.
        let begun = Instant::now();
        let drops = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(9)).await;
            let drop = Frame::data(Bytes::from_static(b" "));
            Some((Ok::<_, Infallible>(drop), ()))
        });
        let late = read(StreamBody::new(drops)).await.expect_err("too slow");
        assert_eq!((late.code, begun.elapsed()), (504, BODY_PATIENCE));
    }
}
