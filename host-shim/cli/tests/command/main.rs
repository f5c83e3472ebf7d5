//! The command line as a program or a person meets it: the real binary against a stand-in for the HSM.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall end")]

mod commands;
mod device;
mod documentation;
#[path = "../../../client/src/device/fake.rs"]
mod fake;
#[path = "../../../client/src/fake_hsm.rs"]
mod fake_hsm;
mod intents;
mod place;
mod policy;
mod refusals;
mod relay;
