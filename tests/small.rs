//! The build for a router with little flash (`--no-default-features`): what it does, and what it says it does not.

use std::os::unix::fs::PermissionsExt as _;

use crate::harness::tls::Authority;
use crate::harness::{Remote, Script, System};

const MESSAGE: &str = "To: one@example.net\nSubject: small\n\ntext\n";

#[test]
fn a_submission_goes_to_the_smarthost_over_tls() {
    for implicit in [true, false] {
        let authority = Authority::new();
        let acceptor = authority.certify(&["127.0.0.1"]);
        let script = Script::new()
            .also("AUTH PLAIN")
            .login("me@example.org", "secret");
        let remote = Remote::start(if implicit {
            script.implicit(acceptor)
        } else {
            script.starttls(acceptor)
        });
        let mut system = System::relaying("small", &remote);
        authority.write(&system.path("ca.pem"));
        let password = system.path("password");
        std::fs::write(&password, "secret\n").unwrap();
        std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600)).unwrap();
        let ca = system.path("ca.pem");
        let tls = if implicit { "implicit" } else { "starttls" };
        system = system
            .with("smarthost", &format!("tls = \"{tls}\""))
            .with("smarthost", &format!("ca_file = {ca:?}"))
            .with("smarthost", "user = \"me@example.org\"")
            .with("smarthost", &format!("password_file = {password:?}"));
        system.accept(&["-t", "-odq"], MESSAGE);
        assert_eq!(system.names("new").len(), 1, "it is in the spool first");
        system.accept(&["-q"], "");
        assert_eq!(remote.received().len(), 1, "{tls}: {}", system.log());
        assert!(system.queue().is_empty(), "{tls}");
    }
}

#[test]
fn what_is_not_there_is_refused_by_name() {
    let full = "install the full one (its feature";
    for options in [&["-bd"][..], &["-bD"], &["-q15m"], &["--password", "me"]] {
        let ran = System::offline("options").run(options, "secret\n");
        assert_eq!(ran.code, 64, "{options:?}: {}", ran.stderr);
        assert!(
            ran.stderr.contains("no daemon"),
            "{options:?}: {}",
            ran.stderr
        );
        assert!(ran.stderr.contains(full), "{options:?}: {}", ran.stderr);
    }
    for (section, line) in [
        ("listen", "smtp = [\"127.0.0.1:2525\"]"),
        ("access", "relay_to = [\"example.net\"]"),
        ("tls", "certificate = \"/etc/own.pem\""),
        ("dns", "timeout = \"1s\""),
        ("remote", "dane = true"),
        ("route", "via = \"mx\""),
    ] {
        let section = if section == "route" {
            "[route]"
        } else {
            section
        };
        let system = System::offline("keys").with(section, line);
        let ran = system.run(&["-t"], MESSAGE);
        assert_eq!(ran.code, 78, "{line}: {}", ran.stderr);
        assert!(ran.stderr.contains(full), "{line}: {}", ran.stderr);
        assert!(system.names("new").is_empty(), "{line}");
    }
}

/// Without a smarthost nothing is lost, and the log says why nothing goes.
#[test]
fn mail_for_a_domain_waits() {
    let system = System::new("waits");
    system.accept(&["-t", "-odi"], MESSAGE);
    assert_eq!(system.queue().len(), 1);
    let log = system.log();
    assert!(
        log.contains("does not look up where a domain takes its mail"),
        "{log}"
    );
}
