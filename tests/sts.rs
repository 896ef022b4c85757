//! What a domain says of its mail servers on its web server, and what becomes of mail (MTA-STS, RFC 8461).

use crate::harness::system::age;
use crate::harness::tls::Authority;
use crate::harness::{Dns, Remote, Script, System, Web};

mod check;

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
            Err(
                "its certificate is for another name (elsewhere.example); who runs the server has to",
            ),
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
            Err(
                "4.7.5 mail.example.net TLS failed: no authority that is trusted here has signed its certificate; who runs",
            ),
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
        let asks = format!(
            "GET /.well-known/mta-sts.txt HTTP/1.1\r\nHost: mta-sts.example.net:{}\r\n",
            web.port
        );
        assert!(web.requests()[0].0.starts_with(&asks));
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

/// TLSA records that cannot be used say nothing of the certificate: a policy decides as if there were none, and TLS is a
/// must where it does not (RFC 7672 2.2). What has to be proved is told, and counted, as what the policy demands.
#[test]
fn records_without_use_do_not_soften_a_policy() {
    let authority = Authority::new();
    let good = authority.certify(&["mail.example.net", "mta-sts.example.net"]);
    let foreign = Authority::new().certify(&["mail.example.net"]);
    let (policy_of, says) = ("MTA-STS", "example.net says so (MTA-STS)");
    // The record, mode and server of the policy, the certificate, the end, what `--test` says, and what is counted.
    let rows = [
        (
            "1 1 1",
            "enforce",
            "mail",
            &good,
            Ok("TLSv1.3 sts"),
            says,
            "ok",
        ),
        (
            "1 1 1",
            "enforce",
            "mail",
            &foreign,
            Err("4.7.5 mail.example.net TLS failed"),
            says,
            "certificate-not-trusted",
        ),
        (
            "0 0 1",
            "enforce",
            "other",
            &good,
            Err("does not name this server"),
            policy_of,
            "validation-failure",
        ),
        (
            "0 0 1",
            "testing",
            "mail",
            &foreign,
            Ok("TLSv1.3 unverified"),
            "must encrypt",
            "certificate-not-trusted",
        ),
    ];
    for (record, mode, mx, shown, expected, told, counted) in rows {
        let what = format!("{record} {mode} {mx} {counted}");
        let remotes = Remote::several(&[Script::new().starttls(shown.clone())]);
        let port = remotes[0].address.port();
        let dns = Dns::signed(&zone(&format!(
            "{RECORD}\n_{port}._tcp.mail.example.net TLSA {record} {}",
            "00".repeat(32)
        )));
        let web = Web::start(&good, &policy(mode, &format!("{mx}.example.net")));
        let system = system("useless", &dns, &remotes[0], &web, &authority)
            .with("remote", "tls_reports = \"tls@pi.example\"");
        match (send(&system, &remotes[0]), expected) {
            (Ok(how), Ok(expected)) => assert_eq!(how, expected, "{what}"),
            (Err(why), Err(expected)) => assert!(why.contains(expected), "{what}: {why}"),
            (found, _) => panic!("{what}: {found:?} instead of {expected:?}"),
        }
        let counts = super::tlsrpt::counts(&system).join("\n");
        assert!(counts.starts_with("example.net sts "), "{what}: {counts}");
        assert!(
            counts.ends_with(&format!(" {counted} 1")),
            "{what}: {counts}"
        );
        for option in ["-bv", "--test"] {
            let ran = system.run(&[option, "x@example.net"], "");
            let said = format!("{}{}", ran.stdout, ran.stderr);
            assert!(said.contains(told), "{what} {option}: {said}");
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
