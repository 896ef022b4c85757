//! The queue of a daemon: what was accepted just now is tried at once, without a look into the folder, and the rest
//! when it is due.
//!
//! One thread feeds: it takes what sessions hand over, looks into the folder when the trigger was pulled or something
//! is due, and lets workers come as there is work for them. All of it is a run ([`Pass`]), renewed every minute, so that
//! what was found to be down is tried again and a new configuration takes hold. Without work there is no run, no
//! worker and no connection.
//!
//! A server may take an hour for a message, step by step and within its rights, and must not hold up the mail of all
//! others for so long. So a run that is over lets its last workers end what they have begun, while another thread feeds
//! the next run. One run lingers so, and one more where the next has a new configuration, which must not wait for a server
//! either. All together have no more connections than `[queue] workers` and `per_destination` say, but that the new one has
//! at least one, and that with other smarthosts it counts anew.
//!
//! What is kept in memory is bounded: a few claims, then names, then only that the folder has more. Those that find no room
//! have the first turn at the next look ([`Turn`]). What waits for longer than a moment keeps its name alone, so that an
//! admin can hold or remove it.

mod look;
mod turn;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use self::turn::Turn;
use super::attend::Service;
use super::pass::{Bounds, Pass};
use super::queue::{STACK, fresh};
use super::sink::Left;
use super::tlsrpt;
use crate::error::Error;
use crate::host::spool::{Claim, Item};
use crate::host::words;

/// Claims that are held; each has a file open.
const CLAIMS: usize = 64;
/// Names that are kept.
const NAMES: usize = 1000;
/// With so few left there is room for what a look finds.
const FEW: usize = NAMES / 2;
/// How long a run lasts while there is work.
const RENEWAL: Duration = Duration::from_secs(60);
/// How many may linger beside the next one, and how many when that has a new configuration.
const LINGERING: usize = 1;
const LINGERING_OF_OLD: usize = 2;
/// Runs at once.
pub const RUNS: usize = LINGERING_OF_OLD + 1;
/// How long its last workers are waited for before others begin the next one, and claims are kept of what waits.
const MOMENT: Duration = Duration::from_secs(1);
/// How long a connection is kept for the next message.
const LINGER: Duration = Duration::from_secs(1);

/// The queue of a daemon.
pub struct Runner {
    state: Mutex<State>,
    bell: Condvar,
    /// The time between two looks, when it was given.
    interval: Option<Duration>,
}

struct State {
    service: Arc<Service>,
    /// What its runs share.
    bounds: Bounds,
    /// What was handed over.
    incoming: VecDeque<(Item, Option<Claim>)>,
    /// How many of these have their claim.
    claims: usize,
    /// The folder of new messages has some that are not in memory.
    look_new: bool,
    /// When to look for what is due.
    look_at: Instant,
    /// No look before.
    rest_until: Instant,
    /// Who is first then.
    turn: Turn,
    /// Runs that go on.
    runs: usize,
    /// How many of them are over, but for their last workers.
    lingering: usize,
    /// Threads that feed, or wait for the last workers of their run.
    feeders: usize,
    renew: bool,
    stopping: bool,
}

impl State {
    /// Whether a run may linger that is over.
    fn may_linger(&self) -> bool {
        let most = match self.renew {
            true => LINGERING_OF_OLD,
            false => LINGERING,
        };
        self.lingering < most
    }

    /// When the next look is to be taken.
    fn next_look(&self) -> Instant {
        if self.look_new {
            self.rest_until
        } else {
            self.look_at.max(self.rest_until)
        }
    }
}

impl Runner {
    /// Not started yet. `interval`: how often to look into the folder; without it, as things fall due.
    pub fn new(service: Arc<Service>, interval: Option<Duration>) -> Self {
        let now = Instant::now();
        Self {
            state: Mutex::new(State {
                service,
                bounds: Bounds::default(),
                incoming: VecDeque::new(),
                claims: 0,
                look_new: true,
                look_at: now,
                rest_until: now,
                turn: Turn::default(),
                runs: 0,
                lingering: 0,
                feeders: 0,
                renew: false,
                stopping: false,
            }),
            bell: Condvar::new(),
            interval,
        }
    }

    /// Starts its thread.
    ///
    /// # Errors
    /// `Os` when the system has no room for it.
    pub fn start(self: &Arc<Self>) -> Result<(), Error> {
        let runner = Arc::clone(self);
        self.lock().feeders += 1;
        let thread = thread::Builder::new()
            .name("queue".to_owned())
            .stack_size(STACK);
        let started = thread.spawn(move || runner.feed());
        started.map(drop).map_err(|e| {
            self.lock().feeders -= 1;
            Error::Os(format!("cannot start the queue: {}", words(&e)))
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over what a session has left.
    pub fn take(&self, left: Left) {
        let (id, claim) = match left {
            Left::Message(claim) => (claim.id.clone(), Some(*claim)),
            Left::Report(id) => (id, None),
            Left::Due(due) => {
                self.expect_due(Some(due));
                return self.bell.notify_all();
            }
        };
        let mut state = self.lock();
        if state.incoming.len() >= NAMES {
            state.look_new = true;
        } else {
            let item = fresh(id);
            let claim = claim.filter(|_| state.claims < CLAIMS);
            state.claims += usize::from(claim.is_some());
            state.incoming.push_back((item, claim));
        }
        self.bell.notify_all();
    }

    /// There may be new messages in the folder; and with `all` others that were put off may be due.
    pub fn wake(&self, all: bool) {
        let mut state = self.lock();
        state.look_new = true;
        if all {
            state.look_at = Instant::now();
        }
        self.bell.notify_all();
    }

    /// Goes on with another configuration.
    pub fn renew(&self, service: Arc<Service>) {
        let mut state = self.lock();
        if service.context.config.smarthosts != state.service.context.config.smarthosts {
            // They are counted by their numbers, and connections to the old ones are none to the new ones.
            state.bounds = Bounds::default();
        }
        state.service = service;
        state.renew = true;
        state.look_at = Instant::now();
        self.bell.notify_all();
    }

    /// Begins nothing more.
    pub fn stop(&self) {
        self.lock().stopping = true;
        self.bell.notify_all();
    }

    /// Whether all has come to an end.
    pub fn has_ended(&self) -> bool {
        self.lock().feeders == 0
    }

    /// Whether there is nothing to do now.
    pub fn is_idle(&self) -> bool {
        let state = self.lock();
        state.incoming.is_empty() && !state.look_new && state.runs == 0
    }

    fn feed(self: &Arc<Self>) {
        let mut relieved = false;
        while !relieved && let Some((service, bounds)) = self.wait_for_work() {
            self.run(&service, &bounds, &mut relieved);
            let mut state = self.lock();
            state.runs -= 1;
            state.lingering -= usize::from(relieved);
            // The next run may wait to be renewed.
            self.bell.notify_all();
        }
        self.lock().feeders -= 1;
    }

    /// One run. `relieved` becomes whether another thread feeds by its end.
    fn run(self: &Arc<Self>, service: &Arc<Service>, bounds: &Bounds, relieved: &mut bool) {
        let run = Pass::lingering(&service.context, false, LINGER, bounds).of_what_is_due();
        let threads = AtomicUsize::new(0);
        thread::scope(|scope| {
            self.keep_fed(scope, service, &run, &threads);
            self.give_up(&run);
            *relieved = self.is_at_work(&threads) && self.be_relieved();
        });
        self.remember_due(&run);
        drop(run);
        report(service);
        service.context.ledger.flush();
        service.context.ledger.fold();
    }

    /// Finds work for a run until it is over.
    fn keep_fed<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        service: &Service,
        run: &'scope Pass<'scope>,
        threads: &'scope AtomicUsize,
    ) {
        let mut until = Instant::now() + RENEWAL;
        let mut held_since = None;
        loop {
            self.look(service, run);
            self.hand_on(run);
            self.man(scope, run, threads);
            let wakes = give_back(run, &mut held_since).unwrap_or(until);
            if self.wait_in_run(run, threads, until, wakes) {
                continue;
            }
            if self.may_end(threads) {
                return;
            }
            run.forget();
            until = Instant::now() + RENEWAL;
        }
    }

    /// Whether a run that is over can end without holding up the next one.
    fn may_end(&self, threads: &AtomicUsize) -> bool {
        let state = self.lock();
        state.stopping || state.may_linger() || threads.load(Ordering::Acquire) == 0
    }

    /// Whether workers of a run that is over have not ended after a moment.
    fn is_at_work(&self, threads: &AtomicUsize) -> bool {
        let until = Instant::now() + MOMENT;
        let mut state = self.lock();
        while threads.load(Ordering::Acquire) > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            let waited = self.bell.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        false
    }

    /// Lets another thread feed, as this one waits for the last workers of its run; false: it has to go on itself.
    fn be_relieved(self: &Arc<Self>) -> bool {
        let mut state = self.lock();
        if state.stopping || !state.may_linger() {
            return false;
        }
        state.lingering += 1;
        drop(state);
        let started = self.start().is_ok();
        if !started {
            self.lock().lingering -= 1;
        }
        started
    }

    /// Sleeps until there is work for a run; `None`: it is over.
    fn wait_for_work(&self) -> Option<(Arc<Service>, Bounds)> {
        let mut state = self.lock();
        loop {
            if state.stopping {
                return None;
            }
            let left = state.next_look().saturating_duration_since(Instant::now());
            if !state.incoming.is_empty() || left.is_zero() {
                state.renew = false;
                state.runs += 1;
                return Some((Arc::clone(&state.service), state.bounds.clone()));
            }
            let waited = self.bell.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Passes on what was handed over.
    fn hand_on(&self, run: &Pass<'_>) {
        while run.lanes().waiting() < NAMES {
            let mut state = self.lock();
            let Some((item, claim)) = state.incoming.pop_front() else {
                return;
            };
            state.claims -= usize::from(claim.is_some());
            drop(state);
            run.add(item, claim.filter(|_| run.lanes().open() < CLAIMS));
        }
    }

    /// Starts as many workers as there is work for.
    fn man<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        run: &'scope Pass<'scope>,
        threads: &'scope AtomicUsize,
    ) {
        let lanes = run.lanes();
        loop {
            let here = threads.load(Ordering::Acquire);
            let coming = here.saturating_sub(lanes.workers());
            if lanes.places() <= coming {
                return;
            }
            threads.fetch_add(1, Ordering::AcqRel);
            let work = move || {
                run.worker();
                let state = self.lock();
                threads.fetch_sub(1, Ordering::AcqRel);
                self.bell.notify_all();
                drop(state);
            };
            let thread = thread::Builder::new()
                .name("delivery".to_owned())
                .stack_size(STACK);
            if thread.spawn_scoped(scope, work).is_err() {
                // The work waits for those there are; without any, this thread does it.
                threads.fetch_sub(1, Ordering::AcqRel);
                if here == 0 {
                    run.worker();
                }
                return;
            }
        }
    }

    /// Sleeps until something has changed for a run, or until it `wakes`; false: it is over.
    fn wait_in_run(
        &self,
        run: &Pass<'_>,
        threads: &AtomicUsize,
        until: Instant,
        wakes: Instant,
    ) -> bool {
        self.remember_due(run);
        let state = self.lock();
        let now = Instant::now();
        if state.stopping || (state.renew && state.may_linger()) || now >= until {
            return false;
        }
        let waiting = run.lanes().waiting();
        let next = if waiting < FEW {
            state.next_look().min(until)
        } else {
            // Nobody says when there are few.
            until.min(now + MOMENT)
        };
        let next = next.min(wakes);
        if (waiting < NAMES && !state.incoming.is_empty()) || next <= now {
            return true;
        }
        // Without a place for a worker it waits for one to be left by an older run.
        if threads.load(Ordering::Acquire) == 0 && (waiting == 0 || run.lanes().places() > 0) {
            return waiting > 0;
        }
        let waited = self
            .bell
            .wait_timeout(state, next.saturating_duration_since(now));
        drop(waited);
        true
    }

    /// Lets the workers end; what none of them has begun comes into the next run.
    fn give_up(&self, run: &Pass<'_>) {
        run.lanes().close();
        for errand in run.lanes().clear() {
            if let Some(claim) = errand.claim {
                run.release(claim);
            }
            self.lock().incoming.push_back((errand.item, None));
        }
    }
}

/// Lets go of messages that nobody has begun, when some have been held for a moment. Returned is when to do it, if it is to
/// be done.
fn give_back(run: &Pass<'_>, since: &mut Option<Instant>) -> Option<Instant> {
    if !run.lanes().holds() {
        *since = None;
        return None;
    }
    let now = Instant::now();
    let at = *since.get_or_insert(now) + MOMENT;
    if now < at {
        return Some(at);
    }
    *since = None;
    let claims = run.lanes().give_back();
    claims.into_iter().for_each(|claim| run.release(claim));
    None
}

/// Sends reports about TLS in a thread of their own: the web servers they go to are others', and one that does not answer
/// would hold up the queue. While it is at it another one finds their files locked, and goes.
fn report(service: &Arc<Service>) {
    if !tlsrpt::is_due(&service.context) {
        return;
    }
    let service = Arc::clone(service);
    let thread = thread::Builder::new()
        .name("reports".to_owned())
        .stack_size(STACK);
    // Without room for it they are sent after another run.
    let _ = thread.spawn(move || tlsrpt::settle(&service.context));
}
