//! A command line of a client, parsed once into a type whose contents are valid (RFC 5321 4.1.1 and the extensions).
//!
//! In this order: the verb; its argument as text; the argument's own syntax. What is wrong with a line is said as
//! the reply it gets. Whether the command may be given now is not looked at here but in session.rs.

use super::address::{Domain, Invalid, Mailbox, ReversePath, take_path};
use super::envelope::Recipient;
use super::parameters::{self, MailParameters, Offered};
use super::replies::{self, Reply};

/// The longest command line without its line end: 512 (RFC 5321 4.5.3.1.4), and what SIZE, DSN, SMTPUTF8 and AUTH=
/// add to it (RFC 3461 5, 4954 3), with room to spare.
pub const MAX_LINE: usize = 2048;
/// The longest line of an AUTH exchange (RFC 4954 4).
pub const MAX_AUTH_LINE: usize = 12_288;

/// The first octet of a TLS handshake (RFC 8446 5.1), which has no place on a port without TLS.
pub const HANDSHAKE: u8 = 0x16;

/// What a client wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// EHLO.
    Ehlo(ClientName),
    /// HELO.
    Helo(ClientName),
    /// LHLO (RFC 2033).
    Lhlo(ClientName),
    /// MAIL.
    Mail(ReversePath, MailParameters),
    /// RCPT.
    Rcpt(Rcpt),
    /// DATA.
    Data,
    /// RSET.
    Rset,
    /// NOOP, with or without words.
    Noop,
    /// QUIT.
    Quit,
    /// VRFY.
    Vrfy,
    /// HELP.
    Help,
    /// STARTTLS (RFC 3207).
    StartTls,
    /// AUTH (RFC 4954): the mechanism's name as it came, and the initial response, still in base64.
    Auth {
        /// The name, in upper case.
        mechanism: String,
        /// What came on the same line.
        initial: Option<String>,
    },
    /// BDAT (RFC 3030), which is never offered.
    Bdat,
    /// A command of SMTP that is left out here.
    NotImplemented,
    /// HTTP, or a TLS handshake: somebody makes a browser talk to us.
    NotSmtp,
}

/// What a client calls itself: letters, digits and `-._:[]` only, so that it may stand in a Received field.
///
/// Nobody checks whether it is true, nor whether it is a domain (RFC 5321 4.1.4 forbids to refuse mail for that);
/// bare names, underscores and addresses without brackets are common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientName(String);

impl ClientName {
    /// The longest name (RFC 5321 4.5.3.1.2).
    const MAX: usize = 255;

    fn parse(argument: &str) -> Option<Self> {
        let literal = argument
            .strip_prefix('[')
            .and_then(|inner| inner.strip_suffix(']'));
        let inner = literal.unwrap_or(argument);
        let valid = !inner.is_empty()
            && argument.len() <= Self::MAX
            && inner
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b));
        valid.then(|| Self(argument.to_owned()))
    }

    /// The name as it came.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// RCPT with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rcpt {
    /// Who is to get the message.
    pub recipient: Recipient,
    /// It said `<postmaster>` without a domain, which reaches a person everywhere (RFC 5321 4.5.1).
    pub postmaster: bool,
}

/// What the grammar depends on: what a bare name means, and which extensions were offered.
#[derive(Debug, Clone)]
pub struct Grammar {
    /// The domain of `<postmaster>`, and of bare names.
    pub hostname: Domain,
    /// Whether bare names are taken: from programs on this machine and from its users, not from the world.
    pub qualify: bool,
    /// Which parameters are known.
    pub offered: Offered,
}

impl Command {
    /// Parses a line without its line end; an error is the reply to it.
    pub fn parse(line: &[u8], grammar: &Grammar) -> Result<Self, Reply> {
        let (verb, argument) = split_verb(line);
        let verb = Verb::parse(verb).ok_or(replies::UNKNOWN_COMMAND)?;
        if line.len() > MAX_LINE && verb != Verb::Auth {
            return Err(replies::LINE_TOO_LONG);
        }
        let text = text(argument);
        match verb {
            Verb::NotSmtp => Ok(Self::NotSmtp),
            Verb::NotImplemented => Ok(Self::NotImplemented),
            Verb::Bdat => Ok(Self::Bdat),
            Verb::Ehlo => name(text?).map(Self::Ehlo),
            Verb::Helo => name(text?).map(Self::Helo),
            Verb::Lhlo => name(text?).map(Self::Lhlo),
            Verb::Mail => mail(text?, grammar),
            Verb::Rcpt => rcpt(text?, grammar),
            Verb::Data => without_argument(text?, Self::Data),
            Verb::Rset => without_argument(text?, Self::Rset),
            Verb::Quit => without_argument(text?, Self::Quit),
            Verb::StartTls => without_argument(text?, Self::StartTls),
            Verb::Vrfy => vrfy(text?),
            Verb::Auth => auth(text?),
            Verb::Noop => text.map(|_| Self::Noop),
            Verb::Help => text.map(|_| Self::Help),
        }
    }
}

/// What separates a verb, an argument and parameters; the tab by courtesy.
pub const BLANK: [char; 2] = [' ', '\t'];

/// The first word of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Ehlo,
    Helo,
    Lhlo,
    Mail,
    Rcpt,
    Data,
    Rset,
    Noop,
    Quit,
    Vrfy,
    Help,
    StartTls,
    Auth,
    Bdat,
    NotImplemented,
    NotSmtp,
}

impl Verb {
    fn parse(word: &[u8]) -> Option<Self> {
        if word.first() == Some(&HANDSHAKE) {
            return Some(Self::NotSmtp);
        }
        let (_, verb) = VERBS
            .iter()
            .find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes()))?;
        Some(*verb)
    }
}

const VERBS: &[(&str, Verb)] = &[
    ("EHLO", Verb::Ehlo),
    ("HELO", Verb::Helo),
    ("LHLO", Verb::Lhlo),
    ("MAIL", Verb::Mail),
    ("RCPT", Verb::Rcpt),
    ("DATA", Verb::Data),
    ("RSET", Verb::Rset),
    ("NOOP", Verb::Noop),
    ("QUIT", Verb::Quit),
    ("VRFY", Verb::Vrfy),
    ("HELP", Verb::Help),
    ("STARTTLS", Verb::StartTls),
    ("AUTH", Verb::Auth),
    ("BDAT", Verb::Bdat),
    // Known, and left out: they would bring attack surface and no use.
    ("EXPN", Verb::NotImplemented),
    ("ETRN", Verb::NotImplemented),
    ("TURN", Verb::NotImplemented),
    ("ATRN", Verb::NotImplemented),
    ("SEND", Verb::NotImplemented),
    ("SOML", Verb::NotImplemented),
    ("SAML", Verb::NotImplemented),
    ("BURL", Verb::NotImplemented),
    ("XCLIENT", Verb::NotImplemented),
    ("XFORWARD", Verb::NotImplemented),
    // Cross-protocol attacks (ALPACA): the lines after the first are the attacker's commands.
    ("GET", Verb::NotSmtp),
    ("POST", Verb::NotSmtp),
    ("PUT", Verb::NotSmtp),
    ("HEAD", Verb::NotSmtp),
    ("OPTIONS", Verb::NotSmtp),
    ("CONNECT", Verb::NotSmtp),
    ("DELETE", Verb::NotSmtp),
    ("PATCH", Verb::NotSmtp),
    ("TRACE", Verb::NotSmtp),
    ("PRI", Verb::NotSmtp),
    ("PROXY", Verb::NotSmtp), // G19: from a proxy that is not believed
];

/// The verb up to the first blank, and what follows.
fn split_verb(line: &[u8]) -> (&[u8], &[u8]) {
    let at = line.iter().position(|b| matches!(b, b' ' | b'\t'));
    line.split_at(at.unwrap_or(line.len()))
}

/// The argument as text, without the blanks round it.
fn text(argument: &[u8]) -> Result<&str, Reply> {
    let text = std::str::from_utf8(argument).map_err(|_| replies::BAD_CHARACTER)?;
    if text.chars().any(|c| c.is_control() && c != '\t') {
        return Err(replies::BAD_CHARACTER);
    }
    Ok(text.trim_matches(BLANK))
}

/// Where a message can be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Its sender.
    Mail,
    /// A recipient.
    Rcpt,
    /// Before it comes.
    Data,
    /// In the middle of it, or at its end.
    Text,
}

impl Step {
    /// The step that a line takes, whatever follows the verb.
    pub fn of(line: &[u8]) -> Option<Self> {
        let (verb, _) = split_verb(line);
        match Verb::parse(verb)? {
            Verb::Mail => Some(Self::Mail),
            Verb::Rcpt => Some(Self::Rcpt),
            Verb::Data => Some(Self::Data),
            _ => None,
        }
    }

    /// Its name in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mail => "MAIL",
            Self::Rcpt => "RCPT",
            Self::Data => "DATA",
            Self::Text => "text",
        }
    }
}

fn without_argument(text: &str, command: Command) -> Result<Command, Reply> {
    if text.is_empty() {
        Ok(command)
    } else {
        Err(replies::NO_ARGUMENT)
    }
}

fn vrfy(text: &str) -> Result<Command, Reply> {
    if text.is_empty() {
        Err(replies::ARGUMENT_MISSING)
    } else {
        Ok(Command::Vrfy)
    }
}

fn name(text: &str) -> Result<ClientName, Reply> {
    ClientName::parse(text).ok_or(replies::BAD_NAME)
}

fn auth(text: &str) -> Result<Command, Reply> {
    let mut words = text.split(BLANK).filter(|w| !w.is_empty());
    let mechanism = words.next().ok_or(replies::ARGUMENT_MISSING)?;
    let initial = words.next().map(str::to_owned);
    if words.next().is_some() {
        return Err(replies::BAD_AUTH);
    }
    Ok(Command::Auth {
        mechanism: mechanism.to_ascii_uppercase(),
        initial,
    })
}

fn mail(text: &str, grammar: &Grammar) -> Result<Command, Reply> {
    let (path, rest) = path(text, "FROM:").map_err(|fault| fault.reply(replies::BAD_SENDER))?;
    let sender = match path {
        Path::Empty => ReversePath::Null,
        Path::Address(text) => {
            let mailbox = mailbox(text, grammar.qualify, &grammar.hostname);
            ReversePath::Mailbox(mailbox.map_err(|i| invalid(replies::BAD_SENDER, i))?)
        }
    };
    let parameters = parameters::of_mail(rest, &grammar.offered)?;
    match sender.mailbox() {
        Some(mailbox) if !mailbox.is_ascii() && !parameters.smtputf8 => {
            Err(replies::NEEDS_SMTPUTF8)
        }
        _ => Ok(Command::Mail(sender, parameters)),
    }
}

fn rcpt(text: &str, grammar: &Grammar) -> Result<Command, Reply> {
    let (path, rest) = path(text, "TO:").map_err(|fault| fault.reply(replies::BAD_RECIPIENT))?;
    let Path::Address(text) = path else {
        return Err(replies::BAD_RECIPIENT);
    };
    let postmaster = text.eq_ignore_ascii_case("postmaster");
    let address = mailbox(text, grammar.qualify || postmaster, &grammar.hostname)
        .map_err(|i| invalid(replies::BAD_RECIPIENT, i))?;
    let mut recipient = Recipient::plain(address);
    parameters::of_rcpt(rest, &grammar.offered, &mut recipient)?;
    Ok(Command::Rcpt(Rcpt {
        recipient,
        postmaster,
    }))
}

/// What stands after FROM: or TO:.
enum Path<'a> {
    /// `<>`.
    Empty,
    /// An address whose syntax was not looked at yet.
    Address(&'a str),
}

enum PathFault {
    /// The keyword is missing.
    Keyword,
    /// There is no path.
    Path(Invalid),
}

impl PathFault {
    fn reply(self, bad_address: Reply) -> Reply {
        match self {
            Self::Keyword => replies::BAD_SYNTAX,
            Self::Path(reason) => invalid(bad_address, reason),
        }
    }
}

/// Takes the keyword and the path off an argument; what follows are parameters. A space after the colon and an
/// address without brackets are no SMTP, but common with cameras, printers and scripts, and mean one thing only.
fn path<'a>(text: &'a str, keyword: &str) -> Result<(Path<'a>, &'a str), PathFault> {
    let named = text.get(..keyword.len());
    if !named.is_some_and(|n| n.eq_ignore_ascii_case(keyword)) {
        return Err(PathFault::Keyword);
    }
    let text = text.get(keyword.len()..).unwrap_or_default();
    let text = text.trim_start_matches(BLANK);
    if !text.starts_with('<') {
        let (address, rest) = text.split_once(BLANK).unwrap_or((text, ""));
        return match address {
            "" => Err(PathFault::Path(Invalid("there is none"))),
            _ => Ok((Path::Address(address), rest)),
        };
    }
    let (address, rest) = take_path(text).map_err(PathFault::Path)?;
    if !rest.is_empty() && !rest.starts_with(BLANK) {
        return Err(PathFault::Path(Invalid("something follows its >")));
    }
    match address {
        "" => Ok((Path::Empty, rest)),
        _ => Ok((Path::Address(address), rest)),
    }
}

fn mailbox(text: &str, qualify: bool, hostname: &Domain) -> Result<Mailbox, Invalid> {
    if qualify {
        Mailbox::qualify(text, hostname)
    } else {
        Mailbox::parse(text)
    }
}

fn invalid(reply: Reply, reason: Invalid) -> Reply {
    reply.with_text(format!("that is not a valid address: {reason}"))
}

#[cfg(test)]
mod tests;
