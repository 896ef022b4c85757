//! TOML text -> keys and values with their places: the only file that knows the TOML library.
//!
//! A place is a range of octets in the text. What TOML itself forbids comes back as [`Flaw`]s, all of them, next
//! to what could be read in spite of them.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::proto::order;

/// A key and its value, in the order of the text.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub name: String,
    /// Where the key stands.
    pub name_at: Range<usize>,
    /// The value.
    pub value: Value,
    /// Where the value stands; of a table with a header, the header.
    pub at: Range<usize>,
}

/// What may stand behind an equals sign or under a header.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A string.
    Text(String),
    /// An integer.
    Number(i64),
    /// `true` or `false`.
    Flag(bool),
    /// An array, or the tables under several `[[headers]]` of one name; with the place of each.
    List(Vec<(Self, Range<usize>)>),
    /// A table: inline, dotted or with a header.
    Table(Vec<Entry>),
    /// What no key takes, as it is written: a fraction, a date, a number beyond all bounds.
    Other(String),
}

/// Something that is not TOML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// Where it is.
    pub at: Range<usize>,
    /// What is wrong there.
    pub finding: String,
    /// What to do about it.
    pub remedy: String,
    /// Whether the rest of the text was understood all the same.
    pub harmless: bool,
}

/// Reads a whole text.
pub fn parse(text: &str) -> (Vec<Entry>, Vec<Flaw>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let flaws = errors
        .iter()
        .map(|error| flaw(text, error.span().unwrap_or(0..0), error.message()))
        .collect();
    (entries(text, table.get_ref()), flaws)
}

/// Reads one value, such as the default of a key. `None`: it is not TOML.
pub fn value(text: &str) -> Option<Value> {
    let value = DeValue::parse(text).ok()?;
    Some(convert(text, &value))
}

fn entries(text: &str, table: &DeTable<'_>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(name, value)| Entry {
            name: name.get_ref().to_string(),
            name_at: name.span(),
            value: convert(text, value),
            at: value.span(),
        })
        .collect();
    // The library sorts by name; people read by place.
    order::sort(&mut entries, &|a, b| a.name_at.start.cmp(&b.name_at.start));
    entries
}

/// The depth of the recursion is bounded by the library, which gives up at 80.
fn convert(text: &str, value: &Spanned<DeValue<'_>>) -> Value {
    let written = || Value::Other(text.get(value.span()).unwrap_or_default().to_owned());
    match value.get_ref() {
        DeValue::String(s) => Value::Text(s.to_string()),
        DeValue::Integer(i) => match i64::from_str_radix(i.as_str(), i.radix()) {
            Ok(number) => Value::Number(number),
            Err(_) => written(),
        },
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Array(items) => Value::List(
            items
                .iter()
                .map(|item| (convert(text, item), item.span()))
                .collect(),
        ),
        DeValue::Table(table) => Value::Table(entries(text, table)),
        DeValue::Float(_) | DeValue::Datetime(_) => written(),
    }
}

/// The library's finding, in the words of this configuration where it is one of the usual mistakes.
fn flaw(text: &str, at: Range<usize>, message: &str) -> Flaw {
    let found = text.get(at.clone()).unwrap_or_default();
    if message.starts_with("duplicate key") {
        let remedy = match found {
            "smarthost" => "write [[smarthost]], in double brackets, above each of several",
            "dkim" => "write [[dkim]], in double brackets, above each of several",
            "milter" => "write [[milter]], in double brackets, above each of several",
            "route" => "write [[route]], in double brackets, above each of several",
            _ => "keep one of the two",
        };
        return Flaw {
            finding: "set a second time".to_owned(),
            remedy: remedy.to_owned(),
            harmless: true,
            at,
        };
    }
    if message.starts_with("string values must be quoted") {
        let (finding, remedy) = match found.to_ascii_lowercase().as_str() {
            "" => (
                "there is no value after the =",
                "add one, or remove the line",
            ),
            "yes" | "on" | "true" => ("expected true or false", "write true, without quotes"),
            "no" | "off" | "false" => ("expected true or false", "write false, without quotes"),
            _ => (
                "the value is neither a number nor a text in quotes",
                "put it in \"double quotes\"",
            ),
        };
        return Flaw {
            finding: finding.to_owned(),
            remedy: remedy.to_owned(),
            harmless: true,
            at,
        };
    }
    Flaw {
        finding: format!("this is not TOML: {message}"),
        remedy: "a line is [section], or key = value; text stands in \"double quotes\"; # begins a comment"
            .to_owned(),
        harmless: false,
        at,
    }
}
