//! What happens in the middle: faults of the program itself, a queue file that goes bad while it is delivered, a caller who
//! bounds the size of files. Nothing is lost, nothing is given twice, and the queue goes on.

use std::fs;
use std::path::Path;

use crate::harness::system::{me, user};
use crate::harness::{Daemon, Remote, Script, System, until};

const MESSAGE: &str = "Subject: x\n\nhello\n";

/// More than is read with the envelope, so that it is read anew for each server and each mailbox.
fn long() -> String {
    format!("Subject: x\n\n{}", "0123456789abcdef\n".repeat(1000))
}

/// A fault of the program at each step of dealing with a file that is no queue file: it is told with the name of the file,
/// and all other mail goes on.
#[test]
fn a_fault_over_one_message_leaves_the_queue_going() {
    let mut named = 0;
    for step in (1..20).step_by(2) {
        let remote = Remote::start(Script::new());
        let system = System::relaying("fault", &remote).listens();
        for name in ["bad", "good"] {
            system.accept(&["-odq", &format!("{name}@example.net")], MESSAGE);
        }
        let bad = &system.names("new")[0];
        fs::write(system.path("spool/new").join(bad), "rubbish\n").unwrap();
        let call = system.call("sendmail").args(&["-bD"]);
        let mut child = call.env("MINIMTA_FAULT", &format!("{step}:panic")).start();
        let mut has_begun = false;
        until("it has begun, or ended", || {
            has_begun = system.log().contains(" daemon started");
            has_begun || child.try_wait().unwrap().is_some()
        });
        if has_begun {
            until("the other one has arrived", || remote.received().len() == 1);
            system.accept(&["late@example.net"], MESSAGE);
            until("the queue goes on", || remote.received().len() == 2);
            let told = "trouble what=\"a fault in minimta stopped the work on this message; ";
            named += usize::from(system.log().contains(&format!("{bad} {told}")));
        }
        let _ = child.kill();
        child.wait().unwrap();
        assert!(
            system.names("new").len() + system.names("cur").len() + system.names("hold").len() > 0
        );
    }
    assert!(named > 0, "no step was one of looking at it");
}

/// A fault of the program between two runs of the queue, in the thread that begins them: as it folds the counts of the day.
#[test]
fn a_fault_between_two_runs_leaves_the_queue_going() {
    let remote = Remote::start(Script::new());
    let system = System::relaying("fault-feeder", &remote).listens();
    // What is made at a first start is there, and the counts are long.
    Daemon::start(&system).stop();
    let day = system.path("spool/state/day");
    fs::create_dir_all(day.parent().unwrap()).unwrap();
    let told = "a fault in minimta stopped what it was doing; ";
    // The first four are of its start.
    for (at, step) in (5..10).enumerate() {
        fs::write(day.with_file_name("events"), "x\n".repeat(20_000)).unwrap();
        let _ = fs::remove_file(&day);
        fs::remove_file(system.path("log")).unwrap();
        let call = system.call("sendmail").args(&["-bD"]);
        let call = call.env("MINIMTA_FAULT", &format!("{step}:panic"));
        let daemon = Daemon::of(&system, || call.start());
        until("it has happened, and it has begun anew", || {
            let log = system.log();
            log.contains(told) && log.matches(" daemon started").count() == 2
        });
        daemon.client().steps(&[
            ("EHLO client.example", "250-"),
            ("MAIL FROM:<a@b.example>", "250 "),
            ("RCPT TO:<one@example.net>", "250 "),
            ("DATA", "354 "),
            (&format!("{}.", MESSAGE.replace('\n', "\r\n")), "250 "),
        ]);
        until("the queue goes on", || remote.received().len() == at + 1);
    }
}

/// The same for a run by hand.
#[test]
fn a_fault_over_one_message_leaves_a_run_going() {
    let remote = Remote::start(Script::new());
    let system = System::relaying("fault-run", &remote);
    for name in ["bad", "good"] {
        system.accept(&["-odq", &format!("{name}@example.net")], MESSAGE);
    }
    let bad = &system.names("new")[0];
    fs::write(system.path("spool/new").join(bad), "rubbish\n").unwrap();
    let call = system.call("sendmail").args(&["-q"]);
    let ran = call.env("MINIMTA_FAULT", "1:panic").run();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(remote.received().len(), 1);
    assert!(system.log().contains(" trouble what=\"a fault in minimta "));
    system.accept(&["-q"], "");
    assert_eq!(&system.names("hold"), std::slice::from_ref(bad));
}

/// A fault in one session: its client hears no more, all others end what they have begun, and the same process begins anew.
/// What got its 250 arrives once, and what did not, once at most. (G18)
#[test]
fn a_fault_in_one_session_leaves_the_others_going() {
    let mut met = 0;
    for step in 5..15 {
        let remote = Remote::start(Script::new());
        let system = System::relaying("fault-session", &remote).listens();
        Daemon::start(&system).stop();
        let call = system.call("sendmail").args(&["-bD"]);
        let call = call.env("MINIMTA_FAULT", &format!("{step}:panic"));
        let daemon = Daemon::of(&system, || call.start());
        let (mut idle, mut other, mut first) = (daemon.client(), daemon.client(), daemon.client());
        other.steps(&[
            ("EHLO other.example", "250-"),
            ("MAIL FROM:<a@b.example>", "250 "),
            ("RCPT TO:<other@example.net>", "250 "),
            ("DATA", "354 "),
        ]);
        other.send("Subject: half of it\r\n").unwrap();
        first.steps(&[
            ("EHLO first.example", "250-"),
            ("MAIL FROM:<a@b.example>", "250 "),
            ("RCPT TO:<first@example.net>", "250 "),
            ("DATA", "354 "),
        ]);
        first.send(long().replace('\n', "\r\n") + ".\r\n").unwrap();
        let mut safe = usize::from(first.reply().starts_with("250 "));
        let stopped = "a fault in minimta broke off a connection; ";
        if safe == 0 && system.log().contains(stopped) {
            met += 1;
            assert_eq!(
                idle.reply(),
                "421 4.3.2 this server is shutting down; closing"
            );
            let reply = other.say("\r\nthe other half\r\n.");
            assert!(reply.starts_with("250 "), "{step}: {reply}");
            safe += 1;
            let begun = "daemon stopped after a fault, and begins anew";
            until("it has begun anew", || {
                let log = system.log();
                let log = log.split(begun).nth(1);
                log.is_some_and(|log| log.contains(" daemon started"))
            });
            let reply = daemon
                .client()
                .deliver("late@example.net", "Subject: x\r\n\r\n");
            assert!(reply.starts_with("250 "), "{step}: {reply}");
            safe += 1;
            until("all has arrived", || remote.received().len() >= safe);
            let stopped = daemon.stop();
            assert_eq!(stopped.code, 0, "{stopped:?}");
            let left = system.names("new").len() + system.names("cur").len();
            assert_eq!(
                (remote.received().len(), left),
                (safe, 0),
                "{step}: {}",
                system.log()
            );
        }
    }
    assert!(met > 0, "no step was one of a session");
}

/// The same process is back at once after a first fault, and after another one soon only when it has rested: a fault at
/// each start is no reason to keep the machine busy.
#[test]
fn a_fault_at_each_start_takes_its_time() {
    let system = System::listening("fault-again");
    Daemon::start(&system).stop();
    let call = system
        .call("sendmail")
        .args(&["-bD"])
        .env("MINIMTA_AGAIN", "1");
    let daemon = Daemon::of(&system, || call.env("MINIMTA_FAULT", "6:panic").start());
    let told = "a fault in minimta ";
    let mut client = daemon.client();
    let _ = client.deliver(&me(), "Subject: x\r\n\r\n");
    until("it has happened", || system.log().contains(told));
    // It serves as before.
    daemon.client().steps(&[("EHLO client.example", "250-")]);
    assert!(!system.log().contains("after a fault"));
}

/// A fault in a submission, at each step: exit code 0 means that it is safe, and any other one that the caller has it still.
#[test]
fn a_fault_in_a_submission_is_told() {
    let mut codes = Vec::new();
    for step in 1..60 {
        let remote = Remote::start(Script::new());
        let system = System::relaying("fault-submit", &remote);
        system.accept(&["-q"], "");
        let call = system.call("sendmail").args(&["-odi", "one@example.net"]);
        let ran = call
            .env("MINIMTA_FAULT", &format!("{step}:panic"))
            .stdin(MESSAGE)
            .run();
        if !system.log().contains(" trouble what=\"a fault in minimta ") && ran.stderr.is_empty() {
            assert!(ran.code == 0 && !codes.is_empty(), "{step} {ran:?}");
            break;
        }
        assert!(
            ran.stderr.contains(": a fault in minimta stopped "),
            "{step} {ran:?}"
        );
        assert!(
            ran.stderr.contains("; please report it: src/"),
            "{step} {ran:?}"
        );
        assert!(!ran.stderr.contains("panicked"), "{step} {ran:?}");
        codes.push(ran.code);
        let (had, left) = (remote.received().len(), system.names("new").len());
        match ran.code {
            0 => assert!(had + left >= 1, "{step} {ran:?}"),
            70 => assert!(had == 0 && left <= 1, "{step} {ran:?}"),
            _ => panic!("{step} {ran:?}"),
        }
        if left == 1 {
            // It is put off, and is there for whoever asks for all.
            system.accept(&["-q"], "");
            assert!(remote.received().len() <= 2, "{step}");
        }
    }
    codes.dedup();
    assert_eq!(codes, [70, 0]);
}

/// Makes a script that damages whatever waits, once, and then goes on with `rest`.
fn damaging(system: &System, rest: &str) -> String {
    let (root, path) = (system.root.display(), system.path("damage"));
    let script = format!(
        "cd {root} || exit 75\n\
         [ -e damaged ] || for file in spool/new/* spool/cur/*; do\n\
         [ -f \"$file\" ] && cp \"$file\" whole && printf X | dd of=\"$file\" bs=1 seek=9000 conv=notrunc 2>/dev/null\n\
         done\n\
         : > damaged\n{rest}\n"
    );
    fs::write(&path, script).unwrap();
    path.display().to_string()
}

/// Two runs set the message aside; the damage is mended, and it is released.
fn set_aside_and_release(system: &System) {
    for _ in 0..2 {
        system.accept(&["-q"], "");
    }
    let held = system.names("hold");
    assert_eq!(held.len(), 1, "{}", system.log());
    mend(
        &system.path("spool/hold").join(&held[0]),
        &system.path("whole"),
    );
    system.accept(&["--release", &held[0]], "");
    system.accept(&["-q"], "");
    assert!(system.queue().is_empty(), "{}", system.log());
}

/// The message as it was, the journal as it is.
fn mend(file: &Path, whole: &Path) {
    let (mut octets, whole) = (fs::read(file).unwrap(), fs::read(whole).unwrap());
    octets[9000] = whole[9000];
    fs::write(file, octets).unwrap();
}

/// A first mailbox has the message, and it is damaged before the second one gets it: what the first one has counts.
#[test]
fn who_had_it_before_the_damage_does_not_get_it_again() {
    let system = System::new("damaged");
    let script = damaging(&system, "");
    let command = format!(
        "mailbox = \"|cat > {0}/one.$$ && cat {0}/one.$$ >> {0}/got && sh {script}\"",
        system.root.display()
    );
    let system = system.with("local", &command);
    let to = [
        format!("{}+a@pi.test.example", user()),
        format!("{}+b@pi.test.example", user()),
    ];
    system.accept(&["-odq", &to[0], &to[1]], long());
    set_aside_and_release(&system);
    let got = fs::read_to_string(system.path("got")).unwrap();
    assert_eq!(got.matches("Subject: x\n").count(), 2, "{}", system.log());
}

/// The same between two servers.
#[test]
fn a_server_that_had_it_before_the_damage_does_not_get_it_again() {
    let busy = Script::new().once("RCPT TO:<two@", "450 4.2.1 busy");
    let (first, second) = (
        Remote::start(busy),
        Remote::start(
            Script::new()
                .also("AUTH CRAM-MD5")
                .login("me@example.org", "right"),
        ),
    );
    let system = System::new("damaged-servers");
    let script = damaging(&system, "echo right");
    let login =
        format!("user = \"me@example.org\"\npassword_command = [\"/bin/sh\", \"{script}\"]");
    let system = system
        .with("[smarthost]", &first.smarthost())
        .with("[smarthost]", &format!("{}\n{login}", second.smarthost()));
    system.accept(&["-odq", "one@example.net", "two@example.net"], long());
    set_aside_and_release(&system);
    let mut to: Vec<String> = [first.received(), second.received()]
        .concat()
        .iter()
        .flat_map(|r| r.recipients())
        .collect();
    to.sort();
    assert_eq!(
        to,
        ["one@example.net", "two@example.net"],
        "{}",
        system.log()
    );
}

/// I14, `ulimit -f`: what cannot be written is not taken, and says so; and commands are started as ever.
#[test]
fn a_bound_on_the_size_of_files_is_no_end_without_a_word() {
    let system = System::new("file-size");
    let command = format!(
        "mailbox = \"|cat > /dev/null; grep ^SigBlk: /proc/self/status > {}/blocked\"",
        system.root.display()
    );
    let system = system.with("local", &command);
    let bound = system.call_after("ulimit -f 0");
    let ran = bound.args(&["-odq", &me()]).stdin(MESSAGE).run();
    assert_eq!(ran.code, 75, "{ran:?}");
    let said = "file too large; whoever started minimta bounds the size of files (ulimit -f)";
    assert!(ran.stderr.contains(said), "{ran:?}");
    assert!(system.queue().is_empty() && system.names("tmp").is_empty());
    system.accept(&["-odi", &me()], MESSAGE);
    let blocked = fs::read_to_string(system.path("blocked")).unwrap();
    let set = blocked.trim_start_matches("SigBlk:").trim();
    let set = u64::from_str_radix(set, 16).unwrap();
    assert_eq!(set & 1 << (nix::libc::SIGXFSZ - 1), 0, "{blocked}");
}
