//! Asks the kernel whether the layers hold around the plugin that runs.

use super::{Layer, Layers};
use crate::HsmError;
use std::collections::HashMap;

/// Checks the plugin that the `launch` process `launch_pid` started.
pub fn verify(launch_pid: u32, layers: &Layers) -> Result<(), HsmError> {
    let plugin = child_of(launch_pid)?;
    let text = std::fs::read_to_string(format!("/proc/{plugin}/status"))
        .map_err(HsmError::io("ask the kernel about the plugin's process"))?;
    match missing(&text, layers) {
        None => Ok(()),
        Some(what) => {
            Err(HsmError::Plugin(format!("the plugin runs without a layer of its sandbox: {what}")))
        }
    }
}

fn child_of(parent: u32) -> Result<u32, HsmError> {
    let failed = || HsmError::io("list the processes");
    for entry in std::fs::read_dir("/proc").map_err(failed())? {
        let name = entry.map_err(failed())?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // A process may end while it is looked at.
        let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { continue };
        if fields(&text).get("PPid").and_then(|value| value.parse().ok()) == Some(parent) {
            return Ok(pid);
        }
    }
    Err(HsmError::Plugin("the plugin's process is gone".into()))
}

fn fields(status: &str) -> HashMap<&str, &str> {
    status.lines().filter_map(|line| line.split_once(':')).map(|(name, value)| (name, value.trim())).collect()
}

fn missing(status: &str, layers: &Layers) -> Option<String> {
    let fields = fields(status);
    let value = |name: &str| fields.get(name).copied().unwrap_or("");
    let locked_kib = value("VmLck").split(' ').next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0);
    let mut holds = vec![
        ("no new privileges (NoNewPrivs)", value("NoNewPrivs") == "1"),
        ("no capabilities (CapEff)", value("CapEff").parse::<u64>() == Ok(0)),
        ("one thread (Threads)", value("Threads") == "1"),
    ];
    for layer in layers.present() {
        match layer {
            Layer::Seccomp => holds.push(("seccomp (Seccomp)", value("Seccomp") == "2")),
            Layer::MemoryLock => holds.push(("memory-lock (VmLck)", locked_kib > 0)),
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

    const GOOD: &str = "Name:\tplugin\nPPid:\t7\nNSpid:\t99\t1\nVmLck:\t    2048 kB\nThreads:\t1\n\
        CapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n";

    #[test]
    fn every_layer_that_does_not_hold_is_noticed() {
        let all = Layers::of(&Layer::ALL);
        assert_eq!(missing(GOOD, &all), None);
        for (from, to) in [
            ("NSpid:\t99\t1", "NSpid:\t99"),
            ("    2048 kB", "       0 kB"),
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
    fn a_layer_that_the_operator_did_without_is_not_asked_for() {
        let some = Layers::of(&[Layer::Seccomp, Layer::Landlock]);
        assert_eq!(missing(&GOOD.replace("    2048 kB", "       0 kB"), &some), None);
    }
}
