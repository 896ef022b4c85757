//! SPF (RFC 7208): whether a domain lets this address send mail in its name.
//!
//! A record is read whole before anything in it counts, so that a broken one never half-works. Whatever it leads to is
//! bounded: ten terms that ask DNS, two answers of nothing, ten names of an address or of exchangers.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use super::mx::NoAnswer;
use super::names::{Names, confirmed};
use super::results::Word;

/// Terms that ask DNS (RFC 7208 4.6.4).
const MAX_LOOKUPS: usize = 10;
/// Answers without a record.
const MAX_VOID: usize = 2;
/// Exchangers of one domain.
const MAX_EXCHANGERS: usize = 10;
/// The longest record that is read. A thousand terms lead nowhere honest.
const MAX_RECORD: usize = 8 * 1024;
/// The longest name.
const MAX_NAME: usize = 253;

/// Who sends.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    /// From where.
    pub address: IpAddr,
    /// What it called itself.
    pub helo: &'a str,
    /// The local part of the sender; `postmaster` where there is none.
    pub local: &'a str,
    /// The domain of the sender.
    pub domain: &'a str,
}

/// What a domain says of a client, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The result.
    pub word: Word,
    /// The term that decided, or what is wrong.
    pub why: String,
}

/// Whether the sender's domain lets the client send (RFC 7208 4).
pub fn check(client: Client<'_>, names: &mut dyn Names) -> Answer {
    let client = Client {
        address: client.address.to_canonical(),
        ..client
    };
    let mut check = Check {
        client,
        names,
        lookups: 0,
        voids: 0,
    };
    match check.host(client.domain) {
        Ok(answer) => answer,
        Err(Stop(word, why)) => Answer { word, why },
    }
}

/// What ends a check at once.
struct Stop(Word, String);

fn broken(why: impl Into<String>) -> Stop {
    Stop(Word::Permerror, why.into())
}

struct Check<'c, 'n> {
    client: Client<'c>,
    names: &'n mut dyn Names,
    lookups: usize,
    voids: usize,
}

impl Check<'_, '_> {
    fn host(&mut self, domain: &str) -> Result<Answer, Stop> {
        let none = |why: &str| Answer {
            word: Word::None,
            why: why.to_owned(),
        };
        if !is_name(domain) {
            return Ok(none("there is no such domain"));
        }
        let records = match self.names.txt(domain) {
            Ok(records) => records,
            Err(NoAnswer::Temporary(why)) => return Err(Stop(Word::Temperror, why)),
            Err(_) => Vec::new(),
        };
        let mut records = records.iter().filter_map(|r| version(r));
        let Some(text) = records.next() else {
            return Ok(none("the domain has no record"));
        };
        if records.next().is_some() {
            return Err(broken(format!("{domain} has two records")));
        }
        let record = Record::parse(text).map_err(broken)?;
        for directive in &record.directives {
            if self.matches(&directive.mechanism, domain)? {
                return Ok(Answer {
                    word: directive.result,
                    why: format!("{domain}: {}", directive.text),
                });
            }
        }
        let Some(redirect) = &record.redirect else {
            return Ok(Answer {
                word: Word::Neutral,
                why: format!("{domain} says nothing about this address"),
            });
        };
        self.count()?;
        let target = self.expand(redirect, domain)?;
        let answer = self.host(&target)?;
        match answer.word {
            Word::None => Err(broken(format!(
                "{domain} leads to {target}, which has no record"
            ))),
            _ => Ok(answer),
        }
    }

    fn matches(&mut self, mechanism: &Mechanism, domain: &str) -> Result<bool, Stop> {
        let address = self.client.address;
        Ok(match mechanism {
            Mechanism::All => true,
            Mechanism::Net(net, bits) => covers(*net, *bits, *bits, address),
            Mechanism::Include(spec) => {
                self.count()?;
                let target = self.expand(spec, domain)?;
                match self.host(&target)?.word {
                    Word::Pass => true,
                    Word::None => {
                        return Err(broken(format!("{target} is included, and has no record")));
                    }
                    _ => false,
                }
            }
            Mechanism::A(spec, v4, v6) => {
                self.count()?;
                let target = self.target(spec.as_deref(), domain)?;
                let found = self.addresses(&target, address.is_ipv6())?;
                found.iter().any(|a| covers(*a, *v4, *v6, address))
            }
            Mechanism::Mx(spec, v4, v6) => {
                self.count()?;
                let target = self.target(spec.as_deref(), domain)?;
                let answer = self.names.mx(&target);
                let found = self.or_void(answer)?;
                if found.len() > MAX_EXCHANGERS {
                    return Err(broken(format!(
                        "{target} has more than {MAX_EXCHANGERS} exchangers"
                    )));
                }
                for exchanger in found.iter().filter(|e| !e.name.is_empty()) {
                    let found = self.addresses(&exchanger.name, address.is_ipv6())?;
                    if found.iter().any(|a| covers(*a, *v4, *v6, address)) {
                        return Ok(true);
                    }
                }
                false
            }
            Mechanism::Ptr(spec) => {
                self.count()?;
                let target = self.target(spec.as_deref(), domain)?.to_ascii_lowercase();
                // Whatever is wrong with somebody's names, it is no match (RFC 7208 5.5).
                let found = confirmed(self.names, address).unwrap_or_default();
                found.iter().any(|name| is_below(name, &target))
            }
            Mechanism::Exists(spec) => {
                self.count()?;
                let target = self.expand(spec, domain)?;
                !self.addresses(&target, false)?.is_empty()
            }
        })
    }

    fn count(&mut self) -> Result<(), Stop> {
        self.lookups += 1;
        if self.lookups > MAX_LOOKUPS {
            return Err(broken(format!(
                "more than {MAX_LOOKUPS} look-ups are asked for"
            )));
        }
        Ok(())
    }

    fn addresses(&mut self, name: &str, v6: bool) -> Result<Vec<IpAddr>, Stop> {
        let answer = if is_name(name) {
            self.names.addresses(name, v6)
        } else {
            Err(NoAnswer::NoSuchDomain)
        };
        self.or_void(answer)
    }

    /// The records of an answer. That there are none is allowed twice (RFC 7208 4.6.4).
    fn or_void<T>(&mut self, answer: Result<Vec<T>, NoAnswer>) -> Result<Vec<T>, Stop> {
        match answer {
            Ok(found) => Ok(found),
            Err(NoAnswer::Temporary(why)) => Err(Stop(Word::Temperror, why)),
            Err(_) => {
                self.voids += 1;
                if self.voids > MAX_VOID {
                    return Err(broken(format!("more than {MAX_VOID} names lead nowhere")));
                }
                Ok(Vec::new())
            }
        }
    }

    fn target(&mut self, spec: Option<&[Part]>, domain: &str) -> Result<String, Stop> {
        spec.map_or(Ok(domain.to_owned()), |spec| self.expand(spec, domain))
    }

    /// The name that a domain-spec means (RFC 7208 7).
    fn expand(&mut self, spec: &[Part], domain: &str) -> Result<String, Stop> {
        let mut out = String::new();
        for part in spec {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Macro(macro_) => {
                    let value = self.value(macro_.letter, domain);
                    let value = macro_.transform(&value);
                    out.push_str(&if macro_.escaped {
                        escaped(&value)
                    } else {
                        value
                    });
                }
            }
            if out.len() > MAX_RECORD {
                return Err(broken("a name is too long"));
            }
        }
        let mut name = out.strip_suffix('.').unwrap_or(&out);
        // Of a name that is too long, the beginning goes, label by label (RFC 7208 7.3).
        while name.len() > MAX_NAME {
            match name.split_once('.') {
                Some((_, rest)) => name = rest,
                None => return Err(broken("a name is too long")),
            }
        }
        Ok(name.to_owned())
    }

    fn value(&mut self, letter: char, domain: &str) -> String {
        let client = self.client;
        match letter {
            's' => format!("{}@{}", client.local, client.domain),
            'l' => client.local.to_owned(),
            'o' => client.domain.to_owned(),
            'd' => domain.to_owned(),
            'i' => dotted(client.address),
            'h' => client.helo.to_owned(),
            'v' if client.address.is_ipv6() => "ip6".to_owned(),
            'v' => "in-addr".to_owned(),
            'p' => {
                let found = confirmed(self.names, client.address).unwrap_or_default();
                let own = found.iter().find(|name| is_below(name, domain));
                own.or(found.first())
                    .cloned()
                    .unwrap_or_else(|| "unknown".to_owned())
            }
            _ => String::new(),
        }
    }
}

/// The text behind `v=spf1`.
fn version(record: &str) -> Option<&str> {
    let (version, rest) = record.split_at_checked(6)?;
    let ends = rest.is_empty() || rest.starts_with(' ');
    (version.eq_ignore_ascii_case("v=spf1") && ends).then_some(rest)
}

/// A record, read.
#[derive(Debug, Default)]
struct Record {
    directives: Vec<Directive>,
    redirect: Option<Vec<Part>>,
}

#[derive(Debug)]
struct Directive {
    result: Word,
    mechanism: Mechanism,
    /// As it stands in the record.
    text: String,
}

#[derive(Debug, PartialEq)]
enum Mechanism {
    All,
    Include(Vec<Part>),
    A(Option<Vec<Part>>, u8, u8),
    Mx(Option<Vec<Part>>, u8, u8),
    Ptr(Option<Vec<Part>>),
    Net(IpAddr, u8),
    Exists(Vec<Part>),
}

#[derive(Debug, PartialEq)]
enum Part {
    Text(String),
    Macro(Macro),
}

#[derive(Debug, PartialEq)]
struct Macro {
    letter: char,
    /// Written as a capital: the value is to stand in a URL.
    escaped: bool,
    /// How many parts on the right are kept; 0: all.
    keep: usize,
    reverse: bool,
    delimiters: String,
}

impl Record {
    fn parse(text: &str) -> Result<Self, String> {
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

/// Text with macros in it; `more`: those of an explanation too.
fn macros(text: &str, more: bool) -> Option<Vec<Part>> {
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

    fn transform(&self, value: &str) -> String {
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
fn escaped(value: &str) -> String {
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
fn dotted(address: IpAddr) -> String {
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

fn is_below(name: &str, domain: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let rest = name.strip_suffix(domain);
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Whether a name can be asked for, and is a whole one.
fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let odd = |c: char| c.is_control() || c.is_whitespace();
        (1..=63).contains(&label.len()) && !label.contains(odd)
    };
    name.len() <= MAX_NAME && name.contains('.') && name.split('.').all(is_label)
}

/// Whether a network has an address in it; the other kind of address never.
fn covers(net: IpAddr, v4: u8, v6: u8, address: IpAddr) -> bool {
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

#[cfg(test)]
mod tests;
