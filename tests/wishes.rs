//! One recipient under two names, with other wishes for each: one copy, and every report that is asked for with any of
//! them (RFC 3461 4.1, 5.2.7).

use crate::alias::{flush, with};
use crate::harness::system::{HOST, me};
use crate::harness::{Remote, Script, System};

/// Hands in a message for recipients, each with its parameters.
fn submit(system: &System, recipients: &[&str]) {
    let mut dialogue = format!("EHLO localhost\r\nMAIL FROM:<{}>\r\n", me());
    for recipient in recipients {
        dialogue.push_str(&format!("RCPT TO:{recipient}\r\n"));
    }
    dialogue.push_str("DATA\r\nSubject: x\r\n\r\nhello\r\n.\r\nQUIT\r\n");
    let said = system.run(&["-bs", "-odq"], dialogue).stdout;
    assert!(said.contains("\r\n250 2.0.0"), "{said}");
}

/// The actions of the reports that have come.
fn reports(system: &System) -> Vec<String> {
    let action = |text: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix("Action: ").map(str::to_owned))
    };
    let here = system.mailbox();
    let mut found: Vec<String> = here.iter().filter_map(|mail| action(mail.text())).collect();
    found.sort();
    found
}

/// Hands in a message, has it dealt with, and sees that these reports have come.
fn settle(system: &System, recipients: &[&str], expected: &[&str]) {
    submit(system, recipients);
    flush(system);
    let log = system.log();
    assert!(system.queue().is_empty(), "{recipients:?} {log}");
    assert_eq!(reports(system), expected, "{recipients:?} {log}");
}

#[test]
fn a_report_comes_whoever_of_two_names_asked_for_it() {
    let (bob, alias) = ("<bob@example.net>", format!("<bobalias@{HOST}>"));
    let two = format!("<second@{HOST}>");
    let (here, here_too) = (format!("<{}>", me()), format!("<own@{HOST}>"));
    let bad = "550 5.1.1 no such user";
    let rows: [(&str, &str, &[String], &[&str]); 9] = [
        (
            bad,
            "",
            &[
                format!("{bob} NOTIFY=NEVER"),
                format!("{alias} NOTIFY=FAILURE"),
            ],
            &["failed"],
        ),
        (
            bad,
            "",
            &[format!("{bob} NOTIFY=NEVER"), alias.clone()],
            &["failed"],
        ),
        (
            bad,
            "",
            &[
                format!("{bob} NOTIFY=NEVER"),
                format!("{alias} NOTIFY=NEVER"),
            ],
            &[],
        ),
        (
            bad,
            "",
            &[
                format!("{bob} NOTIFY=NEVER"),
                format!("{bob} NOTIFY=FAILURE"),
            ],
            &["failed"],
        ),
        (
            bad,
            "",
            &[
                format!("{alias} NOTIFY=NEVER"),
                format!("{two} NOTIFY=FAILURE"),
            ],
            &["failed"],
        ),
        (
            "",
            "",
            &[bob.to_owned(), format!("{alias} NOTIFY=SUCCESS")],
            &["relayed"],
        ),
        (
            "",
            "",
            &[format!("{alias} NOTIFY=SUCCESS"), bob.to_owned()],
            &["relayed"],
        ),
        (
            "",
            "",
            &[
                format!("{here} NOTIFY=NEVER"),
                format!("{here_too} NOTIFY=SUCCESS"),
            ],
            &["delivered"],
        ),
        (
            "",
            "",
            &[
                format!("{bob} NOTIFY=SUCCESS"),
                format!("{alias} NOTIFY=SUCCESS"),
            ],
            &["relayed"],
        ),
    ];
    for (refusal, offers, recipients, expected) in rows {
        let mut script = Script::new().offers(offers);
        if !refusal.is_empty() {
            script = script.on("RCPT TO:<bob@", refusal);
        }
        let remote = Remote::start(script);
        let aliases = "bobalias: bob@example.net\nsecond: bob@example.net\nown: USER\n";
        let system = with(System::relaying("wishes", &remote), aliases);
        let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
        settle(&system, &recipients, expected);
        let copies = system.mailbox().len() - expected.len() + remote.received().len();
        assert_eq!(
            copies,
            usize::from(refusal.is_empty()),
            "{recipients:?} {}",
            system.log()
        );
    }
}

/// What is asked for later stands in the queue file, and in what a server with DSN is told.
#[test]
fn what_is_asked_for_later_goes_with_the_message() {
    let remote = Remote::start(Script::new().offers("DSN").once("RCPT", "451 4.7.1 later"));
    let aliases = "bobalias: bob@example.net\n";
    let system = with(System::relaying("wishes-later", &remote), aliases);
    let (bob, alias) = (
        "<bob@example.net> NOTIFY=NEVER",
        format!("<bobalias@{HOST}> NOTIFY=SUCCESS"),
    );
    submit(&system, &[bob, &alias]);
    system.accept(&["-q"], "");
    let journal = system.queued().journal;
    let asked =
        format!(" to 1 asked <bob@example.net> NOTIFY=SUCCESS ORCPT=rfc822;bobalias@{HOST}");
    assert!(
        journal.iter().any(|line| line.ends_with(&asked)),
        "{journal:?}"
    );
    system.backdate(1);
    flush(&system);
    assert!(system.queue().is_empty(), "{}", system.log());
    let commands = remote.commands();
    let last = commands.iter().rfind(|c| c.starts_with("RCPT"));
    let expected = format!("RCPT TO:<bob@example.net> NOTIFY=SUCCESS ORCPT=rfc822;bobalias@{HOST}");
    assert_eq!(last, Some(&expected), "{commands:?}");
    assert_eq!((remote.received().len(), system.mailbox().len()), (1, 0));
}

/// Two spellings of a user are one recipient, with the wishes of both; what has a detail has a place of its own.
#[test]
fn a_user_of_two_spellings_gets_one_copy() {
    let name = me().split('@').next().unwrap_or_default().to_owned();
    let (plain, second) = (format!("<{}>", me()), format!("<{name}@second.example>"));
    let loud = format!("<{}@{HOST}>", name.to_uppercase());
    let (detail, alias) = (format!("<{name}+x@{HOST}>"), format!("<own@{HOST}>"));
    let asking = format!("{loud} NOTIFY=SUCCESS");
    let rows: [(&[&str], usize, &[&str]); 4] = [
        (&[&plain, &loud, &second], 1, &[]),
        (&[&alias, &second, &plain], 1, &[]),
        (&[&plain, &detail, &loud], 2, &[]),
        (&[&plain, &asking], 1, &["delivered"]),
    ];
    for (recipients, copies, expected) in rows {
        let domains = format!("domains = [\"{HOST}\", \"second.example\"]");
        let system = with(System::new("wishes-two").with("", &domains), "own: USER\n");
        settle(&system, recipients, expected);
        let found = system.mailbox().len() - expected.len();
        assert_eq!(found, copies, "{recipients:?} {}", system.log());
    }
}

/// A sender hears of a success that he asks for, though the same address is a member of a list, which tells him nothing.
#[test]
fn what_the_sender_asks_for_is_told_beside_a_list() {
    let (list, alias) = (format!("<list@{HOST}>"), format!("<bobalias@{HOST}>"));
    let asking = format!("{alias} NOTIFY=SUCCESS,FAILURE");
    let rows: [(&[&str], usize, &[&str]); 3] = [
        (&[&list, &alias], 1, &[]),
        (&[&list, &asking], 2, &["relayed"]),
        (&[&asking, &list], 1, &["relayed"]),
    ];
    for (recipients, copies, expected) in rows {
        let remote = Remote::start(Script::new().offers(""));
        let aliases = "list: bob@example.net\nowner-list: USER\nbobalias: bob@example.net\n";
        let system = with(System::relaying("wishes-beside", &remote), aliases);
        settle(&system, recipients, expected);
        let commands = remote.commands();
        let rcpt = commands.iter().filter(|c| c.starts_with("RCPT")).count();
        assert_eq!(rcpt, copies, "{recipients:?} {commands:?}");
    }
}

/// The owner of a list hears that a member failed, though the sender wants to hear nothing of the same address.
#[test]
fn what_the_sender_does_not_ask_for_the_owner_of_a_list_hears() {
    let direct = "<bob@example.net> NOTIFY=NEVER";
    let list = format!("<list@{HOST}>");
    let (never, loud) = (format!("{list} NOTIFY=NEVER"), "<bob@example.net>");
    let rows: [(&[&str], usize); 3] = [
        (&[&list, direct], 2),
        (&[direct, &list], 2),
        (&[&never, loud], 1),
    ];
    for (recipients, tried) in rows {
        let remote = Remote::start(Script::new().on("RCPT TO:<bob@", "550 5.1.1 no such user"));
        let aliases = "list: bob@example.net\nowner-list: USER\n";
        let system = with(System::relaying("wishes-owner", &remote), aliases);
        settle(&system, recipients, &["failed"]);
        let commands = remote.commands();
        let rcpt = commands.iter().filter(|c| c.starts_with("RCPT")).count();
        assert_eq!(rcpt, tried, "{recipients:?} {commands:?}");
    }
}
