//! Rights and processes: what a set-group-id program must do before anything else, and how it goes on in the
//! background.

use std::path::Path;

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{AccessFlags, daemon, faccessat, getresgid, setresgid};

/// Files get exactly the modes they are created with, whatever the caller set, and nothing for the world.
pub fn fix_umask() {
    umask(Mode::from_bits_truncate(0o007));
}

/// Gives up the program's group for good: a configuration of the caller's choice must not be read, and no file
/// of his choice touched, with more rights than his.
///
/// # Errors
/// A sentence; the caller must then stop.
pub fn drop_group() -> Result<(), String> {
    let groups =
        getresgid().map_err(|e| format!("cannot tell the group of the program: {}", e.desc()))?;
    let own = groups.real;
    if own == groups.effective && own == groups.saved {
        return Ok(());
    }
    setresgid(own, own, own)
        .map_err(|e| format!("cannot give up the group of the program: {}", e.desc()))
}

/// Lets this process have so many files open, as far as the system allows it without asking.
pub fn allow_files(wanted: usize) {
    if let (Ok((soft, hard)), Ok(wanted)) =
        (getrlimit(Resource::RLIMIT_NOFILE), rlim_t::try_from(wanted))
        && soft < wanted
    {
        // With fewer it works as well, and says so when they run out.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard);
    }
}

/// Whether this process may make files in a folder.
///
/// # Errors
/// What the system says against it.
pub fn may_write(folder: &Path) -> Result<(), String> {
    let wanted = AccessFlags::W_OK | AccessFlags::X_OK;
    // With the rights in effect, for a set-group-id program has more than its caller.
    faccessat(AT_FDCWD, folder, wanted, AtFlags::AT_EACCESS).map_err(|e| e.desc().to_lowercase())
}

/// Ends this process for whoever waits for it, with exit code 0, and goes on as a process of its own, without a
/// terminal and with standard streams that lead nowhere. Locks and open files stay.
///
/// # Errors
/// A sentence when the system has no room for another process; this one is then unchanged.
pub fn detach() -> Result<(), String> {
    // There is one thread here: nothing was started before the message was safe.
    daemon(false, false).map_err(|e| format!("cannot go on in the background: {}", e.desc()))
}
