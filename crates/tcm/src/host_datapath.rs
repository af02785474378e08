//! `HostDatapath` on the agent's side: what the router has is made what it should have.
//!
//! Reads: nothing else. Writes: nothing else. Acts on: the host's router. What was asked for counts as applied only once
//! it was read back.

use std::sync::Arc;

use adapter::{Router, RouterState, RouterStep, difference, missing};
use api::tcm::{AppliedDatapath, Attachment, HostDatapathSpec};
use api::{HostDatapath, Ipv6Prefix, Result};
use futures::stream::{BoxStream, StreamExt};
use kube::{Api, Client};
use runtime::{Ctx, ObjectRef, Plan, Reconciler, Report, Wait, deleting, failed};
use serde::Serialize;

/// Programs the router of one host.
pub struct HostDatapathReconciler<R> {
    host: String,
    router: Arc<R>,
}

impl<R> HostDatapathReconciler<R> {
    /// Programs this router for the HostDatapath of this host.
    pub fn new(host: &str, router: Arc<R>) -> Self {
        Self {
            host: host.to_owned(),
            router,
        }
    }
}

/// The fields of the status that this reconciler owns.
#[derive(Debug, Serialize)]
pub struct Status {
    applied: AppliedDatapath,
    faults: Vec<String>,
}

impl<R: Router> Reconciler for HostDatapathReconciler<R> {
    type Object = HostDatapath;
    type Observed = RouterState;
    type Step = RouterStep;
    type Status = Status;

    async fn observe(&self, _: &Ctx, _: &HostDatapath) -> Result<RouterState> {
        let mut state = self.router.read().await?;
        // In one order, or each look would be news.
        state.applied.attachments.sort();
        state.applied.user_ports.sort();
        state.applied.sids.sort();
        state.applied.steering.sort();
        state.leftovers.sort();
        Ok(state)
    }

    fn plan(&self, datapath: &HostDatapath, state: &RouterState) -> Plan<RouterStep> {
        if deleting(datapath) {
            return Plan {
                steps: difference(&nothing(datapath.spec.locator), state),
                ..Plan::default()
            };
        }
        Plan {
            steps: difference(&datapath.spec, state),
            waits: missing(&datapath.spec, state).map(wait).collect(),
            ..Plan::default()
        }
    }

    async fn act(&self, _: &Ctx, datapath: &HostDatapath, step: &RouterStep) -> Result<()> {
        self.router.apply(&datapath.spec, step).await
    }

    fn report(&self, _: &HostDatapath, state: &RouterState) -> Report<Status> {
        Status {
            applied: state.applied.clone(),
            faults: state.leftovers.clone(),
        }
        .into()
    }

    fn changes(&self, _: &Ctx) -> BoxStream<'static, ObjectRef> {
        let datapath = ObjectRef::new::<HostDatapath>(None, &self.host);
        self.router
            .changes()
            .map(move |()| datapath.clone())
            .boxed()
    }
}

/// Clears the router of a host that was forgotten and came back: the API knows no HostDatapath of it any more.
/// Whether it was cleared.
///
/// The router is read first: what is programmed for a HostDatapath that comes to be meanwhile is not touched.
/// An API that does not answer clears nothing.
pub async fn sweep<R: Router>(client: &Client, host: &str, router: &R) -> Result<bool> {
    let state = router.read().await?;
    let datapaths: Api<HostDatapath> = Api::all(client.clone());
    let known = datapaths.get_metadata_opt(host).await;
    if known
        .map_err(failed(format!("read the datapath of host {host}")))?
        .is_some()
    {
        return Ok(false);
    }
    clear_state(router, &state).await
}

/// Clears a router: for a host that was forgotten.
pub async fn clear<R: Router>(router: &R) -> Result<()> {
    let state = router.read().await?;
    clear_state(router, &state).await.map(drop)
}

/// Answers whether there was anything.
async fn clear_state<R: Router>(router: &R, state: &RouterState) -> Result<bool> {
    // Everything goes, so it does not matter of which locator.
    let nothing = nothing(Ipv6Prefix::new(std::net::Ipv6Addr::UNSPECIFIED, 0));
    let steps = difference(&nothing, state);
    for step in &steps {
        tracing::warn!(%step, "clearing a router without a datapath");
        router.apply(&nothing, step).await?;
    }
    Ok(!steps.is_empty())
}

fn wait(attachment: &Attachment) -> Wait {
    let (interface, of) = (&attachment.interface, &attachment.of);
    Wait::World(format!("interface {interface} of {of} does not exist yet"))
}

fn nothing(locator: Ipv6Prefix) -> HostDatapathSpec {
    HostDatapathSpec {
        locator,
        mtu: 0,
        attachments: Vec::new(),
        user_ports: Vec::new(),
        sids: Vec::new(),
        steering: Vec::new(),
    }
}
