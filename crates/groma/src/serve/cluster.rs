//! The controllers on a Kubernetes cluster: one process leads, any others stand by.
//!
//! What a cluster must have for that, `groma install` puts there. Whatever lacks is told before anything begins.

use std::path::PathBuf;
use std::process;

use anyhow::bail;
use api::SYSTEM_NAMESPACE;
use cli::install;
use jiff::Timestamp;
use kube::Client;
use runtime::{Clock, Election};

use super::{Block, controllers};

/// Runs until the process is asked to end.
pub async fn run(kubeconfig: PathBuf, blocks: &[Block]) -> anyhow::Result<()> {
    let server = cli::Access::kubeconfig(kubeconfig).server().await?;
    let client = server.client.clone();
    let checked = check(&client).await;
    checked.map_err(|error| server.explain(error))?;
    tracing::warn!(
        "this API server has no doors of agents: logs, exec and counters are not to be had through it"
    );
    let place = (SYSTEM_NAMESPACE, install::CONTROLLERS);
    let election = Election::new(client.clone(), place, &own_name(), Clock::system());
    let work = |stop: tokio::sync::oneshot::Receiver<()>| {
        let controllers = controllers(client.clone(), blocks);
        async move {
            let stop = async {
                // Whether it was told or whoever would tell is gone.
                let _ = stop.await;
            };
            controllers.run(stop).await;
        }
    };
    election.lead(crate::shutdown(), work).await?;
    Ok(())
}

/// Whether the controllers can work there.
async fn check(client: &Client) -> anyhow::Result<()> {
    install::check_server(client).await?;
    let missing = install::missing(client).await?;
    if !missing.is_empty() {
        bail!(
            "the server does not serve {}; run `groma install` with the same --kubeconfig first",
            missing.join(", ")
        );
    }
    let lacking = install::lacking(client).await?;
    if !lacking.is_empty() {
        bail!(
            "the account lacks rights:\n  {}\nuse that of ServiceAccount {SYSTEM_NAMESPACE}/{}, which `groma install` makes, or bind \
             its roles to this one",
            lacking.join("\n  "),
            install::CONTROLLERS
        );
    }
    Ok(())
}

/// A name that no other process has: those of one machine differ by their number, those of two pods by their host's name,
/// and a later process of the same number by its time.
fn own_name() -> String {
    let uname = rustix::system::uname();
    let host = uname.nodename().to_string_lossy().into_owned();
    let now = Timestamp::now().as_millisecond();
    format!("{host}_{}-{now}", process::id())
}
