//! Making files that survive a power cut: the only place that creates, writes, syncs, renames and removes mail.
//!
//! The spool (`spool.rs`) and the mailboxes (`maildir.rs`, `mbox.rs`) are built from these steps alone, so one
//! fault layer sees every step that matters. In builds with debug assertions each step first asks [`fault`],
//! which `tests/crash.rs` sets through `MINIMTA_FAULT=N:kill` (die at the N-th step, as a power cut would) or
//! `N:ENOSPC`, `N+:EIO` (fail there, or from there on). A release build has none of it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Creates a file that must not exist yet, for reading and writing. Links are not followed.
pub fn create(path: &Path, mode: u32) -> io::Result<File> {
    fault("create")?;
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create_new(true)
        .mode(mode)
        .custom_flags(NO_FOLLOW)
        .open(path)
}

/// Opens a file, or creates it, to append to it. Links are not followed.
pub fn open_append(path: &Path, mode: u32) -> io::Result<File> {
    fault("create")?;
    let mut options = OpenOptions::new();
    options
        .read(true)
        .append(true)
        .create(true)
        .mode(mode)
        .custom_flags(NO_FOLLOW)
        .open(path)
}

/// Flags for every file of ours that is opened: a link in its place is an attack or a mistake, and a FIFO must
/// not block (O_NONBLOCK does nothing to a regular file).
pub const NO_FOLLOW: i32 = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;

/// Writes at the file's end, or where the file stands.
pub fn write(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    fault("write")?;
    file.write_all(bytes)
}

/// Writes at a place of its own and leaves the file where it stands.
pub fn write_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    fault("write")?;
    file.write_all_at(bytes, at)
}

/// Returns when the file's bytes and length are on the disk. After an error nothing is known of any earlier
/// write, and a second sync that succeeds would prove nothing: the file must be given up.
pub fn sync(file: &File) -> io::Result<()> {
    fault("sync")?;
    file.sync_all()
}

/// As [`sync`], for a file whose name and times need not be on the disk.
pub fn sync_data(file: &File) -> io::Result<()> {
    fault("sync")?;
    file.sync_data()
}

/// Gives a file another name on the same file system; an existing file of that name would be replaced.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fault("rename")?;
    std::fs::rename(from, to)
}

/// Returns when the folder's names are on the disk.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    fault("sync folder")?;
    File::open(path)?.sync_all()
}

/// Removes a file's name.
pub fn remove(path: &Path) -> io::Result<()> {
    fault("remove")?;
    std::fs::remove_file(path)
}

/// Cuts a file to a length.
pub fn truncate(file: &File, length: u64) -> io::Result<()> {
    fault("truncate")?;
    file.set_len(length)
}

/// Creates a folder.
pub fn create_folder(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fault("create folder")?;
    std::fs::DirBuilder::new().mode(mode).create(path)
}

#[cfg(not(debug_assertions))]
#[expect(
    clippy::unnecessary_wraps,
    reason = "one signature with the build that can fail"
)]
fn fault(_step: &str) -> io::Result<()> {
    Ok(())
}

/// Counts the steps of this process and fails the one that MINIMTA_FAULT names.
#[cfg(debug_assertions)]
fn fault(step: &str) -> io::Result<()> {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};
    static STEPS: AtomicU32 = AtomicU32::new(0);
    static PLAN: OnceLock<Option<(u32, bool, String)>> = OnceLock::new();
    let plan = PLAN.get_or_init(|| {
        let text = std::env::var("MINIMTA_FAULT").ok()?;
        let (at, what) = text.split_once(':')?;
        let lasting = at.ends_with('+');
        Some((
            at.trim_end_matches('+').parse().ok()?,
            lasting,
            what.to_owned(),
        ))
    });
    let Some((at, lasting, what)) = plan else {
        return Ok(());
    };
    let now = STEPS.fetch_add(1, Ordering::SeqCst) + 1;
    if now != *at && !(*lasting && now > *at) {
        return Ok(());
    }
    let error = match what.as_str() {
        "kill" => std::process::abort(),
        "ENOSPC" => nix::libc::ENOSPC,
        "EDQUOT" => nix::libc::EDQUOT,
        "EROFS" => nix::libc::EROFS,
        "EMFILE" => nix::libc::EMFILE,
        _ => nix::libc::EIO,
    };
    let _ = writeln!(io::stderr(), "fault injected: {what} at step {now}, {step}");
    Err(io::Error::from_raw_os_error(error))
}
