//! What `/proc` says of a process.

use std::fs;
use std::path::PathBuf;

/// A line of `/proc/PID/status`, without its name. `None`: there is no such process or line.
pub fn status(pid: u32, name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

/// The first number in a line of `/proc/PID/status`.
pub fn status_number(pid: u32, name: &str) -> u64 {
    let line = status(pid, name).unwrap_or_else(|| panic!("process {pid} has no line {name}"));
    let number = line.split_whitespace().next().and_then(|word| word.parse().ok());
    number.unwrap_or_else(|| panic!("{name} of process {pid} is {line:?}, not a number"))
}

/// Whether a process runs: it is there, and not merely waiting to be waited for.
pub fn is_running(pid: u32) -> bool {
    status(pid, "State").is_some_and(|state| !state.starts_with(['Z', 'X']))
}

/// Which namespace of that kind (`net`, `mnt`, …) a process is in.
pub fn namespace(pid: u32, kind: &str) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("the process runs and its namespaces can be read")
}

/// Soft and hard limit of `name` in `/proc/PID/limits`.
pub fn limit(pid: u32, name: &str) -> (String, String) {
    let text = fs::read_to_string(format!("/proc/{pid}/limits")).expect("the process runs");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("Linux lists every limit");
    let mut words = line.split_whitespace().map(str::to_owned);
    (words.next().expect("a soft limit"), words.next().expect("a hard limit"))
}

/// What a process's open file descriptors refer to.
pub fn open_files(pid: u32) -> Vec<String> {
    let folder =
        fs::read_dir(format!("/proc/{pid}/fd")).expect("the process runs and its files can be listed");
    folder
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .collect()
}

/// CPU time that a process has used, in clock ticks: in user code, in the kernel.
pub fn cpu_ticks(pid: u32) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    // The name in parentheses may hold anything; what follows are numbers, the first of them field 3.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |field: usize| fields[field - 3].parse().expect("fields 14 and 15 are numbers");
    (ticks(14), ticks(15))
}

/// All processes that descend from `pid`, parents before children.
pub fn descendants(pid: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = all().into_iter().filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut found = vec![pid];
    let mut at = 0;
    while let Some(&of) = found.get(at) {
        found.extend(parents.iter().filter(|(_, parent)| *parent == of).map(|(pid, _)| *pid));
        at += 1;
    }
    found.remove(0);
    found
}

fn all() -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("Linux has /proc");
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

fn parent(pid: u32) -> Option<u32> {
    status(pid, "PPid")?.parse().ok()
}
