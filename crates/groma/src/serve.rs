//! `groma serve`: the API server and the controllers of all blocks, in one process; or the controllers alone, on a
//! Kubernetes cluster.

mod cluster;
pub mod etcd;
mod keys;

use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, bail};
use apiserver::door::Doors;
use apiserver::listen::{self, Listening};
use apiserver::store::etcd::Leading;
use apiserver::store::redb::Redb;
use apiserver::store::sealed::Sealer;
use apiserver::tls::Authority;
use apiserver::{AccountKey, HISTORY_EVENTS_DEFAULT, Server};
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use kube::Client;
use runtime::{Clock, Runtime};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use self::keys::Keys;
use crate::lock::Lock;
use crate::{audit, host, oidc, places};

/// Options of `groma serve`.
#[derive(Debug, Args)]
pub struct Options {
    /// Run the controllers on the Kubernetes cluster of these credentials, instead of a server of our own. Several may run:
    /// one leads, the others stand by
    #[arg(long, conflicts_with_all = ["listen", "names", "kubernetes_kinds", "audit_policy", "audit_log", "oidc_issuer_url"])]
    kubeconfig: Option<PathBuf>,
    /// Folder for everything that is kept
    #[arg(long, default_value = cli::SERVER_STATE, env = "GROMA_STATE")]
    state: PathBuf,
    /// Address for TLS clients; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:6443")]
    listen: SocketAddr,
    /// Names and addresses, besides this machine's own, under which clients reach the server
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
    /// Also serve kinds of Kubernetes that nothing here runs (Pod, Node, Service, Deployment, …) for clients that expect them
    #[arg(long)]
    kubernetes_kinds: bool,
    /// How many changes are kept: watches go on from before them, and a backup leads back to them
    #[arg(long, value_name = "CHANGES", default_value_t = HISTORY_EVENTS_DEFAULT)]
    history: usize,
    /// How long the certificate of a host holds, such as `2160h`; its agent renews it after about two thirds
    #[arg(long, value_name = "TIME", default_value = "2160h", value_parser = host::life)]
    host_certificate_life: Duration,
    #[command(flatten)]
    etcd: etcd::Place,
    /// Keys that seal Secrets in the store: in each line a name and 32 bytes in base64, of which the first seals. Read again
    /// on SIGHUP. Without it a key is made in the state folder
    #[arg(long, value_name = "FILE")]
    secret_keys: Option<PathBuf>,
    /// A command that prints these keys instead, as a key manager's
    #[arg(long, value_name = "COMMAND", conflicts_with = "secret_keys")]
    secret_keys_command: Option<String>,
    #[command(flatten)]
    audit: audit::Recording,
    #[command(flatten)]
    provider: oidc::Provider,
    /// Blocks to run; none where none is named
    #[arg(long, value_delimiter = ',', num_args = 0.., default_value = "tcso,mco,wdm,tcm")]
    blocks: Vec<Block>,
}

/// A block of the reference architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Block {
    /// Telco cloud service orchestrator
    Tcso,
    /// Multi-cloud orchestrator
    Mco,
    /// Workload deployment manager
    Wdm,
    /// Telco connectivity manager
    Tcm,
}

/// How often it is looked whether storage will ever take writes again.
const LOOK: Duration = Duration::from_secs(1);

/// Serves until the process is asked to end.
pub async fn run(options: Options) -> anyhow::Result<()> {
    if let Some(kubeconfig) = options.kubeconfig {
        return cluster::run(kubeconfig, &options.blocks).await;
    }
    let state = &options.state;
    let _lock = Lock::take(&places::lock(state))?;
    open_many_files()?;
    let keys = keys(&options)?;
    // Who follows must not end of it.
    let mut told = signal(SignalKind::hangup()).context("cannot hear when keys change")?;
    let sealer = keys.sealer().await?;
    let server = open(&options, &sealer)?;
    // Made before the doors, it is given back after they are closed.
    let leading;
    let (_doors, address) = open_doors(&server, &options).await?;
    tracing::info!(state = %state.display(), "serving");
    let mut follow = pin!(keys.follow(&mut told, &server, &sealer));
    leading = tokio::select! {
        leading = lead(&server, &options, address) => leading?,
        () = &mut follow => None,
        () = broken(&server) => bail!("this server does not hear any more what another one writes: it ends"),
        () = crate::shutdown() => return Ok(()),
    };
    if sealer.is_stale() {
        keys::reseal(&server, &sealer).await;
    }
    let control = async {
        match options.blocks.is_empty() {
            true => crate::shutdown().await,
            false => {
                controllers(server.client(), &options.blocks)
                    .run(crate::shutdown())
                    .await
            }
        }
    };
    tokio::select! {
        () = control => {}
        () = follow => {}
        () = lost(leading.as_ref()) => bail!(
            "another server writes, or may: this one ends, so that nobody takes it for the one that does"
        ),
        () = broken(&server) => bail!(
            "the store failed: this process ends, so that the next one goes on from what is stored"
        ),
    }
    Ok(())
}

/// Every connection is an open file: as many as the system permits, not as many as a shell's programs may have unless
/// they ask, which few clients could use up.
fn open_many_files() -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, all).context("cannot raise the limit of open files")
}

/// Waits until no other server writes nor acts, where there may be others.
async fn lead(
    server: &Server,
    options: &Options,
    address: SocketAddr,
) -> anyhow::Result<Option<Leading>> {
    if !options.etcd.is_given() {
        return Ok(None);
    }
    let leading = server.lead(&options.etcd.url(address)?).await;
    let leading = leading.map_err(|error| anyhow::anyhow!(api::chain(&error)))?;
    tracing::info!("this server writes");
    tokio::select! {
        () = leading.alone() => {}
        () = leading.lost() => {}
    }
    Ok(Some(leading))
}

/// Returns when another server may write.
async fn lost(leading: Option<&Leading>) {
    match leading {
        Some(leading) => leading.lost().await,
        None => std::future::pending().await,
    }
}

/// Returns when storage takes no writes any more, or nothing is heard of others.
async fn broken(server: &Server) {
    while !server.is_broken() {
        tokio::time::sleep(LOOK).await;
    }
}

/// Where the keys of Secrets come from.
fn keys(options: &Options) -> anyhow::Result<Keys> {
    match (&options.secret_keys, &options.secret_keys_command) {
        (Some(path), _) => Ok(Keys::File(path.clone())),
        (None, Some(command)) => Ok(Keys::Command(command.clone())),
        (None, None) if options.etcd.is_given() => bail!(
            "with --etcd-servers, --secret-keys or --secret-keys-command is required: every server needs the same keys"
        ),
        (None, None) => Ok(Keys::Own(places::secret_keys(&options.state))),
    }
}

fn open(options: &Options, sealer: &Sealer) -> anyhow::Result<Server> {
    let state = &options.state;
    let audit = options.audit.open(state)?;
    let authority = Authority::open(&places::authority(state), Timestamp::now())?;
    let mut server = Server::builder().crds(api::crds());
    if options.etcd.is_given() {
        let etcd = options.etcd.open()?;
        server = server.replica(etcd.candidate(), &authority)?.storage(etcd);
    } else {
        let path = places::store(state);
        let file = Redb::open(&path);
        let file = file.with_context(|| format!("cannot open the store {}", path.display()))?;
        server = server.storage(file);
    }
    server = server
        .sealer(sealer.clone())
        .audit(audit)
        .history(options.history)
        .account_key(AccountKey::open(&places::account_key(state))?);
    if let Some(issuer) = options.provider.issuer()? {
        server = server.oidc(issuer);
    }
    if options.kubernetes_kinds {
        server = server.kubernetes_kinds(authority.certificate());
    }
    server = server.signer(authority, options.host_certificate_life);
    server
        .build()
        .map_err(|error| anyhow::anyhow!(api::chain(&error)))
}

/// Opens the doors for the owner of the socket and for everyone with a certificate, and says where the latter is.
async fn open_doors(
    server: &Server,
    options: &Options,
) -> anyhow::Result<([Listening; 2], SocketAddr)> {
    let (state, now) = (&options.state, Timestamp::now());
    let authority = Authority::open(&places::authority(state), now)?;
    let config = authority.server_config(&names(options), now)?;
    let doors = Doors::new();
    let service = |server: &Server, doors: &Doors| {
        let (server, doors) = (server.clone(), doors.clone());
        move |identity| doors.service_for(&server, identity)
    };
    let unix = listen::unix(&places::socket(state), service(server, &doors)).await?;
    let tls = match previous_address(options) {
        // Clients know it from before; if someone has taken it meanwhile, a new one does as well.
        Some(address) => {
            match listen::tls(address, config.clone(), service(server, &doors)).await {
                Ok(listening) => listening,
                Err(_) => listen::tls(options.listen, config, service(server, &doors)).await?,
            }
        }
        None => listen::tls(options.listen, config, service(server, &doors)).await?,
    };
    let address = tls.address().context("a TCP listener has an address")?;
    let admin = authority.issue_client("groma:admin", Some("system:masters"), now)?;
    let url = format!("https://{}", reached_at(address));
    let kubeconfig = places::kubeconfig(state);
    let certificate = authority.certificate();
    match apiserver::kubeconfig::write(&kubeconfig, &url, certificate, &admin) {
        // A disk may be full; who is known from before still is.
        Err(error) if kubeconfig.exists() => {
            tracing::warn!(error = api::chain(&error), "the kubeconfig stays as it is");
        }
        written => written?,
    }
    let (path, text) = (places::address(state), address.to_string());
    if !std::fs::read_to_string(&path).is_ok_and(|there| there == text) {
        let mut file = File::create(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
    }
    tracing::info!(%address, "listening");
    Ok(([unix, tls], address))
}

/// Under which names and addresses clients may reach the server: those that were given, and the one it listens at.
fn names(options: &Options) -> Vec<String> {
    let mut names = options.names.clone();
    if !options.listen.ip().is_unspecified() {
        names.push(options.listen.ip().to_string());
    }
    names.extend(options.etcd.advertised().map(|ip| ip.to_string()));
    names
}

/// The address at which a client on this machine reaches what listens there: every address means loopback, too.
pub fn reached_at(listening: SocketAddr) -> SocketAddr {
    let ip = match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listening.port())
}

/// Where the server listened last time, if it may listen anywhere now.
fn previous_address(options: &Options) -> Option<SocketAddr> {
    let text = std::fs::read_to_string(places::address(&options.state)).ok()?;
    let address: SocketAddr = text.trim().parse().ok()?;
    (options.listen.port() == 0 && address.ip() == options.listen.ip()).then_some(address)
}

/// The controllers of the chosen blocks.
fn controllers(client: Client, blocks: &[Block]) -> Runtime {
    let mut runtime = Runtime::new(client.clone(), Clock::system());
    for block in blocks {
        runtime = match block {
            Block::Tcso => tcso::control_plane(runtime),
            Block::Mco => mco::control_plane(runtime),
            Block::Wdm => wdm::control_plane(runtime),
            Block::Tcm => tcm::control_plane(runtime),
        };
    }
    runtime
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(listen: &str, reached: &str, names_expected: &[&str]) {
        let listen: SocketAddr = listen.parse().expect("an address");
        assert_eq!(reached_at(listen).to_string(), reached);
        let options = Options {
            kubeconfig: None,
            state: PathBuf::new(),
            listen,
            names: vec!["groma.example".to_owned()],
            kubernetes_kinds: false,
            history: HISTORY_EVENTS_DEFAULT,
            host_certificate_life: Duration::from_secs(1),
            etcd: etcd::Place::default(),
            secret_keys: None,
            secret_keys_command: None,
            audit: audit::Recording::default(),
            provider: oidc::Provider::default(),
            blocks: Vec::new(),
        };
        let expected = ["groma.example"].iter().chain(names_expected);
        assert_eq!(names(&options), expected.copied().collect::<Vec<_>>());
    }

    #[test]
    fn the_certificate_covers_what_the_kubeconfig_names() {
        check("192.0.2.1:6443", "192.0.2.1:6443", &["192.0.2.1"]);
        check("[2001:db8::1]:6443", "[2001:db8::1]:6443", &["2001:db8::1"]);
        // Loopback is in every certificate.
        check("0.0.0.0:6443", "127.0.0.1:6443", &[]);
        check("[::]:6443", "[::1]:6443", &[]);
    }
}
