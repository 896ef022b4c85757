//! A machine that is shared: users made for the tests, a user of the spool, and the program set-group-id to its group.
//!
//! There is one at a time, for users are the machine's. What it makes it takes away again.

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::system::{HOST, Ran, finish, names_in};
use super::{Daemon, Dns};

/// A person, who is in a club.
pub const ALICE: &str = "mt-alice";
/// Another one.
pub const BOB: &str = "mt-bob";
/// A group that Alice is in.
pub const CLUB: &str = "mt-club";
/// The user of the spool, and its group.
pub const SPOOL: &str = "mt-spool";

static ONE: Mutex<()> = Mutex::new(());

/// The machine, with its folder in /tmp, where all users may go.
pub struct House {
    root: PathBuf,
    host: &'static str,
    mailbox: String,
    more: String,
    dns: String,
    _one: Option<MutexGuard<'static, ()>>,
    _lock: Option<File>,
}

impl House {
    /// `None`: not root's, and that was said.
    pub fn open(name: &str) -> Option<Self> {
        if !nix::unistd::Uid::effective().is_root() {
            return skip(&format!("only root can make users for {name}"));
        }
        let has = |program: &str| {
            ["/usr/sbin", "/sbin"]
                .iter()
                .any(|f| Path::new(f).join(program).exists())
        };
        if !has("useradd") {
            return skip(&format!(
                "there is no useradd here to make users for {name}"
            ));
        }
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let lock = File::create("/tmp/minimta-house.lock").unwrap();
        lock.lock().unwrap();
        let root = Path::new("/tmp").join(format!("minimta-house-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        for folder in ["", "bin", "home", "mail"] {
            fs::create_dir(root.join(folder)).unwrap();
            fs::set_permissions(root.join(folder), PermissionsExt::from_mode(0o755)).unwrap();
        }
        let mailbox = format!("{}/mail/%u/", root.display());
        let house = Self {
            root,
            host: HOST,
            mailbox,
            more: format!("user = \"{SPOOL}\"\n"),
            dns: "servers = [\"127.0.0.1:1\"]\ntimeout = \"1s\"".to_owned(),
            _one: Some(one),
            _lock: Some(lock),
        };
        house.make_users();
        let program = house.path("bin/minimta");
        // By another process: a child that another test starts meanwhile must not keep the file open for writing.
        let copied = Command::new("cp")
            .arg(super::system::program())
            .arg(&program)
            .status();
        assert!(copied.unwrap().success());
        chown(&program, Some(0), Some(house.group(SPOOL))).unwrap();
        fs::set_permissions(&program, PermissionsExt::from_mode(0o2755)).unwrap();
        for name in ["sendmail", "mailq", "newaliases"] {
            std::os::unix::fs::symlink("minimta", house.path("bin").join(name)).unwrap();
        }
        fs::set_permissions(house.path("mail"), PermissionsExt::from_mode(0o1777)).unwrap();
        house.write();
        // The spool and its folders, as the first start of root's makes them.
        assert_eq!(house.call("root", &["-q"], "").code, 0, "{}", house.log());
        Some(house)
    }

    fn make_users(&self) {
        let run = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            let done = Command::new(words[0]).args(&words[1..]).output().unwrap();
            // 9: there is one already, of a run that was killed.
            assert!(
                matches!(done.status.code(), Some(0 | 9)),
                "{line}: {done:?}"
            );
        };
        run(&format!("groupadd {CLUB}"));
        run(&format!(
            "useradd --system --user-group --no-create-home --shell /usr/sbin/nologin {SPOOL}"
        ));
        for (name, groups) in [(ALICE, format!("--groups {CLUB} ")), (BOB, String::new())] {
            let home = self.path("home").join(name);
            // One of a run that was killed has another home.
            let _ = Command::new("userdel").args(["--force", name]).output();
            run(&format!(
                "useradd --no-create-home --user-group {groups}--shell /bin/sh --home-dir {} {name}",
                home.display()
            ));
            fs::create_dir(&home).unwrap();
            fs::set_permissions(&home, PermissionsExt::from_mode(0o700)).unwrap();
            self.give(&home, name);
        }
    }

    fn write(&self) {
        let path = |name: &str| self.path(name).display().to_string();
        let (host, mailbox, more, dns) = (self.host, &self.mailbox, &self.more, &self.dns);
        let text = format!(
            "hostname = \"{host}\"\n{more}[queue]\nspool = \"{}\"\nrun = \"{}\"\n[log]\nto = \"{}\"\n[local]\nmailbox = \"{mailbox}\"\naliases = \"{}\"\n[listen]\nsmtp = [\"127.0.0.1:0\"]\n[dns]\n{dns}\n",
            path("spool"),
            path("run"),
            path("log"),
            path("aliases")
        );
        let file = self.path("minimta.toml");
        fs::write(&file, text).unwrap();
        chown(&file, Some(0), Some(self.group(SPOOL))).unwrap();
        fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).unwrap();
    }

    /// By another name.
    pub fn with_host(mut self, host: &'static str) -> Self {
        self.host = host;
        self.write();
        self
    }

    /// With another `[local] mailbox`.
    pub fn with_mailbox(mut self, mailbox: &str) -> Self {
        mailbox.clone_into(&mut self.mailbox);
        self.write();
        self
    }

    /// With these lines at the top of the configuration, instead of the user of the spool.
    pub fn with(mut self, lines: &str) -> Self {
        self.more = format!("{lines}\n");
        self.write();
        self
    }

    /// With this name server.
    pub fn with_dns(mut self, dns: &Dns) -> Self {
        self.dns = dns.keys();
        self.write();
        self
    }

    /// With what a queue run says at the lowest level alone: how it is shut in.
    pub fn telling_all(self) -> Self {
        let file = self.path("minimta.toml");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace("[log]", "[log]\nlevel = \"debug\"")).unwrap();
        self
    }

    /// A path in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// A folder that everybody may write to.
    pub fn open_folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).unwrap();
        path
    }

    /// The ids of a user and of his group.
    pub fn id(&self, name: &str) -> (u32, u32) {
        let user = nix::unistd::User::from_name(name).unwrap().unwrap();
        (user.uid.as_raw(), user.gid.as_raw())
    }

    /// The id of a group.
    pub fn group(&self, name: &str) -> u32 {
        nix::unistd::Group::from_name(name)
            .unwrap()
            .unwrap()
            .gid
            .as_raw()
    }

    /// Gives a folder, with all in it, to a user.
    pub fn give(&self, path: &Path, name: &str) {
        let (uid, gid) = self.id(name);
        let owner = format!("{uid}:{gid}");
        let done = Command::new("chown")
            .args(["-hR", &owner])
            .arg(path)
            .status();
        assert!(done.unwrap().success());
    }

    /// The program by a name, with its path.
    pub fn program(&self, name: &str) -> String {
        self.path("bin").join(name).display().to_string()
    }

    fn command(&self, program: &str, user: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().current_dir("/");
        command
            .env("PATH", "/usr/bin:/bin")
            .env("MINIMTA_CONFIG", self.path("minimta.toml"));
        if user != "root" {
            let (uid, gid) = self.id(user);
            command.uid(uid).gid(gid);
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(mut command: Command, stdin: &str) -> Ran {
        let mut child = command.spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        // Who does not read it all is in his right.
        let _ = pipe.write_all(stdin.as_bytes());
        drop(pipe);
        finish(child)
    }

    /// The program by this name, called by a user.
    pub fn call_as(&self, name: &str, user: &str, args: &[&str], stdin: &str) -> Ran {
        let mut command = self.command(&self.program(name), user);
        command.args(args);
        Self::run(command, stdin)
    }

    /// `sendmail`, called by a user.
    pub fn call(&self, user: &str, args: &[&str], stdin: &str) -> Ran {
        self.call_as("sendmail", user, args, stdin)
    }

    /// The same with more in its environment.
    pub fn call_with(&self, user: &str, args: &[&str], stdin: &str, env: &[(&str, &str)]) -> Ran {
        let mut command = self.command(&self.program("sendmail"), user);
        command.args(args).envs(env.iter().copied());
        Self::run(command, stdin)
    }

    /// Hands a message in, which must work without a word.
    pub fn submit(&self, user: &str, args: &[&str], message: &str) {
        let ran = self.call(user, args, message);
        assert_eq!(
            (ran.code, ran.stderr.as_str()),
            (0, ""),
            "{user} {args:?}: {}",
            self.log()
        );
    }

    /// A script, run by a user.
    pub fn shell(&self, user: &str, script: &str) -> Ran {
        let mut command = self.command("/bin/sh", user);
        command.args(["-c", script]);
        Self::run(command, "")
    }

    /// Starts `sendmail` for a user, with nothing on its standard input.
    pub fn start(&self, user: &str, args: &[&str]) -> Child {
        self.start_with(user, args, &[])
    }

    /// The same with more in its environment.
    pub fn start_with(&self, user: &str, args: &[&str], env: &[(&str, &str)]) -> Child {
        let mut command = self.command(&self.program("sendmail"), user);
        command.args(args).envs(env.iter().copied());
        command.stdin(Stdio::null()).spawn().unwrap()
    }

    /// Starts `sendmail -bs` for a user who speaks to it from an address of his own.
    pub fn serve(&self, user: &str, socket: TcpStream) -> Child {
        let mut command = self.command(&self.program("sendmail"), user);
        let output = socket.try_clone().unwrap();
        command.stdin(OwnedFd::from(socket));
        command.stdout(OwnedFd::from(output));
        command.arg("-bs").spawn().unwrap()
    }

    /// A daemon that root has started.
    pub fn daemon(&self) -> Daemon {
        Daemon::logging_to(self.path("log"), || self.start("root", &["-bD"]))
    }

    /// The log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// The queue files in a folder of the spool.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let mut names = names_in(&self.path("spool").join(folder));
        names.retain(|name| name.len() == 17);
        names
    }

    /// What has arrived for a user, in whichever kind of mailbox.
    pub fn mail_of(&self, user: &str) -> Vec<String> {
        let home = self.path("home").join(user);
        let mut found = Vec::new();
        for folder in [
            self.path("mail").join(user).join("new"),
            home.join("Maildir/new"),
        ] {
            let read = |name: String| fs::read_to_string(folder.join(name)).unwrap();
            found.extend(names_in(&folder).into_iter().map(read));
        }
        let mbox = fs::read_to_string(home.join("mbox")).unwrap_or_default();
        let messages = mbox
            .split("From ")
            .filter(|text| text.contains("the secret of the message"));
        found.extend(messages.map(str::to_owned));
        found
    }
}

impl Drop for House {
    fn drop(&mut self) {
        for user in [ALICE, BOB, SPOOL] {
            let _ = Command::new("userdel").arg(user).output();
        }
        let _ = Command::new("groupdel").arg(CLUB).output();
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.root);
        }
    }
}

/// Tells whoever reads the output of the tests why one of them did nothing.
fn skip<T>(why: &str) -> Option<T> {
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
    None
}

/// The processes below another one that have this word on their command line.
pub fn processes(parent: u32, word: &str) -> Vec<u32> {
    let ids = names_in(Path::new("/proc"));
    let ids = ids.iter().filter_map(|name| name.parse::<u32>().ok());
    ids.filter(|id| {
        let read = |name: &str| fs::read(format!("/proc/{id}/{name}")).unwrap_or_default();
        let status = String::from_utf8_lossy(&read("status")).into_owned();
        let line = read("cmdline");
        let has = line.split(|b| *b == 0).any(|w| w == word.as_bytes());
        has && status.contains(&format!("PPid:\t{parent}\n"))
    })
    .collect()
}
