//! The parts of a message (RFC 2045, 2046), told to a [`Sink`] while the octets pass by.
//!
//! Every octet is told exactly once, in order, however the chunks are cut: as header, as the blank line that
//! ends it, as body of a part that has no parts, as what stands around parts, or as what is to be kept. So whoever
//! writes down all he is told has the message again. What cannot be made sense of is told as one body that is left alone
//! ([`Kind::Sealed`]). Memory is bounded by [`MAX_HEADER_LINE`], [`MAX_DEPTH`] and `header::MAX_VALUE`.

use super::header::{Field, Head, Kind, MAX_BOUNDARY};

/// Parts within parts; what lies deeper is one body.
pub const MAX_DEPTH: usize = 20;
/// Parts of a message; the ones after them are bodies left alone.
pub const MAX_PARTS: usize = 1000;
/// Octets held of a header line; of a longer one the rest is told as it comes.
pub const MAX_HEADER_LINE: usize = 65_536;
/// The longest line that can be a delimiter: hyphens, boundary, padding, line end.
const MAX_DELIMITER: usize = MAX_BOUNDARY + 100;

/// Who is told. Parts are counted from 0, the message itself, in the order in which they begin.
pub trait Sink {
    /// The next part begins; `parent` is the one it lies in.
    fn begin(&mut self, parent: Option<usize>);
    /// Octets of a header, line ends included; never of two lines at once.
    fn header(&mut self, part: usize, field: Field, octets: &[u8]);
    /// The header is over: what it says, and the blank line. Not told of a header without a blank line, which
    /// has no body either.
    fn head_ends(&mut self, part: usize, head: &Head, blank: &[u8]);
    /// Octets of a leaf.
    fn body(&mut self, part: usize, octets: &[u8]);
    /// Octets before the first and after the last of the parts of `part`, which no reader shows (RFC 2046 5.1.1).
    fn around(&mut self, part: usize, octets: &[u8]);
    /// Octets that stay as they are: delimiters, all of a sealed part, parts beyond [`MAX_PARTS`], and parts behind the
    /// end of all parts, which came too early: some readers show them.
    fn keep(&mut self, part: usize, octets: &[u8]);
}

/// Where the present line stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Header,
    Body,
    Around,
    Kept,
}

/// A multipart whose closing delimiter is still to come.
#[derive(Debug)]
struct Open {
    boundary: String,
    part: usize,
    depth: usize,
    is_digest: bool,
}

/// Finds the parts.
#[derive(Debug)]
pub struct Walker {
    place: Place,
    /// The part whose octets come now, and how deep it lies.
    part: usize,
    depth: usize,
    /// How many parts were begun.
    parts: usize,
    open: Vec<Open>,
    /// The boundary of the multipart that has ended just before.
    closed: Option<String>,
    head: Head,
    in_digest: bool,
    /// What is held of the present line until it is known what it is.
    line: Vec<u8>,
    /// It is known: the rest of the line goes where its beginning went.
    is_known: bool,
    after_cr: bool,
}

impl Walker {
    /// Before the first octet.
    pub fn new() -> Self {
        Self {
            place: Place::Header,
            part: 0,
            depth: 0,
            parts: 0,
            open: Vec::new(),
            closed: None,
            head: Head::new(),
            in_digest: false,
            line: Vec::new(),
            is_known: false,
            after_cr: false,
        }
    }

    /// Takes in the next octets.
    pub fn feed(&mut self, mut chunk: &[u8], sink: &mut dyn Sink) {
        self.begin_message(sink);
        while !chunk.is_empty() {
            let end = self.line_end(chunk);
            let (piece, rest) = chunk.split_at(end.unwrap_or(chunk.len()));
            self.piece(piece, end.is_some(), sink);
            chunk = rest;
        }
    }

    /// After the last octet.
    pub fn finish(&mut self, sink: &mut dyn Sink) {
        self.begin_message(sink);
        if !self.line.is_empty() {
            let line = std::mem::take(&mut self.line);
            self.whole_line(&line, sink);
        }
    }

    fn begin_message(&mut self, sink: &mut dyn Sink) {
        if self.parts == 0 {
            self.parts = 1;
            sink.begin(None);
        }
    }

    /// Where the present line ends in a chunk: behind CRLF, of which the CR may have come before.
    fn line_end(&mut self, chunk: &[u8]) -> Option<usize> {
        let mut from = 0;
        while let Some(found) = chunk
            .get(from..)
            .and_then(|c| c.iter().position(|b| *b == b'\n'))
        {
            let at = from + found;
            let after_cr = match at.checked_sub(1) {
                Some(before) => chunk.get(before) == Some(&b'\r'),
                None => self.after_cr,
            };
            if after_cr {
                self.after_cr = false;
                return Some(at + 1);
            }
            from = at + 1;
        }
        self.after_cr = chunk.last() == Some(&b'\r');
        None
    }

    /// Takes in octets of one line; with `ends` its last ones.
    fn piece(&mut self, piece: &[u8], ends: bool, sink: &mut dyn Sink) {
        if self.is_known {
            self.tell(piece, sink);
        } else if ends && self.line.is_empty() {
            self.whole_line(piece, sink);
        } else {
            self.line.extend_from_slice(piece);
            if ends {
                let line = std::mem::take(&mut self.line);
                self.whole_line(&line, sink);
            } else if self.is_clear() {
                let line = std::mem::take(&mut self.line);
                self.is_known = true;
                self.undelimited(&line, sink);
            }
        }
        if ends {
            self.is_known = false;
        }
    }

    /// Whether what follows can no longer change what the line is.
    fn is_clear(&self) -> bool {
        if self.place == Place::Header {
            return self.line.len() > MAX_HEADER_LINE;
        }
        let hyphens = self.line.iter().zip(b"--").all(|(a, b)| a == b);
        let is_within = !self.open.is_empty() || self.closed.is_some();
        !is_within || !hyphens || self.line.len() >= MAX_DELIMITER
    }

    fn whole_line(&mut self, line: &[u8], sink: &mut dyn Sink) {
        if let Some((level, closes)) = self.delimiter(line) {
            return self.delimit(level, closes, line, sink);
        }
        let closed = self.closed.as_deref();
        if closed.and_then(|boundary| closes(line, boundary)) == Some(false) {
            self.place = Place::Kept;
        }
        self.undelimited(line, sink);
    }

    /// Which open multipart a line delimits, and whether it closes it. An outer one may end an inner one that was never
    /// closed (RFC 2046 5.1.2).
    fn delimiter(&self, line: &[u8]) -> Option<(usize, bool)> {
        let mut open = self.open.iter().enumerate().rev();
        open.find_map(|(level, open)| Some((level, closes(line, &open.boundary)?)))
    }

    fn delimit(&mut self, level: usize, closes: bool, line: &[u8], sink: &mut dyn Sink) {
        self.open.truncate(level + 1);
        let Some(open) = self.open.last() else {
            return;
        };
        let (part, depth, is_digest) = (open.part, open.depth, open.is_digest);
        self.part = part;
        self.place = Place::Kept;
        self.tell(line, sink);
        self.closed = None;
        if closes {
            self.closed = self.open.pop().map(|open| open.boundary);
            self.place = Place::Around;
        } else {
            self.begin_part(part, depth + 1, is_digest, sink);
        }
    }

    fn begin_part(&mut self, parent: usize, depth: usize, in_digest: bool, sink: &mut dyn Sink) {
        if self.parts >= MAX_PARTS {
            return; // it is kept, like the delimiter before it
        }
        self.part = self.parts;
        self.parts += 1;
        self.depth = depth;
        self.in_digest = in_digest;
        self.head = Head::new();
        self.place = Place::Header;
        sink.begin(Some(parent));
    }

    /// A line that is no delimiter, or the beginning of one too long to be held.
    fn undelimited(&mut self, line: &[u8], sink: &mut dyn Sink) {
        if self.place != Place::Header {
            return self.tell(line, sink);
        }
        if line == b"\r\n" {
            return self.end_head(line, sink);
        }
        let held = line.get(..MAX_HEADER_LINE).unwrap_or(line);
        // A mailbox file's separator before the message is no field, and does no harm.
        let is_separator =
            self.part == 0 && self.head.field().is_none() && line.starts_with(b"From ");
        let field = match is_separator {
            true => Some(Field::Other),
            false => self.head.line(held, held.len() == line.len()),
        };
        if field.is_none() {
            self.place = Place::Kept;
        }
        self.tell(line, sink);
    }

    fn end_head(&mut self, blank: &[u8], sink: &mut dyn Sink) {
        let may_nest = self.depth + 1 < MAX_DEPTH && self.parts < MAX_PARTS;
        let boundary = self.head.settle(self.in_digest, may_nest);
        sink.head_ends(self.part, &self.head, blank);
        match self.head.kind() {
            Kind::Leaf => self.place = Place::Body,
            Kind::Sealed => self.place = Place::Kept,
            Kind::Message => self.begin_part(self.part, self.depth + 1, false, sink),
            Kind::Multipart => {
                self.place = Place::Around;
                self.open.push(Open {
                    boundary: boundary.unwrap_or_default(),
                    part: self.part,
                    depth: self.depth,
                    is_digest: self.head.is_digest(),
                });
            }
        }
    }

    fn tell(&self, octets: &[u8], sink: &mut dyn Sink) {
        match self.place {
            Place::Header => {
                let field = self.head.field().unwrap_or(Field::Other);
                sink.header(self.part, field, octets);
            }
            Place::Body => sink.body(self.part, octets),
            Place::Around => sink.around(self.part, octets),
            Place::Kept => sink.keep(self.part, octets),
        }
    }
}

/// Whether a line closes the multipart of this boundary; `None`: it does not delimit it (RFC 2046 5.1.1).
fn closes(line: &[u8], boundary: &str) -> Option<bool> {
    let line = Some(line).filter(|line| line.len() <= MAX_DELIMITER)?;
    let rest = line.trim_ascii_end().strip_prefix(b"--")?;
    match rest.strip_prefix(boundary.as_bytes())? {
        b"" => Some(false),
        b"--" => Some(true),
        _ => None,
    }
}
