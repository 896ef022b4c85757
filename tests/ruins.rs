//! A spool in ruins, and what is none of ours in it: what can be told is delivered, the rest is swept, held or left alone.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::harness::system::{age, names_in};
use crate::harness::{Remote, Script, System, every};
use crate::queue::{by_id, enqueue};

/// H13, H14: each of these lies beside a good message, which is delivered; the bad one is swept, held or left
/// alone, with a line in the log, and nothing of it is delivered.
#[test]
fn a_spool_in_ruins_is_lived_with() {
    // H13, H22, I10-I12: the spool is the folder that others may drop files in.
    enum Then {
        Gone,
        Held,
        /// Still there, or set aside as it is.
        NotDelivered,
    }
    type Ruin = fn(&System, &str);
    let rows: &[(&str, Ruin, Then)] = &[
        ("cut in the envelope", |s, id| cut(s, id, 30), Then::Gone),
        ("cut to nothing", |s, id| cut(s, id, 0), Then::Gone),
        ("cut by one octet", |s, id| cut(s, id, u64::MAX), Then::Gone),
        (
            "a flipped bit in the message",
            |s, id| flip(s, id, "hello"),
            Then::Held,
        ),
        (
            "a flipped bit in a recipient",
            |s, id| flip(s, id, "@example.net"),
            Then::Held,
        ),
        (
            "another version",
            |s, id| flip(s, id, "queue 1"),
            Then::Held,
        ),
        ("zeros for its whole length", zeros, Then::NotDelivered),
        (
            "a link to a good file",
            |s, id| {
                fs::rename(path_of(s, id), s.path("spool/elsewhere")).unwrap();
                std::os::unix::fs::symlink(s.path("spool/elsewhere"), path_of(s, id)).unwrap();
            },
            Then::NotDelivered,
        ),
        (
            "a FIFO",
            |s, id| {
                fs::remove_file(path_of(s, id)).unwrap();
                nix::unistd::mkfifo(&path_of(s, id), nix::sys::stat::Mode::S_IRWXU).unwrap();
            },
            Then::NotDelivered,
        ),
        (
            "a socket",
            |s, id| {
                fs::remove_file(path_of(s, id)).unwrap();
                // A socket's path is short.
                let place = fs::File::open(s.path("spool/new")).unwrap();
                let near = format!(
                    "/proc/self/fd/{}/{id}",
                    std::os::fd::AsRawFd::as_raw_fd(&place)
                );
                drop(std::os::unix::net::UnixListener::bind(near).unwrap());
            },
            Then::Held,
        ),
        (
            "a link to nothing",
            |s, id| {
                fs::remove_file(path_of(s, id)).unwrap();
                std::os::unix::fs::symlink("/nowhere/at/all", path_of(s, id)).unwrap();
            },
            Then::Held,
        ),
        (
            "a time far ahead",
            |s, id| {
                fs::rename(path_of(s, id), s.path("spool/cur").join(id)).unwrap();
                let file = s.path("spool/cur").join(id);
                fs::write(&file, "minimta-queue 1\nfrom ").unwrap();
                let then = std::time::UNIX_EPOCH + Duration::from_secs(1 << 33);
                fs::File::options()
                    .append(true)
                    .open(file)
                    .unwrap()
                    .set_modified(then)
                    .unwrap();
            },
            Then::Held,
        ),
        (
            "a folder",
            |s, id| {
                fs::remove_file(path_of(s, id)).unwrap();
                fs::create_dir(path_of(s, id)).unwrap();
            },
            Then::NotDelivered,
        ),
        (
            "an envelope without an end",
            |s, id| {
                let line = format!("x {}\n", "y".repeat(1 << 20));
                let text = format!("minimta-queue 1\n{}", line.repeat(17));
                fs::write(path_of(s, id), text).unwrap();
            },
            Then::Held,
        ),
        (
            "a terabyte of nothing",
            |s, id| {
                fs::File::create(path_of(s, id))
                    .unwrap()
                    .set_len(1 << 40)
                    .unwrap();
            },
            Then::NotDelivered,
        ),
        (
            "a message with a terabyte of journal",
            |s, id| {
                fs::File::options()
                    .append(true)
                    .open(path_of(s, id))
                    .unwrap()
                    .set_len(1 << 40)
                    .unwrap();
            },
            Then::NotDelivered,
        ),
    ];
    for (what, ruin, then) in rows {
        let remote = Remote::start(Script::new());
        let system = System::relaying("ruins", &remote);
        let bad = enqueue(&system, "bad@example.net");
        ruin(&system, &bad);
        system.accept(
            &["-i", "-odq", "good@example.net"],
            "Subject: good\n\nhello\n",
        );
        let ran = system.run(&["-q"], "");
        assert_eq!(ran.code, 0, "{what}: {ran:?}");
        let received: Vec<String> = remote
            .received()
            .iter()
            .flat_map(|r| r.recipients())
            .collect();
        assert_eq!(received, ["good@example.net"], "{what}");
        let waiting = [system.names("new"), system.names("cur")]
            .concat()
            .contains(&bad);
        let held = system.names("hold").contains(&bad);
        match then {
            Then::Gone => assert!(!waiting && !held, "{what}"),
            Then::Held => assert!(!waiting && held, "{what}"),
            Then::NotDelivered => {}
        }
        assert!(system.log().contains(&bad), "{what}: {}", system.log());
        assert!(
            system.mailbox().is_empty(),
            "{what}: nobody is told of it by mail (dma 110)"
        );
        let again = system.run(&["-q"], "");
        assert_eq!(again.code, 0, "{what}: {again:?}");
    }
}

/// A backup that was put back, a copy made by hand: what stands twice is delivered once, and the rest is set aside.
#[test]
fn a_copy_is_no_second_message() {
    let remote = Remote::start(Script::new().once("MAIL", "451 4.3.0 not now"));
    let system = System::relaying("copy", &remote);
    let id = enqueue(&system, "one@example.net");
    system.accept(&["-q"], "");
    let copy = system.path("spool/cur").join(&id);
    fs::copy(&copy, path_of(&system, &id)).unwrap();
    // The first run finds the copy, the second one what is left.
    system.accept(&["-q"], "");
    system.accept(&["-q"], "");
    assert_eq!(remote.received().len(), 1);
    assert_eq!(system.names("hold"), std::slice::from_ref(&id));
    let why = format!("{id} held reason=\"there is another message of this name in cur/\"");
    assert!(system.log().contains(&why), "{}", system.log());
}

/// What a power cut leaves on a file system without a journal: names of files that were gone lead to the place on the
/// disk that another message has. It has one name then, and is delivered once.
#[test]
fn names_that_are_left_over_are_dropped() {
    let remote = Remote::start(Script::new());
    let system = System::relaying("left-over", &remote);
    let id = enqueue(&system, "one@example.net");
    let old = format!("{:0>17}", 7);
    for other in [
        format!("tmp/{id}"),
        format!("tmp/{old}"),
        format!("cur/{old}"),
        format!("cur/{id}"),
    ] {
        fs::hard_link(path_of(&system, &id), system.path("spool").join(other)).unwrap();
    }
    system.accept(&["-q"], "");
    assert_eq!(remote.received().len(), 1, "{}", system.log());
    for folder in ["tmp", "new", "cur", "hold"] {
        assert_eq!(system.names(folder), [""; 0], "{folder}");
    }
}

/// What was cut after it was promised says so; and of what is not sent to its end no end is shown.
#[test]
fn what_is_held_is_held_for_its_own_reason() {
    type Ruin = fn(&Path);
    let rows: [(Ruin, &str); 4] = [
        (|file| fs::write(file, "").unwrap(), "it is empty"),
        (
            |file| {
                let text = fs::read(file).unwrap();
                fs::write(file, &text[..20]).unwrap();
            },
            "it ends in its envelope, or has nothing but zeros",
        ),
        (
            |file| fs::write(file, "minimta-queue 9\n\n").unwrap(),
            "it is no queue file of this version",
        ),
        (
            |file| {
                let text = fs::read_to_string(file).unwrap();
                fs::write(file, text.replace("hello", "jello")).unwrap();
            },
            "its checksum is wrong",
        ),
    ];
    for (ruin, why) in rows {
        let remote = Remote::start(Script::new().once("MAIL", "451 4.3.0 not now"));
        let system = System::relaying("reasons", &remote);
        let id = enqueue(&system, "one@example.net");
        system.accept(&["-q"], "");
        ruin(&system.path("spool/cur").join(&id));
        let ran = system.run(&["-q", "-v"], "");
        assert_eq!(ran.code, 0, "{why}: {ran:?}");
        let held = format!("{id} held reason=\"{why}\"");
        assert!(system.log().contains(&held), "{why}: {}", system.log());
        assert!(!ran.stderr.contains("> .\n"), "{why}: {ran:?}");
    }
}

/// A clock that was set back since it came: no delay is less than none.
#[test]
fn a_message_of_the_future_is_not_late_by_less_than_nothing() {
    let remote = Remote::start(Script::new());
    let system = System::relaying("future", &remote);
    let id = enqueue(&system, "one@example.net");
    let file = path_of(&system, &id);
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replacen("\nreceived 20", "\nreceived 21", 1)).unwrap();
    system.accept(&["-q"], "");
    assert_eq!(remote.received().len(), 1);
    assert!(system.log().contains(" delay=0s "), "{}", system.log());
}

/// A backup of the spool that costs no room (`cp -al`, rsnapshot): the names outside are none of the queue's business, which
/// goes on, tries again and leaves them where they are. What another user owns is not sent in his stead.
#[test]
fn names_outside_the_spool_hold_up_nothing_but_what_is_somebody_elses() {
    let remote = Remote::start(Script::new().once("MAIL", "451 4.3.0 not now"));
    let system = System::relaying("backup", &remote);
    let id = enqueue(&system, "one@example.net");
    let backup = system.path("backup");
    fs::hard_link(path_of(&system, &id), &backup).unwrap();
    system.accept(&["-q"], "");
    assert_eq!(system.names("cur"), std::slice::from_ref(&id));
    system.accept(&["-q"], "");
    assert_eq!(remote.take().len(), 1, "{}", system.log());
    assert!(backup.exists());
    for folder in ["tmp", "new", "cur", "hold"] {
        assert_eq!(system.names(folder), [""; 0], "{folder}");
    }
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let id = enqueue(&system, "two@example.net");
    std::os::unix::fs::chown(path_of(&system, &id), Some(4711), Some(4711)).unwrap();
    fs::hard_link(path_of(&system, &id), system.path("others")).unwrap();
    system.accept(&["-q"], "");
    assert_eq!(remote.take().len(), 0);
    assert_eq!(system.names("hold"), std::slice::from_ref(&id));
    let why = "held reason=\"it has another name outside the spool, and is somebody else's\"";
    assert!(system.log().contains(why), "{}", system.log());
}

/// A file that is set aside never takes the place of one that was, and a released one none of one that waits.
#[test]
fn nothing_is_replaced_in_hold_or_from_it() {
    let system = System::offline("hold-twice");
    let id = enqueue(&system, "one@example.net");
    fs::copy(path_of(&system, &id), system.path("spool/hold").join(&id)).unwrap();
    let refused = system.run(&["--release", "ALL"], "");
    assert_eq!(refused.code, 75, "{refused:?}");
    let why = format!("another message of the name {id} waits in the queue; remove one of the two");
    assert!(refused.stderr.contains(&why), "{refused:?}");
    fs::write(system.path("spool/hold").join(&id), "precious\n").unwrap();
    system.accept(&["--hold", "ALL"], "");
    let held = system.names("hold");
    assert_eq!((held.len(), system.names("new").len()), (2, 0));
    let precious = fs::read_to_string(system.path("spool/hold").join(&id)).unwrap();
    assert_eq!(precious, "precious\n");
    let other = held.iter().find(|h| **h != id).unwrap();
    system.accept(&["--release", other], "");
    assert_eq!(system.queued().recipients(), ["one@example.net"]);
}

/// H14: names by the thousand that are none of ours, which are left alone and count for nothing, and files by the hundred
/// that have names of ours, which are set aside, each with its one line. What is good goes on, in and out.
#[test]
fn rubbish_by_the_thousand_is_lived_with() {
    rubbish(11_000, 300);
}

#[test]
#[ignore = "make faults"]
fn rubbish_by_the_hundred_thousand_is_lived_with() {
    let every = u32::try_from(every()).unwrap();
    rubbish(100_000 / every, 20_000 / every);
}

fn rubbish(foreign: u32, ours: u32) {
    use std::os::unix::ffi::OsStringExt;
    let remote = Remote::start(Script::new());
    let system = System::relaying("rubbish", &remote);
    system.accept(&["-q"], "");
    system.accept(&["-odq", "one@example.net"], "Subject: x\n\nhello\n");
    let new = system.path("spool/new");
    for number in 0..foreign {
        let mut name = format!("x{number}-").into_bytes();
        name.extend([0xff, 0xfe, b'\n']);
        fs::write(new.join(std::ffi::OsString::from_vec(name)), "").unwrap();
    }
    // More names than the queue may have messages: they are none.
    system.accept(&["-odq", "two@example.net"], "Subject: x\n\nhello\n");
    for number in 0..ours {
        fs::write(new.join(format!("{number:0>17o}")), "no queue file\n").unwrap();
    }
    let little = system.call_after("ulimit -d 65536").args(&["-q"]).run();
    assert_eq!((little.code, little.stderr.as_str()), (0, ""));
    assert_eq!(remote.take().len(), 2);
    let log = system.log();
    let held = log.matches(" held reason=").count();
    assert_eq!(held, ours as usize);
    assert!(
        log.len() < (ours as usize + 20) * 200,
        "{} octets of log",
        log.len()
    );
    assert_eq!(system.names("hold").len(), ours as usize);
    assert_eq!(system.names("new").len(), foreign as usize);
    system.accept(&["-odq", "three@example.net"], "Subject: x\n\nhello\n");
    system.accept(&["-q"], "");
    assert_eq!(remote.take().len(), 1);
    assert!(
        system.log().len() < log.len() + 2000,
        "they are told of once"
    );
}

/// One that belongs to somebody else is set aside, and the others go on. For root there is no such file.
#[test]
fn what_cannot_be_read_is_set_aside() {
    let remote = Remote::start(Script::new());
    let system = System::relaying("unreadable", &remote);
    let bad = enqueue(&system, "bad@example.net");
    enqueue(&system, "good@example.net");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o000);
    fs::set_permissions(path_of(&system, &bad), mode).unwrap();
    system.accept(&["-q"], "");
    let is_root = nix::unistd::geteuid().is_root();
    assert_eq!(remote.received().len(), 1 + usize::from(is_root));
    assert_eq!(system.names("hold").len(), usize::from(!is_root));
}

fn path_of(system: &System, id: &str) -> std::path::PathBuf {
    system.path("spool/new").join(id)
}

fn cut(system: &System, id: &str, length: u64) {
    let file = fs::File::options()
        .write(true)
        .open(path_of(system, id))
        .unwrap();
    let whole = file.metadata().unwrap().len();
    file.set_len(length.min(whole - 1)).unwrap();
}

fn flip(system: &System, id: &str, text: &str) {
    let mut bytes = fs::read(path_of(system, id)).unwrap();
    let at = bytes
        .windows(text.len())
        .rposition(|w| w == text.as_bytes())
        .unwrap();
    bytes[at + text.len() - 1] ^= 0x80;
    fs::write(path_of(system, id), bytes).unwrap();
}

fn zeros(system: &System, id: &str) {
    let length = fs::metadata(path_of(system, id)).unwrap().len();
    fs::write(
        path_of(system, id),
        vec![0; usize::try_from(length).unwrap()],
    )
    .unwrap();
}

/// H14: what is not ours is not touched.
#[test]
fn foreign_files_are_left_alone() {
    let system = System::offline("foreign");
    enqueue(&system, "one@example.net");
    let foreign = [
        "README",
        ".hidden",
        "core",
        "0123456789abcdefg~",
        "0123456789ABCDEFG",
        "lost+found",
    ];
    for folder in ["tmp", "new", "cur", "hold", ""] {
        for name in foreign {
            fs::write(system.path("spool").join(folder).join(name), "text\n").unwrap();
        }
    }
    system.accept(&["-q"], "");
    assert!(!system.call("mailq").run().stdout.contains("README"));
    for folder in ["tmp", "new", "cur", "hold", ""] {
        let names = names_in(&system.path("spool").join(folder));
        assert!(
            foreign.iter().all(|n| names.iter().any(|m| m == n)),
            "{folder}: {names:?}"
        );
    }
}

#[test]
fn what_a_dead_writer_left_is_swept() {
    let system = System::offline("sweep");
    let id = enqueue(&system, "one@example.net");
    let left = system.path("spool/tmp/0123456789abcdefg");
    fs::write(&left, "minimta-queue 1\nfrom <a@b.ex").unwrap();
    age(&left, 600);
    let written = system.path("spool/tmp/0123456789abcdefh");
    fs::write(&written, "minimta-queue 1\nfrom <a@b.ex").unwrap();
    age(&written, 600);
    let locked = fs::File::open(&written).unwrap();
    locked.lock().unwrap();
    system.accept(&["-q"], "");
    assert!(!left.exists());
    assert!(written.exists(), "its writer lives");
    assert_eq!(by_id(&system, &id).journal.len(), 1);
}

/// A power cut in the middle of a journal line: the line counts for nothing and is cut off.
#[test]
fn a_torn_journal_line_is_cut_off() {
    let remote = Remote::start(Script::new().on("RCPT TO:<two@", "450 4.2.1 later"));
    let system = System::relaying("torn", &remote);
    system.accept(
        &["-odq", "one@example.net", "two@example.net"],
        "Subject: x\n\nhello\n",
    );
    system.accept(&["-q"], "");
    let before = system.queued();
    let path = system.path("spool/cur").join(&before.id);
    let mut file = fs::File::options().append(true).open(&path).unwrap();
    file.write_all(b"2026-11-23T12:00:00Z to 2 delivered 250 2.0.0 mx")
        .unwrap();
    drop(file);
    system.accept(&["-q"], "");
    let after = system.queued();
    assert_eq!(after.journal.len(), before.journal.len() + 1, "{after:?}");
    assert!(
        after
            .journal
            .iter()
            .all(|l| !l.contains("250 2.0.0 mx2026")),
        "{after:?}"
    );
    // Who had it did not get it again.
    assert_eq!(remote.received().len(), 1);
}

/// A disk that the kernel has made read-only, as it does with a card that dies: mail waits there that nobody can try, and
/// that is neither nothing to do nor well done.
#[test]
fn a_spool_that_cannot_be_written_is_no_empty_one() {
    let system = System::offline("read-only");
    system.accept(&["-odq", "one@example.net"], "Subject: x\n\nx\n");
    let script =
        "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\" && shift && exec \"$@\"";
    let run = |program: &[&str]| {
        let mut command = std::process::Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh"]);
        command.arg(system.path("spool")).args(program).output()
    };
    if !run(&["true"]).is_ok_and(|ran| ran.status.success()) {
        return println!("no namespace can be made here: left out");
    }
    let path = |name: &str| system.path(name).display().to_string();
    let (program, config) = (path("bin/sendmail"), path("minimta.toml"));
    let ran = run(&[&program, "-C", &config, "-q", "-v"]).unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(75), "{said}");
    let lines: Vec<&str> = said.lines().collect();
    let [first, sum, last] = lines.as_slice() else {
        panic!("{said}");
    };
    assert!(first.contains("read-only file system"), "{said}");
    assert_eq!(*sum, "sendmail: nothing could be tried");
    let sentence =
        "sendmail: not all mail of the queue could be tried; it waits for the next queue run";
    assert_eq!(*last, sentence);
    assert_eq!(system.queue().len(), 1);
}
