//! How an attempt ended for a recipient, in the words of whoever decided it.

use super::reply::Enhanced;

/// How it went for a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Another host or a mailbox has it.
    Delivered,
    /// Not now; to be tried again.
    Deferred,
    /// Never; the sender is told.
    Failed,
    /// Others have taken its place.
    Expanded,
}

impl Verdict {
    /// As the journal and the log call it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Deferred => "deferred",
            Self::Failed => "failed",
            Self::Expanded => "expanded",
        }
    }

    /// Of an attempt: an expansion has a line of its own.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Delivered, Self::Deferred, Self::Failed]
            .into_iter()
            .find(|v| v.word() == word)
    }
}

/// The outcome of one attempt for one recipient, in the words of whoever decided it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How it went.
    pub verdict: Verdict,
    /// The SMTP reply code, when a server gave one.
    pub code: Option<u16>,
    /// The enhanced status code, the server's or ours.
    pub enhanced: Enhanced,
    /// The host that said so, or the place here (`Maildir`).
    pub host: String,
    /// Its words: one line, no control characters, bounded.
    pub text: String,
    /// Whether the duty to report success went on with the message (RFC 3461 5.2.1).
    pub dsn_passed: bool,
    /// Whether the server that took it keeps it, and does not just pass it on: LMTP (RFC 2033 1).
    pub kept: bool,
    /// How the connection was protected, for the log; empty when there was none to another host.
    pub protection: String,
    /// What was wrong with TLS, as reports to the other side call it (RFC 8460 4.3).
    pub tls_fault: Option<&'static str>,
}

impl Outcome {
    /// Longest text kept of a server's reply, in characters: enough for its reason and a link, and no flood.
    const MAX_TEXT: usize = 500;

    /// An outcome with cleaned words.
    pub fn new(
        verdict: Verdict,
        code: Option<u16>,
        enhanced: Enhanced,
        host: &str,
        text: &str,
    ) -> Self {
        let mut host = one_line(host);
        if host.contains(char::is_whitespace) {
            host = host.split_whitespace().collect::<Vec<_>>().join("_");
        }
        let host = first(&host, 255).to_owned();
        let text = first(one_line(text).trim(), Self::MAX_TEXT).to_owned();
        Self {
            verdict,
            code,
            enhanced,
            host,
            text,
            dsn_passed: false,
            kept: false,
            protection: String::new(),
            tls_fault: None,
        }
    }

    /// "250 2.0.0 ok" as a person reads it: code, enhanced code, text.
    pub fn words(&self) -> String {
        let code = self.code.map(|c| format!("{c} ")).unwrap_or_default();
        format!("{code}{} {}", self.enhanced, self.text)
            .trim_end()
            .to_owned()
    }
}

/// So many characters of a text, at most.
fn first(text: &str, most: usize) -> &str {
    // No text has more characters than octets.
    let end = match text.len() > most {
        true => text.char_indices().nth(most).map(|(at, _)| at),
        false => None,
    };
    text.get(..end.unwrap_or(text.len())).unwrap_or_default()
}

/// A text on one line: every control character becomes a space.
pub fn one_line(text: &str) -> String {
    // Nearly all are so already.
    if text.bytes().all(|b| matches!(b, b' '..=b'~')) {
        return text.to_owned();
    }
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
