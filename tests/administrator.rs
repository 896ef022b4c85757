//! The queue as its administrator sees it: what waits and why, shown, held, released and removed.

use std::fs;

use crate::harness::system::{finish, me, names_in, until};
use crate::harness::{Remote, Script, System};
use crate::queue::{by_id, enqueue};

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
    // What was not tried yet is due since it came.
    let due = |id: &str| {
        let of_one = json
            .stdout
            .split("{\"id\":")
            .find(|part| part.contains(id))
            .unwrap();
        let value = |name: &str| of_one.split(&format!("\"{name}\":")).nth(1).unwrap();
        let value = |name: &str| value(name).split(',').next().unwrap();
        (value("received"), value("due"))
    };
    let (received, since) = due(&fresh);
    assert_eq!(received, since);
    assert_eq!(due(&held).1, "null");
}

/// 150 messages for a thousand recipients each are fifty megabytes when they are all kept at once. Of what is longer than
/// the list in JSON makes in one go, each message stands there once.
#[test]
fn a_long_queue_is_listed_with_little_memory() {
    const COPIES: usize = 150;
    let system = System::offline("long");
    let to: Vec<String> = (0..1000).map(|i| format!("user{i}@example.net")).collect();
    let mut args = vec!["-i", "-odq"];
    args.extend(to.iter().map(String::as_str));
    system.accept(&args, "Subject: x\n\nhello\n");
    let id = system.queued().id;
    let new = system.path("spool/new");
    for copy in 1..COPIES {
        fs::copy(new.join(&id), new.join(format!("{copy:0>17}"))).unwrap();
    }
    let bad = format!("{}0", &id[..16]);
    fs::write(system.path("spool/hold").join(&bad), "").unwrap();
    let rows: &[(&[&str], &str)] = &[
        (&["-bp"], " in 151 Requests.\n"),
        (
            &["-bp", "--json"],
            &format!("],\"unreadable\":[\"{bad}\"]}}\n"),
        ),
        (&["--status"], "queue       150 waiting, 1 on hold;"),
    ];
    for (args, part) in rows {
        let ran = system.call_after("ulimit -d 24576").args(args).run();
        assert_eq!(ran.code, 0, "{args:?} {}", ran.stderr);
        assert!(ran.stdout.contains(part), "{args:?}");
        if args.contains(&"--json") {
            assert!(ran.stdout.starts_with("{\"count\":151,\"bytes\":"));
            assert_eq!(ran.stdout.matches("{\"id\":").count(), COPIES);
            assert_eq!(ran.stdout.matches("]},{\"id\":").count(), COPIES - 1);
            balanced(&ran.stdout);
        }
    }
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
    for line in [
        &["--remove", "ALL", &d][..],
        &["--hold", &d, "ALL"],
        &["--show", &d, &e],
    ] {
        let ran = system.run(line, "");
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (64, ""),
            "{line:?} {ran:?}"
        );
    }
    let ran = system.run(&["--remove", "ALL", &d], "");
    assert!(ran.stderr.contains(": ALL stands alone"), "{ran:?}");
    assert_eq!(system.queue().len(), 3);
    system.accept(&["--remove", &d, &e], "");
    assert_eq!(system.queued().id, f);
    system.accept(&["--remove", "ALL"], "");
    assert!(system.queue().is_empty());
    assert_eq!(remote.received().len(), 3);
}

/// H19: what a run works on just now is not taken from under it.
#[test]
fn a_message_being_delivered_is_not_removed() {
    use crate::harness::Answer;
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

/// Who cannot even open a queue file, for want of resources, does not know whether somebody has it.
#[test]
fn what_cannot_be_opened_now_is_not_removed() {
    let system = System::offline("no-files");
    let id = enqueue(&system, "one@example.net");
    let file = fs::File::open(system.path("spool/new").join(&id)).unwrap();
    file.try_lock().unwrap();
    let mut met = 0;
    for files in 3..12 {
        for option in ["--remove", "--hold"] {
            let call = system.call_after(&format!("ulimit -n {files}"));
            let ran = call.args(&[option, &id]).run();
            assert_ne!(ran.code, 0, "{files} {option} {ran:?}");
            met += usize::from(ran.stderr.contains("cannot open the queue file"));
        }
        assert_eq!(system.names("new"), [id.as_str()], "{files}");
    }
    assert!(met > 0, "no call ran out of files there");
}

/// A run that goes on meanwhile: of what has been listed it moves one message, delivers another, and has both when the
/// admin comes to them. It is played here, by the locks that a run has.
#[test]
fn all_messages_are_held_while_a_run_moves_them() {
    let system = System::offline("meanwhile");
    let moved = enqueue(&system, "moved@example.net");
    let done = enqueue(&system, "done@example.net");
    let still = enqueue(&system, "still@example.net");
    let path = |folder: &str, id: &str| system.path("spool").join(folder).join(id);
    let lock = |id: &str| {
        let file = fs::File::open(path("new", id)).unwrap();
        file.try_lock().unwrap();
        file
    };
    let locks = (lock(&moved), lock(&done));
    let hold = system.call("sendmail").args(&["--hold", "ALL"]).start();
    // All were listed before the first was held.
    until("what is still is held", || {
        names_in(&system.path("spool/hold")) == [still.clone()]
    });
    fs::rename(path("new", &moved), path("cur", &moved)).unwrap();
    fs::remove_file(path("new", &done)).unwrap();
    drop(locks);
    let ran = finish(hold);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    assert_eq!(
        ran.stdout,
        format!("{still} on hold\n{moved} on hold\n"),
        "nothing of what was delivered"
    );
    assert_eq!(names_in(&system.path("spool/hold")), [moved, still]);
    assert!(system.queue().is_empty());
}
