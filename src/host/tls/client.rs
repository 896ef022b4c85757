//! The client's side: what makes a server's certificate good, and each way a session can fail as a sentence with
//! its remedy.
//!
//! Nothing here is touched before a handshake begins: the system's list of authorities alone takes longer to read
//! than a message to send. What was made for a [`Trust`] is kept, so that a second connection resumes the
//! first one's session.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ring::digest;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring as provider, verify_tls12_signature,
    verify_tls13_signature,
};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct,
    Error, InvalidMessage, RootCertStore, SignatureScheme,
};

use super::Session;
use crate::host::words;
use crate::proto::dane::Dane;
use crate::proto::date::Stamp;

/// What makes a server's certificate good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// One of the system's authorities has signed it, for the name we connect to.
    System,
    /// One of the authorities in this PEM file has.
    File(PathBuf),
    /// It has this SHA-256 fingerprint, whatever else is in it.
    Fingerprint([u8; 32]),
    /// TLSA records that DNSSEC vouches for name it, or who has signed it.
    Dane(Dane),
    /// It is there. Whoever sits on the way can read and change everything.
    Anything,
}

/// Where the system's authorities are, in the order in which systems are likely. SSL_CERT_FILE has no say: the
/// caller of a set-group-id program sets it.
const SYSTEM_ROOTS: [&str; 7] = [
    "/etc/ssl/certs/ca-certificates.crt", // Debian, Alpine, OpenWrt, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",   // Fedora
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // newer Fedora
    "/etc/ssl/ca-bundle.pem",             // openSUSE
    "/etc/ssl/cert.pem",                  // OpenBSD, macOS
    "/usr/local/share/certs/ca-root-nss.crt", // FreeBSD
    "/usr/local/etc/ssl/cert.pem",
];

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
    let builder = match trust {
        Trust::System => builder.with_root_certificates(system_roots()?),
        Trust::File(path) => builder.with_root_certificates(own_roots(path)?),
        Trust::Fingerprint(pin) => builder
            .dangerous()
            .with_custom_certificate_verifier(Unchained::new(Leaf::Pinned(*pin), &provider)),
        Trust::Dane(dane) => builder
            .dangerous()
            .with_custom_certificate_verifier(Unchained::new(Leaf::Dane(dane.clone()), &provider)),
        Trust::Anything => builder
            .dangerous()
            .with_custom_certificate_verifier(Unchained::new(Leaf::Any, &provider)),
    };
    let mut config = builder.with_no_client_auth();
    config.resumption = Resumption::in_memory_sessions(RESUMABLE);
    Ok(config)
}

/// Whether these certificates, the server's own first, are good for a server of this name at `now`, seconds since 1970: as
/// it would be found at a handshake with this trust, which is [`Trust::System`] or [`Trust::File`].
///
/// # Errors
/// As at a handshake: for [`fault`] and [`explain`].
pub fn judge(trust: &Trust, chain: &[CertificateDer<'_>], name: &str, now: i64) -> io::Result<()> {
    let roots = match trust {
        Trust::File(path) => own_roots(path),
        _ => system_roots(),
    };
    let failed = |error: Error| io::Error::new(io::ErrorKind::InvalidData, error);
    let general = |why: String| failed(Error::General(why));
    let (leaf, chain) = chain
        .split_first()
        .ok_or_else(|| general("it shows no certificate".to_owned()))?;
    let provider = Arc::new(provider::default_provider());
    let roots = Arc::new(roots.map_err(general)?);
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider);
    let verifier = verifier.build().map_err(|e| general(e.to_string()))?;
    let name = ServerName::try_from(name).map_err(|_| {
        general(format!(
            "\"{name}\" is no name that a certificate could have"
        ))
    })?;
    let seconds = Duration::from_secs(u64::try_from(now).unwrap_or_default());
    let now = UnixTime::since_unix_epoch(seconds);
    verifier
        .verify_server_cert(leaf, chain, &name, &[], now)
        .map_err(failed)?;
    Ok(())
}

/// Whether the system has a list of authorities. An error is a sentence with its remedy.
pub fn has_system_roots() -> Result<(), String> {
    system_roots().map(drop)
}

fn system_roots() -> Result<RootCertStore, String> {
    for path in SYSTEM_ROOTS {
        match roots(Path::new(path)) {
            Ok(roots) if !roots.is_empty() => return Ok(roots),
            _ => {}
        }
    }
    Err(format!(
        "this system has no list of certificate authorities (looked for {} and others); install the package \
         ca-certificates, or set ca_file or fingerprint",
        SYSTEM_ROOTS[0] // there are seven
    ))
}

fn own_roots(path: &Path) -> Result<RootCertStore, String> {
    let shown = path.display();
    let roots = roots(path).map_err(|e| format!("cannot read ca_file {shown}: {}", words(&e)))?;
    if roots.is_empty() {
        return Err(format!(
            "ca_file {shown} has no certificate in it; it must be in PEM form"
        ));
    }
    Ok(roots)
}

/// The authorities in a PEM file. One that cannot be read is passed over: the others still work.
fn roots(path: &Path) -> io::Result<RootCertStore> {
    let file = BufReader::new(File::open(path)?);
    let read = CertificateDer::pem_reader_iter(file);
    let read = read.take_while(|r| !matches!(r, Err(pem::Error::Io(_))));
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(read.flatten());
    Ok(roots)
}

/// Which certificate is taken without a chain to an authority of this system.
#[derive(Debug)]
pub(super) enum Leaf {
    /// Any.
    Any,
    /// The one of this fingerprint.
    Pinned([u8; 32]),
    /// One that a TLSA record names.
    Dane(Dane),
}

/// Takes a certificate without such a chain. The handshake's signature is still verified: it proves that the server
/// has the certificate's key, without which a copy of the certificate would do.
#[derive(Debug)]
pub(super) struct Unchained {
    leaf: Leaf,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Unchained {
    pub(super) fn new(leaf: Leaf, provider: &CryptoProvider) -> Arc<Self> {
        let algorithms = provider.signature_verification_algorithms;
        Arc::new(Self { leaf, algorithms })
    }

    /// RFC 7672 3.1: the certificate itself, whatever else is in it; or one that an authority among those that were
    /// shown has signed, with a name that counts and in its time.
    fn verify_dane(
        &self,
        dane: &Dane,
        leaf: &CertificateDer<'_>,
        shown: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let certificate = ParsedCertificate::try_from(leaf)?;
        let key = certificate.subject_public_key_info();
        let (authorities, own): (Vec<_>, Vec<_>) =
            dane.records.iter().partition(|r| r.is_authority());
        if own.iter().any(|record| record.matches(leaf, &key)) {
            return Ok(());
        }
        let mut roots = RootCertStore::empty();
        for candidate in shown {
            let Ok(parsed) = ParsedCertificate::try_from(candidate) else {
                continue;
            };
            let key = parsed.subject_public_key_info();
            if authorities.iter().any(|r| r.matches(candidate, &key)) {
                // One that cannot be an authority is none.
                let _ = roots.add(candidate.clone().into_owned());
            }
        }
        if roots.is_empty() {
            return Err(Error::General(NOT_NAMED.to_owned()));
        }
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &roots, shown, now, algorithms)?;
        let has = |name: &String| {
            let name = ServerName::try_from(name.as_str());
            name.is_ok_and(|name| verify_server_name(&certificate, &name).is_ok())
        };
        if dane.names.iter().any(has) {
            return Ok(());
        }
        Err(CertificateError::NotValidForName.into())
    }
}

const NOT_NAMED: &str = "its certificate is none of those that its domain names in DNS (TLSA)";

impl ServerCertVerifier for Unchained {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        shown: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.leaf {
            Leaf::Any => {}
            Leaf::Dane(dane) => self.verify_dane(dane, leaf, shown, now)?,
            Leaf::Pinned(pin) => verify_pin(pin, leaf)?,
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn verify_pin(pin: &[u8; 32], leaf: &CertificateDer<'_>) -> Result<(), Error> {
    let found = digest::digest(&digest::SHA256, leaf);
    if found.as_ref() == pin {
        return Ok(());
    }
    let hex: String = found.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    Err(Error::General(format!(
        "its certificate has another fingerprint than the one configured, sha256:{hex}; if it was renewed, set \
         fingerprint to this"
    )))
}

/// Before this second of 1970 and later, a clock was never set: minimta is younger.
const CLOCK_IS_SET: i64 = 1_704_067_200; // 2024-01-01

/// What reports to the other side call a handshake that failed (RFC 8460 4.3).
pub fn fault(error: &io::Error) -> &'static str {
    use CertificateError as E;
    let inner = error.get_ref().and_then(|e| e.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidCertificate(error)) => match error {
            E::ExpiredContext { .. }
            | E::Expired
            | E::NotValidYetContext { .. }
            | E::NotValidYet => "certificate-expired",
            E::NotValidForNameContext { .. } | E::NotValidForName => "certificate-host-mismatch",
            E::UnknownIssuer | E::BadSignature => "certificate-not-trusted",
            _ => "validation-failure",
        },
        _ => "validation-failure",
    }
}

/// Why a handshake failed and what to do about it, for the words after "TLS failed: ". `now`: seconds since
/// 1970, by the clock that the certificate was compared with.
pub fn explain(error: &io::Error, now: i64) -> String {
    let inner = error.get_ref().and_then(|e| e.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidCertificate(e)) => explain_certificate(e, now),
        Some(Error::General(sentence)) => sentence.clone(),
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            "it does not answer with TLS; is the port right, or does it want tls = \"starttls\"?"
                .to_owned()
        }
        Some(Error::PeerIncompatible(_)) => TOO_OLD.to_owned(),
        Some(Error::AlertReceived(alert)) => match alert {
            AlertDescription::ProtocolVersion
            | AlertDescription::HandshakeFailure
            | AlertDescription::InsufficientSecurity => TOO_OLD.to_owned(),
            AlertDescription::CertificateRequired => {
                "it wants a certificate of ours, and minimta has none to show".to_owned()
            }
            _ => "it broke off the handshake with an alert".to_owned(),
        },
        Some(other) => other.to_string(),
        None => match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                "it closed the connection during the handshake".to_owned()
            }
            io::ErrorKind::TimedOut => "it did not finish the handshake in time".to_owned(),
            _ => words(error),
        },
    }
}

const TOO_OLD: &str = "it refused the handshake; perhaps it knows no TLS as new as 1.2, or none of its ciphers is safe";

fn explain_certificate(error: &CertificateError, now: i64) -> String {
    let date = |time: &UnixTime| {
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        Stamp::utc(seconds).iso8601()
    };
    let clock = if now < CLOCK_IS_SET {
        let now = Stamp::utc(now).iso8601();
        format!("; but the clock here says {now}: set it, and try again")
    } else {
        String::new()
    };
    match error {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("its certificate has expired on {}{clock}", date(not_after))
        }
        CertificateError::Expired => format!("its certificate has expired{clock}"),
        CertificateError::NotValidYetContext { not_before, .. } => {
            let from = date(not_before);
            format!("its certificate is not valid before {from}{clock}")
        }
        CertificateError::NotValidYet => format!("its certificate is not valid yet{clock}"),
        CertificateError::NotValidForNameContext { presented, .. } if !presented.is_empty() => {
            format!(
                "its certificate is for another name ({}); set host to a name that it has",
                names(presented)
            )
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is for another name; set host to a name that it has".to_owned()
        }
        // A bad signature: an authority of the same name, and another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "no authority that is trusted here has signed its certificate; set ca_file to its authority's \
             certificate, or fingerprint to its own"
                .to_owned()
        }
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "it shows the certificate of an authority as its own; set fingerprint to trust just this one".to_owned()
        }
        other => format!("its certificate is not good: {other}{clock}"),
    }
}

/// The first few names of a certificate, as they may be shown.
fn names(presented: &[String]) -> String {
    const MAX: usize = 3;
    let shown = presented.iter().take(MAX);
    let shown: Vec<&str> = shown
        .map(|name| name.strip_prefix("DnsName(\"").unwrap_or(name))
        .map(|name| name.strip_suffix("\")").unwrap_or(name))
        .collect();
    let more = if presented.len() > MAX { ", ..." } else { "" };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
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
                .map_err(|e| explain(&e, 1_800_000_000))?;
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

    #[test]
    fn a_clock_that_was_never_set_is_told() {
        let expired = CertificateError::NotValidYet;
        assert_eq!(
            explain_certificate(&expired, 3600),
            "its certificate is not valid yet; but the clock here says 1970-01-01T01:00:00Z: set it, and try again"
        );
        assert_eq!(
            explain_certificate(&expired, CLOCK_IS_SET),
            "its certificate is not valid yet"
        );
    }
}
