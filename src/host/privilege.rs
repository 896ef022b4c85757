//! The rights of this process: what a set-group-id program must do before anything else, how root becomes somebody
//! else, and how a process goes on in the background.
//!
//! What root starts is three processes (design of the whole in flow/parent.rs); [`super::children`] starts them.

use std::ffi::CString;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::prctl::{set_name, set_no_new_privs, set_pdeathsig};
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{Mode, umask};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{
    AccessFlags, Gid, Uid, close, daemon, faccessat, getgroups, getresgid, getresuid, initgroups,
    setgroups, setresgid, setresuid,
};

use super::accounts::Account;

/// Files get exactly the modes they are created with, whatever the caller set, and nothing for the world.
pub fn fix_umask() {
    umask(Mode::from_bits_truncate(0o007));
}

/// Whether root runs this process.
pub fn is_root() -> bool {
    Uid::current().is_root() && Uid::effective().is_root()
}

/// Whether this process has a group that its caller has not: that of the program, which is set-group-id. Root has all.
pub fn has_group() -> bool {
    // Who it is does not matter to most, and is one call more.
    is_lent_group() && !Uid::current().is_root()
}

/// The same of this user, who runs this process.
pub fn has_group_beside(uid: u32) -> bool {
    uid != 0 && is_lent_group()
}

fn is_lent_group() -> bool {
    // Nobody lends it later to a process that has none.
    static HAS_NONE: AtomicBool = AtomicBool::new(false);
    if HAS_NONE.load(Ordering::Relaxed) {
        return false;
    }
    let own = getresgid();
    let has_none = own.is_ok_and(|own| own.real == own.effective && own.real == own.saved);
    HAS_NONE.store(has_none, Ordering::Relaxed);
    own.is_ok_and(|own| own.real != own.effective)
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

/// Lets root do what follows in the right of a user, and without his own groups, until [`be_root`].
///
/// # Errors
/// A sentence; the caller must then stop.
pub fn act_as(account: &Account) -> Result<(), String> {
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    let root = Uid::from_raw(0);
    setgroups(&[])
        .and_then(|()| setresgid(gid, gid, gid))
        .and_then(|()| setresuid(root, uid, root))
        .map_err(|e| cannot_become(account, e))
}

/// Root again, after [`act_as`]; its groups are gone.
///
/// # Errors
/// A sentence.
pub fn be_root() -> Result<(), String> {
    let root = Uid::from_raw(0);
    setresuid(root, root, root)
        .map_err(|e| format!("cannot have the rights of root again: {}", e.desc()))
}

/// Makes this process, which is root's, one of a user for good, with the groups that he has.
///
/// # Errors
/// A sentence; the caller must then stop.
pub fn become_user(account: &Account) -> Result<(), String> {
    let failed = |e| cannot_become(account, e);
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    let name = CString::new(account.name.as_str()).map_err(|_| failed(nix::Error::EINVAL))?;
    initgroups(&name, gid)
        .and_then(|()| setresgid(gid, gid, gid))
        .and_then(|()| setresuid(uid, uid, uid))
        .map_err(failed)?;
    // It is worth a look that nothing is left: who is not root cannot become root.
    let now = getresuid().map_err(failed)?;
    let left = [now.real, now.effective, now.saved]
        .iter()
        .any(|u| *u != uid);
    if left || uid.is_root() || setresuid(uid, Uid::from_raw(0), uid).is_ok() {
        return Err(failed(nix::Error::EPERM));
    }
    Ok(())
}

fn cannot_become(account: &Account, error: nix::Error) -> String {
    format!(
        "cannot work as the user {}: {}",
        account.name,
        error.desc().to_lowercase()
    )
}

/// Whether this process has no rights but those of a user: none of root's, and no group but his own.
pub fn is_bare(account: &Account) -> bool {
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    let users = getresuid().is_ok_and(|u| [u.real, u.effective, u.saved] == [uid; 3]);
    let groups = getresgid().is_ok_and(|g| [g.real, g.effective, g.saved] == [gid; 3]);
    users && groups && getgroups().is_ok_and(|more| more.iter().all(|g| *g == gid))
}

/// From now on no program that is started can bring rights that this process has not. An old kernel may not know
/// this.
pub fn forswear() {
    let _ = set_no_new_privs();
}

/// Lists of processes show this name; one that was started as `/proc/self/exe` would be called `exe`.
pub fn call_it(name: &str) {
    if let Ok(name) = CString::new(name) {
        // It is for people alone.
        let _ = set_name(&name);
    }
}

/// When whoever has started this process ends, however that happens, this one is told to end too.
pub fn end_with_parent() {
    // Without it the next request finds out.
    let _ = set_pdeathsig(Signal::SIGTERM);
}

/// Signals reach this process again: the one that started it waits for some in its own way, and that is inherited.
pub fn hear_signals() {
    let mut all = SigSet::all();
    all.remove(Signal::SIGXFSZ);
    let _ = all.thread_unblock();
}

/// From now on a write beyond what the caller lets files grow to (`ulimit -f`) fails, and what was to be written is
/// answered as on a full disk. Unless it is blocked, a signal ends the process there, without a word.
pub fn outlive_file_limit() {
    let _ = SigSet::from(Signal::SIGXFSZ).thread_block();
}

/// Closes all descriptors from this number on that whoever started this process has left open. To be called
/// before this process has opened anything that it keeps.
pub fn close_from(first: i32) {
    const OPEN: &str = "/proc/self/fd";
    // How many are open is the size of their folder since Linux 6.2, and 0 before: most callers have left none, and the
    // list is five calls more. Those below 3 are open (the standard library sees to that).
    let count = fs::metadata(OPEN).map_or(0, |folder| folder.len());
    if first >= 3 && (1..=3).contains(&count) {
        return;
    }
    let listed: Vec<i32> = fs::read_dir(OPEN).map_or_else(
        |_| (first..256).collect(),
        |names| {
            let number = |entry: std::io::Result<fs::DirEntry>| {
                entry.ok()?.file_name().to_str()?.parse().ok()
            };
            names.filter_map(number).collect()
        },
    );
    for descriptor in listed.into_iter().filter(|n| *n >= first) {
        // The one by which the folder was read is gone already; and that is all that can be wrong.
        let _ = close(descriptor);
    }
}

/// Files of this process are for its user alone.
pub fn fix_private_umask() {
    umask(Mode::from_bits_truncate(0o077));
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

/// Whether a file is on a file system where set-group-id does not count.
pub fn is_nosuid(path: &Path) -> bool {
    statvfs(path).is_ok_and(|disk| disk.flags().contains(FsFlags::ST_NOSUID))
}

/// Whether this process may make files in a folder.
///
/// # Errors
/// What the system says against it.
pub fn may_write(folder: &Path) -> Result<(), String> {
    may(folder, AccessFlags::W_OK | AccessFlags::X_OK)
}

/// Whether this process may write to a file.
///
/// # Errors
/// What the system says against it.
pub fn may_append(file: &Path) -> Result<(), String> {
    may(file, AccessFlags::W_OK)
}

fn may(path: &Path, wanted: AccessFlags) -> Result<(), String> {
    // With the rights in effect, for a set-group-id program has more than its caller.
    faccessat(AT_FDCWD, path, wanted, AtFlags::AT_EACCESS).map_err(|e| e.desc().to_lowercase())
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
