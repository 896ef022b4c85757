//! The configuration: interface of the file `/etc/minimta/minimta.toml`, key by key.

use std::path::PathBuf;
use std::time::Duration;

use crate::proto::address::{Domain, Mailbox};

/// Everything a run of minimta may need to know. Every key has a default.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it came from; `None`: there is none, and all is at its default.
    pub file: Option<PathBuf>,
    /// `hostname`: what this machine calls itself.
    pub hostname: Domain,
    /// `domains`: mail for these is delivered here.
    pub domains: Vec<Domain>,
    /// `[smarthost]` or `[[smarthost]]`: in the order in which they are tried.
    pub smarthosts: Vec<Smarthost>,
    /// `[rewrite]`.
    pub rewrite: Rewrite,
    /// `[local]`.
    pub local: Local,
    /// `[queue]`.
    pub queue: Queue,
    /// `[limits]`.
    pub limits: Limits,
    /// `[log]`.
    pub log: Log,
}

/// A host that takes all mail that is not for here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Smarthost {
    /// A name or an address; no MX look-up.
    pub host: String,
    /// The port; by default what `tls` implies.
    pub port: u16,
    /// How the connection is protected.
    pub tls: Tls,
    /// Whether the certificate's name and chain are checked.
    pub verify: bool,
    /// Roots to trust instead of the system's, PEM.
    pub ca_file: Option<PathBuf>,
    /// SHA-256 of the one certificate to trust, instead of a chain.
    pub fingerprint: Option<[u8; 32]>,
    /// Who logs in there.
    pub login: Option<Login>,
    /// The address all mail leaves as.
    pub from: Option<Mailbox>,
}

/// How a connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// TLS from the first octet (RFC 8314), port 465.
    Implicit,
    /// STARTTLS, or no mail at all (RFC 3207), port 587.
    Starttls,
    /// STARTTLS when offered; with any certificate, and in the clear when it fails.
    Opportunistic,
    /// Never, port 25.
    None,
}

/// A user name and where its password is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// `user`.
    pub user: String,
    /// `password_file` or `password_command`.
    pub password: Password,
    /// `auth`.
    pub mechanism: Mechanism,
}

/// Where a password or token is read from, each time it is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Password {
    /// The file's first line; any byte but a line end may stand in it.
    File(PathBuf),
    /// The first line this program prints; its words, no shell.
    Command(Vec<String>),
}

/// `auth`: the SASL mechanism to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// The best one offered that is safe on this connection.
    Auto,
    /// PLAIN (RFC 4616).
    Plain,
    /// LOGIN (no RFC; what some servers offer alone).
    Login,
    /// CRAM-MD5 (RFC 2195).
    CramMd5,
    /// SCRAM-SHA-256 (RFC 7677).
    ScramSha256,
    /// XOAUTH2 (Google's and Microsoft's); the password is a token.
    Xoauth2,
    /// OAUTHBEARER (RFC 7628); the password is a token.
    Oauthbearer,
}

/// `[rewrite]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    /// `add_domain`: bare names in From, To, Cc and the envelope get the host name.
    pub add_domain: bool,
}

/// `[local]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// `mailbox`: `~/Maildir/` (a Maildir) or `~/mbox` (an mbox); `~` is the home, `%u` the user's name.
    pub mailbox: String,
}

/// `[queue]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// `spool`: the folder of the queue.
    pub spool: PathBuf,
    /// `retry_first`: how long after the first failed attempt the second is due.
    pub retry_first: Duration,
    /// `retry_max`: the longest time between two attempts.
    pub retry_max: Duration,
    /// `warn_after`: when the sender is told of a delay.
    pub warn_after: Duration,
    /// `give_up_after`: when the sender is told it failed.
    pub give_up_after: Duration,
    /// `min_free`: octets of the file system that are left alone.
    pub min_free: u64,
    /// `max_messages`: how many may wait.
    pub max_messages: u64,
    /// `workers`: deliveries at once.
    pub workers: usize,
    /// `per_destination`: connections to one host at once.
    pub per_destination: usize,
}

/// `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// `message_size`, octets.
    pub message_size: u64,
    /// `recipients` of one message.
    pub recipients: usize,
    /// `hops`: Received lines before a message is a loop (RFC 5321 6.3).
    pub hops: usize,
    /// `command_timeout`: for one command, from its first octet to its last, and for the silence before it.
    pub command_timeout: Duration,
    /// `data_timeout`: for a whole message.
    pub data_timeout: Duration,
    /// `errors`: bad commands before 421.
    pub errors: u32,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// `to`.
    pub to: LogTo,
    /// `level`.
    pub level: log::LevelFilter,
}

/// Where log lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTo {
    /// Syslog where there is one; stderr under a supervisor.
    Auto,
    /// Syslog, facility mail.
    Syslog,
    /// Standard error.
    Stderr,
    /// A file.
    File(PathBuf),
}
