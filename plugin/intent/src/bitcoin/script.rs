//! The few script templates that are signed for, and what is needed to tell an address.

use super::{hash160, sha256};

/// What a scriptPubKey is, by its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Template<'a> {
    /// `OP_DUP OP_HASH160 <20> OP_EQUALVERIFY OP_CHECKSIG`.
    PublicKeyHash(&'a [u8]),
    /// `OP_HASH160 <20> OP_EQUAL` (BIP-16).
    ScriptHash(&'a [u8]),
    /// A version 0 to 16 and 2 to 40 bytes (BIP-141).
    Witness(u8, &'a [u8]),
    /// Anything else.
    Other,
}

impl<'a> Template<'a> {
    pub(crate) fn of(script: &'a [u8]) -> Self {
        match script {
            [0x76, 0xa9, 20, hash @ .., 0x88, 0xac] if hash.len() == 20 => Self::PublicKeyHash(hash),
            [0xa9, 20, hash @ .., 0x87] if hash.len() == 20 => Self::ScriptHash(hash),
            [version @ (0 | 0x51..=0x60), length @ 2..=40, program @ ..]
                if program.len() == usize::from(*length) =>
            {
                Self::Witness(version.saturating_sub(0x50), program)
            }
            _ => Self::Other,
        }
    }

    /// A version 1 program of 32 bytes (BIP-341).
    pub(crate) fn is_taproot(self) -> bool {
        matches!(self, Self::Witness(1, program) if program.len() == 32)
    }
}

/// P2PKH of a HASH160.
pub(crate) fn p2pkh(hash: &[u8; 20]) -> Vec<u8> {
    [&[0x76, 0xa9, 20][..], hash, &[0x88, 0xac]].concat()
}

/// P2WPKH of a HASH160 (BIP-141).
pub(crate) fn p2wpkh(hash: &[u8; 20]) -> Vec<u8> {
    [&[0, 20][..], hash].concat()
}

/// P2SH of a redeem script (BIP-16).
pub(crate) fn p2sh(redeem_script: &[u8]) -> Vec<u8> {
    [&[0xa9, 20][..], &hash160(redeem_script), &[0x87]].concat()
}

/// P2WSH of a witness script (BIP-141).
pub(crate) fn p2wsh(witness_script: &[u8]) -> Vec<u8> {
    [&[0, 32][..], &sha256(witness_script)].concat()
}

/// The keys of `OP_m <33> … <33> OP_n OP_CHECKMULTISIG`, with 1 ≤ m ≤ n ≤ 16. A key counts once however often it
/// stands.
pub(crate) fn multisig_keys(script: &[u8]) -> Option<Vec<[u8; 33]>> {
    let [needed @ 0x51..=0x60, pushes @ .., count @ 0x51..=0x60, 0xae] = script else { return None };
    let keys: Vec<_> = pushes
        .chunks(34)
        .map(|push| push.strip_prefix(&[33]).and_then(|key| key.try_into().ok()))
        .collect::<Option<_>>()?;
    let whole = keys.len() == usize::from(count - 0x50) && needed <= count;
    whole.then_some(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multisig_is_read_to_the_last_byte() {
        let (a, b) = ([2; 33], [3; 33]);
        let push = |key: &[u8; 33]| [&[33][..], key].concat();
        let script = |needed: u8, count: u8| {
            [&[0x50 + needed][..], &push(&a), &push(&b), &[0x50 + count, 0xae]].concat()
        };
        assert_eq!(multisig_keys(&script(1, 2)), Some(vec![a, b]));
        assert_eq!(multisig_keys(&script(2, 2)), Some(vec![a, b]));
        for wrong in [script(3, 2), script(1, 3), script(1, 1), script(0, 2), script(1, 2)[1..].to_vec()] {
            assert_eq!(multisig_keys(&wrong), None);
        }
        assert_eq!(multisig_keys(&[script(1, 2), vec![0xac]].concat()), None);
        assert_eq!(multisig_keys(&[0x51, 0x51, 0xae]), None);
        // A separator would change what is signed; there is no room for one.
        let mut separated = script(1, 2);
        separated.insert(1, 0xab);
        assert_eq!(multisig_keys(&separated), None);
    }

    #[test]
    fn a_template_is_the_whole_script() {
        assert_eq!(Template::of(&p2pkh(&[7; 20])), Template::PublicKeyHash(&[7; 20]));
        assert_eq!(Template::of(&p2wpkh(&[7; 20])), Template::Witness(0, &[7; 20]));
        assert!(matches!(Template::of(&p2sh(b"")), Template::ScriptHash(_)));
        assert!(matches!(Template::of(&p2wsh(b"")), Template::Witness(0, program) if program.len() == 32));
        assert!(Template::of(&[&[0x51, 32][..], &[1; 32]].concat()).is_taproot());
        for good in [p2pkh(&[7; 20]), p2wpkh(&[7; 20]), p2sh(b""), p2wsh(b"")] {
            assert_eq!(Template::of(&good[1..]), Template::Other);
            assert_eq!(Template::of(&good[..good.len() - 1]), Template::Other);
            assert_eq!(Template::of(&[good, vec![0]].concat()), Template::Other);
        }
    }
}
