//! Several servers on one etcd.

use std::fs;
use std::time::Duration;

use apiserver::store::sealed::Sealer;
use tempfile::TempDir;
use tokio::time::sleep;

use crate::bench::client::Endpoint;
use crate::etcd::Cluster;
use crate::{Groma, Skip};

const MEMBERS: usize = 3;
/// What a server says that has begun to write.
const WRITES_NOW: &str = "this server writes";
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(10);

/// Servers, and the etcd that they share.
pub struct Servers {
    pub all: Vec<Groma>,
    _cluster: Cluster,
    _folder: TempDir,
}

impl Servers {
    /// So many with these blocks; the first of them writes.
    ///
    /// # Errors
    /// Why there are none on this machine.
    pub fn start(n: usize, blocks: &str) -> Result<Self, Skip> {
        let cluster = Cluster::start(MEMBERS)?;
        let folder = tempfile::tempdir().expect("a folder can be made");
        let keys = folder.path().join("keys");
        fs::write(&keys, Sealer::new_file("shared")).expect("written");
        let mut arguments = cluster.arguments();
        arguments.push(format!("--secret-keys={}", keys.display()));
        arguments.push(format!("--blocks={blocks}"));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut first = Groma::begin(&arguments)?;
        first.wait_for(WRITES_NOW);
        let mut all = vec![first];
        for _ in 1..n {
            let mut another = Groma::begin_beside(&all[0], &arguments)?;
            another.wait();
            all.push(another);
        }
        Ok(Self {
            all,
            _cluster: cluster,
            _folder: folder,
        })
    }

    /// Where one of them is, for an administrator.
    pub fn endpoint(&self, server: usize) -> Endpoint {
        let path = self.all[server].kubeconfig();
        Endpoint::by_kubeconfig(&path).expect("it names the server")
    }

    /// The one that writes, once one of those that are asked about does.
    pub async fn leader(&self, among: &[usize]) -> usize {
        loop {
            let leads = |server: &&usize| self.all[**server].log().contains(WRITES_NOW);
            if let Some(server) = among.iter().find(leads) {
                return *server;
            }
            sleep(LOOK).await;
        }
    }
}
