//! H7. The power goes between any two steps: the program writes its steps down, and for each point between two of them
//! the model of `harness/disk.rs` tells all that a disk may then hold. Each of these is laid out, and the next queue
//! run finds it. What must hold:
//!
//! - exit 0 was said: everybody has the message, whole, exactly as it was; it was not: he has it or he has not, whole
//! - a second copy only where the first one was given away and the note of it was not yet on the disk
//! - nothing is left behind, and nothing is set aside, but a file that was promised to nobody

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::harness::disk::{self, Disk, Step};
use crate::harness::house::{ALICE, House, SPOOL};
use crate::harness::remote::Received;
use crate::harness::system::{age, me, names_in};
use crate::harness::{Mail, System};

mod moves;
mod twice;
mod ways_in;
mod ways_out;

/// What can be lost.
fn folders(system: &System) -> Vec<PathBuf> {
    vec![system.path("spool"), system.path("mail")]
}

/// More than a block, and less.
fn bodies() -> [String; 2] {
    ["0123456789abcdef\n".repeat(4_000), "short\n".to_owned()]
}

fn message(body: &str) -> String {
    format!("From: a@example.org\nSubject: x\n\n{body}")
}

/// What is written down of one run of the program, with what could be lost in it.
struct Told {
    start: Disk,
    steps: Vec<Step>,
    folders: Vec<PathBuf>,
}

impl Told {
    /// Runs the program, which must succeed.
    fn of(system: &System, args: &[&str], stdin: &str) -> Self {
        let record = system.path("record");
        let _ = fs::remove_file(&record);
        let folders = folders(system);
        let start = Disk::read(&folders);
        let call = system.call("sendmail").args(args).stdin(stdin);
        let ran = call.env("MINIMTA_RECORD", record.to_str().unwrap()).run();
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{args:?}");
        let steps = disk::record(&record);
        assert!(!steps.is_empty(), "{args:?} took no step");
        Self {
            start,
            steps,
            folders,
        }
    }

    /// What was written down since `start`, while something else ran.
    fn since(start: Disk, system: &System) -> Self {
        let steps = disk::record(&system.path("record"));
        assert!(!steps.is_empty());
        let folders = folders(system);
        Self {
            start,
            steps,
            folders,
        }
    }

    /// Cuts the power at every point. `check` gets the steps taken before, when the system stands as it may be found
    /// then. What is the same to it, by `key`, is looked at once. Returned is how many there were.
    fn cut(&self, key: impl Fn(&[Step]) -> usize, mut check: impl FnMut(&[Step])) -> usize {
        let mut seen = BTreeSet::new();
        let mut disk = self.start.clone();
        for at in 0..=self.steps.len() {
            let before = &self.steps[..at];
            for tree in disk.after_a_cut() {
                let case = (key(before), tree);
                if !seen.contains(&case) {
                    disk::lay_out(&self.folders, &case.1);
                    check(before);
                    seen.insert(case);
                }
            }
            if let Some(step) = self.steps.get(at) {
                disk.take(step);
            }
        }
        seen.len()
    }

    fn is_done(&self, before: &[Step]) -> usize {
        usize::from(before.len() == self.steps.len())
    }
}

/// The next runs: at once, and when what lies around is old enough to be swept.
fn recover(system: &System, why: &dyn std::fmt::Debug) {
    system.accept(&["-q"], "");
    for name in system.names("tmp") {
        age(&system.path("spool/tmp").join(name), 600);
    }
    let left = !system.names("tmp").is_empty() || !system.queue().is_empty();
    if left {
        system.accept(&["-q"], "");
    }
    assert!(system.names("tmp").is_empty(), "{why:?}");
    let waiting = system.queue();
    assert!(waiting.is_empty(), "{why:?}: {waiting:?} {}", system.log());
}

/// A report that was not committed yet may be set aside, full of holes; what was promised never is.
fn assert_not_held(system: &System, id: &str, before: &[Step]) {
    let held = system.names("hold");
    assert!(!held.iter().any(|h| h == id), "{:#?}", last(before));
    let reports = held.iter().filter(|h| is_begun(before, h)).count();
    assert_eq!(held.len(), reports, "{held:?}: {:#?}", last(before));
}

/// Whether this queue file was made, and not brought to its end.
fn is_begun(before: &[Step], id: &str) -> bool {
    let made = before
        .iter()
        .rposition(|s| matches!(s, Step::Create(_, path) if path.ends_with(id)));
    let rest = &before[made.unwrap_or(before.len())..];
    let safe = |s: &Step| matches!(s, Step::SyncFolder(path) if path.ends_with("spool/new"));
    made.is_some() && !rest.iter().any(safe)
}

fn whole(found: &[Mail], body: &str) -> usize {
    let is_whole = |m: &&Mail| m.body() == body && m.field("Subject").as_deref() == Some("x");
    if let Some(other) = found.iter().find(|m| !is_whole(m)) {
        panic!("this was delivered: {}", other.text());
    }
    found.len()
}

/// The last steps, to be shown when something is wrong.
fn last(before: &[Step]) -> Vec<String> {
    let short = |s: &Step| format!("{s:?}").chars().take(120).collect();
    before.iter().map(short).collect()
}

#[test]
fn what_was_accepted_is_there() {
    let mut cases = 0;
    for body in bodies() {
        for fresh in [true, false] {
            let system = System::new("powerless-accept");
            if fresh {
                fs::remove_dir(system.path("spool")).unwrap();
            } else {
                system.accept(&["-q"], "");
                system.accept(&["-odq", "-f", "<>", &me()], message(&body));
                system.accept(&["-q"], "");
            }
            let told = Told::of(&system, &["-i", "-odq", &me()], &message(&body));
            let earlier = system.mailbox().len();
            cases += told.cut(
                |b| told.is_done(b),
                |before| {
                    recover(&system, &last(before));
                    let copies = whole(&system.mailbox(), &body) - earlier;
                    let done = told.is_done(before) == 1;
                    let fine = if done { copies == 1 } else { copies <= 1 };
                    assert!(fine, "{copies} copies: {:#?}", last(before));
                    if done {
                        assert_eq!(system.names("hold"), [""; 0], "{:#?}", last(before));
                    }
                },
            );
        }
    }
    assert!(cases > 100, "{cases} cases");
}

/// The Maildir is made on the way; the mbox has a message, or is made too.
#[test]
fn what_was_delivered_is_there_or_in_the_queue() {
    let mut cases = 0;
    for (name, fresh) in [("Maildir/", true), ("box", true), ("box", false)] {
        let [body, _] = bodies();
        let system = System::new("powerless-deliver");
        let place = system.path("mail").join(name);
        let system = system.with("local", &format!("mailbox = \"{}\"", place.display()));
        if !fresh {
            system.accept(&["-i", "-odq", &me()], message(&body));
            system.accept(&["-q"], "");
        }
        let earlier = usize::from(!fresh);
        system.accept(&["-i", "-odq", &me()], message(&body));
        let id = system.queued().id;
        let told = Told::of(&system, &["-q"], "");
        cases += told.cut(
            |_| 0,
            |before| {
                old_lock(&system);
                recover(&system, &last(before));
                assert_not_held(&system, &id, before);
                let copies = match name {
                    "box" => in_mbox(&fs::read_to_string(&place).unwrap(), &body, before),
                    _ => whole(&maildir(&place), &body),
                };
                // That the queue file went is never on the disk for sure, and then it is delivered again.
                let copies = copies - earlier;
                assert!((1..=2).contains(&copies), "{copies}: {:#?}", last(before));
                let written = before.iter().any(|s| matches!(s, Step::Write(..)));
                assert!(copies == 1 || written, "{:#?}", last(before));
            },
        );
    }
    assert!(cases > 50, "{cases} cases");
}

/// Another delivery has made the Maildir, and what it made is not on the disk yet.
#[test]
fn what_was_delivered_beside_another_is_there_or_in_the_queue() {
    let body = "short\n";
    let system = System::new("powerless-beside");
    system.accept(&["-i", "-odq", &me()], message(body));
    let start = Disk::read(&folders(&system));
    let place = system.maildir();
    let made = ["", "tmp", "new", "cur"].map(|name| place.join(name).components().collect());
    made.iter()
        .for_each(|path: &PathBuf| fs::create_dir(path).unwrap());
    let own = Told::of(&system, &["-q"], "");
    let told = Told {
        start,
        steps: [made.map(Step::Folder).to_vec(), own.steps].concat(),
        folders: own.folders,
    };
    let cases = told.cut(
        |_| 0,
        |before| {
            recover(&system, &last(before));
            let copies = whole(&maildir(&place), body);
            assert!((1..=2).contains(&copies), "{copies}: {:#?}", last(before));
        },
    );
    assert!(cases > 10, "{cases} cases");
}

/// Another process has made the mbox, and died at any of its steps: what it left unsynced nobody knows of any more.
#[test]
fn what_was_delivered_behind_a_dead_process_is_there_or_in_the_queue() {
    let body = "short\n";
    let mut cases = 0;
    for at in 1.. {
        let system = System::new("powerless-behind");
        let place = system.path("mail/box");
        let system = system.with("local", &format!("mailbox = \"{}\"", place.display()));
        system.accept(&["-i", "-odq", &me()], message(body));
        let start = Disk::read(&folders(&system));
        let record = system.path("record");
        let run = |fault: &str| {
            let call = system.call("sendmail").args(&["-q"]);
            let call = call.env("MINIMTA_RECORD", record.to_str().unwrap());
            call.env("MINIMTA_FAULT", fault).run().code
        };
        if run(&format!("{at}:kill")) == 0 {
            break;
        }
        old_lock(&system);
        assert_eq!(run(""), 0, "{}", system.log());
        let told = Told::since(start, &system);
        cases += told.cut(
            |before| told.is_done(before),
            |before| {
                if told.is_done(before) == 0 {
                    return;
                }
                old_lock(&system);
                recover(&system, &last(before));
                let copies = in_mbox(&fs::read_to_string(&place).unwrap(), body, before);
                // The dead one may have delivered it, and the queue file be back.
                assert!((1..=3).contains(&copies), "{copies}: {:#?}", last(before));
            },
        );
    }
    assert!(cases > 50, "{cases} cases");
}

/// The next run comes when a lock that was left is old.
fn old_lock(system: &System) {
    let lock = system.path("mail/box.lock");
    if lock.exists() {
        age(&lock, 3600);
    }
}

fn maildir(folder: &Path) -> Vec<Mail> {
    let new = folder.join("new");
    let names = names_in(&new);
    let read = |n: &String| Mail::new(&fs::read(new.join(n)).unwrap());
    names.iter().map(read).collect()
}

/// Whole messages in an mbox. What a cut left unfinished stands before one of them, never at the end.
fn in_mbox(text: &str, body: &str, before: &[Step]) -> usize {
    let whole = format!("\n\n{body}\n");
    assert!(text.ends_with(&whole), "{:#?}", last(before));
    text.match_indices(&whole).count()
}

/// How often a server has taken the message for somebody.
fn marks(before: &[Step], who: &str) -> usize {
    let marked = |s: &&Step| matches!(s, Step::Mark(m) if m.split(' ').any(|w| w == who));
    before.iter().filter(marked).count()
}

/// How often somebody is among those whom the server has taken a message for.
fn reached(received: &[Received], who: &str) -> usize {
    let has = |r: &&Received| r.recipients().iter().any(|to| to == who);
    received.iter().filter(has).count()
}

/// Delivered by root: his process, the worker and the helper of the recipient write into one record, each step before
/// anybody can know of it.
#[test]
fn what_a_helper_delivered_is_there_or_in_the_queue() {
    let body = "the secret of the message\n";
    let message = message(body);
    let mut cases = 0;
    for (mailbox, fresh) in [("Maildir/", true), ("mbox", true), ("mbox", false)] {
        let Some(house) = House::open("powerless-house") else {
            return;
        };
        // What is written down is no part of what a jail lets through.
        let house = house
            .with(&format!("user = \"{SPOOL}\"\njail = false"))
            .with_mailbox(&format!("~/{mailbox}"));
        let record = house.path("record");
        fs::write(&record, "").unwrap();
        fs::set_permissions(&record, fs::Permissions::from_mode(0o666)).unwrap();
        if !fresh {
            house.submit("root", &["-i", "-odq", ALICE], &message);
            assert_eq!(house.call("root", &["-q"], "").code, 0);
        }
        let earlier = house.mail_of(ALICE).len();
        assert_eq!(earlier, usize::from(!fresh));
        house.submit("root", &["-i", "-odq", ALICE], &message);
        let home = house.path("home").join(ALICE);
        let folders = vec![house.path("spool"), home.clone()];
        let start = Disk::read(&folders);
        let env = [("MINIMTA_RECORD", record.to_str().unwrap())];
        let ran = house.call_with("root", &["-q"], "", &env);
        assert_eq!(ran.code, 0, "{ran:?}");
        let steps = disk::record(&record);
        let told = Told {
            start,
            steps,
            folders,
        };
        // Of both: the helper's, and then the worker's.
        let is_at = |step: &Step, place: &Path| match step {
            Step::Create(_, path) | Step::Remove(path) => path.starts_with(place),
            _ => false,
        };
        let helpers = told.steps.iter().position(|s| is_at(s, &home));
        let workers = told
            .steps
            .iter()
            .rposition(|s| is_at(s, &house.path("spool")));
        assert!(
            helpers.is_some() && helpers < workers,
            "{:#?}",
            last(&told.steps)
        );
        cases += told.cut(
            |_| 0,
            |before| {
                house.give(&house.path("spool"), SPOOL);
                open_to_group(&house.path("spool"));
                house.give(&home, ALICE);
                fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
                let lock = home.join("mbox.lock");
                if lock.exists() {
                    age(&lock, 3600);
                }
                for _ in 0..2 {
                    let ran = house.call("root", &["-q"], "");
                    assert_eq!(ran.code, 0, "{ran:?} {:#?}", last(before));
                }
                for folder in ["new", "cur", "hold"] {
                    assert_eq!(house.names(folder), [""; 0], "{folder} {:#?}", last(before));
                }
                let copies = match mailbox {
                    "mbox" => in_mbox(
                        &fs::read_to_string(home.join("mbox")).unwrap(),
                        body,
                        before,
                    ),
                    _ => whole(&maildir(&home.join("Maildir")), body),
                };
                let copies = copies - earlier;
                assert!((1..=2).contains(&copies), "{copies}: {:#?}", last(before));
                let written = before.iter().any(|s| matches!(s, Step::Write(..)));
                assert!(copies == 1 || written, "{:#?}", last(before));
            },
        );
    }
    assert!(cases > 50, "{cases} cases");
}

/// As the spool's files and folders are.
fn open_to_group(path: &Path) {
    let meta = fs::symlink_metadata(path).unwrap();
    let mode = if meta.is_dir() { 0o770 } else { 0o660 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    if meta.is_dir() {
        let entries = fs::read_dir(path).unwrap();
        entries.for_each(|entry| open_to_group(&entry.unwrap().path()));
    }
}
