//! Each refusal, beside what is accepted.

use super::super::psbt::Version;
use super::super::script::p2wsh;
use super::super::*;
use super::draft::*;
use countersign_wire::reason::Reason;

fn review(draft: &Draft, signer: &Signer) -> Result<Review, Reason> {
    Psbt::read(&draft.bytes()).and_then(|psbt| psbt.review(signer))
}

fn wallet() -> Wallet {
    Wallet::new(Purpose::Bip84)
}

/// Two inputs of ours and one output.
fn two(wallet: &Wallet) -> Draft {
    Draft::new(Version::V0).input(wallet.input(1, 1_000_000)).input(wallet.input(2, 2_000_000)).output(
        2_999_000,
        stranger(),
        Vec::new(),
    )
}

/// Drops the previous transaction of an input, and claims an amount in its place.
fn claim(draft: &mut Draft, wallet: &Wallet, at: usize, value_sat: u64) {
    let script = wallet.script(0, u32::try_from(at).unwrap() + 1);
    draft.inputs[at] = draft.inputs[at].clone().unproven(&script, value_sat);
}

#[test]
fn refuses_two_inputs_whose_amounts_rest_on_their_witness_utxo() {
    let wallet = wallet();
    let mut draft = two(&wallet);
    claim(&mut draft, &wallet, 0, 1_000_000);
    assert!(review(&draft, &wallet.signer()).is_ok());
    claim(&mut draft, &wallet, 1, 2_000_000);
    assert_eq!(review(&draft, &wallet.signer()), Err(Reason::AmountNotProven));
}

/// CVE-2020-14199: two rounds, each with another false amount, whose signatures would together pay an unseen fee.
#[test]
fn no_two_rounds_give_valid_signatures_for_a_fee_that_was_never_shown() {
    let wallet = wallet();
    let honest = review(&two(&wallet), &wallet.signer()).unwrap();
    for (at, false_sat) in [(0, 1_000_500), (1, 2_000_500)] {
        let mut draft = two(&wallet);
        claim(&mut draft, &wallet, at, false_sat);
        let shown = review(&draft, &wallet.signer()).unwrap();
        assert_ne!(shown.intent.fee_most, honest.intent.fee_most);
        // The signature for the input that lies is void, so nothing that can be broadcast pays but what was shown.
        assert_ne!(shown.to_sign[at].digest, honest.to_sign[at].digest);
        assert_eq!(shown.to_sign[1 - at].digest, honest.to_sign[1 - at].digest);
    }
}

#[test]
fn refuses_an_unproven_amount_that_others_could_make_valid() {
    let wallet = wallet();
    // A foreign input.
    let foreign = |input: DraftInput| {
        let draft = Draft::new(Version::V0).input(wallet.input(1, 1_000_000)).input(input);
        review(&draft.output(1_099_000, stranger(), Vec::new()), &wallet.signer())
    };
    let input = spend(&stranger(), 100_000, 9);
    assert!(foreign(input.clone()).is_ok());
    assert_eq!(foreign(input.unproven(&stranger(), 100_000)), Err(Reason::AmountNotProven));
    // An input of ours that is final: no signature of this round vouches for it.
    let mut draft = two(&wallet);
    claim(&mut draft, &wallet, 0, 1_000_000);
    draft.inputs[0].fields.push(field(8, &[], &[1, 1, 7]));
    assert_eq!(review(&draft, &wallet.signer()), Err(Reason::AmountNotProven));
}

#[test]
fn refuses_an_unproven_multisig_amount_beside_other_inputs() {
    let (_, key) = single(9);
    let witness_script = multisig(1, &[*key.public_key(), public_of(&[8; 32])]);
    let script = p2wsh(&witness_script);
    let unproven =
        spend(&script, 1_000_000, 1).with(field(5, &[], &witness_script)).unproven(&script, 1_000_000);
    let alone = Draft::new(Version::V0).input(unproven).output(999_000, stranger(), Vec::new());
    let signer = Signer::Key(key.clone());
    assert!(review(&alone, &signer).is_ok());
    let mut beside = alone.input(spend(&Purpose::Bip84.script(key.public_key()), 1_000, 2));
    assert_eq!(review(&beside, &signer), Err(Reason::AmountNotProven));
    beside.inputs[0] = spend(&script, 1_000_000, 1).with(field(5, &[], &witness_script));
    assert!(review(&beside, &signer).is_ok());
}

#[test]
fn refuses_a_legacy_input_without_its_previous_transaction() {
    let wallet = Wallet::new(Purpose::Bip44);
    let mut draft = payment(&wallet, Version::V0);
    assert!(review(&draft, &wallet.signer()).is_ok());
    draft.inputs[0].fields.retain(|(key, _)| key != &[0]);
    assert_eq!(review(&draft, &wallet.signer()), Err(Reason::AmountNotProven));
    // BIP-174: "If a witness UTXO is provided, no non-witness signature may be created."
    let script = wallet.script(0, 5);
    draft.inputs[0].fields.push(witness_utxo(&script, 100_000_000));
    assert_eq!(review(&draft, &wallet.signer()), Err(Reason::MalformedPsbt));
    draft.inputs[0].fields.push(field(0, &[], &previous(&script, 100_000_000, 5)));
    assert_eq!(review(&draft, &wallet.signer()), Err(Reason::MalformedPsbt));
}

#[test]
fn refuses_an_input_that_says_nothing_of_what_it_spends() {
    let wallet = wallet();
    let mut draft = two(&wallet);
    draft.inputs[1].fields.retain(|(key, _)| key != &[0]);
    assert_eq!(review(&draft, &wallet.signer()), Err(Reason::AmountNotProven));
}

#[test]
fn refuses_a_previous_transaction_that_is_another_or_lacks_the_output() {
    let wallet = wallet();
    let script = wallet.script(0, 5);
    let draft = payment(&wallet, Version::V0);
    let mut other = draft.clone();
    other.inputs[0].fields[0] = field(0, &[], &previous(&script, 100_000_000, 6));
    assert_eq!(review(&other, &wallet.signer()), Err(Reason::MalformedPsbt));
    let mut beyond = draft;
    beyond.inputs[0].input.outpoint.index = 2;
    assert_eq!(review(&beyond, &wallet.signer()), Err(Reason::MalformedPsbt));
}

#[test]
fn refuses_two_utxos_that_disagree() {
    let wallet = wallet();
    let script = wallet.script(0, 5);
    let with = |script: &[u8], value_sat| {
        let mut draft = payment(&wallet, Version::V0);
        draft.inputs[0].fields.push(witness_utxo(script, value_sat));
        review(&draft, &wallet.signer())
    };
    assert!(with(&script, 100_000_000).is_ok());
    assert_eq!(with(&script, 100_000_001), Err(Reason::MalformedPsbt));
    assert_eq!(with(&stranger(), 100_000_000), Err(Reason::MalformedPsbt));
}

#[test]
fn refuses_scripts_that_are_not_the_outputs() {
    let wallet = Wallet::new(Purpose::Bip49);
    let redeem = script::p2wpkh(&hash160(&wallet.public_key(0, 5)));
    let with = |kind, script: &[u8]| {
        let mut draft = payment(&wallet, Version::V0);
        draft.inputs[0].fields.push(field(kind, &[], script));
        review(&draft, &wallet.signer()).map(|review| review.to_sign.len())
    };
    assert_eq!(with(4, &redeem), Ok(1));
    assert_eq!(with(4, &stranger()), Err(Reason::MalformedPsbt));
    assert_eq!(with(5, &redeem), Err(Reason::MalformedPsbt));
}

#[test]
fn refuses_every_sighash_but_all_on_an_input_of_ours() {
    let wallet = wallet();
    for (sighash, signed) in
        [(1, true), (0, false), (2, false), (3, false), (0x81, false), (0x83, false), (0x101, false)]
    {
        let mut draft = two(&wallet);
        draft.inputs[1].fields.push(field(3, &[], &u32::to_le_bytes(sighash)));
        let outcome = review(&draft, &wallet.signer()).map(|_| ());
        assert_eq!(outcome, if signed { Ok(()) } else { Err(Reason::SighashNotAllowed) }, "{sighash}");
    }
    // On another's input it is his affair.
    let foreign = spend(&stranger(), 1_000, 9).with(field(3, &[], &[0x83, 0, 0, 0]));
    assert!(review(&two(&wallet).input(foreign), &wallet.signer()).is_ok());
}

#[test]
fn refuses_what_is_not_the_signers() {
    let wallet = wallet();
    let draft = payment(&wallet, Version::V0);
    let (_, other) = single(3);
    assert_eq!(review(&draft, &Signer::Key(other)), Err(Reason::NothingToSign));
    let other = Wallet::new(Purpose::Bip44);
    assert_eq!(review(&draft, &other.signer()), Err(Reason::NothingToSign));
    assert_eq!(review(&Draft::new(Version::V0), &wallet.signer()), Err(Reason::NothingToSign));
    let mut unnamed = draft;
    unnamed.inputs[0].fields.retain(|(key, _)| key[0] != 6);
    assert_eq!(review(&unnamed, &wallet.signer()), Err(Reason::NothingToSign));
}

#[test]
fn refuses_a_multisig_that_our_key_is_not_in() {
    let (_, key) = single(9);
    let among = |keys: &[[u8; 33]]| {
        let witness_script = multisig(1, keys);
        let input = spend(&p2wsh(&witness_script), 1_000_000, 1).with(field(5, &[], &witness_script));
        let draft = Draft::new(Version::V0).input(input).output(999_000, stranger(), Vec::new());
        review(&draft, &Signer::Key(key.clone())).map(|review| review.to_sign.len())
    };
    assert_eq!(among(&[public_of(&[8; 32]), *key.public_key()]), Ok(1));
    assert_eq!(among(&[public_of(&[8; 32]), public_of(&[7; 32])]), Err(Reason::NothingToSign));
    // A witness script of another output is nobody's.
    let witness_script = multisig(1, &[*key.public_key()]);
    let input = spend(&stranger(), 1_000, 1).with(field(5, &[], &witness_script));
    let psbt = Draft::new(Version::V0).input(input).read();
    assert_eq!(Signer::Key(key).input(&psbt.inputs[0], &stranger()), Ok(None));
}

#[test]
fn refuses_an_input_that_gives_our_path_for_another_key() {
    let wallet = wallet();
    let theirs = public_of(&[3; 32]);
    let lie = field(6, &theirs, &wallet.derivation(6, 0, 5).1);
    let input = spend(&Purpose::Bip84.script(&theirs), 1_000, 9).with(lie);
    assert_eq!(review(&two(&wallet).input(input), &wallet.signer()), Err(Reason::MalformedPsbt));
}

#[test]
fn refuses_taproot_inputs_of_ours_and_where_nothing_else_is_there() {
    let (_, key) = single(9);
    let x_only = &key.public_key()[1..];
    let taproot = [&[0x51, 32][..], &[5; 32]].concat();
    let signer = Signer::Key(key.clone());
    let draft = |named: Option<(Vec<u8>, Vec<u8>)>, own: bool| {
        let mut input = spend(&taproot, 1_000_000, 1);
        input.fields.extend(named);
        let mut draft = Draft::new(Version::V0).input(input).output(999_000, stranger(), Vec::new());
        if own {
            draft = draft.input(spend(&Purpose::Bip84.script(key.public_key()), 1_000, 2));
        }
        draft
    };
    assert_eq!(review(&draft(None, false), &signer), Err(Reason::TaprootNotSupported));
    assert!(review(&draft(None, true), &signer).is_ok());
    assert_eq!(
        review(&draft(Some(field(0x17, &[], x_only)), true), &signer),
        Err(Reason::TaprootNotSupported)
    );
    let derivation = field(0x16, x_only, &[0, 1, 2, 3, 4]);
    assert_eq!(review(&draft(Some(derivation), true), &signer), Err(Reason::TaprootNotSupported));
    let wallet = wallet();
    let origin = [&[0][..], &wallet.master.fingerprint(), &[86, 0, 0, 0x80]].concat();
    let input = spend(&taproot, 1_000, 1).with(field(0x16, x_only, &origin));
    assert_eq!(review(&two(&wallet).input(input), &wallet.signer()), Err(Reason::TaprootNotSupported));
}

#[test]
fn refuses_fees_that_nobody_means() {
    let wallet = wallet();
    let paying = |fee_sat| {
        let draft = Draft::new(Version::V0).input(wallet.input(5, 100_000_000));
        review(&draft.output(100_000_000 - fee_sat, stranger(), Vec::new()), &wallet.signer()).map(|_| ())
    };
    let bytes = payment(&wallet, Version::V0).transaction().encode().len() as u64 - 31;
    assert_eq!(paying(RATE_MOST_SAT * bytes), Ok(()));
    assert_eq!(paying(RATE_MOST_SAT * bytes + 1), Err(Reason::FeeTooHigh));
    assert_eq!(paying(99_000_000), Err(Reason::FeeTooHigh));
}

#[test]
fn refuses_to_pay_more_than_the_inputs_bring_or_than_there_is() {
    let wallet = wallet();
    let paying = |value_sat| {
        let draft = Draft::new(Version::V0).input(wallet.input(5, 100_000_000));
        review(&draft.output(value_sat, stranger(), Vec::new()), &wallet.signer()).map(|_| ())
    };
    assert_eq!(paying(100_000_000), Ok(()));
    assert_eq!(paying(100_000_001), Err(Reason::MalformedPsbt));
    assert_eq!(paying(MONEY_MAX_SAT + 1), Err(Reason::MalformedPsbt));
    assert_eq!(paying(u64::MAX), Err(Reason::MalformedPsbt));
    for version in [Version::V0, Version::V2] {
        let read = |value_sat| {
            Psbt::read(&Draft::new(version).output(value_sat, stranger(), Vec::new()).bytes()).map(|_| ())
        };
        assert_eq!(read(MONEY_MAX_SAT), Ok(()));
        assert_eq!(read(MONEY_MAX_SAT + 1), Err(Reason::MalformedPsbt));
    }
    let twice = Draft::new(Version::V0)
        .input(wallet.input(1, MONEY_MAX_SAT))
        .input(wallet.input(2, MONEY_MAX_SAT))
        .output(MONEY_MAX_SAT, stranger(), Vec::new())
        .output(MONEY_MAX_SAT, stranger(), Vec::new());
    assert_eq!(review(&twice, &wallet.signer()).map(|_| ()), Err(Reason::MalformedPsbt));
}

#[test]
fn refuses_an_output_that_is_spent_twice() {
    let wallet = wallet();
    let input = wallet.input(1, 1_000_000);
    let draft =
        Draft::new(Version::V0).input(input.clone()).input(input).output(1_999_000, stranger(), Vec::new());
    assert_eq!(review(&draft, &wallet.signer()), Err(Reason::MalformedPsbt));
}

#[test]
fn refuses_a_transaction_without_outputs() {
    let wallet = wallet();
    let draft = Draft::new(Version::V2).input(wallet.input(1, 500));
    assert_eq!(review(&draft, &wallet.signer()), Err(Reason::MalformedPsbt));
}

#[test]
fn refuses_signatures_for_another_psbt_or_another_number_of_them() {
    let wallet = wallet();
    let (one, other) = (payment(&wallet, Version::V0).read(), two(&wallet).read());
    let review = one.review(&wallet.signer()).unwrap();
    assert!(one.with_signatures(&review, &[[0x41; 64]]).is_ok());
    assert_eq!(one.with_signatures(&review, &[]), Err(Reason::InternalError));
    assert_eq!(one.with_signatures(&review, &[[0x41; 64]; 2]), Err(Reason::InternalError));
    assert_eq!(one.with_signatures(&review, &[[0; 64]]), Err(Reason::InternalError));
    assert_eq!(other.with_signatures(&review, &[[0x41; 64]]), Err(Reason::InternalError));
}

#[test]
fn refuses_more_than_its_bounds() {
    let wallet = wallet();
    let many = |inputs: usize, outputs: usize| {
        let mut draft = Draft::new(Version::V0);
        for at in 0..inputs {
            let outpoint = Outpoint { txid: [1; 32], index: u32::try_from(at).unwrap() };
            draft = draft.input(DraftInput { input: Input { outpoint, sequence: 0 }, fields: Vec::new() });
        }
        for _ in 0..outputs {
            draft = draft.output(1, vec![0x51], Vec::new());
        }
        draft
    };
    for version in [Version::V0, Version::V2] {
        let read = |inputs, outputs| {
            let draft = Draft { version, ..many(inputs, outputs) };
            Psbt::read(&draft.bytes()).map(|_| ())
        };
        assert_eq!(read(INPUTS_MAX, OUTPUTS_MAX), Ok(()));
        assert_eq!(read(INPUTS_MAX + 1, 1), Err(Reason::MalformedPsbt));
        assert_eq!(read(1, OUTPUTS_MAX + 1), Err(Reason::MalformedPsbt));
    }
    // Three fields of the wallet's and the unsigned transaction.
    let fields = |count: u16| {
        let mut draft = payment(&wallet, Version::V0);
        draft.global.extend((0..count).map(|at| field(0x7f, &at.to_le_bytes(), &[])));
        Psbt::read(&draft.bytes()).map(|_| ())
    };
    let most = u16::try_from(FIELDS_MAX).unwrap() - 4;
    assert_eq!(fields(most), Ok(()));
    assert_eq!(fields(most + 1), Err(Reason::MalformedPsbt));
    let mut draft = payment(&wallet, Version::V0);
    let room = PSBT_MAX_BYTES - draft.bytes().len() - 2 - 5;
    draft.global.push(field(0x7f, &[], &vec![0; room]));
    assert_eq!(draft.bytes().len(), PSBT_MAX_BYTES);
    assert!(Psbt::read(&draft.bytes()).is_ok());
    draft.global[0].1.push(0);
    assert_eq!(Psbt::read(&draft.bytes()), Err(Reason::MalformedPsbt));
}

#[test]
fn what_is_given_back_is_within_what_the_documentation_says() {
    let wallet = wallet();
    let psbt = two(&wallet).read();
    let review = psbt.review(&wallet.signer()).unwrap();
    // r and s with their first bit set are the longest.
    let signed = psbt.with_signatures(&review, &[[0xf0; 64]; 2]).unwrap();
    assert!(signed.len() - psbt.encode().len() <= 2 * 109);
}

#[test]
fn refuses_what_is_cut_short_or_goes_on() {
    let wallet = wallet();
    for version in [Version::V0, Version::V2] {
        let bytes = payment(&wallet, version).bytes();
        for length in 0..bytes.len() {
            assert_eq!(Psbt::read(&bytes[..length]), Err(Reason::MalformedPsbt));
        }
        assert_eq!(Psbt::read(&[bytes, vec![0]].concat()), Err(Reason::MalformedPsbt));
    }
}

#[test]
fn refuses_previous_transactions_that_have_another_form() {
    let read = |bytes: &[u8]| Previous::read(bytes).map(|previous| previous.txid);
    let old = previous(&stranger(), 1_000, 1);
    let txid = sha256d(&old);
    assert_eq!(read(&old), Ok(txid));
    // BIP-144: marker, flag, and a stack for each input before the lock time.
    let (body, lock_time) = old[4..].split_at(old.len() - 8);
    let witnessed = |flag: u8, stack: &[u8]| [&old[..4], &[0, flag], body, stack, lock_time].concat();
    assert_eq!(read(&witnessed(1, &[1, 2, 7, 7])), Ok(txid));
    for wrong in [
        witnessed(1, &[0]),
        witnessed(2, &[1, 0]),
        witnessed(0, &[1, 0]),
        witnessed(1, &[]),
        witnessed(1, &[2, 0]),
    ] {
        assert_eq!(read(&wrong), Err(Reason::MalformedPsbt));
    }
    assert_eq!(read(&[old.clone(), vec![0]].concat()), Err(Reason::MalformedPsbt));
    assert_eq!(read(&old[..old.len() - 1]), Err(Reason::MalformedPsbt));
}
