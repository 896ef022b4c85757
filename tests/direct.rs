//! `[queue] first_try = "direct"`: what one next hop takes at once is never in the spool; for all else the promise is
//! the same as ever.

use crate::harness::daemon::Daemon;
use crate::harness::system::{me, user};
use crate::harness::{Answer, Remote, Script, System, until};

const MESSAGE: &str = "Subject: x\n\nhello\n";

fn straight(system: System) -> System {
    system.with("queue", "first_try = \"direct\"")
}

/// Whether the spool has ever had a file: its folders are made for the first.
fn was_used(system: &System) -> bool {
    system.path("spool/new").exists()
}

/// What becomes of one message, by what the server says: with whom it is when exit code 0 is said.
#[test]
fn it_is_with_the_next_hop_or_on_the_disk() {
    enum With {
        Nobody,
        Queue(&'static str),
        Report(&'static str),
    }
    let rows: &[(&str, Answer, With)] = &[
        ("QUIT", "221 2.0.0 bye".into(), With::Nobody),
        ("CONNECT", Answer::Drop, With::Queue("")),
        ("CONNECT", "421 4.3.2 busy".into(), With::Queue("busy")),
        ("MAIL", "451 4.7.1 later".into(), With::Queue("451 4.7.1")),
        ("RCPT", "450 4.2.1 busy".into(), With::Queue("450 4.2.1")),
        (
            "DATA",
            Answer::Interrupt(10, String::new()),
            With::Queue(""),
        ),
        ("DOT", "452 4.3.1 full".into(), With::Queue("452 4.3.1")),
        ("DOT", Answer::Drop, With::Queue("")),
        ("RCPT", "550 5.1.1 nobody".into(), With::Report("550 5.1.1")),
        ("DOT", "554 5.6.0 spam".into(), With::Report("554 5.6.0")),
    ];
    for (step, answer, with) in rows {
        let remote = Remote::start(Script::new().on(step, answer.clone()));
        let system = straight(System::relaying("direct-one", &remote));
        system.accept(&["-odi", "-f", &me(), "one@example.net"], MESSAGE);
        match with {
            With::Nobody => {
                assert_eq!(remote.received().len(), 1, "{step}");
                assert!(!was_used(&system), "{step}");
                let log = system.log();
                for word in [" received ", " delivered ", " removed why=done"] {
                    assert!(log.contains(word), "{word}: {log}");
                }
            }
            With::Queue(why) => {
                let queued = system.queued();
                let journal = queued.journal.join("\n");
                assert_eq!(queued.folder, "cur", "{step}");
                assert!(
                    journal.contains(" deferred ") && journal.contains(why),
                    "{journal}"
                );
            }
            With::Report(why) => {
                assert!(system.queue().is_empty(), "{step}: {:?}", system.queue());
                let told = system.mailbox();
                assert_eq!(told.len(), 1, "{step}");
                assert!(told[0].text().contains(why), "{step}: {}", told[0].text());
                assert!(told[0].text().contains("Subject: x"), "{step}");
            }
        }
    }
}

/// Who has it does not get it again; who waits is in the journal with the reason.
#[test]
fn what_some_have_is_kept_for_the_others_only() {
    let script = Script::new().once("RCPT TO:<later@", "450 4.2.1 busy");
    let remote = Remote::start(script);
    let system = straight(System::relaying("direct-some", &remote));
    system.accept(&["-odi", "now@example.net", "later@example.net"], MESSAGE);
    assert_eq!(remote.received().len(), 1);
    let journal = system.queued().journal;
    assert!(
        journal.iter().any(|l| l.contains(" to 1 delivered ")),
        "{journal:?}"
    );
    assert!(
        journal.iter().any(|l| l.contains(" to 2 deferred ")),
        "{journal:?}"
    );
    system.accept(&["-q"], "");
    assert!(system.queue().is_empty());
    let received = remote.received();
    assert_eq!(received.len(), 2);
    assert_eq!(received[1].to, ["RCPT TO:<later@example.net>"]);
    assert_eq!(received[1].mail().body(), "hello\n");
}

#[test]
fn a_mailbox_takes_it_without_the_spool() {
    let system = straight(System::new("direct-home"));
    system.accept(&["-odi", &me()], MESSAGE);
    assert_eq!(system.mailbox().len(), 1);
    assert!(!was_used(&system));
}

/// Not in memory: what is long. Not from here: what goes to two places, or is to wait.
#[test]
fn all_else_goes_through_the_spool() {
    let long = format!("Subject: x\n\n{}", "0123456789abcde\n".repeat(16 * 1024));
    let other = "one@example.net";
    let rows: &[(&[&str], &str, usize)] = &[
        (&["-odi", other], &long, 0),
        (&["-odi", other, "NAME"], MESSAGE, 1),
        (&["-odq", other], MESSAGE, 0),
        (&["-bq", "NAME"], MESSAGE, 0),
    ];
    for (arguments, message, here) in rows {
        let remote = Remote::start(Script::new());
        let system = straight(System::relaying("direct-not", &remote));
        let name = user();
        let arguments: Vec<&str> = arguments
            .iter()
            .map(|a| if *a == "NAME" { name.as_str() } else { a })
            .collect();
        system.accept(&arguments, message);
        assert!(was_used(&system), "{arguments:?}");
        system.accept(&["-q"], "");
        assert!(system.queue().is_empty(), "{arguments:?}");
        assert_eq!(
            system.mailbox().len(),
            *here + usize::from(arguments[0] == "-bq")
        );
    }
}

/// 250 only once it is safe: a disk that fails when the next hop has failed is said to the client.
#[test]
fn nothing_is_promised_when_both_fail() {
    for error in ["ENOSPC", "EIO", "EROFS"] {
        let remote = Remote::start(Script::new().on("MAIL", "451 4.7.1 later"));
        let system = straight(System::relaying("direct-both", &remote));
        let call = system.call("sendmail").args(&["-odi", "one@example.net"]);
        let ran = call
            .env("MINIMTA_FAULT", &format!("1+:{error}"))
            .stdin(MESSAGE)
            .run();
        assert!([71, 73, 74, 75].contains(&ran.code), "{error}: {ran:?}");
        assert!(
            system.queue().is_empty() && remote.received().is_empty(),
            "{error}"
        );
    }
}

/// Messages of one session go on over one connection; a server that is down costs the next message nothing.
#[test]
fn a_daemon_passes_on_what_comes() {
    let remote = Remote::start(Script::new());
    let system = straight(System::relaying("direct-daemon", &remote).listens());
    let daemon = Daemon::start(&system);
    let mut client = daemon.client();
    for _ in 0..3 {
        let reply = client.deliver("one@example.net", "Subject: x\r\n\r\nhello\r\n");
        assert!(reply.starts_with("250 2.0.0"), "{reply}");
    }
    // It was there before the client heard of it.
    assert_eq!(remote.received().len(), 3);
    assert_eq!(remote.sessions().len(), 1);
    assert!(!was_used(&system));
    daemon.stop();
}

#[test]
fn a_daemon_keeps_what_is_not_taken_and_tries_again() {
    let script = Script::new().once("DOT", "451 4.3.0 trouble");
    let remote = Remote::start(script.once("RCPT TO:<bad@", "550 5.1.1 nobody"));
    let system = straight(System::relaying("direct-again", &remote).listens())
        .with("queue", "retry_first = \"1s\"");
    let daemon = Daemon::start(&system);
    let text = "Subject: x\r\n\r\nhello\r\n";
    let mut client = daemon.client();
    assert!(client.deliver("one@example.net", text).starts_with("250 "));
    until("tried again", || remote.received().len() == 1);
    until("gone", || system.queue().is_empty());
    // Its report is a message like any other, for a sender elsewhere.
    assert!(client.deliver("bad@example.net", text).starts_with("250 "));
    until("reported", || remote.received().len() == 2);
    assert!(remote.received()[1].mail().text().contains("550 5.1.1"));
    daemon.stop();
}
