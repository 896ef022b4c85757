//! Address lists of header fields (RFC 5322 3.4, with the obsolete forms of its 4.4), read in one pass.
//!
//! Said for each address: where in the field its addr-spec stands (so that it alone can be replaced and every
//! other octet stays), and what it says without comments and white space. What is broken is told with a reason
//! and never repaired into an address: a guess would send somebody's mail to somebody else. After a broken
//! address, reading goes on behind the next comma; an open quote or comment takes the rest of the field with it.
//!
//! More is taken than the grammar has where there is only one way to read it: `;` between addresses, a group
//! without its `;`, an unquoted `@` or `.` in a name before `<`.

use std::ops::Range;

use super::address::Invalid;

/// One address of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Where the addr-spec stands, without brackets and route; of a broken address, where all of it stands.
    pub range: Range<usize>,
    /// `local@domain`, or a bare `local`, its characters still to be checked by `Mailbox`; or why there is none.
    pub spec: Result<String, Invalid>,
}

/// The addresses of a field's body, in order.
#[derive(Debug, Clone)]
pub struct AddressList<'a> {
    body: &'a [u8],
    at: usize,
    /// Where the address being read began.
    begun: usize,
    in_group: bool,
}

/// Reads the body of a field such as To, folded or not.
pub fn addresses(body: &[u8]) -> AddressList<'_> {
    AddressList {
        body,
        at: 0,
        begun: 0,
        in_group: false,
    }
}

impl Iterator for AddressList<'_> {
    type Item = Address;

    fn next(&mut self) -> Option<Address> {
        while self.at < self.body.len() {
            self.begun = self.at;
            match self.element() {
                Ok(None) => {}
                Ok(Some((range, text))) => {
                    let spec = Ok(text);
                    return Some(Address { range, spec });
                }
                Err(reason) => {
                    let end = self.skip_element();
                    let range = self.without_space(self.begun..end);
                    let spec = Err(reason);
                    return Some(Address { range, spec });
                }
            }
        }
        None
    }
}

/// What stands next, comments and white space left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    /// An atom or a domain literal.
    Word,
    /// A quoted string.
    Quoted,
    /// One of the octets that separate words (RFC 5322 3.2.3 specials).
    Special(u8),
    /// Nothing more.
    End,
}

/// An addr-spec: where it stands, and its text.
type Spec = (Range<usize>, String);

impl AddressList<'_> {
    /// Reads up to and with the next separator; `None`: no address stood before it. After an error, the place is
    /// before what could not be read.
    fn element(&mut self) -> Result<Option<Spec>, Invalid> {
        let mut words = Words::default();
        loop {
            let (range, token) = self.token()?;
            match token {
                Token::End | Token::Special(b',' | b';') => {
                    let spec = match words.is_empty() {
                        true => None,
                        false => Some(words.bare().inspect_err(|_| self.at = range.start)?),
                    };
                    self.in_group &= token != Token::Special(b';');
                    return Ok(spec);
                }
                Token::Special(b':') if words.is_phrase() && !self.in_group => {
                    self.in_group = true;
                    self.begun = self.at;
                    words = Words::default();
                }
                Token::Special(b'<') => {
                    let spec = self.angle()?;
                    self.expect_separator()?;
                    return Ok(Some(spec));
                }
                Token::Word | Token::Quoted | Token::Special(b'.' | b'@') => {
                    words.take(self.body, range, token);
                }
                Token::Special(octet) => {
                    self.at = range.start;
                    return Err(Invalid(match octet {
                        b':' => "it has a : that ends no group's name",
                        b'>' => "it has a > without a <",
                        b')' => "it has a ) without a (",
                        _ => "it has a character that would need quotes",
                    }));
                }
            }
        }
    }

    /// Reads what follows a `<`, up to and with the `>`. A source route (RFC 5322 4.4) is passed over.
    fn angle(&mut self) -> Result<Spec, Invalid> {
        let mut words = Words::default();
        loop {
            let (range, token) = self.token()?;
            match token {
                Token::Special(b'>') => return words.enclosed(),
                Token::Special(b',') if words.is_route() => {}
                Token::Special(b':') if words.is_route() => words = Words::default(),
                Token::Word | Token::Quoted | Token::Special(b'.' | b'@') => {
                    words.take(self.body, range, token);
                }
                Token::End | Token::Special(_) => {
                    self.at = range.start;
                    return Err(Invalid("its < is not closed by a >"));
                }
            }
        }
    }

    /// After a `>`, nothing may stand before the next comma: which address was meant would be a guess.
    fn expect_separator(&mut self) -> Result<(), Invalid> {
        let (range, token) = self.token()?;
        match token {
            Token::End | Token::Special(b',') => {}
            Token::Special(b';') => self.in_group = false,
            _ => {
                self.at = range.start;
                return Err(Invalid("something other than a comma follows its >"));
            }
        }
        Ok(())
    }

    /// Passes over the rest of a broken address and its separator; returns where the separator stands.
    fn skip_element(&mut self) -> usize {
        loop {
            match self.token() {
                Err(_) => return self.body.len(),
                Ok((range, Token::End | Token::Special(b','))) => return range.start,
                Ok((range, Token::Special(b';'))) => {
                    self.in_group = false;
                    return range.start;
                }
                Ok(_) => {}
            }
        }
    }

    /// Reads one token. After an error there is nothing more to read.
    fn token(&mut self) -> Result<(Range<usize>, Token), Invalid> {
        self.skip_space_and_comments()?;
        let start = self.at;
        let token = match self.octet() {
            None => Token::End,
            Some(b'"') => {
                self.skip_enclosed(b'"', "its quotes are not closed")?;
                Token::Quoted
            }
            Some(b'[') => {
                self.skip_enclosed(b']', "its [ is not closed by a ]")?;
                Token::Word
            }
            Some(octet) if is_special(octet) => {
                self.at += 1;
                Token::Special(octet)
            }
            Some(_) => {
                let rest = self.body.get(start..).unwrap_or_default();
                let ends = |b: &u8| is_special(*b) || is_space(*b);
                self.at += rest.iter().position(ends).unwrap_or(rest.len());
                Token::Word
            }
        };
        Ok((start..self.at, token))
    }

    fn octet(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    /// Passes over CFWS (RFC 5322 3.2.2); comments nest.
    fn skip_space_and_comments(&mut self) -> Result<(), Invalid> {
        let mut depth = 0_usize;
        while let Some(octet) = self.octet() {
            match octet {
                b'(' => depth += 1,
                b')' if depth > 0 => depth -= 1,
                b'\\' if depth > 0 => self.at += 1,
                _ if depth > 0 || is_space(octet) => {}
                _ => return Ok(()),
            }
            self.at += 1;
        }
        self.at = self.body.len();
        match depth {
            0 => Ok(()),
            _ => Err(Invalid("its comment is not closed")),
        }
    }

    /// Passes over a quoted string or a domain literal, in which a backslash takes the meaning of the next octet.
    fn skip_enclosed(&mut self, close: u8, open: &'static str) -> Result<(), Invalid> {
        self.at += 1;
        while let Some(octet) = self.octet() {
            self.at += 1;
            match octet {
                b'\\' => self.at += 1,
                _ if octet == close => return Ok(()),
                _ => {}
            }
        }
        self.at = self.body.len();
        Err(Invalid(open))
    }

    fn without_space(&self, range: Range<usize>) -> Range<usize> {
        let text = self.body.get(range.clone()).unwrap_or_default();
        let lead = text.iter().take_while(|b| is_space(**b)).count();
        let trail = text.iter().rev().take_while(|b| is_space(**b)).count();
        if lead == text.len() {
            return range;
        }
        range.start + lead..range.end - trail
    }
}

fn is_space(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\r' | b'\n')
}

fn is_special(octet: u8) -> bool {
    b"()<>[]:;@\\,.\"".contains(&octet)
}

/// Words met so far: a name, or an addr-spec.
#[derive(Debug, Default)]
struct Words {
    text: Vec<u8>,
    range: Option<Range<usize>>,
    ats: usize,
    has_quotes: bool,
    /// Whether two words met with neither a dot nor an @ between them.
    has_gap: bool,
    after_word: bool,
}

impl Words {
    fn take(&mut self, body: &[u8], range: Range<usize>, token: Token) {
        let is_word = !matches!(token, Token::Special(_));
        self.has_gap |= is_word && self.after_word;
        self.after_word = is_word;
        self.has_quotes |= token == Token::Quoted;
        self.ats += usize::from(token == Token::Special(b'@'));
        // Only the line ends of folding go; its spaces belong to a quoted string (RFC 5322 3.2.4).
        let octets = body.get(range.clone()).unwrap_or_default();
        let unfolded = octets.iter().filter(|b| !matches!(**b, b'\r' | b'\n'));
        self.text.extend(unfolded);
        let start = self.range.as_ref().map_or(range.start, |r| r.start);
        self.range = Some(start..range.end);
    }

    fn is_empty(&self) -> bool {
        self.range.is_none()
    }

    /// Whether they can be the name of a group.
    fn is_phrase(&self) -> bool {
        !self.is_empty() && self.ats == 0
    }

    fn is_route(&self) -> bool {
        self.text.first() == Some(&b'@')
    }

    /// An addr-spec without brackets. A lone quoted string is somebody's name, not a mailbox here.
    fn bare(self) -> Result<Spec, Invalid> {
        if self.has_gap || (self.ats == 0 && self.has_quotes) {
            return Err(Invalid("it has a name but no address in < and >"));
        }
        self.spec()
    }

    /// An addr-spec that stood in brackets.
    fn enclosed(self) -> Result<Spec, Invalid> {
        if self.has_gap {
            return Err(Invalid("it has a space between its < and >"));
        }
        self.spec()
    }

    fn spec(self) -> Result<Spec, Invalid> {
        if self.ats > 1 {
            return Err(Invalid("it has more than one @"));
        }
        if self.ats == 0 && self.text.starts_with(b"=?") && self.text.ends_with(b"?=") {
            return Err(Invalid("it is an encoded name (RFC 2047), not an address"));
        }
        let range = self
            .range
            .ok_or(Invalid("there is nothing between its < and >"))?;
        let text = String::from_utf8(self.text)
            .map_err(|_| Invalid("it has octets that are not UTF-8"))?;
        Ok((range, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::few;

    /// A field's body; of each address, the octets it stands on and what it says; a broken one says `!`.
    type Row = (&'static str, &'static [(&'static str, &'static str)]);
    const LISTS: &[Row] = &[
        ("", &[]),
        (" \r\n ,, ", &[]),
        ("a@b.example", &[("a@b.example", "a@b.example")]),
        ("root (Cron Daemon)", &[("root", "root")]), // cron's From
        ("a@x, b@y", &[("a@x", "a@x"), ("b@y", "b@y")]),
        ("a@x; b@y;", &[("a@x", "a@x"), ("b@y", "b@y")]),
        ("A B <a@x>, <b>", &[("a@x", "a@x"), ("b", "b")]),
        ("\"Doe, John\" <j@x>", &[("j@x", "j@x")]), // 3.1 quoted comma
        ("\"a \\\" , b\" <j@x>", &[("j@x", "j@x")]),
        (
            "friends: a@x, b;, c",
            &[("a@x", "a@x"), ("b", "b"), ("c", "c")],
        ), // 3.1 group
        ("undisclosed-recipients:;", &[]), // I22
        ("undisclosed-recipients:", &[]),
        ("A: ; B: b@x;", &[("b@x", "b@x")]),
        ("A: a@x", &[("a@x", "a@x")]),
        (
            "j@x (Doe, (nested \\) , ) John), b@y",
            &[("j@x", "j@x"), ("b@y", "b@y")],
        ), // comment with comma
        ("=?utf-8?Q?J=C3=B6rg?=\r\n <j@x>", &[("j@x", "j@x")]), // encoded word, folded
        ("=?utf-8?B?Sg==?=", &[("=?utf-8?B?Sg==?=", "!")]),     // nullmailer#79
        ("\"John Doe\"", &[("\"John Doe\"", "!")]),
        ("John Doe", &[("John Doe", "!")]),
        ("John Doe, a@x", &[("John Doe", "!"), ("a@x", "a@x")]),
        ("John a@x, b@y", &[("John a@x", "!"), ("b@y", "b@y")]),
        ("John Q. Public <a@x>", &[("a@x", "a@x")]), // obs-phrase
        ("a@x <a@x>", &[("a@x", "a@x")]),
        ("<@a,@b:c@d>", &[("c@d", "c@d")]), // obs-route
        ("<@a , @b : c@d>, e@f", &[("c@d", "c@d"), ("e@f", "e@f")]),
        (
            "a . b @ (at) c . d (x)",
            &[("a . b @ (at) c . d", "a.b@c.d")],
        ),
        ("< (x) a@b\r\n >", &[("a@b", "a@b")]),
        ("\"a b\"@x", &[("\"a b\"@x", "\"a b\"@x")]),
        ("\"a,\r\n b\"@x", &[("\"a,\r\n b\"@x", "\"a, b\"@x")]), // I22
        ("<\"a>b\"@x>", &[("\"a>b\"@x", "\"a>b\"@x")]),
        ("a@[192.0.2.1]", &[("a@[192.0.2.1]", "a@[192.0.2.1]")]),
        ("o'neil@x", &[("o'neil@x", "o'neil@x")]), // BusyBox drops it
        ("<>, a@x", &[("<>", "!"), ("a@x", "a@x")]), // I22
        ("<a@x, b@y", &[("<a@x", "!"), ("b@y", "b@y")]),
        ("<a,b@x>", &[("<a", "!"), ("b@x>", "!")]),
        ("<a@x> <b@y>, c", &[("<a@x> <b@y>", "!"), ("c", "c")]),
        ("<a b@x>", &[("<a b@x>", "!")]),
        ("a@x, \"open, b@y", &[("a@x", "a@x"), ("\"open, b@y", "!")]), // I22
        ("a@x, (open, b@y", &[("a@x", "a@x"), ("(open, b@y", "!")]),
        ("a@x (open, b@y", &[("a@x (open, b@y", "!")]),
        ("\"a\\", &[("\"a\\", "!")]),
        ("(\\", &[("(\\", "!")]),
        ("a@[1.2, b", &[("a@[1.2, b", "!")]),
        ("a@b@c", &[("a@b@c", "!")]),
        ("<@a:b@c@d>", &[("<@a:b@c@d>", "!")]),
        ("a@b:c@d", &[("a@b:c@d", "!")]),
        ("A: B: b@x;, c", &[("B: b@x", "!"), ("c", "c")]),
        (": a", &[(": a", "!")]),
        ("a), b", &[("a)", "!"), ("b", "b")]),
        ("a\\b, c", &[("a\\b", "!"), ("c", "c")]),
        ("\u{e9}@x", &[("\u{e9}@x", "\u{e9}@x")]),
    ];

    #[test]
    fn lists_are_read_without_a_guess() {
        for (body, expected) in LISTS {
            let found: Vec<(&str, String)> = addresses(body.as_bytes())
                .map(|a| (&body[a.range], a.spec.unwrap_or_else(|_| "!".to_owned())))
                .collect();
            let found: Vec<(&str, &str)> = found.iter().map(|(at, is)| (*at, &**is)).collect();
            assert_eq!(found, *expected, "{body:?}");
        }
    }

    #[test]
    fn octets_that_are_not_utf8_make_no_address() {
        let specs: Vec<_> = addresses(b"J\xf6rg <j@x>, j\xf6rg@x")
            .map(|a| a.spec.is_ok())
            .collect();
        assert_eq!(specs, [true, false]);
    }

    #[test]
    fn long_lists_take_linear_time() {
        // I21, and what could make a reader go back: each of these would take minutes if it were quadratic.
        for piece in [
            "someone@host.example,\r\n ",
            "<",
            "a<b,",
            "(",
            "\"\\",
            "a:",
            "<@a,",
            "<a>\"b\",",
        ] {
            let body = piece.repeat(few(1_000_000) / piece.len());
            assert!(addresses(body.as_bytes()).count() <= body.len());
        }
    }
}
