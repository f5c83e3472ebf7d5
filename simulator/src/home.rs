//! The home folder of one HSM: where its parts live, how it is made, and who may use it.
//!
//! `nvram/`, `keystore/` and `ceremony/` are inside the boundary; `store/` is the untrusted disk.

use crate::ceremony::{self, TenantTerms};
use crate::clock::Clock;
use crate::fuses::{Boundary, Fuses};
use crate::keystore::{self, KeystoreKind};
use crate::lineage;
use crate::nvram::{STATE_SLOT_BYTES, Slots};
use crate::store::Store;
use crate::trust::Plan;
use crate::vm::Platform;
use crate::{HsmError, durable};
use countersign_release::Release;
use countersign_wire::client::ClockMode;
use countersign_wire::names::{ApiKey, TenantName};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a start waits for the HSM's last process to be gone.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);

/// How often it looks meanwhile.
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// The folder of one HSM.
#[derive(Clone, Debug)]
pub struct Home {
    root: PathBuf,
}

/// What is decided when an HSM is initialised.
#[derive(Debug)]
pub struct Initialisation {
    /// The first image that it runs, admitted already.
    pub first: Release,
    /// Which images it takes.
    pub plan: Plan,
    /// Which keystore holds its keys.
    pub keystore: KeystoreKind,
    /// SoftHSM's library, if not where Debian puts it.
    pub softhsm_module: Option<PathBuf>,
    /// Where time comes from.
    pub clock: ClockMode,
    /// The first tenants.
    pub tenants: Vec<TenantName>,
    /// Their policy document.
    pub policy: Option<Vec<u8>>,
    /// The virtual machine that the plugin runs in; `None`: a process.
    pub machine: Option<MachineFiles>,
}

/// What a virtual machine starts with.
#[derive(Clone, Debug)]
pub struct MachineFiles {
    /// The kernel.
    pub kernel: PathBuf,
    /// The first root, as `countersign-hsm vm-root` packs it.
    pub root: PathBuf,
}

/// What initialising an HSM gives its operator.
#[derive(Debug)]
pub struct Initialised {
    /// Which HSM this is.
    pub hsm_id: [u8; 16],
    /// SHA-256 of the root's public key: what users' devices pin.
    pub root_fingerprint: [u8; 32],
    /// The virtual machine's kernel and first root, measured; `None`: a process.
    pub platform: Option<[u8; 48]>,
    /// Each tenant's API key. They are kept nowhere.
    pub api_keys: Vec<(TenantName, ApiKey)>,
}

/// An HSM that this process alone uses, and its fuses as they were read under the lock.
#[derive(Debug)]
pub struct Claim {
    /// Its fuses.
    pub fuses: Fuses,
    /// Held for as long as the HSM is used.
    pub lock: HomeLock,
}

/// Proof that this process alone uses the HSM. The lock ends with it, however the process ends.
#[derive(Debug)]
pub struct HomeLock(#[expect(dead_code, reason = "held for the lock on it")] File);

impl Home {
    /// The home in this folder, which need not exist yet.
    pub fn at(root: &Path) -> Result<Self, HsmError> {
        let root = std::path::absolute(root).map_err(HsmError::io(format!("find {}", root.display())))?;
        if root.to_str().is_some() {
            Ok(Self { root })
        } else {
            Err(HsmError::Home(format!("the path of an HSM must be UTF-8, and {} is not", root.display())))
        }
    }

    /// The fuses.
    pub fn fuses(&self) -> PathBuf {
        self.root.join("nvram/fuses")
    }

    /// What the plugin keeps in NVRAM.
    pub fn nvram_state(&self) -> PathBuf {
        self.root.join("nvram/state")
    }

    /// Whose state this is, and its key.
    pub fn nvram_lineage(&self) -> PathBuf {
        self.root.join("nvram/lineage")
    }

    /// The value of a manual clock.
    pub fn nvram_clock(&self) -> PathBuf {
        self.root.join("nvram/clock")
    }

    /// The keystore's folder.
    pub fn keystore(&self) -> PathBuf {
        self.root.join("keystore")
    }

    /// The operator's folder.
    pub fn ceremony(&self) -> PathBuf {
        self.root.join("ceremony")
    }

    /// The operator's list of tenants.
    pub fn tenants(&self) -> PathBuf {
        self.root.join("ceremony/tenants.toml")
    }

    /// The list of release keys.
    pub fn release_keys(&self) -> PathBuf {
        self.root.join("ceremony/release-keys")
    }

    /// The folder on the untrusted disk.
    pub fn store(&self) -> PathBuf {
        self.root.join("store")
    }

    /// The socket for clients.
    pub fn socket(&self) -> PathBuf {
        self.root.join("hsm.sock")
    }

    /// The development control channel.
    pub fn control_socket(&self) -> PathBuf {
        self.root.join("control.sock")
    }

    /// Makes the HSM. The fuses are burnt last: before that the folder is not an HSM.
    pub fn initialise(&self, plan: &Initialisation) -> Result<Initialised, HsmError> {
        self.create_root()?;
        for folder in ["nvram", "keystore", "ceremony", "store"] {
            durable::create_folder(&self.root.join(folder))?;
        }
        Store::create(&self.store())?;
        Slots::create(&self.nvram_state(), STATE_SLOT_BYTES, b"")?;
        if plan.clock == ClockMode::Manual {
            Clock::create_manual(&self.nvram_clock())?;
        }
        ceremony::create(&self.tenants())?;
        let terms = TenantTerms::default();
        let mut api_keys = Vec::with_capacity(plan.tenants.len());
        for name in &plan.tenants {
            api_keys.push((name.clone(), ceremony::add_tenant(&self.tenants(), name, terms)?));
            if let Some(policy) = &plan.policy {
                ceremony::set_policy(&self.tenants(), name, policy)?;
            }
        }
        keystore::create(plan.keystore, &self.keystore(), plan.softhsm_module.as_deref())?;
        if let Some(keys) = plan.plan.keys() {
            durable::create_file(&self.release_keys(), keys)?;
        }
        let platform = match &plan.machine {
            None => None,
            Some(files) => {
                Platform::install(&self.ceremony(), files)?;
                Some(*Platform::load(&self.ceremony())?.measurement())
            }
        };
        let boundary = platform.map_or(Boundary::Process, Boundary::Machine);
        let (purpose, first) = (plan.plan.purpose(), plan.first.measurement);
        let fuses = Fuses::generate(plan.clock, plan.keystore, purpose, first, boundary)
            .map_err(HsmError::io("make the device secret"))?;
        lineage::create(&self.nvram_lineage(), &fuses, &plan.first)?;
        fuses.burn(&self.fuses())?;
        let root_fingerprint = fuses.root().public_key().fingerprint();
        Ok(Initialised { hsm_id: fuses.hsm_id, root_fingerprint, platform, api_keys })
    }

    fn create_root(&self) -> Result<(), HsmError> {
        match std::fs::read_dir(&self.root) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    let refused = format!("{} is not empty; nothing was changed", self.root.display());
                    return Err(HsmError::Home(refused));
                }
                let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o700);
                std::fs::set_permissions(&self.root, owner_only)
                    .map_err(HsmError::io(format!("close {} to others", self.root.display())))
            }
            Err(_) => durable::create_folder(&self.root),
        }
    }

    /// Takes the HSM for this process alone and reads its fuses.
    pub fn claim(&self) -> Result<Claim, HsmError> {
        let lock = self.lock()?;
        Ok(Claim { fuses: Fuses::read(&self.fuses())?, lock })
    }

    /// Takes the HSM for this process alone, or says that another has it.
    pub fn lock(&self) -> Result<HomeLock, HsmError> {
        let path = self.fuses();
        let file = File::open(&path).map_err(|error| {
            HsmError::Home(format!("{} is not an initialised HSM: {error}", self.root.display()))
        })?;
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(HomeLock(file)),
                // A process that was just killed may still be going, or a child of it that had not begun yet.
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(LOCK_RETRY);
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(HsmError::Home(format!(
                        "another process runs the HSM in {}; stop it first",
                        self.root.display()
                    )));
                }
                Err(TryLockError::Error(error)) => return Err(HsmError::io("lock the HSM")(error)),
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use countersign_release::{Channel, Measurement, Version};

    pub(crate) fn plan() -> Initialisation {
        Initialisation {
            first: Release {
                measurement: Measurement::from_bytes([7; 48]),
                version: Version::new(1, 0, 0),
                channel: Channel::Development,
            },
            plan: Plan::Development,
            keystore: KeystoreKind::Embedded,
            softhsm_module: None,
            clock: ClockMode::Manual,
            tenants: vec![TenantName::parse("default").unwrap()],
            policy: None,
            machine: None,
        }
    }

    #[test]
    fn refuses_a_folder_that_is_not_empty() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        home.initialise(&plan()).unwrap();
        assert!(home.initialise(&plan()).unwrap_err().to_string().contains("not empty"));
    }

    #[test]
    fn only_one_process_has_the_hsm() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(&folder.path().join("hsm")).unwrap();
        assert!(home.lock().is_err(), "not initialised");
        home.initialise(&plan()).unwrap();
        let lock = home.lock().unwrap();
        assert!(home.lock().unwrap_err().to_string().contains("another process"));
        drop(lock);
        assert!(home.lock().is_ok());
    }
}
