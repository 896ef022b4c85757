//! Replies (RFC 5321 4.2) with their enhanced status codes (RFC 3463): the type, and the parser for the replies
//! that a remote server gives. Those of this server stand in `replies.rs`.

use std::cmp::Reverse;
use std::fmt;

use super::outcome::one_line;

/// An enhanced status code (RFC 3463): class 2, 4 or 5; subject; detail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Enhanced(pub u8, pub u16, pub u16);

impl Enhanced {
    /// Parses `5.1.1`; `None` for anything else, also a class that is not 2, 4 or 5.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let class = parts.next()?;
        let (subject, detail) = (number(parts.next()?)?, number(parts.next()?)?);
        match (class, parts.next()) {
            ("2", None) => Some(Self(2, subject, detail)),
            ("4", None) => Some(Self(4, subject, detail)),
            ("5", None) => Some(Self(5, subject, detail)),
            _ => None,
        }
    }
}

/// One to three digits (RFC 3463 2).
fn number(text: &str) -> Option<u16> {
    (matches!(text.len(), 1..=3) && text.bytes().all(|b| b.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

impl fmt::Display for Enhanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// A reply that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Three digits, 200 to 599.
    pub code: u16,
    /// The first enhanced code in it whose class is the code's first digit (RFC 2034 4).
    pub enhanced: Option<Enhanced>,
    /// What stood after the code on each line: without control characters, never empty of lines.
    pub lines: Vec<String>,
}

impl Reply {
    /// The first digit, which decides (RFC 5321 4.3.2): 2 done, 3 go on, 4 not now, 5 never.
    pub fn class(&self) -> u8 {
        match self.code {
            200..=299 => 2,
            300..=399 => 3,
            400..=499 => 4,
            _ => 5,
        }
    }

    /// The words of all lines on one, without their enhanced codes.
    pub fn text(&self) -> String {
        self.words(0)
    }

    /// The same with the enhanced code of the first line, if it has one.
    pub fn whole(&self) -> String {
        self.words(1)
    }

    /// The same with "..." for each of these texts, the longest first, as it may have another in it: some servers quote
    /// the password that they were sent, and their words go to terminals, logs and reports.
    pub fn without(&self, secrets: &[String]) -> Self {
        let mut reply = self.clone();
        let mut secrets: Vec<&String> = secrets.iter().filter(|s| !s.is_empty()).collect();
        secrets.sort_by_key(|secret| Reverse(secret.len()));
        for secret in secrets {
            for line in &mut reply.lines {
                *line = line.replace(secret, "...");
            }
        }
        reply
    }

    fn words(&self, whole: usize) -> String {
        let lines = self.lines.iter().enumerate();
        let words = lines.map(|(at, line)| match at < whole {
            true => line.trim_start(),
            false => split_enhanced(line).1,
        });
        words
            .filter(|w| !w.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// Takes an enhanced code off the front of a reply's line.
fn split_enhanced(line: &str) -> (Option<Enhanced>, &str) {
    let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
    match Enhanced::parse(first) {
        Some(enhanced) => (Some(enhanced), rest.trim_start()),
        None => (None, line),
    }
}

/// Why what a server sends is no reply; the words come after "the server's answer ".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Puts replies together from octets that arrive cut anywhere, and holds a bounded number of them.
#[derive(Debug, Default)]
pub struct ReplyReader {
    line: Vec<u8>,
    octets: usize,
    code: Option<u16>,
    lines: Vec<String>,
}

impl ReplyReader {
    /// The longest line: that of an AUTH exchange (RFC 4954 4 names 12,288 octets) and some. RFC 5321 4.5.3.1.5
    /// allows 512.
    pub const MAX_LINE: usize = 16 * 1024;
    /// The most lines: three times what the longest answer to EHLO has.
    pub const MAX_LINES: usize = 100;
    /// The most octets of a whole reply.
    pub const MAX_REPLY: usize = 64 * 1024;

    /// Takes octets up to the end of one reply: how many were taken, and the reply once it is whole. What was
    /// not taken belongs to the next reply. After an error the two sides are out of step, and the connection
    /// has no further use.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(usize, Option<Reply>), Malformed> {
        let mut taken = 0;
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            taken += part.len();
            self.octets += part.len();
            if self.line.len() + part.len() > Self::MAX_LINE {
                return Err(Malformed("has a line of more than 16,384 octets"));
            }
            if self.octets > Self::MAX_REPLY {
                return Err(Malformed("is longer than 65,536 octets"));
            }
            self.line.extend_from_slice(part);
            if !part.ends_with(b"\n") {
                break;
            }
            let line = std::mem::take(&mut self.line);
            if self.take_line(&line)? {
                return Ok((taken, Some(self.finish())));
            }
            if self.lines.len() >= Self::MAX_LINES {
                return Err(Malformed("has more than 100 lines"));
            }
        }
        Ok((taken, None))
    }

    /// Takes a line with its line end; true when it was the last of its reply.
    fn take_line(&mut self, line: &[u8]) -> Result<bool, Malformed> {
        // A LF alone ends a line too: here it can smuggle nothing, since a reply holds no commands.
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (digits, rest) = line
            .split_at_checked(3)
            .ok_or(Malformed("does not begin with three digits"))?;
        let code = parse_code(digits)?;
        let (last, text) = match rest.split_first() {
            None => (true, rest), // a bare code (RFC 5321 4.2)
            Some((b' ', text)) => (true, text),
            Some((b'-', text)) => (false, text),
            Some(_) => {
                return Err(Malformed(
                    "has neither a space nor a hyphen after its three digits",
                ));
            }
        };
        // RFC 5321 4.2.1 wants the same code on every line. Where only the last digits differ the last line
        // decides; one that says yes and no at once is no answer.
        if self.code.is_some_and(|before| before / 100 != code / 100) {
            return Err(Malformed("changes its mind between its lines"));
        }
        self.code = Some(code);
        let text = one_line(&String::from_utf8_lossy(text));
        self.lines.push(text.trim_end().to_owned());
        Ok(last)
    }

    fn finish(&mut self) -> Reply {
        let whole = std::mem::take(self);
        let code = whole.code.unwrap_or_default(); // take_line() has set it
        let mut codes = whole
            .lines
            .iter()
            .filter_map(|line| split_enhanced(line).0)
            .filter(|e| u16::from(e.0) == code / 100);
        Reply {
            code,
            enhanced: codes.next(),
            lines: whole.lines,
        }
    }
}

/// Three digits, the first of which is 2 to 5: SMTP has no replies of the first class (RFC 5321 4.2.1).
fn parse_code(digits: &[u8]) -> Result<u16, Malformed> {
    let text = std::str::from_utf8(digits).unwrap_or_default();
    let code = text
        .parse()
        .ok()
        .filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    match code {
        Some(code @ 200..=599) => Ok(code),
        Some(_) => Err(Malformed("has a code that SMTP does not have")),
        None => Err(Malformed("does not begin with three digits")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds octets cut into pieces of one size: all replies, and how it ended.
    fn read(bytes: &[u8], cut: usize) -> (Vec<Reply>, Option<Malformed>) {
        let (mut reader, mut replies) = (ReplyReader::default(), Vec::new());
        for piece in bytes.chunks(cut) {
            let mut rest = piece;
            while !rest.is_empty() {
                match reader.feed(rest) {
                    Ok((taken, reply)) => {
                        assert!(taken > 0);
                        replies.extend(reply);
                        rest = &rest[taken..];
                    }
                    Err(malformed) => return (replies, Some(malformed)),
                }
            }
        }
        (replies, None)
    }

    #[test]
    fn replies_are_read_the_same_however_they_are_cut() {
        // What is sent; code, enhanced code and text of each reply.
        type Row = (
            &'static str,
            &'static [(u16, Option<Enhanced>, &'static str)],
        );
        let rows: &[Row] = &[
            ("250 ok\r\n", &[(250, None, "ok")]),
            ("220\r\n", &[(220, None, "")]), // K2: a bare code
            ("250-\r\n250 x\r\n", &[(250, None, "x")]),
            (
                "250-2.1.0 a\r\n250 2.1.0 b\r\n",
                &[(250, Some(Enhanced(2, 1, 0)), "a b")],
            ),
            (
                "550 5.1.1 no user\r\n",
                &[(550, Some(Enhanced(5, 1, 1)), "no user")],
            ),
            ("550 4.1.1 no user\r\n", &[(550, None, "no user")]), // R131: the classes differ
            ("550 5.1 no\r\n", &[(550, None, "5.1 no")]),
            ("250 a\n354 b\n", &[(250, None, "a"), (354, None, "b")]), // LF alone
            ("250-a\r\n251 b\r\n", &[(251, None, "a b")]), // K9: same class, the last line decides
            (
                "421 \x1b[2Jbye\0\rX\u{85}\r\n",
                &[(421, None, " [2Jbye  X")],
            ), // K7
            ("250 \tspaced  \r\n", &[(250, None, " spaced")]),
        ];
        for (sent, expected) in rows {
            for cut in 1..=sent.len() {
                let (replies, malformed) = read(sent.as_bytes(), cut);
                assert_eq!(malformed, None, "{sent:?}");
                let got: Vec<(u16, Option<Enhanced>, String)> = replies
                    .iter()
                    .map(|r| (r.code, r.enhanced, r.text()))
                    .collect();
                let expected: Vec<_> = expected
                    .iter()
                    .map(|(c, e, t)| (*c, *e, (*t).to_owned()))
                    .collect();
                assert_eq!(got, expected, "{sent:?} in pieces of {cut}");
            }
        }
    }

    #[test]
    fn what_is_secret_is_left_out() {
        let reply = |line: &str| read(format!("535-5.7.8 x\r\n535 {line}\r\n").as_bytes(), 99).0;
        // What the server says, what is secret, and what is left of it.
        let rows: &[(&str, &[&str], &str)] = &[
            (
                "bad: pw AHUAcHc= pw",
                &["pw", "AHUAcHc="],
                "x bad: ... ... ...",
            ),
            ("bad: AHUAcHc=", &["HU", "AHUAcHc=", "c="], "x bad: ..."),
            ("bad", &["", "pw"], "x bad"),
            ("bad", &[], "x bad"),
        ];
        for (line, secrets, expected) in rows {
            let secrets: Vec<String> = secrets.iter().map(|s| (*s).to_owned()).collect();
            let shown = reply(line)[0].without(&secrets);
            assert_eq!((shown.code, shown.text().as_str()), (535, *expected));
        }
    }

    #[test]
    fn what_is_no_reply_is_told() {
        let rows: &[(&[u8], &str)] = &[
            (b"abc\r\n", "does not begin with three digits"), // K10
            (b"25\r\n", "does not begin with three digits"),
            (b"\r\n", "does not begin with three digits"),
            (b"+50 x\r\n", "does not begin with three digits"),
            (b"\xff\xff\xff\r\n", "does not begin with three digits"),
            (b"9999 x\r\n", "has a code that SMTP does not have"),
            (b"000 x\r\n", "has a code that SMTP does not have"),
            (b"150 x\r\n", "has a code that SMTP does not have"),
            (
                b"250_x\r\n",
                "has neither a space nor a hyphen after its three digits",
            ),
            (b"250-a\r\n550 b\r\n", "changes its mind between its lines"), // K9
            (
                b"HTTP/1.1 400 Bad Request\r\n",
                "does not begin with three digits",
            ),
        ];
        for (sent, expected) in rows {
            for cut in 1..=sent.len() {
                let name = String::from_utf8_lossy(sent);
                assert_eq!(
                    read(sent, cut).1,
                    Some(Malformed(expected)),
                    "{name:?} in pieces of {cut}"
                );
            }
        }
    }

    #[test]
    fn a_reply_is_bounded() {
        let lines = b"250-x\r\n".repeat(10_000); // K5
        assert_eq!(
            read(&lines, 4096).1,
            Some(Malformed("has more than 100 lines"))
        );
        let line = vec![b'2'; 1_000_000]; // K6
        assert_eq!(
            read(&line, 4096).1,
            Some(Malformed("has a line of more than 16,384 octets"))
        );
        let mut long = b"250-".to_vec();
        long.extend([b'x'; 10_000]);
        long.extend(b"\r\n");
        assert_eq!(
            read(&long.repeat(50), 1000).1,
            Some(Malformed("is longer than 65,536 octets"))
        );
        // 12,288 octets of an AUTH exchange pass (R145).
        let mut challenge = b"334 ".to_vec();
        challenge.extend([b'x'; 12_288]);
        challenge.extend(b"\r\n");
        assert_eq!(read(&challenge, 1000).0.len(), 1);
    }
}
