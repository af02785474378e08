//! Bootstrap tokens, as Kubernetes has them: a Secret in `kube-system` for each, whose holder may do nothing but ask for a
//! certificate for the one host that the token is for.
//!
//! The first key that is asked for with a token binds it: the same key may ask again until the token ends, which it does
//! by its own time. What a token may ask for is decided in [`crate::signing`].

use std::sync::Arc;

use api::{Error, ErrorKind};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Proven, Refused, account};
use crate::access::{BOOTSTRAPPERS, Identity};
use crate::boot;
use crate::engine::Outcome;
use crate::failure::Failure;
use crate::object::{Key, Object, is_deleting};
use crate::server::Server;

/// The namespace of the Secrets.
pub const NAMESPACE: &str = "kube-system";
/// Their type.
pub const TYPE: &str = "bootstrap.kubernetes.io/token";
/// What the id of a token follows in the name of its Secret.
const NAME_PREFIX: &str = "bootstrap-token-";
/// Letters of an id and of a secret.
const ID_CHARS: usize = 6;
const SECRET_CHARS: usize = 16;
/// What they are made of.
const LETTERS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
/// The key of the host that a token is for; Kubernetes knows none.
const HOST: &str = "host";
/// The key of the hash of the public key that has asked with it.
const USED_BY: &str = "used-by";
/// Further groups of its holder.
const EXTRA_GROUPS: &str = "auth-extra-groups";

/// A token as it is shown.
pub struct Token {
    /// The public half, by which it is found.
    pub id: String,
    /// The other half.
    pub secret: String,
}

impl Token {
    /// A new one.
    ///
    /// # Errors
    /// When the machine has no randomness.
    pub fn random() -> api::Result<Self> {
        Ok(Self {
            id: random(ID_CHARS)?,
            secret: random(SECRET_CHARS)?,
        })
    }

    /// `None` for what is no such token.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.split_once('.')?;
        let is_made_so =
            |part: &str, chars| part.len() == chars && part.bytes().all(|it| LETTERS.contains(&it));
        (is_made_so(id, ID_CHARS) && is_made_so(secret, SECRET_CHARS)).then(|| Self {
            id: id.to_owned(),
            secret: secret.to_owned(),
        })
    }

    /// The Secret that makes it count until then, for the certificate of that host.
    #[must_use]
    pub fn document(&self, host: &str, ends: Timestamp) -> Value {
        let data = [
            ("token-id", self.id.as_str()),
            ("token-secret", &self.secret),
            ("expiration", &format!("{ends:.0}")),
            ("usage-bootstrap-authentication", "true"),
            ("description", &format!("lets host {host} join")),
            (HOST, host),
        ];
        let data = data.map(|(key, text)| (key.to_owned(), STANDARD.encode(text).into()));
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": TYPE, "data": Map::from_iter(data),
            "metadata": {"name": secret_name(&self.id), "namespace": NAMESPACE},
        })
    }
}

/// The name of the Secret of a token.
#[must_use]
pub fn secret_name(id: &str) -> String {
    format!("{NAME_PREFIX}{id}")
}

fn random(chars: usize) -> api::Result<String> {
    let mut text = String::new();
    while text.len() < chars {
        let mut byte = [0];
        rand::fill(&mut byte)
            .map_err(|_| Error::new(ErrorKind::Internal, "this machine has no randomness"))?;
        // Each letter as often as any other.
        if usize::from(byte[0]) < 256 / LETTERS.len() * LETTERS.len() {
            text.push(char::from(LETTERS[usize::from(byte[0]) % LETTERS.len()]));
        }
    }
    Ok(text)
}

/// What the Secret of a token says, `None` where it is none.
fn text(secret: &Value, key: &str) -> Option<String> {
    let bytes = STANDARD.decode(secret["data"][key].as_str()?).ok()?;
    String::from_utf8(bytes).ok()
}

/// When the token of a Secret ends, if it is one of a token that does.
pub(crate) fn ends(secret: &Object) -> Option<Timestamp> {
    let Key {
        home, namespace, ..
    } = &secret.key;
    let is_one = home.group.is_empty() && home.plural == "secrets" && namespace == NAMESPACE;
    if !is_one || secret.value["type"] != TYPE {
        return None;
    }
    text(&secret.value, "expiration")?.parse().ok()
}

fn key(server: &Server, id: &str) -> Result<Key, Failure> {
    Ok(boot::built_in(server, "", "secrets")?.key(NAMESPACE, &secret_name(id)))
}

/// Whose that token is. That it has ended is told only to who knows all of it.
pub(super) fn judge(
    server: &Server,
    token: &Token,
    audiences: &[String],
) -> Result<Proven, Refused> {
    let mut meant = vec![account::AUDIENCE.to_owned()];
    meant.retain(|audience| audiences.contains(audience));
    if meant.is_empty() {
        return Err(Refused::Audience);
    }
    let key = key(server, &token.id).map_err(|_| Refused::Unknown)?;
    let found = server.state().objects.get(&key);
    let found = found.filter(|it| !is_deleting(&it.value) && it.value["type"] == TYPE);
    let secret = &found.ok_or(Refused::Unknown)?.value;
    let kept = text(secret, "token-secret").unwrap_or_default();
    let same = verify_slices_are_equal(kept.as_bytes(), token.secret.as_bytes()).is_ok();
    let lets_in = text(secret, "usage-bootstrap-authentication").as_deref() == Some("true");
    if !same || !lets_in || text(secret, "token-id").as_deref() != Some(&token.id) {
        return Err(Refused::Unknown);
    }
    in_time(server, secret)?;
    let further = text(secret, EXTRA_GROUPS).unwrap_or_default();
    let further = further
        .split(',')
        .map(str::trim)
        .filter(|it| !it.is_empty());
    let prefix = format!("{BOOTSTRAPPERS}:");
    if !further.clone().all(|group| group.starts_with(&prefix)) {
        return Err(Refused::Unknown);
    }
    Ok(Proven {
        identity: Identity::bootstrap(&token.id, further.map(str::to_owned)),
        audiences: meant,
    })
}

/// A token without an end has none; one whose end nobody can read has ended.
fn in_time(server: &Server, secret: &Value) -> Result<(), Refused> {
    let Some(ends) = text(secret, "expiration") else {
        return Ok(());
    };
    let is_over = |ends: Timestamp| ends <= server.clock()();
    match ends.parse().is_ok_and(|ends| !is_over(ends)) {
        true => Ok(()),
        false => Err(Refused::TokenEnded(ends)),
    }
}

/// Notes that the token with that id asks for the certificate of a host with the key of that hash.
///
/// # Errors
/// When it is for another host, or another key has asked with it.
pub(crate) fn claim(server: &Server, id: &str, host: &str, key_hash: &str) -> Result<(), Failure> {
    let decide = |secret: Option<&Arc<Object>>| {
        let secret = secret.map(|it| &*it.value);
        let is_new = claimable(server, (id, secret), host, key_hash)?;
        let mut value = secret.cloned().unwrap_or_default();
        value["data"][USED_BY] = STANDARD.encode(key_hash).into();
        Ok(match is_new {
            true => Outcome::Set(value),
            false => Outcome::Keep,
        })
    };
    let engine = server.engine();
    engine
        .decide(&key(server, id)?, decide, |_, _| Ok(()))
        .map(drop)
}

/// Whether the token with that id may ask for the certificate of a host with the key of that hash.
///
/// # Errors
/// When it is for another host, or another key has asked with it.
pub(crate) fn may_claim(
    server: &Server,
    id: &str,
    host: &str,
    key_hash: &str,
) -> Result<(), Failure> {
    let secret = server.engine().latest(&key(server, id)?);
    let secret = secret.as_ref().map(|it| &*it.value);
    claimable(server, (id, secret), host, key_hash).map(drop)
}

/// Whether no key has asked with the token yet, if this one may.
fn claimable(
    server: &Server,
    (id, secret): (&str, Option<&Value>),
    host: &str,
    key_hash: &str,
) -> Result<bool, Failure> {
    let refuse = |why: String| Failure::new(403, "Forbidden", why);
    let secret = secret.ok_or_else(|| refuse(format!("the token {id} is gone")))?;
    in_time(server, secret).map_err(|why| refuse(why.to_string()))?;
    match text(secret, HOST).as_deref() {
        Some(own) if own == host => {}
        Some(own) => return Err(refuse(format!("the token is for host {own}, not {host}"))),
        None => return Err(refuse(format!("the token is for no host, not {host}"))),
    }
    match text(secret, USED_BY) {
        None => Ok(true),
        Some(used) if used == key_hash => Ok(false),
        Some(_) => {
            let why = format!("the token was used with another key of host {host}: make a new one");
            Err(refuse(why))
        }
    }
}
