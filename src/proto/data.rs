//! Message text on its way in and out: the one place that knows line ends and dots.
//!
//! In the spool, lines end in CRLF, there is no other CR or LF, and no dot is stuffed: "canonical" text.
//!
//! - in, from a program on this machine: [`LocalText`], which takes every line end there is;
//! - in, from the network: [`DataReader`], which takes one only (RFC 5321 2.3.8, 4.5.2), for whatever else
//!   ended a line or the data here could hide a second message from the server before us (CVE-2023-51764);
//! - on its way to the spool: [`Meter`] counts what the queue file's message line says;
//! - out, to a server: [`DotStuffer`]; out, to a mailbox: [`LocalEnds`].
//!
//! Each is fed chunks cut anywhere and gives the same result for every cut. None holds more than a few octets
//! between two chunks, so a line may have any length; only the size of the whole message has a limit.

mod scan;

use self::scan::find;
use super::envelope::Facts;

const CR: u8 = b'\r';
const LF: u8 = b'\n';
const CRLF: &[u8] = b"\r\n";

/// How far a reader came with a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Octets of the chunk that belong to the message or its end mark; all of them while it goes on.
    pub consumed: usize,
    /// Whether the end mark was met. Later chunks are not consumed.
    pub ended: bool,
}

/// Counts the facts of a message while its canonical text passes by.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    crc: crc32fast::Hasher,
    facts: Facts,
    /// Octets since the last LF.
    line: u64,
    /// An empty line has passed by.
    past_header: bool,
}

impl Meter {
    /// Nothing has passed by yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a chunk of canonical text.
    pub fn feed(&mut self, chunk: &[u8]) {
        self.crc.update(chunk);
        self.facts.size += chunk.len() as u64;
        let (mut rest, mut header) = (chunk, chunk.len());
        if self.past_header {
            header = 0;
        }
        while let Some(at) = find(rest, |b| b == LF) {
            // The CR before the LF is part of the line end.
            let length = (self.line + at as u64).saturating_sub(1);
            self.facts.longest_line = self.facts.longest_line.max(length);
            self.line = 0;
            rest = rest.get(at + 1..).unwrap_or_default();
            if length == 0 && !self.past_header {
                self.past_header = true;
                header = chunk.len() - rest.len();
            }
        }
        self.line += rest.len() as u64;
        if !chunk.is_ascii() {
            self.facts.eight_bit = true;
            self.facts.eight_bit_header |= !chunk.get(..header).unwrap_or_default().is_ascii();
        }
    }

    /// Counts what is put before all that has passed by: whole lines.
    pub fn put_in_front(&mut self, front: &[u8]) {
        let mut all = Self::new();
        all.feed(front);
        all.crc.combine(&self.crc);
        self.crc = all.crc;
        self.facts.size += all.facts.size;
        self.facts.eight_bit |= all.facts.eight_bit;
        self.facts.eight_bit_header |= all.facts.eight_bit_header;
        self.facts.longest_line = self.facts.longest_line.max(all.facts.longest_line);
    }

    /// The facts of what has passed by so far; a line not ended yet counts as a line.
    pub fn facts(&self) -> Facts {
        Facts {
            crc32: self.crc.clone().finalize(),
            longest_line: self.facts.longest_line.max(self.line),
            ..self.facts
        }
    }
}

/// The checksum of a message while its text passes by, for whoever knows the other facts.
#[derive(Debug, Clone, Default)]
pub struct Checksum(crc32fast::Hasher);

impl Checksum {
    /// Counts a chunk.
    pub fn feed(&mut self, chunk: &[u8]) {
        self.0.update(chunk);
    }

    /// That of what has passed by so far.
    pub fn crc32(&self) -> u32 {
        self.0.clone().finalize()
    }
}

/// Standard input of `sendmail`, made canonical.
///
/// Line ends: LF, CRLF, and any number of CRs with or without an LF after them (CR CR LF of a terminal's log, the
/// bare CR of a progress bar) are one line end each. The last line always gets its own. NUL octets are taken out
/// before anything else and counted: a message has none (RFC 5322 2.3) and few servers take one, but the rest of
/// such a message is worth delivering.
#[derive(Debug, Clone, Default)]
pub struct LocalText {
    dot_ends: bool,
    place: Place,
    cr: bool,
    nuls: u64,
    ended: bool,
}

/// Where in a line a reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Place {
    /// Before its first octet.
    #[default]
    Start,
    /// After a dot at its start, held back.
    Dot,
    /// Anywhere else.
    Inside,
}

impl LocalText {
    /// With `dot_ends` (`sendmail` without `-i`), a line of a lone dot ends the message, and a line that begins
    /// with two dots loses one, as whoever escapes the first kind expects. A line of one dot and more is kept.
    pub fn new(dot_ends: bool) -> Self {
        Self {
            dot_ends,
            ..Self::default()
        }
    }

    /// Takes a chunk of input and appends canonical text to `out`.
    pub fn feed(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Progress {
        let mut rest = chunk;
        while let Some((&octet, tail)) = rest.split_first() {
            if self.ended {
                break;
            }
            if octet == 0 {
                self.nuls += 1;
            } else if octet == CR {
                self.cr = true;
            } else if octet == LF {
                self.end_line(out);
            } else if self.cr {
                // A bare CR: it ended the line, and this octet is looked at again as the next one's first.
                self.end_line(out);
                continue;
            } else if self.dot_ends && octet == b'.' && self.place == Place::Start {
                self.place = Place::Dot;
            } else {
                rest = self.text(rest, out);
                continue;
            }
            rest = tail;
        }
        Progress {
            consumed: chunk.len() - rest.len(),
            ended: self.ended,
        }
    }

    /// The input is at its end: ends the last line.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if !self.ended && (self.cr || self.place != Place::Start) {
            self.end_line(out);
        }
    }

    /// How many NUL octets were taken out.
    pub fn nuls(&self) -> u64 {
        self.nuls
    }

    fn end_line(&mut self, out: &mut Vec<u8>) {
        self.cr = false;
        match self.place {
            Place::Dot => self.ended = true,
            Place::Start | Place::Inside => out.extend_from_slice(CRLF),
        }
        self.place = Place::Start;
    }

    /// Copies the text up to the next octet that may mean something; `rest` begins with one that does not.
    fn text<'a>(&mut self, rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        if self.place == Place::Dot && rest.first() != Some(&b'.') {
            out.push(b'.');
        }
        self.place = Place::Inside;
        let (text, rest) = until_special(rest);
        out.extend_from_slice(text);
        rest
    }
}

/// Splits before the first CR, LF or NUL.
fn until_special(octets: &[u8]) -> (&[u8], &[u8]) {
    let at = find(octets, |b| matches!(b, 0 | CR | LF));
    octets.split_at(at.unwrap_or(octets.len()))
}

/// Splits before the first CR or LF.
fn until_line_end(octets: &[u8]) -> (&[u8], &[u8]) {
    let at = find(octets, |b| matches!(b, CR | LF));
    octets.split_at(at.unwrap_or(octets.len()))
}

/// What is wrong with a message that came by DATA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataFault {
    /// A CR without an LF after it.
    BareCr,
    /// An LF without a CR before it.
    BareLf,
    /// A NUL octet.
    Nul,
    /// More octets than the limit.
    TooBig,
}

/// The server's side of DATA (RFC 5321 4.5.2): finds the end of the data, takes stuffed dots out.
///
/// The end is CRLF, dot, CRLF and nothing else; the line end of the command DATA counts as its first CRLF. A bare
/// CR, a bare LF or a NUL is remembered, and reading goes on to the true end, where the message is refused: a
/// refusal in the middle would leave the rest of the text to be read as commands.
#[derive(Debug, Clone, Default)]
pub struct DataReader {
    limit: u64,
    size: u64,
    place: Place,
    cr: bool,
    fault: Option<DataFault>,
    ended: bool,
}

impl DataReader {
    /// `limit`: octets a message may have, counted without stuffed dots and end mark, with CRLFs (RFC 1870 3).
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    /// Takes a chunk of input and appends canonical text to `out`, until the first fault. What follows the end
    /// mark is not consumed: it is the next command of a client that pipelines.
    pub fn feed(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Progress {
        let mut rest = chunk;
        while let Some((&octet, tail)) = rest.split_first() {
            if self.ended {
                break;
            }
            if self.cr && octet != LF {
                self.cr = false;
                self.place = Place::Inside;
                self.blame(DataFault::BareCr);
            }
            match octet {
                CR => self.cr = true,
                LF if self.cr => self.end_line(out),
                LF => self.odd(DataFault::BareLf),
                0 => self.odd(DataFault::Nul),
                b'.' if self.place == Place::Start => self.place = Place::Dot,
                _ => {
                    self.place = Place::Inside;
                    let (text, after) = until_special(rest);
                    self.emit(text, out);
                    rest = after;
                    continue;
                }
            }
            rest = tail;
        }
        Progress {
            consumed: chunk.len() - rest.len(),
            ended: self.ended,
        }
    }

    /// The first thing found wrong; to be looked at when the data has ended.
    pub fn fault(&self) -> Option<DataFault> {
        self.fault
    }

    fn end_line(&mut self, out: &mut Vec<u8>) {
        self.cr = false;
        match self.place {
            Place::Dot => self.ended = true,
            // Both octets or none: what is put out is canonical up to the last octet.
            Place::Start | Place::Inside if self.size + 2 > self.limit => {
                self.blame(DataFault::TooBig);
            }
            Place::Start | Place::Inside => self.emit(CRLF, out),
        }
        self.place = Place::Start;
    }

    /// An octet that may not be here and that ends no line: a dot after it is not at a line's start.
    fn odd(&mut self, fault: DataFault) {
        self.place = Place::Inside;
        self.blame(fault);
    }

    fn emit(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        if self.fault.is_some() {
            return;
        }
        let room = usize::try_from(self.limit - self.size).unwrap_or(usize::MAX);
        let fitting = octets.get(..room).unwrap_or(octets);
        out.extend_from_slice(fitting);
        self.size += fitting.len() as u64;
        if fitting.len() < octets.len() {
            self.blame(DataFault::TooBig);
        }
    }

    fn blame(&mut self, fault: DataFault) {
        self.fault.get_or_insert(fault);
    }
}

/// The client's side of DATA (RFC 5321 4.5.2): canonical text with a dot doubled where a line begins with one.
///
/// Should a bare CR or LF be in the text, it goes out as CRLF: none ever leaves alone (RFC 5321 2.3.8).
#[derive(Debug, Clone, Default)]
pub struct DotStuffer {
    place: Place,
    cr: bool,
}

impl DotStuffer {
    /// At the start of a message.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a chunk of canonical text and appends what is to be sent to `out`.
    pub fn feed(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        let mut rest = chunk;
        while let Some((&octet, tail)) = rest.split_first() {
            if self.cr && octet != LF {
                self.end_line(out);
            }
            match octet {
                CR => self.cr = true,
                LF => self.end_line(out),
                _ => {
                    if octet == b'.' && self.place == Place::Start {
                        out.push(b'.');
                    }
                    self.place = Place::Inside;
                    let (text, after) = until_line_end(rest);
                    out.extend_from_slice(text);
                    rest = after;
                    continue;
                }
            }
            rest = tail;
        }
    }

    /// The message is at its end: ends its last line and sends the end mark.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if self.cr || self.place != Place::Start {
            self.end_line(out);
        }
        out.extend_from_slice(b".\r\n");
    }

    fn end_line(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(CRLF);
        self.cr = false;
        self.place = Place::Start;
    }
}

/// Canonical text for a file of this machine: LF for CRLF.
///
/// For an mbox, a line of any number of `>` and then `From ` gets one `>` more, so that no line of a message
/// looks like the start of the next one, and a reader can take the `>` off again (the mboxrd form).
#[derive(Debug, Clone)]
pub struct LocalEnds {
    quote_from: bool,
    /// Octets of `From ` met at the line's start, held back; `None`: it can no longer be such a line.
    matched: Option<usize>,
    cr: bool,
    /// Whether the last octet put out ended a line, or there was none.
    fresh: bool,
}

/// What begins a message in an mbox (RFC 4155).
const FROM: &[u8] = b"From ";

impl LocalEnds {
    /// At the start of a message; `quote_from` for an mbox.
    pub fn new(quote_from: bool) -> Self {
        Self {
            quote_from,
            matched: quote_from.then_some(0),
            cr: false,
            fresh: true,
        }
    }

    /// Takes a chunk of canonical text and appends the file's text to `out`.
    pub fn feed(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        let mut rest = chunk;
        while let Some((&octet, tail)) = rest.split_first() {
            if self.cr && octet != LF {
                self.cr = false;
                self.put(&[CR], out);
            }
            match (octet, self.matched) {
                (CR, _) => {
                    self.release(out);
                    self.cr = true;
                }
                (LF, _) => self.end_line(out),
                // The quotes go straight out: the one to add may stand behind them as well as before.
                (b'>', Some(0)) => self.put(b">", out),
                (_, Some(matched)) if FROM.get(matched) == Some(&octet) => {
                    self.matched = Some(matched + 1);
                    if matched + 1 == FROM.len() {
                        self.put(b">", out);
                        self.release(out);
                    }
                }
                _ => {
                    self.release(out);
                    let (text, after) = until_line_end(rest);
                    self.put(text, out);
                    rest = after;
                    continue;
                }
            }
            rest = tail;
        }
    }

    /// The message is at its end: puts out what was held back and ends the last line.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.release(out);
        if self.cr || !self.fresh {
            self.end_line(out);
        }
    }

    /// Puts out the part of `From ` that was held back; the rest of the line needs no look.
    fn release(&mut self, out: &mut Vec<u8>) {
        if let Some(held) = self.matched.take().and_then(|n| FROM.get(..n)) {
            self.put(held, out);
        }
    }

    fn end_line(&mut self, out: &mut Vec<u8>) {
        self.release(out);
        out.push(LF);
        self.cr = false;
        self.fresh = true;
        self.matched = self.quote_from.then_some(0);
    }

    fn put(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(octets);
        self.fresh &= octets.is_empty();
    }
}

/// Makes octets so many, if they are fewer. What a vector does itself is done octet by octet in a program that is made
/// to be small: a quarter of what sending a message took.
pub fn lengthen(octets: &mut Vec<u8>, length: usize) {
    octets.append(&mut vec![0; length.saturating_sub(octets.len())]);
}

#[cfg(test)]
mod tests;
