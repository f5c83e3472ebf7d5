//! The same bytes under implementations that share no code with ours (`bitcoin`, `psbt-v2`), and under mutation.

use super::super::properties::{check_psbt, check_review};
use super::super::psbt::Version;
use super::super::*;
use super::draft::*;
use crate::summary::render;
use bitcoin::hashes::Hash;
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use proptest::prelude::*;

/// Drafts of many shapes: version, purpose, how many inputs and outputs, amounts, lock time, fields that may be
/// there.
fn drafts() -> impl Strategy<Value = (Draft, Purpose)> {
    let shape =
        (0usize..3, any::<bool>(), 1u32..4, 1u32..4, 1_000u64..10_000, any::<u32>(), any::<[bool; 6]>());
    shape.prop_map(|(purpose, second, inputs, outputs, fee_sat, lock_time, with)| {
        let purpose = Purpose::ALL[purpose];
        let wallet = Wallet::new(purpose);
        let mut draft = Draft::new(if second { Version::V2 } else { Version::V0 });
        draft.lock_time = if with[0] { lock_time } else { 0 };
        for index in 0..inputs {
            let mut input = wallet.input(index, 1_000_000);
            if with[1] {
                input = input.with(field(3, &[], &[1, 0, 0, 0]));
            }
            if with[2] {
                input = input.with(field(0x7f, b"unknown", b"value"));
            }
            draft = draft.input(input);
        }
        if with[3] {
            draft = draft.input(spend(&stranger(), 500_000, 200).with(witness_utxo(&stranger(), 500_000)));
        }
        let brought: u64 = u64::from(inputs) * 1_000_000 + if with[3] { 500_000 } else { 0 };
        let each = (brought - fee_sat) / u64::from(outputs);
        for index in 0..outputs {
            draft = if index % 2 == 0 {
                draft.output(each, stranger(), Vec::new())
            } else {
                draft.output(each, wallet.script(1, index), vec![wallet.derivation(2, 1, index)])
            };
        }
        if with[4] && second {
            draft.global.push(field(6, &[], &[3]));
        }
        if with[5] {
            draft.global.push(field(0xfc, &[3, b'a', b'b', b'c', 1, 9], b"own"));
        }
        (draft, purpose)
    })
}

/// Signs all that is asked, and verifies it over the digest that `bitcoin` makes of the same transaction.
fn check_signatures(draft: &Draft, wallet: &Wallet) {
    let psbt = draft.read();
    let review = psbt.review(&wallet.signer()).unwrap();
    check_review(&psbt, &wallet.signer(), &review);
    let signatures: Vec<_> = review.to_sign.iter().map(|asked| wallet.sign(asked)).collect();
    let signed = Psbt::read(&psbt.with_signatures(&review, &signatures).unwrap()).unwrap();
    let transaction: bitcoin::Transaction =
        bitcoin::consensus::deserialize(&psbt.transaction().encode()).unwrap();
    let mut cache = SighashCache::new(&transaction);
    let secp = bitcoin::secp256k1::Secp256k1::verification_only();
    for asked in &review.to_sign {
        let at = usize::try_from(asked.input).unwrap();
        let script = wallet.account.purpose().script(&asked.public_key);
        let key = bitcoin::CompressedPublicKey::from_slice(&asked.public_key).unwrap();
        let digest = match wallet.account.purpose() {
            Purpose::Bip44 => {
                let script = bitcoin::Script::from_bytes(&script);
                cache.legacy_signature_hash(at, script, 1).unwrap().to_byte_array()
            }
            Purpose::Bip49 | Purpose::Bip84 => {
                let script = bitcoin::ScriptBuf::new_p2wpkh(&key.wpubkey_hash());
                let value = bitcoin::Amount::from_sat(1_000_000);
                let all = EcdsaSighashType::All;
                cache.p2wpkh_signature_hash(at, &script, value, all).unwrap().to_byte_array()
            }
        };
        assert_eq!(digest, asked.digest);
        let field = signed.inputs[at].all(2).find(|field| field.data() == asked.public_key).unwrap();
        let signature = bitcoin::ecdsa::Signature::from_slice(&field.value).unwrap();
        assert_eq!(signature.sighash_type, EcdsaSighashType::All);
        let message = bitcoin::secp256k1::Message::from_digest(digest);
        assert!(secp.verify_ecdsa(&message, &signature.signature, &key.0).is_ok());
    }
    check_psbt(&signed.encode());
}

/// What a wallet does with what it gets back: finalise, run the scripts, extract.
#[test]
fn a_wallet_finalises_what_we_signed_and_its_scripts_accept_it() {
    use miniscript::psbt::PsbtExt;
    let secp = bitcoin::secp256k1::Secp256k1::verification_only();
    for purpose in Purpose::ALL {
        let wallet = Wallet::new(*purpose);
        let mut draft = payment(&wallet, Version::V0).input(wallet.input(6, 2_000));
        for (at, index) in [(0, 5), (1, 6)] {
            if *purpose == Purpose::Bip49 {
                let redeem = script::p2wpkh(&hash160(&wallet.public_key(0, index)));
                draft.inputs[at].fields.push(field(4, &[], &redeem));
            }
        }
        let psbt = draft.read();
        let review = psbt.review(&wallet.signer()).unwrap();
        let signatures: Vec<_> = review.to_sign.iter().map(|asked| wallet.sign(asked)).collect();
        let finalised = |signatures: &[[u8; 64]]| {
            let signed = psbt.with_signatures(&review, signatures).unwrap();
            bitcoin::Psbt::deserialize(&signed).unwrap().finalize(&secp).ok()
        };
        let transaction = finalised(&signatures).unwrap().extract_tx().unwrap();
        assert_eq!(transaction.output.len(), 2);
        // The signatures of two inputs do not stand for each other.
        assert!(finalised(&[signatures[1], signatures[0]]).is_none());
    }
}

#[test]
fn two_signers_finish_a_multisig_and_its_script_accepts_it() {
    use miniscript::psbt::PsbtExt;
    let secp = bitcoin::secp256k1::Secp256k1::verification_only();
    let keys = [single(8), single(9)];
    let witness_script = multisig(2, &[*keys[0].1.public_key(), *keys[1].1.public_key()]);
    let input = spend(&script::p2wsh(&witness_script), 1_000_000, 1).with(field(5, &[], &witness_script));
    let mut bytes = Draft::new(Version::V0).input(input).output(999_000, stranger(), Vec::new()).bytes();
    for (private, key) in keys {
        let psbt = Psbt::read(&bytes).unwrap();
        let review = psbt.review(&Signer::Key(key)).unwrap();
        bytes = psbt.with_signatures(&review, &[sign(&private, &review.to_sign[0].digest)]).unwrap();
    }
    let finalised = bitcoin::Psbt::deserialize(&bytes).unwrap().finalize(&secp).unwrap();
    assert_eq!(finalised.extract_tx().unwrap().input[0].witness.len(), 4);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_we_sign_verifies_over_the_digest_of_another_implementation((draft, purpose) in drafts()) {
        check_signatures(&draft, &Wallet::new(purpose));
    }

    #[test]
    fn what_we_read_the_others_read_as_the_same((draft, _) in drafts()) {
        check_psbt(&draft.bytes());
    }

    #[test]
    fn any_byte_changed_is_refused_or_read_by_the_others_as_the_same(
        (draft, _) in drafts(), at: prop::sample::Index, value: u8, edits in 1usize..4,
    ) {
        let mut bytes = draft.bytes();
        for edit in 0..edits {
            let at = (at.index(bytes.len()) + edit * 7) % bytes.len();
            bytes[at] = value.wrapping_add(u8::try_from(edit).unwrap());
        }
        check_psbt(&bytes);
    }

    #[test]
    fn any_byte_of_a_vector_changed_is_refused_or_read_by_the_others_as_the_same(
        which: prop::sample::Index, at: prop::sample::Index, value: u8,
    ) {
        let vectors = vectors();
        let mut bytes = which.get(&vectors).clone();
        let at = at.index(bytes.len());
        bytes[at] = value;
        check_psbt(&bytes);
    }

    #[test]
    fn any_bytes_at_all_are_refused_or_hold_together(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        check_psbt(&[b"psbt\xff".to_vec(), bytes].concat());
    }

    /// Whatever is changed of the transaction, what is signed is another: no two things that differ share an
    /// approval.
    #[test]
    fn another_transaction_is_another_commitment_and_another_summary_or_a_refusal(
        (draft, purpose) in drafts(), what in 0usize..7, at: prop::sample::Index, bit in 0u32..32,
    ) {
        let signer = Wallet::new(purpose).signer();
        let before = draft.read().review(&signer).unwrap();
        let mut other = draft.clone();
        let flip = 1u32 << bit;
        let (input, output) = (at.index(draft.inputs.len()), at.index(draft.outputs.len()));
        let mut told = true;
        match what {
            0 => other.inputs[input].input.outpoint.txid[bit as usize] ^= 1,
            1 => other.inputs[input].input.outpoint.index ^= flip,
            // A sequence number is signed; people see it only where it makes a lock time bind.
            2 => (other.inputs[input].input.sequence ^= flip, told = false).1,
            3 => other.outputs[output].output.value_sat ^= u64::from(flip),
            4 => {
                let script = &mut other.outputs[output].output.script;
                let length = script.len();
                script[bit as usize % length] ^= 1;
            }
            5 => (other.lock_time ^= flip, told = false).1,
            _ => { other.outputs.remove(output); }
        }
        prop_assume!(other.transaction() != draft.transaction());
        if let Ok(after) = Psbt::read(&other.bytes()).and_then(|psbt| psbt.review(&signer)) {
            prop_assert_ne!(after.commitment, before.commitment);
            for (a, b) in after.to_sign.iter().zip(&before.to_sign) {
                prop_assert_ne!(a.digest, b.digest);
            }
            if told {
                prop_assert_ne!(render(&after.intent), render(&before.intent));
            }
        }
    }
}

/// All vectors of BIP-174 and BIP-370, valid or not.
fn vectors() -> Vec<Vec<u8>> {
    let files = [include_str!("bip-0174.txt"), include_str!("bip-0370.txt")];
    let lines = files.iter().flat_map(|file| file.lines()).filter(|line| !line.starts_with('#'));
    lines
        .map(|line| data_encoding::HEXLOWER.decode(line.rsplit('\t').next().unwrap().as_bytes()).unwrap())
        .collect()
}

#[test]
fn the_vectors_are_read_by_the_others_as_the_same() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 83);
    for bytes in &vectors {
        check_psbt(bytes);
    }
}

#[test]
fn outputs_of_nothing_are_read_by_the_others_as_the_same() {
    let wallet = Wallet::new(Purpose::Bip84);
    // OP_RETURN with two bytes, as outputs without an amount usually are.
    let data = vec![0x6a, 2, 0xab, 0xcd];
    for version in [Version::V0, Version::V2] {
        for (value_sat, script) in [(0, data.clone()), (0, stranger()), (7, Vec::new()), (0, Vec::new())] {
            let draft = payment(&wallet, version).output(value_sat, script, Vec::new());
            assert!(check_psbt(&draft.bytes()), "{version:?}: {draft:?}");
        }
    }
}

#[test]
fn inputs_of_nothing_are_read_by_the_others_as_the_same() {
    let wallet = Wallet::new(Purpose::Bip84);
    for version in [Version::V0, Version::V2] {
        for (txid, index) in [([0; 32], 1), ([7; 32], u32::MAX), ([0; 32], u32::MAX)] {
            let outpoint = Outpoint { txid, index };
            let input = Input { outpoint, sequence: 0xffff_fffd };
            let draft = payment(&wallet, version).input(DraftInput { input, fields: Vec::new() });
            let bytes = draft.bytes();
            assert!(check_psbt(&bytes), "{version:?}: {draft:?}");
        }
    }
}
