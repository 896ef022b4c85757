//! From the spool to a smarthost: what it answers at each step, and what becomes of each recipient.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use crate::harness::quoted::{canonical, decode};
use crate::harness::system::{me, names_in};
use crate::harness::tls::Authority;
use crate::harness::{Answer, Remote, Script, System, until};

const MESSAGE: &str = "Subject: x\n\nhello\n";

/// What must have become of the one message, sent by the user who runs the tests, after one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Delivered,
    /// It waits, and this is why.
    Deferred(&'static str),
    /// It is gone, and its sender was told this.
    Failed(&'static str),
}

use Fate::{Deferred, Delivered, Failed};

fn check(system: &System, remote: &Remote, fate: Fate, what: &str) {
    let ran = system.run(&["-q"], "");
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{what}");
    match fate {
        Delivered => {
            assert!(system.queue().is_empty(), "{what}: {:?}", system.queue());
            assert_eq!(remote.received().len(), 1, "{what}");
            assert!(system.mailbox().is_empty(), "{what}");
        }
        Deferred(why) => {
            let queued = system.queued();
            assert_eq!(queued.folder, "cur", "{what}");
            let last = queued.journal.last().unwrap();
            assert!(
                last.contains(" deferred ") && last.contains(why),
                "{what}: {last}"
            );
            assert!(system.mailbox().is_empty(), "{what}: nobody is told yet");
        }
        Failed(why) => {
            // The report is a message like any other: one more run takes it wherever it goes.
            system.accept(&["-q"], "");
            assert!(system.queue().is_empty(), "{what}: {:?}", system.queue());
            let told = system.mailbox();
            assert_eq!(told.len(), 1, "{what}");
            assert!(told[0].text().contains(why), "{what}: {}", told[0].text());
            assert!(remote.received().is_empty(), "{what}");
        }
    }
}

/// Only a 5xx to MAIL, RCPT, DATA or the final dot is final. (R98-R111, K2, K4, K9, K10, K12, K14-K16, K49, K50)
#[test]
fn each_answer_at_each_step() {
    let rows: &[(&str, Answer, Fate)] = &[
        ("CONNECT", "421 4.3.2 too busy".into(), Deferred("too busy")),
        ("CONNECT", "554 5.3.2 not here".into(), Deferred("not here")),
        ("CONNECT", "521 5.3.2 never".into(), Deferred("never")), // R167: another of its hosts may
        ("CONNECT", "220".into(), Delivered),
        ("CONNECT", "220-two\n220 lines".into(), Delivered),
        ("CONNECT", "SSH-2.0-OpenSSH_9.2".into(), Deferred("")),
        ("CONNECT", Answer::Drop, Deferred("")),
        ("EHLO", "500 5.5.1 what".into(), Delivered), // HELO then
        ("EHLO", "502 5.5.1 what".into(), Delivered),
        ("EHLO", "421 4.3.2 closing".into(), Deferred("closing")),
        ("EHLO", "451 4.3.0 trouble".into(), Deferred("")),
        ("EHLO", Answer::Drop, Deferred("")),
        ("MAIL", "451 4.7.1 later".into(), Deferred("451 4.7.1")),
        ("MAIL", "421 4.7.0 closing".into(), Deferred("421 4.7.0")),
        (
            "MAIL",
            "550 5.7.1 not you".into(),
            Failed("550 5.7.1 not you"),
        ),
        // Our login is not what it wants: the mail is not to blame.
        ("MAIL", "530 5.7.0 log in first".into(), Deferred("530 ")),
        (
            "MAIL",
            Answer::Last("421 4.7.0 closing".into()),
            Deferred("421 4.7.0"),
        ),
        ("MAIL", Answer::Drop, Deferred("")),
        ("RCPT", "450 4.2.1 busy".into(), Deferred("450 4.2.1")),
        ("RCPT", "452 4.5.3 too many".into(), Deferred("452 4.5.3")),
        ("RCPT", "552 5.5.3 too many".into(), Deferred("552 4.5.3")), // R99: as 452, and so is its status
        (
            "RCPT",
            "550 5.1.1 no such user".into(),
            Failed("550 5.1.1 no such user"),
        ),
        (
            "RCPT",
            "550-5.1.1 no such\n550 5.1.1 user".into(),
            Failed("no such"),
        ),
        (
            "RCPT",
            "550 no enhanced code".into(),
            Failed("no enhanced code"),
        ),
        ("RCPT", "421 4.3.2 closing".into(), Deferred("421 4.3.2")),
        ("RCPT", Answer::Drop, Deferred("")),
        ("DATA", "451 4.3.0 trouble".into(), Deferred("451 4.3.0")),
        ("DATA", "554 5.7.1 no".into(), Failed("554 5.7.1 no")),
        ("DATA", "250 2.0.0 what".into(), Deferred("")), // K50
        ("DATA", "421 4.3.2 closing".into(), Deferred("421 4.3.2")),
        ("DATA", Answer::Drop, Deferred("")),
        (
            "DOT",
            "451 4.7.1 greylisted".into(),
            Deferred("451 4.7.1 127.0.0.1 greylisted"),
        ),
        ("DOT", "452 4.3.1 full".into(), Deferred("452 4.3.1")),
        (
            "DOT",
            "552 5.3.4 too big".into(),
            Failed("552 5.3.4 too big"),
        ),
        ("DOT", "554 5.6.0 spam".into(), Failed("554 5.6.0 spam")),
        ("DOT", "421 4.3.2 closing".into(), Deferred("421 4.3.2")),
        ("DOT", Answer::Drop, Deferred("")), // R111
        ("DOT", "251 2.1.5 will forward".into(), Delivered),
        ("QUIT", "500 5.5.1 what".into(), Delivered),
        ("QUIT", Answer::Drop, Delivered),
        // K10: what is no reply.
        ("RCPT", "abc".into(), Deferred("")),
        ("RCPT", "25".into(), Deferred("")),
        ("RCPT", "9999 x".into(), Deferred("")),
        ("RCPT", "250_x".into(), Deferred("")),
        ("RCPT", "".into(), Deferred("")),
        ("RCPT", "000 x".into(), Deferred("")),
        ("DOT", "650 5.5.0 what".into(), Deferred("")),
        ("DOT", "250-a\n550 b".into(), Deferred("")), // K9
    ];
    for (step, answer, fate) in rows {
        let what = format!("{step} {answer:?}");
        let remote = Remote::start(Script::new().on(step, answer.clone()));
        let system = System::relaying("step", &remote);
        system.accept(&["-odq", "one@example.net"], MESSAGE);
        check(&system, &remote, *fate, &what);
    }
}

/// A server that says nothing is left within the time that is set. (K3)
#[test]
fn silence_ends() {
    for step in ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "DOT"] {
        let remote = Remote::start(Script::new().on(step, Answer::Silence));
        let system = System::relaying("silence", &remote)
            .with("limits", "command_timeout = \"1s\"\ndata_timeout = \"1s\"");
        system.accept(&["-odq", "one@example.net"], MESSAGE);
        let start = Instant::now();
        check(&system, &remote, Deferred(""), step);
        assert!(start.elapsed() < Duration::from_secs(10), "{step}");
    }
}

/// Only the farewell is missing: the message is delivered, and the wait is a short one.
#[test]
fn a_server_that_does_not_say_goodbye_is_left() {
    let remote = Remote::start(Script::new().on("QUIT", Answer::Silence));
    let system = System::relaying("goodbye", &remote);
    system.accept(&["-odq", "one@example.net"], MESSAGE);
    check(&system, &remote, Delivered, "QUIT");
}

/// R128: DATA that is granted for nobody takes an empty message and delivers nothing.
#[test]
fn data_for_nobody_is_ended_at_once() {
    let remote = Remote::start(
        Script::new()
            .on("RCPT", "550 5.1.1 no such user")
            .on("DATA", "354 go on"),
    );
    let system = System::relaying("nobody", &remote);
    system.accept(&["-odq", "one@example.net"], MESSAGE);
    system.accept(&["-q"], "");
    assert!(
        remote.wire().iter().all(|w| w == b".\r\n"),
        "{:?}",
        remote.wire()
    );
    assert_eq!(system.mailbox().len(), 1);
}

/// K5, K6: what a server may not send without end.
#[test]
fn a_flood_from_the_server_is_cut_off() {
    let keywords = (0..10_000)
        .map(|i| format!("250-X{i}"))
        .collect::<Vec<_>>()
        .join("\n");
    let rows = [
        ("CONNECT", format!("220 {}", "x".repeat(1 << 20))),
        ("EHLO", format!("{keywords}\n250 DSN")),
        ("MAIL", format!("250 {}", "x".repeat(1 << 20))),
        ("DOT", format!("250 {}", "x".repeat(1 << 20))),
    ];
    for (step, answer) in rows {
        let remote = Remote::start(Script::new().on(step, answer.as_str()));
        let system = System::relaying("flood", &remote);
        system.accept(&["-odq", "one@example.net"], MESSAGE);
        let ran = system.run(&["-q"], "");
        assert_eq!(ran.code, 0, "{step}");
        let queued = system.queued();
        assert!(queued.journal[0].len() < 2000, "{step}");
        assert!(
            queued.journal[0].contains(" deferred "),
            "{step}: {queued:?}"
        );
    }
}

/// K7, K8: a server's words stay one value, in the spool, in the log and in the report.
#[test]
fn words_of_a_server_are_no_lines_of_ours() {
    let hostile = "550 5.7.1 \u{1b}[2J\rto <evil@x.example> \u{7} delivered\0 250 2.0.0";
    let remote = Remote::start(Script::new().on("RCPT", hostile));
    let system = System::relaying("hostile", &remote);
    system.accept(&["-odq", "one@example.net"], MESSAGE);
    system.accept(&["-q"], "");
    system.accept(&["-q"], "");
    let told = system.mailbox();
    assert_eq!(told.len(), 1);
    for text in [told[0].text(), &system.log()] {
        assert!(!text.contains(['\u{1b}', '\u{7}', '\0', '\r']), "{text:?}");
    }
    assert!(
        system.log().lines().all(|l| !l.starts_with("to <evil")),
        "{}",
        system.log()
    );
}

/// K16: the server's last words are read, though the connection broke while the message was being sent.
#[test]
fn a_refusal_in_the_middle_of_the_message_is_heard() {
    let remote = Remote::start(Script::new().on(
        "DATA",
        Answer::Interrupt(5000, "550 5.7.1 no more of this".into()),
    ));
    let system = System::relaying("interrupt", &remote);
    let body = "0123456789abcdef\n".repeat(1 << 17);
    system.accept(
        &["-odq", "one@example.net"],
        format!("Subject: x\n\n{body}"),
    );
    check(
        &system,
        &remote,
        Failed("550 5.7.1 no more of this"),
        "interrupt",
    );
}

/// callers.md 7, test 5: each recipient has a fate of its own.
#[test]
fn recipients_have_their_own_fates() {
    let remote = Remote::start(
        Script::new()
            .on("RCPT TO:<bad@", "550 5.1.1 no such user")
            .once("RCPT TO:<later@", "450 4.2.1 mailbox busy"),
    );
    let system = System::relaying("fates", &remote);
    let to = [
        "good@example.net",
        "later@example.net",
        "bad@example.net",
        "fine@example.org",
    ];
    system.accept(&[&["-odq"][..], &to].concat(), MESSAGE);
    system.accept(&["-q"], "");
    let queue = system.queue();
    let waiting: Vec<_> = queue.iter().filter(|q| q.sender() != "<>").collect();
    assert_eq!(waiting.len(), 1);
    let journal = waiting[0].journal.join("\n");
    for (number, word) in [(1, "delivered"), (2, "deferred"), (3, "failed")] {
        let found = journal.lines().any(|l| {
            let mut words = l.split(' ').skip(2);
            let (to, verdict) = (words.next().unwrap(), words.next().unwrap());
            verdict == word
                && to
                    .split(',')
                    .any(|t| t == number.to_string() || t == format!("{number}-4"))
        });
        assert!(found, "{number} {word}: {journal}");
    }
    assert_eq!(
        remote.received()[0].recipients(),
        ["good@example.net", "fine@example.org"]
    );
    for _ in 0..2 {
        system.accept(&["-q"], "");
    }
    assert!(system.queue().is_empty());
    let received: Vec<Vec<String>> = remote.received().iter().map(|r| r.recipients()).collect();
    assert_eq!(
        received,
        [
            vec!["good@example.net", "fine@example.org"],
            vec!["later@example.net"]
        ]
    );
    let told = system.mailbox();
    assert_eq!(told.len(), 1);
    let text = told[0].text();
    assert!(
        text.contains("bad@example.net") && text.contains("no such user"),
        "{text}"
    );
    assert!(
        !text.contains("Final-Recipient: rfc822; later@example.net"),
        "{text}"
    );
}

/// K14: more recipients than the server takes at once go in the next transaction, and nobody gets it twice.
#[test]
fn recipients_over_the_servers_limit_follow() {
    let remote =
        Remote::start(Script::new().once("RCPT TO:<three@", "452 4.5.3 too many recipients"));
    let system = System::relaying("limit", &remote);
    let to = ["one@example.net", "two@example.net", "three@example.net"];
    system.accept(&[&["-odq"][..], &to].concat(), MESSAGE);
    for _ in 0..2 {
        system.accept(&["-q"], "");
    }
    let mut received: Vec<String> = remote
        .received()
        .iter()
        .flat_map(|r| r.recipients())
        .collect();
    received.sort();
    assert_eq!(
        received,
        ["one@example.net", "three@example.net", "two@example.net"]
    );
    assert!(system.queue().is_empty());
}

/// The second smarthost is tried when the first one cannot just now, and only then.
#[test]
fn the_next_smarthost_is_tried_on_temporary_failure() {
    let rows: &[(&str, Answer, Fate, usize)] = &[
        ("CONNECT", "421 4.3.2 busy".into(), Delivered, 1),
        ("CONNECT", "554 5.3.2 not here".into(), Delivered, 1),
        ("CONNECT", Answer::Drop, Delivered, 1),
        ("MAIL", "451 4.3.0 later".into(), Delivered, 1),
        ("RCPT", "450 4.2.1 later".into(), Delivered, 1),
        (
            "RCPT",
            "550 5.1.1 no such user".into(),
            Failed("550 5.1.1"),
            0,
        ),
        ("MAIL", "550 5.7.1 no".into(), Failed("550 5.7.1"), 0),
    ];
    for (step, answer, fate, second) in rows {
        let what = format!("{step} {answer:?}");
        let first = Remote::start(Script::new().on(step, answer.clone()));
        let other = Remote::start(Script::new());
        let system = System::new("two-hosts")
            .with("[smarthost]", &first.smarthost())
            .with("[smarthost]", &other.smarthost());
        system.accept(&["-odq", "one@example.net"], MESSAGE);
        let to = if *second == 0 { &first } else { &other };
        check(&system, to, *fate, &what);
        assert_eq!(first.sessions().len(), 1, "{what}");
        assert_eq!(other.sessions().len(), *second, "{what}");
    }
    // A lost reply to the final dot may be a yes: the next host must not get it at once, or it comes twice.
    let first = Remote::start(Script::new());
    let other = Remote::start(Script::new());
    let system = System::new("two-hosts")
        .with(
            "[smarthost]",
            "host = \"127.0.0.1\"\nport = 1\ntls = \"none\"",
        )
        .with("[smarthost]", &first.smarthost())
        .with("[smarthost]", &other.smarthost());
    for _ in 0..3 {
        system.accept(&["-odq", "one@example.net"], MESSAGE);
    }
    system.accept(&["-q"], "");
    assert_eq!((first.received().len(), other.received().len()), (3, 0));
}

#[test]
fn one_connection_carries_many_messages() {
    let remote = Remote::start(Script::new());
    let system = System::relaying("many", &remote).with("queue", "per_destination = 1");
    for i in 0..20 {
        system.accept(&["-odq", &format!("user{i}@example.net")], MESSAGE);
    }
    system.accept(&["-q"], "");
    assert_eq!(remote.received().len(), 20);
    assert_eq!(remote.sessions().len(), 1);
    assert_eq!(remote.commands().last().map(String::as_str), Some("QUIT"));
    assert_eq!(
        remote
            .commands()
            .iter()
            .filter(|c| c.starts_with("EHLO"))
            .count(),
        1
    );
}

/// K46: a server that takes few messages a connection is asked again on another one.
#[test]
fn a_connection_that_ends_early_costs_no_message() {
    let remote = Remote::start(Script::new().once(
        "MAIL FROM:<third@",
        Answer::Last("421 4.7.0 enough for now".into()),
    ));
    let system = System::relaying("early", &remote).with("queue", "per_destination = 1");
    for sender in ["first", "second", "third", "fourth"] {
        system.accept(
            &[
                "-odq",
                "-f",
                &format!("{sender}@example.org"),
                "one@example.net",
            ],
            MESSAGE,
        );
    }
    for _ in 0..2 {
        system.accept(&["-q"], "");
    }
    assert!(system.queue().is_empty());
    let mut from: Vec<String> = remote.received().iter().map(|r| r.from.clone()).collect();
    from.sort();
    assert_eq!(from.len(), 4);
    from.dedup();
    assert_eq!(from.len(), 4);
}

/// What is offered is used, and nothing else is.
#[test]
fn only_what_is_offered_is_used() {
    struct Row {
        offers: &'static str,
        args: &'static [&'static str],
        body: &'static str,
        has: &'static [&'static str],
        lacks: &'static [&'static str],
    }
    let rows = [
        Row {
            offers: "SIZE 1000000,8BITMIME,DSN,ENHANCEDSTATUSCODES,PIPELINING",
            args: &["-N", "never", "-R", "hdrs", "-V", "QQ 1"],
            body: "gr\u{fc}n\n",
            has: &[
                "SIZE=",
                "BODY=8BITMIME",
                "RET=HDRS",
                "ENVID=QQ+201",
                "NOTIFY=NEVER",
            ],
            lacks: &["SMTPUTF8"],
        },
        Row {
            offers: "",
            args: &["-N", "never", "-R", "hdrs", "-V", "QQ1"],
            body: "green\n",
            has: &[],
            lacks: &["SIZE=", "BODY=", "RET=", "ENVID=", "NOTIFY="], // msmtp 24: the message goes all the same
        },
        Row {
            offers: "DSN",
            args: &[],
            body: "green\n",
            has: &[],
            lacks: &["SIZE=", "BODY=8BITMIME", "RET=", "ENVID=", "NOTIFY="],
        },
    ];
    for row in rows {
        let remote = Remote::start(Script::new().offers(row.offers));
        let system = System::relaying("offers", &remote);
        system.accept(
            &[
                &["-odq", "-f", "me@example.org"],
                row.args,
                &["one@example.net"],
            ]
            .concat(),
            format!("Subject: x\n\n{}", row.body),
        );
        system.accept(&["-q"], "");
        let received = remote.received();
        assert_eq!(received.len(), 1, "{}", row.offers);
        let said = format!("{} {}", received[0].from, received[0].to.join(" "));
        for part in row.has {
            assert!(said.contains(part), "{part}: {said}");
        }
        for part in row.lacks {
            assert!(!said.contains(part), "{part}: {said}");
        }
    }
}

/// K23: what the server said it will not take is not sent to it.
#[test]
fn a_message_over_the_servers_size_is_not_sent() {
    let remote = Remote::start(Script::new().offers("SIZE 1000"));
    let system = System::relaying("size", &remote);
    system.accept(
        &["-odq", "one@example.net"],
        format!("Subject: x\n\n{}", "x\n".repeat(3000)),
    );
    check(&system, &remote, Failed("5.3.4"), "size");
    assert!(!remote.commands().iter().any(|c| c == "DATA"));
}

/// K24, R158: an address that needs SMTPUTF8 goes only where it is offered.
#[test]
fn an_address_beyond_ascii_needs_smtputf8() {
    let to = "gr\u{fc}n@example.net";
    let remote = Remote::start(Script::new());
    let system = System::relaying("utf8", &remote);
    system.accept(&["-odq", to], MESSAGE);
    check(&system, &remote, Delivered, "offered");
    assert!(
        remote.received()[0].from.ends_with(" SMTPUTF8")
            || remote.received()[0].from.contains(" SMTPUTF8 ")
    );
    assert_eq!(remote.received()[0].recipients(), [to]);
    let remote = Remote::start(Script::new().offers("8BITMIME"));
    let system = System::relaying("utf8", &remote);
    system.accept(&["-odq", to], MESSAGE);
    check(&system, &remote, Failed("5.6.7"), "not offered");
}

/// RFC 8689 4.2.1: mail with REQUIRETLS goes to a server that offers it under TLS and is known to be the right one,
/// or back to its sender; without its text, and with the same demand.
#[test]
fn mail_that_requires_tls_goes_over_tls_or_back() {
    let authority = Authority::new();
    let (good, foreign) = (
        authority.certify(&["127.0.0.1"]),
        Authority::new().certify(&["127.0.0.1"]),
    );
    let offering = || Script::new().offers("REQUIRETLS");
    let starttls = "tls = \"starttls\"\nca_file = \"CA\"";
    // The server, how it is reached, and what becomes of it.
    let rows = [
        (offering().starttls(good.clone()), starttls, Delivered),
        (
            Script::new().offers("DSN").starttls(good.clone()),
            starttls,
            Failed("5.7.30"),
        ),
        (
            offering().starttls(good),
            "tls = \"opportunistic\"",
            Failed("5.7.30"),
        ),
        (offering(), "tls = \"none\"", Failed("5.7.30")),
        // What may be mended, or our own fault, is waited for.
        (offering().starttls(foreign), starttls, Deferred("4.7.0")),
        (offering(), starttls, Deferred("4.7.4")),
    ];
    for (number, (script, lines, fate)) in rows.into_iter().enumerate() {
        let remote = Remote::start(script);
        let system = System::relaying("requiretls", &remote);
        let ca = system.path("ca.pem");
        let system = system.with("smarthost", &lines.replace("CA", &ca.display().to_string()));
        authority.write(&ca);
        let secret = "Subject: x\n\na secret\n";
        system.accept(&["-odq", "-R", "full", "one@example.net"], secret);
        let path = system.path("spool/new").join(&system.names("new")[0]);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(
            &path,
            text.replace("\nprotocol ", "\nrequiretls yes\nprotocol "),
        )
        .unwrap();
        check(&system, &remote, fate, &format!("row {number}"));
        match fate {
            Delivered => assert!(remote.received()[0].from.ends_with(" REQUIRETLS")),
            Failed(_) => assert!(!system.mailbox()[0].text().contains("a secret")),
            Deferred(_) => {}
        }
        let commands = remote.commands();
        let named = commands.iter().any(|c| c.starts_with("MAIL"));
        assert_eq!(named, fate == Delivered, "row {number}: {commands:?}");
    }
}

/// K20, K21, A1: every sample arrives as it was stored, and the wire holds one end mark and no bare CR or LF.
#[test]
fn each_sample_arrives_unchanged() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mail");
    let samples = names_in(folder.as_ref());
    assert!(samples.len() >= 12);
    for sample in samples {
        let input = fs::read(format!("{folder}/{sample}")).unwrap();
        let remote = Remote::start(Script::new());
        let system = System::relaying("sample", &remote);
        system.accept(
            &["-i", "-odq", "-f", "sender@example.org", "one@example.net"],
            &input,
        );
        let stored = system.queued().message;
        system.accept(&["-q"], "");
        let received = remote.received();
        assert_eq!(received.len(), 1, "{sample}");
        assert!(
            received[0].data == stored,
            "{sample}: {}",
            received[0].mail().text()
        );
        let wire = &remote.wire()[0];
        let marks = wire.windows(5).filter(|w| w == b"\r\n.\r\n").count();
        assert_eq!(marks, 1, "{sample}");
        let bare = wire.iter().enumerate().any(|(i, b)| match b {
            b'\n' => i == 0 || wire[i - 1] != b'\r',
            b'\r' => wire.get(i + 1) != Some(&b'\n'),
            _ => false,
        });
        assert!(!bare, "{sample}");
        // And what was stored is what came, after the fields that were made.
        let came = canonical(&input);
        let body = came
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .map_or(&came[..], |at| &came[at + 2..]);
        let no_header = sample.starts_with("no-header");
        assert!(
            sample == "no-blank-line.eml" || stored.ends_with(if no_header { &came } else { body }),
            "{sample}"
        );
        // Nothing was read as a command.
        let commands = remote.commands();
        let odd = commands.iter().find(|c| {
            !["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]
                .iter()
                .any(|v| c.starts_with(v))
        });
        assert_eq!(odd, None, "{sample}");
    }
}

/// A line over 998 octets is never refused and never cut; where a server could not take it, it goes as
/// quoted-printable (dma 18).
#[test]
fn long_lines_go_as_quoted_printable() {
    let long = "0123456789".repeat(500);
    let body = format!("before\n{long}=\n.after {long}\ngr\u{fc}n \nend\n");
    let remote = Remote::start(Script::new());
    let system = System::relaying("long", &remote);
    system.accept(
        &["-i", "-odq", "-f", "a@example.org", "one@example.net"],
        format!("Subject: x\n\n{body}"),
    );
    system.accept(&["-q"], "");
    let received = remote.received();
    assert_eq!(received.len(), 1);
    let mail = received[0].mail();
    assert_eq!(
        mail.field("Content-Transfer-Encoding")
            .map(|f| f.to_ascii_lowercase())
            .as_deref(),
        Some("quoted-printable")
    );
    assert!(
        received[0]
            .data
            .split(|b| *b == b'\n')
            .all(|l| l.len() <= 999)
    );
    let at = received[0]
        .data
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .unwrap();
    let decoded = decode(&received[0].data[at + 4..]);
    assert!(
        decoded == canonical(body.as_bytes()),
        "{}",
        String::from_utf8_lossy(&decoded)
    );
    // At home nothing is in the way of a long line.
    system.accept(&["-i", "-odq", &me()], format!("Subject: x\n\n{body}"));
    system.accept(&["-q"], "");
    assert_eq!(system.mailbox()[0].body(), body);
}

/// R124, K22: octets beyond ASCII for a server without 8BITMIME.
#[test]
fn eight_bit_text_is_changed_for_a_server_of_seven() {
    let remote = Remote::start(Script::new().offers(""));
    let system = System::relaying("seven", &remote);
    let text = "Subject: x\nMIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\n\
                Content-Transfer-Encoding: 8bit\n\ngr\u{fc}n\n";
    system.accept(&["-odq", "one@example.net"], text);
    system.accept(&["-q"], "");
    let received = remote.received();
    assert_eq!(received.len(), 1);
    assert!(received[0].data.is_ascii());
    let at = received[0]
        .data
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .unwrap();
    assert_eq!(
        decode(&received[0].data[at + 4..]),
        "gr\u{fc}n\r\n".as_bytes()
    );
}

/// A password file with this first line, for its owner alone.
fn password(system: &System, octets: &[u8]) -> String {
    let path = system.path("password");
    fs::write(&path, octets).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    format!(
        "user = \"me@example.org\"\npassword_file = \"{}\"",
        path.display()
    )
}

/// What a server offers, what the configuration asks for, and the command that must come.
#[test]
fn each_mechanism_logs_in() {
    const ALL: &str = "AUTH LOGIN PLAIN CRAM-MD5 XOAUTH2";
    let rows: &[(&str, &str, bool, &str)] = &[
        (ALL, "auto", true, "AUTH PLAIN "),
        ("AUTH=LOGIN PLAIN,AUTH PLAIN", "auto", true, "AUTH PLAIN "),
        ("AUTH LOGIN", "auto", true, "AUTH LOGIN"),
        ("AUTH CRAM-MD5", "auto", true, "AUTH CRAM-MD5"),
        (ALL, "plain", true, "AUTH PLAIN "),
        (ALL, "login", true, "AUTH LOGIN"),
        (ALL, "cram-md5", true, "AUTH CRAM-MD5"),
        (ALL, "xoauth2", true, "AUTH XOAUTH2 "),
        (ALL, "cram-md5", false, "AUTH CRAM-MD5"),
        // Nobody listens between two programs of one machine.
        (ALL, "auto", false, "AUTH PLAIN "),
    ];
    for (offers, auth, tls, command) in rows {
        let what = format!("{offers} {auth}");
        let authority = Authority::new();
        let mut script = Script::new().login("me@example.org", "s3cr\u{e9}t: #=\"\\ x");
        for keyword in offers.split(',') {
            script = script.also(keyword);
        }
        if *tls {
            script = script.implicit(authority.certify(&["127.0.0.1"]));
        }
        let remote = Remote::start(script);
        let mut system = System::relaying("login", &remote);
        authority.write(&system.path("ca.pem"));
        let login = password(&system, "s3cr\u{e9}t: #=\"\\ x\n".as_bytes());
        let ca = format!("ca_file = \"{}\"", system.path("ca.pem").display());
        system = system
            .with("smarthost", &login)
            .with("smarthost", &format!("auth = \"{auth}\""));
        if *tls {
            system = system
                .with("smarthost", &ca)
                .with("smarthost", "tls = \"implicit\"");
        }
        for _ in 0..2 {
            system.accept(&["-odq", "one@example.net"], MESSAGE);
        }
        system.accept(&["-q"], "");
        assert_eq!(remote.received().len(), 2, "{what}: {}", system.log());
        let commands = remote.commands();
        let logins: Vec<_> = commands.iter().filter(|c| c.starts_with("AUTH")).collect();
        assert!(
            logins.iter().all(|l| l.starts_with(command)),
            "{what}: {logins:?}"
        );
        assert_eq!(
            logins.len(),
            remote.sessions().len(),
            "{what}: once a connection"
        );
        assert!(!system.log().contains("s3cr"), "{what}");
    }
}

/// K12, callers.md 4 row 20: a refused login defers, once, with no second mechanism that might end in a ban.
#[test]
fn a_refused_login_defers() {
    let rows: &[(&str, &[u8], &str)] = &[
        ("AUTH LOGIN CRAM-MD5", b"wrong\n", "535"),
        ("AUTH DIGEST-MD5", b"right\n", ""),
        ("X-NONE", b"right\n", ""),
    ];
    for (offers, secret, why) in rows {
        let remote = Remote::start(Script::new().also(offers).login("me@example.org", "right"));
        let system = System::relaying("refused-login", &remote);
        let login = password(&system, secret);
        let system = system.with("smarthost", &login);
        system.accept(&["-odq", "one@example.net"], MESSAGE);
        check(&system, &remote, Deferred(why), offers);
        let commands = remote.commands();
        assert!(
            commands.iter().filter(|c| c.starts_with("AUTH")).count() <= 1,
            "{commands:?}"
        );
        assert!(
            !commands.iter().any(|c| c.starts_with("MAIL")),
            "{commands:?}"
        );
    }
}

/// A secret others can read is no secret: nothing is sent, and the file is named with what to do.
#[test]
fn a_password_file_others_can_read_is_refused() {
    let remote = Remote::start(
        Script::new()
            .also("AUTH CRAM-MD5")
            .login("me@example.org", "right"),
    );
    for (mode, octets) in [
        (0o644, &b"right\n"[..]),
        (0o604, b"right\n"),
        (0o600, b""),
        (0o600, b"\n"),
    ] {
        let system = System::relaying("mode", &remote);
        let login = password(&system, octets);
        fs::set_permissions(system.path("password"), fs::Permissions::from_mode(mode)).unwrap();
        let system = system.with("smarthost", &login);
        system.accept(&["-odq", "one@example.net"], MESSAGE);
        let ran = system.run(&["-q"], "");
        let queued = system.queued();
        let said = format!(
            "{}{}{}",
            ran.stderr,
            queued.journal.join("\n"),
            system.log()
        );
        assert!(
            said.contains(&system.path("password").display().to_string()),
            "{mode:o}: {said}"
        );
        assert!(!said.contains("right"), "{mode:o}: {said}");
    }
    assert!(remote.received().is_empty());
}

#[test]
fn a_password_can_come_from_a_command() {
    let rows = [
        (
            "[\"/bin/sh\", \"-c\", \"printf 'right\\\\nsecond line\\\\n'\"]",
            true,
        ),
        ("[\"/bin/echo\", \"right\"]", true),
        ("[\"/bin/sh\", \"-c\", \"echo right; exit 1\"]", false),
        ("[\"/bin/sh\", \"-c\", \"exit 0\"]", false),
        ("[\"/nowhere/at-all\"]", false),
    ];
    for (command, works) in rows {
        let remote = Remote::start(
            Script::new()
                .also("AUTH CRAM-MD5")
                .login("me@example.org", "right"),
        );
        let system = System::relaying("command", &remote).with(
            "smarthost",
            &format!("user = \"me@example.org\"\npassword_command = {command}"),
        );
        system.accept(&["-odq", "one@example.net"], MESSAGE);
        let ran = system.run(&["-q"], "");
        assert_eq!(ran.code, 0, "{command}: {ran:?}");
        assert_eq!(
            remote.received().len(),
            usize::from(works),
            "{command}: {}",
            system.log()
        );
        assert_eq!(system.queue().is_empty(), works, "{command}");
    }
}

/// TLS as it is asked for: what the server has, what the configuration says, what becomes of the message. What is
/// deferred has said nothing in the clear, neither sender nor password. (K1, K25-K28)
#[test]
fn tls_is_as_good_as_asked_for() {
    let authority = Authority::new();
    let stranger = Authority::new();
    let good = authority.certify(&["127.0.0.1", "localhost"]);
    let wrong_name = authority.certify(&["other.example"]);
    let expired = authority.certify_until(&["127.0.0.1"], 2001);
    let foreign = stranger.certify(&["127.0.0.1"]);
    let (fingerprint, other) = (good.fingerprint(), foreign.fingerprint());
    let plain = Script::new;
    let fingerprint = format!("fingerprint = \"{fingerprint}\"");
    let other = format!("fingerprint = \"{other}\"");
    let rows: Vec<(&str, Script, &str, &str, bool)> = vec![
        (
            "implicit",
            plain().implicit(good.clone()),
            "implicit",
            "CA",
            true,
        ),
        (
            "starttls",
            plain().starttls(good.clone()),
            "starttls",
            "CA",
            true,
        ),
        (
            "the port alone says implicit",
            plain().implicit(good.clone()),
            "implicit",
            "CA",
            true,
        ),
        (
            "wrong name",
            plain().implicit(wrong_name.clone()),
            "implicit",
            "CA",
            false,
        ),
        (
            "wrong name",
            plain().starttls(wrong_name.clone()),
            "starttls",
            "CA",
            false,
        ),
        (
            "expired",
            plain().implicit(expired),
            "implicit",
            "CA",
            false,
        ),
        (
            "another authority",
            plain().implicit(foreign.clone()),
            "implicit",
            "CA",
            false,
        ),
        (
            "no authority of ours",
            plain().implicit(good.clone()),
            "implicit",
            "",
            false,
        ),
        (
            "not verified, on request",
            plain().implicit(foreign.clone()),
            "implicit",
            "verify = false",
            true,
        ),
        (
            "fingerprint",
            plain().implicit(good.clone()),
            "implicit",
            &fingerprint,
            true,
        ),
        (
            "fingerprint with STARTTLS",
            plain().starttls(good.clone()),
            "starttls",
            &fingerprint,
            true,
        ),
        (
            "wrong fingerprint",
            plain().implicit(good.clone()),
            "implicit",
            &other,
            false,
        ),
        ("no STARTTLS offered", plain(), "starttls", "CA", false),
        (
            "STARTTLS refused",
            plain()
                .starttls(good.clone())
                .on("STARTTLS", "454 4.7.0 not now"),
            "starttls",
            "CA",
            false,
        ),
        (
            "injected reply",
            plain()
                .starttls(good.clone())
                .on("STARTTLS", "220 2.0.0 go\n250 fake"),
            "starttls",
            "CA",
            false,
        ),
        (
            "closed at STARTTLS",
            plain().starttls(good.clone()).on("STARTTLS", Answer::Drop),
            "starttls",
            "CA",
            false,
        ),
        (
            "closed in the handshake",
            plain().starttls(good.clone()).on("TLS", Answer::Drop),
            "starttls",
            "CA",
            false,
        ),
        ("a server in the clear", plain(), "implicit", "CA", false),
        (
            "opportunistic, offered",
            plain().starttls(foreign.clone()),
            "opportunistic",
            "",
            true,
        ),
        (
            "opportunistic, not offered",
            plain(),
            "opportunistic",
            "",
            true,
        ),
        (
            "opportunistic, refused",
            plain()
                .starttls(good.clone())
                .on("STARTTLS", "454 4.7.0 no"),
            "opportunistic",
            "",
            true,
        ),
        (
            "opportunistic, broken",
            plain().starttls(good.clone()).on("TLS", Answer::Drop),
            "opportunistic",
            "",
            true,
        ),
    ];
    for (what, script, tls, key, delivered) in rows {
        let remote = Remote::start(script);
        let mut system = System::relaying("tls", &remote)
            .with("smarthost", &format!("tls = \"{tls}\""))
            .with("limits", "command_timeout = \"2s\"");
        authority.write(&system.path("ca.pem"));
        let ca = format!("ca_file = \"{}\"", system.path("ca.pem").display());
        system = system.with("smarthost", if key == "CA" { &ca } else { key });
        system.accept(&["-odq", "one@example.net"], MESSAGE);
        let fate = if delivered { Delivered } else { Deferred("") };
        check(&system, &remote, fate, what);
        if !delivered {
            let commands = remote.commands();
            assert!(
                !commands.iter().any(|c| c.starts_with("MAIL")),
                "{what}: {commands:?}"
            );
        } else if tls != "opportunistic" {
            assert!(remote.sessions()[0].tls, "{what}");
        }
    }
}

/// The certificate is checked before the password goes out. (K26)
#[test]
fn no_password_goes_to_a_stranger() {
    let authority = Authority::new();
    let stranger = Authority::new().certify(&["127.0.0.1"]);
    for implicit in [true, false] {
        let script = Script::new()
            .also("AUTH PLAIN LOGIN")
            .login("me@example.org", "right");
        let script = if implicit {
            script.implicit(stranger.clone())
        } else {
            script.starttls(stranger.clone())
        };
        let remote = Remote::start(script);
        let system = System::relaying("stranger", &remote);
        let login = password(&system, b"right\n");
        authority.write(&system.path("ca.pem"));
        let ca = format!("ca_file = \"{}\"", system.path("ca.pem").display());
        let tls = if implicit {
            "tls = \"implicit\""
        } else {
            "tls = \"starttls\""
        };
        let system = system
            .with("smarthost", tls)
            .with("smarthost", &ca)
            .with("smarthost", &login);
        system.accept(&["-odq", "one@example.net"], MESSAGE);
        check(&system, &remote, Deferred(""), "stranger");
        assert!(!remote.commands().iter().any(|c| c.starts_with("AUTH")));
    }
}

/// design.md 3: the caller goes on at once; the message is tried behind his back.
#[test]
fn a_submission_is_tried_in_the_background() {
    let remote = Remote::start(Script::new());
    let system = System::relaying("background", &remote);
    system.accept(&["-i", "one@example.net"], MESSAGE);
    until("the message is delivered", || remote.received().len() == 1);
    until("the queue is empty", || system.queue().is_empty());

    // However long the server takes, the caller does not wait for it.
    let remote = Remote::start(Script::new().on("CONNECT", Answer::Silence));
    let system = System::relaying("background", &remote);
    let start = Instant::now();
    system.accept(&["-i", "one@example.net"], MESSAGE);
    assert!(start.elapsed() < Duration::from_secs(10));
    until("the server is called", || remote.sessions().len() == 1);
    drop(remote);
    until("the message is deferred", || {
        system.queue().iter().any(|q| q.journal.len() == 1)
    });
}

/// `-odi`: the attempt is over when the caller goes on; a message that is kept is a 0 all the same.
#[test]
fn a_submission_can_be_tried_in_the_foreground() {
    let remote = Remote::start(Script::new().once("MAIL", "451 4.3.0 later"));
    let system = System::relaying("foreground", &remote);
    system.accept(&["-odi", "one@example.net"], MESSAGE);
    assert_eq!(system.queued().journal.len(), 1);
    system.accept(&["-odi", "one@example.net"], MESSAGE);
    assert_eq!(remote.received().len(), 1);
    system.accept(&["-odi", &me()], MESSAGE);
    assert_eq!(system.mailbox().len(), 1);
}

/// K36, F15: mail that comes round is stopped.
#[test]
fn a_loop_ends() {
    let hops: String = (0..101)
        .map(|i| {
            format!(
                "Received: from a{i}.example by b{i}.example; Mon, 23 Nov 2026 18:20:00 +0000\n"
            )
        })
        .collect();
    let remote = Remote::start(Script::new());
    let system = System::relaying("loop", &remote);
    let ran = system.run(&["-odq", "one@example.net"], format!("{hops}{MESSAGE}"));
    if ran.code == 0 {
        check(&system, &remote, Failed("5.4.6"), "loop");
    } else {
        assert_eq!(ran.code, 65, "{ran:?}");
        assert!(system.queue().is_empty());
    }
    let fewer: String = hops.lines().take(90).map(|l| format!("{l}\n")).collect();
    system.accept(&["-odq", "one@example.net"], format!("{fewer}{MESSAGE}"));
    system.accept(&["-q"], "");
    assert_eq!(remote.received().len(), 1);
}
