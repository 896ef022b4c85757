//! xtext (RFC 3461 4): how DSN parameters carry octets that a command line could not.

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
}
