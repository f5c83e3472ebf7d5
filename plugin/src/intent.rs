//! What is to be signed: decoded inside the boundary, its digest computed here.

use countersign_intent::ethereum::{self, Transaction};
use countersign_policy::{EthereumFacts, Subject};
use countersign_wire::client::{Mechanism, Payload};
use countersign_wire::reason::Reason;

/// One intent. Holding one proves that its payload was read strictly and that the digest is the payload's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    digest: [u8; 32],
    content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Digest,
    Ethereum(Box<Transaction>),
}

impl Intent {
    /// The one constructor: reads a payload, or refuses it.
    pub fn read(payload: &Payload) -> Result<Self, Reason> {
        match payload {
            Payload::Digest(digest) => Ok(Self { digest: digest.into_array(), content: Content::Digest }),
            Payload::Ethereum(bytes) => {
                let transaction = Transaction::read(bytes)?;
                let digest = ethereum::keccak256(bytes);
                Ok(Self { digest, content: Content::Ethereum(Box::new(transaction)) })
            }
        }
    }

    /// What is signed.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// What a key must have been made for.
    pub fn mechanism(&self) -> Mechanism {
        match self.content {
            Content::Digest => Mechanism::Digest,
            Content::Ethereum(_) => Mechanism::Ethereum,
        }
    }

    /// What policy is told of it.
    pub fn subject(&self) -> Subject<'_> {
        match &self.content {
            Content::Digest => Subject::Digest,
            Content::Ethereum(transaction) => Subject::Ethereum(EthereumFacts {
                chain_id: transaction.chain_id,
                to: transaction.to.as_ref(),
                value_wei: transaction.value_wei,
                max_fee_wei: transaction.max_fee_wei,
                opaque: transaction.opaque,
            }),
        }
    }

    /// For a transaction, the whole signed transaction and its hash on chain.
    pub fn signed_transaction(&self, signature: &[u8; 64], y_parity: u8) -> Option<(Vec<u8>, [u8; 32])> {
        match &self.content {
            Content::Digest => None,
            Content::Ethereum(transaction) => {
                let raw = transaction.with_signature(signature, y_parity);
                let hash = ethereum::keccak256(&raw);
                Some((raw, hash))
            }
        }
    }
}
