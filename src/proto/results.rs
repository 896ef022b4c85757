//! What was found out about a message's origin, in the words of RFC 8601: the field Authentication-Results.

use std::fmt::{self, Write as _};

use super::header::{Field, Header};
use super::outcome::one_line;

/// The field's name.
pub const FIELD: &str = "Authentication-Results";

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Word {
    /// There was nothing to check.
    None,
    /// All is well.
    Pass,
    /// It is not whom it claims to be.
    Fail,
    /// It is probably not.
    Softfail,
    /// It would be well, but not by our rules.
    Policy,
    /// Nothing is said either way.
    Neutral,
    /// It cannot be told now.
    Temperror,
    /// What was to be checked is broken.
    Permerror,
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Softfail => "softfail",
            Self::Policy => "policy",
            Self::Neutral => "neutral",
            Self::Temperror => "temperror",
            Self::Permerror => "permerror",
        })
    }
}

impl Word {
    /// Reads it.
    pub fn parse(word: &str) -> Option<Self> {
        [
            Self::None,
            Self::Pass,
            Self::Fail,
            Self::Softfail,
            Self::Policy,
            Self::Neutral,
            Self::Temperror,
            Self::Permerror,
        ]
        .into_iter()
        .find(|w| w.to_string().eq_ignore_ascii_case(word))
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Which: `spf`, `dkim`, `dmarc`, `arc`, `iprev`.
    pub method: &'static str,
    /// How it went.
    pub word: Word,
    /// Why, for people; may be empty.
    pub why: String,
    /// What was checked, as `smtp.mailfrom` and its value.
    pub properties: Vec<(&'static str, String)>,
}

impl fmt::Display for Checked {
    /// As it stands in the field.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.method, self.word)?;
        if !self.why.is_empty() {
            write!(f, " ({})", comment(&self.why))?;
        }
        for (name, value) in &self.properties {
            write!(f, " {name}={}", value_of(value))?;
        }
        Ok(())
    }
}

/// The longest comment or value, in characters; a stranger chose most of it.
const MAX_WORD: usize = 200;

/// What can stand in a comment (RFC 5322 3.2.2).
fn comment(text: &str) -> String {
    let text: String = one_line(text).chars().take(MAX_WORD).collect();
    text.chars()
        .map(|c| {
            if matches!(c, '(' | ')' | '\\') || !c.is_ascii() {
                '?'
            } else {
                c
            }
        })
        .collect()
}

/// A value: as it is, or in quotes (RFC 8601 2.2).
fn value_of(text: &str) -> String {
    let text: String = one_line(text).chars().take(MAX_WORD).collect();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.@".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) && text.matches('@').count() <= 1 {
        return text;
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

/// The field, with its line end, one check a line. `by`: the name we answer for.
pub fn field(by: &str, checks: &[Checked]) -> String {
    format!("{FIELD}: {}", value(by, checks))
}

/// The field's value with its line end.
pub fn value(by: &str, checks: &[Checked]) -> String {
    let mut text = by.to_owned();
    if checks.is_empty() {
        text.push_str("; none");
    }
    for check in checks {
        // Writing to a String cannot fail.
        let _ = write!(text, ";\r\n\t{check}");
    }
    text + "\r\n"
}

/// Whether a field claims to be of this name: what a stranger wrote there must go (RFC 8601 5).
pub fn is_forged(field: &Field, by: &str) -> bool {
    field.is(FIELD) && authority(field.body()).eq_ignore_ascii_case(by)
}

/// Removes what others have put there in our name.
pub fn strip_forged(header: &mut Header, by: &str) {
    header.retain(|field| !is_forged(field, by));
}

/// What all fields of this name say (RFC 8617 4.1.1 puts it into one): the checks, without the name. `None`: there is no
/// such field.
pub fn told(header: &Header, by: &str) -> Option<String> {
    let ours = header.fields().iter().filter(|field| is_forged(field, by));
    let checks = ours.map(|field| {
        let (_, checks) = halves(field.body());
        checks
            .trim_end_matches(|c: char| c == ';' || c.is_whitespace())
            .trim_start()
            .to_owned()
    });
    let all: Vec<String> = checks.filter(|checks| !checks.is_empty()).collect();
    (!all.is_empty()).then(|| all.join(";\r\n\t"))
}

fn authority(value: &[u8]) -> String {
    halves(value).0
}

/// The name before the first semicolon, without comments, folding, quotes and version; and what stands behind it.
fn halves(value: &[u8]) -> (String, String) {
    let (mut name, mut rest) = (String::new(), String::new());
    let (mut depth, mut quoted, mut escaped, mut ended) = (0_usize, false, false, false);
    for c in String::from_utf8_lossy(value).chars() {
        match c {
            c if ended => rest.push(c),
            _ if escaped => {
                escaped = false;
                if depth == 0 {
                    name.push(c);
                }
            }
            '\\' => escaped = true,
            '"' if depth == 0 => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth = depth.saturating_sub(1),
            ';' if !quoted && depth == 0 => ended = true,
            c if depth == 0 => name.push(c),
            _ => {}
        }
    }
    // The version stands behind white space (RFC 8601 2.2). A name has no slash in it: what reads one as a sign of a
    // version must not find a field of a stranger that seems to be ours; nor what takes a name with its root.
    let mut words = name.split(|c: char| c.is_whitespace() || c == '/');
    let first = words.find(|word| !word.is_empty()).unwrap_or_default();
    (first.strip_suffix('.').unwrap_or(first).to_owned(), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8601 B: what others write, by whom it is, and what it says.
    #[test]
    fn the_examples_of_the_rfc_name_their_authority() {
        let odd = "foo.example.net (foobar) 1 (baz);\r\n\tdkim (Because I like it) / 1 (One yay) = (wait for it) fail\r\n\t\
                   policy (A dot can go here) . (like that) expired\r\n\t(this surprised me) = (as I wasn't expecting it) 1362471462";
        let rows = [
            ("example.org 1; none", "example.org", "none"),
            (
                "example.com;\r\n\tspf=pass smtp.mailfrom=example.net",
                "example.com",
                "spf=pass smtp.mailfrom=example.net",
            ),
            (
                "example.com;\r\n\tauth=pass (cram-md5) smtp.auth=sender@example.net;\r\n\tspf=pass smtp.mailfrom=example.net",
                "example.com",
                "auth=pass (cram-md5) smtp.auth=sender@example.net;\r\n\tspf=pass smtp.mailfrom=example.net",
            ),
            (
                "example.com; iprev=pass\r\n\tpolicy.iprev=192.0.2.200",
                "example.com",
                "iprev=pass\r\n\tpolicy.iprev=192.0.2.200",
            ),
            (odd, "foo.example.net", "dkim (Because I like it)"),
            // And what would pass for ours with a reader that is less exact.
            ("(a;b) Example.COM; x=y", "example.com", "x=y"),
            ("\"example.com\"; x=y;", "example.com", "x=y"),
            ("example.com/1; x=y", "example.com", "x=y"),
            ("example.com / 1; x=y", "example.com", "x=y"),
            ("example.com\t(old)\r\n 1; x=y", "example.com", "x=y"),
            ("example.com.; x=y", "example.com", "x=y"),
            ("exam\\ple.com; x=y", "example.com", "x=y"),
            ("example.com", "example.com", ""),
        ];
        for (value, by, told) in rows {
            let field = format!("{FIELD}: {value}\r\n");
            let field = Field::parse(field.as_bytes()).unwrap();
            assert!(is_forged(&field, by), "{value}");
            assert!(!is_forged(&field, "other.example"), "{value}");
            let mut header = Header::default();
            header.append(field);
            let found = super::told(&header, by).unwrap_or_default();
            assert!(found.starts_with(told), "{value}: {found}");
            assert_eq!(found.is_empty(), told.is_empty(), "{value}");
            strip_forged(&mut header, by);
            assert!(header.fields().is_empty(), "{value}");
        }
    }

    /// RFC 8601 B.2, B.4: the same, written here; and nothing that a stranger chose ends the field or begins another.
    #[test]
    fn what_was_found_is_written_as_in_the_rfc() {
        let check = |method, word, why: &str, name, value: &str| Checked {
            method,
            word,
            why: why.to_owned(),
            properties: vec![(name, value.to_owned())],
        };
        let rows = [
            (vec![], "example.org; none"),
            (
                vec![check("spf", Word::Pass, "", "smtp.mailfrom", "example.net")],
                "example.com;\r\n\tspf=pass smtp.mailfrom=example.net",
            ),
            (
                vec![
                    check("iprev", Word::Pass, "", "policy.iprev", "192.0.2.200"),
                    check("dkim", Word::Fail, "bad (sig) \\", "header.i", "@x.example"),
                    check("spf", Word::None, "", "smtp.mailfrom", "a b\"\r\nc: ;d@x"),
                ],
                "example.com;\r\n\tiprev=pass policy.iprev=192.0.2.200;\r\n\tdkim=fail (bad ?sig? ?) header.i=@x.example;\r\n\t\
                 spf=none smtp.mailfrom=\"a b\\\"  c: ;d@x\"",
            ),
        ];
        for (checks, expected) in rows {
            let by = expected.split(';').next().unwrap();
            let found = value(by, &checks);
            assert_eq!(found, format!("{expected}\r\n"));
        }
    }
}
