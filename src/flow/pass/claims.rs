//! Who of a pass holds which message: claims made, shared by the workers of a pass, and given back with the time when
//! the message is due.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use super::{Pass, lock};
use crate::cli::complain;
use crate::error::{Error, Result};
use crate::events;
use crate::flow::settle::policy;
use crate::host::clock;
use crate::host::spool::{Change, Claim, Folder, Item, Refusal, UNTRIED};
use crate::proto::journal::{Progress, Standing};
use crate::proto::retry::{self, Next};

/// Who holds which message, in a few parts: a claim is made under the lock of its part, and those of other messages
/// need not wait for that.
#[derive(Default)]
pub struct Held([Mutex<HashMap<String, Weak<Claim>>>; 8]);

impl Held {
    /// The part that a message belongs to: ids that follow each other differ in their ends.
    pub fn of(&self, id: &str) -> MutexGuard<'_, HashMap<String, Weak<Claim>>> {
        let sum = id
            .bytes()
            .fold(0, |sum: usize, octet| sum.wrapping_add(octet.into()));
        // The remainder is less than the number of parts.
        lock(&self.0[sum % self.0.len()])
    }
}

impl Pass<'_> {
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
    pub(super) fn claim(&self, item: &Item) -> Option<Arc<Claim>> {
        let mut held = self.held.of(&item.id);
        if let Some(claim) = held.get(&item.id).and_then(Weak::upgrade) {
            return Some(claim);
        }
        let spool = &self.context.spool;
        let mut folder = item.folder;
        let mut claimed = spool.claim(folder, &item.id);
        // Deferred by someone since the folder was read, perhaps by us for another hop.
        if matches!(claimed, Err(Refusal::Gone)) && folder == Folder::New {
            folder = Folder::Cur;
            claimed = spool.claim(folder, &item.id);
        }
        let found = || Item {
            folder,
            ..item.clone()
        };
        match claimed {
            Ok(claim) => {
                let claim = Arc::new(claim);
                held.insert(item.id.clone(), Arc::downgrade(&claim));
                return Some(claim);
            }
            Err(Refusal::Busy | Refusal::Gone) => {}
            Err(Refusal::Unfinished) => match spool.remove(&found()) {
                Ok(Change::Made) => {
                    events::swept(&item.id, "its writer died before it was accepted")
                }
                Ok(Change::Busy | Change::Gone) => {}
                Err(error) => events::trouble(&item.id, &error),
            },
            Err(Refusal::Bad(why)) => match spool.shift(&found(), Folder::Hold) {
                // Another process found out the same.
                Ok(Change::Busy | Change::Gone) => {}
                moved => self.set_aside(&item.id, &why, moved.map(drop)),
            },
            Err(Refusal::Trouble(error)) => self.trouble(&item.id, &error),
        }
        None
    }

    /// Tells that a message was set aside, or that it was not, so that the next run finds it again.
    pub(super) fn set_aside(&self, id: &str, why: &str, moved: Result<()>) {
        match moved {
            Err(error) => self.trouble(id, &error),
            Ok(()) => {
                events::held(id, &why);
                if self.talk {
                    let words = format!("{id}: {why}; set aside in hold/");
                    complain(&self.context.program, &words);
                }
            }
        }
    }

    fn trouble(&self, id: &str, error: &Error) {
        events::trouble(id, error);
        complain(&self.context.program, &format!("{id}: {error}"));
        lock(&self.tally).untried += 1;
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
        self.put_back(claim, Claim::defer_until);
    }

    /// The same for one that this process has accepted, and tried alone.
    pub fn release_own(&self, claim: Arc<Claim>) {
        self.put_back(claim, Claim::put_off);
    }

    fn put_back(&self, claim: Arc<Claim>, until: fn(&Claim, i64) -> Result<()>) {
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
            if let Err(error) = until(&claim, due) {
                events::trouble(&claim.id, &error);
            }
        }
    }

    /// Those whose own time has not come, of a message that is due because somebody in it was never tried: his server has no
    /// connection left for a while, and a message that comes up so with each run must not try the others' patience.
    pub fn early(&self, item: &Item, claim: &Claim) -> Vec<usize> {
        if !self.by_due || item.folder != Folder::Cur || item.due != UNTRIED {
            return Vec::new();
        }
        let progress = claim.progress();
        let (now, received_at) = (clock::now(), claim.envelope().received_at);
        let policy = policy(self.context);
        let is_early = |standing: &Standing| {
            let Some((at, last)) = &standing.last else {
                return false;
            };
            let soon = retry::is_greylisted(last);
            let since = progress.since(received_at, *at);
            let next = retry::next_attempt(&policy, since, standing.attempts, *at, soon, 0);
            // A clock that was set back since has put it into the future.
            *at <= now && matches!(next, Next::At(next) if next > now)
        };
        let standings = progress.standings.iter().enumerate();
        standings
            .filter(|(_, standing)| is_early(standing))
            .map(|(index, _)| index)
            .collect()
    }

    /// When the next of those who wait is due; `None` when nobody waits, or nobody was tried.
    fn due(&self, claim: &Claim, progress: &Progress) -> Option<i64> {
        let jitter = u32::try_from(clock::random() >> 32).unwrap_or_default();
        let waiting = progress.standings.iter().filter(|s| s.is_waiting());
        let received_at = claim.envelope().received_at;
        let due = |(at, attempts, soon)| {
            let policy = policy(self.context);
            let since = progress.since(received_at, at);
            match retry::next_attempt(&policy, since, attempts, at, soon, jitter) {
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
                UNTRIED
            } else {
                next
            }
        })
    }
}
