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

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::ring as provider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{NoServerSessionStorage, ParsedCertificate};
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, CertificateError, Error, InconsistentKeys, InvalidMessage, RootCertStore,
    ServerConfig, ServerConnection,
};

use super::Session;
use super::fault::fault;
use super::trust::{Trust, judge};
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

    /// Whether the self-signed pair is there.
    pub fn has_own(folder: &Path) -> bool {
        Version::of(&folder.join(OWN_PAIR)).exists()
    }

    /// Makes the self-signed pair, where it is not there yet, and says where.
    ///
    /// # Errors
    /// A sentence with its remedy.
    pub fn make_own(folder: &Path, hostname: &str) -> Result<PathBuf, String> {
        let path = folder.join(OWN_PAIR);
        if !Self::has_own(folder) {
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

    /// What keeps the certificate in this file, with its chain, from being good for a server of this name, as reports
    /// about TLS call it (RFC 8460 4.3). `now`: seconds since 1970.
    ///
    /// # Errors
    /// A sentence: the file cannot be read.
    pub fn fault(
        certificate: &Path,
        trust: &Trust,
        name: &str,
        now: i64,
    ) -> Result<Option<&'static str>, String> {
        let chain = read_chain(certificate)?;
        let found = judge(trust, &chain, name, now);
        Ok(found.err().map(|error| fault(&error)))
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
        return Err(no_pem(CERTIFICATE, certificate, "no certificate"));
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
    chain.map_err(|e| no_pem(CERTIFICATE, path, flaw(&e)))
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
            pem::Error::NoItemsFound => no_pem(KEY, path, "no private key"),
            e => no_pem(KEY, path, flaw(&e)),
        }
    })
}

/// In the first line of a key with a password, in both forms.
const ENCRYPTED: &[u8] = b"ENCRYPTED";

/// A key of the configuration, and how what it names begins in PEM form.
type Kind = (&'static str, &'static str);
const CERTIFICATE: Kind = ("certificate", "-----BEGIN CERTIFICATE-----");
const KEY: Kind = ("key", "-----BEGIN PRIVATE KEY-----");

fn no_pem((what, begin): Kind, path: &Path, found: &str) -> String {
    format!(
        "{what} {} has {found} in it; it must be in PEM form, with lines such as {begin}",
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
    let certificate = ParsedCertificate::try_from(leaf).ok()?;
    let algorithms = provider::default_provider().signature_verification_algorithms;
    let time = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now).ok()?));
    let date = |time: UnixTime| {
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        Stamp::utc(seconds).iso8601()
    };
    match verify_server_cert_signed_by_trust_anchor(&certificate, &roots, &[], time, algorithms.all)
    {
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

#[cfg(feature = "server")]
fn make_pair(folder: &Path, path: &Path, hostname: &str) -> Result<(), String> {
    let pair = super::own::make(hostname).map_err(|_| "there is no randomness to be had")?;
    crate::host::state::store(folder, path, pair.as_bytes()).map_err(|e| words(&e))
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
mod tests;
