//! Where a message ends on this system, and what an expansion (aliases, ~/.forward) adds to a recipient that it made.

use std::fmt;

use super::address::Mailbox;
use super::route::Peer;

/// Where the mailboxes of this system are (`[local] mailbox`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mailboxes {
    /// Files or folders of this path, with `~/` for the home and `%u` for the user; a folder when it ends in a slash.
    Files(String),
    /// A command of this system has them, run as the user.
    Command(String),
    /// A server has them, which speaks LMTP (RFC 2033).
    Lmtp(Peer),
}

impl Default for Mailboxes {
    fn default() -> Self {
        Self::Files(String::new())
    }
}

impl fmt::Display for Mailboxes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(path) => f.write_str(path),
            Self::Command(command) => write!(f, "|{command}"),
            Self::Lmtp(peer) => write!(f, "lmtp:{peer}"),
        }
    }
}

/// Where a message ends on this system.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum End {
    /// The user's mailbox, as `[local] mailbox` has it.
    Mailbox,
    /// A file (mbox), or a folder whose name ends in a slash (Maildir): an absolute path.
    File(String),
    /// A command, without the `|` before it.
    Pipe(String),
}

/// What is known of a recipient that an expansion made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The recipient it was made of, by index: always a smaller one than its own.
    pub of: usize,
    /// Where it ends here; `None`: it is an address that is mailed to, or with a user, one whose ~/.forward is to be
    /// read.
    pub end: Option<End>,
    /// In whose right it is delivered here; `None` for a file or a command of the alias file, which gets those of
    /// nobody in particular and never root's.
    pub user: Option<String>,
    /// Who hears of failures instead of the sender of the message: the owner of a list.
    pub sender: Option<Mailbox>,
    /// Whose ~/.forward sends it on, when it goes elsewhere: his address, which its header tells so that it does not
    /// come back for ever.
    pub through: Option<Mailbox>,
}

impl Origin {
    /// Nothing is known yet but what it was made of.
    pub fn new(of: usize) -> Self {
        Self {
            of,
            end: None,
            user: None,
            sender: None,
            through: None,
        }
    }
}
