//! Users and strangers at the three doors: TLS, logins, and where mail may go.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::harness::system::{HOST, me, user};
use crate::harness::tls::Secure;
use crate::harness::{Client, Daemon, Queued, System, until};

/// A system that listens at all doors, trusts nobody for his address, and knows these users.
fn machine(name: &str, users: &str) -> System {
    let system = System::listening(name);
    let path = system.path("users");
    std::fs::write(&path, users).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let users_file = format!("users_file = \"{}\"\nrelay_from = []", path.display());
    system.with("access", &users_file).with(
        "listen",
        "submission = [\"127.0.0.1:0\"]\nsubmissions = [\"127.0.0.1:0\"]",
    )
}

/// A line of the users file, made by the program.
fn line(system: &System, words: &[&str], password: &str) -> String {
    let ran = system.run(words, format!("{password}\n"));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    ran.stdout
}

/// The pair that the daemon makes for itself when its first client comes.
fn own_pair(system: &System) -> PathBuf {
    let path = system.path("spool/tls/self-signed.pem");
    until("there is a certificate", || path.exists());
    path
}

fn plain(user: &str, password: &str) -> String {
    format!(
        "AUTH PLAIN {}",
        BASE64.encode(format!("\0{user}\0{password}"))
    )
}

/// A client of `kind` that has said EHLO under TLS.
fn client(system: &System, daemon: &Daemon, kind: &str) -> Secure {
    let mut stream = TcpStream::connect(daemon.address(kind)).unwrap();
    let implicit = kind == "submissions";
    if !implicit {
        let mut clear = Client::tcp(stream.try_clone().unwrap());
        assert!(clear.reply().starts_with("220 "));
        let offered = clear.say("EHLO secret.example");
        assert!(
            offered.contains("STARTTLS") && !offered.contains("AUTH"),
            "{offered}"
        ); // D12
        assert!(clear.say("STARTTLS").starts_with("220 "));
    }
    stream.flush().unwrap();
    let mut client = Secure::on(stream, &own_pair(system), Some("smtp")).unwrap();
    if implicit {
        assert!(client.reply().starts_with("220 "));
    } else {
        // D3: nothing that was said in the clear counts.
        assert!(client.say("MAIL FROM:<a@b.example>").starts_with("503 "));
    }
    let offered = client.say("EHLO client.example");
    assert!(!offered.contains("STARTTLS"), "{offered}"); // R135
    client
}

#[test]
fn users_send_anywhere_and_as_themselves() {
    let system = machine("access-users", "");
    let alice = line(&system, &["--password", "alice"], "correct horse");
    std::fs::write(system.path("users"), alice).unwrap();
    let daemon = Daemon::start(&system);
    for kind in ["smtp", "submission", "submissions"] {
        let mut client = client(&system, &daemon, kind);
        if kind != "smtp" {
            client.steps(&[("MAIL FROM:<a@b.example>", "530 5.7.0")]); // D22, R168
        }
        let sender = format!("MAIL FROM:<alice@{HOST}>");
        let to = format!("RCPT TO:<{}>", me());
        let as_bob = format!("From: Bob <bob@{HOST}>\r\n\r\ntext\r\n.");
        let no =
            format!("550 5.7.1 From names bob@{HOST}, and alice may not send as that address;");
        client.steps(&[
            (&plain("alice", "correct horse"), "235 2.7.0"),
            (&plain("alice", "correct horse"), "503 5.5.1"), // D18
            (&format!("MAIL FROM:<bob@{HOST}>"), "550 5.7.1"), // D23
            (&sender, "250 "),
            ("RCPT TO:<someone@other.example>", "250 "),
            ("RCPT TO:<nobody-of-this-name@localhost>", "550 5.1.1"),
            ("RSET", "250 "),
            (&sender, "250 "),
            (&to, "250 "),
            ("DATA", "354 "),
            (&as_bob, &no),
            ("MAIL FROM:<>", "250 "),
            (&to, "250 "),
            ("DATA", "354 "),
            (&as_bob, &no),
            (&sender, "250 "),
            (&to, "250 "),
            ("DATA", "354 "),
            ("Subject: hello\r\n\r\ntext\r\n.", "250 "),
            ("QUIT", "221 "),
        ]);
        until("delivered", || !system.mailbox().is_empty());
        let mail = system.mailbox().remove(0);
        assert!(mail.text().contains(" with ESMTPSA "), "{}", mail.text()); // R65
        assert!(!mail.text().contains("secret.example"), "{}", mail.text());
        if kind != "smtp" {
            assert!(mail.text().contains("\nMessage-ID: "), "{}", mail.text()); // R170
        }
        std::fs::remove_dir_all(system.maildir()).unwrap();
    }
    let log = system.log();
    assert_eq!(
        log.matches(" auth-ok client=\"127.0.0.1\" user=\"alice\"")
            .count(),
        3
    );
    assert!(!log.contains("horse"), "{log}");
    let refused = "users file lists as what else its user may send: user alice\"";
    assert_eq!(log.matches(refused).count(), 9, "{log}");
}

#[test]
fn strangers_send_to_those_who_are_here_only() {
    let system = machine("access-strangers", "").with("access", "relay_to = [\"backup.example\"]");
    let daemon = Daemon::start(&system);
    let mut client = daemon.client();
    let here = format!("RCPT TO:<{}>", me());
    client.steps(&[
        ("EHLO client.example", "250-"),
        ("MAIL FROM:<root@localhost>", "250 "), // a name is no proof
        (&here, "250 "),
        ("RCPT TO:<postmaster>", "250 "),
        ("RCPT TO:<Postmaster@localhost>", "250 "), // C9
        ("RCPT TO:<someone@backup.example>", "250 "),
        ("RCPT TO:<someone@other.example>", "550 5.7.1"), // C7
        ("RCPT TO:<bob%other.example@localhost>", "550 5.1.1"), // C1
        ("RCPT TO:<other.example!bob@localhost>", "550 5.1.1"), // C2
        ("RCPT TO:<\"bob@other.example\"@localhost>", "550 5.1.1"), // C4
        ("RCPT TO:<@localhost:bob@other.example>", "550 5.7.1"), // C6
        ("RCPT TO:<root@[127.0.0.1]>", "550 5.7.1"),      // C8
        ("QUIT", "221 "),
    ]);
    let log = system.log();
    assert!(
        log.contains("- reject client=\"127.0.0.1\" from=\"<root@localhost>\" reason=\"550 5.7.1"),
        "{log}"
    );
}

/// D1: what came in the clear behind STARTTLS is never taken for a command under TLS.
#[test]
fn nothing_is_carried_over_into_tls() {
    let system = machine("access-injection", "");
    let daemon = Daemon::start(&system);
    let mut client = daemon.client();
    client.say("EHLO client.example");
    client
        .send("STARTTLS\r\nNOOP\r\nMAIL FROM:<x@y.example>\r\n")
        .unwrap();
    let said = client.rest();
    assert!(
        said.starts_with("554 5.5.1 ") && said.lines().count() == 1,
        "{said}"
    );
    // D5: after 220 there is no reply in the clear.
    let mut client = daemon.client();
    client.steps(&[("EHLO client.example", "250-"), ("STARTTLS", "220 ")]);
    client.send("garbage\r\n\r\nQUIT\r\n").unwrap();
    let said = client.rest();
    assert!(!said.contains("22") && !said.contains("50"), "{said:?}");
    until("logged", || {
        system
            .log()
            .contains("TLS failed: the client does not speak TLS")
    });
}

/// D24, A15: who speaks something else gets nothing he could read as his own protocol.
#[test]
fn other_protocols_get_no_banner() {
    let system = machine("access-protocols", "");
    let daemon = Daemon::start(&system);
    let mut stream = TcpStream::connect(daemon.address("submissions")).unwrap();
    stream
        .write_all(b"EHLO client.example\r\nQUIT\r\n")
        .unwrap();
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    assert!(said.is_empty() || said[0] == 0x15, "{said:?}"); // an alert
    for (protocol, taken) in [
        (None, true),
        (Some("smtp"), true),
        (Some("http/1.1"), false),
    ] {
        let stream = TcpStream::connect(daemon.address("submissions")).unwrap();
        let client = Secure::on(stream, &own_pair(&system), protocol);
        assert_eq!(client.is_ok(), taken, "{protocol:?}");
    }
}

/// D20, D21: one line each, whatever the name is; and the client's address before all that he chose.
#[test]
fn failed_logins_are_logged_for_others_to_act_on() {
    let system = machine(
        "access-failures",
        "alice:$5$saltstring$C3o4O1TC6aRHF4FI.QSZMXtHbaj2gSXr4sUc/3NcUi.\n",
    );
    let daemon = Daemon::start(&system);
    client(&system, &daemon, "submissions").steps(&[(&plain("alice", "hunter2"), "535 5.7.8")]);
    client(&system, &daemon, "submissions")
        .steps(&[(&plain("x\nNov 1 host sshd: ok", "hunter2"), "535 5.7.8")]);
    client(&system, &daemon, "submissions").steps(&[
        ("AUTH PLAIN !!!", "501 "),
        (&plain("alice", "secret"), "235 "),
    ]);
    let log = system.log();
    for expected in [
        "- auth-fail client=\"127.0.0.1\" user=\"alice\" why=\"the password is wrong\"",
        "- auth-fail client=\"127.0.0.1\" user=\"x\\nNov 1 host sshd: ok\" why=",
        "- auth-ok client=\"127.0.0.1\" user=\"alice\"",
    ] {
        assert!(log.contains(expected), "{log}");
    }
    assert!(!log.contains("hunter2"), "{log}");
}

#[test]
fn users_can_be_changed_while_it_runs() {
    let system = machine("access-changes", "");
    let daemon = Daemon::start(&system);
    let mut before = client(&system, &daemon, "submissions");
    assert!(!before.say("EHLO x").contains("AUTH"));
    let scram = line(&system, &["--password", "--scram", &user()], "pencil");
    std::fs::write(system.path("users"), scram).unwrap();
    let mut after = client(&system, &daemon, "submissions");
    let offered = after.say("EHLO x");
    assert!(
        offered.ends_with("AUTH SCRAM-SHA-256 PLAIN LOGIN"),
        "{offered}"
    );
    after.steps(&[
        (&plain(&user(), "pencil"), "235 "),
        (&format!("MAIL FROM:<{}>", me()), "250 "),
    ]);
    std::fs::remove_file(system.path("users")).unwrap();
    let mut gone = client(&system, &daemon, "submissions");
    gone.steps(&[
        (&plain(&user(), "pencil"), "502 5.5.1"),
        ("MAIL FROM:<>", "530 5.7.0"),
    ]);
}

#[test]
fn the_pair_is_made_once_and_kept() {
    let system = machine("access-pair", "");
    let shown = |daemon: &Daemon| {
        let stream = TcpStream::connect(daemon.address("submissions")).unwrap();
        Secure::on(stream, &own_pair(&system), None)
            .unwrap()
            .certificate()
    };
    let daemon = Daemon::start(&system);
    let before = shown(&daemon);
    daemon.stop();
    std::fs::remove_file(system.path("log")).unwrap();
    assert_eq!(shown(&Daemon::start(&system)), before);
    let mode = std::fs::metadata(own_pair(&system))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn passwords_become_lines_of_the_users_file() {
    let system = System::new("access-password");
    let rows: &[(&[&str], &str, &str)] = &[
        (
            &["--password"],
            "secret\n",
            "$argon2id$v=19$m=8192,t=4,p=1$",
        ),
        (&["--password", "alice"], "secret", "alice:$argon2id$"),
        (
            &["--scram", "--password", "me@example.org"],
            "secret\n",
            "me@example.org:{SCRAM-SHA-256}32768,",
        ),
    ];
    for (words, input, expected) in rows {
        let ran = system.run(words, input);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{words:?}");
        assert!(
            ran.stdout.starts_with(expected) && ran.stdout.lines().count() == 1,
            "{ran:?}"
        );
    }
    let rows: &[(&[&str], &str, i32)] = &[
        (&["--password"], "", 65),
        (&["--password"], "\n", 65),
        (&["--password", "a:b"], "secret\n", 64),
        (&["--password", "#a"], "secret\n", 64),
        (&["--password", ""], "secret\n", 64),
        (&["--password", "alice", "secret"], "secret\n", 64),
    ];
    for (words, input, code) in rows {
        let ran = system.run(words, input);
        assert_eq!((ran.code, ran.stdout.as_str()), (*code, ""), "{words:?}");
        assert!(!ran.stderr.is_empty());
    }
}

#[test]
fn a_check_looks_at_users_and_certificates() {
    let system = machine(
        "access-check",
        "alice:secret\nbob:$5$saltstring$C3o4O1TC6aRHF4FI.QSZMXtHbaj2gSXr4sUc/3NcUi.\n",
    );
    let absent = system.path("absent.pem").display().to_string();
    let checked = system.run(&["--check"], "").stdout;
    assert!(
        checked.contains("line 1: alice cannot log in: the hash is none"),
        "{checked}"
    );
    assert!(checked.contains("one user can log in"), "{checked}");
    assert!(!checked.contains("secret"), "{checked}");
    std::fs::write(system.path("users"), "").unwrap();
    let system = system.with("tls", &format!("certificate = \"{absent}\""));
    let ran = system.run(&["--check"], "");
    assert!(ran.stdout.contains("nobody can log in"), "{ran:?}");
    assert!(
        ran.stdout.contains("absent.pem: cannot read certificate"),
        "{ran:?}"
    );
    assert_eq!(ran.code, 78);
}

/// With the null sender, too: what is made for who has written no From names him, and nobody for whom we answer.
#[test]
fn who_names_nobody_is_named() {
    let hash = "$5$saltstring$C3o4O1TC6aRHF4FI.QSZMXtHbaj2gSXr4sUc/3NcUi.";
    let long = "x".repeat(250);
    let users = ["alice", "me@far.example", &long].map(|name| format!("{name}:{hash}\n"));
    let system = machine("access-nobody", &users.concat());
    let daemon = Daemon::start(&system);
    let rows = [
        ("alice", "250 ", format!("alice@{HOST}")),
        ("me@far.example", "250 ", "me@far.example".to_owned()),
        (&long, "550 5.7.1 there is no From, and", String::new()),
    ];
    let message =
        format!("Authentication-Results: {HOST}; dmarc=pass\r\nSubject: x\r\n\r\ntext\r\n.");
    for (user, expected, from) in rows {
        let mut own = client(&system, &daemon, "submissions");
        own.steps(&[
            (&plain(user, "secret"), "235 "),
            ("MAIL FROM:<>", "250 "),
            ("RCPT TO:<one@example.net>", "250 "),
            ("DATA", "354 "),
            (&message, expected),
        ]);
        let named = |m: &Queued| m.mail().field("From").as_ref() == Some(&from);
        let named = system.queue().iter().any(named);
        assert_eq!(named, !from.is_empty(), "{user}");
        let forged = |m: &Queued| m.mail().text().contains("dmarc=pass");
        assert!(!system.queue().iter().any(forged), "{user}");
    }
}

/// RFC 8689: what a client demands under TLS is kept with its message; without TLS it is not known.
#[test]
fn a_demand_for_tls_is_kept_with_the_message() {
    let system = machine(
        "access-requiretls",
        "alice:$5$saltstring$C3o4O1TC6aRHF4FI.QSZMXtHbaj2gSXr4sUc/3NcUi.\n",
    );
    let daemon = Daemon::start(&system);
    let mut stranger = daemon.client();
    assert!(!stranger.say("EHLO x").contains("REQUIRETLS"));
    stranger.steps(&[("MAIL FROM:<a@b.example> REQUIRETLS", "555 ")]);
    let mut own = client(&system, &daemon, "submission");
    assert!(own.say("EHLO x").contains("REQUIRETLS"));
    own.steps(&[
        (&plain("alice", "secret"), "235 "),
        (&format!("MAIL FROM:<alice@{HOST}> REQUIRETLS"), "250 "),
        ("RCPT TO:<one@example.net>", "250 "),
        ("DATA", "354 "),
        ("Subject: x\r\n\r\ntext\r\n.", "250 "),
    ]);
    assert_eq!(system.queued().field("requiretls").as_deref(), Some("yes"));
}

/// D25, G14: who goes in the middle of TLS, or before it has begun, leaves nothing: neither mail nor descriptors.
#[test]
fn who_goes_in_the_middle_of_tls_leaves_nothing() {
    let system = machine("access-gone", "");
    let daemon = Daemon::start(&system);
    let mut cut = {
        let stream = TcpStream::connect(daemon.address("smtp")).unwrap();
        let mut clear = Client::tcp(stream.try_clone().unwrap());
        clear.reply();
        clear.steps(&[("EHLO x", "250-"), ("STARTTLS", "220 ")]);
        Secure::on(stream, &own_pair(&system), None).unwrap()
    };
    cut.steps(&[
        ("EHLO x", "250-"),
        ("MAIL FROM:<>", "250 "),
        (&format!("RCPT TO:<{}>", me()), "250 "),
        ("DATA", "354 "),
    ]);
    // The end mark may have been cut off with the rest, so there was none.
    drop(cut);
    let files = || {
        std::fs::read_dir(format!("/proc/{}/fd", daemon.id()))
            .unwrap()
            .count()
    };
    let before = files();
    for _ in 0..200 {
        let mut client = daemon.client();
        client.steps(&[("EHLO x", "250-"), ("STARTTLS", "220 ")]);
        client.send("\x16\x03\x01\x02\0\x01\0\x01").unwrap();
        drop(client);
    }
    until("all are closed", || files() <= before + 2);
    for folder in ["tmp", "new", "cur", "hold"] {
        let mail: Vec<String> = system
            .names(folder)
            .into_iter()
            .filter(|n| !n.starts_with("place."))
            .collect();
        assert!(mail.is_empty(), "{folder}: {mail:?}");
    }
    assert!(system.mailbox().is_empty());
}
