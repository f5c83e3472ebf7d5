//! What holds for any bytes: the functions panic when it does not. Tests and fuzz targets call them.

use super::{Account, Psbt, Purpose, Review, Signer, SingleKey};
use crate::bip32::ExtendedPrivateKey;
use crate::model::{Amount, Asset, Kind, Network};
use crate::summary;

/// The ones whom any bytes are reviewed for: an account of each purpose under the seed of 32 bytes 0x5a on the test
/// network, and the first key of the last account alone.
pub fn signers() -> Vec<Signer> {
    let master = ExtendedPrivateKey::of_seed(&[0x5a; 32]).expect("a seed of 32 bytes");
    let accounts = Purpose::ALL.iter().map(|purpose| Account::of_master(&master, *purpose, 0, Network::Test));
    let mut signers: Vec<_> =
        accounts.map(|account| Signer::Account(Box::new(account.expect("a usual account")))).collect();
    let first = signers.iter().rev().find_map(|signer| match signer {
        Signer::Account(account) => account.public_key(0, 0),
        Signer::Key(_) => None,
    });
    let key = SingleKey::new(first.expect("a first key"), Network::Test).expect("a derived key");
    signers.push(Signer::Key(key));
    signers
}

/// Any bytes are refused, or read as a PSBT that is given back as the same bytes; and whatever is reviewed holds
/// together.
pub fn check_psbt(bytes: &[u8]) {
    let Ok(psbt) = Psbt::read(bytes) else { return };
    assert_eq!(psbt.encode(), bytes, "what was read is given back");
    for signer in signers() {
        if let Ok(review) = psbt.review(&signer) {
            check_review(&psbt, &signer, &review);
        }
    }
}

/// What a review must be, whatever the PSBT.
pub fn check_review(psbt: &Psbt, signer: &Signer, review: &Review) {
    let (transaction, intent) = (psbt.transaction(), &review.intent);
    assert!(!review.to_sign.is_empty() && review.to_sign.len() <= transaction.inputs.len());
    assert!(review.to_sign.windows(2).all(|pair| pair[0].input < pair[1].input), "each input is signed once");
    assert_eq!(intent.kind, Kind::Transfer);
    assert!(!intent.opaque);
    assert_eq!(intent.moves.len(), transaction.outputs.len(), "every output is told");
    let text = summary::render(intent);
    for (moved, output) in intent.moves.iter().zip(&transaction.outputs) {
        assert_eq!(moved.amount, Amount::from(output.value_sat));
        assert_eq!(moved.to, super::address(&output.script, signer.network()));
        assert!(text.contains(moved.to.as_str()), "every address is shown");
    }
    assert!(intent.sum(&Asset::Native).is_some());

    // Any signatures at all: the fields are what matters here.
    let signatures = vec![[0x41; 64]; review.to_sign.len()];
    let bytes = psbt.with_signatures(review, &signatures).expect("as many signatures as asked");
    let again = Psbt::read(&bytes).expect("what is given back is a PSBT");
    assert_eq!((again.version(), again.transaction()), (psbt.version(), transaction));
    let second = again.review(signer).expect("signing takes nothing away");
    assert_eq!(
        (&second.intent, &second.commitment, &second.to_sign),
        (intent, &review.commitment, &review.to_sign),
        "a signature changes nothing of what is signed"
    );
    assert_eq!(
        again.with_signatures(&second, &signatures).as_ref(),
        Ok(&bytes),
        "signing again changes nothing"
    );
}
