//! Where a message ends on this system, in this process's own right: a mailbox, a file, or a command.
//!
//! Whoever comes here is the user whose mail it is, or nobody who could do harm: the process that a user runs himself,
//! or a helper (flow/helper.rs).

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Context, Damaged, text};
use crate::host::accounts::Account;
use crate::host::maildir::{self, UniqueName};
use crate::host::pipe::Pipe;
use crate::host::{children, clock, mbox};
use crate::proto::end::{End, Mailboxes};
use crate::proto::handover::Letter;
use crate::proto::outcome::{Outcome, Verdict};
use crate::proto::reply::Enhanced;
use crate::proto::route::Peer;

/// How long a command may take to deliver a message.
pub const COMMAND: Duration = Duration::from_secs(300);
/// How long, and how often, a delivery waits for an mbox that someone else has locked.
const MBOX_WAIT: Duration = Duration::from_millis(200);
const MBOX_TRIES: u32 = 50;
/// By old custom the end of mail that nobody wants.
const NOWHERE: &str = "/dev/null";

/// A place for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A folder, each message a file in it.
    Maildir(PathBuf),
    /// A file, one message behind the other.
    Mbox(PathBuf),
    /// A command.
    Command(String),
    /// A server, which is given the mail by the process that works on the queue (flow/lmtp.rs).
    Lmtp(Peer),
    /// Nowhere: the message is wanted by nobody.
    Nowhere,
}

impl Place {
    /// The place of a user for an end.
    pub fn of(context: &Context, account: &Account, end: &End) -> Self {
        match end {
            End::Mailbox => match &context.config.local.mailbox {
                Mailboxes::Files(pattern) => Self::path(pattern, mailbox(pattern, account)),
                Mailboxes::Command(command) => Self::Command(command.clone()),
                Mailboxes::Lmtp(peer) => Self::Lmtp(peer.clone()),
            },
            End::File(path) if path == NOWHERE => Self::Nowhere,
            End::File(path) => Self::path(path, PathBuf::from(path)),
            End::Pipe(command) => Self::Command(command.clone()),
        }
    }

    /// A path that ends in a slash is that of a Maildir.
    pub fn path(text: &str, path: PathBuf) -> Self {
        if text.ends_with('/') {
            Self::Maildir(path)
        } else {
            Self::Mbox(path)
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Maildir(path) | Self::Mbox(path) => write!(f, "mailbox {}", path.display()),
            Self::Command(command) => write!(f, "command {command}"),
            Self::Lmtp(peer) => write!(f, "LMTP at {peer}"),
            Self::Nowhere => f.write_str("thrown away"),
        }
    }
}

/// `~` is the home and `%u` the name of the user.
fn mailbox(pattern: &str, account: &Account) -> PathBuf {
    let named = pattern.replace("%u", &account.name);
    match named.strip_prefix("~/") {
        Some(below) => account.home.join(below),
        None => PathBuf::from(named),
    }
}

/// Delivers a message, which has its trace already, in the right of whoever runs this process.
///
/// # Errors
/// [`Damaged`] when the message is not what was accepted; nothing was delivered then.
pub fn deliver(
    context: &Context,
    account: &Account,
    place: &Place,
    letter: &Letter,
    message: &mut dyn Read,
) -> Result<Outcome, Damaged> {
    let mut message = Watched {
        inner: message,
        damaged: false,
    };
    let outcome = match place {
        Place::Maildir(folder) => {
            let name = UniqueName::new(clock::since_1970(), &context.config.hostname);
            let done = maildir::deliver(folder, &name, &mut message);
            kept("Maildir", folder, done.map(drop))
        }
        Place::Mbox(file) => {
            let mut tries = 0;
            let mut wait = || {
                tries += 1;
                std::thread::sleep(MBOX_WAIT);
                tries < MBOX_TRIES
            };
            let done = mbox::append(file, &letter.sender, clock::now(), &mut message, &mut wait);
            kept("mbox", file, done)
        }
        Place::Command(command) => run(account, command, letter, &mut message),
        // Whoever asks knows that, and hands it over himself.
        Place::Lmtp(peer) => {
            let text = format!("the mailbox is with the server {peer}");
            deferred(Enhanced(4, 3, 0), &text)
        }
        Place::Nowhere => match text::copy(&mut message, u64::MAX, &mut |_| Ok(())) {
            Ok(()) => delivered("thrown away, as it is wished"),
            Err(_) => deferred(Enhanced(4, 3, 0), "cannot read the message to deliver"),
        },
    };
    if message.damaged {
        return Err(Damaged);
    }
    Ok(outcome)
}

fn kept(kind: &str, path: &Path, done: Result<(), crate::host::mailbox::MailboxError>) -> Outcome {
    match done {
        Ok(()) => delivered(&format!("{kind} {}", path.display())),
        Err(trouble) => deferred(trouble.enhanced, &trouble.sentence),
    }
}

fn run(account: &Account, command: &str, letter: &Letter, message: &mut dyn Read) -> Outcome {
    let recipient = &letter.recipient;
    let home = account.home.display().to_string();
    let extension = recipient.local().strip_prefix(account.name.as_str());
    let extension = extension.and_then(|rest| rest.get(1..)).unwrap_or_default();
    let sender = letter.sender.mailbox().map(ToString::to_string);
    let environment = [
        ("SENDER", sender.unwrap_or_default()),
        ("RECIPIENT", recipient.to_string()),
        ("ORIGINAL_RECIPIENT", letter.first.to_string()),
        ("LOCAL", recipient.local().to_owned()),
        ("EXTENSION", extension.to_owned()),
        ("DOMAIN", recipient.domain().to_string()),
        ("USER", account.name.clone()),
        ("LOGNAME", account.name.clone()),
        ("HOME", home),
        ("SHELL", shell(account)),
        ("PATH", children::PATH.to_owned()),
    ];
    let home = Path::new(&account.home);
    let folder = if home.is_dir() { home } else { Path::new("/") };
    let ended = Pipe {
        command,
        environment: &environment,
        folder,
        limit: COMMAND,
    }
    .deliver(message);
    let verdict = match ended.enhanced.0 {
        2 => Verdict::Delivered,
        4 => Verdict::Deferred,
        _ => Verdict::Failed,
    };
    Outcome::new(verdict, None, ended.enhanced, "", &ended.sentence)
}

/// A login shell that is none would keep commands such as procmail's from working.
fn shell(account: &Account) -> String {
    let shell = account.shell.display().to_string();
    let none = shell.is_empty() || shell.ends_with("/nologin") || shell.ends_with("/false");
    if none { "/bin/sh".to_owned() } else { shell }
}

fn delivered(text: &str) -> Outcome {
    Outcome::new(Verdict::Delivered, None, Enhanced(2, 0, 0), "", text)
}

/// A recipient who waits, and why.
pub fn deferred(enhanced: Enhanced, text: &str) -> Outcome {
    Outcome::new(Verdict::Deferred, None, enhanced, "", text)
}

/// Remembers that a message turned out to be damaged while it was read.
struct Watched<'a> {
    inner: &'a mut dyn Read,
    damaged: bool,
}

impl Read for Watched<'_> {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(block);
        self.damaged |= matches!(&read, Err(e) if e.kind() == io::ErrorKind::InvalidData);
        read
    }
}
