//! Transactions with scripted servers: every reply and every drop at every step, and each recipient's outcome.

mod rude;
mod script;
mod secure;

use super::super::connect::Proof;
use super::super::dialogue::{BROKEN, Dead, Timeouts};
use super::transact::{left, limit};
use super::*;
use crate::config::{Login, Password, Tls};
use crate::flow::stopping::InHand;
use crate::host::tls::testing::{Authority, Server};
use crate::host::tls::{Clients, Remedy};
use crate::host::wire::Wire;
use crate::proto::address::{Domain, Mailbox, ReversePath};
use crate::proto::client::Command;
use crate::proto::envelope::{Facts, Recipient};
use crate::proto::outcome::Verdict;
use crate::proto::sasl::Mechanism;
use std::io::{BufRead, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use script::*;

/// Scripts, one a connection, and outcomes.
type Row = (&'static [&'static str], &'static [&'static str]);

fn check(case: &Case<'_>, rows: &[Row]) {
    for (scripts, expected) in rows {
        let played = case.play(scripts);
        assert_eq!(played.outcomes, *expected, "{scripts:?}");
    }
}

#[rustfmt::skip]
    const BEFORE_MAIL: &[Row] = &[
        // K2: greetings.
        (&["421 4.3.2 busy|QUIT|221 bye"], &["~ 421 4.3.2 busy (at greeting)"]),
        (&["554 no|QUIT|221 bye"], &["~ 554 no (at greeting)"]),
        (&["521 5.3.2 never|QUIT"], &["~ 521 5.3.2 never (at greeting)"]),
        (&["220|EHLO pi.example|250|MAIL|550 no|QUIT|221"], &["! 550 no"]),
        // K3, K6, K10 and a drop before the greeting.
        (&["=2"], &["~ 4.4.1 waiting for the greeting: the server closed the connection; does the port want tls = \"implicit\"?"]),
        (&["=abc\r\n|(wait)"], &["~ 4.5.0 waiting for the greeting: the server's answer does not begin with three digits; does the port want tls = \"implicit\"?"]),
        // K36.
        (&["220 PI.example ESMTP|QUIT|221 bye"], &["~ 4.4.6 the server greets as pi.example, which is this machine: the mail would go in a circle; set hostname or host to another name"]),
        // K4: HELO.
        (&["220 mx|EHLO pi.example|502 what|HELO pi.example|250 mx|MAIL FROM:<a@b.example>|550 no|QUIT|221 bye"], &["! 550 no"]),
        (&["220 mx|EHLO|500 what|HELO|500 what|QUIT|221 bye"], &["~ 500 what (at HELO)"]),
        (&["220 mx|EHLO|550 5.7.1 go away|QUIT|221 bye"], &["~ 550 5.7.1 go away (at EHLO)"]),
        (&["220 mx|EHLO|421 bye|QUIT"], &["~ 421 bye (at EHLO)"]), // K15
        (&["220 mx|EHLO"], &["~ 4.4.2 EHLO: the server closed the connection"]),
        (&["220 mx|EHLO|250-mx|=250-SI"], &["~ 4.4.2 EHLO: the server closed the connection"]),
        // K11: a reply nobody asked for.
        (&["=220 mx\r\n250 mx\r\n|(wait)"], &["~ 4.5.0 EHLO: the server broke the protocol: it answered what was not asked"]),
    ];

#[test]
fn nothing_before_mail_fails_a_recipient() {
    check(&case(), BEFORE_MAIL);
    // What every machine may be called says nothing of who it is.
    for hostname in ["localhost", "localhost.localdomain"] {
        let mut unnamed = case();
        unnamed.hostname = hostname;
        let script = format!(
            "220 {hostname} ESMTP|EHLO|250 mx|MAIL|250 ok|RCPT|250 ok|DATA|354 go|(message)|250 2.0.0 as 1|QUIT|221 bye"
        );
        assert_eq!(unnamed.play(&[&script]).outcomes, ["= 250 2.0.0 as 1"]);
    }
    let lines = format!("220 mx|EHLO|={}|(wait)", "250-x\r\n".repeat(10_000)); // K5
    let played = case().play(&[&lines]);
    assert_eq!(
        played.outcomes,
        ["~ 4.5.0 EHLO: the server's answer has more than 100 lines"]
    );
    let line = format!("=220 {}|(wait)", "x".repeat(1_000_000)); // K6
    let played = case().play(&[&line]);
    assert!(
        played.outcomes[0].contains("has a line of more than 16,384 octets"),
        "{:?}",
        played.outcomes
    );
}

#[rustfmt::skip]
    const TRANSACTIONS: &[Row] = &[
        (&["220 mx|EHLO|250 mx|MAIL|250 ok|RCPT|250 ok|DATA|354 go|(message)|250 2.0.0 as 1|QUIT|221 bye"], &["= 250 2.0.0 as 1"]),
        (&["220 mx|EHLO|250-mx|250 PIPELINING|MAIL|RCPT|DATA|250 ok|250 ok|354 go|(message)|250 2.0.0 as 1|QUIT|221 bye"], &["= 250 2.0.0 as 1"]),
        // A drop at each step; after the dot, too (R111).
        (&["220 mx|EHLO|250 mx|MAIL"], &["~ 4.4.2 after MAIL: the server closed the connection"]),
        (&["220 mx|EHLO|250 mx|MAIL|250 ok|RCPT"], &["~ 4.4.2 after RCPT: the server closed the connection"]),
        (&["220 mx|EHLO|250 mx|MAIL|250 ok|RCPT|250 ok|DATA"], &["~ 4.4.2 after DATA: the server closed the connection"]),
        (&["220 mx|EHLO|250 mx|MAIL|250 ok|RCPT|250 ok|DATA|354 go|(message)"], &["~ 4.4.2 after the end of the message: the server closed the connection; it may have the message"]),
        (&["220 mx|EHLO|250 mx|MAIL|250 ok|RCPT|250 ok|DATA|354 go|(message)|=250 2.0.0 as"], &["~ 4.4.2 after the end of the message: the server closed the connection; it may have the message"]),
        // K11, K50: out of step.
        (&["220 mx|EHLO|250 mx|MAIL|=250 ok\r\n250 ok\r\n|(wait)"], &["~ 4.5.0 the server broke the protocol: it answered what was not asked"]),
        (&["220 mx|EHLO|250 mx|MAIL|250 ok|RCPT|250 ok|DATA|=354 go\r\n250 ok\r\n|(wait)"], &["~ 4.5.0 the server broke the protocol: it answered what was not asked"]),
        (&["220 mx|EHLO|250 mx|MAIL|250 ok|RCPT|250 ok|DATA|250 ok|(wait)"], &["~ 4.5.0 the server broke the protocol: it answered DATA with 250 ok"]),
        // K51: nobody accepted, and DATA granted.
        (&["220 mx|EHLO|250-mx|250 PIPELINING|MAIL|RCPT|DATA|250 ok|550 5.1.1 who|354 go|(message)|250 ok|QUIT|221 bye"], &["! 550 5.1.1 who"]),
        // K8, K7: words that would be more than words.
        (&["220 mx|EHLO|250 mx|MAIL|550-no\u{1b}[2J|550 T root@x\t!|QUIT|221 bye"], &["! 550 no [2J T root@x !"]),
        // K23.
        (&["220 mx|EHLO|250-mx|250 SIZE 10|QUIT|221 bye"], &["! 5.3.4 the message has 20 octets, and this host takes at most 10"]),
    ];

#[test]
fn every_way_a_transaction_ends_has_its_outcome() {
    let mut case = case();
    case.facts.size = 20;
    check(&case, TRANSACTIONS);
    let played = case.play(&[TRANSACTIONS[0].0[0]]);
    // K21: the dot is doubled, the end mark is there once.
    assert_eq!(played.heard[4], "Subject: x\r\n\r\n..text\r\n.\r\n");
    let played = case.play(&[TRANSACTIONS[10].0[0]]);
    assert_eq!(played.heard[4], ".\r\n");
}

#[test]
fn a_refusal_in_the_middle_of_the_message_is_read() {
    // K16, in the clear and inside TLS.
    let message = b"0123456789 0123456789 0123456789 0123456789\r\n".repeat(400_000);
    let data = "220 mx|EHLO|250 mx|MAIL|250 ok|RCPT|250 ok|DATA|354 go|(some)";
    for (mut case, begin) in [(case(), ""), (secure::safe(Tls::Implicit), "(TLS)|")] {
        case.message = &message;
        for (said, expected) in [
            ("|550 5.7.1 spam", "! 550 5.7.1 spam"),
            ("|451 4.3.0 ill", "~ 451 4.3.0 ill"),
            ("|421 4.3.2 bye", "~ 421 4.3.2 bye"),
            (
                "|250 2.0.0 ok",
                "~ 4.5.0 the server broke the protocol: it answered before the message was at its end",
            ),
            ("", "~ 4.4.2 in the message: the connection broke: "),
        ] {
            let played = case.play(&[&format!("{begin}{data}{said}")]);
            assert!(
                played.outcomes[0].starts_with(expected),
                "{:?}",
                played.outcomes
            );
        }
    }
}

#[test]
fn a_message_that_cannot_be_read_never_gets_its_dot() {
    let mut case = case();
    case.unreadable = true;
    let script = "220 mx|EHLO|250 mx|MAIL|250 ok|RCPT|250 ok|DATA|354 go|(wait)";
    let expected = "~ 4.3.0 the message cannot be read from the spool: its checksum is wrong; the connection was \
                        broken off before its end";
    assert_eq!(case.play(&[script]).outcomes, [expected]);
    // Where it has to be looked at first, nothing is said of it at all.
    case.facts.longest_line = 999;
    let expected = "~ 4.3.0 the message cannot be read from the spool: its checksum is wrong";
    assert_eq!(
        case.play(&["220 mx|EHLO|250 mx|QUIT|221 bye"]).outcomes,
        [expected]
    );
}

#[test]
fn a_message_the_server_could_not_take_is_converted() {
    // K22, and lines over 998 octets; what fits goes as it is.
    let long = format!("Subject: x\r\n\r\n{}\r\n", "x".repeat(1200));
    let rows: &[(&[u8], u64, bool, &str, bool)] = &[
        (
            "Subject: x\r\n\r\n\u{e9}\r\n".as_bytes(),
            2,
            true,
            "250 mx",
            true,
        ),
        (
            "Subject: x\r\n\r\n\u{e9}\r\n".as_bytes(),
            2,
            true,
            "250-mx|250 8BITMIME",
            false,
        ),
        (long.as_bytes(), 1200, false, "250-mx|250 8BITMIME", true),
    ];
    for (message, longest_line, eight_bit, hello, converted) in rows {
        let mut case = case();
        (case.message, case.facts.longest_line, case.facts.eight_bit) =
            (message, *longest_line, *eight_bit);
        let script = format!(
            "220 mx|EHLO|{hello}|MAIL|250 ok|RCPT|250 ok|DATA|354 go|(message)|250 ok|QUIT|221 bye"
        );
        let played = case.play(&[&script]);
        assert_eq!(played.outcomes, ["= 250 2.0.0 ok"]);
        let sent = &played.heard[4];
        assert_eq!(sent.contains("quoted-printable"), *converted, "{sent}");
        assert!(sent.lines().all(|line| line.len() <= 998) && sent.is_ascii() == *converted);
        let declared = played.heard[1].ends_with(" BODY=8BITMIME");
        assert_eq!(declared, *eight_bit && !converted);
    }
}

#[test]
fn what_is_declared_of_a_converted_message_is_its_new_size() {
    let text = format!("Subject: x\r\n\r\n{}\r\n", "\u{e9}".repeat(50));
    let mut case = case();
    case.message = text.as_bytes();
    (case.facts.size, case.facts.eight_bit) = (text.len() as u64, true);
    let script = "220 mx|EHLO|250-mx|250 SIZE 1000|MAIL|250 ok|RCPT|250 ok|DATA|354 go|(message)|250 ok|QUIT|221 bye";
    let played = case.play(&[script]);
    assert_eq!(played.outcomes, ["= 250 2.0.0 ok"]);
    let size = played.heard[4].len() - ".\r\n".len();
    assert!(size > 3 * 2 * 50, "{}", played.heard[4]);
    assert!(
        played.heard[1].ends_with(&format!(" SIZE={size}")),
        "{size} {}",
        played.heard[1]
    );
    // What was short enough before is too long for this server.
    let played = case.play(&["220 mx|EHLO|250-mx|250 SIZE 200|QUIT|221 bye"]);
    let expected =
        format!("! 5.3.4 the message has {size} octets, and this host takes at most 200");
    assert_eq!(played.outcomes, [expected]);
}

#[test]
fn many_letters_and_recipients_go_over_one_connection() {
    let one = "MAIL|RCPT|DATA|250 ok|250 ok|354 go|(message)|250 2.0.0 as 1";
    let mut case = case();
    case.letters = 3;
    let script = format!("220 mx|EHLO|250-mx|250 PIPELINING|{one}|{one}|{one}|QUIT|221 bye");
    assert_eq!(case.play(&[&script]).outcomes, ["= 250 2.0.0 as 1"; 3]);
    // A transaction in which nobody was accepted is reset before the next one.
    case.letters = 2;
    let script = "220 mx|EHLO|250 mx|MAIL|250 ok|RCPT|550 no|RSET|250 ok|MAIL|250 ok|RCPT|550 no|QUIT|221 bye";
    assert_eq!(case.play(&[script]).outcomes, ["! 550 no"; 2]);
    // K14: who is too many for one transaction goes with the next.
    case.letters = 1;
    case.recipients = 3;
    let script = "220 mx|EHLO|250-mx|250 PIPELINING|MAIL|RCPT TO:<r1|RCPT TO:<r2|RCPT TO:<r3|DATA|250 ok|250 ok|452 4.5.3 many|\
                      452 4.5.3 many|354 go|(message)|250 2.0.0 as 1|MAIL|RCPT TO:<r2|RCPT TO:<r3|DATA|250 ok|250 ok|\
                      452 4.5.3 many|354 go|(message)|250 2.0.0 as 2|MAIL|RCPT TO:<r3|DATA|250 ok|452 4.5.3 many|503 no|QUIT|221 bye";
    assert_eq!(
        case.play(&[script]).outcomes,
        ["= 250 2.0.0 as 1", "= 250 2.0.0 as 2", "~ 452 4.5.3 many"]
    );
}

/// Some servers take only so many messages over a connection, and say so to the next one. One that has taken none means us.
#[test]
fn a_server_that_has_had_enough_is_connected_to_anew() {
    let one = "MAIL|250 ok|RCPT|250 ok|DATA|354 go|(message)|250 2.0.0 as 1";
    let mut case = case();
    case.letters = 3;
    let first = format!("220 mx|EHLO|250 mx|{one}|MAIL|451 4.7.1 enough|QUIT|221 bye");
    let second = format!("220 mx|EHLO|250 mx|{one}|MAIL|451 4.7.1 enough|QUIT|221 bye");
    let third = "220 mx|EHLO|250 mx|MAIL|451 4.7.1 no|QUIT|221 bye";
    assert_eq!(
        case.play(&[&first, &second, third]).outcomes,
        ["= 250 2.0.0 as 1", "= 250 2.0.0 as 1", "~ 451 4.7.1 no"]
    );
    let never =
        "220 mx|EHLO|250 mx|MAIL|451 4.7.1 no|MAIL|451 4.7.1 no|MAIL|451 4.7.1 no|QUIT|221 bye";
    assert_eq!(case.play(&[never]).outcomes, ["~ 451 4.7.1 no"; 3]);
}

#[test]
fn an_idle_connection_found_closed_is_made_anew() {
    // K46: once closed in silence, once with 421; and one that is gone for good.
    let one = "220 mx|EHLO|250 mx|MAIL|250 ok|RCPT|250 ok|DATA|354 go|(message)|250 2.0.0 as 1";
    let mut case = case();
    case.letters = 2;
    let quit = format!("{one}|QUIT|221 bye");
    assert_eq!(case.play(&[one, &quit]).outcomes, ["= 250 2.0.0 as 1"; 2]);
    let idle = format!("{one}|MAIL|421 4.4.2 idle");
    assert_eq!(case.play(&[&idle, &quit]).outcomes, ["= 250 2.0.0 as 1"; 2]);
    let gone = [one, "421 4.3.2 busy|QUIT"];
    assert_eq!(
        case.play(&gone).outcomes,
        ["= 250 2.0.0 as 1", "~ 421 4.3.2 busy (at greeting)"]
    );
    // Nor is a server that cannot forget an earlier letter a reason to defer this one, whatever it says of it.
    for refused in [
        "220 mx|EHLO|250 mx|MAIL|250 ok|RCPT|550 no|RSET|502 what|QUIT",
        "220 mx|EHLO|250-mx|250 PIPELINING|MAIL|RCPT|DATA|250 ok|550 no|503 none|RSET|MAIL|RCPT|DATA|502 what|503 two|550 no|503 none",
    ] {
        let played = case.play(&[refused, &quit]);
        assert_eq!(played.outcomes, ["! 550 no", "= 250 2.0.0 as 1"]);
    }
    // A connection that breaks in the middle of a letter is made anew for the next.
    let broken = "220 mx|EHLO|250 mx|MAIL|250 ok|RCPT|250 ok|DATA";
    let played = case.play(&[broken, &quit]);
    assert_eq!(
        played.outcomes,
        [
            "~ 4.4.2 after DATA: the server closed the connection",
            "= 250 2.0.0 as 1"
        ]
    );
}

#[test]
fn a_silent_server_is_waited_for_as_long_as_each_step_allows() {
    const SOON: Duration = Duration::from_millis(50);
    let mail = "220 mx|EHLO|250 mx|MAIL";
    let dot = "220 mx|EHLO|250 mx|MAIL|250 ok|RCPT|250 ok|DATA|354 go|(message)";
    type Shorten = fn(&mut Timeouts);
    let rows: &[(Shorten, &str, &str)] = &[
        (
            |t| t.greeting = SOON,
            "(wait)",
            "~ 4.4.1 waiting for the greeting: no answer within 0 seconds",
        ), // K3
        (
            |t| t.opening = SOON,
            "(wait)",
            "~ 4.4.1 waiting for the greeting: the server took more than 0 minutes over all that comes before MAIL",
        ),
        (
            |t| t.opening = 20 * SOON,
            "220 mx|EHLO",
            "~ 4.4.2 EHLO: the server took more than 0 minutes over all that comes before MAIL",
        ),
        (
            |t| t.command = SOON,
            mail,
            "~ 4.4.2 after MAIL: no answer within 0 seconds",
        ),
        (
            |t| t.data = SOON,
            "220 mx|EHLO|250 mx|MAIL|250 ok|RCPT|250 ok|DATA",
            "~ 4.4.2 after DATA: no answer",
        ),
        (
            |t| t.dot = SOON,
            dot,
            "~ 4.4.2 after the end of the message: no answer within 0 seconds; it may have the message",
        ), // K19
    ];
    for (shorten, script, expected) in rows {
        let mut case = case();
        shorten(&mut case.timeouts);
        let played = case.play(&[&format!("{script}|(wait)")]);
        assert!(
            played.outcomes[0].starts_with(expected),
            "{:?}",
            played.outcomes
        );
    }
}

#[test]
fn a_host_that_is_not_there_defers() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let hostname = Domain::parse("pi.example").unwrap();
    let (clients, dead) = (Clients::new(), Dead::default());
    let outgoing = Outgoing {
        hostname: &hostname,
        timeouts: Timeouts::default(),
        tls: &clients,
        dead: &dead,
        trace: None,
        in_hand: InHand::default(),
    };
    for (host, enhanced, words) in [
        (
            "127.0.0.1",
            BROKEN.0,
            format!("cannot connect to 127.0.0.1 port {port}: connection refused"),
        ),
        (
            "[::ffff:127.0.0.1]",
            BROKEN.0,
            "connection refused".to_owned(),
        ),
        (
            "no such name",
            BROKEN.0,
            "cannot find the address of no such name".to_owned(),
        ), // K13
    ] {
        let target = Target {
            host: host.into(),
            lmtp: false,
            addresses: None,
            turn: 0,
            bind: &[],
            port,
            tls: Tls::Implicit,
            verify: true,
            ca_file: None,
            fingerprint: None,
            login: None,
            proof: Proof::Nothing,
            remedy: Remedy::Keys,
        };
        let Err(outcome) = Connection::open(target, &outgoing) else {
            panic!("{host} is there");
        };
        assert_eq!(
            (outcome.verdict, outcome.enhanced.0),
            (Verdict::Deferred, enhanced)
        );
        assert!(outcome.text.contains(&words), "{}", outcome.text);
    }
}

/// The time for recipients is over when the first one is answered: he gets the message, and the others wait.
#[test]
fn a_server_that_takes_its_time_is_named_no_more_recipients() {
    let mut case = case();
    case.recipients = 3;
    case.timeouts.recipients = Duration::ZERO;
    const SLOW: &str = "~ 4.4.5 the server took its time over the recipients before; the others are named at the next attempt";
    let rows: &[Row] = &[
        (
            &[
                "220 mx|EHLO|250 mx|MAIL|250 ok|RCPT TO:<r1@|250 ok|DATA|354 go|(message)|250 2.0.0 as 1|QUIT|221 bye",
            ],
            &["= 250 2.0.0 as 1", SLOW, SLOW],
        ),
        (
            &["220 mx|EHLO|250 mx|MAIL|250 ok|RCPT TO:<r1@|550 5.1.1 who|QUIT|221 bye"],
            &["! 550 5.1.1 who", SLOW, SLOW],
        ),
        // Too many at a time: no other transaction follows.
        (
            &[
                "220 mx|EHLO|250-mx|250 PIPELINING|MAIL|RCPT|RCPT|RCPT|DATA|250 ok|250 ok|452 4.5.3 many|452 4.5.3 many|354 go|(message)|250 2.0.0 as 1|QUIT|221 bye",
            ],
            &["= 250 2.0.0 as 1", "~ 452 4.5.3 many", "~ 452 4.5.3 many"],
        ),
    ];
    check(&case, rows);
}

/// What was sent at once has the time of its commands, and all of it no more than the whole has, and that of one command.
#[test]
fn commands_that_were_sent_together_share_a_bound() {
    let timeouts = Timeouts::default();
    let minute = Duration::from_secs(60);
    let now = Instant::now();
    let rows = [
        (now, now, Command::Rcpt(1), 5),
        (now, now, Command::Data, 2),
        (now - 20 * minute, now - 20 * minute, Command::Rcpt(1), 5),
        (now - 33 * minute, now - 33 * minute, Command::Rcpt(1), 2),
        (now - 60 * minute, now - 60 * minute, Command::Rcpt(1), 0),
        // Sent late, it has its own time all the same.
        (now - 60 * minute, now, Command::Data, 2),
        (now - 60 * minute, now, Command::Rcpt(1), 5),
        (now - 60 * minute, now - 60 * minute, Command::Dot, 10),
    ];
    for (begun, asked, command, minutes) in rows {
        let seconds = limit(command, &timeouts, begun, asked).as_secs_f64();
        assert!(
            (seconds / 60.0 - f64::from(minutes)).abs() < 0.5,
            "{command:?}: {seconds}"
        );
    }
}
