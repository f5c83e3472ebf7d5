//! Turns: requests on one account are strictly in order, requests on different accounts are not held up.
//!
//! A task waits for its turn in order of asking, and gives it up by dropping the guard, whatever ends it. Only what a user
//! does against others who act on his account goes ahead of those who wait.

use crate::store::RecordId;
use core::cell::RefCell;
use futures_channel::oneshot;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// Who waits for which account.
#[derive(Clone, Default)]
pub(crate) struct Turns(Rc<RefCell<BTreeMap<RecordId, Waiting>>>);

/// Those who wait for an account, the next one first.
type Waiting = VecDeque<oneshot::Sender<()>>;

/// Holding one proves that no other task works on the account.
pub(crate) struct Turn {
    turns: Turns,
    account: RecordId,
}

impl Turns {
    /// Waits for the account's turn.
    pub(crate) async fn take(&self, account: RecordId) -> Turn {
        self.queue_up(account, VecDeque::push_back).await
    }

    /// Waits only for the task that works on the account now. For what the account's own device is known to have sent.
    pub(crate) async fn take_first(&self, account: RecordId) -> Turn {
        self.queue_up(account, VecDeque::push_front).await
    }

    async fn queue_up(&self, account: RecordId, enter: fn(&mut Waiting, oneshot::Sender<()>)) -> Turn {
        let wait = {
            let mut turns = self.0.borrow_mut();
            if let Some(queue) = turns.get_mut(&account) {
                let (next, wait) = oneshot::channel();
                enter(queue, next);
                Some(wait)
            } else {
                turns.insert(account, VecDeque::new());
                None
            }
        };
        if let Some(wait) = wait {
            // The sender is used or dropped only by the guard before us; both mean that it is our turn.
            let _ = wait.await;
        }
        Turn { turns: self.clone(), account }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut turns = self.turns.0.borrow_mut();
        while let Some(next) = turns.get_mut(&self.account).and_then(VecDeque::pop_front) {
            if next.send(()).is_ok() {
                return;
            }
        }
        turns.remove(&self.account);
    }
}
