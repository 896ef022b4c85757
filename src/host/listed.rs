//! Files that lead mail elsewhere: the alias file and its lists, which the admin keeps, and each user's ~/.forward.
//! Whoever may write one of them has the mail, so who may is looked at, on the opened file.

use std::ffi::OsStr;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc;

use super::durable::{Barred, Folder};
use super::{privilege, words};

/// The largest alias file or list, octets: some twenty thousand names.
pub const MAX_FILE: u64 = 1024 * 1024;
/// The largest ~/.forward.
const MAX_FORWARD: u64 = 64 * 1024;

/// Reads the alias file; `None` when it is not there.
///
/// # Errors
/// A sentence with its remedy.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, String> {
    // Without O_NONBLOCK a FIFO in its place would be waited for.
    let mut options = OpenOptions::new();
    let file = match options.read(true).custom_flags(libc::O_NONBLOCK).open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(|e| cannot(path, &e))?,
    };
    let about = file.metadata().map_err(|e| cannot(path, &e))?;
    checked(path, file, &about).map(Some)
}

/// A list that the alias file includes, as it was read.
#[derive(Debug)]
pub struct List {
    /// What it says.
    pub octets: Vec<u8>,
    /// Who keeps it, unless root does, and nobody else.
    keeper: Option<u32>,
}

/// Reads a list that the alias file includes; `None` when it is not there. Whoever keeps it must not have anything read
/// that is not his: this process may read passwords, and what a list says is told in replies. So a link that is not
/// root's leads only to what belongs to whose folder it stands in.
///
/// # Errors
/// A sentence with its remedy.
pub fn read_list(path: &Path) -> Result<Option<List>, String> {
    let Some((file, about, keeper)) = open_list(path)? else {
        return Ok(None);
    };
    let octets = checked(path, file, &about)?;
    Ok(Some(List { octets, keeper }))
}

/// Opens it. Returned is also who keeps it, as [`List`] has that.
fn open_list(path: &Path) -> Result<Option<(File, Metadata, Option<u32>)>, String> {
    let us = ourselves();
    let name = path.file_name().unwrap_or(OsStr::new("."));
    let above = path.parent().unwrap_or(Path::new("/"));
    let gone = |e: &io::Error| e.kind() == io::ErrorKind::NotFound;
    let folder = match Folder::reach(above, us) {
        Err(Barred::System(e)) if gone(&e) => return Ok(None),
        Err(Barred::System(e)) => return Err(cannot_list(path, &e)),
        Err(Barred::NoFolder) => return Err(format!("{} is no folder", above.display())),
        Err(Barred::Link(link)) => return Err(foreign(path, &link)),
        Ok(folder) => folder,
    };
    let place = folder.metadata().map_err(|e| cannot_list(path, &e))?;
    let (file, is_link) = match folder.open(name) {
        Err(e) if e.raw_os_error() == Some(libc::ELOOP) => (folder.follow(name), true),
        file => (file, false),
    };
    let file = match file {
        Err(e) if gone(&e) => return Ok(None),
        file => file.map_err(|e| cannot_list(path, &e))?,
    };
    let about = file.metadata().map_err(|e| cannot_list(path, &e))?;
    let is_ours = |about: &Metadata| about.uid() == 0 || about.uid() == us;
    let is_alone = |about: &Metadata| about.mode() & 0o022 == 0;
    let is_planted = is_link || about.nlink() > 1;
    if is_planted && !(is_alone(&place) && (is_ours(&place) || place.uid() == about.uid())) {
        return Err(foreign(path, path));
    }
    let keeper = (!is_ours(&about) || !is_alone(&about)).then(|| about.uid());
    Ok(Some((file, about, keeper)))
}

/// The folder of a list, if it can be reached; not that of all files.
pub fn folder_of(path: &Path) -> Option<PathBuf> {
    let above = path.parent().filter(|above| above.parent().is_some())?;
    let folder = Folder::reach(above, ourselves()).ok()?;
    Some(folder.path().to_owned())
}

impl List {
    /// Whether it may include another one: what others than root keep, files of their own.
    ///
    /// # Errors
    /// A sentence with its remedy.
    pub fn may_include(&self, other: &Path) -> Result<(), String> {
        let Some(keeper) = self.keeper else {
            return Ok(());
        };
        match open_list(other)? {
            Some((.., of)) if of != Some(keeper) || keeper == 0 => Err(format!(
                "the list {} does not belong to whoever keeps the one that includes it; let the alias file name both",
                other.display()
            )),
            _ => Ok(()),
        }
    }
}

/// Whose links are followed, but for root's. Whoever was lent the program's group may not choose what it reads.
fn ourselves() -> u32 {
    match privilege::has_group() {
        true => 0,
        false => nix::unistd::geteuid().as_raw(),
    }
}

fn foreign(path: &Path, link: &Path) -> String {
    format!(
        "the list {} is reached by the link {}, which is not root's and leads to what belongs to another user; put the file itself in its place",
        path.display(),
        link.display()
    )
}

/// Reads the ~/.forward of a user, with his rights; `None` when there is none.
///
/// # Errors
/// A sentence with its remedy: it is not only his, and must not lead his mail anywhere.
pub fn read_forward(home: &Path, uid: u32) -> Result<Option<Vec<u8>>, String> {
    let gone = |e: &io::Error| e.kind() == io::ErrorKind::NotFound;
    let shown = home.display();
    let home_folder = match Folder::reach(home, uid) {
        Err(Barred::System(e)) if gone(&e) => return Ok(None),
        Err(Barred::System(e)) => return Err(cannot(home, &e)),
        Err(Barred::NoFolder) => return Err(format!("{shown} is no folder")),
        Err(Barred::Link(link)) => {
            return Err(format!(
                "the link {} on the way to {shown} belongs to another user",
                link.display()
            ));
        }
        Ok(folder) => folder,
    };
    let folder = home_folder.metadata().map_err(|e| cannot(home, &e))?;
    // Before the file is looked for: while its user changes it, it may not be there. Of another's folder, such as /tmp,
    // the bit says something else.
    if folder.mode() & 0o1000 != 0 && folder.uid() == uid {
        return Err(format!(
            "{shown} has the sticky bit, which says that its user changes something there; afterwards run: chmod -t {shown}"
        ));
    }
    let name = OsStr::new(".forward");
    let path = home_folder.path_of(name);
    let file = match home_folder.open(name) {
        Err(e) if gone(&e) => return Ok(None),
        Err(e) if e.raw_os_error() == Some(libc::ELOOP) => {
            return Err(format!(
                "{} is a link; put the file itself in its place",
                path.display()
            ));
        }
        file => file.map_err(|e| cannot(&path, &e))?,
    };
    let about = file.metadata().map_err(|e| cannot(&path, &e))?;
    for (path, about) in [(home, &folder), (&path, &about)] {
        let shown = path.display();
        if about.uid() != uid && about.uid() != 0 {
            return Err(format!(
                "{shown} belongs to the user with the number {}, not to the one whose mail it is",
                about.uid()
            ));
        }
        if about.mode() & 0o022 != 0 {
            return Err(format!(
                "{shown} may be written by others, who could lead this mail elsewhere; run: chmod go-w {shown}"
            ));
        }
    }
    whole(&path, file, &about, MAX_FORWARD).map(Some)
}

/// Reads a file that a ~/.forward includes, with the rights of its user, which are all that is asked for; `None` when
/// it is not there.
///
/// # Errors
/// A sentence with its remedy.
pub fn read_included(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let mut options = OpenOptions::new();
    let file = match options.read(true).custom_flags(libc::O_NONBLOCK).open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(|e| cannot(path, &e))?,
    };
    let about = file.metadata().map_err(|e| cannot(path, &e))?;
    whole(path, file, &about, MAX_FORWARD).map(Some)
}

/// The alias file or a list, which is not everybody's.
fn checked(path: &Path, file: File, about: &Metadata) -> Result<Vec<u8>, String> {
    if about.mode() & 0o002 != 0 {
        return Err(format!(
            "{0} may be written by everybody, who could lead any mail elsewhere; run: chmod o-w {0}",
            path.display()
        ));
    }
    whole(path, file, about, MAX_FILE)
}

fn whole(path: &Path, file: File, about: &Metadata, most: u64) -> Result<Vec<u8>, String> {
    let shown = path.display();
    if !about.is_file() {
        return Err(format!("{shown} is no ordinary file"));
    }
    let too_large = || {
        format!(
            "{shown} is larger than {} KiB; divide it, or name the right file",
            most / 1024
        )
    };
    if about.size() > most {
        return Err(too_large());
    }
    // One octet more than it has: its end is met with the same read.
    let length = usize::try_from(about.size()).unwrap_or(0);
    let octets = super::read_open(file, length + 1, most + 1).map_err(|e| cannot(path, &e))?;
    match octets.len() as u64 > most {
        true => Err(too_large()),
        false => Ok(super::without_mark(octets)),
    }
}

fn cannot(path: &Path, error: &io::Error) -> String {
    let shown = path.display();
    match error.kind() {
        io::ErrorKind::PermissionDenied => format!(
            "cannot read {shown}: permission denied; whoever reads it needs the right to, and to search its folder"
        ),
        _ => format!("cannot read {shown}: {}", words(error)),
    }
}

/// The same of a list.
fn cannot_list(path: &Path, error: &io::Error) -> String {
    let why = cannot(path, error);
    match error.kind() {
        io::ErrorKind::PermissionDenied => format!(
            "{why}; with jail = true, a daemon reaches the folders of the lists that the alias file named when it started: restart it for another one"
        ),
        _ => why,
    }
}

#[cfg(test)]
mod tests {
    use super::super::mailbox::scratch::Scratch;
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_forward_counts_only_when_nobody_else_could_have_written_it() {
        let scratch = Scratch::new("forward");
        let (home, uid) = (scratch.path("home"), nix::unistd::Uid::current().as_raw());
        fs::create_dir(&home).unwrap();
        mode(&home, 0o755);
        let file = home.join(".forward");
        let read = |uid| {
            read_forward(&home, uid)
                .map(|text| text.map(|t| String::from_utf8(t).unwrap()))
                .map_err(|e| e.replace(home.to_str().unwrap(), "~"))
        };
        assert_eq!(read(uid), Ok(None));
        mode(&home, 0o1755);
        assert!(read(uid).unwrap_err().contains("~ has the sticky bit"));
        mode(&home, 0o1777);
        // A folder of root's, such as /tmp.
        assert_eq!(read(uid.wrapping_add(1)), Ok(None));
        mode(&home, 0o755);
        fs::write(&file, "bob\n").unwrap();
        mode(&file, 0o600);
        assert_eq!(read(uid), Ok(Some("bob\n".to_owned())));
        // As some editors write it.
        fs::write(&file, "\u{feff}bob\n").unwrap();
        assert_eq!(read(uid), Ok(Some("bob\n".to_owned())));
        // J15, J16, J18: what is wrong with the file or its folder.
        let wrong = |says: &str| {
            let why = read(uid).unwrap_err();
            assert!(why.contains(says), "{why}");
        };
        for (of_file, of_home, says) in [
            (
                0o620,
                0o755,
                "~/.forward may be written by others, who could lead this mail elsewhere; run: chmod go-w ~/.forward",
            ),
            (0o602, 0o755, "~/.forward may be written by others"),
            (0o600, 0o775, "~ may be written by others"),
            (0o600, 0o1755, "~ has the sticky bit"),
        ] {
            mode(&file, of_file);
            mode(&home, of_home);
            wrong(says);
        }
        mode(&file, 0o600);
        mode(&home, 0o755);
        if uid == 0 {
            assert_eq!(read(4711), Ok(Some("bob\n".to_owned()))); // root may do it for him
            std::os::unix::fs::chown(&file, Some(4712), None).unwrap();
            assert_eq!(
                read(4711).unwrap_err(),
                "~/.forward belongs to the user with the number 4712, not to the one whose mail it is"
            );
        }
        fs::write(&file, "x".repeat(64 * 1024 + 1)).unwrap();
        if uid == 0 {
            std::os::unix::fs::chown(&file, Some(0), None).unwrap();
        }
        wrong("~/.forward is larger than 64 KiB");
        fs::remove_file(&file).unwrap();
        symlink("/etc/passwd", &file).unwrap();
        wrong("~/.forward is a link");
        fs::remove_file(&file).unwrap();
        nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRUSR).unwrap();
        wrong("~/.forward is no ordinary file");
    }

    #[test]
    fn an_alias_file_must_not_be_everybodys() {
        let scratch = Scratch::new("aliases");
        let file = scratch.path("aliases");
        assert_eq!(read(&file), Ok(None));
        fs::write(&file, "root: alice\n").unwrap();
        mode(&file, 0o644);
        assert_eq!(read(&file), Ok(Some(b"root: alice\n".to_vec())));
        fs::write(&file, "\u{feff}root: \u{feff}alice\n").unwrap();
        for read in [read(&file), read_included(&file)] {
            assert_eq!(read, Ok(Some("root: \u{feff}alice\n".into())));
        }
        mode(&file, 0o646);
        assert!(read(&file).unwrap_err().contains("chmod o-w"));
        assert!(
            read(&scratch.path(""))
                .unwrap_err()
                .contains("is no ordinary file")
        );
    }
}
