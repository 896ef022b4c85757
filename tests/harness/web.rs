//! A web server on 127.0.0.9 that gives the same answer to everybody, and keeps what it was asked.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::tls::Acceptor;

/// The header of a request, and what stood behind it.
pub type Asked = (String, Vec<u8>);

/// A running one.
pub struct Web {
    /// Where it listens.
    pub port: u16,
    /// What it answers.
    pub answer: Arc<Mutex<String>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
}

impl Web {
    /// With this certificate.
    pub fn start(acceptor: &Acceptor, answer: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.9:0").unwrap();
        let web = Self {
            port: listener.local_addr().unwrap().port(),
            answer: Arc::new(Mutex::new(answer.to_owned())),
            asked: Arc::default(),
            stop: Arc::default(),
        };
        let (acceptor, answer) = (acceptor.clone(), Arc::clone(&web.answer));
        let (asked, stop) = (Arc::clone(&web.asked), Arc::clone(&web.stop));
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let socket = socket.unwrap();
                let limit = Some(Duration::from_secs(30));
                socket.set_read_timeout(limit).unwrap();
                let Ok(mut stream) = acceptor.accept(socket) else {
                    continue;
                };
                asked.lock().unwrap().push(request(&mut stream));
                let answer = answer.lock().unwrap().clone();
                let _ = stream.write_all(answer.as_bytes());
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        });
        web
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    /// What it was asked.
    pub fn requests(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn request(stream: &mut impl Read) -> Asked {
    let mut header = Vec::new();
    let mut octet = [0];
    while !header.ends_with(b"\r\n\r\n") && stream.read(&mut octet).unwrap_or(0) == 1 {
        header.push(octet[0]);
    }
    let header = String::from_utf8(header).unwrap();
    let length = header
        .lines()
        .find_map(|l| l.strip_prefix("Content-Length: "));
    let mut body = vec![0; length.map_or(0, |n| n.parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
    (header, body)
}

impl Drop for Web {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.9", self.port));
    }
}
