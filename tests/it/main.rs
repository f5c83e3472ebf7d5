//! Tests across the whole. One binary, since linking costs more than running.
//!
//! Each module holds the tests of one subject; each test runs HSMs of its own.

mod approvals;
mod attestation;
mod cli;
mod crash;
mod devices;
mod disk_faults;
mod doctor;
mod enrolment;
mod escape;
mod frames;
mod image;
mod intents;
mod limits;
mod load;
mod log;
mod malicious_relay;
mod native_races;
mod newcomer;
mod node;
mod observed;
mod page;
mod pkcs11_calls;
mod pkcs11_clients;
mod pkcs11_documented;
mod pkcs11_examples;
mod pkcs11_lifecycle;
mod prior_art;
mod refusals;
mod release;
mod rollback;
mod sandbox;
mod scan;
mod secrets;
mod signing;
mod tenants;
mod velocity;
mod vm;
mod withdrawal;
