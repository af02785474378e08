//! For whom another server asks: one header with all that is known of somebody, so that nothing of it changes on the way.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use super::identity::Identity;
use crate::failure::Failure;

/// Only another server is believed in it.
const HEADER: HeaderName = HeaderName::from_static("x-groma-identity");

/// An identity as it is passed on.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Passed {
    name: String,
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
    certificate: Option<String>,
}

/// For whom the headers ask; `None` if they do not say.
pub(crate) fn read(headers: &HeaderMap) -> Option<Identity> {
    let json = STANDARD.decode(headers.get(&HEADER)?.as_bytes()).ok()?;
    let passed: Passed = serde_json::from_slice(&json).ok()?;
    let certificate = passed.certificate.map(|certificate| certificate.parse());
    Some(Identity {
        name: passed.name,
        uid: passed.uid,
        groups: passed.groups,
        extra: passed.extra,
        certificate: certificate.transpose().ok()?,
    })
}

/// Says for whom is asked, and nothing else.
pub(crate) fn write(identity: &Identity, headers: &mut HeaderMap) -> Result<(), Failure> {
    let identity = identity.clone();
    let passed = Passed {
        name: identity.name,
        uid: identity.uid,
        groups: identity.groups,
        extra: identity.extra,
        certificate: identity.certificate.map(|validity| validity.to_string()),
    };
    let json = serde_json::to_vec(&passed).map_err(|why| Failure::internal(why.to_string()))?;
    let value = HeaderValue::try_from(STANDARD.encode(json));
    let value = value.map_err(|why| Failure::internal(why.to_string()))?;
    headers.insert(&HEADER, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Validity;

    #[test]
    fn who_is_written_is_read() {
        let mut identity = Identity::user(" jos\u{e9}\n", ["a".to_owned(), " b, c ".to_owned()]);
        identity.uid = "7".to_owned();
        identity.certificate = Some(Validity {
            begins: "2026-01-01T00:00:00Z".parse().unwrap(),
            ends: "2026-02-01T00:00:00Z".parse().unwrap(),
        });
        let values = vec!["x".to_owned(), "y=z".to_owned()];
        identity.extra.insert("A b/c".to_owned(), values);
        let mut headers = HeaderMap::new();
        headers.insert(&HEADER, HeaderValue::from_static("e30="));
        assert_eq!(read(&headers), None, "nobody is named");
        write(&identity, &mut headers).unwrap();
        assert_eq!(read(&headers), Some(identity));
        assert_eq!(headers.get_all(&HEADER).iter().count(), 1);
    }
}
