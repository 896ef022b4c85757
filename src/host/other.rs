//! Programs that are not this one: what is run for a user, and what prints a password.
//!
//! A process that hears signals in its own way has them blocked, and that is inherited: a command would hear no SIGTERM.
//! They cannot be unblocked in a thread that starts it, for what is sent to this process would end it there and then. So
//! this program is started, which unblocks them where nothing else happens, and becomes the other one.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::thread;

use nix::sys::signal::{SigSet, Signal};

use super::children::OURSELVES;
use super::{privilege, words};

/// The word by which this program is started to become another one. No option: nothing else is to be read then. Behind it
/// stand the program and its arguments. Anybody may say it, and the file of this program may lend him a group: it is given
/// up before anything else.
pub const WORD: &str = "--as-another";
/// How a shell says that there is no such program.
const NOT_FOUND: i32 = 127;

/// A command that is to be [started](start). What is known of its arguments is to be added, and nothing before.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let blocked = SigSet::thread_get_mask().is_ok_and(|set| set.contains(Signal::SIGTERM));
    // What a process with a lent group starts has it, too: a password may be in a file of that group. It does one thing, and
    // ends soon.
    if !blocked || privilege::has_group() || !Path::new(OURSELVES).exists() {
        return Command::new(program);
    }
    let mut command = Command::new(OURSELVES);
    command.arg0("minimta").arg(WORD).arg(program);
    command
}

/// Starts it. The signal of [`privilege::outlive_file_limit`] is for it what it always was; this thread may have one
/// waiting, a new one has not.
///
/// # Errors
/// What the system says.
pub fn start(command: &mut Command) -> io::Result<Child> {
    const STACK: usize = 128 * 1024;
    let start = || {
        let _ = SigSet::from(Signal::SIGXFSZ).thread_unblock();
        command.spawn()
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK);
        let started = thread.spawn_scoped(scope, start)?.join();
        started.unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
    })
}

/// Becomes the program that the words behind [`WORD`] name. Returned is why not: its exit code and a sentence.
pub fn become_it(mut words_of_it: impl Iterator<Item = OsString>) -> (i32, String) {
    if let Err(sentence) = privilege::drop_group() {
        return (NOT_FOUND, sentence);
    }
    let Some(program) = words_of_it.next() else {
        return (NOT_FOUND, "there is no program to run".to_owned());
    };
    let _ = SigSet::all().thread_unblock();
    let error = Command::new(&program).args(words_of_it).exec();
    let shown = program.to_string_lossy().into_owned();
    (NOT_FOUND, format!("cannot run {shown}: {}", words(&error)))
}
