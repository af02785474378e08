//! `groma serve` on etcd instead of a file: of several servers one serves, and another takes its place when it is gone.

use std::path::PathBuf;

use apiserver::store::etcd::{Etcd, Leading, Members};
use clap::Args;

/// Where etcd is; named as kube-apiserver names it.
#[derive(Debug, Default, Args)]
pub struct Place {
    /// Client URLs of etcd: keep objects there. Several servers may run: one serves, the others stand by. All need the same
    /// keys of Secrets and, for clients to know them, the same `authority` folder
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    etcd_servers: Vec<String>,
    /// Certificates of the authority of etcd's members
    #[arg(long, value_name = "FILE", requires = "etcd_servers")]
    etcd_cafile: Option<PathBuf>,
    /// Our certificate for etcd
    #[arg(long, value_name = "FILE", requires = "etcd_keyfile")]
    etcd_certfile: Option<PathBuf>,
    /// The key of that certificate
    #[arg(long, value_name = "FILE", requires = "etcd_certfile")]
    etcd_keyfile: Option<PathBuf>,
    /// What all keys in etcd begin with
    #[arg(long, value_name = "PREFIX", default_value = "/groma/")]
    etcd_prefix: String,
}

impl Place {
    /// Whether objects are kept there.
    pub fn is_given(&self) -> bool {
        !self.etcd_servers.is_empty()
    }

    /// Opens it once no other server serves from it.
    pub async fn open(&self) -> anyhow::Result<(Etcd, Leading)> {
        let certificate = self.etcd_certfile.clone().zip(self.etcd_keyfile.clone());
        let members = Members {
            urls: self.etcd_servers.clone(),
            authority: self.etcd_cafile.clone(),
            certificate,
        };
        let told = |error| anyhow::anyhow!("cannot use etcd: {}", api::chain(&error));
        let etcd = Etcd::open(&members, &self.etcd_prefix).map_err(told)?;
        let leading = etcd.lead().await.map_err(told)?;
        Ok((etcd, leading))
    }
}
