//! What name servers, web servers and TLS servers answer when mail is to be sent to them, and lists of clients.

use std::net::IpAddr;

use super::{choice, is_canonical};
use crate::proto::address::Domain;
use crate::proto::dane::{Tlsa, usable};
use crate::proto::header_reader::HeaderReader;
use crate::proto::http;
use crate::proto::milter::{Said, Terms, apply};
use crate::proto::mx::{Addresses, Exchanger, NoAnswer, Own, exchangers, hosts};
use crate::proto::screen::{BUCKET, List, comes_again, odd_name, score};
use crate::proto::sts::{self, Policy};
use crate::proto::x509;

/// MX records and addresses: a line is a preference and a name, then its addresses. Nobody is tried who is this machine,
/// or worse, and of all others only a few, each with an address.
pub fn dns(octets: &[u8]) {
    let (random, octets) = choice(octets);
    let text = String::from_utf8_lossy(octets);
    let own = Domain::parse("pi.example.org").unwrap();
    let here: IpAddr = "192.0.2.25".parse().unwrap();
    let domain = Domain::parse("example.net").unwrap();
    let own = Own {
        names: &[&own],
        addresses: &[here],
        loopback: random & 1 != 0,
    };
    let read = |word: &str| match word {
        "!" => Err(NoAnswer::Temporary("it is silent".to_owned())),
        "-" => Err(NoAnswer::NoData),
        "" => Err(NoAnswer::NoSuchDomain),
        _ => Ok(()),
    };
    let mut of_name: Vec<(String, Result<Addresses, NoAnswer>)> = Vec::new();
    let mut records = Vec::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let preference = words.next().and_then(|w| w.parse().ok()).unwrap_or(0);
        let name = words.next().unwrap_or_default().to_owned();
        let rest: Vec<&str> = words.collect();
        let found = read(rest.first().copied().unwrap_or_default()).map(|()| Addresses {
            all: rest.iter().filter_map(|w| w.parse().ok()).collect(),
            names: vec![name.clone()],
        });
        of_name.push((name.clone(), found));
        records.push(Exchanger { preference, name });
    }
    let answer = match text.lines().next() {
        Some(line @ ("!" | "-" | "")) => read(line).map(|()| Vec::new()),
        _ => Ok(records),
    };
    let Ok(found) = exchangers(&domain, answer, &own, u64::from(random)) else {
        return;
    };
    assert!(!found.is_empty() && found.len() <= 24);
    assert!(found.is_sorted_by_key(|e| e.preference));
    assert!(found.iter().all(|e| e.name != "pi.example.org"));
    assert!(found.iter().all(|e| Domain::parse(&e.name).is_ok()));
    let answers = found.iter().map(|e| {
        let of = of_name.iter().find(|(name, _)| *name == e.name);
        of.map_or(Err(NoAnswer::NoData), |(_, found)| found.clone())
    });
    let answers: Vec<_> = answers.collect();
    let Ok(hosts) = hosts(&domain, &found, answers, &own) else {
        return;
    };
    assert!(!hosts.is_empty());
    let tries: usize = hosts.iter().map(|host| host.addresses.len()).sum();
    assert!(tries <= 10 && hosts.iter().all(|host| !host.addresses.is_empty()));
    for address in hosts.iter().flat_map(|host| &host.addresses) {
        assert_ne!(address.to_canonical(), here);
        assert!(!own.loopback || !address.to_canonical().is_loopback());
    }
}

/// TLSA records, and certificates, of which a server sends any octets: only what is well formed counts, nothing matches
/// what it is not, and words about a certificate stay on their line.
pub fn tlsa(octets: &[u8]) {
    let (count, octets) = choice(octets);
    let mut rest = octets;
    let mut records = Vec::new();
    for _ in 0..count % 8 {
        let Some((&[usage, selector, matching, length], after)) = rest.split_first_chunk() else {
            break;
        };
        let (data, after) = after.split_at(usize::from(length).min(after.len()));
        rest = after;
        records.push(Tlsa {
            usage,
            selector,
            matching,
            data: data.to_vec(),
        });
    }
    let good = usable(records.clone());
    assert!(good.iter().all(|record| records.contains(record)));
    assert_eq!(usable(good.clone()), good);
    for record in &good {
        assert!(matches!(record.usage, 2 | 3) && record.selector < 2 && record.matching < 3);
        let matches = record.matches(rest, rest);
        assert!(!matches || record.matching > 0 || record.data == rest);
    }
    if let Some(words) = x509::words(octets) {
        let all = [&words.subject, &words.issuer, &words.until];
        assert!(
            all.iter()
                .all(|w| !w.contains(char::is_control) && w.len() < 10_000)
        );
        assert_eq!(words.until.len(), 10);
    }
}

/// MTA-STS: a record, a web server's answer, and the file in which a policy is kept.
pub fn sts(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    let records: Vec<String> = text.split('\t').map(str::to_owned).collect();
    if let Some(id) = sts::record_id(&records) {
        assert!((1..=32).contains(&id.len()) && id.is_ascii());
    }
    let mut reader = http::Reader::default();
    let answer = reader.feed(octets).and_then(|_| reader.end());
    let answer = answer.map_err(str::to_owned);
    let body = match answer.as_ref().map_err(Clone::clone).and_then(sts::body) {
        Ok(body) => body,
        Err(why) => {
            assert!(
                why.len() < 1000 && !why.contains(char::is_control),
                "{why:?}"
            );
            &text
        }
    };
    if let Ok(policy) = Policy::parse(body, "20261125", 1_700_000_000) {
        assert!(policy.mx.len() <= 100);
        assert!((1_700_000_000..=1_731_557_600).contains(&policy.until));
        assert_eq!(Policy::from_text(&policy.to_text()), Some(policy.clone()));
        assert!(!policy.names("") || policy.mx.iter().any(String::is_empty));
        let _ = policy.names("mail.example.net");
    }
    // A file that somebody has written to.
    if let Some(policy) = Policy::from_text(&text) {
        assert_eq!(Policy::from_text(&policy.to_text()), Some(policy));
    }
}

/// Lists of clients, names of clients, and the table of those who have come before.
pub fn screen(octets: &[u8]) {
    let (flags, octets) = choice(octets);
    let text = String::from_utf8_lossy(octets);
    let address: IpAddr = match flags & 1 {
        0 => "192.0.2.3".parse().unwrap(),
        _ => "2001:db8::1".parse().unwrap(),
    };
    let lists: Vec<List> = text
        .lines()
        .filter_map(|l| List::parse(l).ok())
        .take(20)
        .collect();
    let answers: Vec<_> = lists
        .iter()
        .map(|list| {
            let name = list.name(address);
            assert!(name.len() < 400 && !name.contains(char::is_control));
            let said: Vec<IpAddr> = text
                .split([' ', '\n'])
                .filter_map(|w| w.parse().ok())
                .collect();
            Ok(said)
        })
        .collect();
    let (_, on) = score(&lists, &answers);
    assert!(on.len() <= lists.len());
    let own = Domain::parse("pi.example.org").unwrap();
    let _ = odd_name(&text, address, &[&own]);

    // Whatever stands in the table: who waits is let through, and then known.
    let mut bucket = [0; BUCKET];
    for (place, octet) in bucket.iter_mut().zip(octets) {
        *place = *octet;
    }
    let (tag, now) = (u32::from(flags) + 1, 1_700_000_000);
    let mut at = now;
    let passes = (0..10).any(|_| {
        at += 400;
        comes_again(&mut bucket, tag, at, 300)
    });
    assert!(passes, "it waits for ever");
    assert!(comes_again(&mut bucket, tag, at + 1, 300));
}

/// A filter: the packet in which it negotiates, and what it says then, each behind an octet with its length. Whatever that
/// is, the header stays a header, and a client hears a reply of its own kind.
pub fn milter(octets: &[u8]) {
    let mut left = octets;
    let packets = std::iter::from_fn(|| {
        let (length, rest) = left.split_first()?;
        let (packet, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        left = rest;
        Some(packet)
    });
    let mut packets: Vec<&[u8]> = packets.collect();
    if packets.is_empty() {
        return;
    }
    let Ok(terms) = Terms::parse(packets.remove(0)) else {
        return;
    };
    let read = |text: &[u8]| {
        let mut reader = HeaderReader::new(1 << 20);
        let whole = [text, b"\r\n"].concat();
        reader.push(&whole).expect("it is short");
        reader.finish().0
    };
    let mut header = read(b"From: a@b.example\r\nX-A: one\r\n two\r\nX-A: three\r\n");
    for packet in packets {
        match Said::parse(terms, packet) {
            Ok(Said::Change(change)) => drop(apply(&mut header, change)),
            Ok(Said::Refuse(reply)) => {
                let mut told = Vec::new();
                reply.write_to(&mut told);
                assert!((400..600).contains(&reply.code()), "{reply}");
                assert!(is_canonical(&told) && told.len() < 32 * 1024, "{told:?}");
            }
            Ok(_) | Err(_) => {}
        }
    }
    let mut text = Vec::new();
    header.write(&mut text);
    assert!(is_canonical(&text), "{text:?}");
    let fields = header.fields().len();
    assert_eq!(read(&text).fields().len(), fields, "{text:?}");
}
