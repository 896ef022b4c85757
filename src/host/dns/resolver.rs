//! One look-up: questions asked side by side, aliases followed, signatures checked where they are asked for, and of an
//! answer only what belongs to the name.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use hickory_net::dnssec::DnssecDnsHandle;
use hickory_net::proto::dnssec::{Proof, TrustAnchors};
use hickory_net::proto::op::{DnsRequest, DnsResponse, Query, ResponseCode};
use hickory_net::proto::rr::{Name, RData, Record, RecordType};
use hickory_net::xfer::{DnsHandle as _, FirstAnswer as _};
use hickory_net::{DnsError, NetError};

use super::exchange::{ENDLESS, Exchange, REFERRAL, Servers, plain, signed};
use super::settings::{anchors, system_servers};
use super::{Anchor, Answer, still, words};
use crate::proto::idna;
use crate::proto::mx::NoAnswer;

/// The name servers that are asked, and what begins a chain of signatures.
pub struct Resolver {
    servers: Arc<Servers>,
    anchors: Option<Arc<TrustAnchors>>,
    /// Whether the servers pass signatures on.
    signs: OnceLock<bool>,
    /// For one look-up as a whole.
    limit: Duration,
}

/// One look-up's end.
pub struct Found {
    /// What was found.
    pub answer: Answer<Vec<RData>>,
    /// The name that was asked for, and those it is an alias of.
    pub names: Vec<Name>,
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

impl Resolver {
    /// Asks these, or those of this system; `anchor` says whether signatures are checked, and from which keys on.
    ///
    /// # Errors
    /// The sentence about the file that cannot be read.
    pub fn new(servers: &[SocketAddr], timeout: Duration, anchor: &Anchor) -> Result<Self, String> {
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
            asked: Arc::default(),
        }
    }

    /// Whether signatures are to be checked at all.
    pub fn has_anchors(&self) -> bool {
        self.anchors.is_some()
    }

    /// Whether signatures come through: those of the root's keys are there for everybody. Where that cannot be told,
    /// because nothing comes through at all, they are waited for: whoever keeps the answer back for a moment must not
    /// have mail sent as if nobody signed.
    pub fn signs(&self) -> bool {
        if let Some(known) = self.signs.get() {
            return *known;
        }
        let found = match self.is_signed(RecordType::DNSKEY) {
            Ok(found) => found,
            // A failure that passes must not be remembered: another question tells whether it is one of the keys alone.
            Err(error) => match self.is_signed(RecordType::NS) {
                // Where keys never come no signature is good, and all mail would wait for ever.
                Ok(true) => return !is_final(&error),
                Ok(false) => false,
                Err(_) => {
                    let root = plain(Query::query(Name::root(), RecordType::NS));
                    if self.exchange().ask(&root).is_err() {
                        return true;
                    }
                    // Plain questions are answered, and those that want signatures are not.
                    false
                }
            },
        };
        *self.signs.get_or_init(|| found)
    }

    /// Whether these records of the root come with signatures.
    fn is_signed(&self, kind: RecordType) -> Result<bool, NetError> {
        let request = DnsRequest::from_query(Query::query(Name::root(), kind), signed());
        let response = self.exchange().ask(&request)?;
        let mut records = response.answers.iter();
        Ok(records.any(|record| record.record_type() == RecordType::RRSIG))
    }

    /// Asks all of them, side by side, within the limit of one look-up.
    pub fn ask(&self, questions: &[(&str, RecordType)], secure: bool) -> Vec<Found> {
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
    /// Nothing was, for this reason.
    pub fn nothing(why: NoAnswer) -> Self {
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

/// A whole name, in the form DNS knows.
pub fn name(text: &str) -> Option<Name> {
    let mut name = Name::from_ascii(&*idna::to_ascii(text)?).ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// As it is shown and compared: lower case, without the last dot.
pub fn text(name: &Name) -> String {
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

/// Whether the server will not say anything else a moment later: a box that knows no such question, or whose answer is too
/// long and not to be had by TCP.
fn is_final(error: &NetError) -> bool {
    match error {
        NetError::Dns(DnsError::ResponseCode(code)) => *code != ResponseCode::ServFail,
        NetError::Io(error) => error.kind() == ErrorKind::ConnectionRefused,
        error => matches!(error, NetError::Truncated),
    }
}

fn no_answer(error: &NetError) -> NoAnswer {
    let why = match error {
        NetError::Dns(DnsError::ResponseCode(code)) => format!("the name server failed: {code}"),
        NetError::Dns(_) => BOGUS.to_owned(),
        NetError::Timeout | NetError::NoConnections => SILENCE.to_owned(),
        NetError::Io(error) => format!("cannot ask the name server: {}", words(error)),
        NetError::Message(why @ (REFERRAL | ENDLESS)) => (*why).to_owned(),
        _ => "the name server's answer cannot be understood".to_owned(),
    };
    NoAnswer::Temporary(why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn who_does_not_answer_has_not_said_that_nothing_is_signed() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = socket.local_addr().unwrap();
        drop(socket);
        let resolver = Resolver::new(&[server], Duration::from_secs(1), &Anchor::Root).unwrap();
        assert!(resolver.signs());
        let found = resolver.ask(&[("example.net", RecordType::MX)], true);
        assert!(matches!(found[0].answer.found, Err(NoAnswer::Temporary(_))));
        assert_eq!(resolver.signs.get(), None);
    }

    /// A name server that answers each question for the root with what `say` has for it: its type, and whether it wants
    /// signatures. "signed", "unsigned", "cut off", a code, or silence. It has no TCP.
    fn root(say: impl Fn(u16, bool) -> &'static str + Send + 'static) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut packet = [0; 512];
            while let Ok((count, peer)) = socket.recv_from(&mut packet) {
                // The root's name is one octet.
                let (head, question) = (&packet[..2], &packet[12..17]);
                let kind = u16::from_be_bytes([question[1], question[2]]);
                let record = |kind: u16, data: &[u8]| {
                    let length = u16::try_from(data.len()).unwrap().to_be_bytes();
                    let kind = kind.to_be_bytes();
                    [&[0], &kind[..], &[0, 1, 0, 0, 0, 60], &length, data].concat()
                };
                let mut records = vec![record(2, &[0])];
                let said = say(kind, count > 17);
                let code = match said {
                    "signed" => {
                        // Labels, times and the like do not matter; the signer is the root.
                        let signature = [&kind.to_be_bytes()[..], &[13], &[0; 32]].concat();
                        records.push(record(46, &signature));
                        0
                    }
                    "unsigned" | "cut off" => 0,
                    "SERVFAIL" => 2,
                    "NOTIMP" => 4,
                    _ => continue,
                };
                if code != 0 {
                    records.clear();
                }
                let answers = u8::try_from(records.len()).unwrap();
                let cut = u8::from(said == "cut off") * 2;
                let flags = [0x81 | cut, 0x80 | code, 0, 1, 0, answers, 0, 0, 0, 0];
                let answer = [head, &flags, question, &records.concat()].concat();
                socket.send_to(&answer, peer).unwrap();
            }
        });
        address
    }

    /// One failure is no proof that nobody signs; what is none is not remembered. Where signatures are not passed on,
    /// it is known once for all.
    #[test]
    fn a_failure_that_passes_turns_nothing_off() {
        // What is answered for the keys, for the names with signatures, without, and what is known then.
        let rows = [
            ("signed", "", "", true, Some(true)),
            ("unsigned", "", "", false, Some(false)),
            ("SERVFAIL", "signed", "unsigned", true, None),
            ("SERVFAIL", "unsigned", "unsigned", false, Some(false)),
            ("SERVFAIL", "NOTIMP", "unsigned", false, Some(false)),
            ("SERVFAIL", "SERVFAIL", "SERVFAIL", true, None),
            // The keys never come: by a box that knows no such question, or has no TCP.
            ("NOTIMP", "signed", "unsigned", false, None),
            ("cut off", "signed", "unsigned", false, None),
        ];
        for (keys, names, plain, signs, known) in rows {
            let server = root(move |kind, is_signed| match (kind, is_signed) {
                (48, _) => keys,
                (_, true) => names,
                (_, false) => plain,
            });
            let timeout = Duration::from_secs(30);
            let resolver = Resolver::new(&[server], timeout, &Anchor::Root).unwrap();
            let found = (resolver.signs(), resolver.signs.get().copied());
            assert_eq!(found, (signs, known), "{keys}, {names}, {plain}");
        }
    }
}
