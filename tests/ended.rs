//! A queue run, and an attempt right after a submission, that is told to end while a message is on its way.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::remote::Script;
use crate::harness::system::{heard, me, names_in};
use crate::harness::{Answer, Remote, System, until};

const MESSAGE: &str = "Subject: x\n\nhello\n";

/// Where the message is when the signal comes.
enum Is {
    /// All of it with a server, that answers so.
    With(Answer),
    /// A server takes it, and does not end.
    OnItsWay,
    /// A command has read it, which then runs so many tenths of a second.
    Read(u32),
}

/// Whoever has all of it is waited for: it does not go out twice. What nobody has whole ends at once. A row: the words of
/// the call, where the message is, the signal, whether it comes again after a while, the seconds within which the process
/// ends, and whether it is done with the message then.
#[test]
fn an_answer_that_is_owed_is_waited_for() {
    let yes = |millis| Answer::Late(Duration::from_millis(millis), "250 2.0.0 ok".to_owned());
    let (int, hup) = (heard(Signal::SIGINT), heard(Signal::SIGHUP));
    let term = Signal::SIGTERM;
    let rows = [
        ("-q", Is::With(yes(2500)), term, false, 2..9, true),
        ("-odi", Is::With(yes(2500)), int, false, 2..9, true),
        ("-q", Is::With(Answer::Silence), term, false, 13..19, false),
        ("-q", Is::With(Answer::Silence), hup, true, 0..9, false),
        ("-q", Is::OnItsWay, int, false, 0..4, false),
        ("-odi", Is::OnItsWay, term, false, 0..4, false),
        ("-q", Is::Read(25), term, false, 2..9, true),
    ];
    std::thread::scope(|scope| {
        for (number, (call, is, signal, again, seconds, done)) in rows.iter().enumerate() {
            scope.spawn(move || {
                let system = format!("ended-{number}");
                end_while(&system, call, is, *signal, *again, seconds, *done);
            });
        }
    });
}

fn end_while(
    name: &str,
    call: &str,
    is: &Is,
    signal: Signal,
    again: bool,
    seconds: &std::ops::Range<u64>,
    done: bool,
) {
    let script = match is {
        Is::With(answer) => Script::new().once("DOT", answer.clone()),
        Is::OnItsWay => Script::new().once("DATA", Answer::Silence),
        Is::Read(_) => Script::new(),
    };
    let remote = Remote::start(script);
    let mut system = System::relaying(name, &remote);
    let (begun, ran) = (system.path("begun"), system.path("ran"));
    let mut to = "one@example.net".to_owned();
    if let Is::Read(tenths) = is {
        let (begun, ran) = (begun.display(), ran.display());
        let line = format!("cat >/dev/null; : >{begun}; sleep {tenths}e-1; echo >>{ran}");
        system = system.with("local", &format!("mailbox = \"|{line}\""));
        to = me();
    }
    let mut words = vec![call, "-v"];
    if call == "-q" {
        system.accept(&["-odq", &to], MESSAGE);
    } else {
        words.push(&to);
    }
    let mut process = system.call("sendmail").args(&words).start();
    // Its end is closed with that.
    let stdin = process.stdin.take().unwrap();
    { stdin }.write_all(MESSAGE.as_bytes()).unwrap();
    until("it is on its way", || match is {
        Is::With(_) => remote.wire().len() == 1,
        Is::OnItsWay => remote.commands().iter().any(|c| c == "DATA"),
        Is::Read(_) => begun.exists(),
    });
    let told = Instant::now();
    send(&process, signal);
    // At a terminal it comes twice, by way of root's process; that is one.
    send(&process, signal);
    if again {
        std::thread::sleep(Duration::from_secs(1));
        send(&process, signal);
    }
    let ended = process.wait_with_output().unwrap();
    let took = told.elapsed().as_secs();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.signal(), Some(signal as i32), "{said}");
    assert!(seconds.contains(&took), "{took} of {seconds:?}: {said}");
    let waited = "whoever has a message whole has not answered for it yet: minimta waits for that, 14 seconds at most; ask \
                  again to end it at once";
    assert_eq!(said.contains(waited), !matches!(is, Is::OnItsWay), "{said}");
    assert_eq!(system.queue().is_empty(), done, "{}", system.log());
    drop(system.run(&["-q"], ""));
    match is {
        Is::Read(_) => assert_eq!(std::fs::read(&ran).unwrap(), b"\n"),
        Is::With(_) if done => assert_eq!(remote.wire().len(), 1),
        _ => assert_eq!(remote.received().len(), 1),
    }
    assert!(names_in(&system.path("spool/new")).is_empty());
}

fn send(process: &Child, signal: Signal) {
    // It was not waited for, so that the number is still its own.
    kill(Pid::from_raw(i32::try_from(process.id()).unwrap()), signal).unwrap();
}

/// What whoever started it had it ignore, as nohup(1) does, ends nothing; and what it starts has all signals as they were.
#[test]
fn a_signal_that_is_ignored_ends_nothing_and_commands_hear_all() {
    let yes = Answer::Late(Duration::from_secs(2), "250 2.0.0 ok".to_owned());
    let remote = Remote::start(Script::new().once("DOT", yes));
    let system = System::relaying("ended-ignored", &remote);
    system.accept(&["-odq", "one@example.net"], MESSAGE);
    let call = system.call_after("trap '' INT").args(&["-q"]);
    let mut process = call.start();
    until("it is on its way", || remote.wire().len() == 1);
    send(&process, Signal::SIGINT);
    assert!(process.wait().unwrap().success());
    assert!(system.queue().is_empty(), "{}", system.log());

    let kept = system.path("status");
    let line = format!("cat /proc/self/status >{}", kept.display());
    let system = system.with("local", &format!("mailbox = \"|{line}\""));
    system.accept(&["-odq", &me()], MESSAGE);
    assert_eq!(system.run(&["-q"], "").code, 0);
    let status = std::fs::read_to_string(&kept).unwrap();
    assert!(status.contains("SigBlk:\t0000000000000000\n"), "{status}");
}
