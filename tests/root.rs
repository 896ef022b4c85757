//! Rights: what root starts, what other users can do to each other's mail. Needs root, who makes users for it and takes
//! them away again; for anybody else each test says that it was skipped.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::house::{ALICE, BOB, CLUB, House, SPOOL, processes};
use crate::harness::lmtp::Lmtp;
use crate::harness::system::{age, finish, names_in};
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
    // What a command inherits: its three streams, and the environment that is told in the manual.
    assert_eq!(names_in(Path::new(&format!("/proc/{command}/fd"))).len(), 3);
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

/// I7: by no option, by no file, by no configuration of their own.
#[test]
fn users_can_do_nothing_to_the_mail_of_others() {
    let Some(house) = House::open("others") else {
        return;
    };
    for (user, to) in [(ALICE, "mt-bob"), (BOB, "mt-alice")] {
        house.submit(user, &["-odq", to], MESSAGE);
        house.submit(user, &["someone@nowhere.test.example"], MESSAGE);
    }
    until("the attempts of both are over", || {
        house.log().matches(" deferred ").count() == 2
    });
    let of = |user: &str| -> Vec<String> {
        let listed = house.call_as("mailq", user, &["--json"], "").stdout;
        let ids = listed.split("\"id\":").skip(1);
        ids.map(|text| text.split('"').nth(1).unwrap().to_owned())
            .collect()
    };
    let (alices, bobs) = (of(ALICE), of(BOB));
    assert_eq!((alices.len(), bobs.len(), of("root").len()), (2, 2, 4));
    assert!(!alices.iter().any(|id| bobs.contains(id)));
    let theirs = bobs[0].as_str();
    for option in ["--show", "--remove", "--hold", "--release"] {
        let ran = house.call(ALICE, &[option, theirs], "");
        assert_eq!(ran.code, 65, "{option} {ran:?}");
        let said = format!(
            "sendmail: {theirs}: there is no such message in the queue; mailq lists them\n"
        );
        assert_eq!((ran.stdout.as_str(), ran.stderr), ("", said), "{option}");
    }
    for words in [
        &["--hold", "ALL"][..],
        &["--release", "ALL"],
        &["-q"],
        &["-qR", "mt"],
        &["-bp", "-qS", "bob"],
    ] {
        let ran = house.call(ALICE, words, "");
        assert!(
            !bobs.iter().any(|id| ran.stdout.contains(id)),
            "{words:?} {ran:?}"
        );
    }
    // Nor by other means: the spool is closed to whoever has not the group.
    let spool = house.path("spool").display().to_string();
    let new = format!("{spool}/new/{theirs}");
    let cur = format!("{spool}/cur/{theirs}");
    for (what, file) in [
        ("ls", &spool),
        ("cat", &new),
        ("cat", &cur),
        ("rm -f", &new),
        ("touch", &cur),
        ("sh -c 'echo x >\"$0\"'", &new),
        ("ln -s /etc/passwd", &cur),
        ("mkfifo", &format!("{spool}/new/1k0ysgq5kccddek00")),
        (
            "sh -c 'echo x >\"$0\"'",
            &house.path("run/trigger").display().to_string(),
        ),
        ("rm -f", &house.path("run/pid").display().to_string()),
    ] {
        let ran = house.shell(ALICE, &format!("{what} {file}"));
        assert!(ran.code != 0, "{what} {file}: {ran:?}");
    }
    // With a configuration of his own he has no rights but his own.
    let own = house.path("home/mt-alice/own.toml");
    let text = format!(
        "user = \"mt-alice\"\n[queue]\nspool = \"{spool}\"\nrun = \"{}\"\n",
        house.path("run").display()
    );
    fs::write(&own, text).unwrap();
    for words in [
        &["-bp"][..],
        &["-q"],
        &["--show", theirs],
        &["-bD"],
        &["-bs"],
    ] {
        let mut all = vec!["-C", own.to_str().unwrap()];
        all.extend(words);
        let ran = house.call(
            ALICE,
            &all,
            "EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<mt-bob>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n",
        );
        assert!(
            !ran.stdout.contains(theirs) && !ran.stdout.contains("secret"),
            "{words:?} {ran:?}"
        );
        assert!(
            ran.code != 0 || ran.stdout.contains("451 4"),
            "{words:?} {ran:?}"
        );
    }
    // The parts of root's minimta are not to be had.
    let alice = "user mt-alice";
    for words in [
        &["--as-worker", "-q"][..],
        &["--as-worker", "-bD"],
        &["--as-helper", alice],
        &["--as-helper", "root"],
    ] {
        let ran = house.call(ALICE, words, "");
        assert_eq!(ran.code, 77, "{words:?} {ran:?}");
    }
    assert_eq!(
        (of("root").len(), house.log().matches(" removed ").count()),
        (4, 0)
    );
    // His own he may remove; and what is left arrives.
    let ran = house.call(BOB, &["--remove", theirs], "");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(house.call("root", &["-q"], "").code, 0);
    let arrived = (house.mail_of(ALICE).len(), house.mail_of(BOB).len());
    assert!(arrived == (0, 1) || arrived == (1, 1), "{arrived:?}");
    assert_eq!(of("root").len(), 3 - arrived.0 - arrived.1);
}

#[test]
fn a_callers_surroundings_change_nothing() {
    let Some(house) = House::open("surroundings") else {
        return;
    };
    let rows = [
        "exec 0</dev/zero 3</etc/hostname 4>&1",
        "umask 0",
        "umask 777",
        "export LD_PRELOAD=/nowhere.so LD_LIBRARY_PATH=/tmp TZ=/etc/shadow PATH=/tmp HOME=/root USER=root LOGNAME=root",
        "export LISTEN_FDS=3 LISTEN_FDNAMES=smtp GCONV_PATH=/tmp MALLOC_ARENA_MAX=x LANG=x IFS=x RUST_BACKTRACE=1",
        "ulimit -n 16",
        "ulimit -s 256",
        "d=$(mktemp -d); cd $d; rmdir $d",
        "exec 2>&-",
        "trap '' HUP TERM INT PIPE CHLD",
    ];
    for (count, before) in (1..).zip(rows) {
        let script = format!(
            "{before}\nexec {} -odq mt-bob <<EOF\n{MESSAGE}EOF\n",
            house.program("sendmail")
        );
        let ran = house.shell(ALICE, &script);
        assert_eq!(ran.code, 0, "{before}: {ran:?}");
        let names = house.names("new");
        assert_eq!(names.len(), count, "{before}");
        for name in names {
            let meta = fs::metadata(house.path("spool/new").join(name)).unwrap();
            let found = (meta.uid(), meta.gid(), meta.mode() & 0o7777);
            assert_eq!(
                found,
                (house.id(ALICE).0, house.id(SPOOL).1, 0o660),
                "{before}"
            );
        }
    }
    // Without a message, or with no room for one, nothing is kept and that is said.
    for (before, code) in [
        ("exec 0<&-", 65),
        ("ulimit -f 0; yes | head -c 100000 | ", -1),
    ] {
        let line = if code == 65 {
            format!("{before}\nexec ")
        } else {
            before.to_owned()
        };
        let ran = house.shell(
            ALICE,
            &format!("{line} {} -odq mt-bob", house.program("sendmail")),
        );
        assert!(
            ran.code != 0 && (code == -1 || ran.code == code),
            "{before}: {ran:?}"
        );
        assert_eq!(house.names("new").len(), rows.len());
    }
    assert_eq!(house.call("root", &["-q"], "").code, 0);
    assert_eq!(house.mail_of(BOB).len(), rows.len());
    assert_eq!(house.names("new").len() + house.names("cur").len(), 0);
}

#[test]
fn what_is_planted_leads_nowhere() {
    type Plant = fn(&House, &Path);
    let rows: &[(&str, &str, Plant)] = &[
        (
            "a link to another's Maildir",
            "~/Maildir/",
            |house, home| {
                let bobs = house.path("home/mt-bob/Maildir");
                for folder in ["", "tmp", "new", "cur"] {
                    fs::create_dir_all(bobs.join(folder)).unwrap();
                }
                house.give(&bobs, BOB);
                symlink(bobs, home.join("Maildir")).unwrap();
            },
        ),
        (
            "a folder in it that is a link",
            "~/Maildir/",
            |house, home| {
                for folder in ["", "tmp", "cur"] {
                    fs::create_dir_all(home.join("Maildir").join(folder)).unwrap();
                }
                symlink(house.path("spool/new"), home.join("Maildir/new")).unwrap();
                house.give(&home.join("Maildir"), ALICE);
            },
        ),
        ("a link to a file of root", "~/mbox", |house, home| {
            symlink(house.path("precious"), home.join("mbox")).unwrap();
        }),
        (
            "a second name of a file of root",
            "~/mbox",
            |house, home| {
                fs::hard_link(house.path("precious"), home.join("mbox")).unwrap();
            },
        ),
        ("a FIFO", "~/mbox", |house, home| {
            nix::unistd::mkfifo(&home.join("mbox"), nix::sys::stat::Mode::S_IRWXU).unwrap();
            house.give(&home.join("mbox"), ALICE);
        }),
        ("a lock file that is a link", "~/mbox", |house, home| {
            symlink(house.path("precious"), home.join("mbox.lock")).unwrap();
        }),
    ];
    for (what, mailbox, plant) in rows {
        let Some(house) = House::open("planted") else {
            return;
        };
        let house = house.with_mailbox(mailbox);
        let precious = house.path("precious");
        fs::write(&precious, "precious").unwrap();
        fs::set_permissions(&precious, PermissionsExt::from_mode(0o644)).unwrap();
        plant(&house, &house.path("home/mt-alice"));
        house.submit("root", &["-odq", "mt-alice"], MESSAGE);
        let ran = house.call("root", &["-q"], "");
        assert_eq!(ran.code, 0, "{what}: {ran:?}");
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious", "{what}");
        assert_eq!(
            names_in(&house.path("home/mt-bob/Maildir/new")).len(),
            0,
            "{what}"
        );
        let waits = house.names("cur").len();
        let is_mbox = fs::symlink_metadata(house.path("home/mt-alice/mbox"))
            .is_ok_and(|m| m.is_file() && m.nlink() == 1);
        assert!(waits == 1 || is_mbox, "{what}: {}", house.log());
    }
}

#[test]
fn what_is_planted_in_the_spool_stops_nothing() {
    let Some(house) = House::open("planted-spool") else {
        return;
    };
    house.submit("root", &["-odq", "mt-alice"], MESSAGE);
    let id = |n: u32| format!("1k0ysgq5kccddek{n:02}");
    let new = house.path("spool/new");
    fs::write(house.path("precious"), "precious").unwrap();
    symlink(house.path("precious"), new.join(id(1))).unwrap();
    fs::hard_link(house.path("precious"), new.join(id(2))).unwrap();
    nix::unistd::mkfifo(&new.join(id(3)), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::create_dir(new.join(id(4))).unwrap();
    for n in 1..5 {
        let _ = Command::new("chown")
            .args(["-h", SPOOL])
            .arg(new.join(id(n)))
            .status();
    }
    let ran = house.call("root", &["-q"], "");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(house.mail_of(ALICE).len(), 1, "{}", house.log());
    assert_eq!(
        fs::read_to_string(house.path("precious")).unwrap(),
        "precious"
    );
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
    // A flush by a user is the daemon's to do.
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
        assert!(log.contains("shut itself in"), "{log}");
        let received = remote.received();
        if signs {
            let mail = received.last().unwrap().mail();
            assert_eq!(mail.all("DKIM-Signature").len(), 1, "{}", mail.text());
            assert!(house.names("cur").is_empty(), "{log}");
        } else {
            assert_eq!(received.len(), sent);
            let said = "permission denied; it must belong to the group minimta runs as: chgrp ";
            assert!(log.contains(said), "{log}");
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
    let (uid, gid) = (house.id(ALICE).0, house.id(SPOOL).1);
    let spool = house.path("spool").display().to_string();
    assert!(
        ran.stderr
            .contains(&format!("{spool} belongs to the user with the id {uid}"))
    );
    assert!(
        ran.stderr
            .contains(&format!("run: chown -R {SPOOL}:{gid} {spool}")),
        "{ran:?}"
    );
}

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

/// What is another user's, or no file, says nothing in his name.
#[test]
fn what_is_planted_as_a_forward_is_not_followed() {
    type Plant = fn(&Path, &Path);
    let rows: &[(&str, Plant)] = &[
        ("a link", |file, planted| symlink(file, planted).unwrap()),
        ("a second name", |file, planted| {
            fs::hard_link(file, planted).unwrap();
        }),
        ("a FIFO", |_, planted| {
            nix::unistd::mkfifo(planted, nix::sys::stat::Mode::S_IRWXU).unwrap();
        }),
        ("a folder", |_, planted| fs::create_dir(planted).unwrap()),
    ];
    let Some(house) = House::open("planted-forward") else {
        return;
    };
    let (evil, file) = (house.path("home/mt-alice/evil"), house.path("bobs"));
    fs::write(&file, format!("\"|touch {}\"\n", evil.display())).unwrap();
    house.give(&file, BOB);
    let planted = house.path("home/mt-alice/.forward");
    for (what, plant) in rows {
        plant(&file, &planted);
        house.submit("root", &["-odq", "mt-alice"], MESSAGE);
        let ran = house.call("root", &["-q"], "");
        assert_eq!(ran.code, 0, "{what}: {ran:?}");
        assert!(!evil.exists(), "{what}: {}", house.log());
        let _ = fs::remove_file(&planted).or_else(|_| fs::remove_dir(&planted));
        // It waited for that to be mended, or is in the mailbox.
        assert_eq!(house.call("root", &["-q"], "").code, 0, "{what}");
    }
    assert_eq!(house.mail_of(ALICE).len(), rows.len(), "{}", house.log());
}

/// Who wakes the daemon writes into a FIFO, and into nothing else that stands in its place.
#[test]
fn what_is_planted_as_the_trigger_gets_nothing() {
    let Some(house) = House::open("planted-trigger") else {
        return;
    };
    let precious = house.path("precious");
    fs::write(&precious, "precious").unwrap();
    house.give(&precious, SPOOL);
    fs::set_permissions(&precious, PermissionsExt::from_mode(0o660)).unwrap();
    let daemon = house.daemon();
    let trigger = house.path("run/trigger");
    until("the trigger is there", || trigger.exists());
    let rows: [fn(&Path, &Path); 3] = [
        |file, planted| symlink(file, planted).unwrap(),
        |file, planted| fs::hard_link(file, planted).unwrap(),
        |_, planted| fs::create_dir(planted).unwrap(),
    ];
    for (count, plant) in (1..).zip(rows) {
        let _ = fs::remove_file(&trigger);
        plant(&precious, &trigger);
        house.submit(ALICE, &["mt-bob"], MESSAGE);
        let all = house.names("new").len() + house.names("cur").len() + house.mail_of(BOB).len();
        assert_eq!(all, count);
        assert_eq!(
            fs::read_to_string(&precious).unwrap(),
            "precious",
            "{count}"
        );
    }
    let _ = daemon.stop();
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

/// Who may not look into the spool is told so, and not that all is well.
#[test]
fn a_spool_that_is_closed_is_told() {
    let Some(house) = House::open("closed") else {
        return;
    };
    let ran = house.call(ALICE, &["--check"], "");
    let said = format!(
        "ok       spool {}: closed to mt-alice, as it should be; only root can tell what is in it\n",
        house.path("spool").display()
    );
    assert!(ran.stdout.contains(&said), "{ran:?}");
    // With a configuration of her own she is told the same, and nothing of what is in there.
    let own = house.path("home/mt-alice/own.toml");
    let spool = house.path("spool").display().to_string();
    fs::write(&own, format!("[queue]\nspool = \"{spool}\"\n")).unwrap();
    let ran = house.call(ALICE, &["-C", own.to_str().unwrap(), "--check"], "");
    assert!(ran.stdout.contains(&said), "{ran:?}");
}

/// A link is followed to where its user may write anyway, if he or root has put it there.
#[test]
fn a_users_own_links_are_followed() {
    let rows = [
        ("~/Maildir/", "Maildir", ALICE, 1),
        ("~/Maildir/", "Maildir", "root", 1),
        ("~/Maildir/", "Maildir", BOB, 0),
        ("~/in/Maildir/", "in", ALICE, 1),
        ("~/in/Maildir/", "in", BOB, 0),
        ("~/in/mbox", "in", "root", 1),
        ("~/in/mbox", "in", BOB, 0),
    ];
    for (mailbox, name, owner, arrive) in rows {
        let Some(house) = House::open("links") else {
            return;
        };
        let house = house.with_mailbox(mailbox);
        let data = house.path("data");
        fs::create_dir(&data).unwrap();
        house.give(&data, ALICE);
        fs::set_permissions(&data, PermissionsExt::from_mode(0o700)).unwrap();
        let link = house.path("home/mt-alice").join(name);
        symlink(&data, &link).unwrap();
        let uid = if owner == "root" {
            0
        } else {
            house.id(owner).0
        };
        std::os::unix::fs::lchown(&link, Some(uid), None).unwrap();
        house.submit("root", &["-odq", "mt-alice"], MESSAGE);
        assert_eq!(house.call("root", &["-q"], "").code, 0);
        let found = ["new", "Maildir/new"].map(|f| names_in(&data.join(f)).len());
        let kept = found[0] + found[1] + usize::from(data.join("mbox").exists());
        assert_eq!(kept, arrive, "{mailbox} {owner}: {}", house.log());
        let left = house.names("cur").len();
        assert_eq!(left, 1 - arrive, "{mailbox} {owner}: {}", house.log());
        if arrive == 0 {
            let said = format!(
                "the link {} on the way to it belongs to another user",
                link.display()
            );
            assert!(house.log().contains(&said), "{}", house.log());
        }
    }
}

/// J6: what stands in the place of the spool or the run folder before the start is not used.
#[test]
fn what_is_planted_before_the_start_stops_it() {
    let Some(house) = House::open("planted-before") else {
        return;
    };
    let elsewhere = house.open_folder("elsewhere");
    house.give(&elsewhere, SPOOL);
    for name in ["spool", "run"] {
        let (place, aside) = (house.path(name), house.path("aside"));
        fs::rename(&place, &aside).unwrap();
        symlink(&elsewhere, &place).unwrap();
        for words in [&["-q"][..], &["-bD"]] {
            let ran = house.call("root", words, "");
            assert_eq!(ran.code, 73, "{name} {words:?} {ran:?}");
            let said = format!("cannot make the folder {}: ", place.display());
            assert!(ran.stderr.contains(&said), "{ran:?}");
        }
        fs::remove_file(&place).unwrap();
        fs::rename(&aside, &place).unwrap();
    }
    assert_eq!(names_in(&elsewhere).len(), 0);
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
        fs::write(house.path("aliases"), aliases.replace("~/", &root)).unwrap();
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
