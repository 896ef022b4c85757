//! The right side of an alias, and the lists that ~/.forward and `:include:` files are: items, and what each means.

use super::{Fault, MAX_TEXT, Target, fault};
use crate::proto::address::{Domain, Mailbox};

/// Reads the targets of a ~/.forward or of an `:include:` file: separated by commas or line ends.
///
/// # Errors
/// The first line that is wrong.
pub fn read_list(text: &str, place: Place) -> Result<Vec<Target>, Fault> {
    list(text, 1, place)
}

/// Where a list stands, which decides what may be in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the alias file: everything.
    Aliases,
    /// In a user's ~/.forward: everything.
    Forward,
    /// In a file that an alias includes: only addresses and further lists, for who keeps a list need not be who may
    /// run commands here.
    Include,
}

pub(super) fn list(text: &str, first: usize, place: Place) -> Result<Vec<Target>, Fault> {
    let mut targets = Vec::new();
    let mut items = Items {
        rest: text,
        line: first,
    };
    while let Some((line, item)) = items.next()? {
        let target = target(line, item)?;
        if place == Place::Include && matches!(target, Target::Pipe(_) | Target::File(_)) {
            return fault(
                line,
                format!(
                    "{} is no address; only the alias file itself and a ~/.forward may lead to commands and files",
                    shown(item)
                ),
            );
        }
        targets.push(target);
    }
    Ok(targets)
}

/// The items of a list, as they are written.
struct Items<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Items<'a> {
    /// The next item and its line, without the space and the comments around it.
    fn next(&mut self) -> Result<Option<(usize, &'a str)>, Fault> {
        loop {
            self.rest = self.rest.trim_start_matches([',', ' ', '\t', '\r']);
            let Some(first) = self.rest.chars().next() else {
                return Ok(None);
            };
            match first {
                '\n' => {
                    self.line += 1;
                    self.rest = &self.rest[1..];
                }
                '#' => self.rest = &self.rest[self.rest.find('\n').unwrap_or(self.rest.len())..],
                _ => return self.item().map(Some),
            }
        }
    }

    fn item(&mut self) -> Result<(usize, &'a str), Fault> {
        let text = self.rest;
        // A command or a path may hold all that means something in an address.
        let plain = text.starts_with(['|', '/', ':']);
        let (mut quoted, mut escaped, mut bracket, mut depth) = (false, false, false, 0usize);
        let mut before = ' ';
        for (at, c) in text.char_indices() {
            if escaped && c != '\n' {
                (escaped, before) = (false, c);
                continue;
            }
            let outside = !quoted && depth == 0 && !bracket;
            let ends = match c {
                '\n' if quoted || depth > 0 || bracket => {
                    let what =
                        "a quote, bracket or parenthesis is not closed on its line; close it";
                    return fault(self.line, what);
                }
                '\n' => true,
                ',' => outside,
                '#' => outside && !plain && matches!(before, ' ' | '\t'),
                _ => false,
            };
            if ends {
                self.rest = &text[at..];
                return Ok((self.line, text[..at].trim_end()));
            }
            match c {
                '\\' if quoted => escaped = true,
                '"' if depth == 0 => quoted = !quoted,
                '(' if !quoted && !plain => depth += 1,
                ')' if !quoted && !plain => depth = depth.saturating_sub(1),
                '<' if !quoted && depth == 0 && !plain => bracket = true,
                '>' if !quoted && depth == 0 && !plain => bracket = false,
                _ => {}
            }
            before = c;
        }
        if quoted || depth > 0 || bracket {
            let what = "a quote, bracket or parenthesis is not closed on its line; close it";
            return fault(self.line, what);
        }
        self.rest = "";
        Ok((self.line, text.trim_end()))
    }
}

/// What one item of a list is.
fn target(line: usize, item: &str) -> Result<Target, Fault> {
    if item.contains('\u{fffd}') {
        return fault(line, format!("{} is not UTF-8; write it so", shown(item)));
    }
    if item.chars().any(char::is_control) {
        let item = shown(item);
        return fault(
            line,
            format!("{item} holds a control character; take it away"),
        );
    }
    if let Some(quoted) = item.strip_prefix('"') {
        let (inner, after) = unquote(line, quoted)?;
        // All of it stands in quotes; what they hold is the target, but for a name, which they may belong to.
        if after.is_empty() && (inner.starts_with(['|', '/', ':', '\\']) || inner.contains('@')) {
            return bare_target(line, &inner);
        }
    }
    bare_target(line, item)
}

/// What an item is, free of the quotes around all of it.
fn bare_target(line: usize, item: &str) -> Result<Target, Fault> {
    if item.starts_with(['|', '/', ':']) {
        return special(line, item);
    }
    if let Some(name) = item.strip_prefix('\\') {
        return match local_name(name) {
            Ok(()) => Ok(Target::Own(name.to_owned())),
            Err(why) => fault(
                line,
                format!(
                    "{} is no user: {why}; behind a backslash stands a user's name",
                    shown(item)
                ),
            ),
        };
    }
    address(line, item)
}

/// `|command`, `/file` and `:include:/file`, free of the quotes around all of it.
fn special(line: usize, text: &str) -> Result<Target, Fault> {
    let inner = |rest: &str| -> Result<String, Fault> {
        let rest = rest.trim();
        match rest.strip_prefix('"').map(|quoted| unquote(line, quoted)) {
            Some(Ok((inner, ""))) => Ok(inner),
            Some(Err(fault)) => Err(fault),
            _ => Ok(rest.to_owned()),
        }
    };
    if text.len() > MAX_TEXT {
        return fault(
            line,
            format!(
                "{} is longer than {MAX_TEXT} octets; put it into a script",
                shown(text)
            ),
        );
    }
    if let Some(command) = text.strip_prefix('|') {
        let command = inner(command)?;
        if command.is_empty() {
            return fault(line, "no command follows the |; name one");
        }
        return Ok(Target::Pipe(command));
    }
    if text.starts_with('/') {
        return Ok(match text {
            "/dev/null" => Target::Nothing,
            path => Target::File(path.to_owned()),
        });
    }
    match text
        .get(..9)
        .filter(|word| word.eq_ignore_ascii_case(":include:"))
    {
        Some(_) => {
            let path = inner(text.get(9..).unwrap_or_default())?;
            if !path.starts_with('/') {
                return fault(
                    line,
                    format!(
                        "{} is no absolute path; begin it with a slash",
                        shown(&path)
                    ),
                );
            }
            Ok(Target::Include(path))
        }
        None => fault(
            line,
            format!(
                "{} is not known; of these words there is only :include:/file",
                shown(text)
            ),
        ),
    }
}

/// An address, or a bare name: with or without `<>`, a name before them, and comments.
fn address(line: usize, item: &str) -> Result<Target, Fault> {
    let plain = without_comments(item);
    let text = match plain
        .find('<')
        .filter(|_| !plain.starts_with('"') || plain.ends_with('>'))
    {
        Some(open) => match plain[open..]
            .strip_prefix('<')
            .and_then(|t| t.strip_suffix('>'))
        {
            Some(inner) => inner.trim(),
            None => {
                let what = format!(
                    "something follows the > of {}; put a comma between",
                    shown(item)
                );
                return fault(line, what);
            }
        },
        None => plain.trim(),
    };
    if !text.starts_with('"') && text.contains([' ', '\t']) {
        return fault(
            line,
            format!(
                "{} is not one address; put a comma between two",
                shown(item)
            ),
        );
    }
    let found = match text.starts_with('"') || text.contains('@') {
        true => Mailbox::parse(text).map(Target::Address).or_else(|why| {
            // A quoted bare name.
            let bare = text.strip_prefix('"').filter(|t| !t.contains('@'));
            let name = bare.and_then(|t| t.strip_suffix('"')).ok_or(why.0)?;
            local_name(name).map(|()| Target::Name(name.to_owned()))
        }),
        false => local_name(text).map(|()| Target::Name(text.to_owned())),
    };
    found.or_else(|why| fault(line, format!("{} is no address: {why}", shown(item))))
}

/// Without what stands in parentheses outside of quotes.
fn without_comments(item: &str) -> String {
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    let mut text = String::with_capacity(item.len());
    for c in item.chars() {
        match c {
            '"' if depth == 0 && !escaped => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted && depth > 0 => {
                depth -= 1;
                continue;
            }
            _ => {}
        }
        escaped = c == '\\' && quoted && !escaped;
        if depth == 0 {
            text.push(c);
        }
    }
    text.trim().to_owned()
}

/// Whether a text can be the name of an alias or of a user.
pub(super) fn local_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("it is empty");
    }
    if name.contains('\u{fffd}') {
        return Err("it is not UTF-8");
    }
    if name.contains(['@', '/', '|', '"', '\\', ':', ',', '<', '>', ';']) {
        return Err("it has a character that stands for something else");
    }
    let domain = Domain::parse("localhost").map_err(|e| e.0)?;
    Mailbox::new(name.to_owned(), domain)
        .map(drop)
        .map_err(|e| e.0)
}

/// Reads a quoted string whose first quote is gone: what it says, and what follows it. A backslash takes away the
/// meaning of the character behind it.
pub(super) fn unquote(line: usize, text: &str) -> Result<(String, &str), Fault> {
    let mut inner = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((inner, &text[at + 1..])),
            '\n' => break,
            '\\' => match chars.next() {
                Some((_, escaped)) => inner.push(escaped),
                None => break,
            },
            _ => inner.push(c),
        }
    }
    fault(line, "its quotes are not closed; close them")
}

/// A piece of a file in a sentence: bounded, on one line, and in quotes if it has none of its own.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 60;
    let text: String = text
        .trim()
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    let text = match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}...", text.get(..at).unwrap_or_default()),
        None => text,
    };
    match text.contains('"') {
        true => text,
        false => format!("\"{text}\""),
    }
}
