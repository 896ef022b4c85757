//! Connections to mail servers: shared, few at once, from the given address, none anew to what is dead, and one to each
//! address of a host when the mail wants it.

use crate::harness::tls::Authority;
use crate::harness::{Answer, Dns, Remote, Script, System};
use crate::mx::Fate;
use crate::mx::Fate::{At, Deferred, Failed};
use crate::mx::{HOSTS, TWO_ADDRESSES, check, one_message};

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
    let dns = Dns::start(&format!(
        "{HOSTS}a.example MX 10 one.example\na.example MX 20 dead.example"
    ));
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

/// Where a host has taken what it deferred at another address, what follows goes over the same connection; and where none
/// of the others answers, the first connection is kept for it.
#[test]
fn a_connection_to_another_address_is_kept_too() {
    let dns = Dns::start(&format!(
        "{HOSTS}{TWO_ADDRESSES}half.example A 127.0.0.2\nhalf.example A 127.0.0.99\na.example MX 10 both.example\n\
         b.example MX 10 half.example"
    ));
    let scripts = [Script::new().on("MAIL", "451 4.3.0 later"), Script::new()];
    let rows = [("a.example", [1, 1], 3), ("b.example", [2, 0], 0)];
    for (domain, sessions, taken) in rows {
        let remotes = Remote::several(&scripts);
        let system = System::direct("moved", &dns, &remotes[0]).with("queue", "workers = 1");
        for to in ["x", "y", "z"] {
            one_message(&system, &format!("{to}@{domain}"));
        }
        let ran = system.run(&["-q", "-v"], "");
        let found: Vec<usize> = remotes.iter().map(|r| r.sessions().len()).collect();
        assert_eq!(found, sessions, "{domain}: {ran:?}");
        assert_eq!(remotes[1].received().len(), taken, "{domain}");
        assert!(ran.stderr.matches("127.0.0.99:").count() <= 1, "{ran:?}");
    }
}

/// RFC 5321 5.1: what leads to the next server leads to the next address of the same one before, each of them once; but
/// not when the first may have taken the message.
#[test]
fn answers_lead_to_the_next_address_or_not() {
    let takes = Script::new();
    let busy = Script::new().on("RCPT", "450 4.2.1 busy");
    let certified = Script::new().starttls(Authority::new().certify(&["mx.example"]));
    let first = |step: &str, answer: &str| Script::new().on(step, answer);
    let cut = |step: &str| Script::new().on(step, Answer::Drop);
    // Both servers of the host, and how many connections each of them gets.
    type Row<'r> = (Script, &'r Script, Fate, [usize; 2]);
    let rows: &[Row<'_>] = &[
        (cut("CONNECT"), &takes, At(&[1]), [1, 1]),
        (first("CONNECT", "554 no"), &takes, At(&[1]), [1, 1]),
        (
            first("CONNECT", "220 pi.test.example"),
            &takes,
            At(&[1]),
            [1, 1],
        ),
        (first("EHLO", "421 4.3.2 closing"), &takes, At(&[1]), [1, 1]),
        (cut("EHLO"), &takes, At(&[1]), [1, 1]),
        (first("MAIL", "421 4.3.2 closing"), &takes, At(&[1]), [1, 1]),
        (first("MAIL", "451 4.7.1 later"), &takes, At(&[1]), [1, 1]),
        (cut("MAIL"), &takes, At(&[1]), [1, 1]),
        (busy.clone(), &takes, At(&[1]), [1, 1]),
        (cut("DATA"), &takes, At(&[1]), [1, 1]),
        (first("DOT", "451 4.7.1 later"), &takes, At(&[1]), [1, 1]),
        (first("DOT", "421 4.3.2 closing"), &takes, At(&[1]), [1, 1]),
        (busy.clone(), &busy, Deferred("450 4.2.1"), [1, 1]),
        (cut("DOT"), &takes, Deferred("4.4.2"), [1, 0]),
        (
            first("RCPT", "550 5.1.1 who"),
            &takes,
            Failed("550 5.1.1"),
            [1, 0],
        ),
    ];
    let with_tls_only: &[Row<'_>] = &[
        (Script::new(), &certified, At(&[1]), [1, 1]),
        (Script::new(), &takes, Deferred("4.7.4"), [1, 1]),
    ];
    let dns = Dns::start(&format!(
        "{HOSTS}{TWO_ADDRESSES}example.net MX 10 both.example"
    ));
    let all = rows.iter().zip(std::iter::repeat("opportunistic"));
    let all = all.chain(with_tls_only.iter().zip(std::iter::repeat("require")));
    for (number, ((one, two, fate, sessions), tls)) in all.enumerate() {
        let remotes = Remote::several(&[one.clone(), (*two).clone()]);
        let system = System::direct("next-address", &dns, &remotes[0])
            .with("remote", &format!("tls = \"{tls}\""));
        one_message(&system, "x@example.net");
        check(&system, &remotes, *fate, &format!("row {number}"));
        let found: Vec<usize> = remotes.iter().map(|r| r.sessions().len()).collect();
        assert_eq!(found, sessions, "row {number}");
    }
}

/// That a spare server is down is not why somebody waits whom a better one has told why.
#[test]
fn a_dead_server_does_not_hide_what_another_has_said() {
    let rows: &[(&str, Answer, &str)] = &[
        ("CONNECT", "554 5.3.2 not here".into(), "554 4.3.2"),
        ("MAIL", "530 5.7.0 log in".into(), "530 4.7.0"),
        ("RCPT", "450 4.2.1 busy".into(), "450 4.2.1"),
        ("DOT", Answer::Drop, "after the end of the message"),
    ];
    let dns = Dns::start(&format!(
        "{HOSTS}example.net MX 10 one.example\nexample.net MX 20 dead.example"
    ));
    for (step, answer, why) in rows {
        let remotes = Remote::several(&[Script::new().on(step, answer.clone())]);
        let system = System::direct("spare", &dns, &remotes[0]);
        one_message(&system, "x@example.net");
        system.accept(&["-q"], "");
        let queued = system.queued();
        let last = queued.journal.last().unwrap();
        assert!(
            last.contains(" deferred ") && last.contains(why),
            "{step}: {last}"
        );
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

/// RFC 5321 5.1, RFC 1047: who always breaks off after the final dot keeps the mail from no other address of its host, and
/// from none of another host.
#[test]
fn each_address_has_its_turn_where_others_always_break_off() {
    let hosts = [
        "both.example A 127.0.0.2\nboth.example A 127.0.0.3\nexample.net MX 10 both.example",
        "a.example A 127.0.0.2\na.example A 127.0.0.3\nb.example A 127.0.0.4\nb.example A 127.0.0.5\n\
         example.net MX 10 a.example\nexample.net MX 20 b.example",
        "a.example A 127.0.0.2\na.example A 127.0.0.3\nb.example A 127.0.0.99\n\
         example.net MX 10 a.example\nexample.net MX 20 b.example",
    ];
    // How many sessions each of them has had after each attempt.
    let rows: [&[&[usize]]; 3] = [
        &[&[1, 0], &[1, 1]],
        &[&[1, 0, 0, 0], &[1, 0, 1, 0], &[1, 1, 1, 0], &[1, 1, 1, 1]],
        &[&[1, 0], &[2, 0], &[2, 1]],
    ];
    for (zone, attempts) in hosts.iter().zip(rows) {
        let dns = Dns::start(zone);
        let mut scripts = vec![Script::new().on("DOT", Answer::Drop); attempts[0].len()];
        *scripts.last_mut().unwrap() = Script::new();
        let remotes = Remote::several(&scripts);
        let system = System::direct("turns", &dns, &remotes[0]);
        one_message(&system, "x@example.net");
        for expected in attempts {
            system.accept(&["-q"], "");
            let sessions: Vec<usize> = remotes.iter().map(|r| r.sessions().len()).collect();
            assert_eq!(sessions, *expected, "{zone}");
        }
        assert!(system.queue().is_empty(), "{zone}: {:?}", system.queue());
        assert_eq!(remotes.last().unwrap().received().len(), 1, "{zone}");
    }
}
