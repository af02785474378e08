//! A server on redb and TLS in a folder of its own, and kubectl pointed at it.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;

use apiserver::listen::{self, Listening};
use apiserver::store::redb::Redb;
use apiserver::tls::Authority;
use apiserver::{Identity, Server, kubeconfig};
use jiff::Timestamp;
use live::{Skip, tools};
use tokio::runtime::Runtime;

use crate::widget;

/// kubectl's switch between list-then-watch and watch with initial events.
const WATCH_LIST: &str = "KUBE_FEATURE_WatchListClient";

/// The programs, and each way in which they are run.
static KUBECTLS: LazyLock<[Kubectl; 2]> = LazyLock::new(|| {
    [
        Kubectl {
            program: tools::kubectl(),
            watch_list: &[true, false],
        },
        Kubectl {
            program: tools::older_kubectl(),
            watch_list: &[true],
        },
    ]
});

/// A version of kubectl.
struct Kubectl {
    program: Result<PathBuf, Skip>,
    watch_list: &'static [bool],
}

/// A running server with its folder, and how kubectl is run against it; the server is gone when it is dropped.
pub struct Place {
    // The server stops before its folder goes.
    running: Option<(Runtime, Listening)>,
    kubectl: &'static Path,
    watch_list: bool,
    folder: tempfile::TempDir,
}

/// What a command of kubectl said.
pub struct Said {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

/// Runs the test with each kubectl in each way, or says why not.
pub fn each(test: impl Fn(&Place)) {
    each_mut(|place| test(place));
}

/// The same, for a test that stops and starts the server.
pub fn each_mut(test: impl Fn(&mut Place)) {
    for kubectl in &*KUBECTLS {
        match &kubectl.program {
            Err(skip) => skip.report(),
            Ok(program) => {
                for &watch_list in kubectl.watch_list {
                    test(&mut Place::new(program, watch_list));
                }
            }
        }
    }
}

impl Place {
    fn new(kubectl: &'static Path, watch_list: bool) -> Self {
        let mut place = Self {
            running: None,
            kubectl,
            watch_list,
            folder: tempfile::tempdir().expect("a folder"),
        };
        place.start();
        place
    }

    pub fn start(&mut self) {
        let runtime = Runtime::new().expect("a runtime");
        let listening = runtime.block_on(self.serve()).expect("the server starts");
        self.running = Some((runtime, listening));
    }

    /// Stops the server and waits until its store is closed.
    pub fn stop(&mut self) {
        if let Some((runtime, listening)) = self.running.take() {
            runtime.block_on(listening.stop());
        }
    }

    async fn serve(&self) -> Result<Listening, api::Error> {
        let state = self.folder.path().join("state");
        let authority = Authority::open(&state, Timestamp::now())?;
        let store = Redb::open(&state.join("objects.redb")).expect("the store opens");
        let server = Server::builder()
            .crds(vec![widget::definition()])
            .storage(store)
            .build()?;
        let config = authority.server_config(&[], Timestamp::now())?;
        let service = move |identity: Identity| server.service_for(identity);
        let listening =
            listen::tls("127.0.0.1:0".parse().expect("an address"), config, service).await?;
        let address = listening.address().expect("a door on TCP has an address");
        let admin = authority.issue_client("admin", Some("system:masters"), Timestamp::now())?;
        kubeconfig::write(
            &self.path("kubeconfig"),
            &format!("https://{address}"),
            authority.certificate(),
            &admin,
        )?;
        Ok(listening)
    }

    /// A file in the test's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file for kubectl to read.
    pub fn file(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        fs::write(&path, content).expect("the folder can be written");
        path.to_str().expect("the path is text").to_owned()
    }

    fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(self.kubectl);
        command
            .args(arguments)
            .env("KUBECONFIG", self.path("kubeconfig"))
            .env("HOME", self.folder.path())
            .env(WATCH_LIST, self.watch_list.to_string())
            .env_remove("KUBE_EDITOR")
            .stdin(Stdio::null());
        command
    }

    /// Runs a command line, whatever comes of it.
    pub fn run(&self, line: &str) -> Said {
        self.command(words(line))
            .output()
            .expect("kubectl runs")
            .into()
    }

    /// What a command line that must work prints.
    #[track_caller]
    pub fn ok(&self, line: &str) -> String {
        let said = self.run(line);
        assert!(
            said.success,
            "{} {line} ({WATCH_LIST}={}): {}{}",
            self.kubectl.display(),
            self.watch_list,
            said.stdout,
            said.stderr
        );
        said.stdout
    }

    /// What a command line that must fail complains about.
    #[track_caller]
    pub fn refused(&self, line: &str) -> String {
        let said = self.run(line);
        assert!(!said.success, "kubectl {line} worked: {}", said.stdout);
        said.stderr
    }

    /// Runs a command line with an editor: a program that changes the file which it is given.
    pub fn edit(&self, line: &str, editor: &str) -> Said {
        let editor = self.file("editor", &format!("#!/bin/sh\n{editor}\n"));
        self.command(words(line))
            .env("KUBE_EDITOR", format!("sh {editor}"))
            .output()
            .expect("kubectl runs")
            .into()
    }

    /// Applies a document.
    #[track_caller]
    pub fn apply(&self, document: &str) -> String {
        let file = self.file("applied.yaml", document);
        self.ok(&format!("apply -f {file}"))
    }

    /// Starts a command line that goes on until it is dropped.
    pub fn follow(&self, line: &str) -> Following {
        let mut child = self
            .command(words(line))
            .stdout(Stdio::piped())
            .spawn()
            .expect("kubectl runs");
        let stdout = child.stdout.take().expect("it was asked for");
        Following {
            child,
            lines: BufReader::new(stdout),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A command that prints as things happen.
pub struct Following {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Following {
    /// The words of the next line; empty at the end. Waits for it.
    pub fn next(&mut self) -> Vec<String> {
        let mut line = String::new();
        self.lines
            .read_line(&mut line)
            .expect("its output can be read");
        line.split_whitespace().map(str::to_owned).collect()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        self.child.wait().expect("it was started here");
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("kubectl prints text");
        Self {
            success: output.status.success(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

/// The words of a table or of any other text, line by line.
pub fn rows(text: &str) -> Vec<Vec<&str>> {
    text.lines()
        .map(|line| line.split_whitespace().collect())
        .collect()
}

/// The words of a command line; single quotes hold a word together.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('\'').enumerate() {
        match index % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    words
}
