//! The power goes for real, as root: spool and mailboxes stand on a file system of their own, in an image, which is
//! shut down in the middle of a load without a flush of its journal, mounted again and repaired as at a boot; then
//! the next queue run. What was taken is there: `make powercut`. A file system that the kernel or the tools of this
//! machine do not have is passed over, and it is said why.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::harness::load::{Load, copies, kill_all};
use crate::harness::system::me;
use crate::harness::{Daemon, Remote, Script, System, until};
use crate::soak::{mixed, rounds};

/// How many rounds of each kind, unless ROUNDS says otherwise.
const ROUNDS: u32 = 20;
/// Messages taken before the power goes, at least.
const LEAST: usize = 20;

/// Runs a command; its complaint when it fails.
fn run(program: &str, words: &[&str]) -> Result<(), String> {
    let ran = Command::new(program).args(words).output();
    let ran = ran.map_err(|e| format!("{program}: {e}"))?;
    let said = String::from_utf8_lossy(&ran.stderr);
    match ran.status.success() {
        true => Ok(()),
        false => Err(format!("{program} {words:?}: {}", said.trim())),
    }
}

/// A file system in an image, with the spool and the mailboxes of a system on it.
struct Image {
    file: PathBuf,
    place: PathBuf,
    binds: [PathBuf; 2],
    stop: PathBuf,
}

impl Image {
    /// Makes it and mounts it; why it cannot be had, otherwise.
    fn new(system: &System, kind: &str) -> Result<Self, String> {
        let image = Self {
            file: system.path("image"),
            place: system.path("disk"),
            binds: [system.path("spool"), system.path("mail")],
            stop: system.path("goingdown"),
        };
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/harness/goingdown.c");
        run("cc", &["-o", image.stop.to_str().unwrap(), source])?;
        let file = std::fs::File::create(&image.file).unwrap();
        file.set_len(320 << 20).unwrap();
        std::fs::create_dir(&image.place).unwrap();
        let force = if kind == "ext4" { "-F" } else { "-f" };
        run(
            &format!("mkfs.{kind}"),
            &["-q", force, image.file.to_str().unwrap()],
        )
        .or_else(|_| {
            run(
                &format!("mkfs.{kind}"),
                &[force, image.file.to_str().unwrap()],
            )
        })?;
        run(
            "mount",
            &[
                "-o",
                "loop",
                image.file.to_str().unwrap(),
                image.place.to_str().unwrap(),
            ],
        )?;
        for bind in &image.binds {
            let inside = image.place.join(bind.file_name().unwrap());
            std::fs::create_dir(&inside).unwrap();
        }
        run("sync", &["-f", image.place.to_str().unwrap()])?;
        image.bind()?;
        Ok(image)
    }

    fn bind(&self) -> Result<(), String> {
        for bind in &self.binds {
            let inside = self.place.join(bind.file_name().unwrap());
            run(
                "mount",
                &["--bind", inside.to_str().unwrap(), bind.to_str().unwrap()],
            )?;
        }
        Ok(())
    }

    fn unmount(&self) -> Result<(), String> {
        for place in [&self.binds[0], &self.binds[1], &self.place] {
            run("umount", &[place.to_str().unwrap()])?;
        }
        Ok(())
    }

    /// The power goes.
    fn cut(&self) -> Result<(), String> {
        run(self.stop.to_str().unwrap(), &[self.place.to_str().unwrap()])
    }

    /// The power is back.
    fn boot(&self) -> Result<(), String> {
        self.unmount()?;
        let [file, place] = [&self.file, &self.place].map(|p| p.to_str().unwrap());
        run("mount", &["-o", "loop", file, place])?;
        self.bind()
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        for place in [&self.binds[0], &self.binds[1], &self.place] {
            let _ = run("umount", &["-l", place.to_str().unwrap()]);
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
    for file_system in ["ext4", "xfs", "f2fs", "btrfs"] {
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
        let image = Image::new(&system, file_system)?;
        let (mut taken, mut twice, mut sent) = (0, 0, 0);
        for round in 1..=all {
            // A port at which nobody listens: everything waits.
            let port = match kind {
                Kind::Queued => "port = 1".to_owned(),
                _ => format!("port = {}", remote.address.port()),
            };
            system = system.with("smarthost", &port);
            let names = one_round(&system, &image, kind, round)?;
            system = system.with("smarthost", &smarthost);
            system.accept(&["-q"], "");
            let waiting = system.queue();
            assert!(
                waiting.is_empty(),
                "{file_system} {kind:?} round {round}: {waiting:?}"
            );
            let found = copies(&system, &remote, &mut sent);
            let lost: Vec<_> = names.iter().filter(|n| !found.contains_key(*n)).collect();
            assert!(
                lost.is_empty(),
                "{file_system} {kind:?} round {round}: {} of {} lost: {lost:?} {}",
                lost.len(),
                names.len(),
                system.log()
            );
            twice += found.values().filter(|n| **n > 1).count();
            taken += names.len();
            let _ = std::fs::remove_dir_all(system.maildir());
            std::fs::remove_file(system.path("log")).unwrap();
        }
        let kind = format!("{kind:?}").to_lowercase();
        println!(
            "powercut: {file_system}: {all} rounds {kind}: {taken} taken, 0 lost, {twice} twice"
        );
    }
    Ok(())
}

/// A load, a cut in the middle of it, a boot. Returned is what was taken.
fn one_round(
    system: &System,
    image: &Image,
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
    image.boot()?;
    Ok(names)
}
