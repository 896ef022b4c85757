//! A filter that follows a script: what it says to each step is a row, and it keeps what it was shown.
//!
//! A step is its letter, or a letter and the beginning of its data. What it says are packets without their lengths.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a filter wants, and what it says to steps.
#[derive(Clone, Default)]
pub struct Wants {
    steps: u32,
    rules: Vec<(Vec<u8>, Vec<Vec<u8>>)>,
}

impl Wants {
    /// With these flags about steps.
    pub fn steps(steps: u32) -> Self {
        Self {
            steps,
            ..Self::default()
        }
    }

    /// Says these to a step; a later row goes before an earlier one. Nothing at all: closes.
    pub fn on(mut self, step: &[u8], says: &[&[u8]]) -> Self {
        let says = says.iter().map(|s| s.to_vec()).collect();
        self.rules.push((step.to_vec(), says));
        self
    }
}

/// A running filter.
pub struct Milter {
    /// Where it listens, as a configuration has it.
    socket: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Milter {
    /// On a port of its own.
    pub fn start(wants: Wants) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let socket = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
        Self::serve(socket, wants, move || {
            let stream = listener.accept().ok()?.0;
            stream.set_read_timeout(LIMIT).unwrap();
            Some(stream)
        })
    }

    /// At a socket in the file system.
    pub fn at(path: &Path, wants: Wants) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        Self::serve(format!("unix:{}", path.display()), wants, move || {
            let stream = listener.accept().ok()?.0;
            stream.set_read_timeout(LIMIT).unwrap();
            Some(stream)
        })
    }

    /// With its connections, one after the other.
    fn serve<S: Read + Write + Send + 'static>(
        socket: String,
        wants: Wants,
        accept: impl Fn() -> Option<S> + Send + 'static,
    ) -> Self {
        let milter = Self {
            socket,
            seen: Arc::default(),
        };
        let seen = Arc::clone(&milter.seen);
        std::thread::spawn(move || {
            while let Some(stream) = accept() {
                attend(stream, &wants, &seen);
            }
        });
        milter
    }

    /// The lines for a configuration.
    pub fn keys(&self) -> String {
        format!("socket = \"{}\"", self.socket)
    }

    /// All packets, each as its letter and data with `|` for NUL, one after the other.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// Those of a letter.
    pub fn steps(&self, letter: char) -> Vec<String> {
        let seen = self.seen().into_iter();
        seen.filter(|s| s.starts_with(letter)).collect()
    }
}

/// Longer than any test.
const LIMIT: Option<Duration> = Some(Duration::from_secs(30));

/// Talks with one client, until its connection ends.
fn attend(
    stream: impl Read + Write + Send + 'static,
    wants: &Wants,
    seen: &Arc<Mutex<Vec<String>>>,
) {
    let (wants, seen) = (wants.clone(), Arc::clone(seen));
    std::thread::spawn(move || {
        let _ = talk(stream, &wants, &seen);
    });
}

fn talk(mut stream: impl Read + Write, wants: &Wants, seen: &Mutex<Vec<String>>) -> io::Result<()> {
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut packet = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut packet)?;
        let shown = String::from_utf8_lossy(&packet).replace('\0', "|");
        seen.lock().unwrap().push(shown);
        let letter = packet[0];
        let flag = match letter {
            b'C' => 0x1000,
            b'H' => 0x2000,
            b'M' => 0x4000,
            b'R' => 0x8000,
            b'T' => 0x1_0000,
            b'L' => 0x80,
            b'N' => 0x4_0000,
            b'B' => 0x8_0000,
            _ => 0,
        };
        let rule = wants
            .rules
            .iter()
            .rev()
            .find(|(s, _)| packet.starts_with(s));
        let says: Vec<Vec<u8>> = match (letter, rule) {
            (b'Q', _) => return Ok(()),
            (_, Some((_, says))) if says.is_empty() => return Ok(()),
            (b'O', None) => {
                let numbers = [6, 0, wants.steps].map(u32::to_be_bytes);
                vec![[b"O", numbers.as_flattened()].concat()]
            }
            (b'D' | b'A', _) => continue,
            _ if flag != 0 && wants.steps & flag != 0 => continue,
            (_, Some((_, says))) => says.clone(),
            (_, None) => vec![b"c".to_vec()],
        };
        for packet in says {
            stream.write_all(&u32::try_from(packet.len()).unwrap().to_be_bytes())?;
            stream.write_all(&packet)?;
        }
    }
}
