//! The file of greylisting: a table of fixed size, in which a hash tells the place. Nothing of it is held in memory,
//! and it never grows; when it is lost, everybody has to come twice again.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::durable;

/// Buckets: with those of 96 octets, 384 KiB of a file that is empty where nobody is.
const BUCKETS: u64 = 4096;

/// The table.
#[derive(Debug)]
pub struct Greylist {
    path: PathBuf,
}

impl Greylist {
    /// At this path; nothing is made before it is needed.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// Lets `change` change the bucket that belongs to a hash.
    ///
    /// # Errors
    /// Those of the file.
    pub fn with<const N: usize, T>(
        &self,
        hash: u64,
        change: impl FnOnce(&mut [u8; N]) -> T,
    ) -> io::Result<T> {
        let file = self.open()?;
        // One at a time: between reading and writing nobody else may write.
        file.lock()?;
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
        let result = change(&mut bucket);
        durable::write_at(&file, &bucket, at)?;
        Ok(result)
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
