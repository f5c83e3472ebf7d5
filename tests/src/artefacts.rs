//! The programs under test. `cargo xtask test` builds them and says where they are.

use std::path::PathBuf;

fn named(variable: &str) -> PathBuf {
    let path = PathBuf::from(std::env::var_os(variable).unwrap_or_else(|| {
        panic!("{variable} is not set: run `cargo xtask test`, which builds what the tests need and says where it is")
    }));
    assert!(path.is_absolute() && path.exists(), "{variable} names {}, which is not there", path.display());
    path
}

/// The frozen image.
pub fn image() -> PathBuf {
    named("COUNTERSIGN_TEST_IMAGE")
}

/// `countersign-hsm`.
pub fn hsm() -> PathBuf {
    named("COUNTERSIGN_TEST_HSM")
}

/// `countersign`.
pub fn cli() -> PathBuf {
    named("COUNTERSIGN_TEST_CLI")
}

/// `libcountersign_pkcs11.so`.
pub fn module() -> PathBuf {
    named("COUNTERSIGN_TEST_MODULE")
}

/// `libcountersign_faults.so`.
pub fn faults() -> PathBuf {
    named("COUNTERSIGN_TEST_FAULTS")
}

/// A Python interpreter that has what `xtask/python-requirements.txt` names, in a virtual environment.
pub fn python() -> PathBuf {
    named("COUNTERSIGN_TEST_PYTHON")
}

/// The folder with the scripts of `tests/node` and the libraries that they use.
pub fn node() -> PathBuf {
    named("COUNTERSIGN_TEST_NODE")
}

/// The folder with the user's page, as it is served.
pub fn page() -> PathBuf {
    named("COUNTERSIGN_TEST_PAGE")
}

/// The kernel and the first root of a virtual machine.
pub fn machine() -> [PathBuf; 2] {
    ["COUNTERSIGN_TEST_VM_KERNEL", "COUNTERSIGN_TEST_VM_ROOT"].map(named)
}

/// Whether every HSM's plugin is to run in a virtual machine.
pub fn all_in_machines() -> bool {
    std::env::var_os("COUNTERSIGN_TEST_BOUNDARY").is_some_and(|word| word == "vm")
}

/// `promtool`, which checks alerts.
pub fn promtool() -> PathBuf {
    named("COUNTERSIGN_TEST_PROMTOOL")
}

/// The program that tries to get out of the sandbox, to be run outside.
pub fn hostile_elf() -> PathBuf {
    named("COUNTERSIGN_TEST_HOSTILE_ELF")
}

/// The same as an image.
pub fn hostile_image() -> PathBuf {
    named("COUNTERSIGN_TEST_HOSTILE_IMAGE")
}

/// The plugin's comparisons, for a meter to count.
pub fn timing() -> PathBuf {
    named("COUNTERSIGN_TEST_TIMING")
}

/// The workspace's folder.
pub fn workspace() -> PathBuf {
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the tests' folder lies in the workspace's").to_owned()
}
