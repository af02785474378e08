//! Tokens of a provider that the test itself is: over https, with keys that come and go.

use std::convert::Infallible;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Response;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;
use tower::service_fn;

use super::*;
use crate::listen::{self, Listening};
use crate::tls::Authority;

/// Both ways of signing.
enum Pair {
    Ec(rcgen::KeyPair),
    Rsa(KeyPair),
}

impl Pair {
    fn ec() -> Self {
        Self::Ec(rcgen::KeyPair::generate().unwrap())
    }

    fn public(&self, id: &str) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Ec(pair) => {
                let (x, y) = pair.public_key_raw()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": id, "x": text(x), "y": text(y)})
            }
            Self::Rsa(pair) => {
                let public = pair.public_key();
                let (n, e) = (public.modulus(), public.exponent());
                let [n, e] = [n, e].map(|it| text(it.big_endian_without_leading_zero()));
                json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": id, "n": n, "e": e})
            }
        }
    }

    fn token(&self, id: &str, claims: &Value) -> String {
        match self {
            Self::Ec(pair) => {
                let kid = Some(id.to_owned());
                let header = Header {
                    kid,
                    ..Header::new(Algorithm::ES256)
                };
                encode(
                    &header,
                    claims,
                    &EncodingKey::from_ec_der(&pair.serialize_der()),
                )
                .unwrap()
            }
            Self::Rsa(pair) => {
                let head = json!({"alg": "RS256", "kid": id}).to_string();
                let [head, claims] =
                    [head, claims.to_string()].map(|it| URL_SAFE_NO_PAD.encode(it));
                let signed = format!("{head}.{claims}");
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(
                    &RSA_PKCS1_SHA256,
                    &SystemRandom::new(),
                    signed.as_bytes(),
                    &mut signature,
                )
                .unwrap();
                format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
            }
        }
    }
}

/// What the provider tells, and how often it was asked for its keys.
#[derive(Default)]
struct Told {
    keys: Mutex<Vec<Value>>,
    asked: AtomicUsize,
}

struct Provider {
    told: Arc<Told>,
    url: String,
    authority: Authority,
    door: Listening,
    _folder: tempfile::TempDir,
}

impl Provider {
    async fn start(keys: Vec<Value>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path(), Timestamp::now()).unwrap();
        let config = authority.server_config(&[], Timestamp::now()).unwrap();
        let told = Arc::new(Told {
            keys: Mutex::new(keys),
            ..Told::default()
        });
        let tells = told.clone();
        let service = move |_| {
            let told = tells.clone();
            service_fn(move |request: Request<hyper::body::Incoming>| {
                let url = format!("https://{}", request.headers()["host"].to_str().unwrap());
                let answer = match request.uri().path() {
                    DISCOVERY => json!({"issuer": url, "jwks_uri": format!("{url}/keys")}),
                    _ => {
                        told.asked.fetch_add(1, Ordering::Relaxed);
                        json!({"keys": *told.keys.lock().unwrap()})
                    }
                };
                async move {
                    Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(answer.to_string())))
                }
            })
        };
        let door = listen::tls("127.0.0.1:0".parse().unwrap(), config, service)
            .await
            .unwrap();
        let url = format!("https://{}", door.address().unwrap());
        Self {
            told,
            url,
            authority,
            door,
            _folder: folder,
        }
    }

    fn options(&self) -> Options {
        Options {
            issuer_url: self.url.clone(),
            client_id: "groma".to_owned(),
            username_claim: "sub".to_owned(),
            authorities: Some(self.authority.certificate().as_bytes().to_vec()),
            ..Options::default()
        }
    }

    /// Claims that hold at `NOW`, with these on top.
    fn claims(&self, more: &Value) -> Value {
        let mut claims = json!({"iss": self.url, "aud": ["other", "groma"], "sub": "ann", "exp": NOW + 60, "jti": "7"});
        let more = more.as_object().unwrap().clone();
        claims.as_object_mut().unwrap().extend(more);
        claims
    }
}

const NOW: i64 = 1_800_000_000;

async fn judge(issuer: &Issuer, token: &str) -> Result<Identity, Refused> {
    let now = Timestamp::from_second(NOW).unwrap();
    let judged = issuer
        .judge(token, &[account::AUDIENCE.to_owned()], now)
        .await;
    judged.map(|proven| proven.identity)
}

#[tokio::test]
async fn a_token_holds_if_all_of_it_does() {
    let (ec, rsa, other) = (
        Pair::ec(),
        Pair::Rsa(KeyPair::generate(KeySize::Rsa2048).unwrap()),
        Pair::ec(),
    );
    let odd = json!({"kty": "OKP", "crv": "Ed25519", "kid": "odd", "x": "AAAA"});
    let mut sealing = rsa.public("sealing");
    sealing["use"] = "enc".into();
    let provider = Provider::start(vec![odd, sealing, ec.public("ec"), rsa.public("rsa")]).await;
    let issuer = Issuer::new(provider.options()).unwrap();
    let claims = |more: Value| provider.claims(&more);
    let good = claims(json!({}));
    // What is signed with the public part as if it were a shared secret.
    let Pair::Ec(pair) = &ec else { unreachable!() };
    let header = Header {
        kid: Some("ec".to_owned()),
        ..Header::new(Algorithm::HS256)
    };
    let confused = encode(
        &header,
        &good,
        &EncodingKey::from_secret(pair.public_key_raw()),
    )
    .unwrap();
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","kid":"ec"}"#);
    let none = format!("{none}.{}.", URL_SAFE_NO_PAD.encode(good.to_string()));
    let unsigned = Some(Refused::Unsigned);
    let cases = [
        (ec.token("ec", &good), None),
        (rsa.token("rsa", &good), None),
        (ec.token("", &good), None),
        (ec.token("ec", &claims(json!({"aud": "groma"}))), None),
        (ec.token("ec", &claims(json!({"nbf": NOW + 300}))), None),
        (
            ec.token("ec", &claims(json!({"exp": 1_800_000_000.9}))),
            None,
        ),
        (
            ec.token("ec", &claims(json!({"exp": NOW - 1}))),
            Some(Refused::Expired),
        ),
        (
            ec.token("ec", &claims(json!({"exp": "never"}))),
            Some(Refused::Expired),
        ),
        (
            ec.token("ec", &claims(json!({"nbf": NOW + 301}))),
            Some(Refused::Early),
        ),
        (
            ec.token("ec", &claims(json!({"aud": "other"}))),
            Some(Refused::Audience),
        ),
        (
            ec.token("ec", &claims(json!({"iss": "https://other.example"}))),
            Some(Refused::Unknown),
        ),
        (
            ec.token("ec", &claims(json!({"sub": 7}))),
            Some(Refused::Claim("sub".to_owned())),
        ),
        (other.token("ec", &good), unsigned.clone()),
        (other.token("unknown", &good), unsigned.clone()),
        (ec.token("rsa", &good), unsigned.clone()),
        (rsa.token("ec", &good), unsigned.clone()),
        (rsa.token("sealing", &good), unsigned.clone()),
        (confused, unsigned.clone()),
        (none, unsigned.clone()),
        ("a.b.c".to_owned(), unsigned),
    ];
    for (at, (token, refused)) in cases.into_iter().enumerate() {
        assert_eq!(judge(&issuer, &token).await.err(), refused, "case {at}");
    }
    // Invented tokens make no load for the provider.
    assert_eq!(provider.told.asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn claims_name_the_user_as_in_kubernetes() {
    let pair = Pair::ec();
    let provider = Provider::start(vec![pair.public("k")]).await;
    let told = json!({"name": "Ann", "email": "ann@groma.example", "groups": ["a", "b"], "role": "boss", "team": 7});
    let url = &provider.url;
    let claim = |name: &str| Some(name.to_owned());
    type Set<'a> = Box<dyn Fn(&mut Options) + 'a>;
    type Expected = Result<(String, &'static [&'static str]), Refused>;
    let cases: Vec<(Set<'_>, Value, Expected)> = vec![
        (Box::new(|_| ()), json!({}), Ok((format!("{url}#ann"), &[]))),
        (
            Box::new(|it| it.username_prefix = claim("-")),
            json!({}),
            Ok(("ann".to_owned(), &[])),
        ),
        (
            Box::new(|it| it.username_prefix = claim("o:")),
            json!({}),
            Ok(("o:ann".to_owned(), &[])),
        ),
        (
            Box::new(|it| it.username_claim = "name".to_owned()),
            json!({}),
            Ok((format!("{url}#Ann"), &[])),
        ),
        (
            Box::new(|it| it.username_claim = "email".to_owned()),
            json!({}),
            Ok(("ann@groma.example".to_owned(), &[])),
        ),
        (
            Box::new(|it| it.username_claim = "email".to_owned()),
            json!({"email_verified": true}),
            Ok(("ann@groma.example".to_owned(), &[])),
        ),
        (
            Box::new(|it| it.username_claim = "email".to_owned()),
            json!({"email_verified": false}),
            Err(Refused::Claim("email_verified".to_owned())),
        ),
        (
            Box::new(|it| it.username_claim = "email".to_owned()),
            json!({"email_verified": "true"}),
            Err(Refused::Claim("email_verified".to_owned())),
        ),
        (
            Box::new(|it| it.groups_claim = claim("groups")),
            json!({}),
            Ok((format!("{url}#ann"), &["a", "b"])),
        ),
        (
            Box::new(|it| {
                it.groups_claim = claim("groups");
                it.groups_prefix = "o:".to_owned();
            }),
            json!({}),
            Ok((format!("{url}#ann"), &["o:a", "o:b"])),
        ),
        (
            Box::new(|it| it.groups_claim = claim("role")),
            json!({}),
            Ok((format!("{url}#ann"), &["boss"])),
        ),
        (
            Box::new(|it| it.groups_claim = claim("none")),
            json!({}),
            Ok((format!("{url}#ann"), &[])),
        ),
        (
            Box::new(|it| it.groups_claim = claim("team")),
            json!({}),
            Err(Refused::Claim("team".to_owned())),
        ),
        (
            Box::new(|it| {
                drop(
                    it.required_claims
                        .insert("role".to_owned(), "boss".to_owned()),
                )
            }),
            json!({}),
            Ok((format!("{url}#ann"), &[])),
        ),
        (
            Box::new(|it| {
                drop(
                    it.required_claims
                        .insert("role".to_owned(), "cook".to_owned()),
                )
            }),
            json!({}),
            Err(Refused::Claim("role".to_owned())),
        ),
        (
            Box::new(|it| drop(it.required_claims.insert("team".to_owned(), "7".to_owned()))),
            json!({}),
            Err(Refused::Claim("team".to_owned())),
        ),
    ];
    for (at, (set, more, expected)) in cases.into_iter().enumerate() {
        let mut options = provider.options();
        set(&mut options);
        let issuer = Issuer::new(options).unwrap();
        let mut claims = provider.claims(&told);
        claims
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let judged = judge(&issuer, &pair.token("k", &claims)).await;
        let expected = expected.map(|(name, groups)| {
            let mut user = Identity::user(name, groups.iter().map(|&it| it.to_owned()));
            let id = "authentication.kubernetes.io/credential-id".to_owned();
            user.extra.insert(id, vec!["JTI=7".to_owned()]);
            user
        });
        assert_eq!(judged, expected, "case {at}");
    }
}

/// Lets the time pass in which the provider is not asked again.
async fn pause_over() {
    tokio::time::pause();
    tokio::time::advance(FETCH_PAUSE).await;
    tokio::time::resume();
}

#[tokio::test]
async fn keys_come_and_go() {
    let (old, new) = (Pair::ec(), Pair::ec());
    let provider = Provider::start(vec![old.public("old")]).await;
    let issuer = Issuer::new(provider.options()).unwrap();
    let claims = provider.claims(&json!({}));
    let (by_old, by_new) = (old.token("old", &claims), new.token("new", &claims));
    assert!(judge(&issuer, &by_old).await.is_ok());
    *provider.told.keys.lock().unwrap() = vec![new.public("new")];
    // It is not asked again so soon.
    assert_eq!(judge(&issuer, &by_new).await, Err(Refused::Unsigned));
    assert_eq!(provider.told.asked.load(Ordering::Relaxed), 1);
    pause_over().await;
    assert!(
        judge(&issuer, &by_old).await.is_ok(),
        "nobody has asked yet"
    );
    assert!(judge(&issuer, &by_new).await.is_ok());
    assert_eq!(judge(&issuer, &by_old).await, Err(Refused::Unsigned));
    assert_eq!(provider.told.asked.load(Ordering::Relaxed), 2);
    // While it is away, what is known holds, and all else is refused.
    provider.door.stop().await;
    pause_over().await;
    assert_eq!(judge(&issuer, &by_old).await, Err(Refused::Unsigned));
    assert!(judge(&issuer, &by_new).await.is_ok());
}

#[tokio::test]
async fn what_a_provider_tells_has_limits() {
    let pair = Pair::ec();
    for (keys, bytes, expected) in [
        (KEYS_MAX, 0, true),
        (KEYS_MAX + 1, 0, false),
        (1, DOCUMENT_BYTES_MAX - 1024, true),
        (1, DOCUMENT_BYTES_MAX, false),
    ] {
        let mut all = vec![json!({"kty": "x"}); keys];
        all[0] = pair.public("k");
        all[0]["note"] = "x".repeat(bytes).into();
        let provider = Provider::start(all).await;
        let issuer = Issuer::new(provider.options()).unwrap();
        let token = pair.token("k", &provider.claims(&json!({})));
        assert_eq!(
            judge(&issuer, &token).await.is_ok(),
            expected,
            "{keys} keys, {bytes} bytes"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_says_nothing_is_left() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open(folder.path(), Timestamp::now()).unwrap();
    let options = Options {
        issuer_url: format!("https://{}", silent.local_addr().unwrap()),
        authorities: Some(authority.certificate().as_bytes().to_vec()),
        ..Options::default()
    };
    let issuer = Issuer::new(options).unwrap();
    let begun = Instant::now();
    let token = Pair::ec().token("k", &json!({}));
    assert_eq!(judge(&issuer, &token).await, Err(Refused::Unsigned));
    assert_eq!(begun.elapsed(), FETCH_PATIENCE);
    // Others do not wait for it, either.
    assert_eq!(judge(&issuer, &token).await, Err(Refused::Unsigned));
    assert_eq!(begun.elapsed(), FETCH_PATIENCE);
}

#[test]
fn only_https_is_asked() {
    for (issuer_url, authorities) in [
        ("http://127.0.0.1", None),
        ("nonsense", None),
        ("https://a.example", Some(b"none".to_vec())),
    ] {
        let options = Options {
            issuer_url: issuer_url.to_owned(),
            authorities,
            ..Options::default()
        };
        assert!(Issuer::new(options).is_err(), "{issuer_url}");
    }
}
