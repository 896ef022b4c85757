//! The table of keys, the sample and the manual say the same of every key.

use super::*;

/// The lines of the sample that are keys or headers in a comment, out of it.
pub fn uncommented(sample: &str) -> String {
    sample
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key) if key.starts_with(|c: char| c == '[' || c.is_ascii_lowercase()) => key,
            _ => line,
        })
        .fold(String::new(), |text, line| text + line + "\n")
}

#[test]
fn the_sample_is_all_default_and_has_every_key() {
    let sample = fs::read_to_string(source("etc/minimta.toml")).unwrap();
    assert_eq!(
        parse(&sample),
        parse(""),
        "something in it is not commented out"
    );

    let mut expected = Vec::new();
    for key in keys::all() {
        expected.push(format!("# {}", key.doc));
        expected.push(format!("#{} = {}", key.name, key.shown.text()));
    }
    let lines: Vec<&str> = sample.lines().collect();
    let found: Vec<&str> = lines
        .windows(2)
        .filter(|pair| {
            pair[1].starts_with('#') && pair[1].contains(" = ") && !pair[1].starts_with("# ")
        })
        .flatten()
        .copied()
        .collect();
    assert_eq!(
        found, expected,
        "each key, its sentence above it, in the order of the table"
    );

    // Every key stands in the section that the table says.
    let (entries, flaws) = document::parse(&uncommented(&sample));
    assert_eq!(flaws, []);
    let mut stand = BTreeSet::new();
    for entry in entries {
        match entry.value {
            Value::Table(table) => stand.extend(
                table
                    .iter()
                    .map(|key| (entry.name.clone(), key.name.clone())),
            ),
            _ => drop(stand.insert((String::new(), entry.name))),
        }
    }
    let table: BTreeSet<(String, String)> = keys::all()
        .map(|key| (key.section.to_owned(), key.name.to_owned()))
        .collect();
    assert_eq!(stand, table);
}

#[test]
fn the_commonest_configuration_in_the_sample_works() {
    let sample = fs::read_to_string(source("etc/minimta.toml")).unwrap();
    let example: String = sample
        .lines()
        .filter_map(|line| line.strip_prefix("#   "))
        .fold(String::new(), |text, line| text + line + "\n");
    let config = parse(&example);
    assert_eq!(config.smarthosts.len(), 1);
    assert_eq!(config.warnings(), [""; 0]);
    let good = fs::read_to_string(source("tests/configs/good/commonest/minimta.toml")).unwrap();
    assert_eq!(example, good);
}

/// A text in which a key can stand alone.
fn around(key: &Key, line: &str) -> String {
    match key.section {
        "" => line.to_owned(),
        "smarthost" => {
            let mut keys = String::from("[smarthost]\n");
            if key.name != "host" {
                keys.push_str("host = \"h.example\"\n");
            }
            if ["auth", "password_file", "password_command"].contains(&key.name) {
                keys.push_str("user = \"me\"\n");
            }
            if ["auth", "user"].contains(&key.name) {
                keys.push_str("password_file = \"/p\"\n");
            }
            keys + line
        }
        "tls" if key.name == "key" => format!("[tls]\ncertificate = \"/c\"\n{line}"),
        "milter" if key.name != "socket" => {
            format!("[milter]\nsocket = \"unix:/s\"\n{line}")
        }
        "dkim" => {
            let mut keys = String::from("[dkim]\n");
            for (name, other) in [
                ("domain", "domain = \"x.example\"\n"),
                ("key", "key = \"/k\"\n"),
            ] {
                if key.name != name {
                    keys.push_str(other);
                }
            }
            keys + line
        }
        "route" => {
            let mut keys = String::from("[route]\n");
            if !["domain", "sender"].contains(&key.name) {
                keys.push_str("domain = \"x.example\"\n");
            }
            if key.name != "via" {
                keys.push_str("via = \"mx\"\n");
            }
            // One of the two must be there when the other is left out.
            keys + if line.is_empty() {
                "sender = \"a@x.example\""
            } else {
                line
            }
        }
        section => format!("[{section}]\n{line}"),
    }
}

#[test]
fn every_key_takes_what_the_sample_shows() {
    for key in keys::all() {
        let with = parse(&around(
            key,
            &format!("{} = {}\n", key.name, key.shown.text()),
        ));
        if matches!(key.shown, Shown::Default(_)) {
            assert_eq!(
                with,
                parse(&around(key, "")),
                "{} is not its default",
                key.name
            );
        }
        assert!(
            key.doc.ends_with('.') && !key.doc.contains('\n'),
            "{}",
            key.name
        );
    }
}

/// A row whose function writes to another row's field would go unnoticed otherwise.
#[test]
fn every_key_is_refused_by_its_own_name_alone() {
    for key in keys::all() {
        let said = refused(&around(key, &format!("{} = 1979-05-27\n", key.name)));
        let first = format!(": {}: expected ", key.name);
        assert!(said.lines().next().unwrap().contains(&first), "{said}");
    }
}

#[test]
fn the_manual_has_every_key_in_order() {
    let manual = fs::read_to_string(source("etc/man/minimta.toml.5")).unwrap();
    let found: Vec<String> = manual
        .lines()
        .filter_map(|line| line.strip_prefix(".It Ic "))
        .map(|line| line.replace("\\(dq", "\"").replace("\\-", "-"))
        .collect();
    let expected: Vec<String> = keys::all()
        .map(|key| match key.shown {
            Shown::Default(text) => format!("{} = {text}", key.name),
            Shown::Example(_) => key.name.to_owned(),
        })
        .collect();
    assert_eq!(found, expected);
    for section in keys::sections() {
        assert!(manual.contains(&format!("[{section}]")), "{section}");
    }
}
