//! A small name server, on UDP and TCP of one free loopback port, with its zones from a text: a record a line.
//!
//! ```text
//! example.net       MX     10 mx.example.net
//! mx.example.net    A      127.0.0.2
//! www.example.net   CNAME  example.net
//! broken.example    !      SERVFAIL
//! ```
//!
//! A name with any line exists; all others do not. A line with `!` makes all questions about a name go wrong, one
//! with `!MX` only those for its MX records:
//!
//! - `SERVFAIL`, `REFUSED`, `NOTIMP`, `FORMERR`: that code
//! - `SILENCE`: no answer; `GARBAGE`: octets that are no answer; `SHORT`: an MX record that is cut off
//! - `WRONGID`: an answer to another question's number; `WRONGNAME`: records of another name
//! - `TRUNCATED`: the whole answer by TCP alone; `TRUNCATED-ONLY`: not even there; `TRUNCATED-WITHIN`: as the first, and
//!   cut off within a record
//! - `REFERRAL`: who else may know
//!
//! With [`Dns::signed`] the root signs all names, and says so to whom asks for it (RFC 4035), but for those at or below
//! a line `NAME CUT -`, which are of a zone that nobody signs. Then there are also
//!
//! - `UNSIGNED`: the signatures are missing; `BADSIG`: they are wrong; `EXPIRED`: they are old

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::signer::{self, Signer};

/// A running name server.
pub struct Dns {
    /// Where it listens, on both.
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    signer: Option<Arc<Signer>>,
}

#[derive(Clone)]
struct Line {
    name: String,
    kind: String,
    value: String,
}

const KINDS: &[(&str, u16)] = &[
    ("A", 1),
    ("NS", 2),
    ("CNAME", 5),
    ("PTR", 12),
    ("MX", 15),
    ("TXT", 16),
    ("AAAA", 28),
    ("DS", 43),
    ("DNSKEY", 48),
    ("TLSA", 52),
];
/// How long records live, seconds.
const TTL: u32 = 60;

impl Dns {
    /// Serves these zones.
    pub fn start(zones: &str) -> Self {
        Self::serve(zones, None)
    }

    /// Serves them signed.
    pub fn signed(zones: &str) -> Self {
        Self::serve(zones, Some(Arc::new(Signer::new())))
    }

    fn serve(zones: &str, signer: Option<Arc<Signer>>) -> Self {
        let lines = zones.lines().map(|line| line.split('#').next().unwrap());
        let lines: Vec<Line> = lines
            .filter_map(|line| {
                let mut words = line.split_whitespace();
                Some(Line {
                    name: words.next()?.to_owned(),
                    kind: words.next().expect("a type").to_owned(),
                    value: words.collect::<Vec<_>>().join(" "),
                })
            })
            .collect();
        let (udp, tcp) = sockets();
        let address = udp.local_addr().unwrap();
        let (asked, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let zone = Zone {
            lines,
            asked: Arc::clone(&asked),
            signer: signer.clone(),
        };
        let (for_udp, stopped) = (zone.clone(), Arc::clone(&stop));
        std::thread::spawn(move || {
            let mut packet = [0; 4096];
            while let Ok((count, peer)) = udp.recv_from(&mut packet) {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                if let Some(answer) = for_udp.answer(&packet[..count], false) {
                    let _ = udp.send_to(&answer, peer);
                }
            }
        });
        let stopped = Arc::clone(&stop);
        std::thread::spawn(move || {
            for socket in tcp.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(socket), zone) = (socket, zone.clone()) else {
                    return;
                };
                std::thread::spawn(move || zone.converse(socket));
            }
        });
        Self {
            address,
            asked,
            stop,
            signer,
        }
    }

    /// The root's key for `trust_anchor`, when the zones are signed.
    pub fn anchor(&self) -> Option<String> {
        self.signer.as_ref().map(|signer| signer.anchor())
    }

    /// The lines of a configuration's `[dns]` for this server.
    pub fn keys(&self) -> String {
        format!("servers = [\"{}\"]\ntimeout = \"1s\"", self.address)
    }

    /// The questions so far, such as `MX example.net`; without the one for the root's keys, which everybody asks.
    pub fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|q| *q != "DNSKEY ").cloned().collect()
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        let _ = UdpSocket::bind("127.0.0.1:0").and_then(|s| s.send_to(b"", self.address));
    }
}

/// Both of one port.
pub fn sockets() -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
            return (udp, tcp);
        }
    }
    panic!("no port is free on UDP and TCP");
}

#[derive(Clone)]
struct Zone {
    lines: Vec<Line>,
    asked: Arc<Mutex<Vec<String>>>,
    signer: Option<Arc<Signer>>,
}

impl Zone {
    /// Questions over TCP, each with its length before it.
    fn converse(&self, mut socket: TcpStream) -> Option<()> {
        let limit = Some(Duration::from_secs(30));
        socket.set_read_timeout(limit).ok()?;
        loop {
            let mut length = [0; 2];
            socket.read_exact(&mut length).ok()?;
            let mut packet = vec![0; usize::from(u16::from_be_bytes(length))];
            socket.read_exact(&mut packet).ok()?;
            let answer = self.answer(&packet, true)?;
            let length = u16::try_from(answer.len()).ok()?.to_be_bytes();
            socket.write_all(&[&length[..], &answer].concat()).ok()?;
        }
    }

    /// `None`: silence.
    fn answer(&self, packet: &[u8], tcp: bool) -> Option<Vec<u8>> {
        let (name, end) = read_name(packet, 12)?;
        let kind = u16::from_be_bytes([*packet.get(end)?, *packet.get(end + 1)?]);
        let number = kind;
        let kind = KINDS.iter().find(|(_, n)| *n == kind).map_or("?", |k| k.0);
        if !tcp {
            self.asked.lock().unwrap().push(format!("{kind} {name}"));
        }
        let mut answer = Answer {
            id: [packet[0], packet[1]],
            flags: 0x8180,
            question: packet[12..end + 4].to_vec(),
            records: Vec::new(),
            authorities: Vec::new(),
        };
        let is = |line: &&Line| line.name.eq_ignore_ascii_case(&name);
        let trouble = self.lines.iter().filter(is).find(|line| {
            let of = line.kind.strip_prefix('!');
            of.is_some_and(|of| of.is_empty() || of == kind)
        });
        match trouble.map(|line| line.value.as_str()) {
            Some("SILENCE") => return None,
            Some("GARBAGE") => return Some([&packet[..2], b"\x81\x80rubbish\xff\xff"].concat()),
            Some("SHORT") => {
                answer.records.push((name.clone(), 15, vec![0]));
                return Some(answer.write());
            }
            Some("FORMERR") => answer.flags |= 1,
            Some("SERVFAIL") => answer.flags |= 2,
            Some("NOTIMP") => answer.flags |= 4,
            Some("REFUSED") => answer.flags |= 5,
            Some("REFERRAL") => {
                answer.authorities = vec![("example".to_owned(), 2, write_name("ns.example"))];
            }
            Some("WRONGID") => answer.id[0] ^= 0xff,
            Some("TRUNCATED") if !tcp => answer.flags |= 0x0200,
            Some("TRUNCATED-WITHIN") if !tcp => {
                let head = [&packet[..2], b"\x83\x80\0\x01\0\x01\0\0\0\0"].concat();
                return Some([&head, &answer.question, &b"\xc0"[..]].concat());
            }
            Some("TRUNCATED-ONLY") if tcp => return None,
            Some("TRUNCATED-ONLY") => answer.flags |= 0x0200,
            _ => {}
        }
        if answer.flags == 0x8180 && answer.authorities.is_empty() {
            self.look_up(&name, kind, &mut answer);
        }
        if trouble.is_some_and(|line| line.value == "WRONGNAME") {
            for record in &mut answer.records {
                record.0 = "other.example".to_owned();
            }
        }
        // The OPT record comes last (RFC 6891 6.1.2): its third octet from the end of its TTL has the bit DO.
        let wants_signatures = packet
            .get(end + 4 + 7)
            .is_some_and(|flags| flags & 0x80 != 0);
        if let Some(signer) = self.signer.as_ref().filter(|_| wants_signatures) {
            let trouble = trouble.map_or("", |line| line.value.as_str());
            self.sign(signer, &name, number, trouble, &mut answer);
        }
        Some(answer.write())
    }

    /// Whether a name is in the zone that nobody signs, or its beginning.
    fn cut(&self, name: &str) -> Option<&Line> {
        let below = |line: &&Line| {
            let end = format!(".{}", line.name.to_ascii_lowercase());
            let name = format!(".{}", name.to_ascii_lowercase());
            line.kind == "CUT" && name.ends_with(&end)
        };
        self.lines.iter().find(below)
    }

    fn sign(&self, signer: &Signer, name: &str, kind: u16, trouble: &str, answer: &mut Answer) {
        if kind == signer::DNSKEY && name.is_empty() {
            answer.flags &= !0xf;
            let key = (String::new(), signer::DNSKEY, signer.dnskey());
            answer.records.push(key);
        }
        let parent_side = kind == 43;
        match self.cut(name) {
            Some(cut) if cut.name.eq_ignore_ascii_case(name) && kind == 2 => {
                let server = (name.to_owned(), 2, write_name("ns.example"));
                answer.records.push(server);
                return;
            }
            Some(cut) if !(cut.name.eq_ignore_ascii_case(name) && parent_side) => return,
            _ => {}
        }
        if !matches!(answer.flags & 0xf, 0 | 3) {
            return;
        }
        if answer.flags & 0xf == 3 || answer.records.is_empty() {
            // "There is no such name" is said as "it has no records" (RFC 4470).
            answer.flags &= !0xf;
            let mut kinds: Vec<u16> = self
                .lines
                .iter()
                .filter(|line| line.name.eq_ignore_ascii_case(name))
                .filter_map(|line| KINDS.iter().find(|(k, _)| *k == line.kind).map(|k| k.1))
                .collect();
            if self.cut(name).is_some() {
                kinds = vec![2];
            }
            let last = answer.records.last().map(|(_, _, data)| data.clone());
            let owner = last
                .and_then(|data| read_name(&data, 0))
                .map(|(name, _)| name);
            let owner = owner.unwrap_or_else(|| name.to_owned());
            let nsec = (owner.clone(), signer::NSEC, Signer::nsec(&owner, &kinds));
            answer.authorities.push(nsec);
        }
        if trouble == "UNSIGNED" {
            return;
        }
        for section in [&mut answer.records, &mut answer.authorities] {
            let mut sets: Vec<(String, u16)> = Vec::new();
            for (name, kind, _) in section.iter() {
                let set = (name.clone(), *kind);
                if !sets.contains(&set) && self.cut(name).is_none_or(|_| parent_side) {
                    sets.push(set);
                }
            }
            for (name, kind) in sets {
                let of = section.iter().filter(|r| r.0 == name && r.1 == kind);
                let data: Vec<Vec<u8>> = of.map(|r| r.2.clone()).collect();
                let mut signature = signer.sign(&name, kind, TTL, &data, trouble == "EXPIRED");
                if trouble == "BADSIG" {
                    *signature.last_mut().unwrap() ^= 1;
                }
                section.push((name, signer::RRSIG, signature));
            }
        }
    }

    fn look_up(&self, name: &str, kind: &str, answer: &mut Answer) {
        let mut name = name.to_owned();
        for _ in 0..4 {
            let here: Vec<&Line> = self
                .lines
                .iter()
                .filter(|line| line.name.eq_ignore_ascii_case(&name))
                .collect();
            if here.is_empty() {
                answer.flags |= 3;
                return;
            }
            for line in here.iter().filter(|line| line.kind == kind) {
                answer.records.push(record(line));
            }
            match here.iter().find(|line| line.kind == "CNAME") {
                Some(alias) if kind != "CNAME" => {
                    answer.records.push(record(alias));
                    name.clone_from(&alias.value);
                }
                _ => return,
            }
        }
    }
}

type Record = (String, u16, Vec<u8>);

fn record(line: &Line) -> Record {
    let number = KINDS.iter().find(|(k, _)| *k == line.kind).unwrap().1;
    let data = match line.kind.as_str() {
        "A" => line
            .value
            .parse::<std::net::Ipv4Addr>()
            .unwrap()
            .octets()
            .to_vec(),
        "AAAA" => line
            .value
            .parse::<std::net::Ipv6Addr>()
            .unwrap()
            .octets()
            .to_vec(),
        "TXT" => {
            let strings = line.value.as_bytes().chunks(255);
            strings
                .flat_map(|s| [&[u8::try_from(s.len()).unwrap()], s].concat())
                .collect()
        }
        "MX" => {
            let (preference, host) = line.value.split_once(' ').unwrap();
            let preference: u16 = preference.parse().unwrap();
            [
                &preference.to_be_bytes()[..],
                &write_name(&host.to_ascii_lowercase()),
            ]
            .concat()
        }
        // `3 1 1 HEX`.
        "TLSA" => {
            let mut words = line.value.split(' ');
            let mut out: Vec<u8> = words.by_ref().take(3).map(|n| n.parse().unwrap()).collect();
            let hex = words.next().unwrap();
            let octet = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            out.extend((0..hex.len()).step_by(2).map(octet));
            out
        }
        _ => write_name(&line.value),
    };
    (line.name.clone(), number, data)
}

struct Answer {
    id: [u8; 2],
    flags: u16,
    question: Vec<u8>,
    records: Vec<Record>,
    authorities: Vec<Record>,
}

impl Answer {
    fn write(&self) -> Vec<u8> {
        let count = |records: &[Record]| u16::try_from(records.len()).unwrap().to_be_bytes();
        let mut out = self.id.to_vec();
        out.extend(self.flags.to_be_bytes());
        out.extend([0, 1]);
        out.extend(count(&self.records));
        out.extend(count(&self.authorities));
        out.extend([0, 0]);
        out.extend(&self.question);
        for (name, kind, data) in self.records.iter().chain(&self.authorities) {
            out.extend(write_name(name));
            out.extend(kind.to_be_bytes());
            out.extend([0, 1]);
            out.extend(TTL.to_be_bytes());
            out.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            out.extend(data);
        }
        out
    }
}

pub fn write_name(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        out.push(u8::try_from(label.len()).unwrap());
        out.extend(label.as_bytes());
    }
    out.push(0);
    out
}

/// The name at a place, and where it ends.
fn read_name(packet: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*packet.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        labels.push(String::from_utf8_lossy(packet.get(at..at + length)?).into_owned());
        at += length;
    }
}
