//! What DNS says about the certificates of mail servers, signed, and what becomes of mail (RFC 7672).

use crate::harness::tls::Authority;
use crate::harness::{Answer, Dns, Remote, Script, System};

const MESSAGE: &str = "Subject: x\n\nhello\n";

/// What must have become of a message to x@example.net after one run.
enum Fate {
    /// It went out so, as the log says.
    Sent(&'static str),
    /// It waits, and this is why.
    Waits(&'static str),
}

use Fate::{Sent, Waits};

/// R179: zones with TLSA records, what the server has to show, and what becomes of mail.
#[test]
fn tlsa_records_decide() {
    let authority = Authority::new();
    let server = authority.certify(&["elsewhere.example"]);
    let named = authority.certify(&["one.example"]);
    let domain = authority.certify(&["example.net"]);
    let expired = authority.certify_until(&["one.example"], 2001);
    let other = Authority::new().certify(&["one.example"]);
    let own = |data: &str| format!("_25._tcp.one.example TLSA {data}");
    let (nonsense, wrong) = ("3 1 1 00", other.tlsa());
    // Lines of the zone beside the usual ones, the certificate that the server shows, and the fate.
    let rows: Vec<(&str, String, _, Fate)> = vec![
        ("no TLSA", String::new(), &server, Sent("unverified")),
        ("3 1 1", own(&server.tlsa()), &server, Sent("dane")),
        ("3 1 1, old", own(&expired.tlsa()), &expired, Sent("dane")),
        (
            "3 1 1, other",
            own(&wrong),
            &server,
            Waits("4.7.5 one.example TLS failed: its certificate is none of those"),
        ),
        (
            "3 1 1, one of two",
            format!("{}\n{}", own(&wrong), own(&server.tlsa())),
            &server,
            Sent("dane"),
        ),
        ("2 0 1", own(&authority.tlsa()), &named, Sent("dane")),
        (
            "2 0 1, the domain's name",
            own(&authority.tlsa()),
            &domain,
            Sent("dane"),
        ),
        (
            "2 0 1, another name",
            own(&authority.tlsa()),
            &server,
            Waits("4.7.5 one.example TLS failed: its certificate is for another name"),
        ),
        (
            "2 0 1, old",
            own(&authority.tlsa()),
            &expired,
            Waits("has expired"),
        ),
        (
            "2 0 1, other",
            own(&authority.tlsa()),
            &other,
            Waits("none of those"),
        ),
        (
            "nothing that can be used",
            own(nonsense),
            &server,
            Sent("unverified"),
        ),
        (
            "usage 1",
            own(&wrong.replacen('3', "1", 1)),
            &server,
            Sent("unverified"),
        ),
        // What is not signed is not believed.
        (
            "server not signed",
            format!("one.example CUT -\n{}", own(&wrong)),
            &server,
            Sent("unverified"),
        ),
        (
            "domain not signed",
            format!("example.net CUT -\n{}", own(&wrong)),
            &server,
            Sent("unverified"),
        ),
        // What should be signed and is not well is no answer: the server is passed over.
        (
            "TLSA stripped",
            format!(
                "{}\n_25._tcp.one.example !TLSA UNSIGNED",
                own(&server.tlsa())
            ),
            &server,
            Waits("4.4.3"),
        ),
        (
            "TLSA forged",
            format!("{}\n_25._tcp.one.example !TLSA BADSIG", own(&server.tlsa())),
            &server,
            Waits("its DNSSEC signatures are not good"),
        ),
        (
            "TLSA old",
            format!(
                "{}\n_25._tcp.one.example !TLSA EXPIRED",
                own(&server.tlsa())
            ),
            &server,
            Waits("4.4.3"),
        ),
        (
            "TLSA failed",
            "_25._tcp.one.example !TLSA SERVFAIL".to_owned(),
            &server,
            Waits("4.4.3"),
        ),
        (
            "TLSA silent",
            "_25._tcp.one.example !TLSA SILENCE".to_owned(),
            &server,
            Waits("no name server answers"),
        ),
        (
            "MX forged",
            format!("{}\nexample.net !MX BADSIG", own(&server.tlsa())),
            &server,
            Waits("its DNSSEC signatures are not good"),
        ),
        (
            "address forged",
            format!("{}\none.example !A BADSIG", own(&server.tlsa())),
            &server,
            Waits("its DNSSEC signatures are not good"),
        ),
    ];
    for (what, lines, acceptor, fate) in rows {
        let remotes = Remote::several(&[Script::new().starttls(acceptor.clone())]);
        let port = remotes[0].address.port();
        let lines = lines.replace("_25.", &format!("_{port}."));
        let dns = Dns::signed(&format!(
            "example.net MX 10 one.example\none.example A 127.0.0.2\n{lines}"
        ));
        let system = System::direct("dane", &dns, &remotes[0]);
        expect(&system, &remotes, fate, what);
    }
}

fn expect(system: &System, remotes: &[Remote], fate: Fate, what: &str) {
    system.accept(&["-odq", "x@example.net"], MESSAGE);
    system.accept(&["-q"], "");
    let received: usize = remotes.iter().map(|r| r.received().len()).sum();
    match fate {
        Sent(how) => {
            assert_eq!(received, 1, "{what}: {:?}", system.queue());
            let log = system.log();
            let line = log.lines().find(|l| l.contains(" delivered ")).unwrap();
            assert!(line.contains(&format!("{how}\"")), "{what}: {line}");
        }
        Waits(why) => {
            assert_eq!(received, 0, "{what}");
            let queued = system.queued();
            let last = queued.journal.last().unwrap();
            assert!(last.contains(why), "{what}: {last}");
        }
    }
}

/// With a TLSA record there is no way without TLS: neither when it is not offered, nor when it fails.
#[test]
fn dane_leaves_no_way_in_the_clear() {
    let server = Authority::new().certify(&["one.example"]);
    let scripts = [
        (
            Script::new(),
            "does not offer STARTTLS, and without it nothing is sent; who runs the server has to",
        ),
        (
            Script::new()
                .starttls(server.clone())
                .on("STARTTLS", "454 4.7.0 not now"),
            "454 4.7.0",
        ),
        (
            Script::new()
                .starttls(server.clone())
                .on("TLS", Answer::Drop),
            "closed the connection during the handshake",
        ),
    ];
    for records in [server.tlsa(), "3 1 1 00".to_owned()] {
        for (script, why) in &scripts {
            let remotes = Remote::several(std::slice::from_ref(script));
            let port = remotes[0].address.port();
            let dns = Dns::signed(&format!(
                "example.net MX 10 one.example\none.example A 127.0.0.2\n_{port}._tcp.one.example TLSA {records}"
            ));
            let system = System::direct("danger", &dns, &remotes[0]);
            expect(&system, &remotes, Waits(why), why);
        }
    }
}

/// A server whose records cannot be had is passed over; the next one gets the mail (RFC 7672 2.1.2).
#[test]
fn another_server_may_take_it() {
    let server = Authority::new().certify(&["two.example"]);
    let script = Script::new().starttls(server.clone());
    let remotes = Remote::several(&[script.clone(), script]);
    let port = remotes[0].address.port();
    let dns = Dns::signed(&format!(
        "example.net MX 10 one.example\nexample.net MX 20 two.example\none.example A 127.0.0.2\n\
         two.example A 127.0.0.3\n_{port}._tcp.one.example !TLSA SERVFAIL\n_{port}._tcp.two.example TLSA {}",
        server.tlsa()
    ));
    let system = System::direct("another", &dns, &remotes[0]);
    expect(&system, &remotes, Sent("dane"), "the second");
    assert_eq!(remotes[1].received().len(), 1);
}

/// RFC 7672 2.2.2: the records of what the server's name is an alias of go first, then its own; a domain without MX
/// records is its own server.
#[test]
fn aliases_and_domains_without_mx_have_records() {
    let server = Authority::new().certify(&["x"]);
    let rows = [
        "example.net MX 10 alias.example\nalias.example CNAME one.example\none.example A 127.0.0.2\n\
         _25._tcp.one.example TLSA ",
        "example.net MX 10 alias.example\nalias.example CNAME one.example\none.example A 127.0.0.2\n\
         _25._tcp.alias.example TLSA ",
        "example.net A 127.0.0.2\n_25._tcp.example.net TLSA ",
    ];
    for zone in rows {
        let remotes = Remote::several(&[Script::new().starttls(server.clone())]);
        let port = remotes[0].address.port();
        let zone = format!("{zone}{}", server.tlsa()).replace("_25.", &format!("_{port}."));
        let dns = Dns::signed(&zone);
        let system = System::direct("alias", &dns, &remotes[0]);
        expect(&system, &remotes, Sent("dane"), &zone);
    }
}

/// Whoever says no to DANE, or whose name servers pass no signatures on, sends as before.
#[test]
fn without_dane_nothing_is_asked() {
    let wrong = Authority::new().certify(&["x"]).tlsa();
    let server = Authority::new().certify(&["one.example"]);
    for signed in [true, false] {
        let remotes = Remote::several(&[Script::new().starttls(server.clone())]);
        let port = remotes[0].address.port();
        let zone = format!(
            "example.net MX 10 one.example\none.example A 127.0.0.2\n_{port}._tcp.one.example TLSA {wrong}"
        );
        let dns = if signed {
            Dns::signed(&zone)
        } else {
            Dns::start(&zone)
        };
        let system = System::direct("off", &dns, &remotes[0]);
        let system = if signed {
            system.with("remote", "dane = false")
        } else {
            system
        };
        expect(&system, &remotes, Sent("unverified"), "off");
        assert!(!dns.asked().iter().any(|q| q.starts_with("TLSA")));
    }
}

/// Two domains with the same server, of which only one vouches for it: a connection is shared only with as much
/// proof.
#[test]
fn a_connection_without_proof_carries_no_mail_that_needs_it() {
    let server = Authority::new().certify(&["x"]);
    let remotes = Remote::several(&[Script::new().starttls(server.clone())]);
    let port = remotes[0].address.port();
    let dns = Dns::signed(&format!(
        "plain.example CUT -\nplain.example MX 10 one.example\nexample.net MX 10 one.example\n\
         one.example A 127.0.0.2\n_{port}._tcp.one.example TLSA {}",
        server.tlsa()
    ));
    let system = System::direct("share", &dns, &remotes[0]).with("queue", "workers = 1");
    for to in [
        "x@plain.example",
        "x@example.net",
        "y@example.net",
        "y@plain.example",
    ] {
        system.accept(&["-odq", to], MESSAGE);
    }
    system.accept(&["-q"], "");
    assert_eq!(remotes[0].received().len(), 4);
    let log = system.log();
    for line in log.lines().filter(|l| l.contains(" delivered ")) {
        let how = if line.contains("@plain.") {
            "unverified\""
        } else {
            "dane\""
        };
        assert!(line.contains(how), "{line}");
    }
}

/// `--check` says whether DANE can be used at all.
#[test]
fn check_tells_whether_signatures_come() {
    let remotes = Remote::several(&[Script::new()]);
    let rows = [
        (Dns::signed(""), "name servers: 127.0.0.1:"),
        (
            Dns::start(""),
            "they pass no DNSSEC signatures on, so DANE is not used",
        ),
    ];
    for (dns, text) in rows {
        let system = System::direct("signs", &dns, &remotes[0]);
        let ran = system.run(&["--check"], "");
        assert!(ran.stdout.contains(text), "{ran:?}");
        assert_eq!(
            ran.stdout.contains("DANE"),
            dns.anchor().is_none(),
            "{ran:?}"
        );
    }
}

/// A file of keys that is none is told, and no mail goes out on its word.
#[test]
fn a_bad_trust_anchor_is_told() {
    let dns = Dns::signed("example.net A 127.0.0.2");
    let remotes = Remote::several(&[Script::new()]);
    let rows = [
        ("", "has no DNSKEY record in it"),
        (". IN DS 1 2 3 4\n", "has a line that is no DNSKEY record"),
    ];
    for (text, why) in rows {
        let system = System::direct("anchor", &dns, &remotes[0]);
        std::fs::write(system.path("anchor"), text).unwrap();
        expect(&system, &remotes, Waits(why), why);
    }
}

/// `--test` tells what the server has to prove, every line that is said, and whose certificate it is.
#[test]
fn the_whole_way_is_shown() {
    let server = Authority::new().certify(&["one.example"]);
    let remotes = Remote::several(&[Script::new().starttls(server.clone())]);
    let port = remotes[0].address.port();
    let dns = Dns::signed(&format!(
        "example.net MX 10 one.example\none.example A 127.0.0.2\n_{port}._tcp.one.example TLSA {}",
        server.tlsa()
    ));
    let system = System::direct("way", &dns, &remotes[0])
        .with("rewrite", "senders = { \"root\" = \"me@example.org\" }");
    let ran = system.run(&["--test", "x@example.net"], "");
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines = [
        "x@example.net",
        "  goes to mail server one.example (127.0.0.2)",
        "  one.example:PORT",
        "    must have a certificate of the 1 TLSA record of one.example (DANE)",
        "    = connecting to one.example (127.0.0.2:PORT)",
        "    < 220 remote.test.example ready",
        "    > EHLO pi.test.example",
        "    > STARTTLS",
        "    < 220 2.0.0 go on",
        "    = TLS begins",
        "    TLSv1.3 TLS13_AES_256_GCM_SHA384, certificate verified (dane)",
        "    certificate of CN=server of a test, signed by CN=rcgen self signed cert, good until 2100-01-01",
        "    > RCPT TO:<x@example.net>",
        "    < 250 2.1.5 recipient ok",
        "    > QUIT",
        "    takes mail for x@example.net: 250 2.1.5 recipient ok",
    ];
    let mut rest = ran.stdout.as_str();
    for line in lines {
        let line = line.replace("PORT", &port.to_string());
        let at = rest.find(&format!("{line}\n"));
        let at = at.unwrap_or_else(|| panic!("{line} is not in its place: {}", ran.stdout));
        rest = &rest[at..];
    }
    if crate::harness::system::me().starts_with("root@") {
        assert!(ran.stdout.contains("leaves as me@example.org"), "{ran:?}");
    }
    assert!(remotes[0].received().is_empty());
}
