//! Processes of root's minimta that die in the middle of something: nothing is lost, and at most one message comes twice.
//! Needs root, as tests/root.rs does.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgid};

use crate::harness::house::{ALICE, BOB, House, processes};
use crate::harness::lmtp::Lmtp;
use crate::harness::system::{HOST, age, finish, heard, names_in};
use crate::harness::{Daemon, until};

const MESSAGE: &str = "Subject: for you alone\n\nthe secret of the message\n";

/// At every step that matters, of the worker and of the helper at once: what is left is delivered by the next run.
#[test]
fn a_process_that_dies_in_a_delivery_loses_nothing() {
    for (mailbox, steps) in [("~/Maildir/", 14), ("~/mbox", 9)] {
        let Some(house) = House::open("dies") else {
            return;
        };
        let house = house.with_mailbox(mailbox);
        for step in 1..=steps {
            house.submit("root", &["-odq", "mt-alice"], MESSAGE);
            let fault = format!("{step}:kill");
            let _ = house.call_with("root", &["-q"], "", &[("MINIMTA_FAULT", &fault)]);
            // The lock of a delivery that has died keeps nobody waiting, unless it died before it could sign it.
            let lock = house.path("home/mt-alice/mbox.lock");
            if fs::read(&lock).is_ok_and(|line| line.is_empty()) {
                age(&lock, 3600);
            }
            let ran = house.call("root", &["-qRalice"], "");
            assert_eq!(ran.code, 0, "{mailbox} {step} {ran:?}");
            let copies = house.mail_of(ALICE).len();
            let log = house.log();
            assert!(
                copies == 1 || copies == 2,
                "{mailbox} {step}: {copies} {log}"
            );
            let left = house.names("new").len() + house.names("cur").len();
            assert_eq!(left, 0, "{mailbox} {step}: {log}");
            for kept in ["Maildir", "mbox"] {
                let kept = house.path("home/mt-alice").join(kept);
                let _ = fs::remove_dir_all(&kept).or_else(|_| fs::remove_file(&kept));
            }
        }
    }
}

/// Faults of the program itself at such steps: the worker's, after which root's process begins anew and the same run goes
/// on; and the helper's, whose message waits.
#[test]
fn a_fault_in_a_delivery_loses_nothing() {
    let Some(house) = House::open("faulty") else {
        return;
    };
    let house = house.with_mailbox("~/Maildir/");
    let mut met = 0;
    for step in 1..=14 {
        house.submit("root", &["-odq", "mt-alice"], MESSAGE);
        house.submit("root", &["-odq", "mt-bob"], MESSAGE);
        let fault = format!("{step}:panic");
        let ran = house.call_with("root", &["-q"], "", &[("MINIMTA_FAULT", &fault)]);
        let log = house.log();
        met += usize::from(log.contains("a fault in minimta stopped the work on this message"));
        assert!(ran.code == 0 || ran.code == 70, "{step}: {ran:?} {log}");
        let ran = house.call("root", &["-q"], "");
        assert_eq!(ran.code, 0, "{step} {ran:?}");
        for user in [ALICE, BOB] {
            let copies = house.mail_of(user).len();
            assert!(copies == 1 || copies == 2, "{step}: {user} {copies} {log}");
            fs::remove_dir_all(house.path("home").join(user).join("Maildir")).unwrap();
        }
        let left = house.names("new").len() + house.names("cur").len();
        assert_eq!(left, 0, "{step}: {log}");
        fs::write(house.path("log"), "").unwrap();
    }
    assert!(met > 0, "no step was one of a delivery");
}

/// A fault in a session of a daemon's worker: root's process, which a supervisor watches, stays, and has another one.
#[test]
fn a_fault_of_the_worker_leaves_the_daemon_there() {
    let Some(house) = House::open("faulty-daemon") else {
        return;
    };
    let house = house.with_mailbox("~/Maildir/");
    house.daemon().stop();
    let met = (12..32).any(|step: u32| {
        fs::write(house.path("log"), "").unwrap();
        let fault = format!("{step}:panic");
        let start = || house.start_with("root", &["-bD"], &[("MINIMTA_FAULT", &fault)]);
        let daemon = Daemon::logging_to(house.path("log"), start);
        let to = format!("mt-alice@{HOST}");
        let message = MESSAGE.replace('\n', "\r\n");
        if daemon.client().deliver(&to, &message).starts_with("250 ") {
            return false;
        }
        let first = daemon.id();
        until("it has begun anew", || {
            house.log().matches(" daemon started").count() == 2
        });
        assert!(
            house
                .log()
                .contains("a fault in minimta broke off a connection; ")
        );
        let reply = daemon.client().deliver(&to, &message);
        assert!(reply.starts_with("250 "), "{reply}");
        until("it has arrived", || !house.mail_of(ALICE).is_empty());
        assert_eq!(
            (daemon.id(), processes(first, "--as-worker").len()),
            (first, 1)
        );
        let ran = daemon.stop();
        assert_eq!(ran.code, 0, "{ran:?}");
        true
    });
    assert!(met, "no step was one of a session");
}

#[test]
fn a_worker_or_helper_that_is_killed_loses_nothing() {
    for (which, code) in [("--as-worker", 70), ("--as-helper", 0)] {
        let Some(house) = House::open("killed") else {
            return;
        };
        let (begun, go) = (house.open_folder("begun"), house.path("go"));
        let house = house.with_mailbox(&format!(
            "|cat >{0}/$$; while ! test -e {1}; do sleep 0.05; done",
            begun.display(),
            go.display()
        ));
        house.submit("root", &["-odq", "mt-alice"], MESSAGE);
        let run = house.start("root", &["-q"]);
        until("the command runs", || names_in(&begun).len() == 1);
        let victim = *processes(run.id(), which).first().unwrap();
        kill(
            Pid::from_raw(i32::try_from(victim).unwrap()),
            Signal::SIGKILL,
        )
        .unwrap();
        fs::write(&go, "").unwrap();
        let ran = finish(run);
        assert_eq!(ran.code, code, "{which} {ran:?}");
        assert!(!house.log().contains(" delivered to="), "{which}");
        assert_eq!(
            house.names("new").len() + house.names("cur").len(),
            1,
            "{which}"
        );
        assert_eq!(house.call("root", &["-q"], "").code, 0);
        assert_eq!(names_in(&begun).len(), 2, "{which}");
        assert_eq!(
            house.names("new").len() + house.names("cur").len(),
            0,
            "{which}"
        );
    }
}

/// What a helper has whole is waited for when the daemon is told to stop, or its command would be run again.
#[test]
fn a_command_that_runs_when_the_daemon_stops_is_not_run_again() {
    let Some(house) = House::open("stopped") else {
        return;
    };
    let begun = house.open_folder("begun");
    let house = house.with_mailbox(&format!(
        "|cat >/dev/null; : >{}/$$; sleep 8",
        begun.display()
    ));
    let daemon = house.daemon();
    house.submit("root", &["mt-alice"], MESSAGE);
    until("the command runs", || names_in(&begun).len() == 1);
    assert_eq!(daemon.stop().code, 0);
    let (log, left) = (
        house.log(),
        house.names("new").len() + house.names("cur").len(),
    );
    assert!(log.contains(" delivered to="), "{log}");
    assert_eq!(left, 0, "{log}");
}

/// The same of a queue run at a terminal, which asks all that run at it: root's process and its worker, but no helper.
#[test]
fn a_command_that_runs_when_a_queue_run_is_interrupted_is_not_run_again() {
    let Some(house) = House::open("interrupted") else {
        return;
    };
    let begun = house.open_folder("begun");
    let line = format!("|cat >/dev/null; : >{}/$$; sleep 2", begun.display());
    let house = house.with_mailbox(&line);
    house.submit("root", &["-odq", "mt-alice"], MESSAGE);
    let run = house.start("root", &["-q"]);
    until("the command runs", || names_in(&begun).len() == 1);
    let pid = |id: u32| Pid::from_raw(i32::try_from(id).unwrap());
    let process = |word| pid(*processes(run.id(), word).first().unwrap());
    let helper = process("--as-helper");
    assert_eq!(getpgid(Some(helper)), Ok(helper));
    let interrupt = heard(Signal::SIGINT);
    for asked in [process("--as-worker"), pid(run.id())] {
        kill(asked, interrupt).unwrap();
    }
    let ran = finish(run);
    assert_eq!(ran.code, -(interrupt as i32), "{ran:?}");
    let log = house.log();
    assert!(log.contains(" delivered to="), "{log}");
    assert!(!log.contains("the worker was ended"), "{log}");
    let left = house.names("new").len() + house.names("cur").len();
    assert_eq!(left, 0, "{log}");
}

/// A command cannot tell the end of a message from the end of whoever writes it: it is killed, with all that it has
/// started, before it could keep a part.
#[test]
fn a_command_keeps_no_part_of_a_message_when_its_helper_is_killed() {
    let Some(house) = House::open("killed-command") else {
        return;
    };
    let (begun, kept) = (house.open_folder("begun"), house.open_folder("kept"));
    let go = house.path("go");
    let house = house.with_mailbox(&format!(
        "|(head -c 1000; touch {0}/$$; until test -e {2}; do sleep 0.05; done; cat) | cat >{1}/part.$$ && mv {1}/part.$$ {1}/$$",
        begun.display(),
        kept.display(),
        go.display()
    ));
    // More than any pipe or socket on the way holds.
    let large = format!("{MESSAGE}{}", "some more of it\n".repeat(200_000));
    house.submit("root", &["-odq", "mt-alice"], &large);
    let run = house.start("root", &["-q"]);
    until("the command runs", || names_in(&begun).len() == 1);
    let shell = PathBuf::from("/proc").join(&names_in(&begun)[0]);
    let helper = *processes(run.id(), "--as-helper").first().unwrap();
    let helper = Pid::from_raw(i32::try_from(helper).unwrap());
    kill(helper, Signal::SIGKILL).unwrap();
    assert_eq!(finish(run).code, 0);
    fs::write(&go, "").unwrap();
    until("the command has gone", || {
        !shell.exists() || is_zombie(&shell)
    });
    let whole = || {
        let names = names_in(&kept);
        names.iter().filter(|n| !n.starts_with("part.")).count()
    };
    assert_eq!(whole(), 0);
    assert_eq!(house.call("root", &["-q"], "").code, 0);
    assert_eq!(whole(), 1);
    assert_eq!(house.names("new").len() + house.names("cur").len(), 0);
}

/// The parent is what a supervisor watches: none of the others outlives it.
#[test]
fn nobody_outlives_the_parent() {
    let Some(house) = House::open("outlives") else {
        return;
    };
    let daemon = house.daemon();
    let worker = *processes(daemon.id(), "--as-worker").first().unwrap();
    daemon.signal(Signal::SIGKILL);
    let _ = daemon.end();
    let proc = PathBuf::from(format!("/proc/{worker}"));
    until("the worker has gone", || !proc.exists() || is_zombie(&proc));
}

fn is_zombie(process: &Path) -> bool {
    let status = fs::read_to_string(process.join("status")).unwrap_or_default();
    status.is_empty() || status.contains("State:\tZ")
}

/// The server has it once, or twice where the answer to the first was not heard.
#[test]
fn a_process_that_dies_while_it_hands_over_loses_nothing() {
    let Some(house) = House::open("dies-lmtp") else {
        return;
    };
    let server = Lmtp::start(None, |_| ("250 2.1.5 ok", "250 2.0.0 saved"));
    let house = house.with_mailbox(&format!("lmtp:{}", server.place));
    let copies = || server.heard().concat().matches("for you alone").count();
    for step in 1..=6 {
        let before = copies();
        house.submit("root", &["-odq", "mt-alice"], MESSAGE);
        let fault = format!("{step}:kill");
        let _ = house.call_with("root", &["-q"], "", &[("MINIMTA_FAULT", &fault)]);
        let ran = house.call("root", &["-q"], "");
        assert_eq!(ran.code, 0, "{step} {ran:?}");
        let copies = copies() - before;
        let log = house.log();
        assert!(copies == 1 || copies == 2, "{step}: {copies} {log}");
        let left = house.names("new").len() + house.names("cur").len();
        assert_eq!(left, 0, "{step}: {log}");
    }
}

/// The worker dies while a message is on its way into each kind of mailbox: nothing half is left there, and the next run
/// brings it.
#[test]
fn a_worker_that_is_killed_in_the_middle_loses_nothing() {
    let end = "the secret of the message";
    let large = format!(
        "Subject: for you alone\n\n{}{end}\n",
        "0123456789 0123456789 0123456789 0123456789\n".repeat(200_000)
    );
    // The mailbox, the alias file, a ~/.forward, to whom; and where all that arrives is, for a glance at it.
    let rows: [(&str, &str, &str, &str, &str); 6] = [
        ("~/Maildir/", "", "", "mt-alice", "home/mt-alice/Maildir"),
        ("~/mbox", "", "", "mt-alice", "home/mt-alice/mbox"),
        ("~/Maildir/", "", "~/kept", "mt-alice", "home/mt-alice/kept"),
        (
            "~/Maildir/",
            "",
            "\"|cat >~/piped.$$ && mv ~/piped.$$ ~/whole.$$\"",
            "mt-alice",
            "home/mt-alice",
        ),
        ("~/Maildir/", "list: ~/open/kept\n", "", "list", "open/kept"),
        ("~/Maildir/", "", "", "root", "mail"),
    ];
    for (mailbox, aliases, forward, to, place) in rows {
        let Some(house) = House::open("killed-middle") else {
            return;
        };
        let root = house.path("").display().to_string();
        let home = house.path("home/mt-alice").display().to_string();
        let mailbox = if to == "root" {
            format!("{root}mail/%u/")
        } else {
            mailbox.to_owned()
        };
        let house = house.with_mailbox(&mailbox);
        house.open_folder("open");
        let aliases = aliases.replace("~/", &root) + "\n";
        fs::write(house.path("aliases"), aliases).unwrap();
        if !forward.is_empty() {
            let file = house.path("home/mt-alice/.forward");
            fs::write(&file, format!("{}\n", forward.replace("~", &home))).unwrap();
            house.give(&file, ALICE);
        }
        house.submit("root", &["-odq", to], &large);
        let mut run = house.start("root", &["-q"]);
        let place = house.path(place);
        let octets = || -> u64 { files_below(&place).iter().map(|(_, size)| size).sum() };
        let mut killed = false;
        until("something of it is there", || {
            let ended = run.try_wait().unwrap().is_some();
            if !ended
                && octets() > 0
                && let Some(worker) = processes(run.id(), "--as-worker").first()
            {
                let pid = Pid::from_raw(i32::try_from(*worker).unwrap());
                killed = kill(pid, Signal::SIGKILL).is_ok();
            }
            ended || killed
        });
        let ran = finish(run);
        assert_eq!(ran.code, if killed { 70 } else { 0 }, "{to} {ran:?}");
        assert_eq!(house.call("root", &["-q"], "").code, 0);
        let left = house.names("new").len() + house.names("cur").len();
        assert_eq!(left, 0, "{mailbox} {to}: {}", house.log());
        // Whole once, or twice; and no part of one where a reader would see it.
        let seen = files_below(&place);
        let seen = seen
            .iter()
            .filter(|(path, _)| !path.contains("/Maildir/tmp/") && !path.contains("piped."));
        let text: String = seen
            .map(|(path, _)| fs::read_to_string(path).unwrap())
            .collect();
        let copies = text.matches(end).count();
        assert!(
            copies == 1 || copies == 2,
            "{mailbox} {to} {killed}: {copies}"
        );
        assert_eq!(
            text.matches("Subject: for you alone").count(),
            copies,
            "{mailbox} {to} {killed}"
        );
    }
}

/// All files in a folder and those below, or the file itself, with their lengths.
fn files_below(place: &Path) -> Vec<(String, u64)> {
    let Ok(about) = fs::symlink_metadata(place) else {
        return Vec::new();
    };
    if !about.is_dir() {
        let name = place.file_name().unwrap().to_str().unwrap();
        let counts = !name.starts_with(".forward");
        return Vec::from_iter(counts.then(|| (place.display().to_string(), about.len())));
    }
    let names = names_in(place);
    names
        .iter()
        .flat_map(|name| files_below(&place.join(name)))
        .collect()
}
