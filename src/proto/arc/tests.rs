//! Chains: made longer, broken by any change, and as the suite of ValiMail has them.

use super::*;
use crate::proto::address::Domain;
use crate::proto::dkim::key::SigningKey;
use crate::proto::dkim::sign::Signing;
use crate::proto::header_reader::HeaderReader;
use crate::proto::mx::NoAnswer;

const MAIL: &str = "Authentication-Results: mx.example;\r\n\tspf=pass smtp.mailfrom=a@b.example;\r\n\tarc=none\r\nFrom: a@b.example\r\nSubject: hello\r\n\r\nBody\r\n";

/// The header of a message, and its body.
fn halves(message: &str) -> (Header, Vec<u8>) {
    let mut reader = HeaderReader::new(1_000_000);
    let taken = reader.push(message.as_bytes()).unwrap();
    let (header, mut body) = reader.finish();
    body.extend(&message.as_bytes()[taken.unwrap_or(message.len())..]);
    (header, body)
}

fn key(keys: &[(String, String)], name: &str) -> Result<Vec<String>, NoAnswer> {
    let found = keys.iter().find(|(n, _)| n == name);
    let records = found.map(|(_, record)| vec![record.clone()]);
    records.ok_or(NoAnswer::NoSuchDomain)
}

fn check(message: &str, keys: &[(String, String)]) -> String {
    let (header, body) = halves(message);
    let mut verifier = Verifier::new(&header);
    verifier.feed(&body);
    let checked = verifier.finish(&mut |name| key(keys, name));
    format!("{} {}", checked.word, checked.why)
        .trim()
        .to_owned()
}

/// Whether the last signature is right, whatever the seals are.
fn is_signed(message: &str, keys: &[(String, String)]) -> bool {
    let ((header, body), mut bodies) = (halves(message), Bodies::default());
    let chain = Chain::new(&header, sets(&header).unwrap(), &mut bodies);
    bodies.feed(&body);
    let chain = chain.unwrap().unwrap();
    chain
        .last_signature(&bodies, &mut |name| key(keys, name))
        .is_ok()
}

fn sealed_by(message: &str, by: &str, signer: &Signer) -> String {
    let mut signing = Signing::new(1_000_000);
    signing.feed(message.as_bytes()).unwrap();
    let fields = seal(&signing.finish(), by, signer, 1_528_637_909).unwrap();
    String::from_utf8(fields).unwrap() + message
}

#[test]
#[cfg_attr(miri, ignore = "ring is C and assembly")]
fn a_chain_is_made_longer_and_breaks_with_any_change() {
    let signer = |domain: &str| Signer {
        domain: Domain::parse(domain).unwrap(),
        selector: "s".to_owned(),
        key: SigningKey::from_pem(SigningKey::generate().unwrap().as_bytes()).unwrap(),
    };
    let signers = [signer("one.example"), signer("two.example")];
    let keys: Vec<_> = signers
        .iter()
        .map(|s| (format!("s._domainkey.{}", s.domain), s.key.record()))
        .collect();
    let check = |message: &str| check(message, &keys);
    assert_eq!(check(MAIL), "none");
    let one = sealed_by(MAIL, "mx.example", &signers[0]);
    assert_eq!(check(&one), "pass i=1, sealed by one.example", "{one}");
    // The next one has found it right, and says so.
    let arrived =
        format!("Authentication-Results: my.example; arc=pass (i=1)\r\nReceived: x\r\n{one}");
    assert_eq!(check(&arrived), "pass i=1, sealed by one.example");
    let two = sealed_by(&arrived, "my.example", &signers[1]);
    assert_eq!(check(&two), "pass i=2, sealed by two.example", "{two}");
    let rows = [
        ("Body", "Bod", "fail the body was changed"),
        (
            "Subject: hello",
            "Subject: hell",
            "fail the signature is wrong, or the header was changed",
        ),
        (
            "i=1; mx.example;\r\n\tspf=pass",
            "i=1; mx.example;\r\n\tspf=fail",
            "fail the signature is wrong, or the header was changed",
        ),
        (
            "cv=none",
            "cv=pass",
            "fail the signature is wrong, or the header was changed",
        ),
        ("cv=pass", "cv=fail", "fail it was broken before"),
        (
            "ARC-Seal: i=1",
            "X-Seal: i=1",
            "fail its sets are not whole",
        ),
        (
            "ARC-Seal: i=1",
            "ARC-Seal: i=2",
            "fail its sets are not whole",
        ),
        (
            "ARC-Seal: i=1",
            "ARC-Seal: i=3",
            "fail its sets are not whole",
        ),
        (
            "ARC-Seal: i=1;",
            "ARC-Seal: i=1; h=from;",
            "fail the signature is wrong, or the header was changed",
        ),
        (
            "d=one.example; s=s",
            "d=one.example; s=t",
            "fail the signature is wrong, or the header was changed",
        ),
    ];
    for (from, to, expected) in rows {
        assert!(two.contains(from), "{from}");
        assert_eq!(
            check(&two.replacen(from, to, 1)),
            expected,
            "{from:?} as {to:?}"
        );
    }
    let named = one.replacen("ARC-Seal: i=1;", "ARC-Seal: i=1; h=from;", 1);
    assert_eq!(check(&named), "fail a seal names fields");
    let elsewhere = one.replacen("d=one.example; s=s", "d=one.example; s=t", 1);
    let none = "fail there is no key at t._domainkey.one.example";
    assert_eq!(check(&elsewhere), none);
    // Nobody vouches for what he has not looked at, or found broken.
    assert_eq!(sealed_by(MAIL, "other.example", &signers[0]), MAIL);
    let broken = arrived.replace("arc=pass", "arc=fail");
    assert_eq!(sealed_by(&broken, "my.example", &signers[1]), broken);
}

/// Tests of the suite that are answered otherwise here, and how: SHA-1 proves nothing any more (RFC 8301 3.1).
const OTHERWISE: &[(&str, &str)] = &[("ams_fields_a_sha1", "fail"), ("as_fields_a_sha1", "fail")];

/// A test of the suite: its name, who seals, the message, what is expected.
type Row = (String, String, String, Vec<String>);

/// The keys of a scenario, and its tests.
type Scenario = (Vec<(String, String)>, Vec<Row>);

/// The suite of ValiMail, whose tables `tests/arc/suite` has.
fn suite() -> Vec<Scenario> {
    let mut scenarios = Vec::new();
    let mut parts = std::collections::BTreeMap::<String, String>::new();
    for line in include_str!("../../../tests/arc/suite").lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let whole = |numbers: &str| -> String {
            let numbers = numbers.split(' ').filter(|n| !n.is_empty());
            numbers.map(|n| parts[n].clone()).collect()
        };
        match fields.as_slice() {
            ["scenario", _] => scenarios.push((Vec::new(), Vec::new())),
            ["key", name, record] => {
                let key = ((*name).to_owned(), (*record).to_owned());
                scenarios.last_mut().unwrap().0.push(key);
            }
            ["part", number, text] => {
                let text = text.replace("\\t", "\t").replace("\\n", "\r\n");
                assert!(!text.contains('\\'), "{text}");
                parts.insert((*number).to_owned(), text);
            }
            ["test", name, result, numbers] => {
                let row = ((*name).to_owned(), String::new(), whole(numbers));
                let row = (row.0, row.1, row.2, vec![(*result).to_owned()]);
                scenarios.last_mut().unwrap().1.push(row);
            }
            ["seal", name, by, numbers, expected @ ..] => {
                let expected = expected.iter().map(|e| (*e).to_owned()).collect();
                let row = (
                    (*name).to_owned(),
                    (*by).to_owned(),
                    whole(numbers),
                    expected,
                );
                scenarios.last_mut().unwrap().1.push(row);
            }
            _ => assert!(line.starts_with('#') || line.is_empty(), "{line}"),
        }
    }
    scenarios
}

#[test]
#[cfg_attr(miri, ignore = "ring is C and assembly")]
fn the_suite_of_valimail_agrees() {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for (keys, rows) in suite() {
        for (name, by, message, expected) in rows {
            let [expected] = expected.as_slice() else {
                assert!(!by.is_empty());
                continue;
            };
            let other = OTHERWISE.iter().find(|(n, _)| *n == name);
            let expected = other.map_or(expected.as_str(), |(_, result)| result);
            let found = check(&message, &keys);
            count += 1;
            if found.split(' ').next() != Some(expected) {
                wrong.push(format!("{name}: {found} instead of {expected}"));
            }
        }
    }
    assert_eq!(count, 174);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The signature that somebody else adds is right for us, and our set says the same as his. (The white space that his seals
/// seal is not known.) A chain that is broken gets no set here: that it is broken anybody can see.
#[test]
#[cfg_attr(miri, ignore = "ring is C and assembly")]
fn messages_are_sealed_as_the_suite_of_valimail_does() {
    let own = Signer {
        domain: Domain::parse("own.example").unwrap(),
        selector: "s".to_owned(),
        key: SigningKey::from_pem(SigningKey::generate().unwrap().as_bytes()).unwrap(),
    };
    let mut count = 0;
    for (mut keys, rows) in suite() {
        keys.push(("s._domainkey.own.example".to_owned(), own.key.record()));
        for (name, by, message, expected) in rows {
            let [seal, signature, results, ..] = expected.as_slice() else {
                continue;
            };
            count += 1;
            let ours = sealed_by(&message, &by, &own);
            if seal.is_empty() || seal.contains("cv=fail") {
                assert_eq!(ours, message, "{name}");
                continue;
            }
            let theirs = format!(
                "{SEAL}: {seal}\r\n{MESSAGE}: {signature}\r\n{RESULTS}: {results}\r\n{message}"
            );
            assert!(is_signed(&theirs, &keys), "{name}: {theirs}");
            assert!(is_signed(&ours, &keys), "{name}: {ours}");
            if seal.contains("cv=none") {
                let found = check(&ours, &keys);
                assert_eq!(found, "pass i=1, sealed by own.example", "{name}");
            }
            let squeezed = |text: &str| text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
            let (_, rest) = ours.split_once(&format!("{RESULTS}: ")).unwrap();
            // With the ends of the line, which are none of a fold's.
            let end = rest
                .match_indices("\r\n")
                .find(|(at, _)| !rest[at + 2..].starts_with([' ', '\t']));
            assert_eq!(squeezed(&rest[..end.unwrap().0]), *results, "{name}");
            for word in ["i=", "cv="] {
                let of = |text: &str| {
                    let tags = Tags::parse(text.split_once(':').unwrap().1.as_bytes()).unwrap();
                    tags.packed(word.trim_end_matches('=')).unwrap()
                };
                let first = ours.split("\r\nARC-").next().unwrap();
                assert_eq!(of(first), of(&format!("{SEAL}: {seal}")), "{name}");
            }
        }
    }
    assert_eq!(count, 17);
}
