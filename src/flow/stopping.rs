//! A daemon that is told to stop, and the deliveries that it then waits for longest.
//!
//! A message that somebody else has whole goes out twice when nobody waits for his answer: the end of it was sent to a
//! server, or a command has read it. Such a delivery is owed an answer from before its last octet until what has become
//! of it is written down. Once there is something to write down, a worker of a daemon that stops begins nothing more.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What the threads of a process know of its end.
#[derive(Debug, Default)]
pub struct Stopping {
    wanted: AtomicBool,
    owed: AtomicUsize,
}

impl Stopping {
    /// From now on it is to stop.
    pub fn begin(&self) {
        self.wanted.store(true, Ordering::SeqCst);
    }

    /// Whether it is to stop.
    pub fn has_begun(&self) -> bool {
        self.wanted.load(Ordering::SeqCst)
    }

    /// Whether there is an answer to wait for.
    pub fn is_owed_an_answer(&self) -> bool {
        self.owed.load(Ordering::SeqCst) > 0
    }
}

/// The message that one worker has in hand.
#[derive(Debug, Default)]
pub struct InHand {
    all: Arc<Stopping>,
    is_owed: Cell<bool>,
}

impl InHand {
    /// None yet.
    pub fn new(all: &Arc<Stopping>) -> Self {
        Self {
            all: Arc::clone(all),
            is_owed: Cell::new(false),
        }
    }

    /// Its last octet goes to somebody else now, who owes an answer then.
    pub fn is_given(&self) {
        if !self.is_owed.replace(true) {
            self.all.owed.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// What has become of it is written down.
    pub fn is_settled(&self) {
        if self.is_owed.replace(false) {
            self.all.owed.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.is_settled();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_owed_one_answer_at_a_time() {
        let all = Arc::new(Stopping::default());
        let (one, two) = (InHand::new(&all), InHand::new(&all));
        for hand in [&one, &one, &two] {
            hand.is_given();
            assert!(all.is_owed_an_answer());
        }
        one.is_settled();
        one.is_settled();
        assert!(all.is_owed_an_answer());
        // A worker that ends waits for nothing more.
        drop(two);
        assert!(!all.is_owed_an_answer());
    }
}
