//! The forms in which a message is hashed (RFC 6376 3.4): as it is, or without what servers on the way change.

use ring::digest::{Context, SHA256};

use crate::proto::header::Field;

/// A form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Octet for octet, but for empty lines at the end of the body.
    Simple,
    /// White space counts once or not at all, and names have no case.
    Relaxed,
}

impl Form {
    /// Reads its name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            name if name.eq_ignore_ascii_case("simple") => Some(Self::Simple),
            name if name.eq_ignore_ascii_case("relaxed") => Some(Self::Relaxed),
            _ => None,
        }
    }

    /// Appends a field in this form, with its line end.
    pub fn field(self, field: &Field, out: &mut Vec<u8>) {
        if self == Self::Simple {
            return out.extend_from_slice(field.raw());
        }
        out.extend(field.name().iter().map(u8::to_ascii_lowercase));
        out.push(b':');
        relaxed_value(field.body(), out);
        out.extend_from_slice(b"\r\n");
    }
}

/// A field's value without its folding, each run of white space as one space, none at its ends.
fn relaxed_value(value: &[u8], out: &mut Vec<u8>) {
    let mut space = false;
    let begin = out.len();
    for octet in value {
        if matches!(octet, b' ' | b'\t' | b'\r' | b'\n') {
            space = true;
            continue;
        }
        if std::mem::take(&mut space) && out.len() > begin {
            out.push(b' ');
        }
        out.push(*octet);
    }
}

/// Hashes a body while it passes by, cut anywhere. Of lines that may turn out to be the last, empty ones, only the
/// number is kept; of white space that may turn out to end a line, its octets up to a bound.
#[derive(Clone)]
pub struct BodyHash {
    form: Form,
    /// Octets of the canonical body that count (l=); the rest is not signed.
    limit: u64,
    hash: Context,
    /// Octets of the canonical body so far.
    length: u64,
    /// Line ends that are not hashed yet: they count only when something follows.
    empty: u64,
    /// A CR that may begin a line end.
    cr: bool,
    /// White space in this line that counts only when something follows.
    space: bool,
    /// Something stands in this line.
    in_line: bool,
}

impl BodyHash {
    /// Of a body in this form, of which `limit` octets count.
    pub fn new(form: Form, limit: Option<u64>) -> Self {
        Self {
            form,
            limit: limit.unwrap_or(u64::MAX),
            hash: Context::new(&SHA256),
            length: 0,
            empty: 0,
            cr: false,
            space: false,
            in_line: false,
        }
    }

    /// The next octets of the body.
    pub fn feed(&mut self, mut chunk: &[u8]) {
        while let Some((&octet, rest)) = chunk.split_first() {
            if std::mem::take(&mut self.cr) {
                if octet == b'\n' {
                    self.end_of_line();
                    chunk = rest;
                    continue;
                }
                self.text(b"\r");
            }
            match octet {
                b'\r' => self.cr = true,
                b'\n' => self.end_of_line(),
                b' ' | b'\t' if self.form == Form::Relaxed => self.space = true,
                _ => {
                    let special = |b: &u8| match b {
                        b'\r' | b'\n' => true,
                        b' ' | b'\t' => self.form == Form::Relaxed,
                        _ => false,
                    };
                    let end = chunk.iter().position(special).unwrap_or(chunk.len());
                    let (run, after) = chunk.split_at(end);
                    self.text(run);
                    chunk = after;
                    continue;
                }
            }
            chunk = rest;
        }
    }

    /// The hash, and the octets of the whole canonical body.
    pub fn finish(mut self) -> ([u8; 32], u64) {
        if std::mem::take(&mut self.cr) {
            self.text(b"\r");
        }
        // A last line without its end gets one; so does, in the simple form, a body of nothing (RFC 6376 3.4.3).
        if self.in_line || self.form == Form::Simple && self.length == 0 {
            self.put(b"\r\n");
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(self.hash.finish().as_ref());
        (hash, self.length)
    }

    fn end_of_line(&mut self) {
        self.space = false;
        if std::mem::take(&mut self.in_line) {
            self.put(b"\r\n");
        } else {
            self.empty += 1;
        }
    }

    fn text(&mut self, run: &[u8]) {
        while self.empty > 0 {
            self.empty -= 1;
            self.put(b"\r\n");
        }
        if std::mem::take(&mut self.space) {
            self.put(b" ");
        }
        self.in_line = true;
        self.put(run);
    }

    fn put(&mut self, octets: &[u8]) {
        let left = self.limit.saturating_sub(self.length);
        let counted =
            usize::try_from(left).map_or(octets, |left| octets.get(..left).unwrap_or(octets));
        self.hash.update(counted);
        self.length += octets.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::header::sample;
    use ring::digest::digest;

    /// A body, and its simple and relaxed forms.
    const BODIES: &[(&str, &str, &str)] = &[
        ("", "\r\n", ""),
        ("\r\n", "\r\n", ""),
        ("\r\n\r\n\r\n", "\r\n", ""),
        (" \t\r\n \r\n", " \t\r\n \r\n", ""),
        // RFC 6376 3.4.5
        (
            " C \r\nD \t E\r\n\r\n\r\n",
            " C \r\nD \t E\r\n",
            " C\r\nD E\r\n",
        ),
        ("a", "a\r\n", "a\r\n"),
        ("a  ", "a  \r\n", "a\r\n"),
        ("a\r\n\r\nb\r\n", "a\r\n\r\nb\r\n", "a\r\n\r\nb\r\n"),
        ("\r\n\r\na\r\n", "\r\n\r\na\r\n", "\r\n\r\na\r\n"),
        ("a\rb\r\n", "a\rb\r\n", "a\rb\r\n"),
        ("a\r", "a\r\r\n", "a\r\r\n"),
        ("a\r\r\n", "a\r\r\n", "a\r\r\n"),
        ("\ta \r\n  b\r\n", "\ta \r\n  b\r\n", " a\r\n b\r\n"),
    ];

    #[test]
    #[cfg_attr(miri, ignore = "ring is C and assembly")]
    fn a_body_has_one_hash_however_it_is_cut() {
        for (body, simple, relaxed) in BODIES {
            for (form, expected) in [(Form::Simple, simple), (Form::Relaxed, relaxed)] {
                let octets = body.as_bytes();
                let cuts = (0..=octets.len()).map(|at| octets.split_at(at));
                for (before, after) in cuts {
                    let mut hash = BodyHash::new(form, None);
                    hash.feed(before);
                    hash.feed(after);
                    let (found, length) = hash.finish();
                    assert_eq!(length, expected.len() as u64, "{body:?} {form:?}");
                    assert_eq!(
                        found,
                        digest(&SHA256, expected.as_bytes()).as_ref(),
                        "{body:?} {form:?}"
                    );
                }
                let mut single = BodyHash::new(form, Some(2));
                octets.chunks(1).for_each(|octet| single.feed(octet));
                let (found, length) = single.finish();
                let signed = &expected.as_bytes()[..expected.len().min(2)];
                assert_eq!(length, expected.len() as u64);
                assert_eq!(found, digest(&SHA256, signed).as_ref(), "{body:?} {form:?}");
            }
        }
    }

    #[test]
    fn fields_have_the_forms_of_the_rfc() {
        // RFC 6376 3.4.5, and what it says of empty values.
        let rows = [
            ("A: X\r\n", "A: X\r\n", "a:X\r\n"),
            ("B : Y\t\r\n\tZ  \r\n", "B : Y\t\r\n\tZ  \r\n", "b:Y Z\r\n"),
            ("Empty:\r\n", "Empty:\r\n", "empty:\r\n"),
            ("Empty: \r\n \r\n", "Empty: \r\n \r\n", "empty:\r\n"),
            ("C:x  y\r\n\t\tz\r\n", "C:x  y\r\n\t\tz\r\n", "c:x y z\r\n"),
            // A form feed is no white space of the RFC.
            ("D: \x0cx\x0c \r\n", "D: \x0cx\x0c \r\n", "d:\x0cx\x0c\r\n"),
        ];
        for (field, simple, relaxed) in rows {
            let header = sample(field);
            for (form, expected) in [(Form::Simple, simple), (Form::Relaxed, relaxed)] {
                let mut out = Vec::new();
                form.field(&header.fields()[0], &mut out);
                assert_eq!(String::from_utf8(out).unwrap(), expected);
            }
        }
    }
}
