//! A message taken out of the queue: its lock, the look whether the file still stands under its name, and under no other,
//! then what it says; or why it cannot be had. [`Spool::look`] reads the same without the lock, for lists.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirEntryExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::claim::{Body, Claim, State};
use super::due::is_put_off;
use super::head::{message_at_end, read_head, rest};
use super::{
    Folder, Item, MAX_HEAD, MAX_JOURNAL, Spool, cannot, is_at, is_barred, is_no_file, open,
};
use crate::error::{Error, Result};
use crate::host::{durable, words};
use crate::proto::envelope::{Parsed, Unreadable};
use crate::proto::journal::Progress;

/// Why a message could not be taken.
#[derive(Debug)]
pub enum Refusal {
    /// Another process works on it.
    Busy,
    /// It is not there any more.
    Gone,
    /// Its writer died before it was promised to anybody: to be swept.
    Unfinished,
    /// It cannot be used: to be held. Why, as the end of a sentence about the file.
    Bad(String),
    /// The system would not let us.
    Trouble(Error),
}

const NO_FILE: &str = "it is no regular file";

impl Spool {
    /// Takes a message for this process.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn claim(&self, folder: Folder, id: &str) -> Result<Claim, Refusal> {
        let path = self.path(folder, id);
        let file = open_locked(&path)?;
        let trouble = |e: io::Error| Refusal::Trouble(cannot("read the queue file", &path, &e));
        let meta = file.metadata().map_err(trouble)?;
        self.is_alone(folder, id, &meta)?;
        let length = meta.size();
        let (parsed, head) = read_head(&file, length).map_err(trouble)?;
        let Parsed {
            mut envelope,
            facts,
            message_at,
        } = whole(parsed, folder == Folder::New && !is_put_off(&meta), length)?;
        let journal_at = message_at + facts.size;
        if length - journal_at > MAX_JOURNAL {
            return Err(Refusal::Bad("its journal is too long".to_owned()));
        }
        let journal = rest(&file, &head, journal_at, length - journal_at).map_err(trouble)?;
        let (progress, whole) = Progress::parse(&journal, &mut envelope.recipients);
        let end = journal_at + whole as u64;
        if end < length {
            durable::truncate(&file, end).map_err(trouble)?;
        }
        let state = Mutex::new(State {
            folder,
            progress,
            envelope: Arc::new(envelope),
            in_hand: BTreeSet::new(),
            in_settlement: BTreeSet::new(),
            end,
            body: Body::File(Arc::new(file)),
            journal: String::new(),
        });
        Ok(Claim {
            spool: self.clone(),
            id: id.to_owned(),
            facts,
            message_at,
            // Of a message that goes on behind it the whole is read when it is wanted.
            head: Some(head)
                .filter(|head| journal_at <= head.len() as u64)
                .unwrap_or_default(),
            state,
        })
    }

    /// Whether the file that was locked is the one that stands under its name, and under no other of the spool.
    fn is_alone(&self, folder: Folder, id: &str, meta: &fs::Metadata) -> Result<(), Refusal> {
        if !is_at(&self.path(folder, id), meta) {
            return Err(Refusal::Gone);
        }
        if !meta.is_file() {
            return Err(Refusal::Bad(NO_FILE.to_owned()));
        }
        if meta.nlink() > 1 && !self.drop_other_names(folder, id, meta) && !is_of_ours(meta) {
            return Err(Refusal::Bad(
                "it has another name outside the spool, and is somebody else's".to_owned(),
            ));
        }
        // It is ours and stands here, so that one is another file: a copy, as of a backup that was put back.
        if folder == Folder::New && self.is_there(Folder::Cur, id) {
            return Err(Refusal::Bad(
                "there is another message of this name in cur/".to_owned(),
            ));
        }
        Ok(())
    }

    /// A power cut may leave the old name of a file behind that was moved between two of our folders, or the name of one
    /// that was gone before this one got its place on the disk. Returned is whether the name in `folder` is the only one
    /// now.
    fn drop_other_names(&self, folder: Folder, id: &str, ours: &fs::Metadata) -> bool {
        let dropped = |path: &Path| is_at(path, ours) && durable::remove(path).is_ok();
        // Nearly always it is the same name, and the folders need not be read.
        let moved = Folder::ALL.into_iter().filter(|place| *place != folder);
        let moved = moved.filter(|place| dropped(&self.path(*place, id)));
        let left = ours.nlink().saturating_sub(moved.count() as u64);
        if left == 1 || !self.has_twice(ours.ino()) {
            return left == 1;
        }
        let others = self.all_names().filter(|name| name.ino() == ours.ino());
        let own = self.path(folder, id);
        let others = others.map(|name| name.path()).filter(|path| *path != own);
        let others = others.filter(|path| dropped(path));
        left.saturating_sub(others.count() as u64) == 1
    }

    /// Whether a file had more than one name when the folders were read, which is done again after a while: in a spool of
    /// which there is a backup by second names all files would have them read. What a power cut leaves was there before.
    fn has_twice(&self, file: u64) -> bool {
        const RECENT: Duration = Duration::from_secs(60);
        let mut twice = self.twice.lock().unwrap_or_else(PoisonError::into_inner);
        match &*twice {
            Some((at, files)) if at.elapsed() < RECENT => files.contains(&file),
            _ => {
                let mut once = BTreeSet::new();
                let names = self.all_names().map(|name| name.ino());
                let files: BTreeSet<u64> = names.filter(|file| !once.insert(*file)).collect();
                let has = files.contains(&file);
                *twice = Some((Instant::now(), files));
                has
            }
        }
    }

    fn all_names(&self) -> impl Iterator<Item = fs::DirEntry> {
        let folders = Folder::ALL.map(|place| self.root.join(place.name()));
        let read = folders
            .into_iter()
            .filter_map(|folder| fs::read_dir(folder).ok());
        read.flatten().flatten()
    }

    /// What a queue file says, without a claim: for lists. `None` when it is gone or unreadable.
    pub fn look(&self, item: &Item) -> Option<(Parsed, Progress)> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(durable::NO_FOLLOW)
            .open(self.path(item.folder, &item.id));
        let file = file.ok()?;
        let meta = file.metadata().ok().filter(fs::Metadata::is_file)?;
        let (parsed, head) = read_head(&file, meta.size()).ok()?;
        let mut parsed = parsed.ok()?;
        let journal_at = message_at_end(&parsed)?;
        let length = meta.size().checked_sub(journal_at)?.min(MAX_JOURNAL);
        let journal = rest(&file, &head, journal_at, length).ok()?;
        let (progress, _) = Progress::parse(&journal, &mut parsed.envelope.recipients);
        Some((parsed, progress))
    }
}

/// Whether nobody else than we can have made a file: what others own could be given a name here, and be read, written to
/// and sent in their stead. A backup of the spool by second names (cp -al) leaves our own as good as they were.
fn is_of_ours(meta: &fs::Metadata) -> bool {
    use nix::unistd::{getegid, geteuid};
    // What users have handed in is theirs, of the group that only this program gives.
    meta.uid() == geteuid().as_raw() || meta.gid() == getegid().as_raw()
}

/// The file, locked: nobody else works on it, if it still stands under its name.
fn open_locked(path: &Path) -> Result<File, Refusal> {
    let file = match open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(Refusal::Gone),
        // Nothing of ours.
        Err(e) if is_no_file(&e) => return Err(Refusal::Bad(NO_FILE.to_owned())),
        // No later run can do more. Or root has copied a queue.
        Err(e) if is_barred(&e) => {
            return Err(Refusal::Bad(format!(
                "it cannot be read: {}; chown it to the user of the spool, then release it",
                words(&e)
            )));
        }
        other => other.map_err(|e| Refusal::Trouble(cannot("open the queue file", path, &e)))?,
    };
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Refusal::Busy),
        Err(TryLockError::Error(e)) => {
            Err(Refusal::Trouble(cannot("lock the queue file", path, &e)))
        }
    }
}

/// The head of a file that has all the octets it was promised with, and somebody to go to; `untried`: perhaps it was not
/// promised.
fn whole(
    parsed: Result<Parsed, Unreadable>,
    untried: bool,
    length: u64,
) -> Result<Parsed, Refusal> {
    let bad = |why: &str| Err(Refusal::Bad(why.to_owned()));
    let parsed = match parsed {
        Ok(parsed) if message_at_end(&parsed).is_some_and(|end| end <= length) => parsed,
        Err(Unreadable::MoreNeeded) if length >= MAX_HEAD as u64 => {
            return bad("its envelope is too long");
        }
        Ok(_) | Err(Unreadable::Unfinished | Unreadable::MoreNeeded) if untried => {
            return Err(Refusal::Unfinished);
        }
        Ok(_) => return bad("it is shorter than its message line says"),
        Err(Unreadable::Damaged(what)) => return bad(&format!("its envelope has {what}")),
        Err(Unreadable::Foreign) => return bad("it is no queue file of this version"),
        Err(_) if length == 0 => return bad("it is empty"),
        Err(_) => return bad("it ends in its envelope, or has nothing but zeros"),
    };
    if parsed.envelope.recipients.is_empty() {
        return bad("its envelope names no recipient");
    }
    Ok(parsed)
}
