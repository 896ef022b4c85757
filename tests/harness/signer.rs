//! Signatures of DNSSEC (RFC 4034), for a root zone of a test's own, which holds all names.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};

use super::dns::write_name;

/// ECDSA on P-256 with SHA-256 (RFC 6605).
const ALGORITHM: u8 = 13;
pub const RRSIG: u16 = 46;
pub const NSEC: u16 = 47;
pub const DNSKEY: u16 = 48;

/// The root's key.
pub struct Signer {
    key: EcdsaKeyPair,
}

impl Signer {
    /// A new one.
    pub fn new() -> Self {
        let random = SystemRandom::new();
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let key =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random);
        Self { key: key.unwrap() }
    }

    fn public(&self) -> &[u8] {
        &self.key.public_key().as_ref()[1..] // without the octet that says "not compressed"
    }

    /// The data of the DNSKEY record.
    pub fn dnskey(&self) -> Vec<u8> {
        [&[1, 1, 3, ALGORITHM], self.public()].concat()
    }

    /// The record as a line of text, for `trust_anchor`.
    pub fn anchor(&self) -> String {
        let key = BASE64.encode(self.public());
        format!(". 3600 IN DNSKEY 257 3 {ALGORITHM} {key} ; of a test\n")
    }

    /// RFC 4034 appendix B.
    fn tag(&self) -> u16 {
        let sum: u32 = (self.dnskey().iter().zip([8, 0].iter().cycle()))
            .map(|(octet, shift)| u32::from(*octet) << shift)
            .sum();
        ((sum + (sum >> 16)) & 0xffff) as u16
    }

    /// The data of the RRSIG record over these records, all of one name and kind. `expired`: it was good an hour ago.
    pub fn sign(
        &self,
        name: &str,
        kind: u16,
        ttl: u32,
        data: &[Vec<u8>],
        expired: bool,
    ) -> Vec<u8> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = u32::try_from(now.as_secs()).unwrap();
        let until = if expired { now - 3600 } else { now + 3600 };
        let labels = name.split('.').filter(|l| !l.is_empty()).count();
        let mut out = kind.to_be_bytes().to_vec();
        out.extend([ALGORITHM, u8::try_from(labels).unwrap()]);
        out.extend(ttl.to_be_bytes());
        out.extend(until.to_be_bytes());
        out.extend((now - 7200).to_be_bytes());
        out.extend(self.tag().to_be_bytes());
        out.push(0); // the root has signed it
        let mut signed = out.clone();
        let mut data = data.to_vec();
        data.sort();
        for data in data {
            signed.extend(write_name(&name.to_ascii_lowercase()));
            signed.extend(kind.to_be_bytes());
            signed.extend([0, 1]);
            signed.extend(ttl.to_be_bytes());
            signed.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            signed.extend(data);
        }
        out.extend(
            self.key
                .sign(&SystemRandom::new(), &signed)
                .unwrap()
                .as_ref(),
        );
        out
    }

    /// The data of an NSEC record: the name has these kinds of records, and the next one comes right behind it (as
    /// RFC 4470 has it).
    pub fn nsec(name: &str, kinds: &[u16]) -> Vec<u8> {
        let mut out = vec![1, 0];
        out.extend(write_name(name));
        let mut kinds: Vec<u16> = [kinds, &[RRSIG, NSEC]].concat();
        kinds.sort_unstable();
        let length = usize::from(kinds.last().unwrap() / 8 + 1);
        let mut bits = vec![0u8; length];
        for kind in kinds {
            bits[usize::from(kind / 8)] |= 0x80 >> (kind % 8);
        }
        out.extend([0, u8::try_from(length).unwrap()]);
        out.extend(bits);
        out
    }
}
