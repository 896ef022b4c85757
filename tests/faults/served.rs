//! The same for the daemon: one and the same goes on, whatever happens to the calls of a session, of the queue and of
//! the deliveries that follow. strace comes and goes as the cases do.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{FAULTS, has_strace};
use crate::harness::load::copies;
use crate::harness::system::{me, names_in};
use crate::harness::{Client, Daemon, Remote, Script, System, every, until};

/// What a session of one message came to.
struct Said {
    replies: Vec<String>,
    taken: bool,
}

/// strace beside a process that runs, until it is told to go.
fn beside(system: &System, process: u32, inject: &str) -> Child {
    let child = Command::new("strace")
        .args(["-f", "-qq", "-o"])
        .arg(system.path("trace"))
        .args(inject.split_whitespace())
        .args(["-p", &process.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let threads = format!("/proc/{process}/task");
    let is_seen = |thread: &String| {
        let status = fs::read_to_string(format!("{threads}/{thread}/status"));
        // A thread that is gone needs no look.
        status.is_ok_and(|s| s.contains("TracerPid:\t") && !s.contains("TracerPid:\t0\n"))
            || !fs::exists(format!("{threads}/{thread}")).unwrap_or_default()
    };
    until("strace has them all", || {
        names_in(threads.as_ref()).iter().all(is_seen)
    });
    child
}

fn leave(mut strace: Child) {
    let id = nix::unistd::Pid::from_raw(i32::try_from(strace.id()).unwrap());
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGINT).unwrap();
    strace.wait().unwrap();
}

/// A message for somebody here and somebody of a server. Whoever is not answered goes.
fn send(daemon: &Daemon, name: &str) -> Said {
    let lines = [
        "EHLO x.example".to_owned(),
        "MAIL FROM:<a@b.example>".to_owned(),
        format!("RCPT TO:<{}>", me()),
        format!("RCPT TO:<{name}@example.net>"),
        "DATA".to_owned(),
        format!(
            "Message-ID: <{name}@load.example>\r\nSubject: {name}\r\n\r\n{}.",
            crate::harness::load::body(name).replace('\n', "\r\n")
        ),
    ];
    let mut replies = Vec::new();
    let stream = TcpStream::connect(daemon.address("smtp")).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let mut client = Client::tcp(stream);
    let mut hear = |client: &mut Client| {
        let reply = client.reply();
        let fine = reply.starts_with(['2', '3']);
        replies.push(reply);
        fine
    };
    let mut taken = hear(&mut client);
    for line in lines {
        taken = taken && client.send(format!("{line}\r\n")).is_ok() && hear(&mut client);
    }
    Said { replies, taken }
}

#[test]
#[ignore = "make faults"]
fn a_daemon_goes_on_whatever_fails() {
    if !has_strace() {
        return;
    }
    let remote = Remote::start(Script::new());
    let system = System::listening("fault-served")
        .with("smarthost", &remote.smarthost())
        .with("queue", "retry_first = \"1s\"\nretry_max = \"1s\"")
        .with("limits", "command_timeout = \"3s\"\ndata_timeout = \"3s\"");
    let daemon = Daemon::start(&system);
    assert!(send(&daemon, "warm").taken);
    // What one session takes, and what follows it.
    let strace = beside(&system, daemon.id(), "");
    assert!(send(&daemon, "counted").taken);
    until("it is delivered", || system.queue().is_empty());
    leave(strace);
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    let mut of_threads: BTreeMap<(String, &str), u32> = BTreeMap::new();
    for line in fs::read_to_string(system.path("trace")).unwrap().lines() {
        let mut words = line.split_whitespace();
        let (thread, call) = (words.next().unwrap(), words.next().unwrap_or_default());
        let found = FAULTS
            .iter()
            .find(|(n, _)| call.split('(').next() == Some(n));
        if let Some((name, _)) = found {
            let of_thread = of_threads.entry((thread.to_owned(), name)).or_default();
            *of_thread += 1;
            let most = counts.entry(name).or_default();
            *most = (*most).max(*of_thread);
        }
    }
    let (mut cases, mut refused) = (0, 0);
    let mut promised = vec!["warm".to_owned(), "counted".to_owned()];
    for (name, errors) in FAULTS {
        let most = counts.get(name).copied().unwrap_or_default();
        for at in (1..=most).step_by(every()) {
            for error in *errors {
                let what = format!("{error} at the {at}. {name}");
                let inject = format!("-e inject={name}:error={error}:when={at}");
                let strace = beside(&system, daemon.id(), &inject);
                let message = format!("case{cases}");
                let said = send(&daemon, &message);
                // What follows the promise has its faults too.
                let begun = Instant::now();
                while said.taken
                    && !system.queue().is_empty()
                    && begun.elapsed() < Duration::from_millis(200)
                {
                    std::thread::sleep(Duration::from_millis(10));
                }
                leave(strace);
                let permanent = said.replies.iter().find(|r| r.starts_with('5'));
                assert_eq!(permanent, None, "{what}");
                refused += usize::from(!said.taken);
                if said.taken {
                    promised.push(message);
                }
                // It goes on, and at once.
                let after = format!("after{cases}");
                let said = send(&daemon, &after);
                assert!(said.taken, "{what}: {:?}\n{}", said.replies, system.log());
                promised.push(after);
                cases += 1;
            }
        }
    }
    let mut open = String::new();
    fs::File::open(system.path("log"))
        .unwrap()
        .read_to_string(&mut open)
        .unwrap();
    assert!(!open.contains("panicked"), "{open}");
    let files = names_in(format!("/proc/{}/fd", daemon.id()).as_ref()).len();
    assert!(files < 40, "{files} descriptors are left open");
    let ran = daemon.stop();
    assert!(!ran.stderr.contains("panicked"), "{ran:?}");
    super::recover(&system);
    assert!(system.queue().is_empty(), "{:?}", system.queue());
    assert!(system.names("hold").is_empty(), "{}", system.log());
    let here = copies(&system, &remote, &mut remote.received().len());
    let both = copies(&system, &remote, &mut 0);
    for name in &promised {
        let here = here.get(name).copied().unwrap_or_default();
        let there = both.get(name).copied().unwrap_or_default() - here;
        for number in [here, there] {
            assert!((1..=2).contains(&number), "{name}: {number} times");
        }
    }
    println!("faults: {cases} in a daemon, {refused} of which a client was told of");
    assert!(cases * every() > 100);
}
