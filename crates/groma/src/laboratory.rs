//! `groma lab`: a whole infrastructure on this machine, in network namespaces.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use api::{Error, Host};
use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use kube::{Api, Client, ResourceExt};
use lab::control::{Answer, Request, Status, ask};
use lab::daemon::{Commands, Daemon};
use lab::{Settings, Topology, management, settings};
use tokio::time::{Instant, sleep};

use crate::credentials::Credentials;
use crate::lock::Lock;
use crate::{host, places};

/// How long the daemon, the server and all agents may take to come up.
const UP: Duration = Duration::from_secs(60);
/// How often they are looked at meanwhile.
const LOOK: Duration = Duration::from_millis(50);

/// Commands about a laboratory.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build what a topology file describes, and start the server and an agent on every host
    Up {
        /// The topology: Provider, VirtualisationStack, Site, ResourcePool, Link, NetworkDomain and Host documents
        #[arg(long, short)]
        file: PathBuf,
        #[command(flatten)]
        place: Place,
    },
    /// Show sites, hosts and namespaces
    Status {
        #[command(flatten)]
        place: Place,
    },
    /// Cut the power of a site
    Stop {
        /// The site
        site: String,
        #[command(flatten)]
        place: Place,
    },
    /// Give a site its power again
    Start {
        /// The site
        site: String,
        #[command(flatten)]
        place: Place,
    },
    /// Run a program in a namespace of the laboratory, for example `groma lab exec users-mad-1 curl …`
    Exec {
        /// The node as `groma lab status` names it, or the name of the namespace
        node: String,
        #[command(flatten)]
        place: Place,
        /// The program and its arguments
        #[arg(trailing_var_arg = true, required = true)]
        command: Vec<String>,
    },
    /// Remove all of it
    Down {
        #[command(flatten)]
        place: Place,
    },
    /// The daemon of a laboratory; `up` starts it
    #[command(hide = true)]
    Run {
        #[command(flatten)]
        place: Place,
    },
}

/// Which laboratory.
#[derive(Clone, Debug, Args)]
pub struct Place {
    /// Its name: the prefix of all that it makes on this machine
    #[arg(long, default_value = "lab")]
    name: String,
    /// The folder of laboratories
    #[arg(long, default_value = cli::LABORATORIES, env = "GROMA_LABS")]
    folder: PathBuf,
    /// Folder of OCI image layouts that may run in it
    #[arg(long, default_value = "target/images")]
    images: PathBuf,
}

impl Place {
    fn settings(&self) -> anyhow::Result<Settings> {
        settings::check_name(&self.name).map_err(anyhow::Error::msg)?;
        Ok(Settings {
            name: self.name.clone(),
            state: std::path::absolute(self.folder.join(&self.name))?,
            program: std::env::current_exe().context("cannot find this program")?,
            images: std::path::absolute(&self.images)?,
        })
    }
}

/// Runs a command.
pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Up { file, place } => up(&file, &place).await?,
        Command::Status { place } => print_status(&status(&place.settings()?).await?),
        Command::Stop { site, place } => tell(&place.settings()?, Request::Stop { site }).await?,
        Command::Start { site, place } => tell(&place.settings()?, Request::Start { site }).await?,
        Command::Exec {
            node,
            place,
            command,
        } => return exec(&place, &node, &command).await,
        Command::Down { place } => down(&place).await?,
        Command::Run { place } => daemon(&place).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn up(file: &Path, place: &Place) -> anyhow::Result<()> {
    let missing = lab::requirements::missing();
    if !missing.is_empty() {
        bail!(
            "a laboratory cannot be built here:\n  {}",
            missing.join("\n  ")
        );
    }
    let settings = place.settings()?;
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let topology = Topology::parse(&text)
        .map_err(|error| anyhow::anyhow!("{}: {}", file.display(), api::chain(&error)))?;
    std::fs::create_dir_all(&settings.state)
        .with_context(|| format!("cannot make {}", settings.state.display()))?;
    settings::write_atomically(&settings.topology(), text.as_bytes())?;
    let progress = ProgressBar::new_spinner();
    progress.enable_steady_tick(Duration::from_millis(100));
    progress.set_message("building namespaces and links");
    start_daemon(place, &settings).await?;
    tell(&settings, Request::Reload {}).await?;
    progress.set_message("starting the server");
    let access = cli::Access::socket(places::socket(&settings.server()));
    let client = wait_for("the server", async || Ok(access.client().await.ok())).await?;
    cli::apply(&client, &topology.documents).await?;
    enroll(&settings, &client).await?;
    progress.set_message("waiting for the agents");
    let hosts: Api<Host> = Api::all(client);
    // Sites that were stopped before stay so; nobody waits for them.
    let running = running_hosts(&status(&settings).await?);
    let ready = async || {
        let all = hosts
            .list(&Default::default())
            .await
            .map(|list| list.items)
            .unwrap_or_default();
        let ready = all
            .iter()
            .filter(|host| is_ready(host) && running.contains(&host.name_any()));
        Ok((ready.count() == running.len()).then_some(running.len()))
    };
    let n_hosts = wait_for("the agents", ready).await?;
    progress.finish_and_clear();
    println!(
        "laboratory {} is up: {} sites, {n_hosts} hosts",
        settings.name,
        topology.sites.len()
    );
    println!(
        "  export KUBECONFIG={}",
        places::kubeconfig(&settings.server()).display()
    );
    Ok(())
}

/// Makes sure that every host's agent has credentials for the Host that there is now.
async fn enroll(settings: &Settings, client: &Client) -> anyhow::Result<()> {
    let server = Credentials::read(&places::kubeconfig(&settings.server()))?;
    let hosts: Api<Host> = Api::all(client.clone());
    for host in hosts.list(&Default::default()).await?.items {
        let (name, path) = (host.name_any(), settings.host_kubeconfig(&host.name_any()));
        let kept = Credentials::read(&path)
            .ok()
            .and_then(|kept| kept.subject());
        if kept.map(|kept| kept.uid) != host.uid() {
            let reached = (management::server_url(), server.authority.as_str());
            host::enroll(client, &name, (&reached.0, reached.1), &path).await?;
        }
    }
    Ok(())
}

/// The hosts of the sites that have power.
fn running_hosts(status: &Status) -> BTreeSet<String> {
    let running = status.sites.iter().filter(|site| site.running);
    running
        .flat_map(|site| &site.hosts)
        .map(|(host, _)| host.clone())
        .collect()
}

fn is_ready(host: &Host) -> bool {
    host.status
        .as_ref()
        .is_some_and(|status| status.conditions.is_true(api::READY))
}

/// Asks again and again until there is an answer.
async fn wait_for<T>(
    what: &str,
    mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if begun.elapsed() > UP {
            bail!(
                "{what} did not come up within {} s; look into the log folder of the laboratory",
                UP.as_secs()
            );
        }
        sleep(LOOK).await;
    }
}

/// Starts the daemon unless one runs, and waits until it takes commands.
async fn start_daemon(place: &Place, settings: &Settings) -> anyhow::Result<()> {
    let socket = settings.control();
    if ask(&socket, &Request::Status {}).await.is_ok() {
        return Ok(());
    }
    let log = settings.log("lab");
    std::fs::create_dir_all(log.parent().context("a log has a folder")?)?;
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)?;
    let mut daemon = std::process::Command::new(&settings.program);
    daemon
        .args(["lab", "run", "--name", &place.name])
        .arg("--folder")
        .arg(&place.folder)
        .arg("--images")
        .arg(&settings.images);
    daemon
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    std::os::unix::process::CommandExt::process_group(&mut daemon, 0);
    let mut daemon = daemon
        .spawn()
        .context("cannot start the daemon of the laboratory")?;
    wait_for("the daemon", async || {
        if let Some(status) = daemon.try_wait()? {
            bail!(
                "the daemon of the laboratory ended ({status}); look into {}",
                settings.log("lab").display()
            );
        }
        Ok(ask(&socket, &Request::Status {}).await.ok())
    })
    .await?;
    Ok(())
}

async fn daemon(place: &Place) -> anyhow::Result<()> {
    let settings = place.settings()?;
    let _lock = Lock::take(&settings.state.join("lock"))?;
    let daemon =
        Daemon::open(settings, Programs).map_err(|error| anyhow::anyhow!(api::chain(&error)))?;
    daemon
        .run(crate::shutdown())
        .await
        .map_err(|error| anyhow::anyhow!(api::chain(&error)))
}

async fn tell(settings: &Settings, request: Request) -> anyhow::Result<()> {
    match ask(&settings.control(), &request).await {
        Ok(Answer::Refused { why }) => bail!(why),
        Ok(_) => Ok(()),
        Err(error) => Err(not_up(settings, &error)),
    }
}

async fn status(settings: &Settings) -> anyhow::Result<Status> {
    match ask(&settings.control(), &Request::Status {}).await {
        Ok(Answer::Status(status)) => Ok(status),
        Ok(_) => bail!("the daemon of the laboratory gave no status"),
        Err(error) => Err(not_up(settings, &error)),
    }
}

fn not_up(settings: &Settings, error: &Error) -> anyhow::Error {
    anyhow::anyhow!(
        "laboratory {} is not up: {}; start it with `groma lab up`",
        settings.name,
        api::chain(error)
    )
}

fn print_status(status: &Status) {
    println!(
        "server  {}",
        status.server.as_deref().unwrap_or("not running")
    );
    for site in &status.sites {
        println!(
            "site    {:12} {}",
            site.name,
            if site.running { "running" } else { "stopped" }
        );
        for (host, up) in &site.hosts {
            println!(
                "  host  {host:12} {}",
                if *up { "agent running" } else { "no agent" }
            );
        }
    }
    for node in &status.nodes {
        println!("node    {:24} {}", node.namespace, node.what);
    }
}

async fn exec(place: &Place, node: &str, command: &[String]) -> anyhow::Result<ExitCode> {
    let settings = place.settings()?;
    let status = status(&settings).await?;
    let matches = |known: &&lab::control::NodeStatus| {
        known.namespace == node || known.what == node || known.what.replace([' ', '/'], "-") == node
    };
    let Some(found) = status.nodes.iter().find(matches) else {
        let known: Vec<_> = status
            .nodes
            .iter()
            .map(|node| node.what.replace([' ', '/'], "-"))
            .collect();
        bail!("there is no node {node}; there are {}", known.join(", "));
    };
    let namespace = linux::netns::open(&found.namespace)?
        .with_context(|| format!("namespace {} is gone", found.namespace))?;
    let ended = namespace.run(|| {
        std::process::Command::new(&command[0])
            .args(&command[1..])
            .status()
    })?;
    let ended = ended.with_context(|| format!("cannot run {}", command[0]))?;
    Ok(ExitCode::from(
        u8::try_from(ended.code().unwrap_or(1)).unwrap_or(1),
    ))
}

async fn down(place: &Place) -> anyhow::Result<()> {
    let settings = place.settings()?;
    lab::daemon::check_removal(&settings, &Programs)
        .map_err(|error| anyhow::anyhow!(api::chain(&error)))?;
    let known = settings.state.exists();
    // One that does not answer is not one that has ended: only who has the lock may take things apart.
    let _ = ask(&settings.control(), &Request::Quit {}).await;
    let path = settings.state.join("lock");
    let _lock = wait_for("the end of the daemon", async || Ok(Lock::take(&path).ok())).await?;
    let found = lab::daemon::remove(&settings, &Programs)
        .await
        .map_err(|error| anyhow::anyhow!(api::chain(&error)))?;
    let (name, folder) = (&settings.name, place.folder.display());
    match (known, found) {
        (true, _) => println!("laboratory {name} is down"),
        (false, true) => {
            println!("removed what was left of laboratory {name}; it has no folder in {folder}")
        }
        (false, false) => println!("there is no laboratory {name} in {folder}"),
    }
    Ok(())
}

/// The command lines of this program's other commands.
struct Programs;

impl Commands for Programs {
    fn server(&self, settings: &Settings) -> Vec<String> {
        let state = settings.server().display().to_string();
        ["serve", "--listen", "127.0.0.1:0", "--state", &state]
            .map(str::to_owned)
            .to_vec()
    }

    fn agent(&self, settings: &Settings, host: &str) -> Vec<String> {
        let text = |path: PathBuf| path.display().to_string();
        let router = lab::host_router(&settings.name, host);
        let words = [
            ("--host", host.to_owned()),
            ("--kubeconfig", text(settings.host_kubeconfig(host))),
            ("--state", text(settings.host(host))),
            ("--images", text(settings.images.clone())),
            ("--router", router),
            ("--mark", settings.mark(host)),
        ];
        let words = words
            .into_iter()
            .flat_map(|(option, value)| [option.to_owned(), value]);
        std::iter::once("agent".to_owned()).chain(words).collect()
    }

    fn server_address(&self, settings: &Settings) -> Option<SocketAddr> {
        places::server_address(&settings.server())
    }
}
