//! What passes between firmware and plugin, written down by a library that is preloaded into the firmware: the one place
//! where every secret of a run comes by.

use crate::artefacts;
use countersign_wire::decode_packed;
use countersign_wire::frame::{self, HAL_MAX_BYTES};
use countersign_wire::hal::{Delivery, Event, Op, Output, Value};
use std::fs;
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;

/// The tap of one HSM. Its folder is no part of the HSM's.
#[derive(Clone)]
pub struct Tap {
    folder: Arc<TempDir>,
}

/// The secrets of a run.
#[derive(Default)]
pub struct Secrets {
    /// What the plugin's records are sealed under.
    pub sealing_keys: Vec<Vec<u8>>,
    /// TOTP secrets, and the keys that wallets' roots are made with.
    pub wrapped: Vec<Vec<u8>>,
    /// What codes are compared with; those of 64 bytes are wallets' roots: master key and chain code.
    pub macs: Vec<Vec<u8>>,
}

impl Tap {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("countersign-tap-").tempdir().expect("a folder");
        Self { folder: Arc::new(folder) }
    }

    pub(crate) fn preload(&self, command: &mut Command) {
        command.env("LD_PRELOAD", artefacts::faults());
        command.env("COUNTERSIGN_TAP", self.folder.path().join("tap"));
    }

    /// Every secret that came by so far.
    pub fn secrets(&self) -> Secrets {
        let streams: Vec<(String, Vec<u8>)> = fs::read_dir(self.folder.path())
            .expect("the folder is there")
            .map(|file| file.expect("its entries can be read").path())
            .map(|path| (path.display().to_string(), fs::read(&path).expect("its files can be read")))
            .collect();
        // The plugin's first word is that it has started: an empty message.
        let is_plugins = |bytes: &[u8]| bytes.starts_with(&[0, 0, 0, 1, 0xa0]);
        let said = streams.iter().find(|(name, bytes)| name.ends_with(".received") && is_plugins(bytes));
        let (name, said) = said.expect("the plugin said that it started");
        let told = name.replace(".received", ".sent");
        let (_, told) = streams.iter().find(|(name, _)| *name == told).expect("the firmware answered");
        let mut secrets = Secrets::default();
        for output in frames(said).filter_map(|frame| decode_packed::<Output>(frame).ok()) {
            if let Output::Call { op: Op::WrapMacKey { secret, .. }, .. } = output {
                secrets.wrapped.push(secret.expose().to_vec());
            }
        }
        for delivery in frames(told).filter_map(|frame| decode_packed::<Delivery>(frame).ok()) {
            match delivery.event {
                Event::Boot(boot) => secrets.sealing_keys.push(boot.sealing_key.expose().to_vec()),
                Event::Done { result: Ok(Value::Macs(macs)), .. } => {
                    secrets.macs.extend(macs.iter().map(|mac| mac.expose().to_vec()));
                }
                _ => {}
            }
        }
        secrets
    }
}

fn frames(mut stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (payload, used) = frame::split_first(stream, HAL_MAX_BYTES).expect("whole frames")?;
        stream = &stream[used..];
        Some(payload)
    })
}
