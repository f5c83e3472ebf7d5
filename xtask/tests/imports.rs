//! Imports run one way, and what is inside the image is known by name.
//!
//! `ARCHITECTURE.md` draws the houses; this keeps the doors between them where they are drawn.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What each crate of the workspace may import from the workspace.
const DIRECTIONS: &[(&str, &[&str])] = &[
    ("countersign-wire", &[]),
    ("countersign-intent", &["countersign-wire"]),
    // Devices outside link it too: it knows nothing else of the house.
    ("countersign-approvals", &[]),
    // The firmware makes attestations and the command line reads them; nothing of it is inside.
    ("countersign-attestation", &["countersign-approvals"]),
    ("countersign-tlog", &[]),
    ("countersign-policy", &["countersign-intent", "countersign-wire"]),
    (
        "countersign-plugin",
        &[
            "countersign-approvals",
            "countersign-intent",
            "countersign-policy",
            "countersign-tlog",
            "countersign-wire",
        ],
    ),
    ("countersign-image", &["countersign-plugin", "countersign-wire"]),
    // The image as a file: what builds it, signs it and checks it shares this, and it knows nothing of what is inside.
    ("countersign-release", &[]),
    ("countersign-release-build", &["countersign-release"]),
    (
        "countersign-simulator",
        &["countersign-approvals", "countersign-attestation", "countersign-release", "countersign-wire"],
    ),
    // A device checks what the HSM signed and works addresses out with the very code that runs inside.
    (
        "countersign-client",
        &["countersign-approvals", "countersign-intent", "countersign-tlog", "countersign-wire"],
    ),
    ("countersign-web", &["countersign-client", "countersign-wire"]),
    // The command line explains policies and makes addresses with the very code that runs inside.
    (
        "countersign-cli",
        &[
            "countersign-attestation",
            "countersign-client",
            "countersign-intent",
            "countersign-policy",
            "countersign-release",
            "countersign-release-build",
            "countersign-web",
            "countersign-wire",
        ],
    ),
    ("countersign-pkcs11", &["countersign-client", "countersign-wire"]),
    // Its people sign images.
    ("countersign-tests", &["countersign-client", "countersign-release", "countersign-wire"]),
    // It measures the plugin's own comparisons.
    ("countersign-timing", &["countersign-plugin", "countersign-wire"]),
    // It owns everything outside: no more than clients and files.
    (
        "countersign-attacks",
        &[
            "countersign-client",
            "countersign-edits",
            "countersign-release",
            "countersign-tests",
            "countersign-wire",
        ],
    ),
    ("countersign-edits", &[]),
    (
        "countersign-simulation",
        &[
            "countersign-approvals",
            "countersign-edits",
            "countersign-plugin",
            "countersign-policy",
            "countersign-tlog",
            "countersign-wire",
        ],
    ),
    ("countersign-faults", &[]),
    // It speaks as a plugin does.
    ("countersign-hostile", &["countersign-wire"]),
    // It calls every decoder there is.
    (
        "countersign-fuzz-checks",
        &[
            "countersign-approvals",
            "countersign-attestation",
            "countersign-client",
            "countersign-intent",
            "countersign-pkcs11",
            "countersign-plugin",
            "countersign-policy",
            "countersign-release",
            "countersign-simulation",
            "countersign-simulator",
            "countersign-tlog",
            "countersign-wire",
        ],
    ),
    (
        "xtask",
        &[
            "countersign-client",
            "countersign-edits",
            "countersign-release",
            "countersign-release-build",
            "countersign-wire",
        ],
    ),
];

/// What a crate may import on top of that in its own tests.
const IN_TESTS: &[(&str, &[&str])] = &[
    // Its stand-in for the plugin signs and seals as the plugin does.
    ("countersign-cli", &["countersign-approvals"]),
    ("countersign-simulator", &["countersign-plugin"]),
    // It turns its own features for tools on.
    ("countersign-policy", &["countersign-policy"]),
    // The benchmarks fill HSMs with accounts faster than a client could, and measure what reading and deciding takes.
    (
        "countersign-tests",
        &[
            "countersign-approvals",
            "countersign-intent",
            "countersign-plugin",
            "countersign-policy",
            // They pack, sign and compare images.
            "countersign-release",
            "countersign-simulator",
            "countersign-tlog",
        ],
    ),
];

/// Every crate that is linked into the plugin. None of them reads a file, a socket, a clock or the system's
/// randomness. A new one is a decision: look at what it does before it goes in here.
const INSIDE_THE_PLUGIN: &[&str] = &[
    "aead",
    "aes",
    "aes-gcm",
    "aho-corasick",
    "alloy-rlp",
    "arrayvec",
    "base16ct",
    "bech32",
    "block-buffer",
    "bs58",
    "bytes",
    "cedar-policy",
    "cedar-policy-core",
    "cedar-policy-formatter",
    "cfg-if",
    "chrono",
    "cipher",
    "cmov",
    "const-oid",
    "countersign-approvals",
    "countersign-intent",
    "countersign-plugin",
    "countersign-policy",
    "countersign-tlog",
    "countersign-wire",
    "cpubits",
    "cpufeatures",
    "crypto-bigint",
    "crypto-common",
    "ctr",
    "ctutils",
    "curve25519-dalek",
    "data-encoding",
    "der",
    "digest",
    "ecdsa",
    "ed25519",
    "ed25519-dalek",
    "either",
    "elliptic-curve",
    "equivalent",
    "ff",
    "foldhash",
    "futures-channel",
    "futures-core",
    "futures-executor",
    "futures-task",
    "futures-util",
    "ghash",
    "group",
    "half",
    "hashbrown",
    "hkdf",
    "hmac",
    "hpke",
    "hybrid-array",
    "indexmap",
    "inout",
    "itertools",
    "itoa",
    "k256",
    "keccak",
    "lalrpop-util",
    "libc",
    "linked-hash-map",
    "linked_hash_set",
    "logos",
    "memchr",
    "miette",
    "nonempty",
    "num-traits",
    "p256",
    "p384",
    "p521",
    "pin-project-lite",
    "polyval",
    "pretty",
    "primefield",
    "primeorder",
    "psm",
    "rand_core",
    "ref-cast",
    "regex",
    "regex-automata",
    "regex-syntax",
    "rfc6979",
    "ripemd",
    "ruint",
    "rustc-literal-escaper",
    "sec1",
    "semver",
    "serde",
    "serde_bytes",
    "serde_cbor_2",
    "serde_core",
    "serde_json",
    "serde_with",
    "sha2",
    "sha3",
    "signature",
    "slab",
    "smol_str",
    "sponge-cursor",
    "stacker",
    "subtle",
    "thiserror",
    "tinyvec",
    "typed-arena",
    "typenum",
    "unicode-normalization",
    "unicode-script",
    "unicode-security",
    "unicode-width",
    "universal-hash",
    "wnaf",
    "zerocopy",
    "zeroize",
    "zmij",
];

/// What the image adds: the system calls of its socket loop.
const INSIDE_THE_IMAGE_ALONE: &[&str] =
    &["bitflags", "countersign-image", "linux-raw-sys", "region", "rustix"];

/// Where the world begins. Nothing in `plugin/` (but for `image/`) or `policy/` may name any of these.
const OUTSIDE: &[&str] = &[
    "std::fs",
    "std::net",
    "std::os",
    "std::process",
    "std::env",
    "std::io",
    "std::thread",
    "std::time",
    "SystemTime",
    "Instant",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the root").to_owned()
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn listed(table: &'static [(&str, &[&str])], package: &str) -> Option<&'static [&'static str]> {
    table.iter().find(|(name, _)| *name == package).map(|(_, may)| *may)
}

/// The imports of one package that it may not have.
fn wrong_imports(package: &Value, workspace: &BTreeSet<String>) -> Vec<String> {
    let name = package["name"].as_str().unwrap();
    let may =
        listed(DIRECTIONS, name).unwrap_or_else(|| panic!("{name} has no place in the list of directions"));
    let in_tests = listed(IN_TESTS, name).unwrap_or_default();
    let dependencies = package["dependencies"].as_array().unwrap();
    dependencies
        .iter()
        .filter(|dependency| workspace.contains(dependency["name"].as_str().unwrap()))
        .filter(|dependency| {
            let imported = dependency["name"].as_str().unwrap();
            let for_tests = dependency["kind"] == "dev";
            !(may.contains(&imported) || for_tests && in_tests.contains(&imported))
        })
        .map(|dependency| format!("{name} imports {}", dependency["name"].as_str().unwrap()))
        .collect()
}

/// The crates that are linked into `package`, without what only runs while it is compiled.
fn linked_into(package: &str) -> BTreeSet<String> {
    let tree = cargo(&[
        "tree",
        "--locked",
        "-p",
        package,
        "-e",
        "normal,no-proc-macro",
        "--prefix",
        "none",
        "-f",
        "{p}",
    ]);
    tree.lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

fn assert_same(package: &str, expected: &BTreeSet<String>) {
    let found = linked_into(package);
    println!("linked into {package}: {}", found.iter().cloned().collect::<Vec<_>>().join(" "));
    let new: Vec<_> = found.difference(expected).collect();
    let gone: Vec<_> = expected.difference(&found).collect();
    assert!(new.is_empty(), "new inside {package}: {new:?}; look at what they do, then add them to the list");
    assert!(gone.is_empty(), "no longer inside {package}: {gone:?}; take them off the list");
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The lines before a file's unit tests that name the outside world.
fn names_of_the_outside(text: &str) -> Vec<String> {
    let code = text.lines().take_while(|line| line.trim() != "#[cfg(test)]");
    let without_comments = code.map(|line| line.split("//").next().unwrap_or_default());
    let names = |line: &&str| OUTSIDE.iter().any(|outside| line.contains(outside));
    without_comments.filter(names).map(str::to_owned).collect()
}

#[test]
fn imports_run_one_way() {
    let metadata = cargo(&["metadata", "--format-version", "1", "--no-deps", "--locked"]);
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let workspace: BTreeSet<_> = packages.iter().map(|p| p["name"].as_str().unwrap().to_owned()).collect();
    assert!(workspace.contains("countersign-plugin"), "{workspace:?}");
    let wrong: Vec<_> = packages.iter().flat_map(|package| wrong_imports(package, &workspace)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn an_import_against_the_direction_is_found() {
    let workspace = BTreeSet::from(["countersign-plugin".to_owned(), "countersign-wire".to_owned()]);
    let package = |name: &str, kind: Value| serde_json::json!({"name": name, "dependencies": [{"name": "countersign-plugin", "kind": kind}]});
    assert_eq!(wrong_imports(&package("countersign-client", Value::Null), &workspace).len(), 1);
    assert_eq!(wrong_imports(&package("countersign-simulator", Value::Null), &workspace).len(), 1);
    assert_eq!(wrong_imports(&package("countersign-client", "dev".into()), &workspace).len(), 1);
    assert_eq!(wrong_imports(&package("countersign-simulator", "dev".into()), &workspace).len(), 0);
}

#[test]
fn what_is_linked_into_the_plugin_is_known_by_name() {
    let expected = INSIDE_THE_PLUGIN.iter().map(ToString::to_string).collect();
    assert_same("countersign-plugin", &expected);
}

#[test]
fn what_is_linked_into_the_image_is_known_by_name() {
    let all = INSIDE_THE_PLUGIN.iter().chain(INSIDE_THE_IMAGE_ALONE);
    assert_same("countersign-image", &all.map(ToString::to_string).collect());
}

#[test]
fn plugin_and_policy_never_name_the_outside_world() {
    for folder in [
        "plugin/src",
        "plugin/wire/src",
        "plugin/intent/src",
        "plugin/approvals/src",
        "plugin/release/src",
        "plugin/tlog/src",
        "policy/src",
    ] {
        let mut files = Vec::new();
        rust_files(&root().join(folder), &mut files);
        assert!(!files.is_empty(), "{folder}");
        for file in files.iter().filter(|file| !file.ends_with("tests.rs")) {
            let found = names_of_the_outside(&fs::read_to_string(file).unwrap());
            assert!(found.is_empty(), "{}: {found:?}", file.display());
        }
    }
    let bad =
        "use std::fs::File; // opens\n// std::net in a comment\n#[cfg(test)]\nuse std::time::Instant;\n";
    assert_eq!(names_of_the_outside(bad), ["use std::fs::File; "]);
}

#[test]
fn plugin_and_policy_forbid_unsafe_code() {
    for file in [
        "plugin/src/lib.rs",
        "plugin/intent/src/lib.rs",
        "plugin/approvals/src/lib.rs",
        "plugin/release/src/lib.rs",
        "plugin/release/build/src/lib.rs",
        "plugin/tlog/src/lib.rs",
        "policy/src/lib.rs",
        "plugin/image/src/main.rs",
        "plugin/wire/src/lib.rs",
    ] {
        let text = fs::read_to_string(root().join(file)).unwrap();
        assert!(text.contains("#![forbid(unsafe_code)]"), "{file}");
    }
}
