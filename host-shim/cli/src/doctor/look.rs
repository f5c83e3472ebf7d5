//! All observing: files, sockets, the HSM's answers, `/proc`. What is found is judged elsewhere.

use super::configuration::{ConfigFacts, KeyFacts, Owner};
use super::elf;
use super::host::{
    HomeFacts, HostFacts, ImageFileFacts, LayerFacts, Limit, LimitFacts, NamespaceFacts, Swap, SwapKind,
    UnitFacts,
};
use super::hsm::HsmFacts;
use super::module::{ModuleFacts, P11KitFacts};
use crate::session::Session;
use countersign_attestation::{Claims, verify};
use countersign_client::config::{API_KEY_ENV, ConfigError};
use countersign_client::device::{DeviceError, Hsm, Root};
use countersign_client::{Client, HostConfig};
use countersign_release::Image;
use countersign_release::image::IMAGE_MAX_BYTES;
use countersign_wire::client::{Act, Answer, Status};
use countersign_wire::reason::Reason;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket as new_socket, sockopt,
};
use serde_bytes::ByteBuf;
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

/// What the module is called.
const MODULE: &str = "libcountersign_pkcs11.so";

/// Where distributions put PKCS#11 modules.
const MODULE_PLACES: &[&str] = &[
    "/usr/lib/x86_64-linux-gnu/pkcs11",
    "/usr/lib/aarch64-linux-gnu/pkcs11",
    "/usr/lib64/pkcs11",
    "/usr/lib/pkcs11",
    "/usr/local/lib/pkcs11",
];

/// Where p11-kit looks for what describes modules.
const P11_KIT_PLACES: &[&str] = &["/etc/pkcs11/modules", "/usr/share/p11-kit/modules"];

/// A module that is longer than this is not one.
const MODULE_MAX_BYTES: u64 = 256 * 1024 * 1024;

fn own_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

fn owner_of(path: &Path) -> io::Result<Owner> {
    fs::metadata(path).map(|found| Owner { uid: found.uid(), mode: found.mode() & 0o7777 })
}

/// The configuration that every command would read.
pub(super) fn configuration(named: Option<&Path>) -> ConfigFacts {
    let (file, place) = match named {
        Some(file) => (file.to_owned(), None),
        None => match HostConfig::locate() {
            Ok(found) => (found.file, Some(found.place)),
            Err(why) => return ConfigFacts::None(sentence(&why)),
        },
    };
    let read = HostConfig::from_file(&file).map_err(|why| sentence(&why));
    ConfigFacts::File { owner: owner_of(&file).ok(), file, place, read, own_uid: own_uid() }
}

/// What an error says, as a sentence.
fn sentence(error: &ConfigError) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), letters.as_str()))
}

/// Whether there is an API key; what it is, is not kept.
pub(super) fn api_key(config: &HostConfig) -> KeyFacts {
    let file = || config.api_key_file.as_ref().map(|file| file.display().to_string());
    let source = if std::env::var_os(API_KEY_ENV).is_some() { Some(API_KEY_ENV.to_owned()) } else { file() };
    let fault = match config.api_key() {
        Ok(_) | Err(ConfigError::NoApiKey) => None,
        Err(why) => Some(sentence(&why)),
    };
    KeyFacts { source, fault }
}

/// What was found where the socket should be.
pub(super) struct SocketFacts {
    pub(super) path: PathBuf,
    pub(super) state: SocketState,
}

/// The same, without where.
pub(super) enum SocketState {
    Missing,
    NoSocket,
    Forbidden,
    NobodyListens(String),
    Served {
        uid: u32,
        pid: i32,
        /// Whether that is a user who may.
        wanted: bool,
    },
}

impl SocketFacts {
    /// The process that serves it, if the right user's does.
    pub(super) fn serving_pid(&self) -> Option<i32> {
        match self.state {
            SocketState::Served { pid, wanted: true, .. } => Some(pid),
            _ => None,
        }
    }
}

/// Who serves the socket. Nothing is sent.
pub(super) fn socket(config: &HostConfig) -> SocketFacts {
    let path = config.socket.clone();
    let state = match fs::metadata(&path) {
        Err(why) if why.kind() == io::ErrorKind::PermissionDenied => SocketState::Forbidden,
        Err(_) => SocketState::Missing,
        Ok(found) if !found.file_type().is_socket() => SocketState::NoSocket,
        Ok(_) => match served_by(&path) {
            Ok((uid, pid)) => {
                let wanted = config.hsm_uid.map_or(uid == 0 || uid == own_uid(), |expected| uid == expected);
                SocketState::Served { uid, pid, wanted }
            }
            Err(Errno::EACCES | Errno::EPERM) => SocketState::Forbidden,
            Err(why) => SocketState::NobodyListens(why.desc().to_lowercase()),
        },
    };
    SocketFacts { path, state }
}

fn served_by(path: &Path) -> nix::Result<(u32, i32)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = new_socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    let peer = getsockopt(&fd, sockopt::PeerCredentials)?;
    Ok((peer.uid(), peer.pid()))
}

/// What the HSM says of itself, to everybody and to this API key.
pub(super) fn hsm(config: &HostConfig, root: Option<&Root>) -> HsmFacts {
    let session = Session { config: config.clone(), client: Client::new(config.clone()) };
    let status = session.client.call(None, Act::Status);
    let status = match status {
        Ok(Answer::Status(status)) => Ok((status, now_secs())),
        Ok(_) => Err(Reason::HsmUnreachable),
        Err(refusal) => Err(refusal.reason),
    };
    if status.is_err() {
        return HsmFacts { status, login: None, distrust: None, claims: None };
    }
    let login = config.api_key().ok().map(|key| match session.client.call(Some(&key), Act::Login) {
        Ok(Answer::Welcome(welcome)) => Ok(welcome.tenant),
        Ok(_) => Err(Reason::HsmUnreachable),
        Err(refusal) => Err(refusal.reason),
    });
    let distrust = root.and_then(|root| match Hsm::identify(&session.client, root) {
        Ok(_) => None,
        Err(DeviceError::Distrusted(distrust)) => Some(distrust.word().to_owned()),
        Err(DeviceError::Refused(refusal)) => Some(refusal.reason.word().to_owned()),
    });
    let claims = match (&login, &status) {
        (Some(Ok(_)), Ok((status, _))) => attested(&session, status),
        _ => None,
    };
    HsmFacts { status, login, distrust, claims }
}

/// What the HSM attests under the root that it names itself: whether that is the right one is another check.
fn attested(session: &Session, status: &Status) -> Option<Claims> {
    let mut nonce = vec![0; 32];
    getrandom::fill(&mut nonce).ok()?;
    let Ok(Answer::Attested(token)) = session.ask(Act::Attest(ByteBuf::from(nonce.clone()))) else {
        return None;
    };
    let hsm = session.identity(None).ok()?;
    let root = Sha256::digest(hsm.endorsed().root.as_slice());
    let claims = verify(&token, &root.into()).ok()?.claims;
    (claims.nonce == nonce && claims.hsm_id == *status.hsm_id).then_some(claims)
}

fn now_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Whether systemd knows the clock to be kept; `None`: it does not run here, or does not say.
pub(super) fn time_synchronised() -> Option<bool> {
    if !Path::new("/run/systemd/system").exists() {
        return None;
    }
    if Path::new("/run/systemd/timesync/synchronized").exists() {
        return Some(true);
    }
    match printed(Command::new("timedatectl").args(["show", "--property=NTPSynchronized", "--value"]))?.trim()
    {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

/// What a program that succeeds prints.
fn printed(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    if output.status.success() { String::from_utf8(output.stdout).ok() } else { None }
}

/// The module: the one that was named, else the first in the usual places or beside this program.
pub(super) fn module(named: Option<&Path>) -> ModuleFacts {
    let usual = || {
        let beside = own_folder().map(|folder| folder.join(MODULE));
        MODULE_PLACES.iter().map(|folder| Path::new(folder).join(MODULE)).chain(beside).collect()
    };
    let places = named.map_or_else(usual, |file| vec![file.to_owned()]);
    let Some(file) = places.iter().find(|place| named.is_some() || place.exists()).cloned() else {
        return ModuleFacts::Nowhere(places);
    };
    let read = || {
        let owner = owner_of(&file)?;
        let mut bytes = Vec::new();
        fs::File::open(&file)?.take(MODULE_MAX_BYTES).read_to_end(&mut bytes)?;
        Ok::<_, io::Error>((owner, elf::exports(&bytes, "C_GetFunctionList")))
    };
    match read() {
        Ok((owner, exports)) => ModuleFacts::File { exports, owner, own_uid: own_uid(), file },
        Err(why) => ModuleFacts::Unreadable(file, why.to_string()),
    }
}

fn own_folder() -> Option<PathBuf> {
    std::env::current_exe().ok()?.parent().map(Path::to_owned)
}

/// The first of p11-kit's files that names the module.
pub(super) fn p11_kit() -> P11KitFacts {
    for folder in P11_KIT_PLACES {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.sort();
        for by in files {
            if let Some(module) = fs::read_to_string(&by).ok().as_deref().and_then(module_named_in) {
                // A name without a folder is one of p11-kit's own.
                let exists = if module.is_absolute() {
                    module.exists()
                } else {
                    MODULE_PLACES.iter().any(|place| Path::new(place).join(&module).exists())
                };
                return P11KitFacts::Named { by, module, exists };
            }
        }
    }
    P11KitFacts::NotNamed
}

/// What the line `module:` of one of p11-kit's files names, if it is this module.
fn module_named_in(text: &str) -> Option<PathBuf> {
    let named = text.lines().find_map(|line| line.trim().strip_prefix("module:"))?;
    let module = PathBuf::from(named.trim());
    (module.file_name()? == MODULE).then_some(module)
}

/// The image's file, measured.
pub(super) fn image_file(file: &Path) -> ImageFileFacts {
    let measure = || {
        let mut bytes = Vec::new();
        let opened = fs::File::open(file);
        opened
            .and_then(|opened| opened.take(IMAGE_MAX_BYTES as u64 + 1).read_to_end(&mut bytes))
            .map_err(|why| why.to_string())?;
        let image = Image::parse(&bytes).map_err(|refusal| refusal.to_string())?;
        Ok(image.release().measurement.to_string())
    };
    ImageFileFacts { file: file.to_owned(), measured: measure() }
}

/// The machine, as the HSM in this folder has it, which may run as this process.
pub(super) fn host(home: &Path, running: Option<i32>) -> HostFacts {
    let found = home_folder(home);
    let layers = layers(&found);
    HostFacts {
        home: found,
        user_namespaces: NamespaceFacts {
            most: number("/proc/sys/user/max_user_namespaces"),
            unprivileged: number("/proc/sys/kernel/unprivileged_userns_clone"),
            apparmor_restricts: number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
        },
        layers,
        limits: limits(running),
        dumps_piped: fs::read_to_string("/proc/sys/kernel/core_pattern")
            .ok()
            .map(|text| text.starts_with('|')),
        swaps: fs::read_to_string("/proc/swaps").ok().map(|text| swaps(&text)),
        ptrace_scope: number("/proc/sys/kernel/yama/ptrace_scope"),
        unit: unit(),
    }
}

fn number(file: &str) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// No content is read: what lies there is the HSM's secret.
fn home_folder(home: &Path) -> HomeFacts {
    let not_seen =
        |why: io::Error| HomeFacts::NotSeen(format!("{} cannot be looked at: {why}.", home.display()));
    let owner = match owner_of(home) {
        Ok(owner) => owner,
        Err(why) => return not_seen(why),
    };
    match fs::symlink_metadata(home.join("nvram/fuses")) {
        Ok(_) => {}
        Err(why) if why.kind() == io::ErrorKind::NotFound => {
            return HomeFacts::NotSeen(format!(
                "{} is not the folder of an HSM: it has no nvram/fuses.",
                home.display()
            ));
        }
        Err(why) => return not_seen(why),
    }
    let mut open = Vec::new();
    // To be searched is what `setfacl -m u:UID:x` allows, and shows in the mode as its mask.
    if owner.mode & 0o066 != 0 {
        open.push(format!("{} (mode {:o})", home.display(), owner.mode));
    }
    for inside in ["nvram", "keystore", "ceremony"] {
        look_inside(&home.join(inside), owner.uid, &mut open);
    }
    HomeFacts::Seen { home: home.to_owned(), owner, open, file_system: file_system(home) }
}

/// Collects what is not `uid`'s alone. Few are named: one is enough.
fn look_inside(path: &Path, uid: u32, open: &mut Vec<String>) {
    const NAMED_MAX: usize = 5;
    let Ok(found) = fs::symlink_metadata(path) else { return };
    let told = |what: String| format!("{} ({what})", path.display());
    if found.uid() != uid {
        open.push(told(format!("of user {}", found.uid())));
    } else if !found.file_type().is_symlink() && found.mode() & 0o077 != 0 {
        open.push(told(format!("mode {:o}", found.mode() & 0o7777)));
    }
    if found.is_dir() {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            if open.len() < NAMED_MAX {
                look_inside(&entry.path(), uid, open);
            }
        }
    }
}

/// The kind of the file system that holds a path.
fn file_system(path: &Path) -> Option<String> {
    let path = fs::canonicalize(path).ok()?;
    kind_of_mount(&fs::read_to_string("/proc/self/mountinfo").ok()?, &path)
}

/// The kind of the last mounted file system on the longest way to `path` (proc(5), mountinfo).
fn kind_of_mount(mounts: &str, path: &Path) -> Option<String> {
    let mut best: Option<(usize, &str)> = None;
    for line in mounts.lines() {
        let Some((place, rest)) = line.split_once(" - ") else { continue };
        let (Some(point), Some(kind)) = (place.split(' ').nth(4), rest.split(' ').next()) else { continue };
        // A blank is written as an octal number.
        let point = PathBuf::from(point.replace("\\040", " "));
        let length = point.components().count();
        if path.starts_with(&point) && best.is_none_or(|(longest, _)| length >= longest) {
            best = Some((length, kind));
        }
    }
    best.map(|(_, kind)| kind.to_owned())
}

/// Has `countersign-hsm` try each layer as the HSM's user.
fn layers(home: &HomeFacts) -> LayerFacts {
    let HomeFacts::Seen { home, owner, .. } = home else {
        return LayerFacts::NotAsked("The folder could not be looked at.".to_owned());
    };
    let beside = own_folder().map(|folder| folder.join("countersign-hsm")).filter(|program| program.exists());
    let mut probe = Command::new(beside.unwrap_or_else(|| "countersign-hsm".into()));
    probe.arg("sandbox").stdin(Stdio::null()).stderr(Stdio::null()).current_dir("/");
    if owner.uid != own_uid() {
        if own_uid() != 0 {
            return LayerFacts::NotAsked(
                "Run this as the HSM's user or as root, to have the layers tried.".to_owned(),
            );
        }
        let group = fs::metadata(home).map_or(owner.uid, |found| found.gid());
        probe.uid(owner.uid).gid(group);
    }
    let Ok(output) = probe.output() else {
        return LayerFacts::NotAsked(
            "countersign-hsm was not found beside this program or on the path.".to_owned(),
        );
    };
    missing_layers(&output.stdout)
        .map_or_else(|| LayerFacts::NotAsked("countersign-hsm did not say.".to_owned()), LayerFacts::Missing)
}

/// What `countersign-hsm sandbox` prints.
fn missing_layers(line: &[u8]) -> Option<Vec<(String, String)>> {
    let told: serde_json::Value = serde_json::from_slice(line).ok()?;
    let missing = told.get("missing")?.as_object()?;
    missing.iter().map(|(layer, why)| Some((layer.clone(), why.as_str()?.to_owned()))).collect()
}

/// The limits of the HSM's process; where none runs, or its cannot be read, of this one.
fn limits(running: Option<i32>) -> LimitFacts {
    let of_the_hsm = running.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/limits")).ok());
    let text =
        of_the_hsm.clone().or_else(|| fs::read_to_string("/proc/self/limits").ok()).unwrap_or_default();
    LimitFacts {
        of_the_hsm: of_the_hsm.is_some(),
        locked: limit_in(&text, "Max locked memory"),
        core: limit_in(&text, "Max core file size"),
    }
}

/// The limit in force, out of `/proc/PID/limits`.
fn limit_in(text: &str, name: &str) -> Option<Limit> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    match rest.split_whitespace().next()? {
        "unlimited" => Some(Limit::Unlimited),
        bytes => bytes.parse().ok().map(Limit::Bytes),
    }
}

/// What `/proc/swaps` lists.
fn swaps(text: &str) -> Vec<Swap> {
    let names = text.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    names.map(|name| Swap { name: name.to_owned(), kind: swap_kind(name) }).collect()
}

fn swap_kind(name: &str) -> SwapKind {
    let path = fs::canonicalize(name).unwrap_or_else(|_| name.into());
    let device = path.file_name().and_then(|device| device.to_str()).unwrap_or_default();
    let of_dm = |what: &str| fs::read_to_string(format!("/sys/block/{device}/dm/{what}")).unwrap_or_default();
    if path.starts_with("/dev") && device.starts_with("zram") {
        SwapKind::Memory
    } else if path.starts_with("/dev") && of_dm("uuid").starts_with("CRYPT-") {
        SwapKind::Encrypted
    } else {
        SwapKind::Clear
    }
}

fn unit() -> UnitFacts {
    if !Path::new("/run/systemd/system").exists() {
        return UnitFacts::None;
    }
    let properties = "--property=LoadState,ActiveState,NeedDaemonReload";
    match printed(Command::new("systemctl").args(["show", "countersign-hsm.service", properties])) {
        Some(text) => unit_in(&text),
        None => UnitFacts::None,
    }
}

fn unit_in(text: &str) -> UnitFacts {
    let value = |name: &str| {
        text.lines()
            .find_map(|line| line.split_once('=').filter(|(key, _)| *key == name))
            .map(|(_, value)| value)
    };
    match (value("LoadState"), value("ActiveState")) {
        (Some("loaded"), Some(active)) => {
            UnitFacts::Known { active: active.to_owned(), stale: value("NeedDaemonReload") == Some("yes") }
        }
        _ => UnitFacts::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    #[test]
    fn the_process_behind_a_socket_is_told_and_a_missing_one_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hsm.sock");
        assert!(matches!(socket(&HostConfig::for_socket(&path)).state, SocketState::Missing));
        let listener = UnixListener::bind(&path).unwrap();
        let found = socket(&HostConfig::for_socket(&path));
        assert_eq!(found.serving_pid(), Some(std::process::id().cast_signed()));
        let other = HostConfig { hsm_uid: Some(own_uid() + 1), ..HostConfig::for_socket(&path) };
        assert!(matches!(socket(&other).state, SocketState::Served { wanted: false, .. }));
        drop(listener);
        assert!(matches!(socket(&HostConfig::for_socket(&path)).state, SocketState::NobodyListens(_)));
        fs::write(folder.path().join("file"), "").unwrap();
        let file = HostConfig::for_socket(folder.path().join("file"));
        assert!(matches!(socket(&file).state, SocketState::NoSocket));
    }

    #[test]
    fn a_key_that_lies_open_is_told_without_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("api-key");
        fs::write(&file, "hunter2").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let config = HostConfig { api_key_file: Some(file), ..HostConfig::for_socket("/s") };
        let KeyFacts { source, fault } = api_key(&config);
        assert!(source.is_some());
        assert!(fault.is_some_and(|fault| fault.contains("chmod 600") && !fault.contains("hunter2")));
    }

    #[test]
    fn what_lies_open_in_an_hsms_folder_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        assert!(matches!(home_folder(&home), HomeFacts::NotSeen(_)));
        for inside in ["", "nvram", "keystore", "ceremony"] {
            fs::create_dir(home.join(inside)).unwrap();
            fs::set_permissions(home.join(inside), fs::Permissions::from_mode(0o700)).unwrap();
        }
        assert!(matches!(home_folder(&home), HomeFacts::NotSeen(_)), "it has no fuses");
        let fuses = home.join("nvram/fuses");
        fs::write(&fuses, "").unwrap();
        let open = |mode: u32, path: &Path| {
            let before = fs::metadata(path).unwrap().permissions();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            let HomeFacts::Seen { open, .. } = home_folder(&home) else { panic!("it is an HSM's folder") };
            fs::set_permissions(path, before).unwrap();
            open
        };
        fs::set_permissions(&fuses, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(open(0o600, &fuses).is_empty());
        assert!(open(0o710, &home).is_empty(), "an ACL lets a client through");
        assert_eq!(open(0o750, &home).len(), 1);
        assert_eq!(open(0o640, &fuses).len(), 1);
        assert_eq!(open(0o755, &home.join("keystore")).len(), 1);
    }

    #[test]
    fn the_longest_mount_is_the_one_that_holds_a_path() {
        let mounts = "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:5 / /var/lib rw - xfs /dev/b rw\n\
                      3 1 0:6 / /var/library rw - tmpfs none rw\n4 1 0:7 / /a\\040b rw shared:1 - nfs4 h:/ rw\n";
        let kind = |path: &str| kind_of_mount(mounts, Path::new(path));
        assert_eq!(kind("/var/lib/x").as_deref(), Some("xfs"));
        assert_eq!(kind("/var/library/x").as_deref(), Some("tmpfs"));
        assert_eq!(kind("/var/x").as_deref(), Some("ext4"));
        assert_eq!(kind("/a b/c").as_deref(), Some("nfs4"));
        assert_eq!(kind_of_mount("nonsense", Path::new("/")), None);
    }

    #[test]
    fn limits_are_read_as_the_kernel_writes_them() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max core file size        0                    unlimited            bytes     \n\
                    Max locked memory         unlimited            unlimited            bytes     \n";
        assert_eq!(limit_in(text, "Max locked memory"), Some(Limit::Unlimited));
        assert_eq!(limit_in(text, "Max core file size"), Some(Limit::Bytes(0)));
        assert_eq!(limit_in(text, "Max nonsense"), None);
        assert!(limits(None).locked.is_some());
    }

    #[test]
    fn swap_is_in_memory_encrypted_or_in_the_clear() {
        let found = swaps(
            "Filename\tType\tSize\tUsed\tPriority\n/dev/zram0 partition 1 0 5\n/swapfile file 1 0 -2\n",
        );
        let kinds: Vec<SwapKind> = found.iter().map(|swap| swap.kind).collect();
        assert_eq!(kinds, [SwapKind::Memory, SwapKind::Clear]);
        assert!(swaps("Filename\tType\tSize\tUsed\tPriority\n").is_empty());
    }

    #[test]
    fn what_countersign_hsm_and_systemctl_print_is_read() {
        let told = br#"{"layers":["namespaces"],"missing":{"namespaces":"unshare: EPERM"}}"#;
        assert_eq!(missing_layers(told), Some(vec![("namespaces".into(), "unshare: EPERM".into())]));
        assert_eq!(missing_layers(br#"{"layers":[],"missing":{}}"#), Some(vec![]));
        assert_eq!(missing_layers(b""), None);
        let text = "LoadState=loaded\nActiveState=failed\nNeedDaemonReload=yes\n";
        assert!(matches!(unit_in(text), UnitFacts::Known { active, stale: true } if active == "failed"));
        assert!(matches!(unit_in("LoadState=not-found\nActiveState=inactive\n"), UnitFacts::None));
    }

    #[test]
    fn only_p11_kits_files_that_name_this_module_count() {
        let named = module_named_in("# a comment\nmodule: /usr/lib/pkcs11/libcountersign_pkcs11.so\n");
        assert_eq!(named.as_deref(), Some(Path::new("/usr/lib/pkcs11/libcountersign_pkcs11.so")));
        assert_eq!(module_named_in("module: libcountersign_pkcs11.so").as_deref(), Some(Path::new(MODULE)));
        assert_eq!(module_named_in("module: other.so"), None);
        assert_eq!(module_named_in(""), None);
    }
}
