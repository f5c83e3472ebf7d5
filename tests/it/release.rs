//! Images for release: who must have signed them, which one has the state, and how the state moves on.
//!
//! The images are all made of the one executable under test: packed again with another version, channel or predecessors, and signed
//! with throw-away keys by the command line.
//!
//! * [`refusals`]: each refusal by its word.
//! * [`upgrades`]: the state moves along the lineage, whatever interrupts it.
//! * [`tools`]: `countersign image`.

mod refusals;
mod tools;
mod upgrades;
