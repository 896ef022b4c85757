//! `--check`: why mail would not flow, found before it does not. Nothing is changed, nothing is sent.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;

use super::links::Shared;
use super::send::Connection;
use super::{Context, exchange, expand, hops, newaliases, parent};
use crate::cli::{Invocation, say};
use crate::config::{self, Config, Password, Smarthost};
use crate::error::Result;
use crate::host::{accounts, clock, password, privilege, words};
use crate::json::Json;
use crate::parts;
use crate::proto::address::Mailbox;
use crate::proto::alias::Target;
use crate::proto::date::Stamp;
use crate::proto::expand::Found;
use crate::proto::route::{Hop, Pattern, Route, Via};

mod causes;
mod guests;
mod mailboxes;
mod outward;
mod places;
mod spool;
mod sts;
mod trust;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Grade {
    Ok,
    Warning,
    Error,
}

impl Grade {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

#[derive(PartialEq, Eq)]
struct Finding {
    grade: Grade,
    /// What was looked at.
    thing: String,
    /// What was found, and what to do about it.
    text: String,
}

/// `--check`: one line a finding. The exit code is 78 when one is an error.
///
/// # Errors
/// None yet: whatever cannot be looked at is a finding.
pub fn run(context: &Context, call: &Invocation) -> Result<ExitCode> {
    let mut findings = Vec::new();
    configuration(context, &mut findings);
    host_name(context, &mut findings);
    system(clock::stamp(), &mut findings);
    causes::program(context, &mut findings);
    servant(context, &mut findings);
    spool::look(context, &mut findings);
    places::run(context, &mut findings);
    places::log(context, &mut findings);
    causes::idle_queue(context, clock::now(), &mut findings);
    mailboxes::look(context, &mut findings);
    as_worker(context, &mut findings, |findings| {
        aliases(context, findings);
        smarthosts(context, findings);
        direct(context, &call.arguments, findings);
    });
    causes::ports(context, &mut findings);
    as_worker(context, &mut findings, |findings| {
        guests::look(context, findings);
        trust::look(context, findings);
        if parts::MX && parts::SERVER {
            sts::look(context, findings);
        }
    });
    if call.json {
        let object = |f: &Finding| {
            let grade = Json::text(&f.grade.word());
            Json::Object(vec![
                ("grade", grade),
                ("thing", Json::text(&f.thing)),
                ("text", Json::text(&f.text)),
            ])
        };
        say(&format!(
            "{}\n",
            Json::Array(findings.iter().map(object).collect())
        ))?;
    } else {
        for Finding { grade, thing, text } in &findings {
            say(&format!("{:<8} {thing}: {text}\n", grade.word()))?;
        }
    }
    let worst = findings.iter().map(|f| f.grade).max().unwrap_or(Grade::Ok);
    Ok(if worst == Grade::Error {
        ExitCode::from(78)
    } else {
        ExitCode::SUCCESS
    })
}

fn add(
    findings: &mut Vec<Finding>,
    grade: Grade,
    thing: impl Into<String>,
    text: impl Into<String>,
) {
    let finding = Finding {
        grade,
        thing: thing.into(),
        text: text.into(),
    };
    // Several looks may come to the same.
    if !findings.contains(&finding) {
        findings.push(finding);
    }
}

/// Looks at what the worker reads and does, in its right: root reads a password that the worker cannot, and all would seem
/// well.
fn as_worker(context: &Context, findings: &mut Vec<Finding>, look: impl FnOnce(&mut Vec<Finding>)) {
    let Some(worker) = parent::servant(context).ok().flatten() else {
        return look(findings);
    };
    if let Err(why) = privilege::act_as(&worker) {
        return add(findings, Grade::Error, "user", why);
    }
    look(findings);
    if let Err(why) = privilege::be_root() {
        add(findings, Grade::Error, "user", why);
    }
}

/// Whom root's minimta works as.
fn servant(context: &Context, findings: &mut Vec<Finding>) {
    if !privilege::is_root() {
        return;
    }
    let thing = "user";
    match parent::servant(context) {
        Ok(Some(account)) => {
            let text = format!(
                "all that meets mail or the network is done as {}",
                account.name
            );
            add(findings, Grade::Ok, thing, text);
        }
        Ok(None) => add(
            findings,
            Grade::Warning,
            thing,
            "all is done as root, and mail for others than root waits; name another user, as whom mail and the network are met with fewer rights",
        ),
        Err(error) => add(findings, Grade::Error, thing, error.to_string()),
    }
}

fn configuration(context: &Context, findings: &mut Vec<Finding>) {
    let found = context.config.file.as_deref();
    let file = found.unwrap_or(Path::new(config::DEFAULT_FILE));
    if let Some(closed) = places::closed(context, file) {
        return add(findings, Grade::Error, file.display().to_string(), closed);
    }
    match found {
        Some(file) => add(
            findings,
            Grade::Ok,
            file.display().to_string(),
            "read without an error",
        ),
        None => add(
            findings,
            Grade::Warning,
            config::DEFAULT_FILE,
            "there is no such file; see minimta.toml(5)",
        ),
    }
    for warning in context.config.warnings() {
        add(findings, Grade::Warning, "configuration", warning);
    }
}

fn host_name(context: &Context, findings: &mut Vec<Finding>) {
    let name = context.config.hostname.as_str();
    let is_odd = |c: char| c.is_ascii() && !c.is_ascii_alphanumeric() && !matches!(c, '-' | '.');
    if name == config::UNKNOWN_HOST {
        // It was said with the configuration.
    } else if name.contains(is_odd) {
        let text = format!(
            "{name} is not made of letters, digits and hyphens alone, and other servers may refuse mail from it; set hostname \
             to a name that is"
        );
        add(findings, Grade::Warning, "hostname", text);
    } else if name.contains('.') {
        add(findings, Grade::Ok, "hostname", name);
    } else {
        let text = format!(
            "{name} is not fully qualified, and other servers may refuse mail from it; set hostname = \"{name}.example.org\" \
             (with your domain), or put the full name into /etc/hosts"
        );
        add(findings, Grade::Warning, "hostname", text);
    }
}

/// The clock: behind most certificate errors of small machines there is one that starts in 1970.
fn system(now: Stamp, findings: &mut Vec<Finding>) {
    /// 2026-01-01, before which no minimta was made.
    const FIRST: i64 = 1_767_225_600;
    let (grade, text) = match now.unix < FIRST {
        true => (
            Grade::Error,
            format!(
                "the clock says {}; set it, or no certificate can be checked",
                now.rfc5322()
            ),
        ),
        false => (Grade::Ok, now.rfc5322()),
    };
    add(findings, grade, "clock", text);
}

/// Whether who gets the mail for unknown names is somebody himself. What is wrong with his alias was said.
fn unknown_user(context: &Context, findings: &mut Vec<Finding>) {
    let Some(target) = &context.config.local.unknown_user else {
        return;
    };
    let Ok(address) = Mailbox::qualify(&target.to_string(), &context.config.hostname) else {
        return;
    };
    let is_here = matches!(target, Target::Name(_)) || hops::of(context, &address) == Hop::Local;
    if is_here && matches!(expand::look(context, &address), Ok(Found::Nobody)) {
        let text = format!(
            "{target} is neither a user nor an alias, so unknown names are refused all the same; name somebody else"
        );
        add(findings, Grade::Warning, "[local] unknown_user", text);
    }
}

fn aliases(context: &Context, findings: &mut Vec<Finding>) {
    let file = context.aliases.path().display().to_string();
    let survey = match newaliases::survey(context) {
        Ok(survey) => survey,
        Err(sentence) => return add(findings, Grade::Error, file, sentence),
    };
    for (grade, faults) in [
        (Grade::Error, &survey.errors),
        (Grade::Warning, &survey.warnings),
    ] {
        for fault in faults {
            add(findings, grade, &file, fault.to_string());
        }
    }
    if survey.exists && survey.errors.is_empty() {
        add(findings, Grade::Ok, &file, survey.in_words());
    }
    if !survey.has_root {
        let text = "there is no alias for root, whose mail nobody may ever read; add a line such as: \
                    root: you@example.org";
        add(findings, Grade::Warning, &file, text);
    }
    unknown_user(context, findings);
    let user = &context.config.local.alias_user;
    match accounts::find(user) {
        Ok(Some(account)) if account.uid != 0 => {}
        _ => {
            let text = format!(
                "there is no user {user} who is not root, so commands and files of the alias file wait; name another"
            );
            add(findings, Grade::Warning, "[local] alias_user", text);
        }
    }
}

fn smarthosts(context: &Context, findings: &mut Vec<Finding>) {
    let shared = Shared::new(context);
    let outgoing = shared.outgoing();
    for smarthost in &context.config.smarthosts {
        let thing = format!("smarthost {}:{}", smarthost.host, smarthost.port);
        secret(smarthost, findings);
        causes::authorities(smarthost, findings);
        match Connection::open(smarthost.into(), &outgoing) {
            Ok(mut connection) => {
                let login = smarthost
                    .login
                    .as_ref()
                    .map(|l| format!(", login as {} works", l.user))
                    .unwrap_or_default();
                add(
                    findings,
                    Grade::Ok,
                    thing,
                    format!("{}{login}", connection.protection()),
                );
                causes::sender(context, smarthost, &mut connection, findings);
                connection.close();
            }
            Err(outcome) => add(findings, Grade::Error, thing, outcome.words()),
        }
    }
}

/// Whether no mail leaves this system, but what a route names another way for.
fn keeps_all(config: &Config) -> bool {
    let keeps = |route: &Route| route.sender.is_none() && route.domain == Some(Pattern::Others);
    config.routes.iter().any(keeps)
}

/// What mail needs that goes straight to the servers of its recipients.
fn direct(context: &Context, named: &[String], findings: &mut Vec<Finding>) {
    let config = &context.config;
    if !config.routes.iter().any(|route| route.via == Via::Mx)
        && (!config.smarthosts.is_empty() || keeps_all(config))
    {
        return;
    }
    let dns = exchange::resolver(config);
    match dns.check() {
        Ok(servers) => add(findings, Grade::Ok, "name servers", servers),
        Err(why) => {
            let text = format!(
                "{why}: no mail can leave this system; see [dns] servers, or name a [smarthost]"
            );
            return add(findings, Grade::Error, "name servers", text);
        }
    }
    outward::look(context, named, findings);
    causes::repute(context, &dns, findings);
}

/// A password that everybody can read is nobody's.
fn secret(smarthost: &Smarthost, findings: &mut Vec<Finding>) {
    let Some(Password::File(path)) = smarthost.login.as_ref().map(|l| &l.password) else {
        return;
    };
    let thing = format!("password file {}", path.display());
    match std::fs::metadata(path) {
        Ok(meta) if meta.mode() & 0o007 != 0 => {
            let text = format!(
                "everybody can read it, so it is not used; chmod 0640 {}",
                path.display()
            );
            add(findings, Grade::Error, thing, text);
        }
        // Others that are not root have no business in it.
        Ok(meta) if privilege::is_root() || meta.uid() == accounts::caller_uid() => {
            match password::from_file(path) {
                Ok(_) => add(findings, Grade::Ok, thing, "closed to others"),
                Err(sentence) => add(findings, Grade::Error, thing, sentence),
            }
        }
        Ok(_) => add(findings, Grade::Ok, thing, "closed to others"),
        Err(e) => add(findings, Grade::Error, thing, words(&e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine without a battery starts in 1970, and every certificate is then of the future.
    #[test]
    fn a_clock_that_was_not_set_is_an_error_with_its_remedy() {
        for (unix, grade) in [(60, Grade::Error), (1_795_608_000, Grade::Ok)] {
            let mut findings = Vec::new();
            system(Stamp::utc(unix), &mut findings);
            assert_eq!(findings.len(), 1);
            assert_eq!(findings[0].grade, grade);
            let told = findings[0]
                .text
                .contains("set it, or no certificate can be checked");
            assert_eq!(told, grade == Grade::Error, "{}", findings[0].text);
        }
    }
}
