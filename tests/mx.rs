//! From the spool to the mail servers that DNS names: which of them are tried, in which order, and what becomes of
//! each recipient.

use std::time::{Duration, Instant};

use crate::harness::lmtp::Lmtp;
use crate::harness::system::me;
use crate::harness::tls::Authority;
use crate::harness::{Answer, Dns, Remote, Script, System};

const MESSAGE: &str = "Subject: x\n\nhello\n";

/// The servers of the tests; the last name leads nowhere, and nobody answers at the one before.
const HOSTS: &str = "
    one.example    A 127.0.0.2
    two.example    A 127.0.0.3
    three.example  A 127.0.0.4
    dead.example   A 127.0.0.99
    lost.example   MX 0 .
";

/// What must have become of the one message after one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// One of these servers has it, by number.
    At(&'static [usize]),
    /// It waits, and this is why.
    Deferred(&'static str),
    /// Its sender was told this.
    Failed(&'static str),
}

use Fate::{At, Deferred, Failed};

fn check(system: &System, remotes: &[Remote], fate: Fate, what: &str) {
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

fn one_message(system: &System, to: &str) {
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
        ("CONNECT", Answer::Drop, At(&[1])),
        ("EHLO", "421 4.3.2 closing".into(), At(&[1])),
        ("MAIL", "451 4.7.1 later".into(), At(&[1])),
        ("RCPT", "450 4.2.1 busy".into(), At(&[1])),
        ("DOT", "451 4.7.1 later".into(), At(&[1])),
        ("DOT", Answer::Drop, At(&[1])),
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

/// One connection carries all messages for a domain, and those of domains with the same server.
#[test]
fn connections_are_shared() {
    let dns = Dns::start(&format!(
        "{HOSTS}a.example MX 10 one.example\nb.example MX 10 one.example\nc.example MX 10 one.example"
    ));
    let remotes = Remote::several(&[Script::new()]);
    let system = System::direct("shared", &dns, &remotes[0]).with("queue", "workers = 1");
    for to in ["x@a.example", "y@a.example", "x@b.example", "x@c.example"] {
        one_message(&system, to);
    }
    system.accept(&["-q"], "");
    assert_eq!(remotes[0].received().len(), 4);
    assert_eq!(remotes[0].sessions().len(), 1);
}

/// per_destination counts connections to a host, whatever domains are behind it.
#[test]
fn a_host_gets_few_connections_at_once() {
    let zone: String = (0..12)
        .map(|n| format!("d{n}.example MX 10 one.example\n"))
        .collect();
    let dns = Dns::start(&format!("{HOSTS}{zone}"));
    let remotes = Remote::several(&[Script::new()]);
    let system =
        System::direct("few", &dns, &remotes[0]).with("queue", "workers = 8\nper_destination = 2");
    for n in 0..12 {
        one_message(&system, &format!("x@d{n}.example"));
    }
    system.accept(&["-q"], "");
    assert_eq!(remotes[0].received().len(), 12);
    // Who waits for a place has none; so there are as many as places, or a few more where one is left and taken.
    assert!(remotes[0].sessions().len() <= 12);
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

/// Hosts share addresses: where nobody answers is tried once a run.
#[test]
fn a_dead_address_is_tried_once() {
    let dns = Dns::start(&format!(
        "{HOSTS}other.example A 127.0.0.99\na.example MX 10 dead.example\nb.example MX 10 other.example"
    ));
    let remotes = Remote::several(&[Script::new()]);
    let system = System::direct("buried", &dns, &remotes[0]).with("queue", "workers = 1");
    for to in ["x@a.example", "x@b.example"] {
        one_message(&system, to);
    }
    let ran = system.run(&["-q", "-v"], "");
    assert_eq!(ran.stderr.matches("connecting to").count(), 1, "{ran:?}");
    for queued in system.queue() {
        let last = queued.journal.last().unwrap();
        assert!(last.contains("cannot connect to 127.0.0.99"), "{last}");
    }
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

/// A server that greylists is asked again within minutes, however slowly the schedule begins.
#[test]
fn greylisted_mail_is_tried_soon() {
    let dns = Dns::start(&format!("{HOSTS}a.example MX 10 one.example"));
    let rows = [
        ("450 4.2.0 Greylisted, come back later", 300..600),
        ("451 4.3.0 our disk is full", 3000..4000),
    ];
    for (answer, range) in rows {
        let remotes = Remote::several(&[Script::new().on("RCPT", answer)]);
        let system =
            System::direct("grey", &dns, &remotes[0]).with("queue", "retry_first = \"1h\"");
        one_message(&system, "x@a.example");
        system.accept(&["-q"], "");
        let waits = std::fs::read_dir(system.path("spool/cur")).unwrap();
        let due = waits.map(|entry| entry.unwrap().metadata().unwrap().modified().unwrap());
        let due = due
            .max()
            .unwrap()
            .duration_since(std::time::SystemTime::now());
        assert!(range.contains(&due.unwrap().as_secs()), "{answer}");
    }
}

/// A server that is down is tried once a run, not once a message.
#[test]
fn a_dead_server_is_tried_once() {
    let dns = Dns::start(&format!(
        "{HOSTS}a.example MX 10 one.example\na.example MX 20 two.example\nb.example MX 10 one.example"
    ));
    let remotes = Remote::several(&[
        Script::new().on("CONNECT", "421 4.3.2 too busy"),
        Script::new(),
    ]);
    let system = System::direct("once", &dns, &remotes[0]).with("queue", "workers = 1");
    for to in ["x@a.example", "y@a.example", "x@b.example"] {
        one_message(&system, to);
    }
    system.accept(&["-q"], "");
    assert_eq!(remotes[0].sessions().len(), 1);
    assert_eq!(remotes[1].received().len(), 2);
    assert_eq!(remotes[1].sessions().len(), 1);
    let last = system.queued().journal.pop().unwrap();
    assert!(last.contains("too busy"), "{last}");
}

/// Opportunistic TLS takes any certificate, and does without when it fails; required TLS does not.
#[test]
fn tls_is_used_where_it_can_be() {
    let authority = Authority::new();
    let broken = Script::new()
        .starttls(authority.certify(&["mx.example"]))
        .on("TLS", Answer::Drop);
    let good = Script::new().starttls(authority.certify(&["quite.other.example"]));
    let refusing = good.clone().on("STARTTLS", "454 4.7.0 not now");
    // The server, [remote] tls, whether the message gets there, and whether protected.
    let rows = [
        (&good, "opportunistic", Some(true)),
        (&good, "require", Some(true)),
        (&good, "none", Some(false)),
        (&broken, "opportunistic", Some(false)),
        (&broken, "require", None),
        (&refusing, "opportunistic", Some(false)),
        (&refusing, "require", None),
        (&Script::new(), "opportunistic", Some(false)),
        (&Script::new(), "require", None),
    ];
    for (number, (script, tls, expected)) in rows.into_iter().enumerate() {
        let dns = Dns::start(&format!("{HOSTS}example.net MX 10 one.example"));
        let remotes = Remote::several(std::slice::from_ref(script));
        let system =
            System::direct("tls", &dns, &remotes[0]).with("remote", &format!("tls = \"{tls}\""));
        one_message(&system, "x@example.net");
        system.accept(&["-q"], "");
        let arrived = remotes[0].received().len() == 1;
        let found = arrived.then(|| remotes[0].sessions().last().unwrap().tls);
        assert_eq!(found, expected, "row {number}, {tls}");
    }
}

/// RFC 8689 4.2.1: mail with REQUIRETLS finds no server that may have it, or one whose certificate may be mended.
#[test]
fn mail_that_requires_tls_is_not_sent_to_just_anybody() {
    let authority = Authority::new();
    let unknown = Script::new()
        .also("REQUIRETLS")
        .starttls(authority.certify(&["two.example"]));
    let rows = [
        (
            [Script::new(), Script::new().also("REQUIRETLS")],
            Failed("5.7.30"),
        ),
        ([Script::new(), unknown], Deferred("TLS failed")),
    ];
    for (scripts, fate) in rows {
        let dns = Dns::start(&format!(
            "{HOSTS}example.net MX 10 one.example\nexample.net MX 20 two.example"
        ));
        let remotes = Remote::several(&scripts);
        let system = System::direct("mx-requiretls", &dns, &remotes[0]);
        one_message(&system, "x@example.net");
        let path = system.path("spool/new").join(&system.names("new")[0]);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(
            &path,
            text.replace("\nprotocol ", "\nrequiretls yes\nprotocol "),
        )
        .unwrap();
        check(&system, &remotes, fate, &format!("{fate:?}"));
        assert!(remotes.iter().all(|remote| remote.sessions().len() == 1));
    }
}

/// `[[route]]` goes before the smarthost, and before MX.
#[test]
fn routes_lead_elsewhere() {
    let dns = Dns::start(&format!("{HOSTS}example.net MX 10 one.example"));
    let remotes = Remote::several(&[Script::new(), Script::new(), Script::new()]);
    let port = remotes[0].address.port();
    let smarthost = format!("host = \"127.0.0.4\"\ntls = \"none\"\nport = {port}");
    let system = System::direct("routes", &dns, &remotes[0])
        .with("smarthost", &smarthost)
        .with("[route]", "domain = \"example.net\"\nvia = \"mx\"")
        .with(
            "[route]",
            &format!("domain = \".lan.example\"\nvia = \"127.0.0.3:{port}\""),
        )
        .with(
            "[route]",
            "domain = \"spam.example\"\nvia = \"refuse 550 5.7.1 no mail to spammers\"",
        )
        .with(
            "[route]",
            "sender = \"me@work.example\"\nvia = \"127.0.0.3\"",
        )
        .with("[route]", "domain = \"here.example\"\nvia = \"local\"");
    let me = me();
    let here = me.replace("pi.test.example", "here.example");
    // From whom, to whom, and the server, if it is one.
    let rows = [
        (me.as_str(), "x@example.net", Some(0)),
        (&me, "x@a.lan.example", Some(1)),
        (&me, "x@lan.example", Some(2)),
        (&me, "x@other.example", Some(2)),
        ("me@work.example", "x@other.example", Some(1)),
        ("me@work.example", &me, None),
        (&me, &here, None),
        (&me, "x@spam.example", None),
    ];
    for (from, to, server) in rows {
        let before: Vec<usize> = remotes.iter().map(|r| r.received().len()).collect();
        system.accept(&["-odq", "-f", from, to], MESSAGE);
        system.accept(&["-q"], "");
        let grown = |i: &usize| remotes[*i].received().len() > before[*i];
        let found: Vec<usize> = (0..remotes.len()).filter(grown).collect();
        assert_eq!(found, Vec::from_iter(server), "{from} to {to}");
    }
    system.accept(&["-q"], "");
    let mailbox = system.mailbox();
    assert_eq!(mailbox.len(), 3, "two of them local, and a report");
    assert!(
        mailbox
            .iter()
            .any(|m| m.text().contains("no mail to spammers"))
    );
}

/// `[rewrite] masquerade` and `senders`: envelope and header alike, on what leaves and only there.
#[test]
fn addresses_are_rewritten_on_what_leaves() {
    let dns = Dns::start(&format!("{HOSTS}example.net MX 10 one.example"));
    let remotes = Remote::several(&[Script::new()]);
    let system = System::direct("rewrite", &dns, &remotes[0]).with(
        "rewrite",
        "masquerade = { \"pi.test.example\" = \"example.org\" }\nsenders = { \"cron\" = \"me@example.org\" }",
    );
    let rows = [
        ("web@pi.test.example", "web@example.org"),
        ("cron@pi.test.example", "me@example.org"),
        ("a@elsewhere.example", "a@elsewhere.example"),
    ];
    for (number, (from, seen)) in rows.into_iter().enumerate() {
        let message = format!("From: X <{from}>\nTo: {from}\nSubject: x\n\n{from}\n");
        system.accept(&["-odq", "-f", from, "x@example.net", &me()], message);
        system.accept(&["-q"], "");
        let received = &remotes[0].received()[number];
        assert!(
            received.from.starts_with(&format!("MAIL FROM:<{seen}>")),
            "{received:?}"
        );
        let text = received.mail().text().to_owned();
        assert!(text.contains(&format!("From: X <{seen}>")), "{text}");
        assert!(text.contains(&format!("To: {from}")), "{text}");
        // Names within one second sort anyhow.
        let own = format!("From: X <{from}>");
        let here = system.mailbox();
        assert!(here.iter().any(|mail| mail.text().contains(&own)), "{own}");
    }
}

/// `[remote] bind` and `ip`.
#[test]
fn connections_come_from_the_given_address() {
    let dns =
        Dns::start("example.net MX 10 one.example\none.example A 127.0.0.2\none.example AAAA ::1");
    let remotes = Remote::several(&[Script::new()]);
    let system = System::direct("bind", &dns, &remotes[0]).with(
        "remote",
        "bind = [\"127.0.0.77\"]\nip = \"v4\"\nmta_sts = false",
    );
    one_message(&system, "x@example.net");
    check(&system, &remotes, At(&[0]), "bind");
    assert_eq!(dns.asked(), ["MX example.net", "A one.example"]);
}

/// `-bv` and `--test` show the way.
#[test]
fn the_way_is_shown() {
    let dns = Dns::start(&format!(
        "{HOSTS}example.net MX 10 dead.example\nexample.net MX 20 two.example\nnull.example MX 0 ."
    ));
    let remotes = Remote::several(&[Script::new(), Script::new()]);
    let system = System::direct("shown", &dns, &remotes[0])
        .with("rewrite", "senders = { \"cron\" = \"me@example.org\" }")
        .with(
            "[route]",
            "sender = \"work@example.org\"\nvia = \"office.example:2525\"",
        );
    let rows: &[(&[&str], i32, &[&str])] = &[
        (
            &["-bv", "-f", "cron", "x@example.net"],
            0,
            &[
                "x@example.net: mail server dead.example (127.0.0.99), then",
                "\n    mail of cron@pi.test.example leaves as me@example.org\n",
                "\n    two.example has nothing to prove: neither DANE nor MTA-STS speaks of it\n",
            ],
        ),
        (
            &["-bv", "-f", "work@example.org", "x@example.net"],
            0,
            &["x@example.net: office.example:2525\n"],
        ),
        (&["-bv", "-f", "a b", "x@example.net"], 64, &[]),
        (
            &["-bv", "x@example.net"],
            0,
            &["mail server dead.example (127.0.0.99), then two.example (127.0.0.3)"],
        ),
        (&["-bv", "x@null.example"], 69, &["takes no mail"]),
        (
            &["-bv", "x@gone.example"],
            68,
            &["there is no domain gone.example"],
        ),
        (
            &["--test", "x@example.net"],
            0,
            &[
                "dead.example:",
                "cannot connect",
                "two.example:",
                "\n    has nothing to prove: neither DANE nor MTA-STS speaks of it\n",
                "takes mail for x@example.net: 250",
            ],
        ),
    ];
    for (args, code, texts) in rows {
        let ran = system.run(args, "");
        assert_eq!(ran.code, *code, "{ran:?}");
        for text in *texts {
            assert!(ran.stdout.contains(text), "{args:?}: {ran:?}");
        }
    }
    assert!(remotes[1].received().is_empty());
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

/// A server of LMTP on a socket of this system or on TCP: each recipient has a reply of its own after the dot. (K29)
#[test]
fn lmtp_answers_for_each_recipient() {
    for on_socket in [true, false] {
        let system = System::new("lmtp");
        let server = Lmtp::start(on_socket.then(|| system.path("lmtp")), |to| {
            let later = match to.as_bytes()[0] {
                b'g' => "250 2.0.0 there",
                b'f' => "452 4.2.2 full",
                _ => "550 5.7.1 no",
            };
            ("250 2.1.5 ok", later)
        });
        let system = system
            .with("", "domains = [\"pi.test.example\", \"home.example\"]")
            .with(
                "[route]",
                &format!("domain = \"home.example\"\nvia = \"lmtp:{}\"", server.place),
            );
        let to = ["good@home.example", "full@home.example", "bad@home.example"];
        system.accept(&[&["-odq"][..], &to].concat(), MESSAGE);
        system.accept(&["-q"], "");
        let heard = server.heard().concat();
        assert!(heard.starts_with("LHLO pi.test.example\r\n"), "{heard}");
        assert!(heard.contains("Subject: x\r\n"), "{heard}");
        let queue = system.queue();
        let journal = queue
            .iter()
            .find(|q| q.sender() != "<>")
            .unwrap()
            .journal
            .join("\n");
        for said in [
            "delivered 250 2.0.0",
            "deferred 452 4.2.2",
            "failed 550 5.7.1",
        ] {
            assert!(journal.contains(said), "{journal}");
        }
    }
}
