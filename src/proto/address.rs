//! Addresses, parsed once into types that cannot be wrong (RFC 5321 4.1.2, RFC 6531 3.3).
//!
//! Whoever holds a [`Domain`] or a [`Mailbox`] holds a valid one: no control character, no line end, no byte
//! that is not UTF-8, and a length that fits every buffer of the protocol. Nothing past here looks at the
//! syntax of an address again.

use std::fmt;

mod domain;

pub use domain::Domain;

/// The longest path, brackets included (RFC 5321 4.5.3.1.3).
const MAX_PATH: usize = 256;

/// Why a text is no address; the words come after "is not a valid address: ".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invalid(pub &'static str);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A character beyond ASCII that may stand in an address: text, no control (RFC 6531 3.3).
fn is_utf8_text(c: char) -> bool {
    !c.is_ascii() && !c.is_control()
}

/// A character of an unquoted local part (RFC 5322 3.2.3 atext).
fn is_atext(c: char) -> bool {
    matches!(c, 'a'..='z' | 'A'..='Z' | '0'..='9' | '!' | '#'..='\'' | '*' | '+' | '-' | '/' | '=' | '?')
        || matches!(c, '^'..='`' | '{'..='~')
        || is_utf8_text(c)
}

/// An address with a local part and a domain. The local part is kept without its quoting, case as it came.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mailbox {
    local: String,
    domain: Domain,
}

impl Mailbox {
    /// Parses `local@domain`, with no brackets round it.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match split(text)? {
            (local, Some(domain)) => Self::new(local, Domain::parse(domain)?),
            (_, None) => Err(Invalid("it has no @ and no domain")),
        }
    }

    /// Parses `local@domain`, or a bare `local`, which then gets `domain`.
    pub fn qualify(text: &str, domain: &Domain) -> Result<Self, Invalid> {
        match split(text)? {
            (local, Some(own)) => Self::new(local, Domain::parse(own)?),
            (local, None) => Self::new(local, domain.clone()),
        }
    }

    /// Puts an already unquoted local part and a domain together.
    pub fn new(local: String, domain: Domain) -> Result<Self, Invalid> {
        if local.is_empty() {
            return Err(Invalid("there is nothing before its @"));
        }
        if local.chars().any(char::is_control) {
            return Err(Invalid("it has a control character"));
        }
        let made = Self { local, domain };
        // Quotes and backslashes make a local part twice as long, and two octets, at most.
        let most = 2 * made.local.len() + made.domain.as_str().len() + "\"\"@<>".len();
        if most > MAX_PATH && made.to_string().len() + 2 > MAX_PATH {
            return Err(Invalid("it is longer than 254 octets"));
        }
        Ok(made)
    }

    /// The local part without quotes or backslashes.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The domain.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// Whether it has nothing beyond ASCII.
    pub fn is_ascii(&self) -> bool {
        self.local.is_ascii() && self.domain.as_str().is_ascii()
    }

    /// The same address, its domain written in A-labels.
    #[must_use]
    pub fn with_ascii_domain(self) -> Self {
        let domain = self.domain.into_ascii();
        Self { domain, ..self }
    }

    /// The address as a server without SMTPUTF8 (RFC 6531) can be told it, its domain in A-labels. `None`: there is no
    /// such form, as its local part is beyond ASCII and only its own system may change that.
    pub fn to_ascii(&self) -> Option<Self> {
        let local = Some(self.local.clone()).filter(|local| local.is_ascii())?;
        Self::new(local, self.domain.clone().into_ascii()).ok()
    }
}

impl fmt::Display for Mailbox {
    /// As it is written in a command or a header: with the least quoting that works (RFC 5321 4.1.2).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_dot_atom(&self.local) {
            return write!(f, "{}@{}", self.local, self.domain);
        }
        f.write_str("\"")?;
        for c in self.local.chars() {
            if matches!(c, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        write!(f, "\"@{}", self.domain)
    }
}

/// Whether a local part can be written without quotes.
fn is_dot_atom(local: &str) -> bool {
    local
        .split('.')
        .all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

/// Splits an address into its unquoted local part and, when there is one, its domain.
fn split(text: &str) -> Result<(String, Option<&str>), Invalid> {
    if text.len() > MAX_PATH {
        return Err(Invalid("it is longer than 254 octets"));
    }
    if text.chars().any(char::is_control) {
        return Err(Invalid("it has a control character"));
    }
    if let Some(quoted) = text.strip_prefix('"') {
        let (local, rest) = unquote(quoted)?;
        return match rest.strip_prefix('@') {
            Some(domain) => Ok((local, Some(domain))),
            None if rest.is_empty() => Ok((local, None)),
            None => Err(Invalid("something other than @ follows its quoted part")),
        };
    }
    // The last @ decides, so that no second one can hide in an unquoted local part.
    let (local, domain) = match text.rsplit_once('@') {
        Some((local, domain)) => (local, Some(domain)),
        None => (text, None),
    };
    if local.is_empty() {
        return Err(Invalid("there is nothing before its @"));
    }
    if !is_dot_atom(local) {
        return Err(Invalid(
            "the part before its @ has a character or a dot that would need quotes",
        ));
    }
    Ok((local.to_owned(), domain))
}

/// Reads a quoted string whose first quote is gone; returns what it says and what follows its last quote.
fn unquote(text: &str) -> Result<(String, &str), Invalid> {
    let mut local = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((local, text.get(at + 1..).unwrap_or_default())),
            '\\' => match chars.next() {
                Some((_, escaped)) => local.push(escaped),
                None => break,
            },
            _ => local.push(c),
        }
    }
    Err(Invalid("its quotes are not closed"))
}

/// Takes `<...>` off the front of a text: what stands between the brackets, and what follows them. A bracket in
/// quotes is part of the address. A source route (`@a,@b:user@c`, RFC 5321 C) is dropped, as section 3.6.1 asks.
pub fn take_path(text: &str) -> Result<(&str, &str), Invalid> {
    let open = Invalid("it is not enclosed in < and >");
    let inner = text.strip_prefix('<').ok_or(open)?;
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in inner.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '>' if !quoted => {
                let (path, rest) = inner.split_at(at);
                return Ok((without_route(path), rest.get(1..).unwrap_or_default()));
            }
            _ => {}
        }
    }
    Err(open)
}

fn without_route(path: &str) -> &str {
    match path.split_once(':') {
        Some((route, last)) if route.starts_with('@') && !route.contains('"') => last,
        _ => path,
    }
}

/// The envelope sender: a mailbox, or nobody (RFC 5321 4.5.5), to whom no report is ever sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ReversePath {
    /// `<>`: reports and other machine mail.
    Null,
    /// Who hears of failures.
    Mailbox(Mailbox),
}

impl ReversePath {
    /// The mailbox, unless it is the null sender.
    pub fn mailbox(&self) -> Option<&Mailbox> {
        match self {
            Self::Null => None,
            Self::Mailbox(mailbox) => Some(mailbox),
        }
    }
}

impl fmt::Display for ReversePath {
    /// With its brackets, as in `MAIL FROM:` and in a Return-Path field.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("<>"),
            Self::Mailbox(mailbox) => write!(f, "<{mailbox}>"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::domain::MAX_LABEL;
    use super::*;

    /// What is sent, and how it is written again; `None` where it must be refused.
    const ADDRESSES: &[(&str, Option<&str>)] = &[
        ("alice@test.example", Some("alice@test.example")),
        ("Alice@TEST.Example.", Some("Alice@test.example")),
        ("\"alice\"@test.example", Some("alice@test.example")), // C39, R24, R25
        ("\"al ice\"@test.example", Some("\"al ice\"@test.example")), // C40
        ("\"a\\\"b\"@test.example", Some("\"a\\\"b\"@test.example")),
        (
            "\"bob@other.example\"@test.example",
            Some("\"bob@other.example\"@test.example"),
        ), // C4: one domain decides
        (
            "bob%other.example@test.example",
            Some("bob%other.example@test.example"),
        ), // C1
        ("o'neil+tag@test.example", Some("o'neil+tag@test.example")),
        ("josé@exämple.example", Some("josé@exämple.example")),
        ("alice@[127.0.0.1]", Some("alice@[127.0.0.1]")),
        ("alice@[IPv6:::1]", Some("alice@[ipv6:::1]")),
        ("alice@my_host.example", Some("alice@my_host.example")), // R23
        ("alice@[999.1.1.1]", None),                              // C8
        ("bob@other.example@test.example", None),                 // C3
        (".@test.example", None),                                 // C19
        ("..@test.example", None),
        ("alice.@test.example", None),
        (".alice@test.example", None),
        ("al..ice@test.example", None),
        ("@test.example", None), // C24
        ("alice@", None),
        ("@", None),
        ("alice", None),
        ("<alice@test.example>", None),
        (";sleep 60;", None), // C10
        ("a b@test.example", None),
        ("a\tb@test.example", None),
        ("a\x7fb@test.example", None),      // C28
        ("al\0ice@test.example", None),     // C29
        ("\"al\nice\"@test.example", None), // C30
        ("\"open@test.example", None),
        ("\"a\"b@test.example", None),
        ("a@-x.example", None),
        ("a@x..example", None),
        ("", None),
    ];

    /// C35: who writes a domain in U-labels and who writes it in A-labels mean the same mailbox.
    #[test]
    fn a_domain_is_one_domain_in_either_form() {
        let rows = [
            ("a@bücher.example", "a@xn--bcher-kva.example", true),
            ("a@BÜCHER.example", "a@XN--Bcher-KVA.example.", true),
            ("é@日本.example", "é@xn--wgv71a.example", true),
            ("a@bücher.example", "A@xn--bcher-kva.example", false),
            ("a@bücher.example", "a@bucher.example", false),
        ];
        for (one, other, same) in rows {
            let [one, other] = [one, other].map(|text| Mailbox::parse(text).unwrap());
            assert_eq!(one == other, same, "{one} {other}");
            assert_eq!(one.cmp(&other).is_eq(), same, "{one} {other}");
            let both = std::collections::HashSet::from([&one, &other]);
            assert_eq!(both.len() == 1, same, "{one} {other}");
        }
        // DNS has no room for a label that is short as it is written.
        assert!(Domain::parse(&format!("{}.example", "é".repeat(10))).is_ok());
        assert!(Domain::parse(&format!("{}.example", "éπжאعनกბ가日本語東京都渋谷éπжאع")).is_err());
    }

    #[test]
    fn addresses_are_parsed_once_and_written_the_same() {
        for (text, expected) in ADDRESSES {
            assert_eq!(
                Mailbox::parse(text).ok().map(|m| m.to_string()).as_deref(),
                *expected,
                "{text:?}"
            );
        }
    }

    #[test]
    fn lengths_are_bounded() {
        let label = "a".repeat(MAX_LABEL);
        assert!(Domain::parse(&format!("{label}.example")).is_ok()); // C21
        assert!(Domain::parse(&format!("a{label}.example")).is_err());
        let domain = format!("{label}.{label}.{label}");
        let local = "l".repeat(MAX_PATH - 2 - 1 - domain.len());
        assert!(Mailbox::parse(&format!("{local}@{domain}")).is_ok()); // C22: 256 with its brackets
        assert!(Mailbox::parse(&format!("l{local}@{domain}")).is_err());
        assert!(Domain::parse(&"a.".repeat(129)).is_err());
    }

    #[test]
    fn paths_are_taken_off_with_their_brackets() {
        let rows: &[(&str, Option<(&str, &str)>)] = &[
            ("<a@b.example> SIZE=1", Some(("a@b.example", " SIZE=1"))),
            ("<>", Some(("", ""))),
            ("<\"a>b\"@c.example>x", Some(("\"a>b\"@c.example", "x"))),
            (
                "<\"a\\\">b\"@c.example>",
                Some(("\"a\\\">b\"@c.example", "")),
            ),
            (
                "<@x.example,@y.example:alice@test.example>",
                Some(("alice@test.example", "")),
            ), // C5
            ("<a@b.example", None),
            ("a@b.example", None),
        ];
        for (text, expected) in rows {
            assert_eq!(take_path(text).ok(), *expected, "{text:?}");
        }
    }

    #[test]
    fn a_bare_name_gets_the_domain() {
        let here = Domain::parse("pi.example").unwrap();
        assert_eq!(
            Mailbox::qualify("root", &here).unwrap().to_string(),
            "root@pi.example"
        );
        assert_eq!(
            Mailbox::qualify("\"a b\"", &here).unwrap().to_string(),
            "\"a b\"@pi.example"
        );
        assert_eq!(
            Mailbox::qualify("a@b.example", &here).unwrap().to_string(),
            "a@b.example"
        );
        assert!(Mailbox::qualify("", &here).is_err());
    }
}
