//! What an mbox has in it after a delivery, and who has it locked.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use super::super::mailbox::scratch::Scratch;
use super::lock_file::{STALE, owner_line};
use super::*;
use crate::proto::address::Mailbox;
use crate::proto::reply::Enhanced;

const NOW: i64 = 1_795_454_400;
const FROM: &str = "From sender@example.org Mon Nov 23 17:20:00 2026\n";

fn sender() -> ReversePath {
    ReversePath::Mailbox(Mailbox::parse("sender@example.org").unwrap())
}

/// Waits for a moment, and for ten seconds in all. A process that another test begins has all that is open here until it
/// is the program that it is to be, and with it the kernel's lock of a file that was closed here.
fn patience() -> impl FnMut() -> bool {
    let mut left = 1000;
    move || {
        left -= 1;
        std::thread::sleep(std::time::Duration::from_millis(10));
        left > 0
    }
}

fn put(file: &Path, text: &str) -> Result<(), MailboxError> {
    append(file, &sender(), NOW, &mut text.as_bytes(), &mut patience())
}

#[test]
fn messages_stand_behind_one_another() {
    // What the file had, what comes, what is behind it then (J26).
    let rows = [
        (
            "",
            "A: b\r\n\r\nbody\r\n",
            format!("{FROM}A: b\n\nbody\n\n"),
        ),
        ("x\n\n", "no end", format!("{FROM}no end\n\n")),
        ("x\n", "", format!("\n{FROM}\n")),
        ("x", "y\r\n", format!("\n\n{FROM}y\n\n")), // a crash in an earlier message
        ("\n", "y\r\n", format!("{FROM}y\n\n")),
        (
            "",
            "From a\r\n>From b\r\nFrom: c\r\n",
            format!("{FROM}>From a\n>>From b\nFrom: c\n\n"),
        ),
    ];
    for (at, (before, text, behind)) in rows.iter().enumerate() {
        let scratch = Scratch::new(&format!("mbox-append-{at}"));
        let file = scratch.path("mbox");
        if !before.is_empty() {
            fs::write(&file, before).unwrap();
        }
        put(&file, text).unwrap();
        assert_eq!(
            fs::read_to_string(&file).unwrap(),
            format!("{before}{behind}")
        );
        assert!(!scratch.path("mbox.lock").exists());
    }
}

#[test]
fn the_from_line_names_one_word() {
    let quoted = Mailbox::parse("\"a b\"@example.org").unwrap();
    let rows = [
        (ReversePath::Null, "MAILER-DAEMON"),
        (ReversePath::Mailbox(quoted), "\"a-b\"@example.org"),
    ];
    for (sender, word) in rows {
        assert_eq!(from_word(&sender), word);
    }
}

#[test]
fn unfit_files_are_left_alone() {
    type Spoil = fn(&Path);
    let rows: &[(&str, Spoil, &str)] = &[
        (
            "J2",
            |m| symlink("/etc/passwd", m).unwrap(),
            "cannot open the mailbox",
        ),
        (
            "J2",
            |m| symlink("/nowhere/x", m).unwrap(),
            "cannot open the mailbox",
        ),
        (
            "J3",
            |m| {
                fs::write(m, "").unwrap();
                fs::hard_link(m, m.with_extension("other")).unwrap()
            },
            "a second name",
        ),
        (
            "",
            |m| fs::create_dir(m).unwrap(),
            "cannot open the mailbox",
        ),
        (
            "",
            |m| nix::unistd::mkfifo(m, nix::sys::stat::Mode::S_IRWXU).unwrap(),
            "it is no file",
        ),
        (
            "J8",
            |m| fs::remove_dir(m.parent().unwrap()).unwrap(),
            "the folder above it must be there",
        ),
    ];
    for (at, (case, spoil, why)) in rows.iter().enumerate() {
        let scratch = Scratch::new(&format!("mbox-unfit-{at}"));
        let home = scratch.path("home");
        fs::create_dir(&home).unwrap();
        let file = home.join("mbox");
        spoil(&file);
        let error = put(&file, "x\r\n").unwrap_err();
        assert!(error.sentence.contains(why), "{case}: {error}");
        assert_eq!(error.enhanced.0, 4);
        assert!(!home.join("mbox.lock").exists());
    }
}

#[test]
fn a_lock_of_a_dead_delivery_is_broken_at_once() {
    let scratch = Scratch::new("mbox-orphan");
    let (file, lock_file) = (scratch.path("mbox"), scratch.path("mbox.lock"));
    let mut dead = std::process::Command::new("true").spawn().unwrap();
    let id = dead.id();
    dead.wait().unwrap();
    let rows = [
        (owner_line(id), true),
        (owner_line(std::process::id()), false),
        // Another machine may have such a process; other programs write other things.
        (format!("{id} elsewhere.example\n"), false),
        (format!("{id}"), false),
        (owner_line(0), false),
        (String::new(), false),
    ];
    for (line, broken) in rows {
        fs::write(&lock_file, &line).unwrap();
        fs::File::options()
            .append(true)
            .open(&lock_file)
            .unwrap()
            .set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(NOW as u64))
            .unwrap();
        let mut again = patience();
        let mut wait = || broken && again();
        let put = append(&file, &sender(), NOW, &mut &b"A: b\r\n"[..], &mut wait);
        assert_eq!(put.is_ok(), broken, "{line:?}");
        let _ = fs::remove_file(&lock_file);
    }
}

#[test]
fn a_locked_mailbox_is_waited_for_as_long_as_the_caller_likes() {
    let scratch = Scratch::new("mbox-locked");
    let (file, lock_file) = (scratch.path("mbox"), scratch.path("mbox.lock"));
    let set_age = |seconds: i64| {
        let at =
            SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(NOW - seconds).unwrap());
        File::create(&lock_file).unwrap().set_modified(at).unwrap();
    };
    for age in [0, STALE - 1, 1 - STALE] {
        set_age(age);
        let mut waits = 0;
        let error = append(&file, &sender(), NOW, &mut &b"x"[..], &mut || {
            waits += 1;
            waits < 3
        });
        let error = error.unwrap_err();
        assert_eq!(waits, 3);
        assert_eq!(error.enhanced, Enhanced(4, 2, 1));
        let with = format!(
            "another program has it locked with {};",
            lock_file.display()
        );
        assert!(error.sentence.contains(&with), "{error}");
        assert!(lock_file.exists() && !file.exists());
    }
    for age in [STALE, -STALE] {
        set_age(age); // broken (J26); from the future: the clock was set back
        put(&file, "x\r\n").unwrap();
        assert!(!lock_file.exists());
    }
    // Now by the kernel, and set free while we wait.
    let mut again = patience();
    let mut reader = Some(File::options().write(true).open(&file).unwrap());
    lock(reader.as_ref().unwrap()).unwrap();
    append(&file, &sender(), NOW, &mut &b"y"[..], &mut || {
        assert!(!lock_file.exists()); // the reader may want it next
        reader.take().is_some() || again()
    })
    .unwrap();
    assert!(
        fs::read_to_string(&file)
            .unwrap()
            .ends_with("x\n\nFrom sender@example.org Mon Nov 23 17:20:00 2026\ny\n\n")
    );
}

#[test]
fn a_failure_cuts_the_file_back() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::from_raw_os_error(libc::EIO))
        }
    }
    let scratch = Scratch::new("mbox-cut");
    let file = scratch.path("mbox");
    let large = "0123456789\r\n".repeat(20_000);
    for before in ["", "x\n"] {
        fs::write(&file, before).unwrap();
        let mut message = large.as_bytes().chain(Broken);
        let error = append(&file, &sender(), NOW, &mut message, &mut patience()).unwrap_err();
        assert_eq!(error.enhanced, Enhanced(4, 3, 0));
        assert_eq!(fs::read_to_string(&file).unwrap(), before);
    }
}
