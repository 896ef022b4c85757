//! The queue: runs and the schedule. What its administrator does is in tests/administrator.rs, a spool in ruins in
//! tests/ruins.rs.

use std::fs;
use std::io::Write;
use std::time::{Duration, SystemTime};

use crate::harness::system::{age, finish, iso8601, me, names_in, until};
use crate::harness::{Queued, Remote, Script, System};

/// Puts a message for this recipient into the queue and returns its id.
pub fn enqueue(system: &System, to: &str) -> String {
    let before: Vec<String> = system.queue().into_iter().map(|q| q.id).collect();
    system.accept(&["-i", "-odq", to], format!("Subject: for {to}\n\nhello\n"));
    let after = system.queue();
    after
        .into_iter()
        .map(|q| q.id)
        .find(|id| !before.contains(id))
        .unwrap()
}

pub fn by_id(system: &System, id: &str) -> Queued {
    let found = system.queue().into_iter().find(|q| q.id == id);
    found.unwrap_or_else(|| panic!("{id} does not wait"))
}

/// Seconds from now to when a message is due.
fn due_in(system: &System, id: &str) -> i64 {
    let file = fs::metadata(system.path("spool/cur").join(id)).unwrap();
    let due = file
        .modified()
        .unwrap()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    i64::try_from(due.as_secs()).unwrap() - i64::try_from(now.as_secs()).unwrap()
}

#[test]
fn a_run_flushes_the_queue_and_says_nothing() {
    let remote = Remote::start(Script::new());
    let system = System::relaying("flush", &remote);
    for to in ["one@example.net", "two@example.net", &me()] {
        enqueue(&system, to);
    }
    system.accept(&["-q"], "");
    assert!(system.queue().is_empty());
    assert_eq!(remote.received().len(), 2);
    assert_eq!(system.mailbox().len(), 1);
    for folder in ["tmp", "new", "cur", "hold"] {
        assert!(system.names(folder).is_empty(), "{folder}");
    }
    // And of an empty queue there is nothing to say either.
    system.accept(&["-q"], "");
    system.accept(&["-q", "--due"], "");
}

#[test]
fn a_verbose_run_sums_up() {
    let remote = Remote::start(Script::new().on("RCPT TO:<later@", "451 4.7.1 greylisted"));
    let system = System::relaying("verbose", &remote);
    for to in ["one@example.net", "later@example.net", &me()] {
        enqueue(&system, to);
    }
    let ran = system.run(&["-q", "-v"], "");
    assert_eq!(ran.code, 0, "{ran:?}");
    let said = format!("{}{}", ran.stdout, ran.stderr);
    let summary = said.lines().last().unwrap();
    for part in [
        "2 delivered",
        "1 deferred",
        "451 4.7.1 greylisted",
        "next try",
    ] {
        assert!(summary.contains(part), "{part}: {said}");
    }
}

/// R100: soon at first, then further and further apart.
#[test]
fn a_deferred_message_is_due_by_the_schedule() {
    let system =
        System::offline("schedule").with("queue", "retry_first = \"5m\"\nretry_max = \"1h\"");
    let id = enqueue(&system, "one@example.net");
    let mut last = 0;
    for attempt in 1..10 {
        system.accept(&["-q", "--due"], "");
        let queued = by_id(&system, &id);
        assert_eq!((queued.folder, queued.journal.len()), ("cur", attempt));
        assert!(
            queued.journal[attempt - 1].contains(" to 1 deferred "),
            "{queued:?}"
        );
        // Not due: the run leaves it alone.
        system.accept(&["-q", "--due"], "");
        assert_eq!(by_id(&system, &id).journal.len(), attempt);
        let due = due_in(&system, &id);
        if attempt == 1 {
            assert!((200..=400).contains(&due), "{due}");
        }
        assert!(
            due >= last * 7 / 10 && due <= 3600 * 13 / 10,
            "{due} after {last}"
        );
        last = due;
        // "touch it: due now"
        age(&system.path("spool/cur").join(&id), 0);
    }
    assert!(last > 1800, "{last}");
    // Without --due everything is tried, due or not.
    system.accept(&["-q", "--due"], "");
    system.accept(&["-q"], "");
    assert_eq!(by_id(&system, &id).journal.len(), 11);
}

/// H21: a clock that jumped does not strand a message.
/// H15: a mailbox that cannot be written is tried by the schedule, however often the queue is looked at.
#[test]
fn a_mailbox_that_fails_is_not_tried_at_once_again() {
    let system = System::new("queue-local");
    std::fs::create_dir_all(system.maildir().parent().unwrap()).unwrap();
    std::fs::write(system.maildir(), "no folder").unwrap();
    let id = enqueue(&system, &crate::harness::system::me());
    let mut waits = Vec::new();
    for tries in 1..=4 {
        // Again and again, as a daemon or cron does.
        for _ in 0..20 {
            system.accept(&["-q", "--due"], "");
        }
        let log = system.log();
        assert_eq!(log.matches(" deferred to=").count(), tries, "{log}");
        waits.push(due_in(&system, &id));
        age(&system.path("spool/cur").join(&id), 1);
    }
    assert!(waits[0] >= 60 && waits.is_sorted(), "{waits:?}");
    std::fs::remove_file(system.maildir()).unwrap();
    system.accept(&["-q"], "");
    assert_eq!(system.mailbox().len(), 1);
}

#[test]
fn odd_times_are_lived_with() {
    let remote = Remote::start(Script::new().once("MAIL", "451 4.3.0 not now"));
    let system = System::relaying("clock", &remote);
    let id = enqueue(&system, "one@example.net");
    system.accept(&["-q"], "");
    let path = system.path("spool/cur").join(&id);
    let file = fs::File::options().append(true).open(&path).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    system.accept(&["-q", "--due"], "");
    assert_eq!(remote.received().len(), 1);
    // Tried by a clock that was ten years ahead; and one that was put off by hand, within the schedule's range.
    for (hours, tried) in [(10 * 8766, true), (3, false)] {
        let remote = Remote::start(Script::new().once("MAIL", "451 4.3.0 not now"));
        let system = System::relaying("clock", &remote);
        let id = enqueue(&system, "one@example.net");
        system.accept(&["-q"], "");
        let path = system.path("spool/cur").join(&id);
        let file = fs::File::options().append(true).open(&path).unwrap();
        let ahead = std::time::Duration::from_secs(hours * 3600);
        file.set_modified(SystemTime::now() + ahead).unwrap();
        let list = system.run(&["-bp"], "").stdout;
        assert_eq!(list.contains("; next try now"), tried, "{list}");
        let json = system.run(&["-bp", "--json"], "").stdout;
        let since = json.split("\"received\":").nth(1).unwrap();
        let (received, since) = since.split_once(",\"due\":").unwrap();
        assert_eq!(since.starts_with(received), tried, "{json}");
        system.accept(&["-q", "--due"], "");
        assert_eq!(remote.received().len(), usize::from(tried), "{hours} hours");
    }
}

/// A message of which one recipient was tried and the other's server had no connection left: it comes up with each run, but
/// the former has his own time.
#[test]
fn who_was_tried_waits_while_another_was_not() {
    // The seconds since he was tried, whether he is tried by what is due, and by who wants all tried.
    // What a hand has set, or --release, is for all of them.
    for (seconds, due, by_due) in [
        (200, 1, false),
        (400, 1, true),
        (-3600, 1, true),
        (200, 0, true),
    ] {
        let remote = Remote::start(Script::new());
        let system = System::relaying("tried-apart", &remote).with(
            "[route]",
            "domain = \"lost.example\"\nvia = \"127.0.0.1:1\"",
        );
        system.accept(
            &["-odq", "a@far.example", "b@lost.example"],
            "Subject: x\n\nhello\n",
        );
        let id = system.queued().id;
        let path = system.path("spool/cur").join(&id);
        fs::rename(system.path("spool/new").join(&id), &path).unwrap();
        let mut file = fs::File::options().append(true).open(&path).unwrap();
        let at = match u64::try_from(seconds) {
            Ok(seconds) => SystemTime::now() - Duration::from_secs(seconds),
            Err(_) => SystemTime::now() + Duration::from_secs(3600),
        };
        writeln!(file, "{} to 2 deferred - 4.4.1 - away", iso8601(at)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(due))
            .unwrap();
        system.accept(&["-q", "--due"], "");
        assert_eq!(remote.received().len(), 1, "{seconds}");
        let tries = |queued: &Queued| {
            let of_him = |l: &&String| l.contains(" to 2 deferred");
            queued.journal.iter().filter(of_him).count()
        };
        assert_eq!(
            tries(&system.queued()),
            1 + usize::from(by_due),
            "{seconds}"
        );
        let least = if by_due { 400 } else { 60 };
        assert!((least..=660).contains(&due_in(&system, &id)), "{seconds}");
        system.accept(&["-q"], "");
        assert_eq!(
            tries(&system.queued()),
            2 + usize::from(by_due),
            "{seconds}"
        );
    }
}

#[test]
fn what_a_program_could_not_send_itself_waits_in_its_place() {
    let remote = Remote::start(
        Script::new()
            .once("MAIL", "451 4.3.0 not now")
            .on("RCPT TO:<two@", "451 4.7.1 greylisted"),
    );
    let system = System::relaying("own-try", &remote);
    for to in ["one@example.net", "two@example.net"] {
        system.accept(&["-i", "-odi", to], "Subject: x\n\nhello\n");
    }
    let ids = names_in(&system.path("spool/new"));
    assert_eq!(
        (ids.len(), names_in(&system.path("spool/cur")).len()),
        (2, 0)
    );
    let list = system.call("mailq").run().stdout;
    assert!(
        list.contains("not now; next try ") && !list.contains("next try now"),
        "{list}"
    );
    // Nobody tries it before it is due, but whoever wants all to be tried.
    system.accept(&["-q", "--due"], "");
    assert_eq!(remote.received().len(), 0);
    for id in &ids {
        age(&system.path("spool/new").join(id), 0);
    }
    system.accept(&["-q", "--due"], "");
    assert_eq!(remote.received().len(), 1);
    // What was tried again waits where all that waits is.
    assert_eq!(names_in(&system.path("spool/new")).len(), 0);
    assert_eq!(names_in(&system.path("spool/cur")), ids[1..]);
}

#[test]
fn a_run_can_be_for_some_messages_only() {
    let rows: &[(&str, &[usize])] = &[
        ("-qRone@", &[0]),
        ("-qRexample.net", &[0, 1]),
        ("-qSalice@", &[1]),
        ("-qIID2", &[2]),
        ("-qRnobody@", &[]),
    ];
    for (option, tried) in rows {
        let system = System::offline("select");
        let mut ids = Vec::new();
        for (from, to) in [
            ("me", "one@example.net"),
            ("alice", "two@example.net"),
            ("me", "one@example.org"),
        ] {
            let known = ids.clone();
            system.accept(
                &[
                    "-odq",
                    "-f",
                    &format!("{from}@example.com"),
                    &to.replace("one@example.org", "three@example.org"),
                ],
                "\nx\n",
            );
            ids.extend(
                system
                    .queue()
                    .into_iter()
                    .map(|q| q.id)
                    .filter(|id| !known.contains(id)),
            );
        }
        let option = option.replace("ID2", &ids[2]);
        system.accept(&[&option], "");
        for (index, id) in ids.iter().enumerate() {
            let expected = usize::from(tried.contains(&index));
            assert_eq!(
                by_id(&system, id).journal.len(),
                expected,
                "{option} {index}"
            );
        }
    }
}

/// H11, and callers.md 7 test 12: the locks share the work, and no message is seen twice.
#[test]
fn two_runs_at_once_deliver_each_message_once() {
    const MESSAGES: usize = 200;
    let remote = Remote::start(Script::new());
    let system = System::relaying("two-runs", &remote);
    let me = me();
    for i in 0..MESSAGES {
        let to = if i % 2 == 0 {
            me.as_str()
        } else {
            "one@example.net"
        };
        system.accept(&["-odq", to], format!("Subject: number {i}\n\nhello\n"));
    }
    let runs: Vec<_> = (0..3)
        .map(|_| system.call("sendmail").args(&["-q"]).start())
        .collect();
    for run in runs {
        let ran = finish(run);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    }
    assert!(system.queue().is_empty());
    let here = system.mailbox().into_iter();
    let there = remote.received().into_iter().map(|r| r.mail());
    let mut numbers: Vec<String> = here
        .chain(there)
        .map(|m| m.field("Subject").unwrap())
        .collect();
    numbers.sort();
    let mut expected: Vec<String> = (0..MESSAGES).map(|i| format!("number {i}")).collect();
    expected.sort();
    assert_eq!(numbers, expected);
}

#[test]
fn the_sender_is_told_of_a_delay_once() {
    let system = System::new("delay").with(
        "smarthost",
        "host = \"127.0.0.1\"\ntls = \"none\"\nport = 1",
    );
    let id = enqueue(&system, "one@example.net");
    system.accept(&["-q"], "");
    assert!(system.mailbox().is_empty());
    system.backdate(5);
    // A clock that jumped is no delay: it takes some attempts as well.
    for _ in 0..8 {
        system.accept(&["-q"], "");
    }
    let told = system.mailbox();
    assert_eq!(told.len(), 1);
    assert!(
        told[0].text().contains("Action: delayed"),
        "{}",
        told[0].text()
    );
    assert!(told[0].text().contains("one@example.net"));
    let queued = by_id(&system, &id);
    assert!(
        queued.journal.iter().any(|l| l.ends_with(" warned")),
        "{queued:?}"
    );
}

/// A server that says nothing is waited for; what comes meanwhile is delivered by the same run.
#[test]
fn a_run_that_waits_for_a_server_takes_what_is_new() {
    use crate::harness::Answer;
    let remote = Remote::start(Script::new().on("CONNECT", Answer::Silence));
    let system = System::relaying("run-waits", &remote);
    enqueue(&system, "one@example.net");
    let mut run = system.call("sendmail").args(&["-q"]).start();
    until("the server is waited for", || !remote.sessions().is_empty());
    enqueue(&system, &me());
    until("other mail has arrived", || system.mailbox().len() == 1);
    // It may be there before it is gone from the queue.
    until("the first waits alone", || system.queue().len() == 1);
    run.kill().unwrap();
    run.wait().unwrap();
    assert_eq!(system.queue().len(), 1);
}

/// By a clock that was ahead when the message came, it would be new for ten years.
#[test]
fn what_came_while_the_clock_was_ahead_is_late_and_given_up_too() {
    const DAY: Duration = Duration::from_secs(86_400);
    let system = System::new("clock-ahead").with(
        "smarthost",
        "host = \"127.0.0.1\"\ntls = \"none\"\nport = 1",
    );
    let id = enqueue(&system, "one@example.net");
    system.accept(&["-q"], "");
    let now = SystemTime::now();
    // The attempt was made six days ago.
    let path = system.path("spool/cur").join(&id);
    let mut text = std::fs::read(&path).unwrap();
    let last = text[..text.len() - 1].iter().rposition(|b| *b == b'\n');
    let (at, then) = (last.unwrap() + 1, iso8601(now - 6 * DAY));
    text[at..at + then.len()].copy_from_slice(then.as_bytes());
    std::fs::write(&path, text).unwrap();
    system.redate(now + 3650 * DAY);
    let listed = system.run(&["-bp"], "");
    assert!(listed.stdout.contains("      6d  <"), "{listed:?}");
    for _ in 0..8 {
        system.accept(&["-q"], "");
    }
    assert!(system.queue().is_empty());
    let told = system.mailbox();
    let count = |what: &str| told.iter().filter(|m| m.text().contains(what)).count();
    assert_eq!(count("Action: delayed"), 1);
    assert_eq!(count("given up after 5 attempts in 144 hours"), 1);
}

/// Two servers are away, and the message is warned of once: both its recipients are named.
#[test]
fn a_delay_is_told_of_all_who_wait() {
    let system = System::new("delay-of-all")
        .with("[route]", "domain = \"one.example\"\nvia = \"127.0.0.1:1\"");
    let system = system.with("[route]", "domain = \"two.example\"\nvia = \"127.0.0.2:1\"");
    system.accept(
        &["-odq", "a@one.example", "b@two.example"],
        "Subject: x\n\nhello\n",
    );
    system.accept(&["-q"], "");
    system.backdate(5);
    for _ in 0..8 {
        system.accept(&["-q"], "");
    }
    let told = system.mailbox();
    assert_eq!(told.len(), 1);
    let text = told[0].text();
    for address in ["a@one.example", "b@two.example"] {
        let line = format!("Final-Recipient: rfc822; {address}");
        assert!(text.contains(&line), "{text}");
    }
}

#[test]
fn it_gives_up_in_the_end_and_says_so() {
    let system = System::new("give-up").with(
        "smarthost",
        "host = \"127.0.0.1\"\ntls = \"none\"\nport = 1",
    );
    enqueue(&system, "one@example.net");
    system.accept(&["-q"], "");
    system.backdate(24 * 6);
    // A clock that jumped is no reason to give up: it takes some attempts as well.
    system.accept(&["-q"], "");
    assert!(system.queue().iter().any(|q| q.sender() != "<>"));
    for _ in 0..8 {
        system.accept(&["-q"], "");
    }
    assert!(system.queue().is_empty());
    let mut told = system.mailbox();
    told.retain(|m| !m.text().contains("Action: delayed"));
    assert_eq!(told.len(), 1);
    assert!(
        told[0].text().contains("Action: failed"),
        "{}",
        told[0].text()
    );
    assert!(told[0].text().contains("Status: 4."), "{}", told[0].text());
}

/// H18: a long queue is listed and run within a time a person waits.
#[test]
fn a_run_of_an_unreachable_host_takes_one_attempt_not_many() {
    let system = System::offline("many");
    for i in 0..30 {
        system.accept(&["-odq", &format!("user{i}@example.net")], "\nx\n");
    }
    let start = std::time::Instant::now();
    system.accept(&["-q"], "");
    assert!(start.elapsed() < Duration::from_secs(20));
    assert!(system.queue().iter().all(|q| q.journal.len() == 1));
}

/// A burst: there is one place for a background attempt, and whoever finds it taken is not forgotten.
#[test]
fn who_finds_no_place_is_looked_after() {
    let remote = Remote::start(Script::new());
    let system = System::relaying("burst", &remote).with("queue", "workers = 1");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    system.accept(&["-i", "one@example.net"], "Subject: x\n\nx\n");
                }
            });
        }
    });
    until("all are delivered", || remote.received().len() == 20);
    until("the queue is empty", || system.queue().is_empty());
}
