//! Ten thousand agents come back at once: after a restart each shakes hands anew with its own certificate and watches what
//! is its own.
//!
//! They are a process of their own, which says `open` whenever all of them have a watch.

use std::env;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use apiserver::tls::{self, Asked, Authority, Credentials, Validity, client_config};
use apiserver::{HOSTS_GROUP, Identity};
use http_body_util::BodyExt;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::Groma;
use crate::bench::client::{Connection, Endpoint};
use crate::bench::load::{Call, expect};
use crate::figures::Figure;
use crate::usage::Used;

/// The word that makes a benchmark the process of the agents.
pub const WORD: &str = "be-agents";
/// How long a certificate of an agent holds.
const LIFE: Duration = Duration::from_hours(24);
/// How long an agent waits before it connects again.
const AGAIN: Duration = Duration::from_millis(500);
/// Handshakes of the agents that are under way at once.
const HANDSHAKES: usize = 256;

/// Measures with so many agents.
///
/// # Errors
/// When the server or the agents do not start.
pub async fn run(n: usize, rounds: usize) -> Result<Vec<Figure>> {
    // Their Hosts would wake controllers.
    let server = Groma::start(&["--blocks"]).map_err(|skip| anyhow::anyhow!(skip.0));
    let mut server = server?;
    let mut agents = Command::new(env::current_exe()?)
        .args([WORD, &n.to_string()])
        .arg(server.folder())
        .stdout(Stdio::piped())
        .spawn()?;
    let said = agents.stdout.take().context("it is piped")?;
    let mut said = BufReader::new(said).lines();
    let mut open = || {
        let line = said.next().context("the agents have ended")??;
        ensure!(line == "open", "the agents say {line:?}");
        anyhow::Ok(())
    };
    let _agents = Ending(agents);
    open()?;
    let (mut back, mut cpu, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let begun = Instant::now();
        server.restart();
        open()?;
        back.push(begun.elapsed().as_secs_f64());
        let used = Used::of_all(&[server.pid()]);
        cpu.push(used.cpu);
        memory.push(used.memory);
    }
    let figure =
        |what, unit, values| Figure::alone(&format!("{n} agents come back: {what}"), unit, values);
    Ok(vec![
        figure("all are there after", "s", back),
        figure("server's CPU", "s", cpu),
        figure("server's memory", "MB", memory),
    ])
}

/// A process that ends with its handle.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        // One that has ended already is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Is so many agents of the server with that state folder, until the process is ended.
///
/// # Errors
/// When a certificate cannot be made.
pub async fn be(n: usize, state: &Path) -> Result<()> {
    let now = Timestamp::now();
    let authority = Authority::open(&state.join("authority"), now)?;
    let server = Endpoint::by_kubeconfig(&state.join("kubeconfig"))?;
    let field = Arc::new(Field {
        open: AtomicUsize::new(0),
        n,
        turns: Semaphore::new(HANDSHAKES),
    });
    let mut connection = server.connect().await?;
    for number in 0..n {
        let name = format!("host-{number}");
        let uid = make_host(&mut connection, number, &name).await?;
        let key = tls::new_key()?;
        let request = tls::ask(&key, &Identity::host(&name).name, HOSTS_GROUP)?;
        let asked = Asked::parse(request.as_bytes()).map_err(anyhow::Error::msg)?;
        let validity = Validity {
            begins: now,
            ends: now + LIFE,
        };
        let certificate = authority.sign(asked, &uid, validity)?;
        let own = Credentials { certificate, key };
        let tls = client_config(authority.certificate(), Some(&own), b"h2")?;
        let endpoint = Endpoint {
            tls,
            ..server.clone()
        };
        tokio::spawn(live(name, endpoint, field.clone()));
    }
    std::future::pending().await
}

/// Makes a Host, and answers its uid, which its certificate names.
async fn make_host(connection: &mut Connection, number: usize, name: &str) -> Result<String> {
    let host = json!({
        "apiVersion": "groma.dev/v1alpha1", "kind": "Host", "metadata": {"name": name},
        "spec": {"site": "far", "domain": "wan", "locator": format!("fd00:{:x}::/48", number + 1)},
    });
    let call = Call::post(
        "/apis/groma.dev/v1alpha1/hosts".to_owned(),
        host.to_string().into(),
    );
    let made: Value = serde_json::from_slice(&expect(connection, call).await?)?;
    let uid = made["metadata"]["uid"].as_str();
    Ok(uid.context("a Host has a uid")?.to_owned())
}

struct Field {
    /// How many watches are open.
    open: AtomicUsize,
    n: usize,
    turns: Semaphore,
}

/// Watches for as long as it can, and then again.
async fn live(name: String, endpoint: Endpoint, field: Arc<Field>) {
    loop {
        if let Err(error) = watch(&name, &endpoint, &field).await
            && name == "host-0"
        {
            eprintln!("{name}: {error:#}");
        }
        sleep(AGAIN).await;
    }
}

async fn watch(name: &str, endpoint: &Endpoint, field: &Field) -> Result<()> {
    let turn = field.turns.acquire().await?;
    let streams = endpoint.connect_many().await?;
    let path = "/apis/groma.dev/v1alpha1/instances?watch=true&fieldSelector=spec.host%3D";
    let answer = streams.open(Call::get(format!("{path}{name}"))).await?;
    let code = answer.status();
    ensure!(code.is_success(), "a watch is answered {code}");
    drop(turn);
    if field.open.fetch_add(1, Ordering::Relaxed) + 1 == field.n {
        println!("open");
    }
    let mut body = answer.into_body();
    while let Some(Ok(_)) = body.frame().await {}
    field.open.fetch_sub(1, Ordering::Relaxed);
    Ok(())
}
