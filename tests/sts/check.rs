//! `--check` of the policies of our own domains.

use super::policy;
use crate::harness::tls::Authority;
use crate::harness::{Dns, System, Web};

/// `--check` of a domain whose mail comes here: its policy as others find it, and whether this host keeps to it.
#[test]
fn check_looks_at_the_policies_of_our_own_domains() {
    const HOST_MX: &str = "example.org MX 10 pi.test.example\n";
    const ID: &str = "_mta-sts.example.org TXT v=STSv1; id=1\n";
    let authority = Authority::new();
    let site = authority.certify(&["mta-sts.example.org"]);
    let (enforce, testing) = (
        policy("enforce", "*.test.example"),
        policy("testing", "*.test.example"),
    );
    let good: Pair<'_> = Some((&authority, "pi.test.example", 2090));
    let other = Authority::new();
    // What DNS says, what the web server does, our certificate, and what is told.
    let rows: &[(&str, &str, Pair<'_>, &str)] = &[
        (
            &format!("{HOST_MX}{ID}"),
            &enforce,
            good,
            "ok       MTA-STS of example.org: its policy (mode enforce) names pi.test.example, and our certificate is good for pi.test.example\n",
        ),
        (
            &format!("{HOST_MX}{ID}"),
            &testing,
            good,
            "ok       MTA-STS of example.org: its policy (mode testing) names pi.test.example, and our certificate is good for pi.test.example; others only tell of what is wrong: mode: enforce protects its mail\n",
        ),
        // Another name of this host, by its address.
        (
            &format!(
                "example.org MX 10 mx.test.example\nmx.test.example A 192.0.2.7\npi.test.example A 192.0.2.7\n{ID}"
            ),
            &enforce,
            Some((&authority, "mx.test.example", 2090)),
            "ok       MTA-STS of example.org: its policy (mode enforce) names mx.test.example, and our certificate is good for mx.test.example\n",
        ),
        (
            HOST_MX,
            &enforce,
            good,
            "ok       MTA-STS of example.org: it has no policy, so whoever sits on the way can have its mail without TLS; a TXT record _mta-sts.example.org and a text at https://mta-sts.example.org/.well-known/mta-sts.txt would forbid it (RFC 8461)\n",
        ),
        (
            &format!("{HOST_MX}{ID}"),
            &policy("none", "pi.test.example"),
            good,
            "ok       MTA-STS of example.org: its policy has the mode none, which is as good as having none; mode: enforce protects its mail\n",
        ),
        (
            &format!("{HOST_MX}_mta-sts.example.org TXT v=STSv1; id=a-b\n"),
            &enforce,
            good,
            "error    MTA-STS of example.org: the record of its policy cannot be used, so others find none; there must be just one TXT record _mta-sts.example.org, such as \"v=STSv1; id=20261125\"\n",
        ),
        (
            &format!("{HOST_MX}{ID}"),
            "HTTP/1.1 404 Not Found\r\n\r\n",
            good,
            "error    MTA-STS of example.org: DNS says that it has a policy, and others cannot have it: mta-sts.example.org: the web server answers with \"HTTP/1.1 404 Not Found\"; it must be at https://mta-sts.example.org/.well-known/mta-sts.txt, or the record _mta-sts.example.org must go\n",
        ),
        (
            &format!("{HOST_MX}{ID}"),
            &policy("enforce", "mail.example.org"),
            good,
            "error    MTA-STS of example.org: its policy (mode enforce) does not name pi.test.example, which DNS names as its mail server, so others hand over no mail there; add to it: mx: pi.test.example\n",
        ),
        (
            &format!("{HOST_MX}{ID}"),
            &policy("testing", "mail.example.org"),
            good,
            "warning  MTA-STS of example.org: its policy (mode testing) does not name pi.test.example, which DNS names as its mail server, so others would hand over no mail if it were enforced there; add to it: mx: pi.test.example\n",
        ),
        (
            &format!("{HOST_MX}{ID}"),
            &enforce,
            None,
            "error    MTA-STS of example.org: its policy (mode enforce) asks for a certificate that is good for pi.test.example, so others hand over no mail: this host makes its own, which nobody trusts; set certificate and key in [tls]\n",
        ),
        (
            &format!("{HOST_MX}{ID}"),
            &enforce,
            Some((&authority, "mail.example.org", 2090)),
            "PAIR is for other names; have one made that has this one, too\n",
        ),
        (
            &format!("{HOST_MX}{ID}"),
            &enforce,
            Some((&authority, "pi.test.example", 2020)),
            "PAIR is not valid today; renew it\n",
        ),
        (
            &format!("{HOST_MX}{ID}"),
            &enforce,
            Some((&other, "pi.test.example", 2090)),
            "PAIR is signed by nobody whom others trust; get one from a public authority, and put its chain behind it\n",
        ),
        (
            &format!("example.org MX 10 mx.test.example\n{ID}"),
            &enforce,
            good,
            "warning  MTA-STS of example.org: its policy (mode enforce) names mx.test.example, and none of its mail servers is pi.test.example; set hostname to the name that example.org has for this host, or take it out of domains\n",
        ),
        (
            "example.org ! SERVFAIL\n",
            &enforce,
            good,
            "warning  MTA-STS of example.org: it could not be looked up: the mail servers of example.org: ",
        ),
        (
            &format!("{HOST_MX}_mta-sts.example.org ! SERVFAIL\n"),
            &enforce,
            good,
            "warning  MTA-STS of example.org: whether it has a policy could not be looked up: ",
        ),
        // No mail of others comes here.
        ("example.org MX 0 .\n", &enforce, good, ""),
        (ID, &enforce, good, ""),
    ];
    for (zone, answer, pair, expected) in rows {
        let dns = Dns::start(&format!("{zone}mta-sts.example.org A 127.0.0.9\n"));
        let web = Web::start(&site, answer);
        let system = System::new("sts-check").with("dns", &dns.keys());
        authority.write(&system.path("ca.pem"));
        let place = |name: &str| system.path(name).display().to_string();
        let keys = format!(
            "mta_sts_port = {}\nca_file = {:?}",
            web.port,
            place("ca.pem")
        );
        let (file, mut expected) = (place("pair.pem"), (*expected).to_owned());
        if let Some(end) = expected.strip_prefix("PAIR") {
            expected = format!(
                "error    MTA-STS of example.org: its policy (mode enforce) asks for a certificate that is good for pi.test.example, so others hand over no mail: {file}{end}"
            );
        }
        let mut system = system
            .with(
                "",
                "domains = [\"example.org\", \"localhost\", \"pi.test.example\"]",
            )
            .with("remote", &keys);
        if let Some((authority, name, year)) = pair {
            authority.write_pair(&[name], *year, &system.path("pair.pem"));
            system = system.with("tls", &format!("certificate = {file:?}\nkey = {file:?}"));
        }
        let ran = system.run(&["--check"], "");
        let told: Vec<&str> = ran
            .stdout
            .split_inclusive('\n')
            .filter(|l| l.contains(" MTA-STS of "))
            .collect();
        match expected.as_str() {
            "" => assert!(told.is_empty(), "{told:?}"),
            expected => {
                assert_eq!(told.len(), 1, "{told:?} for {expected}");
                assert!(told[0].starts_with(expected), "{} for {expected}", told[0]);
                assert!(
                    ran.code == 78 || !expected.starts_with("error"),
                    "{expected}"
                );
            }
        }
        // Nothing was changed.
        assert!(!system.path("spool/state/sts").exists());
    }
}

/// Who has signed our certificate, for which name, and the year in which it ends.
type Pair<'a> = Option<(&'a Authority, &'a str, i32)>;
