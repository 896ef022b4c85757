//! The macros of SPF (RFC 7208 7): the names that a record makes of the client and the sender.

use std::fmt::Write as _;
use std::net::IpAddr;

/// A part of a domain-spec.
#[derive(Debug, PartialEq)]
pub enum Part {
    Text(String),
    Macro(Macro),
}

/// A macro: what it stands for, and how that is turned and cut (RFC 7208 7.1).
#[derive(Debug, PartialEq)]
pub struct Macro {
    pub letter: char,
    /// Written as a capital: the value is to stand in a URL.
    pub escaped: bool,
    /// How many parts on the right are kept; 0: all.
    keep: usize,
    reverse: bool,
    delimiters: String,
}

/// Text with macros in it; `more`: those of an explanation too.
pub fn macros(text: &str, more: bool) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = rest.get(c.len_utf8()..)?;
        if c != '%' {
            if !c.is_ascii_graphic() {
                return None;
            }
            plain.push(c);
            continue;
        }
        let next = rest.chars().next()?;
        rest = rest.get(next.len_utf8()..)?;
        match next {
            '%' => plain.push('%'),
            '_' => plain.push(' '),
            '-' => plain.push_str("%20"),
            '{' => {
                let (inner, after) = rest.split_once('}')?;
                rest = after;
                if !plain.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                }
                parts.push(Part::Macro(Macro::parse(inner, more)?));
            }
            _ => return None,
        }
    }
    if !plain.is_empty() {
        parts.push(Part::Text(plain));
    }
    Some(parts)
}

impl Macro {
    fn parse(text: &str, more: bool) -> Option<Self> {
        let letter = text.chars().next().filter(char::is_ascii)?;
        let rest = text.get(1..)?;
        let lower = letter.to_ascii_lowercase();
        let known = if more { "slodiphvcrt" } else { "slodiphv" };
        if !known.contains(lower) {
            return None;
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = rest.split_at(digits);
        let keep = match number {
            "" => 0,
            number => number.parse().ok().filter(|n| *n > 0)?,
        };
        let (reverse, delimiters) = match rest.strip_prefix(['r', 'R']) {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        delimiters
            .chars()
            .all(|c| ".-+,/_=".contains(c))
            .then(|| Self {
                letter: lower,
                escaped: letter.is_ascii_uppercase(),
                keep,
                reverse,
                delimiters: delimiters.to_owned(),
            })
    }

    /// The value cut at its delimiters, turned round if asked, and its last parts kept.
    pub fn transform(&self, value: &str) -> String {
        let delimiters = if self.delimiters.is_empty() {
            "."
        } else {
            &self.delimiters
        };
        let mut parts: Vec<&str> = value.split(|c| delimiters.contains(c)).collect();
        if self.reverse {
            parts.reverse();
        }
        let from = if self.keep == 0 {
            0
        } else {
            parts.len().saturating_sub(self.keep)
        };
        parts.get(from..).unwrap_or_default().join(".")
    }
}

/// Everything but what a URL has without an escape (RFC 3986 2.3).
pub fn escaped(value: &str) -> String {
    let mut out = String::new();
    for octet in value.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            out.push(char::from(octet));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{octet:02X}");
        }
    }
    out
}

/// An address as `i` has it: of IPv6 each digit is a label.
pub fn dotted(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => {
            let digits = v6
                .octets()
                .map(|octet| format!("{:x}.{:x}", octet >> 4, octet & 15));
            digits.join(".")
        }
    }
}
