//! The folders of `tests/configs`, the sample and the manual against the table of keys.

mod sample;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

use std::time::Duration;

use super::document::{self, Value};
use super::keys::{Key, Shown};
use super::*;
use crate::proto::address::Mailbox;
use crate::proto::sasl::Mechanism;

fn system() -> System<'static> {
    System {
        hostname: &|| "pi.example.org".to_owned(),
    }
}

fn parse(text: &str) -> Config {
    match Config::parse(text.as_bytes(), None, &system()) {
        Ok(config) => config,
        Err(error) => panic!("{error}\n{text}"),
    }
}

fn refused(text: &str) -> String {
    match Config::parse(text.as_bytes(), None, &system()) {
        Ok(_) => panic!("accepted: {text}"),
        Err(error) => error.to_string(),
    }
}

/// A file of the source tree.
fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The cases in a folder, a case a folder.
fn cases(folder: &str) -> Vec<PathBuf> {
    let mut cases: Vec<PathBuf> = fs::read_dir(source(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    cases.sort();
    assert!(cases.len() > 10, "{folder} is nearly empty");
    cases
}

#[test]
fn good_configurations_are_read() {
    for case in cases("tests/configs/good") {
        let file = case.join("minimta.toml");
        let config = Config::load(Some(&file), &system());
        assert!(
            config.is_ok(),
            "{}\n{}",
            case.display(),
            config.unwrap_err()
        );
        assert_eq!(config.unwrap().file, Some(file));
    }
}

#[test]
fn bad_configurations_are_refused_in_these_words() {
    let mut differences = String::new();
    for case in cases("tests/configs/bad") {
        let file = case.join("minimta.toml");
        let said = match Config::load(Some(&file), &system()) {
            Ok(_) => "(accepted)".to_owned(),
            Err(error) => {
                assert_eq!(error.code(), 78, "{}", case.display());
                error
                    .to_string()
                    .replace(&file.display().to_string(), "FILE")
            }
        };
        let expected = fs::read_to_string(case.join("expected")).unwrap_or_default();
        if said.trim_end() != expected.trim_end() {
            differences += &format!(
                "--- {} is to say\n{expected}\n--- and says\n{said}\n\n",
                case.display()
            );
        }
        assert!(
            !said.contains("hunter2"),
            "{}: a password is shown",
            case.display()
        );
        assert!(
            said.chars().all(|c| !c.is_control() || "\n\t".contains(c)),
            "{}: a control character is shown",
            case.display()
        );
    }
    assert!(differences.is_empty(), "{differences}");
}

/// Files that cannot be kept in a source tree.
#[test]
fn files_that_cannot_be_read_are_refused() {
    let folder = env::temp_dir().join(format!("minimta-config-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let large = folder.join("large.toml");
    fs::write(&large, "#\n".repeat(1 << 19) + "#").unwrap();
    let full = folder.join("full.toml");
    fs::write(&full, "#\n".repeat(1 << 19)).unwrap();
    let locked = folder.join("locked.toml");
    fs::write(&locked, "").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o000);
    fs::set_permissions(&locked, mode).unwrap();
    let link = folder.join("link.toml");
    std::os::unix::fs::symlink(&full, &link).unwrap();
    let dangling = folder.join("dangling.toml");
    std::os::unix::fs::symlink(folder.join("absent.toml"), &dangling).unwrap();
    let ring = folder.join("ring.toml");
    std::os::unix::fs::symlink(&ring, &ring).unwrap();

    let mut rows = vec![
        (folder.clone(), "it is a folder; name the file in it"),
        (
            large.clone(),
            "it is larger than 1 MiB, which no configuration is; name the right file",
        ),
        (
            folder.join("absent.toml"),
            "there is no such file; make it, or name another with -C",
        ),
        (dangling, "it is a link to a file that is not there"),
        (
            full.join("minimta.toml"),
            "not a directory; check its path and its disk",
        ),
        (
            ring,
            "too many levels of symbolic links; check its path and its disk",
        ),
        (
            PathBuf::from("/dev/null"),
            "it is not an ordinary file; name one that is",
        ),
    ];
    // Root reads everything.
    if File::open(&locked).is_err() {
        rows.push((
            locked,
            "permission denied; it must be readable for the group minimta, or for you when you name it with -C",
        ));
    }
    for (path, why) in rows {
        let error = Config::load(Some(&path), &system()).unwrap_err();
        assert_eq!(
            error,
            Error::Config(format!(
                "cannot read the configuration {}: {why}",
                path.display()
            ))
        );
    }
    // A file of just the largest size, and a link, are fine.
    assert!(Config::load(Some(&full), &system()).is_ok());
    assert!(Config::load(Some(&link), &system()).is_ok());
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn an_empty_file_is_a_local_system() {
    let config = parse("");
    assert_eq!(config.hostname.as_str(), "pi.example.org");
    assert_eq!(domains(&config), ["pi.example.org", "localhost"]);
    assert_eq!(config.smarthosts, []);
    assert!(config.rewrite.add_domain);
    assert_eq!(config.local.mailbox.to_string(), "~/Maildir/");
    assert_eq!(config.queue.spool, Path::new("/var/spool/minimta"));
    assert_eq!(config.queue.give_up_after, Duration::from_secs(5 * 86400));
    assert_eq!(config.limits.message_size, 25 << 20);
    assert_eq!(config.log.to, LogTo::Auto);
    assert_eq!(config.log.level, log::LevelFilter::Info);
    assert_eq!(config.warnings(), [""; 0]);
}

fn domains(config: &Config) -> Vec<&str> {
    config.domains.iter().map(Domain::as_str).collect()
}

#[test]
fn the_host_name_follows_the_system_where_it_can() {
    let rows: &[(&str, &str, &[&str])] = &[
        (
            "pi.example.org",
            "pi.example.org",
            &["pi.example.org", "localhost"],
        ),
        ("pi", "pi", &["pi", "localhost"]),
        ("My_Pi.lan.", "my_pi.lan", &["my_pi.lan", "localhost"]),
        ("localhost", "localhost", &["localhost"]),
        ("", UNKNOWN_HOST, &[UNKNOWN_HOST, "localhost"]),
        ("(none)", UNKNOWN_HOST, &[UNKNOWN_HOST, "localhost"]),
        ("my pi", UNKNOWN_HOST, &[UNKNOWN_HOST, "localhost"]),
        ("192.0.2.1", UNKNOWN_HOST, &[UNKNOWN_HOST, "localhost"]),
        ("foo.123", UNKNOWN_HOST, &[UNKNOWN_HOST, "localhost"]),
        ("0x7f000001", UNKNOWN_HOST, &[UNKNOWN_HOST, "localhost"]),
        ("12345", "12345", &["12345", "localhost"]),
    ];
    for (name, expected, local) in rows {
        let system = System {
            hostname: &|| (*name).to_owned(),
        };
        let config = Config::parse(b"", None, &system).unwrap();
        assert_eq!(config.hostname.as_str(), *expected, "{name:?}");
        assert_eq!(domains(&config), *local, "{name:?}");
        assert_eq!(
            config.warnings().len(),
            usize::from(*expected == UNKNOWN_HOST)
        );
    }
    let config = parse("hostname = \"Mail.Example.org\"");
    assert_eq!(domains(&config), ["mail.example.org", "localhost"]);
    let config = parse("domains = [\"a.example\", \"A.example.\"]\nhostname = \"b.example\"");
    assert_eq!(domains(&config), ["a.example"]);
}

#[test]
fn port_and_tls_follow_from_each_other() {
    let rows: &[(&str, u16, Tls)] = &[
        ("", 465, Tls::Implicit),
        ("port = 465", 465, Tls::Implicit),
        ("port = 587", 587, Tls::Starttls),
        ("port = 25", 25, Tls::Starttls),
        ("port = 2525", 2525, Tls::Starttls),
        ("tls = \"implicit\"", 465, Tls::Implicit),
        ("tls = \"starttls\"", 587, Tls::Starttls),
        ("tls = \"opportunistic\"", 25, Tls::Opportunistic),
        ("tls = \"none\"", 25, Tls::None),
        ("tls = \"implicit\"\nport = 4650", 4650, Tls::Implicit),
        ("tls = \"none\"\nport = 465", 465, Tls::None),
    ];
    for (keys, port, tls) in rows {
        let config = parse(&format!("[smarthost]\nhost = \"h.example\"\n{keys}\n"));
        let smarthost = config.smarthosts.first().unwrap();
        assert_eq!((smarthost.port, smarthost.tls), (*port, *tls), "{keys}");
    }
}

#[test]
fn smarthosts_keep_their_order_and_their_keys() {
    let config = parse(
        "[[smarthost]]
         host = 'one.example'
         user = 'me'
         password_file = '/p'
         auth = 'cram-md5'
         from = 'me@example.org'
         [[smarthost]]
         host = '10.0.0.5'
         port = 2525
         user = 'you'
         password_command = ['/bin/pass', 'mail']
         verify = false
         [[smarthost]]
         host = 'three.example'
         ca_file = '/ca.pem'",
    );
    let [one, two, three] = &config.smarthosts[..] else {
        panic!("not three");
    };
    assert_eq!(
        one,
        &Smarthost {
            host: "one.example".to_owned(),
            port: 465,
            tls: Tls::Implicit,
            verify: true,
            ca_file: None,
            fingerprint: None,
            login: Some(Login {
                user: "me".to_owned(),
                password: Password::File("/p".into()),
                mechanism: Some(Mechanism::CramMd5),
            }),
            from: Mailbox::parse("me@example.org").ok(),
        }
    );
    assert_eq!(
        (two.host.as_str(), two.port, two.verify),
        ("10.0.0.5", 2525, false)
    );
    assert_eq!(
        two.login.as_ref().map(|login| &login.password),
        Some(&Password::Command(vec![
            "/bin/pass".to_owned(),
            "mail".to_owned()
        ]))
    );
    assert_eq!(three.ca_file.as_deref(), Some(Path::new("/ca.pem")));
    assert_eq!(
        (&three.login, &three.from, three.verify),
        (&None, &None, true)
    );
}

#[test]
fn foolish_settings_are_warned_about() {
    let login = "user = \"me\"\npassword_file = \"/p\"\n";
    let rows: &[(&str, &[&str])] = &[
        (
            "[queue]\nretry_first = \"5h\"",
            &["retry_first (5h) is longer than retry_max (4h)"],
        ),
        (
            "[queue]\nwarn_after = \"6d\"",
            &["warn_after (6d) is longer than give_up_after (5d)"],
        ),
        (
            "domains = [\"example.org\"]",
            &["domains has not pi.example.org, the host name"],
        ),
        ("domains = [\"example.org\", \"pi.example.org\"]", &[]),
        ("domains = [\"localhost\"]", &[]),
        (
            "domains = [\"example.org\"]\n[[route]]\ndomain = \".example.org\"\nvia = \"10.0.0.5\"",
            &[],
        ),
        ("[queue]\nwarn_after = \"5d\"", &[]),
        (
            "[queue]\ngive_up_after = \"1m\"\nwarn_after = \"0s\"",
            &["retry_first (5m) is longer than give_up_after (1m)"],
        ),
        (
            "[queue]\nworkers = 1",
            &["per_destination (2) is more than workers (1)"],
        ),
        (
            "[queue]\nspool = \"/tmp/spool\"",
            &["the spool /tmp/spool is in memory"],
        ),
        ("[queue]\nspool = \"/tmpfile/spool\"", &[]),
        (
            "[limits]\nmessage_size = \"10K\"",
            &["message_size (10K) is below the 64K"],
        ),
        (
            "[limits]\nrecipients = 10",
            &["recipients (10) is below the 100"],
        ),
        (
            "[smarthost]\nhost = \"h.example\"\nverify = false",
            &["verify = false: anyone"],
        ),
        ("[smarthost]\nhost = \"h.example\"\ntls = \"none\"", &[]),
        (
            "[[route]]\ndomain = \"a.example\"\nvia = \"pi.example.org\"",
            &["the [[route]] via pi.example.org leads to this machine"],
        ),
        (
            "[access]\nrelay_to = [\"localhost\", \"b.example\"]",
            &["relay_to has localhost, whose mail is delivered here"],
        ),
        (
            "[smarthost]\nhost = \"pi.example.org\"",
            &["the smarthost pi.example.org is this machine"],
        ),
        (
            "[smarthost]\nhost = \"h.example\"\ntls = \"none\"\nLOGIN",
            &["the password for h.example can be read on the way, always"],
        ),
        (
            "[smarthost]\nhost = \"h.example\"\ntls = \"opportunistic\"\nLOGIN",
            &["the password for h.example can be read on the way, whenever TLS fails"],
        ),
        (
            "[smarthost]\nhost = \"127.0.0.1\"\ntls = \"none\"\nLOGIN",
            &[],
        ),
    ];
    for (text, expected) in rows {
        let warnings = parse(&text.replace("LOGIN", login)).warnings();
        assert_eq!(warnings.len(), expected.len(), "{text}\n{warnings:?}");
        for (warning, start) in warnings.iter().zip(*expected) {
            assert!(warning.starts_with(start), "{text}\n{warning}");
        }
    }
}

/// No text may make it panic, whatever else it does.
#[test]
fn rubbish_is_refused_in_peace() {
    let sample = fs::read_to_string(source("etc/minimta.toml")).unwrap();
    // Cut everywhere, so without the prose between its keys.
    let sample = sample::uncommented(&sample);
    let keys = sample.lines().filter(|line| !line.starts_with('#'));
    let sample = keys.collect::<Vec<_>>().join("\n");
    for end in 0..sample.len() {
        let _ = Config::parse(&sample.as_bytes()[..end], None, &system());
    }
    let rows = [
        "a.".repeat(200_000),
        "a=[".to_owned() + &"[".repeat(200_000),
        "a={a=".repeat(100_000),
        "=\n".repeat(100_000),
        "[smarthost]\n".repeat(50_000),
        "x = 1\n".repeat(50_000),
        (0..100_000).map(|n| format!("a{n}=1\n")).collect(),
        "[smarthost]\n".to_owned() + &"user = \"".repeat(1000),
        "\"\"=1\n''=2".to_owned(),
    ];
    for row in rows {
        let said = refused(&row);
        assert!(said.len() < 20_000, "{} octets", said.len());
    }
}

/// R61: who says nothing is waited for as long as RFC 5321 4.5.3.2.7 asks, unless the configuration says less.
#[test]
fn a_client_is_waited_for_five_minutes() {
    let limits = parse("").limits;
    assert_eq!(limits.command_timeout.as_secs(), 300);
    assert!(limits.data_timeout >= limits.command_timeout);
}
