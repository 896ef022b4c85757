//! Transcripts: a dialogue with the server as a file, `tests/dialogs/**/NAME.smtp`, one connection each.
//!
//! ```text
//! # A20: what must hold, after the numbers of the cases it holds for. The first line is always such a comment.
//! [with recipients=3 errors=1000]     settings, before the first step
//! [pipelined]                         the same replies must come when everything is sent at once, cut anywhere
//! S: 220 mx.test.example *            a reply line; * stands for any text, ? for one character
//! C: EHLO client.example              a line, sent with CRLF; what stands before the next S: is sent at once
//! S: 250-mx.test.example
//! S: ...                              the rest of this reply, whatever it says
//! C> "one\n.\r\n" "x"*70000           octets as written; \r \n \t \0 \\ \" \xHH, "..."*N for N times
//! [repeat 100]                        the lines up to [end], so many times
//! C: NOOP
//! S: 250 2.0.0 ok
//! [end]
//! [mail 1]                            how many messages were accepted so far
//! [from <a@b.example>]                the last one's sender,
//! [to alice@test.example]             its recipients,
//! [body "text\r\n"]                   and its text as it came, without what the server adds
//! [eof]                               the client sends no more
//! [close]                             the server has closed, and said nothing more
//! ```
//!
//! Without `[close]` the client sends no more at the end of the file, and nothing more may have been said. Every
//! file is played as it is written and again octet by octet, unless it says `[as written]`; a file that says
//! `[pipelined]` also with all input at once, and with one cut at every place.
//!
//! The server is mx.test.example. Mail for test.example and mx.test.example is delivered, to alice and postmaster
//! only; the client may not send elsewhere. Settings: `recipients=N errors=N size=N space=N` (limits; space: octets
//! the disk has left), `lmtp`, `relay` (the client may send anywhere), `local` (bare names are taken, as with
//! `-bs`), `plain` (neither SMTPUTF8 nor DSN), `starttls`, `auth` (alice's password is secret), `scram`
//! (SCRAM-SHA-256 too, and user's password is pencil), `submission` (nothing without TLS and AUTH),
//! `fail=begin|write|commit` (the disk fails there).

use std::path::{Path, PathBuf};

/// A file, read.
#[derive(Debug, Clone, Default)]
pub struct Transcript {
    /// `[with ...]`: names and values; a name alone has an empty value.
    pub settings: Vec<(String, String)>,
    /// `[pipelined]`.
    pub pipelined: bool,
    /// `[as written]`.
    pub as_written: bool,
    /// What happens, with the number of its line.
    pub steps: Vec<(usize, Step)>,
}

/// One thing that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The client sends these octets.
    Send(Vec<u8>),
    /// The server says a line like this.
    Line(String),
    /// The server says the rest of a reply of several lines.
    Rest,
    /// So many messages were accepted.
    Mail(usize),
    /// The last message's sender, with its brackets.
    From(String),
    /// The last message's recipients.
    To(Vec<String>),
    /// The last message's text.
    Body(Vec<u8>),
    /// The client sends no more.
    Eof,
    /// The server has closed.
    Close,
}

impl Transcript {
    /// Reads a file's text; an error names the line.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with("# ") {
            return Err("line 1: no comment that says what must hold".to_owned());
        }
        let mut transcript = Self::default();
        let mut lines: Vec<(usize, &str)> =
            text.lines().enumerate().map(|(n, l)| (n + 1, l)).collect();
        lines = repeated(&lines)?;
        for (number, line) in lines {
            let step = transcript.line(line);
            let step = step.map_err(|what| format!("line {number}: {what}: {line}"))?;
            transcript.steps.extend(step.map(|s| (number, s)));
        }
        Ok(transcript)
    }

    /// A setting's value, if it is set.
    pub fn setting(&self, name: &str) -> Option<&str> {
        let found = self.settings.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Everything the client sends, in one.
    pub fn input(&self) -> Vec<u8> {
        let sent = self.steps.iter().filter_map(|(_, step)| match step {
            Step::Send(octets) => Some(octets.as_slice()),
            _ => None,
        });
        sent.collect::<Vec<_>>().concat()
    }

    fn line(&mut self, line: &str) -> Result<Option<Step>, String> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(None);
        }
        if let Some(rest) = line.strip_prefix("C>") {
            return octets(rest.trim()).map(|o| Some(Step::Send(o)));
        }
        if let Some(rest) = line.strip_prefix("C:") {
            let text = rest.strip_prefix(' ').unwrap_or(rest);
            return Ok(Some(Step::Send(format!("{text}\r\n").into_bytes())));
        }
        if let Some(rest) = line.strip_prefix("S:") {
            let text = rest.strip_prefix(' ').unwrap_or(rest);
            return Ok(Some(match text {
                "..." => Step::Rest,
                _ => Step::Line(text.to_owned()),
            }));
        }
        let inner = line.strip_prefix('[').and_then(|l| l.strip_suffix(']'));
        let inner = inner.ok_or("neither C: nor C> nor S: nor [...]")?;
        let (word, rest) = inner.split_once(' ').unwrap_or((inner, ""));
        let rest = rest.trim();
        Ok(Some(match (word, rest) {
            ("with", _) => {
                for setting in rest.split_whitespace() {
                    let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
                    self.settings.push((name.to_owned(), value.to_owned()));
                }
                return Ok(None);
            }
            ("pipelined", "") => {
                self.pipelined = true;
                return Ok(None);
            }
            ("as", "written") => {
                self.as_written = true;
                return Ok(None);
            }
            ("mail", _) => Step::Mail(rest.parse().map_err(|_| "not a number")?),
            ("from", _) => Step::From(rest.to_owned()),
            ("to", _) => Step::To(rest.split_whitespace().map(str::to_owned).collect()),
            ("body", _) => Step::Body(octets(rest)?),
            ("eof", "") => Step::Eof,
            ("close", "") => Step::Close,
            _ => return Err("an unknown word".to_owned()),
        }))
    }
}

/// Writes out what stands between `[repeat N]` and `[end]`.
fn repeated<'a>(lines: &[(usize, &'a str)]) -> Result<Vec<(usize, &'a str)>, String> {
    let mut out = Vec::new();
    let mut open: Option<(usize, usize)> = None;
    for (number, line) in lines {
        let times = line
            .strip_prefix("[repeat ")
            .and_then(|l| l.strip_suffix(']'));
        if let Some(times) = times {
            let times = times
                .parse()
                .map_err(|_| format!("line {number}: not a number"))?;
            open = Some((out.len(), times));
        } else if *line == "[end]" {
            let (from, times) = open
                .take()
                .ok_or(format!("line {number}: nothing to end"))?;
            let block = out.split_off(from);
            for _ in 0..times {
                out.extend_from_slice(&block);
            }
        } else {
            out.push((*number, *line));
        }
    }
    match open {
        Some(_) => Err("a [repeat] without [end]".to_owned()),
        None => Ok(out),
    }
}

/// `"text" "x"*100`: quoted pieces with escapes, put together.
fn octets(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let inner = rest.strip_prefix('"').ok_or("a piece without quotes")?;
        let (piece, after) = quoted(inner)?;
        let after = after.trim_start();
        let (times, after) = match after.strip_prefix('*') {
            Some(after) => {
                let end = after
                    .find(|c: char| !c.is_ascii_digit())
                    .unwrap_or(after.len());
                let times = after[..end].parse().map_err(|_| "not a number")?;
                (times, after[end..].trim_start())
            }
            None => (1, after),
        };
        out.extend(piece.repeat(times));
        rest = after;
    }
    Ok(out)
}

fn quoted(text: &str) -> Result<(Vec<u8>, &str), String> {
    let mut out = Vec::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((out, &text[at + 1..])),
            '\\' => match chars.next().map(|(_, c)| c) {
                Some('r') => out.push(b'\r'),
                Some('n') => out.push(b'\n'),
                Some('t') => out.push(b'\t'),
                Some('0') => out.push(0),
                Some(c @ ('"' | '\\')) => out.push(c as u8),
                Some('x') => {
                    let digits = text.get(at + 2..at + 4).ok_or("\\x without two digits")?;
                    out.push(u8::from_str_radix(digits, 16).map_err(|_| "\\x without two digits")?);
                    chars.nth(1);
                }
                _ => return Err("an unknown escape".to_owned()),
            },
            _ => out.extend(c.to_string().as_bytes()),
        }
    }
    Err("a quote that is not closed".to_owned())
}

/// Whether a line is like a pattern, in which `*` stands for any text and `?` for one character.
pub fn matches(pattern: &str, line: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return alike(pattern, line);
    };
    let Some(head) = line.get(..first.len()) else {
        return false;
    };
    alike(first, head)
        && (first.len()..=line.len()).any(|at| line.get(at..).is_some_and(|l| matches(rest, l)))
}

fn alike(pattern: &str, text: &str) -> bool {
    pattern.len() == text.len()
        && pattern
            .bytes()
            .zip(text.bytes())
            .all(|(p, t)| p == b'?' || p == t)
}

/// Every transcript below a folder, in the order of their paths.
pub fn all(folder: &Path) -> Vec<(PathBuf, Transcript)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "smtp") {
                let text = std::fs::read_to_string(&path).unwrap();
                let transcript = Transcript::parse(&text);
                let transcript = transcript.unwrap_or_else(|e| panic!("{}, {e}", path.display()));
                found.push((path, transcript));
            }
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}
