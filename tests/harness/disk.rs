//! A disk as POSIX promises it, no more: from the steps that the program wrote down (`MINIMTA_RECORD`) to all that
//! may be found after the power went at any point between two of them.
//!
//! What was synced is there. Of the rest each part may be there or not, whatever its order was:
//!
//! - a name made, removed or changed since its folder was synced. A change of name is whole or did not happen, as
//!   on every file system with a journal or a log; and of one between two folders the old name may be left behind,
//!   as on one without (the file then has two)
//! - octets written since their file was synced: none of them, all, the first half, zeros in their place, or any
//!   one write without the others

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file or folder by a number that is never used again.
type Inode = usize;

/// One line of the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Create(u64, PathBuf),
    Folder(PathBuf),
    Write(u64, u64, Vec<u8>),
    Truncate(u64, u64),
    Sync(u64),
    SyncFolder(PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    /// Something a test wrote into the record: what the world has seen at this point.
    Mark(String),
}

/// Reads a record.
pub fn record(path: &Path) -> Vec<Step> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(step).collect()
}

/// Writes into a record what the world has just seen.
pub fn mark(path: &Path, what: &str) {
    let file = fs::File::options().append(true).create(true).open(path);
    file.unwrap()
        .write_all(format!("mark {what}\n").as_bytes())
        .unwrap();
}

fn step(line: &str) -> Step {
    let mut words = line.split(' ');
    let mut word = || words.next().unwrap_or_default();
    let (verb, first, second, third) = (word(), word(), word(), word());
    let number = |word: &str| word.parse::<u64>().unwrap();
    match verb {
        "create" => Step::Create(number(first), second.into()),
        "folder" => Step::Folder(first.into()),
        "write" => Step::Write(number(first), number(second), octets(third)),
        "truncate" => Step::Truncate(number(first), number(second)),
        "sync" => Step::Sync(number(first)),
        "sync-folder" => Step::SyncFolder(first.into()),
        "rename" => Step::Rename(first.into(), second.into()),
        "remove" => Step::Remove(first.into()),
        "mark" => Step::Mark(line["mark ".len()..].to_owned()),
        _ => panic!("a line of the record is none: {line:?}"),
    }
}

fn octets(hex: &str) -> Vec<u8> {
    let pair = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(pair).collect()
}

/// What stands under a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    Folder,
    /// A file's octets, and the number that its other name would have too.
    File(Inode, Vec<u8>),
}

/// What may be found after a cut: nodes by path, folders before what is in them.
pub type Tree = BTreeMap<PathBuf, Node>;

/// A change of names that its folder's sync would make sure of.
#[derive(Debug, Clone)]
enum Change {
    Add(PathBuf, Inode),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf, Inode),
}

impl Change {
    /// The folder whose sync makes sure of it. Of a change of name the new one decides: with it the old one is gone,
    /// or left over.
    fn folder(&self) -> &Path {
        match self {
            Self::Add(path, _) | Self::Remove(path) | Self::Rename(_, path, _) => {
                path.parent().unwrap()
            }
        }
    }
}

/// A change of octets that the file's sync would make sure of.
#[derive(Debug, Clone)]
enum Edit {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

impl Edit {
    fn apply(&self, octets: &mut Vec<u8>, zeros: bool) {
        match self {
            Self::Write(at, new) => {
                let end = at + new.len();
                if octets.len() < end {
                    octets.resize(end, 0);
                }
                if !zeros {
                    octets[*at..end].copy_from_slice(new);
                }
            }
            Self::Truncate(length) => octets.truncate(*length),
        }
    }
}

#[derive(Debug, Clone, Default)]
struct File {
    is_folder: bool,
    safe: Vec<u8>,
    edits: Vec<Edit>,
}

/// The disk and all that is not yet on it.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    files: Vec<File>,
    /// The system's number of a file, which it gives anew, to ours.
    numbers: HashMap<u64, Inode>,
    /// Names as the program sees them, and as they are on the disk for sure.
    seen: BTreeMap<PathBuf, Inode>,
    safe: BTreeMap<PathBuf, Inode>,
    changes: Vec<Change>,
}

/// At most so many changes of names are undecided at a time; the steps of a message are far fewer.
const MOST_CHANGES: usize = 10;

impl Disk {
    /// These folders with all that is in them now, all of it on the disk; one that is not there yet may come.
    pub fn read(folders: &[PathBuf]) -> Self {
        let mut disk = Self::default();
        for folder in folders {
            disk.read_in(folder);
        }
        disk.safe = disk.seen.clone();
        disk
    }

    fn read_in(&mut self, path: &Path) {
        let Ok(meta) = fs::symlink_metadata(path) else {
            return;
        };
        let inode = self.add(meta.is_dir());
        self.seen.insert(path.to_owned(), inode);
        if meta.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                self.read_in(&entry.unwrap().path());
            }
        } else {
            self.files[inode].safe = fs::read(path).unwrap();
            self.numbers.insert(meta.ino(), inode);
        }
    }

    fn add(&mut self, is_folder: bool) -> Inode {
        self.files.push(File {
            is_folder,
            ..File::default()
        });
        self.files.len() - 1
    }

    /// Takes a step. What happens outside of the folder is no concern of this disk.
    pub fn take(&mut self, step: &Step) {
        match step {
            Step::Create(number, path) => {
                // Opened to be appended to: the same file as before.
                if self.seen.contains_key(path) {
                    return;
                }
                let inode = self.add(false);
                self.numbers.insert(*number, inode);
                self.name(path, inode);
            }
            Step::Folder(path) => {
                let inode = self.add(true);
                self.name(path, inode);
            }
            Step::Write(number, at, octets) => {
                let edit = Edit::Write(usize::try_from(*at).unwrap(), octets.clone());
                self.edit(*number, edit);
            }
            Step::Truncate(number, length) => {
                self.edit(*number, Edit::Truncate(usize::try_from(*length).unwrap()));
            }
            Step::Sync(number) => {
                if let Some(inode) = self.numbers.get(number) {
                    let file = &mut self.files[*inode];
                    for edit in std::mem::take(&mut file.edits) {
                        edit.apply(&mut file.safe, false);
                    }
                }
            }
            Step::SyncFolder(folder) => {
                for change in std::mem::take(&mut self.changes) {
                    if change.folder() == folder {
                        apply(&mut self.safe, &change, false);
                    } else {
                        self.changes.push(change);
                    }
                }
            }
            Step::Rename(from, to) => {
                if let Some(inode) = self.seen.remove(from) {
                    self.seen.insert(to.clone(), inode);
                    self.changes
                        .push(Change::Rename(from.clone(), to.clone(), inode));
                }
            }
            Step::Remove(path) => {
                if self.seen.remove(path).is_some() {
                    self.changes.push(Change::Remove(path.clone()));
                }
            }
            Step::Mark(_) => {}
        }
    }

    fn name(&mut self, path: &Path, inode: Inode) {
        self.seen.insert(path.to_owned(), inode);
        self.changes.push(Change::Add(path.to_owned(), inode));
    }

    fn edit(&mut self, number: u64, edit: Edit) {
        if let Some(inode) = self.numbers.get(&number) {
            self.files[*inode].edits.push(edit);
        }
    }

    /// All that may be found when the power goes now.
    pub fn after_a_cut(&self) -> BTreeSet<Tree> {
        assert!(self.changes.len() <= MOST_CHANGES, "{:?}", self.changes);
        let mut found = BTreeSet::new();
        for kept in 0..1u32 << self.changes.len() {
            let is_kept = |at: usize| kept & (1 << at) != 0;
            for both in [false, true] {
                let mut names = self.safe.clone();
                for (at, change) in self.changes.iter().enumerate() {
                    if is_kept(at) {
                        apply(&mut names, change, both);
                    }
                }
                self.with_octets(&names, &mut found);
            }
        }
        found
    }

    /// These names with each octets that their files may have.
    fn with_octets(&self, names: &BTreeMap<PathBuf, Inode>, found: &mut BTreeSet<Tree>) {
        let mut trees = vec![Tree::new()];
        for (path, inode) in names {
            // What is in a folder that is not there is not there; above the first ones all is well.
            let above = path.parent().unwrap();
            if self.seen.contains_key(above) && !trees.iter().all(|t| t.contains_key(above)) {
                continue;
            }
            let file = &self.files[*inode];
            if file.is_folder {
                for tree in &mut trees {
                    tree.insert(path.clone(), Node::Folder);
                }
                continue;
            }
            let mut grown = Vec::new();
            for tree in &trees {
                // Under its other name it holds the same.
                let other = tree.values().find_map(|node| match node {
                    Node::File(i, octets) if i == inode => Some(octets.clone()),
                    _ => None,
                });
                let texts = other.map_or_else(|| file.may_hold(), |octets| vec![octets]);
                for text in texts {
                    let mut tree = tree.clone();
                    tree.insert(path.clone(), Node::File(*inode, text));
                    grown.push(tree);
                }
            }
            trees = grown;
        }
        found.extend(trees);
    }
}

impl File {
    fn may_hold(&self) -> Vec<Vec<u8>> {
        let with = |keep: &dyn Fn(usize) -> Option<bool>| {
            let mut octets = self.safe.clone();
            for (at, edit) in self.edits.iter().enumerate() {
                if let Some(zeros) = keep(at) {
                    edit.apply(&mut octets, zeros);
                }
            }
            octets
        };
        let all = with(&|_| Some(false));
        let mut found = BTreeSet::from([with(&|_| None), with(&|_| Some(true))]);
        for one in 0..self.edits.len() {
            found.insert(with(&|at| (at == one).then_some(false)));
            found.insert(with(&|at| (at != one).then_some(false)));
            found.insert(with(&|at| Some(at == one)));
            found.insert(with(&|at| Some(at != one)));
        }
        // A file that grew may have got half of its growth.
        if all.len() > self.safe.len() {
            found.insert(all[..self.safe.len() + (all.len() - self.safe.len()) / 2].to_vec());
            found.insert(all[..all.len() - 1].to_vec());
        }
        found.insert(all);
        found.into_iter().collect()
    }
}

fn apply(names: &mut BTreeMap<PathBuf, Inode>, change: &Change, both: bool) {
    match change {
        Change::Add(path, inode) => {
            names.insert(path.clone(), *inode);
        }
        Change::Remove(path) => {
            names.remove(path);
        }
        Change::Rename(from, to, inode) => {
            if names.get(from) == Some(inode) && !(both && from.parent() != to.parent()) {
                names.remove(from);
            }
            names.insert(to.clone(), *inode);
        }
    }
}

/// Makes these folders what the tree says.
pub fn lay_out(folders: &[PathBuf], tree: &Tree) {
    for folder in folders.iter().filter(|f| f.exists()) {
        fs::remove_dir_all(folder).unwrap();
    }
    let mut first: HashMap<Inode, &Path> = HashMap::new();
    for (path, node) in tree {
        match node {
            Node::Folder => fs::create_dir(path).unwrap(),
            Node::File(inode, octets) => match first.get(inode) {
                Some(other) => fs::hard_link(other, path).unwrap(),
                None => {
                    fs::write(path, octets).unwrap();
                    first.insert(*inode, path);
                }
            },
        }
    }
}
