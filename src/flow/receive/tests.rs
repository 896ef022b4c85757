//! The transcripts of `tests/dialogs` against the whole session, whole, octet by octet and cut at every place; and
//! inputs that nobody would send in good faith.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::Path;
use std::rc::Rc;

use super::transcript::{Step, Transcript, all, matches};
use super::*;
use crate::proto::address::Domain;
use crate::proto::authenticate::{Credentials, Mechanism};
use crate::proto::envelope::Recipient;
use crate::proto::scram::Verifier;
use crate::proto::session::Settings;

/// The world of a transcript: who is here, and what is allowed.
struct World {
    relay: bool,
    space: u64,
}

/// Messages: accepted ones, and one that is coming.
#[derive(Default)]
struct Store {
    accepted: Vec<(Transaction, Vec<u8>)>,
    coming: Option<(Transaction, Vec<u8>)>,
}

impl Policy for World {
    fn space(&mut self, octets: u64) -> Result<(), Reply> {
        if octets > self.space {
            Err(replies::NO_SPACE)
        } else {
            Ok(())
        }
    }

    fn sender(&mut self, _: &Transaction) -> Result<(), Reply> {
        Ok(())
    }

    fn recipient(&mut self, _: &Transaction, recipient: &Recipient) -> Result<(), Reply> {
        let (local, domain) = (recipient.address.local(), recipient.address.domain());
        let here = matches!(domain.as_str(), "test.example" | "mx.test.example");
        let known = local == "alice" || local.eq_ignore_ascii_case("postmaster");
        match (here, known) {
            (true, true) => Ok(()),
            (true, false) => Err(replies::NO_SUCH_USER),
            (false, _) if self.relay => Ok(()),
            (false, _) => Err(replies::NO_RELAY),
        }
    }

    fn authenticate(&mut self, credentials: &Credentials) -> Result<(), Reply> {
        match (credentials.user.as_str(), credentials.password.as_slice()) {
            ("alice", b"secret") => Ok(()),
            _ => Err(replies::AUTH_FAILED),
        }
    }

    fn verifier(&mut self, user: &str) -> Result<(Verifier, String), Reply> {
        // The example of RFC 7677 3.
        let pencil = "4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
        let verifier = Verifier::parse(pencil).expect("it is one");
        let nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".to_owned();
        match user {
            "user" => Ok((verifier, nonce)),
            _ => Ok((verifier.decoy(b"seed", user), nonce)),
        }
    }
}

/// The disk of a [`World`].
struct Disk {
    fail: String,
    store: Rc<RefCell<Store>>,
}

impl Accept for Disk {
    fn begin(&mut self, transaction: &Transaction) -> Result<(), Reply> {
        let mut store = self.store.borrow_mut();
        assert!(store.coming.is_none(), "begun twice");
        if self.fail == "begin" {
            return Err(replies::NO_SPACE);
        }
        store.coming = Some((transaction.clone(), Vec::new()));
        Ok(())
    }

    fn write(&mut self, octets: &[u8]) -> Result<(), Reply> {
        if self.fail == "write" {
            return Err(replies::NO_SPACE);
        }
        let mut store = self.store.borrow_mut();
        store
            .coming
            .as_mut()
            .expect("begun")
            .1
            .extend_from_slice(octets);
        Ok(())
    }

    fn commit(&mut self) -> Result<String, Reply> {
        let mut store = self.store.borrow_mut();
        let message = store.coming.take().expect("begun");
        if self.fail == "commit" {
            return Err(replies::CANNOT_STORE);
        }
        store.accepted.push(message);
        Ok(format!("ID{}", store.accepted.len()))
    }

    fn abort(&mut self) {
        self.store.borrow_mut().coming.take().expect("begun");
    }
}

fn settings(transcript: &Transcript) -> Settings {
    let is = |name| transcript.setting(name).is_some();
    let number = |name: &str, default: u64| {
        let value = transcript.setting(name);
        value.map_or(default, |v| v.parse().unwrap())
    };
    let submission = is("submission");
    let auth = is("auth") || submission;
    Settings {
        hostname: Domain::parse("mx.test.example").unwrap(),
        lmtp: is("lmtp"),
        qualify: is("local"),
        size_limit: number("size", 1_000_000),
        smtputf8: !is("plain"),
        dsn: !is("plain"),
        starttls: is("starttls") || submission,
        tls: false,
        tls_required: submission,
        mechanisms: if is("scram") {
            vec![Mechanism::ScramSha256, Mechanism::Plain]
        } else if auth {
            vec![Mechanism::Plain, Mechanism::Login]
        } else {
            Vec::new()
        },
        auth_in_clear: is("auth") || is("scram"),
        auth_required: submission,
        max_recipients: usize::try_from(number("recipients", 1000)).unwrap(),
        max_errors: u32::try_from(number("errors", 10)).unwrap(),
    }
}

/// How the client's octets are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// As the transcript has them, each when the replies before it have come.
    AsWritten,
    /// So, but each read brings one octet.
    Octets,
    /// All at once, with one cut.
    At(usize),
}

/// The client's end of a stream: it plays the transcript when the server wants to read.
struct Player {
    steps: VecDeque<(usize, Step)>,
    cut: Cut,
    /// Sent by the client, not read by the server.
    sent: VecDeque<u8>,
    /// With [`Cut::At`]: what is sent after that.
    later: Vec<u8>,
    /// Said by the server, not looked at.
    said: String,
    store: Rc<RefCell<Store>>,
    failure: Option<String>,
}

impl Player {
    fn new(transcript: &Transcript, cut: Cut, store: Rc<RefCell<Store>>) -> Self {
        let mut steps: VecDeque<(usize, Step)> = transcript.steps.clone().into();
        let mut sent = Vec::new();
        let mut later = Vec::new();
        if let Cut::At(at) = cut {
            sent = transcript.input();
            later = sent.split_off(at);
            // What is true in the middle cannot be looked at there: only the state at the end.
            let last = steps.iter().rposition(|(_, s)| matches!(s, Step::Send(_)));
            let mut index = 0;
            steps.retain(|(_, step)| {
                index += 1;
                match step {
                    Step::Send(_) => false,
                    Step::Line(_) | Step::Rest => true,
                    _ => last.is_none_or(|last| index > last),
                }
            });
        }
        Self {
            steps,
            cut,
            sent: sent.into(),
            later,
            said: String::new(),
            store,
            failure: None,
        }
    }

    fn fail(&mut self, line: usize, what: &str) {
        let failure = format!("line {line}: {what}");
        self.failure.get_or_insert(failure);
        self.steps.clear();
    }

    /// Looks at everything up to the next octets to send.
    fn look(&mut self) {
        while let Some((line, step)) = self.steps.front().cloned() {
            if matches!(step, Step::Send(_) | Step::Eof | Step::Close) {
                return;
            }
            self.steps.pop_front();
            if let Err(what) = self.check(&step) {
                self.fail(line, &what);
            }
        }
    }

    fn check(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Line(pattern) => {
                let line = self
                    .said_line()
                    .ok_or(format!("{pattern:?} was not said"))?;
                if !matches(pattern, &line) {
                    return Err(format!("{pattern:?} was to be said, not {line:?}"));
                }
            }
            Step::Rest => loop {
                let line = self.said_line().ok_or("the reply has no last line")?;
                if line.as_bytes().get(3) == Some(&b' ') {
                    return Ok(());
                }
            },
            _ => return self.check_store(step),
        }
        Ok(())
    }

    fn check_store(&self, step: &Step) -> Result<(), String> {
        let store = self.store.borrow();
        if let Step::Mail(count) = step {
            let found = store.accepted.len();
            return if found == *count {
                Ok(())
            } else {
                Err(format!("{found} were accepted"))
            };
        }
        let (transaction, body) = store.accepted.last().ok_or("no message was accepted")?;
        let recipients = transaction.recipients.iter().map(|r| r.address.to_string());
        let (found, expected) = match step {
            Step::From(from) => (transaction.sender.to_string(), from.clone()),
            Step::To(to) => (recipients.collect::<Vec<_>>().join(" "), to.join(" ")),
            Step::Body(text) => (
                body.escape_ascii().to_string(),
                text.escape_ascii().to_string(),
            ),
            _ => return Ok(()),
        };
        if found == expected {
            Ok(())
        } else {
            Err(format!("found {found}"))
        }
    }

    fn said_line(&mut self) -> Option<String> {
        let end = self.said.find("\r\n")?;
        let line = self.said.drain(..end + 2);
        line.as_str().strip_suffix("\r\n").map(str::to_owned)
    }

    /// Everything that is left to look at once the session has ended.
    fn finish(&mut self, ended: Ended) -> Result<(), String> {
        self.look();
        match self.steps.pop_front() {
            Some((line, Step::Send(_))) => self.fail(line, "the server closed before this"),
            Some((line, Step::Close)) if ended != Ended::HungUp => {
                self.fail(line, "the server did not close");
            }
            None if ended != Ended::Gone => self.fail(0, "the server closed"),
            _ => {}
        }
        self.look();
        if !self.said.is_empty() && self.failure.is_none() {
            self.failure = Some(format!("at the end: {:?} was said", self.said));
        }
        if self.store.borrow().coming.is_some() {
            self.failure = Some("a half message was left".to_owned());
        }
        self.failure.take().map_or(Ok(()), Err)
    }
}

impl Stream for Player {}

impl Read for Player {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        if self.sent.is_empty() && self.cut != Cut::AsWritten {
            self.sent.extend(std::mem::take(&mut self.later));
        }
        if self.sent.is_empty() && !matches!(self.cut, Cut::At(_)) {
            self.look();
            match self.steps.front().cloned() {
                Some((_, Step::Send(_))) => {
                    // What stands between two replies is one segment.
                    while let Some((_, Step::Send(octets))) = self.steps.front().cloned() {
                        self.sent.extend(octets);
                        self.steps.pop_front();
                    }
                }
                Some((line, Step::Close)) => self.fail(line, "the server did not close"),
                _ => {}
            }
        }
        let most = if self.cut == Cut::Octets {
            1
        } else {
            block.len()
        };
        let count = self.sent.len().min(most);
        for (place, octet) in block.iter_mut().zip(self.sent.drain(..count)) {
            *place = octet;
        }
        Ok(count)
    }
}

impl Write for Player {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.said
            .push_str(std::str::from_utf8(octets).expect("a reply is ASCII"));
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn play(transcript: &Transcript, cut: Cut) -> Result<(), String> {
    let store = Rc::new(RefCell::new(Store::default()));
    let fail = transcript.setting("fail").unwrap_or_default();
    let space = transcript.setting("space");
    let mut world = World {
        relay: transcript.setting("relay").is_some(),
        space: space.map_or(u64::MAX, |s| s.parse().unwrap()),
    };
    let mut disk = Disk {
        fail: fail.to_owned(),
        store: Rc::clone(&store),
    };
    let mut session = Session::new(settings(transcript));
    let mut player = Player::new(transcript, cut, store);
    loop {
        let ended = serve(&mut player, &mut session, &mut world, &mut disk);
        match ended.expect("the player never fails") {
            // The handshake is left out; what follows is what comes inside TLS.
            Ended::StartTls => session.tls_started(),
            ended => return player.finish(ended),
        }
    }
}

fn transcripts() -> Vec<(String, Transcript)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogs");
    let found = all(&folder);
    assert!(found.len() > 30, "{} transcripts", found.len());
    let name = |path: &Path| path.strip_prefix(&folder).unwrap().display().to_string();
    found
        .into_iter()
        .map(|(path, transcript)| (name(&path), transcript))
        .collect()
}

/// Plays every transcript in these ways and reports all that went wrong.
fn play_all(ways: impl Fn(&Transcript) -> Vec<Cut>) {
    let mut failures = Vec::new();
    for (name, transcript) in transcripts() {
        let mut ways = ways(&transcript).into_iter();
        let failure = ways.find_map(|cut| Some((cut, play(&transcript, cut).err()?)));
        failures.extend(failure.map(|(cut, what)| format!("{name} ({cut:?}), {what}")));
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn every_transcript_holds() {
    play_all(|_| vec![Cut::AsWritten]);
}

#[test]
fn every_transcript_holds_octet_by_octet() {
    play_all(|t| {
        if t.as_written {
            Vec::new()
        } else {
            vec![Cut::Octets]
        }
    });
}

/// B30: the same replies and the same text, wherever the network cuts the stream.
#[test]
fn pipelined_transcripts_hold_with_a_cut_at_every_place() {
    play_all(|t| {
        if t.pipelined {
            (0..=t.input().len()).map(Cut::At).collect()
        } else {
            Vec::new()
        }
    });
}

/// A stream that gives some octets, then fails.
struct Failing<'a> {
    input: &'a [u8],
    read: ErrorKind,
    write: Option<ErrorKind>,
    said: Vec<u8>,
}

impl Stream for Failing<'_> {}

impl Read for Failing<'_> {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        match self.input.read(block)? {
            0 => Err(self.read.into()),
            count => Ok(count),
        }
    }
}

impl Write for Failing<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self.write {
            Some(kind) => Err(kind.into()),
            None => self.said.write(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A14, A39, B24: silence is told, anything else is not, and nothing is kept of a message.
#[test]
fn a_stream_that_fails_leaves_nothing() {
    let message = "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<alice@test.example>\r\nDATA\r\ntext\r\n.";
    let rows = [
        ("", ErrorKind::WouldBlock, None, Ok(Ended::TimedOut)),
        ("EHLO", ErrorKind::TimedOut, None, Ok(Ended::TimedOut)),
        (message, ErrorKind::WouldBlock, None, Ok(Ended::TimedOut)),
        (
            message,
            ErrorKind::ConnectionReset,
            None,
            Err(ErrorKind::ConnectionReset),
        ),
        (
            message,
            ErrorKind::TimedOut,
            Some(ErrorKind::BrokenPipe),
            Err(ErrorKind::BrokenPipe),
        ),
    ];
    for (input, read, write, expected) in rows {
        let store = Rc::new(RefCell::new(Store::default()));
        let mut stream = Failing {
            input: input.as_bytes(),
            read,
            write,
            said: Vec::new(),
        };
        let mut session = Session::new(settings(&Transcript::default()));
        let mut world = World {
            relay: false,
            space: u64::MAX,
        };
        let mut disk = Disk {
            fail: String::new(),
            store: Rc::clone(&store),
        };
        let ended = serve(&mut stream, &mut session, &mut world, &mut disk);
        assert_eq!(ended.map_err(|e| e.kind()), expected, "{input:?}");
        let said = String::from_utf8(stream.said).unwrap();
        let told = said.ends_with("421 4.4.2 timed out; closing\r\n");
        assert_eq!(told, expected == Ok(Ended::TimedOut), "{said}");
        let store = store.borrow();
        assert!(store.coming.is_none() && store.accepted.is_empty());
    }
}

/// Replies go out when there is nothing more to answer, not one by one (R129).
#[test]
fn replies_of_a_group_are_written_at_once() {
    struct Counting<'a>(&'a [u8], usize);
    impl Stream for Counting<'_> {}

    impl Read for Counting<'_> {
        fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
            self.0.read(block)
        }
    }
    impl Write for Counting<'_> {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.1 += 1;
            Ok(octets.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let input = "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<alice@test.example>\r\nDATA\r\n.\r\nQUIT\r\n";
    let mut stream = Counting(input.as_bytes(), 0);
    let mut session = Session::new(settings(&Transcript::default()));
    let mut world = World {
        relay: false,
        space: 0,
    };
    let mut disk = Disk {
        fail: String::new(),
        store: Rc::default(),
    };
    let ended = serve(&mut stream, &mut session, &mut world, &mut disk);
    assert_eq!(ended.unwrap(), Ended::HungUp);
    // The greeting before the first read, all up to the message's answer, and QUIT's.
    assert_eq!(stream.1, 3);
}

/// Pieces of sessions, put together at random: nothing of it may stop the server, leave half a message, or
/// make it say what is no reply. The same seed always, so that a fault comes again.
#[test]
fn no_input_breaks_the_session() {
    const PIECES: &[&[u8]] = &[
        b"EHLO x\r\n",
        b"LHLO x\r\n",
        b"MAIL FROM:<a@b.example>",
        b"MAIL FROM:<> SIZE=9 BODY=8BITMIME\r\n",
        b"RCPT TO:<alice@test.example>\r\n",
        b"RCPT TO:<\"a\\",
        b" ORCPT=rfc822;+41 NOTIFY=NEVER",
        b"DATA\r\n",
        b"text\r\n",
        b".\r\n",
        b"..",
        b"\r\n.\r\n",
        b"\r",
        b"\n",
        b"\0",
        b"\xff\xc3\xa9",
        b"<@a,@b:c@d>",
        b"[IPv6:::1]",
        b"=+,;:<>@\"\\ ",
        b"AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n",
        b"AUTH LOGIN\r\n",
        b"YWxpY2U=\r\n",
        b"STARTTLS\r\n",
        b"RSET\r\n",
        b"BDAT 1\r\n",
        &[b'x'; 3000],
    ];
    let mut seed = 0x9e37_79b9_u32;
    let mut random = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        usize::try_from(seed).unwrap() % below
    };
    for round in 0..3000 {
        let mut transcript = Transcript::default();
        for name in ["auth", "starttls", "lmtp", "local", "relay"] {
            if random(3) == 0 {
                transcript.settings.push((name.to_owned(), String::new()));
            }
        }
        let mut input = b"EHLO x\r\nMAIL FROM:<>\r\n".repeat(random(2));
        for _ in 0..random(40) {
            input.extend_from_slice(PIECES[random(PIECES.len())]);
        }
        let store = Rc::new(RefCell::new(Store::default()));
        let mut stream = Failing {
            input: &input,
            read: ErrorKind::ConnectionReset,
            write: None,
            said: Vec::new(),
        };
        let mut session = Session::new(settings(&transcript));
        let mut world = World {
            relay: transcript.setting("relay").is_some(),
            space: u64::MAX,
        };
        let mut disk = Disk {
            fail: String::new(),
            store: Rc::clone(&store),
        };
        while let Ok(Ended::StartTls) = serve(&mut stream, &mut session, &mut world, &mut disk) {
            session.tls_started();
        }
        assert!(store.borrow().coming.is_none(), "round {round}");
        let said = String::from_utf8(stream.said).unwrap();
        for line in said.split_terminator("\r\n") {
            let (code, rest) = line.split_at(3);
            assert!(code.parse::<u16>().is_ok(), "round {round}: {line:?}");
            let shape = rest.starts_with([' ', '-']) && line.len() <= 510;
            assert!(
                shape && !line.contains(char::is_control),
                "round {round}: {line:?}"
            );
        }
    }
}
