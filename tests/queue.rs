//! The queue: runs, the schedule, what an administrator sees and does, and a spool in ruins.

use std::fs;
use std::io::Write as _;
use std::time::{Duration, SystemTime};

use crate::harness::system::{age, finish, me, names_in, until};
use crate::harness::{Queued, Remote, Script, System};

/// Puts a message for this recipient into the queue and returns its id.
fn enqueue(system: &System, to: &str) -> String {
    let before: Vec<String> = system.queue().into_iter().map(|q| q.id).collect();
    system.accept(&["-i", "-odq", to], format!("Subject: for {to}\n\nhello\n"));
    let after = system.queue();
    after
        .into_iter()
        .map(|q| q.id)
        .find(|id| !before.contains(id))
        .unwrap()
}

fn by_id(system: &System, id: &str) -> Queued {
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
        system.accept(&["-q", "--due"], "");
        assert_eq!(remote.received().len(), usize::from(tried), "{hours} hours");
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

#[test]
fn mailq_shows_what_waits_and_why() {
    let remote = Remote::start(Script::new().on("RCPT TO:<later@", "451 4.7.1 greylisted"));
    let system = System::relaying("mailq", &remote);
    let empty = system.call("mailq").run();
    assert_eq!(empty.code, 0, "{empty:?}");
    assert_eq!(empty.stdout.lines().count(), 1, "{empty:?}");
    let tried = enqueue(&system, "later@example.net");
    system.accept(&["-q"], "");
    let fresh = enqueue(&system, "one@example.net");
    let held = enqueue(&system, "held@example.net");
    system.accept(&["--hold", &held], "");

    let list = system.call("mailq").run();
    assert_eq!(list.code, 0, "{list:?}");
    for part in [
        &*tried,
        &fresh,
        &held,
        &me(),
        "later@example.net",
        "one@example.net",
        "451 4.7.1 greylisted",
    ] {
        assert!(list.stdout.contains(part), "{part}: {}", list.stdout);
    }
    let last = list.stdout.lines().last().unwrap();
    assert!(last.contains(" in ") || last.contains("message"), "{last}");
    // The same by its other names, but for the seconds in which it grows older.
    let is_age = |word: &&str| {
        word.strip_suffix('s')
            .is_some_and(|n| n.parse::<u32>().is_ok())
    };
    let ageless = |text: String| {
        let words: Vec<&str> = text.split(' ').filter(|w| !is_age(w)).collect();
        words.join(" ")
    };
    let again = system.run(&["-bp"], "").stdout;
    assert_eq!(ageless(again), ageless(list.stdout));

    let json = system.run(&["-bp", "--json"], "");
    assert_eq!(json.code, 0, "{json:?}");
    for part in [&*tried, &fresh, &held, "greylisted", "later@example.net"] {
        assert!(json.stdout.contains(part), "{part}: {}", json.stdout);
    }
    balanced(&json.stdout);
}

/// JSON without a parser: brackets and quotes close as they opened, and no control character stands bare.
fn balanced(text: &str) {
    let (mut open, mut quoted, mut escaped) = (Vec::new(), false, false);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '{' | '[' if !quoted => open.push(c),
            '}' if !quoted => assert_eq!(open.pop(), Some('{'), "{text}"),
            ']' if !quoted => assert_eq!(open.pop(), Some('['), "{text}"),
            c => assert!(!quoted || !c.is_control(), "{text}"),
        }
    }
    assert!(open.is_empty() && !quoted, "{text}");
}

#[test]
fn an_administrator_shows_holds_releases_and_removes() {
    let remote = Remote::start(Script::new());
    let system = System::relaying("admin", &remote);
    let (a, b, c) = (
        enqueue(&system, "a@example.net"),
        enqueue(&system, "b@example.net"),
        enqueue(&system, "c@example.net"),
    );
    let shown = system.run(&["--show", &a], "");
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(
        shown.stdout.contains("Subject: for a@example.net"),
        "{shown:?}"
    );

    system.accept(&["--hold", &b], "");
    assert_eq!(system.names("hold"), std::slice::from_ref(&b));
    let shown = system.run(&["--show", &b], "");
    assert_eq!(shown.code, 0, "{shown:?}");
    system.accept(&["-q"], "");
    assert_eq!(remote.received().len(), 2, "held mail stays");
    system.accept(&["--release", &b], "");
    assert!(system.names("hold").is_empty());
    system.accept(&["-q", "--due"], "");
    assert_eq!(remote.received().len(), 3);

    for missing in [&a, &c, "0123456789abcdefg", "../../minimta.toml", "x"] {
        for option in ["--show", "--remove", "--hold", "--release"] {
            let ran = system.run(&[option, missing], "");
            assert_ne!(ran.code, 0, "{option} {missing}");
            assert!(ran.stderr.contains(missing), "{option} {missing}: {ran:?}");
            assert_eq!(ran.stdout, "");
        }
    }
    assert!(system.path("minimta.toml").exists());

    let (d, e) = (
        enqueue(&system, "d@example.net"),
        enqueue(&system, "e@example.net"),
    );
    let f = enqueue(&system, "f@example.net");
    system.accept(&["--remove", &d, &e], "");
    assert_eq!(system.queued().id, f);
    system.accept(&["--remove", "ALL"], "");
    assert!(system.queue().is_empty());
    assert_eq!(remote.received().len(), 3);
}

/// H19: what a run works on just now is not taken from under it.
#[test]
fn a_message_being_delivered_is_not_removed() {
    use crate::harness::{Answer, until};
    let remote = Remote::start(Script::new().once("DOT", Answer::Silence));
    let system = System::relaying("busy", &remote);
    let id = enqueue(&system, "one@example.net");
    let run = system.call("sendmail").args(&["-q"]).start();
    until("the message is on its way", || remote.wire().len() == 1);
    for option in ["--remove", "--hold"] {
        let ran = system.run(&[option, &id], "");
        assert_eq!(ran.code, 75, "{option}: {ran:?}");
    }
    drop(remote); // the silent server goes
    let ran = finish(run);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(by_id(&system, &id).journal.len(), 1);
}

/// H13, H14: each of these lies beside a good message, which is delivered; the bad one is swept, held or left
/// alone, with a line in the log, and nothing of it is delivered.
#[test]
fn a_spool_in_ruins_is_lived_with() {
    // H13, H22, I10-I12: the spool is the folder that others may drop files in.
    enum Then {
        Gone,
        Held,
        /// Still there, or set aside as it is.
        NotDelivered,
    }
    type Ruin = fn(&System, &str);
    let rows: &[(&str, Ruin, Then)] = &[
        ("cut in the envelope", |s, id| cut(s, id, 30), Then::Gone),
        ("cut to nothing", |s, id| cut(s, id, 0), Then::Gone),
        ("cut by one octet", |s, id| cut(s, id, u64::MAX), Then::Gone),
        (
            "a flipped bit in the message",
            |s, id| flip(s, id, "hello"),
            Then::Held,
        ),
        (
            "a flipped bit in a recipient",
            |s, id| flip(s, id, "@example.net"),
            Then::Held,
        ),
        (
            "another version",
            |s, id| flip(s, id, "queue 1"),
            Then::Held,
        ),
        ("zeros for its whole length", zeros, Then::NotDelivered),
        (
            "a second name",
            |s, id| {
                fs::hard_link(path_of(s, id), s.path("spool/elsewhere")).unwrap();
            },
            Then::NotDelivered,
        ),
        (
            "a link to a good file",
            |s, id| {
                fs::rename(path_of(s, id), s.path("spool/elsewhere")).unwrap();
                std::os::unix::fs::symlink(s.path("spool/elsewhere"), path_of(s, id)).unwrap();
            },
            Then::NotDelivered,
        ),
        (
            "a FIFO",
            |s, id| {
                fs::remove_file(path_of(s, id)).unwrap();
                nix::unistd::mkfifo(&path_of(s, id), nix::sys::stat::Mode::S_IRWXU).unwrap();
            },
            Then::NotDelivered,
        ),
        (
            "a socket",
            |s, id| {
                fs::remove_file(path_of(s, id)).unwrap();
                // A socket's path is short.
                let place = fs::File::open(s.path("spool/new")).unwrap();
                let near = format!(
                    "/proc/self/fd/{}/{id}",
                    std::os::fd::AsRawFd::as_raw_fd(&place)
                );
                drop(std::os::unix::net::UnixListener::bind(near).unwrap());
            },
            Then::Held,
        ),
        (
            "a link to nothing",
            |s, id| {
                fs::remove_file(path_of(s, id)).unwrap();
                std::os::unix::fs::symlink("/nowhere/at/all", path_of(s, id)).unwrap();
            },
            Then::Held,
        ),
        (
            "a time far ahead",
            |s, id| {
                fs::rename(path_of(s, id), s.path("spool/cur").join(id)).unwrap();
                let file = s.path("spool/cur").join(id);
                fs::write(&file, "minimta-queue 1\nfrom ").unwrap();
                let then = std::time::UNIX_EPOCH + Duration::from_secs(1 << 33);
                fs::File::options()
                    .append(true)
                    .open(file)
                    .unwrap()
                    .set_modified(then)
                    .unwrap();
            },
            Then::Held,
        ),
        (
            "a folder",
            |s, id| {
                fs::remove_file(path_of(s, id)).unwrap();
                fs::create_dir(path_of(s, id)).unwrap();
            },
            Then::NotDelivered,
        ),
        (
            "an envelope without an end",
            |s, id| {
                let line = format!("x {}\n", "y".repeat(1 << 20));
                let text = format!("minimta-queue 1\n{}", line.repeat(5));
                fs::write(path_of(s, id), text).unwrap();
            },
            Then::Held,
        ),
        (
            "a terabyte of nothing",
            |s, id| {
                fs::File::create(path_of(s, id))
                    .unwrap()
                    .set_len(1 << 40)
                    .unwrap();
            },
            Then::NotDelivered,
        ),
        (
            "a message with a terabyte of journal",
            |s, id| {
                fs::File::options()
                    .append(true)
                    .open(path_of(s, id))
                    .unwrap()
                    .set_len(1 << 40)
                    .unwrap();
            },
            Then::NotDelivered,
        ),
    ];
    for (what, ruin, then) in rows {
        let remote = Remote::start(Script::new());
        let system = System::relaying("ruins", &remote);
        let bad = enqueue(&system, "bad@example.net");
        ruin(&system, &bad);
        system.accept(
            &["-i", "-odq", "good@example.net"],
            "Subject: good\n\nhello\n",
        );
        let ran = system.run(&["-q"], "");
        assert_eq!(ran.code, 0, "{what}: {ran:?}");
        let received: Vec<String> = remote
            .received()
            .iter()
            .flat_map(|r| r.recipients())
            .collect();
        assert_eq!(received, ["good@example.net"], "{what}");
        let waiting = [system.names("new"), system.names("cur")]
            .concat()
            .contains(&bad);
        let held = system.names("hold").contains(&bad);
        match then {
            Then::Gone => assert!(!waiting && !held, "{what}"),
            Then::Held => assert!(!waiting && held, "{what}"),
            Then::NotDelivered => {}
        }
        assert!(system.log().contains(&bad), "{what}: {}", system.log());
        assert!(
            system.mailbox().is_empty(),
            "{what}: nobody is told of it by mail (dma 110)"
        );
        let again = system.run(&["-q"], "");
        assert_eq!(again.code, 0, "{what}: {again:?}");
    }
}

/// A backup that was put back, a copy made by hand: what stands twice is delivered once, and the rest is set aside.
#[test]
fn a_copy_is_no_second_message() {
    let remote = Remote::start(Script::new().once("MAIL", "451 4.3.0 not now"));
    let system = System::relaying("copy", &remote);
    let id = enqueue(&system, "one@example.net");
    system.accept(&["-q"], "");
    let copy = system.path("spool/cur").join(&id);
    fs::copy(&copy, path_of(&system, &id)).unwrap();
    // The first run finds the copy, the second one what is left.
    system.accept(&["-q"], "");
    system.accept(&["-q"], "");
    assert_eq!(remote.received().len(), 1);
    assert_eq!(system.names("hold"), std::slice::from_ref(&id));
    let why = format!("{id} held reason=\"there is another message of this name in cur/\"");
    assert!(system.log().contains(&why), "{}", system.log());
}

/// What a power cut leaves on a file system without a journal: names of files that were gone lead to the place on the
/// disk that another message has. It has one name then, and is delivered once.
#[test]
fn names_that_are_left_over_are_dropped() {
    let remote = Remote::start(Script::new());
    let system = System::relaying("left-over", &remote);
    let id = enqueue(&system, "one@example.net");
    let old = format!("{:0>17}", 7);
    for other in [
        format!("tmp/{id}"),
        format!("tmp/{old}"),
        format!("cur/{old}"),
        format!("cur/{id}"),
    ] {
        fs::hard_link(path_of(&system, &id), system.path("spool").join(other)).unwrap();
    }
    system.accept(&["-q"], "");
    assert_eq!(remote.received().len(), 1, "{}", system.log());
    for folder in ["tmp", "new", "cur", "hold"] {
        assert_eq!(system.names(folder), [""; 0], "{folder}");
    }
}

/// A file that is set aside never takes the place of one that was, and a released one none of one that waits.
#[test]
fn nothing_is_replaced_in_hold_or_from_it() {
    let system = System::offline("hold-twice");
    let id = enqueue(&system, "one@example.net");
    fs::copy(path_of(&system, &id), system.path("spool/hold").join(&id)).unwrap();
    let refused = system.run(&["--release", "ALL"], "");
    assert_eq!(refused.code, 75, "{refused:?}");
    let why = format!("another message of the name {id} waits in the queue; remove one of the two");
    assert!(refused.stderr.contains(&why), "{refused:?}");
    fs::write(system.path("spool/hold").join(&id), "precious\n").unwrap();
    system.accept(&["--hold", "ALL"], "");
    let held = system.names("hold");
    assert_eq!((held.len(), system.names("new").len()), (2, 0));
    let precious = fs::read_to_string(system.path("spool/hold").join(&id)).unwrap();
    assert_eq!(precious, "precious\n");
    let other = held.iter().find(|h| **h != id).unwrap();
    system.accept(&["--release", other], "");
    assert_eq!(system.queued().recipients(), ["one@example.net"]);
}

/// H14: names by the thousand that are none of ours, which are left alone and count for nothing, and files by the hundred
/// that have names of ours, which are set aside, each with its one line. What is good goes on, in and out.
#[test]
fn rubbish_by_the_thousand_is_lived_with() {
    rubbish(11_000, 300);
}

#[test]
#[ignore = "make faults"]
fn rubbish_by_the_hundred_thousand_is_lived_with() {
    rubbish(100_000, 20_000);
}

fn rubbish(foreign: u32, ours: u32) {
    use std::os::unix::ffi::OsStringExt;
    let remote = Remote::start(Script::new());
    let system = System::relaying("rubbish", &remote);
    system.accept(&["-q"], "");
    system.accept(&["-odq", "one@example.net"], "Subject: x\n\nhello\n");
    let new = system.path("spool/new");
    for number in 0..foreign {
        let mut name = format!("x{number}-").into_bytes();
        name.extend([0xff, 0xfe, b'\n']);
        fs::write(new.join(std::ffi::OsString::from_vec(name)), "").unwrap();
    }
    // More names than the queue may have messages: they are none.
    system.accept(&["-odq", "two@example.net"], "Subject: x\n\nhello\n");
    for number in 0..ours {
        fs::write(new.join(format!("{number:0>17o}")), "no queue file\n").unwrap();
    }
    let little = system.call_after("ulimit -d 65536").args(&["-q"]).run();
    assert_eq!((little.code, little.stderr.as_str()), (0, ""));
    assert_eq!(remote.take().len(), 2);
    let log = system.log();
    let held = log.matches(" held reason=").count();
    assert_eq!(held, ours as usize);
    assert!(
        log.len() < (ours as usize + 20) * 200,
        "{} octets of log",
        log.len()
    );
    assert_eq!(system.names("hold").len(), ours as usize);
    assert_eq!(system.names("new").len(), foreign as usize);
    system.accept(&["-odq", "three@example.net"], "Subject: x\n\nhello\n");
    system.accept(&["-q"], "");
    assert_eq!(remote.take().len(), 1);
    assert!(
        system.log().len() < log.len() + 2000,
        "they are told of once"
    );
}

/// One that belongs to somebody else is set aside, and the others go on. For root there is no such file.
#[test]
fn what_cannot_be_read_is_set_aside() {
    let remote = Remote::start(Script::new());
    let system = System::relaying("unreadable", &remote);
    let bad = enqueue(&system, "bad@example.net");
    enqueue(&system, "good@example.net");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o000);
    fs::set_permissions(path_of(&system, &bad), mode).unwrap();
    system.accept(&["-q"], "");
    let is_root = nix::unistd::geteuid().is_root();
    assert_eq!(remote.received().len(), 1 + usize::from(is_root));
    assert_eq!(system.names("hold").len(), usize::from(!is_root));
}

fn path_of(system: &System, id: &str) -> std::path::PathBuf {
    system.path("spool/new").join(id)
}

fn cut(system: &System, id: &str, length: u64) {
    let file = fs::File::options()
        .write(true)
        .open(path_of(system, id))
        .unwrap();
    let whole = file.metadata().unwrap().len();
    file.set_len(length.min(whole - 1)).unwrap();
}

fn flip(system: &System, id: &str, text: &str) {
    let mut bytes = fs::read(path_of(system, id)).unwrap();
    let at = bytes
        .windows(text.len())
        .rposition(|w| w == text.as_bytes())
        .unwrap();
    bytes[at + text.len() - 1] ^= 0x80;
    fs::write(path_of(system, id), bytes).unwrap();
}

fn zeros(system: &System, id: &str) {
    let length = fs::metadata(path_of(system, id)).unwrap().len();
    fs::write(
        path_of(system, id),
        vec![0; usize::try_from(length).unwrap()],
    )
    .unwrap();
}

/// H14: what is not ours is not touched.
#[test]
fn foreign_files_are_left_alone() {
    let system = System::offline("foreign");
    enqueue(&system, "one@example.net");
    let foreign = [
        "README",
        ".hidden",
        "core",
        "0123456789abcdefg~",
        "0123456789ABCDEFG",
        "lost+found",
    ];
    for folder in ["tmp", "new", "cur", "hold", ""] {
        for name in foreign {
            fs::write(system.path("spool").join(folder).join(name), "text\n").unwrap();
        }
    }
    system.accept(&["-q"], "");
    assert!(!system.call("mailq").run().stdout.contains("README"));
    for folder in ["tmp", "new", "cur", "hold", ""] {
        let names = names_in(&system.path("spool").join(folder));
        assert!(
            foreign.iter().all(|n| names.iter().any(|m| m == n)),
            "{folder}: {names:?}"
        );
    }
}

#[test]
fn what_a_dead_writer_left_is_swept() {
    let system = System::offline("sweep");
    let id = enqueue(&system, "one@example.net");
    let left = system.path("spool/tmp/0123456789abcdefg");
    fs::write(&left, "minimta-queue 1\nfrom <a@b.ex").unwrap();
    age(&left, 600);
    let written = system.path("spool/tmp/0123456789abcdefh");
    fs::write(&written, "minimta-queue 1\nfrom <a@b.ex").unwrap();
    age(&written, 600);
    let locked = fs::File::open(&written).unwrap();
    locked.lock().unwrap();
    system.accept(&["-q"], "");
    assert!(!left.exists());
    assert!(written.exists(), "its writer lives");
    assert_eq!(by_id(&system, &id).journal.len(), 1);
}

/// A power cut in the middle of a journal line: the line counts for nothing and is cut off.
#[test]
fn a_torn_journal_line_is_cut_off() {
    let remote = Remote::start(Script::new().on("RCPT TO:<two@", "450 4.2.1 later"));
    let system = System::relaying("torn", &remote);
    system.accept(
        &["-odq", "one@example.net", "two@example.net"],
        "Subject: x\n\nhello\n",
    );
    system.accept(&["-q"], "");
    let before = system.queued();
    let path = system.path("spool/cur").join(&before.id);
    let mut file = fs::File::options().append(true).open(&path).unwrap();
    file.write_all(b"2026-11-23T12:00:00Z to 2 delivered 250 2.0.0 mx")
        .unwrap();
    drop(file);
    system.accept(&["-q"], "");
    let after = system.queued();
    assert_eq!(after.journal.len(), before.journal.len() + 1, "{after:?}");
    assert!(
        after
            .journal
            .iter()
            .all(|l| !l.contains("250 2.0.0 mx2026")),
        "{after:?}"
    );
    // Who had it did not get it again.
    assert_eq!(remote.received().len(), 1);
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
