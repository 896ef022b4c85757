//! A message that this process alone works on: read, its journal kept, put back or removed.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::head::read_at;
use super::{Folder, Spool, cannot};
use crate::error::{Error, Result};
use crate::host::{clock, durable};
use crate::proto::data::Checksum;
use crate::proto::envelope::{Envelope, Facts, Recipient};
use crate::proto::journal::{Entry, Progress, Standing, brief};
use crate::proto::outcome::Verdict;

/// Octets of a journal beyond which nothing is expanded: what is left is for attempts.
const MAX_EXPANSIONS: u64 = super::MAX_JOURNAL / 2;
/// Octets of a journal beyond which nobody's words are kept. A thousand recipients with an answer of their own each fill it
/// in days, and a journal that is too long to be read would keep the message from being tried and from being given up.
const MAX_WORDS: u64 = super::MAX_JOURNAL / 4 * 3;

/// Octets of a journal beyond which only what is done is written down, also to the sender: a forgotten attempt harms nothing.
const MAX_ATTEMPTS: u64 = super::MAX_JOURNAL / 16 * 15;

/// A message that this process alone works on, until the claim is dropped.
#[derive(Debug)]
pub struct Claim {
    pub(super) spool: Spool,
    /// Its queue id.
    pub id: String,
    /// Its size, checksum and shape.
    pub facts: Facts,
    pub(super) message_at: u64,
    /// The file as far as it was read at the claim, when all of the message is in there.
    pub(super) head: Vec<u8>,
    pub(super) state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) folder: Folder,
    pub(super) progress: Progress,
    /// With the recipients that expansions made.
    pub(super) envelope: Arc<Envelope>,
    /// Recipients somebody works on, by index.
    pub(super) in_hand: BTreeSet<usize>,
    /// Those for whom it is being told what became of them: nobody can ask for more now.
    pub(super) in_settlement: BTreeSet<usize>,
    /// Where the next line of the journal goes.
    pub(super) end: u64,
    pub(super) body: Body,
    /// The journal of a message that is nowhere but in memory.
    pub(super) journal: String,
}

/// Where envelope and message are.
#[derive(Debug, Clone)]
pub(super) enum Body {
    /// In the queue file.
    File(Arc<File>),
    /// As the queue file will have them.
    Memory(Arc<Vec<u8>>),
}

impl Claim {
    /// What the journal says.
    pub fn progress(&self) -> Progress {
        self.state().progress.clone()
    }

    /// From when on its age counts at this time ([`Progress::since`]).
    pub fn since(&self, now: i64) -> i64 {
        let state = self.state();
        state.progress.since(state.envelope.received_at, now)
    }

    /// What it says of one recipient.
    pub fn standing(&self, index: usize) -> Option<Standing> {
        self.state().progress.standings.get(index).cloned()
    }

    /// Takes those of some recipients whom nobody else of this process has in hand, until [`Self::give_back`]: by then
    /// what became of them is to be recorded. Those who do not wait any more are left out, for somebody else may have had
    /// them in hand since it was last looked.
    pub fn take(&self, wanted: &[usize]) -> Vec<usize> {
        let mut state = self.state();
        let State {
            progress, in_hand, ..
        } = &mut *state;
        let waits = |index: usize| {
            progress
                .standings
                .get(index)
                .is_some_and(Standing::is_waiting)
        };
        let mut free = wanted.to_vec();
        free.retain(|index| waits(*index) && in_hand.insert(*index));
        free
    }

    /// They may be taken again.
    pub fn give_back(&self, taken: &[usize]) {
        let mut state = self.state();
        state.in_hand.retain(|index| !taken.contains(index));
    }

    /// Whether whoever asks is to tell the sender of the delay: of those who work on the message at once, for several
    /// hops, one is.
    pub fn begin_warning(&self) -> bool {
        !std::mem::replace(&mut self.state().progress.warned, true)
    }

    /// Nobody was told, and somebody may be.
    pub fn forget_warning(&self) {
        self.state().progress.warned = false;
    }

    /// Who sends it to whom, as far as expansions have gone.
    pub fn envelope(&self) -> Arc<Envelope> {
        self.state().envelope.clone()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // The state is changed only after the file was; a panic in between leaves it as it was.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn path(&self, state: &State) -> PathBuf {
        self.spool.path(state.folder, &self.id)
    }

    /// The message, from its first octet on. Its end is an `InvalidData` error instead when what was read is not
    /// what was accepted: whoever takes it must be able to throw it away until then.
    pub fn message(&self) -> Message<'_> {
        Message {
            claim: self,
            body: self.state().body.clone(),
            left: self.facts.size,
            checksum: Checksum::default(),
        }
    }

    /// Whether it is on the disk. If not, it is safe only with whoever has it: everyone, when nobody waits any more.
    pub fn is_stored(&self) -> bool {
        self.state().folder != Folder::Tmp
    }

    /// Whether the message is held in memory.
    pub fn is_short(&self) -> bool {
        matches!(self.state().body, Body::Memory(_))
    }

    /// Makes the message safe, with what its journal says so far; nothing, if it is.
    ///
    /// # Errors
    /// As for every write. Nothing was promised then, and nothing stays behind.
    pub fn store(&self) -> Result<()> {
        self.store_in(Folder::New, &mut self.state())
    }

    fn store_in(&self, folder: Folder, state: &mut State) -> Result<()> {
        if state.folder != Folder::Tmp {
            return Ok(());
        }
        let file = match &state.body {
            Body::File(file) => Arc::clone(file),
            Body::Memory(text) => {
                let (file, tmp) = self.spool.create_draft(&self.id)?;
                let journal = state.journal.as_bytes();
                let mut pieces = [text.as_slice(), journal]
                    .into_iter()
                    .filter(|p| !p.is_empty());
                if let Err(e) = pieces.try_for_each(|piece| durable::write(&file, piece)) {
                    let _ = durable::remove(&tmp);
                    return Err(cannot("write the queue file", &tmp, &e));
                }
                Arc::new(file)
            }
        };
        self.spool.promise(&self.id, &file, folder)?;
        state.folder = folder;
        state.end += state.journal.len() as u64;
        // Whoever reads it now reads the file: no message is kept in memory.
        (state.body, state.journal) = (Body::File(file), String::new());
        Ok(())
    }

    /// Makes sure that what becomes of so many recipients can be written down, before anybody gets the message: on a
    /// full disk it could be given away and not be noted, and would be given to the same again.
    ///
    /// # Errors
    /// `NoRoom`, or as for every write.
    pub fn reserve(&self, recipients: usize) -> Result<()> {
        /// A long line of the journal: the time, the host, and what it said.
        const LINE: u64 = 1024;
        /// Many recipients share a line.
        const MOST: u64 = 256 * LINE;
        let state = self.state();
        let Body::File(file) = &state.body else {
            return Ok(());
        };
        let length = LINE.saturating_mul(recipients as u64).min(MOST);
        durable::reserve(file, state.end, length)
            .map_err(|e| cannot("make room for the journal of", &self.path(&state), &e))
    }

    /// Writes down what happened. When nothing waits any more, the message is removed instead: that is what the
    /// journal would say, in one step. What is written down as done is on the disk when this returns; what is deferred
    /// need not be, for a forgotten attempt harms nothing. Nor need the removal: after a power cut the message may be there
    /// again, and comes twice. A message that is nowhere but in memory is stored when somebody waits. Returned is whether
    /// nothing is left of the message.
    ///
    /// # Errors
    /// As for every write. The recipients then count as not done on the disk: twice rather than never.
    pub fn record(&self, now: i64, entries: &[Entry]) -> Result<bool> {
        let mut state = self.state();
        for entry in entries {
            state.progress.apply(now, entry);
        }
        let path = self.path(&state);
        let stored = state.folder != Folder::Tmp;
        if state.progress.waiting().is_empty() && (!stored || durable::remove(&path).is_ok()) {
            return Ok(true);
        }
        if stored && entries.is_empty() {
            return Ok(false);
        }
        let lines = |entries: &[Entry]| -> String { entries.iter().map(|e| e.line(now)).collect() };
        let done = |e: &Entry| matches!(e, Entry::Attempt(_, o) if o.verdict != Verdict::Deferred);
        let journal_at = self.message_at + self.facts.size;
        let mut text = lines(entries);
        if state.end + text.len() as u64 - journal_at > MAX_WORDS {
            text = lines(&brief(entries));
        }
        if state.end + text.len() as u64 - journal_at > MAX_ATTEMPTS {
            // Whoever forgets that the sender was told tells him again.
            let is_kept = |e: &&Entry| done(e) || matches!(e, Entry::Warned);
            let entries: Vec<Entry> = entries.iter().filter(is_kept).cloned().collect();
            text = lines(&brief(&entries));
        }
        let file = match &state.body {
            Body::File(file) if stored => Arc::clone(file),
            _ => {
                state.journal.push_str(&text);
                return self.store_in(Folder::New, &mut state).map(|()| false);
            }
        };
        append(&file, &text, &mut state.end)
            .map_err(|e| cannot("write the journal of", &path, &e))?;
        if entries.iter().any(done) {
            durable::sync_data(&file).map_err(|e| cannot("sync the journal of", &path, &e))?;
        }
        Ok(false)
    }

    /// Writes down that others take the place of a recipient. Nothing is synced: if it is forgotten, it is done
    /// again, and what is said later of the new ones is synced with it.
    ///
    /// # Errors
    /// As for every write, or for a journal that would be too long; nothing has changed then.
    pub fn expand(&self, now: i64, of: usize, children: Vec<Recipient>) -> Result<()> {
        let mut state = self.state();
        let first = state.envelope.recipients.len();
        let entry = Entry::Expanded(of, first, children);
        self.note(&entry.line(now), &mut state)?;
        state.progress.apply(now, &entry);
        if let Entry::Expanded(_, _, children) = entry {
            Arc::make_mut(&mut state.envelope)
                .recipients
                .extend(children);
        }
        Ok(())
    }

    /// A line of an expansion, if there is room for it.
    pub(super) fn note(&self, text: &str, state: &mut State) -> Result<()> {
        let end = state.end + (state.journal.len() + text.len()) as u64;
        if end - (self.message_at + self.facts.size) > MAX_EXPANSIONS {
            return Err(Error::TempFail(format!(
                "the recipients that expansions make of message {} are too many for its queue file",
                self.id
            )));
        }
        match &state.body {
            Body::File(file) if state.folder != Folder::Tmp => {
                let file = Arc::clone(file);
                append(&file, text, &mut state.end)
                    .map_err(|e| cannot("write the journal of", &self.path(state), &e))?;
            }
            _ => state.journal.push_str(text),
        }
        Ok(())
    }

    /// Removes a message for which the journal says that nothing is left to do: what an earlier run could not.
    ///
    /// # Errors
    /// As for every write.
    pub fn remove(&self) -> Result<()> {
        let state = self.state();
        let path = self.path(&state);
        durable::remove(&path).map_err(|e| cannot("remove the queue file", &path, &e))
    }

    /// Sets the message aside. One that is not stored yet goes there at once: at no moment does it stand where a queue
    /// run would deliver it, though its sender is told that it was not taken.
    ///
    /// # Errors
    /// As for every write; what was not stored then leaves nothing behind.
    pub fn hold(&self) -> Result<()> {
        let mut state = self.state();
        if state.folder == Folder::Tmp {
            return self.store_in(Folder::Hold, &mut state);
        }
        let (from, to) = (self.path(&state), self.spool.place_in_hold(&self.id));
        self.spool.create()?;
        if let Body::File(file) = &state.body {
            let file = Arc::clone(file);
            // By this it is told from what an admin has set aside. It goes without, too, where there is no room.
            let _ = append(&file, &Entry::Held.line(clock::now()), &mut state.end);
        }
        durable::relocate(&from, &to).map_err(|e| cannot("set aside the queue file", &from, &e))?;
        state.folder = Folder::Hold;
        Ok(())
    }
}

/// Writes lines behind the last one. When that fails in the middle, the lines that are there in whole count: what they say
/// is true, and of what is done nothing should be forgotten. What is there of the next one is cut off, or whatever is
/// written later would stand in the middle of it.
fn append(file: &File, text: &str, end: &mut u64) -> io::Result<()> {
    let written = durable::write_at(file, text.as_bytes(), *end);
    if written.is_ok() {
        *end += text.len() as u64;
        return written;
    }
    let found = read_at(file, *end, text.len() as u64).unwrap_or_default();
    *end += whole_lines(text.as_bytes(), &found) as u64;
    // If it cannot be cut, the next claim cuts it.
    let _ = durable::truncate(file, *end);
    written
}

/// The octets of the lines of `text` that `found` begins with.
fn whole_lines(text: &[u8], found: &[u8]) -> usize {
    let same = text.iter().zip(found).take_while(|(a, b)| a == b);
    let ends = same.enumerate().filter(|(_, (octet, _))| **octet == b'\n');
    ends.last().map_or(0, |(at, _)| at + 1)
}

/// A message on its way out of the spool.
#[derive(Debug)]
pub struct Message<'a> {
    claim: &'a Claim,
    body: Body,
    left: u64,
    checksum: Checksum,
}

impl Read for Message<'_> {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        let most = block
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if self.left == 0 {
            return match self.checksum.crc32() == self.claim.facts.crc32 {
                true => Ok(0),
                false => Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the checksum of the queue file is wrong",
                )),
            };
        }
        let at = self.claim.message_at + (self.claim.facts.size - self.left);
        // most is at most the block's length.
        let block = &mut block[..most];
        let place = usize::try_from(at).unwrap_or(usize::MAX);
        let mut read = self.claim.head.get(place..).unwrap_or_default();
        let n = match &self.body {
            _ if !read.is_empty() => read.read(block)?,
            Body::File(file) => file.read_at(block, at)?,
            Body::Memory(text) => text.get(place..).unwrap_or_default().read(block)?,
        };
        if n == 0 && most > 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the queue file is shorter than it was",
            ));
        }
        // A reader has read no more than there was room for.
        self.checksum.feed(&block[..n]);
        self.left -= n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::whole_lines;

    #[test]
    fn of_a_write_that_broke_off_whole_lines_count() {
        let text = b"to 1 delivered\nto 2 deferred\n";
        let rows: &[(&[u8], usize)] = &[
            (b"", 0),
            (b"to 1 deliv", 0),
            (b"to 1 delivered", 0),
            (b"to 1 delivered\n", 15),
            (b"to 1 delivered\nto 2 def", 15),
            (b"to 1 delivered\nto 9 deferred\n", 15), // what an earlier write has left
            (b"to 9 delivered\nto 2 deferred\n", 0),
            (text, 29),
        ];
        for (found, expected) in rows {
            assert_eq!(whole_lines(text, found), *expected, "{found:?}");
        }
    }
}
