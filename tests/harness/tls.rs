//! Certificates for the tests, made when they run, and the server's side of TLS.

use std::io;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// The server's side of a TLS connection.
pub type TlsStream = StreamOwned<ServerConnection, TcpStream>;

/// A certificate authority of one test.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    /// A new one.
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// Writes its certificate, for `ca_file`.
    pub fn write(&self, path: &Path) {
        std::fs::write(path, &self.pem).unwrap();
    }

    /// A server's certificate for these names or addresses.
    pub fn certify(&self, names: &[&str]) -> Acceptor {
        self.certify_until(names, 2100)
    }

    /// As [`Authority::certify`], valid until the beginning of a year.
    pub fn certify_until(&self, names: &[&str], year: i32) -> Acceptor {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        // Not the authority's own name: some would take it for self-signed.
        params
            .distinguished_name
            .push(DnType::CommonName, "server of a test");
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Acceptor::new(certificate.der().clone(), &key)
    }
}

/// A certificate with its key, ready to take connections.
#[derive(Clone)]
pub struct Acceptor {
    config: Arc<ServerConfig>,
    certificate: CertificateDer<'static>,
}

impl Acceptor {
    fn new(certificate: CertificateDer<'static>, key: &KeyPair) -> Self {
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        Self {
            config: Arc::new(config),
            certificate,
        }
    }

    /// Its SHA-256, as `fingerprint` wants it.
    pub fn fingerprint(&self) -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, &self.certificate);
        let hex: Vec<String> = digest.as_ref().iter().map(|b| format!("{b:02x}")).collect();
        format!("sha256:{}", hex.concat())
    }

    /// Shakes hands.
    pub fn accept(&self, mut socket: TcpStream) -> io::Result<TlsStream> {
        let mut connection =
            ServerConnection::new(Arc::clone(&self.config)).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        Ok(StreamOwned::new(connection, socket))
    }
}
