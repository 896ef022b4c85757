//! A process that is told to stop, and the deliveries that it then waits for longest.
//!
//! A message that somebody else has whole goes out twice when nobody waits for his answer: the end of it was sent to a
//! server, or a command has read it. Such a delivery is owed an answer from before its last octet until what has become
//! of it is written down. Once there is something to write down, a worker of a process that stops begins nothing more.
//!
//! A daemon grants all that is on its way a moment, and hears of its end among all else that happens (daemon.rs). A queue
//! run, and an attempt right after a submission, end at once but for what they are owed: [`Stopping::heed_signals`].

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::host::signals::{self, Requests};

/// How long whoever has all of a message may take to answer for it, since the process was told to stop. With the last words
/// after it, and with what root's process waits for (parent.rs), that is less than systemd grants (TimeoutStopSec).
pub const ANSWERS: Duration = Duration::from_secs(14);
/// Who asks a second time within this has not: at a terminal both processes of root's are asked, and one tells the other.
pub const SAME: Duration = Duration::from_millis(500);
/// How often it is looked whether an answer has come.
const LOOK: Duration = Duration::from_millis(50);
/// The thread that hears signals does little.
const STACK: usize = 64 * 1024;

/// What the threads of a process know of its end.
#[derive(Debug, Default)]
pub struct Stopping {
    wanted: AtomicBool,
    owed: AtomicUsize,
    /// Nothing is waited for but what is owed.
    is_short: AtomicBool,
    /// What is to be told, of signals that are heeded once a message is given.
    heeded_later: Mutex<Option<Tell>>,
}

/// Is called when a process does not end at once.
pub struct Tell(Box<dyn Fn() + Send>);

impl Tell {
    /// What calls this.
    pub fn new(tell: impl Fn() + Send + 'static) -> Self {
        Self(Box::new(tell))
    }
}

impl fmt::Debug for Tell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tell")
    }
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

    /// Lets signals end this process as soon as nobody owes it an answer: at once, mostly. `tell` is called when they do
    /// not. To be called before it has other threads, for only those that begin later leave signals to be heard here.
    pub fn heed_signals(self: &Arc<Self>, tell: Tell) {
        // Where it cannot be, they end it as they end any program.
        let Ok(requests) = Requests::hear() else {
            return;
        };
        self.is_short.store(true, Ordering::SeqCst);
        let stopping = Arc::clone(self);
        let thread = thread::Builder::new()
            .name("signals".to_owned())
            .stack_size(STACK);
        let hear = move || stopping.end_when_asked(&requests, &tell);
        if thread.spawn(hear).is_err() {
            signals::let_be();
        }
    }

    /// The same from when the first message is given: until then nothing can be owed, and a thread is not worth its calls.
    /// For a process whose one thread does all the work.
    pub fn heed_signals_later(&self, tell: Tell) {
        *self.later() = Some(tell);
    }

    fn later(&self) -> MutexGuard<'_, Option<Tell>> {
        self.heeded_later
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn end_when_asked(&self, requests: &Requests, tell: &Tell) {
        let Ok(signal) = requests.wait() else {
            return;
        };
        let begun = Instant::now();
        self.begin();
        if self.is_owed_an_answer() {
            (tell.0)();
        }
        while self.is_owed_an_answer() && begun.elapsed() < ANSWERS {
            let again = requests.wait_for(LOOK);
            if again.is_some() && begun.elapsed() >= SAME {
                break;
            }
        }
        signals::end_by(signal);
    }

    /// Goes no further in a process that is about to end by a signal: what its thread would say or do next is not meant.
    pub fn rest_if_ending(&self) {
        while self.is_short.load(Ordering::SeqCst) && self.has_begun() {
            thread::park();
        }
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

    /// Its last octet goes to somebody else now, who owes an answer then. In a process that is about to end it does not go.
    pub fn is_given(&self) {
        if self.is_owed.replace(true) {
            return;
        }
        if let Some(tell) = self.all.later().take() {
            self.all.heed_signals(tell);
        }
        self.all.owed.fetch_add(1, Ordering::SeqCst);
        // Either whoever ends the process has seen that, or this sees that he ends it.
        if self.all.is_short.load(Ordering::SeqCst) && self.all.has_begun() {
            self.is_settled();
            self.all.rest_if_ending();
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
