//! The power goes again while the first run after a cut puts things in order.

use std::collections::BTreeSet;

use super::{Told, last, message, reached, recover, whole};
use crate::harness::disk::{self, Disk, Step};
use crate::harness::system::me;
use crate::harness::{Remote, Script, System};
use crate::soak::rounds;

/// From so many of the ways in which a disk may be found the next run is cut, too; ROUNDS says otherwise.
const FIRST: u32 = 10;

/// They are dealt out to so many, who go through them side by side.
const PARTS: usize = 4;

/// A message for one of a server, one it takes later, one it refuses, and somebody here. Whatever the first cut left, and
/// the second: everybody who waits gets it, and the sender is told.
#[test]
fn a_second_cut_loses_nothing_either() {
    let parts: Vec<_> = (0..PARTS)
        .map(|number| std::thread::spawn(move || part(number)))
        .collect();
    let cases: usize = parts.into_iter().map(|p| p.join().unwrap()).sum();
    assert!(cases > 100, "{cases} cases");
}

/// Every so-manieth of the ways in which the first cut may leave the disk, from this one on: how many cases there were.
fn part(number: usize) -> usize {
    let body = "short\n";
    let system = System::new("powerless-twice");
    let script = Script::new()
        .on("RCPT TO:<bad@", "550 5.1.1 no such user")
        .once("RCPT TO:<later@", "450 4.2.1 busy");
    let remote = Remote::start(script.records(&system.path("record")));
    let system = system.with("smarthost", &remote.smarthost());
    let here = me();
    let to = [
        "good@example.net",
        "later@example.net",
        "bad@example.net",
        &here,
    ];
    system.accept(&[&["-i", "-odq"], &to[..]].concat(), message(body));
    let id = system.queued().id;
    let first = Told::of(&system, &["-q"], "");
    // Whom the world had before each cut does not depend on the disk: it is counted below.
    let mut found = BTreeSet::new();
    let mut disk = first.start.clone();
    for at in 0..=first.steps.len() {
        let given = super::marks(&first.steps[..at], to[0]);
        found.extend(disk.after_a_cut().into_iter().map(|tree| (given, tree)));
        if let Some(step) = first.steps.get(at) {
            disk.take(step);
        }
    }
    let step = found.len().div_ceil(rounds(FIRST) as usize);
    let mut cases = 0;
    for (given, tree) in found.iter().step_by(step).skip(number).step_by(PARTS) {
        disk::lay_out(&first.folders, tree);
        let start = Disk::read(&first.folders);
        let _ = std::fs::remove_file(system.path("record"));
        let run = system.call("sendmail").args(&["-q"]);
        let record = system.path("record");
        let ran = run.env("MINIMTA_RECORD", record.to_str().unwrap()).run();
        assert_eq!(ran.code, 0, "{ran:?}");
        let steps = disk::record(&record);
        if !steps.iter().any(|s| !matches!(s, Step::Mark(_))) {
            continue;
        }
        let again = Told {
            start,
            steps,
            folders: first.folders.clone(),
        };
        cases += again.cut(
            |before| super::marks(before, to[0]) + 2 * super::marks(before, to[1]),
            |before| {
                let already = remote.received().len();
                recover(&system, &last(before));
                let held = system.names("hold");
                assert!(!held.contains(&id), "{:#?}", last(before));
                let received = remote.received();
                let now = |who: &str| reached(&received[already..], who);
                let good = given + super::marks(before, to[0]) + now(to[0]);
                assert!((1..=3).contains(&good), "{good}: {:#?}", last(before));
                let later = super::marks(before, to[1]) + now(to[1]);
                assert!((1..=2).contains(&later), "{later}: {:#?}", last(before));
                let mails = system.mailbox();
                let is_report = |m: &crate::harness::Mail| m.text().contains("550 5.1.1");
                let (reports, ours): (Vec<_>, Vec<_>) = mails.into_iter().partition(is_report);
                // One of the first run's and one of the second's, each delivered twice at the most.
                let told = reports.len();
                assert!((1..=4).contains(&told), "{told}: {:#?}", last(before));
                let copies = whole(&ours, body);
                assert!((1..=3).contains(&copies), "{copies}: {:#?}", last(before));
            },
        );
    }
    cases
}
