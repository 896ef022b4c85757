//! Every command that the README shows is run somewhere: here, or in a test or script that is named and has it. A command
//! that is in no row of the table fails, and so does a row whose proof has gone.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::system::program;
use crate::harness::{Remote, Script, System};

/// How a command is known to do what the README says.
enum Proof {
    /// This file runs it (`the_session_of_the_readme`).
    Here,
    /// That file runs it: it has these words.
    In(&'static str, &'static str),
}
use Proof::{Here, In};

const COMMANDS: &[(&str, Proof)] = &[
    ("make demo", In(".ci/run", "make demo")),
    (
        "make deb",
        In("tests/packages/run", "etc/debian/build.sh \"$program\""),
    ),
    (
        "apt install ./target/deb/minimta_*.deb",
        In("tests/packages/guest.sh", "dpkg -i minimta.deb"),
    ),
    ("make all", In("Makefile", "packages-test: all")),
    (
        "make static",
        In("tests/packages/container", "etc/cross.sh"),
    ),
    (
        "make cross TARGET=armv7",
        In("tests/cross", "etc/cross.sh \"$target\""),
    ),
    (
        "make install",
        In("tests/install.rs", "tree.make(\"install\""),
    ),
    (
        "systemctl enable --now minimta.socket minimta-queue.path minimta-queue.timer",
        In("tests/packages/units", "systemctl start minimta-queue.path"),
    ),
    (
        "systemctl enable --now minimta.service",
        In("tests/packages/units", "systemctl start minimta.service"),
    ),
    (
        "minimta --check",
        In("tests/packages/guest.sh", "minimta --check >check.log"),
    ),
    (
        "printf 'To: you@example.net\\nSubject: hello\\n\\nIt works.\\n' | sendmail -odq -t",
        Here,
    ),
    ("mailq", Here),
    ("minimta -q", Here),
];

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The lines that show a prompt, without it and without what is said of them behind `#`.
fn commands() -> Vec<String> {
    let readme = read("README.md");
    let shown = readme.lines().filter_map(|l| {
        l.strip_prefix("    $ ")
            .or_else(|| l.strip_prefix("    # "))
    });
    let bare = shown.map(|l| l.split("   #").next().unwrap_or(l).trim_end().to_owned());
    bare.collect()
}

/// What stands in a code block of this language.
fn blocks(language: &str) -> Vec<String> {
    let readme = read("README.md");
    let begin = format!("```{language}\n");
    let blocks = readme.split(&begin).skip(1);
    blocks
        .map(|b| b.split("```").next().unwrap().to_owned())
        .collect()
}

#[test]
fn each_command_is_run_by_a_test() {
    let shown: BTreeSet<String> = commands().into_iter().collect();
    let listed: BTreeSet<String> = COMMANDS.iter().map(|(c, _)| (*c).to_owned()).collect();
    assert_eq!(
        shown, listed,
        "the README's commands, and those of this table"
    );
    for (command, proof) in COMMANDS {
        match proof {
            Here => {}
            In(file, words) => assert!(
                read(file).contains(words),
                "{command}: {file} has no {words}"
            ),
        }
    }
}

/// Options and programs that the text names are there.
#[test]
fn each_option_that_is_named_exists() {
    let help = Command::new(program())
        .arg("--help")
        .output()
        .unwrap()
        .stdout;
    let help = String::from_utf8(help).unwrap();
    let (mut found, readme) = (0, read("README.md"));
    for code in readme.split('`').skip(1).step_by(2) {
        let words: Vec<&str> = code.split(' ').collect();
        if let ["minimta" | "sendmail" | "mailq", options @ ..] = words.as_slice() {
            for option in options.iter().filter(|o| o.starts_with('-')) {
                let short = option.get(..3).unwrap_or(option);
                assert!(help.contains(option) || help.contains(short), "{code}");
                found += 1;
            }
        }
    }
    assert!(found > 5, "{found}");
}

/// The settings are settings.
#[test]
fn each_configuration_is_one() {
    let found = blocks("toml");
    assert!(found.len() >= 2, "{}", found.len());
    for text in found {
        let system = System::new("readme-toml");
        let file = system.path("readme.toml");
        // Its host name is not this machine's.
        fs::write(&file, format!("hostname = \"pi.example.org\"\n{text}")).unwrap();
        let ran = Command::new(program())
            .args(["-bv", "you@example.net", "-C"])
            .arg(&file)
            .output()
            .unwrap();
        // Who it would be for does not matter: 78 says that the settings are none.
        assert!(matches!(ran.status.code(), Some(0 | 68)), "{text}{ran:?}");
    }
}

/// Typed as they stand there, from the first `printf` on: what they print is what the README says they print.
#[test]
fn the_session_of_the_readme() {
    let remote = Remote::start(Script::new().on("DOT", "250 2.0.0 Ok: queued as 4F2A1C"));
    let system = System::relaying("readme", &remote);
    std::os::unix::fs::symlink(program(), system.path("bin/minimta")).unwrap();
    let mut said = String::new();
    for (command, _) in COMMANDS.iter().filter(|(_, proof)| matches!(proof, Here)) {
        let ran = Command::new("/bin/sh")
            .args(["-c", command])
            .env_clear()
            .env(
                "PATH",
                format!("{}:/usr/bin:/bin", system.path("bin").display()),
            )
            .env("MINIMTA_CONFIG", system.path("minimta.toml"))
            .output()
            .unwrap();
        assert!(ran.status.success(), "{command}: {ran:?}");
        let both = [ran.stdout, ran.stderr].concat();
        said.push_str(&format!(
            "# {command}\n{}",
            String::from_utf8(both).unwrap()
        ));
    }
    let readme = read("README.md");
    let shown = readme.split("\n    # printf ").nth(1).unwrap();
    let shown = shown.split("\n\n**").next().unwrap();
    for line in shown.lines().skip(1).filter(|l| !l.trim().is_empty()) {
        // What differs from run to run stands for itself; a queue run at a terminal says more.
        let words: Vec<&str> = line.split_whitespace().collect();
        let talks = words.first() == Some(&"minimta:");
        let fixed = words
            .iter()
            .filter(|w| !w.contains('@') || w.starts_with("you@"))
            .filter(|w| w.len() != 17 && !w.chars().all(|c| c.is_ascii_digit()));
        let there = said.lines().any(|l| fixed.clone().all(|w| l.contains(*w)));
        assert!(talks || there, "{line}: {said}");
    }
    assert_eq!(remote.received().len(), 1);
}
