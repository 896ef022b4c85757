//! The text of a queue file, both ways: the envelope and the message line. The lines of the journal are those of
//! journal.rs, the steps in which it all comes about those of host/spool.rs.
//!
//! ```text
//! minimta-queue 1
//! from <sender@example.org>
//! to <one@example.net> NOTIFY=FAILURE ORCPT=rfc822;one@example.net
//! received 2026-11-23T12:00:00Z
//! client uid 1000
//! protocol local
//! message 00000000000000004711 crc32 8f3a21c0 longest 0000000072 8bit
//!
//! (the message, exactly as it will be sent, CRLF lines)
//! 2026-11-23T12:00:00Z to 1 delivered 250 2.0.0 mx.example.net ok, queued as 4711
//! 2026-11-23T12:00:01Z to 2-3,5 deferred 451 4.7.1 mx2.example.net greylisted
//! 2026-11-23T12:00:02Z to 4 expanded 6-7 <alice@pi.example> USER=alice END=mailbox <bob@example.net>
//! 2026-11-23T12:00:02Z to 1 asked <one@example.net> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;all@pi.example
//! 2026-11-23T16:00:00Z warned
//! 2026-11-28T12:00:00Z held
//! ```
//!
//! An expansion (an alias, a ~/.forward) adds recipients, which are counted on from the last one: from that line on
//! they are recipients like those of the envelope, and the one that was expanded is done. Nothing is rewritten. A
//! torn line is cut off, and the expansion done again: no later line can depend on it. Whom the message has already gets
//! no copy of his own; `asked` says what reports are asked for with him from then on.
//!
//! Nothing from a stranger is written here before it has become a type that holds no line end, so no value can
//! become a second line (CVE-2020-8794, CVE-2020-28021). A field this version does not know is passed over.

use std::fmt::Write as _;

use super::super::address::{Mailbox, ReversePath, take_path};
use super::super::date::{Stamp, parse_iso8601};
use super::super::end::{End, Origin};
use super::super::outcome::one_line;
use super::super::xtext;
use super::{Envelope, Notify, Recipient, Ret};

/// The fewest octets of a line of [`room`].
pub const MIN_ROOM: usize = 8;

/// A line of so many octets that says nothing: room that was left in a queue file and is not needed.
pub fn room(octets: usize) -> String {
    format!("room {}\n", "-".repeat(octets.saturating_sub(6)))
}

/// The first line of every queue file; the number changes when an older minimta could misread the rest.
pub const MAGIC: &str = "minimta-queue 1\n";

/// What is known of the message once it has passed by: the fixed-width line that is filled in last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facts {
    /// Octets, CRLFs counted (RFC 1870).
    pub size: u64,
    /// Checksum of these octets.
    pub crc32: u32,
    /// The longest line, its CRLF not counted.
    pub longest_line: u64,
    /// Whether any octet is beyond ASCII.
    pub eight_bit: bool,
    /// Whether one of the header may be: what needs more of a server than a body does (RFC 6531 3.2, RFC 6152).
    pub eight_bit_header: bool,
}

impl Facts {
    /// The line with its line end; always [`Facts::WIDTH`] octets, so that it can be written over.
    pub fn line(&self) -> String {
        let longest = self.longest_line.min(Self::LONGEST);
        let octets = match (self.eight_bit, self.eight_bit_header) {
            (false, _) => "7bit",
            (true, false) => "body",
            (true, true) => "8bit",
        };
        format!(
            "message {:020} crc32 {:08x} longest {longest:010} {octets}\n",
            self.size, self.crc32
        )
    }

    /// The most that there is room for: whatever is longer is as long.
    const LONGEST: u64 = 9_999_999_999;

    /// Octets of [`Facts::line`].
    pub const WIDTH: usize = 68;

    /// What stands in the line's place until it is known. It says nothing: a file whose writer was cut off, or whose
    /// first octets the disk got before the last ones, must not look like a message that happens to be empty.
    pub const UNKNOWN: &str =
        "message ------------------- unfinished ----------------------------\n";

    fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        let ["message", size, "crc32", crc32, "longest", longest, octets] = words.as_slice() else {
            return None;
        };
        if line.len() + 1 != Self::WIDTH {
            return None;
        }
        let (eight_bit, eight_bit_header) = match *octets {
            "7bit" => (false, false),
            "body" => (true, false),
            // In files of earlier versions: anywhere.
            "8bit" => (true, true),
            _ => return None,
        };
        Some(Self {
            size: size.parse().ok()?,
            crc32: u32::from_str_radix(crc32, 16).ok()?,
            longest_line: longest.parse().map(|n: u64| n.min(Self::LONGEST)).ok()?,
            eight_bit,
            eight_bit_header,
        })
    }
}

impl Envelope {
    /// The queue file's text up to the message line: what stands before [`Facts::line`] and the blank line.
    pub fn to_text(&self) -> String {
        let mut text = String::with_capacity(256 + 64 * self.recipients.len());
        text.push_str(MAGIC);
        let mut line = |name: &str, value: &dyn std::fmt::Display| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name} {value}");
        };
        line("from", &self.sender);
        for recipient in &self.recipients {
            line("to", &recipient_text(recipient));
        }
        line("received", &Stamp::utc(self.received_at).iso8601());
        line("client", &one_line(&self.client));
        line("protocol", &one_line(&self.protocol));
        if let Some(auth) = &self.auth {
            line("auth", &one_line(auth));
        }
        if self.smtputf8 {
            line("smtputf8", &"yes");
        }
        if self.requiretls {
            line("requiretls", &"yes");
        }
        if let Some(ret) = self.ret {
            line("ret", &ret.as_str());
        }
        if let Some(envid) = &self.envid {
            line("envid", &one_line(envid));
        }
        text
    }

    /// Reads the head of a queue file. `head` begins at the file's first octet and may end anywhere.
    pub fn parse(head: &[u8]) -> Result<Parsed, Unreadable> {
        let magic = MAGIC.as_bytes();
        if !head.starts_with(magic) {
            // A file that was being written when the power went has no bytes, or zeros: the message line is
            // written with all the rest, so such a file was never promised to anybody.
            let lost = head.iter().all(|b| *b == 0) || magic.starts_with(head);
            return Err(if lost {
                Unreadable::Unfinished
            } else {
                Unreadable::Foreign
            });
        }
        let mut envelope = Self {
            protocol: String::new(),
            ..Self::local(ReversePath::Null, Vec::new(), 0, String::new())
        };
        let mut at = magic.len();
        let mut facts = None;
        loop {
            let rest = head.get(at..).unwrap_or_default();
            let Some(length) = rest.iter().position(|b| *b == b'\n') else {
                return Err(Unreadable::MoreNeeded);
            };
            at += length + 1;
            let bytes = rest.get(..length).unwrap_or_default();
            if bytes.is_empty() {
                let facts: Facts = facts.ok_or(Unreadable::Unfinished)?;
                return Ok(Parsed {
                    envelope,
                    facts,
                    message_at: at as u64,
                });
            }
            let line =
                std::str::from_utf8(bytes).map_err(|_| damaged("a line that is not UTF-8"))?;
            match line.split_once(' ') {
                Some(("message", _)) => facts = Facts::parse(line),
                Some((name, value)) => envelope.field(name, value)?,
                None => return Err(damaged("a line without a value")),
            }
        }
    }

    fn field(&mut self, name: &str, value: &str) -> Result<(), Unreadable> {
        match name {
            "from" => self.sender = parse_sender(value)?,
            "to" => self.recipients.push(parse_recipient(value)?),
            "received" => {
                self.received_at = parse_iso8601(value).ok_or(damaged("a date that is none"))?
            }
            "client" => self.client = value.to_owned(),
            "protocol" => self.protocol = value.to_owned(),
            "auth" => self.auth = Some(value.to_owned()),
            "smtputf8" => self.smtputf8 = value == "yes",
            "requiretls" => self.requiretls = value == "yes",
            "ret" => self.ret = Ret::parse(value),
            "envid" => self.envid = Some(value.to_owned()),
            _ => {}
        }
        Ok(())
    }
}

fn parse_sender(value: &str) -> Result<ReversePath, Unreadable> {
    let (path, _) = take_path(value).map_err(|_| damaged("a sender that is no address"))?;
    match path {
        "" => Ok(ReversePath::Null),
        _ => Mailbox::parse(path)
            .map(ReversePath::Mailbox)
            .map_err(|_| damaged("a sender that is no address")),
    }
}

/// `<address>` and what was said of it.
pub fn recipient_text(recipient: &Recipient) -> String {
    let mut text = format!("<{}>", recipient.address);
    let mut parameter = |name: &str, value: &dyn std::fmt::Display| {
        // Writing to a String cannot fail.
        let _ = write!(text, " {name}={value}");
    };
    if let Some(notify) = recipient.notify {
        parameter("NOTIFY", &notify);
    }
    if let Some(orcpt) = &recipient.orcpt {
        parameter("ORCPT", &one_word(orcpt));
    }
    let Some(origin) = &recipient.origin else {
        return text;
    };
    if let Some(sender) = &origin.sender {
        parameter("FROM", &xtext::encode(&sender.to_string()));
    }
    if let Some(through) = &origin.through {
        parameter("THROUGH", &xtext::encode(&through.to_string()));
    }
    if let Some(user) = &origin.user {
        parameter("USER", &xtext::encode(user));
    }
    match &origin.end {
        None => {}
        Some(End::Mailbox) => parameter("END", &"mailbox"),
        Some(End::File(path)) => parameter("END", &format_args!("file:{}", xtext::encode(path))),
        Some(End::Pipe(line)) => parameter("END", &format_args!("pipe:{}", xtext::encode(line))),
    }
    text
}

/// What ends a word becomes `?`. No program of ours lets any of it in; whoever has changed the file may have, and what
/// follows it must not be read as a parameter of its own.
fn one_word(text: &str) -> String {
    text.replace(|c: char| c.is_control() || c == ' ', "?")
}

fn parse_recipient(value: &str) -> Result<Recipient, Unreadable> {
    take_recipient(value, None).map(|(recipient, _)| recipient)
}

/// Takes a recipient off the front of a text, up to the next one. `of`: which one it was made of, if it was.
pub fn take_recipient(value: &str, of: Option<usize>) -> Result<(Recipient, &str), Unreadable> {
    let wrong = |_| damaged("a recipient that is no address");
    let (path, mut rest) = take_path(value).map_err(wrong)?;
    let mut recipient = Recipient::plain(Mailbox::parse(path).map_err(wrong)?);
    recipient.origin = of.map(|of| Box::new(Origin::new(of)));
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() || rest.starts_with('<') {
            return Ok((recipient, rest));
        }
        let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = after;
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        match (name, &mut recipient.origin) {
            ("NOTIFY", _) => recipient.notify = Notify::parse(value),
            ("ORCPT", _) => recipient.orcpt = Some(value.to_owned()),
            (_, Some(origin)) => origin_field(origin, name, value)
                .ok_or(damaged("a recipient of an expansion that is unreadable"))?,
            _ => {}
        }
    }
}

/// `None` for what would lead the message elsewhere if it were passed over.
fn origin_field(origin: &mut Origin, name: &str, value: &str) -> Option<()> {
    match (name, value.split_once(':')) {
        ("FROM", _) => origin.sender = Some(Mailbox::parse(&xtext::decode(value)?).ok()?),
        ("THROUGH", _) => origin.through = Some(Mailbox::parse(&xtext::decode(value)?).ok()?),
        ("USER", _) => origin.user = Some(xtext::decode(value)?),
        ("END", None) if value == "mailbox" => origin.end = Some(End::Mailbox),
        ("END", Some(("file", path))) => origin.end = Some(End::File(xtext::decode(path)?)),
        ("END", Some(("pipe", line))) => origin.end = Some(End::Pipe(xtext::decode(line)?)),
        ("END", _) => return None,
        _ => {}
    }
    Some(())
}

/// The head of a queue file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// Who sends to whom.
    pub envelope: Envelope,
    /// The message's size and checksum.
    pub facts: Facts,
    /// Where in the file the message begins.
    pub message_at: u64,
}

/// Why a file is no queue file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// The head goes on beyond the bytes given.
    MoreNeeded,
    /// Its writer never finished it; it was never promised to anybody.
    Unfinished,
    /// It is something else.
    Foreign,
    /// It was one, and is damaged; what was found.
    Damaged(&'static str),
}

fn damaged(what: &'static str) -> Unreadable {
    Unreadable::Damaged(what)
}

#[cfg(test)]
mod tests;
