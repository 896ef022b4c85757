//! What makes a server's certificate good: an authority of the system or of a file, or the certificate itself, by its
//! fingerprint or by what its domain says in DNS (DANE).

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ring::digest;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring as provider, verify_tls12_signature,
    verify_tls13_signature,
};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::host::words;
use crate::proto::dane::Dane;

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

/// Whether these certificates, the server's own first, are good for a server of this name at `now`, seconds since 1970: as
/// it would be found at a handshake with this trust, which is [`Trust::System`] or [`Trust::File`].
///
/// # Errors
/// As at a handshake: for [`super::fault()`] and [`super::explain`].
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
    let roots = roots.map_err(general)?;
    let name = ServerName::try_from(name).map_err(|_| {
        general(format!(
            "\"{name}\" is no name that a certificate could have"
        ))
    })?;
    let seconds = Duration::from_secs(u64::try_from(now).unwrap_or_default());
    let now = UnixTime::since_unix_epoch(seconds);
    let algorithms = provider::default_provider().signature_verification_algorithms;
    verify_signed(&roots, leaf, chain, &name, now, &algorithms).map_err(failed)
}

/// Whether the system has a list of authorities. An error is a sentence with its remedy.
pub fn has_system_roots() -> Result<(), String> {
    system_roots().map(drop)
}

/// The first of the system's lists that can be read.
pub fn system_roots() -> Result<RootCertStore, String> {
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

/// The authorities of this `ca_file`.
pub fn own_roots(path: &Path) -> Result<RootCertStore, String> {
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

/// Which certificate is taken.
#[derive(Debug)]
pub enum Leaf {
    /// One that one of these authorities has signed, for the name we connect to.
    Signed(RootCertStore),
    /// Any.
    Any,
    /// The one of this fingerprint.
    Pinned([u8; 32]),
    /// One that a TLSA record names.
    Dane(Dane),
}

/// Takes certificates. The library's own taker does the same where authorities decide, and reads lists of revoked
/// certificates besides, of which there are none here: 30 KiB. Whatever is taken, the handshake's signature is
/// verified: it proves that the server has the certificate's key, without which a copy of the certificate would do.
#[derive(Debug)]
pub struct Verifier {
    leaf: Leaf,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    pub fn new(leaf: Leaf, provider: &CryptoProvider) -> Arc<Self> {
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

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        shown: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.leaf {
            Leaf::Signed(roots) => {
                verify_signed(roots, leaf, shown, name, now, &self.algorithms)?;
            }
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

/// RFC 5280 6: signed by an authority, or by those who show that it vouches for them, in its time; and for this name
/// (RFC 6125).
fn verify_signed(
    roots: &RootCertStore,
    leaf: &CertificateDer<'_>,
    shown: &[CertificateDer<'_>],
    name: &ServerName<'_>,
    now: UnixTime,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<(), Error> {
    let certificate = ParsedCertificate::try_from(leaf)?;
    verify_server_cert_signed_by_trust_anchor(&certificate, roots, shown, now, algorithms.all)?;
    verify_server_name(&certificate, name)
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
