//! A folder that is open, and the steps of [`super`] in it: what is done there is done there, whatever stands under its
//! name by then.
//!
//! On the way to it links are followed that belong to the user or to root, and no others: somebody else's may lead
//! anywhere, tomorrow somewhere else. Mostly there is none, and the kernel sees to that in one call (openat2); only where
//! it met one, or does not know that call, the way is gone from folder to folder.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, ResolveFlags, mkdirat, openat, openat2,
    readlinkat, renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;

use super::rehearsal::{Step, fault, record};

/// As many links on one way as the kernel follows.
const LINKS: u32 = 40;
/// A link at the end is not followed, and a FIFO not waited for.
const NO_FOLLOW: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK);

/// Why a folder cannot be had.
#[derive(Debug)]
pub enum Barred {
    /// This link on the way belongs to somebody else.
    Link(PathBuf),
    /// It is something else.
    NoFolder,
    /// The system says so.
    System(io::Error),
}

impl From<Errno> for Barred {
    fn from(error: Errno) -> Self {
        Self::System(error.into())
    }
}

impl From<io::Error> for Barred {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// A folder that is open.
#[derive(Debug)]
pub struct Folder {
    file: File,
    /// As whoever asked for it calls it: for sentences.
    path: PathBuf,
    /// Open to be read, and so to be synced.
    readable: bool,
}

impl Folder {
    /// Opens a folder in the right of this user, who is whoever runs this process.
    ///
    /// # Errors
    /// What bars the way.
    pub fn reach(path: &Path, user: u32) -> Result<Self, Barred> {
        Self::open_at(path, user, OFlags::PATH)
    }

    /// The same for one that will be synced, and that this user may read.
    ///
    /// # Errors
    /// What bars the way.
    pub fn reach_readable(path: &Path, user: u32) -> Result<Self, Barred> {
        Self::open_at(path, user, OFlags::RDONLY)
    }

    fn open_at(path: &Path, user: u32, access: OFlags) -> Result<Self, Barred> {
        let path = match path.as_os_str().is_empty() {
            true => Path::new("."),
            false => path,
        };
        let flags = access | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let (file, access) =
            match openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
                Ok(file) => (file, access),
                Err(_) => (walk(CWD, path, user)?, OFlags::PATH),
            };
        Ok(Self {
            file: file.into(),
            path: path.to_owned(),
            readable: access == OFlags::RDONLY,
        })
    }

    /// Opens a folder in this one, as [`Self::reach`] does; `readable`: one that will be synced.
    ///
    /// # Errors
    /// What bars the way.
    pub fn enter(&self, name: &OsStr, user: u32, readable: bool) -> Result<Self, Barred> {
        let access = match readable {
            true => OFlags::RDONLY,
            false => OFlags::PATH,
        };
        let flags = access | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat(&self.file, name, flags | OFlags::NOFOLLOW, Mode::empty());
        let file = match opened {
            Ok(file) => file,
            Err(_) => {
                let found = walk(self.file.as_fd(), Path::new(name), user)?;
                openat(&found, ".", flags, Mode::empty())?
            }
        };
        Ok(Self {
            file: file.into(),
            path: self.path_of(name),
            readable,
        })
    }

    /// What is called by a name in it, for sentences.
    pub fn path_of(&self, name: &OsStr) -> PathBuf {
        self.path.join(name)
    }

    /// What it is called.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the system knows of the folder itself.
    ///
    /// # Errors
    /// What the system says.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    /// Whether this name is that of a folder of this user's, and no link.
    pub fn has_folder(&self, name: &OsStr, user: u32) -> bool {
        statat(&self.file, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|found| {
            FileType::from_raw_mode(found.st_mode).is_dir() && found.st_uid == user
        })
    }

    /// Whether there is something of this name.
    pub fn has(&self, name: &OsStr) -> bool {
        statat(&self.file, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// What the system knows of what has this name; of a link, not of where it leads.
    ///
    /// # Errors
    /// What the system says.
    pub fn look(&self, name: &OsStr) -> io::Result<Metadata> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        File::from(openat(&self.file, name, flags, Mode::empty())?).metadata()
    }

    /// Opens a file to read it.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | NO_FOLLOW;
        Ok(openat(&self.file, name, flags, Mode::empty())?.into())
    }

    /// The same of what a link leads to.
    ///
    /// # Errors
    /// What the system says.
    pub fn follow(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        Ok(openat(&self.file, name, flags, Mode::empty())?.into())
    }

    /// Creates a file that must not exist yet, for reading and writing.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(&self, name: &OsStr, mode: u32) -> io::Result<File> {
        self.make(name, mode, OFlags::EXCL)
    }

    /// Opens a file, or creates it, to append to it.
    ///
    /// # Errors
    /// What the system says.
    pub fn open_append(&self, name: &OsStr, mode: u32) -> io::Result<File> {
        self.make(name, mode, OFlags::APPEND)
    }

    fn make(&self, name: &OsStr, mode: u32, how: OFlags) -> io::Result<File> {
        fault("create")?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | NO_FOLLOW | how;
        let file = File::from(openat(&self.file, name, flags, Mode::from_raw_mode(mode))?);
        record(&Step::Create(&file, &self.path_of(name)));
        Ok(file)
    }

    /// Creates a folder in it.
    ///
    /// # Errors
    /// What the system says.
    pub fn create_folder(&self, name: &OsStr, mode: u32) -> io::Result<()> {
        fault("create folder")?;
        mkdirat(&self.file, name, Mode::from_raw_mode(mode))?;
        record(&Step::Folder(&self.path_of(name)));
        Ok(())
    }

    /// Gives a file of this folder a name in another one, which nothing must have there yet.
    ///
    /// # Errors
    /// What the system says; `AlreadyExists`.
    pub fn publish(&self, name: &OsStr, to: &Self, new: &OsStr) -> io::Result<()> {
        fault("rename")?;
        match renameat_with(&self.file, name, &to.file, new, RenameFlags::NOREPLACE) {
            // Not every file system can do this. Nobody else writes here; so one look is as good.
            Err(Errno::INVAL | Errno::NOSYS | Errno::PERM) => {
                if to.has(new) {
                    return Err(Errno::EXIST.into());
                }
                renameat(&self.file, name, &to.file, new)?;
            }
            renamed => renamed?,
        }
        record(&Step::Rename(&self.path_of(name), &to.path_of(new)));
        Ok(())
    }

    /// Removes a file's name.
    ///
    /// # Errors
    /// What the system says.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        fault("remove")?;
        unlinkat(&self.file, name, AtFlags::empty())?;
        record(&Step::Remove(&self.path_of(name)));
        Ok(())
    }

    /// Returns when its names are on the disk.
    ///
    /// # Errors
    /// What the system says.
    pub fn sync(&self) -> io::Result<()> {
        fault("sync folder")?;
        if self.readable {
            rustix::fs::fsync(&self.file)?;
        } else {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::fsync(openat(&self.file, ".", flags, Mode::empty())?)?;
        }
        record(&Step::SyncFolder(&self.path));
        Ok(())
    }
}

/// Goes to a folder step by step, and looks whose each link on the way is.
fn walk(from: BorrowedFd<'_>, path: &Path, user: u32) -> Result<OwnedFd, Barred> {
    let step = OFlags::PATH | OFlags::CLOEXEC;
    let begin = |path: &Path| {
        let top = if path.is_absolute() { "/" } else { "." };
        openat(from, top, step, Mode::empty()).map(File::from)
    };
    let mut here = begin(path)?;
    // Where that is, for a sentence.
    let mut place = top(path);
    let mut ahead = steps(path);
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        place.push(&name);
        let next = openat(&here, &name, step | OFlags::NOFOLLOW, Mode::empty())?;
        let next = File::from(next);
        let about = next.metadata()?;
        if !about.is_symlink() {
            here = next;
            continue;
        }
        links += 1;
        if about.uid() != user && about.uid() != 0 {
            return Err(Barred::Link(place));
        }
        if links > LINKS {
            return Err(Errno::LOOP.into());
        }
        let target = readlinkat(&next, "", Vec::new())?;
        let target = Path::new(OsStr::from_bytes(target.as_bytes()));
        place.pop();
        if target.is_absolute() {
            here = begin(target)?;
            place = top(target);
        }
        ahead.extend(steps(target));
    }
    match here.metadata()?.is_dir() {
        true => Ok(here.into()),
        false => Err(Barred::NoFolder),
    }
}

/// Where a way begins.
fn top(path: &Path) -> PathBuf {
    PathBuf::from(if path.is_absolute() { "/" } else { "" })
}

/// The names on a way, the first one last.
fn steps(path: &Path) -> Vec<OsString> {
    let names = path.components().rev();
    let named = names.filter(|c| !matches!(c, Component::RootDir | Component::CurDir));
    named.map(|c| c.as_os_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::super::super::mailbox::scratch::Scratch;
    use super::*;

    /// Where a way ends, or what bars it.
    fn end(path: &Path, user: u32) -> Result<u64, String> {
        match Folder::reach(path, user) {
            Ok(folder) => Ok(folder.metadata().unwrap().ino()),
            Err(Barred::Link(link)) => Err(format!(
                "link {}",
                link.file_name().unwrap().to_str().unwrap()
            )),
            Err(Barred::NoFolder) => Err("no folder".to_owned()),
            Err(Barred::System(error)) => Err(crate::error::words(&error)),
        }
    }

    #[test]
    fn links_of_the_user_are_followed_and_no_others() {
        let scratch = Scratch::new("folder-links");
        let us = nix::unistd::geteuid().as_raw();
        let other = 4711;
        let path = |name: &str| scratch.path(name);
        fs::create_dir_all(path("a/b")).unwrap();
        fs::write(path("file"), "").unwrap();
        let number = fs::metadata(path("a/b")).unwrap().ino();
        symlink(path("a"), path("absolute")).unwrap();
        symlink("a/b", path("relative")).unwrap();
        symlink("../a", path("a/up")).unwrap();
        symlink("chain", path("chain")).unwrap();
        symlink("nowhere", path("dangling")).unwrap();
        symlink("file", path("to-file")).unwrap();
        let missing = "no such file or directory";
        // The way, and what the links' owner and somebody else find at its end.
        let rows = [
            ("a/b", Ok(number), Ok(number)),
            ("a/../a/./b/", Ok(number), Ok(number)),
            ("absolute/b", Ok(number), Err("link absolute")),
            ("relative", Ok(number), Err("link relative")),
            ("relative/", Ok(number), Err("link relative")),
            ("a/up/up/b", Ok(number), Err("link up")),
            (
                "relative/../../absolute/b",
                Ok(number),
                Err("link relative"),
            ),
            (
                "chain",
                Err("too many levels of symbolic links"),
                Err("link chain"),
            ),
            ("dangling", Err(missing), Err("link dangling")),
            ("nowhere/x", Err(missing), Err(missing)),
            ("file", Err("no folder"), Err("no folder")),
            ("to-file", Err("no folder"), Err("link to-file")),
            ("file/x", Err("not a directory"), Err("not a directory")),
        ];
        for (way, ours, others) in rows {
            let ours = ours.map_err(str::to_owned);
            assert_eq!(end(&path(way), us), ours, "{way}");
            // Root's links are followed by everybody, so that this row needs another owner.
            if us != 0 {
                assert_eq!(
                    end(&path(way), other),
                    others.map_err(str::to_owned),
                    "{way}"
                );
            }
        }
        if us == 0 {
            for link in [
                "absolute", "relative", "a/up", "chain", "dangling", "to-file",
            ] {
                std::os::unix::fs::lchown(path(link), Some(other), None).unwrap();
            }
            for (way, ours, others) in rows {
                assert_eq!(end(&path(way), us), others.map_err(str::to_owned), "{way}");
                assert_eq!(end(&path(way), other), ours.map_err(str::to_owned), "{way}");
            }
        }
    }

    #[test]
    fn what_is_done_in_a_folder_stays_there_when_its_name_is_taken() {
        let scratch = Scratch::new("folder-moved");
        let us = nix::unistd::geteuid().as_raw();
        let name = OsStr::new("x");
        fs::create_dir_all(scratch.path("tmp")).unwrap();
        fs::create_dir_all(scratch.path("planted")).unwrap();
        let folder = Folder::reach(&scratch.path("tmp"), us).unwrap();
        fs::rename(scratch.path("tmp"), scratch.path("moved")).unwrap();
        symlink(scratch.path("planted"), scratch.path("tmp")).unwrap();
        folder.create(name, 0o600).unwrap();
        assert!(scratch.path("moved/x").exists());
        assert!(folder.create(name, 0o600).is_err());
        // A link in the place of a file is none.
        let (link, file) = (OsStr::new("link"), scratch.path("planted/y"));
        symlink(&file, scratch.path("moved/link")).unwrap();
        assert!(folder.open(link).is_err() && folder.open_append(link, 0o600).is_err());
        assert!(folder.look(link).unwrap().is_symlink());
        assert!(folder.publish(name, &folder, link).is_err());
        folder.sync().unwrap();
        folder.remove(name).unwrap();
        assert_eq!(fs::read_dir(scratch.path("planted")).unwrap().count(), 0);
    }
}
