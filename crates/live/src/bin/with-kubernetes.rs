//! `with-kubernetes COMMAND …` runs a command beside a real kube-apiserver, which ends with it.
//!
//! The command finds the administrator's kubeconfig in `KUBECONFIG`, and in `GROMA_LAWS_ON`, so that the laws of the
//! reconcilers are lived there. Where there is no such server it says `skipped: REASON` and runs nothing.

use std::env;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use live::kubernetes::ApiServer;

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let mut words = env::args_os().skip(1);
    let program = words.next().context("say which command to run")?;
    let mut server = match ApiServer::start() {
        Ok(server) => server,
        Err(skip) => {
            skip.report();
            return Ok(ExitCode::SUCCESS);
        }
    };
    server.wait_until_ready().await;
    let kubeconfig = server.kubeconfig(None);
    let mut command = Command::new(&program);
    command.args(words).env("KUBECONFIG", &kubeconfig);
    command.env("GROMA_LAWS_ON", &kubeconfig);
    let ended = command.status();
    let ended = ended.with_context(|| format!("cannot run {}", program.display()))?;
    let code = ended.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}
