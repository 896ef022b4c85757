//! From standard input to the spool: for whom it is, and who is refused. What is stored of it is in tests/stored.rs.

use crate::harness::System;
use crate::harness::system::HOST;

/// Every way to write an address at once: a comma in a quoted name, a group, a comment with a comma, an encoded
/// word on a folded line, a bare name, a Bcc over two lines, one address twice.
const ADDRESSES: &str = "From: sender@example.org\n\
To: \"Last, First\" <quoted@example.net>, friends: alice@example.net,\n\
\tbob@example.net;, carol@example.net (at work, mobile),\n\
\x20=?UTF-8?Q?D=C3=B6?=\n <dave@example.net>\n\
Cc: plain, Alice <alice@example.net>\n\
Bcc: hidden1@example.net,\n hidden2@example.net\n\
X-Odd:   two  spaces\t\n\
x-lower: kept\n\
Subject: =?UTF-8?Q?gr=C3=BCn?=\n\
Date: Mon, 23 Nov 2026 18:20:00 +0100\n\
Message-ID: <1@example.org>\n\
\n\
To: nobody@example.net\n\
Bcc: nobody@example.net\n\
\n\
.leading dot\n";

const ALL: &[&str] = &[
    "quoted@example.net",
    "alice@example.net",
    "bob@example.net",
    "carol@example.net",
    "dave@example.net",
    "plain@pi.test.example",
    "hidden1@example.net",
    "hidden2@example.net",
];

/// What is stored of [`ADDRESSES`] after the Received line.
fn stored() -> String {
    let text = ADDRESSES.replace("Bcc: hidden1@example.net,\n hidden2@example.net\n", "");
    text.replace("Cc: plain,", &format!("Cc: plain@{HOST},"))
}

/// callers.md 7, tests 3 and 8; I1, I2. The same whatever the line ends are.
#[test]
fn recipients_are_read_from_the_header() {
    let lines = ADDRESSES.to_owned();
    let mixed: String = (lines.split_inclusive('\n').enumerate())
        .map(|(i, l)| {
            if i % 2 == 0 {
                l.replace('\n', "\r\n")
            } else {
                l.to_owned()
            }
        })
        .collect();
    let no_end = lines.trim_end().to_owned();
    for input in [lines.clone(), lines.replace('\n', "\r\n"), mixed, no_end] {
        let system = System::offline("addresses");
        system.accept(&["-t", "-i", "-odq"], &input);
        let queued = system.queued();
        assert_eq!(queued.recipients(), ALL, "{input:?}");
        let text = String::from_utf8(queued.message).unwrap();
        assert!(!text.replace("\r\n", "").contains(['\r', '\n']), "{text:?}");
        let text = text.replace("\r\n", "\n");
        let after = text.split_once("\nFrom: ").unwrap().1;
        assert_eq!(format!("From: {after}"), stored());
    }
}

/// RFC 5322 3.6.6: a message that is sent again goes to the new recipients alone.
#[test]
fn a_resent_message_goes_to_the_resent_recipients() {
    let system = System::offline("resent");
    // By a program that hands on a message as it was delivered to it: what stood there first is no field that is sent.
    let resent = "Return-Path: <list@example.org>\nResent-From: again@example.org\nResent-To: new@example.net\n\
                  Resent-Bcc: hidden@example.net\nResent-Date: Mon, 23 Nov 2026 18:20:00 +0100\n\
                  Resent-Message-ID: <2@example.org>\n";
    system.accept(&["-t", "-i", "-odq"], format!("{resent}{ADDRESSES}"));
    let queued = system.queued();
    assert_eq!(
        queued.recipients(),
        ["new@example.net", "hidden@example.net"]
    );
    let mail = queued.mail();
    assert_eq!(mail.field("Resent-Bcc"), None);
    assert_eq!(mail.field("Bcc"), None);
    assert_eq!(mail.field("Return-Path"), None);
    assert_eq!(mail.field("Resent-To").as_deref(), Some("new@example.net"));
}

#[test]
fn recipients_on_the_command_line_are_added() {
    let system = System::offline("added");
    system.accept(
        &[
            "-t",
            "-odq",
            "more@example.net",
            "ALICE@example.net",
            "alice@EXAMPLE.NET",
        ],
        ADDRESSES,
    );
    let mut queued = system.queued().recipients();
    let mut expected: Vec<String> = ALL.iter().map(|a| (*a).to_owned()).collect();
    expected.extend([
        "more@example.net".to_owned(),
        "ALICE@example.net".to_owned(),
    ]);
    queued.sort();
    expected.sort();
    assert_eq!(queued, expected); // the domain has no case, the local part has (RFC 5321 2.4)
}

/// What is refused: the words, the input, the code, and a part of the one line on standard error.
#[test]
fn what_cannot_be_sent_is_refused() {
    // I23: with the code for it; that of what could be sent is 0, and what may pass 75 (tests/crash.rs).
    let big = format!("Subject: x\n\n{}\n", "x".repeat(99).repeat(50_000));
    let many = format!(
        "To: {}\n\nx\n",
        (0..1001)
            .map(|i| format!("u{i}@example.net"))
            .collect::<Vec<_>>()
            .join(",\n ")
    );
    let rows: &[(&[&str], &str, &[i32], &str)] = &[
        // I4
        (&[], "Subject: x\n\nx\n", &[64, 65], "recipient"),
        (&["-t"], "Subject: x\n\nx\n", &[65], "recipient"),
        (
            &["-t"],
            "Resent-From: b@example.org\nTo: a@example.net\n\nx\n",
            &[65],
            "none in Resent-To, Resent-Cc or Resent-Bcc, which stand for To",
        ),
        (
            &["-t"],
            "Subject: x\n\nTo: a@example.net\n",
            &[65],
            "recipient",
        ),
        (&["-t"], "", &[65], ""),
        (&["one@example.net"], "", &[65], ""),
        // I5: a line end in an address would be a line of the envelope.
        (
            &["-f", "a@x.example\nto <b@y.example>", "c@example.net"],
            "\nx\n",
            &[64, 65],
            "address",
        ),
        (
            &["a@x.example\nto <b@y.example>"],
            "\nx\n",
            &[64, 65],
            "address",
        ),
        (
            &["a@x.example\rRCPT TO:<b@y.example>"],
            "\nx\n",
            &[64, 65],
            "address",
        ),
        (
            &["-f", "a@@b", "c@example.net"],
            "\nx\n",
            &[64, 65],
            "address",
        ),
        (
            &["-f", "Two <a@x.example>, b@x.example", "c@example.net"],
            "\nx\n",
            &[64],
            "the sender Two <a@x.example>, b@x.example of -f is not a valid address",
        ),
        (&["-N", "sometimes", "c@example.net"], "\nx\n", &[64], "-N"),
        (&["-R", "some", "c@example.net"], "\nx\n", &[64], "-R"),
        (&["-B", "9BIT", "c@example.net"], "\nx\n", &[64], "-B"),
        // I22: never a guessed address.
        (&["-t"], "To: \"open <a@example.net>\n\nx\n", &[65], ""),
        (&["-t"], "To: (open a@example.net\n\nx\n", &[65], ""),
        (&["-t"], "To: <>\n\nx\n", &[65], ""),
        (
            &["-t"],
            "To: undisclosed-recipients:;\n\nx\n",
            &[65],
            "recipient",
        ),
        (&["@example.net"], "\nx\n", &[65, 64], "@example.net"),
        // I16, I20
        (&["one@example.net"], &big, &[65], "1048576"),
        (&["-t"], &many, &[65], "1000"),
    ];
    for (args, input, codes, said) in rows {
        let system = System::offline("refused").with("limits", "message_size = \"1M\"");
        let ran = system.run(&[&["-odq"], *args].concat(), input);
        assert!(codes.contains(&ran.code), "{args:?}: {ran:?}");
        assert!(ran.stderr.contains(said), "{args:?}: {ran:?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{args:?}: {ran:?}");
        for folder in ["tmp", "new", "cur", "hold"] {
            assert!(system.names(folder).is_empty(), "{args:?}: {folder}");
        }
    }
}

/// The good ones are sent; the bad one is told to the caller and to the sender.
#[test]
fn a_bad_recipient_does_not_stop_the_good_ones() {
    for (args, input) in [
        (
            &["one@example.net", "bad@@example.net"][..],
            "Subject: x\n\nx\n",
        ),
        (
            &["-t"],
            "To: one@example.net, bad@@example.net\nSubject: x\n\nx\n",
        ),
    ] {
        let system = System::offline("one-bad");
        let ran = system.run(&[&["-odq", "-f", "me@example.org"], args].concat(), input);
        assert!(ran.stderr.contains("bad@@example.net"), "{ran:?}");
        let queue = system.queue();
        let sent: Vec<_> = queue
            .iter()
            .filter(|q| q.sender() == "<me@example.org>")
            .collect();
        assert_eq!(sent.len(), 1, "{args:?}");
        // The bad one stands there as what it is not, an address, and has failed before it was ever tried:
        // so a crash before the report is made still leaves somebody to report.
        assert_eq!(sent[0].recipients()[0], "one@example.net", "{args:?}");
        assert_eq!(sent[0].journal.len(), 1, "{args:?}");
        assert!(sent[0].journal[0].contains(" to 2 failed "), "{args:?}");
        let told: Vec<_> = queue.iter().filter(|q| q.sender() == "<>").collect();
        assert_eq!(told.len(), 1, "{args:?}");
        assert_eq!(told[0].recipients(), ["me@example.org"], "{args:?}");
        assert!(
            told[0].mail().text().contains("bad@@example.net"),
            "{args:?}"
        );
    }
}

#[test]
fn what_looks_like_an_option_can_be_an_address() {
    let system = System::offline("dash");
    system.accept(
        &["-odq", "-f", "-x", "--", "-t@example.net"],
        "To: no@example.net\n\nx\n",
    );
    let queued = system.queued();
    assert_eq!(queued.sender(), format!("<-x@{HOST}>"));
    assert_eq!(queued.recipients(), ["-t@example.net"]); // I18
}

/// I20: as one message, or not at all.
#[test]
fn a_thousand_recipients_are_one_message() {
    let addresses: Vec<String> = (0..1000).map(|i| format!("user{i}@example.net")).collect();
    let mut args = vec!["-odq"];
    args.extend(addresses.iter().map(String::as_str));
    let system = System::offline("thousand");
    system.accept(&args, "Subject: x\n\nx\n");
    assert_eq!(system.queued().recipients(), addresses);
}

/// As some programs give it: with a name, a comment, without a domain.
#[test]
fn the_sender_may_have_a_name() {
    let rows = [
        ("Foo <foo@e.example>", "<foo@e.example>"),
        ("\"Foo, Bar\" <foo@e.example>", "<foo@e.example>"),
        ("foo@e.example (Foo)", "<foo@e.example>"),
        (" <foo@e.example> ", "<foo@e.example>"),
        ("Foo <foo>", "<foo@pi.test.example>"),
        ("<>", "<>"),
    ];
    for (typed, expected) in rows {
        let system = System::offline("named-sender");
        system.accept(&["-odq", "-f", typed, "c@example.net"], "Subject: x\n\nx\n");
        assert_eq!(
            system.queued().field("from"),
            Some(expected.to_owned()),
            "{typed}"
        );
    }
}

/// Lines may end with LF alone; and whoever ends before his message does is told that it was not taken.
#[test]
fn a_session_of_a_user_has_lines_of_any_kind_and_its_end() {
    let dialogue =
        "HELO a\nMAIL FROM:<a@e.example>\nRCPT TO:<x@e.example>\nDATA\nSubject: s\n\n..b\n";
    let told = "standard input ended before the message did, which ends with a line of a dot alone; nothing of it was kept";
    for (end, code, kept) in [
        (".\n", 0, 1),
        (".\nQUIT\n", 0, 1),
        ("", 65, 0),
        (".", 65, 0),
    ] {
        let system = System::offline("session-lines");
        let ran = system.run(&["-bs", "-odq"], format!("{dialogue}{end}"));
        assert_eq!(ran.code, code, "{end:?} {ran:?}");
        assert_eq!(ran.stderr.contains(told), code == 65, "{end:?} {ran:?}");
        assert_eq!(system.queue().len(), kept, "{end:?} {ran:?}");
        if kept == 1 {
            assert!(ran.stdout.contains("\n250 2.0.0 "), "{end:?} {ran:?}");
            let message = system.queued().message;
            let message = String::from_utf8_lossy(&message);
            assert!(
                message.contains("Subject: s\r\n") && message.ends_with("\r\n\r\n.b\r\n"),
                "{message}"
            );
        }
    }
}

/// The client of a session on standard input is the user, in each line of the log: with what is wrong with his commands, as
/// with his messages.
#[test]
fn a_session_of_a_user_has_one_client() {
    let system = System::offline("one-client");
    let said = "EHLO x\r\nMAIL FROM:<a@b.test> FOO=1\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<x@example.net>\r\n\
                DATA\r\na\nb\r\n.\r\nDATA\r\nSubject: x\r\n\r\nx\r\n.\r\nQUIT\r\n";
    system.run(&["-bs", "-odq"], said);
    let log = system.log();
    let clients: Vec<&str> = log
        .lines()
        .filter_map(|l| l.split("client=\"").nth(1)?.split('"').next())
        .collect();
    let own = format!("uid {}", nix::unistd::getuid());
    assert!(clients.len() >= 2, "{log}");
    assert!(clients.iter().all(|client| *client == own), "{log}");
}

/// What is no address counts as well, and nothing is looked up when there are too many.
#[test]
fn more_recipients_than_may_be_are_refused() {
    let system = System::new("submit-many").with("limits", "recipients = 2");
    let rows: &[(&[&str], &str)] = &[
        (&["a@x.example", "b@x.example", "a@x.example"], ""),
        (&["a@x.example", "b@x.example", "c@x.example"], "3"),
        (&["a@x.example", "<@", "<@", "<@"], "4"),
    ];
    for (args, count) in rows {
        let ran = system.run(&[&["-odq"][..], args].concat(), "Subject: x\n\nx\n");
        let said = match *count {
            "" => String::new(),
            count => format!(
                "sendmail: {count} recipients are more than the 2 that [limits] recipients allows\n"
            ),
        };
        assert_eq!(ran.stderr, said, "{args:?}");
        assert_eq!(ran.code, if count.is_empty() { 0 } else { 65 }, "{args:?}");
    }
    assert_eq!(system.queue().len(), 1);
}
