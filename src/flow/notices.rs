//! One notice a cause and a day: a smarthost that refuses everything, for a wrong password or a sender it does not
//! know, would have this machine tell its users so for each message of each cron job.
//!
//! Of mail that was handed in here, for a reason that is no recipient's and no message's own, the first that fails goes
//! back to its sender. What fails for the same reason within a day waits and is tried again, as if it had been refused for
//! now, and goes out when the cause is gone; what still fails when its time is over is set aside in hold/, where mailq
//! shows it. So nothing is lost, and nothing is told twice. News of a delay at a smarthost is told once a day, too. Who
//! has asked for reports of his own (NOTIFY) gets them. What is given up after days of being put off is told of each
//! message: its report carries the message back, and nobody else would have it then.
//!
//! What was told is remembered in a table that may be lost at any time: then it is told again.

use super::Context;
use crate::host::table::Table;
use crate::proto::address::Mailbox;
use crate::proto::collapse::{self, BUCKET, Entry, Key, Print};
use crate::proto::envelope::{Envelope, Recipient};
use crate::proto::outcome::Outcome;
use crate::proto::reply::Enhanced;

/// In seconds.
const DAY: i64 = 24 * 3600;

/// Whether this recipient's sender hears of him whatever he has heard of others.
pub fn is_asked_for(envelope: &Envelope, recipient: &Recipient) -> bool {
    recipient.notify.is_some() || !envelope.is_from_here()
}

/// Whether one of our smarthosts has said it.
pub fn is_of_a_smarthost(context: &Context, outcome: &Outcome) -> bool {
    let smarthosts = &context.config.smarthosts;
    smarthosts.iter().any(|s| s.host == outcome.host)
}

/// Whether it would say so of any message: it is about who we are, and not about this recipient or this text.
pub fn is_of_all(context: &Context, outcome: &Outcome) -> bool {
    let about_us = match (outcome.enhanced, outcome.code) {
        // RFC 3463: security and policy, the sender's address.
        (Enhanced(_, 7, _) | Enhanced(_, 1, 7 | 8), _) => true,
        (Enhanced(_, 0 | 5, _), Some(530 | 535 | 554)) => true,
        _ => false,
    };
    about_us && is_of_a_smarthost(context, outcome)
}

/// What is told to whom, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause(Key);

impl Cause {
    /// Numbers in what was said do not count: queue ids and times have them.
    pub fn new(to: &Mailbox, outcome: &Outcome) -> Self {
        let mut print = Print::new(&outcome.host, to.to_string().as_bytes());
        print.feed(outcome.bare().as_bytes());
        Self(print.finish())
    }

    /// Whether it was told within a day.
    pub fn was_told(&self, context: &Context, now: i64) -> bool {
        let Self(key) = self;
        let found = table(context).try_with(key.hash(), |bucket: &mut [u8; BUCKET]| {
            collapse::find(bucket, key)
        });
        let entry = found.ok().flatten();
        entry.is_some_and(|e| e.since <= now && now < e.since.saturating_add(DAY))
    }

    /// It is told now.
    pub fn tell(&self, context: &Context, now: i64) {
        let Self(key) = self;
        let entry = Entry {
            since: now,
            waiting: None,
        };
        let _ = table(context).try_with(key.hash(), |bucket: &mut [u8; BUCKET]| {
            collapse::put(bucket, key, &entry);
        });
    }
}

fn table(context: &Context) -> Table {
    Table::new(&context.spool.root().join("state/notices"))
}
