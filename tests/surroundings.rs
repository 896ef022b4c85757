//! What surrounds a submission: the modes, descriptors and signals of its caller, little memory, a spool or a configuration
//! that is of no use, and what is left in the log then.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;

use crate::harness::system::{HOST, age, finish, is_ignored, until, user};
use crate::harness::{Answer, Daemon, Remote, Script, System};

/// design.md 2: the folders of the spool, and files others cannot read, whatever the caller's umask is (I14).
#[test]
fn modes_do_not_depend_on_the_caller() {
    for umask in ["000", "022", "777"] {
        let system = System::offline("umask");
        std::fs::remove_dir_all(system.path("spool")).unwrap();
        let call = system.call_after(&format!("umask {umask}"));
        let ran = call.args(&["-odq", "one@example.net"]).stdin("\nx\n").run();
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{umask}");
        let mode = |path: &str| {
            let metadata = std::fs::metadata(system.path(path)).unwrap();
            metadata.permissions().mode() & 0o777
        };
        let queued = system.queued();
        let file = mode(&format!("spool/new/{}", queued.id));
        assert_eq!(
            (file & 0o007, file & 0o600),
            (0, 0o600),
            "{umask}: {file:o}"
        );
        for folder in ["spool/new", "spool/cur", "spool/tmp", "spool/hold"] {
            let mode = mode(folder);
            assert_eq!(
                (mode & 0o006, mode & 0o700),
                (0, 0o700),
                "{umask} {folder}: {mode:o}"
            );
        }
    }
}

/// I14: a start among ruins. Either it works, or nothing is promised; no message goes to a wrong descriptor.
#[test]
fn odd_starts_end_well() {
    let rows: &[(&str, &[i32])] = &[
        ("exec <&-", &[65, 71, 74]),
        ("exec >&-", &[0]),
        ("exec 2>&-", &[0]),
        ("exec >&- 2>&-", &[0]),
        ("exec <&- >&- 2>&-", &[65, 71, 74]),
        ("ulimit -n 4", &[0, 71, 75]),
        ("ulimit -f 0", &[75]),
        ("mkdir gone && cd gone && rmdir ../gone", &[0]),
        (
            "PATH= IFS=x TZ=:/etc/passwd LANG=xx_XX.bogus; export PATH IFS TZ LANG",
            &[0],
        ),
        ("exec </", &[71, 74, 65]),
    ];
    for (shell, codes) in rows {
        let system = System::offline("odd");
        let call = system.call_after(shell).folder(&system.root);
        let ran = call
            .args(&["-odq", "one@example.net"])
            .stdin("Subject: x\n\nhello\n")
            .run();
        assert!(codes.contains(&ran.code), "{shell}: {ran:?}");
        if ran.code == 0 {
            assert_eq!(system.queued().mail().body(), "hello\n", "{shell}");
        } else {
            assert!(system.queue().is_empty(), "{shell}");
            assert!(system.names("tmp").is_empty(), "{shell}");
        }
    }
}

/// A cron job that holds a lock while it runs: who goes on for it in the background has nothing of it.
#[test]
fn what_goes_on_in_the_background_keeps_no_lock_of_its_caller() {
    let remote = Remote::start(Script::new().on("CONNECT", Answer::Silence));
    for args in [&["-i", "one@example.net"][..], &["-bs"]] {
        let system = System::relaying("inherited", &remote);
        let lock = system.path("lock");
        let shell = format!("exec 9>{}; flock -n 9 || exit 1", lock.display());
        let ran = system
            .call_after(&shell)
            .args(args)
            .stdin("HELO x\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<one@example.net>\r\nDATA\r\n\r\nx\r\n.\r\nQUIT\r\n")
            .run();
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{args:?}");
        let is_tried = || {
            let id = &system.queued().id;
            let file = File::open(system.path("spool/new").join(id)).unwrap();
            file.try_lock().is_err()
        };
        until("the server is waited for", is_tried);
        let lock = File::open(lock).unwrap();
        assert!(lock.try_lock().is_ok(), "{args:?}: the lock is still held");
    }
}

/// I9: a caller who goes away before the end of his message sent nothing.
#[test]
fn an_interrupted_caller_sent_nothing() {
    for (number, signal) in [(2, "INT"), (15, "TERM"), (1, "HUP"), (9, "KILL")] {
        // As for tests that run in the background or under nohup: then it is ignored in what they start, too.
        if is_ignored(number) {
            continue;
        }
        let system = System::offline("signal");
        let mut child = system
            .call("sendmail")
            .args(&["-odq", "one@example.net"])
            .start();
        let mut stdin = child.stdin.take().unwrap();
        // More than a pipe holds: when this returns, the program has begun to read.
        stdin.write_all(&b"Subject: x\n\n".repeat(20_000)).unwrap();
        let id = child.id().to_string();
        let status = std::process::Command::new("/bin/sh")
            .args(["-c", "kill -$0 $1", signal, &id])
            .status();
        assert!(status.unwrap().success());
        let ran = finish(child);
        drop(stdin);
        assert_eq!(ran.code, -number, "{signal}: {ran:?}");
        assert!(system.queue().is_empty(), "{signal}");
        // What may be left of it goes with a run that comes later.
        for name in system.names("tmp") {
            age(&system.path("spool/tmp").join(name), 600);
        }
        let ran = system.run(&["-q"], "");
        assert_eq!(ran.code, 0, "{signal}: {ran:?}");
        assert!(system.names("tmp").is_empty(), "{signal}");
    }
}

/// G23, I16: what is accepted is streamed; a message far larger than the limit of memory passes.
#[test]
fn memory_does_not_grow_with_the_message() {
    let system = System::offline("stream").with("limits", "message_size = \"100M\"");
    let call = system
        .call_after("ulimit -v 40000")
        .args(&["-i", "-odq", "one@example.net"]);
    let mut child = call.start();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        stdin.write_all(b"Subject: x\n\n").unwrap();
        let chunk = b"0123456789abcdef\n".repeat(4096);
        for _ in 0..800 {
            stdin.write_all(&chunk).unwrap();
        }
    });
    let ran = finish(child);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    writer.join().unwrap();
    let size = std::fs::metadata(system.path("spool/new").join(&system.names("new")[0]))
        .unwrap()
        .len();
    assert!(size > 800 * 4096 * 18, "{size}");
}

/// H5 and a cron job gone wild: the disk is not filled, and the caller is told to try again.
#[test]
fn a_full_spool_takes_nothing() {
    let system = System::offline("full").with("queue", "min_free = \"1024G\"");
    let ran = system.run(&["-odq", "one@example.net"], "\nx\n");
    assert_eq!(ran.code, 75, "{ran:?}");
    assert!(ran.stderr.contains("free"), "{ran:?}");
    let system = System::offline("full").with("queue", "max_messages = 2");
    for expected in [0, 0, 75] {
        let ran = system.run(&["-odq", "one@example.net"], "\nx\n");
        assert_eq!(ran.code, expected, "{ran:?}");
    }
    assert_eq!(system.queue().len(), 2);
}

/// What at(1) throws away and cron(8) shortens to an exit code: who wanted to send what to whom, and why it was not taken.
#[test]
fn what_is_not_taken_stands_in_the_log() {
    let many: Vec<String> = (0..30).map(|n| format!("no user{n}@x.example")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let rows: &[(&[&str], &str, &str)] = &[
        (
            &["-f", "a@b.example", "c d@e"],
            "x\n",
            "from=\"a@b.example\" to=\"c d@e\" reason=\"c d@e is not a valid address: ",
        ),
        (
            &["-t"],
            "Subject: x\n\ny\n",
            "from=\"\" to=\"\" reason=\"no recipients: none on ",
        ),
        (
            &["one@example.net"],
            "",
            "to=\"one@example.net\" reason=\"standard input is empty: ",
        ),
        (&many, "x\n", "no user19@x.example, and 10 more\" reason=\""),
        (
            &["-f", "\"\n\u{1b}", "one@example.net"],
            "x\n",
            "from=\"\\\"\\n\\u{1b}\" to=",
        ),
    ];
    for (args, message, words) in rows {
        let system = System::offline("refused");
        let ran = system.run(args, message);
        assert_ne!(ran.code, 0, "{ran:?}");
        let log = system.log();
        let begins = format!("- reject client=\"uid {}\" from=", nix::unistd::getuid());
        assert!(
            log.contains(&begins) && log.contains(words),
            "{words}\n{log}"
        );
        assert_eq!(log.lines().count(), 1, "{log}");
    }
    let system = System::offline("refused").with("queue", "min_free = \"1024G\"");
    assert_eq!(system.run(&["one@example.net"], "x\n").code, 75);
    assert!(
        system
            .log()
            .contains("to=\"one@example.net\" reason=\"the file system of the spool "),
        "{}",
        system.log()
    );
    // Whoever looks at standard error alone is told once.
    let system = System::offline("refused").with("log", "to = \"stderr\"");
    let ran = system.run(&["-t"], "Subject: x\n\ny\n");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
}

/// A configuration that cannot be read names no log; the one of the system is told.
#[test]
fn a_bad_configuration_stands_in_the_systems_log() {
    let system = System::offline("bad").with("smarthost", "password = \"secret\"");
    let heard = std::os::unix::net::UnixDatagram::bind(system.path("devlog")).unwrap();
    heard.set_nonblocking(true).unwrap();
    let script = "mount -t tmpfs none /dev && ln -s \"$1/devlog\" /dev/log && : >/dev/null && \
                  exec \"$1/bin/sendmail\" -C \"$1/minimta.toml\" -i one@example.net";
    let ran = std::process::Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(system.path(""))
        .output();
    let Some(78) = ran.ok().and_then(|ran| ran.status.code()) else {
        return println!("no namespace can be made here: left out");
    };
    let mut line = [0; 1000];
    let read = heard.recv(&mut line).unwrap();
    let line = String::from_utf8_lossy(&line[..read]);
    assert!(line.starts_with("<20>sendmail["), "{line}");
    assert!(
        line.contains("]: - reject client=\"uid ") && line.contains("minimta.toml:"),
        "{line}"
    );
    assert!(
        line.contains(" to=\"one@example.net\" reason=\"") && !line.contains("secret"),
        "{line}"
    );
}

/// A full disk or a torn edit has emptied the file of users: nobody is told that he is not here.
#[test]
fn nobody_is_unknown_where_there_are_no_users_at_all() {
    let system = System::listening("no-users");
    let (passwd, whole) = (system.path("passwd"), std::fs::read("/etc/passwd").unwrap());
    let set = |text: &[u8]| std::fs::write(&passwd, text).unwrap();
    set(&whole);
    let script = "mount --bind \"$1/passwd\" /etc/passwd && exec \"$1/bin/sendmail\" -C \"$1/minimta.toml\" $2";
    let call = |words: &str| {
        let mut command = std::process::Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh"]);
        command.arg(system.path("")).arg(words);
        command.stdin(std::process::Stdio::null());
        command
    };
    if !call("--version")
        .output()
        .is_ok_and(|ran| ran.status.success())
    {
        return println!("no namespace can be made here: left out");
    }
    let daemon = Daemon::of(&system, || call("-bD").spawn().unwrap());
    let asked = |reply: &str| {
        let mut client = daemon.client();
        client.steps(&[("HELO x", "250 "), ("MAIL FROM:<>", "250 ")]);
        let to = format!("RCPT TO:<no-such-user@{HOST}>");
        client.say(&to).starts_with(reply)
    };
    assert!(asked("550 5.1.1 "));
    set(b"root:x");
    until("nobody can be told from nobody", || asked("451 4.3.0 "));
    let to = format!("no-such-user@{HOST}");
    let words = ["-odq", "-f", "x@example.net", &user(), &to];
    assert_eq!(system.run(&words, "Subject: x\n\nx\n").code, 0);
    assert!(call("-q").status().unwrap().success());
    let why = "4.3.0 - there is no user at all, not even root: /etc/passwd is empty or damaged";
    let journal = system.queued().journal.concat();
    assert!(journal.contains(why), "{journal} {}", system.log());
    set(&whole);
    until("they are back", || asked("550 5.1.1 "));
    drop(daemon);
}

/// A log that cannot be written keeps no mail away, and is named in words.
#[test]
fn an_unusable_log_is_named() {
    let system = System::offline("log");
    let folder = system.root.display().to_string();
    let system = system.with("log", &format!("to = {folder:?}"));
    let ran = system.run(&["-odq", "one@example.net"], "\nx\n");
    let said =
        format!("sendmail: cannot write the log file {folder}: is a directory; see [log] to\n");
    assert_eq!((ran.code, ran.stderr), (0, said));
}

/// H16: a spool that cannot be used is named, with what to do.
#[test]
fn an_unusable_spool_is_named() {
    let system = System::offline("spool");
    let file = system.path("in-the-way");
    std::fs::write(&file, "").unwrap();
    let system = system.with(
        "queue",
        &format!("spool = \"{}\"", file.join("spool").display()),
    );
    let ran = system.run(&["-odq", "one@example.net"], "\nx\n");
    assert!([71, 73, 75].contains(&ran.code), "{ran:?}");
    assert!(ran.stderr.contains("in-the-way"), "{ran:?}");
}
