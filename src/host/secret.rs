//! Files with secrets in them: opened only when nobody else can read them, and what tells one version of a file
//! from the next.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::{accounts, words};

/// Opens a file that is refused if everybody can read or write it. `what` is its name in sentences: the key of the
/// configuration it comes from.
///
/// # Errors
/// A sentence with its remedy.
pub fn open(what: &str, path: &Path) -> Result<(File, Metadata), String> {
    let shown = path.display();
    let cannot = |e: &io::Error| unreadable(what, path, e);
    // Without O_NONBLOCK a FIFO in its place would be waited for. A link is followed: secrets are often given
    // to a container as links.
    let mut options = OpenOptions::new();
    let options = options.read(true).custom_flags(nix::libc::O_NONBLOCK);
    let file = options.open(path).map_err(|e| cannot(&e))?;
    let about = file.metadata().map_err(|e| cannot(&e))?;
    let mode = about.mode() & 0o777;
    if mode & 0o007 != 0 {
        return Err(format!(
            "{what} {shown} can be read by everybody (mode {mode:04o}); run: chmod 0640 {shown}"
        ));
    }
    Ok((file, about))
}

/// Reads such a file. One that is longer than `most` octets is refused.
///
/// # Errors
/// A sentence with its remedy.
pub fn read(what: &str, path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let (file, about) = open(what, path)?;
    if !about.is_file() {
        return Err(format!("{what} {} is no ordinary file", path.display()));
    }
    let mut octets = Vec::new();
    file.take(most + 1)
        .read_to_end(&mut octets)
        .map_err(|e| unreadable(what, path, &e))?;
    if octets.len() as u64 > most {
        return Err(format!(
            "{what} {} is larger than {} KiB; name the right file",
            path.display(),
            most / 1024
        ));
    }
    Ok(super::without_mark(octets))
}

/// Why such a file cannot be read, and what to do about it.
pub fn unreadable(what: &str, path: &Path, error: &io::Error) -> String {
    let shown = path.display();
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            let group = accounts::group_name(nix::unistd::getegid().as_raw());
            format!(
                "cannot read {what} {shown}: permission denied; it must belong to the group minimta runs as: \
                 chgrp {group} {shown}; chmod 0640 {shown}"
            )
        }
        _ => format!("cannot read {what} {shown}: {}", words(error)),
    }
}

/// What tells one version of a file from another; equal for a file that nobody touched. `None`: there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version(Option<(u64, u64, u64, i64, i64, i64, i64)>);

impl Version {
    /// The version that is there now. To be taken before the file is read: what is written in between is then
    /// noticed next time.
    pub fn of(path: &Path) -> Self {
        Self(std::fs::metadata(path).ok().map(|m| {
            let (changed, nanoseconds) = (m.ctime(), m.ctime_nsec());
            let times = (m.mtime(), m.mtime_nsec());
            (
                m.dev(),
                m.ino(),
                m.len(),
                times.0,
                times.1,
                changed,
                nanoseconds,
            )
        }))
    }

    /// Whether there is a file at all.
    pub fn exists(self) -> bool {
        self.0.is_some()
    }
}
