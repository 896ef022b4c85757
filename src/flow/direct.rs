//! Straight through (`[queue] first_try = "direct"`): what one next hop takes at once is never written to the spool.
//!
//! 1. the message has ended, and is nowhere but in memory: only a short one, so that memory stays bounded
//! 2. it is tried, in haste, over a connection that lasts as long as the session does
//! 3. whoever has it is done; when nobody waits any more, nothing was written: 250, exit 0
//! 4. for whoever still waits it goes into the spool, with what the attempt has brought in its journal: then 250
//!
//! So the promise is the same: what was acknowledged is with the next hop, in a mailbox, or on the disk. A hop that was
//! found to be down rests for a minute, in which its mail goes into the spool without a wait.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Context;
use super::dialogue::Outgoing;
use super::hops;
use super::links::Links;
use super::pass::Pass;
use super::sink::Left;
use crate::config::FirstTry;
use crate::error::Result;
use crate::events;
use crate::host::spool::Claim;
use crate::proto::journal::Standing;
use crate::proto::outcome::Outcome;
use crate::proto::route::Hop;

/// Octets of a queue file up to which a message is held in memory.
pub const MOST: usize = 128 * 1024;
/// How long the next hop may take for a step: somebody waits for our answer.
const STEP: Duration = Duration::from_secs(30);
/// How long it may take for the message itself, and for the answer to it.
const LAST_STEP: Duration = Duration::from_secs(120);
/// How long a hop that was down is not tried again.
const REST: Duration = Duration::from_secs(60);
/// How long a connection may have been idle, to be used again.
const FRESH: Duration = Duration::from_secs(5);

/// Whether messages go straight through. What root hands in does not: he speaks to no network.
pub fn is_wanted(context: &Context) -> bool {
    context.servant.is_none() && context.config.queue.first_try == FirstTry::Direct
}

/// Hops that were found to be down, and until when they rest.
#[derive(Debug, Default)]
pub struct Resting(Mutex<BTreeMap<Hop, Instant>>);

impl Resting {
    fn contains(&self, hop: &Hop) -> bool {
        let mut hops = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        hops.retain(|_, until| *until > now);
        hops.contains_key(hop)
    }

    fn add(&self, hop: &Hop) {
        let mut hops = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hops.insert(hop.clone(), Instant::now() + REST);
    }
}

/// What the messages of one session need.
pub struct Passage<'a> {
    run: Pass<'a>,
    resting: &'a Resting,
}

impl<'a> Passage<'a> {
    /// No connection yet.
    pub fn new(context: &'a Context, resting: &'a Resting) -> Self {
        Self {
            run: Pass::new(context, context.verbose),
            resting,
        }
    }

    /// How it speaks to others.
    pub fn outgoing(&self) -> Outgoing<'_> {
        let outgoing = self.run.outgoing();
        Outgoing {
            timeouts: outgoing.timeouts.capped(STEP, LAST_STEP),
            ..outgoing
        }
    }

    /// The way for one message after the other.
    pub fn way<'w>(&'w self, outgoing: &'w Outgoing<'w>) -> Straight<'w> {
        Straight {
            run: &self.run,
            resting: self.resting,
            links: self.run.links(outgoing),
            used: Instant::now(),
        }
    }
}

/// Passes on the messages of one session.
pub struct Straight<'a> {
    run: &'a Pass<'a>,
    resting: &'a Resting,
    links: Links<'a>,
    used: Instant,
}

impl Straight<'_> {
    /// Passes on a message that may be nowhere but in memory. When this returns it is with whom it is for, or on the
    /// disk; what is left to be done with it is told to `leave`.
    ///
    /// # Errors
    /// Those of the spool: nothing was promised then, though some may have the message.
    pub fn pass(&mut self, claim: Claim, leave: &mut dyn FnMut(Left)) -> Result<()> {
        let hop = match only(hops::of_message(self.run.context(), &claim.envelope())) {
            Some(hop) if !claim.is_stored() && !self.resting.contains(&hop) => hop,
            _ => {
                claim.store()?;
                leave(Left::Message(Box::new(claim)));
                return Ok(());
            }
        };
        if self.used.elapsed() > FRESH {
            self.links.close();
        }
        let claim = self.run.adopt(claim);
        let reports = self.run.attempt(&hop, &claim, &[], &mut self.links);
        self.used = Instant::now();
        reports.into_iter().for_each(|id| leave(Left::Report(id)));
        let waiting: Vec<Standing> = claim.progress().standings;
        let mut waiting = waiting.iter().filter(|s| s.is_waiting()).peekable();
        if waiting.peek().is_none() {
            self.run.let_go(claim);
            return Ok(());
        }
        if let Err(error) = claim.store() {
            events::trouble(&claim.id, &error);
            return Err(error);
        }
        let lasts: Vec<_> = waiting.map(|s| s.last.as_ref()).collect();
        if hop != Hop::Local && lasts.iter().flatten().any(|(_, o)| is_down(o)) {
            self.resting.add(&hop);
        }
        if lasts.contains(&None) {
            // It could not be tried here.
            self.run
                .let_go(claim)
                .into_iter()
                .for_each(|claim| leave(Left::Message(Box::new(claim))));
        } else {
            self.run.release(claim);
            self.run
                .next_due()
                .into_iter()
                .for_each(|due| leave(Left::Due(due)));
        }
        Ok(())
    }

    /// Says goodbye to the next hop.
    pub fn close(&mut self) {
        self.links.close();
    }
}

/// The hop of all, if it is one.
fn only(mut hops: Vec<Hop>) -> Option<Hop> {
    let first = hops.pop()?;
    hops.iter().all(|hop| *hop == first).then_some(first)
}

/// Whether it was the server, and not this message or recipient, that was in no state to take mail.
fn is_down(outcome: &Outcome) -> bool {
    matches!(outcome.code, None | Some(421))
}
