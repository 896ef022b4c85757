//! msmtp: accounts of commands. `defaults` begins what holds for the accounts that follow, `account name : others` one
//! that begins as those do, and the account `default` is taken when none is named.

use std::path::Path;

use super::{Host, Plan, Secret, Tls, at, fingerprint, is_of_system, quote, settings};

/// A command: its name, its value and its line.
type Command = (String, String, usize);

struct Account {
    name: String,
    commands: Vec<Command>,
}

impl Account {
    /// What a command says; the last one counts.
    fn get(&self, name: &str) -> Option<&Command> {
        self.commands.iter().rev().find(|(n, ..)| n == name)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.get(name)
            .map(|(_, v, _)| v.as_str())
            .filter(|v| !v.is_empty())
    }

    /// A switch; without a value it is on.
    fn is_on(&self, name: &str) -> Option<bool> {
        self.get(name).map(|(_, value, _)| value != "off")
    }
}

pub fn plan(path: &Path, text: &str) -> Plan {
    let mut plan = Plan {
        nothing_local: true,
        ..Plan::default()
    };
    let accounts = accounts(text);
    let chosen = accounts
        .iter()
        .rfind(|a| a.name == "default")
        .or(accounts.first());
    let Some(account) = chosen else {
        plan.note("there is no account in it");
        return plan;
    };
    if account.name != "default" {
        plan.note(format!(
            "no account is the default; this is {}",
            account.name
        ));
    }
    for other in &accounts {
        let same = other.text("host") == account.text("host")
            && other.text("user") == account.text("user");
        if !same && let Some(host) = other.text("host") {
            plan.note(format!(
                "the account {} goes through {host}: for the senders it is meant for, see sender and via in [[route]]",
                other.name
            ));
        }
    }
    if account
        .text("protocol")
        .is_some_and(|p| p.eq_ignore_ascii_case("lmtp"))
    {
        lmtp(account, &mut plan);
    } else {
        plan.hosts.push(smarthost(account, path));
    }
    rest(account, &mut plan);
    header(account, &mut plan);
    plan
}

/// A server that delivers (RFC 2033) is none that takes all mail; whom of this machine it has the mailboxes of, and which
/// domains, only who set it up can tell.
fn lmtp(account: &Account, plan: &mut Plan) {
    let server = match (account.text("socket"), account.text("port")) {
        (Some(path), _) => format!("lmtp:{path}"),
        (None, port) => format!(
            "lmtp:{}:{}",
            account.text("host").unwrap_or("localhost"),
            port.unwrap_or("24")
        ),
    };
    plan.nothing_local = false;
    plan.note(format!(
        "protocol lmtp: all mail went to {server}, which delivers; minimta gives it that of the users of this machine, for each domain of which it knows the users write a [[route]] with via = {}, and all other mail goes straight to the servers of its recipients",
        quote(&server)
    ));
    if account.is_on("tls") == Some(true) || account.text("auth").is_some_and(|a| a != "off") {
        plan.note("tls and auth: minimta uses neither towards a server that speaks LMTP");
    }
    if account
        .text("envelope_from")
        .or(account.text("from"))
        .is_some()
    {
        plan.note("from: mail for a server that speaks LMTP keeps its senders");
    }
    plan.lines.push(("local", "mailbox", quote(&server)));
}

/// The accounts with all that holds for each.
fn accounts(text: &str) -> Vec<Account> {
    let (mut defaults, mut accounts): (Vec<Command>, Vec<Account>) = (Vec::new(), Vec::new());
    let mut in_defaults = true;
    for (number, line) in settings(text) {
        let (name, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let value = value.trim();
        let value = value
            .strip_prefix('"')
            .and_then(|v| v.strip_suffix('"'))
            .unwrap_or(value);
        match name {
            "defaults" => {
                in_defaults = true;
                defaults.clear();
            }
            "account" => {
                in_defaults = false;
                let (name, bases) = value.split_once(':').unwrap_or((value, ""));
                let mut commands = defaults.clone();
                for base in bases.split(',').map(str::trim) {
                    if let Some(base) = accounts.iter().rfind(|a| a.name == base) {
                        commands.extend(base.commands.iter().cloned());
                    }
                }
                let name = name.trim().to_owned();
                accounts.push(Account { name, commands });
            }
            _ => {
                let command = (name.to_ascii_lowercase(), value.to_owned(), number);
                match accounts.last_mut().filter(|_| !in_defaults) {
                    Some(account) => account.commands.push(command),
                    None => defaults.push(command),
                }
            }
        }
    }
    if accounts.is_empty() && !defaults.is_empty() {
        // A file without accounts is one: the default.
        accounts.push(Account {
            name: "default".to_owned(),
            commands: defaults,
        });
    }
    accounts
}

fn smarthost(account: &Account, path: &Path) -> Host {
    let mut host = Host::new(account.text("host").unwrap_or("localhost"));
    let starttls = account.is_on("tls_starttls").unwrap_or(true)
        && !account.is_on("tls_nostarttls").unwrap_or(false);
    host.tls = match (account.is_on("tls").unwrap_or(false), starttls) {
        (false, _) => Tls::None,
        (true, true) => Tls::Starttls,
        (true, false) => Tls::Implicit,
    };
    match account.text("port") {
        Some(port) => host.set_port(port),
        None if host.tls == Tls::Implicit => {}
        None => host.port = Some(25),
    }
    // The second word is an old one for the opposite.
    host.verify = account.is_on("tls_certcheck").unwrap_or(true)
        && !account.is_on("tls_nocertcheck").unwrap_or(false);
    host.ca_file = account
        .text("tls_trust_file")
        .filter(|file| !is_of_system(file))
        .map(str::to_owned);
    if let Some(text) = account.text("tls_fingerprint") {
        host.fingerprint = fingerprint(text);
        if host.fingerprint.is_none() {
            host.notes
                .push("its tls_fingerprint is none of SHA-256".to_owned());
        }
    }
    let method = account.get("auth").map_or("off", |(_, v, _)| v.as_str());
    if method != "off" {
        host.user = account.text("user").map(str::to_owned);
        if !matches!(method, "on" | "") {
            host.set_auth(method);
        }
        host.password = if let Some((_, command, _)) = account.get("passwordeval") {
            host.notes.push(
                "passwordeval is run by the user minimta, not by the one who sends".to_owned(),
            );
            let words = ["/bin/sh", "-c", command].map(str::to_owned);
            Secret::Command(words.to_vec())
        } else if let Some((_, _, line)) = account.get("password") {
            Secret::At(at(*line, path))
        } else {
            Secret::Unknown
        };
    }
    if let Some(from) = account.text("envelope_from").or(account.text("from")) {
        let note = match account.is_on("allow_from_override") {
            Some(false) => "",
            _ => {
                "msmtp let sendmail -f override this; minimta puts it into every message, the old From into Reply-To"
            }
        };
        if from.contains(['%', '*']) {
            host.notes.push(format!(
                "senders were made from the pattern {from}: see masquerade in [rewrite]"
            ));
        } else {
            host.set_from(from, note);
        }
    }
    host
}

/// What is done to the header in another way: minimta adds what is missing there, and changes nothing but what `from`
/// says.
fn header(account: &Account, plan: &mut Plan) {
    let off = |name: &str| account.is_on(name) == Some(false);
    let on = |name: &str| {
        account.text(name) == Some("on")
            || account.text(name).is_none() && account.is_on(name) == Some(true)
    };
    for (field, names) in [
        ("From", ["set_from_header", "add_missing_from_header"]),
        ("Date", ["set_date_header", "add_missing_date_header"]),
        ("Message-ID", ["set_msgid_header", ""]),
    ] {
        if let Some(name) = names.into_iter().find(|name| off(name)) {
            plan.no_counterpart(
                &format!("{name} off"),
                &format!("minimta adds a {field} where there is none"),
            );
        }
    }
    let leaves_as = plan.hosts.iter().any(|host| host.from.is_some());
    if on("set_from_header") && !leaves_as {
        plan.no_counterpart(
            "set_from_header on",
            "minimta keeps the From of a message; see from in [smarthost]",
        );
    }
    if off("allow_from_override") && !leaves_as {
        plan.no_counterpart(
            "allow_from_override off",
            "sendmail -f names any sender; see from in [smarthost]",
        );
    }
    if on("undisclosed_recipients") {
        plan.no_counterpart(
            "undisclosed_recipients on",
            "minimta keeps To and Cc; without either it writes undisclosed-recipients by itself",
        );
    }
}

/// Commands that concern no server, or that minimta does otherwise.
fn rest(account: &Account, plan: &mut Plan) {
    // What is read above, and what is in nobody's way.
    const DONE: &[&str] = &[
        "host",
        "port",
        "tls",
        "tls_starttls",
        "tls_nostarttls",
        "tls_certcheck",
        "tls_nocertcheck",
        "tls_trust_file",
        "tls_fingerprint",
        "auth",
        "user",
        "password",
        "passwordeval",
        "from",
        "envelope_from",
        "allow_from_override",
        "add_missing_from_header",
        "add_missing_date_header",
        "set_from_header",
        "set_date_header",
        "set_msgid_header",
        "undisclosed_recipients",
        // Another one than SMTP was told of.
        "protocol",
    ];
    let by_lmtp = plan.hosts.is_empty();
    let mut told: Vec<&str> = Vec::new();
    for (name, value, _) in account.commands.iter().rev() {
        if DONE.contains(&name.as_str()) || told.contains(&name.as_str()) {
            continue;
        }
        told.push(name);
        match name.as_str() {
            "domain" if value == "localhost" => {}
            "socket" if by_lmtp => {}
            // That is what minimta does by itself, with the facility mail.
            "syslog" if matches!(value.as_str(), "on" | "" | "LOG_MAIL") => {}
            "syslog" if value == "off" => plan.no_counterpart(name, "minimta logs to syslog; see to in [log]"),
            "syslog" => plan.no_counterpart(name, "minimta logs with the facility mail; see to in [log]"),
            "dsn_notify" | "dsn_return" if value == "off" => {}
            "keepbcc" if value == "off" => {}
            "remove_bcc_headers" if value != "off" => {}
            "remove_bcc_headers" | "keepbcc" => plan.no_counterpart(name, "minimta takes Bcc out, so that no recipient learns of the others"),
            "eval" => plan.no_counterpart(name, "what the command printed was a line of this file: put that in its place, and import anew"),
            "socket" => plan.no_counterpart(name, "minimta takes no socket as a smarthost, but host and port"),
            "domain" | "maildomain" => plan.set_hostname(value),
            "auto_from" if value != "on" => {}
            "auto_from" => plan.note("auto_from: senders get the host name as their domain; see hostname, and masquerade in [rewrite]"),
            "logfile" if value.starts_with('/') => {
                plan.lines.push(("log", "to", quote(value)));
            }
            "aliases" => plan.no_counterpart(
                name,
                "those of minimta are for the people of its domains; name these, and this file as aliases in [local]",
            ),
            "timeout" => plan.no_counterpart(name, "see command_timeout in [limits]"),
            "source_ip" => plan.no_counterpart(name, "see bind in [remote]"),
            "dsn_notify" | "dsn_return" => {
                plan.no_counterpart(name, "the options -N and -R of sendmail ask for it");
            }
            "tls_cert_file" | "tls_key_file" => {
                plan.no_counterpart(name, "minimta shows no certificate of its own to a smarthost");
            }
            "proxy_host" | "proxy_port" => {
                plan.no_counterpart(name, "minimta uses no proxy; it must reach the server itself");
            }
            _ => plan.no_counterpart(name, ""),
        }
    }
}
