//! Users in headers: whom somebody acts as, and for whom another server asks.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::identity::Identity;
use crate::failure::Failure;
use crate::tls::Validity;

/// In which headers another server says for whom it asks, as Kubernetes' front proxies do.
pub(crate) const REMOTE: Headers = Headers {
    user: HeaderName::from_static("x-remote-user"),
    group: HeaderName::from_static("x-remote-group"),
    uid: HeaderName::from_static("x-remote-uid"),
    extra: "x-remote-extra-",
    certificate: Some(HeaderName::from_static("x-remote-certificate")),
};

/// The names of headers that name a user.
pub(crate) struct Headers {
    pub(super) user: HeaderName,
    pub(super) group: HeaderName,
    pub(super) uid: HeaderName,
    /// Escaped keys follow it.
    pub(super) extra: &'static str,
    /// When the certificate holds by which the user is known.
    pub(super) certificate: Option<HeaderName>,
}

impl Headers {
    /// The user as the headers say it; without a name if they name none.
    pub(crate) fn read(&self, headers: &HeaderMap) -> Identity {
        let all = |name: &HeaderName| {
            let values = headers.get_all(name).iter();
            values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let mut named = Identity {
            name: all(&self.user).next().unwrap_or_default(),
            uid: all(&self.uid).next().unwrap_or_default(),
            groups: all(&self.group).collect(),
            certificate: self.certificate.as_ref().and_then(|name| {
                let said = all(name).next()?;
                // What nobody can read has ended.
                Some(said.parse().unwrap_or(Validity::OVER))
            }),
            ..Identity::default()
        };
        for header in headers.keys() {
            if let Some(key) = header.as_str().strip_prefix(self.extra) {
                named.extra.insert(unescaped(key), all(header).collect());
            }
        }
        named
    }

    /// Says it, and nothing else.
    pub(crate) fn write(
        &self,
        identity: &Identity,
        headers: &mut HeaderMap,
    ) -> Result<(), Failure> {
        let own = |name: &HeaderName| {
            let fixed = [&self.user, &self.group, &self.uid];
            fixed.contains(&name)
                || self.certificate.as_ref() == Some(name)
                || name.as_str().starts_with(self.extra)
        };
        let stale: Vec<HeaderName> = headers.keys().filter(|name| own(name)).cloned().collect();
        for name in stale {
            headers.remove(name);
        }
        let value = |text: &str| {
            let value = HeaderValue::from_bytes(text.as_bytes());
            value.map_err(|_| Failure::bad_request(format!("{text:?} cannot be said in a header")))
        };
        headers.append(&self.user, value(&identity.name)?);
        if !identity.uid.is_empty() {
            headers.append(&self.uid, value(&identity.uid)?);
        }
        if let Some((name, validity)) = self.certificate.as_ref().zip(identity.certificate) {
            headers.append(name, value(&validity.to_string())?);
        }
        for group in &identity.groups {
            headers.append(&self.group, value(group)?);
        }
        for (key, values) in &identity.extra {
            let name = format!("{}{}", self.extra, escaped(key));
            let name = HeaderName::try_from(name);
            let name =
                name.map_err(|_| Failure::bad_request(format!("{key:?} cannot be a header")))?;
            for it in values {
                headers.append(&name, value(it)?);
            }
        }
        Ok(())
    }
}

/// A key that was escaped as in an address, so that it could be the name of a header.
fn unescaped(key: &str) -> String {
    let whole = format!("k={}", key.replace('+', "%2B").replace('&', "%26"));
    let mut pairs = form_urlencoded::parse(whole.as_bytes());
    pairs
        .next()
        .map(|(_, key)| key.to_lowercase())
        .unwrap_or_default()
}

fn escaped(key: &str) -> String {
    let escaped: String = form_urlencoded::byte_serialize(key.as_bytes()).collect();
    escaped.replace('+', "%20")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_written_is_read() {
        let mut identity = Identity::user("jos\u{e9}", ["a".to_owned(), "b, c".to_owned()]);
        identity.uid = "7".to_owned();
        identity.certificate = "2026-11-29T12:00:00Z/2026-11-29T13:00:00Z".parse().ok();
        assert_ne!(identity.certificate, None);
        let extra = ["authentication.kubernetes.io/credential-id", "a b+c&d"];
        for key in extra {
            let values = vec!["x".to_owned(), "y=z".to_owned()];
            identity.extra.insert(key.to_owned(), values);
        }
        let mut headers = HeaderMap::new();
        headers.insert("x-remote-user", HeaderValue::from_static("system:owner"));
        headers.insert("x-remote-extra-admin", HeaderValue::from_static("yes"));
        REMOTE.write(&identity, &mut headers).unwrap();
        assert_eq!(REMOTE.read(&headers), identity);
        identity.name = "a\nb".to_owned();
        let refused = REMOTE.write(&identity, &mut headers).unwrap_err();
        assert_eq!(refused.message, r#""a\nb" cannot be said in a header"#);
    }
}
