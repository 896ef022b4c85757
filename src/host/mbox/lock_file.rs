//! `FILE.lock` beside a mailbox, the lock that mail readers know: made exclusively, with our process in it. One older
//! than [`STALE`] is broken, and one of ours at once whose process has died.

use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use nix::libc;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::super::durable::{self, Folder};
use super::super::mailbox::MailboxError;

/// After how many seconds a lock file is taken for one whose owner died. No delivery or mail reader holds one
/// for longer than it takes to write the file.
pub const STALE: i64 = 15 * 60;

/// The lock file of a mailbox, gone when this is.
pub struct LockFile<'a> {
    folder: &'a Folder,
    name: OsString,
}

/// What became of it.
pub enum Attempt<'a> {
    /// Made by us.
    Ours(LockFile<'a>),
    /// Another program's.
    Held,
    /// The folder is not ours to write to, as /var/mail often is; then the kernel's lock must do.
    NotHere,
}

impl<'a> LockFile<'a> {
    /// One attempt, which waits for nobody.
    pub fn try_new(
        folder: &'a Folder,
        mailbox: &OsStr,
        us: u32,
        now: i64,
    ) -> Result<Attempt<'a>, MailboxError> {
        let name = name_for(mailbox);
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

    /// The lock file that a mailbox has now.
    pub fn of(folder: &Folder, mailbox: &OsStr) -> Option<PathBuf> {
        let name = name_for(mailbox);
        folder.has(&name).then(|| folder.path_of(&name))
    }
}

fn name_for(mailbox: &OsStr) -> OsString {
    let mut name = OsString::from(mailbox);
    name.push(".lock");
    name
}

impl Drop for LockFile<'_> {
    fn drop(&mut self) {
        // One that stays is broken once we are gone.
        let _ = self.folder.remove(&self.name);
    }
}

/// What stands in a lock file of ours: the process, where other programs look for it, and the machine it is on.
pub fn owner_line(process: u32) -> String {
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
