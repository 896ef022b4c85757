//! The power goes for real, as root: spool and mailboxes stand on a file system of their own, in an image, which is
//! shut down in the middle of a load without a flush of its journal, mounted again and repaired as at a boot; then
//! the next queue run. What was taken is there: `make powercut`. A file system that the kernel or the tools of this
//! machine do not have is passed over, and it is said why.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::harness::load::{Load, copies, kill_all};
use crate::harness::system::{me, tool};
use crate::harness::{Daemon, Remote, Script, System, until};
use crate::soak::{mixed, rounds};

/// How many rounds of each kind, unless ROUNDS says otherwise.
const ROUNDS: u32 = 20;
/// Messages taken before the power goes, at least.
const LEAST: usize = 20;

/// ext4 that keeps no journal, as on cheap flash: names and octets get to the disk in any order, and e2fsck makes of it
/// what it can. It has no index in folders, either: whenever a folder outgrows a block, an index has old names move to a
/// new one, and a power cut in the middle of that puts files into lost+found that were safe for long, whoever wrote them
/// (3 of 300 rounds, with and without all that could be synced; none of 300 without an index). minimta-queue(5) says so.
const PLAIN: &str = "ext4 without a journal";

/// A file system in an image, with the spool and the mailboxes of a system on it.
struct Image {
    is_plain: bool,
    file: PathBuf,
    place: PathBuf,
    binds: [PathBuf; 2],
    stop: PathBuf,
    /// What e2fsck said at the last boot.
    mended: String,
    options: &'static str,
}

impl Image {
    /// Makes it and mounts it; why it cannot be had, otherwise.
    fn new(system: &System, kind: &str) -> Result<Self, String> {
        let is_plain = kind == PLAIN;
        let image = Self {
            is_plain,
            file: system.path("image"),
            place: system.path("disk"),
            binds: [system.path("spool"), system.path("mail")],
            stop: system.path("goingdown"),
            mended: String::new(),
            // Somebody may still have the one before mounted, which has the same name.
            options: if kind == "xfs" { "loop,nouuid" } else { "loop" },
        };
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/harness/goingdown.c");
        tool("cc", &["-o", image.stop.to_str().unwrap(), source])?;
        let file = std::fs::File::create(&image.file).unwrap();
        file.set_len(320 << 20).unwrap();
        std::fs::create_dir(&image.place).unwrap();
        let kind = kind.split(' ').next().unwrap();
        let force = if kind == "ext4" { "-F" } else { "-f" };
        let words: &[&str] = match is_plain {
            true => &[force, "-O", "^has_journal,^dir_index"],
            false => &[force],
        };
        let (make, file) = (format!("mkfs.{kind}"), [image.file.to_str().unwrap()]);
        tool(&make, &[words, &["-q"], &file].concat())
            .or_else(|_| tool(&make, &[words, &file].concat()))?;
        let [file, place] = [&image.file, &image.place].map(|p| p.to_str().unwrap());
        tool("mount", &["-o", image.options, file, place])?;
        for bind in &image.binds {
            let inside = image.place.join(bind.file_name().unwrap());
            std::fs::create_dir(&inside).unwrap();
        }
        tool("sync", &["-f", image.place.to_str().unwrap()])?;
        image.bind()?;
        Ok(image)
    }

    fn bind(&self) -> Result<(), String> {
        for bind in &self.binds {
            let inside = self.place.join(bind.file_name().unwrap());
            tool(
                "mount",
                &["--bind", inside.to_str().unwrap(), bind.to_str().unwrap()],
            )?;
        }
        Ok(())
    }

    fn unmount(&self) -> Result<(), String> {
        for place in [&self.binds[0], &self.binds[1], &self.place] {
            tool("umount", &[place.to_str().unwrap()])?;
        }
        Ok(())
    }

    /// The power goes.
    fn cut(&self) -> Result<(), String> {
        tool(self.stop.to_str().unwrap(), &[self.place.to_str().unwrap()])
    }

    /// What the disk holds now that everybody is dead: a sync that was on its way when the power went may have said that
    /// all is well, so its end belongs to it.
    fn keep(&self) -> Result<(), String> {
        // What is not written by now is lost: without a journal its end would still write some. And whoever else has the
        // file system mounted, in a world of mounts that began as a copy of this one, keeps this image and not that.
        let copy = self.file.with_extension("cut");
        let [file, copy] = [&self.file, &copy].map(|p| p.to_str().unwrap());
        tool("cp", &["--sparse=always", file, copy])
    }

    /// The power is back.
    fn boot(&mut self) -> Result<(), String> {
        self.unmount()?;
        std::fs::rename(self.file.with_extension("cut"), &self.file).unwrap();
        if self.is_plain {
            let check = Command::new("e2fsck").arg("-fy").arg(&self.file).output();
            // 1: it was mended.
            let check = check.map_err(|e| format!("e2fsck: {e}"))?;
            assert!(matches!(check.status.code(), Some(0 | 1)), "{check:?}");
            self.mended = String::from_utf8_lossy(&check.stdout).into_owned();
        }
        let [file, place] = [&self.file, &self.place].map(|p| p.to_str().unwrap());
        tool("mount", &["-o", self.options, file, place])?;
        self.bind()
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        for place in [&self.binds[0], &self.binds[1], &self.place] {
            let _ = tool("umount", &["-l", place.to_str().unwrap()]);
        }
    }
}

/// Where the messages of a round go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Local,
    Relayed,
    Queued,
}

#[test]
#[ignore = "make powercut"]
fn what_was_taken_survives_a_power_cut() {
    if !nix::unistd::geteuid().is_root() {
        println!("powercut: passed over: only root can mount a file system");
        return;
    }
    for file_system in ["ext4", PLAIN, "xfs", "f2fs", "btrfs"] {
        if let Err(why) = on(file_system) {
            println!("powercut: {file_system}: passed over: {why}");
        }
    }
}

fn on(file_system: &str) -> Result<(), String> {
    let all = rounds(ROUNDS);
    for kind in [Kind::Local, Kind::Relayed, Kind::Queued] {
        let remote = Remote::start(Script::new());
        let smarthost = remote.smarthost();
        let mut system = System::listening("powercut").with("smarthost", &smarthost);
        let mut image = Image::new(&system, file_system)?;
        let (mut taken, mut twice, mut sent) = (0, 0, 0);
        for round in 1..=all {
            // A port at which nobody listens: everything waits.
            let port = match kind {
                Kind::Queued => "port = 1".to_owned(),
                _ => format!("port = {}", remote.address.port()),
            };
            system = system.with("smarthost", &port);
            let names = one_round(&system, &mut image, kind, round)?;
            system = system.with("smarthost", &smarthost);
            system.accept(&["-q"], "");
            let waiting = system.queue();
            assert!(
                waiting.is_empty(),
                "{file_system} {kind:?} round {round}: {waiting:?}"
            );
            let found = copies(&system, &remote, &mut sent);
            let held = held(&system);
            assert!(held.is_empty() || file_system == PLAIN, "{held}");
            let is_lost =
                |n: &&String| !found.contains_key(*n) && !held.contains(&format!("<{n}@"));
            let lost: Vec<_> = names.iter().filter(is_lost).collect();
            assert!(
                lost.is_empty(),
                "{file_system} {kind:?} round {round}: {} of {} lost: {lost:?}\n{}\n{}",
                lost.len(),
                names.len(),
                image.mended,
                system.log()
            );
            twice += found.values().filter(|n| **n > 1).count();
            taken += names.len();
            for name in system.names("hold") {
                std::fs::remove_file(system.path("spool/hold").join(name)).unwrap();
            }
            let _ = std::fs::remove_dir_all(system.maildir());
            std::fs::remove_file(system.path("log")).unwrap();
            // This is no part of what the power may cut.
            tool("sync", &["-f", image.place.to_str().unwrap()])?;
        }
        let kind = format!("{kind:?}").to_lowercase();
        println!(
            "powercut: {file_system}: {all} rounds {kind}: {taken} taken, 0 lost, {twice} twice"
        );
    }
    Ok(())
}

/// What was set aside. Where e2fsck has to make names up, a file may have got one in a mailbox, too, and nobody but a
/// person can tell which of them is right.
fn held(system: &System) -> String {
    let folder = system.path("spool/hold");
    let text =
        |name| String::from_utf8_lossy(&std::fs::read(folder.join(name)).unwrap()).into_owned();
    system.names("hold").into_iter().map(text).collect()
}

/// A load, a cut in the middle of it, a boot. Returned is what was taken.
fn one_round(
    system: &System,
    image: &mut Image,
    kind: Kind,
    round: u32,
) -> Result<Vec<String>, String> {
    let daemon = Daemon::start(system);
    let to = match kind {
        Kind::Local => me(),
        _ => format!("r{round}@example.net"),
    };
    let load = Load::start(system, Some(daemon.address("smtp")), (4, 2), &[&to], round);
    until("some messages are taken", || load.count() >= LEAST);
    std::thread::sleep(Duration::from_millis(u64::from(mixed(round) % 300)));
    let cut = image.cut();
    kill_all(system);
    let names = load.stop();
    // A caller may have started one more.
    kill_all(system);
    drop(daemon);
    cut?;
    image.keep()?;
    image.boot()?;
    Ok(names)
}
