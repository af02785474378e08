//! The objects of these tests as a user, or the block they belong to, would apply them.

use adapter_sim::SimNetwork;
use api::{interface_name, service_address};
use serde_json::{Value, json};

pub const TENANT: &str = "default";
const VERSION: &str = "groma.dev/v1alpha1";
const PREFIX: &str = "fd00:beef:0:1::/64";
/// Workloads with one interface; the others are functions.
const ENDS: [&str; 1] = ["app"];

pub fn domain() -> Value {
    json!({
        "apiVersion": VERSION, "kind": "NetworkDomain", "metadata": {"name": "core"},
        "spec": {
            "kind": "dataCentre", "controller": "hosts", "mtu": 1500, "locators": "fd00:a::/32",
            "tenantPrefixes": ["fd00:beef::/32"],
        },
    })
}

/// A host that its agent has filled in and that can be seen.
pub fn host(name: &str, site: &str, number: u8, users: bool) -> Value {
    let port = json!({"name": "users", "interface": "users0", "prefix": format!("2001:db8:{number}::/64")});
    let ports = if users { vec![port] } else { Vec::new() };
    json!({
        "apiVersion": VERSION, "kind": "Host", "metadata": {"name": name},
        "spec": {
            "site": site, "domain": "core", "locator": format!("fd00:a:{number}::/48"), "accessPorts": ports,
        },
        "status": {
            "datapath": ["H.Encaps", "End.DT6", "nftables"],
            "conditions": [said("Ready")],
        },
    })
}

pub fn network() -> Value {
    json!({
        "apiVersion": VERSION, "kind": "Network", "metadata": {"name": "net", "namespace": TENANT},
        "spec": {"prefix": PREFIX, "domain": "core"},
    })
}

/// An available instance of the workload that its name begins with.
pub fn instance(name: &str, host: &str) -> Value {
    let (workload, _) = name.rsplit_once('-').expect("workload-number");
    let interfaces = match ENDS.contains(&workload) {
        true => json!([{"name": "eth0", "role": "end", "address": address(workload)}]),
        false => json!([{"name": "left", "role": "left"}, {"name": "right", "role": "right"}]),
    };
    json!({
        "apiVersion": VERSION, "kind": "Instance", "metadata": {"name": name, "namespace": TENANT},
        "spec": {
            "host": host, "workload": workload, "interfaces": interfaces, "serving": "active",
            "artefact": {"form": "container", "image": "layout:anything"}, "resources": {"cpu": "100m"},
        },
        "status": {"conditions": [said("Available"), said("Ready")]},
    })
}

pub fn chain(functions: &[&str]) -> Value {
    json!({
        "apiVersion": VERSION, "kind": "ServiceFunctionChain", "metadata": {"name": "web", "namespace": TENANT},
        "spec": {
            "network": "net", "from": {"users": {"sites": ["west"]}}, "to": "app", "functions": functions,
            "classifier": [{"protocol": "tcp", "port": 80}],
        },
    })
}

/// A plan as the control plane would make it, whose steering leads to `segment`.
pub fn datapath(host: &str, segment: &str) -> Value {
    let interface = interface_name(TENANT, "fw-0", "left");
    json!({
        "apiVersion": VERSION, "kind": "HostDatapath", "metadata": {"name": host},
        "spec": {
            "locator": "fd00:a:1::/48", "mtu": 1500,
            "attachments": [{"interface": interface, "of": format!("{TENANT}/fw-0/left")}],
            "userPorts": [{"interface": "users0", "prefix": "2001:db8:1::/64"}],
            "sids": [{
                "sid": "fd00:a:1::5:1", "target": {"attachment": {"interface": interface}},
                "chain": "default/web", "direction": "forward",
            }],
            "steering": [{
                "interface": "users0", "matching": {"destination": "fd00:beef::1/128"}, "segments": [segment],
                "chain": "default/web", "direction": "forward",
            }],
        },
    })
}

pub fn address(workload: &str) -> std::net::Ipv6Addr {
    service_address(PREFIX.parse().expect("a prefix"), TENANT, workload)
}

/// Gives the routers the interfaces of every instance and port that the tests name.
pub fn with_interfaces(network: SimNetwork) -> SimNetwork {
    for host in ["w1", "m1", "m2"] {
        let router = network.router(host);
        router.add_interface("users0");
        for (instance, interface) in [
            ("app-0", "eth0"),
            ("fw-0", "left"),
            ("fw-0", "right"),
            ("fw-1", "left"),
            ("fw-1", "right"),
        ] {
            router.add_interface(&interface_name(TENANT, instance, interface));
        }
    }
    network
}

/// A condition that another block wrote.
fn said(type_: &str) -> Value {
    json!({
        "type": type_, "status": "True", "reason": "Said", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    })
}
