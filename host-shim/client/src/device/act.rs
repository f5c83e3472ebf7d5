//! What a device does to its account, and what it sees of it.

use crate::device::trust::{DeviceError, Distrust};
use crate::device::{Device, random, signed};
use countersign_approvals::digest::{Approved, Purpose, device_message};
use countersign_approvals::statement::{AccountRequest, AccountView, Statement};
use countersign_wire::client::{Act, Answer};
use countersign_wire::device::{ACT_OPEN_SECS, DeviceAct, DevicePurpose, Sealed, ViewAccount};
use countersign_wire::reason::Reason;
use serde_bytes::{ByteArray, ByteBuf};

/// For how long an act is good, by the HSM's clock: half of what is allowed, for a slow way.
const OPEN_SECS: u64 = ACT_OPEN_SECS / 2;

/// The codes of two consecutive time steps, the earlier one first.
pub type Codes<'a> = (&'a str, &'a str);

/// The account, checked: said just now, by this HSM, of this account, with addresses that its keys give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountSeen(AccountView);

impl AccountSeen {
    /// What the HSM says of it.
    pub fn view(&self) -> &AccountView {
        &self.0
    }
}

impl Device<'_> {
    /// The account: its state, its keys, what waits and what it signed last.
    pub fn account(&self) -> Result<AccountSeen, DeviceError> {
        let nonce = random();
        let request = AccountRequest {
            hsm: self.hsm.identity().hsm,
            tenant: self.owner.tenant.to_string(),
            account: self.owner.account.to_string(),
            device_nonce: nonce,
        };
        let ask = ViewAccount {
            tenant: self.owner.tenant.clone(),
            account: self.owner.account.clone(),
            device: self.keys.device_id(),
            device_nonce: ByteArray::new(nonce),
            signature: ByteArray::new(self.keys.signing.sign(&request.to_bytes())),
        };
        let Answer::View(answer) = self.ask(Act::ViewAccount(ask))? else {
            return Err(Reason::HsmUnreachable.into());
        };
        let view: AccountView = signed(&answer).verify(&self.hsm.identity().signing_key)?;
        self.is_ours(&view.hsm, &view.tenant, &view.account)?;
        if view.device_nonce != nonce {
            return Err(Distrust::StaleAnswer.into());
        }
        self.check_keys(&view.keys)?;
        Ok(AccountSeen(view))
    }

    /// Finishes the enrolment.
    pub fn confirm(&self, codes: Codes<'_>) -> Result<(), DeviceError> {
        self.act(DevicePurpose::Confirm, Some(codes))
    }

    /// Reopens the locked account.
    pub fn unlock(&self, codes: Codes<'_>) -> Result<(), DeviceError> {
        self.act(DevicePurpose::Unlock, Some(codes))
    }

    /// From now on the account signs nothing and checks no code, until the HSM's operators lift it.
    pub fn freeze(&self) -> Result<(), DeviceError> {
        self.act(DevicePurpose::Freeze, None)
    }

    /// Stops a recovery that is under way.
    pub fn cancel_recovery(&self) -> Result<(), DeviceError> {
        self.act(DevicePurpose::CancelRecovery, None)
    }

    fn act(&self, purpose: DevicePurpose, codes: Option<Codes<'_>>) -> Result<(), DeviceError> {
        // The act nonce and the HSM's time, fresh and signed.
        let account = self.account()?.0;
        let expires_unix_secs = account.now_unix_secs.saturating_add(OPEN_SECS);
        let approved = Approved {
            purpose: bound_as(purpose),
            hsm: &account.hsm,
            tenant: &account.tenant,
            account: &account.account,
            key_id: &[],
            intent_hash: &[],
            expires_unix_secs,
            nonce: &account.act_nonce,
        };
        let digest = approved.digest();
        let (sealed, signature) = match codes {
            Some((first, second)) => {
                let (sealed, signature) = self.seal_codes(&digest, &[first, second]);
                let (encapsulated, ciphertext) =
                    (ByteArray::new(sealed.encapsulated), ByteBuf::from(sealed.ciphertext));
                (Some(Sealed { encapsulated, ciphertext }), signature)
            }
            None => (None, self.keys.signing.sign(&device_message(&digest, &[]))),
        };
        let act = DeviceAct {
            tenant: self.owner.tenant.clone(),
            account: self.owner.account.clone(),
            purpose,
            expires_unix_secs,
            device: self.keys.device_id(),
            sealed,
            signature: ByteArray::new(signature),
        };
        match self.ask(Act::DeviceAct(act))? {
            Answer::CarriedOut => Ok(()),
            _ => Err(Reason::HsmUnreachable.into()),
        }
    }
}

fn bound_as(purpose: DevicePurpose) -> Purpose {
    match purpose {
        DevicePurpose::Confirm => Purpose::Confirm,
        DevicePurpose::Unlock => Purpose::Unlock,
        DevicePurpose::Freeze => Purpose::Freeze,
        DevicePurpose::CancelRecovery => Purpose::CancelRecovery,
    }
}
