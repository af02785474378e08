//! What happens between fork and exec: a shim enters its control group, a program in a container gives up what it must.
#![allow(
    unsafe_code,
    reason = "code between fork and exec may only make system calls; the compiler cannot check that"
)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use linux::cgroup::Entrance;
use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::process::{Signal, set_parent_process_death_signal, setsid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities, set_no_new_privs,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use seccompiler::BpfProgram;

use crate::bundle::seccomp;

/// No kernel has more capabilities than the bits of its sets.
const CAPABILITIES_MAX: u32 = 63;

/// What a program in a container is and may do.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) capabilities: CapabilitySet,
    pub(crate) filters: [BpfProgram; 2],
}

/// The filters of a container's system calls.
pub(crate) fn filters() -> io::Result<[BpfProgram; 2]> {
    seccomp::filters().map_err(io::Error::other)
}

/// Makes the command's process enter a control group before it becomes its program.
pub(crate) fn in_group(command: &mut Command, entrance: Entrance) {
    // SAFETY: the closure only writes to files that are open already; it allocates nothing and takes no lock.
    unsafe { command.pre_exec(move || entrance.enter()) };
}

/// Makes the command's process what a container's process is.
pub(crate) fn as_child(command: &mut Command, child: Child) {
    let groups: Vec<Gid> = child.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    // SAFETY: the closure only makes system calls on values that were made before; it allocates nothing and takes no lock.
    unsafe { command.pre_exec(move || become_child(&child, &groups)) };
}

fn become_child(child: &Child, groups: &[Gid]) -> io::Result<()> {
    setsid()?;
    drop_bounding(child.capabilities)?;
    set_keep_capabilities(true)?;
    set_thread_groups(groups)?;
    let (uid, gid) = (Uid::from_raw(child.uid), Gid::from_raw(child.gid));
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    // Root regains over exec what its bounding set leaves; another user keeps only ambient capabilities.
    let kept = child.capabilities;
    let lasting = if child.uid == 0 {
        CapabilitySet::empty()
    } else {
        kept
    };
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: lasting,
    };
    set_capabilities(None, sets)?;
    for capability in lasting.iter() {
        configure_capability_in_ambient_set(capability, true)?;
    }
    // After the user has changed, which would clear it.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    set_no_new_privs(true)?;
    for filter in &child.filters {
        seccompiler::apply_filter(filter).map_err(|_| io::Error::from(Errno::INVAL))?;
    }
    Ok(())
}

fn drop_bounding(kept: CapabilitySet) -> io::Result<()> {
    for number in 0..=CAPABILITIES_MAX {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if kept.contains(capability) {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            Err(Errno::INVAL) => break,
            other => other?,
        }
    }
    Ok(())
}
