//! The machine that the HSM runs on, and its folder.

use super::configuration::Owner;
use super::verdict::{Check, Verdict};
use std::path::PathBuf;

/// What a plugin with a million accounts may want to lock.
const LOCKED_WANTED_BYTES: u64 = 96 * 1024 * 1024;

/// The least that the HSM starts with.
const LOCKED_MIN_BYTES: u64 = 8 * 1024 * 1024;

/// What was found on the HSM's host.
pub(super) struct HostFacts {
    pub(super) home: HomeFacts,
    pub(super) user_namespaces: NamespaceFacts,
    pub(super) layers: LayerFacts,
    pub(super) limits: LimitFacts,
    /// `/proc/sys/kernel/core_pattern` hands dumps to a program; `None`: it could not be read.
    pub(super) dumps_piped: Option<bool>,
    /// Where memory goes that has no room; `None`: it could not be read.
    pub(super) swaps: Option<Vec<Swap>>,
    /// `/proc/sys/kernel/yama/ptrace_scope`; `None`: the kernel has no Yama.
    pub(super) ptrace_scope: Option<u64>,
    pub(super) unit: UnitFacts,
}

/// What was found of the folder.
pub(super) enum HomeFacts {
    /// It is no HSM, or this user cannot see whether it is; what the system says.
    NotSeen(String),
    Seen {
        home: PathBuf,
        owner: Owner,
        /// What inside it is not its owner's alone: the path, and what is wrong.
        open: Vec<String>,
        /// The kind of the file system; `None`: it could not be told.
        file_system: Option<String>,
    },
}

/// What the kernel says about namespaces of ordinary users; `None`: it has no such setting.
#[derive(Clone, Copy, Default)]
pub(super) struct NamespaceFacts {
    pub(super) most: Option<u64>,
    pub(super) unprivileged: Option<u64>,
    pub(super) apparmor_restricts: Option<u64>,
}

/// What `countersign-hsm sandbox` says.
pub(super) enum LayerFacts {
    /// It could not be asked; why.
    NotAsked(String),
    /// The layers that this machine does not have, each with the reason.
    Missing(Vec<(String, String)>),
}

/// Limits of the HSM's process, or where none runs of this one.
pub(super) struct LimitFacts {
    /// Whether they are the HSM's own.
    pub(super) of_the_hsm: bool,
    /// `None`: it could not be read.
    pub(super) locked: Option<Limit>,
    pub(super) core: Option<Limit>,
}

/// A limit of the system's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    Bytes(u64),
    Unlimited,
}

/// A swap file or device.
pub(super) struct Swap {
    pub(super) name: String,
    pub(super) kind: SwapKind,
}

/// What is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SwapKind {
    /// In memory, compressed.
    Memory,
    /// On an encrypted device.
    Encrypted,
    /// On a disk, and not encrypted as far as can be seen.
    Clear,
}

/// What systemd says of `countersign-hsm.service`.
pub(super) enum UnitFacts {
    /// Systemd does not run here, or knows no such unit.
    None,
    Known {
        active: String,
        /// The unit's file is newer than what systemd has read.
        stale: bool,
    },
}

/// What was found of the image's file.
pub(super) struct ImageFileFacts {
    pub(super) file: PathBuf,
    /// Its measurement in hex, or why it is no image.
    pub(super) measured: Result<String, String>,
}

/// All checks of the HSM's host but that of the image's file, in order.
pub(super) fn all(facts: Option<&HostFacts>, boundary: Option<&str>) -> Vec<(Check, Verdict)> {
    let of = |judge: &dyn Fn(&HostFacts) -> Verdict| match facts {
        Some(facts) => judge(facts),
        None => Verdict::skipped("This is looked at on the HSM's host: name its folder with --home."),
    };
    let in_a_process = |judge: &dyn Fn(&HostFacts) -> Verdict| match boundary {
        Some("vm") => Verdict::skipped("The plugin runs in a virtual machine, which needs none of this."),
        _ => of(judge),
    };
    vec![
        (Check::Home, of(&|facts| home(&facts.home))),
        (Check::HomePrivate, of(&|facts| home_private(&facts.home))),
        (Check::HomeDisk, of(&|facts| home_disk(&facts.home))),
        (Check::UserNamespaces, in_a_process(&|facts| user_namespaces(facts.user_namespaces))),
        (Check::SandboxLayers, in_a_process(&|facts| sandbox_layers(&facts.layers))),
        (Check::MemoryLockLimit, of(&|facts| memory_lock_limit(&facts.limits))),
        (Check::CoreDumps, of(&|facts| core_dumps(&facts.limits, facts.dumps_piped))),
        (Check::Swap, of(&|facts| swap(facts.swaps.as_deref()))),
        (Check::PtraceScope, of(&|facts| ptrace_scope(facts.ptrace_scope))),
        (Check::SystemdUnit, of(&|facts| systemd_unit(&facts.unit))),
    ]
}

/// Whether this machine's clock is kept right, as far as systemd knows.
pub(super) fn time_synchronised(synchronised: Option<bool>) -> Verdict {
    match synchronised {
        Some(true) => Verdict::ok("This machine's clock is kept by NTP."),
        Some(false) => Verdict::warning(
            "This machine's clock is not kept by NTP.",
            "Turn it on: timedatectl set-ntp true, or install chrony.",
        ),
        None => Verdict::skipped(
            "Whether this machine's clock is kept right could not be told: systemd does not run here.",
        ),
    }
}

/// Whether the image's file is the one that runs.
pub(super) fn image_file(facts: Option<&ImageFileFacts>, running: Option<&str>) -> Verdict {
    let Some(ImageFileFacts { file, measured }) = facts else {
        return Verdict::skipped("No image was named with --image.");
    };
    let file = file.display();
    match (measured, running) {
        (Err(why), _) => Verdict::problem(
            format!("{file} is no image: {why}"),
            "Fetch it again, compare its measurement, and put it there with its signatures.",
        ),
        (Ok(_), None) => Verdict::skipped(format!("{file} is an image; the HSM did not say which it runs.")),
        (Ok(measured), Some(running)) if measured == running => {
            Verdict::ok(format!("{file} is the image that runs."))
        }
        (Ok(_), Some(_)) => Verdict::warning(
            format!("{file} is another image than the one that runs: the next start uses it, or refuses it."),
            "If that is an upgrade, stop the HSM and run countersign-hsm upgrade; else put the image that runs back.",
        ),
    }
}

fn home(facts: &HomeFacts) -> Verdict {
    match facts {
        HomeFacts::NotSeen(why) => Verdict::problem(
            why.clone(),
            "Name the folder of an HSM that was initialised, and run this as its user or as root.",
        ),
        HomeFacts::Seen { home, owner, .. } => {
            Verdict::ok(format!("{} is the folder of an HSM, of user {}.", home.display(), owner.uid))
        }
    }
}

fn home_private(facts: &HomeFacts) -> Verdict {
    match facts {
        HomeFacts::NotSeen(_) => Verdict::skipped("The folder could not be looked at."),
        HomeFacts::Seen { home, open, .. } if !open.is_empty() => Verdict::problem(
            format!("What is the HSM's alone lies open to others: {}.", open.join("; ")),
            format!(
                "Ask who read it. Then, on the stopped HSM: chown -R it to its own user, and \
                 chmod -R go-rwx {0}/nvram {0}/keystore {0}/ceremony; setfacl -m u:UID:x lets a client through the folder itself.",
                home.display()
            ),
        ),
        HomeFacts::Seen { .. } => Verdict::ok("What is the HSM's alone is readable by its user alone."),
    }
}

fn home_disk(facts: &HomeFacts) -> Verdict {
    let HomeFacts::Seen { file_system, .. } = facts else {
        return Verdict::skipped("The folder could not be looked at.");
    };
    match file_system.as_deref() {
        None => Verdict::skipped("What the folder lies on could not be told."),
        Some(kind @ ("tmpfs" | "ramfs")) => Verdict::problem(
            format!(
                "The folder lies in memory ({kind}): with the next start of this machine, all keys are gone."
            ),
            "Move it to a disk while the HSM is stopped.",
        ),
        Some(kind @ ("nfs" | "nfs4" | "cifs" | "smb3" | "9p" | "overlay")) => Verdict::warning(
            format!("The folder lies on {kind}, where locks and syncs may mean less than the HSM relies on."),
            "Move it to a disk of this machine (ext4, xfs) while the HSM is stopped.",
        ),
        Some(kind) => Verdict::ok(format!("The folder lies on {kind}.")),
    }
}

fn user_namespaces(facts: NamespaceFacts) -> Verdict {
    let forbidden = |setting: &str, value: &str| {
        Verdict::problem(
            format!("The kernel lets ordinary users make no namespaces ({setting})."),
            format!("sysctl -w {setting}={value}, and the same line in /etc/sysctl.d"),
        )
    };
    match facts {
        NamespaceFacts { most: Some(0), .. } => forbidden("user.max_user_namespaces", "15000"),
        NamespaceFacts { unprivileged: Some(0), .. } => forbidden("kernel.unprivileged_userns_clone", "1"),
        NamespaceFacts { apparmor_restricts: Some(1..), .. } => Verdict::warning(
            "AppArmor keeps ordinary users' namespaces without rights (kernel.apparmor_restrict_unprivileged_userns).",
            "Give countersign-hsm an AppArmor profile with the rule `userns`; the check sandbox-layers shows whether it is enough.",
        ),
        _ => Verdict::ok("The kernel lets ordinary users make namespaces."),
    }
}

fn sandbox_layers(facts: &LayerFacts) -> Verdict {
    match facts {
        LayerFacts::NotAsked(why) => Verdict::skipped(why.clone()),
        LayerFacts::Missing(missing) if missing.is_empty() => {
            Verdict::ok("Each layer of the sandbox was tried here, and can be had.")
        }
        LayerFacts::Missing(missing) => {
            let told: Vec<String> = missing.iter().map(|(layer, why)| format!("{layer} ({why})")).collect();
            Verdict::problem(
                format!("The HSM does not start here, for want of: {}.", told.join("; ")),
                "docs/hsm-home.md says what each layer needs.",
            )
        }
    }
}

fn memory_lock_limit(facts: &LimitFacts) -> Verdict {
    let whose = if facts.of_the_hsm { "The HSM" } else { "A process of this user" };
    let mend = "Raise the limit: LimitMEMLOCK=infinity in the unit, or memlock in /etc/security/limits.conf.";
    let mib = |bytes: u64| bytes / (1024 * 1024);
    match facts.locked {
        None => Verdict::skipped("The limit on locked memory could not be read."),
        Some(Limit::Unlimited) => Verdict::ok(format!("{whose} may lock all of its memory.")),
        Some(Limit::Bytes(bytes @ ..LOCKED_MIN_BYTES)) => {
            let told = format!(
                "{whose} may lock {} MiB of memory; an HSM does not start below {} MiB.",
                mib(bytes),
                mib(LOCKED_MIN_BYTES)
            );
            // Where the unit raises it, the limit of this session says nothing.
            if facts.of_the_hsm { Verdict::problem(told, mend) } else { Verdict::warning(told, mend) }
        }
        Some(Limit::Bytes(bytes)) => {
            let accounts = if bytes < LOCKED_WANTED_BYTES {
                format!(", and a million accounts want {} MiB", mib(LOCKED_WANTED_BYTES))
            } else {
                String::new()
            };
            Verdict::warning(
                format!(
                    "{whose} may lock {} MiB of memory: the firmware locks its own only without a limit{accounts}.",
                    mib(bytes)
                ),
                mend,
            )
        }
    }
}

fn core_dumps(limits: &LimitFacts, piped: Option<bool>) -> Verdict {
    match (limits.of_the_hsm, limits.core) {
        (true, Some(Limit::Bytes(0))) | (false, _) => {}
        (true, Some(_)) => {
            return Verdict::problem(
                "The HSM's process may dump its memory when it crashes.",
                "It forbids that itself when it starts; find out who changed it, and start it again.",
            );
        }
        (true, None) => return Verdict::skipped("The limits of the HSM's process could not be read."),
    }
    match piped {
        Some(true) => Verdict::warning(
            "The HSM leaves no dump, but dumps of other programs of this machine go to a program that may keep them \
             (kernel.core_pattern); one of a backend holds its API key.",
            "Where backends run here: LimitCORE=0 does not stop that program; set Storage=none in /etc/systemd/coredump.conf.",
        ),
        _ => Verdict::ok("A crash of the HSM leaves no memory behind: it forbids dumps when it starts."),
    }
}

fn swap(swaps: Option<&[Swap]>) -> Verdict {
    let Some(swaps) = swaps else {
        return Verdict::skipped("Whether there is swap could not be read.");
    };
    let clear: Vec<&str> =
        swaps.iter().filter(|swap| swap.kind == SwapKind::Clear).map(|swap| swap.name.as_str()).collect();
    if clear.is_empty() {
        return Verdict::ok(
            "No memory reaches a disk in the clear: there is no swap, or it is encrypted or in memory.",
        );
    }
    Verdict::warning(
        format!("Swap is not encrypted, as far as can be seen: {}.", clear.join(", ")),
        "The plugin locks its memory, but backends do not: swapoff -a, or encrypt it (crypttab, with a random key at each start).",
    )
}

fn ptrace_scope(scope: Option<u64>) -> Verdict {
    match scope {
        Some(1..) => Verdict::ok("Processes of one user cannot read each other's memory."),
        _ => Verdict::warning(
            "Processes of one user can read each other's memory (kernel.yama.ptrace_scope). The HSM's forbid it; backends do not.",
            "sysctl -w kernel.yama.ptrace_scope=1, and the same line in /etc/sysctl.d",
        ),
    }
}

fn systemd_unit(facts: &UnitFacts) -> Verdict {
    match facts {
        UnitFacts::None => Verdict::skipped("Systemd knows no countersign-hsm.service here."),
        UnitFacts::Known { active, .. } if active == "failed" => Verdict::problem(
            "countersign-hsm.service has failed.",
            "journalctl -u countersign-hsm says why; mend that, then: systemctl restart countersign-hsm",
        ),
        UnitFacts::Known { stale: true, .. } => Verdict::warning(
            "The unit's file is newer than what systemd has read.",
            "systemctl daemon-reload && systemctl restart countersign-hsm",
        ),
        UnitFacts::Known { active, .. } if active == "active" => {
            Verdict::ok("Systemd runs countersign-hsm.service.")
        }
        UnitFacts::Known { active, .. } => Verdict::warning(
            format!("countersign-hsm.service does not run ({active})."),
            "systemctl enable --now countersign-hsm",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::verdict::Outcome;
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn seen(open: &[&str], file_system: Option<&str>) -> HomeFacts {
        HomeFacts::Seen {
            home: "/h".into(),
            owner: Owner { uid: 7, mode: 0o700 },
            open: open.iter().map(|path| (*path).to_owned()).collect(),
            file_system: file_system.map(ToOwned::to_owned),
        }
    }

    #[test]
    fn a_folder_that_is_no_hsm_or_lies_open_is_a_problem() {
        assert_eq!(home(&seen(&[], None)).outcome, Outcome::Ok);
        assert_eq!(home(&HomeFacts::NotSeen("no".into())).outcome, Outcome::Problem);
        assert_eq!(home_private(&seen(&[], None)).outcome, Outcome::Ok);
        let open = home_private(&seen(&["/h/nvram (mode 755)"], None));
        assert_eq!(open.outcome, Outcome::Problem);
        assert!(open.message.contains("/h/nvram"));
        assert_eq!(home_private(&HomeFacts::NotSeen("no".into())).outcome, Outcome::Skipped);
    }

    #[test]
    fn keys_in_memory_are_a_problem_and_on_a_network_a_warning() {
        for (kind, outcome) in [
            (Some("tmpfs"), Outcome::Problem),
            (Some("nfs4"), Outcome::Warning),
            (Some("overlay"), Outcome::Warning),
            (Some("ext4"), Outcome::Ok),
            (None, Outcome::Skipped),
        ] {
            assert_eq!(home_disk(&seen(&[], kind)).outcome, outcome, "{kind:?}");
        }
    }

    #[test]
    fn a_kernel_that_forbids_namespaces_is_a_problem() {
        let none = NamespaceFacts::default();
        assert_eq!(user_namespaces(none).outcome, Outcome::Ok);
        assert_eq!(user_namespaces(NamespaceFacts { most: Some(0), ..none }).outcome, Outcome::Problem);
        assert_eq!(
            user_namespaces(NamespaceFacts { unprivileged: Some(0), ..none }).outcome,
            Outcome::Problem
        );
        assert_eq!(
            user_namespaces(NamespaceFacts { apparmor_restricts: Some(1), ..none }).outcome,
            Outcome::Warning
        );
        let all = NamespaceFacts { most: Some(9), unprivileged: Some(1), apparmor_restricts: Some(0) };
        assert_eq!(user_namespaces(all).outcome, Outcome::Ok);
    }

    #[test]
    fn a_layer_that_cannot_be_had_is_a_problem_with_its_reason() {
        assert_eq!(sandbox_layers(&LayerFacts::Missing(vec![])).outcome, Outcome::Ok);
        assert_eq!(sandbox_layers(&LayerFacts::NotAsked("no program".into())).outcome, Outcome::Skipped);
        let missing =
            sandbox_layers(&LayerFacts::Missing(vec![("namespaces".into(), "unshare: EPERM".into())]));
        assert_eq!(missing.outcome, Outcome::Problem);
        assert!(missing.message.contains("namespaces (unshare: EPERM)"));
    }

    #[test]
    fn a_running_hsm_that_may_lock_too_little_is_a_problem() {
        let limit =
            |of_the_hsm, locked| memory_lock_limit(&LimitFacts { of_the_hsm, locked, core: None }).outcome;
        for of_the_hsm in [true, false] {
            assert_eq!(limit(of_the_hsm, Some(Limit::Unlimited)), Outcome::Ok);
            assert_eq!(limit(of_the_hsm, Some(Limit::Bytes(96 * MIB))), Outcome::Warning);
            assert_eq!(limit(of_the_hsm, Some(Limit::Bytes(8 * MIB))), Outcome::Warning);
            assert_eq!(limit(of_the_hsm, None), Outcome::Skipped);
        }
        assert_eq!(limit(true, Some(Limit::Bytes(8 * MIB - 1))), Outcome::Problem);
        assert_eq!(limit(false, Some(Limit::Bytes(8 * MIB - 1))), Outcome::Warning);
    }

    #[test]
    fn an_hsm_that_may_dump_its_memory_is_a_problem() {
        let dumps = |of_the_hsm, core, piped| {
            core_dumps(&LimitFacts { of_the_hsm, locked: None, core }, piped).outcome
        };
        assert_eq!(dumps(true, Some(Limit::Bytes(0)), Some(false)), Outcome::Ok);
        assert_eq!(dumps(true, Some(Limit::Bytes(0)), Some(true)), Outcome::Warning);
        assert_eq!(dumps(true, Some(Limit::Unlimited), Some(false)), Outcome::Problem);
        assert_eq!(dumps(true, None, None), Outcome::Skipped);
        assert_eq!(dumps(false, Some(Limit::Unlimited), Some(false)), Outcome::Ok);
    }

    #[test]
    fn swap_in_the_clear_is_a_warning() {
        let swaps = |kinds: &[SwapKind]| {
            let swaps: Vec<Swap> =
                kinds.iter().map(|kind| Swap { name: "/dev/x".into(), kind: *kind }).collect();
            swap(Some(&swaps)).outcome
        };
        assert_eq!(swaps(&[]), Outcome::Ok);
        assert_eq!(swaps(&[SwapKind::Memory, SwapKind::Encrypted]), Outcome::Ok);
        assert_eq!(swaps(&[SwapKind::Encrypted, SwapKind::Clear]), Outcome::Warning);
        assert_eq!(swap(None).outcome, Outcome::Skipped);
    }

    #[test]
    fn processes_that_may_read_each_other_are_a_warning() {
        assert_eq!(ptrace_scope(Some(1)).outcome, Outcome::Ok);
        assert_eq!(ptrace_scope(Some(0)).outcome, Outcome::Warning);
        assert_eq!(ptrace_scope(None).outcome, Outcome::Warning);
    }

    #[test]
    fn a_unit_that_failed_is_a_problem() {
        let unit =
            |active: &str, stale| systemd_unit(&UnitFacts::Known { active: active.into(), stale }).outcome;
        assert_eq!(unit("active", false), Outcome::Ok);
        assert_eq!(unit("active", true), Outcome::Warning);
        assert_eq!(unit("inactive", false), Outcome::Warning);
        assert_eq!(unit("failed", false), Outcome::Problem);
        assert_eq!(systemd_unit(&UnitFacts::None).outcome, Outcome::Skipped);
    }

    #[test]
    fn a_clock_that_is_not_kept_is_a_warning() {
        assert_eq!(time_synchronised(Some(true)).outcome, Outcome::Ok);
        assert_eq!(time_synchronised(Some(false)).outcome, Outcome::Warning);
        assert_eq!(time_synchronised(None).outcome, Outcome::Skipped);
    }

    #[test]
    fn the_image_on_the_disk_should_be_the_one_that_runs() {
        let facts = |measured: Result<&str, &str>| ImageFileFacts {
            file: "/i".into(),
            measured: measured.map(Into::into).map_err(Into::into),
        };
        assert_eq!(image_file(None, Some("aa")).outcome, Outcome::Skipped);
        assert_eq!(image_file(Some(&facts(Ok("aa"))), Some("aa")).outcome, Outcome::Ok);
        assert_eq!(image_file(Some(&facts(Ok("bb"))), Some("aa")).outcome, Outcome::Warning);
        assert_eq!(image_file(Some(&facts(Ok("aa"))), None).outcome, Outcome::Skipped);
        assert_eq!(image_file(Some(&facts(Err("no"))), Some("aa")).outcome, Outcome::Problem);
    }

    #[test]
    fn what_needs_no_namespaces_is_not_asked_for_them() {
        for (check, verdict) in all(None, Some("vm")) {
            let told = matches!(check, Check::UserNamespaces | Check::SandboxLayers);
            assert_eq!(verdict.message.contains("virtual machine"), told, "{}", check.word());
            assert_eq!(verdict.outcome, Outcome::Skipped);
        }
    }
}
