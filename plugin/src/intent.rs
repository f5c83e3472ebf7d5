//! What is to be signed, from the request to the reply: read before anything is loaded, then reviewed with the key's eyes.

use crate::ecdsa::Verified;
use crate::record::{Account, HEADLINE_MAX_BYTES, Key, Signing};
use crate::wallet;
use countersign_approvals::digest;
use countersign_intent::bitcoin::{Psbt, Review};
use countersign_intent::ethereum::{Message, Transaction, TypedData};
use countersign_intent::summary::{self, SUMMARY_MAX_BYTES};
use countersign_intent::{Intent as Told, bitcoin};
use countersign_wire::client::{Mechanism, Payload, Signed};
use countersign_wire::reason::Reason;
use serde_bytes::ByteArray;

/// The most signatures that one intent needs: the inputs of one PSBT.
pub const SIGNATURES_MAX: usize = bitcoin::INPUTS_MAX;

/// A payload that was read strictly. What it means may depend on the key.
#[derive(Clone, Debug)]
pub struct Draft(Form);

#[derive(Clone, Debug)]
enum Form {
    Digest([u8; 32]),
    Ethereum(Box<Transaction>),
    TypedData(Box<TypedData>),
    Message(Box<Message>),
    Psbt(Box<Psbt>),
}

/// One intent. Holding one proves that its payload was read strictly, and that the digests are the payload's.
#[derive(Clone, Debug)]
pub struct Intent {
    told: Told,
    mechanism: Mechanism,
    summary: String,
    to_sign: Vec<ToSign>,
    product: Product,
}

/// What is given back beside the signatures.
#[derive(Clone, Debug)]
enum Product {
    Nothing,
    Transaction(Box<Transaction>),
    Psbt(Box<Psbt>, Box<Review>),
}

/// One signature that an intent needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToSign {
    /// What is signed.
    pub digest: [u8; 32],
    /// With which key below the intent's: chain and index in a wallet account; `None`: with the key itself.
    pub child: Option<(u32, u32)>,
    /// The public key that verifies it: SEC 1 uncompressed.
    pub public_key: [u8; 65],
}

impl Draft {
    /// The one constructor: reads a payload, or refuses it.
    pub fn read(payload: &Payload) -> Result<Self, Reason> {
        Ok(Self(match payload {
            Payload::Digest(digest) => Form::Digest(digest.into_array()),
            Payload::Ethereum(bytes) => Form::Ethereum(Box::new(Transaction::read(bytes)?)),
            Payload::TypedData(bytes) => Form::TypedData(Box::new(TypedData::read(bytes)?)),
            Payload::Message(bytes) => Form::Message(Box::new(Message::read(bytes)?)),
            Payload::Psbt(bytes) => Form::Psbt(Box::new(Psbt::read(bytes)?)),
        }))
    }

    /// What a key must have been made for.
    pub fn mechanism(&self) -> Mechanism {
        match self.0 {
            Form::Digest(_) => Mechanism::Digest,
            Form::Ethereum(_) => Mechanism::Ethereum,
            Form::TypedData(_) => Mechanism::TypedData,
            Form::Message(_) => Mechanism::Message,
            Form::Psbt(_) => Mechanism::Bitcoin,
        }
    }

    /// What it means for this key of this account. Refused if the key was not made for it.
    pub fn review(self, account: &Account, key: &Key) -> Result<Intent, Reason> {
        if !key.mechanisms.contains(&self.mechanism()) {
            return Err(Reason::MechanismNotAllowed);
        }
        let mechanism = self.mechanism();
        let (told, digest, product) = match self.0 {
            Form::Digest(digest) => (Told::digest(), digest, Product::Nothing),
            Form::Ethereum(transaction) => {
                (transaction.intent(), transaction.digest(), Product::Transaction(transaction))
            }
            Form::TypedData(data) => (data.intent(), data.digest(), Product::Nothing),
            Form::Message(message) => (message.intent(), message.digest(), Product::Nothing),
            Form::Psbt(psbt) => return Intent::of_psbt(psbt, account, key),
        };
        let to_sign = vec![ToSign { digest, child: None, public_key: key.public_key.into_array() }];
        Ok(Intent { summary: summary_of(&told)?, told, mechanism, to_sign, product })
    }
}

/// The text that people are shown, if they can be expected to read it.
fn summary_of(told: &Told) -> Result<String, Reason> {
    let summary = summary::render(told);
    if summary.len() <= SUMMARY_MAX_BYTES { Ok(summary) } else { Err(Reason::TooMuchToShow) }
}

/// The first line of a summary that is no warning, shortened.
fn headline(summary: &str) -> &str {
    let line = summary.lines().find(|line| !line.starts_with("warning: ")).unwrap_or_default();
    &line[..line.floor_char_boundary(HEADLINE_MAX_BYTES)]
}

impl Intent {
    fn of_psbt(psbt: Box<Psbt>, account: &Account, key: &Key) -> Result<Self, Reason> {
        let review = Box::new(psbt.review(&wallet::signer(account.wallet.as_ref(), key)?)?);
        let to_sign = review.to_sign.iter().map(|one| {
            let public_key = wallet::uncompressed(&one.public_key)?;
            Ok(ToSign { digest: one.digest, child: one.child, public_key })
        });
        let to_sign: Vec<ToSign> = to_sign.collect::<Result<_, Reason>>()?;
        let told = review.intent.clone();
        Ok(Self {
            summary: summary_of(&told)?,
            told,
            mechanism: Mechanism::Bitcoin,
            to_sign,
            product: Product::Psbt(psbt, review),
        })
    }

    /// What people and policies are told of it.
    pub fn told(&self) -> &Told {
        &self.told
    }

    /// The text that people are shown.
    pub fn summary(&self) -> &str {
        &self.summary
    }

    /// How it is signed.
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// What an approval is for, and what the history keeps.
    pub(crate) fn signing(&self) -> Signing {
        let digests: Vec<[u8; 32]> = self.digests().collect();
        Signing {
            hash: digest::intent_hash(self.mechanism.word(), &digests, &self.summary),
            headline: headline(&self.summary).to_owned(),
        }
    }

    /// All that is signed, in order. Never empty.
    pub fn to_sign(&self) -> &[ToSign] {
        &self.to_sign
    }

    /// The digests of all that is signed, in order.
    pub fn digests(&self) -> impl Iterator<Item = [u8; 32]> + '_ {
        self.to_sign.iter().map(|one| one.digest)
    }

    /// What is released: the signatures, and for a transaction the whole of it.
    pub(crate) fn signed(&self, signatures: &[Verified]) -> Result<Signed, Reason> {
        let (Some(Verified { signature, y_parity }), Some(first)) =
            (signatures.first(), self.to_sign.first())
        else {
            return Err(Reason::InternalError);
        };
        let mut signed = Signed {
            signature: ByteArray::new(*signature),
            y_parity: *y_parity,
            digest: ByteArray::new(first.digest),
            transaction_hash: None,
            raw_transaction: None,
            psbt: None,
            summary: self.summary.clone(),
        };
        match &self.product {
            Product::Nothing => {}
            Product::Transaction(transaction) => {
                let whole = transaction.with_signature(signature, *y_parity)?;
                signed.transaction_hash = Some(ByteArray::new(whole.hash));
                signed.raw_transaction = Some(whole.raw.into());
            }
            Product::Psbt(psbt, review) => {
                let all: Vec<[u8; 64]> = signatures.iter().map(|one| one.signature).collect();
                signed.psbt = Some(psbt.with_signatures(review, &all)?.into());
            }
        }
        Ok(signed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_headline_is_the_first_line_that_is_no_warning_as_far_as_there_is_room() {
        assert_eq!(headline("kind: transfer\namount: 1"), "kind: transfer");
        assert_eq!(headline("warning: odd\nwarning: very\nkind: transfer\namount: 1"), "kind: transfer");
        assert_eq!(headline("warning: odd"), "");
        let long = "ä".repeat(HEADLINE_MAX_BYTES);
        assert_eq!(headline(&long), "ä".repeat(HEADLINE_MAX_BYTES / 2));
        assert_eq!(headline(&format!("a{long}")).len(), HEADLINE_MAX_BYTES - 1, "no character is cut");
    }
}
