//! The management network: what connects to the server's port in a host's management namespace is carried to the server.
//!
//! The host has no other way out, so cutting this is what a lost management network looks like. Connections are carried
//! as they are; the server's TLS reaches the agent.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};

use api::{Error, ErrorKind, Result};
use linux::Namespace;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use crate::build::failed;

/// The port of the server as hosts see it.
pub const SERVER_PORT: u16 = 6443;
/// Connections that may wait to be taken.
const BACKLOG: u32 = 64;
/// Connections carried at once for one host.
const CONNECTIONS_MAX: usize = 256;

/// The server as a host sees it.
pub fn server_url() -> String {
    format!("https://[::1]:{SERVER_PORT}")
}

/// Opens the server's port in a host's management namespace.
pub fn listen(management: &Namespace) -> Result<TcpListener> {
    let address = SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::LOCALHOST, SERVER_PORT, 0, 0));
    let socket = management.tcp_socket(address).map_err(failed)?;
    let fail = |error| {
        Error::caused(
            ErrorKind::Unavailable,
            format!("cannot listen at {address} in {}", management.name()),
            error,
        )
    };
    socket.set_reuseaddr(true).map_err(fail)?;
    socket.bind(address).map_err(fail)?;
    socket.listen(BACKLOG).map_err(fail)
}

/// Carries connections to the server until it is dropped; those under way end with it.
pub async fn carry(listener: TcpListener, server: SocketAddr) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((host, _)) if connections.len() < CONNECTIONS_MAX => { connections.spawn(one(host, server)); }
                Ok(_) => tracing::warn!("too many management connections of one host"),
                Err(error) => tracing::warn!(%error, "cannot take a management connection"),
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn one(mut host: TcpStream, server: SocketAddr) {
    if let Ok(mut server) = TcpStream::connect(server).await {
        let _ = host.set_nodelay(true);
        let _ = server.set_nodelay(true);
        // Either side may end or break at any time; there is nothing to tell anybody.
        let _ = copy_bidirectional(&mut host, &mut server).await;
    }
}
