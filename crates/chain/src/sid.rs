//! Segment identifiers: derived from the host's locator and what the segment is for, never allocated.
//!
//! Two processes that derive one get the same. Whether two segments of a host came out alike is checked where chains
//! are admitted.

use std::net::Ipv6Addr;

use api::{Ipv6Prefix, short_hash};

use crate::world::Key;

/// The lowest addresses of a locator belong to the router itself and to people.
const RESERVED: u128 = 0xffff;

/// The segment of a chain that ends at one side of an instance.
pub(crate) fn of_instance(
    locator: Ipv6Prefix,
    chain: &Key,
    instance: &str,
    side: &str,
) -> Ipv6Addr {
    derive(
        locator,
        &["instance", &chain.namespace, &chain.name, instance, side],
    )
}

/// The segment of a chain that ends at a port of users.
pub(crate) fn of_port(locator: Ipv6Prefix, chain: &Key, interface: &str) -> Ipv6Addr {
    derive(locator, &["port", &chain.namespace, &chain.name, interface])
}

/// Whether an address of a locator may not be a segment.
pub(crate) fn is_reserved(locator: Ipv6Prefix, sid: Ipv6Addr) -> bool {
    let free = 128 - u32::from(locator.length());
    // A very short locator has no room to reserve any.
    free > 16 && (sid.to_bits() - locator.address().to_bits()) <= RESERVED
}

fn derive(locator: Ipv6Prefix, parts: &[&str]) -> Ipv6Addr {
    locator.with_low_bits(short_hash(parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_lie_in_the_locator_and_differ_by_everything_they_are_for() {
        let locator: Ipv6Prefix = "fd00:1:2::/48".parse().unwrap();
        let (one, two) = (Key::new("a", "web"), Key::new("b", "web"));
        let sids = [
            of_instance(locator, &one, "fw-0", "left"),
            of_instance(locator, &one, "fw-0", "right"),
            of_instance(locator, &one, "fw-1", "left"),
            of_instance(locator, &two, "fw-0", "left"),
            of_port(locator, &one, "left"),
        ];
        for (at, sid) in sids.iter().enumerate() {
            assert!(locator.contains(*sid), "{sid}");
            assert!(!sids[..at].contains(sid), "{sid}");
        }
        assert_eq!(sids[0], of_instance(locator, &one, "fw-0", "left"));
    }

    #[test]
    fn the_lowest_addresses_of_a_locator_are_reserved() {
        let locator: Ipv6Prefix = "fd00:1:2::/48".parse().unwrap();
        assert!(is_reserved(locator, "fd00:1:2::1".parse().unwrap()));
        assert!(!is_reserved(locator, "fd00:1:2::1:0".parse().unwrap()));
    }
}
