//! TLS 1.2 and 1.3: one session over any stream, for either side. The only folder with rustls: `trust.rs` has
//! what makes a server's certificate good, `client.rs` the sessions with servers and `fault.rs` why one failed, `server.rs`
//! our own certificate and its key, `own.rs` how they are made when none are configured.

use std::io::{self, Read, Write};

use rustls::Connection;

mod client;
mod fault;
#[cfg(feature = "server")]
mod own;
mod server;
mod trust;

pub use client::Clients;
pub use fault::{Remedy, explain, fault};
pub use server::{Server, why};
pub use trust::{Trust, has_system_roots};

/// One TLS session. It has no stream of its own: each step is given the one it runs over, so that the stream's
/// deadlines hold here too.
#[derive(Debug)]
pub struct Session {
    connection: Connection,
}

impl Session {
    /// Brings the handshake to its end. [`explain`] makes a sentence of an error for a client, [`why`] for a
    /// server.
    pub fn handshake(&mut self, stream: &mut (impl Read + Write)) -> io::Result<()> {
        while self.connection.is_handshaking() {
            self.connection.complete_io(stream)?;
        }
        // A TLS 1.3 client's last words may still be here.
        self.flush(stream)
    }

    /// Version and cipher, `TLSv1.3 TLS13_AES_256_GCM_SHA384`, once the handshake is over.
    pub fn words(&self) -> String {
        let version = self.connection.protocol_version().and_then(|v| v.as_str());
        // The library writes TLSv1_3, which nobody else does.
        let version = version.map(|v| v.replace('_', "."));
        let suite = self
            .connection
            .negotiated_cipher_suite()
            .and_then(|s| s.suite().as_str().map(str::to_owned));
        [version, suite]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// The other side's own certificate, in DER.
    pub fn certificate(&self) -> Option<&[u8]> {
        let shown = self.connection.peer_certificates()?;
        shown.first().map(|certificate| &**certificate)
    }

    /// Whether what the other side has shown makes it good for this name, whatever was asked of it at the handshake.
    ///
    /// # Errors
    /// As at a handshake with this trust.
    pub fn proves(&self, trust: &Trust, name: &str, now: i64) -> io::Result<()> {
        let shown = self.connection.peer_certificates().unwrap_or_default();
        trust::judge(trust, shown, name, now)
    }

    /// Reads what there is. 0: the other side has closed, politely or not; who needs to know whether something
    /// is missing sees it in what came.
    pub fn read(
        &mut self,
        stream: &mut (impl Read + Write),
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        loop {
            match self.connection.reader().read(buffer) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                done => return done,
            }
            self.connection.read_tls(stream)?;
            if let Err(error) = self.connection.process_new_packets() {
                // The alert is a courtesy: the session is over either way.
                let _ = self.flush(stream);
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
            if self.connection.wants_write() {
                // An answer to a change of keys. When it cannot be sent there may still be something to read.
                let _ = self.flush(stream);
            }
        }
    }

    /// Writes all octets.
    pub fn write(&mut self, stream: &mut (impl Read + Write), octets: &[u8]) -> io::Result<()> {
        let mut rest = octets;
        while !rest.is_empty() {
            let taken = self.connection.writer().write(rest)?;
            rest = rest.get(taken..).unwrap_or_default();
            self.flush(stream)?;
        }
        Ok(())
    }

    /// Says that nothing more will come.
    pub fn close(&mut self, stream: &mut (impl Read + Write)) -> io::Result<()> {
        self.connection.send_close_notify();
        self.flush(stream)
    }

    fn flush(&mut self, stream: &mut (impl Read + Write)) -> io::Result<()> {
        while self.connection.wants_write() {
            if self.connection.write_tls(stream)? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }
}

/// Authorities and servers for tests, made on the spot.
#[cfg(test)]
pub mod testing {
    use std::sync::Arc;

    use super::Session;
    use rcgen::{
        BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd,
    };
    use ring::digest;
    use rustls::crypto::ring as provider;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::version::{TLS12, TLS13};
    use rustls::{ServerConfig, ServerConnection};

    /// A certificate authority.
    pub struct Authority {
        issuer: Issuer<'static, KeyPair>,
        /// Its certificate.
        pub pem: String,
    }

    impl Authority {
        /// A fresh one.
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

        /// A certificate for this name, good from 2000 to the beginning of `until`, and its key.
        pub fn certify(&self, name: &str, until: i32) -> (Certificate, KeyPair) {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            params.not_before = date_time_ymd(2000, 1, 1);
            params.not_after = date_time_ymd(until, 1, 1);
            let certificate = params.signed_by(&key, &self.issuer).unwrap();
            (certificate, key)
        }

        /// A server with such a certificate.
        pub fn server(&self, name: &str, until: i32) -> Server {
            let (certificate, key) = self.certify(name, until);
            let found = digest::digest(&digest::SHA256, certificate.der());
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            let provider = Arc::new(provider::default_provider());
            let config = ServerConfig::builder_with_provider(provider)
                .with_protocol_versions(&[&TLS13, &TLS12])
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![certificate.der().clone()], key)
                .unwrap();
            Server {
                config: Arc::new(config),
                fingerprint: found.as_ref().try_into().unwrap(),
            }
        }
    }

    /// A server's certificate and key.
    #[derive(Clone)]
    pub struct Server {
        config: Arc<ServerConfig>,
        /// SHA-256 of its certificate.
        pub fingerprint: [u8; 32],
    }

    impl Server {
        /// Its side of a session.
        pub fn session(&self) -> Session {
            let connection = ServerConnection::new(Arc::clone(&self.config)).unwrap();
            Session {
                connection: connection.into(),
            }
        }
    }
}
