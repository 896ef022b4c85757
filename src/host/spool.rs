//! The spool: a flat Maildir-style folder in which one message is one file, and a queue file is a log.
//!
//! ```text
//! tmp/ID    being written, locked by its writer
//! new/ID    accepted, not tried yet; or put off by whoever accepted it, until its mtime
//! cur/ID    tried, deferred; its mtime is when it is due
//! hold/ID   set aside by an admin, or unreadable: never deleted by the program
//! ```
//!
//! A message is committed in these steps; what a crash leaves after each is swept or held by the next queue run:
//!
//! 1. create tmp/ID exclusively, lock it: a file nobody locks and nobody was promised, swept
//! 2. write envelope, message, then the message line with length and checksum: the same
//! 3. rename to new/ID, still locked: perhaps a name without all its bytes; shorter than its message line says
//!    (or without one): swept; full length and a wrong checksum: hold/
//! 4. sync the file: the same, or the whole message; delivered then, though nobody was told, which is allowed
//! 5. sync new/: SAFE. Only after this "250" or exit 0, and the lock goes
//!
//! Renaming before the first sync lets a journalling file system do it all in one commit. Removal is one unlink. A
//! message that is safe moves to cur/ or hold/ by a second name, and loses the first one when that is on the disk: no
//! power cut leaves it without any, whatever the file system ([`durable::relocate`]). That costs a sync, which a program
//! that tries its own message once does not wait for: it leaves it in new/ and sets its mtime alone ([`Claim::put_off`]),
//! and the next attempt moves it. No file has by itself an mtime after its last change (ctime), whatever the clock does;
//! so what was not tried yet is never taken for one that waits ([`is_put_off`]).
//!
//! With `first_try = "direct"` a short message is kept in memory ([`Draft::keep`]), tried, and committed in the same
//! steps only if somebody still waits for it then, with the journal already behind it ([`Claim::store`]). What a filter
//! sets aside is committed in them too, with hold/ in the place of new/ ([`Claim::hold`]).
//!
//! A claim is a lock on the file (the kernel's, so it dies with its holder), then a look whether the file still
//! stands under its name: two queue runs never deliver the same message twice. Nothing but the journal is
//! written after the commit, so no crash can harm a message; a torn last line of the journal is cut off at the
//! next claim. Whoever reads the message learns at its end whether the checksum was right, and must not have
//! let go of the last octet before ([`Claim::message`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::host::{clock, durable, words};
use crate::proto::data::Meter;
use crate::proto::envelope::{Envelope, Facts};
use crate::proto::order;

mod asking;
mod change;
mod claim;
mod draft;
mod due;
mod head;
mod id;
mod places;
mod room;
mod taking;

pub use asking::Asked;
pub use change::Change;
pub use claim::Claim;
pub use draft::Draft;
pub use id::{arrival, is_id};
pub use taking::Refusal;

use due::due;
use id::fresh_id;

/// Octets gathered before they are written, and read at a time.
const BLOCK: usize = 32 * 1024;
/// The longest head of a queue file: 10,000 recipients with all their parameters are half of it.
const MAX_HEAD: usize = 16 * 1024 * 1024;
/// The longest journal that is read.
const MAX_JOURNAL: u64 = 8 * 1024 * 1024;

/// Where a queue file stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Folder {
    /// Being written.
    Tmp,
    /// Accepted, not tried yet or put off by whoever accepted it.
    New,
    /// Tried, deferred.
    Cur,
    /// Set aside.
    Hold,
}

impl Folder {
    /// Every folder of a spool.
    pub const ALL: [Self; 4] = [Self::Tmp, Self::New, Self::Cur, Self::Hold];

    /// The folder's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tmp => "tmp",
            Self::New => "new",
            Self::Cur => "cur",
            Self::Hold => "hold",
        }
    }
}

/// A queue file as a folder shows it, without being opened.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// The queue id: it sorts by arrival.
    pub id: String,
    /// Where it stands.
    pub folder: Folder,
    /// When it is due, seconds since 1970; 0 for one in new/ that was not put off.
    pub due: i64,
}

/// When a message is due in which somebody was not tried yet: at once, as what a hand or `--release` has set to 0.
pub const UNTRIED: i64 = 1;

impl Item {
    /// Whether no attempt has set a time for it from which something could be counted.
    pub fn has_no_time(&self) -> bool {
        (0..=UNTRIED).contains(&self.due)
    }
}

/// Numbers of files, and when they were gathered.
type Twice = (Instant, BTreeSet<u64>);

/// The folder of the queue.
#[derive(Debug, Clone)]
pub struct Spool {
    root: PathBuf,
    /// Octets of the file system that are left alone.
    min_free: u64,
    /// How many messages may wait.
    max_messages: u64,
    /// How many names a folder had, and when they were counted.
    counts: Arc<Mutex<BTreeMap<Folder, (Instant, u64)>>>,
    /// Files that had more than one name in it, and when it was looked for them.
    twice: Arc<Mutex<Option<Twice>>>,
}

impl Spool {
    /// The spool in `root`; nothing is looked at yet.
    pub fn new(root: &Path, min_free: u64, max_messages: u64) -> Self {
        Self {
            root: root.to_owned(),
            min_free,
            max_messages,
            counts: Arc::default(),
            twice: Arc::default(),
        }
    }

    /// The spool's own folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn path(&self, folder: Folder, id: &str) -> PathBuf {
        self.root.join(folder.name()).join(id)
    }

    /// Starts a message. Nothing is created before there is more than a block of it, or its commit.
    ///
    /// # Errors
    /// `NoRoom` when the disk or the queue is too full ([`Spool::has_room`]).
    pub fn begin(&self, envelope: &Envelope) -> Result<Draft> {
        self.has_room(0)?;
        Ok(self.begin_report(envelope))
    }

    /// Starts a report of what is in the queue already: what `min_free` keeps back is kept for it, and a full queue
    /// gets emptier by it.
    pub fn begin_report(&self, envelope: &Envelope) -> Draft {
        let mut buffer = Vec::with_capacity(4096);
        buffer.extend_from_slice(envelope.to_text().as_bytes());
        let facts_at = buffer.len();
        buffer.extend_from_slice(Facts::UNKNOWN.as_bytes());
        buffer.push(b'\n');
        Draft {
            spool: self.clone(),
            envelope: envelope.clone(),
            id: fresh_id(),
            facts_at,
            message_at: buffer.len() as u64,
            buffer,
            meter: Meter::new(),
            gap: 0,
            front: Vec::new(),
            head: None,
            room: BLOCK,
            file: None,
        }
    }

    /// Creates the folders of a spool that has none yet.
    ///
    /// # Errors
    /// `CannotCreate` or `NoPermission`.
    pub fn create(&self) -> Result<()> {
        if self.create_folder(&self.root, 0o710)? {
            let above = self.root.parent().filter(|p| !p.as_os_str().is_empty());
            sync_names(above.unwrap_or(Path::new(".")))?;
        }
        let mut made = false;
        for folder in Folder::ALL {
            made |= self.create_folder(&self.root.join(folder.name()), 0o770)?;
        }
        // A message in a folder that a power cut takes away would be lost.
        if made { sync_names(&self.root) } else { Ok(()) }
    }

    /// Returns whether it was not there before. What is made is on the disk before its name: without a journal what a
    /// folder of earlier had in this place may show up in it.
    fn create_folder(&self, path: &Path, mode: u32) -> Result<bool> {
        match durable::create_folder(path, mode) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(e) => Err(cannot("create the spool folder", path, &e)),
            Ok(()) => sync_names(path).map(|()| true),
        }
    }

    /// The queue files of a folder, oldest first. Names that are no queue ids are passed over.
    ///
    /// # Errors
    /// As for every read; an absent folder is an empty one.
    pub fn scan(&self, folder: Folder) -> Result<Vec<Item>> {
        self.list(folder, matches!(folder, Folder::New | Folder::Cur))
    }

    /// The same for whoever does not care when they are due.
    ///
    /// # Errors
    /// As for [`Self::scan`].
    pub fn names(&self, folder: Folder) -> Result<Vec<Item>> {
        self.list(folder, false)
    }

    fn list(&self, folder: Folder, with_times: bool) -> Result<Vec<Item>> {
        let path = self.root.join(folder.name());
        let names = match fs::read_dir(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|e| cannot("read the spool folder", &path, &e))?,
        };
        let (mut items, now) = (Vec::new(), clock::now());
        for name in names {
            let name = name.map_err(|e| cannot("read the spool folder", &path, &e))?;
            let Some(id) = name
                .file_name()
                .to_str()
                .filter(|n| is_id(n))
                .map(str::to_owned)
            else {
                continue;
            };
            let due = match with_times.then(|| name.metadata()) {
                None => 0,
                Some(Ok(m)) => due(folder, &m, now),
                // Gone since the folder was read: another run had it.
                Some(Err(_)) => continue,
            };
            items.push(Item { id, folder, due });
        }
        order::sort(&mut items, &Item::cmp);
        Ok(items)
    }

    /// Removes what crashed writers left in tmp/, each with a line through `tell`.
    pub fn sweep(&self, tell: &mut dyn FnMut(&str)) {
        const MINUTE: Duration = Duration::from_secs(60);
        self.sweep_places();
        for item in self.scan(Folder::Tmp).unwrap_or_default() {
            let path = self.path(Folder::Tmp, &item.id);
            let Ok(file) = open(&path) else { continue };
            // A writer that lives holds the lock; and one that has just created the file will have it at once,
            // so a file is left alone for its first minute.
            if has_age(&file, MINUTE) && file.try_lock().is_ok() && durable::remove(&path).is_ok() {
                // Of one that has its place a copy was left.
                if self.find(&item.id).is_none() {
                    tell(&item.id);
                }
            }
        }
    }

    /// Finds a message by its id; `None` when there is none.
    pub fn find(&self, id: &str) -> Option<Item> {
        if !is_id(id) {
            return None;
        }
        [Folder::New, Folder::Cur, Folder::Hold]
            .into_iter()
            .find_map(|folder| {
                let meta = fs::symlink_metadata(self.path(folder, id)).ok()?;
                let due = due(folder, &meta, clock::now());
                Some(Item {
                    id: id.to_owned(),
                    folder,
                    due,
                })
            })
    }

    /// Whether it stands where it was listed.
    pub fn stands(&self, item: &Item) -> bool {
        self.is_there(item.folder, &item.id)
    }

    fn is_there(&self, folder: Folder, id: &str) -> bool {
        fs::symlink_metadata(self.path(folder, id)).is_ok()
    }

    /// Opens a queue file to be shown.
    ///
    /// # Errors
    /// As for every read.
    pub fn open(&self, item: &Item) -> Result<File> {
        let path = self.path(item.folder, &item.id);
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(durable::NO_FOLLOW)
            .open(&path);
        file.map_err(|e| cannot("open the queue file", &path, &e))
    }
}

/// Whether this says of what stands under a name of ours that it is no file: O_NOFOLLOW on a link, O_RDWR on a folder or a
/// socket.
fn is_no_file(error: &io::Error) -> bool {
    use nix::libc::{EISDIR, ELOOP, ENXIO};
    matches!(error.raw_os_error(), Some(ELOOP | EISDIR | ENXIO))
}

/// Whether it says that whoever may write there has given the file to somebody else.
fn is_barred(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// Whether a file was not changed for so long, or the clock says nothing of that.
fn has_age(file: &File, least: Duration) -> bool {
    let modified = file.metadata().and_then(|meta| meta.modified());
    let age = modified.ok().and_then(|at| at.elapsed().ok());
    age.is_none_or(|age| age > least)
}

/// Whether this is the file that stands under a name.
fn is_at(path: &Path, ours: &fs::Metadata) -> bool {
    fs::symlink_metadata(path).is_ok_and(|m| (m.dev(), m.ino()) == (ours.dev(), ours.ino()))
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(durable::NO_FOLLOW)
        .open(path)
}

/// Returns when the names in a folder are on the disk.
fn sync_names(folder: &Path) -> Result<()> {
    durable::sync_folder(folder).map_err(|e| cannot("sync the spool folder", folder, &e))
}

/// The sentence for a step the system refused.
fn cannot(what: &str, path: &Path, error: &io::Error) -> Error {
    let sentence = format!("cannot {what} {}: {}", path.display(), words(error));
    match error.kind() {
        io::ErrorKind::PermissionDenied => Error::NoPermission(format!(
            "{sentence}; the spool must be writable for whoever runs minimta ([queue] spool in the configuration)"
        )),
        io::ErrorKind::NotFound => Error::CannotCreate(sentence),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::NoRoom(sentence),
        io::ErrorKind::FileTooLarge => Error::TempFail(format!(
            "{sentence}; whoever started minimta bounds the size of files (ulimit -f)"
        )),
        _ => Error::TempFail(sentence),
    }
}

#[cfg(test)]
mod tests;
