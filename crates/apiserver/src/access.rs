//! Who may do what.

/// The namespace in which every host keeps its Lease.
pub const HOSTS_NAMESPACE: &str = "groma-hosts";

/// Who makes a request, as the door has established it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// May do everything.
    Admin(String),
    /// The agent of one host: may do what that host needs.
    Host(String),
}

use crate::failure::Failure;
use crate::request::Request;
use crate::server::Server;

/// Whether the author may do that.
pub(crate) fn check(_server: &Server, _identity: &Identity, _request: &Request) -> Result<(), Failure> {
    Ok(())
}
