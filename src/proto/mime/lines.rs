//! What looks at a message line by line or octet by octet, in pieces cut anywhere: the measure of lines, the
//! check for UTF-8, the folding of header lines.

use super::Found;

/// The longest line without its CRLF (RFC 5321 4.5.3.1.6).
pub const MAX_LINE: usize = 998;

/// Measures lines as they come, in pieces.
#[derive(Debug, Default)]
pub struct Line {
    length: usize,
    after_cr: bool,
}

impl Line {
    pub fn look(&mut self, octets: &[u8]) -> Found {
        let mut found = Found {
            eight_bit: !octets.is_ascii(),
            long_line: false,
        };
        for piece in octets.split_inclusive(|b| *b == b'\n') {
            let before = match piece {
                [.., cr, b'\n'] => *cr == b'\r',
                [b'\n'] => self.after_cr,
                _ => false,
            };
            self.length = self.length.saturating_add(piece.len());
            self.after_cr = piece.last() == Some(&b'\r');
            let end = match (before, self.after_cr) {
                (true, _) => 2,
                (false, true) => 1, // perhaps the first half of a line end
                (false, false) => 0,
            };
            found.long_line |= self.length.saturating_sub(end) > MAX_LINE;
            if before {
                self.length = 0;
            }
        }
        found
    }
}

/// Whether octets that come in pieces are UTF-8.
#[derive(Debug, Clone, Copy, Default)]
pub struct Utf8 {
    broken: bool,
    /// The first octets of a character whose rest is still to come.
    begun: [u8; 4],
    length: usize,
}

impl Utf8 {
    pub fn look(&mut self, mut octets: &[u8]) {
        while self.length > 0 && !self.broken {
            let Some((first, rest)) = octets.split_first() else {
                return;
            };
            octets = rest;
            // At most 3 octets are ever incomplete, so there is room for one more.
            if let Some(slot) = self.begun.get_mut(self.length) {
                *slot = *first;
                self.length += 1;
            }
            match std::str::from_utf8(self.begun.get(..self.length).unwrap_or_default()) {
                Ok(_) => self.length = 0,
                Err(e) => self.broken = e.error_len().is_some(),
            }
        }
        let Err(e) = std::str::from_utf8(octets) else {
            return;
        };
        self.broken |= e.error_len().is_some();
        let rest = octets.get(e.valid_up_to()..).unwrap_or_default();
        for (slot, octet) in self.begun.iter_mut().zip(rest) {
            *slot = *octet;
        }
        self.length = rest.len().min(3);
    }

    pub fn is_valid(&self) -> bool {
        !self.broken && self.length == 0
    }
}

/// Folds header lines of more than [`MAX_LINE`] octets at white space (RFC 5322 2.2.3); others pass unchanged.
/// No line of white space alone is made, because many take it for the end of the header.
#[derive(Debug, Default)]
pub struct Folder {
    /// The present line, as far as it may still be folded.
    held: Vec<u8>,
    /// How much of the present line is already written.
    written: usize,
}

impl Folder {
    pub fn feed(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        for octet in octets {
            let is_end = *octet == b'\n' && self.held.last() == Some(&b'\r');
            if self.length() >= MAX_LINE && !matches!(octet, b' ' | b'\t' | b'\r' | b'\n') {
                self.fold(out);
            }
            self.held.push(*octet);
            if is_end {
                self.finish(out);
            } else if self.held.len() >= 4 * MAX_LINE {
                // Only white space makes it come to this: a line that nothing can fold.
                self.write(self.held.len(), out);
            }
        }
    }

    fn length(&self) -> usize {
        self.written.saturating_add(self.held.len())
    }

    /// Writes the line up to the last white space behind which and before which there is something.
    fn fold(&mut self, out: &mut Vec<u8>) {
        let is_space = |b: &u8| matches!(b, b' ' | b'\t');
        // The octet to come is no white space, so even white space at the end may begin the next line.
        let space = match self.held.last() {
            Some(last) if is_space(last) => Some(self.held.len()),
            _ => self.held.iter().rposition(is_space),
        };
        let before = space.and_then(|at| self.held.get(..at)).unwrap_or_default();
        let end = match before.iter().rposition(|b| !is_space(b)) {
            Some(word) => word + 1,
            None if space.is_some() && self.written > 0 => 0,
            None => self.held.len(),
        };
        self.write(end, out);
        if !self.held.is_empty() {
            out.extend_from_slice(b"\r\n");
            self.written = 0;
        }
    }

    fn write(&mut self, length: usize, out: &mut Vec<u8>) {
        out.extend(self.held.drain(..length.min(self.held.len())));
        self.written = self.written.saturating_add(length);
    }

    pub fn finish(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.held);
        self.written = 0;
    }
}
