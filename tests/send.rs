//! From the spool to a smarthost: what it answers at each step, and what becomes of each recipient.

use std::time::{Duration, Instant};

use crate::harness::system::me;
use crate::harness::{Answer, Remote, Script, System, until};

pub const MESSAGE: &str = "Subject: x\n\nhello\n";

/// What must have become of the one message, sent by the user who runs the tests, after one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Delivered,
    /// It waits, and this is why.
    Deferred(&'static str),
    /// It is gone, and its sender was told this.
    Failed(&'static str),
}

use Fate::{Deferred, Delivered, Failed};

pub fn check(system: &System, remote: &Remote, fate: Fate, what: &str) {
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
    // One that is down costs a single try.
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

/// RFC 1047: a lost reply to the final dot may be a yes, and the next host must not get it at once, or it comes twice. But
/// a host that always breaks off there keeps the mail from no other, though it has the same name.
#[test]
fn the_next_smarthost_gets_nothing_that_one_may_have_before_the_next_attempt() {
    let breaks_off = Script::new().on("DOT", Answer::Drop);
    let remotes = [breaks_off.clone(), breaks_off, Script::new()].map(Remote::start);
    let mut system = System::new("doubt");
    for remote in &remotes {
        system = system.with("[smarthost]", &remote.smarthost());
    }
    system.accept(&["-odq", "one@example.net"], MESSAGE);
    for expected in [[1, 0, 0], [1, 1, 0], [1, 1, 1]] {
        system.accept(&["-q"], "");
        let sessions = remotes.each_ref().map(|r| r.sessions().len());
        assert_eq!(sessions, expected);
        if let [message] = &system.queue()[..] {
            let last = message.journal.last().unwrap();
            assert!(last.ends_with("; it may have the message"), "{last}");
        }
    }
    assert_eq!(remotes[2].received().len(), 1);
    assert!(system.queue().is_empty());
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
