//! Rules as one nftables ruleset, which replaces the table of this firewall in one transaction.
//!
//! Beside the rules of the file it holds what makes the firewall stateful: what belongs
//! to an accepted connection passes. The ICMPv6 errors of RFC 4890 §4.3.1 pass always: without packet-too-big, TCP
//! stops wherever a link is narrow. Only the status port and neighbour discovery reach the firewall itself.

use crate::rules::{Action, Protocol, Rule, Rules};
use std::fmt::Write;

/// The table in the family `inet`; the namespace is the firewall's own, so the name need not be unique.
pub(crate) const TABLE: &str = "firewall";

/// ICMPv6 messages that must not be dropped in transit.
const ICMP_ERRORS: &str =
    "icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem }";

/// Protocols by number: their names are in `/etc/protocols`, which an image without a distribution lacks.
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// The text for `nft -f`. `add` before `delete` makes the deletion work on the first run too.
pub(crate) fn text(rules: &Rules, status_port: &str) -> String {
    let n_rules = rules.list.len();
    let counters: String = (1..=n_rules)
        .map(|n| format!("  counter rule_{n} {{ }}\n"))
        .collect();
    let lines: String = (1..).zip(&rules.list).map(line).collect();
    let default = verdict(rules.default);
    format!(
        "add table inet {TABLE}
delete table inet {TABLE}
table inet {TABLE} {{
  counter default {{ }}
  counter established {{ }}
  counter invalid {{ }}
{counters}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    ct state established,related counter name established accept
    ct state invalid counter name invalid drop
    {ICMP_ERRORS} accept
{lines}    counter name default {default}
  }}
  chain input {{
    type filter hook input priority filter; policy drop;
    iif lo accept
    ct state established,related accept
    meta l4proto {ICMPV6} accept
    tcp dport {status_port} accept
  }}
}}
"
    )
}

fn line((n, rule): (usize, &Rule)) -> String {
    let mut line = "    ".to_owned();
    let mut add = |part: String| write!(line, "{part} ").expect("writing to a string cannot fail");
    if let Some(side) = rule.from {
        add(format!("iifname {side}"));
    }
    if let Some(prefix) = rule.source {
        add(format!("ip6 saddr {prefix}"));
    }
    if let Some(prefix) = rule.destination {
        add(format!("ip6 daddr {prefix}"));
    }
    if let Some(protocol) = protocol(rule.protocol) {
        add(protocol);
    }
    format!("{line}counter name rule_{n} {}\n", verdict(rule.action))
}

fn protocol(protocol: Protocol) -> Option<String> {
    match protocol {
        Protocol::Any => None,
        Protocol::Icmp => Some("icmpv6 type { echo-request, echo-reply }".to_owned()),
        Protocol::Tcp(None) => Some(format!("meta l4proto {TCP}")),
        Protocol::Udp(None) => Some(format!("meta l4proto {UDP}")),
        Protocol::Tcp(Some(ports)) => Some(format!("tcp dport {ports}")),
        Protocol::Udp(Some(ports)) => Some(format!("udp dport {ports}")),
    }
}

fn verdict(action: Action) -> &'static str {
    match action {
        Action::Allow => "accept",
        Action::Drop => "drop",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of the forward chain that stand for the file's rules and its default.
    fn lines(file: &str) -> Vec<String> {
        let text = text(&Rules::parse(file).unwrap(), "8081");
        let from_file = |line: &&str| line.contains("name rule_") || line.contains("name default");
        text.lines()
            .map(str::trim)
            .filter(from_file)
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn each_rule_is_one_line_and_the_default_comes_last() {
        let file = "default drop\nallow tcp 8080 from left\ndrop udp 5000-5010 source fd00::/8\nallow icmp\nallow tcp\nallow any destination fd00::1";
        assert_eq!(
            lines(file),
            [
                "iifname left tcp dport 8080 counter name rule_1 accept",
                "ip6 saddr fd00::/8 udp dport 5000-5010 counter name rule_2 drop",
                "icmpv6 type { echo-request, echo-reply } counter name rule_3 accept",
                "meta l4proto 6 counter name rule_4 accept",
                "ip6 daddr fd00::1/128 counter name rule_5 accept",
                "counter name default drop",
            ]
        );
    }

    #[test]
    fn packet_too_big_passes_before_any_rule() {
        let text = text(&Rules::parse("default drop\ndrop any").unwrap(), "8081");
        let at = |part: &str| text.find(part).unwrap();
        assert!(at("packet-too-big") < at("counter name rule_1 drop"));
    }
}
