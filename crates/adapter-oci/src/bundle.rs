//! The bundle of a run: `config.json` of the OCI Runtime Specification 1.0.2, made from what is wanted and what the image
//! says.
//!
//! Everything that a container must not do is said here, once: read-only root, few capabilities, no new privileges, our
//! own list of system calls, limits, masked paths. A pure function; what depends on the machine comes in as [`Machine`].

mod capabilities;
pub(crate) mod mounts;
pub(crate) mod seccomp;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use adapter::ContainerSpec;
use api::{Error, ErrorKind, Resources};
use oci_spec::image::Config;
use serde_json::{Value, json};

pub(crate) use capabilities::set as capability_set;

use crate::disk::Rights;
use crate::image::{Root, User};

/// The period of the processor quota, in microseconds.
const CPU_PERIOD_MICROS: u64 = 100_000;

/// The smallest quota that the kernel takes, in microseconds.
const CPU_QUOTA_MIN_MICROS: u64 = 1_000;

/// The most processes of a container that does not say how many it needs.
const PIDS_DEFAULT: i128 = 512;

/// The fewest processes: with one, a runtime cannot start the container.
const PIDS_MIN: i128 = 4;

/// The least memory that a container can be started with, in bytes.
const MEMORY_MIN: i128 = 6 << 20;

/// The most open files of a process.
const OPEN_FILES: u64 = 65_536;

/// How readily the kernel kills a container when the whole machine lacks memory: before the agent and its shims.
const OOM_SCORE: i32 = 200;

/// The longest host name that Linux takes.
const HOST_NAME_MAX: usize = 63;

/// The devices that every program may expect: null, zero, full, random, urandom and tty, by major and minor number.
const DEVICES: [(u32, u32); 6] = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0)];

/// What the search path is when neither image nor workload says.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a bundle is made from.
#[derive(Debug)]
pub(crate) struct Bundle<'a> {
    /// What is wanted.
    pub(crate) spec: &'a ContainerSpec,
    /// What the image says.
    pub(crate) image: &'a Config,
    /// Who it runs as.
    pub(crate) user: User,
    /// The image's root.
    pub(crate) root: PathBuf,
    /// The container's name.
    pub(crate) host_name: &'a str,
    /// The file of its network namespace.
    pub(crate) network: PathBuf,
    /// Its control group, with a leading slash.
    pub(crate) group: String,
    /// What is mounted.
    pub(crate) mounts: Vec<mounts::Mount>,
    /// What the machine permits.
    pub(crate) machine: Machine,
}

/// What depends on the machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    /// Whether memory and swap can be limited together.
    pub(crate) limits_swap: bool,
    /// The agent's own score: without privilege it cannot be undercut, only raised.
    pub(crate) own_oom_score: i32,
    /// The most files that the agent itself may open.
    pub(crate) open_files_max: u64,
}

/// Refuses what can never run, before anything is made.
pub(crate) fn check(spec: &ContainerSpec, image: &Config) -> Result<(), Error> {
    let execution = &spec.execution;
    capability_set(&execution.capabilities)?;
    stop_signal(spec, image)?;
    if let api::wdm::OnChange::Signal { signal } = &spec.on_change {
        known_signal("onChange.signal", signal)?;
    }
    let memory = spec.resources.get("memory");
    if (1..MEMORY_MIN).contains(&memory.as_whole()) {
        return Err(invalid(format!(
            "resources.memory is {memory}; at least {}Mi are needed to start",
            MEMORY_MIN >> 20
        )));
    }
    if arguments(spec, image).is_empty() {
        return Err(invalid(
            "neither execution.command nor the image names a program".to_owned(),
        ));
    }
    let mut environment = spec.environment.iter();
    if let Some((name, _)) = environment.find(|(_, value)| value.contains('\0')) {
        return Err(invalid(format!(
            "environment variable {name} holds a NUL byte, which no program can be given"
        )));
    }
    mounts::check(spec)
}

/// Refuses a program that is not in the image, or that something is mounted over.
pub(crate) fn check_program(
    spec: &ContainerSpec,
    image: &Config,
    root: &Root,
) -> Result<(), Error> {
    let Some(program) = arguments(spec, image).into_iter().next() else {
        return Ok(());
    };
    let mut hidden = None;
    for place in places(&program, spec, image) {
        let real = root.real(&place).map_err(|error| {
            let what = format!("cannot look for `{program}` in the image");
            Error::caused(ErrorKind::Unavailable, what, error)
        })?;
        let Some(real) = real else { continue };
        match mounts::over(spec, image, &real) {
            None => return Ok(()),
            Some(mounted) => hidden = Some((real, mounted)),
        }
    }
    Err(invalid(match hidden {
        Some((real, (field, folder))) => format!(
            "execution.command: `{}` is hidden by {field}, which is mounted on `{folder}`",
            real.display()
        ),
        None => format!("execution.command: the image has no program `{program}`"),
    }))
}

/// Where a program may be.
fn places(program: &str, spec: &ContainerSpec, image: &Config) -> Vec<PathBuf> {
    if program.contains('/') {
        let directory = image.working_dir().as_deref().unwrap_or("/");
        return vec![Path::new("/").join(directory).join(program)];
    }
    let of_image = image.env().iter().flatten();
    let mut of_image = of_image.filter_map(|variable| variable.strip_prefix("PATH="));
    let own = spec.environment.get("PATH").map(String::as_str);
    let path = own.or(of_image.next_back()).unwrap_or(DEFAULT_PATH);
    path.split(':')
        .map(|folder| Path::new(folder).join(program))
        .collect()
}

/// The signal that asks the container to end.
pub(crate) fn stop_signal(
    spec: &ContainerSpec,
    image: &Config,
) -> Result<rustix::process::Signal, Error> {
    let own = spec.execution.stop.signal.as_deref();
    let name = own.or(image.stop_signal().as_deref()).unwrap_or("SIGTERM");
    known_signal("stop.signal", name)
}

/// The signal of that name.
pub(crate) fn known_signal(field: &str, name: &str) -> Result<rustix::process::Signal, Error> {
    linux::process::signal_by_name(name)
        .ok_or_else(|| invalid(format!("{field} `{name}` is no signal that can be sent")))
}

impl Bundle<'_> {
    /// What its processes are and may do.
    pub(crate) fn rights(&self) -> Rights {
        let directory = self.image.working_dir().clone();
        Rights {
            user: self.user.clone(),
            capabilities: self.spec.execution.capabilities.clone(),
            environment: self.environment(),
            directory: directory
                .filter(|path| !path.is_empty())
                .unwrap_or("/".into()),
        }
    }

    /// The content of `config.json`.
    pub(crate) fn config(&self) -> Value {
        json!({
            "ociVersion": "1.0.2",
            "hostname": host_name(self.host_name),
            "root": {"path": self.root, "readonly": true},
            "process": self.process(),
            "mounts": self.mounts.iter().map(mounts::Mount::to_json).collect::<Vec<_>>(),
            "linux": {
                "cgroupsPath": self.group,
                "namespaces": self.namespaces(),
                "resources": resources(&self.spec.resources, self.machine),
                "seccomp": seccomp::oci(),
                "maskedPaths": [
                    "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
                    "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/firmware",
                    "/sys/devices/virtual/powercap",
                ],
                "readonlyPaths": [
                    "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
                ],
            },
        })
    }

    fn process(&self) -> Value {
        let rights = self.rights();
        let user = &rights.user;
        // Another user than root keeps capabilities over exec only as ambient ones (capabilities(7)).
        let ambient: &[String] = if user.uid == 0 {
            &[]
        } else {
            &rights.capabilities
        };
        json!({
            "terminal": false,
            "user": {"uid": user.uid, "gid": user.gid, "additionalGids": user.groups},
            "args": arguments(self.spec, self.image),
            "env": rights.environment,
            "cwd": rights.directory,
            "noNewPrivileges": true,
            "oomScoreAdj": OOM_SCORE.max(self.machine.own_oom_score),
            "capabilities": {
                "bounding": rights.capabilities,
                "permitted": rights.capabilities,
                "effective": rights.capabilities,
                "inheritable": ambient,
                "ambient": ambient,
            },
            "rlimits": [{
                "type": "RLIMIT_NOFILE",
                "soft": OPEN_FILES.min(self.machine.open_files_max),
                "hard": OPEN_FILES.min(self.machine.open_files_max),
            }],
        })
    }

    fn namespaces(&self) -> Value {
        json!([
            {"type": "pid"},
            {"type": "ipc"},
            {"type": "uts"},
            {"type": "mount"},
            {"type": "network", "path": self.network},
        ])
    }

    /// The image's environment with the workload's over it.
    fn environment(&self) -> Vec<String> {
        let home = self.user.home.as_deref().unwrap_or("/");
        let mut variables = BTreeMap::from([("PATH", DEFAULT_PATH), ("HOME", home)]);
        let of_image = self.image.env().iter().flatten();
        variables.extend(of_image.filter_map(|variable| variable.split_once('=')));
        let own = self.spec.environment.iter();
        variables.extend(own.map(|(name, value)| (name.as_str(), value.as_str())));
        let lines = variables
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        lines.collect()
    }
}

/// Program and arguments: the workload's own, or the image's.
fn arguments(spec: &ContainerSpec, image: &Config) -> Vec<String> {
    let execution = &spec.execution;
    let of_image = |part: &Option<Vec<String>>| part.clone().unwrap_or_default();
    let (mut program, mut rest) = (execution.command.clone(), execution.arguments.clone());
    if program.is_empty() {
        if rest.is_empty() {
            rest = of_image(image.cmd());
        }
        program = of_image(image.entrypoint());
    }
    program.append(&mut rest);
    program
}

fn resources(resources: &Resources, machine: Machine) -> Value {
    let allowed = DEVICES.map(|(major, minor)| {
        json!({"allow": true, "type": "c", "major": major, "minor": minor, "access": "rwm"})
    });
    let mut devices = vec![json!({"allow": false, "access": "rwm"})];
    devices.extend(allowed);
    let pids = match resources.get("pids").as_whole() {
        0 => PIDS_DEFAULT,
        pids => pids.max(PIDS_MIN),
    };
    let mut limits = json!({"devices": devices, "pids": {"limit": to_i64(pids)}});
    let memory = to_i64(resources.get("memory").as_whole());
    if memory > 0 {
        limits["memory"] = json!({"limit": memory});
        if machine.limits_swap {
            limits["memory"]["swap"] = memory.into();
        }
    }
    let thousandths = u64::try_from(resources.get("cpu").as_milli()).unwrap_or(0);
    if thousandths > 0 {
        let quota = thousandths.saturating_mul(CPU_PERIOD_MICROS / 1000);
        limits["cpu"] =
            json!({"quota": quota.max(CPU_QUOTA_MIN_MICROS), "period": CPU_PERIOD_MICROS});
    }
    limits
}

fn to_i64(amount: i128) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

fn host_name(name: &str) -> &str {
    let end = name
        .char_indices()
        .map(|(at, _)| at)
        .find(|at| *at >= HOST_NAME_MAX);
    &name[..end.unwrap_or(name.len())]
}

fn invalid(what: String) -> Error {
    Error::new(ErrorKind::Invalid, what)
}

#[cfg(test)]
mod tests;
