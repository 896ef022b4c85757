//! A value of the file -> what a key means by it, or what was expected and what was found.

use std::borrow::Cow;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::document::Value;
use super::report::printable;
use super::{Endpoint, LogTo};
use crate::proto::address::{Domain, Mailbox};
use crate::proto::alias::{Place, Target, read_list};
use crate::proto::network::Network;
use crate::proto::screen::List;

mod measure;

pub use measure::{DAY, GIB, KIB, MINUTE, duration, show_duration, show_size, size};

/// Why a value is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// What would be right.
    pub expected: String,
    /// What stands there.
    pub found: String,
    /// What is wrong with it, where that is not plain.
    pub because: Option<Cow<'static, str>>,
}

impl Wrong {
    /// What was expected, and what stands there.
    pub fn new(expected: impl Into<String>, value: &Value) -> Self {
        Self {
            expected: expected.into(),
            found: describe(value),
            because: None,
        }
    }

    /// Why that is not right.
    pub fn because(self, reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            because: Some(reason.into()),
            ..self
        }
    }
}

/// A value in words: as it is written, or what kind of thing it is.
pub fn describe(value: &Value) -> String {
    match value {
        Value::Text(text) => format!("\"{}\"", printable(text)),
        Value::Number(number) => number.to_string(),
        Value::Flag(flag) => flag.to_string(),
        Value::List(_) => "a list".to_owned(),
        Value::Table(_) => "a table".to_owned(),
        Value::Other(written) => printable(written),
    }
}

/// `true` or `false`.
pub fn flag(value: &Value) -> Result<bool, Wrong> {
    match value {
        Value::Flag(flag) => Ok(*flag),
        _ => Err(Wrong::new("true or false, without quotes", value)),
    }
}

/// A whole number within bounds.
pub fn number<T: TryFrom<u64>>(value: &Value, range: RangeInclusive<u64>) -> Result<T, Wrong> {
    let number = match value {
        Value::Number(number) => u64::try_from(*number).ok(),
        _ => None,
    };
    number
        .filter(|number| range.contains(number))
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            Wrong::new(format!("a number from {least} to {most}"), value)
        })
}

/// One of a few words.
pub fn choice<T: Copy>(value: &Value, words: &[(&str, T)]) -> Result<T, Wrong> {
    let found = match value {
        Value::Text(text) => words.iter().find(|(word, _)| word == text),
        _ => None,
    };
    found.map(|(_, meaning)| *meaning).ok_or_else(|| {
        let words: Vec<String> = words
            .iter()
            .map(|(word, _)| format!("\"{word}\""))
            .collect();
        Wrong::new(format!("one of {}", words.join(", ")), value)
    })
}

/// A text in one line that says something.
pub fn text(value: &Value) -> Result<String, Wrong> {
    match value {
        Value::Text(text) if !text.is_empty() && !text.chars().any(char::is_control) => {
            Ok(text.clone())
        }
        _ => Err(Wrong::new(
            "a text in quotes, not empty and without control characters",
            value,
        )),
    }
}

/// A path from the root: the folder a program is started in is chosen by its caller.
pub fn path(value: &Value) -> Result<PathBuf, Wrong> {
    let wrong = || Wrong::new("a path that begins with /", value);
    let path = text(value).map_err(|_| wrong())?;
    if path.starts_with('~') {
        return Err(wrong().because("~ is not expanded here"));
    }
    if !path.starts_with('/') {
        return Err(wrong());
    }
    Ok(PathBuf::from(path))
}

/// A user of this system, by name.
pub fn user(value: &Value) -> Result<String, Wrong> {
    let wrong = || Wrong::new("a user name such as \"minimta\"", value);
    let name = text(value).map_err(|_| wrong())?;
    if name.starts_with('-') || name.contains(['/', ':', ' ']) {
        return Err(wrong());
    }
    Ok(name)
}

/// A program and its arguments.
pub fn words(value: &Value) -> Result<Vec<String>, Wrong> {
    let wrong = || {
        Wrong::new(
            "a list of texts, the program's whole path and its arguments",
            value,
        )
    };
    let Value::List(items) = value else {
        return Err(wrong());
    };
    let words = items
        .iter()
        .map(|(item, _)| match item {
            // An argument may well be empty; a NUL cannot be handed to a program.
            Value::Text(word) if !word.contains('\0') => Ok(word.clone()),
            _ => Err(wrong()),
        })
        .collect::<Result<Vec<_>, _>>()?;
    match words.first() {
        Some(program) if program.starts_with('/') => Ok(words),
        Some(_) => Err(wrong().because("the first word does not begin with /")),
        None => Err(wrong().because("it is empty")),
    }
}

/// A domain, or an address literal.
pub fn domain(value: &Value) -> Result<Domain, Wrong> {
    let wrong = || Wrong::new("a domain such as \"pi.example.org\"", value);
    let Value::Text(text) = value else {
        return Err(wrong());
    };
    Domain::parse(text).map_err(|invalid| wrong().because(invalid.0))
}

/// What this machine calls itself: a domain, or an address literal in its brackets (RFC 5321 4.1.3).
pub fn host_name(value: &Value) -> Result<Domain, Wrong> {
    let name = domain(value)?;
    if !is_bare_address(&name) {
        return Ok(name);
    }
    let why = match name.as_str().parse::<IpAddr>() {
        Ok(_) => "it is an address, which is no name; other servers would refuse mail from it",
        Err(_) => {
            "it ends in a number, as addresses do and no name does; other servers would refuse mail from it"
        }
    };
    Err(Wrong::new("a domain such as \"pi.example.org\"", value).because(why))
}

/// Whether what looks like a domain is an address without brackets, or passes for one with lenient readers: its last
/// label is a number (RFC 1123 2.1, RFC 3696 2). No server may be told it as a name. Digits without a dot are none:
/// they are a name that is not qualified, as that of a container may be.
pub fn is_bare_address(name: &Domain) -> bool {
    let name = name.ascii();
    let last = name.rsplit_once('.').map(|(_, last)| last);
    let is_digits = |label: &str| label.bytes().all(|octet| octet.is_ascii_digit());
    let hex = last.unwrap_or(name).strip_prefix("0x");
    last.is_some_and(is_digits)
        || hex.is_some_and(|hex| {
            !hex.is_empty() && hex.bytes().all(|octet| octet.is_ascii_hexdigit())
        })
}

/// A DKIM selector (RFC 6376 3.1): one or more labels of a name.
pub fn selector(value: &Value) -> Result<String, Wrong> {
    let wrong = || Wrong::new("a selector such as \"mail\"", value);
    match value {
        Value::Text(text) if text.is_ascii() => Domain::parse(text)
            .map(|labels| labels.to_string())
            .map_err(|invalid| wrong().because(invalid.0)),
        _ => Err(wrong()),
    }
}

/// Lists of addresses in DNS, each with what it counts.
pub fn lists(value: &Value) -> Result<Vec<List>, Wrong> {
    let wrong = |value| {
        let expected = "lists such as [\"zen.spamhaus.org\", \"list.dnswl.org*-2\"]";
        Wrong::new(expected, value)
    };
    let Value::List(items) = value else {
        return Err(wrong(value));
    };
    let mut lists = Vec::new();
    for (item, _) in items {
        let Value::Text(text) = item else {
            return Err(wrong(item));
        };
        lists.push(List::parse(text).map_err(|why| wrong(item).because(why))?);
    }
    Ok(lists)
}

/// A list of domains, each taken once.
pub fn domains(value: &Value) -> Result<Vec<Domain>, Wrong> {
    let Value::List(items) = value else {
        return Err(Wrong::new(
            "a list of domains such as [\"pi.example.org\", \"localhost\"]",
            value,
        ));
    };
    let mut domains = Vec::new();
    for (item, _) in items {
        let domain = domain(item)?;
        if !domains.contains(&domain) {
            domains.push(domain);
        }
    }
    Ok(domains)
}

/// A list of networks, none of them so large that it is not the reader's own.
pub fn networks(value: &Value) -> Result<Vec<Network>, Wrong> {
    let wrong = |value| Wrong::new("a list of networks such as [\"192.168.1.0/24\"]", value);
    let Value::List(items) = value else {
        return Err(wrong(value));
    };
    let mut networks = Vec::new();
    for (item, _) in items {
        let Value::Text(text) = item else {
            return Err(wrong(item));
        };
        let network = Network::parse(text).map_err(|why| wrong(item).because(why))?;
        if network.is_the_world() {
            return Err(wrong(item).because("anybody could send through this machine"));
        }
        networks.push(network);
    }
    Ok(networks)
}

/// A list of places to listen at.
pub fn endpoints(value: &Value) -> Result<Vec<Endpoint>, Wrong> {
    let wrong = |value| {
        Wrong::new(
            "a list of addresses with their ports such as [\"127.0.0.1:25\", \"[::1]:25\", \"unix:/run/minimta/lmtp\"]",
            value,
        )
    };
    let Value::List(items) = value else {
        return Err(wrong(value));
    };
    let mut endpoints = Vec::new();
    for (item, _) in items {
        let Value::Text(text) = item else {
            return Err(wrong(item));
        };
        let endpoint = match text.strip_prefix("unix:") {
            // An address of a socket has room for so many octets, and an end mark.
            Some(path) if path.len() > MAX_SOCKET_PATH => {
                return Err(wrong(item).because("the path of a socket has at most 107 octets"));
            }
            Some(path) => self::path(&Value::Text(path.to_owned()))
                .map(Endpoint::Unix)
                .ok(),
            None => text.parse().map(Endpoint::Tcp).ok(),
        };
        let endpoint = endpoint.ok_or_else(|| {
            let bare = text.parse::<IpAddr>().is_ok();
            let wrong = wrong(item);
            if bare {
                wrong.because("its port is missing")
            } else {
                wrong
            }
        })?;
        if !endpoints.contains(&endpoint) {
            endpoints.push(endpoint);
        }
    }
    Ok(endpoints)
}

/// The longest path of a socket.
pub const MAX_SOCKET_PATH: usize = 107;

/// An address of a person.
pub fn address(value: &Value) -> Result<Mailbox, Wrong> {
    let wrong = || Wrong::new("an address such as \"me@example.org\"", value);
    let Value::Text(text) = value else {
        return Err(wrong());
    };
    // What is written into mail must not ask for servers that know SMTPUTF8.
    Mailbox::parse(text)
        .map(Mailbox::with_ascii_domain)
        .map_err(|invalid| wrong().because(invalid.0))
}

/// A host by name or address, written as a resolver takes it: no brackets, no final dot.
pub fn host(value: &Value) -> Result<String, Wrong> {
    let wrong = || Wrong::new("the name or address of a host", value);
    let Value::Text(text) = value else {
        return Err(wrong());
    };
    let bare = text
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
        .unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    if text.contains("://") {
        return Err(wrong().because("the protocol follows from tls and port"));
    }
    if let Some((_, port)) = text.rsplit_once(':') {
        let port = port.parse::<u16>().unwrap_or(587);
        return Err(wrong().because(format!("the port has a key of its own: port = {port}")));
    }
    match Domain::parse(text) {
        Ok(domain) if !text.starts_with('[') => Ok(domain.ascii().to_owned()),
        Ok(_) => Err(wrong()),
        Err(invalid) => Err(wrong().because(invalid.0)),
    }
}

/// `sha256:` and the 64 digits of a certificate's SHA-256, with or without colons, as `openssl x509 -fingerprint
/// -sha256` prints them.
pub fn fingerprint(value: &Value) -> Result<[u8; 32], Wrong> {
    let wrong = || Wrong::new("\"sha256:\" and 64 hexadecimal digits", value);
    let Value::Text(text) = value else {
        return Err(wrong());
    };
    let digits = text.strip_prefix("sha256:").ok_or_else(wrong)?;
    let digits: Vec<u32> = digits
        .chars()
        .filter(|c| *c != ':')
        .map(|c| c.to_digit(16))
        .collect::<Option<_>>()
        .ok_or_else(wrong)?;
    let octets: Vec<u8> = digits
        .chunks(2)
        .filter_map(|pair| match pair {
            [high, low] => u8::try_from(high << 4 | low).ok(),
            _ => None,
        })
        .collect();
    if digits.len() != 64 {
        return Err(wrong().because("it has more digits or fewer"));
    }
    octets.try_into().map_err(|_| wrong())
}

/// Whose rights the commands of the alias file get.
pub fn alias_user(value: &Value) -> Result<String, Wrong> {
    let wrong = || {
        Wrong::new(
            "the name of a user without rights, such as \"nobody\"",
            value,
        )
    };
    let name = text(value).map_err(|_| wrong())?;
    if name == "root" {
        return Err(wrong().because("nothing of the alias file runs as root"));
    }
    if name.is_empty()
        || !name
            .chars()
            .all(|c| c.is_alphanumeric() || "._-".contains(c))
    {
        return Err(wrong());
    }
    Ok(name)
}

/// What separates a user from a detail.
pub fn delimiter(value: &Value) -> Result<Option<char>, Wrong> {
    let wrong = || {
        Wrong::new(
            "one character such as \"+\" or \"-\", or \"\" for none",
            value,
        )
    };
    let Value::Text(text) = value else {
        return Err(wrong());
    };
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (None, _) => Ok(None),
        (Some(c), None) if "+-=_.~!#*%".contains(c) => Ok(Some(c)),
        _ => Err(wrong()),
    }
}

/// Who gets mail for nobody.
pub fn unknown_user(value: &Value) -> Result<Option<Target>, Wrong> {
    let wrong = || {
        Wrong::new(
            "\"refuse\", or an address, a user or an alias such as \"root\"",
            value,
        )
    };
    let text = text(value).map_err(|_| wrong())?;
    if text == "refuse" {
        return Ok(None);
    }
    match read_list(&text, Place::Include) {
        Ok(targets) => match <[Target; 1]>::try_from(targets) {
            Ok([target @ (Target::Name(_) | Target::Address(_))]) => Ok(Some(target)),
            _ => Err(wrong()),
        },
        Err(_) => Err(wrong()),
    }
}

/// Where log lines go.
pub fn log_to(value: &Value) -> Result<LogTo, Wrong> {
    match value {
        Value::Text(word) if word == "auto" => Ok(LogTo::Auto),
        Value::Text(word) if word == "syslog" => Ok(LogTo::Syslog),
        Value::Text(word) if word == "stderr" => Ok(LogTo::Stderr),
        _ => path(value).map(LogTo::File).map_err(|wrong| Wrong {
            expected: "\"auto\", \"syslog\", \"stderr\" or a path that begins with /".to_owned(),
            ..wrong
        }),
    }
}

#[cfg(test)]
mod tests;
