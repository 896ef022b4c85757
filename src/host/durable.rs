//! Making files that survive a power cut: the only place that creates, writes, syncs, renames and removes mail.
//!
//! The spool (`spool.rs`) and the mailboxes (`maildir.rs`, `mbox.rs`) are built from these steps alone, so one
//! layer sees every step that matters: in builds with debug assertions each step first asks whether it is to fail
//! (`tests/crash.rs`), and is written down once it was taken (`tests/powerless.rs`); see [`rehearsal`]. In folders that
//! are other people's, too, the steps are those of a [`Folder`].

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::sys::time::TimeSpec;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

mod folder;
mod rehearsal;

pub use folder::{Barred, Folder};
use rehearsal::{Step, fault, fault_of_write, record};

/// Creates a file that must not exist yet, for reading and writing. Links are not followed.
pub fn create(path: &Path, mode: u32) -> io::Result<File> {
    fault("create")?;
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .write(true)
        .create_new(true)
        .mode(mode)
        .custom_flags(NO_FOLLOW)
        .open(path)?;
    record(&Step::Create(&file, path));
    Ok(file)
}

/// Opens a file, or creates it, to append to it. Links are not followed.
pub fn open_append(path: &Path, mode: u32) -> io::Result<File> {
    fault("create")?;
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .append(true)
        .create(true)
        .mode(mode)
        .custom_flags(NO_FOLLOW)
        .open(path)?;
    record(&Step::Create(&file, path));
    Ok(file)
}

/// Flags for every file of ours that is opened: a link in its place is an attack or a mistake, and a FIFO must
/// not block (O_NONBLOCK does nothing to a regular file).
pub const NO_FOLLOW: i32 = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;

/// Writes at the file's end, or where the file stands.
pub fn write(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    fault_of_write(bytes, |bytes| {
        file.write_all(bytes)?;
        record(&Step::Write(file, bytes, None));
        Ok(())
    })
}

/// Writes at a place of its own and leaves the file where it stands.
pub fn write_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    fault_of_write(bytes, |bytes| {
        file.write_all_at(bytes, at)?;
        record(&Step::Write(file, bytes, Some(at)));
        Ok(())
    })
}

/// Sees to it that octets written from `at` on will find room, though the disk may be full by then. The file stays as
/// long as it is. On a file system that cannot do this, nothing is promised and nothing fails.
pub fn reserve(file: &File, at: u64, length: u64) -> io::Result<()> {
    use nix::fcntl::{FallocateFlags, fallocate};
    fault("reserve")?;
    let (Ok(at), Ok(length)) = (at.try_into(), length.try_into()) else {
        return Err(io::ErrorKind::FileTooLarge.into());
    };
    match fallocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, at, length) {
        Err(nix::Error::EOPNOTSUPP | nix::Error::ENOSYS | nix::Error::EINVAL) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Returns when the file's bytes and length are on the disk. After an error nothing is known of any earlier
/// write, and a second sync that succeeds would prove nothing: the file must be given up.
pub fn sync(file: &File) -> io::Result<()> {
    fault("sync")?;
    file.sync_all()?;
    record(&Step::Sync(file));
    Ok(())
}

/// As [`sync`], for a file whose name and times need not be on the disk.
pub fn sync_data(file: &File) -> io::Result<()> {
    fault("sync")?;
    file.sync_data()?;
    record(&Step::Sync(file));
    Ok(())
}

/// Gives a file another name on the same file system; an existing file of that name would be replaced.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fault("rename")?;
    std::fs::rename(from, to)?;
    record(&Step::Rename(from, to));
    Ok(())
}

/// Gives a file of one folder the same or another name in another folder, which nothing must have there yet. At no moment
/// has the disk neither name: a file system without a journal writes the folders in any order, so that of a plain change
/// of name a power cut may leave the half that removes the old one, and the file is gone. It may leave both names.
pub fn relocate(from: &Path, to: &Path) -> io::Result<()> {
    use nix::libc::{EMLINK, ENOSYS, EOPNOTSUPP, EPERM};
    fault("link")?;
    match std::fs::hard_link(from, to) {
        Ok(()) => record(&Step::Link(from, to)),
        // A folder, a file of somebody else's, a file system on which a file has one name.
        Err(e) if matches!(e.raw_os_error(), Some(EPERM | EMLINK | ENOSYS | EOPNOTSUPP)) => {
            return rename(from, to);
        }
        Err(e) => return Err(e),
    }
    let folder = to.parent().unwrap_or(Path::new("/"));
    sync_folder(folder)
        .and_then(|()| remove(from))
        .inspect_err(|_| {
            // It stays where it was. When even this fails it has two names, and the next claim takes one of them away.
            let _ = remove(to);
        })
}

/// Puts a file into the place of another one on the same file system, which gets its name. Both have a name at any moment:
/// of a plain change of name, a file system without a journal may keep that the other one is gone before it keeps what
/// stands in its place. Where the file system cannot do this, it is that change, and the other one has no name any more.
pub fn exchange(from: &Path, to: &Path) -> io::Result<()> {
    fault("exchange")?;
    match renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE) {
        Ok(()) => record(&Step::Exchange(from, to)),
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => return rename(from, to),
        Err(e) => return Err(e.into()),
    }
    Ok(())
}

/// Returns when the folder's names are on the disk.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    fault("sync folder")?;
    File::open(path)?.sync_all()?;
    record(&Step::SyncFolder(path));
    Ok(())
}

/// Removes a file's name.
pub fn remove(path: &Path) -> io::Result<()> {
    fault("remove")?;
    std::fs::remove_file(path)?;
    record(&Step::Remove(path));
    Ok(())
}

/// Cuts a file to a length.
pub fn truncate(file: &File, length: u64) -> io::Result<()> {
    fault("truncate")?;
    file.set_len(length)?;
    record(&Step::Truncate(file, length));
    Ok(())
}

/// Gives a file that this user may write to the time of now.
pub fn touch(file: &File) -> io::Result<()> {
    Ok(nix::sys::stat::futimens(
        file,
        &TimeSpec::UTIME_NOW,
        &TimeSpec::UTIME_NOW,
    )?)
}

/// Creates a folder.
pub fn create_folder(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fault("create folder")?;
    std::fs::DirBuilder::new().mode(mode).create(path)?;
    record(&Step::Folder(path));
    Ok(())
}
