//! Delivery into an mbox: one file, messages behind one another, each begun by a `From ` line (RFC 4155).
//!
//! ```text
//! 0. open the folder of FILE; all that follows is done in it
//! 1. create FILE.lock exclusively, where the folder lets us, and write our process into it; one older than 15 minutes
//!    is broken, and one of ours at once whose process has died
//! 2. open FILE (created 0600), no links; it must be a file of ours with no second name
//! 3. lock it by the kernel, and see that it still stands under its name
//! 4. sync its folder as long as the file is empty: whoever made it may have died before he did so
//! 5. append a `From ` line, the message with LF line ends and `>` before its own `From ` lines, a blank line
//! 6. sync                                              DELIVERED
//! ```
//!
//! When 5 or 6 fails the file is cut back to the length it had, still locked. A crash in them leaves an
//! unfinished message, behind which the next one begins on a line of its own; the message is delivered again.
//! Mail readers lock in one way or the other, so both locks are taken; neither is ever waited for in here.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use super::durable::{self, Folder};
use super::mailbox::{MailboxError, copy};
use crate::proto::address::ReversePath;
use crate::proto::data::LocalEnds;
use crate::proto::date::Stamp;

mod lock_file;

use lock_file::{Attempt, LockFile};

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
                let by = LockFile::of(&folder, name)
                    .map(|path| format!(" with {}", path.display()))
                    .unwrap_or_default();
                let why = format!("another program has it locked{by}; it will be tried again");
                return Err(MailboxError::unfit(file, &why));
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
    // Before there is anything in it: later nobody could tell whether its name is on the disk.
    if locked.length == 0 {
        locked.folder.sync().map_err(failed)?;
    }
    copy(message, LocalEnds::new(true), around, &locked.file, path)?;
    durable::sync(&locked.file).map_err(failed)
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
        let opened = |e: io::Error| MailboxError::step("cannot open the mailbox", path, &e);
        let file = folder.open_append(name, 0o600).map_err(|e| {
            let is_missing =
                matches!(folder.look(name), Err(e) if e.kind() == io::ErrorKind::NotFound);
            match (folder.metadata(), e.kind()) {
                (Ok(about), io::ErrorKind::PermissionDenied) if is_missing => {
                    MailboxError::unmade(path, &e, us, about.gid())
                }
                _ => opened(e),
            }
        })?;
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

#[cfg(test)]
mod tests;
