//! Delivery on this system: into the mailbox of the user who runs this process, or by helpers, who are the users whose
//! mail it is.
//!
//! A mailbox belongs to its user, so nobody else touches it: without root's help, mail for another user waits.

use std::cell::Cell;
use std::io::{self, Cursor, Read};
use std::os::unix::fs::MetadataExt;

use super::ends::{self, Place, deferred};
use super::helpers::Helpers;
use super::{Context, Damaged, Outcomes, helper, text};
use crate::host::accounts::{self, Account};
use crate::host::spool::Claim;
use crate::host::{privilege, words};
use crate::proto::address::{Mailbox, ReversePath};
use crate::proto::end::End;
use crate::proto::envelope::{Envelope, Outcome, Recipient, Verdict};
use crate::proto::handover::{Letter, Whom};
use crate::proto::header::Header;
use crate::proto::reply::Enhanced;
use crate::proto::route::{Hop, is_role};

/// Delivers a message to those of its recipients whose indices are given.
///
/// # Errors
/// [`Damaged`] when the message is not what was accepted; nothing was delivered then.
pub fn deliver(
    context: &Context,
    helpers: Option<&Helpers>,
    claim: &Claim,
    indices: &[usize],
) -> Result<Outcomes, Damaged> {
    let mut outcomes = Outcomes::new();
    let envelope = claim.envelope();
    for index in indices {
        if let Some(recipient) = envelope.recipients.get(*index) {
            let outcome = to_one(context, helpers, claim, &envelope, recipient)?;
            outcomes.push((*index, outcome));
        }
    }
    Ok(outcomes)
}

/// Whether this process can end the wait of a recipient: it is remote, or there are helpers, or it is this user's, or
/// nobody else works on this spool.
pub fn is_ours_to_try(context: &Context, claim: &Claim, index: usize) -> bool {
    let envelope = claim.envelope();
    let Some(recipient) = envelope.recipients.get(index) else {
        return false;
    };
    if super::queue::hop(context, &recipient.address) != Hop::Local || context.keeper.is_some() {
        return true;
    }
    // In the right of the program's group nothing is written to where its caller may have put a link, and no command
    // is run.
    if privilege::has_group() {
        return false;
    }
    owner(context) == Some(accounts::caller_uid())
        || matches!(account(context, &recipient.address), Ok(Some(a)) if a.uid == accounts::caller_uid())
}

/// Who owns the spool, when it is there.
pub fn owner(context: &Context) -> Option<u32> {
    std::fs::metadata(context.spool.root())
        .ok()
        .map(|m| m.uid())
}

/// Whose mailbox an address of this system is. Postmaster and the like are root, or whoever owns a private
/// system: someone reads their mail with no configuration at all (RFC 5321 4.5.1).
///
/// # Errors
/// A sentence when the user database does not answer; that says nothing about the user.
pub fn account(context: &Context, address: &Mailbox) -> Result<Option<Account>, String> {
    let found = accounts::find(address.local())?;
    if found.is_some() {
        return Ok(found);
    }
    // A uid without an entry, as containers have them, still hears of what became of its mail.
    let caller = accounts::caller();
    if caller.name == address.local() {
        return Ok(Some(caller));
    }
    if !is_role(address.local()) {
        return Ok(None);
    }
    match owner(context).filter(|uid| *uid == accounts::caller_uid()) {
        Some(_) => Ok(Some(accounts::caller())),
        None => accounts::find("root"),
    }
}

/// Tries one recipient.
fn to_one(
    context: &Context,
    helpers: Option<&Helpers>,
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
    if helpers.is_none() && account.uid != accounts::caller_uid() {
        let text = format!(
            "this mail waits for a queue run as root, or as the user {}",
            account.name
        );
        return Ok(deferred(Enhanced(4, 2, 0), &text));
    }
    let address = &recipient.address;
    let sender = recipient.origin.as_ref().and_then(|o| o.sender.clone());
    let letter = Letter {
        end: end.clone(),
        sender: sender.map_or_else(|| envelope.sender.clone(), ReversePath::Mailbox),
        recipient: address.clone(),
        first: first(envelope, recipient).clone(),
    };
    let looped = Cell::new(false);
    let message = text::changed(claim, &|header| {
        header.strip("Return-Path");
        looped.set(was_here(header, address));
    });
    let message = match message {
        Ok(message) => message,
        Err(e) if e.kind() == io::ErrorKind::InvalidData => return Err(Damaged),
        Err(e) => {
            let text = format!("cannot read the message to deliver: {}", words(&e));
            return Ok(deferred(Enhanced(4, 3, 0), &text));
        }
    };
    if looped.get() {
        let text = format!("the message was delivered to {address} before; it runs in a loop");
        return Ok(failed(Enhanced(5, 4, 6), &text));
    }
    let mut message = Cursor::new(trace(&letter)).chain(message);
    match helpers {
        None => {
            let place = Place::of(context, &account, &letter.end);
            ends::deliver(context, &account, &place, &letter, &mut message)
        }
        Some(helpers) => helpers.deliver(&whom, &letter, &mut message),
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
        (_, Some(name)) => accounts::find(name),
        (End::Mailbox, None) => account(context, &recipient.address),
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

/// What stands at the top of a message that was delivered (RFC 5321 4.4; the others by long custom).
fn trace(letter: &Letter) -> String {
    format!(
        "Return-Path: {}\r\nX-Original-To: {}\r\nDelivered-To: {}\r\n",
        letter.sender, letter.first, letter.recipient
    )
}

/// Whether a message was delivered to this address before: then it comes from there, and would again.
fn was_here(header: &Header, address: &Mailbox) -> bool {
    let address = address.to_string();
    header.fields().iter().any(|field| {
        let text = field.body().trim_ascii();
        field.is("Delivered-To") && text.eq_ignore_ascii_case(address.as_bytes())
    })
}

fn failed(enhanced: Enhanced, text: &str) -> Outcome {
    Outcome::new(Verdict::Failed, None, enhanced, "", text)
}
