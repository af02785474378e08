//! Clients that take their time, hold what they have, or do not read.

use std::io::Write;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use serde_json::json;

use crate::ground::{Ground, PATIENCE, Stream, TENANT, named, until_end};

/// Connections of each sort.
const MANY: usize = 150;
/// Longer than a client may take for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(14);
/// Kilobytes that the server may need more than before.
const GROWTH_MAX: u64 = 200 * 1024;

#[test]
fn who_says_nothing_or_half_of_it_keeps_nobody_out() {
    let ground = match Ground::start() {
        Ok(ground) => ground,
        Err(skip) => return skip.report(),
    };
    let eve = ground.tenant(TENANT);
    let token = eve.token.clone().expect("a token");
    let begun = Instant::now();
    // Nothing, the beginning of a handshake, of a head, and of a body.
    let mut greeting: Vec<TcpStream> = (0..MANY).map(|_| ground.knock()).collect();
    for stream in &mut greeting {
        stream.write_all(b"\x16\x03\x01\x02").expect("written");
    }
    greeting.extend((0..MANY).map(|_| ground.knock()));
    let path = format!("/api/v1/namespaces/{TENANT}/configmaps");
    let half_head = format!("GET {path} HTTP/1.1\r\nhost: gro");
    let half_body = format!(
        "POST {path} HTTP/1.1\r\nhost: groma\r\nauthorization: Bearer {token}\r\ncontent-length: 1000\r\n\r\n{{"
    );
    let idle =
        format!("GET {path} HTTP/1.1\r\nhost: groma\r\nauthorization: Bearer {token}\r\n\r\n");
    let mut half: Vec<Stream> = Vec::new();
    for text in [half_head, half_body, idle] {
        for _ in 0..MANY {
            let mut stream = ground.dial(&eve);
            stream.write_all(text.as_bytes()).expect("written");
            stream.flush().expect("written");
            half.push(stream);
        }
    }
    ground.serves_others();
    // Who greets too slowly is left; how long heads and bodies may take, tests of the door try by a clock of their own.
    for stream in &mut greeting {
        until_end(stream);
    }
    assert!(
        begun.elapsed() < HANDSHAKE + PATIENCE,
        "{:?}",
        begun.elapsed()
    );
    ground.serves_others();
}

#[test]
fn who_never_reads_his_watch_costs_no_memory_and_is_left() {
    const WATCHES: usize = 40;
    const BYTES: usize = 200_000;
    const CHANGES: usize = 60;
    let ground = match Ground::start() {
        Ok(ground) => ground,
        Err(skip) => return skip.report(),
    };
    let eve = ground.tenant(TENANT);
    let path = format!("/api/v1/namespaces/{TENANT}/configmaps");
    let token = eve.token.clone().expect("a token");
    let watch = format!(
        "GET {path}?watch=1 HTTP/1.1\r\nhost: groma\r\nauthorization: Bearer {token}\r\n\r\n"
    );
    let watching: Vec<Stream> = (0..WATCHES)
        .map(|_| {
            let mut stream = ground.dial(&eve);
            stream.write_all(watch.as_bytes()).expect("asked");
            stream.flush().expect("asked");
            stream
        })
        .collect();
    let mut object = named("large");
    ground.ask(&eve, "POST", &path, &object).is(201);
    let before = ground.memory();
    for n in 0..CHANGES {
        object["data"] = json!({"a": n.to_string().repeat(BYTES)});
        ground
            .ask(&eve, "PATCH", &format!("{path}/large"), &object)
            .is(200);
    }
    let grown = ground.memory().saturating_sub(before);
    assert!(grown < GROWTH_MAX, "it has {grown} KB more than before");
    ground.serves_others();
    drop(watching);
    ground.serves_others();
}

#[test]
fn the_limit_of_a_shell_is_not_the_limit_of_connections() {
    let program = match live::groma::program() {
        Ok(program) => program,
        Err(skip) => return skip.report(),
    };
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    let mut begun = Command::new("sh");
    begun.args([
        "-c",
        "ulimit -Sn 256; exec \"$0\" serve --listen 127.0.0.1:0 --state \"$1\" --blocks",
    ]);
    begun
        .arg(program)
        .arg(&state)
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    let mut server = begun.spawn().expect("it starts");
    let end = Instant::now() + PATIENCE;
    while !state.join("address").exists() {
        assert!(Instant::now() < end, "it does not listen");
        thread::sleep(Duration::from_millis(10));
    }
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.id())).expect("it runs");
    server.kill().expect("it ends");
    server.wait().expect("it ends");
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .expect("it has one");
    let words: Vec<&str> = files.split_whitespace().collect();
    assert_eq!(words[3], words[4], "{files}");
}
