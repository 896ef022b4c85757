//! Delivery on this system: into the mailbox of the user who runs this process.
//!
//! A mailbox belongs to its user, so nobody else's is touched: mail for another user waits for a run as him.

use std::io::{self, Cursor, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::{Context, Damaged, Outcomes, text};
use crate::host::accounts::{self, Account};
use crate::host::maildir::{self, UniqueName};
use crate::host::spool::Claim;
use crate::host::{clock, mbox};
use crate::proto::address::Mailbox;
use crate::proto::envelope::{Outcome, Verdict};
use crate::proto::reply::Enhanced;
use crate::proto::route::{Hop, is_role};

/// Delivers a message to those of its recipients whose indices are given.
///
/// # Errors
/// [`Damaged`] when the message is not what was accepted; nothing was delivered then.
pub fn deliver(context: &Context, claim: &Claim, indices: &[usize]) -> Result<Outcomes, Damaged> {
    let mut outcomes = Outcomes::new();
    let envelope = claim.envelope();
    for index in indices {
        if let Some(recipient) = envelope.recipients.get(*index) {
            outcomes.push((*index, to_one(context, claim, &recipient.address)?));
        }
    }
    Ok(outcomes)
}

/// Whether this process can end the wait of a recipient: it is remote, or this user's, or nobody's, or nobody
/// else works on this spool.
pub fn is_ours_to_try(context: &Context, claim: &Claim, index: usize) -> bool {
    let envelope = claim.envelope();
    let Some(recipient) = envelope.recipients.get(index) else {
        return false;
    };
    super::queue::hop(context, &recipient.address) != Hop::Local
        || owner(context) == Some(accounts::caller_uid())
        || matches!(account(context, &recipient.address), Ok(Some(a)) if a.uid == accounts::caller_uid())
}

/// Who owns the spool, when it is there.
fn owner(context: &Context) -> Option<u32> {
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

fn to_one(context: &Context, claim: &Claim, address: &Mailbox) -> Result<Outcome, Damaged> {
    let deferred =
        |enhanced, text: &str| Ok(Outcome::new(Verdict::Deferred, None, enhanced, "", text));
    let account = match account(context, address) {
        Ok(Some(account)) => account,
        Ok(None) => {
            let text = format!("there is no user {} here", address.local());
            return Ok(Outcome::new(
                Verdict::Failed,
                None,
                Enhanced(5, 1, 1),
                "",
                &text,
            ));
        }
        Err(sentence) => return deferred(Enhanced(4, 3, 0), &sentence),
    };
    if account.uid != accounts::caller_uid() {
        return deferred(
            Enhanced(4, 2, 0),
            &format!(
                "this mail waits for a queue run as the user {}",
                account.name
            ),
        );
    }
    let pattern = &context.config.local.mailbox;
    let mailbox = mailbox(pattern, &account);
    let trace = format!(
        "Return-Path: {}\r\nDelivered-To: {address}\r\n",
        claim.envelope().sender
    );
    let message = text::changed(claim, &|header| header.strip("Return-Path"));
    let Ok(message) = message else {
        return Err(Damaged);
    };
    let mut message = Watched {
        inner: Cursor::new(trace).chain(message),
        damaged: false,
    };
    let (kind, done) = if pattern.ends_with('/') {
        let name = UniqueName::new(clock::since_1970(), &context.config.hostname);
        (
            "Maildir",
            maildir::deliver(&mailbox, &name, &mut message).map(drop),
        )
    } else {
        let mut tries = 0;
        let mut wait = || {
            tries += 1;
            std::thread::sleep(MBOX_WAIT);
            tries < MBOX_TRIES
        };
        (
            "mbox",
            mbox::append(
                &mailbox,
                &claim.envelope().sender,
                clock::now(),
                &mut message,
                &mut wait,
            ),
        )
    };
    match done {
        _ if message.damaged => Err(Damaged),
        Ok(()) => {
            let text = format!("{kind} {}", mailbox.display());
            Ok(Outcome::new(
                Verdict::Delivered,
                None,
                Enhanced(2, 0, 0),
                "",
                &text,
            ))
        }
        Err(trouble) => deferred(trouble.enhanced, &trouble.sentence),
    }
}

/// How long, and how often, a delivery waits for an mbox that someone else has locked.
const MBOX_WAIT: std::time::Duration = std::time::Duration::from_millis(200);
const MBOX_TRIES: u32 = 50;

/// Remembers that a message turned out to be damaged while it was read.
struct Watched<R> {
    inner: R,
    damaged: bool,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(block);
        self.damaged |= matches!(&read, Err(e) if e.kind() == io::ErrorKind::InvalidData);
        read
    }
}

/// `~` is the home and `%u` the name of the user.
pub fn mailbox(pattern: &str, account: &Account) -> PathBuf {
    let named = pattern.replace("%u", &account.name);
    match named.strip_prefix("~/") {
        Some(below) => account.home.join(below),
        None => PathBuf::from(named),
    }
}
