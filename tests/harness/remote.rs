//! A remote server that follows a script: what it answers to each step is a row, and it keeps what it was told.
//!
//! ```ignore
//! let remote = Remote::start(Script::new().on("RCPT TO:<bob@", "450 4.2.1 busy").once("DOT", Answer::Drop));
//! ```
//!
//! A step is a verb, the beginning of a command line, or one of `CONNECT`, `TLS`, `DOT`. Each connection has a
//! thread of its own that ends with it; every read has a limit.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::tls::{Acceptor, TlsStream};
use super::{Mail, disk};

/// What the server does at a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Sends a reply; lines are parted by `\n`.
    Reply(String),
    /// Sends a reply and closes.
    Last(String),
    /// Sends a reply after so long.
    Late(Duration, String),
    /// Closes without a word.
    Drop,
    /// Says nothing until the client goes.
    Silence,
    /// At `DATA`: says 354, reads so many octets of the message, sends this and closes.
    Interrupt(usize, String),
}

impl From<&str> for Answer {
    fn from(text: &str) -> Self {
        Self::Reply(text.to_owned())
    }
}

/// What a server offers and how it answers.
#[derive(Clone, Default)]
pub struct Script {
    keywords: Vec<String>,
    rules: Vec<Rule>,
    login: Option<(String, String)>,
    tls: Option<Acceptor>,
    implicit: bool,
    record: Option<PathBuf>,
}

#[derive(Clone)]
struct Rule {
    step: String,
    answer: Answer,
    left: usize,
}

impl Script {
    /// A server that takes everything and offers what servers of today offer.
    pub fn new() -> Self {
        let keywords = "PIPELINING,SIZE 30000000,8BITMIME,SMTPUTF8,ENHANCEDSTATUSCODES,DSN";
        Self::default().offers(keywords)
    }

    /// The EHLO keywords instead, parted by commas.
    pub fn offers(mut self, keywords: &str) -> Self {
        let all = keywords.split(',').filter(|k| !k.is_empty());
        self.keywords = all.map(str::to_owned).collect();
        self
    }

    /// One EHLO keyword more.
    pub fn also(mut self, keyword: &str) -> Self {
        self.keywords.push(keyword.to_owned());
        self
    }

    /// Answers so whenever the step comes; a later row goes before an earlier one.
    pub fn on(self, step: &str, answer: impl Into<Answer>) -> Self {
        self.times(usize::MAX, step, answer)
    }

    /// Answers so the first time the step comes, over all connections.
    pub fn once(self, step: &str, answer: impl Into<Answer>) -> Self {
        self.times(1, step, answer)
    }

    fn times(mut self, left: usize, step: &str, answer: impl Into<Answer>) -> Self {
        let (step, answer) = (step.to_owned(), answer.into());
        self.rules.push(Rule { step, answer, left });
        self
    }

    /// Wants this user and password, by any mechanism it offers with `also("AUTH ...")`.
    pub fn login(mut self, user: &str, password: &str) -> Self {
        self.login = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// Offers STARTTLS with this certificate.
    pub fn starttls(mut self, acceptor: Acceptor) -> Self {
        self.tls = Some(acceptor);
        self
    }

    /// Writes into this record (`MINIMTA_RECORD`) whom it has accepted a message for, before it says so.
    pub fn records(mut self, record: &Path) -> Self {
        self.record = Some(record.to_owned());
        self
    }

    /// Speaks TLS from the first octet.
    pub fn implicit(mut self, acceptor: Acceptor) -> Self {
        self.tls = Some(acceptor);
        self.implicit = true;
        self
    }
}

/// What a connection brought.
#[derive(Debug, Clone, Default)]
pub struct Session {
    /// The command lines, as they came.
    pub commands: Vec<String>,
    /// Whether its end was protected by TLS.
    pub tls: bool,
}

/// A message that was answered with 2xx.
#[derive(Debug, Clone)]
pub struct Received {
    /// The MAIL command.
    pub from: String,
    /// The RCPT commands that were answered with 2xx.
    pub to: Vec<String>,
    /// The message's octets, dots taken off.
    pub data: Vec<u8>,
}

impl Received {
    /// The message to look at.
    pub fn mail(&self) -> Mail {
        Mail::new(&self.data)
    }

    /// The recipients' addresses.
    pub fn recipients(&self) -> Vec<String> {
        let inside = |c: &String| {
            let path = c.split_once('<').map_or("", |(_, rest)| rest);
            path.rsplit_once('>').map_or(path, |(a, _)| a).to_owned()
        };
        self.to.iter().map(inside).collect()
    }
}

#[derive(Default)]
struct Seen {
    sessions: Vec<Session>,
    received: Vec<Received>,
    /// Octets of every DATA as they came, with dots, up to the end mark.
    wire: Vec<Vec<u8>>,
    sockets: Vec<TcpStream>,
}

/// A running server.
pub struct Remote {
    /// Where it listens.
    pub address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
}

impl Remote {
    /// Listens on a free port of 127.0.0.1.
    pub fn start(script: Script) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), script)
    }

    /// One server for each script, on one port of 127.0.0.2, 127.0.0.3 and so on.
    pub fn several(scripts: &[Script]) -> Vec<Self> {
        for _ in 0..100 {
            let first = TcpListener::bind("127.0.0.2:0").unwrap();
            let port = first.local_addr().unwrap().port();
            let others = (3u8..).take(scripts.len() - 1);
            let bind = |last| TcpListener::bind((Ipv4Addr::new(127, 0, 0, last), port));
            if let Ok(others) = others.map(bind).collect::<Result<Vec<_>, _>>() {
                let all = std::iter::once(first).chain(others).zip(scripts);
                return all.map(|(l, s)| Self::on(l, s.clone())).collect();
            }
        }
        panic!("no port is free on all addresses");
    }

    fn on(listener: TcpListener, script: Script) -> Self {
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let rules = Arc::new(Mutex::new(script.rules.clone()));
        let (shared, stopped) = (Arc::clone(&seen), Arc::clone(&stop));
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(socket) = socket else { return };
                let number = {
                    let mut seen = shared.lock().unwrap();
                    seen.sockets.extend(socket.try_clone());
                    seen.sessions.push(Session::default());
                    seen.sessions.len() - 1
                };
                let (script, rules, seen) =
                    (script.clone(), Arc::clone(&rules), Arc::clone(&shared));
                std::thread::spawn(move || {
                    // The client's going away is no event of the test; what it said is kept.
                    let _ = Served {
                        script,
                        rules,
                        seen,
                        number,
                        welcome: Cell::new(false),
                    }
                    .serve(socket);
                });
            }
        });
        Self {
            address,
            seen,
            stop,
        }
    }

    /// The lines of a configuration's `[smarthost]` for this server, in the clear.
    pub fn smarthost(&self) -> String {
        let port = self.address.port();
        format!("host = \"127.0.0.1\"\nport = {port}\ntls = \"none\"")
    }

    /// The connections so far.
    pub fn sessions(&self) -> Vec<Session> {
        self.seen.lock().unwrap().sessions.clone()
    }

    /// The messages accepted so far.
    pub fn received(&self) -> Vec<Received> {
        self.seen.lock().unwrap().received.clone()
    }

    /// The messages accepted since this was asked last.
    pub fn take(&self) -> Vec<Received> {
        std::mem::take(&mut self.seen.lock().unwrap().received)
    }

    /// The octets of each DATA so far as they came, end mark included.
    pub fn wire(&self) -> Vec<Vec<u8>> {
        self.seen.lock().unwrap().wire.clone()
    }

    /// All command lines of all connections, in order of connections.
    pub fn commands(&self) -> Vec<String> {
        let sessions = self.sessions();
        sessions.into_iter().flat_map(|s| s.commands).collect()
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        for socket in &self.seen.lock().unwrap().sockets {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// One connection being served.
struct Served {
    script: Script,
    rules: Arc<Mutex<Vec<Rule>>>,
    seen: Arc<Mutex<Seen>>,
    number: usize,
    /// Whether the client has logged in.
    welcome: Cell<bool>,
}

impl Served {
    fn serve(&self, socket: TcpStream) -> io::Result<()> {
        socket.set_read_timeout(Some(Duration::from_secs(30)))?;
        socket.set_write_timeout(Some(Duration::from_secs(30)))?;
        let mut wire = Wire {
            stream: Stream::Plain(socket),
            buffer: Vec::new(),
        };
        if self.script.implicit {
            wire = self.secure(wire)?;
        }
        self.say(&mut wire, "CONNECT", "220 remote.test.example ready")?;
        let (mut from, mut to) = (String::new(), Vec::new());
        loop {
            let line = wire.line()?;
            self.seen.lock().unwrap().sessions[self.number]
                .commands
                .push(line.clone());
            let verb = line.split(' ').next().unwrap_or_default();
            let verb = verb.to_ascii_uppercase();
            match verb.as_str() {
                "EHLO" => {
                    let keywords = self.keywords(&wire);
                    self.say(&mut wire, &line, &keywords)?;
                }
                "STARTTLS" => {
                    if self.say(&mut wire, &line, "220 2.0.0 go on")? {
                        self.say_nothing(&mut wire, "TLS")?;
                        wire = self.secure(wire)?;
                    }
                }
                "AUTH" => self.authenticate(&mut wire, &line)?,
                "MAIL" if self.script.login.is_some() && !self.welcome.get() => {
                    wire.send("530 5.7.0 authentication required")?;
                }
                "MAIL" => {
                    to.clear();
                    from.clear();
                    if self.say(&mut wire, &line, "250 2.1.0 sender ok")? {
                        from = line;
                    }
                }
                "RCPT" if from.is_empty() => wire.send("503 5.5.1 no sender")?,
                "RCPT" => {
                    if self.say(&mut wire, &line, "250 2.1.5 recipient ok")? {
                        to.push(line);
                    }
                }
                "DATA" => {
                    self.data(&mut wire, &line, &from, &to)?;
                    to.clear();
                    from.clear();
                }
                "QUIT" => {
                    self.say(&mut wire, &line, "221 2.0.0 bye")?;
                    return Ok(());
                }
                _ => {
                    self.say(&mut wire, &line, "250 2.0.0 ok")?;
                }
            }
        }
    }

    fn keywords(&self, wire: &Wire) -> String {
        let mut lines = vec!["remote.test.example".to_owned()];
        lines.extend(self.script.keywords.iter().cloned());
        if self.script.tls.is_some() && matches!(wire.stream, Stream::Plain(_)) {
            lines.push("STARTTLS".to_owned());
        }
        let last = lines.len() - 1;
        let mark = |(i, line): (usize, &String)| match i == last {
            true => format!("250 {line}"),
            false => format!("250-{line}"),
        };
        let all: Vec<String> = lines.iter().enumerate().map(mark).collect();
        all.join("\n")
    }

    /// The row for a step: the last one that fits and is not used up.
    fn answer(&self, step: &str) -> Option<Answer> {
        let mut rules = self.rules.lock().unwrap();
        let step = step.to_ascii_uppercase();
        let rule = rules
            .iter_mut()
            .rev()
            .find(|r| r.left > 0 && step.starts_with(&r.step.to_ascii_uppercase()))?;
        rule.left -= 1;
        Some(rule.answer.clone())
    }

    /// Answers a step by its row, or so; returns whether it was a yes.
    fn say(&self, wire: &mut Wire, step: &str, default: &str) -> io::Result<bool> {
        let answer = self.answer(step).unwrap_or_else(|| default.into());
        self.give(wire, &answer)
    }

    fn say_nothing(&self, wire: &mut Wire, step: &str) -> io::Result<()> {
        match self.answer(step) {
            Some(answer) => self.give(wire, &answer).map(|_| ()),
            None => Ok(()),
        }
    }

    fn give(&self, wire: &mut Wire, answer: &Answer) -> io::Result<bool> {
        match answer {
            Answer::Reply(text) => {
                wire.send(text)?;
                Ok(text.starts_with(['2', '3']))
            }
            Answer::Late(time, text) => {
                std::thread::sleep(*time);
                wire.send(text)?;
                Ok(text.starts_with(['2', '3']))
            }
            Answer::Last(text) | Answer::Interrupt(_, text) => {
                wire.send(text)?;
                wire.close()
            }
            Answer::Drop => wire.close(),
            Answer::Silence => loop {
                wire.more()?;
                wire.buffer.clear();
            },
        }
    }

    fn data(&self, wire: &mut Wire, line: &str, from: &str, to: &[String]) -> io::Result<()> {
        match self.answer(line) {
            Some(Answer::Interrupt(octets, text)) => {
                wire.send("354 go on")?;
                while wire.buffer.len() < octets {
                    wire.more()?;
                }
                wire.send(&text)?;
                return wire.close().map(|_| ());
            }
            Some(answer) => {
                if !self.give(wire, &answer)? {
                    return Ok(());
                }
            }
            None if to.is_empty() => return wire.send("554 5.5.1 no recipients"),
            None => wire.send("354 go on")?,
        }
        let raw = wire.until_dot()?;
        self.seen.lock().unwrap().wire.push(raw.clone());
        let answer = self
            .answer("DOT")
            .unwrap_or_else(|| "250 2.0.0 accepted".into());
        // Kept before the reply goes out: who sees the reply may look at once.
        if matches!(&answer, Answer::Reply(text) | Answer::Last(text) | Answer::Late(_, text) if text.starts_with('2'))
        {
            let received = Received {
                from: from.to_owned(),
                to: to.to_vec(),
                data: unstuff(&raw),
            };
            if let Some(record) = &self.script.record {
                disk::mark(record, &received.recipients().join(" "));
            }
            self.seen.lock().unwrap().received.push(received);
        }
        self.give(wire, &answer).map(|_| ())
    }

    fn secure(&self, wire: Wire) -> io::Result<Wire> {
        let Stream::Plain(socket) = wire.stream else {
            return Err(io::Error::other("TLS inside TLS"));
        };
        // What came before the handshake is never read (RFC 3207 6).
        let acceptor = self.script.tls.as_ref().expect("a certificate");
        let stream = Stream::Tls(Box::new(acceptor.accept(socket)?));
        self.seen.lock().unwrap().sessions[self.number].tls = true;
        Ok(Wire {
            stream,
            buffer: Vec::new(),
        })
    }

    fn authenticate(&self, wire: &mut Wire, line: &str) -> io::Result<()> {
        if let Some(answer) = self.answer(line) {
            return self.give(wire, &answer).map(|_| ());
        }
        let Some((user, password)) = self.script.login.clone() else {
            return wire.send("503 5.5.1 no login here");
        };
        let mut words = line.split(' ').skip(1);
        let mechanism = words.next().unwrap_or_default().to_ascii_uppercase();
        let initial = words.next().map(str::to_owned);
        let mut ask = |challenge: &str| -> io::Result<Vec<u8>> {
            wire.send(&format!("334 {}", STANDARD.encode(challenge)))?;
            let answer = wire.line()?;
            self.seen.lock().unwrap().sessions[self.number]
                .commands
                .push(answer.clone());
            Ok(decode(&answer))
        };
        let mut first = |initial: Option<String>| match initial {
            Some(text) => Ok(decode(&text)),
            None => ask(""),
        };
        let good = match mechanism.as_str() {
            "PLAIN" => first(initial)? == format!("\0{user}\0{password}").as_bytes(),
            "XOAUTH2" => {
                let expected = format!("user={user}\x01auth=Bearer {password}\x01\x01");
                first(initial)? == expected.as_bytes()
            }
            "LOGIN" => {
                let name = match initial {
                    Some(text) => decode(&text),
                    None => ask("Username:")?,
                };
                name == user.as_bytes() && ask("Password:")? == password.as_bytes()
            }
            "CRAM-MD5" => {
                let challenge = "<1896.697170952@remote.test.example>";
                let digest = hmac_md5(password.as_bytes(), challenge.as_bytes());
                ask(challenge)? == format!("{user} {digest}").as_bytes()
            }
            _ => return wire.send("504 5.5.4 no such mechanism"),
        };
        if !good {
            return wire.send("535 5.7.8 wrong user or password");
        }
        self.welcome.set(true);
        wire.send("235 2.7.0 welcome")
    }
}

fn decode(text: &str) -> Vec<u8> {
    STANDARD.decode(text).unwrap_or_default()
}

/// HMAC-MD5 (RFC 2104) in hexadecimal, for CRAM-MD5 (RFC 2195).
fn hmac_md5(key: &[u8], text: &[u8]) -> String {
    let mut block = [0u8; 64];
    if key.len() > block.len() {
        block[..16].copy_from_slice(&md5::compute(key).0);
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let padded = |pad: u8| block.iter().map(|b| b ^ pad).collect::<Vec<u8>>();
    let inner = md5::compute([&padded(0x36), text].concat()).0;
    format!("{:x}", md5::compute([&padded(0x5c), &inner[..]].concat()))
}

/// A message without its end mark and its stuffed dots (RFC 5321 4.5.2).
fn unstuff(raw: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(raw.len());
    for line in raw[..raw.len() - 3].split_inclusive(|b| *b == b'\n') {
        message.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
    }
    message
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
}

/// A connection with what was read of it and not used yet.
struct Wire {
    stream: Stream,
    buffer: Vec<u8>,
}

impl Wire {
    /// Longest line and message: what a test sends is far shorter.
    const MAX: usize = 64 << 20;

    fn more(&mut self) -> io::Result<()> {
        let mut chunk = [0; 16384];
        let count = match &mut self.stream {
            Stream::Plain(s) => s.read(&mut chunk)?,
            Stream::Tls(s) => s.read(&mut chunk)?,
        };
        if count == 0 || self.buffer.len() > Self::MAX {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.buffer.extend_from_slice(&chunk[..count]);
        Ok(())
    }

    /// A command line without its CRLF; a line that ends otherwise shows it.
    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let text = String::from_utf8_lossy(&line).into_owned();
                return Ok(text.strip_suffix("\r\n").unwrap_or(&text).to_owned());
            }
            self.more()?;
        }
    }

    /// Everything up to CRLF . CRLF, or to . CRLF at the start.
    fn until_dot(&mut self) -> io::Result<Vec<u8>> {
        let mut from = 0;
        loop {
            if self.buffer.starts_with(b".\r\n") {
                return Ok(self.buffer.drain(..3).collect());
            }
            let rest = &self.buffer[from..];
            if let Some(at) = rest.windows(5).position(|w| w == b"\r\n.\r\n") {
                return Ok(self.buffer.drain(..from + at + 5).collect());
            }
            from = self.buffer.len().saturating_sub(4);
            self.more()?;
        }
    }

    fn send(&mut self, text: &str) -> io::Result<()> {
        let text = format!("{}\r\n", text.replace('\n', "\r\n"));
        match &mut self.stream {
            Stream::Plain(s) => s.write_all(text.as_bytes()),
            Stream::Tls(s) => s.write_all(text.as_bytes()).and_then(|()| s.flush()),
        }
    }

    /// Closes, and ends the conversation with the error that says so. What the client still sends is read
    /// away first, so that the last reply is not lost to a reset.
    fn close(&self) -> io::Result<bool> {
        let socket = match &self.stream {
            Stream::Plain(s) => s,
            Stream::Tls(s) => s.get_ref(),
        };
        socket.shutdown(Shutdown::Write)?;
        let mut socket = socket.try_clone()?;
        let mut chunk = [0; 16384];
        for _ in 0..4096 {
            if socket.read(&mut chunk).unwrap_or(0) == 0 {
                break;
            }
        }
        Err(io::ErrorKind::ConnectionAborted.into())
    }
}
