//! Strangers at the door: lists, names, greylisting, rates, and who speaks too early. Each with its line in the log.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::harness::system::{HOST, me, until};
use crate::harness::tls::Secure;
use crate::harness::{Daemon, Dns, System};

const ZONE: &str = "
    1.0.0.127.bad.example A 127.0.0.2
    1.0.0.127.worse.example A 127.0.0.3
    1.0.0.127.good.example A 127.0.5.1
    1.0.0.127.full.example A 127.255.255.254
    1.0.0.127.down.example ! SERVFAIL
    1.0.0.127.slow.example ! SILENCE
    slow.example ! SILENCE
    x._domainkey.slow.example ! SILENCE
    _dmarc.slow.example TXT v=DMARC1; p=reject
    1.0.0.127.in-addr.arpa ! SILENCE
    pi.test.example TXT v=spf1 -all
    _dmarc.pi.test.example TXT v=DMARC1; p=reject
    fails.example TXT v=spf1 -all
    _dmarc.fails.example TXT v=DMARC1; p=reject
    passes.example TXT v=spf1 +all
";

fn guarded(name: &str, dns: &Dns, section: &str, lines: &str) -> System {
    System::listening(name)
        .with("dns", &dns.keys())
        .with("access", "relay_from = []")
        .with(section, lines)
}

/// The replies to RCPT of a stranger who comes and says this, each time anew.
fn ask(daemon: &Daemon, hello: &str, sender: &str) -> String {
    let mut client = daemon.client();
    client.say(hello);
    let reply = client.say(&format!("MAIL FROM:<{sender}>"));
    if !reply.starts_with("250") {
        return reply;
    }
    client.say(&format!("RCPT TO:<{}>", me()))
}

/// The daemon ends; the next one begins a new log.
fn end(daemon: Daemon, system: &System) {
    drop(daemon);
    std::fs::remove_file(system.path("log")).unwrap();
}

#[test]
fn lists_and_names_refuse_whom_they_are_about() {
    let dns = Dns::start(ZONE);
    // The keys, the greeting, the reply to RCPT, what the log says.
    let rows = [
        ("dnsbl = [\"none.example\"]", "EHLO a.example", "250", ""),
        (
            "dnsbl = [\"bad.example\"]",
            "EHLO a.example",
            "550 5.7.1 127.0.0.1 is listed at bad.example",
            "score 1 by bad.example",
        ),
        (
            "dnsbl = [\"bad.example\", \"good.example*-2\"]",
            "EHLO a.example",
            "250",
            "",
        ),
        (
            "dnsbl = [\"bad.example\", \"worse.example*2\"]\ndnsbl_score = 3",
            "EHLO a.example",
            "550 5.7.1 127.0.0.1 is listed at bad.example, worse.example",
            "score 3",
        ),
        (
            "dnsbl = [\"bad.example\", \"none.example*2\"]\ndnsbl_score = 3",
            "EHLO a.example",
            "250",
            "",
        ),
        (
            "dnsbl = [\"full.example\", \"down.example\"]",
            "EHLO a.example",
            "250",
            "",
        ),
        (
            "helo = \"refuse\"",
            "EHLO 127.0.0.1",
            "550 5.7.1 the name is an address without brackets in EHLO or HELO",
            "reject client=",
        ),
        (
            "helo = \"refuse\"",
            "HELO pi.test.example",
            "550 5.7.1 the name is ours",
            "reject client=",
        ),
        ("helo = \"refuse\"", "EHLO [127.0.0.1]", "250", ""),
        ("helo = \"refuse\"", "EHLO client.example", "250", ""),
        (
            "helo = \"mark\"",
            "EHLO localhost",
            "250",
            "odd client=\"127.0.0.1\" what=\"the name is not a whole one in EHLO or HELO: localhost\"",
        ),
        ("helo = \"off\"", "EHLO localhost", "250", ""),
        (
            "relay_from = [\"127.0.0.1\"]\ndnsbl = [\"bad.example\"]\nhelo = \"refuse\"\ngreylist = true",
            "EHLO localhost",
            "250",
            "",
        ),
    ];
    for (keys, hello, expected, logged) in rows {
        let system = guarded("lists", &dns, "access", keys);
        let daemon = Daemon::start(&system);
        let reply = ask(&daemon, hello, "a@b.example");
        assert!(reply.starts_with(expected), "{keys} {hello}: {reply}");
        assert!(system.log().contains(logged), "{keys}: {}", system.log());
    }
}

/// C9: by his name at the host, at each domain of ours, and by his name alone; in any case, whatever else is refused.
#[test]
fn postmaster_is_reached_by_those_who_are_refused() {
    let dns = Dns::start(ZONE);
    let domains = format!("domains = [\"{HOST}\", \"other.test.example\"]");
    for (keys, refused) in [
        ("dnsbl = [\"bad.example\"]", "550 5.7.1"),
        ("greylist = true", "451 4.7.1"),
        ("helo = \"refuse\"", "550 5.7.1"),
    ] {
        let system = guarded("postmaster", &dns, "access", keys).with("", &domains);
        let daemon = Daemon::start(&system);
        let mut client = daemon.client();
        client.say("EHLO localhost");
        client.say("MAIL FROM:<a@b.example>");
        let (person, named) = (me(), format!("Postmaster@{HOST}"));
        for (to, expected) in [
            (person.as_str(), refused),
            ("postmaster", "250"),
            (named.as_str(), "250"),
            ("postmaster@OTHER.test.example", "250"),
            (
                "postmaster@elsewhere.example",
                "550 5.7.1 you may not send there",
            ),
            (person.as_str(), refused),
        ] {
            let reply = client.say(&format!("RCPT TO:<{to}>"));
            assert!(reply.starts_with(expected), "{keys} {to}: {reply}");
        }
    }
}

#[test]
fn strangers_come_twice_unless_somebody_speaks_for_them() {
    let dns = Dns::start(ZONE);
    let system = guarded(
        "greylist",
        &dns,
        "access",
        "greylist = true\ngreylist_delay = \"1h\"",
    );
    let daemon = Daemon::start(&system);
    for _ in 0..2 {
        let reply = ask(&daemon, "EHLO a.example", "a@b.example");
        assert!(reply.starts_with("451 4.7.1 greylisted"), "{reply}");
    }
    assert!(
        system.log().contains(
            "reject client=\"127.0.0.1\" from=\"<a@b.example>\" reason=\"451 4.7.1 greylisted"
        ),
        "{}",
        system.log()
    );
    let reply = ask(&daemon, "EHLO a.example", "a@passes.example");
    assert!(reply.starts_with("250"), "{reply}");
    end(daemon, &system);
    // An hour later, as far as the table knows: the delay is shorter now.
    let system = system.with("access", "greylist_delay = \"0s\"");
    let daemon = Daemon::start(&system);
    assert!(ask(&daemon, "EHLO a.example", "a@b.example").starts_with("250"));
    end(daemon, &system);
    let system = system.with("access", "greylist_delay = \"1h\"");
    let daemon = Daemon::start(&system);
    assert!(ask(&daemon, "EHLO a.example", "A@B.example").starts_with("250"));
    assert!(ask(&daemon, "EHLO a.example", "other@b.example").starts_with("451"));
    let size = std::fs::metadata(system.path("spool/greylist"))
        .unwrap()
        .len();
    assert!(size <= 384 * 1024, "{size}");
    end(daemon, &system);
    let system = system.with("access", "dnsbl = [\"good.example*-1\"]");
    let daemon = Daemon::start(&system);
    assert!(ask(&daemon, "EHLO a.example", "third@b.example").starts_with("250"));
}

/// Messages count, and not what comes to none; nor are there more of them because sessions are held at once.
#[test]
fn a_client_sends_no_more_than_it_may() {
    let dns = Dns::start(&ZONE.replace("    1.0.0.127.in-addr.arpa ! SILENCE\n", ""));
    let system = guarded("messages", &dns, "limits", "client_messages_per_hour = 2");
    let daemon = Daemon::start(&system);
    let (mail, to) = ("MAIL FROM:<a@b.example>", format!("RCPT TO:<{}>", me()));
    let mut client = daemon.client();
    client.say("EHLO a.example");
    for _ in 0..5 {
        client.steps(&[(mail, "250 "), ("RSET", "250 ")]);
    }
    client.steps(&[(mail, "250 "), ("RCPT TO:<x@elsewhere.example>", "550 ")]);
    client.steps(&[("RSET", "250 "), (mail, "250 "), (&to, "250 ")]);
    client.steps(&[("DATA", "354 "), ("a bare\nline end\r\n.", "554 ")]);
    let reply = hand_over(|line| client.say(line), "a@b.example", "a@b.example");
    assert!(reply.starts_with("250 "), "{reply}");
    let mut other = daemon.client();
    other.say("EHLO a.example");
    for client in [&mut client, &mut other] {
        client.steps(&[(mail, "250 "), (&to, "250 ")]);
    }
    client.steps(&[("DATA", "354 ")]);
    other.steps(&[("DATA", "450 4.7.28 too many messages")]);
    client.steps(&[("Subject: x\r\n\r\nhello\r\n.", "250 ")]);
    client.steps(&[(mail, "450 4.7.28 too many messages")]);
    let log = system.log();
    let told = "reject client=\"127.0.0.1\" from=\"<a@b.example>\" reason=\"450 4.7.28 too many";
    assert_eq!(log.matches(told).count(), 2, "{log}");
}

#[test]
fn more_connections_than_are_allowed_are_put_off() {
    let dns = Dns::start(ZONE);
    let system = guarded("rates", &dns, "limits", "connections_per_minute = 2");
    let daemon = Daemon::start(&system);
    for expected in ["220", "220", "421 4.7.28 too many connections"] {
        let mut client = daemon.stranger();
        let reply = client.reply();
        assert!(reply.starts_with(expected), "{reply}");
    }
    assert!(
        system
            .log()
            .contains("reject client=\"127.0.0.1\" reason=\"421 4.7.28"),
        "{}",
        system.log()
    );
    end(daemon, &system);
    // Who is at home comes as often as he likes.
    let system = system.with("access", "relay_from = [\"127.0.0.1\"]");
    let daemon = Daemon::start(&system);
    for _ in 0..4 {
        drop(daemon.client());
    }
}

#[test]
fn who_speaks_before_the_greeting_is_sent_away() {
    let dns = Dns::start(ZONE);
    let system = guarded("early", &dns, "access", "greeting_delay = \"60s\"");
    let daemon = Daemon::start(&system);
    let mut client = daemon.stranger();
    client.send("EHLO a.example\r\n").unwrap();
    let reply = client.reply();
    assert!(
        reply.starts_with("554 5.5.1 wait for the greeting"),
        "{reply}"
    );
    assert!(
        system
            .log()
            .contains("reject client=\"127.0.0.1\" reason=\"554 5.5.1"),
        "{}",
        system.log()
    );
    // Who waits is greeted in the end.
    let system = guarded("patient", &dns, "access", "greeting_delay = \"1s\"");
    let daemon = Daemon::start(&system);
    let begun = std::time::Instant::now();
    let mut client = daemon.client();
    assert!(begun.elapsed() >= Duration::from_millis(900));
    assert!(client.say("EHLO a.example").starts_with("250"));
}

/// All that there is against strangers, each in its hardest form.
const ALL: &str = "dnsbl = [\"bad.example\"]\nhelo = \"refuse\"\ngreylist = true\nspf = \"refuse\"\ndmarc = \"refuse\"\n\
                   greeting_delay = \"1s\"";

/// What they say to a message, up to its end, or to the first step that is refused.
fn hand_over(mut say: impl FnMut(&str) -> String, sender: &str, from: &str) -> String {
    let to = format!("RCPT TO:<{}>", me());
    for step in [&format!("MAIL FROM:<{sender}>"), &to, "DATA"] {
        let reply = say(step);
        if !reply.starts_with(['2', '3']) {
            return reply;
        }
    }
    say(&format!("From: {from}\r\nSubject: x\r\n\r\nhello\r\n."))
}

/// None of it is meant for those who have logged in, or come from the networks of the house.
#[test]
fn who_is_known_is_not_looked_at() {
    let dns = Dns::start(ZONE);
    let system = guarded("known", &dns, "access", ALL)
        .with(
            "listen",
            "submission = [\"127.0.0.1:0\"]\nsubmissions = [\"127.0.0.1:0\"]",
        )
        .with("limits", "client_messages_per_hour = 1")
        .with_user("alice", "correct horse");
    // She may write as somebody for whom a stranger is refused.
    let users = system.path("users");
    let line = std::fs::read_to_string(&users).unwrap();
    std::fs::write(&users, format!("{}:@fails.example\n", line.trim_end())).unwrap();
    let daemon = Daemon::start(&system);
    let login = format!("AUTH PLAIN {}", BASE64.encode("\0alice\0correct horse"));
    let own = format!("alice@{HOST}");
    let mut count = 0;
    for kind in ["smtp", "submission", "submissions"] {
        let mut client = Secure::meet(&system, &daemon, kind);
        assert!(client.say("EHLO localhost").starts_with("250"));
        assert!(client.say(&login).starts_with("235"), "{kind}");
        let reply = hand_over(|line| client.say(line), &own, "a@fails.example");
        assert!(reply.starts_with("250"), "{kind}: {reply}");
        count += 1;
    }
    // A stranger is: the first of the reasons is told.
    let mut client = daemon.client();
    client.say("EHLO client.example");
    let reply = hand_over(
        |line| client.say(line),
        "a@fails.example",
        "a@fails.example",
    );
    assert!(reply.starts_with("550 5.7."), "{reply}");
    end(daemon, &system);
    let system = system.with("access", "relay_from = [\"127.0.0.1\"]");
    let daemon = Daemon::start(&system);
    for _ in 0..2 {
        let mut client = daemon.client();
        client.say("EHLO localhost");
        let reply = hand_over(
            |line| client.say(line),
            "a@fails.example",
            "a@fails.example",
        );
        assert!(reply.starts_with("250"), "{reply}");
        count += 1;
    }
    until("all is delivered", || system.mailbox().len() == count);
    for mail in system.mailbox() {
        assert!(
            mail.all("Authentication-Results").is_empty(),
            "{}",
            mail.text()
        );
    }
}

/// Nothing of it refuses anybody unless it is asked for: what is found is told, and that is all.
#[test]
fn by_default_nobody_is_refused() {
    // A client without a name: to wait for a silent server is for the next test.
    let dns = Dns::start(&ZONE.replace("    1.0.0.127.in-addr.arpa ! SILENCE\n", ""));
    let system = guarded("default", &dns, "access", "");
    let daemon = Daemon::start(&system);
    for count in 1..=5 {
        let mut client = daemon.stranger();
        // Before the greeting.
        client.send("EHLO localhost\r\n").unwrap();
        assert!(client.reply().starts_with("220 "));
        assert!(client.reply().starts_with("250"));
        let reply = hand_over(
            |line| client.say(line),
            "a@fails.example",
            "a@fails.example",
        );
        assert!(reply.starts_with("250"), "{reply}");
        until("it is delivered", || system.mailbox().len() == count);
    }
    let mail = &system.mailbox()[0];
    let found = mail.field("Authentication-Results").unwrap();
    assert!(
        found.contains("spf=fail") && found.contains("dmarc=fail (p=reject)"),
        "{found}"
    );
    let log = system.log();
    for told in [
        " odd client=\"127.0.0.1\" what=\"the name ",
        " judged client=\"127.0.0.1\" ",
    ] {
        assert!(log.contains(told), "{told}: {log}");
    }
    assert!(!log.contains(" reject "), "{log}");
}

/// What is judged is held in memory: a stranger's header may have less than those of others, and the log says how much.
#[test]
fn a_strangers_header_has_its_own_limit() {
    let dns = Dns::start(&ZONE.replace("    1.0.0.127.in-addr.arpa ! SILENCE\n", ""));
    let field = format!("X-Filler: {}\r\n", "x".repeat(900));
    let rows = [
        ("relay_from = []", 200, "250 ", ""),
        ("relay_from = []", 300, "552 5.3.4 ", "256 KiB"),
        (
            "relay_from = []\nspf = \"off\"\ndmarc = \"off\"",
            300,
            "250 ",
            "",
        ),
        ("relay_from = [\"127.0.0.1\"]", 300, "250 ", ""),
        (
            "relay_from = [\"127.0.0.1\"]",
            1200,
            "552 5.3.4 ",
            "1024 KiB",
        ),
    ];
    for (keys, kibs, expected, limit) in rows {
        let system = guarded("header", &dns, "access", keys);
        let daemon = Daemon::start(&system);
        let mut client = daemon.client();
        client.say("EHLO client.example");
        let from = format!("a@b.example\r\n{}", field.repeat(kibs * 1024 / 912));
        let reply = hand_over(|line| client.say(line), "a@b.example", from.trim_end());
        assert!(reply.starts_with(expected), "{keys} {kibs}: {reply}");
        let told = format!("the header of the message is longer than {limit}");
        let log = system.log();
        assert_eq!(log.contains(&told), !limit.is_empty(), "{kibs}: {log}");
    }
}

/// Name servers that fail, or say nothing, cost time, which has a bound, and nobody's mail.
#[test]
fn trouble_with_dns_refuses_nobody() {
    let dns = Dns::start(ZONE);
    let keys = "dnsbl = [\"down.example\", \"slow.example\"]\nhelo = \"refuse\"\nspf = \"refuse\"\ndmarc = \"refuse\"";
    // One whose key cannot be looked up, although his domain asks to refuse what is not signed.
    let signature = "DKIM-Signature: v=1; a=rsa-sha256; d=slow.example; s=x; h=from; bh=zS7KNTV0HyeorkDDGwxB1AV6enuRKzO5rthkhdHIRnY=; b=AAAA\r\n";
    let system = guarded("dns-trouble", &dns, "access", keys);
    let daemon = Daemon::start(&system);
    let begun = std::time::Instant::now();
    let mut client = daemon.client();
    client.say("EHLO client.example");
    let reply = hand_over(
        |line| client.say(&line.replace("From:", &format!("{signature}From:"))),
        "a@slow.example",
        "a@slow.example",
    );
    assert!(reply.starts_with("250"), "{reply}");
    assert!(begun.elapsed() < Duration::from_secs(60));
    until("it is delivered", || system.mailbox().len() == 1);
    let found = system.mailbox()[0].field("Authentication-Results").unwrap();
    for word in ["iprev=temperror", "dkim=temperror", "dmarc=temperror"] {
        assert!(found.contains(word), "{word}: {found}");
    }
    assert!(!system.log().contains(" reject "), "{}", system.log());
}

/// A login that was stolen sends no more than a person does.
#[test]
fn a_user_sends_no_more_than_he_may() {
    let dns = Dns::start(ZONE);
    let system = guarded("user-rate", &dns, "limits", "user_messages_per_hour = 2")
        .with("listen", "submission = [\"127.0.0.1:0\"]")
        .with_user("alice", "correct horse");
    let daemon = Daemon::start(&system);
    let login = format!("AUTH PLAIN {}", BASE64.encode("\0alice\0correct horse"));
    let own = format!("alice@{HOST}");
    for expected in ["250", "250", "450 4.7.28 too many messages"] {
        let mut client = Secure::meet(&system, &daemon, "submission");
        assert!(client.say(&login).starts_with("235"));
        // Neither of these is a message.
        if expected == "250" {
            let other = client.say("MAIL FROM:<other@b.example>");
            assert!(other.starts_with("550 5.7.1"), "{other}");
            assert!(client.say(&format!("MAIL FROM:<{own}>")).starts_with("250"));
            assert!(client.say("RSET").starts_with("250"));
        }
        let reply = hand_over(|line| client.say(line), &own, &own);
        assert!(reply.starts_with(expected), "{reply} for {expected}");
    }
    let log = system.log();
    assert!(
        log.contains("reason=\"450 4.7.28 too many messages"),
        "{log}"
    );
}
