//! From one place in the spool to another.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::{Told, last, message, open_to_group};
use crate::harness::System;
use crate::harness::disk::{self, Disk, Step};
use crate::harness::house::{ALICE, House, SPOOL};

/// A message that is put back, set aside and let go: it is in one place, or another, and never in none or two.
#[test]
fn what_is_moved_is_somewhere() {
    let body = "short\n";
    let mut cases = 0;
    for (before, now) in [
        (&[][..], &["-q"][..]),
        (&["-q"], &["--hold", "ALL"]),
        (&["--hold", "ALL"], &["--release", "ALL"]),
    ] {
        let system = System::offline("powerless-moved");
        system.accept(&["-odq", "one@example.net"], message(body));
        if !before.is_empty() {
            system.run(before, "");
        }
        let told = Told::of(&system, now, "");
        cases += told.cut(
            |_| 0,
            |before| {
                // The next run finds nobody at home, as the one that was cut.
                system.run(&["-q"], "");
                let found = ["tmp", "new", "cur", "hold"].map(|f| system.names(f));
                let all = found.concat();
                assert_eq!(all.len(), 1, "{found:?}: {:#?}", last(before));
                let held = system.names("hold");
                if !held.is_empty() {
                    system.run(&["--release", &held[0]], "");
                }
                let queued = system.queued();
                assert_eq!(queued.mail().body(), body);
                assert_eq!(queued.recipients(), ["one@example.net"]);
            },
        );
    }
    assert!(cases > 10, "{cases} cases");
}

/// A message that a user of this machine has put into the spool, and that waits longer than it takes to try it once: a
/// copy that belongs to the spool takes its place, and moves on with that from new/.
#[test]
fn what_is_taken_over_is_somewhere() {
    for folder in ["new", "cur"] {
        let Some(house) = House::open("powerless-over") else {
            return;
        };
        taken_over(house, folder);
    }
}

fn taken_over(house: House, folder: &str) {
    let body = "the secret of the message\n";
    let nobody = "[smarthost]\nhost = \"127.0.0.1\"\ntls = \"none\"\nport = 1";
    let house = house.with(&format!("user = \"{SPOOL}\"\njail = false\n{nobody}"));
    let record = house.path("record");
    fs::write(&record, "").unwrap();
    fs::set_permissions(&record, fs::Permissions::from_mode(0o666)).unwrap();
    house.submit(ALICE, &["-i", "-odq", "one@example.net"], &message(body));
    if folder == "cur" {
        for option in ["--hold", "--release"] {
            assert_eq!(house.call("root", &[option, "ALL"], "").code, 0);
        }
    }
    let folders = vec![house.path("spool")];
    let start = Disk::read(&folders);
    let env = [("MINIMTA_RECORD", record.to_str().unwrap())];
    assert_eq!(house.call_with("root", &["-q"], "", &env).code, 0);
    let steps = disk::record(&record);
    let over = |s: &Step| matches!(s, Step::Exchange(_, to) if to.parent() == Some(&house.path("spool").join(folder)));
    assert!(steps.iter().any(over), "{folder}: {:#?}", last(&steps));
    let told = Told {
        start,
        steps,
        folders,
    };
    let cases = told.cut(
        |_| 0,
        |before| {
            house.give(&house.path("spool"), SPOOL);
            open_to_group(&house.path("spool"));
            assert_eq!(house.call("root", &["-q"], "").code, 0);
            let found = ["new", "cur"].map(|f| house.names(f)).concat();
            assert_eq!(found.len(), 1, "{folder} {found:?}: {:#?}", last(before));
            let path = ["new", "cur"].map(|f| house.path("spool").join(f).join(&found[0]));
            let text = path
                .iter()
                .find_map(|p| fs::read_to_string(p).ok())
                .unwrap();
            assert!(text.contains(&format!("\r\n\r\n{}", body.replace('\n', "\r\n"))));
        },
    );
    assert!(cases > 10, "{cases} cases");
}
