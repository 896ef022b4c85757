//! The head of a queue file, read in pieces: its envelope, and the journal at its end, never the message between.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::MAX_HEAD;
use crate::proto::envelope::{Envelope, Parsed, Unreadable};

/// Where the message ends and the journal begins; `None` for a length no file can have.
pub fn message_at_end(parsed: &Parsed) -> Option<u64> {
    parsed.message_at.checked_add(parsed.facts.size)
}

/// The head of a file of this length, and what was read for it; no call is spent to find its end.
pub fn read_head(file: &File, length: u64) -> io::Result<(Result<Parsed, Unreadable>, Vec<u8>)> {
    let mut most = 4096;
    loop {
        let head = read_at(file, 0, length.min(most))?;
        match Envelope::parse(&head) {
            Err(Unreadable::MoreNeeded) if head.len() as u64 == most && head.len() < MAX_HEAD => {
                most = (most * 8).min(MAX_HEAD as u64)
            }
            parsed => return Ok((parsed, head)),
        }
    }
}

/// So many octets of a file, from `at` on, of which `head` may have been read already.
pub fn rest(file: &File, head: &[u8], at: u64, length: u64) -> io::Result<Vec<u8>> {
    let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
    match head.get(place(at)..place(at.saturating_add(length))) {
        Some(rest) => Ok(rest.to_vec()),
        None => read_at(file, at, length),
    }
}

/// Up to `most` octets of a file, from `at` on.
pub fn read_at(file: &File, at: u64, most: u64) -> io::Result<Vec<u8>> {
    let mut octets = vec![0; usize::try_from(most).unwrap_or(MAX_HEAD)];
    let mut filled = 0;
    while let Some(rest) = octets.get_mut(filled..).filter(|r| !r.is_empty()) {
        match file.read_at(rest, at + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    octets.truncate(filled);
    Ok(octets)
}
