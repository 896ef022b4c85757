//! After an attempt: what the outcomes mean for a message.
//!
//! 1. a recipient deferred for too long has failed
//! 2. whoever failed is reported, and the report is safe in the spool before the failure is written down: if it
//!    can't be, the recipient stays and is tried again
//! 3. the journal gets its lines, or the message goes when nobody waits any more
//! 4. a sender who waits too long is told so, once
//!
//! A null sender is never answered: what fails then goes to postmaster here as a report of its own, and when
//! postmaster's own mail fails, the message is set aside in hold/, never deleted. Of a recipient with NOTIFY=NEVER nobody
//! is told, whoever the sender is.

mod successes;

use std::sync::Arc;

use super::expand::Replaced;
use super::notices::{self, Cause};
use super::{Context, Outcomes, bounce};
use crate::error::Error;
use crate::events;
use crate::host::clock;
use crate::host::spool::Claim;
use crate::proto::address::{Mailbox, ReversePath};
use crate::proto::dsn::{Action, EXPIRED, wants};
use crate::proto::envelope::Envelope;
use crate::proto::journal::{Entry, Progress};
use crate::proto::outcome::{Outcome, Verdict};
use crate::proto::reply::Enhanced;
use crate::proto::retry::{self, Next, Policy};

/// The retry schedule of the configuration.
pub fn policy(context: &Context) -> Policy {
    let queue = &context.config.queue;
    Policy {
        first: queue.retry_first.as_secs(),
        max: queue.retry_max.as_secs(),
        warn_after: queue.warn_after.as_secs(),
        give_up_after: queue.give_up_after.as_secs(),
    }
}

/// Takes the outcomes of an attempt, by recipient index. Returned are the queue ids of the reports made. `tell` hears of
/// the outcomes as they count: what was put off for too long has failed.
///
/// `replaced`: whom others have taken the place of in it.
pub fn settle(
    context: &Context,
    claim: &Claim,
    outcomes: Outcomes,
    replaced: &[Replaced],
    tell: &dyn Fn(&Outcomes),
) -> Vec<String> {
    let now = clock::now();
    let all: Vec<usize> = outcomes.iter().map(|(index, _)| *index).collect();
    let mut settlement = Settlement {
        context,
        claim,
        envelope: claim.begin_settlement(&all),
        since: claim.since(now),
        now,
        outcomes,
        reports: Vec::new(),
    };
    settlement.give_up();
    let is_to_be_kept = settlement.restrain();
    tell(&settlement.outcomes);
    for (index, outcome) in &settlement.outcomes {
        if let Some(recipient) = settlement.envelope.recipients.get(*index) {
            events::attempt(
                &claim.id,
                &recipient.address,
                outcome,
                // A clock that was set back since makes no mail of the future.
                now.saturating_sub(settlement.since).max(0),
            );
            count(context, outcome);
        }
    }
    if settlement.report_failures() {
        settlement.report_successes(replaced);
        settlement.write_down();
        if is_to_be_kept {
            settlement
                .put_aside("refused to the end, for a reason that was reported of other mail");
        } else {
            settlement.warn();
        }
    }
    claim.end_settlement(&all);
    settlement.reports
}

/// Counts how it went, and that a smarthost took it.
fn count(context: &Context, outcome: &Outcome) {
    context.ledger.count(|record| {
        let counts = &mut record.counts;
        match outcome.verdict {
            Verdict::Failed => counts.failed += 1,
            Verdict::Deferred => counts.deferred += 1,
            _ => counts.delivered += 1,
        }
        let smarthosts = &context.config.smarthosts;
        if outcome.verdict == Verdict::Delivered
            && smarthosts.iter().any(|s| s.host == outcome.host)
        {
            record.went_through(&outcome.host);
        }
    });
}

struct Settlement<'a> {
    context: &'a Context,
    claim: &'a Claim,
    envelope: Arc<Envelope>,
    /// From when on its age counts.
    since: i64,
    now: i64,
    outcomes: Vec<(usize, Outcome)>,
    reports: Vec<String>,
}

impl Settlement<'_> {
    /// A deferral that has no next attempt is a failure, with the last answer in its words.
    fn give_up(&mut self) {
        let progress = self.claim.progress();
        let last = |(index, outcome): &(usize, Outcome)| match outcome.verdict {
            Verdict::Deferred => self.last_attempt(&progress, *index),
            _ => None,
        };
        let last: Vec<Option<u32>> = self.outcomes.iter().map(last).collect();
        for ((_, outcome), last) in self.outcomes.iter_mut().zip(last) {
            if let Some(attempts) = last {
                let hours = self.now.saturating_sub(self.since) / 3600;
                let text = format!(
                    "given up after {attempts} attempts in {hours} hours; the last one: {}",
                    outcome.words()
                );
                *outcome = Outcome::new(Verdict::Failed, None, EXPIRED, &outcome.host, &text);
            }
        }
    }

    /// The number of this attempt, if the schedule has no other after it.
    fn last_attempt(&self, progress: &Progress, index: usize) -> Option<u32> {
        let before = progress.standings.get(index).map_or(0, |s| s.attempts);
        let attempts = before.saturating_add(1);
        let policy = policy(self.context);
        let next = retry::next_attempt(&policy, self.since, attempts, self.now, false, 0);
        (next == Next::GiveUp).then_some(attempts)
    }

    /// What a smarthost refuses for a reason that its sender was told today is not told again: it is refused for now.
    /// Returned is whether the time of such a message is over: it is set aside then.
    fn restrain(&mut self) -> bool {
        let was_told = |(index, outcome): &(usize, Outcome)| {
            outcome.verdict == Verdict::Failed
                && notices::is_of_all(self.context, outcome)
                && self
                    .cause(*index, outcome)
                    .is_some_and(|c| c.was_told(self.context, self.now))
        };
        let told: Vec<bool> = self.outcomes.iter().map(was_told).collect();
        if !told.contains(&true) {
            return false;
        }
        for ((_, outcome), _) in self
            .outcomes
            .iter_mut()
            .zip(&told)
            .filter(|(_, told)| **told)
        {
            *outcome = outcome.clone().taken_as(Verdict::Deferred);
        }
        let progress = self.claim.progress();
        let mut told = self.outcomes.iter().zip(&told).filter(|(_, told)| **told);
        told.any(|((index, _), _)| self.last_attempt(&progress, *index).is_some())
    }

    /// Why something is told to the sender, if that is told once a day.
    fn cause(&self, index: usize, outcome: &Outcome) -> Option<Cause> {
        let recipient = self.envelope.recipients.get(index)?;
        if notices::is_asked_for(&self.envelope, recipient) {
            return None;
        }
        let sender = self.envelope.sender_for(recipient);
        let is_one = notices::is_of_a_smarthost(self.context, outcome);
        let to = sender.mailbox().filter(|_| is_one)?;
        Some(Cause::new(to, outcome))
    }

    /// The outcomes of a kind.
    fn having(&self, verdict: Verdict) -> Vec<(usize, Outcome)> {
        self.outcomes
            .iter()
            .filter(|(_, o)| o.verdict == verdict)
            .cloned()
            .collect()
    }

    /// Whether the recipient asked, or by default wants, to be spoken of in such a report.
    fn is_wanted(&self, index: usize, action: Action) -> bool {
        self.envelope
            .recipients
            .get(index)
            .is_some_and(|r| wants(r.notify, action))
    }

    /// The outcomes by who is to hear of them.
    fn by_sender(&self, outcomes: Vec<(usize, Outcome)>) -> Vec<(ReversePath, Outcomes)> {
        let mut groups: Vec<(ReversePath, Outcomes)> = Vec::new();
        for (index, outcome) in outcomes {
            let recipient = self.envelope.recipients.get(index);
            let sender = recipient.map_or(ReversePath::Null, |r| self.envelope.sender_for(r));
            match groups.iter_mut().find(|(s, _)| *s == sender) {
                Some((_, group)) => group.push((index, outcome)),
                None => groups.push((sender, vec![(index, outcome)])),
            }
        }
        groups
    }

    /// Returns whether the settlement goes on; it does not when the message was set aside.
    fn report_failures(&mut self) -> bool {
        for (sender, failed) in self.by_sender(self.having(Verdict::Failed)) {
            let is_wanted = |(index, _): &(usize, Outcome)| self.is_wanted(*index, Action::Failed);
            let about: Outcomes = failed.into_iter().filter(is_wanted).collect();
            if about.is_empty() {
                // By the sender's own wish nobody is told (RFC 3461 4.1), postmaster neither.
                continue;
            }
            let indices: Vec<usize> = about.iter().map(|(i, _)| *i).collect();
            let to = match sender {
                ReversePath::Mailbox(sender) => sender,
                ReversePath::Null => {
                    match postmaster(self.context).filter(|p| !self.is_for(p, &about)) {
                        Some(postmaster) => postmaster,
                        None => return self.set_aside(),
                    }
                }
            };
            let causes = self.causes(&about);
            let told = self.report(&to, Action::Failed, about);
            if told.is_ok() {
                causes.iter().for_each(|c| c.tell(self.context, self.now));
            }
            if let Err(error) = told {
                events::trouble(
                    &self.claim.id,
                    &format!("the report of failure could not be queued: {error}"),
                );
                self.keep_for_later(&indices);
            }
        }
        true
    }

    /// What cannot be reported has not failed yet.
    fn keep_for_later(&mut self, indices: &[usize]) {
        for (_, outcome) in self
            .outcomes
            .iter_mut()
            .filter(|(i, _)| indices.contains(i))
        {
            let text = format!(
                "to be reported when the spool has room again; {}",
                outcome.words()
            );
            *outcome = Outcome::new(
                Verdict::Deferred,
                None,
                Enhanced(4, 3, 1),
                &outcome.host,
                &text,
            );
        }
    }

    /// Whether one of the outcomes is of mail for an address, or for somebody it stands for.
    fn is_for(&self, address: &Mailbox, outcomes: &[(usize, Outcome)]) -> bool {
        let is_it = |index: &usize| {
            let mut recipient = self.envelope.recipients.get(*index);
            while let Some(this) = recipient {
                if this.address == *address {
                    return true;
                }
                let origin = this.origin.as_ref();
                recipient = origin.and_then(|o| self.envelope.recipients.get(o.of));
            }
            false
        };
        outcomes.iter().any(|(i, _)| is_it(i))
    }

    /// Before the file goes to hold/, its journal says who has it, or a release would deliver to them again; and
    /// why the others have not, which is all that an admin will see of it.
    fn set_aside(&mut self) -> bool {
        let mut why = String::new();
        for (_, outcome) in &mut self.outcomes {
            if outcome.verdict == Verdict::Failed {
                why = format!("nobody is left to tell of its failure: {}", outcome.words());
                let Enhanced(_, subject, detail) = outcome.enhanced;
                let enhanced = Enhanced(4, subject, detail);
                *outcome = Outcome::new(Verdict::Deferred, None, enhanced, &outcome.host, &why);
            }
        }
        self.write_down();
        self.put_aside(&why);
        false
    }

    fn put_aside(&self, why: &str) {
        match self.claim.hold() {
            Ok(()) => events::held(&self.claim.id, &why),
            Err(error) => events::trouble(&self.claim.id, &error),
        }
    }

    /// Those of some outcomes that are told once a day.
    fn causes(&self, about: &Outcomes) -> Vec<Cause> {
        let cause = |(index, outcome): &(usize, Outcome)| self.cause(*index, outcome);
        about.iter().filter_map(cause).collect()
    }

    fn report(
        &mut self,
        to: &Mailbox,
        action: Action,
        about: Vec<(usize, Outcome)>,
    ) -> Result<(), Error> {
        if about.is_empty() {
            return Ok(());
        }
        let report = bounce::report(self.context, self.claim, to, action, &about, self.now)?;
        events::bounced(&self.claim.id, &report, to, word(action));
        self.reports.push(report);
        Ok(())
    }

    /// One line for all who share an outcome.
    fn write_down(&self) {
        let mut entries: Vec<Entry> = Vec::new();
        for (index, outcome) in &self.outcomes {
            let same = entries.iter_mut().find_map(|entry| match entry {
                Entry::Attempt(to, shared) if shared == outcome => Some(to),
                _ => None,
            });
            match same {
                Some(to) => to.push(*index),
                None => entries.push(Entry::Attempt(vec![*index], outcome.clone())),
            }
        }
        match self.claim.record(self.now, &entries) {
            Ok(true) => events::removed(&self.claim.id, "done"),
            Ok(false) => {}
            Err(error) => events::trouble(&self.claim.id, &error),
        }
    }

    fn warn(&mut self) {
        let (policy, progress) = (policy(self.context), self.claim.progress());
        let attempts = progress.standings.iter().map(|s| s.attempts).max();
        let attempts = attempts.unwrap_or_default();
        if !retry::is_overdue_for_warning(&policy, self.since, attempts, self.now)
            || !self.claim.begin_warning()
        {
            return;
        }
        // All who wait, at whichever hop: whoever is not named is never spoken of.
        let late = |index: usize| {
            let (_, outcome) = progress.standings.get(index)?.last.clone()?;
            self.is_wanted(index, Action::Delayed)
                .then_some((index, outcome))
        };
        let about: Outcomes = progress.waiting().into_iter().filter_map(late).collect();
        let mut is_told = false;
        for (sender, about) in self.by_sender(about) {
            if let ReversePath::Mailbox(sender) = sender {
                is_told |= self.warn_one(&sender, about);
            }
        }
        if !is_told {
            return self.claim.forget_warning();
        }
        if let Err(error) = self.claim.record(self.now, &[Entry::Warned]) {
            events::trouble(&self.claim.id, &error);
        }
    }

    /// Returns whether this sender was told, today or now.
    fn warn_one(&mut self, sender: &Mailbox, about: Outcomes) -> bool {
        let mut news = self.causes(&about);
        let all = news.len() == about.len();
        news.retain(|cause| !cause.was_told(self.context, self.now));
        let told = match all && news.is_empty() {
            true => Ok(()),
            false => self.report(sender, Action::Delayed, about),
        };
        match told {
            Ok(()) => news.iter().for_each(|c| c.tell(self.context, self.now)),
            Err(error) => {
                events::trouble(&self.claim.id, &error);
                return false;
            }
        }
        true
    }
}

/// Who hears what nobody else can be told; `None` when no domain is ours.
fn postmaster(context: &Context) -> Option<Mailbox> {
    let config = &context.config;
    let ours = config
        .domains
        .contains(&config.hostname)
        .then_some(&config.hostname);
    let domain = ours.or_else(|| config.domains.first())?;
    Mailbox::new("postmaster".to_owned(), domain.clone()).ok()
}

fn word(action: Action) -> &'static str {
    match action {
        Action::Failed => "failed",
        Action::Delayed => "delayed",
        Action::Delivered => "delivered",
        Action::Relayed => "relayed",
        Action::Expanded => "expanded",
    }
}
