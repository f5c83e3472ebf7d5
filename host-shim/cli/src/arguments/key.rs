//! Keys and wallets.

use super::word::{MechanismWord, NetworkWord, approval, hex_bytes};
use clap::{Args, Subcommand};
use countersign_wire::client::{ApprovalKind, KeyPlan, Mechanism};
use countersign_wire::path::DerivationPath;

#[derive(Debug, Subcommand)]
pub(crate) enum WalletCommand {
    /// Show the keys of an account's wallet, and what watches them.
    #[command(after_long_help = "\
The output descriptors import into Bitcoin Core and other watch-only wallets. They hold public
keys alone.

Example:
  countersign --json wallet show alice")]
    Show {
        /// The account.
        #[arg(value_name = "NAME")]
        account: String,
    },
}

/// What a key may sign and where it comes from.
#[derive(Debug, Args)]
pub(crate) struct PlanArguments {
    /// What the key may sign, for good; may be repeated.
    #[arg(long = "mechanism", value_name = "MECHANISM", value_enum, default_value = "ethereum")]
    pub(crate) mechanisms: Vec<MechanismWord>,
    /// The network of a Bitcoin key, for good.
    #[arg(long, value_enum)]
    pub(crate) network: Option<NetworkWord>,
    /// Make the key from the account's wallet, at this path.
    #[arg(long, value_name = "m/84h/0h/0h")]
    pub(crate) path: Option<DerivationPath>,
    /// The weakest approval that the key takes, for good: code, sealed-code or passkey.
    #[arg(long, value_name = "KIND", value_parser = approval)]
    pub(crate) floor: Option<ApprovalKind>,
}

impl PlanArguments {
    /// As it travels: mechanisms ascending, without repeats.
    pub(crate) fn plan(&self, usual_floor: ApprovalKind) -> KeyPlan {
        let mut mechanisms: Vec<Mechanism> = self.mechanisms.iter().map(|word| (*word).into()).collect();
        mechanisms.sort_unstable();
        mechanisms.dedup();
        let (network, path) = (self.network.map(Into::into), self.path.clone());
        KeyPlan { mechanisms, network, path, floor: self.floor.unwrap_or(usual_floor) }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Create a further key under a confirmed account.
    #[command(after_long_help = "\
A key is made by the keystore, or, with --path, from the account's wallet (BIP-32), whose root
is made inside the HSM and never leaves it:
  m/44h/60h/Ah/0/I      one Ethereum key
  m/84h/Ch/Ah           a Bitcoin wallet account, segwit (also 49h, nested, and 44h, legacy);
                        C is 0 on the main network and 1 on all others

Examples:
  countersign key create alice/savings --mechanism ethereum
  countersign key create alice/spending --mechanism ethereum --path m/44h/60h/0h/0/0
  countersign key create alice/btc --mechanism bitcoin --network main --path m/84h/0h/0h
  countersign key create alice/vault --floor sealed-code")]
    Create {
        /// The new key's full name.
        #[arg(value_name = "ACCOUNT/KEY")]
        label: String,
        #[command(flatten)]
        plan: PlanArguments,
    },
    /// List keys: all of them, those of one account, or one key.
    #[command(after_long_help = "Examples:\n  countersign key list\n  countersign key list alice/ethereum")]
    List {
        /// Whose keys, or which key.
        #[arg(value_name = "ACCOUNT[/KEY]", conflicts_with = "id")]
        which: Option<String>,
        /// Only the key with this id (`CKA_ID` in PKCS#11): 32 hex digits.
        #[arg(long, value_name = "HEX", value_parser = hex_bytes::<16>)]
        id: Option<[u8; 16]>,
    },
}
