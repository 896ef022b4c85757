//! The rooms of the house are rules about imports; here they are kept. A row that fails names the file.

use std::fs;
use std::path::{Path, PathBuf};

/// A crate, and the only files that may name it (a name ending in `/` or without `.rs` is a beginning).
const FENCES: &[(&str, &[&str])] = &[
    ("rustls", &["host/tls/"]),
    ("rcgen", &["host/tls/"]),
    (
        "ring",
        &[
            "host/tls/",
            "proto/scram.rs",
            "proto/collapse.rs",
            "proto/dane.rs",
            "proto/dkim/",
            "proto/srs.rs",
        ],
    ),
    ("toml", &["config"]),
    ("simplelog", &["host/logging.rs"]),
    (
        "log",
        &["events.rs", "config", "host/logging.rs", "main.rs"],
    ),
    ("time", &["proto/date.rs", "host/clock.rs"]),
    (
        "base64",
        &["proto/sasl.rs", "proto/authenticate.rs", "host/dns/"],
    ),
    ("md5", &["proto/sasl.rs"]),
    ("argon2", &["host/hash.rs"]),
    ("bcrypt", &["host/hash.rs"]),
    ("blake2", &[]), // chosen for argon2, named nowhere
    ("sha_crypt", &["host/hash.rs"]),
    ("yescrypt", &["host/hash.rs"]),
    ("crc32fast", &["proto/data.rs"]),
    ("nix", &["host/"]),
    ("mio", &["host/listen.rs"]),
    ("listenfd", &["host/listen.rs"]),
    ("hickory_net", &["host/dns/"]),
    ("idna_adapter", &[]), // chosen for hickory, named nowhere
    ("punycode", &["proto/idna.rs"]),
    ("async_trait", &["host/dns/"]),
    ("futures_io", &["host/dns/"]),
    ("landlock", &["host/jail.rs"]),
    (
        "rustix",
        &[
            "host/channel.rs",
            "host/durable",
            "host/link.rs",
            "host/logging.rs",
            "host/spool/room.rs",
        ],
    ),
    ("seccompiler", &["host/calls.rs"]),
    ("socket2", &["host/wire/", "host/listen.rs"]),
];

/// What a room must not name. `std::net::Ip...` are values and pass everywhere.
const FORBIDDEN: &[(&str, &[&str])] = &[
    (
        "proto/",
        &[
            "std::{",
            "std::fs",
            "std::net",
            "std::io",
            "std::env",
            "std::process",
            "std::thread",
            "std::os",
            "SystemTime",
            "Instant",
            "now_utc",
            "now_local",
            "crate::config",
            "crate::host",
            "crate::flow",
            "crate::events",
            "crate::cli",
        ],
    ),
    ("host/", &["crate::flow", "crate::cli"]),
    ("host/durable.rs", &["crate::", "super::"]),
    ("host/spool", &["crate::config", "std::net"]),
    ("host/maildir.rs", &["crate::config", "std::net"]),
    ("host/mbox", &["crate::config", "std::net"]),
    // Fuzzed whole, in a package that has no other rooms.
    (
        "flow/receive.rs",
        &["crate::host", "crate::flow", "crate::events", "crate::cli"],
    ),
    ("config", &["crate::host", "crate::flow", "std::net::Tcp"]),
    ("error.rs", &["crate::"]),
    ("main.rs", &["std::fs", "std::net"]),
];

/// Steps that decide whether mail survives: taken in one file, where a fault can be injected.
const DURABLE: &[&str] = &[
    ".sync_all(",
    ".sync_data(",
    "fs::rename(",
    "fs::remove_file(",
    ".create_new(",
    "fs::write(",
    "File::create(",
    "renameat(",
    "unlinkat(",
];

#[test]
fn each_crate_stands_in_its_files() {
    for (file, text) in sources() {
        for (name, homes) in FENCES {
            let at_home = homes.iter().any(|home| file.starts_with(home));
            assert!(
                at_home || !names_crate(&text, name),
                "src/{file} names {name}"
            );
        }
    }
}

#[test]
fn each_room_keeps_its_rule() {
    for (file, text) in sources() {
        let text = text.replace("std::net::Ip", "");
        for (room, words) in FORBIDDEN {
            for word in words.iter().filter(|_| file.starts_with(room)) {
                assert!(!text.contains(word), "src/{file} names {word}");
            }
        }
        for step in DURABLE {
            let home = ["host/durable.rs", "host/durable/folder.rs"].contains(&file.as_str());
            assert!(home || !text.contains(step), "src/{file} does {step}...)");
        }
    }
}

/// Every crate of Cargo.toml has a fence, so that a new one cannot come in unseen.
#[test]
fn each_dependency_has_a_fence() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let section = manifest.split("[dependencies]").nth(1).unwrap();
    for line in section.lines().take_while(|l| !l.starts_with('[')) {
        let Some((name, _)) = line.split_once(" = ") else {
            continue;
        };
        let name = name.replace('-', "_");
        assert!(FENCES.iter().any(|(n, _)| *n == name), "{name}");
    }
}

/// `make fuzz` builds rooms of the program as a package of its own: each crate that these may name must be in it, as it is
/// here. (That the targets compile, and what the corpus says, is seen by the tests of the program.)
#[test]
fn the_fuzzed_rooms_have_their_crates() {
    let read = |name: &str| fs::read_to_string(root().join(name)).unwrap();
    let manifest = read("tests/fuzz/Cargo.toml");
    let version = |lock: &str, name: &str| {
        let begin = format!("name = \"{name}\"\nversion = ");
        let rest = lock.split(&begin).nth(1).unwrap_or_default();
        rest.lines().next().unwrap_or_default().to_owned()
    };
    let (ours, theirs) = (read("Cargo.lock"), read("tests/fuzz/Cargo.lock"));
    for (name, homes) in FENCES {
        let is_fuzzed = |home: &&str| home.starts_with("proto/") || home.starts_with("config");
        if homes.iter().any(is_fuzzed) {
            assert!(manifest.contains(&format!("\n{name} = ")), "{name}");
            assert_eq!(version(&theirs, name), version(&ours, name), "{name}");
        }
    }
}

/// Whether a text names a crate: at the beginning of a path, not as a part of another.
fn names_crate(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back().unwrap_or(' ');
        let after = &text[at + name.len()..];
        let begins = !before.is_alphanumeric() && !['_', ':', '.', '"'].contains(&before);
        begins
            && (after.starts_with("::") || text[..at].ends_with("use ") && after.starts_with(';'))
    })
}

/// The program's sources by their path under `src/`, without comments and tests.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.extend(Some(path).filter(|p| !p.ends_with("tests")));
            } else if path.extension().is_some_and(|e| e == "rs")
                && !path.ends_with("build.rs")
                && !path.ends_with("tests.rs")
            {
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
                let lines = code.lines().filter(|l| !l.trim_start().starts_with("//"));
                let name = path.strip_prefix(root().join("src")).unwrap();
                let code = lines.collect::<Vec<_>>().join("\n");
                found.push((name.display().to_string(), code));
            }
        }
    }
    assert!(!found.is_empty());
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}
