//! A server that speaks LMTP (RFC 2033), as those do that have mailboxes.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// What it says to RCPT and, later, to the dot, for the address in angle brackets.
pub type Answers = fn(&str) -> (&'static str, &'static str);

/// It serves one connection after the other for as long as the test runs.
pub struct Lmtp {
    /// What stands behind `lmtp:` in a configuration.
    pub place: String,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Lmtp {
    /// At a socket of this path, or at a free port.
    pub fn start(socket: Option<PathBuf>, answers: Answers) -> Self {
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let own = Arc::clone(&heard);
        let begin = move || {
            let mut all = own.lock().unwrap();
            all.push(String::new());
            (Arc::clone(&own), all.len() - 1)
        };
        let place = match socket {
            Some(path) => {
                let listener = UnixListener::bind(&path).unwrap();
                std::thread::spawn(move || {
                    for stream in listener.incoming().flatten() {
                        serve(stream, answers, &begin());
                    }
                });
                path.display().to_string()
            }
            None => {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let address = listener.local_addr().unwrap();
                std::thread::spawn(move || {
                    for stream in listener.incoming().flatten() {
                        serve(stream, answers, &begin());
                    }
                });
                address.to_string()
            }
        };
        Self { place, heard }
    }

    /// What it has heard so far, connection by connection.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

/// A socket that lets nobody in, and whose line is full.
pub struct Full {
    _listener: socket2::Socket,
    _waiting: UnixStream,
}

impl Full {
    /// At this path.
    pub fn at(path: &Path) -> Self {
        let listener =
            socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        listener
            .bind(&socket2::SockAddr::unix(path).unwrap())
            .unwrap();
        // There is a place for one always.
        listener.listen(0).unwrap();
        Self {
            _listener: listener,
            _waiting: UnixStream::connect(path).unwrap(),
        }
    }
}

fn serve(
    mut socket: impl Read + Write,
    answers: Answers,
    (heard, number): &(Arc<Mutex<Vec<String>>>, usize),
) {
    // Who delivers for this machine may have its name.
    let _ = socket.write_all(b"220 pi.test.example LMTP ready\r\n");
    let (mut octet, mut line) = ([0], Vec::new());
    let (mut to, mut in_message) = (String::new(), false);
    while socket.read(&mut octet).unwrap_or(0) == 1 {
        line.push(octet[0]);
        if octet[0] != b'\n' {
            continue;
        }
        let text = String::from_utf8(std::mem::take(&mut line)).unwrap();
        heard.lock().unwrap()[*number].push_str(&text);
        let reply = match text.get(..4).unwrap_or_default() {
            _ if in_message && text != ".\r\n" => continue,
            _ if in_message => {
                in_message = false;
                std::mem::take(&mut to)
            }
            "LHLO" => "250-pi.test.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n".to_owned(),
            "RCPT" => {
                let address = text.split(['<', '>']).nth(1).unwrap();
                let (now, later) = answers(address);
                if now.starts_with('2') {
                    to.push_str(&format!("{later}\r\n"));
                }
                format!("{now}\r\n")
            }
            "DATA" if to.is_empty() => "503 5.5.1 nobody to send it to\r\n".to_owned(),
            "DATA" => {
                in_message = true;
                "354 go on\r\n".to_owned()
            }
            "QUIT" => "221 2.0.0 bye\r\n".to_owned(),
            _ => "250 2.0.0 ok\r\n".to_owned(),
        };
        if socket.write_all(reply.as_bytes()).is_err() {
            return;
        }
    }
}
