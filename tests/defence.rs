//! Strangers at the door: lists, names, greylisting, rates, and who speaks too early. Each with its line in the log.

use std::time::Duration;

use crate::harness::system::me;
use crate::harness::{Daemon, Dns, System};

const ZONE: &str = "
    1.0.0.127.bad.example A 127.0.0.2
    1.0.0.127.worse.example A 127.0.0.3
    1.0.0.127.good.example A 127.0.5.1
    1.0.0.127.full.example A 127.255.255.254
    1.0.0.127.down.example ! SERVFAIL
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

#[test]
fn more_than_is_allowed_is_put_off() {
    let dns = Dns::start(ZONE);
    let system = guarded("rates", &dns, "limits", "client_messages_per_hour = 2");
    let daemon = Daemon::start(&system);
    for expected in ["250", "250", "450 4.7.28 too many messages"] {
        let reply = ask(&daemon, "EHLO a.example", "a@b.example");
        assert!(reply.starts_with(expected), "{reply}");
    }
    end(daemon, &system);
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
