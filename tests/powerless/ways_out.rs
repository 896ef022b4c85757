//! What goes to a server: noted when it is there, and reported when it never will be.

use std::fs;

use super::{Told, assert_not_held, last, marks, message, reached, recover, whole};
use crate::harness::disk::Step;
use crate::harness::system::me;
use crate::harness::{Remote, Script, System};

/// Whether a file was synced, behind a write to it, since a server took the message.
fn noted(before: &[Step]) -> bool {
    let taken = before.iter().position(|s| matches!(s, Step::Mark(_)));
    let of_journal = |at: usize| matches!((&before[at - 1], &before[at]), (Step::Write(a, ..), Step::Sync(b)) if a == b);
    taken.is_some_and(|taken| (taken + 1..before.len()).any(of_journal))
}

/// A message for three of a server: one it takes, one it takes later, one it refuses, whose failure is reported.
#[test]
fn what_was_sent_is_noted_and_reported() {
    let body = "short\n";
    let system = System::new("powerless-send");
    let record = system.path("record");
    let remote = Remote::start(
        Script::new()
            .on("RCPT TO:<bad@", "550 5.1.1 no such user")
            .once("RCPT TO:<later@", "450 4.2.1 busy")
            .records(&record),
    );
    let system = system.with("smarthost", &remote.smarthost());
    let to = ["good@example.net", "later@example.net", "bad@example.net"];
    system.accept(&[&["-odq"], &to[..]].concat(), message(body));
    let id = system.queued().id;
    let told = Told::of(&system, &["-q"], "");
    assert_eq!(marks(&told.steps, to[0]), 1, "{:#?}", last(&told.steps));
    let cases = told.cut(
        |before| marks(before, to[0]) + 2 * usize::from(noted(before)),
        |before| {
            let already = remote.received().len();
            recover(&system, &last(before));
            assert_not_held(&system, &id, before);
            let received = remote.received();
            let now = |who: &str| reached(&received[already..], who);
            let (good, later) = (marks(before, to[0]) + now(to[0]), now(to[1]));
            let most = 1 + usize::from(marks(before, to[0]) == 1 && !noted(before));
            assert!((1..=most).contains(&good), "{good}: {:#?}", last(before));
            assert_eq!(later, 1, "{:#?}", last(before));
            let told = system.mailbox();
            let told = told.iter().filter(|m| m.text().contains(to[2])).count();
            assert!((1..=2).contains(&told), "{told}: {:#?}", last(before));
        },
    );
    assert!(cases > 20, "{cases} cases");
}

/// A server that takes the message for one of them when it is asked again.
fn busy_once() -> Script {
    Script::new().once("RCPT TO:<later@", "450 4.2.1 busy")
}

/// An alias stands for somebody here, somebody of a server, and somebody it takes later: who they are is in the journal
/// before any of them has the message, and whoever has it does not get it from a second look at the alias.
#[test]
fn what_an_alias_stands_for_is_reached() {
    let body = "short\n";
    let system = System::new("powerless-alias");
    let remote = Remote::start(busy_once().records(&system.path("record")));
    let system = system.with("smarthost", &remote.smarthost());
    let members = format!(
        "team: {}, good@example.net, later@example.net\n",
        me().split('@').next().unwrap()
    );
    fs::write(system.path("aliases"), members).unwrap();
    system.accept(&["-odq", "team"], message(body));
    let id = system.queued().id;
    let told = Told::of(&system, &["-q"], "");
    let expanded = |s: &Step| matches!(s, Step::Write(_, _, octets) if String::from_utf8_lossy(octets).contains(" expanded "));
    assert!(told.steps.iter().any(expanded), "{:#?}", last(&told.steps));
    let cases = told.cut(
        |before| marks(before, "good@example.net") + 2 * usize::from(noted(before)),
        |before| {
            let already = remote.received().len();
            recover(&system, &last(before));
            assert_not_held(&system, &id, before);
            let received = remote.received();
            let now = |who: &str| reached(&received[already..], who);
            let good = marks(before, "good@example.net") + now("good@example.net");
            let most = 1 + usize::from(marks(before, "good@example.net") == 1 && !noted(before));
            assert!((1..=most).contains(&good), "{good}: {:#?}", last(before));
            assert_eq!(now("later@example.net"), 1, "{:#?}", last(before));
            let copies = whole(&system.mailbox(), body);
            assert!((1..=2).contains(&copies), "{copies}: {:#?}", last(before));
        },
    );
    assert!(cases > 20, "{cases} cases");
}

/// Handed straight to a server: it is nowhere here before, and exit 0 is said when whoever the server did not take it
/// for is on the disk, and so is the report of whom it refused.
#[test]
fn what_goes_straight_is_there_or_here() {
    let body = "short\n";
    let system = System::new("powerless-direct");
    let script = busy_once().on("RCPT TO:<bad@", "550 5.1.1 no such user");
    let remote = Remote::start(script.records(&system.path("record")));
    let system = system
        .with("smarthost", &remote.smarthost())
        .with("queue", "first_try = \"direct\"");
    system.accept(&["-q"], "");
    let to = ["good@example.net", "later@example.net", "bad@example.net"];
    let told = Told::of(
        &system,
        &[&["-i", "-odi"], &to[..]].concat(),
        &message(body),
    );
    assert_eq!(marks(&told.steps, to[0]), 1);
    let first = told.steps.iter().position(|s| matches!(s, Step::Write(..)));
    let mark = told.steps.iter().position(|s| matches!(s, Step::Mark(_)));
    assert!(mark < first, "{:#?}", last(&told.steps));
    let cases = told.cut(
        |before| marks(before, to[0]) + 2 * told.is_done(before),
        |before| {
            let already = remote.received().len();
            recover(&system, &last(before));
            let received = remote.received();
            let now = |who: &str| reached(&received[already..], who);
            let good = marks(before, to[0]) + now(to[0]);
            let later = now(to[1]);
            let reports = system.mailbox();
            let reports = reports.iter().filter(|m| m.text().contains(to[2])).count();
            if told.is_done(before) == 1 {
                assert_eq!((good, later), (1, 1), "{:#?}", last(before));
                // That it was delivered here is never on the disk for sure.
                assert!((1..=2).contains(&reports), "{:#?}", last(before));
                assert_eq!(system.names("hold"), [""; 0], "{:#?}", last(before));
            }
            // Before the one sync the message may be on the disk without the line that says who has it: a second copy,
            // in a moment in which nothing was promised.
            let most = 1 + marks(before, to[0]);
            assert!(good <= most && later <= 1, "{good}: {:#?}", last(before));
        },
    );
    assert!(cases > 10, "{cases} cases");
}
