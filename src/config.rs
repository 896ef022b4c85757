//! The configuration: the file `/etc/minimta/minimta.toml`, key by key.
//!
//! Read once, whole and bounded; every key has a default; whatever is not understood is refused, so that nothing
//! starts half-configured. The types stand here; `config/keys.rs` has the table of keys, from which all else
//! follows; `config/reader.rs` goes through a text, `config/value.rs` and `config/way.rs` read single values, `config/smarthost.rs`
//! and `config/route.rs` see that the keys of a smarthost and of a route fit together, `config/report.rs` says what is wrong,
//! `config/warnings.rs` what is foolish, and `config/document.rs` alone knows TOML.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result, words};
use crate::proto::address::{Domain, Mailbox};
use crate::proto::alias::Target;
use crate::proto::end::Mailboxes;
use crate::proto::network::Network;
use crate::proto::rewrite::Rewriting;
use crate::proto::route::{Protection, Route};
use crate::proto::sasl::Mechanism;
use crate::proto::screen::List;

mod dkim;
mod document;
pub mod import;
mod keys;
mod milter;
mod reader;
mod report;
mod route;
mod smarthost;
mod value;
mod warnings;
mod way;

/// The file that is read when none is named; `make SYSCONFDIR=...` builds another place in.
pub const DEFAULT_FILE: &str = match option_env!("MINIMTA_CONFIG_FILE") {
    Some(file) => file,
    None => "/etc/minimta/minimta.toml",
};

/// In builds with debug assertions tests may say `MINIMTA_CONFIG`: a program with a group of its own is called without
/// -C, which gives it up. A release build reads nothing from the environment.
fn default_file() -> PathBuf {
    #[cfg(debug_assertions)]
    if let Some(path) = std::env::var_os("MINIMTA_CONFIG") {
        return PathBuf::from(path);
    }
    PathBuf::from(DEFAULT_FILE)
}

/// The largest file that is read. A configuration is a few KiB.
const MAX_FILE: u64 = 1 << 20;

/// What the system says of itself, for the defaults that follow from it.
#[derive(Clone, Copy)]
pub struct System<'a> {
    /// Finds the fully qualified name of this host, or the best there is; only asked when the file does not say.
    pub hostname: &'a dyn Fn() -> String,
}

/// Everything a run of minimta may need to know. Every key has a default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The file it came from; `None`: there is none, and all is at its default.
    pub file: Option<PathBuf>,
    /// `hostname`: what this machine calls itself.
    pub hostname: Domain,
    /// `domains`: mail for these is delivered here.
    pub domains: Vec<Domain>,
    /// `user`: whom the work is done as when root starts it.
    pub user: String,
    /// `jail`: whether the worker shuts itself in.
    pub jail: bool,
    /// `[smarthost]` or `[[smarthost]]`: in the order in which they are tried.
    pub smarthosts: Vec<Smarthost>,
    /// `[[route]]`: the first that fits counts.
    pub routes: Vec<Route>,
    /// `[rewrite]`.
    pub rewrite: Rewrite,
    /// `[listen]`.
    pub listen: Listen,
    /// `[tls]`; `None`: a self-signed pair is made.
    pub tls: Option<KeyPair>,
    /// `[access]`.
    pub access: Access,
    /// `[local]`.
    pub local: Local,
    /// `[remote]`.
    pub remote: Remote,
    /// `[dkim]` or `[[dkim]]`: who signs what leaves.
    pub dkim: Vec<Dkim>,
    /// `[milter]` or `[[milter]]`: who looks at what comes by SMTP, in this order.
    pub milters: Vec<Milter>,
    /// `[queue]`.
    pub queue: Queue,
    /// `[submit]`.
    pub submit: Submit,
    /// `[limits]`.
    pub limits: Limits,
    /// `[dns]`.
    pub dns: Dns,
    /// `[log]`.
    pub log: Log,
}

impl Config {
    /// Reads a configuration. A file that is named must be there; the default one may be absent, and all is then
    /// at its default. The error is the whole text for the user, with up to ten findings.
    pub fn load(path: Option<&Path>, system: &System<'_>) -> Result<Self> {
        let default = default_file();
        let name = path.unwrap_or(&default);
        match read_file(name)? {
            Some(octets) => Self::parse(&octets, Some(name), system),
            None if path.is_none() => Self::parse(&[], None, system),
            None => Err(Error::Config(format!(
                "cannot read the configuration {}: there is no such file; make it, or name another with -C",
                name.display()
            ))),
        }
    }

    /// The configuration that some octets are; `file` is where they come from.
    pub fn parse(octets: &[u8], file: Option<&Path>, system: &System<'_>) -> Result<Self> {
        let name = file.unwrap_or(Path::new(DEFAULT_FILE));
        let text = std::str::from_utf8(octets).map_err(|error| not_utf8(name, octets, &error))?;
        // Some editors put a byte order mark before UTF-8.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        match reader::read(text, system) {
            Ok(config) => Ok(Self {
                file: file.map(Path::to_owned),
                ..config
            }),
            Err(reader::Refusal::Fault(error)) => Err(error),
            Err(reader::Refusal::Problems(problems)) => {
                Err(Error::Config(report::render(name, text, problems)))
            }
        }
    }

    /// A configuration before its defaults are applied.
    fn blank() -> Result<Self> {
        Ok(Self {
            file: None,
            hostname: unknown_host()?,
            domains: Vec::new(),
            user: String::new(),
            jail: true,
            smarthosts: Vec::new(),
            routes: Vec::new(),
            rewrite: Rewrite::default(),
            listen: Listen::default(),
            tls: None,
            access: Access::default(),
            local: Local::default(),
            remote: Remote::default(),
            dkim: Vec::new(),
            milters: Vec::new(),
            queue: Queue::default(),
            submit: Submit::default(),
            limits: Limits::default(),
            dns: Dns::default(),
            log: Log {
                to: LogTo::Auto,
                level: log::LevelFilter::Info,
            },
        })
    }
}

/// The host name when the system's own cannot be one: by old custom, that of a machine without a name.
const UNKNOWN_HOST: &str = "localhost.localdomain";

/// The system's name as it is, qualified or not, unless it is empty or has characters that no domain has.
fn default_hostname(system: &System<'_>) -> Result<Domain> {
    Domain::parse(&(system.hostname)()).or_else(|_| unknown_host())
}

fn unknown_host() -> Result<Domain> {
    Domain::parse(UNKNOWN_HOST)
        .map_err(|error| Error::Internal(format!("{UNKNOWN_HOST} is no host name: {error}")))
}

/// A whole file, bounded. `None`: there is none of this name.
fn read_file(path: &Path) -> Result<Option<Vec<u8>>> {
    let refuse = |why: &str| {
        Error::Config(format!(
            "cannot read the configuration {}: {why}",
            path.display()
        ))
    };
    // Looked at before it is opened: to open a FIFO is to wait for its writer.
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A link whose disk is not there must not look like a wish for defaults.
            return match fs::symlink_metadata(path) {
                Ok(_) => Err(refuse("it is a link to a file that is not there")),
                Err(_) => Ok(None),
            };
        }
        Err(error) => return Err(refuse(&reason(&error))),
    };
    if metadata.is_dir() {
        return Err(refuse("it is a folder; name the file in it"));
    }
    if !metadata.is_file() {
        return Err(refuse("it is not an ordinary file; name one that is"));
    }
    let length = usize::try_from(metadata.len().min(MAX_FILE)).unwrap_or_default();
    let mut octets = Vec::with_capacity(length + 1);
    File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut octets))
        .map_err(|error| refuse(&reason(&error)))?;
    if octets.len() as u64 > MAX_FILE {
        return Err(refuse(
            "it is larger than 1 MiB, which no configuration is; name the right file",
        ));
    }
    Ok(Some(octets))
}

/// What the system says of a failure, and what to do about it.
fn reason(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::PermissionDenied {
        return "permission denied; it must be readable for the group minimta, or for you when you name it with -C"
            .to_owned();
    }
    format!("{}; check its path and its disk", words(error))
}

fn not_utf8(file: &Path, octets: &[u8], error: &std::str::Utf8Error) -> Error {
    let (good, bad) = octets.split_at(error.valid_up_to().min(octets.len()));
    let (line, column) = report::position(&String::from_utf8_lossy(good), good.len());
    Error::Config(format!(
        "{}:{line}:{column}: expected UTF-8 text, found the octet 0x{:02x}\n    save the file as UTF-8",
        file.display(),
        bad.first().copied().unwrap_or_default()
    ))
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

#[cfg(test)]
mod tests;
