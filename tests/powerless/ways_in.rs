//! Every other way into the spool: SMTP, a filter that sets aside, and what repeats something that waits.

use std::fs;

use super::{Told, assert_not_held, last, message, recover, whole};
use crate::harness::disk::{self, Disk, Step};
use crate::harness::system::{Call, me};
use crate::harness::talk::Talk;
use crate::harness::{Daemon, Mail, Milter, System, Wants};

/// The program, which writes its steps down.
fn recording(system: &System, args: &[&str]) -> Call {
    let record = system.path("record");
    let call = system.call("sendmail").args(args);
    call.env("MINIMTA_RECORD", record.to_str().unwrap())
}

fn is_marked(before: &[Step], what: &str) -> bool {
    before
        .iter()
        .any(|s| matches!(s, Step::Mark(mark) if mark == what))
}

/// Two messages in a session of SMTP, one that goes through a file as it comes, and one that is held until its end.
#[test]
fn what_was_accepted_by_smtp_is_there() {
    let system = System::new("powerless-smtp");
    let bodies = [
        ("one", "0123456789abcdef\r\n".repeat(4_000)),
        ("two", "short\r\n".to_owned()),
    ];
    let start = Disk::read(&super::folders(&system));
    let mut talk = Talk::of(recording(&system, &["-bs", "-odq"]).start());
    talk.steps(&[("EHLO x.example", "250")]);
    for (name, body) in &bodies {
        let (to, text) = (
            format!("RCPT TO:<{}>", me()),
            format!("Subject: x\r\nX-Name: {name}\r\n\r\n{body}."),
        );
        talk.steps(&[
            ("MAIL FROM:<a@example.org>", "250"),
            (&to, "250"),
            ("DATA", "354"),
            (&text, "250 2.0.0 queued"),
        ]);
        disk::mark(&system.path("record"), name);
    }
    talk.steps(&[("QUIT", "221")]);
    assert_eq!(talk.end().code, 0);
    let told = Told::since(start, &system);
    let key = |before: &[Step]| {
        let marked = |(name, _): &&(&str, String)| is_marked(before, name);
        bodies.iter().filter(marked).count()
    };
    let cases = told.cut(key, |before| {
        recover(&system, &last(before));
        let found = system.mailbox();
        for (name, body) in &bodies {
            let named: Vec<Mail> = found
                .iter()
                .filter(|m| m.field("X-Name").as_deref() == Some(*name))
                .cloned()
                .collect();
            let copies = whole(&named, &body.replace("\r\n", "\n"));
            let least = usize::from(is_marked(before, name));
            assert!(
                (least..=1).contains(&copies),
                "{copies}: {:#?}",
                last(before)
            );
        }
        if key(before) == bodies.len() {
            assert_eq!(system.names("hold"), [""; 0], "{:#?}", last(before));
        }
    });
    assert!(cases > 50, "{cases} cases");
}

/// A filter has a message set aside: its client hears 250 when that is on the disk, and at no moment does it stand where
/// a queue run would deliver it.
#[test]
fn what_a_filter_sets_aside_is_there_and_nowhere_else() {
    let mut cases = 0;
    // Through a file in tmp/, and from memory.
    for (first_try, body) in [
        ("spool", "0123456789abcdef\r\n".repeat(4_000)),
        ("direct", "short\r\n".to_owned()),
    ] {
        let milter = Milter::start(Wants::default().on(b"E", &[b"qlooks odd\0", b"c"]));
        let system = System::listening("powerless-aside")
            .with("[milter]", &milter.keys())
            .with("queue", &format!("first_try = \"{first_try}\""));
        Daemon::start(&system).stop();
        fs::remove_file(system.path("log")).unwrap();
        let start = Disk::read(&super::folders(&system));
        let daemon = Daemon::of(&system, || recording(&system, &["-bD"]).start());
        let mut client = daemon.client();
        let said = client.deliver(&me(), &format!("Subject: x\r\n\r\n{body}"));
        assert!(said.starts_with("250 2.0.0 queued"), "{said}");
        disk::mark(&system.path("record"), "aside");
        drop(client);
        daemon.stop();
        let told = Told::since(start, &system);
        let all = told.cut(
            |before| usize::from(is_marked(before, "aside")),
            |before| {
                recover(&system, &last(before));
                assert!(system.mailbox().is_empty(), "{:#?}", last(before));
                let held = system.names("hold");
                assert!(held.len() <= 1, "{:#?}", last(before));
                if is_marked(before, "aside") {
                    assert_eq!(held.len(), 1, "{:#?}", last(before));
                    system.accept(&["--release", &held[0]], "");
                    system.accept(&["-q"], "");
                    assert_eq!(whole(&system.mailbox(), &body.replace("\r\n", "\n")), 1);
                }
            },
        );
        assert!(all > 5, "{all} cases");
        cases += all;
    }
    assert!(cases > 20, "{cases} cases");
}

/// What repeats a message that waits takes its place: what both stand for is told, whenever the power goes.
#[test]
fn what_repeats_another_is_counted() {
    let body = "short\n";
    let system = System::new("powerless-collapse").with("submit", "collapse = \"1h\"");
    let args = ["-i", "-odi", &me()];
    system.accept(&args, message(body));
    system.accept(&args, message(body));
    let waits = system.queued();
    let told = Told::of(&system, &args, &message(body));
    let gone = |s: &Step| matches!(s, Step::Remove(path) if path.ends_with(&waits.id));
    assert!(told.steps.iter().any(gone), "{:#?}", last(&told.steps));
    let cases = told.cut(
        |before| told.is_done(before),
        |before| {
            recover(&system, &last(before));
            assert_not_held(&system, &waits.id, before);
            let found = system.mailbox();
            let number = |m: &Mail| {
                assert_eq!(m.body(), body);
                let count = m.field("X-Repeated");
                count.map_or(1, |c| {
                    c.split(' ').next().unwrap().parse::<usize>().unwrap()
                })
            };
            let told_of: usize = found.iter().map(number).sum();
            // A crash in the middle leaves the old one beside the new one, which counts it too.
            let least = 2 + told.is_done(before);
            assert!(
                (least..=4).contains(&told_of),
                "{told_of}: {:#?}",
                last(before)
            );
        },
    );
    assert!(cases > 10, "{cases} cases");
}
