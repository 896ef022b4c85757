//! The work of the queue, by next hop: a few workers at once in each lane, one message after the other, so that a
//! connection serves many.
//!
//! A message stands in a lane for each hop that it needs, and is added again only when all of these are done. Who
//! works on it takes its recipients one by one (`Claim::take`), for an expansion may lead it to a hop where it is.

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
    /// Messages that one more of them must find.
    pub worth: usize,
    /// Whether they wait for other hosts, and count among those who do.
    pub remote: bool,
}

impl Lane {
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

    /// Puts an errand into its lane; returned is whether somebody was waiting for it there.
    fn push(&mut self, hop: Hop, width: Width, errand: Errand) -> bool {
        let lane = self.lanes.entry(hop).or_insert_with(|| Lane {
            waiting: VecDeque::new(),
            workers: 0,
            lingering: 0,
            bell: Arc::default(),
            width,
        });
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
        self.lock().lanes.values().map(|l| l.waiting.len()).sum()
    }

    /// Messages not done.
    pub fn open(&self) -> usize {
        self.lock().open.len()
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
}

impl Place<'_> {
    /// The next message; the one before is done.
    pub fn next(&mut self) -> Option<Errand> {
        let until = Instant::now() + self.lanes.linger;
        let mut state = self.lanes.lock();
        if let Some(id) = self.current.take() {
            state.done(&id);
        }
        if fault::is_ending() {
            return None;
        }
        loop {
            let counts = self.lanes.census.lock();
            let closing =
                state.closing || state.has_place_but(&self.hop, self.lanes.remote, &counts);
            drop(counts);
            let lane = state.lanes.get_mut(&self.hop)?;
            if let Some(errand) = lane.waiting.pop_front() {
                self.current = Some(errand.item.id.clone());
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
        if let Some(id) = self.current.take() {
            state.done(&id);
        }
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
mod tests {
    use super::*;
    use crate::host::spool::Folder;
    use crate::proto::address::Domain;
    use crate::proto::route::Protection;

    fn errand(id: &str) -> Errand {
        Errand {
            item: Item {
                id: id.to_owned(),
                folder: Folder::New,
                due: 0,
            },
            claim: None,
        }
    }

    #[test]
    fn a_lane_has_its_limit_and_a_message_is_here_once() {
        let lanes = Lanes::new(Duration::ZERO, 2, Arc::default());
        let width = |most, remote| Width {
            most,
            worth: 1,
            remote,
        };
        for id in ["a", "b", "c"] {
            lanes.add(errand(id), vec![(Hop::Smarthost, width(4, true))]);
        }
        lanes.add(errand("a"), vec![(Hop::Smarthost, width(4, true))]);
        lanes.add(
            errand("d"),
            vec![
                (Hop::Local, width(4, false)),
                (Hop::Smarthost, width(4, true)),
            ],
        );
        assert_eq!((lanes.waiting(), lanes.places()), (5, 3));
        let mut local = lanes.join().unwrap();
        assert_eq!(local.hop, Hop::Local);
        assert_eq!(local.next().unwrap().item.id, "d");
        assert!(local.next().is_none());
        let (mut one, two) = (lanes.join().unwrap(), lanes.join().unwrap());
        assert!(lanes.join().is_none());
        assert_eq!(one.next().unwrap().item.id, "a");
        assert!(lanes.has("a") && lanes.has("d"));
        drop(two);
        assert!(lanes.join().is_some());
        for id in ["b", "c", "d"] {
            assert_eq!(one.next().unwrap().item.id, id);
        }
        assert!(!lanes.has("a"));
        assert!(one.next().is_none());
        drop((one, local));
        assert!(!lanes.has("d") && lanes.join().is_none() && lanes.workers() == 0);
    }

    /// An old run that is slow, and a new one: together they have what the configuration says, and the new one has at
    /// least one worker.
    #[test]
    fn runs_that_overlap_share_their_bounds() {
        let census = Arc::new(Census::default());
        let run = || Lanes::new(Duration::ZERO, 3, Arc::clone(&census));
        let width = Width {
            most: 2,
            worth: 1,
            remote: true,
        };
        let fill = |lanes: &Lanes, hop: &Hop| {
            for id in ["a", "b", "c", "d"] {
                lanes.add(errand(&format!("{id}{hop:?}")), vec![(hop.clone(), width)]);
            }
        };
        let [one, two, three] = ["one", "two", "three"]
            .map(|name| Hop::Mx(Domain::parse(name).unwrap(), Protection::Opportunistic));
        let (old, new) = (run(), run());
        fill(&old, &one);
        let held = [old.join().unwrap(), old.join().unwrap()];
        assert_eq!(old.places(), 0);
        fill(&new, &one);
        assert!(
            new.places() == 0 && new.join().is_none(),
            "it has two already"
        );
        fill(&new, &two);
        let first = new.join().unwrap();
        assert!(
            new.places() == 0 && new.join().is_none(),
            "three are at work"
        );
        drop(first);
        fill(&old, &three);
        let third = old.join().unwrap();
        assert_eq!(new.places(), 1, "they may be at work for long");
        let least = new.join().unwrap();
        assert!(least.hop == two && new.places() == 0 && new.join().is_none());
        drop((held, third));
        assert_eq!(new.places(), 2);
        drop((new.join().unwrap(), least));
        assert_eq!(census.lock().all, 0);
        assert!(census.lock().lanes.is_empty());
    }
}
