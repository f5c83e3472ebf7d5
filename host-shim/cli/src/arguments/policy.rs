//! Writing policies.

use super::word::{MechanismWord, NetworkWord, approval};
use clap::{ArgGroup, Args, Subcommand};
use countersign_wire::client::ApprovalKind;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Check a policy: its form, its rules against the schema, its limits.
    #[command(after_long_help = "\
A policy is a folder with policy.toml (what is declared, limits) and policy.cedar (the rules),
or the document that was packed from one.

Example:
  countersign policy check policy/samples/institutional-treasury")]
    Check {
        /// The folder, or the packed document.
        policy: PathBuf,
    },
    /// Pack a policy into the one document that an HSM loads.
    #[command(after_long_help = "Example:\n  countersign policy pack my-policy --out my.policy")]
    Pack {
        /// The folder.
        policy: PathBuf,
        /// Where the document is written; the file must not exist.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Run a policy's table of cases: what it must permit and what it must deny, and by which rule.
    #[command(after_long_help = "\
Exit code 3 if a case is not decided as expected.

Example:
  countersign policy test policy/samples/retail-exchange-hot-wallet")]
    Test {
        /// The folder, or the packed document.
        policy: PathBuf,
        /// The table [default: cases.toml in the folder].
        #[arg(long, value_name = "FILE")]
        cases: Option<PathBuf>,
    },
    /// Say how a policy decides about one transaction, and by which rule.
    #[command(after_long_help = "\
Nothing was spent before, and the HSM has been running for ever: what limits hold is what the
transaction alone comes to. Other states are what tables of cases are for.

Example:
  countersign policy explain my-policy --ethereum transfer.hex --mechanism ethereum")]
    Explain(Box<ExplainArguments>),
    /// Format policy.cedar.
    #[command(after_long_help = "Example:\n  countersign policy fmt my-policy")]
    Fmt {
        /// The folder.
        policy: PathBuf,
        /// Change nothing; fail if it is not formatted.
        #[arg(long)]
        check: bool,
    },
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("subject").required(true))]
pub(crate) struct ExplainArguments {
    /// The folder, or the packed document.
    pub(crate) policy: PathBuf,
    /// An unsigned Ethereum transaction, as hex or raw bytes; '-' is standard input.
    #[arg(long, value_name = "FILE", group = "subject")]
    pub(crate) ethereum: Option<PathBuf>,
    /// EIP-712 typed data, the JSON of `eth_signTypedData_v4`.
    #[arg(long, value_name = "FILE", group = "subject")]
    pub(crate) typed_data: Option<PathBuf>,
    /// A personal message (EIP-191).
    #[arg(long, value_name = "FILE", group = "subject")]
    pub(crate) message: Option<PathBuf>,
    /// A Bitcoin transaction as a PSBT, in binary, Base64 or hex; needs --wallet and --network.
    #[arg(long, value_name = "FILE", group = "subject", requires_all = ["wallet", "network"])]
    pub(crate) psbt: Option<PathBuf>,
    /// Any digest, signed blind.
    #[arg(long, group = "subject")]
    pub(crate) digest: bool,
    /// Of whom the PSBT is: the descriptor that `wallet show` prints, or a compressed public key in hex.
    #[arg(long, value_name = "DESCRIPTOR|KEY", requires = "psbt")]
    pub(crate) wallet: Option<String>,
    /// The network of a Bitcoin key.
    #[arg(long, value_enum)]
    pub(crate) network: Option<NetworkWord>,
    /// Whose policy it is.
    #[arg(long, default_value = "default")]
    pub(crate) tenant: String,
    /// Who signs.
    #[arg(long, default_value = "alice")]
    pub(crate) account: String,
    /// What the key was made for; may be repeated [default: what signs this].
    #[arg(long = "mechanism", value_name = "MECHANISM", value_enum)]
    pub(crate) mechanisms: Vec<MechanismWord>,
    /// What the user approves with: code, sealed-code or passkey.
    #[arg(long, value_name = "KIND", default_value = "code", value_parser = approval)]
    pub(crate) approval: ApprovalKind,
    /// An address that the account has known for long; may be repeated.
    #[arg(long = "payee", value_name = "ADDRESS")]
    pub(crate) payees: Vec<String>,
    /// When, in seconds since 1970 [default: now].
    #[arg(long, value_name = "SECONDS")]
    pub(crate) at: Option<u64>,
}
