//! A record of SPF, read whole (RFC 7208 4.6, 5): its directives, and what each matches by.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use super::MAX_RECORD;
use super::macros::{Part, macros};
use crate::proto::results::Word;

/// The text behind `v=spf1`.
pub fn version(record: &str) -> Option<&str> {
    let (version, rest) = record.split_at_checked(6)?;
    let ends = rest.is_empty() || rest.starts_with(' ');
    (version.eq_ignore_ascii_case("v=spf1") && ends).then_some(rest)
}

/// A record, read.
#[derive(Debug, Default)]
pub struct Record {
    pub directives: Vec<Directive>,
    pub redirect: Option<Vec<Part>>,
}

/// What it says of those whom a mechanism matches (RFC 7208 4.6.2).
#[derive(Debug)]
pub struct Directive {
    pub result: Word,
    pub mechanism: Mechanism,
    /// As it stands in the record.
    pub text: String,
}

/// Whom it matches (RFC 7208 5); numbers are the lengths of prefixes, for IPv4 and IPv6.
#[derive(Debug, PartialEq)]
pub enum Mechanism {
    All,
    Include(Vec<Part>),
    A(Option<Vec<Part>>, u8, u8),
    Mx(Option<Vec<Part>>, u8, u8),
    Ptr(Option<Vec<Part>>),
    Net(IpAddr, u8),
    Exists(Vec<Part>),
}

impl Record {
    /// The terms behind `v=spf1`.
    ///
    /// # Errors
    /// What is wrong with it, for the result permerror.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_RECORD || !text.is_ascii() {
            return Err("the record is too long, or not ASCII".to_owned());
        }
        let mut record = Self::default();
        let mut explained = false;
        for term in text.split(' ').filter(|term| !term.is_empty()) {
            let bad = || format!("{term} cannot be read");
            let name_end = term.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)));
            let (name, rest) = term.split_at(name_end.unwrap_or(term.len()));
            if let Some(value) = rest.strip_prefix('=') {
                if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
                    return Err(bad());
                }
                match name.to_ascii_lowercase().as_str() {
                    "redirect" if record.redirect.is_none() => {
                        record.redirect = Some(domain_spec(value).ok_or_else(bad)?);
                    }
                    "exp" if !explained => {
                        domain_spec(value).ok_or_else(bad)?;
                        explained = true;
                    }
                    "redirect" | "exp" => return Err(format!("{name} is there twice")),
                    // What is not known is passed over, but has a grammar (RFC 7208 6).
                    _ => drop(macros(value, true).ok_or_else(bad)?),
                }
                continue;
            }
            record
                .directives
                .push(Directive::parse(term).ok_or_else(bad)?);
        }
        if record
            .directives
            .iter()
            .any(|d| d.mechanism == Mechanism::All)
        {
            record.redirect = None;
        }
        Ok(record)
    }
}

impl Directive {
    fn parse(term: &str) -> Option<Self> {
        let (result, rest) = match term.split_at_checked(1)? {
            ("+", rest) => (Word::Pass, rest),
            ("-", rest) => (Word::Fail, rest),
            ("~", rest) => (Word::Softfail, rest),
            ("?", rest) => (Word::Neutral, rest),
            _ => (Word::Pass, term),
        };
        let end = rest.find([':', '/']).unwrap_or(rest.len());
        let (name, value) = rest.split_at(end);
        Some(Self {
            result,
            mechanism: mechanism(&name.to_ascii_lowercase(), value)?,
            text: term.to_owned(),
        })
    }
}

fn mechanism(name: &str, value: &str) -> Option<Mechanism> {
    let spec = value.strip_prefix(':');
    Some(match name {
        "all" if value.is_empty() => Mechanism::All,
        "include" => Mechanism::Include(domain_spec(spec?)?),
        "exists" => Mechanism::Exists(domain_spec(spec?)?),
        "ptr" if value.is_empty() => Mechanism::Ptr(None),
        "ptr" => Mechanism::Ptr(Some(domain_spec(spec?)?)),
        "a" | "mx" => {
            let (spec, v4, v6) = with_prefixes(value)?;
            let spec = match spec {
                "" => None,
                spec => Some(domain_spec(spec.strip_prefix(':')?)?),
            };
            match name {
                "a" => Mechanism::A(spec, v4, v6),
                _ => Mechanism::Mx(spec, v4, v6),
            }
        }
        "ip4" => {
            let (net, bits) = network(spec?, 32)?;
            Mechanism::Net(IpAddr::V4(net.parse::<Ipv4Addr>().ok()?), bits)
        }
        "ip6" => {
            let (net, bits) = network(spec?, 128)?;
            Mechanism::Net(IpAddr::V6(net.parse::<Ipv6Addr>().ok()?), bits)
        }
        _ => return None,
    })
}

fn network(text: &str, all: u8) -> Option<(&str, u8)> {
    match text.split_once('/') {
        Some((net, bits)) => Some((net, prefix(bits, all)?)),
        None => Some((text, all)),
    }
}

/// A prefix length, without needless zeros.
fn prefix(text: &str, most: u8) -> Option<u8> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let plain = text == "0" || !text.starts_with('0');
    let bits: u8 = text.parse().ok().filter(|_| is_number && plain)?;
    (bits <= most).then_some(bits)
}

/// `:spec/24//64` -> the part before the lengths, and both. A slash before them belongs to a name, or to a macro.
fn with_prefixes(value: &str) -> Option<(&str, u8, u8)> {
    let is_length = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (value, v6) = match value.rsplit_once("//") {
        Some((spec, length)) if is_length(length) => (spec, prefix(length, 128)?),
        _ => (value, 128),
    };
    let (spec, v4) = match value.rsplit_once('/') {
        Some((spec, length)) if is_length(length) => (spec, prefix(length, 32)?),
        _ => (value, 32),
    };
    Some((spec, v4, v6))
}

/// A domain-spec: macros and text that ends as a name does (RFC 7208 7.1).
fn domain_spec(text: &str) -> Option<Vec<Part>> {
    let parts = macros(text, false)?;
    if let Some(Part::Text(last)) = parts.last() {
        let last = last.strip_suffix('.').unwrap_or(last);
        let (before, label) = last
            .rsplit_once('.')
            .map_or((None, last), |(b, l)| (Some(b), l));
        let of_letters = !label.bytes().all(|b| b.is_ascii_digit());
        let plain = label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let edges = !label.starts_with('-') && !label.ends_with('-');
        if label.is_empty() || !(of_letters && plain && edges) || before.is_none() {
            return None;
        }
    }
    (!parts.is_empty()).then_some(parts)
}

/// Whether a network has an address in it; the other kind of address never.
pub fn covers(net: IpAddr, v4: u8, v6: u8, address: IpAddr) -> bool {
    match (net, address) {
        (IpAddr::V4(net), IpAddr::V4(address)) => {
            let mask = u32::MAX
                .checked_shl(32 - u32::from(v4.min(32)))
                .unwrap_or(0);
            net.to_bits() & mask == address.to_bits() & mask
        }
        (IpAddr::V6(net), IpAddr::V6(address)) => {
            let mask = u128::MAX
                .checked_shl(128 - u32::from(v6.min(128)))
                .unwrap_or(0);
            net.to_bits() & mask == address.to_bits() & mask
        }
        _ => false,
    }
}
