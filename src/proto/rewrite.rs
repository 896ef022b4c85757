//! Addresses of this system as others are to see them.
//!
//! A whole address first, then the domain; never both. The same for the envelope's sender and for the fields of the
//! header that name authors: an answer must find its way, wherever its writer took the address from.

use super::address::{Domain, Mailbox, ReversePath};
use super::addrlist::addresses;
use super::fields::phrase;
use super::header::{Field, Header};
use super::outcome::one_line;

/// What is changed in mail that leaves this system.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rewriting {
    /// Whole addresses, and what becomes of them.
    pub senders: Vec<(Who, Mailbox)>,
    /// Domains, and what becomes of them.
    pub masquerade: Vec<(Domain, Domain)>,
}

/// An address that is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// A name of this system, at any of its domains.
    Name(String),
    /// An address.
    Address(Mailbox),
}

impl Who {
    fn is(&self, address: &Mailbox, own: &[&Domain]) -> bool {
        let same = |name: &str| name.eq_ignore_ascii_case(address.local());
        match self {
            Self::Name(name) => same(name) && own.contains(&address.domain()),
            Self::Address(this) => same(this.local()) && this.domain() == address.domain(),
        }
    }
}

/// The fields that name authors.
const AUTHORS: &[&str] = &[
    "From",
    "Sender",
    "Reply-To",
    "Resent-From",
    "Resent-Sender",
    "Resent-Reply-To",
];

impl Rewriting {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.senders.is_empty() && self.masquerade.is_empty()
    }

    /// What an address becomes, when it becomes another; `own` are the domains of this system.
    pub fn address(&self, address: &Mailbox, own: &[&Domain]) -> Option<Mailbox> {
        if let Some((_, to)) = self.senders.iter().find(|(who, _)| who.is(address, own)) {
            return Some(to.clone());
        }
        let found = self
            .masquerade
            .iter()
            .find(|(from, _)| from == address.domain());
        found.and_then(|(_, to)| Mailbox::new(address.local().to_owned(), to.clone()).ok())
    }

    /// The envelope's sender. A report has none to be changed (RFC 5321 4.5.5).
    pub fn sender(&self, sender: &ReversePath, own: &[&Domain]) -> ReversePath {
        match sender
            .mailbox()
            .and_then(|mailbox| self.address(mailbox, own))
        {
            Some(other) => ReversePath::Mailbox(other),
            None => sender.clone(),
        }
    }

    /// Those who have written the message.
    pub fn header(&self, header: &mut Header, own: &[&Domain]) {
        if self.is_empty() {
            return;
        }
        header.rewrite_addresses(AUTHORS, &mut |text| {
            let address = Mailbox::parse(text).ok()?;
            self.address(&address, own).map(|other| other.to_string())
        });
    }
}

/// Everything leaves as one address: who wrote it stays reachable through Reply-To. A From in which no address can be
/// read gets this one behind its words, for servers that want it look no further.
pub fn leave_as(header: &mut Header, from: &str) {
    let old = header.get("From").map(|f| f.body().to_vec());
    header.replace_each("From", &mut |field| {
        let (mut is_empty, mut is_bad) = (true, false);
        for address in addresses(field.body()) {
            is_empty = false;
            is_bad |= address.spec.is_err();
        }
        (is_empty || is_bad).then(|| match words(field.body()).as_str() {
            "" => Field::made("From", from),
            words => Field::made("From", &format!("{words} <{from}>")),
        })
    });
    header.rewrite_addresses(&["From"], &mut |address| {
        (address != from).then(|| from.to_owned())
    });
    let changed = header.get("From").map(|f| f.body().to_vec()) != old;
    let old = old.filter(|old| addresses(old).any(|address| address.spec.is_ok()));
    if let (true, Some(old)) = (changed, old) {
        let reply_to = [b"Reply-To: ", old.trim_ascii(), b"\r\n"].concat();
        if let Some(reply_to) = Field::parse(&reply_to) {
            header.add_unless_there(reply_to);
        }
    }
}

/// The name in a From that holds no address, as it may stand before one: `Foo Bar`, `"Bar, Foo" <>`, `(Cron)`; nothing
/// when it is no name.
fn words(body: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(body) else {
        return String::new();
    };
    let text = one_line(text);
    let text = text.trim();
    let name = match text.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next().unwrap_or_default(),
        None => text.split(['<', ',', ';', ':']).next().unwrap_or_default(),
    };
    let name = name.trim_matches(['(', ')', ' ']);
    // An address that cannot be read is no name, and an encoded word (RFC 2047) means nothing in quotes.
    let is_encoded =
        |w: &str| w.starts_with("=?") && w.ends_with("?=") && phrase(w).len() == w.len() + 2;
    let words: Vec<&str> = name.split_whitespace().collect();
    if name.contains('@') {
        String::new()
    } else if !words.iter().any(|w| is_encoded(w)) {
        phrase(name)
    } else if name.len() <= MAX_ENCODED && words.iter().all(|w| is_encoded(w) || phrase(w) == *w) {
        words.join(" ")
    } else {
        String::new()
    }
}

/// The longest name of encoded words that is kept: a line has 998 octets at most (RFC 5322 2.1.1).
const MAX_ENCODED: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::header::sample;

    fn written(header: &Header) -> String {
        let mut text = Vec::new();
        header.write(&mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn everything_leaves_as_one_address_and_its_author_stays_reachable() {
        let rows = [
            (
                "From: root <root@pi.example>\r\n",
                "From: root <me@example.org>\r\nReply-To: root <root@pi.example>\r\n",
            ),
            (
                "From: root@pi.example (Cron)\r\n",
                "From: me@example.org (Cron)\r\nReply-To: root@pi.example (Cron)\r\n",
            ),
            (
                "From: a@pi.example\r\nReply-To: b@c.example\r\n",
                "From: me@example.org\r\nReply-To: b@c.example\r\n",
            ),
            (
                "From: Me <me@example.org>\r\n",
                "From: Me <me@example.org>\r\n",
            ),
            // Nothing in it is as good as none.
            (
                "From: a@pi.example\r\nReply-To: \r\n",
                "From: me@example.org\r\nReply-To: a@pi.example\r\n",
            ),
            ("Subject: x\r\n", "Subject: x\r\n"),
            // No address in it, or none that can be read.
            ("From: Foo Bar\r\n", "From: Foo Bar <me@example.org>\r\n"),
            ("From: Foo <>\r\n", "From: Foo <me@example.org>\r\n"),
            (
                "From: \"Bar, F.\" <>\r\n",
                "From: \"Bar, F.\" <me@example.org>\r\n",
            ),
            (
                "From: (Cron Daemon)\r\n",
                "From: Cron Daemon <me@example.org>\r\n",
            ),
            (
                "From: =?utf-8?q?J=C3=B6rg?=\r\n M\r\n",
                "From: =?utf-8?q?J=C3=B6rg?= M <me@example.org>\r\n",
            ),
            ("From:\r\n", "From: me@example.org\r\n"),
            ("From: a@b@c <\r\n", "From: me@example.org\r\n"),
            ("From: nobody:;\r\n", "From: nobody <me@example.org>\r\n"),
            (
                "From: Foo Bar, a@pi.example\r\n",
                "From: Foo Bar <me@example.org>\r\nReply-To: Foo Bar, a@pi.example\r\n",
            ),
        ];
        for (before, after) in rows {
            let mut header = sample(before);
            leave_as(&mut header, "me@example.org");
            assert_eq!(written(&header), format!("{after}\r\n"));
        }
    }

    #[test]
    fn a_name_of_the_author_keeps_its_octets() {
        let from = b"From: Jos\xe9 <a@pi.example>\r\n";
        let mut header = sample("");
        header.append(Field::parse(from).unwrap());
        leave_as(&mut header, "me@example.org");
        let mut text = Vec::new();
        header.write(&mut text);
        let expected =
            b"From: Jos\xe9 <me@example.org>\r\nReply-To: Jos\xe9 <a@pi.example>\r\n\r\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn addresses_of_this_system_become_those_others_know() {
        let domain = |text: &str| Domain::parse(text).unwrap();
        let mailbox = |text: &str| Mailbox::parse(text).unwrap();
        let rewriting = Rewriting {
            senders: vec![
                (Who::Name("root".to_owned()), mailbox("me@example.org")),
                (
                    Who::Address(mailbox("a@far.example")),
                    mailbox("b@near.example"),
                ),
            ],
            masquerade: vec![(domain("router.lan"), domain("example.org"))],
        };
        let (pi, router) = (domain("pi.example"), domain("router.lan"));
        let own = [&pi, &router];
        let rows = [
            ("root@pi.example", "me@example.org"),
            ("Root@router.lan", "me@example.org"),
            ("root@far.example", "root@far.example"),
            ("cron@router.lan", "cron@example.org"),
            ("cron@sub.router.lan", "cron@sub.router.lan"),
            ("A@far.example", "b@near.example"),
            ("\"a b\"@router.lan", "\"a b\"@example.org"),
        ];
        for (before, after) in rows {
            let sender = rewriting.sender(&ReversePath::Mailbox(mailbox(before)), &own);
            assert_eq!(sender.to_string(), format!("<{after}>"));
            let mut header = sample(&format!("From: X <{before}>\r\nTo: <{before}>\r\n"));
            rewriting.header(&mut header, &own);
            let expected = format!("From: X <{after}>\r\nTo: <{before}>\r\n\r\n");
            assert_eq!(written(&header), expected);
        }
        assert_eq!(
            rewriting.sender(&ReversePath::Null, &own),
            ReversePath::Null
        );
    }
}
