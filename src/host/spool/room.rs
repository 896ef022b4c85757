//! Room for one message more: the disk keeps its reserve, and the queue its bound.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::{Folder, Spool, is_id};
use crate::error::{Error, Result};

/// How long a count of names is good enough.
const RECENT: Duration = Duration::from_secs(1);

impl Spool {
    /// Whether a message of `size` octets may come: the disk keeps its reserve, and the queue its bound.
    ///
    /// # Errors
    /// `NoRoom`, with a sentence that names the bound.
    pub fn has_room(&self, size: u64) -> Result<()> {
        // The C library of a machine of 32 bits counts blocks in 32 bits, too.
        if let Ok(disk) = rustix::fs::statvfs(&self.root) {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            if free < self.min_free.saturating_add(size) {
                return Err(Error::NoRoom(format!(
                    "the file system of the spool {} is nearly full: {} KiB are free and [queue] min_free keeps {} KiB",
                    self.root.display(),
                    free / 1024,
                    self.min_free / 1024
                )));
            }
        }
        let waiting = self
            .at_most_waiting(Folder::New)
            .saturating_add(self.at_most_waiting(Folder::Cur));
        if waiting >= self.max_messages {
            return Err(Error::NoRoom(format!(
                "{waiting} messages wait in the spool {} and [queue] max_messages is {}",
                self.root.display(),
                self.max_messages
            )));
        }
        Ok(())
    }

    /// How many messages a folder holds. A small folder is not counted: no file system has room for that many
    /// names in so few octets, and a count would cost every submission a look at every name.
    fn at_most_waiting(&self, folder: Folder) -> u64 {
        /// No file system keeps a name of ours in less.
        const LEAST_PER_NAME: u64 = 20;
        let path = self.root.join(folder.name());
        let size = fs::metadata(&path).map_or(0, |m| m.size());
        if size / LEAST_PER_NAME < self.max_messages / 2 {
            return 0;
        }
        // Nor is a large one for every message of a daemon: a folder that was full once stays large.
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, count)) = counts.get(&folder).filter(|(at, _)| at.elapsed() < RECENT) {
            return *count;
        }
        // What is not ours takes no place in the queue.
        let is_ours = |name: &fs::DirEntry| name.file_name().to_str().is_some_and(is_id);
        let names = fs::read_dir(&path).map(|names| names.flatten().filter(is_ours));
        let count = names.map_or(0, |names| names.count() as u64);
        counts.insert(folder, (Instant::now(), count));
        count
    }
}
