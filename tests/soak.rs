//! Everything is killed in the middle of a load, over and over: `make soak`. What was taken is there after the next
//! run, whole; a second copy is only there of what was not yet off the queue when its process died.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::harness::load::{Load, copies, kill_all};
use crate::harness::system::{me, names_in};
use crate::harness::{Daemon, Remote, Script, System};

/// How many rounds, unless ROUNDS says otherwise.
const ROUNDS: u32 = 20;

/// A number from the environment.
pub fn rounds(usual: u32) -> u32 {
    let told = std::env::var("ROUNDS").ok();
    told.and_then(|n| n.parse().ok()).unwrap_or(usual)
}

/// Numbers that look random and are the same each time.
pub fn mixed(seed: u32) -> u32 {
    let mut x = seed.wrapping_mul(0x9e37_79b9) ^ 0x85eb_ca6b;
    x = (x ^ (x >> 13)).wrapping_mul(0xc2b2_ae35);
    x ^ (x >> 16)
}

#[test]
#[ignore = "make soak"]
fn what_was_taken_survives_kill_9() {
    let remote = Remote::start(Script::new());
    let system = System::listening("soak").with("smarthost", &remote.smarthost());
    let (mut taken, mut twice) = (0, 0);
    let mut sent = 0;
    let all = rounds(ROUNDS);
    for round in 1..=all {
        let daemon = Daemon::start(&system);
        let (here, there) = (me(), format!("r{round}@example.net"));
        let address = Some(daemon.address("smtp"));
        let load = Load::start(&system, address, (4, 2), &[&here, &there], round);
        std::thread::sleep(Duration::from_millis(u64::from(50 + mixed(round) % 400)));
        kill_all(&system);
        let names = load.stop();
        // A caller may have started one more.
        kill_all(&system);
        drop(daemon);
        let log = system.log();
        system.accept(&["-q"], "");
        let waiting = system.queue();
        assert!(waiting.is_empty(), "round {round}: {waiting:?}");
        assert_eq!(system.names("hold"), [""; 0], "round {round}");
        let found = copies(&system, &remote, &mut sent);
        let lost: Vec<_> = names.iter().filter(|n| !found.contains_key(*n)).collect();
        assert!(
            lost.is_empty(),
            "round {round}: {lost:?} of {}",
            names.len()
        );
        twice += in_the_window(&found, &log, round);
        taken += names.len();
        for folder in ["new", "tmp"] {
            let folder = system.maildir().join(folder);
            for name in names_in(&folder) {
                std::fs::remove_file(folder.join(name)).unwrap();
            }
        }
        std::fs::remove_file(system.path("log")).unwrap();
    }
    println!("{all} rounds: {taken} messages taken, 0 lost, {twice} twice");
    assert!(taken > all as usize, "{taken} messages in {all} rounds");
}

/// The second copies: none of a message that was off the queue before everything was killed.
fn in_the_window(found: &BTreeMap<String, usize>, log: &str, round: u32) -> usize {
    let twice = found.iter().filter(|(_, copies)| **copies > 1);
    for (name, copies) in twice.clone() {
        let mark = format!("message-id=\"<{name}@load.example>\"");
        let id = log.lines().find(|l| l.contains(&mark));
        let id = id.and_then(|l| l.split(' ').nth(2)).unwrap_or("(none)");
        let done = format!("{id} removed why=done");
        assert!(
            *copies == 2 && !log.contains(&done),
            "round {round}: {name} {copies} times"
        );
    }
    twice.count()
}
