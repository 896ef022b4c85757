//! EHLO, HELO, LHLO and HELP: what is to be had at this port.

use super::super::command::ClientName;
use super::super::replies::{self, Reply};
use super::{Hello, Session, Then};

impl Session {
    pub(super) fn hello(&mut self, name: ClientName, extended: bool) -> (Reply, Then) {
        self.reset();
        self.hello = Some(Hello { name, extended });
        let mut text = self.settings.hostname.to_string();
        if extended {
            for keyword in self.keywords() {
                text.push('\n');
                text.push_str(&keyword);
            }
        }
        self.untimely(replies::HELLO.with_text(text))
    }

    /// What EHLO offers: only what works on this connection now.
    fn keywords(&self) -> Vec<String> {
        let settings = &self.settings;
        let mut keywords = vec![
            "PIPELINING".to_owned(),
            "ENHANCEDSTATUSCODES".to_owned(),
            "8BITMIME".to_owned(),
            format!("SIZE {}", settings.size_limit),
            format!("LIMITS RCPTMAX={}", settings.max_recipients),
        ];
        if settings.smtputf8 {
            keywords.push("SMTPUTF8".to_owned());
        }
        if settings.dsn {
            keywords.push("DSN".to_owned());
        }
        if settings.starttls && !self.tls {
            keywords.push("STARTTLS".to_owned());
        }
        if self.tls {
            keywords.push("REQUIRETLS".to_owned());
        }
        if self.auth_possible() {
            let names: Vec<&str> = settings.mechanisms.iter().map(|m| m.name()).collect();
            keywords.push(format!("AUTH {}", names.join(" ")));
        }
        keywords
    }

    /// The commands of this port, whether it is their time or not; who has not said EHLO yet is told the same.
    pub(super) fn help(&mut self) -> (Reply, Then) {
        let settings = &self.settings;
        let all = [
            ("LHLO", settings.lmtp),
            ("EHLO HELO", !settings.lmtp),
            ("STARTTLS", settings.starttls),
            ("AUTH", self.grammar.offered.auth),
            ("MAIL RCPT DATA RSET NOOP QUIT VRFY HELP", true),
        ];
        let words: Vec<&str> = all.iter().filter(|(_, is)| *is).map(|(w, _)| *w).collect();
        let text = format!(
            "{} are known here\nRFC 5321 says what they do",
            words.join(" ")
        );
        self.untimely(replies::HELP.with_text(text))
    }
}
