//! Symbolic links that root's process meets where it writes: whose are followed. Whoever can put one there would choose
//! what is made, opened and given away in root's right.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open, readlinkat};

/// As many links on one way as the kernel follows.
const LINKS: usize = 40;

/// Whose links are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Root's, and those of whoever runs this.
    Own,
    /// Root's, where nobody else can put one.
    Root,
}

/// Why a way is not gone to its end.
#[derive(Debug)]
pub enum Barred {
    /// This link belongs to this user.
    Link(PathBuf, u32),
    /// Others can put another one in the place of this link.
    Place(PathBuf),
    /// There are too many.
    Endless,
    /// What the system says.
    System(io::Error),
}

/// Where the way of a name ends. Nothing need be there; what is a link still is an open file (`/dev/stderr`).
///
/// # Errors
/// What bars the way.
pub fn end_of(path: &Path, trust: Trust) -> Result<PathBuf, Barred> {
    let mut end = path.to_owned();
    for _ in 0..LINKS {
        if !is_link(&end) {
            return Ok(end);
        }
        match step(&end, trust)? {
            Some(next) => end = next,
            None => return Ok(end),
        }
    }
    Err(Barred::Endless)
}

/// Whether there is a link of this name.
pub fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|about| about.is_symlink())
}

/// Looks at a link and reads the same one, whatever stands under its name by then. `None`: what is behind it is no path,
/// but an open file.
fn step(path: &Path, trust: Trust) -> Result<Option<PathBuf>, Barred> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let system = |e: rustix::io::Errno| Barred::System(e.into());
    let link = File::from(open(path, flags, Mode::empty()).map_err(system)?);
    let about = link.metadata().map_err(Barred::System)?;
    if !about.is_symlink() {
        return Ok(Some(path.to_owned()));
    }
    let above = path
        .parent()
        .filter(|above| !above.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    if trust == Trust::Root {
        let above = fs::metadata(above).map_err(Barred::System)?;
        if above.uid() != 0 || above.mode() & 0o022 != 0 {
            return Err(Barred::Place(path.to_owned()));
        }
    }
    let is_own = trust == Trust::Own && about.uid() == nix::unistd::geteuid().as_raw();
    if about.uid() != 0 && !is_own {
        return Err(Barred::Link(path.to_owned(), about.uid()));
    }
    if fs::metadata("/proc").is_ok_and(|proc| proc.dev() == about.dev()) {
        return Ok(None);
    }
    let to = readlinkat(&link, "", Vec::new()).map_err(system)?;
    Ok(Some(bare(&above.join(OsStr::from_bytes(to.as_bytes())))))
}

/// A path without a slash at its end, for which the system follows whatever link is there.
pub fn bare(path: &Path) -> PathBuf {
    path.components().collect()
}
