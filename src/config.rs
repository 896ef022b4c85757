//! The configuration: the file `/etc/minimta/minimta.toml`, key by key.
//!
//! Read once, whole and bounded; every key has a default; whatever is not understood is refused, so that nothing
//! starts half-configured. In `config/`:
//!
//! - `sections.rs` has the types, and `keys.rs` the table of keys, from which all else follows
//! - `reader.rs` goes through a text; `value.rs` and `way.rs` read single values
//! - `smarthost.rs`, `route.rs`, `milter.rs` and `dkim.rs` see that the keys of one thing fit together
//! - `report.rs` says what is wrong, `warnings.rs` what is foolish
//! - `document.rs` alone knows TOML; `import.rs` reads the configurations of other programs

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result, words};
use crate::proto::address::Domain;
use crate::proto::route::Route;

mod dkim;
mod document;
pub mod import;
mod keys;
mod milter;
mod reader;
mod report;
mod route;
mod sections;
mod smarthost;
mod value;
mod warnings;
mod way;

pub use self::sections::*;

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
#[derive(Debug, PartialEq, Eq)]
pub struct Config {
    /// The file it came from; `None`: there is none, and all is at its default.
    pub file: Option<PathBuf>,
    /// That file has no octet, as one that is just being written.
    pub is_empty: bool,
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
        match read_file(name, path.is_some())? {
            Some(octets) => Ok(Self {
                is_empty: octets.is_empty(),
                ..Self::parse(&octets, Some(name), system)?
            }),
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
            is_empty: false,
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
pub const UNKNOWN_HOST: &str = "localhost.localdomain";

/// The system's name as it is, qualified or not, unless it is empty, an address or like one, or has characters that no
/// domain has.
fn default_hostname(system: &System<'_>) -> Result<Domain> {
    let name = Domain::parse(&(system.hostname)()).ok();
    let name = name.filter(|name| !value::is_bare_address(name));
    name.map_or_else(unknown_host, Ok)
}

fn unknown_host() -> Result<Domain> {
    Domain::parse(UNKNOWN_HOST)
        .map_err(|error| Error::Internal(format!("{UNKNOWN_HOST} is no host name: {error}")))
}

/// A whole file, bounded; `named`: the caller's choice. `None`: there is none of this name.
fn read_file(path: &Path, named: bool) -> Result<Option<Vec<u8>>> {
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
        Err(error) => return Err(refuse(&reason(path, named, &error))),
    };
    if metadata.is_dir() {
        return Err(refuse("it is a folder; name the file in it"));
    }
    if !metadata.is_file() {
        return Err(refuse("it is not an ordinary file; name one that is"));
    }
    let length = usize::try_from(metadata.len().min(MAX_FILE)).unwrap_or_default();
    let octets = File::open(path)
        .and_then(|file| read_known(file.take(MAX_FILE + 1), length))
        .map_err(|error| refuse(&reason(path, named, &error)))?;
    if octets.len() as u64 > MAX_FILE {
        return Err(refuse(
            "it is larger than 1 MiB, which no configuration is; name the right file",
        ));
    }
    Ok(Some(octets))
}

/// Reads what should have this length to its end, in a single read if it has: that one would bring an octet more.
fn read_known(mut file: impl Read, length: usize) -> io::Result<Vec<u8>> {
    let mut octets = vec![0; length + 1];
    let read = match file.read(&mut octets) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
        read => read?,
    };
    octets.truncate(read);
    if read != length {
        file.read_to_end(&mut octets)?;
    }
    Ok(octets)
}

/// What the system says of a failure, and what to do about it.
fn reason(path: &Path, named: bool, error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::PermissionDenied {
        // Such a file is the machine's. With -C the program has no group but the caller's.
        let is_for_group =
            !named && fs::metadata(path).is_ok_and(|found| found.mode() & 0o040 != 0);
        return match is_for_group {
            true => "permission denied; its group can read it, which this program is given by being set-group-id (as root: minimta \
                     --check), on a file system that is not mounted nosuid, and by whoever starts it without no_new_privs",
            false => "permission denied; it must be readable for the group minimta, or for you when you name it with -C",
        }
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

#[cfg(test)]
mod tests;
