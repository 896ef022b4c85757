//! The spool, as `--check` looks it over.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::{Finding, Grade, add};
use crate::flow::{Context, parent};
use crate::host::accounts::Account;
use crate::host::spool::Folder;
use crate::host::{accounts, estate, link, privilege, words};

/// Octets that a message takes, with its journal, and the folder that gets its name.
const SMALL: u64 = 32 * 1024;

/// Whether messages can be put into it and taken out again, by whoever does so.
pub fn look(context: &Context, findings: &mut Vec<Finding>) {
    let root = context.spool.root();
    let thing = format!("spool {}", root.display());
    if let Some(why) = barred(context, root) {
        return add(findings, Grade::Error, thing, why);
    }
    match fs::metadata(root) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let parent = root.parent().unwrap_or(Path::new("/"));
            let is_for_root = parent::servant(context).is_ok_and(|servant| servant.is_some());
            let (grade, text) = match privilege::may_write(parent) {
                Ok(()) if is_for_root => (
                    Grade::Warning,
                    "it is not there yet, and others than root cannot hand in mail until minimta -q has made it".to_owned(),
                ),
                Ok(()) => (Grade::Ok, "the first message makes it".to_owned()),
                Err(why) => (
                    Grade::Error,
                    format!(
                        "it is not there, and cannot be made in {}: {why}; make it, or name another one ([queue] spool)",
                        parent.display()
                    ),
                ),
            };
            return add(findings, grade, thing, text);
        }
        // With the group of the program, which is given up here, it may be another matter.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied && !privilege::is_root() => {
            let name = accounts::caller().name;
            let text = format!("closed to {name}; only root can tell how it is");
            return add(findings, Grade::Warning, thing, text);
        }
        Err(e) => return add(findings, Grade::Error, thing, words(&e)),
        Ok(meta) if !meta.is_dir() => return add(findings, Grade::Error, thing, "it is no folder"),
        Ok(meta) if meta.mode() & 0o002 != 0 => {
            return add(
                findings,
                Grade::Error,
                thing,
                format!("everybody may write it; chmod o-w {}", root.display()),
            );
        }
        Ok(_) => {}
    }
    // Only root and its own user may look into it, which is as it should be.
    if let Err(e) = fs::read_dir(root.join("new"))
        && e.kind() == io::ErrorKind::PermissionDenied
        && !privilege::is_root()
    {
        let name = accounts::caller().name;
        let text = format!("closed to {name}, as it should be; only root can tell what is in it");
        return add(findings, Grade::Ok, thing, text);
    }
    let before = findings.len();
    let is_for_root = parent::servant(context).is_ok_and(|servant| servant.is_some());
    if is_for_root && !is_made(context) {
        let text = "its folders are not there yet, and others than root cannot hand in mail until minimta -q has made them";
        add(findings, Grade::Warning, &thing, text);
    }
    if let Some(why) = unfit(context) {
        add(findings, Grade::Error, &thing, why);
    }
    // A disk without any reserve is full, too.
    if let Err(error) = context.spool.has_room(SMALL) {
        add(findings, Grade::Error, &thing, error.to_string());
    }
    for folder in [Folder::Tmp, Folder::New, Folder::Cur, Folder::Hold] {
        if let Err(error) = context.spool.scan(folder) {
            add(findings, Grade::Error, &thing, error.to_string());
        }
    }
    let held = context.spool.scan(Folder::Hold).unwrap_or_default().len();
    match held {
        0 if findings.len() == before => add(findings, Grade::Ok, thing, "usable"),
        0 => {}
        n => {
            let (plural, are) = if n == 1 { ("", "is") } else { ("s", "are") };
            let text = format!("{n} message{plural} {are} on hold; mailq lists them");
            add(findings, Grade::Warning, thing, text);
        }
    }
}

/// What is against a folder that is a link. Only root's process is choosy whose it is.
pub fn barred(context: &Context, folder: &Path) -> Option<String> {
    if parent::servant(context).is_ok_and(|servant| servant.is_some()) {
        return estate::end_of(folder).err().map(|error| error.to_string());
    }
    let is_missing = fs::metadata(folder).is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
    let is_broken = link::is_link(folder) && is_missing;
    is_broken.then(|| {
        "it is a link to a folder that is not there; mount its disk, or make the folder".to_owned()
    })
}

/// Whether all of it is there that whoever hands in mail needs.
pub fn is_made(context: &Context) -> bool {
    let root = context.spool.root();
    root.join("tmp").exists() && root.join("new").exists()
}

/// The first folder in which the group of the program, by which others than root hand in mail, has not the rights that it
/// needs, and what gives them.
pub fn closed(context: &Context, servant: &Account) -> Option<(PathBuf, &'static str)> {
    let root = context.spool.root();
    let folders = [
        (root.to_owned(), 0o010, "g+x"),
        (root.join("tmp"), 0o030, "g+wx"),
        (root.join("new"), 0o030, "g+wx"),
    ];
    let closed = folders.into_iter().find(|(folder, bits, _)| {
        // What is missing is told elsewhere.
        fs::metadata(folder).is_ok_and(|f| f.gid() != servant.gid || f.mode() & bits != *bits)
    });
    closed.map(|(folder, _, remedy)| (folder, remedy))
}

/// What is against putting a file into one of its folders, although it is there.
fn unfit(context: &Context) -> Option<String> {
    let servant = parent::servant(context).ok().flatten();
    let root = context.spool.root();
    let below = ["tmp", "new", "cur", "hold"].map(|name| root.join(name));
    let mut folders = std::iter::once(root.to_owned()).chain(below);
    folders.find_map(|folder| {
        // A folder that is missing is made with the first message.
        let found = folder.metadata().ok()?;
        if let Some(servant) = &servant
            && let Err(error) = estate::is_of(&folder, &found, servant)
        {
            return Some(error.to_string());
        }
        let why = privilege::may_write(&folder).err()?;
        let shown = folder.display();
        Some(format!(
            "nothing can be put into {shown}: {why}; whoever runs minimta must be able to write there, on a file system that is \
             mounted for writing, or name another one ([queue] spool)"
        ))
    })
}
