//! Pairs of key and certificate, good, renewed and useless, and what a client sees of them.

use super::super::testing::Authority;
use super::super::trust::{Leaf, Verifier};
use super::super::{Clients, Trust};
use super::*;
use crate::host::wire::Wire;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::thread;

const LONG: Duration = Duration::from_secs(30);
/// 2026-11-23.
const NOW: i64 = 1_795_400_000;

/// A folder for the files of a test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("minimta-server-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.0.join(name);
        let new = self.0.join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(mode)).unwrap();
        std::fs::rename(&new, &path).unwrap();
        path
    }

    /// A fresh pair.
    fn pair(&self, authority: &Authority, until: i32) -> (PathBuf, PathBuf) {
        let (certificate, key) = authority.certify("localhost", until);
        (
            self.write("cert.pem", &certificate.pem(), 0o644),
            self.write("key.pem", &key.serialize_pem(), 0o640),
        )
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

fn accepted(stream: TcpStream, limit: Duration) -> Wire {
    Wire::accepted(stream, limit)
}

/// What a client sees of this server that trusts anything: its certificate.
fn shown(server: &Server) -> CertificateDer<'static> {
    let (mut client, other) = connection();
    let mut session = Clients::new()
        .session(&Trust::Anything, "localhost")
        .unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            accepted(other, LONG)
                .start_tls(server.session().unwrap())
                .unwrap()
        });
        session.handshake(&mut client).unwrap();
    });
    let chain = session.connection.peer_certificates().unwrap();
    chain[0].clone().into_owned()
}

/// D10: a start-up error with a remedy, never a 220 that leads nowhere.
#[test]
fn a_pair_that_is_of_no_use_is_refused() {
    let folder = Folder::new("refused");
    let authority = Authority::new();
    let (certificate, key) = authority.certify("localhost", 2090);
    let (other, _) = authority.certify("localhost", 2090);
    let (certificate, key, other) = (certificate.pem(), key.serialize_pem(), other.pem());
    let both = format!("{certificate}{key}");
    let chain = format!("{certificate}{}", authority.pem);
    let encrypted = key.replace("PRIVATE", "ENCRYPTED PRIVATE");
    let broken = certificate.replace("-----END", "----END");
    // Certificate, key, the key's mode, a part of the refusal.
    let rows: &[(&str, &str, u32, &str)] = &[
        (&certificate, &key, 0o600, ""),
        (&certificate, &key, 0o640, ""),
        (&chain, &key, 0o600, ""),
        (&both, &both, 0o600, ""),
        (
            &certificate,
            &key,
            0o644,
            "key.pem can be read by everybody (mode 0644); run: chmod 0640 ",
        ),
        (
            &other,
            &key,
            0o600,
            "does not belong to the first certificate",
        ),
        (
            &format!("{}{certificate}", authority.pem),
            &key,
            0o600,
            "certificate must stand first",
        ),
        (
            "",
            &key,
            0o600,
            "cert.pem has no certificate in it; it must be in PEM form, with lines such as -----BEGIN CERTIFICATE-----",
        ),
        (&key, &key, 0o600, "cert.pem has no certificate in it"),
        (
            &broken,
            &key,
            0o600,
            "cert.pem has a part without an end in it",
        ),
        (
            "-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n",
            &key,
            0o600,
            "not base64",
        ),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            &key,
            0o600,
            "cannot be read as X.509",
        ),
        (
            &certificate,
            "",
            0o600,
            "key.pem has no private key in it; it must be in PEM form, with lines such as -----BEGIN PRIVATE KEY-----",
        ),
        (
            &certificate,
            &key.replace("-----END", "----END"),
            0o600,
            "key.pem has a part without an end in it; it must be in PEM form, with lines such as -----BEGIN PRIVATE",
        ),
        (
            &certificate,
            &certificate,
            0o600,
            "key.pem has no private key in it",
        ),
        (
            &certificate,
            &encrypted,
            0o600,
            "decrypt it with openssl pkey -in",
        ),
        (
            &certificate,
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            0o600,
            "key.pem cannot be used",
        ),
    ];
    for (certificate, key, mode, expected) in rows {
        let certificate = folder.write("cert.pem", certificate, 0o644);
        let key = folder.write("key.pem", key, *mode);
        match Server::load(&certificate, &key) {
            Ok(_) => assert_eq!(*expected, ""),
            Err(why) => {
                assert!(!expected.is_empty() && why.contains(expected), "{why}");
                assert!(!why.contains("-----END") && !why.contains("{"), "{why}");
            }
        }
    }
    let absent = folder.0.join("absent");
    let key = folder.write("key.pem", &key, 0o600);
    let why = Server::load(&absent, &key).unwrap_err();
    assert!(why.ends_with("absent: no such file or directory"), "{why}");
    assert!(Server::load(&key, &absent).is_err());
    assert!(Server::load(&folder.0, &key).is_err());
}

/// D26: new sessions get the new pair, old ones go on; a pair that is half renewed does no harm.
#[test]
fn a_renewed_pair_is_taken_without_a_restart() {
    let folder = Folder::new("renewed");
    let authority = Authority::new();
    let (certificate, key) = folder.pair(&authority, 2090);
    let server = Server::load(&certificate, &key).unwrap();
    assert_eq!(server.reload_if_changed(), Ok(false));
    let before = shown(&server);
    let (mut client, other) = connection();
    let mut session = Clients::new()
        .session(&Trust::Anything, "localhost")
        .unwrap();
    thread::scope(|scope| {
        let old = scope.spawn(|| {
            let mut wire = accepted(other, LONG);
            wire.start_tls(server.session().unwrap()).unwrap();
            wire
        });
        session.handshake(&mut client).unwrap();
        let mut old = old.join().unwrap();

        let (new, new_key) = authority.certify("localhost", 2090);
        folder.write("cert.pem", &new.pem(), 0o644);
        let why = server.reload_if_changed().unwrap_err();
        assert!(
            why.ends_with("(the pair read before stays in use)"),
            "{why}"
        );
        assert_eq!(server.reload_if_changed(), Ok(false)); // said once
        assert_eq!(shown(&server), before);
        folder.write("key.pem", &new_key.serialize_pem(), 0o640);
        assert_eq!(server.reload_if_changed(), Ok(true));
        assert_eq!(shown(&server), *new.der());
        std::fs::remove_file(&key).unwrap();
        assert!(server.reload_if_changed().is_err());
        assert_eq!(shown(&server), *new.der());

        old.write_all(b"still here").unwrap();
        old.flush().unwrap();
        let mut block = [0; 16];
        let length = session.read(&mut client, &mut block).unwrap();
        assert_eq!(&block[..length], b"still here");
    });
}

#[test]
fn a_pair_of_our_own_is_made_once() {
    let folder = Folder::new("own");
    let own = folder.0.join("spool/tls");
    let server = Server::self_signed(&own, "pi.example.org").unwrap();
    assert_eq!(server.warning(NOW), None);
    let certificate = shown(&server);
    assert_eq!(
        shown(&Server::self_signed(&own, "other.example").unwrap()),
        certificate
    );
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&own), mode(&own.join(OWN_PAIR))), (0o700, 0o600));
    assert_eq!(std::fs::read_dir(&own).unwrap().count(), 1); // no draft is left
    // Its name is in it, for whoever compares.
    let (mut client, other) = connection();
    let pem = folder.write(
        "ca.pem",
        &std::fs::read_to_string(own.join(OWN_PAIR)).unwrap(),
        0o600,
    );
    let mut session = Clients::new()
        .session(&Trust::File(pem), "pi.example.org")
        .unwrap();
    thread::scope(|scope| {
        scope.spawn(|| drop(accepted(other, LONG).start_tls(server.session().unwrap())));
        session.handshake(&mut client).unwrap();
    });
    let nowhere = folder.write("file", "", 0o600).join("tls");
    let why = Server::self_signed(&nowhere, "pi.example.org").unwrap_err();
    assert!(
        why.ends_with("not a directory; set certificate and key in [tls]"),
        "{why}"
    );
}

#[test]
fn dates_that_clients_will_not_like_are_told() {
    let folder = Folder::new("dates");
    let authority = Authority::new();
    let rows = [
        (2001, NOW, "has expired on 2001-01-01T00:00:00Z"),
        (2027, NOW, ""),
        (2027, 1_798_000_000, "expires on 2027-01-01T00:00:00Z"), // 2026-12-23
        (
            2090,
            0,
            "is not valid before 2000-01-01T00:00:00Z; is the clock right?",
        ),
    ];
    for (until, now, expected) in rows {
        let (certificate, key) = folder.pair(&authority, until);
        let warning = Server::load(&certificate, &key).unwrap().warning(now);
        let warning = warning.unwrap_or_default();
        assert!(
            warning.contains(expected) && warning.is_empty() == expected.is_empty(),
            "{warning}"
        );
    }
}

/// A client that verifies nothing.
fn client_config() -> ClientConfig {
    let provider = Arc::new(provider::default_provider());
    ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Verifier::new(Leaf::Any, &provider))
        .with_no_client_auth()
}

/// Both sides' results; the client's is the kind of the handshake.
fn shake(
    config: &Arc<ClientConfig>,
    name: &str,
    server: &Server,
) -> (Result<HandshakeKind, String>, Result<(), String>) {
    let (mut client, other) = connection();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut connection = ClientConnection::new(Arc::clone(config), name).unwrap();
    thread::scope(|scope| {
        let server = scope.spawn(|| {
            let mut wire = accepted(other, LONG);
            wire.start_tls(server.session().unwrap())
                .map_err(|e| why(&e))?;
            wire.write_all(b"220 hello\r\n").unwrap();
            wire.flush().unwrap();
            let _ = wire.read(&mut [0]);
            Ok(())
        });
        let mut block = [0; 16];
        let done = rustls::Stream::new(&mut connection, &mut client).read(&mut block);
        let done = done
            .map_err(|e| e.to_string())
            .and_then(|_| connection.handshake_kind().ok_or_else(String::new));
        drop(client);
        (done, server.join().unwrap())
    })
}

#[test]
fn only_a_client_of_mail_is_served() {
    let folder = Folder::new("alpn");
    let server = Server::self_signed(&folder.0, "localhost").unwrap();
    let rows: &[(&[&str], bool)] = &[
        (&[], true),
        (&["smtp"], true),
        (&["h2", "smtp"], true),
        (&["http/1.1"], false), // ALPACA
        (&["h2", "http/1.1"], false),
        (&["imap"], false),
        (&["ftp"], false),
    ];
    for (offered, taken) in rows {
        let mut config = client_config();
        config.alpn_protocols = offered.iter().map(|p| p.as_bytes().to_vec()).collect();
        let (client, ours) = shake(&Arc::new(config), "localhost", &server);
        assert_eq!(client.is_ok(), *taken, "{offered:?} {client:?}");
        assert_eq!(ours.is_ok(), *taken, "{offered:?}");
        if let Err(why) = ours {
            assert_eq!(why, "the client wants to speak another protocol than SMTP");
        }
    }
}

/// D11: nothing of one session is worth anything in another, at this server or at the next.
#[test]
fn no_session_is_resumed() {
    let folder = Folder::new("tickets");
    let one = Server::self_signed(&folder.0, "localhost").unwrap();
    let other = Server::self_signed(&folder.0, "localhost").unwrap();
    for version in [&TLS13, &TLS12] {
        let provider = Arc::new(provider::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[version])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Verifier::new(Leaf::Any, &provider))
            .with_no_client_auth();
        let config = Arc::new(config); // which resumes what it can
        for server in [&one, &one, &other] {
            let (client, _) = shake(&config, "localhost", server);
            assert_eq!(client, Ok(HandshakeKind::Full));
        }
    }
}

/// D9: whatever name a client asks for, it gets the one certificate.
#[test]
fn the_name_asked_for_decides_nothing() {
    let folder = Folder::new("sni");
    let server = Server::self_signed(&folder.0, "localhost").unwrap();
    let config = Arc::new(client_config());
    let long = [["a".repeat(63).as_str(); 3].join("."), "b".repeat(61)].join(".");
    for name in [
        "other.example",
        "x_y.example",
        "192.0.2.1",
        "::1",
        long.as_str(),
    ] {
        let (client, _) = shake(&config, name, &server);
        assert!(client.is_ok(), "{name} {client:?}");
    }
}

/// What the server says to octets sent after its 220, and the line in the log.
fn say(octets: &[u8], shut: bool) -> (Vec<u8>, String) {
    let folder = Folder::new(&format!("say-{}", octets.len()));
    let server = Server::self_signed(&folder.0, "localhost").unwrap();
    let (mut client, other) = connection();
    thread::scope(|scope| {
        let server = scope.spawn(|| {
            let mut wire = accepted(other, LONG);
            wire.start_tls(server.session().unwrap()).unwrap_err()
        });
        client.write_all(octets).unwrap();
        if shut {
            client.shutdown(std::net::Shutdown::Write).unwrap();
        }
        let mut said = Vec::new();
        // A reset comes when the server did not read everything.
        let _ = client.read_to_end(&mut said);
        (said, why(&server.join().unwrap()))
    })
}

/// A hello of TLS 1.1, as an old camera says it.
const TLS_1_1: &[u8] = b"\x16\x03\x01\0\x2f\x01\0\0\x2b\x03\x02\
        0123456789abcdef0123456789abcdef\0\0\x04\0\x2f\0\x35\x01\0";

/// D5, D6, D7, R164, R177: an alert or nothing, never a word in the clear; one line for the log.
#[test]
fn what_is_no_handshake_gets_no_reply_in_the_clear() {
    let rows: &[(&[u8], bool, &str)] = &[
        (b"garbage\r\n\r\n", false, "does not speak TLS"),
        (b"NOOP\r\nMAIL FROM:<x@y>\r\n", false, "does not speak TLS"),
        (b"\x16\x03\x01\x40\x01", true, "closed the connection"),
        (&[0; 100], false, ""),
        (b"", true, "closed the connection during the handshake"),
        (
            &TLS_1_1[..20],
            true,
            "closed the connection during the handshake",
        ),
        (TLS_1_1, false, "knows no TLS as new as 1.2"),
    ];
    for (octets, shut, expected) in rows {
        let (said, why) = say(octets, *shut);
        assert!(said.is_empty() || said[0] == 0x15, "{said:?}"); // 21: an alert
        assert!(
            why.contains(expected) && !why.contains(['\n', '{']),
            "{why}"
        );
    }
}

/// D8: who stalls is dropped at his deadline, however slowly he goes on.
#[test]
fn a_handshake_has_its_deadline() {
    let folder = Folder::new("stall");
    let server = Server::self_signed(&folder.0, "localhost").unwrap();
    let (mut client, other) = connection();
    thread::scope(|scope| {
        let server = scope.spawn(|| {
            let mut wire = accepted(other, Duration::from_millis(100));
            wire.start_tls(server.session().unwrap()).unwrap_err()
        });
        client
            .set_read_timeout(Some(Duration::from_millis(10)))
            .unwrap();
        // An octet each ten milliseconds: the whole hello takes longer than the deadline.
        for octet in TLS_1_1 {
            if server.is_finished() || client.write_all(&[*octet]).is_err() {
                break;
            }
            let _ = client.read(&mut [0]);
        }
        let why = why(&server.join().unwrap());
        assert_eq!(why, "the client did not finish the handshake in time");
    });
}
