//! What goes through the agents: logs of instances, and programs run in them.

use std::process::ExitCode;

use anyhow::{Context, bail};
use api::wdm::{ExecFrame, Serving};
use api::{AVAILABLE, Instance};
use futures::AsyncReadExt;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt};

/// Which part of the logs.
#[derive(Clone, Copy, Debug)]
pub struct Logs {
    pub follow: bool,
    pub tail: Option<u32>,
    pub previous: bool,
}

/// The most that is handed over as standard input.
const INPUT_MAX: u64 = 16 << 20;
/// How much is read at once.
const PIECE: usize = 16 << 10;

/// Prints what an instance wrote.
pub async fn logs(client: &Client, namespace: &str, name: &str, logs: Logs) -> anyhow::Result<()> {
    let instance = find(client, namespace, name).await?;
    let mut path = format!(
        "{}/log?follow={}&previous={}",
        path(namespace, &instance),
        logs.follow,
        logs.previous
    );
    if let Some(tail) = logs.tail {
        path = format!("{path}&tailLines={tail}");
    }
    let request = http::Request::get(path).body(Vec::new())?;
    let mut stream = Box::pin(
        client
            .request_stream(request)
            .await
            .with_context(|| format!("cannot read the logs of {instance}"))?,
    );
    let mut output = tokio::io::stdout();
    let mut piece = vec![0; PIECE];
    loop {
        match stream.read(&mut piece).await? {
            0 => return Ok(()),
            n => {
                output.write_all(&piece[..n]).await?;
                output.flush().await?;
            }
        }
    }
}

/// Runs a program in an instance; its exit status becomes ours.
pub async fn exec(
    client: &Client,
    namespace: &str,
    name: &str,
    stdin: bool,
    command: &[String],
) -> anyhow::Result<ExitCode> {
    let instance = find(client, namespace, name).await?;
    let words: Vec<_> = command
        .iter()
        .map(|word| format!("command={}", crate::objects::escaped(word)))
        .collect();
    let path = format!("{}/exec?{}", path(namespace, &instance), words.join("&"));
    let mut input = Vec::new();
    if stdin {
        tokio::io::stdin()
            .take(INPUT_MAX)
            .read_to_end(&mut input)
            .await?;
    }
    let request = http::Request::post(path).body(input)?;
    let mut stream = Box::pin(
        client
            .request_stream(request)
            .await
            .with_context(|| format!("cannot run a program in {instance}"))?,
    );
    let (mut buffer, mut piece) = (Vec::new(), vec![0; PIECE]);
    loop {
        let n = stream.read(&mut piece).await?;
        buffer.extend_from_slice(&piece[..n]);
        while let Some(frame) = ExecFrame::decode(&mut buffer).map_err(anyhow::Error::msg)? {
            match frame {
                ExecFrame::Stdout(bytes) => tokio::io::stdout().write_all(&bytes).await?,
                ExecFrame::Stderr(bytes) => tokio::io::stderr().write_all(&bytes).await?,
                ExecFrame::Exit(code) => {
                    tokio::io::stdout().flush().await?;
                    return Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)));
                }
            }
        }
        if n == 0 {
            bail!("the connection to {instance} ended before the program did");
        }
    }
}

fn path(namespace: &str, instance: &str) -> String {
    format!("/apis/groma.dev/v1alpha1/namespaces/{namespace}/instances/{instance}")
}

/// The instance of that name, or the best one of the workload of that name: one that serves rather than one that does
/// not, and one that stays rather than one that is on its way out.
async fn find(client: &Client, namespace: &str, name: &str) -> anyhow::Result<String> {
    let instances: Api<Instance> = Api::namespaced(client.clone(), namespace);
    if instances.get_opt(name).await?.is_some() {
        return Ok(name.to_owned());
    }
    let of_workload = ListParams::default().fields(&format!("spec.workload={name}"));
    let found = instances.list(&of_workload).await?.items;
    match found
        .iter()
        .min_by_key(|instance| (leaving(instance), !serves(instance)))
    {
        Some(instance) => Ok(instance.name_any()),
        None => bail!(
            "there is no instance {name} and no instance of a workload {name} in namespace {namespace}"
        ),
    }
}

fn leaving(instance: &Instance) -> bool {
    instance.metadata.deletion_timestamp.is_some() || instance.spec.serving == Serving::Draining
}

fn serves(instance: &Instance) -> bool {
    let status = instance.status.as_ref();
    status.is_some_and(|status| status.conditions.is_true(AVAILABLE))
}
