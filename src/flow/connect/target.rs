//! Where a connection leads, and what the server there has to prove.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use super::without_brackets;
use crate::config::{Login, Smarthost, Tls};
use crate::host::tls::{Remedy, Trust};
use crate::proto::client;
use crate::proto::dane::Dane;
use crate::proto::outcome::{Outcome, Verdict};
use crate::proto::reply::{Enhanced, Reply};

#[derive(Debug, Clone)]
pub struct Target<'a> {
    /// A name, or an address with or without brackets.
    pub host: Cow<'a, str>,
    /// The port.
    pub port: u16,
    /// Whether it speaks LMTP (RFC 2033), on that port, or on a socket of this system if `host` is a path.
    pub lmtp: bool,
    /// Its addresses, when they are known.
    pub addresses: Option<Vec<SocketAddr>>,
    /// At which of them to begin: at the first in turn 0, in the next one at the next.
    pub turn: usize,
    /// Where the connection comes from, one address a family at most; otherwise the system chooses.
    pub bind: &'a [IpAddr],
    /// How the connection is protected.
    pub tls: Tls,
    /// Whether the certificate is checked; never with [`Tls::Opportunistic`].
    pub verify: bool,
    /// Authorities to trust instead of the system's.
    pub ca_file: Option<&'a Path>,
    /// The one certificate to trust.
    pub fingerprint: Option<[u8; 32]>,
    /// Who logs in.
    pub login: Option<&'a Login>,
    /// What the server has to prove besides.
    pub proof: Proof,
    /// What can be done where its TLS is not as it must be.
    pub remedy: Remedy,
}

/// What a server has to prove because the domain it takes mail for says so. Each of them makes TLS a must.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proof {
    /// Nothing.
    #[default]
    Nothing,
    /// That it can encrypt: it has TLSA records, and none of them can be used (RFC 7672 2.2).
    Encryption,
    /// That it has a certificate of its TLSA records.
    Dane(Dane),
    /// That it has a certificate of its name, by an authority that the system trusts (REQUIRETLS).
    Name,
    /// That it has a certificate which an authority vouches for: one of those in this file, or the system's.
    Sts(Option<PathBuf>),
}

impl Proof {
    /// What it has to prove, and who says so.
    pub fn words(&self, domain: &str) -> Option<String> {
        match self {
            Self::Nothing => None,
            Self::Encryption => Some(
                "must encrypt: it has TLSA records, and none of them can be used (DANE)".to_owned(),
            ),
            Self::Dane(dane) => {
                let (count, name) = (dane.records.len(), dane.names.first()?);
                let plural = if count == 1 { "" } else { "s" };
                Some(format!(
                    "must have a certificate of the {count} TLSA record{plural} of {name} (DANE)"
                ))
            }
            Self::Name => Some("must have a good certificate of its name (REQUIRETLS)".to_owned()),
            Self::Sts(_) => Some(format!(
                "must have a good certificate of its name: {domain} says so (MTA-STS)"
            )),
        }
    }
}

impl<'a> From<&'a Smarthost> for Target<'a> {
    fn from(smarthost: &'a Smarthost) -> Self {
        Self {
            host: Cow::Borrowed(&smarthost.host),
            port: smarthost.port,
            lmtp: false,
            addresses: None,
            turn: 0,
            bind: &[],
            tls: smarthost.tls,
            verify: smarthost.verify,
            ca_file: smarthost.ca_file.as_deref(),
            fingerprint: smarthost.fingerprint,
            login: smarthost.login.as_ref(),
            proof: Proof::Nothing,
            remedy: Remedy::Keys,
        }
    }
}

/// What [`Target::verification`] says when anybody could be at the other end.
pub const UNVERIFIED: &str = "unverified";

impl Target<'_> {
    pub(super) fn trust(&self) -> Trust {
        match &self.proof {
            Proof::Nothing => {}
            Proof::Encryption => return Trust::Anything,
            Proof::Dane(dane) => return Trust::Dane(dane.clone()),
            Proof::Name | Proof::Sts(None) => return Trust::System,
            Proof::Sts(Some(path)) => return Trust::File(path.clone()),
        }
        match (self.fingerprint, self.ca_file) {
            _ if self.tls == Tls::Opportunistic => Trust::Anything,
            (Some(fingerprint), _) => Trust::Fingerprint(fingerprint),
            _ if !self.verify => Trust::Anything,
            (None, Some(path)) => Trust::File(path.to_owned()),
            (None, None) => Trust::System,
        }
    }

    /// What a connection that is encrypted proves of the server, in one word for the log.
    pub fn verification(&self) -> &'static str {
        match self.trust() {
            _ if matches!(self.proof, Proof::Sts(_)) => "sts",
            Trust::Anything => UNVERIFIED,
            Trust::Dane(_) => "dane",
            Trust::Fingerprint(_) => "fingerprint",
            Trust::System | Trust::File(_) => "pkix",
        }
    }

    /// The name that its certificate is asked for.
    pub(super) fn tls_name(&self) -> &str {
        match &self.proof {
            Proof::Dane(Dane { names, .. }) => names.first().map_or(&self.host, |name| name),
            _ => without_brackets(&self.host),
        }
    }

    /// Not now, in our own words.
    pub fn deferred(&self, enhanced: Enhanced, text: &str) -> Outcome {
        Outcome::new(Verdict::Deferred, None, enhanced, &self.host, text)
    }

    /// Not now, in the server's words, with what it was asked behind them.
    pub(super) fn refused(&self, asked: &str, reply: &Reply) -> Outcome {
        client::said(Verdict::Deferred, reply, &self.host).at(asked)
    }
}
