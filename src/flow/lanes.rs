//! The work of the queue, by next hop: a few workers at once in each lane, one message after the other, so that a
//! connection serves many.
//!
//! A message stands in a lane for each hop that it needs, and is added again only when all of these are done. Who
//! works on it takes its recipients one by one (`Claim::take`), for an expansion may lead it to a hop where it is.
//!
//! A command of one user may take minutes for each message, and must not have all places where mailboxes are written: of
//! a lane that is shared by users nobody has more than a part. What is beyond it stands behind until one of his is done.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::fault;
use crate::host::spool::{Claim, Item};
use crate::proto::route::Hop;

/// A message to be tried for one hop.
#[derive(Debug, Clone)]
pub struct Errand {
    /// Which.
    pub item: Item,
    /// The claim, when this process has it already.
    pub claim: Option<Arc<Claim>>,
    /// Whose mail it is on this system, by a number; 0: nobody's.
    pub whose: u64,
}

/// Who works for other hosts, in all runs of a process: the bounds of the configuration hold for them together.
#[derive(Debug, Default)]
pub struct Census(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// Workers.
    all: usize,
    /// The same by lane.
    lanes: BTreeMap<Hop, usize>,
}

impl Census {
    /// Nothing is left half-changed under the lock. Whoever has that of lanes may take it, and not the other way round.
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    /// How many more a run may have that has `own`; one, though others have all there are: they may have them for long.
    fn free(&self, limit: usize, own: usize) -> usize {
        let least = usize::from(own == 0);
        limit.saturating_sub(self.all).max(least)
    }

    /// How many of other runs work in a lane in which this one has `own`.
    fn elsewhere(&self, hop: &Hop, own: usize) -> usize {
        let all = self.lanes.get(hop).copied().unwrap_or_default();
        all.saturating_sub(own)
    }

    fn enter(&mut self, hop: &Hop) {
        self.all += 1;
        *self.lanes.entry(hop.clone()).or_default() += 1;
    }

    fn leave(&mut self, hop: &Hop) {
        self.all = self.all.saturating_sub(1);
        if let Some(count) = self.lanes.get_mut(hop) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.lanes.remove(hop);
            }
        }
    }
}

/// Lanes and who works in them.
#[derive(Debug)]
pub struct Lanes {
    state: Mutex<State>,
    /// How long a worker whose lane is empty keeps his connection for what may come.
    linger: Duration,
    /// How many may wait for other hosts at once.
    remote: usize,
    /// Those of all runs who do.
    census: Arc<Census>,
}

#[derive(Debug, Default)]
struct State {
    lanes: BTreeMap<Hop, Lane>,
    /// How many errands of a message are not done.
    open: HashMap<String, usize>,
    workers: usize,
    /// Those of them who wait for other hosts.
    remote: usize,
    /// Nobody lingers any more.
    closing: bool,
}

#[derive(Debug)]
struct Lane {
    waiting: VecDeque<Errand>,
    /// Those of users who have all the places that they may have.
    behind: VecDeque<Errand>,
    at_work: AtWork,
    workers: usize,
    /// Those of them who wait for more.
    lingering: usize,
    /// Wakes one of these.
    bell: Arc<Condvar>,
    width: Width,
}

/// How many may work in a lane.
#[derive(Debug, Clone, Copy)]
pub struct Width {
    /// At once.
    pub most: usize,
    /// At once for the mail of one user.
    pub of_one: usize,
    /// Messages that one more of them must find.
    pub worth: usize,
    /// Whether they wait for other hosts, and count among those who do.
    pub remote: bool,
}

/// For whom there is somebody at work, once for each worker. Of a single one it takes no memory.
#[derive(Debug, Default)]
struct AtWork {
    first: u64,
    more: Vec<u64>,
}

impl AtWork {
    fn count(&self, whose: u64) -> usize {
        usize::from(self.first == whose) + self.more.iter().filter(|w| **w == whose).count()
    }

    fn add(&mut self, whose: u64) {
        match self.first {
            0 => self.first = whose,
            _ => self.more.push(whose),
        }
    }

    fn remove(&mut self, whose: u64) {
        if self.first == whose {
            self.first = self.more.pop().unwrap_or(0);
        } else if let Some(at) = self.more.iter().position(|w| *w == whose) {
            self.more.swap_remove(at);
        }
    }
}

impl Lane {
    /// Whether a user has all the places that he may have.
    fn has_enough(&self, whose: u64) -> bool {
        let width = &self.width;
        width.of_one < width.most && whose != 0 && self.at_work.count(whose) >= width.of_one
    }

    /// The next one that may be begun, if any.
    fn begin(&mut self) -> Option<Errand> {
        while let Some(errand) = self.waiting.pop_front() {
            if !self.has_enough(errand.whose) {
                if errand.whose != 0 {
                    self.at_work.add(errand.whose);
                }
                return Some(errand);
            }
            self.behind.push_back(errand);
        }
        None
    }

    /// One for this user is done. Of those that stand behind there is always one at work, or it waits.
    fn end(&mut self, whose: u64) {
        if whose == 0 {
            return;
        }
        self.at_work.remove(whose);
        let next = self.behind.iter().position(|e| e.whose == whose);
        if let Some(errand) = next.and_then(|at| self.behind.remove(at)) {
            self.waiting.push_back(errand);
            if self.lingering > 0 {
                self.bell.notify_one();
            }
        }
    }

    /// How many more would find something to do, when so many of other runs work for the same hop.
    fn places(&self, elsewhere: usize) -> usize {
        let worth = self.width.worth.max(1);
        let useful = match self.workers {
            0 => self.waiting.len().div_ceil(worth),
            _ => self.waiting.len().saturating_sub(self.lingering) / worth,
        };
        useful.min(self.width.most.saturating_sub(self.workers + elsewhere))
    }
}

/// The same, of the lane of a hop.
fn places(counts: &Counts, hop: &Hop, lane: &Lane) -> usize {
    match lane.width.remote {
        true => lane.places(counts.elsewhere(hop, lane.workers)),
        false => lane.places(0),
    }
}

impl State {
    /// How many more would find something to do: mailboxes do not wait for hosts that do not answer.
    fn places(&self, remote_limit: usize, counts: &Counts) -> usize {
        let sum = |remote| {
            let lanes = self.lanes.iter().filter(|(_, l)| l.width.remote == remote);
            lanes.map(|(hop, l)| places(counts, hop, l)).sum::<usize>()
        };
        sum(false) + sum(true).min(counts.free(remote_limit, self.remote))
    }

    /// Whether there would be something to do elsewhere for a worker who leaves this lane.
    fn has_place_but(&self, hop: &Hop, remote_limit: usize, counts: &Counts) -> bool {
        let is_remote = self.lanes.get(hop).is_some_and(|l| l.width.remote);
        let free = is_remote || counts.free(remote_limit, self.remote) > 0;
        let mut others = self.lanes.iter();
        others.any(|(hop, lane)| places(counts, hop, lane) > 0 && (free || !lane.width.remote))
    }

    /// Puts an errand into its lane; returned is whether somebody was waiting for it there, or it has to wait itself.
    fn push(&mut self, hop: Hop, width: Width, errand: Errand) -> bool {
        let lane = self.lanes.entry(hop).or_insert_with(|| Lane {
            waiting: VecDeque::new(),
            behind: VecDeque::new(),
            at_work: AtWork::default(),
            workers: 0,
            lingering: 0,
            bell: Arc::default(),
            width,
        });
        if lane.has_enough(errand.whose) {
            lane.behind.push_back(errand);
            return true;
        }
        lane.waiting.push_back(errand);
        if lane.lingering > 0 {
            lane.bell.notify_one();
        }
        lane.lingering > 0
    }

    fn wake_all(&self) {
        for lane in self.lanes.values().filter(|lane| lane.lingering > 0) {
            lane.bell.notify_all();
        }
    }

    fn done(&mut self, id: &str) {
        if let Some(left) = self.open.get_mut(id) {
            *left -= 1;
            if *left == 0 {
                self.open.remove(id);
            }
        }
    }
}

impl Lanes {
    /// No work yet. `linger`: how long a worker waits for more work of his lane; `remote`: how many may wait for
    /// other hosts at once, those counted who do so already.
    pub fn new(linger: Duration, remote: usize, census: Arc<Census>) -> Self {
        Self {
            state: Mutex::default(),
            linger,
            remote,
            census,
        }
    }

    /// Whether nobody more may wait for other hosts.
    fn is_full(&self, state: &State) -> bool {
        self.census.lock().free(self.remote, state.remote) == 0
    }

    /// Nothing is left half-changed under the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a message is being worked on.
    pub fn has(&self, id: &str) -> bool {
        self.lock().open.contains_key(id)
    }

    /// Adds a message for these hops, each with the width of its lane; unless the message is here already.
    pub fn add(&self, errand: Errand, hops: Vec<(Hop, Width)>) {
        let mut state = self.lock();
        if hops.is_empty() || state.open.contains_key(&errand.item.id) {
            return;
        }
        state.open.insert(errand.item.id.clone(), hops.len());
        // The errand itself goes into the last lane: whoever drops the last copy of a claim must be a worker.
        let copies = std::iter::repeat_n(errand, hops.len());
        for ((hop, width), errand) in hops.into_iter().zip(copies) {
            if !state.push(hop, width, errand) && self.is_full(&state) {
                // Who keeps a connection for nothing may have the only place that this could get.
                state.wake_all();
            }
        }
    }

    /// Adds more hops to a message of which an errand is not done yet: an expansion has led there.
    pub fn more(&self, errand: &Errand, hops: Vec<(Hop, Width)>) {
        let mut state = self.lock();
        if let Some(open) = state.open.get_mut(&errand.item.id) {
            *open += hops.len();
            for (hop, width) in hops {
                state.push(hop, width, errand.clone());
            }
            if self.is_full(&state) {
                state.wake_all();
            }
        }
    }

    /// How many more workers would find something to do.
    pub fn places(&self) -> usize {
        let state = self.lock();
        state.places(self.remote, &self.census.lock())
    }

    /// Workers in all lanes.
    pub fn workers(&self) -> usize {
        self.lock().workers
    }

    /// Errands not begun.
    pub fn waiting(&self) -> usize {
        let state = self.lock();
        let lanes = state.lanes.values();
        lanes.map(|l| l.waiting.len() + l.behind.len()).sum()
    }

    /// Messages not done.
    pub fn open(&self) -> usize {
        self.lock().open.len()
    }

    /// Whether any of those not begun has its claim.
    pub fn holds(&self) -> bool {
        let state = self.lock();
        let mut lanes = state.lanes.values();
        lanes.any(|l| l.waiting.iter().chain(&l.behind).any(|e| e.claim.is_some()))
    }

    /// Takes the claims of those not begun: whoever begins one makes it anew. Who takes them lets go of them.
    pub fn give_back(&self) -> Vec<Arc<Claim>> {
        let mut state = self.lock();
        let lanes = state.lanes.values_mut();
        let errands = lanes.flat_map(|l| l.waiting.iter_mut().chain(&mut l.behind));
        errands.filter_map(|errand| errand.claim.take()).collect()
    }

    /// From now on workers end as soon as there is nothing to do.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closing = true;
        state.wake_all();
    }

    /// Takes away what nobody has begun.
    pub fn clear(&self) -> Vec<Errand> {
        let mut state = self.lock();
        let mut left = Vec::new();
        for lane in state.lanes.values_mut() {
            left.extend(lane.waiting.drain(..));
            left.extend(lane.behind.drain(..));
        }
        for errand in &left {
            state.done(&errand.item.id);
        }
        left
    }

    /// A place in a lane that has work for one more.
    pub fn join(&self) -> Option<Place<'_>> {
        let mut state = self.lock();
        let mut counts = self.census.lock();
        let free = counts.free(self.remote, state.remote) > 0;
        let open =
            |hop: &Hop, lane: &Lane| places(&counts, hop, lane) > 0 && (free || !lane.width.remote);
        let (hop, lane) = state.lanes.iter_mut().find(|(hop, lane)| open(hop, lane))?;
        lane.workers += 1;
        let (hop, remote) = (hop.clone(), lane.width.remote);
        if remote {
            counts.enter(&hop);
        }
        drop(counts);
        state.workers += 1;
        state.remote += usize::from(remote);
        Some(Place {
            lanes: self,
            hop,
            current: None,
            whose: 0,
        })
    }
}

/// The place of a worker in a lane, until it is dropped.
#[derive(Debug)]
pub struct Place<'a> {
    lanes: &'a Lanes,
    /// Where the messages of this lane go.
    pub hop: Hop,
    /// The message being worked on.
    current: Option<String>,
    /// Whose it is.
    whose: u64,
}

impl Place<'_> {
    /// The message in hand is done.
    fn end(&mut self, state: &mut State) {
        if let Some(id) = self.current.take() {
            state.done(&id);
            if let Some(lane) = state.lanes.get_mut(&self.hop) {
                lane.end(self.whose);
            }
        }
    }

    /// The next message; the one before is done.
    pub fn next(&mut self) -> Option<Errand> {
        let until = Instant::now() + self.lanes.linger;
        let mut state = self.lanes.lock();
        self.end(&mut state);
        if fault::is_ending() {
            return None;
        }
        loop {
            let counts = self.lanes.census.lock();
            let closing =
                state.closing || state.has_place_but(&self.hop, self.lanes.remote, &counts);
            drop(counts);
            let lane = state.lanes.get_mut(&self.hop)?;
            if let Some(errand) = lane.begin() {
                self.current = Some(errand.item.id.clone());
                self.whose = errand.whose;
                return Some(errand);
            }
            let left = until.saturating_duration_since(Instant::now());
            if closing || left.is_zero() {
                return None;
            }
            lane.lingering += 1;
            let bell = Arc::clone(&lane.bell);
            let waited = bell.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if let Some(lane) = state.lanes.get_mut(&self.hop) {
                lane.lingering -= 1;
            }
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.lanes.lock();
        state.workers -= 1;
        self.end(&mut state);
        if let Some(lane) = state.lanes.get_mut(&self.hop) {
            lane.workers -= 1;
            let remote = lane.width.remote;
            if lane.workers == 0 && lane.waiting.is_empty() {
                state.lanes.remove(&self.hop);
            }
            state.remote -= usize::from(remote);
            if remote {
                self.lanes.census.lock().leave(&self.hop);
            }
        }
    }
}

#[cfg(test)]
mod tests;
