//! A smarthost that refuses everything: its reason is told once a day, and what it refuses is kept until it takes it.

use std::fs;
use std::os::unix::fs::FileExt;

use crate::harness::system::me;
use crate::harness::{Mail, Remote, Script, System};

fn send(system: &System, number: u32, more: &[&str]) {
    let me = me();
    let args = [&["-odi", "-f", me.as_str(), "one@example.net"], more].concat();
    system.accept(&args, format!("Subject: job {number}\n\nhello\n"));
}

fn subjects(system: &System) -> Vec<String> {
    let mails = system.mailbox();
    mails.iter().map(|m| m.field("Subject").unwrap()).collect()
}

/// A day passes for what was told.
fn next_day(system: &System) {
    let path = system.path("spool/state/notices");
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    for at in (32..file.metadata().unwrap().len()).step_by(80) {
        let mut octets = [0; 8];
        file.read_exact_at(&mut octets, at).unwrap();
        let since = i64::from_le_bytes(octets);
        if since > 0 {
            file.write_all_at(&(since - 86_400).to_le_bytes(), at)
                .unwrap();
        }
    }
}

#[test]
fn a_refusal_of_all_is_told_once_a_day_and_nothing_is_lost() {
    let refusal = "550 5.7.1 (id 1234) we do not know you";
    let refuses = Remote::start(Script::new().on("MAIL", refusal));
    let system = System::relaying("notices", &refuses);
    (1..=3).for_each(|number| send(&system, number, &[]));
    assert_eq!(subjects(&system).len(), 1, "{:?}", subjects(&system));
    let told = system.mailbox().remove(0);
    assert!(told.text().contains("Subject: job 1"), "{}", told.text());
    let words: Vec<&str> = told.text().split_whitespace().collect();
    let words = words.join(" ");
    assert!(
        words.contains("wait, and are not reported for a day: mailq lists them."),
        "{words}"
    );
    let waiting = system.queue();
    assert_eq!(waiting.len(), 2);
    assert!(
        waiting
            .iter()
            .all(|q| q.journal.join("").contains(" deferred 550 4.7.1 ")),
        "{waiting:?}"
    );

    // On the next day one more is told of, and the others wait on.
    next_day(&system);
    system.accept(&["-q"], "");
    assert_eq!((subjects(&system).len(), system.queue().len()), (2, 1));

    // What waits goes out when the cause is gone.
    let takes = Remote::start(Script::new());
    let system = system.with("smarthost", &takes.smarthost());
    system.accept(&["-q"], "");
    assert_eq!((takes.received().len(), system.queue().len()), (1, 0));
}

#[test]
fn what_is_refused_to_the_end_is_kept_for_its_owner() {
    let refuses = Remote::start(Script::new().on("MAIL", "554 5.7.0 go away"));
    let system = System::relaying("notices-end", &refuses);
    (1..=3).for_each(|number| send(&system, number, &[]));
    system.backdate(6 * 24);
    let said = system.run(&["-q", "-v"], "").stderr;
    assert!(
        said.contains("2 deferred: ") && !said.contains("failed"),
        "{said}"
    );
    let counts = "queue-run delivered=0 deferred=2 failed=0";
    assert!(system.log().contains(counts), "{}", system.log());
    assert_eq!(
        system.queue().len(),
        2,
        "a clock that jumped is no end of its time"
    );
    for _ in 0..60 {
        if !system.queue().is_empty() {
            system.accept(&["-q"], "");
        }
    }
    assert!(system.queue().is_empty());
    let held = system.names("hold");
    assert_eq!((held.len(), subjects(&system).len()), (2, 1));
    let log = system.log();
    assert!(log.contains("held reason=\"refused to the end"), "{log}");
    // Released, it goes where mail is taken.
    let takes = Remote::start(Script::new());
    let system = system.with("smarthost", &takes.smarthost());
    for id in &held {
        assert_eq!(system.run(&["--release", id], "").code, 0);
    }
    system.accept(&["-q"], "");
    assert_eq!(takes.received().len(), 2);
}

/// What is about a recipient or a text, or was asked for, is told each time.
#[test]
fn all_other_failures_are_told_each() {
    let rows: &[(&str, &str, &[&str])] = &[
        ("RCPT", "550 5.1.1 nobody", &[]),
        ("RCPT", "550 nobody", &[]),
        ("DOT", "552 5.3.4 too long", &[]),
        ("DOT", "554 5.6.0 bad", &[]),
        ("MAIL", "550 5.7.1 no", &["-N", "failure"]),
    ];
    for (step, answer, more) in rows {
        let remote = Remote::start(Script::new().on(step, *answer));
        let system = System::relaying("notices-each", &remote);
        (1..=2).for_each(|number| send(&system, number, more));
        assert_eq!(subjects(&system).len(), 2, "{answer}");
        assert!(system.queue().is_empty(), "{answer}");
        assert!(
            !system.mailbox()[0].text().contains("Other messages that"),
            "{answer}"
        );
    }
}

#[test]
fn a_delay_at_the_smarthost_is_told_once_a_day() {
    let remote = Remote::start(Script::new().on("MAIL", "451 4.3.0 later, number 77"));
    let system = System::relaying("notices-delay", &remote);
    (1..=3).for_each(|number| send(&system, number, &[]));
    send(&system, 4, &["-N", "delay"]);
    system.backdate(5);
    // A clock that jumped is no delay: it takes some attempts as well.
    for _ in 0..8 {
        system.accept(&["-q"], "");
    }
    for _ in 0..2 {
        system.accept(&["-q"], "");
        // One for all, and one that was asked for.
        assert_eq!(subjects(&system).len(), 2, "{:?}", subjects(&system));
    }
    assert!(
        system
            .queue()
            .iter()
            .all(|q| q.journal.join("\n").contains("warned"))
    );
    // The end of its time is told of each, for the report has the message in it, and nobody else has; but for the one that
    // wants to hear of nothing but delays.
    system.backdate(6 * 24);
    for _ in 0..60 {
        if !system.queue().is_empty() {
            system.accept(&["-q"], "");
        }
    }
    assert_eq!((system.queue().len(), system.names("hold").len()), (0, 0));
    let told = system.mailbox();
    assert_eq!(told.len(), 2 + 3, "{:?}", subjects(&system));
    for number in 1..=3 {
        let job = format!("Subject: job {number}\n");
        let given_up = |m: &&Mail| m.text().contains(&job) && m.text().contains("given up after");
        assert_eq!(told.iter().filter(given_up).count(), 1, "{number}");
    }
}
