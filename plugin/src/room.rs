//! Room on the store's disk. Nothing is decided that cannot be recorded; so that this does not come as a surprise, and so
//! that users can still freeze their accounts when it comes, what is new is refused while there is less room than a
//! reserve. It is the firmware that knows, and the host that decides what it knows: this protects no signature.

use crate::machine::Core;
use core::cell::Cell;
use countersign_wire::client::Act;
use countersign_wire::device::DevicePurpose;
use countersign_wire::hal::STORE_RESERVE_BYTES;

/// The store grows by this much before the firmware is asked again.
const ASKED_EVERY_BYTES: u64 = 1024 * 1024;

/// Somebody who waits for room makes it be asked at most this often.
const ASKED_EVERY_SECS: u64 = 1;

/// What is known of it.
#[derive(Default)]
pub(crate) struct Room {
    bytes: Cell<Option<u64>>,
    asked_at_bytes: Cell<u64>,
    asked_at_secs: Cell<u64>,
    is_being_asked: Cell<bool>,
    refused: Cell<u64>,
    unrecorded: Cell<u64>,
}

impl Room {
    /// As the firmware last said, rounded down to two binary digits: whoever asks is not to see how fast the store grows. `None`: it
    /// does not know.
    pub(crate) fn about_bytes(&self) -> Option<u64> {
        let bytes = self.bytes.get()?;
        let shown = bytes.checked_ilog2().map_or(0, |digits| digits.saturating_sub(1));
        Some(bytes >> shown << shown)
    }

    /// Whether there is less than the reserve.
    pub(crate) fn is_low(&self) -> bool {
        self.bytes.get().is_some_and(|bytes| bytes < STORE_RESERVE_BYTES)
    }

    /// Requests that were refused for want of room since the start.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.get()
    }

    /// Counts a request that is refused for want of room.
    fn count(&self) {
        self.refused.set(self.refused.get().saturating_add(1));
        self.unrecorded.set(self.unrecorded.get().saturating_add(1));
    }

    /// How many are not in the trail yet: whoever takes the number puts it there, or gives it back.
    pub(crate) fn take_unrecorded(&self) -> u64 {
        self.unrecorded.take()
    }

    /// They were not recorded after all.
    pub(crate) fn give_back(&self, count: u64) {
        self.unrecorded.set(self.unrecorded.get().saturating_add(count));
    }

    /// Whether the store has grown so much that the firmware should be asked again.
    pub(crate) fn is_outdated(&self, grown_bytes: u64) -> bool {
        let grown = grown_bytes.saturating_sub(self.asked_at_bytes.get());
        grown >= ASKED_EVERY_BYTES && !self.is_being_asked.get()
    }
}

/// Asks the firmware, unless it is being asked.
pub(crate) async fn ask(core: &Core) {
    let room = &core.room;
    if room.is_being_asked.replace(true) {
        return;
    }
    room.asked_at_bytes.set(core.store.grown_bytes());
    room.asked_at_secs.set(core.now().elapsed_secs);
    room.bytes.set(core.hal.room().await);
    room.is_being_asked.set(false);
}

/// Asks the firmware, if that was not done a moment ago.
pub(crate) async fn ask_again(core: &Core) {
    let since = core.now().elapsed_secs.saturating_sub(core.room.asked_at_secs.get());
    if since >= ASKED_EVERY_SECS {
        ask(core).await;
    }
}

/// Whether there is room for this; where there is not, it is counted.
pub(crate) async fn admits(core: &Core, act: &Act) -> bool {
    if !begins(act) || !core.room.is_low() {
        return true;
    }
    ask_again(core).await;
    if core.room.is_low() {
        core.room.count();
    }
    !core.room.is_low()
}

/// Whether it is something new that the store grows by, also where it is refused and the refusal recorded. What a user stops
/// something with is not.
fn begins(act: &Act) -> bool {
    match act {
        Act::Enroll(_)
        | Act::Confirm(_)
        | Act::Unlock(_)
        | Act::TrustPayee(_)
        | Act::CreateKey(_)
        | Act::Sign(_)
        | Act::ContextLogin(_)
        | Act::ContextSign(_)
        | Act::Invite(_)
        | Act::Stage(_)
        | Act::Approve(_)
        | Act::EnrollSealed(_) => true,
        Act::Status
        | Act::Login
        | Act::Random(_)
        | Act::ShowAccount(_)
        | Act::FindKeys(_)
        | Act::ContextEnd(_)
        | Act::ShowIntent(_)
        | Act::FindReceipt(_)
        | Act::Attest(_)
        | Act::LogCheckpoint
        | Act::ReadLog(_)
        | Act::Identity
        | Act::ViewIntent(_)
        | Act::ViewAccount(_)
        | Act::ViewReceipt(_)
        | Act::Decline(_) => false,
        Act::DeviceAct(act) => matches!(act.purpose, DevicePurpose::Confirm | DevicePurpose::Unlock),
    }
}
