//! What has come and gone: counts, as a text of one record a line, and what they add up to over a day.
//!
//! ```text
//! 1795624474 accepted=1 delivered=2 via=smtp.example.org:465
//! ```
//!
//! A record says what happened around a time, and through which smarthosts mail has gone. Whoever reads them adds them
//! up; whoever folds them writes one record an hour, in the same form. A line that is no record is passed over.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// Seconds of an hour, and of the day that is told about.
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// Smarthosts that are remembered; of more, those that took mail last.
const HOSTS: usize = 16;
/// The longest name of one.
const LONGEST: usize = 300;

/// How often something happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages accepted.
    pub accepted: u64,
    /// Recipients delivered to.
    pub delivered: u64,
    /// Attempts put off.
    pub deferred: u64,
    /// Recipients given up.
    pub failed: u64,
    /// Messages, senders and recipients refused in SMTP sessions.
    pub rejected: u64,
}

impl Counts {
    /// Each count by its name.
    pub fn named(&self) -> [(&'static str, u64); 5] {
        [
            ("accepted", self.accepted),
            ("delivered", self.delivered),
            ("deferred", self.deferred),
            ("failed", self.failed),
            ("rejected", self.rejected),
        ]
    }

    fn add(&mut self, name: &str, more: u64) {
        let count = match name {
            "accepted" => &mut self.accepted,
            "delivered" => &mut self.delivered,
            "deferred" => &mut self.deferred,
            "failed" => &mut self.failed,
            "rejected" => &mut self.rejected,
            _ => return,
        };
        *count = count.saturating_add(more);
    }
}

/// What happened around a time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// When it began, seconds since 1970.
    pub time: i64,
    /// How often.
    pub counts: Counts,
    /// The smarthosts that took mail.
    pub via: Vec<String>,
}

impl Record {
    /// A smarthost took mail.
    pub fn went_through(&mut self, host: &str) {
        let fits = host.len() <= LONGEST && host.bytes().all(|b| b.is_ascii_graphic());
        if fits && self.via.len() < HOSTS && !self.via.iter().any(|known| known == host) {
            self.via.push(host.to_owned());
        }
    }

    /// Nothing has happened.
    pub fn is_empty(&self) -> bool {
        self.counts == Counts::default() && self.via.is_empty()
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let mut record = Self {
            time: words.next()?.parse().ok()?,
            ..Self::default()
        };
        for word in words {
            match word.split_once('=')? {
                ("via", host) => record.went_through(host),
                (name, count) => record.counts.add(name, count.parse().ok()?),
            }
        }
        Some(record)
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.time)?;
        for (name, count) in self.counts.named() {
            if count > 0 {
                write!(f, " {name}={count}")?;
            }
        }
        self.via
            .iter()
            .try_for_each(|host| write!(f, " via={host}"))
    }
}

/// The day before a time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Day {
    hours: BTreeMap<i64, Counts>,
    /// When each smarthost took mail last, seconds since 1970.
    pub last: BTreeMap<String, i64>,
}

impl Day {
    /// Adds the records of a text; what is older than a day by now, or of a clock that was wrong, is left out.
    pub fn read(&mut self, text: &str, now: i64) {
        let records = text.lines().filter_map(Record::parse);
        for record in records.filter(|r| r.time <= now.saturating_add(HOUR)) {
            for host in record.via {
                let last = self.last.entry(host).or_default();
                *last = (*last).max(record.time);
            }
            let hour = record.time.saturating_sub(record.time.rem_euclid(HOUR));
            if hour > now.saturating_sub(DAY) {
                let counts = self.hours.entry(hour).or_default();
                for (name, count) in record.counts.named() {
                    counts.add(name, count);
                }
            }
        }
        while self.last.len() > HOSTS {
            let oldest = self.last.iter().min_by_key(|(_, time)| **time);
            let Some(oldest) = oldest.map(|(host, _)| host.clone()) else {
                break;
            };
            self.last.remove(&oldest);
        }
    }

    /// All of the day together.
    pub fn sum(&self) -> Counts {
        let mut sum = Counts::default();
        for counts in self.hours.values() {
            for (name, count) in counts.named() {
                sum.add(name, count);
            }
        }
        sum
    }

    /// The same as records: one an hour, one a smarthost.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let hours = self.hours.iter().map(|(time, counts)| Record {
            time: *time,
            counts: *counts,
            via: Vec::new(),
        });
        let hosts = self.last.iter().map(|(host, time)| Record {
            time: *time,
            counts: Counts::default(),
            via: vec![host.clone()],
        });
        for record in hours.chain(hosts) {
            let _ = writeln!(text, "{record}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An hour's beginning.
    const NOON: i64 = 1_795_608_000;

    #[test]
    fn a_record_is_what_it_says() {
        let mut record = Record {
            time: NOON,
            ..Record::default()
        };
        assert!(record.is_empty());
        record.counts.accepted = 1;
        record.counts.failed = 2;
        for host in ["a.example:465", "a.example:465", "two words", "nl\n", "b"] {
            record.went_through(host);
        }
        let text = "1795608000 accepted=1 failed=2 via=a.example:465 via=b";
        assert_eq!(record.to_string(), text);
        assert_eq!(Record::parse(text), Some(record));
        for bad in [
            "",
            "x",
            "12 accepted",
            "12 accepted=-1",
            "12 accepted=1=2",
            "12  ",
        ] {
            assert_eq!(Record::parse(bad), None, "{bad:?}");
        }
        // A later version's counts are passed over.
        assert!(Record::parse("12 other=5").is_some_and(|r| r.is_empty()));
    }

    #[test]
    fn a_day_adds_up_and_forgets() {
        let rows = [
            (NOON - 60, 1),
            (NOON + 60, 2),
            (NOON + 3599, 4),
            (NOON - 22 * HOUR, 8),
            (NOON - 25 * HOUR, 100),
            (NOON + 3 * HOUR, 1000),
        ];
        let text: String = rows
            .iter()
            .map(|(time, n)| format!("{time} delivered={n} via=host{n}\nnonsense\n"))
            .collect();
        let mut day = Day::default();
        day.read(&text, NOON + 1800);
        assert_eq!(day.sum().delivered, 15);
        // The last success counts, however old it is; not that of a clock that was wrong.
        assert_eq!(day.last.len(), 5);
        assert_eq!(day.last.get("host100"), Some(&(NOON - 25 * HOUR)));
        // Folded, it says the same, in a line an hour and a host.
        let folded = day.to_text();
        assert_eq!(folded.lines().count(), 3 + 5, "{folded}");
        let mut again = Day::default();
        again.read(&folded, NOON + 1800);
        assert_eq!(again, day);
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes too long")]
    fn no_text_makes_it_grow_without_end() {
        let mut text = String::new();
        for n in 0..1000 {
            let _ = writeln!(text, "{} accepted={} via=h{n}", NOON - n * HOUR, u64::MAX);
        }
        let mut day = Day::default();
        day.read(&text, NOON);
        assert_eq!((day.hours.len(), day.last.len()), (24, HOSTS));
        assert_eq!(day.sum().accepted, u64::MAX);
        assert!(day.last.contains_key("h0") && !day.last.contains_key("h900"));
    }
}
