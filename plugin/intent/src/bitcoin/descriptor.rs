//! The checksum of output descriptors (BIP-380, "Checksum").

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

#[cfg(test)]
mod tests {
    use super::*;

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
