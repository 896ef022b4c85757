//! What a certificate says of itself, for people: whose it is, who has signed it, until when it is good (RFC 5280 4.1).
//! Nothing is decided by it; of a certificate that cannot be read nothing is said.

use super::order;

/// The words of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// Whose it is.
    pub subject: String,
    /// Who has signed it.
    pub issuer: String,
    /// The last day on which it is good, `2026-11-25`.
    pub until: String,
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const VERSION: u8 = 0xa0;
/// The parts of a name that tell most: common name, then organisation.
const PARTS: [(&str, &[u8]); 2] = [("CN", &[0x55, 4, 3]), ("O", &[0x55, 4, 10])];

/// Reads a certificate in DER.
pub fn words(der: &[u8]) -> Option<Words> {
    let (_, certificate, _) = element(der)?;
    let (_, body, _) = element(certificate)?;
    let (tag, _, after_version) = element(body)?;
    let rest = if tag == VERSION { after_version } else { body };
    let (_, _, rest) = element(rest)?; // its number
    let (_, _, rest) = element(rest)?; // how it is signed
    let (_, issuer, rest) = element(rest)?;
    let (_, validity, rest) = element(rest)?;
    let (_, subject, _) = element(rest)?;
    let (_, _, end) = element(validity)?;
    let (kind, end, _) = element(end)?;
    Some(Words {
        subject: name(subject),
        issuer: name(issuer),
        until: day(kind, end)?,
    })
}

/// One element: its tag, what is in it, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        // No certificate is longer than three octets can say.
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            let length = digits
                .iter()
                .fold(0, |n, octet| n << 8 | usize::from(*octet));
            (length, rest)
        }
        _ => return None,
    };
    let (inside, rest) = rest.split_at_checked(length)?;
    Some((*tag, inside, rest))
}

fn name(mut der: &[u8]) -> String {
    let mut found: Vec<(usize, String)> = Vec::new();
    while let Some((SET, set, rest)) = element(der) {
        der = rest;
        if let Some((SEQUENCE, pair, _)) = element(set)
            && let Some((OBJECT, kind, value)) = element(pair)
            && let Some((_, value, _)) = element(value)
            && let Some(part) = PARTS.iter().position(|(_, object)| *object == kind)
        {
            let value = String::from_utf8_lossy(value);
            let value = value.chars().filter(|c| !c.is_control()).take(100);
            found.push((part, value.collect()));
        }
    }
    order::sort(&mut found, &Ord::cmp);
    let shown = found
        .iter()
        .filter_map(|(part, value)| PARTS.get(*part).map(|(word, _)| format!("{word}={value}")));
    let shown: Vec<String> = shown.collect();
    match shown.is_empty() {
        true => "nobody by name".to_owned(),
        false => shown.join(", "),
    }
}

/// `260101...Z` is of this century until 2049 (RFC 5280 4.1.2.5); the other kind has the whole year.
fn day(kind: u8, time: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(time).ok()?;
    let text = match kind {
        UTC_TIME if text.get(..1)? < "5" => format!("20{text}"),
        UTC_TIME => format!("19{text}"),
        _ => text.to_owned(),
    };
    let (year, month, day) = (text.get(..4)?, text.get(4..6)?, text.get(6..8)?);
    let digits = [year, month, day]
        .concat()
        .bytes()
        .all(|b| b.is_ascii_digit());
    digits.then(|| format!("{year}-{month}-{day}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::below;

    fn tlv(tag: u8, inside: &[u8]) -> Vec<u8> {
        let length = u8::try_from(inside.len()).unwrap();
        let length = if length < 0x80 {
            vec![length]
        } else {
            vec![0x81, length]
        };
        [&[tag][..], &length, inside].concat()
    }

    fn named(parts: &[(u8, &str)]) -> Vec<u8> {
        let set = |(last, value): &(u8, &str)| {
            let pair = [tlv(OBJECT, &[0x55, 4, *last]), tlv(12, value.as_bytes())].concat();
            tlv(SET, &tlv(SEQUENCE, &pair))
        };
        tlv(SEQUENCE, &parts.iter().flat_map(set).collect::<Vec<_>>())
    }

    fn certificate(subject: &[u8], end: &[u8]) -> Vec<u8> {
        let validity = [&tlv(UTC_TIME, b"200101000000Z")[..], end].concat();
        let body = [
            tlv(VERSION, &tlv(2, &[2])),
            tlv(2, &[7]),
            tlv(SEQUENCE, &[]),
            named(&[(10, "Test"), (3, "Root\u{7}")]),
            tlv(SEQUENCE, &validity),
            subject.to_vec(),
        ];
        tlv(SEQUENCE, &tlv(SEQUENCE, &body.concat()))
    }

    #[test]
    fn a_certificate_is_told_in_words() {
        let rows = [
            (
                named(&[(3, "mx.example")]),
                tlv(UTC_TIME, b"260102030405Z"),
                "CN=mx.example",
                "2026-01-02",
            ),
            (
                named(&[(6, "DE")]),
                tlv(24, b"20991231235959Z"),
                "nobody by name",
                "2099-12-31",
            ),
            (
                named(&[]),
                tlv(UTC_TIME, b"990102030405Z"),
                "nobody by name",
                "1999-01-02",
            ),
        ];
        for (subject, end, shown, until) in rows {
            let der = certificate(&subject, &end);
            let words = words(&der).unwrap();
            assert_eq!(words.subject, shown);
            assert_eq!(words.issuer, "CN=Root, O=Test");
            assert_eq!(words.until, until);
        }
    }

    #[test]
    fn rubbish_is_told_nothing_of() {
        let good = certificate(&named(&[(3, "x")]), &tlv(UTC_TIME, b"260102030405Z"));
        for length in below(good.len()) {
            assert_eq!(words(&good[..length]), None);
        }
        for at in below(good.len()) {
            for octet in [0, 0x30, 0x7f, 0x80, 0x84, 0xff] {
                let mut bad = good.clone();
                bad[at] = octet;
                let _ = words(&bad); // it ends, and does not panic
            }
        }
    }
}
