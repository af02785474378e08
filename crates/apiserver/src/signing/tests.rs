//! Who gets which certificate, and when it counts no more.

use std::path::Path;
use std::sync::Mutex;

use bytes::Bytes;
use http::Request as HttpRequest;
use http_body_util::{BodyExt, Full};
use jiff::SignedDuration;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::*;
use crate::authentication::bootstrap::Token;
use crate::store::redb::Redb;
use crate::tls::{Subject, ask, new_key};

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const HOSTS: &str = "/apis/groma.dev/v1alpha1/hosts";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/groma-system/leases";
const SECRETS: &str = "/api/v1/namespaces/kube-system/secrets";
const WHOAMI: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const HOUR: SignedDuration = SignedDuration::from_hours(1);
/// How long certificates of hosts hold here.
const LIFE: Duration = Duration::from_secs(600);

struct Place {
    folder: tempfile::TempDir,
    server: Server,
    now: std::sync::Arc<Mutex<Timestamp>>,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let now = "2026-11-29T12:00:00Z".parse().unwrap();
        let now = std::sync::Arc::new(Mutex::new(now));
        let server = server(folder.path(), &now);
        Self {
            folder,
            server,
            now,
        }
    }

    fn restart(self) -> Self {
        let Self {
            folder,
            server: former,
            now,
        } = self;
        drop(former);
        let server = server(folder.path(), &now);
        Self {
            folder,
            server,
            now,
        }
    }

    fn now(&self) -> Timestamp {
        *self.now.lock().unwrap()
    }

    fn passes(&self, time: SignedDuration) {
        *self.now.lock().unwrap() += time;
    }

    async fn ask(
        &self,
        by: &Identity,
        request: (&str, &str, Value),
        token: Option<&Token>,
    ) -> (u16, Value) {
        let (method, path, body) = request;
        let mut request = HttpRequest::builder().method(method).uri(path);
        if let Some(Token { id, secret }) = token {
            request = request.header("authorization", format!("Bearer {id}.{secret}"));
        }
        let body = match body {
            Value::Null => Full::default(),
            body => Full::<Bytes>::from(body.to_string()),
        };
        let answer = self.server.serve(by, request.body(body).unwrap()).await;
        let code = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (code, serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn by_token(&self, token: &Token, method: &str, path: &str, body: Value) -> (u16, Value) {
        let request = (method, path, body);
        self.ask(&Identity::anonymous(), request, Some(token)).await
    }

    async fn admin(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let admin = Identity::admin("it");
        self.ask(&admin, (method, path, body), None).await
    }

    /// Makes a Host, and gives its uid.
    async fn host(&self, name: &str) -> String {
        let spec = json!({"site": "mad", "domain": "core", "locator": "fd00:1::/48"});
        let host = json!({"metadata": {"name": name}, "spec": spec});
        let (code, made) = self.admin("POST", HOSTS, host).await;
        assert_eq!(code, 201, "{made}");
        made["metadata"]["uid"].as_str().unwrap().to_owned()
    }

    async fn token(&self, host: &str) -> Token {
        let token = Token::random().unwrap();
        let secret = token.document(host, self.now() + HOUR);
        let (code, answer) = self.admin("POST", SECRETS, secret).await;
        assert_eq!(code, 201, "{answer}");
        token
    }

    /// Who holds the certificate that a host gets by itself.
    async fn certified(&self, host: &str) -> Identity {
        let request = ("POST", REQUESTS, for_host(&new_key().unwrap(), host));
        let (code, answer) = self.ask(&Identity::host(host), request, None).await;
        assert_eq!(code, 201, "{answer}");
        Identity::certified(subject(&answer))
    }

    async fn revoke(&self, user: &str, from: Timestamp) {
        let path = format!("/api/v1/namespaces/{}/configmaps", crate::HOSTS_NAMESPACE);
        let (code, answer) = self
            .admin("POST", &path, certificate::revocation(user, from))
            .await;
        assert_eq!(code, 201, "{answer}");
    }
}

fn server(folder: &Path, now: &std::sync::Arc<Mutex<Timestamp>>) -> Server {
    let authority = Authority::open(folder, *now.lock().unwrap()).unwrap();
    let now = now.clone();
    Server::builder()
        .crds(api::crds())
        .storage(Redb::open(&folder.join("store")).unwrap())
        .clock(std::sync::Arc::new(move || *now.lock().unwrap()))
        .signer(authority, LIFE)
        .build()
        .unwrap()
}

fn csr(signer: &str, key: &str, user: &str, group: &str) -> Value {
    let request = STANDARD.encode(ask(key, user, group).unwrap());
    let spec = json!({"request": request, "signerName": signer, "usages": ["client auth"]});
    json!({"metadata": {"generateName": "csr-"}, "spec": spec})
}

fn for_host(key: &str, host: &str) -> Value {
    csr(
        HOST_SIGNER,
        key,
        &format!("system:host:{host}"),
        HOSTS_GROUP,
    )
}

/// Whom the certificate in an answer is for.
fn subject(answer: &Value) -> Subject {
    let pem = STANDARD.decode(answer["status"]["certificate"].as_str().unwrap_or_default());
    let der = CertificateDer::from_pem_slice(&pem.unwrap()).expect("a certificate");
    Subject::of(&der).unwrap()
}

#[track_caller]
fn refused((code, answer): (u16, Value), expected: u16, why: &str) {
    let said = answer["message"].as_str().unwrap_or_default();
    assert!(code == expected && said.contains(why), "{code} {answer}");
}

#[tokio::test]
async fn a_token_gets_the_certificate_of_its_host() {
    let place = Place::new();
    let uid = place.host("mad-1").await;
    let (token, key) = (place.token("mad-1").await, new_key().unwrap());
    let (code, answer) = place
        .by_token(&token, "POST", REQUESTS, for_host(&key, "mad-1"))
        .await;
    assert_eq!(code, 201, "{answer}");
    assert_eq!(answer["status"]["conditions"][0]["type"], "Approved");
    assert_eq!(
        answer["spec"]["username"],
        format!("system:bootstrap:{}", token.id)
    );
    let subject = subject(&answer);
    assert_eq!(
        (subject.common_name.as_str(), &subject.uid),
        ("system:host:mad-1", &uid)
    );
    assert_eq!(subject.organizations, [HOSTS_GROUP]);
    assert_eq!(subject.validity.ends, place.now() + LIFE);
    let host = Identity::certified(subject);
    let (code, own) = place
        .ask(&host, ("GET", &format!("{HOSTS}/mad-1"), Value::Null), None)
        .await;
    assert_eq!((code, &own["metadata"]["uid"]), (200, &json!(uid)));
}

#[tokio::test]
async fn a_token_lets_its_holder_do_nothing_else() {
    let place = Place::new();
    place.host("mad-1").await;
    place.host("mad-2").await;
    let (token, key) = (place.token("mad-1").await, new_key().unwrap());
    let (_, who) = place.by_token(&token, "POST", WHOAMI, json!({})).await;
    let groups = json!(["system:bootstrappers", "system:authenticated"]);
    assert_eq!(who["status"]["userInfo"]["groups"], groups);
    for (method, path) in [
        ("GET", HOSTS.to_owned()),
        ("GET", format!("{HOSTS}/mad-1")),
        ("GET", REQUESTS.to_owned()),
        ("POST", LEASES.to_owned()),
        ("GET", SECRETS.to_owned()),
    ] {
        refused(
            place.by_token(&token, method, &path, Value::Null).await,
            403,
            "cannot",
        );
    }
    let cases = [
        (
            for_host(&key, "mad-2"),
            403,
            "the token is for host mad-1, not mad-2",
        ),
        (
            csr(HOST_SIGNER, &key, "ann", HOSTS_GROUP),
            400,
            "system:host:NAME",
        ),
        (
            csr(HOST_SIGNER, &key, "system:host:mad-1", "system:masters"),
            400,
            "system:host:NAME",
        ),
        (
            csr(USER_SIGNER, &key, "ann", "team"),
            403,
            "may ask for certificates of the signer",
        ),
    ];
    for (request, code, why) in cases {
        refused(
            place.by_token(&token, "POST", REQUESTS, request).await,
            code,
            why,
        );
    }
    let mut held = for_host(&key, "mad-1");
    held["metadata"]["finalizers"] = json!(["example.com/mine"]);
    refused(
        place.by_token(&token, "POST", REQUESTS, held).await,
        403,
        "cannot create",
    );
}

#[tokio::test]
async fn a_token_is_for_one_key() {
    let place = Place::new();
    place.host("mad-1").await;
    let (token, key) = (place.token("mad-1").await, new_key().unwrap());
    let other = for_host(&new_key().unwrap(), "mad-1");
    let dry_run = format!("{REQUESTS}?dryRun=All");
    let (code, tried) = place
        .by_token(&token, "POST", &dry_run, other.clone())
        .await;
    assert_eq!((code, &tried["status"]["certificate"]), (201, &Value::Null));
    for _ in 0..2 {
        let (code, _) = place
            .by_token(&token, "POST", REQUESTS, for_host(&key, "mad-1"))
            .await;
        assert_eq!(code, 201, "the same key may ask again");
    }
    let again = place.by_token(&token, "POST", REQUESTS, other).await;
    refused(
        again,
        403,
        "the token was used with another key of host mad-1",
    );
}

#[tokio::test]
async fn a_token_ends_and_goes() {
    let place = Place::new();
    place.host("mad-1").await;
    let token = place.token("mad-1").await;
    let wrong = Token {
        secret: "0123456789abcdef".to_owned(),
        id: token.id.clone(),
    };
    let asked = || for_host(&new_key().unwrap(), "mad-1");
    let (_, answer) = place.by_token(&wrong, "POST", REQUESTS, asked()).await;
    assert_eq!(answer["message"], "Unauthorized");
    place.passes(HOUR);
    let why = "the token ended at 2026-11-29T13:00:00Z";
    refused(
        place.by_token(&token, "POST", REQUESTS, asked()).await,
        401,
        why,
    );
    let (_, answer) = place.by_token(&wrong, "POST", REQUESTS, asked()).await;
    assert_eq!(
        answer["message"], "Unauthorized",
        "who does not know it learns nothing"
    );
    place.host("mad-2").await;
    let secret = format!("{SECRETS}/{}", bootstrap::secret_name(&token.id));
    // It is looked for after each write, and goes a moment later.
    while place.admin("GET", &secret, Value::Null).await.0 != 404 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_host_renews_its_own_certificate_only() {
    let place = Place::new();
    place.host("mad-1").await;
    place.host("mad-2").await;
    let host = place.certified("mad-1").await;
    let request = |name| ("POST", REQUESTS, for_host(&new_key().unwrap(), name));
    let (code, answer) = place.ask(&host, request("mad-1"), None).await;
    assert_eq!(
        (code, subject(&answer).common_name.as_str()),
        (201, "system:host:mad-1")
    );
    refused(
        place.ask(&host, request("mad-2"), None).await,
        403,
        "may ask for host mad-1, not mad-2",
    );
    place.passes(HOUR);
    let ended = place.ask(&host, request("mad-1"), None).await;
    refused(ended, 401, "the certificate ended at 2026-11-29T12:10:00Z");
}

#[tokio::test]
async fn what_a_user_asks_for_waits_for_an_approval() {
    let place = Place::new();
    let asked = csr(USER_SIGNER, &new_key().unwrap(), "ann", "team");
    let (code, mut asked) = place.admin("POST", REQUESTS, asked).await;
    assert_eq!((code, &asked["status"]), (201, &json!({})));
    let approval = format!(
        "{REQUESTS}/{}/approval",
        asked["metadata"]["name"].as_str().unwrap()
    );
    asked["status"]["conditions"] =
        json!([{"type": "Approved", "status": "True", "reason": "Asked"}]);
    let clerk = Identity::user("clerk", []);
    let rules = [
        json!({"apiGroups": [GROUP], "resources": ["certificatesigningrequests/approval"], "verbs": ["update"]}),
        json!({"apiGroups": [GROUP], "resources": ["signers"], "resourceNames": ["kubernetes.io/*"], "verbs": ["approve"]}),
    ];
    for n in 1..=2 {
        let path = "/apis/rbac.authorization.k8s.io/v1";
        let name = format!("clerk-{n}");
        let role = json!({"metadata": {"name": name}, "rules": rules[..n]});
        place
            .admin("POST", &format!("{path}/clusterroles"), role)
            .await;
        let binding = json!({
            "metadata": {"name": name}, "subjects": [{"kind": "User", "name": "clerk", "apiGroup": "rbac.authorization.k8s.io"}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        });
        place
            .admin("POST", &format!("{path}/clusterrolebindings"), binding)
            .await;
        let approved = place
            .ask(&clerk, ("PUT", &approval, asked.clone()), None)
            .await;
        match n {
            1 => refused(approved, 403, "cannot approve resource \"signers\""),
            _ => assert_eq!(subject(&approved.1).common_name, "ann", "{}", approved.1),
        }
    }
}

#[tokio::test]
async fn who_is_made_known_in_other_ways_gets_no_certificate_of_users() {
    let place = Place::new();
    for (user, group) in [
        ("ann", "system:masters"),
        ("system:host:mad-1", HOSTS_GROUP),
        ("system:server", "system:servers"),
        ("system:bootstrap:abcdef", "system:bootstrappers"),
    ] {
        let asked = csr(USER_SIGNER, &new_key().unwrap(), user, group);
        let (_, mut asked) = place.admin("POST", REQUESTS, asked).await;
        let approval = format!(
            "{REQUESTS}/{}/approval",
            asked["metadata"]["name"].as_str().unwrap()
        );
        asked["status"]["conditions"] =
            json!([{"type": "Approved", "status": "True", "reason": "Asked"}]);
        refused(
            place.admin("PUT", &approval, asked).await,
            403,
            "signs for no host and no one in",
        );
    }
}

#[tokio::test]
async fn revoked_certificates_stay_so_and_later_ones_count() {
    let place = Place::new();
    place.host("mad-1").await;
    let former = place.certified("mad-1").await;
    place.passes(SignedDuration::from_secs(5));
    let from = place.now();
    place.revoke("system:host:mad-1", from).await;
    let own = || ("GET", "/apis/groma.dev/v1alpha1/hosts/mad-1", Value::Null);
    let why = "certificates that were issued before 2026-11-29T12:00:05Z are revoked";
    refused(place.ask(&former, own(), None).await, 401, why);
    let place = place.restart();
    refused(place.ask(&former, own(), None).await, 401, why);
    let later = place.certified("mad-1").await;
    assert_eq!(later.certificate.unwrap().begins, from);
    assert_eq!(place.ask(&later, own(), None).await.0, 200);
}

#[tokio::test]
async fn certificates_of_users_are_revoked_as_well() {
    let place = Place::new();
    let validity = Validity {
        begins: place.now(),
        ends: place.now() + HOUR,
    };
    let mut ann = Identity::admin("ann");
    ann.certificate = Some(validity);
    assert_eq!(
        place.ask(&ann, ("GET", HOSTS, Value::Null), None).await.0,
        200
    );
    place
        .revoke("ann", place.now() + SignedDuration::from_secs(1))
        .await;
    refused(
        place.ask(&ann, ("GET", HOSTS, Value::Null), None).await,
        401,
        "are revoked",
    );
}

#[tokio::test]
async fn the_certificate_of_a_forgotten_host_is_none_of_another_one() {
    let place = Place::new();
    place.host("mad-1").await;
    let former = place.certified("mad-1").await;
    let own = format!("{HOSTS}/mad-1");
    place.admin("DELETE", &own, Value::Null).await;
    let gone = place.ask(&former, ("GET", &own, Value::Null), None).await;
    assert_eq!(
        gone.1["details"]["causes"][0]["reason"],
        crate::HOST_FORGOTTEN
    );
    place.host("mad-1").await;
    refused(
        place.ask(&former, ("GET", &own, Value::Null), None).await,
        401,
        "host mad-1 was forgotten",
    );
    let later = place.certified("mad-1").await;
    assert_eq!(
        place.ask(&later, ("GET", &own, Value::Null), None).await.0,
        200
    );
}

#[tokio::test]
async fn a_watch_ends_with_the_certificate_by_which_it_began() {
    let place = Place::new();
    place.host("mad-1").await;
    let host = place.certified("mad-1").await;
    let path = format!("{HOSTS}?watch=true&fieldSelector=metadata.name%3Dmad-1");
    let watching = place.ask(&host, ("GET", &path, Value::Null), None);
    let revoked = async {
        while place.server.watchers() == 0 {
            tokio::task::yield_now().await;
        }
        place.revoke("system:host:mad-1", place.now()).await;
    };
    let ((code, _), ()) = tokio::join!(watching, revoked);
    assert_eq!(code, 200, "it began, and has ended");
}
