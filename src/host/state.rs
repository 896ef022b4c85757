//! Small files that the program keeps for itself beside the queue, and that survive a power cut.

use std::io;
use std::path::Path;
use std::thread;

use super::durable;

/// Puts a file in its place, whole or not at all: made under another name, synced, renamed, the folder synced. Two
/// that do it at once leave what one of them wrote.
pub fn store(folder: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
    let above = folder.parent().unwrap_or(folder);
    for (folder, mode) in [(above, 0o710), (folder, 0o700)] {
        match durable::create_folder(folder, mode) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
    }
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
