//! The way that mail takes: TLS or not, routes, servers of LMTP, addresses that are rewritten; and how it is shown.

use crate::harness::lmtp::Lmtp;
use crate::harness::system::me;
use crate::harness::tls::Authority;
use crate::harness::{Answer, Dns, Mail, Remote, Script, System};
use crate::mx::Fate::{Deferred, Failed};
use crate::mx::{HOSTS, MESSAGE, TWO_ADDRESSES, check, one_message};

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

/// A line of the header that a longer address makes too long for a server is folded.
#[test]
fn a_line_that_grows_too_long_is_folded() {
    let longest = format!("{}example.org", "much-longer-than-it-was-before.".repeat(7));
    for (long, count) in [("longer-than-it-was-before.example.org", 40), (&longest, 8)] {
        let remote = Remote::start(Script::new());
        let lines = format!("masquerade = {{ \"pi.test.example\" = \"{long}\" }}");
        let system = System::relaying("rewrite-long", &remote).with("rewrite", &lines);
        let from = vec!["web@pi.test.example"; count].join(", ");
        assert!(from.len() < 990);
        let message = format!("From: {from}\nSubject: x\n\nhello\n");
        system.accept(
            &["-odq", "-f", "web@pi.test.example", "x@example.net"],
            message,
        );
        system.accept(&["-q"], "");
        let text = String::from_utf8(remote.wire().remove(0)).unwrap();
        assert!(text.lines().all(|line| line.len() <= 998), "{text}");
        assert_eq!(
            text.matches(&format!("web@{long}")).count(),
            count,
            "{text}"
        );
    }
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

/// `--test` goes on after a "not now", as a delivery does, and its code says whether later is better.
#[test]
fn a_test_ends_as_a_delivery_would() {
    let dns = Dns::start(&format!(
        "{HOSTS}{TWO_ADDRESSES}a.example MX 10 one.example\na.example MX 20 two.example\n\
         b.example MX 10 one.example\nb.example MX 20 dead.example\nc.example MX 10 both.example"
    ));
    let busy = || Script::new().on("RCPT", "450 4.2.1 busy");
    let takes = "takes mail for x@a.example: 250";
    let rows = [
        (busy(), Script::new(), "x@a.example", 0, takes),
        (
            busy(),
            busy(),
            "x@a.example",
            75,
            "two.example does not take it now: 450 4.2.1 busy",
        ),
        (
            busy(),
            Script::new(),
            "x@b.example",
            75,
            "one.example does not take it now: 450 4.2.1 busy",
        ),
        (
            busy(),
            Script::new(),
            "x@c.example",
            0,
            "takes mail for x@c.example: 250",
        ),
        (
            Script::new().on("MAIL", "451 4.7.1 Greylisted"),
            busy(),
            "x@c.example",
            75,
            "both.example does not take it now: 450 4.2.1 busy",
        ),
        (
            Script::new().on("RCPT", "550 5.1.1 no"),
            Script::new(),
            "x@a.example",
            69,
            "one.example does not take it: 550 5.1.1 no",
        ),
        // Too many recipients, and of a login that is missing the mail is not to blame.
        (
            Script::new().on("RCPT", "552 5.5.3 many"),
            busy(),
            "x@b.example",
            75,
            "552 5.5.3 many",
        ),
        (
            Script::new().on("MAIL", "530 5.7.0 log in"),
            busy(),
            "x@b.example",
            75,
            "530 5.7.0 log in",
        ),
        (
            Script::new().on("RCPT", Answer::Drop),
            busy(),
            "x@b.example",
            75,
            "4.4.2 after RCPT",
        ),
    ];
    for (one, two, to, code, text) in rows {
        let remotes = Remote::several(&[one, two]);
        let system = System::direct("asked", &dns, &remotes[0]);
        let ran = system.run(&["--test", to], "");
        assert_eq!(ran.code, code, "{text}: {ran:?}");
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(said.contains(text), "{text}: {ran:?}");
        assert!(
            remotes
                .iter()
                .all(|r| r.received().is_empty() && r.sessions().len() <= 1)
        );
    }
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
        let wishes = ["-odq", "-N", "success,failure"];
        system.accept(&[&wishes[..], &to].concat(), MESSAGE);
        system.accept(&["-q"], "");
        // Whoever speaks LMTP keeps what he takes (RFC 2033 1).
        let reports: Vec<Mail> = system.mailbox();
        let told = |action: &str| reports.iter().any(|mail| mail.text().contains(action));
        assert!(
            told("Action: delivered") && !told("Action: relayed"),
            "{}",
            system.log()
        );
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
