//! Signals that ask a process to end, heard by a thread that sleeps until one comes. For processes that do one thing and
//! then end: a daemon hears them among all else that happens (listen.rs), and so does root's process (children.rs).

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
pub use nix::sys::signal::Signal;
use nix::sys::signal::{SigSet, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Those that are heard.
const HEARD: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];

/// What hears them.
#[derive(Debug)]
pub struct Requests(SignalFd);

impl Requests {
    /// From now on they wait to be heard, in this thread and in those that it starts.
    ///
    /// # Errors
    /// What the system says; then they end the process as before.
    pub fn hear() -> io::Result<Self> {
        let set = set();
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let heard = Self(SignalFd::with_flags(&set, flags)?);
        set.thread_block()?;
        Ok(heard)
    }

    /// Waits for one.
    ///
    /// # Errors
    /// What the system says.
    pub fn wait(&self) -> io::Result<Signal> {
        loop {
            match poll(&mut [self.ready()], PollTimeout::NONE) {
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            if let Some(signal) = self.next() {
                return Ok(signal);
            }
        }
    }

    /// The same, for so long at most; `None`: there was none.
    pub fn wait_for(&self, most: Duration) -> Option<Signal> {
        let most = u16::try_from(most.as_millis()).unwrap_or(u16::MAX);
        // Whoever waits so looks at something else every now and then, and has an end.
        let _ = poll(&mut [self.ready()], PollTimeout::from(most));
        self.next()
    }

    fn ready(&self) -> PollFd<'_> {
        PollFd::new(self.0.as_fd(), PollFlags::POLLIN)
    }

    /// One that has come. Those that whoever started this process had it ignore, as nohup(1) and shells do, are none.
    fn next(&self) -> Option<Signal> {
        let heard = self.0.read_signal().ok().flatten()?;
        let number = i32::try_from(heard.ssi_signo).ok()?;
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let signal = Signal::try_from(number).ok();
        signal.filter(|_| !is_ignored(number, &status))
    }
}

/// They end this process again, in threads that this one starts from now on.
pub fn let_be() {
    let _ = set().thread_unblock();
}

/// Ends this process by a signal, as if nobody had heard it, so that whoever waits for it sees what has ended it. The first
/// process of a container is not ended so, and says it with its exit code, as shells do.
pub fn end_by(signal: Signal) -> ! {
    let _ = SigSet::from(signal).thread_unblock();
    let _ = raise(signal);
    std::process::exit(128 + signal as i32)
}

fn set() -> SigSet {
    HEARD.into_iter().collect()
}

/// Whether a process ignores a signal, by the text of its /proc/PID/status, which has them as the bits of a number.
fn is_ignored(number: i32, status: &str) -> bool {
    let digits = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .unwrap_or_default();
    let bits = u64::from_str_radix(digits.trim(), 16).unwrap_or(0);
    let bit = u32::try_from(number - 1).ok();
    bit.and_then(|bit| bits.checked_shr(bit))
        .is_some_and(|bits| bits & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::is_ignored;

    #[test]
    fn the_signals_that_are_ignored_are_bits() {
        let status = "Name:\tminimta\nSigBlk:\t0000000000004003\nSigIgn:\t0000000000001003\n";
        let rows = [
            (1, status, true),
            (2, status, true),
            (13, status, true),
            (15, status, false),
            (0, status, false),
            (65, status, false),
            (2, "SigIgn:\tnonsense\n", false),
            (2, "", false),
        ];
        for (number, status, ignored) in rows {
            assert_eq!(is_ignored(number, status), ignored, "{number}");
        }
    }
}
