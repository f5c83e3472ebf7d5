//! A folder with a configuration, an API key and a socket, and the binary run in it.

use crate::fake_hsm::{FakeHsm, Reaction};
use countersign_wire::client::{
    AccountInfo, ClockMode, KeyId, KeyInfo, KeyPlan, Mechanism, Request, Status, TotpParameters,
};
use countersign_wire::names::ApiKey;
use nix::pty::openpty;
use serde_bytes::ByteArray;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

pub(crate) struct Place {
    folder: tempfile::TempDir,
}

/// How the binary ended.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Standard output as the one line of JSON that it must be.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "{}", self.stdout);
        serde_json::from_str(&self.stdout).unwrap()
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("it ends by itself"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        place.configure("");
        fs::write(place.path("api-key"), format!("{}\n", api_key('a'))).unwrap();
        fs::set_permissions(place.path("api-key"), fs::Permissions::from_mode(0o600)).unwrap();
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes host.toml with `more` at its end.
    pub(crate) fn configure(&self, more: &str) {
        let (socket, key) = (self.path("hsm.sock"), self.path("api-key"));
        let text = format!("socket = '{}'\napi_key_file = '{}'\n{more}", socket.display(), key.display());
        fs::write(self.path("host.toml"), text).unwrap();
    }

    /// Configures a control channel as well, and returns its socket's path.
    pub(crate) fn configure_control(&self) -> PathBuf {
        let control = self.path("control.sock");
        self.configure(&format!("control = '{}'", control.display()));
        control
    }

    pub(crate) fn serve(&self, react: impl FnMut(&Request) -> Reaction + Send + 'static) -> FakeHsm {
        FakeHsm::serve(&self.path("hsm.sock"), react)
    }

    /// The binary with an environment that holds the place's configuration and nothing else.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.args(arguments).env_clear().env("COUNTERSIGN_CONFIG", self.path("host.toml"));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.command(arguments).output().unwrap().into()
    }

    pub(crate) fn run_json(&self, arguments: &[&str]) -> Ended {
        self.run(&[&["--json"], arguments].concat())
    }

    /// With `input` on standard input.
    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Ended {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // It may end before it has read everything.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap().into()
    }

    /// With a terminal as standard input, at which `typed` is typed.
    pub(crate) fn run_at_terminal(&self, arguments: &[&str], typed: &str) -> Ended {
        let terminal = openpty(None, None).unwrap();
        fs::File::from(terminal.master.try_clone().unwrap()).write_all(typed.as_bytes()).unwrap();
        self.command(arguments).stdin(terminal.slave).output().unwrap().into()
    }
}

/// What the binary writes to a terminal as its standard output.
pub(crate) fn shown_at_terminal(mut command: Command) -> String {
    let terminal = openpty(None, None).unwrap();
    let mut child = command.env("TERM", "xterm-256color").stdout(terminal.slave).spawn().unwrap();
    // It holds the other end of the terminal, too.
    drop(command);
    let (mut screen, mut shown, mut chunk) = (fs::File::from(terminal.master), Vec::new(), [0; 4096]);
    // Linux reports the end of a terminal that nobody holds any more as an error.
    while let Ok(read @ 1..) = screen.read(&mut chunk) {
        shown.extend_from_slice(&chunk[..read]);
    }
    assert!(child.wait().unwrap().success());
    String::from_utf8(shown).unwrap()
}

pub(crate) fn api_key(digit: char) -> String {
    let text = format!("cs1_{}_default", String::from(digit).repeat(64));
    ApiKey::parse(&text).unwrap();
    text
}

pub(crate) fn status() -> Status {
    Status {
        version: "1.2.3".to_owned(),
        hsm_id: ByteArray::new([0x11; 16]),
        measurement: ByteArray::new([0x22; 48]),
        clock: ClockMode::Manual,
        unix_time_secs: 1_790_000_000,
        clock_sure: true,
        keystore: "embedded".to_owned(),
        boot_count: 3,
        missing_sandbox_layers: Vec::new(),
        store_room_bytes: Some(5 << 30),
        refused_for_room: 0,
    }
}

pub(crate) fn key(label: &str) -> KeyInfo {
    let mut public_key = [0xab; 65];
    public_key[0] = 4;
    KeyInfo {
        label: label.parse().unwrap(),
        id: KeyId::new([7; 16]),
        public_key: ByteArray::new(public_key),
        ethereum_address: "0x9d8A62f656a8d1615C1294fd71e9CFb3E4855A4F".to_owned(),
        plan: KeyPlan::of(vec![Mechanism::Ethereum]),
        watch: None,
    }
}

pub(crate) fn key_json(label: &str) -> Value {
    json!({
        "label": label,
        "id": "07".repeat(16),
        "public_key": format!("04{}", "ab".repeat(64)),
        "ethereum_address": "0x9d8A62f656a8d1615C1294fd71e9CFb3E4855A4F",
        "mechanisms": ["ethereum"],
        "floor": "code",
    })
}

pub(crate) fn account() -> AccountInfo {
    AccountInfo {
        account: "alice".parse().unwrap(),
        confirmed: true,
        totp: TotpParameters::default(),
        locked_for_secs: 0,
        consecutive_failures: 1,
        failures_left: 9,
        payees: Vec::new(),
        keys: vec![key("alice/ethereum")],
        devices: 1,
        passkeys: 2,
        frozen: None,
        signatures: 7,
        log_name: "hmac:0011".to_owned(),
    }
}

pub(crate) fn account_json() -> Value {
    json!({
        "account": "alice",
        "confirmed": true,
        "totp": { "hash": "sha1", "digits": 6, "period_secs": 30 },
        "locked_for_secs": 0,
        "consecutive_failures": 1,
        "failures_left": 9,
        "keys": [key_json("alice/ethereum")],
        "payees": [],
        "devices": 1,
        "passkeys": 2,
        "frozen": null,
        "signatures": 7,
        "log_name": "hmac:0011",
    })
}
