//! The guard of a command: a process that holds the command's input open until the message in it is whole, however
//! whoever writes it may end.
//!
//! A process that is killed closes its end of a pipe, and to the command at the other end that looks like the end of the
//! message: it would keep a part of one as if it were all. So there is a second holder of that end:
//!
//! 1. the guard starts, in a process group of its own, with the end of the pipe and a line to whoever has started it
//! 2. the command starts in the guard's group, so that the guard has its number for as long as it lives
//! 3. the message is whole, and the guard hears so: it goes, and with it its hold on the pipe
//! 4. or the line breaks before that: the guard kills its group, and itself with it, and only then the pipe is closed

use std::fs::File;
use std::io::{self, PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::{getpgrp, getpid};

use super::children::OURSELVES;

/// The word by which this program is started as a guard. No option: nothing else is to be read then.
pub const WORD: &str = "--as-guard";
/// What it hears when all is well.
const WHOLE: &[u8] = b".";

/// A guard, until it is dropped: its group dies with it, unless it was told that the message is whole.
#[derive(Debug)]
pub struct Guard {
    process: Child,
    line: Option<PipeWriter>,
}

impl Guard {
    /// Starts one that holds the end of a pipe.
    ///
    /// # Errors
    /// What the system says. Without /proc there is none.
    pub fn start(input: &PipeWriter) -> io::Result<Self> {
        let (heard, line) = io::pipe()?;
        let mut command = Command::new(OURSELVES);
        command.arg0("minimta").arg(WORD).env_clear();
        // What it might print must not get into the pipe that it holds: so that is where programs read.
        command.stdin(OwnedFd::from(input.try_clone()?));
        command.stdout(OwnedFd::from(heard)).stderr(Stdio::null());
        let process = command.current_dir("/").process_group(0).spawn()?;
        Ok(Self {
            process,
            line: Some(line),
        })
    }

    /// The number of its group.
    pub fn group(&self) -> Option<i32> {
        i32::try_from(self.process.id()).ok()
    }

    /// The message is whole: when this returns, its hold on the pipe is gone.
    pub fn release(mut self) {
        if let Some(mut line) = self.line.take() {
            // One that has died already holds nothing.
            let _ = line.write_all(WHOLE);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // It ends now, in one way or the other.
        self.line = None;
        let _ = self.process.wait();
    }
}

/// What a guard does, from its beginning to its end.
pub fn stand() {
    // A signal that is for all of a service ends whoever writes the message, and must not end this before.
    let _ = SigSet::all().thread_block();
    let line = io::stdout().as_fd().try_clone_to_owned();
    let mut heard = Vec::new();
    let told = line.and_then(|line| File::from(line).take(1).read_to_end(&mut heard));
    let is_whole = told.is_ok() && heard == WHOLE;
    // Whoever calls this by hand shares a group with others.
    if !is_whole && getpgrp() == getpid() {
        let _ = killpg(getpgrp(), Signal::SIGKILL);
    }
}
