//! `groma serve` in a folder of its own, as users run it, for clients that speak TLS; it ends with its handle.

use std::env;
use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Skip;
use crate::lab::PROGRAMS_VARIABLE;

/// How long it may take to listen.
const UP: Duration = Duration::from_secs(30);
/// How often it is looked for meanwhile.
const LOOK: Duration = Duration::from_millis(20);

/// The file in its folder to which it writes.
const LOG: &str = "log";

/// The program.
///
/// # Errors
/// Why there is none.
pub fn program() -> Result<PathBuf, Skip> {
    let programs = env::var_os(PROGRAMS_VARIABLE).ok_or_else(|| {
        Skip::because(format!(
            "{PROGRAMS_VARIABLE} is not set; run `cargo xtask live`"
        ))
    })?;
    Ok(Path::new(&programs).join("groma"))
}

/// A server that runs, with all blocks.
#[derive(Debug)]
pub struct Groma {
    program: PathBuf,
    arguments: Vec<String>,
    // It ends before its folder goes.
    running: Child,
    state: PathBuf,
    /// For its log, and for its state unless that is elsewhere.
    folder: TempDir,
}

impl Groma {
    /// Starts one with these arguments, besides where it keeps things and listens.
    ///
    /// # Errors
    /// Why there is none on this machine.
    pub fn start(arguments: &[&str]) -> Result<Self, Skip> {
        let mut this = Self::begin(arguments)?;
        this.wait();
        Ok(this)
    }

    /// As [`start`](Self::start), without waiting until it listens.
    ///
    /// # Errors
    /// Why there is none on this machine.
    pub fn begin(arguments: &[&str]) -> Result<Self, Skip> {
        let folder = tempfile::tempdir().expect("a folder can be made");
        Self::begin_in(folder.path().to_owned(), folder, arguments)
    }

    /// As [`begin`](Self::begin), with what it keeps in that folder.
    ///
    /// # Errors
    /// Why there is none on this machine.
    pub fn begin_at(state: &Path, arguments: &[&str]) -> Result<Self, Skip> {
        let folder = tempfile::tempdir().expect("a folder can be made");
        Self::begin_in(state.to_owned(), folder, arguments)
    }

    /// As [`begin`](Self::begin), one that clients of another one know, too.
    ///
    /// # Errors
    /// Why there is none on this machine.
    pub fn begin_beside(other: &Self, arguments: &[&str]) -> Result<Self, Skip> {
        let folder = tempfile::tempdir().expect("a folder can be made");
        fs::create_dir(folder.path().join("authority")).expect("a folder can be made");
        for shared in ["authority/ca.pem", "accounts.key"] {
            let copied = fs::copy(other.folder().join(shared), folder.path().join(shared));
            copied.expect("it is kept there");
        }
        Self::begin_in(folder.path().to_owned(), folder, arguments)
    }

    fn begin_in(state: PathBuf, folder: TempDir, arguments: &[&str]) -> Result<Self, Skip> {
        let program = program()?;
        let arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
        let running = serve(&program, (&state, folder.path()), &arguments);
        Ok(Self {
            program,
            arguments,
            running,
            state,
            folder,
        })
    }

    /// Waits until it has logged that.
    ///
    /// # Panics
    /// With what it wrote, if it does not in time.
    pub fn wait_for(&mut self, logged: &str) {
        self.wait_until(logged, |this| this.log().contains(logged));
    }

    /// What it wrote since it was started.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join(LOG)).unwrap_or_default()
    }

    /// Ends it and starts it again on what it kept, at the same address.
    pub fn restart(&mut self) {
        self.end();
        self.start_again();
        self.wait();
    }

    /// Starts one that has ended on what it kept, without waiting until it listens.
    pub fn start_again(&mut self) {
        let folders = (&*self.state, self.folder.path());
        self.running = serve(&self.program, folders, &self.arguments);
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// With what it wrote, if it does not in time.
    pub fn wait_for_end(&mut self) {
        let begun = Instant::now();
        while matches!(self.running.try_wait(), Ok(None)) {
            assert!(begun.elapsed() < UP, "groma serve goes on\n{}", self.log());
            thread::sleep(LOOK);
        }
    }

    /// The file by which clients find it and are let in.
    pub fn kubeconfig(&self) -> PathBuf {
        self.state.join("kubeconfig")
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.running.id()
    }

    /// Waits until it listens.
    ///
    /// # Panics
    /// With what it wrote, if it does not in time.
    pub fn wait(&mut self) {
        self.wait_until("it listens", Self::listens);
    }

    fn wait_until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let begun = Instant::now();
        while !holds(self) {
            let ended = !matches!(self.running.try_wait(), Ok(None));
            if ended || begun.elapsed() > UP {
                panic!("groma serve: {what:?} does not come\n{}", self.log());
            }
            thread::sleep(LOOK);
        }
    }

    /// Whether somebody can connect to it.
    pub fn listens(&self) -> bool {
        let text = fs::read_to_string(self.state.join("address")).unwrap_or_default();
        let address: Option<SocketAddr> = text.trim().parse().ok();
        address.is_some_and(|address| TcpStream::connect(address).is_ok())
    }

    /// Where it keeps everything.
    pub fn folder(&self) -> &Path {
        &self.state
    }

    /// Ends it at once.
    pub fn end(&mut self) {
        // One that has ended already is what is wanted.
        let _: io::Result<()> = self.running.kill();
        let _ = self.running.wait();
    }
}

impl Drop for Groma {
    fn drop(&mut self) {
        self.end();
    }
}

fn serve(program: &Path, (state, folder): (&Path, &Path), arguments: &[String]) -> Child {
    let log = File::create(folder.join(LOG)).expect("a log can be made");
    let started = Command::new(program)
        .args(["serve", "--listen", "127.0.0.1:0", "--state"])
        .arg(state)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("it can be shared"))
        .stderr(log)
        .spawn();
    started.unwrap_or_else(|error| panic!("{} starts: {error}", program.display()))
}
