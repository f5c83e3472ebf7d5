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

/// Whether a text is what [`address`] writes on some network.
pub fn is_address(text: &str) -> bool {
    if let Some(hex) = text.strip_prefix("script:") {
        return data_encoding::HEXLOWER.decode(hex.as_bytes()).is_ok();
    }
    if let Ok((_, version, program)) = segwit::decode(text) {
        let mut written =
            Network::ALL.iter().filter_map(|network| witness(version.to_u8(), &program, *network));
        return written.any(|written| written == text);
    }
    let decoded = base58::decode_check(text).unwrap_or_default();
    decoded.len() == 21 && [0x00, 0x05, 0x6f, 0xc4].contains(&decoded[0])
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

#[cfg(test)]
mod address_tests {
    use super::*;

    #[test]
    fn an_address_is_known_by_its_one_form() {
        let scripts = [
            [&[0x76, 0xa9, 20][..], &[7; 20], &[0x88, 0xac]].concat(),
            [&[0xa9, 20][..], &[7; 20], &[0x87]].concat(),
            [&[0, 20][..], &[7; 20]].concat(),
            [&[0, 32][..], &[7; 32]].concat(),
            [&[0x51, 32][..], &[7; 32]].concat(),
            vec![0x6a, 1, 9],
        ];
        for script in &scripts {
            for network in Network::ALL {
                let text = address(script, *network).to_string();
                assert!(is_address(&text), "{text}");
                assert!(text.starts_with("script:") || !is_address(&text.to_uppercase()), "{text}");
                assert!(!is_address(&text[..text.len() - 1]) && !is_address(&format!("{text}1")), "{text}");
            }
        }
        // A key, not an address; a private key; another chain's bech32.
        for other in
            ["", "script:A0", "alice", "LTC1QRP33G0Q5C5TXSP9ARYSRX4K6ZDKFS4NCE4XJ0GDCCCEFVPYSXF3Q0SL5K7"]
        {
            assert!(!is_address(other), "{other}");
        }
    }
}
