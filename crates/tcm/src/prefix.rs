//! How two prefixes lie to each other.

use api::Ipv6Prefix;

/// Whether all of `inner` lies in `outer`.
pub fn holds(outer: Ipv6Prefix, inner: Ipv6Prefix) -> bool {
    outer.contains(inner.address()) && outer.length() <= inner.length()
}

/// Whether any address lies in both.
pub fn overlap(one: Ipv6Prefix, other: Ipv6Prefix) -> bool {
    holds(one, other) || holds(other, one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_hold_and_overlap() {
        let check = |one: &str, other: &str, expected: (bool, bool)| {
            let (one, other) = (one.parse().unwrap(), other.parse().unwrap());
            assert_eq!(
                (holds(one, other), overlap(one, other)),
                expected,
                "{one} {other}"
            );
        };
        check("fd00::/16", "fd00:1::/48", (true, true));
        check("fd00:1::/48", "fd00::/16", (false, true));
        check("fd00:1::/48", "fd00:1::/48", (true, true));
        check("fd00:1::/48", "fd00:2::/48", (false, false));
    }
}
