//! The alias file: read when it is first asked for, and again when it has changed, which is looked for once a second
//! at most.
//!
//! What is running never loses its aliases to a slip: a file that is being written, is gone or has nothing in it any
//! more leaves those that were read before in place, until the program is told to read its configuration again. A
//! file that cannot be read, or has a line that cannot, lets mail wait; nobody is called unknown because of it. The same
//! holds for whoever has read none before and meets one that was written just now and is empty, or ends within a line:
//! the rest of it may be on its way.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::events;
use crate::host::listed;
use crate::host::secret::Version;
use crate::proto::alias::Table;

/// How long what was found is not looked for again.
const RECENT: Duration = Duration::from_secs(1);
/// How long a file that was written must have been left alone.
const SETTLED: Duration = Duration::from_secs(2);

/// The alias file of a configuration.
#[derive(Debug)]
pub struct Aliases {
    path: PathBuf,
    held: Mutex<Option<Held>>,
}

#[derive(Debug)]
struct Held {
    /// What was read; `None` for what is to be read again: once it has settled, or, after a first time, at the next look.
    /// Whoever hands in one message looks once, and needs not know what he has read.
    version: Option<Version>,
    looked: Instant,
    table: Result<Arc<Table>, String>,
}

impl Aliases {
    /// Nothing is read yet; the file need not be there.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            held: Mutex::new(None),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The aliases as they are now.
    ///
    /// # Errors
    /// A sentence with its remedy: they cannot be told.
    pub fn table(&self) -> Result<Arc<Table>, String> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = held.as_mut() {
            if held.looked.elapsed() < RECENT {
                return held.table.clone();
            }
            held.looked = Instant::now();
            let version = Some(Version::of(&self.path));
            if version == held.version || self.is_being_written() {
                return held.table.clone();
            }
            held.version = version;
            held.table = match (self.read(), &held.table) {
                (Ok(new), Ok(old)) if new.len() == 0 && old.len() > 0 => {
                    let text = format!(
                        "the alias file {} has nothing in it any more; what it said before counts until the \
                         configuration is read again",
                        self.path.display()
                    );
                    events::trouble("-", &text);
                    Ok(Arc::clone(old))
                }
                (new, _) => new,
            };
            return held.table.clone();
        }
        let mut table = self.read();
        // Its time is looked at after it was read: what is cut off in between is not taken for an old file.
        if table.as_ref().is_ok_and(|table| table.is_cut()) && self.is_being_written() {
            let text = format!(
                "the alias file {} was changed just now and does not end with a whole line; it is read again when it \
                 has been left alone for {} seconds",
                self.path.display(),
                SETTLED.as_secs()
            );
            events::trouble("-", &text);
            table = Err(text);
        }
        *held = Some(Held {
            version: None,
            looked: Instant::now(),
            table: table.clone(),
        });
        table
    }

    /// Whether it was changed a moment ago. Of a file from the future the clock was wrong then, or is now.
    fn is_being_written(&self) -> bool {
        let changed = std::fs::metadata(&self.path).and_then(|m| m.modified());
        let now = SystemTime::now();
        changed.is_ok_and(|at| {
            let age = now.duration_since(at);
            age.unwrap_or_else(|ahead| ahead.duration()) < SETTLED
        })
    }

    fn read(&self) -> Result<Arc<Table>, String> {
        let read = listed::read(&self.path);
        let octets = read
            .inspect_err(|why| events::trouble("-", why))?
            .unwrap_or_default();
        let text = String::from_utf8(octets)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        Ok(Arc::new(Table::parse(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::mailbox::scratch::Scratch;
    use std::fs::{self, File};

    /// Lets a second pass.
    fn later(aliases: &Aliases) {
        let mut held = aliases.held.lock().unwrap();
        let held = held.as_mut().unwrap();
        held.looked = Instant::now().checked_sub(RECENT).unwrap();
    }

    fn write(path: &Path, text: &str, age: i64) {
        fs::write(path, text).unwrap();
        set_age(path, age);
    }

    /// A negative one: it comes from the future.
    fn set_age(path: &Path, age: i64) {
        let seconds = Duration::from_secs(age.unsigned_abs());
        let at = match age < 0 {
            true => SystemTime::now() + seconds,
            false => SystemTime::now() - seconds,
        };
        File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_modified(at)
            .unwrap();
    }

    #[test]
    fn what_was_read_stays_until_there_is_something_better() {
        let scratch = Scratch::new("alias-file");
        let path = scratch.path("aliases");
        let aliases = Aliases::new(&path);
        let names = || -> Vec<String> {
            let table = aliases.table().unwrap();
            table.names().map(str::to_owned).collect()
        };
        assert!(names().is_empty());
        write(&path, "root: alice\n", 10);
        assert!(names().is_empty()); // not looked at again within a second
        later(&aliases);
        assert_eq!(names(), ["root"]);
        // J28: half-written, empty, gone.
        write(&path, "root: al", 0);
        later(&aliases);
        assert_eq!(names(), ["root"]);
        assert_eq!(
            aliases
                .table()
                .unwrap()
                .get("root")
                .unwrap()
                .unwrap()
                .1
                .len(),
            1
        );
        write(&path, "# all gone\n", 10);
        later(&aliases);
        assert_eq!(names(), ["root"]);
        fs::remove_file(&path).unwrap();
        later(&aliases);
        assert_eq!(names(), ["root"]);
        write(&path, "bob: carol\nthis is no line\n", 10);
        later(&aliases);
        assert_eq!(names(), ["bob"]);
        assert!(aliases.table().unwrap().is_doubtful());
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        File::open(&path)
            .unwrap()
            .set_modified(SystemTime::UNIX_EPOCH)
            .unwrap();
        later(&aliases);
        assert!(aliases.table().unwrap_err().contains("is no ordinary file"));
    }

    /// Whoever starts while the file is being written: a run of cron's, a submission, a daemon.
    #[test]
    fn a_file_that_is_being_written_at_the_start_lets_mail_wait() {
        let scratch = Scratch::new("alias-start");
        let path = scratch.path("aliases");
        // Its text, its age, and whether it counts.
        let rows = [
            ("", -1, false), // for as long as the test takes
            ("root: al", -1, false),
            ("root: alice\n", 0, true),
            ("", 10, true),
            ("root: alice", 10, true),
            ("", -3600, true), // the clock was set back
            ("root: al", -3600, true),
        ];
        for (text, age, counts) in rows {
            write(&path, text, age);
            let aliases = Aliases::new(&path);
            let read = aliases.table();
            assert_eq!(read.is_ok(), counts, "{text:?} {age} {read:?}");
            later(&aliases);
            assert_eq!(aliases.table().is_ok(), counts, "{text:?} {age}");
            // Left alone it counts, though nothing else has changed.
            set_age(&path, 10);
            later(&aliases);
            let names = usize::from(!text.is_empty());
            assert_eq!(aliases.table().unwrap().len(), names, "{text:?} {age}");
        }
        // What was emptied and comes back.
        write(&path, "", -1);
        let aliases = Aliases::new(&path);
        let why = aliases.table().unwrap_err();
        assert!(why.contains("was changed just now"), "{why}");
        write(&path, "sales: alice\n", 3);
        later(&aliases);
        assert!(aliases.table().unwrap().has("sales"));
    }
}
