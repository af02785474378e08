//! What a laboratory needs of this machine, and what of it is missing, in words a user can act on.

use std::path::Path;
use std::process::{Command, Stdio};

/// Programs and the Debian package that each comes from.
const PROGRAMS: [(&str, &str); 2] = [("nft", "nftables"), ("runc", "runc")];

/// What is missing; empty if a laboratory can run here.
pub fn missing() -> Vec<String> {
    if !rustix::process::geteuid().is_root() {
        return vec![
            "root is needed to make network namespaces and containers: run it with sudo".to_owned(),
        ];
    }
    let mut missing = Vec::new();
    for (program, package) in PROGRAMS {
        let found = Command::new(program)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if found.is_err() {
            missing.push(format!(
                "the program {program} is missing: apt-get install {package}"
            ));
        }
    }
    if !Path::new("/dev/net/tun").exists() {
        missing.push("/dev/net/tun is missing: load the kernel module tun".to_owned());
    }
    if !Path::new("/proc/sys/net/ipv6/conf/all/seg6_enabled").exists() {
        missing.push("this kernel lacks SRv6 (CONFIG_IPV6_SEG6_LWTUNNEL)".to_owned());
    }
    missing
}
