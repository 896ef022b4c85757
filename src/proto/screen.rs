//! What can be told of a client before its message: lists of addresses (DNSBL, DNSWL: RFC 5782), the name it gives
//! itself (RFC 5321 4.1.1.1), and whether it comes again (greylisting, RFC 6647).

use std::net::IpAddr;

use super::address::Domain;
use super::mx::{NoAnswer, literal};

/// A list in DNS, and what it counts that an address is on it; below zero, it speaks for the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// The name under which addresses are looked up.
    pub zone: Domain,
    /// Added to the score.
    pub score: i64,
}

impl List {
    /// Reads `zone` or `zone*score`.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (zone, score) = match text.split_once('*') {
            Some((zone, score)) => (
                zone,
                score
                    .parse::<i8>()
                    .map_err(|_| "the score is no number from -128 to 127")?,
            ),
            None => (text, 1),
        };
        let zone = Domain::parse(zone).map_err(|why| why.0)?;
        Ok(Self {
            zone,
            score: i64::from(score),
        })
    }

    /// The name to look up for an address.
    pub fn name(&self, address: IpAddr) -> String {
        format!("{}.{}", reversed(address), self.zone)
    }
}

/// An address as DNS has it, without the zone.
fn reversed(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}")
        }
        IpAddr::V6(v6) => {
            let digits = v6
                .octets()
                .into_iter()
                .rev()
                .map(|o| format!("{:x}.{:x}", o & 15, o >> 4));
            digits.collect::<Vec<_>>().join(".")
        }
    }
}

/// The score of an address, and the lists it is on. No answer is no word against it, and an answer that is not of
/// 127.0.0.0/8, or is of its last network, is a list's trouble, not the client's.
pub fn score(lists: &[List], answers: &[Result<Vec<IpAddr>, NoAnswer>]) -> (i64, Vec<String>) {
    let listed = |answer: &Result<Vec<IpAddr>, NoAnswer>| {
        let addresses = answer.as_deref().unwrap_or_default();
        addresses.iter().any(|a| match a {
            IpAddr::V4(v4) => v4.octets()[0] == 127 && v4.octets()[1] != 255,
            IpAddr::V6(_) => false,
        })
    };
    let on: Vec<&List> = lists
        .iter()
        .zip(answers)
        .filter(|(_, a)| listed(a))
        .map(|(l, _)| l)
        .collect();
    (
        on.iter().map(|l| l.score).sum(),
        on.iter().map(|l| l.zone.to_string()).collect(),
    )
}

/// What is wrong with the name that a client gives itself.
pub fn odd_name(name: &str, address: IpAddr, own: &[&Domain]) -> Option<&'static str> {
    if name.parse::<IpAddr>().is_ok() {
        return Some("the name is an address without brackets");
    }
    let Ok(domain) = Domain::parse(name) else {
        return Some("the name is no name");
    };
    if name.starts_with('[') {
        let same = literal(&domain).is_some_and(|a| a.to_canonical() == address.to_canonical());
        return (!same).then_some("the name is another client's address");
    }
    if !name.contains('.') {
        return Some("the name is not a whole one");
    }
    own.contains(&&domain).then_some("the name is ours")
}

/// Octets of a record of who came with what, and of the few records among which a place is looked for.
pub const RECORD: usize = 12;
/// Records of a bucket.
pub const BUCKET: usize = 8 * RECORD;
/// How long a client may take to come again.
const AGAIN: u32 = 2 * 24 * 3600;
/// How long one that came again is let through at once.
const KNOWN: u32 = 36 * 24 * 3600;

/// Whether a client that comes with something is let through; its record is in the bucket afterwards. `tag`: what it
/// came with, never 0. A record is the tag, when it came first, and when it was last let through or 0.
pub fn comes_again(bucket: &mut [u8; BUCKET], tag: u32, now: u32, delay: u32) -> bool {
    let mut records: Vec<[u32; 3]> = bucket
        .chunks_exact(RECORD)
        .map(|record| {
            let mut numbers = record
                .chunks_exact(4)
                .map(|c| c.iter().fold(0, |n, b| n << 8 | u32::from(*b)));
            [(); 3].map(|()| numbers.next().unwrap_or_default())
        })
        .collect();
    let age = |since: u32| now.saturating_sub(since);
    let is_dead = |[tag, first, last]: &[u32; 3]| {
        *tag == 0
            || if *last > 0 {
                age(*last) > KNOWN
            } else {
                age(*first) > AGAIN
            }
    };
    let passes = match records.iter_mut().find(|r| r[0] == tag && !is_dead(r)) {
        Some(record) => {
            // A clock that was set back must not keep anybody waiting for long.
            record[1] = record[1].min(now);
            let passes = record[2] > 0 || age(record[1]) >= delay;
            if passes {
                record[2] = now;
            }
            passes
        }
        None => {
            // The place of a dead one, or of whom nobody has seen for longest.
            let worst = records
                .iter_mut()
                .min_by_key(|r| if is_dead(r) { 0 } else { r[1].max(r[2]) });
            let passes = delay == 0;
            if let Some(worst) = worst {
                *worst = [tag, now, if passes { now } else { 0 }];
            }
            passes
        }
    };
    let octets = records.iter().flatten().flat_map(|n| n.to_be_bytes());
    bucket
        .iter_mut()
        .zip(octets)
        .for_each(|(to, from)| *to = from);
    passes
}

/// The network a client belongs to: many senders have several machines side by side.
pub fn network(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.octets().get(..3).unwrap_or_default().to_vec(),
        IpAddr::V6(v6) => v6.octets().get(..8).unwrap_or_default().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// R180: what is not in 127.0.0.0/8, and a time-out, is no listing.
    #[test]
    fn lists_count_what_they_answer() {
        let list = |text: &str| List::parse(text).unwrap();
        // RFC 5782 2.1, 2.4
        assert_eq!(
            list("bad.example").name(ip("192.0.2.99")),
            "99.2.0.192.bad.example"
        );
        assert_eq!(
            list("bad.example").name(ip("2001:db8:1:2:3:4:567:89ab")),
            "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.bad.example"
        );
        let lists = [
            list("a.example"),
            list("b.example*3"),
            list("good.example*-5"),
        ];
        let on = |text: &str| Ok(vec![ip(text)]);
        let off = || Err(NoAnswer::NoSuchDomain);
        let rows = [
            ([off(), off(), off()], 0),
            ([on("127.0.0.2"), off(), off()], 1),
            ([on("127.0.0.2"), on("127.0.0.9"), off()], 4),
            ([on("127.0.0.2"), on("127.0.0.9"), on("127.0.10.1")], -1),
            ([on("127.255.255.254"), on("192.0.2.1"), on("::1")], 0),
            (
                [
                    Err(NoAnswer::Temporary(String::new())),
                    Ok(Vec::new()),
                    off(),
                ],
                0,
            ),
        ];
        for (answers, expected) in rows {
            assert_eq!(score(&lists, &answers).0, expected, "{answers:?}");
        }
        for bad in ["", "a b", "x.example*", "x.example*y", "x.example*200"] {
            assert!(List::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_of_clients() {
        let own = Domain::parse("pi.example").unwrap();
        let rows = [
            ("mail.example.org", None),
            ("[192.0.2.1]", None),
            ("[IPv6:::ffff:192.0.2.1]", None),
            ("[192.0.2.2]", Some("the name is another client's address")),
            ("192.0.2.1", Some("the name is an address without brackets")),
            ("PI.example", Some("the name is ours")),
            ("localhost", Some("the name is not a whole one")),
            ("a_b c", Some("the name is no name")),
        ];
        for (name, expected) in rows {
            assert_eq!(odd_name(name, ip("192.0.2.1"), &[&own]), expected, "{name}");
        }
    }

    #[test]
    fn who_comes_again_after_a_while_is_let_through() {
        let mut bucket = [0; BUCKET];
        const DAY: u32 = 24 * 3600;
        let start = 1_000_000;
        let rows = [
            (1, start, false),
            (1, start + 59, false),
            (2, start + 59, false),
            (1, start + 60, true),
            (1, start + 61, true),
            (1, start + 30 * DAY, true),
            (1, start + 67 * DAY, false), // not seen for too long
            (2, start + 68 * DAY, false), // came again too late
            (2, start + 68 * DAY + 60, true),
            (2, start, true), // the clock was set back
        ];
        for (tag, now, expected) in rows {
            assert_eq!(
                comes_again(&mut bucket, tag, now, 60),
                expected,
                "{tag} {now}"
            );
        }
        assert!(comes_again(&mut [0; BUCKET], 1, start, 0));
        // More than there is room for: who was seen longest ago is forgotten, nobody else.
        let mut bucket = [0; BUCKET];
        for tag in 1..=9 {
            assert!(!comes_again(&mut bucket, tag, start + tag, 60));
        }
        assert!(comes_again(&mut bucket, 9, start + 100, 60));
        assert!(comes_again(&mut bucket, 2, start + 100, 60));
        assert!(!comes_again(&mut bucket, 1, start + 100, 60));
    }
}
