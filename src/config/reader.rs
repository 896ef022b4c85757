//! The text of a configuration -> a [`Config`], or everything that is wrong with it.
//!
//! 1. The defaults of the table of keys.
//! 2. TOML. Where the text is not even that, nothing more is said: guesses would only confuse.
//! 3. Each key of the text, by its row; those without a row are refused with the likeliest remedy.
//! 4. Each smarthost and each route as a whole: what is missing, what contradicts, what follows.

use std::ops::Range;
use std::path::PathBuf;

use super::dkim::DkimDraft;
use super::document::{self, Entry, Flaw, Value};
use super::keys::{self, Key, Shown};
use super::milter::MilterDraft;
use super::report::Problem;
use super::route::RouteDraft;
use super::smarthost::SmarthostDraft;
use super::value::{Wrong, describe};
use super::{Config, KeyPair, System, default_hostname};
use crate::error::Error;
use crate::parts;
use crate::proto::address::Domain;
use crate::proto::order;

/// A configuration in the making: what the rows of the table write to.
#[derive(Debug)]
pub struct Draft {
    /// What is known already.
    pub config: Config,
    /// `hostname`, when the file says it; otherwise the system is asked.
    pub hostname: Option<Domain>,
    /// `domains`; the default follows from the host name, which may come later.
    pub domains: Option<Vec<Domain>>,
    /// `certificate` in `[tls]`.
    pub certificate: Option<PathBuf>,
    /// `key` in `[tls]`.
    pub key: Option<PathBuf>,
    /// The smarthost that is being read.
    pub smarthost: SmarthostDraft,
    /// The route that is being read.
    pub route: RouteDraft,
    /// The key for signatures that is being read.
    pub dkim: DkimDraft,
    pub milter: MilterDraft,
}

/// Why there is no configuration.
#[derive(Debug)]
pub enum Refusal {
    /// What is wrong with the text.
    Problems(Vec<Problem>),
    /// A fault of minimta's own.
    Fault(Error),
}

/// Reads a text.
pub fn read(text: &str, system: &System<'_>) -> Result<Config, Refusal> {
    let mut draft = Draft {
        config: Config::blank().map_err(Refusal::Fault)?,
        hostname: None,
        domains: None,
        certificate: None,
        key: None,
        smarthost: SmarthostDraft::default(),
        route: RouteDraft::default(),
        dkim: DkimDraft::default(),
        milter: MilterDraft::default(),
    };
    apply_defaults(&mut draft).map_err(Refusal::Fault)?;

    let (entries, flaws) = document::parse(text);
    let understood = flaws.iter().all(|flaw| flaw.harmless);
    let mut problems = syntax_problems(text, flaws);
    if understood {
        let mut found = Vec::new();
        read_document(&entries, &mut draft, &mut found);
        // Of a line that is no good TOML enough is said.
        let said: Vec<Range<usize>> = problems.iter().map(|p| line(text, p.at.start)).collect();
        found.retain(|problem| !said.iter().any(|line| line.contains(&problem.at.start)));
        problems.extend(found);
    }
    if !problems.is_empty() {
        return Err(Refusal::Problems(problems));
    }
    let mut config = draft.config;
    config.hostname = match draft.hostname {
        // It stands in greetings, commands and fields that all have to understand (RFC 6531 3.7.1).
        Some(hostname) => hostname.into_ascii(),
        None => default_hostname(system).map_err(Refusal::Fault)?,
    };
    config.domains = draft
        .domains
        .unwrap_or_else(|| default_domains(&config.hostname));
    Ok(config)
}

/// Sections of which there may be several, each in double brackets.
pub const REPEATED: &[&str] = &["smarthost", "route", "dkim", "milter"];

/// The defaults stand in the table of keys alone. Those of a smarthost apply to each one when it is complete.
fn apply_defaults(draft: &mut Draft) -> Result<(), Error> {
    for key in keys::all().filter(|key| !REPEATED.contains(&key.section)) {
        let Shown::Default(text) = key.shown else {
            continue;
        };
        let set = document::value(text).is_some_and(|value| (key.set)(draft, &value).is_ok());
        if !set {
            return Err(Error::Internal(format!(
                "the default of {} in [{}] is not valid: {text}",
                key.name, key.section
            )));
        }
    }
    Ok(())
}

fn default_domains(hostname: &Domain) -> Vec<Domain> {
    let mut domains = vec![hostname.clone()];
    domains.extend(Domain::parse("localhost").ok().filter(|d| d != hostname));
    domains
}

/// The line of a place, with its line end.
fn line(text: &str, at: usize) -> Range<usize> {
    let before = text.get(..at).unwrap_or(text);
    let after = text.get(at..).unwrap_or_default();
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    let end = after.find('\n').map_or(text.len(), |end| at + end + 1);
    start..end
}

/// One flaw a line: the others on it are mostly consequences.
fn syntax_problems(text: &str, mut flaws: Vec<Flaw>) -> Vec<Problem> {
    order::sort(&mut flaws, &|a, b| a.at.start.cmp(&b.at.start));
    // Or a megabyte of rubbish would take a while.
    flaws.truncate(MAX_FLAWS);
    let mut problems: Vec<Problem> = Vec::new();
    for flaw in flaws {
        let line = line(text, flaw.at.start);
        if problems
            .last()
            .is_some_and(|last| last.at.start >= line.start)
        {
            continue;
        }
        problems.push(Problem {
            key: match text.get(line) {
                Some(line) if flaw.harmless => key_of(line),
                _ => String::new(),
            },
            at: flaw.at,
            finding: flaw.finding,
            remedy: flaw.remedy,
        });
    }
    problems
}

/// How many flaws are looked at.
const MAX_FLAWS: usize = 100;

/// What a line sets: the words before its equals sign, or the name of its header.
fn key_of(line: &str) -> String {
    let name = line.split('=').next().unwrap_or_default();
    name.trim_matches(|c: char| c.is_whitespace() || c == '[' || c == ']')
        .to_owned()
}

fn read_document(entries: &[Entry], draft: &mut Draft, problems: &mut Vec<Problem>) {
    for entry in entries {
        if !keys::sections().contains(&entry.name.as_str()) {
            problems.extend(read_key("", entry, draft));
            continue;
        }
        match &entry.value {
            Value::Table(table) => read_table(entry, table, entry.at.clone(), draft, problems),
            Value::List(tables) if REPEATED.contains(&entry.name.as_str()) => {
                for (table, at) in tables {
                    match table {
                        Value::Table(table) => {
                            read_table(entry, table, at.clone(), draft, problems);
                        }
                        other => problems.push(no_table(entry, other)),
                    }
                }
            }
            other => problems.push(no_table(entry, other)),
        }
    }
}

fn no_table(entry: &Entry, found: &Value) -> Problem {
    Problem {
        at: entry.at.clone(),
        key: entry.name.clone(),
        finding: match found {
            Value::List(_) => "expected one table, found a list".to_owned(),
            other => format!("expected a table, found {}", describe(other)),
        },
        remedy: format!("its keys stand below a line [{}]", entry.name),
    }
}

fn read_table(
    section: &Entry,
    table: &[Entry],
    at: Range<usize>,
    draft: &mut Draft,
    problems: &mut Vec<Problem>,
) {
    for entry in table {
        problems.extend(read_key(&section.name, entry, draft));
    }
    if section.name == "tls" {
        problems.extend(finish_pair(table, draft));
    }
    let (smarthost, route, dkim, milter) = (
        std::mem::take(&mut draft.smarthost),
        std::mem::take(&mut draft.route),
        std::mem::take(&mut draft.dkim),
        std::mem::take(&mut draft.milter),
    );
    if table
        .iter()
        .any(|entry| keys::find(&section.name, &entry.name).is_none())
    {
        // What seems to be missing may be what is misspelt.
        return;
    }
    let config = &mut draft.config;
    let finished = match section.name.as_str() {
        "smarthost" => smarthost
            .finish(table, at)
            .map(|s| config.smarthosts.push(s)),
        "milter" => milter.finish(table, at).map(|m| config.milters.push(m)),
        "dkim" => dkim.finish(table, at).map(|d| config.dkim.push(d)),
        "route" => route.finish(table, at).map(|r| config.routes.push(r)),
        _ => Ok(()),
    };
    problems.extend(finished.err().into_iter().flatten());
}

/// A certificate and its key, which may stand in one file. A key alone is no pair, unless what seems to be missing
/// is misspelt.
fn finish_pair(table: &[Entry], draft: &mut Draft) -> Option<Problem> {
    let key = draft.key.take();
    if let Some(certificate) = draft.certificate.take() {
        draft.config.tls = Some(KeyPair {
            key: key.unwrap_or_else(|| certificate.clone()),
            certificate,
        });
        return None;
    }
    let entry = table.iter().find(|entry| entry.name == "key")?;
    let all_known = table.len() == 1;
    (key.is_some() && all_known).then(|| Problem {
        at: entry.at.clone(),
        key: entry.name.clone(),
        finding: "expected a certificate beside it, found none".to_owned(),
        remedy: "name its file with certificate = \"...\", or remove the key".to_owned(),
    })
}

fn read_key(section: &str, entry: &Entry, draft: &mut Draft) -> Option<Problem> {
    let Some(key) = keys::find(section, &entry.name) else {
        return Some(unknown(section, entry));
    };
    if let Some(why) = parts::without(section, key.name) {
        return Some(Problem {
            at: entry.at.clone(),
            key: entry.name.clone(),
            finding: "not in this build of minimta".to_owned(),
            remedy: format!("remove the key: {why}"),
        });
    }
    let wrong = (key.set)(draft, &entry.value).err()?;
    Some(Problem {
        at: entry.at.clone(),
        key: entry.name.clone(),
        finding: finding(key, &wrong),
        remedy: format!(
            "{} For example: {} = {}",
            key.doc,
            key.name,
            key.shown.text()
        ),
    })
}

/// What was expected and found. Some write the password itself where its file should be named: not found, then.
fn finding(key: &Key, wrong: &Wrong) -> String {
    let mut finding = format!("expected {}", wrong.expected);
    if !key.name.starts_with("password") {
        finding.push_str(&format!(", found {}", wrong.found));
    }
    if let Some(reason) = &wrong.because {
        finding.push_str(&format!(": {reason}"));
    }
    finding
}

/// A key without a row. To ignore it would be to do something else than what was asked for.
fn unknown(section: &str, entry: &Entry) -> Problem {
    let mut finding = "not known to this version of minimta";
    let known = known_names(section);
    let remedy = if section == "smarthost" && entry.name == "password" {
        "put it into a file that others cannot read, and name that: password_file = \"/etc/minimta/password\""
            .to_owned()
    } else if let Some(key) = elsewhere(section, &entry.name) {
        finding = "not known in this place to this version of minimta";
        match key.section {
            "" => "a key of this name may stand before the first [section]".to_owned(),
            other => format!("a key of this name may stand below a line [{other}]"),
        }
    } else if let Some(near) = nearest(&entry.name, &known) {
        format!("did you mean `{near}`?")
    } else if section.is_empty() {
        format!("known are {}", known.join(", "))
    } else {
        format!("known in [{section}] are {}", known.join(", "))
    };
    Problem {
        at: entry.name_at.clone(),
        key: entry.name.clone(),
        finding: finding.to_owned(),
        remedy,
    }
}

/// What may stand in a table; at the top, the headers of the tables too.
fn known_names(section: &str) -> Vec<String> {
    let mut names: Vec<String> = keys::all()
        .filter(|key| key.section == section)
        .map(|key| key.name.to_owned())
        .collect();
    if section.is_empty() {
        names.extend(keys::sections().iter().map(|name| format!("[{name}]")));
    }
    names
}

/// The one key of this name in another table.
fn elsewhere(section: &str, name: &str) -> Option<&'static Key> {
    keys::all().find(|key| key.section != section && key.name == name)
}

/// The name that was most likely meant: a third of its letters may be wrong.
fn nearest<'a>(name: &str, known: &'a [String]) -> Option<&'a str> {
    let name: Vec<char> = name
        .chars()
        .take(MAX_NAME + 1)
        .map(|c| {
            if c == '-' {
                '_'
            } else {
                c.to_ascii_lowercase()
            }
        })
        .collect();
    if name.len() > MAX_NAME {
        return None;
    }
    known
        .iter()
        .filter_map(|candidate| {
            let bare = candidate.trim_matches(['[', ']']);
            let distance = distance(&name, bare);
            (distance <= bare.len().div_ceil(3).min(3)).then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate.as_str())
}

/// No key is nearly as long.
const MAX_NAME: usize = 40;

/// How many letters must be put in, left out or changed (Levenshtein's distance), a row of his matrix at a time.
fn distance(from: &[char], to: &str) -> usize {
    let mut row: Vec<usize> = (0..=from.len()).collect();
    for (line, wanted) in to.chars().enumerate() {
        let mut diagonal = line;
        let mut left = line + 1;
        for (given, above) in from.iter().zip(row.iter_mut().skip(1)) {
            let changed = diagonal + usize::from(*given != wanted);
            diagonal = *above;
            left = changed.min(left + 1).min(*above + 1);
            *above = left;
        }
        if let Some(first) = row.first_mut() {
            *first = line + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_name_is_found() {
        let known = known_names("smarthost");
        let rows: &[(&str, Option<&str>)] = &[
            ("password-file", Some("password_file")),
            ("passwordfile", Some("password_file")),
            ("Host", Some("host")),
            ("hots", Some("host")),
            ("prot", Some("port")),
            ("pasword_command", Some("password_command")),
            ("finger_print", Some("fingerprint")),
            ("retries", None),
            ("", None),
            ("x", None),
        ];
        for (name, expected) in rows {
            assert_eq!(nearest(name, &known), *expected, "{name}");
        }
        assert_eq!(nearest(&"host".repeat(20), &known), None);
        assert_eq!(distance(&['a', 'b', 'c'], "abc"), 0);
        assert_eq!(distance(&[], "abc"), 3);
    }
}
