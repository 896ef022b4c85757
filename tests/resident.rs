//! `minimta -bd` as its administrator sees it: signals, the queue that it works off, sockets that others have opened, its log.

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::daemon::activated;
use crate::harness::remote::Script;
use crate::harness::system::{me, names_in};
use crate::harness::{Answer, Client, Daemon, Remote, System, until};
use crate::listen::{MESSAGE, logged, nothing_kept};

#[test]
fn a_stop_is_told_to_the_idle_and_waits_for_the_busy() {
    // B28, R38, R82
    let system = System::listening("listen-stop");
    let daemon = Daemon::start(&system);
    let mut idle = daemon.client();
    let mut greeted = daemon.client();
    greeted.steps(&[("EHLO x.example", "250-")]);
    let mut busy = daemon.client();
    let to = format!("RCPT TO:<{}>", me());
    busy.steps(&[
        ("EHLO x", "250-"),
        ("MAIL FROM:<>", "250 "),
        (&to, "250 "),
        ("DATA", "354 "),
    ]);
    let begun = Instant::now();
    daemon.signal(Signal::SIGTERM);
    assert!(idle.reply().starts_with("421 4.3.2"));
    assert!(greeted.reply().starts_with("421 4.3.2"));
    let reply = busy.say(&format!("{MESSAGE}."));
    assert!(reply.starts_with("250 "), "{reply}");
    assert!(busy.reply().starts_with("421 4.3.2"));
    drop((idle, greeted, busy));
    assert_eq!(daemon.end().code, 0);
    assert!(begun.elapsed() < Duration::from_secs(10));
    // What it has accepted is safe, whether it was still delivered or not.
    assert_eq!(system.names("new").len() + system.mailbox().len(), 1);
}

#[test]
fn a_message_that_does_not_end_is_cut_off_by_a_stop() {
    let system = System::listening("listen-cut");
    let daemon = Daemon::start(&system);
    let mut busy = daemon.client();
    busy.steps(&[
        ("EHLO x", "250-"),
        ("MAIL FROM:<>", "250 "),
        ("RCPT TO:<postmaster>", "250 "),
        ("DATA", "354 "),
    ]);
    daemon.signal(Signal::SIGTERM);
    let reply = busy.reply();
    assert!(reply.starts_with("421 4.3.2"), "{reply}");
    assert_eq!(daemon.end().code, 0);
    nothing_kept(&system);
}

/// Whoever has all of a message when the daemon is told to stop.
enum Has {
    /// A smarthost, that answers so.
    Server(Answer),
    /// The same, and the client waits for it.
    Passed(Answer),
    /// A command, which then runs so many seconds; and another is to be run after it.
    Command(u32),
    /// A smarthost that was not given the message yet.
    Nobody,
}

/// What would go out twice, for somebody has it and has not answered yet, is waited for longer than anything else; but not
/// for ever, and not when the stop is asked for twice. A row: who has it, whether it is asked for twice, the seconds
/// within which the daemon ends, and whether it is done with the message then.
#[test]
fn a_stop_waits_for_the_answer_of_whoever_has_a_message() {
    let yes = |seconds| Answer::Late(Duration::from_secs(seconds), "250 2.0.0 ok".to_owned());
    let rows = [
        (Has::Server(yes(8)), false, 7..14, true),
        (Has::Passed(yes(8)), false, 7..14, true),
        (Has::Command(8), false, 7..14, false),
        (Has::Nobody, false, 4..9, false),
        (Has::Server(Answer::Silence), false, 12..18, false),
        (Has::Server(yes(20)), true, 0..5, false),
    ];
    std::thread::scope(|scope| {
        for (has, twice, seconds, done) in &rows {
            scope.spawn(move || stop_while(has, *twice, seconds, *done));
        }
    });
}

fn stop_while(has: &Has, twice: bool, seconds: &std::ops::Range<u64>, done: bool) {
    let script = match has {
        Has::Server(answer) | Has::Passed(answer) => Script::new().once("DOT", answer.clone()),
        Has::Nobody => Script::new().once("DATA", Answer::Silence),
        Has::Command(_) => Script::new(),
    };
    let remote = Remote::start(script);
    let mut system = System::relaying("stop-answer", &remote).listens();
    let (begun, ran) = (system.path("begun"), system.path("ran"));
    let mut to = "one@example.net".to_owned();
    match has {
        Has::Passed(_) => system = system.with("queue", "first_try = \"direct\""),
        Has::Command(time) => {
            let (begun, ran) = (begun.display(), ran.display());
            let line = format!("cat >/dev/null; : >{begun}; sleep {time}; echo >>{ran}");
            system = system.with("local", &format!("mailbox = \"|{line}\""));
            to = me();
        }
        Has::Server(_) | Has::Nobody => {}
    }
    let daemon = Daemon::start(&system);
    let (mut idle, mut client) = (daemon.client(), daemon.client());
    client.steps(&[
        ("EHLO x", "250-"),
        ("MAIL FROM:<a@example.org>", "250 "),
        (&format!("RCPT TO:<{to}>"), "250 "),
    ]);
    if matches!(has, Has::Command(_)) {
        client.steps(&[("RCPT TO:<postmaster>", "250 ")]);
    }
    client.steps(&[("DATA", "354 ")]);
    client.send(format!("{MESSAGE}.\r\n")).unwrap();
    until("it is on its way", || match has {
        Has::Server(_) | Has::Passed(_) => remote.wire().len() == 1,
        Has::Command(_) => begun.exists(),
        Has::Nobody => remote.commands().iter().any(|c| c == "DATA"),
    });
    let told = Instant::now();
    daemon.signal(Signal::SIGTERM);
    assert!(idle.reply().starts_with("421 4.3.2"));
    // At a terminal it comes twice, by way of root's process; that is one.
    daemon.signal(Signal::SIGTERM);
    if twice {
        std::thread::sleep(Duration::from_millis(600));
        daemon.signal(Signal::SIGTERM);
    }
    let reply = client.reply();
    assert!(reply.starts_with("250 "), "{reply}");
    assert_eq!(daemon.end().code, 0);
    let took = told.elapsed().as_secs();
    assert!(seconds.contains(&took), "{took} of {seconds:?}");
    assert_eq!(system.queue().is_empty(), done, "{}", system.log());
    // Nobody has it twice, or not at all.
    drop(system.run(&["-q"], ""));
    match has {
        Has::Command(_) => assert_eq!(std::fs::read(&ran).unwrap(), b"\n\n"),
        _ if done => assert_eq!(remote.wire().len(), 1),
        _ => assert_eq!(remote.received().len(), 1 + usize::from(twice)),
    }
}

#[test]
fn a_new_configuration_is_for_new_sessions() {
    // B29
    let system = System::listening("listen-reload");
    let daemon = Daemon::start(&system);
    let mut old = daemon.client();
    old.steps(&[("EHLO x", "250-")]);
    let system = system.with("limits", "message_size = \"2M\"");
    daemon.signal(Signal::SIGHUP);
    logged(&system, "daemon has read its configuration again");
    assert!(daemon.client().say("EHLO x").contains("SIZE 2097152"));
    assert!(old.say("EHLO x").contains("SIZE 26214400"));
    let text = std::fs::read_to_string(system.path("minimta.toml")).unwrap();
    std::fs::write(
        system.path("minimta.toml"),
        format!("{text}\nnonsense = 1\n"),
    )
    .unwrap();
    daemon.signal(Signal::SIGHUP);
    logged(&system, "the configuration stays as it was");
    assert!(daemon.client().say("EHLO x").contains("SIZE 2097152"));
    assert!(old.deliver(&me(), MESSAGE).starts_with("250 "));
}

/// What a daemon stands in does not change under it, and what is gone is not taken for a wish.
#[test]
fn a_daemon_keeps_its_place_and_its_configuration() {
    let system = System::listening("listen-places");
    let file = system.path("minimta.toml");
    // Not by -C: one that is named must be there.
    let mut call = std::process::Command::new(system.path("bin/sendmail"));
    call.arg("-bD").env("MINIMTA_CONFIG", &file);
    call.stdin(std::process::Stdio::null());
    let daemon = Daemon::of(&system, || call.spawn().unwrap());
    let text = std::fs::read_to_string(&file).unwrap();
    let named = format!("spool = \"{}\"", system.path("spool").display());
    assert!(text.contains(&named), "{text}");
    let elsewhere = format!("spool = \"{}\"", system.path("elsewhere").display());
    let limits = "[limits]\nmessage_size = \"2M\"\n";
    let other = format!(
        "user = \"mt-nobody\"\n{}{limits}",
        text.replace(&named, &elsewhere).replace("user = ", "# ")
    );
    std::fs::write(&file, other).unwrap();
    daemon.signal(Signal::SIGHUP);
    for told in [
        "[queue] spool names another place now: that needs a new start",
        "the key user names another user now: that needs a new start",
        "daemon has read its configuration again",
    ] {
        logged(&system, told);
    }
    let is_as_it_was = || {
        let mut client = daemon.client();
        let hello = client.say("EHLO x");
        assert!(hello.contains("SIZE 2097152"), "{hello}");
        assert!(hello.contains("STARTTLS"), "{hello}");
        assert!(client.deliver(&me(), MESSAGE).starts_with("250 "));
    };
    is_as_it_was();
    assert!(!system.log().contains("[queue] run names"));
    // Nor is what an editor has only begun to write; and the log is turned over all the same.
    for (is_there, why) in [
        (true, "NAME is empty"),
        (false, "there is no NAME any more"),
    ] {
        match is_there {
            true => std::fs::write(&file, "").unwrap(),
            false => std::fs::remove_file(&file).unwrap(),
        }
        let log = system.path("log");
        std::fs::rename(&log, log.with_extension("old")).unwrap();
        daemon.signal(Signal::SIGHUP);
        let why = why.replace("NAME", &file.display().to_string());
        logged(
            &system,
            &format!("the configuration stays as it was: {why}"),
        );
        let old = std::fs::read_to_string(log.with_extension("old")).unwrap();
        std::fs::write(&log, old + &system.log()).unwrap();
        is_as_it_was();
    }
    assert!(!system.path("elsewhere").exists());
}

#[test]
fn a_submission_is_left_to_the_daemon() {
    let system = System::listening("listen-trigger");
    let daemon = Daemon::start(&system);
    system.accept(&[&me()], MESSAGE);
    until("delivered", || system.mailbox().len() == 1);
    let id = daemon.id();
    let name = names_in(&system.maildir().join("new")).remove(0);
    assert!(name.contains(&format!("P{id}Q")), "{name} not by {id}");
}

/// A daemon of another queue in the same run folder delivers nothing of ours.
#[test]
fn a_daemon_of_another_queue_is_none() {
    let other = System::listening("run-other");
    let daemon = Daemon::start(&other);
    let run = other.path("run");
    let ours = System::new("run-ours").with("queue", &format!("run = {:?}", run.display()));
    ours.accept(&[&me()], MESSAGE);
    until("it is delivered all the same", || ours.mailbox().len() == 1);
    let checked = ours.run(&["--check"], "");
    let said = format!(
        "warning  daemon: the one that runs in {} has another queue, {}: it delivers nothing of this one; give this one a \
         folder of its own with [queue] run\n",
        run.display(),
        other.path("spool").display()
    );
    assert!(checked.stdout.contains(&said), "{said}{checked:?}");
    // The same queue by another name.
    let link = other.path("link");
    std::os::unix::fs::symlink(other.path("spool"), &link).unwrap();
    let other = other.with("queue", &format!("spool = {:?}", link.display()));
    let checked = other.run(&["--check"], "");
    assert!(
        checked.stdout.contains("ok       daemon: one runs\n"),
        "{checked:?}"
    );
    drop(daemon);
}

/// The daemon has looked at what waits, and would not again for five minutes.
#[test]
fn what_is_released_goes_at_once() {
    let remote = Remote::start(Script::new());
    let system = System::relaying("listen-release", &remote).listens();
    system.accept(&["-odq", "one@example.net"], MESSAGE);
    system.accept(&["--hold", "ALL"], "");
    let daemon = Daemon::start(&system);
    system.accept(&[&me()], MESSAGE);
    until("it has looked", || system.mailbox().len() == 1);
    system.accept(&["--release", "ALL"], "");
    until("it is delivered", || remote.received().len() == 1);
    drop(daemon);
}

/// The daemon has looked at what waits, and would not again for five minutes: what others put off meanwhile goes when it is
/// due.
#[test]
fn what_others_put_off_goes_when_it_is_due() {
    let later = || Remote::start(Script::new().once("MAIL", "451 4.7.1 later"));
    let started = |system: System| {
        let system = system.listens().with("queue", "retry_first = \"1s\"");
        let daemon = Daemon::start(&system);
        system.accept(&[&me()], MESSAGE);
        until("it has looked", || system.mailbox().len() == 1);
        (system, daemon)
    };
    for (call, first_try) in [
        ("-odq", "spool"),
        ("-odi", "spool"),
        ("-odi", "direct"),
        ("-bs", "direct"),
    ] {
        let remote = later();
        let system = System::relaying("others-put-off", &remote);
        let system = system.with("queue", &format!("first_try = \"{first_try}\""));
        let (system, daemon) = started(system);
        match call {
            "-bs" => {
                let session = format!(
                    "HELO x\r\nMAIL FROM:<{}>\r\nRCPT TO:<one@example.net>\r\nDATA\r\n{MESSAGE}\r\n.\r\nQUIT\r\n",
                    me()
                );
                assert_eq!(system.run(&[call], &session).code, 0);
            }
            _ => system.accept(&[call, "one@example.net"], MESSAGE),
        }
        if call == "-odq" {
            system.accept(&["-q"], "");
        }
        until("it is delivered", || remote.received().len() == 1);
        drop(daemon);
    }
    let system = System::new("others-put-off").with("submit", "collapse = \"2s\"");
    let (system, daemon) = started(system);
    let text = "From: root\nSubject: Cron job\n\nthe same\n";
    (0..2).for_each(|_| system.accept(&["-odi", &me()], text));
    until("both are delivered", || system.mailbox().len() == 3);
    drop(daemon);
}

/// The message has no worker yet, for the server leaves another one unanswered.
#[test]
fn what_only_waits_for_its_turn_can_be_held_and_removed() {
    let remote = Remote::start(Script::new().on("DOT", Answer::Silence));
    let system = System::relaying("waits-held", &remote).listens();
    let system = system.with("queue", "per_destination = 1");
    let daemon = Daemon::start(&system);
    let send = || {
        let reply = daemon.client().deliver("one@example.net", MESSAGE);
        assert!(reply.starts_with("250 "), "{reply}");
    };
    send();
    until("it has the first", || remote.wire().len() == 1);
    let first = system.names("new");
    (0..2).for_each(|_| send());
    let mut others = system.names("new");
    others.retain(|id| !first.contains(id));
    for (word, id) in ["--hold", "--remove"].into_iter().zip(&others) {
        until("it is let go", || system.run(&[word, id], "").code == 0);
    }
    assert_eq!(system.names("hold"), others[..1]);
    assert_eq!(system.names("new"), first);
    assert_eq!(system.run(&["--remove", &first[0]], "").code, 75);
    drop(daemon);
}

/// Signals that a daemon hears in its own way, while it starts commands all the time: none ends it, and commands hear all.
#[test]
fn a_daemon_that_starts_commands_outlives_signals_and_commands_hear_them() {
    let system = System::listening("signals-commands");
    let kept = system.path("blocked");
    let line = format!(
        "|grep SigBlk /proc/self/status >>{}; cat >/dev/null",
        kept.display()
    );
    let system = system.with("local", &format!("mailbox = \"{line}\""));
    let daemon = Daemon::start(&system);
    let mut client = daemon.client();
    client.steps(&[("EHLO x", "250-")]);
    let lines = || std::fs::read_to_string(&kept).unwrap_or_default();
    for _ in 0..40 {
        assert!(client.deliver(&me(), MESSAGE).starts_with("250 "));
        for _ in 0..5 {
            daemon.signal(Signal::SIGHUP);
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    until("all are delivered", || lines().lines().count() == 40);
    assert!(
        lines().lines().all(|l| l == "SigBlk:\t0000000000000000"),
        "{}",
        lines()
    );
    drop(client);
    assert_eq!(daemon.stop().code, 0);
}

#[test]
fn the_queue_is_worked_off_by_itself() {
    // A daemon that does not listen; what waits when it begins, and what fails once.
    let remote = Remote::start(Script::new().once("MAIL", "451 4.7.1 later"));
    let system = System::relaying("listen-queue", &remote)
        .listens()
        .with("queue", "retry_first = \"1s\"");
    system.accept(&["-odq", "one@example.net"], MESSAGE);
    let daemon = Daemon::with(&system, &["-bD", "-q1h"]);
    logged(&system, "deferred");
    drop(daemon);
    let daemon = Daemon::start(&system);
    logged(&system, "delivered");
    assert_eq!(
        daemon.client().deliver("two@example.net", MESSAGE)[..4],
        *"250 "
    );
    until("both are gone", || {
        system.log().matches("delivered to").count() == 2
    });
    until("nothing waits", || system.queue().is_empty());
}

/// Servers that say nothing are waited for, and meanwhile all other mail goes on; also when the configuration is
/// read again, and once more.
#[test]
fn a_silent_server_holds_up_nobody_else() {
    let remote = Remote::start(Script::new().on("CONNECT", Answer::Silence));
    let system = System::relaying("listen-silent", &remote).listens();
    let daemon = Daemon::start(&system);
    for round in 1..=3 {
        system.accept(&["one@elsewhere.example"], MESSAGE);
        if round < 3 {
            until("the server is waited for", || {
                remote.sessions().len() >= round
            });
        }
        system.accept(&[&me()], MESSAGE);
        until("other mail has arrived", || {
            system.mailbox().len() == 2 * round - 1
        });
        daemon.signal(Signal::SIGHUP);
        let read_again = || {
            system
                .log()
                .matches("has read its configuration again")
                .count()
                == round
        };
        until("the configuration was read again", read_again);
        system.accept(&[&me()], MESSAGE);
        until("other mail has arrived", || {
            system.mailbox().len() == 2 * round
        });
    }
    until("the others wait", || system.queue().len() == 3);
    assert!(remote.received().is_empty());
    assert_eq!(daemon.stop().code, 0);
}

/// Nor does a server that has a message and does not answer keep a new configuration from being heeded, though another has
/// done so before.
#[test]
fn a_silent_server_holds_up_no_new_configuration() {
    let script = Script::new().on("DOT", Answer::Silence);
    let (silent, other) = (Remote::start(script), Remote::start(Script::new()));
    let system = System::relaying("reload-silent", &silent).listens();
    let daemon = Daemon::start(&system);
    for round in 1..=2 {
        system.accept(&["one@elsewhere.example"], MESSAGE);
        until("it has the message", || silent.wire().len() == round);
        if round == 1 {
            daemon.signal(Signal::SIGHUP);
            logged(&system, "has read its configuration again");
        }
    }
    let system = system.with("smarthost", &other.smarthost());
    daemon.signal(Signal::SIGHUP);
    let read_again = || system.log().matches("has read its").count() == 2;
    until("the configuration was read again", read_again);
    system.accept(&["two@elsewhere.example"], MESSAGE);
    until("it goes another way", || other.received().len() == 1);
    assert_eq!(silent.wire().len(), 2);
    drop(daemon);
}

#[test]
fn there_is_one_daemon_in_a_folder() {
    let system = System::listening("listen-twice");
    let daemon = Daemon::start(&system);
    let ran = system.run(&["-bD"], "");
    assert_eq!(ran.code, 69, "{ran:?}");
    assert!(
        ran.stderr
            .contains(&format!("runs already, as process {}", daemon.id())),
        "{ran:?}"
    );
    let address = daemon.address("smtp");
    let other = System::listening("listen-port").with("listen", &format!("smtp = [\"{address}\"]"));
    let ran = other.run(&["-bD"], "");
    assert_eq!(ran.code, 69, "{ran:?}");
    let expected = format!(
        "cannot listen at {address}: address already in use: sendmail (process {}) listens there; stop it, or name another place in [listen]",
        daemon.id()
    );
    assert!(ran.stderr.contains(&expected), "{expected} {ran:?}");
    // An address of no machine; one that is still to come from DHCP is met in the same way.
    let other = other.with("listen", "smtp = [\"192.0.2.77:2525\"]");
    let ran = other.run(&["-bD"], "");
    assert_eq!(ran.code, 69, "{ran:?}");
    let begins = "sendmail: cannot listen at 192.0.2.77:2525: ";
    let ends = ": no interface of this machine has that address now; name another place in [listen], or begin when the network is there\n";
    assert!(
        ran.stderr.starts_with(begins) && ran.stderr.ends_with(ends),
        "{ran:?}"
    );
    let said = "warning  port 2525: no interface of this machine has 192.0.2.77 now, so minimta -bd cannot listen there; name another place in [listen]\n";
    let ran = other.run(&["--check"], "");
    assert!(ran.stdout.contains(said), "{ran:?}");
}

#[test]
fn sendmail_goes_into_the_background() {
    let system = System::listening("listen-sysv");
    let ran = system.run(&["-bd", "-q1h"], "");
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    logged(&system, "daemon started");
    let id: i32 = std::fs::read_to_string(system.path("run/pid"))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    system.accept(&[&me()], MESSAGE);
    until("delivered", || system.mailbox().len() == 1);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), Signal::SIGTERM).unwrap();
    logged(&system, "daemon stopped");
}

#[test]
fn sockets_are_taken_over() {
    let system = System::listening("listen-activated");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let daemon = Daemon::of(&system, || activated(&system, listener, "-bd"));
    assert_eq!(daemon.address("smtp"), address);
    assert!(daemon.client().deliver(&me(), MESSAGE).starts_with("250 "));
    until("delivered", || system.mailbox().len() == 1);
    assert_eq!(daemon.stop().code, 0);
}

/// A daemon that was started for a client ends when there was none for a while, and not before.
#[test]
fn a_daemon_started_for_a_client_ends_without_any() {
    let system = System::listening("listen-idle-exit").with("limits", "command_timeout = \"1s\"");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let daemon = Daemon::of(&system, || activated(&system, listener, "-bd"));
    let mut client = daemon.client();
    client.steps(&[("EHLO x", "250-"), ("MAIL FROM:<>", "250 ")]);
    assert!(client.reply().starts_with("421 4.4.2"));
    drop(client);
    assert_eq!(daemon.end().code, 0);
    assert!(system.log().contains("daemon stopped"));
}

/// SIGHUP: the lines go to a new file under the same name, at the level that the configuration names now.
#[test]
fn a_log_is_turned_over() {
    let system = System::listening("listen-log");
    let daemon = Daemon::start(&system);
    let port = daemon.address("smtp");
    drop(daemon.client());
    logged(&system, "connect client=");
    std::fs::rename(system.path("log"), system.path("log.1")).unwrap();
    daemon.signal(Signal::SIGHUP);
    let read_again = "daemon has read its configuration again";
    until("a new file", || system.path("log").exists());
    logged(&system, read_again);
    let old = std::fs::read_to_string(system.path("log.1")).unwrap();
    assert!(old.contains("daemon started") && !old.contains(read_again));
    let path = system.path("minimta.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("[log]", "[log]\nlevel = \"warn\"")).unwrap();
    daemon.signal(Signal::SIGHUP);
    until("only warnings", || {
        let before = system.log().matches("connect client=").count();
        drop(Client::tcp(TcpStream::connect(port).unwrap()).reply());
        std::thread::sleep(Duration::from_millis(20));
        system.log().matches("connect client=").count() == before
    });
}

/// A certificate that comes to its end is told before it does, at each start.
#[test]
fn the_end_of_a_certificate_is_told() {
    let system = System::listening("listen-certificate");
    let mut params = rcgen::CertificateParams::new(vec!["pi.test.example".to_owned()]).unwrap();
    let now = time::OffsetDateTime::now_utc();
    let key = rcgen::KeyPair::generate().unwrap();
    for (days, word) in [(-1, "has expired on"), (7, "expires on"), (30, "")] {
        (params.not_before, params.not_after) = (
            now - time::Duration::days(60),
            now + time::Duration::days(days),
        );
        let pem = params.self_signed(&key).unwrap().pem();
        let path = system.path(&format!("{days}.pem"));
        std::fs::write(&path, format!("{pem}{}", key.serialize_pem())).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        let lines = format!("certificate = \"{0}\"\nkey = \"{0}\"", path.display());
        let system = System::listening("listen-certificate-log").with("tls", &lines);
        drop(Daemon::start(&system));
        let told = format!("the certificate {} {word}", path.display());
        assert_eq!(
            system.log().contains(&told),
            !word.is_empty(),
            "{days}: {}",
            system.log()
        );
    }
}
