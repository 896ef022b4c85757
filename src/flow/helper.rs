//! A helper: the process that is a user of this system, made for the mail that waits for him, and gone when it is done.
//!
//! 1. give up all of root's rights, before anything is read but the configuration
//! 2. take lines from the worker, each over standard input, as long as there is one; a thread serves each
//! 3. on a line: an order, the message, an answer; again and again, until the worker hangs up
//!
//! The helper does not believe the worker more than that this user has mail. A command is run, and a file written, only
//! if the user's own ~/.forward names it, however the order came about: whoever has taken over the worker can have
//! nothing done in anybody's right that he did not want. An order or a message that breaks off, or whose checksum is
//! found to be wrong, leaves nothing behind. What is no order ends the line.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::ends::{self, Place, deferred};
use super::fault::{self, Then};
use super::queue::STACK;
use super::{Context, Damaged};
use crate::error::{Error, Result};
use crate::host::accounts::{self, Account};
use crate::host::channel::Channel;
use crate::host::wire::Socket;
use crate::host::{listed, privilege};
use crate::proto::alias::{self, Target, read_list};
use crate::proto::end::{End, Mailboxes};
use crate::proto::handover::{ABORT, Answer, Letter, MAX_BLOCK, MAX_ORDER, Order, Whom, announce};
use crate::proto::reply::Enhanced;

/// How long the worker may stand still within a message.
const STILL: Duration = Duration::from_secs(60);
/// Lines at once; a worker that wants more is none of ours.
const LINES: usize = 128;
/// Lists that a ~/.forward may include, one in the other or beside it.
const LISTS: usize = 50;
/// Where mail for root is kept when other mailboxes are in the homes of their users.
const ROOT_MAILBOX: &str = "/var/mail/root";

/// Becomes the helper for somebody; ends when the worker wants nothing more.
///
/// # Errors
/// `NoPermission` for whoever is not root's process of minimta; `NoUser`, `Os`.
pub fn run(context: &Context, whom: &str) -> Result<()> {
    if !privilege::is_root() {
        privilege::drop_group().map_err(Error::NoPermission)?;
        return Err(Error::NoPermission(
            "helpers are started by minimta itself".to_owned(),
        ));
    }
    let whom =
        Whom::parse(whom).ok_or_else(|| Error::Usage(format!("{whom} is nobody to deliver to")))?;
    let (user, alias_user) = (&context.config.user, &context.config.local.alias_user);
    let account = account(&whom, user, alias_user).map_err(Error::NoUser)?;
    privilege::become_user(&account).map_err(Error::Os)?;
    privilege::fix_private_umask();
    fault::then(Then::EndLater(fault::SOFTWARE));
    // Where the home is not to be had, the root of the file system is as good as any.
    let _ = std::env::set_current_dir(&account.home);
    let helper = Helper {
        context,
        whom: &whom,
        account: &account,
    };
    let line = Channel::on_standard_input().map_err(|e| Error::Os(crate::host::words(&e)))?;
    thread::scope(|scope| {
        let mut threads: Vec<thread::ScopedJoinHandle<'_, ()>> = Vec::new();
        // A packet that is none of ours is as good as the end.
        while let Ok(Some(packet)) = line.receive() {
            threads.retain(|thread| !thread.is_finished());
            let Some(descriptor) = packet.descriptor.filter(|_| threads.len() < LINES) else {
                break;
            };
            let stream = UnixStream::from(descriptor);
            let helper = &helper;
            let serve = move || {
                // The line is closed then; the worker knows what that means.
                let _ = helper.serve(stream);
            };
            match thread::Builder::new()
                .stack_size(STACK)
                .spawn_scoped(scope, serve)
            {
                Ok(thread) => threads.push(thread),
                Err(_) => break,
            }
        }
    });
    Ok(())
}

/// Whose rights a helper has; `user` is that of the spool.
///
/// # Errors
/// A sentence: there is no such user, or nothing may be done in his right.
pub fn account(whom: &Whom, user: &str, alias_user: &str) -> Result<Account, String> {
    let find = |name: &str| accounts::find(name)?.ok_or_else(|| format!("there is no user {name}"));
    let account = match whom {
        Whom::User(name) => {
            let account = find(name)?;
            if account.name != *name || !account.is_person() {
                return Err(format!(
                    "the account {name} is not a person's, so that nothing is delivered in its right"
                ));
            }
            account
        }
        // Whoever owns the mailboxes of this system, or else the user of the spool.
        Whom::Root => match accounts::find("mail")?.filter(|a| a.uid != 0) {
            Some(mail) => mail,
            None => find(user)?,
        },
        Whom::Nobody => find(alias_user)?,
    };
    if account.uid == 0 {
        return Err(format!(
            "the account {} has the rights of root, and no mail is delivered in them",
            account.name
        ));
    }
    Ok(account)
}

/// Where mail for root is kept: as all mailboxes are, unless they are in homes or more than files.
pub fn root_mailbox(context: &Context) -> Place {
    match &context.config.local.mailbox {
        Mailboxes::Files(pattern) if pattern.starts_with('/') && pattern.contains("%u") => {
            Place::path(pattern, PathBuf::from(pattern.replace("%u", "root")))
        }
        _ => Place::Mbox(Path::new(ROOT_MAILBOX).to_owned()),
    }
}

struct Helper<'a> {
    context: &'a Context,
    whom: &'a Whom,
    account: &'a Account,
}

impl Helper<'_> {
    /// One order after the other, until the line is closed.
    fn serve(&self, stream: UnixStream) -> io::Result<()> {
        stream.set_read_timeout(Some(STILL))?;
        stream.set_write_timeout(Some(STILL))?;
        let mut answers = stream.try_clone()?;
        let line = Arc::new(Socket::Unix(stream.try_clone()?));
        let mut orders = BufReader::with_capacity(MAX_BLOCK, stream);
        while let Some(order) = next_order(&mut orders)? {
            let _in_hand = fault::over_connection(Arc::clone(&line));
            let reply = match order {
                Order::Deliver(letter) => self.deliver(&letter, &mut orders)?.text(),
                Order::Forward(path) => {
                    let read = self.forward(path.as_deref());
                    answers.write_all(announce(&read).as_bytes())?;
                    if let Ok(Some(octets)) = read {
                        answers.write_all(&octets)?;
                    }
                    continue;
                }
            };
            answers.write_all(reply.as_bytes())?;
        }
        Ok(())
    }

    /// The ~/.forward of the user, or a file that it includes.
    fn forward(&self, path: Option<&str>) -> Result<Option<Vec<u8>>, String> {
        match (self.whom, path) {
            (Whom::User(_), None) => listed::read_forward(&self.account.home, self.account.uid),
            (Whom::User(_), Some(path)) => listed::read_included(Path::new(path)),
            // These have none.
            (Whom::Root | Whom::Nobody, _) => Ok(None),
        }
    }

    /// Whether the user's ~/.forward, or a list that it includes, names this file or command.
    fn names(&self, end: &End) -> Result<bool, String> {
        let mut lists = vec![listed::read_forward(&self.account.home, self.account.uid)?];
        let mut left = LISTS;
        while let Some(octets) = lists.pop() {
            let text = octets.unwrap_or_default();
            let targets = read_list(&String::from_utf8_lossy(&text), alias::Place::Forward);
            for target in targets.map_err(|fault| fault.to_string())? {
                match (target, end) {
                    (Target::File(path), End::File(wanted)) if path == *wanted => return Ok(true),
                    (Target::Pipe(line), End::Pipe(wanted)) if line == *wanted => return Ok(true),
                    (Target::Include(path), _) if left > 0 => {
                        left -= 1;
                        lists.push(listed::read_included(Path::new(&path))?);
                    }
                    _ => {}
                }
            }
        }
        Ok(false)
    }

    fn deliver(&self, letter: &Letter, orders: &mut impl Read) -> io::Result<Answer> {
        let mut message = Blocks {
            from: orders,
            left: 0,
            ended: None,
        };
        let place = match (self.whom, &letter.end) {
            (Whom::User(_), End::Mailbox) => {
                Some(Place::of(self.context, self.account, &End::Mailbox))
            }
            (Whom::User(_), end) => match self.names(end) {
                Ok(true) => Some(Place::of(self.context, self.account, end)),
                // Not any more: what he has now is his mailbox.
                Ok(false) => Some(Place::of(self.context, self.account, &End::Mailbox)),
                Err(why) => {
                    message.finish()?;
                    return Ok(Answer::Done(deferred(Enhanced(4, 2, 0), &why)));
                }
            },
            (Whom::Root, End::Mailbox) => Some(root_mailbox(self.context)),
            (Whom::Nobody, end @ (End::File(_) | End::Pipe(_))) => {
                Some(Place::of(self.context, self.account, end))
            }
            // These have no such rights.
            (Whom::Root, _) | (Whom::Nobody, End::Mailbox) => None,
        };
        let outcome = match place {
            // The worker can do that itself.
            Some(Place::Lmtp(_)) => {
                message.finish()?;
                return Ok(Answer::Mailbox);
            }
            Some(place) => ends::deliver(self.context, self.account, &place, letter, &mut message),
            None => Ok(deferred(
                Enhanced(4, 7, 0),
                "the helper has no right to deliver there",
            )),
        };
        message.finish()?;
        let damaged = || deferred(Enhanced(4, 3, 0), "the message was not whole");
        let outcome = outcome.unwrap_or_else(|Damaged| damaged());
        Ok(Answer::Done(outcome))
    }
}

/// The next order; `None`: the worker has hung up.
fn next_order(orders: &mut BufReader<UnixStream>) -> io::Result<Option<Order>> {
    // Between two orders the worker may take as long as it likes.
    loop {
        match orders.fill_buf() {
            Ok([]) => return Ok(None),
            Ok(_) => break,
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            Err(e) => return Err(e),
        }
    }
    let mut text = String::new();
    let mut bounded = orders.take(MAX_ORDER as u64);
    loop {
        let before = text.len();
        if bounded.read_line(&mut text)? == 0 || !text.ends_with('\n') {
            return Err(garbage());
        }
        if text.get(before..) == Some("\n") {
            text.pop();
            return Order::parse(&text).map(Some).ok_or_else(garbage);
        }
    }
}

fn garbage() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

/// A message that comes in blocks. Its end is an `InvalidData` error when it is to be thrown away, and another one
/// when it has broken off.
struct Blocks<'a, R> {
    from: &'a mut R,
    /// Octets of this block that are left.
    left: usize,
    /// Whether it has come to its end, and whether that was a good one.
    ended: Option<bool>,
}

impl<R: Read> Blocks<'_, R> {
    /// Reads what is left, so that the next order can be read.
    fn finish(&mut self) -> io::Result<()> {
        let mut block = vec![0; 4096];
        while self.ended.is_none() {
            match self.read(&mut block) {
                Err(e) if e.kind() != io::ErrorKind::Interrupted && self.ended.is_none() => {
                    return Err(e);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl<R: Read> Read for Blocks<'_, R> {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        let thrown_away = || io::Error::new(io::ErrorKind::InvalidData, "it is to be thrown away");
        if self.left == 0 && self.ended.is_none() {
            let mut length = [0; 4];
            self.from.read_exact(&mut length)?;
            match u32::from_be_bytes(length) {
                0 => self.ended = Some(true),
                ABORT => self.ended = Some(false),
                length => {
                    let fits = usize::try_from(length).ok().filter(|n| *n <= MAX_BLOCK);
                    self.left = fits.ok_or_else(|| {
                        io::Error::other("the worker sends a block that is too long")
                    })?;
                }
            }
        }
        match self.ended {
            Some(true) => return Ok(0),
            Some(false) => return Err(thrown_away()),
            None => {}
        }
        let most = self.left.min(block.len());
        let read = self.from.read(block.get_mut(..most).unwrap_or_default())?;
        if read == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
