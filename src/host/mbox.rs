//! Delivery into an mbox: one file, messages behind one another, each begun by a `From ` line (RFC 4155).
//!
//! ```text
//! 0. open the folder of FILE; all that follows is done in it
//! 1. create FILE.lock exclusively, where the folder lets us, and write our process into it; one older than 15 minutes
//!    is broken, and one of ours at once whose process has died
//! 2. open FILE (created 0600), no links; it must be a file of ours with no second name
//! 3. lock it by the kernel, and see that it still stands under its name
//! 4. append a `From ` line, the message with LF line ends and `>` before its own `From ` lines, a blank line
//! 5. sync; also its folder when the file is new        DELIVERED
//! ```
//!
//! When 4 or 5 fails the file is cut back to the length it had, still locked. A crash in them leaves an
//! unfinished message, behind which the next one begins on a line of its own; the message is delivered again.
//! Mail readers lock in one way or the other, so both locks are taken; neither is ever waited for in here.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::durable::{self, Folder};
use super::mailbox::{MailboxError, copy};
use crate::proto::address::ReversePath;
use crate::proto::data::LocalEnds;
use crate::proto::date::Stamp;

/// After how many seconds a lock file is taken for one whose owner died. No delivery or mail reader holds one
/// for longer than it takes to write the file.
const STALE: i64 = 15 * 60;

/// Appends a message to the mbox `file`; returns when it is safe there.
///
/// `message` is canonical text, its header as it is to be kept. `now` is seconds since 1970. When another
/// program has the mailbox locked, `wait` is called: it waits as long as the caller likes and says whether to
/// try once more; then the locks are free, so that two programs that wait for each other cannot hang.
pub fn append(
    file: &Path,
    sender: &ReversePath,
    now: i64,
    message: &mut dyn Read,
    wait: &mut dyn FnMut() -> bool,
) -> Result<(), MailboxError> {
    let Some(name) = file.file_name() else {
        return Err(MailboxError::unfit(file, "it has no name"));
    };
    let us = nix::unistd::geteuid().as_raw();
    let folder = Folder::reach(file.parent().unwrap_or(Path::new("")), us)
        .map_err(|barred| MailboxError::barred("cannot open the mailbox", file, barred))?;
    let locked = loop {
        match Locked::try_new(&folder, name, us, now)? {
            Some(locked) => break locked,
            None if wait() => {}
            None => {
                return Err(MailboxError::unfit(
                    file,
                    "another program has it locked; it will be tried again",
                ));
            }
        }
    };
    let written = write(&locked, sender, now, message);
    if written.is_err() {
        // Nothing more can be done when this fails too: the next message begins on a line of its own.
        let _ = durable::truncate(&locked.file, locked.length)
            .and_then(|()| durable::sync(&locked.file));
    }
    written
}

fn write(
    locked: &Locked<'_>,
    sender: &ReversePath,
    now: i64,
    message: &mut dyn Read,
) -> Result<(), MailboxError> {
    let path = &locked.folder.path_of(locked.name);
    let failed = |e: io::Error| MailboxError::step("cannot write to", path, &e);
    let head = format!(
        "{}From {} {}\n",
        separator(&locked.file, locked.length).map_err(failed)?,
        from_word(sender),
        Stamp::utc(now).asctime()
    );
    let around: (&[u8], &[u8]) = (head.as_bytes(), b"\n");
    copy(message, LocalEnds::new(true), around, &locked.file, path)?;
    durable::sync(&locked.file).map_err(failed)?;
    if locked.is_new {
        locked.folder.sync().map_err(failed)?;
    }
    Ok(())
}

/// What is missing to a blank line at the file's end: readers look for `From ` behind one.
fn separator(file: &File, length: u64) -> io::Result<&'static str> {
    let mut end = [b'\n'; 2];
    let known = length.min(2);
    // At most 2.
    let at = end.len() - usize::try_from(known).unwrap_or_default();
    let part = end.get_mut(at..).unwrap_or_default();
    file.read_exact_at(part, length - known)?;
    Ok(match end {
        [b'\n', b'\n'] => "",
        [_, b'\n'] => "\n",
        _ => "\n\n",
    })
}

/// The sender as one word; nobody is called MAILER-DAEMON there.
fn from_word(sender: &ReversePath) -> String {
    let Some(mailbox) = sender.mailbox() else {
        return "MAILER-DAEMON".to_owned();
    };
    mailbox.to_string().replace(char::is_whitespace, "-")
}

/// A mailbox that nobody else writes to. Both locks go with it: the kernel's with the open file, then the lock
/// file.
struct Locked<'a> {
    folder: &'a Folder,
    name: &'a OsStr,
    file: File,
    length: u64,
    is_new: bool,
    _lock_file: Option<LockFile<'a>>,
}

impl<'a> Locked<'a> {
    /// `None`: another program has it now.
    fn try_new(
        folder: &'a Folder,
        name: &'a OsStr,
        us: u32,
        now: i64,
    ) -> Result<Option<Self>, MailboxError> {
        let path = &folder.path_of(name);
        let lock_file = match LockFile::try_new(folder, name, us, now)? {
            Attempt::Held => return Ok(None),
            Attempt::Ours(lock_file) => Some(lock_file),
            Attempt::NotHere => None,
        };
        let is_new = !folder.has(name);
        let opened = |e: io::Error| MailboxError::step("cannot open the mailbox", path, &e);
        let file = folder.open_append(name, 0o600).map_err(opened)?;
        check(path, us, &file.metadata().map_err(opened)?)?;
        match lock(&file) {
            Ok(()) => {}
            Err(libc::EAGAIN | libc::EACCES) => return Ok(None),
            // A file system without such locks; the lock file is as good as it gets there.
            Err(libc::ENOLCK | libc::EINVAL | libc::EOPNOTSUPP) if lock_file.is_some() => {}
            Err(code) => {
                let error = io::Error::from_raw_os_error(code);
                return Err(MailboxError::step("cannot lock", path, &error));
            }
        }
        // Looked at only now: before, the one who had it locked may have written, or put a new file here.
        let found = file.metadata().map_err(opened)?;
        let stands = folder
            .look(name)
            .is_ok_and(|there| (there.dev(), there.ino()) == (found.dev(), found.ino()));
        Ok(stands.then_some(Self {
            folder,
            name,
            length: found.len(),
            file,
            is_new,
            _lock_file: lock_file,
        }))
    }
}

/// Only a file of this user that has no other name: a second one may be somebody else's way to have us write
/// where we should not (CVE-2008-2936).
fn check(path: &Path, us: u32, found: &Metadata) -> Result<(), MailboxError> {
    let unfit = |why| Err(MailboxError::unfit(path, why));
    if !found.is_file() {
        return unfit("it is no file");
    }
    if found.uid() != us {
        return unfit("it belongs to another user");
    }
    if found.nlink() > 1 {
        return unfit("it has a second name (a hard link), which must be removed first");
    }
    Ok(())
}

/// Locks the whole file against everybody else who uses fcntl locks, other threads of this process included.
/// On failure the system's error number.
fn lock(file: &File) -> Result<(), i32> {
    let whole = libc::flock {
        // Both constants are small on every system.
        l_type: i16::try_from(libc::F_WRLCK).unwrap_or_default(),
        l_whence: i16::try_from(libc::SEEK_SET).unwrap_or_default(),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    match fcntl(file, FcntlArg::F_OFD_SETLK(&whole)) {
        Ok(_) => Ok(()),
        Err(error) => Err(error as i32),
    }
}

/// `FILE.lock`, gone when this is.
struct LockFile<'a> {
    folder: &'a Folder,
    name: OsString,
}

enum Attempt<'a> {
    Ours(LockFile<'a>),
    Held,
    /// The folder is not ours to write to, as /var/mail often is; then the kernel's lock must do.
    NotHere,
}

impl<'a> LockFile<'a> {
    fn try_new(
        folder: &'a Folder,
        mailbox: &OsStr,
        us: u32,
        now: i64,
    ) -> Result<Attempt<'a>, MailboxError> {
        let mut name = OsString::from(mailbox);
        name.push(".lock");
        // The second time after a stale one was removed.
        for _ in 0..2 {
            match folder.create(&name, 0o600) {
                Ok(file) => {
                    // Who cannot say who he is must be waited for a little longer when he dies.
                    let _ = durable::write(&file, owner_line(std::process::id()).as_bytes());
                    return Ok(Attempt::Ours(Self { folder, name }));
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => match e.raw_os_error() {
                    Some(libc::EACCES | libc::EPERM | libc::EROFS) => return Ok(Attempt::NotHere),
                    _ => {
                        let path = folder.path_of(&name);
                        return Err(MailboxError::step("cannot create", &path, &e));
                    }
                },
            }
            // Somebody may have removed it since; then it is as good as stale. A lock from the future is one
            // from before the clock was set back. Two who break the same lock may both believe to have it:
            // the kernel's lock keeps them apart.
            let is_fresh = |f: &Metadata| now.saturating_sub(f.mtime()).abs() < STALE;
            let is_held = folder
                .look(&name)
                .is_ok_and(|found| is_fresh(&found) && !is_orphan(folder, &name, us));
            if is_held || folder.remove(&name).is_err() {
                break;
            }
        }
        Ok(Attempt::Held)
    }
}

/// What stands in a lock file of ours: the process, where other programs look for it, and the machine it is on.
fn owner_line(process: u32) -> String {
    let host = nix::unistd::gethostname().unwrap_or_default();
    format!("{process} {}\n", host.to_string_lossy())
}

/// Whether a lock file is one of ours, made on this machine by a process that has died. Of anybody else's nothing is
/// known but its age.
fn is_orphan(folder: &Folder, name: &OsStr, us: u32) -> bool {
    let Ok(file) = folder.open(name) else {
        return false;
    };
    if !file.metadata().is_ok_and(|m| m.is_file() && m.uid() == us) {
        return false;
    }
    let mut line = Vec::new();
    let _ = file.take(512).read_to_end(&mut line);
    let line = String::from_utf8_lossy(&line);
    let process = line
        .split(' ')
        .next()
        .and_then(|number| number.parse().ok());
    process.is_some_and(|process: u32| {
        let died = || match i32::try_from(process) {
            Ok(id) if id > 0 => kill(Pid::from_raw(id), None) == Err(nix::Error::ESRCH),
            _ => false,
        };
        *line == owner_line(process) && died()
    })
}

impl Drop for LockFile<'_> {
    fn drop(&mut self) {
        // One that stays is broken once we are gone.
        let _ = self.folder.remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::{Duration, SystemTime};

    use super::super::mailbox::scratch::Scratch;
    use super::*;
    use crate::proto::address::Mailbox;
    use crate::proto::reply::Enhanced;

    const NOW: i64 = 1_795_454_400;
    const FROM: &str = "From sender@example.org Mon Nov 23 17:20:00 2026\n";

    fn sender() -> ReversePath {
        ReversePath::Mailbox(Mailbox::parse("sender@example.org").unwrap())
    }

    fn put(file: &Path, text: &str) -> Result<(), MailboxError> {
        append(file, &sender(), NOW, &mut text.as_bytes(), &mut || false)
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
            assert_eq!(put(&file, "A: b\r\n").is_ok(), broken, "{line:?}");
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
            assert!(error.sentence.contains("another program has it locked"));
            assert!(lock_file.exists() && !file.exists());
        }
        for age in [STALE, -STALE] {
            set_age(age); // broken (J26); from the future: the clock was set back
            put(&file, "x\r\n").unwrap();
            assert!(!lock_file.exists());
        }
        // Now by the kernel, and set free while we wait.
        let mut reader = Some(File::options().write(true).open(&file).unwrap());
        lock(reader.as_ref().unwrap()).unwrap();
        append(&file, &sender(), NOW, &mut &b"y"[..], &mut || {
            assert!(!lock_file.exists()); // the reader may want it next
            reader.take().is_some()
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
            let error = append(&file, &sender(), NOW, &mut message, &mut || false).unwrap_err();
            assert_eq!(error.enhanced, Enhanced(4, 3, 0));
            assert_eq!(fs::read_to_string(&file).unwrap(), before);
        }
    }
}
