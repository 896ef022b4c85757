//! The self-signed pair that is made when none is configured: a key on P-256 and a certificate of version 3 (RFC 5280
//! 4.1) with one name, which says nothing that a client could rely on but its key.
//!
//! A certificate is a few elements of DER in a fixed order, each its tag, its length and what is in it. All but name,
//! number, key and signature is the same in each of ours.

use ring::digest::{SHA256, digest};
use ring::error::Unspecified;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

use crate::proto::pem;

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const UTF8_STRING: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const DNS_NAME: u8 = 0x82;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;

/// ecdsa-with-SHA256 (RFC 5758 3.2).
const SIGNED_HOW: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
/// id-ecPublicKey, and secp256r1 (RFC 5480 2.1.1).
const KEY_KIND: &[u8] =
    b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
/// id-at-commonName.
const COMMON_NAME: &[u8] = b"\x06\x03\x55\x04\x03";
/// id-ce-subjectAltName.
const OTHER_NAMES: &[u8] = b"\x06\x03\x55\x1d\x11";

/// Key and certificate for a host of this name, in PEM, the key first. A year that no clock here will see is the end
/// of the certificate: nobody trusts it for its dates, and whoever has told his mail program to trust it wants it to
/// stay.
///
/// # Errors
/// There is no randomness to be had.
pub fn make(hostname: &str) -> Result<String, Unspecified> {
    let random = SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random)?;
    let key =
        EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).map_err(|_| Unspecified)?;
    let body = body(hostname, key.public_key().as_ref());
    let signature = key.sign(&random, &body)?;
    let signed_how = element(SEQUENCE, &[SIGNED_HOW]);
    let certificate = element(SEQUENCE, &[&body, &signed_how, &bits(signature.as_ref())]);
    let key = pem::encode("PRIVATE KEY", document.as_ref());
    Ok(key + &pem::encode("CERTIFICATE", &certificate))
}

/// What is signed, in the order of RFC 5280 4.1.
fn body(hostname: &str, public: &[u8]) -> Vec<u8> {
    let common_name = element(UTF8_STRING, &[hostname.as_bytes()]);
    let name = element(SEQUENCE, &[COMMON_NAME, &common_name]);
    let name = element(SEQUENCE, &[&element(SET, &[&name])]);
    let validity = [
        element(UTC_TIME, &[b"000101000000Z"]),
        element(GENERALIZED_TIME, &[b"20991231000000Z"]),
    ];
    let alternative = element(SEQUENCE, &[&element(DNS_NAME, &[hostname.as_bytes()])]);
    let alternative = element(OCTET_STRING, &[&alternative]);
    let extension = element(SEQUENCE, &[OTHER_NAMES, &alternative]);
    element(
        SEQUENCE,
        &[
            &element(VERSION, &[&element(INTEGER, &[&[2]])]), // 3
            &element(INTEGER, &[&number(public)]),
            &element(SEQUENCE, &[SIGNED_HOW]),
            &name,
            &element(SEQUENCE, &[&validity.concat()]),
            &name,
            &element(SEQUENCE, &[&element(SEQUENCE, &[KEY_KIND]), &bits(public)]),
            &element(EXTENSIONS, &[&element(SEQUENCE, &[&extension])]),
        ],
    )
}

/// The certificate's number: positive and of 20 octets at most (RFC 5280 4.1.2.2), another one for another key.
fn number(public: &[u8]) -> Vec<u8> {
    let hash = digest(&SHA256, public);
    let mut number: Vec<u8> = hash.as_ref().iter().take(20).copied().collect();
    if let Some(first) = number.first_mut() {
        *first = *first & 0x3f | 0x40; // neither negative nor with a needless zero ahead
    }
    number
}

/// Whole octets as a string of bits: none of the last one is unused.
fn bits(octets: &[u8]) -> Vec<u8> {
    element(BIT_STRING, &[&[0], octets])
}

/// One element: its tag, its length in as few octets as will do (X.690 10.1), and what is in it.
fn element(tag: u8, inside: &[&[u8]]) -> Vec<u8> {
    let inside = inside.concat();
    let [.., high, low] = inside.len().to_be_bytes();
    let head: &[u8] = match (high, low) {
        (0, 0..=0x7f) => &[tag, low],
        (0, _) => &[tag, 0x81, low],
        _ => &[tag, 0x82, high, low], // a name of 255 octets thrice, and a key: never 64 KiB
    };
    [head, &inside].concat()
}

#[cfg(test)]
mod tests {
    use super::super::trust::{Leaf, Verifier};
    use super::*;
    use crate::proto::x509;
    use rustls::RootCertStore;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::crypto::ring::default_provider;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
    use std::time::Duration;

    /// Lengths of names at which the lengths of elements take another form.
    #[test]
    fn a_pair_is_good_for_names_of_every_length() {
        for length in [1, 9, 60, 63, 64, 99, 117, 118, 125, 130, 240, 253] {
            let name: Vec<u8> = (1..=length)
                .map(|at| if at % 50 == 0 { b'.' } else { b'a' })
                .collect();
            let name = String::from_utf8(name).unwrap();
            let pem = make(&name).unwrap();
            assert!(PrivateKeyDer::from_pem_slice(pem.as_bytes()).is_ok());
            let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
            let words = x509::words(&certificate).unwrap();
            let shown: String = name.chars().take(100).collect();
            assert_eq!(words.subject, format!("CN={shown}"));
            assert_eq!((words.issuer, &*words.until), (words.subject, "2099-12-31"));
            let mut roots = RootCertStore::empty();
            roots.add(certificate.clone()).unwrap();
            let host = ServerName::try_from(name).unwrap();
            let now = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
            let verifier = Verifier::new(Leaf::Signed(roots), &default_provider());
            let taken = verifier.verify_server_cert(&certificate, &[], &host, &[], now);
            assert!(taken.is_ok(), "{length} {taken:?}");
        }
    }
}
