//! Our signatures on what leaves: who signs what, with keys that are read when the first message needs them.
//!
//! Only what was handed in here is signed: by programs of this machine, by users who have logged in, by the clients
//! of `relay_from`, and our own reports. What a stranger has sent and is only passed on stays his word, whatever
//! name stands in its From. Such a message is sealed instead (ARC), with what was found out when it came; and where
//! nothing is found out (`spf` and `dmarc` are off) it is left alone, for what stands there in our name may be his.

use std::net::IpAddr;
use std::path::Path;
use std::sync::OnceLock;

use crate::config::{Config, Judgement};
use crate::host::{clock, secret};
use crate::proto::arc;
use crate::proto::dkim::key::{Algorithm, SigningKey};
use crate::proto::dkim::sign::{Signable, Signer};
use crate::proto::envelope::Envelope;

/// The largest file of a key. One of 8192 bits has 6.5 KiB.
const MAX_KEY: u64 = 32 * 1024;

/// The keys of a run.
#[derive(Debug, Default)]
pub struct Signers(OnceLock<Result<Vec<Signer>, String>>);

impl Signers {
    /// The fields that are to stand before a message: signatures, or the seal of what is only passed on. A key that cannot
    /// be used is no reason to send mail unsigned, which others may refuse or throw away: it waits.
    ///
    /// # Errors
    /// What is wrong with a key.
    pub fn fields(
        &self,
        config: &Config,
        whose: Whose,
        message: &Signable,
    ) -> Result<Vec<u8>, String> {
        let signers = self.0.get_or_init(|| load(config));
        let signers = signers.as_ref().map_err(Clone::clone)?;
        // Seals by Ed25519 are understood by few.
        let rsa = signers.iter().find(|s| s.key.algorithm() == Algorithm::Rsa);
        let signed = match (whose, rsa.or(signers.first())) {
            (Whose::Ours, _) => message.signatures(signers, clock::now()),
            (Whose::Judged, Some(signer)) => {
                arc::seal(message, config.hostname.as_str(), signer, clock::now())
            }
            (Whose::Judged, None) | (Whose::Unknown, _) => Some(Vec::new()),
        };
        signed
            .ok_or_else(|| "the message cannot be signed: a key of [dkim] does not work".to_owned())
    }
}

/// Whose word a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// It was handed in here, and is signed when it leaves.
    Ours,
    /// A stranger's; what was found out about it stands on top, and nothing else in our name does.
    Judged,
    /// A stranger's, about which nothing was found out.
    Unknown,
}

/// Whose word a message is, by how it came.
pub fn whose(config: &Config, envelope: &Envelope) -> Whose {
    let at_home = |client: IpAddr| config.access.relay_from.iter().any(|n| n.contains(client));
    let access = &config.access;
    let is_judged = access.spf != Judgement::Off || access.dmarc != Judgement::Off;
    // First of all LMTP: the servers that use it are in `relay_from` more often than not, and nothing they bring is theirs.
    if envelope.is_by_lmtp() {
        Whose::Unknown
    } else if envelope.is_from_here()
        || envelope.auth.is_some()
        || envelope.client.parse().is_ok_and(at_home)
    {
        Whose::Ours
    } else if !is_judged {
        Whose::Unknown
    } else {
        Whose::Judged
    }
}

fn load(config: &Config) -> Result<Vec<Signer>, String> {
    let signer = |dkim: &crate::config::Dkim| {
        Ok(Signer {
            domain: dkim.domain.clone(),
            selector: dkim.selector.clone(),
            key: read(&dkim.key)?,
        })
    };
    config.dkim.iter().map(signer).collect()
}

/// Reads a private key.
///
/// # Errors
/// A sentence with its remedy.
pub fn read(path: &Path) -> Result<SigningKey, String> {
    const WHAT: &str = "the key of [dkim]";
    let text = secret::read(WHAT, path, MAX_KEY)?;
    SigningKey::from_pem(&text).map_err(|why| format!("{WHAT} {} {why}", path.display()))
}
