//! `cargo xtask package deb`: Debian packages, with dpkg's own tools.
//!
//! The same programs and the same commit give the same bytes: times are the commit's, owners are root, names are sorted,
//! one thread compresses.

use crate::artefacts::{Programs, build_programs};
use crate::setup::{Package, ensure_packages, ensure_page};
use crate::workspace::{cargo_program, output, root, run as run_to_its_end, say, target};
use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// What the packages are for. The image is x86-64 alone.
const ARCHITECTURE: &str = "amd64";

/// Where Debian puts PKCS#11 modules of that architecture.
const MODULES: &str = "usr/lib/x86_64-linux-gnu/pkcs11";

/// The options of `cargo xtask package`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What to make
    #[arg(value_enum)]
    kind: Kind,
    /// Where to put it [default: target/packages]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Take the programs from this folder, and build none
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Take the users' page from this folder, and build none
    #[arg(long, value_name = "DIR")]
    page: Option<PathBuf>,
    /// Make the packages twice and compare; have lintian look at them; unpack them and run what is in them
    #[arg(long)]
    check: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Kind {
    /// Debian packages
    Deb,
}

/// One file of a package: where it comes from, where it goes, its mode.
struct Placed {
    from: PathBuf,
    to: String,
    mode: u32,
}

/// One package, before it is made.
struct Contents {
    name: &'static str,
    files: Vec<Placed>,
    /// The crates whose dependencies are linked into its programs.
    crates: &'static [&'static str],
}

/// Makes the packages, and checks them where asked. Prints one line of JSON.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let Kind::Deb = arguments.kind;
    ensure_packages(&[Package::DpkgDev])?;
    let out = std::path::absolute(arguments.out.clone().unwrap_or_else(|| target().join("packages")))?;
    let programs = match &arguments.programs {
        Some(folder) => found_in(&std::path::absolute(folder)?)?,
        None => build_programs()?,
    };
    let page = match &arguments.page {
        Some(folder) => std::path::absolute(folder)?,
        None => ensure_page()?,
    };
    let packages = [host_package(&programs, &page)?, hsm_package(&programs)];
    let made = make_all(&packages, &out)?;
    if arguments.check {
        let again = make_all(&packages, &target().join("packages-again"))?;
        for (first, second) in made.iter().zip(&again) {
            ensure!(fs::read(first)? == fs::read(second)?, "{} was made twice, and differs", first.display());
        }
        lint(&made)?;
        try_out(&made)?;
    }
    println!("{}", json!({ "packages": made }));
    Ok(ExitCode::SUCCESS)
}

fn found_in(folder: &Path) -> Result<Programs> {
    let programs = Programs {
        hsm: folder.join("countersign-hsm"),
        cli: folder.join("countersign"),
        module: folder.join("libcountersign_pkcs11.so"),
    };
    for program in [&programs.hsm, &programs.cli, &programs.module] {
        ensure!(program.exists(), "{} is not there", program.display());
    }
    Ok(programs)
}

fn placed(from: impl AsRef<Path>, to: impl Into<String>, mode: u32) -> Placed {
    Placed { from: root().join(from), to: to.into(), mode }
}

/// For the machines whose programs call the HSM.
fn host_package(programs: &Programs, page: &Path) -> Result<Contents> {
    let mut files = vec![
        placed(&programs.cli, "usr/bin/countersign", 0o755),
        placed(&programs.module, format!("{MODULES}/libcountersign_pkcs11.so"), 0o644),
        placed("packaging/debian/countersign.module", "usr/share/p11-kit/modules/countersign.module", 0o644),
        placed(
            "packaging/systemd/countersign-relay.service",
            "lib/systemd/system/countersign-relay.service",
            0o644,
        ),
        placed("packaging/systemd/countersign-relay.sysusers", "usr/lib/sysusers.d/countersign.conf", 0o644),
        placed("packaging/systemd/countersign.tmpfiles", "usr/lib/tmpfiles.d/countersign.conf", 0o644),
        placed("packaging/systemd/countersign-relay.default", "etc/default/countersign-relay", 0o644),
        placed("packaging/debian/host.toml", "usr/share/doc/countersign/examples/host.toml", 0o644),
    ];
    let mut entries: Vec<PathBuf> = fs::read_dir(page)
        .with_context(|| format!("the users' page is not in {}", page.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    entries.sort();
    for file in entries {
        let name = file.file_name().and_then(|name| name.to_str()).context("the page has plain names")?;
        ensure!(file.is_file(), "{} is no file: the page has files alone", file.display());
        files.push(placed(&file, format!("usr/share/countersign/page/{name}"), 0o644));
    }
    documents(
        "countersign",
        &[
            "cli",
            "pkcs11",
            "relay",
            "approvals",
            "bitcoin",
            "log",
            "attestation",
            "release",
            "configuration",
            "operations",
        ],
        &mut files,
    );
    for example in ["sign.c", "sign.py", "Sign.java", "SignApproved.java"] {
        files.push(placed(
            format!("docs/examples/{example}"),
            format!("usr/share/doc/countersign/examples/{example}"),
            0o644,
        ));
    }
    Ok(Contents { name: "countersign", files, crates: &["countersign-cli", "countersign-pkcs11"] })
}

/// For the machine that stands for the HSM.
fn hsm_package(programs: &Programs) -> Contents {
    let mut files = vec![
        placed(&programs.hsm, "usr/bin/countersign-hsm", 0o755),
        placed(
            "packaging/systemd/countersign-hsm.service",
            "lib/systemd/system/countersign-hsm.service",
            0o644,
        ),
        placed(
            "packaging/systemd/countersign-hsm.sysusers",
            "usr/lib/sysusers.d/countersign-hsm.conf",
            0o644,
        ),
        placed(
            "packaging/systemd/countersign-hsm.tmpfiles",
            "usr/lib/tmpfiles.d/countersign-hsm.conf",
            0o644,
        ),
        placed("packaging/systemd/countersign-hsm.default", "etc/default/countersign-hsm", 0o644),
    ];
    documents(
        "countersign-hsm",
        &["hsm-home", "observability", "release", "configuration", "operations"],
        &mut files,
    );
    for file in ["alerts.yml", "grafana-dashboard.json"] {
        files.push(placed(
            format!("docs/observability/{file}"),
            format!("usr/share/doc/countersign-hsm/observability/{file}"),
            0o644,
        ));
    }
    Contents { name: "countersign-hsm", files, crates: &["countersign-simulator"] }
}

fn documents(package: &str, pages: &[&str], files: &mut Vec<Placed>) {
    let folder = format!("usr/share/doc/{package}");
    for page in pages {
        files.push(placed(format!("docs/{page}.md"), format!("{folder}/{page}.md"), 0o644));
    }
    // Where the page on operations links to it.
    let capacity = "manual/custodians/capacity.md";
    files.push(placed(format!("docs/{capacity}"), format!("{folder}/{capacity}"), 0o644));
    files.push(placed("SECURITY.md", format!("{folder}/SECURITY.md"), 0o644));
    files.push(placed("packaging/debian/copyright", format!("{folder}/copyright"), 0o644));
    let overrides = format!("packaging/debian/{package}/lintian-overrides");
    files.push(placed(overrides, format!("usr/share/lintian/overrides/{package}"), 0o644));
}

fn make_all(packages: &[Contents], out: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    packages.iter().map(|contents| make(contents, out)).collect()
}

/// The version of the packages: the first line of Debian's changelog has it.
fn version() -> Result<String> {
    let changelog = fs::read_to_string(root().join("packaging/debian/changelog"))?;
    let version = version_in(&changelog).context("packaging/debian/changelog names no version")?;
    let upstream = version.rsplit_once('-').map_or(version, |(upstream, _)| upstream);
    ensure!(
        upstream == env!("CARGO_PKG_VERSION"),
        "packaging/debian/changelog has version {upstream}, the workspace {}",
        env!("CARGO_PKG_VERSION")
    );
    Ok(version.to_owned())
}

fn version_in(changelog: &str) -> Option<&str> {
    let (_, rest) = changelog.lines().next()?.split_once('(')?;
    Some(rest.split_once(')')?.0)
}

fn make(contents: &Contents, out: &Path) -> Result<PathBuf> {
    let (name, version) = (contents.name, version()?);
    say(&format!("packing {name} {version}"));
    let stage = target().join("packages-stage").join(name);
    if stage.exists() {
        fs::remove_dir_all(&stage)?;
    }
    for file in &contents.files {
        place(file, &stage)?;
    }
    let programs: Vec<PathBuf> =
        contents.files.iter().filter(|file| is_program(file)).map(|file| stage.join(&file.to)).collect();
    for program in &programs {
        run_to_its_end(
            Command::new("strip").args(["--strip-unneeded", "--remove-section=.comment"]).arg(program),
        )?;
    }
    compressed(&root().join("CHANGELOG.md"), &stage.join(format!("usr/share/doc/{name}/changelog.gz")))?;
    let debian = root().join("packaging/debian/changelog");
    compressed(&debian, &stage.join(format!("usr/share/doc/{name}/changelog.Debian.gz")))?;
    write(&stage.join(format!("usr/share/doc/{name}/crates.txt")), &crates(contents.crates)?, 0o644)?;
    let depends = depends(&programs)?;
    control(contents, &stage, &version, &depends)?;
    set_folders(&stage)?;
    let package = out.join(format!("{name}_{version}_{ARCHITECTURE}.deb"));
    let mut pack = Command::new("dpkg-deb");
    pack.args(["--root-owner-group", "-Zxz", "--threads-max=1", "--build"]).arg(&stage).arg(&package);
    run_to_its_end(pack.env("SOURCE_DATE_EPOCH", epoch()?).stdout(std::io::stderr()))?;
    Ok(package)
}

fn is_program(file: &Placed) -> bool {
    file.to.starts_with("usr/bin/") || file.to.starts_with(MODULES)
}

fn place(file: &Placed, stage: &Path) -> Result<()> {
    let to = stage.join(&file.to);
    fs::create_dir_all(to.parent().expect("files lie in folders"))?;
    fs::copy(&file.from, &to).with_context(|| format!("cannot copy {}", file.from.display()))?;
    fs::set_permissions(&to, Permissions::from_mode(file.mode))?;
    Ok(())
}

fn write(file: &Path, text: &str, mode: u32) -> Result<()> {
    fs::create_dir_all(file.parent().expect("files lie in folders"))?;
    fs::write(file, text)?;
    fs::set_permissions(file, Permissions::from_mode(mode))?;
    Ok(())
}

/// Without the name and the time of the file, which gzip would write into it.
fn compressed(from: &Path, to: &Path) -> Result<()> {
    let gzip = Command::new("gzip")
        .args(["-9", "--no-name", "--stdout"])
        .arg(from)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start gzip")?;
    ensure!(gzip.status.success(), "gzip failed");
    fs::create_dir_all(to.parent().expect("files lie in folders"))?;
    fs::write(to, gzip.stdout)?;
    fs::set_permissions(to, Permissions::from_mode(0o644))?;
    Ok(())
}

/// Each crate of others that is linked in, with its version and the licence that its author declares.
fn crates(packages: &[&str]) -> Result<String> {
    let mut tree = Command::new(cargo_program());
    tree.current_dir(root()).args([
        "tree",
        "--locked",
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--no-dedupe",
    ]);
    tree.args(["--format", "{p} {l}"]);
    for package in packages {
        tree.args(["-p", package]);
    }
    let told = output(&mut tree)?;
    // Those with a path are of this repository.
    let mut lines: Vec<&str> = told
        .lines()
        .map(|line| line.trim_end_matches(" (*)"))
        .filter(|line| !line.is_empty() && !line.contains("(/"))
        .collect();
    lines.sort_unstable();
    lines.dedup();
    Ok(lines.join("\n") + "\n")
}

/// What the programs need of the system, as dpkg finds it in them.
fn depends(programs: &[PathBuf]) -> Result<String> {
    // It wants to see a source package, if only its name.
    let source = target().join("packages-source");
    write(
        &source.join("debian/control"),
        "Source: countersign\n\nPackage: countersign\nArchitecture: any\n",
        0o644,
    )?;
    let mut find = Command::new("dpkg-shlibdeps");
    find.arg("-O").arg("--ignore-missing-info").args(programs).current_dir(&source);
    let told = output(&mut find)?;
    let depends = told.trim().strip_prefix("shlibs:Depends=").context("dpkg-shlibdeps names nothing")?;
    Ok(depends.to_owned())
}

/// DEBIAN/: control, conffiles, scripts, checksums.
fn control(contents: &Contents, stage: &Path, version: &str, depends: &str) -> Result<()> {
    let from = root().join("packaging/debian").join(contents.name);
    let to = stage.join("DEBIAN");
    let mut files = Vec::new();
    list(stage, stage, &mut files)?;
    files.sort();
    let mut bytes = 0;
    for file in &files {
        bytes += fs::metadata(stage.join(file))?.len();
    }
    let text = fs::read_to_string(from.join("control"))?
        .replace("@VERSION@", version)
        .replace("@ARCHITECTURE@", ARCHITECTURE)
        .replace("@DEPENDS@", depends)
        .replace("@SIZE@", &bytes.div_ceil(1024).to_string());
    let mut sums = Command::new("md5sum");
    let sums = output(sums.args(files.iter().filter(|file| !file.starts_with("etc/"))).current_dir(stage))?;
    write(&to.join("control"), &text, 0o644)?;
    write(&to.join("md5sums"), &sums, 0o644)?;
    write(&to.join("conffiles"), &fs::read_to_string(from.join("conffiles"))?, 0o644)?;
    for script in ["postinst", "prerm", "postrm"] {
        write(&to.join(script), &fs::read_to_string(from.join(script))?, 0o755)?;
    }
    Ok(())
}

/// All files under `folder`, named from `stage` on.
fn list(stage: &Path, folder: &Path, files: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            list(stage, &path, files)?;
        } else {
            files.push(path.strip_prefix(stage)?.to_str().context("packages have plain names")?.to_owned());
        }
    }
    Ok(())
}

/// Folders get the mode that Debian has them in, whatever the umask.
fn set_folders(folder: &Path) -> Result<()> {
    fs::set_permissions(folder, Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            set_folders(&path)?;
        }
    }
    Ok(())
}

/// The time that files in a package have: `SOURCE_DATE_EPOCH`, else that of the commit.
fn epoch() -> Result<String> {
    if let Ok(epoch) = env::var("SOURCE_DATE_EPOCH") {
        return Ok(epoch);
    }
    let told = output(Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(root()))
        .context("SOURCE_DATE_EPOCH is not set, and git knows no commit")?;
    Ok(told.trim().to_owned())
}

/// Lintian's errors and warnings fail, where there is lintian.
fn lint(packages: &[PathBuf]) -> Result<()> {
    if Command::new("lintian").arg("--version").stdout(Stdio::null()).status().is_err() {
        say("there is no lintian here: what it would say is not known");
        return Ok(());
    }
    run_to_its_end(
        // Lintian does not like to be root, and works all the same.
        Command::new("lintian")
            .args(["--allow-root", "--fail-on", "error,warning"])
            .args(packages)
            .stdout(std::io::stderr()),
    )
}

/// Unpacks the packages, and runs what is in them from there.
fn try_out(packages: &[PathBuf]) -> Result<()> {
    let folder = target().join("packages-tried");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    for package in packages {
        run_to_its_end(Command::new("dpkg-deb").arg("--extract").arg(package).arg(&folder))?;
    }
    let own = env!("CARGO_PKG_VERSION");
    for program in ["countersign", "countersign-hsm"] {
        let told = output(Command::new(folder.join("usr/bin").join(program)).arg("--version"))?;
        ensure!(told.trim() == format!("{program} {own}"), "{program} says that it is {told}");
    }
    let config = folder.join("usr/share/doc/countersign/examples/host.toml");
    let module = folder.join(MODULES).join("libcountersign_pkcs11.so");
    let mut doctor = Command::new(folder.join("usr/bin/countersign"));
    doctor.args(["doctor", "--json", "--config"]).arg(config).arg("--module").arg(module);
    let examined = doctor.stderr(Stdio::inherit()).output().context("cannot start countersign")?;
    // There is no HSM here; the module and the example of a configuration must be good all the same.
    let report: serde_json::Value =
        serde_json::from_slice(&examined.stdout).context("doctor printed no JSON")?;
    for check in ["config-file", "pkcs11-module"] {
        let found = report["checks"]
            .as_array()
            .and_then(|checks| checks.iter().find(|found| found["check"] == check));
        if found.is_none_or(|found| found["outcome"] != "ok") {
            bail!("in the packages, {check} is not ok: {report}");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packages_have_the_workspaces_version() {
        assert_eq!(version_in("countersign (0.1.0-1) unstable; urgency=medium\n"), Some("0.1.0-1"));
        assert_eq!(version_in("nonsense"), None);
        assert!(version().unwrap().starts_with(env!("CARGO_PKG_VERSION")));
    }

    #[test]
    fn what_the_packages_take_from_the_repository_is_there() {
        let programs = Programs { hsm: "/h".into(), cli: "/c".into(), module: "/m".into() };
        let page = tempfile::tempdir().unwrap();
        for contents in [host_package(&programs, page.path()).unwrap(), hsm_package(&programs)] {
            for file in contents.files.iter().filter(|file| !is_program(file)) {
                assert!(file.from.is_file(), "{} of {}", file.from.display(), contents.name);
            }
            let folder = root().join("packaging/debian").join(contents.name);
            let conffiles = fs::read_to_string(folder.join("conffiles")).unwrap();
            let expected: Vec<&str> = contents
                .files
                .iter()
                .map(|file| file.to.as_str())
                .filter(|to| to.starts_with("etc/"))
                .collect();
            let listed: Vec<&str> = conffiles.lines().map(|line| line.trim_start_matches('/')).collect();
            assert_eq!(listed, expected, "{}", contents.name);
        }
    }

    /// The image is the operator's to choose, and nothing secret is for everybody.
    #[test]
    fn no_package_has_an_image_or_a_key_in_it() {
        let programs = Programs { hsm: "/h".into(), cli: "/c".into(), module: "/m".into() };
        let page = tempfile::tempdir().unwrap();
        for contents in [host_package(&programs, page.path()).unwrap(), hsm_package(&programs)] {
            for file in &contents.files {
                assert!(!file.to.contains("image") && !file.to.contains("key"), "{}", file.to);
            }
        }
    }
}
