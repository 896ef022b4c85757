//! Certificates for the tests, made when they run, and both sides of TLS.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair,
    PublicKeyData as _,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};

use super::system::{HOST, System, until};
use super::{Client, Daemon};

/// The server's side of a TLS connection.
pub type TlsStream = StreamOwned<ServerConnection, TcpStream>;

/// A certificate authority of one test.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: CertificateDer<'static>,
}

impl Authority {
    /// A new one.
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let own = params.self_signed(&key).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            pem: own.pem(),
            der: own.der().clone(),
        }
    }

    /// A TLSA record's data that names it: `2 0 1 HEX`.
    pub fn tlsa(&self) -> String {
        format!("2 0 1 {}", sha256(&self.der))
    }

    /// Writes its certificate, for `ca_file`.
    pub fn write(&self, path: &Path) {
        std::fs::write(path, &self.pem).unwrap();
    }

    /// A server's certificate for these names or addresses.
    pub fn certify(&self, names: &[&str]) -> Acceptor {
        self.certify_until(names, 2100)
    }

    /// Such a certificate and its key in one file, for `[tls]`.
    pub fn write_pair(&self, names: &[&str], year: i32, path: &Path) {
        let (certificate, key) = self.sign(names, year);
        std::fs::write(
            path,
            format!("{}{}", certificate.pem(), key.serialize_pem()),
        )
        .unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(path, mode).unwrap();
    }

    /// As [`Authority::certify`], valid until the beginning of a year.
    pub fn certify_until(&self, names: &[&str], year: i32) -> Acceptor {
        let (certificate, key) = self.sign(names, year);
        // Whom the authority is named to has to be shown it (RFC 7672 3.1.2).
        Acceptor::new(&[certificate.der().clone(), self.der.clone()], &key)
    }

    fn sign(&self, names: &[&str], year: i32) -> (Certificate, KeyPair) {
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
        (certificate, key)
    }
}

fn sha256(octets: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, octets);
    digest.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

/// A client under TLS, which trusts the certificate in this file and no other.
pub struct Secure {
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
}

impl Secure {
    /// After the handshake. `protocol`: what the client says it speaks, if anything (ALPN).
    pub fn on(stream: TcpStream, trusted: &Path, protocol: Option<&str>) -> io::Result<Self> {
        if stream.read_timeout()?.is_none() {
            stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        }
        let mut roots = RootCertStore::empty();
        let pem = CertificateDer::from_pem_file(trusted).unwrap();
        roots.add(pem).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocol.iter().map(|p| p.as_bytes().to_vec()).collect();
        let name = HOST.try_into().unwrap();
        let mut stream = StreamOwned::new(
            ClientConnection::new(Arc::new(config), name).unwrap(),
            stream,
        );
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        let stream = BufReader::new(stream);
        Ok(Self { stream })
    }

    /// A client of a daemon at the door of this kind that has said EHLO under TLS.
    pub fn meet(system: &System, daemon: &Daemon, kind: &str) -> Self {
        let own = system.path("spool/tls/self-signed.pem");
        let stream = TcpStream::connect(daemon.address(kind)).unwrap();
        if kind != "submissions" {
            let mut clear = Client::tcp(stream.try_clone().unwrap());
            assert!(clear.reply().starts_with("220 "));
            clear.say("EHLO mail.example");
            assert!(clear.say("STARTTLS").starts_with("220 "));
        }
        until("there is a certificate", || own.exists());
        let mut client = Self::on(stream, &own, None).unwrap();
        if kind == "submissions" {
            client.reply();
        }
        client.say("EHLO mail.example");
        client
    }

    /// The server's certificate.
    pub fn certificate(&self) -> Vec<u8> {
        let chain = self.stream.get_ref().conn.peer_certificates();
        chain.unwrap()[0].to_vec()
    }

    /// The next reply, its lines parted by `\n`; what came of reading, when there is none.
    pub fn reply(&mut self) -> String {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            match self.stream.read_line(&mut line) {
                Ok(n) if n > 0 => {}
                read => return format!("({read:?})"),
            }
            lines.push(line.trim_end().to_owned());
            if line.as_bytes().get(3) != Some(&b'-') {
                return lines.join("\n");
            }
        }
    }

    /// Sends a line and returns the reply.
    pub fn say(&mut self, line: &str) -> String {
        let stream = self.stream.get_mut();
        stream.write_all(format!("{line}\r\n").as_bytes()).unwrap();
        self.reply()
    }

    /// As [`Self::say`], of a server that may have gone.
    pub fn ask(&mut self, line: &str) -> io::Result<String> {
        let stream = self.stream.get_mut();
        stream.write_all(format!("{line}\r\n").as_bytes())?;
        match self.reply() {
            gone if gone.starts_with('(') => Err(io::Error::other(gone)),
            reply => Ok(reply),
        }
    }

    /// Says each of these and expects the reply's first digits.
    pub fn steps(&mut self, steps: &[(&str, &str)]) {
        for (text, expected) in steps {
            let reply = self.say(text);
            assert!(reply.starts_with(expected), "{text}: {reply}");
        }
    }
}

/// A certificate with its key, ready to take connections.
#[derive(Clone)]
pub struct Acceptor {
    config: Arc<ServerConfig>,
    certificate: CertificateDer<'static>,
    public_key: Vec<u8>,
}

impl Acceptor {
    fn new(chain: &[CertificateDer<'static>], key: &KeyPair) -> Self {
        let public_key = key.subject_public_key_info();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain.to_vec(), key)
            .unwrap();
        Self {
            config: Arc::new(config),
            certificate: chain[0].clone(),
            public_key,
        }
    }

    /// Its SHA-256, as `fingerprint` wants it.
    pub fn fingerprint(&self) -> String {
        format!("sha256:{}", sha256(&self.certificate))
    }

    /// A TLSA record's data that names its key: `3 1 1 HEX`.
    pub fn tlsa(&self) -> String {
        format!("3 1 1 {}", sha256(&self.public_key))
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
