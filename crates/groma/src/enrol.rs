//! `groma host`: lets hosts join, and declares them dead.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use apiserver::tls::Authority;
use apiserver::{HOSTS_GROUP, Identity};
use clap::Subcommand;
use jiff::Timestamp;
use kube::Api;
use kube::api::DeleteParams;

use crate::{places, serve};

/// Commands about hosts.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Give the agent of a host its credentials, on the machine of the server
    Enroll {
        /// The host; its Host object must exist before the agent starts
        name: String,
        /// Where the credentials go, for `groma agent --kubeconfig`
        #[arg(long, short)]
        output: PathBuf,
        /// The server as that host reaches it; as it listens on this machine when not given
        #[arg(long)]
        server: Option<String>,
        /// State folder of the server
        #[arg(long, default_value = cli::SERVER_STATE, env = "GROMA_STATE")]
        state: PathBuf,
    },
    /// Declare a machine dead: nobody waits for it any more
    Forget {
        /// The host
        name: String,
    },
}

/// Runs a command.
pub async fn run(command: Command, access: &cli::Access) -> anyhow::Result<()> {
    match command {
        Command::Enroll {
            name,
            output,
            server,
            state,
        } => {
            let server = match (server, server_address(&state)) {
                (Some(server), _) => server,
                (None, Some(address)) => format!("https://{address}"),
                (None, None) => anyhow::bail!(
                    "no server has run in {} yet; start it, or give --server",
                    state.display()
                ),
            };
            enroll(&state, &name, &server, &output)?;
            println!("credentials of host {name} are in {}", output.display());
            Ok(())
        }
        Command::Forget { name } => {
            let server = access.server().await?;
            let hosts: Api<api::Host> = Api::all(server.client.clone());
            let deleted = hosts.delete(&name, &DeleteParams::background()).await;
            deleted
                .with_context(|| format!("cannot forget host {name}"))
                .map_err(|error| server.explain(error))?;
            println!("host {name} is forgotten");
            Ok(())
        }
    }
}

/// Writes the credentials of a host's agent, signed by the authority in a server's state folder.
pub fn enroll(state: &Path, host: &str, server: &str, output: &Path) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let authority = Authority::open(&places::authority(state), now)?;
    let user = Identity::host(host).name;
    let credentials = authority.issue_client(&user, Some(HOSTS_GROUP), now)?;
    if let Some(folder) = output.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
    }
    apiserver::kubeconfig::write(output, server, authority.certificate(), &credentials)?;
    Ok(())
}

/// Where the server of a state folder is reached on this machine, or was when it last ran.
pub fn server_address(state: &Path) -> Option<SocketAddr> {
    let text = std::fs::read_to_string(places::address(state)).ok()?;
    text.trim().parse().ok().map(serve::reached_at)
}
