//! The first words between firmware and plugin: which memory the plugin has to lock.
//!
//! What the plugin gets after it said [`Started`] is locked as it gets it. What it had before, its first stack and heap
//! and its variables, it would have to look up in `/proc`, where it has no way; the firmware looks it up. Locking all
//! that there is in one call would take code and constants with it, and those are most of the plugin: more than the
//! 8 MiB that Linux lets an ordinary process lock.

use super::{Layer, Layers};
use countersign_wire::frame::{self, HAL_MAX_BYTES, HEADER_BYTES};
use countersign_wire::hal::{MemoryRegion, Started, WritableMemory};
use countersign_wire::{decode_packed, encode_packed};
use std::io::{Error, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How long the plugin may take to say that it runs.
const PATIENCE: Duration = Duration::from_mins(1);

/// Waits for the plugin, and tells it what to lock. `pid` finds its process once it runs.
pub fn introduce(
    mut socket: &UnixStream,
    layers: &Layers,
    pid: impl FnOnce() -> std::io::Result<u32>,
) -> std::io::Result<()> {
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut header = [0; HEADER_BYTES];
    socket.read_exact(&mut header)?;
    let strange = || Error::new(ErrorKind::InvalidData, "it said something else than that it has started");
    let mut payload = vec![0; frame::payload_length(header, HAL_MAX_BYTES).map_err(|_| strange())?];
    socket.read_exact(&mut payload)?;
    let Started {} = decode_packed(&payload).map_err(|_| strange())?;
    socket.set_read_timeout(None)?;
    let mut memory = WritableMemory::default();
    if layers.has(Layer::MemoryLock) {
        memory.regions = writable(&std::fs::read_to_string(format!("/proc/{}/maps", pid()?))?);
    }
    let mut message = Vec::new();
    frame::append(&mut message, &encode_packed(&memory));
    socket.write_all(&message)
}

/// The lines of `/proc/PID/maps` that can be written: `START-END rw.. OFFSET DEVICE INODE NAME`.
fn writable(maps: &str) -> Vec<MemoryRegion> {
    let region = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
        let region = MemoryRegion { start, length_bytes: end.checked_sub(start)? };
        words.next()?.contains('w').then_some(region)
    };
    maps.lines().filter_map(region).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_written_is_locked() {
        let maps = "7f00aa000000-7f00aa800000 r-xp 00000000 00:01 9 /memfd:image (deleted)\n\
                    7f00aa800000-7f00aa802000 rw-p 00800000 00:01 9 /memfd:image (deleted)\n\
                    55d7c0a41000-55d7c0a62000 rw-p 00000000 00:00 0 [heap]\n\
                    7ffd11d4e000-7ffd11d6f000 rw-p 00000000 00:00 0 [stack]\n\
                    7ffd11df0000-7ffd11df4000 r--p 00000000 00:00 0 [vvar]\n";
        let found: Vec<_> = writable(maps).iter().map(|region| (region.start, region.length_bytes)).collect();
        let expected =
            [(0x7f00_aa80_0000, 0x2000), (0x55d7_c0a4_1000, 0x2_1000), (0x7ffd_11d4_e000, 0x2_1000)];
        assert_eq!(found, expected);
        assert_eq!(writable("nonsense\n-\nzz-1 rw\n"), []);
    }

    #[test]
    fn the_layout_of_this_process_is_understood() {
        let here = Box::new(7_u8);
        let at = std::ptr::from_ref(&*here).addr() as u64;
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        assert!(
            writable(&maps)
                .iter()
                .any(|region| (region.start..region.start + region.length_bytes).contains(&at))
        );
    }
}
