//! MTA-STS (RFC 8461): what a domain says, on its web server, about its mail servers.
//!
//! 1. [`record_id`]: a text record tells that there is a policy, and which
//! 2. [`body`]: the web server's answer, if it is one that counts
//! 3. [`Policy::parse`]: the policy in it
//!
//! [`Policy::to_text`] and [`Policy::from_text`] are the file in which one is kept, so that it holds when the record
//! or the web server cannot be reached, which is just what an attacker would see to. [`Failure`] is one that could not
//! be fetched, and is not asked for again at once.

use super::date::{Stamp, parse_iso8601};
use super::http::Answer;

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Which one it is, by the record it was found with.
    pub id: String,
    /// Until when it holds, seconds since 1970.
    pub until: i64,
    /// What is to be done with a server that is not as it should be.
    pub mode: Mode,
    /// The names of its mail servers; one beginning with `*.` stands for all with one label there.
    pub mx: Vec<String>,
}

/// What is to be done with a server that is not as it should be (RFC 8461 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It gets no mail.
    Enforce,
    /// It gets mail; somebody wants to hear of it.
    Testing,
    /// There is no policy any more.
    Off,
}

/// A policy that its web server did not tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Which one, by the record.
    pub id: String,
    /// Until when nobody asks again, seconds since 1970.
    pub until: i64,
}

impl Failure {
    /// How long a web server is left in peace, seconds: at least five minutes for each id (RFC 8461 3.3).
    pub const REST: i64 = 300;

    /// One of now.
    pub fn new(id: &str, now: i64) -> Self {
        Self {
            id: id.to_owned(),
            until: now.saturating_add(Self::REST),
        }
    }

    /// The text of its file.
    pub fn to_text(&self) -> String {
        let until = Stamp::utc(self.until).iso8601();
        format!("minimta-sts-failure 1\nid {}\nuntil {until}\n", self.id)
    }

    /// Reads that text.
    pub fn from_text(text: &str) -> Option<Self> {
        let text = text.strip_prefix("minimta-sts-failure 1\nid ")?;
        let (id, until) = text.strip_suffix('\n')?.split_once("\nuntil ")?;
        Some(Self {
            id: id.to_owned(),
            until: parse_iso8601(until)?,
        })
    }

    /// Whether this policy is not to be asked for now. One from the future was written by a clock that was wrong.
    pub fn forbids(&self, id: &str, now: i64) -> bool {
        self.id == id && (now..=now.saturating_add(Self::REST)).contains(&self.until)
    }
}

/// How long a policy is used before its web server is asked for it anew, though it still holds: daily (RFC 8461 3.3). An
/// attacker who keeps the server from us would otherwise only have to wait for its end (10.2).
pub const REFRESH: i64 = 86_400;

/// The longest answer of a web server that is read, octets (RFC 8461 3.2 speaks of 64 KiB).
pub const MAX_ANSWER: usize = 64 * 1024;
/// The most patterns of a policy.
const MAX_PATTERNS: usize = 100;
/// The longest time a policy holds (RFC 8461 3.2), seconds.
const MAX_AGE: i64 = 31_557_600;
/// The longest id (RFC 8461 3.1).
const MAX_ID: usize = 32;

/// The id in the text records of `_mta-sts.DOMAIN`. Several such records are as good as none (RFC 8461 3.1).
pub fn record_id(texts: &[String]) -> Option<String> {
    let mut ours = texts.iter().filter_map(|text| {
        let mut fields = text.split(';').map(str::trim);
        (fields.next() == Some("v=STSv1")).then_some(fields)
    });
    let (Some(mut fields), None) = (ours.next(), ours.next()) else {
        return None;
    };
    let id = fields.find_map(|field| match field.split_once('=') {
        Some((name, id)) if name.trim() == "id" => Some(id.trim()),
        _ => None,
    })?;
    let good = (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric());
    good.then(|| id.to_owned())
}

/// The text of a web server's answer. Only a plain 200 with plain text counts (RFC 8461 3.3): no detour.
///
/// # Errors
/// What is wrong with it, after "the web server ".
pub fn body(answer: &Answer) -> Result<&str, String> {
    if answer.code() != Some("200") {
        return Err(answer.unwanted());
    }
    if answer.kind != "text/plain" {
        return Err("sends something else than text/plain".to_owned());
    }
    std::str::from_utf8(&answer.body).map_err(|_| "sends no text".to_owned())
}

impl Policy {
    /// The policy of this text, which came now (RFC 8461 3.2). What it does not know is passed over.
    ///
    /// # Errors
    /// What is wrong with it, after "the policy ".
    pub fn parse(text: &str, id: &str, now: i64) -> Result<Self, &'static str> {
        let mut policy = Self {
            id: id.to_owned(),
            until: now,
            mode: Mode::Off,
            mx: Vec::new(),
        };
        let (mut version, mut mode, mut age) = (None, None, None);
        for line in text.lines() {
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            let value = value.trim();
            match name.trim() {
                "version" => version = version.or(Some(value)),
                "mode" => mode = mode.or(Some(value)),
                "max_age" => age = age.or(Some(value)),
                "mx" if policy.mx.len() < MAX_PATTERNS => {
                    // As zones write a whole name.
                    let value = value.strip_suffix('.').unwrap_or(value);
                    policy.mx.push(value.to_ascii_lowercase());
                }
                _ => {}
            }
        }
        if version != Some("STSv1") {
            return Err("is of no version that is known");
        }
        policy.mode = mode.and_then(Mode::parse).ok_or("has no mode")?;
        let age: i64 = age
            .and_then(|age| age.parse().ok())
            .ok_or("does not say for how long it holds")?;
        policy.until = now.saturating_add(age.clamp(0, MAX_AGE));
        if policy.mx.is_empty() && policy.mode != Mode::Off {
            return Err("names no mail server");
        }
        Ok(policy)
    }

    /// Its lines, as reports about TLS show them (RFC 8460 4.4).
    pub fn lines(&self) -> Vec<String> {
        let mx = self.mx.iter().map(|mx| format!("mx: {mx}"));
        let first = [
            "version: STSv1".to_owned(),
            format!("mode: {}", self.mode.word()),
        ];
        first.into_iter().chain(mx).collect()
    }

    /// Whether a mail server of this name is one of its (RFC 8461 4.1).
    pub fn names(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        self.mx
            .iter()
            .any(|pattern| match pattern.strip_prefix("*.") {
                Some(rest) => host
                    .split_once('.')
                    .is_some_and(|(first, below)| !first.is_empty() && below == rest),
                None => *pattern == host,
            })
    }

    /// The text of the file.
    pub fn to_text(&self) -> String {
        let (id, until, mode) = (&self.id, Stamp::utc(self.until).iso8601(), self.mode.word());
        let mx: String = self.mx.iter().map(|mx| format!("mx {mx}\n")).collect();
        format!("{MAGIC}\nid {id}\nuntil {until}\nmode {mode}\n{mx}")
    }

    /// Reads the file; `None` when it is none, or damaged.
    pub fn from_text(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        if lines.next() != Some(MAGIC) {
            return None;
        }
        let mut value = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let id = value("id")?.to_owned();
        let until = parse_iso8601(value("until")?)?;
        let mode = Mode::parse(value("mode")?)?;
        let mx: Option<Vec<String>> = lines
            .map(|line| Some(line.strip_prefix("mx ")?.to_owned()))
            .collect();
        Some(Self {
            id,
            until,
            mode,
            mx: mx?,
        })
    }
}

/// The first line of the file.
const MAGIC: &str = "minimta-sts 1";

impl Mode {
    fn parse(word: &str) -> Option<Self> {
        [Self::Enforce, Self::Testing, Self::Off]
            .into_iter()
            .find(|mode| mode.word() == word)
    }

    /// As it stands in a policy.
    pub fn word(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Testing => "testing",
            Self::Off => "none",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_454_400;

    #[test]
    fn one_record_has_an_id() {
        let rows: &[(&[&str], Option<&str>)] = &[
            (&["v=STSv1; id=20260101T000000Z;"], Some("20260101T000000Z")),
            (&["v=spf1 -all", "v=STSv1;id=a;x=y"], Some("a")),
            (&["v=STSv1; x=y; id=a"], Some("a")),
            (&["v=STSv1; x; id = a ;"], Some("a")),
            (&["v=STSv1; id=a", "v=STSv1; id=b"], None),
            (&["v=STSv1"], None),
            (&["v=STSv1; id="], None),
            (&["v=STSv1; id=../../etc"], None),
            (&["v=STSv1; id=123456789012345678901234567890123"], None),
            (&["v=STSv2; id=a"], None),
            (&["id=a; v=STSv1"], None),
            (&[], None),
        ];
        for (texts, id) in rows {
            let texts: Vec<String> = texts.iter().map(|t| (*t).to_owned()).collect();
            assert_eq!(record_id(&texts).as_deref(), *id, "{texts:?}");
        }
    }

    #[test]
    fn only_a_plain_answer_counts() {
        let rows = [
            ("HTTP/1.1 200 OK", "text/plain", "x", Ok("x")),
            ("HTTP/1.0 200", "text/plain", "x", Ok("x")),
            (
                "HTTP/1.1 301 Moved",
                "text/plain",
                "x",
                Err("answers with \"HTTP/1.1 301 Moved\""),
            ),
            (
                "HTTP/1.1 404 Not Found",
                "",
                "",
                Err("answers with \"HTTP/1.1 404 Not Found\""),
            ),
            (
                "HTTP/1.1 200 OK",
                "text/html",
                "x",
                Err("sends something else than text/plain"),
            ),
            (
                "HTTP/1.1 200 OK",
                "",
                "x",
                Err("sends something else than text/plain"),
            ),
            ("SSH-2.0-x", "", "", Err("answers with \"SSH-2.0-x\"")),
        ];
        for (status, kind, text, expected) in rows {
            let answer = Answer {
                status: status.to_owned(),
                kind: kind.to_owned(),
                body: text.as_bytes().to_vec(),
            };
            let found = body(&answer);
            assert_eq!(found, expected.map_err(str::to_owned), "{status}, {kind}");
        }
    }

    #[test]
    fn policies_are_read_and_kept() {
        let text = "version: STSv1\r\nmode: enforce\r\nmx: mail.example.net\r\nmx: *.Example.net\r\nmax_age: 604800\r\n";
        let policy = Policy::parse(text, "7", NOW).unwrap();
        assert_eq!(policy.mode, Mode::Enforce);
        assert_eq!(policy.until, NOW + 604_800);
        assert_eq!(Policy::from_text(&policy.to_text()), Some(policy));
        let dotted = text.replace(".net\r", ".net.\r");
        assert_eq!(
            Policy::parse(&dotted, "7", NOW),
            Policy::parse(text, "7", NOW)
        );
        let off = Policy::parse("version:STSv1\nmode:none\nmax_age:0", "8", NOW).unwrap();
        assert_eq!(Policy::from_text(&off.to_text()), Some(off));
        let wrong = [
            ("", "is of no version that is known"),
            (
                "version: STSv2\nmode: none\nmax_age: 1",
                "is of no version that is known",
            ),
            (
                "version: STSv1\nmode: hard\nmax_age: 1\nmx: a",
                "has no mode",
            ),
            (
                "version: STSv1\nmode: enforce\nmx: a",
                "does not say for how long it holds",
            ),
            (
                "version: STSv1\nmode: enforce\nmax_age: x\nmx: a",
                "does not say for how long it holds",
            ),
            (
                "version: STSv1\nmode: enforce\nmax_age: 1",
                "names no mail server",
            ),
        ];
        for (text, why) in wrong {
            assert_eq!(Policy::parse(text, "7", NOW), Err(why), "{text}");
        }
        let long = "version: STSv1\nmode: enforce\nmax_age: 99999999999\nmx: a\n";
        let many = format!("{long}{}", "mx: b\n".repeat(1000));
        let policy = Policy::parse(&many, "7", NOW).unwrap();
        assert_eq!(
            (policy.until, policy.mx.len()),
            (NOW + MAX_AGE, MAX_PATTERNS)
        );
        for damaged in [
            "",
            "minimta-sts 1\n",
            "minimta-sts 1\nid 7\nuntil x\nmode enforce\n",
            "minimta-sts 1\nid 7\nuntil 2026-01-01T00:00:00Z\nmode enforce\nmx a\nmx",
        ] {
            assert_eq!(Policy::from_text(damaged), None, "{damaged}");
        }
    }

    #[test]
    fn patterns_name_servers() {
        let policy = Policy {
            id: String::new(),
            until: 0,
            mode: Mode::Enforce,
            mx: vec!["mail.example.net".to_owned(), "*.example.org".to_owned()],
        };
        let rows = [
            ("mail.example.net", true),
            ("Mail.Example.NET", true),
            ("other.example.net", false),
            ("a.example.org", true),
            ("a.b.example.org", false),
            ("example.org", false),
            (".example.org", false),
        ];
        for (host, named) in rows {
            assert_eq!(policy.names(host), named, "{host}");
        }
    }
}
