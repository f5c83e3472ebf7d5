//! The HSM that the plugin runs in, as a program: `countersign-hsm`.
//!
//! It is the firmware of the boundary. It measures the image and runs it in a sandbox, and it offers the plugin
//! what an HSM has: a keystore, NVRAM, a clock, randomness, an untrusted disk and a way to its clients.
//!
//! Principles:
//! * The bytes that were measured are the bytes that run: both live in sealed memory, hashed after sealing.
//! * The firmware decides nothing about codes, keys and policy. It carries requests in and replies out; where the operator
//!   wants metrics, it reads which act they are and which reason they have, and nothing else.
//! * Nothing is said to be done before it is durable; after a failed write nothing is believed until a restart.
//! * A sandbox layer that is missing stops the start, unless the operator said otherwise, and then it is attested.
//! * Only the firmware's own processes may connect to the plugin; clients prove their user id to the kernel.
//!
//! Modules, from the outside in:
//! * [`cli`]: the command line; [`ceremony`]: what the operator sets up; [`home`]: the folder of one HSM.
//! * [`supervisor`]: starts the plugin, watches it, starts it again; [`hardening`] of the firmware itself.
//! * [`trust`]: which images this HSM takes; [`lineage`]: whose state it has, and to which image its key opens.
//! * [`boundary`]: what the plugin runs in: [`sandbox`], or a virtual machine ([`vm`]).
//! * [`image`]: seals the image; [`sandbox`]: runs it with nothing but a socket.
//! * [`listener`] and [`control`]: the sockets; [`places`]: whose connections there are; [`relay`] and [`link`]: between clients, plugin and workers.
//! * [`ops`]: does what the plugin asks, over [`keystore`], [`store`], [`nvram`] and [`clock`]; usable in process.
//! * [`attestation`]: what the HSM says of itself, signed down from its root.
//! * [`observe`]: metrics, health and traces; [`log`]: lines for people, or for programs.
//! * [`fuses`]: what is fixed at initialisation; [`durable`]: files that are on the disk when a call returns.

pub mod attestation;
pub mod boundary;
pub mod ceremony;
pub mod cli;
pub mod clock;
pub mod control;
pub mod durable;
pub mod error;
pub mod fuses;
pub mod hardening;
pub mod home;
pub mod image;
pub mod keystore;
pub mod lineage;
pub mod link;
pub mod listener;
pub mod log;
pub mod nvram;
pub mod observe;
pub mod ops;
pub mod places;
#[cfg(feature = "properties")]
pub mod properties;
pub mod relay;
pub mod sandbox;
pub mod store;
pub mod supervisor;
pub mod trust;
pub mod vm;

pub use error::HsmError;
