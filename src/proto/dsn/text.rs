//! Foreign words made safe to stand in a header or a report, and lines of a width that everybody can read.

use super::super::xtext::seven_bit;

/// Characters that are quoted of a server's words.
pub const MAX_WORDS: usize = 500;
/// The longest value that a field takes: with its name it stays below 998 octets (RFC 5322 2.1.1).
pub const MAX_VALUE: usize = 950;
/// Where lines are folded (RFC 5322 2.1.1).
const WIDTH: usize = 78;

/// A host as a field names it (RFC 3464 2.1.2).
pub fn dns(host: &str) -> String {
    format!("dns; {}", seven_bit(host, false))
}

/// An address as a field names it (RFC 3464 2.1.2, RFC 6533 3).
pub fn typed_address(address: &str) -> String {
    match address.is_ascii() {
        true => format!("rfc822; {address}"),
        false => format!("utf-8; {}", seven_bit(address, true)),
    }
}

/// The address of an ORCPT parameter (RFC 3461 4.2); `None` when it is none, or too long to be one.
pub fn original(orcpt: &str) -> Option<String> {
    let (kind, address) = orcpt.split_once(';')?;
    let is_type = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let is_utf8 = kind.eq_ignore_ascii_case("utf-8");
    let address = match is_utf8 && !address.is_ascii() {
        true => seven_bit(&unescape(address), false),
        false => ascii(&unescape(address), MAX_VALUE),
    };
    let fits = (1..=MAX_VALUE - 40).contains(&address.len()) && (1..=30).contains(&kind.len());
    (fits && kind.chars().all(is_type)).then(|| format!("{kind}; {address}"))
}

/// Decodes xtext (RFC 3461 4): `+2B` is `+`. An escape of what is not printable is left as it is, so that no
/// line end comes out of it.
pub fn unescape(xtext: &str) -> String {
    let mut out = String::with_capacity(xtext.len());
    let mut rest = xtext;
    while let Some((before, after)) = rest.split_once('+') {
        out.push_str(before);
        let octet = after
            .get(..2)
            .filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let octet = octet.and_then(|d| u8::from_str_radix(d, 16).ok());
        match octet.filter(|o| matches!(o, b' '..=b'~')) {
            Some(octet) => {
                out.push(char::from(octet));
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                out.push('+');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// A text as printable ASCII on one line: controls become spaces, other characters question marks.
pub fn ascii(text: &str, max: usize) -> String {
    let safe = |c: char| match c {
        ' '..='~' => c,
        c if c.is_control() => ' ',
        _ => '?',
    };
    let text: String = text.chars().take(max).map(safe).collect();
    text.trim().to_owned()
}

/// As [`ascii`], but letters of any script stay. No invisible characters: some turn the text around.
pub fn readable(text: &str) -> String {
    let safe = |c: char| match c {
        ' '..='~' => c,
        c if c.is_control() => ' ',
        c if c.is_alphanumeric() => c,
        _ => '?',
    };
    let text: String = text.chars().take(MAX_WORDS).map(safe).collect();
    text.trim().to_owned()
}

/// Adds a field, folded at spaces. `value` is printable ASCII.
pub fn field(text: &mut String, name: &str, value: &str) {
    text.push_str(name);
    text.push(':');
    let mut column = name.len() + 1;
    let value: String = value.chars().take(MAX_VALUE).collect();
    for (index, word) in value.split(' ').enumerate() {
        // A line of white space alone would end the fields for many readers.
        if index > 0 && !word.is_empty() && column + 1 + word.len() > WIDTH {
            text.push_str("\r\n");
            column = 0;
        }
        text.push(' ');
        text.push_str(word);
        column += 1 + word.len();
    }
    text.push_str("\r\n");
}

/// Adds a paragraph, each line with an indent; nothing for no words.
pub fn wrap(text: &mut String, indent: &str, words: &str) {
    let mut column = 0;
    for word in words.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > WIDTH - 2 {
            text.push_str("\r\n");
            column = 0;
        }
        let before = if column == 0 { indent } else { " " };
        text.push_str(before);
        text.push_str(word);
        column += before.len() + length;
    }
    if column > 0 {
        text.push_str("\r\n");
    }
}
