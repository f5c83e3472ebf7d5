//! The audit log.

use clap::{Args, Subcommand};
use countersign_attestation::Allowed;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Bring a folder up to date with the log, in the form that transparency tooling reads (c2sp.org/tlog-tiles).
    #[command(after_long_help = "\
The folder can be served as it is. An attestation ties the log's key to the HSM: with --attestation
and --root it is verified as `attest verify` does, and a log under another key is refused. Without
it, and without --vkey, whoever answers the first time chooses the key, which is then held on to.

Examples:
  countersign attest --out hsm.eat
  countersign log export --out /srv/audit --attestation hsm.eat --root root
  countersign log export --out /srv/audit --vkey audit.vkey")]
    Export {
        /// The folder; made where it does not exist.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        #[command(flatten)]
        key: KeyOfLog,
    },
    /// Show the newest entries, as the HSM tells them; `log verify` is what proves them.
    #[command(after_long_help = "Examples:\n  countersign log tail\n  countersign log tail -n 100 --follow")]
    Tail {
        /// How many; the HSM has a few hundred at hand.
        #[arg(short = 'n', long = "entries", value_name = "N", default_value_t = 20)]
        entries: u16,
        /// Go on showing what is new until interrupted.
        #[arg(long)]
        follow: bool,
    },
    /// Verify an export: signature, every entry, every tile, and that it goes on from what was seen before. Asks nothing of any HSM.
    #[command(after_long_help = "\
What is wrong is told by name: deleted, reordered, edited, inserted, truncated, forked, rolled-back,
wrong-signature and others. Without --attestation and --vkey the key that was pinned at the first
export is used: then somebody who could write to the folder could have replaced it as well.

Examples:
  countersign log verify /srv/audit --attestation hsm.eat --root root --seen ~/audit.seen
  countersign log verify /srv/audit --vkey audit.vkey --seen ~/audit.seen
  countersign log verify /srv/audit --witness witness.example+3f1c…+BA…")]
    Verify {
        /// The folder.
        dir: PathBuf,
        #[command(flatten)]
        key: KeyOfLog,
        /// A witness that must have signed the checkpoint, its key or the file with it; may be repeated.
        #[arg(long, value_name = "VKEY|FILE")]
        witness: Vec<String>,
        /// Where the last verified checkpoint is kept [default: DIR/seen-checkpoint].
        #[arg(long, value_name = "FILE")]
        seen: Option<PathBuf>,
    },
    /// Prove that an entry is in the log, or that the log goes on from an earlier size. Asks nothing of any HSM.
    #[command(after_long_help = "\
An entry's proof is a file that verifies by itself (c2sp.org/tlog-proof). The proof of --from is what a
witness takes to sign the checkpoint (c2sp.org/tlog-witness, add-checkpoint).

Examples:
  countersign log prove /srv/audit --index 73894 --out entry.tlog-proof
  countersign log prove /srv/audit --from 70000")]
    #[command(group = clap::ArgGroup::new("what").required(true).args(["index", "from"]))]
    Prove {
        /// The folder.
        dir: PathBuf,
        /// The number of the entry; the first is 0.
        #[arg(long, value_name = "N")]
        index: Option<u64>,
        /// The earlier size.
        #[arg(long, value_name = "SIZE")]
        from: Option<u64>,
        /// Where the proof is written; the file must not exist [default: standard output].
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        key: KeyOfLog,
    },
    /// As a witness: sign an export's checkpoint, if it goes on from what was signed before. Asks nothing of any HSM.
    #[command(after_long_help = "\
What was signed is remembered beside the key; keep that file. The signature is put under the
checkpoint (c2sp.org/tlog-cosignature).

Example:
  countersign log cosign /srv/audit --key witness.key --vkey audit.vkey")]
    Cosign {
        /// The folder.
        dir: PathBuf,
        /// The witness's key, as `log witness-key` made it.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// The log's key, as text or as a file with it.
        #[arg(long, value_name = "VKEY|FILE")]
        vkey: String,
        /// Where the witness keeps what it signed [default: the key's file with .seen].
        #[arg(long, value_name = "FILE")]
        memory: Option<PathBuf>,
    },
    /// Make a witness's key; prints what its signatures are verified with.
    #[command(after_long_help = "\
Example:
  countersign log witness-key --name witness.example/audit --out witness.key")]
    WitnessKey {
        /// The witness's name: a URL without scheme is usual; no spaces and no '+'.
        #[arg(long)]
        name: String,
        /// Where the key is written; the file must not exist, and only you can read it.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

/// The key that is trusted.
#[derive(Debug, Args)]
pub(crate) struct KeyOfLog {
    /// The log's key, as text or as a file with it [default: the one that was pinned at the first export].
    #[arg(long, value_name = "VKEY|FILE", conflicts_with = "attestation")]
    pub(crate) vkey: Option<String>,
    /// The attestation that names the log's key, as `attest` wrote or printed it; it is verified first.
    #[arg(long, value_name = "FILE", requires = "root")]
    pub(crate) attestation: Option<PathBuf>,
    /// The fingerprint of the root that is trusted, 64 hex digits, or a file that holds it.
    #[arg(long, value_name = "FILE|FINGERPRINT", requires = "attestation")]
    pub(crate) root: Option<String>,
    /// A weakness of the attested HSM that is accepted; may be repeated.
    #[arg(long, value_name = "WEAKNESS", requires = "attestation")]
    pub(crate) allow: Vec<Allowed>,
}

impl KeyOfLog {
    /// Whether it comes from somewhere else than the log.
    pub(crate) fn is_given(&self) -> bool {
        self.vkey.is_some() || self.attestation.is_some()
    }
}
