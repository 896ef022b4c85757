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
//! folded at white space. Every body decodes to the octets it had. Before the first and after the last part of a
//! multipart, where no reader looks, an octet beyond ASCII becomes a question mark. Where a delimiter says that the last
//! part is over and another one begins a part, some reader looks.
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
mod survey;

pub use lines::MAX_LINE;
pub use survey::Survey;

use header::{Encoding, Field, Head};
use lines::Folder;
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
    /// A container: it may declare another transfer encoding instead of its own, and what is beyond ASCII around its
    /// parts may be masked.
    Contain {
        declares: Option<Encoding>,
        masks: bool,
    },
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
        let replaced = match self.change(part) {
            Change::Quote(_) => true,
            Change::Contain { declares, .. } => declares.is_some(),
            Change::Nothing | Change::Requote | Change::Rewrap => false,
        };
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
            Change::Contain { declares, .. } => {
                if let Some(encoding) = declares {
                    field(ENCODING, encoding.name());
                }
            }
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

    fn around(&mut self, part: usize, octets: &[u8]) {
        if !matches!(self.change(part), Change::Contain { masks: true, .. }) {
            return self.keep(part, octets);
        }
        self.folder.finish(self.out);
        let masked = octets.iter().map(|b| if b.is_ascii() { *b } else { b'?' });
        self.out.extend(masked);
    }

    fn keep(&mut self, _part: usize, octets: &[u8]) {
        // A header that ended without a blank line has nothing held back, unless its last line had no CRLF.
        self.folder.finish(self.out);
        self.out.extend_from_slice(octets);
    }
}

/// The field that says how a body is encoded (RFC 2045 6).
const ENCODING: &str = "Content-Transfer-Encoding";

#[cfg(test)]
mod tests;
