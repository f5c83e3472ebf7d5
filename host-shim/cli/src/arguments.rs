//! The commands, their options and their help.
//!
//! * `account`: accounts and what their first keys may sign;
//! * `attest`: attestations;
//! * `device`: what a user does on a device of his own;
//! * `doctor`: checking an installation;
//! * `image`: building, signing and checking images;
//! * `intent`: what is staged for users, receipts, the HSM's identity;
//! * `key`: keys, addresses, wallets;
//! * `log`: the tenant's audit log;
//! * `policy`: writing policies;
//! * `relay`: the relay;
//! * `sign`: what is to be signed;
//! * `word`: words and numbers as they are typed.

mod account;
mod attest;
mod device;
mod doctor;
mod image;
mod intent;
mod key;
mod log;
mod policy;
mod relay;
mod sign;
mod word;

pub(crate) use account::{
    AccountCommand, EnrollArguments, InviteArguments, NewAccountArguments, QrArguments, TwoCodesArguments,
};
pub(crate) use attest::{AttestArguments, AttestCommand, AttestationArguments};
pub(crate) use device::{
    ApproveArguments, DeviceCommand, DeviceEnrollArguments, DeviceTwoCodesArguments, WhereArguments,
};
pub(crate) use doctor::DoctorArguments;
pub(crate) use image::{ImageCommand, VerifyArguments};
pub(crate) use intent::{IntentCommand, ReceiptCommand};
pub(crate) use key::{KeyCommand, WalletCommand};
pub(crate) use log::{KeyOfLog, LogCommand};
pub(crate) use policy::{ExplainArguments, PolicyCommand};
pub(crate) use relay::{LogFormat, RelayArguments};
pub(crate) use sign::{PayloadArguments, SignArguments};

use clap::{Parser, Subcommand};
use countersign_client::device::Root;
use std::path::PathBuf;
use word::duration_secs;

/// The heading of the options that every command takes.
const GLOBAL: &str = "Options of every command";

/// Signatures that need the user's one-time code, checked inside the HSM.
#[derive(Debug, Parser)]
#[command(name = "countersign", version, max_term_width = 100)]
#[command(after_long_help = "\
Configuration: --config FILE, else the file that COUNTERSIGN_CONFIG names, else
~/.config/countersign/host.toml, else /etc/countersign/host.toml.
API key: COUNTERSIGN_API_KEY, else the file that the configuration names.

Exit codes: 0 done; 2 usage, configuration or files; 3 refused; 4 the HSM cannot be
reached or cannot serve.

Example:
  countersign --json status")]
pub(crate) struct Arguments {
    /// Print one JSON object on standard output, whatever the outcome.
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub(crate) json: bool,

    /// Read this configuration and no other.
    #[arg(long, global = true, value_name = "FILE", help_heading = GLOBAL)]
    pub(crate) config: Option<PathBuf>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show how the HSM is: identity, image, clock, keystore, sandbox. Needs no API key.
    #[command(after_long_help = "Example:\n  countersign status")]
    Status,
    /// Show or advance the HSM's clock.
    #[command(subcommand, after_long_help = "Example:\n  countersign clock show")]
    Clock(ClockCommand),
    /// Enrol, confirm, unlock and show accounts.
    #[command(subcommand, after_long_help = "Example:\n  countersign account show alice")]
    Account(AccountCommand),
    /// Create and list keys.
    #[command(subcommand, after_long_help = "Example:\n  countersign key list alice")]
    Key(KeyCommand),
    /// Show the address of a key.
    #[command(after_long_help = "\
Of a Bitcoin wallet account, the address at an index: those to receive with, or with --change
those that change goes to. It is made here from the account's extended public key.

Examples:
  countersign address alice/ethereum
  countersign address alice/btc --index 7")]
    Address {
        /// The key.
        #[arg(value_name = "ACCOUNT/KEY")]
        key: String,
        /// Which address of a wallet account [default: 0].
        #[arg(long, value_name = "N")]
        index: Option<u32>,
        /// An address for change.
        #[arg(long)]
        change: bool,
    },
    /// Show an account's wallet: its keys, extended public keys and output descriptors.
    #[command(subcommand, after_long_help = "Example:\n  countersign wallet show alice")]
    Wallet(WalletCommand),
    /// Check, pack, test, explain and format policies. Asks nothing of the HSM.
    #[command(
        subcommand,
        after_long_help = "Example:\n  countersign policy check policy/samples/development"
    )]
    Policy(PolicyCommand),
    /// Build, inspect, sign, verify and compare images of the plugin. Asks nothing of the HSM.
    #[command(subcommand, after_long_help = "Example:\n  countersign image inspect countersign.image")]
    Image(ImageCommand),
    /// Sign a transaction, typed data, a message or a digest with the user's code.
    #[command(after_long_help = sign::HELP)]
    Sign(SignArguments),
    /// Stage what a user is to approve on a device, and see what became of it.
    #[command(
        subcommand,
        after_long_help = "Example:\n  countersign intent stage --key alice/ethereum --ethereum t.hex"
    )]
    Intent(IntentCommand),
    /// Find and check the receipts of signatures.
    #[command(
        subcommand,
        after_long_help = "Example:\n  countersign receipt verify receipt.json --root 3f…a1"
    )]
    Receipt(ReceiptCommand),
    /// Show who the HSM is: its id, image and keys, and the root that endorses them. Needs no API key.
    #[command(after_long_help = "\
With --root it is checked against a fingerprint that you have from somewhere else, for example from
the ceremony in which the HSM was initialised. Without, what it says of itself is shown as that.

Examples:
  countersign identity
  countersign identity --root 3f…a1")]
    Identity {
        /// The fingerprint of the root that is trusted: 64 hex digits.
        #[arg(long, value_name = "FINGERPRINT")]
        root: Option<Root>,
    },
    /// Have the HSM attest the image that it runs, or verify such an attestation offline.
    #[command(after_long_help = attest::HELP)]
    Attest(AttestArguments),
    /// Be a user's device: enrol, see what is to be approved, approve it, freeze. Needs no API key.
    #[command(subcommand, after_long_help = device::HELP)]
    Device(DeviceCommand),
    /// Export, follow and verify the tenant's audit log; prove entries; cosign checkpoints.
    #[command(subcommand, after_long_help = "Example:\n  countersign log export --out /srv/audit")]
    Log(LogCommand),
    /// Check this installation, and say what to mend. Changes nothing.
    #[command(after_long_help = doctor::HELP)]
    Doctor(DoctorArguments),
    /// Carry messages between users' devices and the HSM, and serve their page. Has no API key.
    #[command(after_long_help = relay::HELP)]
    Relay(RelayArguments),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClockCommand {
    /// Show the HSM's time and where it comes from.
    #[command(after_long_help = "Example:\n  countersign --json clock show")]
    Show,
    /// Advance a manual clock, for tests and development. The API key plays no part in it.
    #[command(after_long_help = "\
Only an HSM that was initialised with a manual clock has the control channel that this uses.

Example:
  countersign clock advance 30s")]
    Advance {
        /// How far: seconds, or a number with s, m, h or d.
        #[arg(value_name = "30s|5m|2h|1d|SECONDS", value_parser = duration_secs, allow_hyphen_values = true)]
        secs: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example_in_its_long_help() {
        fn check(command: &clap::Command) {
            let help = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
            let (_, examples) =
                help.split_once("Example").unwrap_or_else(|| panic!("{}", command.get_name()));
            assert!(
                examples.contains(command.get_name()),
                "{}: the example is another's",
                command.get_name()
            );
            command.get_subcommands().filter(|sub| sub.get_name() != "help").for_each(check);
        }
        check(&Arguments::command());
    }

    /// Those of the other commands are no configuration: `docs/cli.md` has them.
    #[test]
    fn every_option_of_the_relay_and_of_all_commands_is_in_the_configuration_reference() {
        let page = include_str!("../../../docs/configuration.md");
        let command = Arguments::command();
        let relay = command.find_subcommand("relay").expect("there is a relay");
        for argument in command.get_arguments().chain(relay.get_arguments()).filter_map(clap::Arg::get_long) {
            let known = matches!(argument, "help" | "version") || page.contains(&format!("`--{argument}"));
            assert!(known, "--{argument} is not in docs/configuration.md");
        }
    }
}
