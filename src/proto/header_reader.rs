//! Where the header of a message ends: one rule, for every way in.
//!
//! It ends at the blank line, or before the first line that neither is a field nor continues one. Such a line
//! belongs to the body, and so does all that follows; the blank line it lacks is written by whoever writes the
//! header, and no octet of it is lost. A message may so have no header at all.
//!
//! The `From ` line of an mbox, quoted or not, is dropped when it is the very first line and fields follow it.

use std::fmt;

use super::header::{Field, Header};

/// Takes the header off the front of a message that comes in chunks of canonical text.
#[derive(Debug, Clone)]
pub struct HeaderReader {
    limit: usize,
    taken: Vec<u8>,
    /// Where in `taken` the fields begin: behind the `From ` line of an mbox, if there is one.
    first: usize,
    /// Where in `taken` the line being read begins.
    line: usize,
    place: Place,
    /// Where in `taken` the body begins, once the header has ended.
    body: Option<usize>,
}

/// Where in a line the reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before its first octet.
    Start,
    /// After a CR as its first octet.
    BlankCr,
    /// In what may be the name of a field.
    Name,
    /// In white space between that and its colon.
    NameSpace,
    /// In the `From ` line of an mbox.
    Mbox,
    /// In a line that belongs to a field.
    Field,
}

/// The longest name of a field, and the longest `From ` line: what a line may have (RFC 5322 2.1.1). A text of one
/// giant line is not held longer than that before it is known to be no header.
const MAX_NAME: usize = 998;

/// The header has more octets than the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderTooBig(pub usize);

impl fmt::Display for HeaderTooBig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the header of the message is larger than {} octets",
            self.0
        )
    }
}

impl HeaderReader {
    /// `limit`: octets the header may have.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            taken: Vec::new(),
            first: 0,
            line: 0,
            place: Place::Start,
            body: None,
        }
    }

    /// Takes a chunk. `Some`: the header has ended, and so many octets of the chunk were taken; what follows them is
    /// body, and so are the octets that [`HeaderReader::finish`] gives back.
    pub fn push(&mut self, chunk: &[u8]) -> Result<Option<usize>, HeaderTooBig> {
        let mut rest = chunk;
        while let Some((&octet, tail)) = rest.split_first() {
            if self.body.is_some() {
                break;
            }
            if self.place == Place::Field {
                rest = self.push_line(rest)?;
                continue;
            }
            let Some(place) = self.judge(octet) else {
                self.end();
                break;
            };
            self.take(&[octet])?;
            rest = tail;
            if octet == b'\n' {
                self.end_short_line();
            } else {
                self.place = place;
            }
        }
        Ok(self.body.map(|_| chunk.len() - rest.len()))
    }

    /// The message or its header is at its end: the header, and octets taken that belong to the body.
    pub fn finish(mut self) -> (Header, Vec<u8>) {
        if self.body.is_none() {
            if self.place == Place::Field {
                // Canonical text has ended its last line; any other is ended here.
                if self.taken.ends_with(b"\r") {
                    self.taken.pop();
                }
                self.taken.extend_from_slice(b"\r\n");
                self.line = self.taken.len();
            }
            self.end();
        }
        let body = self.taken.split_off(self.body.unwrap_or_default());
        let mut header = Header::default();
        let mut rest = self.taken.get(self.first..).unwrap_or_default();
        while !rest.is_empty() {
            let (field, after) = rest.split_at(field_length(rest));
            if let Some(field) = Field::parse(field) {
                header.append(field);
            }
            rest = after;
        }
        (header, body)
    }

    /// Where the next octet leads, in a line not yet known to be part of a field; `None`: into the body.
    fn judge(&self, octet: u8) -> Option<Place> {
        let is_short = self.taken.len() - self.line < MAX_NAME;
        let is_space = matches!(octet, b' ' | b'\t');
        match (self.place, octet) {
            (Place::Start, b'\r') => Some(Place::BlankCr),
            (Place::Start, _) if is_space && self.has_field() => Some(Place::Field),
            (Place::Start | Place::Name, _) if is_name(octet) && is_short => Some(Place::Name),
            (Place::Name | Place::NameSpace, b':') => Some(Place::Field),
            (Place::Name | Place::NameSpace, _) if is_space && is_short => Some(Place::NameSpace),
            (Place::BlankCr, b'\n') => Some(Place::Start),
            (Place::NameSpace, _) if self.is_mbox_line() => Some(Place::Mbox),
            (Place::Mbox, _) if is_short => Some(Place::Mbox),
            _ => None,
        }
    }

    /// Takes the rest of a field's line.
    fn push_line<'a>(&mut self, rest: &'a [u8]) -> Result<&'a [u8], HeaderTooBig> {
        let end = rest.iter().position(|b| *b == b'\n').map(|at| at + 1);
        let (line, rest) = rest.split_at(end.unwrap_or(rest.len()));
        self.take(line)?;
        if end.is_some() {
            self.line = self.taken.len();
            self.place = Place::Start;
        }
        Ok(rest)
    }

    /// An LF was taken that ended the blank line, or the `From ` line of an mbox.
    fn end_short_line(&mut self) {
        if self.place == Place::BlankCr {
            // Behind a `From ` line and no field, the blank line is the body's, as that line is.
            if self.first == 0 || self.has_field() {
                self.taken.truncate(self.line);
            }
            self.end();
            return;
        }
        self.line = self.taken.len();
        self.first = self.line;
        self.place = Place::Start;
    }

    /// The line being read is the body's. Without a field before it, so is a `From ` line: it was plain text.
    fn end(&mut self) {
        let has_field = self.has_field();
        self.body = Some(if has_field { self.line } else { 0 });
        if !has_field {
            self.first = 0;
        }
    }

    fn has_field(&self) -> bool {
        self.line > self.first
    }

    /// Whether the message begins with an mbox's `From ` line (RFC 4155), quoted or not.
    fn is_mbox_line(&self) -> bool {
        self.line == 0 && (self.taken.starts_with(b"From ") || self.taken.starts_with(b">From "))
    }

    fn take(&mut self, octets: &[u8]) -> Result<(), HeaderTooBig> {
        if self.taken.len() + octets.len() > self.limit {
            return Err(HeaderTooBig(self.limit));
        }
        self.taken.extend_from_slice(octets);
        Ok(())
    }
}

/// An octet of a field's name (RFC 5322 3.6.8).
fn is_name(octet: u8) -> bool {
    octet.is_ascii_graphic() && octet != b':'
}

/// The length of the first field of a text, continuation lines and line end included.
fn field_length(text: &[u8]) -> usize {
    let mut length = 0;
    for line in text.split_inclusive(|b| *b == b'\n') {
        if length > 0 && !line.starts_with(b" ") && !line.starts_with(b"\t") {
            break;
        }
        length += line.len();
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::few;

    /// The header as it is written again, and the body.
    fn read(chunks: &[&[u8]]) -> (String, String) {
        let mut reader = HeaderReader::new(10_000);
        let (mut ended, mut rest) = (false, Vec::new());
        for chunk in chunks {
            let taken = match ended {
                true => 0,
                false => match reader.push(chunk).unwrap() {
                    Some(taken) => {
                        ended = true;
                        taken
                    }
                    None => chunk.len(),
                },
            };
            rest.extend_from_slice(&chunk[taken..]);
        }
        let (header, mut body) = reader.finish();
        body.extend_from_slice(&rest);
        let mut written = Vec::new();
        header.write(&mut written);
        assert!(written.ends_with(b"\r\n"));
        written.truncate(written.len() - 2);
        (
            String::from_utf8(written).unwrap(),
            String::from_utf8(body).unwrap(),
        )
    }

    /// A message, its header, its body.
    const MESSAGES: &[(&str, &str, &str)] = &[
        ("", "", ""),
        ("\r\n", "", ""),
        ("\r\nbody\r\n", "", "body\r\n"),
        ("A: b\r\n\r\nbody\r\n", "A: b\r\n", "body\r\n"),
        ("A: b\r\n\r\n", "A: b\r\n", ""), // F19
        ("A: b\r\n", "A: b\r\n", ""),     // F9, OpenSMTPD#646
        ("A: b", "A: b\r\n", ""),
        ("A: b\r", "A: b\r\n", ""),
        ("A:\r\n\r\n\r\nx\r\n", "A:\r\n", "\r\nx\r\n"),
        (
            "A: b\r\n c\r\n\td\r\nE: f\r\n\r\nx",
            "A: b\r\n c\r\n\td\r\nE: f\r\n",
            "x",
        ),
        ("A: b\r\n \r\nE: f\r\n\r\n", "A: b\r\n \r\nE: f\r\n", ""), // white space continues a field
        // F10 and openzfs/zfs#16656: text right behind the header
        (
            "Subject: x\r\nnot a header\r\nTo: y\r\n\r\nz",
            "Subject: x\r\n",
            "not a header\r\nTo: y\r\n\r\nz",
        ),
        ("A: b\r\n: x\r\n\r\n", "A: b\r\n", ": x\r\n\r\n"), // F11
        ("A: b\r\n(x): y\r\n", "A: b\r\n(x): y\r\n", ""),
        ("A: b\r\nt\u{e9}l: y\r\n", "A: b\r\n", "t\u{e9}l: y\r\n"),
        ("A: b\r\nunfinished", "A: b\r\n", "unfinished"),
        ("A: b\r\nB ", "A: b\r\n", "B "),
        ("A: b\r\n\r", "A: b\r\n", "\r"),
        ("A: b\r\n\rx", "A: b\r\n", "\rx"),
        (
            "Subject : x\r\nA\t :y\r\n\r\n",
            "Subject : x\r\nA\t :y\r\n",
            "",
        ), // F11
        ("hello world\r\nA: b\r\n", "", "hello world\r\nA: b\r\n"), // I25, F7
        ("hello\r\n\r\nworld\r\n", "", "hello\r\n\r\nworld\r\n"),
        (" A: b\r\n", "", " A: b\r\n"), // F8
        ("\tx", "", "\tx"),
        ("From a@b Mon Nov 23\r\nA: b\r\n\r\nx", "A: b\r\n", "x"), // F13, illumos cron
        (">From a\r\nA: b\r\n c\r\n\r\nx", "A: b\r\n c\r\n", "x"),
        (
            "From us to you\r\nwith love\r\n",
            "",
            "From us to you\r\nwith love\r\n",
        ),
        (
            "From us to you\r\n\r\nA: b\r\n",
            "",
            "From us to you\r\n\r\nA: b\r\n",
        ),
        (
            "From us to you\r\n A: b\r\n",
            "",
            "From us to you\r\n A: b\r\n",
        ),
        ("From us", "", "From us"),
        (
            "From a\r\nFrom b\r\nA: b\r\n",
            "",
            "From a\r\nFrom b\r\nA: b\r\n",
        ), // one such line, not two
        ("A: b\r\nFrom a b\r\n", "A: b\r\n", "From a b\r\n"),
        ("From : a\r\nFrom: b\r\n\r\n", "From : a\r\nFrom: b\r\n", ""),
        ("From \r\nA: b\r\n", "A: b\r\n", ""),
        ("Fr", "", "Fr"),
    ];

    #[test]
    fn the_header_ends_where_its_last_field_ends() {
        for (message, header, body) in MESSAGES {
            let octets = message.as_bytes();
            let mut ways: Vec<Vec<&[u8]>> = vec![vec![octets], octets.chunks(1).collect()];
            ways.extend((1..octets.len()).map(|at| vec![&octets[..at], &octets[at..]]));
            for chunks in ways {
                let (found, rest) = read(&chunks);
                assert_eq!(
                    (&*found, &*rest),
                    (*header, *body),
                    "{message:?} as {chunks:?}"
                );
            }
        }
    }

    #[test]
    fn a_header_is_bounded() {
        // F12: at the limit, and beyond it.
        let field = format!("A: {}\r\n", "x".repeat(95));
        assert_eq!(HeaderReader::new(100).push(field.as_bytes()), Ok(None));
        assert_eq!(
            HeaderReader::new(99).push(field.as_bytes()),
            Err(HeaderTooBig(99))
        );
        let count = few(10_000);
        let many = "A: b\r\n".repeat(count);
        let mut reader = HeaderReader::new(6 * count);
        assert_eq!(reader.push(many.as_bytes()), Ok(None));
        assert_eq!(reader.finish().0.fields().len(), count);
    }

    #[test]
    fn a_giant_line_is_not_held() {
        for start in ["", "From ", "x "] {
            let text = format!("{start}{}", "x".repeat(few(1_000_000)));
            let mut reader = HeaderReader::new(10_000);
            let taken = reader.push(text.as_bytes()).unwrap().unwrap();
            assert!(taken <= MAX_NAME + 1, "{taken}");
            let (header, body) = reader.finish();
            assert_eq!((header.fields().len(), body.len()), (0, taken));
        }
        let long = format!("{}: x\r\n\r\n", "n".repeat(MAX_NAME)); // F11
        assert!(
            HeaderReader::new(10_000)
                .push(long.as_bytes())
                .unwrap()
                .is_some()
        );
        assert_eq!(read(&[long.as_bytes()]).1, "");
    }
}
