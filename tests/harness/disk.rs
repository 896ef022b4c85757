//! A disk as POSIX promises it, no more: from the steps that the program wrote down (`MINIMTA_RECORD`) to all that
//! may be found after the power went at any point between two of them.
//!
//! What was synced is there. Of the rest each part may be there or not, whatever its order was:
//!
//! - names: each one may be what it was when its folder was synced last, or anything it has been since, and that
//!   whatever becomes of all others. So a change of name may have happened in one folder and not in the other: the file
//!   has both names, or none, as on a file system without a journal. And where a file has taken the place of another that
//!   had no other name, the old one may be gone and the new one not there yet
//! - octets written since their file was synced: of up to [`EACH`] writes, each one by itself is there, or not, or is
//!   zeros, or half of it is there; of more, all, none, any one without the others, and all without any one. And the
//!   file may have grown by less than was written

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
    Exchange(PathBuf, PathBuf),
    Link(PathBuf, PathBuf),
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
        "exchange" => Step::Exchange(first.into(), second.into()),
        "link" => Step::Link(first.into(), second.into()),
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

/// A change of octets that the file's sync would make sure of.
#[derive(Debug, Clone)]
enum Edit {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

/// What has become of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Lost,
    Zeros,
    Half,
    Done,
}

const FATES: [Fate; 4] = [Fate::Lost, Fate::Zeros, Fate::Half, Fate::Done];

impl Edit {
    fn apply(&self, octets: &mut Vec<u8>, fate: Fate) {
        match (self, fate) {
            (_, Fate::Lost) => {}
            (Self::Write(at, new), _) => {
                let end = at + new.len();
                if octets.len() < end {
                    octets.resize(end, 0);
                }
                let there = match fate {
                    Fate::Lost | Fate::Zeros => 0,
                    Fate::Half => new.len() / 2,
                    Fate::Done => new.len(),
                };
                if fate == Fate::Zeros {
                    octets[*at..end].fill(0);
                }
                octets[*at..at + there].copy_from_slice(&new[..there]);
            }
            (Self::Truncate(length), _) => octets.truncate(*length),
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
    /// What each name has been since its folder was synced.
    since: BTreeMap<PathBuf, Vec<Option<Inode>>>,
}

/// So many ways in which names may be found are the most; the steps of a message make far fewer.
const MOST_NAMES: usize = 4096;
/// Of so many writes each is decided by itself.
const EACH: usize = 3;

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
        // Another name of a file that is known.
        if let Some(inode) = self.numbers.get(&meta.ino()) {
            self.seen.insert(path.to_owned(), *inode);
            return;
        }
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
                self.name(path, Some(inode));
            }
            Step::Folder(path) => {
                let inode = self.add(true);
                self.name(path, Some(inode));
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
                        edit.apply(&mut file.safe, Fate::Done);
                    }
                }
            }
            Step::SyncFolder(folder) => {
                let (seen, safe) = (&self.seen, &mut self.safe);
                self.since.retain(|path, _| {
                    if path.parent() != Some(folder) {
                        return true;
                    }
                    match seen.get(path) {
                        Some(inode) => safe.insert(path.clone(), *inode),
                        None => safe.remove(path),
                    };
                    false
                });
            }
            Step::Link(from, to) => {
                if let Some(inode) = self.seen.get(from).copied() {
                    self.name(to, Some(inode));
                }
            }
            Step::Rename(from, to) => {
                if let Some(inode) = self.seen.get(from).copied() {
                    self.name(to, Some(inode));
                    self.name(from, None);
                }
            }
            Step::Exchange(one, other) => {
                let both = [one, other].map(|path| self.seen.get(path).copied());
                if let [Some(first), Some(second)] = both {
                    // At no moment has either of them no name.
                    self.seen.insert(one.clone(), second);
                    self.name(other, Some(first));
                    self.name(one, Some(second));
                }
            }
            Step::Remove(path) => {
                if self.seen.contains_key(path) {
                    self.name(path, None);
                }
            }
            Step::Mark(_) => {}
        }
    }

    fn name(&mut self, path: &Path, inode: Option<Inode>) {
        let before = match inode {
            Some(inode) => self.seen.insert(path.to_owned(), inode),
            None => self.seen.remove(path),
        };
        self.since.entry(path.to_owned()).or_default().push(inode);
        // What has no name any more may be gone before it is on the disk what stands in its place.
        let is_named = |inode: &Inode| self.seen.values().any(|named| named == inode);
        let Some(gone) = before.filter(|inode| !is_named(inode)) else {
            return;
        };
        for (path, since) in &mut self.since {
            let was_it = self.safe.get(path) == Some(&gone) || since.contains(&Some(gone));
            if was_it && !since.contains(&None) {
                since.push(None);
            }
        }
    }

    fn edit(&mut self, number: u64, edit: Edit) {
        if let Some(inode) = self.numbers.get(&number) {
            self.files[*inode].edits.push(edit);
        }
    }

    /// All that may be found when the power goes now.
    pub fn after_a_cut(&self) -> BTreeSet<Tree> {
        let mut all = BTreeSet::from([self.safe.clone()]);
        for (path, since) in &self.since {
            for names in all.clone() {
                for inode in since {
                    let mut names = names.clone();
                    match inode {
                        Some(inode) => names.insert(path.clone(), *inode),
                        None => names.remove(path),
                    };
                    all.insert(names);
                }
            }
            assert!(all.len() <= MOST_NAMES, "{:?}", self.since);
        }
        let mut found = BTreeSet::new();
        all.iter()
            .for_each(|names| self.with_octets(names, &mut found));
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
        let number = self.edits.len();
        let with = |fate: &dyn Fn(usize) -> Fate| {
            let mut octets = self.safe.clone();
            for (at, edit) in self.edits.iter().enumerate() {
                edit.apply(&mut octets, fate(at));
            }
            octets
        };
        let mut found = BTreeSet::new();
        if number <= EACH {
            for code in 0..FATES.len().pow(u32::try_from(number).unwrap()) {
                let digit = |at: usize| code / FATES.len().pow(u32::try_from(at).unwrap());
                found.insert(with(&|at| FATES[digit(at) % FATES.len()]));
            }
        }
        for fate in FATES {
            found.insert(with(&|_| fate));
            for one in 0..number {
                found.insert(with(&|at| if at == one { fate } else { Fate::Done }));
                found.insert(with(&|at| if at == one { Fate::Done } else { fate }));
            }
        }
        let all = with(&|_| Fate::Done);
        if all.len() > self.safe.len() {
            found.insert(all[..self.safe.len() + (all.len() - self.safe.len()) / 2].to_vec());
            found.insert(all[..all.len() - 1].to_vec());
        }
        found.into_iter().collect()
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
