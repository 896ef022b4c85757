//! Servers that are rude to a client: they close at any octet, flood, trickle, and say one thing and then another.
//! Whatever they do, the client ends in time and holds little; nobody is failed who was not refused, nobody counts as
//! delivered who was not accepted, and who was accepted does not get the message again.

use std::io::{BufReader, Read};
use std::net::TcpStream;
use std::time::Instant;

use super::*;

/// More connections than a client makes for two letters.
const CONNECTIONS: usize = 4;

/// What a server has seen in all its connections.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Seen {
    /// Messages that came with their end mark.
    messages: usize,
    /// Of these, those whose answer was said to its end.
    answered: usize,
    /// Octets that it has said in its first connection.
    said: usize,
}

/// A server that says its lines one by one, each when the client has said something, and behind 354 when a message has
/// come. It closes when it has said so many octets in its first connection; whoever comes again is served.
struct Closing {
    script: &'static [&'static str],
    /// How many octets it will still say.
    room: usize,
    seen: Seen,
}

impl Closing {
    fn start(mut self) -> (u16, JoinHandle<Seen>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let thread = thread::spawn(move || {
            let room = self.room;
            for number in 0..CONNECTIONS {
                let stream = listener.accept().unwrap().0;
                self.converse(&stream);
                if number == 0 {
                    self.seen.said = room - self.room;
                }
                self.room = usize::MAX;
            }
            self.seen
        });
        (port, thread)
    }

    /// Whether it was said to its end.
    fn say(&mut self, mut stream: &TcpStream, text: &str) -> bool {
        let part = text.get(..text.len().min(self.room)).unwrap();
        self.room -= part.len();
        stream.write_all(part.as_bytes()).is_ok() && part.len() == text.len()
    }

    fn converse(&mut self, stream: &TcpStream) {
        let mut reader = BufReader::new(stream);
        let mut in_message = false;
        for (number, reply) in self.script.iter().enumerate() {
            let mut heard = Vec::new();
            let end: &[u8] = if in_message { b"\r\n.\r\n" } else { b"\r\n" };
            while number > 0 && !heard.ends_with(end) {
                if !matches!(reader.read_until(b'\n', &mut heard), Ok(1..)) {
                    return;
                }
            }
            self.seen.messages += usize::from(in_message);
            let whole = self.say(stream, &format!("{reply}\r\n"));
            self.seen.answered += usize::from(in_message && whole && reply.starts_with('2'));
            if !whole {
                return;
            }
            in_message = reply.starts_with("354");
        }
    }
}

/// Two letters to such a server: their outcomes, and what it has seen.
fn two_letters(
    script: &'static [&'static str],
    recipients: usize,
    room: usize,
) -> (Vec<String>, Seen) {
    let seen = Seen::default();
    let (port, thread) = Closing { script, room, seen }.start();
    let mut case = case();
    (case.letters, case.recipients) = (2, recipients);
    let (outcomes, _) = case.play_at(port);
    // Those that the client did not need.
    for _ in 0..CONNECTIONS {
        drop(TcpStream::connect(("127.0.0.1", port)));
    }
    (outcomes, thread.join().unwrap())
}

#[rustfmt::skip]
const PLAIN: &[&str] = &[
    "220 mx", "250-mx\r\n250 SIZE", "250 ok", "250 ok", "354 go", "250 2.0.0 as 1",
    "250 ok", "250 ok", "354 go", "250 2.0.0 as 2", "221 bye",
];
/// A server without EHLO, which refuses one of two.
#[rustfmt::skip]
const REFUSING: &[&str] = &[
    "220 mx", "500 what", "250 mx", "250 ok", "550 5.1.1 who", "250 ok", "354 go", "250-2.0.0 as\r\n250 2.0.0 1",
    "250 ok", "550 5.1.1 who", "250 ok", "354 go", "250-2.0.0 as\r\n250 2.0.0 2", "221 bye",
];

/// A server that closes at any octet of what it says: each letter has its outcome, and each answer to a message that
/// came to its end counts for one of them, and no other.
#[test]
fn a_server_may_close_at_every_octet() {
    for (script, recipients) in [(PLAIN, 1), (REFUSING, 2)] {
        let all: usize = script.iter().map(|line| line.len() + 2).sum();
        for room in 0..=all {
            let (outcomes, seen) = two_letters(script, recipients, room);
            let words = format!("{room} octets: {outcomes:?}, {seen:?}");
            let count = |sign| outcomes.iter().filter(|o| o.starts_with(sign)).count();
            // Without a connection, the one outcome is that of all.
            let before = outcomes.len() == 1;
            assert!(before || outcomes.len() == 2 * recipients, "{words}");
            assert!(!before || outcomes[0].starts_with('~'), "{words}");
            let refused = outcomes.iter().filter(|o| *o == "! 550 5.1.1 who");
            assert_eq!(count('!'), refused.count(), "{words}");
            assert_eq!(count('='), seen.answered, "{words}");
            // The one whose answer broke off may be sent again; it is not, here.
            assert!(seen.messages <= 2 && seen.said <= room, "{words}");
            if room == all {
                assert_eq!((seen.answered, seen.messages), (2, 2), "{words}");
            }
        }
    }
}

/// Where a server may begin to be rude, as scripts for [`Case::play`], and what a client waits for there.
#[rustfmt::skip]
const STEPS: &[(&str, &str)] = &[
    ("", "greeting"),
    ("220 mx|EHLO|", "EHLO"),
    ("220 mx|EHLO|500 what|HELO|", "HELO"),
    ("220 mx|EHLO|250 mx|MAIL|", "after MAIL"),
    ("220 mx|EHLO|250 mx|MAIL|250 ok|RCPT|", "after RCPT"),
    ("220 mx|EHLO|250 mx|MAIL|250 ok|RCPT|250 ok|DATA|", "after DATA"),
    ("220 mx|EHLO|250 mx|MAIL|250 ok|RCPT|250 ok|DATA|354 go|(message)|", "after the end of the message"),
    ("220 mx|EHLO|250 mx|MAIL|250 ok|RCPT|250 ok|DATA|354 go|(message)|250 2.0.0 as 1|QUIT|", ""),
];

/// What a server does to its client.
type Rude = fn(&mut Wire);

/// Goes through the steps and then lets a server be rude, which returns when the client has gone. The outcome is right by
/// `is_right`, which is told the place, too, unless the message was accepted before; it comes within `limit`.
fn at_each_step(
    change: fn(&mut Case<'_>),
    rude: Rude,
    limit: Duration,
    is_right: &dyn Fn(&str, &str) -> bool,
) {
    for (steps, place) in STEPS {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let mut wire = Wire::accepted(listener.accept().unwrap().0, Duration::from_secs(30));
            for step in steps.split_terminator('|') {
                follow(&mut wire, step, &mut Vec::new(), None);
            }
            rude(&mut wire);
        });
        let mut case = case();
        change(&mut case);
        let begun = Instant::now();
        let (outcomes, _) = case.play_at(port);
        assert!(begun.elapsed() < limit, "{place}: {:?}", begun.elapsed());
        if place.is_empty() {
            assert_eq!(outcomes, ["= 250 2.0.0 as 1"]);
        } else {
            assert!(is_right(&outcomes[0], place), "{place}: {outcomes:?}");
        }
        server.join().unwrap();
    }
}

/// Says the same until the client is gone, a gigabyte at most; it must be gone long before.
fn flood(wire: &mut Wire, text: &[u8]) {
    let mut said = 0;
    while said < 1 << 30 && wire.write_all(text).is_ok() && wire.flush().is_ok() {
        said += text.len();
    }
    // What the systems' buffers hold, and some.
    assert!(said < 64 << 20, "{said} octets were taken");
}

#[test]
fn a_gigabyte_of_reply_is_cut_off() {
    let minute = Duration::from_secs(60);
    let floods: [(Rude, &str); 3] = [
        (
            |wire| flood(wire, &[b'2'; 1 << 16]),
            "has a line of more than 16,384 octets",
        ),
        (
            |wire| flood(wire, &b"250-x\r\n".repeat(9000)),
            "has more than 100 lines",
        ),
        (
            |wire| {
                flood(
                    wire,
                    format!("250-{}\r\n", "x".repeat(1500))
                        .repeat(40)
                        .as_bytes(),
                )
            },
            "is longer than 65,536 octets",
        ),
    ];
    for (rude, expected) in floods {
        at_each_step(|_| {}, rude, minute, &|outcome, place| {
            is_deferred(outcome, place) && outcome.contains(expected)
        });
    }
    // Whole replies without an end: one more than was asked for is one too many. What takes the message has taken it.
    at_each_step(
        |_| {},
        |wire| flood(wire, &b"250 ok\r\n".repeat(9000)),
        minute,
        &|outcome, place| match place {
            "after the end of the message" => outcome == "= 250 2.0.0 ok",
            _ => outcome.starts_with("~ 4.5.0 ") && outcome.contains("broke the protocol"),
        },
    );
}

/// Deferred, and where it happened.
fn is_deferred(outcome: &str, place: &str) -> bool {
    outcome.starts_with("~ 4.") && outcome.contains(place)
}

/// An octet now and then moves no deadline, wherever it is; nor does a server that says nothing.
#[test]
fn a_trickle_is_waited_for_no_longer_than_silence() {
    let short = |case: &mut Case<'_>| {
        let soon = Duration::from_millis(60);
        case.timeouts = case.timeouts.capped(soon, soon);
    };
    let trickle = |wire: &mut Wire| {
        let begun = Instant::now();
        // Ten octets come within each deadline.
        for octet in b"250-x\r\n".iter().cycle() {
            if begun.elapsed().as_secs() > 20
                || wire.write_all(&[*octet]).is_err()
                || wire.flush().is_err()
            {
                break;
            }
            thread::sleep(Duration::from_millis(6));
        }
    };
    let silent = |wire: &mut Wire| drop(wire.read_to_end(&mut Vec::new()));
    let no_answer = |outcome: &str, place: &str| {
        is_deferred(outcome, place) && outcome.contains("no answer within 0 seconds")
    };
    at_each_step(short, silent, Duration::from_secs(20), &no_answer);
    at_each_step(short, trickle, Duration::from_secs(20), &no_answer);
}

/// A server that says one thing and then another: only the first answer to what was asked counts, and behind a doubt
/// nothing more is sent to it.
#[test]
fn a_server_may_change_its_mind() {
    #[rustfmt::skip]
    let rows: &[Row] = &[
        (&["=220 mx\r\n421 4.3.2 no\r\n|(wait)"], &["~ 4.5.0 EHLO: the server broke the protocol: it answered what was not asked"]),
        (&["220-mx|421 4.3.2 no|(wait)"], &["~ 4.5.0 waiting for the greeting: the server's answer changes its mind between its lines; does the port want tls = \"implicit\"?"]),
        (&["220 mx|EHLO|250-mx|=550 no\r\n|(wait)"], &["~ 4.5.0 EHLO: the server's answer changes its mind between its lines"]),
        (&["220 mx|EHLO|250 mx|MAIL|=250 ok\r\n550 no\r\n|(wait)"], &["~ 4.5.0 the server broke the protocol: it answered what was not asked"]),
        (&["220 mx|EHLO|250 mx|MAIL|250 ok|RCPT|=250 ok\r\n550 5.1.1 who\r\n|(wait)"], &["~ 4.5.0 the server broke the protocol: it answered what was not asked"]),
        (&["220 mx|EHLO|250 mx|MAIL|250 ok|RCPT|250 ok|DATA|421 4.3.2 bye"], &["~ 421 4.3.2 bye"]),
        (&["220 mx|EHLO|250 mx|MAIL|250 ok|RCPT|250 ok|DATA|=354 go\r\n554 no\r\n|(wait)"], &["~ 4.5.0 the server broke the protocol: it answered what was not asked"]),
        // What it has taken it has, whatever it says behind.
        (&["220 mx|EHLO|250 mx|MAIL|250 ok|RCPT|250 ok|DATA|354 go|(message)|=250 2.0.0 as 1\r\n554 5.7.1 spam\r\n|(wait)"], &["= 250 2.0.0 as 1"]),
        (&["220 mx|EHLO|250 mx|MAIL|250 ok|RCPT|250 ok|DATA|354 go|(message)|250-2.0.0 as 1|=550 no\r\n|(wait)"], &["~ 4.5.0 after the end of the message: the server's answer changes its mind between its lines; it may have the message"]),
        (&["220 mx|EHLO|250 mx|MAIL|250 ok|RCPT|250 ok|DATA|354 go|(message)|354 more|(wait)"], &["~ 4.5.0 the server broke the protocol: it answered the end of the message with 354 more; it may have the message"]),
        (&["220 mx|EHLO|250 mx|MAIL|354 go|(wait)"], &["~ 4.5.0 the server broke the protocol: it answered MAIL with 354 go"]),
    ];
    check(&case(), rows);
}

#[test]
fn a_message_has_a_time_as_a_whole() {
    let seconds = Duration::from_secs;
    let block = seconds(180);
    // Octets sent, seconds passed; seconds for the next block.
    let rows = [
        (0, 0, 180),
        (0, 100, 80),
        (4096, 100, 88),
        (4096, 188, 0),
        (1 << 20, 100, 180),
        (1 << 20, 2270, 7),
        (1 << 30, 2270, 180),
        (u64::MAX, 3600, 180),
    ];
    for (sent, passed, expected) in rows {
        let found = left(block, sent, seconds(passed));
        assert_eq!(found.as_secs(), expected, "{sent} in {passed}");
        assert!(!found.is_zero());
    }
}
