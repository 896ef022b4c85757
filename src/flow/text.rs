//! A queued message as it leaves: its header changed on the way out, its body untouched.

use std::io::{self, Cursor, Read};

use crate::host::spool::Claim;
use crate::proto::header::Header;
use crate::proto::header_reader::HeaderReader;

/// The longest header that is held in memory. Whatever is accepted is shorter.
pub const MAX_HEADER: usize = 2 * 1024 * 1024;
/// Octets read at a time.
const BLOCK: usize = 16 * 1024;

/// The header of a message.
///
/// # Errors
/// Those of reading; `InvalidData` for a header longer than any that is accepted.
pub fn header(claim: &Claim) -> io::Result<Header> {
    split(claim).map(|(header, _)| header)
}

/// The message, with `change` made to its header. Its end is an `InvalidData` error when it is damaged.
///
/// # Errors
/// As for [`header`].
pub fn changed<'a>(claim: &'a Claim, change: &dyn Fn(&mut Header)) -> io::Result<impl Read + 'a> {
    let (mut header, body) = split(claim)?;
    change(&mut header);
    let mut text = Vec::new();
    header.write(&mut text);
    Ok(Cursor::new(text).chain(body))
}

/// Hands all that a reader has to `take`, block by block. `size`: how many octets that is, or about.
///
/// # Errors
/// Those of reading and of `take`.
pub fn copy(
    message: &mut dyn Read,
    size: u64,
    take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    /// A size that tells less than the truth makes more work, and no other harm.
    const LEAST: usize = 1024;
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let mut block = vec![0; size.clamp(LEAST, BLOCK)];
    loop {
        match message.read(&mut block) {
            Ok(0) => return Ok(()),
            // n is at most the block's length.
            Ok(n) => take(&block[..n])?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// The header, and what follows it.
fn split(claim: &Claim) -> io::Result<(Header, impl Read + '_)> {
    let mut message = claim.message();
    let mut reader = HeaderReader::new(MAX_HEADER);
    let mut block = vec![0; BLOCK];
    loop {
        let n = match message.read(&mut block) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            n => n?,
        };
        // n is at most the block's length, and so is what was taken of it.
        let ended = reader.push(&block[..n]).map_err(|_| too_long())?;
        if let Some(taken) = ended.or((n == 0).then_some(0)) {
            let (header, mut rest) = reader.finish();
            rest.extend_from_slice(&block[taken..n]);
            return Ok((header, Cursor::new(rest).chain(message)));
        }
    }
}

fn too_long() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the header is longer than any that is accepted",
    )
}
