//! Tokens of an OpenID Connect provider, as kube-apiserver takes them by its `--oidc-…` options: who signs them, for whom
//! they are, and which claims name the user and its groups.
//!
//! The provider is asked for its keys when a token comes that none of the known ones has signed, and not again before
//! [`FETCH_PAUSE`] is over: who invents tokens makes no load for it. While it does not answer, the known keys hold. Only
//! signatures by a pair of keys are taken, each key for the one algorithm that it is for. Redirects are not followed, and
//! claims that are kept elsewhere are not fetched.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, decode_header};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::jwt::{self, Claims, Leeway};
use super::{Proven, Refused, account};
use crate::access::Identity;
use crate::https::{self, Client, innermost};

/// How long the provider may take to tell its keys.
pub const FETCH_PATIENCE: Duration = Duration::from_secs(10);
/// How long it is not asked again, whatever it answered.
pub const FETCH_PAUSE: Duration = Duration::from_secs(10);
/// Longest document that is read of it.
pub const DOCUMENT_BYTES_MAX: usize = 256 * 1024;
/// Most keys that it may have.
pub const KEYS_MAX: usize = 100;
/// Clocks may be apart as far as in Kubernetes: a token may begin this much later, and ends when it ends.
const LEEWAY: Leeway = Leeway { end: 0, begin: 300 };
/// Where the provider describes itself (OpenID Connect Discovery 1.0 §4).
const DISCOVERY: &str = "/.well-known/openid-configuration";
/// The claim that is told without a prefix, and must be verified.
const EMAIL: &str = "email";
/// The prefix that means none.
const NO_PREFIX: &str = "-";

/// What is expected of a provider's tokens; the words are those of kube-apiserver.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The provider's address, which is also what its tokens name: https only.
    pub issuer_url: String,
    /// For whom tokens must be.
    pub client_id: String,
    /// The claim that names the user, such as `sub`.
    pub username_claim: String,
    /// What goes before the user's name; when not given, the address and `#`, but for the claim `email`. `-` is none.
    pub username_prefix: Option<String>,
    /// The claim that names groups, if any does.
    pub groups_claim: Option<String>,
    /// What goes before the name of a group.
    pub groups_prefix: String,
    /// What tokens must claim besides.
    pub required_claims: BTreeMap<String, String>,
    /// Who vouches for the provider, in PEM; whom the machine trusts unless given.
    pub authorities: Option<Vec<u8>>,
}

/// A provider whose tokens are taken.
pub struct Issuer {
    options: Options,
    username_prefix: String,
    client: Client,
    keys: RwLock<Arc<Keys>>,
    /// Whoever asks the provider holds its one permit.
    asking: Semaphore,
}

/// What the provider has told, and when it was asked.
#[derive(Default)]
struct Keys {
    known: Vec<Key>,
    asked: Option<Instant>,
}

#[derive(Clone)]
struct Key {
    id: String,
    algorithm: Algorithm,
    verifies: DecodingKey,
}

impl Issuer {
    /// The provider that these options describe; it is asked when the first of its tokens comes.
    ///
    /// # Errors
    /// When its address is not https, or the authorities are no certificates.
    pub fn new(options: Options) -> Result<Self, String> {
        https::uri(&options.issuer_url)?;
        let roots = options.authorities.as_deref().map(https::roots);
        let username_prefix = match options.username_prefix.as_deref().unwrap_or_default() {
            "" if options.username_claim == EMAIL => String::new(),
            "" => format!("{}#", options.issuer_url),
            NO_PREFIX => String::new(),
            given => given.to_owned(),
        };
        Ok(Self {
            client: https::client(roots.transpose()?)?,
            options,
            username_prefix,
            keys: RwLock::default(),
            asking: Semaphore::new(1),
        })
    }

    /// Whether its tokens name it so.
    pub(super) fn is(&self, name: &str) -> bool {
        self.options.issuer_url == name
    }

    /// Whose that token is.
    pub(super) async fn judge(
        &self,
        token: &str,
        audiences: &[String],
        now: Timestamp,
    ) -> Result<Proven, Refused> {
        // The provider says for which client a token is; what is asked for here is the server.
        let mut meant = vec![account::AUDIENCE.to_owned()];
        meant.retain(|audience| audiences.contains(audience));
        if meant.is_empty() {
            return Err(Refused::Audience);
        }
        let claims = self.verified(token).await?;
        if !jwt::text(&claims, "iss").is_some_and(|name| self.is(name)) {
            return Err(Refused::Unknown);
        }
        jwt::in_time(&claims, now, LEEWAY)?;
        if !jwt::texts(&claims, "aud").contains(&self.options.client_id) {
            return Err(Refused::Audience);
        }
        Ok(Proven {
            identity: self.identity(&claims)?,
            audiences: meant,
        })
    }

    /// What a token claims that one of the provider's keys has signed.
    async fn verified(&self, token: &str) -> Result<Claims, Refused> {
        let known = self.keys();
        match known.verify(token) {
            Ok(claims) => Ok(claims),
            Err(_) if known.may_be_old() => self.newer(&known).await.verify(token),
            Err(refused) => Err(refused),
        }
    }

    fn keys(&self) -> Arc<Keys> {
        let keys = self.keys.read();
        keys.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The keys that the provider tells now, or told somebody else meanwhile.
    async fn newer(&self, seen: &Arc<Keys>) -> Arc<Keys> {
        let Ok(_asking) = self.asking.acquire().await else {
            return self.keys();
        };
        if !Arc::ptr_eq(&self.keys(), seen) {
            return self.keys();
        }
        let fetched = timeout(FETCH_PATIENCE, self.fetch()).await;
        let fetched = fetched.unwrap_or_else(|_| Err("it takes too long".to_owned()));
        let known = fetched.unwrap_or_else(|error| {
            let issuer = &self.options.issuer_url;
            tracing::warn!(
                issuer,
                error,
                "cannot read the keys of the issuer of tokens"
            );
            seen.known.clone()
        });
        let asked = Some(Instant::now());
        let keys = Arc::new(Keys { known, asked });
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys.clone();
        keys
    }

    async fn fetch(&self) -> Result<Vec<Key>, String> {
        let issuer = &self.options.issuer_url;
        let found = self
            .get(&format!("{}{DISCOVERY}", issuer.trim_end_matches('/')))
            .await?;
        if found["issuer"] != issuer.as_str() {
            return Err("it calls itself something else".to_owned());
        }
        let set = found["jwks_uri"].as_str().ok_or("it names no keys")?;
        let set = self.get(set).await?;
        let keys = set["keys"].as_array().ok_or("its keys are no list")?;
        match keys.len() > KEYS_MAX {
            true => Err(format!("it has more than {KEYS_MAX} keys")),
            false => Ok(keys.iter().filter_map(Key::of).collect()),
        }
    }

    async fn get(&self, url: &str) -> Result<Value, String> {
        let uri: Uri = url.parse().map_err(|_| format!("{url:?} is no address"))?;
        let request = Request::get(uri).header(header::ACCEPT, "application/json");
        let request = request.body(Full::<Bytes>::default());
        let request = request.map_err(|error| error.to_string())?;
        let named = |why: String| format!("Get {url:?}: {why}");
        let response = self.client.request(request).await;
        let response = response.map_err(|error| named(innermost(&error)))?;
        if !response.status().is_success() {
            return Err(named(format!("it answered {}", response.status())));
        }
        let body = Limited::new(response.into_body(), DOCUMENT_BYTES_MAX).collect();
        let body = body.await.map_err(|error| named(error.to_string()))?;
        serde_json::from_slice(&body.to_bytes()).map_err(|_| named("it is no JSON".to_owned()))
    }

    /// Who the claims name.
    fn identity(&self, claims: &Claims) -> Result<Identity, Refused> {
        let Options {
            username_claim: claim,
            groups_prefix: prefix,
            required_claims: required,
            ..
        } = &self.options;
        let wrong = |claim: &str| Refused::Claim(claim.to_owned());
        let name = jwt::text(claims, claim).filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| wrong(claim))?;
        let verified = claims.get("email_verified").unwrap_or(&Value::Bool(true));
        if claim == EMAIL && *verified != true {
            return Err(wrong("email_verified"));
        }
        for (claim, value) in required {
            if jwt::text(claims, claim) != Some(value) {
                return Err(wrong(claim));
            }
        }
        let mut groups = Vec::new();
        if let Some(claim) = &self.options.groups_claim {
            let is_list = |list: &Vec<Value>| list.iter().all(Value::is_string);
            match claims.get(claim) {
                None | Some(Value::Null | Value::String(_)) => {}
                Some(Value::Array(list)) if is_list(list) => {}
                Some(_) => return Err(wrong(claim)),
            }
            let named = jwt::texts(claims, claim).into_iter();
            groups.extend(named.map(|group| format!("{prefix}{group}")));
        }
        let mut identity = Identity::user(format!("{}{name}", self.username_prefix), groups);
        identity.extra.extend(jwt::credential(claims));
        Ok(identity)
    }
}

impl Keys {
    /// Whether the provider may be asked for others.
    fn may_be_old(&self) -> bool {
        self.asked
            .is_none_or(|asked| asked.elapsed() >= FETCH_PAUSE)
    }

    fn verify(&self, token: &str) -> Result<Claims, Refused> {
        let header = decode_header(token).map_err(|_| Refused::Unsigned)?;
        let id = header.kid.unwrap_or_default();
        let may_be = |key: &&Key| key.algorithm == header.alg && (id.is_empty() || key.id == id);
        for key in self.known.iter().filter(may_be) {
            if let Ok(claims) = jwt::verified(token, &key.verifies, key.algorithm) {
                return Ok(claims);
            }
        }
        Err(Refused::Unsigned)
    }
}

impl Key {
    /// A key of a JSON Web Key Set (RFC 7517) that may sign tokens; others are passed over.
    fn of(key: &Value) -> Option<Self> {
        let text = |field: &str| key[field].as_str();
        let (algorithm, name, verifies) = match text("kty")? {
            "RSA" => {
                let verifies = DecodingKey::from_rsa_components(text("n")?, text("e")?);
                (Algorithm::RS256, "RS256", verifies)
            }
            "EC" if text("crv") == Some("P-256") => {
                let verifies = DecodingKey::from_ec_components(text("x")?, text("y")?);
                (Algorithm::ES256, "ES256", verifies)
            }
            _ => return None,
        };
        let signs = text("use").is_none_or(|it| it == "sig");
        let fits = text("alg").is_none_or(|it| it == name);
        Some(Self {
            id: text("kid").unwrap_or_default().to_owned(),
            algorithm,
            verifies: verifies.ok().filter(|_| signs && fits)?,
        })
    }
}
