//! The server's side: our certificate and its key, from files, read again when they change; or a self-signed pair
//! of our own, so that there is always something to encrypt with.
//!
//! What a client offers beyond the handshake decides nothing here: the name it asks for (SNI) chooses no file, and
//! no session is resumed, so that a ticket of one service is worth nothing at another (it would carry over what
//! was true there), and an idle server holds no sessions. A client that says it speaks another protocol (ALPN)
//! is refused: a browser sent here by somebody else must not have its request read as mail (ALPACA,
//! CVE-2021-3618).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

#[cfg(feature = "server")]
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, date_time_ymd};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::ring as provider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, CertificateError, Error, InconsistentKeys, InvalidMessage, RootCertStore,
    ServerConfig, ServerConnection,
};

use super::Session;
use crate::host::secret::{self, Version};
use crate::host::words;
use crate::proto::date::Stamp;

/// The most that is read of a certificate or key file, octets. A chain has a few thousand.
const MAX_FILE: u64 = 256 * 1024;

/// A certificate and its key, ready for sessions.
#[derive(Debug)]
pub struct Server {
    certificate: PathBuf,
    key: PathBuf,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    leaf: CertificateDer<'static>,
    /// The files when they were last looked at, whatever came of it.
    seen: [Version; 2],
}

impl Server {
    /// Reads a certificate, with its chain behind it, and its key, both in PEM; they may stand in one file.
    ///
    /// # Errors
    /// A sentence with its remedy: a file is missing, cannot be read, is no PEM, can be read by everybody, or the two
    /// do not belong together.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, String> {
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        let current = Mutex::new(read(&certificate, &key)?);
        Ok(Self {
            certificate,
            key,
            current,
        })
    }

    /// The self-signed pair in this folder, for a host of this name; both are made when they are not there.
    ///
    /// # Errors
    /// A sentence with its remedy.
    pub fn self_signed(folder: &Path, hostname: &str) -> Result<Self, String> {
        let path = Self::make_own(folder, hostname)?;
        Self::load(&path, &path)
    }

    /// Makes the self-signed pair, where it is not there yet, and says where.
    ///
    /// # Errors
    /// A sentence with its remedy.
    pub fn make_own(folder: &Path, hostname: &str) -> Result<PathBuf, String> {
        let path = folder.join(OWN_PAIR);
        if !Version::of(&path).exists() {
            make_pair(folder, &path, hostname).map_err(|why| {
                format!(
                    "cannot make a self-signed certificate in {}: {why}; set certificate and key in [tls]",
                    folder.display()
                )
            })?;
        }
        Ok(path)
    }

    /// Our side of a new session.
    ///
    /// # Errors
    /// A sentence; none is known that could come.
    pub fn session(&self) -> Result<Session, String> {
        if !crate::parts::SERVER {
            return Err(crate::parts::NO_SERVER.to_owned());
        }
        let config = Arc::clone(&self.lock().config);
        let connection =
            ServerConnection::new(config).map_err(|e| format!("TLS cannot be set up: {e}"))?;
        Ok(Session {
            connection: connection.into(),
        })
    }

    /// Reads both files again if one of them is another than before; whether it was so. What is wrong is said
    /// once for each version of the files, and the old pair goes on serving.
    ///
    /// # Errors
    /// As [`Server::load`].
    pub fn reload_if_changed(&self) -> Result<bool, String> {
        let versions = self.versions();
        if self.lock().seen == versions {
            return Ok(false);
        }
        // Read without the lock: other sessions need not wait for the disk.
        let read = read(&self.certificate, &self.key);
        let mut current = self.lock();
        match read {
            Ok(new) => *current = new,
            Err(why) => {
                current.seen = versions;
                return Err(format!("{why} (the pair read before stays in use)"));
            }
        }
        Ok(true)
    }

    /// What clients that check the certificate will not like about it at `now`, seconds since 1970; or soon.
    pub fn warning(&self, now: i64) -> Option<String> {
        let leaf = self.lock().leaf.clone();
        let shown = self.certificate.display();
        if let Some(trouble) = date_trouble(&leaf, now) {
            return Some(format!("the certificate {shown} {trouble}"));
        }
        let soon = date_trouble(&leaf, now.saturating_add(SOON))?;
        let soon = soon.replace("has expired", "expires");
        Some(format!("the certificate {shown} {soon}"))
    }

    fn versions(&self) -> [Version; 2] {
        [Version::of(&self.certificate), Version::of(&self.key)]
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Current> {
        // What is in it is replaced whole, never half.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long before its end a certificate is worth a warning, seconds: the usual ones are renewed 30 days before.
const SOON: i64 = 14 * 86_400;

/// What a client may say it speaks (ALPN, RFC 7301), if it says anything: what other mail software calls it.
const PROTOCOLS: [&[u8]; 2] = [b"smtp", b"esmtp"];

fn read(certificate: &Path, key: &Path) -> Result<Current, String> {
    let seen = [Version::of(certificate), Version::of(key)];
    let chain = read_chain(certificate)?;
    let Some(leaf) = chain.first().cloned() else {
        return Err(no_pem("certificate", certificate, "no certificate"));
    };
    let secret_key = read_key(key)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|e| format!("TLS cannot be set up: {e}"))?
        .with_no_client_auth()
        .with_single_cert(chain, secret_key)
        .map_err(|e| unfit(&e, certificate, key))?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Current {
        config: Arc::new(config),
        leaf,
        seen,
    })
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let octets = crate::host::read_bounded(path, MAX_FILE)
        .map_err(|e| format!("cannot read certificate {}: {}", path.display(), words(&e)))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&octets).collect();
    chain.map_err(|e| no_pem("certificate", path, flaw(&e)))
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let octets = secret::read("key", path, MAX_FILE)?;
    PrivateKeyDer::from_pem_slice(&octets).map_err(|e| {
        let encrypted = octets.windows(ENCRYPTED.len()).any(|w| w == ENCRYPTED);
        match e {
            pem::Error::NoItemsFound if encrypted => format!(
                "key {0} is encrypted, and there is nobody to ask for its password at a start; decrypt it with \
                 openssl pkey -in {0}",
                path.display()
            ),
            pem::Error::NoItemsFound => no_pem("key", path, "no private key"),
            e => no_pem("key", path, flaw(&e)),
        }
    })
}

/// In the first line of a key with a password, in both forms.
const ENCRYPTED: &[u8] = b"ENCRYPTED";

fn no_pem(what: &str, path: &Path, found: &str) -> String {
    format!(
        "{what} {} has {found} in it; it must be in PEM form, with lines such as -----BEGIN CERTIFICATE-----",
        path.display()
    )
}

fn flaw(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a part without an end",
        pem::Error::IllegalSectionStart { .. } => "a part without a proper beginning",
        _ => "something that is not base64",
    }
}

/// Why a certificate and a key that could be read are of no use together.
fn unfit(error: &Error, certificate: &Path, key: &Path) -> String {
    let (certificate, key) = (certificate.display(), key.display());
    match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => format!(
            "key {key} does not belong to the first certificate in {certificate}; the server's own certificate must \
             stand first, its chain behind it, and both files must be of the same renewal"
        ),
        Error::InvalidCertificate(_) => format!(
            "the first certificate in {certificate} cannot be read as X.509 version 3; make it anew"
        ),
        _ => format!(
            "key {key} cannot be used; it must be an RSA key of 2048 bits or more, an ECDSA key on P-256 or P-384, or \
             an Ed25519 key"
        ),
    }
}

/// What is wrong with a certificate's dates. The verifier of clients looks at the dates first, and only they are
/// asked for: whoever has signed it is no matter here.
fn date_trouble(leaf: &CertificateDer<'static>, now: i64) -> Option<String> {
    let mut roots = RootCertStore::empty();
    roots.add(leaf.clone()).ok()?;
    let provider = Arc::new(provider::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
    let verifier = verifier.build().ok()?;
    let name = ServerName::try_from("localhost").ok()?;
    let time = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now).ok()?));
    let date = |time: UnixTime| {
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        Stamp::utc(seconds).iso8601()
    };
    match verifier.verify_server_cert(leaf, &[], &name, &[], time) {
        Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
            Some(format!(
                "has expired on {}; clients that check it will not come: renew it",
                date(not_after)
            ))
        }
        Err(Error::InvalidCertificate(CertificateError::NotValidYetContext {
            not_before, ..
        })) => Some(format!(
            "is not valid before {}; is the clock right?",
            date(not_before)
        )),
        _ => None,
    }
}

/// The file of the self-signed pair: one file, so that no crash leaves a certificate without its key.
const OWN_PAIR: &str = "self-signed.pem";

/// There is nobody to show a pair to.
#[cfg(not(feature = "server"))]
fn make_pair(_: &Path, _: &Path, _: &str) -> Result<(), String> {
    Err(crate::parts::NO_SERVER.to_owned())
}

/// Makes the pair. A year that no clock here will see is its end: nobody trusts it for its dates, and whoever has
/// told his mail program to trust it wants it to stay.
#[cfg(feature = "server")]
fn make_pair(folder: &Path, path: &Path, hostname: &str) -> Result<(), String> {
    let refused = |e: rcgen::Error| e.to_string();
    let key = KeyPair::generate().map_err(refused)?;
    let mut params = CertificateParams::new(vec![hostname.to_owned()]).map_err(refused)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, hostname);
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(2099, 12, 31);
    let certificate = params.self_signed(&key).map_err(refused)?;
    let text = format!("{}{}", key.serialize_pem(), certificate.pem());
    crate::host::state::store(folder, path, text.as_bytes()).map_err(|e| words(&e))
}

/// Why a handshake with a client failed, for the log; nobody else reads it, and no line but one comes of it.
pub fn why(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|e| e.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            "the client does not speak TLS".to_owned()
        }
        Some(Error::NoApplicationProtocol) => {
            "the client wants to speak another protocol than SMTP".to_owned()
        }
        Some(Error::PeerIncompatible(_)) => {
            "the client knows no TLS as new as 1.2, or no cipher that is safe".to_owned()
        }
        Some(Error::AlertReceived(alert)) => match alert {
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown => {
                "the client does not trust our certificate".to_owned()
            }
            AlertDescription::CertificateExpired => {
                "the client says that our certificate has expired".to_owned()
            }
            other => format!(
                "the client broke off with the alert {}",
                other.as_str().unwrap_or("unknown")
            ),
        },
        Some(other) => other.to_string(),
        None => match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                "the client closed the connection during the handshake".to_owned()
            }
            io::ErrorKind::TimedOut => "the client did not finish the handshake in time".to_owned(),
            _ => words(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::client::{Leaf, Unchained};
    use super::super::testing::Authority;
    use super::super::{Clients, Trust};
    use super::*;
    use crate::host::wire::Wire;
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
                "cert.pem has no certificate in it; it must be in PEM form",
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
            (&certificate, "", 0o600, "key.pem has no private key in it"),
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
            .with_custom_certificate_verifier(Unchained::new(Leaf::Any, &provider))
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
                .with_custom_certificate_verifier(Unchained::new(Leaf::Any, &provider))
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

    /// D5, D6, D7: an alert or nothing, never a word in the clear; one line for the log.
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
}
