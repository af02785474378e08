//! The one program of Groma: server, agent, shim, laboratory and command line.
//!
//! It composes what the crates offer and has no logic of its own.

mod agent;
mod audit;
mod backup;
mod certificate;
mod credentials;
mod host;
mod laboratory;
mod lock;
mod moving;
mod oidc;
mod places;
mod serve;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use mimalloc::MiMalloc;
use tracing_subscriber::EnvFilter;

/// Documents are many small values: reading a store takes a third less of the processor than with the system's allocator.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Places, provisions, deploys and connects telco services over many sites and providers.
#[derive(Debug, Parser)]
#[command(name = "groma", version, max_term_width = 100)]
struct Groma {
    #[command(flatten)]
    access: cli::Access,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the control plane: the API server and all controllers
    Serve(Box<serve::Options>),
    /// Run the agent of a host
    Agent(agent::Options),
    /// Build, watch and remove a laboratory on this machine
    #[command(subcommand)]
    Lab(laboratory::Command),
    /// Take a backup of a server that serves
    Backup(backup::Taking),
    /// Make the store of a server from a backup
    Restore(backup::Restoring),
    /// Write what Groma keeps in a home, a server of ours or a Kubernetes cluster, so that another goes on from it. Nothing should
    /// be changed meanwhile: end the controllers first
    Export(moving::Exporting),
    /// Put what was exported into a home that has nothing of Groma's, before controllers run there
    Import(moving::Importing),
    /// Let hosts join, take it back, and declare them dead
    #[command(subcommand)]
    Host(host::Command),
    /// Judge the audit log of a server
    #[command(subcommand)]
    Audit(audit::Command),
    /// Print the completions of a shell
    Completions {
        /// The shell
        shell: cli::Shell,
    },
    #[command(flatten)]
    Client(cli::Command),
}

/// The word that makes this program the shim of a container.
const SHIM: &str = "shim";

fn main() -> ExitCode {
    // Before any thread is started: a shim forks.
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().as_deref() == Some(SHIM.as_ref()) {
        return adapter_oci::shim::main(arguments.collect::<Vec<OsString>>());
    }
    let groma = Groma::parse();
    let quiet = matches!(
        groma.command,
        Command::Client(_)
            | Command::Host(_)
            | Command::Audit(_)
            | Command::Backup(_)
            | Command::Restore(_)
            | Command::Export(_)
            | Command::Import(_)
    );
    let filter = EnvFilter::try_from_env("GROMA_LOG")
        .unwrap_or_else(|_| EnvFilter::new(if quiet { "off" } else { "info" }));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    match run(groma) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("groma: {}", cli::explained(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(groma: Groma) -> anyhow::Result<ExitCode> {
    if let Command::Completions { shell } = groma.command {
        cli::completions(shell, &mut Groma::command());
        return Ok(ExitCode::SUCCESS);
    }
    if let Command::Audit(command) = groma.command {
        return audit::run(&command);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match groma.command {
            Command::Serve(options) => serve::run(*options).await.map(|()| ExitCode::SUCCESS),
            Command::Agent(options) => agent::run(options).await.map(|()| ExitCode::SUCCESS),
            Command::Lab(command) => laboratory::run(command).await,
            Command::Backup(options) => backup::take(&options, &groma.access)
                .await
                .map(|()| ExitCode::SUCCESS),
            Command::Restore(options) => {
                backup::restore(&options).await.map(|()| ExitCode::SUCCESS)
            }
            Command::Export(options) => moving::export(&options, &groma.access)
                .await
                .map(|()| ExitCode::SUCCESS),
            Command::Import(options) => moving::import(&options, &groma.access)
                .await
                .map(|()| ExitCode::SUCCESS),
            Command::Host(command) => host::run(command, &groma.access)
                .await
                .map(|()| ExitCode::SUCCESS),
            Command::Client(command) => cli::run(command, &groma.access).await,
            Command::Audit(_) | Command::Completions { .. } => Ok(ExitCode::SUCCESS),
        }
    })
}

/// Ends when the process is asked to end.
async fn shutdown() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        tracing::error!("cannot listen for signals");
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_can_be_read() {
        Groma::command().debug_assert();
    }
}
