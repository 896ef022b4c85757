//! The few places for processes that deliver in the background after a submission: locks, so that a burst of mail makes
//! no burst of processes.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{Folder, Spool};
use crate::host::durable;

/// The file that says that somebody found no place.
const WANTED: &str = "place.wanted";

/// A place among those who deliver in the background, until it is dropped.
#[derive(Debug)]
pub struct Place {
    _lock: Option<File>,
}

impl Spool {
    /// One of a few places for processes that deliver in the background. `None` when all are taken: then one of
    /// those who have them will look for messages that were left ([`Spool::next_wanted`]).
    pub fn place(&self, places: usize) -> Option<Place> {
        self.free_place(places).or_else(|| {
            // Asked for first and then looked once more: a place given up in between was given up without
            // knowing of us.
            let _ = self.open_shared(&self.wanted());
            self.free_place(places)
        })
    }

    /// Gives up a place, unless somebody found none in the meantime: then there is more to do in it.
    pub fn next_wanted(&self, place: Place, places: usize) -> Option<Place> {
        drop(place);
        durable::remove(&self.wanted()).ok()?;
        self.free_place(places)
    }

    /// It stands, as the places do, where every user's process of minimta may make files.
    fn wanted(&self) -> PathBuf {
        self.path(Folder::Tmp, WANTED)
    }

    fn free_place(&self, places: usize) -> Option<Place> {
        (0..places).find_map(|number| {
            // Where no such file can be made there is no such limit, and a message is not delayed for it.
            let path = self.path(Folder::Tmp, &format!("place.{number}"));
            let Ok(file) = self.open_shared(&path) else {
                return Some(Place { _lock: None });
            };
            file.try_lock()
                .is_ok()
                .then_some(Place { _lock: Some(file) })
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
