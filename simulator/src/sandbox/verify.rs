//! Asks the kernel whether the layers hold around the plugin that runs.

use super::{Layer, Layers};
use crate::HsmError;
use std::collections::HashMap;

/// What was found in the plugin's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The plugin, in all of its layers.
    Confined,
    /// Nothing, or a process that has ended.
    Gone,
}

/// How often the kernel is asked again when the plugin's memory changed while it was counting.
const LOOKS: usize = 20;

/// Checks the plugin that the `launch` process `launch_pid` started.
pub fn verify(launch_pid: u32, layers: &Layers) -> Result<Found, HsmError> {
    look(layers, || Ok(child_of(launch_pid)?.map(|process| process.status)))
}

/// Checks the plugin that is process 1: inside a virtual machine, where only what runs beside it can look.
pub fn verify_first(layers: &Layers) -> Result<Found, HsmError> {
    look(layers, || std::fs::read_to_string("/proc/1/status").map(Some))
}

fn look(layers: &Layers, status: impl Fn() -> std::io::Result<Option<String>>) -> Result<Found, HsmError> {
    let mut lacks = None;
    for _ in 0..LOOKS {
        let Some(status) = status().map_err(HsmError::io("list the processes"))? else {
            return Ok(Found::Gone);
        };
        // What the kernel tells of a process that has ended says nothing about its layers.
        if has_ended(&status) {
            return Ok(Found::Gone);
        }
        lacks = missing(&status, layers);
        if lacks.is_none() {
            return Ok(Found::Confined);
        }
    }
    let lacks = lacks.unwrap_or_default();
    Err(HsmError::Plugin(format!("the plugin runs without a layer of its sandbox: {lacks}")))
}

/// What does not hold around a hypervisor with this status: its own filter, and so much memory, locked with all of its own.
pub fn hypervisor_lacks(status: &str, locked_kib: Option<u64>) -> Option<&'static str> {
    let fields = fields(status);
    if fields.get("NoNewPrivs") != Some(&"1") || fields.get("Seccomp") != Some(&"2") {
        return Some("its filter of system calls (NoNewPrivs, Seccomp)");
    }
    let locked = kib(status, "VmLck").unwrap_or_default();
    let holds = locked_kib.is_none_or(|machine| locked >= machine && locks_all(status));
    (!holds).then_some("its memory locked (VmLck, VmData, VmStk)")
}

/// A process, and what the kernel tells of it.
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// `/proc/PID/status`.
    pub status: String,
}

/// The process that `parent` started, if there is one.
pub fn child_of(parent: u32) -> std::io::Result<Option<Process>> {
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // A process may end while it is looked at.
        let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { continue };
        if fields(&status).get("PPid").and_then(|value| value.parse().ok()) == Some(parent) {
            return Ok(Some(Process { pid, status }));
        }
    }
    Ok(None)
}

fn has_ended(status: &str) -> bool {
    let fields = fields(status);
    // One that is just ending has no memory any more.
    !fields.contains_key("VmLck") || fields.get("State").is_some_and(|state| state.starts_with(['Z', 'X']))
}

fn fields(status: &str) -> HashMap<&str, &str> {
    status.lines().filter_map(|line| line.split_once(':')).map(|(name, value)| (name, value.trim())).collect()
}

/// A line of `/proc/PID/status` that tells an amount of memory.
pub fn kib(status: &str, name: &str) -> Option<u64> {
    fields(status).get(name)?.split(' ').next()?.parse().ok()
}

/// Whether all memory that it can write to is locked.
fn locks_all(status: &str) -> bool {
    match (kib(status, "VmLck"), kib(status, "VmData"), kib(status, "VmStk")) {
        (Some(locked), Some(data), Some(stack)) => locked > 0 && locked >= data.saturating_add(stack),
        _ => false,
    }
}

fn missing(status: &str, layers: &Layers) -> Option<String> {
    let fields = fields(status);
    let value = |name: &str| fields.get(name).copied().unwrap_or("");
    let mut holds = vec![
        ("no new privileges (NoNewPrivs)", value("NoNewPrivs") == "1"),
        ("no capabilities (CapEff)", value("CapEff").parse::<u64>() == Ok(0)),
        ("one thread (Threads)", value("Threads") == "1"),
        ("nobody who traces it (TracerPid)", value("TracerPid") == "0"),
    ];
    for layer in layers.present() {
        match layer {
            Layer::Seccomp => holds.push(("seccomp (Seccomp)", value("Seccomp") == "2")),
            Layer::MemoryLock => holds.push(("memory-lock (VmLck, VmData, VmStk)", locks_all(status))),
            Layer::Namespaces => {
                holds.push(("namespaces (NSpid)", value("NSpid").split_whitespace().count() > 1));
            }
            // The kernel does not tell about these. The process that became the plugin applied them, or stopped.
            Layer::Landlock | Layer::Tsc => {}
        }
    }
    holds.into_iter().find(|(_, holds)| !holds).map(|(what, _)| what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "Name:\tplugin\nState:\tS (sleeping)\nPPid:\t7\nNSpid:\t99\t1\nVmLck:\t    2048 kB\nVmData:\t    1912 kB\nVmStk:\t     136 kB\nTracerPid:\t0\nThreads:\t1\n\
        CapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n";

    #[test]
    fn every_layer_that_does_not_hold_is_noticed() {
        let all = Layers::of(&Layer::ALL);
        assert_eq!(missing(GOOD, &all), None);
        for (from, to) in [
            ("NSpid:\t99\t1", "NSpid:\t99"),
            ("    2048 kB", "       0 kB"),
            ("    2048 kB", "    2044 kB"),
            ("     136 kB", "     140 kB"),
            ("VmData", "VmLib"),
            ("TracerPid:\t0", "TracerPid:\t7"),
            ("Threads:\t1", "Threads:\t2"),
            ("CapEff:\t0000000000000000", "CapEff:\t0000000000000400"),
            ("NoNewPrivs:\t1", "NoNewPrivs:\t0"),
            ("Seccomp:\t2", "Seccomp:\t0"),
        ] {
            assert!(missing(&GOOD.replace(from, to), &all).is_some(), "{to}");
        }
        assert!(missing("", &all).is_some());
    }

    #[test]
    fn a_plugin_that_has_ended_is_gone_and_not_at_fault() {
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        let pid = rustix::process::Pid::from_raw(i32::try_from(ended.id()).unwrap()).unwrap();
        let all = Layers::of(&Layer::ALL);
        // It ends, but stays until it is waited for; this process may have other children from other tests.
        let options = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        rustix::process::waitid(rustix::process::WaitId::Pid(pid), options).unwrap();
        assert_eq!(verify(ended.id(), &all).unwrap(), Found::Gone, "it has no child");
        let status = std::fs::read_to_string(format!("/proc/{}/status", ended.id())).unwrap();
        assert!(missing(&status, &all).is_some() && has_ended(&status));
        assert!(!has_ended(GOOD) && has_ended(&GOOD.replace("S (sleeping)", "Z (zombie)")));
        ended.wait().unwrap();
    }

    #[test]
    fn a_layer_that_the_operator_did_without_is_not_asked_for() {
        let some = Layers::of(&[Layer::Seccomp, Layer::Landlock]);
        assert_eq!(missing(&GOOD.replace("    2048 kB", "       0 kB"), &some), None);
    }

    #[test]
    fn a_hypervisor_is_told_nothing_before_it_holds_all_of_its_memory() {
        assert_eq!(hypervisor_lacks(GOOD, Some(2048)), None);
        assert_eq!(hypervisor_lacks(&GOOD.replace("    2048 kB", "       0 kB"), None), None, "done without");
        for (status, machine_kib) in [
            (GOOD.to_owned(), 2049),
            (GOOD.replace("    2048 kB", "       0 kB"), 0),
            (GOOD.replace("     136 kB", "     140 kB"), 2048),
            (GOOD.replace("Seccomp:\t2", "Seccomp:\t0"), 2048),
            (GOOD.replace("NoNewPrivs:\t1", "NoNewPrivs:\t0"), 2048),
            (String::new(), 0),
        ] {
            assert!(hypervisor_lacks(&status, Some(machine_kib)).is_some(), "{status}");
        }
    }

    #[test]
    fn the_first_process_of_a_machine_needs_each_of_its_layers() {
        let inside = GOOD.replace("NSpid:\t99\t1", "NSpid:\t1");
        let layers = Layers::of(&crate::vm::LAYERS);
        let of = |status: String| look(&layers, || Ok(Some(status.clone())));
        assert_eq!(of(inside.clone()).unwrap(), Found::Confined);
        for (from, to) in [
            ("Seccomp:\t2", "Seccomp:\t0"),
            ("NoNewPrivs:\t1", "NoNewPrivs:\t0"),
            ("CapEff:\t0000000000000000", "CapEff:\t000001ffffffffff"),
            ("    2048 kB", "       4 kB"),
        ] {
            assert!(of(inside.replace(from, to)).is_err(), "{to}");
        }
    }
}
