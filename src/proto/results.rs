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

/// The name before the first semicolon, without comments, folding, quotes and version.
fn authority(value: &[u8]) -> String {
    let mut text = String::new();
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for c in String::from_utf8_lossy(value).chars() {
        match c {
            _ if escaped => {
                escaped = false;
                if depth == 0 {
                    text.push(c);
                }
            }
            '\\' => escaped = true,
            '"' if depth == 0 => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth = depth.saturating_sub(1),
            ';' if !quoted && depth == 0 => break,
            c if depth == 0 => text.push(c),
            _ => {}
        }
    }
    text.split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned()
}
