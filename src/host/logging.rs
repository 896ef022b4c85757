//! Where log lines go: syslog (facility mail), standard error or a file. The only file with simplelog.
//!
//! The system's log is not opened before the first line is logged, and no line that cannot be written stops any mail.

use std::fs::OpenOptions;
use std::io::{self, LineWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{OnceLock, PoisonError, RwLock};

use log::{Level, LevelFilter, Log, Metadata, Record};
use simplelog::{ConfigBuilder, FormatItem, WriteLogger, format_description};

use super::durable::NO_FOLLOW;
use super::link::{self, Barred, Trust};
use super::words;
use crate::config::{Log as Target, LogTo};

/// A line's time: UTC, to the second, always of the same width.
const SECONDS: &[FormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
/// The socket of the system's log.
pub const SYSLOG: &str = "/dev/log";

/// Where lines go now. It can be another place with the next configuration, which the one logger that a process may
/// have cannot.
static PLACE: RwLock<Option<Place>> = RwLock::new(None);

struct Place {
    log: Box<dyn Log>,
    /// It is standard error.
    is_stderr: bool,
}

/// Sends the lines of this process to their place. `name` is what syslog shows as the program. A place that
/// cannot be used is answered with the sentence to show, and lines then go to standard error. `make`: a file that is
/// not there is made, for this user alone and his group to read.
pub fn start(target: &Target, name: &str, make: bool) -> Result<(), String> {
    // Only the first logger of a process counts.
    let _ = log::set_logger(&Current);
    renew(target, name, make)
        .inspect_err(|_| go_to(to_stderr(LevelFilter::Warn), true, LevelFilter::Warn))
}

/// Sends them to another place, or to the file that is now under the same name; with another level. `make` as for
/// [`start`].
///
/// # Errors
/// The sentence to show; lines then go where they went before.
pub fn renew(target: &Target, name: &str, make: bool) -> Result<(), String> {
    let mut level = target.level;
    let mut is_stderr = false;
    let log = match &target.to {
        LogTo::Stderr => {
            is_stderr = true;
            to_stderr(level)
        }
        LogTo::File(path) => to_file(level, path, make)?,
        // Without a system log, a person or a supervisor reads what goes wrong, and cron stays quiet.
        LogTo::Auto if !Path::new(SYSLOG).exists() => {
            level = level.min(LevelFilter::Warn);
            is_stderr = true;
            to_stderr(level)
        }
        LogTo::Auto | LogTo::Syslog => Box::new(Syslog {
            tag: format!("{name}[{}]", std::process::id()),
            path: SYSLOG.into(),
            socket: OnceLock::new(),
        }),
    };
    go_to(log, is_stderr, level);
    Ok(())
}

fn go_to(log: Box<dyn Log>, is_stderr: bool, level: LevelFilter) {
    let place = Place { log, is_stderr };
    *PLACE.write().unwrap_or_else(PoisonError::into_inner) = Some(place);
    log::set_max_level(level);
}

/// Whether lines go where what is said on standard error does not. Where no place was chosen yet, for the configuration
/// that chooses it cannot be read, it is the one without a configuration.
pub fn is_apart(name: &str) -> bool {
    let chosen = || {
        let place = PLACE.read().unwrap_or_else(PoisonError::into_inner);
        place.as_ref().map(|place| !place.is_stderr)
    };
    chosen().unwrap_or_else(|| {
        let target = Target {
            to: LogTo::Auto,
            level: LevelFilter::Info,
        };
        start(&target, name, false).is_ok() && chosen() == Some(true)
    })
}

struct Current;

impl Log for Current {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        let place = PLACE.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = &*place {
            place.log.log(record);
        }
    }

    fn flush(&self) {}
}

fn to_stderr(level: LevelFilter) -> Box<dyn Log> {
    let mut form = plain();
    form.set_time_level(LevelFilter::Off);
    to_writer(level, form, Box::new(std::io::stderr()))
}

/// Whether lines are to go to a file that is not there.
pub fn is_missing(target: &Target) -> bool {
    matches!(&target.to, LogTo::File(path) if !path.exists())
}

/// Where the way of a log file ends: links of root or of whoever runs this are gone along, and no others, for whoever can
/// put a link there would choose what root's process writes to. Nothing need be there.
///
/// # Errors
/// The sentence to show.
pub fn end_of(path: &Path) -> Result<PathBuf, String> {
    link::end_of(path, Trust::Own).map_err(|barred| match barred {
        Barred::Link(link, user) => format!(
            "the log file {} is a link of the user {user}, who must not choose where the log goes: remove it, or see [log] to",
            link.display()
        ),
        Barred::System(e) => cannot_write(path, &words(&e)),
        Barred::Endless | Barred::Place(_) => {
            cannot_write(path, "it is a link that leads to no file")
        }
    })
}

fn cannot_write(path: &Path, why: &str) -> String {
    format!(
        "cannot write the log file {}: {why}; see [log] to",
        path.display()
    )
}

fn to_file(level: LevelFilter, path: &Path, make: bool) -> Result<Box<dyn Log>, String> {
    let end = end_of(path)?;
    // Nor can a link be put there in between; what is one still is an open file.
    let is_link = end != path && link::is_link(&end);
    let flags = if is_link { 0 } else { NO_FOLLOW };
    let file = OpenOptions::new()
        .append(true)
        .create(make)
        .mode(0o640)
        .custom_flags(flags)
        .open(&end)
        .map_err(|e| cannot_write(path, &words(&e)))?;
    let mut form = plain();
    form.set_time_format_custom(SECONDS);
    Ok(to_writer(level, form, Box::new(file)))
}

/// One kind of logger for all places: the library's is 6 KiB of code for each.
fn to_writer(
    level: LevelFilter,
    mut form: ConfigBuilder,
    to: Box<dyn Write + Send>,
) -> Box<dyn Log> {
    WriteLogger::new(level, form.build(), LineWriter::new(to))
}

/// Without threads, targets and source places, which say nothing to an admin.
fn plain() -> ConfigBuilder {
    let mut config = ConfigBuilder::new();
    config
        .set_thread_level(LevelFilter::Off)
        .set_target_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off);
    config
}

/// One datagram a line, in the form every syslog daemon reads (RFC 3164, without the date, which it adds).
struct Syslog {
    tag: String,
    path: PathBuf,
    socket: OnceLock<Option<UnixDatagram>>,
}

impl Log for Syslog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        /// Facility mail, in the upper bits of the priority.
        const MAIL: u8 = 2 << 3;
        if !self.enabled(record.metadata()) {
            return;
        }
        let severity = match record.level() {
            Level::Error => 3,
            Level::Warn => 4,
            Level::Info => 6,
            Level::Debug | Level::Trace => 7,
        };
        self.send(&format!(
            "<{}>{}: {}",
            MAIL | severity,
            self.tag,
            record.args()
        ));
    }

    fn flush(&self) {}
}

impl Syslog {
    /// Each line goes to whoever has the socket now: a log daemon that was started anew has a new one, and where there is
    /// none, a line costs a single call.
    fn send(&self, line: &str) {
        if let Some(socket) = self.socket.get_or_init(|| unbound().ok()) {
            let _ = socket.send_to(line.as_bytes(), &self.path);
        }
    }
}

/// A log daemon that stands still must not stop the mail: nothing waits for it.
fn unbound() -> io::Result<UnixDatagram> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    Ok(UnixDatagram::from(socket))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::host::mailbox::scratch::Scratch;

    #[test]
    fn a_log_daemon_that_was_started_anew_is_found_again() {
        let scratch = Scratch::new("logging");
        let path = scratch.path("log");
        let log = Syslog {
            tag: "minimta[1]".into(),
            path: path.clone(),
            socket: OnceLock::new(),
        };
        log.send("nobody is there");
        for line in ["at first", "and again"] {
            let daemon = UnixDatagram::bind(&path).unwrap();
            daemon.set_nonblocking(true).unwrap();
            log.send(line);
            let mut heard = [0; 64];
            let n = daemon.recv(&mut heard).unwrap();
            assert_eq!(&heard[..n], line.as_bytes());
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn the_log_file_may_be_a_link_of_our_own() {
        let scratch = Scratch::new("logging-link");
        let path = |name: &str| scratch.path(name);
        symlink("near", path("link")).unwrap();
        symlink(path("to"), path("near")).unwrap();
        symlink("round", path("round")).unwrap();
        symlink("/proc/self/fd/2", path("stderr")).unwrap();
        assert_eq!(end_of(&path("link")), Ok(path("to")));
        let is_there = |name: &str, make| to_file(LevelFilter::Info, &path(name), make).is_ok();
        assert!(!is_there("link", false) && !path("to").exists());
        for (name, works) in [("link", true), ("to", true), ("round", false)] {
            assert_eq!(is_there(name, true), works, "{name}");
        }
        assert!(path("to").exists());
        assert_eq!(
            end_of(&path("stderr")),
            Ok(PathBuf::from("/proc/self/fd/2"))
        );
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::lchown(path("near"), Some(4711), None).unwrap();
            let why = end_of(&path("link")).unwrap_err();
            assert!(why.contains("/near is a link of the user 4711, "), "{why}");
        }
    }
}
