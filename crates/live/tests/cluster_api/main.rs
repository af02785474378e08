//! Cluster API, unchanged, on our server: a cluster of a class is created, provisioned and deleted as on a real
//! kube-apiserver beside it, and the objects that come of it are the same, owners of fields included.
//!
//! Nothing runs machines: the infrastructure is played by hand, and nobody answers where the new cluster's API would
//! be. So the cluster gets as far as its machines, their bootstrap data and its certificates.

mod comparison;
mod definitions;
mod document;
mod infrastructure;
mod life;
mod managers;
mod server;

use live::kubernetes::ApiServer;
use live::tools::cluster_api;
use live::{Groma, Skip};

use crate::life::Stage;
use crate::server::Server;

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_lives_as_on_kubernetes() {
    if let Err(skip) = live().await {
        skip.report();
    }
}

async fn live() -> Result<(), Skip> {
    let programs = cluster_api::managers()?;
    let (kubernetes, groma) = (ApiServer::start()?, Groma::start(&[])?);
    let real = Server::real(kubernetes.kubeconfig(None)).await;
    let ours = Server::ours(groma.kubeconfig()).await;
    let (real, ours) = tokio::join!(Stage::set(real, &programs), Stage::set(ours, &programs));
    tokio::join!(real.create(), ours.create());
    comparison::same(&real.server, &ours.server).await;
    tokio::join!(real.delete(), ours.delete());
    Ok(())
}
