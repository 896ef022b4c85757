//! What reports say to people: advice, whose report it was, and the words of strangers.

use super::*;
use crate::proto::end::Origin;
use crate::proto::few;

/// What to do about a failure, and whom to ask when that was no help, or there is nothing to do.
#[test]
fn a_failure_comes_with_advice_where_there_is_any() {
    let that = "If that does not help, ask the postmaster";
    let none = "If you need help, ask the postmaster";
    let rows = [
        (
            EXPIRED,
            "It was tried until it was too old. Send it again when the other side works. If",
            that,
        ),
        (E(5, 1, 1), "Check the address for mistakes;", that),
        (E(5, 2, 2), "The mailbox is full.", that),
        (E(5, 7, 1), "They refuse it by a rule of theirs,", that),
        (E(5, 0, 0), "", none),
        (E(5, 4, 4), "", none),
    ];
    let (host, envelope) = (host(), sample(&["bob@example.net"]));
    for (enhanced, advice, help) in rows {
        let outcomes = [Outcome::new(
            Verdict::Failed,
            None,
            enhanced,
            "mx.example.net",
            "no",
        )];
        let parsed = parse(
            &report(Action::Failed, &host, &envelope, &outcomes),
            "A: b\r\n",
        );
        let words = parsed.words.split_whitespace().collect::<Vec<_>>();
        let words = words.join(" ");
        let (_, words) = words.split_once(&format!("{enhanced} no ")).unwrap();
        let begin = if advice.is_empty() { help } else { advice };
        assert!(words.starts_with(begin), "{begin}: {words}");
        assert!(words.contains(help), "{help}: {words}");
    }
}

/// Whom an alias or a ~/.forward leads to has an address that the sender never wrote; the owner of a list knows it.
#[test]
fn a_failure_behind_an_alias_names_the_address_that_was_written() {
    let (host, outcomes) = (host(), [no_such_user()]);
    let mailbox = |text: &str| Mailbox::parse(text).unwrap();
    let rows = [
        (None, "ext@x.example (for team@x.example)"),
        (Some("owner@x.example"), "ext@x.example"),
    ];
    for (owner, named) in rows {
        let mut envelope = sample(&["team@x.example", "bob@x.example", "ext@x.example"]);
        for index in 1..3 {
            let origin = Origin {
                sender: owner.map(mailbox),
                ..Origin::new(index - 1)
            };
            envelope.recipients[index].origin = Some(Box::new(origin));
        }
        let mut report = report(Action::Failed, &host, &envelope, &outcomes);
        report.about = vec![(&envelope.recipients[2], &outcomes[0], 0)];
        let words = parse(&report, "A: b\r\n").words;
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        let said = format!("{named} mx.example.net said: 550");
        assert!(words.contains(&said), "{words}");
        let is_advised = words.contains("Check the address for mistakes");
        assert_eq!(is_advised, owner.is_some(), "{words}");
    }
}

/// What has no sender goes to postmaster, who has not sent it and must know why he gets it.
#[test]
fn the_failure_of_anothers_report_says_so() {
    let (host, outcomes) = (host(), [no_such_user()]);
    let sent = sample(&["gone@example.net"]);
    let envelope = Envelope {
        sender: ReversePath::Null,
        ..sent.clone()
    };
    let postmaster = Mailbox::parse("postmaster@pi.example.org").unwrap();
    let report = Report {
        to: &postmaster,
        envelope: &envelope,
        ..report(Action::Failed, &host, &sent, &outcomes)
    };
    let parsed = parse(&report, "A: b\r\n");
    let subject = "A message without a sender to gone@example.net was not delivered";
    assert_eq!(Parsed::value(&parsed.header, "Subject"), Some(subject));
    let words = parsed.words.replace("\r\n", " ");
    for said in [
        "It cannot be returned to anybody, and you get it as the postmaster of pi.example.org.",
        "mx.example.net said: 550 5.1.1 No such user here",
        "The log names the message as 01JDABCDEF.",
    ] {
        assert!(words.contains(said), "{said}: {words}");
    }
    let whole = String::from_utf8(report.head()).unwrap().to_lowercase();
    assert!(!whole.contains("your message"), "{whole}");
}

#[test]
fn hostile_words_stay_words() {
    let long = "x ".repeat(few(5000));
    // L9, K7, CVE-2020-8794.
    let rows = [
        "no\r\nAction: delivered\r\n\r\nFinal-Recipient: rfc822; x@y",
        "no\u{1b}[2J\0\u{7}\u{202e}\u{e9}",
        "\r\n--=_01JDABCDEF.000000000000feed--\r\n",
        &" ".repeat(few(5000)),
        &long,
        &"y".repeat(few(5000)),
        &"\u{e9}".repeat(few(5000)),
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
