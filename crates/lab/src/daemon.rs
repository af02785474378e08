//! The process of a laboratory: it builds what the topology says, carries what needs a process, and keeps programs up.
//!
//! Everything it does is a pass over what is wanted and what is there, so that it can be killed at any moment and started
//! again. Killing it cuts links and the management network, nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use api::{Error, ErrorKind, Result};
use kube::ResourceExt;
use linux::process::Process;
use runtime::Task;
use tokio::net::UnixListener;
use tokio::time::{Instant, interval};

use crate::build;
use crate::control::{self, Answer, NodeStatus, Request, SiteStatus, Status};
use crate::layout::{Layout, host_management};
use crate::management;
use crate::programs::{self, Program};
use crate::settings::{Settings, write_atomically};
use crate::topology::Topology;
use crate::wire::Carried;

/// How often programs are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How long a program that ended is left alone; doubled each time it ends soon, until [`RESTART_MAX`].
const RESTART_MIN: Duration = Duration::from_millis(200);
/// The longest such time.
const RESTART_MAX: Duration = Duration::from_secs(5);

/// What the binary contributes: the command lines of its other commands.
pub trait Commands: Send + Sync {
    /// Arguments that run the server of this laboratory.
    fn server(&self, settings: &Settings) -> Vec<String>;
    /// Arguments that run the agent of a host.
    fn agent(&self, settings: &Settings, host: &str) -> Vec<String>;
    /// Where the server listens, once it does.
    fn server_address(&self, settings: &Settings) -> Option<SocketAddr>;
}

/// A laboratory that runs.
pub struct Daemon<C> {
    settings: Settings,
    commands: C,
    topology: Topology,
    stopped: BTreeSet<String>,
    layout: Layout,
    /// Links by name.
    wires: BTreeMap<String, Carried>,
    /// The management network by host, and the server it leads to.
    management: BTreeMap<String, (SocketAddr, Task<()>)>,
    programs: BTreeMap<String, Kept>,
}

/// A program that is kept up.
struct Kept {
    program: Program,
    process: Option<Process>,
    /// It is not started before this; while it runs, about when it was started.
    not_before: Instant,
    pause: Duration,
}

impl<C: Commands> Daemon<C> {
    /// Reads the laboratory's folder.
    pub fn open(settings: Settings, commands: C) -> Result<Self> {
        let topology = read_topology(&settings)?;
        let stopped = read_stopped(&settings);
        let layout = Layout::of(&settings.name, &topology, &stopped);
        let (wires, management, programs) = Default::default();
        Ok(Self {
            settings,
            commands,
            topology,
            stopped,
            layout,
            wires,
            management,
            programs,
        })
    }

    /// Runs until it is told to quit or to shut down; programs go on afterwards.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<()> {
        let listener = self.listen()?;
        self.rebuild().await?;
        let mut look = interval(LOOK);
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => return Ok(()),
                _ = look.tick() => self.look(),
                accepted = listener.accept() => {
                    let Ok((mut client, _)) = accepted else { continue };
                    let Ok(request) = control::read(&mut client).await else { continue };
                    let quit = request == Request::Quit {};
                    let answer = self.answer(request).await;
                    // A client that does not wait for the answer has its own reasons.
                    let _ = control::write(&mut client, &answer).await;
                    if quit {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn listen(&self) -> Result<UnixListener> {
        let path = self.settings.control();
        // Left by a daemon that was killed; two cannot run, the folder is locked.
        let _ = fs::remove_file(&path);
        UnixListener::bind(&path).map_err(|error| {
            Error::caused(
                ErrorKind::Unavailable,
                format!("cannot listen at {}", path.display()),
                error,
            )
        })
    }

    async fn answer(&mut self, request: Request) -> Answer {
        let done = match request {
            Request::Status {} => return Answer::Status(self.status()),
            Request::Quit {} => Ok(()),
            Request::Stop { site } => self.switch(site, false).await,
            Request::Start { site } => self.switch(site, true).await,
            Request::Reload {} => self.reload().await,
        };
        match done {
            Ok(()) => Answer::Done {},
            Err(error) => Answer::Refused {
                why: api::chain(&error),
            },
        }
    }

    async fn reload(&mut self) -> Result<()> {
        self.topology = read_topology(&self.settings)?;
        self.rebuild().await
    }

    async fn switch(&mut self, site: String, on: bool) -> Result<()> {
        if !self
            .topology
            .sites
            .iter()
            .any(|known| known.name_any() == site)
        {
            let known: Vec<_> = self
                .topology
                .sites
                .iter()
                .map(ResourceExt::name_any)
                .collect();
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("there is no site {site}; there are {}", known.join(", ")),
            ));
        }
        if on {
            self.stopped.remove(&site)
        } else {
            self.stopped.insert(site)
        };
        let text = self
            .stopped
            .iter()
            .map(|site| format!("{site}\n"))
            .collect::<String>();
        write_atomically(&self.settings.stopped(), text.as_bytes()).map_err(|error| {
            Error::caused(
                ErrorKind::Unavailable,
                "cannot note which sites are stopped",
                error,
            )
        })?;
        self.rebuild().await
    }

    /// Makes everything as the topology and the stopped sites say: what has to go first, then what has to be.
    async fn rebuild(&mut self) -> Result<()> {
        self.layout = Layout::of(&self.settings.name, &self.topology, &self.stopped);
        self.keep_programs().await?;
        self.keep_wires().await;
        self.management
            .retain(|host, _| self.programs.contains_key(&agent_name(host)));
        let keep = self
            .layout
            .nodes
            .iter()
            .map(|node| node.namespace.clone())
            .collect();
        build::remove_namespaces(&build::namespaces(&self.settings.prefix(), &keep)?)?;
        build::ensure(&self.layout)?;
        build::remove_stray_devices(&self.layout)?;
        for tunnel in &self.layout.tunnels {
            if !self.wires.contains_key(&tunnel.link) {
                self.wires
                    .insert(tunnel.link.clone(), Carried::start(tunnel)?);
            }
        }
        build::ensure_routes(&self.layout)?;
        self.look();
        Ok(())
    }

    fn running_hosts(&self) -> Vec<String> {
        let running = self
            .topology
            .hosts
            .iter()
            .filter(|host| !self.stopped.contains(host.spec.site.name()));
        running.map(ResourceExt::name_any).collect()
    }

    /// Programs that are not wanted any more lose their power; those that are wanted are looked for.
    async fn keep_programs(&mut self) -> Result<()> {
        let hosts = self.running_hosts();
        let wanted = wanted_programs(&self.settings, &self.commands, &hosts);
        for program in programs::running(&self.settings, &words(&self.settings, &self.commands))? {
            if !wanted
                .iter()
                .any(|wanted| wanted.arguments == program.arguments)
            {
                program.kill().await?;
            }
        }
        let powered: BTreeSet<String> = hosts.iter().map(|host| self.settings.mark(host)).collect();
        for mark in build::marks(&self.settings.prefix())?.difference(&powered) {
            build::power_cut(mark)?;
        }
        self.programs
            .retain(|name, _| wanted.iter().any(|program| program.name == *name));
        for program in wanted {
            if self.programs.contains_key(&program.name) {
                continue;
            }
            let kept = Kept {
                process: program.find()?,
                not_before: Instant::now(),
                pause: RESTART_MIN,
                program: program.clone(),
            };
            self.programs.insert(program.name, kept);
        }
        Ok(())
    }

    /// Links that are not in the layout as they are, or whose devices went, are no longer carried.
    async fn keep_wires(&mut self) {
        let layout = &self.layout;
        let unwanted = |carried: &Carried| {
            carried.task.is_finished() || !layout.tunnels.contains(&carried.tunnel)
        };
        let ended = self.wires.extract_if(.., |_, carried| unwanted(carried));
        for (_, carried) in ended {
            carried.end().await;
        }
    }

    /// Starts what has ended, and connects hosts to the server once it listens.
    fn look(&mut self) {
        let server = self.commands.server_address(&self.settings);
        if let Some(server) = server {
            self.connect(server);
        }
        for kept in self.programs.values_mut() {
            let host = kept.program.name.strip_prefix(AGENT);
            // An agent gets its credentials once its Host is known.
            let is_enrolled = |host| self.settings.host_kubeconfig(host).exists();
            if host.is_some_and(|host| server.is_none() || !is_enrolled(host)) {
                continue;
            }
            kept.look(&self.settings);
        }
    }

    /// Opens the management network of every running host.
    fn connect(&mut self, server: SocketAddr) {
        for host in self.running_hosts() {
            if self
                .management
                .get(&host)
                .is_some_and(|(leads_to, task)| *leads_to == server && !task.is_finished())
            {
                continue;
            }
            self.management.remove(&host);
            let listener = build::existing(&host_management(&self.settings.name, &host))
                .and_then(|space| management::listen(&space));
            match listener {
                Ok(listener) => {
                    let task = runtime::spawn(management::carry(listener, server));
                    self.management.insert(host, (server, task));
                }
                Err(error) => tracing::warn!(
                    host,
                    error = api::chain(&error),
                    "cannot open the management network"
                ),
            }
        }
    }

    fn status(&self) -> Status {
        let runs = |program: &str| {
            let kept = self.programs.get(program);
            let process = kept.and_then(|kept| kept.process.as_ref());
            process.is_some_and(|process| !process.has_ended())
        };
        let site = |site: &api::Site| {
            let name = site.name_any();
            let hosts = self
                .topology
                .hosts
                .iter()
                .filter(|host| host.spec.site.name() == name)
                .map(ResourceExt::name_any);
            SiteStatus {
                running: !self.stopped.contains(&name),
                hosts: hosts
                    .map(|host| (host.clone(), runs(&agent_name(&host))))
                    .collect(),
                name,
            }
        };
        let node = |node: &crate::layout::Node| NodeStatus {
            namespace: node.namespace.clone(),
            site: node.site.clone(),
            what: node.role.describe(),
        };
        Status {
            server: self
                .commands
                .server_address(&self.settings)
                .filter(|_| runs(SERVER))
                .map(|address| format!("https://{address}")),
            sites: self.topology.sites.iter().map(site).collect(),
            nodes: self.layout.nodes.iter().map(node).collect(),
        }
    }
}

impl Kept {
    /// Starts it if it has ended, ever more rarely if that happens again and again.
    fn look(&mut self, settings: &Settings) {
        if let Some(process) = &self.process {
            if process.reap().is_none() && !process.has_ended() {
                return;
            }
            tracing::warn!(
                program = self.program.name,
                "a program has ended and is started again"
            );
            self.process = None;
            if self.not_before.elapsed() > RESTART_MAX {
                self.pause = RESTART_MIN;
            }
            self.not_before = Instant::now() + self.pause;
            self.pause = (self.pause * 2).min(RESTART_MAX);
        }
        if Instant::now() < self.not_before {
            return;
        }
        // One may have been started by a daemon that was killed before it could see it.
        let there = self.program.find();
        let found = there.and_then(|there| there.map_or_else(|| self.program.start(settings), Ok));
        match found {
            Ok(process) => self.process = Some(process),
            Err(error) => {
                tracing::warn!(error = api::chain(&error), "cannot start a program");
                self.not_before = Instant::now() + self.pause;
            }
        }
    }
}

/// The name of the server.
const SERVER: &str = "server";
/// What the names of agents begin with.
const AGENT: &str = "agent-";

fn agent_name(host: &str) -> String {
    format!("{AGENT}{host}")
}

fn agent(settings: &Settings, commands: &impl Commands, host: &str) -> Program {
    Program {
        name: agent_name(host),
        arguments: commands.agent(settings, host),
        namespace: Some(host_management(&settings.name, host)),
    }
}

fn wanted_programs(
    settings: &Settings,
    commands: &impl Commands,
    hosts: &[String],
) -> Vec<Program> {
    let server = Program {
        name: SERVER.to_owned(),
        arguments: commands.server(settings),
        namespace: None,
    };
    let agents = hosts.iter().map(|host| agent(settings, commands, host));
    std::iter::once(server).chain(agents).collect()
}

/// The commands that a laboratory's programs are.
fn words(settings: &Settings, commands: &impl Commands) -> BTreeSet<String> {
    let lines = [commands.server(settings), commands.agent(settings, "")];
    lines
        .into_iter()
        .filter_map(|line| line.into_iter().next())
        .collect()
}

/// Whether a laboratory may be taken apart: not by a program that runs in it, and not while one of its name lives in another
/// folder.
pub fn check_removal(settings: &Settings, commands: &impl Commands) -> Result<()> {
    build::namespaces(&settings.prefix(), &BTreeSet::new())?;
    let words = words(settings, commands);
    match programs::elsewhere(settings, &words)? {
        None => Ok(()),
        Some(line) => Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "a laboratory {} runs from another folder than {}; name it with --folder. It runs: groma {line}",
                settings.name,
                settings.state.parent().unwrap_or(&settings.state).display()
            ),
        )),
    }
}

/// Removes all of a laboratory, by its marks and not by what its files say; its daemon must have ended. Can be repeated
/// after a kill. Whether there was anything of it besides its folder.
pub async fn remove(settings: &Settings, commands: &impl Commands) -> Result<bool> {
    let namespaces = build::namespaces(&settings.prefix(), &BTreeSet::new())?;
    let programs = programs::running(settings, &words(settings, commands))?;
    let marks = build::marks(&settings.prefix())?;
    let found = !(namespaces.is_empty() && programs.is_empty() && marks.is_empty());
    for program in programs {
        program.stop().await?;
    }
    for mark in marks {
        build::power_cut(&mark)?;
    }
    build::remove_namespaces(&namespaces)?;
    match fs::remove_dir_all(&settings.state) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::caused(
            ErrorKind::Unavailable,
            format!("cannot remove {}", settings.state.display()),
            error,
        )),
        _ => Ok(found),
    }
}

fn read_topology(settings: &Settings) -> Result<Topology> {
    let path = settings.topology();
    let text = fs::read_to_string(&path).map_err(|error| {
        Error::caused(
            ErrorKind::NotFound,
            format!("cannot read {}", path.display()),
            error,
        )
    })?;
    Topology::parse(&text)
}

fn read_stopped(settings: &Settings) -> BTreeSet<String> {
    let text = fs::read_to_string(settings.stopped()).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}
