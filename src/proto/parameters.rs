//! The parameters of MAIL and RCPT, checked: what a value says later, in a report or to another server, must not
//! bring a line end or a NUL with it. Each parameter may stand once, and only when its extension was offered.

use super::address::{Mailbox, ReversePath};
use super::command::BLANK;
use super::envelope::{Notify, Recipient, Ret};
use super::replies::{self, Reply};
use super::xtext;

/// The parameters of MAIL.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MailParameters {
    /// SIZE= (RFC 1870): octets the client expects to send.
    pub size: Option<u64>,
    /// BODY= (RFC 6152).
    pub body: Option<Body>,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// REQUIRETLS (RFC 8689).
    pub requiretls: bool,
    /// RET= (RFC 3461 4.3).
    pub ret: Option<Ret>,
    /// ENVID= (RFC 3461 4.4), checked, still in xtext.
    pub envid: Option<String>,
    /// AUTH= (RFC 4954 5): who first sent the message, according to the client.
    pub auth: Option<ReversePath>,
}

/// BODY=.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// 7BIT.
    SevenBit,
    /// 8BITMIME.
    EightBitMime,
}

/// Which extensions were offered that have parameters; SIZE and 8BITMIME always are.
#[derive(Debug, Clone)]
pub struct Offered {
    /// SMTPUTF8.
    pub smtputf8: bool,
    /// REQUIRETLS, once there is TLS.
    pub requiretls: bool,
    /// DSN.
    pub dsn: bool,
    /// AUTH, now or under TLS.
    pub auth: bool,
}

/// Parses what follows the path of MAIL; an error is the reply to it.
pub fn of_mail(text: &str, offered: &Offered) -> Result<MailParameters, Reply> {
    let mut parsed = MailParameters::default();
    for (keyword, value) in parameters(text)? {
        let bad = || bad_parameter(&keyword);
        match (keyword.as_str(), value) {
            ("SIZE", value) => parsed.size = Some(value.and_then(size).ok_or_else(bad)?),
            ("BODY", value) => parsed.body = Some(body(value)?),
            ("SMTPUTF8", None) if offered.smtputf8 => parsed.smtputf8 = true,
            ("SMTPUTF8", Some(_)) if offered.smtputf8 => return Err(bad()),
            ("REQUIRETLS", None) if offered.requiretls => parsed.requiretls = true,
            ("REQUIRETLS", Some(_)) if offered.requiretls => return Err(bad()),
            ("RET", value) if offered.dsn => {
                parsed.ret = Some(value.and_then(Ret::parse).ok_or_else(bad)?);
            }
            ("ENVID", value) if offered.dsn => {
                let envid = value.filter(|v| is_envid(v));
                parsed.envid = Some(envid.ok_or_else(bad)?.to_owned());
            }
            ("AUTH", value) if offered.auth => {
                parsed.auth = Some(value.and_then(submitter).ok_or_else(bad)?);
            }
            _ => return Err(replies::UNKNOWN_PARAMETER),
        }
    }
    Ok(parsed)
}

/// Parses what follows the path of RCPT, into the recipient.
pub fn of_rcpt(text: &str, offered: &Offered, recipient: &mut Recipient) -> Result<(), Reply> {
    for (keyword, value) in parameters(text)? {
        let bad = || bad_parameter(&keyword);
        match (keyword.as_str(), value) {
            ("NOTIFY", value) if offered.dsn => {
                recipient.notify = Some(value.and_then(Notify::parse).ok_or_else(bad)?);
            }
            ("ORCPT", value) if offered.dsn => {
                let orcpt = value.filter(|v| is_orcpt(v));
                recipient.orcpt = Some(orcpt.ok_or_else(bad)?.to_owned());
            }
            _ => return Err(replies::UNKNOWN_PARAMETER),
        }
    }
    Ok(())
}

/// `KEYWORD` or `KEYWORD=value`, each once; the keyword in upper case.
fn parameters(text: &str) -> Result<Vec<(String, Option<&str>)>, Reply> {
    let mut found: Vec<(String, Option<&str>)> = Vec::new();
    for word in text.split(BLANK).filter(|w| !w.is_empty()) {
        let (keyword, value) = match word.split_once('=') {
            Some((keyword, value)) => (keyword, Some(value)),
            None => (word, None),
        };
        let keyword = keyword.to_ascii_uppercase();
        if keyword.is_empty() || found.iter().any(|(k, _)| *k == keyword) {
            return Err(bad_parameter(&keyword));
        }
        found.push((keyword, value));
    }
    Ok(found)
}

fn bad_parameter(keyword: &str) -> Reply {
    replies::BAD_PARAMETER.with_text(format!("bad parameter {keyword}"))
}

/// 1 to 20 digits (RFC 1870 4). What is more than 64 bits hold is over every limit all the same.
fn size(value: &str) -> Option<u64> {
    let valid = matches!(value.len(), 1..=20) && value.bytes().all(|b| b.is_ascii_digit());
    valid.then(|| value.parse().unwrap_or(u64::MAX))
}

fn body(value: Option<&str>) -> Result<Body, Reply> {
    match value {
        Some(v) if v.eq_ignore_ascii_case("7BIT") => Ok(Body::SevenBit),
        Some(v) if v.eq_ignore_ascii_case("8BITMIME") => Ok(Body::EightBitMime),
        Some(v) if v.eq_ignore_ascii_case("BINARYMIME") => Err(replies::UNKNOWN_PARAMETER),
        _ => Err(bad_parameter("BODY")),
    }
}

/// The longest ENVID (RFC 3461 4.4).
pub const MAX_ENVID: usize = 100;
/// Whether a text can be the value of ENVID, in xtext.
pub fn is_envid(value: &str) -> bool {
    matches!(value.len(), 1..=MAX_ENVID) && is_printable_xtext(value)
}

/// The longest ORCPT (RFC 3461 4.2).
pub const MAX_ORCPT: usize = 500;

/// `type;address`: the type an atom, the address xtext (RFC 3461 4.2), or UTF-8 for the type utf-8 (RFC 6533 3).
fn is_orcpt(value: &str) -> bool {
    let Some((kind, address)) = value.split_once(';') else {
        return false;
    };
    let atom = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&b);
    let utf8 = kind.eq_ignore_ascii_case("utf-8");
    let ascii: String = address.chars().filter(|c| !utf8 || c.is_ascii()).collect();
    value.len() <= MAX_ORCPT
        && !kind.is_empty()
        && kind.bytes().all(atom)
        && !address.is_empty()
        && is_printable_xtext(&ascii)
}

/// AUTH=: `<>`, or an address in xtext (RFC 4954 5).
fn submitter(value: &str) -> Option<ReversePath> {
    let decoded = xtext::decode(value)?;
    match decoded.as_str() {
        "<>" => Some(ReversePath::Null),
        _ => Mailbox::parse(&decoded).ok().map(ReversePath::Mailbox),
    }
}

/// Whether a text is xtext that says nothing but printable ASCII: what is decoded from it for a report must not
/// bring a line end or a NUL with it (RFC 3461 4.4; CVE-2020-28021, CVE-2020-28026).
fn is_printable_xtext(text: &str) -> bool {
    xtext::decode(text).is_some_and(|plain| plain.bytes().all(|b| matches!(b, b' '..=b'~')))
}
