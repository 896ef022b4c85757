//! The processes that root's process starts in the right of somebody else, and what it hears while they run.
//!
//! Each is this same program, as the kernel has it in memory, so that an upgrade on the disk does not mix versions.
//! It gets a clean environment and, as its standard input, one end of a [`Channel`]; nothing else is inherited but
//! standard output and error, and a helper has not even these.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use super::accounts::Account;
use super::channel::Channel;

/// This program, whatever stands under its name by now.
const OURSELVES: &str = "/proc/self/exe";
/// Where programs are found, for all that minimta starts.
pub const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Starts the worker, with the words of our own command line: it has the rights of this user, and no group but his.
///
/// # Errors
/// What the system says.
pub fn start_worker(
    account: &Account,
    name: &str,
    words: &[OsString],
    channel: Channel,
) -> io::Result<Child> {
    let mut command = ourselves(name, channel);
    // Who becomes another user without naming groups has none.
    command.uid(account.uid).gid(account.gid);
    command.arg("--as-worker").args(words);
    command.env("HOME", &account.home).spawn()
}

/// Starts a helper, which gives up its rights by itself before it reads anything: only then can it have the groups
/// of its user.
///
/// # Errors
/// What the system says.
pub fn start_helper(whom: &str, config: Option<&Path>, channel: Channel) -> io::Result<Child> {
    let mut command = ourselves("minimta", channel);
    command.args(["--as-helper", whom]);
    if let Some(config) = config {
        command.arg("-C").arg(config);
    }
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

fn ourselves(name: &str, channel: Channel) -> Command {
    let mut command = Command::new(OURSELVES);
    command.arg0(name).env_clear().env("PATH", PATH);
    // Of the environment of root's process only this says something about the machine; and how tests make it fail.
    let kept = if cfg!(debug_assertions) {
        &["TZ", "MINIMTA_FAULT", "MINIMTA_CONFIG"][..]
    } else {
        &["TZ"]
    };
    for name in kept {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.current_dir("/").stdin(OwnedFd::from(channel));
    command
}

/// Sends a signal to a process that was started here and not waited for yet.
pub fn pass_on(signal: Signal, child: &Child) {
    if let Ok(id) = i32::try_from(child.id()) {
        // It may have ended just now.
        let _ = kill(Pid::from_raw(id), signal);
    }
}

/// Whether it says that the configuration is to be read again.
pub fn is_hangup(signal: Signal) -> bool {
    signal == Signal::SIGHUP
}

/// What root's process hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// A signal that is meant for the worker.
    Signal(Signal),
    /// A child has ended.
    Child,
    /// The worker has something to say.
    Packet,
}

/// Hears signals and the worker.
#[derive(Debug)]
pub struct Ear(SignalFd);

impl Ear {
    /// From now on signals wait to be heard.
    ///
    /// # Errors
    /// What the system says.
    pub fn new() -> io::Result<Self> {
        let mut set = SigSet::empty();
        for signal in [
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGHUP,
            Signal::SIGCHLD,
        ] {
            set.add(signal);
        }
        set.thread_block()?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Self(SignalFd::with_flags(&set, flags)?))
    }

    /// Waits for something, for so many milliseconds at most; without a channel, for signals alone.
    ///
    /// # Errors
    /// What the system says.
    pub fn wait(&self, channel: Option<&Channel>, most: Option<u16>) -> io::Result<Vec<Heard>> {
        let readable = PollFlags::POLLIN;
        let mut watched = vec![PollFd::new(self.0.as_fd(), readable)];
        watched.extend(channel.map(|c| PollFd::new(c.as_fd(), readable)));
        let most = most.map_or(PollTimeout::NONE, PollTimeout::from);
        match poll(&mut watched, most) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let packet = watched.get(1).and_then(PollFd::any).unwrap_or(false);
        let mut heard = Vec::new();
        while let Ok(Some(signal)) = self.0.read_signal() {
            let number = i32::try_from(signal.ssi_signo).unwrap_or_default();
            match Signal::try_from(number) {
                Ok(Signal::SIGCHLD) => heard.push(Heard::Child),
                Ok(signal) => heard.push(Heard::Signal(signal)),
                Err(_) => {}
            }
        }
        if packet {
            heard.push(Heard::Packet);
        }
        Ok(heard)
    }
}
