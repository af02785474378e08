//! Turns on packet forwarding in the function's own network namespace.
//!
//! A function that stands between two interfaces carries nothing without it. Whoever made the namespace may have set it
//! already, and a container may be forbidden to: both are fine as long as it is on.

use crate::Error;
use std::fs;

const PATH: &str = "/proc/sys/net/ipv6/conf/all/forwarding";

/// Makes sure that IPv6 packets are forwarded.
///
/// # Errors
/// When forwarding is off and may not be turned on.
pub fn ensure() -> Result<(), Error> {
    let reading = fs::read_to_string(PATH);
    if reading.is_ok_and(|value| value.trim() != "0") {
        return Ok(());
    }
    fs::write(PATH, "1").map_err(|source| Error::Forwarding { path: PATH, source })
}
