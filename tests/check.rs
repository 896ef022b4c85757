//! `--check`: the commonest causes of mail that does not flow, each with the thing, the place and the remedy.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use crate::harness::{Remote, Script, System};

/// Makes a cause in a system.
type Cause = fn(System) -> System;

/// What stands there, how bad it is, and words of the finding.
const CAUSES: &[(&str, Cause, &str, &[&str])] = &[
    (
        "a host name without a domain",
        |s| s.with("", "hostname = \"pi\""),
        "warning  hostname: ",
        &[
            "pi is not fully qualified",
            "set hostname = \"pi.example.org\"",
        ],
    ),
    (
        "a spool that everybody may write",
        |s| {
            fs::set_permissions(s.path("spool"), fs::Permissions::from_mode(0o777)).unwrap();
            s
        },
        "error    spool ",
        &["everybody may write it; chmod o-w "],
    ),
    (
        "a spool that is a file",
        |s| {
            fs::remove_dir_all(s.path("spool")).unwrap();
            fs::write(s.path("spool"), "").unwrap();
            s
        },
        "error    spool ",
        &["it is no folder"],
    ),
    (
        "a full disk",
        |s| s.with("queue", "min_free = \"1024G\""),
        "error    spool ",
        &["min_free"],
    ),
    (
        "a password that everybody can read",
        |s| {
            let file = s.path("password");
            fs::write(&file, "secret\n").unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
            let line = format!(
                "user = \"me@example.org\"\npassword_file = \"{}\"",
                file.display()
            );
            s.with("smarthost", &line)
        },
        "error    password file ",
        &["everybody can read it, so it is not used; chmod 0640 "],
    ),
    (
        "a password that is not there",
        |s| {
            s.with(
                "smarthost",
                "user = \"me@example.org\"\npassword_file = \"/nowhere/password\"",
            )
        },
        "error    password file /nowhere/password: ",
        &["no such file"],
    ),
    (
        "a smarthost that is down",
        |s| s,
        "error    smarthost 127.0.0.1:1: ",
        &["connection refused"],
    ),
    (
        "a smarthost whose name nobody knows",
        |s| s.with("smarthost", "host = \"no-such-host.invalid\""),
        "error    smarthost no-such-host.invalid:1: ",
        &["no-such-host.invalid"],
    ),
    (
        "roots that are not there",
        |s| {
            s.with(
                "smarthost",
                "tls = \"starttls\"\nca_file = \"/nowhere/roots.pem\"",
            )
        },
        "error    ca_file /nowhere/roots.pem: ",
        &["no such file", "no certificate of 127.0.0.1 can be checked"],
    ),
];

#[test]
fn each_cause_is_named_with_its_place_and_remedy() {
    for (what, cause, begins, words) in CAUSES {
        let system = cause(System::offline("cause"));
        let ran = system.run(&["--check"], "");
        let line = ran.stdout.lines().find(|l| l.starts_with(begins));
        let line = line.unwrap_or_else(|| panic!("{what}: {ran:?}"));
        for word in *words {
            assert!(line.contains(word), "{what}: {line}");
        }
        // The smarthost of these systems is down, which is an error by itself.
        assert_eq!(ran.code, 78, "{what}");
        assert!(!ran.stdout.contains("secret"), "{what}: {ran:?}");
    }
}

#[test]
fn name_servers_that_are_silent_are_told() {
    let system = System::new("silent");
    let ran = system.run(&["--check"], "");
    let line = ran
        .stdout
        .lines()
        .find(|l| l.starts_with("error    name servers: "));
    let line = line.unwrap_or_else(|| panic!("{ran:?}"));
    for words in [
        "cannot ask the name server",
        "no mail can leave this system; see [dns] servers, or name a [smarthost]",
    ] {
        assert!(line.contains(words), "{line}");
    }
}

#[test]
fn another_program_at_the_port_is_told() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let system = System::offline("port").with("listen", &format!("smtp = [\"127.0.0.1:{port}\"]"));
    let ran = system.run(&["--check"], "");
    let begins = format!("warning  port {port}: another program listens at 127.0.0.1:{port}, ");
    assert!(ran.stdout.contains(&begins), "{ran:?}");
    assert!(ran.stdout.contains("ss -ltnp says which it is"), "{ran:?}");
}

/// A provider that lets us in, and says what it has against us.
#[test]
fn what_a_provider_refuses_is_told_before_mail_is() {
    let login = "user = \"me@example.org\"\npassword_file = ";
    let rows = [
        (
            Script::new()
                .on("MAIL", "550 5.7.1 not yours")
                .also("AUTH PLAIN")
                .login("me@example.org", "right"),
            "error    sender ",
            "does not take mail from it: 550 not yours; set from = \"me@example.org\" in [smarthost]",
        ),
        (
            Script::new()
                .also("AUTH PLAIN")
                .login("me@example.org", "other"),
            "error    smarthost ",
            "535",
        ),
    ];
    for (script, begins, words) in rows {
        let remote = Remote::start(script);
        let system = System::relaying("provider", &remote);
        let file = system.path("password");
        fs::write(&file, "right\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let system = system.with("smarthost", &format!("{login}\"{}\"", file.display()));
        let ran = system.run(&["--check"], "");
        let line = ran.stdout.lines().find(|l| l.starts_with(begins));
        let line = line.unwrap_or_else(|| panic!("{ran:?}"));
        assert!(line.contains(words), "{line}");
        assert_eq!(ran.code, 78);
        assert!(remote.received().is_empty());
    }
}
