//! The server that writes is killed: how soon another one acknowledges writes, and its controllers act.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::task::block_in_place;
use tokio::time::{sleep, timeout};

use crate::bench::client::Connection;
use crate::bench::load::Call;
use crate::figures::Figure;
use crate::servers::Servers;

const SERVERS: usize = 3;
const WORKLOADS: &str = "/apis/groma.dev/v1alpha1/namespaces/default/workloads";
const AGAIN: Duration = Duration::from_millis(20);
/// How long it may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// Kills so many servers that write, one after the other.
///
/// # Errors
/// When they do not start, or no other one writes.
pub async fn run(rounds: usize) -> Result<Vec<Figure>> {
    let started = block_in_place(|| Servers::start(SERVERS, "tcso,mco"));
    let mut servers = match started {
        Ok(servers) => servers,
        Err(skip) => {
            eprintln!("servers cannot share an etcd: {}", skip.0);
            return Ok(Vec::new());
        }
    };
    let (mut writes, mut acts, mut leader) = (Vec::new(), Vec::new(), 0);
    for round in 0..rounds {
        let other = (leader + 1) % SERVERS;
        let killed = leader;
        let mut connection = servers.endpoint(other).connect().await?;
        let begun = Instant::now();
        servers.all[killed].end();
        let name = format!("round-{round}");
        timeout(PATIENCE, created(&mut connection, &name)).await??;
        writes.push(begun.elapsed().as_secs_f64());
        timeout(PATIENCE, seen(&mut connection, &name)).await??;
        acts.push(begun.elapsed().as_secs_f64());
        let others: Vec<usize> = (0..SERVERS).filter(|it| *it != killed).collect();
        leader = servers.leader(&others).await;
        block_in_place(|| servers.all[killed].restart());
    }
    let figure = |name, values| Figure::alone(name, "s", values);
    Ok(vec![
        figure("failover: a write is acknowledged after", writes),
        figure("failover: controllers act after", acts),
    ])
}

/// Makes a workload, however often it is told to ask again.
async fn created(connection: &mut Connection, name: &str) -> Result<()> {
    let workload = json!({
        "apiVersion": "groma.dev/v1alpha1", "kind": "Workload", "metadata": {"name": name},
        "spec": {"artefacts": [{"form": "container", "image": "layout:none"}], "resources": {"cpu": "1"}},
    });
    loop {
        let call = Call::post(WORKLOADS.to_owned(), workload.to_string().into());
        let (code, body) = connection.ask(call).await?;
        match code {
            StatusCode::CREATED | StatusCode::CONFLICT => return Ok(()),
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => sleep(AGAIN).await,
            code => anyhow::bail!("{code}: {}", String::from_utf8_lossy(&body)),
        }
    }
}

/// Waits until a controller has said something about it.
async fn seen(connection: &mut Connection, name: &str) -> Result<()> {
    loop {
        let call = Call::get(format!("{WORKLOADS}/{name}"));
        let (code, body) = connection.ask(call).await?;
        let found: Value = serde_json::from_slice(&body).context("an answer is JSON")?;
        if code.is_success() && found["status"]["conditions"].is_array() {
            return Ok(());
        }
        sleep(AGAIN).await;
    }
}
