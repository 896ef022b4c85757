//! Delivery into a Maildir: a folder with tmp/, new/ and cur/, each message a file of its own, no locks.
//!
//! ```text
//! 1. look at the folders; create what is missing     crash: empty folders
//! 2. create tmp/NAME exclusively, 0600               crash: a file in tmp/, which mail readers sweep after 36 h
//! 3. the message with LF line ends, sync             same
//! 4. rename to new/NAME,S=SIZE                       the mail reader sees it, and sees it whole
//! 5. sync new/                                       DELIVERED. Only now may the spool forget the recipient
//! ```
//!
//! A crash between 4 and 5 may give a second copy, never none. A failure removes what was written.
//!
//! All is done as the user whose mailbox it is, so the worst a folder of his can do is to harm his own mail.
//! Still refused, to be tried again later: folders (or links in their place) of somebody else, folders anybody
//! may write to, and a Maildir whose parent is missing, which may be a home that is not mounted.

use std::fs::Metadata;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::durable;
use super::mailbox::{MailboxError, copy};
use crate::proto::address::Domain;
use crate::proto::data::LocalEnds;

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
    prepare(folder)?;
    let temporary = folder.join("tmp").join(&name.0);
    let file = durable::create(&temporary, 0o600)
        .map_err(|e| MailboxError::step("cannot create", &temporary, &e))?;
    let written = copy(
        message,
        LocalEnds::new(false),
        (b"", b""),
        &file,
        &temporary,
    )
    .and_then(|size| {
        durable::sync(&file)
            .map(|()| size)
            .map_err(|e| MailboxError::step("cannot write to", &temporary, &e))
    });
    drop(file);
    let new = folder.join("new");
    let moved = written.and_then(|size| {
        let path = new.join(format!("{},S={size}", name.0));
        publish(&temporary, &path).map(|()| path)
    });
    let path = moved.inspect_err(|_| {
        // What cannot be removed is swept from tmp/ some day; the error that matters is the first one.
        let _ = durable::remove(&temporary);
    })?;
    durable::sync_folder(&new).map_err(|e| {
        // It will be delivered again, so this copy, which may not last, is better gone.
        let _ = durable::remove(&path);
        MailboxError::step("cannot write to the folder", &new, &e)
    })?;
    Ok(path)
}

/// Gives the finished file its name for readers. A rename would replace a file of that name: the name is
/// unique, but a clock set back on a machine that gives process numbers anew is worth one look.
fn publish(temporary: &Path, path: &Path) -> Result<(), MailboxError> {
    if std::fs::symlink_metadata(path).is_ok() {
        let error = io::Error::from(io::ErrorKind::AlreadyExists);
        return Err(MailboxError::step("cannot create", path, &error));
    }
    durable::rename(temporary, path).map_err(|e| MailboxError::step("cannot create", path, &e))
}

/// Sees that the folders are there, and fit. What it creates is on the disk when it returns: a message in a
/// folder that a power cut takes away would be lost.
fn prepare(folder: &Path) -> Result<(), MailboxError> {
    let made = ensure(folder)?;
    let mut made_inside = false;
    for name in ["tmp", "new", "cur"] {
        made_inside |= ensure(&folder.join(name))?;
    }
    let sync = |path: &Path| {
        durable::sync_folder(path)
            .map_err(|e| MailboxError::step("cannot write to the folder", path, &e))
    };
    if made_inside {
        sync(folder)?;
    }
    if made {
        let parent = folder.parent().filter(|p| !p.as_os_str().is_empty());
        sync(parent.unwrap_or(Path::new(".")))?;
    }
    Ok(())
}

/// Creates a folder that is missing, and says so; or sees that the one that is there is fit. Never creates the
/// one above it.
fn ensure(path: &Path) -> Result<bool, MailboxError> {
    match std::fs::symlink_metadata(path) {
        Ok(found) => check(path, &found).map(|()| false),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            match durable::create_folder(path, 0o700) {
                Ok(()) => Ok(true),
                // Another delivery was faster.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(true),
                Err(e) => Err(MailboxError::step("cannot create the folder", path, &e)),
            }
        }
        Err(e) => Err(MailboxError::step("cannot look at", path, &e)),
    }
}

/// A folder, or a link to one, that belongs to the user and that not everybody may write to.
fn check(path: &Path, found: &Metadata) -> Result<(), MailboxError> {
    let us = nix::unistd::geteuid().as_raw();
    let unfit = |why| Err(MailboxError::unfit(path, why));
    if found.uid() != us {
        return unfit("it belongs to another user");
    }
    let target;
    let found = if found.is_symlink() {
        target = std::fs::metadata(path)
            .map_err(|e| MailboxError::step("cannot follow the link", path, &e))?;
        &target
    } else {
        found
    };
    if !found.is_dir() {
        return unfit("it is no folder");
    }
    if found.uid() != us {
        return unfit("it is a link to a folder of another user");
    }
    if found.mode() & 0o002 != 0 {
        return unfit("anybody may write to it; its mode should be 0700");
    }
    Ok(())
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
