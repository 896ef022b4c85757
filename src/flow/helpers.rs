//! The worker's side of deliveries in the right of others: it asks root's process for a helper, one for each user whose
//! mail waits, and hands it message after message.
//!
//! A user has one helper in a run, however many of its deliveries go on at once: each has a line of its own to it. A
//! helper that has nothing to do goes when another user's needs the place, and all go with the run.
//!
//! The helper is one of its user's processes, so it is believed nothing but one line of an answer, and waited for only
//! so long. What breaks off leaves the message in the queue.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Damaged;
use super::doors::Doors;
use super::ends::{COMMAND, deferred};
use crate::config::{Config, System};
use crate::error::Error;
use crate::host::channel::{Channel, Packet};
use crate::host::{accounts, words};
use crate::proto::handover::{
    ABORT, Answer, Letter, MAX_ANSWER, MAX_BLOCK, Order, Whom, read_announced,
};
use crate::proto::reply::Enhanced;

/// Helpers at once in a run, however many places it has: another user's delivery waits until one is free. Root's
/// process makes more, for other runs and for those that are just ending.
pub const HELPERS: usize = 16;
/// How long a helper may take no octet, or say nothing: longer than a command may take, which need not read at once.
const STILL: Duration = Duration::from_secs(COMMAND.as_secs() + 60);
/// How long it may take over one message, but for its answer.
const MESSAGE: Duration = Duration::from_secs(600);
/// How long root's process may take to make one.
const MAKING: Duration = Duration::from_secs(30);

/// The name of the socket behind which root's process is, in the run folder, when a supervisor keeps it apart.
const SOCKET: &str = "home";

/// The worker's way to root's process.
#[derive(Debug)]
pub struct Keeper {
    /// The socket by which one is found; `None`: it has started this one.
    socket: Option<PathBuf>,
    line: Mutex<Option<Line>>,
    /// How long an answer is waited for.
    patience: Duration,
}

/// A line to root's process, which answers each request once, in their order.
#[derive(Debug)]
struct Line {
    channel: Channel,
    /// Requests whose answers nobody waits for any more. They come before any other, and are for somebody else: whoever
    /// took one for his own would hand mail of one user to the helper of another.
    owed: usize,
}

impl Line {
    fn new(channel: Channel) -> Self {
        Self { channel, owed: 0 }
    }

    /// Asks for a helper, and hears what is said to that.
    fn ask(&mut self, whom: &Whom, patience: Duration) -> io::Result<Packet> {
        self.channel.set_patience(patience)?;
        while self.owed > 0 {
            // The helper that it brings hears by this that it is not wanted.
            self.hear()?;
            self.owed -= 1;
        }
        self.channel.send(&whom.text(), None)?;
        self.owed = 1;
        let packet = self.hear()?;
        self.owed = 0;
        Ok(packet)
    }

    fn hear(&self) -> io::Result<Packet> {
        let packet = self.channel.receive()?;
        packet.ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

impl Keeper {
    /// Over this channel, for it has started this process.
    pub fn new(channel: Channel) -> Self {
        Self {
            socket: None,
            line: Mutex::new(Some(Line::new(channel))),
            patience: MAKING,
        }
    }

    /// Over the socket in the run folder, if there is one.
    pub fn at_socket(run: &Path) -> Option<Self> {
        let path = run.join(SOCKET);
        let found = std::fs::symlink_metadata(&path).ok()?;
        found.file_type().is_socket().then(|| Self {
            socket: Some(path),
            line: Mutex::new(None),
            patience: MAKING,
        })
    }

    /// Whether root's process has started this one, and opens the ports for it.
    pub fn is_parent(&self) -> bool {
        self.socket.is_none()
    }

    /// Takes what root's process has opened; before anything else.
    ///
    /// # Errors
    /// Those of [`Doors::take`].
    pub fn take_doors(&self, config: &Config, listen: bool) -> Result<Doors, Error> {
        let line = lock(&self.line);
        let line = line.as_ref().ok_or_else(|| {
            Error::Internal("root's process opens no ports for this one".to_owned())
        })?;
        Doors::take(config, &line.channel, listen)
    }

    /// Has a helper made; returned is the line over which lines to it are sent.
    fn helper(&self, whom: &Whom) -> Result<Channel, String> {
        // Nobody panics with the lock; and a packet is sent and received whole.
        let mut line = lock(&self.line);
        let gone = |e: io::Error| {
            format!(
                "the process of minimta that makes helpers does not answer: {}",
                words(&e)
            )
        };
        let packet = match (&self.socket, line.as_mut()) {
            // One that had nothing to do has ended, and there is another one.
            (Some(socket), Some(known)) => match known.ask(whom, self.patience) {
                Ok(packet) => packet,
                Err(_) => self.ask_anew(&mut line, socket, whom).map_err(gone)?,
            },
            (Some(socket), None) => self.ask_anew(&mut line, socket, whom).map_err(gone)?,
            (None, Some(known)) => known.ask(whom, self.patience).map_err(gone)?,
            (None, None) => return Err(gone(io::ErrorKind::BrokenPipe.into())),
        };
        match (packet.text.as_str(), packet.descriptor) {
            ("ok", Some(descriptor)) => Ok(Channel::from(descriptor)),
            (text, _) => Err(text.strip_prefix("no ").unwrap_or(text).to_owned()),
        }
    }

    /// Asks a process that this has started.
    fn ask_anew(&self, line: &mut Option<Line>, socket: &Path, whom: &Whom) -> io::Result<Packet> {
        // What the other one may still say is for nobody.
        *line = None;
        let mut anew = Line::new(Channel::connect(socket, self.patience)?);
        let packet = anew.ask(whom, self.patience)?;
        *line = Some(anew);
        Ok(packet)
    }
}

/// The helpers of a run.
#[derive(Debug)]
pub struct Helpers {
    keeper: Arc<Keeper>,
    /// The configuration, which a helper reads as it stands when it begins.
    config: Option<PathBuf>,
    helpers: Mutex<BTreeMap<Whom, Arc<Helper>>>,
    /// One has nothing to do any more.
    freed: Condvar,
}

#[derive(Debug)]
struct Helper {
    /// Takes new lines to it.
    channel: Channel,
    /// Lines that nobody uses now.
    idle: Mutex<Vec<UnixStream>>,
}

/// No part of these is left half-changed under a lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Helpers {
    /// None yet.
    pub fn new(keeper: Arc<Keeper>, config: &Config) -> Self {
        Self {
            keeper,
            config: config.file.clone(),
            helpers: Mutex::default(),
            freed: Condvar::new(),
        }
    }

    /// Has a message, which has its trace already, delivered in somebody's right.
    ///
    /// # Errors
    /// [`Damaged`] when the message is not what was accepted; nothing was delivered then.
    pub fn deliver(
        &self,
        whom: &Whom,
        letter: &Letter,
        message: &mut dyn Read,
    ) -> Result<Answer, Damaged> {
        let order = Order::Deliver(letter.clone());
        let done = self.talk(whom, |stream| hand_over(stream, &order, message));
        done.unwrap_or_else(|why| Ok(Answer::Done(deferred(Enhanced(4, 3, 0), &why))))
    }

    /// The ~/.forward of a user, or a file that it includes; `None` when it is not there.
    ///
    /// # Errors
    /// A sentence: it must not be used, or there is no helper now.
    pub fn forward(&self, user: &str, path: Option<&str>) -> Result<Option<Vec<u8>>, String> {
        let order = Order::Forward(path.map(str::to_owned)).text();
        self.talk(&Whom::User(user.to_owned()), |mut stream| {
            stream.write_all(order.as_bytes())?;
            read_file(stream)
        })?
    }

    /// Says something to a helper, and hears its answer. An error of the talk is the end of its line.
    fn talk<T>(
        &self,
        whom: &Whom,
        say: impl FnOnce(&UnixStream) -> io::Result<T>,
    ) -> Result<T, String> {
        let (helper, stream) = self.line(whom)?;
        let done = say(&stream);
        let mut helpers = lock(&self.helpers);
        let heard = match done {
            Ok(heard) => {
                lock(&helper.idle).push(stream);
                Ok(heard)
            }
            Err(error) => {
                // The next one gets a new helper; those who still talk to this one may finish.
                if helpers.get(whom).is_some_and(|h| Arc::ptr_eq(h, &helper)) {
                    helpers.remove(whom);
                }
                let why = match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                        "took too long".to_owned()
                    }
                    io::ErrorKind::InvalidData => "answered what is no answer".to_owned(),
                    io::ErrorKind::UnexpectedEof
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::ConnectionReset => match self.fault_of_config() {
                        Some(why) => format!("ended: {why}"),
                        None => "ended without an answer".to_owned(),
                    },
                    _ => words(&error),
                };
                Err(format!(
                    "the process that delivers for {} {why}",
                    whom.text()
                ))
            }
        };
        drop(helper);
        self.freed.notify_all();
        drop(helpers);
        heard
    }

    /// What is wrong with the configuration by now, upon which a helper ends before anything else.
    fn fault_of_config(&self) -> Option<String> {
        let system = System {
            hostname: &accounts::system_name,
        };
        let error = Config::load(Some(self.config.as_deref()?), &system).err()?;
        // Below stands the line of the configuration, which may be one with a secret.
        error.to_string().lines().next().map(str::to_owned)
    }

    /// A line to a helper, who is made if there is none.
    fn line(&self, whom: &Whom) -> Result<(Arc<Helper>, UnixStream), String> {
        let mut helpers = lock(&self.helpers);
        let helper = loop {
            if let Some(helper) = helpers.get(whom) {
                break Arc::clone(helper);
            }
            if helpers.len() >= HELPERS {
                // Whoever uses one has a copy, and gets it only under this lock.
                let unused = |(_, helper): &(&Whom, &Arc<Helper>)| Arc::strong_count(helper) == 1;
                let unused = helpers.iter().find(unused).map(|(whom, _)| whom.clone());
                let Some(unused) = unused else {
                    let waited = self.freed.wait(helpers);
                    helpers = waited.unwrap_or_else(PoisonError::into_inner);
                    continue;
                };
                helpers.remove(&unused);
            }
            let helper = Arc::new(Helper {
                channel: self.keeper.helper(whom)?,
                idle: Mutex::default(),
            });
            helpers.insert(whom.clone(), Arc::clone(&helper));
            break helper;
        };
        let idle = lock(&helper.idle).pop();
        let stream = match idle {
            Some(stream) => Ok(stream),
            None => new_line(&helper.channel),
        };
        let stream = stream.map_err(|e| {
            helpers.remove(whom);
            let why = self.fault_of_config().unwrap_or_else(|| words(&e));
            format!("the process that delivers for {} ended: {why}", whom.text())
        })?;
        Ok((helper, stream))
    }
}

/// A new line to a helper.
fn new_line(channel: &Channel) -> io::Result<UnixStream> {
    let (here, there) = UnixStream::pair()?;
    channel.send("line", Some(there.as_fd()))?;
    here.set_write_timeout(Some(STILL))?;
    here.set_read_timeout(Some(STILL))?;
    Ok(here)
}

/// Sends an order and a message, and reads the answer. The outer error says that the line is of no use any more.
fn hand_over(
    stream: &UnixStream,
    order: &Order,
    message: &mut dyn Read,
) -> io::Result<Result<Answer, Damaged>> {
    let mut out = BufWriter::with_capacity(MAX_BLOCK, stream);
    out.write_all(order.text().as_bytes())?;
    let until = Instant::now() + MESSAGE;
    let mut block = vec![0; MAX_BLOCK / 2];
    let whole = loop {
        match message.read(&mut block) {
            Ok(0) => break Ok(()),
            Ok(n) => {
                // n is at most the block's length, which is far below 4 GiB.
                out.write_all(&u32::try_from(n).unwrap_or(ABORT).to_be_bytes())?;
                out.write_all(block.get(..n).unwrap_or_default())?;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => break Err(e),
        }
        if Instant::now() > until {
            return Err(io::ErrorKind::TimedOut.into());
        }
    };
    let end = if whole.is_ok() { 0 } else { ABORT };
    out.write_all(&end.to_be_bytes())?;
    out.flush()?;
    let answer = read_line(stream)?;
    let answer = Answer::parse(&answer).ok_or(io::ErrorKind::InvalidData)?;
    Ok(match whole {
        Ok(()) => Ok(answer),
        Err(e) if e.kind() == io::ErrorKind::InvalidData => Err(Damaged),
        Err(e) => {
            let text = format!("cannot read the message to deliver: {}", words(&e));
            Ok(Answer::Done(deferred(Enhanced(4, 3, 0), &text)))
        }
    })
}

/// What a helper has read.
fn read_file(mut stream: &UnixStream) -> io::Result<Result<Option<Vec<u8>>, String>> {
    // Octet by octet: what follows the line is the file.
    let mut line = Vec::new();
    let mut octet = [0];
    loop {
        stream.read_exact(&mut octet)?;
        match octet {
            [b'\n'] => break,
            _ if line.len() >= MAX_ANSWER => return Err(io::ErrorKind::InvalidData.into()),
            [octet] => line.push(octet),
        }
    }
    let line = String::from_utf8(line).map_err(|_| io::ErrorKind::InvalidData)?;
    match read_announced(&line).ok_or(io::ErrorKind::InvalidData)? {
        Ok(Some(length)) => {
            let mut octets = vec![0; length];
            stream.read_exact(&mut octets)?;
            Ok(Ok(Some(octets)))
        }
        Ok(None) => Ok(Ok(None)),
        Err(why) => Ok(Err(why)),
    }
}

/// One line, and nothing behind it.
fn read_line(mut stream: &UnixStream) -> io::Result<String> {
    let mut line = Vec::new();
    let mut block = [0; 1024];
    while line.last() != Some(&b'\n') {
        match stream.read(&mut block) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => line.extend_from_slice(block.get(..n).unwrap_or_default()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
        if line.len() > MAX_ANSWER {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    line.pop();
    let line = String::from_utf8(line).map_err(|_| io::ErrorKind::InvalidData)?;
    if line.contains('\n') {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Root's process is slow to answer, for whatever reason: what it says at last is not taken for its answer to another
    /// request.
    #[test]
    fn a_late_answer_is_for_nobody_else() {
        let (here, root) = Channel::pair().unwrap();
        let mut keeper = Keeper {
            patience: Duration::from_millis(1),
            ..Keeper::new(here)
        };
        let user = |name: &str| Whom::User(name.to_owned());
        let wanted = || root.receive().unwrap().unwrap().text;
        // Each request is answered by a helper for whom it was; by the name, the test knows which.
        let answer = |whom: &str| {
            let (line, helper) = Channel::pair().unwrap();
            root.send("ok", Some(line.as_fd())).unwrap();
            helper.send(whom, None).unwrap();
            helper
        };
        let got = |helper: &Channel| helper.receive().unwrap().unwrap().text;
        for name in ["alice", "bob"] {
            // Bob asks no more than for what alice is owed, and is not heard before that has come.
            let why = keeper.helper(&user(name)).unwrap_err();
            assert!(why.contains("does not answer"), "{why}");
        }
        keeper.patience = MAKING;
        let mut helpers = vec![answer(&wanted())];
        std::thread::scope(|scope| {
            let carol = scope.spawn(|| got(&keeper.helper(&user("carol")).unwrap()));
            helpers.push(answer(&wanted()));
            assert_eq!(carol.join().unwrap(), "user carol");
        });
        // Nobody has the line to the one that came too late, and so it ends.
        assert!(!matches!(helpers[0].receive(), Ok(Some(_))));
    }

    /// A command that thinks for minutes before it reads is in its right, and its helper reads no more than it does.
    #[test]
    fn a_helper_is_waited_for_as_long_as_its_command() {
        let (channel, _helper) = Channel::pair().unwrap();
        let line = new_line(&channel).unwrap();
        for limit in [line.read_timeout(), line.write_timeout()] {
            assert!(limit.unwrap().is_some_and(|limit| limit > COMMAND));
        }
    }
}
