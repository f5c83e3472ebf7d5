//! What a plugin must not be able to do, one function for each. They call the kernel itself where the C library would add
//! something of its own.

use core::sync::atomic::{AtomicBool, Ordering};
use std::ffi::{CStr, c_long, c_void};
use std::io::Error;
use std::ptr::{null, null_mut};

/// What came of an attempt: nothing stood in its way, or the system's error.
type Came = Result<(), Error>;

/// A name, and what it stands for.
type Attempt = (&'static str, fn() -> Came);

/// Whether it is tried outside, where it must succeed.
pub(crate) static OUTSIDE: AtomicBool = AtomicBool::new(false);

/// Every attempt, by its name.
pub(crate) const ATTEMPTS: &[Attempt] = &[
    ("open-read", || open(c"/proc/self/status", libc::O_RDONLY)),
    ("open-write", open_write),
    ("open-own-memory", || open(c"/proc/self/mem", libc::O_RDWR)),
    ("open-first-process", || open(c"/proc/1/status", libc::O_RDONLY)),
    ("open-old-call", || kernel(libc::SYS_open, [at(c"/proc/self/status"), 0, 0, 0, 0])),
    ("open-new-call", open_new_call),
    ("make-folder", make_folder),
    ("list-folder", || std::fs::read_dir("/proc/self").map(drop)),
    ("read-link", || std::fs::read_link("/proc/self/exe").map(drop)),
    ("change-folder", || kernel(libc::SYS_chdir, [at(c"/"), 0, 0, 0, 0])),
    ("socket-network", || kernel(libc::SYS_socket, [2, 2, 0, 0, 0])),
    ("socket-unix", || kernel(libc::SYS_socket, [1, 1, 0, 0, 0])),
    ("socket-pair", socket_pair),
    ("connect", connect),
    ("send-descriptor", send_descriptor),
    ("duplicate-descriptor", || kernel(libc::SYS_dup, [2, 0, 0, 0, 0])),
    ("pipe", pipe),
    ("trace", || kernel(libc::SYS_ptrace, [libc::PTRACE_TRACEME.into(), 0, 0, 0, 0])),
    ("execute", || execute(libc::SYS_execve, 0)),
    ("execute-at", || execute(libc::SYS_execveat, libc::AT_FDCWD.into())),
    ("execute-as-allowed-once", || execute(libc::SYS_execveat, 3)),
    ("fork", || twice(libc::SYS_fork, [0; 5])),
    ("clone", || twice(libc::SYS_clone, [libc::SIGCHLD.into(), 0, 0, 0, 0])),
    ("clone-new-call", clone_new_call),
    ("thread", || std::thread::Builder::new().spawn(|| {}).map(drop)),
    ("map-code", || map(libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC).map(drop)),
    ("map-code-read-only", || map(libc::PROT_READ | libc::PROT_EXEC).map(drop)),
    ("written-becomes-code", written_becomes_code),
    ("code-becomes-writable", code_becomes_writable),
    ("protect-with-key", protect_with_key),
    ("read-implies-execute", || kernel(libc::SYS_personality, [0x0040_0000, 0, 0, 0, 0])),
    ("shared-memory", shared_memory),
    ("read-other-memory", || other_memory(libc::SYS_process_vm_readv)),
    ("write-other-memory", || other_memory(libc::SYS_process_vm_writev)),
    ("memory-file", || kernel(libc::SYS_memfd_create, [at(c"hostile"), 0, 0, 0, 0])),
    ("unlock-memory", || kernel(libc::SYS_munlockall, [0; 5])),
    ("io-ring", io_ring),
    ("kernel-program", kernel_program),
    ("page-faults", || kernel(libc::SYS_userfaultfd, [1, 0, 0, 0, 0])),
    ("keyring", || kernel(libc::SYS_keyctl, [0, -3, 1, 0, 0])),
    ("performance-counters", performance_counters),
    ("allow-core-dumps", allow_core_dumps),
    ("allow-dumps-and-readers", || kernel(libc::SYS_prctl, [libc::PR_SET_DUMPABLE.into(), 1, 0, 0, 0])),
    ("allow-time-stamp-counter", || kernel(libc::SYS_prctl, [libc::PR_SET_TSC.into(), 1, 0, 0, 0])),
    ("rename-process", || kernel(libc::SYS_prctl, [libc::PR_SET_NAME.into(), at(c"hostile"), 0, 0, 0])),
    ("clock", || kernel(libc::SYS_clock_gettime, [0, at_mut(&mut [0_u64; 2]), 0, 0, 0])),
    ("clock-without-call", clock_without_call),
    ("time-stamp-counter", time_stamp_counter),
    ("sleep", || kernel(libc::SYS_nanosleep, [at_mut(&mut [0_u64; 2]), 0, 0, 0, 0])),
    ("signal-itself", || kernel(libc::SYS_kill, [std::process::id().into(), 0, 0, 0, 0])),
    ("signal-all", || kernel(libc::SYS_kill, [-1, 0, 0, 0, 0])),
    ("handle-of-process", || kernel(libc::SYS_pidfd_open, [std::process::id().into(), 0, 0, 0, 0])),
    ("new-namespaces", || kernel(libc::SYS_unshare, [libc::CLONE_NEWUSER.into(), 0, 0, 0, 0])),
    ("become-somebody", || kernel(libc::SYS_setuid, [effective_user(), 0, 0, 0, 0])),
    ("old-calls", old_calls),
];

/// Tries one thing, and says what came of it.
pub(crate) fn attempt(name: &str) -> String {
    let Some((_, attempt)) = ATTEMPTS.iter().find(|(known, _)| *known == name) else {
        return "unknown".to_owned();
    };
    match attempt() {
        Ok(()) => "done".to_owned(),
        Err(error) => format!("error {}", error.raw_os_error().unwrap_or(0)),
    }
}

fn at(text: &'static CStr) -> c_long {
    text.as_ptr().expose_provenance().cast_signed() as c_long
}

fn at_mut<T>(place: &mut T) -> c_long {
    std::ptr::from_mut(place).expose_provenance().cast_signed() as c_long
}

/// A call of the kernel.
fn kernel(number: c_long, arguments: [c_long; 5]) -> Came {
    let [first, second, third, fourth, fifth] = arguments;
    // SAFETY: each caller passes what the call takes; whatever it points to outlives the call.
    let answer = unsafe { libc::syscall(number, first, second, third, fourth, fifth, 0) };
    if answer == -1 { Err(Error::last_os_error()) } else { Ok(()) }
}

fn open(path: &'static CStr, flags: i32) -> Came {
    kernel(libc::SYS_openat, [libc::AT_FDCWD.into(), at(path), flags.into(), 0o600, 0])
}

fn open_write() -> Came {
    open(c"/tmp/countersign-hostile-file", libc::O_CREAT | libc::O_WRONLY)?;
    kernel(libc::SYS_unlink, [at(c"/tmp/countersign-hostile-file"), 0, 0, 0, 0])
}

fn open_new_call() -> Came {
    let mut how = [0_u64; 3];
    kernel(libc::SYS_openat2, [libc::AT_FDCWD.into(), at(c"/proc/self/status"), at_mut(&mut how), 24, 0])
}

fn make_folder() -> Came {
    match kernel(libc::SYS_mkdir, [at(c"/tmp/countersign-hostile"), 0o700, 0, 0, 0]) {
        // One that was ended in between left it.
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
        made => made?,
    }
    kernel(libc::SYS_rmdir, [at(c"/tmp/countersign-hostile"), 0, 0, 0, 0])
}

fn socket_pair() -> Came {
    kernel(libc::SYS_socketpair, [1, 1, 0, at_mut(&mut [0_i32; 2]), 0])
}

fn pipe() -> Came {
    kernel(libc::SYS_pipe2, [at_mut(&mut [0_i32; 2]), 0, 0, 0, 0])
}

/// The socket that the attempt is made on: inside, the one to the firmware, since it can make none; outside, a new one.
fn socket(family: c_long, kind: c_long) -> c_long {
    if !OUTSIDE.load(Ordering::Relaxed) {
        return 0;
    }
    // SAFETY: no pointer is passed.
    unsafe { libc::syscall(libc::SYS_socket, family, kind, 0) }
}

fn connect() -> Came {
    // AF_UNSPEC dissolves an association: it always succeeds on a datagram socket.
    let mut address = [0_u8; 16];
    kernel(libc::SYS_connect, [socket(2, 2), at_mut(&mut address), 16, 0, 0])
}

/// A message with room for descriptors, which is how one process gives another what it has opened.
fn send_descriptor() -> Came {
    let (mut text, mut address) = (*b"x", [0_u8; 16]);
    // Outside: a datagram to port 9 of this machine, where nobody listens.
    (address[0], address[3], address[4], address[7]) = (2, 9, 127, 1);
    let mut part = libc::iovec { iov_base: text.as_mut_ptr().cast(), iov_len: 1 };
    // SAFETY: all zero is an empty message.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
    (message.msg_name, message.msg_namelen) = (address.as_mut_ptr().cast(), 16);
    kernel(libc::SYS_sendmsg, [socket(2, 2), at_mut(&mut message), 0, 0, 0])
}

/// Becomes this program once more, which says `done`.
fn execute(call: c_long, folder: c_long) -> Came {
    let path = at(c"/proc/self/exe");
    let mut arguments = [c"countersign-hostile".as_ptr(), c"ran".as_ptr(), null()];
    let mut variables = [null::<c_void>()];
    let (arguments, variables) = (at_mut(&mut arguments), at_mut(&mut variables));
    match call {
        libc::SYS_execve => kernel(call, [path, arguments, variables, 0, 0]),
        // The path is absolute, so that the kernel ignores the folder.
        _ => kernel(call, [folder, path, arguments, variables, libc::AT_EMPTY_PATH.into()]),
    }
}

/// A call that returns twice. The child has nothing more to do.
fn twice(call: c_long, arguments: [c_long; 5]) -> Came {
    let parent = if OUTSIDE.load(Ordering::Relaxed) { std::process::id() } else { 0 };
    kernel(call, arguments)?;
    if parent != 0 && std::process::id() != parent {
        // SAFETY: it ends this process at once, and runs nothing of its parent's.
        unsafe { libc::_exit(0) };
    }
    Ok(())
}

fn clone_new_call() -> Came {
    // struct clone_args, its first version: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls.
    let mut arguments = [0_u64; 8];
    arguments[4] = 17;
    twice(libc::SYS_clone3, [at_mut(&mut arguments), 64, 0, 0, 0])
}

fn map(access: i32) -> Result<*mut c_void, Error> {
    // SAFETY: new memory of its own harms nobody.
    let mapped =
        unsafe { libc::mmap(null_mut(), 4096, access, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0) };
    if mapped == libc::MAP_FAILED { Err(Error::last_os_error()) } else { Ok(mapped) }
}

fn protect(memory: *mut c_void, access: i32) -> Came {
    // SAFETY: one page; nothing is kept there that anybody uses, or it becomes only more accessible.
    if unsafe { libc::mprotect(memory, 4096, access) } == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}

fn written_becomes_code() -> Came {
    let memory = map(libc::PROT_READ | libc::PROT_WRITE)?;
    // SAFETY: a page of its own that can be written; the instruction is `ret`.
    unsafe { memory.cast::<u8>().write(0xc3) };
    protect(memory, libc::PROT_READ | libc::PROT_EXEC)?;
    // SAFETY: the page holds a function that takes nothing and returns at once.
    unsafe { std::mem::transmute::<*mut c_void, extern "C" fn()>(memory)() };
    Ok(())
}

fn code_becomes_writable() -> Came {
    let code = (code_becomes_writable as fn() -> Came as *mut c_void).map_addr(|address| address & !4095);
    protect(code, libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC)
}

fn shared_memory() -> Came {
    // SAFETY: no pointer is passed. IPC_PRIVATE; IPC_CREAT and rw for its owner.
    let id = unsafe { libc::syscall(libc::SYS_shmget, 0, 4096, 0o1600) };
    if id == -1 { Err(Error::last_os_error()) } else { kernel(libc::SYS_shmctl, [id, 0, 0, 0, 0]) }
}

fn protect_with_key() -> Came {
    let memory = map(libc::PROT_READ | libc::PROT_WRITE)?;
    let access = libc::PROT_READ | libc::PROT_EXEC;
    let memory = memory.expose_provenance().cast_signed() as c_long;
    // Key -1 is none: it is mprotect by another name.
    kernel(libc::SYS_pkey_mprotect, [memory, 4096, access.into(), -1, 0])
}

fn other_memory(call: c_long) -> Came {
    let (mut here, mut there) = ([0_u8; 8], [7_u8; 8]);
    let mut parts =
        [here.as_mut_ptr(), there.as_mut_ptr()].map(|base| libc::iovec { iov_base: base.cast(), iov_len: 8 });
    let [own, others] = &mut parts;
    let (own, others) = (at_mut(own), at_mut(others));
    kernel(call, [std::process::id().into(), own, 1, others, 1])
}

fn io_ring() -> Came {
    let mut parameters = [0_u64; 15];
    kernel(libc::SYS_io_uring_setup, [1, at_mut(&mut parameters), 0, 0, 0])
}

fn kernel_program() -> Came {
    // BPF_MAP_CREATE: an array of one entry of four bytes.
    let mut attributes = [2_u32, 4, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    kernel(libc::SYS_bpf, [0, at_mut(&mut attributes), 48, 0, 0])
}

fn performance_counters() -> Came {
    // struct perf_event_attr: a software event (page faults) of this process, in user mode alone.
    let mut attributes = [0_u64; 16];
    attributes[0] = 1 | 128 << 32;
    attributes[1] = 2;
    attributes[5] = 0b110_0000;
    kernel(libc::SYS_perf_event_open, [at_mut(&mut attributes), 0, -1, -1, 0])
}

fn allow_core_dumps() -> Came {
    // Outside the limit may be lowered to what it is; inside it may not be set at all.
    let mut limit = [0_u64; 2];
    kernel(libc::SYS_prlimit64, [0, libc::RLIMIT_CORE.into(), 0, at_mut(&mut limit), 0])?;
    kernel(libc::SYS_prlimit64, [0, libc::RLIMIT_CORE.into(), at_mut(&mut limit), 0, 0])
}

/// By the vDSO, which reads the clock without a call of the kernel.
fn clock_without_call() -> Came {
    let time = std::time::Instant::now();
    if std::hint::black_box(time) >= time { Ok(()) } else { Err(Error::from_raw_os_error(libc::ERANGE)) }
}

fn time_stamp_counter() -> Came {
    // SAFETY: the counter may always be read, where the kernel does not forbid it.
    let count = unsafe { std::arch::x86_64::_rdtsc() };
    if std::hint::black_box(count) > 0 { Ok(()) } else { Err(Error::from_raw_os_error(libc::ERANGE)) }
}

fn effective_user() -> c_long {
    // SAFETY: no pointer is passed.
    unsafe { libc::syscall(libc::SYS_geteuid) }
}

/// The calls of 32-bit programs, which have numbers of their own: a filter that looked at numbers alone would take them
/// for others.
fn old_calls() -> Came {
    let answer: i64;
    // SAFETY: call 20 of that table is getpid, which takes nothing and changes nothing; the kernel keeps all registers but
    // the answer's.
    unsafe {
        std::arch::asm!("int 0x80", inlateout("rax") 20_i64 => answer, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    if answer > 0 { Ok(()) } else { Err(Error::from_raw_os_error(i32::try_from(-answer).unwrap_or(0))) }
}
