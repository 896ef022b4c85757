//! `--import`: finds the configuration of another program, and prints the minimta.toml that does the same.

use std::io;
use std::path::{Path, PathBuf};

use crate::cli::{Invocation, say};
use crate::config::System;
use crate::config::import::{self, Kind};
use crate::error::{Error, Result};
use crate::host::{read_bounded, without_mark, words};

/// The longest file that is read. A configuration is a few KiB.
const MOST: u64 = 1 << 20;

/// Prints what a file, a folder, or whatever is found on this system comes to.
///
/// # Errors
/// `Config` when there is none, when there are several to choose from, or when it cannot be read.
pub fn run(call: &Invocation, system: &System<'_>) -> Result<()> {
    let (kind, path) = match call.arguments.as_slice() {
        [] => of_this_system()?,
        [named] => named_one(Path::new(named))?,
        _ => return Err(Error::Usage("--import takes one file or folder".to_owned())),
    };
    let text = read(&path)
        .map_err(Error::Config)?
        .ok_or_else(|| Error::Config(format!("{}: there is no such file", path.display())))?;
    let Some(kind) = kind.or_else(|| Kind::of(&path, &text)) else {
        return Err(Error::Config(format!(
            "{} is no configuration of dma, msmtp, ssmtp or nullmailer",
            path.display()
        )));
    };
    say(&import::convert(kind, &path, &text, &read, system)?)
}

/// The one program that is configured here.
fn of_this_system() -> Result<(Option<Kind>, PathBuf)> {
    let found: Vec<_> = Kind::PLACES
        .iter()
        .filter(|(_, place)| Path::new(place).exists())
        .collect();
    match found.as_slice() {
        [(kind, place)] => Ok((Some(*kind), PathBuf::from(place))),
        [] => {
            let places: Vec<_> = Kind::PLACES.iter().map(|(_, place)| *place).collect();
            Err(Error::Config(format!(
                "there is nothing to import: none of {} is there; name the file",
                places.join(", ")
            )))
        }
        several => {
            let places: Vec<_> = several.iter().map(|(_, place)| *place).collect();
            Err(Error::Config(format!(
                "there are several to choose from, name one: {}",
                places.join(", ")
            )))
        }
    }
}

/// A file; or, of a folder, the one in it that has a known name.
fn named_one(path: &Path) -> Result<(Option<Kind>, PathBuf)> {
    if !path.is_dir() {
        return Ok((None, path.to_owned()));
    }
    let inside = Kind::PLACES.iter().map(|(kind, place)| {
        let name = Path::new(place).file_name().unwrap_or_default();
        (Some(*kind), path.join(name))
    });
    let mut found: Vec<_> = inside.filter(|(_, file)| file.exists()).collect();
    match (found.pop(), found.is_empty()) {
        (Some(one), true) => Ok(one),
        (Some(_), false) => Err(Error::Config(format!(
            "{} holds several configurations, name one of its files",
            path.display()
        ))),
        (None, _) => Err(Error::Config(format!(
            "{} holds no dma.conf, msmtprc, remotes or ssmtp.conf",
            path.display()
        ))),
    }
}

/// A file as text; what is not UTF-8 in it becomes a sign that is refused where it matters.
fn read(path: &Path) -> Result<Option<String>, String> {
    match read_bounded(path, MOST) {
        Ok(octets) => {
            let octets = without_mark(octets);
            Ok(Some(String::from_utf8_lossy(&octets).into_owned()))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(format!("cannot read {}: {}", path.display(), words(&e))),
    }
}
