//! What a pass did, in numbers and in the words of a terminal.

use crate::host::clock;
use crate::proto::outcome::Outcome;

/// What a pass did.
#[derive(Debug, Default)]
pub struct Tally {
    /// Messages.
    pub tried: usize,
    /// Recipients who have it.
    pub delivered: usize,
    /// Who must wait.
    pub deferred: usize,
    /// Who will not get it.
    pub failed: usize,
    /// How often a message could not be had from the disk: it waits, and was not tried.
    pub untried: usize,
    /// Recipients for whom this process can do nothing: it is root's, or that of a daemon, who can.
    pub left: usize,
    /// Why the last one was deferred.
    pub reason: Option<Outcome>,
    /// When the next one is due.
    pub next: Option<i64>,
}

impl Tally {
    /// For a terminal, after the run.
    pub fn sentence(&self, now: i64) -> String {
        match (self.tried, self.untried, self.left) {
            (0, 0, 0) => return "nothing to do".to_owned(),
            (0, 0, left) => return format!("nothing was tried; {left} left to root's queue run"),
            (0, ..) => return "nothing could be tried".to_owned(),
            _ => {}
        }
        let counts = [
            (self.delivered, "delivered"),
            (self.deferred, "deferred"),
            (self.failed, "failed"),
            (self.left, "left to root's queue run"),
        ];
        let counts: Vec<String> = counts
            .iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, word)| format!("{n} {word}"))
            .collect();
        let reason = self
            .reason
            .as_ref()
            .map(|o| format!(": {}", said(o)))
            .unwrap_or_default();
        let next = self
            .next
            .map(|at| format!("; next try {}", clock::local(at.max(now)).short(now)))
            .unwrap_or_default();
        format!("{}{reason}{next}", counts.join(", "))
    }
}

/// `delivered: mx.example.net says 250 2.0.0 ok`, after "to ADDRESS".
pub fn in_words(outcome: &Outcome) -> String {
    format!("{}: {}", outcome.verdict.word(), said(outcome))
}

/// Who said what: a server its reply, this system a sentence.
pub fn said(outcome: &Outcome) -> String {
    match (outcome.host.as_str(), outcome.code) {
        ("", _) => outcome.text.clone(),
        (host, Some(_)) => format!("{host} says {}", outcome.words()),
        (host, None) => format!("{host}: {}", outcome.text),
    }
}
