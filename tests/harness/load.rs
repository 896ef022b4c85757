//! Clients and callers that hand over messages as fast as they are taken, and know which ones were: for tests that
//! end everything in the middle of it.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::system::{names_in, until};
use super::{Mail, Remote, System};

/// Longest wait for one reply: by then it was taken, refused, or everybody is dead.
const LIMIT: Duration = Duration::from_secs(10);

/// A load that goes on until it is told to stop.
pub struct Load {
    stop: Arc<AtomicBool>,
    taken: Arc<Mutex<Vec<String>>>,
    threads: Vec<JoinHandle<()>>,
}

/// What a message of a load holds, by its name: nothing in it is left to chance.
pub fn body(name: &str) -> String {
    let lines = 1 + name.bytes().map(usize::from).sum::<usize>() % 37 * 53;
    (0..lines).map(|n| format!("{n} of {name}\n")).collect()
}

fn message(name: &str) -> String {
    format!(
        "From: load@example.org\nSubject: {name}\nMessage-ID: <{name}@load.example>\n\n{}",
        body(name)
    )
}

impl Load {
    /// Starts `clients` that speak to the daemon at `address` and `callers` of `sendmail`, whose messages go to the
    /// addresses of `to` in turn. `round` keeps their names apart from those of other loads.
    pub fn start(
        system: &System,
        address: Option<SocketAddr>,
        (clients, callers): (usize, usize),
        to: &[&str],
        round: u32,
    ) -> Self {
        let (stop, taken) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let count = Arc::new(AtomicU32::new(0));
        let to: Arc<Vec<String>> = Arc::new(to.iter().map(|t| (*t).to_owned()).collect());
        let next = move || {
            let number = count.fetch_add(1, Ordering::Relaxed);
            let to = to[number as usize % to.len()].clone();
            (format!("r{round}n{number}"), to)
        };
        let mut load = Self {
            stop,
            taken,
            threads: Vec::new(),
        };
        for _ in 0..clients {
            let address = address.expect("clients need an address");
            let next = next.clone();
            load.thread(move |stop, taken| {
                while !stop.load(Ordering::Relaxed) {
                    // A connection that was cut is made anew, until nobody listens any more.
                    let again = session(address, &next, stop, taken);
                    if matches!(again, Err(e) if e.kind() == io::ErrorKind::ConnectionRefused) {
                        return;
                    }
                }
            });
        }
        for _ in 0..callers {
            let (program, file) = (system.path("bin/sendmail"), system.path("minimta.toml"));
            let next = next.clone();
            load.thread(move |stop, taken| {
                while !stop.load(Ordering::Relaxed) {
                    let (name, to) = next();
                    let mut command = Command::new(&program);
                    command.arg("-C").arg(&file).args(["-i", &to]);
                    let quiet = command.stdin(Stdio::piped()).stderr(Stdio::null());
                    let Ok(mut child) = quiet.spawn() else { return };
                    let _ = child
                        .stdin
                        .take()
                        .unwrap()
                        .write_all(message(&name).as_bytes());
                    if child.wait().is_ok_and(|status| status.success()) {
                        taken.lock().unwrap().push(name);
                    }
                }
            });
        }
        load
    }

    fn thread(&mut self, work: impl FnOnce(&AtomicBool, &Mutex<Vec<String>>) + Send + 'static) {
        let (stop, taken) = (Arc::clone(&self.stop), Arc::clone(&self.taken));
        self.threads
            .push(std::thread::spawn(move || work(&stop, &taken)));
    }

    /// How many messages were taken so far.
    pub fn count(&self) -> usize {
        self.taken.lock().unwrap().len()
    }

    /// Ends it; returned are the names of all messages for which 250 or exit 0 was said.
    pub fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        std::mem::take(&mut *self.taken.lock().unwrap())
    }
}

/// One connection, some messages.
fn session(
    address: SocketAddr,
    next: &impl Fn() -> (String, String),
    stop: &AtomicBool,
    taken: &Mutex<Vec<String>>,
) -> io::Result<()> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let mut replies = BufReader::new(stream.try_clone()?);
    let mut say = |octets: &str| -> io::Result<bool> {
        (&stream).write_all(octets.as_bytes())?;
        let mut line = String::new();
        while replies.read_line(&mut line)? > 0 {
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(line.starts_with(['2', '3']));
            }
            line.clear();
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    };
    say("")?;
    say("EHLO load.example\r\n")?;
    for _ in 0..20 {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (name, to) = next();
        let text = message(&name).replace('\n', "\r\n");
        let begun = say("MAIL FROM:<load@example.org>\r\n")?
            && say(&format!("RCPT TO:<{to}>\r\n"))?
            && say("DATA\r\n")?;
        if begun && say(&format!("{text}.\r\n"))? {
            taken.lock().unwrap().push(name);
        }
    }
    say("QUIT\r\n").map(drop)
}

/// Kills every process that was started with this system's configuration, at once and without a word, and waits until
/// none of them can do another step: one that is in a system call ends it first, and holds its locks until then.
pub fn kill_all(system: &System) {
    let file = system.path("minimta.toml");
    let file = file.to_str().unwrap();
    let mut killed = Vec::new();
    // The second time for what one of them started in between.
    for _ in 0..2 {
        for process in names_in("/proc".as_ref()) {
            let Ok(number) = process.parse() else {
                continue;
            };
            let words = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&words).contains(file) {
                let pid = nix::unistd::Pid::from_raw(number);
                let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
                killed.push(number);
            }
        }
    }
    for number in killed {
        until("all that was killed is dead", || !lives(number));
    }
}

/// Whether a process has a thread that is still there for more than to be counted.
fn lives(process: i32) -> bool {
    // It may end while this looks at it.
    let tasks = std::fs::read_dir(format!("/proc/{process}/task"));
    tasks.into_iter().flatten().flatten().any(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        let state = stat.rsplit(") ").next().unwrap_or_default();
        !state.is_empty() && !state.starts_with(['Z', 'X'])
    })
}

/// Whether this is the message of that name, whole.
pub fn is_of(mail: &Mail, name: &str) -> bool {
    mail.field("Subject").as_deref() == Some(name) && mail.body() == body(name)
}

/// How many copies of each message there are: those in the mailbox, and those that the server has had beyond `seen`. All
/// must be whole.
pub fn copies(system: &System, remote: &Remote, seen: &mut usize) -> BTreeMap<String, usize> {
    let received = remote.received();
    let mut found: Vec<Mail> = received[*seen..].iter().map(|r| r.mail()).collect();
    *seen = received.len();
    found.extend(system.mailbox());
    let mut copies = BTreeMap::new();
    for mail in found {
        let name = mail.field("Subject").expect("a subject");
        assert_eq!(mail.body(), body(&name), "{name} is not whole");
        *copies.entry(name).or_default() += 1;
    }
    copies
}
