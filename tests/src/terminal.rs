//! A program at a terminal of its own, and the person who types there.

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::termios::{LocalFlags, tcgetattr};
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Longer than anything takes; what takes longer hangs.
const PATIENCE: Duration = Duration::from_mins(1);

/// A program and its terminal. Dropping it kills the program.
pub struct Terminal {
    master: PtyMaster,
    child: Child,
    seen: String,
}

impl Terminal {
    /// Starts `program` with the terminal as its controlling one. `set_up` adds arguments and variables.
    pub fn start(program: &str, set_up: impl FnOnce(&mut Command)) -> Self {
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).expect("a terminal");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("its other end can be opened");
        let name = ptsname_r(&master).expect("its other end has a name");
        let mut open = OpenOptions::new();
        open.read(true).write(true).custom_flags(OFlag::O_NOCTTY.bits());
        let end = || open.open(&name).expect("its other end can be opened");
        let mut command = Command::new("setsid");
        command.args(["--ctty", program]).stdin(end()).stdout(end()).stderr(end());
        set_up(&mut command);
        let child = command.spawn().expect("setsid (util-linux) can be started");
        // `command` holds the other end open; without it the terminal hangs up when the program ends.
        drop(command);
        Self { master, child, seen: String::new() }
    }

    /// Waits until the program asks for something, and types the answer.
    pub fn answer(&mut self, prompt: &str, answer: &str) {
        self.wait_for(prompt);
        self.master.write_all(format!("{answer}\n").as_bytes()).expect("it can be typed to");
    }

    /// Waits until the program asks for something without showing what is typed, and types the answer.
    pub fn answer_secretly(&mut self, prompt: &str, answer: &str) {
        self.wait_for(prompt);
        let started = Instant::now();
        // The prompt comes first and the echo is switched off next, which also drops what was typed too early.
        while self.echoes() {
            assert!(started.elapsed() < PATIENCE, "what is typed at {prompt:?} would be shown");
            std::thread::yield_now();
        }
        self.master.write_all(format!("{answer}\n").as_bytes()).expect("it can be typed to");
    }

    /// Reads to the end: whether the program succeeded, and all that the terminal showed.
    pub fn end(mut self) -> (bool, String) {
        while self.read_some() {}
        let status = self.child.wait().expect("the program can be waited for");
        (status.success(), std::mem::take(&mut self.seen))
    }

    fn wait_for(&mut self, prompt: &str) {
        let from = self.seen.len();
        while !self.seen[from..].contains(prompt) {
            assert!(self.read_some(), "it ended without asking for {prompt:?}: {}", self.seen);
        }
    }

    fn echoes(&self) -> bool {
        tcgetattr(&self.master).expect("a terminal has attributes").local_flags.contains(LocalFlags::ECHO)
    }

    /// Waits for more; `false` at the end.
    fn read_some(&mut self) -> bool {
        let patience = PollTimeout::try_from(PATIENCE).expect("a minute fits");
        let ready = poll(&mut [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)], patience);
        assert_ne!(ready, Ok(0), "it neither asks nor ends: {}", self.seen);
        let mut bytes = [0; 1024];
        // At the end reading fails with EIO, since nobody has the other end any more.
        let read = self.master.read(&mut bytes).unwrap_or(0);
        self.seen.push_str(&String::from_utf8_lossy(&bytes[..read]));
        read > 0
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
