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

    /// The class of a status that says so (RFC 3463 2).
    pub fn class(self) -> u8 {
        match self {
            Self::Delivered | Self::Expanded => 2,
            Self::Deferred => 4,
            Self::Failed => 5,
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
    /// Its words: one line, no control characters, bounded. A server's begin with the status that it gave itself where
    /// ours is another one, and end with the step at which it said so if that was before a message: `5.7.1 no (at EHLO)`.
    pub text: String,
    /// Whether the duty to report success went on with the message (RFC 3461 5.2.1).
    pub dsn_passed: bool,
    /// Whether the server that took it keeps it, and does not just pass it on: LMTP (RFC 2033 1).
    pub kept: bool,
    /// How the connection was protected, for the log; empty when there was none to another host.
    pub protection: String,
    /// What was wrong with TLS, as reports to the other side call it (RFC 8460 4.3).
    pub tls_fault: Option<&'static str>,
    /// Whether a server may have it nevertheless: it had all of the message, and has not said what became of it (RFC 1047).
    pub in_doubt: bool,
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
            in_doubt: false,
        }
    }

    /// What one attempt comes to for a recipient who was tried at one server and, deferred there, at a later one: the
    /// outcome that tells more of why he waits, or the later one when both tell as much.
    #[must_use]
    pub fn or(self, later: Self) -> Self {
        let in_doubt = self.in_doubt || later.in_doubt;
        let tls_fault = later.tls_fault.or(self.tls_fault);
        let told = match self.weight() > later.weight() {
            true => self,
            false => later,
        };
        Self {
            in_doubt,
            tls_fault,
            ..told
        }
    }

    /// How much it tells. That a spare server is down says nothing of the mail, nor what is to be done about it.
    fn weight(&self) -> u8 {
        match (self.verdict, self.code, self.enhanced) {
            (Verdict::Deferred, ..) if self.in_doubt => 4,
            (Verdict::Deferred, Some(_), _) if self.protection.is_empty() => 2, // of us: before MAIL
            (Verdict::Deferred, Some(_), _) => 3,                               // of the mail
            // No answer, no address, no room for one more connection (RFC 3463 3.5).
            (Verdict::Deferred, None, Enhanced(4, 4, 1 | 3 | 5)) => 0,
            (Verdict::Deferred, None, _) => 1,
            (Verdict::Delivered | Verdict::Failed | Verdict::Expanded, ..) => 4,
        }
    }

    /// The same words, with another meaning for the mail. Our status goes with the meaning: one that says "never" in the
    /// journal would be read as such. What a server has said stays as it was.
    pub fn taken_as(self, verdict: Verdict) -> Self {
        let Enhanced(_, subject, detail) = self.enhanced;
        self.taken_for(verdict, subject, detail)
    }

    /// The same with this subject and detail in our status (RFC 3463 3).
    pub fn taken_for(mut self, verdict: Verdict, subject: u16, detail: u16) -> Self {
        let enhanced = Enhanced(verdict.class(), subject, detail);
        if self.code.is_some() && self.enhanced != enhanced && self.states_it() {
            self = self.with_own_status();
        }
        (self.verdict, self.enhanced) = (verdict, enhanced);
        self
    }

    /// Notes that the server's words had another status in front than ours.
    pub fn with_own_status(mut self) -> Self {
        let text = format!("{} {}", self.enhanced, self.text);
        self.text = first(text.trim(), Self::MAX_TEXT).to_owned();
        self
    }

    /// Notes at which step before a message a server said so.
    pub fn at(mut self, step: &str) -> Self {
        let step = format!("{AT}{step})");
        let most = Self::MAX_TEXT.saturating_sub(step.chars().count());
        self.text = format!("{}{step}", first(&self.text, most));
        self
    }

    /// Notes that the server may have the message nevertheless, and says so.
    #[must_use]
    pub fn doubted(mut self) -> Self {
        let most = Self::MAX_TEXT.saturating_sub(DOUBT.chars().count());
        self.text = format!("{}{DOUBT}", first(&self.text, most));
        self.in_doubt = true;
        self
    }

    /// The same without a word but that the server may have the message.
    #[must_use]
    pub fn without_words(self) -> Self {
        let doubt = if self.says_doubt() { DOUBT } else { "" };
        Self {
            text: doubt.trim_start_matches("; ").to_owned(),
            ..self
        }
    }

    /// Whether the words say so: what is read from a journal is nothing but words.
    pub fn says_doubt(&self) -> bool {
        let words = self.text.strip_suffix(DOUBT.trim_start_matches("; "));
        self.code.is_none() && words.is_some_and(|words| words.is_empty() || words.ends_with("; "))
    }

    /// Whether the status stands in a server's reply, and is not in its words already.
    fn states_it(&self) -> bool {
        // That of a server that gave none; what it gives itself stands in its words.
        let is_unsaid = matches!(self.enhanced, Enhanced(4 | 5, 0, 0));
        !is_unsaid && self.bare().len() == self.text.len()
    }

    /// The words without the status that a server put before them.
    pub fn bare(&self) -> &str {
        match self.text.split_once(' ') {
            Some((first, rest)) if self.code.is_some() && Enhanced::parse(first).is_some() => rest,
            _ => &self.text,
        }
    }

    /// "250 2.0.0 ok" as a person reads it: code, enhanced code, text.
    pub fn words(&self) -> String {
        let words = match self.code {
            Some(code) if self.states_it() => format!("{code} {} {}", self.enhanced, self.text),
            // It gave no status, or has its own in the text.
            Some(code) => format!("{code} {}", self.text),
            None => format!("{} {}", self.enhanced, self.text),
        };
        words.trim_end().to_owned()
    }

    /// The same without the step: of a server's reply nothing but what it was (RFC 3464 2.3.6).
    pub fn reply(&self) -> String {
        let mut words = self.words();
        if let Some((reply, step)) = words.rsplit_once(AT)
            && self.code.is_some()
            && STEPS.iter().any(|known| step.starts_with(known))
        {
            words.truncate(reply.len());
        }
        words
    }
}

/// Behind the words of an outcome in doubt.
const DOUBT: &str = "; it may have the message";
/// Before the step at which a server said something.
const AT: &str = " (at ";
/// The steps before a message.
const STEPS: [&str; 6] = ["greeting)", "EHLO)", "HELO)", "LHLO)", "STARTTLS)", "AUTH "];

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

#[cfg(test)]
mod tests {
    use super::super::client::said;
    use super::super::reply::Reply;
    use super::*;

    fn reply(code: u16, status: Option<Enhanced>, line: &str) -> Reply {
        Reply {
            code,
            enhanced: status,
            lines: vec![line.to_owned()],
        }
    }

    /// RFC 3464 2.3.6: the status may be ours, the words are the server's.
    #[test]
    fn a_reply_is_quoted_as_it_was() {
        use Enhanced as E;
        let rows = [
            (
                Verdict::Failed,
                550,
                Some(E(5, 1, 1)),
                "5.1.1 no",
                "",
                "5.1.1",
                "550 5.1.1 no",
            ),
            (
                Verdict::Deferred,
                554,
                Some(E(5, 7, 1)),
                "5.7.1 no",
                "greeting",
                "4.7.1",
                "554 5.7.1 no",
            ),
            (
                Verdict::Deferred,
                552,
                Some(E(5, 2, 2)),
                "5.2.2 full",
                "",
                "4.2.2",
                "552 5.2.2 full",
            ),
            (
                Verdict::Deferred,
                552,
                None,
                "4.2.2 full",
                "",
                "4.0.0",
                "552 4.2.2 full",
            ),
            (Verdict::Failed, 550, None, "no", "", "5.0.0", "550 no"),
            (
                Verdict::Failed,
                550,
                Some(E(5, 0, 0)),
                "5.0.0 no",
                "",
                "5.0.0",
                "550 5.0.0 no",
            ),
            (
                Verdict::Deferred,
                354,
                None,
                "go (at all)",
                "",
                "4.0.0",
                "354 go (at all)",
            ),
            (
                Verdict::Deferred,
                535,
                None,
                "no",
                "AUTH PLAIN as (me)",
                "4.0.0",
                "535 no",
            ),
            (Verdict::Deferred, 421, None, "", "", "4.0.0", "421"),
            (
                Verdict::Delivered,
                250,
                None,
                "ok",
                "",
                "2.0.0",
                "250 2.0.0 ok",
            ),
        ];
        for (verdict, code, given, line, step, status, quoted) in rows {
            let mut outcome = said(verdict, &reply(code, given, line), "mx");
            let mut words = quoted.to_owned();
            if !step.is_empty() {
                outcome = outcome.at(step);
                words = format!("{quoted} (at {step})");
            }
            assert_eq!(outcome.enhanced.to_string(), status, "{quoted}");
            assert_eq!(
                (outcome.reply(), outcome.words()),
                (quoted.to_owned(), words)
            );
            // Whatever becomes of it.
            let again = outcome.clone().taken_as(Verdict::Failed).taken_as(verdict);
            assert_eq!(
                (again.words(), again.enhanced),
                (outcome.words(), outcome.enhanced)
            );
        }
        let status = Some(E(4, 7, 4));
        let unprotected = said(Verdict::Deferred, &reply(454, status, "4.7.4 no TLS"), "mx");
        let unprotected = unprotected.taken_for(Verdict::Failed, 7, 30);
        assert_eq!(unprotected.enhanced, E(5, 7, 30));
        assert_eq!(unprotected.reply(), "454 4.7.4 no TLS");
        let long = said(Verdict::Deferred, &reply(554, None, &"x".repeat(600)), "mx").at("EHLO");
        assert!(long.words().ends_with("x (at EHLO)") && long.text.len() == Outcome::MAX_TEXT);
    }

    /// Of two servers that were tried, whose outcome is kept: the one that tells more, else the later one.
    #[test]
    fn what_was_said_outlives_a_server_that_is_down() {
        // Verdict, code, status, whether it came over an open connection.
        let of = |(verdict, code, status, open): (Verdict, Option<u16>, &str, bool)| {
            let enhanced = Enhanced::parse(status).unwrap();
            let outcome = Outcome::new(verdict, code, enhanced, "mx", "");
            let protection = if open { "none" } else { "" }.to_owned();
            Outcome {
                protection,
                ..outcome
            }
        };
        let down = (Verdict::Deferred, None, "4.4.1", false);
        let down_meanwhile = (Verdict::Deferred, None, "4.4.1", true);
        let nameless = (Verdict::Deferred, None, "4.4.3", false);
        let broken = (Verdict::Deferred, None, "4.4.2", true);
        let no_tls = (Verdict::Deferred, None, "4.7.5", false);
        let greeting = (Verdict::Deferred, Some(554), "4.3.2", false);
        let login = (Verdict::Deferred, Some(535), "4.7.8", false);
        let grey = (Verdict::Deferred, Some(450), "4.7.1", true);
        let full = (Verdict::Deferred, Some(452), "4.3.1", true);
        let never = (Verdict::Failed, Some(550), "5.1.1", true);
        let circle = (Verdict::Failed, None, "5.4.6", false);
        let taken = (Verdict::Delivered, Some(250), "2.0.0", true);
        // What the first and the second server came to, and whether the first one's is kept.
        let rows = [
            (grey, down, true),
            (grey, down_meanwhile, true),
            (grey, nameless, true),
            (grey, broken, true),
            (grey, greeting, true),
            (grey, full, false),
            (login, down, true),
            (greeting, no_tls, true),
            (broken, down, true),
            (no_tls, down, true),
            (no_tls, broken, false),
            (down, nameless, false),
            (down, grey, false),
            (greeting, login, false),
            (grey, never, false),
            (grey, circle, false),
            (grey, taken, false),
        ];
        for (first, second, kept) in rows {
            let (first, second) = (of(first), of(second));
            let expected = if kept { &first } else { &second };
            assert_eq!(&first.clone().or(second.clone()), expected);
        }
        // Nothing tells more than that somebody may have it, and that is not cut off.
        for text in ["after the end of the message: silence", &"x".repeat(600)] {
            let doubtful = Outcome {
                text: text.to_owned(),
                ..of(broken)
            };
            let doubtful = doubtful.doubted();
            assert!(doubtful.says_doubt() && doubtful.in_doubt && doubtful.text.len() < 600);
            assert_eq!(of(grey).or(doubtful.clone()), doubtful);
            assert!(!of(broken).says_doubt());
        }
    }
}
