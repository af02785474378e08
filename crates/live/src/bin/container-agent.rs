//! What the container tests start and kill: a shim, or an agent with nothing but containers.
//!
//! `shim …` becomes a shim. `agent FILE` opens the runtime that the file describes, makes its containers run, says `ready`
//! and stays until it is killed.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use adapter::{ContainerId, ContainerRuntime, ContainerSpec};
use adapter_oci::{OciConfig, OciRuntime};
use anyhow::{Context, Result, bail};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let word = arguments.next().unwrap_or_default();
    if word == "shim" {
        return adapter_oci::shim::main(arguments);
    }
    match agent(&word, arguments.next()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn agent(word: &OsString, file: Option<OsString>) -> Result<()> {
    let (true, Some(file)) = (word == "agent", file) else {
        bail!("usage: container-agent shim … | container-agent agent FILE");
    };
    let text = std::fs::read(&file).context("the file cannot be read")?;
    let (host, place, containers): (String, PathBuf, Vec<(ContainerId, ContainerSpec)>) =
        serde_json::from_slice(&text)?;
    let config = OciConfig {
        router_netns: format!("{host}-router"),
        state: place.join("state"),
        images: place.join("images"),
        attachment_mtu: 1400,
        shim: vec!["/proc/self/exe".into(), "shim".into()],
        runtime_program: "runc".to_owned(),
        host,
    };
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(serve(config, containers))
}

async fn serve(config: OciConfig, containers: Vec<(ContainerId, ContainerSpec)>) -> Result<()> {
    let runtime = OciRuntime::open(config).await?;
    for (id, spec) in containers {
        runtime.ensure(&id, &spec).await?;
    }
    println!("ready");
    std::io::stdout().flush()?;
    std::future::pending().await
}
