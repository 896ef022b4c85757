//! The domain of an address, or an address literal in its place (RFC 5321 4.1.2, 4.1.3), which is the same domain in
//! U-labels and in A-labels.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use super::super::idna;
use super::{Invalid, is_utf8_text};

/// The longest domain (RFC 5321 4.5.3.1.2).
const MAX_DOMAIN: usize = 255;
/// The longest label of a domain (RFC 1035 2.3.4).
pub const MAX_LABEL: usize = 63;

/// A host or mail domain, in lower case, or an address literal such as `[192.0.2.1]`.
///
/// Labels outside ASCII (RFC 6531) are kept as they came; written as A-labels it is the same domain. An underscore is
/// let through: RFC 5321 has no place for it, but hosts with one exist. A final dot is taken off.
#[derive(Debug, Clone)]
pub struct Domain {
    text: String,
    /// The same in A-labels, where the text is beyond ASCII.
    ascii: Option<Box<str>>,
}

impl Domain {
    /// Parses a domain or an address literal.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.len() > MAX_DOMAIN {
            return Err(Invalid("its domain is longer than 255 octets"));
        }
        if let Some(inner) = text.strip_prefix('[') {
            return parse_literal(inner);
        }
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Err(Invalid("its domain is empty"));
        }
        check_lengths(text)?;
        for label in text.split('.') {
            if label.starts_with('-') || label.ends_with('-') {
                return Err(Invalid(
                    "its domain has a label that begins or ends with a hyphen",
                ));
            }
            if !label
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_' || is_utf8_text(c))
            {
                return Err(Invalid(
                    "its domain has a character that no domain may have",
                ));
            }
        }
        let text = text.to_lowercase();
        let ascii = match text.is_ascii() {
            true => None,
            false => idna::to_ascii(&text).map(Cow::into_owned),
        };
        let domain = Self {
            ascii: ascii.map(String::into_boxed_str),
            text,
        };
        if domain.ascii().is_ascii() {
            check_lengths(domain.ascii())?;
            return Ok(domain);
        }
        Err(Invalid("its domain has no form in A-labels"))
    }

    /// The domain's text, in lower case, without a final dot.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The same as DNS and older servers know it, in A-labels (RFC 5890 2.3.2.1).
    pub fn ascii(&self) -> &str {
        self.ascii.as_deref().unwrap_or(&self.text)
    }

    /// The same domain, written in A-labels.
    #[must_use]
    pub fn into_ascii(self) -> Self {
        let Self { text, ascii } = self;
        Self {
            text: ascii.map_or(text, Into::into),
            ascii: None,
        }
    }
}

impl PartialEq for Domain {
    fn eq(&self, other: &Self) -> bool {
        self.ascii() == other.ascii()
    }
}

impl Eq for Domain {}

impl Hash for Domain {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.ascii().hash(state);
    }
}

impl PartialOrd for Domain {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Domain {
    fn cmp(&self, other: &Self) -> Ordering {
        self.ascii().cmp(other.ascii())
    }
}

/// Whether a domain and its labels are as short as DNS wants them.
fn check_lengths(text: &str) -> Result<(), Invalid> {
    if text.len() > MAX_DOMAIN {
        return Err(Invalid("its domain is longer than 255 octets"));
    }
    for label in text.split('.') {
        if label.is_empty() {
            return Err(Invalid("its domain has an empty label"));
        }
        if label.len() > MAX_LABEL {
            return Err(Invalid("its domain has a label longer than 63 octets"));
        }
    }
    Ok(())
}

/// `192.0.2.1]` or `IPv6:2001:db8::1]`: an address literal without its first bracket (RFC 5321 4.1.3).
fn parse_literal(inner: &str) -> Result<Domain, Invalid> {
    let wrong = Invalid("its address literal is neither [1.2.3.4] nor [IPv6:...]");
    let inner = inner.strip_suffix(']').ok_or(wrong)?;
    if let Some(v6) = inner
        .get(..5)
        .filter(|p| p.eq_ignore_ascii_case("IPv6:"))
        .and_then(|_| inner.get(5..))
    {
        let address: std::net::Ipv6Addr = v6.parse().map_err(|_| wrong)?;
        return Ok(literal(format!("[ipv6:{address}]")));
    }
    let address: std::net::Ipv4Addr = inner.parse().map_err(|_| wrong)?;
    Ok(literal(format!("[{address}]")))
}

fn literal(text: String) -> Domain {
    Domain { text, ascii: None }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
