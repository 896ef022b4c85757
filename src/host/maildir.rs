//! Delivery into a Maildir: a folder with tmp/, new/ and cur/, each message a file of its own, no locks.
//!
//! ```text
//! 1. open the folders; create what is missing        crash: empty folders
//! 2. in tmp/, create NAME exclusively, 0600          crash: a file in tmp/, which mail readers sweep after 36 h
//! 3. the message with LF line ends, sync             same
//! 4. rename it to NAME,S=SIZE in new/                the mail reader sees it, and sees it whole
//! 5. sync new/                                       DELIVERED. Only now may the spool forget the recipient
//! ```
//!
//! A crash between 4 and 5 may give a second copy, never none. A failure removes what was written. What another delivery
//! is making at this moment may not be on the disk yet: in a Maildir that is younger than two minutes each process syncs
//! once as if it had made it.
//!
//! All is done as the user whose mailbox it is, so the worst a folder of his can do is to harm his own mail.
//! Still refused, to be tried again later: folders of somebody else, links of anybody but the user or root on the way to
//! them, folders anybody may write to, and a Maildir whose parent is missing, which may be a home that is not mounted.
//! Each folder is opened once, looked at as it is open, and all that follows is done in it.

use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::durable::{self, Barred, Folder};
use super::mailbox::{MailboxError, copy};
use crate::proto::address::Domain;
use crate::proto::data::LocalEnds;

/// Who made a Maildir has brought it to the disk by then, or the kernel has.
const YOUNG: Duration = Duration::from_secs(120);

/// A file name no other delivery has, on this or another machine that shares the Maildir.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UniqueName(String);

impl UniqueName {
    /// Made of the time since 1970, this process, a counter and the host. Two calls in one process differ even
    /// at the same time and in two threads.
    pub fn new(since_1970: Duration, host: &Domain) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        // The characters that mean something in a path or behind a Maildir name.
        let host = host
            .as_str()
            .replace('/', "\\057")
            .replace(':', "\\072")
            .replace(',', "\\054");
        Self(format!(
            "{}.M{}P{}Q{count}.{host}",
            since_1970.as_secs(),
            since_1970.subsec_micros(),
            std::process::id()
        ))
    }
}

/// Puts a message into the Maildir `folder` and returns its path in new/ once it is safe there.
///
/// `message` is canonical text, its header as it is to be kept (Return-Path and all).
pub fn deliver(
    folder: &Path,
    name: &UniqueName,
    message: &mut dyn Read,
) -> Result<PathBuf, MailboxError> {
    let (tmp, new) = open(folder)?;
    let temporary = OsStr::new(&name.0);
    let path = tmp.path_of(temporary);
    let file = tmp
        .create(temporary, 0o600)
        .map_err(|e| MailboxError::step("cannot create", &path, &e))?;
    let written = copy(message, LocalEnds::new(false), (b"", b""), &file, &path).and_then(|size| {
        durable::sync(&file)
            .map(|()| size)
            .map_err(|e| MailboxError::step("cannot write to", &path, &e))
    });
    drop(file);
    let moved = written.and_then(|size| {
        let finished = OsString::from(format!("{},S={size}", name.0));
        // No file of that name is replaced: the name is unique, but for a clock set back on a machine that gives
        // process numbers anew.
        tmp.publish(temporary, &new, &finished)
            .map_err(|e| MailboxError::step("cannot create", &new.path_of(&finished), &e))
            .map(|()| finished)
    });
    let finished = moved.inspect_err(|_| {
        // What cannot be removed is swept from tmp/ some day; the error that matters is the first one.
        let _ = tmp.remove(temporary);
    })?;
    new.sync().map_err(|e| {
        // It will be delivered again, so this copy, which may not last, is better gone.
        let _ = new.remove(&finished);
        MailboxError::step("cannot write to the folder", new.path(), &e)
    })?;
    Ok(new.path_of(&finished))
}

/// Opens tmp/ and new/, and sees that all three are there, and fit. What it creates is on the disk when it returns: a
/// message in a folder that a power cut takes away would be lost.
fn open(path: &Path) -> Result<(Folder, Folder), MailboxError> {
    let us = nix::unistd::geteuid().as_raw();
    let sync = |folder: &Folder| {
        folder
            .sync()
            .map_err(|e| MailboxError::step("cannot write to the folder", folder.path(), &e))
    };
    let (maildir, above, mut settled) = match Folder::reach(path, us) {
        Ok(found) => (found, None, None),
        Err(Barred::System(e)) if e.kind() == io::ErrorKind::NotFound => {
            let settled = wait_to_settle();
            let (made, above) = make(path, us)?;
            (made, Some(above), Some(settled))
        }
        Err(barred) => return Err(MailboxError::barred("cannot open", path, barred)),
    };
    let about = check(&maildir, us)?;
    if settled.is_none() && is_young(&about) {
        settled = Some(wait_to_settle());
    }
    let this = (about.dev(), about.ino());
    // An old one is on the disk.
    let mut unsettled = settled.filter(|last| **last != Some(this));
    let (tmp, made_tmp) = inside(&maildir, "tmp", us, false)?;
    let (new, made_new) = inside(&maildir, "new", us, true)?;
    // Nothing is put there; it must only be there for mail readers.
    let made_cur =
        !maildir.has_folder(OsStr::new("cur"), us) && inside(&maildir, "cur", us, false)?.1;
    if made_tmp || made_new || made_cur || unsettled.is_some() {
        sync(&maildir)?;
    }
    if let Some(last) = &mut unsettled {
        match (above, path.parent()) {
            (Some(above), _) => sync(&above)?,
            // Whoever made it may have been allowed to do what we are not.
            (None, Some(above)) => {
                let _ = Folder::reach_readable(above, us).map(|above| above.sync());
            }
            (None, None) => {}
        }
        **last = Some(this);
    }
    Ok((tmp, new))
}

/// Whether a folder may have been made just now. A clock that was set back makes it so.
fn is_young(folder: &Metadata) -> bool {
    let made = folder.created().or(folder.modified());
    made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age < YOUNG) || made.elapsed().is_err())
}

/// The device and inode of a folder.
type Identity = (u64, u64);

/// The Maildir that this process has brought to the disk last. Who is to bring one there holds it as long as that takes:
/// ten deliveries that meet a new Maildir at once would each sync all of its folders.
fn wait_to_settle() -> MutexGuard<'static, Option<Identity>> {
    static LAST: Mutex<Option<Identity>> = Mutex::new(None);
    LAST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a Maildir in the folder above it, which must be there; returned are both.
fn make(path: &Path, us: u32) -> Result<(Folder, Folder), MailboxError> {
    let Some(name) = path.file_name() else {
        return Err(MailboxError::unfit(path, "it has no name"));
    };
    let doing = "cannot create the folder";
    let above = Folder::reach(path.parent().unwrap_or(Path::new("")), us)
        .map_err(|barred| MailboxError::barred(doing, path, barred))?;
    let (made, _) = inside(&above, name, us, false)?;
    Ok((made, above))
}

/// Opens a folder in another one, or makes it first, and says so.
fn inside(
    above: &Folder,
    name: impl AsRef<OsStr>,
    us: u32,
    readable: bool,
) -> Result<(Folder, bool), MailboxError> {
    let name = name.as_ref();
    let path = above.path_of(name);
    let found = match above.enter(name, us, readable) {
        Err(Barred::System(e)) if e.kind() == io::ErrorKind::NotFound => None,
        found => Some(found.map_err(|b| MailboxError::barred("cannot open", &path, b))?),
    };
    if let Some(found) = found {
        check(&found, us)?;
        return Ok((found, false));
    }
    match above.create_folder(name, 0o700) {
        Ok(()) => {}
        // Another delivery was faster; or it is a link that leads nowhere.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(MailboxError::step("cannot create the folder", &path, &e)),
    }
    let made = above
        .enter(name, us, readable)
        .map_err(|b| MailboxError::barred("cannot follow the link", &path, b))?;
    check(&made, us)?;
    // Before its name is there: without a journal what a folder of earlier had in this place may show up in it.
    made.sync()
        .map_err(|e| MailboxError::step("cannot write to the folder", &path, &e))?;
    Ok((made, true))
}

/// A folder that belongs to the user and that not everybody may write to; returned is what the system knows of it.
fn check(folder: &Folder, us: u32) -> Result<Metadata, MailboxError> {
    let path = folder.path();
    let found = folder
        .metadata()
        .map_err(|e| MailboxError::step("cannot look at", path, &e))?;
    let unfit = |why| Err(MailboxError::unfit(path, why));
    if found.uid() != us {
        return unfit("it belongs to another user");
    }
    if found.mode() & 0o002 != 0 {
        return unfit("anybody may write to it; its mode should be 0700");
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::super::mailbox::scratch::Scratch;
    use super::*;
    use crate::proto::reply::Enhanced;

    fn name() -> UniqueName {
        let host = Domain::parse("pi.example.org").unwrap();
        UniqueName::new(Duration::from_micros(1_795_454_400_000_042), &host)
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_message_arrives_whole_and_alone() {
        let scratch = Scratch::new("maildir-arrives");
        let folder = scratch.path("Maildir");
        let large = "0123456789\r\n".repeat(20_000);
        for text in ["A: b\r\n\r\n.\r\nFrom here\r\nend", "", large.as_str()] {
            let path = deliver(&folder, &name(), &mut text.as_bytes()).unwrap();
            let mut kept = text.replace("\r\n", "\n");
            if !kept.is_empty() && !kept.ends_with('\n') {
                kept.push('\n');
            }
            assert_eq!(fs::read_to_string(&path).unwrap(), kept);
            let file = path.file_name().unwrap().to_str().unwrap();
            assert!(file.starts_with("1795454400.M42P"), "{file}");
            assert!(file.ends_with(&format!(".pi.example.org,S={}", kept.len())));
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o600);
        }
        assert_eq!(names(&folder.join("new")).len(), 3);
        assert_eq!(names(&folder.join("tmp")), [""; 0]);
        for made in ["", "tmp", "new", "cur"] {
            let mode = fs::metadata(folder.join(made))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o7777, 0o700, "{made}");
        }
    }

    #[test]
    fn names_are_unique_and_safe() {
        // J24: in one microsecond, from several threads.
        let threads: Vec<_> = (0..4)
            .map(|_| std::thread::spawn(|| (0..250).map(|_| name().0).collect::<Vec<_>>()))
            .collect();
        let mut all: Vec<String> = threads
            .into_iter()
            .flat_map(|t| t.join().unwrap())
            .collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 1000);
        let host = Domain::parse("[IPv6:::1]").unwrap();
        let name = UniqueName::new(Duration::ZERO, &host).0;
        assert!(name.ends_with(".[ipv6\\072\\072\\0721]"), "{name}");
    }

    #[test]
    fn unfit_folders_are_left_alone() {
        type Spoil = fn(&Path);
        let rows: &[(&str, Spoil, &str)] = &[
            (
                "J8",
                |m| fs::remove_dir_all(m.parent().unwrap()).unwrap(),
                "the folder above it must be there",
            ),
            ("J5", |m| fs::write(m, "").unwrap(), "it is no folder"),
            (
                "J5",
                |m| {
                    fs::create_dir(m).unwrap();
                    fs::write(m.join("new"), "").unwrap()
                },
                "it is no folder",
            ),
            (
                "J4",
                |m| {
                    fs::create_dir(m).unwrap();
                    symlink("/nowhere", m.join("tmp")).unwrap()
                },
                "cannot follow the link",
            ),
            (
                "J4",
                |m| {
                    fs::create_dir(m).unwrap();
                    symlink("/etc/passwd", m.join("new")).unwrap()
                },
                "it is no folder",
            ),
            (
                "J1",
                |m| {
                    fs::create_dir(m).unwrap();
                    fs::set_permissions(m, PermissionsExt::from_mode(0o777)).unwrap()
                },
                "anybody may write",
            ),
        ];
        for (at, (case, spoil, why)) in rows.iter().enumerate() {
            let scratch = Scratch::new(&format!("maildir-unfit-{at}"));
            let home = scratch.path("home");
            fs::create_dir(&home).unwrap();
            let folder = home.join("Maildir");
            spoil(&folder);
            let error = deliver(&folder, &name(), &mut &b"x\r\n"[..]).unwrap_err();
            assert_eq!(error.enhanced, Enhanced(4, 2, 1), "{case}: {error}");
            assert!(error.sentence.contains(why), "{case}: {error}");
        }
    }

    #[test]
    fn the_users_own_link_is_followed() {
        let scratch = Scratch::new("maildir-link");
        let (folder, elsewhere) = (scratch.path("Maildir"), scratch.path("elsewhere"));
        fs::create_dir(&elsewhere).unwrap();
        symlink(&elsewhere, &folder).unwrap();
        deliver(&folder, &name(), &mut &b"x\r\n"[..]).unwrap();
        assert_eq!(names(&elsewhere.join("new")).len(), 1);
    }

    #[test]
    fn a_message_that_cannot_be_read_leaves_nothing() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::from_raw_os_error(nix::libc::EIO))
            }
        }
        let scratch = Scratch::new("maildir-broken");
        let folder = scratch.path("Maildir");
        let large = "0123456789\r\n".repeat(20_000);
        let mut message = large.as_bytes().chain(Broken);
        let error = deliver(&folder, &name(), &mut message).unwrap_err();
        assert_eq!(
            error.sentence,
            "cannot read the message to deliver: input/output error"
        );
        assert_eq!(names(&folder.join("tmp")), [""; 0]);
        assert_eq!(names(&folder.join("new")), [""; 0]);
    }

    #[test]
    fn no_file_is_replaced() {
        let scratch = Scratch::new("maildir-replace");
        let folder = scratch.path("Maildir");
        let name = name();
        let path = deliver(&folder, &name, &mut &b"one\r\n"[..]).unwrap();
        let error = deliver(&folder, &name, &mut &b"two\r\n"[..]).unwrap_err();
        assert_eq!(error.enhanced, Enhanced(4, 3, 0));
        assert_eq!(fs::read_to_string(path).unwrap(), "one\n");
        assert_eq!(names(&folder.join("tmp")), [""; 0]);
    }
}
