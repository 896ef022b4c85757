//! The smarthost of the bench: takes every message as fast as it comes, keeps none, and counts.
//!
//! `sink [PORT [FILE]]` listens on that loopback port, or one of the system's choice, and prints it. It ends when its
//! standard input does, so that it never outlives whoever started it, and then prints `CONNECTIONS MESSAGES
//! MOST-AT-ONCE`; before that, a line `count` is answered with the messages so far. FILE gets the Subject of each.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The longest silence of a client.
const SILENCE: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    messages: AtomicUsize,
    open: AtomicUsize,
    most: AtomicUsize,
}

static COUNTS: Counts = Counts {
    connections: AtomicUsize::new(0),
    messages: AtomicUsize::new(0),
    open: AtomicUsize::new(0),
    most: AtomicUsize::new(0),
};

/// What each message was about.
static SUBJECTS: Mutex<Option<File>> = Mutex::new(None);

fn main() -> io::Result<()> {
    let mut words = std::env::args().skip(1);
    let port = words
        .next()
        .map_or(Ok(0), |p| p.parse())
        .map_err(io::Error::other)?;
    if let (Some(path), Ok(mut subjects)) = (words.next(), SUBJECTS.lock()) {
        *subjects = Some(File::options().append(true).create(true).open(path)?);
    }
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    writeln!(io::stdout(), "{}", listener.local_addr()?.port())?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                COUNTS.connections.fetch_add(1, Ordering::Relaxed);
                let open = COUNTS.open.fetch_add(1, Ordering::Relaxed) + 1;
                COUNTS.most.fetch_max(open, Ordering::Relaxed);
                // A client that breaks off has shown what there is to see of it.
                let _ = session(stream);
                COUNTS.open.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
    for line in io::stdin().lock().lines() {
        if line? == "count" {
            writeln!(io::stdout(), "{}", COUNTS.messages.load(Ordering::Relaxed))?;
        }
    }
    let [connections, messages, most] =
        [&COUNTS.connections, &COUNTS.messages, &COUNTS.most].map(|c| c.load(Ordering::Relaxed));
    writeln!(io::stdout(), "{connections} {messages} {most}")
}

/// Replies are held back until there is nothing more to read, so that a group of commands gets one packet.
fn session(stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_nodelay(true)?;
    let mut output = stream.try_clone()?;
    let mut input = BufReader::with_capacity(64 * 1024, stream);
    let mut replies = b"220 sink.test.example ESMTP\r\n".to_vec();
    let mut line = Vec::new();
    loop {
        if input.buffer().is_empty() && !replies.is_empty() {
            output.write_all(&replies)?;
            replies.clear();
        }
        if next(&mut input, &mut line)? == 0 {
            return Ok(());
        }
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        let reply: &[u8] = match verb.as_slice() {
            b"EHLO" => b"250-sink.test.example\r\n250-PIPELINING\r\n250-SIZE\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n",
            b"DATA" => {
                replies.extend_from_slice(b"354 go on\r\n");
                output.write_all(&replies)?;
                replies.clear();
                while line != b".\r\n" {
                    if next(&mut input, &mut line)? == 0 {
                        return Ok(());
                    }
                    if line.starts_with(b"Subject: ")
                        && let Ok(mut subjects) = SUBJECTS.lock()
                        && let Some(file) = subjects.as_mut()
                    {
                        file.write_all(&line)?;
                    }
                }
                COUNTS.messages.fetch_add(1, Ordering::Relaxed);
                b"250 2.0.0 taken\r\n"
            }
            b"QUIT" => {
                replies.extend_from_slice(b"221 2.0.0 bye\r\n");
                return output.write_all(&replies);
            }
            _ => b"250 2.0.0 ok\r\n",
        };
        replies.extend_from_slice(reply);
    }
}

fn next(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<usize> {
    line.clear();
    input.take(1024 * 1024).read_until(b'\n', line)
}
