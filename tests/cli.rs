//! The command line as such: help, version, what is refused before anything is read, and the exit codes.

use std::io::Write as _;

use crate::harness::System;
use crate::harness::system::finish;

#[test]
fn help_fits_a_screen() {
    let system = System::new("help");
    let ran = system.run(&["--help"], "");
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert!(lines.len() <= 24, "{} lines", lines.len());
    assert!(
        lines.iter().all(|l| l.chars().count() <= 80),
        "{}",
        ran.stdout
    );
    for option in [
        "-t",
        "-f",
        "-q",
        "--due",
        "mailq",
        "--check",
        "--test",
        "--show",
        "--remove",
        "--hold",
        "--release",
    ] {
        assert!(ran.stdout.contains(option), "{option}");
    }
    let ran = system.run(&["--version"], "");
    assert_eq!(ran.code, 0);
    assert_eq!(
        ran.stdout,
        format!("minimta {}\n", env!("CARGO_PKG_VERSION"))
    );
}

/// I26. Refused before standard input is read: it stays open here, and the program ends all the same.
#[test]
fn what_no_sendmail_ever_had_is_refused_at_once() {
    let rows: &[&[&str]] = &[
        &["-Z", "root"],
        &["-a", "default", "root"], // msmtp's dialect
        &["-S", "host:25", "root"], // BusyBox's and ssmtp's
        &["-b", "x"],
        &["--no-such-option"],
        &["--help=x"],
        &["-f"],
        &["-qx"],
        &["-N", "sometimes", "root"],
    ];
    for args in rows {
        let system = System::offline("usage");
        let mut child = system.call("sendmail").args(args).start();
        let stdin = child.stdin.take();
        let ran = finish(child);
        drop(stdin);
        assert_eq!(ran.code, 64, "{args:?}: {ran:?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{args:?}: {ran:?}");
        assert!(ran.stderr.starts_with("sendmail: "), "{args:?}: {ran:?}");
        assert_eq!(ran.stdout, "");
    }
}

/// Every finding of a configuration ends in 78, with the place, before anything is read or written.
#[test]
fn a_wrong_configuration_stops_everything() {
    for (section, line, part) in [
        ("", "no_such_key = 1", "no_such_key"),
        ("queue", "workers = \"many\"", "workers"),
        ("queue", "retry_first = \"soon\"", "soon"),
        ("queue", "workers = ", "minimta.toml:"),
        ("smarthost", "port = 99999", "99999"),
    ] {
        let system = System::offline("config").with(section, line);
        for args in [&["root"][..], &["-q"], &["-bp"], &["-bs"]] {
            let ran = system.run(args, "\nx\n");
            assert_eq!(ran.code, 78, "{line} {args:?}: {ran:?}");
            assert!(ran.stderr.contains(part), "{line}: {ran:?}");
            assert!(ran.stderr.contains("minimta.toml"), "{line}: {ran:?}");
        }
        assert!(system.names("new").is_empty());
    }
    let system = System::new("config");
    let ran = system.run(&["-C", "/nowhere/at-all.toml", "root"], "\nx\n");
    assert_eq!(ran.code, 78, "{ran:?}");
    assert!(ran.stderr.contains("/nowhere/at-all.toml"), "{ran:?}");
}

/// Whoever saves what is printed must hear that the disk is full, or he removes the message of which he has no copy.
#[test]
fn what_cannot_be_printed_is_an_error() {
    let system = System::offline("full-stdout");
    system.accept(&["-i", "-odq", "one@example.net"], "Subject: x\n\nno end");
    let id = system.queued().id;
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = file.join("tests/imports/ssmtp-gmail/ssmtp.conf");
    let rows: &[&[&str]] = &[
        &["--help"],
        &["--version"],
        &["--password", "alice"],
        &["--import", &file.display().to_string()],
        &["--show", &id],
        &["-bp"],
        &["-bp", "--json"],
        &["--status"],
        &["--status", "--json"],
        &["--status", "--prometheus"],
        &["-bi"],
        &["-bv", "one@example.net"],
        &["--check"],
        &["--test", "one@example.net"],
        &["--dkim-key", "example.org"],
        &["--hold", &id],
        &["--release", "ALL"],
        &["--remove", &id],
    ];
    for args in rows {
        if !["--hold", "--release", "--remove"].contains(&args[0]) {
            // A reader who has seen enough is none.
            let mut child = system.call("sendmail").args(args).start();
            drop(child.stdout.take());
            child.stdin.take().unwrap().write_all(b"secret\n").ok();
            let ran = finish(child);
            assert_ne!(ran.code, 74, "{args:?}: {ran:?}");
        }
        let full = system.call_after("exec >/dev/full");
        let ran = full.args(args).stdin("secret\n").run();
        assert_eq!(ran.code, 74, "{args:?}: {ran:?}");
        let sentence = "cannot write to standard output: no space left on device\n";
        assert!(ran.stderr.ends_with(sentence), "{args:?}: {ran:?}");
    }
    assert!(
        system.queue().is_empty(),
        "what was done is done all the same"
    );
}

/// What others chose does not reach the terminal as it is.
#[test]
fn a_message_on_stderr_is_one_clean_line() {
    let system = System::offline("clean");
    for bad in ["a\u{1b}[2J@@x", "x\ny@@z"] {
        let ran = system.run(&["-odq", bad], "\nx\n");
        assert_ne!(ran.code, 0);
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
        assert!(!ran.stderr.contains('\u{1b}'), "{ran:?}");
    }
}

/// An argument that is no UTF-8 is said to be so.
#[test]
fn an_argument_of_other_octets_is_refused() {
    let system = System::offline("octets");
    let ran = system
        .call("sendmail")
        .args(&["-odq"])
        .arg(b"\xff@example.net")
        .stdin("\nx\n")
        .run();
    assert!([64, 65].contains(&ran.code), "{ran:?}");
    assert!(system.queue().is_empty());
}

/// `--import` with a file, with the folder it is in, and with what is none. What it makes of each program's files is in
/// tests/imports.
#[test]
fn an_import_finds_the_file_it_is_given() {
    let system = System::new("import");
    let samples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/imports");
    let sample = |name: &str| samples.join(name).display().to_string();
    let file = system.run(&["--import", &sample("ssmtp-gmail/ssmtp.conf")], "");
    let folder = system.run(&["--import", &sample("ssmtp-gmail")], "");
    assert_eq!(file, folder);
    assert_eq!((file.code, file.stderr.as_str()), (0, ""));
    assert!(
        file.stdout.contains("host = \"smtp.gmail.com\"\n"),
        "{file:?}"
    );
    // An editor has put its mark before it.
    let marked = system.path("ssmtp.conf");
    std::fs::write(&marked, "\u{feff}mailhub=smtp.example.net\n").unwrap();
    let ran = system.run(&["--import", &marked.display().to_string()], "");
    assert!(
        ran.stdout.contains("host = \"smtp.example.net\"\n"),
        "{ran:?}"
    );
    let none = system.path("none");
    std::fs::create_dir(&none).unwrap();
    let other = system.path("main.cf");
    std::fs::write(&other, "relayhost = x\n").unwrap();
    let rows = [
        (
            none.display().to_string(),
            "holds no dma.conf, msmtprc, remotes or ssmtp.conf",
        ),
        (
            other.display().to_string(),
            "is no configuration of dma, msmtp, ssmtp or nullmailer",
        ),
        (sample("none-such"), "there is no such file"),
    ];
    for (path, sentence) in rows {
        let ran = system.run(&["--import", &path], "");
        assert_eq!((ran.code, ran.stdout.as_str()), (78, ""), "{ran:?}");
        assert!(ran.stderr.contains(sentence), "{ran:?}");
    }
    assert_eq!(system.run(&["--import", "a", "b"], "").code, 64);
}
