//! What is wrong with a configuration, as the text a person reads: place, finding, the line with a caret under
//! it, remedy.
//!
//!     /etc/minimta/minimta.toml:4:8: port: expected a number from 1 to 65535, found "smtp"
//!         port = "smtp"
//!                ^^^^^^
//!         for example: port = 465
//!
//! Whoever runs `sendmail` sees this text, and may not be one of those who can read the file: what follows a word
//! such as `password` is not shown. Control characters never reach the terminal.

use std::fmt::Write;
use std::ops::Range;
use std::path::Path;

use crate::proto::order;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, as a range of octets.
    pub at: Range<usize>,
    /// The key or section it is about; may be empty.
    pub key: String,
    /// What is wrong.
    pub finding: String,
    /// What to do about it.
    pub remedy: String,
}

/// All of it, in the order of the file, the first ten in full.
pub fn render(file: &Path, text: &str, mut problems: Vec<Problem>) -> String {
    order::sort(&mut problems, &|a, b| a.at.start.cmp(&b.at.start));
    let mut out = String::new();
    for problem in problems.iter().take(MAX_SHOWN) {
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&render_one(file, text, problem));
    }
    if problems.len() > MAX_SHOWN {
        let more = problems.len() - MAX_SHOWN;
        let _ = write!(out, "\n{}: {more} more like these", file.display());
    }
    out
}

/// How many problems are shown: what fits a screen.
const MAX_SHOWN: usize = 10;

fn render_one(file: &Path, text: &str, problem: &Problem) -> String {
    let (line, column) = position(text, problem.at.start);
    let mut out = format!("{}:{line}:{column}: ", file.display());
    if !problem.key.is_empty() {
        let _ = write!(out, "{}: ", printable(&problem.key));
    }
    let _ = write!(out, "{}\n{}", problem.finding, quote(text, &problem.at));
    let _ = write!(out, "    {}", problem.remedy);
    out
}

/// Line and column of an octet, both from 1, the column in characters.
pub fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    let line = before.matches('\n').count() + 1;
    let column = before.get(start..).unwrap_or_default().chars().count();
    (line, column + 1)
}

/// A stranger's text in one line of limited length, with nothing in it that a terminal would obey.
pub fn printable(text: &str) -> String {
    let mut out = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == MAX_QUOTED {
            out.push_str("...");
            break;
        }
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// How many characters of a line or a value are shown.
const MAX_QUOTED: usize = 100;

/// The line of a place, and carets under the place. Empty when there is nothing to show.
fn quote(text: &str, at: &Range<usize>) -> String {
    let before = text.get(..at.start).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    let line = text.get(start..).unwrap_or_default();
    let line = line.split('\n').next().unwrap_or_default();
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.trim().is_empty() {
        return String::new();
    }
    let (line, hidden) = match secret(line) {
        Some(end) => (line.get(..end).unwrap_or_default(), " ..."),
        None => (line, ""),
    };
    // A caret beyond what is shown would point at nothing.
    let column = (at.start - start).min(line.len() + hidden.len().min(1));
    let lead = line.get(..column).unwrap_or(line);
    let marked = line.get(column..).unwrap_or_default();
    let width = marked
        .get(..at.len().min(marked.len()))
        .unwrap_or(marked)
        .chars()
        .count();
    if lead.chars().count() + width > MAX_QUOTED {
        return String::new();
    }
    // Tabs stay tabs in both lines, so that the carets stand right however wide they are.
    let shown: String = line
        .chars()
        .take(MAX_QUOTED)
        .map(|c| if c.is_control() && c != '\t' { '?' } else { c })
        .collect();
    let gap: String = lead
        .chars()
        .map(|c| if c == '\t' { '\t' } else { ' ' })
        .chain(std::iter::repeat_n(' ', column - lead.len()))
        .collect();
    format!(
        "    {shown}{hidden}\n    {gap}{}\n",
        "^".repeat(width.max(1))
    )
}

/// Where a key ends that may hold a secret, if one stands in this line.
fn secret(line: &str) -> Option<usize> {
    let lower = line.to_ascii_lowercase();
    let at = ["passw", "secret", "token"]
        .iter()
        .filter_map(|word| lower.find(word))
        .min()?;
    let rest = line.get(at..)?;
    let word = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'))?;
    Some(at + word)
}
