//! The transcripts of `tests/dialogs` against the whole session, whole, octet by octet and cut at every place; and
//! inputs that nobody would send in good faith.

mod player;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::Path;
use std::rc::Rc;

use player::*;

use super::transcript::{Step, Transcript, all, matches};
use super::*;
use crate::proto::address::Domain;
use crate::proto::authenticate::{Credentials, Mechanism};
use crate::proto::envelope::Recipient;
use crate::proto::scram::Verifier;
use crate::proto::session::Settings;

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
