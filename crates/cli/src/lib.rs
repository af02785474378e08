//! The command line: every client command.
//!
//! A command speaks only through `kube::Client`, so it can do nothing that a user with kubectl cannot. `access` finds the
//! server, `kinds` what it serves, `table` prints; each other module is one command or a few that belong together.

mod access;
mod decisions;
pub mod install;
mod instances;
mod kinds;
mod objects;
mod output;
mod resources;
mod table;
mod trace;

use std::path::PathBuf;
use std::process::ExitCode;

use api::terminal::plain;
use clap::Subcommand;
pub use clap_complete::Shell;
use kube::Client;

pub use crate::access::{Access, LABORATORIES, SERVER_STATE, Server};
pub use crate::objects::{apply, apply_told};
pub use crate::output::Out;
use crate::output::Output;

/// Client commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create or change objects as manifests say
    Apply {
        /// A manifest in YAML or JSON; `-` reads the standard input
        #[arg(long, short, required = true)]
        file: Vec<PathBuf>,
    },
    /// Show objects
    Get {
        /// The kind: its name, plural or short name, with its group if need be (`services.groma.dev`)
        kind: String,
        /// Only this one
        name: Option<String>,
        /// In all namespaces
        #[arg(long, short = 'A')]
        all_namespaces: bool,
        /// Only those with these labels
        #[arg(long, short = 'l')]
        selector: Option<String>,
        /// How to show them
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Show one object, its conditions and its events
    Describe {
        /// The kind
        kind: String,
        /// The object
        name: String,
    },
    /// Delete objects
    Delete {
        /// The kind; not given with --file
        kind: Option<String>,
        /// The objects
        names: Vec<String>,
        /// What this manifest names
        #[arg(long, short, conflicts_with_all = ["kind", "names"])]
        file: Option<PathBuf>,
        /// Do not wait until they are gone
        #[arg(long)]
        no_wait: bool,
    },
    /// Explain why a service or workload runs where it runs, and why not elsewhere
    Why {
        /// The service or workload
        name: String,
        /// How to show it
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Show the hops of a chain with what each has counted
    Trace {
        /// The chain, or the service all of whose chains are shown
        name: String,
        /// How to show it
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Show what there is, what is reserved and what is free (TCRR)
    Inventory {
        /// How to show it
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Show what ran where, from when to when (TCWI)
    Workloads {
        /// Only this workload
        name: Option<String>,
        /// How to show it
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Show what an instance wrote
    Logs {
        /// The instance, or a workload of which the first instance is taken
        name: String,
        /// Go on as more is written
        #[arg(long, short)]
        follow: bool,
        /// Only so many lines from the end
        #[arg(long)]
        tail: Option<u32>,
        /// The output of the run before this one
        #[arg(long)]
        previous: bool,
    },
    /// Run a program in an instance
    Exec {
        /// The instance, or a workload of which the first instance is taken
        name: String,
        /// Hand over the standard input
        #[arg(long, short = 'i')]
        stdin: bool,
        /// The program and its arguments
        #[arg(trailing_var_arg = true, required = true)]
        command: Vec<String>,
    },
    /// Prepare a Kubernetes cluster, so that Groma's controllers can run on it: definitions, roles, admission
    Install {
        /// Only say what would become of each object
        #[arg(long)]
        dry_run: bool,
        /// Print all as YAML and ask no server
        #[arg(long, conflicts_with = "dry_run")]
        print: bool,
    },
    /// Print the versions of this program and of the server
    Version,
}

/// Runs a command.
pub async fn run(command: Command, access: &Access) -> anyhow::Result<ExitCode> {
    let out = &mut std::io::stdout();
    match command {
        Command::Version => objects::version(out, access).await?,
        Command::Install { print: true, .. } => install::print(out)?,
        Command::Install { dry_run, .. } => install::install(out, access, dry_run).await?,
        command => return ask_server(command, access).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn ask_server(command: Command, access: &Access) -> anyhow::Result<ExitCode> {
    let server = access.server().await?;
    let done = ask(command, &server.client, access.namespace()).await;
    done.map_err(|error| server.explain(error))
}

/// Runs a command that asks the server, and agents through it.
async fn ask(command: Command, client: &Client, namespace: &str) -> anyhow::Result<ExitCode> {
    match command {
        Command::Logs {
            name,
            follow,
            tail,
            previous,
        } => {
            let which = instances::Logs {
                follow,
                tail,
                previous,
            };
            instances::logs(client, namespace, &name, which).await?;
        }
        Command::Exec {
            name,
            stdin,
            command,
        } => return instances::exec(client, namespace, &name, stdin, &command).await,
        command => tell(&mut std::io::stdout(), command, client, namespace).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs a command that needs no agent and writes what it has to tell.
pub async fn tell(
    out: Out<'_>,
    command: Command,
    client: &Client,
    namespace: &str,
) -> anyhow::Result<()> {
    match command {
        Command::Apply { file } => objects::apply_files(out, client, namespace, &file).await,
        Command::Get {
            kind,
            name,
            all_namespaces,
            selector,
            output,
        } => {
            let query = objects::Query {
                kind,
                name,
                selector,
                namespace: (!all_namespaces).then_some(namespace),
            };
            objects::get(out, client, query, output).await
        }
        Command::Describe { kind, name } => {
            objects::describe(out, client, namespace, &kind, &name).await
        }
        Command::Delete {
            kind,
            names,
            file,
            no_wait,
        } => match (kind, file) {
            (Some(kind), _) => {
                objects::delete(out, client, namespace, &kind, &names, !no_wait).await
            }
            (None, Some(file)) => {
                objects::delete_file(out, client, namespace, &file, !no_wait).await
            }
            (None, None) => anyhow::bail!("say what to delete: a kind and names, or --file"),
        },
        Command::Why { name, output } => {
            decisions::why(out, client, namespace, &name, output).await
        }
        Command::Trace { name, output } => {
            trace::trace(out, client, namespace, &name, output).await
        }
        Command::Inventory { output } => resources::inventory(out, client, output).await,
        Command::Workloads { name, output } => {
            resources::workloads(out, client, namespace, name.as_deref(), output).await
        }
        Command::Logs { .. }
        | Command::Exec { .. }
        | Command::Install { .. }
        | Command::Version => {
            anyhow::bail!("this command does not only ask the server")
        }
    }
}

/// Prints the completions of a shell.
pub fn completions(shell: Shell, program: &mut clap::Command) {
    clap_complete::generate(shell, program, "groma", &mut std::io::stdout());
}

/// An error in one line, with what the server said and no more of its answer.
pub fn explained(error: &anyhow::Error) -> String {
    let told = |cause: &(dyn std::error::Error + 'static)| match cause.downcast_ref() {
        Some(kube::Error::Api(status)) => plain(&status.message).into_owned(),
        _ => lines(&cause.to_string()),
    };
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = told(cause);
        parts.push(text);
        if cause.downcast_ref::<kube::Error>().is_some() {
            break;
        }
    }
    parts.join(": ")
}

/// What we say ourselves may have several lines.
fn lines(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(plain).collect();
    lines.join("\n")
}
