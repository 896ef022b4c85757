//! The answer of a web server (RFC 9112): where it ends, and what is in it. A server may hold the connection open
//! behind the end, or break it.
//!
//! What is given bounds what is kept: whoever reads says how much that may be.

/// An answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Its first line.
    pub status: String,
    /// Its type, in lower case, without parameters.
    pub kind: String,
    /// What it is about.
    pub body: Vec<u8>,
}

impl Answer {
    /// Its code, if this is HTTP.
    pub fn code(&self) -> Option<&str> {
        self.status.strip_prefix("HTTP/1.")?.split(' ').nth(1)
    }

    /// That it is not what was hoped for, after "the web server " or "it ".
    pub fn unwanted(&self) -> String {
        let shown: String = self.status.chars().take(80).collect();
        format!("answers with {shown:?}")
    }
}

/// Reads one.
#[derive(Debug, Default)]
pub struct Reader {
    answer: Answer,
    next: Next,
    /// What came and could not be taken yet.
    rest: Vec<u8>,
}

/// What comes next.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Next {
    #[default]
    Head,
    /// So many octets, and then the end.
    Counted(usize),
    /// Octets until the connection is closed.
    Uncounted,
    /// The line with a chunk's size (RFC 9112 7.1).
    Size,
    /// So many octets of a chunk.
    Chunk(usize),
    /// The end of its line.
    ChunkEnd,
    /// Lines behind the last chunk.
    Trailer,
    Nothing,
}

const BROKEN: &str = "broke off";
const MEANINGLESS: &str = "sends an answer that cannot be understood";

impl Reader {
    /// Takes what came. True: that was all.
    ///
    /// # Errors
    /// What is wrong with it, after "the web server ".
    pub fn feed(&mut self, octets: &[u8]) -> Result<bool, &'static str> {
        self.rest.extend_from_slice(octets);
        while self.step()? {}
        Ok(self.next == Next::Nothing)
    }

    /// The answer, when all of it has come or the connection was closed.
    ///
    /// # Errors
    /// It is not whole; after "the web server ".
    pub fn end(self) -> Result<Answer, &'static str> {
        match self.next {
            Next::Nothing | Next::Uncounted => Ok(self.answer),
            _ => Err(BROKEN),
        }
    }

    /// Takes one part. False: more has to come before.
    fn step(&mut self) -> Result<bool, &'static str> {
        match self.next {
            Next::Head => {
                let Some(head) = self.take_to(b"\r\n\r\n") else {
                    return Ok(false);
                };
                self.next = self.begin(&head)?;
            }
            Next::Counted(left) => match self.take_body(left) {
                0 => self.next = Next::Nothing,
                left => self.next = Next::Counted(left),
            },
            Next::Chunk(left) => match self.take_body(left) {
                0 => self.next = Next::ChunkEnd,
                left => self.next = Next::Chunk(left),
            },
            Next::Uncounted => {
                self.take_body(usize::MAX);
            }
            Next::Size | Next::ChunkEnd | Next::Trailer => {
                let Some(line) = self.take_to(b"\r\n") else {
                    return Ok(false);
                };
                self.next = match (self.next, line.is_empty()) {
                    (Next::Size, _) => match size(&line).ok_or(MEANINGLESS)? {
                        0 => Next::Trailer,
                        size => Next::Chunk(size),
                    },
                    (Next::ChunkEnd, true) => Next::Size,
                    (Next::ChunkEnd, false) => return Err(MEANINGLESS),
                    (_, true) => Next::Nothing,
                    (_, false) => Next::Trailer,
                };
            }
            Next::Nothing => return Ok(false),
        }
        Ok(!self.rest.is_empty())
    }

    /// All before these octets, which go, too.
    fn take_to(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        let at = self.rest.windows(end.len()).position(|w| w == end)?;
        let taken = self.rest.drain(..at + end.len()).take(at);
        Some(taken.collect())
    }

    /// Takes as many octets as are there; how many are left.
    fn take_body(&mut self, left: usize) -> usize {
        let count = left.min(self.rest.len());
        self.answer.body.extend(self.rest.drain(..count));
        left - count
    }

    /// What follows on this header. An interim answer goes before the true one (RFC 9110 15.2).
    fn begin(&mut self, head: &[u8]) -> Result<Next, &'static str> {
        let head = String::from_utf8_lossy(head);
        let mut lines = head.split("\r\n");
        self.answer.status = lines.next().unwrap_or_default().to_owned();
        let fields = lines.filter_map(|line| line.split_once(':'));
        let value = |name: &str| {
            let mut fields = fields.clone();
            let found = fields.find(|(n, _)| n.trim().eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.trim().to_ascii_lowercase())
        };
        match self.answer.code() {
            Some(code) if code.starts_with('1') => return Ok(Next::Head),
            None | Some("204" | "304") => return Ok(Next::Nothing),
            Some(_) => {}
        }
        let kind = value("content-type").unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default();
        kind.trim().clone_into(&mut self.answer.kind);
        match (value("transfer-encoding"), value("content-length")) {
            (Some(coding), _) if coding == "chunked" => Ok(Next::Size),
            (Some(_), _) => Err("sends it in a coding that was not asked for"),
            (None, Some(length)) => match number(&length, 10).ok_or(MEANINGLESS)? {
                0 => Ok(Next::Nothing),
                length => Ok(Next::Counted(length)),
            },
            (None, None) => Ok(Next::Uncounted),
        }
    }
}

/// A chunk's size; what stands behind a semicolon says nothing of it.
fn size(line: &[u8]) -> Option<usize> {
    let line = std::str::from_utf8(line).ok()?;
    number(line.split(';').next()?.trim(), 16)
}

/// A number without a sign.
fn number(digits: &str, radix: u32) -> Option<usize> {
    let good = digits.chars().all(|c| c.is_digit(radix));
    good.then(|| usize::from_str_radix(digits, radix).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether all of it had come before the connection was closed, and the answer.
    fn read(pieces: &[&str]) -> Result<(bool, Answer), &'static str> {
        let (mut reader, mut whole) = (Reader::default(), false);
        for piece in pieces {
            whole = reader.feed(piece.as_bytes())?;
        }
        reader.end().map(|answer| (whole, answer))
    }

    type Ended<'t> = Result<(bool, &'t str), &'t str>;

    #[test]
    fn an_answer_ends_where_it_says() {
        // An answer, whether it ends before the connection does, and its body.
        let rows: &[(&str, Ended<'_>)] = &[
            ("HTTP/1.0 200 OK\r\n\r\nab", Ok((false, "ab"))),
            ("HTTP/1.1 200 OK\r\n\r\n", Ok((false, ""))),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab",
                Ok((true, "ab")),
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length:2\r\n\r\nabc",
                Ok((true, "ab")),
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                Ok((true, "")),
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
                Err(BROKEN),
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nab",
                Err(MEANINGLESS),
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nab",
                Err(MEANINGLESS),
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
                Err(MEANINGLESS),
            ),
            ("HTTP/1.1 204 No\r\n\r\n", Ok((true, ""))),
            (
                "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n",
                Ok((true, "")),
            ),
            (
                "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab",
                Ok((true, "ab")),
            ),
            ("HTTP/1.1 103 Early Hints\r\n\r\n", Err(BROKEN)),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\na\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
                Ok((true, "a0123456789")),
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n2\r\nab\r\n0\r\nx: y\r\n\r\n",
                Ok((true, "ab")),
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
                Err(BROKEN),
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n",
                Err(BROKEN),
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
                Err(MEANINGLESS),
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
                Err(MEANINGLESS),
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
                Err(MEANINGLESS),
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
                Err(MEANINGLESS),
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nab",
                Err(BROKEN),
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx",
                Err("sends it in a coding that was not asked for"),
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n",
                Err(BROKEN),
            ),
            ("SSH-2.0-x\r\n\r\n", Ok((true, ""))),
            ("", Err(BROKEN)),
        ];
        for (text, expected) in rows {
            let octets: Vec<String> = text.chars().map(|c| c.to_string()).collect();
            let octets: Vec<&str> = octets.iter().map(String::as_str).collect();
            for pieces in [&[*text][..], &octets] {
                let found = read(pieces);
                let found = found.map(|(whole, answer)| (whole, answer.body));
                let expected = expected.map(|(whole, body)| (whole, body.as_bytes().to_vec()));
                assert_eq!(found, expected, "{text}");
            }
        }
    }

    #[test]
    fn an_answer_says_what_it_is() {
        let rows = [
            (
                "HTTP/1.1 200 OK\r\nContent-Type: Text/Plain; charset=x\r\n\r\n",
                Some("200"),
                "text/plain",
            ),
            (
                "HTTP/1.0 201\r\ncontent-type:text/html\r\n\r\n",
                Some("201"),
                "text/html",
            ),
            ("HTTP/1.1 200 OK\r\n\r\n", Some("200"), ""),
            ("HTTP/2 200\r\n\r\n", None, ""),
        ];
        for (text, code, kind) in rows {
            let (_, answer) = read(&[text]).unwrap();
            assert_eq!((answer.code(), &*answer.kind), (code, kind), "{text}");
        }
    }
}
