//! One message tried for the recipients of one hop, and what becomes of it counted.

use super::tally::in_words;
use super::{Pass, lock};
use crate::cli::complain;
use crate::error::Error;
use crate::flow::expand::{self, Replaced};
use crate::flow::links::Links;
use crate::flow::settle::settle;
use crate::flow::{Damaged, Outcomes, deliver, hops};
use crate::host::spool::Claim;
use crate::proto::envelope::Envelope;
use crate::proto::outcome::{Outcome, Verdict};
use crate::proto::reply::Enhanced;
use crate::proto::route::{self, Hop};

impl Pass<'_> {
    /// Tries a message for its recipients of this hop, but not for those for whom it is early. Returned are the reports made.
    pub fn attempt(
        &self,
        hop: &Hop,
        claim: &Claim,
        early: &[usize],
        links: &mut Links<'_>,
    ) -> Vec<String> {
        let (progress, hops) = (
            claim.progress(),
            hops::of_message(self.context, &claim.envelope()),
        );
        let is_here = |i: &usize| hops.get(*i) == Some(hop) && !early.contains(i);
        let ours = |i: &usize| deliver::is_ours_to_try(self.context, claim, *i);
        let waiting = progress.waiting().into_iter().filter(is_here);
        let (waiting, others): (Vec<usize>, Vec<usize>) = waiting.partition(ours);
        self.leave(claim, &others);
        let mut waiting = claim.take(&waiting);
        if waiting.is_empty() {
            return Vec::new();
        }
        // Nobody is given what could not be noted afterwards. Of a single one there is no more to note than that the
        // file goes.
        let all = progress.waiting().len();
        let room = if all > 1 { claim.reserve(all) } else { Ok(()) };
        let mut replaced = Vec::new();
        let told = claim.envelope();
        let outcomes = match (room, hop) {
            (Err(error), _) => Ok(self.unnoted(&waiting, &error)),
            (_, Hop::Local) => self.at_home(claim, &mut waiting, links, &mut replaced),
            (_, Hop::Refuse(why)) => Ok(waiting.iter().map(|i| (*i, refused(why))).collect()),
            _ => links.send(hop, claim, &waiting),
        };
        let reports = match outcomes {
            Ok(mut outcomes) => {
                keep_duties(&mut outcomes, &told, &claim.envelope());
                settle(self.context, claim, outcomes, &replaced, &|outcomes| {
                    self.count(claim, outcomes);
                })
            }
            Err(Damaged) => {
                self.set_aside(&claim.id, "its checksum is wrong", claim.hold());
                Vec::new()
            }
        };
        links.in_hand().is_settled();
        claim.give_back(&waiting);
        reports
    }

    /// Delivers to recipients of this system, and to those they stand for as far as these end here, who join those that are
    /// in hand.
    fn at_home(
        &self,
        claim: &Claim,
        waiting: &mut Vec<usize>,
        links: &mut Links<'_>,
        replaced: &mut Vec<Replaced>,
    ) -> Result<Outcomes, Damaged> {
        let helpers = self.helpers.as_ref();
        let expanded = expand::expand(self.context, helpers, claim, waiting);
        *replaced = expanded.replaced;
        let envelope = claim.envelope();
        let may_deliver = |i: &usize| {
            let recipient = envelope.recipients.get(*i);
            recipient.is_some_and(|r| deliver::may_deliver(self.context, r))
        };
        let (mut ready, others): (Vec<usize>, Vec<usize>) =
            expanded.ready.into_iter().partition(may_deliver);
        self.leave(claim, &others);
        // One of them may have been led here twice, on two ways at once.
        let new: Vec<usize> = ready
            .iter()
            .copied()
            .filter(|i| !waiting.contains(i))
            .collect();
        waiting.extend(claim.take(&new));
        ready.retain(|i| waiting.contains(i));
        let all = claim.progress().waiting().len();
        let room = match replaced.is_empty() || all <= 1 {
            true => Ok(()),
            false => claim.reserve(all),
        };
        let delivered = match room {
            Ok(()) => deliver::deliver(self.context, helpers, links, claim, &ready),
            Err(error) => Ok(self.unnoted(&ready, &error)),
        };
        let mut outcomes = expanded.outcomes;
        outcomes.extend(delivered?);
        Ok(outcomes)
    }

    /// Says of recipients that they are left to those who have more rights.
    fn leave(&self, claim: &Claim, others: &[usize]) {
        lock(&self.tally).left += others.len();
        let envelope = claim.envelope();
        for recipient in others.iter().filter_map(|i| envelope.recipients.get(*i)) {
            if self.talk {
                let (id, to, why) = (&claim.id, &recipient.address, deliver::FOR_ROOT);
                complain(&self.context.program, &format!("{id} to {to}: {why}"));
            }
        }
    }

    /// There is no room to write down what becomes of recipients, so that none of them is tried.
    fn unnoted(&self, recipients: &[usize], error: &Error) -> Outcomes {
        lock(&self.tally).untried += 1;
        let enhanced = Enhanced(4, 3, 1);
        let outcome = Outcome::new(Verdict::Deferred, None, enhanced, "", &error.to_string());
        recipients.iter().map(|i| (*i, outcome.clone())).collect()
    }

    fn count(&self, claim: &Claim, outcomes: &Outcomes) {
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
}

/// What was asked for when the server had been `told` already is no duty of its.
fn keep_duties(outcomes: &mut Outcomes, told: &Envelope, asked: &Envelope) {
    let of = |envelope: &Envelope, index: usize| envelope.recipients.get(index).map(|r| r.notify);
    for (index, outcome) in outcomes {
        outcome.dsn_passed &= of(told, *index) == of(asked, *index);
    }
}

/// In the words of the configuration, not of a server.
fn refused(why: &route::Refusal) -> Outcome {
    Outcome::new(Verdict::Failed, None, why.enhanced, "", &why.text)
}
