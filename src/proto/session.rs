//! The server's side of an SMTP session (RFC 5321), or LMTP (RFC 2033): a line goes in, a reply and what to do
//! next come out. Who may send what to whom is asked of a [`Policy`]; the message itself never comes here.
//!
//! 1. [`Session::greeting`] is said.
//! 2. Every line goes to [`Session::command`]: it is parsed, then [`Session::decide`] is the table of what is
//!    refused and what is done in which [`Stage`]; then what leads nowhere is counted, and too much of it is 421.
//! 3. After [`Then::ReadData`] the message is read to its end, whatever happens, and what became of it goes to
//!    [`Session::data_end`].
//!
//! What EHLO, HELP, MAIL, RCPT and AUTH do once the table lets them stands in `session/`.
//!
//! What is refused is told by whoever refuses it: by the policy what it was asked, by the session the rest
//! ([`Policy::refused`], [`Policy::closed`]), in `told.rs`.
//!
//! There is one function that ends a transaction, [`Session::reset`], for EHLO, RSET, STARTTLS and every end of
//! DATA: the faults of other servers here were resets that forgot something.

use super::address::{Domain, ReversePath};
use super::authenticate::{Credentials, Exchange, Mechanism};
use super::command::{self, ClientName, Command, Grammar, Step};
use super::envelope::Recipient;
use super::parameters::Offered;
use super::replies::{self, Reply};
use super::scram::Verifier;
use super::tally::Tally;
use super::transaction::Transaction;

mod auth;
mod mail;
mod offers;
mod told;

/// What a session offers and allows.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What this server calls itself.
    pub hostname: Domain,
    /// LMTP instead of SMTP.
    pub lmtp: bool,
    /// Whether bare names get the host name: for programs on this machine and its users (RFC 6409 6.4).
    pub qualify: bool,
    /// SIZE: octets of a message; 0: no limit.
    pub size_limit: u64,
    /// SMTPUTF8.
    pub smtputf8: bool,
    /// DSN.
    pub dsn: bool,
    /// STARTTLS.
    pub starttls: bool,
    /// TLS from the first octet (RFC 8314).
    pub tls: bool,
    /// No mail without TLS: a submission service.
    pub tls_required: bool,
    /// AUTH; empty: nobody can authenticate.
    pub mechanisms: Vec<Mechanism>,
    /// Whether AUTH is possible without TLS.
    pub auth_in_clear: bool,
    /// No mail without AUTH: a submission service.
    pub auth_required: bool,
    /// LIMITS RCPTMAX (RFC 9422): recipients of one message.
    pub max_recipients: usize,
    /// Bad commands before 421.
    pub max_errors: u32,
}

/// A message that the session does not take, by itself.
#[derive(Debug)]
pub struct Refusal<'a> {
    /// Where.
    pub step: Step,
    /// The sender, once MAIL was accepted.
    pub sender: Option<&'a ReversePath>,
    /// The command.
    pub line: &'a [u8],
    /// What is said to it.
    pub reply: &'a Reply,
}

/// What the session cannot know. A refusal is the reply to the client; one of 421 ends the session. Whoever refuses
/// tells it to whom it may concern.
pub trait Policy {
    /// Whether a message of this many octets can be stored now; 0 when the client does not say how many.
    fn space(&mut self, octets: u64) -> Result<(), Reply>;

    /// Whether this client may send as this sender. The null sender is asked about as well, and must be let
    /// through (RFC 5321 4.5.5) wherever the client may send at all.
    fn sender(&mut self, transaction: &Transaction) -> Result<(), Reply>;

    /// Whether there is such a recipient and this client may send there. `<postmaster>` is never asked about.
    fn recipient(&mut self, transaction: &Transaction, recipient: &Recipient) -> Result<(), Reply>;

    /// The session has refused a message, or what one needs, without asking here.
    fn refused(&mut self, _refusal: &Refusal<'_>) {}

    /// The session ends with this reply, for what the client has done.
    fn closed(&mut self, _reply: &Reply) {}

    /// Whether this is the user's password.
    fn authenticate(&mut self, credentials: &Credentials) -> Result<(), Reply>;

    /// What is kept of this user's password, for SCRAM, and a fresh nonce for it: random, printable ASCII without
    /// commas. Of a user who does not exist, what looks like it.
    fn verifier(&mut self, _user: &str) -> Result<(Verifier, String), Reply> {
        Err(replies::AUTH_UNAVAILABLE)
    }

    /// SCRAM has shown whether the client knows this user's password.
    fn proved(&mut self, _user: &str, right: bool) -> Result<(), Reply> {
        right.then_some(()).ok_or(replies::AUTH_FAILED)
    }
}

/// What is to be done once the reply is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Read the next line.
    Continue,
    /// Read a message to its end, then call [`Session::data_end`].
    ReadData,
    /// Begin TLS, then call [`Session::tls_started`]; or close.
    StartTls,
    /// Close.
    HangUp,
}

/// One connection's session.
#[derive(Debug)]
pub struct Session {
    settings: Settings,
    grammar: Grammar,
    greeted: bool,
    tls: bool,
    /// From EHLO, HELO or LHLO; gone after STARTTLS.
    hello: Option<Hello>,
    user: Option<String>,
    /// How the last AUTH was begun.
    mechanism: Option<Mechanism>,
    /// An AUTH exchange in which the client is to speak.
    exchange: Option<Exchange>,
    transaction: Option<Transaction>,
    /// DATA was refused just now, and whether input followed it at once.
    data_refused: Option<bool>,
    /// What is refused now was told by whoever refuses it.
    told: bool,
    tally: Tally,
}

#[derive(Debug, Clone)]
struct Hello {
    name: ClientName,
    extended: bool,
}

/// How far a session has come; found from what it holds, so that the two cannot differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// No EHLO yet.
    New,
    /// No transaction.
    Idle,
    /// MAIL was accepted.
    Sender,
    /// RCPT was accepted too.
    Recipients,
}

impl Session {
    /// A session on a new connection.
    pub fn new(settings: Settings) -> Self {
        let tally = Tally::new(settings.max_errors, settings.max_recipients);
        Self {
            grammar: Grammar {
                hostname: settings.hostname.clone(),
                qualify: settings.qualify,
                offered: Offered {
                    smtputf8: settings.smtputf8,
                    requiretls: settings.tls,
                    dsn: settings.dsn,
                    auth: !settings.mechanisms.is_empty(),
                },
            },
            greeted: false,
            tls: settings.tls,
            settings,
            hello: None,
            user: None,
            mechanism: None,
            exchange: None,
            transaction: None,
            data_refused: None,
            told: false,
            tally,
        }
    }

    /// Whether bare names are completed here, and what else a submission lacks.
    pub fn qualifies(&self) -> bool {
        self.settings.qualify
    }

    /// What is said first, once; `None` when a session goes on under TLS.
    pub fn greeting(&mut self) -> Option<Reply> {
        let word = if self.settings.lmtp { "LMTP" } else { "ESMTP" };
        let text = format!("{} {word} minimta", self.settings.hostname);
        let first = !std::mem::replace(&mut self.greeted, true);
        first.then(|| replies::GREETING.with_text(text))
    }

    /// The longest line to be read next, without its line end.
    pub fn line_limit(&self) -> usize {
        if self.exchange.is_some() || (self.auth_possible() && self.user.is_none()) {
            command::MAX_AUTH_LINE
        } else {
            command::MAX_LINE
        }
    }

    /// The message's own limit, for whoever reads it.
    pub fn size_limit(&self) -> u64 {
        match self.settings.size_limit {
            0 => u64::MAX,
            limit => limit,
        }
    }

    /// The transaction, from MAIL on.
    pub fn transaction(&self) -> Option<&Transaction> {
        self.transaction.as_ref()
    }

    /// Answers a line, given without its line end. `behind`: whether more input was there already.
    pub fn command(&mut self, line: &[u8], behind: bool, policy: &mut dyn Policy) -> (Reply, Then) {
        self.told = false;
        if let Some(exchange) = self.exchange.take() {
            let answer = self.authenticate(exchange.answer(line), policy);
            return self.count(answer, policy);
        }
        let parsed = Command::parse(line, &self.grammar);
        let unknown = parsed.as_ref().is_err_and(|reply| reply.code() == 500);
        if let Some(answer) = self.after_refused_data(unknown) {
            return self.count(answer, policy);
        }
        let step = Step::of(line);
        // Without a transaction there is no message but that of MAIL.
        let of_message = step.filter(|s| *s == Step::Mail || self.transaction.is_some());
        let answer = match parsed {
            Ok(command) => self.decide(command, behind, policy),
            Err(reply) => say(reply),
        };
        // Looked at here, so that DATA with a bad argument counts as well.
        if step == Some(Step::Data) && !answer.0.is_positive() {
            self.data_refused = Some(behind);
        }
        if let Some(step) = of_message {
            self.tell(step, line, &answer.0, policy);
        }
        self.count(answer, policy)
    }

    /// Answers a line that was over [`Session::line_limit`]; once, however long it was.
    pub fn line_too_long(&mut self, policy: &mut dyn Policy) -> (Reply, Then) {
        self.told = false;
        let answer = match (self.after_refused_data(true), self.exchange.take()) {
            (Some(answer), _) => answer,
            (None, Some(_)) => say(replies::AUTH_LINE_TOO_LONG),
            (None, None) => say(replies::LINE_TOO_LONG),
        };
        self.count(answer, policy)
    }

    /// The message cannot be taken now, found out before 354 was said, and told. `behind` as in [`Session::command`].
    pub fn refuse_data(
        &mut self,
        reply: Reply,
        behind: bool,
        policy: &mut dyn Policy,
    ) -> (Reply, Then) {
        self.reset();
        self.data_refused = Some(behind);
        self.told = true;
        self.count(say(reply), policy)
    }

    /// The message was read to its end: it is stored under this queue id, or is refused. LMTP answers each
    /// accepted RCPT (RFC 2033 4.2); all of them have the one verdict of the spool.
    pub fn data_end(&mut self, verdict: Result<String, Reply>) -> (Vec<Reply>, Then) {
        let accepted = self.transaction.as_ref().map_or(1, |t| t.accepted);
        self.reset();
        let reply = match verdict {
            Ok(id) => {
                self.tally.accepted();
                replies::ACCEPTED.with_text(format!("queued as {id}"))
            }
            Err(reply) => {
                self.tally.replied(&reply);
                reply
            }
        };
        let then = match reply.code() {
            421 => Then::HangUp,
            _ => Then::Continue,
        };
        let copies = if self.settings.lmtp { accepted } else { 1 };
        (vec![reply; copies], then)
    }

    /// TLS is on: all that was said in the clear is forgotten (RFC 3207 4.2).
    pub fn tls_started(&mut self) {
        self.reset();
        self.hello = None;
        self.user = None;
        self.tls = true;
        self.grammar.offered.requiretls = true;
    }

    /// The table: what is refused in which stage, then what is done.
    fn decide(&mut self, command: Command, behind: bool, policy: &mut dyn Policy) -> (Reply, Then) {
        use Command as C;
        use Stage::{Idle, New, Recipients, Sender};
        match (self.stage(), command) {
            (_, C::NotSmtp) => (replies::NOT_SMTP, Then::HangUp),
            (_, C::Bdat) => (replies::NO_CHUNKING, Then::HangUp),
            (_, C::NotImplemented) => say(replies::NOT_IMPLEMENTED),
            (_, C::Ehlo(_) | C::Helo(_)) if self.settings.lmtp => say(replies::EHLO_BY_LMTP),
            (_, C::Lhlo(_)) if !self.settings.lmtp => say(replies::UNKNOWN_COMMAND),
            (_, C::StartTls) if !self.settings.starttls => say(replies::NOT_IMPLEMENTED),
            (_, C::StartTls) if self.tls => self.untimely(replies::ALREADY_DONE),
            (_, C::StartTls) if behind => (replies::INPUT_BEHIND_STARTTLS, Then::HangUp),
            (_, ref c) if self.lacks_tls(c) => say(replies::TLS_REQUIRED),
            (_, C::Auth { .. }) if !self.grammar.offered.auth => say(replies::NOT_IMPLEMENTED),
            (New, C::Mail(..) | C::Rcpt(_) | C::Data | C::Auth { .. }) => {
                self.untimely(self.hello_first())
            }
            (_, C::Auth { .. }) if self.user.is_some() => self.untimely(replies::ALREADY_DONE),
            (_, C::Auth { .. }) if !self.auth_possible() => say(replies::AUTH_NEEDS_TLS),
            (Sender | Recipients, C::Auth { .. } | C::Mail(..)) => {
                self.untimely(replies::IN_TRANSACTION)
            }
            (_, C::Mail(..)) if self.settings.auth_required && self.user.is_none() => {
                say(replies::AUTH_REQUIRED)
            }
            (Idle, C::Rcpt(_) | C::Data) => self.untimely(replies::MAIL_FIRST),
            (Sender, C::Data) => self.untimely(replies::RCPT_FIRST),

            (_, C::Ehlo(name) | C::Lhlo(name)) => self.hello(name, true),
            (_, C::Helo(name)) => self.hello(name, false),
            (Idle, C::Mail(sender, parameters)) => self.mail(sender, parameters, policy),
            (Sender | Recipients, C::Rcpt(rcpt)) => self.rcpt(rcpt, policy),
            (Recipients, C::Data) => (replies::SEND_DATA, Then::ReadData),
            (_, C::Rset) => {
                self.reset();
                self.untimely(replies::OK)
            }
            (_, C::Noop) => self.untimely(replies::OK),
            (_, C::Vrfy) => self.untimely(replies::VRFY),
            (_, C::Help) => self.help(),
            (_, C::StartTls) => {
                self.reset();
                (replies::START_TLS, Then::StartTls)
            }
            (_, C::Auth { mechanism, initial }) => {
                self.begin_auth(&mechanism, initial.as_deref(), policy)
            }
            (_, C::Quit) => (replies::BYE, Then::HangUp),
        }
    }

    fn stage(&self) -> Stage {
        match (&self.hello, &self.transaction) {
            (None, _) => Stage::New,
            (_, None) => Stage::Idle,
            (_, Some(t)) if t.recipients.is_empty() => Stage::Sender,
            _ => Stage::Recipients,
        }
    }

    /// Ends the transaction; the only function that does.
    fn reset(&mut self) {
        self.transaction = None;
        self.exchange = None;
    }

    /// Without TLS where it must be: only what leads to it is allowed (RFC 3207 4).
    fn lacks_tls(&self, command: &Command) -> bool {
        use Command as C;
        let allowed = matches!(
            command,
            C::Ehlo(_) | C::Helo(_) | C::Lhlo(_) | C::Noop | C::Quit | C::StartTls
        );
        self.settings.tls_required && !self.tls && !allowed
    }

    fn auth_possible(&self) -> bool {
        self.grammar.offered.auth && (self.tls || self.settings.auth_in_clear)
    }

    /// A client that sends its message although DATA was refused, and so did not look at the answer: the text
    /// must not be read as commands. It shows when the text was there before the refusal was said, or when its
    /// first line is no command.
    fn after_refused_data(&mut self, unknown: bool) -> Option<(Reply, Then)> {
        let behind = self.data_refused.take()?;
        (behind || unknown).then_some((replies::DID_NOT_WAIT, Then::HangUp))
    }

    fn hello_first(&self) -> Reply {
        match self.settings.lmtp {
            true => replies::LHLO_FIRST,
            false => replies::HELLO_FIRST,
        }
    }

    /// Counts a command that leads to no message, for itself or because of its place.
    fn untimely(&mut self, reply: Reply) -> (Reply, Then) {
        self.tally.idle();
        say(reply)
    }
}

/// A reply, and on to the next line.
fn say(reply: Reply) -> (Reply, Then) {
    (reply, Then::Continue)
}

#[cfg(test)]
mod tests;
