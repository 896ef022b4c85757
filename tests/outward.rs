//! What minimta says to servers, line by line, and what it makes of what they say: the duties of a client (RFC 5321).

use crate::harness::{Remote, Script, System};

const TO: [&str; 3] = ["one@example.net", "two@example.net", "three@example.net"];

/// R90-R92, R95, R96, R101, R102, R109, R130: who greets first; a transaction for all recipients of a host; groups that
/// end with DATA; dots doubled and every line ended by CRLF; QUIT.
#[test]
fn a_transaction_is_said_as_it_has_to_be() {
    // What the server does, and what it hears.
    let rows = [
        (Script::new().offers("PIPELINING"), "EHLO"),
        (Script::new().offers(""), "EHLO"),
        (Script::new().on("EHLO", "500 5.5.1 what"), "HELO"),
        (Script::new().on("EHLO", "502 5.5.1 no"), "HELO"),
    ];
    for (script, hello) in rows {
        let remote = Remote::start(script);
        let system = System::relaying("said", &remote);
        let args = [&["-i", "-odq", "-f", "me@example.org"][..], &TO].concat();
        system.accept(&args, "Subject: x\n\n.\n..\n.x\nlast");
        system.accept(&["-q"], "");
        let mut expected = vec!["EHLO pi.test.example".to_owned()];
        if hello == "HELO" {
            expected.push("HELO pi.test.example".to_owned());
        }
        let said = remote.commands();
        let mail = said.iter().find(|line| line.starts_with("MAIL ")).unwrap();
        let mail = mail.clone();
        assert!(mail.starts_with("MAIL FROM:<me@example.org>"), "{mail}");
        expected.push(mail);
        expected.extend(TO.map(|to| format!("RCPT TO:<{to}>")));
        expected.extend(["DATA", "QUIT"].map(str::to_owned));
        assert_eq!(said, expected);
        let wire = String::from_utf8(remote.wire().remove(0)).unwrap();
        assert!(
            wire.ends_with("\r\n\r\n..\r\n...\r\n..x\r\nlast\r\n.\r\n"),
            "{wire:?}"
        );
        assert!(!wire.replace("\r\n", "").contains(['\r', '\n']), "{wire:?}");
    }
}

/// R93, R94: an answer is its first digit, however many lines it has and whether there is a text.
#[test]
fn an_answer_is_its_first_digit() {
    // The answer, and what becomes of the recipient: delivered, waiting, or reported.
    let rows = [
        ("250", "delivered"),
        ("299 odd", "delivered"),
        ("250-one\n250-two\n250 three", "delivered"),
        ("250-one\n250", "delivered"),
        ("251 2.1.5 he has moved", "delivered"),
        ("252", "delivered"),
        ("475 odd", "waiting"),
        ("499-one\n499", "waiting"),
        ("450", "waiting"),
        ("599 odd", "reported"),
        ("550-5.1.1 one\n550 5.1.1 two", "reported"),
        ("550", "reported"),
        // Neither yes nor no, where only that can be.
        ("354 go on", "waiting"),
        ("999 what", "waiting"),
        ("25 what", "waiting"),
    ];
    for (answer, fate) in rows {
        let remote = Remote::start(Script::new().on("RCPT", answer));
        let system = System::relaying("digit", &remote);
        system.accept(&["-odq", TO[0]], "Subject: x\n\nx\n");
        system.accept(&["-q"], "");
        let found = match (remote.received().len(), system.log()) {
            (1, _) => "delivered",
            (0, log) if log.contains(" failed to=") => "reported",
            _ => "waiting",
        };
        assert_eq!(found, fate, "{answer}: {}", system.log());
    }
}

/// K48: a host that is down for five days: one connection a run for all that waits, one line a try for each message, and
/// in the end, which is not before five tries, a report with the cause in words.
#[test]
fn a_host_that_stays_down_is_reported_in_the_end() {
    let system = System::offline("down").with("", "domains = [\"pi.test.example\"]");
    for to in TO {
        system.accept(&["-odq", to], "Subject: x\n\nx\n");
    }
    for tries in 1..=4 {
        system.accept(&["-q"], "");
        let log = system.log();
        assert_eq!(log.matches(" deferred to=").count(), 3 * tries, "{log}");
        assert_eq!(system.queue().len(), 3);
    }
    system.backdate(5 * 24 + 1);
    let said = system.run(&["-q", "-v"], "").stderr;
    let log = system.log();
    assert_eq!(log.matches(" deferred to=").count(), 12, "{log}");
    assert_eq!(log.matches(" failed to=").count(), 3, "{log}");
    // The run says the same, and has delivered the three reports.
    let counts = "queue-run delivered=3 deferred=0 failed=3";
    assert!(log.contains(counts), "{log}");
    assert_eq!(said.matches(" failed: ").count(), 3, "{said}");
    assert!(said.contains("3 delivered, 3 failed"), "{said}");
    assert!(!said.contains(" deferred: "), "{said}");
    system.accept(&["-q"], "");
    let told = system.mailbox();
    assert_eq!(told.len(), 3, "{log}");
    for report in told {
        for words in [
            "4.4.7",
            "given up after 5 attempts",
            "cannot connect",
            "It was tried until it was too old.",
        ] {
            assert!(report.text().contains(words), "{words}: {}", report.text());
        }
    }
}

/// L8: three of five are refused: one report of the three, and the others have their mail.
#[test]
fn a_report_names_whom_it_is_about() {
    let remote = Remote::start(Script::new().on("RCPT TO:<bad", "550 5.1.1 no such user"));
    let system = System::relaying("some", &remote);
    let (bad, good) = (
        ["bad1@example.net", "bad2@example.net", "bad3@example.net"],
        [TO[0], TO[1]],
    );
    let all = [bad[0], good[0], bad[1], good[1], bad[2]];
    system.accept(&[&["-odq"][..], &all].concat(), "Subject: x\n\nx\n");
    system.accept(&["-q"], "");
    system.accept(&["-q"], "");
    let received = remote.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].recipients(), good);
    let told = system.mailbox();
    assert_eq!(told.len(), 1);
    for address in all {
        let named = format!("Final-Recipient: rfc822; {address}\r\n");
        let named = told[0]
            .text()
            .replace('\n', "\r\n")
            .replace("\r\r", "\r")
            .contains(&named);
        assert_eq!(
            named,
            bad.contains(&address),
            "{address}: {}",
            told[0].text()
        );
    }
    assert!(system.queue().is_empty());
}

/// L3: a report that cannot be queued: whoever failed is tried again, and reported then, once.
#[test]
fn a_failure_that_cannot_be_reported_is_none_yet() {
    let remote = Remote::start(Script::new().on("RCPT", "550 5.1.1 no such user"));
    let system = System::relaying("untold", &remote);
    system.accept(&["-odq", TO[0]], "Subject: x\n\nx\n");
    let full = system.call("sendmail").args(&["-q"]);
    full.env("MINIMTA_FAULT", "1+:ENOSPC").run();
    let queued = system.queued();
    assert_eq!(
        queued.field("from").as_deref(),
        Some(format!("<{}>", crate::harness::system::me()).as_str())
    );
    let log = system.log();
    assert!(
        log.contains("the report of failure could not be queued"),
        "{log}"
    );
    assert!(system.mailbox().is_empty());
    for _ in 0..2 {
        system.accept(&["-q"], "");
    }
    assert_eq!(system.mailbox().len(), 1);
    assert!(system.queue().is_empty());
}
