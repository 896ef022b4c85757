//! The grammar of aliases(5), and of the lists that ~/.forward and `:include:` files are.
//!
//! ```text
//! # a comment
//! root:       alice, me@example.org      # as well behind a target
//! staff:      alice, bob,
//!             :include:/etc/mail/staff   (a line that begins with a space goes on)
//! owner-staff: alice
//! archive:    /var/mail/archive, "|/usr/bin/filter -a, -b"
//! nobody:     /dev/null
//! alice:      \alice, carol@example.net
//! ```
//!
//! The alias file is split into entries once; what an entry leads to is read when somebody asks for it. So whatever
//! is wrong with one keeps its own mail waiting and no other's, and every fault has its line. Names count in any
//! case.

mod list;

use std::collections::BTreeMap;
use std::fmt;

pub use self::list::{Place, read_list};
use self::list::{list, local_name, shown, unquote};

use super::address::Mailbox;
use super::order;

/// The longest command or path, in octets.
const MAX_TEXT: usize = 1000;

/// What an alias, a ~/.forward or a list leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A bare name: an alias or a user of this system.
    Name(String),
    /// `\user`: that user's own mailbox, whatever else stands for him.
    Own(String),
    /// An address, here or elsewhere.
    Address(Mailbox),
    /// `/file`, or `/folder/`: an absolute path.
    File(String),
    /// `|command`.
    Pipe(String),
    /// `:include:/file`: the targets in there.
    Include(String),
    /// `/dev/null`: mail for it is thrown away.
    Nothing,
}

impl fmt::Display for Target {
    /// As it may be written in an alias file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Own(name) => write!(f, "\\{name}"),
            Self::Address(address) => write!(f, "{address}"),
            Self::File(path) => f.write_str(path),
            Self::Pipe(line) => write!(f, "|{line}"),
            Self::Include(path) => write!(f, ":include:{path}"),
            Self::Nothing => f.write_str("/dev/null"),
        }
    }
}

/// What is wrong with a line, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Its number, from 1.
    pub line: usize,
    /// A sentence without its place.
    pub what: String,
}

/// Puts faults into the order of the file.
pub fn by_line(faults: &mut [Fault]) {
    order::sort(faults, &|a, b| a.line.cmp(&b.line));
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

fn fault<T>(line: usize, what: impl Into<String>) -> Result<T, Fault> {
    let what = what.into();
    Err(Fault { line, what })
}

/// An alias file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    text: String,
    /// By name, in lower case.
    entries: BTreeMap<Box<str>, Entry>,
    /// Lines that are no entry, or an entry that does not count.
    faults: Vec<Fault>,
    /// Whether there is a line whose name could not be read: a name that is not found may be that one.
    doubtful: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    line: usize,
    /// What follows the colon, in the text.
    from: usize,
    to: usize,
}

impl Table {
    /// Splits a file's text into its entries.
    pub fn parse(text: String) -> Self {
        let mut table = Self::default();
        // Where the last logical line began, and its number.
        let mut begun: Option<(usize, usize)> = None;
        let mut at = 0;
        for (index, line) in text.split_inclusive('\n').enumerate() {
            let goes_on = line.starts_with([' ', '\t']);
            let empty = line.trim().is_empty() || line.trim_start().starts_with('#');
            if !goes_on && !empty {
                if let Some((number, from)) = begun.replace((index + 1, at)) {
                    table.add(&text, number, from, at);
                }
            } else if goes_on && !empty && begun.is_none() {
                let what = "it begins with a space, which is for going on with the line above, and there is none; \
                            take the space away";
                table.faults.push(Fault {
                    line: index + 1,
                    what: what.to_owned(),
                });
                table.doubtful = true;
            }
            at += line.len();
        }
        if let Some((number, from)) = begun {
            table.add(&text, number, from, at);
        }
        table.text = text;
        table
    }

    fn add(&mut self, text: &str, line: usize, from: usize, to: usize) {
        let whole = text.get(from..to).unwrap_or_default();
        let found = take_name(line, whole).and_then(|(name, after)| {
            let from = from + after;
            match self.entries.get(name.as_str()) {
                Some(earlier) => fault(
                    line,
                    format!(
                        "there is an alias {name} in line {} already, which counts; take one of them away",
                        earlier.line
                    ),
                ),
                None => Ok((name, Entry { line, from, to })),
            }
        });
        match found {
            Ok((name, entry)) => {
                self.entries.insert(name.into_boxed_str(), entry);
            }
            Err(fault) => {
                // Of a second entry the name was read.
                self.doubtful |= !fault.what.starts_with("there is an alias");
                self.faults.push(fault);
            }
        }
    }

    /// What an alias leads to, and its line; `None` when there is no such alias.
    ///
    /// # Errors
    /// What is wrong with its entry.
    pub fn get(&self, name: &str) -> Option<Result<(usize, Vec<Target>), Fault>> {
        let entry = self.entries.get(name.to_lowercase().as_str())?;
        let text = self.text.get(entry.from..entry.to).unwrap_or_default();
        let targets = list(text, entry.line, Place::Aliases).and_then(|targets| {
            if targets.is_empty() {
                let what = "nothing follows the colon; name where the mail goes, or /dev/null to throw it away";
                return fault(entry.line, what);
            }
            Ok((entry.line, targets))
        });
        Some(targets)
    }

    /// Whether there is an alias of that name, good or bad.
    pub fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name.to_lowercase().as_str())
    }

    /// All names, in lower case.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(|name| &**name)
    }

    /// How many aliases there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether a name that is not found may yet be meant by a line that could not be read.
    pub fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    /// Whether it has no end of a last line: so does what is being written look, from the first moment on.
    pub fn is_cut(&self) -> bool {
        !self.text.ends_with('\n')
    }

    /// All that is wrong with it, by line.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = self.faults.clone();
        faults.extend(self.names().filter_map(|name| self.get(name)?.err()));
        by_line(&mut faults);
        faults
    }
}

/// Takes `name:` off the front of a logical line; returned is the name in lower case and where the rest begins.
fn take_name(line: usize, text: &str) -> Result<(String, usize), Fault> {
    let (name, colon) = match text.strip_prefix('"') {
        Some(quoted) => {
            let (name, rest) = unquote(line, quoted)?;
            let after = text.len() - rest.len();
            let colon = rest.find(|c: char| c != ' ' && c != '\t').unwrap_or(0);
            (
                name,
                rest[colon..].starts_with(':').then_some(after + colon),
            )
        }
        None => {
            let colon = text.lines().next().and_then(|first| first.find(':'));
            let name = text.get(..colon.unwrap_or(0)).unwrap_or_default().trim();
            (name.to_owned(), colon)
        }
    };
    let Some(colon) = colon else {
        return fault(
            line,
            "there is no colon; an alias is a name, a colon, and where its mail goes",
        );
    };
    if name.contains('@') {
        return fault(
            line,
            format!(
                "{} is an address; an alias is a bare name, which counts for every domain of this machine",
                shown(&name)
            ),
        );
    }
    if let Err(why) = local_name(&name) {
        let name = shown(&name);
        return fault(line, format!("{name} is no name for an alias: {why}"));
    }
    Ok((name.to_lowercase(), colon + 1))
}
#[cfg(test)]
mod tests;
