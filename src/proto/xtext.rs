//! xtext (RFC 3461 4): how DSN parameters carry octets that a command line could not; and what RFC 6533 adds to it.

use std::fmt::Write as _;

/// Encodes a text: what is not printable ASCII, and `+` and `=`, becomes `+` and two digits.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        match b {
            b'+' | b'=' => out.push_str(&format!("+{b:02X}")),
            b'!'..=b'~' => out.push(char::from(b)),
            _ => out.push_str(&format!("+{b:02X}")),
        }
    }
    out
}

/// Decodes xtext (RFC 3461 4): `+` and two hexadecimal digits in upper case stand for an octet. `None` when it is
/// not xtext, or not UTF-8 when decoded.
pub fn decode(text: &str) -> Option<String> {
    let mut plain = Vec::with_capacity(text.len());
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        match octet {
            b'+' => plain.push(hex(octets.next()?)? * 16 + hex(octets.next()?)?),
            b'=' => return None,
            b'!'..=b'~' => plain.push(octet),
            _ => return None,
        }
    }
    String::from_utf8(plain).ok()
}

/// The form of RFC 6533 3 for 7-bit reports and commands: `\x{E9}`. With `all`, also what would look like such a form or
/// like the escapes of RFC 3461.
pub fn seven_bit(text: &str, all: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let plain = c.is_ascii_graphic() && !(all && matches!(c, '\\' | '+' | '='));
        if plain {
            out.push(c);
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\x{{{:X}}}", u32::from(c));
        }
    }
    out
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_a_command_cannot_carry_is_encoded() {
        let rows = [
            ("QQ314159", "QQ314159"),
            ("a+b=c d", "a+2Bb+3Dc+20d"),
            ("x\r\nRCPT", "x+0D+0ARCPT"),
            ("é", "+C3+A9"),
        ];
        for (text, expected) in rows {
            assert_eq!(super::encode(text), expected);
        }
    }

    #[test]
    fn what_was_encoded_is_decoded_and_nothing_else() {
        for text in ["QQ314159", "a+b=c d", "x\r\nRCPT", "é", ""] {
            assert_eq!(super::decode(&super::encode(text)).as_deref(), Some(text));
        }
        // Lower-case digits, half an octet, what must be encoded, and an octet that is no UTF-8 alone.
        for text in ["+2b", "+2", "+", "+ZZ", "a=b", "a b", "é", "+FF"] {
            assert_eq!(super::decode(text), None, "{text}");
        }
    }
}
