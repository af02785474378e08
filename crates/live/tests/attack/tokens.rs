//! Tokens: none, malformed, forged, of another time and place, and those by which hosts join.

use std::fs;
use std::thread;

use apiserver::HOST_SIGNER;
use apiserver::bootstrap::Token;
use apiserver::tls::{ask, new_key};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PublicKeyData as _};
use serde_json::{Value, json};

use crate::ground::{Answer, Ground, SECRET, TENANT, VICTIM, Who, named};

const CONFIGMAPS: &str = "/api/v1/namespaces/team-a/configmaps";
const HOSTS: &str = "/apis/groma.dev/v1alpha1/hosts";
const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const TOKENS: &str = "/api/v1/namespaces/kube-system/secrets";

#[test]
fn a_token_that_does_not_hold_opens_nothing() {
    let ground = match Ground::start() {
        Ok(ground) => ground,
        Err(skip) => return skip.report(),
    };
    let owner = ground.tenant(TENANT).token.expect("a token");
    ground.get(&ground.with_token(&owner), CONFIGMAPS).is(200);
    let parts: Vec<&str> = owner.split('.').collect();
    let claims = URL_SAFE_NO_PAD.decode(parts[1]).expect("claims");
    let claims: Value = serde_json::from_slice(&claims).expect("claims");

    let pem = fs::read_to_string(ground.folder().join("accounts.key")).expect("the server's key");
    let pair = KeyPair::from_pem(&pem).expect("a key");
    let own = EncodingKey::from_ec_der(&pair.serialize_der());
    let foreign = KeyPair::generate().expect("a key").serialize_der();
    let foreign = EncodingKey::from_ec_der(&foreign);
    let claiming = |field: &str, value: Value| {
        let mut claims = claims.clone();
        claims[field] = value;
        claims
    };
    let signed = |claims: &Value, algorithm, key: &EncodingKey| {
        encode(&Header::new(algorithm), claims, key).expect("it can be signed")
    };
    let es256 = |claims: &Value| signed(claims, Algorithm::ES256, &own);
    ground
        .get(&ground.with_token(&es256(&claims)), CONFIGMAPS)
        .is(200);

    let unsigned = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let shouted = URL_SAFE_NO_PAD.encode(r#"{"alg":"NoNe"}"#);
    let now = Timestamp::now().as_second();
    // The public key as everybody finds it, as the secret of a symmetric algorithm.
    let public = pair.subject_public_key_info();
    let by_public = [
        pair.public_key_raw(),
        &*public,
        pair.public_key_pem().as_bytes(),
    ]
    .map(|key| signed(&claims, Algorithm::HS256, &EncodingKey::from_secret(key)));
    let mut gone = claims.clone();
    gone["kubernetes.io"]["serviceaccount"]["uid"] = json!("00000000-0000-0000-0000-000000000000");
    let mut of_masters = claims.clone();
    of_masters["groups"] = json!(["system:masters"]);
    let mut refused = vec![
        "x".to_owned(),
        "..".to_owned(),
        "a.b.c".to_owned(),
        "\u{fffd}.\u{202e}.x".to_owned(),
        "A".repeat(17 * 1024),
        owner[..owner.len() - 1].to_owned(),
        format!("{owner}="),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{unsigned}.{}.", parts[1]),
        format!("{shouted}.{}.", parts[1]),
        format!("{unsigned}.{}.{}", parts[1], parts[2]),
        signed(&claims, Algorithm::ES256, &foreign),
        signed(&of_masters, Algorithm::ES256, &foreign),
        es256(&claiming("exp", json!(now - 3600))),
        es256(&claiming("exp", json!("never"))),
        es256(&claiming("nbf", json!(now + 3600))),
        es256(&claiming("aud", json!(["vault"]))),
        es256(&claiming("aud", json!([]))),
        es256(&claiming("iss", json!("https://evil.example"))),
        es256(&claiming("kubernetes.io", json!({}))),
        es256(&gone),
    ];
    refused.extend(by_public);
    for token in &refused {
        let answer = ground.get(&ground.with_token(token), CONFIGMAPS);
        let shown = &token[..token.len().min(80)];
        assert_eq!(answer.code, 401, "{shown}: {answer:?}");
        assert_eq!(answer.json()["message"], "Unauthorized", "{shown}");
    }
    // Nobody grows by what else a token claims.
    let whoami = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let more = ground.with_token(&es256(&of_masters));
    let said = ground.ask(&more, "POST", whoami, "{}");
    assert!(!said.is(201).body.contains("system:masters"), "{said:?}");

    // Where no token is understood, somebody is nobody.
    let secrets = format!("/api/v1/namespaces/{VICTIM}/secrets");
    for value in [
        "",
        "Basic YWRtaW46YWRtaW4=",
        "Bearer",
        "Bearer  ",
        "Negotiate x",
    ] {
        let fields = [("authorization", value)];
        let answer = ground.send(&ground.nobody(), ("GET", &secrets), &fields, "");
        assert!([401, 403].contains(&answer.code), "{value}: {answer:?}");
        assert!(!answer.body.contains(SECRET));
    }
    let secrets: Vec<&str> = refused
        .iter()
        .filter(|it| it.len() > 20)
        .map(|it| &**it)
        .collect();
    ground.never_said(&secrets);
    ground.never_said(&[&owner, SECRET]);
    ground.serves_others();
}

#[test]
fn a_bootstrap_token_gets_one_certificate_for_one_key_of_one_host() {
    let ground = match Ground::start() {
        Ok(ground) => ground,
        Err(skip) => return skip.report(),
    };
    let host = |name: &str| {
        let mut host = named(name);
        host["spec"] = json!({"site": "mad", "domain": "core", "locator": "fd00:1::/48"});
        ground.make(HOSTS, &host).is(201);
    };
    host("mad-1");
    host("mad-2");
    let hour = SignedDuration::from_hours(1);
    let made = |host: &str, ends| {
        let token = Token::random().expect("randomness");
        ground.make(TOKENS, &token.document(host, ends)).is(201);
        format!("{}.{}", token.id, token.secret)
    };
    let token = made("mad-1", Timestamp::now() + hour);
    let holder = ground.with_token(&token);

    // It is good for nothing else.
    for (method, path) in [
        ("GET", HOSTS),
        ("GET", TOKENS),
        ("GET", REQUESTS),
        ("DELETE", "/apis/groma.dev/v1alpha1/hosts/mad-1"),
        (
            "POST",
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
        ),
        ("GET", "/apis/groma.dev/v1alpha1/hosts/mad-1/door"),
        ("GET", "/metrics"),
        ("GET", "/backup"),
    ] {
        ground.ask(&holder, method, path, "{}").is(403);
    }
    let (key, other) = (new_key().expect("a key"), new_key().expect("a key"));
    let wants = |who: &Who, key: &str, name: &str, group: &str| {
        ground.ask(
            who,
            "POST",
            REQUESTS,
            request(key, (name, group), HOST_SIGNER),
        )
    };
    let joins = |who: &Who, key: &str, host: &str| {
        wants(who, key, &format!("system:host:{host}"), "system:hosts")
    };
    joins(&holder, &key, "mad-2").is(403);
    for (name, group) in [
        ("groma:admin", "system:masters"),
        ("system:host:mad-1", "system:masters"),
        ("system:server", "system:servers"),
        ("system:host:", "system:hosts"),
    ] {
        let answer = wants(&holder, &key, name, group);
        assert!([400, 403].contains(&answer.code), "{name}: {answer:?}");
    }
    let by_user_signer = request(&key, ("eve", "eves"), "kubernetes.io/kube-apiserver-client");
    ground
        .ask(&holder, "POST", REQUESTS, by_user_signer)
        .is(403);

    // Of many keys at once, one gets it.
    let keys: Vec<String> = (0..8).map(|_| new_key().expect("a key")).collect();
    let codes: Vec<u16> = thread::scope(|scope| {
        let asked = keys
            .iter()
            .map(|key| scope.spawn(|| joins(&holder, key, "mad-1").code));
        let asked: Vec<_> = asked.collect();
        asked
            .into_iter()
            .map(|it| it.join().expect("answered"))
            .collect()
    });
    assert_eq!(
        codes.iter().filter(|it| **it == 201).count(),
        1,
        "{codes:?}"
    );
    assert!(codes.iter().all(|it| [201, 403].contains(it)), "{codes:?}");
    joins(&holder, &other, "mad-1")
        .is(403)
        .says("the token was used with another key");

    // Guessed, half right, ended, deleted.
    let (id, _) = token.split_once('.').expect("two halves");
    for guess in [
        format!("{id}.0123456789abcdef"),
        "abcdef.0123456789abcdef".to_owned(),
    ] {
        let answer = joins(&ground.with_token(&guess), &key, "mad-1");
        assert_eq!(answer.is(401).json()["message"], "Unauthorized");
    }
    let ended = made("mad-1", Timestamp::now() - hour);
    joins(&ground.with_token(&ended), &key, "mad-1").is(401);
    let deleted = made("mad-1", Timestamp::now() + hour);
    let (id, _) = deleted.split_once('.').expect("two halves");
    let path = format!("{TOKENS}/bootstrap-token-{id}");
    ground.ask(&ground.admin(), "DELETE", &path, "").is(200);
    joins(&ground.with_token(&deleted), &key, "mad-1").is(401);

    let halves = [&token, &ended, &deleted].map(|it| it.split_once('.').expect("two").1);
    ground.never_said(&halves);
    ground.serves_others();
}

#[test]
fn nobody_becomes_an_administrator_a_host_or_a_server_by_a_signed_request() {
    let ground = match Ground::start() {
        Ok(ground) => ground,
        Err(skip) => return skip.report(),
    };
    let eve = ground.tenant(TENANT);
    // Eve may ask for certificates of users and approve them: no more than that.
    let mut role = named("approver");
    role["rules"] = json!([
        {"apiGroups": ["certificates.k8s.io"], "resources": ["certificatesigningrequests", "certificatesigningrequests/approval"],
            "verbs": ["create", "get", "update"]},
        {"apiGroups": ["certificates.k8s.io"], "resources": ["signers"], "verbs": ["approve"],
            "resourceNames": ["kubernetes.io/kube-apiserver-client"]},
    ]);
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    ground.make(&format!("{rbac}/clusterroles"), &role).is(201);
    let mut binding = named("approver");
    binding["roleRef"] =
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "approver"});
    binding["subjects"] = json!([{"kind": "ServiceAccount", "name": "owner", "namespace": TENANT}]);
    ground
        .make(&format!("{rbac}/clusterrolebindings"), &binding)
        .is(201);
    let key = new_key().expect("a key");
    let approved = |name: &str, group: &str| -> Answer {
        let asked = request(&key, (name, group), "kubernetes.io/kube-apiserver-client");
        let made = ground.ask(&eve, "POST", REQUESTS, asked);
        let mut csr = made.is(201).json();
        csr["status"]["conditions"] =
            json!([{"type": "Approved", "status": "True", "reason": "Mine"}]);
        let path = format!(
            "{REQUESTS}/{}/approval",
            csr["metadata"]["name"].as_str().expect("named")
        );
        ground.ask(&eve, "PUT", &path, csr)
    };
    approved("bob", "builders").is(200);
    for (name, group) in [
        ("eve", "system:masters"),
        ("system:host:mad-1", "system:hosts"),
        ("system:server", "system:servers"),
        ("system:bootstrap:abcdef", "system:bootstrappers"),
    ] {
        approved(name, group).is(403);
    }
    ground.serves_others();
}

/// A request for a certificate of a signer.
fn request(key: &str, (name, group): (&str, &str), signer: &str) -> Value {
    let pem = ask(key, name, group).expect("it can be asked for");
    let spec =
        json!({"request": STANDARD.encode(pem), "signerName": signer, "usages": ["client auth"]});
    json!({"metadata": {"generateName": "asked-"}, "spec": spec})
}
