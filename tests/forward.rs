//! ~/.forward: read and done in the right of its user, and of nobody else.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::alias::told;
use crate::harness::house::{ALICE, BOB, House};
use crate::harness::system::HOST;
use crate::harness::{Remote, Script};

/// The ~/.forward of a user, his alone.
fn forward(house: &House, user: &str, text: &str) {
    let file = house.path("home").join(user).join(".forward");
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    house.give(&file, user);
}

/// For you.
const SECRET: &str = "Subject: x\n\nthe secret of the message\n";

/// By root's queue run and its helpers: everybody's file is read, and everybody's command is run, as he himself.
#[test]
fn a_forward_is_read_and_done_in_the_right_of_its_user() {
    let Some(house) = House::open("forward") else {
        return;
    };
    let told = house.open_folder("told");
    // J12: nothing is open but the three it knows.
    let open = "for fd in /proc/$$/fd/*; do [ -e $fd ] && echo ${fd##*/}; done";
    let tell = |who: &str| {
        let file = format!("{}/{who}", told.display());
        format!("\"|cat >/dev/null; id -un >{file}; ({open}) >{file}.open\"")
    };
    forward(
        &house,
        ALICE,
        &format!("\\{ALICE}, {BOB}\n{}\n", tell("alice")),
    );
    fs::write(
        house.path("aliases"),
        format!("all: {ALICE}, {BOB}, {}\n", tell("alias")),
    )
    .unwrap();
    house.submit("root", &["-odq", "all"], SECRET);
    assert_eq!(house.call("root", &["-q"], "").code, 0);
    assert_eq!(
        (house.mail_of(ALICE).len(), house.mail_of(BOB).len()),
        (1, 1),
        "{}",
        house.log()
    );
    let said = |who: &str| fs::read_to_string(told.join(who)).unwrap_or_default();
    assert_eq!(said("alice"), format!("{ALICE}\n"), "{}", house.log());
    assert_eq!(said("alias"), "nobody\n");
    assert_eq!(
        (said("alice.open"), said("alias.open")),
        ("0\n1\n2\n".into(), "0\n1\n2\n".into())
    );
    assert!(house.names("cur").is_empty() && house.names("new").is_empty());
    // He may ask where his mail goes, and root where anybody's does.
    let asked = house.call("root", &["-bv", ALICE], "").stdout;
    assert!(
        asked.contains(&format!("{ALICE}: ~{ALICE}/.forward > local user {BOB}")),
        "{asked}"
    );
    // Two who send to each other: it ends with one of them.
    forward(&house, ALICE, BOB);
    forward(&house, BOB, ALICE);
    house.submit("root", &["-odq", ALICE], SECRET);
    assert_eq!(house.call("root", &["-q"], "").code, 0);
    assert_eq!(
        (house.mail_of(ALICE).len(), house.mail_of(BOB).len()),
        (2, 1),
        "{}",
        house.log()
    );
}

/// J15, J16, J18: what others may have written leads nowhere; the mail waits, and is not put elsewhere.
#[test]
fn a_forward_of_others_is_not_used() {
    let Some(house) = House::open("forward-odd") else {
        return;
    };
    let home = house.path("home").join(ALICE);
    let file = home.join(".forward");
    let secret = house.path("secret");
    fs::write(&secret, "classified@example.net\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let rows: &[(&str, &dyn Fn(), &str)] = &[
        (
            "writable",
            &|| mode(&file, 0o620),
            "may be written by others",
        ),
        (
            "an open home",
            &|| mode(&home, 0o770),
            "may be written by others",
        ),
        (
            "another's",
            &|| {
                house.give(&file, BOB);
                mode(&file, 0o644);
            },
            "belongs to the user with the number",
        ),
        (
            "a link",
            &|| {
                fs::remove_file(&file).unwrap();
                std::os::unix::fs::symlink(&secret, &file).unwrap();
            },
            "is a link",
        ),
        (
            "huge",
            &|| fs::write(&file, "x".repeat(70_000)).unwrap(),
            "is larger than 64 KiB",
        ),
        (
            "a secret as a list",
            &|| fs::write(&file, format!(":include:{}\n", secret.display())).unwrap(),
            "permission denied",
        ),
        (
            "nonsense",
            &|| fs::write(&file, "a b\n").unwrap(),
            ".forward, line 1: \"a b\" is not one address",
        ),
    ];
    for (what, spoil, says) in rows {
        let _ = fs::remove_file(&file);
        mode(&home, 0o700);
        forward(&house, ALICE, &format!("{BOB}\n"));
        spoil();
        house.submit("root", &["-odq", ALICE], SECRET);
        assert_eq!(house.call("root", &["-q"], "").code, 0);
        let list = house.call("root", &["-bp"], "").stdout;
        assert!(list.contains(says), "{what}: {list}");
        assert!(!list.contains("classified"), "{what}: {list}");
        assert_eq!(
            house.mail_of(ALICE).len() + house.mail_of(BOB).len(),
            0,
            "{what}"
        );
        assert_eq!(house.call("root", &["--remove", "ALL"], "").code, 0);
    }
}

/// Who only waits, because his ~/.forward cannot be read now, has no copy in his mailbox yet: what an alias puts there
/// does not wait for him, and does not go where he sends his mail later.
#[test]
fn a_copy_for_the_mailbox_of_who_waits_is_his_own() {
    let Some(house) = House::open("forward-own") else {
        return;
    };
    fs::write(house.path("aliases"), format!("own: \\{BOB}\n")).unwrap();
    let home = house.path("home").join(BOB);
    let mode = |mode| fs::set_permissions(&home, fs::Permissions::from_mode(mode)).unwrap();
    for (later, copies) in [(None, 1), (Some(ALICE), 2)] {
        mode(0o1700);
        house.submit("root", &["-odq", "own", BOB], SECRET);
        assert_eq!(house.call("root", &["-q"], "").code, 0);
        assert_eq!(house.mail_of(BOB).len(), copies, "{}", house.log());
        if let Some(later) = later {
            forward(&house, BOB, later);
        }
        mode(0o700);
        assert_eq!(house.call("root", &["-q"], "").code, 0);
        assert!(house.names("cur").is_empty(), "{}", house.log());
    }
    assert_eq!(
        (house.mail_of(BOB).len(), house.mail_of(ALICE).len()),
        (2, 1),
        "{}",
        house.log()
    );
}

/// Without a daemon: whoever hands mail in finds out whom an alias stands for, and sends what goes elsewhere; what
/// stays here waits for root's run.
#[test]
fn whoever_hands_mail_in_expands_it() {
    let Some(house) = House::open("forward-later") else {
        return;
    };
    let remote = Remote::start(Script::new());
    let house = house.with(&format!(
        "user = \"mt-spool\"\n[smarthost]\n{}",
        remote.smarthost()
    ));
    fs::write(
        house.path("aliases"),
        format!("all: {BOB}, far@example.net, {ALICE}\n"),
    )
    .unwrap();
    forward(&house, BOB, "bob@example.net");
    forward(&house, ALICE, "alice@example.net");
    house.submit(ALICE, &["-odi", "all"], SECRET);
    assert_eq!(
        told(&remote).len(),
        2,
        "{} {:?}",
        house.log(),
        told(&remote)
    );
    assert!(told(&remote)[1].contains("far@example.net"));
    assert_eq!(house.call("root", &["-q"], "").code, 0);
    assert_eq!(remote.received().len(), 3, "{}", house.log());
    assert!(
        house.names("cur").is_empty() && house.names("new").is_empty(),
        "{}",
        house.log()
    );
    // What has come back stays in the mailbox.
    let stamp = remote.received().iter().find_map(|r| {
        let mine = r.recipients().iter().any(|t| t.contains("bob@"));
        mine.then(|| r.mail().field("Delivered-To")).flatten()
    });
    assert_eq!(stamp, Some(format!("{BOB}@{HOST}")));
    let back = format!("Delivered-To: {BOB}@{HOST}\nReceived: by {HOST} (x)\n{SECRET}");
    house.submit("root", &["-odq", BOB], &back);
    assert_eq!(house.call("root", &["-q"], "").code, 0);
    assert_eq!(
        (house.mail_of(BOB).len(), remote.received().len()),
        (1, 3),
        "{}",
        house.log()
    );
}
