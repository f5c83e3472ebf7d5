//! What each fuzz target checks: one function of any bytes, which panics when a property is breached and says whether the
//! bytes were taken by a decoder. A fuzzer calls them (`tests/fuzz/targets`), and so does a test over the saved corpora.
//!
//! The properties stand beside the decoders, in modules named `properties`; here is only what they are called together.

#![forbid(unsafe_code)]

pub mod seeds;

use countersign_approvals::properties as approvals;
use countersign_attestation::properties as attestation;
use countersign_intent::{bip32, bitcoin, ethereum};
use countersign_plugin::store;
use countersign_release::properties as release;
use countersign_simulator::properties as firmware;
use countersign_tlog::properties as log;
use countersign_wire::properties as wire;
use sha1::{Digest, Sha1};
use std::path::PathBuf;

/// The stack of the plugin, in bytes: what a policy may need to be read and asked.
const PLUGIN_STACK_BYTES: usize = 512 * 1024;

/// The longest history, in the bytes of its script.
const SCRIPT_MAX_BYTES: usize = 2048;

/// One fuzz target.
#[derive(Clone, Copy)]
pub struct Target {
    /// The name of its file in `tests/fuzz/targets` and of its folder in `tests/fuzz/corpus`.
    pub name: &'static str,
    /// What it checks.
    pub check: fn(&[u8]) -> bool,
}

macro_rules! targets {
    ($($(#[$doc:meta])* $name:ident($bytes:ident) $check:block)*) => {
        /// Every target there is.
        pub const TARGETS: &[Target] = &[$(Target { name: stringify!($name), check: $name }),*];
        $($(#[$doc])* pub fn $name($bytes: &[u8]) -> bool $check)*
    };
}

targets! {
    /// What browsers and authenticators say of passkeys, and their signatures.
    approvals_passkeys(bytes) {
        approvals::check_client_data(bytes) | approvals::check_authenticator_data(bytes) | approvals::check_der(bytes)
    }

    /// What devices and the plugin sign and seal.
    approvals_statements(bytes) {
        approvals::check_statement(bytes) | approvals::check_codes(bytes) | approvals::check_public_key(bytes)
    }

    /// Attestations, and the claims in them.
    attestation_tokens(bytes) {
        attestation::check_token(bytes) | attestation::claims_have_one_encoding(bytes)
    }

    /// PSBTs, version 0 and 2, and their reviews.
    bitcoin_psbt(bytes) { bitcoin::properties::check_psbt(bytes) }

    /// Extended public keys, paths, output scripts, descriptors.
    bitcoin_texts(bytes) { bip32::properties::check_keys(bytes) | bitcoin::properties::check_script(bytes) }

    /// `host.toml`, `tenants.toml`, `policy.toml`.
    config_files(bytes) {
        text(bytes).is_some_and(|text| {
            countersign_client::properties::check_host_toml(text)
                | firmware::check_tenants_toml(text)
                | countersign_policy::properties::check_policy_toml(text)
        })
    }

    /// Calls of token contracts.
    ethereum_calldata(bytes) { ethereum::properties::check_calldata(bytes) }

    /// EIP-191 messages.
    ethereum_message(bytes) { ethereum::properties::check_message(bytes) }

    /// Transactions of the types 0 to 4.
    ethereum_transaction(bytes) { ethereum::properties::check_transaction(bytes) }

    /// EIP-712 typed data.
    ethereum_typed_data(bytes) { ethereum::properties::check_typed_data(bytes) }

    /// NVRAM slots, fuses.
    firmware_files(bytes) { firmware::check_slot(bytes) | firmware::check_fuses(bytes) }

    /// Checkpoints, notes, keys, proofs, bundles of the audit log.
    log_files(bytes) { text(bytes).is_some_and(log::check_text) | log::check_bundle(bytes) }

    /// What a backend gives as the context-specific PIN of a signature.
    pkcs11_context_pin(bytes) { countersign_pkcs11::properties::check_context_pin(bytes) }

    /// What sealed records hold.
    plugin_records(bytes) {
        countersign_plugin::properties::check_record(bytes) | countersign_policy::properties::check_state(bytes)
    }

    /// Requests in any order, under crashes, faults and damage: a history that the bytes tell, judged by the simulation's checkers.
    plugin_requests(bytes) {
        let script = &bytes[..bytes.len().min(SCRIPT_MAX_BYTES)];
        match countersign_simulation::seeds::run_script(script) {
            Ok(ran) => ran.coverage.of("answered: signed") > 0,
            Err(failure) => panic!("{}: {}\n{}", failure.violation.invariant, failure.violation.seen, failure.tail),
        }
    }

    /// The store's log, and the plugin's content of NVRAM.
    plugin_store(bytes) { store::properties::check_nvram(bytes) | store::properties::check_log(bytes) }

    /// Policy documents.
    policy_document(bytes) { on_the_plugins_stack(|| countersign_policy::properties::check_document(bytes)) }

    /// The rules of a policy.
    policy_rules(bytes) {
        text(bytes).is_some_and(|text| on_the_plugins_stack(|| countersign_policy::properties::check_rules(text)))
    }

    /// Image, its signatures, release keys, a lineage.
    release_files(bytes) {
        release::check_image(bytes)
            | release::check_signatures(bytes)
            | release::check_release_keys(bytes)
            | release::check_lineage(bytes)
    }

    /// Requests and replies between host and plugin.
    wire_client(bytes) { wire::check_client(bytes) }

    /// Frames.
    wire_frames(bytes) { wire::check_frames(bytes) }

    /// Messages between plugin and firmware.
    wire_hal(bytes) { wire::check_hal(bytes) }

    /// Names, API keys, codes, paths.
    wire_texts(bytes) { wire::check_texts(bytes) | countersign_plugin::properties::check_code(bytes) }
}

/// Where a target's saved corpus lies.
pub fn corpus(target: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../corpus")).join(target)
}

/// The name of a file of a corpus: the SHA-1 of what is in it, as libFuzzer names them.
pub fn name_of(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha1::digest(bytes))
}

fn text(bytes: &[u8]) -> Option<&str> {
    core::str::from_utf8(bytes).ok()
}

/// An overflow ends the whole process, which no one can miss.
fn on_the_plugins_stack(check: impl FnOnce() -> bool + Send) -> bool {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(PLUGIN_STACK_BYTES).spawn_scoped(scope, check);
        thread.expect("a thread").join().expect("the check says what was breached")
    })
}
