//! What goes through the agents: logs of instances, and programs run in them.

use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use api::wdm::{ExecFrame, Serving};
use api::{AVAILABLE, Instance};
use futures::AsyncReadExt;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt};

/// Which part of the logs.
#[derive(Clone, Copy, Debug)]
pub struct Logs {
    pub follow: bool,
    pub tail: Option<u32>,
    pub previous: bool,
}

/// What Kubernetes says of a path that it does not know.
const NO_SUCH_PATH: [&str; 2] = ["could not find the requested resource", "page not found"];
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
            .map_err(doorless)
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
    let input = match stdin {
        true => all_of(tokio::io::stdin()).await?,
        false => Vec::new(),
    };
    let request = http::Request::post(path).body(input)?;
    let mut stream = Box::pin(
        client
            .request_stream(request)
            .await
            .map_err(doorless)
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

/// Says so when the server is one without doors: a Kubernetes API server knows no such path.
fn doorless(error: kube::Error) -> anyhow::Error {
    let unknown = |status: &kube::core::Status| {
        let message = &status.message;
        status.code == 404 && NO_SUCH_PATH.iter().any(|it| message.contains(it))
    };
    match &error {
        kube::Error::Api(status) if unknown(status) => anyhow!(
            "this API server has no doors of agents, through which logs and exec go; only Groma's own has"
        ),
        _ => error.into(),
    }
}

/// All that is to be handed over; half of it would be worse than nothing.
async fn all_of(input: impl AsyncRead + Unpin) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(INPUT_MAX + 1).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 > INPUT_MAX {
        bail!(
            "standard input has more than {} MiB, the most that is handed over; send it in parts",
            INPUT_MAX >> 20
        );
    }
    Ok(bytes)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn input_is_handed_over_whole_or_not_at_all() {
        let most = tokio::io::repeat(b'x').take(INPUT_MAX);
        let bytes = all_of(most).await.expect("as much as there may be");
        assert_eq!(bytes.len() as u64, INPUT_MAX);
        let more = tokio::io::repeat(b'x').take(INPUT_MAX + 1);
        let refused = all_of(more).await.expect_err("too much");
        assert!(refused.to_string().contains("16 MiB"), "{refused}");
    }
}
