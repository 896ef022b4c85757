//! The keys: one row each, in the order of `etc/minimta.toml` and of minimta.toml(5).
//!
//! A key is added by a row in one of the files of this folder, a field in `config.rs` or `sections.rs` and, because the
//! tests ask for them, its lines in the sample and its entry in the manual.

mod inward;
mod machine;
mod outward;

use super::document::Value;
use super::reader::Draft;
use super::value::Wrong;

/// A key.
pub struct Key {
    /// The table it stands in; empty: before the first one.
    pub section: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What the sample shows.
    pub shown: Shown,
    /// What it is for, in one sentence: the line above it in the sample.
    pub doc: &'static str,
    /// Reads the value and puts it in its place.
    pub set: fn(&mut Draft, &Value) -> Result<(), Wrong>,
}

/// A value in TOML.
pub enum Shown {
    /// To write it is the same as to leave the key out.
    Default(&'static str),
    /// Without the key there is none, or it follows from something else.
    Example(&'static str),
}

impl Shown {
    /// The TOML text.
    pub fn text(&self) -> &'static str {
        match self {
            Self::Default(text) | Self::Example(text) => text,
        }
    }
}

/// Every key there is, table by table.
const SECTIONS: &[&[Key]] = &[
    machine::TOP,
    outward::SMARTHOST,
    outward::ROUTE,
    outward::REWRITE,
    inward::LISTEN,
    inward::TLS,
    inward::ACCESS,
    machine::LOCAL,
    outward::REMOTE,
    outward::DKIM,
    inward::MILTER,
    machine::QUEUE,
    machine::SUBMIT,
    machine::LIMITS,
    outward::DNS,
    machine::LOG,
];

/// Every key there is.
pub fn all() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().copied().flatten()
}

/// The names of the tables, in order.
pub fn sections() -> Vec<&'static str> {
    let mut sections: Vec<&str> = all().map(|key| key.section).collect();
    sections.dedup();
    sections.retain(|section| !section.is_empty());
    sections
}

/// The key of a name in a table.
pub fn find(section: &str, name: &str) -> Option<&'static Key> {
    all().find(|key| key.section == section && key.name == name)
}

/// A row, in the order of the fields of [`Key`].
const fn key(
    section: &'static str,
    name: &'static str,
    shown: Shown,
    doc: &'static str,
    set: fn(&mut Draft, &Value) -> Result<(), Wrong>,
) -> Key {
    Key {
        section,
        name,
        shown,
        doc,
        set,
    }
}

/// What was read goes to its place.
fn put<T>(place: &mut T, read: Result<T, Wrong>) -> Result<(), Wrong> {
    *place = read?;
    Ok(())
}
