//! Names and addresses that are derived, never allocated: two processes that derive one get the same, and nothing
//! has to be remembered.

use std::net::Ipv6Addr;

use sha2::{Digest, Sha256};

use crate::units::Ipv6Prefix;

/// The longest interface name Linux takes.
const INTERFACE_NAME_MAX: usize = 15;

/// The first 64 bits of a hash over parts; parts are kept apart, so `ab, c` differs from `a, bc`.
pub fn short_hash(parts: &[&str]) -> u64 {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let digest = hasher.finalize();
    u64::from_be_bytes(
        digest[..8]
            .try_into()
            .expect("a SHA-256 digest has 32 bytes"),
    )
}

/// The router-side name of an instance's interface: `g` and 14 hexadecimal digits, the most that Linux takes.
pub fn interface_name(namespace: &str, instance: &str, interface: &str) -> String {
    let mut name = format!(
        "g{:016x}",
        short_hash(&["interface", namespace, instance, interface])
    );
    name.truncate(INTERFACE_NAME_MAX);
    name
}

/// The address that every instance of a workload carries in a network, kept when it moves.
pub fn service_address(prefix: Ipv6Prefix, namespace: &str, workload: &str) -> Ipv6Addr {
    prefix.with_low_bits(short_hash(&["service", namespace, workload]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_names_are_stable_and_fit() {
        let name = interface_name("default", "web-0", "eth0");
        assert_eq!(name.len(), 15);
        assert_eq!(name, interface_name("default", "web-0", "eth0"));
        assert_ne!(name, interface_name("default", "web-0e", "th0"));
    }
}
