//! The counts of the last day, in the folder `state` of the spool ([`crate::proto::day`] has their form).
//!
//! ```text
//! events       what happened since, a record a process: appended, never synced
//! events.old   the same before that
//! day          all that was before, a record an hour
//! ```
//!
//! A process gathers what it counts, and appends it in one write when it ends, or a daemon every few seconds: an open, a
//! write and a close more for a submission. Whoever finds `events` long folds `events.old` into `day` and puts `events`
//! in its place, so that nobody appends to what is being folded. Counts are no mail: a crash may lose the last of them,
//! and an error is nobody's.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::{clock, durable, read_bounded};
use crate::proto::day::{Day, Record};

/// From this size on `events` is folded.
const LONG: u64 = 32 * 1024;
/// The most that is read of a file. Nothing is longer, unless somebody else wrote it.
const MOST: u64 = 1 << 20;
/// How long a daemon gathers, in seconds.
const GATHER: i64 = 10;
/// One write in so many looks at the size: a queue run does so each time, but there may be none.
const SOMETIMES: i64 = 32;

/// Where a process counts.
#[derive(Debug)]
pub struct Ledger {
    folder: PathBuf,
    pending: Mutex<Record>,
}

impl Ledger {
    /// That of a spool; nothing is looked at yet.
    pub fn new(spool: &Path) -> Self {
        Self {
            folder: spool.join("state"),
            pending: Mutex::default(),
        }
    }

    /// Counts something.
    pub fn count(&self, add: impl FnOnce(&mut Record)) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::now();
        if pending.time == 0 {
            pending.time = now;
        }
        add(&mut pending);
        if now.saturating_sub(pending.time) >= GATHER {
            self.append(std::mem::take(&mut pending));
        }
    }

    /// Writes what was gathered.
    pub fn flush(&self) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        self.append(std::mem::take(&mut pending));
    }

    fn append(&self, record: Record) {
        if record.is_empty() {
            return;
        }
        let path = self.folder.join("events");
        let open = || {
            OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o660)
                .custom_flags(durable::NO_FOLLOW)
                .open(&path)
        };
        let file = open().or_else(|_| {
            durable::create_folder(&self.folder, 0o770)?;
            open()
        });
        let Ok(mut file) = file else { return };
        // In one write, so that records of others stand before or behind it.
        let _ = file.write_all(format!("{record}\n").as_bytes());
        if record.time % SOMETIMES == 0 {
            self.fold();
        }
    }

    /// Keeps the files short.
    pub fn fold(&self) {
        let events = self.folder.join("events");
        if std::fs::metadata(&events).map_or(0, |m| m.len()) < LONG {
            return;
        }
        let Ok(lock) = self.lock() else { return };
        let now = clock::now();
        let old = self.folder.join("events.old");
        let mut day = Day::default();
        for file in [self.folder.join("day"), old.clone()] {
            day.read(&text(&file), now);
        }
        let fresh = self.folder.join("day.new");
        let _ = durable::remove(&fresh);
        let written = durable::create(&fresh, 0o660)
            .and_then(|file| durable::write(&file, day.to_text().as_bytes()))
            .and_then(|()| durable::rename(&fresh, &self.folder.join("day")));
        if written.is_ok() {
            let _ = durable::rename(&events, &old);
        }
        drop(lock);
    }

    /// Held by the one who folds; another has no need to.
    fn lock(&self) -> std::io::Result<File> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o660)
            .custom_flags(durable::NO_FOLLOW)
            .open(self.folder.join("lock"))?;
        file.try_lock()?;
        Ok(file)
    }

    /// The day before now.
    pub fn day(&self) -> Day {
        let mut day = Day::default();
        let now = clock::now();
        for name in ["day", "events.old", "events"] {
            day.read(&text(&self.folder.join(name)), now);
        }
        day
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.flush();
    }
}

fn text(path: &Path) -> String {
    let octets = read_bounded(path, MOST).unwrap_or_default();
    String::from_utf8_lossy(&octets).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spool(name: &str) -> PathBuf {
        let folder =
            std::env::temp_dir().join(format!("minimta-ledger-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn what_is_counted_is_found_again_and_stays_short() {
        let root = spool("short");
        for _ in 0..4000 {
            let ledger = Ledger::new(&root);
            ledger.count(|r| r.counts.accepted += 1);
            ledger.count(|r| {
                r.counts.delivered += 1;
                r.went_through("smtp.example.org:465");
            });
            drop(ledger);
            Ledger::new(&root).fold();
        }
        let day = Ledger::new(&root).day();
        let sum = day.sum();
        assert_eq!((sum.accepted, sum.delivered, sum.failed), (4000, 4000, 0));
        assert_eq!(day.last.len(), 1);
        for entry in std::fs::read_dir(root.join("state")).unwrap() {
            let size = entry.unwrap().metadata().unwrap().len();
            assert!(size < LONG + 200, "{size}");
        }
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn nothing_is_written_for_nothing_and_no_error_is_told() {
        let root = spool("nothing");
        let ledger = Ledger::new(&root);
        ledger.count(|_| {});
        drop(ledger);
        assert!(!root.join("state").exists());
        std::fs::write(root.join("state"), "a file in its place").unwrap();
        let ledger = Ledger::new(&root);
        ledger.count(|r| r.counts.failed += 1);
        drop(ledger);
        assert_eq!(Ledger::new(&root).day(), Day::default());
        std::fs::remove_dir_all(root).unwrap();
    }
}
