//! How cargo is called for an image.

use crate::configuration;
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, iter};

/// What goes into the image: the plugin's executable.
pub const IMAGE_PACKAGE: &str = "countersign-image";

/// The profile that it is built with.
pub const IMAGE_PROFILE: &str = "image";

/// Variables that reach the build. Everything else is kept out: flags, wrappers, profiles, locale, time zone.
const PASSED_ON: &[&str] = &[
    "PATH",
    "HOME",
    "TMPDIR",
    "TERM",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "CARGO_NET_OFFLINE",
    "CARGO_HTTP_CAINFO",
    "CARGO_HTTP_PROXY",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "http_proxy",
    "https_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// Where and how an image is built. None of it may change the image.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The root of the sources.
    pub source: PathBuf,
    /// Where cargo builds.
    pub folder: PathBuf,
    /// Cargo's home.
    pub cargo_home: PathBuf,
    /// What the caller's environment is.
    pub environment: Vec<(OsString, OsString)>,
    /// How many jobs cargo runs at once; `None`: as many as it likes.
    pub jobs: Option<u32>,
    /// The permissions that new files do not get, as `umask` takes them; `None`: as the caller has it.
    pub umask: Option<&'static str>,
    /// User and group to build as; `None`: as the caller.
    pub user: Option<(u32, u32)>,
}

impl Plan {
    /// As this process would build the sources in this folder.
    pub fn here(source: &Path) -> Result<Self> {
        let source = source.canonicalize().with_context(|| format!("there is no {}", source.display()))?;
        if !source.join("plugin/image/Cargo.toml").is_file() {
            bail!("{} does not hold the sources of Countersign", source.display());
        }
        let home = || env::home_dir().map(|home| home.join(".cargo"));
        let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home);
        Ok(Self {
            folder: source.join("target/image"),
            source,
            cargo_home: cargo_home.context("neither CARGO_HOME nor HOME is set")?,
            environment: env::vars_os().collect(),
            jobs: None,
            umask: None,
            user: None,
        })
    }

    /// The image package alone, for `target`: built with others, feature unification would give it other bytes.
    ///
    /// # Errors
    /// Where cargo's configuration outside the sources could change the image; see [`crate::configuration`].
    pub fn cargo_build(&self, target: &str) -> Result<Command> {
        configuration::refuse_what_changes_the_image(self)?;
        let mut build = self.command("cargo");
        build.env("CARGO_ENCODED_RUSTFLAGS", self.flags()?);
        build.args(["build", "--locked", "--profile", IMAGE_PROFILE, "-p", IMAGE_PACKAGE]);
        build.args(["--message-format", "json-render-diagnostics", "--target", target]);
        build.arg("--target-dir").arg(&self.folder);
        if let Some(jobs) = self.jobs {
            build.args(["--jobs", &jobs.to_string()]);
        }
        Ok(build)
    }

    /// A program in the environment of the build.
    pub fn command(&self, program: &str) -> Command {
        let mut command = match self.umask {
            // There is no other way to set it for another process without `unsafe`.
            Some(umask) => {
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", "umask \"$0\" && exec \"$@\"", umask, program]);
                shell
            }
            None => Command::new(program),
        };
        command.current_dir(&self.source).env_clear().envs(self.passed_on());
        command.env("LC_ALL", "C").env("CARGO_HOME", &self.cargo_home);
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }

    fn passed_on(&self) -> impl Iterator<Item = (OsString, OsString)> {
        let known = |name: &OsString| name.to_str().is_some_and(|name| PASSED_ON.contains(&name));
        self.environment.iter().filter(move |(name, _)| known(name)).cloned()
    }

    /// A static position-independent executable in which no path of this machine is left. The separator is U+001F, as cargo
    /// wants it.
    pub fn flags(&self) -> Result<String> {
        let text = |path: &Path| {
            path.to_str().map(str::to_owned).with_context(|| format!("{} is not UTF-8", path.display()))
        };
        let remapped = [
            (text(&self.source)?, "/src"),
            // What build scripts generate; the last that fits is taken.
            (text(&self.folder)?, "/target"),
            (text(&self.cargo_home)?, "/cargo"),
        ];
        let remapped = remapped.into_iter().map(|(from, to)| format!("--remap-path-prefix={from}={to}"));
        let flags: Vec<String> = fixed_flags().map(str::to_owned).chain(remapped).collect();
        Ok(flags.join("\u{1f}"))
    }
}

/// The compiler's flags that are the same everywhere.
pub(crate) fn fixed_flags() -> impl Iterator<Item = &'static str> {
    iter::once("-Ctarget-feature=+crt-static").chain(iter::once("-Crelocation-model=pie"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(environment: &[(&str, &str)]) -> Plan {
        let environment = environment.iter().map(|(name, value)| (name.into(), value.into())).collect();
        Plan {
            source: "/somewhere/tree".into(),
            folder: "/somewhere/tree/target/image".into(),
            cargo_home: "/home/me/.cargo".into(),
            environment,
            jobs: None,
            umask: None,
            user: None,
        }
    }

    #[test]
    fn no_flag_of_the_image_keeps_a_path_of_this_machine() {
        let flags = plan(&[]).flags().unwrap();
        let flags: Vec<_> = flags.split('\u{1f}').collect();
        assert!(flags.contains(&"--remap-path-prefix=/somewhere/tree=/src"), "{flags:?}");
        assert!(flags.contains(&"--remap-path-prefix=/home/me/.cargo=/cargo"), "{flags:?}");
    }

    #[test]
    fn the_environment_cannot_change_how_the_image_is_built() {
        let hostile = [
            ("PATH", "/bin"),
            ("RUSTFLAGS", "-Copt-level=0"),
            ("CARGO_ENCODED_RUSTFLAGS", "-Copt-level=0"),
            ("RUSTC_WRAPPER", "/tmp/wrapper"),
            ("CARGO_PROFILE_IMAGE_LTO", "off"),
            ("CFLAGS", "-g"),
            ("LC_ALL", "tr_TR.UTF-8"),
            ("LANG", "tr_TR.UTF-8"),
            ("TZ", "Asia/Kathmandu"),
            ("SOURCE_DATE_EPOCH", "1"),
            ("CARGO_HOME", "/elsewhere"),
        ];
        let build = plan(&hostile).cargo_build("x86_64-unknown-linux-gnu").unwrap();
        let given: Vec<_> =
            build.get_envs().filter_map(|(name, value)| Some((name.to_str()?, value?.to_str()?))).collect();
        for (name, value) in &given {
            let ours = ["LC_ALL", "CARGO_HOME", "CARGO_ENCODED_RUSTFLAGS"];
            assert!(PASSED_ON.contains(name) || ours.contains(name), "{name}={value} leaks in");
        }
        assert!(
            given.contains(&("LC_ALL", "C")) && given.contains(&("CARGO_HOME", "/home/me/.cargo")),
            "{given:?}"
        );
        assert!(given.contains(&("PATH", "/bin")), "{given:?}");
    }
}
