//! Mail that says the same again (`[submit] collapse`): when two messages are the same, and what becomes of the second.
//!
//! The same are two messages with one envelope, one subject and one body, but for digits: a number of any length is as
//! good as another. The first goes at once and begins a period. What repeats it within the period waits for its end, and
//! then the last one goes, with the number of those it stands for. That begins the next period, so that a job which says
//! the same for days is heard once in each; after a period in which it was silent, it is new again.

use ring::digest::{Context, SHA256};

/// Octets of a fingerprint.
const KEY: usize = 32;
/// Octets of an entry in a bucket.
const SLOT: usize = 80;
/// Octets of a bucket: messages with the same place in the table push each other out, the oldest first.
pub const BUCKET: usize = 4 * SLOT;
/// The longest queue id that an entry has room for.
const ID: usize = 24;

/// What is the same in all messages that say the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key([u8; KEY]);

impl Key {
    /// Tells the place in a table.
    pub fn hash(&self) -> u64 {
        let Self([a, b, c, d, e, f, g, h, ..]) = *self;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

/// Makes the fingerprint of a message as it passes.
pub struct Print {
    digest: Context,
    in_number: bool,
}

impl Print {
    /// Of a message with this envelope and this subject.
    pub fn new(envelope: &str, subject: &[u8]) -> Self {
        let mut digest = Context::new(&SHA256);
        digest.update(envelope.as_bytes());
        let mut print = Self {
            digest,
            in_number: false,
        };
        print.end_part();
        print.feed(subject.trim_ascii());
        print.end_part();
        print
    }

    /// The next octets of its body, cut anywhere.
    pub fn feed(&mut self, octets: &[u8]) {
        for run in octets.chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit()) {
            let is_number = run.first().is_some_and(u8::is_ascii_digit);
            match (is_number, self.in_number) {
                (true, false) => self.digest.update(b"0"),
                (true, true) => {}
                (false, _) => self.digest.update(run),
            }
            self.in_number = is_number;
        }
    }

    /// NUL stands in no envelope and in no message here.
    fn end_part(&mut self) {
        self.digest.update(&[0]);
        self.in_number = false;
    }

    /// The message has ended.
    pub fn finish(self) -> Key {
        let mut key = [0; KEY];
        key.copy_from_slice(self.digest.finish().as_ref()); // of the same length: SHA-256
        Key(key)
    }
}

/// What is remembered of messages that say the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When one of them last went out, which began the period.
    pub since: i64,
    /// The one that waits for the end of the period.
    pub waiting: Option<Waiting>,
}

/// A message that waits in place of all that it repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its queue id.
    pub id: String,
    /// How many it stands for, itself among them.
    pub count: u32,
    /// When the first of them came.
    pub first: i64,
}

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Course {
    /// It goes now, and begins a period.
    Goes,
    /// It waits until then.
    Waits {
        /// When the period began.
        since: i64,
        /// When it ends.
        until: i64,
        /// What it takes the place of.
        instead: Option<Waiting>,
    },
}

/// Decides. A period that has not begun yet was begun by a clock that was wrong, and counts for nothing.
pub fn course(entry: Option<&Entry>, now: i64, period: i64) -> Course {
    let Some(entry) = entry.filter(|e| e.since <= now) else {
        return Course::Goes;
    };
    let until = entry.since.saturating_add(period);
    if now < until {
        let (since, instead) = (entry.since, entry.waiting.clone());
        return Course::Waits {
            since,
            until,
            instead,
        };
    }
    // What has waited went out at the end of its period, or goes any moment: the next one has begun then.
    let next = until.saturating_add(period);
    if entry.waiting.is_some() && now < next {
        return Course::Waits {
            since: until,
            until: next,
            instead: None,
        };
    }
    Course::Goes
}

/// The entry of a fingerprint in its bucket.
pub fn find(bucket: &[u8; BUCKET], key: &Key) -> Option<Entry> {
    let (slots, _) = bucket.as_chunks::<SLOT>();
    slots
        .iter()
        .filter(|slot| slot.starts_with(&key.0))
        .find_map(parse)
}

/// Puts an entry into its bucket, in place of the one of the same fingerprint, or else of the oldest.
pub fn put(bucket: &mut [u8; BUCKET], key: &Key, entry: &Entry) {
    let (slots, _) = bucket.as_chunks_mut::<SLOT>();
    let age = |slot: &[u8; SLOT]| match parse(slot) {
        _ if slot.starts_with(&key.0) => i64::MIN,
        Some(entry) => entry.since,
        None => i64::MIN.saturating_add(1),
    };
    if let Some(slot) = slots.iter_mut().min_by_key(|slot| age(slot)) {
        *slot = written(key, entry);
    }
}

/// An entry as it stands in the file: fingerprint, two times, count, queue id with its length before it.
fn written(key: &Key, entry: &Entry) -> [u8; SLOT] {
    let none = Waiting {
        id: String::new(),
        count: 0,
        first: 0,
    };
    let waiting = entry.waiting.as_ref().unwrap_or(&none);
    let id = waiting
        .id
        .as_bytes()
        .get(..ID)
        .unwrap_or(waiting.id.as_bytes());
    let mut octets = Vec::with_capacity(SLOT);
    octets.extend_from_slice(&key.0);
    octets.extend_from_slice(&entry.since.to_le_bytes());
    octets.extend_from_slice(&waiting.first.to_le_bytes());
    octets.extend_from_slice(&waiting.count.to_le_bytes());
    octets.push(u8::try_from(id.len()).unwrap_or(0));
    octets.extend_from_slice(id);
    octets.resize(SLOT, 0);
    let mut slot = [0; SLOT];
    slot.copy_from_slice(&octets); // resized to the same length
    slot
}

/// `None` for a place where none is, or where something else stands.
fn parse(slot: &[u8; SLOT]) -> Option<Entry> {
    let rest = slot.get(KEY..)?;
    let (since, rest) = rest.split_first_chunk()?;
    let (first, rest) = rest.split_first_chunk()?;
    let (count, rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first()?;
    let since = i64::from_le_bytes(*since);
    if since <= 0 {
        return None;
    }
    let id = std::str::from_utf8(rest.get(..usize::from(*length))?).ok()?;
    let waiting = (!id.is_empty()).then(|| Waiting {
        id: id.to_owned(),
        count: u32::from_le_bytes(*count),
        first: i64::from_le_bytes(*first),
    });
    Some(Entry { since, waiting })
}

/// Octets that [`marks`] adds to a subject at most.
pub const ROOM: usize = 200;

/// The field that tells how often it was said, and the subject with the number before it. One that stands for itself
/// alone keeps its subject.
pub fn marks(count: u32, from: &str, to: &str, subject: Option<&[u8]>) -> Vec<u8> {
    let times = if count == 1 { "time" } else { "times" };
    let mut front =
        format!("X-Repeated: {count} {times},\r\n from {from}\r\n to {to}\r\n").into_bytes();
    match subject {
        None if count == 1 => {}
        _ => {
            front.extend_from_slice(b"Subject:");
            if count > 1 {
                front.extend_from_slice(format!(" [{count} {times}]").as_bytes());
            }
            let subject = subject.unwrap_or_default();
            // A line that was as long as lines may be must not become longer.
            let first = subject.iter().take_while(|b| **b != b'\r').count();
            if count > 1 && first > 900 {
                front.extend_from_slice(b"\r\n");
            }
            if !subject.is_empty() && !subject.starts_with(b" ") && !subject.starts_with(b"\t") {
                front.push(b' ');
            }
            front.extend_from_slice(subject);
            front.extend_from_slice(b"\r\n");
        }
    }
    front
}

#[cfg(test)]
mod tests;
