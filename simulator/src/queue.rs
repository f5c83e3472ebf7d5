//! A bounded queue between threads that knows when all of its work is done.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};

/// The queue holds as much as it may, or is closed. Gives the work back.
#[derive(Debug)]
pub struct NotTaken<T>(pub T);

/// The queue.
#[derive(Debug)]
pub struct WorkQueue<T> {
    most: usize,
    inner: Mutex<Inner<T>>,
    changed: Condvar,
    idle: Condvar,
}

#[derive(Debug)]
struct Inner<T> {
    waiting: VecDeque<T>,
    under_way: usize,
    closed: bool,
}

impl<T> WorkQueue<T> {
    /// A queue for at most this many pieces of waiting work.
    pub fn new(most: usize) -> Self {
        let inner = Inner { waiting: VecDeque::new(), under_way: 0, closed: false };
        Self { most, inner: Mutex::new(inner), changed: Condvar::new(), idle: Condvar::new() }
    }

    /// Adds work, without waiting.
    pub fn push(&self, work: T) -> Result<(), NotTaken<T>> {
        let mut inner = self.lock();
        if inner.closed || inner.waiting.len() >= self.most {
            return Err(NotTaken(work));
        }
        inner.waiting.push_back(work);
        drop(inner);
        self.changed.notify_one();
        Ok(())
    }

    /// Takes and does work until the queue is closed and empty.
    pub fn work_off(&self, mut act: impl FnMut(T)) {
        let mut inner = self.lock();
        loop {
            if let Some(work) = inner.waiting.pop_front() {
                inner.under_way += 1;
                drop(inner);
                act(work);
                inner = self.lock();
                inner.under_way -= 1;
                if inner.under_way == 0 && inner.waiting.is_empty() {
                    self.idle.notify_all();
                }
            } else if inner.closed {
                return;
            } else {
                inner = self.changed.wait(inner).expect("nothing panics while it holds the queue");
            }
        }
    }

    /// Waits until nothing waits and nothing is under way.
    pub fn wait_until_idle(&self) {
        let mut inner = self.lock();
        while inner.under_way > 0 || !inner.waiting.is_empty() {
            inner = self.idle.wait(inner).expect("nothing panics while it holds the queue");
        }
    }

    /// Takes no more work. Workers return once what waits is done.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().expect("nothing panics while it holds the queue")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn all_work_is_done_before_the_queue_is_idle_and_before_workers_return() {
        let (queue, done) = (WorkQueue::new(1000), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    queue.work_off(|n: usize| {
                        done.fetch_add(n, Ordering::Relaxed);
                    });
                });
            }
            for _ in 0..100 {
                queue.push(1).unwrap();
            }
            queue.wait_until_idle();
            assert_eq!(done.load(Ordering::Relaxed), 100);
            queue.push(1).unwrap();
            queue.close();
            assert!(queue.push(1).is_err());
        });
        assert_eq!(done.load(Ordering::Relaxed), 101);
    }

    #[test]
    fn refuses_more_than_it_may_hold() {
        let queue = WorkQueue::new(2);
        queue.push('a').unwrap();
        queue.push('b').unwrap();
        assert_eq!(queue.push('c').unwrap_err().0, 'c');
    }
}
