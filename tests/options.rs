//! The options and names of sendmail, as callers use them: each has its meaning, and none becomes a recipient.

use crate::harness::System;
use crate::harness::system::{HOST, program, user};

#[test]
fn dsn_options_stand_in_the_envelope() {
    struct Row(
        &'static [&'static str],
        &'static str,
        Option<&'static str>,
        Option<&'static str>,
    );
    let rows = [
        Row(
            &["-N", "never"],
            "<one@example.net> NOTIFY=NEVER",
            None,
            None,
        ),
        Row(
            &["-Nfailure,delay", "-Rhdrs"],
            "<one@example.net> NOTIFY=FAILURE,DELAY",
            Some("HDRS"),
            None,
        ),
        Row(
            &["-N", "success", "-R", "full", "-V", "QQ1"],
            "<one@example.net> NOTIFY=SUCCESS",
            Some("FULL"),
            Some("QQ1"),
        ),
    ];
    for Row(args, to, ret, envid) in rows {
        let system = System::offline("dsn");
        system.accept(
            &[args, &["one@example.net"]].concat(),
            "Subject: x\n\nhello\n",
        );
        let queued = system.queued();
        assert_eq!(queued.field("to").as_deref(), Some(to), "{args:?}");
        assert_eq!(queued.field("ret").as_deref(), ret, "{args:?}");
        assert_eq!(queued.field("envid").as_deref(), envid, "{args:?}");
    }
}

/// An option's value that became a recipient sent mail to `8BITMIME@host` with ssmtp.
#[test]
fn no_value_of_an_option_becomes_a_recipient() {
    let values = [
        ("A", "c"),
        ("B", "8BITMIME"),
        ("b", "m"),
        ("D", "trace"),
        ("e", "m"),
        ("F", "Name"),
        ("f", "me@example.org"),
        ("h", "5"),
        ("L", "tag"),
        ("M", "x"),
        ("N", "never"),
        ("O", "DeliveryMode=b"),
        ("o", "em"),
        ("p", "x"),
        ("R", "hdrs"),
        ("r", "me@example.org"),
        ("T", "x"),
        ("V", "id"),
        ("X", "trace"),
    ];
    for (letter, value) in values {
        for args in [
            vec![format!("-{letter}{value}")],
            vec![format!("-{letter}"), value.to_owned()],
        ] {
            let system = System::offline("arity");
            let mut words: Vec<&str> = args.iter().map(String::as_str).collect();
            words.extend(["-odq", "one@example.net"]);
            let call = system.call("sendmail").args(&words).folder(&system.root);
            let ran = call.stdin("Subject: x\n\nhello\n").run();
            assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{words:?}");
            assert_eq!(
                system.queued().recipients(),
                ["one@example.net"],
                "{words:?}"
            );
            // -D and -X name files; no caller makes the program write one.
            assert!(!system.path("trace").exists(), "{words:?}");
        }
    }
    // These take none, and a word after them is a recipient.
    for flag in [
        "-E", "-G", "-i", "-J", "-m", "-n", "-s", "-U", "-x", "-d", "-im", "-d0.1",
    ] {
        let system = System::offline("arity");
        system.accept(&[flag, "-odq", "one@example.net"], "Subject: x\n\nhello\n");
        assert_eq!(system.queued().recipients(), ["one@example.net"], "{flag}");
    }
}

/// netdata asks so whether `-F` is known; it must hear of a value, and at once.
#[test]
fn a_probe_for_an_option_is_answered() {
    let system = System::offline("netdata");
    let ran = system.run(&["-F"], "");
    assert_eq!(ran.code, 64);
    assert!(!ran.stderr.contains("unrecognized option"), "{ran:?}");
    assert!(ran.stderr.contains("-F"), "{ran:?}");
}

/// A script that probed so hung for ever on another mailer, as that waited for a daemon.
#[test]
fn an_address_is_verified_without_reading_or_waiting() {
    let system = System::offline("verify");
    // Standard input stays open and is never read.
    let mut child = system.call("sendmail").args(&["-bv", "root"]).start();
    let stdin = child.stdin.take();
    let ran = crate::harness::system::finish(child);
    drop(stdin);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("root"), "{ran:?}");
    assert!(system.queue().is_empty());
}

/// The names a system's programs know it by.
#[test]
fn each_name_has_its_mode() {
    let system = System::offline("names");
    let ran = system.call("mailq").run();
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = system.call("newaliases").run();
    assert_eq!(ran.code, 0, "{ran:?}");
    // By any other name it takes a message.
    std::os::unix::fs::symlink(program(), system.path("bin/send-mail")).unwrap();
    let ran = system
        .call("send-mail")
        .args(&["root"])
        .stdin("hello\n")
        .run();
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(system.queued().sender(), format!("<{}@{HOST}>", user()));
}
