//! The configuration of another program -> a `minimta.toml` that does the same.
//!
//! 1. One file each reads what one program wrote (`import/dma.rs`, `msmtp.rs`, `ssmtp.rs`, `nullmailer.rs`) into a
//!    [`Plan`]: what is to be set, and notes on what has no counterpart or is done in another way.
//! 2. The plan is written as a configuration, its notes as comments.
//! 3. That is read as any other configuration is, so that nothing is printed as good which minimta would refuse.
//!
//! Passwords are never taken out of their files: the plan knows where one stands, not what it is.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::{Config, System, Tls, value};
use crate::error::{Error, Result};
use crate::proto::address::{Domain, Mailbox};

mod dma;
mod msmtp;
mod nullmailer;
mod ssmtp;

/// How a file that the first one leads to is read: `None` when there is none, a sentence when it cannot be read.
pub type Reader<'a> = &'a dyn Fn(&Path) -> Result<Option<String>, String>;

/// A program whose configuration is understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// DragonFly's mail agent.
    Dma,
    /// msmtp.
    Msmtp,
    /// nullmailer.
    Nullmailer,
    /// ssmtp.
    Ssmtp,
}

impl Kind {
    /// All of them, each with the place where its system-wide configuration is looked for.
    pub const PLACES: &[(Self, &str)] = &[
        (Self::Dma, "/etc/dma/dma.conf"),
        (Self::Msmtp, "/etc/msmtprc"),
        (Self::Nullmailer, "/etc/nullmailer/remotes"),
        (Self::Ssmtp, "/etc/ssmtp/ssmtp.conf"),
    ];

    /// What a file is, by its name or else by what it says.
    pub fn of(path: &Path, text: &str) -> Option<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let named = [
            ("dma.conf", Self::Dma),
            ("ssmtp.conf", Self::Ssmtp),
            ("remotes", Self::Nullmailer),
            ("msmtprc", Self::Msmtp),
        ];
        if let Some((_, kind)) = named.iter().find(|(n, _)| name.contains(n)) {
            return Some(*kind);
        }
        let has = |words: &[&str]| {
            settings(text).any(|(_, line)| {
                let first = line.split([' ', '\t', '=']).next().unwrap_or_default();
                words.iter().any(|w| first.eq_ignore_ascii_case(w))
            })
        };
        if has(&["mailhub", "FromLineOverride", "rewriteDomain"]) {
            Some(Self::Ssmtp)
        } else if has(&["SMARTHOST", "MASQUERADE", "SECURETRANSFER", "NULLCLIENT"]) {
            Some(Self::Dma)
        } else if has(&["account", "defaults", "tls_starttls", "passwordeval"]) {
            Some(Self::Msmtp)
        } else {
            None
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dma => "dma",
            Self::Msmtp => "msmtp",
            Self::Nullmailer => "nullmailer",
            Self::Ssmtp => "ssmtp",
        }
    }
}

/// The configuration that does what this file made that program do.
///
/// # Errors
/// `Config`, with the whole text, when minimta does not accept what follows from the file: a value there is wrong.
pub fn convert(
    kind: Kind,
    path: &Path,
    text: &str,
    read: Reader<'_>,
    system: &System<'_>,
) -> Result<String> {
    let own_name = (system.hostname)();
    let plan = match kind {
        Kind::Dma => dma::plan(path, text, read),
        Kind::Msmtp => msmtp::plan(path, text),
        Kind::Nullmailer => nullmailer::plan(path, text, read, &own_name),
        Kind::Ssmtp => ssmtp::plan(path, text, read, &own_name),
    };
    let made = plan.to_toml(kind, path, &own_name);
    match Config::parse(made.as_bytes(), None, system) {
        Ok(_) => Ok(made),
        Err(why) => Err(Error::Config(format!(
            "{} says something that minimta cannot take over as it is. What it would be:\n\n{made}\nWhat is wrong with that:\n\n{why}",
            path.display()
        ))),
    }
}

/// What is to be set, whoever said so.
#[derive(Debug, Default)]
struct Plan {
    /// Sentences that concern all of it.
    notes: Vec<String>,
    /// `hostname`.
    hostname: Option<String>,
    /// The domain that others see in place of this machine's.
    masquerade: Option<String>,
    /// Nothing is delivered on this machine.
    nothing_local: bool,
    /// `[smarthost]`, in order.
    hosts: Vec<Host>,
    /// Lines of other sections, by section: a key and its value as TOML.
    lines: Vec<(&'static str, &'static str, String)>,
}

/// One smarthost.
#[derive(Debug)]
struct Host {
    notes: Vec<String>,
    /// Whether minimta can send there; if not, it stands in a comment.
    is_usable: bool,
    host: String,
    port: Option<u16>,
    tls: Tls,
    verify: bool,
    ca_file: Option<String>,
    fingerprint: Option<String>,
    user: Option<String>,
    password: Secret,
    auth: Option<&'static str>,
    from: Option<String>,
}

/// Where a password is.
#[derive(Debug, Default)]
enum Secret {
    /// Nobody has said.
    #[default]
    Unknown,
    /// It stands there, such as `line 7 of /etc/msmtprc`.
    At(String),
    /// This prints it.
    Command(Vec<String>),
}

impl Host {
    fn new(host: &str) -> Self {
        Self {
            notes: Vec::new(),
            is_usable: true,
            host: host.to_owned(),
            port: None,
            tls: Tls::None,
            verify: true,
            ca_file: None,
            fingerprint: None,
            user: None,
            password: Secret::Unknown,
            auth: None,
            from: None,
        }
    }

    /// Takes a port as another program wrote it.
    fn set_port(&mut self, text: &str) {
        match text.parse() {
            Ok(port) if port > 0 => self.port = Some(port),
            _ => self.notes.push(format!("its port, {text}, is none")),
        }
    }

    /// Takes the name of an AUTH mechanism.
    fn set_auth(&mut self, name: &str) {
        const KNOWN: &[&str] = &[
            "plain",
            "login",
            "cram-md5",
            "scram-sha-256",
            "xoauth2",
            "oauthbearer",
        ];
        let known = KNOWN.iter().find(|known| known.eq_ignore_ascii_case(name));
        match known {
            Some(known) => self.auth = Some(known),
            None => self.notes.push(format!(
                "the login mechanism {name} is not among those of minimta, which takes the best that is offered"
            )),
        }
    }

    /// Takes an address that all mail is to leave as.
    fn set_from(&mut self, text: &str, note: &str) {
        if Mailbox::parse(text).is_ok() {
            self.from = Some(text.to_owned());
            if !note.is_empty() {
                self.notes.push(note.to_owned());
            }
        } else {
            self.notes
                .push(format!("mail left as {text}, which is no whole address"));
        }
    }

    /// Its table; `number` is its place among several.
    fn write(&self, number: usize, several: bool, out: &mut String) {
        out.push_str(if several {
            "\n[[smarthost]]\n"
        } else {
            "\n[smarthost]\n"
        });
        comments(&self.notes, out);
        key(out, "host", &quote(&self.host));
        let (word, usual) = match self.tls {
            Tls::Implicit => ("implicit", 465),
            Tls::Starttls => ("starttls", 587),
            Tls::Opportunistic => ("opportunistic", 25),
            Tls::None => ("none", 25),
        };
        if let Some(port) = self.port.filter(|port| *port != usual) {
            key(out, "port", &port.to_string());
        }
        if self.tls != Tls::Implicit || self.port.is_some_and(|port| port != usual) {
            key(out, "tls", &quote(word));
        }
        let checked = matches!(self.tls, Tls::Implicit | Tls::Starttls);
        match (&self.fingerprint, &self.ca_file) {
            (Some(fingerprint), _) if checked => key(out, "fingerprint", &quote(fingerprint)),
            _ if !checked => {}
            _ if !self.verify => key(out, "verify", "false"),
            (_, Some(file)) => key(out, "ca_file", &quote(file)),
            _ => {}
        }
        let Some(user) = &self.user else {
            if let Some(from) = &self.from {
                key(out, "from", &quote(from));
            }
            return;
        };
        key(out, "user", &quote(user));
        let file = match number {
            0 => "/etc/minimta/password".to_owned(),
            n => format!("/etc/minimta/password{}", n + 1),
        };
        let place = match &self.password {
            Secret::Command(words) => {
                let words: Vec<String> = words.iter().map(|w| quote(w)).collect();
                key(out, "password_command", &format!("[{}]", words.join(", ")));
                None
            }
            Secret::At(place) => Some(format!("The password is in {place}.")),
            Secret::Unknown => Some("No password was found.".to_owned()),
        };
        if let Some(place) = place {
            comment(
                &format!(
                    "{place} Put it, alone, into the first line of this file; then: chgrp minimta {file}; chmod 0640 {file}"
                ),
                out,
            );
            key(out, "password_file", &quote(&file));
        }
        if let Some(auth) = self.auth {
            key(out, "auth", &quote(auth));
        }
        if let Some(from) = &self.from {
            key(out, "from", &quote(from));
        }
    }
}

impl Plan {
    fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// A setting that minimta has nothing for.
    fn no_counterpart(&mut self, setting: &str, why: &str) {
        self.notes.push(match why {
            "" => format!("{setting}: has no counterpart"),
            why => format!("{setting}: {why}"),
        });
    }

    /// Takes the domain that others are to see.
    fn set_masquerade(&mut self, text: &str) {
        if Domain::parse(text).is_ok() {
            self.masquerade = Some(text.to_owned());
        } else if !text.is_empty() {
            self.note(format!("senders were at {text}, which is no domain"));
        }
    }

    /// Takes a name that this machine goes by.
    fn set_hostname(&mut self, text: &str) {
        let is_name = |name: Domain| !text.starts_with('[') && !value::is_bare_address(&name);
        if Domain::parse(text).is_ok_and(is_name) {
            self.hostname = Some(text.to_owned());
        } else {
            self.note(format!(
                "its name for this machine, {text}, is no host name"
            ));
        }
    }

    fn to_toml(&self, kind: Kind, path: &Path, own_name: &str) -> String {
        let mut out = String::new();
        comment(
            &format!(
                "What {} made {} do, for minimta. Put it into {}, and ask minimta --check.",
                path.display(),
                kind.name(),
                super::DEFAULT_FILE
            ),
            &mut out,
        );
        if !self.notes.is_empty() {
            out.push_str("#\n# To be looked at:\n");
            for note in &self.notes {
                comment(&format!("- {note}"), &mut out);
            }
        }
        if self.hostname.is_some() || self.nothing_local {
            out.push('\n');
        }
        if let Some(name) = &self.hostname {
            key(&mut out, "hostname", &quote(name));
        }
        if self.nothing_local {
            comment(
                "Mail for the people of this machine leaves it too; without this line it is delivered here.",
                &mut out,
            );
            key(&mut out, "domains", "[]");
        }
        for (number, host) in self.hosts.iter().enumerate() {
            let mut table = String::new();
            host.write(number, self.hosts.len() > 1, &mut table);
            if !host.is_usable {
                table = table.trim_end().replace('\n', "\n# ") + "\n";
            }
            out.push_str(&table);
        }
        let own = self.hostname.as_deref().unwrap_or(own_name);
        let seen = self.masquerade.as_deref().filter(|seen| *seen != own);
        let masquerade = seen.map(|seen| {
            let pair = format!("{{ {} = {} }}", quote(own), quote(seen));
            ("rewrite", "masquerade", pair)
        });
        let lines: Vec<_> = masquerade.iter().chain(&self.lines).collect();
        let mut sections: Vec<&str> = lines.iter().map(|(section, ..)| *section).collect();
        sections.dedup();
        for section in sections {
            let _ = writeln!(out, "\n[{section}]");
            for (_, name, value) in lines.iter().filter(|(s, ..)| *s == section) {
                key(&mut out, name, value);
            }
        }
        out
    }
}

/// The lines of a file that say something, with their numbers.
fn settings(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(n, l)| (n + 1, l.trim()));
    lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

/// Where something stands.
fn at(line: usize, path: &Path) -> String {
    format!("line {line} of {}", path.display())
}

/// Another file of the same folder.
fn beside(path: &Path, name: &str) -> PathBuf {
    path.parent().unwrap_or(Path::new("/")).join(name)
}

fn key(out: &mut String, name: &str, value: &str) {
    let _ = writeln!(out, "{name} = {value}");
}

fn comments(notes: &[String], out: &mut String) {
    for note in notes {
        comment(note, out);
    }
}

/// A sentence as a comment; whatever a file said, it stays in its line.
fn comment(text: &str, out: &mut String) {
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    let _ = writeln!(out, "# {clean}");
}

/// A text as TOML writes it.
fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// The fingerprint of a certificate, if it is one of SHA-256: 64 digits, with colons or without.
fn fingerprint(text: &str) -> Option<String> {
    let digits: String = text.chars().filter(|c| *c != ':').collect();
    let good = digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    good.then(|| format!("sha256:{}", digits.to_ascii_lowercase()))
}

/// Whether a file is the authorities of the system, which minimta trusts without being told.
fn is_of_system(file: &str) -> bool {
    [
        "system",
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/ssl/certs",
        "/etc/ssl/cert.pem",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
    ]
    .contains(&file)
}

#[cfg(test)]
mod tests;
