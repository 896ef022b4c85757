//! The domain name system: mail exchangers and addresses. The only file that knows the resolver, and the runtime it
//! needs, which is made when the first question is asked: whoever sends all mail to a smarthost never has one.
//!
//! What a name server says is a stranger's word. A look-up ends within a limit, whatever is sent and however slowly;
//! aliases are followed for a few steps; of an answer a bounded part is kept, and only what belongs to the name that
//! was asked for. Only "there is no such name" and "it has no such record" are answers; all else (SERVFAIL, REFUSED,
//! silence, rubbish) says nothing about the name, and is [`NoAnswer::Temporary`].

use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::runtime::Runtime;

use super::words;
use crate::proto::mx::{Exchanger, NoAnswer};

/// Which addresses are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Both.
    Any,
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
}

/// Asks name servers.
#[derive(Debug)]
pub struct Dns {
    servers: Vec<SocketAddr>,
    timeout: Duration,
    resolver: OnceLock<Result<Resolver, String>>,
}

#[derive(Debug)]
struct Resolver {
    runtime: Runtime,
    resolver: TokioResolver,
    /// For one look-up as a whole.
    limit: Duration,
}

/// How often a question is put again when no answer comes.
const REPEATS: u32 = 2;
/// The most records of an answer that are kept.
const MAX_RECORDS: usize = 100;
/// The most aliases between a name and what is found (the resolver follows as many).
const MAX_ALIASES: usize = 8;
/// Answers that are remembered: a queue run asks for few names more than once.
const REMEMBERED: u64 = 256;

impl Dns {
    /// Will ask these servers; without any, those of `/etc/resolv.conf`. `timeout` is how long one may take to
    /// answer.
    pub fn new(servers: Vec<SocketAddr>, timeout: Duration) -> Self {
        Self {
            servers,
            timeout,
            resolver: OnceLock::new(),
        }
    }

    /// The mail exchangers of a domain, in no order, null ones (RFC 7505) with an empty name.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn mx(&self, domain: &str) -> Result<Vec<Exchanger>, NoAnswer> {
        let records = self.ask_one(domain, RecordType::MX)?;
        let exchangers = records.into_iter().filter_map(|data| match data {
            RData::MX(mx) => Some(Exchanger {
                preference: mx.preference,
                name: text(&mx.exchange),
            }),
            _ => None,
        });
        Ok(exchangers.collect())
    }

    /// The addresses of some names, asked for all at once; those of IPv6 first.
    pub fn addresses(&self, names: &[&str], family: Family) -> Vec<Result<Vec<IpAddr>, NoAnswer>> {
        let kinds: &[RecordType] = match family {
            Family::Any => &[RecordType::AAAA, RecordType::A],
            Family::V4 => &[RecordType::A],
            Family::V6 => &[RecordType::AAAA],
        };
        let questions: Vec<(&str, RecordType)> = names
            .iter()
            .flat_map(|name| kinds.iter().map(|kind| (*name, *kind)))
            .collect();
        let answers = self.ask(&questions);
        let found = answers.chunks(kinds.len()).map(merged);
        names
            .iter()
            .zip(found)
            .map(|(name, found)| match found {
                Err(NoAnswer::NoData) if self.is_alias(name) => Err(NoAnswer::Temporary(format!(
                    "{name} is an alias, and leads nowhere"
                ))),
                found => found,
            })
            .collect()
    }

    /// The text records of a name, each in one piece, in no order.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn txt(&self, name: &str) -> Result<Vec<String>, NoAnswer> {
        let records = self.ask_one(name, RecordType::TXT)?;
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
    #[allow(dead_code)] // until the first who asks
    pub fn pointer(&self, address: IpAddr) -> Result<Vec<String>, NoAnswer> {
        let name = Name::from(address.to_canonical()).to_ascii();
        let records = self.ask_one(name.trim_end_matches('.'), RecordType::PTR)?;
        let names = records.iter().filter_map(|data| match data {
            RData::PTR(name) => Some(text(&name.0)),
            _ => None,
        });
        Ok(names.collect())
    }

    /// Whether a name is another's alias. The resolver gives a circle of them up as if there were no record; but
    /// somebody is about to mend that.
    fn is_alias(&self, name: &str) -> bool {
        matches!(self.ask(&[(name, RecordType::CNAME)]).pop(), Some(Ok(_)))
    }

    /// Which servers are asked, for people; and whether they answer at all.
    ///
    /// # Errors
    /// Why they do not.
    pub fn check(&self) -> Result<String, String> {
        // The root is there for everybody.
        match self.ask(&[("", RecordType::NS)]).pop() {
            Some(Err(NoAnswer::Temporary(why))) => Err(why),
            _ => Ok(match self.servers.as_slice() {
                [] => "those of /etc/resolv.conf".to_owned(),
                some => some
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(", "),
            }),
        }
    }

    fn ask_one(&self, name: &str, kind: RecordType) -> Result<Vec<RData>, NoAnswer> {
        let found = self.ask(&[(name, kind)]);
        found.into_iter().next().unwrap_or(Err(NoAnswer::NoData))
    }

    /// All questions at once, an answer for each.
    fn ask(&self, questions: &[(&str, RecordType)]) -> Vec<Result<Vec<RData>, NoAnswer>> {
        let made = self
            .resolver
            .get_or_init(|| Resolver::new(&self.servers, self.timeout));
        match made {
            Ok(resolver) => resolver.ask(questions),
            Err(why) => vec![Err(NoAnswer::Temporary(why.clone())); questions.len()],
        }
    }
}

/// The answers for both families as one: an address is an address, whatever became of the other question.
fn merged(answers: &[Result<Vec<RData>, NoAnswer>]) -> Result<Vec<IpAddr>, NoAnswer> {
    let mut addresses = Vec::new();
    let mut nothing = NoAnswer::NoData;
    for answer in answers {
        match answer {
            Ok(records) => addresses.extend(records.iter().filter_map(|data| match data {
                RData::A(a) => Some(IpAddr::V4(a.0)),
                RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
                _ => None,
            })),
            Err(why) => nothing = nothing.max(why.clone()),
        }
    }
    if addresses.is_empty() {
        return Err(nothing);
    }
    Ok(addresses)
}

impl Resolver {
    fn new(servers: &[SocketAddr], timeout: Duration) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(|e| format!("cannot begin to ask name servers: {}", words(&e)))?;
        let config = match servers {
            [] => system_servers()?,
            servers => ResolverConfig::from_name_servers(
                servers.iter().map(|server| name_server(*server)).collect(),
            ),
        };
        let provider = TokioRuntimeProvider::default();
        let mut builder = TokioResolver::builder_with_config(config, provider);
        let options = builder.options_mut();
        options.timeout = timeout;
        options.attempts = REPEATS as usize;
        options.cache_size = REMEMBERED;
        // What this machine calls a host is no business of mail to others (RFC 5321 5.1).
        options.use_hosts_file = ResolveHosts::Never;
        // As the system's own resolver does: the boxes in homes know the DNS of 1987 best.
        options.edns0 = false;
        let resolver = builder
            .build()
            .map_err(|e| format!("cannot begin to ask name servers: {e}"))?;
        Ok(Self {
            runtime,
            resolver,
            limit: timeout * (1 + REPEATS),
        })
    }

    /// Several threads may ask at once; one of them then drives the sockets for all.
    fn ask(&self, questions: &[(&str, RecordType)]) -> Vec<Result<Vec<RData>, NoAnswer>> {
        let start = |(text, kind): &(&str, RecordType)| {
            let name = name(text)?;
            let (resolver, limit, kind) = (self.resolver.clone(), self.limit, *kind);
            Ok(self.runtime.spawn(async move {
                let lookup = resolver.lookup(name.clone(), kind);
                match tokio::time::timeout(limit, lookup).await {
                    Ok(Ok(lookup)) => records(&lookup, name, kind),
                    Ok(Err(error)) => Err(no_answer(&error)),
                    Err(_) => Err(NoAnswer::Temporary(SILENCE.to_owned())),
                }
            }))
        };
        let started: Vec<_> = questions.iter().map(start).collect();
        self.runtime.block_on(async {
            let mut answers = Vec::new();
            for task in started {
                answers.push(match task {
                    Ok(task) => task.await.unwrap_or_else(|_| {
                        Err(NoAnswer::Temporary("the look-up failed here".to_owned()))
                    }),
                    Err(why) => Err(why),
                });
            }
            answers
        })
    }
}

const SILENCE: &str = "no name server answers";

/// The servers of `/etc/resolv.conf`, without its search list: a domain in an address is always a whole one.
fn system_servers() -> Result<ResolverConfig, String> {
    match hickory_resolver::system_conf::read_system_conf() {
        Ok((config, _)) => Ok(ResolverConfig::from_name_servers(
            config.name_servers().to_vec(),
        )),
        Err(e) => Err(format!(
            "cannot learn the name servers from /etc/resolv.conf: {e}; name them in [dns] servers"
        )),
    }
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    server
}

/// A whole name, in the form DNS knows.
fn name(text: &str) -> Result<Name, NoAnswer> {
    let labels: Option<Vec<String>> = text.split('.').map(a_label).collect();
    let made = labels.and_then(|labels| Name::from_ascii(labels.join(".")).ok());
    // What cannot be a name in DNS is none.
    let mut name = made.ok_or(NoAnswer::NoSuchDomain)?;
    name.set_fqdn(true);
    Ok(name)
}

/// A label beyond ASCII as an A-label (RFC 5890 2.3.2.1). An address has U-labels (RFC 6531 3.2), which are in
/// normal form already, and its domain is in lower case: so nothing is mapped, which would take a table of all
/// of Unicode.
fn a_label(label: &str) -> Option<String> {
    if label.is_ascii() {
        return Some(label.to_owned());
    }
    punycode::encode(label)
        .ok()
        .map(|encoded| format!("xn--{encoded}"))
}

fn text(name: &Name) -> String {
    let text = name.to_ascii().to_ascii_lowercase();
    text.strip_suffix('.').unwrap_or(&text).to_owned()
}

/// The records of the kind that was asked for, of the name that was asked for or the one it is an alias of. What
/// else a server sends along is not its to say.
fn records(lookup: &Lookup, asked: Name, kind: RecordType) -> Result<Vec<RData>, NoAnswer> {
    let mut names = vec![asked];
    while names.len() <= MAX_ALIASES {
        let next = lookup
            .answers()
            .iter()
            .find_map(|record| match &record.data {
                RData::CNAME(target) if names.last() == Some(&record.name) => {
                    Some(target.0.clone())
                }
                _ => None,
            });
        match next {
            Some(next) => names.push(next),
            None => break,
        }
    }
    let records: Vec<RData> = lookup
        .answers()
        .iter()
        .filter(|record| record.record_type() == kind && names.contains(&record.name))
        .map(|record| record.data.clone())
        .take(MAX_RECORDS)
        .collect();
    if records.is_empty() {
        return Err(NoAnswer::NoData);
    }
    Ok(records)
}

fn no_answer(error: &NetError) -> NoAnswer {
    let why = match error {
        NetError::Dns(DnsError::NoRecordsFound(nothing)) => match nothing.response_code {
            ResponseCode::NXDomain => return NoAnswer::NoSuchDomain,
            // A server that only names others has not answered.
            ResponseCode::NoError if nothing.ns.is_some() && nothing.soa.is_none() => {
                "the name server does not look up names for others".to_owned()
            }
            ResponseCode::NoError => return NoAnswer::NoData,
            code => format!("the name server failed: {code}"),
        },
        NetError::Dns(DnsError::ResponseCode(code)) => format!("the name server failed: {code}"),
        NetError::Timeout | NetError::NoConnections | NetError::Busy => SILENCE.to_owned(),
        NetError::Io(error) => format!("cannot ask the name server: {}", words(error)),
        _ => "the name server's answer cannot be understood".to_owned(),
    };
    NoAnswer::Temporary(why)
}

#[cfg(test)]
mod tests {
    /// Ours on some systems (src/mathematics.c), libm's on others: the same to a dozen digits.
    #[test]
    fn mathematics_is_right() {
        // Hidden from the compiler, which would reckon for itself.
        let exp = |x: f64| std::hint::black_box(x).exp();
        let pow = |x: f64, y: f64| std::hint::black_box(x).powf(std::hint::black_box(y));
        let rows = [
            (exp(0.0), 1.0),
            (exp(1.0), std::f64::consts::E),
            (exp(-0.35), 0.704_688_089_718_713_5),
            (exp(700.0), 1.014_232_054_735_005e304),
            (exp(-700.0), 9.859_676_543_759_77e-305),
            (pow(2.0, -10.0), 1.0 / 1024.0),
            (pow(0.9, 30.0), 0.042_391_158_275_216_2),
            (pow(-3.0, 3.0), -27.0),
            (pow(10.0, 0.5), 3.162_277_660_168_379_5),
            (pow(1e-310, 0.5), 1e-155),
            (pow(f64::MAX, 0.5), 1.340_780_792_994_259_6e154),
        ];
        for (found, expected) in rows {
            let apart = (found - expected).abs();
            assert!(apart <= expected.abs() * 1e-12, "{found} is not {expected}");
        }
        assert_eq!((exp(1e9), exp(-1e9)), (f64::INFINITY, 0.0));
        assert_eq!((pow(0.0, 2.0), pow(0.0, -1.0)), (0.0, f64::INFINITY));
        assert!(exp(-740.0) > 0.0 && pow(7.0, 0.0) >= 1.0);
        assert!(pow(-2.0, 0.5).is_nan() && exp(f64::NAN).is_nan());
    }
}
