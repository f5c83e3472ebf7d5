//! The state moves from one signed image to the next, and never back.

use countersign_release::Channel;
use countersign_tests::backend::{digest, reason};
use countersign_tests::faults::{Fault, Moment};
use countersign_tests::people::{Stage, measurement, refused, word};
use countersign_tests::{Hsm, User};
use countersign_wire::client::Mechanism::Digest;
use countersign_wire::reason::Reason;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// The time in which the one failure of [`signs`] is forgiven.
const HALF_A_DAY_SECS: u64 = 12 * 3600;

/// Runs the HSM with this image and signs with the user's next code, whose account was there before; stops it.
fn signs(hsm: &mut Hsm, image: &Path, user: &User, number: u8) {
    image.clone_into(&mut hsm.image);
    hsm.run();
    assert_eq!(hsm.ready().measurement, measurement(image).to_hex());
    let code = user.phone.code(hsm.advance(HALF_A_DAY_SECS));
    hsm.sign(user, digest(number), &code).expect("the account is there, and its code signs");
    assert_eq!(reason(hsm.sign(user, digest(number + 1), &code)), Reason::CodeUsed);
    hsm.stop();
}

/// An HSM with one user, stopped.
fn with_user(stage: &Stage, image: &Path) -> (Hsm, User) {
    let mut hsm = stage.init(image);
    hsm.run();
    let alice = hsm.user("alice", &[Digest]);
    hsm.stop();
    (hsm, alice)
}

fn done(hsm: &mut Hsm, image: &Path) -> Value {
    let output = hsm.upgrade(image);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

#[test]
fn i12_the_state_moves_along_the_lineage_and_no_older_image_opens_it_again() {
    let stage = Stage::set_up();
    let one = stage.signed("one.image", 1, &[]);
    let two = stage.signed("two.image", 2, &[measurement(&one)]);
    let three = stage.signed("three.image", 3, &[measurement(&one), measurement(&two)]);
    let (mut hsm, alice) = with_user(&stage, &one);
    assert_eq!(refused(&mut hsm, &two), "image-not-in-lineage", "not before the upgrade");
    let told = done(&mut hsm, &two);
    assert_eq!(
        (told["from"].as_str(), told["version"].as_str()),
        (Some(measurement(&one).to_hex().as_str()), Some("2.0.0"))
    );
    assert_eq!((told["steps"].as_u64(), &told["signed_by"]), (Some(1), &serde_json::json!(["alice", "bob"])));
    assert_eq!(told["already"], false);
    let again = done(&mut hsm, &two);
    assert_eq!(
        (again["steps"].as_u64(), &again["already"]),
        (Some(1), &serde_json::json!(true)),
        "once more"
    );
    assert_eq!(again["from"], again["measurement"]);
    signs(&mut hsm, &two, &alice, 1);
    assert_eq!(refused(&mut hsm, &one), "version-below-floor", "an old image with a new state");
    assert_eq!(done(&mut hsm, &three)["steps"], 2);
    signs(&mut hsm, &three, &alice, 3);
    for old in [&one, &two] {
        assert_eq!(refused(&mut hsm, old), "version-below-floor");
        assert_eq!(word(&hsm.upgrade(old)), "version-below-floor");
    }
    signs(&mut hsm, &three, &alice, 5);
}

#[test]
fn i12_refuses_every_upgrade_off_the_lineage_and_goes_on_with_the_old_image() {
    let stage = Stage::set_up();
    let one = stage.signed("one.image", 2, &[]);
    let own = measurement(&one);
    let (mut hsm, alice) = with_user(&stage, &one);
    let same_version = stage.signed("same.image", 2, &[own]);
    let lower = stage.signed("lower.image", 1, &[own]);
    let stranger = stage.signed("stranger.image", 3, &[measurement(&lower)]);
    let unsigned = stage.image_file("unsigned.image", &stage.packed(3, Channel::Release, &[own]));
    let by_one = stage.image_file("by-one.image", &stage.packed(4, Channel::Release, &[own]));
    stage.sign(&by_one, &["carol"]);
    let development = stage.image_file("development.image", &stage.packed(5, Channel::Development, &[own]));
    let before = fs::read(hsm.home().join("nvram/lineage")).expect("the lineage");
    for (image, expected) in [
        (&same_version, "version-below-floor"),
        (&lower, "version-below-floor"),
        (&stranger, "image-not-in-lineage"),
        (&unsigned, "image-unsigned"),
        (&by_one, "too-few-people"),
        (&development, "development-image"),
    ] {
        assert_eq!(word(&hsm.upgrade(image)), expected, "{}", image.display());
        assert_eq!(
            fs::read(hsm.home().join("nvram/lineage")).expect("the lineage"),
            before,
            "nothing changed"
        );
    }
    assert_eq!(done(&mut hsm, &one)["already"], true, "the image that has the state");
    assert_eq!(fs::read(hsm.home().join("nvram/lineage")).expect("the lineage"), before, "nothing changed");
    signs(&mut hsm, &one, &alice, 1);
}

#[test]
fn an_hsm_that_runs_is_not_upgraded() {
    let stage = Stage::set_up();
    let one = stage.signed("one.image", 1, &[]);
    let two = stage.signed("two.image", 2, &[measurement(&one)]);
    let mut running = stage.init(&one);
    running.run();
    let output = std::process::Command::new(countersign_tests::artefacts::hsm())
        .args(["upgrade", "--home"])
        .arg(running.home())
        .arg("--image")
        .arg(&two)
        .output()
        .expect("countersign-hsm can be started");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("another process"));
}

/// What the two slots of the lineage hold: length and content, without the sequence and the checksum over it.
fn slots(lineage: &Path) -> [Vec<u8>; 2] {
    let file = fs::read(lineage).expect("the lineage");
    let (first, second) = file.split_at(file.len() / 2);
    [first, second].map(|slot| slot[8..slot.len() - 32].to_vec())
}

#[test]
fn i12_an_upgrade_whose_syncs_fail_is_finished_by_the_same_upgrade() {
    let stage = Stage::set_up();
    let one = stage.signed("one.image", 1, &[]);
    let two = stage.signed("two.image", 2, &[measurement(&one)]);
    let (hsm, alice) = with_user(&stage, &one);
    let (mut hsm, faults) = hsm.with_faults();
    faults.set(Fault::SyncFails, &hsm.home());
    let failed = hsm.upgrade(&two);
    faults.clear();
    let said = String::from_utf8_lossy(&failed.stderr);
    assert_eq!(failed.status.code(), Some(1), "{said}");
    assert!(said.contains("the same upgrade once more finishes it"), "{said}");
    assert_eq!(done(&mut hsm, &two)["steps"], 1);
    let lineage: PathBuf = hsm.home().join("nvram/lineage");
    let [first, second] = slots(&lineage);
    assert_eq!(first, second, "nothing is left that opens to the old image");
    assert_eq!(refused(&mut hsm, &one), "version-below-floor");
    signs(&mut hsm, &two, &alice, 1);
}

#[test]
fn i12_an_upgrade_killed_at_any_write_leaves_the_old_image_working_or_the_new_one() {
    let stage = Stage::set_up();
    let one = stage.signed("one.image", 1, &[]);
    let two = stage.signed("two.image", 2, &[measurement(&one)]);
    let (hsm, alice) = with_user(&stage, &one);
    let (mut hsm, faults) = hsm.with_faults();
    let lineage = hsm.home().join("nvram/lineage");
    let old = fs::read(&lineage).expect("the lineage");
    done(&mut hsm, &two);
    let [upgraded, _] = slots(&lineage);
    fs::write(&lineage, &old).expect("the lineage can be put back");
    let [initial, _] = slots(&lineage);
    let (mut number, mut left_old, mut left_new) = (1, 0, 0);
    for moment in [Moment::Before, Moment::Half, Moment::After] {
        for nth in 1.. {
            faults.set(Fault::Kill(moment, nth), &hsm.home());
            let killed = hsm.upgrade(&two).status.code().is_none();
            faults.clear();
            let interrupted = fs::read(&lineage).expect("the lineage");
            let (working, other, word, held) = if refuses(&mut hsm, &one) {
                left_new += usize::from(killed);
                (&two, &one, "version-below-floor", &upgraded)
            } else {
                assert!(killed, "an upgrade that was not killed is done");
                left_old += 1;
                (&one, &two, "image-not-in-lineage", &initial)
            };
            assert_eq!(
                &slots(&lineage),
                &[held.clone(), held.clone()],
                "killed {moment:?} write {nth}: both slots"
            );
            assert_eq!(
                refused(&mut hsm, other),
                word,
                "killed {moment:?} write {nth}: one of them, and not both"
            );
            signs(&mut hsm, working, &alice, number);
            number += 2;
            fs::write(&lineage, interrupted).expect("the lineage can be put back as the kill left it");
            assert_eq!(done(&mut hsm, &two)["steps"], 1, "killed {moment:?} write {nth}: once more");
            assert_eq!(
                slots(&lineage),
                [upgraded.clone(), upgraded.clone()],
                "killed {moment:?} write {nth}"
            );
            fs::write(&lineage, &old).expect("the lineage can be put back for the next round");
            if !killed {
                break;
            }
        }
    }
    eprintln!("{left_old} kills left the old image, {left_new} the new one");
    assert!(left_old >= 2 && left_new >= 2, "kills fell before the write that decides, and after it");
}

/// Whether the HSM does not take this image any more.
fn refuses(hsm: &mut Hsm, image: &Path) -> bool {
    image.clone_into(&mut hsm.image);
    let served = hsm.try_run();
    if served.is_ok() {
        hsm.stop();
    }
    served.is_err()
}
