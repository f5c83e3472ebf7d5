//! Which images this HSM takes: one for development and no other, or those for release that enough people signed.
//!
//! What it is was fixed at initialisation, in the fuses. The list of release keys lies in the ceremony folder and is believed
//! only where it is the one whose hash the fuses hold.

use crate::fuses::{Fuses, Purpose};
use crate::home::{Claim, Home};
use crate::image::{SealedImage, read_signatures};
use crate::lineage::Kept;
use crate::{HsmError, log};
use countersign_release::lineage::Member;
use countersign_release::{Channel, Measurement, Refusal, ReleaseKeys, Rule};
use sha2::{Digest, Sha256};
use std::path::Path;

/// What an HSM is initialised for.
#[derive(Clone, Debug)]
pub enum Plan {
    /// Development: it runs the first image, unsigned, for ever.
    Development,
    /// Release.
    Release {
        /// The list of release keys, as a file's bytes.
        keys: Vec<u8>,
        /// How many people it takes.
        threshold: u8,
    },
}

impl Plan {
    /// What it comes to for an HSM whose first image this is.
    pub fn trust(&self, first: Measurement) -> Result<Trust, HsmError> {
        match self {
            Plan::Development => Ok(Trust::Development { only: first }),
            Plan::Release { keys, threshold } => {
                let keys = ReleaseKeys::parse(keys).map_err(HsmError::Refused)?;
                Rule::new(keys, *threshold).map(Trust::Release).map_err(HsmError::Refused)
            }
        }
    }

    /// What the fuses keep of it.
    pub fn purpose(&self) -> Purpose {
        match self {
            Plan::Development => Purpose::Development,
            Plan::Release { keys, threshold } => {
                Purpose::Release { keys_sha256: Sha256::digest(keys).into(), threshold: *threshold }
            }
        }
    }

    /// The list of release keys, where there is one.
    pub fn keys(&self) -> Option<&[u8]> {
        match self {
            Plan::Development => None,
            Plan::Release { keys, .. } => Some(keys),
        }
    }
}

/// Which images this HSM takes.
#[derive(Debug)]
pub enum Trust {
    /// This one for development, unsigned.
    Development {
        /// Its measurement.
        only: Measurement,
    },
    /// Those for release that enough people signed.
    Release(Rule),
}

impl Trust {
    /// What the fuses say.
    pub fn of(fuses: &Fuses, home: &Home) -> Result<Self, HsmError> {
        match fuses.purpose {
            Purpose::Development => Ok(Trust::Development { only: fuses.first_image }),
            Purpose::Release { keys_sha256, threshold } => {
                // A list that cannot be read is not the one that the fuses mean either.
                let keys = std::fs::read(home.release_keys()).unwrap_or_default();
                if Sha256::digest(&keys).as_slice() != keys_sha256 {
                    return Err(HsmError::Refused(Refusal::ReleaseKeysChanged));
                }
                Plan::Release { keys, threshold }.trust(fuses.first_image)
            }
        }
    }

    /// Whether it takes this image, which was read from `file`; its signatures lie beside that. Returns who signed it.
    pub fn admit(&self, image: &SealedImage, file: &Path) -> Result<Vec<String>, HsmError> {
        let release = image.release();
        match self {
            Trust::Development { .. } if release.channel != Channel::Development => {
                Err(HsmError::Refused(Refusal::ReleaseImage))
            }
            Trust::Development { only } if *only != release.measurement => {
                Err(HsmError::Refused(Refusal::NotPinned { pinned: *only, measured: release.measurement }))
            }
            Trust::Development { .. } => Ok(Vec::new()),
            Trust::Release(rule) => rule.check(&release, &read_signatures(file)?).map_err(HsmError::Refused),
        }
    }
}

/// What an upgrade did.
#[derive(Debug)]
pub struct Upgraded {
    /// The image that had the state; the same as `to` where it was there already.
    pub from: Member,
    /// The image that has it now.
    pub to: Member,
    /// How many upgrades there were.
    pub steps: u32,
    /// Who signed the new image.
    pub people: Vec<String>,
}

/// Moves the state of a stopped HSM to the image in this file. Nothing is changed before the one write that decides. If that
/// image has the state already, as after an upgrade that was interrupted, it is well.
pub fn upgrade(home: &Home, claim: &Claim, file: &Path) -> Result<Upgraded, HsmError> {
    let trust = Trust::of(&claim.fuses, home)?;
    if matches!(trust, Trust::Development { .. }) {
        return Err(HsmError::Refused(Refusal::DevelopmentHsm));
    }
    let image = SealedImage::load(file)?;
    let people = trust.admit(&image, file)?;
    let mut kept = Kept::open(&home.nvram_lineage(), &claim.fuses)?;
    let (from, release) = (kept.lineage().current(), image.release());
    if from == Member::from(&release) {
        kept.state_key(&claim.fuses, &release)?;
        log::line(format_args!("the state is with {} already; nothing is left to do", from.version));
    } else {
        let next = kept.lineage().step(&release, image.manifest()).map_err(HsmError::Refused)?;
        kept.move_to(&claim.fuses, next)?;
        log::line(format_args!("the state has moved from {} to {}", from.version, release.version));
    }
    let (to, steps) = (kept.lineage().current(), kept.lineage().steps());
    Ok(Upgraded { from, to, steps, people })
}
