//! Programs in containers, from the agent's side: a helper process per program, and its input, output and status.

use std::io;
use std::process::{Command, Stdio};

use adapter::{ExecOutput, ExecRequest};
use api::{Error, ErrorKind};
use bytes::{Buf, Bytes};
use futures::stream::{self, BoxStream, StreamExt};
use linux::process::{Ended, Process};
use rustix::process::Signal;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};

use crate::disk::Folder;
use crate::handle::Handle;
use crate::host::OciConfig;

/// How much is read at once, in bytes.
const CHUNK: usize = 16 << 10;

/// What a signal counts as: this plus its number.
const SIGNAL_BASE: i32 = 128;

/// The status of a helper whose own was lost: it was killed with its container.
const KILLED: i32 = SIGNAL_BASE + 9;

/// A program that runs in a container. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    helper: Helper,
    pub(crate) stdin: Option<ChildStdin>,
    pub(crate) stdout: ChildStdout,
    pub(crate) stderr: ChildStderr,
}

/// The helper process, reaped by its handle: its number may be used again as soon as its container is removed.
#[derive(Debug)]
struct Helper(Option<Handle>);

impl Drop for Helper {
    fn drop(&mut self) {
        let Some(handle) = self.0.take() else { return };
        let _ = handle.process().signal(Signal::KILL);
        // Until it is reaped it counts among the container's processes. The program that it leaves behind dies with it and
        // is reaped as an orphan of the container.
        if let Ok(event_loop) = tokio::runtime::Handle::try_current() {
            event_loop.spawn(async move { handle.ended().await });
        }
    }
}

/// Starts a program in the container of a folder.
pub(crate) fn start(
    config: &OciConfig,
    folder: &Folder,
    command: &[String],
) -> io::Result<Running> {
    let mut helper = shim_command(config)?;
    helper.arg("exec").arg(&folder.0).arg("--").args(command);
    helper
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = helper.spawn()?;
    let process = Process::open(child.id()).map_err(io::Error::other)?;
    let piped = "the helper's standard streams are pipes";
    Ok(Running {
        helper: Helper(Some(Handle::new(process)?)),
        stdin: Some(ChildStdin::from_std(child.stdin.take().expect(piped))?),
        stdout: ChildStdout::from_std(child.stdout.take().expect(piped))?,
        stderr: ChildStderr::from_std(child.stderr.take().expect(piped))?,
    })
}

/// The program that becomes a shim.
pub(crate) fn shim_command(config: &OciConfig) -> io::Result<Command> {
    let (program, arguments) = config
        .shim
        .split_first()
        .ok_or_else(|| io::Error::other("the settings name no shim program"))?;
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(command)
}

impl Helper {
    /// Waits for its end, which is that of the program.
    async fn ended(&self) -> i32 {
        let Some(handle) = &self.0 else {
            return KILLED;
        };
        match handle.ended().await {
            Some(Ended::Exit(status)) => status,
            Some(Ended::Signal(signal)) => SIGNAL_BASE + signal,
            None => KILLED,
        }
    }
}

/// Runs a program to its end and drops what it writes, but for the beginning.
pub(crate) async fn check(
    config: &OciConfig,
    folder: &Folder,
    command: &[String],
) -> io::Result<(i32, String)> {
    let mut running = start(config, folder, command)?;
    running.stdin = None;
    let (mut said, mut complaint) = (Vec::new(), Vec::new());
    let Running { stdout, stderr, .. } = &mut running;
    let _ = tokio::join!(drain(stdout, &mut said), drain(stderr, &mut complaint));
    said.append(&mut complaint);
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    Ok((running.helper.ended().await, said))
}

/// Reads to the end, keeping the first chunk only.
async fn drain(from: &mut (impl AsyncRead + Unpin), kept: &mut Vec<u8>) -> io::Result<()> {
    const KEPT_MAX: usize = 512;
    let mut buffer = [0; KEPT_MAX];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        let room = KEPT_MAX - kept.len();
        kept.extend_from_slice(&buffer[..count.min(room)]);
    }
}

/// Runs a program with its input and output as streams; the last item is its end.
pub(crate) fn stream(
    config: &OciConfig,
    folder: &Folder,
    request: ExecRequest,
) -> Result<BoxStream<'static, Result<ExecOutput, Error>>, Error> {
    let mut running = start(config, folder, &request.command).map_err(|error| {
        Error::caused(
            ErrorKind::Unavailable,
            "cannot run a program in the container",
            error,
        )
    })?;
    let session = Session {
        stdin: running.stdin.take(),
        input: request.stdin,
        unread: Bytes::new(),
        running,
        open: [true, true],
        ended: false,
    };
    let next = |mut session: Session| async move {
        let item = session.next().await?;
        Some((item, session))
    };
    Ok(stream::unfold(session, next).boxed())
}

/// A program whose input and output somebody streams.
struct Session {
    running: Running,
    stdin: Option<ChildStdin>,
    input: BoxStream<'static, Bytes>,
    /// What the program has not taken yet.
    unread: Bytes,
    open: [bool; 2],
    ended: bool,
}

enum Event {
    Output(io::Result<ExecOutput>),
    Closed(usize),
    Input(Option<Bytes>),
    Fed(io::Result<usize>),
    End(i32),
}

impl Session {
    async fn next(&mut self) -> Option<Result<ExecOutput, Error>> {
        while !self.ended {
            match self.event().await {
                Event::Closed(which) => self.open[which] = false,
                Event::Input(Some(bytes)) => self.unread = bytes,
                Event::Fed(Ok(count)) => self.unread.advance(count),
                // One that no longer reads gets no more.
                Event::Fed(Err(_)) | Event::Input(None) => self.stdin = None,
                Event::Output(item) => return Some(self.item(item)),
                Event::End(status) => return Some(self.item(Ok(ExecOutput::Exit(status)))),
            }
        }
        None
    }

    fn item(&mut self, item: io::Result<ExecOutput>) -> Result<ExecOutput, Error> {
        self.ended = matches!(item, Err(_) | Ok(ExecOutput::Exit(_)));
        item.map_err(|error| {
            Error::caused(
                ErrorKind::Unavailable,
                "cannot read what the program writes",
                error,
            )
        })
    }

    /// Waits for the first thing to happen. It is written to while it is read from: a program may write as much as it reads,
    /// and stops reading when nobody takes what it writes.
    async fn event(&mut self) -> Event {
        let Running {
            helper,
            stdout,
            stderr,
            ..
        } = &mut self.running;
        let [out_open, err_open] = self.open;
        let (mut out, mut err) = ([0; CHUNK], [0; CHUNK]);
        tokio::select! {
            count = stdout.read(&mut out), if out_open => chunk(count, &out, 0, ExecOutput::Stdout),
            count = stderr.read(&mut err), if err_open => chunk(count, &err, 1, ExecOutput::Stderr),
            bytes = self.input.next(), if self.stdin.is_some() && self.unread.is_empty() => Event::Input(bytes),
            fed = feed(&mut self.stdin, &self.unread), if self.stdin.is_some() && !self.unread.is_empty() => Event::Fed(fed),
            status = helper.ended(), if !out_open && !err_open => Event::End(status),
        }
    }
}

/// Gives it as much as it takes at once.
async fn feed(stdin: &mut Option<ChildStdin>, bytes: &[u8]) -> io::Result<usize> {
    match stdin {
        Some(stdin) => stdin.write(bytes).await,
        None => std::future::pending().await,
    }
}

fn chunk(
    count: io::Result<usize>,
    buffer: &[u8],
    which: usize,
    wrap: fn(Bytes) -> ExecOutput,
) -> Event {
    match count {
        Ok(0) => Event::Closed(which),
        Ok(count) => Event::Output(Ok(wrap(Bytes::copy_from_slice(&buffer[..count])))),
        Err(error) => Event::Output(Err(error)),
    }
}
