//! Making a message fit a server that cannot take it as it is: lines over 998 octets (RFC 5321 4.5.3.1.6), or
//! octets beyond ASCII for a server without 8BITMIME (RFC 6152 3).
//!
//! Two passes over the canonical message (CRLF lines, header included), both cut anywhere:
//!
//! 1. [`Survey`] looks at each MIME part and ends as a [`Plan`]: which parts must change, and how.
//! 2. [`Converter`] sees the same octets again and writes them with these changes.
//!
//! What changes, and only where it must: a part without a transfer encoding becomes quoted-printable (RFC 2045
//! 6.7); over-long lines of a part that is already encoded are broken where its encoding allows it; a
//! multipart or message/rfc822 that declared 8bit or binary declares what is left in it; header lines are
//! folded at white space. Every body decodes to the octets it had.
//!
//! What passes as it came: multipart/signed with all in it, because any change would break the signature, and
//! a server that refuses it says so to the sender, who alone can sign again; a header that is none; a transfer
//! encoding nobody knows; what lies deeper than 20 levels or behind 1000 parts; octets beyond ASCII in headers.
//! A DKIM signature made before does not survive a change of the body, but without the change the message
//! would not arrive at all. `structure.rs` finds the parts, the same way in both passes.

mod header;
mod lines;
pub mod quoted;
mod structure;

pub use lines::MAX_LINE;

use header::{Encoding, Field, Head, Kind};
use lines::{Folder, Line, Utf8};
use quoted::{Base64Lines, QuotedPrintable};
use structure::{Sink, Walker};

/// What the server cannot do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// Whether octets beyond ASCII may stay in bodies (the server has 8BITMIME).
    pub eight_bit_ok: bool,
}

/// What is in some octets that a plain server cannot take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Found {
    /// An octet beyond ASCII.
    pub eight_bit: bool,
    /// A line of more than 998 octets.
    pub long_line: bool,
}

impl Found {
    fn add(&mut self, other: Self) {
        self.eight_bit |= other.eight_bit;
        self.long_line |= other.long_line;
    }

    /// The least Content-Transfer-Encoding that is true of it (RFC 2045 6.2).
    fn encoding(self) -> Encoding {
        match (self.long_line, self.eight_bit) {
            (true, _) => Encoding::Binary,
            (false, true) => Encoding::EightBit,
            (false, false) => Encoding::SevenBit,
        }
    }
}

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

/// What the second pass does. For a message that fits it changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// By part, in the order in which they begin.
    changes: Vec<Change>,
    /// MIME-Version is missing and will be needed (RFC 2045 4).
    mime_version: bool,
    /// There is a header line to fold.
    folds: bool,
    /// What stays in the message because it could not be changed.
    left: Found,
}

impl Plan {
    /// Whether the second pass would write anything other than it reads.
    pub fn changes(&self) -> bool {
        self.folds || self.changes.iter().any(|c| *c != Change::Nothing)
    }

    /// What is still in the message after the second pass: whether to say BODY=8BITMIME, and what to log.
    pub fn left(&self) -> Found {
        self.left
    }
}

/// What becomes of one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Nothing,
    /// It becomes quoted-printable, and gets a Content-Type when it has none and needs one.
    Quote(Option<&'static str>),
    /// It is quoted-printable already, but has lines or octets that quoted-printable has not.
    Requote,
    /// Its base64 is broken into shorter lines.
    Rewrap,
    /// A container: it declares this transfer encoding instead of its own.
    Declare(Encoding),
}

/// What the first pass keeps of each part.
#[derive(Debug, Clone, Copy)]
struct Note {
    parent: Option<usize>,
    kind: Kind,
    encoding: Encoding,
    has_type: bool,
    has_mime_version: bool,
    header: Found,
    body: Found,
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
        self.parts.push(Note {
            parent,
            kind: Kind::Sealed,
            encoding: Encoding::SevenBit,
            has_type: false,
            has_mime_version: false,
            header: Found::default(),
            body: Found::default(),
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
                    left.add(note.body);
                    let declared = left.encoding();
                    match changed_below && declared < note.encoding {
                        true => Change::Declare(declared),
                        false => Change::Nothing,
                    }
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

/// What is left of `found` after a change.
fn after(change: Change, found: Found) -> Found {
    match change {
        Change::Quote(_) | Change::Requote => Found::default(),
        Change::Rewrap => Found {
            long_line: false,
            ..found
        },
        Change::Nothing | Change::Declare(_) => found,
    }
}

/// The second pass.
#[derive(Debug)]
pub struct Converter {
    walker: Walker,
    plan: Plan,
    folder: Folder,
    coder: Coder,
}

/// What the body of the present part goes through.
#[derive(Debug)]
enum Coder {
    Copy,
    Quoted(QuotedPrintable),
    Base64(Base64Lines),
}

impl Converter {
    /// Before the message's first octet.
    pub fn new(plan: Plan) -> Self {
        Self {
            walker: Walker::new(),
            plan,
            folder: Folder::default(),
            coder: Coder::Copy,
        }
    }

    /// Takes in the next octets and adds what is ready to `out`.
    pub fn feed(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        let mut writer = Writer {
            plan: &self.plan,
            folder: &mut self.folder,
            coder: &mut self.coder,
            out,
        };
        self.walker.feed(chunk, &mut writer);
    }

    /// After the message's last octet: adds what was held back.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        let mut writer = Writer {
            plan: &self.plan,
            folder: &mut self.folder,
            coder: &mut self.coder,
            out,
        };
        self.walker.finish(&mut writer);
        self.folder.finish(out);
        if let Coder::Quoted(quoted) = &mut self.coder {
            quoted.finish(out);
        }
    }
}

struct Writer<'a> {
    plan: &'a Plan,
    folder: &'a mut Folder,
    coder: &'a mut Coder,
    out: &'a mut Vec<u8>,
}

impl Writer<'_> {
    fn change(&self, part: usize) -> Change {
        let change = self.plan.changes.get(part);
        change.copied().unwrap_or(Change::Nothing)
    }
}

impl Sink for Writer<'_> {
    fn begin(&mut self, _parent: Option<usize>) {
        *self.coder = Coder::Copy;
    }

    fn header(&mut self, part: usize, field: Field, octets: &[u8]) {
        let replaced = matches!(self.change(part), Change::Quote(_) | Change::Declare(_));
        if !(replaced && field == Field::Encoding) {
            self.folder.feed(octets, self.out);
        }
    }

    /// New fields stand at the header's end, so that trace fields stay on top (RFC 5321 4.4).
    fn head_ends(&mut self, part: usize, _head: &Head, blank: &[u8]) {
        let mut field = |name: &str, value: &str| {
            for text in [name, ": ", value, "\r\n"] {
                self.out.extend_from_slice(text.as_bytes());
            }
        };
        if part == 0 && self.plan.mime_version {
            field("MIME-Version", "1.0");
        }
        let change = self.plan.changes.get(part).copied();
        match change.unwrap_or(Change::Nothing) {
            Change::Quote(charset) => {
                if let Some(charset) = charset {
                    field("Content-Type", &format!("text/plain; charset={charset}"));
                }
                field(ENCODING, Encoding::QuotedPrintable.name());
                *self.coder = Coder::Quoted(QuotedPrintable::new());
            }
            Change::Requote => *self.coder = Coder::Quoted(QuotedPrintable::of_quoted()),
            Change::Rewrap => *self.coder = Coder::Base64(Base64Lines::new()),
            Change::Declare(encoding) => field(ENCODING, encoding.name()),
            Change::Nothing => {}
        }
        self.out.extend_from_slice(blank);
    }

    fn body(&mut self, _part: usize, octets: &[u8]) {
        match self.coder {
            Coder::Copy => self.out.extend_from_slice(octets),
            Coder::Quoted(quoted) => quoted.feed(octets, self.out),
            Coder::Base64(lines) => lines.feed(octets, self.out),
        }
    }

    fn around(&mut self, _part: usize, octets: &[u8]) {
        // A header that ended without a blank line has nothing held back, unless its last line had no CRLF.
        self.folder.finish(self.out);
        self.out.extend_from_slice(octets);
    }
}

/// The field that says how a body is encoded (RFC 2045 6).
const ENCODING: &str = "Content-Transfer-Encoding";

#[cfg(test)]
mod tests;
