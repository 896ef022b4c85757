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

use super::address::{Domain, Mailbox};
use super::date::Stamp;
use super::envelope::{Envelope, Notify, Outcome, Recipient, Verdict};
use super::mime::quoted::QuotedPrintable;
use super::reply::Enhanced;
use text::{MAX_WORDS, ascii, dns, field, original, readable, typed_address, unescape, wrap};

/// Recipients that are told of with all that is known; of the others only the fields that RFC 3464 requires.
pub const MAX_DETAILED: usize = 100;
/// Recipients that are told of at all. Whoever has more of them knows that something is wrong from these.
pub const MAX_LISTED: usize = 10_000;

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
    let notify = notify.unwrap_or(Notify {
        success: false,
        failure: true,
        delay: true,
    });
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
        let sent = self.date(self.envelope.received_at);
        let what = match self.action {
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
            Action::Expanded => format!(
                "Your message of {sent} was sent on by minimta at {host} to those for whom this address stands. You will hear of failures only:"
            ),
        };
        wrap(&mut text, "", &what);
        for (recipient, outcome, _) in self.about.iter().take(MAX_DETAILED) {
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "\r\n  {}\r\n",
                readable(&recipient.address.to_string())
            );
            self.explain(&mut text, outcome);
        }
        if self.about.len() > MAX_DETAILED {
            let more = format!(
                "... and {} more, who are named in the delivery status attached to this report.",
                self.about.len() - MAX_DETAILED
            );
            text.push_str("\r\n");
            wrap(&mut text, "  ", &more);
        }
        if matches!(self.action, Action::Failed) {
            let help = format!(
                "If that does not help, ask the postmaster of the recipient's domain, or postmaster@{host}, and send this report along; it names your message as {}.",
                ascii(self.queue_id, 60)
            );
            text.push_str("\r\n");
            wrap(&mut text, "", &help);
        }
        text.push_str("\r\n");
        text
    }

    /// The words of whoever decided it, and in our own what to do about it.
    fn explain(&self, text: &mut String, outcome: &Outcome) {
        if matches!(self.action, Action::Failed | Action::Delayed) {
            let said = readable(&outcome.words());
            let said = match remote(outcome) {
                Some(host) if outcome.code.is_some() => format!("{host} said: {said}"),
                Some(host) => format!("{host}: {said}"),
                None => said,
            };
            wrap(text, "      ", &said);
        }
        if self.action == Action::Failed {
            wrap(text, "      ", advice(outcome));
        }
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
        // Given up for its age (RFC 3463 3.5, X.4.7); why, the diagnostic says.
        let expired = self.action == Action::Failed && outcome.verdict == Verdict::Deferred;
        let status = if expired { EXPIRED } else { outcome.enhanced };
        field(text, "Status", &status.to_string());
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
            let words = ascii(&outcome.words(), MAX_WORDS);
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
        format!(
            "--{}\r\nContent-Type: {kind}\r\nContent-Description: Your message\r\n{encoding}\r\n",
            self.boundary()
        )
    }
}

/// Delivery time expired (RFC 3463 3.5).
const EXPIRED: Enhanced = Enhanced(4, 4, 7);

/// What a sender can do about a failure, as far as its status tells.
fn advice(outcome: &Outcome) -> &'static str {
    if outcome.verdict == Verdict::Deferred {
        return "It was tried until it was too old. Send it again when the other side works.";
    }
    match (outcome.enhanced.1, outcome.enhanced.2) {
        (1, 7 | 8) | (7, 8 | 9) => "They do not accept your own address or login.",
        (1, _) => {
            "Check the address for mistakes; if it is wrong, send the message to the right one."
        }
        (2, 2) => "The mailbox is full. Send the message again later.",
        (2, 3) | (3, 4) => "The message is too large for them. Send less at once.",
        (7, _) => "They refuse it by a rule of theirs, which their postmaster can explain.",
        _ => "",
    }
}

/// The host that spoke, when it was one and no place here.
fn remote(outcome: &Outcome) -> Option<String> {
    let host = outcome.host.as_str();
    let name = match host {
        h if h.starts_with('[') => h.split_inclusive(']').next().unwrap_or_default().to_owned(),
        h if h.matches(':').count() > 1 => format!("[IPv6:{h}]"),
        h => h.split(['[', ':']).next().unwrap_or_default().to_owned(),
    };
    let name = Domain::parse(&name).ok()?.as_str().to_owned();
    (outcome.code.is_some() || name.contains(['.', '['])).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::super::envelope::sample;
    use super::super::reply::Enhanced as E;
    use super::*;

    const NOW: i64 = 1_795_454_400;

    /// A report taken apart by the rules of RFC 2046 and RFC 3464, and nothing else of this file.
    #[derive(Debug)]
    struct Parsed {
        header: Vec<(String, String)>,
        words: String,
        /// The message's fields, then each recipient's.
        groups: Vec<Vec<(String, String)>>,
        third: (Vec<(String, String)>, String),
    }

    impl Parsed {
        fn value<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
            let mut found = fields.iter().filter(|(n, _)| n == name);
            let value = found.next().map(|(_, v)| v.as_str());
            assert!(found.next().is_none(), "{name} twice");
            value
        }

        fn of(&self, group: usize, name: &str) -> &str {
            Self::value(&self.groups[group], name).unwrap_or("-")
        }
    }

    fn fields(text: &str) -> Vec<(String, String)> {
        let unfolded = text.replace("\r\n ", " ");
        let lines = unfolded.split("\r\n").filter(|l| !l.is_empty());
        lines
            .map(|l| {
                l.split_once(": ")
                    .unwrap_or_else(|| panic!("no field: {l:?}"))
            })
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .collect()
    }

    fn parse(report: &Report<'_>, original: &str) -> Parsed {
        let mut all = report.head();
        all.extend_from_slice(original.as_bytes());
        all.extend_from_slice(&report.tail());
        let all = String::from_utf8(all).unwrap();
        assert!(
            all.split("\r\n")
                .all(|l| l.len() <= 998 && !l.contains(['\r', '\n']))
        );
        let (header, body) = all.split_once("\r\n\r\n").unwrap();
        let header = fields(header);
        let kind = Parsed::value(&header, "Content-Type").unwrap();
        assert!(kind.starts_with("multipart/report; report-type=delivery-status;"));
        let boundary = kind.split('"').nth(1).unwrap();
        assert!(boundary.len() <= 70);
        let body = format!("\r\n{body}");
        let delimiter = format!("\r\n--{boundary}");
        let mut parts = body.split(&delimiter);
        assert_eq!(parts.next(), Some(""));
        let mut part = || {
            let part = parts.next().unwrap().strip_prefix("\r\n").unwrap();
            let (header, body) = part.split_once("\r\n\r\n").unwrap();
            (fields(header), body.to_owned())
        };
        let (_, words) = part();
        let (kind, status) = part();
        assert_eq!(
            Parsed::value(&kind, "Content-Type"),
            Some("message/delivery-status")
        );
        assert!(status.is_ascii());
        let groups = status
            .split("\r\n\r\n")
            .filter(|g| !g.is_empty())
            .map(fields)
            .collect();
        let third = part();
        assert_eq!((parts.next(), parts.next()), (Some("--\r\n"), None));
        Parsed {
            header,
            words,
            groups,
            third,
        }
    }

    fn report<'a>(
        action: Action,
        host: &'a Domain,
        envelope: &'a Envelope,
        outcomes: &'a [Outcome],
    ) -> Report<'a> {
        Report {
            action,
            reporting_mta: host,
            to: envelope.sender.mailbox().unwrap(),
            envelope,
            queue_id: "01JDABCDEF",
            about: envelope
                .recipients
                .iter()
                .zip(outcomes.iter().cycle())
                .map(|(r, o)| (r, o, NOW - 60))
                .collect(),
            now: Stamp {
                unix: NOW,
                offset: 3600,
            },
            message_id: "<r1@pi.example.org>".to_owned(),
            returned: Returned::Headers,
            eight_bit: false,
            retry_until: Some(NOW + 86_400),
            random: 0xfeed,
        }
    }

    fn host() -> Domain {
        Domain::parse("pi.example.org").unwrap()
    }

    fn no_such_user() -> Outcome {
        Outcome::new(
            Verdict::Failed,
            Some(550),
            E(5, 1, 1),
            "mx.example.net",
            "No such user here",
        )
    }

    #[test]
    fn a_failure_is_told_to_people_and_programs() {
        let mut envelope = sample(&["bob@example.net"]);
        envelope.recipients[0].orcpt = Some("rfc822;bob+2Bx@example.org".to_owned());
        envelope.envid = Some("QQ+3D1".to_owned());
        let (host, outcomes) = (host(), [no_such_user()]);
        let report = report(Action::Failed, &host, &envelope, &outcomes);
        let original = "Subject: hello\r\n\r\n";
        let parsed = parse(&report, original);
        let header: Vec<String> = parsed
            .header
            .iter()
            .map(|(n, v)| format!("{n}: {v}"))
            .collect();
        assert_eq!(
            header,
            [
                "From: Mail Delivery System <MAILER-DAEMON@pi.example.org>",
                "To: sender@example.org",
                "Subject: Your message to bob@example.net was not delivered",
                "Date: Mon, 23 Nov 2026 18:20:00 +0100",
                "Message-ID: <r1@pi.example.org>",
                "Auto-Submitted: auto-replied",
                "MIME-Version: 1.0",
                "Content-Type: multipart/report; report-type=delivery-status; boundary=\"=_01JDABCDEF.000000000000feed\"",
            ]
        );
        assert_eq!(
            parsed.words.replace("\r\n", "\n"),
            "This is minimta at pi.example.org.\n\n\
             Your message of Mon, 23 Nov 2026 18:20:00 +0100 could not be delivered to\n\
             the recipients below. It will not be tried again.\n\n  \
             bob@example.net\n      \
             mx.example.net said: 550 5.1.1 No such user here\n      \
             Check the address for mistakes; if it is wrong, send the message to\n      \
             the right one.\n\n\
             If that does not help, ask the postmaster of the recipient's domain, or\n\
             postmaster@pi.example.org, and send this report along; it names your message\n\
             as 01JDABCDEF.\n"
        );
        let expected = [
            ("Reporting-MTA", "dns; pi.example.org"),
            ("Original-Envelope-Id", "QQ=1"),
            ("X-Minimta-Queue-Id", "01JDABCDEF"),
            ("Arrival-Date", "Mon, 23 Nov 2026 18:20:00 +0100"),
            ("Original-Recipient", "rfc822; bob+x@example.org"),
            ("Final-Recipient", "rfc822; bob@example.net"),
            ("Action", "failed"),
            ("Status", "5.1.1"),
            ("Remote-MTA", "dns; mx.example.net"),
            ("Diagnostic-Code", "smtp; 550 5.1.1 No such user here"),
            ("Last-Attempt-Date", "Mon, 23 Nov 2026 18:19:00 +0100"),
        ];
        let found = parsed.groups.concat();
        assert_eq!(found.len(), expected.len());
        for ((name, value), found) in expected.iter().zip(&found) {
            assert_eq!((found.0.as_str(), found.1.as_str()), (*name, *value));
        }
        assert_eq!(
            Parsed::value(&parsed.third.0, "Content-Type"),
            Some("text/rfc822-headers")
        );
        assert_eq!(parsed.third.1, original);
    }

    #[test]
    fn every_action_has_its_words_and_its_fields() {
        let deferred = Outcome::new(
            Verdict::Deferred,
            None,
            E(4, 4, 1),
            "mx.example.net",
            "connection refused",
        );
        let full = Outcome::new(
            Verdict::Deferred,
            None,
            E(4, 2, 2),
            "Maildir",
            "disk quota exceeded",
        );
        let done = Outcome::new(Verdict::Delivered, None, E(2, 0, 0), "Maildir", "");
        let passed = Outcome::new(
            Verdict::Delivered,
            Some(250),
            E(2, 0, 0),
            "[192.0.2.1]",
            "ok",
        );
        // L12: what was given up for its age says so, and quotes the last error.
        let rows = [
            (
                Action::Failed,
                &deferred,
                "was not delivered",
                "mx.example.net: 4.4.1 connection refused",
                "failed 4.4.7 dns; mx.example.net x-minimta; 4.4.1 connection refused -",
            ),
            (
                Action::Delayed,
                &full,
                "is delayed",
                "4.2.2 disk quota exceeded",
                "delayed 4.2.2 - x-minimta; 4.2.2 disk quota exceeded Tue, 24 Nov 2026 18:20:00 +0100",
            ),
            (
                Action::Delivered,
                &done,
                "was delivered",
                "delivered by minimta at pi.example.org",
                "delivered 2.0.0 - - -",
            ),
            (
                Action::Relayed,
                &passed,
                "was passed on",
                "passed on by minimta at pi.example.org",
                "relayed 2.0.0 dns; [192.0.2.1] smtp; 250 2.0.0 ok -",
            ),
        ];
        let (host, envelope) = (host(), sample(&["bob@example.net"]));
        for (action, outcome, subject, words, status) in rows {
            let outcomes = [outcome.clone()];
            let parsed = parse(&report(action, &host, &envelope, &outcomes), "A: b\r\n");
            assert!(
                Parsed::value(&parsed.header, "Subject")
                    .unwrap()
                    .ends_with(subject)
            );
            assert!(
                parsed.words.replace("\r\n", " ").contains(words),
                "{}",
                parsed.words
            );
            let found = [
                "Action",
                "Status",
                "Remote-MTA",
                "Diagnostic-Code",
                "Will-Retry-Until",
            ];
            assert_eq!(found.map(|n| parsed.of(1, n)).join(" "), status);
        }
    }

    #[test]
    fn hostile_words_stay_words() {
        let long = "x ".repeat(5000);
        // L9, K7, CVE-2020-8794.
        let rows = [
            "no\r\nAction: delivered\r\n\r\nFinal-Recipient: rfc822; x@y",
            "no\u{1b}[2J\0\u{7}\u{202e}\u{e9}",
            "\r\n--=_01JDABCDEF.000000000000feed--\r\n",
            &" ".repeat(5000),
            &long,
            &"y".repeat(5000),
            &"\u{e9}".repeat(5000),
            &format!("a{}b", " ".repeat(300)),
        ];
        let host = host();
        for text in rows {
            let mut outcome = no_such_user();
            outcome.text = text.to_owned(); // not even cleaned as Outcome::new does
            outcome.host = "mx\r\n.example.net".to_owned();
            let mut envelope = sample(&["bob@example.net", "eve@example.net"]);
            envelope.envid = Some(format!("a+0D+0AAction:+20delivered+2{text}"));
            envelope.recipients[0].orcpt = Some(format!("rfc822;a+0D+0AAction:+20delivered{text}"));
            envelope.recipients[1].orcpt = Some("x\r\ny;z".to_owned());
            let outcomes = [outcome];
            let mut report = report(Action::Failed, &host, &envelope, &outcomes);
            report.queue_id = "a\"\r\nX: y";
            report.message_id = format!("<a\r\nBcc: x@y{text}>");
            let parsed = parse(&report, "A: b\r\n");
            assert_eq!(parsed.header.len(), 8);
            assert_eq!(parsed.groups.len(), 3);
            assert_eq!(parsed.of(1, "Action"), "failed");
            assert_eq!(parsed.of(1, "Remote-MTA"), "-");
            assert_eq!(parsed.of(2, "Original-Recipient"), "-");
            assert!(
                !parsed
                    .words
                    .chars()
                    .any(|c| c.is_control() && !matches!(c, '\r' | '\n'))
            );
            assert!(!parsed.words.contains('\u{202e}'));
        }
    }

    #[test]
    fn addresses_beyond_ascii_are_written_in_ascii() {
        let mut envelope = sample(&["jos\u{e9}+x@ex\u{e4}mple.example"]);
        envelope.recipients[0].orcpt = Some("utf-8;jos\u{e9}@x.example".to_owned());
        envelope.smtputf8 = true;
        let (host, outcomes) = (host(), [no_such_user()]);
        let mut report = report(Action::Failed, &host, &envelope, &outcomes);
        report.returned = Returned::Full;
        report.eight_bit = true;
        assert!(report.head().is_ascii()); // L14
        let parsed = parse(&report, "Subject: \u{e9}\r\n\r\n\u{e9}\r\n");
        assert_eq!(
            parsed.of(1, "Final-Recipient"),
            "utf-8; jos\\x{E9}\\x{2B}x@ex\\x{E4}mple.example"
        );
        assert_eq!(
            parsed.of(1, "Original-Recipient"),
            "utf-8; jos\\x{E9}@x.example"
        );
        assert!(parsed.words.contains("jos=C3=A9+x@ex=C3=A4mple.example"));
        assert_eq!(
            Parsed::value(&parsed.header, "Content-Transfer-Encoding"),
            Some("8bit")
        );
        assert_eq!(
            Parsed::value(&parsed.third.0, "Content-Type"),
            Some("message/global")
        );
        let to = Mailbox::parse("jos\u{e9}@example.org").unwrap();
        report.to = &to;
    }

    #[test]
    fn a_thousand_recipients_are_one_report_of_bounded_size() {
        let names: Vec<String> = (0..1000)
            .map(|n| format!("user{n}@{}.example", "d".repeat(60)))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (host, envelope) = (host(), sample(&names));
        let outcomes = [Outcome::new(
            Verdict::Failed,
            Some(550),
            E(5, 7, 1),
            "mx.example.net",
            &"no ".repeat(300),
        )];
        let report = report(Action::Failed, &host, &envelope, &outcomes);
        let parsed = parse(&report, "A: b\r\n"); // L16
        assert_eq!(parsed.groups.len(), 1001);
        assert_eq!(parsed.of(1000, "Action"), "failed");
        assert_eq!(parsed.of(1000, "Diagnostic-Code"), "-");
        assert!(parsed.words.contains("... and 900 more"));
        assert_eq!(
            Parsed::value(&parsed.header, "Subject"),
            Some("Your message to 1000 recipients was not delivered")
        );
        assert!(report.head().len() < 400_000, "{}", report.head().len());
    }

    #[test]
    fn who_wants_a_report_gets_it() {
        let all = [
            Action::Failed,
            Action::Delayed,
            Action::Delivered,
            Action::Relayed,
        ];
        let rows = [
            (None, [true, true, false, false]),
            (Some("NEVER"), [false; 4]), // L7
            (Some("SUCCESS"), [false, false, true, true]),
            (Some("FAILURE"), [true, false, false, false]),
            (Some("DELAY,SUCCESS"), [false, true, true, true]),
        ];
        for (text, expected) in rows {
            let notify = text.map(|t| Notify::parse(t).unwrap());
            assert_eq!(
                all.map(|action| wants(notify, action)),
                expected,
                "{text:?}"
            );
        }
    }

    #[test]
    fn hosts_are_told_from_places() {
        let rows = [
            ("mx.example.net", true, Some("mx.example.net")),
            (
                "mx.example.net[192.0.2.1]:25",
                false,
                Some("mx.example.net"),
            ),
            ("[IPv6:2001:db8::1]:25", true, Some("[ipv6:2001:db8::1]")),
            ("2001:db8::1", true, Some("[ipv6:2001:db8::1]")),
            ("router", true, Some("router")), // a host of this network that gave a code
            ("Maildir", false, None),
            ("/run/dovecot/lmtp", true, None),
            ("", true, None),
        ];
        for (text, has_code, expected) in rows {
            let code = has_code.then_some(550);
            let outcome = Outcome::new(Verdict::Failed, code, E(5, 0, 0), text, "");
            assert_eq!(remote(&outcome).as_deref(), expected, "{text:?}");
        }
    }
}
