//! Limits as one nftables ruleset, which replaces the table of this limiter in one transaction.
//!
//! Each limit is a dynamic set with one token bucket per source address; an address that is silent for a minute leaves
//! it. When a set is full, new sources pass without a limit: traffic is not stopped for want of memory here.

use crate::limits::{Limit, Limits, What};

/// The table in the family `inet`; the namespace is the limiter's own, so the name need not be unique.
pub(crate) const TABLE: &str = "limiter";

/// The most sources that are told apart by one limit.
const SOURCES_MAX: u32 = 65_535;

/// The text for `nft -f`. `add` before `delete` makes the deletion work on the first run too.
pub(crate) fn text(limits: &Limits) -> String {
    let numbered = || (1..).zip(&limits.0);
    let sets: String = numbered().map(|(n, _)| set(n)).collect();
    let rules: String = numbered().map(rule).collect();
    format!(
        "add table inet {TABLE}
delete table inet {TABLE}
table inet {TABLE} {{
  counter passed_left {{ }}
  counter passed_right {{ }}
{sets}  chain forward {{
    type filter hook forward priority filter; policy accept;
{rules}    iifname left counter name passed_left
    iifname right counter name passed_right
  }}
}}
"
    )
}

fn set(n: usize) -> String {
    format!(
        "  counter dropped_{n} {{ }}
  set sources_{n} {{ type ipv6_addr; size {SOURCES_MAX}; flags dynamic; timeout 1m; }}
"
    )
}

fn rule((n, limit): (usize, &Limit)) -> String {
    let Limit {
        what,
        rate,
        per,
        burst,
        from,
    } = limit;
    let (only, rate_unit, burst_unit) = match what {
        What::Connections => ("ct state new ", "", "packets"),
        What::Packets => ("", "", "packets"),
        What::Kbytes => ("", " kbytes", "kbytes"),
    };
    let bucket = format!("limit rate over {rate}{rate_unit}/{per} burst {burst} {burst_unit}");
    format!(
        "    iifname {from} {only}update @sources_{n} {{ ip6 saddr {bucket} }} counter name dropped_{n} drop\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_a_set_and_one_rule() {
        let file = "limit connections 50 per second burst 20 from left\nlimit kbytes 2000 per minute burst 500 from right";
        let text = text(&Limits::parse(file).unwrap());
        let rules: Vec<_> = text
            .lines()
            .map(str::trim)
            .filter(|line| line.contains("update"))
            .collect();
        assert_eq!(
            rules,
            [
                "iifname left ct state new update @sources_1 { ip6 saddr limit rate over 50/second burst 20 packets } counter name dropped_1 drop",
                "iifname right update @sources_2 { ip6 saddr limit rate over 2000 kbytes/minute burst 500 kbytes } counter name dropped_2 drop",
            ]
        );
        assert_eq!(text.matches("flags dynamic").count(), 2);
    }
}
