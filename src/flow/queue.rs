//! The queue run: who is due, claimed and grouped by next hop, until everything was tried once.
//!
//! 1. sweep what crashed writers left
//! 2. list new/ and cur/ (what is not due is not even opened), look at each envelope, group by next hop
//! 3. a few workers take the groups; in a group, one message after another over one connection
//! 4. each message is claimed, tried for its recipients of this hop, and settled ([`super::settle`])
//! 5. the reports made on the way are tried in the same run
//!
//! Two runs share the work: the lock of a queue file decides, message by message. Within a run two workers may
//! hold the same message, for different hops; the last to let go of it puts it back into the queue.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::dialogue::Outgoing;
use super::expand::{self, Replaced};
use super::helpers::Helpers;
use super::lanes::{Errand, Lanes, Width};
use super::links::{Links, Shared};
use super::settle::{policy, settle};
use super::{Context, Damaged, Outcomes, admin, deliver, parent, tlsrpt};
use crate::cli::{Invocation, Select, complain};
use crate::error::{Error, Result};
use crate::events;
use crate::host::accounts::Account;
use crate::host::spool::{Claim, Folder, Item, Refusal};
use crate::host::{clock, presence, privilege};
use crate::proto::address::Mailbox;
use crate::proto::end::Mailboxes;
use crate::proto::envelope::{Envelope, Parsed};
use crate::proto::journal::{Progress, Standing};
use crate::proto::outcome::{Outcome, Verdict};
use crate::proto::reply::Enhanced;
use crate::proto::retry::{self, Next};
use crate::proto::route::{self, Hop, Router};

/// A delivery needs little; a thread that has more than it needs takes memory from a small machine.
pub const STACK: usize = 256 * 1024;
/// Messages for which one more connection to the same host is made.
const WORTH_A_CONNECTION: usize = 10;

/// `minimta -q`: tries what is selected, once. A user of a shared queue wakes the daemon, or tries what he has sent
/// himself; he could hold up what others have sent by stopping his process.
///
/// # Errors
/// Those of reading the spool. A message that could not be delivered is none.
pub fn run(context: &Context, call: &Invocation) -> Result<()> {
    if let Some(keeper) = &context.keeper {
        // There are none; but it says that, too.
        keeper.take_doors(&context.config, false)?;
        // Users cannot make them.
        context.spool.create()?;
    }
    let is_guest = privilege::has_group();
    if is_guest && let Some(daemon) = presence::find(&context.config.queue.run) {
        daemon.wake();
        return Ok(());
    }
    context
        .spool
        .sweep(&mut |id| events::swept(id, "its writer died before it was accepted"));
    let now = clock::now();
    let mut items = context.spool.scan(Folder::New)?;
    items.extend(context.spool.scan(Folder::Cur)?);
    let named = |item: &Item| call.only.is_empty() || call.only.contains(&item.id);
    items.retain(|item| {
        (!call.due || is_due(context, item, now))
            && named(item)
            && is_selected(context, item, &call.select)
    });
    if is_guest {
        items.retain(|item| admin::is_ours(context, item));
    }
    let talk = context.verbose || std::io::stderr().is_terminal();
    let run = Run::new(context, talk);
    run.all(items);
    let tally = run.into_tally();
    tlsrpt::settle(context);
    if talk {
        complain(&context.program, &tally.sentence(now));
    }
    context.ledger.flush();
    context.ledger.fold();
    if tally.tried > 0 {
        events::queue_run(tally.delivered, tally.deferred, tally.failed);
    }
    Ok(())
}

/// The attempt right after a submission: of a message that is still held, or of some that were let go.
///
/// In the background it is left to the daemon, when one runs; otherwise it goes on in a process of its own, if one of the few places for such is free and there is
/// a recipient that this process can try at all.
pub fn first_attempt(
    context: &Context,
    held: Option<Claim>,
    mut items: Vec<Item>,
    background: bool,
) {
    if background && let Some(daemon) = presence::find(&context.config.queue.run) {
        // It cannot take what is still held here.
        drop(held);
        daemon.wake();
        return;
    }
    if let Some(servant) = &context.servant {
        let ids = held.iter().map(|claim| claim.id.clone());
        let ids: Vec<String> = ids.chain(items.into_iter().map(|item| item.id)).collect();
        // The worker cannot take what is still held here.
        drop(held);
        return attempt_by_worker(context, servant, &ids, background);
    }
    let worth = |claim: &Claim| {
        claim
            .progress()
            .waiting()
            .into_iter()
            .any(|i| deliver::is_ours_to_try(context, claim, i))
    };
    if items.is_empty() && !held.as_ref().is_some_and(worth) {
        return;
    }
    let mut place = None;
    if background {
        place = context.spool.place(context.config.queue.workers);
        // The one who asked is told "done" and goes on; standard streams are his, not ours.
        if place.is_none() || privilege::detach().is_err() {
            return;
        }
    }
    let run = Run::new(context, context.verbose);
    let held = held.map(|claim| run.adopt(claim));
    items.extend(held.iter().map(|claim| fresh(claim.id.clone())));
    run.all(items);
    if let Some(claim) = held {
        run.release(claim);
    }
    while place.is_some() && !run.shared.is_blocked() {
        // Whoever found no place in the meantime relies on us to look after his message.
        place = place.and_then(|place| {
            context
                .spool
                .next_wanted(place, context.config.queue.workers)
        });
        if place.is_some() {
            let mut items = context.spool.scan(Folder::New).unwrap_or_default();
            // Whoever can stop a process must not hold up with it what others have sent.
            items.retain(|item| admin::is_ours(context, item));
            run.all(items);
        }
    }
}

/// Whether a message is to be tried by now. A time that no schedule could have set was set by a clock that was wrong,
/// and would strand the message until then.
pub fn is_due(context: &Context, item: &Item, now: i64) -> bool {
    let most = policy(context).max.saturating_mul(2);
    let most = most.max(context.config.submit.collapse.as_secs());
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    item.due <= now || item.due > now.saturating_add(most)
}

/// The same for what root submits: root does not do it himself, and has helpers made for mail of other users.
fn attempt_by_worker(context: &Context, servant: &Account, ids: &[String], background: bool) {
    if ids.is_empty() {
        return;
    }
    let workers = context.config.queue.workers;
    let mut place = None;
    if background {
        place = context.spool.place(workers);
        if place.is_none() || privilege::detach().is_err() {
            return;
        }
    }
    let run = |ids: &[String]| {
        let done = privilege::be_root()
            .map_err(Error::Os)
            .and_then(|()| parent::run_queue(context, servant, ids));
        if let Err(error) = &done {
            events::trouble("-", error);
        }
        done.is_ok()
    };
    let mut goes_on = run(ids);
    while goes_on && place.is_some() {
        place = place.and_then(|place| context.spool.next_wanted(place, workers));
        goes_on = place.is_some() && run(&[]);
    }
}

pub fn is_selected(context: &Context, item: &Item, select: &[Select]) -> bool {
    let contains = |text: &dyn std::fmt::Display, part: &str| {
        text.to_string()
            .to_lowercase()
            .contains(&part.to_lowercase())
    };
    if select.iter().all(|s| matches!(s, Select::Id(_))) {
        return select
            .iter()
            .all(|s| matches!(s, Select::Id(part) if item.id.contains(part.as_str())));
    }
    let Some((Parsed { envelope, .. }, _)) = context.spool.look(item) else {
        return false;
    };
    select.iter().all(|s| match s {
        Select::Id(part) => item.id.contains(part.as_str()),
        Select::Sender(part) => contains(&envelope.sender, part),
        Select::Recipient(part) => envelope
            .recipients
            .iter()
            .any(|r| contains(&r.address, part)),
    })
}

/// The next hop of an address; whether it is of this system depends on nothing else.
pub fn hop(context: &Context, address: &Mailbox) -> Hop {
    hop_from(context, None, address)
}

/// The next hop of an address, for mail of this sender.
pub fn hop_from(context: &Context, sender: Option<&Mailbox>, address: &Mailbox) -> Hop {
    let config = &context.config;
    let router = Router {
        routes: &config.routes,
        domains: &config.domains,
        smarthost: !config.smarthosts.is_empty(),
        port: config.remote.port,
        tls: config.remote.tls,
    };
    router.route(sender, address)
}

/// The next hop of each recipient.
pub fn hops(context: &Context, envelope: &Envelope) -> Vec<Hop> {
    envelope
        .recipients
        .iter()
        .map(|r| hop_from(context, envelope.sender_for(r).mailbox(), &r.address))
        .collect()
}

/// A message that was just accepted.
pub fn fresh(id: String) -> Item {
    Item {
        id,
        folder: Folder::New,
        due: 0,
    }
}

/// What is told when a worker has panicked.
pub const WORKER_FAILED: &str = "a worker of the queue failed; its message stays in the queue";

/// One pass over some messages.
pub struct Run<'a> {
    context: &'a Context,
    talk: bool,
    lanes: Lanes,
    /// Who of this run holds which message.
    held: Held,
    tally: Mutex<Tally>,
    shared: Shared<'a>,
    /// Those who deliver in the right of others, when root's process makes them.
    helpers: Option<Helpers>,
}

impl<'a> Run<'a> {
    /// A pass over what is there now.
    pub fn new(context: &'a Context, talk: bool) -> Self {
        Self::lingering(context, talk, Duration::ZERO)
    }

    /// A pass in which work may come as long as it lasts, and in which connections are kept so long for it.
    pub fn lingering(context: &'a Context, talk: bool, linger: Duration) -> Self {
        let (held, tally, shared) = (Held::default(), Mutex::default(), Shared::new(context));
        Self {
            context,
            talk,
            lanes: Lanes::new(linger, context.config.queue.workers),
            held,
            tally,
            shared,
            helpers: context.keeper.clone().map(Helpers::new),
        }
    }

    fn into_tally(self) -> Tally {
        self.tally
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Tries the messages, and the reports that come of it.
    fn all(&self, items: Vec<Item>) {
        for item in items {
            self.add(item, None);
        }
        self.work_off();
    }

    /// Looks at the envelope of a message and puts it into the lanes of its next hops. What cannot be read is dealt
    /// with here.
    pub fn add(&self, item: Item, claim: Option<Claim>) {
        if self.lanes.has(&item.id) {
            return;
        }
        let claim = claim.map(|claim| self.adopt(claim));
        let found = match &claim {
            Some(claim) => Some((hops(self.context, &claim.envelope()), claim.progress())),
            None => self.look(&item),
        };
        let Some((hops, progress)) = found else {
            return;
        };
        if progress.waiting().is_empty() {
            return self.finish(&item);
        }
        let wanted = wanted(&hops, &progress).into_iter();
        let wanted = wanted.map(|hop| (hop.clone(), self.width(&hop))).collect();
        self.lanes.add(Errand { item, claim }, wanted);
    }

    fn width(&self, hop: &Hop) -> Width {
        let queue = &self.context.config.queue;
        match hop {
            // Another connection is another login: it must be worth one.
            Hop::Smarthost | Hop::Host(..) | Hop::Lmtp(_) | Hop::Mx(..) => Width {
                most: queue.per_destination,
                worth: WORTH_A_CONNECTION,
                remote: true,
            },
            // With a server that has the mailboxes it is the same; but they do not wait for other hosts.
            Hop::Local if matches!(self.context.config.local.mailbox, Mailboxes::Lmtp(_)) => {
                Width {
                    most: queue.per_destination,
                    worth: WORTH_A_CONNECTION,
                    remote: false,
                }
            }
            Hop::Local | Hop::Refuse(_) => Width {
                // They wait for the disk, which serves several at once as fast as one.
                most: queue.workers * 2,
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

    /// When the next message is due of those deferred since this was asked last.
    pub fn next_due(&self) -> Option<i64> {
        lock(&self.tally).next.take()
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
    fn look(&self, item: &Item) -> Option<(Vec<Hop>, Progress)> {
        let of = |claim: &Claim| (hops(self.context, &claim.envelope()), claim.progress());
        if let Some(claim) = self.held.of(&item.id).get(&item.id).and_then(Weak::upgrade) {
            return Some(of(&claim));
        }
        if let Some((parsed, progress)) = self.context.spool.look(item) {
            return Some((hops(self.context, &parsed.envelope), progress));
        }
        let claim = self.claim(item)?;
        let found = of(&claim);
        self.release(claim);
        Some(found)
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
            let threads: Vec<_> = (1..workers).map(spawn).collect();
            self.worker();
            for thread in threads {
                match thread.map(std::thread::ScopedJoinHandle::join) {
                    // Too few resources for a thread: the others do its work.
                    Err(_) | Ok(Ok(())) => {}
                    Ok(Err(_)) => events::trouble("-", &WORKER_FAILED),
                }
            }
        });
    }

    /// Works as long as there is anything to do.
    pub fn worker(&self) {
        let outgoing = self.outgoing();
        let mut links = self.links(&outgoing);
        while let Some(mut place) = self.lanes.join() {
            while let Some(errand) = place.next() {
                let claim = match errand.claim {
                    Some(claim) => Some(claim),
                    None => self.claim(&errand.item),
                };
                if let Some(claim) = claim {
                    let known = claim.envelope().recipients.len();
                    let reports = self.attempt(&place.hop, &claim, &mut links);
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

    /// Tries a message for its recipients of this hop. Returned are the reports made.
    pub fn attempt(&self, hop: &Hop, claim: &Claim, links: &mut Links<'_>) -> Vec<String> {
        let (progress, hops) = (claim.progress(), hops(self.context, &claim.envelope()));
        let ours = |i: &usize| {
            hops.get(*i) == Some(hop) && deliver::is_ours_to_try(self.context, claim, *i)
        };
        let waiting: Vec<usize> = progress.waiting().into_iter().filter(ours).collect();
        let waiting = claim.take(&waiting);
        if waiting.is_empty() {
            return Vec::new();
        }
        // Nobody is given what could not be noted afterwards. Of a single one there is no more to note than that the
        // file goes.
        let all = progress.waiting().len();
        let room = if all > 1 { claim.reserve(all) } else { Ok(()) };
        let mut replaced = Vec::new();
        let outcomes = match (room, hop) {
            (Err(error), _) => Ok(waiting.iter().map(|i| (*i, unnoted(&error))).collect()),
            (_, Hop::Local) => self.at_home(claim, &waiting, links, &mut replaced),
            (_, Hop::Refuse(why)) => Ok(waiting.iter().map(|i| (*i, refused(why))).collect()),
            _ => links.send(hop, claim, &waiting),
        };
        let reports = match outcomes {
            Ok(outcomes) => {
                self.count(claim, &outcomes);
                settle(self.context, claim, outcomes, &replaced)
            }
            Err(Damaged) => {
                self.set_aside(claim);
                Vec::new()
            }
        };
        claim.give_back(&waiting);
        reports
    }

    /// Delivers to recipients of this system, and to those they stand for as far as these end here.
    fn at_home(
        &self,
        claim: &Claim,
        waiting: &[usize],
        links: &mut Links<'_>,
        replaced: &mut Vec<Replaced>,
    ) -> Result<Outcomes, Damaged> {
        let helpers = self.helpers.as_ref();
        let expanded = expand::expand(self.context, helpers, claim, waiting);
        *replaced = expanded.replaced;
        let mut ready = expanded.ready;
        let envelope = claim.envelope();
        let may_deliver = |i: &usize| {
            let recipient = envelope.recipients.get(*i);
            recipient.is_some_and(|r| deliver::may_deliver(self.context, r))
        };
        ready.retain(may_deliver);
        // One of them may have been led here twice, on two ways at once.
        let new: Vec<usize> = ready
            .iter()
            .copied()
            .filter(|i| !waiting.contains(i))
            .collect();
        let taken = claim.take(&new);
        ready.retain(|i| waiting.contains(i) || taken.contains(i));
        let all = claim.progress().waiting().len();
        let room = match replaced.is_empty() || all <= 1 {
            true => Ok(()),
            false => claim.reserve(all),
        };
        let delivered = match room {
            Ok(()) => deliver::deliver(self.context, helpers, links, claim, &ready),
            Err(error) => Ok(ready.iter().map(|i| (*i, unnoted(&error))).collect()),
        };
        claim.give_back(&taken);
        let mut outcomes = expanded.outcomes;
        outcomes.extend(delivered?);
        Ok(outcomes)
    }

    /// Where a message goes on whose recipients were expanded: the hops of the new ones join the work.
    fn lead_on(&self, item: &Item, claim: &Arc<Claim>, known: usize) {
        let envelope = claim.envelope();
        if envelope.recipients.len() == known {
            return;
        }
        let (hops, progress) = (hops(self.context, &envelope), claim.progress());
        let mut new: Vec<Hop> = (known..hops.len())
            .filter(|i| progress.standings.get(*i).is_some_and(Standing::is_waiting))
            .filter_map(|i| hops.get(i).filter(|hop| **hop != Hop::Local).cloned())
            .collect();
        new.sort_unstable();
        new.dedup();
        let new = new
            .into_iter()
            .map(|hop| (hop.clone(), self.width(&hop)))
            .collect();
        let errand = Errand {
            item: item.clone(),
            claim: Some(Arc::clone(claim)),
        };
        self.lanes.more(&errand, new);
    }

    fn set_aside(&self, claim: &Claim) {
        match claim.hold() {
            Ok(()) => events::held(&claim.id, &"its checksum is wrong"),
            Err(error) => events::trouble(&claim.id, &error),
        }
        if self.talk {
            complain(
                &self.context.program,
                &format!("{}: its checksum is wrong; set aside in hold/", claim.id),
            );
        }
    }

    fn count(&self, claim: &Claim, outcomes: &[(usize, Outcome)]) {
        let envelope = claim.envelope();
        let mut tally = lock(&self.tally);
        tally.tried += 1;
        for (index, outcome) in outcomes {
            match outcome.verdict {
                Verdict::Delivered => tally.delivered += 1,
                Verdict::Failed => tally.failed += 1,
                Verdict::Expanded => {}
                Verdict::Deferred => {
                    tally.deferred += 1;
                    tally.reason = Some(outcome.clone());
                }
            }
            if let (true, Some(recipient)) = (self.talk, envelope.recipients.get(*index)) {
                let (to, words) = (&recipient.address, in_words(outcome));
                complain(
                    &self.context.program,
                    &format!("{} to {to} {words}", claim.id),
                );
            }
        }
    }

    /// Takes over a claim of this process.
    pub fn adopt(&self, claim: Claim) -> Arc<Claim> {
        let claim = Arc::new(claim);
        let mut held = self.held.of(&claim.id);
        held.insert(claim.id.clone(), Arc::downgrade(&claim));
        drop(held);
        claim
    }

    /// Claims a message, or joins whoever of this run holds it. What is unfinished is swept, what is unusable is
    /// set aside.
    fn claim(&self, item: &Item) -> Option<Arc<Claim>> {
        let mut held = self.held.of(&item.id);
        if let Some(claim) = held.get(&item.id).and_then(Weak::upgrade) {
            return Some(claim);
        }
        let spool = &self.context.spool;
        let claimed = match spool.claim(item.folder, &item.id) {
            // Deferred by someone since the folder was read, perhaps by us for another hop.
            Err(Refusal::Gone) if item.folder == Folder::New => spool.claim(Folder::Cur, &item.id),
            claimed => claimed,
        };
        match claimed {
            Ok(claim) => {
                let claim = Arc::new(claim);
                held.insert(item.id.clone(), Arc::downgrade(&claim));
                return Some(claim);
            }
            Err(Refusal::Busy | Refusal::Gone) => {}
            Err(Refusal::Unfinished) => match spool.remove(item) {
                Ok(()) => events::swept(&item.id, "its writer died before it was accepted"),
                Err(error) => events::trouble(&item.id, &error),
            },
            Err(Refusal::Bad(why)) => {
                match spool.shift(item, Folder::Hold) {
                    Ok(()) => events::held(&item.id, &why),
                    Err(error) => events::trouble(&item.id, &error),
                }
                if self.talk {
                    complain(
                        &self.context.program,
                        &format!("{}: set aside in hold/: {why}", item.id),
                    );
                }
            }
            Err(Refusal::Trouble(error)) => self.trouble(&item.id, &error),
        }
        None
    }

    fn trouble(&self, id: &str, error: &Error) {
        events::trouble(id, error);
        complain(&self.context.program, &format!("{id}: {error}"));
    }

    /// Lets go of a message, whatever waits; the last one gets it.
    pub fn let_go(&self, claim: Arc<Claim>) -> Option<Claim> {
        let mut held = self.held.of(&claim.id);
        let claim = Arc::into_inner(claim)?;
        held.remove(&claim.id);
        Some(claim)
    }

    /// Lets go of a message; the last one puts it back into the queue, if anybody waits.
    pub fn release(&self, claim: Arc<Claim>) {
        let mut held = self.held.of(&claim.id);
        let Some(claim) = Arc::into_inner(claim) else {
            return;
        };
        held.remove(&claim.id);
        let progress = claim.progress();
        if let Some(due) = self.due(&claim, &progress) {
            let mut tally = lock(&self.tally);
            tally.next = Some(tally.next.map_or(due, |next| next.min(due)));
            drop(tally);
            if let Err(error) = claim.defer_until(due) {
                events::trouble(&claim.id, &error);
            }
        }
    }

    /// When the next of those who wait is due; `None` when nobody waits, or nobody was tried.
    fn due(&self, claim: &Claim, progress: &Progress) -> Option<i64> {
        let jitter = u32::try_from(clock::random() >> 32).unwrap_or_default();
        let waiting = progress.standings.iter().filter(|s| s.is_waiting());
        let received_at = claim.envelope().received_at;
        let due = |(at, attempts, soon)| {
            let policy = policy(self.context);
            match retry::next_attempt(&policy, received_at, attempts, at, soon, jitter) {
                Next::At(due) => due,
                // It fails at the next attempt: a run must come.
                Next::GiveUp => at,
            }
        };
        let tried = waiting
            .clone()
            .filter_map(|s| s.last.as_ref().map(|(at, last)| (*at, s.attempts, last)))
            .map(|(at, attempts, last)| (at, attempts, retry::is_greylisted(last)));
        let next = tried.map(due).min();
        // A recipient who was not tried yet (his hop was busy) keeps the message due.
        next.map(|next| {
            if waiting.clone().any(|s| s.last.is_none()) {
                0
            } else {
                next
            }
        })
    }
}

/// Who holds which message, in a few parts: a claim is made under the lock of its part, and those of other messages
/// need not wait for that.
#[derive(Default)]
struct Held([Mutex<HashMap<String, Weak<Claim>>>; 8]);

impl Held {
    /// The part that a message belongs to: ids that follow each other differ in their ends.
    fn of(&self, id: &str) -> MutexGuard<'_, HashMap<String, Weak<Claim>>> {
        let sum = id
            .bytes()
            .fold(0, |sum: usize, octet| sum.wrapping_add(octet.into()));
        // The remainder is less than the number of parts.
        lock(&self.0[sum % self.0.len()])
    }
}

/// Whom a group can do something for: the hops of those who wait.
fn wanted(hops: &[Hop], progress: &Progress) -> Vec<Hop> {
    let mut wanted: Vec<Hop> = progress
        .waiting()
        .into_iter()
        .filter_map(|i| hops.get(i).cloned())
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}

/// There is no room to write down what becomes of it.
fn unnoted(error: &Error) -> Outcome {
    let enhanced = Enhanced(4, 3, 1);
    Outcome::new(Verdict::Deferred, None, enhanced, "", &error.to_string())
}

/// In the words of the configuration, not of a server.
fn refused(why: &route::Refusal) -> Outcome {
    Outcome::new(Verdict::Failed, None, why.enhanced, "", &why.text)
}

/// What a pass did.
#[derive(Debug, Default)]
struct Tally {
    tried: usize,
    delivered: usize,
    deferred: usize,
    failed: usize,
    /// Why the last one was deferred.
    reason: Option<Outcome>,
    /// When the next one is due.
    next: Option<i64>,
}

impl Tally {
    fn sentence(&self, now: i64) -> String {
        if self.tried == 0 {
            return "nothing to do".to_owned();
        }
        let counts = [
            (self.delivered, "delivered"),
            (self.deferred, "deferred"),
            (self.failed, "failed"),
        ];
        let counts: Vec<String> = counts
            .iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, word)| format!("{n} {word}"))
            .collect();
        let reason = self
            .reason
            .as_ref()
            .map(|o| format!(": {}", said(o)))
            .unwrap_or_default();
        let next = self
            .next
            .map(|at| format!("; next try {}", clock::local(at.max(now)).short(now)))
            .unwrap_or_default();
        format!("{}{reason}{next}", counts.join(", "))
    }
}

/// `delivered: mx.example.net says 250 2.0.0 ok`, after "to ADDRESS".
fn in_words(outcome: &Outcome) -> String {
    format!("{}: {}", outcome.verdict.word(), said(outcome))
}

/// Who said what: a server its reply, this system a sentence.
pub fn said(outcome: &Outcome) -> String {
    match (outcome.host.as_str(), outcome.code) {
        ("", _) => outcome.text.clone(),
        (host, Some(_)) => format!("{host} says {}", outcome.words()),
        (host, None) => format!("{host}: {}", outcome.text),
    }
}

/// No worker leaves shared state half-changed, so that of one who panicked is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
