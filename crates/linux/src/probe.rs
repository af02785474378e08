//! What this kernel can do, tried for real in a throw-away namespace.
//!
//! Kernels lack features in many combinations (VRF, netem, some SRv6 behaviours), and no version number says which: each
//! capability here is one attempt and its outcome.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use nftables::schema::Table;
use nftables::types::NfFamily;

use crate::netlink::Prefix;
use crate::route::{Action, Behaviour, METRIC, Mode, Route, TABLE_MAIN};
use crate::{Namespace, Netlink, Result, nft, tun};

/// Something that a kernel may or may not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// SRv6 encapsulation with an outer header.
    HEncaps,
    /// The same, reduced.
    HEncapsReduced,
    /// SRv6 insertion of a routing header.
    HInsert,
    /// SRv6 End.
    End,
    /// SRv6 End.X.
    EndX,
    /// SRv6 End.DT6 into a table.
    EndDt6,
    /// SRv6 End.DX6.
    EndDx6,
    /// Devices for virtual routing and forwarding.
    Vrf,
    /// Devices of kind dummy.
    Dummy,
    /// The firewall, through the `nft` program.
    Nftables,
    /// TUN devices.
    Tun,
}

/// What came of one attempt.
#[derive(Debug)]
pub struct Capability {
    /// What was tried.
    pub feature: Feature,
    /// Why it does not work, where it does not.
    pub missing: Option<crate::Error>,
}

/// All of them, in the order in which they are tried and printed.
const FEATURES: [Feature; 11] = [
    Feature::HEncaps,
    Feature::HEncapsReduced,
    Feature::HInsert,
    Feature::End,
    Feature::EndX,
    Feature::EndDt6,
    Feature::EndDx6,
    Feature::Vrf,
    Feature::Dummy,
    Feature::Nftables,
    Feature::Tun,
];

const NEIGHBOUR: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
const TARGET: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const DEVICE: &str = "probe-bridge";
const TABLE: u32 = 100;
const PROTOCOL: u8 = 201;

/// Tries every feature in a namespace that is gone afterwards. Needs root; a failure to make the namespace is the error.
pub fn capabilities() -> Result<Vec<Capability>> {
    let namespace = Namespace::anonymous("probe")?;
    Netlink::open(&namespace)?.ensure_bridge(DEVICE)?;
    let tried = FEATURES.into_iter().map(|feature| Capability {
        feature,
        missing: attempt(feature, &namespace).err(),
    });
    Ok(tried.collect())
}

fn attempt(feature: Feature, namespace: &Namespace) -> Result<()> {
    let next_hop = NEIGHBOUR;
    match feature {
        Feature::HEncaps => encapsulation(namespace, Mode::Encaps),
        Feature::HEncapsReduced => encapsulation(namespace, Mode::EncapsReduced),
        Feature::HInsert => encapsulation(namespace, Mode::Inline),
        Feature::End => segment(namespace, Behaviour::End),
        Feature::EndX => segment(namespace, Behaviour::EndX { next_hop }),
        Feature::EndDt6 => segment(namespace, Behaviour::EndDt6 { table: TABLE }),
        Feature::EndDx6 => segment(namespace, Behaviour::EndDx6 { next_hop }),
        Feature::Vrf => Netlink::open(namespace)?.add_vrf("vrf", TABLE),
        Feature::Dummy => Netlink::open(namespace)?.add_dummy("dummy"),
        Feature::Nftables => firewall(namespace),
        Feature::Tun => tun::check(namespace, "probe"),
    }
}

fn encapsulation(namespace: &Namespace, mode: Mode) -> Result<()> {
    let action = Action::Encapsulate {
        device: DEVICE.to_owned(),
        mode,
        segments: vec![TARGET],
    };
    write(namespace, action)
}

fn segment(namespace: &Namespace, behaviour: Behaviour) -> Result<()> {
    let action = Action::Segment {
        device: DEVICE.to_owned(),
        behaviour,
    };
    write(namespace, action)
}

fn write(namespace: &Namespace, action: Action) -> Result<()> {
    let route = Route {
        table: TABLE_MAIN,
        destination: Prefix::host(IpAddr::V6(TARGET)),
        metric: METRIC,
        action,
        protocol: PROTOCOL,
    };
    let mut netlink = Netlink::open(namespace)?;
    netlink.replace_route(&route)?;
    netlink.delete_route(&route)
}

fn firewall(namespace: &Namespace) -> Result<()> {
    let table = Table {
        family: NfFamily::INet,
        name: Cow::Borrowed("probe"),
        handle: None,
    };
    nft::replace_table(namespace, &table, Vec::new())?;
    nft::delete_table(namespace, &table)
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HEncaps => "H.Encaps",
            Self::HEncapsReduced => "H.Encaps.Red",
            Self::HInsert => "H.Insert",
            Self::End => "End",
            Self::EndX => "End.X",
            Self::EndDt6 => "End.DT6",
            Self::EndDx6 => "End.DX6",
            Self::Vrf => "VRF",
            Self::Dummy => "dummy",
            Self::Nftables => "nftables",
            Self::Tun => "TUN",
        })
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.missing {
            None => write!(f, "{}: works", self.feature),
            Some(error) => write!(f, "{}: no ({error}: {})", self.feature, error.source),
        }
    }
}
