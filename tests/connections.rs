//! Connections to mail servers: shared, few at once, from the given address, and none anew to what is dead.

use crate::harness::{Dns, Remote, Script, System};
use crate::mx::Fate::At;
use crate::mx::{HOSTS, check, one_message};

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
