//! Domains beyond ASCII in the form that DNS and older mail servers know (RFC 5890 2.3.2.1).

use std::borrow::Cow;

/// A domain with its labels as A-labels; `None` when one has no such form. An address has U-labels (RFC 6531 3.2),
/// which are in normal form already, and its domain is in lower case: so nothing is mapped, which would take a table
/// of all of Unicode.
pub fn to_ascii(domain: &str) -> Option<Cow<'_, str>> {
    if domain.is_ascii() {
        return Some(Cow::Borrowed(domain));
    }
    let labels: Option<Vec<String>> = domain.split('.').map(a_label).collect();
    labels.map(|labels| Cow::Owned(labels.join(".")))
}

fn a_label(label: &str) -> Option<String> {
    if label.is_ascii() {
        return Some(label.to_owned());
    }
    let encoded = punycode::encode(label).ok()?;
    Some(format!("xn--{encoded}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_beyond_ascii_get_their_ascii_form() {
        let rows = [
            ("example.net", "example.net"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("mail.日本.example", "mail.xn--wgv71a.example"),
        ];
        for (domain, expected) in rows {
            assert_eq!(to_ascii(domain).as_deref(), Some(expected));
        }
    }
}
