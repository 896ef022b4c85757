//! Every reply this server gives, as a named constant: code, enhanced status code (RFC 3463, RFC 2034), words.
//!
//! The constants stand in the order of a session. Whoever needs other words, with a queue id or a reason in them,
//! takes the constant that fits and changes its words with [`Reply::with_text`], so that a code and its enhanced
//! code are never typed twice. A constant whose two codes are of different classes does not compile.

use std::borrow::Cow;
use std::fmt;

use super::reply::Enhanced;
use super::route::Refusal;

/// What the server says in answer to one command, or at its own time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    enhanced: Option<Enhanced>,
    text: Cow<'static, str>,
}

impl Reply {
    /// The longest reply line, CRLF included (RFC 5321 4.5.3.1.5).
    const MAX_LINE: usize = 512;

    /// The three digits.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The enhanced status code; greeting, EHLO and 3xx have none (RFC 2034 3, 4).
    pub fn enhanced(&self) -> Option<Enhanced> {
        self.enhanced
    }

    /// The words; a line end between two lines of a reply of several.
    #[cfg(test)]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The same codes with other words.
    pub fn with_text(self, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            text: text.into(),
            ..self
        }
    }

    /// Whether it says that something was done (2xx) or may go on (3xx).
    pub fn is_positive(&self) -> bool {
        self.code < 400
    }

    /// Appends it as it goes to the client: every line with both codes and CRLF, none longer than 512 octets, and
    /// only printable ASCII (RFC 6531 3.7.4.2), whatever the words were made of.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let enhanced = self.enhanced.map(|e| format!("{e} ")).unwrap_or_default();
        let room = Self::MAX_LINE - "250-\r\n".len() - enhanced.len();
        let mut lines = Vec::new();
        for line in self.text.split('\n') {
            let line: String = line
                .chars()
                .map(|c| if matches!(c, ' '..='~') { c } else { '?' })
                .collect();
            fold(line, room, &mut lines);
        }
        let last = lines.len().saturating_sub(1);
        for (index, line) in lines.iter().enumerate() {
            let mark = if index == last { ' ' } else { '-' };
            out.extend_from_slice(format!("{}{mark}{enhanced}{line}\r\n", self.code).as_bytes());
        }
    }
}

/// Cuts an ASCII line into lines of at most `room` octets, at spaces where there are some.
fn fold(mut line: String, room: usize, lines: &mut Vec<String>) {
    while line.len() > room {
        let space = line.get(..room).and_then(|head| head.rfind(' '));
        let rest = line.split_off(space.filter(|at| *at > 0).unwrap_or(room));
        lines.push(line);
        line = rest.trim_start().to_owned();
    }
    lines.push(line);
}

impl fmt::Display for Reply {
    /// On one line, for a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, "{enhanced} ")?;
        }
        f.write_str(&self.text.replace('\n', " / "))
    }
}

/// A reply with an enhanced code, whose class must be the code's first digit (RFC 2034 4).
const fn reply(code: u16, enhanced: Enhanced, text: &'static str) -> Reply {
    assert!(
        code / 100 == enhanced.0 as u16,
        "class and first digit differ"
    );
    Reply {
        code,
        enhanced: Some(enhanced),
        text: Cow::Borrowed(text),
    }
}

/// A reply that has no enhanced code: greeting, EHLO and HELO, 3xx.
const fn bare(code: u16, text: &'static str) -> Reply {
    Reply {
        code,
        enhanced: None,
        text: Cow::Borrowed(text),
    }
}

/// What a route of the configuration refuses with.
pub fn refused(by: &Refusal) -> Reply {
    Reply {
        code: by.code,
        enhanced: Some(by.enhanced),
        text: Cow::Owned(by.text.clone()),
    }
}

/// The greeting; its words begin with the host's name (RFC 5321 4.3.1).
pub const GREETING: Reply = bare(220, "");
/// To EHLO, LHLO and HELO; its words begin with the host's name.
pub const HELLO: Reply = bare(250, "");

/// To RSET, NOOP.
pub const OK: Reply = reply(250, Enhanced(2, 0, 0), "ok");
/// To QUIT.
pub const BYE: Reply = reply(221, Enhanced(2, 0, 0), "bye");
/// To HELP; its words are the commands of the port.
pub const HELP: Reply = reply(214, Enhanced(2, 0, 0), "");
/// To VRFY: nobody is told who has a mailbox here (RFC 5321 3.5.3).
pub const VRFY: Reply = reply(252, Enhanced(2, 0, 0), "cannot say; send a message and see");
/// To STARTTLS.
pub const START_TLS: Reply = reply(220, Enhanced(2, 0, 0), "go ahead");
/// To AUTH: what the mechanism says next, in base64 (RFC 4954 4).
pub const CHALLENGE: Reply = bare(334, "");
/// To AUTH.
pub const AUTHENTICATED: Reply = reply(235, Enhanced(2, 7, 0), "authenticated");
/// To MAIL.
pub const SENDER_OK: Reply = reply(250, Enhanced(2, 1, 0), "sender ok");
/// To RCPT.
pub const RECIPIENT_OK: Reply = reply(250, Enhanced(2, 1, 5), "recipient ok");
/// To DATA.
pub const SEND_DATA: Reply = bare(354, "send the message, end it with a line of a single dot");
/// After the message: it is ours now.
pub const ACCEPTED: Reply = reply(250, Enhanced(2, 0, 0), "queued");

/// Anything that is not SMTP at all: a browser, a TLS handshake.
pub const NOT_SMTP: Reply = reply(421, Enhanced(4, 7, 0), "this is a mail server; closing");
/// Too many bad commands.
pub const TOO_MANY_ERRORS: Reply = reply(421, Enhanced(4, 7, 0), "too many errors; closing");
/// Too many commands that lead to no message.
pub const TOO_MANY_COMMANDS: Reply = reply(
    421,
    Enhanced(4, 7, 0),
    "too many commands without a message; closing",
);
/// Too many senders, recipients and messages refused.
pub const TOO_MANY_REFUSED: Reply = reply(421, Enhanced(4, 7, 0), "too much was refused; closing");
/// The client did not wait for the answer to DATA, which was no.
pub const DID_NOT_WAIT: Reply = reply(
    421,
    Enhanced(4, 5, 0),
    "the message came although DATA was refused; closing",
);
/// Octets without end and without a line end.
pub const LINE_WITHOUT_END: Reply = reply(421, Enhanced(4, 5, 2), "the line does not end; closing");
/// The client is silent, or too slow.
pub const TIMED_OUT: Reply = reply(421, Enhanced(4, 4, 2), "timed out; closing");
/// The client has as many connections as one may have.
pub const TOO_MANY_CONNECTIONS: Reply = reply(
    421,
    Enhanced(4, 7, 0),
    "too many connections from your address; try again later",
);
/// There are as many connections as there may be.
pub const TOO_BUSY: Reply = reply(
    421,
    Enhanced(4, 3, 2),
    "too many connections at the moment; try again later",
);
/// The server stops.
pub const SHUTTING_DOWN: Reply = reply(
    421,
    Enhanced(4, 3, 2),
    "this server is shutting down; closing",
);

/// No command of this or any version of SMTP.
pub const UNKNOWN_COMMAND: Reply = reply(500, Enhanced(5, 5, 1), "no such command");
/// The greeting of SMTP at an LMTP port (RFC 2033 4.1).
pub const EHLO_BY_LMTP: Reply = reply(500, Enhanced(5, 5, 1), "this is LMTP; say LHLO instead");
/// A command line over the limit.
pub const LINE_TOO_LONG: Reply = reply(500, Enhanced(5, 5, 2), "the line is too long");
/// A line over the limit in an AUTH exchange (RFC 4954 4).
pub const AUTH_LINE_TOO_LONG: Reply = reply(500, Enhanced(5, 5, 6), "the line is too long");
/// A command that takes no argument has one.
pub const NO_ARGUMENT: Reply = reply(501, Enhanced(5, 5, 4), "this command takes no argument");
/// An argument with a control character, or that is no UTF-8.
pub const BAD_CHARACTER: Reply = reply(
    501,
    Enhanced(5, 5, 2),
    "the line has a character that no command may have",
);
/// EHLO, HELO, LHLO without a usable name.
pub const BAD_NAME: Reply = reply(
    501,
    Enhanced(5, 5, 4),
    "say your host's name or [address] after this command",
);
/// VRFY, AUTH without their argument.
pub const ARGUMENT_MISSING: Reply = reply(501, Enhanced(5, 5, 4), "this command needs an argument");
/// MAIL without FROM:, RCPT without TO:.
pub const BAD_SYNTAX: Reply = reply(
    501,
    Enhanced(5, 5, 2),
    "say MAIL FROM:<address> or RCPT TO:<address>",
);
/// MAIL with something that is no address.
pub const BAD_SENDER: Reply = reply(501, Enhanced(5, 1, 7), "that is not a valid address");
/// RCPT with something that is no address.
pub const BAD_RECIPIENT: Reply = reply(501, Enhanced(5, 1, 3), "that is not a valid address");
/// A parameter of MAIL or RCPT with a value it cannot have, or given twice.
pub const BAD_PARAMETER: Reply = reply(501, Enhanced(5, 5, 4), "bad parameter");
/// A parameter of MAIL or RCPT that was not offered.
pub const UNKNOWN_PARAMETER: Reply = reply(555, Enhanced(5, 5, 4), "unknown parameter");
/// A command this server knows and does not have.
pub const NOT_IMPLEMENTED: Reply = reply(502, Enhanced(5, 5, 1), "not implemented");
/// The octets of BDAT cannot be told from commands, as CHUNKING was not offered.
pub const NO_CHUNKING: Reply = reply(502, Enhanced(5, 5, 1), "CHUNKING is not offered; closing");
/// MAIL before EHLO.
pub const HELLO_FIRST: Reply = reply(503, Enhanced(5, 5, 1), "say EHLO first");
/// The same by LMTP.
pub const LHLO_FIRST: Reply = reply(503, Enhanced(5, 5, 1), "say LHLO first");
/// RCPT or DATA before MAIL.
pub const MAIL_FIRST: Reply = reply(503, Enhanced(5, 5, 1), "say MAIL first");
/// DATA before an accepted RCPT.
pub const RCPT_FIRST: Reply = reply(503, Enhanced(5, 5, 1), "no recipient was accepted yet");
/// MAIL, AUTH or STARTTLS inside a transaction.
pub const IN_TRANSACTION: Reply = reply(503, Enhanced(5, 5, 1), "not inside a transaction");
/// STARTTLS or AUTH a second time.
pub const ALREADY_DONE: Reply = reply(503, Enhanced(5, 5, 1), "that is done already");
/// Input came together with STARTTLS: it would have been read as if TLS had protected it (CVE-2011-0411).
pub const INPUT_BEHIND_STARTTLS: Reply = reply(
    554,
    Enhanced(5, 5, 1),
    "nothing may follow STARTTLS before its answer; closing",
);
/// A submission service before STARTTLS.
pub const TLS_REQUIRED: Reply = reply(530, Enhanced(5, 7, 0), "say STARTTLS first");
/// A submission service before AUTH.
pub const AUTH_REQUIRED: Reply = reply(530, Enhanced(5, 7, 0), "say AUTH first");
/// AUTH in the clear (RFC 4954 4).
pub const AUTH_NEEDS_TLS: Reply = reply(538, Enhanced(5, 7, 11), "say STARTTLS first");
/// A mechanism that was not offered.
pub const UNKNOWN_MECHANISM: Reply = reply(504, Enhanced(5, 5, 4), "no such mechanism");
/// Not base64, or not what the mechanism asks for.
pub const BAD_AUTH: Reply = reply(501, Enhanced(5, 5, 2), "cannot read that");
/// The client sent `*`.
pub const AUTH_CANCELLED: Reply = reply(501, Enhanced(5, 7, 0), "authentication cancelled");
/// Wrong name or password; which of them is not said.
pub const AUTH_FAILED: Reply = reply(535, Enhanced(5, 7, 8), "wrong user name or password");
/// Names and passwords cannot be looked up now.
pub const AUTH_UNAVAILABLE: Reply = reply(
    454,
    Enhanced(4, 7, 0),
    "cannot authenticate anybody now; try again later",
);

/// A sender this client may not use.
pub const SENDER_REFUSED: Reply = reply(550, Enhanced(5, 7, 1), "you may not send as that address");
/// A client connects too often.
pub const TOO_OFTEN: Reply = reply(
    421,
    Enhanced(4, 7, 28),
    "too many connections; come again in a minute",
);
/// A client or a user sends too much.
pub const TOO_MUCH_MAIL: Reply = reply(
    450,
    Enhanced(4, 7, 28),
    "too many messages; come again in an hour",
);
/// A client has spoken before the greeting.
pub const TOO_EARLY: Reply = reply(554, Enhanced(5, 5, 1), "wait for the greeting; closing");
/// A client's name cannot be its own.
pub const ODD_NAME: Reply = reply(
    550,
    Enhanced(5, 7, 1),
    "the name in EHLO or HELO cannot be yours",
);
/// A client is on lists of those from whom no mail is taken.
pub const LISTED: Reply = reply(550, Enhanced(5, 7, 1), "your address is listed");
/// A filter refuses a step, or the message, without words.
pub const FILTER_REFUSED: Reply = reply(550, Enhanced(5, 7, 1), "a filter refuses this");
/// A filter puts it off without words.
pub const FILTER_LATER: Reply = reply(
    451,
    Enhanced(4, 7, 1),
    "a filter wants you to try again later",
);
/// A filter does not answer as it should.
pub const FILTER_DOWN: Reply = reply(
    451,
    Enhanced(4, 7, 1),
    "a filter does not answer now; try again later",
);
/// A client is to come again (RFC 6647).
pub const GREYLISTED: Reply = reply(
    451,
    Enhanced(4, 7, 1),
    "greylisted: come again in a few minutes",
);
/// SPF fails (RFC 7372 3.2).
pub const SPF_FAILED: Reply = reply(
    550,
    Enhanced(5, 7, 23),
    "the sender's domain does not let you send",
);
/// The domain in From asks to refuse it (RFC 7372 3.3).
pub const DMARC_FAILED: Reply = reply(550, Enhanced(5, 7, 26), "nobody answers for this message");
/// A local recipient that does not exist.
pub const NO_SUCH_USER: Reply = reply(550, Enhanced(5, 1, 1), "no such user here");
/// Whether the address is good cannot be told now.
pub const CANNOT_LOOK_UP: Reply = reply(
    451,
    Enhanced(4, 3, 0),
    "cannot look that address up now; try again later",
);
/// A recipient elsewhere, for a client that may not relay.
pub const NO_RELAY: Reply = reply(
    550,
    Enhanced(5, 7, 1),
    "you may not send there through here",
);
/// An address outside ASCII without SMTPUTF8 (RFC 6531 3.5).
pub const NEEDS_SMTPUTF8: Reply = reply(
    553,
    Enhanced(5, 6, 7),
    "an address outside ASCII needs SMTPUTF8",
);
/// More recipients than one message may have: the ones accepted stay valid (RFC 5321 4.5.3.1.10).
pub const TOO_MANY_RECIPIENTS: Reply = reply(
    452,
    Enhanced(4, 5, 3),
    "too many recipients; send the rest in another message",
);
/// SIZE= or the message is over the limit (RFC 1870).
pub const TOO_BIG: Reply = reply(552, Enhanced(5, 3, 4), "the message is too big");
/// No space for a message of this size now.
pub const NO_SPACE: Reply = reply(
    452,
    Enhanced(4, 3, 1),
    "no space for that now; try again later",
);
/// The message cannot be stored for another reason of ours.
pub const CANNOT_STORE: Reply = reply(
    451,
    Enhanced(4, 3, 0),
    "cannot store the message now; try again later",
);
/// A CR or LF alone (RFC 5321 2.3.8): how a second message is smuggled behind the first (CVE-2023-51764).
pub const BARE_LINE_END: Reply = reply(
    554,
    Enhanced(5, 6, 0),
    "the message has a CR or LF that is not part of a CRLF",
);
/// A NUL octet.
pub const NUL_IN_MESSAGE: Reply = reply(554, Enhanced(5, 6, 0), "the message has a NUL octet");
/// More Received fields than a message without a loop has (RFC 5321 6.3).
pub const TOO_MANY_HOPS: Reply = reply(554, Enhanced(5, 4, 6), "too many hops: a mail loop");

#[cfg(test)]
mod tests {
    use super::*;

    fn written(reply: &Reply) -> String {
        let mut out = Vec::new();
        reply.write_to(&mut out);
        String::from_utf8(out).unwrap()
    }

    /// R131, R132: read from the source, so that a new constant cannot be forgotten here. That classes agree is
    /// checked by the compiler in [`reply`]; what is left is that nothing else goes without an enhanced code.
    #[test]
    fn only_greeting_hello_and_3xx_go_without_enhanced_code() {
        let source = include_str!("replies.rs");
        let code = source.split("\nmod tests").next().unwrap();
        let constants = code.split("\npub const ").skip(1);
        let bare: Vec<&str> = constants
            .filter(|c| c.contains("= bare("))
            .filter_map(|c| c.split(':').next())
            .collect();
        assert_eq!(bare, ["GREETING", "HELLO", "CHALLENGE", "SEND_DATA"]);
    }

    /// R80: nobody is told to send elsewhere.
    #[test]
    fn no_reply_names_another_way() {
        let source = include_str!("replies.rs");
        let code = source.split("\nmod tests").next().unwrap();
        for other in ["reply(251", "reply(551"] {
            assert!(!code.contains(other), "{other}");
        }
    }

    /// R40: three digits, a hyphen or a space, text; all lines of a reply with the same code.
    #[test]
    fn every_line_has_both_codes() {
        let rows: &[(Reply, &str)] = &[
            (OK, "250 2.0.0 ok\r\n"),
            (CHALLENGE, "334 \r\n"),
            (
                HELLO.with_text("mx.test.example\nPIPELINING\nDSN"),
                "250-mx.test.example\r\n250-PIPELINING\r\n250 DSN\r\n",
            ),
            (
                NO_SUCH_USER.with_text("one\ntwo"),
                "550-5.1.1 one\r\n550 5.1.1 two\r\n",
            ),
            // What a stranger said cannot become a line of its own, nor a terminal's escape.
            (
                NO_SUCH_USER.with_text("a\r\x1b[1m\u{e9}"),
                "550 5.1.1 a??[1m?\r\n",
            ),
        ];
        for (reply, expected) in rows {
            assert_eq!(written(reply), *expected);
        }
    }

    #[test]
    fn no_line_is_longer_than_512_octets() {
        // R41; with spaces to cut at, and without.
        for text in ["a ".repeat(1000), "a".repeat(2000), " ".repeat(1500)] {
            let reply = NO_RELAY.with_text(text);
            for line in written(&reply).split_inclusive("\r\n") {
                assert!(line.len() <= 512 && line.ends_with("\r\n"), "{line:?}");
            }
        }
    }
}
