//! What must be installed before something can run. Nothing is installed that is already there.

use crate::workspace::{output, root, run, say, target};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where distributions put SoftHSM's library.
const SOFTHSM_PATHS: &[&str] = &[
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

/// Where distributions put the library that speaks to `p11-kit server`.
const P11_KIT_CLIENT_PATHS: &[&str] = &[
    "/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so",
    "/usr/lib/aarch64-linux-gnu/pkcs11/p11-kit-client.so",
    "/usr/lib64/pkcs11/p11-kit-client.so",
    "/usr/lib/pkcs11/p11-kit-client.so",
];

/// Where `docs/pkcs11.md` has the C compiler look for PKCS#11's header.
const PKCS11_HEADER: &str = "/usr/include/p11-kit-1/p11-kit/pkcs11.h";

/// The class of the JDK that the Java example calls, and its module.
const JDK_WRAPPER: [&str; 3] = ["--module", "jdk.crypto.cryptoki", "sun.security.pkcs11.wrapper.PKCS11"];

/// Where Debian's packages put OpenSSL's engine for PKCS#11.
const OPENSSL_ENGINE_PATHS: &[&str] =
    &["/usr/lib/x86_64-linux-gnu/engines-3/pkcs11.so", "/usr/lib/aarch64-linux-gnu/engines-3/pkcs11.so"];

/// Where `docs/pkcs11.md` has Go look for packages.
const GO_SOURCES: &str = "/usr/share/gocode/src";

/// The libraries of the example in Java, where its page says that they are.
const BOUNCY_CASTLE: &str = "/usr/share/java/bcprov.jar";
const GSON: &str = "/usr/share/java/gson.jar";

/// What the tests import in Python.
const PYTHON_IMPORTS: &str = "import pkcs11, PyKCS11, coincurve, Crypto.Hash.keccak";

/// Where Debian puts the browser, and where the tests look for it.
const CHROMIUM: &str = "/usr/bin/chromium";

/// The oldest Node.js that the libraries in `tests/node` run on; Debian 12 has it.
const NODE_LEAST_MAJOR: u32 = 18;

/// A Debian package that something here needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Package {
    /// SoftHSM, the keystore's library.
    SoftHsm2,
    /// OpenSC, for `pkcs11-tool`.
    OpenSc,
    /// p11-kit's tools, for `p11-kit server`.
    P11Kit,
    /// p11-kit's modules, for `p11-kit-client.so`.
    P11KitModules,
    /// Valgrind, for callgrind.
    Valgrind,
    /// A C++ compiler, for libFuzzer.
    CppCompiler,
    /// Python, with what makes virtual environments.
    PythonVenv,
    /// p11-kit's headers, for PKCS#11's. A C compiler is there: cargo linked this program with it.
    P11KitHeaders,
    /// A JDK.
    Jdk,
    /// Node.js.
    Node,
    /// Node's package manager. Debian has it in a package of its own, others have it in Node's.
    Npm,
    /// The browser that the tests of the users' page drive.
    Chromium,
    /// OpenSSH's client, for `ssh-keygen`.
    OpenSsh,
    /// The hypervisor.
    Qemu,
    /// What unpacks a machine's first root, for a test of it.
    Cpio,
    /// What finds out which packages a program needs, and makes packages.
    DpkgDev,
    /// OpenSSL's command line.
    OpenSsl,
    /// OpenSSL's engine for PKCS#11, of libp11.
    OpenSslEngine,
    /// `GnuTLS`'s tools, for `p11tool`.
    GnuTlsTools,
    /// Go.
    Go,
    /// Go's binding of PKCS#11.
    GoPkcs11,
    /// Go's hashes beyond its standard library, for Keccak.
    GoCrypto,
    /// secp256k1 for Go.
    GoSecp256k1,
    /// Bouncy Castle, for Java.
    BouncyCastle,
    /// Gson, for Java.
    Gson,
    /// Node's headers, to compile pkcs11js. Debian has them in a package of their own, others have them in Node's.
    NodeHeaders,
    /// What builds pkcs11js.
    Make,
}

impl Package {
    const fn debian_name(self) -> &'static str {
        match self {
            Self::SoftHsm2 => "softhsm2",
            Self::OpenSc => "opensc",
            Self::P11Kit => "p11-kit",
            Self::P11KitModules => "p11-kit-modules",
            Self::Valgrind => "valgrind",
            Self::CppCompiler => "g++",
            Self::PythonVenv => "python3-venv",
            Self::P11KitHeaders => "libp11-kit-dev",
            Self::Jdk => "default-jdk-headless",
            Self::Node => "nodejs",
            Self::Npm => "npm",
            Self::Chromium => "chromium",
            Self::OpenSsh => "openssh-client",
            Self::Qemu => "qemu-system-x86",
            Self::Cpio => "cpio",
            Self::DpkgDev => "dpkg-dev",
            Self::OpenSsl => "openssl",
            Self::OpenSslEngine => "libengine-pkcs11-openssl",
            Self::GnuTlsTools => "gnutls-bin",
            Self::Go => "golang-go",
            Self::GoPkcs11 => "golang-github-miekg-pkcs11-dev",
            Self::GoCrypto => "golang-golang-x-crypto-dev",
            Self::GoSecp256k1 => "golang-github-btcsuite-btcd-btcec-dev",
            Self::BouncyCastle => "libbcprov-java",
            Self::Gson => "libgoogle-gson-java",
            Self::NodeHeaders => "libnode-dev",
            Self::Make => "make",
        }
    }

    /// Looks for what is needed of the package, not for the package: another distribution names it otherwise.
    fn is_present(self) -> bool {
        match self {
            Self::SoftHsm2 => SOFTHSM_PATHS.iter().any(|path| Path::new(path).exists()),
            Self::OpenSc => is_on_the_path("pkcs11-tool"),
            Self::P11Kit => is_on_the_path("p11-kit"),
            Self::P11KitModules => P11_KIT_CLIENT_PATHS.iter().any(|path| Path::new(path).exists()),
            Self::Valgrind => is_on_the_path("valgrind"),
            Self::CppCompiler => is_on_the_path("c++"),
            Self::PythonVenv => succeeds(Command::new("python3").args(["-c", "import ensurepip, venv"])),
            Self::P11KitHeaders => Path::new(PKCS11_HEADER).exists(),
            // `javap` comes with `javac`, and finds the class only where the JDK has it.
            Self::Jdk => is_on_the_path("javac") && succeeds(Command::new("javap").args(JDK_WRAPPER)),
            Self::Node => node_major().is_some_and(|major| major >= NODE_LEAST_MAJOR),
            Self::Npm => is_on_the_path("npm"),
            Self::Chromium => Path::new(CHROMIUM).exists(),
            Self::OpenSsh => is_on_the_path("ssh-keygen"),
            Self::Qemu => is_on_the_path("qemu-system-x86_64"),
            Self::Cpio => is_on_the_path("cpio"),
            Self::DpkgDev => ["dpkg-deb", "dpkg-shlibdeps"].into_iter().all(is_on_the_path),
            Self::OpenSsl => is_on_the_path("openssl"),
            Self::OpenSslEngine => OPENSSL_ENGINE_PATHS.iter().any(|path| Path::new(path).exists()),
            Self::GnuTlsTools => is_on_the_path("p11tool"),
            Self::Go => is_on_the_path("go"),
            Self::GoPkcs11 => has_go("github.com/miekg/pkcs11/pkcs11.go"),
            Self::GoCrypto => has_go("golang.org/x/crypto/sha3/sha3.go"),
            Self::GoSecp256k1 => has_go("github.com/btcsuite/btcd/btcec/btcec.go"),
            Self::BouncyCastle => Path::new(BOUNCY_CASTLE).exists(),
            Self::Gson => Path::new(GSON).exists(),
            Self::NodeHeaders => {
                node_prefix().is_some_and(|prefix| prefix.join("include/node/node_api.h").exists())
            }
            Self::Make => is_on_the_path("make"),
        }
    }
}

/// Installs with apt what is missing of `packages`; where that cannot be, says what to do.
pub(crate) fn ensure_packages(packages: &[Package]) -> Result<()> {
    let missing = |packages: &[Package]| -> Vec<&'static str> {
        packages.iter().filter(|package| !package.is_present()).map(|package| package.debian_name()).collect()
    };
    let names = missing(packages);
    if names.is_empty() {
        return Ok(());
    }
    let by_hand = format!("install with your system's tools what Debian calls: {}", names.join(" "));
    if !succeeds(Command::new("apt-get").arg("--version")) {
        bail!("something is missing; {by_hand}");
    }
    let root = rustix::process::geteuid().is_root();
    if !root && !succeeds(Command::new("sudo").args(["-n", "true"])) {
        bail!(
            "something is missing, and only root may add it; run: sudo apt-get install {}",
            names.join(" ")
        );
    }
    say(&format!("installing {}", names.join(", ")));
    run(apt(root).args(["--quiet=2", "update"]))?;
    run(apt(root).args(["--quiet=2", "install", "--yes", "--no-install-recommends"]).args(&names))?;
    let names = missing(packages);
    if !names.is_empty() {
        bail!("apt-get succeeded, but what it installed is not found: {}", names.join(" "));
    }
    Ok(())
}

fn apt(root: bool) -> Command {
    let mut command = if root {
        Command::new("env")
    } else {
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", "env"]);
        sudo
    };
    command
        .args(["DEBIAN_FRONTEND=noninteractive", "apt-get"])
        .stdin(Stdio::null())
        .stdout(std::io::stderr());
    command
}

fn is_on_the_path(program: &str) -> bool {
    succeeds(Command::new("sh").args(["-c", &format!("command -v {program}")]))
}

/// Whether Debian's packages of Go sources have this file.
fn has_go(file: &str) -> bool {
    Path::new(GO_SOURCES).join(file).exists()
}

fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// The major version of the Node.js that is on the path.
fn node_major() -> Option<u32> {
    let output = Command::new("node").arg("--version").stdin(Stdio::null()).output().ok()?;
    major_of(&String::from_utf8(output.stdout).ok()?)
}

/// Where Node.js was installed: its headers are there, too, if they are anywhere.
fn node_prefix() -> Option<PathBuf> {
    let asked = ["--print", "process.execPath"];
    let output = Command::new("node").args(asked).stdin(Stdio::null()).output().ok()?;
    let program = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    Some(program.parent()?.parent()?.to_owned())
}

/// The 18 of `v18.20.4`.
fn major_of(version: &str) -> Option<u32> {
    version.strip_prefix('v')?.split('.').next()?.parse().ok()
}

/// A Python that has what `xtask/python-requirements.txt` pins, in a virtual environment of its own: the path of
/// its interpreter.
pub(crate) fn ensure_python() -> Result<PathBuf> {
    let requirements = root().join("xtask/python-requirements.txt");
    let wanted = fs::read_to_string(&requirements).context("cannot read xtask/python-requirements.txt")?;
    let folder = target().join("python");
    let (python, installed) = (folder.join("bin/python"), folder.join("installed.txt"));
    if fs::read_to_string(&installed).is_ok_and(|installed| installed == wanted)
        && succeeds(Command::new(&python).args(["-c", PYTHON_IMPORTS]))
    {
        return Ok(python);
    }
    say("making a Python virtual environment");
    let mut venv = Command::new("python3");
    run(venv.args(["-m", "venv", "--clear"]).arg(&folder).stdout(std::io::stderr()))?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"])
        .arg(&requirements)
        .stdin(Stdio::null())
        .stdout(std::io::stderr());
    run(&mut pip).context("what python-requirements.txt names could not be installed from PyPI")?;
    output(Command::new(&python).args(["-c", PYTHON_IMPORTS]).env_remove("PKCS11_MODULE"))?;
    fs::write(&installed, wanted)?;
    Ok(python)
}

/// `promtool`, which checks the alerts: the one on the path, or else the one out of Debian's package, in a folder of its
/// own. The package itself is not installed: it would start a Prometheus on this machine.
pub(crate) fn ensure_promtool() -> Result<PathBuf> {
    let on_path = output(Command::new("sh").args(["-c", "command -v promtool"]));
    if let Ok(path) = on_path {
        return Ok(PathBuf::from(path.trim()));
    }
    let folder = target().join("promtool");
    let promtool = folder.join("usr/bin/promtool");
    if succeeds(Command::new(&promtool).arg("--version")) {
        return Ok(promtool);
    }
    say("fetching promtool");
    fs::create_dir_all(&folder)?;
    let fetch = || {
        let mut apt = Command::new("apt-get");
        apt.args(["--quiet=2", "download", "prometheus"]).current_dir(&folder);
        run(apt.stdin(Stdio::null()).stdout(std::io::stderr()))
    };
    if fetch().is_err() {
        // Most likely nobody has asked yet what packages there are.
        run(apt(rustix::process::geteuid().is_root()).args(["--quiet=2", "update"]))?;
        fetch().context(
            "Debian's package prometheus is needed for promtool; install it, or put promtool on the path",
        )?;
    }
    let mut unpack = Command::new("sh");
    unpack.args(["-c", "dpkg-deb --extract prometheus_*.deb . && rm prometheus_*.deb"]).current_dir(&folder);
    run(&mut unpack)?;
    output(Command::new(&promtool).arg("--version"))?;
    Ok(promtool)
}

/// The scripts of `tests/node` with the libraries that they use, in a folder of their own: nothing is written beside
/// the sources. The libraries are those of the lock file, by their hashes, and of their scripts one runs: what compiles
/// pkcs11js.
pub(crate) fn ensure_node() -> Result<PathBuf> {
    let (sources, folder) = (root().join("tests/node"), target().join("node"));
    fs::create_dir_all(&folder)?;
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        // A script that is no longer there would still be found.
        if path.is_file() {
            fs::remove_file(path)?;
        }
    }
    for entry in fs::read_dir(&sources).context("cannot read tests/node")? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), folder.join(entry.file_name()))?;
        }
    }
    let wanted =
        fs::read_to_string(sources.join("package-lock.json")).context("tests/node has no lock file")?;
    // What is compiled below is for this Node.js.
    let node = output(Command::new("node").arg("--version"))?;
    install_locked(&folder, &format!("{wanted}{node}"))?;
    if !folder.join("node_modules/pkcs11js/build/Release/pkcs11.node").exists() {
        say("compiling pkcs11js");
        let prefix = node_prefix().context("node cannot be asked where it is")?;
        let mut build = Command::new("npm");
        // With the headers that are there, nothing is fetched.
        build.args(["rebuild", "pkcs11js", "--loglevel=error"]).env("npm_config_nodedir", prefix);
        run(build.current_dir(&folder).stdin(Stdio::null()).stdout(std::io::stderr()))?;
    }
    Ok(folder)
}

/// Builds the users' page, and gives the folder to be served. It is built where its sources are: what it writes there is
/// ignored by git.
pub(crate) fn ensure_page() -> Result<PathBuf> {
    let web = root().join("host-shim/web");
    let wanted =
        fs::read_to_string(web.join("package-lock.json")).context("host-shim/web has no lock file")?;
    install_locked(&web, &wanted)?;
    say("building the users' page");
    let mut build = Command::new("npm");
    build.args(["run", "--silent", "build"]).current_dir(&web);
    run(build.stdin(Stdio::null()).stdout(std::io::stderr()))?;
    Ok(web.join("page/dist"))
}

/// Installs the libraries of the folder's lock file, by their hashes, if `wanted` was not installed before; no script of theirs runs.
fn install_locked(folder: &Path, wanted: &str) -> Result<()> {
    // npm removes the folder before it installs anything, and this file with it.
    let installed = folder.join("node_modules/installed.txt");
    if fs::read_to_string(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    say(&format!("installing the JavaScript libraries of {}", folder.display()));
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(std::io::stderr());
    run(&mut npm).context(
        "the JavaScript libraries that the tests use could not be installed (npm says why above); if npm's registry is \
         not reachable from here, name a mirror: npm config set registry URL",
    )?;
    fs::write(&installed, wanted)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_version_of_node() {
        assert_eq!(major_of("v18.20.4\n"), Some(18));
        assert_eq!(major_of("v9.11.2\n"), Some(9));
        for other in ["", "18.20.4", "v", "vx.1", "command not found"] {
            assert_eq!(major_of(other), None, "{other}");
        }
    }
}
