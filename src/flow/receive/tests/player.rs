//! A transcript as it is played: the world that it tells of, and the client's end of the stream.

use super::*;

/// The world of a transcript: who is here, and what is allowed.
pub struct World {
    pub relay: bool,
    pub space: u64,
}

/// Messages: accepted ones, and one that is coming.
#[derive(Default)]
pub struct Store {
    pub accepted: Vec<(Transaction, Vec<u8>)>,
    pub coming: Option<(Transaction, Vec<u8>)>,
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
pub struct Disk {
    pub fail: String,
    pub store: Rc<RefCell<Store>>,
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

pub fn settings(transcript: &Transcript) -> Settings {
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
pub enum Cut {
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

pub fn play(transcript: &Transcript, cut: Cut) -> Result<(), String> {
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
