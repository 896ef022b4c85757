//! The header of a message (RFC 5322), as `header_reader.rs` took it off the front: recipients, rewriting, completing.
//!
//! A field is kept as it came, octet for octet, until somebody asks for a change, and then only what was asked for
//! changes.
//!
//! For a local submission (RFC 6409 8) the order is: [`Header::recipients`] for `-t`, [`Header::qualify`],
//! [`Header::complete`] (which still sees Bcc), [`Header::strip_bcc`], [`Header::write`].

use std::collections::BTreeSet;
use std::ops::Range;

use super::address::{Domain, Invalid, Mailbox};
use super::addrlist::addresses;
use super::date::Stamp;
use super::fields::phrase;
use super::outcome::one_line;

/// A field of a header, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    raw: Vec<u8>,
    /// Where its colon stands.
    colon: usize,
}

impl Field {
    /// A field of minimta's own. The value may hold folding; it is not looked at.
    pub fn made(name: &str, value: &str) -> Self {
        Self {
            raw: format!("{name}: {value}\r\n").into_bytes(),
            colon: name.len(),
        }
    }

    /// A field from its octets, line ends included; `None` if they have no colon.
    pub fn parse(raw: &[u8]) -> Option<Self> {
        Some(Self {
            colon: raw.iter().position(|b| *b == b':')?,
            raw: raw.to_vec(),
        })
    }

    /// Its name as it came, without white space before the colon.
    pub fn name(&self) -> &[u8] {
        let name = self.raw.get(..self.colon).unwrap_or_default();
        name.trim_ascii_end()
    }

    /// What follows the colon, folding included, without the line end.
    pub fn body(&self) -> &[u8] {
        let body = self.raw.get(self.colon + 1..).unwrap_or_default();
        body.strip_suffix(b"\r\n").unwrap_or(body)
    }

    /// All its octets, as they came.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Whether it has this name, in whatever case.
    pub fn is(&self, name: &str) -> bool {
        self.name().eq_ignore_ascii_case(name.as_bytes())
    }

    fn has_name_of(&self, other: &Self) -> bool {
        self.name().eq_ignore_ascii_case(other.name())
    }

    fn is_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.is(name))
    }

    fn is_resent(&self) -> bool {
        let start = self.raw.get(..RESENT.len()).unwrap_or_default();
        start.eq_ignore_ascii_case(RESENT.as_bytes())
    }

    /// Whether nothing stands in it.
    pub fn is_blank(&self) -> bool {
        self.body().trim_ascii().is_empty()
    }

    /// Replaces each addr-spec for which `f` has another text.
    fn rewrite(&mut self, f: &mut dyn FnMut(&str) -> Option<String>) {
        let start = self.colon + 1;
        let mut changed = Vec::new();
        let mut kept = 0;
        for address in addresses(self.body()) {
            if let Some(new) = address.spec.ok().and_then(|spec| f(&spec)) {
                let (from, to) = (start + address.range.start, start + address.range.end);
                changed.extend_from_slice(self.raw.get(kept..from).unwrap_or_default());
                changed.extend_from_slice(new.as_bytes());
                kept = to;
            }
        }
        if kept > 0 {
            changed.extend_from_slice(self.raw.get(kept..).unwrap_or_default());
            self.raw = changed;
        }
    }
}

/// The fields of a message, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Header {
    fields: Vec<Field>,
}

/// The recipients named by a header.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// Whom it is for, each once, in order.
    pub good: Vec<Mailbox>,
    /// What could not be read, and why; at most [`MAX_BAD`] of them.
    pub bad: Vec<(String, Invalid)>,
}

/// How many unreadable recipients are told; a text that is no address list at all has thousands.
pub const MAX_BAD: usize = 100;
/// How much of an unreadable recipient is shown, in characters.
const MAX_SHOWN: usize = 100;

const RESENT: &str = "Resent-";
const RECIPIENTS: &[&str] = &["To", "Cc", "Bcc", "Apparently-To"];
const RESENT_RECIPIENTS: &[&str] = &["Resent-To", "Resent-Cc", "Resent-Bcc"];
/// Fields a block of Resent- fields has once (RFC 5322 3.6), as it has those of recipients: met again, they begin an older
/// block.
const ONCE_A_BLOCK: &[&str] = &[
    "Resent-Date",
    "Resent-From",
    "Resent-Sender",
    "Resent-Message-ID",
];
/// Fields whose bare names get the domain of this system.
const QUALIFIED: &[&str] = &[
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Bcc",
    "Resent-From",
    "Resent-Sender",
    "Resent-Reply-To",
    "Resent-To",
    "Resent-Cc",
    "Resent-Bcc",
];

impl Header {
    /// All fields, in order.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The first field of this name.
    pub fn get(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|f| f.is(name))
    }

    /// Puts a field behind all others.
    pub fn append(&mut self, field: Field) {
        self.fields.push(field);
    }

    /// Puts a field where so many others stand before it, or behind all.
    pub fn insert(&mut self, at: usize, field: Field) {
        self.fields.insert(at.min(self.fields.len()), field);
    }

    /// Puts another field in the place of the nth of this name, from 1, or nothing; behind all others if it is not
    /// there.
    pub fn replace(&mut self, name: &[u8], number: usize, new: Option<Field>) {
        let mut found = (0..)
            .zip(&self.fields)
            .filter(|(_, f)| f.name().eq_ignore_ascii_case(name));
        let place = found.nth(number.saturating_sub(1)).map(|(at, _)| at);
        match (place, new) {
            (Some(at), Some(new)) => {
                if let Some(old) = self.fields.get_mut(at) {
                    *old = new;
                }
            }
            (Some(at), None) => drop(self.fields.remove(at)),
            (None, Some(new)) => self.append(new),
            (None, None) => {}
        }
    }

    /// Removes every field of this name.
    pub fn strip(&mut self, name: &str) {
        self.fields.retain(|f| !f.is(name));
    }

    /// Keeps only the fields that pass.
    pub fn retain(&mut self, passes: impl FnMut(&Field) -> bool) {
        self.fields.retain(passes);
    }

    /// Removes the recipients that no other may see (RFC 5322 3.6.3).
    pub fn strip_bcc(&mut self) {
        self.fields.retain(|f| !f.is_any(&["Bcc", "Resent-Bcc"]));
    }

    /// How many servers it passed (RFC 5321 6.3).
    pub fn hops(&self) -> usize {
        self.fields.iter().filter(|f| f.is("Received")).count()
    }

    /// Appends the fields and the blank line.
    pub fn write(&self, out: &mut Vec<u8>) {
        for field in &self.fields {
            out.extend_from_slice(&field.raw);
        }
        out.extend_from_slice(b"\r\n");
    }

    /// The recipients for `sendmail -t`; bare names get the domain `qualify`. With any Resent- field, they are those
    /// of the topmost block of such fields and no others: the older ones, and To, had the message before (RFC 5322
    /// 3.6.6).
    pub fn recipients(&self, qualify: &Domain) -> Found {
        let (range, names) = match self.resent_block() {
            Some(block) => (block, RESENT_RECIPIENTS),
            None => (0..self.fields.len(), RECIPIENTS),
        };
        let fields = self.fields.get(range).unwrap_or_default();
        let mut found = Found::default();
        let mut seen = BTreeSet::new();
        for field in fields.iter().filter(|f| f.is_any(names)) {
            for address in addresses(field.body()) {
                match address.spec.and_then(|s| Mailbox::qualify(&s, qualify)) {
                    Ok(mailbox) if seen.contains(&mailbox) => {}
                    Ok(mailbox) => {
                        seen.insert(mailbox.clone());
                        found.good.push(mailbox);
                    }
                    Err(reason) if found.bad.len() < MAX_BAD => {
                        let octets = field.body().get(address.range).unwrap_or_default();
                        found.bad.push((shown(octets), reason));
                    }
                    Err(_) => {}
                }
            }
        }
        found
    }

    /// Whether it was sent again: it has a block of Resent- fields.
    pub fn is_resent(&self) -> bool {
        self.fields.iter().any(Field::is_resent)
    }

    /// The fields of whoever sent it again last; none, if nobody has.
    pub fn topmost_resent(&self) -> &[Field] {
        let block = self.resent_block();
        let fields = block.and_then(|block| self.fields.get(block));
        fields.unwrap_or_default()
    }

    /// The topmost block of Resent- fields. A list of recipients that goes on in another field right below is one list
    /// still, though it should be one field: nobody of it is forgotten.
    fn resent_block(&self) -> Option<Range<usize>> {
        let start = self.fields.iter().position(Field::is_resent)?;
        let fields = self.fields.get(start..)?;
        let ends = |(at, field): (usize, &Field)| {
            let before = fields.get(..at).unwrap_or_default();
            let is_same = |other: &Field| other.has_name_of(field);
            let is_once = match field.is_any(RESENT_RECIPIENTS) {
                true => !before.last().is_some_and(is_same),
                false => field.is_any(ONCE_A_BLOCK),
            };
            !field.is_resent() || is_once && before.iter().any(is_same)
        };
        let length = fields.iter().enumerate().position(ends);
        Some(start..start + length.unwrap_or(fields.len()))
    }

    /// Replaces, in the fields of these names, the addr-spec of each address for which `f` has another text. Names,
    /// comments, folding and every other octet stay; what is no address is not offered to `f`.
    pub fn rewrite_addresses(&mut self, names: &[&str], f: &mut dyn FnMut(&str) -> Option<String>) {
        for field in self.fields.iter_mut().filter(|f| f.is_any(names)) {
            field.rewrite(f);
        }
    }

    /// Replaces each field of this name for which `f` makes another.
    pub fn replace_each(&mut self, name: &str, f: &mut dyn FnMut(&Field) -> Option<Field>) {
        for field in self.fields.iter_mut().filter(|f| f.is(name)) {
            if let Some(other) = f(field) {
                *field = other;
            }
        }
    }

    /// Gives bare names in From, To and the like the domain of this system (RFC 6409 8).
    pub fn qualify(&mut self, domain: &Domain) {
        self.rewrite_addresses(QUALIFIED, &mut |spec| match Mailbox::parse(spec) {
            Ok(_) => None,
            Err(_) => Mailbox::qualify(spec, domain).ok().map(|m| m.to_string()),
        });
    }

    /// Adds what a message of a local program lacks (RFC 6409 8): Date, From and Message-ID, also where the field
    /// is there with nothing in it; and To, when there is neither To nor Cc, because some servers refuse a message
    /// that seems to be for nobody. To names the recipient when there is one only and no Bcc hides him; otherwise it
    /// says `undisclosed-recipients:;`, for no recipient may learn of the others here (RFC 5321 7.2).
    ///
    /// The topmost block of Resent- fields gets its Resent-Date and Resent-From, which it must have, and a
    /// Resent-Message-ID when the message has an identity of its own already (RFC 5322 3.6.6).
    pub fn complete(&mut self, made: &Made<'_>) {
        let from = match made.full_name.map(phrase).unwrap_or_default().as_str() {
            "" => made.from.to_string(),
            name => format!("{name} <{}>", made.from),
        };
        let (date, id) = (made.date.rfc5322(), one_line(made.message_id));
        self.complete_resent(&date, &from, &id);
        self.add_missing("Date", &date);
        self.add_missing("From", &from);
        self.add_missing("Message-ID", &id);
        // A field of addresses has one at least (RFC 5322 3.6.3).
        self.retain(|f| !(f.is_any(&["To", "Cc"]) && f.is_blank()));
        if self.get("To").is_none() && self.get("Cc").is_none() {
            let hidden = self.get("Bcc").is_some() || self.resent_block().is_some();
            let to = match made.recipients {
                // In ASCII if it can be, for servers that take nothing else.
                [only] if !hidden => only.to_ascii().as_ref().unwrap_or(only).to_string(),
                _ => "undisclosed-recipients:;".to_owned(),
            };
            self.append(Field::made("To", &to));
        }
    }

    fn complete_resent(&mut self, date: &str, from: &str, id: &str) {
        let Some(block) = self.resent_block() else {
            return;
        };
        let start = block.start;
        let fields = self.fields.get(block).unwrap_or_default();
        let lacks = |name: &str| !fields.iter().any(|f| f.is(name));
        let new_id = self.get("Message-ID").is_some() && lacks("Resent-Message-ID");
        let new = [
            (lacks("Resent-Date"), "Resent-Date", date),
            (lacks("Resent-From"), "Resent-From", from),
            (new_id, "Resent-Message-ID", id),
        ];
        let new = new.into_iter().filter(|(lacking, ..)| *lacking);
        let new: Vec<Field> = new.map(|(_, n, value)| Field::made(n, value)).collect();
        self.fields.splice(start..start, new);
    }

    fn add_missing(&mut self, name: &str, value: &str) {
        self.add_unless_there(Field::made(name, value));
    }

    /// Adds a field, in place of those of its name in which nothing stands, unless another has the name.
    pub fn add_unless_there(&mut self, field: Field) {
        self.fields
            .retain(|f| !(f.has_name_of(&field) && f.is_blank()));
        if !self.fields.iter().any(|f| f.has_name_of(&field)) {
            self.append(field);
        }
    }
}

/// What a message may have to be completed with.
#[derive(Debug, Clone, Copy)]
pub struct Made<'a> {
    /// Now.
    pub date: Stamp,
    /// A new identity, with its brackets.
    pub message_id: &'a str,
    /// Whose message it is.
    pub from: &'a Mailbox,
    /// His full name, in whatever characters.
    pub full_name: Option<&'a str>,
    /// The envelope recipients.
    pub recipients: &'a [Mailbox],
}

/// The beginning of a broken address, to be shown to a person.
fn shown(octets: &[u8]) -> String {
    let text = one_line(&String::from_utf8_lossy(octets));
    let mut words = text.split_whitespace();
    let first = words.next().unwrap_or_default().to_owned();
    let text = words.fold(first, |text, word| text + " " + word);
    text.chars().take(MAX_SHOWN).collect()
}

/// A header from its text, for the tests of whoever needs one.
#[cfg(test)]
pub fn sample(text: &str) -> Header {
    let mut reader = super::header_reader::HeaderReader::new(usize::MAX);
    reader.push(text.as_bytes()).unwrap();
    let (header, body) = reader.finish();
    assert!(body.is_empty(), "{text:?} is not all header");
    header
}

#[cfg(test)]
mod tests;
