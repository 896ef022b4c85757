//! The envelope of a message: who sends it to whom (RFC 5321 2.3.1), and what was asked for with it (RFC 3461). How it
//! stands in a queue file is told by `text.rs`.

use super::address::{Mailbox, ReversePath};
use super::end::{End, Origin};

mod text;

pub use text::{Facts, MIN_ROOM, Parsed, Unreadable, recipient_text, room, take_recipient};

/// Who sends to whom, and what was said about it when the message was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Who hears of failures.
    pub sender: ReversePath,
    /// Whom it is for; the journal counts them from 1 in this order.
    pub recipients: Vec<Recipient>,
    /// When it was accepted, seconds since 1970.
    pub received_at: i64,
    /// Where it came from: `uid 1000`, or a client's address.
    pub client: String,
    /// How: `local`, or the word of the Received line (RFC 3848).
    pub protocol: String,
    /// Who authenticated, if anybody did.
    pub auth: Option<String>,
    /// Whether SMTPUTF8 was asked for (RFC 6531), or addresses need it.
    pub smtputf8: bool,
    /// Whether it may only go on over TLS, with servers that promise the same (RFC 8689).
    pub requiretls: bool,
    /// How much of the message a report returns (RFC 3461 4.3).
    pub ret: Option<Ret>,
    /// The sender's own name for this message, still in xtext (RFC 3461 4.4).
    pub envid: Option<String>,
}

/// The most recipients that a message can be allowed to come with. With all their parameters their lines are half of what
/// is read of a queue file's head, and an attempt for each in other words than for the next fits into its journal.
pub const MAX_RECIPIENTS: u64 = 10_000;

/// One envelope recipient with its DSN parameters (RFC 3461 4.1, 4.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// Where it goes.
    pub address: Mailbox,
    /// When the sender wants to hear of it; `None`: nothing was said, which means failures.
    pub notify: Option<Notify>,
    /// The original recipient, `type;address` with the address still in xtext.
    pub orcpt: Option<String>,
    /// How an expansion made it; `None`: the envelope names it.
    pub origin: Option<Box<Origin>>,
}

impl Recipient {
    /// A recipient nothing more was said of.
    pub fn plain(address: Mailbox) -> Self {
        Self {
            address,
            notify: None,
            orcpt: None,
            origin: None,
        }
    }

    /// Where it ends on this system, when it does. One of the envelope ends in the mailbox of its user.
    pub fn end(&self) -> Option<&End> {
        self.origin
            .as_ref()
            .map_or(Some(&End::Mailbox), |origin| origin.end.as_ref())
    }
}

/// NOTIFY= (RFC 3461 4.1). All three false is NEVER.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Notify {
    /// A report on delivery.
    pub success: bool,
    /// A report on failure.
    pub failure: bool,
    /// A report on delay.
    pub delay: bool,
}

impl Notify {
    /// Parses `NEVER`, or a list of the others; `None` for anything else (NEVER stands alone).
    pub fn parse(text: &str) -> Option<Self> {
        let mut notify = Self::default();
        if text.eq_ignore_ascii_case("NEVER") {
            return Some(notify);
        }
        for word in text.split(',') {
            match word {
                w if w.eq_ignore_ascii_case("SUCCESS") => notify.success = true,
                w if w.eq_ignore_ascii_case("FAILURE") => notify.failure = true,
                w if w.eq_ignore_ascii_case("DELAY") => notify.delay = true,
                _ => return None,
            }
        }
        Some(notify)
    }
}

impl std::fmt::Display for Notify {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words = [
            (self.success, "SUCCESS"),
            (self.failure, "FAILURE"),
            (self.delay, "DELAY"),
        ];
        let chosen: Vec<&str> = words
            .iter()
            .filter(|(on, _)| *on)
            .map(|(_, word)| *word)
            .collect();
        f.write_str(
            if chosen.is_empty() {
                "NEVER".to_owned()
            } else {
                chosen.join(",")
            }
            .as_str(),
        )
    }
}

/// RET= (RFC 3461 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ret {
    /// The whole message comes back.
    Full,
    /// Its header only.
    Headers,
}

impl Ret {
    /// Parses `FULL` or `HDRS`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            t if t.eq_ignore_ascii_case("FULL") => Some(Self::Full),
            t if t.eq_ignore_ascii_case("HDRS") => Some(Self::Headers),
            _ => None,
        }
    }

    /// As it is written in a command.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            Self::Headers => "HDRS",
        }
    }
}

impl Envelope {
    /// Of a message that was handed in or made on this system, with nothing asked for.
    pub fn local(
        sender: ReversePath,
        recipients: Vec<Recipient>,
        received_at: i64,
        client: String,
    ) -> Self {
        Self {
            sender,
            recipients,
            received_at,
            client,
            protocol: "local".to_owned(),
            auth: None,
            smtputf8: false,
            requiretls: false,
            ret: None,
            envid: None,
        }
    }

    /// Who hears of what becomes of a recipient: the sender, or the owner of the list that it was a member of.
    pub fn sender_for(&self, recipient: &Recipient) -> ReversePath {
        let owner = recipient.origin.as_ref().and_then(|o| o.sender.clone());
        owner.map_or_else(|| self.sender.clone(), ReversePath::Mailbox)
    }
}

/// The envelope of a test, for these recipients.
#[cfg(test)]
pub fn sample(to: &[&str]) -> Envelope {
    let mailbox = |text: &str| Mailbox::parse(text).unwrap();
    let sender = ReversePath::Mailbox(mailbox("sender@example.org"));
    let recipients = to.iter().map(|to| Recipient::plain(mailbox(to))).collect();
    Envelope::local(sender, recipients, 1_795_454_400, "uid 1000".to_owned())
}
