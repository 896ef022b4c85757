//! A fault at each system call, from outside (strace), and disks that really are full, for root: `make faults`. What
//! must hold is what tests/crash.rs says; besides, no fault makes the program panic or go without a word.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::house::{ALICE, House};
use crate::harness::system::{age, me};
use crate::harness::{Ran, Remote, Script, System, every};

mod helped;
mod pieces;
mod quota;
mod served;

/// What may happen to a call that changes something on a disk; EINTR is for file systems of a network.
const CHANGING: &[&str] = &["ENOSPC", "EDQUOT", "EIO", "EROFS", "ENOMEM", "EINTR"];
/// The same where something is opened.
const OPENING: &[&str] = &[
    "ENOSPC", "EDQUOT", "EIO", "EROFS", "EMFILE", "ENFILE", "ENOMEM", "EINTR",
];
/// Where something is read or looked at.
const READING: &[&str] = &["EIO", "ENOMEM", "EINTR"];
/// The calls of the way in, of the queue and of the ways out, and what may happen to each of them.
const FAULTS: &[(&str, &[&str])] = &[
    ("openat", OPENING),
    ("openat2", OPENING),
    ("write", CHANGING),
    ("pwrite64", CHANGING),
    ("fallocate", CHANGING),
    ("ftruncate", CHANGING),
    ("fsync", CHANGING),
    ("fdatasync", CHANGING),
    ("rename", CHANGING),
    ("renameat2", CHANGING),
    ("link", CHANGING),
    ("linkat", CHANGING),
    ("unlink", CHANGING),
    ("unlinkat", CHANGING),
    ("mkdir", CHANGING),
    ("mkdirat", CHANGING),
    ("utimensat", CHANGING),
    ("read", READING),
    ("pread64", READING),
    ("statx", READING),
    ("newfstatat", READING),
    ("statfs", READING),
    ("getdents64", READING),
    ("flock", &["ENOLCK", "ENOMEM", "EINTR"]),
    ("fcntl", &["ENOLCK", "EMFILE", "EINTR"]),
    ("socket", &["EMFILE", "ENFILE", "ENOMEM"]),
    ("connect", &["ENOBUFS", "EINTR"]),
    ("sendto", &["ENOMEM", "EINTR"]),
    ("recvfrom", &["ENOMEM", "EINTR"]),
    ("poll", &["ENOMEM", "EINTR"]),
    ("clone3", &["EAGAIN", "ENOMEM"]),
];
/// What an exit code other than 0 may be: come again later. Whoever cannot read his configuration says so.
const TEMPORARY: &[i32] = &[71, 73, 74, 75, 78];

const BODY: &str = "0123456789abcdef\n";

fn message() -> String {
    format!("From: a@example.org\nSubject: x\n\n{}", BODY.repeat(4_000))
}

/// The program under strace, which does as it is told by `inject`.
fn traced(system: &System, inject: &[String], args: &[&str], stdin: &str) -> Ran {
    let out = system.path("trace").display().to_string();
    let line = format!(
        "exec strace -f -qq -o {out} {} \"$0\" \"$@\"",
        inject.join(" ")
    );
    system.call_after(&line).args(args).stdin(stdin).run()
}

/// How often each call of the table is made.
fn counts(system: &System, args: &[&str], stdin: &str) -> BTreeMap<&'static str, u32> {
    traced(system, &[], args, stdin);
    let text = fs::read_to_string(system.path("trace")).unwrap();
    let mut counts = BTreeMap::new();
    for line in text.lines() {
        let call = line.split_whitespace().nth(1).unwrap_or_default();
        for (name, _) in FAULTS {
            if call
                .strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('('))
            {
                *counts.entry(*name).or_default() += 1;
            }
        }
    }
    counts
}

/// Runs `case` with each fault at each call; returns how many there were.
fn at_each_call(
    prepare: &dyn Fn() -> System,
    args: &[&str],
    stdin: &str,
    check: &dyn Fn(&System, &Ran, &str),
) -> usize {
    let counts = counts(&prepare(), args, stdin);
    let mut cases = 0;
    for (name, errors) in FAULTS {
        let most = counts.get(name).copied().unwrap_or_default();
        for at in (1..=most).step_by(every()) {
            for error in *errors {
                let system = prepare();
                let inject = format!("-e inject={name}:error={error}:when={at}");
                let ran = traced(&system, std::slice::from_ref(&inject), args, stdin);
                let what = format!("{error} at the {at}. {name}");
                // What the loader of the program meets, before there is a program, is not its doing.
                if ran.code != 127 {
                    let fine = ran.code == 0 || TEMPORARY.contains(&ran.code);
                    assert!(fine, "{what}: {ran:?}");
                    assert!(!ran.stderr.contains("panicked"), "{what}: {ran:?}");
                    assert!(
                        ran.code == 0 || !ran.stderr.is_empty(),
                        "{what}: no word of it: {ran:?}"
                    );
                }
                check(&system, &ran, &what);
                cases += 1;
            }
        }
    }
    cases
}

/// The next runs, without a hand's help.
fn recover(system: &System) {
    for _ in 0..3 {
        for name in system.names("tmp") {
            age(&system.path("spool/tmp").join(name), 600);
        }
        system.accept(&["-q"], "");
        if system.queue().is_empty() {
            break;
        }
    }
}

fn has_strace() -> bool {
    let found = Command::new("strace").arg("-V").output().is_ok();
    if !found {
        println!("faults: passed over: strace is not installed");
    }
    found
}

#[test]
#[ignore = "make faults"]
fn a_call_that_fails_breaks_no_promise() {
    if !has_strace() {
        return;
    }
    let accept = at_each_call(
        &|| {
            let system = System::new("fault-accept");
            system.accept(&["-q"], "");
            system
        },
        &["-i", "-odq", &me()],
        &message(),
        &|system, ran, what| {
            recover(system);
            let found = system.mailbox();
            assert!(
                found.iter().all(|m| m.body() == BODY.repeat(4_000)),
                "{what}"
            );
            let fine = if ran.code == 0 {
                found.len() == 1
            } else {
                found.len() <= 1
            };
            assert!(fine, "{what}: {} copies, {ran:?}", found.len());
        },
    );
    println!("faults: {accept} at accepting a message");
    assert!(accept * every() > 200);
}

#[test]
#[ignore = "make faults"]
fn a_call_that_fails_at_delivering_loses_nothing() {
    if !has_strace() {
        return;
    }
    for mailbox in ["mail/%u/", "mail/box"] {
        let deliver = at_each_call(
            &|| {
                let system = System::new("fault-deliver");
                // The slash at the end is part of what it says.
                let place = format!("mailbox = \"{}/{mailbox}\"", system.root.display());
                let system = system.with("local", &place);
                system.accept(&["-i", "-odq", &me()], message());
                system
            },
            &["-q"],
            "",
            &|system, ran, what| {
                recover(system);
                let text = match mailbox {
                    "mail/box" => fs::read_to_string(system.path(mailbox)).unwrap(),
                    _ => system
                        .mailbox()
                        .iter()
                        .map(|m| format!("{}\n", m.text()))
                        .collect(),
                };
                let copies = text.matches("Subject: x\n").count();
                let whole = text
                    .matches(&format!("\n\n{}\n", BODY.repeat(4_000)))
                    .count();
                // Here a failure is always found out, and taken back.
                assert_eq!(copies, whole, "{mailbox}, {what}");
                assert!((1..=2).contains(&whole), "{mailbox}, {what}: {ran:?}");
                assert!(system.names("hold").is_empty(), "{mailbox}, {what}");
            },
        );
        println!("faults: {deliver} at delivering a message to {mailbox}");
        assert!(deliver * every() > 200);
    }
}

#[test]
#[ignore = "make faults"]
fn a_call_that_fails_at_sending_loses_nothing() {
    if !has_strace() {
        return;
    }
    let remote = Remote::start(Script::new().on("RCPT TO:<bad@", "550 5.1.1 no such user"));
    let to = ["one@example.net", "two@example.net"];
    let cases = at_each_call(
        &|| {
            let limits = "command_timeout = \"1s\"\ndata_timeout = \"1s\"";
            let system = System::relaying("fault-send", &remote).with("limits", limits);
            system.accept(&["-i", "-odq", to[0], to[1], "bad@example.net"], message());
            system
        },
        &["-q"],
        "",
        &|system, ran, what| {
            recover(system);
            assert!(system.queue().is_empty(), "{what}: {}", system.log());
            assert!(system.names("hold").is_empty(), "{what}: {}", system.log());
            let received = remote.take();
            for who in to {
                let has =
                    |r: &&crate::harness::remote::Received| r.recipients().iter().any(|t| t == who);
                let copies = received.iter().filter(has).count();
                assert!(
                    (1..=2).contains(&copies),
                    "{what}: {who} has {copies}: {ran:?}"
                );
            }
            let reports = system.mailbox();
            let whole = |m: &&crate::harness::Mail| m.text().contains("bad@example.net");
            assert_eq!(
                reports.iter().filter(whole).count(),
                reports.len(),
                "{what}"
            );
            assert!(
                (1..=2).contains(&reports.len()),
                "{what}: {}",
                reports.len()
            );
        },
    );
    println!("faults: {cases} at sending a message and reporting a failure");
    assert!(cases * every() > 200);
}

/// A file system of a few hundred KiB in a folder of a system, gone with it.
struct Small<'a>(&'a Path);

impl<'a> Small<'a> {
    /// `options`: those of tmpfs.
    fn new(place: &'a Path, options: &str) -> Option<Self> {
        let mount = Command::new("mount")
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("{options},mode=0755"),
                "tmpfs",
            ])
            .arg(place)
            .output();
        match mount {
            Ok(done) if done.status.success() => Some(Self(place)),
            other => {
                println!("faults: passed over: no small file system can be mounted: {other:?}");
                None
            }
        }
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let mut file = fs::File::create(self.0.join("filler")).unwrap();
        let block = [0u8; 4096];
        while std::io::Write::write_all(&mut file, &block).is_ok() {}
    }

    fn empty(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).output();
    }
}

#[test]
#[ignore = "make faults"]
fn a_full_disk_is_said_and_survived() {
    let remote = Remote::start(Script::new().once("RCPT TO:<later@", "450 4.2.1 busy"));
    let system = System::relaying("full-spool", &remote).with("queue", "min_free = \"64K\"");
    let spool = system.path("spool");
    let Some(disk) = Small::new(&spool, "size=512k") else {
        return;
    };
    // Until the reserve is reached, and no further.
    let mut taken = 0;
    let refused = loop {
        let ran = system.run(&["-i", "-odq", "one@example.net"], message());
        if ran.code != 0 {
            break ran;
        }
        taken += 1;
        assert!(taken < 100);
    };
    assert_eq!(refused.code, 75, "{refused:?}");
    assert!(
        refused.stderr.contains("[queue] min_free keeps 64 KiB"),
        "{refused:?}"
    );
    assert!(taken >= 3);
    // The reserve is there for what follows: it all goes out.
    system.accept(&["-q"], "");
    assert_eq!(remote.take().len(), taken);
    // Full to the last octet: nobody is given what cannot be noted.
    system.accept(
        &["-odq", "good@example.net", "later@example.net"],
        "Subject: x\n\nhello\n",
    );
    disk.fill();
    system.run(&["-q"], "");
    let refused = system.run(&["-odq", "one@example.net"], "Subject: x\n\nhello\n");
    assert_eq!(refused.code, 75, "{refused:?}");
    disk.empty();
    for _ in 0..3 {
        system.accept(&["-q"], "");
    }
    let mut to: Vec<String> = remote.take().iter().flat_map(|r| r.recipients()).collect();
    to.sort();
    assert_eq!(to, ["good@example.net", "later@example.net"]);
    assert!(system.queue().is_empty());
}

/// The mailboxes' disk is full: it waits, and comes when there is room, once.
#[test]
#[ignore = "make faults"]
fn a_full_mailbox_keeps_mail_waiting() {
    for mailbox in ["mail/%u/", "mail/box"] {
        let system = System::new("full-mail");
        let place = system.path(mailbox).display().to_string();
        let system = system.with(
            "local",
            &format!(
                "mailbox = \"{place}{}\"",
                if mailbox.ends_with('/') { "/" } else { "" }
            ),
        );
        let mail = system.path("mail");
        let Some(disk) = Small::new(&mail, "size=256k") else {
            return;
        };
        system.accept(&["-i", "-odq", &me()], message());
        disk.fill();
        system.accept(&["-q"], "");
        let waits = system.queued();
        let why = waits.journal.last().unwrap();
        assert!(
            why.contains("something on this disk must be removed first"),
            "{why}"
        );
        disk.empty();
        system.accept(&["-q"], "");
        assert!(system.queue().is_empty());
        let text = match mailbox {
            "mail/box" => fs::read_to_string(system.path("mail/box")).unwrap(),
            _ => system.mailbox().iter().map(|m| m.text()).collect(),
        };
        assert_eq!(text.matches("Subject: x").count(), 1, "{mailbox}");
        assert!(text.contains(&BODY.repeat(4_000)), "{mailbox}");
    }
}

/// H4: no place for one more file: said, nothing promised, and over when there is one.
#[test]
#[ignore = "make faults"]
fn a_disk_without_inodes_is_said_and_survived() {
    let system = System::offline("no-inodes").with("queue", "min_free = \"0\"");
    let spool = system.path("spool");
    let Some(_disk) = Small::new(&spool, "size=8m,nr_inodes=40") else {
        return;
    };
    system.accept(&["-odq", "one@example.net"], "Subject: x\n\nhello\n");
    let mut others = 0;
    while fs::File::create(spool.join(format!("filler{others}"))).is_ok() {
        others += 1;
        assert!(others < 100);
    }
    let refused = system.run(&["-odq", "two@example.net"], "Subject: x\n\nhello\n");
    assert_eq!(refused.code, 75, "{refused:?}");
    let said = system.run(
        &["-bs"],
        "EHLO x.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<two@example.net>\r\nDATA\r\nSubject: x\r\n\r\nhello\r\n.\r\nQUIT\r\n",
    );
    assert!(said.stdout.contains("\r\n452 4.3.1 "), "{said:?}");
    assert_eq!(system.queue().len(), 1);
    fs::remove_file(spool.join("filler0")).unwrap();
    system.accept(&["-odq", "two@example.net"], "Subject: x\n\nhello\n");
    assert_eq!(system.queue().len(), 2);
}

/// H25: a sync that takes longer than any limit of the session: the client waits, is told the truth, and has one message.
#[test]
#[ignore = "make faults"]
fn a_slow_disk_is_waited_for() {
    if !has_strace() {
        return;
    }
    let limits = "command_timeout = \"1s\"\ndata_timeout = \"1s\"";
    let system = System::offline("slow-disk").with("limits", limits);
    let said = traced(
        &system,
        &["--inject=fsync:delay_enter=1500000".to_owned()],
        &["-bs"],
        "EHLO x.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<two@example.net>\r\nDATA\r\nSubject: x\r\n\r\nhello\r\n.\r\nQUIT\r\n",
    );
    assert!(said.stdout.contains(" queued as "), "{said:?}");
    assert!(said.stdout.contains("\r\n221 "), "{said:?}");
    assert_eq!(system.queue().len(), 1, "{said:?}");
}

/// J13: who cannot become the user does nothing in his name: his command is not run, and the mail waits.
#[test]
#[ignore = "make faults"]
fn nobody_is_served_with_other_rights() {
    let Some(house) = House::open("no-setuid") else {
        return;
    };
    if !has_strace() {
        return;
    }
    let forward = house.path("home/mt-alice/.forward");
    let ran = house.open_folder("ran");
    let command = format!("\"|/usr/bin/id >{}/by\"\n", ran.display());
    fs::write(&forward, command).unwrap();
    house.give(&forward, ALICE);
    for call in ["setresuid", "setresgid", "setgroups"] {
        house.submit("root", &["-odq", ALICE], "Subject: x\n\nhello\n");
        let program = house.program("sendmail");
        let trace =
            format!("exec strace -f -qq -o /dev/null --inject={call}:error=EPERM {program} -q");
        house.shell("root", &trace);
        let names: Vec<_> = fs::read_dir(&ran).unwrap().collect();
        assert!(names.is_empty(), "{call}: {}", house.log());
        assert!(!house.log().contains(" delivered to="), "{call}");
        let waiting = house.names("new").len() + house.names("cur").len();
        assert_eq!(waiting, 1, "{call}: {}", house.log());
        assert_eq!(house.call("root", &["-q"], "").code, 0);
        let by = fs::read_to_string(ran.join("by")).unwrap();
        assert!(by.contains("(mt-alice)"), "{by}");
        fs::remove_file(ran.join("by")).unwrap();
        fs::write(house.path("log"), "").unwrap();
    }
}
