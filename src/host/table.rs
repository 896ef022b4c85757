//! A table in a file of fixed size, in which a hash tells the place: of greylisting, and of mail that repeats itself.
//! Nothing of it is held in memory, and it never grows. It may be lost at any time: whoever keeps something in it has
//! a rule for that.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::durable;

/// Buckets: with those of 96 octets, 384 KiB of a file that is empty where nobody is.
const BUCKETS: u64 = 4096;
/// The last of the pauses in which a lock is waited for; each is twice the one before.
const LONGEST: Duration = Duration::from_millis(512);

/// The table.
#[derive(Debug)]
pub struct Table {
    path: PathBuf,
}

impl Table {
    /// At this path; nothing is made before it is needed.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// Lets `change` change the bucket that belongs to a hash.
    ///
    /// # Errors
    /// Those of the file; `WouldBlock` when another process keeps it for more than a second: whoever is stopped while
    /// he has it must stop nobody else.
    pub fn with<const N: usize, T>(
        &self,
        hash: u64,
        change: impl FnOnce(&mut [u8; N]) -> T,
    ) -> io::Result<T> {
        let file = self.open()?;
        // One at a time: between reading and writing nobody else may write.
        let mut pause = Duration::from_millis(1);
        while let Err(error) = file.try_lock() {
            if pause > LONGEST || matches!(error, TryLockError::Error(_)) {
                return Err(error.into());
            }
            thread::sleep(pause);
            pause *= 2;
        }
        turn(&file, hash, change)
    }

    /// The same for a process that a user may stop at any moment: it waits for nobody, and nobody has to wait for it.
    ///
    /// # Errors
    /// Those of the file; `WouldBlock` when another process has it.
    pub fn try_with<const N: usize, T>(
        &self,
        hash: u64,
        change: impl FnOnce(&mut [u8; N]) -> T,
    ) -> io::Result<T> {
        let file = match self.open() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                durable::create_folder(self.path.parent().unwrap_or(Path::new(".")), 0o770)?;
                self.open()?
            }
            opened => opened?,
        };
        file.try_lock()?;
        turn(&file, hash, change)
    }

    fn open(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        options
            .mode(0o660)
            .custom_flags(durable::NO_FOLLOW)
            .open(&self.path)
    }
}

/// Reads a bucket, lets it be changed, and writes it.
fn turn<const N: usize, T>(
    file: &File,
    hash: u64,
    change: impl FnOnce(&mut [u8; N]) -> T,
) -> io::Result<T> {
    let at = hash % BUCKETS * N as u64;
    let mut bucket = [0; N];
    let mut filled = 0;
    while let Some(rest) = bucket.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    let before = bucket;
    let result = change(&mut bucket);
    if bucket != before {
        durable::write_at(file, &bucket, at)?;
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::super::mailbox::scratch::Scratch;
    use super::*;

    #[test]
    fn nobody_waits_forever_for_who_has_the_table() {
        let scratch = Scratch::new("table");
        let table = Table::new(&scratch.path("table"));
        let count = |bucket: &mut [u8; 1]| {
            bucket[0] += 1;
            bucket[0]
        };
        assert_eq!(table.with(7, count).unwrap(), 1);
        let held = table.open().unwrap();
        held.lock().unwrap();
        let kept = table.with(7, count).unwrap_err();
        assert_eq!(kept.kind(), io::ErrorKind::WouldBlock);
        drop(held);
        assert_eq!(table.with(7, count).unwrap(), 2);
    }
}
