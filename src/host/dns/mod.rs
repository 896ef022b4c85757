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

mod exchange;
mod resolver;
mod settings;
mod still;

use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;
use std::time::Duration;

use hickory_net::proto::rr::{Name, RData, RecordType};

use self::resolver::{Found, Resolver, text};
pub use super::lookup::{Anchor, Answer, Family};
use super::words;
use crate::proto::dane::Tlsa;
use crate::proto::mx::{Addresses, Exchanger, NoAnswer};

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
            (_, Some(Ok(resolver))) if resolver.has_anchors() && !resolver.signs() => Ok(format!(
                "{asked}; they pass no DNSSEC signatures on, so DANE is not used"
            )),
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
