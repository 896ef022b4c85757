//! Values as people write them in the configuration, and as they are shown again.

use super::*;

fn said(text: &str) -> Value {
    Value::Text(text.to_owned())
}

#[test]
fn sizes_are_octets_or_have_one_unit() {
    let rows: &[(&str, Option<u64>)] = &[
        ("25M", Some(25 * MIB)),
        ("512K", Some(512 * KIB)),
        ("1G", Some(GIB)),
        ("0", Some(0)),
        ("100", Some(100)),
        ("", None),
        ("M", None),
        ("25MB", None),
        ("25MM", None),
        ("25m", None), // a minute is written so
        ("2.5M", None),
        ("-1", None),
        ("+1", None),
        (" 1", None),
        ("18446744073709551615", None), // beyond the bound
        ("99999999999999999999999G", None),
        ("18014398509481984K", None), // 2^64
    ];
    for (text, expected) in rows {
        assert_eq!(size(&said(text), 0..=GIB).ok(), *expected, "{text:?}");
    }
    assert_eq!(size(&Value::Number(5), 0..=GIB).ok(), Some(5));
    assert_eq!(size(&Value::Number(-5), 0..=GIB).ok(), None);
}

#[test]
fn times_have_units_in_order() {
    let rows: &[(&str, Option<u64>)] = &[
        ("0s", Some(0)),
        ("5m", Some(300)),
        ("4h", Some(4 * HOUR)),
        ("5d", Some(5 * DAY)),
        ("1h30m", Some(5400)),
        ("1d2h3m4s", Some(DAY + 2 * HOUR + 3 * MINUTE + 4)),
        ("90s", Some(90)),
        ("", None),
        ("5", None),
        ("m", None),
        ("5M", None),
        ("30m1h", None),
        ("1h1h", None),
        ("1h30", None),
        ("1.5h", None),
        ("-5m", None),
        ("5 m", None),
        ("999999999999999999999d", None),
        ("18446744073709551615d", None),
    ];
    for (text, expected) in rows {
        assert_eq!(
            duration(&said(text), 0..=365 * DAY).ok(),
            expected.map(Duration::from_secs),
            "{text:?}"
        );
    }
    assert!(duration(&Value::Number(300), 0..=DAY).is_err());
}

#[test]
fn sizes_and_times_are_shown_as_they_are_written() {
    for text in ["0", "100", "1500", "512K", "25M", "1G"] {
        assert_eq!(show_size(size(&said(text), 0..=GIB).unwrap()), text);
    }
    for text in ["0s", "90m", "1h30m", "5d", "1d1s"] {
        let read = duration(&said(text), 0..=365 * DAY).unwrap();
        assert_eq!(
            show_duration(read),
            if text == "90m" { "1h30m" } else { text }
        );
    }
}

#[test]
fn hosts_are_names_or_addresses() {
    let rows: &[(&str, Option<&str>)] = &[
        ("smtp.example.org", Some("smtp.example.org")),
        ("SMTP.Example.org.", Some("smtp.example.org")),
        ("localhost", Some("localhost")),
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
