//! A stop at every step that matters. `MINIMTA_FAULT` numbers the steps of durable.rs; for each number the
//! process dies there, or the step fails, until no step is left. What must hold:
//!
//! - exit 0: the message is there, whole, after the next run; anything else: nothing was promised
//! - nobody gets a part of a message, and nothing is lost between two places
//! - a second copy is allowed where the design says so, and only there

use std::fs;

use crate::harness::system::{Call, age, me};
use crate::harness::{Mail, Remote, Script, System};

/// No way through has more steps than this.
const MOST: u32 = 100;

/// More than one block, so that the message is written in several steps.
fn body() -> String {
    "0123456789abcdef\n".repeat(12_000)
}

fn message() -> String {
    format!("From: a@example.org\nSubject: x\n\n{}", body())
}

/// Runs `case` with the N-th step of `what` failing, for N from 1 until none failed; returns how many did.
pub fn at_each_step(what: &str, mut case: impl FnMut(&str) -> bool) -> u32 {
    for step in 1..MOST {
        if !case(&format!("{step}:{what}")) {
            return step - 1;
        }
    }
    panic!("more than {MOST} steps");
}

/// Whether the fault of a run happened: it says so, or died of it.
pub fn faulted(ran: &crate::harness::Ran) -> bool {
    ran.code == -6 || ran.stderr.contains("fault injected")
}

/// A run after the crash, as cron would start it a while later.
fn recover(system: &System, fault: &str) {
    for name in system.names("tmp") {
        age(&system.path("spool/tmp").join(name), 600);
    }
    system.accept(&["-q"], "");
    assert!(system.names("tmp").is_empty());
    assert!(
        system.queue().is_empty(),
        "{fault}: {:?} {}",
        system
            .queue()
            .iter()
            .map(|q| (q.folder, q.all("to"), q.journal.clone()))
            .collect::<Vec<_>>(),
        system.log()
    );
    assert!(system.names("hold").is_empty(), "{}", system.log());
}

/// The copies in the mailbox, all of which must be whole.
fn copies(system: &System) -> usize {
    let found = system.mailbox();
    let whole = |m: &Mail| m.body() == body() && m.field("Subject").as_deref() == Some("x");
    assert!(found.iter().all(whole), "a part of a message was delivered");
    found.len()
}

fn submission(system: &System, fault: &str) -> Call {
    let call = system.call("sendmail").args(&["-i", "-odq", &me()]);
    call.env("MINIMTA_FAULT", fault).stdin(message())
}

/// H6, I9, callers.md 7 test 9.
#[test]
fn a_submission_that_dies_promised_nothing() {
    for fresh in [true, false] {
        let steps = at_each_step("kill", |fault| {
            let system = System::new("crash-submit");
            if !fresh {
                system.accept(&["-q"], "");
                system.accept(&["-odq", "-f", "<>", &me()], message());
                system.accept(&["-q"], "");
            }
            let before = system.mailbox().len();
            let ran = submission(&system, fault).run();
            recover(&system, fault);
            let delivered = copies(&system) - before;
            match ran.code {
                0 => assert_eq!(delivered, 1, "{fault}"),
                _ => assert!(delivered <= 1, "{fault}"),
            }
            faulted(&ran)
        });
        assert!(steps >= 4, "{steps} steps");
    }
}

/// H1-H3: a disk that is full, broken or read-only, for one step or for good.
#[test]
fn a_submission_that_fails_leaves_nothing() {
    for error in [
        "ENOSPC", "short", "EIO", "EROFS", "EDQUOT", "EMFILE", "ENOMEM",
    ] {
        at_each_step(error, |fault| {
            let system = System::new("fail-submit");
            let ran = submission(&system, fault).run();
            if !faulted(&ran) {
                assert_eq!(ran.code, 0, "{fault}: {ran:?}");
                return false;
            }
            if ran.code == 0 {
                // A step that did not matter; then the message is there.
                assert_eq!(system.queue().len(), 1, "{fault}");
                return true;
            }
            assert!([71, 73, 74, 75].contains(&ran.code), "{fault}: {ran:?}");
            assert!(ran.stderr.lines().count() >= 2, "it says why: {ran:?}");
            assert!(system.queue().is_empty(), "{fault}");
            assert!(system.names("tmp").is_empty(), "{fault}");
            // And the next one works.
            system.accept(&["-i", "-odq", &me()], message());
            true
        });
        // From one step on, for good: nothing can be cleaned up then, and nothing is promised.
        for step in 1..8 {
            let system = System::new("fail-submit");
            let ran = submission(&system, &format!("{step}+:{error}")).run();
            let kept = system.queue().len();
            match ran.code {
                0 => assert_eq!(kept, 1, "{step}+:{error}"),
                _ => assert!(
                    [71, 73, 74, 75].contains(&ran.code),
                    "{step}+:{error}: {ran:?}"
                ),
            }
        }
    }
}

/// H9, H23: between spool and mailbox the message is always in at least one place.
#[test]
fn a_delivery_that_dies_loses_nothing() {
    for mbox in [false, true] {
        for what in ["kill", "ENOSPC", "short", "EIO", "EROFS"] {
            let steps = at_each_step(what, |fault| {
                let mut system = System::new("crash-deliver");
                if mbox {
                    let path = system.path("mail/box").display().to_string();
                    system = system.with("local", &format!("mailbox = \"{path}\""));
                }
                system.accept(&["-i", "-odq", "-f", "a@example.org", &me()], message());
                let ran = system
                    .call("sendmail")
                    .args(&["-q"])
                    .env("MINIMTA_FAULT", fault)
                    .run();
                let lock = system.path("mail/box.lock");
                if lock.exists() {
                    age(&lock, 3600);
                }
                recover(&system, fault);
                let copies = if mbox {
                    mbox_copies(&system, fault)
                } else {
                    copies(&system)
                };
                // Who dies between mailbox and spool cannot know that the mailbox has it.
                let most = if what == "kill" { 2 } else { 1 };
                assert!((1..=most).contains(&copies), "{fault}: {copies} copies");
                faulted(&ran)
            });
            assert!(steps >= 3, "{what}: {steps} steps");
        }
    }
}

/// Whole messages in the mbox; an unfinished one may stand before the last, never at the end.
fn mbox_copies(system: &System, fault: &str) -> usize {
    let text = fs::read_to_string(system.path("mail/box")).unwrap();
    let whole = format!("\n\n{}\n", body());
    assert!(text.ends_with(&whole), "{fault}");
    text.match_indices(&whole).count()
}

/// H8, H10, L15: a message for a server, one recipient refused, one deferred: after the crash everybody has what is
/// his, and the sender knows of the failure.
#[test]
fn a_queue_run_that_dies_loses_nothing() {
    for what in ["kill", "ENOSPC", "EIO"] {
        let steps = at_each_step(what, |fault| {
            let remote = Remote::start(
                Script::new()
                    .on("RCPT TO:<bad@", "550 5.1.1 no such user")
                    .once("RCPT TO:<later@", "450 4.2.1 busy"),
            );
            let system = System::relaying("crash-send", &remote);
            system.accept(
                &[
                    "-i",
                    "-odq",
                    "good@example.net",
                    "later@example.net",
                    "bad@example.net",
                ],
                message(),
            );
            let ran = system
                .call("sendmail")
                .args(&["-q"])
                .env("MINIMTA_FAULT", fault)
                .run();
            for _ in 0..3 {
                for name in system.names("tmp") {
                    age(&system.path("spool/tmp").join(name), 600);
                }
                system.accept(&["-q"], "");
            }
            assert!(system.queue().is_empty(), "{fault}: {}", system.log());
            assert!(system.names("hold").is_empty(), "{fault}: {}", system.log());
            let received = remote.received();
            for who in ["good@example.net", "later@example.net"] {
                let copies = received
                    .iter()
                    .filter(|r| r.recipients().contains(&who.to_owned()))
                    .count();
                assert!((1..=2).contains(&copies), "{fault}: {who} has {copies}");
            }
            assert!(
                received.iter().all(|r| r.mail().body() == body()),
                "{fault}"
            );
            let told = system.mailbox();
            let told = told
                .iter()
                .filter(|m| m.text().contains("bad@example.net"))
                .count();
            assert!((1..=2).contains(&told), "{fault}: told {told} times");
            faulted(&ran)
        });
        assert!(steps >= 4, "{what}: {steps} steps");
    }
}

/// Where nothing could be noted, nobody is given anything: no second copy for a full disk.
#[test]
fn a_full_disk_makes_no_second_copy() {
    let remote = Remote::start(Script::new().once("RCPT TO:<later@", "450 4.2.1 busy"));
    let system = System::relaying("full", &remote);
    let to = ["-odq", "good@example.net", "later@example.net"];
    system.accept(&to, message());
    let full = system.call("sendmail").args(&["-q"]);
    let ran = full.env("MINIMTA_FAULT", "1+:ENOSPC").run();
    assert!(ran.stderr.contains("step 1, reserve"), "{ran:?}");
    assert_eq!(remote.received().len(), 0);
    assert_eq!(ran.code, 75, "it was not tried: {ran:?}");
    let why = "cannot make room for the journal of";
    assert!(system.log().contains(why), "{}", system.log());
    for _ in 0..2 {
        system.accept(&["-q"], "");
    }
    let to: Vec<String> = remote
        .received()
        .iter()
        .flat_map(|r| r.recipients())
        .collect();
    assert_eq!(to, ["good@example.net", "later@example.net"]);
}

/// What is damaged and cannot be set aside either stays where it is, is not said to be elsewhere, and is no success.
#[test]
fn what_cannot_be_set_aside_was_not_tried() {
    let remote = Remote::start(Script::new());
    for (what, from, to) in [
        ("the envelope", "minimta-queue 1", "minimta-queue 7"),
        ("the message", "\r\nx\r\n", "\r\ny\r\n"),
    ] {
        let system = System::relaying("not-aside", &remote);
        system.accept(&["-odq", "one@example.net"], "Subject: x\n\nx\n");
        let id = system.names("new").remove(0);
        let file = system.path("spool/new").join(&id);
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replacen(from, to, 1)).unwrap();
        let queue = system.call("sendmail").args(&["-q", "-v"]);
        let ran = queue.env("MINIMTA_FAULT", "1+:EIO").run();
        assert_eq!(ran.code, 75, "{what}: {ran:?}");
        assert!(
            !ran.stderr.contains("set aside in hold/"),
            "{what}: {ran:?}"
        );
        assert!(file.exists() && system.names("hold").is_empty(), "{what}");
        let ran = system.run(&["-q", "-v"], "");
        assert_eq!(ran.code, 0, "{what}: {ran:?}");
        assert!(
            ran.stderr.contains("; set aside in hold/"),
            "{what}: {ran:?}"
        );
        assert_eq!(system.names("hold"), [id], "{what}");
    }
    assert_eq!(remote.received().len(), 0);
}

/// H24, H12: the same for real: a run is killed while a server has the message, and the next run delivers it.
#[test]
fn a_run_that_is_killed_leaves_no_lock() {
    use crate::harness::{Answer, until};
    let remote = Remote::start(Script::new().once("DOT", Answer::Silence));
    let system = System::relaying("kill", &remote);
    system.accept(&["-i", "-odq", "one@example.net"], message());
    let mut run = system.call("sendmail").args(&["-q"]).start();
    until("the message is on its way", || remote.wire().len() == 1);
    run.kill().unwrap();
    run.wait().unwrap();
    system.accept(&["-q"], "");
    assert_eq!(remote.received().len(), 1);
    assert!(system.queue().is_empty());
}
