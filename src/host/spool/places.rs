//! The few places that each user has for processes that deliver in the background after a submission: locks, so that a
//! burst of mail makes no burst of processes. Nobody has a place of another's: a process is its user's, who can stop it,
//! and it tries no mail of others; so whoever finds no place can leave his message to one who has one.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Folder, Spool, has_age, open};
use crate::host::durable;

/// What the names of all these files begin with.
const PLACE: &str = "place.";
/// How long they stay: who has a place for longer is not counted any more.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A place among those who deliver in the background, until it is dropped.
#[derive(Debug)]
pub struct Place {
    /// Whose it is.
    user: u32,
    _lock: Option<File>,
}

impl Spool {
    /// One of so many places of a user for processes that deliver in the background. `None` when all are taken: then one of
    /// those who have them will look for messages that were left ([`Spool::next_wanted`]).
    pub fn place(&self, user: u32, places: usize) -> Option<Place> {
        self.free_place(user, places).or_else(|| {
            // Asked for first and then looked once more: a place given up in between was given up without
            // knowing of us.
            let _ = self.open_shared(&self.wanted(user));
            self.free_place(user, places)
        })
    }

    /// Gives up a place, unless its user found none in the meantime: then there is more to do in it.
    pub fn next_wanted(&self, place: Place, places: usize) -> Option<Place> {
        let user = place.user;
        drop(place);
        durable::remove(&self.wanted(user)).ok()?;
        // Whoever has taken it by now was not asked for what was left to us, and is.
        self.place(user, places)
    }

    /// Removes files of places that nobody has.
    pub(super) fn sweep_places(&self) {
        let names = fs::read_dir(self.root.join(Folder::Tmp.name()));
        for name in names.into_iter().flatten().flatten() {
            let is_place = |name: &OsStr| name.as_encoded_bytes().starts_with(PLACE.as_bytes());
            if !is_place(&name.file_name()) {
                continue;
            }
            let path = name.path();
            if let Ok(file) = open(&path)
                && has_age(&file, DAY)
                && file.try_lock().is_ok()
            {
                let _ = durable::remove(&path);
            }
        }
    }

    /// The file that says that a user found no place. It stands, as the places do, where every user's process of minimta
    /// may make files.
    fn wanted(&self, user: u32) -> PathBuf {
        self.path(Folder::Tmp, &format!("{PLACE}{user}.wanted"))
    }

    fn free_place(&self, user: u32, places: usize) -> Option<Place> {
        (0..places).find_map(|number| {
            // Where no such file can be made there is no such limit, and a message is not delayed for it.
            let path = self.path(Folder::Tmp, &format!("{PLACE}{user}.{number}"));
            let Ok(file) = self.open_shared(&path) else {
                return Some(Place { user, _lock: None });
            };
            // One that was swept just now is none, and has no name any more.
            let is_there = || file.metadata().is_ok_and(|meta| meta.nlink() > 0);
            (file.try_lock().is_ok() && is_there()).then_some(Place {
                user,
                _lock: Some(file),
            })
        })
    }

    fn open_shared(&self, path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o660)
            .custom_flags(durable::NO_FOLLOW);
        options.open(path)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::host::mailbox::scratch::Scratch;

    #[test]
    fn each_user_has_places_and_nobody_waits_for_another() {
        let scratch = Scratch::new("places");
        let spool = Spool::new(&scratch.path("spool"), 0, 100);
        spool.create().unwrap();
        let first = spool.place(1, 2).unwrap();
        let second = spool.place(1, 2).unwrap();
        assert!(spool.place(1, 2).is_none());
        let other = spool.place(2, 2).unwrap();
        // Nobody has asked for this one; of the others one does what was asked for, and the next has nothing to do.
        assert!(spool.next_wanted(other, 2).is_none());
        let second = spool.next_wanted(second, 2).unwrap();
        assert!(spool.next_wanted(second, 2).is_none());
        assert!(spool.next_wanted(first, 2).is_none());
    }

    #[test]
    fn places_that_nobody_has_are_swept_in_the_end() {
        let scratch = Scratch::new("places-swept");
        let spool = Spool::new(&scratch.path("spool"), 0, 100);
        spool.create().unwrap();
        let taken = spool.place(1, 1).unwrap();
        assert!(spool.place(1, 1).is_none());
        drop(spool.place(2, 1).unwrap());
        let names = || {
            let names = fs::read_dir(scratch.path("spool/tmp")).unwrap();
            let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
            let mut names: Vec<_> = names.map(name).collect();
            names.sort();
            names
        };
        spool.sweep(&mut |_| {});
        assert_eq!(names(), ["place.1.0", "place.1.wanted", "place.2.0"]);
        for name in names() {
            let file = File::open(scratch.path("spool/tmp").join(name)).unwrap();
            file.set_modified(SystemTime::now() - 2 * DAY).unwrap();
        }
        spool.sweep(&mut |_| {});
        assert_eq!(names(), ["place.1.0"]);
        drop(taken);
        assert!(spool.place(1, 1).is_some());
    }
}
