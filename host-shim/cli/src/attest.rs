//! Attestations: asking the HSM for one, verifying it offline, and the key of the log that it names.

use crate::arguments::{AttestArguments, AttestCommand, AttestationArguments};
use crate::failure::Failure;
use crate::session::{Session, expect_answer};
use crate::show::attest::{AttestationShown, AttestedShown};
use crate::{payload, show};
use countersign_attestation::{Allowed, Attestation, Claims, Expected, Refused, verify};
use countersign_client::device::Root;
use countersign_client::log::tlog::VerifierKey;
use countersign_client::log::{LogFault, attested_key};
use countersign_wire::client::{Act, Answer};
use countersign_wire::reason::Reason;
use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use serde_bytes::ByteBuf;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use zeroize::Zeroizing;

/// How long a nonce of our own is.
const NONCE_BYTES: usize = 32;

/// `attest` and `attest verify`.
pub(crate) fn run(
    arguments: &AttestArguments,
    config: Option<&Path>,
    json: bool,
) -> Result<Zeroizing<String>, Failure> {
    if let Some(AttestCommand::Verify(arguments)) = &arguments.command {
        return Ok(show::text(&verified(arguments)?, json));
    }
    let nonce = match &arguments.nonce {
        Some(nonce) => nonce.0.clone(),
        None => random_nonce()?,
    };
    let session = Session::open(config)?;
    let answer = session.ask(Act::Attest(ByteBuf::from(nonce.clone())))?;
    let attestation = expect_answer!(answer, Attested)?;
    if let Some(out) = &arguments.out {
        save(out, &attestation)?;
    }
    Ok(show::text(&AttestedShown::new(&nonce, &attestation, arguments.out.as_deref()), json))
}

fn random_nonce() -> Result<Vec<u8>, Failure> {
    let mut nonce = vec![0; NONCE_BYTES];
    getrandom::fill(&mut nonce)
        .map_err(|error| Failure::Usage(format!("the system gives no random bytes: {error}")))?;
    Ok(nonce)
}

fn save(file: &Path, attestation: &[u8]) -> Result<(), Failure> {
    let unwritable = |error| Failure::Usage(format!("cannot write {}: {error}", file.display()));
    let mut out = OpenOptions::new().write(true).create_new(true).open(file).map_err(unwritable)?;
    out.write_all(attestation).and_then(|()| out.sync_all()).map_err(unwritable)
}

fn verified(arguments: &AttestationArguments) -> Result<AttestationShown, Failure> {
    let expected = Expected {
        nonce: arguments.nonce.as_ref().map(|nonce| nonce.0.clone()),
        measurements: arguments.measurement.clone(),
        platforms: arguments.platform.clone(),
        hsm_id: arguments.hsm_id,
        allowed: arguments.allow.clone(),
    };
    let found = believed(&arguments.file, &arguments.root, &expected)?;
    Ok(AttestationShown::new(&found, &expected))
}

/// The attestation in a file, once the root is found to stand behind it and it is what was expected.
fn believed(file: &Path, trusted: &str, expected: &Expected) -> Result<Attestation, Failure> {
    let root = root(trusted)?;
    let found = verify(&attestation(&payload::read(file)?)?, &root.0)?;
    expected.check(&found.claims)?;
    Ok(found)
}

/// The key of its tenant's log that the attestation in a file names.
pub(crate) fn attested_log_key(
    file: &Path,
    trusted: &str,
    allowed: &[Allowed],
) -> Result<VerifierKey, Failure> {
    let expected = Expected { allowed: allowed.to_vec(), ..Expected::default() };
    let found = believed(file, trusted, &expected)?;
    Ok(log_key(&found.claims).unwrap_or(Err(LogFault::NoLogKey))?)
}

/// The key of a log that claims name; `None`: they name none.
pub(crate) fn log_key(claims: &Claims) -> Option<Result<VerifierKey, LogFault>> {
    let plugin = &claims.plugin;
    plugin.log_key.map(|key| attested_key(&claims.hsm_id, &plugin.tenant, &key))
}

/// A fingerprint, or the one in a file.
fn root(text: &str) -> Result<Root, Failure> {
    if let Ok(root) = text.parse() {
        return Ok(root);
    }
    let bytes = payload::read(Path::new(text))?;
    let held = std::str::from_utf8(&bytes).ok().and_then(|held| held.trim().parse().ok());
    held.ok_or_else(|| Failure::Usage(format!("{text} holds no fingerprint: 64 hex digits")))
}

/// What `attest --json` prints.
#[derive(Deserialize)]
struct Printed {
    attestation: String,
}

/// The attestation in a file: as it is, in Base64url, or as `attest --json` printed it.
fn attestation(input: &[u8]) -> Result<Vec<u8>, Failure> {
    let decode =
        |text: &[u8]| BASE64URL_NOPAD.decode(text).map_err(|_| Failure::Attestation(Refused::Malformed));
    let text = input.trim_ascii();
    if let Ok(Printed { attestation }) = serde_json::from_slice(text) {
        return decode(attestation.as_bytes());
    }
    if !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte)) {
        return decode(text);
    }
    Ok(input.to_vec())
}
