//! A server that follows a script, and the client's side of a case.

use super::*;

/// A server that follows a script, connection by connection. The steps of a script are divided by "|":
///
/// - what begins with a digit is said, with a line end; what begins with "=" is said as it is
/// - "(message)" reads to the final dot; "(some)" reads a part of a message
/// - "(TLS)" does a handshake; "(wait)" reads until the client goes
/// - all else is the beginning of a line that the client must say
///
/// At its end the connection is closed. It tells all lines and messages that it has read.
pub fn serve(scripts: &[&str], server: Option<Server>) -> (u16, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let scripts: Vec<String> = scripts.iter().map(|s| (*s).to_owned()).collect();
    let thread = thread::spawn(move || {
        let mut heard = Vec::new();
        for script in scripts {
            let stream = listener.accept().unwrap().0;
            let mut wire = Wire::accepted(stream, Duration::from_secs(30));
            for step in script.split('|') {
                follow(&mut wire, step, &mut heard, server.as_ref());
            }
        }
        heard
    });
    (port, thread)
}

pub fn follow(wire: &mut Wire, step: &str, heard: &mut Vec<String>, server: Option<&Server>) {
    let mut line = Vec::new();
    match step {
        "(TLS)" => {
            // The client may not like the certificate.
            let _ = wire.start_tls(server.unwrap().session());
        }
        "(wait)" => drop(io::copy(wire, &mut io::sink())),
        "(some)" => assert!(!wire.fill_buf().unwrap().is_empty()),
        "(message)" => {
            while !line.ends_with(b"\r\n.\r\n") && line != b".\r\n" {
                assert_ne!(wire.read_until(b'\n', &mut line).unwrap(), 0);
            }
            heard.push(String::from_utf8_lossy(&line).into_owned());
        }
        said if said.starts_with(|c: char| c.is_ascii_digit()) => {
            wire.write_all(format!("{said}\r\n").as_bytes()).unwrap();
            wire.flush().unwrap();
        }
        said if said.starts_with('=') => {
            // A client that has heard enough may be gone before the end.
            let octets = said.get(1..).unwrap().as_bytes();
            let _ = wire.write_all(octets).and_then(|()| wire.flush());
        }
        expected => {
            wire.read_until(b'\n', &mut line).unwrap();
            let line = String::from_utf8(line).unwrap();
            assert!(line.starts_with(expected), "{line:?} instead of {expected}");
            heard.push(line.trim_end().to_owned());
        }
    }
}

/// What a case may change.
pub struct Case<'c> {
    pub tls: Tls,
    pub ca_file: Option<Temporary>,
    pub fingerprint: Option<[u8; 32]>,
    pub server: Option<Server>,
    pub login: Option<Login>,
    /// How many addresses the host has; all of them lead to the one server.
    pub addresses: usize,
    pub recipients: usize,
    pub letters: usize,
    pub message: &'c [u8],
    pub facts: Facts,
    /// The message cannot be read beyond its text.
    pub unreadable: bool,
    pub hostname: &'c str,
    pub timeouts: Timeouts,
}

pub fn case() -> Case<'static> {
    Case {
        tls: Tls::None,
        ca_file: None,
        fingerprint: None,
        server: None,
        login: None,
        addresses: 1,
        recipients: 1,
        letters: 1,
        message: b"Subject: x\r\n\r\n.text\r\n",
        facts: Facts::default(),
        unreadable: false,
        hostname: "pi.example",
        timeouts: Timeouts {
            quit: Duration::from_secs(30),
            ..Timeouts::default()
        },
    }
}

pub struct Played {
    /// By letter and recipient: "=" delivered, "~" deferred, "!" failed, and the words.
    pub outcomes: Vec<String>,
    /// What the server heard.
    pub heard: Vec<String>,
    /// What -v shows.
    pub trace: String,
}

impl Case<'_> {
    pub fn play(&self, scripts: &[&str]) -> Played {
        let (port, thread) = serve(scripts, self.server.clone());
        let (outcomes, trace) = self.play_at(port);
        let heard = thread.join().unwrap();
        Played {
            outcomes,
            heard,
            trace,
        }
    }

    /// With the server at this port: outcomes, and what -v shows.
    pub fn play_at(&self, port: u16) -> (Vec<String>, String) {
        let hostname = Domain::parse(self.hostname).unwrap();
        let (clients, trace) = (Clients::new(), Mutex::new(String::new()));
        let dead = Dead::default();
        let show = |line: &str| {
            let mut trace = trace.lock().unwrap();
            trace.push_str(line);
            trace.push('\n');
        };
        let outgoing = Outgoing {
            hostname: &hostname,
            timeouts: self.timeouts,
            tls: &clients,
            dead: &dead,
            trace: Some(&show),
            in_hand: InHand::default(),
        };
        let target = Target {
            host: "127.0.0.1".into(),
            port,
            lmtp: false,
            addresses: Some(vec![([127, 0, 0, 1], port).into(); self.addresses]),
            turn: 0,
            bind: &[],
            tls: self.tls,
            verify: true,
            ca_file: self.ca_file.as_ref().map(|file| file.0.as_path()),
            fingerprint: self.fingerprint,
            login: self.login.as_ref(),
            proof: Proof::Nothing,
            remedy: Remedy::Keys,
        };
        let outcomes = self.outcomes(target, &outgoing);
        let trace = trace.lock().unwrap().clone();
        let words = outcomes.iter().map(|o| {
            let sign = match o.verdict {
                Verdict::Delivered => "=",
                Verdict::Deferred => "~",
                Verdict::Failed | Verdict::Expanded => "!",
            };
            format!("{sign} {}", o.words())
        });
        (words.collect(), trace)
    }

    fn outcomes(&self, target: Target<'_>, outgoing: &Outgoing<'_>) -> Vec<Outcome> {
        let mut connection = match Connection::open(target, outgoing) {
            Ok(connection) => connection,
            Err(outcome) => return vec![outcome],
        };
        // What is behind it has its own times.
        assert_eq!(connection.dialogue.opening, None);
        let sender = ReversePath::Mailbox(Mailbox::parse("a@b.example").unwrap());
        let numbers = 1..=self.recipients;
        let addresses = numbers.map(|n| Mailbox::parse(&format!("r{n}@c.example")).unwrap());
        let recipients: Vec<Recipient> = addresses.map(Recipient::plain).collect();
        let letter = Letter {
            sender: &sender,
            recipients: &recipients.iter().collect::<Vec<_>>(),
            facts: self.facts,
            smtputf8: false,
            requiretls: false,
            ret: None,
            envid: None,
        };
        let mut outcomes = Vec::new();
        for _ in 0..self.letters {
            outcomes.extend(connection.deliver(
                &letter,
                &mut |take| {
                    for chunk in self.message.chunks(5000) {
                        take(chunk)?;
                    }
                    if self.unreadable {
                        return Err(io::Error::other("its checksum is wrong"));
                    }
                    Ok(())
                },
                None,
            ));
        }
        if connection.is_usable() {
            connection.close();
        }
        outcomes
    }
}

/// A file that goes with its test.
pub struct Temporary(pub PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
