//! The spool, as `--check` looks it over.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::{fs, io};

use super::{Finding, Grade, add};
use crate::flow::{Context, parent};
use crate::host::spool::Folder;
use crate::host::{accounts, estate, privilege, words};

/// Whether messages can be put into it and taken out again, by whoever does so.
pub fn look(context: &Context, findings: &mut Vec<Finding>) {
    let root = context.spool.root();
    let thing = format!("spool {}", root.display());
    match fs::metadata(root) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let parent = root.parent().unwrap_or(Path::new("/"));
            let (grade, text) = match privilege::may_write(parent) {
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
    if let Some(why) = unfit(context) {
        add(findings, Grade::Error, &thing, why);
    }
    if let Err(error) = context.spool.has_room(0) {
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
