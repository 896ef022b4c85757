//! Reports, as people ([`words`]) and as programs read them, and who gets one.

use super::super::envelope::sample;
use super::super::outcome::Verdict;
use super::super::reply::Enhanced as E;
use super::*;

mod words;

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
        others_wait: false,
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
    let expired = Outcome::new(
        Verdict::Failed,
        None,
        EXPIRED,
        "mx.example.net",
        "given up after 5 attempts",
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
            &expired,
            "was not delivered",
            "mx.example.net: 4.4.7 given up after 5 attempts",
            "failed 4.4.7 dns; mx.example.net x-minimta; 4.4.7 given up after 5 attempts -",
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
fn who_did_not_ask_for_failures_is_promised_none() {
    let (host, mut envelope) = (host(), sample(&["all@example.net"]));
    let outcomes = [Outcome::new(
        Verdict::Expanded,
        None,
        E(2, 0, 0),
        "",
        "it stands for several recipients",
    )];
    for (notify, promised) in [("SUCCESS", false), ("SUCCESS,FAILURE", true)] {
        envelope.recipients[0].notify = Notify::parse(notify);
        let report = report(Action::Expanded, &host, &envelope, &outcomes);
        let words = parse(&report, "A: b\r\n").words.replace("\r\n", " ");
        let found = words.contains("You will hear of failures only");
        assert_eq!(found, promised, "{notify}: {words}");
        assert_eq!(words.contains("this address stands:"), !promised, "{words}");
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
#[cfg_attr(miri, ignore = "takes too long")]
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
        ("192.0.2.1", true, Some("[192.0.2.1]")),
        ("192.0.2.1[192.0.2.1]:25", false, Some("[192.0.2.1]")),
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
