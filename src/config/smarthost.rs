//! One smarthost as a whole: its keys must fit together before it is one.

use std::ops::Range;
use std::path::PathBuf;

use super::document::Entry;
use super::report::Problem;
use super::{Login, Password, Smarthost, Tls};
use crate::proto::address::Mailbox;
use crate::proto::sasl::Mechanism;

/// What a `[smarthost]` table said, a field a key; `None`: it is not there, or its value was refused.
#[derive(Debug, Default)]
pub struct SmarthostDraft {
    pub host: Option<String>,
    pub port: Option<u16>,
    pub tls: Option<Tls>,
    pub verify: Option<bool>,
    pub ca_file: Option<PathBuf>,
    pub fingerprint: Option<[u8; 32]>,
    pub user: Option<String>,
    pub password_file: Option<PathBuf>,
    pub password_command: Option<Vec<String>>,
    pub auth: Option<Option<Mechanism>>,
    pub from: Option<Mailbox>,
}

impl SmarthostDraft {
    /// The smarthost, or why it cannot be one. `table` and `at` are where the keys and the table's head stand.
    pub fn finish(self, table: &[Entry], at: Range<usize>) -> Result<Smarthost, Vec<Problem>> {
        let has = |name: &str| table.iter().any(|entry| entry.name == name);
        let problems: Vec<Problem> = RULES
            .iter()
            .filter(|rule| (rule.broken)(&self, &has))
            .map(|rule| Problem {
                // A rule about what is missing points at the table's head.
                at: table
                    .iter()
                    .find(|entry| entry.name == rule.key)
                    .map_or(at.clone(), |entry| entry.name_at.clone()),
                key: rule.key.to_owned(),
                finding: rule.finding.to_owned(),
                remedy: rule.remedy.to_owned(),
            })
            .collect();
        if !problems.is_empty() {
            return Err(problems);
        }
        let tls = self.tls();
        // Without a host the table has a problem that is told already.
        let host = self.host.ok_or_else(Vec::new)?;
        let password = self
            .password_file
            .map(Password::File)
            .or(self.password_command.map(Password::Command));
        let mechanism = self.auth.flatten();
        Ok(Smarthost {
            host,
            port: self.port.unwrap_or(match tls {
                Tls::Implicit => 465,
                Tls::Starttls => 587,
                Tls::Opportunistic | Tls::None => 25,
            }),
            tls,
            verify: self.verify.unwrap_or(true),
            ca_file: self.ca_file,
            fingerprint: self.fingerprint,
            login: self.user.zip(password).map(|(user, password)| Login {
                user,
                password,
                mechanism,
            }),
            from: self.from,
        })
    }

    /// `tls`, or what the port implies: 465 is for TLS from the first octet (RFC 8314 3.3), all others are not.
    fn tls(&self) -> Tls {
        self.tls.unwrap_or(match self.port {
            None | Some(465) => Tls::Implicit,
            Some(_) => Tls::Starttls,
        })
    }

    fn takes_any_certificate(&self) -> bool {
        matches!(self.tls, Some(Tls::Opportunistic | Tls::None))
    }
}

/// What must be said, and what must not be said in one breath. A key whose value was refused counts as said.
struct Rule {
    key: &'static str,
    broken: fn(&SmarthostDraft, Said<'_>) -> bool,
    finding: &'static str,
    remedy: &'static str,
}

/// Whether a key stands in the table.
type Said<'a> = &'a dyn Fn(&str) -> bool;

const RULES: &[Rule] = &[
    Rule {
        key: "host",
        broken: |_, has| !has("host"),
        finding: "missing in this [smarthost]",
        remedy: "add a line such as: host = \"smtp.example.org\"",
    },
    Rule {
        key: "password_command",
        broken: |_, has| has("password_command") && has("password_file"),
        finding: "contradicts password_file",
        remedy: "keep one of the two",
    },
    Rule {
        key: "user",
        broken: |_, has| has("user") && !has("password_file") && !has("password_command"),
        finding: "has no password",
        remedy: "add a line such as: password_file = \"/etc/minimta/password\"",
    },
    Rule {
        key: "password_file",
        broken: |_, has| has("password_file") && !has("user"),
        finding: "there is no user whose password it could be",
        remedy: "add a line such as: user = \"me@example.org\"",
    },
    Rule {
        key: "password_command",
        broken: |_, has| has("password_command") && !has("password_file") && !has("user"),
        finding: "there is no user whose password it could be",
        remedy: "add a line such as: user = \"me@example.org\"",
    },
    Rule {
        key: "auth",
        broken: |_, has| {
            has("auth") && !has("user") && !has("password_file") && !has("password_command")
        },
        finding: "there is no user who could log in",
        remedy: "remove it, or add user and password_file",
    },
    Rule {
        key: "fingerprint",
        broken: |draft, has| has("fingerprint") && draft.verify == Some(false),
        finding: "contradicts verify = false, by which any certificate is taken",
        remedy: "remove verify: a fingerprint is checked in place of name and chain",
    },
    Rule {
        key: "fingerprint",
        broken: |_, has| has("fingerprint") && has("ca_file"),
        finding: "contradicts ca_file: one certificate is trusted, or all that an authority has signed",
        remedy: "keep one of the two",
    },
    Rule {
        key: "ca_file",
        broken: |draft, has| has("ca_file") && draft.verify == Some(false),
        finding: "contradicts verify = false, by which any certificate is taken",
        remedy: "remove one of the two",
    },
    Rule {
        key: "fingerprint",
        broken: |draft, has| has("fingerprint") && draft.takes_any_certificate(),
        finding: "contradicts tls: with opportunistic and none no certificate is checked",
        remedy: "use tls = \"starttls\" or \"implicit\", or remove the fingerprint",
    },
    Rule {
        key: "ca_file",
        broken: |draft, has| has("ca_file") && draft.takes_any_certificate(),
        finding: "contradicts tls: with opportunistic and none no certificate is checked",
        remedy: "use tls = \"starttls\" or \"implicit\", or remove ca_file",
    },
    Rule {
        key: "verify",
        broken: |draft, _| draft.verify == Some(true) && draft.takes_any_certificate(),
        finding: "contradicts tls: with opportunistic and none no certificate is checked",
        remedy: "use tls = \"starttls\" or \"implicit\", or remove verify",
    },
];
