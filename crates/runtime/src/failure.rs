//! Turns what the API client says into the workspace's error; why the API refused an object is shown to the user.

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
        match error {
            kube::Error::Api(status) if shown(kind) => {
                Error::new(kind, format!("cannot {what}: {}", status.message))
            }
            error => Error::caused(kind, format!("cannot {what}"), error),
        }
    }
}

/// Whether the API's own words say what to do about it: it refused the object that a user's spec led to.
fn shown(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Invalid | ErrorKind::Forbidden)
}
