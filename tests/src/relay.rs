//! `countersign relay`, serving an HSM to users' devices, and the user's page where it is told to.

use crate::artefacts;
use crate::hsm::Hsm;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// One relay. Dropping it stops it.
pub struct Relay {
    child: Child,
    /// Where it listens: `127.0.0.1:PORT`.
    pub listen: String,
    _page: Option<TempDir>,
}

#[derive(Deserialize)]
struct Ready {
    listen: String,
}

impl Relay {
    /// Starts one for devices alone.
    pub fn start(hsm: &Hsm) -> Self {
        Self::run(hsm, None)
    }

    /// Starts one that serves the page as well, which has the HSM's root pinned.
    pub fn with_page(hsm: &Hsm) -> Self {
        let folder = tempfile::Builder::new().prefix("countersign-page-").tempdir().expect("a folder");
        for file in fs::read_dir(artefacts::page()).expect("the page was built") {
            let file = file.expect("a file of the page");
            fs::copy(file.path(), folder.path().join(file.file_name())).expect("files can be copied");
        }
        let config = serde_json::json!({
            "root_fingerprint": hsm.initialised.root_fingerprint,
            "relay": "",
            "tenant_name": "Example Custody",
        });
        fs::write(folder.path().join("config.json"), config.to_string()).expect("a file can be written");
        Self::run(hsm, Some(folder))
    }

    fn run(hsm: &Hsm, page: Option<TempDir>) -> Self {
        let mut command = Command::new(artefacts::cli());
        command.args(["relay", "--listen", "127.0.0.1:0"]).env("COUNTERSIGN_CONFIG", hsm.host_toml());
        command.env_remove("COUNTERSIGN_API_KEY");
        // One person's clicks in a test come faster than a person's.
        command.args(["--requests-per-minute", "6000"]);
        if let Some(page) = &page {
            command.arg("--page").arg(page.path());
        }
        let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = piped.spawn().expect("countersign can be started");
        let stdout = child.stdout.take().expect("its output is piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("the relay says when it serves");
        let ready: Ready = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("the relay did not come up ({error}): {line:?}"));
        Self { child, listen: ready.listen, _page: page }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The page's address, by a name: passkeys belong to names.
    pub fn page_url(&self) -> String {
        let port = self.listen.rsplit(':').next().expect("an address has a port");
        format!("http://localhost:{port}/")
    }

    /// The relay's address, as devices have it.
    pub fn url(&self) -> String {
        format!("http://{}", self.listen)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).expect("process ids are small");
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        let ended = self.child.wait();
        if !std::thread::panicking() {
            assert!(ended.is_ok_and(|status| status.success()), "the relay stops when it is told to");
        }
    }
}

/// Where pictures of the page go, where somebody wants to look at them.
pub fn pictures() -> Option<String> {
    let folder = std::env::var("COUNTERSIGN_TEST_PICTURES").ok()?;
    fs::create_dir_all(Path::new(&folder)).expect("a folder for pictures can be made");
    Some(folder)
}
