//! What is to be approved, and approving it.

use crate::device::receipt::VerifiedReceipt;
use crate::device::trust::{DeviceError, Distrust};
use crate::device::{Device, random, signed};
use countersign_approvals::digest::device_message;
use countersign_approvals::sealed::{CODE_INFO, Sealed, encode_codes, seal};
use countersign_approvals::statement::{ApprovalKind, IntentState, View};
use countersign_wire::client::{Act, Answer};
use countersign_wire::device::{
    Approve, Decline, Evidence, IntentApproval, SealedCode, ViewIntent, ViewReceipt,
};
use countersign_wire::encode;
use countersign_wire::reason::Reason;
use serde_bytes::{ByteArray, ByteBuf};

/// A staged intent that was checked: it is about this HSM and this account, it is the one that was asked for, and it was
/// said just now. Show all of it before you ask for a code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntentSeen(View);

impl IntentSeen {
    /// What the HSM says of it.
    pub fn view(&self) -> &View {
        &self.0
    }

    /// Seconds until it expires, by the HSM's clock, when it was asked for.
    pub fn expires_in_secs(&self) -> u64 {
        self.0.expires_unix_secs.saturating_sub(self.0.now_unix_secs)
    }

    /// What is the user's answer to, by the summary's lines: those that warn, then the rest.
    pub fn lines(&self) -> (Vec<&str>, Vec<&str>) {
        self.0.summary.lines().partition(|line| line.starts_with("warning: "))
    }
}

/// What `C_Login(CKU_CONTEXT_SPECIFIC)` takes as PIN for an approval: `csa1_` and its CBOR in base64url without padding.
pub fn context_pin(approval: &IntentApproval) -> String {
    format!("csa1_{}", data_encoding::BASE64URL_NOPAD.encode(&encode(approval)))
}

impl Device<'_> {
    /// What the device is asked to approve.
    pub fn view(&self, intent: [u8; 16]) -> Result<IntentSeen, DeviceError> {
        let nonce = random();
        let ask = ViewIntent {
            tenant: self.owner.tenant.clone(),
            account: self.owner.account.clone(),
            intent: ByteArray::new(intent),
            device_nonce: ByteArray::new(nonce),
        };
        let Answer::View(answer) = self.ask(Act::ViewIntent(ask))? else {
            return Err(Reason::HsmUnreachable.into());
        };
        let view: View = signed(&answer).verify(&self.hsm.identity().signing_key)?;
        self.is_ours(&view.hsm, &view.tenant, &view.account)?;
        if view.device_nonce != nonce {
            return Err(Distrust::StaleAnswer.into());
        }
        let account = view.key.split_once('/').map(|(account, _)| account);
        if view.intent != intent || account.is_some_and(|account| account != self.owner.account.as_str()) {
            return Err(Distrust::OtherIntent.into());
        }
        Ok(IntentSeen(view))
    }

    /// That an approval by a sealed code can succeed at all. Ask before you ask a person for a code.
    pub fn may_approve(&self, seen: &IntentSeen) -> Result<(), DeviceError> {
        if seen.0.state != IntentState::Open {
            return Err(Reason::IntentNotOpen.into());
        }
        if seen.0.floor > ApprovalKind::SealedCode {
            return Err(Reason::BelowFloor.into());
        }
        Ok(())
    }

    /// The evidence that the user approves what was seen, and nothing else. To send it with the signature itself.
    pub fn evidence(&self, seen: &IntentSeen, code: &str) -> IntentApproval {
        let digest = seen.0.approval_digest();
        let (sealed, signature) = self.seal_codes(&digest, &[code]);
        let evidence = SealedCode {
            device: self.keys.device_id(),
            encapsulated: ByteArray::new(sealed.encapsulated),
            ciphertext: ByteBuf::from(sealed.ciphertext),
            signature: ByteArray::new(signature),
        };
        IntentApproval { intent: ByteArray::new(seen.0.intent), evidence: Evidence::SealedCode(evidence) }
    }

    /// Approves what was seen: good for one signature of exactly that.
    pub fn approve(&self, seen: &IntentSeen, code: &str) -> Result<(), DeviceError> {
        self.may_approve(seen)?;
        let IntentApproval { intent, evidence } = self.evidence(seen, code);
        let (tenant, account) = (self.owner.tenant.clone(), self.owner.account.clone());
        match self.ask(Act::Approve(Approve { tenant, account, intent, evidence }))? {
            Answer::Approved => Ok(()),
            _ => Err(Reason::HsmUnreachable.into()),
        }
    }

    /// Refuses what was seen: it is never signed.
    pub fn decline(&self, seen: &IntentSeen) -> Result<(), DeviceError> {
        let message = device_message(&seen.0.decline_digest(), &[]);
        let decline = Decline {
            tenant: self.owner.tenant.clone(),
            account: self.owner.account.clone(),
            intent: ByteArray::new(seen.0.intent),
            device: self.keys.device_id(),
            signature: ByteArray::new(self.keys.signing.sign(&message)),
        };
        match self.ask(Act::Decline(decline))? {
            Answer::Declined => Ok(()),
            _ => Err(Reason::HsmUnreachable.into()),
        }
    }

    /// The receipt of what was seen, once it is signed: that it is about exactly that is checked.
    pub fn receipt(&self, seen: &IntentSeen) -> Result<VerifiedReceipt, DeviceError> {
        let ask = ViewReceipt {
            tenant: self.owner.tenant.clone(),
            account: self.owner.account.clone(),
            intent: ByteArray::new(seen.0.intent),
        };
        let Answer::Receipt(answer) = self.ask(Act::ViewReceipt(ask))? else {
            return Err(Reason::HsmUnreachable.into());
        };
        let verified = VerifiedReceipt::check(&self.hsm, answer)?;
        let receipt = verified.receipt();
        self.is_ours(&receipt.hsm, &receipt.tenant, &receipt.account)?;
        if verified.intent_hash() != seen.0.intent_hash() || receipt.key_id.as_slice() != seen.0.key_id {
            return Err(Distrust::OtherIntent.into());
        }
        Ok(verified)
    }

    /// Codes sealed to the HSM for one approval digest, and the device's signature over both.
    pub(super) fn seal_codes(&self, digest: &[u8; 32], codes: &[&str]) -> (Sealed, [u8; 64]) {
        let to = &self.hsm.identity().sealing_key;
        let sealed = seal(to, CODE_INFO, digest, &encode_codes(digest, codes), &random());
        let signature = self.keys.signing.sign(&device_message(digest, &sealed.hash()));
        (sealed, signature)
    }
}
