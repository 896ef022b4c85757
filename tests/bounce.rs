//! Reports to the sender (RFC 3464), and what happens when nobody can be told.

use crate::harness::system::{HOST, me};
use crate::harness::{Mail, Remote, Script, System};

const MESSAGE: &str = "From: a@example.org\nSubject: the subject\nX-Odd: \u{fc}\n\nthe body\n.\n";

fn refusing() -> Remote {
    Remote::start(Script::new().on("RCPT TO:<bad@", "550 5.1.1 no such user"))
}

/// Sends to a refused recipient and runs the queue until all is done.
fn fail(system: &System, args: &[&str]) {
    system.accept(
        &[&["-i", "-odq"], args, &["bad@example.net"]].concat(),
        MESSAGE,
    );
    for _ in 0..3 {
        system.accept(&["-q"], "");
    }
}

/// A message that was damaged after it was taken fails before anybody has read it to its end: its sender hears of that
/// all the same, and gets its header back.
#[test]
fn the_failure_of_a_damaged_message_is_reported() {
    let remote = refusing();
    let system = System::relaying("report-damaged", &remote);
    system.accept(&["-i", "-odq", "bad@example.net"], MESSAGE);
    let path = system.path("spool/new").join(&system.queued().id);
    let mut octets = std::fs::read(&path).unwrap();
    let at = octets.windows(8).position(|w| w == b"the body").unwrap();
    octets[at] ^= 0x80;
    std::fs::write(&path, octets).unwrap();
    for _ in 0..2 {
        system.accept(&["-q"], "");
    }
    assert!(system.queue().is_empty(), "{:?}", system.queue());
    let told = system.mailbox();
    assert_eq!(told.len(), 1);
    let text = told[0].text();
    assert!(text.contains("Status: 5.1.1") && text.contains("Subject: the subject"));
    assert!(!text.contains("he body"), "{text}");
}

/// RFC 3464, RFC 6522, RFC 3834: L5, R73, R75, R173-R175.
#[test]
fn a_failure_is_reported_in_the_standard_form() {
    let remote = refusing();
    let system = System::relaying("report", &remote);
    fail(&system, &["-V", "QQ1"]);
    assert!(system.queue().is_empty());
    let told = system.mailbox();
    assert_eq!(told.len(), 1);
    let report = &told[0];
    assert_eq!(report.field("Return-Path").as_deref(), Some("<>"));
    assert_eq!(report.field("To").as_deref(), Some(me().as_str()));
    let from = report.field("From").unwrap();
    assert!(from.contains(&format!("@{HOST}")), "{from}");
    assert_ne!(report.field("Auto-Submitted").as_deref(), Some("no"));
    assert!(report.field("Auto-Submitted").is_some());
    for name in ["Date", "Message-ID", "Subject", "MIME-Version"] {
        assert!(report.field(name).is_some(), "{name}");
    }
    let kind = report.field("Content-Type").unwrap();
    assert!(kind.starts_with("multipart/report"), "{kind}");
    assert!(kind.contains("report-type=delivery-status"), "{kind}");
    let parts = parts(report);
    let kinds: Vec<String> = parts
        .iter()
        .map(|p| p.field("Content-Type").unwrap())
        .collect();
    assert_eq!(parts.len(), 3, "{kinds:?}");
    assert!(kinds[0].starts_with("text/plain"), "{kinds:?}");
    assert!(kinds[1].starts_with("message/delivery-status"), "{kinds:?}");
    assert!(
        parts[0].body().contains("bad@example.net") && parts[0].body().contains("no such user")
    );
    for line in [
        format!("Reporting-MTA: dns; {HOST}"),
        "Original-Envelope-Id: QQ1".to_owned(),
        "Final-Recipient: rfc822; bad@example.net".to_owned(),
        "Action: failed".to_owned(),
        "Status: 5.1.1".to_owned(),
        "Diagnostic-Code: smtp; 550 5.1.1 no such user".to_owned(),
    ] {
        let squeezed = |t: &str| t.replace([' ', '\t'], "").to_ascii_lowercase();
        let found = parts[1]
            .body()
            .lines()
            .any(|l| squeezed(l) == squeezed(&line));
        assert!(found, "{line}: {}", parts[1].body());
    }
    assert!(
        parts[2].text().contains("Subject: the subject"),
        "{}",
        parts[2].text()
    );
}

/// The parts of a multipart, each with its header.
fn parts(mail: &Mail) -> Vec<Mail> {
    let kind = mail.field("Content-Type").unwrap();
    let boundary = kind.split("boundary=").nth(1).unwrap();
    let boundary = boundary.trim_matches('"').split('"').next().unwrap();
    let text = format!("\n{}", mail.body());
    let pieces: Vec<&str> = text.split(&format!("\n--{boundary}")).collect();
    assert!(pieces.last().unwrap().starts_with("--"), "{text}");
    let inner = &pieces[1..pieces.len() - 1];
    inner
        .iter()
        .map(|p| Mail::new(p.strip_prefix('\n').unwrap().as_bytes()))
        .collect()
}

/// RFC 3461 4.3: the header, or the whole message.
#[test]
fn the_message_comes_back_as_asked() {
    for (args, body) in [(&["-R", "full"][..], true), (&["-R", "hdrs"], false)] {
        let remote = refusing();
        let system = System::relaying("ret", &remote);
        fail(&system, args);
        let told = system.mailbox();
        let parts = parts(&told[0]);
        let kind = parts[2].field("Content-Type").unwrap();
        let expected = if body {
            "message/"
        } else {
            "text/rfc822-headers"
        };
        assert!(kind.starts_with(expected), "{kind}");
        assert_eq!(parts[2].text().contains("the body"), body);
        assert!(parts[2].text().contains("Subject: the subject"));
    }
}

/// L6: what other programs must not answer is reported all the same: a report goes to the envelope's sender. L10: a
/// boundary in the message is not the report's. L11: of a long message the header comes back.
#[test]
fn whatever_the_message_holds_is_reported() {
    let long = "a line of a long message\n".repeat(100_000);
    let rows: [(&str, &str, &[&str], bool); 4] = [
        (
            "Auto-Submitted: auto-generated\nList-Id: <x.example>\nPrecedence: bulk",
            "small",
            &[],
            true,
        ),
        (
            "Content-Type: multipart/mixed; boundary=\"=_1\"",
            "--=_1\n\nsmall\n--=_1--",
            &[],
            true,
        ),
        ("X-Long: yes", &long, &[], false),
        ("X-Long: yes", &long, &["-R", "full"], false),
    ];
    for (field, body, args, whole) in rows {
        let remote = refusing();
        let system = System::relaying("holds", &remote);
        let message = format!("Subject: the subject\n{field}\n\n{body}\n");
        let all = [&["-odq"][..], args, &["bad@example.net"]].concat();
        system.accept(&all, message);
        system.accept(&["-q"], "");
        system.accept(&["-q"], "");
        let told = system.mailbox();
        assert_eq!(told.len(), 1, "{field}");
        let parts = parts(&told[0]);
        assert_eq!(parts.len(), 3, "{field}");
        let last = parts[2].text();
        assert!(last.contains(field), "{last:.500}");
        assert_eq!(last.contains(body), whole, "{field}");
        assert!(told[0].text().len() < 1_500_000);
    }
}

/// RFC 3461 4.1: who asked for nothing hears nothing, and it ends there.
#[test]
fn only_what_was_asked_for_is_reported() {
    let rows: &[(&[&str], usize)] = &[
        (&[], 1),
        (&["-N", "failure"], 1),
        (&["-N", "never"], 0),
        (&["-N", "delay"], 0),
        (&["-N", "success"], 0),
    ];
    for (args, reports) in rows {
        let remote = refusing();
        let system = System::relaying("notify", &remote);
        fail(&system, args);
        assert!(system.queue().is_empty(), "{args:?}");
        assert_eq!(system.mailbox().len(), *reports, "{args:?}");
        assert!(system.names("hold").is_empty(), "{args:?}");
    }
}

/// RFC 3461 5.2.3, 5.2.2: success here is reported here; a server with DSN reports for itself, for one without
/// it this end says "relayed". (R151)
#[test]
fn success_is_reported_when_asked_for() {
    let me = me();
    for (to, offers, action) in [
        (me.as_str(), "DSN", Some("Action: delivered")),
        ("one@example.net", "DSN", None),
        ("one@example.net", "", Some("Action: relayed")),
    ] {
        let remote = Remote::start(Script::new().offers(offers));
        let system = System::relaying("success", &remote);
        system.accept(&["-odq", "-N", "success", to], MESSAGE);
        for _ in 0..3 {
            system.accept(&["-q"], "");
        }
        assert!(system.queue().is_empty());
        let found: Vec<Mail> = system
            .mailbox()
            .into_iter()
            .filter(|m| m.text().contains("Action: "))
            .collect();
        assert_eq!(found.len(), usize::from(action.is_some()), "{to} {offers}");
        for report in found {
            assert!(report.text().contains(action.unwrap()), "{}", report.text());
        }
    }
}

/// L2, R74, callers.md 7 tests 11 and 13: the null sender is never answered; what cannot be told to anybody is kept.
#[test]
fn the_null_sender_is_never_answered() {
    let remote = refusing();
    let system = System::relaying("null", &remote);
    fail(&system, &["-f", "<>"]);
    assert!(system.queue().is_empty());
    assert_eq!(remote.received().len(), 0);
    let here = system.mailbox().len() + system.names("hold").len();
    assert_eq!(
        here,
        1,
        "with the postmaster here, or in hold/: never gone\n{}",
        system.log()
    );
}

/// RFC 3461 4.1: nobody is told of what nobody wanted to hear of, postmaster neither; and it ends there.
#[test]
fn the_null_sender_who_wants_no_report_has_none_made() {
    let remote = refusing();
    let system = System::relaying("null-never", &remote);
    fail(&system, &["-f", "", "-N", "never"]);
    assert!(system.queue().is_empty());
    assert!(system.names("hold").is_empty(), "{}", system.log());
    assert!(system.mailbox().is_empty(), "{}", system.log());
    assert!(system.log().contains(" failed to="), "{}", system.log());
}

/// dma 143: a report that cannot be delivered ends here, once, and is not lost.
#[test]
fn a_report_nobody_takes_is_kept() {
    let remote = Remote::start(Script::new().on("RCPT", "550 5.1.1 no such user"));
    let system = System::relaying("double", &remote);
    fail(&system, &["-f", "nobody@example.com"]);
    for _ in 0..3 {
        system.accept(&["-q"], "");
    }
    assert!(system.queue().is_empty());
    assert_eq!(
        system.mailbox().len() + system.names("hold").len(),
        1,
        "{}",
        system.log()
    );
    // Twice tried: the message, and its report.
    assert_eq!(
        remote
            .commands()
            .iter()
            .filter(|c| c.starts_with("RCPT"))
            .count(),
        2
    );
}

/// callers.md 6.24: one report a message, not one a recipient.
#[test]
fn one_report_names_all_who_failed_together() {
    let remote = refusing();
    let system = System::relaying("together", &remote);
    system.accept(
        &[
            "-odq",
            "bad@example.net",
            "good@example.net",
            "bad@example.org",
        ],
        MESSAGE,
    );
    for _ in 0..3 {
        system.accept(&["-q"], "");
    }
    let told = system.mailbox();
    assert_eq!(told.len(), 1);
    let status = parts(&told[0])[1].body().to_owned();
    assert_eq!(status.matches("Final-Recipient:").count(), 2, "{status}");
    assert!(!status.contains("good@example.net"), "{status}");
}

/// What is set aside remembers who has it: after a release nobody gets it twice.
#[test]
fn what_is_set_aside_is_not_delivered_again() {
    let remote = Remote::start(Script::new().once("RCPT TO:<bad@", "550 5.1.1 no such user"));
    // No domain is ours, so there is no postmaster here either.
    let system = System::relaying("aside", &remote).with("", "domains = []");
    let to = ["-odq", "-f", "<>", "good@example.net", "bad@example.net"];
    system.accept(&to, "Subject: x\n\nx\n");
    system.accept(&["-q"], "");
    let held = system.names("hold");
    assert_eq!(
        (held.len(), remote.received().len()),
        (1, 1),
        "{}",
        system.log()
    );
    let list = system.run(&["-bp"], "").stdout;
    assert!(
        list.contains("no such user") && !list.contains("good@example.net"),
        "{list}"
    );
    system.run(&["--release", &held[0]], "");
    system.accept(&["-q"], "");
    assert!(system.queue().is_empty() && system.names("hold").is_empty());
    let received = remote.received();
    assert_eq!(received.len(), 2);
    assert_eq!(received[1].recipients(), ["bad@example.net"]);
}
