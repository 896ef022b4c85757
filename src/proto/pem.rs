//! Keys and certificates as files have them (RFC 7468).

use super::sasl::encode_base64;

/// What this DER is, between the lines that say what it is.
pub fn encode(what: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {what}-----\n");
    let base64 = encode_base64(der);
    for line in base64.as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text.push_str(&format!("-----END {what}-----\n"));
    text
}
