//! JSON as minimta prints it (RFC 8259): only written, never read.

use std::fmt;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json {
    /// Nothing.
    Null,
    /// Yes.
    True,
    /// No.
    False,
    /// A count.
    Number(u64),
    /// A text.
    Text(String),
    /// A list.
    Array(Vec<Self>),
    /// Names and values, in this order.
    Object(Vec<(&'static str, Self)>),
}

impl Json {
    /// The text of anything that has one.
    pub fn text(value: &dyn fmt::Display) -> Self {
        Self::Text(value.to_string())
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::True => f.write_str("true"),
            Self::False => f.write_str("false"),
            Self::Number(n) => write!(f, "{n}"),
            Self::Text(text) => quoted(f, text),
            Self::Array(values) => {
                f.write_str("[")?;
                for (i, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if i == 0 { "" } else { "," })?;
                }
                f.write_str("]")
            }
            Self::Object(members) => {
                f.write_str("{")?;
                for (i, (name, value)) in members.iter().enumerate() {
                    f.write_str(if i == 0 { "" } else { "," })?;
                    quoted(f, name)?;
                    write!(f, ":{value}")?;
                }
                f.write_str("}")
            }
        }
    }
}

fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_other_programs_read_them() {
        let value = Json::Object(vec![
            (
                "a",
                Json::Array(vec![Json::Number(1), Json::Null, Json::True, Json::False]),
            ),
            ("b", Json::text(&"x\"\\\n\u{7f}é")),
        ]);
        assert_eq!(
            value.to_string(),
            "{\"a\":[1,null,true,false],\"b\":\"x\\\"\\\\\\u000a\\u007fé\"}"
        );
    }
}
