//! The users who may log in: a file of lines `name:hash` or `name:hash:senders`, read again when it changes.
//!
//! A file that is not there means that nobody may log in; one that cannot be read, or that everybody can read, that
//! nobody can now. A line that is of no use keeps its own user out and no other.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::hash::Hash;
use super::secret::{self, Version};
use crate::proto::address::{Domain, Mailbox};
use crate::proto::authenticate::Mechanism;
use crate::proto::outcome::one_line;
use crate::proto::scram::{self, Verifier};

/// The largest file that is read, octets: some ten thousand users.
const MAX_FILE: u64 = 1024 * 1024;

/// The users file.
#[derive(Debug)]
pub struct Users {
    path: PathBuf,
    held: Mutex<Option<Held>>,
}

/// What was read last.
#[derive(Debug)]
struct Held {
    version: Version,
    list: Result<Arc<List>, String>,
}

impl Users {
    /// The file of this name; it need not be there.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            held: Mutex::new(None),
        }
    }

    /// The users as they are in the file now.
    ///
    /// # Errors
    /// A sentence with its remedy: they cannot be told.
    pub fn list(&self) -> Result<Arc<List>, String> {
        let version = Version::of(&self.path);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match &*held {
            Some(held) if held.version == version => held.list.clone(),
            _ => {
                let list = self.read().map(Arc::new);
                *held = Some(Held {
                    version,
                    list: list.clone(),
                });
                list
            }
        }
    }

    fn read(&self) -> Result<List, String> {
        // A folder on the way that is closed to us is no proof that there is no file.
        match std::fs::metadata(&self.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(List::default()),
            _ => {}
        }
        let octets = secret::read("users_file", &self.path, MAX_FILE)?;
        let text = std::str::from_utf8(&octets)
            .map_err(|_| format!("users_file {} is not UTF-8", self.path.display()))?;
        Ok(List::parse(text))
    }
}

/// What came of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// It is the user's password.
    Right,
    /// It is not, or there is no such user; in words for the log, which the client does not see.
    Wrong(&'static str),
}

/// What a user may send as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sender {
    /// `*`: everything.
    Anything,
    /// `example.org` or `@localhost`: every address of the domain.
    Domain(Domain),
    /// An address.
    Address(Mailbox),
}

/// The users, as they stand in a file.
#[derive(Default)]
pub struct List {
    users: HashMap<String, User>,
    /// Who can log in. The hash of one of them stands for that of an unknown user.
    usable: Vec<String>,
    /// What is of no use in the file, a sentence each.
    flaws: Vec<String>,
    /// Of the whole file: nobody outside knows it.
    seed: [u8; scram::KEY],
}

impl std::fmt::Debug for List {
    /// Without its hashes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("List").finish_non_exhaustive()
    }
}

/// A line of the file.
struct User {
    hash: Result<Hash, &'static str>,
    senders: Vec<Sender>,
}

impl List {
    /// Reads a file's text.
    fn parse(text: &str) -> Self {
        let mut list = Self {
            seed: scram::hash(text.as_bytes()),
            ..Self::default()
        };
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                list.add(index + 1, line);
            }
        }
        list
    }

    fn add(&mut self, number: usize, line: &str) {
        let (name, rest) = line.split_once(':').unwrap_or((line, ""));
        let (hash, senders) = rest.split_once(':').unwrap_or((rest, ""));
        // Without the rest of the line: a password that was put there must not be shown.
        let shown = one_line(name);
        if rest.is_empty() || name.is_empty() || name.chars().any(char::is_control) {
            let flaw = format!("line {number} is no name:hash; nobody can log in by it");
            return self.flaws.push(flaw);
        }
        if self.users.contains_key(name) {
            let flaw = format!(
                "line {number}: {shown} stands there a second time; this line means nothing"
            );
            return self.flaws.push(flaw);
        }
        let hash = Hash::parse(hash);
        match &hash {
            Ok(_) => self.usable.push(name.to_owned()),
            Err(why) => self.flaws.push(format!(
                "line {number}: {shown} cannot log in: the hash {why}"
            )),
        }
        let mut allowed = Vec::new();
        for entry in senders.split(',').map(str::trim).filter(|e| !e.is_empty()) {
            match sender(entry) {
                Some(sender) => allowed.push(sender),
                None => self.flaws.push(format!(
                    "line {number}: {shown} cannot send as {}, which is no address and no domain",
                    one_line(entry)
                )),
            }
        }
        let user = User {
            hash,
            senders: allowed,
        };
        self.users.insert(name.to_owned(), user);
    }

    /// What is of no use in the file, a sentence each, with its line.
    pub fn flaws(&self) -> &[String] {
        &self.flaws
    }

    /// How many can log in.
    pub fn len(&self) -> usize {
        self.usable.len()
    }

    /// The ways to log in. SCRAM only where everybody can use it: a client takes it when it is offered, and does
    /// not try another way when it fails.
    pub fn mechanisms(&self) -> Vec<Mechanism> {
        let mut usable = self.users.values().filter_map(|u| u.hash.as_ref().ok());
        if self.usable.is_empty() {
            Vec::new()
        } else if usable.all(|hash| hash.verifier().is_some()) {
            vec![Mechanism::ScramSha256, Mechanism::Plain, Mechanism::Login]
        } else {
            vec![Mechanism::Plain, Mechanism::Login]
        }
    }

    /// What a password of an unknown user is checked against, so that it takes as long: the hash of this or that user, for
    /// they may differ in kind and cost, and always the same for a name.
    fn model(&self, name: &str) -> Option<&Hash> {
        let drawn = scram::hash(&[&self.seed, name.as_bytes()].concat());
        let (first, _) = drawn.split_first_chunk()?;
        let at = u64::from_be_bytes(*first).checked_rem(self.usable.len() as u64)?;
        let name = self.usable.get(usize::try_from(at).ok()?)?;
        self.users.get(name)?.hash.as_ref().ok()
    }

    /// Whether this is the user's password. It takes as long for a user who does not exist.
    ///
    /// # Errors
    /// A sentence: it cannot be told now.
    pub fn check(&self, name: &str, password: &[u8]) -> Result<Login, String> {
        match self.users.get(name).map(|user| &user.hash) {
            Some(Ok(hash)) if hash.is_of(password)? => Ok(Login::Right),
            Some(Ok(_)) => Ok(Login::Wrong("the password is wrong")),
            missing => {
                if let Some(model) = self.model(name) {
                    model.is_of(password)?;
                }
                Ok(Login::Wrong(match missing {
                    None => "there is no such user",
                    Some(_) => "the hash of this user is of no use; see minimta --check",
                }))
            }
        }
    }

    /// What SCRAM needs of a user; of one who does not exist, what looks like it. `None`: SCRAM is not offered.
    pub fn verifier(&self, name: &str) -> Option<Verifier> {
        let known = self
            .users
            .get(name)
            .and_then(|user| user.hash.as_ref().ok());
        if let Some(verifier) = known.and_then(Hash::verifier) {
            return Some(verifier.clone());
        }
        let model = self.model(name).and_then(Hash::verifier)?;
        Some(model.decoy(&self.seed, name))
    }

    /// What a user may send as, beside his own name.
    pub fn senders(&self, name: &str) -> &[Sender] {
        self.users.get(name).map_or(&[], |user| &user.senders)
    }
}

/// A domain has a dot or an @ before it: files of other programs have numbers in this place.
fn sender(entry: &str) -> Option<Sender> {
    if entry == "*" {
        return Some(Sender::Anything);
    }
    if let Some(domain) = entry.strip_prefix('@') {
        return Domain::parse(domain).ok().map(Sender::Domain);
    }
    if entry.contains('@') {
        return Mailbox::parse(entry).ok().map(Sender::Address);
    }
    let domain = Domain::parse(entry).ok().map(Sender::Domain);
    domain.filter(|_| entry.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// Of "secret", cheap to check.
    const CHEAP: &str = "$5$saltstring$C3o4O1TC6aRHF4FI.QSZMXtHbaj2gSXr4sUc/3NcUi.";
    /// Of "pencil".
    const SCRAM: &str = "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    #[test]
    fn lines_are_users_or_flaws() {
        // A line, how many can log in by it, a part of the flaw.
        let rows: &[(&str, usize, &str)] = &[
            ("alice:HASH", 1, ""),
            (" alice:HASH \r", 1, ""),
            ("alice:HASH:", 1, ""),
            (
                "me@example.org:HASH:info@example.org, @localhost,shop.example,*",
                1,
                "",
            ),
            ("\u{e4}lice:HASH", 1, ""),
            ("", 0, ""),
            ("# alice:HASH", 0, ""),
            ("alice", 0, "line 1 is no name:hash"),
            ("alice:", 0, "line 1 is no name:hash"),
            (":HASH", 0, "line 1 is no name:hash"),
            ("al\u{7}ice:HASH", 0, "line 1 is no name:hash"),
            (
                "alice:secret",
                0,
                "line 1: alice cannot log in: the hash is none",
            ),
            ("alice:$1$saltstri$x", 0, "kind that is not known here"),
            (
                "alice:HASH\nalice:HASH",
                1,
                "line 2: alice stands there a second time",
            ),
            (
                "alice:HASH:19000:0:99999:7:::",
                1,
                "alice cannot send as 19000",
            ), // a line of /etc/shadow
            (
                "alice:HASH:1000:1000::/home/alice",
                1,
                "alice cannot send as 1000",
            ),
        ];
        for (line, usable, flaw) in rows {
            let list = List::parse(&line.replace("HASH", CHEAP));
            let flaws = list.flaws().join("|");
            assert_eq!(list.len(), *usable, "{line}");
            assert!(
                flaws.contains(flaw) && flaw.is_empty() == flaws.is_empty(),
                "{line}: {flaws}"
            );
            assert!(!flaws.contains("secret"), "{flaws}");
        }
        let list = List::parse(&format!("a:{CHEAP}:b@x.example,@y,z.example,*"));
        let domain = |d| Sender::Domain(Domain::parse(d).unwrap());
        assert_eq!(
            list.senders("a"),
            [
                Sender::Address(Mailbox::parse("b@x.example").unwrap()),
                domain("y"),
                domain("z.example"),
                Sender::Anything
            ]
        );
        assert!(list.senders("b").is_empty());
    }

    #[test]
    fn only_the_right_name_with_the_right_password_is_let_in() {
        let text = format!("alice:{CHEAP}\nbob:{SCRAM}\nlocked:*\n");
        let list = List::parse(&text);
        let wrong = Login::Wrong;
        let rows = [
            ("alice", "secret", Login::Right),
            ("bob", "pencil", Login::Right),
            ("alice", "Secret", wrong("the password is wrong")),
            ("alice", "", wrong("the password is wrong")),
            ("bob", "secret", wrong("the password is wrong")),
            ("Alice", "secret", wrong("there is no such user")),
            ("root", "secret", wrong("there is no such user")),
            ("", "secret", wrong("there is no such user")),
            // D19: nothing but a whole name is looked up
            ("*)(uid=*", "secret", wrong("there is no such user")),
            ("../x", "secret", wrong("there is no such user")),
            ("alice:", "secret", wrong("there is no such user")),
            (
                "locked",
                "*",
                wrong("the hash of this user is of no use; see minimta --check"),
            ),
        ];
        for (name, password, expected) in rows {
            assert_eq!(
                list.check(name, password.as_bytes()),
                Ok(expected),
                "{name} {password}"
            );
        }
        let long = "x".repeat(5000);
        assert_eq!(
            list.check(&long, long.as_bytes()),
            Ok(wrong("there is no such user"))
        );
        assert_eq!(
            List::default().check("alice", b"secret"),
            Ok(wrong("there is no such user"))
        );
    }

    #[test]
    fn scram_is_offered_where_everybody_can_use_it() {
        use Mechanism::{Login, Plain, ScramSha256};
        let names = |text: String| List::parse(&text).mechanisms();
        assert_eq!(names(String::new()), []);
        assert_eq!(names("alice:*".to_owned()), []);
        assert_eq!(names(format!("a:{CHEAP}")), [Plain, Login]);
        assert_eq!(names(format!("a:{CHEAP}\nb:{SCRAM}")), [Plain, Login]);
        assert_eq!(
            names(format!("a:*\nb:{SCRAM}")),
            [ScramSha256, Plain, Login]
        );
        let list = List::parse(&format!("bob:{SCRAM}"));
        let decoy = list.verifier("alice");
        assert!(list.verifier("bob").is_some() && decoy.is_some());
        // The same each time, or it would show that there is nobody.
        assert!(decoy == list.verifier("alice") && decoy != list.verifier("carol"));
        assert!(decoy.unwrap().to_string().starts_with("4096,"));
        assert!(List::parse(&format!("a:{CHEAP}")).verifier("a").is_none());
        // Where users have different ones, so have those who do not exist.
        let other = SCRAM.replace("4096,", "8192,");
        let list = List::parse(&format!("bob:{SCRAM}\nben:{other}"));
        let names = (0..64).map(|n| list.verifier(&format!("x{n}")).unwrap().to_string());
        let many = names.filter(|v| v.starts_with("8192,")).count();
        assert!((8..56).contains(&many), "{many} of 64");
    }

    #[test]
    fn the_file_is_read_again_when_it_changes() {
        let folder = std::env::temp_dir().join(format!("minimta-users-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("users");
        let users = Users::new(&path);
        let count = || users.list().map(|list| list.len());
        assert_eq!(count(), Ok(0)); // it need not be there
        let write = |text: &str, mode| {
            let new = folder.join("new");
            std::fs::write(&new, text).unwrap();
            std::fs::set_permissions(&new, std::fs::Permissions::from_mode(mode)).unwrap();
            std::fs::rename(&new, &path).unwrap();
        };
        write(&format!("a:{CHEAP}"), 0o640);
        assert_eq!(count(), Ok(1));
        let (one, two) = (users.list().unwrap(), users.list().unwrap());
        assert!(Arc::ptr_eq(&one, &two)); // and not before
        write(&format!("a:{CHEAP}\nb:{CHEAP}"), 0o600);
        assert_eq!(count(), Ok(2));
        write(&format!("a:{CHEAP}"), 0o644);
        assert!(
            count()
                .unwrap_err()
                .ends_with(&format!("run: chmod 0640 {}", path.display()))
        );
        write(&format!("\u{feff}a:{CHEAP}"), 0o600);
        assert!(users.list().unwrap().users.contains_key("a"));
        write("a:\u{fffd}", 0o600);
        assert_eq!(count(), Ok(0));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(count(), Ok(0));
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        assert!(count().unwrap_err().contains("is no ordinary file"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
