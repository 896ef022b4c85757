//! Mailboxes that a server has, such as Dovecot, which takes mail for them by LMTP (RFC 2033).
//!
//! The worker hands it over itself: nothing is done in the user's right here, and who may connect to the server is the
//! server's to say. What was looked up before, aliases and ~/.forward, is as for mailboxes of any other kind. One
//! connection carries all messages of a run. Each recipient has a transaction of his own, for the message says whom it
//! is delivered to.
//!
//! The server makes the final delivery, so that Return-Path is its to write (RFC 5321 4.4). Its last answer is ours to
//! report to a sender who wants to hear of success, and it is told nothing of that.

use std::io::{self, Cursor, Read};

use super::helpers::Helpers;
use super::links::Links;
use super::{Context, Damaged, deliver, text};
use crate::host::accounts::{self, Account};
use crate::host::spool::Claim;
use crate::proto::address::Mailbox;
use crate::proto::end::{End, Mailboxes};
use crate::proto::envelope::{Envelope, Facts, Recipient};
use crate::proto::letter::Letter;
use crate::proto::outcome::{Outcome, Verdict};
use crate::proto::reply::Enhanced;
use crate::proto::route::{Hop, Peer};

/// The server that has the mailbox of a user, if one has. Root's own mail stays on this machine where root's process
/// can keep it here: few servers have a mailbox for root.
pub fn server<'c>(
    context: &'c Context,
    helpers: Option<&Helpers>,
    account: &Account,
) -> Option<&'c Peer> {
    match &context.config.local.mailbox {
        Mailboxes::Lmtp(peer) if helpers.is_none() || account.is_person() => Some(peer),
        _ => None,
    }
}

/// What keeps a recipient from being handed over: whether his ~/.forward sends the mail elsewhere is not known.
pub fn obstacle(
    context: &Context,
    helpers: Option<&Helpers>,
    account: &Account,
    recipient: &Recipient,
) -> Option<String> {
    let is_known = helpers.is_some()
        || !context.config.local.forward
        || !account.is_person()
        || account.uid == accounts::caller_uid()
        || matches!(&recipient.origin, Some(origin) if origin.end == Some(End::Mailbox));
    (!is_known).then(|| {
        let name = &account.name;
        format!(
            "only root, or the user {name}, can tell whether ~{name}/.forward sends this mail elsewhere; where nobody has such a file, say forward = false under [local]"
        )
    })
}

/// The name of a user's mailbox: his login name, with the detail of the address, at its domain.
pub fn address(account: &Account, recipient: &Mailbox, delimiter: Option<char>) -> Mailbox {
    let local = recipient.local();
    let (base, detail) = match delimiter.and_then(|d| local.find(d)) {
        Some(at) if !local.eq_ignore_ascii_case(&account.name) => local.split_at(at),
        _ => (local, ""),
    };
    let detail = if base.eq_ignore_ascii_case(&account.name) {
        detail
    } else {
        ""
    };
    let named = Mailbox::new(
        format!("{}{detail}", account.name),
        recipient.domain().clone(),
    );
    named.unwrap_or_else(|_| recipient.clone())
}

/// A message for one recipient, whose mailbox a server has.
pub struct Handover<'a> {
    /// What this machine is.
    pub context: &'a Context,
    /// Whose mailbox it is.
    pub account: &'a Account,
    /// The message.
    pub claim: &'a Claim,
    /// Its envelope.
    pub envelope: &'a Envelope,
    /// The recipient.
    pub recipient: &'a Recipient,
}

impl Handover<'_> {
    /// Hands it over, unless it comes from there.
    ///
    /// # Errors
    /// [`Damaged`] when the message is not what was accepted; nothing was delivered then.
    pub fn over(&self, peer: &Peer, links: &mut Links<'_>) -> Result<Outcome, Damaged> {
        let (own, hostname) = (&self.recipient.address, &self.context.config.hostname);
        match text::header(self.claim) {
            Ok(header) if deliver::was_here(&header, hostname, own) => Ok(deliver::in_a_loop(own)),
            Err(e) if e.kind() == io::ErrorKind::InvalidData => Err(Damaged),
            // What else there is to read it for comes up again.
            Ok(_) | Err(_) => self.hand(peer, links),
        }
    }

    fn hand(&self, peer: &Peer, links: &mut Links<'_>) -> Result<Outcome, Damaged> {
        let delimiter = self.context.config.local.delimiter;
        let mailbox = address(self.account, &self.recipient.address, delimiter);
        // What the sender asked for is done here.
        let recipient = Recipient::plain(mailbox);
        let trace = deliver::trace(self.envelope, self.recipient);
        let sender = self.envelope.sender_for(self.recipient);
        let is_ascii = sender.mailbox().is_none_or(Mailbox::is_ascii) && trace.is_ascii();
        let facts = self.claim.facts;
        let letter = Letter {
            sender: &sender,
            recipients: &[&recipient],
            facts: Facts {
                size: facts.size + trace.len() as u64,
                eight_bit: facts.eight_bit || !trace.is_ascii(),
                ..facts
            },
            smtputf8: self.envelope.smtputf8 || !is_ascii,
            // It goes no further (RFC 8689 1).
            requiretls: false,
            ret: None,
            envid: None,
        };
        let mut damaged = false;
        let mut source = |take: &mut dyn FnMut(&[u8]) -> io::Result<()>| {
            let message = text::changed(self.claim, &|header| header.strip("Return-Path"))?;
            let copied = text::copy(
                &mut Cursor::new(trace.as_str()).chain(message),
                self.claim.facts.size,
                take,
            );
            damaged |= matches!(&copied, Err(e) if e.kind() == io::ErrorKind::InvalidData);
            copied
        };
        let handed = links.over(&Hop::Lmtp(peer.clone()), |connection| {
            connection.deliver(&letter, &mut source, None)
        });
        let outcome = match handed {
            Ok(outcomes) => outcomes.into_iter().next(),
            Err(outcome) => Some(outcome),
        };
        let outcome = outcome.unwrap_or_else(|| {
            Outcome::new(
                Verdict::Deferred,
                None,
                Enhanced(4, 3, 0),
                "",
                "the server has said nothing of it",
            )
        });
        match outcome.verdict {
            Verdict::Delivered => Ok(kept(peer, &outcome)),
            _ if damaged => Err(Damaged),
            _ => Ok(outcome),
        }
    }
}

/// It is in a mailbox, like what this machine delivers itself, and not just passed on.
fn kept(peer: &Peer, outcome: &Outcome) -> Outcome {
    let text = format!("LMTP {peer} says {}", outcome.words());
    Outcome::new(Verdict::Delivered, None, outcome.enhanced, "", &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_has_the_name_of_its_user() {
        let account = Account {
            name: "alice".to_owned(),
            ..accounts::caller()
        };
        let rows = [
            ("alice@pi.example", Some('+'), "alice@pi.example"),
            ("Alice@pi.example", Some('+'), "alice@pi.example"),
            ("Alice+Lists@localhost", Some('+'), "alice+Lists@localhost"),
            ("alice+a+b@pi.example", Some('+'), "alice+a+b@pi.example"),
            ("alice-x@pi.example", Some('-'), "alice-x@pi.example"),
            ("alice+x@pi.example", None, "alice@pi.example"),
            // Whoever he stands for.
            ("postmaster@pi.example", Some('+'), "alice@pi.example"),
            ("nobody+x@pi.example", Some('+'), "alice@pi.example"),
        ];
        for (recipient, delimiter, expected) in rows {
            let recipient = Mailbox::parse(recipient).unwrap();
            let found = address(&account, &recipient, delimiter);
            assert_eq!(found.to_string(), expected);
        }
        let account = Account {
            name: "mary-ann".to_owned(),
            ..account
        };
        let recipient = Mailbox::parse("Mary-Ann@pi.example").unwrap();
        let found = address(&account, &recipient, Some('-'));
        assert_eq!(found.to_string(), "mary-ann@pi.example");
    }
}
