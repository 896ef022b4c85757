//! A system of its own for each test: configuration, spool, mailboxes and log under `target/tmp`, and the real
//! program run in it. The folder goes with the value, unless the test failed: then it stays to be looked at.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{Mail, Queued};

/// The program under test; `MINIMTA_TEST_PROGRAM` names another one, as of `make cross-test`.
pub fn program() -> PathBuf {
    std::env::var_os("MINIMTA_TEST_PROGRAM")
        .map_or_else(|| env!("CARGO_BIN_EXE_minimta").into(), PathBuf::from)
}

/// The host name of every system.
pub const HOST: &str = "pi.test.example";
/// A host name that has reports about TLS go out from midnight (UTC) on; of others they wait a while, by their name.
pub const HOST_OF_REPORTS: &str = "pi2104.test.example";

/// Longest time one run of the program, or one wait for an effect, may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Everything one installation of minimta would have.
pub struct System {
    /// Its folder.
    pub root: PathBuf,
    sections: Vec<(String, Vec<String>)>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// The exit code; a signal's number, negative, if one ended it.
    pub code: i32,
    /// What it said.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

impl System {
    /// A system with no smarthost and no name server; mail for its host goes to the Maildir `mail/USER/`.
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let root = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("{name}-{}-{number}", std::process::id()));
        for folder in ["", "mail", "bin", "spool"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        for name in ["sendmail", "mailq", "newaliases"] {
            std::os::unix::fs::symlink(program(), root.join("bin").join(name)).unwrap();
        }
        let path = |name: &str| root.join(name).display().to_string();
        let (spool, log, mailbox) = (path("spool"), path("log"), path("mail/%u/"));
        let aliases = path("aliases");
        let system = Self {
            root,
            sections: Vec::new(),
        }
        .with("", &format!("hostname = \"{HOST}\""))
        .with("", &format!("user = \"{}\"", user()))
        .with("queue", &format!("spool = \"{spool}\""))
        .with("log", &format!("to = \"{log}\""))
        .with("local", &format!("mailbox = \"{mailbox}\""))
        .with("local", &format!("aliases = \"{aliases}\""))
        .with("local", "forward = false");
        if cfg!(not(feature = "mx")) {
            return system;
        }
        system.with("dns", "servers = [\"127.0.0.1:1\"]\ntimeout = \"1s\"")
    }

    /// A system whose every message, that for its own host too, goes to a smarthost nobody answers at: what is
    /// accepted stays in the spool.
    pub fn offline(name: &str) -> Self {
        Self::new(name)
            .with("", "domains = [\"nowhere.test.example\"]")
            .with("smarthost", "host = \"127.0.0.1\"")
            .with("smarthost", "tls = \"none\"")
            .with("smarthost", "port = 1") // tcpmux: nobody listens there
    }

    /// A system whose mail for others goes to this server.
    pub fn relaying(name: &str, remote: &super::Remote) -> Self {
        Self::new(name).with("smarthost", &remote.smarthost())
    }

    /// A system whose mail for others goes to the MX hosts that this name server tells of, at this server's port.
    pub fn direct(name: &str, dns: &super::Dns, remote: &super::Remote) -> Self {
        let port = remote.address.port();
        let system = Self::new(name)
            .with("dns", &dns.keys())
            .with("remote", &format!("port = {port}"));
        let Some(anchor) = dns.anchor() else {
            return system;
        };
        let path = system.path("anchor");
        std::fs::write(&path, anchor).unwrap();
        let key = format!("trust_anchor = {:?}", path.display().to_string());
        system.with("dns", &key)
    }

    /// The same system with lines in a section of its configuration. A key that was there is replaced; a
    /// section in double brackets (`[smarthost]`) is added each time.
    pub fn with(mut self, section: &str, lines: &str) -> Self {
        let place = self
            .sections
            .iter()
            .position(|(name, _)| name == section && !name.starts_with('['));
        let place = place.unwrap_or_else(|| {
            self.sections.push((section.to_owned(), Vec::new()));
            self.sections.len() - 1
        });
        let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
        for line in lines.lines() {
            let kept = &mut self.sections[place].1;
            kept.retain(|old| key(old) != key(line));
            kept.push(line.to_owned());
        }
        let mut text = String::new();
        for (name, lines) in &self.sections {
            if !name.is_empty() {
                text.push_str(&format!("[{name}]\n"));
            }
            text.push_str(&format!("{}\n", lines.join("\n")));
        }
        fs::write(self.path("minimta.toml"), text).unwrap();
        self
    }

    /// With a user who can log in.
    pub fn with_user(self, name: &str, password: &str) -> Self {
        let path = self.path("users");
        let line = self.run(&["--password", name], format!("{password}\n"));
        fs::write(&path, line.stdout).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let file = format!("users_file = {:?}", path.display().to_string());
        self.with("access", &file)
    }

    /// A path in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The program with these words, as `sendmail` is called, and this on its standard input.
    pub fn run(&self, args: &[&str], stdin: impl AsRef<[u8]>) -> Ran {
        self.call("sendmail").args(args).stdin(stdin).run()
    }

    /// As [`System::run`], where nothing is to go wrong or to be said.
    pub fn accept(&self, args: &[&str], stdin: impl AsRef<[u8]>) {
        let ran = self.run(args, stdin);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{args:?}");
    }

    /// The program by one of its names.
    pub fn call(&self, name: &str) -> Call {
        let mut call = Call::of(self.path("bin").join(name));
        call.args = vec!["-C".into(), self.path("minimta.toml").into()];
        call.env("HOME", &self.root.display().to_string())
    }

    /// The program started by a shell that first does what `shell` says: descriptors, umask, limits.
    pub fn call_after(&self, shell: &str) -> Call {
        let mut call = Call::of("/bin/sh".into());
        let program = self.path("bin/sendmail");
        call.args = vec!["-c".into(), format!("{shell}\nexec \"$0\" \"$@\"").into()];
        call.args.extend([
            program.into(),
            "-C".into(),
            self.path("minimta.toml").into(),
        ]);
        call
    }

    /// The files in one of the spool's folders, by name, which is by arrival.
    pub fn names(&self, folder: &str) -> Vec<String> {
        names_in(&self.path("spool").join(folder))
    }

    /// What waits: the readable queue files of `new` and `cur`, by arrival. A background attempt may move one
    /// while it is looked at; then the look is taken again.
    pub fn queue(&self) -> Vec<Queued> {
        let mut found = Vec::new();
        until("the spool can be read", || {
            found.clear();
            for folder in ["new", "cur"] {
                for name in self.names(folder) {
                    let path = self.path("spool").join(folder).join(&name);
                    let Ok(bytes) = fs::read(path) else {
                        return false;
                    };
                    found.push(Queued::parse(folder, &name, &bytes));
                }
            }
            found.sort_by(|a, b| a.id.cmp(&b.id));
            let twice = found.windows(2).any(|two| two[0].id == two[1].id);
            !twice
        });
        found
    }

    /// The one message that waits.
    pub fn queued(&self) -> Queued {
        let mut queue = self.queue();
        assert_eq!(queue.len(), 1, "messages waiting");
        queue.remove(0)
    }

    /// What was delivered to the Maildir of the user who runs the tests, by name.
    pub fn mailbox(&self) -> Vec<Mail> {
        let folder = self.maildir().join("new");
        let names = names_in(&folder);
        names
            .iter()
            .map(|n| Mail::new(&fs::read(folder.join(n)).unwrap()))
            .collect()
    }

    /// The Maildir of the user who runs the tests.
    pub fn maildir(&self) -> PathBuf {
        self.path("mail").join(user())
    }

    /// The log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Makes the waiting messages look as if they had been accepted so many hours ago, and due.
    pub fn backdate(&self, hours: u64) {
        self.redate(std::time::SystemTime::now() - Duration::from_secs(hours * 3600));
    }

    /// Makes the queue say that its messages were received then.
    pub fn redate(&self, then: std::time::SystemTime) {
        for queued in self.queue() {
            let path = self.path("spool").join(queued.folder).join(&queued.id);
            let old = queued.field("received").unwrap();
            let mut bytes = fs::read(&path).unwrap();
            let at = bytes
                .windows(old.len())
                .position(|w| w == old.as_bytes())
                .unwrap();
            bytes[at..at + old.len()].copy_from_slice(iso8601(then).as_bytes());
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.write_all_at(&bytes, 0).unwrap();
            age(&path, 1);
        }
    }
}

/// A time as the queue file has it.
pub fn iso8601(time: std::time::SystemTime) -> String {
    let t = time::OffsetDateTime::from(time);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        t.year(),
        u8::from(t.month()),
        t.day(),
        t.hour(),
        t.minute(),
        t.second()
    )
}

impl Drop for System {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.root);
        }
    }
}

/// One run of the program that is being put together.
pub struct Call {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(String, String)>,
    stdin: Vec<u8>,
    folder: Option<PathBuf>,
}

impl Call {
    fn of(program: PathBuf) -> Self {
        let (args, env, stdin) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            program,
            args,
            env,
            stdin,
            folder: None,
        }
        .env("PATH", "/usr/bin:/bin")
        .env("TZ", "UTC")
    }

    /// More words.
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(Into::into));
        self
    }

    /// One more word, which may be no text.
    pub fn arg(mut self, arg: &[u8]) -> Self {
        self.args.push(OsStr::from_bytes(arg).into());
        self
    }

    /// What stands on standard input.
    pub fn stdin(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.stdin = bytes.as_ref().to_vec();
        self
    }

    /// An environment variable; there are few others.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The folder it is started in.
    pub fn folder(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }

    /// Starts it, with pipes to its three descriptors.
    pub fn start(&self) -> Child {
        self.start_on(Stdio::piped())
    }

    /// Starts it on this standard input.
    pub fn start_on(&self, stdin: Stdio) -> Child {
        let mut command = Command::new(&self.program);
        command.args(&self.args).env_clear();
        command.envs(self.env.iter().map(|(n, v)| (n, v)));
        command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command.spawn().unwrap()
    }

    /// Runs it to its end; what takes longer than the limit is killed and fails the test.
    pub fn run(&self) -> Ran {
        let mut child = self.start();
        let mut pipe = child.stdin.take().unwrap();
        let bytes = self.stdin.clone();
        // A program that does not read it all (a usage error) is in its right: no error is looked for.
        std::thread::spawn(move || pipe.write_all(&bytes));
        let ran = finish(child);
        assert_ne!(ran.code, -9, "{:?} took too long: {ran:?}", self.args);
        ran
    }
}

/// Runs a tool of the system; its complaint when it fails.
pub fn tool(program: &str, words: &[&str]) -> Result<(), String> {
    let ran = Command::new(program).args(words).output();
    let ran = ran.map_err(|e| format!("{program}: {e}"))?;
    let said = String::from_utf8_lossy(&ran.stderr);
    match ran.status.success() {
        true => Ok(()),
        false => Err(format!("{program} {words:?}: {}", said.trim())),
    }
}

/// Waits for the end of a program and of all it said; kills it at the limit.
pub fn finish(mut child: Child) -> Ran {
    let deadline = Instant::now() + LIMIT;
    // Somebody else may read standard output already.
    let stdout = child.stdout.take().map(collect);
    let stderr = child.stderr.take().map(collect);
    let mut texts = Vec::new();
    for pipe in [stdout, stderr] {
        let Some(pipe) = pipe else {
            texts.push(String::new());
            continue;
        };
        let left = deadline.saturating_duration_since(Instant::now());
        texts.push(pipe.recv_timeout(left).unwrap_or_else(|_| {
            let _ = child.kill();
            "(nothing: its end of the pipe stayed open)".to_owned()
        }));
    }
    // Both pipes are closed: it is ending, or was killed.
    let status = child.wait().unwrap();
    let stderr = texts.pop().unwrap_or_default();
    Ran {
        code: status
            .code()
            .unwrap_or_else(|| -status.signal().unwrap_or(0)),
        stdout: texts.pop().unwrap_or_default(),
        stderr,
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}

/// Waits for an effect; fails the test if it never comes.
pub fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT / 2;
    while !reached() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether whoever started the tests has this signal ignored in all they start.
pub fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status.lines().find_map(|l| l.strip_prefix("SigIgn:"));
    let set = set.and_then(|s| u64::from_str_radix(s.trim(), 16).ok());
    set.is_some_and(|set| set & 1 << (signal - 1) != 0)
}

/// This signal, or SIGTERM where it is ignored: a shell has SIGINT ignored in what it starts in the background.
pub fn heard(signal: Signal) -> Signal {
    if is_ignored(signal as i32) {
        Signal::SIGTERM
    } else {
        signal
    }
}

/// The name of the user who runs the tests: the one user here whose mail is delivered without privileges.
pub fn user() -> String {
    nix::unistd::User::from_uid(nix::unistd::getuid())
        .unwrap()
        .expect("the tests need a user with an entry in passwd")
        .name
}

/// The address of that user.
pub fn me() -> String {
    format!("{}@{HOST}", user())
}

/// The names in a folder, sorted; none if there is no such folder.
pub fn names_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Of cases that differ only in where they happen, each so-manieth is tried: EVERY, or all.
pub fn every() -> usize {
    let said = std::env::var("EVERY").ok().and_then(|n| n.parse().ok());
    said.unwrap_or(1).max(1)
}

/// A file's time set so many seconds back.
pub fn age(path: &Path, seconds: u64) {
    let file = fs::File::options().append(true).open(path).unwrap();
    let then = std::time::SystemTime::now() - Duration::from_secs(seconds);
    file.set_modified(then).unwrap();
}
