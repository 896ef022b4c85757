//! The processes that root's process starts in the right of somebody else, and what it hears while they run.
//!
//! Each is this same program, as the kernel has it in memory, so that an upgrade on the disk does not mix versions.
//! It gets a clean environment and, as its standard input, one end of a [`Channel`]; nothing else is inherited but
//! standard output and error, and a helper has not even these.

use std::ffi::{CString, OsString};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, dup2_stdin, execve, getegid, geteuid, getgid, getuid};

use super::accounts::Account;
use super::channel::Channel;

/// This program, whatever stands under its name by now.
pub const OURSELVES: &str = "/proc/self/exe";
/// What the C library spends on hundreds of threads that mostly wait (GNU C Library manual, "Tunables"): they have one
/// heap, not sixteen; a thread keeps no freed piece for itself but small ones; and on its stack no room for libraries
/// in other namespaces, of which there are none. A silent client costs a fifth less. And what is large goes back to the
/// system when it is freed: of the megabytes that each password takes, the heap would keep holes, until forty who try
/// passwords out have it grown to hundreds of them. Other C libraries do not read it.
const SPARING: &str = "glibc.malloc.arena_max=1:glibc.malloc.tcache_max=128:glibc.malloc.mmap_threshold=1048576:glibc.rtld.nns=1";
const TUNABLES: &str = "GLIBC_TUNABLES";
/// Says that a process has begun anew after a fault of this program.
pub const AGAIN: &str = "MINIMTA_AGAIN";
/// How tests make a process fail.
const FAULT: &str = "MINIMTA_FAULT";
/// Where programs are found, for all that minimta starts.
pub const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The environment of all of them. Of that of root's process only this says something about the machine; and how tests
/// make them fail.
fn environment() -> Vec<(&'static str, OsString)> {
    let kept: &[&str] = match cfg!(debug_assertions) {
        true => &["TZ", AGAIN, FAULT, "MINIMTA_RECORD", "MINIMTA_CONFIG"],
        false => &["TZ", AGAIN],
    };
    let kept = kept
        .iter()
        .filter_map(|name| Some((*name, std::env::var_os(name)?)));
    [("PATH", OsString::from(PATH))]
        .into_iter()
        .chain(kept)
        .collect()
}

/// Begins this program anew in this process, as it was started, with a C library that spends less; unless somebody has
/// said already what it is to spend. Where that cannot be, all goes on with more memory.
pub fn begin_sparing() {
    // The C library of a program that has rights of its file takes no advice.
    let is_of_file = getuid() != geteuid() || getgid() != getegid();
    if is_of_file || std::env::var_os(TUNABLES).is_some() {
        return;
    }
    begin_again(&[(TUNABLES, SPARING)]);
}

/// Begins this program anew in this process, as it was started, with these variables beside the others. Where that cannot
/// be, all goes on. After a fault, what tests have made fail once does not fail once more.
pub fn begin_again(more: &[(&str, &str)]) {
    let text = |word: OsString| CString::new(word.into_vec());
    let is_again = more.iter().any(|(name, _)| *name == AGAIN);
    let is_set = |name: &OsString| more.iter().any(|(other, _)| name == other);
    let is_kept = |name: &OsString| !is_set(name) && (!is_again || name != FAULT);
    let variables = std::env::vars_os().filter(|(name, _)| is_kept(name));
    let variables = variables.chain(more.iter().map(|(name, value)| (name.into(), value.into())));
    let variables = variables.map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        text(name)
    });
    let words = std::env::args_os().map(text).collect::<Result<Vec<_>, _>>();
    let environment = variables.collect::<Result<Vec<_>, _>>();
    if let (Ok(program), Ok(words), Ok(environment)) = (CString::new(OURSELVES), words, environment)
    {
        let _ = execve(&program, &words, &environment);
    }
}

/// Begins this program anew in this process, with these words and one end of a channel as its standard input. It keeps
/// its children, its standard output and error, and the signals that wait.
///
/// # Errors
/// What the system says; then this process goes on as it is, but for its standard input.
pub fn begin_anew(name: &str, words: Vec<OsString>, channel: &Channel) -> io::Error {
    let text = |word: OsString| CString::new(word.into_vec());
    let words = [OsString::from(name)].into_iter().chain(words);
    let variable = |(name, value): (&str, OsString)| {
        let mut variable = OsString::from(format!("{name}="));
        variable.push(value);
        variable
    };
    let begin = || -> io::Result<std::convert::Infallible> {
        let program = CString::new(OURSELVES)?;
        let words = words.map(text).collect::<Result<Vec<_>, _>>()?;
        let environment = environment().into_iter().map(variable).map(text);
        let environment = environment.collect::<Result<Vec<_>, _>>()?;
        dup2_stdin(channel)?;
        Ok(execve(&program, &words, &environment)?)
    };
    match begin() {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

/// Begins this program anew in this process after a fault of its worker, with these words.
///
/// # Errors
/// What the system says; then this process goes on as it is.
pub fn begin_over(name: &str, words: &[OsString]) -> io::Error {
    let mut command = Command::new(OURSELVES);
    command.arg0(name).args(words);
    command.env_clear().envs(environment());
    command.env_remove(FAULT).env(AGAIN, "1").exec()
}

/// Whether this process has begun anew after a fault.
pub fn has_begun_again() -> bool {
    std::env::var_os(AGAIN).is_some()
}

/// Starts the worker, with the words of our own command line: it has the rights of this user, and no group but his.
///
/// # Errors
/// What the system says.
pub fn start_worker(
    account: &Account,
    name: &str,
    words: &[OsString],
    channel: Channel,
) -> io::Result<Worker> {
    let mut command = ourselves(name, channel);
    // Who becomes another user without naming groups has none.
    command.uid(account.uid).gid(account.gid);
    command.arg("--as-worker").args(words);
    command.env(TUNABLES, SPARING);
    let child = command.env("HOME", &account.home).spawn()?;
    Worker::of(&child).ok_or_else(|| io::ErrorKind::Other.into())
}

/// The worker, by its number, which is all that is left of it to whoever begins anew.
#[derive(Debug, PartialEq, Eq)]
pub struct Worker(Pid);

/// How it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With this exit code.
    Code(u8),
    /// By this signal.
    Signal(i32),
}

impl Worker {
    /// A child of this process.
    fn of(child: &Child) -> Option<Self> {
        i32::try_from(child.id()).ok().map(Pid::from_raw).map(Self)
    }

    /// Reads its number; `None`: it is none that a child could have.
    pub fn parse(text: &str) -> Option<Self> {
        let number = text.parse().ok().filter(|number| *number > 1)?;
        Some(Self(Pid::from_raw(number)))
    }

    /// How it has ended, if it has; to be asked no more then.
    ///
    /// # Errors
    /// What the system says; it is no child of this process.
    pub fn try_wait(&self) -> io::Result<Option<Ended>> {
        Ok(match waitpid(self.0, Some(WaitPidFlag::WNOHANG))? {
            // An exit code has eight bits.
            WaitStatus::Exited(_, code) => Some(Ended::Code(u8::try_from(code).unwrap_or(u8::MAX))),
            WaitStatus::Signaled(_, signal, _) => Some(Ended::Signal(signal as i32)),
            _ => None,
        })
    }

    /// Sends it a signal. It has not been waited for, so that the number is still its own.
    pub fn signal(&self, signal: Signal) {
        // It may have ended just now.
        let _ = kill(self.0, signal);
    }

    /// Ends it.
    pub fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }
}

impl fmt::Display for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
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
    // What a terminal asks of all who run at it, root's process tells those whom it concerns.
    command.process_group(0);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

fn ourselves(name: &str, channel: Channel) -> Command {
    let mut command = Command::new(OURSELVES);
    command.arg0(name).env_clear().envs(environment());
    command.current_dir("/").stdin(OwnedFd::from(channel));
    command
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
