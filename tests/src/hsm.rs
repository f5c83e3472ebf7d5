//! One HSM: its home, its process, its clock. Dropping it stops what it started and removes the home.

use crate::artefacts;
use crate::faults::Faults;
use crate::processes;
use crate::tap::Tap;
use countersign_client::{Client, HostConfig};
use countersign_wire::client::{Act, Answer, Status};
use countersign_wire::names::ApiKey;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longer than anything takes, a virtual machine's start on a busy host as well; what takes longer hangs.
pub const PATIENCE: Duration = Duration::from_mins(5);

/// What `init` said, in the folder of an HSM that is kept.
const INITIALISED: &str = "initialised.json";

/// The tenant that an HSM has unless told otherwise.
pub const TENANT: &str = "default";

/// Where the HSM keeps its cryptographic keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keystore {
    /// The one in pure Rust.
    Embedded,
    /// `SoftHSM2` through PKCS#11.
    Softhsm,
}

impl Keystore {
    /// The word on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Softhsm => "softhsm",
        }
    }
}

/// What `countersign-hsm init` prints.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Initialised {
    /// Which HSM it is.
    pub hsm_id: String,
    /// What users' devices pin.
    pub root_fingerprint: String,
    /// The image that it will run.
    pub measurement: String,
    /// Its version.
    pub version: String,
    /// For whom it is made.
    pub channel: String,
    /// The virtual machine's kernel and first root, measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Each tenant's API key.
    pub api_keys: BTreeMap<String, String>,
}

/// What `countersign-hsm run` prints when it serves.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ready {
    /// The socket for clients.
    pub socket: PathBuf,
    /// The development control channel.
    pub control: Option<PathBuf>,
    /// The firmware's process.
    pub pid: u32,
    /// The image that runs.
    pub measurement: String,
    /// Its version.
    pub version: String,
    /// For whom it is made.
    pub channel: String,
    /// The virtual machine's kernel and first root, measured.
    #[serde(default)]
    pub platform: Option<String>,
    /// Where metrics are served, if they are.
    #[serde(default)]
    pub metrics: Option<String>,
}

/// What `countersign-hsm` prints when it does not take an image.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageRefused {
    /// The stable word.
    pub refused: String,
    /// A sentence for people.
    pub message: String,
}

/// The HSM ended before it served.
#[derive(Debug)]
pub struct NotServing {
    /// Its exit code; `None` if a signal ended it.
    pub exit_code: Option<i32>,
    /// The word by which it refused the image.
    pub refused: Option<String>,
    /// What it said.
    pub log: String,
}

struct Running {
    child: Child,
    ready: Ready,
}

/// Where an HSM and what belongs to it lie.
enum Folder {
    /// Removed with the HSM.
    Temporary(TempDir),
    /// Left where it is.
    Kept(PathBuf),
}

impl Folder {
    fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(path) => path,
        }
    }
}

/// The options of `countersign-hsm init` for a plugin in a virtual machine.
pub fn in_a_machine() -> [String; 6] {
    let [kernel, root] = artefacts::machine().map(|path| path.to_str().expect("a plain path").to_owned());
    ["--boundary".into(), "vm".into(), "--vm-kernel".into(), kernel, "--vm-root".into(), root]
}

/// One HSM with a manual clock, in a temporary folder unless told otherwise.
pub struct Hsm {
    folder: Folder,
    /// What `init` said.
    pub initialised: Initialised,
    /// Its keystore.
    pub keystore: Keystore,
    /// The image it is run with.
    pub image: PathBuf,
    /// Whether it starts although layers of the sandbox are missing.
    pub weak_sandbox: bool,
    /// Further options of `countersign-hsm run`.
    pub options: Vec<String>,
    /// A client of its socket.
    pub client: Client,
    faults: Option<Faults>,
    tap: Option<Tap>,
    api_keys: BTreeMap<String, ApiKey>,
    running: Option<Running>,
}

impl Hsm {
    /// A new HSM with the tenant [`TENANT`], serving.
    pub fn start(keystore: Keystore) -> Self {
        let mut hsm = Self::init(keystore, &[TENANT]);
        hsm.run();
        hsm
    }

    /// A new HSM with these tenants, not running yet.
    pub fn init(keystore: Keystore, tenants: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("countersign-").tempdir().expect("a temporary folder");
        Self::init_in(Folder::Temporary(folder), keystore, tenants, artefacts::image())
    }

    /// A new HSM with the tenant [`TENANT`] in a folder that stays, not running yet.
    pub fn init_at(folder: &Path, keystore: Keystore) -> Self {
        fs::create_dir_all(folder).expect("a folder can be made");
        let hsm = Self::init_in(Folder::Kept(folder.to_owned()), keystore, &[TENANT], artefacts::image());
        let text = serde_json::to_vec(&hsm.initialised).expect("plain data");
        fs::write(folder.join(INITIALISED), text).expect("a file can be written");
        hsm
    }

    /// The HSM that [`Self::init_at`] made in that folder, not running yet.
    pub fn found_at(folder: &Path, keystore: Keystore) -> Self {
        let text = fs::read(folder.join(INITIALISED)).expect("the folder of an HSM that was kept");
        let initialised = serde_json::from_slice(&text).expect("what init_at wrote");
        Self::not_running(Folder::Kept(folder.to_owned()), keystore, initialised)
    }

    fn init_in(folder: Folder, keystore: Keystore, tenants: &[&str], image: PathBuf) -> Self {
        let home = folder.path().join("hsm");
        let initialised = Self::init_command(&home, &image, keystore, &["--development"], tenants);
        Self::initialised_in(folder, &home, image, keystore, tenants, &initialised)
    }

    /// A new HSM with the tenant [`TENANT`] for this image, and with these options of `countersign-hsm init` that say which images it
    /// takes; not running yet. `Err` is what it said instead.
    pub fn init_for(keystore: Keystore, image: &Path, purpose: &[&str]) -> Result<Self, Output> {
        let folder = tempfile::Builder::new().prefix("countersign-").tempdir().expect("a temporary folder");
        let folder = Folder::Temporary(folder);
        let home = folder.path().join("hsm");
        let output = Self::init_command(&home, image, keystore, purpose, &[TENANT]);
        if !output.status.success() {
            return Err(output);
        }
        Ok(Self::initialised_in(folder, &home, image.to_owned(), keystore, &[TENANT], &output))
    }

    fn init_command(
        home: &Path,
        image: &Path,
        keystore: Keystore,
        purpose: &[&str],
        tenants: &[&str],
    ) -> Output {
        let mut command = hsm_command();
        command.arg("init").arg("--home").arg(home).arg("--image").arg(image).args(purpose);
        command.args(["--keystore", keystore.word(), "--clock", "manual"]);
        if purpose.contains(&"--release-keys") {
            command.arg("--manual-clock-for-tests");
        }
        if artefacts::all_in_machines() && !purpose.contains(&"--boundary") {
            command.args(in_a_machine());
        }
        for tenant in tenants {
            command.args(["--tenant", tenant]);
        }
        command.output().expect("countersign-hsm can be started")
    }

    fn initialised_in(
        folder: Folder,
        home: &Path,
        image: PathBuf,
        keystore: Keystore,
        tenants: &[&str],
        output: &Output,
    ) -> Self {
        let initialised: Initialised = one_line(output);
        write_host_config(folder.path(), home, &initialised.api_keys[tenants[0]]);
        let mut hsm = Self::not_running(folder, keystore, initialised);
        hsm.image = image;
        hsm
    }

    /// Moves the state of an HSM that does not run to another image, with this disk's faults; what it said.
    pub fn upgrade(&mut self, image: &Path) -> Output {
        assert!(self.running.is_none(), "images are changed while the HSM is stopped");
        let mut command = hsm_command();
        command.arg("upgrade").arg("--home").arg(self.home()).arg("--image").arg(image);
        if let Some(faults) = &self.faults {
            faults.preload(&mut command);
        }
        command.output().expect("countersign-hsm can be started")
    }

    fn not_running(folder: Folder, keystore: Keystore, initialised: Initialised) -> Self {
        let api_keys =
            initialised.api_keys.iter().map(|(tenant, key)| (tenant.clone(), api_key(key))).collect();
        let config = HostConfig::from_file(&folder.path().join("host.toml"));
        let client = Client::new(config.expect("host.toml has the documented form"));
        Self {
            folder,
            initialised,
            keystore,
            image: artefacts::image(),
            weak_sandbox: false,
            options: Vec::new(),
            client,
            faults: None,
            tap: None,
            api_keys,
            running: None,
        }
    }

    /// Changes the terms of a tenant of an HSM that does not run: options of `countersign-hsm tenant set`.
    pub fn set_tenant(&mut self, name: &str, options: &[&str]) {
        assert!(self.running.is_none(), "tenants are changed while the HSM is stopped");
        let mut command = hsm_command();
        command.args(["tenant", "set", "--home"]).arg(self.home()).args(["--name", name]).args(options);
        let output = command.output().expect("countersign-hsm can be started");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Lifts the freeze of this number of an account of an HSM that does not run.
    pub fn lift_freeze(&mut self, account: &str, freeze: u64) {
        assert!(self.running.is_none(), "freezes are lifted while the HSM is stopped");
        let mut command = hsm_command();
        command.args(["tenant", "lift-freeze", "--home"]).arg(self.home()).args(["--name", TENANT]);
        command.args(["--account", account, "--freeze", &freeze.to_string()]);
        let output = command.output().expect("countersign-hsm can be started");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Gives the first tenant of an HSM that does not run a policy document.
    pub fn set_policy(&mut self, document: &Path) {
        assert!(self.running.is_none(), "policies are changed while the HSM is stopped");
        let mut command = hsm_command();
        command
            .args(["tenant", "set-policy", "--home"])
            .arg(self.home())
            .args(["--name", TENANT, "--policy"]);
        let output = command.arg(document).output().expect("countersign-hsm can be started");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Gives it a disk that can fail, from its next start on.
    pub fn with_faults(mut self) -> (Self, Faults) {
        let faults = Faults::none_in(self.folder.path());
        self.faults = Some(faults.clone());
        (self, faults)
    }

    /// Writes down, from its next start on, what passes between firmware and plugin. The HSM is started once with it.
    pub fn with_tap(mut self) -> (Self, Tap) {
        let tap = Tap::new();
        self.tap = Some(tap.clone());
        (self, tap)
    }

    /// Adds a tenant to an HSM that does not run.
    pub fn add_tenant(&mut self, name: &str, options: &[&str]) {
        #[derive(Deserialize)]
        struct Added {
            api_key: String,
        }
        assert!(self.running.is_none(), "tenants are added while the HSM is stopped");
        let mut command = hsm_command();
        command.args(["tenant", "add", "--home"]).arg(self.home()).args(["--name", name]).args(options);
        let added: Added = one_line(&command.output().expect("countersign-hsm can be started"));
        self.api_keys.insert(name.to_owned(), api_key(&added.api_key));
    }

    /// Starts it and waits until it serves.
    pub fn run(&mut self) {
        if let Err(NotServing { exit_code, log, .. }) = self.try_run() {
            panic!("the HSM did not serve (exit code {exit_code:?}); its log:\n{log}");
        }
    }

    /// Starts it and waits until it serves or has ended.
    pub fn try_run(&mut self) -> Result<(), NotServing> {
        let starting = self.spawn();
        self.wait_until_serving(starting)
    }

    /// Starts it and does not wait.
    pub fn spawn(&mut self) -> Child {
        assert!(self.running.is_none(), "the HSM runs already");
        let log = OpenOptions::new().create(true).append(true).open(self.log_file()).expect("a log file");
        let mut command = hsm_command();
        command.arg("run").arg("--home").arg(self.home()).arg("--image").arg(&self.image);
        if self.weak_sandbox {
            command.arg("--weak-sandbox");
        }
        command.args(&self.options);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        if let Some(faults) = &self.faults {
            faults.preload(&mut command);
        }
        if let Some(tap) = &self.tap {
            tap.preload(&mut command);
        }
        command.spawn().expect("countersign-hsm can be started")
    }

    fn wait_until_serving(&mut self, mut child: Child) -> Result<(), NotServing> {
        let stdout = child.stdout.take().expect("its output is piped");
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(stdout).read_line(&mut line).map(|_| line);
            // Nobody listens any more when the HSM took longer than the test's patience.
            let _ = tell.send(read);
        });
        let Ok(line) = told.recv_timeout(PATIENCE) else {
            kill_tree(&mut child);
            panic!("the HSM neither served nor ended; its log:\n{}", self.log());
        };
        let line = line.expect("the HSM's output can be read");
        let refused: Option<ImageRefused> = serde_json::from_str(&line).ok();
        if line.is_empty() || refused.is_some() {
            let exit_code = child.wait().expect("the HSM can be waited for").code();
            return Err(NotServing { exit_code, refused: refused.map(|told| told.refused), log: self.log() });
        }
        let ready: Ready = serde_json::from_str(&line).expect("the ready line has the documented form");
        assert_eq!(ready.pid, child.id());
        self.running = Some(Running { child, ready });
        self.client.forget_connections();
        Ok(())
    }

    /// Stops it as an operator does (SIGTERM), and waits until it has ended.
    pub fn stop(&mut self) {
        assert_eq!(self.end(), Some(0), "a stopped HSM exits with 0; its log:\n{}", self.log());
    }

    /// kill -9 of the whole HSM: firmware first, then the plugin.
    pub fn kill(&mut self) {
        let Running { mut child, .. } = self.running.take().expect("the HSM runs");
        kill_tree(&mut child);
    }

    /// kill -9 of the firmware alone, and waits until the plugin has followed it.
    pub fn kill_firmware_alone(&mut self) {
        let Running { mut child, .. } = self.running.take().expect("the HSM runs");
        let below = processes::descendants(child.id());
        // It may have been killed already: then there is only the waiting.
        let _ = child.kill();
        child.wait().expect("a killed child can be waited for");
        processes::wait_until_ended(&below);
    }

    /// kill -9, and start again.
    pub fn kill_and_run(&mut self) {
        self.kill();
        self.run();
    }

    /// Stops it as an operator does, if it did not end before: its exit code, and none where a signal ended it.
    pub fn end(&mut self) -> Option<i32> {
        signal(self.ready().pid, Signal::SIGTERM);
        self.wait_for_end()
    }

    /// Waits until it has ended by itself: its exit code, and none where a signal ended it.
    pub fn wait_for_end(&mut self) -> Option<i32> {
        let Running { mut child, .. } = self.running.take().expect("the HSM runs");
        child.wait().expect("the HSM can be waited for").code()
    }

    /// What it said when it was started.
    pub fn ready(&self) -> &Ready {
        &self.running.as_ref().expect("the HSM runs").ready
    }

    /// Every process of the plugin's sandbox, and of those the one that runs the image.
    pub fn plugin_pid(&self) -> u32 {
        let all = processes::descendants(self.ready().pid);
        *all.last().expect("the firmware runs the plugin as a process of its own")
    }

    /// Kills the plugin alone and waits until another one runs and serves.
    pub fn kill_plugin(&self) {
        let (before, old) = (self.status().boot_count, self.plugin_pid());
        kill_now(old);
        self.wait_until(|status| status.boot_count > before);
    }

    /// Waits until it answers: for when its plugin was killed.
    pub fn wait_until_it_answers(&self) {
        self.wait_until(|_| true);
    }

    fn wait_until(&self, wanted: impl Fn(&Status) -> bool) {
        let started = Instant::now();
        while !self.try_status().is_some_and(|status| wanted(&status)) {
            assert!(started.elapsed() < PATIENCE, "the plugin was not started again; log:\n{}", self.log());
        }
    }

    /// How it is.
    pub fn status(&self) -> Status {
        self.try_status().expect("the HSM answers")
    }

    /// How it is, if it answers.
    pub fn try_status(&self) -> Option<Status> {
        match self.client.call(None, Act::Status) {
            Ok(Answer::Status(status)) => Some(status),
            _ => None,
        }
    }

    /// The HSM's time, seconds since 1970.
    pub fn now(&self) -> u64 {
        self.status().unix_time_secs
    }

    /// Moves the clock on and returns the new time, seconds since 1970.
    pub fn advance(&self, secs: u64) -> u64 {
        countersign_client::advance_clock(&self.host_config(), secs).expect("a manual clock can be advanced")
    }

    /// The home folder.
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("hsm")
    }

    /// The untrusted disk's folder.
    pub fn store_folder(&self) -> PathBuf {
        self.home().join("store")
    }

    /// The untrusted disk.
    pub fn store(&self) -> PathBuf {
        self.home().join("store/log-0000000000000000")
    }

    /// A folder for the test's own files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The host's configuration file.
    pub fn host_toml(&self) -> PathBuf {
        self.folder.path().join("host.toml")
    }

    /// The host's configuration.
    pub fn host_config(&self) -> HostConfig {
        HostConfig::from_file(&self.host_toml()).expect("host.toml has the documented form")
    }

    /// The API key of [`TENANT`].
    pub fn api_key(&self) -> &ApiKey {
        self.api_key_of(TENANT)
    }

    /// A tenant's API key.
    pub fn api_key_of(&self, tenant: &str) -> &ApiKey {
        &self.api_keys[tenant]
    }

    /// Everything it ever wrote to its standard error.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_file()).unwrap_or_default()).into_owned()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("hsm.log")
    }
}

impl Drop for Hsm {
    fn drop(&mut self) {
        if let Some(Running { mut child, .. }) = self.running.take() {
            kill_tree(&mut child);
        }
        if std::thread::panicking() {
            eprintln!("the HSM's log:\n{}", self.log());
        }
    }
}

/// kill -9 of one process, without waiting for anything.
pub fn kill_now(pid: u32) {
    signal(pid, Signal::SIGKILL);
}

/// Sends a line to the control channel as it is, and returns the answer.
pub fn control_line(hsm: &Hsm, line: &str) -> String {
    let control = hsm.ready().control.as_ref().expect("a manual clock has a control channel");
    let mut stream = UnixStream::connect(control).expect("the control channel takes connections");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    stream.write_all(format!("{line}\n").as_bytes()).expect("sent");
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).expect("an answer comes");
    answer
}

/// kill -9 of a process and all that it started.
pub fn kill_tree(child: &mut Child) {
    let below = processes::descendants(child.id());
    // It may have ended by itself: then there is nothing to kill.
    let _ = child.kill();
    for pid in below {
        signal(pid, Signal::SIGKILL);
    }
    child.wait().expect("a killed child can be waited for");
}

/// Sends a signal to a process that a test started; one that has ended already is fine.
pub fn signal(pid: u32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid.try_into().expect("a process id")), signal);
}

/// `countersign-hsm`, without what this process may have told `SoftHSM` for itself.
fn hsm_command() -> Command {
    let mut command = Command::new(artefacts::hsm());
    command.env_remove("SOFTHSM2_CONF");
    command
}

fn api_key(text: &str) -> ApiKey {
    ApiKey::parse(text).expect("the HSM makes API keys of the documented form")
}

fn one_line<T: serde::de::DeserializeOwned>(output: &Output) -> T {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "countersign-hsm failed: {stdout}{stderr}");
    assert_eq!(stdout.lines().count(), 1, "one line of JSON, not: {stdout}");
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"))
}

fn write_host_config(folder: &Path, home: &Path, api_key: &str) {
    let (config, key_file) = (folder.join("host.toml"), folder.join("api-key"));
    fs::write(&key_file, api_key).expect("the API key can be written");
    let private = Permissions::from_mode(0o600);
    File::open(&key_file).and_then(|file| file.set_permissions(private)).expect("its mode can be set");
    let (socket, control) = (home.join("hsm.sock"), home.join("control.sock"));
    let lines = [("socket", &socket), ("control", &control), ("api_key_file", &key_file)];
    let lines = lines.map(|(name, path)| format!("{name} = {}\n", toml_string(path)));
    fs::write(&config, lines.concat()).expect("host.toml can be written");
}

/// A path as TOML has strings. Temporary folders have plain names.
pub fn toml_string(path: &Path) -> String {
    format!("\"{}\"", path.display())
}
