//! Devices and their addresses: veth pairs across namespaces, bridges, state, MTU and addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, InfoVrf, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use rustix::io::Errno;

use crate::netlink::{Prefix, Write, family};
use crate::{Error, Namespace, Netlink, Result};

/// The longest name that the kernel takes, in bytes.
pub const NAME_MAX: usize = 15;

/// A device as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The largest packet it takes, in bytes.
    pub mtu: u32,
    /// Whether it was set up.
    pub up: bool,
    /// Its hardware address.
    pub mac: Option<[u8; 6]>,
    /// The number of the other end of a veth pair, in that end's namespace.
    pub peer: Option<u32>,
    /// The number of the bridge it is a port of.
    pub bridge: Option<u32>,
}

/// One end of a veth pair.
#[derive(Clone, Copy, Debug)]
pub struct Veth<'a> {
    /// The namespace it lives in.
    pub namespace: &'a Namespace,
    /// Its name there.
    pub name: &'a str,
    /// Its MTU.
    pub mtu: u32,
    /// Its hardware address; the kernel chooses one if none is given.
    pub mac: Option<[u8; 6]>,
}

/// Makes a veth pair with each end in its namespace and both up. A pair that is there is kept and gets the MTUs; half of
/// another pair under one of the names is replaced.
pub fn ensure_veth(left: Veth<'_>, right: Veth<'_>) -> Result<()> {
    ensure_pair(left, right)?;
    for end in [left, right] {
        Netlink::open(end.namespace)?.set_mtu(end.name, end.mtu)?;
    }
    Ok(())
}

/// As [`ensure_veth`], but a pair that is there keeps its MTUs.
pub fn ensure_pair(left: Veth<'_>, right: Veth<'_>) -> Result<()> {
    if !are_pair(left, right)? {
        for end in [left, right] {
            Netlink::open(end.namespace)?.delete_link(end.name)?;
        }
        create_veth(left, right)?;
    }
    for end in [left, right] {
        Netlink::open(end.namespace)?.set_up(end.name)?;
    }
    Ok(())
}

fn are_pair(left: Veth<'_>, right: Veth<'_>) -> Result<bool> {
    let left = Netlink::open(left.namespace)?.link(left.name)?;
    let right = Netlink::open(right.namespace)?.link(right.name)?;
    let (Some(left), Some(right)) = (left, right) else {
        return Ok(false);
    };
    Ok(left.peer == Some(right.index) && right.peer == Some(left.index))
}

fn create_veth(left: Veth<'_>, right: Veth<'_>) -> Result<()> {
    let mut message = veth_end(left)?;
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(veth_end(right)?))),
    ]));
    let what = format!(
        "make veth pair {} in {} and {} in {}",
        left.name,
        left.namespace.name(),
        right.name,
        right.namespace.name()
    );
    Netlink::open(left.namespace)?.change(
        RouteNetlinkMessage::NewLink(message),
        Write::Create,
        what,
    )
}

fn veth_end(end: Veth<'_>) -> Result<LinkMessage> {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(checked_name(end.name)?.to_owned()),
        LinkAttribute::Mtu(end.mtu),
        LinkAttribute::NetNsFd(end.namespace.as_fd().as_raw_fd()),
    ];
    message
        .attributes
        .extend(end.mac.map(|mac| LinkAttribute::Address(mac.to_vec())));
    Ok(message)
}

impl Netlink {
    /// All devices, by index.
    pub fn links(&mut self) -> Result<Vec<Link>> {
        let messages = self.dump(
            RouteNetlinkMessage::GetLink(LinkMessage::default()),
            "devices",
        )?;
        let mut links: Vec<Link> = messages
            .iter()
            .filter_map(|message| match message {
                RouteNetlinkMessage::NewLink(message) => Some(read(message)),
                _ => None,
            })
            .collect();
        links.sort_by_key(|link| link.index);
        Ok(links)
    }

    /// The device of that name, if there is one.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>> {
        let mut message = LinkMessage::default();
        message.attributes = vec![LinkAttribute::IfName(checked_name(name)?.to_owned())];
        let answer = self.get(
            RouteNetlinkMessage::GetLink(message),
            format_args!("look up device {name}"),
        );
        match answer {
            Ok(answers) => Ok(answers.iter().find_map(|answer| match answer {
                RouteNetlinkMessage::NewLink(message) => Some(read(message)),
                _ => None,
            })),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The number of a device that must be there.
    pub(crate) fn index(&mut self, name: &str) -> Result<u32> {
        let link = self.link(name)?;
        link.map(|link| link.index)
            .ok_or_else(|| Error::new(format!("cannot find device {name}"), Errno::NODEV))
    }

    /// Makes a bridge and sets it up; one that is there is kept.
    pub fn ensure_bridge(&mut self, name: &str) -> Result<()> {
        match self.add_link(name, vec![LinkInfo::Kind(InfoKind::Bridge)]) {
            Err(error) if !error.is_exists() => Err(error),
            _ => self.set_up(name),
        }
    }

    /// Makes a device for virtual routing and forwarding whose routes are those of `table`.
    pub fn add_vrf(&mut self, name: &str, table: u32) -> Result<()> {
        let data = LinkInfo::Data(InfoData::Vrf(vec![InfoVrf::TableId(table)]));
        self.add_link(name, vec![LinkInfo::Kind(InfoKind::Vrf), data])
    }

    /// Makes a device that takes everything and sends nothing.
    pub fn add_dummy(&mut self, name: &str) -> Result<()> {
        self.add_link(name, vec![LinkInfo::Kind(InfoKind::Dummy)])
    }

    fn add_link(&mut self, name: &str, info: Vec<LinkInfo>) -> Result<()> {
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(checked_name(name)?.to_owned()),
            LinkAttribute::LinkInfo(info),
        ];
        let message = RouteNetlinkMessage::NewLink(message);
        self.change(message, Write::Create, format_args!("make device {name}"))
    }

    /// Makes a device a port of a bridge.
    pub fn set_bridge(&mut self, name: &str, bridge: &str) -> Result<()> {
        let bridge_index = self.index(bridge)?;
        self.set(
            name,
            |message| {
                message
                    .attributes
                    .push(LinkAttribute::Controller(bridge_index))
            },
            format!("make {name} a port of bridge {bridge}"),
        )
    }

    /// Sets a device up.
    pub fn set_up(&mut self, name: &str) -> Result<()> {
        let up = |message: &mut LinkMessage| {
            message.header.flags = LinkFlags::Up;
            message.header.change_mask = LinkFlags::Up;
        };
        self.set(name, up, format!("set device {name} up"))
    }

    /// Sets a device down; its IPv6 addresses and the routes over it go.
    pub fn set_down(&mut self, name: &str) -> Result<()> {
        let down = |message: &mut LinkMessage| message.header.change_mask = LinkFlags::Up;
        self.set(name, down, format!("set device {name} down"))
    }

    /// Sets the largest packet that a device takes.
    pub fn set_mtu(&mut self, name: &str, mtu: u32) -> Result<()> {
        let change = |message: &mut LinkMessage| message.attributes.push(LinkAttribute::Mtu(mtu));
        self.set(
            name,
            change,
            format!("set the MTU of device {name} to {mtu}"),
        )
    }

    /// Removes a device, and with it the other end of a veth pair; nothing happens if there is none.
    pub fn delete_link(&mut self, name: &str) -> Result<()> {
        let Some(link) = self.link(name)? else {
            return Ok(());
        };
        let mut message = LinkMessage::default();
        message.header.index = link.index;
        let deleted = self.change(
            RouteNetlinkMessage::DelLink(message),
            Write::Plain,
            format_args!("delete device {name}"),
        );
        match deleted {
            Err(error) if error.is_missing() => Ok(()),
            other => other,
        }
    }

    fn set(
        &mut self,
        name: &str,
        change: impl FnOnce(&mut LinkMessage),
        what: String,
    ) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = self.index(name)?;
        change(&mut message);
        self.change(RouteNetlinkMessage::NewLink(message), Write::Plain, what)
    }

    /// Gives a device an address, usable at once (no duplicate address detection); one that it has is kept.
    pub fn add_address(&mut self, device: &str, address: Prefix) -> Result<()> {
        let mut message = self.address_message(device, address)?;
        if address.address.is_ipv6() {
            message.header.flags = AddressHeaderFlags::Nodad;
            message
                .attributes
                .push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        let message = RouteNetlinkMessage::NewAddress(message);
        match self.change(
            message,
            Write::Create,
            format_args!("add address {address} to {device}"),
        ) {
            Err(error) if error.is_exists() => Ok(()),
            other => other,
        }
    }

    /// Takes an address from a device; nothing happens if it does not have it.
    pub fn delete_address(&mut self, device: &str, address: Prefix) -> Result<()> {
        let message = RouteNetlinkMessage::DelAddress(self.address_message(device, address)?);
        match self.change(
            message,
            Write::Plain,
            format_args!("delete address {address} of {device}"),
        ) {
            Err(error) if error.is_missing() => Ok(()),
            other => other,
        }
    }

    /// The addresses of a device, sorted, link-local ones included.
    pub fn addresses(&mut self, device: &str) -> Result<Vec<Prefix>> {
        let index = self.index(device)?;
        Ok(self.all_addresses()?.remove(&index).unwrap_or_default())
    }

    /// The addresses of all devices, by the device's number, sorted.
    pub fn all_addresses(&mut self) -> Result<BTreeMap<u32, Vec<Prefix>>> {
        let filter = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let mut addresses: BTreeMap<u32, Vec<Prefix>> = BTreeMap::new();
        for message in self.dump(filter, "addresses")? {
            if let RouteNetlinkMessage::NewAddress(message) = message {
                let of_device = addresses.entry(message.header.index).or_default();
                of_device.extend(read_address(&message));
            }
        }
        addresses
            .values_mut()
            .for_each(|of_device| of_device.sort());
        Ok(addresses)
    }

    fn address_message(&mut self, device: &str, address: Prefix) -> Result<AddressMessage> {
        let mut message = AddressMessage::default();
        message.header.family = family(address.address);
        message.header.prefix_len = address.length;
        message.header.index = self.index(device)?;
        message.header.scope = match address.address {
            IpAddr::V6(address) if address.is_unicast_link_local() => AddressScope::Link,
            _ => AddressScope::Universe,
        };
        message.attributes = vec![
            AddressAttribute::Local(address.address),
            AddressAttribute::Address(address.address),
        ];
        Ok(message)
    }
}

fn read(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
        mac: None,
        peer: None,
        bridge: None,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Address(mac) => link.mac = mac.as_slice().try_into().ok(),
            LinkAttribute::Link(peer) => link.peer = Some(*peer),
            LinkAttribute::Controller(bridge) => link.bridge = Some(*bridge),
            _ => {}
        }
    }
    link
}

fn read_address(message: &AddressMessage) -> Option<Prefix> {
    // An IPv4 address is in `Local`, an IPv6 one in `Address` alone.
    let local = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Local(address) => Some(*address),
            _ => None,
        });
    let other = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        });
    Some(Prefix {
        address: local.or(other)?,
        length: message.header.prefix_len,
    })
}

fn checked_name(name: &str) -> Result<&str> {
    let good = !name.is_empty() && name.len() <= NAME_MAX && !name.contains(['/', ' ', '\0']);
    if good {
        return Ok(name);
    }
    Err(Error::new(
        format!("device name {name:?} must have 1 to {NAME_MAX} bytes without spaces and slashes"),
        Errno::INVAL,
    ))
}
