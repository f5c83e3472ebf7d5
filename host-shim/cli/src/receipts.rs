//! Receipts and the HSM's identity.

use crate::arguments::PayloadArguments;
use crate::failure::Failure;
use crate::payload;
use crate::session::{Session, expect_answer};
use crate::show::intent::{IdentityShown, ReceiptShown};
use countersign_client::device::{ReceiptFile, Root, VerifiedReceipt};
use countersign_wire::client::{Act, Answer, FindReceipt};
use countersign_wire::reason::Reason;
use sha2::{Digest, Sha256};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

/// `identity`.
pub(crate) fn identity(session: &Session, root: Option<&Root>) -> Result<IdentityShown, Failure> {
    let hsm = session.identity(root)?;
    let fingerprint = Root(Sha256::digest(hsm.endorsed().root.as_slice()).into());
    Ok(IdentityShown::new(&hsm, &fingerprint, root.is_some()))
}

/// `receipt find`.
pub(crate) fn find(
    session: &Session,
    key: &str,
    payload: &PayloadArguments,
    out: &Path,
) -> Result<ReceiptShown, Failure> {
    let asked = FindReceipt { key: key.parse()?, payload: payload::of(payload)? };
    let hsm = session.identity(None)?;
    let answer = expect_answer!(session.ask(Act::FindReceipt(asked))?, Receipt)?;
    let verified = VerifiedReceipt::check(&hsm, answer)?;
    save(out, &verified)?;
    Ok(ReceiptShown::new(&verified, Some(out)))
}

/// `receipt verify`.
pub(crate) fn verify(file: &Path, root: &Root) -> Result<ReceiptShown, Failure> {
    let no_receipt =
        |error: serde_json::Error| Failure::Usage(format!("{} is no receipt: {error}", file.display()));
    let found: ReceiptFile = serde_json::from_slice(&payload::read(file)?).map_err(no_receipt)?;
    Ok(ReceiptShown::new(&found.verify(root)?, None))
}

/// Writes a new file, on one line.
pub(crate) fn save(file: &Path, receipt: &VerifiedReceipt) -> Result<(), Failure> {
    let unwritable = |error| Failure::Usage(format!("cannot write {}: {error}", file.display()));
    let mut text = serde_json::to_vec(&receipt.to_file()).expect("it has only strings");
    text.push(b'\n');
    let mut out = OpenOptions::new().write(true).create_new(true).open(file).map_err(unwritable)?;
    out.write_all(&text).and_then(|()| out.sync_all()).map_err(unwritable)
}
