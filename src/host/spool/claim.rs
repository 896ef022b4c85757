//! A message that this process alone works on: read, its journal kept, put back or removed.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use super::{Folder, Spool, cannot};
use crate::error::Result;
use crate::host::durable;
use crate::proto::data::Meter;
use crate::proto::envelope::{Entry, Envelope, Facts, Progress, Verdict};

/// A message that this process alone works on, until the claim is dropped.
#[derive(Debug)]
pub struct Claim {
    pub(super) spool: Spool,
    /// Its queue id.
    pub id: String,
    /// Who sends it to whom.
    pub envelope: Envelope,
    /// Its size, checksum and shape.
    pub facts: Facts,
    pub(super) file: File,
    pub(super) message_at: u64,
    pub(super) state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) folder: Folder,
    pub(super) progress: Progress,
    /// Where the next line of the journal goes.
    pub(super) end: u64,
}

impl Claim {
    /// What the journal says.
    pub fn progress(&self) -> Progress {
        self.state().progress.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is changed only after the file was; a panic in between leaves it as it was.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, state: &State) -> PathBuf {
        self.spool.path(state.folder, &self.id)
    }

    /// The message, from its first octet on. Its end is an `InvalidData` error instead when what was read is not
    /// what was accepted: whoever takes it must be able to throw it away until then.
    pub fn message(&self) -> Message<'_> {
        Message {
            claim: self,
            left: self.facts.size,
            meter: Meter::new(),
        }
    }

    /// Writes down what happened. When nothing waits any more, the message is removed instead: that is what the
    /// journal would say, in one step. What is done is on the disk when this returns; what is deferred need not
    /// be, for a forgotten attempt harms nothing. Returned is whether the message was removed.
    ///
    /// # Errors
    /// As for every write. The recipients then count as not done on the disk: twice rather than never.
    pub fn record(&self, now: i64, entries: &[Entry]) -> Result<bool> {
        let mut state = self.state();
        for entry in entries {
            state.progress.apply(now, entry);
        }
        let path = self.path(&state);
        if state.progress.waiting().is_empty() && durable::remove(&path).is_ok() {
            return Ok(true);
        }
        let text: String = entries.iter().map(|e| e.line(now)).collect();
        let written = durable::write_at(&self.file, text.as_bytes(), state.end);
        written.map_err(|e| cannot("write the journal of", &path, &e))?;
        state.end += text.len() as u64;
        let done = |e: &Entry| matches!(e, Entry::Attempt(_, o) if o.verdict != Verdict::Deferred);
        if entries.iter().any(done) {
            durable::sync_data(&self.file).map_err(|e| cannot("sync the journal of", &path, &e))?;
        }
        Ok(false)
    }

    /// Puts the message back into the queue until `due`, unless it was set aside: only an admin releases it.
    ///
    /// # Errors
    /// As for every write; the message is then due at once, which harms nothing.
    pub fn defer_until(&self, due: i64) -> Result<()> {
        let mut state = self.state();
        if state.folder == Folder::Hold {
            return Ok(());
        }
        let from = self.path(&state);
        let time = UNIX_EPOCH + Duration::from_secs(u64::try_from(due).unwrap_or(0));
        self.file
            .set_modified(time)
            .map_err(|e| cannot("set the time of", &from, &e))?;
        if state.folder != Folder::Cur {
            let to = self.spool.path(Folder::Cur, &self.id);
            durable::rename(&from, &to).map_err(|e| cannot("move the queue file", &from, &e))?;
            state.folder = Folder::Cur;
        }
        Ok(())
    }

    /// Removes a message for which the journal says that nothing is left to do: what an earlier run could not.
    ///
    /// # Errors
    /// As for every write.
    pub fn remove(&self) -> Result<()> {
        let path = self.path(&self.state());
        durable::remove(&path).map_err(|e| cannot("remove the queue file", &path, &e))
    }

    /// Sets the message aside.
    ///
    /// # Errors
    /// As for every write.
    pub fn hold(&self) -> Result<()> {
        let mut state = self.state();
        let (from, to) = (self.path(&state), self.spool.path(Folder::Hold, &self.id));
        self.spool.create()?;
        durable::rename(&from, &to).map_err(|e| cannot("set aside the queue file", &from, &e))?;
        state.folder = Folder::Hold;
        Ok(())
    }
}

/// A message on its way out of the spool.
#[derive(Debug)]
pub struct Message<'a> {
    claim: &'a Claim,
    left: u64,
    meter: Meter,
}

impl Read for Message<'_> {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        let most = block
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if self.left == 0 {
            return match self.meter.facts().crc32 == self.claim.facts.crc32 {
                true => Ok(0),
                false => Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the checksum of the queue file is wrong",
                )),
            };
        }
        let at = self.claim.message_at + (self.claim.facts.size - self.left);
        // most is at most the block's length.
        let n = self.claim.file.read_at(&mut block[..most], at)?;
        if n == 0 && most > 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the queue file is shorter than it was",
            ));
        }
        self.meter.feed(&block[..n]);
        self.left -= n as u64;
        Ok(n)
    }
}
