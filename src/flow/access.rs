//! Who may send what where: what each kind of listener offers, and what is asked of this machine's users, of its
//! spool and of its configuration while a session runs.
//!
//! 1. A sender is refused when the client has logged in and it is none of his addresses; so is a message, when From
//!    names another (`identity.rs`).
//! 2. A recipient of this machine must be a user or an alias, unless `[local] unknown_user` takes all names;
//!    postmaster always is (RFC 5321 4.5.1), and nothing else is asked about mail to him. When the aliases cannot be
//!    read, the client comes again.
//! 3. A recipient elsewhere is taken for `relay_to`, and from clients that may send anywhere: users of this machine,
//!    clients in `relay_from`, and users who have logged in. Everything else is 550 5.7.1: nothing in this file
//!    can make this machine an open relay, and the configuration refuses networks that could.

use std::fmt::Display;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::defence::{Defence, Quota, Screen};
use super::identity::Identity;
use super::judge::Judge;
use super::milter::Filters;
use super::{Context, exchange, expand, hops, intake, srs};
use crate::config::Config;
use crate::events;
use crate::host::accounts;
use crate::host::clock;
use crate::host::dns::Dns;
use crate::host::users::{List, Login, Users};
use crate::proto::address::{Mailbox, ReversePath};
use crate::proto::authenticate::{Credentials, Mechanism};
use crate::proto::command::Step;
use crate::proto::envelope::Recipient;
use crate::proto::replies::{self, Reply};
use crate::proto::route::Hop;
use crate::proto::scram::Verifier;
use crate::proto::session::{Policy, Refusal, Settings};
use crate::proto::transaction::Transaction;

/// The door a session came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Port 25: other servers, and the machines of `relay_from`.
    Smtp,
    /// Port 587: users, who must say STARTTLS and AUTH (RFC 6409).
    Submission,
    /// Port 465: the same, with TLS from the first octet (RFC 8314).
    Submissions,
    /// LMTP (RFC 2033): another server hands over mail for here.
    Lmtp,
    /// Standard input: the user who runs this process.
    Stdio,
}

impl Kind {
    /// A service for users, who must log in.
    pub fn is_submission(self) -> bool {
        matches!(self, Self::Submission | Self::Submissions)
    }

    /// As it stands in the configuration and in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Submission => "submission",
            Self::Submissions => "submissions",
            Self::Lmtp => "lmtp",
            Self::Stdio => "stdio",
        }
    }
}

/// What all sessions of a process share; made anew with a new configuration.
#[derive(Debug)]
pub struct Access {
    users: Users,
    dns: Dns,
    defence: Defence,
}

impl Access {
    /// For this configuration. Nothing is read yet.
    pub fn new(config: &Config) -> Self {
        Self {
            users: Users::new(&config.access.users_file),
            dns: exchange::resolver(config),
            defence: Defence::new(config),
        }
    }

    /// Whether a client is a stranger; users who log in are found out later.
    pub fn is_stranger(&self, config: &Config, kind: Kind, peer: IpAddr) -> bool {
        kind == Kind::Smtp && !may_relay(config, kind, Some(peer))
    }

    /// The users who may log in.
    pub fn users(&self) -> &Users {
        &self.users
    }

    /// What all sessions share against strangers.
    pub fn defence(&self) -> &Defence {
        &self.defence
    }

    /// The judge of a client, if it is a stranger.
    pub fn judge<'a>(
        &'a self,
        context: &'a Context,
        kind: Kind,
        peer: Option<IpAddr>,
    ) -> Option<Judge<'a>> {
        let peer = peer.filter(|peer| self.is_stranger(&context.config, kind, *peer))?;
        Judge::new(context, &self.dns, peer)
    }

    /// What a session offers. `tls`: whether there is a certificate; `peer`: the client's address, `None` on
    /// standard input and Unix sockets.
    pub fn settings(
        &self,
        context: &Context,
        kind: Kind,
        tls: bool,
        peer: Option<IpAddr>,
    ) -> Settings {
        let config = &context.config;
        let submission = kind.is_submission();
        let logins = submission || kind == Kind::Smtp && tls;
        Settings {
            hostname: config.hostname.clone(),
            lmtp: kind == Kind::Lmtp,
            qualify: submission || kind == Kind::Stdio || may_relay(config, kind, peer),
            size_limit: config.limits.message_size,
            smtputf8: true,
            dsn: true,
            starttls: tls && matches!(kind, Kind::Smtp | Kind::Submission),
            tls: kind == Kind::Submissions,
            tls_required: submission,
            mechanisms: if logins {
                self.mechanisms()
            } else {
                Vec::new()
            },
            auth_in_clear: false,
            auth_required: submission,
            max_recipients: config.limits.recipients,
            max_errors: config.limits.errors,
        }
    }

    /// When the users cannot be told, that is said to whoever wants to log in (454), not hidden from him.
    fn mechanisms(&self) -> Vec<Mechanism> {
        match self.users.list() {
            Ok(list) => list.mechanisms(),
            Err(_) => vec![Mechanism::Plain, Mechanism::Login],
        }
    }

    /// The rules for a session's client.
    pub fn guest<'a>(
        &'a self,
        context: &'a Context,
        kind: Kind,
        peer: Option<IpAddr>,
        judge: Option<&'a Judge<'a>>,
    ) -> Guest<'a> {
        let stranger = peer.filter(|peer| self.is_stranger(&context.config, kind, *peer));
        Guest {
            screen: stranger.map(|peer| Screen::new(context, &self.dns, &self.defence, peer)),
            quota: Quota {
                defence: &self.defence,
                stranger,
            },
            judge,
            filters: None,
            context,
            users: &self.users,
            kind,
            peer,
            failures: 0,
            pause: &thread::sleep,
        }
    }
}

/// Whether a client may send anywhere without logging in. LMTP is for mail that stays here.
fn may_relay(config: &Config, kind: Kind, peer: Option<IpAddr>) -> bool {
    match (kind, peer) {
        (Kind::Stdio, _) => true,
        (Kind::Smtp, Some(peer)) => config.access.relay_from.iter().any(|n| n.contains(peer)),
        _ => false,
    }
}

/// A session's client.
pub struct Guest<'a> {
    context: &'a Context,
    users: &'a Users,
    kind: Kind,
    peer: Option<IpAddr>,
    /// Who judges what it sends, as long as it has not logged in.
    judge: Option<&'a Judge<'a>>,
    /// What is asked of it, as long as it has not logged in.
    screen: Option<Screen<'a>>,
    /// The filters that are told of what it sends.
    pub(super) filters: Option<&'a Filters<'a>>,
    /// How many messages may come.
    pub(super) quota: Quota<'a>,
    /// Failed logins.
    failures: u32,
    /// Waits.
    pause: &'a dyn Fn(Duration),
}

impl Guest<'_> {
    /// Where the client is, as the log tells it, and the envelope of what it sends.
    pub fn address(&self) -> String {
        match (self.peer, self.kind) {
            (Some(ip), _) => ip.to_canonical().to_string(),
            (None, Kind::Stdio) => intake::client(accounts::caller_uid()),
            (None, _) => "local".to_owned(),
        }
    }

    fn refuse_sender(&self, reply: Reply, sender: &ReversePath, why: &dyn Display) -> Reply {
        self.refuse(Step::Mail, reply, sender, why)
    }

    fn refuse(&self, step: Step, reply: Reply, sender: &ReversePath, why: &dyn Display) -> Reply {
        let reason = format!("{reply}: {why}");
        let client = self.address();
        self.context.rejected(&client, step, sender, &reason);
        reply
    }

    fn list(&self) -> Result<Arc<List>, Reply> {
        self.users.list().map_err(|why| self.cannot_tell(&why))
    }

    fn cannot_tell(&self, sentence: &str) -> Reply {
        events::trouble("-", &sentence);
        replies::AUTH_UNAVAILABLE
    }

    #[expect(clippy::unnecessary_wraps, reason = "the answer of a policy")]
    fn welcome(&self, user: &str) -> Result<(), Reply> {
        events::auth_ok(&self.address(), user);
        Ok(())
    }

    /// The client waits, on its own thread, and longer each time.
    fn turn_away(&mut self, user: &str, why: &str) -> Result<(), Reply> {
        events::auth_fail(&self.address(), user, &why);
        (self.pause)(delay(self.failures));
        self.failures += 1;
        Err(replies::AUTH_FAILED)
    }

    /// Whether the client may send to an address at all, whoever is there. The sender it has named decides nothing
    /// of it: anybody can name any.
    fn may_send_to(&self, user: Option<&str>, address: &Mailbox) -> Result<(), Reply> {
        let config = &self.context.config;
        let domain = address.domain();
        let allowed = config.domains.contains(domain)
            || hops::of(self.context, address) == Hop::Local
            || config.access.relay_to.contains(domain)
            || user.is_some()
            || may_relay(config, self.kind, self.peer);
        if allowed {
            Ok(())
        } else {
            Err(replies::NO_RELAY)
        }
    }

    fn exists(&self, address: &Mailbox) -> Result<(), Reply> {
        match expand::is_known(self.context, address) {
            Ok(true) => Ok(()),
            Ok(false) => {
                let text = match srs::original(self.context, address) {
                    Ok(Some(Err(refusal))) => refusal.words().to_owned(),
                    _ => format!("there is no user {} here", address.local()),
                };
                Err(replies::NO_SUCH_USER.with_text(text))
            }
            Err(sentence) => {
                events::trouble("-", &sentence);
                Err(replies::CANNOT_LOOK_UP)
            }
        }
    }
}

impl Policy for Guest<'_> {
    fn space(&mut self, octets: u64) -> Result<(), Reply> {
        self.context.spool.has_room(octets).map_err(|error| {
            let (client, reply) = (self.address(), replies::NO_SPACE);
            let reason = format!("{reply}: {error}");
            self.context.rejected(&client, Step::Mail, &"", &reason);
            reply
        })
    }

    fn sender(&mut self, transaction: &Transaction) -> Result<(), Reply> {
        let user = &transaction.client.user;
        let allowed = self.quota.allows(transaction);
        allowed.map_err(|reply| {
            let whom = user.as_deref().unwrap_or("it sends too much");
            self.refuse_sender(reply, &transaction.sender, &whom)
        })?;
        if let (None, Some(judge)) = (user, self.judge) {
            judge.sender(transaction)?;
        }
        if let (Some(user), ReversePath::Mailbox(sender)) = (user, &transaction.sender) {
            let identity = Identity::new(self.users, user).map_err(|_| {
                let why = "the users cannot be told now";
                self.refuse_sender(replies::CANNOT_LOOK_UP, &transaction.sender, &why)
            })?;
            let allowed = identity.may_send(&self.context.config, sender);
            allowed.map_err(|reply| {
                let whom = format!("user {user}");
                self.refuse_sender(reply, &transaction.sender, &whom)
            })?;
        }
        let Some(filters) = self.filters else {
            return Ok(());
        };
        let name = self.judge.and_then(Judge::name);
        let shown = filters.sender(transaction, name.as_deref());
        shown.map_err(|reply| self.refuse_sender(reply, &transaction.sender, &"a filter"))
    }

    fn recipient(&mut self, transaction: &Transaction, recipient: &Recipient) -> Result<(), Reply> {
        let address = &recipient.address;
        let user = transaction.client.user.as_deref();
        let verdict = self.may_send_to(user, address).and_then(|()| {
            match hops::of_mail_from(self.context, transaction.sender.mailbox(), address) {
                Hop::Local => self.exists(address),
                Hop::Refuse(why) => Err(replies::refused(&why)),
                _ => Ok(()),
            }
        });
        verdict.map_err(|reply| self.refuse(Step::Rcpt, reply, &transaction.sender, address))?;
        if hops::is_postmaster(self.context, address) {
            return Ok(());
        }
        if let (Some(screen), None) = (&self.screen, user) {
            screen.recipient(transaction, address, self.judge)?;
        }
        let Some(filters) = self.filters else {
            return Ok(());
        };
        let shown = filters.recipient(address);
        shown.map_err(|reply| {
            let why = format!("{address}: a filter");
            self.refuse(Step::Rcpt, reply, &transaction.sender, &why)
        })
    }

    fn refused(&mut self, refusal: &Refusal<'_>) {
        const SHOWN: usize = 200;
        let line = String::from_utf8_lossy(refusal.line);
        let line: String = line.chars().take(SHOWN).collect();
        let reason = format!("{}: {line}", refusal.reply);
        let sender = refusal.sender.map_or(String::new(), ToString::to_string);
        let client = self.address();
        self.context
            .rejected(&client, refusal.step, &sender, &reason);
    }

    fn closed(&mut self, reply: &Reply) {
        events::sent_away(&self.address(), reply);
    }

    fn authenticate(&mut self, credentials: &Credentials) -> Result<(), Reply> {
        let user = &credentials.user;
        let list = self.list()?;
        match list.check(user, &credentials.password) {
            Ok(Login::Right) => self.welcome(user),
            Ok(Login::Wrong(why)) => self.turn_away(user, why),
            Err(sentence) => Err(self.cannot_tell(&sentence)),
        }
    }

    fn verifier(&mut self, user: &str) -> Result<(Verifier, String), Reply> {
        let verifier = self.list()?.verifier(user);
        let nonce = format!("{:016x}{:016x}", clock::random(), clock::random());
        // None: the users were changed since it was offered.
        verifier
            .map(|v| (v, nonce))
            .ok_or(replies::AUTH_UNAVAILABLE)
    }

    fn proved(&mut self, user: &str, right: bool) -> Result<(), Reply> {
        match right {
            true => self.welcome(user),
            false => self.turn_away(user, "there is no such user, or the password is wrong"),
        }
    }
}

/// How long a failed login is not answered, after so many before it in the session: a person does not notice, and
/// who tries words from a list finds few of them tried. The session ends after a few more (`[limits] errors`).
fn delay(failures: u32) -> Duration {
    const MOST: u64 = 8;
    let seconds = 1u64.checked_shl(failures).unwrap_or(MOST);
    Duration::from_secs(seconds.min(MOST))
}

#[cfg(test)]
mod tests;
