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

/// What stands before the number of the user, where a program of this system has handed a message in.
pub const UID: &str = "uid ";

/// The most recipients that a message can be allowed to come with. With all their parameters their lines are half of what
/// is read of a queue file's head, and an attempt for each in other words than for the next fits into its journal.
pub const MAX_RECIPIENTS: u64 = 10_000;

/// One envelope recipient with its DSN parameters (RFC 3461 4.1, 4.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// Where it goes.
    pub address: Mailbox,
    /// When the sender wants to hear of it; `None`: nothing was said, see [`Notify::UNSAID`].
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

    /// Takes over what is asked for with another recipient who is the same, and gets no copy of his own: each report
    /// that either of them asks for is made (RFC 3461 4.1). Returned is whether that is more than before.
    pub fn ask_for(&mut self, other: &Self) -> bool {
        let own = self.notify.unwrap_or(Notify::UNSAID);
        let both = own.or(other.notify.unwrap_or(Notify::UNSAID));
        if both == own {
            return false;
        }
        if own == Notify::default() {
            (self.notify, self.orcpt) = (other.notify, other.orcpt.clone());
        } else {
            self.notify = Some(both);
            self.orcpt = self.orcpt.take().or_else(|| other.orcpt.clone());
        }
        true
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
    /// What holds when nothing was said: failures, and the delays that RFC 3461 4.1 leaves to us.
    pub const UNSAID: Self = Self {
        success: false,
        failure: true,
        delay: true,
    };

    /// What either of two asks for.
    fn or(self, other: Self) -> Self {
        Self {
            success: self.success || other.success,
            failure: self.failure || other.failure,
            delay: self.delay || other.delay,
        }
    }

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

    /// Whether it began on this system: a program of one of its users has handed it in, whether by `sendmail` or by
    /// SMTP on its standard input (`-bs`), or it is a report of ours.
    pub fn is_from_here(&self) -> bool {
        self.protocol == "local" || self.client.starts_with(UID)
    }

    /// Whether another server has handed it over by LMTP: then it is mail of strangers, wherever that server is.
    pub fn is_by_lmtp(&self) -> bool {
        self.protocol.contains("LMTP")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_who_is_named_twice_each_report_is_made_that_was_asked_for() {
        let recipient = |text: &str| {
            let (notify, orcpt) = text.split_once(' ').unwrap_or((text, ""));
            Recipient {
                notify: Notify::parse(notify),
                orcpt: Some(orcpt.to_owned()).filter(|o| !o.is_empty()),
                ..Recipient::plain(Mailbox::parse("bob@other.example").unwrap())
            }
        };
        let rows = [
            (
                "NEVER",
                "FAILURE rfc822;alias",
                true,
                "FAILURE rfc822;alias",
            ),
            ("NEVER rfc822;bob", "-", true, "-"),
            ("-", "NEVER rfc822;alias", false, "-"),
            (
                "- rfc822;bob",
                "FAILURE,DELAY rfc822;alias",
                false,
                "- rfc822;bob",
            ),
            (
                "-",
                "SUCCESS rfc822;alias",
                true,
                "SUCCESS,FAILURE,DELAY rfc822;alias",
            ),
            (
                "SUCCESS rfc822;bob",
                "DELAY rfc822;alias",
                true,
                "SUCCESS,DELAY rfc822;bob",
            ),
            ("FAILURE", "-", true, "FAILURE,DELAY"),
            ("SUCCESS,FAILURE", "FAILURE", false, "SUCCESS,FAILURE"),
        ];
        for (first, second, more, expected) in rows {
            let mut both = recipient(first);
            assert_eq!(both.ask_for(&recipient(second)), more, "{first} + {second}");
            assert_eq!(both, recipient(expected), "{first} + {second}");
        }
    }
}
