//! Attestations: what an HSM says of itself and of the image that it runs, as `docs/attestation.md` has it.
//!
//! An attestation is an EAT (RFC 9711): a CWT (RFC 8392) as one `COSE_Sign1` (RFC 9052), signed by the HSM's attestation key. The
//! root says which key that is, in a CWT of its own that the attestation carries in its header. So whoever has the root's
//! fingerprint needs nothing else: no network, no list, no other certificate.
//!
//! * [`claims`]: what is said, and its one encoding.
//! * [`token`]: signing it and verifying it.
//! * [`expect`]: what whoever verifies accepts.
//!
//! The firmware makes them and the command line reads them; nothing of this is inside the image. Whatever is read is bounded, and
//! refused when it has another form than the one that is written here.

#![forbid(unsafe_code)]

mod cbor;
pub mod claims;
pub mod expect;
#[cfg(any(test, feature = "properties"))]
pub mod properties;
pub mod token;

pub use claims::{Claims, PluginClaims};
pub use expect::{Allowed, Expected};
pub use token::{Attestation, issue, verify};

/// The shortest nonce, in bytes (RFC 9711 section 4.1).
pub const NONCE_MIN_BYTES: usize = 8;

/// The longest nonce, in bytes (RFC 9711 section 4.1).
pub const NONCE_MAX_BYTES: usize = 64;

/// The longest attestation that is read, in bytes.
pub const ATTESTATION_MAX_BYTES: usize = 8 * 1024;

/// Why an attestation is not believed. Each has a stable word and a sentence for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Not the one form of an attestation, or beyond a bound.
    Malformed,
    /// The root in it has another fingerprint.
    WrongRoot,
    /// The root did not sign for this attestation key.
    BadChain,
    /// The attestation key did not sign this.
    WrongSignature,
    /// The root speaks of another HSM than the attestation does.
    AnotherHsm,
    /// It follows another profile, of another version or product.
    AnotherProfile,
    /// It answers another question.
    WrongNonce,
    /// The HSM runs another image than those that were named.
    UnexpectedMeasurement,
    /// It is another HSM than the one that was named.
    UnexpectedHsm,
    /// The virtual machine has another kernel or first root than those that were named, or there is no machine.
    UnexpectedPlatform,
    /// The image is for development: whoever built it may have put anything in.
    DevelopmentImage,
    /// The clock is set by hand: the HSM is for tests.
    ManualClock,
    /// Layers of the sandbox are missing.
    WeakSandbox,
    /// The clock is behind what the HSM has seen, and codes are refused.
    ClockInDoubt,
    /// The tenant has no policy of its own.
    NoPolicy,
    /// The plugin runs in a virtual machine, and nobody said which kernel and first root it may have.
    PlatformUnchecked,
}

impl Refused {
    /// Every reason there is.
    pub const ALL: &[Self] = &[
        Self::Malformed,
        Self::WrongRoot,
        Self::BadChain,
        Self::WrongSignature,
        Self::AnotherHsm,
        Self::AnotherProfile,
        Self::WrongNonce,
        Self::UnexpectedMeasurement,
        Self::UnexpectedHsm,
        Self::UnexpectedPlatform,
        Self::DevelopmentImage,
        Self::ManualClock,
        Self::WeakSandbox,
        Self::ClockInDoubt,
        Self::NoPolicy,
        Self::PlatformUnchecked,
    ];

    /// The stable word for programs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Malformed => "malformed-attestation",
            Self::WrongRoot => "wrong-root",
            Self::BadChain => "bad-chain",
            Self::WrongSignature => "wrong-signature",
            Self::AnotherHsm => "another-hsm",
            Self::AnotherProfile => "another-profile",
            Self::WrongNonce => "wrong-nonce",
            Self::UnexpectedMeasurement => "unexpected-measurement",
            Self::UnexpectedHsm => "unexpected-hsm",
            Self::UnexpectedPlatform => "unexpected-platform",
            Self::DevelopmentImage => "development-image",
            Self::ManualClock => "manual-clock",
            Self::WeakSandbox => "weak-sandbox",
            Self::ClockInDoubt => "clock-in-doubt",
            Self::NoPolicy => "no-policy",
            Self::PlatformUnchecked => "platform-unchecked",
        }
    }

    /// What to tell a person.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Malformed => "This is no attestation, or it was damaged; fetch it again.",
            Self::WrongRoot => {
                "Another HSM's root stands behind this; check the fingerprint from the HSM's initialisation."
            }
            Self::BadChain => "The root did not sign for the key that signed this; do not trust it.",
            Self::WrongSignature => "The signature is not of this attestation; it was changed or made up.",
            Self::AnotherHsm => {
                "The root speaks of another HSM than the attestation; it was put together from two."
            }
            Self::AnotherProfile => {
                "It follows another profile; use the version of this program that belongs to it."
            }
            Self::WrongNonce => "It answers another nonce: it may be old; ask again with a fresh one.",
            Self::UnexpectedMeasurement => {
                "The HSM runs an image that you did not name; compare it with the releases."
            }
            Self::UnexpectedHsm => "It is of another HSM than the one that you named.",
            Self::UnexpectedPlatform => {
                "The plugin does not run in a virtual machine that you named: compare the kernel and the first root with their sources."
            }
            Self::DevelopmentImage => {
                "The HSM runs a development image, which nobody released; never for money."
            }
            Self::ManualClock => "The HSM's clock is set by hand: it is for tests, never for money.",
            Self::WeakSandbox => "Layers of the sandbox around the plugin are missing.",
            Self::ClockInDoubt => {
                "The HSM's clock is behind what it has seen already; it refuses codes until that is mended."
            }
            Self::NoPolicy => {
                "The tenant has no policy of its own; the one for development permits every transfer."
            }
            Self::PlatformUnchecked => {
                "The plugin runs in a virtual machine whose kernel and first root were not checked; name its platform (countersign-hsm vm-platform computes it)."
            }
        }
    }
}

impl core::fmt::Display for Refused {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.sentence())
    }
}

impl std::error::Error for Refused {}

#[cfg(test)]
mod tests;
