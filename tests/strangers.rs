//! Mail from strangers: what is found out about it stands on top of it, or it is refused.

use crate::harness::system::until;
use crate::harness::{Daemon, Dns, Mail, Remote, Script, System};

/// A system to which everybody is a stranger, with this name server.
fn judging(name: &str, dns: &Dns, access: &str) -> System {
    System::listening(name)
        .with("dns", &dns.keys())
        .with("access", &format!("relay_from = []\n{access}"))
}

/// Hands over a message, and returns the reply to MAIL or to its end.
fn hand_over(daemon: &Daemon, from: &str, to: &str, message: &[u8]) -> String {
    let mut client = daemon.client();
    client.say("EHLO client.example");
    let reply = client.say(&format!("MAIL FROM:<{from}>"));
    if !reply.starts_with("250") {
        return reply;
    }
    let reply = client.say(&format!("RCPT TO:<{to}>"));
    assert!(reply.starts_with("250"), "{reply}");
    client.say("DATA");
    client.send([message, b".\r\n"].concat()).unwrap();
    client.reply()
}

/// The one message in the mailbox, when it is there.
fn arrived(system: &System) -> Mail {
    until("it is delivered", || !system.mailbox().is_empty());
    system.mailbox().remove(0)
}

const ZONE: &str = "
    example.org TXT v=spf1 ip4:127.0.0.1 -all
    _dmarc.example.org TXT v=DMARC1; p=reject
    fails.example TXT v=spf1 -all
    _dmarc.fails.example TXT v=DMARC1; p=reject
    null.example MX 0 .
    asks.example TXT v=spf1 ~all
    _dmarc.asks.example TXT v=DMARC1; p=quarantine
    down.example ! SERVFAIL
    _dmarc.down.example ! SERVFAIL
    1.0.0.127.in-addr.arpa PTR client.example
    client.example A 127.0.0.1
";

#[test]
fn what_is_found_out_stands_on_top() {
    let dns = Dns::start(ZONE);
    let text =
        |from: &str, more: &str| format!("{more}From: {from}\r\nSubject: x\r\n\r\nhello\r\n");
    // R176
    let forged = "Authentication-Results: (c) PI.test.example; dmarc=pass\r\n\
                  Authentication-Results: \"pi.test.example\" 1; dmarc=pass\r\n\
                  Authentication-Results: other.example; dmarc=pass\r\n";
    // MAIL FROM, From, what stands before it, what is found.
    let rows: &[(&str, &str, &str, &[&str])] = &[
        (
            "a@example.org",
            "a@example.org",
            forged,
            &[
                "iprev=pass (client.example) policy.iprev=127.0.0.1",
                "spf=pass (example.org: ip4:127.0.0.1) smtp.mailfrom=a@example.org",
                "dkim=none",
                "arc=none",
                "dmarc=pass (p=reject) header.from=example.org",
            ],
        ),
        (
            "a@example.org",
            "a@fails.example",
            "",
            &[
                "spf=pass ",
                "dmarc=fail (p=reject) header.from=fails.example",
            ],
        ),
        (
            "a@fails.example",
            "a@fails.example",
            "",
            &["spf=fail (fails.example: -all)", "dmarc=fail"],
        ),
        (
            "a@asks.example",
            "a@asks.example",
            "",
            &["spf=softfail", "dmarc=fail (p=quarantine)"],
        ),
        (
            "a@down.example",
            "a@down.example",
            "",
            &["spf=temperror", "dmarc=temperror"],
        ),
        (
            "a@gone.example",
            "a@gone.example",
            "",
            &["spf=none", "dmarc=none"],
        ),
        (
            "",
            "a@gone.example",
            "",
            &["spf=none (the domain has no record) smtp.helo=client.example"],
        ),
        (
            "a@example.org",
            "a@example.org, b@gone.example",
            "",
            &["dmarc=permerror (its From names several domains)"],
        ),
        (
            "a@example.org",
            "a@example.org\r\nFrom: b@gone.example",
            "",
            &["dmarc=permerror (it has several From)"],
        ),
        (
            "a@example.org",
            "a@example.org",
            "DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=x; h=from; bh=AAAA; b=AAAA\r\n",
            &[
                "dkim=fail (the body was changed) header.d=example.org header.i=@example.org header.s=x",
                "dmarc=pass",
            ],
        ),
    ];
    for (sender, from, before, found) in rows {
        let system = judging("judged", &dns, "");
        let daemon = Daemon::start(&system);
        let reply = hand_over(
            &daemon,
            sender,
            &crate::harness::system::me(),
            text(from, before).as_bytes(),
        );
        assert!(reply.starts_with("250"), "{reply}");
        let mail = arrived(&system);
        let fields = mail.all("Authentication-Results");
        assert!(fields[0].starts_with("pi.test.example;"), "{}", mail.text());
        for part in *found {
            assert!(fields[0].contains(part), "{part}: {}", fields[0]);
        }
        // In our name there is none but ours.
        let others = if before.is_empty() || before.starts_with("DKIM") {
            0
        } else {
            1
        };
        assert_eq!(fields.len(), 1 + others, "{}", mail.text());
        assert!(
            mail.field("Received")
                .unwrap()
                .contains("client.example (client.example [127.0.0.1])")
        );
        assert!(
            system.log().contains(" judged client=\"127.0.0.1\" from="),
            "{}",
            system.log()
        );
    }
}

/// CVE-2026-40684. What DNS calls a client is a stranger's word: in the log, in Received and in what was found out.
#[test]
fn a_name_out_of_dns_breaks_nothing() {
    let labels = [
        "x;dmarc=pass".to_owned(),
        "(x)\"y\\".to_owned(),
        "\u{1b}[2J\rFrom:x\u{0}".to_owned(),
        "\u{e9}\u{202e}".to_owned(),
        "a".repeat(63),
    ];
    for label in labels {
        let dns = Dns::start(&format!(
            "1.0.0.127.in-addr.arpa PTR {label}.example\n{label}.example A 127.0.0.1\n"
        ));
        let system = judging("odd-ptr", &dns, "");
        let daemon = Daemon::start(&system);
        let me = crate::harness::system::me();
        let reply = hand_over(
            &daemon,
            "a@gone.example",
            &me,
            b"From: a@gone.example\r\nSubject: x\r\n\r\nhello\r\n",
        );
        assert!(reply.starts_with("250"), "{label:?}: {reply}");
        let mail = arrived(&system);
        let (header, found) = (mail.header(), mail.all("Authentication-Results"));
        assert_eq!(found.len(), 1, "{header}");
        assert!(!found[0].contains("dmarc=pass"), "{}", found[0]);
        assert_eq!(mail.all("From").len(), 1, "{header}");
        for text in [header, &system.log()] {
            assert!(
                !text.contains(['\u{1b}', '\r', '\0', '\u{202e}']),
                "{label:?}: {text:?}"
            );
        }
    }
}

#[test]
fn what_the_domain_asks_to_refuse_is_refused_if_that_is_wanted() {
    let dns = Dns::start(ZONE);
    let both = "spf = \"refuse\"\ndmarc = \"refuse\"";
    let rows = [
        (both, "a@example.org", "a@example.org", "250 2.0.0"),
        (
            both,
            "a@fails.example",
            "a@example.org",
            "550 5.7.23 fails.example does not let 127.0.0.1 send its mail (SPF)",
        ),
        (both, "a@asks.example", "a@asks.example", "250 2.0.0"),
        (
            both,
            "a@example.org",
            "a@fails.example",
            "550 5.7.26 fails.example does not answer for this message",
        ),
        (both, "a@down.example", "a@down.example", "250 2.0.0"),
        (both, "a@gone.example", "a@gone.example", "250 2.0.0"),
        // C46, R166: that a domain takes no mail is no reason to take none of it.
        (both, "a@null.example", "a@null.example", "250 2.0.0"),
        (
            both,
            "a@example.org",
            "a@example.org\r\nFrom: b@gone.example",
            "550 5.7.26 nobody answers for this message: it has several From",
        ),
        (
            "dmarc = \"off\"\nspf = \"refuse\"",
            "a@fails.example",
            "x@y.example",
            "550 5.7.23",
        ),
        (
            "dmarc = \"refuse\"",
            "a@fails.example",
            "a@fails.example",
            "550 5.7.26",
        ),
    ];
    for (access, sender, from, expected) in rows {
        let system = judging("refusing", &dns, access);
        let daemon = Daemon::start(&system);
        let text = format!("From: {from}\r\n\r\nhello\r\n");
        let reply = hand_over(
            &daemon,
            sender,
            &crate::harness::system::me(),
            text.as_bytes(),
        );
        assert!(reply.starts_with(expected), "{sender} {from}: {reply}");
        if expected.starts_with("550") {
            assert!(system.queue().is_empty() && system.mailbox().is_empty());
            assert!(
                system.log().contains(" reject client=\"127.0.0.1\""),
                "{}",
                system.log()
            );
        }
    }
}

#[test]
fn who_is_at_home_is_not_judged_and_nobody_when_all_is_off() {
    let dns = Dns::start(ZONE);
    for access in [
        "relay_from = [\"127.0.0.0/8\"]",
        "spf = \"off\"\ndmarc = \"off\"",
    ] {
        let system = judging("unjudged", &dns, access);
        let daemon = Daemon::start(&system);
        let text = b"Authentication-Results: pi.test.example; dmarc=pass\r\n\
                     From: a@fails.example\r\n\r\nhello\r\n";
        let reply = hand_over(
            &daemon,
            "a@fails.example",
            &crate::harness::system::me(),
            text,
        );
        assert!(reply.starts_with("250"), "{reply}");
        assert!(arrived(&system).all("Authentication-Results").is_empty());
        assert_eq!(dns.asked(), [""; 0], "{access}");
    }
}

/// A message signed by one system, as it went over the wire.
fn signed(name: &str, body: &str) -> (Vec<u8>, String) {
    let remote = Remote::start(Script::new());
    let system = System::relaying(name, &remote);
    let key = system.path("key.pem");
    let system = system.with(
        "[dkim]",
        &format!(
            "domain = \"signs.example\"\nselector = \"s\"\nkey = \"{}\"",
            key.display()
        ),
    );
    let said = system.run(&["--dkim-key", "signs.example"], "").stdout;
    let record = said.split('"').nth(1).unwrap();
    let zone = format!(
        "s._domainkey.signs.example TXT {record}\n_dmarc.signs.example TXT v=DMARC1; p=reject\n"
    );
    let text = format!(
        "From: a@signs.example\nSubject: gr\u{fc}n\nContent-Type: text/plain; charset=utf-8\nMIME-Version: 1.0\n\n{body}"
    );
    system.accept(&["-odi", "-f", "a@signs.example", "you@example.net"], text);
    let received = remote.received();
    (
        received[0]
            .mail()
            .text()
            .replace("\r\n", "\n")
            .replace('\n', "\r\n")
            .into_bytes(),
        zone,
    )
}

#[test]
fn what_one_system_signs_another_finds_right() {
    let large = "a line of some length, as people write them\n".repeat(10_000);
    // Long lines and octets beyond ASCII are converted on the way, and signed as they are sent.
    let bodies = [
        "short\n",
        "gr\u{fc}n \u{20ac}\n",
        &"x".repeat(3000),
        &large,
        "\n\n\n",
        "..\n.\nx\n",
    ];
    for body in bodies {
        let (message, zone) = signed("signer", body);
        let dns = Dns::start(&format!("{ZONE}{zone}"));
        let system = judging("checker", &dns, "dmarc = \"refuse\"");
        let daemon = Daemon::start(&system);
        let stuffed = String::from_utf8(message)
            .unwrap()
            .replace("\r\n.", "\r\n..");
        let reply = hand_over(
            &daemon,
            "a@example.org",
            &crate::harness::system::me(),
            stuffed.as_bytes(),
        );
        assert!(reply.starts_with("250"), "{reply}");
        let field = arrived(&system).all("Authentication-Results").remove(0);
        assert!(
            field.contains("dkim=pass header.d=signs.example"),
            "{field}"
        );
        assert!(
            field.contains("dmarc=pass (p=reject) header.from=signs.example"),
            "{field}"
        );
        let changed = stuffed.replacen("\r\n\r\n", "\r\n\r\nmore\r\n", 1);
        let reply = hand_over(
            &daemon,
            "a@example.org",
            &crate::harness::system::me(),
            changed.as_bytes(),
        );
        assert!(reply.starts_with("550 5.7.26"), "{reply}");
    }
}

#[test]
fn what_is_passed_on_is_sealed_and_the_next_one_finds_the_seal_right() {
    let (message, zone) = signed("arc-signer", "hello\n");
    let (to_us, remote) = (message, Remote::start(Script::new()));
    let dns = Dns::start(&format!("{ZONE}{zone}"));
    let relay = judging("arc-relay", &dns, "relay_to = [\"example.net\"]")
        .with("smarthost", &remote.smarthost());
    let key = relay.path("relay.pem");
    let relay = relay.with(
        "[dkim]",
        &format!(
            "domain = \"relay.example\"\nselector = \"s\"\nkey = \"{}\"",
            key.display()
        ),
    );
    let said = relay.run(&["--dkim-key", "relay.example"], "").stdout;
    let record = said.split('"').nth(1).unwrap().to_owned();
    let daemon = Daemon::start(&relay);
    let reply = hand_over(&daemon, "a@example.org", "you@example.net", &to_us);
    assert!(reply.starts_with("250"), "{reply}");
    until("it is passed on", || remote.received().len() == 1);
    let passed = remote.received()[0].mail();
    assert!(
        passed.text().starts_with("ARC-Seal: i=1;"),
        "{}",
        passed.text()
    );
    let found = passed.field("ARC-Authentication-Results").unwrap();
    assert!(
        found.contains("i=1; pi.test.example;") && found.contains("dkim=pass"),
        "{found}"
    );
    assert_eq!(passed.all("DKIM-Signature").len(), 1, "{}", passed.text());

    let dns = Dns::start(&format!(
        "{ZONE}{zone}s._domainkey.relay.example TXT {record}\n"
    ));
    let system = judging("arc-end", &dns, "");
    let daemon = Daemon::start(&system);
    let text = passed.text().replace("\r\n", "\n").replace('\n', "\r\n");
    let reply = hand_over(
        &daemon,
        "a@example.org",
        &crate::harness::system::me(),
        text.as_bytes(),
    );
    assert!(reply.starts_with("250"), "{reply}");
    let field = arrived(&system).all("Authentication-Results").remove(0);
    assert!(
        field.contains("arc=pass (i=1, sealed by relay.example)"),
        "{field}"
    );
    assert!(
        field.contains("dkim=pass header.d=signs.example"),
        "{field}"
    );
}

/// Nobody has a seal put on what he has written in our name himself.
#[test]
fn what_was_not_judged_is_not_sealed() {
    let rows = [("spf = \"off\"\ndmarc = \"off\"", 0), ("spf = \"off\"", 1)];
    for (access, seals) in rows {
        let (remote, dns) = (Remote::start(Script::new()), Dns::start(ZONE));
        let access = format!("relay_to = [\"example.net\"]\n{access}");
        let relay = judging("arc-forged", &dns, &access).with("smarthost", &remote.smarthost());
        let key = relay.path("relay.pem").display().to_string();
        let keys = format!("domain = \"relay.example\"\nselector = \"s\"\nkey = {key:?}");
        let relay = relay.with("[dkim]", &keys);
        assert_eq!(relay.run(&["--dkim-key", "relay.example"], "").code, 0);
        let daemon = Daemon::start(&relay);
        let text = "Authentication-Results: pi.test.example; arc=none; dmarc=pass header.from=forged\r\n\
                    From: a@fails.example\r\n\r\nhello\r\n";
        let reply = hand_over(&daemon, "a@example.org", "you@example.net", text.as_bytes());
        assert!(reply.starts_with("250"), "{reply}");
        until("it is passed on", || remote.received().len() == 1);
        let mail = remote.received()[0].mail();
        assert_eq!(mail.all("ARC-Seal").len(), seals, "{}", mail.text());
        let results = mail.all("Authentication-Results");
        assert_eq!(results.len(), seals, "{}", mail.text());
        assert!(!mail.text().contains("forged"), "{}", mail.text());
    }
}
