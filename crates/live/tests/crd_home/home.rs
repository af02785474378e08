//! A real API server, and the programs that use it.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kube::Client;
use live::groma;
use live::kubernetes::{ApiServer, User};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

/// The account that `groma install` makes for the controllers.
pub const CONTROLLERS: User<'_> = User {
    name: "system:serviceaccount:groma-system:groma-controllers",
    groups: &[
        "system:serviceaccounts",
        "system:serviceaccounts:groma-system",
    ],
};
/// Somebody who may do nothing.
pub const NOBODY: User<'_> = User {
    name: "nobody",
    groups: &[],
};
/// How long anything may take that a test waits for.
const LIMIT: Duration = Duration::from_secs(60);
/// The pause between two looks at it.
const LOOK: Duration = Duration::from_millis(100);

/// The server.
pub struct Home {
    pub server: ApiServer,
    pub admin: Client,
    program: PathBuf,
}

/// A running program; it is killed with its handle.
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Home {
    /// A server without anything of ours; `None`, with the reason told, where there can be none.
    pub async fn bare() -> Option<Self> {
        let started = groma::program().and_then(|program| Ok((program, ApiServer::start()?)));
        let (program, mut server) = match started {
            Ok(started) => started,
            Err(skip) => {
                skip.report();
                return None;
            }
        };
        server.wait_until_ready().await;
        let admin = server.client(None).await;
        Some(Self {
            server,
            admin,
            program,
        })
    }

    /// A server that `groma install` has prepared.
    pub async fn installed() -> Option<Self> {
        let home = Self::bare().await?;
        home.groma(None, &["install"]).expect("it can be installed");
        Some(home)
    }

    /// Runs a command to its end; what it printed, or what went wrong.
    pub fn groma(&self, user: Option<User<'_>>, words: &[&str]) -> Result<String, String> {
        let output = self
            .command(user, words)
            .output()
            .expect("groma can be run");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stderr)),
        }
    }

    /// Starts the controllers.
    pub fn serve(&self, name: &str) -> Running {
        let log = self.server.folder().join(format!("{name}.log"));
        let file = File::create(&log).expect("a log can be made");
        let mut command = self.command(Some(CONTROLLERS), &["serve"]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file);
        let child = command.spawn().expect("groma can be run");
        Running { child, log }
    }

    fn command(&self, user: Option<User<'_>>, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(words)
            .arg("--kubeconfig")
            .arg(self.server.kubeconfig(user));
        command.env_remove("KUBECONFIG");
        command
    }
}

impl Running {
    /// The number by which it names itself.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// Asks it to end, and waits until it has.
    pub fn end(mut self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).expect("it runs");
        assert!(
            self.child.wait().expect("it ends").success(),
            "{}",
            self.said()
        );
    }

    /// What it wrote.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks again and again until there is what is waited for.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    loop {
        match look().await {
            Ok(found) => return found,
            Err(why) if begun.elapsed() > LIMIT => panic!("never {what}: {why}"),
            Err(_) => sleep(LOOK).await,
        }
    }
}
