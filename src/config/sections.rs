//! What the sections of the configuration say, once read: one type each, in the order of the sample.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::proto::address::{Domain, Mailbox};
use crate::proto::alias::Target;
use crate::proto::end::Mailboxes;
use crate::proto::network::Network;
use crate::proto::rewrite::Rewriting;
use crate::proto::route::Protection;
use crate::proto::sasl::Mechanism;
use crate::proto::screen::List;

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
    /// `auth`; `None`: `auto`, the best one offered that is safe on this connection.
    pub mechanism: Option<Mechanism>,
}

/// Where a password or token is read from, each time it is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Password {
    /// The file's first line; any byte but a line end may stand in it.
    File(PathBuf),
    /// The first line this program prints; its words, no shell.
    Command(Vec<String>),
}

/// `[rewrite]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rewrite {
    /// `masquerade` and `senders`: what is changed in mail that leaves.
    pub leaving: Rewriting,
    /// `add_domain`: bare names in From, To, Cc and the envelope get the host name.
    pub add_domain: bool,
}

/// `[listen]`: where a daemon takes mail.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listen {
    /// `smtp`: for other servers.
    pub smtp: Vec<Endpoint>,
    /// `submission`: for users, who say STARTTLS and log in.
    pub submission: Vec<Endpoint>,
    /// `submissions`: for users, with TLS from the first octet.
    pub submissions: Vec<Endpoint>,
    /// `lmtp`: for a server that hands over mail for here.
    pub lmtp: Vec<Endpoint>,
    /// `max_connections`: sessions at once.
    pub max_connections: usize,
    /// `max_connections_per_client`: of one client.
    pub max_connections_per_client: usize,
    /// `proxy_protocol`: whose PROXY header is believed.
    pub proxy_protocol: Vec<Network>,
}

impl Listen {
    /// All places, by what they are for.
    pub fn places(&self) -> [&[Endpoint]; 4] {
        [&self.smtp, &self.submission, &self.submissions, &self.lmtp]
    }
}

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// At an address of the network.
    Tcp(SocketAddr),
    /// At a socket in the file system.
    Unix(PathBuf),
}

impl fmt::Display for Endpoint {
    /// As it is written in the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A filter that is shown what comes (milter).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Milter {
    /// `socket`.
    pub socket: Address,
    /// `timeout`: how long it may take for an answer.
    pub timeout: Duration,
    /// `down`: what becomes of mail while it does not answer.
    pub down: Down,
}

/// Where somebody listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// At a port of a host, by its name or address.
    Tcp(String, u16),
    /// At a socket in the file system.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    /// As it is written in the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What becomes of mail while a filter does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Down {
    /// It is to come again.
    #[default]
    Tempfail,
    /// It is taken without it.
    Accept,
}

/// `[tls]`: what this machine shows of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// `certificate`, with its chain behind it.
    pub certificate: PathBuf,
    /// `key`; may be the same file.
    pub key: PathBuf,
}

/// `[access]`: who may send what where.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// `relay_from`: clients that may send anywhere without logging in.
    pub relay_from: Vec<Network>,
    /// `relay_to`: domains whose mail is passed on for everybody.
    pub relay_to: Vec<Domain>,
    /// `dnsbl`: lists of addresses, each with what it counts.
    pub dnsbl: Vec<List>,
    /// `dnsbl_score`: from which score on mail is refused.
    pub dnsbl_score: u8,
    /// `greylist`: whether strangers have to come twice.
    pub greylist: bool,
    /// `greylist_delay`: how long after the first time.
    pub greylist_delay: Duration,
    /// `helo`: what becomes of mail from a client that gives a name which cannot be its own.
    pub helo: Judgement,
    /// `greeting_delay`: how long a stranger has to wait for the greeting, and say nothing; zero: not at all.
    pub greeting_delay: Duration,
    /// `spf`: what becomes of mail from an address that its sender's domain does not let send.
    pub spf: Judgement,
    /// `dmarc`: what becomes of mail that the domain in its From does not answer for, and asks to refuse.
    pub dmarc: Judgement,
    /// `users_file`: who may log in; it need not be there.
    pub users_file: PathBuf,
}

/// What is done about a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Judgement {
    /// It is not even looked for.
    #[default]
    Off,
    /// It is written into the message.
    Mark,
    /// The message is refused.
    Refuse,
}

/// `[local]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Local {
    /// `mailbox`: where the mailboxes are.
    pub mailbox: Mailboxes,
    /// `aliases`; the file need not be there.
    pub aliases: PathBuf,
    /// `alias_user`: whose rights commands and files of the alias file get.
    pub alias_user: String,
    /// `forward`: whether ~/.forward counts.
    pub forward: bool,
    /// `srs`: whether senders elsewhere, whose mail is sent on, leave as addresses of ours.
    pub srs: bool,
    /// `delimiter`: between a user's name and a detail.
    pub delimiter: Option<char>,
    /// `unknown_user`: who gets mail for nobody; `None`: it is refused.
    pub unknown_user: Option<Target>,
}

/// `[remote]`: mail to hosts that nobody has a contract with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remote {
    /// `port`.
    pub port: u16,
    /// `tls`.
    pub tls: Protection,
    /// `ip`: which addresses are used.
    pub ip: Ip,
    /// `bind`: where connections come from, at most one address a family.
    pub bind: Vec<IpAddr>,
    /// `dane`: whether TLSA records decide how servers are reached.
    pub dane: bool,
    /// `tls_reports`: in whose name domains that want it are told how TLS with their servers went.
    pub tls_reports: Option<Mailbox>,
    /// `mta_sts`: whether policies of MTA-STS do.
    pub mta_sts: bool,
    /// `mta_sts_port`: where the web servers with these policies are.
    pub mta_sts_port: u16,
    /// `ca_file`: authorities to trust instead of the system's, with MTA-STS.
    pub ca_file: Option<PathBuf>,
}

/// Which addresses of a host are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ip {
    /// Both.
    #[default]
    Any,
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
}

/// `[dkim]`: a key that signs what leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dkim {
    /// `domain`: who answers for the mail.
    pub domain: Domain,
    /// `selector`: which of its keys.
    pub selector: String,
    /// `key`: the file of the private key.
    pub key: PathBuf,
}

/// `[dns]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dns {
    /// `servers`; none: those of `/etc/resolv.conf`.
    pub servers: Vec<SocketAddr>,
    /// `timeout`: how long one may take to answer.
    pub timeout: Duration,
    /// `trust_anchor`: the keys that DNSSEC begins with, instead of the root's.
    pub trust_anchor: Option<PathBuf>,
}

/// `[queue]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Queue {
    /// `spool`: the folder of the queue.
    pub spool: PathBuf,
    /// `first_try`: what becomes of a message before it is acknowledged.
    pub first_try: FirstTry,
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
    /// `run`: the folder in which a daemon is found.
    pub run: PathBuf,
}

/// Where a message is when it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FirstTry {
    /// In the spool.
    #[default]
    Spool,
    /// With its next hop, when that takes it at once; in the spool when not.
    Direct,
}

/// `[submit]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Submit {
    /// `collapse`: how long what repeats a message is held back; zero: it is not.
    pub collapse: Duration,
}

/// `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
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
    /// `connections_per_minute` of one stranger; 0: any number.
    pub connections_per_minute: u32,
    /// `client_messages_per_hour` of one stranger; 0: any number.
    pub client_messages_per_hour: u32,
    /// `user_messages_per_hour` of one user; 0: any number.
    pub user_messages_per_hour: u32,
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
