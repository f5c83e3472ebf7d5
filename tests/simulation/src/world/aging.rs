//! The HSM that was used for so long that its log is about to be cleaned.

use super::{Beginning, Checked, Failure, World, liveness};
use crate::choices::Choices;
use crate::clients;
use crate::weather::Weather;
use countersign_wire::client::{Act, CreateKey, KeyPlan, Mechanism};

/// Users of the aged HSM that keep their records where they were first written.
const SLEEPERS: usize = 14;

/// Keys of each of them.
const SLEEPERS_KEYS: usize = 15;

/// Blocks of the archive, the last of which the aging HSM is killed before: its log was cleaned before, and is about to be
/// again.
const AGED_BLOCKS: u64 = 2;

/// From this length of the log on, each round of the aging HSM may be the one that begins to clean it.
const NEARLY_AGED_LOG_BYTES: u64 = 1_000_000;

impl Beginning {
    /// An HSM that was used for so long that its log is about to be cleaned.
    pub fn aged() -> Result<Self, Failure> {
        let mut world = World::new(Choices::of_seed(0), Self::default(), Some(Weather::default()));
        world.age().map_err(|violation| Failure { violation, tail: world.history.tail() })
    }
}

impl World {
    /// What would be left if the plugin were killed now.
    fn left(&self) -> Beginning {
        Beginning {
            disk: self.disk.clone(),
            nvram: self.nvram.clone(),
            clock: self.clock,
            clients: self.clients.clone(),
            knowledge: self.judge.knowledge().clone(),
        }
    }

    fn age(&mut self) -> Checked<Beginning> {
        self.start_again()?;
        for name in 0..SLEEPERS {
            let name = format!("sleeper{name}");
            self.newcomer(&name, &[Mechanism::Digest])?;
            for key in 0..SLEEPERS_KEYS {
                let label = format!("{name}/k{key}").parse().expect("a label");
                let create = CreateKey { label, plan: KeyPlan::of(vec![Mechanism::Digest]) };
                self.must("a", Act::CreateKey(create), "a key is made")?;
            }
        }
        for name in clients::NAMES {
            self.newcomer(name, &[Mechanism::Digest])?;
        }
        let mut before = self.left();
        while self.coverage.of("disk: archive appended") < AGED_BLOCKS {
            if self.disk.log.end() > NEARLY_AGED_LOG_BYTES {
                before = self.left();
            }
            for name in ["sleeper0", "u0", "u1"] {
                self.clock.advance(30);
                let user =
                    self.clients.user("a", name).cloned().ok_or_else(|| liveness("nobody is there"))?;
                let mut digest = [0; 32];
                self.rng.fill(&mut digest);
                self.must("a", user.sign_now(digest, self.clock.unix_secs), "an old user signs")?;
            }
        }
        Ok(before)
    }
}
