//! The first pass: what is in each part, and what is to become of it.

use super::header::{Encoding, Field, Head, Kind};
use super::lines::{Line, Utf8};
use super::structure::{Sink, Walker};
use super::{Change, Found, Need, Plan};

/// The first pass.
#[derive(Debug)]
pub struct Survey {
    walker: Walker,
    notes: Notes,
}

impl Survey {
    /// Before the message's first octet.
    pub fn new(need: Need) -> Self {
        let notes = Notes {
            need,
            parts: Vec::new(),
            folds: false,
            line: Line::default(),
        };
        Self {
            walker: Walker::new(),
            notes,
        }
    }

    /// Takes in the next octets.
    pub fn feed(&mut self, chunk: &[u8]) {
        self.walker.feed(chunk, &mut self.notes);
    }

    /// After the message's last octet: what is to be done.
    pub fn finish(mut self) -> Plan {
        self.walker.finish(&mut self.notes);
        self.notes.plan()
    }
}

/// What the first pass keeps of each part.
#[derive(Debug, Clone, Copy)]
struct Note {
    parent: Option<usize>,
    kind: Kind,
    encoding: Encoding,
    has_type: bool,
    has_mime_version: bool,
    has_parts: bool,
    header: Found,
    body: Found,
    /// Around its parts.
    around: Found,
    utf8: Utf8,
}

#[derive(Debug)]
struct Notes {
    need: Need,
    parts: Vec<Note>,
    folds: bool,
    line: Line,
}

impl Sink for Notes {
    fn begin(&mut self, parent: Option<usize>) {
        self.line = Line::default();
        if let Some(note) = parent.and_then(|parent| self.parts.get_mut(parent)) {
            note.has_parts = true;
        }
        self.parts.push(Note {
            parent,
            kind: Kind::Sealed,
            encoding: Encoding::SevenBit,
            has_type: false,
            has_mime_version: false,
            has_parts: false,
            header: Found::default(),
            body: Found::default(),
            around: Found::default(),
            utf8: Utf8::default(),
        });
    }

    fn header(&mut self, part: usize, _field: Field, octets: &[u8]) {
        let found = self.line.look(octets);
        self.folds |= found.long_line;
        if let Some(note) = self.parts.get_mut(part) {
            note.header.eight_bit |= found.eight_bit;
        }
    }

    fn head_ends(&mut self, part: usize, head: &Head, blank: &[u8]) {
        self.line.look(blank);
        if let Some(note) = self.parts.get_mut(part) {
            note.kind = head.kind();
            note.encoding = head.encoding();
            note.has_type = head.has_type();
            note.has_mime_version = head.has_mime_version();
        }
    }

    fn body(&mut self, part: usize, octets: &[u8]) {
        let found = self.line.look(octets);
        if let Some(note) = self.parts.get_mut(part) {
            note.body.add(found);
            note.utf8.look(octets);
        }
    }

    fn around(&mut self, part: usize, octets: &[u8]) {
        let found = self.line.look(octets);
        if let Some(note) = self.parts.get_mut(part) {
            note.around.add(found);
        }
    }

    fn keep(&mut self, part: usize, octets: &[u8]) {
        self.body(part, octets);
    }
}

impl Notes {
    /// Decides from the last part to the first, so that a container comes after all that is in it.
    fn plan(self) -> Plan {
        let mut changes = vec![Change::Nothing; self.parts.len()];
        let mut below = vec![(Found::default(), false); self.parts.len()];
        let mut whole = Found::default();
        for (index, note) in self.parts.iter().enumerate().rev() {
            let (mut left, changed_below) = below.get(index).copied().unwrap_or_default();
            let change = match note.kind {
                Kind::Sealed => Change::Nothing,
                Kind::Leaf => self.leaf(note),
                Kind::Multipart | Kind::Message => {
                    let masks = self.masks(note);
                    left.add(note.body);
                    left.add(Found {
                        eight_bit: note.around.eight_bit && !masks,
                        ..note.around
                    });
                    container(note, left.encoding(), masks, changed_below)
                }
            };
            if matches!(note.kind, Kind::Leaf | Kind::Sealed) {
                left.add(after(change, note.body));
            }
            left.add(note.header);
            let changed = changed_below || change != Change::Nothing;
            match note.parent.and_then(|parent| below.get_mut(parent)) {
                Some((found, changes)) => {
                    found.add(left);
                    *changes |= changed;
                }
                None => whole = left,
            }
            // Both vectors are as long as the parts.
            if let Some(slot) = changes.get_mut(index) {
                *slot = change;
            }
        }
        let versioned = self.parts.first().is_none_or(|top| top.has_mime_version);
        Plan {
            mime_version: !versioned && changes.iter().any(|c| *c != Change::Nothing),
            folds: self.folds,
            left: whole,
            changes,
        }
    }

    /// Whether what is beyond ASCII around the parts goes. Where no part was found, it may be what there is to read.
    fn masks(&self, note: &Note) -> bool {
        note.around.eight_bit && note.has_parts && !self.need.eight_bit_ok
    }

    fn leaf(&self, note: &Note) -> Change {
        let eight_bit = note.body.eight_bit && !self.need.eight_bit_ok;
        if !eight_bit && !note.body.long_line {
            return Change::Nothing;
        }
        match note.encoding {
            Encoding::SevenBit | Encoding::EightBit | Encoding::Binary => {
                // Without a Content-Type the octets would be read as US-ASCII (RFC 2045 5.2), which they are
                // not; what is not UTF-8 gets the name of RFC 1428.
                let charset = match (note.has_type, note.body.eight_bit, note.utf8.is_valid()) {
                    (false, true, true) => Some("utf-8"),
                    (false, true, false) => Some("unknown-8bit"),
                    _ => None,
                };
                Change::Quote(charset)
            }
            Encoding::QuotedPrintable => Change::Requote,
            Encoding::Base64 if note.body.long_line => Change::Rewrap,
            Encoding::Base64 | Encoding::Unknown => Change::Nothing,
        }
    }
}

/// What becomes of a container, in which all that is left needs this encoding.
fn container(note: &Note, left: Encoding, masks: bool, changed_below: bool) -> Change {
    let declares = Some(left).filter(|left| (masks || changed_below) && *left < note.encoding);
    match masks || declares.is_some() {
        true => Change::Contain { declares, masks },
        false => Change::Nothing,
    }
}

/// What is left of `found` after a change.
fn after(change: Change, found: Found) -> Found {
    match change {
        Change::Quote(_) | Change::Requote => Found::default(),
        Change::Rewrap => Found {
            long_line: false,
            ..found
        },
        Change::Nothing | Change::Contain { .. } => found,
    }
}
