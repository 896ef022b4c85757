//! What tests do to the steps of [`super`], in builds with debug assertions only: fail one, stop at one, or write
//! all of them down. A release build has none of it:
//! there the constant [`ON`] takes it all away.
//!
//! - `MINIMTA_FAULT=N:kill` dies at the N-th step of the process, as kill -9 would; `N:ENOSPC` fails there, `N+:EIO`
//!   fails from there on; `N:short` writes half of it and then finds the disk full; `N:panic` is a fault of the program
//!   itself. `N@USER:...`: in processes that run as the user of this number only. A fault that happened is written down,
//!   too
//! - `MINIMTA_RECORD=FILE` appends a line for each step that was taken, with what a power cut would need to know of
//!   it: file numbers, places, octets. `tests/powerless.rs` makes from it what a disk may hold after a cut

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Whether any of this is in the program.
const ON: bool = cfg!(debug_assertions);

/// Counts the steps of this process and fails the one that MINIMTA_FAULT names.
pub fn fault(step: &str) -> io::Result<()> {
    match ON.then(|| next(step)).flatten() {
        Some(code) => Err(io::Error::from_raw_os_error(code)),
        None => Ok(()),
    }
}

/// As [`fault`], for a write: `short` is a disk that becomes full in the middle of it.
pub fn fault_of_write(
    octets: &[u8],
    mut write: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let Some(code) = ON.then(|| next("write")).flatten() else {
        return write(octets);
    };
    if plan().is_some_and(|(_, _, what)| what == "short") {
        write(octets.get(..octets.len() / 2).unwrap_or_default())?;
    }
    Err(io::Error::from_raw_os_error(code))
}

fn plan() -> Option<&'static (u32, bool, String)> {
    static PLAN: OnceLock<Option<(u32, bool, String)>> = OnceLock::new();
    let plan = PLAN.get_or_init(|| {
        let text = std::env::var("MINIMTA_FAULT").ok()?;
        let (at, what) = text.split_once(':')?;
        let (at, user) = at.split_once('@').unwrap_or((at, ""));
        if !user.is_empty() && user != nix::unistd::geteuid().to_string() {
            return None;
        }
        let lasting = at.ends_with('+');
        let at = at.trim_end_matches('+').parse().ok()?;
        Some((at, lasting, what.to_owned()))
    });
    plan.as_ref()
}

/// The error number for the next step, if it is to fail.
fn next(step: &str) -> Option<i32> {
    static STEPS: AtomicU32 = AtomicU32::new(0);
    let (at, lasting, what) = plan()?;
    let now = STEPS.fetch_add(1, Ordering::SeqCst) + 1;
    if now != *at && !(*lasting && now > *at) {
        return None;
    }
    write_down(&format!("mark fault {what} at {now}, {step}"));
    let code = match what.as_str() {
        "kill" => std::process::abort(),
        "ENOSPC" | "short" => nix::libc::ENOSPC,
        "EDQUOT" => nix::libc::EDQUOT,
        "EROFS" => nix::libc::EROFS,
        "EMFILE" => nix::libc::EMFILE,
        "ENOMEM" => nix::libc::ENOMEM,
        "EINTR" => nix::libc::EINTR,
        _ => nix::libc::EIO,
    };
    assert!(
        what != "panic",
        "fault injected: panic at step {now}, {step}"
    );
    let _ = writeln!(io::stderr(), "fault injected: {what} at step {now}, {step}");
    Some(code)
}

/// A step that was taken, as it is written down.
pub enum Step<'a> {
    /// A file was created, or opened to be appended to.
    Create(&'a File, &'a Path),
    /// A folder was created.
    Folder(&'a Path),
    /// Octets were written at a place, or, without one, in front of where the file stands now.
    Write(&'a File, &'a [u8], Option<u64>),
    /// A file was cut.
    Truncate(&'a File, u64),
    /// A file was synced.
    Sync(&'a File),
    /// A folder was synced.
    SyncFolder(&'a Path),
    /// A file got another name.
    Rename(&'a Path, &'a Path),
    /// Two files got each other's name.
    Exchange(&'a Path, &'a Path),
    /// A file got one more name.
    Link(&'a Path, &'a Path),
    /// A name was removed.
    Remove(&'a Path),
}

/// Writes a step down, if that is wanted.
pub fn record(step: &Step<'_>) {
    let Some(book) = ON.then(book).flatten() else {
        return;
    };
    let number = |file: &File| file.metadata().map_or(0, |m| m.ino());
    let line = match step {
        Step::Create(file, path) => format!("create {} {}", number(file), path.display()),
        Step::Folder(path) => format!("folder {}", path.display()),
        Step::Write(file, octets, at) => {
            let mut file: &File = file;
            let end = file.stream_position().unwrap_or_default();
            let at = at.unwrap_or(end.saturating_sub(octets.len() as u64));
            let mut line = format!("write {} {at} ", number(file));
            for octet in *octets {
                let _ = write!(line, "{octet:02x}");
            }
            line
        }
        Step::Truncate(file, length) => format!("truncate {} {length}", number(file)),
        Step::Sync(file) => format!("sync {}", number(file)),
        Step::SyncFolder(path) => format!("sync-folder {}", path.display()),
        Step::Rename(from, to) => format!("rename {} {}", from.display(), to.display()),
        Step::Exchange(from, to) => format!("exchange {} {}", from.display(), to.display()),
        Step::Link(from, to) => format!("link {} {}", from.display(), to.display()),
        Step::Remove(path) => format!("remove {}", path.display()),
    };
    put(book, &line);
}

/// What happened beside the steps.
fn write_down(line: &str) {
    if let Some(book) = book() {
        put(book, line);
    }
}

fn put(book: &Mutex<File>, line: &str) {
    let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = book.write_all(format!("{line}\n").as_bytes());
}

/// The file that MINIMTA_RECORD names.
fn book() -> Option<&'static Mutex<File>> {
    static BOOK: OnceLock<Option<Mutex<File>>> = OnceLock::new();
    let book = BOOK.get_or_init(|| {
        let path = std::env::var_os("MINIMTA_RECORD")?;
        let file = OpenOptions::new().append(true).create(true).open(path);
        file.ok().map(Mutex::new)
    });
    book.as_ref()
}
