//! A message on its way into the spool: written to tmp/, committed to new/ ([`super`] says in which steps). A short one
//! stays in memory until then, and for good when nobody waits for it any more by then ([`Draft::keep`]).

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::claim::{Body, Claim, State};
use super::{Folder, Spool, cannot, sync_names};
use crate::error::Result;
use crate::host::durable;
use crate::proto::data::Meter;
use crate::proto::envelope::{self, Envelope, Facts};
use crate::proto::journal::Progress;

/// A message on its way into the spool.
#[derive(Debug)]
pub struct Draft {
    pub(super) spool: Spool,
    /// Its queue id; the file gets it as its name.
    pub id: String,
    pub(super) envelope: Envelope,
    pub(super) facts_at: usize,
    pub(super) message_at: u64,
    pub(super) buffer: Vec<u8>,
    pub(super) meter: Meter,
    /// Octets that are left free behind the blank line, for what is to stand before the message.
    pub(super) gap: usize,
    /// What is to stand there.
    pub(super) front: Vec<u8>,
    /// The text of another envelope.
    pub(super) head: Option<String>,
    /// Octets that are held before they are written.
    pub(super) room: usize,
    /// Its file in tmp/ and the path of it, once there is one.
    pub(super) file: Option<(File, PathBuf)>,
}

impl Draft {
    /// Takes the next octets of the message, in its canonical form.
    ///
    /// # Errors
    /// As for every write; nothing then stays behind.
    pub fn write(&mut self, octets: &[u8]) -> Result<()> {
        self.meter.feed(octets);
        if self.buffer.len() + octets.len() < self.room {
            self.buffer.extend_from_slice(octets);
            return Ok(());
        }
        self.flush()?;
        self.put(octets)
    }

    /// Holds so many octets before it begins to write.
    pub fn hold(&mut self, room: usize) {
        self.room = room;
    }

    /// Leaves so many octets for what will stand before the message, and is known only when it has ended. To be
    /// called before anything is written.
    pub fn leave_room(&mut self, octets: usize) {
        self.gap = octets;
        self.buffer.resize(self.buffer.len() + octets, b' ');
    }

    /// Puts whole lines before the message, and another envelope in the place of the first, if there is another.
    /// Returned is whether there is room for them; nothing has changed if not.
    pub fn put_in_front(&mut self, front: Vec<u8>, envelope: Option<Envelope>) -> bool {
        let head = envelope.as_ref().map(Envelope::to_text);
        let length = head.as_ref().map_or(self.facts_at, String::len);
        let fits = length + front.len() + envelope::MIN_ROOM <= self.facts_at + self.gap;
        if fits {
            self.meter.put_in_front(&front);
            self.front = front;
            self.head = head;
            if let Some(envelope) = envelope {
                self.envelope = envelope;
            }
        }
        fits
    }

    fn flush(&mut self) -> Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        self.put(&buffer)
    }

    /// Writes to the file, which is made when there is none yet.
    fn put(&mut self, octets: &[u8]) -> Result<()> {
        let (file, path) = match &mut self.file {
            Some(file) => file,
            none => none.insert(self.spool.create_draft(&self.id)?),
        };
        if octets.is_empty() {
            return Ok(());
        }
        durable::write(file, octets).map_err(|e| cannot("write the queue file", path, &e))
    }

    /// Makes the message safe. It is ours from here on: the claim is the lock under which it was written.
    ///
    /// # Errors
    /// As for every write. Nothing was promised then, and nothing stays behind.
    pub fn commit(self) -> Result<Claim> {
        let claim = self.keep()?;
        claim.store()?;
        Ok(claim)
    }

    /// Ends the message. A short one is nowhere but in memory, and safe only after [`Claim::store`]; of a longer one
    /// all is written, and it has its name after the same.
    ///
    /// # Errors
    /// As for every write; nothing then stays behind.
    pub fn keep(mut self) -> Result<Claim> {
        let facts = self.meter.facts();
        let mut lines = facts.line().into_bytes();
        let mut lines_at = self.facts_at;
        if self.gap > 0 {
            let head = self.head.take();
            let length = head.as_ref().map_or(self.facts_at, String::len);
            // What is not needed of the room stands before the message line.
            let unused = envelope::room(self.facts_at + self.gap - length - self.front.len());
            self.message_at = (length + unused.len() + Facts::WIDTH + 1) as u64;
            lines = [unused.as_bytes(), &lines, b"\n", &self.front].concat();
            if let Some(head) = head {
                lines = [head.as_bytes(), &lines].concat();
                lines_at = 0;
            }
        }
        if self.file.is_none() {
            // The commonest case: one write, with the message line already filled in.
            let place = self.buffer.get_mut(lines_at..lines_at + lines.len());
            if let Some(place) = place {
                place.copy_from_slice(&lines);
            }
        } else {
            self.flush()?;
        }
        if let Some((file, tmp)) = &self.file {
            let written = durable::write_at(file, &lines, lines_at as u64);
            written.map_err(|e| cannot("write the queue file", tmp, &e))?;
        }
        let recipients = self.envelope.recipients.len();
        let body = match self.file.take() {
            Some((file, _)) => Body::File(Arc::new(file)),
            None => Body::Memory(Arc::new(std::mem::take(&mut self.buffer))),
        };
        Ok(Claim {
            spool: self.spool.clone(),
            id: self.id.clone(),
            facts,
            message_at: self.message_at,
            head: Vec::new(),
            state: Mutex::new(State {
                folder: Folder::Tmp,
                progress: Progress::new(recipients),
                end: self.message_at + facts.size,
                body,
                journal: String::new(),
                envelope: Arc::new(self.envelope.clone()),
                in_hand: BTreeSet::new(),
                in_settlement: BTreeSet::new(),
            }),
        })
    }
}

impl Drop for Draft {
    /// A message that was not committed leaves nothing behind.
    fn drop(&mut self) {
        if let Some((_, path)) = &self.file {
            let _ = durable::remove(path);
        }
    }
}

/// Removes a name unless it is told not to.
struct Unlink {
    path: Option<PathBuf>,
}

impl Drop for Unlink {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = durable::remove(path);
        }
    }
}

impl Spool {
    /// Brings a file that is written from tmp/ to new/, or to hold/ when nobody is to try it, and both to the disk.
    pub(super) fn promise(&self, id: &str, file: &File, to: Folder) -> Result<()> {
        let (tmp, new) = (self.path(Folder::Tmp, id), self.path(to, id));
        let mut unlink = Unlink {
            path: Some(tmp.clone()),
        };
        let renamed = match durable::rename(&tmp, &new) {
            // A spool that was not brought to its end when it was made.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.create()?;
                durable::rename(&tmp, &new)
            }
            renamed => renamed,
        };
        renamed.map_err(|e| cannot("commit the queue file", &tmp, &e))?;
        unlink.path = Some(new.clone());
        durable::sync(file).map_err(|e| cannot("sync the queue file", &new, &e))?;
        sync_names(&self.root.join(to.name()))?;
        // From here on the mail is safe.
        unlink.path = None;
        Ok(())
    }

    /// A new file in tmp/, locked. The id stands in the message already, so a clash is no reason for another one:
    /// it would need the same microsecond, random part and counter, and the caller comes again.
    pub(super) fn create_draft(&self, id: &str) -> Result<(File, PathBuf)> {
        let path = self.path(Folder::Tmp, id);
        let made = match durable::create(&path, 0o660) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.create()?;
                durable::create(&path, 0o660)
            }
            made => made,
        };
        let file = made.map_err(|e| cannot("create the queue file", &path, &e))?;
        if let Err(e) = file.lock() {
            let _ = durable::remove(&path);
            return Err(cannot("lock the queue file", &path, &e));
        }
        Ok((file, path))
    }
}
