//! What `/proc` says of a process.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Longer than a process takes to end; what takes longer stays.
const PATIENCE: Duration = Duration::from_mins(1);

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

/// Waits until none of them runs: what a process held is closed before it counts as ended, so who sees its socket close is too early.
pub fn wait_until_ended(pids: &[u32]) {
    let began = Instant::now();
    while let Some(pid) = pids.iter().find(|pid| is_running(**pid)) {
        assert!(began.elapsed() < PATIENCE, "process {pid} does not end");
        std::thread::yield_now();
    }
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

/// The names of a process's threads, in the order in which they were started.
pub fn threads(pid: u32) -> Vec<String> {
    tasks(pid).into_iter().map(|(_, name)| name).collect()
}

/// CPU time that each thread of a process has used, in nanoseconds, with the thread's name.
pub fn thread_cpu_ns(pid: u32) -> Vec<(String, u64)> {
    let spent = |task: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/task/{task}/schedstat")).ok()?;
        text.split(' ').next()?.parse().ok()
    };
    tasks(pid).into_iter().filter_map(|(task, name)| Some((name, spent(task)?))).collect()
}

fn tasks(pid: u32) -> Vec<(u32, String)> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    let mut tasks: Vec<u32> =
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    tasks.sort_unstable();
    // A thread may end while it is looked at.
    let name = |task: &u32| fs::read_to_string(format!("/proc/{pid}/task/{task}/comm")).ok();
    tasks.iter().filter_map(|task| Some((*task, name(task)?.trim_end().to_owned()))).collect()
}

/// Memory of a process in bytes: what it has for itself and its share of what it has in common with others. Where
/// the kernel does not tell that to this user, all that is resident.
pub fn memory_bytes(pid: u32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let pss =
        rollup.lines().find_map(|line| line.strip_prefix("Pss:")?.split_whitespace().next()?.parse().ok());
    pss.unwrap_or_else(|| status_number(pid, "VmRSS")) * 1024
}

/// All that a process has in memory and may read, as its user may look at it.
pub fn memory_of(pid: u32) -> Vec<u8> {
    let maps =
        fs::read_to_string(format!("/proc/{pid}/maps")).expect("the process runs and lets its user look");
    let memory = fs::File::open(format!("/proc/{pid}/mem")).expect("its memory can be opened");
    let mut found = Vec::new();
    for line in maps.lines().filter(|line| !line.ends_with("[vvar]") && !line.ends_with("[vsyscall]")) {
        let mut words = line.split_ascii_whitespace();
        let (range, access) = (words.next().expect("a range"), words.next().expect("rights"));
        let (start, end) = range.split_once('-').expect("two addresses");
        let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).expect("an address"));
        if access.starts_with('r') {
            let mut bytes = vec![0; usize::try_from(end - start).expect("it fits here, too")];
            // What is reserved and not there cannot be read.
            if memory.read_exact_at(&mut bytes, start).is_ok() {
                found.append(&mut bytes);
            }
        }
    }
    assert!(found.len() > 100_000, "that is no process's memory");
    found
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
