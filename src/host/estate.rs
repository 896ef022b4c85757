//! What root makes for the others before they work: the folders of the spool and of a running daemon, the log file,
//! the mailbox of root.
//!
//! Somebody who is not root may write to some of the folders above, so nothing is done by name that could have become
//! another thing since it was looked at: a file is opened without following links, looked at, and changed as it is
//! open. What belongs to somebody else is never given away.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::libc::O_DIRECTORY;
use nix::unistd::{Gid, Uid, fchown};

use super::accounts::Account;
use super::link::{self, Barred, Trust};
use super::{durable, words};
use crate::error::{Error, Result};

/// Sees that a folder is there and is this user's; one that is missing is made, with this mode. Returned is whether it was.
///
/// # Errors
/// `Config` when it is somebody else's, with the remedy; `CannotCreate`.
pub fn folder(path: &Path, account: &Account, mode: u32) -> Result<bool> {
    let failed = |e: io::Error| cannot("make the folder", path, &e);
    let path = &end_of(path)?;
    let made = match durable::create_folder(path, mode) {
        Ok(()) => true,
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => false,
        Err(e) => return Err(failed(e)),
    };
    let file = open(path, O_DIRECTORY).map_err(|e| match e.kind() {
        io::ErrorKind::PermissionDenied if !made => Error::NoPermission(format!(
            "cannot open the folder {}: {}; root has not all its rights there, such as CAP_DAC_OVERRIDE",
            path.display(),
            words(&e)
        )),
        _ => failed(e),
    })?;
    let found = file.metadata().map_err(failed)?;
    if made {
        give(&file, account).map_err(failed)?;
        file.set_permissions(PermissionsExt::from_mode(mode))
            .map_err(failed)?;
        // What is put into it must not be lost with it in a power cut.
        durable::sync_folder(path).map_err(failed)?;
        let above = path.parent().filter(|p| !p.as_os_str().is_empty());
        durable::sync_folder(above.unwrap_or(Path::new("."))).map_err(failed)?;
        return Ok(true);
    }
    is_of(path, &found, account)?;
    // The world has no business in there, and the spool's secrecy rests on it.
    if found.mode() & 0o007 != 0 {
        let mode = found.mode() & 0o770;
        file.set_permissions(PermissionsExt::from_mode(mode))
            .map_err(failed)?;
    }
    Ok(false)
}

/// Where the way of a folder ends that may be a link: only links of root's are followed, where nobody else can put one,
/// for what is there is given away. One that leads to nothing is none to make a folder with: its disk may be missing.
///
/// # Errors
/// `CannotCreate`, with the remedy.
pub fn end_of(path: &Path) -> Result<PathBuf> {
    const NAME: &str = "name the folder itself ([queue] spool or run)";
    let path: &Path = &link::bare(path);
    let barred = |barred: Barred| match barred {
        Barred::Link(link, user) => {
            let link = link.display();
            format!(
                "the link {link} belongs to the user with the id {user}, and only one of root's is followed; run: chown -h root: \
                 {link}, or {NAME}"
            )
        }
        Barred::Place(link) => {
            let above = link.parent().unwrap_or(Path::new("/")).display();
            format!(
                "the link {} is not followed, for others than root can put one into {above}; {NAME}",
                link.display()
            )
        }
        Barred::Endless => format!("the link {} leads nowhere; {NAME}", path.display()),
        Barred::System(e) => format!("cannot follow the link {}: {}", path.display(), words(&e)),
    };
    let end = link::end_of(path, Trust::Root).map_err(|why| Error::CannotCreate(barred(why)))?;
    if end == path || end.is_dir() {
        return Ok(end);
    }
    Err(Error::CannotCreate(format!(
        "the link {} leads to {}, where no folder is; mount its disk, or make the folder",
        path.display(),
        end.display()
    )))
}

/// Whether a folder belongs to this user.
///
/// # Errors
/// `Config`, with the remedy.
pub fn is_of(path: &Path, found: &Metadata, account: &Account) -> Result<()> {
    if found.uid() == account.uid {
        return Ok(());
    }
    let (shown, name) = (path.display(), &account.name);
    // After the colon: the group that the user has.
    Err(Error::Config(format!(
        "{shown} belongs to the user with the id {}, but minimta works as {name}; run: chown -R {name}: {shown}, or name another \
         user with the key user",
        found.uid(),
    )))
}

/// Sees that a file is there that this user may append to, with at least this mode, unless it is somebody else's already.
///
/// # Errors
/// `CannotCreate`, `NoPermission`.
pub fn file(path: &Path, account: &Account, mode: u32) -> Result<()> {
    let failed = |e: io::Error| cannot("make the file", path, &e);
    match durable::create(path, mode) {
        Ok(file) => return give(&file, account).map_err(failed),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(failed(e)),
    }
    let file = open(path, 0).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    // With a second name it may be a file that is root's for a reason.
    if !is_plain(&found) {
        return Ok(());
    }
    let is_his = (found.uid(), found.gid()) == (account.uid, account.gid);
    // Root's own, from before.
    if found.uid() == 0 {
        give(&file, account).map_err(failed)?;
    } else if !is_his {
        return Ok(());
    }
    let (has, all) = (found.mode() & 0o777, found.mode() & 0o777 | mode);
    match has == all {
        true => Ok(()),
        false => file
            .set_permissions(PermissionsExt::from_mode(all))
            .map_err(failed),
    }
}

/// Lets this user's group at a file that was just made, and stays root's own.
///
/// # Errors
/// Those of the system.
pub fn share(file: &File, account: &Account) -> io::Result<()> {
    Ok(fchown(file, None, Some(Gid::from_raw(account.gid)))?)
}

/// Sees that there is a folder for this user that is a Maildir, or will be one.
///
/// # Errors
/// As for [`file`].
pub fn maildir(path: &Path, account: &Account) -> Result<()> {
    let failed = |e: io::Error| cannot("make the folder", path, &e);
    match durable::create_folder(path, 0o700) {
        Ok(()) => {
            let made = open(path, O_DIRECTORY).map_err(failed)?;
            give(&made, account).map_err(failed)
        }
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(failed(e)),
    }
}

fn is_plain(found: &Metadata) -> bool {
    found.is_file() && found.nlink() == 1
}

fn open(path: &Path, flags: i32) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(durable::NO_FOLLOW | flags)
        .open(path)
}

fn give(file: &File, account: &Account) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    Ok(fchown(file, Some(uid), Some(gid))?)
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Error {
    let sentence = format!("cannot {what} {}: {}", path.display(), words(error));
    match error.kind() {
        io::ErrorKind::PermissionDenied => Error::NoPermission(sentence),
        io::ErrorKind::NotFound => {
            Error::CannotCreate(format!("{sentence}; the folder above it must be there"))
        }
        _ => Error::CannotCreate(sentence),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{lchown, symlink};

    use super::*;
    use crate::host::mailbox::scratch::Scratch;

    /// Where, whose link, the mode of the folder that it is in; where it ends, or why not.
    #[test]
    fn links_of_root_are_followed_to_folders_that_are_there() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let scratch = Scratch::new("estate-links");
        let path = |name: &str| scratch.path(name);
        fs::create_dir(path("there")).unwrap();
        symlink(path("there"), path("strangers")).unwrap();
        lchown(path("strangers"), Some(4711), None).unwrap();
        let rows = [
            ("there", 0, 0o755, Ok("there")),
            (
                "there",
                0,
                0o775,
                Err("/link is not followed, for others than root can put one into "),
            ),
            (
                "there/",
                4711,
                0o755,
                Err("/link belongs to the user with the id 4711, "),
            ),
            (
                "nowhere",
                0,
                0o755,
                Err("/nowhere, where no folder is; mount its disk"),
            ),
            ("link", 0, 0o755, Err("/link leads nowhere; ")),
            (
                "strangers",
                0,
                0o755,
                Err("/strangers belongs to the user with the id 4711"),
            ),
            (
                "strangers/",
                0,
                0o755,
                Err("/strangers belongs to the user with the id 4711"),
            ),
        ];
        for (to, owner, mode, expected) in rows {
            symlink(path(to), path("link")).unwrap();
            lchown(path("link"), Some(owner), None).unwrap();
            fs::set_permissions(path(""), PermissionsExt::from_mode(mode)).unwrap();
            for name in ["link", "link/"] {
                match (end_of(&path(name)).map_err(|e| e.to_string()), expected) {
                    (Ok(end), Ok(expected)) => assert_eq!(end, path(expected)),
                    (Err(why), Err(part)) => assert!(why.contains(part), "{name}: {why}"),
                    (found, _) => panic!("{name} to {to}: {found:?}"),
                }
            }
            fs::remove_file(path("link")).unwrap();
        }
        assert_eq!(end_of(&path("new")).unwrap(), path("new"));
    }
}
