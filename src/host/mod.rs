//! The outside world, one thing a file: files, sockets, users, clocks. Thin, and without policy: what is to be
//! done is decided in `proto/` and told in `flow/`.

pub use crate::error::words;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

pub mod accounts;
pub mod clock;
pub mod dns;
pub mod durable;
pub mod hash;
pub mod logging;
pub mod mailbox;
pub mod maildir;
pub mod mbox;
pub mod password;
pub mod privilege;
pub mod secret;
pub mod spool;
pub mod terminal;
pub mod tls;
pub mod users;
pub mod wire;

/// Reads a file of at most `most` octets; a longer one is cut there.
pub fn read_bounded(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::try_from(most.min(4096)).unwrap_or_default());
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}
