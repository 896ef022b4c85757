//! What a header says, read while the message passes: nothing of a relayed message is held back or changed
//! (RFC 5321 3.6.3), and so no more than the beginning of a line is kept.

use super::outcome::one_line;

/// What is kept of a line: any name, and any message identity that another program can have made.
const KEPT: usize = 512;

/// Looks on while a message in canonical text passes.
#[derive(Debug, Clone, Default)]
pub struct HeaderWatch {
    line: Vec<u8>,
    ended: bool,
    octets: usize,
    hops: usize,
    message_id: String,
    /// The line before was a Message-ID without its value, which may follow in the next.
    folded: bool,
}

impl HeaderWatch {
    /// Looks at a chunk, cut anywhere.
    pub fn feed(&mut self, chunk: &[u8]) {
        for part in chunk.split_inclusive(|b| *b == b'\n') {
            if self.ended {
                return;
            }
            self.octets += part.len();
            let room = KEPT - self.line.len();
            self.line
                .extend_from_slice(part.get(..room).unwrap_or(part));
            if part.ends_with(b"\n") {
                self.end_of_line();
                self.line.clear();
            }
        }
    }

    /// Received lines so far.
    pub fn hops(&self) -> usize {
        self.hops
    }

    /// Octets of the header so far.
    pub fn octets(&self) -> usize {
        self.octets
    }

    /// The Message-ID, when there was one.
    pub fn message_id(&self) -> &str {
        &self.message_id
    }

    fn end_of_line(&mut self) {
        // A line of white space continues a field, as it does for whoever takes the header off (header_reader.rs).
        let line = self.line.strip_suffix(b"\r\n").unwrap_or(&self.line);
        if line.is_empty() {
            self.ended = true;
            self.line = Vec::new();
            return;
        }
        let continues = matches!(line.first(), Some(b' ' | b'\t'));
        if std::mem::replace(&mut self.folded, false) && continues {
            self.message_id = value(line);
            return;
        }
        let Some(colon) = line.iter().position(|b| *b == b':') else {
            return;
        };
        let (name, rest) = line.split_at(colon);
        let name = name.trim_ascii_end();
        if name.eq_ignore_ascii_case(b"Received") {
            self.hops += 1;
        } else if name.eq_ignore_ascii_case(b"Message-ID") && self.message_id.is_empty() {
            self.message_id = value(rest.get(1..).unwrap_or_default());
            self.folded = self.message_id.is_empty();
        }
    }
}

fn value(octets: &[u8]) -> String {
    one_line(&String::from_utf8_lossy(octets)).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{below, few};

    #[test]
    fn hops_and_identity_are_seen_however_the_text_is_cut() {
        let long = format!("Subject: {}\r\nReceived: z\r\n\r\n", "x".repeat(few(5000)));
        // The text, its hops, its identity.
        let rows: &[(&str, usize, &str)] = &[
            ("", 0, ""),
            ("\r\nReceived: in the body\r\n", 0, ""),
            (
                "Received: a\r\n\tby b\r\nRECEIVED : b\r\nReceived-SPF: c\r\nX: y\r\n\r\n",
                2,
                "",
            ),
            ("Message-ID: <1@x>\r\n\r\nReceived: no\r\n", 0, "<1@x>"),
            ("message-id:\r\n <2@x>\r\nReceived: a\r\n\r\n", 1, "<2@x>"),
            ("Message-ID:\r\n\t<2@x>\r\n\r\n", 0, "<2@x>"),
            ("Message-ID:\r\n\t<2@x>\r\n\t(y)\r\n\r\n", 0, "<2@x>"),
            ("X: y\r\n \t\r\nReceived: a\r\n\r\n", 1, ""), // F10
            ("Message-ID: <1@x>\r\nMessage-ID: <2@x>\r\n\r\n", 0, "<1@x>"),
            ("no field at all\r\nReceived: a\r\n\r\n", 1, ""),
            (&long, 1, ""),
        ];
        for (text, hops, id) in rows {
            for cut in below(text.len()) {
                let (before, after) = text.as_bytes().split_at(cut);
                let mut watch = HeaderWatch::default();
                watch.feed(before);
                watch.feed(after);
                assert_eq!(
                    (watch.hops(), watch.message_id()),
                    (*hops, *id),
                    "{text:?} cut at {cut}"
                );
            }
        }
    }
}
