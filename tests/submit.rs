//! From standard input to the spool: what is stored, what is refused, and that 0 means stored.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;

use crate::harness::system::{HOST, age, finish, is_ignored, me, user};
use crate::harness::{Mail, System};

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
    let resent = "Resent-From: again@example.org\nResent-To: new@example.net\n\
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

/// A message, and the whole text that must be stored of it after the fields that are always made. Each goes to
/// one recipient with `-i`.
#[test]
fn the_message_is_stored_as_it_came() {
    let head =
        "From: a@example.org\nDate: Mon, 23 Nov 2026 18:20:00 +0100\nMessage-ID: <1@example.org>\n";
    let long = "x".repeat(5000);
    let fields: String = (0..1000).map(|i| format!("X-{i}: {i}\n")).collect();
    let lines: String = (0..2000)
        .map(|i| format!("{i}{}\n", "-".repeat(i % 200)))
        .collect();
    let rows: &[(&str, String, String)] = &[
        (
            "a body",
            format!("{head}\nhello\n"),
            format!("{head}\nhello\n"),
        ),
        ("no body", format!("{head}\n"), format!("{head}\n")),
        (
            "no blank line and no body (OpenSMTPD 646)",
            head.to_owned(),
            format!("{head}\n"),
        ),
        (
            "no line end at the end",
            format!("{head}\nhello"),
            format!("{head}\nhello\n"),
        ),
        (
            "dots",
            format!("{head}\n.\n..\n.x\n"),
            format!("{head}\n.\n..\n.x\n"),
        ),
        (
            "blank lines",
            format!("{head}\n\n\n"),
            format!("{head}\n\n\n"),
        ),
        (
            "a line of 5000",
            format!("{head}\n{long}\n"),
            format!("{head}\n{long}\n"),
        ),
        (
            "a thousand fields",
            format!("{fields}{head}\nhello\n"),
            format!("{fields}{head}\nhello\n"),
        ),
        (
            "no header field in the first line (I25)",
            "hello world\nmore\n".to_owned(),
            "\nhello world\nmore\n".to_owned(),
        ),
        (
            "a text with a colon later on",
            "hello world\nto: x\n".to_owned(),
            "\nhello world\nto: x\n".to_owned(),
        ),
        (
            "a blank first line",
            "\nhello\n".to_owned(),
            "\nhello\n".to_owned(),
        ),
        (
            "text among the fields (F10)",
            format!("{head}not a field\nTo: x\n\nbody\n"),
            format!("{head}\nnot a field\nTo: x\n\nbody\n"),
        ),
        (
            "UTF-8 in body and header",
            format!("Subject: gr\u{fc}n\n{head}\n\u{20ac}\n"),
            format!("Subject: gr\u{fc}n\n{head}\n\u{20ac}\n"),
        ),
        (
            "more blank lines than are read at a time, which become twice as long",
            format!("{head}\n{}", "\n".repeat(200_000)),
            format!("{head}\n{}", "\n".repeat(200_000)),
        ),
        (
            "as many octets in lines of all lengths",
            format!("{head}\n{lines}"),
            format!("{head}\n{lines}"),
        ),
        (
            "two CRs before a LF",
            format!("{head}\nhello\r\r\nx\n"),
            String::new(),
        ),
    ];
    for (what, input, expected) in rows {
        let system = System::offline("stored");
        system.accept(
            &["-i", "-odq", "-f", "a@example.org", "one@example.net"],
            input,
        );
        let queued = system.queued();
        let text = String::from_utf8(queued.message.clone()).unwrap();
        let bare = text.replace("\r\n", "");
        assert!(!bare.contains(['\r', '\n']), "{what}: {text:?}");
        if expected.is_empty() {
            continue;
        }
        // Made fields stand before or after those that came: without them it is what came.
        let came = Mail::new(expected.as_bytes());
        let made = ["Received", "From", "Date", "Message-ID", "To"];
        let header: String = fields_of(&queued.mail())
            .into_iter()
            .filter(|f| {
                let name = f.split(':').next().unwrap_or_default();
                !made.contains(&name) || !came.all(name).is_empty() && name != "Received"
            })
            .collect();
        let text = format!("{header}\n{}", queued.mail().body());
        let expected = Mail::new(expected.as_bytes());
        assert_eq!(text, expected.text(), "{what}");
    }
}

/// The header's fields, each with its folded lines.
fn fields_of(mail: &Mail) -> Vec<String> {
    let mut fields: Vec<String> = Vec::new();
    for line in mail.header().split_inclusive('\n') {
        match fields.last_mut().filter(|_| line.starts_with([' ', '\t'])) {
            Some(last) => last.push_str(line),
            None => fields.push(line.to_owned()),
        }
    }
    fields
}

/// F3, I6: a NUL is kept or refused, never the end of a line.
#[test]
fn nothing_is_cut_at_a_nul() {
    for input in ["Subject: a\0b\n\nhello\n", "Subject: x\n\na\0b\nend\n"] {
        let system = System::offline("nul");
        let ran = system.run(&["-i", "-odq", "one@example.net"], input);
        if ran.code == 65 {
            assert!(system.queue().is_empty());
            continue;
        }
        assert_eq!(ran.code, 0, "{ran:?}");
        let queued = system.queued();
        assert!(!queued.envelope.concat().contains('\0'));
        let last = input.trim_end().rsplit('\n').next().unwrap();
        assert!(
            queued.mail().text().ends_with(&format!("{last}\n")),
            "{input:?}"
        );
        assert!(
            queued.mail().text().replace('\0', "").contains("ab\n"),
            "{input:?}"
        );
    }
}

/// The fields every message has in the end (RFC 5322 3.6), made only where they are missing (RFC 6409 8).
#[test]
fn missing_fields_are_made() {
    let (me, user) = (me(), user());
    let rows: &[(&[&str], &str, &str, &str)] = &[
        (&["-F", "Jane Doe"], "\nx\n", "From", "Jane Doe <ME>"),
        (&["-F", "Doe, Jane"], "\nx\n", "From", "\"Doe, Jane\" <ME>"),
        (
            &["-F", "a \"b\" \\c"],
            "\nx\n",
            "From",
            "\"a \\\"b\\\" \\\\c\" <ME>",
        ),
        (&["-F", ""], "\nx\n", "From", "ME"),
        (
            &["-F", "x", "-f", "a@example.org"],
            "\nx\n",
            "From",
            "x <a@example.org>",
        ),
        (
            &["-F", "x"],
            "From: given@example.org\n\nx\n",
            "From",
            "given@example.org",
        ),
        (&[], "From: given\n\nx\n", "From", "given@HOST"),
        (
            &[],
            "From: given (Its Name)\n\nx\n",
            "From",
            "given@HOST (Its Name)",
        ),
        (
            &[],
            "From: =?UTF-8?Q?D=C3=B6?= <given>\n\nx\n",
            "From",
            "=?UTF-8?Q?D=C3=B6?= <given@HOST>",
        ),
        (
            &[],
            "To: \"a, b\" <given>, c@example.net, d: e, f@example.net;\n\nx\n",
            "To",
            "\"a, b\" <given@HOST>, c@example.net, d: e@HOST, f@example.net;",
        ),
        (
            &[],
            "Reply-To: given@@broken\n\nx\n",
            "Reply-To",
            "given@@broken",
        ),
        (&[], "Message-Id: <given>\n\nx\n", "Message-ID", "<given>"),
        (&[], "Date: yesterday\n\nx\n", "Date", "yesterday"),
    ];
    for (args, input, field, expected) in rows {
        let system = System::offline("made");
        system.accept(&[&["-odq"], *args, &["one@example.net"]].concat(), input);
        let expected = expected.replace("ME", &me).replace("HOST", HOST);
        let found = system.queued().mail().field(field);
        assert_eq!(found, Some(expected), "{args:?} {input:?}");
    }
    // Without -F the name is the one in passwd, where there is one.
    let system = System::offline("made");
    system.accept(&["-odq", "one@example.net"], "\nx\n");
    let mail = system.queued().mail();
    assert!(
        mail.field("From")
            .unwrap()
            .contains(&format!("{user}@{HOST}"))
    );
    let id = mail.field("Message-ID").unwrap();
    assert!(
        id.starts_with('<') && id.ends_with(&format!("@{HOST}>")),
        "{id}"
    );
    assert!(mail.field("Date").unwrap().ends_with(" +0000"), "{mail:?}"); // TZ is UTC
}

/// RFC 5321 4.4; who the user is stands there whatever -f says (I15).
#[test]
fn the_trace_says_who_sent_it() {
    let system = System::offline("trace");
    system.accept(
        &[
            "-odq",
            "-f",
            "boss@example.org",
            "one@example.net",
            "two@example.net",
        ],
        "\nx\n",
    );
    let queued = system.queued();
    let uid = nix::unistd::getuid().to_string();
    assert_eq!(queued.field("client"), Some(format!("uid {uid}")));
    assert_eq!(queued.field("protocol").as_deref(), Some("local"));
    assert!(queued.field("received").unwrap().ends_with('Z'));
    assert!(queued.mail().text().starts_with("Received: "));
    let received = queued.mail().field("Received").unwrap();
    for part in [
        format!("by {HOST}"),
        format!("id {}", queued.id),
        format!("uid {uid}"),
        "; ".to_owned(),
    ] {
        assert!(received.contains(&part), "{part}: {received}");
    }
    // Several recipients: none is named (RFC 5321 7.2).
    assert!(!received.contains("one@example.net"), "{received}");
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

/// I21, F12: what is not bounded would be held in memory.
#[test]
fn a_header_of_ten_megabytes_is_taken_or_refused_as_a_whole() {
    let folded = format!(
        "To: one@example.net\nX-Long: x{}\n\nbody\n",
        "\n x".repeat(10_000_000 / 3)
    );
    let system = System::offline("header");
    let ran = system.run(&["-t", "-i", "-odq"], &folded);
    if ran.code == 0 {
        assert!(system.queued().message.len() > 10_000_000);
    } else {
        assert_eq!(ran.code, 65, "{ran:?}");
        assert!(system.queue().is_empty());
    }
    assert!(system.names("tmp").is_empty());
}

/// design.md 2: the folders of the spool, and files others cannot read, whatever the caller's umask is (I14).
#[test]
fn modes_do_not_depend_on_the_caller() {
    for umask in ["000", "022", "777"] {
        let system = System::offline("umask");
        std::fs::remove_dir_all(system.path("spool")).unwrap();
        let call = system.call_after(&format!("umask {umask}"));
        let ran = call.args(&["-odq", "one@example.net"]).stdin("\nx\n").run();
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{umask}");
        let mode = |path: &str| {
            let metadata = std::fs::metadata(system.path(path)).unwrap();
            metadata.permissions().mode() & 0o777
        };
        let queued = system.queued();
        let file = mode(&format!("spool/new/{}", queued.id));
        assert_eq!(
            (file & 0o007, file & 0o600),
            (0, 0o600),
            "{umask}: {file:o}"
        );
        for folder in ["spool/new", "spool/cur", "spool/tmp", "spool/hold"] {
            let mode = mode(folder);
            assert_eq!(
                (mode & 0o006, mode & 0o700),
                (0, 0o700),
                "{umask} {folder}: {mode:o}"
            );
        }
    }
}

/// I14: a start among ruins. Either it works, or nothing is promised; no message goes to a wrong descriptor.
#[test]
fn odd_starts_end_well() {
    let rows: &[(&str, &[i32])] = &[
        ("exec <&-", &[65, 71, 74]),
        ("exec >&-", &[0]),
        ("exec 2>&-", &[0]),
        ("exec >&- 2>&-", &[0]),
        ("exec <&- >&- 2>&-", &[65, 71, 74]),
        ("ulimit -n 4", &[0, 71, 75]),
        ("ulimit -f 0", &[75]),
        ("mkdir gone && cd gone && rmdir ../gone", &[0]),
        (
            "PATH= IFS=x TZ=:/etc/passwd LANG=xx_XX.bogus; export PATH IFS TZ LANG",
            &[0],
        ),
        ("exec </", &[71, 74, 65]),
    ];
    for (shell, codes) in rows {
        let system = System::offline("odd");
        let call = system.call_after(shell).folder(&system.root);
        let ran = call
            .args(&["-odq", "one@example.net"])
            .stdin("Subject: x\n\nhello\n")
            .run();
        assert!(codes.contains(&ran.code), "{shell}: {ran:?}");
        if ran.code == 0 {
            assert_eq!(system.queued().mail().body(), "hello\n", "{shell}");
        } else {
            assert!(system.queue().is_empty(), "{shell}");
            assert!(system.names("tmp").is_empty(), "{shell}");
        }
    }
}

/// I9: a caller who goes away before the end of his message sent nothing.
#[test]
fn an_interrupted_caller_sent_nothing() {
    for (number, signal) in [(2, "INT"), (15, "TERM"), (1, "HUP"), (9, "KILL")] {
        // As for tests that run in the background or under nohup: then it is ignored in what they start, too.
        if is_ignored(number) {
            continue;
        }
        let system = System::offline("signal");
        let mut child = system
            .call("sendmail")
            .args(&["-odq", "one@example.net"])
            .start();
        let mut stdin = child.stdin.take().unwrap();
        // More than a pipe holds: when this returns, the program has begun to read.
        stdin.write_all(&b"Subject: x\n\n".repeat(20_000)).unwrap();
        let id = child.id().to_string();
        let status = std::process::Command::new("/bin/sh")
            .args(["-c", "kill -$0 $1", signal, &id])
            .status();
        assert!(status.unwrap().success());
        let ran = finish(child);
        drop(stdin);
        assert_eq!(ran.code, -number, "{signal}: {ran:?}");
        assert!(system.queue().is_empty(), "{signal}");
        // What may be left of it goes with a run that comes later.
        for name in system.names("tmp") {
            age(&system.path("spool/tmp").join(name), 600);
        }
        let ran = system.run(&["-q"], "");
        assert_eq!(ran.code, 0, "{signal}: {ran:?}");
        assert!(system.names("tmp").is_empty(), "{signal}");
    }
}

/// G23, I16: what is accepted is streamed; a message far larger than the limit of memory passes.
#[test]
fn memory_does_not_grow_with_the_message() {
    let system = System::offline("stream").with("limits", "message_size = \"100M\"");
    let call = system
        .call_after("ulimit -v 40000")
        .args(&["-i", "-odq", "one@example.net"]);
    let mut child = call.start();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        stdin.write_all(b"Subject: x\n\n").unwrap();
        let chunk = b"0123456789abcdef\n".repeat(4096);
        for _ in 0..800 {
            stdin.write_all(&chunk).unwrap();
        }
    });
    let ran = finish(child);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    writer.join().unwrap();
    let size = std::fs::metadata(system.path("spool/new").join(&system.names("new")[0]))
        .unwrap()
        .len();
    assert!(size > 800 * 4096 * 18, "{size}");
}

/// H5 and a cron job gone wild: the disk is not filled, and the caller is told to try again.
#[test]
fn a_full_spool_takes_nothing() {
    let system = System::offline("full").with("queue", "min_free = \"1024G\"");
    let ran = system.run(&["-odq", "one@example.net"], "\nx\n");
    assert_eq!(ran.code, 75, "{ran:?}");
    assert!(ran.stderr.contains("free"), "{ran:?}");
    let system = System::offline("full").with("queue", "max_messages = 2");
    for expected in [0, 0, 75] {
        let ran = system.run(&["-odq", "one@example.net"], "\nx\n");
        assert_eq!(ran.code, expected, "{ran:?}");
    }
    assert_eq!(system.queue().len(), 2);
}

/// What at(1) throws away and cron(8) shortens to an exit code: who wanted to send what to whom, and why it was not taken.
#[test]
fn what_is_not_taken_stands_in_the_log() {
    let many: Vec<String> = (0..30).map(|n| format!("no user{n}@x.example")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let rows: &[(&[&str], &str, &str)] = &[
        (
            &["-f", "a@b.example", "c d@e"],
            "x\n",
            "from=\"a@b.example\" to=\"c d@e\" reason=\"c d@e is not a valid address: ",
        ),
        (
            &["-t"],
            "Subject: x\n\ny\n",
            "from=\"\" to=\"\" reason=\"no recipients: none on ",
        ),
        (
            &["one@example.net"],
            "",
            "to=\"one@example.net\" reason=\"standard input is empty: ",
        ),
        (&many, "x\n", "no user19@x.example, and 10 more\" reason=\""),
        (
            &["-f", "\"\n\u{1b}", "one@example.net"],
            "x\n",
            "from=\"\\\"\\n\\u{1b}\" to=",
        ),
    ];
    for (args, message, words) in rows {
        let system = System::offline("refused");
        let ran = system.run(args, message);
        assert_ne!(ran.code, 0, "{ran:?}");
        let log = system.log();
        let begins = format!("- reject client=\"uid {}\" from=", nix::unistd::getuid());
        assert!(
            log.contains(&begins) && log.contains(words),
            "{words}\n{log}"
        );
        assert_eq!(log.lines().count(), 1, "{log}");
    }
    let system = System::offline("refused").with("queue", "min_free = \"1024G\"");
    assert_eq!(system.run(&["one@example.net"], "x\n").code, 75);
    assert!(
        system
            .log()
            .contains("to=\"one@example.net\" reason=\"the file system of the spool "),
        "{}",
        system.log()
    );
    // Whoever looks at standard error alone is told once.
    let system = System::offline("refused").with("log", "to = \"stderr\"");
    let ran = system.run(&["-t"], "Subject: x\n\ny\n");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
}

/// A configuration that cannot be read names no log; the one of the system is told.
#[test]
fn a_bad_configuration_stands_in_the_systems_log() {
    let system = System::offline("bad").with("smarthost", "password = \"secret\"");
    let heard = std::os::unix::net::UnixDatagram::bind(system.path("devlog")).unwrap();
    heard.set_nonblocking(true).unwrap();
    let script = "mount -t tmpfs none /dev && ln -s \"$1/devlog\" /dev/log && : >/dev/null && \
                  exec \"$1/bin/sendmail\" -C \"$1/minimta.toml\" -i one@example.net";
    let ran = std::process::Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(system.path(""))
        .output();
    let Some(78) = ran.ok().and_then(|ran| ran.status.code()) else {
        return println!("no namespace can be made here: left out");
    };
    let mut line = [0; 1000];
    let read = heard.recv(&mut line).unwrap();
    let line = String::from_utf8_lossy(&line[..read]);
    assert!(line.starts_with("<20>sendmail["), "{line}");
    assert!(
        line.contains("]: - reject client=\"uid ") && line.contains("minimta.toml:"),
        "{line}"
    );
    assert!(
        line.contains(" to=\"one@example.net\" reason=\"") && !line.contains("secret"),
        "{line}"
    );
}

/// H16: a spool that cannot be used is named, with what to do.
#[test]
fn an_unusable_spool_is_named() {
    let system = System::offline("spool");
    let file = system.path("in-the-way");
    std::fs::write(&file, "").unwrap();
    let system = system.with(
        "queue",
        &format!("spool = \"{}\"", file.join("spool").display()),
    );
    let ran = system.run(&["-odq", "one@example.net"], "\nx\n");
    assert!([71, 73, 75].contains(&ran.code), "{ran:?}");
    assert!(ran.stderr.contains("in-the-way"), "{ran:?}");
}
