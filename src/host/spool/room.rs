//! Room for one message more: the disk keeps its reserve, and the queue its bound.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::{Folder, Spool, is_id};
use crate::error::{Error, Result};
use crate::host::privilege;

/// How long a count of names is good enough.
const RECENT: Duration = Duration::from_secs(1);

/// File systems (statfs(2)) on which the size of a folder tells that it has few names: ext2 to ext4, XFS, Btrfs, tmpfs, F2FS
/// and UBIFS. On others it is always 0 (ramfs, JFFS2) or the number of names (ZFS), or whatever lies below them (overlay,
/// FUSE, NFS).
const GROWING: [u32; 6] = [
    0xef53,
    0x5846_5342,
    0x9123_683e,
    0x0102_1994,
    0xf2f5_2010,
    0x2405_1905,
];
/// None of them keeps a name of ours in less: 20 octets (tmpfs) to 80 (UBIFS).
const LEAST_PER_NAME: u64 = 20;

impl Spool {
    /// Whether a message of `size` octets may come: the disk keeps its reserve, and the queue its bound.
    ///
    /// # Errors
    /// `NoRoom`, with a sentence that names the bound.
    pub fn has_room(&self, size: u64) -> Result<()> {
        // The C library of a machine of 32 bits counts blocks in 32 bits, too.
        let disk = rustix::fs::statfs(&self.root).ok();
        if let Some(disk) = &disk {
            // Their types are other ones on other machines.
            let unit = [disk.f_frsize, disk.f_bsize].map(|n| u64::try_from(n).unwrap_or(0));
            let unit = unit.into_iter().find(|n| *n > 0).unwrap_or(0);
            let free = disk.f_bavail.saturating_mul(unit);
            if free < self.min_free.saturating_add(size) {
                return Err(Error::NoRoom(format!(
                    "the file system of the spool {} is nearly full: {} KiB are free and [queue] min_free keeps {} KiB",
                    self.root.display(),
                    free / 1024,
                    self.min_free / 1024
                )));
            }
        }
        let kind = disk.and_then(|disk| u32::try_from(disk.f_type).ok());
        let grows = kind.is_some_and(|kind| GROWING.contains(&kind));
        let waiting = self
            .at_most_waiting(Folder::New, grows)
            .saturating_add(self.at_most_waiting(Folder::Cur, grows));
        // One user alone keeps out nobody's mail but that of other users.
        let (most, kept) = (self.max_messages, self.max_messages / 10);
        if waiting >= most || waiting >= most - kept && privilege::has_group() {
            return Err(Error::NoRoom(format!(
                "{waiting} messages wait in the spool {} and [queue] max_messages is {most}, the last tenth of which is kept for root and the network",
                self.root.display(),
            )));
        }
        Ok(())
    }

    /// How many messages a folder holds. A small folder of a file system where folders grow is not counted: it has no room
    /// for that many names in so few octets, and a count would cost every submission a look at every name.
    fn at_most_waiting(&self, folder: Folder, grows: bool) -> u64 {
        let path = self.root.join(folder.name());
        if grows {
            let size = fs::metadata(&path).map_or(0, |m| m.size());
            if size / LEAST_PER_NAME < self.max_messages / 2 {
                return 0;
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::mailbox::scratch::Scratch;
    use crate::proto::envelope::sample;

    #[test]
    fn a_folder_whose_size_says_nothing_is_counted() {
        let scratch = Scratch::new("spool-room");
        let spool = Spool::new(&scratch.path("spool"), 0, 1_000_000);
        spool.create().unwrap();
        let waits: Vec<_> = (0..3)
            .map(|_| {
                let mut draft = spool.begin(&sample(&["one@example.net"])).unwrap();
                draft.write(b"Subject: x\r\n\r\n").unwrap();
                draft.commit().unwrap()
            })
            .collect();
        assert_eq!(spool.at_most_waiting(Folder::New, true), 0);
        assert_eq!(spool.at_most_waiting(Folder::New, false), 3);
        assert_eq!(spool.at_most_waiting(Folder::Cur, false), 0);
        drop(waits);
        // ext4 and tmpfs; ramfs, JFFS2, ZFS, overlay.
        let rows = [
            (0xef53, true),
            (0x0102_1994, true),
            (0x8584_58f6, false),
            (0x72b6, false),
            (0x2fc1_2fc1, false),
            (0x794c_7630, false),
        ];
        for (kind, grows) in rows {
            assert_eq!(GROWING.contains(&kind), grows, "{kind:x}");
        }
    }
}
