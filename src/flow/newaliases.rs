//! `newaliases` and `-bi`: the alias file checked, for nothing is built of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;

use super::{Context, expand, hops};
use crate::cli::{complain, say};
use crate::host::listed;
use crate::proto::alias::{Fault, Place, Table, Target, by_line, read_list};
use crate::proto::expand::{MAX_DEPTH, without_detail};
use crate::proto::route::{Hop, is_role};

/// What a look at the alias file has brought.
#[derive(Debug, Default)]
pub struct Survey {
    /// Whether there is a file.
    pub exists: bool,
    /// How many aliases there are.
    pub count: usize,
    /// How many lead from one to the next at most.
    pub longest: usize,
    /// What keeps mail waiting or makes it fail, by line.
    pub errors: Vec<Fault>,
    /// What is probably not meant.
    pub warnings: Vec<Fault>,
    /// Whether mail for root goes to somebody.
    pub has_root: bool,
}

impl Survey {
    /// `12 aliases, longest chain 3`
    pub fn in_words(&self) -> String {
        let plural = if self.count == 1 { "alias" } else { "aliases" };
        format!("{} {plural}, longest chain {}", self.count, self.longest)
    }
}

/// Checks the alias file; the exit code is 78 when there is an error in it.
pub fn run(context: &Context) -> ExitCode {
    let file = context.aliases.path().display();
    let survey = match survey(context) {
        Ok(survey) => survey,
        Err(sentence) => {
            complain(&context.program, &sentence);
            return ExitCode::from(78);
        }
    };
    for fault in survey.errors.iter().chain(&survey.warnings) {
        complain(&context.program, &format!("{file}, {fault}"));
    }
    if !survey.exists {
        say(&format!(
            "{file}: there is no such file, so there are no aliases\n"
        ));
    } else {
        let errors = match survey.errors.len() {
            0 => String::new(),
            1 => ", 1 error".to_owned(),
            n => format!(", {n} errors"),
        };
        say(&format!("{file}: {}{errors}\n", survey.in_words()));
    }
    match survey.errors.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(78),
    }
}

/// Looks at all of the alias file, and at the lists it includes.
///
/// # Errors
/// A sentence with its remedy: the file cannot be read.
pub fn survey(context: &Context) -> Result<Survey, String> {
    let octets = listed::read(context.aliases.path())?;
    let exists = octets.is_some();
    let text = String::from_utf8_lossy(&octets.unwrap_or_default()).into_owned();
    let table = Table::parse(text);
    let mut search = Search {
        context,
        table: &table,
        on_the_way: Vec::new(),
        known: BTreeMap::new(),
        lists: BTreeSet::new(),
        survey: Survey {
            exists,
            count: table.len(),
            has_root: table.has("root"),
            errors: table.faults(),
            ..Survey::default()
        },
    };
    for name in table.names() {
        let depth = search.alias(name);
        search.survey.longest = search.survey.longest.max(depth);
    }
    let mut survey = search.survey;
    by_line(&mut survey.errors);
    by_line(&mut survey.warnings);
    Ok(survey)
}

struct Search<'a> {
    context: &'a Context,
    table: &'a Table,
    /// Aliases from the first one to here.
    on_the_way: Vec<String>,
    /// How many follow on each that was gone through.
    known: BTreeMap<String, usize>,
    /// Lists that were read.
    lists: BTreeSet<String>,
    survey: Survey,
}

impl Search<'_> {
    /// How many aliases follow, with this one.
    fn alias(&mut self, name: &str) -> usize {
        if let Some(depth) = self.known.get(name) {
            return *depth;
        }
        // What is wrong with an entry was said.
        let Some(Ok((line, targets))) = self.table.get(name) else {
            return 1;
        };
        if let Some(at) = self.on_the_way.iter().position(|n| n == name) {
            let circle: Vec<&str> = self
                .on_the_way
                .iter()
                .skip(at)
                .map(String::as_str)
                .collect();
            let circle = format!("{} > {name}", circle.join(" > "));
            self.error(
                line,
                format!("{name} leads back to itself: {circle}; end the circle"),
            );
            return 0;
        }
        if self.on_the_way.len() >= MAX_DEPTH {
            let what = format!(
                "more than {MAX_DEPTH} aliases lead from one to the next before {name}; let them lead to where they end"
            );
            self.error(line, what);
            return 0;
        }
        self.on_the_way.push(name.to_owned());
        let depth = 1 + self.targets(name, line, targets);
        self.on_the_way.pop();
        self.known.insert(name.to_owned(), depth);
        depth
    }

    fn error(&mut self, line: usize, what: String) {
        self.survey.errors.push(Fault { line, what });
    }

    fn targets(&mut self, of: &str, line: usize, targets: Vec<Target>) -> usize {
        let depths = targets.into_iter().map(|target| match target {
            Target::Name(name) => self.name(of, line, &name),
            Target::Address(address) if hops::of(self.context, &address) == Hop::Local => {
                self.name(of, line, address.local())
            }
            Target::Own(name) => {
                self.user(of, line, &name);
                0
            }
            Target::Include(path) => self.list(of, line, &path),
            _ => 0,
        });
        depths.max().unwrap_or(0)
    }

    fn name(&mut self, of: &str, line: usize, name: &str) -> usize {
        let base = without_detail(name, self.context.config.local.delimiter);
        let names = std::iter::once(name).chain(base).map(str::to_lowercase);
        let found = names.into_iter().find(|n| n != of && self.table.has(n));
        match found {
            Some(alias) => self.alias(&alias),
            None => {
                self.user(of, line, base.unwrap_or(name));
                0
            }
        }
    }

    fn user(&mut self, of: &str, line: usize, name: &str) {
        if !is_role(name) && matches!(expand::named(name), Ok(None)) {
            let what = format!(
                "{name}, to whom {of} leads, is neither a user nor an alias; mail for {of} comes back"
            );
            self.survey.warnings.push(Fault { line, what });
        }
    }

    fn list(&mut self, of: &str, line: usize, path: &str) -> usize {
        if !self.lists.insert(path.to_owned()) {
            return 0;
        }
        let targets = match listed::read(Path::new(path)) {
            Ok(Some(octets)) => read_list(&String::from_utf8_lossy(&octets), Place::Include)
                .map_err(|fault| format!("the list {path}, {fault}")),
            Ok(None) => Err(format!(
                "the list {path} is not there; make it, or take it out of {of}"
            )),
            Err(sentence) => Err(sentence),
        };
        match targets {
            Ok(targets) => 1 + self.targets(of, line, targets),
            Err(what) => {
                self.error(line, what);
                0
            }
        }
    }
}
