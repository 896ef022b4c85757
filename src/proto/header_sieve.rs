//! Takes out of a message that passes what claims to be found out here: a field Authentication-Results in our name
//! (RFC 8601 5). All else goes on as it came, and no more is held back than such a field.

use std::borrow::Cow;

use super::header::Field;
use super::results::{FIELD, is_forged};

/// The longest field that is looked at; a longer one is nobody's, and goes.
const MOST: usize = 64 * 1024;
/// The longest beginning of a line without a colon that may be its name (RFC 5322 2.1.1).
const MOST_NAME: usize = 998;

/// Looks at a message in canonical text, up to its first blank line.
#[derive(Debug, Clone)]
pub struct HeaderSieve {
    /// In whose name nobody else may write.
    by: String,
    /// The beginning of a line that may be that of such a field; or the field, as far as it has come.
    held: Vec<u8>,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At the beginning of a line.
    Start,
    /// In a line that goes on.
    Other,
    /// In such a field; `true`: at the beginning of a line.
    Within(bool),
    /// Behind the header.
    Body,
}

impl HeaderSieve {
    /// For this name.
    pub fn new(by: &str) -> Self {
        Self {
            by: by.to_owned(),
            held: Vec::new(),
            place: Place::Start,
        }
    }

    /// What goes on of a chunk, cut anywhere, and of what was held back.
    pub fn feed<'c>(&mut self, chunk: &'c [u8]) -> Cow<'c, [u8]> {
        if self.place == Place::Body {
            return Cow::Borrowed(chunk);
        }
        let mut goes = Vec::with_capacity(self.held.len() + chunk.len());
        let mut rest = chunk;
        while let Some(first) = rest.first() {
            let line = rest.iter().position(|b| *b == b'\n').map(|at| at + 1);
            let (part, after) = rest.split_at(line.unwrap_or(rest.len()));
            match self.place {
                Place::Within(true) if !matches!(first, b' ' | b'\t') => {
                    self.end_of_field(&mut goes);
                    continue;
                }
                Place::Within(_) => {
                    let room = (MOST + 1).saturating_sub(self.held.len());
                    self.held.extend(part.iter().take(room));
                    self.place = Place::Within(line.is_some());
                }
                Place::Start => {
                    self.held.extend_from_slice(part);
                    self.judge(line.is_some(), &mut goes);
                }
                Place::Other => {
                    goes.extend_from_slice(part);
                    self.place = if line.is_some() {
                        Place::Start
                    } else {
                        Place::Other
                    };
                }
                Place::Body => goes.extend_from_slice(part),
            }
            rest = after;
        }
        Cow::Owned(goes)
    }

    /// The message has ended: what is left.
    pub fn finish(mut self) -> Vec<u8> {
        let mut goes = Vec::new();
        match self.place {
            Place::Within(_) => self.end_of_field(&mut goes),
            _ => goes.append(&mut self.held),
        }
        goes
    }

    /// What the beginning of a line is.
    fn judge(&mut self, is_whole: bool, goes: &mut Vec<u8>) {
        let colon = self.held.iter().position(|b| *b == b':');
        let name = self.held.get(..colon.unwrap_or(self.held.len()));
        let name = name.unwrap_or_default().trim_ascii_end();
        let may_be = FIELD.as_bytes().get(..name.len());
        let may_be = may_be.is_some_and(|part| part.eq_ignore_ascii_case(name));
        if may_be && colon.is_some() && name.len() == FIELD.len() {
            self.place = Place::Within(is_whole);
            return;
        }
        // White space before a colon has no end of its own.
        if may_be && colon.is_none() && !is_whole && self.held.len() < MOST_NAME {
            return;
        }
        self.place = match (is_whole, self.held.as_slice()) {
            (true, b"\r\n" | b"\n") => Place::Body,
            (true, _) => Place::Start,
            (false, _) => Place::Other,
        };
        goes.append(&mut self.held);
    }

    fn end_of_field(&mut self, goes: &mut Vec<u8>) {
        let is_ours = |field: Field| is_forged(&field, &self.by);
        if self.held.len() <= MOST && !Field::parse(&self.held).is_some_and(is_ours) {
            goes.append(&mut self.held);
        }
        self.held.clear();
        self.place = Place::Start;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{below, few};

    #[test]
    fn what_claims_to_be_ours_goes_however_the_text_is_cut() {
        let long = format!(
            "X: y\r\nAuthentication-Results: ({}) pi.example; x=y\r\n\r\n",
            "x".repeat(few(MOST))
        );
        // The text, and what is left of it; "": all.
        let rows = [
            ("", ""),
            ("\r\nAuthentication-Results: pi.example; x=pass\r\n", ""),
            (
                "A: b\r\nAuthentication-Results: far.example; x=pass\r\n y\r\n\r\nz\r\n",
                "",
            ),
            (
                "A: b\r\nauthentication-results : (c)\r\n\tPI.example;\r\n x=pass\r\nC: d\r\n\r\nz\r\n",
                "A: b\r\nC: d\r\n\r\nz\r\n",
            ),
            (
                "Authentication-Results: pi.example; a\r\nAuthentication-Results: pi.example; b\r\n",
                "-",
            ),
            (
                "Authentication-Results: pi.example; a\r\n\r\nz\r\n",
                "\r\nz\r\n",
            ),
            ("Authentication-Results\r\nA: b\r\n\r\n", ""),
            ("Authentication-Results-X: pi.example; a\r\n\r\n", ""),
            (
                "Auth: pi.example\r\nA:\r\n Authentication-Results: pi.example;\r\n\r\n",
                "",
            ),
            (
                "no field\r\nAuthentication-Results: pi.example;\r\n\r\n",
                "no field\r\n\r\n",
            ),
            (&long, "X: y\r\n\r\n"),
        ];
        for (text, left) in rows {
            let left = match left {
                "" => text,
                "-" => "",
                left => left,
            };
            let some = if text.len() > 1000 { text.len() / 9 } else { 1 };
            for cut in below(text.len()).step_by(some) {
                let (before, after) = text.as_bytes().split_at(cut);
                let mut sieve = HeaderSieve::new("pi.example");
                let mut found = sieve.feed(before).into_owned();
                found.extend_from_slice(&sieve.feed(after));
                found.extend_from_slice(&sieve.finish());
                assert_eq!(
                    String::from_utf8_lossy(&found),
                    left,
                    "{text:?} cut at {cut}"
                );
            }
        }
    }
}
