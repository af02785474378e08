//! The system calls that a container may make: an allow list, in the form of the runtime program and as a filter of our own.
//!
//! The first is for the container's own process, the second for programs that [`crate::shim`] runs in it. Both are made
//! from the same names. What is not listed fails with `EPERM`; `clone3` fails with `ENOSYS`, because its flags lie in memory
//! that a filter cannot read, so that programs fall back to `clone`, which may make no namespaces.

use std::collections::HashMap;

use seccompiler::{BpfProgram, TargetArch, compile_from_json};
use serde_json::{Value, json};

/// All `CLONE_NEW*` flags: `clone` may be called with none of them.
const NAMESPACE_FLAGS: u64 = 0x7e02_0000;

/// `AF_VSOCK` would reach the hypervisor past every network rule. Only the families below it are allowed: the kernel takes
/// an `int` and ignores the upper half of the register, in which anything would pass a comparison for "another one". Those
/// above it are nothing that a container needs.
const AF_VSOCK: u64 = 40;

/// Calls of every architecture.
const COMMON: &str = "
accept accept4 bind brk capget capset chdir clock_getres clock_gettime clock_nanosleep close close_range connect copy_file_range
dup dup3 epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 eventfd2 execve execveat exit exit_group faccessat faccessat2
fadvise64 fallocate fchdir fchmod fchmodat fchown fchownat fcntl fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr
fstat fstatfs fsync ftruncate futex futex_waitv getcpu getcwd getdents64 getegid geteuid getgid getgroups getitimer
getpeername getpgid getpid getppid getpriority getrandom getresgid getresuid getrlimit get_robust_list getrusage getsid
getsockname getsockopt gettid gettimeofday getuid getxattr inotify_add_watch inotify_init1 inotify_rm_watch io_cancel ioctl
io_destroy io_getevents io_pgetevents ioprio_get ioprio_set io_setup io_submit kill landlock_add_rule landlock_create_ruleset
landlock_restrict_self lgetxattr linkat listen listxattr llistxattr lremovexattr lseek lsetxattr madvise membarrier
memfd_create memfd_secret mincore mkdirat mlock mlock2 mlockall mmap mprotect mq_getsetattr mq_notify mq_open
mq_timedreceive mq_timedsend mq_unlink mremap msgctl msgget msgrcv msgsnd msync munlock munlockall munmap nanosleep
newfstatat openat openat2 pidfd_open pidfd_send_signal pipe2 ppoll prctl pread64 preadv preadv2 prlimit64 process_mrelease
pselect6 pwrite64 pwritev pwritev2 read readahead readlinkat readv recvfrom recvmmsg recvmsg remap_file_pages removexattr
renameat renameat2 restart_syscall rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
rt_sigtimedwait rt_tgsigqueueinfo sched_getaffinity sched_getattr sched_getparam sched_get_priority_max
sched_get_priority_min sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam
sched_setscheduler sched_yield seccomp semctl semget semop semtimedop sendfile sendmmsg sendmsg sendto setfsgid setfsuid
setgid setgroups setitimer setpgid setpriority setregid setresgid setresuid setreuid setrlimit set_robust_list setsid
setsockopt set_tid_address setuid setxattr shmat shmctl shmdt shmget shutdown sigaltstack signalfd4 socketpair splice statfs
statx symlinkat sync sync_file_range syncfs sysinfo tee tgkill timer_create timer_delete timer_getoverrun timer_gettime
timer_settime timerfd_create timerfd_gettime timerfd_settime times tkill truncate umask uname unlinkat utimensat vmsplice
wait4 waitid write writev";

/// Older calls that only x86-64 has.
#[cfg(target_arch = "x86_64")]
const OF_ARCHITECTURE: &str = "
access alarm arch_prctl chmod chown creat dup2 epoll_create epoll_wait eventfd fork futimesat getdents getpgrp inotify_init
lchown link lstat mkdir open pause pipe poll readlink rename rmdir select signalfd stat symlink time unlink utime utimes
vfork";

/// Other architectures have no older calls.
#[cfg(not(target_arch = "x86_64"))]
const OF_ARCHITECTURE: &str = "";

fn allowed() -> Vec<&'static str> {
    let names = COMMON
        .split_whitespace()
        .chain(OF_ARCHITECTURE.split_whitespace());
    names.collect()
}

/// As `linux.seccomp` of `config.json` writes it.
pub(crate) fn oci() -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": libc_number(rustix::io::Errno::PERM),
        "architectures": architectures(),
        "syscalls": [
            {"names": allowed(), "action": "SCMP_ACT_ALLOW"},
            {
                "names": ["clone"],
                "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 0, "value": NAMESPACE_FLAGS, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}],
            },
            {
                "names": ["socket"],
                "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 0, "value": AF_VSOCK, "op": "SCMP_CMP_LT"}],
            },
            {
                "names": ["clone3"],
                "action": "SCMP_ACT_ERRNO",
                "errnoRet": libc_number(rustix::io::Errno::NOSYS),
            },
        ],
    })
}

#[cfg(target_arch = "x86_64")]
fn architectures() -> [&'static str; 1] {
    ["SCMP_ARCH_X86_64"]
}

#[cfg(target_arch = "aarch64")]
fn architectures() -> [&'static str; 1] {
    ["SCMP_ARCH_AARCH64"]
}

/// Filters of the same meaning, to be loaded in this order.
pub(crate) fn filters() -> Result<[BpfProgram; 2], seccompiler::Error> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let mut calls: Vec<Value> = allowed()
        .iter()
        .map(|name| json!({"syscall": name}))
        .collect();
    calls.push(json!({"syscall": "clone", "args": [
        {"index": 0, "type": "qword", "op": {"masked_eq": NAMESPACE_FLAGS}, "val": 0},
    ]}));
    calls.push(json!({"syscall": "socket", "args": [
        {"index": 0, "type": "dword", "op": "lt", "val": AF_VSOCK},
    ]}));
    // Refused by the second filter; the first must not get there before it with another errno.
    calls.push(json!({"syscall": "clone3"}));
    let text = json!({
        "allow": {
            "mismatch_action": {"errno": libc_number(rustix::io::Errno::PERM)},
            "match_action": "allow",
            "filter": calls,
        },
        "refuse": {
            "mismatch_action": "allow",
            "match_action": {"errno": libc_number(rustix::io::Errno::NOSYS)},
            "filter": [{"syscall": "clone3"}],
        },
    });
    let mut compiled: HashMap<String, BpfProgram> =
        compile_from_json(text.to_string().as_bytes(), architecture)?;
    let mut take = |name: &str| compiled.remove(name).unwrap_or_default();
    Ok([take("allow"), take("refuse")])
}

fn libc_number(errno: rustix::io::Errno) -> u32 {
    errno.raw_os_error().unsigned_abs()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_is_a_call_of_this_architecture() {
        let [allow, refuse] = filters().expect("every name is known");
        assert!(allow.len() > allowed().len() && !refuse.is_empty());
    }

    #[test]
    fn what_leads_out_of_a_container_is_not_listed() {
        let listed: BTreeSet<&str> = allowed().into_iter().collect();
        for call in [
            "mount",
            "umount2",
            "pivot_root",
            "chroot",
            "setns",
            "unshare",
            "clone",
            "clone3",
            "bpf",
            "ptrace",
            "init_module",
            "finit_module",
            "kexec_load",
            "reboot",
            "swapon",
            "keyctl",
            "add_key",
            "mknod",
            "mknodat",
            "open_by_handle_at",
            "perf_event_open",
            "userfaultfd",
            "process_vm_writev",
            "settimeofday",
            "io_uring_setup",
            "socket",
        ] {
            assert!(!listed.contains(call), "{call}");
        }
        assert_eq!(listed.len(), allowed().len(), "no name twice");
    }
}
