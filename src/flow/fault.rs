//! What a fault of this program costs: what was in hand in its thread, and this process its life, in good order.
//!
//! A fault is a panic: an invariant that did not hold. No code goes on behind it, in that thread or with what it has left
//! half done:
//!
//! 1. it is told, with the place in the source; a message that was in hand is put off, for the same would happen again at
//!    each look, and a client hears no more from us
//! 2. its thread stands still from there on, and keeps its locks: others may wait for one in vain, so all waits are bounded
//! 3. the others end what they have in hand, and begin nothing new, for as long as there is [`PATIENCE`]
//! 4. the process begins anew as it was started; one that may not, or that does one thing only, ends
//!
//! Nothing that was promised is lost by it, as nothing is by a kill -9, and the service goes on with a memory that no fault
//! has been in. So the program needs no code and no tables to unwind its stacks, which were a fifth of its file.

use std::cell::RefCell;
use std::net::Shutdown;
use std::panic::{self, PanicHookInfo};
use std::process;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::Context;
use crate::cli::complain;
use crate::events;
use crate::host::spool::Spool;
use crate::host::wire::Socket;
use crate::host::{children, clock};

/// How long the others may take: longer than a daemon that stops waits for them.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is looked whether they have ended.
const LOOK: Duration = Duration::from_millis(20);
/// A process that has begun anew and meets a fault within this time waits before it begins once more, so that a fault at
/// each start does not keep the machine busy.
const SHORT_LIFE: Duration = Duration::from_secs(60);
/// How long it waits; it serves as before.
const REST: Duration = Duration::from_secs(10);
/// Exit code of sysexits.h for a fault within.
pub const SOFTWARE: u8 = 70;
/// That of a worker which is to be started again. None of sysexits.h, and seen by root's process alone.
pub const BEGIN_ANEW: u8 = 100;

/// What this process does in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Ends with this exit code, without waiting for anything: it does one thing, and has promised nothing.
    End(u8),
    /// Lets others in this process end what they have in hand, and ends with this exit code.
    EndLater(u8),
    /// The same, and is begun anew as it was started.
    Again(Process, By),
}

/// What is begun anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// A daemon.
    Daemon,
    /// A queue run; only if the message that was in hand is put off, or it would go on for ever.
    Run,
}

/// Who begins it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// This process, in its own place.
    Itself,
    /// Root's process, in its own place: this one is its worker.
    Parent,
    /// Whoever has started this process, and may have its sockets.
    Supervisor,
}

impl By {
    /// Who begins a process of this kind anew; sockets that were handed over are not ours to open once more.
    pub fn of(context: &Context, handed_over: bool) -> Self {
        match &context.keeper {
            Some(keeper) if keeper.is_parent() => Self::Parent,
            None if !handed_over => Self::Itself,
            _ => Self::Supervisor,
        }
    }
}

static THEN: Mutex<Then> = Mutex::new(Then::End(SOFTWARE));
/// Wakes the first thread of a daemon, which is to stop.
static WAKE: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();
/// There was a fault.
static ENDING: AtomicBool = AtomicBool::new(false);
/// A message was put off, which a queue run will not meet again.
static PUT_OFF: AtomicBool = AtomicBool::new(false);
/// Things in hand, and those of them that a fault has stopped.
static IN_HAND: AtomicUsize = AtomicUsize::new(0);
static STOPPED: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// What this thread has in hand, the last one within those before.
    static WORK: RefCell<Vec<Work>> = const { RefCell::new(Vec::new()) };
}

enum Work {
    Message {
        spool: Spool,
        id: String,
        put_off: u64,
    },
    Connection(Arc<Socket>),
}

/// Something is in hand until this is dropped.
#[must_use]
#[derive(Debug)]
pub struct InHand(());

impl Drop for InHand {
    fn drop(&mut self) {
        // At the end of a thread its stack is gone, with all that was on it.
        let _ = WORK.try_with(|work| work.try_borrow_mut().map(|mut work| work.pop()));
        IN_HAND.fetch_sub(1, Ordering::AcqRel);
    }
}

/// This thread works on a message; if a fault stops it, the message is put off for so many seconds.
pub fn over_message(spool: &Spool, id: &str, put_off: u64) -> InHand {
    take(Work::Message {
        spool: spool.clone(),
        id: id.to_owned(),
        put_off,
    })
}

/// This thread answers over a connection; if a fault stops it, the connection is closed.
pub fn over_connection(socket: Arc<Socket>) -> InHand {
    take(Work::Connection(socket))
}

fn take(work: Work) -> InHand {
    IN_HAND.fetch_add(1, Ordering::AcqRel);
    WORK.with(|all| {
        let mut all = all.borrow_mut();
        // Most have one thing in hand, and there is a thread for each client.
        all.reserve_exact(1);
        all.push(work);
    });
    InHand(())
}

/// From now on this is done in the end.
pub fn then(what: Then) {
    *THEN.lock().unwrap_or_else(PoisonError::into_inner) = what;
}

/// This wakes the first thread of this process, which looks then whether it [`is_ending`].
pub fn wakes(wake: Box<dyn Fn() + Send + Sync>) {
    let _ = WAKE.set(wake);
}

/// What was to be accepted is safe: whoever has handed it over must not do so again. For a process that does one thing.
pub fn promised() {
    then(Then::EndLater(0));
}

/// Whether there was a fault, so that nothing new is to be begun.
pub fn is_ending() -> bool {
    ENDING.load(Ordering::Acquire)
}

/// Whether this process is begun anew after one: not by a supervisor, who may do so or not, and not once it was told to stop.
pub fn begins_anew() -> bool {
    matches!(plan(), Then::Again(_, By::Itself | By::Parent))
}

/// Whether there was one, and nobody has anything in hand any more but those whom it has stopped.
pub fn is_over() -> bool {
    is_ending() && is_quiet()
}

fn is_quiet() -> bool {
    IN_HAND.load(Ordering::Acquire) <= STOPPED.load(Ordering::Acquire)
}

/// Deals with faults from here on. `program` stands before its lines on standard error.
pub fn watch(program: &str) {
    let program = program.to_owned();
    let begun = Instant::now();
    panic::set_hook(Box::new(move |info| meet(&program, begun, info)));
}

/// Tells a fault, and stands still until the process ends.
fn meet(program: &str, begun: Instant, info: &PanicHookInfo<'_>) {
    let then = plan();
    let is_again = matches!(then, Then::Again(..)) && children::has_begun_again();
    let rest = match is_again && begun.elapsed() < SHORT_LIFE {
        true => REST,
        false => Duration::ZERO,
    };
    // Whatever this thread will wait for, such as a lock that it has itself, this one does not.
    let bounded = thread::Builder::new().spawn(move || {
        thread::sleep(rest + PATIENCE);
        end_now();
    });
    let work = WORK.try_with(|work| {
        work.try_borrow_mut()
            .map(|mut work| std::mem::take(&mut *work))
    });
    let work = work.ok().and_then(Result::ok).unwrap_or_default();
    STOPPED.fetch_add(work.len(), Ordering::AcqRel);
    tell(program, then, info, &work);
    let put_off = work
        .into_iter()
        .map(let_go)
        .fold(false, |any, put_off| any | put_off);
    PUT_OFF.fetch_or(put_off, Ordering::AcqRel);
    if matches!(then, Then::End(_)) || bounded.is_err() {
        end(then);
    }
    thread::sleep(rest);
    let is_first = !ENDING.swap(true, Ordering::AcqRel);
    let is_daemon = matches!(then, Then::Again(Process::Daemon, _));
    if let (true, Some(wake)) = (is_first, WAKE.get()) {
        wake();
    }
    while !is_quiet() {
        thread::sleep(LOOK);
    }
    if is_daemon && thread::current().name() != Some("main") {
        // The first thread writes down what it has counted, and ends the process.
        thread::sleep(PATIENCE);
    }
    end_now();
}

fn plan() -> Then {
    *THEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A line in the log; and one on standard error, for whoever waits for this process.
fn tell(program: &str, then: Then, info: &PanicHookInfo<'_>, work: &[Work]) {
    let message = work.iter().rev().find_map(|work| match work {
        Work::Message { id, .. } => Some(id.as_str()),
        Work::Connection(_) => None,
    });
    let what = match (message, work) {
        (Some(_), _) => "stopped the work on this message; it stays in the queue",
        (None, [Work::Connection(_), ..]) => {
            "broke off a connection; what was accepted over it is safe"
        }
        (None, _) => "stopped what it was doing; what was accepted is safe",
    };
    let payload = info.payload();
    let words = payload.downcast_ref::<&str>().copied();
    let words = words.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let place = info
        .location()
        .map(|at| format!("{}:{}: ", at.file(), at.line()));
    let sentence = format!(
        "a fault in minimta {what}; please report it: {}{}",
        place.unwrap_or_default(),
        words.unwrap_or("it says no more")
    );
    if !matches!(
        then,
        Then::Again(Process::Daemon, _) | Then::Again(_, By::Parent)
    ) {
        complain(program, &sentence);
    }
    events::fault(message.unwrap_or("-"), &sentence);
}

/// Lets go of what a thread had in hand. True: a message is put off.
fn let_go(work: Work) -> bool {
    match work {
        Work::Message { spool, id, put_off } => {
            let put_off = i64::try_from(put_off).unwrap_or(i64::MAX);
            spool.put_off(&id, clock::now().saturating_add(put_off))
        }
        Work::Connection(socket) => {
            socket.shutdown(Shutdown::Both);
            false
        }
    }
}

/// Ends this process as it is to end after a fault; that may have changed since: somebody has told it to stop.
pub fn end_now() -> ! {
    end(plan())
}

fn end(then: Then) -> ! {
    let code = match then {
        Then::End(code) | Then::EndLater(code) => code,
        Then::Again(Process::Run, _) if !PUT_OFF.load(Ordering::Acquire) => SOFTWARE,
        Then::Again(_, By::Parent) => BEGIN_ANEW,
        Then::Again(_, By::Supervisor) => SOFTWARE,
        Then::Again(_, By::Itself) => {
            children::begin_again(&[(children::AGAIN, "1")]);
            SOFTWARE
        }
    };
    process::exit(code.into())
}
