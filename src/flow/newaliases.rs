//! `newaliases` and `-bi`: the alias file checked, for nothing is built of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use super::{Context, expand, hops};
use crate::cli::{complain, say};
use crate::error::Error;
use crate::host::listed;
use crate::proto::address::Mailbox;
use crate::proto::alias::{Fault, Table, Target, by_line};
use crate::proto::expand::{MAX_DEPTH, MAX_LEAVES, TOO_MANY, without_detail};
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
///
/// # Errors
/// `Io` when it cannot be said.
pub fn run(context: &Context) -> Result<ExitCode, Error> {
    let file = context.aliases.path().display();
    let survey = match survey(context) {
        Ok(survey) => survey,
        Err(sentence) => {
            complain(&context.program, &sentence);
            return Ok(ExitCode::from(78));
        }
    };
    for fault in survey.errors.iter().chain(&survey.warnings) {
        complain(&context.program, &format!("{file}, {fault}"));
    }
    if !survey.exists {
        say(&format!(
            "{file}: there is no such file, so there are no aliases\n"
        ))?;
    } else {
        let errors = match survey.errors.len() {
            0 => String::new(),
            1 => ", 1 error".to_owned(),
            n => format!(", {n} errors"),
        };
        say(&format!("{file}: {}{errors}\n", survey.in_words()))?;
    }
    Ok(match survey.errors.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(78),
    })
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
        lists: BTreeMap::new(),
        survey: Survey {
            exists,
            count: table.len(),
            has_root: table.has("root"),
            errors: table.faults(),
            ..Survey::default()
        },
    };
    // First of all root: what only leads back to it through who has no alias is seen from there alone.
    for name in std::iter::once("root").chain(table.names()) {
        let reach = search.alias(name);
        search.survey.longest = search.survey.longest.max(reach.depth);
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
    /// What each leads to that was gone through.
    known: BTreeMap<String, Reach>,
    /// What each list leads to that was read.
    lists: BTreeMap<String, Reach>,
    survey: Survey,
}

/// What an alias or a list leads to.
#[derive(Debug, Clone, Copy, Default)]
struct Reach {
    /// How many aliases and lists lead from one to the next, with this one.
    depth: usize,
    /// How many recipients it has at most: who is reached twice counts twice.
    count: usize,
}

impl Reach {
    const ONE: Self = Self { depth: 0, count: 1 };

    fn deeper(self) -> Self {
        Self {
            depth: self.depth + 1,
            ..self
        }
    }
}

impl Search<'_> {
    fn alias(&mut self, name: &str) -> Reach {
        if let Some(reach) = self.known.get(name) {
            return *reach;
        }
        let (line, targets) = match self.table.get(name) {
            Some(Ok(entry)) => entry,
            // What is wrong with an entry was said.
            Some(Err(_)) => return Reach::ONE.deeper(),
            None => return Reach::default(),
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
            return Reach::default();
        }
        if self.on_the_way.len() >= MAX_DEPTH {
            let what = format!(
                "more than {MAX_DEPTH} aliases lead from one to the next before {name}; let them lead to where they end"
            );
            self.error(line, what);
            return Reach::default();
        }
        self.on_the_way.push(name.to_owned());
        let reach = self.targets(name, line, targets).deeper();
        self.on_the_way.pop();
        self.known.insert(name.to_owned(), reach);
        if reach.count > MAX_LEAVES {
            self.count(name, line);
        }
        reach
    }

    /// Whether an alias that may lead to too many does so: an expansion leaves out who is reached twice.
    fn count(&mut self, name: &str, line: usize) {
        let hostname = self.context.config.hostname.clone();
        let address = Mailbox::new(name.to_owned(), hostname);
        if let Ok(Err(trouble)) = address.map(|address| expand::look(self.context, &address))
            && trouble.enhanced == TOO_MANY
        {
            self.error(line, format!("{name}: {}", trouble.sentence));
        }
    }

    fn error(&mut self, line: usize, what: String) {
        self.survey.errors.push(Fault { line, what });
    }

    fn targets(&mut self, of: &str, line: usize, targets: Vec<Target>) -> Reach {
        let mut all = Reach::default();
        for target in targets {
            let reach = match target {
                Target::Name(name) => self.name(of, line, &name),
                Target::Address(address) if hops::of(self.context, &address) == Hop::Local => {
                    self.name(of, line, address.local())
                }
                Target::Own(name) => {
                    self.user(of, line, &name);
                    Reach::ONE
                }
                Target::Include(path) => self.list(of, line, &path),
                _ => Reach::ONE,
            };
            all.depth = all.depth.max(reach.depth);
            all.count = all.count.saturating_add(reach.count);
        }
        all
    }

    fn name(&mut self, of: &str, line: usize, name: &str) -> Reach {
        let base = without_detail(name, self.context.config.local.delimiter);
        let names = std::iter::once(name).chain(base).map(str::to_lowercase);
        let found = names.into_iter().find(|n| n != of && self.table.has(n));
        match found {
            Some(alias) => self.alias(&alias),
            None => {
                let name = base.unwrap_or(name);
                self.user(of, line, name);
                if self.on_the_way.first().is_some_and(|first| first == "root")
                    && expand::is_for_root(self.context, name)
                {
                    let what = format!(
                        "{name}, to whom {of} leads, has no alias, so that his mail is root's again, and stays in the mailbox of root if nobody else gets it; name who reads it"
                    );
                    self.survey.warnings.push(Fault { line, what });
                }
                Reach::ONE
            }
        }
    }

    fn user(&mut self, of: &str, line: usize, name: &str) {
        if !is_role(name) && matches!(expand::named(name), Ok(None)) {
            let becomes = match &self.context.config.local.unknown_user {
                Some(other) => format!("goes to {other}, as [local] unknown_user says"),
                None => "comes back".to_owned(),
            };
            let what = format!(
                "{name}, to whom {of} leads, is neither a user nor an alias; mail for {of} {becomes}"
            );
            self.survey.warnings.push(Fault { line, what });
        }
    }

    fn list(&mut self, of: &str, line: usize, path: &str) -> Reach {
        if let Some(reach) = self.lists.get(path) {
            return *reach;
        }
        // A list that names itself adds nothing.
        self.lists.insert(path.to_owned(), Reach::default());
        match expand::included(Path::new(path), of) {
            Ok(targets) => {
                let reach = self.targets(of, line, targets).deeper();
                self.lists.insert(path.to_owned(), reach);
                reach
            }
            Err(what) => {
                self.error(line, what);
                Reach::default()
            }
        }
    }
}
