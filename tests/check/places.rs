//! What is made, by whom, and what is only looked at: the folders of the queue, and the log file.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};

use nix::sys::signal::Signal;

use crate::harness::house::{ALICE, BOB, House, SPOOL};
use crate::harness::{Daemon, until};

const MESSAGE: &str = "Subject: for you alone\n\nthe secret of the message\n";

/// The owner, the group and the mode of the log.
fn log_of(house: &House) -> (u32, u32, u32) {
    let about = fs::metadata(house.path("log")).unwrap();
    (about.uid(), about.gid(), about.mode() & 0o7777)
}

/// The owner, group and mode that it is to have.
fn shared(house: &House) -> (u32, u32, u32) {
    let (uid, gid) = house.id(SPOOL);
    (uid, gid, 0o660)
}

/// Who asks how things are changes nothing, and is told of a spool that is not there; who then hands in the first message
/// makes all of it, for others too.
#[test]
fn who_asks_makes_nothing_and_who_hands_in_makes_all() {
    let Some(house) = House::open("asks") else {
        return;
    };
    let places = ["spool", "run", "log"].map(|name| house.path(name));
    for folder in &places[..2] {
        fs::remove_dir_all(folder).unwrap();
    }
    fs::remove_file(&places[2]).unwrap();
    let spool = places[0].display();
    let asked: &[&[&str]] = &[
        &["--check"],
        &["-bv", "mt-bob"],
        &["--test", "mt-bob"],
        &["-bi"],
        &["-bp"],
        &["--status"],
    ];
    for user in ["root", ALICE] {
        for words in asked {
            let ran = house.call(user, words, "");
            assert!(
                !ran.stderr.contains("log file"),
                "{user} {words:?}: {ran:?}"
            );
            for place in &places {
                assert!(!place.exists(), "{user} {words:?} made {}", place.display());
            }
        }
    }
    let ran = house.call("root", &["--check"], "");
    let said = format!(
        "warning  spool {spool}: it is not there yet, and others than root cannot hand in mail until minimta -q has made it"
    );
    assert!(ran.stdout.lines().any(|l| l == said), "{ran:?}");
    assert!(ran.stdout.contains("\nok       log file "), "{ran:?}");
    house.submit("root", &["-odq", "mt-bob"], MESSAGE);
    house.submit(ALICE, &["-odq", "mt-bob"], MESSAGE);
    assert_eq!(log_of(&house), shared(&house));
    // Once more, where the log alone was taken away; and where an older program has made it for root alone.
    fs::remove_file(&places[2]).unwrap();
    house.submit("root", &["-odq", "mt-bob"], MESSAGE);
    house.submit(ALICE, &["-odq", "mt-bob"], MESSAGE);
    assert_eq!(log_of(&house), shared(&house));
    for owner in [0, house.id(SPOOL).0] {
        chown(&places[2], Some(owner), None).unwrap();
        fs::set_permissions(&places[2], PermissionsExt::from_mode(0o640)).unwrap();
        assert_eq!(house.call("root", &["-q"], "").code, 0);
        assert_eq!(log_of(&house), shared(&house), "{owner}");
    }
    assert_eq!(house.mail_of(BOB).len(), 4, "{}", house.log());
}

/// A spool of which only the folder was made, by hand, is whole as soon as its own user looks after it.
#[test]
fn whose_the_spool_is_makes_what_others_need() {
    let Some(house) = House::open("by-hand") else {
        return;
    };
    let spool = house.path("spool");
    let make = |word: &str| {
        fs::remove_dir_all(&spool).unwrap();
        let script = format!(
            "install -d -o {SPOOL} -g {SPOOL} -m 0710 {}",
            spool.display()
        );
        assert_eq!(house.shell("root", &script).code, 0, "{word}");
    };
    make("-q");
    let ran = house.call(SPOOL, &["-q", "--due"], "");
    assert_eq!(ran.code, 0, "{ran:?}");
    house.submit(ALICE, &["-odq", "mt-bob"], MESSAGE);
    make("-bD");
    house.give(&house.path("run"), SPOOL);
    let daemon = Daemon::logging_to(house.path("log"), || house.start(SPOOL, &["-bD"]));
    house.submit(ALICE, &["-odq", "mt-bob"], MESSAGE);
    assert_eq!(daemon.stop().code, 0);
    // Others begin none.
    fs::remove_dir_all(&spool).unwrap();
    assert_eq!(house.call(SPOOL, &["-q"], "").code, 0);
    assert!(!spool.exists());
}

/// Where a user cannot look, nothing is said to be missing.
#[test]
fn who_cannot_look_behind_a_link_is_not_told_to_mount_a_disk() {
    let Some(house) = House::open("closed-link") else {
        return;
    };
    let (spool, disk) = (house.path("spool"), house.path("disk"));
    fs::create_dir(&disk).unwrap();
    fs::rename(&spool, disk.join("spool")).unwrap();
    symlink(disk.join("spool"), &spool).unwrap();
    let line = |grade: &str, text: &str| format!("{grade} spool {}: {text}\n", spool.display());
    let closed = "closed to mt-alice; only root can tell how it is";
    let missing = "it is a link to a folder that is not there; mount its disk, or make the folder";
    for (mode, said) in [
        (0o700, line("warning ", closed)),
        (0o755, line("error   ", missing)),
    ] {
        fs::set_permissions(&disk, PermissionsExt::from_mode(mode)).unwrap();
        if mode == 0o755 {
            fs::rename(disk.join("spool"), disk.join("away")).unwrap();
        }
        let ran = house.call(ALICE, &["--check"], "");
        assert!(ran.stdout.contains(&said), "{said}{ran:?}");
    }
}

/// Places that cannot be are findings among the others, not the end of all.
#[test]
fn places_that_cannot_be_are_findings() {
    let Some(house) = House::open("impossible") else {
        return;
    };
    let file = house.path("minimta.toml");
    let text = fs::read_to_string(&file).unwrap();
    let named = |name: &str| format!("\"{}\"", house.path(name).display());
    let rows = [
        (
            "spool",
            "error    spool /nowhere/x: it is not there, and cannot be made in /nowhere: no such file",
        ),
        (
            "run",
            "error    run folder /nowhere/x: it is not there, and cannot be made in /nowhere: no such file",
        ),
        (
            "log",
            "warning  log file /nowhere/x: it is not there, and cannot be made in /nowhere: no such file",
        ),
    ];
    for (name, said) in rows {
        fs::write(&file, text.replace(&named(name), "\"/nowhere/x\"")).unwrap();
        let ran = house.call("root", &["--check"], "");
        assert!(ran.stdout.lines().any(|l| l.starts_with(said)), "{ran:?}");
        assert!(ran.stdout.contains("\nok       clock: "), "{ran:?}");
        let ran = house.call("root", &["--check", "--json"], "");
        assert!(ran.stdout.contains("\"thing\":\"clock\""), "{ran:?}");
    }
    // The last of them stops no mail.
    let ran = house.call("root", &["-q"], "");
    assert_eq!(ran.code, 0, "{ran:?}");
    // By root's process, and by the worker.
    let told = ran.stderr.matches("cannot write the log file /nowhere/x: ");
    assert_eq!(told.count(), 2, "{ran:?}");
    // Nor is anything made of what is no file by its own name.
    fs::write(&file, text.replace(&named("log"), "\"/dev/stderr\"")).unwrap();
    let ran = house.call("root", &["--check"], "");
    assert!(!ran.stdout.contains("log file"), "{ran:?}");
}

/// A users file that is closed to whoever asks is that of others, and is not to be given to him; root is told who cannot
/// read it.
#[test]
fn who_may_not_see_the_users_is_not_told_to_open_them() {
    let Some(house) = House::open("closed-users") else {
        return;
    };
    let users = house.path("users");
    fs::write(&users, "").unwrap();
    fs::set_permissions(&users, PermissionsExt::from_mode(0o640)).unwrap();
    let file = house.path("minimta.toml");
    let text = fs::read_to_string(&file).unwrap();
    let text = format!("{text}[access]\nusers_file = {:?}\n", users.display());
    fs::write(&file, &text).unwrap();
    let told = |user: &str| {
        let ran = house.call(user, &["--check"], "");
        ran.stdout.contains("users_file")
    };
    assert!(!told(ALICE));
    // Who is to read them is told.
    assert!(!told(SPOOL));
    let listens = "[listen]\nsubmission = [\"127.0.0.1:0\"]";
    fs::write(&file, text.replace("[listen]", listens)).unwrap();
    let ran = house.call(SPOOL, &["--check"], "");
    let said = format!(
        "error    users_file {0}: cannot read users_file {0}: permission denied",
        users.display()
    );
    assert!(ran.stdout.contains(&said), "{ran:?}");
    for text in [text.clone(), text.replace("[listen]", listens)] {
        fs::write(&file, text).unwrap();
        fs::set_permissions(&users, PermissionsExt::from_mode(0o600)).unwrap();
        let ran = house.call("root", &["--check"], "");
        assert!(ran.stdout.contains(&said), "{ran:?}");
        fs::set_permissions(&users, PermissionsExt::from_mode(0o644)).unwrap();
        let ran = house.call("root", &["--check"], "");
        assert!(!ran.stdout.contains("cannot read users_file"), "{ran:?}");
    }
}

/// The log of many a machine is a link to a disk that can be worn out.
#[test]
fn a_log_that_is_a_link_stops_nothing() {
    let Some(house) = House::open("linked-log") else {
        return;
    };
    fs::create_dir(house.path("disk")).unwrap();
    fs::remove_file(house.path("log")).unwrap();
    symlink(house.path("disk/log"), house.path("log")).unwrap();
    house.submit("root", &["-odq", "mt-bob"], MESSAGE);
    let ran = house.call("root", &["-q"], "");
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(log_of(&house), shared(&house));
    house.submit(ALICE, &["-odq", "mt-bob"], MESSAGE);
    let daemon = house.daemon();
    fs::rename(house.path("disk/log"), house.path("disk/log.1")).unwrap();
    daemon.signal(Signal::SIGHUP);
    until("the worker goes on in a new log", || {
        house.log().contains("has read its configuration again")
    });
    assert_eq!(log_of(&house), shared(&house));
    assert_eq!(daemon.stop().code, 0);
    // Nobody else chooses what is written to.
    lchown(house.path("log"), Some(house.id(ALICE).0), None).unwrap();
    let ran = house.call("root", &["-odq", "mt-bob"], MESSAGE);
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = house.call("root", &["-q"], "");
    let said = format!(
        "the log file {} is a link of the user {}, who must not choose where the log goes",
        house.path("log").display(),
        house.id(ALICE).0
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains(&said), "{ran:?}");
    let ran = house.call("root", &["--check"], "");
    assert!(ran.stdout.contains(&said), "{ran:?}");
    assert_eq!(house.mail_of(BOB).len(), 3, "{}", house.log());
}

/// Where Debian has them, root alone makes mailboxes.
#[test]
fn who_cannot_make_his_mailbox_is_told_how_it_is_made() {
    let Some(house) = House::open("unmade") else {
        return;
    };
    let folder = house.path("boxes");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, PermissionsExt::from_mode(0o2755)).unwrap();
    let house = house.with_mailbox(&format!("{}/%u", folder.display()));
    let bobs = folder.join(BOB);
    let making = format!(
        "install -o {BOB} -g root -m 660 /dev/null {}",
        bobs.display()
    );
    fs::write(folder.join(ALICE), "").unwrap();
    house.submit("root", &["-odq", BOB], MESSAGE);
    assert_eq!(house.call("root", &["-q"], "").code, 0);
    let said = format!(
        "cannot make the mailbox {}: permission denied; only who may write to its folder can: {making}",
        bobs.display()
    );
    let listed = house.call("root", &["-bp"], "").stdout;
    assert!(listed.contains(&said), "{listed}");
    let told = |ran: &str| ran.lines().any(|l| l.starts_with("warning  mailboxes: "));
    let ran = house.call("root", &["--check"], "");
    assert!(told(&ran.stdout), "{ran:?}");
    // Others that a machine has, too.
    let made = house.shell("root", &making);
    assert_eq!(made.code, 0, "{made:?}");
    assert_eq!(house.call("root", &["-q"], "").code, 0);
    let text = fs::read_to_string(&bobs).unwrap();
    assert!(
        text.contains("the secret of the message"),
        "{}",
        house.log()
    );
    let ran = house.call("root", &["--check"], "");
    assert!(!ran.stdout.contains(&making), "{ran:?}");
}
