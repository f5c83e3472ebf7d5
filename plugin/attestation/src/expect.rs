//! What whoever verifies an attestation accepts. What is not asked for is not checked; what makes an HSM one for tests, or
//! weaker than it should be, is refused unless it is allowed by name.

use crate::Refused;
use crate::claims::{Claims, DebugStatus, VM};

/// What is accepted.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// The nonce that was asked with; `None`: how old the attestation is, is not known.
    pub nonce: Option<Vec<u8>>,
    /// Measurements of images that are known to be good; empty: any.
    pub measurements: Vec<[u8; 48]>,
    /// Measurements of virtual machines' kernels and first roots that are known to be good; empty: none was checked.
    pub platforms: Vec<[u8; 48]>,
    /// Which HSM it should be.
    pub hsm_id: Option<[u8; 16]>,
    /// Weaknesses that are accepted.
    pub allowed: Vec<Allowed>,
}

/// A weakness that is refused unless it is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// A development image.
    DevelopmentImage,
    /// A clock that is set by hand.
    ManualClock,
    /// Missing layers of the sandbox.
    WeakSandbox,
    /// A clock that is not believed at the moment.
    ClockInDoubt,
    /// A tenant without a policy of its own.
    NoPolicy,
    /// A virtual machine, and nobody said which kernel and first root it may have.
    PlatformUnchecked,
}

impl Allowed {
    /// Every weakness that can be allowed.
    pub const ALL: &[Self] = &[
        Self::DevelopmentImage,
        Self::ManualClock,
        Self::WeakSandbox,
        Self::ClockInDoubt,
        Self::NoPolicy,
        Self::PlatformUnchecked,
    ];

    /// The word for it: that of the refusal.
    pub const fn word(self) -> &'static str {
        self.refusal().word()
    }

    const fn refusal(self) -> Refused {
        match self {
            Self::DevelopmentImage => Refused::DevelopmentImage,
            Self::ManualClock => Refused::ManualClock,
            Self::WeakSandbox => Refused::WeakSandbox,
            Self::ClockInDoubt => Refused::ClockInDoubt,
            Self::NoPolicy => Refused::NoPolicy,
            Self::PlatformUnchecked => Refused::PlatformUnchecked,
        }
    }

    fn is_in(self, claims: &Claims, expected: &Expected) -> bool {
        match self {
            Self::DevelopmentImage => claims.debug == DebugStatus::Enabled || claims.release_keys.is_none(),
            Self::ManualClock => claims.clock != "system",
            Self::WeakSandbox => !claims.missing_layers.is_empty(),
            Self::ClockInDoubt => !claims.plugin.clock_sure,
            Self::NoPolicy => claims.plugin.policy.is_none(),
            // Whichever of the two says that there is a machine.
            Self::PlatformUnchecked => {
                expected.platforms.is_empty() && (claims.boundary == VM || claims.platform.is_some())
            }
        }
    }
}

/// It is no weakness that can be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAWeakness;

impl core::fmt::Display for NotAWeakness {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("it is one of")?;
        Allowed::ALL.iter().try_for_each(|weakness| write!(f, " {}", weakness.word()))
    }
}

impl std::error::Error for NotAWeakness {}

impl core::str::FromStr for Allowed {
    type Err = NotAWeakness;

    fn from_str(text: &str) -> Result<Self, NotAWeakness> {
        Self::ALL.iter().copied().find(|weakness| weakness.word() == text).ok_or(NotAWeakness)
    }
}

impl Expected {
    /// The weaknesses of an HSM, as far as what is expected leaves them.
    pub fn weaknesses(&self, claims: &Claims) -> Vec<Allowed> {
        Allowed::ALL.iter().copied().filter(|weakness| weakness.is_in(claims, self)).collect()
    }

    /// Whether these claims are what was expected; the first that is not is the refusal.
    pub fn check(&self, claims: &Claims) -> Result<(), Refused> {
        if self.nonce.as_ref().is_some_and(|nonce| *nonce != claims.nonce) {
            return Err(Refused::WrongNonce);
        }
        if self.hsm_id.is_some_and(|id| id != claims.hsm_id) {
            return Err(Refused::UnexpectedHsm);
        }
        if !self.measurements.is_empty() && !self.measurements.contains(&claims.measurement) {
            return Err(Refused::UnexpectedMeasurement);
        }
        if !self.platforms.is_empty()
            && !claims.platform.is_some_and(|platform| self.platforms.contains(&platform))
        {
            return Err(Refused::UnexpectedPlatform);
        }
        match self.weaknesses(claims).into_iter().find(|weakness| !self.allowed.contains(weakness)) {
            Some(weakness) => Err(weakness.refusal()),
            None => Ok(()),
        }
    }
}
