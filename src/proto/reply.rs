//! Replies (RFC 5321 4.2) with their enhanced status codes (RFC 3463): the type, the parser for the replies a
//! remote server gives, and every reply this server gives as a named constant.

use std::fmt;

/// An enhanced status code (RFC 3463): class 2, 4 or 5; subject; detail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
