//! The domain name system: mail exchangers, addresses, and what DNSSEC vouches for. The only folder that knows the
//! library, which has the form of messages (RFC 1035) and the checking of signatures (RFC 4035); asking is ours.
//!
//! 1. the servers of the configuration, or of `/etc/resolv.conf`, when the first question comes
//! 2. a question to one of them (exchange.rs), one thread each when there are several
//! 3. when DANE may depend on the answer, its signatures are checked here, from the root's key on: what a server
//!    claims to have checked counts for nothing. A server that passes no signatures on is found out once, and then
//!    nothing is secure, as with most boxes in homes.
//! 4. aliases are followed, for a few steps
//!
//! What a name server says is a stranger's word. A look-up ends within a limit, whatever is sent and however slowly;
//! of an answer a bounded part is kept, and only what belongs to the name that was asked for. Only "there is no such
//! name" and "it has no such record" are answers; all else (SERVFAIL, REFUSED, silence, rubbish, a bad signature)
//! says nothing about the name, and is [`NoAnswer::Temporary`].

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hickory_net::dnssec::DnssecDnsHandle;
use hickory_net::proto::dnssec::{Algorithm, Proof, PublicKeyBuf, TrustAnchors};
use hickory_net::proto::op::{DnsResponse, Query, ResponseCode};
use hickory_net::proto::rr::{Name, RData, Record, RecordType};
use hickory_net::xfer::{DnsHandle as _, FirstAnswer as _};
use hickory_net::{DnsError, NetError};

use self::exchange::{Exchange, REFERRAL, Servers, plain, signed};
pub use super::lookup::{Anchor, Answer, Family};
use super::{read_bounded, words};
use crate::proto::dane::Tlsa;
use crate::proto::idna;
use crate::proto::mx::{Addresses, Exchanger, NoAnswer};

mod exchange;
mod still;

/// Asks name servers.
pub struct Dns {
    servers: Vec<SocketAddr>,
    timeout: Duration,
    anchor: Anchor,
    resolver: OnceLock<Result<Resolver, String>>,
}

impl std::fmt::Debug for Dns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dns")
            .field("servers", &self.servers)
            .finish()
    }
}

struct Resolver {
    servers: Arc<Servers>,
    anchors: Option<Arc<TrustAnchors>>,
    /// Whether the servers pass signatures on.
    signs: OnceLock<bool>,
    /// For one look-up as a whole.
    limit: Duration,
}

/// One look-up's end.
struct Found {
    answer: Answer<Vec<RData>>,
    /// The name that was asked for, and those it is an alias of.
    names: Vec<Name>,
}

/// How many timeouts a look-up may take as a whole.
const TIMEOUTS: u32 = 3;
/// The most records of an answer that are kept.
const MAX_RECORDS: usize = 100;
/// The most aliases between a name and what is found.
const MAX_ALIASES: usize = 8;
/// The most servers that are asked (resolv.conf(5): MAXNS).
const MAX_SERVERS: usize = 3;
/// The chain of signatures is followed on the stack.
const STACK: usize = if cfg!(debug_assertions) {
    8 << 20
} else {
    1 << 20
};

impl Dns {
    /// Will ask these servers; without any, those of `/etc/resolv.conf`. `timeout` is how long one may take to
    /// answer.
    pub fn new(servers: Vec<SocketAddr>, timeout: Duration, anchor: Anchor) -> Self {
        Self {
            servers,
            timeout,
            anchor,
            resolver: OnceLock::new(),
        }
    }

    /// The mail exchangers of a domain, in no order, null ones (RFC 7505) with an empty name.
    pub fn mx(&self, domain: &str) -> Answer<Vec<Exchanger>> {
        let Found { answer, .. } = self.ask_one(domain, RecordType::MX, true);
        let exchanger = |data| match data {
            RData::MX(mx) => Some(Exchanger {
                preference: mx.preference,
                name: text(&mx.exchange),
            }),
            _ => None,
        };
        Answer {
            found: answer
                .found
                .map(|records| records.into_iter().filter_map(exchanger).collect()),
            secure: answer.secure,
        }
    }

    /// The addresses of some names, asked for all at once; those of IPv6 first.
    pub fn addresses(&self, names: &[&str], family: Family) -> Vec<Result<Vec<IpAddr>, NoAnswer>> {
        let found = self.find_addresses(names, family, false);
        found
            .into_iter()
            .map(|found| found.map(|addresses| addresses.all))
            .collect()
    }

    /// The same, with the names that a TLSA record may stand under (RFC 7672 2.2.2), if `secure` was asked for.
    pub fn find_addresses(
        &self,
        names: &[&str],
        family: Family,
        secure: bool,
    ) -> Vec<Result<Addresses, NoAnswer>> {
        let kinds: &[RecordType] = match family {
            Family::Any => &[RecordType::AAAA, RecordType::A],
            Family::V4 => &[RecordType::A],
            Family::V6 => &[RecordType::AAAA],
        };
        let questions: Vec<(&str, RecordType)> = names
            .iter()
            .flat_map(|name| kinds.iter().map(|kind| (*name, *kind)))
            .collect();
        let answers = self.ask(&questions, secure);
        answers.chunks(kinds.len()).map(merged).collect()
    }

    /// The TLSA records of a service (RFC 6698 3), if DNSSEC vouches for them. When it vouches for nothing there,
    /// there are none.
    ///
    /// # Errors
    /// Why nobody can tell whether there are any: [`NoAnswer::Temporary`].
    pub fn tlsa(&self, host: &str, port: u16) -> Result<Vec<Tlsa>, NoAnswer> {
        let name = format!("_{port}._tcp.{host}");
        let Found { answer, .. } = self.ask_one(&name, RecordType::TLSA, true);
        let record = |data| match data {
            RData::TLSA(tlsa) => Some(Tlsa {
                usage: tlsa.cert_usage.into(),
                selector: tlsa.selector.into(),
                matching: tlsa.matching.into(),
                data: tlsa.cert_data,
            }),
            _ => None,
        };
        match answer.found {
            Ok(records) if answer.secure => Ok(records.into_iter().filter_map(record).collect()),
            Err(NoAnswer::Temporary(why)) => Err(NoAnswer::Temporary(why)),
            _ => Ok(Vec::new()),
        }
    }

    /// The text records of a name, each in one piece, in no order.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn txt(&self, name: &str) -> Result<Vec<String>, NoAnswer> {
        let records = self.ask_one(name, RecordType::TXT, false).answer.found?;
        let texts = records.iter().filter_map(|data| match data {
            RData::TXT(txt) => Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
            _ => None,
        });
        Ok(texts.collect())
    }

    /// The names of an address, by what the address's owner says; in lower case, without a final dot.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn pointer(&self, address: IpAddr) -> Result<Vec<String>, NoAnswer> {
        let name = Name::from(address.to_canonical()).to_ascii();
        let name = name.trim_end_matches('.');
        let records = self.ask_one(name, RecordType::PTR, false).answer.found?;
        let names = records.iter().filter_map(|data| match data {
            RData::PTR(name) => Some(text(&name.0)),
            _ => None,
        });
        Ok(names.collect())
    }

    /// Which servers are asked, for people; and whether they answer at all.
    ///
    /// # Errors
    /// Why they do not.
    pub fn check(&self) -> Result<String, String> {
        let asked = match self.servers.as_slice() {
            [] => "those of /etc/resolv.conf".to_owned(),
            some => some
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", "),
        };
        // The root is there for everybody.
        let root = self.ask_one("", RecordType::NS, false).answer.found;
        match (root, self.resolver.get()) {
            (Err(NoAnswer::Temporary(why)), _) => Err(why),
            (_, Some(Ok(resolver))) if resolver.anchors.is_some() && !resolver.signs() => Ok(
                format!("{asked}; they pass no DNSSEC signatures on, so DANE is not used"),
            ),
            _ => Ok(asked),
        }
    }

    fn ask_one(&self, name: &str, kind: RecordType, secure: bool) -> Found {
        let nothing = || Found::nothing(NoAnswer::NoData);
        self.ask(&[(name, kind)], secure)
            .pop()
            .unwrap_or_else(nothing)
    }

    /// All questions at once, an answer for each. `secure`: it matters whether DNSSEC vouches for it.
    fn ask(&self, questions: &[(&str, RecordType)], secure: bool) -> Vec<Found> {
        let made = self
            .resolver
            .get_or_init(|| Resolver::new(&self.servers, self.timeout, &self.anchor));
        match made {
            Ok(resolver) => resolver.ask(questions, secure),
            Err(why) => questions
                .iter()
                .map(|_| Found::nothing(NoAnswer::Temporary(why.clone())))
                .collect(),
        }
    }
}

/// The answers for both families as one: an address is an address, whatever became of the other question.
fn merged(answers: &[Found]) -> Result<Addresses, NoAnswer> {
    let mut addresses = Addresses::default();
    let (mut nothing, mut vouched) = (NoAnswer::NoData, true);
    for Found { answer, names } in answers {
        match &answer.found {
            Ok(records) => {
                vouched &= answer.secure;
                addresses.names = names.iter().rev().map(text).collect();
                addresses
                    .all
                    .extend(records.iter().filter_map(|data| match data {
                        RData::A(a) => Some(IpAddr::V4(a.0)),
                        RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
                        _ => None,
                    }));
            }
            Err(why) => nothing = nothing.max(why.clone()),
        }
    }
    if addresses.all.is_empty() {
        return Err(nothing);
    }
    if !vouched {
        addresses.names.clear();
    }
    Ok(addresses)
}

impl Resolver {
    fn new(servers: &[SocketAddr], timeout: Duration, anchor: &Anchor) -> Result<Self, String> {
        let mut servers = match servers {
            [] => system_servers()?,
            servers => servers.to_vec(),
        };
        servers.truncate(MAX_SERVERS);
        let anchors = match anchor {
            Anchor::Nobody => None,
            Anchor::Root => Some(TrustAnchors::default()),
            Anchor::File(path) => Some(anchors(path)?),
        };
        Ok(Self {
            servers: Arc::new(Servers::new(servers, timeout)),
            anchors: anchors.map(Arc::new),
            signs: OnceLock::new(),
            limit: timeout * TIMEOUTS,
        })
    }

    fn exchange(&self) -> Exchange {
        Exchange {
            servers: Arc::clone(&self.servers),
            until: Instant::now() + self.limit,
        }
    }

    /// Whether signatures come through: those of the root's keys are there for everybody.
    fn signs(&self) -> bool {
        *self.signs.get_or_init(|| {
            let keys = Query::query(Name::root(), RecordType::DNSKEY);
            let request = hickory_net::proto::op::DnsRequest::from_query(keys, signed());
            let is_signed = |response: DnsResponse| {
                let mut records = response.answers.iter();
                records.any(|record| record.record_type() == RecordType::RRSIG)
            };
            self.exchange().ask(&request).is_ok_and(is_signed)
        })
    }

    fn ask(&self, questions: &[(&str, RecordType)], secure: bool) -> Vec<Found> {
        let anchors = self.anchors.as_ref().filter(|_| secure && self.signs());
        if let ([(name, kind)], None) = (questions, anchors) {
            return vec![self.look_up(name, *kind, None)];
        }
        let failed = || Found::nothing(NoAnswer::Temporary("the look-up failed here".to_owned()));
        thread::scope(|scope| {
            let started: Vec<_> = questions
                .iter()
                .map(|(name, kind)| {
                    let thread = thread::Builder::new().stack_size(STACK);
                    thread.spawn_scoped(scope, move || self.look_up(name, *kind, anchors))
                })
                .collect();
            started
                .into_iter()
                .map(|started| {
                    let done = started.map(thread::ScopedJoinHandle::join);
                    done.ok().and_then(Result::ok).unwrap_or_else(failed)
                })
                .collect()
        })
    }

    fn look_up(&self, asked: &str, kind: RecordType, anchors: Option<&Arc<TrustAnchors>>) -> Found {
        let Some(name) = name(asked) else {
            // What cannot be a name in DNS is none.
            return Found::nothing(NoAnswer::NoSuchDomain);
        };
        let exchange = self.exchange();
        let mut found = Found {
            answer: Answer {
                found: Err(NoAnswer::NoData),
                secure: anchors.is_some(),
            },
            names: vec![name],
        };
        let done = found.follow(kind, |name| respond(&exchange, name, kind, anchors));
        if let Err(why) = done {
            found.answer.found = Err(why);
        }
        found.answer.secure &= !matches!(found.answer.found, Err(NoAnswer::Temporary(_)));
        found
    }
}

impl Found {
    fn nothing(why: NoAnswer) -> Self {
        Self {
            answer: Answer {
                found: Err(why),
                secure: false,
            },
            names: Vec::new(),
        }
    }

    /// From the name that was asked for along its aliases to the records. An answer may hold several steps; of what
    /// else a server sends along it is not the server's to say.
    fn follow(
        &mut self,
        kind: RecordType,
        mut ask: impl FnMut(&Name) -> Result<DnsResponse, NoAnswer>,
    ) -> Result<(), NoAnswer> {
        while let Some(name) = self.names.last().cloned() {
            let response = ask(&name)?;
            let mut last = name.clone();
            while let Some((record, target)) = alias(&response, &last) {
                // Somebody is about to mend that.
                if self.names.len() > MAX_ALIASES {
                    let text = format!("{} is an alias, and leads nowhere", text(&last));
                    return Err(NoAnswer::Temporary(text));
                }
                self.weigh(record)?;
                self.names.push(target.clone());
                last = target;
            }
            let here = |record: &&Record| record.record_type() == kind && record.name == last;
            let mut records = Vec::new();
            for record in response.answers.iter().filter(here).take(MAX_RECORDS) {
                self.weigh(record)?;
                records.push(record.data.clone());
            }
            if !records.is_empty() {
                self.answer.found = Ok(records);
                return Ok(());
            }
            // What an alias leads to has to be asked for: the rest of this answer is about the alias.
            if last == name {
                let proven = |record: &Record| record.proof == Proof::Secure;
                self.answer.secure &= response.authorities.iter().any(proven);
                return Err(match response.response_code {
                    ResponseCode::NXDomain => NoAnswer::NoSuchDomain,
                    _ => NoAnswer::NoData,
                });
            }
        }
        Err(NoAnswer::NoData)
    }

    /// A record that DNSSEC does not vouch for makes all insecure; one that should be signed, and is not or wrongly,
    /// is no answer.
    fn weigh(&mut self, record: &Record) -> Result<(), NoAnswer> {
        match record.proof {
            _ if !self.answer.secure => Ok(()),
            Proof::Secure => Ok(()),
            Proof::Insecure => {
                self.answer.secure = false;
                Ok(())
            }
            Proof::Bogus | Proof::Indeterminate => Err(NoAnswer::Temporary(BOGUS.to_owned())),
        }
    }
}

const SILENCE: &str = "no name server answers";
const BOGUS: &str = "its DNSSEC signatures are not good";

/// One answer, with its signatures checked if there are keys to begin with.
fn respond(
    exchange: &Exchange,
    name: &Name,
    kind: RecordType,
    anchors: Option<&Arc<TrustAnchors>>,
) -> Result<DnsResponse, NoAnswer> {
    let query = Query::query(name.clone(), kind);
    let Some(anchors) = anchors else {
        return exchange.ask(&plain(query)).map_err(|e| no_answer(&e));
    };
    let handle = DnssecDnsHandle::with_trust_anchor(exchange.clone(), Arc::clone(anchors));
    let answer = handle.lookup(query, signed()).first_answer();
    match still::result(answer) {
        Some(Ok(response)) => Ok(response),
        // Where nothing is signed, nothing is signed about what is not there either.
        Some(Err(NetError::Dns(DnsError::Nsec {
            response,
            proof: Proof::Insecure,
            ..
        }))) => Ok(*response),
        Some(Err(error)) => Err(no_answer(&error)),
        None => Err(NoAnswer::Temporary(SILENCE.to_owned())),
    }
}

/// The servers of `/etc/resolv.conf`, without its search list: a domain in an address is always a whole one.
fn system_servers() -> Result<Vec<SocketAddr>, String> {
    const PATH: &str = "/etc/resolv.conf";
    match read_bounded(Path::new(PATH), 64 * 1024) {
        Ok(octets) => Ok(listed_servers(&String::from_utf8_lossy(&octets))),
        Err(e) => Err(format!(
            "cannot learn the name servers from {PATH}: {}; name them in [dns] servers",
            words(&e)
        )),
    }
}

/// The `nameserver` lines of resolv.conf(5); without any, this machine.
fn listed_servers(text: &str) -> Vec<SocketAddr> {
    let line = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let is_server = words.next() == Some("nameserver");
        words.next().filter(|_| is_server).and_then(server)
    };
    let listed: Vec<SocketAddr> = text.lines().filter_map(line).collect();
    if listed.is_empty() {
        return vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), DOMAIN)];
    }
    listed
}

/// The port of name servers.
const DOMAIN: u16 = 53;

/// An address, of one link if it says which (RFC 4007 11): a box in a home may have no other.
fn server(text: &str) -> Option<SocketAddr> {
    let Some((address, link)) = text.split_once('%') else {
        return Some(SocketAddr::new(text.parse().ok()?, DOMAIN));
    };
    let number = match link.parse() {
        Ok(number) => number,
        Err(_) if link.contains(['/', '.']) => return None,
        Err(_) => {
            let path = format!("/sys/class/net/{link}/ifindex");
            let octets = read_bounded(Path::new(&path), 16).ok()?;
            String::from_utf8_lossy(&octets).trim().parse().ok()?
        }
    };
    Some(SocketAddrV6::new(address.parse().ok()?, DOMAIN, 0, number).into())
}

/// The keys of a file: DNSKEY records, each on one line.
fn anchors(path: &Path) -> Result<TrustAnchors, String> {
    let shown = path.display();
    let octets = read_bounded(path, 64 * 1024)
        .map_err(|e| format!("cannot read trust_anchor {shown}: {}", words(&e)))?;
    let mut anchors = TrustAnchors::empty();
    let mut count = 0;
    for line in String::from_utf8_lossy(&octets).lines() {
        let line = line.split(';').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let Some((name, key)) = anchor(line) else {
            return Err(format!(
                "trust_anchor {shown} has a line that is no DNSKEY record, such as \". DNSKEY 257 3 13 ...\": {line}"
            ));
        };
        anchors.insert_with_name(&key, (&name).into());
        count += 1;
    }
    if count == 0 {
        return Err(format!("trust_anchor {shown} has no DNSKEY record in it"));
    }
    Ok(anchors)
}

fn anchor(line: &str) -> Option<(Name, PublicKeyBuf)> {
    let mut words = line.split_ascii_whitespace();
    let owner = name(words.next()?.trim_end_matches('.'))?;
    words.find(|word| *word == "DNSKEY")?;
    let (_flags, _protocol) = (words.next()?, words.next()?);
    let algorithm: u8 = words.next()?.parse().ok()?;
    let key = BASE64.decode(words.collect::<String>()).ok()?;
    Some((owner, PublicKeyBuf::new(key, Algorithm::from_u8(algorithm))))
}

/// A whole name, in the form DNS knows.
fn name(text: &str) -> Option<Name> {
    let mut name = Name::from_ascii(&*idna::to_ascii(text)?).ok()?;
    name.set_fqdn(true);
    Some(name)
}

fn text(name: &Name) -> String {
    let text = name.to_ascii().to_ascii_lowercase();
    text.strip_suffix('.').unwrap_or(&text).to_owned()
}

/// The alias record of a name, and what it leads to.
fn alias<'a>(response: &'a DnsResponse, name: &Name) -> Option<(&'a Record, Name)> {
    response
        .answers
        .iter()
        .find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == *name => Some((record, target.0.clone())),
            _ => None,
        })
}

fn no_answer(error: &NetError) -> NoAnswer {
    let why = match error {
        NetError::Dns(DnsError::ResponseCode(code)) => format!("the name server failed: {code}"),
        NetError::Dns(_) => BOGUS.to_owned(),
        NetError::Timeout | NetError::NoConnections => SILENCE.to_owned(),
        NetError::Io(error) => format!("cannot ask the name server: {}", words(error)),
        NetError::Message(REFERRAL) => REFERRAL.to_owned(),
        _ => "the name server's answer cannot be understood".to_owned(),
    };
    NoAnswer::Temporary(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_of_resolv_conf() {
        let rows = [
            ("", "127.0.0.1:53"),
            (
                "search example\nnameserver 192.0.2.1\nnameserver  2001:db8::1 # x\n",
                "192.0.2.1:53 [2001:db8::1]:53",
            ),
            (
                "nameserver fe80::1%3\nnameserver nonsense\n#nameserver 192.0.2.1",
                "[fe80::1%3]:53",
            ),
            (
                "nameserver fe80::1%../../etc\nnameserver 192.0.2.7",
                "192.0.2.7:53",
            ),
        ];
        for (text, expected) in rows {
            let found = listed_servers(text);
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found.join(" "), expected, "{text}");
        }
    }

    #[test]
    fn anchors_are_dnskey_records() {
        assert!(anchor(". 86400 IN DNSKEY 257 3 8 AwEA AQ==").is_some());
        assert!(anchor("example.net. DNSKEY 257 3 13 AwEAAQ==").is_some());
        for line in [
            ".",
            ". IN DS 1 2 3 4",
            ". DNSKEY 257 3 x AwEAAQ==",
            ". DNSKEY 257 3 8 *",
        ] {
            assert!(anchor(line).is_none(), "{line}");
        }
    }
}
