//! Tokens of service accounts: made by this server (`TokenRequest`), signed by its own key, and good as long as their time
//! lasts, the account is there, and so is the object that they are bound to.
//!
//! What they claim, and who their holder is, is as in Kubernetes. The key is made at the first start and is nobody's but
//! the server's; whoever else wants to verify tokens finds the public part in [`Key::set`].

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use api::{Error, ErrorKind, Result};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use rcgen::{KeyPair, PublicKeyData as _};
use serde_json::{Value, json};

use super::jwt::{self, Claims, Leeway};
use super::{Proven, Refused};
use crate::access::Identity;
use crate::boot;
use crate::failure::Failure;
use crate::object::{Object, meta_text};
use crate::private_file::{self, PRIVATE};
use crate::server::Server;

/// Who makes these tokens, as Kubernetes calls it.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// For whom they are unless somebody asks for another audience: for this server.
pub(crate) const AUDIENCE: &str = ISSUER;
/// For how long a token is good unless something else is asked for, in seconds.
pub(crate) const LIFE_DEFAULT: i64 = 3600;
/// The shortest and the longest time that may be asked for, in seconds.
pub(crate) const LIFE_MIN: i64 = 600;
pub(crate) const LIFE_MAX: i64 = 1 << 32;
/// How long a token is good after its end, and its objects after they began to go: machines that verify it may be behind.
const LEEWAY: i64 = 60;
/// The claim that is Kubernetes' own.
const OWN: &str = "kubernetes.io";

/// What a token can be bound to: kind, plural name and claim.
const BOUND: [(&str, &str, &str); 2] = [("Secret", "secrets", "secret"), ("Pod", "pods", "pod")];

/// The key that signs tokens.
pub struct Key {
    id: String,
    signs: EncodingKey,
    verifies: DecodingKey,
    public: Vec<u8>,
}

/// A token and when it ends.
pub(crate) struct Issued {
    pub(crate) token: String,
    pub(crate) ends: Timestamp,
}

impl Key {
    /// Reads the key in that file, or makes one that only its owner reads.
    ///
    /// # Errors
    /// When it cannot be read or made, or is none.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |error: io::Error| {
            let what = format!("cannot use the key of tokens in {}", path.display());
            Error::caused(ErrorKind::Internal, what, error)
        };
        let kept = private_file::read(path).map_err(|e| failed(io::Error::other(e)))?;
        if kept.is_none() {
            let made = KeyPair::generate().map_err(|e| failed(io::Error::other(e)))?;
            private_file::create(path, made.serialize_pem().as_bytes(), PRIVATE)
                .map_err(|e| failed(io::Error::other(e)))?;
        }
        let pem = private_file::read(path).map_err(|e| failed(io::Error::other(e)))?;
        let pair =
            KeyPair::from_pem(&pem.unwrap_or_default()).map_err(|e| failed(io::Error::other(e)))?;
        match pair.is_compatible(&rcgen::PKCS_ECDSA_P256_SHA256) {
            true => Ok(Self::of(&pair)),
            false => Err(failed(io::Error::other("it is no key of the curve P-256"))),
        }
    }

    /// A new key that is kept nowhere: what it signs is good as long as this process.
    pub(crate) fn new() -> Self {
        Self::of(&KeyPair::generate().expect("a machine without randomness cannot serve"))
    }

    fn of(pair: &KeyPair) -> Self {
        let id = digest(&SHA256, &pair.subject_public_key_info());
        Self {
            id: URL_SAFE_NO_PAD.encode(id),
            signs: EncodingKey::from_ec_der(&pair.serialize_der()),
            verifies: DecodingKey::from_ec_der(pair.public_key_raw()),
            public: pair.public_key_raw().to_vec(),
        }
    }

    /// The public part as a JSON Web Key Set (RFC 7517).
    pub(crate) fn set(&self) -> Value {
        // Behind the mark of an uncompressed point, its two coordinates (RFC 5480 §2.2).
        let (x, y) = self.public[1..].split_at((self.public.len() - 1) / 2);
        let [x, y] = [x, y].map(|part| URL_SAFE_NO_PAD.encode(part));
        let key = json!({"use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": "ES256", "x": x, "y": y});
        json!({"keys": [key]})
    }
}

/// What OpenID Connect Discovery tells of these tokens, to whoever has reached the server under that name.
pub(crate) fn configuration(host: &str) -> Value {
    json!({
        "issuer": ISSUER, "jwks_uri": format!("https://{host}/openid/v1/jwks"), "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"],
    })
}

/// Makes a token for an account as a checked `TokenRequest` asks for it.
///
/// # Errors
/// When what it is to be bound to is not there, or not what is meant.
pub(crate) fn issue(
    server: &Server,
    account: &Object,
    spec: &Value,
) -> std::result::Result<Issued, Failure> {
    let (namespace, name) = (&account.key.namespace, &account.key.name);
    let now = server.clock()();
    let life = spec["expirationSeconds"].as_u64().unwrap_or_default();
    let ends = now
        .checked_add(Duration::from_secs(life))
        .map_err(|error| Failure::bad_request(error.to_string()))?;
    let reference = |object: &Object| json!({"name": object.key.name, "uid": object.uid()});
    let mut own = json!({"namespace": namespace, "serviceaccount": reference(account)});
    if let Some((claim, object)) = bound(server, account, &spec["boundObjectRef"])? {
        own[claim] = reference(&object);
    }
    let claims = json!({
        "aud": spec["audiences"], "exp": ends.as_second(), "iat": now.as_second(), "nbf": now.as_second(), "iss": ISSUER,
        "jti": server.ids().uid(), OWN: own, "sub": Identity::account(namespace, name, "").name,
    });
    let key = server.account_key();
    let header = Header {
        typ: None,
        kid: Some(key.id.clone()),
        ..Header::new(Algorithm::ES256)
    };
    let token = jsonwebtoken::encode(&header, &claims, &key.signs)
        .map_err(|_| Failure::internal("the token cannot be signed"))?;
    Ok(Issued { token, ends })
}

/// The object that a token is to be bound to, if to any, and by which claim.
fn bound(
    server: &Server,
    account: &Object,
    reference: &Value,
) -> std::result::Result<Option<(&'static str, Arc<Object>)>, Failure> {
    if !reference.is_object() {
        return Ok(None);
    }
    let word = |field: &str| reference[field].as_str().unwrap_or_default();
    let (kind, version, name) = (word("kind"), word("apiVersion"), word("name"));
    let known = BOUND
        .iter()
        .find(|known| known.0 == kind && version == "v1");
    let Some((_, plural, claim)) = known else {
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let why = format!("cannot bind token to object of type {group}/{version}, Kind={kind}");
        return Err(Failure::bad_request(why));
    };
    let resource = boot::built_in(server, "", plural)?;
    let key = resource.key(&account.key.namespace, name);
    let object = server.state().objects.get(&key);
    let object = object.ok_or_else(|| Failure::not_found(&resource, name))?;
    if *claim == "pod" && object.value["spec"]["serviceAccountName"] != account.key.name.as_str() {
        let why = format!(
            "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
            account.key.name
        );
        return Err(Failure::bad_request(why));
    }
    let (meant, uid) = (word("uid"), object.uid());
    if !meant.is_empty() && meant != uid {
        let why = format!(
            "the UID in the bound object reference ({meant}) does not match the UID in record. The object might have been \
             deleted and then recreated"
        );
        return Err(Failure::conflict(&resource, name, &why));
    }
    Ok(Some((claim, object)))
}

/// Whose that token is.
pub(super) fn judge(
    server: &Server,
    token: &str,
    audiences: &[String],
) -> std::result::Result<Proven, Refused> {
    let now = server.clock()();
    let claims = jwt::verified(token, &server.account_key().verifies, Algorithm::ES256)?;
    let leeway = Leeway {
        end: LEEWAY,
        begin: LEEWAY,
    };
    jwt::in_time(&claims, now, leeway)?;
    let mut meant = jwt::texts(&claims, "aud");
    meant.retain(|audience| audiences.contains(audience));
    if meant.is_empty() {
        return Err(Refused::Audience);
    }
    let identity = holder(server, &claims, now)?;
    Ok(Proven {
        identity,
        audiences: meant,
    })
}

/// Who the holder of a verified token is, while everything that it names is there.
fn holder(
    server: &Server,
    claims: &Claims,
    now: Timestamp,
) -> std::result::Result<Identity, Refused> {
    let own = claims.get(OWN).unwrap_or(&Value::Null);
    let namespace = own["namespace"].as_str().unwrap_or_default();
    let lives = |plural: &str, claim: &'static str| {
        let (name, uid) = (own[claim]["name"].as_str(), own[claim]["uid"].as_str());
        let (Some(name), Some(uid)) = (name, uid) else {
            return Err(Refused::Gone(claim));
        };
        let resource = boot::built_in(server, "", plural).map_err(|_| Refused::Gone(claim))?;
        let object = server.state().objects.get(&resource.key(namespace, name));
        let same = object.filter(|object| object.uid() == uid && !is_gone(object, now));
        same.map(|_| (name, uid)).ok_or(Refused::Gone(claim))
    };
    let (name, uid) = lives("serviceaccounts", "serviceaccount")?;
    let mut identity = Identity::account(namespace, name, uid);
    for (_, plural, claim) in BOUND {
        if own.get(claim).is_none() {
            continue;
        }
        let (name, uid) = lives(plural, claim)?;
        if claim == "pod" {
            for (what, value) in [("name", name), ("uid", uid)] {
                let what = format!("authentication.kubernetes.io/pod-{what}");
                identity.extra.insert(what, vec![value.to_owned()]);
            }
        }
    }
    identity.extra.extend(jwt::credential(claims));
    Ok(identity)
}

/// Whether an object goes for longer than clocks may be apart.
fn is_gone(object: &Object, now: Timestamp) -> bool {
    let since = meta_text(&object.value, "deletionTimestamp").parse::<Timestamp>();
    since.is_ok_and(|since| since.as_second() < now.as_second().saturating_sub(LEEWAY))
}
