//! Where a laboratory keeps what it needs, and the programs that it runs.

use std::path::{Path, PathBuf};

/// The longest name: it is part of namespace names and of cgroup paths.
pub const NAME_MAX: usize = 12;

/// The name that no laboratory may have: its namespaces would seem to be those of containers.
const OWNER: &str = "groma";

/// One laboratory.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name: the prefix of all that it makes on this machine.
    pub name: String,
    /// Its folder.
    pub state: PathBuf,
    /// The `groma` program that daemon, server and agents run.
    pub program: PathBuf,
    /// OCI image layouts that agents may run.
    pub images: PathBuf,
}

impl Settings {
    /// The topology that it was last built from.
    pub fn topology(&self) -> PathBuf {
        self.state.join("topology.yaml")
    }

    /// The sites that are stopped, one a line.
    pub fn stopped(&self) -> PathBuf {
        self.state.join("stopped")
    }

    /// The socket on which the daemon takes commands.
    pub fn control(&self) -> PathBuf {
        self.state.join("lab.sock")
    }

    /// The state folder of its server.
    pub fn server(&self) -> PathBuf {
        self.state.join("server")
    }

    /// The state folder of a host's agent.
    pub fn host(&self, host: &str) -> PathBuf {
        self.state.join("hosts").join(host)
    }

    /// The credentials of a host's agent.
    pub fn host_kubeconfig(&self, host: &str) -> PathBuf {
        self.host(host).join("kubeconfig")
    }

    /// What a program writes.
    pub fn log(&self, program: &str) -> PathBuf {
        self.state.join("log").join(format!("{program}.log"))
    }

    /// What marks all that belongs to a host of this laboratory: cgroups and containers.
    pub fn mark(&self, host: &str) -> String {
        format!("{}-{host}", self.name)
    }

    /// The prefix of all namespaces of this laboratory.
    pub fn prefix(&self) -> String {
        format!("{}-", self.name)
    }
}

/// Why a laboratory cannot have this name.
pub fn check_name(name: &str) -> Result<(), String> {
    let fits = !name.is_empty()
        && name.len() <= NAME_MAX
        && name
            .bytes()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if name == OWNER {
        Err(format!(
            "name is `{name}`, which marks the containers of all laboratories; choose another one"
        ))
    } else if fits {
        Ok(())
    } else {
        Err(format!(
            "name is `{name}`; it must be 1 to {NAME_MAX} lower-case letters or digits"
        ))
    }
}

/// Writes a file so that a crash leaves the old one or the new one.
pub fn write_atomically(path: &Path, content: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let new = path.with_extension("new");
    std::fs::write(&new, content)?;
    std::fs::rename(new, path)
}
