//! The protocol between a mail server and its filters (milters), version 6 of libmilter, on the server's side: steps
//! go out as packets, and what a filter says to each comes back as a [`Said`].
//!
//! ```text
//! length (4 octets)  letter  data
//! ```
//!
//! Which steps a filter wants to see, and which it answers, it says at first ([`Terms`]). A body is shown and never
//! replaced: the message is written to the disk as it comes. Whatever else a filter may say about a message is a type
//! here; what is no such thing is a fault, as is every address and every field that could not stand in a message.

use super::address::{Mailbox, ReversePath, take_path};
use super::header::{Field, Header};
use super::replies::{self, Reply};
use super::reply::Enhanced;
use super::route::Refusal;

/// The longest packet of a filter: a field of a header, with room for what no header has.
pub const MAX_PACKET: usize = 128 * 1024;
/// The most of a body in one packet, which filters of every version take.
pub const MAX_BLOCK: usize = 65_535;
/// The version that is spoken; a filter may speak an older one, down to the first with a negotiation of steps.
const VERSION: u32 = 6;
const OLDEST: u32 = 2;

/// What a filter may do to a message: add, insert, change and delete fields; add and delete recipients; change the
/// sender; set the message aside. Not: replace the body.
const ACTIONS: u32 = 0x01 | 0x04 | 0x08 | 0x10 | 0x20 | 0x40 | 0x80;
/// What it may ask for about steps: all that tells us to leave some out, to not wait for answers, and to keep the
/// space before a value.
const STEPS: u32 = 0x1f_f7ff;
const SKIP: u32 = 0x400;
const LEADING_SPACE: u32 = 0x10_0000;

/// What a filter said that is none of the protocol.
pub type Fault = &'static str;

/// It does what it was told in the negotiation that it may not. Many offer it to themselves there, and never do it: so only
/// one that does is at fault.
const BODY: Fault = "it replaces the body of a message, which it was told that it may not; switch that off in it, or take it out of [milter]";

/// A step of a session or of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A client.
    Connect,
    /// Its name.
    Helo,
    /// A sender.
    Mail,
    /// A recipient.
    Rcpt,
    /// A message is to come.
    Data,
    /// A field of its header.
    Header,
    /// The header has ended.
    EndOfHeader,
    /// A part of its body.
    Body,
    /// The message has ended: always shown, always answered.
    End,
}

impl Step {
    fn letter(self) -> u8 {
        match self {
            Self::Connect => b'C',
            Self::Helo => b'H',
            Self::Mail => b'M',
            Self::Rcpt => b'R',
            Self::Data => b'T',
            Self::Header => b'L',
            Self::EndOfHeader => b'N',
            Self::Body => b'B',
            Self::End => b'E',
        }
    }

    /// The flags by which a filter says that it does not want it, and that it does not answer it.
    fn flags(self) -> (u32, u32) {
        match self {
            Self::Connect => (0x01, 0x1000),
            Self::Helo => (0x02, 0x2000),
            Self::Mail => (0x04, 0x4000),
            Self::Rcpt => (0x08, 0x8000),
            Self::Data => (0x200, 0x1_0000),
            Self::Header => (0x20, 0x80),
            Self::EndOfHeader => (0x40, 0x4_0000),
            Self::Body => (0x10, 0x8_0000),
            Self::End => (0, 0),
        }
    }
}

/// What a filter wants to see, and answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Terms {
    version: u32,
    steps: u32,
}

impl Terms {
    /// What a filter said to [`offer`].
    ///
    /// # Errors
    /// It wants what is not offered.
    pub fn parse(packet: &[u8]) -> Result<Self, Fault> {
        let data = packet.strip_prefix(b"O").ok_or("it did not negotiate")?;
        let mut numbers = data.chunks_exact(4).map(|c| match c {
            [a, b, c, d] => u32::from_be_bytes([*a, *b, *c, *d]),
            _ => 0,
        });
        let (Some(version), Some(_), Some(steps)) =
            (numbers.next(), numbers.next(), numbers.next())
        else {
            return Err("it negotiated in too few octets");
        };
        if !(OLDEST..=VERSION).contains(&version) {
            return Err("it speaks another version of the protocol");
        }
        // Sizes of blocks that nobody has offered are passed over: ours are the smallest.
        if steps & 0xfff_ffff & !STEPS != 0 {
            return Err("it wants what was not offered");
        }
        Ok(Self { version, steps })
    }

    /// Whether a step is shown to it.
    pub fn wants(self, step: Step) -> bool {
        // The step came with version 4.
        self.steps & step.flags().0 == 0 && (step != Step::Data || self.version > 3)
    }

    /// Whether it answers a step.
    pub fn answers(self, step: Step) -> bool {
        self.steps & step.flags().1 == 0
    }

    fn keeps_space(self) -> bool {
        self.steps & LEADING_SPACE != 0
    }

    fn may_skip(self) -> bool {
        self.steps & SKIP != 0
    }
}

/// A packet of these parts.
fn packet(letter: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length = 1 + parts.iter().map(|p| p.len()).sum::<usize>();
    let mut packet = Vec::with_capacity(4 + length);
    // All that is sent is bounded where it was read.
    packet.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    packet.push(letter);
    for part in parts {
        packet.extend_from_slice(part);
    }
    packet
}

/// The first packet: what is offered.
pub fn offer() -> Vec<u8> {
    let numbers = [VERSION, ACTIONS, STEPS].map(u32::to_be_bytes);
    packet(b'O', &[numbers.as_flattened()])
}

/// The last packet.
pub fn quit() -> Vec<u8> {
    packet(b'Q', &[])
}

/// What is known at a step, by the names that sendmail gave it.
pub fn macros(step: Step, known: &[(&str, &str)]) -> Vec<u8> {
    let mut data = Vec::new();
    for (name, value) in known.iter().filter(|(_, value)| !value.is_empty()) {
        texts(&mut data, &[name, value]);
    }
    packet(b'D', &[&[step.letter()], &data])
}

/// A client, by its name, its address, if it has one, and its port.
pub fn connect(name: &str, address: Option<(std::net::IpAddr, u16)>) -> Vec<u8> {
    let mut data = Vec::new();
    texts(&mut data, &[name]);
    match address {
        None => data.push(b'U'),
        Some((address, port)) => {
            data.push(if address.is_ipv4() { b'4' } else { b'6' });
            data.extend_from_slice(&port.to_be_bytes());
            texts(&mut data, &[&address.to_string()]);
        }
    }
    packet(Step::Connect.letter(), &[&data])
}

/// A step that consists of words: the name of a client; an address in brackets and its parameters.
pub fn words(step: Step, words: &[&str]) -> Vec<u8> {
    let mut data = Vec::new();
    texts(&mut data, words);
    packet(step.letter(), &[&data])
}

/// A field of a header.
pub fn field(terms: Terms, field: &Field) -> Vec<u8> {
    let mut value: Vec<u8> = field.body().to_vec();
    // Lines end as in a text of Unix (sendmail, which keeps the CR of none).
    value.retain(|c| *c != b'\r' && *c != 0);
    let value = match value.strip_prefix(b" ") {
        Some(rest) if !terms.keeps_space() => rest,
        _ => &value,
    };
    packet(Step::Header.letter(), &[field.name(), b"\0", value, b"\0"])
}

/// A part of a body, of at most [`MAX_BLOCK`] octets; or a step without data.
pub fn octets(step: Step, octets: &[u8]) -> Vec<u8> {
    packet(step.letter(), &[octets])
}

/// Texts that each end with a NUL; none has one in it.
fn texts(data: &mut Vec<u8>, texts: &[&str]) {
    for text in texts {
        data.extend(text.bytes().filter(|c| *c != 0));
        data.push(0);
    }
}

/// What a filter says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It has nothing against this step.
    Continue,
    /// It has nothing against anything of the message.
    Accept,
    /// The message is to vanish.
    Discard,
    /// The step, or the message, is refused so.
    Refuse(Reply),
    /// It needs no more of the body.
    Skip,
    /// It is at work.
    Progress,
    /// The message is to be changed, before it answers its end.
    Change(Change),
}

/// How a message is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A field behind all others.
    Add(Field),
    /// A field before others: how many stand before it.
    Insert(usize, Field),
    /// The nth field of a name, from 1, becomes another or goes.
    Replace(Vec<u8>, usize, Option<Field>),
    /// Another sender.
    From(ReversePath),
    /// A recipient more.
    To(Mailbox),
    /// A recipient less.
    NotTo(Mailbox),
    /// It is set aside, for this reason.
    Quarantine(String),
}

impl Said {
    /// Reads a packet, without its length.
    ///
    /// # Errors
    /// It is none, or none that was offered.
    pub fn parse(terms: Terms, packet: &[u8]) -> Result<Self, Fault> {
        let (letter, data) = packet.split_first().ok_or("it sent an empty packet")?;
        Ok(match letter {
            b'c' => Self::Continue,
            b'a' => Self::Accept,
            b'd' => Self::Discard,
            b'p' => Self::Progress,
            b's' if terms.may_skip() => Self::Skip,
            b'r' => Self::Refuse(replies::FILTER_REFUSED),
            b't' => Self::Refuse(replies::FILTER_LATER),
            b'y' => Self::Refuse(reply(data)?),
            b'h' => {
                let (name, value) = name_and_value(data)?;
                Self::Change(Change::Add(made(name, value)?))
            }
            b'i' => {
                let (index, data) = number(data)?;
                let (name, value) = name_and_value(data)?;
                // Our own Received field, which is not shown, counts as the first one of all.
                Self::Change(Change::Insert(index.saturating_sub(1), made(name, value)?))
            }
            b'm' => {
                let (index, data) = number(data)?;
                let (name, value) = name_and_value(data)?;
                let new = match value.is_empty() {
                    true => None,
                    false => Some(made(name, value)?),
                };
                Self::Change(Change::Replace(name.to_vec(), index.max(1), new))
            }
            b'e' => Self::Change(Change::From(path(data)?)),
            b'+' | b'2' => Self::Change(Change::To(mailbox(data)?)),
            b'-' => Self::Change(Change::NotTo(mailbox(data)?)),
            b'q' => {
                let reason = String::from_utf8_lossy(text(data).0);
                let reason = reason.chars().filter(|c| !c.is_control()).take(200);
                Self::Change(Change::Quarantine(reason.collect()))
            }
            b'b' => return Err(BODY),
            b'f' | b'4' => return Err("it does not want to work now"),
            _ => return Err("it said what is none of the protocol"),
        })
    }
}

/// Up to a NUL, and what is behind it.
fn text(data: &[u8]) -> (&[u8], &[u8]) {
    let at = data.iter().position(|c| *c == 0).unwrap_or(data.len());
    let (text, rest) = data.split_at(at);
    (text, rest.get(1..).unwrap_or_default())
}

fn number(data: &[u8]) -> Result<(usize, &[u8]), Fault> {
    let (number, rest) = data
        .split_first_chunk::<4>()
        .ok_or("it sent half a packet")?;
    let number = u32::from_be_bytes(*number);
    Ok((usize::try_from(number).unwrap_or(usize::MAX), rest))
}

fn name_and_value(data: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    let (name, rest) = text(data);
    let is_name = |c: &u8| c.is_ascii_graphic() && *c != b':';
    match !name.is_empty() && name.len() < 256 && name.iter().all(is_name) {
        true => Ok((name, text(rest).0)),
        false => Err("it named a field by what is no name"),
    }
}

/// A field with a value of lines: each but the first begins with a space or a tab, and none is empty.
fn made(name: &[u8], value: &[u8]) -> Result<Field, Fault> {
    let mut raw = name.to_vec();
    raw.push(b':');
    for (index, line) in value.split(|c| *c == b'\n').enumerate() {
        let line = line.trim_ascii_end();
        let begins_blank = matches!(line.first(), Some(b' ' | b'\t'));
        if line.trim_ascii().is_empty() && index > 0 {
            continue;
        }
        if index > 0 {
            raw.extend_from_slice(b"\r\n");
        }
        if !begins_blank {
            raw.push(if index == 0 { b' ' } else { b'\t' });
        }
        raw.extend(line.iter().filter(|c| !matches!(c, b'\r' | 0)));
    }
    raw.extend_from_slice(b"\r\n");
    Field::parse(&raw).ok_or("it made a field that is none")
}

fn path(data: &[u8]) -> Result<ReversePath, Fault> {
    const WRONG: Fault = "it named an address that is none";
    let text = std::str::from_utf8(text(data).0).map_err(|_| WRONG)?;
    let path = match text.starts_with('<') {
        true => take_path(text).map_err(|_| WRONG)?.0,
        false => text,
    };
    match path {
        "" => Ok(ReversePath::Null),
        _ => Mailbox::parse(path)
            .map(ReversePath::Mailbox)
            .map_err(|_| WRONG),
    }
}

fn mailbox(data: &[u8]) -> Result<Mailbox, Fault> {
    match path(data)? {
        ReversePath::Mailbox(mailbox) => Ok(mailbox),
        ReversePath::Null => Err("it named a recipient that is none"),
    }
}

/// A reply in its own words: `550 5.7.1 text`, maybe of several lines.
fn reply(data: &[u8]) -> Result<Reply, Fault> {
    const WRONG: Fault = "it refused with what is no refusal";
    let all = String::from_utf8_lossy(text(data).0);
    let mut code = None;
    let mut enhanced = None;
    let mut lines = Vec::new();
    for line in all.lines().take(32) {
        let (digits, rest) = line.split_at_checked(3).ok_or(WRONG)?;
        let number: u16 = digits.parse().map_err(|_| WRONG)?;
        if !(400..600).contains(&number) || code.is_some_and(|c| c != number) {
            return Err(WRONG);
        }
        code = Some(number);
        let rest = rest.strip_prefix(['-', ' ']).unwrap_or(rest);
        let (word, behind) = rest.split_once(' ').unwrap_or((rest, ""));
        match Enhanced::parse(word).filter(|e| u16::from(e.0) == number / 100) {
            Some(found) => {
                enhanced = Some(found);
                lines.push(behind);
            }
            None => lines.push(rest),
        }
    }
    let code = code.ok_or(WRONG)?;
    let class = if code < 500 { 4 } else { 5 };
    // libmilter writes a percent sign twice.
    let text = lines.join("\n").replace("%%", "%");
    Ok(replies::refused(&Refusal {
        code,
        enhanced: enhanced.unwrap_or(Enhanced(class, 7, 1)),
        text,
    }))
}

/// Changes a header; what concerns the envelope is returned.
pub fn apply(header: &mut Header, change: Change) -> Option<Change> {
    match change {
        Change::Add(field) => header.append(field),
        Change::Insert(at, field) => header.insert(at, field),
        Change::Replace(name, number, new) => header.replace(&name, number, new),
        other => return Some(other),
    }
    None
}

#[cfg(test)]
#[path = "milter/tests.rs"]
mod tests;
