//! When a message is tried again: the time of its file, and the folder in which those wait that have one.
//!
//! A time can be set by the owner of a file alone. What another user has handed in is copied when it is to wait: the copy
//! takes its place in one step, and the file goes once that is on the disk, so that no power cut leaves the message without.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::claim::{Body, Claim, State};
use super::{Folder, cannot};
use crate::error::Result;
use crate::host::durable;

impl Claim {
    /// Puts the message back into the queue until `due`, unless it was set aside: only an admin releases it.
    ///
    /// # Errors
    /// As for every write; the message is then due at once, which harms nothing.
    pub fn defer_until(&self, due: i64) -> Result<()> {
        let mut state = self.state();
        // A copy stays locked until it has its place.
        let copy = self.set_due(&state, due)?;
        if state.folder == Folder::New {
            let (from, to) = (self.path(&state), self.spool.path(Folder::Cur, &self.id));
            durable::relocate(&from, &to).map_err(|e| cannot("move the queue file", &from, &e))?;
            state.folder = Folder::Cur;
        } else if copy.is_some() {
            self.keep_copy(&state)?;
        }
        self.drop_original(copy);
        Ok(())
    }

    /// The same for whoever has accepted it just now: it stays where it is, which takes no sync. A daemon that has many
    /// would pass over all of them whenever it looks for new ones.
    ///
    /// # Errors
    /// As for [`Self::defer_until`].
    pub fn put_off(&self, due: i64) -> Result<()> {
        let state = self.state();
        let copy = self.set_due(&state, due)?;
        if copy.is_some() {
            self.keep_copy(&state)?;
        }
        self.drop_original(copy);
        Ok(())
    }

    /// Returns when a copy is on the disk that has taken the place of the file.
    fn keep_copy(&self, state: &State) -> Result<()> {
        let path = self.path(state);
        let folder = path.parent().unwrap_or(Path::new("/"));
        durable::sync_folder(folder).map_err(|e| cannot("copy the queue file", &path, &e))
    }

    /// Removes the file whose place a copy has: when that is on the disk, and not before.
    fn drop_original(&self, copy: Option<File>) {
        if copy.is_some() {
            // What is left there is swept.
            let _ = durable::remove(&self.spool.path(Folder::Tmp, &self.id));
        }
    }

    /// Sets the time when it is due. Returned is a copy that has taken the place of the file, if one had to, and is not on
    /// the disk there yet; the file stands in tmp/ as long.
    fn set_due(&self, state: &State, due: i64) -> Result<Option<File>> {
        let Body::File(file) = &state.body else {
            return Ok(None);
        };
        // What was never stored was promised to nobody.
        if matches!(state.folder, Folder::Hold | Folder::Tmp) {
            return Ok(None);
        }
        let path = self.path(state);
        let time = UNIX_EPOCH + Duration::from_secs(u64::try_from(due).unwrap_or(0));
        match file.set_modified(time) {
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                self.take_over(file, state.end, &path, time).map(Some)
            }
            set => set
                .map(|()| None)
                .map_err(|e| cannot("set the time of", &path, &e)),
        }
    }

    /// Puts a copy in the place of a file that another user has made, whose time nobody else can set. The one who made
    /// it has no way to it; but what waits longer than its writer lives belongs to whoever keeps it.
    fn take_over(&self, file: &File, end: u64, place: &Path, time: SystemTime) -> Result<File> {
        let (copy, path) = self.spool.create_draft(&self.id)?;
        let copied = (|| {
            let mut block = vec![0; super::BLOCK];
            let mut at = 0;
            while at < end {
                let left = usize::try_from(end - at)
                    .unwrap_or(usize::MAX)
                    .min(block.len());
                // left is at most the block's length.
                match file.read_at(&mut block[..left], at)? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    n => {
                        durable::write(&copy, &block[..n])?;
                        at += n as u64;
                    }
                }
            }
            copy.set_modified(time)?;
            durable::sync(&copy)?;
            durable::exchange(&path, place)
        })();
        copied.map_err(|e| {
            // The file is as it was; without its copy it is due at once.
            let _ = durable::remove(&path);
            cannot("copy the queue file", place, &e)
        })?;
        Ok(copy)
    }
}

/// When a file is due, as its folder shows it at the time `now`. What a clock put off that was set back since is due at
/// once: it would wait for as long as that was ahead. An attempt puts it off anew.
pub fn due(folder: Folder, meta: &Metadata, now: i64) -> i64 {
    /// By so many seconds the clock of another machine may be ahead that has the spool.
    const APART: i64 = 300;
    match folder {
        _ if meta.ctime() > now.saturating_add(APART) => 0,
        Folder::Cur => meta.mtime(),
        Folder::New if is_put_off(meta) => meta.mtime(),
        _ => 0,
    }
}

/// Whether a file of new/ was put off: its mtime was set to a time that was still to come.
pub fn is_put_off(meta: &Metadata) -> bool {
    (meta.mtime(), meta.mtime_nsec()) > (meta.ctime(), meta.ctime_nsec())
}
