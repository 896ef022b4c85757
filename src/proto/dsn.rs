//! Reports to a sender (RFC 3464): what became of a message, for a person and for a program.
//!
//! ```text
//! Report::head()   the report's header; part 1, words for a person; part 2, message/delivery-status;
//!                  the opening of part 3
//! (the caller streams the original message here, or its header)
//! Report::tail()   the end
//! ```
//!
//! Whatever a remote server, a sender or a recipient wrote is data: it is bounded, put on one line and freed of
//! all that is not printable before it stands in here, so none of it can become a field (CVE-2020-8794) or a
//! part.
//!
//! A report is ASCII, so that it gets through everywhere. Addresses beyond ASCII (RFC 6531) stand in part 2 in
//! the 7-bit form `utf-8; jos\x{E9}@example` (RFC 6533 3), and in part 1 as UTF-8 in quoted-printable. Only an
//! address that the report itself goes to or comes from is UTF-8 in the header: then it needs SMTPUTF8.

mod text;

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use super::address::{Domain, Mailbox, ReversePath};
use super::date::Stamp;
use super::envelope::{Envelope, Notify, Recipient};
use super::mime::quoted::QuotedPrintable;
use super::outcome::Outcome;
use super::reply::Enhanced;
use text::{MAX_WORDS, ascii, dns, field, original, readable, typed_address, unescape, wrap};

/// Recipients that are told of with all that is known; of the others only the fields that RFC 3464 requires.
pub const MAX_DETAILED: usize = 100;
/// Recipients that are told of at all. Whoever has more of them knows that something is wrong from these.
pub const MAX_LISTED: usize = 10_000;

/// The status of what was given up for its age (RFC 3463 3.5, delivery time expired); why, its words say.
pub const EXPIRED: Enhanced = Enhanced(4, 4, 7);

/// What is reported (RFC 3464 2.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It was not delivered, and will not be tried again.
    Failed,
    /// Not yet.
    Delayed,
    /// It is in the mailbox.
    Delivered,
    /// It went on to a server that sends no reports (RFC 3461 5.2.2).
    Relayed,
    /// Several recipients have taken its place, who report no success of their own (RFC 3461 5.2.7).
    Expanded,
}

/// Whether a sender who said `notify` of a recipient wants to hear of this (RFC 3461 4.1). Who said nothing
/// hears of failures and delays.
pub fn wants(notify: Option<Notify>, action: Action) -> bool {
    let notify = notify.unwrap_or(Notify::UNSAID);
    match action {
        Action::Failed => notify.failure,
        Action::Delayed => notify.delay,
        Action::Delivered | Action::Relayed | Action::Expanded => notify.success,
    }
}

/// What part 3 holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Returned {
    /// The whole message.
    Full,
    /// Its header, up to the blank line or with it.
    Headers,
}

/// One report on any number of recipients of one message.
#[derive(Debug)]
pub struct Report<'a> {
    /// What became of it for all of them.
    pub action: Action,
    /// This host.
    pub reporting_mta: &'a Domain,
    /// Whom the report goes to.
    pub to: &'a Mailbox,
    /// The envelope of the message it is about.
    pub envelope: &'a Envelope,
    /// Its queue id.
    pub queue_id: &'a str,
    /// For whom, what was said last, and when that was (seconds since 1970).
    pub about: Vec<(&'a Recipient, &'a Outcome, i64)>,
    /// The time of the report; its zone is used for all dates.
    pub now: Stamp,
    /// The report's own Message-ID, with or without its brackets.
    pub message_id: String,
    /// How much of the message the caller adds.
    pub returned: Returned,
    /// Whether any octet of the message is beyond ASCII.
    pub eight_bit: bool,
    /// For a delay: until when it will be tried (seconds since 1970).
    pub retry_until: Option<i64>,
    /// For a failure: others that fail for the same reason wait, and are not reported for a day.
    pub others_wait: bool,
    /// A random number nobody knows beforehand: what the message holds cannot look like the report's boundary.
    pub random: u64,
}

impl Report<'_> {
    /// All that stands before the original message.
    pub fn head(&self) -> Vec<u8> {
        let mut out = self.header().into_bytes();
        self.for_people(&mut out);
        out.extend_from_slice(self.for_programs().as_bytes());
        out.extend_from_slice(self.opening().as_bytes());
        out
    }

    /// What stands behind it. The line end it begins with is the delimiter's own, so the message keeps its own.
    pub fn tail(&self) -> Vec<u8> {
        format!("\r\n--{}--\r\n", self.boundary()).into_bytes()
    }

    /// `=_` stands in no quoted-printable, the queue id was made after the message, and the number is random.
    fn boundary(&self) -> String {
        let id = self.queue_id.chars();
        let id: String = id.filter(char::is_ascii_alphanumeric).take(40).collect();
        format!("=_{id}.{:016x}", self.random)
    }

    /// Whether it is about a message that has no sender: nobody but the postmaster can be told of it.
    fn is_anothers(&self) -> bool {
        self.envelope.sender == ReversePath::Null
    }

    fn date(&self, unix: i64) -> String {
        let offset = self.now.offset;
        Stamp { unix, offset }.rfc5322()
    }

    fn header(&self) -> String {
        let encoding = if self.eight_bit {
            "Content-Transfer-Encoding: 8bit\r\n"
        } else {
            ""
        };
        format!(
            "From: Mail Delivery System <MAILER-DAEMON@{}>\r\n\
             To: {}\r\n\
             Subject: {}\r\n\
             Date: {}\r\n\
             Message-ID: <{}>\r\n\
             Auto-Submitted: auto-replied\r\n\
             MIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=delivery-status;\r\n \
             boundary=\"{}\"\r\n\
             {encoding}\r\n",
            self.reporting_mta,
            self.to,
            self.subject(),
            self.now.rfc5322(),
            ascii(self.message_id.trim_matches(['<', '>']), 250),
            self.boundary()
        )
    }

    fn subject(&self) -> String {
        /// A longer address would make the line too long to be read in a list.
        const MAX_SHOWN: usize = 50;
        let whom = match self.about.as_slice() {
            [(one, ..)] if one.address.is_ascii() => Some(one.address.to_string())
                .filter(|a| a.len() <= MAX_SHOWN)
                .map(|a| format!(" to {a}"))
                .unwrap_or_default(),
            [_] => String::new(),
            several => format!(" to {} recipients", several.len()),
        };
        match self.action {
            Action::Failed if self.is_anothers() => {
                format!("A message without a sender{whom} was not delivered")
            }
            Action::Failed => format!("Your message{whom} was not delivered"),
            Action::Delayed => format!("Your message{whom} is delayed"),
            Action::Delivered => format!("Your message{whom} was delivered"),
            Action::Relayed => format!("Your message{whom} was passed on"),
            Action::Expanded => format!("Your message{whom} was sent on"),
        }
    }

    /// Part 1.
    fn for_people(&self, out: &mut Vec<u8>) {
        let text = self.words();
        let kind = if text.is_ascii() {
            "Content-Type: text/plain; charset=us-ascii\r\n"
        } else {
            "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n"
        };
        out.extend_from_slice(format!("--{}\r\n{kind}\r\n", self.boundary()).as_bytes());
        if text.is_ascii() {
            out.extend_from_slice(text.as_bytes());
        } else {
            let mut quoted = QuotedPrintable::new();
            quoted.feed(text.as_bytes(), out);
            quoted.finish(out);
        }
    }

    /// What a person is told: what happened, to whom, in whose words, and what can be done.
    fn words(&self) -> String {
        let host = self.reporting_mta;
        let mut text = format!("This is minimta at {host}.\r\n\r\n");
        wrap(&mut text, "", &self.happened());
        let mut is_advised = false;
        for (recipient, outcome, _) in self.about.iter().take(MAX_DETAILED) {
            let address = readable(&recipient.address.to_string());
            let written = self.written(recipient);
            // Writing to a String cannot fail.
            let _ = match written {
                Some(written) => {
                    let written = readable(&written.to_string());
                    write!(text, "\r\n  {address}\r\n  (for {written})\r\n")
                }
                None => write!(text, "\r\n  {address}\r\n"),
            };
            is_advised |= self.explain(&mut text, outcome, written.is_none());
        }
        if self.about.len() > MAX_DETAILED {
            let more = format!(
                "... and {} more, who are named in the delivery status attached to this report.",
                self.about.len() - MAX_DETAILED
            );
            text.push_str("\r\n");
            wrap(&mut text, "  ", &more);
        }
        if self.others_wait {
            let others = "Other messages that are refused for the same reason wait, and are not reported for a day: mailq lists them.";
            text.push_str("\r\n");
            wrap(&mut text, "", others);
        }
        if matches!(self.action, Action::Failed) {
            let id = ascii(self.queue_id, 60);
            let help = match self.is_anothers() {
                true => format!("The log names the message as {id}."),
                false => {
                    let when = match is_advised {
                        true => "If that does not help",
                        false => "If you need help",
                    };
                    format!(
                        "{when}, ask the postmaster of the recipient's domain, or postmaster@{host}, and send this report along; it names your message as {id}."
                    )
                }
            };
            text.push_str("\r\n");
            wrap(&mut text, "", &help);
        }
        text.push_str("\r\n");
        text
    }

    /// What happened, to be followed by whom it is about.
    fn happened(&self) -> String {
        let (host, sent) = (self.reporting_mta, self.date(self.envelope.received_at));
        match self.action {
            Action::Failed if self.is_anothers() => format!(
                "A message of {sent} could not be delivered to the recipients below. It will not be tried again. It has no sender, as reports have of mail that failed: most likely it was to tell the recipient what became of a message of his own. It cannot be returned to anybody, and you get it as the postmaster of {host}."
            ),
            Action::Failed => format!(
                "Your message of {sent} could not be delivered to the recipients below. It will not be tried again."
            ),
            Action::Delayed => format!(
                "Your message of {sent} could not yet be delivered to the recipients below. You need not do anything: it will be tried again{}.",
                self.retry_until
                    .map(|at| format!(" until {}", self.date(at)))
                    .unwrap_or_default()
            ),
            Action::Delivered => {
                format!("Your message of {sent} was delivered by minimta at {host} to:")
            }
            Action::Relayed => format!(
                "Your message of {sent} was passed on by minimta at {host} to a server that sends no such reports itself, for:"
            ),
            Action::Expanded => {
                let text = format!(
                    "Your message of {sent} was sent on by minimta at {host} to those for whom this address stands"
                );
                let hears =
                    |(recipient, ..): &(&Recipient, _, _)| wants(recipient.notify, Action::Failed);
                match self.about.iter().all(hears) {
                    true => text + ". You will hear of failures only:",
                    false => text + ":",
                }
            }
        }
    }

    /// The address that whoever hears of it has written to, where it is another: aliases and the like lead from it to the
    /// recipient. The owner of a list knows its members.
    fn written<'r>(&'r self, recipient: &'r Recipient) -> Option<&'r Mailbox> {
        let mut first = recipient;
        // Each is made of one before it.
        while let Some(parent) = (first.origin.as_ref())
            .filter(|origin| origin.sender.is_none())
            .and_then(|origin| self.envelope.recipients.get(origin.of))
        {
            first = parent;
        }
        (first.address != recipient.address).then_some(&first.address)
    }

    /// The words of whoever decided it, and in our own what to do about it. Returned is whether there is anything to do.
    /// Nobody is to look for mistakes in an address that he has not written.
    fn explain(&self, text: &mut String, outcome: &Outcome, has_written: bool) -> bool {
        if matches!(self.action, Action::Failed | Action::Delayed) {
            let said = readable(&outcome.words());
            let said = match remote(outcome) {
                Some(host) if outcome.code.is_some() => format!("{host} said: {said}"),
                Some(host) => format!("{host}: {said}"),
                None => said,
            };
            wrap(text, "      ", &said);
        }
        let is_asked = self.action == Action::Failed && !self.is_anothers();
        let is_his = |advice: &&str| has_written || *advice != MISTAKES;
        let advice = advice(outcome).filter(|a| is_asked && is_his(a));
        wrap(text, "      ", advice.unwrap_or_default());
        advice.is_some()
    }

    /// Part 2 (RFC 3464 2).
    fn for_programs(&self) -> String {
        let mut text = String::new();
        let _ = write!(
            text,
            "--{}\r\nContent-Type: message/delivery-status\r\n\r\n",
            self.boundary()
        );
        field(
            &mut text,
            "Reporting-MTA",
            &dns(self.reporting_mta.as_str()),
        );
        if let Some(envid) = &self.envelope.envid {
            let envid = ascii(&unescape(envid), MAX_WORDS);
            field(&mut text, "Original-Envelope-Id", &envid);
        }
        field(&mut text, "X-Minimta-Queue-Id", &ascii(self.queue_id, 60));
        field(
            &mut text,
            "Arrival-Date",
            &self.date(self.envelope.received_at),
        );
        for (index, (recipient, outcome, at)) in self.about.iter().take(MAX_LISTED).enumerate() {
            text.push_str("\r\n");
            self.status(&mut text, recipient, outcome, *at, index < MAX_DETAILED);
        }
        text.push_str("\r\n");
        text
    }

    /// The fields of one recipient (RFC 3464 2.3).
    fn status(
        &self,
        text: &mut String,
        recipient: &Recipient,
        outcome: &Outcome,
        at: i64,
        in_detail: bool,
    ) {
        let original = recipient.orcpt.as_deref().and_then(original);
        if let Some(original) = original.filter(|_| in_detail) {
            field(text, "Original-Recipient", &original);
        }
        let address = recipient.address.to_string();
        field(text, "Final-Recipient", &typed_address(&address));
        let action = match self.action {
            Action::Failed => "failed",
            Action::Delayed => "delayed",
            Action::Delivered => "delivered",
            Action::Relayed => "relayed",
            Action::Expanded => "expanded",
        };
        field(text, "Action", action);
        field(text, "Status", &outcome.enhanced.to_string());
        if !in_detail {
            return;
        }
        if let Some(host) = remote(outcome) {
            field(text, "Remote-MTA", &dns(&host));
        }
        if !outcome.text.is_empty() || outcome.code.is_some() {
            let kind = if outcome.code.is_some() {
                "smtp"
            } else {
                "x-minimta"
            };
            let words = ascii(&outcome.reply(), MAX_WORDS);
            field(text, "Diagnostic-Code", &format!("{kind}; {words}"));
        }
        field(text, "Last-Attempt-Date", &self.date(at));
        if let Some(until) = self.retry_until.filter(|_| self.action == Action::Delayed) {
            field(text, "Will-Retry-Until", &self.date(until));
        }
    }

    /// The header of part 3 (RFC 6522 3; with UTF-8 in the original's header RFC 6533 4).
    fn opening(&self) -> String {
        let kind = match (self.returned, self.envelope.smtputf8) {
            (Returned::Full, false) => "message/rfc822",
            (Returned::Full, true) => "message/global",
            (Returned::Headers, false) => "text/rfc822-headers",
            (Returned::Headers, true) => "message/global-headers",
        };
        let encoding = if self.eight_bit {
            "Content-Transfer-Encoding: 8bit\r\n"
        } else {
            ""
        };
        let whose = match self.is_anothers() {
            true => "The message",
            false => "Your message",
        };
        format!(
            "--{}\r\nContent-Type: {kind}\r\nContent-Description: {whose}\r\n{encoding}\r\n",
            self.boundary()
        )
    }
}

/// What whoever has written an address can do about it.
const MISTAKES: &str =
    "Check the address for mistakes; if it is wrong, send the message to the right one.";

/// What a sender can do about a failure, as far as its status tells.
fn advice(outcome: &Outcome) -> Option<&'static str> {
    if outcome.enhanced == EXPIRED {
        return Some("It was tried until it was too old. Send it again when the other side works.");
    }
    Some(match (outcome.enhanced.1, outcome.enhanced.2) {
        (1, 7 | 8) | (7, 8 | 9) => "They do not accept your own address or login.",
        (1, _) => MISTAKES,
        (2, 2) => "The mailbox is full. Send the message again later.",
        (2, 3) | (3, 4) => "The message is too large for them. Send less at once.",
        (7, _) => "They refuse it by a rule of theirs, which their postmaster can explain.",
        _ => return None,
    })
}

/// The host that spoke, when it was one and no place here: a name, or an address as a literal (RFC 3464 2.1.2).
fn remote(outcome: &Outcome) -> Option<String> {
    let host = outcome.host.as_str();
    let name = match host {
        h if h.starts_with('[') => h.split_inclusive(']').next().unwrap_or_default().to_owned(),
        h if h.matches(':').count() > 1 => format!("[IPv6:{h}]"),
        h => {
            let name = h.split(['[', ':']).next().unwrap_or_default();
            match name.parse::<Ipv4Addr>() {
                Ok(address) => format!("[{address}]"),
                Err(_) => name.to_owned(),
            }
        }
    };
    let name = Domain::parse(&name).ok()?.as_str().to_owned();
    (outcome.code.is_some() || name.contains(['.', '['])).then_some(name)
}

#[cfg(test)]
mod tests;
