//! The commands, their options and their help.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use countersign_policy::Approval;
use countersign_wire::client::{KeyPlan, Mechanism, Network, RequestId, TotpHash};
use countersign_wire::path::DerivationPath;
use serde_bytes::ByteArray;
use std::path::PathBuf;

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
    /// Sign a transaction, typed data, a message or a digest with the user's code.
    #[command(after_long_help = SIGN_HELP)]
    Sign(SignArguments),
}

const SIGN_HELP: &str = "\
An Ethereum transaction is given unsigned, as the bytes whose Keccak-256 is signed
(EIP-155 for legacy transactions, EIP-2930, EIP-1559, EIP-4844, EIP-7702), in hex or raw.
The HSM decodes and hashes it itself. The raw transaction in the answer is complete and
ready to broadcast. Of a PSBT the HSM signs all inputs that the key spends, under one code.

The signature is 65 bytes: r, s and v, where v is the parity of the y coordinate of R,
00 or 01, for all that is Ethereum and for digests. Where a caller wants v as 27
or 28 (ecrecover), add 27; where it wants EIP-155's v, add 35 + 2 × chain id.

Without --code the code is asked for at the terminal. Where there is no terminal the
request goes out without an approval, and the HSM refuses it.

Examples:
  countersign sign --key alice/ethereum --ethereum transfer.hex --code 492039
  build-transaction | countersign --json sign --key alice/ethereum --ethereum - --code 492039
  countersign sign --key alice/btc --psbt payment.psbt --code 492039
  countersign sign --key alice/ethereum --typed-data permit.json --code 492039
  countersign sign --key alice/digest --digest 0x1c8a…f3 --code 492039";

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
    pub(crate) approval: Approval,
    /// An address that the account has known for long; may be repeated.
    #[arg(long = "payee", value_name = "ADDRESS")]
    pub(crate) payees: Vec<String>,
    /// When, in seconds since 1970 [default: now].
    #[arg(long, value_name = "SECONDS")]
    pub(crate) at: Option<u64>,
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

#[derive(Debug, Args)]
pub(crate) struct EnrollArguments {
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
    /// Also save the QR code to a new file that only you can read; its name ends in .png or .svg.
    #[arg(long, value_name = "FILE")]
    pub(crate) qr: Option<PathBuf>,
    /// Print the QR code even where standard output is not a terminal. Not with --json.
    #[arg(long)]
    pub(crate) qr_terminal: bool,
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
}

impl PlanArguments {
    /// As it travels: mechanisms ascending, without repeats.
    pub(crate) fn plan(&self) -> KeyPlan {
        let mut mechanisms: Vec<Mechanism> = self.mechanisms.iter().map(|word| (*word).into()).collect();
        mechanisms.sort_unstable();
        mechanisms.dedup();
        KeyPlan { mechanisms, network: self.network.map(Into::into), path: self.path.clone() }
    }
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
  countersign key create alice/btc --mechanism bitcoin --network main --path m/84h/0h/0h")]
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

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("payload").required(true))]
pub(crate) struct SignArguments {
    /// The key that signs.
    #[arg(long, value_name = "ACCOUNT/KEY")]
    pub(crate) key: String,
    /// A digest of 32 bytes, in hex. It is signed blind, and only by a key that was made for it.
    #[arg(long, value_name = "HEX", group = "payload", value_parser = hex_bytes::<32>)]
    pub(crate) digest: Option<[u8; 32]>,
    /// An unsigned Ethereum transaction, as hex or raw bytes; '-' is standard input.
    #[arg(long, value_name = "FILE", group = "payload")]
    pub(crate) ethereum: Option<PathBuf>,
    /// EIP-712 typed data, the JSON of `eth_signTypedData_v4`; '-' is standard input.
    #[arg(long, value_name = "FILE", group = "payload")]
    pub(crate) typed_data: Option<PathBuf>,
    /// A personal message (EIP-191): the file's bytes as they are; '-' is standard input.
    #[arg(long, value_name = "FILE", group = "payload")]
    pub(crate) message: Option<PathBuf>,
    /// A Bitcoin transaction as a PSBT, binary, Base64 or hex; '-' is standard input.
    #[arg(long, value_name = "FILE", group = "payload")]
    pub(crate) psbt: Option<PathBuf>,
    /// The code that the user's authenticator shows; '-' reads it from standard input, where neither the list of
    /// processes nor the shell's history shows it.
    #[arg(long, value_name = "CODE")]
    pub(crate) code: Option<String>,
    /// 32 hex digits, fresh and random for each new signature. Giving the same again, with the same request, within
    /// ten minutes returns the same signature and uses up nothing.
    #[arg(long, value_name = "HEX", value_parser = request_id)]
    pub(crate) request_id: Option<RequestId>,
}

/// [`TotpHash`] as it is typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum HashWord {
    Sha1,
    Sha256,
    Sha512,
}

impl From<HashWord> for TotpHash {
    fn from(word: HashWord) -> Self {
        match word {
            HashWord::Sha1 => Self::Sha1,
            HashWord::Sha256 => Self::Sha256,
            HashWord::Sha512 => Self::Sha512,
        }
    }
}

/// [`Mechanism`] as it is typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum MechanismWord {
    /// A 32-byte digest, signed blind.
    Digest,
    /// An Ethereum transaction, decoded and hashed by the HSM.
    Ethereum,
    /// EIP-712 typed data, decoded and hashed by the HSM.
    TypedData,
    /// An EIP-191 personal message.
    Message,
    /// A Bitcoin transaction as a PSBT. Stands alone, with a network.
    Bitcoin,
}

impl From<MechanismWord> for Mechanism {
    fn from(word: MechanismWord) -> Self {
        match word {
            MechanismWord::Digest => Self::Digest,
            MechanismWord::Ethereum => Self::Ethereum,
            MechanismWord::TypedData => Self::TypedData,
            MechanismWord::Message => Self::Message,
            MechanismWord::Bitcoin => Self::Bitcoin,
        }
    }
}

/// [`Network`] as it is typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum NetworkWord {
    Main,
    Test,
    Signet,
    Regtest,
}

impl From<NetworkWord> for Network {
    fn from(word: NetworkWord) -> Self {
        match word {
            NetworkWord::Main => Self::Main,
            NetworkWord::Test => Self::Test,
            NetworkWord::Signet => Self::Signet,
            NetworkWord::Regtest => Self::Regtest,
        }
    }
}

fn number_among<const N: usize>(words: [&'static str; N]) -> impl TypedValueParser<Value = u8> {
    PossibleValuesParser::new(words).try_map(|word| word.parse::<u8>())
}

fn approval(word: &str) -> Result<Approval, String> {
    Approval::of_word(word).ok_or_else(|| "write code, sealed-code or passkey".to_owned())
}

fn duration_secs(text: &str) -> Result<u64, String> {
    let (number, unit_secs) = match text.as_bytes().last() {
        Some(b's') => (&text[..text.len() - 1], 1),
        Some(b'm') => (&text[..text.len() - 1], 60),
        Some(b'h') => (&text[..text.len() - 1], 3600),
        Some(b'd') => (&text[..text.len() - 1], 86_400),
        _ => (text, 1),
    };
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let secs = if digits { number.parse::<u64>().ok().and_then(|n| n.checked_mul(unit_secs)) } else { None };
    secs.ok_or_else(|| "write a number of seconds, or a number with s, m, h or d".to_owned())
}

fn hex_bytes<const N: usize>(text: &str) -> Result<[u8; N], String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok();
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| format!("write {} hex digits", 2 * N))
}

fn request_id(text: &str) -> Result<RequestId, String> {
    hex_bytes(text).map(ByteArray::new)
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

    #[test]
    fn reads_durations_in_every_unit_and_refuses_the_rest() {
        for (text, secs) in [("45", 45), ("30s", 30), ("5m", 300), ("2h", 7200), ("1d", 86_400), ("0", 0)] {
            assert_eq!(duration_secs(text), Ok(secs), "{text}");
        }
        for bad in
            ["", "s", "-1", "+1", "1.5h", "1w", " 1", "1h30m", "99999999999999999999", "999999999999999999d"]
        {
            assert!(duration_secs(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn hex_has_exactly_its_length() {
        assert_eq!(hex_bytes::<2>("0xaBcd"), Ok([0xab, 0xcd]));
        for bad in ["", "0x", "abc", "abcdef", "zzzz", "0x0xabcd"] {
            assert!(hex_bytes::<2>(bad).is_err(), "{bad:?}");
        }
    }
}
