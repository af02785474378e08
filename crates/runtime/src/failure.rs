//! Turns what the API client says into the workspace's error.

use std::fmt::Display;

use api::{Error, ErrorKind};

/// Says what was attempted (`cannot …`); the class comes from the HTTP code, everything unclear is `Unavailable`.
pub fn failed(what: impl Display) -> impl FnOnce(kube::Error) -> Error {
    move |error| {
        let kind = match &error {
            kube::Error::Api(status) => ErrorKind::of_http(status.code.into()),
            kube::Error::SerdeError(_) => ErrorKind::Internal,
            _ => ErrorKind::Unavailable,
        };
        Error::caused(kind, format!("cannot {what}"), error)
    }
}
