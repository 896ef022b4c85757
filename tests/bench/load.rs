//! The clients of the bench: as many sessions at once, a connection a message, as smtp-source does it.
//!
//! `load SESSIONS MESSAGES OCTETS SENDER RECIPIENT ADDRESS [FILE]` prints `ACCEPTED SECONDS`. FILE gets the number of
//! each accepted message on a line, which its Subject has too. A session ends at what it does not expect; then the
//! exit code is 1, unless FILE is named: who keeps count knows what was not accepted.
//!
//! `load hold COUNT ADDRESS` opens so many connections, says EHLO on each, prints `held`, and keeps them until its
//! standard input ends.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Error, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The longest silence of a server.
const SILENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["hold", count, address] => hold(count, address),
        [
            sessions,
            messages,
            octets,
            sender,
            recipient,
            address,
            file @ ..,
        ] => {
            let load = || {
                let file = file.first().map(File::create).transpose()?;
                Ok(Load {
                    sender,
                    recipient,
                    address: address.parse().map_err(wrong)?,
                    messages: messages.parse().map_err(wrong)?,
                    octets: octets.parse().map_err(wrong)?,
                    begun: AtomicUsize::new(0),
                    accepted: AtomicUsize::new(0),
                    file: file.map(Mutex::new),
                })
            };
            load().and_then(|load: Load<'_>| load.run(sessions.parse().map_err(wrong)?))
        }
        _ => Err(Error::new(ErrorKind::InvalidInput, "see its source")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn wrong(error: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidInput, error.to_string())
}

struct Load<'a> {
    sender: &'a str,
    recipient: &'a str,
    address: SocketAddr,
    messages: usize,
    octets: usize,
    begun: AtomicUsize,
    accepted: AtomicUsize,
    file: Option<Mutex<File>>,
}

impl Load<'_> {
    fn run(&self, sessions: usize) -> io::Result<()> {
        let begun = Instant::now();
        let failed = std::thread::scope(|scope| {
            let all: Vec<_> = (0..sessions)
                .map(|_| scope.spawn(|| self.session()))
                .collect();
            let ends = all.into_iter().map(std::thread::ScopedJoinHandle::join);
            ends.filter_map(|end| {
                end.unwrap_or_else(|_| Err(wrong("a session panicked")))
                    .err()
            })
            .next()
        });
        let (accepted, seconds) = (self.accepted.load(Ordering::Relaxed), begun.elapsed());
        writeln!(io::stdout(), "{accepted} {:.3}", seconds.as_secs_f64())?;
        match failed {
            Some(error) if self.file.is_none() => Err(error),
            _ => Ok(()),
        }
    }

    fn session(&self) -> io::Result<()> {
        loop {
            let number = self.begun.fetch_add(1, Ordering::Relaxed);
            if number >= self.messages {
                return Ok(());
            }
            self.message(number)?;
            self.accepted.fetch_add(1, Ordering::Relaxed);
            if let Some(file) = &self.file {
                let mut file = file.lock().map_err(|_| wrong("the file is locked"))?;
                writeln!(file, "{number}")?;
            }
        }
    }

    fn message(&self, number: usize) -> io::Result<()> {
        let mut server = Server::connect(self.address)?;
        server.ask(&format!("MAIL FROM:<{}>", self.sender), "250")?;
        server.ask(&format!("RCPT TO:<{}>", self.recipient), "25")?;
        server.ask("DATA", "354")?;
        let mut text = format!(
            "From: <{}>\r\nTo: <{}>\r\nSubject: number {number}\r\nMessage-ID: <{number}@load.example>\r\n\r\n",
            self.sender, self.recipient
        );
        while text.len() < self.octets {
            text.push_str("All work and no play makes a mail transfer agent a dull one.\r\n");
        }
        text.push('.');
        server.ask(&text, "250")?;
        server.ask("QUIT", "221")
    }
}

fn hold(count: &str, address: &str) -> io::Result<()> {
    let address = address.parse().map_err(wrong)?;
    let connect = |_| Server::connect(address);
    let held: Vec<Server> = (0..count.parse().map_err(wrong)?)
        .map(connect)
        .collect::<io::Result<_>>()?;
    writeln!(io::stdout(), "held")?;
    io::stdin().read_to_end(&mut Vec::new())?;
    drop(held);
    Ok(())
}

struct Server {
    input: BufReader<TcpStream>,
}

impl Server {
    fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, SILENCE)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_nodelay(true)?;
        let input = BufReader::with_capacity(1024, stream);
        let mut server = Self { input };
        server.hear("220")?;
        server.ask("EHLO client.example", "250")?;
        Ok(server)
    }

    fn ask(&mut self, command: &str, expected: &str) -> io::Result<()> {
        self.input
            .get_mut()
            .write_all(format!("{command}\r\n").as_bytes())?;
        self.hear(expected)
    }

    fn hear(&mut self, expected: &str) -> io::Result<()> {
        loop {
            let mut line = String::new();
            if self.input.by_ref().take(4096).read_line(&mut line)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if !line.starts_with(expected) {
                return Err(wrong(format!("{} instead of {expected}", line.trim_end())));
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(());
            }
        }
    }
}
