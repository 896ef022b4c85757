//! Zones as a table: which hosts, in which order.

use super::*;

/// What a name's addresses are in the tests.
fn addresses(name: &str) -> Result<Vec<IpAddr>, NoAnswer> {
    let all = |list: &str| Ok(list.split(' ').map(|ip| ip.parse().unwrap()).collect());
    match name {
        "one.example" => all("192.0.2.1"),
        "two.example" => all("192.0.2.2"),
        "xn--bcher-kva.example" => all("192.0.2.4"),
        "three.example" => all("2001:db8::3 192.0.2.3"),
        "six.example" => all("2001:db8::6"),
        "many.example" => {
            all("2001:db8::1 2001:db8::2 2001:db8::4 2001:db8::5 192.0.2.11 192.0.2.12 192.0.2.13")
        }
        "ours.example" => all("198.51.100.1"),
        "home.example" => all("127.0.0.1"),
        "mapped.example" => all("::ffff:127.0.0.1"),
        "zero.example" => all("0.0.0.0"),
        "link.example" => all("169.254.1.1 fe80::1"),
        "broken.example" => Err(NoAnswer::Temporary("SERVFAIL".to_owned())),
        "gone.example" => Err(NoAnswer::NoSuchDomain),
        _ => Err(NoAnswer::NoData),
    }
}

/// `10 one.example, 20 .` as records; "-" is an answer with none.
fn records(text: &str) -> Result<Vec<Exchanger>, NoAnswer> {
    match text {
        "nodata" => Err(NoAnswer::NoData),
        "nxdomain" => Err(NoAnswer::NoSuchDomain),
        "servfail" => Err(NoAnswer::Temporary("SERVFAIL".to_owned())),
        _ => Ok(text
            .split(", ")
            .filter_map(|record| record.split_once(' '))
            .map(|(preference, name)| Exchanger {
                preference: preference.parse().unwrap(),
                name: name.trim_end_matches('.').to_owned(),
            })
            .collect()),
    }
}

fn find(domain: &str, text: &str, random: u64) -> Result<Vec<Host>, Outcome> {
    let domain = Domain::parse(domain).unwrap();
    let pi = Domain::parse("pi.example").unwrap();
    let own = Own {
        names: &[&pi],
        addresses: &["198.51.100.1".parse().unwrap()],
        loopback: true,
    };
    let exchangers = exchangers(&domain, records(text), &own, random)?;
    let answers = exchangers
        .iter()
        .map(|e| addresses(&e.name).map(Addresses::from))
        .collect();
    hosts(&domain, &exchangers, answers, &own)
}

#[test]
fn records_lead_to_hosts() {
    // Domain, its MX records, and the hosts or the status.
    let rows: &[(&str, &str, Result<&str, Enhanced>)] = &[
        ("x.example", "10 one.example", Ok("one.example=192.0.2.1")),
        (
            "x.example",
            "20 one.example, 10 two.example",
            Ok("two.example=192.0.2.2 one.example=192.0.2.1"),
        ), // R103
        ("one.example", "nodata", Ok("one.example=192.0.2.1")), // R104, K42
        ("six.example", "nodata", Ok("six.example=2001:db8::6")), // K42
        (
            "b\u{fc}cher.example",
            "nodata",
            Ok("xn--bcher-kva.example=192.0.2.4"),
        ),
        ("none.example", "nodata", Err(Enhanced(5, 4, 4))),
        ("broken.example", "nodata", Err(Enhanced(4, 4, 3))),
        ("x.example", "nxdomain", Err(Enhanced(5, 1, 2))), // K43
        ("x.example", "servfail", Err(Enhanced(4, 4, 3))), // K31, R107
        ("x.example", "0 .", Err(Enhanced(5, 1, 10))),     // R165
        (
            "x.example",
            "0 ., 10 one.example",
            Ok("one.example=192.0.2.1"),
        ), // K38
        ("x.example", "10 pi.example", Err(Enhanced(5, 4, 6))), // R106
        ("pi.example", "nodata", Err(Enhanced(5, 4, 6))),
        (
            "x.example",
            "10 pi.example, 5 one.example, 10 two.example, 20 three.example",
            Ok("one.example=192.0.2.1"),
        ), // K35
        ("x.example", "10 ours.example", Err(Enhanced(5, 4, 6))), // K34
        (
            "x.example",
            "10 ours.example, 10 two.example, 5 one.example",
            Ok("one.example=192.0.2.1"),
        ),
        (
            "x.example",
            "10 ours.example, 5 gone.example",
            Err(Enhanced(5, 4, 6)),
        ),
        (
            "x.example",
            "10 ours.example, 5 broken.example",
            Err(Enhanced(4, 4, 3)),
        ),
        ("x.example", "10 home.example", Err(Enhanced(5, 4, 6))), // K33
        ("x.example", "10 mapped.example", Err(Enhanced(5, 4, 6))),
        ("x.example", "10 zero.example", Err(Enhanced(5, 4, 6))),
        ("x.example", "10 link.example", Err(Enhanced(5, 4, 4))),
        (
            "x.example",
            "10 link.example, 20 one.example",
            Ok("one.example=192.0.2.1"),
        ),
        ("x.example", "10 192.0.2.1", Err(Enhanced(5, 4, 4))), // K39
        (
            "x.example",
            "10 192.0.2.1, 20 one.example",
            Ok("one.example=192.0.2.1"),
        ),
        (
            "x.example",
            "10 a..b, 20 one.example",
            Ok("one.example=192.0.2.1"),
        ),
        ("one.example", "10 none.example", Err(Enhanced(5, 4, 4))), // K41, R105
        ("one.example", "10 gone.example", Err(Enhanced(5, 4, 4))),
        (
            "one.example",
            "10 gone.example, 20 broken.example",
            Err(Enhanced(4, 4, 3)),
        ), // K41
        (
            "x.example",
            "10 broken.example, 20 one.example",
            Ok("one.example=192.0.2.1"),
        ),
        (
            "x.example",
            "10 one.example, 20 one.example",
            Ok("one.example=192.0.2.1"),
        ),
        (
            "x.example",
            "10 many.example",
            Ok("many.example=2001:db8::1,192.0.2.11,2001:db8::2,192.0.2.12,2001:db8::4"),
        ), // K40, K44
        (
            "x.example",
            "10 many.example, 20 three.example, 30 two.example, 40 one.example",
            Ok(
                "many.example=2001:db8::1,192.0.2.11 three.example=2001:db8::3,192.0.2.3 \
                    two.example=192.0.2.2 one.example=192.0.2.1",
            ),
        ),
    ];
    for (domain, text, expected) in rows {
        let found = find(domain, text, 0);
        let found = found.as_ref().map_err(|o| o.enhanced).map(|hosts| {
            let show = |host: &Host| {
                let all: Vec<String> = host.addresses.iter().map(IpAddr::to_string).collect();
                format!("{}={}", host.name, all.join(","))
            };
            hosts.iter().map(show).collect::<Vec<_>>().join(" ")
        });
        assert_eq!(found, expected.map(str::to_owned), "{domain}: {text}");
    }
}

#[test]
fn equals_are_tried_at_random() {
    let text = "10 one.example, 10 two.example, 10 three.example";
    let mut seen = std::collections::BTreeSet::new();
    for random in 0..100u64 {
        let hosts = find(
            "x.example",
            text,
            random.wrapping_mul(0x1234_5678_9abc_def1),
        )
        .unwrap();
        seen.insert(hosts.iter().map(|h| h.name.clone()).collect::<Vec<_>>());
    }
    assert_eq!(seen.len(), 6, "{seen:?}");
}

/// K40: a stranger's list does not grow what is done for it.
#[test]
fn a_thousand_records_are_a_few_hosts() {
    let many: Vec<Exchanger> = (0..1000)
        .map(|n| Exchanger {
            preference: n,
            name: format!("mx{n}.example"),
        })
        .collect();
    let domain = Domain::parse("x.example").unwrap();
    let own = Own {
        names: &[],
        addresses: &[],
        loopback: true,
    };
    let exchangers = exchangers(&domain, Ok(many), &own, 7).unwrap();
    assert_eq!(exchangers.len(), MAX_NAMES);
    let ip: IpAddr = "192.0.2.1".parse().unwrap();
    let answers = vec![Ok(Addresses::from(vec![ip; 100])); MAX_NAMES];
    let hosts = hosts(&domain, &exchangers, answers, &own).unwrap();
    let tries: usize = hosts.iter().map(|h| h.addresses.len()).sum();
    assert_eq!((hosts.len(), tries), (MAX_HOSTS, MAX_TRIES));
}

#[test]
fn address_literals_are_addresses() {
    let rows = [
        ("[192.0.2.1]", Some("192.0.2.1")),
        ("[IPv6:2001:db8::1]", Some("2001:db8::1")),
        ("example.org", None),
    ];
    for (domain, ip) in rows {
        let found = literal(&Domain::parse(domain).unwrap());
        assert_eq!(found, ip.map(|ip| ip.parse().unwrap()), "{domain}");
    }
}
