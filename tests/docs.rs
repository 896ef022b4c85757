//! What is written agrees with what is: help, man pages, the sample configuration, the README, the top level.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::System;
use crate::harness::system::{names_in, program};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The options that `--help` shows, each once.
fn options() -> BTreeSet<String> {
    let help = Command::new(program())
        .arg("--help")
        .output()
        .unwrap()
        .stdout;
    let help = String::from_utf8(help).unwrap();
    let words = help.split(|c: char| c.is_whitespace() || "[]|,;():".contains(c));
    let options = words.filter(|w| {
        w.starts_with('-')
            && w.len() > 1
            && w[1..].starts_with(|c: char| c.is_alphabetic() || c == '-')
    });
    options.map(str::to_owned).filter(|o| o != "--").collect()
}

#[test]
fn each_option_of_the_help_stands_in_the_manual() {
    let manual = read("etc/man/minimta.8");
    let found = options();
    assert!(found.len() > 10, "{found:?}");
    for option in found {
        // mdoc writes -t as "Fl t" and --due as "Fl -due"; a value or second letter may follow.
        let name = &option[1..];
        let written = manual.contains(&format!("Fl {name}"))
            || name.len() > 1
                && !name.starts_with('-')
                && manual.contains(&format!("Fl {} ", &name[..1]));
        assert!(written, "{option} is not in minimta.8");
    }
}

/// What the log says, by the word that each line has for what has happened.
#[test]
fn each_event_of_the_log_stands_in_the_manual() {
    let source = read("src/events.rs");
    let code = source.split("mod tests {").next().unwrap();
    let literals = code.split('"').skip(1).step_by(2);
    let mut events: BTreeSet<&str> = literals
        .filter_map(|text| {
            let ids = ["- ", "{id} ", "{} "];
            let rest = ids.iter().find_map(|id| text.strip_prefix(id))?;
            rest.split(' ').next()
        })
        .filter(|word| word.starts_with(|c: char| c.is_ascii_lowercase()))
        .collect();
    events.extend(["queued", "received", "delivered", "deferred", "failed"]);
    assert!(events.len() > 20, "{events:?}");
    let manual = read("etc/man/minimta.8");
    let log = manual.split(".Ss Reading the log").nth(1).unwrap();
    let heads = log.lines().filter_map(|line| line.strip_prefix(".It Li "));
    let told: BTreeSet<&str> = heads.flat_map(|line| line.split(" , ")).collect();
    for event in events {
        assert!(
            told.contains(event),
            "{event} is not in minimta.8: {told:?}"
        );
    }
}

/// The keys of the sample, by section: each is a commented line at its default.
fn sample_keys() -> Vec<(String, String)> {
    let (mut section, mut keys) = (String::new(), Vec::new());
    for line in read("etc/minimta.toml").lines() {
        let line = line.trim_start_matches('#').trim_start();
        if let Some(name) = line.strip_prefix('[').filter(|l| l.contains(']')) {
            section = name
                .trim_start_matches('[')
                .split(']')
                .next()
                .unwrap()
                .to_owned();
        } else if let Some((key, _)) = line.split_once(" = ") {
            let word = key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            if word {
                keys.push((section.clone(), key.to_owned()));
            }
        }
    }
    keys
}

#[test]
fn each_key_of_the_sample_stands_in_its_manual() {
    let manual = read("etc/man/minimta.toml.5");
    let keys = sample_keys();
    assert!(keys.len() > 15, "{keys:?}");
    for (section, key) in keys {
        assert!(
            manual.contains(&format!(" {key}")),
            "[{section}] {key} is not in minimta.toml.5"
        );
    }
}

/// The sample says what the program does: as it is shipped, and with every default spelled out.
#[test]
fn the_sample_is_a_configuration() {
    let system = System::new("sample");
    let shipped = read("etc/minimta.toml");
    fs::write(system.path("minimta.toml"), &shipped).unwrap();
    let ran = system.run(&["-bv", "root@localhost"], "");
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn the_commands_of_the_readme_exist() {
    let (readme, makefile) = (read("README.md"), read("Makefile"));
    let targets: BTreeSet<&str> = makefile
        .lines()
        .filter_map(|l| l.split_once(':'))
        .flat_map(|(names, _)| names.split_whitespace())
        .collect();
    let mut found = 0;
    for (at, _) in readme.match_indices("make ") {
        let quoted = readme[..at].ends_with(['`', ' ', '\n', '$']);
        let name: String = readme[at + 5..]
            .chars()
            .take_while(|c| c.is_ascii_lowercase() || *c == '-')
            .collect();
        let code = readme[..at].ends_with('`')
            || readme[..at].ends_with("    ")
            || readme[..at].ends_with("$ ");
        if quoted && code {
            found += 1;
            assert!(targets.contains(name.as_str()), "make {name}");
        }
    }
    assert!(found >= 2, "the README shows make demo and make test");
    for name in ["demo", "test", "lint", "bench", "install"] {
        assert!(targets.contains(name), "make {name}");
    }
}

/// The fixed top level of the design.
#[test]
fn the_top_level_stays_small() {
    const ALLOWED: &[&str] = &[
        ".ci",
        ".git",
        ".gitignore",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "Makefile",
        "README.md",
        "etc",
        "src",
        "target",
        "tests",
    ];
    for name in names_in(env!("CARGO_MANIFEST_DIR").as_ref()) {
        assert!(ALLOWED.contains(&name.as_str()), "{name}");
    }
}
