//! The faults of other mailers (`tests/KNOWN.md`): each row names tests, and each of these exists.

use std::fs;
use std::path::Path;

use crate::harness::System;

fn read(path: &str) -> Option<String> {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).ok()
}

#[test]
fn each_known_fault_has_its_tests() {
    let text = read("tests/KNOWN.md").unwrap();
    let is_row =
        |l: &&str| l.starts_with("| ") && !l.starts_with("| published") && !l.starts_with("| ---");
    let mut rows = 0;
    for row in text.lines().filter(is_row) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        assert_eq!(cells.len(), 3, "{row}");
        let names = cells[2].split('`').skip(1).step_by(2);
        let mut tests = 0;
        for name in names {
            let found = match name.split_once("::") {
                None => read(&format!("tests/{name}")).is_some(),
                Some((file, test)) => {
                    let text = read(file).unwrap_or_default();
                    let at = text.find(&format!("fn {test}()"));
                    at.is_some_and(|at| {
                        let before = text[..at].trim_end();
                        before.ends_with("#[test]") || before.ends_with("\"]")
                    })
                }
            };
            assert!(found, "tests/KNOWN.md names {name}, which is not there");
            tests += 1;
        }
        assert!(tests > 0, "no test stands beside: {row}");
        rows += 1;
    }
    assert!(rows > 50, "{rows} rows");
}

/// A web form hands the sender's address to a shell unquoted, and with it come words of a stranger (CVE-2016-10033).
#[test]
fn no_option_of_a_strangers_makes_a_file() {
    let system = System::offline("injected");
    let folder = system.path("web");
    fs::create_dir(&folder).unwrap();
    let shell = folder.join("shell.php").display().to_string();
    let folder = folder.display().to_string();
    let words = [
        format!("-X{shell}"),
        format!("-X {shell}"),
        format!("-oQ{folder}"),
        format!("-OQueueDirectory={folder}"),
        format!("-O QueueDirectory={folder}"),
        format!("-D {shell}"),
        format!("-OPidFile={shell}"),
        format!("-OStatusFile={shell}"),
        format!("-be ${{run{{/bin/touch {shell}}}}}"),
        format!("-d0.1>{shell}"),
    ];
    for word in &words {
        let mut args: Vec<&str> = vec!["-t", "-i", "-odq", "-f", "attacker@example.org"];
        args.extend(word.split(' '));
        system.run(
            &args,
            "To: one@example.net\nSubject: <?php echo 1 ?>\n\nx\n",
        );
        let made = crate::harness::system::names_in(folder.as_ref());
        assert_eq!(made, [""; 0], "{word}");
    }
    let queue = system.queue();
    assert!(queue.len() >= 6, "{} were taken", queue.len());
    for queued in queue {
        assert_eq!(queued.sender(), "<attacker@example.org>");
    }
}
