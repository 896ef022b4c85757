//! What clients send to the server.

use std::io::{self, Read, Write};

use super::{Pieces, choice, is_canonical};
use crate::flow::receive::{Accept, Ended, Stream, serve};
use crate::proto::address::{Domain, Mailbox, ReversePath};
use crate::proto::authenticate::{Credentials, Exchange, Mechanism, Turn, challenge};
use crate::proto::command::{Command, Grammar};
use crate::proto::envelope::{Envelope, Recipient};
use crate::proto::parameters::Offered;
use crate::proto::proxy;
use crate::proto::replies::{self, Reply};
use crate::proto::scram::Verifier;
use crate::proto::session::{Policy, Session, Settings};
use crate::proto::transaction::Transaction;

/// Of "pencil".
const VERIFIER: &str = "4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
/// The longest message.
const SIZE: u64 = 10_000;

fn hostname() -> Domain {
    Domain::parse("mx.test.example").unwrap()
}

/// A command line: what it names can be written down, and is read again as the same.
pub fn command(octets: &[u8]) {
    let (flags, line) = choice(octets);
    let on = |bit: u8| flags & (1 << bit) != 0;
    let grammar = Grammar {
        hostname: hostname(),
        qualify: on(0),
        offered: Offered {
            smtputf8: on(1),
            dsn: on(2),
            auth: on(3),
            requiretls: on(4),
        },
    };
    match Command::parse(line, &grammar) {
        Err(reply) => assert!(matches!(reply.code(), 500..=555), "{reply:?}"),
        Ok(Command::Mail(sender, parameters)) => {
            if let ReversePath::Mailbox(mailbox) = &sender {
                assert_eq!(Mailbox::parse(&mailbox.to_string()).as_ref(), Ok(mailbox));
            }
            let envid = parameters.envid.unwrap_or_default();
            assert!(envid.bytes().all(|b| b.is_ascii_graphic()) && envid.len() <= 100);
        }
        Ok(Command::Rcpt(rcpt)) => {
            let address = &rcpt.recipient.address;
            assert_eq!(Mailbox::parse(&address.to_string()).as_ref(), Ok(address));
            let orcpt = rcpt.recipient.orcpt.unwrap_or_default();
            assert!(!orcpt.contains(|c: char| c.is_control() || c.is_whitespace()));
        }
        Ok(Command::Ehlo(name) | Command::Helo(name) | Command::Lhlo(name)) => {
            let name = name.as_str();
            assert!(!name.is_empty() && name.len() <= 255 && !name.contains(['(', ')', ' ']));
        }
        Ok(_) => {}
    }
}

/// A whole session, fed in pieces: every reply is one, no message is left open, and only what was ended by the one
/// end mark is accepted.
pub fn session(octets: &[u8]) {
    let (flags, rest) = choice(octets);
    let (pieces, input) = choice(rest);
    let on = |bit: u8| flags & (1 << bit) != 0;
    let mechanisms = [Mechanism::Plain, Mechanism::Login, Mechanism::ScramSha256];
    let mut session = Session::new(Settings {
        hostname: hostname(),
        lmtp: on(0),
        qualify: on(1),
        size_limit: SIZE,
        smtputf8: !on(2),
        dsn: !on(2),
        starttls: on(3),
        tls: on(4),
        tls_required: on(3) && on(5),
        mechanisms: if on(6) {
            mechanisms.to_vec()
        } else {
            Vec::new()
        },
        auth_in_clear: on(7),
        auth_required: on(5) && on(6),
        max_recipients: 5,
        max_errors: 10,
    });
    let mut peer = Peer {
        input,
        pieces: Pieces::new(pieces),
        said: Vec::new(),
    };
    let mut world = World { may_relay: on(1) };
    let mut store = Store {
        fails: on(5),
        ..Store::default()
    };
    while let Ok(Ended::StartTls) = serve(&mut peer, &mut session, &mut world, &mut store) {
        session.tls_started();
    }
    assert!(store.coming.is_none(), "a message was left open");
    let ends = input
        .windows(4)
        .filter(|w| w[1..] == *b".\r\n" && w[0] == b'\n');
    assert!(store.accepted <= ends.count(), "a message without an end");
    check_replies(&peer.said);
}

fn check_replies(said: &[u8]) {
    let said = std::str::from_utf8(said).expect("a reply is ASCII");
    assert!(said.is_empty() || said.ends_with("\r\n"), "{said:?}");
    for line in said.split_terminator("\r\n") {
        let (code, rest) = line.split_at(3);
        let code: u16 = code.parse().expect("a reply has a code");
        assert!((200..=599).contains(&code), "{line:?}");
        assert!(
            rest.starts_with([' ', '-']) && line.len() <= 510,
            "{line:?}"
        );
        assert!(
            line.is_ascii() && !line.contains(|c: char| c.is_control()),
            "{line:?}"
        );
    }
}

struct Peer<'a> {
    input: &'a [u8],
    pieces: Pieces,
    said: Vec<u8>,
}

impl Stream for Peer<'_> {}

impl Read for Peer<'_> {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        let most = self.pieces.next().min(block.len());
        self.input.read(&mut block[..most])
    }
}

impl Write for Peer<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.said.write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct World {
    may_relay: bool,
}

impl Policy for World {
    fn space(&mut self, octets: u64) -> Result<(), Reply> {
        if octets == 7777 {
            Err(replies::NO_SPACE)
        } else {
            Ok(())
        }
    }

    fn sender(&mut self, transaction: &Transaction) -> Result<(), Reply> {
        assert!(transaction.recipients.is_empty());
        Ok(())
    }

    fn recipient(&mut self, _: &Transaction, recipient: &Recipient) -> Result<(), Reply> {
        let local = recipient.address.domain().as_str() == "test.example";
        if local || self.may_relay {
            Ok(())
        } else {
            Err(replies::NO_RELAY)
        }
    }

    fn authenticate(&mut self, credentials: &Credentials) -> Result<(), Reply> {
        check_name(&credentials.user);
        assert!(!credentials.password.is_empty());
        match credentials.password.as_slice() {
            b"secret" => Ok(()),
            _ => Err(replies::AUTH_FAILED),
        }
    }

    fn verifier(&mut self, user: &str) -> Result<(Verifier, String), Reply> {
        check_name(user);
        Ok((Verifier::parse(VERIFIER).unwrap(), "nonce".to_owned()))
    }
}

fn check_name(user: &str) {
    assert!(!user.is_empty() && !user.contains(|c: char| c.is_control()));
}

#[derive(Default)]
struct Store {
    fails: bool,
    coming: Option<(Transaction, Vec<u8>)>,
    accepted: usize,
}

impl Accept for Store {
    fn begin(&mut self, transaction: &Transaction) -> Result<(), Reply> {
        assert!(self.coming.is_none() && !transaction.recipients.is_empty());
        if self.fails && transaction.accepted > 1 {
            return Err(replies::CANNOT_STORE);
        }
        self.coming = Some((transaction.clone(), Vec::new()));
        Ok(())
    }

    fn write(&mut self, octets: &[u8]) -> Result<(), Reply> {
        let (_, text) = self.coming.as_mut().expect("only between begin and commit");
        text.extend_from_slice(octets);
        if self.fails && text.len() > 100 {
            Err(replies::CANNOT_STORE)
        } else {
            Ok(())
        }
    }

    fn commit(&mut self) -> Result<String, Reply> {
        let (transaction, text) = self.coming.take().expect("only after begin");
        assert!(
            is_canonical(&text) && text.len() as u64 <= SIZE,
            "{}",
            text.escape_ascii()
        );
        // What is written into the spool is read as what it was.
        let envelope = transaction.envelope(0, "192.0.2.1");
        let head = format!(
            "{}{}\n",
            envelope.to_text(),
            crate::proto::envelope::Facts::default().line()
        );
        let read = Envelope::parse(head.as_bytes()).map(|parsed| parsed.envelope);
        assert_eq!(read, Ok(envelope));
        self.accepted += 1;
        Ok("ID".to_owned())
    }

    fn abort(&mut self) {
        self.coming.take().expect("nothing is aborted twice");
    }
}

/// The lines of an AUTH exchange, as a client makes them or not.
pub fn auth(octets: &[u8]) {
    let (flags, input) = choice(octets);
    let mechanism = match flags & 3 {
        0 => Mechanism::Plain,
        1 => Mechanism::Login,
        _ => Mechanism::ScramSha256,
    };
    let mut lines = input.split(|b| *b == b'\n');
    let initial = if flags & 4 == 0 { lines.next() } else { None };
    let initial = initial.map(|line| String::from_utf8_lossy(line));
    let mut turn = Exchange::begin(mechanism, initial.as_deref());
    // However long a client goes on, there is an end to it.
    for _ in 0..5 {
        turn = match turn {
            Err(reply) => return assert!(matches!(reply.code(), 501 | 535), "{reply:?}"),
            Ok(Turn::Check(credentials)) => {
                check_name(&credentials.user);
                return assert!(!credentials.password.is_empty());
            }
            Ok(Turn::Proved(user, right)) => return assert!(!right || user == "user", "{user}"),
            Ok(Turn::LookUp(first)) => {
                check_name(&first.user);
                Ok(challenge(
                    first,
                    Verifier::parse(VERIFIER).unwrap(),
                    "nonce",
                ))
            }
            Ok(Turn::Ask(text, exchange)) => {
                assert!(text.len() <= 500 && text.bytes().all(|b| b.is_ascii_graphic()));
                let Some(line) = lines.next() else { return };
                exchange.answer(line)
            }
        };
    }
    panic!("an exchange without an end");
}

/// A PROXY header: what follows it changes nothing of what it says, and it is bounded.
pub fn proxy(octets: &[u8]) {
    match proxy::parse(octets) {
        Ok(Some((source, length))) => {
            assert!(length <= octets.len());
            let again = proxy::parse(&octets[..length]);
            assert_eq!(again, Ok(Some((source, length))));
            for cut in 0..length {
                assert_eq!(proxy::parse(&octets[..cut]), Ok(None), "{cut}");
            }
        }
        Ok(None) => assert!(octets.len() < 2100, "it waits for ever"),
        Err(_) => {}
    }
}
