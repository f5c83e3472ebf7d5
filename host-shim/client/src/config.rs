//! `host.toml`: where the HSM is, and where the API key comes from.

use countersign_wire::names::ApiKey;
use serde::Deserialize;
use std::ffi::OsString;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use zeroize::Zeroizing;

/// Names the configuration file, before all other places.
pub const CONFIG_ENV: &str = "COUNTERSIGN_CONFIG";

/// Holds the API key itself, before the file that the configuration names.
pub const API_KEY_ENV: &str = "COUNTERSIGN_API_KEY";

/// The last place where the configuration is looked for.
pub const SYSTEM_CONFIG: &str = "/etc/countersign/host.toml";

/// A configuration or API key file that is longer than this is not one.
const FILE_MAX_BYTES: u64 = 64 * 1024;

/// The longest path of a unix socket (unix(7): 108 bytes with the zero at the end).
pub(crate) const SOCKET_PATH_MAX_BYTES: usize = 107;

/// The longest time that may be configured.
pub const TIMEOUT_MAX: Duration = Duration::from_millis(TIMEOUT_MAX_MS);
const TIMEOUT_MAX_MS: u64 = 600_000;

/// How a host reaches its HSM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostConfig {
    /// The HSM's socket.
    pub socket: PathBuf,
    /// The development-only control channel; there is one only with a manual clock.
    pub control: Option<PathBuf>,
    /// The file that holds the API key.
    pub api_key_file: Option<PathBuf>,
    /// The user who must serve the socket; without one: this process's own user, or root.
    pub hsm_uid: Option<u32>,
    /// The longest that making a connection may take.
    pub connect_timeout: Duration,
    /// The longest that a call may take from its first byte to its last, resending included.
    pub request_timeout: Duration,
}

/// Why a configuration file is the one that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// [`CONFIG_ENV`] names it.
    Environment,
    /// It lies in the home folder.
    Home,
    /// It is [`SYSTEM_CONFIG`].
    System,
}

/// A configuration file, and why it is the one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// Which.
    pub file: PathBuf,
    /// Why.
    pub place: Place,
}

/// What stands in `host.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    socket: PathBuf,
    control: Option<PathBuf>,
    api_key_file: Option<PathBuf>,
    hsm_uid: Option<u32>,
    connect_timeout_ms: Option<u64>,
    request_timeout_ms: Option<u64>,
}

impl HostConfig {
    /// A configuration for `socket` with everything else at its default.
    pub fn for_socket(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
            control: None,
            api_key_file: None,
            hsm_uid: None,
            connect_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(30),
        }
    }

    /// Reads the file named by [`CONFIG_ENV`] (empty: not set), else `~/.config/countersign/host.toml`, else
    /// [`SYSTEM_CONFIG`]. The first that exists is the one: if it cannot be read, that is an error.
    ///
    /// A set-user-id or set-group-id process reads [`SYSTEM_CONFIG`] alone: whoever started it chose its environment.
    pub fn load() -> Result<Self, ConfigError> {
        Self::from_file(&Self::locate()?.file)
    }

    /// The file that [`Self::load`] reads, and why that one. It is not opened.
    pub fn locate() -> Result<Located, ConfigError> {
        if environment_is_trusted() {
            find(std::env::var_os(CONFIG_ENV), std::env::home_dir())
        } else {
            find(None, None)
        }
    }

    /// Reads one file. Paths in it must be absolute, unknown fields are refused.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |why: io::Error| ConfigError::Unreadable { file: path.to_owned(), why };
        let text = read_bounded(open(path).map_err(unreadable)?).map_err(unreadable)?;
        Self::from_text(&text).map_err(|why| ConfigError::Invalid { file: path.to_owned(), why })
    }

    pub(crate) fn from_text(text: &str) -> Result<Self, String> {
        let fields: Fields = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        let Fields { socket, control, api_key_file, hsm_uid, connect_timeout_ms, request_timeout_ms } =
            fields;
        let absolute = |name: &str, path: Option<PathBuf>| match path {
            Some(path) if !path.is_absolute() => Err(format!("{name} must be an absolute path")),
            path => Ok(path),
        };
        let socket_path = |name: &str, path: Option<PathBuf>| match absolute(name, path)? {
            Some(path) if path.as_os_str().len() > SOCKET_PATH_MAX_BYTES => Err(format!(
                "{name} is longer than the {SOCKET_PATH_MAX_BYTES} bytes that a socket's path may have"
            )),
            path => Ok(path),
        };
        let timeout = |name: &str, ms: Option<u64>, default: Duration| match ms {
            None => Ok(default),
            Some(ms) if (1..=TIMEOUT_MAX_MS).contains(&ms) => Ok(Duration::from_millis(ms)),
            Some(_) => Err(format!("{name} must be between 1 and {TIMEOUT_MAX_MS}")),
        };
        socket_path("socket", Some(socket.clone()))?;
        let default = Self::for_socket(socket);
        Ok(Self {
            control: socket_path("control", control)?,
            api_key_file: absolute("api_key_file", api_key_file)?,
            hsm_uid,
            connect_timeout: timeout("connect_timeout_ms", connect_timeout_ms, default.connect_timeout)?,
            request_timeout: timeout("request_timeout_ms", request_timeout_ms, default.request_timeout)?,
            ..default
        })
    }

    /// The API key in [`API_KEY_ENV`] (which a set-user-id or set-group-id process does not look at), else the one in
    /// `api_key_file`, which nobody but its owner may be able to read or write.
    pub fn api_key(&self) -> Result<ApiKey, ConfigError> {
        if let Some(text) = std::env::var_os(API_KEY_ENV).filter(|_| environment_is_trusted()) {
            let source = || format!("the environment variable {API_KEY_ENV}");
            let text = text.into_string().map_err(|_| ConfigError::NotAnApiKey { source: source() })?;
            return ApiKey::parse(&Zeroizing::new(text))
                .map_err(|_| ConfigError::NotAnApiKey { source: source() });
        }
        self.api_key_from_file()
    }

    fn api_key_from_file(&self) -> Result<ApiKey, ConfigError> {
        let path = self.api_key_file.as_deref().ok_or(ConfigError::NoApiKey)?;
        let unreadable = |why: io::Error| ConfigError::Unreadable { file: path.to_owned(), why };
        let file = open(path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(ConfigError::ApiKeyFileNotPrivate { file: path.to_owned() });
        }
        let text = read_bounded(file).map_err(unreadable)?;
        let line = text.strip_suffix('\n').unwrap_or(&text);
        ApiKey::parse(line).map_err(|_| ConfigError::NotAnApiKey { source: path.display().to_string() })
    }
}

/// Whether the environment was chosen by the user with whose rights this process acts, as far as its ids tell.
fn environment_is_trusted() -> bool {
    use nix::unistd::{getegid, geteuid, getgid, getuid};
    getuid() == geteuid() && getgid() == getegid()
}

/// The first place that has a configuration. One that was asked for by name must be there.
///
/// Only what is surely not there is passed over: falling back from a file that cannot be looked at could mean to talk
/// to another HSM than the one it names.
fn find(named: Option<OsString>, home: Option<PathBuf>) -> Result<Located, ConfigError> {
    if let Some(path) = named.filter(|path| !path.is_empty()) {
        return Ok(Located { file: PathBuf::from(path), place: Place::Environment });
    }
    let home = home.filter(|home| home.is_absolute());
    let own = home.map(|home| (home.join(".config/countersign/host.toml"), Place::Home));
    for (file, place) in own.into_iter().chain([(PathBuf::from(SYSTEM_CONFIG), Place::System)]) {
        match file.symlink_metadata() {
            Ok(_) => return Ok(Located { file, place }),
            Err(why) if matches!(why.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(why) => return Err(ConfigError::Unreadable { file, why }),
        }
    }
    Err(ConfigError::Missing)
}

/// Opens for reading, without waiting for whoever may write to the other end of a pipe.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY).open(path)
}

/// Reads a small regular file whole.
fn read_bounded(file: File) -> io::Result<Zeroizing<String>> {
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
    file.take(FILE_MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "file too large"));
    }
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8 text"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Why there is no usable configuration or API key. Each one names what to change.
#[derive(Debug)]
pub enum ConfigError {
    /// No configuration file in any of the places.
    Missing,
    /// A file that cannot be read.
    Unreadable {
        /// Which.
        file: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// A configuration that says something it must not.
    Invalid {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Neither the environment nor the configuration names an API key.
    NoApiKey,
    /// Others may read the API key's file.
    ApiKeyFileNotPrivate {
        /// Which file.
        file: PathBuf,
    },
    /// What should be an API key is none.
    NotAnApiKey {
        /// Where it stands; never what it is.
        source: String,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => write!(
                f,
                "no configuration found; name a host.toml in {CONFIG_ENV}, or put one at ~/.config/countersign/host.toml or {SYSTEM_CONFIG}"
            ),
            Self::Unreadable { file, why } => write!(f, "cannot read {}: {why}", file.display()),
            Self::Invalid { file, why } => write!(f, "{}: {why}", file.display()),
            Self::NoApiKey => write!(
                f,
                "this needs the tenant's API key; set {API_KEY_ENV}, or name its file as api_key_file in host.toml"
            ),
            Self::ApiKeyFileNotPrivate { file } => write!(
                f,
                "others can read or write the API key in {0}; make it private with: chmod 600 {0}",
                file.display()
            ),
            Self::NotAnApiKey { source } => write!(
                f,
                "{source} does not hold an API key; one is cs1_, 64 lowercase hex digits, _ and the tenant's name"
            ),
        }
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn reads_every_field_and_has_defaults_for_all_but_the_socket() {
        let full = HostConfig::from_text(
            "socket = '/h/hsm.sock'\ncontrol = '/h/control.sock'\napi_key_file = '/h/key'\nhsm_uid = 7\n\
             connect_timeout_ms = 5\nrequest_timeout_ms = 6",
        );
        assert_eq!(
            full,
            Ok(HostConfig {
                socket: "/h/hsm.sock".into(),
                control: Some("/h/control.sock".into()),
                api_key_file: Some("/h/key".into()),
                hsm_uid: Some(7),
                connect_timeout: Duration::from_millis(5),
                request_timeout: Duration::from_millis(6),
            })
        );
        assert_eq!(HostConfig::from_text("socket = '/s'"), Ok(HostConfig::for_socket("/s")));
    }

    #[test]
    fn refuses_unknown_fields_relative_paths_and_timeouts_out_of_range() {
        for bad in [
            "",
            "socket = 'hsm.sock'",
            "socket = '/s'\nsokcet = '/t'",
            "socket = '/s'\ncontrol = 'c'",
            "socket = '/s'\napi_key_file = 'k'",
            "socket = '/s'\nconnect_timeout_ms = 0",
            "socket = '/s'\nrequest_timeout_ms = 600001",
            "socket = '/s'\nhsm_uid = -1",
            &format!("socket = '/{}'", "s".repeat(SOCKET_PATH_MAX_BYTES)),
        ] {
            assert!(HostConfig::from_text(bad).is_err(), "{bad:?}");
        }
        assert!(
            HostConfig::from_text(&format!("socket = '/{}'", "s".repeat(SOCKET_PATH_MAX_BYTES - 1))).is_ok()
        );
    }

    #[test]
    fn the_named_file_comes_first_and_then_the_home_folder() {
        let home = tempfile::tempdir().unwrap();
        let named = find(Some("/named.toml".into()), Some(home.path().to_owned())).unwrap();
        assert_eq!(named, Located { file: "/named.toml".into(), place: Place::Environment });
        let own = home.path().join(".config/countersign/host.toml");
        fs::create_dir_all(own.parent().unwrap()).unwrap();
        fs::write(&own, "socket = '/s'").unwrap();
        let found = find(None, Some(home.path().to_owned())).unwrap();
        assert_eq!(found, Located { file: own, place: Place::Home });
        assert!(matches!(
            HostConfig::from_file(&home.path().join("none")),
            Err(ConfigError::Unreadable { .. })
        ));
    }

    #[test]
    fn an_empty_name_counts_as_none_and_a_home_that_is_relative_too() {
        let home = tempfile::tempdir().unwrap();
        let own = home.path().join(".config/countersign/host.toml");
        fs::create_dir_all(own.parent().unwrap()).unwrap();
        fs::write(&own, "socket = '/s'").unwrap();
        assert_eq!(find(Some(OsString::new()), Some(home.path().to_owned())).unwrap().file, own);
        let elsewhere = |found: Result<Located, ConfigError>| match found {
            Ok(found) => found == Located { file: SYSTEM_CONFIG.into(), place: Place::System },
            Err(error) => matches!(error, ConfigError::Missing),
        };
        assert!(elsewhere(find(None, Some(PathBuf::new()))));
        assert!(elsewhere(find(None, Some("home".into()))));
        assert!(elsewhere(find(None, None)));
    }

    #[test]
    fn a_place_that_has_something_unreadable_is_never_passed_over() {
        let home = tempfile::tempdir().unwrap();
        let own = home.path().join(".config/countersign/host.toml");
        fs::create_dir_all(own.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink("nowhere", &own).unwrap();
        assert_eq!(find(None, Some(home.path().to_owned())).unwrap().file, own);
        assert!(matches!(HostConfig::from_file(&own), Err(ConfigError::Unreadable { .. })));
        // A loop of links cannot be looked through by anybody, root included.
        std::os::unix::fs::symlink("loop", home.path().join("loop")).unwrap();
        let unsure = find(None, Some(home.path().join("loop")));
        assert!(matches!(unsure, Err(ConfigError::Unreadable { .. })), "{unsure:?}");
        fs::write(home.path().join("file"), "").unwrap();
        let nothing = find(None, Some(home.path().join("file")));
        assert!(!matches!(nothing, Err(ConfigError::Unreadable { .. })), "{nothing:?}");
    }

    #[test]
    fn what_is_no_regular_file_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("host.toml");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [pipe.as_path(), folder.path()] {
            let found = HostConfig::from_file(path);
            assert!(matches!(found, Err(ConfigError::Unreadable { .. })), "{found:?}");
        }
    }

    #[test]
    fn refuses_an_api_key_file_that_others_can_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("api-key");
        let key = format!("cs1_{}_default", "ab".repeat(32));
        fs::write(&file, format!("{key}\n")).unwrap();
        let config = HostConfig { api_key_file: Some(file.clone()), ..HostConfig::for_socket("/s") };
        for (mode, good) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o620, false)] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            match config.api_key_from_file() {
                Ok(found) => assert!(good && found.expose() == key, "{mode:o}"),
                Err(ConfigError::ApiKeyFileNotPrivate { .. }) => assert!(!good, "{mode:o}"),
                Err(other) => panic!("{mode:o}: {other}"),
            }
        }
    }

    #[test]
    fn refuses_what_is_not_an_api_key_without_repeating_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("api-key");
        fs::write(&file, "hunter2").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let config = HostConfig { api_key_file: Some(file), ..HostConfig::for_socket("/s") };
        let error = config.api_key_from_file().unwrap_err();
        assert!(matches!(error, ConfigError::NotAnApiKey { .. }));
        assert!(!format!("{error} {error:?}").contains("hunter2"));
        assert!(matches!(HostConfig::for_socket("/s").api_key_from_file(), Err(ConfigError::NoApiKey)));
    }
}
