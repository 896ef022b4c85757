//! A letter, and how a server is told of it: MAIL and RCPT, with the parameters that this server knows.

use super::address::{Mailbox, ReversePath};
use super::envelope::{Facts, Recipient, Ret};
use super::parameters::MAX_ORCPT;
use super::reply::Reply;
use super::xtext::seven_bit;

/// What a server says it can do, in its reply to EHLO. What is not understood is passed over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// SIZE (RFC 1870), and the largest message in octets; 0: no limit was named.
    pub size: Option<u64>,
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// AUTH (RFC 4954): the mechanisms, in upper case.
    pub auth: Vec<String>,
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// REQUIRETLS (RFC 8689).
    pub requiretls: bool,
    /// It speaks over TLS, and has shown that it is the one we meant; no word of EHLO.
    pub authentic: bool,
    /// It speaks LMTP (RFC 2033): after the dot it answers once for each recipient.
    pub lmtp: bool,
}

impl Capabilities {
    /// Reads the reply to EHLO; its first line is a greeting.
    pub fn parse(reply: &Reply) -> Self {
        let mut found = Self::default();
        for line in reply.lines.iter().skip(1) {
            // Some servers write AUTH=LOGIN, for clients older than RFC 2554.
            let line = line.to_ascii_uppercase().replacen("AUTH=", "AUTH ", 1);
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("SIZE") => match words.next().map(str::parse) {
                    None => found.size = Some(0),
                    Some(Ok(limit)) => found.size = Some(limit),
                    Some(Err(_)) => {}
                },
                Some("AUTH") => found.auth.extend(words.map(str::to_owned)),
                Some("STARTTLS") => found.starttls = true,
                Some("PIPELINING") => found.pipelining = true,
                Some("8BITMIME") => found.eight_bit_mime = true,
                Some("SMTPUTF8") => found.smtputf8 = true,
                Some("DSN") => found.dsn = true,
                Some("REQUIRETLS") => found.requiretls = true,
                _ => {}
            }
        }
        found
    }
}

/// What is to be delivered, but for the message itself.
#[derive(Debug, Clone, Copy)]
pub struct Letter<'a> {
    /// Who hears of failures.
    pub sender: &'a ReversePath,
    /// Whom it is for; outcomes come in this order.
    pub recipients: &'a [&'a Recipient],
    /// Size and shape of the message.
    pub facts: Facts,
    /// Whether it was submitted as internationalised mail (RFC 6531).
    pub smtputf8: bool,
    /// Whether it may only go on over TLS, with servers that promise the same (RFC 8689).
    pub requiretls: bool,
    /// RET= (RFC 3461 4.3).
    pub ret: Option<Ret>,
    /// ENVID=, in xtext (RFC 3461 4.4).
    pub envid: Option<&'a str>,
}

impl Letter<'_> {
    /// Whether nobody at all can have it without SMTPUTF8: because of its sender, or of its header (RFC 6531 3.2). A
    /// body needs no more than 8BITMIME, or is converted.
    pub fn needs_smtputf8(&self) -> bool {
        (self.smtputf8 && self.facts.eight_bit_header)
            || self
                .sender
                .mailbox()
                .is_some_and(|m| !m.is_ascii() && m.to_ascii().is_none())
    }

    /// The command MAIL (RFC 5321 4.1.1.2). `ascii`: all recipients that will be named are.
    pub fn mail(&self, offered: &Capabilities, ascii: bool) -> String {
        let path = match self.sender {
            ReversePath::Mailbox(sender) => told(sender, offered),
            ReversePath::Null => String::new(),
        };
        let mut text = format!("MAIL FROM:<{path}>");
        if offered.size.is_some() {
            text.push_str(&format!(" SIZE={}", self.facts.size));
        }
        if offered.eight_bit_mime && self.facts.eight_bit {
            text.push_str(" BODY=8BITMIME");
        }
        let beyond = self.sender.mailbox().is_some_and(|m| !m.is_ascii());
        if offered.smtputf8 && (self.smtputf8 || beyond || !ascii) {
            text.push_str(" SMTPUTF8");
        }
        if offered.requiretls && self.requiretls {
            text.push_str(" REQUIRETLS");
        }
        if offered.dsn {
            if let Some(ret) = self.ret {
                text.push_str(&format!(" RET={}", ret.as_str()));
            }
            if let Some(envid) = self.envid.filter(|e| is_parameter(e)) {
                text.push_str(&format!(" ENVID={envid}"));
            }
        }
        text
    }
}

/// The command RCPT for one recipient (RFC 5321 4.1.1.3).
pub fn rcpt(recipient: &Recipient, offered: &Capabilities) -> String {
    let mut text = format!("RCPT TO:<{}>", told(&recipient.address, offered));
    if offered.dsn {
        if let Some(notify) = recipient.notify {
            text.push_str(&format!(" NOTIFY={notify}"));
        }
        if let Some(orcpt) = recipient.orcpt.as_deref().and_then(|o| orcpt(o, offered)) {
            text.push_str(&format!(" ORCPT={orcpt}"));
        }
    }
    text
}

/// An address in the form that the server understands.
fn told(address: &Mailbox, offered: &Capabilities) -> String {
    let ascii = match offered.smtputf8 || address.is_ascii() {
        true => None,
        false => address.to_ascii(),
    };
    ascii.as_ref().unwrap_or(address).to_string()
}

/// An original recipient in the form that the server understands: an address in UTF-8 as it is if it offers SMTPUTF8,
/// and in ASCII else (RFC 6533 3). `None`: in none.
fn orcpt(value: &str, offered: &Capabilities) -> Option<String> {
    let is_utf8 = value
        .split_once(';')
        .is_some_and(|(kind, _)| kind.eq_ignore_ascii_case("utf-8"));
    let ends_a_value = |c: char| c.is_control() || c.is_whitespace() || c == '=';
    match (value.is_ascii(), is_utf8) {
        (true, _) => is_parameter(value).then(|| value.to_owned()),
        (false, false) => None,
        (false, true) if offered.smtputf8 && !value.contains(ends_a_value) => {
            Some(value.to_owned())
        }
        (false, true) => Some(seven_bit(value, false))
            .filter(|value| is_parameter(value) && value.len() <= MAX_ORCPT),
    }
}

/// Whether a text can stand as a parameter's value without becoming another one (RFC 5321 4.1.2 esmtp-value).
fn is_parameter(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b'=')
}

/// What a server offers whose reply to EHLO has these words; `_` for a space.
#[cfg(test)]
pub fn capabilities(words: &str) -> Capabilities {
    let lines = words.split(' ').filter(|w| !w.is_empty());
    let lines = std::iter::once("mx".to_owned()).chain(lines.map(|w| w.replace('_', " ")));
    Capabilities::parse(&Reply {
        code: 250,
        enhanced: None,
        lines: lines.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_and_nonsense_is_passed_over() {
        let offered = capabilities(
            "size_1000 STARTTLS auth=login AUTH_PLAIN_CRAM-MD5 PIPELINING 8BITMIME SMTPUTF8 DSN REQUIRETLS \
             ENHANCEDSTATUSCODES LIMITS_RCPTMAX=5",
        );
        assert_eq!(
            offered,
            Capabilities {
                size: Some(1000),
                starttls: true,
                auth: ["LOGIN", "PLAIN", "CRAM-MD5"].map(str::to_owned).to_vec(),
                pipelining: true,
                eight_bit_mime: true,
                smtputf8: true,
                dsn: true,
                requiretls: true,
                authentic: false,
                lmtp: false,
            }
        );
        let rows = [
            ("SIZE_abc STARTTLSX PIPELININGS \u{fffd} AUTH", None), // K52
            ("SIZE", Some(0)),
            ("SIZE_10 SIZE_20", Some(20)),
            ("SIZE_99999999999999999999999", None),
        ];
        for (words, size) in rows {
            let expected = Capabilities {
                size,
                ..Capabilities::default()
            };
            assert_eq!(capabilities(words), expected, "{words}");
        }
    }
}
