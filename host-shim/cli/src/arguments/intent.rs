//! What is staged for users; receipts.

use super::sign::PayloadArguments;
use super::word::{hex_bytes, page};
use clap::Subcommand;
use countersign_client::device::Root;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum IntentCommand {
    /// Stage something to be signed, for the user to approve on a device.
    #[command(after_long_help = "\
Give the user the intent's id, or the link. Once it is approved, sign exactly the same with
countersign sign --prior, or through PKCS#11 without a context login, within 300 seconds.

Examples:
  countersign intent stage --key alice/ethereum --ethereum transfer.hex
  countersign intent stage --key alice/btc --psbt payment.psbt --page https://wallet.example/")]
    Stage {
        /// The key that is to sign.
        #[arg(long, value_name = "ACCOUNT/KEY")]
        key: String,
        #[command(flatten)]
        payload: PayloadArguments,
        /// Also print a link to this page of yours, which the user opens.
        #[arg(long, value_name = "URL", value_parser = page)]
        page: Option<String>,
    },
    /// Stage an address for the list of those that the account is known to pay.
    #[command(after_long_help = "\
It is on the list as soon as the user approves it.

Example:
  countersign intent payee alice 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed")]
    Payee {
        /// The account.
        #[arg(value_name = "ACCOUNT")]
        account: String,
        /// The address, exactly as the HSM's summaries show it.
        address: String,
        /// Take it off the list instead.
        #[arg(long)]
        remove: bool,
        /// Also print a link to this page of yours, which the user opens.
        #[arg(long, value_name = "URL", value_parser = page)]
        page: Option<String>,
    },
    /// Show what became of a staged intent.
    #[command(after_long_help = "Example:\n  countersign intent show alice 0f1e2d3c4b5a69788796a5b4c3d2e1f0")]
    Show {
        /// The account.
        #[arg(value_name = "ACCOUNT")]
        account: String,
        /// The intent's id: 32 hex digits.
        #[arg(value_name = "INTENT", value_parser = hex_bytes::<16>)]
        intent: [u8; 16],
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReceiptCommand {
    /// Find the receipt of one of an account's last signatures, by what was signed.
    #[command(after_long_help = "\
The account's last four signatures have one. The file holds the HSM's identity as well, so that
anybody who knows its root can check it.

Example:
  countersign receipt find --key alice/ethereum --ethereum transfer.hex --out receipt.json")]
    Find {
        /// The key that signed.
        #[arg(long, value_name = "ACCOUNT/KEY")]
        key: String,
        #[command(flatten)]
        payload: PayloadArguments,
        /// Where the receipt is written; the file must not exist.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Check a receipt, down from the root that you trust. Asks nothing of any HSM.
    #[command(after_long_help = "Example:\n  countersign receipt verify receipt.json --root 3f…a1")]
    Verify {
        /// The receipt's file; '-' is standard input.
        file: PathBuf,
        /// The fingerprint of the root that is trusted: 64 hex digits.
        #[arg(long, value_name = "FINGERPRINT")]
        root: Root,
    },
}
