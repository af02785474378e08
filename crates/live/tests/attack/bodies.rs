//! Bodies that are huge, deep or grow when they are read, and definitions that cost more than they say.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::ground::{Answer, Ground, SECRET, TENANT, Who, named};

const CONFIGMAPS: &str = "/api/v1/namespaces/team-a/configmaps";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
/// How long one body may keep the server busy, which is not made for speed here.
const BUSY: Duration = Duration::from_secs(30);
/// Bytes of a pattern in a definition.
const PATTERN_BYTES_MAX: usize = 16 * 1024;
/// Kilobytes that the server may need more than before.
const GROWTH_MAX: u64 = 400 * 1024;

const JSON: &str = "application/json";
const APPLY: &str = "application/apply-patch+yaml";
const PATCH: &str = "application/json-patch+json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// Sends a body and measures it.
fn sent(
    ground: &Ground,
    who: &Who,
    (method, path): (&str, &str),
    kind: &str,
    body: &[u8],
) -> Answer {
    let token = who.token.as_deref().unwrap_or_default();
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: groma\r\nconnection: close\r\ncontent-type: {kind}\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
    request.extend_from_slice(body);
    let begun = Instant::now();
    let answer = ground.raw(who, &request);
    assert!(
        begun.elapsed() < BUSY,
        "{method} {path} took {:?}: {answer:?}",
        begun.elapsed()
    );
    answer
}

fn short(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned()
}

#[test]
fn a_body_costs_no_more_than_its_bytes() {
    let ground = match Ground::start() {
        Ok(ground) => ground,
        Err(skip) => return skip.report(),
    };
    let eve = ground.tenant(TENANT);
    ground.ask(&eve, "POST", CONFIGMAPS, named("there")).is(201);
    let before = ground.memory();
    let wrap = |data: &str| format!(r#"{{"metadata":{{"name":"x"}},"data":{data}}}"#).into_bytes();
    let nested = |open: &str, close: &str, depth| open.repeat(depth) + &close.repeat(depth);
    let keys = |n: usize| {
        let mut keys = String::new();
        for key in 0..n {
            let _ = write!(keys, r#""k{key}":"","#);
        }
        keys
    };
    let json_bodies = [
        vec![b' '; 3 * 1024 * 1024 + 1],
        wrap(&nested("[", "]", 1_000_000)),
        wrap(&nested(r#"{"a":"#, "}", 300_000)),
        wrap(&"[".repeat(3_000_000)),
        wrap("1e999999999"),
        wrap(&format!(r#"{{"a":{}}}"#, "9".repeat(1_000_000))),
        wrap(r#"{"a":"\ud800"}"#),
        wrap("{\"a\":\"\u{0}\"}"),
        wrap("NaN"),
        b"\xff\xfe{\0}\0".to_vec(),
        b"\xef\xbb\xbf[]".to_vec(),
        b"null".to_vec(),
        b"".to_vec(),
    ];
    for body in &json_bodies {
        let answer = sent(&ground, &eve, ("POST", CONFIGMAPS), JSON, body);
        assert!(
            [400, 413, 422].contains(&answer.code),
            "{}: {answer:?}",
            short(body)
        );
        assert!(
            answer.body.len() < 100_000,
            "{}: {} bytes are answered",
            short(body),
            answer.body.len()
        );
    }
    // Named twice, the field is told of a few times only.
    let twice = wrap(&format!("{{{}{}\"z\":\"\"}}", keys(50_000), keys(50_000)));
    let answer = sent(
        &ground,
        &eve,
        ("POST", &format!("{CONFIGMAPS}?fieldValidation=Strict")),
        JSON,
        &twice,
    );
    assert!(answer.is(400).body.len() < 10_000);
    let answer = sent(
        &ground,
        &eve,
        ("POST", &format!("{CONFIGMAPS}?dryRun=All")),
        JSON,
        &twice,
    );
    assert!(answer.head.len() < 20_000, "{}", answer.head.len());

    // YAML: aliases of aliases, merged maps, depth.
    let mut laughs = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: lol}\nx0: &x0 [lol,lol,lol,lol,lol,lol,lol,lol,lol]\n".to_owned();
    let mut merged =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: lol}\nx0: &x0 {a: b, c: d}\n".to_owned();
    for n in 1..12 {
        let alias = format!("*x{}", n - 1);
        let _ = writeln!(laughs, "x{n}: &x{n} [{}]", [alias.as_str(); 9].join(","));
        let _ = writeln!(
            merged,
            "x{n}: &x{n} {{m{n}: {alias}, <<: {alias}, n{n}: [{}]}}",
            [alias.as_str(); 9].join(",")
        );
    }
    let yaml = [
        laughs,
        merged,
        "x: &x [*x, *x]".to_owned(),
        nested("[", "]", 500_000),
        "- ".repeat(500_000),
        "? ".repeat(500_000),
        "a: ".repeat(100_000),
        format!("a: !!binary {}", "A".repeat(1 << 20)),
        "!!python/object/apply:os.system ['id']".to_owned(),
        format!("{}---\n", "a: b\n---\n".repeat(100_000)),
        "&a ".repeat(200_000),
        format!("a: \"{}", "\\x41".repeat(200_000)),
    ];
    let path = format!("{CONFIGMAPS}/lol?fieldManager=eve");
    for body in &yaml {
        let answer = sent(&ground, &eve, ("PATCH", &path), APPLY, body.as_bytes());
        assert!(
            [400, 413, 422].contains(&answer.code),
            "{}: {answer:?}",
            short(body.as_bytes())
        );
        assert!(answer.body.len() < 100_000, "{}", short(body.as_bytes()));
    }

    // Patches that double, and too many of them.
    let mut copies = vec![json!({"op": "add", "path": "/data", "value": {"a": "x".repeat(1000)}})];
    copies.extend(
        (0..40).map(|n| json!({"op": "copy", "from": "/data", "path": format!("/data/c{n}")})),
    );
    let deep: Vec<Value> = (0..300)
        .map(|_| json!({"op": "copy", "from": "/metadata", "path": "/metadata/labels"}))
        .collect();
    let many: Vec<Value> = (0..10_001)
        .map(|_| json!({"op": "test", "path": "/kind", "value": "ConfigMap"}))
        .collect();
    let long = json!([{"op": "add", "path": "/a".repeat(500_000), "value": 1}]);
    let index =
        json!([{"op": "add", "path": "/metadata/finalizers/99999999999999999999", "value": 1}]);
    let path = format!("{CONFIGMAPS}/there");
    for patch in [json!(copies), json!(deep), json!(many), long, index] {
        let body = patch.to_string();
        let answer = sent(&ground, &eve, ("PATCH", &path), PATCH, body.as_bytes());
        assert!(
            [400, 413, 422].contains(&answer.code),
            "{}: {answer:?}",
            short(body.as_bytes())
        );
    }

    // Protobuf that lies about lengths, or goes on for ever.
    let magic = b"k8s\0";
    let lies: [&[u8]; 7] = [
        b"",
        b"\x0a",
        b"\x0a\xff\xff\xff\xff\x0f",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x12\x7f\x0a\x02",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x0b\x0b\x0b\x0b\x0b\x0b",
    ];
    for lie in lies
        .iter()
        .map(|lie| lie.to_vec())
        .chain([b"\x0b".repeat(1_000_000)])
    {
        let body = [magic, &*lie].concat();
        let answer = sent(&ground, &eve, ("POST", CONFIGMAPS), PROTOBUF, &body);
        assert!(
            [400, 422].contains(&answer.code),
            "{}: {answer:?}",
            short(&lie)
        );
    }

    // What is compressed is not unpacked.
    let mut zip = GzEncoder::new(Vec::new(), Compression::best());
    zip.write_all(&vec![b' '; 100 << 20]).expect("packed");
    let zip = zip.finish().expect("packed");
    for field in ["content-encoding", "transfer-encoding"] {
        let token = eve.token.as_deref().unwrap_or_default();
        let mut request = format!("POST {CONFIGMAPS} HTTP/1.1\r\nhost: groma\r\nconnection: close\r\n{field}: gzip\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n", zip.len()).into_bytes();
        request.extend_from_slice(&zip);
        let answer = ground.raw(&eve, &request);
        assert!([400, 415].contains(&answer.code), "{answer:?}");
    }
    let grown = ground.memory().saturating_sub(before);
    assert!(grown < GROWTH_MAX, "it has {grown} KB more than before");
    ground.never_said(&[SECRET]);
    ground.serves_others();
}

#[test]
fn what_is_asked_for_fills_nothing() {
    let ground = match Ground::start() {
        Ok(ground) => ground,
        Err(skip) => return skip.report(),
    };
    let eve = ground.tenant(TENANT);
    let metrics = || ground.get(&ground.admin(), "/metrics").is(200).body.len();
    let before = (metrics(), ground.memory());
    let token = eve.token.as_deref().expect("a token");
    let mut stream = ground.dial(&eve);
    // On one connection, as fast as it goes: each path, parameter, name and program once.
    for n in 0..2_000 {
        let path = match n % 8 {
            0 => format!("/apis/g{n}.example/v{n}/things"),
            1 => format!("/api/v1/namespaces/n{n}/secrets"),
            2 => format!("{CONFIGMAPS}?labelSelector=a{n}%3Db"),
            3 => format!("{CONFIGMAPS}?continue=x{n}"),
            4 => format!("{CONFIGMAPS}/name-{n}"),
            5 => format!("/openapi/v3?hash={n}"),
            6 => format!("/p{n}"),
            _ => format!("{CONFIGMAPS}?resourceVersion={n}&resourceVersionMatch=Exact"),
        };
        let method = if n % 3 == 0 {
            format!("M{n}")
        } else {
            "GET".to_owned()
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: h{n}\r\nuser-agent: agent-{n}\r\nauthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("asked");
        stream.flush().expect("asked");
        let mut part = [0; 64 * 1024];
        let read = std::io::Read::read(&mut stream, &mut part).expect("answered");
        assert!(read > 0, "the connection ended");
    }
    let grown = metrics().saturating_sub(before.0);
    assert!(
        grown < 200_000,
        "metrics have {grown} bytes more than before"
    );
    let grown = ground.memory().saturating_sub(before.1);
    assert!(grown < GROWTH_MAX, "it has {grown} KB more than before");
    // Selectors that are long.
    let values = vec!["v"; 5_000].join(",");
    let long = format!("{CONFIGMAPS}?labelSelector=a+in+({values})");
    let answer = sent(&ground, &eve, ("GET", &long), JSON, b"");
    assert!([200, 400].contains(&answer.code), "{answer:?}");
    let fields = vec!["metadata.name!%3Da"; 800].join(",");
    let long = format!("{CONFIGMAPS}?fieldSelector={fields}");
    let answer = sent(&ground, &eve, ("GET", &long), JSON, b"");
    assert!([200, 400].contains(&answer.code), "{answer:?}");
    ground.serves_others();
}

#[test]
fn a_definition_cannot_keep_the_server_busy() {
    let ground = match Ground::start() {
        Ok(ground) => ground,
        Err(skip) => return skip.report(),
    };
    let admin = ground.admin();
    let make = |schema: Value| {
        let body = definition("bombs", schema).to_string();
        sent(
            &ground,
            &admin,
            ("POST", DEFINITIONS),
            JSON,
            body.as_bytes(),
        )
    };
    let spec = |spec: Value| json!({"type": "object", "properties": {"spec": spec}});
    let mut deep = json!({"type": "string"});
    for _ in 0..60 {
        deep = json!({"type": "object", "properties": {"a": deep}});
    }
    let text = |pattern: String| spec(json!({"type": "string", "pattern": pattern}));
    let wide = |n: usize| {
        let field = |n| {
            (
                format!("f{n}"),
                json!({"type": "string", "pattern": r"(\w{100}){100}"}),
            )
        };
        spec(
            json!({"type": "object", "properties": (0..n).map(field).collect::<serde_json::Map<_, _>>()}),
        )
    };
    let any = (0..3_000)
        .map(|_| json!({"anyOf": [{"required": ["a"]}]}))
        .collect::<Vec<_>>();
    for schema in [
        text("((((a{100}){100}){100}){100}){100}".to_owned()),
        text("(".repeat(10_000)),
        text("a".repeat(PATTERN_BYTES_MAX + 1)),
        text(format!("[{}]", "\\w".repeat(100_000))),
        wide(3),
        spec(json!({"type": "array", "items": {"type": "string"},
            "x-kubernetes-validations": [{"rule": "self.all(a, self.all(b, self.all(c, a + b != c)))"}]})),
        spec(
            json!({"type": "string", "x-kubernetes-validations": [{"rule": "self.matches('(a+)+$') && ".repeat(3_000) + "true"}]}),
        ),
        spec(json!({"type": "string", "x-kubernetes-validations": [{"rule": "(".repeat(20_000)}]})),
    ] {
        let answer = make(schema);
        assert!([400, 413, 422].contains(&answer.code), "{answer:?}");
        assert!(
            answer.body.len() < 1_000_000,
            "{} bytes are answered",
            answer.body.len()
        );
        ground.serves_others();
    }
    let rules = vec![json!({"rule": "true"}); 2_000];
    let rules = json!({"type": "object", "x-kubernetes-validations": rules});
    let any = json!({"type": "object", "allOf": any});
    let long = json!({"type": "string", "pattern": "a".repeat(PATTERN_BYTES_MAX)});
    for schema in [deep, rules, any, long].map(spec) {
        let answer = make(schema);
        assert!([201, 400, 413, 422].contains(&answer.code), "{answer:?}");
        let _ = ground.ask(
            &admin,
            "DELETE",
            &format!("{DEFINITIONS}/bombs.attack.example"),
            "",
        );
        ground.serves_others();
    }
    // Many of them, and what is said of them all.
    for n in 0..150 {
        let body = definition(&format!("things{n}"), json!({"type": "object"}));
        ground.ask(&admin, "POST", DEFINITIONS, body).is(201);
    }
    ground.get(&admin, "/openapi/v3").is(200);
    ground.get(&admin, "/apis").is(200);
    ground.serves_others();
}

fn definition(plural: &str, schema: Value) -> Value {
    let kind = plural.to_uppercase();
    let version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}});
    let mut definition = named(&format!("{plural}.attack.example"));
    definition["spec"] = json!({
        "group": "attack.example", "scope": "Namespaced", "versions": [version],
        "names": {"plural": plural, "kind": kind, "singular": plural, "listKind": format!("{kind}List")},
    });
    definition
}
