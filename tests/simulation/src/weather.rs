//! How often what goes wrong in one history. Each history draws its own: some are calm, some have one kind of fault
//! only, some have all at once.

use crate::choices::Choices;

/// Chances in 10,000.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// The plugin is killed or the power goes, at each step.
    pub crash: u16,
    /// Somebody changes the disk while the HSM is down, at each start.
    pub tampering: u16,
    /// Somebody changes the disk while the HSM runs, at each step.
    pub tampering_while_running: u16,
    /// A sync of the store lies, at each sync.
    pub lying_sync: u16,
    /// The disk fills up, at each step.
    pub full_disk: u16,
    /// A write to the store fails, at each write.
    pub write_fault: u16,
    /// The disk does not give what was asked for, at each read.
    pub unreadable: u16,
    /// A bit flips on the way, at each read.
    pub flipped_read: u16,
    /// The keystore fails, at each call.
    pub keystore_fault: u16,
    /// A signature is wrong, at each signature.
    pub wrong_signature: u16,
    /// The random number generator fails, at each call.
    pub rng_fault: u16,
    /// A call takes long, at each call.
    pub slow: u16,
    /// The real-time clock jumps, at each step.
    pub clock_jump: u16,
    /// The disk takes its time with forgetting what is not needed, at each discard.
    pub lazy_discard: u16,
}

impl Weather {
    /// The weather of one history.
    pub fn draw(rng: &mut Choices) -> Self {
        let calm = rng.u8(..12) == 0;
        let mut chance = |most: u16| if calm || rng.bool() { 0 } else { rng.u16(1..=most) };
        Self {
            crash: chance(200),
            tampering: chance(7000),
            tampering_while_running: chance(60),
            lying_sync: chance(1500),
            full_disk: chance(150),
            write_fault: chance(400),
            unreadable: chance(1500),
            flipped_read: chance(1000),
            keystore_fault: chance(400),
            wrong_signature: chance(2000),
            rng_fault: chance(1500),
            slow: chance(2500),
            clock_jump: chance(100),
            lazy_discard: chance(9000),
        }
    }
}

/// Whether something with this chance happens now.
pub fn strikes(rng: &mut Choices, chance: u16) -> bool {
    chance > 0 && rng.u16(..10_000) < chance
}
