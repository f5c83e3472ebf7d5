//! What reviews say, and what the signed PSBTs are.

use super::super::psbt::Version;
use super::super::script::{p2pkh, p2sh, p2wsh};
use super::super::*;
use super::draft::*;
use crate::model::{Amount, Asset, Chain, Kind, Network};
use crate::summary::render;

#[test]
fn a_payment_is_told_exactly_for_each_purpose_and_version() {
    for purpose in Purpose::ALL {
        for version in [Version::V0, Version::V2] {
            let wallet = Wallet::new(*purpose);
            let review = payment(&wallet, version).read().review(&wallet.signer()).unwrap();
            let intent = &review.intent;
            assert_eq!((intent.kind, intent.chain), (Kind::Transfer, Some(Chain::Bitcoin(Network::Test))));
            assert_eq!(intent.fee_most, Some(Amount::from(1_000)));
            let own: Vec<_> = intent.moves.iter().map(|moved| moved.own).collect();
            assert_eq!(own, [false, true]);
            assert_eq!(intent.sum(&Asset::Native), Some(Amount::from(40_001_000)));
            let [asked] = review.to_sign.as_slice() else { panic!("one input") };
            assert_eq!((asked.input, asked.child), (0, Some((0, 5))));
            assert_eq!(asked.public_key, wallet.public_key(0, 5));
        }
    }
}

#[test]
fn the_summary_says_what_is_sent_what_comes_back_and_the_fee() {
    let wallet = Wallet::new(Purpose::Bip84);
    let mut draft = payment(&wallet, Version::V0);
    draft.lock_time = 850_000;
    let review = draft.read().review(&wallet.signer()).unwrap();
    let (to, change) = (address(&stranger(), Network::Test), wallet.account.address(1, 7).unwrap());
    assert_eq!(
        render(&review.intent),
        format!(
            "sign: transfer on a Bitcoin test network (bitcoin:test)\nsend: 0.4 test BTC\n  to: {to}\n\
             change: 0.59999 test BTC\n  to: {change}\nfee: at most 0.00001 test BTC\nin all: at most 0.40001 test BTC\n\
             change key: m/84h/1h/0h/1/7\nnot valid before: block 850000\n"
        )
    );
}

#[test]
fn a_lock_time_is_told_only_where_it_binds() {
    let wallet = Wallet::new(Purpose::Bip84);
    let details = |lock_time, sequence| {
        let mut draft = payment(&wallet, Version::V2);
        draft.lock_time = lock_time;
        draft.inputs[0].input.sequence = sequence;
        let details = draft.read().review(&wallet.signer()).unwrap().intent.details;
        details.into_iter().find(|detail| detail.label == "not valid before").map(|detail| detail.text)
    };
    assert_eq!(details(1_700_000_000, 0).as_deref(), Some("unix time 1700000000"));
    assert_eq!(details(499_999_999, 0xffff_fffe).as_deref(), Some("block 499999999"));
    assert_eq!(details(850_000, u32::MAX), None);
    assert_eq!(details(0, 0), None);
}

#[test]
fn one_key_signs_each_of_its_scripts() {
    let (_, key) = single(9);
    let signer = Signer::Key(key.clone());
    let mut draft = Draft::new(Version::V0);
    for (salt, purpose) in (1..).zip(Purpose::ALL) {
        draft = draft.input(spend(&purpose.script(key.public_key()), 1_000_000, salt));
    }
    let draft = draft.output(2_000_000, stranger(), Vec::new()).output(
        999_000,
        Purpose::Bip49.script(key.public_key()),
        Vec::new(),
    );
    let review = draft.read().review(&signer).unwrap();
    assert_eq!(review.to_sign.iter().map(|asked| asked.input).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(
        review.to_sign.iter().all(|asked| asked.child.is_none() && asked.public_key == *key.public_key())
    );
    assert_eq!(review.intent.moves.iter().map(|moved| moved.own).collect::<Vec<_>>(), [false, true]);
}

/// A multisig input of ours with another's signature in it.
fn shared(version: Version, nested: bool) -> (Draft, Signer) {
    let ((_, ours), theirs) = (single(9), public_of(&[8; 32]));
    let witness_script = multisig(2, &[theirs, *ours.public_key()]);
    let program = p2wsh(&witness_script);
    let script = if nested { p2sh(&program) } else { program.clone() };
    let mut input = spend(&script, 1_000_000, 1).with(field(5, &[], &witness_script));
    if nested {
        input = input.with(field(4, &[], &program));
    }
    let signature = signature::with_sighash_all(&sign(&[8; 32], &[1; 32])).unwrap();
    input = input.with(field(2, &theirs, &signature));
    (Draft::new(version).input(input).output(999_000, stranger(), Vec::new()), Signer::Key(ours))
}

#[test]
fn a_multisig_input_is_signed_beside_the_signatures_of_others() {
    for nested in [false, true] {
        for version in [Version::V0, Version::V2] {
            let (draft, signer) = shared(version, nested);
            let psbt = draft.read();
            let review = psbt.review(&signer).unwrap();
            let ours = sign(&[9; 32], &review.to_sign[0].digest);
            let after = Psbt::read(&psbt.with_signatures(&review, &[ours]).unwrap()).unwrap();
            let signatures: Vec<_> = after.inputs[0].all(2).collect();
            assert_eq!(signatures.len(), 2);
            let kept = psbt.inputs[0].all(2).next().unwrap();
            assert!(signatures.contains(&kept));
            assert_eq!(after.inputs[0].fields().len(), psbt.inputs[0].fields().len() + 1);
        }
    }
}

#[test]
fn a_multisig_output_is_never_change_not_even_to_the_script_of_an_input() {
    let (draft, signer) = shared(Version::V0, false);
    let script = p2wsh(&multisig(2, &[public_of(&[8; 32]), public_of(&[9; 32])]));
    let draft = draft.output(500, script, draft_witness_script());
    let review = draft.read().review(&signer).unwrap();
    assert!(review.intent.moves.iter().all(|moved| !moved.own));
}

fn draft_witness_script() -> Fields {
    vec![field(1, &[], &multisig(2, &[public_of(&[8; 32]), public_of(&[9; 32])]))]
}

#[test]
fn an_output_is_change_only_where_the_plugin_derives_its_key() {
    let wallet = Wallet::new(Purpose::Bip84);
    let is_own = |script: Vec<u8>, fields: Fields| {
        let draft = Draft::new(Version::V0).input(wallet.input(5, 1_000_000)).output(999_000, script, fields);
        draft.read().review(&wallet.signer()).map(|review| review.intent.moves[0].own)
    };
    let (script, honest) = (wallet.script(1, 7), wallet.derivation(2, 1, 7));
    let edited = |at: usize, value: u8| {
        let mut field = honest.clone();
        field.1[at] = value;
        vec![field]
    };
    assert_eq!(is_own(script.clone(), vec![honest.clone()]), Ok(true));
    assert_eq!(is_own(wallet.script(0, 7), vec![wallet.derivation(2, 0, 7)]), Ok(true));
    // Without a derivation, under another fingerprint, account, chain, a hardened index, or another depth, it is a
    // move.
    assert_eq!(is_own(script.clone(), Vec::new()), Ok(false));
    assert_eq!(is_own(script.clone(), edited(0, honest.1[0] ^ 1)), Ok(false));
    assert_eq!(is_own(script.clone(), edited(4, 44)), Ok(false));
    assert_eq!(is_own(script.clone(), edited(12, 1)), Ok(false));
    assert_eq!(is_own(script.clone(), edited(16, 2)), Ok(false));
    assert_eq!(is_own(script.clone(), edited(23, 0x80)), Ok(false));
    let mut short = honest.clone();
    short.1.truncate(20);
    assert_eq!(is_own(script.clone(), vec![short]), Ok(false));
    let mut long = honest.clone();
    long.1.extend_from_slice(&[0; 4]);
    assert_eq!(is_own(script.clone(), vec![long]), Ok(false));
    // From an index on that no wallet looks at, it is a move, though the plugin derives the key.
    for (index, own) in
        [(OWN_OUTPUT_INDEX_END - 1, true), (OWN_OUTPUT_INDEX_END, false), (u32::MAX >> 1, false)]
    {
        let far = is_own(wallet.script(1, index), vec![wallet.derivation(2, 1, index)]);
        assert_eq!(far, Ok(own), "{index}");
    }
    // The right key under another script type is a move.
    assert_eq!(is_own(Purpose::Bip44.script(&wallet.public_key(1, 7)), vec![honest.clone()]), Ok(false));
    // A stranger's script with our derivation is a move.
    assert_eq!(is_own(stranger(), vec![honest]), Ok(false));
    // A stranger's key at our path is a lie.
    let theirs = public_of(&[3; 32]);
    let lie = field(2, &theirs, &wallet.derivation(2, 1, 7).1);
    assert_eq!(
        is_own(Purpose::Bip84.script(&theirs), vec![lie]),
        Err(countersign_wire::reason::Reason::MalformedPsbt)
    );
}

#[test]
fn foreign_inputs_are_counted_kept_and_not_signed() {
    let wallet = Wallet::new(Purpose::Bip84);
    let taproot = [&[0x51, 32][..], &[5; 32]].concat();
    let finals = field(8, &[], &[1, 1, 7]);
    let draft = Draft::new(Version::V2)
        .input(spend(&taproot, 500_000, 1))
        .input(wallet.input(5, 1_000_000))
        .input(spend(&stranger(), 300_000, 2).with(finals.clone()))
        .output(1_799_000, stranger(), Vec::new());
    let psbt = draft.read();
    let review = psbt.review(&wallet.signer()).unwrap();
    assert_eq!(review.to_sign.iter().map(|asked| asked.input).collect::<Vec<_>>(), [1]);
    assert_eq!(review.intent.fee_most, Some(Amount::from(1_000)));
    assert_eq!(
        (review.intent.details[0].label, review.intent.details[0].text.as_str()),
        ("signs", "1 of 3 inputs")
    );
    let signed = Psbt::read(&psbt.with_signatures(&review, &[[0x41; 64]]).unwrap()).unwrap();
    assert_eq!(signed.inputs[2], psbt.inputs[2]);
    assert_eq!(signed.inputs[2].get(8), Some(finals.1.as_slice()));
}

#[test]
fn an_input_of_ours_that_is_final_is_not_signed_again() {
    for (purpose, last) in
        [(Purpose::Bip84, field(8, &[], &[1, 1, 7])), (Purpose::Bip44, field(7, &[], &[7]))]
    {
        let wallet = Wallet::new(purpose);
        let mut draft = payment(&wallet, Version::V0).input(wallet.input(6, 1_000));
        draft.outputs[0].output.value_sat += 1_000;
        draft.inputs[0].fields.push(last);
        let review = draft.read().review(&wallet.signer()).unwrap();
        assert_eq!(review.to_sign.iter().map(|asked| asked.input).collect::<Vec<_>>(), [1]);
    }
}

#[test]
fn signing_clears_what_bip_370_says_and_nothing_else() {
    let wallet = Wallet::new(Purpose::Bip84);
    for (before, after) in [(0, 0), (1, 0), (2, 0), (3, 0), (4, 4), (7, 4), (0xff, 0xfc)] {
        let mut draft = payment(&wallet, Version::V2);
        draft.global.push(field(6, &[], &[before]));
        let psbt = draft.read();
        let review = psbt.review(&wallet.signer()).unwrap();
        let signed = Psbt::read(&psbt.with_signatures(&review, &[[0x41; 64]]).unwrap()).unwrap();
        assert_eq!(signed.global.get(6), Some(&[after][..]));
    }
    let psbt = payment(&wallet, Version::V2).read();
    let review = psbt.review(&wallet.signer()).unwrap();
    let signed = Psbt::read(&psbt.with_signatures(&review, &[[0x41; 64]]).unwrap()).unwrap();
    assert_eq!(signed.global, psbt.global);
}

#[test]
fn unknown_and_proprietary_fields_come_back_byte_for_byte() {
    let wallet = Wallet::new(Purpose::Bip84);
    for version in [Version::V0, Version::V2] {
        let mut draft = payment(&wallet, version);
        let unknown =
            [field(0x7f, b"key", b"value"), field(0xfc, &[1, b'x', 0, 9], b"own"), field(0xfd, &[0, 1], b"")];
        draft.global.extend(unknown.clone());
        draft.inputs[0].fields.extend(unknown.clone());
        draft.outputs[1].fields.extend(unknown);
        let psbt = draft.read();
        let review = psbt.review(&wallet.signer()).unwrap();
        let signed = Psbt::read(&psbt.with_signatures(&review, &[[0x41; 64]]).unwrap()).unwrap();
        assert_eq!(signed.outputs, psbt.outputs);
        assert_eq!(signed.global, psbt.global);
        let kept: Vec<_> =
            signed.inputs[0].fields().iter().filter(|field| field.kind() != 2).cloned().collect();
        assert_eq!(kept, psbt.inputs[0].fields());
    }
}

#[test]
fn a_map_in_ascending_order_stays_so() {
    let wallet = Wallet::new(Purpose::Bip84);
    let sighash = field(3, &[], &[1, 0, 0, 0]);
    let mut draft = payment(&wallet, Version::V2);
    draft.inputs[0].fields.push(sighash);
    let psbt = draft.read();
    let review = psbt.review(&wallet.signer()).unwrap();
    let signed = Psbt::read(&psbt.with_signatures(&review, &[[0x41; 64]]).unwrap()).unwrap();
    let kinds: Vec<_> = signed.inputs[0].fields().iter().map(psbt::Field::kind).collect();
    assert_eq!(kinds, [0, 2, 3, 6, 0x0e, 0x0f, 0x10]);
}

#[test]
fn fields_in_any_order_are_read_and_given_back_in_it() {
    let wallet = Wallet::new(Purpose::Bip84);
    let sorted = payment(&wallet, Version::V0).input(wallet.input(6, 1_000)).bytes();
    let psbt = Psbt::read(&sorted).unwrap();
    let mut out = b"psbt\xff".to_vec();
    psbt.global.write(&mut out);
    for map in psbt.inputs.iter().chain(&psbt.outputs) {
        for field in map.fields().iter().rev() {
            reader::write_string(
                &mut out,
                &[&[u8::try_from(field.kind()).unwrap()][..], field.data()].concat(),
            );
            reader::write_string(&mut out, &field.value);
        }
        out.push(0);
    }
    assert_ne!(out, sorted);
    let reversed = Psbt::read(&out).unwrap();
    assert_eq!(reversed.encode(), out);
    let (a, b) = (psbt.review(&wallet.signer()).unwrap(), reversed.review(&wallet.signer()).unwrap());
    assert_eq!((a.intent, a.commitment, a.to_sign), (b.intent, b.commitment, b.to_sign));
}

#[test]
fn descriptors_are_what_other_libraries_read_and_give_the_same_addresses() {
    use miniscript::{Descriptor, DescriptorPublicKey};
    for purpose in Purpose::ALL {
        let account = Wallet::new(*purpose).account;
        let both: Descriptor<DescriptorPublicKey> = account.descriptor().parse().unwrap();
        let chains = both.into_single_descriptors().unwrap();
        for ((chain, descriptor), single) in (0u32..).zip(&chains).zip(account.descriptors()) {
            assert_eq!(&single.parse::<Descriptor<DescriptorPublicKey>>().unwrap(), descriptor);
            for index in [0, 1, 99] {
                let theirs = descriptor.at_derivation_index(index).unwrap();
                let theirs = theirs.address(bitcoin::Network::Testnet).unwrap().to_string();
                assert_eq!(account.address(chain, index).unwrap().as_str(), theirs);
            }
        }
    }
}

#[test]
fn an_account_stands_where_bip_44_puts_it() {
    let wallet = Wallet::new(Purpose::Bip84);
    let key = |path: &str| wallet.master.public_at(&path.parse().unwrap()).unwrap();
    let account = |path: &str, number| Account::new(key(path), [1; 4], Purpose::Bip84, number, Network::Main);
    assert!(account("m/84h/0h/3h", 3).is_ok());
    assert_eq!(account("m/84h/0h/3h", 4), Err(NotAnAccount));
    assert_eq!(account("m/84h/0h/3", 3), Err(NotAnAccount));
    assert_eq!(account("m/84h/3h", 3), Err(NotAnAccount));
    assert_eq!(account("m/84h/0h/0h/3h", 3), Err(NotAnAccount));
    assert!(Account::of_master(&wallet.master, Purpose::Bip44, 1 << 31, Network::Main).is_err());
    let account = account("m/84h/0h/3h", 3).unwrap();
    assert_eq!((account.master_fingerprint(), account.number()), ([1; 4], 3));
    assert_eq!(account.path_of(1, 7).unwrap().to_string(), "m/84h/0h/3h/1/7");
    assert_eq!((account.path_of(2, 0), account.path_of(0, 1 << 31)), (None, None));
    assert!(Purpose::ALL.iter().all(|purpose| Purpose::of_number(purpose.number()) == Some(*purpose)));
    assert_eq!(Purpose::of_number(86), None);
    assert_eq!(wallet.account.public_key(2, 0), None);
    assert_eq!(wallet.account.public_key(0, 1 << 31), None);
    assert!(SingleKey::new([2; 33], Network::Main).is_ok_and(|key| key.public_key() == &[2; 33]));
    // The first byte says which of two points; any other has no compressed form.
    let mut key = [2; 33];
    for first in [0, 1, 4, 5, 6, 7] {
        key[0] = first;
        assert!(SingleKey::new(key, Network::Main).is_err());
    }
}

/// What an approval is bound to, byte for byte.
#[test]
fn the_commitment_is_over_network_transaction_and_every_digest_with_its_input_and_key() {
    let wallet = Wallet::new(Purpose::Bip84);
    let draft = payment(&wallet, Version::V2).input(wallet.input(6, 1_000));
    let review = draft.read().review(&wallet.signer()).unwrap();
    let unsigned = draft.transaction().encode();
    let mut bytes = b"countersign bitcoin v1\0test\0".to_vec();
    bytes.extend_from_slice(&u32::try_from(unsigned.len()).unwrap().to_le_bytes());
    bytes.extend_from_slice(&unsigned);
    bytes.extend_from_slice(&[2, 0, 0, 0]);
    for (at, index) in [(0u8, 5), (1, 6)] {
        bytes.extend_from_slice(&[at, 0, 0, 0]);
        bytes.extend_from_slice(&wallet.public_key(0, index));
        bytes.extend_from_slice(&review.to_sign[usize::from(at)].digest);
    }
    assert_eq!(review.commitment, sha256(&bytes));
}

#[test]
fn a_signature_of_ours_that_was_there_is_replaced() {
    let wallet = Wallet::new(Purpose::Bip84);
    let psbt = payment(&wallet, Version::V0).read();
    let review = psbt.review(&wallet.signer()).unwrap();
    let once = Psbt::read(&psbt.with_signatures(&review, &[[0x41; 64]]).unwrap()).unwrap();
    let again = once.review(&wallet.signer()).unwrap();
    assert_eq!(again.commitment, review.commitment);
    let twice = once.with_signatures(&again, &[[0x42; 64]]).unwrap();
    assert_eq!(Ok(twice), psbt.with_signatures(&review, &[[0x42; 64]]));
}

#[test]
fn the_same_bytes_for_another_signer_or_network_are_another_commitment() {
    let (_, key) = single(9);
    let script = Purpose::Bip84.script(key.public_key());
    let draft =
        Draft::new(Version::V0).input(spend(&script, 1_000_000, 1)).output(999_000, stranger(), Vec::new());
    let psbt = draft.read();
    let on = |network| {
        let signer = Signer::Key(SingleKey::new(*key.public_key(), network).unwrap());
        psbt.review(&signer).unwrap().commitment
    };
    assert_ne!(on(Network::Test), on(Network::Signet));
    assert_eq!(on(Network::Test), on(Network::Test));
    assert_eq!(p2pkh(&[0; 20]).len(), 25);
}
