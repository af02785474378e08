//! What the door makes of tokens, through requests as clients make them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use super::*;

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const WHOAMI: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

fn server() -> Server {
    let server = Server::in_memory(Vec::new());
    for (kind, name) in [
        ("ServiceAccount", "bot"),
        ("ServiceAccount", "other"),
        ("Secret", "box"),
    ] {
        put(&server, kind, name);
    }
    server
}

fn put(server: &Server, kind: &str, name: &str) {
    let object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "default"}});
    server.apply(&object).expect("an object");
}

/// The answer to a request, with what it says about whoever asks.
async fn send(
    server: &Server,
    identity: &Identity,
    request: (&str, &str, &Value),
    authorization: Option<&str>,
) -> (u16, Value, bool) {
    let (method, path, body) = request;
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "groma.example");
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    let body = match body {
        Value::Null => Full::default(),
        body => Full::<bytes::Bytes>::from(body.to_string()),
    };
    let response = server
        .serve(identity, request.body(body).expect("a request"))
        .await;
    let (code, known) = (
        response.status().as_u16(),
        response.extensions().get::<Known>().is_some(),
    );
    let body = response
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    (
        code,
        serde_json::from_slice(&body).unwrap_or_default(),
        known,
    )
}

async fn admin(server: &Server, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let (code, answer, _) = send(server, &Identity::admin("it"), (method, path, body), None).await;
    (code, answer)
}

async fn token(server: &Server, account: &str, spec: &Value) -> String {
    let path = format!("{ACCOUNTS}/{account}/token");
    let (code, answer) = admin(server, "POST", &path, &json!({"spec": spec})).await;
    assert_eq!(code, 201, "{answer}");
    answer["status"]["token"]
        .as_str()
        .expect("a token")
        .to_owned()
}

/// Who the server takes the holder of a token for.
async fn holder(server: &Server, token: &str) -> (u16, Value) {
    let bearer = format!("Bearer {token}");
    let asked = ("POST", WHOAMI, &json!({}));
    let (code, answer, known) = send(server, &Identity::anonymous(), asked, Some(&bearer)).await;
    assert_eq!(known, code == 201, "{answer}");
    (code, answer["status"]["userInfo"].clone())
}

#[tokio::test(start_paused = true)]
async fn a_service_account_is_known_by_its_token() {
    let server = server();
    let (_, account) = admin(&server, "GET", &format!("{ACCOUNTS}/bot"), &Value::Null).await;
    let token = token(&server, "bot", &json!({})).await;
    let (code, user) = holder(&server, &token).await;
    assert_eq!(code, 201);
    let groups = json!([
        "system:serviceaccounts",
        "system:serviceaccounts:default",
        "system:authenticated"
    ]);
    assert_eq!(user["username"], "system:serviceaccount:default:bot");
    assert_eq!(
        (&user["uid"], &user["groups"]),
        (&account["metadata"]["uid"], &groups)
    );
    let id = user["extra"]["authentication.kubernetes.io/credential-id"][0].as_str();
    assert!(id.is_some_and(|id| id.starts_with("JTI=")), "{user}");
}

#[tokio::test]
async fn one_that_is_alone_believes_nobody_who_asks_for_others() {
    let server = server();
    let mut headers = HeaderMap::new();
    passed::write(&Identity::admin("root"), &mut headers).expect("it can be said");
    let doors = [
        Identity::host("mad-1"),
        Identity::user("system:server", []),
        Identity::server(),
        Identity::anonymous(),
    ];
    for door in doors {
        let author = author(&server, &door, &headers).await;
        assert_eq!(*author.expect("nothing is refused"), door);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_says_what_kubernetes_says() {
    let server = server();
    let asked = json!({"spec": {"audiences": ["vault", "bank"], "expirationSeconds": 700}});
    let (code, answer) = admin(&server, "POST", &format!("{ACCOUNTS}/bot/token"), &asked).await;
    assert_eq!(code, 201);
    assert_eq!(
        (&answer["kind"], &answer["apiVersion"]),
        (&json!("TokenRequest"), &json!("authentication.k8s.io/v1"))
    );
    assert_eq!(answer["metadata"]["name"], "bot");
    assert_eq!(answer["spec"]["expirationSeconds"], 700);
    assert_eq!(
        answer["status"]["expirationTimestamp"],
        "2026-01-01T00:11:40Z"
    );
    let cases = [
        (
            "bot",
            json!({"expirationSeconds": 599}),
            422,
            "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes",
        ),
        (
            "bot",
            json!({"expirationSeconds": 4_294_967_297_u64}),
            422,
            "may not specify a duration larger than 2^32 seconds",
        ),
        (
            "bot",
            json!({"expirationSeconds": 4_294_967_296_u64}),
            201,
            "",
        ),
        ("bot", json!({"expirationSeconds": 600}), 201, ""),
        ("none", json!({}), 404, "serviceaccounts \"none\" not found"),
        (
            "bot",
            json!({"boundObjectRef": {"kind": "Secret", "apiVersion": "v1", "name": "none"}}),
            404,
            "secrets \"none\" not found",
        ),
        (
            "bot",
            json!({"boundObjectRef": {"kind": "Secret", "apiVersion": "v1", "name": "box", "uid": "x"}}),
            409,
            "the UID in the bound object reference (x) does not match",
        ),
        (
            "bot",
            json!({"boundObjectRef": {"kind": "ConfigMap", "apiVersion": "v1", "name": "box"}}),
            400,
            "cannot bind token to object of type /v1, Kind=ConfigMap",
        ),
    ];
    for (account, spec, expected, message) in cases {
        let path = format!("{ACCOUNTS}/{account}/token");
        let (code, answer) = admin(&server, "POST", &path, &json!({"spec": spec})).await;
        assert_eq!(code, expected, "{spec}: {answer}");
        let said = answer["message"].as_str().unwrap_or_default();
        assert!(said.contains(message), "{spec}: {said}");
    }
    let (code, _) = admin(
        &server,
        "GET",
        &format!("{ACCOUNTS}/bot/token"),
        &Value::Null,
    )
    .await;
    assert_eq!(code, 405);
}

#[tokio::test(start_paused = true)]
async fn making_a_token_needs_its_own_right() {
    let server = server();
    let ann = Identity::user("ann", []);
    let path = format!("{ACCOUNTS}/bot/token");
    let (code, answer, _) = send(&server, &ann, ("POST", &path, &json!({})), None).await;
    let message = "serviceaccounts \"bot\" is forbidden: User \"ann\" cannot create resource \"serviceaccounts/token\" in API \
                   group \"\" in the namespace \"default\"";
    assert_eq!((code, &answer["message"]), (403, &json!(message)));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_hold_is_refused() {
    let server = server();
    let good = token(&server, "bot", &json!({})).await;
    let foreign = token(&server, "bot", &json!({"audiences": ["vault"]})).await;
    let another = token(&self::server(), "bot", &json!({})).await;
    let (head, rest) = good.split_once('.').expect("three parts");
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    let hmac = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#);
    let claims = rest.split('.').next().expect("claims");
    let cases = [
        (format!("Bearer {good}"), 201),
        // Two spaces: the token between them is empty, as in Kubernetes.
        (format!("Bearer  {good}"), 403),
        (format!("bEARER {good} more"), 201),
        (format!("Bearer {foreign}"), 401),
        (format!("Bearer {another}"), 401),
        (format!("Bearer {}", &good[..good.len() - 4]), 401),
        (format!("Bearer {head}x.{rest}"), 401),
        (format!("Bearer {none}.{claims}."), 401),
        (format!("Bearer {hmac}.{claims}.AAAA"), 401),
        ("Bearer nonsense".to_owned(), 401),
        (format!("Bearer {}", "x".repeat(TOKEN_BYTES_MAX + 1)), 401),
        // No token is shown: whoever asks is anonymous.
        ("Bearer".to_owned(), 403),
        ("Bearer ".to_owned(), 403),
        ("Basic YTpi".to_owned(), 403),
    ];
    for (authorization, expected) in cases {
        let asked = ("POST", WHOAMI, &json!({}));
        let (code, answer, _) =
            send(&server, &Identity::anonymous(), asked, Some(&authorization)).await;
        assert_eq!(code, expected, "{authorization}: {answer}");
        if code == 401 {
            let expected = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "Unauthorized", "reason": "Unauthorized", "code": 401});
            assert_eq!(answer, expected);
        }
    }
    // Whom the door knows is not asked for a token.
    let asked = ("POST", WHOAMI, &json!({}));
    let ann = Identity::user("ann", []);
    let (code, answer, known) = send(&server, &ann, asked, Some("Bearer nonsense")).await;
    assert_eq!(
        (code, known, &answer["status"]["userInfo"]["username"]),
        (201, false, &json!("ann"))
    );
}

#[tokio::test(start_paused = true)]
async fn the_longest_token_is_looked_at() {
    for (bytes, expected) in [
        (TOKEN_BYTES_MAX, Refused::Unknown),
        (TOKEN_BYTES_MAX + 1, Refused::Long),
    ] {
        let judged = judge(&server(), &"x".repeat(bytes), &[]).await;
        assert_eq!(judged, Err(expected));
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_ends_with_its_time_and_with_what_it_names() {
    let server = server();
    let bound = json!({"boundObjectRef": {"kind": "Secret", "apiVersion": "v1", "name": "box"}});
    let bound = token(&server, "bot", &bound).await;
    let short = token(&server, "bot", &json!({"expirationSeconds": 600})).await;
    let long = token(&server, "bot", &json!({})).await;
    tokio::time::advance(std::time::Duration::from_secs(660)).await;
    assert_eq!(holder(&server, &short).await.0, 201, "clocks may be apart");
    tokio::time::advance(std::time::Duration::from_secs(2)).await;
    assert_eq!(holder(&server, &short).await.0, 401);
    assert_eq!(holder(&server, &bound).await.0, 201);
    admin(
        &server,
        "DELETE",
        "/api/v1/namespaces/default/secrets/box",
        &Value::Null,
    )
    .await;
    assert_eq!(holder(&server, &bound).await.0, 401);
    assert_eq!(holder(&server, &long).await.0, 201);
    admin(&server, "DELETE", &format!("{ACCOUNTS}/bot"), &Value::Null).await;
    assert_eq!(holder(&server, &long).await.0, 401);
    put(&server, "ServiceAccount", "bot");
    assert_eq!(holder(&server, &long).await.0, 401, "it is another one");
}

#[tokio::test(start_paused = true)]
async fn reviews_say_whose_a_token_is() {
    let server = server();
    let (own, foreign) = (
        token(&server, "bot", &json!({})).await,
        token(&server, "bot", &json!({"audiences": ["a", "b"]})).await,
    );
    let cases = [
        (&own, json!([]), json!([account::AUDIENCE]), ""),
        (
            &own,
            json!(["a"]),
            Value::Null,
            "the token is for other audiences",
        ),
        (
            &foreign,
            json!([]),
            Value::Null,
            "the token is for other audiences",
        ),
        (&foreign, json!(["c", "b"]), json!(["b"]), ""),
        (
            &"nonsense".to_owned(),
            json!([]),
            Value::Null,
            "invalid bearer token",
        ),
    ];
    for (token, audiences, expected, error) in cases {
        let review = json!({"spec": {"token": token, "audiences": audiences}});
        let (code, answer) = admin(&server, "POST", REVIEWS, &review).await;
        assert_eq!(code, 201);
        let status = &answer["status"];
        assert_eq!(&status["audiences"], &expected, "{status}");
        assert_eq!(status["error"].as_str().unwrap_or_default(), error);
        assert_eq!(
            status["authenticated"] == true,
            error.is_empty(),
            "{status}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn others_can_verify_tokens_too() {
    let server = server();
    let (_, found) = admin(
        &server,
        "GET",
        "/.well-known/openid-configuration",
        &Value::Null,
    )
    .await;
    assert_eq!(found["issuer"], account::ISSUER);
    assert_eq!(found["jwks_uri"], "https://groma.example/openid/v1/jwks");
    let (_, set) = admin(&server, "GET", "/openid/v1/jwks", &Value::Null).await;
    let set: jsonwebtoken::jwk::JwkSet = serde_json::from_value(set).expect("a set of keys");
    let token = token(&server, "bot", &json!({})).await;
    let header = jsonwebtoken::decode_header(&token).expect("a header");
    let key = set.find(&header.kid.expect("an id")).expect("the key");
    let key = jsonwebtoken::DecodingKey::from_jwk(key).expect("a key");
    let claims = jwt::verified(&token, &key, jsonwebtoken::Algorithm::ES256).expect("signed");
    let names: Vec<&str> = claims.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "aud",
            "exp",
            "iat",
            "iss",
            "jti",
            "kubernetes.io",
            "nbf",
            "sub"
        ]
    );
    // Accounts may look, others may not.
    let asked = ("GET", "/openid/v1/jwks", &Value::Null);
    let bearer = format!("Bearer {token}");
    assert_eq!(
        send(&server, &Identity::anonymous(), asked, Some(&bearer))
            .await
            .0,
        200
    );
    assert_eq!(
        send(&server, &Identity::user("ann", []), asked, None)
            .await
            .0,
        403
    );
}

#[test]
fn the_key_is_made_once_and_nobody_elses() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("accounts.key");
    let made = account::Key::open(&path).expect("it is made").set();
    assert_eq!(account::Key::open(&path).expect("it is there").set(), made);
    let mode = std::fs::metadata(&path)
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    std::fs::write(&path, "hunter2").expect("it is written");
    let refused = account::Key::open(&path)
        .err()
        .map(|error| api::chain(&error))
        .unwrap_or_default();
    assert!(
        refused.contains("cannot use the key of tokens") && !refused.contains("hunter2"),
        "{refused}"
    );
}
