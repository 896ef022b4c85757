//! A user who stops processes of minimta that are his: what others send and get goes on. Needs root, as tests/root.rs does.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::harness::house::{ALICE, BOB, House, processes};
use crate::harness::system::names_in;
use crate::harness::until;

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
