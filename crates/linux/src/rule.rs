//! Policy rules: which table a packet's destination is looked up in.
//!
//! A rule for a device waits when the device is gone and holds again when one of that name appears. Rules cost every
//! packet of the namespace (about 330 ns for the first): keep them few.

use std::fmt;

use netlink_packet_route::route::{RouteHeader, RouteProtocol};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::netlink::Write;
use crate::{Netlink, Result};

/// One IPv6 rule: packets that the selector matches are looked up in the table, and go on to the next rule if it has no
/// route for them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// Lower is asked first; the main table is asked at 32766.
    pub priority: u32,
    /// Which packets.
    pub selector: Selector,
    /// The table.
    pub table: u32,
    /// Who made it, as with routes.
    pub protocol: u8,
}

/// Which packets a rule is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Selector {
    /// Those that came in by this device.
    InputDevice(String),
    /// Those that the firewall marked with this number.
    Mark(u32),
}

impl Netlink {
    /// Adds a rule; nothing happens if it is there.
    pub fn add_rule(&mut self, rule: &Rule) -> Result<()> {
        let message = RouteNetlinkMessage::NewRule(encode(rule));
        match self.change(message, Write::Create, format_args!("add rule {rule}")) {
            Err(error) if error.is_exists() => Ok(()),
            other => other,
        }
    }

    /// Removes a rule; nothing happens if it is not there.
    pub fn delete_rule(&mut self, rule: &Rule) -> Result<()> {
        let message = RouteNetlinkMessage::DelRule(encode(rule));
        match self.change(message, Write::Plain, format_args!("delete rule {rule}")) {
            Err(error) if error.is_missing() => Ok(()),
            other => other,
        }
    }

    /// All IPv6 rules that `protocol` made, in order. A rule of a shape that this crate does not write is left out.
    pub fn rules(&mut self, protocol: u8) -> Result<Vec<Rule>> {
        let mut filter = RuleMessage::default();
        filter.header.family = AddressFamily::Inet6;
        let messages = self.dump(RouteNetlinkMessage::GetRule(filter), "rules")?;
        let mut rules: Vec<Rule> = messages
            .iter()
            .filter_map(|message| match message {
                RouteNetlinkMessage::NewRule(message) => decode(message),
                _ => None,
            })
            .filter(|rule| rule.protocol == protocol)
            .collect();
        rules.sort();
        Ok(rules)
    }
}

fn encode(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = AddressFamily::Inet6;
    message.header.action = RuleAction::ToTable;
    message.header.table = u8::try_from(rule.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
    message.attributes = vec![
        RuleAttribute::Priority(rule.priority),
        RuleAttribute::Table(rule.table),
        RuleAttribute::Protocol(RouteProtocol::from(rule.protocol)),
        match &rule.selector {
            Selector::InputDevice(device) => RuleAttribute::Iifname(device.clone()),
            Selector::Mark(mark) => RuleAttribute::FwMark(*mark),
        },
    ];
    message
}

fn decode(message: &RuleMessage) -> Option<Rule> {
    let mut rule = Rule {
        priority: 0,
        selector: Selector::Mark(0),
        table: u32::from(message.header.table),
        protocol: 0,
    };
    let mut selectors = Vec::new();
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(priority) => rule.priority = *priority,
            RuleAttribute::Table(table) => rule.table = *table,
            RuleAttribute::Protocol(protocol) => rule.protocol = u8::from(*protocol),
            RuleAttribute::Iifname(device) => selectors.push(Selector::InputDevice(device.clone())),
            RuleAttribute::FwMark(mark) => selectors.push(Selector::Mark(*mark)),
            _ => {}
        }
    }
    rule.selector = selectors.pop().filter(|_| selectors.is_empty())?;
    Some(rule)
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} table {}",
            self.priority, self.selector, self.table
        )
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InputDevice(device) => write!(f, "iif {device}"),
            Self::Mark(mark) => write!(f, "fwmark {mark:#x}"),
        }
    }
}
