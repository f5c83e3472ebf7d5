//! The first words between firmware and plugin: which memory the plugin has to lock.
//!
//! What the plugin gets after it said [`Started`] is locked as it gets it. What it had before, its first stack and heap
//! and its variables, it would have to look up in `/proc`, where it has no way; the firmware looks it up. Locking all
//! that there is in one call would take code and constants with it, and those are most of the plugin: more than the
//! 8 MiB that Linux lets an ordinary process lock.

use super::{Layer, Layers};
use countersign_wire::encode_packed;
use countersign_wire::frame;
use countersign_wire::hal::{MemoryRegion, Started, WritableMemory};
use std::io::{Error, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Waits for the plugin, and tells it what to lock. `pid` finds its process once it runs.
pub fn introduce(
    mut socket: &UnixStream,
    layers: &Layers,
    patience: Duration,
    pid: impl FnOnce() -> std::io::Result<u32>,
) -> std::io::Result<()> {
    let strange = || Error::new(ErrorKind::InvalidData, "it said something else than that it has started");
    let mut expected = Vec::new();
    frame::append(&mut expected, &encode_packed(&Started {}));
    let mut said = vec![0; expected.len()];
    read_until(socket, &mut said, Instant::now() + patience)?;
    if said != expected {
        return Err(strange());
    }
    let mut memory = WritableMemory::default();
    if layers.has(Layer::MemoryLock) {
        memory.regions = writable(&std::fs::read_to_string(format!("/proc/{}/maps", pid()?))?);
    }
    let mut message = Vec::new();
    frame::append(&mut message, &encode_packed(&memory));
    socket.set_write_timeout(Some(patience))?;
    socket.write_all(&message)?;
    socket.set_write_timeout(None)
}

/// Fills `room`, or fails at that time, however slowly something comes.
fn read_until(mut socket: &UnixStream, mut room: &mut [u8], until: Instant) -> std::io::Result<()> {
    while !room.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        match socket.read(room) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => room = room.get_mut(count..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    socket.set_read_timeout(None)
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
    use std::sync::mpsc::RecvTimeoutError;

    const PATIENCE: Duration = Duration::from_mins(1);

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
    fn what_comes_byte_by_byte_has_one_time_for_all_of_it() {
        let (mut plugin, firmware) = UnixStream::pair().unwrap();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let dribble = std::thread::spawn(move || {
            // Each comes long before the time is over, all of them after it.
            for _ in 0..2000 {
                let _ = plugin.write_all(b"x");
                if ended.recv_timeout(Duration::from_millis(1)) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        });
        let mut room = [0; 2000];
        let dribbled = read_until(&firmware, &mut room, Instant::now() + Duration::from_millis(200));
        drop(end);
        dribble.join().unwrap();
        assert!(matches!(dribbled.unwrap_err().kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock));
    }

    #[test]
    fn what_is_waited_for_comes_in_time_or_not_at_all() {
        let (mut plugin, firmware) = UnixStream::pair().unwrap();
        plugin.write_all(b"ab").unwrap();
        let mut room = [0; 2];
        read_until(&firmware, &mut room, Instant::now() + PATIENCE).unwrap();
        assert_eq!(&room, b"ab");
        plugin.write_all(b"ab").unwrap();
        let late = read_until(&firmware, &mut room, Instant::now()).unwrap_err();
        assert_eq!(late.kind(), ErrorKind::TimedOut, "although it is there");
        drop(plugin);
        let mut room = [0; 3];
        let cut = read_until(&firmware, &mut room, Instant::now() + PATIENCE).unwrap_err();
        assert_eq!(cut.kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn nothing_but_that_it_has_started_is_taken() {
        let mut started = Vec::new();
        frame::append(&mut started, &encode_packed(&Started {}));
        let cut = &started[..started.len() - 1];
        for (said, kind) in [
            (&[0xff; 64][..], ErrorKind::InvalidData),
            (&[cut, &[0xff]].concat(), ErrorKind::InvalidData),
            (cut, ErrorKind::UnexpectedEof),
            (&[], ErrorKind::UnexpectedEof),
        ] {
            let (mut plugin, firmware) = UnixStream::pair().unwrap();
            plugin.write_all(said).unwrap();
            drop(plugin);
            let refused = introduce(&firmware, &Layers::of(&[]), PATIENCE, || unreachable!()).unwrap_err();
            assert_eq!(refused.kind(), kind, "{said:?}");
        }
        let (mut plugin, firmware) = UnixStream::pair().unwrap();
        plugin.write_all(&started).unwrap();
        introduce(&firmware, &Layers::of(&[]), PATIENCE, || unreachable!()).unwrap();
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
