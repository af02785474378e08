//! One run: started, found again, stopped and cleaned up after.

use std::fs::{self, File};
use std::io;
use std::process::Stdio;
use std::time::Duration;

use adapter::ContainerPhase;
use api::{Error, ErrorKind};
use jiff::Timestamp;
use linux::process::Process;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::time::{sleep, timeout};

use super::{BACK_OFF_FIRST, BACK_OFF_MAX, KILL_LIMIT, Supervisor};
use crate::bundle::stop_signal;
use crate::disk::{End, Exit, Ready, Status};
use crate::handle::Handle;
use crate::{exec, spawn};

/// How long a container may take to run after its shim was started.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How often it is looked whether a program heeds its stop signal yet.
const HEEDS_AGAIN: Duration = Duration::from_millis(20);

/// A run that lives.
pub(crate) struct Run {
    /// Its handle becomes readable when the shim ends.
    pub(super) shim: Handle,
    pub(super) status: Status,
}

impl Run {
    fn new(shim: Process, status: Status) -> io::Result<Self> {
        Ok(Self {
            shim: Handle::new(shim)?,
            status,
        })
    }

    /// Waits for the end of the shim.
    pub(super) async fn ended(&self) {
        self.shim.ended().await;
    }

    /// How long it has been running.
    pub(super) fn lasted(&self) -> Duration {
        let lasted = Timestamp::now().duration_since(self.status.since);
        Duration::try_from(lasted).unwrap_or_default()
    }

    /// The container's first process, if it lives.
    pub(super) fn init(&self) -> Option<Process> {
        Process::find(self.status.init.pid, self.status.init.started)
    }
}

impl Supervisor {
    /// Before anybody asks: finds what runs and shows it as the agent before did, or traffic would be taken from it.
    pub(crate) fn adopt(&mut self) -> Option<Run> {
        let run = self.find_run().unwrap_or_else(|error| {
            let container = &self.record.id;
            tracing::warn!(%container, error = api::chain(&error), "cannot read what runs; it is started anew");
            None
        })?;
        let since = run.status.since;
        let ready = self.was_ready(run.status.epoch);
        self.update(|state| {
            if !matches!(state.phase, ContainerPhase::Stopping) {
                state.phase = ContainerPhase::Running { since };
                state.ready = ready;
            }
        });
        Some(run)
    }

    /// The readiness of a run that was last seen. What cannot be read is probed soon.
    fn was_ready(&self, epoch: u64) -> bool {
        let ready: Option<Ready> = self.folder.read("ready.json").ok().flatten();
        ready.is_some_and(|last| last.epoch == epoch && last.ready)
    }

    /// The shim of the current epoch, if it lives; the end of its run is counted otherwise.
    fn find_run(&mut self) -> io::Result<Option<Run>> {
        let epoch = self.folder.epoch()?;
        let status: Option<Status> = self.folder.read("status.json")?;
        let Some(status) = status.filter(|status| status.epoch == epoch) else {
            return Ok(None);
        };
        let shim = Process::find(status.shim.pid, status.shim.started);
        let shim = shim.filter(|shim| !shim.has_ended());
        match (shim, self.folder.exit_of(epoch)?) {
            (Some(shim), None) => Run::new(shim, status).map(Some),
            (_, exit) => {
                self.count_end(describe(exit.as_ref()));
                Ok(None)
            }
        }
    }

    /// Starts a run with the files that are to be tried, or those in force.
    pub(super) async fn start(&mut self) -> Result<Run, Error> {
        self.update(|state| state.phase = ContainerPhase::Starting);
        self.wanted.mark_unchanged();
        self.take_wanted_files();
        let run = self.try_start().await;
        if let Ok(run) = &run {
            let since = run.status.since;
            self.update(|state| state.phase = ContainerPhase::Running { since });
        }
        run
    }

    async fn try_start(&mut self) -> Result<Run, Error> {
        self.prepare().await?;
        let unavailable =
            |error| Error::caused(ErrorKind::Unavailable, "cannot start the shim", error);
        let (shim, mut ready) = self.spawn_shim().map_err(unavailable)?;
        let epoch = self.folder.epoch().map_err(unavailable)?;
        let announced = timeout(START_LIMIT, ready.read_u8()).await;
        let status: Option<Status> = self.folder.read("status.json").map_err(unavailable)?;
        match (announced, status) {
            (Ok(Ok(_)), Some(status)) if status.epoch == epoch => {
                Run::new(shim, status).map_err(unavailable)
            }
            _ => Err(self.why_not_started(shim, epoch).await),
        }
    }

    /// The shim closed its pipe without a word: it is ending, and says why in a file.
    async fn why_not_started(&self, shim: Process, epoch: u64) -> Error {
        if let Ok(shim) = Handle::new(shim) {
            let _ = timeout(KILL_LIMIT, shim.ended()).await;
        }
        let exit = self.folder.exit_of(epoch).ok().flatten();
        let why = match exit {
            None => fs::read_to_string(self.folder.path("shim.log")).unwrap_or_default(),
            exit => describe(exit.as_ref()),
        };
        let why = if why.trim().is_empty() {
            "its shim was killed"
        } else {
            why.trim()
        };
        Error::new(ErrorKind::Unavailable, why)
    }

    /// Starts the shim inside its control group, with a pipe on which it says when the container runs.
    fn spawn_shim(&self) -> io::Result<(Process, pipe::Receiver)> {
        let epoch = self.folder.next_epoch()?;
        let entrance = self.group.child("shim").make().map_err(io::Error::other)?;
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        let mut command = exec::shim_command(&self.host.config)?;
        command
            .arg("run")
            .arg(&self.folder.0)
            .arg(epoch.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::from(writer));
        command.stderr(File::create(self.folder.path("shim.log"))?);
        spawn::in_group(&mut command, entrance);
        // The handle is taken before anybody can reap the child, so it is the child's.
        let shim = Process::open(command.spawn()?.id()).map_err(io::Error::other)?;
        Ok((shim, pipe::Receiver::from_owned_fd(reader)?))
    }

    /// Asks a run to end as its spec says. What does not is killed by [`Self::clean`].
    pub(super) async fn stop(&mut self, run: &Run) {
        let grace = Duration::from(self.record.spec.execution.stop.grace_seconds);
        tokio::select! {
            () = run.ended() => {}
            () = self.ask_to_end(run) => {}
            () = sleep(grace) => {}
        }
    }

    /// Sends the stop signal as soon as the program heeds it, and again to the program that another one becomes: the
    /// kernel keeps it from one that has just started and would take the whole grace for nothing.
    async fn ask_to_end(&self, run: &Run) {
        let signal = stop_signal(&self.record.spec, &self.record.image);
        let (Some(init), Ok(signal)) = (run.init(), signal) else {
            return std::future::pending().await;
        };
        let mut asked = false;
        loop {
            let heeds = init.heeds(signal);
            if heeds
                && !asked
                && let Err(error) = init.signal(signal)
            {
                tracing::warn!(container = %self.record.id, error = api::chain(&error), "cannot ask a container to end");
            }
            asked = heeds;
            sleep(HEEDS_AGAIN).await;
        }
    }

    /// How a run ended that nobody here ended, and whether it did so itself.
    pub(super) fn how_it_ended(&self, run: &Run) -> (String, bool) {
        let exit = self.folder.exit_of(run.status.epoch).ok().flatten();
        let own = exit.as_ref().is_some_and(Exit::is_its_own);
        (describe(exit.as_ref()), own)
    }

    /// Declares the last run over and kills all that is left of it, however often it takes: nothing may be started before.
    pub(super) async fn clean(&self) {
        let mut pause = BACK_OFF_FIRST;
        while let Err(error) = self.try_clean().await {
            tracing::warn!(container = %self.record.id, error = api::chain(&error), "cannot end a container yet");
            sleep(pause).await;
            pause = (pause * 2).min(BACK_OFF_MAX);
        }
    }

    async fn try_clean(&self) -> Result<(), Error> {
        let (folder, group) = (self.folder.clone(), self.group.clone());
        blocking(move || {
            let disk = |error| {
                let what = "cannot write the container's files";
                Error::caused(ErrorKind::Unavailable, what, error)
            };
            folder.next_epoch().map_err(disk)?;
            group.remove(KILL_LIMIT).map_err(|error| {
                let what = "cannot end the container's processes";
                Error::caused(ErrorKind::Unavailable, what, error)
            })?;
            folder.remove("status.json").map_err(disk)?;
            remove_folder(&folder.path("runtime")).map_err(disk)
        })
        .await
    }

    /// Removes network and folder, once no process is left.
    pub(super) async fn remove_rest(&self) -> Result<(), Error> {
        let (host, network, folder) =
            (self.host.clone(), self.network.clone(), self.folder.clone());
        blocking(move || {
            network.remove().map_err(|error| {
                Error::caused(
                    ErrorKind::Unavailable,
                    "cannot remove the container's network",
                    error,
                )
            })?;
            host.group_of_all().remove_if_empty();
            discard(&host.removed(), &folder.0).map_err(|error| {
                Error::caused(
                    ErrorKind::Unavailable,
                    "cannot remove the container's folder",
                    error,
                )
            })
        })
        .await
    }
}

/// Takes a folder out of the way in one step, then apart.
fn discard(removed: &std::path::Path, folder: &std::path::Path) -> io::Result<()> {
    fs::create_dir_all(removed)?;
    let name = folder.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let away = removed.join(name);
    remove_folder(&away)?;
    match fs::rename(folder, &away) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    remove_folder(&away)
}

/// Removes a folder with all that is in it; nothing happens if it is gone.
pub(crate) fn remove_folder(folder: &std::path::Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// How a run ended, for people.
fn describe(exit: Option<&Exit>) -> String {
    let Some(exit) = exit else {
        return "its shim was killed".to_owned();
    };
    let how = match &exit.end {
        End::Status(status) => format!("exit status {status}"),
        End::Signal(signal) => format!("killed by {}", signal_name(*signal)),
        End::NotStarted(why) => format!("cannot be started: {why}"),
    };
    match exit.out_of_memory {
        true => format!("{how} (out of memory)"),
        false => how,
    }
}

fn signal_name(number: i32) -> String {
    linux::process::signal_name(number).map_or_else(|| format!("signal {number}"), str::to_owned)
}

/// Runs what waits for the disk or the kernel beside the event loop.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| {
        Err(Error::caused(
            ErrorKind::Internal,
            "a blocking call did not end",
            error,
        ))
    })
}
