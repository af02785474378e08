//! The machine that the agent runs on, as the kernel describes it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use adapter::{Machine, MachineFacts};
use api::tcrr::Runtime;
use api::{Error, ErrorKind, Quantity, Resources};
use oci_spec::image::Arch;

use crate::supervisor::blocking;

/// This machine.
#[derive(Clone, Debug)]
pub struct LocalMachine {
    /// The folder whose file system counts as storage: that of the container runtime's state.
    pub state: PathBuf,
    /// The OCI runtime program.
    pub runtime_program: String,
}

impl Machine for LocalMachine {
    async fn facts(&self) -> Result<MachineFacts, Error> {
        let machine = self.clone();
        blocking(move || machine.look()).await
    }
}

impl LocalMachine {
    fn look(&self) -> Result<MachineFacts, Error> {
        let read = |path: &str| {
            fs::read_to_string(path).map_err(|error| {
                Error::caused(ErrorKind::Unavailable, format!("cannot read {path}"), error)
            })
        };
        let capacity = Resources::from([
            ("cpu", Quantity::whole(processors(&read("/proc/cpuinfo")?))),
            ("memory", Quantity::whole(memory(&read("/proc/meminfo")?))),
            ("storage", Quantity::whole(self.storage()?)),
        ]);
        Ok(MachineFacts {
            capacity,
            architecture: Arch::default().to_string(),
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            runtimes: runtime(&self.runtime_program).into_iter().collect(),
        })
    }

    /// The size of the file system, in bytes.
    fn storage(&self) -> Result<i64, Error> {
        let about = rustix::fs::statvfs(&self.state).map_err(|errno| {
            let what = format!("cannot examine {}", self.state.display());
            Error::caused(ErrorKind::Unavailable, what, std::io::Error::from(errno))
        })?;
        let bytes = about.f_blocks.saturating_mul(about.f_frsize);
        Ok(i64::try_from(bytes).unwrap_or(i64::MAX))
    }
}

fn processors(cpuinfo: &str) -> i64 {
    let lines = cpuinfo.lines().filter(|line| line.starts_with("processor"));
    i64::try_from(lines.count()).unwrap_or(i64::MAX)
}

/// The memory of the machine, in bytes.
fn memory(meminfo: &str) -> i64 {
    let mut totals = meminfo
        .lines()
        .filter_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes =
        totals.find_map(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<i64>().ok());
    kibibytes.unwrap_or(0).saturating_mul(1024)
}

/// The runtime program and its version, if it is there.
pub(crate) fn runtime(program: &str) -> Option<Runtime> {
    let said = Command::new(program).arg("--version").output().ok()?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let version = said.lines().next()?.rsplit(' ').next()?;
    let name = program.rsplit('/').next().unwrap_or(program);
    Some(Runtime {
        name: name.to_owned(),
        version: version.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_and_memory_are_read_as_the_kernel_writes_them() {
        assert_eq!(
            processors("processor\t: 0\nmodel name\t: x\n\nprocessor\t: 1\n"),
            2
        );
        let meminfo = "MemTotal:       24603120 kB\nMemFree:        1 kB\n";
        assert_eq!(memory(meminfo), 24_603_120 * 1024);
    }
}
