//! The one text of an output script on a network.

use super::script::Template;
use crate::base58;
use crate::model::{Address, Network};
use bech32::{Fe32, Hrp, segwit};

/// Base58Check for P2PKH and P2SH, bech32 (BIP-173) for witness version 0, bech32m (BIP-350) from version 1 on; for
/// a script that has no address, `script:` and its hex.
pub fn address(script: &[u8], network: Network) -> Address {
    let text = match Template::of(script) {
        Template::PublicKeyHash(hash) => {
            Some(base58(if network == Network::Main { 0x00 } else { 0x6f }, hash))
        }
        Template::ScriptHash(hash) => Some(base58(if network == Network::Main { 0x05 } else { 0xc4 }, hash)),
        Template::Witness(version, program) => witness(version, program, network),
        Template::Other => None,
    };
    Address::canonical(text.unwrap_or_else(|| format!("script:{}", data_encoding::HEXLOWER.encode(script))))
}

fn base58(version: u8, hash: &[u8]) -> String {
    base58::encode_check(&[&[version][..], hash].concat())
}

/// `None` for a version 0 program that is neither 20 nor 32 bytes long: nobody can spend it, so it has no address.
fn witness(version: u8, program: &[u8], network: Network) -> Option<String> {
    let prefix = match network {
        Network::Main => "bc",
        Network::Test | Network::Signet => "tb",
        Network::Regtest => "bcrt",
    };
    segwit::encode(Hrp::parse(prefix).ok()?, Fe32::try_from(version).ok()?, program).ok()
}
