//! Reports about TLS (TLS-RPT, RFC 8460): what happened on the way to the mail servers of a domain, counted by day, and the
//! report that the domain wants to have of it.
//!
//! ```text
//! example.net  sts  version: STSv1|mode: enforce|mx: mail.example.net  mail.example.net  certificate-expired  3
//! ```
//!
//! A count is a line of six fields, parted by tabs: domain, kind of policy, its text, server, result (`ok` or what the
//! RFC calls it), number. Whoever reads them adds them up; a line that is none is passed over.

use std::collections::BTreeMap;

use super::address::Mailbox;
use super::data::Checksum;
use super::date::Stamp;
use super::sasl::encode_base64;
use crate::json::Json;

/// A session in which all was well.
pub const OK: &str = "ok";
/// A server that the policy does not name.
pub const NOT_NAMED: &str = "validation-failure";
/// The most domains of a day.
const MAX_DOMAINS: usize = 1000;
/// The most kinds of failure of a domain's policy.
const MAX_FAILURES: usize = 100;
/// The most places that one report goes to.
const MAX_PLACES: usize = 4;
/// The longest text of a policy that is kept.
const MAX_POLICY: usize = 2000;

/// Reports go out within so many seconds after midnight.
const SPREAD: u64 = 4 * 60 * 60;

/// So many seconds after midnight (UTC) a host sends its reports: not all hosts at once (RFC 8460 4.1).
pub fn delay(host: &str) -> i64 {
    // Any number that is another one on other hosts.
    let number = host
        .bytes()
        .fold(0u64, |n, b| n.wrapping_mul(31).wrapping_add(u64::from(b)));
    i64::try_from(number % SPREAD).unwrap_or_default()
}

/// What a domain demands of the way to its servers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Applied {
    /// `tlsa`, `sts` or `no-policy-found`.
    pub kind: &'static str,
    /// Its text, a line each.
    pub text: Vec<String>,
}

/// A count without its number.
pub fn line(domain: &str, applied: &Applied, server: &str, result: &str) -> String {
    let mut policy = applied.text.join("|");
    if policy.len() > MAX_POLICY {
        policy.clear();
    }
    let fields = [domain, applied.kind, &policy, server, result];
    let clean = fields.map(|f| f.replace(|c: char| c.is_control(), " "));
    clean.join("\t")
}

/// Where a domain wants its reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// By mail.
    Mail(Mailbox),
    /// At a web server: its name, its port unless it is the usual one, and what is asked of it.
    Web(String, Option<u16>, String),
}

/// The places in the text records of `_smtp._tls.DOMAIN`; several such records are as good as none (RFC 8460 3).
pub fn places(texts: &[String]) -> Vec<Place> {
    let mut ours = texts.iter().filter(|t| {
        let version = t.split(';').next().unwrap_or_default();
        version.trim() == "v=TLSRPTv1"
    });
    let (Some(text), None) = (ours.next(), ours.next()) else {
        return Vec::new();
    };
    let fields = text.split(';').map(str::trim);
    let rua = fields.filter_map(|f| f.strip_prefix("rua="));
    let all = rua.flat_map(|list| list.split(','));
    all.filter_map(|uri| place(uri.trim()))
        .take(MAX_PLACES)
        .collect()
}

fn place(uri: &str) -> Option<Place> {
    let (scheme, rest) = uri.split_once(':')?;
    if scheme.eq_ignore_ascii_case("mailto") {
        let address = rest.split('?').next()?;
        return Mailbox::parse(address).ok().map(Place::Mail);
    }
    let rest = rest.strip_prefix("//")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = match authority.split_once(':') {
        None | Some((_, "")) => (authority.trim_end_matches(':'), None),
        Some((host, port)) => (host, Some(port.parse().ok().filter(|port| *port != 0)?)),
    };
    let path = if path.is_empty() { "/" } else { path };
    let is_plain = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
    // A password is nothing that a report needs.
    let is_host = !host.is_empty()
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'));
    (scheme.eq_ignore_ascii_case("https") && is_host && is_plain(path))
        .then(|| Place::Web(host.to_ascii_lowercase(), port, path.to_owned()))
}

/// What happened under one policy of a domain.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sums {
    good: u64,
    /// By result and server.
    bad: BTreeMap<(String, String), u64>,
}

impl Sums {
    /// How many sessions were good, and how many were not.
    pub fn totals(&self) -> (u64, u64) {
        let bad = self.bad.values().fold(0, |n: u64, m| n.saturating_add(*m));
        (self.good, bad)
    }
}

/// The counts of a day: by domain, then by kind and text of the policy.
pub type Day = BTreeMap<String, BTreeMap<(String, String), Sums>>;

/// Adds up the lines of a text.
pub fn add_up(text: &str) -> Day {
    let mut day = Day::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [domain, kind, policy, server, result, number] = fields.as_slice() else {
            continue;
        };
        let Ok(number) = number.parse::<u64>() else {
            continue;
        };
        if day.len() >= MAX_DOMAINS && !day.contains_key(*domain) {
            continue;
        }
        let of = day.entry((*domain).to_owned()).or_default();
        let sums = of.entry(((*kind).to_owned(), (*policy).to_owned()));
        let sums = sums.or_default();
        if *result == OK {
            sums.good = sums.good.saturating_add(number);
        } else if sums.bad.len() < MAX_FAILURES {
            let place = ((*result).to_owned(), (*server).to_owned());
            let count = sums.bad.entry(place).or_default();
            *count = count.saturating_add(number);
        }
    }
    day
}

/// Who reports about whom, and when.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The domain.
    pub domain: &'a str,
    /// Our host.
    pub by: &'a str,
    /// Whom the domain can ask.
    pub contact: &'a Mailbox,
    /// The beginning of the day, seconds since 1970.
    pub begin: i64,
}

impl About<'_> {
    fn end(&self) -> i64 {
        self.begin + 24 * 60 * 60 - 1
    }

    fn day(&self) -> String {
        Stamp::utc(self.begin).iso8601().chars().take(10).collect()
    }

    fn id(&self) -> String {
        format!("{}.{}@{}", self.day(), self.domain, self.by)
    }

    /// The report (RFC 8460 4).
    pub fn report(&self, policies: &BTreeMap<(String, String), Sums>) -> String {
        let policy = |((kind, text), sums): (&(String, String), &Sums)| {
            let lines = || text.split('|').filter(|l| !l.is_empty());
            let list =
                |lines: Vec<&str>| Json::Array(lines.iter().map(|l| Json::text(l)).collect());
            let mut about = vec![("policy-type", Json::text(kind))];
            if !text.is_empty() {
                about.push(("policy-string", list(lines().collect())));
            }
            about.push(("policy-domain", Json::text(&self.domain)));
            let servers: Vec<&str> = lines().filter_map(|l| l.strip_prefix("mx: ")).collect();
            if !servers.is_empty() {
                about.push(("mx-host", list(servers)));
            }
            let failed = sums.bad.values().fold(0u64, |a, b| a.saturating_add(*b));
            let summary = vec![
                ("total-successful-session-count", Json::Number(sums.good)),
                ("total-failure-session-count", Json::Number(failed)),
            ];
            let detail = |((result, server), count): (&(String, String), &u64)| {
                Json::Object(vec![
                    ("result-type", Json::text(result)),
                    ("receiving-mx-hostname", Json::text(server)),
                    ("failed-session-count", Json::Number(*count)),
                ])
            };
            let mut all = vec![
                ("policy", Json::Object(about)),
                ("summary", Json::Object(summary)),
            ];
            if !sums.bad.is_empty() {
                all.push((
                    "failure-details",
                    Json::Array(sums.bad.iter().map(detail).collect()),
                ));
            }
            Json::Object(all)
        };
        let range = vec![
            (
                "start-datetime",
                Json::text(&Stamp::utc(self.begin).iso8601()),
            ),
            (
                "end-datetime",
                Json::text(&Stamp::utc(self.end()).iso8601()),
            ),
        ];
        Json::Object(vec![
            ("organization-name", Json::text(&self.by)),
            ("date-range", Json::Object(range)),
            ("contact-info", Json::text(self.contact)),
            ("report-id", Json::text(&self.id())),
            (
                "policies",
                Json::Array(policies.iter().map(policy).collect()),
            ),
        ])
        .to_string()
    }

    /// The message that brings it (RFC 8460 5.3, 5.4), with CRLF, signed like any other that leaves.
    pub fn message(&self, to: &Mailbox, report: &[u8], queue_id: &str, now: i64) -> String {
        let (domain, by, contact) = (self.domain, self.by, self.contact);
        let (day, id) = (self.day(), self.id());
        let file = format!("{by}!{domain}!{}!{}.json.gz", self.begin, self.end());
        let boundary = format!("tlsrpt.{queue_id}");
        let base64 = encode_base64(report);
        let lines: Vec<String> = base64
            .as_bytes()
            .chunks(76)
            .map(|l| String::from_utf8_lossy(l).into_owned())
            .collect();
        // It arrives all the more where TLS is what fails (RFC 8460 5.3).
        format!(
            "Date: {}\nFrom: <{contact}>\nTo: <{to}>\nMessage-ID: <{queue_id}@{by}>\n\
             Subject: Report Domain: {domain}\n Submitter: {by}\n Report-ID: <{id}>\n\
             TLS-Report-Domain: {domain}\nTLS-Report-Submitter: {by}\nTLS-Required: No\n\
             MIME-Version: 1.0\nContent-Type: multipart/report; report-type=\"tlsrpt\";\n\tboundary=\"{boundary}\"\n\n\
             --{boundary}\nContent-Type: text/plain; charset=us-ascii\n\n\
             This is a report about TLS on the way to the mail servers of {domain} on {day} (RFC 8460).\n\n\
             --{boundary}\nContent-Type: application/tlsrpt+gzip\nContent-Transfer-Encoding: base64\n\
             Content-Disposition: attachment;\n\tfilename=\"{file}\"\n\n{}\n--{boundary}--\n",
            Stamp::utc(now).rfc5322(),
            lines.join("\n")
        )
        .replace('\n', "\r\n")
    }
}

/// The form of gzip (RFC 1952) with the octets as they are (RFC 1951 3.2.4): a report has a few hundred of them, and
/// each library that makes them fewer has thousands.
pub fn gzip(octets: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    let mut blocks = octets.chunks(0xffff).peekable();
    if octets.is_empty() {
        out.extend_from_slice(&[1, 0, 0, 0xff, 0xff]);
    }
    while let Some(block) = blocks.next() {
        // Chunks are no longer than that.
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        out.push(u8::from(blocks.peek().is_none()));
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(block);
    }
    let mut checksum = Checksum::default();
    checksum.feed(octets);
    out.extend_from_slice(&checksum.crc32().to_le_bytes());
    let size = u32::try_from(octets.len() as u64 % (1 << 32)).unwrap_or_default();
    out.extend_from_slice(&size.to_le_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::few;

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|t| (*t).to_owned()).collect()
    }

    #[test]
    fn each_host_has_its_own_delay() {
        let rows = [
            // tests/harness/system.rs stands on it.
            ("pi2104.test.example", 0),
            ("pi.test.example", 99),
            ("mail.example.net", 13_474),
            ("a.example", 11_421),
        ];
        for (host, seconds) in rows {
            assert_eq!(delay(host), seconds, "{host}");
        }
        let many = few(1000);
        let hosts = (0..many).map(|n| delay(&format!("pi{n}.example.org")));
        let different = hosts.collect::<std::collections::BTreeSet<_>>();
        assert!(different.iter().all(|s| (0..4 * 3600).contains(s)));
        assert!(different.len() > many / 2, "{}", different.len());
    }

    #[test]
    fn a_record_says_where_reports_go() {
        let mail = |a: &str| Place::Mail(Mailbox::parse(a).unwrap());
        let web = |h: &str, p: &str| Place::Web(h.to_owned(), None, p.to_owned());
        let rows: &[(&[&str], Vec<Place>)] = &[
            (
                &["v=TLSRPTv1; rua=mailto:reports@example.com"],
                vec![mail("reports@example.com")],
            ),
            (
                &[
                    "other",
                    "v=TLSRPTv1;rua=mailto:a@b.example,https://W.example.com/v1/tlsrpt?x=1",
                ],
                vec![mail("a@b.example"), web("w.example.com", "/v1/tlsrpt?x=1")],
            ),
            (
                &["v=TLSRPTv1; rua=https://w.example"],
                vec![web("w.example", "/")],
            ),
            (
                &["v=TLSRPTv1; rua=https://w.example:8443/x,https://w.example:/"],
                vec![
                    Place::Web("w.example".to_owned(), Some(8443), "/x".to_owned()),
                    web("w.example", "/"),
                ],
            ),
            (&["v=TLSRPTv1; rua=mailto:a@b.example!10m?x"], vec![]),
            (
                &["v=TLSRPTv1; rua=http://w.example/,https://u:p@w.example/,https://u@w:1/"],
                vec![],
            ),
            (
                &["v=TLSRPTv1; rua=https://w:0/,https://w:65536/,https://w:x/,https://:1/"],
                vec![],
            ),
            (
                &["v=TLSRPTv1; rua=https://w:1:2/,https://w::/,https://[::1]:1/"],
                vec![],
            ),
            (&["v=TLSRPTv1; rua=https://w.example/a b,mailto:"], vec![]),
            (
                &[
                    "v=TLSRPTv1; rua=mailto:a@b.c",
                    "v=TLSRPTv1; rua=mailto:a@b.c",
                ],
                vec![],
            ),
            (&["v=TLSRPTv2; rua=mailto:a@b.c"], vec![]),
            (&[], vec![]),
        ];
        for (texts, expected) in rows {
            assert_eq!(places(&strings(texts)), *expected, "{texts:?}");
        }
    }

    #[test]
    fn counts_become_a_report() {
        let sts = Applied {
            kind: "sts",
            text: strings(&["version: STSv1", "mode: enforce", "mx: mail.example.net"]),
        };
        let none = Applied {
            kind: "no-policy-found",
            text: Vec::new(),
        };
        let mut text = String::new();
        for (applied, result, number) in [
            (&sts, OK, 5),
            (&sts, "certificate-expired", 1),
            (&sts, "certificate-expired", 2),
            (&sts, OK, 1),
            (&none, "starttls-not-supported", 7),
        ] {
            let line = line("example.net", applied, "mail.example.net", result);
            text.push_str(&format!("{line}\t{number}\nno count\n"));
        }
        let day = add_up(&text);
        let contact = Mailbox::parse("tls@pi.example").unwrap();
        let about = About {
            domain: "example.net",
            by: "pi.example",
            contact: &contact,
            begin: 1_795_564_800,
        };
        let report = about.report(&day["example.net"]);
        assert_eq!(
            report,
            "{\"organization-name\":\"pi.example\",\"date-range\":{\"start-datetime\":\"2026-11-25T00:00:00Z\",\
             \"end-datetime\":\"2026-11-25T23:59:59Z\"},\"contact-info\":\"tls@pi.example\",\
             \"report-id\":\"2026-11-25.example.net@pi.example\",\"policies\":[\
             {\"policy\":{\"policy-type\":\"no-policy-found\",\"policy-domain\":\"example.net\"},\
             \"summary\":{\"total-successful-session-count\":0,\"total-failure-session-count\":7},\
             \"failure-details\":[{\"result-type\":\"starttls-not-supported\",\
             \"receiving-mx-hostname\":\"mail.example.net\",\"failed-session-count\":7}]},\
             {\"policy\":{\"policy-type\":\"sts\",\"policy-string\":[\"version: STSv1\",\"mode: enforce\",\
             \"mx: mail.example.net\"],\"policy-domain\":\"example.net\",\"mx-host\":[\"mail.example.net\"]},\
             \"summary\":{\"total-successful-session-count\":6,\"total-failure-session-count\":3},\
             \"failure-details\":[{\"result-type\":\"certificate-expired\",\
             \"receiving-mx-hostname\":\"mail.example.net\",\"failed-session-count\":3}]}]}"
        );
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes too long")]
    fn no_text_makes_a_day_grow_without_end() {
        let mut text = String::new();
        for n in 0..3000 {
            text.push_str(&format!("d{n}\tsts\t\tm\tok\t1\nd0\tsts\t\tm{n}\tbad\t1\n"));
        }
        let day = add_up(&text);
        assert_eq!(day.len(), MAX_DOMAINS);
        let sums = day["d0"].values().next().unwrap();
        assert_eq!(sums.bad.len(), MAX_FAILURES);
    }

    #[test]
    fn gzip_has_the_octets_and_their_sums() {
        assert_eq!(
            gzip(b"abc"),
            [
                0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 1, 3, 0, 0xfc, 0xff, b'a', b'b', b'c', 0xc2,
                0x41, 0x24, 0x35, 3, 0, 0, 0
            ]
        );
        assert_eq!(gzip(&vec![b'x'; 70_000]).len(), 10 + 2 * 5 + 70_000 + 8);
        assert_eq!(gzip(b"").len(), 10 + 5 + 8);
    }
}
