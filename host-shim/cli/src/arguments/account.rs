//! Accounts.

use super::key::PlanArguments;
use super::word::{HashWord, number_among, page};
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum AccountCommand {
    /// Enrol a user: a new account with its first key and an authenticator secret, shown this once.
    #[command(after_long_help = "\
Prints a QR code for the user's authenticator app (on a terminal). The account signs
nothing until it is confirmed with two consecutive codes.

Examples:
  countersign account enroll alice
  countersign account enroll alice --key cold --mechanism digest --qr alice.png")]
    Enroll(EnrollArguments),
    /// Invite a user's own device to enrol a new account, so that nobody here ever sees its secret.
    #[command(after_long_help = "\
Give the user the invitation (or the link), the tenant's and the account's name. The device
checks the HSM's root, whose fingerprint the user has from somewhere else than from here.
The floor of the first key is sealed-code unless --floor says otherwise.

Examples:
  countersign account invite alice
  countersign account invite alice --page https://wallet.example/")]
    Invite(InviteArguments),
    /// Finish an enrolment with the codes of two consecutive time steps.
    #[command(after_long_help = "\
Example:
  countersign account confirm alice --code 492039 --code 118204")]
    Confirm(TwoCodesArguments),
    /// Reopen a locked account with the codes of two consecutive time steps.
    #[command(after_long_help = "\
Example:
  countersign account unlock alice --code 492039 --code 118204")]
    Unlock(TwoCodesArguments),
    /// Put an address on the list of those that the account is known to pay, with the user's code.
    #[command(after_long_help = "\
A policy may ask more of payments to addresses that are not on this list. It takes the
user's code: the API key alone cannot put one on it.

Example:
  countersign account trust alice 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed --code 492039")]
    Trust {
        /// The account.
        #[arg(value_name = "NAME")]
        account: String,
        /// The address, exactly as the HSM's summaries show it.
        address: String,
        /// The code that the user's authenticator shows; '-' reads it from standard input.
        #[arg(long, value_name = "CODE")]
        code: Option<String>,
    },
    /// Take an address off the list of those that the account is known to pay. It uses up one code.
    #[command(after_long_help = "\
Example:
  countersign account distrust alice 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed --code 492039")]
    Distrust {
        /// The account.
        #[arg(value_name = "NAME")]
        account: String,
        /// The address, exactly as `account show` shows it.
        address: String,
        /// The code that the user's authenticator shows; '-' reads it from standard input.
        #[arg(long, value_name = "CODE")]
        code: Option<String>,
    },
    /// Show one account: whether it is confirmed or locked, its factor and its keys.
    #[command(after_long_help = "Example:\n  countersign account show alice")]
    Show {
        /// The account.
        #[arg(value_name = "NAME")]
        account: String,
    },
}

/// A new account: its name, its factor, its first key.
#[derive(Debug, Args)]
pub(crate) struct NewAccountArguments {
    /// The new account: 1 to 64 of a-z, 0-9, '.', '_', '-', '@'.
    #[arg(value_name = "NAME")]
    pub(crate) account: String,
    /// The hash of the one-time codes. Not every authenticator app knows another than SHA-1.
    #[arg(long, value_enum, default_value = "sha1")]
    pub(crate) hash: HashWord,
    /// The digits of each code.
    #[arg(long, default_value = "6", value_parser = number_among(["6", "8"]))]
    pub(crate) digits: u8,
    /// The seconds that each code is for.
    #[arg(long, default_value = "30", value_parser = number_among(["30", "60"]))]
    pub(crate) period: u8,
    /// The name of the account's first key.
    #[arg(long, value_name = "KEYNAME", default_value = "ethereum")]
    pub(crate) key: String,
    #[command(flatten)]
    pub(crate) plan: PlanArguments,
}

#[derive(Debug, Args)]
pub(crate) struct EnrollArguments {
    #[command(flatten)]
    pub(crate) new: NewAccountArguments,
    #[command(flatten)]
    pub(crate) qr: QrArguments,
}

/// How the QR code is shown.
#[derive(Debug, Args)]
pub(crate) struct QrArguments {
    /// Also save the QR code to a new file that only you can read; its name ends in .png or .svg.
    #[arg(long, value_name = "FILE")]
    pub(crate) qr: Option<PathBuf>,
    /// Print the QR code even where standard output is not a terminal. Not with --json.
    #[arg(long)]
    pub(crate) qr_terminal: bool,
}

#[derive(Debug, Args)]
pub(crate) struct InviteArguments {
    #[command(flatten)]
    pub(crate) new: NewAccountArguments,
    /// Also print a link to this page of yours, which the user opens.
    #[arg(long, value_name = "URL", value_parser = page)]
    pub(crate) page: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct TwoCodesArguments {
    /// The account.
    #[arg(value_name = "NAME")]
    pub(crate) account: String,
    /// The two codes, the earlier one first; '-' reads them from standard input, one on each line. Without it they
    /// are asked for at the terminal.
    #[arg(long = "code", value_name = "CODE")]
    pub(crate) codes: Vec<String>,
}
