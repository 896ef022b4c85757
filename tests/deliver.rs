//! From the spool to a mailbox of this system: Maildir and mbox, for the user who runs the tests.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::harness::system::{HOST, age, finish, me, names_in, user};
use crate::harness::{Mail, System, until};

const MESSAGE: &str = "From: a@example.org\nSubject: x\n\nhello\n";

fn deliver(system: &System, args: &[&str], message: &str) {
    let me = me();
    system.accept(&[&["-i", "-odq"], args, &[&me]].concat(), message);
    system.accept(&["-q"], "");
}

#[test]
fn a_maildir_gets_one_whole_file() {
    let system = System::new("maildir");
    deliver(
        &system,
        &["-f", "a@example.org"],
        "From: a@example.org\nReturn-Path: <forged@example.org>\nSubject: x\n\nFrom the start\n.\n",
    );
    let maildir = system.maildir();
    assert!(names_in(&maildir.join("tmp")).is_empty());
    assert!(names_in(&maildir.join("cur")).is_empty());
    let names = names_in(&maildir.join("new"));
    assert_eq!(names.len(), 1);
    let path = maildir.join("new").join(&names[0]);
    let bytes = fs::read(&path).unwrap();
    // The name: unique, without what means something in it, and with the size (Maildir++).
    assert!(
        names[0].ends_with(&format!(",S={}", bytes.len())),
        "{names:?}"
    );
    assert!(
        !names[0].contains([':', '/']) && !names[0].starts_with('.'),
        "{names:?}"
    );
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    for folder in ["", "tmp", "new", "cur"] {
        let mode = fs::metadata(maildir.join(folder))
            .unwrap()
            .permissions()
            .mode()
            & 0o777;
        assert_eq!(mode, 0o700, "{folder}");
    }
    assert!(!bytes.contains(&b'\r'), "lines end as files here end them");
    let mail = Mail::new(&bytes);
    // F14, R66: one Return-Path, ours, on top.
    assert!(
        mail.text().starts_with("Return-Path: <a@example.org>\n"),
        "{}",
        mail.text()
    );
    assert_eq!(mail.all("Return-Path").len(), 1);
    assert_eq!(mail.body(), "From the start\n.\n");
}

/// F26, R70, R71: fields that meant something to other programs, and some that are hardly fields, pass as they are; none
/// of them decides where a message ends.
#[test]
fn odd_fields_pass_as_they_are() {
    let fields = "Resent-From: b@example.org\nResent-To: c@example.net\nErrors-To: d@example.org\n\
                  Content-Length: 3\nLines: 1\nStatus: RO\nX-Status: D\nPrecedence: bulk\n\
                  From: a@example.org\nFrom: b@example.org\nDate: yesterday\nMessage-ID: none\nTo: nobody <\n";
    let message = format!("{fields}Subject: x\n\nhello\nFrom here on\n");
    for system in [System::new("odd-fields"), with_mbox("odd-fields-mbox")] {
        deliver(&system, &["-f", "a@example.org"], &message);
        deliver(&system, &["-f", "a@example.org"], MESSAGE);
        let file = mbox(&system);
        let texts: Vec<String> = match file.is_file() {
            true => {
                let text = fs::read_to_string(file).unwrap();
                let parts = text.split("\n\nFrom ").map(str::to_owned);
                parts.collect()
            }
            false => system
                .mailbox()
                .iter()
                .map(|m| m.text().to_owned())
                .collect(),
        };
        assert_eq!(texts.len(), 2, "{texts:?}");
        let odd = texts
            .iter()
            .find(|text| text.contains("Errors-To"))
            .unwrap();
        assert!(odd.contains(fields), "{odd}");
        assert!(odd.trim_end().ends_with("From here on"), "{odd}");
    }
}

#[test]
fn the_null_sender_is_shown_as_such() {
    let system = System::new("null");
    deliver(&system, &["-f", "<>"], MESSAGE);
    assert_eq!(
        system.mailbox()[0].field("Return-Path").as_deref(),
        Some("<>")
    );
}

/// C39, C36: who is meant is one question, asked in one place.
#[test]
fn each_way_to_write_a_local_address_reaches_the_user() {
    let user = user();
    for to in [
        user.clone(),
        format!("{user}@{HOST}"),
        format!("{user}@PI.Test.Example"),
        format!("{user}@localhost"),
        format!("\"{user}\"@{HOST}"),
    ] {
        let system = System::new("names");
        system.accept(&["-odq", &to], MESSAGE);
        system.accept(&["-q"], "");
        assert_eq!(system.mailbox().len(), 1, "{to}: {}", system.log());
    }
}

/// J7: nobody of that name.
#[test]
fn an_unknown_user_is_reported_to_the_sender() {
    let system = System::new("unknown");
    let ran = system.run(&["-odq", "no-such-user-here"], MESSAGE);
    if ran.code == 67 {
        // Said at once: nothing is kept then.
        assert!(ran.stderr.contains("no-such-user-here"), "{ran:?}");
        assert!(system.queue().is_empty());
        return;
    }
    assert_eq!(ran.code, 0, "{ran:?}");
    for _ in 0..2 {
        system.accept(&["-q"], "");
    }
    assert!(system.queue().is_empty());
    let told = system.mailbox();
    assert_eq!(told.len(), 1);
    for part in ["no-such-user-here", "Status: 5.1.1", "Action: failed"] {
        assert!(told[0].text().contains(part), "{part}: {}", told[0].text());
    }
}

/// C18, C31, J10: a local part is no path.
#[test]
fn a_local_part_never_names_a_file() {
    let system = System::new("path");
    for to in [
        "../../etc/x",
        "a/b",
        "..",
        ".",
        "|id",
        "/var/x",
        "\"\"",
        "x y",
    ] {
        let to = format!("\"{}\"@{HOST}", to.trim_matches('"'));
        let _ = system.run(&["-odq", &to], MESSAGE);
    }
    let before = names_in(&system.root);
    for _ in 0..2 {
        system.accept(&["-q"], "");
    }
    let mut after = names_in(&system.root);
    after.retain(|n| n != "log");
    let mut before = before;
    before.retain(|n| n != "log");
    assert_eq!(before, after);
    let boxes = names_in(&system.path("mail"));
    assert!(boxes.is_empty() || boxes == [user()], "{boxes:?}");
}

/// Every row makes a Maildir unfit: the message waits, the reason names the place, and nothing is written
/// elsewhere (J1, J4, J5, J8). Then it is put right, and the message is delivered.
#[test]
fn an_unfit_maildir_defers() {
    type Change = fn(&System);
    let rows: &[(&str, Change, Change)] = &[
        (
            "its parent is missing, as a home that is not mounted",
            |s| fs::remove_dir(s.path("mail")).unwrap(),
            |s| fs::create_dir(s.path("mail")).unwrap(),
        ),
        (
            "it is a file",
            |s| fs::write(s.maildir(), "precious").unwrap(),
            |s| fs::remove_file(s.maildir()).unwrap(),
        ),
        (
            "new is a file",
            |s| {
                fs::create_dir(s.maildir()).unwrap();
                fs::write(s.maildir().join("new"), "precious").unwrap();
            },
            |s| fs::remove_file(s.maildir().join("new")).unwrap(),
        ),
        (
            "anybody may write to it",
            |s| {
                fs::create_dir(s.maildir()).unwrap();
                fs::set_permissions(s.maildir(), fs::Permissions::from_mode(0o777)).unwrap();
            },
            |s| fs::set_permissions(s.maildir(), fs::Permissions::from_mode(0o700)).unwrap(),
        ),
        (
            "a link to nowhere",
            |s| symlink(s.path("gone"), s.maildir()).unwrap(),
            |s| fs::remove_file(s.maildir()).unwrap(),
        ),
    ];
    for (what, spoil, mend) in rows {
        let system = System::new("unfit");
        spoil(&system);
        deliver(&system, &[], MESSAGE);
        let queued = system.queued();
        let last = queued.journal.last().unwrap();
        assert!(last.contains(" deferred "), "{what}: {last}");
        assert!(
            last.contains(&system.path("mail").display().to_string()),
            "{what}: {last}"
        );
        mend(&system);
        system.accept(&["-q"], "");
        assert_eq!(system.mailbox().len(), 1, "{what}: {}", system.log());
        assert!(system.queue().is_empty(), "{what}");
    }
}

/// J24: names of deliveries at the same time differ.
#[test]
fn deliveries_at_once_do_not_meet() {
    let system = System::new("names");
    let me = me();
    for i in 0..60 {
        system.accept(&["-odq", &me], format!("Subject: {i}\n\nx\n"));
    }
    let runs: Vec<_> = (0..3)
        .map(|_| system.call("sendmail").args(&["-q"]).start())
        .collect();
    for run in runs {
        assert_eq!(finish(run).code, 0);
    }
    assert_eq!(system.mailbox().len(), 60);
}

fn mbox(system: &System) -> std::path::PathBuf {
    system.path("mail").join(user())
}

fn with_mbox(name: &str) -> System {
    let system = System::new(name);
    let path = system.path("mail/%u").display().to_string();
    system.with("local", &format!("mailbox = \"{path}\""))
}

/// J26, F13: what is appended can be told apart again.
#[test]
fn an_mbox_is_appended_to() {
    let system = with_mbox("mbox");
    let body = "From the start\n>From quoted\n\nFrom me\nfrom below\n";
    deliver(
        &system,
        &["-f", "a@example.org"],
        &format!("From: a@example.org\nSubject: one\n\n{body}"),
    );
    deliver(
        &system,
        &["-f", "<>"],
        "From: a@example.org\nSubject: two\n\nno line end",
    );
    let text = fs::read_to_string(mbox(&system)).unwrap();
    assert!(!text.contains('\r'));
    let starts: Vec<&str> = text.lines().filter(|l| l.starts_with("From ")).collect();
    assert_eq!(starts.len(), 2, "{text}");
    assert!(starts[0].starts_with("From a@example.org "), "{text}");
    assert!(starts[1].starts_with("From MAILER-DAEMON "), "{text}");
    assert!(text.contains("\n>From the start\n"), "{text}");
    assert!(text.contains("\n>From me\nfrom below\n"), "{text}");
    assert!(text.ends_with("\nno line end\n\n"), "{text}");
    assert!(text.contains("\n\nFrom MAILER-DAEMON "), "{text}");
    assert_eq!(
        fs::metadata(mbox(&system)).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(
        names_in(&system.path("mail")),
        [user()],
        "no lock file is left"
    );
}

#[test]
fn an_mbox_that_ended_in_the_middle_of_a_line_is_mended() {
    let system = with_mbox("cut");
    fs::write(
        mbox(&system),
        "From x Mon Nov 23 18:20:00 2026\nSubject: torn\n\nhalf a li",
    )
    .unwrap();
    fs::set_permissions(mbox(&system), fs::Permissions::from_mode(0o600)).unwrap();
    deliver(&system, &[], MESSAGE);
    let text = fs::read_to_string(mbox(&system)).unwrap();
    assert!(
        text.starts_with("From x Mon Nov 23 18:20:00 2026\nSubject: torn\n\nhalf a li\n\nFrom "),
        "{text}"
    );
}

/// J2, J3, J26: none of these is written to; the message waits.
#[test]
fn an_unfit_mbox_defers() {
    type Change = fn(&System);
    let rows: &[(&str, Change)] = &[
        ("a link", |s| {
            fs::write(s.path("precious"), "precious").unwrap();
            symlink(s.path("precious"), mbox(s)).unwrap();
        }),
        ("a second name", |s| {
            fs::write(s.path("precious"), "precious").unwrap();
            fs::hard_link(s.path("precious"), mbox(s)).unwrap();
        }),
        ("a folder", |s| fs::create_dir(mbox(s)).unwrap()),
        ("a FIFO", |s| {
            nix::unistd::mkfifo(&mbox(s), nix::sys::stat::Mode::S_IRWXU).unwrap()
        }),
    ];
    for (what, spoil) in rows {
        let system = with_mbox("unfit-mbox");
        spoil(&system);
        deliver(&system, &[], MESSAGE);
        let queued = system.queued();
        assert!(
            queued.journal[0].contains(" deferred "),
            "{what}: {queued:?}"
        );
        if let Ok(text) = fs::read_to_string(system.path("precious")) {
            assert_eq!(text, "precious", "{what}");
        }
    }
}

/// J26: another program's lock is waited for, a dead one's is broken.
#[test]
fn a_locked_mbox_is_waited_for() {
    let system = with_mbox("locked");
    let lock = system.path("mail").join(format!("{}.lock", user()));
    fs::write(&lock, "").unwrap();
    age(&lock, 3600);
    deliver(&system, &[], MESSAGE);
    assert!(
        fs::read_to_string(mbox(&system)).unwrap().contains("hello"),
        "a stale lock is broken"
    );
    fs::write(&lock, "").unwrap();
    let me = me();
    system.accept(&["-odq", &me], "Subject: second\n\nx\n");
    let run = system.call("sendmail").args(&["-q"]).start();
    // It does not write while the lock stands; when that goes, or the run gives up, all is well again.
    until("the run is at work", || {
        !system.names("new").is_empty() || !system.names("cur").is_empty()
    });
    assert!(
        !fs::read_to_string(mbox(&system))
            .unwrap()
            .contains("second")
    );
    fs::remove_file(&lock).unwrap();
    assert_eq!(finish(run).code, 0);
    system.accept(&["-q"], "");
    assert!(
        fs::read_to_string(mbox(&system))
            .unwrap()
            .contains("second")
    );
}

/// J25: a mailbox is the end of a way, so that no trace makes a loop there; a command may send it on, so that there one
/// does which stands above a line of ours, as one that we have written always does.
#[test]
fn a_forged_trace_makes_no_loop_of_a_mailbox() {
    let forged = format!("Delivered-To: {0}\nDelivered-To: {0}\n", me());
    let ours = format!("Received: by {HOST} (minimta, from uid 0)\n");
    // The header, and whether a mailbox and a command get it.
    let rows = [
        (forged.clone(), true, true),
        (format!("{forged}{ours}"), true, false),
    ];
    for (header, mailbox, command) in rows {
        let text = format!("{header}Subject: x\n\nhello\n");
        let system = System::new("forged-trace");
        deliver(&system, &[&me()], &text);
        let found = names_in(&system.maildir().join("new")).len();
        assert_eq!(found == 1, mailbox, "{}", system.log());
        let kept = system.path("kept");
        let system = System::new("forged-trace-command")
            .with("local", &format!("mailbox = \"|cat >{}\"", kept.display()))
            .with(
                "smarthost",
                "host = \"127.0.0.1\"\nport = 1\ntls = \"none\"",
            );
        std::fs::create_dir_all(kept.parent().unwrap()).unwrap();
        system.accept(&["-odq", "-f", "a@example.org", &me()], &text);
        system.accept(&["-q"], "");
        assert_eq!(kept.exists(), command, "{header}: {}", system.log());
        let told = system.log().contains("it runs in a loop");
        assert_eq!(told, !command, "{header}");
    }
}

/// C44: the same recipient twice is one copy.
#[test]
fn one_copy_for_each_recipient() {
    let system = System::new("copies");
    let me = me();
    let message = format!("To: {me}\nCc: {}\nSubject: x\n\nhello\n", user());
    system.accept(&["-odq", "-t", &me], message);
    system.accept(&["-q"], "");
    assert_eq!(system.mailbox().len(), 1);
}

/// Without a smarthost and without an answer from DNS, mail for others waits, and says why.
#[test]
fn mail_for_others_without_a_way_waits() {
    let system = System::new("no-way");
    system.accept(&["-odq", "one@example.net"], MESSAGE);
    system.accept(&["-q"], "");
    let queued = system.queued();
    assert!(queued.journal[0].contains(" deferred "), "{queued:?}");
    let why = "cannot find the mail servers of example.net";
    assert!(queued.journal[0].contains(why), "{queued:?}");
}
