//! One pass over some messages: their envelopes looked at, grouped by next hop, and each tried until everything was
//! tried once, the reports made on the way among them.
//!
//! Within a pass two workers may hold the same message, for different hops; [`claims`] says who holds what, and the
//! last to let go of it puts it back into the queue. [`tally`] counts.

mod attempt;
mod claims;
mod led;
mod tally;

use std::hash::{DefaultHasher, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, mpsc};
use std::time::Duration;

use self::claims::Held;
pub use self::tally::{Tally, said};
use super::Context;
use super::dialogue::Outgoing;
use super::fault::{self, InHand};
use super::helpers::Helpers;
use super::hops;
use super::lanes::{Census, Errand, Lanes, Width};
use super::links::{Links, Shared, Slots};
use super::queue::{STACK, fresh};
use super::settle::policy;
use crate::events;
use crate::host::spool::{Claim, Item};
use crate::proto::end::Mailboxes;
use crate::proto::envelope::Envelope;
use crate::proto::journal::{Progress, Standing};
use crate::proto::order;
use crate::proto::route::Hop;

/// Messages for which one more connection to the same host is made.
const WORTH_A_CONNECTION: usize = 10;
/// How often it is looked for new messages while others take their time.
const LOOK: Duration = Duration::from_secs(2);
/// What passes that overlap share: `[queue] workers` and `per_destination` hold for all of them together.
#[derive(Clone, Default)]
pub struct Bounds {
    census: Arc<Census>,
    slots: Arc<Slots>,
}

/// One pass over some messages.
pub struct Pass<'a> {
    context: &'a Context,
    talk: bool,
    lanes: Lanes,
    /// Who of this run holds which message.
    held: Held,
    tally: Mutex<Tally>,
    shared: Shared<'a>,
    /// Messages are tried because they are due.
    by_due: bool,
    /// Those who deliver in the right of others, when root's process makes them.
    helpers: Option<Helpers>,
}

impl<'a> Pass<'a> {
    /// A pass over what is there now.
    pub fn new(context: &'a Context, talk: bool) -> Self {
        Self::lingering(context, talk, Duration::ZERO, &Bounds::default())
    }

    /// A pass in which work may come as long as it lasts, and in which connections are kept so long for it, beside others
    /// that have the same bounds.
    pub fn lingering(context: &'a Context, talk: bool, linger: Duration, bounds: &Bounds) -> Self {
        let Bounds { census, slots } = bounds.clone();
        Self {
            context,
            talk,
            lanes: Lanes::new(linger, context.config.queue.workers, census),
            held: Held::default(),
            tally: Mutex::default(),
            shared: Shared::beside(context, slots),
            by_due: false,
            helpers: context
                .keeper
                .clone()
                .map(|keeper| Helpers::new(keeper, &context.config)),
        }
    }

    /// The same for messages that are due, and not because somebody wants them tried.
    pub fn of_what_is_due(self) -> Self {
        Self {
            by_due: true,
            ..self
        }
    }

    /// What it did, when all that goes on beside it has ended, too.
    pub fn into_tally(self) -> Tally {
        self.shared.settle();
        self.tally
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Tries the messages, and the reports that come of it.
    pub fn all(&self, items: Vec<Item>) {
        for item in items {
            self.add(item, None);
        }
        self.work_off();
    }

    /// The same, and as long as anybody is at work, those that `more` finds: where a supervisor lets one queue run follow
    /// the other, a server that answers slowly must not hold up what has come since.
    pub fn all_and_more(&self, items: Vec<Item>, more: &dyn Fn() -> Vec<Item>) {
        for item in items {
            self.add(item, None);
        }
        let (done, ended) = mpsc::channel();
        std::thread::scope(|scope| {
            let mut at_work: usize = 0;
            loop {
                for _ in 0..self.lanes.places() {
                    let done = done.clone();
                    let work = move || {
                        self.worker();
                        // It is heard: whoever waits for it is below.
                        let _ = done.send(());
                    };
                    let thread = std::thread::Builder::new().stack_size(STACK);
                    match thread.spawn_scoped(scope, work) {
                        Ok(_) => at_work += 1,
                        // Too few resources for a thread: the others do its work, or this one.
                        Err(_) if at_work > 0 => break,
                        Err(_) => self.worker(),
                    }
                }
                if at_work == 0 {
                    return;
                }
                match ended.recv_timeout(LOOK) {
                    Ok(()) => at_work -= 1,
                    Err(_) => more().into_iter().for_each(|item| self.add(item, None)),
                }
            }
        });
    }

    /// Looks at the envelope of a message and puts it into the lanes of its next hops. What cannot be read is dealt
    /// with here; and a message over which this program fails must not keep the others from being looked at.
    pub fn add(&self, item: Item, claim: Option<Claim>) {
        let _in_hand = self.take_in_hand(&item.id);
        if self.lanes.has(&item.id) {
            return;
        }
        let claim = claim.map(|claim| self.adopt(claim));
        let found = match &claim {
            Some(claim) => Some(self.found(&claim.envelope(), claim.progress())),
            None => self.look(&item),
        };
        let Some((hops, progress, whose)) = found else {
            return;
        };
        if progress.waiting().is_empty() {
            return self.finish(&item);
        }
        let wanted = wanted(&hops, &progress).into_iter();
        let wanted = wanted.map(|hop| (hop.clone(), self.width(&hop))).collect();
        let errand = Errand { item, claim, whose };
        self.lanes.add(errand, wanted);
    }

    fn width(&self, hop: &Hop) -> Width {
        let queue = &self.context.config.queue;
        match hop {
            // Another connection is another login: it must be worth one.
            Hop::Smarthost | Hop::Host(..) | Hop::Lmtp(_) | Hop::Mx(..) => Width {
                most: queue.per_destination,
                of_one: queue.per_destination,
                worth: WORTH_A_CONNECTION,
                remote: true,
            },
            // With a server that has the mailboxes it is the same; but they do not wait for other hosts.
            Hop::Local if matches!(self.context.config.local.mailbox, Mailboxes::Lmtp(_)) => {
                Width {
                    most: queue.per_destination,
                    of_one: queue.per_destination,
                    worth: WORTH_A_CONNECTION,
                    remote: false,
                }
            }
            Hop::Local | Hop::Refuse(_) => Width {
                // They wait for the disk, which serves several at once as fast as one; or for a command of a user's, who
                // leaves places for others.
                most: queue.workers * 3,
                of_one: queue.workers * 2,
                worth: 1,
                remote: false,
            },
        }
    }

    /// The work of this run.
    pub fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// What it is a part of.
    pub fn context(&self) -> &'a Context {
        self.context
    }

    /// How its connections speak.
    pub fn outgoing(&self) -> Outgoing<'_> {
        self.shared.outgoing()
    }

    /// Connections of one thread.
    pub fn links<'l>(&'l self, outgoing: &'l Outgoing<'l>) -> Links<'l> {
        Links::new(&self.shared, outgoing)
    }

    /// Whether a smarthost was found to be down.
    pub fn is_blocked(&self) -> bool {
        self.shared.is_blocked()
    }

    /// Forgets who was found to be down: a run that goes on for long tries them again.
    pub fn forget(&self) {
        self.shared.forget();
    }

    /// When the next message is due of those deferred since this was asked last.
    pub fn next_due(&self) -> Option<i64> {
        lock(&self.tally).next.take()
    }

    /// Whether something is left for a daemon: it was deferred, or is not ours to deliver.
    pub fn leaves_work(&self) -> bool {
        let tally = lock(&self.tally);
        tally.next.is_some() || tally.left > 0
    }

    /// Removes a message that is done, which an earlier run could not.
    fn finish(&self, item: &Item) {
        let Some(claim) = self.claim(item) else {
            return;
        };
        if claim.progress().waiting().is_empty() {
            match claim.remove() {
                Ok(()) => events::removed(&claim.id, "done"),
                Err(error) => events::trouble(&claim.id, &error),
            }
        }
        self.release(claim);
    }

    /// Where a message goes and what waits. A file that cannot be read is claimed, which says why: another process
    /// has it or had it, or it is set aside.
    fn look(&self, item: &Item) -> Option<(Vec<Hop>, Progress, u64)> {
        if let Some(claim) = self.held.of(&item.id).get(&item.id).and_then(Weak::upgrade) {
            return Some(self.found(&claim.envelope(), claim.progress()));
        }
        if let Some((parsed, progress)) = self.context.spool.look(item) {
            return Some(self.found(&parsed.envelope, progress));
        }
        let claim = self.claim(item)?;
        let found = self.found(&claim.envelope(), claim.progress());
        self.release(claim);
        Some(found)
    }

    fn found(&self, envelope: &Envelope, progress: Progress) -> (Vec<Hop>, Progress, u64) {
        let hops = hops::of_message(self.context, envelope);
        let whose = whose(self.context, envelope, &hops, &progress);
        (hops, progress, whose)
    }

    /// Lets as many workers as the work is worth do it; a single one needs no thread.
    fn work_off(&self) {
        let workers = self.lanes.places();
        if workers <= 1 {
            return self.worker();
        }
        std::thread::scope(|scope| {
            let spawn = |_| {
                std::thread::Builder::new()
                    .stack_size(STACK)
                    .spawn_scoped(scope, || self.worker())
            };
            // Too few resources for a thread: the others do its work.
            let _threads: Vec<_> = (1..workers).map(spawn).collect();
            self.worker();
        });
    }

    /// Whatever happens from here on happens over this message.
    fn take_in_hand(&self, id: &str) -> InHand {
        fault::over_message(&self.context.spool, id, policy(self.context).first)
    }

    /// Works as long as there is anything to do.
    pub fn worker(&self) {
        let outgoing = self.outgoing();
        let mut links = self.links(&outgoing);
        while let Some(mut place) = self.lanes.join() {
            while let Some(errand) = place.next() {
                let _in_hand = self.take_in_hand(&errand.item.id);
                let claim = match errand.claim {
                    Some(claim) => Some(claim),
                    None => self.claim(&errand.item),
                };
                if let Some(claim) = claim {
                    let known = claim.envelope().recipients.len();
                    let early = self.early(&errand.item, &claim);
                    let reports = self.attempt(&place.hop, &claim, &early, &mut links);
                    if place.hop == Hop::Local {
                        self.lead_on(&errand.item, &claim, known);
                    }
                    self.release(claim);
                    for id in reports {
                        self.add(fresh(id), None);
                    }
                }
            }
            // The exchanger of the next domain may well be the same.
            if !matches!(place.hop, Hop::Mx(..)) {
                links.close();
            }
        }
        links.close();
    }

    /// Where a message goes on whose recipients were expanded: the hops of the new ones join the work.
    fn lead_on(&self, item: &Item, claim: &Arc<Claim>, known: usize) {
        let envelope = claim.envelope();
        if envelope.recipients.len() == known {
            return;
        }
        let (hops, progress) = (hops::of_message(self.context, &envelope), claim.progress());
        let mut new: Vec<Hop> = (known..hops.len())
            .filter(|i| progress.standings.get(*i).is_some_and(Standing::is_waiting))
            .filter_map(|i| hops.get(i).filter(|hop| **hop != Hop::Local).cloned())
            .collect();
        order::sort(&mut new, &Hop::cmp);
        new.dedup();
        let new = new
            .into_iter()
            .map(|hop| (hop.clone(), self.width(&hop)))
            .collect();
        let errand = Errand {
            item: item.clone(),
            claim: Some(Arc::clone(claim)),
            whose: 0,
        };
        self.lanes.more(&errand, new);
    }
}

/// Whose mail a message is on this system, as far as its envelope and the aliases show: the first of those who wait,
/// without the detail of his address, as a number that is not 0. Nobody is looked up for it.
fn whose(context: &Context, envelope: &Envelope, hops: &[Hop], progress: &Progress) -> u64 {
    let waits = progress.standings.iter().map(Standing::is_waiting);
    let is_here = hops.iter().map(|hop| *hop == Hop::Local);
    let mut ours = envelope.recipients.iter().zip(waits.zip(is_here));
    let Some((first, _)) = ours.find(|(_, is_one)| *is_one == (true, true)) else {
        return 0;
    };
    let origin = first.origin.as_ref();
    let led = match origin.is_some_and(|o| o.user.is_some() || o.end.is_some()) {
        // Aliases were looked at already.
        true => None,
        false => led::by_aliases(context, first.address.local()),
    };
    let user = origin.and_then(|o| o.user.as_deref()).or(led.as_deref());
    let name = user.unwrap_or(first.address.local());
    let delimiter = context.config.local.delimiter;
    let name = delimiter.and_then(|d| name.split(d).next()).unwrap_or(name);
    let mut hasher = DefaultHasher::new();
    name.bytes()
        .for_each(|octet| hasher.write_u8(octet.to_ascii_lowercase()));
    hasher.finish().max(1)
}

/// Whom a group can do something for: the hops of those who wait.
fn wanted(hops: &[Hop], progress: &Progress) -> Vec<Hop> {
    let mut wanted: Vec<Hop> = progress
        .waiting()
        .into_iter()
        .filter_map(|i| hops.get(i).cloned())
        .collect();
    order::sort(&mut wanted, &Hop::cmp);
    wanted.dedup();
    wanted
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
