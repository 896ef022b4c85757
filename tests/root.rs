//! Rights: what root starts, and how its processes get on with one another. Needs root, who makes users for it and takes
//! them away again; for anybody else each test says that it was skipped.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::house::{ALICE, BOB, CLUB, House, SPOOL, processes};
use crate::harness::system::names_in;
use crate::harness::{Remote, Script, until};

const MESSAGE: &str = "Subject: for you alone\n\nthe secret of the message\n";

/// What `/proc/PID/status` says of rights: user, group, more groups.
fn rights(pid: u32) -> (Vec<String>, Vec<String>, Vec<String>) {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = |name: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(name)).unwrap();
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    (line("Uid:"), line("Gid:"), line("Groups:"))
}

fn all(id: u32) -> Vec<String> {
    vec![id.to_string(); 4]
}

#[test]
fn each_process_has_the_rights_of_its_part() {
    let Some(house) = House::open("parts") else {
        return;
    };
    let (begun, go) = (house.open_folder("begun"), house.path("go"));
    let house = house.with_mailbox(&format!(
        "|cat >/dev/null; touch {}/$$; while ! test -e {}; do sleep 0.05; done",
        begun.display(),
        go.display()
    ));
    let daemon = house.daemon();
    house.submit("root", &["mt-alice"], MESSAGE);
    until("the command runs", || names_in(&begun).len() == 1);
    let parent = daemon.id();
    let worker = *processes(parent, "--as-worker").first().unwrap();
    let helper = *processes(parent, "--as-helper").first().unwrap();
    let command: u32 = names_in(&begun)[0].parse().unwrap();
    let (spool, alice, club) = (house.id(SPOOL), house.id(ALICE), house.group(CLUB));
    let mut both = [alice.1, club];
    both.sort_unstable();
    let both: Vec<String> = both.iter().map(u32::to_string).collect();
    let none = Vec::new();
    let table = [
        ("worker", worker, all(spool.0), all(spool.1), &none),
        ("helper", helper, all(alice.0), all(alice.1), &both),
        ("command", command, all(alice.0), all(alice.1), &both),
    ];
    for (part, pid, uid, gid, groups) in table {
        let mut found = rights(pid);
        found.2.sort_by_key(|g| g.parse::<u32>().unwrap());
        assert_eq!(found, (uid, gid, groups.clone()), "{part}");
    }
    assert_eq!(rights(parent).0, all(0));
    let status = |pid: u32| fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status(parent).contains("Threads:\t1\n"));
    assert!(status(worker).contains("NoNewPrivs:\t1\n"));
    let log = house.log();
    assert!(log.contains("has shut itself in: it reaches "), "{log}");
    if log.contains("are refused (seccomp)") {
        assert!(status(worker).contains("Seccomp:\t2\n"));
    }
    // Commands of a user are in no jail: they may be set-user-id.
    assert!(
        status(command).contains("Seccomp:\t0\n") && status(command).contains("NoNewPrivs:\t0\n")
    );
    // J12, J13: what a command inherits: its three streams, a umask that is private, its user's home, and the environment
    // that is told in the manual.
    assert_eq!(names_in(Path::new(&format!("/proc/{command}/fd"))).len(), 3);
    assert!(status(command).contains("Umask:\t0077\n"));
    let folder = fs::read_link(format!("/proc/{command}/cwd")).unwrap();
    assert_eq!(folder, house.path("home/mt-alice"));
    let environment = fs::read(format!("/proc/{command}/environ")).unwrap();
    let names: Vec<String> = environment
        .split(|b| *b == 0)
        .filter_map(|e| {
            String::from_utf8_lossy(e)
                .split_once('=')
                .map(|(n, _)| n.to_owned())
        })
        .collect();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort_unstable();
    let expected = [
        "DOMAIN",
        "EXTENSION",
        "HOME",
        "LOCAL",
        "LOGNAME",
        "ORIGINAL_RECIPIENT",
        "PATH",
        "RECIPIENT",
        "SENDER",
        "SHELL",
        "USER",
    ];
    assert_eq!(names, expected);
    fs::write(&go, "").unwrap();
    until("it was delivered", || {
        house.log().contains("delivered to=\"mt-alice@")
    });
    until("the helper has gone", || {
        processes(parent, "--as-helper").is_empty()
    });
    // The pid file names the one to send signals to.
    let written = fs::read_to_string(house.path("run/pid")).unwrap();
    assert_eq!(written.trim(), parent.to_string());
    let ran = daemon.stop();
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{}", house.log());
}

#[test]
fn a_user_has_one_helper_for_all_that_waits() {
    let Some(house) = House::open("batch") else {
        return;
    };
    let parents = house.open_folder("parents");
    let house = house.with_mailbox(&format!(
        "|cat >/dev/null; touch {}/$PPID",
        parents.display()
    ));
    for _ in 0..20 {
        house.submit("root", &["-odq", "mt-alice", "mt-bob"], MESSAGE);
    }
    assert_eq!(house.call("root", &["-q"], "").code, 0);
    assert_eq!(house.log().matches(" delivered to=").count(), 40);
    assert_eq!(names_in(&parents).len(), 2);
}

#[test]
fn mail_for_root_and_for_services_is_written_by_nobody_with_rights() {
    let Some(house) = House::open("for-root") else {
        return;
    };
    house.submit("root", &["-odi", "root", "daemon", "mt-alice"], MESSAGE);
    let folder = house.path("mail/root/new");
    assert_eq!(names_in(&folder).len(), 2, "{}", house.log());
    for name in names_in(&folder) {
        let meta = fs::metadata(folder.join(name)).unwrap();
        assert!(meta.uid() != 0 && meta.mode() & 0o7777 == 0o600);
    }
    let alice = house.mail_of(ALICE);
    assert_eq!(alice.len(), 1);
    assert!(alice[0].starts_with(
        "Return-Path: <root@pi.test.example>\nX-Original-To: mt-alice@pi.test.example\nDelivered-To: mt-alice@"
    ));
}

#[test]
fn a_submission_wakes_the_daemon() {
    let Some(house) = House::open("wakes") else {
        return;
    };
    let daemon = house.daemon();
    for (user, to) in [(ALICE, "mt-bob"), (BOB, "mt-alice")] {
        house.submit(user, &[to], MESSAGE);
    }
    until("both have mail", || {
        house.mail_of(ALICE).len() == 1 && house.mail_of(BOB).len() == 1
    });
    // What a user may not deliver himself is the daemon's to do.
    house.submit(ALICE, &["-odq", "mt-bob"], MESSAGE);
    assert_eq!(house.call(ALICE, &["-q"], "").code, 0);
    until("and one more", || house.mail_of(BOB).len() == 2);
    let ran = house.call("root", &["-bD"], "");
    assert_eq!(ran.code, 69, "{ran:?}");
    assert!(
        ran.stderr
            .contains(&format!("runs already, as process {}", daemon.id()))
    );
    assert_eq!(daemon.stop().code, 0);
}

/// A daemon lets it be until it is due; whoever sent it wants it tried, and gets no other's mail tried.
#[test]
fn a_user_has_his_own_mail_tried_while_a_daemon_runs() {
    let Some(house) = House::open("flush-own") else {
        return;
    };
    let script = Script::new().once("MAIL", "451 4.3.0 not now");
    let remote = Remote::start(script.once("MAIL", "451 4.3.0 not now"));
    let smarthost = remote.smarthost();
    let house = house.with(&format!("user = \"{SPOOL}\"\n[smarthost]\n{smarthost}"));
    let daemon = house.daemon();
    let mail = [
        (ALICE, "one@example.net", "-q"),
        (BOB, "two@example.net", "-qRtwo"),
    ];
    for (user, to, _) in mail {
        house.submit(user, &[to], MESSAGE);
    }
    until("both are put off", || house.names("cur").len() == 2);
    for (user, to, word) in mail {
        let flush = || {
            assert_eq!(house.call(user, &[word], "").code, 0);
            !remote.received().is_empty()
        };
        until("it is delivered", flush);
        let received = remote.take();
        let all: Vec<_> = received.iter().flat_map(|r| r.recipients()).collect();
        assert_eq!(all, [to]);
    }
    assert_eq!(daemon.stop().code, 0);
}

/// He is done with his part of a message, and what is left of it is the daemon's.
#[test]
fn what_a_user_may_not_deliver_himself_is_the_daemons() {
    let Some(house) = House::open("left-to-daemon") else {
        return;
    };
    let remote = Remote::start(Script::new());
    let smarthost = remote.smarthost();
    let house = house.with(&format!("user = \"{SPOOL}\"\n[smarthost]\n{smarthost}"));
    let daemon = house.daemon();
    house.submit(ALICE, &["mt-bob"], MESSAGE);
    until("it has looked", || house.mail_of(BOB).len() == 1);
    house.submit(ALICE, &["-odi", "one@example.net", "mt-bob"], MESSAGE);
    assert_eq!(remote.received().len(), 1);
    until("he has it, too", || house.mail_of(BOB).len() == 2);
    assert_eq!(daemon.stop().code, 0);
}

/// The key of a signature is read by the worker, in its jail, with the rights of the user of the spool: one that only root
/// may read is of no use to it, and mail waits until that is mended.
#[test]
fn the_worker_signs_with_a_key_that_its_group_may_read() {
    let Some(house) = House::open("dkim") else {
        return;
    };
    let remote = Remote::start(Script::new());
    let key = house.path("dkim.pem");
    let house = house.with(&format!(
        "user = \"{SPOOL}\"\n[smarthost]\n{}\n[[dkim]]\ndomain = \"example.org\"\nkey = {:?}",
        remote.smarthost(),
        key.display().to_string(),
    ));
    let house = house.telling_all();
    let made = house.call("root", &["--dkim-key", "example.org"], "");
    assert_eq!(made.code, 0, "{made:?}");
    let group = house.group(SPOOL);
    let about = fs::metadata(&key).unwrap();
    let found = (about.uid(), about.gid(), about.mode() & 0o777);
    assert_eq!(found, (0, group, 0o640));
    // Its owner, group and mode, and whether the worker can sign.
    let (root, spool) = (0, house.id(SPOOL).0);
    let rows = [
        (root, group, 0o640, true),
        (root, root, 0o600, false),
        (root, root, 0o640, false),
        (spool, group, 0o600, true),
    ];
    let message = "From: me@example.org\nSubject: x\n\nhello\n";
    for (owner, group, mode, signs) in rows {
        std::os::unix::fs::chown(&key, Some(owner), Some(group)).unwrap();
        fs::set_permissions(&key, PermissionsExt::from_mode(mode)).unwrap();
        let (log, sent) = (house.log().len(), remote.received().len());
        let words = ["-odq", "-f", "me@example.org", "you@example.net"];
        house.submit("root", &words, message);
        house.call("root", &["-q"], "");
        let log = house.log().split_off(log);
        assert!(log.contains("- queue-run has shut itself in"), "{log}");
        let received = remote.received();
        if signs {
            let mail = received.last().unwrap().mail();
            assert_eq!(mail.all("DKIM-Signature").len(), 1, "{}", mail.text());
            assert!(house.names("cur").is_empty(), "{log}");
        } else {
            assert_eq!(received.len(), sent);
            let said = format!(
                "permission denied; it must belong to the group minimta runs as: chgrp {SPOOL} /"
            );
            assert!(log.contains(&said), "{log}");
        }
    }
}

#[test]
fn a_machine_that_is_not_ready_is_told_so() {
    let Some(house) = House::open("not-ready") else {
        return;
    };
    let house = house.with("user = \"mt-nobody\"");
    for words in [&["-q"][..], &["-bD"], &["mt-alice"]] {
        let ran = house.call("root", words, MESSAGE);
        assert_eq!(ran.code, 78, "{ran:?}");
        assert_eq!(
            ran.stderr,
            "sendmail: there is no user mt-nobody, whom minimta works as when root starts it; make one: useradd --system --user-group --no-create-home --shell /usr/sbin/nologin mt-nobody, or name another with the key user\n"
        );
    }
    let house = house.with(&format!("user = \"{SPOOL}\""));
    house.give(&house.path("spool"), ALICE);
    let ran = house.call("root", &["-q"], "");
    assert_eq!(ran.code, 78, "{ran:?}");
    let uid = house.id(ALICE).0;
    let spool = house.path("spool").display().to_string();
    assert!(
        ran.stderr
            .contains(&format!("{spool} belongs to the user with the id {uid}"))
    );
    assert!(
        ran.stderr
            .contains(&format!("run: chown -R {SPOOL}: {spool}, or ")),
        "{ran:?}"
    );
}

/// A queue that was moved to another disk, with a link of root's in its place, as the run folder: all go on there.
#[test]
fn folders_that_were_moved_are_found_by_their_links() {
    let Some(house) = House::open("moved") else {
        return;
    };
    let disk = house.path("disk");
    fs::create_dir(&disk).unwrap();
    for name in ["spool", "run"] {
        fs::rename(house.path(name), disk.join(name)).unwrap();
        symlink(disk.join(name), house.path(name)).unwrap();
    }
    house.submit("root", &["-odq", "mt-bob"], MESSAGE);
    house.submit(ALICE, &["-odq", "mt-bob"], MESSAGE);
    let ran = house.call("root", &["-q", "--due"], "");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(house.mail_of(BOB).len(), 2, "{}", house.log());
    let daemon = house.daemon();
    house.submit(ALICE, &["mt-bob"], MESSAGE);
    until("the daemon has it", || house.mail_of(BOB).len() == 3);
    drop(daemon);
    let (spool, check) = (house.path("spool"), || house.call("root", &["--check"], ""));
    let shown = spool.display();
    let usable = format!("ok       spool {shown}: usable");
    assert!(check().stdout.contains(&usable), "{:?}", check());
    // Where others can put a link, and one that leads to nothing: its disk may not be there.
    let place = "is not followed, for others than root can put one into ";
    let nothing = format!(
        "leads to {}, where no folder is; mount",
        disk.join("spool").display()
    );
    for (mode, gone, why) in [(0o777, false, place), (0o755, true, nothing.as_str())] {
        fs::set_permissions(house.path(""), PermissionsExt::from_mode(mode)).unwrap();
        if gone {
            fs::rename(disk.join("spool"), disk.join("other")).unwrap();
        }
        let said = format!("the link {shown} {why}");
        let ran = house.call("root", &["-q"], "");
        assert!(ran.code == 73 && ran.stderr.contains(&said), "{ran:?}");
        assert!(check().stdout.contains(&said), "{:?}", check());
    }
    assert_eq!(house.call("root", &["mt-bob"], MESSAGE).code, 73);
    assert!(!disk.join("spool").exists());
}

/// A queue that root has copied is root's: it waits aside until it is given to the user of the spool.
#[test]
fn a_queue_that_was_copied_is_given_to_the_user_of_the_spool() {
    let Some(house) = House::open("copied") else {
        return;
    };
    house.submit(ALICE, &["-odq", "mt-bob"], MESSAGE);
    house.submit(ALICE, &["-odq", "mt-bob"], MESSAGE);
    let copied = house.names("new").remove(0);
    let path = house.path("spool/new").join(&copied);
    std::os::unix::fs::chown(&path, Some(0), Some(0)).unwrap();
    house.call("root", &["-q"], "");
    assert_eq!(house.mail_of(BOB).len(), 1, "{}", house.log());
    assert_eq!(house.names("hold"), [copied.as_str()]);
    let why =
        "it cannot be read: permission denied; chown it to the user of the spool, then release it";
    assert!(house.log().contains(why), "{}", house.log());
    house.give(&house.path("spool/hold").join(&copied), SPOOL);
    assert_eq!(house.call("root", &["--release", "ALL"], "").code, 0);
    house.call("root", &["-q"], "");
    assert_eq!(house.mail_of(BOB).len(), 2, "{}", house.log());
}

/// A process that delivers reads the configuration as it stands by then: mail waits for one that is wrong, and says so.
#[test]
fn mail_says_that_it_waits_for_the_configuration() {
    let Some(house) = House::open("garbled") else {
        return;
    };
    let daemon = house.daemon();
    let file = house.path("minimta.toml");
    let text = fs::read_to_string(&file).unwrap();
    for (garbled, why) in [
        (Some("nonsense = 1\n"), ":1:1: "),
        (None, ": there is no such file"),
    ] {
        match garbled {
            Some(line) => fs::write(&file, format!("{line}{text}")).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        let reply = daemon
            .client()
            .deliver("mt-bob", &MESSAGE.replace('\n', "\r\n"));
        assert!(reply.starts_with("250 "), "{reply}{}", house.log());
        let said = "the process that delivers for user mt-bob ended: ";
        let name = file.display();
        until("it says so", || {
            let log = house.log();
            log.lines()
                .any(|l| l.contains(said) && l.contains(&format!("{name}{why}")))
        });
    }
    assert_eq!(daemon.stop().code, 0);
}

/// The log is turned over as logrotate does it: root's process makes the new file, and is heard in it.
#[test]
fn the_log_of_the_parent_is_turned_over() {
    let Some(house) = House::open("turned-over") else {
        return;
    };
    let daemon = house.daemon();
    fs::rename(house.path("log"), house.path("log.1")).unwrap();
    daemon.signal(Signal::SIGHUP);
    until("the worker goes on in a new log", || {
        house.log().contains("has read its configuration again")
    });
    let about = fs::metadata(house.path("log")).unwrap();
    let found = (about.uid(), about.mode() & 0o7777);
    assert_eq!(found, (house.id(SPOOL).0, 0o660));
    let worker = *processes(daemon.id(), "--as-worker").first().unwrap();
    kill(
        Pid::from_raw(i32::try_from(worker).unwrap()),
        Signal::SIGKILL,
    )
    .unwrap();
    let ran = daemon.end();
    assert_eq!(ran.code, 70, "{ran:?}");
    let said = "the worker was ended by signal 9";
    assert!(house.log().contains(said), "{}", house.log());
    let old = fs::read_to_string(house.path("log.1")).unwrap();
    assert!(old.contains("daemon started") && !old.contains(said));
}

/// What root's process is once the others work: itself begun anew, with nothing open but what it hears by.
#[test]
fn the_parent_has_begun_anew_and_holds_little() {
    let Some(house) = House::open("anew") else {
        return;
    };
    let daemon = house.daemon();
    let proc = PathBuf::from(format!("/proc/{}", daemon.id()));
    let line = fs::read(proc.join("cmdline")).unwrap();
    let words: Vec<String> = line
        .split(|b| *b == 0)
        .map(|w| String::from_utf8_lossy(w).into_owned())
        .collect();
    assert_eq!(words[1], "--as-parent");
    assert!(words.contains(&format!("user={SPOOL}")), "{words:?}");
    assert_eq!(fs::read(proc.join("comm")).unwrap(), b"sendmail\n");
    let inherited = fs::read(proc.join("environ")).unwrap();
    let names: Vec<&[u8]> = inherited.split(|b| *b == 0).collect();
    let of_tests = |name: &&[u8]| name.starts_with(b"MINIMTA_") || name.is_empty();
    let left: Vec<_> = names.iter().filter(|name| !of_tests(name)).collect();
    assert_eq!(left, [b"PATH=/usr/local/bin:/usr/bin:/bin"]);
    // Its three streams, the log, and the one by which it hears signals; no port.
    let mut open: Vec<String> = names_in(&proc.join("fd"))
        .iter()
        .map(|n| {
            fs::read_link(proc.join("fd").join(n))
                .unwrap()
                .display()
                .to_string()
        })
        .collect();
    open.sort();
    open.dedup(); // the line, and the standard input that it came as
    assert_eq!(open.len(), 5, "{open:?}");
    let sockets = open
        .iter()
        .filter(|path| path.starts_with("socket:"))
        .count();
    assert_eq!(sockets, 1, "{open:?}");
    // Nobody else may say these words; and others than its own are refused even when root says them.
    let spool = format!("user={SPOOL}");
    for (user, words) in [
        (ALICE, vec!["--as-parent", "worker=4711", &spool]),
        (
            SPOOL,
            words[1..words.len() - 1]
                .iter()
                .map(String::as_str)
                .collect(),
        ),
        ("root", vec!["--as-parent"]),
        ("root", vec!["--as-parent", "worker=4711", &spool]),
        (ALICE, vec!["--as-home"]),
        (SPOOL, vec!["--as-home"]),
        ("root", vec!["--as-home"]),
    ] {
        let ran = house.call(user, &words, "user mt-alice");
        assert_eq!(ran.code, 77, "{user} {words:?} {ran:?}");
    }
    assert_eq!(daemon.stop().code, 0);
}

/// The jail is off with one key, and that is said.
#[test]
fn a_worker_without_a_jail_says_so() {
    let Some(house) = House::open("no-jail") else {
        return;
    };
    let house = house.with(&format!("user = \"{SPOOL}\"\njail = false"));
    let daemon = house.daemon();
    let worker = *processes(daemon.id(), "--as-worker").first().unwrap();
    let status = fs::read_to_string(format!("/proc/{worker}/status")).unwrap();
    assert!(status.contains("Seccomp:\t0\n") && status.contains("NoNewPrivs:\t1\n"));
    let said = "works without a jail, as the key jail says";
    assert!(house.log().contains(said), "{}", house.log());
    assert_eq!(daemon.stop().code, 0);
}

/// J13: a process that could not give up its rights delivers nothing and runs nothing.
#[test]
fn who_cannot_become_the_user_does_nothing() {
    let Some(house) = House::open("cannot-become") else {
        return;
    };
    let begun = house.open_folder("begun");
    let house = house.with_mailbox(&format!("|touch {}/it", begun.display()));
    for lost in ["setuid", "setgid"] {
        let script = format!(
            "exec setpriv --inh-caps=-{lost} --bounding-set=-{lost} {} --as-helper 'user mt-alice' </dev/null",
            house.program("minimta")
        );
        let ran = house.shell("root", &script);
        if ran.code == 127 {
            return println!("skipped: there is no setpriv to take rights away");
        }
        assert_eq!(ran.code, 71, "{lost} {ran:?}");
        let said = "minimta: cannot work as the user mt-alice: operation not permitted\n";
        assert_eq!(ran.stderr, said, "{lost}");
        // Nor does anything work for root that cannot give the rights of root away.
        house.submit("root", &["-odq", "mt-alice"], MESSAGE);
        let script = format!(
            "exec setpriv --inh-caps=-{lost} --bounding-set=-{lost} {} -q",
            house.program("sendmail")
        );
        let ran = house.shell("root", &script);
        assert!(ran.code != 0, "{lost} {ran:?}");
    }
    assert_eq!((house.names("new").len(), names_in(&begun).len()), (2, 0));
}

/// The program is lent a group, which nobody gets by a word that it is started with to do a part of its work.
#[test]
fn no_word_lends_anybody_the_group() {
    let Some(house) = House::open("lent") else {
        return;
    };
    let group = house.group(SPOOL);
    for words in [
        "--as-another /usr/bin/id -g",
        "--as-another group /usr/bin/id -g",
        "--as-another - /usr/bin/id -g",
        "--as-guard /usr/bin/id -g",
        "--as-worker -q",
        "--as-helper root",
        "--as-parent",
    ] {
        let ran = house.shell(ALICE, &format!("{} {words}", house.program("sendmail")));
        assert!(
            !ran.stdout.lines().any(|l| l == group.to_string()),
            "{words}: {ran:?}"
        );
    }
    let ran = house.shell(
        ALICE,
        &format!("{} --as-another /usr/bin/id -g", house.program("sendmail")),
    );
    assert_eq!(ran.stdout, format!("{}\n", house.id(ALICE).1), "{ran:?}");
}
