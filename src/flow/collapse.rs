//! `[submit] collapse`: a program that says the same again is heard once in a period, and then how often
//! ([`crate::proto::collapse`] has the rule).
//!
//! What waits for the end of its period is an ordinary message of the queue, on the disk before `sendmail` says 0, and
//! due then: a queue run from cron sends it, and with a daemon the daemon. What repeats it takes its place:
//!
//! 1. the one that waits is claimed, which two cannot do at once
//! 2. the new one is committed, with the number of those that it stands for, and waits
//! 3. the table of fingerprints names it
//! 4. the old one is removed
//!
//! A crash in between leaves both, and both go. What cannot be read, is worked on by somebody else, or was lost from the
//! table goes as if it repeated nothing: the table is a hint, and no mail depends on it.

use super::Context;
use crate::error::Result;
use crate::events;
use crate::host::clock;
use crate::host::spool::{Claim, Draft, Folder, Refusal};
use crate::host::table::Table;
use crate::proto::collapse::{self, BUCKET, Course, Entry, Key, Print, ROOM, Waiting};
use crate::proto::envelope::{Envelope, MIN_ROOM};
use crate::proto::header::Header;
use crate::proto::order;

/// Looks whether a message repeats another, as it passes.
pub struct Collapse<'a> {
    context: &'a Context,
    period: i64,
    envelope: String,
    /// What stands before the header, when it is known what that is.
    trace: Vec<u8>,
    subject: Option<Vec<u8>>,
    print: Print,
}

/// What became of a message that was looked at.
pub enum Kept {
    /// It goes. Once it is safe, what repeats it may wait ([`First::remember`]).
    Goes(Claim, First),
    /// It is on the disk, and waits.
    Waits(Claim),
}

/// The first message of a period.
#[derive(Debug)]
pub struct First(Key);

impl First {
    /// To be called when the message is safe: on the disk, or with its next hop.
    pub fn remember(&self, context: &Context) {
        let Self(key) = self;
        let entry = Entry {
            since: clock::now(),
            waiting: None,
        };
        write(&table(context), key, &entry);
    }
}

impl<'a> Collapse<'a> {
    /// For a message whose header is known. Its subject is taken out of the header, and room is left in the draft for
    /// it and for what stands before the header: what it will be is known when the message has ended.
    pub fn new(
        context: &'a Context,
        envelope: &Envelope,
        header: &mut Header,
        trace: Vec<u8>,
        draft: &mut Draft,
    ) -> Self {
        let subject = header.get("Subject").map(|field| field.body().to_vec());
        let mut is_first = true;
        header.retain(|field| !(field.is("Subject") && std::mem::take(&mut is_first)));
        let length = subject.as_ref().map_or(0, Vec::len);
        draft.leave_room(trace.len() + length + ROOM + MIN_ROOM);
        let envelope = shape(envelope);
        Self {
            period: i64::try_from(context.config.submit.collapse.as_secs()).unwrap_or(i64::MAX),
            print: Print::new(&envelope, subject.as_deref().unwrap_or_default()),
            context,
            envelope,
            trace,
            subject,
        }
    }

    /// The next octets of the body.
    pub fn feed(&mut self, octets: &[u8]) {
        self.print.feed(octets);
    }

    /// The message has ended.
    ///
    /// # Errors
    /// Those of the spool; nothing was promised then, and what waited waits.
    pub fn finish(self, mut draft: Draft) -> Result<Kept> {
        let key = self.print.finish();
        let table = table(self.context);
        // Whatever is wrong with the table, mail goes.
        let entry = table.try_with(key.hash(), |bucket: &mut [u8; BUCKET]| {
            collapse::find(bucket, &key)
        });
        let now = clock::now();
        let (since, until, instead) =
            match collapse::course(entry.unwrap_or_default().as_ref(), now, self.period) {
                Course::Goes => {
                    let subject = self
                        .subject
                        .map(|body| [b"Subject:", &*body, b"\r\n"].concat());
                    let front = [self.trace, subject.unwrap_or_default()].concat();
                    draft.put_in_front(front, None);
                    return Ok(Kept::Goes(draft.keep()?, First(key)));
                }
                Course::Waits {
                    since,
                    until,
                    instead,
                } => (since, until, instead),
            };
        let instead =
            instead.and_then(|old| Some((claim(self.context, &self.envelope, &old.id)?, old)));
        let waiting = match &instead {
            Some((_, old)) => Waiting {
                id: draft.id.clone(),
                count: old.count.saturating_add(1),
                first: old.first,
            },
            None => Waiting {
                id: draft.id.clone(),
                count: 1,
                first: now,
            },
        };
        let time = |unix| clock::local(unix).rfc5322();
        let marks = collapse::marks(
            waiting.count,
            &time(waiting.first),
            &time(now),
            self.subject.as_deref(),
        );
        draft.put_in_front([self.trace, marks].concat(), None);
        let claim = draft.keep()?;
        claim.store()?;
        let count = waiting.count;
        let waiting = Some(waiting);
        write(&table, &key, &Entry { since, waiting });
        if let Err(error) = claim.defer_until(until) {
            // It goes at once then.
            events::trouble(&claim.id, &error);
        }
        events::collapsed(&claim.id, count, clock::local(until));
        if let Some((old, _)) = instead {
            match old.remove() {
                Ok(()) => events::removed(&old.id, "repeated"),
                Err(error) => events::trouble(&old.id, &error),
            }
        }
        Ok(Kept::Waits(claim))
    }
}

/// The one that waits, if it still waits as it was left: not tried, not set aside, and of the same envelope.
fn claim(context: &Context, envelope: &str, id: &str) -> Option<Claim> {
    let claim = match context.spool.claim(Folder::Cur, id) {
        Err(Refusal::Gone) => context.spool.claim(Folder::New, id).ok()?,
        found => found.ok()?,
    };
    let standings = claim.progress().standings;
    let untouched = standings
        .iter()
        .all(|s| s.last.is_none() && s.attempts == 0);
    (untouched && shape(&claim.envelope()) == envelope).then_some(claim)
}

/// An envelope without what differs each time.
fn shape(envelope: &Envelope) -> String {
    let mut shape = envelope.clone();
    shape.received_at = 0;
    order::sort(&mut shape.recipients, &|a, b| {
        a.address.to_string().cmp(&b.address.to_string())
    });
    shape.to_text()
}

fn table(context: &Context) -> Table {
    Table::new(&context.spool.root().join("state/collapse"))
}

/// What cannot be written is forgotten: the next one goes as the first.
fn write(table: &Table, key: &Key, entry: &Entry) {
    let _ = table.try_with(key.hash(), |bucket: &mut [u8; BUCKET]| {
        collapse::put(bucket, key, entry);
    });
}
