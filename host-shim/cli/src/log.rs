//! The tenant's audit log: export, tail, verify, prove, cosign.

use crate::arguments::{KeyOfLog, LogCommand};
use crate::attest::attested_log_key;
use crate::failure::Failure;
use crate::session::Session;
use crate::show;
use crate::show::log::{
    CosignedShown, EntryShown, ExportedShown, ProofShown, TailShown, VerifiedShown, WitnessKeyShown,
};
use countersign_client::log::tlog::note::KeyType;
use countersign_client::log::tlog::proof::write_hashes;
use countersign_client::log::tlog::{SigningKey, VerifierKey};
use countersign_client::log::{
    Export, Folder, LogFault, LogSource, Recent, TenantLog, Trusted, Witness, pinned_key, prove_consistency,
    prove_inclusion, read_recent, verify,
};
use countersign_wire::log::{LOG_PAGE_MAX_ENTRIES, LogQuery, LogStart};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use zeroize::Zeroizing;

/// How often `tail --follow` asks.
const FOLLOWED_EVERY: Duration = Duration::from_secs(1);

/// Carries out a command and returns what is to be printed.
pub(crate) fn run(
    command: &LogCommand,
    config: Option<&Path>,
    json: bool,
) -> Result<Zeroizing<String>, Failure> {
    match command {
        LogCommand::Export { out, key } => {
            let session = Session::open(config)?;
            let api_key = session.api_key()?;
            let source = TenantLog { client: &session.client, api_key: &api_key };
            let trusted = given_key(key)?;
            let exported = Export::open(Folder::at(out), trusted.as_ref(), &source)?.update(&source)?;
            Ok(show::text(&ExportedShown::new(&exported, out, key.is_given()), json))
        }
        LogCommand::Tail { entries, follow } => tail(&Session::open(config)?, *entries, *follow, json),
        LogCommand::Verify { dir, key, witness, seen } => {
            let trusted = Trusted {
                key: trusted_key(key, dir)?,
                witnesses: witness.iter().map(|key| parse_key(key)).collect::<Result<_, _>>()?,
                seen: Some(seen.clone().unwrap_or_else(|| dir.join("seen-checkpoint"))),
            };
            let verified = verify(&Folder::at(dir), &trusted)?;
            Ok(show::text(&VerifiedShown::new(verified, key.is_given()), json))
        }
        LogCommand::Prove { dir, index, from, out, key } => {
            let key = trusted_key(key, dir)?;
            let shown = match (index, from) {
                (Some(index), _) => prove_entry(dir, &key, *index, out.as_deref())?,
                (None, from) => prove_growth(dir, &key, from.unwrap_or_default(), out.as_deref())?,
            };
            Ok(show::text(&shown, json))
        }
        LogCommand::Cosign { dir, key, vkey, memory } => cosign(dir, key, vkey, memory.as_deref(), json),
        LogCommand::WitnessKey { name, out } => {
            let shown = witness_key(name, out)?;
            Ok(show::text(&shown, json))
        }
    }
}

/// A key as it is typed: its text, or a file with it.
fn parse_key(typed: &str) -> Result<VerifierKey, Failure> {
    let text = match std::fs::read_to_string(typed) {
        Ok(text) => text,
        Err(_) => typed.to_owned(),
    };
    VerifierKey::parse(text.trim())
        .ok_or_else(|| Failure::Usage(format!("{typed} is neither a key (NAME+ID+KEY) nor a file with one")))
}

/// The key that was typed, or that an attestation names.
fn given_key(key: &KeyOfLog) -> Result<Option<VerifierKey>, Failure> {
    match (&key.attestation, &key.root) {
        (Some(file), Some(root)) => attested_log_key(file, root, &key.allow).map(Some),
        _ => key.vkey.as_deref().map(parse_key).transpose(),
    }
}

fn trusted_key(key: &KeyOfLog, dir: &Path) -> Result<VerifierKey, Failure> {
    match given_key(key)? {
        Some(key) => Ok(key),
        None => Ok(pinned_key(&Folder::at(dir))?),
    }
}

fn tail(session: &Session, most: u16, follow: bool, json: bool) -> Result<Zeroizing<String>, Failure> {
    let api_key = session.api_key()?;
    let source = TenantLog { client: &session.client, api_key: &api_key };
    let Recent { entries, mut index, mut next } = read_recent(&source, most.into())?;
    let shown: Vec<EntryShown> =
        entries.iter().map(|(index, entry)| EntryShown::new(*index, entry)).collect();
    if !follow {
        return Ok(show::text(&TailShown { entries: shown }, json));
    }
    for entry in &shown {
        print_now(entry, json)?;
    }
    loop {
        let query = LogQuery { from: LogStart::After(next), entries_max: LOG_PAGE_MAX_ENTRIES };
        let page = source.page(query).map_err(LogFault::from)?;
        for entry in &page.entries {
            print_now(&EntryShown::new(index, entry), json)?;
            index += 1;
        }
        next = page.next;
        if !page.more {
            std::thread::sleep(FOLLOWED_EVERY);
        }
    }
}

fn print_now(entry: &EntryShown, json: bool) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    let text = show::text(entry, json);
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::Output)
}

fn prove_entry(dir: &Path, key: &VerifierKey, index: u64, out: Option<&Path>) -> Result<ProofShown, Failure> {
    let (entry, proof) = prove_inclusion(&Folder::at(dir), key, index)?;
    let text = proof.to_text();
    write_proof(out, &text)?;
    Ok(ProofShown::new(text, Some((index, &entry)), out))
}

fn prove_growth(dir: &Path, key: &VerifierKey, from: u64, out: Option<&Path>) -> Result<ProofShown, Failure> {
    let (_, path, signed) = prove_consistency(&Folder::at(dir), key, from)?;
    let mut text = format!("old {from}\n");
    write_hashes(&mut text, &path);
    text.push('\n');
    text.push_str(&signed.note.to_text());
    write_proof(out, &text)?;
    Ok(ProofShown::new(text, None, out))
}

fn write_proof(out: Option<&Path>, text: &str) -> Result<(), Failure> {
    let Some(path) = out else { return Ok(()) };
    let unwritable = |error| Failure::Usage(format!("cannot write {}: {error}", path.display()));
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(unwritable)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(unwritable)
}

fn cosign(
    dir: &Path,
    key: &Path,
    vkey: &str,
    memory: Option<&Path>,
    json: bool,
) -> Result<Zeroizing<String>, Failure> {
    let unreadable = |error| Failure::Usage(format!("cannot read {}: {error}", key.display()));
    let secret = Zeroizing::new(std::fs::read_to_string(key).map_err(unreadable)?);
    let signing = SigningKey::parse_secret(secret.trim())
        .filter(|signing| signing.verifier().kind() == KeyType::Witness)
        .ok_or_else(|| Failure::Usage(format!("{} holds no witness's key", key.display())))?;
    let witness = signing.verifier().to_text();
    let memory = memory.map_or_else(|| with_suffix(key, ".seen"), Path::to_owned);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let cosigned = Witness::new(signing, &memory).cosign(&Folder::at(dir), &parse_key(vkey)?, now)?;
    Ok(show::text(&CosignedShown::new(&cosigned, witness, now), json))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

fn witness_key(name: &str, out: &Path) -> Result<WitnessKeyShown, Failure> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut_slice())
        .map_err(|error| Failure::Usage(format!("no randomness: {error}")))?;
    let key = SigningKey::new(name, KeyType::Witness, &seed)
        .ok_or_else(|| Failure::Usage("a witness's name has no spaces and no '+'".to_owned()))?;
    let unwritable = |error| Failure::Usage(format!("cannot write {}: {error}", out.display()));
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(out).map_err(unwritable)?;
    let mut text = Zeroizing::new(key.to_secret_text());
    text.push('\n');
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(unwritable)?;
    Ok(WitnessKeyShown::new(key.verifier().to_text(), out))
}
