//! Where the others of a machine meet, as `--check` looks it over: the folder of a running daemon, and the log file.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::{Finding, Grade, add, as_worker, spool};
use crate::config::LogTo;
use crate::flow::{Context, parent};
use crate::host::accounts::Account;
use crate::host::{link, logging, privilege, words};

/// What is against it that others than root read the configuration: who works for root, as the user of the spool, and who
/// hands in mail, in his own right and with the group of the program.
pub fn closed(context: &Context, file: &Path) -> Option<String> {
    /// Nobody in particular.
    const SOMEBODY: u32 = 65_534;
    let servant = parent::servant(context).ok().flatten()?;
    let name = &servant.name;
    let user = Account {
        uid: SOMEBODY,
        ..servant.clone()
    };
    let rows = [
        (
            &servant,
            format!("the user {name}, as whom root's minimta works"),
        ),
        (
            &user,
            format!("the group {name}, with which users hand in mail"),
        ),
    ];
    rows.into_iter().find_map(|(account, whom)| {
        // Who cannot be played here cannot be asked for.
        let (place, right) = privilege::act_as(account)
            .is_ok()
            .then(|| barrier(file))
            .flatten()?;
        let shown = place.display();
        Some(format!(
            "{shown} is closed to {whom}; chgrp {name} {shown}; chmod {right} {shown}"
        ))
    })
}

/// The first place on the way to a file, or the file, that is closed to whom this process acts as, and the right that its
/// group needs; root again after that.
fn barrier(file: &Path) -> Option<(PathBuf, &'static str)> {
    let is_closed = |e: &io::Error| e.kind() == io::ErrorKind::PermissionDenied;
    let mut above: Vec<&Path> = file.ancestors().skip(1).collect();
    above.reverse();
    let folder = above
        .into_iter()
        .find(|folder| fs::metadata(folder.join(".")).is_err_and(|e| is_closed(&e)));
    let found = match folder {
        Some(folder) => Some((folder.to_owned(), "g+x")),
        None => fs::File::open(file)
            .is_err_and(|e| is_closed(&e))
            .then(|| (file.to_owned(), "g+r")),
    };
    privilege::be_root().is_ok().then_some(found)?
}

/// Whether the folder of a running daemon is there, or can be made.
pub fn run(context: &Context, findings: &mut Vec<Finding>) {
    let run = &context.config.queue.run;
    let thing = format!("run folder {}", run.display());
    if let Some(why) = spool::barred(context, run) {
        return add(findings, Grade::Error, thing, why);
    }
    match fs::metadata(run) {
        Ok(about) if about.is_dir() => {}
        Ok(_) => add(findings, Grade::Error, thing, "it is no folder"),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let above = run.parent().unwrap_or(Path::new("/"));
            if privilege::is_root()
                && let Err(why) = privilege::may_write(above)
            {
                let text = format!(
                    "it is not there, and cannot be made in {}: {why}; make it, or name another one ([queue] run)",
                    above.display()
                );
                add(findings, Grade::Error, thing, text);
            }
        }
        Err(e) => add(findings, Grade::Error, thing, words(&e)),
    }
}

/// Whether those who work can write the log file. No line that cannot be written stops any mail; but it is missed when it
/// is looked for.
pub fn log(context: &Context, findings: &mut Vec<Finding>) {
    let path = match &context.config.log.to {
        LogTo::File(path) => path,
        LogTo::Syslog if !Path::new(logging::SYSLOG).exists() => {
            let text = format!(
                "there is no {}, so nothing is kept of it; start what reads it, or see [log] to",
                logging::SYSLOG
            );
            return add(findings, Grade::Warning, "log", text);
        }
        _ => return,
    };
    let servant = parent::servant(context).ok().flatten();
    // Who has a group by the program alone cannot tell what it can write.
    if !privilege::is_root() && !context.is_private() {
        return;
    }
    let thing = format!("log file {}", path.display());
    let unfit = match logging::end_of(path) {
        // What is open already (/dev/stderr) is whoever's has opened it.
        Ok(end) if link::is_link(&end) => return,
        Ok(end) => unfit(&end, servant.as_ref()),
        Err(sentence) => Some(sentence),
    };
    if let Some(text) = unfit {
        return add(findings, Grade::Warning, thing, text);
    }
    let mut writable = Ok(());
    as_worker(context, findings, |_| {
        writable = match path.exists() {
            true => privilege::may_append(path),
            false => Ok(()),
        }
    });
    match (writable, servant) {
        (Ok(()), _) => add(findings, Grade::Ok, thing, "can be written"),
        (Err(why), servant) => {
            let whom = servant.map_or_else(String::new, |s| format!(" by the user {}", s.name));
            let text = format!("it cannot be written{whom}: {why}; see [log] to");
            add(findings, Grade::Warning, thing, text);
        }
    }
}

/// What is against a file that is there, or against making it. With the servant's group others than root write it.
fn unfit(end: &Path, servant: Option<&Account>) -> Option<String> {
    let about = match fs::metadata(end) {
        Ok(about) => about,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let above = end.parent().unwrap_or(Path::new("/"));
            let why = privilege::may_write(above).err()?;
            return Some(format!(
                "it is not there, and cannot be made in {}: {why}; see [log] to",
                above.display()
            ));
        }
        Err(e) => return Some(format!("{}; see [log] to", words(&e))),
    };
    let kind = about.file_type();
    if kind.is_dir() || kind.is_fifo() || kind.is_socket() {
        let what = if kind.is_dir() { "a folder" } else { "no file" };
        return Some(format!("it is {what}; see [log] to"));
    }
    let servant = servant?;
    let is_shared = about.gid() == servant.gid && about.mode() & 0o020 != 0;
    (about.is_file() && !is_shared).then(|| {
        let (shown, name) = (end.display(), &servant.name);
        format!(
            "the program cannot write there what other users hand in; chown {name}: {shown}; chmod 0660 {shown}"
        )
    })
}
