//! Requests that are not what they seem: paths, heads that two readers read in two ways, and other protocols.

use std::io::{Read, Write};

use crate::ground::{Answer, Ground, SECRET, TENANT, VICTIM, until_end};

const WHOAMI: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

#[test]
fn no_path_leads_around_the_roles() {
    let ground = match Ground::start() {
        Ok(ground) => ground,
        Err(skip) => return skip.report(),
    };
    let eve = ground.tenant(TENANT);
    let secret = format!("/api/v1/namespaces/{VICTIM}/secrets/treasure");
    let own = format!("/api/v1/namespaces/{TENANT}");
    let absolute = |host: &str| format!("https://{host}{secret}");
    let mut targets = vec![
        format!("{own}/../{VICTIM}/secrets/treasure"),
        format!("{own}/configmaps/../../{VICTIM}/secrets/treasure"),
        format!("{own}/%2e%2e/{VICTIM}/secrets/treasure"),
        format!("{own}%2f..%2f{VICTIM}/secrets/treasure"),
        format!("{own}/configmaps/..%2f..%2f{VICTIM}%2fsecrets%2fsecret"),
        format!("{own}/..;/{VICTIM}/secrets/treasure"),
        format!("{own}\\..\\{VICTIM}\\secrets\\secret"),
        format!("/version/..{secret}"),
        format!("/healthz/..{secret}"),
        format!("/healthz{secret}"),
        format!("/{secret}"),
        format!("/./{secret}"),
        secret.replace("/v1/", "//v1//"),
        secret.replace("secrets", "Secrets"),
        secret.replace("secrets", "%73ecrets"),
        secret.replace("secrets", "secrets%00"),
        secret.replace("/secrets", "/%c0%ae%c0%ae/secrets"),
        secret.replace("/secrets", "/%e0%80%af/secrets"),
        secret.replace("/secrets", "/%ff/secrets"),
        format!("{secret}/"),
        format!("{secret}#/version"),
        format!("{secret}?pretty=1#/version"),
        format!("{secret};x=y"),
        format!("{secret}/status"),
        format!("{secret}%20"),
        format!("/apis//v1/namespaces/{VICTIM}/secrets/treasure"),
        format!("/api/v1/watch/namespaces/{VICTIM}/secrets"),
        format!("/api/v1/proxy/namespaces/{VICTIM}/secrets"),
        format!(
            "/apis/groma.dev/v1alpha1/hosts/../../../../api/v1/namespaces/{VICTIM}/secrets/treasure"
        ),
        "/apis/groma.dev/v1alpha1/hosts/mad-1/proxy/../../../hosts".to_owned(),
        "/apis/groma.dev/v1alpha1/hosts//door".to_owned(),
        "/apis/groma.dev/v1alpha1/hosts/%2e/door".to_owned(),
        "/openapi/v3/../../api/v1/secrets".to_owned(),
        "/.well-known/../backup".to_owned(),
        "/backup/".to_owned(),
        "//backup".to_owned(),
        "/%62ackup".to_owned(),
        format!("/{}", "a".repeat(60 * 1024)),
        format!("/{}", "a/".repeat(20 * 1024)),
        format!("{secret}?{}", "a".repeat(20 * 1024)),
        format!("{secret}?{}", "a=b&".repeat(4 * 1024)),
        "*".to_owned(),
        "groma:443".to_owned(),
        "version".to_owned(),
        String::new(),
    ];
    targets.extend(["groma", "localhost:1", "169.254.169.254", "a@b"].map(absolute));
    for who in [&eve, &ground.nobody()] {
        for target in &targets {
            for method in ["GET", "OPTIONS", "CONNECT", "TRACE", "get", "GET\tX"] {
                let answer = ground.send(who, (method, target), &[], "");
                let shown = &target[..target.len().min(100)];
                let refused = [0, 400, 401, 403, 404, 405, 414, 421, 431, 501];
                assert!(
                    refused.contains(&answer.code),
                    "{method} {shown}: {answer:?}"
                );
                assert!(
                    !answer.body.contains("password"),
                    "{method} {shown}: {answer:?}"
                );
            }
        }
    }
    // Raw bytes that no path has.
    for bytes in [
        &b"\0"[..],
        b"\xc0\xae",
        b"\x7f",
        b"\x1b[2J",
        b" ",
        b"\t",
        b"\"",
        b"<script>",
    ] {
        let mut request = b"GET /api/v1/".to_vec();
        request.extend_from_slice(bytes);
        request.extend_from_slice(b" HTTP/1.1\r\nhost: groma\r\nconnection: close\r\n\r\n");
        let answer = ground.raw(&eve, &request);
        assert!(
            [0, 400, 403, 404].contains(&answer.code),
            "{bytes:?}: {answer:?}"
        );
    }
    // Whoever is named as the host is of no matter.
    for host in ["", "evil.example", "127.0.0.1:1", "unix", "a b", "[::1"] {
        let request = format!("GET {secret} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let answer = ground.raw(&ground.nobody(), request.as_bytes());
        assert!([400, 403].contains(&answer.code), "{host}: {answer:?}");
    }
    ground.never_said(&[SECRET]);
    ground.serves_others();
}

#[test]
fn a_head_is_read_in_one_way_or_not_at_all() {
    let ground = match Ground::start() {
        Ok(ground) => ground,
        Err(skip) => return skip.report(),
    };
    let eve = ground.tenant(TENANT);
    let token = eve.token.as_deref().expect("a token");
    let asks = format!(
        "POST {WHOAMI} HTTP/1.1\r\nhost: groma\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\n"
    );
    let last = "GET / HTTP/1.1\r\nhost: groma\r\nconnection: close\r\n\r\n";
    // What a proxy that reads the head otherwise would take for somebody's next request.
    let hidden = format!(
        "GET /api/v1/namespaces/{VICTIM}/secrets HTTP/1.1\r\nx-remote-user: groma:admin\r\nx-remote-group: system:masters\r\nhost: a\r\n\r\n"
    );
    let smuggled = [
        "content-length: 2\r\ncontent-length: 40\r\n".to_owned(),
        "content-length: 2, 40\r\n".to_owned(),
        "content-length: +2\r\n".to_owned(),
        "content-length: -1\r\n".to_owned(),
        "content-length: 0x2\r\n".to_owned(),
        "content-length: 99999999999999999999\r\n".to_owned(),
        "transfer-encoding: chunked, identity\r\n".to_owned(),
        "transfer-encoding: identity\r\ncontent-length: 2\r\n".to_owned(),
        "transfer-encoding: xchunked\r\n".to_owned(),
        "transfer-encoding: chunked\r\ntransfer-encoding: x\r\n".to_owned(),
        "transfer-encoding : chunked\r\n".to_owned(),
        "content-length : 2\r\n".to_owned(),
        "a: b\r\n content-length: 2\r\n".to_owned(),
        "a: b\r\n\tx-remote-user: groma:admin\r\n".to_owned(),
        "a: b\rx-remote-user: groma:admin\r\n".to_owned(),
        "a: b\0\r\n".to_owned(),
        ": b\r\n".to_owned(),
        "no colon\r\n".to_owned(),
    ];
    for fields in smuggled {
        let request = format!("{asks}{fields}\r\n{{}}{hidden}");
        let all = ground.conversation(&ground.nobody(), request.as_bytes());
        let all = String::from_utf8_lossy(&all);
        assert!(
            !all.contains("SecretList") && !all.contains(SECRET),
            "{fields:?}: {all}"
        );
        assert_eq!(all.matches("HTTP/1.1 ").count(), 1, "{fields:?}: {all}");
        assert!(all.starts_with("HTTP/1.1 400"), "{fields:?}: {all}");
    }
    // Both lengths: the chunks count (RFC 9112 §6.3), and what follows them is the next request, of the same nobody.
    for fields in [
        "content-length: 4\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
    ] {
        let request = format!("{asks}{fields}\r\n2\r\n{{}}\r\n0\r\n\r\n{hidden}{last}");
        let all = ground.conversation(&ground.nobody(), request.as_bytes());
        let all = String::from_utf8_lossy(&all);
        assert!(
            !all.contains("SecretList") && !all.contains(SECRET),
            "{fields:?}: {all}"
        );
        assert!(!all.contains("groma:admin"), "{fields:?}: {all}");
    }
    // Chunks that lie.
    for body in [
        "fffffffffffffffff\r\n{}",
        "-1\r\n{}\r\n0\r\n\r\n",
        "2;a=b\rc\r\n{}\r\n0\r\n\r\n",
        "2\n{}\n0\n\n",
        "zz\r\n{}\r\n",
    ] {
        let request =
            format!("{asks}connection: close\r\ntransfer-encoding: chunked\r\n\r\n{body}");
        let answer = ground.raw(&ground.nobody(), request.as_bytes());
        assert!([0, 400].contains(&answer.code), "{body:?}: {answer:?}");
    }
    // A body where there should be none is not the next request.
    let request = format!(
        "GET /version HTTP/1.1\r\nhost: groma\r\ncontent-length: {}\r\n\r\n{hidden}GET /healthz HTTP/1.1\r\nhost: groma\r\nconnection: close\r\n\r\n",
        hidden.len()
    );
    let all = ground.conversation(&ground.nobody(), request.as_bytes());
    let all = String::from_utf8_lossy(&all);
    assert!(!all.contains("secrets"), "{all}");
    ground.serves_others();
}

#[test]
fn nobody_says_in_a_head_who_he_is() {
    let ground = match Ground::start() {
        Ok(ground) => ground,
        Err(skip) => return skip.report(),
    };
    let eve = ground.tenant(TENANT);
    for (user, group) in [
        ("x-remote-user", "x-remote-group"),
        ("X-Remote-User", "X-REMOTE-GROUP"),
        ("x_remote_user", "x_remote_group"),
        ("X-Forwarded-User", "X-Forwarded-Groups"),
        ("X-Webauth-User", "X-Webauth-Groups"),
        ("remote-user", "remote-group"),
    ] {
        let fields = [
            (user, "groma:admin"),
            (user, "groma:admin"),
            (group, "system:masters"),
            (
                "x-remote-certificate",
                "2000-01-01T00:00:00Z/2999-01-01T00:00:00Z",
            ),
        ];
        let said = ground.send(&eve, ("POST", WHOAMI), &fields, "{}");
        let said = said.is(201).json();
        let info = &said["status"]["userInfo"];
        assert_eq!(
            info["username"], "system:serviceaccount:team-a:owner",
            "{user}: {said}"
        );
        assert!(!info.to_string().contains("masters"), "{user}: {said}");
        let path = format!("/api/v1/namespaces/{VICTIM}/secrets");
        ground
            .send(&ground.nobody(), ("GET", &path), &fields, "")
            .is(403);
    }
    // Two tokens are not the better of both.
    let second = format!("Bearer {}", eve.token.as_deref().expect("a token"));
    let fields = [
        ("authorization", "Bearer nonsense"),
        ("authorization", &*second),
    ];
    ground
        .send(&ground.nobody(), ("POST", WHOAMI), &fields, "{}")
        .is(401);
    ground.serves_others();
}

#[test]
fn other_protocols_are_not_spoken() {
    let ground = match Ground::start() {
        Ok(ground) => ground,
        Err(skip) => return skip.report(),
    };
    let eve = ground.tenant(TENANT);
    // Without TLS nothing is told.
    let secret = format!("/api/v1/namespaces/{VICTIM}/secrets/treasure");
    let plain = format!("GET {secret} HTTP/1.1\r\nhost: groma\r\n\r\n");
    let http2 = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for bytes in [
        plain.as_bytes(),
        http2.as_bytes(),
        b"SSH-2.0-x\r\n",
        b"\0\0\0\0\0\0\0\0",
        b"\x16\x03\x01\xff\xff",
        b"\x80\x2e\x01\0\x02",
    ] {
        let mut stream = ground.knock();
        stream.write_all(bytes).expect("written");
        stream
            .shutdown(std::net::Shutdown::Write)
            .expect("a socket");
        let all = until_end(&mut stream);
        let text = String::from_utf8_lossy(&all);
        assert!(!text.contains("HTTP/") && all.len() < 64, "{text}");
    }
    // Within TLS, HTTP/1.0 gets an answer and no more, and a client that agreed on nothing is held to what it speaks.
    let old = format!("GET {secret} HTTP/1.0\r\n\r\n");
    ground.raw(&eve, old.as_bytes()).is(403);
    let with_chunks = format!(
        "POST {WHOAMI} HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"
    );
    ground.raw(&eve, with_chunks.as_bytes()).is(400);
    for version in [
        "HTTP/0.9", "HTTP/1.2", "HTTP/2.0", "HTTP/3", "HTTP/11", "RTSP/1.0", "",
    ] {
        let answer = ground.raw(&eve, format!("GET {secret} {version}\r\n\r\n").as_bytes());
        assert!(
            [0, 400, 505].contains(&answer.code),
            "{version}: {answer:?}"
        );
    }
    // Nobody upgrades to anything but a host to its own door.
    let door = "/apis/groma.dev/v1alpha1/hosts/mad-1/door";
    for path in [
        door,
        &secret,
        "/version",
        "/apis/groma.dev/v1alpha1/hosts/mad-1/proxy/x",
    ] {
        for protocol in [
            "groma-door",
            "h2c",
            "websocket",
            "SPDY/3.1",
            "TLS/1.0, HTTP/1.1",
        ] {
            for who in [&eve, &ground.nobody()] {
                let fields = [
                    ("upgrade", protocol),
                    ("connection", "upgrade"),
                    ("http2-settings", "AAMAAABkAAQAAP__"),
                ];
                let answer = ground.send(who, ("GET", path), &fields, "");
                assert_ne!(answer.code, 101, "{path} {protocol}: {answer:?}");
                assert!(!answer.body.contains(SECRET), "{answer:?}");
            }
        }
    }
    let admin = ground.admin();
    let answer = ground.send(
        &admin,
        ("GET", door),
        &[("upgrade", "groma-door"), ("connection", "upgrade")],
        "",
    );
    answer.is(403).says("only the agent of host");
    // What was asked before TLS was ended is not carried on.
    let mut stream = ground.dial(&eve);
    let _ = stream
        .write_all(&vec![0xff; 100_000])
        .and_then(|()| stream.flush());
    let mut first = [0; 12];
    let _ = stream.read(&mut first);
    assert!(
        Answer {
            code: 0,
            head: String::new(),
            body: String::from_utf8_lossy(&first).into_owned()
        }
        .body
        .find("200")
        .is_none()
    );
    ground.serves_others();
}
