//! Values that say where mail goes, over what, and as whom it leaves.

use std::net::{IpAddr, SocketAddr};

use super::Address;
use super::document::{Entry, Value};
use super::value::{self, Wrong, describe};
use crate::parts;
use crate::proto::address::{Domain, Invalid, Mailbox};
use crate::proto::end::Mailboxes;
use crate::proto::reply::Enhanced;
use crate::proto::rewrite::Who;
use crate::proto::route::{Pattern, Peer, Refusal, Via};

/// A domain, with a dot before it all below it, or a dot alone for all that are not of this machine.
pub fn pattern(value: &Value) -> Result<Pattern, Wrong> {
    let wrong = || {
        Wrong::new(
            "a domain such as \"lan.example\" or \".lan.example\"",
            value,
        )
    };
    let Value::Text(text) = value else {
        return Err(wrong());
    };
    if text == "." {
        return Ok(Pattern::Others);
    }
    let (bare, below) = match text.strip_prefix('.') {
        Some(bare) => (bare, true),
        None => (text.as_str(), false),
    };
    let domain = Domain::parse(bare).map_err(|invalid| wrong().because(invalid.0))?;
    Ok(if below {
        Pattern::Below(domain)
    } else {
        Pattern::Exactly(domain)
    })
}

/// `host`, `host:port`, `lmtp:PATH`, `lmtp:host:port`, `mx`, `local`, or `refuse` with or without a code, a status and
/// a text.
pub fn via(value: &Value) -> Result<Via, Wrong> {
    let wrong = || {
        Wrong::new(
            "a host such as \"10.0.0.5:2525\", \"lmtp:/run/dovecot/lmtp\", \"mx\", \"local\" or \"refuse 550 5.7.1 text\"",
            value,
        )
    };
    let text = value::text(value).map_err(|_| wrong())?;
    match text.split_once(' ') {
        Some(("refuse", why)) => {
            let refusal = refusal(why).ok_or_else(|| wrong().because(ONLY_FOR_GOOD));
            return refusal.map(Via::Refuse);
        }
        Some(_) => return Err(wrong()),
        None => {}
    }
    match text.as_str() {
        "mx" if !parts::MX => Err(wrong().because(parts::NO_MX)),
        "mx" => Ok(Via::Mx),
        "local" => Ok(Via::Local),
        "refuse" => refusal("").map(Via::Refuse).ok_or_else(wrong),
        text => match text.strip_prefix("lmtp:") {
            Some(place) => lmtp(place, &wrong).map(Via::Lmtp),
            None => host(text, &wrong).map(|(host, port)| Via::Host(host, port)),
        },
    }
}

/// A Maildir or an mbox, with `~/` for the home and `%u` for the user; a command; or a server that speaks LMTP.
pub fn mailbox(value: &Value) -> Result<Mailboxes, Wrong> {
    let wrong = || {
        Wrong::new(
            "a Maildir such as \"~/Maildir/\", an mbox such as \"/var/mail/%u\", a command such as \"|/usr/bin/procmail\", or a server such as \"lmtp:/run/dovecot/lmtp\"",
            value,
        )
    };
    let text = value::text(value).map_err(|_| wrong())?;
    if let Some(place) = text.strip_prefix("lmtp:") {
        return lmtp(place, &wrong).map(Mailboxes::Lmtp);
    }
    if let Some(command) = text.strip_prefix('|') {
        return match command.trim() {
            "" => Err(wrong().because("there is no command in it")),
            _ => Ok(Mailboxes::Command(command.to_owned())),
        };
    }
    if !text.starts_with('/') && !text.starts_with("~/") {
        return Err(wrong().because("it begins with neither / nor ~/"));
    }
    if text.bytes().all(|octet| octet == b'/') {
        return Err(wrong().because("it is the root of all folders, in which nobody has a mailbox"));
    }
    if text.split('%').skip(1).any(|rest| !rest.starts_with('u')) {
        return Err(wrong().because("only u may follow a %"));
    }
    Ok(Mailboxes::Files(text))
}

/// A server that speaks LMTP: the path of its socket, or a host and a port.
fn lmtp(place: &str, wrong: &dyn Fn() -> Wrong) -> Result<Peer, Wrong> {
    if place.starts_with('/') {
        let host = place.to_owned();
        return Ok(Peer { host, port: 0 });
    }
    match host(place, wrong)? {
        (host, Some(port)) => Ok(Peer { host, port }),
        (_, None) => Err(wrong().because("LMTP has no port of its own: name one")),
    }
}

/// Where somebody listens: `unix:PATH`, or `host:port`.
pub fn address(value: &Value) -> Result<Address, Wrong> {
    let wrong = || {
        Wrong::new(
            "where it listens, such as \"unix:/run/rspamd/milter.sock\" or \"127.0.0.1:11332\"",
            value,
        )
    };
    let text = value::text(value).map_err(|_| wrong())?;
    match text.strip_prefix("unix:") {
        Some(path) if path.len() > value::MAX_SOCKET_PATH => {
            Err(wrong().because("the path of a socket has at most 107 octets"))
        }
        Some(path) => value::path(&Value::Text(path.to_owned()))
            .map(Address::Unix)
            .map_err(|_| wrong()),
        None => match host(&text, &wrong)? {
            (host, Some(port)) => Ok(Address::Tcp(host, port)),
            (_, None) => Err(wrong().because("its port is missing")),
        },
    }
}

/// A host by name or address, and its port.
fn host(text: &str, wrong: &dyn Fn() -> Wrong) -> Result<(String, Option<u16>), Wrong> {
    let (name, port) = host_and_port(text).ok_or_else(wrong)?;
    let host = value::host(&Value::Text(name.to_owned()))
        .map_err(|inner| inner.because.map_or_else(wrong, |why| wrong().because(why)))?;
    Ok((host, port))
}

/// What keeps a reply from standing behind `refuse`: what a route says to a client it also says of mail that was taken
/// already, which would wait for a change of the configuration.
const ONLY_FOR_GOOD: &str =
    "a route refuses for good, with 5xx and 5.x.x; it cannot put mail off with 4xx";

/// What follows `refuse`: a code of class 5, a status of class 5 and a text, each of which may be left out.
fn refusal(why: &str) -> Option<Refusal> {
    let mut rest = why.trim();
    let mut word = |is: &dyn Fn(&str) -> bool| {
        let (first, after) = rest.split_once(' ').unwrap_or((rest, ""));
        let first = is(first).then(|| first.to_owned());
        if first.is_some() {
            rest = after.trim_start();
        }
        first
    };
    let code = word(&|w| w.len() == 3 && w.parse::<u16>().is_ok())
        .map_or(Some(550), |w| w.parse().ok())
        .filter(|code| (500..600).contains(code))?;
    let enhanced = word(&|w| Enhanced::parse(w).is_some())
        .map_or(Some(Enhanced(5, 7, 1)), |w| Enhanced::parse(&w))
        .filter(|enhanced| enhanced.0 == 5)?;
    let text = if rest.is_empty() {
        "mail to this address is not sent"
    } else {
        rest
    };
    Some(Refusal {
        code,
        enhanced,
        text: text.to_owned(),
    })
}

/// A host and what follows it; an IPv6 address with a port stands in brackets.
fn host_and_port(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(inner) => {
            let (host, rest) = inner.split_once(']')?;
            (
                host,
                if rest.is_empty() {
                    None
                } else {
                    Some(rest.strip_prefix(':')?)
                },
            )
        }
        None if text.parse::<IpAddr>().is_ok() => (text, None),
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let number = |digits: &str| {
        let digits = digits
            .bytes()
            .all(|b| b.is_ascii_digit())
            .then_some(digits)?;
        digits.parse().ok().filter(|port| *port > 0)
    };
    match port {
        Some(port) => Some((host, Some(number(port)?))),
        None => Some((host, None)),
    }
}

/// Addresses to connect from, at most one of each family: which of two would be meant?
pub fn bind(value: &Value) -> Result<Vec<IpAddr>, Wrong> {
    let wrong = || {
        Wrong::new(
            "a list of addresses of this machine, at most one of IPv4 and one of IPv6",
            value,
        )
    };
    let addresses: Vec<IpAddr> = texts(value)
        .ok_or_else(wrong)?
        .iter()
        .map(|text| text.parse().map_err(|_| wrong()))
        .collect::<Result<_, _>>()?;
    let of = |v6: bool| addresses.iter().filter(|ip| ip.is_ipv6() == v6).count();
    if of(true) > 1 || of(false) > 1 {
        return Err(wrong());
    }
    Ok(addresses)
}

/// Name servers by their addresses, with or without a port.
pub fn servers(value: &Value) -> Result<Vec<SocketAddr>, Wrong> {
    let wrong = || {
        Wrong::new(
            "a list of addresses such as [\"192.0.2.53\", \"127.0.0.1:5353\"]",
            value,
        )
    };
    texts(value)
        .ok_or_else(wrong)?
        .iter()
        .map(|text| {
            let (host, port) = host_and_port(text)?;
            Some(SocketAddr::new(host.parse().ok()?, port.unwrap_or(53)))
        })
        .collect::<Option<_>>()
        .ok_or_else(|| wrong().because("a name server is known by its address alone"))
}

fn texts(value: &Value) -> Option<Vec<&str>> {
    let Value::List(items) = value else {
        return None;
    };
    items.iter().map(|(item, _)| as_text(item)).collect()
}

/// A table from domains to domains.
pub fn masquerade(value: &Value) -> Result<Vec<(Domain, Domain)>, Wrong> {
    let expected = "a table such as { \"router.lan\" = \"example.org\" }";
    let pair = |from: &str, to: &str| {
        let (from, to) = (Domain::parse(from)?, Domain::parse(to)?);
        Ok((from, to.into_ascii()))
    };
    pairs(value, expected, pair)
}

/// A table from names or addresses to addresses.
pub fn senders(value: &Value) -> Result<Vec<(Who, Mailbox)>, Wrong> {
    let expected = "a table such as { \"root\" = \"me@example.org\" }";
    let pair = |from: &str, to: &str| {
        let who = match from.contains('@') {
            true => Who::Address(Mailbox::parse(from)?),
            false => Who::Name(from.to_owned()),
        };
        Ok((who, Mailbox::parse(to)?.with_ascii_domain()))
    };
    pairs(value, expected, pair)
}

/// What each entry of a table of texts means; one that is wrong is named.
fn pairs<T>(
    value: &Value,
    expected: &str,
    pair: impl Fn(&str, &str) -> Result<T, Invalid>,
) -> Result<Vec<T>, Wrong> {
    let Value::Table(entries) = value else {
        return Err(Wrong::new(expected, value));
    };
    let read = |entry: &Entry| {
        let wrong = || Wrong {
            expected: expected.to_owned(),
            found: format!(
                "{} = {}",
                describe_text(&entry.name),
                describe(&entry.value)
            ),
            because: None,
        };
        match as_text(&entry.value) {
            Some(to) => pair(&entry.name, to).map_err(|why| wrong().because(why.0)),
            None => Err(wrong().because("its value is no text in quotes")),
        }
    };
    entries.iter().map(read).collect()
}

fn describe_text(text: &str) -> String {
    describe(&Value::Text(text.to_owned()))
}

fn as_text(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn routes_lead_somewhere() {
        let host = |host: &str, port| Some(Via::Host(host.to_owned(), port));
        let lmtp = |host: &str, port| {
            let host = host.to_owned();
            Some(Via::Lmtp(Peer { host, port }))
        };
        let refuse = |code, enhanced, text: &str| {
            Some(Via::Refuse(Refusal {
                code,
                enhanced,
                text: text.to_owned(),
            }))
        };
        let rows = [
            ("mx", Some(Via::Mx)),
            ("local", Some(Via::Local)),
            ("10.0.0.5", host("10.0.0.5", None)),
            ("10.0.0.5:2525", host("10.0.0.5", Some(2525))),
            ("Relay.example:25", host("relay.example", Some(25))),
            ("2001:db8::1", host("2001:db8::1", None)),
            ("[2001:db8::1]", host("2001:db8::1", None)),
            ("[2001:db8::1]:25", host("2001:db8::1", Some(25))),
            (
                "refuse 550 5.7.1 text",
                refuse(550, Enhanced(5, 7, 1), "text"),
            ),
            (
                "refuse 551 no more",
                refuse(551, Enhanced(5, 7, 1), "no more"),
            ),
            (
                "refuse gone away",
                refuse(550, Enhanced(5, 7, 1), "gone away"),
            ),
            (
                "refuse",
                refuse(550, Enhanced(5, 7, 1), "mail to this address is not sent"),
            ),
            ("refuse 450 4.7.1 later", None),
            ("refuse 550 4.7.1 later", None),
            ("relay.example:0", None),
            ("relay.example:x", None),
            ("relay.example:+5", None),
            ("relay.example:70000", None),
            ("[2001:db8::1", None),
            ("[2001:db8::1]25", None),
            ("smtp://relay.example", None),
            ("two words", None),
            ("lmtp:/run/lmtp", lmtp("/run/lmtp", 0)),
            ("lmtp:Mail.example:24", lmtp("mail.example", 24)),
            ("lmtp:mail.example", None),
            ("lmtp:run/lmtp", None),
            ("lmtp:", None),
            ("", None),
        ];
        for (text, expected) in rows {
            assert_eq!(via(&said(text)).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn mailboxes_are_paths_commands_or_servers() {
        for good in ["~/Maildir/", "~/mbox", "/var/mail/%u", "/srv/%u/%u/"] {
            let files = Mailboxes::Files(good.to_owned());
            assert_eq!(mailbox(&said(good)).unwrap(), files);
        }
        let command = Mailboxes::Command("cat".to_owned());
        assert_eq!(mailbox(&said("|cat")).unwrap(), command);
        for (good, host, port) in [
            ("lmtp:/run/dovecot/lmtp", "/run/dovecot/lmtp", 0),
            ("lmtp:Mail.example:24", "mail.example", 24),
            ("lmtp:[::1]:24", "::1", 24),
        ] {
            let host = host.to_owned();
            let server = Mailboxes::Lmtp(Peer { host, port });
            assert_eq!(mailbox(&said(good)).unwrap(), server);
        }
        for bad in [
            "",
            "~",
            "Maildir/",
            "| ",
            "lmtp:",
            "lmtp:run/x",
            "lmtp:mail.example",
            "/m/%",
            "/m/%d",
            "~x/y",
            "/",
            "//",
            "/a\nb",
        ] {
            assert!(mailbox(&said(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn servers_have_a_port_or_53() {
        let list = |texts: &[&str]| Value::List(texts.iter().map(|t| (said(t), 0..0)).collect());
        let found = servers(&list(&["192.0.2.53", "127.0.0.1:5353", "2001:db8::1"])).unwrap();
        let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            ["192.0.2.53:53", "127.0.0.1:5353", "[2001:db8::1]:53"]
        );
        assert!(servers(&list(&["ns.example"])).is_err());
        assert!(bind(&list(&["192.0.2.1", "192.0.2.2"])).is_err());
        assert!(bind(&list(&["192.0.2.1", "2001:db8::1"])).is_ok());
    }
}
