//! Asking for attestations, and verifying them.

use super::word::hex_bytes;
use clap::{Args, Subcommand};
use countersign_attestation::{Allowed, NONCE_MAX_BYTES, NONCE_MIN_BYTES};
use data_encoding::HEXLOWER_PERMISSIVE;
use std::path::PathBuf;

pub(super) const HELP: &str = "\
The answer says which image the HSM runs, in what state and with which keys, signed down from the
HSM's root. Verify it somewhere else, with the root's fingerprint from the HSM's initialisation.

Examples:
  countersign attest --nonce 6f1d…c2 --out hsm.eat
  countersign attest verify --root root --nonce 6f1d…c2 --measurement 9b…07 hsm.eat";

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct AttestArguments {
    #[command(subcommand)]
    pub(crate) command: Option<AttestCommand>,
    /// What the answer must repeat, 16 to 128 hex digits, chosen by whoever verifies [default: random].
    #[arg(long, value_name = "HEX", value_parser = nonce)]
    pub(crate) nonce: Option<Nonce>,
    /// Write the attestation to this new file, as it is (application/eat+cwt).
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AttestCommand {
    /// Verify an attestation, offline, and show what it says. Asks nothing of the HSM.
    #[command(after_long_help = "\
What makes an HSM one for tests, or weaker than it should be, is refused by name unless it is
allowed: development-image, manual-clock, weak-sandbox, clock-in-doubt, no-policy,
platform-unchecked (a virtual machine, and no --platform).

Examples:
  countersign attest verify --root root --nonce 6f1d…c2 --measurement 9b…07 hsm.eat
  countersign attest verify --root 3f…a1 --allow development-image --allow manual-clock hsm.eat")]
    Verify(AttestationArguments),
}

#[derive(Debug, Args)]
pub(crate) struct AttestationArguments {
    /// The fingerprint of the root that is trusted, 64 hex digits, or a file that holds it.
    #[arg(long, value_name = "FILE|FINGERPRINT")]
    pub(crate) root: String,
    /// The nonce that was asked with; without it, how old the attestation is, is not known.
    #[arg(long, value_name = "HEX", value_parser = nonce)]
    pub(crate) nonce: Option<Nonce>,
    /// An image that is accepted: its measurement, 96 hex digits; may be repeated [default: any].
    #[arg(long, value_name = "HEX", value_parser = hex_bytes::<48>)]
    pub(crate) measurement: Vec<[u8; 48]>,
    /// A virtual machine that is accepted: the measurement of its kernel and first root, 96 hex digits, as `countersign-hsm
    /// vm-platform` computes it; may be repeated.
    #[arg(long, value_name = "HEX", value_parser = hex_bytes::<48>)]
    pub(crate) platform: Vec<[u8; 48]>,
    /// Which HSM it must be: 32 hex digits.
    #[arg(long, value_name = "HEX", value_parser = hex_bytes::<16>)]
    pub(crate) hsm_id: Option<[u8; 16]>,
    /// A weakness that is accepted; may be repeated.
    #[arg(long, value_name = "WEAKNESS")]
    pub(crate) allow: Vec<Allowed>,
    /// The attestation, as `attest` wrote or printed it; `-` is standard input.
    pub(crate) file: PathBuf,
}

/// A nonce as it is typed.
#[derive(Clone, Debug)]
pub(crate) struct Nonce(pub(crate) Vec<u8>);

fn nonce(text: &str) -> Result<Nonce, String> {
    let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
    let fits = |bytes: &Vec<u8>| (NONCE_MIN_BYTES..=NONCE_MAX_BYTES).contains(&bytes.len());
    bytes
        .filter(fits)
        .map(Nonce)
        .ok_or_else(|| format!("a nonce has {} to {} hex digits", 2 * NONCE_MIN_BYTES, 2 * NONCE_MAX_BYTES))
}
