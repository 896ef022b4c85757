//! EDQUOT for real: spool and mailboxes on a file system that bounds them (btrfs, whose quotas bind root as well), as root;
//! and the queue's own bound on one whose folders have no size.

use std::fs;
use std::path::Path;

use super::{BODY, message};
use crate::harness::System;
use crate::harness::system::{me, tool};

/// A file system in the place of a folder, in which each subvolume has its bound.
struct Bounded<'a>(&'a Path);

impl<'a> Bounded<'a> {
    fn new(image: &str, place: &'a Path) -> Result<Self, String> {
        fs::File::create(image).unwrap().set_len(256 << 20).unwrap();
        tool("mkfs.btrfs", &["-qf", image])?;
        tool("mount", &["-o", "loop", image, place.to_str().unwrap()])?;
        let bounded = Self(place);
        tool("btrfs", &["quota", "enable", place.to_str().unwrap()])?;
        for name in ["spool", "mail"] {
            let path = place.join(name).display().to_string();
            tool("btrfs", &["subvolume", "create", &path])?;
        }
        Ok(bounded)
    }

    fn allow(&self, name: &str, most: &str) -> Result<(), String> {
        let path = self.0.join(name).display().to_string();
        tool("btrfs", &["qgroup", "limit", most, &path])
    }
}

impl Drop for Bounded<'_> {
    fn drop(&mut self) {
        let _ = tool("umount", &["-l", self.0.to_str().unwrap()]);
    }
}

/// The bound of the queue on a file system whose folders have no size, as those of routers (JFFS2).
#[test]
#[ignore = "make faults"]
fn a_queue_has_its_bound_where_folders_have_no_size() {
    let system = System::offline("sizeless").with("queue", "max_messages = 5\nmin_free = \"0\"");
    let spool = system.path("spool");
    let mounted = tool("mount", &["-t", "ramfs", "none", spool.to_str().unwrap()]);
    if let Err(why) = mounted {
        println!("faults: passed over: only root can mount a file system: {why}");
        return;
    }
    let _disk = Bounded(&spool);
    for expected in [0, 0, 0, 0, 0, 75, 75] {
        let ran = system.run(&["-odq", "one@example.net"], "\nx\n");
        assert_eq!(ran.code, expected, "{ran:?}");
    }
    assert_eq!(system.queue().len(), 5);
}

#[test]
#[ignore = "make faults"]
fn a_quota_is_said_and_survived() {
    if !nix::unistd::geteuid().is_root() {
        println!("faults: passed over: only root can mount a file system");
        return;
    }
    if let Err(why) = used_up() {
        println!("faults: passed over: no quotas here: {why}");
    }
}

fn used_up() -> Result<(), String> {
    let system = System::new("quota");
    let (image, place) = (system.path("image"), system.path("disk"));
    fs::create_dir(&place).unwrap();
    let disk = Bounded::new(image.to_str().unwrap(), &place)?;
    let keys = |key: &str, end: &str| format!("{key} = \"{}{end}\"", place.display());
    let system = system
        .with("queue", &keys("spool", "/spool"))
        .with("local", &keys("mailbox", "/mail/%u/"));
    let names = |folder: &str| crate::harness::system::names_in(&place.join("spool").join(folder));
    let mailbox = || {
        let user = me();
        let folder = place.join("mail").join(user.split('@').next().unwrap());
        let new = folder.join("new");
        let found = crate::harness::system::names_in(&new);
        let text = |n: &String| fs::read_to_string(new.join(n)).unwrap();
        found.iter().map(text).collect::<Vec<_>>()
    };
    system.accept(&["-i", "-odq", &me()], "Subject: x\n\nshort\n");
    system.accept(&["-q"], "");
    // What comes is refused when the spool has used up its share, and taken when it has more.
    disk.allow("spool", "1M")?;
    let long = format!("{}{}", message(), "0123456789abcdef\n".repeat(200_000));
    let refused = system.run(&["-i", "-odq", &me()], &long);
    assert_eq!(refused.code, 75, "{refused:?}");
    assert!(
        refused.stderr.to_lowercase().contains("quota"),
        "{refused:?}"
    );
    for folder in ["tmp", "new", "cur", "hold"] {
        assert_eq!(names(folder), [""; 0], "{folder}");
    }
    disk.allow("spool", "none")?;
    system.accept(&["-i", "-odq", &me()], &long);
    // What is delivered waits until there is room for it, and comes once.
    disk.allow("mail", "1M")?;
    system.accept(&["-q"], "");
    let log = system.log();
    let deferred = log
        .lines()
        .rfind(|l| l.contains(" deferred "))
        .unwrap_or(&log);
    assert!(deferred.contains("4.2.2"), "{deferred}");
    assert_eq!((names("cur").len(), mailbox().len()), (1, 1), "{log}");
    disk.allow("mail", "none")?;
    system.accept(&["-q"], "");
    let found = mailbox();
    assert_eq!(
        (names("cur").len(), found.len()),
        (0, 2),
        "{}",
        system.log()
    );
    assert!(
        found
            .iter()
            .any(|m| m.contains(BODY) && m.len() > 3_000_000)
    );
    println!("faults: a quota was used up for real");
    Ok(())
}
