//! The files of a server's state folder.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::serve;

/// The objects.
pub fn store(state: &Path) -> PathBuf {
    state.join("store.redb")
}

/// The keys that seal Secrets.
pub fn secret_keys(state: &Path) -> PathBuf {
    state.join("secrets.keys")
}

/// The key that signs the tokens of service accounts.
pub fn account_key(state: &Path) -> PathBuf {
    state.join("accounts.key")
}

/// The authority that signs certificates.
pub fn authority(state: &Path) -> PathBuf {
    state.join("authority")
}

/// The administrator's way in for clients on this machine.
pub fn kubeconfig(state: &Path) -> PathBuf {
    state.join("kubeconfig")
}

/// The administrator's way in without TLS.
pub fn socket(state: &Path) -> PathBuf {
    state.join("groma.sock")
}

/// Where the server listens, or did when it last ran: it takes the same address again.
pub fn address(state: &Path) -> PathBuf {
    state.join("address")
}

/// Where the server of a state folder is reached on this machine, or was when it last ran.
pub fn server_address(state: &Path) -> Option<SocketAddr> {
    let text = std::fs::read_to_string(address(state)).ok()?;
    text.trim().parse().ok().map(serve::reached_at)
}

/// Who asked the server for what.
pub fn audit(state: &Path) -> PathBuf {
    state.join("audit").join("audit.log")
}

/// Held by the process that uses the folder.
pub fn lock(state: &Path) -> PathBuf {
    state.join("lock")
}
