//! `groma serve` on etcd instead of a file: of several servers one writes, and another takes its place when it is gone.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use apiserver::store::Loaded;
use apiserver::store::etcd::{Etcd, Members};
use clap::Args;

/// Where etcd is; named as kube-apiserver names it.
#[derive(Debug, Default, Args)]
pub struct Place {
    /// Client URLs of etcd: keep objects there. Several servers may run, and all serve: one writes, the others follow it. All
    /// need the same keys of Secrets, and the same `authority` folder and `accounts.key` in their state folders
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
    /// Address at which other servers reach this one; the one it listens at unless given
    #[arg(long, value_name = "IP", requires = "etcd_servers")]
    advertise_address: Option<IpAddr>,
}

impl Place {
    /// Whether objects are kept there.
    pub fn is_given(&self) -> bool {
        !self.etcd_servers.is_empty()
    }

    /// Opens it; whether etcd answers is not tried.
    pub fn open(&self) -> anyhow::Result<Etcd> {
        let certificate = self.etcd_certfile.clone().zip(self.etcd_keyfile.clone());
        let members = Members {
            urls: self.etcd_servers.clone(),
            authority: self.etcd_cafile.clone(),
            certificate,
        };
        Etcd::open(&members, &self.etcd_prefix).map_err(told)
    }

    /// Puts all of it there, where there is nothing yet. Servers that start on it then know no past.
    pub async fn fill(&self, content: Loaded) -> anyhow::Result<String> {
        let etcd = self.open()?;
        let candidate = etcd.candidate();
        let is_used = candidate.last_revision().await.map_err(told)? > 0;
        let is_served = candidate.leader().await.map_err(told)?.is_some();
        if is_used || is_served {
            anyhow::bail!(
                "{} has objects already: give another --etcd-prefix",
                self.etcd_prefix
            );
        }
        // Nobody else may write meanwhile.
        let _leading = candidate.lead("").await.map_err(told)?;
        etcd.fill(content).await.map_err(told)?;
        Ok(self.etcd_prefix.clone())
    }

    /// Where other servers reach this one, which listens there.
    pub fn url(&self, listening: SocketAddr) -> anyhow::Result<String> {
        let port = listening.port();
        match self.advertise_address.unwrap_or(listening.ip()) {
            ip if ip.is_unspecified() => anyhow::bail!(
                "--listen {listening} says no address at which other servers reach this one: give --advertise-address"
            ),
            ip => Ok(format!("https://{}", SocketAddr::new(ip, port))),
        }
    }

    /// Where other servers reach this one, if that was given.
    pub fn advertised(&self) -> Option<IpAddr> {
        self.advertise_address
    }
}

fn told(error: apiserver::store::Error) -> anyhow::Error {
    anyhow::anyhow!("cannot use etcd: {}", api::chain(&error))
}
