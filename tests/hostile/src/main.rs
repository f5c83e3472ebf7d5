//! A plugin that tries to get out of its sandbox. For tests alone.
//!
//! It is packed as an image and run by a real HSM that was initialised for it. Where the real plugin serves requests, it
//! takes the name of an [`attempts::ATTEMPTS`] as a request, tries it, and says what came of it: `done`, or the error's
//! number. Most attempts end the process, and then nothing is said.
//!
//! Started as `countersign-hostile try NAME` it tries the same outside, where it must succeed: otherwise the sandbox would
//! have no part in its failing.

#![allow(unsafe_code, reason = "it does what safe code cannot, to see that it is not let")]

mod attempts;

use countersign_wire::frame::{self, HAL_MAX_BYTES, HEADER_BYTES};
use countersign_wire::hal::{Delivery, Event, Output, Started, WritableMemory};
use countersign_wire::{decode_packed, encode_packed};
use std::io::Read;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["try", name] => {
            attempts::OUTSIDE.store(true, std::sync::atomic::Ordering::Relaxed);
            println!("{}", attempts::attempt(name));
            ExitCode::SUCCESS
        }
        ["list"] => {
            for (name, _) in attempts::ATTEMPTS {
                println!("{name}");
            }
            ExitCode::SUCCESS
        }
        // What an attempt that runs a program becomes.
        ["ran"] => {
            println!("done");
            ExitCode::SUCCESS
        }
        _ => serve(),
    }
}

/// Behaves as a plugin as far as it takes to be given requests.
fn serve() -> ExitCode {
    lock_memory();
    send(&Started {});
    let Some(WritableMemory { .. }) = receive() else { return ExitCode::FAILURE };
    while let Some(Delivery { event, .. }) = receive() {
        match event {
            Event::Boot(_) => send(&Output::Ready),
            Event::Request { ticket, payload } => {
                let name = String::from_utf8_lossy(&payload).into_owned();
                let payload = attempts::attempt(&name).into_bytes().into();
                send(&Output::Reply { ticket, payload });
            }
            Event::Done { .. } => {}
        }
    }
    ExitCode::SUCCESS
}

/// As the real plugin does, or the firmware would not let it serve.
fn lock_memory() {
    // SAFETY: both change only how the kernel treats this process.
    unsafe {
        libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE);
        libc::prctl(libc::PR_SET_DUMPABLE, 0);
    }
}

fn send<T: serde::Serialize>(message: &T) {
    let mut framed = Vec::new();
    frame::append(&mut framed, &encode_packed(message));
    let mut sent = 0;
    while sent < framed.len() {
        let rest = &framed[sent..];
        // SAFETY: pointer and length are those of a slice that lives.
        let written = unsafe { libc::write(0, rest.as_ptr().cast(), rest.len()) };
        sent += usize::try_from(written).expect("the firmware reads");
    }
}

fn receive<T: serde::de::DeserializeOwned>() -> Option<T> {
    let mut header = [0; HEADER_BYTES];
    std::io::stdin().read_exact(&mut header).ok()?;
    let mut payload = vec![0; frame::payload_length(header, HAL_MAX_BYTES).ok()?];
    std::io::stdin().read_exact(&mut payload).ok()?;
    decode_packed(&payload).ok()
}
