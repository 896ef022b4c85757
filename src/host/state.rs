//! Small files that the program keeps for itself beside the queue, and that survive a power cut.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;

use super::durable;

/// Puts a file in its place, whole or not at all: made under another name, synced, renamed, the folder synced. Two
/// that do it at once leave what one of them wrote.
pub fn store(folder: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
    make(folder)?;
    let draft = folder.join(format!(
        "new.{}.{:?}",
        std::process::id(),
        thread::current().id()
    ));
    // One that one of the same number left behind in a crash.
    let _ = durable::remove(&draft);
    let written = (|| {
        let file = durable::create(&draft, 0o600)?;
        durable::write(&file, text)?;
        durable::sync(&file)?;
        durable::rename(&draft, path)?;
        durable::sync_folder(folder)
    })();
    if written.is_err() {
        let _ = durable::remove(&draft);
    }
    written
}

fn make(folder: &Path) -> io::Result<()> {
    let above = folder.parent().unwrap_or(folder);
    for (folder, mode) in [(above, 0o710), (folder, 0o700)] {
        match durable::create_folder(folder, mode) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

/// The most that is read of such a file.
const MOST: u64 = 64 * 1024;

/// Reads such a file.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    super::read_bounded(path, MOST)
}

/// Opens such a file to append to it; it is made if it is not there. Nothing of it is synced.
pub fn open_append(folder: &Path, path: &Path) -> io::Result<File> {
    make(folder.parent().unwrap_or(folder))?;
    make(folder)?;
    durable::open_append(path, 0o600)
}

/// The text of a secret, which is made of random octets the first time it is needed: a line of hexadecimal digits.
pub fn secret(folder: &Path, path: &Path) -> io::Result<Vec<u8>> {
    make(folder)?;
    let file = durable::open_append(path, 0o600)?;
    // Whoever comes second finds what the first one has made.
    file.lock()?;
    if file.metadata()?.size() == 0 {
        let mut octets = [0; 32];
        File::open("/dev/urandom")?.read_exact(&mut octets)?;
        let digits: String = octets.iter().map(|o| format!("{o:02x}")).collect();
        let line = format!("{digits}\n");
        let written = durable::write(&file, line.as_bytes())
            .and_then(|()| durable::sync(&file))
            .and_then(|()| durable::sync_folder(folder));
        if let Err(error) = written {
            // Half a line must not be taken for a secret by the next one.
            let _ = durable::truncate(&file, 0);
            return Err(error);
        }
    }
    read(path)
}
