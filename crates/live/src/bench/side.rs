//! One of both servers: where it is, what it uses, and what it must have before it is measured.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use crate::bench::client::Endpoint;
use crate::bench::load::{Call, expect};
use crate::bench::objects;
use crate::kubernetes::{ApiServer, TOKEN};
use crate::usage::Used;
use crate::{Groma, Skip};

/// A server that is measured. It ends with its handle.
pub(super) struct Side {
    pub(super) name: &'static str,
    pub(super) endpoint: Endpoint,
    pids: Vec<u32>,
    programs: Programs,
}

/// What runs.
enum Programs {
    Ours { server: Groma },
    Peer { _server: ApiServer },
}

/// How often it is asked whether a definition is served.
const LOOK: Duration = Duration::from_millis(20);
/// Definitions, where both servers keep them.
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

impl Side {
    /// `groma serve` with everything that it does.
    pub(super) async fn ours() -> Result<Self> {
        let server = Groma::start(&[]).map_err(|skip| anyhow::anyhow!(skip.0))?;
        let kubeconfig = server.kubeconfig();
        let side = Self {
            name: "groma",
            endpoint: Endpoint::by_kubeconfig(&kubeconfig)?,
            pids: vec![server.pid()],
            programs: Programs::Ours { server },
        };
        side.define().await?;
        Ok(side)
    }

    /// kube-apiserver and its etcd, which answers when a write is on the disk.
    pub(super) async fn peer() -> Result<Result<Self, Skip>> {
        let mut server = match ApiServer::start_durable() {
            Ok(server) => server,
            Err(skip) => return Ok(Err(skip)),
        };
        let runtime = Handle::current();
        let url = server.url();
        let certificates = server.certificates();
        let endpoint = || Endpoint::by_token(&url, &certificates, TOKEN);
        // The namespace comes after everything else that the server makes for itself.
        let is_up = async || {
            let mut connection = endpoint()?.connect().await?;
            for path in ["/readyz", "/api/v1/namespaces/default"] {
                expect(&mut connection, Call::get(path.to_owned())).await?;
            }
            anyhow::Ok(())
        };
        block_in_place(|| server.wait(|| runtime.block_on(is_up()).is_ok()));
        let side = Self {
            name: "kube-apiserver and etcd",
            endpoint: endpoint()?,
            pids: server.pids(),
            programs: Programs::Peer { _server: server },
        };
        side.define().await?;
        Ok(Ok(side))
    }

    /// The server itself, if it is ours.
    pub(super) fn into_groma(self) -> Result<Groma> {
        match self.programs {
            Programs::Ours { server } => Ok(server),
            Programs::Peer { .. } => anyhow::bail!("{} is another's", self.name),
        }
    }

    /// What its processes have used so far.
    pub(super) fn used(&self) -> Used {
        Used::of_all(&self.pids)
    }

    /// Makes a namespace.
    pub(super) async fn make_namespace(&self, name: &str) -> Result<()> {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let mut connection = self.endpoint.connect().await?;
        let call = Call::post(
            "/api/v1/namespaces".to_owned(),
            namespace.to_string().into(),
        );
        expect(&mut connection, call).await.map(drop)
    }

    /// Brings the kind that is written, and waits until it is served.
    async fn define(&self) -> Result<()> {
        let mut connection = self.endpoint.connect().await?;
        let definition = objects::definition().to_string();
        expect(
            &mut connection,
            Call::post(DEFINITIONS.to_owned(), definition.into()),
        )
        .await?;
        loop {
            let call = Call::get(objects::path("default"));
            if connection.ask(call).await?.0.is_success() {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
