//! What is to be signed.

use super::word::{hex_bytes, request_id};
use clap::{ArgGroup, Args};
use countersign_wire::client::RequestId;
use std::path::PathBuf;

/// What `sign --help` ends with.
pub(super) const HELP: &str = "\
An Ethereum transaction is given unsigned, as the bytes whose Keccak-256 is signed
(EIP-155 for legacy transactions, EIP-2930, EIP-1559, EIP-4844, EIP-7702), in hex or raw.
The HSM decodes and hashes it itself. The raw transaction in the answer is complete and
ready to broadcast. Of a PSBT the HSM signs all inputs that the key spends, under one code.

The signature is 65 bytes: r, s and v, where v is the parity of the y coordinate of R,
00 or 01, for all that is Ethereum and for digests. Where a caller wants v as 27
or 28 (ecrecover), add 27; where it wants EIP-155's v, add 35 + 2 × chain id.

With --prior no code is sent: the user has approved exactly this before, on a device (see
countersign intent stage). Without either the code is asked for at the terminal. Where there is no terminal the
request goes out without an approval, and the HSM refuses it.

Examples:
  countersign sign --key alice/ethereum --ethereum transfer.hex --code 492039
  build-transaction | countersign --json sign --key alice/ethereum --ethereum - --code 492039
  countersign sign --key alice/btc --psbt payment.psbt --code 492039
  countersign sign --key alice/ethereum --typed-data permit.json --code 492039
  countersign sign --key alice/digest --digest 0x1c8a…f3 --code 492039
  countersign sign --key alice/ethereum --ethereum transfer.hex --prior";

/// What is to be signed, in one of five forms.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("payload").required(true))]
pub(crate) struct PayloadArguments {
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
}

impl PayloadArguments {
    /// Whether it is read from standard input.
    pub(crate) fn reads_stdin(&self) -> bool {
        let files = [&self.ethereum, &self.typed_data, &self.message, &self.psbt];
        files.into_iter().flatten().any(|file| file.as_os_str() == "-")
    }
}

#[derive(Debug, Args)]
pub(crate) struct SignArguments {
    /// The key that signs.
    #[arg(long, value_name = "ACCOUNT/KEY")]
    pub(crate) key: String,
    #[command(flatten)]
    pub(crate) payload: PayloadArguments,
    /// The code that the user's authenticator shows; '-' reads it from standard input, where neither the list of
    /// processes nor the shell's history shows it.
    #[arg(long, value_name = "CODE")]
    pub(crate) code: Option<String>,
    /// Sign what the user has approved before, on a device, and ask for no code.
    #[arg(long, conflicts_with = "code")]
    pub(crate) prior: bool,
    /// 32 hex digits, fresh and random for each new signature. Giving the same again, with the same request, within
    /// ten minutes returns the same signature and uses up nothing.
    #[arg(long, value_name = "HEX", value_parser = request_id)]
    pub(crate) request_id: Option<RequestId>,
}
