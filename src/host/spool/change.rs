//! Changes to a queue file that others may work on: moved, removed, put off. Each under the lock of the file, or by whoever
//! has its claim.

use std::fs::{File, TryLockError};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use super::{Folder, Item, Spool, cannot, fresh_id, is_at, is_barred, is_no_file, open};
use crate::error::{Error, Result};
use crate::host::durable;

/// What came of a change to a queue file that others may work on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is made.
    Made,
    /// Another process works on the message.
    Busy,
    /// It does not stand there any more: it was moved or is done.
    Gone,
}

impl Change {
    fn of(step: io::Result<()>) -> io::Result<Self> {
        match step {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Self::Gone),
            step => step.map(|()| Self::Made),
        }
    }
}

impl Spool {
    /// Puts off a message that this process has claimed, until `due`; for want of anything better, for whoever holds the
    /// claim can do it no more. False: it is not done.
    pub fn put_off(&self, id: &str, due: i64) -> bool {
        let item = self.find(id).filter(|item| item.folder != Folder::Hold);
        let file = item.and_then(|item| File::open(self.path(item.folder, id)).ok());
        let time = UNIX_EPOCH + Duration::from_secs(u64::try_from(due).unwrap_or(0));
        file.is_some_and(|file| file.set_modified(time).is_ok())
    }

    /// Moves a queue file between folders: set aside, or back into the queue, due at once.
    ///
    /// # Errors
    /// `TempFail` when the queue has another message of this name, or as for every write.
    pub fn shift(&self, item: &Item, to: Folder) -> Result<Change> {
        let from = self.path(item.folder, &item.id);
        let lock = match self.lock(item)? {
            Ok(lock) => lock,
            Err(change) => return Ok(change),
        };
        let new = match to {
            Folder::Hold => self.place_in_hold(&item.id),
            _ if [Folder::New, Folder::Cur]
                .iter()
                .any(|f| self.is_there(*f, &item.id)) =>
            {
                return Err(Error::TempFail(format!(
                    "another message of the name {} waits in the queue; remove one of the two",
                    item.id
                )));
            }
            _ => self.path(to, &item.id),
        };
        if let (Folder::Cur, Some(file)) = (to, &lock) {
            // The file of another user can be given no time but this one, which is as good.
            file.set_modified(UNIX_EPOCH)
                .or_else(|_| durable::touch(file))
                .map_err(|e| cannot("set the time of", &from, &e))?;
        }
        // The folder of the other name may be younger than the spool.
        self.create()?;
        Change::of(durable::relocate(&from, &new))
            .map_err(|e| cannot("move the queue file", &from, &e))
    }

    /// Where a file is set aside. What lies there is never replaced: then it gets a name of its own.
    pub(super) fn place_in_hold(&self, id: &str) -> PathBuf {
        match self.is_there(Folder::Hold, id) {
            true => self.path(Folder::Hold, &fresh_id()),
            false => self.path(Folder::Hold, id),
        }
    }

    /// Removes a message for good.
    ///
    /// # Errors
    /// As for every write.
    pub fn remove(&self, item: &Item) -> Result<Change> {
        let path = self.path(item.folder, &item.id);
        let _lock = match self.lock(item)? {
            Ok(lock) => lock,
            Err(change) => return Ok(change),
        };
        Change::of(durable::remove(&path)).map_err(|e| cannot("remove the queue file", &path, &e))
    }

    /// The lock of a queue file, whatever its content; a file that nobody can open, as it is, has none. Why it cannot be
    /// had, if somebody else has the file or had it.
    ///
    /// # Errors
    /// The system would not let us now: somebody may have the file, for all that is known.
    fn lock(&self, item: &Item) -> Result<Result<Option<File>, Change>> {
        let path = self.path(item.folder, &item.id);
        let file = match open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Err(Change::Gone)),
            Err(e) if is_no_file(&e) || is_barred(&e) => return Ok(Ok(None)),
            opened => opened.map_err(|e| cannot("open the queue file", &path, &e))?,
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Err(Change::Busy)),
            Err(TryLockError::Error(e)) => return Err(cannot("lock the queue file", &path, &e)),
        }
        // Whoever had it may have moved it before it let go, or put a copy in its place, which others may have by now.
        let is_there = file.metadata().is_ok_and(|meta| is_at(&path, &meta));
        Ok(is_there.then_some(Some(file)).ok_or(Change::Gone))
    }
}
