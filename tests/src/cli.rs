//! The command line, as a script uses it.

use crate::artefacts;
use crate::hsm::Hsm;
use countersign_wire::reason::Reason;
use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code.
    pub code: i32,
    /// The one JSON object on its standard output.
    pub json: Value,
    /// All of its standard output.
    pub stdout: String,
    /// All of its standard error.
    pub stderr: String,
}

/// `countersign`, set up for an HSM.
pub fn command(hsm: &Hsm) -> Command {
    let mut command = Command::new(artefacts::cli());
    command.env("COUNTERSIGN_CONFIG", hsm.host_toml());
    command.env_remove("COUNTERSIGN_API_KEY").stdin(Stdio::null());
    command
}

/// Runs `countersign ARGUMENTS --json` under the API key of [`crate::hsm::TENANT`].
#[track_caller]
pub fn run(hsm: &Hsm, arguments: &[&str]) -> Ended {
    run_command(command(hsm).args(arguments).arg("--json"), None)
}

/// The same with something on its standard input.
#[track_caller]
pub fn run_with_input(hsm: &Hsm, arguments: &[&str], input: &[u8]) -> Ended {
    run_command(command(hsm).args(arguments).arg("--json").stdin(Stdio::piped()), Some(input))
}

/// Runs a command that prints one JSON object.
#[track_caller]
pub fn run_command(command: &mut Command, input: Option<&[u8]>) -> Ended {
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("countersign can be started");
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        stdin.write_all(input).expect("countersign reads its input");
    }
    let output = child.wait_with_output().expect("countersign can be waited for");
    let stdout = String::from_utf8(output.stdout).expect("its output is UTF-8");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let code = output.status.code().expect("no signal ended it");
    let json = serde_json::from_str(&stdout)
        .unwrap_or_else(|error| panic!("not one JSON object ({error}), exit code {code}: {stdout}{stderr}"));
    Ended { code, json, stdout, stderr }
}

/// Packs a policy's folder, and gives it to the first tenant of an HSM that does not run.
#[track_caller]
pub fn set_policy(hsm: &mut Hsm, policy: &Path) {
    let document = hsm.folder().join("tenant.policy");
    let paths = [policy, &document].map(|path| path.to_str().expect("tests have plain paths"));
    run(hsm, &["policy", "pack", paths[0], "--out", paths[1]]).done();
    hsm.set_policy(&document);
}

impl Ended {
    /// Fails unless it did what was asked.
    #[track_caller]
    pub fn done(self) -> Value {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        self.json
    }

    /// Fails unless it was refused for that reason, with the exit code of that reason's blame.
    #[track_caller]
    pub fn refused(self, reason: Reason) -> Value {
        let code = match reason.blame() {
            countersign_wire::reason::Blame::Caller => 3,
            countersign_wire::reason::Blame::Device => 4,
        };
        assert_eq!(
            (self.code, &self.json["refused"]),
            (code, &Value::from(reason.word())),
            "{}",
            self.stderr
        );
        let message = self.json["message"].as_str().expect("a refusal has a sentence for a person");
        assert_eq!(message, reason.sentence());
        self.json
    }
}
