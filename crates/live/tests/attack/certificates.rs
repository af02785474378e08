//! Certificates: of other authorities, ended, revoked and stolen.

use std::io::Write;
use std::time::Instant;

use apiserver::tls::{Authority, Credentials};
use jiff::{SignedDuration, Timestamp};
use live::bench::client::Endpoint;
use serde_json::{Value, json};

use crate::ground::{Ground, SECRET, VICTIM, Who, named, until_end};

const GROMA: &str = "/apis/groma.dev/v1alpha1";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/groma-system/leases";

#[test]
fn a_certificate_of_another_authority_or_time_opens_nothing() {
    let ground = match Ground::start() {
        Ok(ground) => ground,
        Err(skip) => return skip.report(),
    };
    let (now, masters) = (Timestamp::now(), Some("system:masters"));
    let elsewhere = tempfile::tempdir().expect("a folder");
    let other = Authority::open(elsewhere.path(), now).expect("an authority");
    let own = Authority::open(&ground.folder().join("authority"), now).expect("the authority");
    let long_ago = now - SignedDuration::from_hours(24 * 366);
    let foreign = other
        .issue_client("groma:admin", masters, now)
        .expect("made");
    let server = other.issue_client("system:server", Some("system:servers"), now);
    let ended = own
        .issue_client("groma:admin", masters, long_ago)
        .expect("made");
    let early = own.issue_client("groma:admin", masters, now + SignedDuration::from_hours(24));
    let good = own.issue_client("groma:admin", masters, now).expect("made");

    let nodes = format!("/api/v1/namespaces/{VICTIM}/secrets");
    ground.get(&ground.holder(Some(&good)), &nodes).is(200);
    let bad = [
        foreign,
        server.expect("made"),
        ended,
        early.expect("made"),
        self_signed(),
    ];
    for credentials in &bad {
        let answer = ground.get(&ground.holder(Some(credentials)), &nodes);
        // TLS ends the connection: nothing is answered to who is not let in.
        assert_eq!(answer.code, 0, "{answer:?}");
    }
    ground.never_said(&[SECRET, "PRIVATE KEY"]);
    ground.serves_others();
}

#[test]
fn a_stolen_certificate_of_a_host_reaches_nothing_but_that_host() {
    let ground = match Ground::start() {
        Ok(ground) => ground,
        Err(skip) => return skip.report(),
    };
    let thief = hosts(&ground);
    let get = |path: &str| ground.get(&thief, path);
    // What is its own.
    get(&format!("{GROMA}/hosts/mad-1")).is(200);
    get(&format!("{GROMA}/namespaces/{VICTIM}/instances/mine")).is(200);
    get(&format!("/api/v1/namespaces/{VICTIM}/secrets/named")).is(200);
    let selected = format!("{GROMA}/instances?fieldSelector=spec.host%3Dmad-1");
    let listed = get(&selected).is(200).json();
    assert_eq!(
        listed["items"].as_array().map(Vec::len),
        Some(1),
        "{listed}"
    );

    // What is others'.
    let instance = format!("{GROMA}/namespaces/{VICTIM}/instances/theirs");
    let status = json!({"status": {"restarts": 99}});
    let spec = json!({"spec": {"site": "evil"}});
    let cases: Vec<(&str, String, Value)> = vec![
        ("GET", format!("{GROMA}/hosts/mad-2"), Value::Null),
        ("GET", format!("{GROMA}/hosts"), Value::Null),
        (
            "GET",
            format!("{GROMA}/hosts?fieldSelector=metadata.name%3Dmad-2"),
            Value::Null,
        ),
        (
            "GET",
            format!("{GROMA}/hosts?fieldSelector=metadata.name!%3Dmad-1"),
            Value::Null,
        ),
        ("GET", format!("{GROMA}/hostdatapaths/mad-2"), Value::Null),
        ("GET", format!("{GROMA}/instances"), Value::Null),
        ("GET", format!("{GROMA}/instances?watch=1"), Value::Null),
        (
            "GET",
            format!("{GROMA}/instances?watch=1&fieldSelector=spec.host%3Dmad-2"),
            Value::Null,
        ),
        (
            "GET",
            format!("{GROMA}/namespaces/{VICTIM}/instances?labelSelector=a"),
            Value::Null,
        ),
        ("GET", instance.clone(), Value::Null),
        ("GET", format!("{instance}/log"), Value::Null),
        ("POST", format!("{instance}/exec?command=id"), Value::Null),
        (
            "POST",
            format!("{GROMA}/namespaces/{VICTIM}/instances/mine/exec?command=id"),
            Value::Null,
        ),
        (
            "GET",
            format!("{GROMA}/hosts/mad-1/proxy/metrics"),
            Value::Null,
        ),
        ("GET", format!("{GROMA}/hosts/mad-2/door"), Value::Null),
        ("PATCH", format!("{instance}/status"), status.clone()),
        (
            "PATCH",
            instance.clone(),
            json!({"metadata": {"finalizers": null}}),
        ),
        ("DELETE", instance, Value::Null),
        (
            "DELETE",
            format!("{GROMA}/namespaces/{VICTIM}/instances/mine"),
            Value::Null,
        ),
        (
            "PATCH",
            format!("{GROMA}/namespaces/{VICTIM}/instances/mine"),
            json!({"spec": {"workload": "evil"}}),
        ),
        (
            "PATCH",
            format!("{GROMA}/namespaces/{VICTIM}/instances/mine"),
            json!({"metadata": {"labels": {"a": "b"}}}),
        ),
        ("PATCH", format!("{GROMA}/hosts/mad-1"), spec.clone()),
        ("DELETE", format!("{GROMA}/hosts/mad-1"), Value::Null),
        ("PATCH", format!("{GROMA}/hosts/mad-2/status"), status),
        (
            "POST",
            format!("{GROMA}/hosts"),
            json!({"metadata": {"name": "mad-9"}, "spec": {"site": "mad", "domain": "core", "locator": "fd00:9::/48"}}),
        ),
        ("POST", LEASES.to_owned(), named("mad-2")),
        (
            "PATCH",
            format!("{LEASES}/mad-2"),
            json!({"spec": {"holderIdentity": "evil"}}),
        ),
        ("DELETE", format!("{LEASES}/mad-1"), Value::Null),
        (
            "GET",
            format!("/api/v1/namespaces/{VICTIM}/secrets/treasure"),
            Value::Null,
        ),
        (
            "GET",
            format!("/api/v1/namespaces/{VICTIM}/secrets"),
            Value::Null,
        ),
        (
            "GET",
            format!("/api/v1/namespaces/{VICTIM}/secrets?fieldSelector=metadata.name%3Dnamed"),
            Value::Null,
        ),
        (
            "PATCH",
            format!("/api/v1/namespaces/{VICTIM}/secrets/named"),
            json!({"data": null}),
        ),
        (
            "GET",
            "/api/v1/namespaces/default/secrets/named".to_owned(),
            Value::Null,
        ),
        (
            "POST",
            format!("/api/v1/namespaces/{VICTIM}/serviceaccounts/default/token"),
            json!({"spec": {}}),
        ),
        (
            "POST",
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings".to_owned(),
            named("evil"),
        ),
        (
            "GET",
            "/apis/certificates.k8s.io/v1/certificatesigningrequests".to_owned(),
            Value::Null,
        ),
        ("GET", "/backup".to_owned(), Value::Null),
        ("GET", "/metrics".to_owned(), Value::Null),
    ];
    for (method, path, body) in cases {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let answer = ground.ask(&thief, method, &path, body);
        assert_eq!(answer.code, 403, "{method} {path}: {answer:?}");
        assert!(!answer.body.contains(SECRET), "{answer:?}");
    }
    // Nor does it act as somebody else.
    for fields in [
        [
            ("impersonate-user", "system:host:mad-2"),
            ("impersonate-group", "system:hosts"),
        ],
        [
            ("x-remote-user", "groma:admin"),
            ("x-remote-group", "system:masters"),
        ],
    ] {
        let path = format!("{GROMA}/hosts/mad-2");
        ground.send(&thief, ("GET", &path), &fields, "").is(403);
    }
    ground.never_said(&[SECRET]);
    ground.serves_others();
}

#[test]
fn a_revoked_certificate_is_worthless_at_once_on_open_connections_too() {
    let ground = match Ground::start() {
        Ok(ground) => ground,
        Err(skip) => return skip.report(),
    };
    let thief = hosts(&ground);
    let selected = format!("{GROMA}/instances?fieldSelector=spec.host%3Dmad-1");
    let watch =
        format!("GET {selected}&watch=1 HTTP/1.1\r\nhost: groma\r\nconnection: close\r\n\r\n");
    let mut watching = ground.dial(&thief);
    watching.write_all(watch.as_bytes()).expect("asked");
    watching.flush().expect("asked");
    let mut head = [0; 12];
    std::io::Read::read_exact(&mut watching, &mut head).expect("it begins");
    assert_eq!(&head, b"HTTP/1.1 200");

    let revoked = ground.groma(&["host", "revoke", "mad-1"]);
    assert!(revoked.status.success(), "{revoked:?}");
    let begun = Instant::now();
    until_end(&mut watching);
    assert!(begun.elapsed().as_secs() < 5, "the watch went on");
    ground.get(&thief, &selected).is(401).says("are revoked");
    ground
        .get(&thief, &format!("{GROMA}/hosts/mad-1/door"))
        .is(401);
    // It cannot be used for a new one.
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    ground.ask(&thief, "POST", requests, named("again")).is(401);
    ground.serves_others();
}

/// Two hosts with an instance on each, of which the first names a Secret; who has the certificate of the first.
fn hosts(ground: &Ground) -> Who {
    for name in ["mad-1", "mad-2"] {
        let mut host = named(name);
        host["spec"] = json!({"site": "mad", "domain": "core", "locator": "fd00:1::/48"});
        ground.make(&format!("{GROMA}/hosts"), &host).is(201);
    }
    ground
        .make(
            &format!("/api/v1/namespaces/{VICTIM}/secrets"),
            &named("named"),
        )
        .is(201);
    ground
        .make("/api/v1/namespaces/default/secrets", &named("named"))
        .is(201);
    for (name, host, secret) in [("mine", "mad-1", "named"), ("theirs", "mad-2", "treasure")] {
        let mut instance = named(name);
        instance["spec"] = json!({
            "host": host, "workload": "web", "artefact": {"form": "container", "image": "layout:http-app"},
            "resources": {"cpu": "100m"}, "interfaces": [],
            "configuration": {"environment": [{"name": "A", "value": {"secret": {"name": secret, "key": "password"}}}]},
        });
        let path = format!("{GROMA}/namespaces/{VICTIM}/instances");
        ground.make(&path, &instance).is(201);
    }
    let stolen = ground.folder().join("stolen.kubeconfig");
    let enrolled = ground.groma(&[
        "host",
        "enroll",
        "mad-1",
        "--output",
        &stolen.display().to_string(),
    ]);
    assert!(enrolled.status.success(), "{enrolled:?}");
    let tls = Endpoint::by_kubeconfig(&stolen).expect("credentials").tls;
    Who { tls, token: None }
}

fn self_signed() -> Credentials {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "groma:admin");
    params
        .distinguished_name
        .push(rcgen::DnType::OrganizationName, "system:masters");
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("signed").pem();
    let key = key.serialize_pem();
    Credentials { certificate, key }
}
