//! Fields of a header that minimta writes itself: Received (RFC 5321 4.4), and the name in a From it had to make.
//!
//! What a stranger said stands in them only as far as the grammar has room for it: a reader further on must be
//! able to parse each one, and must not take his words for ours.

use std::net::IpAddr;

use super::address::{Domain, Mailbox};
use super::date::Stamp;
use super::outcome::one_line;

/// How a message came here.
#[derive(Debug, Clone, Copy)]
pub struct Trace<'a> {
    /// From whom.
    pub origin: Origin<'a>,
    /// The name of this system.
    pub by: &'a Domain,
    /// The queue id.
    pub id: &'a str,
    /// The recipient, when there is one only: several must not learn of each other (RFC 5321 7.2).
    pub only_recipient: Option<&'a Mailbox>,
    /// When.
    pub date: Stamp,
}

/// From whom a message came.
#[derive(Debug, Clone, Copy)]
pub enum Origin<'a> {
    /// A program on this machine.
    Local {
        /// Its user.
        uid: u32,
        /// The name of that user, if he has one.
        user: Option<&'a str>,
    },
    /// A client of the network.
    Client {
        /// What it called itself in EHLO or HELO; any text.
        helo: &'a str,
        /// What the reverse look-up says, if it was confirmed.
        name: Option<&'a str>,
        /// Its address; `None`: a socket of this system.
        address: Option<IpAddr>,
        /// `ESMTPS` and the like (RFC 3848).
        protocol: &'a str,
        /// Version and cipher, when the connection is encrypted.
        tls: Option<&'a str>,
    },
}

/// The Received field with its line end.
pub fn received(trace: &Trace<'_>) -> Vec<u8> {
    let (by, id, date) = (trace.by, safe(trace.id), trace.date.rfc5322());
    // Nothing of ours may make a message one that only some servers take (RFC 6531 3.7.3).
    let recipient = trace.only_recipient.and_then(Mailbox::to_ascii);
    let recipient = recipient.map(|r| format!(" for <{r}>"));
    let recipient = recipient.unwrap_or_default();
    let text = match trace.origin {
        Origin::Local { uid, user } => {
            let user = user.map(|u| format!(" ({})", safe(u))).unwrap_or_default();
            format!(
                "Received: by {by} (minimta, from uid {uid}{user})\r\n\tid {id}{recipient};\r\n\t{date}\r\n"
            )
        }
        Origin::Client {
            helo,
            name,
            address,
            protocol,
            tls,
        } => {
            let from = from_clause(helo, name, address);
            let protocol = safe(protocol);
            let tls = tls.map(|t| format!(" ({})", safe(t))).unwrap_or_default();
            format!(
                "Received: from {from}\r\n\tby {by} with {protocol}{tls}\r\n\tid {id}{recipient};\r\n\t{date}\r\n"
            )
        }
    };
    text.into_bytes()
}

/// Whether a Received line is one that this host has written, or says so (RFC 5321 4.4: `by` and a name).
pub fn is_by(text: &[u8], hostname: &Domain) -> bool {
    let hostname = hostname.to_string();
    let mut words = text
        .split(u8::is_ascii_whitespace)
        .filter(|w| !w.is_empty())
        .peekable();
    while let Some(word) = words.next() {
        let name = words.peek().copied().unwrap_or_default();
        if word.eq_ignore_ascii_case(b"by") && name.eq_ignore_ascii_case(hostname.as_bytes()) {
            return true;
        }
    }
    false
}

/// `client.example (name.example [192.0.2.1])`. A client that gave no valid name is `unknown`, and what it said
/// follows in a comment.
fn from_clause(helo: &str, name: Option<&str>, address: Option<IpAddr>) -> String {
    let valid = |name: &str| Domain::parse(name).ok().filter(|d| d.as_str().is_ascii());
    let literal = match address.map(|a| a.to_canonical()) {
        Some(IpAddr::V4(v4)) => format!("[{v4}]"),
        Some(IpAddr::V6(v6)) => format!("[IPv6:{v6}]"),
        None => "local socket".to_owned(),
    };
    let name = name.and_then(valid).map(|n| format!("{n} "));
    let name = name.unwrap_or_default();
    match valid(helo) {
        Some(helo) => format!("{helo} ({name}{literal})"),
        None => format!("unknown ({name}{literal})\r\n\t(said {})", safe(helo)),
    }
}

/// The longest word of a stranger.
const MAX_WORD: usize = 64;

/// A word in which only letters, digits and what can do no harm in a comment or an atom is left.
fn safe(word: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "-_.:/+ ".contains(c);
    let word = word.chars().take(MAX_WORD);
    word.map(|c| if harmless(c) { c } else { '?' }).collect()
}

/// The longest name of a person that is written, in characters.
const MAX_NAME: usize = 128;

/// A person's name before `<address>` (RFC 5322 3.4 phrase): as it is, in quotes, or encoded (RFC 2047).
pub fn phrase(name: &str) -> String {
    let name: String = one_line(name).trim().chars().take(MAX_NAME).collect();
    if !name.is_ascii() {
        return encoded_words(&name);
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || " !#$%&'*+-/^_`{|}~".contains(c);
    if name.chars().all(is_plain) {
        return name;
    }
    let mut quoted = String::from("\"");
    for c in name.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted + "\""
}

/// RFC 2047 4.2, in the few characters its section 5 allows in a phrase; a word has at most 75 octets and whole
/// characters.
fn encoded_words(text: &str) -> String {
    const START: &str = "=?utf-8?q?";
    const END: &str = "?=";
    const ROOM: usize = 75 - START.len() - END.len();
    let mut words = String::from(START);
    let mut used = 0;
    for c in text.chars() {
        let piece = match c {
            ' ' => "_".to_owned(),
            c if c.is_ascii_alphanumeric() || "!*+-/".contains(c) => c.to_string(),
            c => c.to_string().bytes().map(|b| format!("={b:02X}")).collect(),
        };
        if used + piece.len() > ROOM {
            words.push_str(END);
            words.push_str("\r\n ");
            words.push_str(START);
            used = 0;
        }
        words.push_str(&piece);
        used += piece.len();
    }
    words + END
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(origin: Origin<'_>, only_recipient: Option<&Mailbox>) -> String {
        let by = Domain::parse("pi.example").unwrap();
        let trace = Trace {
            origin,
            by: &by,
            id: "4CV6Q",
            only_recipient,
            date: Stamp::utc(0),
        };
        String::from_utf8(received(&trace)).unwrap()
    }

    #[test]
    fn a_recipient_beyond_ascii_is_named_if_he_can_be() {
        let rows = [
            ("bob@\u{e9}.example", Some(" for <bob@xn--9ca.example>;")),
            ("b\u{f6}b@x.example", None),
        ];
        for (address, expected) in rows {
            let address = Mailbox::parse(address).unwrap();
            let line = line(Origin::Local { uid: 7, user: None }, Some(&address));
            assert!(line.is_ascii());
            assert_eq!(line.contains(" for <"), expected.is_some());
            assert!(expected.is_none_or(|text| line.contains(text)), "{line}");
        }
    }

    /// R64, R69: one recipient is named, several are not.
    #[test]
    fn a_local_program_is_named_by_its_user() {
        let bob = Mailbox::parse("bob@x.example").unwrap();
        let user = Some("alice");
        assert_eq!(
            line(Origin::Local { uid: 1000, user }, Some(&bob)),
            "Received: by pi.example (minimta, from uid 1000 (alice))\r\n\tid 4CV6Q for <bob@x.example>;\r\n\tThu, 1 Jan 1970 00:00:00 +0000\r\n"
        );
        assert_eq!(
            line(Origin::Local { uid: 7, user: None }, None),
            "Received: by pi.example (minimta, from uid 7)\r\n\tid 4CV6Q;\r\n\tThu, 1 Jan 1970 00:00:00 +0000\r\n" // F22
        );
        let user = Some("a) (b\r\n");
        let hostile = line(Origin::Local { uid: 7, user }, None);
        assert!(hostile.contains("(minimta, from uid 7 (a? ?b??))\r\n\tid"));
    }

    /// R63, R65, R68: who, by whom, how, as what and when, whatever the client says.
    #[test]
    fn a_client_cannot_break_the_field() {
        // What it said, its reverse name, its address; the from clause.
        let long = "x".repeat(300);
        let long_said = format!("unknown ([192.0.2.1])\r\n\t(said {})", "x".repeat(MAX_WORD));
        let rows: &[(&str, Option<&str>, &str, &str)] = &[
            (
                "client.example",
                Some("n.example"),
                "192.0.2.1",
                "client.example (n.example [192.0.2.1])",
            ),
            (
                "client.example",
                None,
                "2001:db8::1",
                "client.example ([IPv6:2001:db8::1])",
            ),
            ("client.example", None, "", "client.example (local socket)"), // G20
            (
                "[192.0.2.1]",
                None,
                "::ffff:192.0.2.1",
                "[192.0.2.1] ([192.0.2.1])",
            ),
            (
                "x)(y",
                None,
                "192.0.2.1",
                "unknown ([192.0.2.1])\r\n\t(said x??y)",
            ), // F20
            (
                "\"\\",
                None,
                "192.0.2.1",
                "unknown ([192.0.2.1])\r\n\t(said ??)",
            ),
            (
                "[a]b",
                None,
                "192.0.2.1",
                "unknown ([192.0.2.1])\r\n\t(said ?a?b)",
            ),
            (
                "h\u{f6}st\u{1b}\r\nX: y",
                None,
                "192.0.2.1",
                "unknown ([192.0.2.1])\r\n\t(said h?st???X: y)",
            ), // F21
            (
                "",
                Some("a)b"),
                "192.0.2.1",
                "unknown ([192.0.2.1])\r\n\t(said )",
            ),
            (&long, Some(&long), "192.0.2.1", &long_said),
        ];
        for (helo, name, address, from) in rows {
            let origin = Origin::Client {
                helo,
                name: *name,
                address: address.parse().ok(),
                protocol: "ESMTPS",
                tls: Some("TLSv1.3 TLS13_AES_256_GCM_SHA384"),
            };
            assert_eq!(
                line(origin, None),
                format!(
                    "Received: from {from}\r\n\tby pi.example with ESMTPS (TLSv1.3 TLS13_AES_256_GCM_SHA384)\r\n\tid 4CV6Q;\r\n\tThu, 1 Jan 1970 00:00:00 +0000\r\n"
                )
            );
        }
    }

    #[test]
    fn a_name_is_written_so_that_it_is_read_as_that_name() {
        let rows = [
            ("", ""),
            (" Alice Doe ", "Alice Doe"),
            ("Doe, Alice", "\"Doe, Alice\""),
            ("Alice Q. Doe", "\"Alice Q. Doe\""),
            ("a\"b\\c", "\"a\\\"b\\\\c\""),
            ("=?x?q?y?=", "\"=?x?q?y?=\""),
            ("a\r\nBcc: x@y", "\"a  Bcc: x@y\""),
            ("J\u{f6}rg M_1", "=?utf-8?q?J=C3=B6rg_M=5F1?="),
        ];
        for (name, written) in rows {
            assert_eq!(phrase(name), written, "{name:?}");
        }
        let long = phrase(&"\u{1f4eb}".repeat(1000));
        assert!(
            long.split("\r\n ")
                .all(|word| word.len() <= 75 && word.ends_with("?="))
        );
        assert_eq!(long.matches("=F0=9F=93=AB").count(), MAX_NAME);
    }
}
