//! A small datapath for the tests of this crate: a user port with classified traffic and one side of a function.

use api::tcm::{
    Attachment, Classifier, Direction, HostDatapathSpec, LocalSid, SidTarget, Steering,
    TrafficMatch, UserPort,
};
use api::wdm::Protocol;

pub(crate) fn datapath() -> HostDatapathSpec {
    let class = Classifier {
        protocol: Protocol::Tcp,
        port: 80,
    };
    HostDatapathSpec {
        locator: "fcff:1::/48".parse().expect("an address of the tests"),
        mtu: 1500,
        attachments: vec![Attachment {
            interface: "gleft".to_owned(),
            of: "default/firewall-0/left".to_owned(),
        }],
        user_ports: vec![UserPort {
            interface: "access".to_owned(),
            prefix: "fd01:0:0:1::/64".parse().expect("an address of the tests"),
        }],
        sids: vec![
            sid(
                "fcff:1::1",
                SidTarget::Attachment {
                    interface: "gleft".to_owned(),
                },
            ),
            sid(
                "fcff:1::2",
                SidTarget::UserPort {
                    interface: "access".to_owned(),
                },
            ),
        ],
        steering: vec![
            steering("access", "fd01:0:0:2::20/128", "fcff:1::1", vec![class]),
            steering("gleft", "fd01:0:0:1::/64", "fcff:1::2", Vec::new()),
        ],
    }
}

fn sid(sid: &str, target: SidTarget) -> LocalSid {
    LocalSid {
        sid: sid.parse().expect("an address of the tests"),
        target,
        chain: "default/web".to_owned(),
        direction: Direction::Forward,
    }
}

fn steering(interface: &str, destination: &str, by: &str, classifier: Vec<Classifier>) -> Steering {
    Steering {
        interface: interface.to_owned(),
        matching: TrafficMatch {
            destination: destination.parse().expect("an address of the tests"),
            classifier,
        },
        segments: vec![by.parse().expect("an address of the tests")],
        chain: "default/web".to_owned(),
        direction: Direction::Forward,
    }
}
