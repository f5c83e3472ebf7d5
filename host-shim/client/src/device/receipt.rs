//! Receipts, and checking them offline: down from the root, with nothing but the file.

use crate::device::signed;
use crate::device::trust::{Distrust, Hsm, Root};
use countersign_approvals::digest::intent_hash;
use countersign_approvals::statement::{Identity, Receipt};
use countersign_wire::device::{self, SignedStatement};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};

/// A receipt that was checked: the HSM of a trusted root signed exactly this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedReceipt {
    hsm: Hsm,
    receipt: Receipt,
    signed: SignedStatement,
}

impl VerifiedReceipt {
    /// Checks a receipt of an HSM that was checked itself.
    pub fn check(hsm: &Hsm, answer: SignedStatement) -> Result<Self, Distrust> {
        let identity = hsm.identity();
        let receipt: Receipt = signed(&answer).verify(&identity.signing_key)?;
        if receipt.hsm != identity.hsm {
            return Err(Distrust::OtherHsm);
        }
        if receipt.measurement != identity.measurement {
            return Err(Distrust::OtherImage);
        }
        Ok(Self { hsm: hsm.clone(), receipt, signed: answer })
    }

    /// What was signed, by whose approval, when.
    pub fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    /// Of which HSM.
    pub fn identity(&self) -> &Identity {
        self.hsm.identity()
    }

    /// The hash of the intent: what a device approved is found by it.
    pub fn intent_hash(&self) -> [u8; 32] {
        intent_hash(&self.receipt.mechanism, &self.receipt.digests, &self.receipt.summary)
    }

    /// As a file that others can check.
    pub fn to_file(&self) -> ReceiptFile {
        ReceiptFile::new(self.hsm.endorsed(), &self.signed)
    }
}

/// A receipt with the identity that it leads down from, as JSON: `{"identity":{"statement","signature","root"},
/// "receipt":{"statement","signature"}}`, all in lowercase hex.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptFile {
    identity: IdentityHex,
    receipt: StatementHex,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IdentityHex {
    statement: String,
    signature: String,
    root: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StatementHex {
    statement: String,
    signature: String,
}

impl ReceiptFile {
    /// Of what an HSM said. Nothing is checked: [`ReceiptFile::verify`] does that.
    pub fn new(identity: &device::Identity, receipt: &SignedStatement) -> Self {
        Self {
            identity: IdentityHex {
                statement: HEXLOWER.encode(&identity.statement),
                signature: HEXLOWER.encode(identity.signature.as_slice()),
                root: HEXLOWER.encode(identity.root.as_slice()),
            },
            receipt: StatementHex {
                statement: HEXLOWER.encode(&receipt.statement),
                signature: HEXLOWER.encode(receipt.signature.as_slice()),
            },
        }
    }

    /// Checks it down from the root that is trusted. Asks nobody.
    pub fn verify(&self, root: &Root) -> Result<VerifiedReceipt, Distrust> {
        let identity = device::Identity {
            statement: bytes(&self.identity.statement)?,
            signature: fixed(&self.identity.signature)?,
            root: fixed(&self.identity.root)?,
        };
        let receipt = SignedStatement {
            statement: bytes(&self.receipt.statement)?,
            signature: fixed(&self.receipt.signature)?,
        };
        VerifiedReceipt::check(&Hsm::check(identity, root)?, receipt)
    }
}

fn bytes(hex: &str) -> Result<ByteBuf, Distrust> {
    HEXLOWER.decode(hex.as_bytes()).map(ByteBuf::from).map_err(|_| Distrust::MalformedStatement)
}

fn fixed<const N: usize>(hex: &str) -> Result<ByteArray<N>, Distrust> {
    let bytes = bytes(hex)?.into_vec();
    bytes.try_into().map(ByteArray::new).map_err(|_| Distrust::MalformedStatement)
}
