//! The client's side: sessions with the servers that mail goes to.
//!
//! Nothing here is touched before a handshake begins: the system's list of authorities alone takes longer to read
//! than a message to send. What was made for a [`Trust`] is kept, so that a second connection resumes the
//! first one's session.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::Resumption;
use rustls::crypto::ring as provider;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection};

use super::Session;
use super::trust::{Leaf, Trust, Verifier, own_roots, system_roots};

/// Sessions kept to be resumed; a run of the queue speaks to a handful of hosts.
const RESUMABLE: usize = 16;

/// What is kept for different servers at most.
const MAX_MADE: usize = 32;

/// What was made for each trust, once.
#[derive(Debug, Default)]
pub struct Clients {
    made: Mutex<Vec<(Trust, Arc<ClientConfig>)>>,
}

impl Clients {
    /// Nothing made yet.
    pub const fn new() -> Self {
        Self {
            made: Mutex::new(Vec::new()),
        }
    }

    /// A session with the host of this name or address, not begun yet. An error is a sentence.
    pub fn session(&self, trust: &Trust, host: &str) -> Result<Session, String> {
        let name = host.strip_suffix('.').unwrap_or(host).to_owned();
        let name = ServerName::try_from(name)
            .map_err(|_| format!("\"{host}\" is no name that a certificate could have"))?;
        let config = self.config(trust)?;
        let connection = ClientConnection::new(config, name)
            .map_err(|e| format!("TLS cannot be set up: {e}"))?;
        Ok(Session {
            connection: connection.into(),
        })
    }

    fn config(&self, trust: &Trust) -> Result<Arc<ClientConfig>, String> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, config)) = made.iter().find(|(t, _)| t == trust) {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(client_config(trust)?);
        if made.len() >= MAX_MADE {
            made.clear();
        }
        made.push((trust.clone(), Arc::clone(&config)));
        Ok(config)
    }
}

fn client_config(trust: &Trust) -> Result<ClientConfig, String> {
    let provider = Arc::new(provider::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|e| format!("TLS cannot be set up: {e}"))?;
    let leaf = match trust {
        Trust::System => Leaf::Signed(system_roots()?),
        Trust::File(path) => Leaf::Signed(own_roots(path)?),
        Trust::Fingerprint(pin) => Leaf::Pinned(*pin),
        Trust::Dane(dane) => Leaf::Dane(dane.clone()),
        Trust::Anything => Leaf::Any,
    };
    let mut config = builder
        .dangerous()
        .with_custom_certificate_verifier(Verifier::new(leaf, &provider))
        .with_no_client_auth();
    config.resumption = Resumption::in_memory_sessions(RESUMABLE);
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::super::fault::{Remedy, explain};
    use super::super::testing::{Authority, Server};
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    /// A handshake over loopback; then the server says "hello", and the client tells what it read.
    fn shake(clients: &Clients, trust: &Trust, server: &Server) -> Result<String, String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut session = clients.session(trust, "localhost")?;
        let mut other = server.session();
        thread::scope(|scope| {
            scope.spawn(move || {
                let mut stream = listener.accept().unwrap().0;
                if other.handshake(&mut stream).is_ok() {
                    let _ = other.write(&mut stream, b"hello");
                    let _ = other.close(&mut stream);
                }
            });
            session
                .handshake(&mut client)
                .map_err(|e| explain(&e, 1_800_000_000, Remedy::Keys))?;
            let mut buffer = [0; 16];
            let length = session.read(&mut client, &mut buffer).unwrap();
            assert_eq!(session.read(&mut client, &mut [0; 16]).unwrap(), 0);
            Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
        })
    }

    #[test]
    fn only_a_certificate_that_is_trusted_is_taken() {
        let (ours, other) = (Authority::new(), Authority::new());
        let path = std::env::temp_dir().join(format!("minimta-tls-{}.pem", std::process::id()));
        std::fs::write(&path, &ours.pem).unwrap();
        let (file, clients) = (Trust::File(path.clone()), Clients::new());
        let good = ours.server("localhost", 2090);
        let pin = |server: &Server| Trust::Fingerprint(server.fingerprint);
        let rows = [
            (&file, good.clone(), Ok("hello")),
            (&file, good.clone(), Ok("hello")), // resumed
            (
                &Trust::Anything,
                other.server("elsewhere", 2001),
                Ok("hello"),
            ),
            (&pin(&good), good.clone(), Ok("hello")),
            (
                &pin(&good),
                ours.server("localhost", 2090),
                Err("another fingerprint than the one configured, sha256:"),
            ),
            (
                &file,
                ours.server("elsewhere.example", 2090),
                Err("for another name (elsewhere.example); set host"),
            ),
            (
                &file,
                ours.server("localhost", 2001),
                Err("has expired on 2001-01-01T00:00:00Z"),
            ),
            (
                &file,
                other.server("localhost", 2090),
                Err("no authority that is trusted here"),
            ),
            (
                &Trust::File("/nowhere".into()),
                good.clone(),
                Err("cannot read ca_file /nowhere: no such file"),
            ),
        ];
        for (trust, server, expected) in rows {
            match (shake(&clients, trust, &server), expected) {
                (Ok(said), Ok(expected)) => assert_eq!(said, expected),
                (Err(why), Err(expected)) => assert!(why.contains(expected), "{why}"),
                (got, _) => panic!("{got:?} instead of {expected:?}"),
            }
        }
        std::fs::write(&path, "no certificate").unwrap();
        let why = Clients::new().session(&file, "localhost").unwrap_err();
        assert!(
            why.ends_with("has no certificate in it; it must be in PEM form"),
            "{why}"
        );
        std::fs::remove_file(&path).unwrap();
        assert!(clients.session(&Trust::Anything, "not a name").is_err());
    }
}
