//! TLS with a smarthost, and logins: which of them come about, and what is never said to whom.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::harness::tls::Authority;
use crate::harness::{Answer, Remote, Script, System};
use crate::send::Fate::{Deferred, Delivered};
use crate::send::{MESSAGE, check};

/// A password file with this first line, for its owner alone.
fn password(system: &System, octets: &[u8]) -> String {
    let path = system.path("password");
    fs::write(&path, octets).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    format!(
        "user = \"me@example.org\"\npassword_file = \"{}\"",
        path.display()
    )
}

/// What a server offers, what the configuration asks for, and the command that must come.
#[test]
fn each_mechanism_logs_in() {
    const ALL: &str = "AUTH LOGIN PLAIN CRAM-MD5 XOAUTH2";
    let rows: &[(&str, &str, bool, &str)] = &[
        (ALL, "auto", true, "AUTH PLAIN "),
        ("AUTH=LOGIN PLAIN,AUTH PLAIN", "auto", true, "AUTH PLAIN "),
        ("AUTH LOGIN", "auto", true, "AUTH LOGIN"),
        ("AUTH CRAM-MD5", "auto", true, "AUTH CRAM-MD5"),
        (ALL, "plain", true, "AUTH PLAIN "),
        (ALL, "login", true, "AUTH LOGIN"),
        (ALL, "cram-md5", true, "AUTH CRAM-MD5"),
        (ALL, "xoauth2", true, "AUTH XOAUTH2 "),
        (ALL, "cram-md5", false, "AUTH CRAM-MD5"),
        // Nobody listens between two programs of one machine.
        (ALL, "auto", false, "AUTH PLAIN "),
    ];
    for (offers, auth, tls, command) in rows {
        let what = format!("{offers} {auth}");
        let authority = Authority::new();
        let mut script = Script::new().login("me@example.org", "s3cr\u{e9}t: #=\"\\ x");
        for keyword in offers.split(',') {
            script = script.also(keyword);
        }
        if *tls {
            script = script.implicit(authority.certify(&["127.0.0.1"]));
        }
        let remote = Remote::start(script);
        let mut system = System::relaying("login", &remote);
        authority.write(&system.path("ca.pem"));
        let login = password(&system, "s3cr\u{e9}t: #=\"\\ x\n".as_bytes());
        let ca = format!("ca_file = \"{}\"", system.path("ca.pem").display());
        system = system
            .with("smarthost", &login)
            .with("smarthost", &format!("auth = \"{auth}\""));
        if *tls {
            system = system
                .with("smarthost", &ca)
                .with("smarthost", "tls = \"implicit\"");
        }
        for _ in 0..2 {
            system.accept(&["-odq", "one@example.net"], MESSAGE);
        }
        system.accept(&["-q"], "");
        assert_eq!(remote.received().len(), 2, "{what}: {}", system.log());
        let commands = remote.commands();
        let logins: Vec<_> = commands.iter().filter(|c| c.starts_with("AUTH")).collect();
        assert!(
            logins.iter().all(|l| l.starts_with(command)),
            "{what}: {logins:?}"
        );
        assert_eq!(
            logins.len(),
            remote.sessions().len(),
            "{what}: once a connection"
        );
        assert!(!system.log().contains("s3cr"), "{what}");
    }
}

/// K12, callers.md 4 row 20: a refused login defers, once, with no second mechanism that might end in a ban.
#[test]
fn a_refused_login_defers() {
    let rows: &[(&str, &[u8], &str)] = &[
        ("AUTH LOGIN CRAM-MD5", b"wrong\n", "535"),
        ("AUTH DIGEST-MD5", b"right\n", ""),
        ("X-NONE", b"right\n", ""),
    ];
    for (offers, secret, why) in rows {
        let remote = Remote::start(Script::new().also(offers).login("me@example.org", "right"));
        let system = System::relaying("refused-login", &remote);
        let login = password(&system, secret);
        let system = system.with("smarthost", &login);
        system.accept(&["-odq", "one@example.net"], MESSAGE);
        check(&system, &remote, Deferred(why), offers);
        let commands = remote.commands();
        assert!(
            commands.iter().filter(|c| c.starts_with("AUTH")).count() <= 1,
            "{commands:?}"
        );
        assert!(
            !commands.iter().any(|c| c.starts_with("MAIL")),
            "{commands:?}"
        );
    }
}

/// A server that quotes what it was sent, with whatever code: nobody sees the password, neither in the dialogue, which any
/// user can ask for, nor in the log, the queue or a report.
#[test]
fn a_password_that_is_quoted_is_shown_to_nobody() {
    const PLAIN: &str = "AG1lQGV4YW1wbGUub3JnAHMzY3JldHB3"; // \0me@example.org\0s3cretpw
    const USER: &str = "bWVAZXhhbXBsZS5vcmc=";
    const WORD: &str = "czNjcmV0cHc=";
    let challenge = format!("334 you said {WORD} and s3cretpw");
    let quoting = |code: &str, said: &str| format!("{code} bad: AUTH PLAIN {said} s3cretpw");
    let rows = [
        Script::new()
            .also("AUTH PLAIN")
            .on("AUTH", quoting("535-5.7.8 see\n535 5.7.8", PLAIN).as_str()),
        Script::new()
            .also("AUTH PLAIN")
            .on("AUTH", quoting("235 2.7.0", PLAIN).as_str()),
        Script::new()
            .also("AUTH LOGIN")
            .on("AUTH", "334 VXNlcm5hbWU6")
            .on(USER, challenge.as_str())
            .on(WORD, quoting("535 5.7.8", WORD).as_str()),
    ];
    for (number, script) in rows.into_iter().enumerate() {
        let remote = Remote::start(script);
        let system = System::relaying("quoted-login", &remote);
        let login = password(&system, b"s3cretpw\n");
        let system = system.with("smarthost", &login);
        let sent = system.run(&["-v", "-odi", "one@example.net"], MESSAGE);
        let tried = system.run(&["--test", "one@example.net"], "");
        let (queue, log) = (system.run(&["-bp"], ""), system.log());
        let said = format!("{sent:?}{tried:?}{queue:?}{log}");
        assert!(said.contains("bad: AUTH PLAIN ... ..."), "{number}: {said}");
        for secret in ["s3cretpw", PLAIN, WORD] {
            assert!(!said.contains(secret), "{number} {secret}: {said}");
        }
    }
}

/// Whoever has to mend the password is told of it, though there is a second smarthost that is down.
#[test]
fn a_dead_smarthost_does_not_hide_a_refused_login() {
    let remote = Remote::start(
        Script::new()
            .also("AUTH CRAM-MD5")
            .login("me@example.org", "right"),
    );
    let system = System::new("hidden-login");
    let first = format!("{}\n{}", remote.smarthost(), password(&system, b"wrong\n"));
    let dead = "host = \"127.0.0.1\"\nport = 1\ntls = \"none\"";
    let system = system.with("[smarthost]", &first).with("[smarthost]", dead);
    system.accept(&["-odq", "one@example.net"], MESSAGE);
    check(&system, &remote, Deferred("535"), "hidden");
}

/// A secret others can read is no secret: nothing is sent, and the file is named with what to do.
#[test]
fn a_password_file_others_can_read_is_refused() {
    let remote = Remote::start(
        Script::new()
            .also("AUTH CRAM-MD5")
            .login("me@example.org", "right"),
    );
    for (mode, octets) in [
        (0o644, &b"right\n"[..]),
        (0o604, b"right\n"),
        (0o600, b""),
        (0o600, b"\n"),
    ] {
        let system = System::relaying("mode", &remote);
        let login = password(&system, octets);
        fs::set_permissions(system.path("password"), fs::Permissions::from_mode(mode)).unwrap();
        let system = system.with("smarthost", &login);
        system.accept(&["-odq", "one@example.net"], MESSAGE);
        let ran = system.run(&["-q"], "");
        let queued = system.queued();
        let said = format!(
            "{}{}{}",
            ran.stderr,
            queued.journal.join("\n"),
            system.log()
        );
        assert!(
            said.contains(&system.path("password").display().to_string()),
            "{mode:o}: {said}"
        );
        assert!(!said.contains("right"), "{mode:o}: {said}");
    }
    assert!(remote.received().is_empty());
}

#[test]
fn a_password_can_come_from_a_command() {
    let rows = [
        (
            "[\"/bin/sh\", \"-c\", \"printf 'right\\\\nsecond line\\\\n'\"]",
            true,
        ),
        ("[\"/bin/echo\", \"right\"]", true),
        ("[\"/bin/sh\", \"-c\", \"echo right; exit 1\"]", false),
        ("[\"/bin/sh\", \"-c\", \"exit 0\"]", false),
        ("[\"/nowhere/at-all\"]", false),
    ];
    for (command, works) in rows {
        let remote = Remote::start(
            Script::new()
                .also("AUTH CRAM-MD5")
                .login("me@example.org", "right"),
        );
        let system = System::relaying("command", &remote).with(
            "smarthost",
            &format!("user = \"me@example.org\"\npassword_command = {command}"),
        );
        system.accept(&["-odq", "one@example.net"], MESSAGE);
        let ran = system.run(&["-q"], "");
        assert_eq!(ran.code, 0, "{command}: {ran:?}");
        assert_eq!(
            remote.received().len(),
            usize::from(works),
            "{command}: {}",
            system.log()
        );
        assert_eq!(system.queue().is_empty(), works, "{command}");
    }
}

/// TLS as it is asked for: what the server has, what the configuration says, what becomes of the message. What is
/// deferred has said nothing in the clear, neither sender nor password. (K1, K25-K28)
#[test]
fn tls_is_as_good_as_asked_for() {
    let authority = Authority::new();
    let stranger = Authority::new();
    let good = authority.certify(&["127.0.0.1", "localhost"]);
    let wrong_name = authority.certify(&["other.example"]);
    let expired = authority.certify_until(&["127.0.0.1"], 2001);
    let foreign = stranger.certify(&["127.0.0.1"]);
    let (fingerprint, other) = (good.fingerprint(), foreign.fingerprint());
    let plain = Script::new;
    let fingerprint = format!("fingerprint = \"{fingerprint}\"");
    let other = format!("fingerprint = \"{other}\"");
    let rows: Vec<(&str, Script, &str, &str, bool)> = vec![
        (
            "implicit",
            plain().implicit(good.clone()),
            "implicit",
            "CA",
            true,
        ),
        (
            "starttls",
            plain().starttls(good.clone()),
            "starttls",
            "CA",
            true,
        ),
        (
            "the port alone says implicit",
            plain().implicit(good.clone()),
            "implicit",
            "CA",
            true,
        ),
        (
            "wrong name",
            plain().implicit(wrong_name.clone()),
            "implicit",
            "CA",
            false,
        ),
        (
            "wrong name",
            plain().starttls(wrong_name.clone()),
            "starttls",
            "CA",
            false,
        ),
        (
            "expired",
            plain().implicit(expired),
            "implicit",
            "CA",
            false,
        ),
        (
            "another authority",
            plain().implicit(foreign.clone()),
            "implicit",
            "CA",
            false,
        ),
        (
            "no authority of ours",
            plain().implicit(good.clone()),
            "implicit",
            "",
            false,
        ),
        (
            "not verified, on request",
            plain().implicit(foreign.clone()),
            "implicit",
            "verify = false",
            true,
        ),
        (
            "fingerprint",
            plain().implicit(good.clone()),
            "implicit",
            &fingerprint,
            true,
        ),
        (
            "fingerprint with STARTTLS",
            plain().starttls(good.clone()),
            "starttls",
            &fingerprint,
            true,
        ),
        (
            "wrong fingerprint",
            plain().implicit(good.clone()),
            "implicit",
            &other,
            false,
        ),
        ("no STARTTLS offered", plain(), "starttls", "CA", false),
        (
            "STARTTLS refused",
            plain()
                .starttls(good.clone())
                .on("STARTTLS", "454 4.7.0 not now"),
            "starttls",
            "CA",
            false,
        ),
        (
            "injected reply",
            plain()
                .starttls(good.clone())
                .on("STARTTLS", "220 2.0.0 go\n250 fake"),
            "starttls",
            "CA",
            false,
        ),
        (
            "closed at STARTTLS",
            plain().starttls(good.clone()).on("STARTTLS", Answer::Drop),
            "starttls",
            "CA",
            false,
        ),
        (
            "closed in the handshake",
            plain().starttls(good.clone()).on("TLS", Answer::Drop),
            "starttls",
            "CA",
            false,
        ),
        ("a server in the clear", plain(), "implicit", "CA", false),
        (
            "opportunistic, offered",
            plain().starttls(foreign.clone()),
            "opportunistic",
            "",
            true,
        ),
        (
            "opportunistic, not offered",
            plain(),
            "opportunistic",
            "",
            true,
        ),
        (
            "opportunistic, refused",
            plain()
                .starttls(good.clone())
                .on("STARTTLS", "454 4.7.0 no"),
            "opportunistic",
            "",
            true,
        ),
        (
            "opportunistic, broken",
            plain().starttls(good.clone()).on("TLS", Answer::Drop),
            "opportunistic",
            "",
            true,
        ),
    ];
    for (what, script, tls, key, delivered) in rows {
        let remote = Remote::start(script);
        let mut system = System::relaying("tls", &remote)
            .with("smarthost", &format!("tls = \"{tls}\""))
            .with("limits", "command_timeout = \"2s\"");
        authority.write(&system.path("ca.pem"));
        let ca = format!("ca_file = \"{}\"", system.path("ca.pem").display());
        system = system.with("smarthost", if key == "CA" { &ca } else { key });
        system.accept(&["-odq", "one@example.net"], MESSAGE);
        let fate = if delivered { Delivered } else { Deferred("") };
        check(&system, &remote, fate, what);
        if !delivered {
            let commands = remote.commands();
            assert!(
                !commands.iter().any(|c| c.starts_with("MAIL")),
                "{what}: {commands:?}"
            );
        } else if tls != "opportunistic" {
            assert!(remote.sessions()[0].tls, "{what}");
        }
    }
}

/// The certificate is checked before the password goes out. (K26)
#[test]
fn no_password_goes_to_a_stranger() {
    let authority = Authority::new();
    let stranger = Authority::new().certify(&["127.0.0.1"]);
    for implicit in [true, false] {
        let script = Script::new()
            .also("AUTH PLAIN LOGIN")
            .login("me@example.org", "right");
        let script = if implicit {
            script.implicit(stranger.clone())
        } else {
            script.starttls(stranger.clone())
        };
        let remote = Remote::start(script);
        let system = System::relaying("stranger", &remote);
        let login = password(&system, b"right\n");
        authority.write(&system.path("ca.pem"));
        let ca = format!("ca_file = \"{}\"", system.path("ca.pem").display());
        let tls = if implicit {
            "tls = \"implicit\""
        } else {
            "tls = \"starttls\""
        };
        let system = system
            .with("smarthost", tls)
            .with("smarthost", &ca)
            .with("smarthost", &login);
        system.accept(&["-odq", "one@example.net"], MESSAGE);
        check(&system, &remote, Deferred(""), "stranger");
        assert!(!remote.commands().iter().any(|c| c.starts_with("AUTH")));
    }
}
