//! Output descriptors: their checksum (BIP-380, "Checksum"), and reading those that this project writes.

use super::signer::{Account, NotAnAccount, Signer, SingleKey};
use crate::bip32::{ExtendedPublicKey, Path};
use crate::model::Network;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};

/// The characters of descriptors, in three groups of 32.
const INPUT_CHARSET: &[u8] =
    b"0123456789()[],'/*abcdefgh@:$%{}IJKLMNOPQRSTUVWXYZ&+-.;<=>?!^_|~ijklmnopqrstuvwxyzABCDEFGH`#\"\\ ";

/// The characters of checksums.
const CHECKSUM_CHARSET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";

/// What a set bit of the five that fall out adds.
const GENERATOR: [u64; 5] = [0xf5_dee5_1989, 0xa9_fdca_3312, 0x1b_ab10_e32d, 0x37_06b1_677a, 0x64_4d62_6ffd];

/// One step of the BCH code.
fn step(checksum: u64, symbol: u64) -> u64 {
    let top = checksum >> 35;
    let shifted = (checksum & 0x7_ffff_ffff) << 5 ^ symbol;
    GENERATOR
        .iter()
        .enumerate()
        .fold(shifted, |sum, (bit, value)| if top >> bit & 1 == 1 { sum ^ value } else { sum })
}

/// A descriptor with `#` and its checksum behind it; `None` if it has a character that descriptors do not have.
pub fn with_checksum(descriptor: &str) -> Option<String> {
    let (mut checksum, mut group, mut groups) = (1, 0, 0);
    for byte in descriptor.bytes() {
        let place = INPUT_CHARSET.iter().position(|known| *known == byte)? as u64;
        checksum = step(checksum, place & 31);
        (group, groups) = (group * 3 + (place >> 5), groups + 1);
        if groups == 3 {
            checksum = step(checksum, group);
            (group, groups) = (0, 0);
        }
    }
    if groups > 0 {
        checksum = step(checksum, group);
    }
    checksum = (0..8).fold(checksum, |sum, _| step(sum, 0)) ^ 1;
    let character = |at: u32| char::from(CHECKSUM_CHARSET[(checksum >> (5 * (7 - at)) & 31) as usize]);
    Some(format!("{descriptor}#{}", (0..8).map(character).collect::<String>()))
}

/// Text that names no signer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotASigner;

/// Who signs, as watch-only wallets know him: an account's descriptor as [`Account::descriptor`] or
/// [`Account::descriptors`] gives it, checksum included, or one compressed public key in hex.
pub fn read_signer(text: &str, network: Network) -> Result<Signer, NotASigner> {
    if let Ok(bytes) = HEXLOWER_PERMISSIVE.decode(text.as_bytes()) {
        let public_key = bytes.as_slice().try_into().map_err(|_| NotASigner)?;
        return SingleKey::new(public_key, network).map(Signer::Key).map_err(|_| NotASigner);
    }
    let account = read_account(text, network).ok_or(NotASigner)?;
    // Whatever was read loosely differs from what is written.
    let written = [vec![account.descriptor()], account.descriptors().to_vec()].concat();
    if written.iter().any(|one| one == text) {
        Ok(Signer::Account(Box::new(account)))
    } else {
        Err(NotASigner)
    }
}

/// `…([fingerprint/path]extended key/…`, whatever stands around it.
fn read_account(text: &str, network: Network) -> Option<Account> {
    let (origin, rest) = text.split_once('[')?.1.split_once(']')?;
    let (master, path) = origin.split_at_checked(8)?;
    let master = HEXLOWER.decode(master.as_bytes()).ok()?.try_into().ok()?;
    let path: Path = format!("m{path}").parse().ok()?;
    let (key, _) = ExtendedPublicKey::of_text(rest.split_once('/')?.0).ok()?;
    Account::at(&path, key, master, network).map_err(|NotAnAccount| ()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bip32::ExtendedPrivateKey;
    use crate::bitcoin::Purpose;

    #[test]
    fn a_signer_is_read_from_what_was_written_of_it_and_from_nothing_else() {
        let master = ExtendedPrivateKey::of_seed(&[7; 32]).unwrap();
        for (purpose, network) in [
            (Purpose::Bip44, Network::Regtest),
            (Purpose::Bip49, Network::Main),
            (Purpose::Bip84, Network::Signet),
        ] {
            let account = Account::of_master(&master, purpose, 3, network).unwrap();
            let expected = Signer::Account(Box::new(account.clone()));
            for text in [vec![account.descriptor()], account.descriptors().to_vec()].concat() {
                assert_eq!(read_signer(&text, network).as_ref(), Ok(&expected), "{text}");
                let (unchecked, _) = text.split_once('#').unwrap();
                let other = if network == Network::Main { Network::Test } else { Network::Main };
                for wrong in [unchecked, &text[1..], &text[..text.len() - 1], &text.replace('h', "'")] {
                    assert_eq!(read_signer(wrong, network), Err(NotASigner), "{wrong}");
                }
                assert_eq!(read_signer(&text, other), Err(NotASigner), "{text}");
            }
        }
        let key = master.public_key();
        let text = HEXLOWER.encode(&key);
        let single = Signer::Key(SingleKey::new(key, Network::Main).unwrap());
        assert_eq!(read_signer(&text, Network::Main), Ok(single));
        for wrong in ["", "02", &text[2..], &text.replacen('0', "5", 1)] {
            assert_eq!(read_signer(wrong, Network::Main), Err(NotASigner), "{wrong}");
        }
    }

    #[test]
    fn bip_380_checksum() {
        assert_eq!(with_checksum("raw(deadbeef)").unwrap(), "raw(deadbeef)#89f8spxm");
    }

    #[test]
    fn bip_380_refuses_an_error_in_payload_or_checksum_and_invalid_characters() {
        // "Error in payload", "Error in checksum": the right checksum is another one.
        assert_ne!(with_checksum("raw(deedbeef)").unwrap(), "raw(deedbeef)#89f8spxm");
        assert_ne!(with_checksum("raw(deedbeef)").unwrap(), "raw(deedbeef)##9f8spxm");
        assert_eq!(with_checksum("raw(Ü)"), None);
    }
}
