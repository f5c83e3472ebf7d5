//! What goes into an image besides sources: Rust's standard library, and what the C compiler links every static program with.

use crate::plan::Plan;
use crate::{output, read, sha256_hex};
use anyhow::{Context, Result, bail};
use countersign_release::sbom::{Component, Hash, Kind, License};
use std::path::Path;

/// The files of the C library and of the C compiler that a static, position-independent program is linked with.
const C_FILES: &[&str] =
    &["crtbeginS.o", "crtendS.o", "crti.o", "crtn.o", "libc.a", "libgcc.a", "libgcc_eh.a", "rcrt1.o"];

/// A toolchain.
#[derive(Clone, Debug)]
pub struct Toolchain {
    /// The target triple of this machine, for which images are built.
    pub target: String,
    /// Version of the compiler: `1.95.0`.
    pub rust_version: String,
    /// The commit that it was built from.
    pub rust_commit: String,
    /// The C compiler, which assembles and links: the first line of its `--version`, without its name.
    pub cc: String,
    /// What it links every program with.
    pub c_files: Vec<CFile>,
}

/// A file that the C compiler links every program with.
#[derive(Clone, Debug)]
pub struct CFile {
    /// Its name.
    pub name: String,
    /// In lower-case hex.
    pub sha256: String,
    /// The package that it is of, and its version; `unknown` where the machine has no dpkg.
    pub package: (String, String),
}

impl Toolchain {
    /// The one that a plan builds with.
    pub fn of(plan: &Plan) -> Result<Self> {
        let version = output(plan.command("rustc").arg("-vV"))?;
        let field = |name: &str| {
            let line = version.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            line.map(str::to_owned).with_context(|| format!("rustc names no {name}"))
        };
        let target = field("host")?;
        if !target.ends_with("-unknown-linux-gnu") {
            bail!("the image is built on Linux with glibc, and this Rust is for {target}");
        }
        let cc = output(plan.command("cc").arg("--version"))?;
        let cc = cc.lines().next().and_then(|line| line.split_once(' ')).context("cc names no version")?;
        Ok(Self {
            target,
            rust_version: field("release")?,
            rust_commit: field("commit-hash")?,
            cc: cc.1.to_owned(),
            c_files: C_FILES.iter().map(|name| CFile::find(plan, name)).collect::<Result<_>>()?,
        })
    }

    /// Version and commit of the compiler in one text.
    pub fn rustc(&self) -> String {
        format!("{} ({})", self.rust_version, self.rust_commit)
    }

    /// The packages that the C files are of, each once.
    pub fn c_packages(&self) -> String {
        let mut packages: Vec<String> = Vec::new();
        for CFile { package: (name, version), .. } in &self.c_files {
            let package = format!("{name} {version}");
            if !packages.contains(&package) {
                packages.push(package);
            }
        }
        packages.join(", ")
    }

    /// SHA-256 over name and hash of each C file.
    pub fn c_files_sha256(&self) -> String {
        let line = |file: &CFile| format!("{} {}\n", file.sha256, file.name);
        let lines = self.c_files.iter().map(line).collect::<Vec<_>>().concat();
        sha256_hex(lines.as_bytes())
    }

    /// What it puts into an image.
    pub(crate) fn components(&self) -> Vec<Component> {
        let std = Component {
            kind: Kind::Library,
            name: "rust-std".into(),
            version: self.rust_version.clone(),
            hashes: Vec::new(),
            licenses: vec![License { expression: "MIT OR Apache-2.0".into() }],
            purl: Some(format!(
                "pkg:generic/rust-std@{}?vcs_url=git%2Bhttps://github.com/rust-lang/rust%40{}",
                self.rust_version, self.rust_commit
            )),
        };
        std::iter::once(std).chain(self.c_files.iter().map(CFile::component)).collect()
    }
}

impl CFile {
    fn find(plan: &Plan, name: &str) -> Result<Self> {
        let printed = output(plan.command("cc").arg(format!("-print-file-name={name}")))?;
        let path = Path::new(printed.trim_end());
        // The compiler repeats the bare name of what it does not find.
        let path = path
            .canonicalize()
            .with_context(|| format!("the C compiler has no {name}; install libc6-dev"))?;
        Ok(Self { name: name.into(), sha256: sha256_hex(&read(&path)?), package: package_of(plan, &path) })
    }

    fn component(&self) -> Component {
        let (package, version) = &self.package;
        let version_in_purl = version.replace('+', "%2B").replace(':', "%3A");
        Component {
            kind: Kind::File,
            name: self.name.clone(),
            version: version.clone(),
            hashes: vec![Hash::sha256(&self.sha256)],
            licenses: Vec::new(),
            purl: (package != UNKNOWN).then(|| format!("pkg:deb/debian/{package}@{version_in_purl}")),
        }
    }
}

const UNKNOWN: &str = "unknown";

/// What dpkg says; the hash of the file says the rest.
fn package_of(plan: &Plan, path: &Path) -> (String, String) {
    let ask = |arguments: &[&str]| {
        let output = plan.command("dpkg-query").args(arguments).output().ok()?;
        String::from_utf8(output.stdout).ok().filter(|_| output.status.success())
    };
    let found = || {
        let owners = ask(&["-S", path.to_str()?])?;
        let package = owners.split([':', ',']).next()?.to_owned();
        let version = ask(&["-W", "-f=${Version}\n", &package])?.lines().next()?.to_owned();
        Some((package, version))
    };
    found().unwrap_or_else(|| (UNKNOWN.into(), UNKNOWN.into()))
}
