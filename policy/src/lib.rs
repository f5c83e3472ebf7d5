//! Who may sign what, how much of it, and to whom.
//!
//! A [`Policy`] is read from one canonical [`Document`] and answers one [`Question`] about one decoded intent, before any
//! code is touched: [`Decision::Permit`] with the rule's name and what has to be booked, or [`Decision::Deny`] with the
//! reason and what would help. It has no I/O and no clock, sees no factors, and can never stand in for one.
//!
//! * **Rules** are Cedar, checked strictly against a schema when they are loaded. What no rule permits is denied; any
//!   failure of any rule denies.
//! * **Limits** are declared beside the rules and compared here, as 256-bit integers: Cedar's are 64 bits. Rules see their
//!   outcomes as a set of names.
//! * **What the boundary decides itself** no policy can loosen: what cannot be decoded needs a key made for digests; a
//!   Bitcoin key signs for its network alone; what is not declared is refused unless the document says otherwise.
//! * **Deterministic**: the same document, state, time and intent give the same answer, down to the rule that is named.
//!
//! | module | holds |
//! | --- | --- |
//! | [`document`] | the document: what is declared, the bounds, its canonical bytes |
//! | `caps` | what the rules' text may be before Cedar's parser sees it |
//! | `rules`, `picture` | Cedar: loading, and what it is asked |
//! | `facts` | an intent as policies see it |
//! | `limits`, [`ledger`], `booking` | how much: what counts, what was booked, what has to be booked |
//! | [`payees`] | to whom: the addresses that an account is known to pay |
//! | `decide` | the decision, top to bottom |
//! | `development` | the policy of an HSM that was given none |
//! | `tool` | outside the boundary: pack, check, test, explain, format |

#![forbid(unsafe_code)]

mod booking;
mod caps;
mod decide;
mod development;
pub mod document;
mod facts;
pub mod ledger;
mod limits;
pub mod payees;
mod picture;
mod problem;
#[cfg(any(test, feature = "properties"))]
pub mod properties;
mod rules;
#[cfg(feature = "tool")]
pub mod tool;

pub use booking::{Booking, FitsNoMore};
pub use caps::{DEPTH_MAX, RULES_MAX, RULES_MAX_BYTES, STEPS_MAX, STRING_MAX_BYTES};
pub use decide::{Approval, Decision, Explanation, KeyUse, Policy, Question, Standing, Why};
pub use document::{Document, Per};
pub use ledger::{Ledger, Room};
pub use limits::Limit;
pub use payees::Payees;
pub use problem::{Place, Problem};
pub use rules::{SCHEMA, schema_text};
