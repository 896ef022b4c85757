//! `[submit] collapse`: what says the same again is held back and goes once, with its number; and none of it is lost.
//!
//! Time passes here as the files are told: the table of fingerprints has the beginning of each period, and the queue file
//! of what waits has its end.

use std::fs;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use crate::harness::system::me;
use crate::harness::{Mail, Remote, Script, System};

fn collapsing(system: System) -> System {
    system.with("submit", "collapse = \"1h\"")
}

/// What cron sends of a job.
fn say(system: &System, number: u32) {
    let text =
        format!("From: root\nSubject: Cron /usr/bin/backup\n\ntry {number}: disk {number}% full\n");
    system.accept(&["-i", "-odi", &me()], text);
}

/// Lets so many seconds pass.
fn pass(system: &System, seconds: u64) {
    const SLOT: usize = 80;
    const SINCE: u64 = 32;
    let path = system.path("spool/state/collapse");
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let length = file.metadata().unwrap().len();
    for at in (0..length).step_by(SLOT).map(|at| at + SINCE) {
        let mut octets = [0; 8];
        file.read_exact_at(&mut octets, at).unwrap();
        let since = i64::from_le_bytes(octets);
        if since > 0 {
            let since = since - i64::try_from(seconds).unwrap();
            file.write_all_at(&since.to_le_bytes(), at).unwrap();
        }
    }
    for queued in system.queue() {
        let path = system.path("spool").join(queued.folder).join(queued.id);
        let file = fs::File::options().append(true).open(path).unwrap();
        let due = file.metadata().unwrap().modified().unwrap();
        file.set_modified(due - Duration::from_secs(seconds))
            .unwrap();
    }
}

/// How many messages one that was delivered stands for.
fn count(mail: &Mail) -> u32 {
    let field = mail.field("X-Repeated");
    field.map_or(1, |f| f.split(' ').next().unwrap().parse().unwrap())
}

fn subjects(system: &System) -> Vec<String> {
    let mails = system.mailbox();
    let mut found: Vec<String> = mails.iter().map(|m| m.field("Subject").unwrap()).collect();
    found.sort();
    found
}

#[test]
fn it_is_heard_once_in_a_period_and_then_how_often() {
    let system = collapsing(System::new("collapse"));
    say(&system, 1);
    assert_eq!(
        subjects(&system),
        ["Cron /usr/bin/backup"],
        "the first goes at once"
    );
    for number in 2..=4 {
        say(&system, number);
        let waits = system.queued();
        assert_eq!(waits.folder, "cur");
        assert!(waits.journal.is_empty(), "nobody tries it");
        system.accept(&["-q", "--due"], "");
    }
    assert_eq!(system.mailbox().len(), 1);
    // Something else is not held up by it.
    system.accept(&["-odi", &me()], "Subject: other\n\nhello\n");
    assert_eq!(subjects(&system), ["Cron /usr/bin/backup", "other"]);

    pass(&system, 3600);
    system.accept(&["-q", "--due"], "");
    assert!(system.queue().is_empty());
    let all = system.mailbox();
    let one = all
        .iter()
        .find(|m| m.field("X-Repeated").is_some())
        .unwrap();
    assert_eq!(
        one.field("Subject").unwrap(),
        "[3 times] Cron /usr/bin/backup"
    );
    assert!(
        one.field("X-Repeated")
            .unwrap()
            .starts_with("3 times, from ")
    );
    assert_eq!(one.body(), "try 4: disk 4% full\n");
    assert!(one.header().starts_with("Return-Path: ") || one.header().starts_with("Received: "));
    assert_eq!(one.all("Subject").len(), 1);

    // The period after it is told in the same way, and what was silent for one is new.
    say(&system, 5);
    assert_eq!(system.queue().len(), 1);
    pass(&system, 2 * 3600);
    system.accept(&["-q", "--due"], "");
    say(&system, 6);
    assert!(system.queue().is_empty());
    let numbers: Vec<u32> = system.mailbox().iter().map(count).collect();
    assert_eq!(numbers.iter().sum::<u32>(), 7, "{numbers:?}");
}

#[test]
fn what_waits_is_an_ordinary_message_of_the_queue() {
    let system = collapsing(System::new("collapse-queue"));
    (1..=3).for_each(|number| say(&system, number));
    let listed = system.call("mailq").run().stdout;
    assert!(listed.contains("not tried yet; next try "), "{listed}");
    let log = system.log();
    assert!(log.contains(" collapsed count=2 until=20"), "{log}");
    assert!(log.contains(" removed why=repeated"), "{log}");
    // A flush takes it along, and what comes then begins anew.
    system.accept(&["-q"], "");
    assert_eq!(system.mailbox().iter().map(count).sum::<u32>(), 3);
    say(&system, 4);
    let waits = system.queued();
    assert_eq!(count(&waits.mail()), 1);
    assert_eq!(
        waits.mail().field("Subject").unwrap(),
        "Cron /usr/bin/backup"
    );
    // One that was tried, or set aside, is not replaced.
    let ran = system.run(&["--hold", &waits.id], "");
    assert_eq!(ran.code, 0, "{ran:?}");
    say(&system, 5);
    assert_eq!(system.names("hold"), [waits.id]);
    assert_eq!(count(&system.queued().mail()), 1);
}

/// Straight through or not, the first goes, and what repeats it is on the disk.
#[test]
fn it_is_the_same_where_mail_goes_straight_through() {
    let remote = Remote::start(Script::new());
    let system = collapsing(System::relaying("collapse-direct", &remote));
    let system = system.with("queue", "first_try = \"direct\"");
    let long = "x 1\n".repeat(100_000);
    for text in ["short\n", long.as_str()] {
        for _ in 0..3 {
            let message = format!("Subject: s\n\n{text}");
            system.accept(&["-odi", "one@example.net"], message);
        }
        assert_eq!(remote.take().len(), 1);
        let waits = system.queued();
        assert_eq!(count(&waits.mail()), 2);
        assert!(waits.mail().body() == text);
        system.accept(&["-q"], "");
        let sent = remote.take();
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].mail().field("Subject").unwrap(), "[2 times] s");
    }
}

#[test]
fn who_sends_to_whom_and_bad_addresses_make_a_difference() {
    let system = collapsing(System::new("collapse-others"));
    let rows: &[&[&str]] = &[
        &["-odi", "-f", "a@example.org"],
        &["-odi", "-f", "b@example.org"],
        &["-odi", "-f", "a@example.org", "-N", "never"],
        &["-odi", "-f", "a@example.org", "-V", "1"],
    ];
    for (args, sent) in rows.iter().zip(1..) {
        let me = me();
        let args = [args, [me.as_str()].as_slice()].concat();
        system.accept(&args, "Subject: s\n\nx\n");
        assert_eq!(system.mailbox().len(), sent, "{args:?}");
    }
    for _ in 0..2 {
        let ran = system.run(&["-odi", "-f", &me(), &me(), "a@@b"], "Subject: s\n\nx\n");
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    assert!(system.queue().is_empty());
}

/// Nothing that was promised is lost, whatever step the program dies at or fails in.
#[test]
fn at_each_step_what_was_promised_is_told() {
    for (what, dies) in [("kill", true), ("ENOSPC", false)] {
        let mut steps = 0;
        for step in 1..40 {
            let system = collapsing(System::new("collapse-crash"));
            let mut promised = 0;
            let mut was_there = false;
            for number in 1..=4 {
                let call = system.call("sendmail").args(&["-i", "-odi", &me()]);
                let text = format!("Subject: s\n\ntry {number}\n");
                let call = match number {
                    3 => call.env("MINIMTA_FAULT", &format!("{step}:{what}")),
                    _ => call,
                };
                let ran = call.stdin(text).run();
                promised += u32::from(ran.code == 0);
                if number == 3 {
                    was_there = ran.code != 0 || system.log().contains("fault injected");
                }
            }
            for name in system.names("tmp") {
                crate::harness::system::age(&system.path("spool/tmp").join(name), 600);
            }
            system.accept(&["-q"], "");
            assert!(system.queue().is_empty(), "{step}:{what}");
            let told: u32 = system.mailbox().iter().map(count).sum();
            // What died half way may be there, and twice; what was promised must be.
            assert!(
                told >= promised,
                "{step}:{what}: {promised} promised, {told} told"
            );
            assert!(told <= promised + 3, "{step}:{what}: {told} told");
            steps += u32::from(was_there);
            if dies && !was_there {
                break;
            }
        }
        assert!(steps > 4, "{what}: {steps} steps");
    }
}

#[test]
fn without_it_nothing_is_remembered() {
    let system = System::new("collapse-off");
    (1..=3).for_each(|number| say(&system, number));
    assert_eq!(system.mailbox().len(), 3);
    assert!(!system.path("spool/state/collapse").exists());
}
