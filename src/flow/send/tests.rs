//! Transactions with scripted servers: every reply and every drop at every step, and each recipient's outcome.

mod rude;

use super::super::connect::Proof;
use super::super::dialogue::Dead;
use super::*;
use crate::config::{Login, Password, Tls};
use crate::host::tls::Clients;
use crate::host::tls::testing::{Authority, Server};
use crate::proto::address::{Domain, Mailbox, ReversePath};
use crate::proto::envelope::{Facts, Recipient};
use crate::proto::outcome::Verdict;
use crate::proto::sasl::Mechanism;
use std::io::BufRead;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex};
use std::thread::{self, JoinHandle};

/// A server that follows a script, connection by connection. The steps of a script are divided by "|":
///
/// - what begins with a digit is said, with a line end; what begins with "=" is said as it is
/// - "(message)" reads to the final dot; "(some)" reads a part of a message
/// - "(TLS)" does a handshake; "(wait)" reads until the client goes
/// - all else is the beginning of a line that the client must say
///
/// At its end the connection is closed. It tells all lines and messages that it has read.
fn serve(scripts: &[&str], server: Option<Server>) -> (u16, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let scripts: Vec<String> = scripts.iter().map(|s| (*s).to_owned()).collect();
    let thread = thread::spawn(move || {
        let mut heard = Vec::new();
        for script in scripts {
            let stream = listener.accept().unwrap().0;
            let mut wire = Wire::accepted(stream, Duration::from_secs(30));
            for step in script.split('|') {
                follow(&mut wire, step, &mut heard, server.as_ref());
            }
        }
        heard
    });
    (port, thread)
}

fn follow(wire: &mut Wire, step: &str, heard: &mut Vec<String>, server: Option<&Server>) {
    let mut line = Vec::new();
    match step {
        "(TLS)" => {
            // The client may not like the certificate.
            let _ = wire.start_tls(server.unwrap().session());
        }
        "(wait)" => drop(io::copy(wire, &mut io::sink())),
        "(some)" => assert!(!wire.fill_buf().unwrap().is_empty()),
        "(message)" => {
            while !line.ends_with(b"\r\n.\r\n") && line != b".\r\n" {
                assert_ne!(wire.read_until(b'\n', &mut line).unwrap(), 0);
            }
            heard.push(String::from_utf8_lossy(&line).into_owned());
        }
        said if said.starts_with(|c: char| c.is_ascii_digit()) => {
            wire.write_all(format!("{said}\r\n").as_bytes()).unwrap();
            wire.flush().unwrap();
        }
        said if said.starts_with('=') => {
            wire.write_all(said.get(1..).unwrap().as_bytes()).unwrap();
            wire.flush().unwrap();
        }
        expected => {
            wire.read_until(b'\n', &mut line).unwrap();
            let line = String::from_utf8(line).unwrap();
            assert!(line.starts_with(expected), "{line:?} instead of {expected}");
            heard.push(line.trim_end().to_owned());
        }
    }
}

/// What a case may change.
struct Case<'c> {
    tls: Tls,
    ca_file: Option<Temporary>,
    fingerprint: Option<[u8; 32]>,
    server: Option<Server>,
    login: Option<Login>,
    recipients: usize,
    letters: usize,
    message: &'c [u8],
    facts: Facts,
    /// The message cannot be read beyond its text.
    unreadable: bool,
    hostname: &'c str,
    timeouts: Timeouts,
}

fn case() -> Case<'static> {
    Case {
        tls: Tls::None,
        ca_file: None,
        fingerprint: None,
        server: None,
        login: None,
        recipients: 1,
        letters: 1,
        message: b"Subject: x\r\n\r\n.text\r\n",
        facts: Facts::default(),
        unreadable: false,
        hostname: "pi.example",
        timeouts: Timeouts {
            quit: Duration::from_secs(30),
            ..Timeouts::default()
        },
    }
}

struct Played {
    /// By letter and recipient: "=" delivered, "~" deferred, "!" failed, and the words.
    outcomes: Vec<String>,
    /// What the server heard.
    heard: Vec<String>,
    /// What -v shows.
    trace: String,
}

impl Case<'_> {
    fn play(&self, scripts: &[&str]) -> Played {
        let (port, thread) = serve(scripts, self.server.clone());
        let (outcomes, trace) = self.play_at(port);
        let heard = thread.join().unwrap();
        Played {
            outcomes,
            heard,
            trace,
        }
    }

    /// With the server at this port: outcomes, and what -v shows.
    fn play_at(&self, port: u16) -> (Vec<String>, String) {
        let hostname = Domain::parse(self.hostname).unwrap();
        let (clients, trace) = (Clients::new(), Mutex::new(String::new()));
        let dead = Dead::default();
        let show = |line: &str| {
            let mut trace = trace.lock().unwrap();
            trace.push_str(line);
            trace.push('\n');
        };
        let outgoing = Outgoing {
            hostname: &hostname,
            timeouts: self.timeouts,
            tls: &clients,
            dead: &dead,
            trace: Some(&show),
        };
        let target = Target {
            host: "127.0.0.1".into(),
            port,
            lmtp: false,
            addresses: None,
            bind: &[],
            tls: self.tls,
            verify: true,
            ca_file: self.ca_file.as_ref().map(|file| file.0.as_path()),
            fingerprint: self.fingerprint,
            login: self.login.as_ref(),
            proof: Proof::Nothing,
        };
        let outcomes = self.outcomes(target, &outgoing);
        let trace = trace.lock().unwrap().clone();
        let words = outcomes.iter().map(|o| {
            let sign = match o.verdict {
                Verdict::Delivered => "=",
                Verdict::Deferred => "~",
                Verdict::Failed | Verdict::Expanded => "!",
            };
            format!("{sign} {}", o.words())
        });
        (words.collect(), trace)
    }

    fn outcomes(&self, target: Target<'_>, outgoing: &Outgoing<'_>) -> Vec<Outcome> {
        let mut connection = match Connection::open(target, outgoing) {
            Ok(connection) => connection,
            Err(outcome) => return vec![outcome],
        };
        let sender = ReversePath::Mailbox(Mailbox::parse("a@b.example").unwrap());
        let numbers = 1..=self.recipients;
        let addresses = numbers.map(|n| Mailbox::parse(&format!("r{n}@c.example")).unwrap());
        let recipients: Vec<Recipient> = addresses.map(Recipient::plain).collect();
        let letter = Letter {
            sender: &sender,
            recipients: &recipients.iter().collect::<Vec<_>>(),
            facts: self.facts,
            smtputf8: false,
            requiretls: false,
            ret: None,
            envid: None,
        };
        let mut outcomes = Vec::new();
        for _ in 0..self.letters {
            outcomes.extend(connection.deliver(
                &letter,
                &mut |take| {
                    for chunk in self.message.chunks(5000) {
                        take(chunk)?;
                    }
                    if self.unreadable {
                        return Err(io::Error::other("its checksum is wrong"));
                    }
                    Ok(())
                },
                None,
            ));
        }
        if connection.is_usable() {
            connection.close();
        }
        outcomes
    }
}

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
        (&["421 4.3.2 busy|QUIT|221 bye"], &["~ 421 4.3.2 greeting: busy"]),
        (&["554 no|QUIT|221 bye"], &["~ 554 4.0.0 greeting: no"]),
        (&["521 5.3.2 never|QUIT"], &["~ 521 4.3.2 greeting: never"]),
        (&["220|EHLO pi.example|250|MAIL|550 no|QUIT|221"], &["! 550 5.0.0 no"]),
        // K3, K6, K10 and a drop before the greeting.
        (&["=2"], &["~ 4.4.1 waiting for the greeting: the server closed the connection; does the port want tls = \"implicit\"?"]),
        (&["=abc\r\n|(wait)"], &["~ 4.5.0 waiting for the greeting: the server's answer does not begin with three digits; does the port want tls = \"implicit\"?"]),
        // K36.
        (&["220 PI.example ESMTP|QUIT|221 bye"], &["~ 4.4.6 the server greets as pi.example, which is this machine: the mail would go in a circle; set hostname or host to another name"]),
        // K4: HELO.
        (&["220 mx|EHLO pi.example|502 what|HELO pi.example|250 mx|MAIL FROM:<a@b.example>|550 no|QUIT|221 bye"], &["! 550 5.0.0 no"]),
        (&["220 mx|EHLO|500 what|HELO|500 what|QUIT|221 bye"], &["~ 500 4.0.0 HELO: what"]),
        (&["220 mx|EHLO|550 5.7.1 go away|QUIT|221 bye"], &["~ 550 4.7.1 EHLO: go away"]),
        (&["220 mx|EHLO|421 bye|QUIT"], &["~ 421 4.0.0 EHLO: bye"]), // K15
        (&["220 mx|EHLO"], &["~ 4.4.2 EHLO: the server closed the connection"]),
        (&["220 mx|EHLO|250-mx|=250-SI"], &["~ 4.4.2 EHLO: the server closed the connection"]),
        // K11: a reply nobody asked for.
        (&["=220 mx\r\n250 mx\r\n|(wait)"], &["~ 4.5.0 EHLO: the server broke the protocol: it answered what was not asked"]),
    ];

#[test]
fn nothing_before_mail_fails_a_recipient() {
    check(&case(), BEFORE_MAIL);
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
        (&["220 mx|EHLO|250 mx|MAIL|250 ok|RCPT|250 ok|DATA|354 go|(message)"], &["~ 4.4.2 after the end of the message: the server closed the connection"]),
        (&["220 mx|EHLO|250 mx|MAIL|250 ok|RCPT|250 ok|DATA|354 go|(message)|=250 2.0.0 as"], &["~ 4.4.2 after the end of the message: the server closed the connection"]),
        // K11, K50: out of step.
        (&["220 mx|EHLO|250 mx|MAIL|=250 ok\r\n250 ok\r\n|(wait)"], &["~ 4.5.0 the server broke the protocol: it answered what was not asked"]),
        (&["220 mx|EHLO|250 mx|MAIL|250 ok|RCPT|250 ok|DATA|=354 go\r\n250 ok\r\n|(wait)"], &["~ 4.5.0 the server broke the protocol: it answered what was not asked"]),
        (&["220 mx|EHLO|250 mx|MAIL|250 ok|RCPT|250 ok|DATA|250 ok|(wait)"], &["~ 4.5.0 the server broke the protocol: it answered DATA with 250 ok"]),
        // K51: nobody accepted, and DATA granted.
        (&["220 mx|EHLO|250-mx|250 PIPELINING|MAIL|RCPT|DATA|250 ok|550 5.1.1 who|354 go|(message)|250 ok|QUIT|221 bye"], &["! 550 5.1.1 who"]),
        // K8, K7: words that would be more than words.
        (&["220 mx|EHLO|250 mx|MAIL|550-no\u{1b}[2J|550 T root@x\t!|QUIT|221 bye"], &["! 550 5.0.0 no [2J T root@x !"]),
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
    for (mut case, begin) in [(case(), ""), (safe(Tls::Implicit), "(TLS)|")] {
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
fn many_letters_and_recipients_go_over_one_connection() {
    let one = "MAIL|RCPT|DATA|250 ok|250 ok|354 go|(message)|250 2.0.0 as 1";
    let mut case = case();
    case.letters = 3;
    let script = format!("220 mx|EHLO|250-mx|250 PIPELINING|{one}|{one}|{one}|QUIT|221 bye");
    assert_eq!(case.play(&[&script]).outcomes, ["= 250 2.0.0 as 1"; 3]);
    // A transaction in which nobody was accepted is reset before the next one.
    case.letters = 2;
    let script = "220 mx|EHLO|250 mx|MAIL|250 ok|RCPT|550 no|RSET|250 ok|MAIL|250 ok|RCPT|550 no|QUIT|221 bye";
    assert_eq!(case.play(&[script]).outcomes, ["! 550 5.0.0 no"; 2]);
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
        ["= 250 2.0.0 as 1", "~ 421 4.3.2 greeting: busy"]
    );
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
            "~ 4.4.2 after the end of the message: no answer within 0 seconds",
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
            bind: &[],
            port,
            tls: Tls::Implicit,
            verify: true,
            ca_file: None,
            fingerprint: None,
            login: None,
            proof: Proof::Nothing,
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

/// A file that goes with its test.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// An authority, and a good server of its own.
static SAFE: LazyLock<(Authority, Server)> = LazyLock::new(|| {
    let authority = Authority::new();
    let server = authority.server("127.0.0.1", 2090);
    (authority, server)
});

fn safe(tls: Tls) -> Case<'static> {
    let mut case = case();
    case.tls = tls;
    case.fingerprint = Some(SAFE.1.fingerprint);
    case.server = Some(SAFE.1.clone());
    case
}

/// As [`safe`], with the authority trusted instead of the certificate.
fn safe_by_authority(tls: Tls) -> Case<'static> {
    let name = format!("minimta-{}-{tls:?}.pem", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, &SAFE.0.pem).unwrap();
    let mut case = safe(tls);
    case.fingerprint = None;
    case.ca_file = Some(Temporary(path));
    case
}

const REST: &str = "MAIL|250 ok|RCPT|250 ok|DATA|354 go|(message)|250 2.0.0 as 1|QUIT|221 bye";

#[test]
fn mail_goes_through_tls_as_it_is_asked_to() {
    let implicit = format!("(TLS)|220 mx|EHLO|250 mx|{REST}");
    assert_eq!(
        safe(Tls::Implicit).play(&[&implicit]).outcomes,
        ["= 250 2.0.0 as 1"]
    );
    // What was offered in the clear is forgotten.
    let upgraded = format!(
        "220 mx|EHLO|250-mx|250-PIPELINING|250 STARTTLS|STARTTLS|220 go|(TLS)|EHLO|250 mx|{REST}"
    );
    for tls in [Tls::Starttls, Tls::Opportunistic] {
        assert_eq!(safe(tls).play(&[&upgraded]).outcomes, ["= 250 2.0.0 as 1"]);
    }
    let plain = format!("220 mx|EHLO|250-mx|250 STARTTLS|{REST}");
    assert_eq!(
        safe(Tls::None).play(&[&plain]).outcomes,
        ["= 250 2.0.0 as 1"]
    );
    let plain = format!("220 mx|EHLO|250 mx|{REST}");
    assert_eq!(
        safe(Tls::Opportunistic).play(&[&plain]).outcomes,
        ["= 250 2.0.0 as 1"]
    );
}

#[test]
fn without_the_tls_that_is_required_nothing_is_sent() {
    // K25, K28, K1; and a port that wants TLS or does not.
    let rows: &[(Tls, &str, &str)] = &[
        (
            Tls::Starttls,
            "220 mx|EHLO|250 mx|QUIT|221 bye",
            "~ 4.7.4 the server does not offer STARTTLS",
        ),
        (
            Tls::Starttls,
            "220 mx|EHLO|502 no|QUIT|221 bye",
            "~ 502 4.0.0 EHLO: no",
        ), // K4
        (
            Tls::Starttls,
            "220 mx|EHLO|250-mx|250 STARTTLS|STARTTLS|454 4.7.0 ill|QUIT|221 bye",
            "~ 454 4.7.0 STARTTLS: ill",
        ),
        (
            Tls::Starttls,
            "220 mx|EHLO|250-mx|250 STARTTLS|STARTTLS|220 go|(some)",
            "~ 4.7.0 TLS failed: it closed the connection during the handshake",
        ),
        // An alert "protocol version" of TLS 1.0.
        (
            Tls::Starttls,
            "220 mx|EHLO|250-mx|250 STARTTLS|STARTTLS|220 go|(some)|=\u{15}\u{3}\u{1}\0\u{2}\u{2}\u{46}|(wait)",
            "~ 4.7.0 TLS failed: it refused the handshake",
        ),
        (
            Tls::Starttls,
            "220 mx|EHLO|250-mx|250 STARTTLS|STARTTLS|=220 go\r\n250 fake\r\n|(wait)",
            "~ 4.7.0 TLS failed: more was sent in the clear than was asked for",
        ),
        (
            Tls::Implicit,
            "220 mx|(wait)",
            "~ 4.7.0 TLS failed: it does not answer with TLS; is the port right",
        ),
    ];
    for (tls, script, expected) in rows {
        let played = safe(*tls).play(&[script]);
        assert!(
            played.outcomes[0].starts_with(expected),
            "{:?}",
            played.outcomes
        );
    }
}

#[test]
fn opportunistic_tls_goes_on_without() {
    let begin = "220 mx|EHLO|250-mx|250 STARTTLS|STARTTLS";
    // K28: on the same connection when the server says that it cannot.
    let refused = format!("{begin}|454 ill|{REST}");
    assert_eq!(
        safe(Tls::Opportunistic).play(&[&refused]).outcomes,
        ["= 250 2.0.0 as 1"]
    );
    // K25: on a new one after a broken handshake.
    let broken = format!("{begin}|220 go");
    let clear = format!("220 mx|EHLO|250-mx|250 STARTTLS|{REST}");
    assert_eq!(
        safe(Tls::Opportunistic).play(&[&broken, &clear]).outcomes,
        ["= 250 2.0.0 as 1"]
    );
    // Any certificate will do.
    let mut other = safe(Tls::Opportunistic);
    other.server = Some(Authority::new().server("elsewhere.example", 2001));
    let script = format!("{begin}|220 go|(TLS)|EHLO|250 mx|{REST}");
    assert_eq!(other.play(&[&script]).outcomes, ["= 250 2.0.0 as 1"]);
}

fn login(mechanism: Option<Mechanism>) -> Option<Login> {
    Some(Login {
        user: "me".to_owned(),
        password: Password::Command(["printf", "sesame\\n"].map(str::to_owned).to_vec()),
        mechanism,
    })
}

#[test]
fn the_password_goes_only_to_whom_it_belongs() {
    let mut case = safe_by_authority(Tls::Implicit);
    case.login = login(None);
    let script = format!("(TLS)|220 mx|EHLO|250-mx|250 AUTH PLAIN|AUTH|235 ok|{REST}");
    assert_eq!(case.play(&[&script]).outcomes, ["= 250 2.0.0 as 1"]);
    // K26: a certificate for another name, of another authority, of the past.
    let wrong = [
        SAFE.0.server("elsewhere.example", 2090),
        SAFE.0.server("127.0.0.1", 2001),
        Authority::new().server("127.0.0.1", 2090),
    ];
    for server in wrong {
        case.server = Some(server);
        let played = case.play(&["(TLS)"]);
        assert!(
            played.outcomes[0].starts_with("~ 4.7.0 TLS failed: "),
            "{:?}",
            played.outcomes
        );
        assert_eq!(played.heard, [""; 0]);
    }
    // Nor in the clear to another machine, or to just anybody who does TLS: see proto/sasl.rs, choose().
}

#[test]
fn a_login_that_fails_defers() {
    const HELLO: &str = "(TLS)|220 mx|EHLO|250-mx|250 AUTH PLAIN LOGIN CRAM-MD5";
    let plain = "AUTH PLAIN AG1lAHNlc2FtZQ==";
    let rows: &[(Option<Mechanism>, String, &str)] = &[
        (
            None,
            format!("{HELLO}|{plain}|235 ok|{REST}"),
            "= 250 2.0.0 as 1",
        ),
        (
            Some(Mechanism::Login),
            format!(
                "{HELLO}|AUTH LOGIN|334 VXNlcm5hbWU6|bWU=|334 UGFzc3dvcmQ6|c2VzYW1l|235 ok|{REST}"
            ),
            "= 250 2.0.0 as 1",
        ),
        (
            Some(Mechanism::CramMd5),
            format!("{HELLO}|AUTH CRAM-MD5|334 PHg+|bWUg|235 ok|{REST}"),
            "= 250 2.0.0 as 1",
        ),
        // K12.
        (
            None,
            format!("{HELLO}|{plain}|535 5.7.8 wrong|QUIT|221 bye"),
            "~ 535 4.7.8 AUTH PLAIN as me: wrong",
        ),
        (
            None,
            format!("{HELLO}|{plain}|454 4.7.0 ill|QUIT|221 bye"),
            "~ 454 4.7.0 AUTH PLAIN as me: ill",
        ),
        (
            None,
            format!("{HELLO}|{plain}|535 not AG1lAHNlc2FtZQ== nor sesame|QUIT|221 bye"),
            "~ 535 4.0.0 AUTH PLAIN as me: not ... nor ...",
        ),
        (
            None,
            format!("{HELLO}|{plain}|334 x|QUIT|221 bye"),
            "~ 4.7.0 AUTH PLAIN: the server goes on asking when everything is said",
        ),
        (
            Some(Mechanism::Login),
            format!("{HELLO}|AUTH LOGIN|334 x|bWU=|334 x|c2VzYW1l|334 x|QUIT|221 bye"),
            "~ 4.7.0 AUTH LOGIN: the server goes on asking",
        ),
        (
            Some(Mechanism::CramMd5),
            format!("{HELLO}|AUTH CRAM-MD5|334 %|QUIT|221 bye"),
            "~ 4.7.0 AUTH CRAM-MD5: the server sent a challenge that is not base64",
        ),
        (
            None,
            format!("{HELLO}|{plain}"),
            "~ 4.4.2 AUTH PLAIN: the server closed the connection",
        ),
        (
            Some(Mechanism::Xoauth2),
            format!("{HELLO}|QUIT|221 bye"),
            "~ 4.7.0 cannot log in as me: the server offers AUTH with PLAIN, LOGIN, CRAM-MD5, and not XOAUTH2",
        ),
        (
            None,
            "(TLS)|220 mx|EHLO|250 mx|QUIT|221 bye".to_owned(),
            "~ 4.7.0 cannot log in as me: the server offers no AUTH",
        ),
        (
            None,
            "(TLS)|220 mx|EHLO|502 no|QUIT|221 bye".to_owned(),
            "~ 502 4.0.0 EHLO: no",
        ), // K4
    ];
    for (mechanism, script, expected) in rows {
        let mut case = safe(Tls::Implicit);
        case.login = login(*mechanism);
        let played = case.play(&[script]);
        assert!(
            played.outcomes[0].starts_with(expected),
            "{:?}",
            played.outcomes
        );
        for secret in ["sesame", "AG1lAHNlc2FtZQ", "c2VzYW1l", "bWUg"] {
            assert!(!format!("{:?}", played.outcomes).contains(secret));
            let shown = played.trace.lines().filter(|l| l.starts_with('>')); // not what the server quotes
            assert!(
                !shown.collect::<String>().contains(secret),
                "{}",
                played.trace
            );
        }
    }
    let mut case = safe(Tls::Implicit);
    case.login = login(None);
    if let Some(login) = &mut case.login {
        login.password = Password::File("/nowhere/password".into());
    }
    let played = case.play(&[&format!("{HELLO}|QUIT|221 bye")]);
    assert_eq!(
        played.outcomes,
        ["~ 4.3.5 cannot read password_file /nowhere/password: no such file or directory"]
    );
}

#[test]
fn the_dialogue_is_shown_without_the_password() {
    let mut case = safe(Tls::Implicit);
    case.login = login(None);
    let script = format!("(TLS)|220 mx|EHLO|250-mx|250 AUTH PLAIN|AUTH|235 2.7.0 ok|{REST}");
    let trace = case.play(&[&script]).trace;
    let expected = "= TLS begins\n< 220 mx\n> EHLO pi.example\n< 250-mx\n< 250 AUTH PLAIN\n> AUTH PLAIN ...\n\
                        < 235 2.7.0 ok\n> MAIL FROM:<a@b.example>\n< 250 ok\n> RCPT TO:<r1@c.example>\n< 250 ok\n> DATA\n\
                        < 354 go\n> (the message)\n> .\n< 250 2.0.0 as 1\n> QUIT\n< 221 bye\n";
    assert!(trace.ends_with(expected), "{trace}");
}
