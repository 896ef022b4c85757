//! Values as people write them in the configuration, and as they are shown again.

use super::*;

fn said(text: &str) -> Value {
    Value::Text(text.to_owned())
}

#[test]
fn hosts_are_names_or_addresses() {
    let rows: &[(&str, Option<&str>)] = &[
        ("smtp.example.org", Some("smtp.example.org")),
        ("SMTP.Example.org.", Some("smtp.example.org")),
        ("localhost", Some("localhost")),
        // As resolvers and certificates have it.
        ("b\u{fc}cher.example", Some("xn--bcher-kva.example")),
        ("192.0.2.1", Some("192.0.2.1")),
        ("[192.0.2.1]", Some("192.0.2.1")),
        ("2001:db8::1", Some("2001:db8::1")),
        ("[2001:DB8::1]", Some("2001:db8::1")),
        ("smtp.example.org:587", None),
        ("smtps://smtp.example.org", None),
        ("[smtp.example.org]", None),
        ("[IPv6:::1]", None),
        ("", None),
        ("a b", None),
    ];
    for (text, expected) in rows {
        assert_eq!(host(&said(text)).ok().as_deref(), *expected, "{text:?}");
    }
}

#[test]
fn what_ends_in_a_number_is_no_host_name() {
    let rows: &[(&str, Option<&str>)] = &[
        ("192.0.2.1", Some("it is an address")),
        ("192.0.2.1.", Some("it is an address")),
        ("127.1", Some("it ends in a number")),
        ("foo.123", Some("it ends in a number")),
        ("x.123.", Some("it ends in a number")),
        ("foo.0x7f", Some("it ends in a number")),
        ("0x7f000001", Some("it ends in a number")),
        ("0X7F000001", Some("it ends in a number")),
        // The id of a container, and names that only look like numbers.
        ("12345", None),
        ("0123456789ab", None),
        ("0x", None),
        ("0xen", None),
        ("123.example.org", None),
        ("0x7f.example.org", None),
        ("foo.0x7g", None),
        ("foo.1a", None),
        ("foo.x", None),
        // In its brackets an address is in its right.
        ("[192.0.2.1]", None),
        ("[IPv6:2001:db8::1]", None),
    ];
    for (name, refused) in rows {
        let why = host_name(&said(name)).err().map(|wrong| wrong.because);
        match (why, refused) {
            (None, None) => {}
            (Some(Some(why)), Some(refused)) => assert!(why.starts_with(refused), "{name}: {why}"),
            (why, _) => panic!("{name}: {why:?}"),
        }
    }
}

#[test]
fn fingerprints_are_32_octets() {
    let plain = "ab".repeat(32);
    let colons = vec!["AB"; 32].join(":");
    assert_eq!(
        fingerprint(&said(&format!("sha256:{plain}"))).unwrap(),
        [0xab; 32]
    );
    assert_eq!(
        fingerprint(&said(&format!("sha256:{colons}"))).unwrap(),
        [0xab; 32]
    );
    for bad in [
        plain.clone(),
        format!("sha1:{plain}"),
        format!("sha256:{plain}a"),
        format!("sha256:{plain}ab"),
        format!("sha256:{}", &plain[2..]),
        format!("sha256:{}zz", &plain[2..]),
        "sha256:".to_owned(),
    ] {
        assert!(fingerprint(&said(&bad)).is_err(), "{bad}");
    }
}

#[test]
fn a_delimiter_is_one_character_or_none() {
    let rows = [
        ("+", Some(Some('+'))),
        ("", Some(None)),
        ("+-", None),
        ("a", None),
        ("@", None),
    ];
    for (text, expected) in rows {
        assert_eq!(delimiter(&said(text)).ok(), expected, "{text:?}");
    }
    assert!(delimiter(&Value::Flag(false)).is_err());
}
