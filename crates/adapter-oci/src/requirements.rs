//! What a machine lacks to run containers, in words that say what to do.

use linux::cgroup::{Hierarchies, Version};

use crate::machine::runtime;

/// The runtime program of Debian.
const RUNTIME_PROGRAM: &str = "runc";

/// The controllers without which limits mean nothing.
const CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];

/// What is missing on this machine, one sentence each; nothing if containers can run.
pub fn requirements() -> Vec<String> {
    let mut missing = Vec::new();
    if !rustix::process::geteuid().is_root() {
        missing.push("running containers needs root: start again with sudo".to_owned());
    }
    if runtime(RUNTIME_PROGRAM).is_none() {
        missing.push(format!(
            "the program {RUNTIME_PROGRAM} is missing: apt-get install {RUNTIME_PROGRAM}"
        ));
    }
    match Hierarchies::detect() {
        Err(error) => missing.push(api::chain(&error)),
        Ok(hierarchies) => missing.extend(lacking(&hierarchies)),
    }
    missing
}

fn lacking(hierarchies: &Hierarchies) -> Vec<String> {
    let controllers = std::fs::read_to_string(hierarchies.file("", "", "cgroup.controllers"));
    let controllers = controllers.unwrap_or_default();
    let there = |name: &str| match hierarchies.version() {
        Version::V1 => hierarchies.file(name, "", "cgroup.procs").exists(),
        Version::V2 => controllers.split_whitespace().any(|one| one == name),
    };
    let lacking = CONTROLLERS.iter().filter(|name| !there(name));
    lacking
        .map(|name| {
            format!("the control group controller {name} is missing: enable it in the kernel")
        })
        .collect()
}
