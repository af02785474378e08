//! Acting as another: a request that names a user in its headers is judged as that user's, if its author has the verb
//! `impersonate` for all that it names.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};

use super::attributes::{Attributes, Place, Target};
use super::identity::{ANONYMOUS, Identity, UNAUTHENTICATED, account_groups, account_of};
use super::permitted;
use crate::failure::Failure;
use crate::server::Server;

const USER: HeaderName = HeaderName::from_static("impersonate-user");
const GROUP: HeaderName = HeaderName::from_static("impersonate-group");
const UID: HeaderName = HeaderName::from_static("impersonate-uid");
const EXTRA_PREFIX: &str = "impersonate-extra-";
/// The group of what is said of users besides name and groups.
const AUTHENTICATION: &str = "authentication.k8s.io";

/// Who the request is to be judged as: its author, or whom its headers name.
pub(crate) fn acting<'i>(
    server: &Server,
    author: &'i Identity,
    headers: &HeaderMap,
) -> Result<Cow<'i, Identity>, Failure> {
    let named = named(headers);
    if named == Identity::default() {
        return Ok(Cow::Borrowed(author));
    }
    if named.name.is_empty() {
        let why =
            "requested to impersonate groups, a uid or extras without impersonating a user name";
        return Err(Failure::bad_request(why));
    }
    for place in places(&named) {
        let asked = Attributes {
            verb: "impersonate".to_owned(),
            target: Target::Resource(place),
        };
        permitted(server, author, &asked)?;
    }
    Ok(Cow::Owned(completed(named)))
}

/// What the headers say, as they say it.
fn named(headers: &HeaderMap) -> Identity {
    let all = |name: &HeaderName| {
        let values = headers.get_all(name).iter();
        values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let mut named = Identity {
        name: all(&USER).next().unwrap_or_default(),
        uid: all(&UID).next().unwrap_or_default(),
        groups: all(&GROUP).collect(),
        ..Identity::default()
    };
    for header in headers.keys() {
        if let Some(key) = header.as_str().strip_prefix(EXTRA_PREFIX) {
            named.extra.insert(unescaped(key), all(header).collect());
        }
    }
    named
}

/// All that must be permitted.
fn places(named: &Identity) -> Vec<Place> {
    let place = |group: &str, resource: &str, name: &str| Place {
        group: group.to_owned(),
        resource: resource.to_owned(),
        name: name.to_owned(),
        ..Place::default()
    };
    let user = match account_of(&named.name) {
        Some((namespace, name)) => Place {
            namespace: namespace.to_owned(),
            ..place("", "serviceaccounts", name)
        },
        None => place("", "users", &named.name),
    };
    let mut places = vec![user];
    places.extend(named.groups.iter().map(|group| place("", "groups", group)));
    for (key, values) in &named.extra {
        places.extend(values.iter().map(|value| Place {
            subresource: key.clone(),
            ..place(AUTHENTICATION, "userextras", value)
        }));
    }
    if !named.uid.is_empty() {
        places.push(place(AUTHENTICATION, "uids", &named.uid));
    }
    places
}

/// The user with the groups that it has without being named.
fn completed(mut named: Identity) -> Identity {
    if let (Some((namespace, _)), true) = (account_of(&named.name), named.groups.is_empty()) {
        named.groups = account_groups(namespace).into();
    }
    if named.name != ANONYMOUS {
        return named.known();
    }
    if !named.is_in(UNAUTHENTICATED) {
        named.groups.push(UNAUTHENTICATED.to_owned());
    }
    named
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
