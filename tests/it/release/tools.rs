//! `countersign image`, as those use it who release images and those who check them.

use countersign_release::Channel;
use countersign_tests::artefacts;
use countersign_tests::cli::run_command;
use countersign_tests::people::{Stage, THRESHOLD, countersign, measurement, signatures_of};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn an_image_is_inspected_signed_and_verified() {
    let stage = Stage::set_up();
    let image = stage.image_file("one.image", &stage.packed(1, Channel::Release, &[]));
    let keys = stage.release_keys();
    let paths = [image.as_path(), Path::new("--release-keys"), &keys];
    let verify = || countersign(&["image", "verify", "--threshold", THRESHOLD], &paths);
    let refused = verify();
    assert_eq!((refused.code, refused.json["refused"].as_str()), (3, Some("image-unsigned")));
    assert_eq!(refused.json["by"], "command");
    stage.sign(&image, &["alice"]);
    let refused = verify();
    assert_eq!((refused.code, refused.json["refused"].as_str()), (3, Some("too-few-people")));
    let again = countersign(&["image", "sign"], &[&image, Path::new("--key"), &stage.file("alice")]);
    assert_eq!(again.code, 2, "a key signs once: {}", again.stdout);
    stage.sign(&image, &["carol"]);
    let verified = verify();
    assert_eq!((verified.code, &verified.json["signed_by"]), (0, &serde_json::json!(["alice", "carol"])));
    let shown = countersign(&["image", "inspect"], &[&image]).json;
    assert_eq!(shown["measurement"], measurement(&image).to_hex());
    assert_eq!(
        (shown["signatures"].as_u64(), shown["manifest"]["channel"].as_str()),
        (Some(2), Some("release"))
    );
}

#[test]
fn what_is_signed_is_told_before_and_what_openssh_verifies_too() {
    let stage = Stage::set_up();
    let first = stage.image_file("first.image", &stage.packed(6, Channel::Release, &[]));
    let told = countersign(&["image", "sign"], &[&first, Path::new("--key"), &stage.file("bob")]);
    assert!(told.stderr.contains("takes over no other image's state"), "{}", told.stderr);
    let image = stage.image_file("one.image", &stage.packed(7, Channel::Release, &[measurement(&first)]));
    let signed = countersign(&["image", "sign"], &[&image, Path::new("--key"), &stage.file("bob")]);
    let message = format!(
        "countersign image release v1\nmeasurement {}\nversion 7.0.0\nchannel release\n",
        measurement(&image)
    );
    let before = signed.stderr.split_once(&message).expect("the message is shown").0;
    assert!(before.contains(&format!("succeeds {}\n", measurement(&first))), "{}", signed.stderr);
    assert_eq!(signed.json["succeeds"], serde_json::json!([measurement(&first)]));
    let text = stage.file("message");
    fs::write(&text, message).expect("it can be written");
    let verified = Command::new("ssh-keygen")
        .args(["-Y", "verify", "-n", "countersign-image", "-I", "bob", "-f"])
        .arg(stage.release_keys())
        .arg("-s")
        .arg(signatures_of(&image))
        .stdin(fs::File::open(text).expect("it can be read"))
        .output()
        .expect("ssh-keygen can be started");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}

#[test]
fn a_key_in_an_agent_signs_by_its_public_half() {
    let stage = Stage::set_up();
    let image = stage.image_file("one.image", &stage.packed(1, Channel::Release, &[]));
    // The agent ends with the command that it runs.
    let mut agent = Command::new("ssh-agent");
    agent.args([
        "sh",
        "-c",
        "ssh-add -q \"$1\" && rm \"$1\" && exec \"$0\" --json image sign \"$2\" --key \"$1.pub\"",
    ]);
    agent.arg(artefacts::cli()).arg(stage.file("alice")).arg(&image);
    let signed = run_command(&mut agent, None);
    assert_eq!(signed.code, 0, "{}{}", signed.stdout, signed.stderr);
    assert!(!stage.file("alice").exists(), "the private half was in the agent alone");
    stage.sign(&image, &["bob"]);
    let keys = stage.release_keys();
    let verified = countersign(
        &["image", "verify", "--threshold", THRESHOLD],
        &[&image, Path::new("--release-keys"), &keys],
    );
    assert_eq!(verified.json["signed_by"], serde_json::json!(["alice", "bob"]));
}

#[test]
fn development_images_are_not_signed() {
    let stage = Stage::set_up();
    let image = artefacts::image();
    let refused = countersign(&["image", "sign"], &[&image, Path::new("--key"), &stage.file("alice")]);
    assert_eq!((refused.code, refused.json["refused"].as_str()), (3, Some("development-image")));
    assert!(!signatures_of(&image).exists());
}

#[test]
fn the_first_difference_of_two_images_is_named() {
    let stage = Stage::set_up();
    let one = stage.image_file("one.image", &stage.packed(1, Channel::Release, &[]));
    let two = stage.image_file("two.image", &stage.packed(2, Channel::Release, &[]));
    let same = countersign(&["image", "compare"], &[&one, &one]);
    assert_eq!((same.code, same.json["same"].as_bool()), (0, Some(true)));
    let other = countersign(&["image", "compare"], &[&one, &two]);
    assert_eq!((other.code, other.json["differs"]["manifest"]["pointer"].as_str()), (3, Some("/version")));
    let mut bytes = fs::read(&one).expect("it can be read");
    let place = bytes.len() / 2;
    bytes[place] ^= 1;
    let changed = stage.image_file("changed.image", &bytes);
    let found = countersign(&["image", "compare"], &[&one, &changed]);
    assert_eq!(found.json["differs"]["file_offset"], place);
    assert!(
        found.json["differs"]["elf"]["section"].as_str().is_some_and(|name| name.starts_with('.')),
        "{}",
        found.stdout
    );
}

#[test]
fn the_bill_of_materials_is_exactly_what_is_linked_into_the_image() {
    let shown = countersign(&["image", "inspect"], &[&artefacts::image()]).json;
    let sbom = &shown["manifest"]["sbom"];
    assert_eq!((sbom["bomFormat"].as_str(), sbom["specVersion"].as_str()), (Some("CycloneDX"), Some("1.6")));
    assert_eq!(sbom["metadata"]["component"]["name"], "countersign-image");
    let components = sbom["components"].as_array().expect("a list");
    let crates: BTreeSet<_> = components
        .iter()
        .filter(|one| one["type"] == "library" && one["name"] != "rust-std")
        .map(|one| {
            format!(
                "{} v{}",
                one["name"].as_str().expect("a name"),
                one["version"].as_str().expect("a version")
            )
        })
        .collect();
    let tree = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "tree",
            "--locked",
            "-p",
            "countersign-image",
            "-e",
            "normal,no-proc-macro",
            "--prefix",
            "none",
        ])
        .args(["-f", "{p}"])
        .current_dir(artefacts::workspace())
        .output()
        .expect("cargo can be started");
    let tree = String::from_utf8(tree.stdout).expect("UTF-8");
    let words = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let linked: BTreeSet<_> = tree
        .lines()
        .filter(|line| !line.is_empty())
        .map(words)
        .filter(|name| !name.starts_with("countersign-image "))
        .collect();
    assert_eq!(crates, linked);
    let checked = components
        .iter()
        .filter(|one| one["purl"].as_str().is_some_and(|purl| purl.starts_with("pkg:cargo/")));
    assert!(checked.clone().count() > 50);
    for one in checked {
        assert_eq!(one["hashes"][0]["alg"], "SHA-256", "{one}");
        assert!(one["licenses"][0]["expression"].is_string(), "{one}");
    }
    for file in ["libc.a", "rcrt1.o"] {
        assert!(
            components.iter().any(|one| one["name"] == file && one["hashes"][0]["content"].is_string()),
            "{file}"
        );
    }
}
