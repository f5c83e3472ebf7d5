//! What a device trusts, and why it does not trust an answer.

use crate::device::carrier::Carrier;
use countersign_approvals::es256::PublicKey;
use countersign_approvals::statement::{BadSigned, Identity, Signed};
use countersign_wire::client::{Act, Answer};
use countersign_wire::device;
use countersign_wire::reason::{Reason, Refusal};
use std::fmt;
use std::str::FromStr;

macro_rules! distrusts {
    ($($(#[$doc:meta])* $variant:ident, $word:literal, $sentence:literal;)*) => {
        /// Why an answer is not trusted. The words are stable: programs may match on them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Distrust {
            $($(#[$doc])* $variant,)*
        }

        impl Distrust {
            /// Every one there is, in the order of the documentation.
            pub const ALL: &[Distrust] = &[$(Distrust::$variant),*];

            /// The stable kebab-case word.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            /// One sentence for a person that says what to do next.
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence),* }
            }
        }
    };
}

distrusts! {
    /// The root is not the pinned one.
    WrongRoot, "wrong-root",
        "What answered is not the HSM that this device trusts: its root is another. Nothing was shown or approved; ask the custodian, on another way.";
    /// A signature does not verify.
    BadSignature, "bad-signature",
        "A signature of the HSM does not verify: something changed its answer on the way. Nothing of it was shown; try another relay.";
    /// Signed, but not the statement that was asked for.
    MalformedStatement, "malformed-statement",
        "The HSM signed something that this device cannot read; update the device's software.";
    /// About another HSM.
    OtherHsm, "other-hsm",
        "The answer is about another HSM than the one that this device knows. Nothing was approved; ask the custodian.";
    /// About another image.
    OtherImage, "other-image",
        "The answer was made by another image than the one that answers now; start again.";
    /// About another account.
    OtherAccount, "other-account",
        "The answer is about another account than this device's; something on the way swapped it. Nothing was approved.";
    /// About another intent.
    OtherIntent, "other-intent",
        "The answer is about something else than what this device asked about or approved; something on the way swapped it.";
    /// Not an answer to this question.
    StaleAnswer, "stale-answer",
        "The answer is an old one that was kept and played again; try again, and if it lasts try another relay.";
    /// A factor that is not this device's.
    UnknownFactor, "unknown-factor",
        "The new account has a factor that is not this device's, and somebody else could approve with it. Do not use this account.";
    /// An address that the key does not give.
    WrongAddress, "wrong-address",
        "An address is not what its key gives. Do not pay to it, and tell the custodian.";
    /// The secret is not the one that the receipt is about, or does not open.
    WrongSeal, "wrong-seal",
        "The secret that came is not the one that the HSM sealed for this device. Do not use this account; enrol anew.";
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.word(), self.sentence())
    }
}

impl std::error::Error for Distrust {}

impl From<BadSigned> for Distrust {
    fn from(bad: BadSigned) -> Self {
        match bad {
            BadSigned::Signature(_) => Self::BadSignature,
            BadSigned::Statement(_) => Self::MalformedStatement,
        }
    }
}

/// Why a device did not do what it was asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceError {
    /// The HSM refused, or could not be asked.
    Refused(Refusal),
    /// What came back is not trusted.
    Distrusted(Distrust),
}

impl From<Refusal> for DeviceError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Reason> for DeviceError {
    fn from(reason: Reason) -> Self {
        Self::Refused(reason.into())
    }
}

impl From<Distrust> for DeviceError {
    fn from(distrust: Distrust) -> Self {
        Self::Distrusted(distrust)
    }
}

impl From<BadSigned> for DeviceError {
    fn from(bad: BadSigned) -> Self {
        Distrust::from(bad).into()
    }
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Distrusted(distrust) => distrust.fmt(f),
        }
    }
}

impl std::error::Error for DeviceError {}

/// The fingerprint of an HSM's root: SHA-256 of its public key (65 bytes). As text, 64 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root(pub [u8; 32]);

/// A text that is no fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotARoot;

impl fmt::Display for NotARoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the fingerprint of a root is 64 hex digits")
    }
}

impl std::error::Error for NotARoot {}

impl FromStr for Root {
    type Err = NotARoot;
    fn from_str(text: &str) -> Result<Self, NotARoot> {
        let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| NotARoot)?;
        bytes.try_into().map(Self).map_err(|_| NotARoot)
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

/// An HSM whose identity was checked: its plugin's keys are endorsed by a root of the given fingerprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hsm {
    identity: Identity,
    endorsed: device::Identity,
}

impl Hsm {
    /// Asks an HSM who it is, and checks it.
    pub fn identify(carrier: &dyn Carrier, root: &Root) -> Result<Self, DeviceError> {
        match carrier.carry(Act::Identity)? {
            Answer::Identity(endorsed) => Ok(Self::check(endorsed, root)?),
            _ => Err(Reason::HsmUnreachable.into()),
        }
    }

    /// Checks an identity down from the root that is trusted.
    pub fn check(endorsed: device::Identity, root: &Root) -> Result<Self, Distrust> {
        let key = PublicKey::parse(endorsed.root.as_slice()).map_err(|_| Distrust::WrongRoot)?;
        if key.fingerprint() != root.0 {
            return Err(Distrust::WrongRoot);
        }
        let signed =
            Signed { statement: endorsed.statement.to_vec(), signature: endorsed.signature.into_array() };
        Ok(Self { identity: signed.verify(&key)?, endorsed })
    }

    /// What the root endorsed: the HSM's id, measurement, clock and keys.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The statement and its signature, as they came: with a receipt they are a proof for others.
    pub fn endorsed(&self) -> &device::Identity {
        &self.endorsed
    }
}
