//! One question and its answer: over UDP, and over TCP when the answer is too long for that.
//!
//! - The servers are asked one after the other, the one that answered last first; one that answers with a failure is
//!   not asked again, one that is silent is, until the time for the look-up is over.
//! - An answer counts when it has the question's number and words and comes from the address that was asked (the
//!   socket is connected; the kernel chooses a port that nobody can foresee).
//! - When all were silent, the root's name servers are asked for, once; when nobody knows even these, no server
//!   answers at all, and for a minute nothing more is asked of them: a message must not wait for each of its domains.
//! - Answers are remembered for as long as they may be, at most some minutes: a chain of signatures begins with the
//!   same few names each time. What they take together is bounded: strangers choose what is asked, and what is answered.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_net::proto::op::{DnsRequest, DnsRequestOptions, DnsResponse, Query, ResponseCode};
use hickory_net::proto::rr::{Name, Record, RecordType};
use hickory_net::xfer::{DnsHandle, DnsResponseStream};
use hickory_net::{DnsError, NetError};

use super::still::Still;
use crate::host::wire::Wire;

/// The name servers, and what is known of them and from them.
pub struct Servers {
    addresses: Vec<SocketAddr>,
    /// How long one may take to answer.
    timeout: Duration,
    /// The one that answered last.
    first: AtomicUsize,
    /// None has answered when it was asked for the root: until when nothing is asked.
    silent: Mutex<Option<Instant>>,
    remembered: Mutex<Remembered>,
}

/// Answers, until when each is good, and what all of them take, octets.
#[derive(Default)]
struct Remembered {
    answers: HashMap<(Query, bool), (Instant, DnsResponse)>,
    weight: usize,
}

/// Asks the servers, until a point in time.
#[derive(Clone)]
pub struct Exchange {
    /// Whom.
    pub servers: Arc<Servers>,
    /// When all must be over.
    pub until: Instant,
    /// How many questions there were; clones share it.
    pub asked: Arc<AtomicUsize>,
}

/// What a server says that looks nothing up for others.
pub const REFERRAL: &str = "the name server does not look up names for others";
/// What is said of a name that leads from question to question.
pub const ENDLESS: &str = "its DNSSEC signatures lead to too many questions";
/// The most questions of one look-up: a long chain of signatures has some dozens. Who signs a zone chooses how many
/// signatures are to be looked into, each of them at each step.
const MOST_QUESTIONS: usize = 200;

/// How long servers that were all silent are left alone. A daemon must find them again when the network is back.
const SILENCE: Duration = Duration::from_secs(60);
/// The most answers that are remembered.
const REMEMBERED: usize = 512;
/// The most that they take together, octets; one that takes an eighth of it is no usual answer.
const MOST: usize = 2 * 1024 * 1024;
/// The longest time for which one is.
const LONGEST: Duration = Duration::from_secs(300);
/// The largest packet of UDP that is read; what signatures need is asked for, and it passes every network.
const PACKET: usize = 4096;
/// The bit TC, in the third octet of a message (RFC 1035 4.1.1).
const TRUNCATED: u8 = 0x02;

impl Servers {
    /// These servers.
    pub fn new(addresses: Vec<SocketAddr>, timeout: Duration) -> Self {
        Self {
            addresses,
            timeout,
            first: AtomicUsize::new(0),
            silent: Mutex::default(),
            remembered: Mutex::default(),
        }
    }

    fn are_silent(&self) -> bool {
        let silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        silent.is_some_and(|until| Instant::now() < until)
    }

    fn recall(&self, key: &(Query, bool)) -> Option<DnsResponse> {
        let remembered = self.remembered.lock();
        let remembered = remembered.unwrap_or_else(PoisonError::into_inner);
        let (until, response) = remembered.answers.get(key)?;
        (Instant::now() < *until).then(|| response.clone())
    }

    fn remember(&self, key: (Query, bool), response: &DnsResponse) {
        // What has no time to live is not remembered: RFC 2308 5 wants a SOA record for "no".
        let Some(ttl) = response.all_sections().map(|record| record.ttl).min() else {
            return;
        };
        let weight = weight(response);
        if weight > MOST / 8 {
            return;
        }
        let until = Instant::now() + LONGEST.min(Duration::from_secs(ttl.into()));
        let remembered = self.remembered.lock();
        let mut remembered = remembered.unwrap_or_else(PoisonError::into_inner);
        if remembered.answers.len() >= REMEMBERED || remembered.weight + weight > MOST {
            *remembered = Remembered::default();
        }
        remembered.weight += weight;
        let before = remembered.answers.insert(key, (until, response.clone()));
        let before = before.map_or(0, |(_, response)| self::weight(&response));
        remembered.weight = remembered.weight.saturating_sub(before);
    }
}

/// What an answer takes, octets: as it came, its records, and what is in them.
fn weight(response: &DnsResponse) -> usize {
    let records = response.all_sections().count() * size_of::<Record>();
    records + 2 * response.as_buffer().len()
}

impl DnsHandle for Exchange {
    type Response = DnsResponseStream;
    type Runtime = Still;

    /// The answer is there when this returns.
    fn send(&self, request: DnsRequest) -> Self::Response {
        DnsResponseStream::from(Box::pin(std::future::ready(self.ask(&request))))
    }
}

impl Exchange {
    /// The answer of the first server that has one. "There is none" is an answer, too.
    pub fn ask(&self, request: &DnsRequest) -> Result<DnsResponse, NetError> {
        let query = request.queries.first().cloned().unwrap_or_default();
        let key = (query, request.edns.is_some());
        if let Some(response) = self.servers.recall(&key) {
            return Ok(response);
        }
        if self.servers.are_silent() {
            return Err(NetError::NoConnections);
        }
        if self.asked.fetch_add(1, Ordering::Relaxed) >= MOST_QUESTIONS {
            return Err(NetError::Message(ENDLESS));
        }
        let mut response = self.first_answer(request, &key.0)?;
        // Nothing of this is ever looked at, and all of it would have its signatures checked.
        response.additionals.clear();
        if leads_elsewhere(&response, &key.0) {
            response.authorities.clear();
            response.metadata.response_code = ResponseCode::NoError;
        }
        if !response.answers.is_empty() && key.0.query_type() != RecordType::NS {
            let authorities = &mut response.authorities;
            authorities.retain(|record| record.record_type() != RecordType::NS);
        }
        self.servers.remember(key, &response);
        Ok(response)
    }

    fn first_answer(&self, request: &DnsRequest, query: &Query) -> Result<DnsResponse, NetError> {
        let (servers, count) = (&self.servers.addresses, self.servers.addresses.len());
        let first = self.servers.first.load(Ordering::Relaxed);
        let mut left: Vec<usize> = (0..count).map(|n| (first + n) % count).collect();
        let mut worst = NetError::NoConnections;
        while !left.is_empty() && Instant::now() < self.until {
            let number = left.remove(0);
            let Some(server) = servers.get(number) else {
                continue;
            };
            match self.ask_one(*server, request, query) {
                Ok(response) => {
                    self.servers.first.store(number, Ordering::Relaxed);
                    return Ok(response);
                }
                Err(NetError::Timeout) => left.push(number),
                Err(error) => worst = error,
            }
        }
        if matches!(worst, NetError::NoConnections) {
            self.find_out_whether_anybody_answers(query);
        }
        Err(worst)
    }

    /// The servers of one domain may be what everybody waits for; those of the root are known to all.
    fn find_out_whether_anybody_answers(&self, query: &Query) {
        let root = Query::query(Name::root(), RecordType::NS);
        let nobody = *query == root || {
            let probe = Self {
                servers: Arc::clone(&self.servers),
                until: Instant::now() + self.servers.timeout,
                asked: Arc::default(),
            };
            matches!(
                probe.first_answer(&plain(root.clone()), &root),
                Err(NetError::NoConnections)
            )
        };
        if nobody {
            let silent = self.servers.silent.lock();
            *silent.unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + SILENCE);
        }
    }

    fn ask_one(
        &self,
        server: SocketAddr,
        request: &DnsRequest,
        query: &Query,
    ) -> Result<DnsResponse, NetError> {
        let until = self.until.min(Instant::now() + self.servers.timeout);
        let packet = request.to_vec()?;
        let response = match over_udp(server, &packet, query, until)? {
            Some(response) => response,
            None => over_tcp(server, &packet, query, until)?,
        };
        match response.response_code {
            ResponseCode::NoError if is_referral(&response) => Err(NetError::Message(REFERRAL)),
            ResponseCode::NoError | ResponseCode::NXDomain if !response.truncation => Ok(response),
            ResponseCode::NoError | ResponseCode::NXDomain => Err(NetError::Truncated),
            code => Err(DnsError::ResponseCode(code).into()),
        }
    }
}

/// A question without anything newer than the DNS of 1987, which the boxes in homes know best.
pub fn plain(query: Query) -> DnsRequest {
    let mut options = DnsRequestOptions::default();
    options.use_edns = false;
    DnsRequest::from_query(query, options)
}

/// A question that wants signatures.
pub fn signed() -> DnsRequestOptions {
    let mut options = DnsRequestOptions::default();
    options.edns_set_dnssec_ok = true;
    options
}

/// Whether all that it holds of the question's answer is an alias. What there is about the end of it, or proves that
/// nothing is there, is of another zone perhaps, and the end is asked for itself (mod.rs).
fn leads_elsewhere(response: &DnsResponse, query: &Query) -> bool {
    let has = |kind| response.answers.iter().any(|r| r.record_type() == kind);
    has(RecordType::CNAME) && !has(query.query_type())
}

/// A server that only names others has not answered.
fn is_referral(response: &DnsResponse) -> bool {
    let has = |kind| response.authorities.iter().any(|r| r.record_type() == kind);
    response.answers.is_empty() && has(RecordType::NS) && !has(RecordType::SOA)
}

/// Nothing is said by an answer that is too long; it may end anywhere, within a record too (RFC 2181 9).
fn over_udp(
    server: SocketAddr,
    packet: &[u8],
    query: &Query,
    until: Instant,
) -> Result<Option<DnsResponse>, NetError> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    socket.send(packet)?;
    let mut buffer = vec![0; PACKET];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(NetError::Timeout);
        }
        socket.set_read_timeout(Some(left))?;
        let received = match socket.recv(&mut buffer) {
            Ok(count) => buffer.get(..count).unwrap_or_default(),
            Err(e) if is_silence(&e) => continue,
            Err(e) => return Err(e.into()),
        };
        // Whoever does not know the question's number has not seen the question.
        if received.get(..2) != packet.get(..2) {
            continue;
        }
        if received.get(2).is_some_and(|flags| flags & TRUNCATED != 0) {
            return Ok(None);
        }
        let response = DnsResponse::from_buffer(received.to_vec())?;
        if is_about(&response, query) {
            return Ok(Some(response));
        }
    }
}

/// Whether it answers this question. A server that did not understand the question may leave it out.
fn is_about(response: &DnsResponse, query: &Query) -> bool {
    match response.queries.as_slice() {
        [] => response.response_code != ResponseCode::NoError,
        queries => queries == [query.clone()],
    }
}

fn over_tcp(
    server: SocketAddr,
    packet: &[u8],
    query: &Query,
    until: Instant,
) -> Result<DnsResponse, NetError> {
    let left = until.saturating_duration_since(Instant::now());
    let mut wire = Wire::connect(&server, None, left.max(Duration::from_millis(1)))?;
    let length = u16::try_from(packet.len()).map_err(|_| NetError::Truncated)?;
    wire.write_all(&length.to_be_bytes())?;
    wire.write_all(packet)?;
    wire.flush()?;
    let mut length = [0; 2];
    wire.read_exact(&mut length)?;
    let mut received = vec![0; usize::from(u16::from_be_bytes(length))];
    wire.read_exact(&mut received)?;
    let response = DnsResponse::from_buffer(received)?;
    if !is_about(&response, query) {
        return Err(NetError::Truncated);
    }
    Ok(response)
}

fn is_silence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_net::proto::op::Message;
    use hickory_net::proto::rr::RData;
    use hickory_net::proto::rr::rdata::A;

    /// An answer with so many addresses, and what it answers.
    fn answer(number: usize, addresses: usize) -> ((Query, bool), DnsResponse) {
        let name = Name::from_ascii(format!("n{number}.example.")).unwrap();
        let query = Query::query(name.clone(), RecordType::A);
        let mut message = Message::response(1, hickory_net::proto::op::OpCode::Query);
        message.add_query(query.clone());
        for _ in 0..addresses {
            let data = RData::A(A(Ipv4Addr::LOCALHOST));
            message.add_answer(Record::from_rdata(name.clone(), 3600, data));
        }
        ((query, false), DnsResponse::from_message(message).unwrap())
    }

    #[test]
    fn what_is_remembered_is_bounded_however_long_answers_are() {
        // Addresses of each answer, and whether it is remembered at all.
        for (addresses, is_remembered) in [(1, true), (100, true), (4000, false)] {
            let servers = Servers::new(Vec::new(), Duration::from_secs(1));
            for number in 0..2 * REMEMBERED {
                let (key, response) = answer(number % (REMEMBERED + 1), addresses);
                servers.remember(key.clone(), &response);
                assert_eq!(servers.recall(&key).is_some(), is_remembered);
                let remembered = servers.remembered.lock().unwrap();
                let kept = remembered.answers.values();
                let all: usize = kept.map(|(_, response)| weight(response)).sum();
                assert_eq!(all, remembered.weight, "{addresses}");
                assert!(all <= MOST && remembered.answers.len() <= REMEMBERED);
            }
        }
    }

    /// Whoever answers, it ends.
    #[test]
    fn a_look_up_has_so_many_questions() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let servers = Servers::new(vec![socket.local_addr().unwrap()], Duration::from_secs(30));
        std::thread::spawn(move || {
            let mut packet = [0; 512];
            while let Ok((count, peer)) = socket.recv_from(&mut packet) {
                // "It has none", without a time to live.
                packet[2..4].copy_from_slice(&[0x81, 0x80]);
                socket.send_to(&packet[..count], peer).unwrap();
            }
        });
        let exchange = Exchange {
            servers: Arc::new(servers),
            until: Instant::now() + Duration::from_secs(600),
            asked: Arc::default(),
        };
        let query = Query::query(Name::from_ascii("example.").unwrap(), RecordType::DS);
        for _ in 0..MOST_QUESTIONS {
            exchange.clone().ask(&plain(query.clone())).unwrap();
        }
        let error = exchange.ask(&plain(query)).unwrap_err();
        assert!(matches!(error, NetError::Message(ENDLESS)), "{error}");
    }
}
