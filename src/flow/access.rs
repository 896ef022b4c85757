//! Who may send what where: what each kind of listener offers, and what is asked of this machine's users, of its
//! spool and of its configuration while a session runs.
//!
//! 1. A sender is refused when the client has logged in and it is none of his addresses.
//! 2. A recipient of this machine must exist; postmaster always does (RFC 5321 4.5.1).
//! 3. A recipient elsewhere is taken for `relay_to`, and from clients that may send anywhere: users of this machine,
//!    clients in `relay_from`, and users who have logged in. Everything else is 550 5.7.1: nothing in this file
//!    can make this machine an open relay, and the configuration refuses networks that could.

use std::fmt::Display;
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use super::{Context, deliver, queue};
use crate::config::Config;
use crate::events;
use crate::host::users::Users;
use crate::proto::address::{Domain, Mailbox, ReversePath};
use crate::proto::authenticate::{Credentials, Mechanism};
use crate::proto::envelope::Recipient;
use crate::proto::replies::{self, Reply};
use crate::proto::route::Hop;
use crate::proto::session::{Policy, Settings};
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
}

impl Access {
    /// For this configuration. Nothing is read yet.
    pub fn new(config: &Config) -> Self {
        Self {
            users: Users::new(&config.access.users_file),
        }
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
                self.users.mechanisms()
            } else {
                Vec::new()
            },
            auth_in_clear: false,
            auth_required: submission,
            max_recipients: config.limits.recipients,
            max_errors: config.limits.errors,
        }
    }

    /// The rules for a session's client.
    pub fn guest<'a>(
        &'a self,
        context: &'a Context,
        kind: Kind,
        peer: Option<IpAddr>,
    ) -> Guest<'a> {
        Guest {
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
    /// Failed logins.
    failures: u32,
    /// Waits.
    pause: &'a dyn Fn(Duration),
}

impl Guest<'_> {
    /// Where the client is, as the log and a Received field tell it.
    pub fn address(&self) -> String {
        self.peer
            .map_or_else(|| "local".to_owned(), |ip| ip.to_canonical().to_string())
    }

    fn refuse(&self, reply: Reply, sender: &ReversePath, recipient: &dyn Display) -> Reply {
        let reason = format!("{reply}: {recipient}");
        events::rejected(&self.address(), sender, &reason);
        reply
    }

    fn here(&self, address: &Mailbox) -> Result<(), Reply> {
        if address.local().eq_ignore_ascii_case("postmaster") {
            return Ok(());
        }
        match deliver::account(self.context, address) {
            Ok(Some(_)) => Ok(()),
            Ok(None) => {
                let text = format!("there is no user {} here", address.local());
                Err(replies::NO_SUCH_USER.with_text(text))
            }
            Err(sentence) => {
                events::trouble("-", &sentence);
                Err(replies::CANNOT_LOOK_UP)
            }
        }
    }

    fn elsewhere(&self, user: Option<&str>, domain: &Domain) -> Result<(), Reply> {
        let config = &self.context.config;
        let allowed = user.is_some()
            || may_relay(config, self.kind, self.peer)
            || config.access.relay_to.contains(domain);
        if allowed {
            Ok(())
        } else {
            Err(replies::NO_RELAY)
        }
    }
}

impl Policy for Guest<'_> {
    fn space(&mut self, octets: u64) -> Result<(), Reply> {
        self.context.spool.has_room(octets).map_err(|error| {
            events::rejected(&self.address(), &"", &error);
            replies::NO_SPACE
        })
    }

    fn sender(&mut self, transaction: &Transaction) -> Result<(), Reply> {
        let (Some(user), ReversePath::Mailbox(sender)) =
            (&transaction.client.user, &transaction.sender)
        else {
            return Ok(());
        };
        let more = self.users.senders(user).map_err(|sentence| {
            events::trouble("-", &sentence);
            replies::CANNOT_LOOK_UP
        })?;
        if may_send_as(user, &more, sender, &self.context.config.domains) {
            return Ok(());
        }
        let whom = format!("user {user}");
        Err(self.refuse(replies::SENDER_REFUSED, &transaction.sender, &whom))
    }

    fn recipient(&mut self, transaction: &Transaction, recipient: &Recipient) -> Result<(), Reply> {
        let address = &recipient.address;
        let user = transaction.client.user.as_deref();
        let verdict = match queue::hop(self.context, address) {
            Hop::Local => self.here(address),
            _ => self.elsewhere(user, address.domain()),
        };
        verdict.map_err(|reply| self.refuse(reply, &transaction.sender, address))
    }

    fn authenticate(&mut self, credentials: &Credentials) -> Result<(), Reply> {
        let user = &credentials.user;
        let why = match self.users.check(user, &credentials.password) {
            Ok(true) => {
                events::auth_ok(&self.address(), user);
                return Ok(());
            }
            Ok(false) => "wrong user name or password",
            Err(sentence) => {
                events::auth_fail(&self.address(), user, &sentence);
                return Err(replies::AUTH_UNAVAILABLE);
            }
        };
        events::auth_fail(&self.address(), user, &why);
        (self.pause)(delay(self.failures));
        self.failures += 1;
        Err(replies::AUTH_FAILED)
    }
}

/// How long a failed login is not answered, after so many before it in the session: a person does not notice, and
/// who tries words from a list finds few of them tried. The session ends after a few more (`[limits] errors`).
fn delay(failures: u32) -> Duration {
    const MOST: u64 = 8;
    let seconds = 1u64.checked_shl(failures).unwrap_or(MOST);
    Duration::from_secs(seconds.min(MOST))
}

/// Whether a user may send as an address: his own name at a domain of this machine, or the address that his name
/// is; or what the users file lists behind his hash: an address, a domain, or `*` for any.
fn may_send_as(user: &str, more: &[String], sender: &Mailbox, domains: &[Domain]) -> bool {
    let same = |address: &Mailbox| {
        address.domain() == sender.domain() && address.local().eq_ignore_ascii_case(sender.local())
    };
    let own = sender.local().eq_ignore_ascii_case(user) && domains.contains(sender.domain());
    let listed = |entry: &String| match entry.strip_prefix('@').unwrap_or(entry) {
        "*" => true,
        entry if entry.contains('@') => Mailbox::parse(entry).is_ok_and(|a| same(&a)),
        entry => Domain::parse(entry).is_ok_and(|d| d == *sender.domain()),
    };
    own || Mailbox::parse(user).is_ok_and(|a| same(&a)) || more.iter().any(listed)
}
