//! What somebody has put in the place of a folder, a file or a link that minimta works with: in the spool, in mailboxes and
//! beside them. Needs root, as tests/root.rs does.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::Path;
use std::process::Command;

use crate::harness::house::{ALICE, BOB, House, SPOOL};
use crate::harness::system::names_in;
use crate::harness::until;

const MESSAGE: &str = "Subject: for you alone\n\nthe secret of the message\n";

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
        ("a FIFO in a Maildir", "~/Maildir/", |house, home| {
            fs::create_dir(home.join("Maildir")).unwrap();
            let new = home.join("Maildir/new");
            nix::unistd::mkfifo(&new, nix::sys::stat::Mode::S_IRWXU).unwrap();
            house.give(&home.join("Maildir"), ALICE);
        }),
        ("a file of another user", "~/mbox", |house, home| {
            fs::write(home.join("mbox"), "").unwrap();
            house.give(&home.join("mbox"), BOB);
            fs::set_permissions(home.join("mbox"), PermissionsExt::from_mode(0o666)).unwrap();
        }),
        // Old, so that it is broken; a new one is waited for.
        ("a lock file that is a link", "~/mbox", |house, home| {
            let lock = home.join("mbox.lock");
            symlink(house.path("precious"), &lock).unwrap();
            let touch = ["-h", "-d", "1 hour ago"];
            let aged = Command::new("touch").args(touch).arg(lock).status();
            assert!(aged.unwrap().success());
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
            .is_ok_and(|m| m.is_file() && m.nlink() == 1 && m.uid() == house.id(ALICE).0);
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
        let (uid, shown) = (house.id(SPOOL).0, place.display().to_string());
        lchown(&place, Some(uid), None).unwrap();
        let said = format!("the link {shown} belongs to the user with the id {uid}, ");
        for words in [&["-q"][..], &["-bD"]] {
            let ran = house.call("root", words, "");
            assert_eq!(ran.code, 73, "{name} {words:?} {ran:?}");
            assert!(ran.stderr.contains(&said), "{ran:?}");
        }
        let checked = house.call("root", &["--check"], "");
        assert!(checked.stdout.contains(&said), "{checked:?}");
        fs::remove_file(&place).unwrap();
        fs::rename(&aside, &place).unwrap();
    }
    assert_eq!(names_in(&elsewhere).len(), 0);
}
