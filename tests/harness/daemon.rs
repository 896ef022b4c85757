//! A running daemon, and clients that speak to it line by line.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::system::{Ran, System, finish, until};

/// Longest time a client waits for one reply.
const LIMIT: Duration = Duration::from_secs(30);

impl System {
    /// A system that listens for SMTP on the loopback, at a port of its own, and keeps its run folder to itself.
    pub fn listening(name: &str) -> Self {
        Self::new(name).listens()
    }

    /// The same system, but it listens.
    pub fn listens(self) -> Self {
        let run = format!("run = \"{}\"", self.path("run").display());
        self.with("listen", "smtp = [\"127.0.0.1:0\"]")
            .with("queue", &run)
    }
}

/// A running `minimta -bd`; killed when it is dropped.
pub struct Daemon {
    child: Option<Child>,
    log: std::path::PathBuf,
    /// Lines of the log before it was started: another daemon's.
    before: usize,
}

impl Daemon {
    /// Starts it, and waits until it works.
    pub fn start(system: &System) -> Self {
        Self::with(system, &["-bD"])
    }

    /// Starts it with these words.
    pub fn with(system: &System, args: &[&str]) -> Self {
        Self::of(system, || system.call("sendmail").args(args).start())
    }

    /// One that is started so.
    pub fn of(system: &System, start: impl FnOnce() -> Child) -> Self {
        Self::logging_to(system.path("log"), start)
    }

    /// One that is started so, and logs to this file.
    pub fn logging_to(log: std::path::PathBuf, start: impl FnOnce() -> Child) -> Self {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let daemon = Self {
            before: text.lines().count(),
            child: Some(start()),
            log,
        };
        let started = || daemon.lines().iter().any(|l| l.contains("daemon started"));
        until("the daemon has started", started);
        daemon
    }

    fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().skip(self.before).map(str::to_owned).collect()
    }

    /// The address at which it listens for this kind of client.
    pub fn address(&self, kind: &str) -> SocketAddr {
        let begin = format!("listening kind={kind} at=\"");
        let lines = self.lines();
        let found = lines.iter().rev().find_map(|l| l.split(&begin).nth(1));
        found.unwrap().trim_end_matches('"').parse().unwrap()
    }

    /// A client that has read the greeting.
    pub fn client(&self) -> Client {
        let mut client = self.stranger();
        let greeting = client.reply();
        assert!(greeting.starts_with("220 "), "{greeting}");
        client
    }

    /// A client that has not read anything.
    pub fn stranger(&self) -> Client {
        Client::tcp(TcpStream::connect(self.address("smtp")).unwrap())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().unwrap().id();
        kill(Pid::from_raw(i32::try_from(id).unwrap()), signal).unwrap();
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Stops it, and waits for its end.
    pub fn stop(mut self) -> Ran {
        self.signal(Signal::SIGTERM);
        finish(self.child.take().unwrap())
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ran {
        finish(self.child.take().unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts the program with a listener as systemd hands it over: descriptor 3 and two variables.
pub fn activated(system: &System, listener: TcpListener, args: &str) -> Child {
    let line = "exec 3<&0 </dev/null\nexport LISTEN_FDS=1 LISTEN_PID=$$";
    let call = system.call_after(line);
    let words: Vec<&str> = args.split(' ').collect();
    call.args(&words)
        .start_on(Stdio::from(OwnedFd::from(listener)))
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Read for Stream {
    fn read(&mut self, block: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(block),
            Self::Unix(stream) => stream.read(block),
        }
    }
}

/// A client.
pub struct Client {
    stream: BufReader<Stream>,
}

impl Client {
    /// On a connection.
    pub fn tcp(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        let stream = BufReader::new(Stream::Tcp(stream));
        Self { stream }
    }

    /// On a socket in the file system.
    pub fn unix(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let stream = BufReader::new(Stream::Unix(stream));
        Self { stream }
    }

    /// Sends octets; an error means that the other side has closed.
    pub fn send(&mut self, octets: impl AsRef<[u8]>) -> std::io::Result<()> {
        match self.stream.get_mut() {
            Stream::Tcp(stream) => stream.write_all(octets.as_ref()),
            Stream::Unix(stream) => stream.write_all(octets.as_ref()),
        }
    }

    /// The next reply, its lines parted by `\n`; what is there when the other side closes.
    pub fn reply(&mut self) -> String {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            let read = self.stream.read_line(&mut line);
            if !matches!(read, Ok(n) if n > 0) {
                lines.push(format!("({read:?})"));
                return lines.join("\n");
            }
            let more = line.as_bytes().get(3) == Some(&b'-');
            lines.push(line.trim_end().to_owned());
            if !more {
                return lines.join("\n");
            }
        }
    }

    /// Sends a line and returns the reply.
    pub fn say(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n")).unwrap();
        self.reply()
    }

    /// Says each of these and expects the reply's first digits.
    pub fn steps(&mut self, steps: &[(&str, &str)]) {
        for (text, expected) in steps {
            let reply = self.say(text);
            assert!(reply.starts_with(expected), "{text}: {reply}");
        }
    }

    /// Sends a message to this address, up to the reply to it.
    pub fn deliver(&mut self, to: &str, message: &str) -> String {
        self.steps(&[
            ("EHLO client.example", "250-"),
            ("MAIL FROM:<a@b.example>", "250 "),
        ]);
        let reply = self.say(&format!("RCPT TO:<{to}>"));
        if !reply.starts_with("250 ") {
            return reply;
        }
        self.steps(&[("DATA", "354 ")]);
        self.say(&format!("{message}."))
    }

    /// All that comes until the other side closes; an error stands at its end.
    pub fn rest(&mut self) -> String {
        let mut text = Vec::new();
        let end = self.stream.read_to_end(&mut text);
        let mut text = String::from_utf8_lossy(&text).into_owned();
        if let Err(error) = end {
            text.push_str(&format!("({error})"));
        }
        text
    }

    /// Sends nothing more.
    pub fn half_close(&self) {
        let done = match self.stream.get_ref() {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
        done.unwrap();
    }

    /// Goes with a reset.
    pub fn reset(self) {
        if let Stream::Tcp(stream) = self.stream.get_ref() {
            let socket = socket2::SockRef::from(stream);
            socket.set_linger(Some(Duration::ZERO)).unwrap();
        }
    }
}
