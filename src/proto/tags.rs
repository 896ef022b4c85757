//! Lists of `tag=value` (RFC 6376 3.2): signatures, and what DNS says of keys and policies (RFC 7489 6.4).
//!
//! Strict where a lax reader would let two readers see two things: a tag that comes twice, or a part that is no
//! `tag=value`, makes the whole list worthless. Only what a policy says is read as far as it can be (RFC 7489 6.3): a
//! slip of its owner must not open his domain to everybody.

/// The most octets of a list, and the most tags of it: a signature has some twenty.
const MAX_TEXT: usize = 64 * 1024;
const MAX_TAGS: usize = 64;

/// A list, in its order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tags(Vec<(String, String)>);

impl Tags {
    /// Reads a list; `None`: it is none. White space around names and values goes, inside values it stays.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() > MAX_TEXT {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?;
        let mut parts: Vec<&str> = text.split(';').map(trim).collect();
        // The semicolon behind the last one may be left out.
        if parts.last().is_some_and(|part| part.is_empty()) {
            parts.pop();
        }
        if parts.is_empty() || parts.len() > MAX_TAGS {
            return None;
        }
        let mut tags = Self(Vec::with_capacity(parts.len()));
        for part in parts {
            let (name, value) = tag(part)?;
            if tags.get(name).is_some() {
                return None;
            }
            tags.0.push((name.to_owned(), value.to_owned()));
        }
        Some(tags)
    }

    /// Reads a list as far as it is one: a part that is no `tag=value` is passed over, and so is a tag that was there
    /// before.
    pub fn of_policy(text: &str) -> Self {
        let mut tags = Self::default();
        for (name, value) in text.split(';').filter_map(tag) {
            if tags.0.len() < MAX_TAGS && tags.get(name).is_none() {
                tags.0.push((name.to_owned(), value.to_owned()));
            }
        }
        tags
    }

    /// The value of a tag.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut tags = self.0.iter();
        tags.find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The value of a tag without any white space, which may stand anywhere in it: base64, numbers, lists.
    pub fn packed(&self, name: &str) -> Option<String> {
        let value = self.get(name)?;
        Some(value.split(is_space).collect())
    }

    /// A number of at most as many digits as ours have.
    pub fn number(&self, name: &str) -> Option<Option<u64>> {
        let Some(value) = self.packed(name) else {
            return Some(None);
        };
        let is_number = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
        // Longer than any that counts octets or seconds, and yet allowed.
        is_number.then(|| Some(value.parse().unwrap_or(u64::MAX)))
    }

    /// The parts of a value that are divided by colons.
    pub fn list(&self, name: &str) -> Option<Vec<String>> {
        let value = self.get(name)?;
        Some(value.split(':').map(|part| trim(part).to_owned()).collect())
    }

    /// The name of the first tag.
    pub fn first(&self) -> Option<(&str, &str)> {
        self.0.first().map(|(n, v)| (n.as_str(), v.as_str()))
    }
}

/// A part: a name and its value.
fn tag(part: &str) -> Option<(&str, &str)> {
    let (name, value) = part.split_once('=')?;
    let (name, value) = (trim(name), trim(value));
    let mut octets = name.bytes();
    let begins = octets.next().is_some_and(|b| b.is_ascii_alphabetic());
    let is_name = begins && octets.all(|b| b.is_ascii_alphanumeric() || b == b'_');
    is_name.then_some((name, value))
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn trim(text: &str) -> &str {
    text.trim_matches(is_space)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_or_worthless() {
        type List = &'static [(&'static str, &'static str)];
        let rows: &[(&str, Option<List>)] = &[
            ("v=1; a=b", Some(&[("v", "1"), ("a", "b")])),
            (
                " v = 1 ;\r\n\ta=b c\r\n d ; ",
                Some(&[("v", "1"), ("a", "b c\r\n d")]),
            ),
            ("p=", Some(&[("p", "")])),
            ("a=b=c==", Some(&[("a", "b=c==")])),
            ("v=1;;a=b", None),
            ("v=1; a=b; v=2", None),
            ("v=1; V=2", Some(&[("v", "1"), ("V", "2")])), // tags have case
            ("v", None),
            ("=x", None),
            ("1=x", None),
            ("a b=x", None),
            ("", None),
            (";", None),
            ("\u{e9}=x", None),
        ];
        for (text, expected) in rows {
            let expected = expected.map(|tags| {
                Tags(
                    tags.iter()
                        .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                        .collect(),
                )
            });
            assert_eq!(Tags::parse(text.as_bytes()), expected, "{text:?}");
        }
        assert_eq!(Tags::parse(b"a=\xff"), None);
        assert_eq!(
            Tags::parse(format!("a={}", "x".repeat(MAX_TEXT)).as_bytes()),
            None
        );
        let tags = Tags::parse(b"n=12 3; m=; l=a : b:c; x=99999999999999999999999; y=-1").unwrap();
        assert_eq!(tags.number("n"), Some(Some(123)));
        assert_eq!((tags.number("m"), tags.number("y")), (None, None));
        assert_eq!(
            (tags.number("z"), tags.number("x")),
            (Some(None), Some(Some(u64::MAX)))
        );
        assert_eq!(tags.list("l").unwrap(), ["a", "b", "c"]);
    }

    #[test]
    fn a_policy_is_read_as_far_as_it_can_be() {
        let rows: &[(&str, &[(&str, &str)])] = &[
            ("v=D; p=reject", &[("v", "D"), ("p", "reject")]),
            ("v=D;; p=a;p=b; =; 1=x; ;c", &[("v", "D"), ("p", "a")]),
            ("\u{e9}=x; v=D", &[("v", "D")]),
            ("", &[]),
        ];
        for (text, expected) in rows {
            let found = Tags::of_policy(text).0;
            let found: Vec<(&str, &str)> = found.iter().map(|(n, v)| (&**n, &**v)).collect();
            assert_eq!(found, *expected, "{text:?}");
        }
        let many: String = (0..1000).map(|n| format!("a{n}=b;")).collect();
        assert_eq!(Tags::of_policy(&many).0.len(), MAX_TAGS);
    }
}
