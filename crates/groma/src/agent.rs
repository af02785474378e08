//! `groma agent`: what runs on every host.
//!
//! It composes: `mco` tells the host's facts and keeps its Lease, `wdm` runs Instances, `tcm` programs the datapath. It
//! keeps working from its last known state while the control plane cannot be reached, and never ends a running thing
//! because it cannot see it.

mod credentials;
mod door;
mod join;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use adapter_oci::{LocalMachine, OciConfig, OciRuntime};
use adapter_srv6::Srv6Router;
use anyhow::{Context, bail};
use apiserver::HOST_FORGOTTEN;
use clap::Args;
use kube::{Api, Client};
use linux::{Netlink, netns};
use runtime::{Clock, Runtime};
use tokio::sync::Notify;
use tokio::time::timeout;

use self::credentials::Kept;
use self::join::Join;
use crate::lock::Lock;
use crate::places;

/// The program that runs containers.
const OCI_RUNTIME: &str = "runc";
/// How many segments an encapsulation has at first; a datapath with longer ones lowers the MTU of what it attaches.
const SEGMENTS: usize = 1;
/// How often it is looked for what has no object any more, while the host is not forgotten.
const SWEEP: Duration = Duration::from_secs(30);

/// Options of `groma agent`.
#[derive(Debug, Args)]
pub struct Options {
    /// The host; its Host object must exist
    #[arg(long)]
    host: String,
    #[command(flatten)]
    join: Join,
    /// Credentials, which are renewed in there: `kubeconfig` in the state folder when not given
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Folder for everything that is kept
    #[arg(long, default_value = "/var/lib/groma/agent")]
    state: PathBuf,
    /// Folder of OCI image layouts
    #[arg(long, default_value = "/var/lib/groma/images")]
    images: PathBuf,
    /// Network namespace of the host's router
    #[arg(long, default_value = "groma-router")]
    router: String,
    /// The router's interface in the underlay
    #[arg(long, default_value = "up0")]
    uplink: String,
    /// What marks the containers of this agent; no two agents of one machine may have the same
    #[arg(long)]
    mark: Option<String>,
}

/// Runs until the process is asked to end; containers go on.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let missing = adapter_oci::requirements();
    if !missing.is_empty() {
        bail!("this machine cannot run an agent: {}", missing.join("; "));
    }
    let _lock = Lock::take(&places::lock(&options.state))?;
    let kubeconfig = options.kubeconfig.clone();
    let kubeconfig = kubeconfig.unwrap_or_else(|| places::kubeconfig(&options.state));
    let join = options
        .join
        .join(&options.host, &options.state, &kubeconfig);
    join.await?;
    let kept = Kept::open(&kubeconfig, &options.host).await?;
    let client = kept.client();
    let router = Arc::new(Srv6Router::open(
        &options.router,
        &options.state.join("router"),
    )?);
    let containers = Arc::new(OciRuntime::open(oci_config(&options)?).await?);
    let machine = Arc::new(LocalMachine {
        state: options.state.clone(),
        runtime_program: OCI_RUNTIME.to_owned(),
    });
    let controllers = Runtime::new(client.clone(), Clock::system());
    let controllers = mco::agent(controllers, &options.host, machine, router.clone());
    let controllers = wdm::agent(controllers, &options.host, containers.clone());
    let controllers = tcm::agent(controllers, &options.host, router.clone());
    tracing::info!(host = options.host, "running");
    let forgotten = Notify::new();
    tokio::select! {
        () = controllers.run(crate::shutdown()) => {}
        () = mco::host::keep_lease(client.clone(), &options.host, &forgotten, crate::shutdown()) => {}
        () = sweep(client, &options.host, (&containers, &router), &forgotten) => {
            wdm::instance::clear(&*containers).await?;
            tcm::clear(&*router).await?;
            bail!("host {} was forgotten: what ran here is removed", options.host);
        }
        () = door::keep_open(&kept, &options.host, &containers, &router) => {}
        () = kept.keep() => {}
    }
    Ok(())
}

fn oci_config(options: &Options) -> anyhow::Result<OciConfig> {
    Ok(OciConfig {
        host: options.mark.clone().unwrap_or_else(|| options.host.clone()),
        state: options.state.join("containers"),
        images: options.images.clone(),
        router_netns: options.router.clone(),
        attachment_mtu: adapter_srv6::attachment_mtu(underlay_mtu(options)?, SEGMENTS)?,
        shim: vec!["/proc/self/exe".into(), "shim".into()],
        runtime_program: OCI_RUNTIME.to_owned(),
    })
}

/// The largest packet that the underlay takes.
fn underlay_mtu(options: &Options) -> anyhow::Result<u32> {
    let namespace = netns::open(&options.router)?
        .with_context(|| format!("there is no network namespace {}", options.router))?;
    let uplink = Netlink::open(&namespace)?.link(&options.uplink)?;
    let uplink = uplink.with_context(|| {
        format!(
            "there is no interface {} in {}",
            options.uplink, options.router
        )
    })?;
    Ok(uplink.mtu)
}

/// Removes what has no object any more, now and again and when the server lets the agent do nothing: containers without
/// an Instance, a datapath without its HostDatapath. Returns once the host is forgotten.
async fn sweep(
    client: Client,
    host: &str,
    (containers, router): (&OciRuntime, &Srv6Router),
    forgotten: &Notify,
) {
    loop {
        if let Err(error) = wdm::instance::sweep(&client, host, containers).await {
            tracing::debug!(
                error = api::chain(&error),
                "cannot look for containers without an instance"
            );
            if is_forgotten(&client, host).await {
                return;
            }
        }
        if let Err(error) = tcm::sweep(&client, host, router).await {
            // Also said when only the server does not answer: a router that keeps old segments must not go unseen.
            tracing::warn!(
                error = api::chain(&error),
                "cannot clear a datapath without its object"
            );
        }
        let _ = timeout(SWEEP, forgotten.notified()).await;
    }
}

/// Whether the server says that the Host is gone which the agent's certificate is for.
async fn is_forgotten(client: &Client, host: &str) -> bool {
    let hosts: Api<api::Host> = Api::all(client.clone());
    let Err(kube::Error::Api(status)) = hosts.get_metadata(host).await else {
        return false;
    };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes
        .into_iter()
        .any(|cause| cause.reason == HOST_FORGOTTEN)
}
