//! Quoted-printable back to octets (RFC 2045 6.7), and the canonical form of what a local program wrote.

/// Decodes a body; what is no quoted-printable fails the test.
pub fn decode(text: &[u8]) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        if first != b'=' {
            octets.push(first);
            rest = tail;
        } else if let Some(after) = tail.strip_prefix(b"\r\n") {
            rest = after;
        } else {
            let digits = std::str::from_utf8(&tail[..2]).unwrap();
            octets.push(u8::from_str_radix(digits, 16).unwrap());
            rest = &tail[2..];
        }
    }
    octets
}

/// A text with every line end as CRLF: LF, CRLF, and CRs with or without an LF after them.
pub fn canonical(text: &[u8]) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'\r' || first == b'\n' {
            let crs = rest.iter().take_while(|b| **b == b'\r').count();
            octets.extend_from_slice(b"\r\n");
            rest = rest[crs..].strip_prefix(b"\n").unwrap_or(&rest[crs..]);
        } else {
            octets.push(first);
            rest = tail;
        }
    }
    if !octets.ends_with(b"\n") {
        octets.extend_from_slice(b"\r\n");
    }
    octets
}
