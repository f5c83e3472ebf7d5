//! What a user does on a device of his own.

use super::account::QrArguments;
use super::word::hex_bytes;
use clap::{Args, Subcommand};
use countersign_client::device::Root;
use std::path::PathBuf;

/// What `device --help` ends with.
pub(super) const HELP: &str = "\
The device's keys lie in a file, encrypted under a passphrase. The passphrase is asked for at the
terminal, or is the first line of the file that COUNTERSIGN_DEVICE_PASSPHRASE_FILE names.

Whatever comes from the HSM is checked down from the fingerprint of its root, which you have from
somewhere else than from whom you were invited by.

Examples:
  countersign device enroll --tenant default --account alice --invitation 0f…f0 --root 3f…a1
  countersign device approve 0f1e2d3c4b5a69788796a5b4c3d2e1f0
  countersign device freeze";

/// Where the device's keys are, and which way leads to the HSM.
#[derive(Debug, Args)]
pub(crate) struct WhereArguments {
    /// The file with the device's keys [default: countersign/device in the XDG data folder].
    #[arg(long, value_name = "FILE")]
    pub(crate) keys: Option<PathBuf>,
    /// A relay on this machine, or a tunnel to one, over plain HTTP. Without: the socket that host.toml names.
    #[arg(long, value_name = "URL")]
    pub(crate) relay: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeviceCommand {
    /// Make keys and enrol the account that this device was invited to.
    #[command(after_long_help = "\
Everything that the HSM says is checked before the QR code is shown: its root, its signature, that
the account has no factor but this device's, the addresses. Then two codes of the authenticator
finish the enrolment; where nobody can be asked for them, do so with countersign device confirm.

Example:
  countersign device enroll --tenant default --account alice --invitation 0f…f0 --root 3f…a1")]
    Enroll(DeviceEnrollArguments),
    /// Finish the enrolment with the codes of two consecutive time steps.
    #[command(after_long_help = "Example:\n  countersign device confirm --code 492039 --code 118204")]
    Confirm(DeviceTwoCodesArguments),
    /// Show all of what is to be approved, then approve it with a code.
    #[command(after_long_help = "\
The code is sealed for the HSM, for exactly this: nobody on the way can use it for anything else.
Give the code only if what is shown is what you want.

Examples:
  countersign device approve 0f1e2d3c4b5a69788796a5b4c3d2e1f0
  countersign device approve 0f1e2d3c4b5a69788796a5b4c3d2e1f0 --wait 60 --receipt receipt.json")]
    Approve(ApproveArguments),
    /// Refuse what is to be approved: it is never signed.
    #[command(after_long_help = "Example:\n  countersign device decline 0f1e2d3c4b5a69788796a5b4c3d2e1f0")]
    Decline {
        /// The intent's id: 32 hex digits.
        #[arg(value_name = "INTENT", value_parser = hex_bytes::<16>)]
        intent: [u8; 16],
        #[command(flatten)]
        place: WhereArguments,
    },
    /// Show what the account signed last, and what of it was approved here.
    #[command(after_long_help = "Example:\n  countersign device history")]
    History {
        #[command(flatten)]
        place: WhereArguments,
    },
    /// Stop the account: from then on it signs nothing, until the HSM's operators lift it.
    #[command(after_long_help = "Examples:\n  countersign device freeze\n  countersign device freeze --yes")]
    Freeze {
        /// Do not ask whether you are sure.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        place: WhereArguments,
    },
    /// Reopen the locked account with the codes of two consecutive time steps.
    #[command(after_long_help = "Example:\n  countersign device unlock --code 492039 --code 118204")]
    Unlock(DeviceTwoCodesArguments),
    /// Stop a recovery of the account that is under way.
    #[command(after_long_help = "Example:\n  countersign device cancel-recovery")]
    CancelRecovery {
        #[command(flatten)]
        place: WhereArguments,
    },
    /// Show the account: its state, its keys and addresses, and what waits for approval.
    #[command(after_long_help = "Example:\n  countersign device show")]
    Show {
        #[command(flatten)]
        place: WhereArguments,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DeviceEnrollArguments {
    /// The custodian's name on the HSM.
    #[arg(long, value_name = "TENANT")]
    pub(crate) tenant: String,
    /// The account.
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) account: String,
    /// The invitation: 32 hex digits.
    #[arg(long, value_name = "HEX", value_parser = hex_bytes::<16>)]
    pub(crate) invitation: [u8; 16],
    /// The fingerprint of the HSM's root, which you have from somewhere else: 64 hex digits.
    #[arg(long, value_name = "FINGERPRINT")]
    pub(crate) root: Root,
    /// The two codes, the earlier one first; '-' reads them from standard input, one on each line.
    #[arg(long = "code", value_name = "CODE")]
    pub(crate) codes: Vec<String>,
    #[command(flatten)]
    pub(crate) qr: QrArguments,
    #[command(flatten)]
    pub(crate) place: WhereArguments,
}

#[derive(Debug, Args)]
pub(crate) struct DeviceTwoCodesArguments {
    /// The two codes, the earlier one first; '-' reads them from standard input, one on each line. Without it they
    /// are asked for at the terminal.
    #[arg(long = "code", value_name = "CODE")]
    pub(crate) codes: Vec<String>,
    #[command(flatten)]
    pub(crate) place: WhereArguments,
}

#[derive(Debug, Args)]
pub(crate) struct ApproveArguments {
    /// The intent's id: 32 hex digits.
    #[arg(value_name = "INTENT", value_parser = hex_bytes::<16>)]
    pub(crate) intent: [u8; 16],
    /// The code that your authenticator shows; '-' reads it from standard input.
    #[arg(long, value_name = "CODE")]
    pub(crate) code: Option<String>,
    /// Show digests as well.
    #[arg(long)]
    pub(crate) verbose: bool,
    /// Wait so many seconds for the signature, at most 600.
    #[arg(long, value_name = "SECS", default_value = "0", value_parser = clap::value_parser!(u64).range(0..=600))]
    pub(crate) wait: u64,
    /// Save the signature's receipt to this new file, once there is one.
    #[arg(long, value_name = "FILE")]
    pub(crate) receipt: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) place: WhereArguments,
}
