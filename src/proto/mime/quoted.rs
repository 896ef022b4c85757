//! Transfer encodings of MIME bodies, written while the octets pass by (RFC 2045 6.7, 6.8).

/// The longest line, without its line end (RFC 2045 6.7, 6.8).
const MAX: usize = 76;

/// Writes quoted-printable: CRLF stays a line end, and what is no line of a few printable characters is quoted.
#[derive(Debug)]
pub struct QuotedPrintable {
    /// What comes is quoted-printable already, so `=` stands for itself, and white space at a line's end may go.
    is_quoted: bool,
    /// Octets written on this line.
    column: usize,
    /// The line began with a soft line break.
    is_soft: bool,
    /// White space that may turn out to end its line, and a CR that may turn out to be half of a line end.
    space: Option<u8>,
    cr: bool,
}

impl QuotedPrintable {
    /// Encodes octets as they are.
    pub fn new() -> Self {
        Self {
            is_quoted: false,
            column: 0,
            is_soft: false,
            space: None,
            cr: false,
        }
    }

    /// Mends what is meant to be quoted-printable: breaks its long lines, quotes what no line may hold, and
    /// leaves the rest. It decodes to the same as before.
    pub fn of_quoted() -> Self {
        Self {
            is_quoted: true,
            ..Self::new()
        }
    }

    /// Takes in the next octets and adds what is ready to `out`.
    pub fn feed(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        for octet in chunk {
            if *octet == b'\n' && self.cr {
                self.cr = false;
                self.end_line(out);
                out.extend_from_slice(b"\r\n");
                (self.column, self.is_soft) = (0, false);
                continue;
            }
            // White space before a CR is held until it is known what the CR is.
            if *octet != b'\r' || self.cr {
                self.release(out);
            }
            match octet {
                b'\r' => self.cr = true,
                b' ' | b'\t' => self.space = Some(*octet),
                _ => self.write(*octet, self.must_quote(*octet), out),
            }
        }
    }

    /// After the last octet.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if self.cr {
            self.release(out);
        }
        self.end_line(out);
    }

    /// What was held back did not stand at a line's end.
    fn release(&mut self, out: &mut Vec<u8>) {
        if let Some(space) = self.space.take() {
            self.write(space, false, out);
        }
        if std::mem::take(&mut self.cr) {
            self.write(b'\r', true, out);
        }
    }

    /// White space at a line's end is not safe on its way (RFC 2045 6.7 rule 3).
    fn end_line(&mut self, out: &mut Vec<u8>) {
        if let Some(space) = self.space.take() {
            self.write(space, !self.is_quoted, out);
        }
    }

    fn must_quote(&self, octet: u8) -> bool {
        match octet {
            b'=' => !self.is_quoted,
            _ => !octet.is_ascii_graphic(),
        }
    }

    fn write(&mut self, octet: u8, quote: bool, out: &mut Vec<u8>) {
        const HEX: &[u8; 16] = b"0123456789ABCDEF";
        // An equals sign of the original has two digits after it, from which it must not be parted.
        let width = if quote || octet == b'=' { 3 } else { 1 };
        // The last column is for the `=` of a soft line break.
        if self.column + width > MAX - 1 {
            out.extend_from_slice(b"=\r\n");
            (self.column, self.is_soft) = (0, true);
        }
        // A line that began in the middle of one must not look like a delimiter of some multipart around it.
        if quote || (octet == b'-' && self.is_soft && self.column == 0) {
            // A nibble is below 16.
            let digits = [octet >> 4, octet & 15].map(|n| HEX[usize::from(n)]);
            out.push(b'=');
            out.extend_from_slice(&digits);
            self.column += 3;
        } else {
            out.push(octet);
            self.column += 1;
        }
    }
}

/// Breaks over-long lines of base64, whose line ends mean nothing.
#[derive(Debug)]
pub struct Base64Lines {
    column: usize,
}

impl Base64Lines {
    /// At the beginning of a body.
    pub fn new() -> Self {
        Self { column: 0 }
    }

    /// Takes in the next octets and adds them to `out`, with more line ends where they are needed.
    pub fn feed(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        for octet in chunk {
            match octet {
                b'\n' => self.column = 0,
                b'\r' => {}
                // Only before what is base64, so that rubbish cannot become a delimiter.
                o if self.column >= MAX && (o.is_ascii_alphanumeric() || b"+/=".contains(o)) => {
                    out.extend_from_slice(b"\r\n");
                    self.column = 1;
                }
                _ => self.column += 1,
            }
            out.push(*octet);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::below;

    /// A decoder by the letter of RFC 2045 6.7, white space at a line's end deleted.
    fn decode(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let text = String::from_utf8(text.to_vec()).unwrap();
        let mut lines = text.split("\r\n").peekable();
        while let Some(line) = lines.next() {
            let line = line.trim_end_matches([' ', '\t']);
            let (line, is_soft) = match line.strip_suffix('=') {
                Some(line) => (line, true),
                None => (line, false),
            };
            let mut octets = line.bytes();
            while let Some(octet) = octets.next() {
                if octet == b'=' {
                    let digits = [octets.next().unwrap(), octets.next().unwrap()];
                    let digits = std::str::from_utf8(&digits).unwrap();
                    out.push(u8::from_str_radix(digits, 16).unwrap());
                } else {
                    out.push(octet);
                }
            }
            if !is_soft && lines.peek().is_some() {
                out.extend_from_slice(b"\r\n");
            }
        }
        out
    }

    fn encode(octets: &[u8], chunk: usize) -> Vec<u8> {
        let mut quoted = QuotedPrintable::new();
        let mut out = Vec::new();
        octets.chunks(chunk).for_each(|c| quoted.feed(c, &mut out));
        quoted.finish(&mut out);
        out
    }

    #[test]
    fn octets_are_quoted() {
        let long = "a".repeat(80);
        let rows: &[(&str, &str)] = &[
            ("", ""),
            ("plain, with: punctuation!", "plain, with: punctuation!"),
            ("a=b\r\n", "a=3Db\r\n"),
            ("a \r\nb\t\r\n ", "a=20\r\nb=09\r\n=20"),
            ("a b", "a b"),
            ("\r\n\r\n", "\r\n\r\n"),
            ("a\rb\nc\r\r\n\r", "a=0Db=0Ac=0D\r\n=0D"),
            ("a \r", "a =0D"),
            ("\0\x7f", "=00=7F"),
            (&long, &format!("{}=\r\naaaaa", "a".repeat(75))),
            (
                &"\u{e9}".repeat(14),
                &format!("{}=\r\n=C3=A9", "=C3=A9".repeat(12) + "=C3")
                    .replace("=C3=\r\n=C3=A9", "=C3=\r\n=A9=C3=A9"),
            ),
            // A soft line break must not make a delimiter.
            (
                &format!("{}--b", "a".repeat(75)),
                &format!("{}=\r\n=2D-b", "a".repeat(75)),
            ),
            ("-- \r\n", "--=20\r\n"),
        ];
        for (plain, quoted) in rows {
            let out = encode(plain.as_bytes(), 7);
            assert_eq!(std::str::from_utf8(&out).unwrap(), *quoted, "{plain:?}");
        }
    }

    #[test]
    fn what_is_encoded_decodes_to_the_same() {
        let alphabet = b"\r\n\r\n  \t=-aaaaaaaaaaaaaaaaaaaa\0\xff\xe9";
        let mut random = 7_u32;
        for length in below(600) {
            let octets: Vec<u8> = (0..length)
                .map(|_| {
                    random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    alphabet[(random >> 8) as usize % alphabet.len()]
                })
                .collect();
            let out = encode(&octets, 1 + length % 9);
            assert_eq!(out, encode(&octets, 1000));
            assert_eq!(decode(&out), octets);
            let lines = out.split(|b| *b == b'\n');
            assert!({ lines }.all(|l| l.len() <= 77 && l.is_ascii()));
        }
    }

    #[test]
    fn broken_quoted_printable_is_mended() {
        let long = format!("=3D{}=\r\nx=C3 \r\n", "=C3=A9 ".repeat(200));
        let mut quoted = QuotedPrintable::of_quoted();
        let mut out = Vec::new();
        quoted.feed(long.as_bytes(), &mut out);
        quoted.finish(&mut out);
        assert_eq!(decode(&out), decode(long.as_bytes()));
        assert!(out.split(|b| *b == b'\n').all(|l| l.len() <= 77));
    }
}
