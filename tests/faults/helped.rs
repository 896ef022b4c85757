//! The same for what root starts: each step of his own process, of the worker and of the helper of a user fails, in that
//! process alone, or the process dies there.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::harness::every;
use crate::harness::house::{ALICE, House, SPOOL};
use crate::harness::system::age;

const FAULTS: &[&str] = &[
    "ENOSPC", "EDQUOT", "EIO", "EROFS", "EMFILE", "ENOMEM", "EINTR", "short", "kill",
];
const BODY: &str = "the secret of the message\n";

#[test]
#[ignore = "make faults"]
fn a_step_that_fails_in_one_process_of_three_loses_nothing() {
    let mut cases = 0;
    for mailbox in ["~/Maildir/", "~/mbox"] {
        let Some(house) = House::open("fault-helped") else {
            return;
        };
        let house = house
            .with(&format!("user = \"{SPOOL}\"\njail = false"))
            .with_mailbox(mailbox);
        for who in [ALICE, SPOOL, "root"] {
            for fault in FAULTS {
                for step in (1..40).step_by(every()) {
                    if !one(&house, who, &format!("{step}@{}:{fault}", house.id(who).0)) {
                        break;
                    }
                    assert!(step < 39, "{who} takes too many steps");
                    cases += 1;
                }
            }
        }
    }
    println!("faults: {cases} in the processes of root's");
    assert!(cases * every() > 150);
}

/// Returned is whether the fault happened.
fn one(house: &House, who: &str, fault: &str) -> bool {
    let home = house.path("home").join(ALICE);
    let _ = fs::remove_dir_all(home.join("Maildir"));
    let _ = fs::remove_file(home.join("mbox"));
    fs::write(house.path("log"), "").unwrap();
    house.submit(
        "root",
        &["-i", "-odq", ALICE],
        &format!("Subject: x\n\n{BODY}"),
    );
    let record = house.path("record");
    fs::write(&record, "").unwrap();
    fs::set_permissions(&record, fs::Permissions::from_mode(0o666)).unwrap();
    let env = [
        ("MINIMTA_FAULT", fault),
        ("MINIMTA_RECORD", record.to_str().unwrap()),
    ];
    let ran = house.call_with("root", &["-q"], "", &env);
    let happened = fs::read_to_string(&record).unwrap().contains("mark fault ");
    assert!(!ran.stderr.contains("panicked"), "{who} {fault}: {ran:?}");
    // A lock whose maker died before it could say who he is.
    let lock = home.join("mbox.lock");
    if lock.exists() {
        age(&lock, 3600);
    }
    for _ in 0..3 {
        let left = ["new", "cur"].map(|f| house.names(f)).concat();
        if left.is_empty() {
            break;
        }
        assert_eq!(house.call("root", &["-q"], "").code, 0);
    }
    for folder in ["new", "cur", "hold"] {
        assert_eq!(
            house.names(folder),
            [""; 0],
            "{who} {fault} {folder}: {}",
            house.log()
        );
    }
    let all = match fs::read_to_string(home.join("mbox")) {
        Ok(text) => text,
        Err(_) => house.mail_of(ALICE).concat(),
    };
    let copies = all.matches(&format!("\n\n{BODY}")).count();
    // Whoever dies between mailbox and spool cannot know that the mailbox has it, nor whoever cannot take the file away.
    assert!(
        (1..=2).contains(&copies),
        "{who} {fault}: {copies} copies: {ran:?} {}",
        house.log()
    );
    happened
}
