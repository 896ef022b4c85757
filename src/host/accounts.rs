//! Users of this system, and the system's own name.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use nix::unistd::{Gid, Group, Uid, User};

/// A user of this system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Login name.
    pub name: String,
    /// Numeric id.
    pub uid: u32,
    /// Numeric id of his own group.
    pub gid: u32,
    /// Full name: the GECOS field up to its first comma, `&` meaning the login name.
    pub full_name: Option<String>,
    /// Home folder.
    pub home: PathBuf,
    /// Login shell.
    pub shell: PathBuf,
}

impl Account {
    fn new(name: &str, (uid, gid): (u32, u32), gecos: &str, home: &str, shell: &str) -> Self {
        let mut capital = name.to_owned();
        if let Some(first) = capital.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        let full_name = gecos
            .split(',')
            .next()
            .unwrap_or_default()
            .replace('&', &capital);
        let full_name = Some(full_name.trim().to_owned()).filter(|n| !n.is_empty());
        Self {
            name: name.to_owned(),
            uid,
            gid,
            full_name,
            home: PathBuf::from(home),
            shell: PathBuf::from(shell),
        }
    }
}

impl From<User> for Account {
    fn from(user: User) -> Self {
        Self::new(
            &user.name,
            (user.uid.as_raw(), user.gid.as_raw()),
            &user.gecos.to_string_lossy(),
            &user.dir.to_string_lossy(),
            &user.shell.to_string_lossy(),
        )
    }
}

/// The first line of a passwd file (passwd(5)) that fits.
fn in_passwd(passwd: &str, fits: &dyn Fn(&str, u32) -> bool) -> Option<Account> {
    passwd.lines().find_map(|line| in_line(line, fits))
}

fn in_line(line: &str, fits: &dyn Fn(&str, u32) -> bool) -> Option<Account> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, gecos, home, shell] = fields.as_slice() else {
        return None;
    };
    let (uid, gid) = (uid.parse().ok()?, gid.parse().ok()?);
    // A + or - at its start belongs to NIS and is no user.
    (!name.starts_with(['+', '-']) && fits(name, uid))
        .then(|| Account::new(name, (uid, gid), gecos, home, shell))
}

/// The people of this system's own file.
pub fn people() -> Vec<Account> {
    let passwd = own_passwd();
    let all = passwd
        .lines()
        .filter_map(|line| in_line(line, &|_, _| true));
    all.filter(Account::is_person).collect()
}

/// The file of users that every system has.
const PASSWD: &str = "/etc/passwd";

/// The users of this system's own file. Every system asks it first; whoever is not in it may be in a directory,
/// which costs a dozen system calls and a library each time.
fn own_passwd() -> Arc<str> {
    static KNOWN: Kept = Kept::new(FRESH);
    KNOWN.text(Path::new(PASSWD))
}

/// The text of a file, read again only when there is another one, and not looked at again at once: a message asks for the
/// same users over and over.
struct Kept {
    /// How long a file that was looked at is taken to be the same.
    fresh: Duration,
    known: Mutex<Option<(Instant, Stamp, Arc<str>)>>,
}

/// For all that is asked about one recipient. Who is new is not in what was kept, and is found in the other way.
const FRESH: Duration = Duration::from_millis(50);

/// What changes with a file: which it is, its length, and when it was written.
type Stamp = (u64, u64, u64, i64, i64);

impl Kept {
    const fn new(fresh: Duration) -> Self {
        let known = Mutex::new(None);
        Self { fresh, known }
    }

    fn text(&self, path: &Path) -> Arc<str> {
        /// A longer file is a directory's copy; the other way finds who is further down.
        const MOST: u64 = 1024 * 1024;
        let of = |m: Metadata| (m.dev(), m.ino(), m.len(), m.mtime(), m.mtime_nsec());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some((looked, _, text)) = &*known
            && now.saturating_duration_since(*looked) < self.fresh
        {
            return Arc::clone(text);
        }
        // Looked at before it is read: what changes in between is found out next time.
        let stamp = std::fs::metadata(path).map(of).ok();
        if let Some((looked, old, text)) = &mut *known
            && Some(*old) == stamp
        {
            *looked = now;
            return Arc::clone(text);
        }
        let octets = super::read_bounded(path, MOST).unwrap_or_default();
        let text: Arc<str> = String::from_utf8_lossy(&octets).into();
        *known = stamp.map(|stamp| (now, stamp, Arc::clone(&text)));
        text
    }
}

/// Who runs this process. A uid without an entry gets the name `uidN`, so that its mail still has a sender.
pub fn caller() -> Account {
    of_caller(caller_uid())
}

/// The same for who has asked already what his numeric id is.
pub fn of_caller(uid: u32) -> Account {
    let uid = Uid::from_raw(uid);
    let directory = || User::from_uid(uid).ok().flatten().map(Account::from);
    in_passwd(&own_passwd(), &|_, id| id == uid.as_raw())
        .or_else(directory)
        .unwrap_or_else(|| Account {
            name: format!("uid{uid}"),
            uid: uid.as_raw(),
            gid: nix::unistd::getgid().as_raw(),
            full_name: None,
            home: PathBuf::from("/"),
            shell: PathBuf::from("/bin/sh"),
        })
}

/// The name of the user with this id.
pub fn name_of(uid: u32) -> Option<String> {
    let known = in_passwd(&own_passwd(), &|_, id| id == uid).map(|a| a.name);
    known.or_else(|| {
        User::from_uid(Uid::from_raw(uid))
            .ok()
            .flatten()
            .map(|u| u.name)
    })
}

/// The name of a group, for people who are to use it; its number if it has none.
pub fn group_name(gid: u32) -> String {
    let found = Group::from_gid(Gid::from_raw(gid)).ok().flatten();
    found.map_or_else(|| gid.to_string(), |group| group.name)
}

/// The numeric id of whoever runs this process; no look-up.
pub fn caller_uid() -> u32 {
    Uid::current().as_raw()
}

/// The user of that name, also when it was written with other capitals; an error means the user database did
/// not answer, which says nothing about the user.
pub fn find(name: &str) -> Result<Option<Account>, String> {
    let found = entry(name)?;
    match found {
        None => see_that_there_are_users().map(|()| None),
        found => Ok(found),
    }
}

/// Sees that the user database has anybody at all: of one that a full disk or a torn edit has emptied, that somebody is
/// not in it says nothing. Where there is no file, root is asked for; where there is one, some systems make him up.
///
/// # Errors
/// A sentence that names the cause.
pub fn see_that_there_are_users() -> Result<(), String> {
    let is_elsewhere = || {
        let root = User::from_uid(Uid::from_raw(0));
        !Path::new(PASSWD).exists() && matches!(root, Ok(Some(_)))
    };
    if in_passwd(&own_passwd(), &|_, _| true).is_some() || is_elsewhere() {
        return Ok(());
    }
    Err(format!(
        "there is no user at all, not even root: {PASSWD} is empty or damaged"
    ))
}

/// The same where nothing follows from it that there is none.
pub fn entry(name: &str) -> Result<Option<Account>, String> {
    let passwd = own_passwd();
    let look_up = |name: &str| match in_passwd(&passwd, &|n, _| n == name) {
        Some(account) => Ok(Some(account)),
        None => User::from_name(name)
            .map(|user| user.map(Account::from))
            .map_err(|e| unanswered(name, e)),
    };
    // A name with a NUL or a slash cannot be a user, whatever the database would make of it.
    if name.is_empty() || name.contains(['\0', '/', ':']) || name == "." || name == ".." {
        return Ok(None);
    }
    let exact = look_up(name)?;
    let lower = name.to_lowercase();
    if exact.is_none() && lower != name {
        look_up(&lower)
    } else {
        Ok(exact)
    }
}

fn unanswered(name: &str, error: nix::Error) -> String {
    let why = match error {
        nix::Error::ENOENT => format!("there is no {PASSWD}"),
        error => error.desc().to_lowercase(),
    };
    format!("cannot look up the user {name}: {why}")
}

/// The least id of a user who is a person, as login.defs(5) has it. It is read once by a process: a delivery asks three times,
/// and a machine whose ids are given out anew is a rare one.
fn first_person() -> u32 {
    static FOUND: OnceLock<u32> = OnceLock::new();
    *FOUND.get_or_init(read_first_person)
}

fn read_first_person() -> u32 {
    let defs = super::read_bounded(Path::new("/etc/login.defs"), 64 * 1024).unwrap_or_default();
    let found = String::from_utf8_lossy(&defs).lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some("UID_MIN")).then(|| words.next()?.parse().ok())?
    });
    found.unwrap_or(1000)
}

impl Account {
    /// Whether this is the account of a person, not of a service: one who may have a mailbox, a ~/.forward and
    /// commands of his own. Nothing is ever run in the right of another one.
    pub fn is_person(&self) -> bool {
        // The two highest ids of 16 bits are nobody's, whatever they are called.
        let is_nobody = self.name == "nobody" || matches!(self.uid, 65534 | 65535 | u32::MAX);
        self.uid != 0 && !is_nobody && self.uid >= first_person()
    }
}

/// The system's name, fully qualified where /etc/hosts knows it; no look-up that could wait for a network.
pub fn system_name() -> String {
    let name = nix::unistd::gethostname()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default();
    if name.contains('.') {
        return name;
    }
    // A hosts file longer than this is a block list, and our own line stands at its top.
    let hosts = super::read_bounded(Path::new("/etc/hosts"), 64 * 1024).unwrap_or_default();
    qualified_in(&String::from_utf8_lossy(&hosts), &name).unwrap_or(if name.is_empty() {
        "localhost".to_owned()
    } else {
        name
    })
}

/// The name with a dot on the line of a hosts file that names this host.
fn qualified_in(hosts: &str, name: &str) -> Option<String> {
    hosts.lines().find_map(|line| {
        let names: Vec<&str> = line
            .split('#')
            .next()?
            .split_ascii_whitespace()
            .skip(1)
            .collect();
        let ours = names
            .iter()
            .any(|n| n.eq_ignore_ascii_case(name) || n.split('.').next() == Some(name));
        let full = names
            .iter()
            .find(|n| n.contains('.') && !n.starts_with("localhost"));
        full.filter(|_| ours).map(|n| (*n).to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_users_that_is_missing_is_named() {
        let rows = [
            (nix::Error::ENOENT, "there is no /etc/passwd"),
            (nix::Error::EIO, "i/o error"),
        ];
        for (error, why) in rows {
            let said = format!("cannot look up the user root: {why}");
            assert_eq!(unanswered("root", error), said);
        }
    }

    #[test]
    fn a_file_is_read_again_when_it_is_another_one() {
        let scratch = super::super::mailbox::scratch::Scratch::new("passwd");
        let (path, new) = (scratch.path("passwd"), scratch.path("new"));
        let kept = Kept::new(Duration::ZERO);
        assert_eq!(&*kept.text(&path), "");
        std::fs::write(&path, "one").unwrap();
        let one = kept.text(&path);
        assert_eq!(&*one, "one");
        assert!(Arc::ptr_eq(&one, &kept.text(&path)));
        // As useradd does it, at the same time and with the same length.
        std::fs::write(&new, "two").unwrap();
        let then = std::fs::metadata(&path).unwrap().modified().unwrap();
        std::fs::File::options()
            .append(true)
            .open(&new)
            .unwrap()
            .set_modified(then)
            .unwrap();
        std::fs::rename(&new, &path).unwrap();
        assert_eq!(&*kept.text(&path), "two");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(&*kept.text(&path), "");
        let kept = Kept::new(Duration::from_secs(3600));
        std::fs::write(&path, "three").unwrap();
        assert_eq!(&*kept.text(&path), "three");
        std::fs::write(&path, "four").unwrap();
        assert_eq!(&*kept.text(&path), "three", "it was looked at just now");
    }

    #[test]
    fn the_full_name_of_the_system_comes_from_its_hosts_file() {
        let rows = [
            (
                "127.0.0.1 localhost\n127.0.1.1 pi.example.org pi\n",
                "pi",
                Some("pi.example.org"),
            ),
            (
                "127.0.1.1 pi pi.example.org # pi.other.org\n",
                "pi",
                Some("pi.example.org"),
            ),
            ("127.0.1.1 pi.example.org\n", "pi", Some("pi.example.org")),
            ("127.0.0.1 localhost.localdomain localhost pi\n", "pi", None),
            ("127.0.1.1 other.example.org other\n", "pi", None),
            ("#127.0.1.1 pi.example.org pi\n", "pi", None),
            ("", "pi", None),
        ];
        for (hosts, name, expected) in rows {
            assert_eq!(qualified_in(hosts, name).as_deref(), expected, "{hosts:?}");
        }
    }

    #[test]
    fn users_are_read_from_the_systems_own_file() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nbroken\n+::::::\nalice:x:1000:1000:& Smith,1,2:/home/alice:/bin/sh\n";
        let alice = in_passwd(passwd, &|name, _| name == "alice").unwrap();
        assert_eq!(
            (alice.uid, alice.full_name.as_deref()),
            (1000, Some("Alice Smith"))
        );
        assert_eq!(
            in_passwd(passwd, &|_, uid| uid == 0).map(|a| a.home),
            Some(PathBuf::from("/root"))
        );
        assert_eq!(
            in_passwd(passwd, &|name, _| name == "+" || name == "broken"),
            None
        );
    }

    #[test]
    fn a_name_that_is_no_user_is_not_found() {
        for name in ["", ".", "..", "a/b", "a\0b", "no such user here", "root:x"] {
            assert_eq!(find(name), Ok(None), "{name:?}");
        }
        assert_eq!(find("ROOT").map(|u| u.map(|u| u.uid)), Ok(Some(0)));
    }
}
