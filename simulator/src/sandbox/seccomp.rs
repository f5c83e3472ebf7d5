//! The system calls that remain to the plugin.
//!
//! Two filters are stacked, and the kernel takes the stricter answer of both: `answers` gives an error for calls
//! that the runtime makes and can do without, `allowed` ends the process for everything that is not listed.
//!
//! The list was measured with a static-pie Rust executable. No call on it opens or creates anything: what the plugin
//! has at the start, one socket and standard error, is all it ever has. One call on it takes a path: `execveat`, which
//! the process needs once to become the plugin. The filter pins its descriptor and its flags, but it cannot read the
//! path, and with an absolute path the kernel ignores the descriptor. That the plugin cannot run anything else is
//! due to its empty root (the namespaces) and to Landlock, which grants no right to execute.

use super::{Layer, Layers};
use nix::libc;
use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen as Width, SeccompCmpOp as Is, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
compile_error!("the sandbox's list of system calls is that of Linux on x86-64");

/// The descriptor of the sealed executable when it is run. It is closed by running it, so that the plugin has no
/// descriptor that it could run again.
pub const EXECUTABLE_FD: i32 = 3;

/// Allowed with any arguments.
const PLAIN: &[i64] = &[
    // Messages: the socket and standard error, which are all there is.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_poll,
    libc::SYS_close,
    // Memory; with PROT_EXEC excepted, see below.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_mlock,
    libc::SYS_mlockall,
    // The start of the runtime, and its end.
    libc::SYS_arch_prctl,
    libc::SYS_set_tid_address,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_getrandom,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_futex,
    // The runtime names the thread that panics.
    libc::SYS_gettid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Answered with an error by the other filter.
    libc::SYS_openat,
    libc::SYS_readlink,
    libc::SYS_sched_getaffinity,
];

/// Both filters for these layers, in the order in which they are installed.
pub fn filters(layers: &Layers) -> Result<[BpfProgram; 2], Error> {
    Ok([answers(layers)?, allowed()?])
}

fn allowed() -> Result<BpfProgram, Error> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = PLAIN.iter().map(|call| (*call, Vec::new())).collect();
    // No new executable memory: nothing runs but what was measured.
    let not_executable = || condition(2, Is::MaskedEq(exec_bit()), 0);
    rules.insert(libc::SYS_mmap, vec![SeccompRule::new(vec![not_executable()?])?]);
    rules.insert(libc::SYS_mprotect, vec![SeccompRule::new(vec![not_executable()?])?]);
    // The image forbids reading its memory; exec would have undone it, had it been done for it.
    let dumpable = [condition(0, Is::Eq, flag(libc::PR_SET_DUMPABLE))?, condition(1, Is::Eq, 0)?];
    rules.insert(libc::SYS_prctl, vec![SeccompRule::new(dumpable.into())?]);
    // Limits may be read, not set.
    let read_limit = [condition(0, Is::Eq, 0)?, SeccompCondition::new(2, Width::Qword, Is::Eq, 0)?];
    rules.insert(libc::SYS_prlimit64, vec![SeccompRule::new(read_limit.into())?]);
    let run = [condition(0, Is::Eq, flag(EXECUTABLE_FD))?, condition(4, Is::Eq, flag(libc::AT_EMPTY_PATH))?];
    rules.insert(libc::SYS_execveat, vec![SeccompRule::new(run.into())?]);
    let filter =
        SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, TargetArch::x86_64);
    Ok(filter?.try_into()?)
}

fn answers(layers: &Layers) -> Result<BpfProgram, Error> {
    // The last is how Cedar asks for the size of its stack; it goes on without, within the bounds on rules.
    let refused = [libc::SYS_openat, libc::SYS_readlink, libc::SYS_sched_getaffinity];
    let mut refused: Vec<(i64, Vec<SeccompRule>)> = refused.map(|call| (call, Vec::new())).into();
    if !layers.has(Layer::MemoryLock) {
        // Under a low limit, locked memory would make later allocations fail.
        refused.extend([(libc::SYS_mlock, Vec::new()), (libc::SYS_mlockall, Vec::new())]);
    }
    let error = SeccompAction::Errno(libc::EACCES.unsigned_abs());
    let filter =
        SeccompFilter::new(refused.into_iter().collect(), SeccompAction::Allow, error, TargetArch::x86_64);
    Ok(filter?.try_into()?)
}

fn condition(argument: u8, is: Is, value: u64) -> Result<SeccompCondition, Error> {
    Ok(SeccompCondition::new(argument, Width::Dword, is, value)?)
}

fn flag(value: i32) -> u64 {
    u64::from(value.unsigned_abs())
}

fn exec_bit() -> u64 {
    flag(libc::PROT_EXEC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_opens_or_creates_is_allowed() {
        for call in [
            libc::SYS_open,
            libc::SYS_socket,
            libc::SYS_connect,
            libc::SYS_sendmsg,
            libc::SYS_recvmsg,
            libc::SYS_clone,
            libc::SYS_fork,
            libc::SYS_execve,
            libc::SYS_ptrace,
            libc::SYS_clock_gettime,
            libc::SYS_io_uring_setup,
            libc::SYS_memfd_create,
        ] {
            assert!(!PLAIN.contains(&call), "{call}");
        }
        // With those that are allowed only with certain arguments, as the documentation says.
        assert_eq!(PLAIN.len() + 5, 36);
        assert!(filters(&Layers::of(&Layer::ALL)).is_ok());
    }
}
