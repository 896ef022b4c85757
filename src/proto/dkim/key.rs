//! The keys of signatures: our own, which sign, and those of others, as DNS has them (RFC 6376 3.6.1).
//!
//! rsa-sha256 and ed25519-sha256 (RFC 8463), and nothing else: SHA-1 proves nothing any more (RFC 8301).

use std::fmt;

use ring::rand::SystemRandom;
use ring::signature::{
    ED25519, Ed25519KeyPair, KeyPair, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
    RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
};

use crate::proto::pem;
use crate::proto::sasl::{decode_base64, encode_base64};
use crate::proto::tags::Tags;

/// What signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// rsa-sha256.
    Rsa,
    /// ed25519-sha256.
    Ed25519,
}

impl Algorithm {
    /// As signatures name it (a=).
    pub fn name(self) -> &'static str {
        match self {
            Self::Rsa => "rsa-sha256",
            Self::Ed25519 => "ed25519-sha256",
        }
    }

    /// As keys name it (k=).
    fn key_name(self) -> &'static str {
        match self {
            Self::Rsa => "rsa",
            Self::Ed25519 => "ed25519",
        }
    }

    /// Reads a=.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Rsa, Self::Ed25519]
            .into_iter()
            .find(|a| a.name().eq_ignore_ascii_case(name))
    }
}

/// A key of ours.
pub enum SigningKey {
    /// RSA, of 2048 bits at least.
    Rsa(Box<RsaKeyPair>),
    /// Ed25519.
    Ed25519(Ed25519KeyPair),
}

impl fmt::Debug for SigningKey {
    /// No more than what it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.algorithm().name())
    }
}

impl SigningKey {
    /// Reads a private key in PEM, as `openssl genrsa` and `openssl genpkey` write it.
    ///
    /// # Errors
    /// The end of a sentence that begins with the file's name.
    pub fn from_pem(text: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|_| NO_PEM.to_owned())?;
        let rsa = |key: Result<RsaKeyPair, ring::error::KeyRejected>| {
            key.map(|key| Self::Rsa(Box::new(key))).map_err(|why| {
                format!("holds no RSA key that can sign ({why}); it must have 2048 bits at least")
            })
        };
        if let Some(der) = block(text, "PRIVATE KEY") {
            if let Ok(key) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der) {
                return Ok(Self::Ed25519(key));
            }
            return rsa(RsaKeyPair::from_pkcs8(&der));
        }
        if let Some(der) = block(text, "RSA PRIVATE KEY") {
            return rsa(RsaKeyPair::from_der(&der));
        }
        Err(NO_PEM.to_owned())
    }

    /// A new Ed25519 key, in PEM (RFC 8410).
    pub fn generate() -> Option<String> {
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).ok()?;
        Some(pem::encode("PRIVATE KEY", made.as_ref()))
    }

    /// What it signs with.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Rsa(_) => Algorithm::Rsa,
            Self::Ed25519(_) => Algorithm::Ed25519,
        }
    }

    /// Signs. RSA signs the text's hash, and so does Ed25519 here: the hash is the message it signs (RFC 8463 3).
    pub fn sign(&self, text: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                let random = SystemRandom::new();
                key.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature)
                    .ok()?;
                Some(signature)
            }
            Self::Ed25519(key) => Some(key.sign(&sha256(text)).as_ref().to_vec()),
        }
    }

    /// What DNS is to say of it: the text of the TXT record.
    pub fn record(&self) -> String {
        let (name, public) = (self.algorithm().key_name(), encode_base64(self.public()));
        format!("v=DKIM1; k={name}; p={public}")
    }

    /// The public half as a record holds it: a SubjectPublicKeyInfo for RSA, the bare key for Ed25519.
    fn public(&self) -> Vec<u8> {
        match self {
            Self::Ed25519(key) => key.public_key().as_ref().to_vec(),
            Self::Rsa(key) => {
                let mut bits = vec![0];
                bits.extend_from_slice(key.public().as_ref());
                let info = [RSA_OID, &tagged(BIT_STRING, &bits)].concat();
                tagged(SEQUENCE, &info)
            }
        }
    }
}

const NO_PEM: &str = "holds no private key in PEM; one begins with a line -----BEGIN PRIVATE KEY----- (openssl genrsa 2048 writes one)";

/// What stands between the lines of PEM with this label.
fn block(text: &str, label: &str) -> Option<Vec<u8>> {
    let after = text.split_once(&format!("-----BEGIN {label}-----"))?.1;
    let inner = after.split_once(&format!("-----END {label}-----"))?.0;
    decode_base64(inner.split_ascii_whitespace().collect::<String>())
}

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
/// The AlgorithmIdentifier rsaEncryption (RFC 8017 A.1), whole.
const RSA_OID: &[u8] = &[
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];

/// DER: a tag, the length, the value.
fn tagged(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = value.len().to_be_bytes();
    let digits: Vec<u8> = length.into_iter().skip_while(|b| *b == 0).collect();
    let mut der = vec![tag];
    match (value.len(), u8::try_from(digits.len())) {
        (0..=0x7f, _) | (_, Err(_)) => der.push(digits.first().copied().unwrap_or_default()),
        (_, Ok(count)) => {
            der.push(0x80 | count);
            der.extend_from_slice(&digits);
        }
    }
    der.extend_from_slice(value);
    der
}

/// The value of the DER that a text begins with, and what follows it.
fn untagged(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = digits.iter().fold(0, |sum, b| sum << 8 | usize::from(*b));
            (length, rest)
        }
        _ => return None,
    };
    (found == tag)
        .then(|| rest.split_at_checked(length))
        .flatten()
}

/// The public key of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    algorithm: Algorithm,
    /// As ring takes it.
    octets: Vec<u8>,
    /// t=y: its owner is only trying (RFC 6376 3.6.1).
    pub testing: bool,
    /// t=s: who signs must be of this very domain, not of one below it.
    pub strict: bool,
}

/// Why a record holds no key to check with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unusable(pub &'static str);

impl PublicKey {
    /// Reads a TXT record. `None`: it is about something else.
    pub fn parse(record: &[u8]) -> Option<Result<Self, Unusable>> {
        let tags = Tags::parse(record)?;
        match tags.get("v") {
            Some("DKIM1") if tags.first() == Some(("v", "DKIM1")) => {}
            Some(_) => return None,
            // Some have nothing but a key, and some other records look like a list too.
            None if tags.get("p").is_none() => return None,
            None => {}
        }
        Some(Self::read(&tags))
    }

    fn read(tags: &Tags) -> Result<Self, Unusable> {
        let includes = |tag: &str, one_of: &[&str]| {
            tags.list(tag)
                .is_none_or(|list| list.iter().any(|item| one_of.contains(&item.as_str())))
        };
        if !includes("h", &["sha256"]) {
            return Err(Unusable("the key is for other hashes"));
        }
        if !includes("s", &["*", "email"]) {
            return Err(Unusable("the key is not for mail"));
        }
        let flags = tags.list("t").unwrap_or_default();
        let packed = tags.packed("p").ok_or(Unusable("the record has no key"))?;
        if packed.is_empty() {
            return Err(Unusable("the key was revoked"));
        }
        let octets = decode_base64(&packed).ok_or(Unusable("the key is not base64"))?;
        let (algorithm, octets) = match tags.get("k").unwrap_or("rsa") {
            k if k.eq_ignore_ascii_case("rsa") => (Algorithm::Rsa, bare(octets)),
            k if k.eq_ignore_ascii_case("ed25519") && octets.len() == 32 => {
                (Algorithm::Ed25519, octets)
            }
            k if k.eq_ignore_ascii_case("ed25519") => {
                return Err(Unusable("the key has a wrong length"));
            }
            _ => return Err(Unusable("the key is of an unknown kind")),
        };
        Ok(Self {
            algorithm,
            octets,
            testing: flags.iter().any(|flag| flag == "y"),
            strict: flags.iter().any(|flag| flag == "s"),
        })
    }

    /// Whether a signature of this text was made with its private half.
    pub fn verify(
        &self,
        algorithm: Algorithm,
        text: &[u8],
        signature: &[u8],
    ) -> Result<bool, Unusable> {
        match (algorithm, self.algorithm) {
            (Algorithm::Rsa, Algorithm::Rsa) => {
                if self.is_short() {
                    return Err(Unusable("the key has less than 1024 bits"));
                }
                let scheme = &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY;
                let key = UnparsedPublicKey::new(scheme, &self.octets);
                Ok(key.verify(text, signature).is_ok())
            }
            (Algorithm::Ed25519, Algorithm::Ed25519) => {
                let key = UnparsedPublicKey::new(&ED25519, &self.octets);
                Ok(key.verify(&sha256(text), signature).is_ok())
            }
            _ => Err(Unusable("the key is of another kind than the signature")),
        }
    }

    /// Such a key can be guessed (RFC 8301 3.2).
    fn is_short(&self) -> bool {
        const INTEGER: u8 = 0x02;
        let modulus = untagged(SEQUENCE, &self.octets).and_then(|(key, _)| untagged(INTEGER, key));
        modulus.is_some_and(|(modulus, _)| {
            let digits = modulus.iter().skip_while(|b| **b == 0);
            digits.count() < 1024 / 8
        })
    }
}

/// An RSA key out of its SubjectPublicKeyInfo; some records have the bare key.
fn bare(octets: Vec<u8>) -> Vec<u8> {
    let inner = untagged(SEQUENCE, &octets)
        .and_then(|(info, _)| info.strip_prefix(RSA_OID))
        .and_then(|rest| untagged(BIT_STRING, rest))
        .and_then(|(bits, _)| bits.strip_prefix(&[0]).map(<[u8]>::to_vec));
    inner.unwrap_or(octets)
}

/// The hash that all of DKIM is about.
pub fn sha256(octets: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, octets).as_ref());
    hash
}
