//! From the spool to the mail servers that DNS names: which of them are tried, in which order, and what becomes of
//! each recipient.

use std::time::{Duration, Instant};

use crate::harness::{Answer, Dns, Remote, Script, System};

pub const MESSAGE: &str = "Subject: x\n\nhello\n";

/// The servers of the tests; the last name leads nowhere, and nobody answers at the one before.
pub const HOSTS: &str = "
    one.example    A 127.0.0.2
    two.example    A 127.0.0.3
    three.example  A 127.0.0.4
    dead.example   A 127.0.0.99
    lost.example   MX 0 .
";

/// A server with two addresses: those of the first two.
pub const TWO_ADDRESSES: &str = "both.example A 127.0.0.2\nboth.example A 127.0.0.3\n";

/// What must have become of the one message after one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// One of these servers has it, by number.
    At(&'static [usize]),
    /// It waits, and this is why.
    Deferred(&'static str),
    /// Its sender was told this.
    Failed(&'static str),
}

use Fate::{At, Deferred, Failed};

pub fn check(system: &System, remotes: &[Remote], fate: Fate, what: &str) {
    system.accept(&["-q"], "");
    let counts: Vec<usize> = remotes.iter().map(|r| r.received().len()).collect();
    match fate {
        At(servers) => {
            assert!(system.queue().is_empty(), "{what}: {:?}", system.queue());
            let holders: Vec<usize> = (0..counts.len()).filter(|i| counts[*i] > 0).collect();
            assert!(
                holders.len() == 1 && servers.contains(&holders[0]),
                "{what}: {counts:?}"
            );
        }
        Deferred(why) => {
            let queued = system.queued();
            let last = queued.journal.last().unwrap();
            assert!(
                last.contains(" deferred ") && last.contains(why),
                "{what}: {last}"
            );
            assert_eq!(counts.iter().sum::<usize>(), 0, "{what}");
        }
        Failed(why) => {
            system.accept(&["-q"], "");
            assert!(system.queue().is_empty(), "{what}: {:?}", system.queue());
            let told = system.mailbox();
            assert_eq!(told.len(), 1, "{what}");
            assert!(told[0].text().contains(why), "{what}: {}", told[0].text());
            assert_eq!(counts.iter().sum::<usize>(), 0, "{what}");
        }
    }
}

pub fn one_message(system: &System, to: &str) {
    system.accept(&["-odq", to], MESSAGE);
}

/// R103-R108, R165, K30-K45: zones and where the mail to x@example.net goes.
#[test]
fn zones_lead_to_hosts() {
    let rows: &[(&str, Fate)] = &[
        ("example.net MX 10 one.example", At(&[0])),
        (
            "example.net MX 20 one.example\nexample.net MX 10 two.example",
            At(&[1]),
        ), // R103
        (
            "example.net MX 10 one.example\nexample.net MX 10 two.example",
            At(&[0, 1]),
        ),
        (
            "example.net MX 10 dead.example\nexample.net MX 20 two.example",
            At(&[1]),
        ),
        (
            "example.net MX 10 gone.example\nexample.net MX 20 two.example",
            At(&[1]),
        ),
        (
            "example.net MX 1 a.gone\nexample.net MX 2 b.gone\nexample.net MX 3 c.gone\nexample.net MX 4 d.gone\n\
             example.net MX 5 e.gone\nexample.net MX 6 f.gone\nexample.net MX 7 g.gone\nexample.net MX 8 h.gone\n\
             example.net MX 9 two.example",
            At(&[1]),
        ),
        ("example.net A 127.0.0.2", At(&[0])), // R104, K42
        (
            "example.net MX 10 dead.example\nexample.net A 127.0.0.2",
            Deferred("cannot connect"),
        ), // R105
        (
            "example.net MX 10 gone.example\nexample.net A 127.0.0.2",
            Failed("5.4.4"),
        ), // K41
        (
            "example.net CNAME other.example\nother.example MX 10 one.example",
            At(&[0]),
        ), // R108
        ("example.net CNAME one.example", At(&[0])),
        (
            "example.net MX 10 alias.example\nalias.example CNAME one.example",
            At(&[0]),
        ), // K39
        ("example.net CNAME gone.example", Failed("5.1.2")),
        ("example.net CNAME example.net", Deferred("")), // K39
        ("Example.NET MX 10 ONE.Example", At(&[0])),     // K45
        ("other.example A 127.0.0.2", Failed("5.1.2")),  // K43
        ("example.net NS ns.example", Failed("5.4.4")),
        ("example.net MX 0 .", Failed("5.1.10")), // R165
        (
            "example.net MX 0 .\nexample.net MX 10 one.example",
            At(&[0]),
        ), // K38
        ("example.net MX 10 pi.test.example", Failed("5.4.6")), // R106
        (
            "example.net MX 10 pi.test.example\nexample.net MX 5 one.example\nexample.net MX 20 two.example",
            At(&[0]),
        ), // K35
        ("example.net MX 10 127.0.0.2", Failed("5.4.4")), // K39
        ("example.net ! SERVFAIL", Deferred("Server Failure")), // K31, R107
        ("example.net ! REFUSED", Deferred("4.4.3")), // K32
        ("example.net ! NOTIMP", Deferred("4.4.3")),
        ("example.net ! FORMERR", Deferred("4.4.3")),
        ("example.net ! GARBAGE", Deferred("4.4.3")), // K30
        ("example.net ! SHORT", Deferred("4.4.3")),   // K30
        ("example.net ! WRONGID", Deferred("4.4.3")), // K32
        ("example.net ! REFERRAL", Deferred("4.4.3")),
        ("example.net ! SILENCE", Deferred("no name server answers")), // K32
        (
            "example.net ! TRUNCATED\nexample.net MX 10 one.example",
            At(&[0]),
        ), // K45
        (
            "example.net ! TRUNCATED-WITHIN\nexample.net MX 10 one.example",
            At(&[0]),
        ), // K45
        (
            "example.net ! TRUNCATED-ONLY\nexample.net MX 10 one.example",
            Deferred("4.4.3"),
        ), // K45
        // What is said of another name is not heard; then it has no MX record.
        (
            "example.net !MX WRONGNAME\nexample.net MX 10 two.example\nexample.net A 127.0.0.2",
            At(&[0]),
        ), // K45
        (
            "example.net MX 10 x.example\nx.example ! SERVFAIL",
            Deferred("4.4.3"),
        ), // K41
        (
            "example.net MX 10 x.example\nx.example ! SERVFAIL\nexample.net MX 20 two.example",
            At(&[1]),
        ),
        (
            "example.net MX 10 x.example\nx.example !AAAA SERVFAIL\nx.example A 127.0.0.2",
            At(&[0]),
        ),
    ];
    for (zone, fate) in rows {
        let dns = Dns::start(&format!("{HOSTS}{zone}"));
        let remotes = Remote::several(&[Script::new(), Script::new()]);
        let system = System::direct("zones", &dns, &remotes[0]);
        one_message(&system, "x@example.net");
        check(&system, &remotes, *fate, zone);
    }
}

/// RFC 5321 5.1, 3.8: a server that cannot just now leads to the next one; one that refuses does not.
#[test]
fn answers_lead_to_the_next_server_or_not() {
    let rows: &[(&str, Answer, Fate)] = &[
        ("CONNECT", "554 5.3.2 not here".into(), At(&[1])),
        ("CONNECT", "421 4.3.2 busy".into(), At(&[1])),
        ("CONNECT", "421 4.4.6 a circle of mine".into(), At(&[1])),
        ("CONNECT", Answer::Drop, At(&[1])),
        ("EHLO", "421 4.3.2 closing".into(), At(&[1])),
        ("MAIL", "451 4.7.1 later".into(), At(&[1])),
        ("RCPT", "450 4.2.1 busy".into(), At(&[1])),
        ("DOT", "451 4.7.1 later".into(), At(&[1])),
        // That may be a yes (RFC 1047).
        ("DOT", Answer::Drop, Deferred("it may have the message")),
        (
            "MAIL",
            "550 5.7.1 not you".into(),
            Failed("550 5.7.1 not you"),
        ),
        (
            "RCPT",
            "550 5.1.1 no such user".into(),
            Failed("550 5.1.1 no such user"),
        ),
        ("DOT", "554 5.6.0 spam".into(), Failed("554 5.6.0 spam")),
        // K36: whatever DNS calls it, it is this machine.
        (
            "CONNECT",
            "220 pi.test.example ready".into(),
            Failed("5.4.6"),
        ),
    ];
    let zone = format!("{HOSTS}example.net MX 10 one.example\nexample.net MX 20 two.example");
    for (step, answer, fate) in rows {
        let dns = Dns::start(&zone);
        let remotes = Remote::several(&[Script::new().on(step, answer.clone()), Script::new()]);
        let system = System::direct("next", &dns, &remotes[0]);
        one_message(&system, "x@example.net");
        check(&system, &remotes, *fate, &format!("{step} {answer:?}"));
        if matches!(fate, Deferred(_)) {
            check(&system, &remotes, At(&[1]), "the next attempt");
            assert_eq!(remotes[0].sessions().len(), 1);
        }
    }
}

/// K33: at port 25 a loopback address can only be this machine.
#[test]
fn loopback_is_no_mail_server() {
    for address in ["A 127.0.0.2", "A 0.0.0.0", "AAAA ::1"] {
        let dns = Dns::start(&format!(
            "example.net MX 10 one.example\none.example {address}"
        ));
        let system = System::new("loopback").with("dns", &dns.keys());
        one_message(&system, "x@example.net");
        check(&system, &[], Failed("5.4.6"), address);
    }
}

/// RFC 5321 4.1.3: an address literal needs no look-up.
#[test]
fn address_literals_are_connected_to() {
    let dns = Dns::start("");
    let remotes = Remote::several(&[Script::new()]);
    let system = System::direct("literal", &dns, &remotes[0]);
    one_message(&system, "x@[127.0.0.2]");
    check(&system, &remotes, At(&[0]), "literal");
    assert!(dns.asked().is_empty());
}

/// RFC 5890: what is asked for is the A-label.
#[test]
fn domains_beyond_ascii_are_found() {
    let dns = Dns::start(&format!("{HOSTS}xn--exmple-cua.example MX 10 one.example"));
    let remotes = Remote::several(&[Script::new()]);
    let system = System::direct("idn", &dns, &remotes[0]);
    one_message(&system, "x@exämple.example");
    check(&system, &remotes, At(&[0]), "idn");
    assert_eq!(dns.asked()[0], "MX xn--exmple-cua.example");
}

/// K34: a mail server that has an address at which this system listens is this system.
#[test]
fn own_listening_addresses_are_nobody_elses() {
    let remotes = Remote::several(&[Script::new()]);
    let dns = Dns::start(&format!(
        "{HOSTS}a.example MX 10 one.example\nb.example MX 10 two.example\nb.example MX 20 one.example"
    ));
    // Where this system listens, with the port of the servers or another one.
    let rows = [
        ("127.0.0.2", true, "x@a.example", Failed("5.4.6")),
        ("127.0.0.3", true, "x@b.example", Failed("5.4.6")),
        ("127.0.0.2", true, "x@b.example", At(&[1])),
        ("127.0.0.2", false, "x@a.example", At(&[0])),
    ];
    for (ip, same, to, fate) in rows {
        let remotes = Remote::several(&[Script::new(), Script::new()]);
        let port = remotes[0].address.port() ^ u16::from(!same);
        let system = System::direct("own", &dns, &remotes[0])
            .with("listen", &format!("smtp = [\"{ip}:{port}\"]"));
        one_message(&system, to);
        check(&system, &remotes, fate, to);
    }
    // At every address of this machine: the one that all of them have is found.
    let dns = Dns::start("a.example A 127.0.0.1");
    let system = System::direct("own", &dns, &remotes[0]).with(
        "listen",
        &format!("smtp = [\"0.0.0.0:{}\"]", remotes[0].address.port()),
    );
    one_message(&system, "x@a.example");
    check(&system, &[], Failed("5.4.6"), "everywhere");
}

/// Name servers of which none answers are not asked again for each of the domains of a run.
#[test]
fn a_dead_name_server_is_given_up() {
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    nobody.set_nonblocking(true).unwrap();
    let keys = format!(
        "servers = [\"{}\"]\ntimeout = \"1s\"",
        nobody.local_addr().unwrap()
    );
    let system = System::new("deaf")
        .with("dns", &keys)
        .with("queue", "workers = 1");
    for n in 0..10 {
        one_message(&system, &format!("x@d{n}.example"));
    }
    let start = Instant::now();
    system.accept(&["-q"], "");
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
    let mut questions = 0;
    while nobody.recv(&mut [0; 512]).is_ok() {
        questions += 1;
    }
    assert!(questions <= 8, "{questions}");
    for queued in system.queue() {
        let last = queued.journal.last().unwrap();
        assert!(last.contains("no name server answers"), "{last}");
    }
}

/// RFC 6531 3.2: a server without SMTPUTF8 is told the A-labels of a domain; a local part beyond ASCII has none.
#[test]
fn domains_beyond_ascii_are_told_as_a_labels() {
    let dns = Dns::start(&format!("{HOSTS}xn--exmple-cua.example MX 10 one.example"));
    let rows = [
        (
            "PIPELINING",
            "x@exämple.example",
            Some("RCPT TO:<x@xn--exmple-cua.example>"),
        ),
        (
            "SMTPUTF8,8BITMIME",
            "x@exämple.example",
            Some("RCPT TO:<x@exämple.example>"),
        ),
        ("PIPELINING", "ü@exämple.example", None),
    ];
    for (offers, to, told) in rows {
        let remotes = Remote::several(&[Script::new().offers(offers)]);
        let system = System::direct("a-label", &dns, &remotes[0]);
        one_message(&system, to);
        match told {
            Some(told) => {
                check(&system, &remotes, At(&[0]), to);
                assert_eq!(remotes[0].received()[0].to, [told]);
            }
            None => check(&system, &remotes, Failed("5.6.7"), to),
        }
    }
}

/// R110, R158: a body beyond ASCII needs 8BITMIME, or is converted; only a header or a mailbox needs SMTPUTF8, whatever
/// the domain is.
#[test]
fn a_body_beyond_ascii_needs_no_smtputf8() {
    let dns = Dns::start(&format!("{HOSTS}xn--exmple-cua.example MX 10 one.example"));
    // What the server offers, the message, and how its body arrives.
    let rows = [
        ("8BITMIME", "Subject: x\n\ngrün\n", Some("grün\r\n")),
        ("PIPELINING", "Subject: x\n\ngrün\n", Some("gr=C3=BCn\r\n")),
        ("8BITMIME", "Subject: grün\n\nx\n", None),
        ("8BITMIME,SMTPUTF8", "Subject: grün\n\nx\n", Some("x\r\n")),
    ];
    for (offers, message, body) in rows {
        let remotes = Remote::several(&[Script::new().offers(offers)]);
        let system = System::direct("body", &dns, &remotes[0]);
        system.accept(&["-odq", "x@exämple.example"], message);
        match body {
            Some(body) => {
                check(&system, &remotes, At(&[0]), message);
                let received = &remotes[0].received()[0];
                let declared = received.from.contains(" BODY=8BITMIME");
                assert_eq!(declared, offers.contains("8BIT"), "{}", received.from);
                let data = String::from_utf8_lossy(&received.data);
                assert_eq!(data.split_once("\r\n\r\n").unwrap().1, body);
            }
            None => {
                check(&system, &remotes, Failed("5.6.7"), message);
            }
        }
    }
}

/// A name server that is silent holds up nothing for long.
#[test]
fn silence_of_dns_ends() {
    let dns = Dns::start("example.net ! SILENCE");
    let remotes = Remote::several(&[Script::new()]);
    let system = System::direct("silence", &dns, &remotes[0]);
    one_message(&system, "x@example.net");
    let start = Instant::now();
    check(
        &system,
        &remotes,
        Deferred("no name server answers"),
        "silence",
    );
    assert!(start.elapsed() < Duration::from_secs(10));
}
