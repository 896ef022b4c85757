//! What a domain says of its mail servers on its web server, and what becomes of mail (MTA-STS, RFC 8461).

use crate::harness::system::age;
use crate::harness::tls::Authority;
use crate::harness::{Dns, Remote, Script, System, Web};

const MESSAGE: &str = "Subject: x\n\nhello\n";
const RECORD: &str = "_mta-sts.example.net TXT v=STSv1; id=1;";

fn policy(mode: &str, mx: &str) -> String {
    let body = format!("version: STSv1\r\nmode: {mode}\r\nmx: {mx}\r\nmax_age: 86400\r\n");
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n{body}")
}

fn zone(lines: &str) -> String {
    format!(
        "example.net MX 10 mail.example.net\nmail.example.net A 127.0.0.2\nmta-sts.example.net A 127.0.0.9\n{lines}"
    )
}

/// A system that trusts this authority, and whose mail goes the way DNS says.
fn system(name: &str, dns: &Dns, remote: &Remote, web: &Web, authority: &Authority) -> System {
    let system = System::direct(name, dns, remote);
    authority.write(&system.path("ca.pem"));
    let keys = format!(
        "mta_sts_port = {}\nca_file = {:?}",
        web.port,
        system.path("ca.pem").display().to_string()
    );
    system.with("remote", &keys)
}

/// One message, one run: how it went out, or why it waits.
fn send(system: &System, remote: &Remote) -> Result<String, String> {
    let before = remote.received().len();
    system.accept(&["-odq", "x@example.net"], MESSAGE);
    system.accept(&["-q"], "");
    if remote.received().len() > before {
        let log = system.log();
        let line = log.lines().rfind(|l| l.contains(" delivered ")).unwrap();
        let (_, tls) = line.split_once("tls=\"").unwrap();
        return Ok(tls.split('"').next().unwrap().to_owned());
    }
    Err(system.queued().journal.last().unwrap().clone())
}

/// R178: policies, certificates, and what becomes of mail.
#[test]
fn a_policy_decides() {
    let authority = Authority::new();
    let good = authority.certify(&["mail.example.net", "mta-sts.example.net"]);
    let named = authority.certify(&["elsewhere.example"]);
    let old = authority.certify_until(&["mail.example.net"], 2001);
    let foreign = Authority::new().certify(&["mail.example.net", "mta-sts.example.net"]);
    let enforce = |mx| policy("enforce", mx);
    let plain = "TLSv1.3 unverified";
    let sts = "TLSv1.3 sts";
    let redirect = "HTTP/1.1 302 Found\r\nLocation: https://mta-sts.example.net/x\r\n\r\n";
    let long = format!(
        "{}{}",
        enforce("mail.example.net"),
        "x: y\r\n".repeat(20_000)
    );
    // The record in DNS, the web server's answer, both servers' certificates, and the end.
    let rows = [
        (RECORD, enforce("mail.example.net"), &good, &good, Ok(sts)),
        (RECORD, enforce("*.example.net"), &good, &good, Ok(sts)),
        (
            RECORD,
            enforce("*.example.org"),
            &good,
            &good,
            Err(
                "4.7.5 mail.example.net the policy of example.net (MTA-STS) does not name this server",
            ),
        ),
        (
            RECORD,
            enforce("mail.example.net"),
            &named,
            &good,
            Err("its certificate is for another name"),
        ),
        (
            RECORD,
            enforce("mail.example.net"),
            &old,
            &good,
            Err("has expired"),
        ),
        (
            RECORD,
            enforce("mail.example.net"),
            &foreign,
            &good,
            Err("4.7.5 mail.example.net TLS failed: no authority that is trusted"),
        ),
        (
            RECORD,
            policy("testing", "*.example.org"),
            &foreign,
            &good,
            Ok(plain),
        ),
        (
            RECORD,
            policy("none", "mail.example.net"),
            &foreign,
            &good,
            Ok(plain),
        ),
        // Without a policy that can be believed there is none.
        ("", enforce("*.example.org"), &good, &good, Ok(plain)),
        (
            "_mta-sts.example.net TXT v=STSv1",
            enforce("*.example.org"),
            &good,
            &good,
            Ok(plain),
        ),
        (
            "_mta-sts.example.net ! SERVFAIL",
            enforce("*.example.org"),
            &good,
            &good,
            Ok(plain),
        ),
        (RECORD, enforce("*.example.org"), &good, &foreign, Ok(plain)),
        (RECORD, enforce("*.example.org"), &good, &named, Ok(plain)),
        (RECORD, redirect.to_owned(), &good, &good, Ok(plain)),
        (RECORD, String::new(), &good, &good, Ok(plain)),
        (RECORD, long, &good, &good, Ok(plain)),
    ];
    for (record, answer, mail, web, expected) in rows {
        let remotes = Remote::several(&[Script::new().starttls(mail.clone())]);
        let dns = Dns::start(&zone(record));
        let web = Web::start(web, &answer);
        let system = system("sts", &dns, &remotes[0], &web, &authority);
        let what: String = answer.chars().take(200).collect();
        match (send(&system, &remotes[0]), expected) {
            (Ok(how), Ok(expected)) => assert_eq!(how, expected, "{what}"),
            (Err(why), Err(expected)) => assert!(why.contains(expected), "{why}: {what}"),
            (found, _) => panic!("{found:?} instead of {expected:?}: {what}"),
        }
    }
}

/// A server that offers no TLS, or cannot do it, gets nothing under a policy.
#[test]
fn a_policy_leaves_no_way_in_the_clear() {
    let authority = Authority::new();
    let certificate = authority.certify(&["mail.example.net", "mta-sts.example.net"]);
    let scripts = [
        Script::new(),
        Script::new()
            .starttls(certificate.clone())
            .on("STARTTLS", "454 4.7.0 not now"),
    ];
    for script in scripts {
        let remotes = Remote::several(&[script]);
        let dns = Dns::start(&zone(RECORD));
        let web = Web::start(&certificate, &policy("enforce", "mail.example.net"));
        let system = system("clear", &dns, &remotes[0], &web, &authority);
        send(&system, &remotes[0]).unwrap_err();
    }
}

/// A policy is fetched once, kept, and holds when neither DNS nor the web server tells it; a new id brings a new one.
#[test]
fn a_policy_is_kept() {
    let authority = Authority::new();
    let certificate = authority.certify(&["mail.example.net", "mta-sts.example.net"]);
    let remotes = Remote::several(&[Script::new().starttls(certificate.clone())]);
    let dns = Dns::start(&zone(RECORD));
    let web = Web::start(&certificate, &policy("enforce", "mail.example.net"));
    let system = system("kept", &dns, &remotes[0], &web, &authority);
    for _ in 0..2 {
        assert_eq!(send(&system, &remotes[0]).as_deref(), Ok("TLSv1.3 sts"));
        assert_eq!(web.asked(), 1);
        let asks = "GET /.well-known/mta-sts.txt HTTP/1.0\r\nHost: mta-sts.example.net\r\n";
        assert!(web.requests()[0].0.starts_with(asks));
    }
    let kept = system.path("spool/state/sts/example.net");
    let text = std::fs::read_to_string(&kept).unwrap();
    assert!(text.starts_with("minimta-sts 1\nid 1\nuntil "), "{text}");

    // After a day it is refreshed, before it ends: whoever keeps its server from us must not have it forgotten.
    age(&kept, 2 * 24 * 3600);
    assert_eq!(send(&system, &remotes[0]).as_deref(), Ok("TLSv1.3 sts"));
    assert_eq!(web.asked(), 2);
    assert_eq!(send(&system, &remotes[0]).as_deref(), Ok("TLSv1.3 sts"));
    assert_eq!(web.asked(), 2);
    // And when the server does not tell it, it holds all the same.
    age(&kept, 2 * 24 * 3600);
    "HTTP/1.1 500 Oops\r\n\r\n".clone_into(&mut web.answer.lock().unwrap());
    for _ in 0..2 {
        assert_eq!(send(&system, &remotes[0]).as_deref(), Ok("TLSv1.3 sts"));
        assert_eq!(web.asked(), 3);
    }
    let log = system.log();
    assert!(log.contains("the last one still holds until "), "{log}");
    *web.answer.lock().unwrap() = policy("enforce", "mail.example.net");

    // It is told without asking for it.
    let told = system.run(&["-bv", "x@example.net"], "").stdout;
    let must = "    mail.example.net must have a good certificate of its name: example.net says so (MTA-STS)\n";
    assert!(told.ends_with(must), "{told}");
    assert_eq!(web.asked(), 3);

    // DNS is silent about it.
    let forgetful = Dns::start(&zone(""));
    let system = system.with("dns", &forgetful.keys());
    assert_eq!(send(&system, &remotes[0]).as_deref(), Ok("TLSv1.3 sts"));
    assert_eq!(web.asked(), 3);

    // There is a new one, and the web server does not tell it.
    let newer = Dns::start(&zone("_mta-sts.example.net TXT v=STSv1; id=2"));
    let system = system.with("dns", &newer.keys());
    "HTTP/1.1 500 Oops\r\n\r\n".clone_into(&mut web.answer.lock().unwrap());
    assert_eq!(send(&system, &remotes[0]).as_deref(), Ok("TLSv1.3 sts"));
    assert_eq!(web.asked(), 4);

    // It is left in peace for five minutes, and this domain's policy holds; unless a wrong clock has said so.
    let failed = system.path("spool/state/sts/example.net~");
    let text = std::fs::read_to_string(&failed).unwrap();
    assert!(
        text.starts_with("minimta-sts-failure 1\nid 2\nuntil "),
        "{text}"
    );
    assert_eq!(send(&system, &remotes[0]).as_deref(), Ok("TLSv1.3 sts"));
    assert_eq!(web.asked(), 4);
    for (until, asked) in [("2001-01-01T00:00:00Z", 5), ("2099-01-01T00:00:00Z", 6)] {
        let text = format!("minimta-sts-failure 1\nid 2\nuntil {until}\n");
        std::fs::write(&failed, text).unwrap();
        assert_eq!(send(&system, &remotes[0]).as_deref(), Ok("TLSv1.3 sts"));
        assert_eq!(web.asked(), asked, "{until}");
    }

    // Now it does, and is asked because its failure is forgotten.
    std::fs::write(&failed, "damaged").unwrap();
    *web.answer.lock().unwrap() = policy("none", "mail.example.net");
    assert_eq!(
        send(&system, &remotes[0]).as_deref(),
        Ok("TLSv1.3 unverified")
    );
    let text = std::fs::read_to_string(&kept).unwrap();
    assert!(
        text.starts_with("minimta-sts 1\nid 2\n") && text.contains("\nmode none\n"),
        "{text}"
    );

    // One that does not hold any more, or is damaged, counts for nothing.
    let forgetful = Dns::start(&zone(""));
    let system = system.with("dns", &forgetful.keys());
    for text in [
        "minimta-sts 1\nid 1\nuntil 2001-01-01T00:00:00Z\nmode enforce\nmx x.example\n",
        "minimta-sts 1\nid 1\nuntil 2099-01-01T00:00:00Z\nmode enf",
    ] {
        std::fs::write(&kept, text).unwrap();
        assert_eq!(
            send(&system, &remotes[0]).as_deref(),
            Ok("TLSv1.3 unverified"),
            "{text}"
        );
    }
}

/// What DANE says goes first: a policy does not soften it, and is not needed with it (RFC 8461 2).
#[test]
fn dane_goes_before_a_policy() {
    let authority = Authority::new();
    let certificate = authority.certify(&["mail.example.net", "mta-sts.example.net"]);
    let own = Authority::new().certify(&["elsewhere.example"]);
    let rows = [
        (own.tlsa(), &own, "mail.example.net", Ok("TLSv1.3 dane")),
        (own.tlsa(), &own, "other.example.net", Ok("TLSv1.3 dane")),
        (
            own.tlsa(),
            &certificate,
            "mail.example.net",
            Err("none of those that its domain names in DNS"),
        ),
    ];
    for (tlsa, shown, mx, expected) in rows {
        let remotes = Remote::several(&[Script::new().starttls(shown.clone())]);
        let port = remotes[0].address.port();
        let dns = Dns::signed(&zone(&format!(
            "{RECORD}\n_{port}._tcp.mail.example.net TLSA {tlsa}"
        )));
        let web = Web::start(&certificate, &policy("enforce", mx));
        let system = system("both", &dns, &remotes[0], &web, &authority);
        match (send(&system, &remotes[0]), expected) {
            (Ok(how), Ok(expected)) => assert_eq!(how, expected),
            (Err(why), Err(expected)) => assert!(why.contains(expected), "{why}"),
            (found, _) => panic!("{found:?} instead of {expected:?}"),
        }
    }
}

/// `mta_sts = false`: nobody asks.
#[test]
fn without_mta_sts_nothing_is_asked() {
    let authority = Authority::new();
    let certificate = authority.certify(&["mail.example.net", "mta-sts.example.net"]);
    let remotes = Remote::several(&[Script::new().starttls(certificate.clone())]);
    let dns = Dns::start(&zone(RECORD));
    let web = Web::start(&certificate, &policy("enforce", "other.example"));
    let system =
        system("off", &dns, &remotes[0], &web, &authority).with("remote", "mta_sts = false");
    assert_eq!(
        send(&system, &remotes[0]).as_deref(),
        Ok("TLSv1.3 unverified")
    );
    assert!(!dns.asked().iter().any(|q| q.starts_with("TXT")));
}

/// RFC 8689 4.1: a sender who asks for it gets his mail through in spite of a policy; what this system demands itself
/// still holds.
#[test]
fn mail_may_ask_for_no_proof() {
    let authority = Authority::new();
    let certificate = authority.certify(&["mail.example.net", "mta-sts.example.net"]);
    let foreign = Authority::new().certify(&["mail.example.net"]);
    let not_named = "does not name this server";
    let rows = [
        (
            "TLS-Required: No\n",
            "*.example.org",
            Ok("TLSv1.3 unverified"),
        ),
        (
            "tls-required:  no \n",
            "mail.example.net",
            Ok("TLSv1.3 unverified"),
        ),
        ("", "*.example.org", Err(not_named)),
        ("TLS-Required: Yes\n", "*.example.org", Err(not_named)),
        (
            "X: y\n\nTLS-Required: No\n",
            "*.example.org",
            Err(not_named),
        ),
    ];
    for (field, mx, expected) in rows {
        let remotes = Remote::several(&[Script::new().starttls(foreign.clone())]);
        let dns = Dns::start(&zone(RECORD));
        let web = Web::start(&certificate, &policy("enforce", mx));
        let system = system("optional", &dns, &remotes[0], &web, &authority);
        system.accept(&["-odq", "x@example.net"], format!("{field}{MESSAGE}"));
        system.accept(&["-q"], "");
        match expected {
            Ok(how) => {
                assert_eq!(remotes[0].received().len(), 1, "{field}{}", system.log());
                assert!(
                    system.log().contains(&format!("tls=\"{how}\"")),
                    "{}",
                    system.log()
                );
            }
            Err(why) => {
                let last = system.queued().journal.last().unwrap().clone();
                assert!(last.contains(why), "{field}: {last}");
            }
        }
    }
    // No TLS at all: not where [remote] asks for it.
    for (tls, arrives) in [("opportunistic", true), ("require", false)] {
        let remotes = Remote::several(&[Script::new()]);
        let dns = Dns::start(&zone(RECORD));
        let web = Web::start(&certificate, &policy("enforce", "mail.example.net"));
        let system = system("optional-clear", &dns, &remotes[0], &web, &authority)
            .with("remote", &format!("tls = \"{tls}\""));
        system.accept(
            &["-odq", "x@example.net"],
            format!("TLS-Required: No\n{MESSAGE}"),
        );
        system.accept(&["-q"], "");
        assert_eq!(
            !remotes[0].received().is_empty(),
            arrives,
            "{}",
            system.log()
        );
    }
}

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
            "ok       MTA-STS of example.org: it could not be looked up: the mail servers of example.org: ",
        ),
        (
            &format!("{HOST_MX}_mta-sts.example.org ! SERVFAIL\n"),
            &enforce,
            good,
            "ok       MTA-STS of example.org: whether it has a policy could not be looked up: ",
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
