//! How a running daemon is found: its process number in `pid`, locked as long as it lives, the FIFO `trigger`, which wakes
//! it, and its queue in `serves`: one that has another queue delivers nothing of ours. They stand in the run folder, which
//! is empty after a restart.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::{durable, words};
use crate::error::{Error, Result};

/// How often the file of a daemon that goes may be met.
const MOST_TRIES: usize = 16;
/// What a daemon works on: a name that nobody gives to a queue of his own here.
const SERVES: &str = "serves";
/// Octets of the longest line in it.
const MAX_LINE: u64 = 8192;

/// A pull for what is new,
const FOR_NEW: u8 = b'!';
/// and one for all that waits.
const FOR_ALL: u8 = b'*';

/// The place of the one daemon in a run folder; left when it is dropped.
#[derive(Debug)]
pub struct Presence {
    pid: PathBuf,
    serves: PathBuf,
    lock: File,
    trigger: File,
}

impl Presence {
    /// Takes the place, and makes the folder if it is not there.
    ///
    /// # Errors
    /// `Unavailable` when another daemon has it; `CannotCreate` or `NoPermission`.
    pub fn take(folder: &Path) -> Result<Self> {
        match durable::create_folder(folder, 0o710) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(cannot("make the run folder", folder, &e));
            }
            _ => {}
        }
        let pid = folder.join("pid");
        let lock = lock(&pid)?;
        let trigger = make_trigger(&folder.join("trigger"))?;
        Ok(Self {
            pid,
            serves: folder.join(SERVES),
            lock,
            trigger,
        })
    }

    /// Writes down what queue is worked on, and the number of the process to send signals to, now that it will
    /// stay the same: this one, or the one it works for.
    ///
    /// # Errors
    /// `CannotCreate`.
    pub fn announce(&self, queue: &Path, works_for_another: bool) -> Result<()> {
        let told = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o640)
            .custom_flags(durable::NO_FOLLOW)
            .open(&self.serves);
        // Who does not find it there takes this daemon for his.
        let _ = told.and_then(|file| durable::write(&file, &Served::of(queue).line()));
        let number = if works_for_another {
            std::os::unix::process::parent_id()
        } else {
            std::process::id()
        };
        let line = format!("{number}\n");
        let written = durable::truncate(&self.lock, 0)
            .and_then(|()| durable::write_at(&self.lock, line.as_bytes(), 0));
        written.map_err(|e| cannot("write", &self.pid, &e))
    }

    /// What becomes readable when somebody pulls.
    pub fn trigger(&self) -> &File {
        &self.trigger
    }

    /// Takes all pulls so far. Returned is whether one of them was for all that waits.
    pub fn release_trigger(&self) -> bool {
        let mut block = [0; 512];
        let mut is_for_all = false;
        while let Ok(n) = (&self.trigger).read(&mut block)
            && n > 0
        {
            is_for_all |= block.iter().take(n).any(|pull| *pull == FOR_ALL);
        }
        is_for_all
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let _ = durable::remove(&self.serves);
        let _ = durable::remove(&self.pid);
    }
}

/// The file of this name, locked. A daemon that goes removes it, and whoever has opened it before and locks it after that
/// has a lock that keeps nobody out: then it is opened anew.
fn lock(pid: &Path) -> Result<File> {
    for _ in 0..MOST_TRIES {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o640)
            .custom_flags(durable::NO_FOLLOW)
            .open(pid)
            .map_err(|e| cannot("open", pid, &e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(taken(&mut file)),
            Err(TryLockError::Error(e)) => return Err(cannot("lock", pid, &e)),
        }
        let own = file.metadata().map_err(|e| cannot("look at", pid, &e))?;
        let stands = |m: Metadata| (m.dev(), m.ino()) == (own.dev(), own.ino());
        if fs::symlink_metadata(pid).is_ok_and(stands) {
            return Ok(file);
        }
    }
    Err(Error::Unavailable(format!(
        "{} is removed as often as it is made; see what else uses this folder, or name another with [queue] run",
        pid.display()
    )))
}

/// Looks whether the place can be taken, and takes nothing: who goes into the background says so before.
///
/// # Errors
/// `Unavailable` when another daemon has it; `CannotCreate` for what stands in the place of the FIFO.
pub fn see_that_it_is_free(folder: &Path) -> Result<()> {
    let trigger = folder.join("trigger");
    if fs::symlink_metadata(&trigger).is_ok_and(|m| !m.file_type().is_fifo()) {
        return Err(no_fifo(&trigger));
    }
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(durable::NO_FOLLOW)
        .open(folder.join("pid"));
    // What cannot be looked at is seen by the one who takes the place.
    let Ok(mut lock) = opened else { return Ok(()) };
    match lock.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Err(taken(&mut lock)),
        _ => Ok(()),
    }
}

fn taken(lock: &mut File) -> Error {
    let mut number = String::new();
    let _ = lock.take(20).read_to_string(&mut number);
    Error::Unavailable(format!(
        "minimta runs already, as process {}; stop it first, or give this one another folder with [queue] run",
        number.trim()
    ))
}

/// A daemon that runs.
#[derive(Debug)]
pub struct Found {
    trigger: File,
}

/// The daemon of this folder that works on this queue, if there is one.
pub fn find_for(folder: &Path, queue: &Path) -> Option<Found> {
    find(folder).filter(|_| other_queue(folder, queue).is_none())
}

/// The queue that the daemon of this folder works on, if it is another than this one.
pub fn other_queue(folder: &Path, queue: &Path) -> Option<PathBuf> {
    // An older one says nothing, and is taken for ours.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(durable::NO_FOLLOW)
        .open(folder.join(SERVES));
    let mut line = Vec::new();
    opened.ok()?.take(MAX_LINE).read_to_end(&mut line).ok()?;
    let (theirs, ours) = (Served::parse(&line)?, Served::of(queue));
    // It may have two names, and in a container the same name is another place.
    let is_same = theirs.path == ours.path || theirs.place == ours.place;
    (!is_same).then_some(theirs.path)
}

/// A queue: its path, and where that is.
#[derive(Debug)]
struct Served {
    place: (u64, u64),
    path: PathBuf,
}

impl Served {
    fn of(path: &Path) -> Self {
        let place = fs::metadata(path).map_or((0, 0), |m| (m.dev(), m.ino()));
        let path = path.to_owned();
        Self { place, path }
    }

    /// `64769:1310 /var/spool/minimta`
    fn line(&self) -> Vec<u8> {
        let (device, inode) = self.place;
        let mut line = format!("{device}:{inode} ").into_bytes();
        line.extend_from_slice(self.path.as_os_str().as_bytes());
        line.push(b'\n');
        line
    }

    fn parse(line: &[u8]) -> Option<Self> {
        let at = line.iter().position(|octet| *octet == b' ')?;
        let (place, path) = line.strip_suffix(b"\n")?.split_at_checked(at)?;
        let (device, inode) = std::str::from_utf8(place).ok()?.split_once(':')?;
        let path = OsString::from_vec(path.get(1..)?.to_vec());
        Some(Self {
            place: (device.parse().ok()?, inode.parse().ok()?),
            path: path.into(),
        })
    }
}

/// The daemon of this folder, if there is one.
pub fn find(folder: &Path) -> Option<Found> {
    // Without a reader a FIFO cannot be opened so.
    let trigger = OpenOptions::new()
        .write(true)
        .custom_flags(durable::NO_FOLLOW)
        .open(folder.join("trigger"))
        .ok()?;
    let meta = trigger.metadata().ok()?;
    meta.file_type().is_fifo().then_some(Found { trigger })
}

impl Found {
    /// Wakes it for what is new; false: it has gone.
    pub fn wake(&self) -> bool {
        self.pull(FOR_NEW)
    }

    /// The same for what was put off, and is due now.
    pub fn wake_for_all(&self) -> bool {
        self.pull(FOR_ALL)
    }

    fn pull(&self, how: u8) -> bool {
        match (&self.trigger).write_all(&[how]) {
            Ok(()) => true,
            // Full: it has been told often enough.
            Err(e) => e.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

/// Opened for writing too, so that it has never seen its last writer go.
fn make_trigger(path: &Path) -> Result<File> {
    let open = || {
        OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(durable::NO_FOLLOW)
            .open(path)
    };
    let file = match open() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            mkfifo(path, Mode::from_bits_truncate(0o660))
                .map_err(|e| cannot("make the FIFO", path, &e.into()))?;
            open()
        }
        other => other,
    };
    let file = file.map_err(|e| cannot("open the FIFO", path, &e))?;
    if file.metadata().is_ok_and(|m| m.file_type().is_fifo()) {
        return Ok(file);
    }
    Err(no_fifo(path))
}

fn no_fifo(path: &Path) -> Error {
    Error::CannotCreate(format!("{} is no FIFO; remove it", path.display()))
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Error {
    let sentence = format!("cannot {what} {}: {}", path.display(), words(error));
    match error.kind() {
        io::ErrorKind::PermissionDenied => Error::NoPermission(format!(
            "{sentence}; the run folder must be writable for whoever runs the daemon ([queue] run in the configuration)"
        )),
        _ => Error::CannotCreate(sentence),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::host::mailbox::scratch::Scratch;

    /// Four who come and go: one that locks the file of another that has just gone has no place, or a third would come in
    /// beside it.
    #[test]
    fn nobody_takes_the_place_in_a_file_that_was_removed() {
        let scratch = Scratch::new("presence-removed");
        let here = AtomicUsize::new(0);
        let come_and_go = || {
            let Ok(presence) = Presence::take(scratch.as_ref()) else {
                return std::thread::yield_now();
            };
            assert_eq!(here.fetch_add(1, Ordering::SeqCst), 0);
            let stands = fs::metadata(&presence.pid).unwrap().ino();
            assert_eq!(stands, presence.lock.metadata().unwrap().ino());
            here.fetch_sub(1, Ordering::SeqCst);
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..2000).for_each(|_| come_and_go()));
            }
        });
    }

    /// Nor by one that would find out when it is in the background, and nobody hears it.
    #[test]
    fn a_place_with_something_else_in_it_is_not_taken() {
        let scratch = Scratch::new("presence-other");
        see_that_it_is_free(scratch.as_ref()).unwrap();
        drop(Presence::take(scratch.as_ref()).unwrap());
        see_that_it_is_free(scratch.as_ref()).unwrap();
        let trigger = scratch.path("trigger");
        fs::remove_file(&trigger).unwrap();
        fs::write(&trigger, "").unwrap();
        let expected = format!("{} is no FIFO; remove it", trigger.display());
        for result in [
            see_that_it_is_free(scratch.as_ref()),
            Presence::take(scratch.as_ref()).map(drop),
        ] {
            assert_eq!(result.unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn there_is_one_daemon_in_a_folder_and_it_can_be_woken() {
        let folder = std::env::temp_dir().join(format!("minimta-presence-{}", std::process::id()));
        assert!(find(&folder).is_none());
        let presence = Presence::take(&folder).unwrap();
        presence.announce(&folder, false).unwrap();
        let other = Presence::take(&folder).unwrap_err().to_string();
        let number = std::process::id();
        assert!(
            other.starts_with(&format!("minimta runs already, as process {number};")),
            "{other}"
        );
        let found = find_for(&folder, &folder.join(".")).unwrap();
        let another = std::env::temp_dir();
        assert!(find_for(&folder, &another).is_none());
        assert_eq!(other_queue(&folder, &another), Some(folder.clone()));
        // Whatever else is there says nothing.
        for line in [
            &b""[..],
            b" ",
            b"1:2",
            b"1:2 /x",
            b"1 /x\n",
            b"a:b /x\n",
            b"1:2\n",
        ] {
            fs::write(folder.join(SERVES), line).unwrap();
            assert_eq!(other_queue(&folder, &another), None, "{line:?}");
        }
        for _ in 0..100_000 {
            assert!(found.wake()); // more than a FIFO holds
        }
        assert!(!presence.release_trigger());
        assert!(presence.trigger().read(&mut [0]).is_err());
        assert!(found.wake_for_all() && found.wake());
        assert!(presence.release_trigger());
        assert!(!presence.release_trigger());
        drop(presence);
        // What another test starts just now has our descriptors until it is a program of its own.
        let is_gone = || find(&folder).is_none() && !found.wake() && !folder.join("pid").exists();
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !is_gone() {
            assert!(std::time::Instant::now() < until);
            std::thread::yield_now();
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
