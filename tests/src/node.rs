//! Libraries in JavaScript (viem, bitcoinjs-lib), which make transactions and check what was signed: the scripts of
//! `tests/node`, asked line by line.
//!
//! viem, because its functions take a signature that somebody else made, as backends with an HSM have it. Bitcoin
//! signatures are checked by tiny-secp256k1, which is the library of Bitcoin's own nodes as WebAssembly. Neither needs a
//! compiler, and neither shares code with what made the signature.

use crate::artefacts;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// One of the scripts, running.
pub struct Node {
    child: Child,
    /// `None` once it was closed, which ends the script.
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Node {
    /// Starts `tests/node/SCRIPT.mjs`.
    pub fn start(script: &str) -> Self {
        let mut command = Command::new("node");
        command.arg(artefacts::node().join(script).with_extension("mjs"));
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("node can be started");
        let questions = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().expect("its output is piped"));
        Self { child, questions, answers }
    }

    /// Asks `question` of what is `given`, an object; panics if the library refuses.
    #[track_caller]
    pub fn ask(&mut self, question: &str, mut given: Value) -> Value {
        given["ask"] = question.into();
        let questions = self.questions.as_mut().expect("it is open until this is dropped");
        writeln!(questions, "{given}").expect("node reads its input");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("node writes lines");
        let mut answer: Value = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("{question}: not an answer ({error}): {line:?}"));
        if let Some(why) = answer["failed"].as_str() {
            panic!("{question}: {why}");
        }
        answer["ok"].take()
    }

    /// Asks something that needs nothing else to be known.
    #[track_caller]
    pub fn ask_plainly(&mut self, question: &str) -> Value {
        self.ask(question, json!({}))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.questions.take());
        let ended = self.child.wait();
        if !std::thread::panicking() {
            let ended = ended.expect("node can be waited for");
            assert!(ended.success(), "node ended with {ended}");
        }
    }
}

/// Bytes as the scripts write them: `0x` and hex digits.
pub fn hex(bytes: &[u8]) -> Value {
    format!("0x{}", data_encoding::HEXLOWER.encode(bytes)).into()
}

/// The bytes of such a text.
#[track_caller]
pub fn bytes(text: &Value) -> Vec<u8> {
    let digits = text.as_str().and_then(|text| text.strip_prefix("0x")).expect("0x and hex digits");
    data_encoding::HEXLOWER.decode(digits.as_bytes()).expect("hex digits")
}

/// The elements of a list.
#[track_caller]
pub fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

/// A text.
#[track_caller]
pub fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}
