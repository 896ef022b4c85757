//! A user who stops processes of minimta that are his: what others send and get goes on. Needs root, as tests/root.rs does.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::harness::house::{ALICE, BOB, House, SPOOL, processes};
use crate::harness::system::names_in;
use crate::harness::{Answer, Remote, Script, until};

const MESSAGE: &str = "Subject: for you alone\n\nthe secret of the message\n";

fn state(process: &str) -> Option<char> {
    let status = fs::read_to_string(Path::new("/proc").join(process).join("status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("State:"))?;
    line.trim().chars().next()
}

#[test]
fn a_user_whose_helpers_are_stopped_has_few_of_them() {
    let Some(house) = House::open("stopped") else {
        return;
    };
    let house = house.with_mailbox("~/Maildir/");
    let begun = house.open_folder("begun");
    let forward = house.path("home/mt-alice/.forward");
    let line = format!(
        "\"|: >{}/$PPID; (sleep 0.3; kill -STOP $PPID) >/dev/null 2>&1 </dev/null & exit 0\"\n",
        begun.display()
    );
    fs::write(&forward, line).unwrap();
    house.give(&forward, ALICE);
    let daemon = house.daemon();
    for round in 1..=6 {
        house.submit("root", &["mt-alice"], MESSAGE);
        until("one more is stopped", || {
            let names = names_in(&begun);
            names.len() == round && names.iter().all(|n| matches!(state(n), Some('T') | None))
        });
        // The run has to end, or its next message would go to the one that is stopped.
        std::thread::sleep(Duration::from_millis(1500));
    }
    let left = processes(daemon.id(), "--as-helper").len();
    assert!((1..=4).contains(&left), "{left} {}", house.log());
    let said = "the process that delivers for user mt-alice does not end when it is told to, and is killed";
    assert!(house.log().contains(said), "{}", house.log());
    house.submit("root", &["mt-bob"], MESSAGE);
    until("others have theirs", || house.mail_of(BOB).len() == 1);
    assert_eq!(daemon.stop().code, 0);
    for process in names_in(&begun) {
        assert!(matches!(state(&process), None | Some('Z')), "{process}");
    }
}

/// Without a daemon: what a user sends waits for none of another's processes, and one of his own looks after it.
#[test]
fn nobody_waits_for_the_place_of_another() {
    let Some(house) = House::open("places") else {
        return;
    };
    let late = Answer::Late(Duration::from_secs(4), "250 2.0.0 taken".to_owned());
    let remote = Remote::start(Script::new().on("DOT", late));
    let house = house.with(&format!(
        "user = \"{SPOOL}\"\n[smarthost]\n{}",
        remote.smarthost()
    ));
    let file = house.path("minimta.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("[queue]", "[queue]\nworkers = 1")).unwrap();
    let from = |user| {
        let received = remote.received();
        received.iter().filter(|r| r.from.contains(user)).count()
    };
    let begun = Instant::now();
    for user in [ALICE, BOB, ALICE] {
        house.submit(user, &["you@example.net"], MESSAGE);
    }
    until("each has sent one", || from(ALICE) >= 1 && from(BOB) == 1);
    // One after the other they would take twice as long.
    assert!(begun.elapsed() < Duration::from_millis(7500));
    until("and Alice the second", || from(ALICE) == 2);
    until("none is left", || house.names("new").is_empty());
    let names = names_in(&house.path("spool/tmp"));
    assert!(names.iter().all(|n| !n.ends_with(".wanted")), "{names:?}");
}
