//! DMARC (RFC 7489): whether the domain in From answers for a message, and what it asks for when it does not.
//!
//! Which domain is above all of a name's (its organizational domain) is found by a walk up the names in DNS (the tree
//! walk of RFC 9989 4.10, at most eight questions), not by a list of public suffixes: that list is larger than this
//! program and changes every week.

use super::address::Domain;
use super::mx::NoAnswer;
use super::names::Names;
use super::results::Word;
use super::tags::Tags;

/// The most questions of one walk.
const MAX_STEPS: usize = 8;

/// What a domain asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Policy {
    /// Nothing.
    None,
    /// To be suspicious.
    Quarantine,
    /// To refuse.
    Reject,
}

impl Policy {
    /// As a record says it.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::None, Self::Quarantine, Self::Reject]
            .into_iter()
            .find(|p| p.word().eq_ignore_ascii_case(word))
    }

    fn milder(self) -> Self {
        match self {
            Self::Reject => Self::Quarantine,
            _ => Self::None,
        }
    }
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// p=
    pub policy: Policy,
    /// sp=: for domains below.
    below: Option<Policy>,
    /// np=: for domains below that do not exist.
    missing: Option<Policy>,
    /// adkim=s
    strict_dkim: bool,
    /// aspf=s
    strict_spf: bool,
    /// psd=: whether it is a domain under which others register theirs.
    suffix: Option<bool>,
    /// pct=: to how much of the mail it is to be applied; t=y is 0.
    percent: u8,
}

impl Record {
    /// Reads a text record; `None`: it is another kind, or worthless (RFC 7489 6.3, 6.6.3).
    pub fn parse(text: &str) -> Option<Self> {
        // The version stands first, whatever follows (RFC 7489 6.3).
        let begin = text.split(';').next().unwrap_or_default();
        if Tags::of_policy(begin).first() != Some(("v", "DMARC1")) {
            return None;
        }
        let tags = Tags::of_policy(text);
        let policy = |name| tags.get(name).map(Policy::parse);
        let own = match policy("p") {
            Some(Some(policy)) => policy,
            // Whoever wants reports has meant something; but nobody is harmed by a slip.
            _ if tags.get("rua").is_some() => Policy::None,
            Some(None) => return None,
            None => Policy::None,
        };
        let is = |name, value: &str| {
            tags.get(name)
                .is_some_and(|v| v.eq_ignore_ascii_case(value))
        };
        let percent = tags.number("pct").flatten().unwrap_or(100).min(100);
        Some(Self {
            policy: own,
            below: policy("sp").flatten(),
            missing: policy("np").flatten(),
            strict_dkim: is("adkim", "s"),
            strict_spf: is("aspf", "s"),
            suffix: match tags.get("psd") {
                Some(psd) if psd.eq_ignore_ascii_case("y") => Some(true),
                Some(psd) if psd.eq_ignore_ascii_case("n") => Some(false),
                _ => None,
            },
            percent: if is("t", "y") {
                0
            } else {
                u8::try_from(percent).unwrap_or(100)
            },
        })
    }
}

/// What a walk found.
struct Walk {
    /// The record of the name it began with.
    own: Option<Record>,
    /// The organizational domain, with its record; `None`: no name has one.
    top: Option<(String, Record)>,
}

/// Goes up from a domain (RFC 9989 4.10).
fn walk(domain: &str, names: &mut dyn Names) -> Result<Walk, String> {
    let mut found: Vec<(&str, Record)> = Vec::new();
    let mut at = Some(domain);
    let mut steps = 0;
    while let Some(name) = at {
        steps += 1;
        if let Some(record) = record(name, names)? {
            let stop = record.suffix.is_some();
            found.push((name, record));
            if stop {
                break;
            }
        }
        // Of a name of many labels, those in the middle are skipped.
        let labels = name.split('.').count();
        let skip = if steps == 1 && labels >= MAX_STEPS {
            labels + 1 - MAX_STEPS
        } else {
            1
        };
        at = name.splitn(skip + 1, '.').nth(skip);
    }
    let own = found.first().filter(|(name, _)| *name == domain);
    let own = own.map(|(_, record)| record.clone());
    let top = match found.last() {
        // Below a public suffix, the organizational domain is one label longer.
        Some((suffix, record)) if record.suffix == Some(true) && *suffix != domain => {
            let below = domain
                .strip_suffix(suffix)
                .and_then(|rest| rest.strip_suffix('.'));
            let label = below
                .and_then(|rest| rest.rsplit('.').next())
                .unwrap_or_default();
            let name = format!("{label}.{suffix}");
            let own = found.iter().find(|(n, _)| *n == name);
            let record = own.map_or(record, |(_, record)| record).clone();
            Some((name, record))
        }
        Some((name, record)) => Some(((*name).to_owned(), record.clone())),
        None => None,
    };
    Ok(Walk { own, top })
}

fn record(domain: &str, names: &mut dyn Names) -> Result<Option<Record>, String> {
    match names.txt(&format!("_dmarc.{domain}")) {
        Ok(records) => {
            let mut records = records.iter().filter_map(|r| Record::parse(r));
            // Of two, neither counts (RFC 7489 6.6.3).
            Ok(records.next().filter(|_| records.next().is_none()))
        }
        Err(NoAnswer::Temporary(why)) => Err(why),
        Err(_) => Ok(None),
    }
}

/// What was proved of a message.
#[derive(Debug, Clone, Default)]
pub struct Proofs<'a> {
    /// The domains whose signatures are right.
    pub signed: Vec<&'a Domain>,
    /// The domain that lets the client send, by SPF.
    pub sent: Option<&'a str>,
    /// Something could not be looked up: it may be right.
    pub unsure: bool,
}

/// What becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whether the domain in From answers for the message.
    pub word: Word,
    /// What it asks for, if not.
    pub policy: Policy,
    /// Why, for people.
    pub why: String,
}

/// Judges a message by the domain in its From. `dice`: random, for records that want a part of the mail treated so.
pub fn check(from: &Domain, proofs: &Proofs<'_>, names: &mut dyn Names, dice: u64) -> Answer {
    match judge(from.ascii(), proofs, names, dice) {
        Ok(answer) => answer,
        Err(why) => Answer {
            word: Word::Temperror,
            policy: Policy::None,
            why,
        },
    }
}

fn judge(
    from: &str,
    proofs: &Proofs<'_>,
    names: &mut dyn Names,
    dice: u64,
) -> Result<Answer, String> {
    let answer = |word, policy, why: &str| Answer {
        word,
        policy,
        why: why.to_owned(),
    };
    let found = walk(from, names)?;
    let Some((top, of_top)) = &found.top else {
        return Ok(answer(Word::None, Policy::None, "the domain has no record"));
    };
    let record = found.own.as_ref().unwrap_or(of_top);
    let mut aligned = |domain: &str, strict: bool| -> Result<bool, String> {
        if domain == from || strict {
            return Ok(domain == from);
        }
        if !is_below(domain, top) {
            return Ok(false);
        }
        // One below may be on its own (psd=n).
        Ok(domain == top
            || walk(domain, names)?
                .top
                .is_some_and(|(other, _)| other == *top))
    };
    let mut pass = false;
    for domain in &proofs.signed {
        pass = pass || aligned(domain.ascii(), record.strict_dkim)?;
    }
    if let Some(domain) = proofs.sent {
        pass = pass || aligned(&domain.to_ascii_lowercase(), record.strict_spf)?;
    }
    let policy = match &found.own {
        Some(own) => own.policy,
        None => {
            let below = of_top.below.unwrap_or(of_top.policy);
            match of_top.missing {
                Some(missing) if is_missing(from, names) => missing,
                _ => below,
            }
        }
    };
    let applies = dice % 100 < u64::from(record.percent);
    let policy = if applies { policy } else { policy.milder() };
    Ok(if pass {
        answer(Word::Pass, policy, "")
    } else if proofs.unsure {
        answer(Word::Temperror, policy, "not everything could be looked up")
    } else {
        answer(
            Word::Fail,
            policy,
            "nothing that is right is of this domain",
        )
    })
}

/// Whether there is no such domain at all.
fn is_missing(domain: &str, names: &mut dyn Names) -> bool {
    matches!(names.mx(domain), Err(NoAnswer::NoSuchDomain))
}

fn is_below(name: &str, domain: &str) -> bool {
    let rest = name.strip_suffix(domain);
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::names::Zone;

    const ZONE: &str = "
        _dmarc.example.org TXT v=DMARC1; p=reject; sp=quarantine; np=reject
        a.example.org MX 10 mail.example.org
        _dmarc.strict.example TXT v=DMARC1; p=quarantine; adkim=s; aspf=s
        _dmarc.own.example.org TXT v=DMARC1; p=none; psd=n
        _dmarc.suffix TXT v=DMARC1; p=reject; psd=y
        _dmarc.two.example TXT v=DMARC1; p=reject
        _dmarc.two.example TXT v=DMARC1; p=none
        _dmarc.half.example TXT v=DMARC1; p=reject; pct=50
        _dmarc.test.example TXT v=DMARC1; p=reject; t=y
        _dmarc.down.example ! TEMP
        _dmarc.other.example TXT v=spf1 -all
        _dmarc.typo.example TXT v=DMARC1; p=rejct
        _dmarc.typo2.example TXT v=DMARC1; p=rejct; rua=mailto:a@b.example
        _dmarc.order.example TXT p=reject; v=DMARC1
        _dmarc.late.example TXT x; v=DMARC1; p=reject
        _dmarc.slip.example TXT v=DMARC1; p=reject;; sp; p=none; rua=mailto:a@b.example; =
    ";

    #[test]
    fn the_domain_in_from_decides() {
        // From, who has signed, who lets it send, the result, what is asked for.
        let rows = [
            ("example.org", "example.org", "", "pass reject"),
            ("example.org", "a.example.org", "", "pass reject"),
            ("example.org", "", "bounces.example.org", "pass reject"),
            ("example.org", "example.net", "example.net", "fail reject"),
            ("example.org", "org", "notexample.org", "fail reject"),
            ("example.org", "", "", "fail reject"),
            ("a.example.org", "example.org", "", "pass quarantine"),
            ("a.example.org", "b.example.org", "", "pass quarantine"),
            ("a.example.org", "", "", "fail quarantine"),
            ("gone.example.org", "", "", "fail reject"),
            // On its own, although it is below.
            ("own.example.org", "example.org", "", "fail none"),
            ("example.org", "own.example.org", "", "fail reject"),
            ("own.example.org", "x.own.example.org", "", "pass none"),
            ("strict.example", "strict.example", "", "pass quarantine"),
            (
                "strict.example",
                "a.strict.example",
                "a.strict.example",
                "fail quarantine",
            ),
            // Domains under a public suffix answer for themselves alone.
            ("one.suffix", "a.one.suffix", "", "pass reject"),
            ("one.suffix", "two.suffix", "", "fail reject"),
            ("nothing.example", "nothing.example", "", "none none"),
            ("two.example", "", "", "none none"),
            ("other.example", "", "", "none none"),
            ("typo.example", "", "", "none none"),
            ("typo2.example", "", "", "fail none"),
            ("order.example", "", "", "none none"),
            ("late.example", "", "", "none none"),
            // What is wrong in the rest of a record is passed over (RFC 7489 6.3).
            ("slip.example", "", "", "fail reject"),
            ("half.example", "", "", "fail reject"),
            ("test.example", "", "", "fail quarantine"),
            ("down.example", "down.example", "", "temperror none"),
            (
                "a.b.c.d.e.f.g.h.i.example.org",
                "example.org",
                "",
                "pass reject",
            ),
        ];
        for (from, signed, sent, expected) in rows {
            let mut zone = Zone::new(ZONE);
            let domain = |text: &str| Domain::parse(text).unwrap();
            let signed = (!signed.is_empty()).then(|| domain(signed));
            let proofs = Proofs {
                signed: signed.iter().collect(),
                sent: Some(sent).filter(|s| !s.is_empty()),
                unsure: false,
            };
            let answer = check(&domain(from), &proofs, &mut zone, 149);
            let found = format!("{} {}", answer.word, answer.policy.word());
            assert_eq!(found, expected, "{from} {signed:?} {sent}");
            assert!(zone.asked.len() <= 2 * MAX_STEPS + 1, "{:?}", zone.asked);
        }
        let (from, proofs) = (Domain::parse("half.example").unwrap(), Proofs::default());
        let answer = check(&from, &proofs, &mut Zone::new(ZONE), 50);
        assert_eq!(answer.policy, Policy::Quarantine);
        let unsure = Proofs {
            unsure: true,
            ..Proofs::default()
        };
        let answer = check(
            &Domain::parse("example.org").unwrap(),
            &unsure,
            &mut Zone::new(ZONE),
            0,
        );
        assert_eq!(answer.word, Word::Temperror);
    }

    /// RFC 7489 B.1: whose name counts for whose mail, in relaxed and in strict alignment.
    #[test]
    fn the_examples_of_the_rfc_align() {
        // From, the sender that SPF passes, the domain of the signature, the result: relaxed and strict.
        let rows = [
            ("example.com", "example.com", "", "pass", "pass"), // B.1.1, 1
            ("example.com", "child.example.com", "", "pass", "fail"), // B.1.1, 2
            ("child.example.com", "example.net", "", "fail", "fail"), // B.1.1, 3
            ("example.com", "", "example.com", "pass", "pass"), // B.1.2, 1
            ("child.example.com", "", "example.com", "pass", "fail"), // B.1.2, 2
            ("child.example.com", "", "sample.net", "fail", "fail"), // B.1.2, 3
        ];
        // B.2.1, B.2.2, B.2.4: what records of theirs ask for.
        let records = [
            (
                "v=DMARC1; p=none; rua=mailto:dmarc-feedback@example.com",
                "none",
            ),
            (
                "v=DMARC1; p=none; rua=mailto:dmarc-feedback@example.com; ruf=mailto:auth-reports@example.com",
                "none",
            ),
            (
                "v=DMARC1; p=quarantine; rua=mailto:dmarc-feedback@example.com,mailto:tld-test@thirdparty.example.net!10m; pct=25",
                "quarantine",
            ),
        ];
        for (record, policy) in records {
            for (from, sent, signed, relaxed, strict) in rows {
                for (more, expected) in [("", relaxed), ("; adkim=s; aspf=s", strict)] {
                    let zone = format!("_dmarc.example.com TXT {record}{more}");
                    let domain = |text: &str| Domain::parse(text).unwrap();
                    let signed = (!signed.is_empty()).then(|| domain(signed));
                    let proofs = Proofs {
                        signed: signed.iter().collect(),
                        sent: Some(sent).filter(|s| !s.is_empty()),
                        unsure: false,
                    };
                    let answer = check(&domain(from), &proofs, &mut Zone::new(&zone), 24);
                    let found = format!("{} {}", answer.word, answer.policy.word());
                    assert_eq!(
                        found,
                        format!("{expected} {policy}"),
                        "{from} {sent} {more}"
                    );
                }
            }
        }
    }
}
