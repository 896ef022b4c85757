//! What the mailboxes of this machine have in common: copying a message into a file, and saying why it failed.
//!
//! No failure here is for good. A full disk, a home that is not mounted or a wrong mode is for somebody here to
//! mend; until then the message waits, and only its age ends the waiting.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use nix::libc;

use super::durable::{self, Barred};
use super::{accounts, words};
use crate::proto::data::LocalEnds;
use crate::proto::reply::Enhanced;

/// Octets read and written at once, so that a large message costs few system calls.
const BLOCK: usize = 64 * 1024;

/// Why a mailbox did not take a message. Always temporary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailboxError {
    /// The status for journal and report (RFC 3463), of class 4.
    pub enhanced: Enhanced,
    /// What could not be done, where, why, and what would help.
    pub sentence: String,
}

impl MailboxError {
    /// The mailbox is not as it must be, and why.
    pub fn unfit(path: &Path, why: &str) -> Self {
        Self {
            enhanced: UNUSABLE,
            sentence: format!("cannot use the mailbox {}: {why}", path.display()),
        }
    }

    /// A folder cannot be had; `doing` says what for.
    pub fn barred(doing: &str, path: &Path, barred: Barred) -> Self {
        match barred {
            Barred::Link(link) => Self::unfit(
                path,
                &format!(
                    "the link {} on the way to it belongs to another user",
                    link.display()
                ),
            ),
            Barred::NoFolder => Self::unfit(path, "it is no folder"),
            Barred::System(error) => Self::step(doing, path, &error),
        }
    }

    /// There is none, and its user may not make one in the folder, whose group it is to have.
    pub fn unmade(path: &Path, error: &io::Error, user: u32, group: u32) -> Self {
        let sentence = format!(
            "cannot make the mailbox {}: {}; only who may write to its folder can: {}",
            path.display(),
            words(error),
            making(path, user, group)
        );
        Self {
            enhanced: UNUSABLE,
            sentence,
        }
    }

    /// A step failed; `doing` says which: "cannot create the folder".
    pub fn step(doing: &str, path: &Path, error: &io::Error) -> Self {
        let (enhanced, remedy) = match error.raw_os_error() {
            Some(libc::EDQUOT | libc::EFBIG) => (FULL, "; something in it must be removed first"),
            Some(libc::ENOSPC) => (
                SYSTEM_FULL,
                "; something on this disk must be removed first",
            ),
            Some(libc::EACCES | libc::EPERM | libc::ELOOP) => (
                UNUSABLE,
                "; it must belong to the user whose mail it is, and be no link",
            ),
            Some(libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENOTCONN) => (
                UNUSABLE,
                "; the folder above it must be there, so that nothing is written below a disk not yet mounted",
            ),
            _ => (BROKEN, ""),
        };
        let sentence = format!("{doing} {}: {}{remedy}", path.display(), words(error));
        Self { enhanced, sentence }
    }
}

/// The command by which root makes an empty mailbox for a user.
pub fn making(path: &Path, user: u32, group: u32) -> String {
    let name = accounts::name_of(user).unwrap_or_else(|| user.to_string());
    let group = accounts::group_name(group);
    format!(
        "install -o {name} -g {group} -m 660 /dev/null {}",
        path.display()
    )
}

impl fmt::Display for MailboxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for MailboxError {}

/// The mailbox exists and takes nothing for now (RFC 3463 3.3).
const UNUSABLE: Enhanced = Enhanced(4, 2, 1);
/// The mailbox is full.
const FULL: Enhanced = Enhanced(4, 2, 2);
/// The disk is full.
const SYSTEM_FULL: Enhanced = Enhanced(4, 3, 1);
/// Something else of this system failed.
const BROKEN: Enhanced = Enhanced(4, 3, 0);

/// Writes a canonical message (CRLF lines) to the end of a file, between two texts that go in as they are, and
/// returns how many octets that were. `path` is for the error's sentence. The sync is the caller's.
pub fn copy(
    message: &mut dyn Read,
    mut ends: LocalEnds,
    around: (&[u8], &[u8]),
    file: &File,
    path: &Path,
) -> Result<u64, MailboxError> {
    let written = |e: io::Error| MailboxError::step("cannot write to", path, &e);
    let mut block = vec![0; BLOCK];
    let mut out = around.0.to_vec();
    let mut size = 0;
    loop {
        let length = match message.read(&mut block) {
            Ok(0) => break,
            Ok(length) => length,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => {
                return Err(MailboxError {
                    enhanced: BROKEN,
                    sentence: format!("cannot read the message to deliver: {}", words(&e)),
                });
            }
        };
        ends.feed(block.get(..length).unwrap_or_default(), &mut out);
        if length == BLOCK {
            block = vec![0; 3 * BLOCK];
        }
        if out.len() >= BLOCK {
            durable::write(file, &out).map_err(written)?;
            size += out.len() as u64;
            out.clear();
        }
    }
    ends.finish(&mut out);
    out.extend_from_slice(around.1);
    if !out.is_empty() {
        durable::write(file, &out).map_err(written)?;
    }
    Ok(size + out.len() as u64)
}

/// A folder of a test, gone when the test is.
#[cfg(test)]
pub mod scratch {
    use std::path::{Path, PathBuf};

    pub struct Scratch(PathBuf);

    impl Scratch {
        pub fn new(name: &str) -> Self {
            let name = format!("minimta-test-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }

        pub fn path(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }
    }

    impl AsRef<Path> for Scratch {
        fn as_ref(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_a_status_and_a_sentence() {
        let rows = [
            (
                libc::ENOSPC,
                Enhanced(4, 3, 1),
                "cannot write to /m: no space left on device; something on this disk must be removed first",
            ),
            (
                libc::EDQUOT,
                Enhanced(4, 2, 2),
                "cannot write to /m: disk quota exceeded; something in it must be removed first",
            ), // J9
            (
                libc::EFBIG,
                Enhanced(4, 2, 2),
                "cannot write to /m: file too large; something in it must be removed first",
            ),
            (
                libc::EIO,
                Enhanced(4, 3, 0),
                "cannot write to /m: input/output error",
            ),
            (
                libc::EACCES,
                Enhanced(4, 2, 1),
                "cannot write to /m: permission denied; it must belong to the user whose mail it is, and be no link",
            ),
        ];
        for (code, enhanced, sentence) in rows {
            let error = io::Error::from_raw_os_error(code);
            let error = MailboxError::step("cannot write to", Path::new("/m"), &error);
            assert_eq!(
                (error.enhanced, error.to_string().as_str()),
                (enhanced, sentence)
            );
        }
    }
}
