//! What goes over a connection: one letter for all recipients who get the same, rewritten and signed on its way.

use std::io::{self, Cursor, Read};

use super::all;
use crate::flow::exchange::own_domains;
use crate::flow::send::{Connection, Seal};
use crate::flow::{Context, Damaged, Outcomes, srs, text};
use crate::host::spool::Claim;
use crate::proto::address::{Mailbox, ReversePath};
use crate::proto::envelope::{Envelope, Facts, Recipient};
use crate::proto::header::Header;
use crate::proto::letter::Letter;
use crate::proto::outcome::{Outcome, Verdict};
use crate::proto::reply::Enhanced;
use crate::proto::rewrite::leave_as;

/// Status of what must be mended here (RFC 3463 3.4).
const NOT_SET_UP: Enhanced = Enhanced(4, 3, 5);

/// What a message is given on its way out.
#[derive(Clone, Copy)]
pub struct Way<'w> {
    /// What every part needs.
    pub context: &'w Context,
    /// As whom all mail leaves there.
    pub from: Option<&'w Mailbox>,
    /// Whether the server keeps it: LMTP.
    pub lmtp: bool,
    /// Signs it.
    pub seal: Option<&'w Seal<'w>>,
}

impl Way<'_> {
    /// As whose mail a message goes to one of its recipients.
    fn sender(self, envelope: &Envelope, recipient: &Recipient) -> Result<ReversePath, String> {
        let config = &self.context.config;
        let own_sender = envelope.sender_for(recipient);
        match self.from {
            // A report has no sender to be replaced: it must not be answered (RFC 5321 4.5.5).
            Some(from) if own_sender != ReversePath::Null => Ok(ReversePath::Mailbox(from.clone())),
            // Who takes mail by LMTP keeps it.
            _ if self.lmtp => {
                let leaving = &config.rewrite.leaving;
                Ok(leaving.sender(&own_sender, &own_domains(config)))
            }
            _ => srs::sender(self.context, envelope, recipient),
        }
    }
}

/// One letter for all who get the same: members of a list have another sender, and what a ~/.forward sends on says
/// whose it is.
///
/// # Errors
/// [`Damaged`] when nobody was given it for that.
pub fn deliver(
    connection: &mut Connection<'_>,
    way: Way<'_>,
    claim: &Claim,
    indices: &[usize],
) -> Result<Outcomes, Damaged> {
    let envelope = claim.envelope();
    let mut outcomes = Outcomes::new();
    let mut left = indices.to_vec();
    while let Some(first) = left.first().and_then(|i| envelope.recipients.get(*i)) {
        let sender = way.sender(&envelope, first);
        let differs = |recipient: &Recipient| {
            let of = |r: &Recipient| r.origin.as_ref().and_then(|o| o.through.clone());
            envelope.sender_for(recipient) != envelope.sender_for(first)
                || of(recipient) != of(first)
                || way.sender(&envelope, recipient) != sender
        };
        let goes_apart =
            |recipient: &Recipient| !std::ptr::eq(first, recipient) && differs(recipient);
        let (others, same): (Vec<usize>, Vec<usize>) = left
            .iter()
            .partition(|i| envelope.recipients.get(**i).is_none_or(goes_apart));
        let done = match &sender {
            Ok(sender) => deliver_one(connection, way, sender, claim, &same),
            Err(why) => {
                let outcome = Outcome::new(Verdict::Deferred, None, NOT_SET_UP, "", why);
                Ok(all(&same, &outcome))
            }
        };
        match done {
            Ok(some) => outcomes.extend(some),
            // That others have it must not be forgotten; the next attempt will find the damage.
            Err(Damaged) if outcomes.is_empty() => return Err(Damaged),
            Err(Damaged) => break,
        }
        left = others;
        if way.context.stopping.has_begun() {
            break;
        }
    }
    Ok(outcomes)
}

/// One letter.
fn deliver_one(
    connection: &mut Connection<'_>,
    way: Way<'_>,
    sender: &ReversePath,
    claim: &Claim,
    indices: &[usize],
) -> Result<Outcomes, Damaged> {
    let envelope = claim.envelope();
    let (indices, recipients): (Vec<usize>, Vec<&Recipient>) = indices
        .iter()
        .filter_map(|i| envelope.recipients.get(*i).map(|r| (*i, r)))
        .unzip();
    let origin = recipients.first().and_then(|r| r.origin.as_ref());
    let own_sender = recipients
        .first()
        .map_or(ReversePath::Null, |r| envelope.sender_for(r));
    // What the sender asked for, the owner of a list did not.
    let is_senders = own_sender == envelope.sender;
    let through = origin.and_then(|o| o.through.as_ref().filter(|t| t.is_ascii()));
    let config = &way.context.config;
    let (leaving, own) = (&config.rewrite.leaving, own_domains(config));
    // What it leaves as is written into its header, too.
    let beyond = way.from.is_some_and(|from| !from.is_ascii());
    let stamp = through.map(|through| format!("Delivered-To: {through}\r\n"));
    let change = |header: &mut Header| {
        leaving.header(header, &own);
        if let Some(from) = way.from {
            leave_as(header, &from.to_string());
        }
    };
    let changes = way.from.is_some() || !leaving.is_empty();
    let longest_line = match changes {
        true => longest_line(claim, &change),
        false => claim.facts.longest_line,
    };
    let letter = Letter {
        sender,
        recipients: &recipients,
        facts: Facts {
            size: claim.facts.size + stamp.as_ref().map_or(0, |s| s.len() as u64),
            eight_bit: claim.facts.eight_bit || beyond,
            eight_bit_header: claim.facts.eight_bit_header || beyond,
            longest_line,
            ..claim.facts
        },
        requiretls: envelope.requiretls,
        smtputf8: envelope.smtputf8 || sender.mailbox().is_some_and(|m| !m.is_ascii()),
        ret: envelope.ret.filter(|_| is_senders),
        envid: envelope.envid.as_deref().filter(|_| is_senders),
    };
    let mut damaged = false;
    let mut source = |take: &mut dyn FnMut(&[u8]) -> io::Result<()>| {
        let message: Box<dyn Read> = if changes {
            Box::new(text::changed(claim, &change)?)
        } else {
            Box::new(claim.message())
        };
        let mut message = Cursor::new(stamp.as_deref().unwrap_or_default()).chain(message);
        let copied = text::copy(&mut message, letter.facts.size, take);
        damaged |= matches!(&copied, Err(e) if e.kind() == io::ErrorKind::InvalidData);
        copied
    };
    let outcomes = connection.deliver(&letter, &mut source, way.seal);
    // Whoever has it already, in an earlier transaction, has it whole: that must not be forgotten.
    if damaged && outcomes.iter().all(|o| o.verdict != Verdict::Delivered) {
        return Err(Damaged);
    }
    Ok(indices.into_iter().zip(outcomes).collect())
}

/// The longest line of a message whose header is changed: an address may become a longer one.
fn longest_line(claim: &Claim, change: &dyn Fn(&mut Header)) -> u64 {
    let longest = claim.facts.longest_line;
    // What cannot be read is found when it is sent.
    let Ok(mut header) = text::header(claim) else {
        return longest;
    };
    change(&mut header);
    let mut text = Vec::new();
    header.write(&mut text);
    let lines = text.split(|b| *b == b'\n');
    lines.fold(longest, |longest, line| {
        longest.max(line.trim_ascii_end().len() as u64)
    })
}
