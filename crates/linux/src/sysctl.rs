//! Kernel settings of a network namespace (`/proc/sys/net`).
//!
//! A setting is written by its dotted name; an interface name with dots in it is written with slashes, as sysctl(8) does.

use std::fs;

use crate::{Error, Namespace, Result};

/// What a namespace that routes needs: forwarding, no waiting for duplicate address detection (it holds an address back
/// for about a second), no router advertisements, and a flow label that spreads encapsulated flows over queues.
pub const ROUTER: &[(&str, &str)] = &[
    ("net.ipv6.conf.all.forwarding", "1"),
    ("net.ipv6.conf.default.forwarding", "1"),
    ("net.ipv6.conf.default.accept_dad", "0"),
    ("net.ipv6.conf.default.accept_ra", "0"),
    ("net.ipv6.conf.all.seg6_enabled", "1"),
    ("net.ipv6.conf.default.seg6_enabled", "1"),
    ("net.ipv6.seg6_flowlabel", "1"),
    ("net.ipv4.ip_forward", "1"),
];

/// What a namespace at the end of a path needs: usable addresses at once, and only the routes it is given.
pub const END: &[(&str, &str)] = &[
    ("net.ipv6.conf.default.accept_dad", "0"),
    ("net.ipv6.conf.default.accept_ra", "0"),
];

/// Writes settings inside a namespace, in order, stopping at the first that is refused.
pub fn set(namespace: &Namespace, settings: &[(&str, &str)]) -> Result<()> {
    namespace.run(|| {
        settings
            .iter()
            .try_for_each(|(name, value)| write(name, value))
    })?
}

/// Reads one setting inside a namespace.
pub fn get(namespace: &Namespace, name: &str) -> Result<String> {
    let text = namespace.run(|| fs::read_to_string(path(name)))?;
    text.map(|text| text.trim_end().to_owned())
        .map_err(|error| Error::new(format!("cannot read {name} in {}", namespace.name()), error))
}

fn write(name: &str, value: &str) -> Result<()> {
    fs::write(path(name), value)
        .map_err(|error| Error::new(format!("cannot set {name} to {value}"), error))
}

/// `a.b/c` becomes `/proc/sys/a/b.c`: dots separate, slashes stand for dots inside a part.
fn path(name: &str) -> String {
    let parts = name.chars().map(|letter| match letter {
        '.' => '/',
        '/' => '.',
        other => other,
    });
    format!("/proc/sys/{}", parts.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_name_with_a_dot_keeps_it() {
        assert_eq!(
            path("net.ipv6.conf.eth0/7.mtu"),
            "/proc/sys/net/ipv6/conf/eth0.7/mtu"
        );
    }
}
