//! What happens over and over is counted, not repeated: nobody fills a disk by being turned away.
//!
//! Of each event that a stranger can cause at will, and each network of clients, the first lines of a minute are
//! written, and of all networks together no more than [`ALL`]. The others are counted, and their number is one line a
//! network when the minute is over.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::proto::order;

/// Lines that are written before the counting begins.
const FIRST: u64 = 30;
/// Lines of one event, whoever causes it.
const ALL: u64 = 300;
/// Seconds after which it begins anew.
const SPAN: u64 = 60;
/// Networks that are told apart at a time; what is beyond is counted together.
const MOST: usize = 100;

/// A word of the log, and whose doing it was.
type Key = (&'static str, String);

/// Lines of a minute that were not written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Summary {
    /// The event's word.
    pub event: &'static str,
    /// The clients' network.
    pub network: String,
    /// How often it happened without a line.
    pub count: u64,
}

/// A minute of one network, or of all.
#[derive(Debug, Default, Clone, Copy)]
struct Count {
    since: u64,
    seen: u64,
    written: u64,
}

/// The counts of the current minutes.
#[derive(Debug, Default)]
pub struct Repeats {
    of_networks: HashMap<Key, Count>,
    of_all: HashMap<&'static str, Count>,
    /// Before then no minute is over.
    due: u64,
}

impl Repeats {
    /// An event at this time, in seconds of any clock that only goes on. Returned is whether it gets its line.
    pub fn is_written(&mut self, now: u64, event: &'static str, client: &str) -> bool {
        let mut key = (event, network(client));
        if self.of_networks.len() >= MOST && !self.of_networks.contains_key(&key) {
            key.1 = "others".to_owned();
        }
        let fresh = Count {
            since: now,
            ..Count::default()
        };
        let all = self.of_all.entry(event).or_insert(fresh);
        let own = self.of_networks.entry(key).or_insert(fresh);
        own.seen += 1;
        let written = own.written < FIRST && all.written < ALL;
        own.written += u64::from(written);
        all.written += u64::from(written);
        written
    }

    /// The minutes that are over, or all.
    pub fn settle(&mut self, now: u64, all: bool) -> Vec<Summary> {
        let mut over = Vec::new();
        if now < self.due && !all {
            return over;
        }
        let goes_on = |count: &Count| !all && now < count.since.saturating_add(SPAN);
        let mut due = now.saturating_add(SPAN);
        self.of_all.retain(|_, count| goes_on(count));
        self.of_networks.retain(|(event, network), count| {
            if goes_on(count) {
                due = due.min(count.since.saturating_add(SPAN));
                return true;
            }
            if count.seen > count.written {
                over.push(Summary {
                    event,
                    network: network.clone(),
                    count: count.seen - count.written,
                });
            }
            false
        });
        self.due = due;
        order::sort(&mut over, &Summary::cmp);
        over
    }
}

/// The network of a client: whoever has one address of it, has as many as he likes.
fn network(client: &str) -> String {
    let address = client.trim_matches(['[', ']']).parse::<IpAddr>();
    match address.map(|a| a.to_canonical()) {
        Ok(IpAddr::V4(v4)) => {
            let [a, b, c, _] = v4.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        Ok(IpAddr::V6(v6)) => {
            let [a, b, c, d, ..] = v6.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
        Err(_) => "local".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_repeated_is_counted() {
        let mut repeats = Repeats::default();
        let written = |repeats: &mut Repeats, now, client: &str, times: u64| -> u64 {
            let line = |_| u64::from(repeats.is_written(now, "connect", client));
            (0..times).map(line).sum()
        };
        assert_eq!(written(&mut repeats, 7, "192.0.2.1", 20), 20);
        assert_eq!(written(&mut repeats, 8, "192.0.2.99", 1000), FIRST - 20);
        assert_eq!(written(&mut repeats, 8, "192.0.3.1", 2), 2);
        assert!(repeats.is_written(8, "reject", "192.0.2.1"));
        assert_eq!(repeats.settle(60, false), []);
        assert_eq!(repeats.due, 67);
        let summary = |network: &str, count| Summary {
            event: "connect",
            network: network.to_owned(),
            count,
        };
        let over = repeats.settle(67, false);
        assert_eq!(over, [summary("192.0.2.0/24", 1020 - FIRST)]);
        // And it begins anew.
        assert_eq!(written(&mut repeats, 70, "192.0.2.1", 31), FIRST);
        assert_eq!(repeats.settle(71, true), [summary("192.0.2.0/24", 1)]);
        assert_eq!(repeats.settle(999, true), []);
    }

    #[test]
    fn any_number_of_networks_takes_little_room() {
        let mut repeats = Repeats::default();
        let mut written = 0;
        for n in 0..100_000u32 {
            let client = format!("2001:db8:{:x}:{:x}::1", n >> 16, n & 0xffff);
            written += u64::from(repeats.is_written(0, "connect", &client));
        }
        assert_eq!(repeats.of_networks.len(), MOST + 1);
        assert_eq!(written, MOST as u64 + FIRST);
        for n in 0..100 {
            let client = format!("192.0.{n}.1");
            let line = |_| u64::from(repeats.is_written(0, "reject", &client));
            written += (0..100).map(line).sum::<u64>();
        }
        assert!(written <= 2 * ALL, "{written}");
        let over = repeats.settle(60, false);
        assert!(over.iter().any(|s| s.network == "others"), "{over:?}");
        assert!(repeats.of_networks.is_empty());
    }

    #[test]
    fn networks_are_known_however_a_client_is_written() {
        for (client, expected) in [
            ("192.0.2.77", "192.0.2.0/24"),
            ("[192.0.2.77]", "192.0.2.0/24"),
            ("::ffff:192.0.2.77", "192.0.2.0/24"),
            ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
            ("local", "local"),
            ("uid 1000", "local"),
        ] {
            assert_eq!(network(client), expected, "{client}");
        }
    }
}
