//! HTTP/2 by hand: requests that have no form, and frames in floods.

use std::io::{Read, Write};
use std::iter;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use crate::ground::{Ground, SECRET, Stream, TENANT, Who, until_end};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Types of frames (RFC 9113 §6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW: u8 = 8;
const CONTINUATION: u8 = 9;
/// Flags.
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// How the head of an answer with 200 begins (RFC 7541, appendix A: `:status: 200`).
const OK: u8 = 0x88;
const CONFIGMAPS: &str = "/api/v1/namespaces/team-a/configmaps";
/// Kilobytes that the server may need more than before.
const GROWTH_MAX: u64 = 200 * 1024;

type Fields<'a> = Vec<(&'a str, &'a str)>;

#[test]
fn a_request_without_form_is_no_request() {
    let ground = match Ground::start() {
        Ok(ground) => ground,
        Err(skip) => return skip.report(),
    };
    let eve = ground.tenant(TENANT);
    let bearer = format!("Bearer {}", eve.token.as_deref().expect("a token"));
    let good = || -> Fields<'_> {
        vec![
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", "groma"),
            (":path", CONFIGMAPS),
            ("authorization", &bearer),
        ]
    };
    assert!(
        is_answered(&ground, &eve, &good()),
        "a good one is answered"
    );
    let with = |field: (&'static str, &'static str)| {
        let mut fields = good();
        fields.push(field);
        fields
    };
    let without = |name: &str| {
        let mut fields = good();
        fields.retain(|field| field.0 != name);
        fields
    };
    let instead = |name: &'static str, value: &'static str| {
        let mut fields = without(name);
        fields.insert(0, (name, value));
        fields
    };
    let bad = [
        with(("X-Remote-User", "groma:admin")),
        with(("connection", "close")),
        with(("transfer-encoding", "chunked")),
        with(("upgrade", "groma-door")),
        with(("te", "gzip")),
        with((":path", "/version")),
        with((":method", "DELETE")),
        with((":evil", "x")),
        with(("", "x")),
        with(("a b", "x")),
        with(("a:b", "x")),
        with(("a\r\nx-remote-user", "groma:admin")),
        with(("a", "b\r\nx-remote-user: groma:admin")),
        with(("a", "b\0")),
        with(("content-length", "5")),
        without(":method"),
        without(":path"),
        instead(":path", ""),
        instead(":path", "api/v1/namespaces/team-a/configmaps"),
        instead(":path", "/api/v1/namespaces/team-a/configmaps HTTP/1.1"),
        instead(":path", "/api/v1/namespaces/team-a/configmaps\0"),
        instead(":method", "G T"),
        instead(":method", ""),
        instead(":authority", "a b"),
    ];
    for fields in &bad {
        assert!(!is_answered(&ground, &eve, fields), "{fields:?}");
    }
    ground.never_said(&[SECRET]);
    ground.serves_others();
}

#[test]
fn a_flood_of_frames_ends_its_own_connection() {
    let ground = match Ground::start() {
        Ok(ground) => ground,
        Err(skip) => return skip.report(),
    };
    let eve = ground.tenant(TENANT);
    let bearer = format!("Bearer {}", eve.token.as_deref().expect("a token"));
    let list = head(&[
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "groma"),
        (":path", CONFIGMAPS),
        ("authorization", &bearer),
    ]);
    let before = ground.memory();
    let odd = (1..).step_by(2);
    let rapid_reset = odd.clone().take(50_000).flat_map(|stream| {
        let mut both = frame(HEADERS, END_STREAM | END_HEADERS, stream, &list);
        both.extend(frame(RESET, 0, stream, &8_u32.to_be_bytes()));
        both
    });
    let endless_head = iter::once(frame(HEADERS, END_STREAM, 1, &list))
        .chain((0..20_000).map(|_| frame(CONTINUATION, 0, 1, &literal("a", &"b".repeat(100)))))
        .flatten();
    // One entry of the table, named again and again (CVE-2016-6581).
    let mut bomb = list.clone();
    bomb.push(0x40);
    bomb.extend(text("x"));
    bomb.extend(text(&"y".repeat(3_900)));
    bomb.extend(iter::repeat_n(0xbe, 12_000));
    let bombs = odd
        .clone()
        .take(200)
        .flat_map(|stream| frame(HEADERS, END_STREAM | END_HEADERS, stream, &bomb));
    let empty = iter::once(frame(HEADERS, END_HEADERS, 1, &list))
        .chain((0..100_000).map(|_| frame(DATA, 0, 1, b"")))
        .flatten();
    let overflow = (0..4).flat_map(|_| frame(WINDOW, 0, 0, &0x7fff_ffff_u32.to_be_bytes()));
    let floods: Vec<(&str, bool, Vec<u8>)> = vec![
        ("reset", true, rapid_reset.collect()),
        (
            "settings",
            false,
            (0..50_000)
                .flat_map(|_| frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9]))
                .collect(),
        ),
        (
            "pings",
            false,
            (0..50_000)
                .flat_map(|_| frame(PING, 0, 0, b"01234567"))
                .collect(),
        ),
        ("an endless head", true, endless_head.collect()),
        ("header bombs", false, bombs.collect()),
        ("empty data", false, empty.collect()),
        ("windows", true, overflow.collect()),
        (
            "an even stream",
            true,
            frame(HEADERS, END_STREAM | END_HEADERS, 2, &list),
        ),
        ("data of no stream", true, frame(DATA, 0, 7, b"x")),
        ("a huge frame", true, frame(DATA, 0, 1, &vec![0; 1 << 20])),
        (
            "a bad table size",
            true,
            frame(
                HEADERS,
                END_STREAM | END_HEADERS,
                1,
                &[0x3f, 0xe1, 0xff, 0xff, 0x7f],
            ),
        ),
        (
            "a bad index",
            true,
            frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0xff, 0xff, 0x7f]),
        ),
        (
            "a long number",
            true,
            frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0xff; 64]),
        ),
    ];
    for (name, must_end, flood) in &floods {
        let mut stream = begin(&ground, &eve);
        // It is left before all is sent, and nothing is read meanwhile.
        let _ = stream.write_all(flood).and_then(|()| stream.flush());
        ground.serves_others();
        if *must_end {
            let frames = frames(&until_end(&mut stream));
            assert!(
                frames.iter().any(|it| it.0 == GO_AWAY) || frames.is_empty(),
                "{name}: {frames:?}"
            );
        }
    }
    let grown = ground.memory().saturating_sub(before);
    assert!(grown < GROWTH_MAX, "it has {grown} KB more than before");
    ground.serves_others();
}

#[test]
fn a_connection_has_so_many_streams_and_no_more() {
    const STREAMS: u32 = 1_500;
    let ground = match Ground::start() {
        Ok(ground) => ground,
        Err(skip) => return skip.report(),
    };
    let eve = ground.tenant(TENANT);
    let bearer = format!("Bearer {}", eve.token.as_deref().expect("a token"));
    let watch = format!("{CONFIGMAPS}?watch=1");
    let watch = head(&[
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "groma"),
        (":path", &watch),
        ("authorization", &bearer),
    ]);
    let mut stream = begin(&ground, &eve);
    for n in 0..STREAMS {
        let asked = frame(HEADERS, END_STREAM | END_HEADERS, 2 * n + 1, &watch);
        if stream.write_all(&asked).is_err() {
            break;
        }
    }
    let _ = stream.flush();
    ground.serves_others();
    let mut refused = false;
    while !refused {
        let Some((kind, _, _)) = next_frame(&mut stream) else {
            break;
        };
        refused = kind == RESET || kind == GO_AWAY;
    }
    assert!(refused, "all {STREAMS} streams are open");
    ground.serves_others();
}

/// Whether a request is answered with 200.
fn is_answered(ground: &Ground, who: &Who, fields: &[(&str, &str)]) -> bool {
    let mut stream = begin(ground, who);
    let asked = frame(HEADERS, END_STREAM | END_HEADERS, 1, &head(fields));
    let _ = stream.write_all(&asked).and_then(|()| stream.flush());
    while let Some((kind, _, payload)) = next_frame(&mut stream) {
        match kind {
            HEADERS => return payload.first() == Some(&OK),
            RESET | GO_AWAY => return false,
            _ => {}
        }
    }
    false
}

/// A connection that has begun to speak HTTP/2.
fn begin(ground: &Ground, who: &Who) -> Stream {
    let mut tls = ClientConfig::clone(&who.tls);
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let who = Who {
        tls: Arc::new(tls),
        ..who.clone()
    };
    let mut stream = ground.dial(&who);
    stream
        .sock
        .set_write_timeout(Some(Duration::from_secs(2)))
        .expect("a socket");
    stream.write_all(PREFACE).expect("written");
    stream
        .write_all(&frame(SETTINGS, 0, 0, b""))
        .expect("written");
    stream.flush().expect("written");
    stream
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .expect("it is short")
        .to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

fn head(fields: &[(&str, &str)]) -> Vec<u8> {
    fields
        .iter()
        .flat_map(|(name, value)| literal(name, value))
        .collect()
}

/// A field that is written out and not remembered (RFC 7541 §6.2.2).
fn literal(name: &str, value: &str) -> Vec<u8> {
    [vec![0], text(name), text(value)].concat()
}

/// A length, and as many bytes (RFC 7541 §5.2).
fn text(text: &str) -> Vec<u8> {
    let mut written = Vec::new();
    let mut left = text.len();
    if left < 0x7f {
        written.push(u8::try_from(left).expect("it is short"));
    } else {
        written.push(0x7f);
        left -= 0x7f;
        while left >= 0x80 {
            written.push(u8::try_from(left % 0x80).expect("it is short") | 0x80);
            left /= 0x80;
        }
        written.push(u8::try_from(left).expect("it is short"));
    }
    written.extend(text.as_bytes());
    written
}

/// Type, flags and payload; `None` at the end.
fn next_frame(stream: &mut impl Read) -> Option<(u8, u8, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).ok()?;
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    stream.read_exact(&mut payload).ok()?;
    Some((head[3], head[4], payload))
}

/// Type and flags of all whole frames.
fn frames(mut bytes: &[u8]) -> Vec<(u8, u8)> {
    iter::from_fn(|| next_frame(&mut bytes).map(|it| (it.0, it.1))).collect()
}
