//! The executable that is frozen: the plugin behind one inherited socket, and nothing else.
//!
//! Standard input is the plugin's end of a socket pair to the firmware; frames and messages are those of
//! `countersign_wire::hal`. The loop reads what has arrived, lets the plugin work until nothing can go on, and writes
//! what it has to say. There is no other input and no other output. Before it learns anything secret it locks all memory
//! that it can write to and makes itself undumpable, which an `exec` takes away from what the launcher had set.

#![forbid(unsafe_code)]

use countersign_plugin::machine::Plugin;
use countersign_wire::frame::{self, HAL_MAX_BYTES, HEADER_BYTES};
use countersign_wire::hal::{Delivery, Output, Started, WritableMemory};
use countersign_wire::{decode_packed, encode_packed};
use rustix::io::Errno;
use rustix::mm::MlockAllFlags;
use rustix::net::RecvFlags;
use rustix::process::DumpableBehavior;
use std::process::ExitCode;
use zeroize::Zeroize;

/// Read at once, in bytes.
const READ_BYTES: usize = 64 * 1024;

/// Exit code when the plugin halted by itself, as opposed to being killed. The firmware knows from [`Output::Halt`].
const HALTED: u8 = 1;

fn main() -> ExitCode {
    if harden().is_err() {
        return ExitCode::from(HALTED);
    }
    let mut plugin = Plugin::new();
    let mut arrived = Vec::with_capacity(READ_BYTES);
    let mut chunk = vec![0; READ_BYTES];
    let mut sending = Vec::with_capacity(READ_BYTES);
    loop {
        // Before anything is waited for: the first deliveries may have arrived together with the message before them.
        if deliver_all(&mut plugin, &mut arrived).is_err() {
            // The firmware is inside the boundary: bytes that are no delivery mean that something is broken.
            return ExitCode::from(HALTED);
        }
        let halted = encode_all(plugin.step(), &mut sending);
        let sent = send(&sending);
        // Only what was used: wiping the whole room each time took a seventh of the plugin's time.
        sending.as_mut_slice().zeroize();
        sending.clear();
        if halted && sent.is_ok() {
            wait_until_it_was_heard(&mut chunk);
        }
        if halted || sent.is_err() {
            return ExitCode::from(HALTED);
        }
        // While there is more to do, only a look at what came meanwhile.
        let wait = if plugin.has_more() { RecvFlags::DONTWAIT } else { RecvFlags::empty() };
        let count = match rustix::net::recv(rustix::stdio::stdin(), chunk.as_mut_slice(), wait) {
            Ok((0, _)) => return ExitCode::SUCCESS,
            Ok((count, _)) => count,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(_) => return ExitCode::from(HALTED),
        };
        arrived.extend_from_slice(&chunk[..count]);
        chunk[..count].zeroize();
    }
}

/// Waits until the firmware closes its end, which it does when it has heard that the plugin halts. In a virtual machine the plugin is
/// the first process: the machine ends with it at once, and with the machine what is still on its way out.
fn wait_until_it_was_heard(chunk: &mut [u8]) {
    loop {
        match rustix::net::recv(rustix::stdio::stdin(), &mut *chunk, RecvFlags::empty()) {
            Ok((count @ 1.., _)) => chunk[..count].zeroize(),
            Err(Errno::INTR) => {}
            Ok((0, _)) | Err(_) => return,
        }
    }
}

/// The firmware sent something that is no delivery.
struct NotADelivery;

/// Locks memory and forbids dumps, both best effort: the firmware checks from outside that memory is locked, and
/// decides. A panic says where, and nothing of what it was working on.
///
/// Code and constants, which are most of this process, are the image itself and stay as they are: a usual limit on
/// locked memory is 8 MiB.
fn harden() -> Result<(), NotADelivery> {
    std::panic::set_hook(Box::new(|panic| match panic.location() {
        Some(location) => eprintln!("panicked at {location}"),
        None => eprintln!("panicked"),
    }));
    let _ = rustix::mm::mlockall(MlockAllFlags::FUTURE);
    let mut started = Vec::new();
    frame::append(&mut started, &encode_packed(&Started {}));
    send(&started).map_err(|_| NotADelivery)?;
    for region in receive_writable()?.regions {
        let (Ok(start), Ok(length)) = (usize::try_from(region.start), usize::try_from(region.length_bytes))
        else {
            return Err(NotADelivery);
        };
        // It would unlock when it is dropped.
        let _ = region::lock(std::ptr::without_provenance::<u8>(start), length).map(std::mem::forget);
    }
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    Ok(())
}

/// The first message, before there is a plugin that it could be delivered to. The first delivery may follow it at
/// once: not a byte of that is read here.
fn receive_writable() -> Result<WritableMemory, NotADelivery> {
    let mut header = [0; HEADER_BYTES];
    receive_exactly(&mut header)?;
    let length = frame::payload_length(header, HAL_MAX_BYTES).map_err(|_| NotADelivery)?;
    let mut payload = vec![0; length];
    receive_exactly(&mut payload)?;
    decode_packed(&payload).map_err(|_| NotADelivery)
}

fn receive_exactly(mut room: &mut [u8]) -> Result<(), NotADelivery> {
    while !room.is_empty() {
        match rustix::net::recv(rustix::stdio::stdin(), &mut *room, RecvFlags::empty()) {
            Ok((0, _)) => return Err(NotADelivery),
            Ok((count, _)) => room = room.get_mut(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(_) => return Err(NotADelivery),
        }
    }
    Ok(())
}

/// Delivers every whole frame and keeps the rest.
fn deliver_all(plugin: &mut Plugin, arrived: &mut Vec<u8>) -> Result<(), NotADelivery> {
    let mut used = 0;
    while let Some((payload, length)) =
        frame::split_first(&arrived[used..], HAL_MAX_BYTES).map_err(|_| NotADelivery)?
    {
        let delivery: Delivery = decode_packed(payload).map_err(|_| NotADelivery)?;
        plugin.deliver(delivery);
        used += length;
    }
    let rest = arrived.len() - used;
    arrived.copy_within(used.., 0);
    arrived[rest..].zeroize();
    arrived.truncate(rest);
    Ok(())
}

/// Puts every output into a frame of its own. Whether one of them says that the plugin refuses to go on.
fn encode_all(outputs: Vec<Output>, sending: &mut Vec<u8>) -> bool {
    let mut halted = false;
    for mut output in outputs {
        halted |= matches!(output, Output::Halt { .. });
        let mut payload = encode_packed(&output);
        frame::append(sending, &payload);
        payload.as_mut_slice().zeroize();
        if let Output::Reply { payload, .. } = &mut output {
            payload.as_mut_slice().zeroize();
        }
    }
    halted
}

/// Writes all of it.
fn send(mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(rustix::stdio::stdin(), bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
