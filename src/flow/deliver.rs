//! Delivery on this system: into the mailbox of the user who runs this process, or by helpers, who are the users whose
//! mail it is.
//!
//! A mailbox belongs to its user, so nobody else touches it: without root's help, mail for another user waits.

use std::cell::Cell;
use std::io::{self, Cursor, Read};
use std::os::unix::fs::MetadataExt;

use super::ends::{self, Place, deferred};
use super::helpers::Helpers;
use super::links::Links;
use super::lmtp::{self, Handover};
use super::stopping::InHand;
use super::{Context, Damaged, Outcomes, expand, helper, text};
use crate::host::accounts::{self, Account};
use crate::host::spool::Claim;
use crate::host::{privilege, words};
use crate::proto::address::{Domain, Mailbox};
use crate::proto::end::{End, Mailboxes};
use crate::proto::envelope::{Envelope, Recipient};
use crate::proto::fields;
use crate::proto::handover::{Answer, Letter, Whom};
use crate::proto::header::Header;
use crate::proto::outcome::{Outcome, Verdict};
use crate::proto::reply::Enhanced;
use crate::proto::route::Hop;

/// Delivers a message to those of its recipients whose indices are given.
///
/// # Errors
/// [`Damaged`] when the message is not what was accepted; nothing was delivered then.
pub fn deliver(
    context: &Context,
    helpers: Option<&Helpers>,
    links: &mut Links<'_>,
    claim: &Claim,
    indices: &[usize],
) -> Result<Outcomes, Damaged> {
    let mut outcomes = Outcomes::new();
    let envelope = claim.envelope();
    for index in indices {
        // That somebody has it is to be written down.
        if !outcomes.is_empty() && context.stopping.has_begun() {
            break;
        }
        if let Some(recipient) = envelope.recipients.get(*index) {
            match to_one(context, helpers, links, claim, &envelope, recipient) {
                Ok(outcome) => outcomes.push((*index, outcome)),
                // That others have it must not be forgotten; the next attempt will find the damage.
                Err(Damaged) if !outcomes.is_empty() => break,
                Err(Damaged) => return Err(Damaged),
            }
        }
    }
    Ok(outcomes)
}

/// What is said of a recipient for whom this process can do nothing.
pub const FOR_ROOT: &str = "this mail waits for a queue run as root";

/// Whether this process can do something for a recipient: he is elsewhere, or his mail can be delivered here, or others
/// stand for him, or nobody does.
pub fn is_ours_to_try(context: &Context, claim: &Claim, index: usize) -> bool {
    let envelope = claim.envelope();
    let Some(recipient) = envelope.recipients.get(index) else {
        return false;
    };
    let address = &recipient.address;
    super::hops::of(context, address) != Hop::Local
        || may_deliver(context, recipient)
        || match &recipient.origin {
            Some(origin) => origin.user.is_none() && origin.end.is_none(),
            None => {
                expand::has_alias(context, address)
                    || matches!(expand::account(context, address), Ok(None))
            }
        }
}

/// Whether this process may deliver to a recipient of this system: by helpers, or because he is whoever runs it, or
/// because nobody else works on this spool.
pub fn may_deliver(context: &Context, recipient: &Recipient) -> bool {
    if context.keeper.is_some() {
        return true;
    }
    if context.is_all_his() {
        return true;
    }
    // In the right of the program's group nothing is written to where its caller may have put a link, and no command
    // is run.
    if privilege::has_group() {
        return false;
    }
    let user = recipient.origin.as_ref().map(|o| o.user.as_deref());
    let account = match user {
        Some(Some(user)) => expand::named(user),
        Some(None) => return false,
        None => expand::account(context, &recipient.address),
    };
    matches!(account, Ok(Some(a)) if a.uid == context.caller_uid())
}

/// Who owns the spool, when it is there.
pub fn owner(context: &Context) -> Option<u32> {
    std::fs::metadata(context.spool.root())
        .ok()
        .map(|m| m.uid())
}

/// Tries one recipient.
fn to_one(
    context: &Context,
    helpers: Option<&Helpers>,
    links: &mut Links<'_>,
    claim: &Claim,
    envelope: &Envelope,
    recipient: &Recipient,
) -> Result<Outcome, Damaged> {
    let Some(end) = recipient.end() else {
        return Ok(deferred(
            Enhanced(4, 3, 0),
            "it is not known yet where this mail ends",
        ));
    };
    let (whom, account) = match owner_of(context, recipient, end) {
        Ok(found) => found,
        Err(outcome) => return Ok(outcome),
    };
    let handover = Handover {
        context,
        account: &account,
        claim,
        envelope,
        recipient,
    };
    if *end == End::Mailbox
        && let Some(peer) = lmtp::server(context, helpers, &account)
    {
        return match lmtp::obstacle(context, helpers, &account, recipient) {
            Some(why) => Ok(deferred(Enhanced(4, 2, 0), &why)),
            None => handover.over(peer, links),
        };
    }
    if helpers.is_none() && account.uid != context.caller_uid() {
        let name = &account.name;
        let text = match privilege::is_root() {
            // All is done as root then, in whose right nothing is delivered to others.
            true => format!(
                "mail for {name} waits until user in the configuration names somebody else than root, as whom all works now"
            ),
            false => {
                format!("this mail waits for a queue run as root, or as the user {name}")
            }
        };
        return Ok(deferred(Enhanced(4, 2, 0), &text));
    }
    into(helpers, links, &handover, &whom, end)
}

/// Delivers into a mailbox, a file or a command, in the right of whose it is.
fn into(
    helpers: Option<&Helpers>,
    links: &mut Links<'_>,
    handover: &Handover<'_>,
    whom: &Whom,
    end: &End,
) -> Result<Outcome, Damaged> {
    let Handover {
        context,
        account,
        claim,
        envelope,
        recipient,
    } = *handover;
    let address = &recipient.address;
    let letter = Letter {
        end: end.clone(),
        sender: envelope.sender_for(recipient),
        recipient: address.clone(),
        first: first(envelope, recipient).clone(),
    };
    let looped = Cell::new(false);
    let message = text::changed(claim, &|header| {
        header.strip("Return-Path");
        looped.set(was_here(header, &context.config.hostname, address));
    });
    let message = match message {
        Ok(message) => message,
        Err(e) if e.kind() == io::ErrorKind::InvalidData => return Err(Damaged),
        Err(e) => {
            let text = format!("cannot read the message to deliver: {}", words(&e));
            return Ok(deferred(Enhanced(4, 3, 0), &text));
        }
    };
    // What is in a mailbox has come to its end; a command may send it on.
    if looped.get() && is_command(context, end) {
        return Ok(in_a_loop(address));
    }
    let front = format!(
        "Return-Path: {}\r\n{}",
        letter.sender,
        trace(envelope, recipient)
    );
    let mut message = Watched {
        inner: Cursor::new(front).chain(message),
        in_hand: links.in_hand(),
    };
    match helpers {
        None => {
            let place = Place::of(context, account, &letter.end);
            ends::deliver(context, account, &place, &letter, &mut message)
        }
        Some(helpers) => {
            let answer = helpers.deliver(whom, &letter, &mut message)?;
            of_helper(answer, helpers, links, handover)
        }
    }
}

/// Notices when all of a message was read.
struct Watched<'a, R> {
    inner: R,
    in_hand: &'a InHand,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(block);
        if matches!(read, Ok(0)) && !block.is_empty() {
            self.in_hand.is_given();
        }
        read
    }
}

/// What becomes of it when a helper has answered: a mailbox may turn out to be a server's.
fn of_helper(
    answer: Answer,
    helpers: &Helpers,
    links: &mut Links<'_>,
    handover: &Handover<'_>,
) -> Result<Outcome, Damaged> {
    let (context, account) = (handover.context, handover.account);
    match (answer, lmtp::server(context, Some(helpers), account)) {
        (Answer::Done(outcome), _) => Ok(outcome),
        (Answer::Mailbox, Some(peer)) => handover.over(peer, links),
        (Answer::Mailbox, None) => Ok(deferred(
            Enhanced(4, 3, 0),
            "the process that delivers leaves this mail to a server, and there is none",
        )),
    }
}

fn is_command(context: &Context, end: &End) -> bool {
    match end {
        End::Mailbox => matches!(context.config.local.mailbox, Mailboxes::Command(_)),
        End::Pipe(_) => true,
        End::File(_) => false,
    }
}

/// In whose right something is delivered: by root's process, and without it.
fn owner_of(
    context: &Context,
    recipient: &Recipient,
    end: &End,
) -> Result<(Whom, Account), Outcome> {
    let user = recipient.origin.as_ref().and_then(|o| o.user.as_deref());
    let found = match (end, user) {
        (_, Some(name)) => expand::named(name),
        (End::Mailbox, None) => expand::account(context, &recipient.address),
        // Without root's help all is done in the right of whoever runs this.
        (End::File(_) | End::Pipe(_), None) => return Ok((Whom::Nobody, accounts::caller())),
    };
    match found {
        Ok(Some(account)) if account.is_person() => Ok((Whom::User(account.name.clone()), account)),
        // A service has no mailbox: root hears of it.
        Ok(Some(account)) => Ok((Whom::Root, account)),
        Ok(None) => {
            let name = user.unwrap_or(recipient.address.local());
            Err(failed(
                Enhanced(5, 1, 1),
                &format!("there is no user {name} here"),
            ))
        }
        Err(sentence) => Err(deferred(Enhanced(4, 3, 0), &sentence)),
    }
}

/// The address that the envelope had at first, before expansions.
fn first<'a>(envelope: &'a Envelope, recipient: &'a Recipient) -> &'a Mailbox {
    let mut found = recipient;
    // Each was made of one before it.
    while let Some(before) = found
        .origin
        .as_ref()
        .and_then(|o| envelope.recipients.get(o.of))
    {
        found = before;
    }
    &found.address
}

/// Where mail for an account ends here, for whoever asks.
pub fn place(context: &Context, account: &Account) -> Place {
    if !account.is_person() && context.servant.is_some() {
        return helper::root_mailbox(context);
    }
    Place::of(context, account, &End::Mailbox)
}

/// What stands at the top of a message that was delivered, below its Return-Path, by long custom.
pub fn trace(envelope: &Envelope, recipient: &Recipient) -> String {
    format!(
        "X-Original-To: {}\r\nDelivered-To: {}\r\n",
        first(envelope, recipient),
        recipient.address
    )
}

/// What becomes of a message that was here before, and may be sent on from here.
pub fn in_a_loop(address: &Mailbox) -> Outcome {
    let text = format!("the message was delivered to {address} before; it runs in a loop");
    failed(Enhanced(5, 4, 6), &text)
}

/// Whether a message was delivered to this address before: then it comes from there, and would again.
///
/// Below the field that says so stands, as always, the line that was written when it came here then. Whoever is not in
/// a loop but makes up such a field has no such line, and his mail is mail like any other (J25).
pub fn was_here(header: &Header, hostname: &Domain, address: &Mailbox) -> bool {
    let (address, mut marked) = (address.to_string(), false);
    header.fields().iter().any(|field| {
        let text = field.body().trim_ascii();
        marked |= field.is("Delivered-To") && text.eq_ignore_ascii_case(address.as_bytes());
        marked && field.is("Received") && fields::is_by(text, hostname)
    })
}

fn failed(enhanced: Enhanced, text: &str) -> Outcome {
    Outcome::new(Verdict::Failed, None, enhanced, "", text)
}
