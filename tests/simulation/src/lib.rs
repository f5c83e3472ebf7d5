//! Deterministic simulation of the Countersign plugin.
//!
//! The real plugin core runs over a simulated disk, NVRAM, keystore, RNG and clock, with simulated clients, driven by
//! one seed: the same seed is the same history, to the byte. Checkers judge it.
//!
//! # Where things are
//! | module | what |
//! | --- | --- |
//! | [`world`] | one history: opens with the fault model |
//! | [`choices`] | what a history is drawn from: a seed, or a script |
//! | [`weather`] | how often what goes wrong in one history |
//! | [`firmware`], [`disk`], [`keystore`], [`clock`] | the hardware, step by step |
//! | [`damage`] | the attacker at the disk |
//! | [`clients`] | the workload |
//! | [`owners`] | users with devices of their own, in histories that have such |
//! | [`history`] | what happened; its hash; how often what |
//! | [`checkers`] | the invariants, one checker each |
//! | [`seeds`] | many histories on all cores |
//! | [`breaks`] | the plugin broken on purpose, and what must find it |

#![forbid(unsafe_code)]

pub mod breaks;
pub mod checkers;
pub mod choices;
pub mod clients;
pub mod clock;
pub mod damage;
pub mod disk;
pub mod firmware;
pub mod history;
pub mod keystore;
pub mod money;
pub mod owners;
pub mod seeds;
pub mod weather;
pub mod world;
