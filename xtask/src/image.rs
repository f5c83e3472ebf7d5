//! `cargo xtask image`: the frozen image, built, recorded, and built once more elsewhere to compare.

use crate::workspace::{output, root, run as run_to_its_end, say, target};
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use countersign_release::Channel;
use countersign_release_build::compare::differences;
use countersign_release_build::history::{Remembered, refuse_changed_releases};
use countersign_release_build::record::{Inputs, Record, Verdict};
use countersign_release_build::{Built, Plan, build};
use serde_json::json;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// The options of `cargo xtask image`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where to put it [default: target/image/countersign.image]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// For whom it is made
    #[arg(long, value_enum, default_value = "development")]
    channel: ChannelWord,
    /// Build it once more, elsewhere and otherwise, and compare; compare with plugin/measurements.toml, too
    #[arg(long)]
    check: bool,
    /// With --check: where the compiler or the C library are not those of plugin/measurements.toml, compare the sources alone
    #[arg(long, requires = "check")]
    other_inputs_allowed: bool,
    /// Write it down in plugin/measurements.toml, and its size in SECURITY.md
    #[arg(long)]
    record: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum ChannelWord {
    Development,
    Release,
}

impl From<ChannelWord> for Channel {
    fn from(word: ChannelWord) -> Self {
        match word {
            ChannelWord::Development => Channel::Development,
            ChannelWord::Release => Channel::Release,
        }
    }
}

/// Builds it and does what else was asked. Prints one line of JSON.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    say("building the image");
    let plan = Plan::here(&root())?;
    let out = match &arguments.out {
        Some(out) => std::path::absolute(out)?,
        None => plan.folder.join("countersign.image"),
    };
    let channel = arguments.channel.into();
    let built = build(&plan, channel)?;
    built.write(&out)?;
    say(&built.counts.sentence());
    if arguments.record {
        record(&built)?;
    }
    if arguments.check {
        let verdict = check_record(&built)?;
        check_elsewhere(&built, channel)?;
        let inputs = if arguments.other_inputs_allowed { Inputs::Any } else { Inputs::Recorded };
        say(&verdict.accept(inputs)?);
    }
    let counts = built.counts;
    let told = json!({
        "image": out, "measurement": built.measurement, "version": built.line.version, "channel": channel,
        "crates": { "own": counts.own_crates, "others": counts.other_crates },
        "lines": { "own": counts.own_lines, "others": counts.other_lines },
    });
    println!("{told}");
    Ok(ExitCode::SUCCESS)
}

/// The line of `SECURITY.md` that says how much is inside.
const COUNT_BEGINS: &str = "The image holds ";

fn security_page() -> PathBuf {
    root().join("SECURITY.md")
}

fn record(built: &Built) -> Result<()> {
    let mut record = Record::of(&root())?;
    record.add(built.line.clone())?;
    record.write(&root())?;
    let page = fs::read_to_string(security_page()).context("cannot read SECURITY.md")?;
    let mut lines: Vec<String> = page.lines().map(str::to_owned).collect();
    let line = lines.iter_mut().find(|line| line.starts_with(COUNT_BEGINS));
    *line.context("SECURITY.md has no line on how much the image holds")? = built.counts.sentence();
    fs::write(security_page(), lines.join("\n") + "\n").context("cannot write SECURITY.md")?;
    say(&format!("recorded {} in plugin/measurements.toml and SECURITY.md", built.measurement));
    Ok(())
}

fn check_record(built: &Built) -> Result<Verdict> {
    say(&match refuse_changed_releases(&root())? {
        Remembered::Nothing => "git has no commit to compare the recorded releases with".to_owned(),
        Remembered::Commits(count) => format!("all releases stand as in {count} commits and branches"),
    });
    let verdict = Record::of(&root())?.check(&built.line)?;
    let page = fs::read_to_string(security_page()).context("cannot read SECURITY.md")?;
    if !page.lines().any(|line| line == built.counts.sentence()) {
        bail!(
            "SECURITY.md does not say how much the image holds: \"{}\"; run cargo xtask image --record",
            built.counts.sentence()
        );
    }
    Ok(verdict)
}

/// Builds it in another folder, with another cargo home, umask, locale, time zone and number of jobs, and as another user if it can.
fn check_elsewhere(built: &Built, channel: Channel) -> Result<()> {
    let elsewhere = Elsewhere::make()?;
    say(&format!("building it once more: {}", elsewhere.told));
    let again = build(&elsewhere.plan, channel)?;
    match differences(&built.file, &again.file) {
        None => {
            say("both are the same, bit by bit");
            Ok(())
        }
        Some(differences) => {
            let kept = target().join("image/elsewhere.image");
            again.write(&kept)?;
            bail!(
                "the image depends on where it is built: {differences}; the other one is {}",
                kept.display()
            )
        }
    }
}

/// Nobody in particular: the user and group that own nothing.
const NOBODY: (u32, u32) = (65_534, 65_534);

/// Another place to build in.
struct Elsewhere {
    plan: Plan,
    /// What is different there.
    told: String,
    /// Removed with it.
    _folder: tempfile::TempDir,
}

impl Elsewhere {
    fn make() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("another folder ").tempdir()?;
        let here = Plan::here(&root())?;
        let place = |name: &str| folder.path().join(name);
        copy_sources(&root(), &place("the tree"))?;
        fs::create_dir(place("cargo"))?;
        fs::create_dir(place("target"))?;
        let mut plan = Plan {
            source: place("the tree"),
            folder: place("target"),
            cargo_home: place("cargo"),
            environment: here.environment.clone(),
            jobs: Some(1),
            umask: Some("077"),
            user: None,
        };
        let hostile = [
            ("CARGO_NET_OFFLINE", "true"),
            ("LC_ALL", "C.UTF-8"),
            ("LANG", "tr_TR.UTF-8"),
            ("TZ", "Asia/Kathmandu"),
            ("SOURCE_DATE_EPOCH", "1"),
            ("RUSTFLAGS", "-Copt-level=0"),
        ];
        for (name, value) in hostile {
            set(&mut plan, name, value.into());
        }
        let registry = here.cargo_home.join("registry");
        let told = if become_nobody(&mut plan, folder.path(), &registry)? {
            "another folder, another user, cargo home, umask, locale, time zone, one job"
        } else {
            symlink(&registry, plan.cargo_home.join("registry"))?;
            "another folder, cargo home, umask, locale, time zone, one job (not another user: only root can be one)"
        };
        Ok(Self { plan, told: told.to_owned(), _folder: folder })
    }
}

fn set(plan: &mut Plan, name: &str, value: OsString) {
    plan.environment.retain(|(known, _)| known != name);
    plan.environment.push((name.into(), value));
}

/// Makes the plan another user's, where this process may: with a registry and, if need be, a toolchain that this user can read, which
/// are hard links to those that are there. Whether it could.
fn become_nobody(plan: &mut Plan, folder: &Path, registry: &Path) -> Result<bool> {
    if !rustix::process::geteuid().is_root() {
        return Ok(false);
    }
    give(&plan.source)?;
    for path in [folder, &plan.cargo_home, &plan.folder] {
        chown(path, Some(NOBODY.0), Some(NOBODY.1))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    }
    plan.user = Some(NOBODY);
    set(plan, "HOME", folder.into());
    if !finds_a_toolchain(plan) {
        let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
        let toolchain = folder.join("toolchain");
        link(Path::new(sysroot.trim_end()), &toolchain)?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let first = [toolchain.join("bin")].into_iter().chain(std::env::split_paths(&path));
        set(plan, "PATH", std::env::join_paths(first)?);
        plan.environment.retain(|(name, _)| name != "RUSTUP_TOOLCHAIN" && name != "RUSTUP_HOME");
    }
    // What was unpacked there has whatever permissions its authors gave it: that user unpacks for himself.
    let own = plan.cargo_home.join("registry");
    fs::create_dir(&own)?;
    chown(&own, Some(NOBODY.0), Some(NOBODY.1))?;
    for part in ["index", "cache"] {
        link(&registry.join(part), &own.join(part))?;
    }
    Ok(true)
}

/// Whether the plan's user can run what it takes.
fn finds_a_toolchain(plan: &Plan) -> bool {
    ["cargo", "rustc"].into_iter().all(|program| {
        let mut asked = plan.command(program);
        asked.arg("-V").stdout(Stdio::null()).stderr(Stdio::null());
        asked.status().is_ok_and(|status| status.success())
    })
}

/// Copies a folder as hard links, or, where these do not lead so far, as it is.
fn link(from: &Path, to: &Path) -> Result<()> {
    let from = from.canonicalize().with_context(|| format!("there is no {}", from.display()))?;
    if Command::new("cp").arg("-al").arg(&from).arg(to).stderr(Stdio::null()).status()?.success() {
        return Ok(());
    }
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    run_to_its_end(Command::new("cp").arg("-a").arg(&from).arg(to))
}

/// Makes a folder and all in it that user's.
fn give(path: &Path) -> Result<()> {
    chown(path, Some(NOBODY.0), Some(NOBODY.1))?;
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path())?;
        }
    }
    Ok(())
}

/// Copies what git knows of or would add; a checkout of the same sources has nothing else.
fn copy_sources(from: &Path, to: &Path) -> Result<()> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(from);
    for name in output(&mut git).context("the sources are not in a git checkout")?.split_terminator('\0') {
        let (source, copy) = (from.join(name), to.join(name));
        if source.is_file() {
            fs::create_dir_all(copy.parent().context("a file lies in a folder")?)?;
            fs::copy(source, copy)?;
        }
    }
    Ok(())
}
