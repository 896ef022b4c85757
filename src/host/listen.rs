//! One thread waits for everything that may happen to a daemon: clients, the trigger, signals and time. The only file
//! with mio.
//!
//! Clients are accepted here and handed on as they are, blocking: no thread but this one waits for more than one
//! thing. An error in accepting (the usual one: no descriptor is left) is told once; then nothing is accepted for a
//! moment, and clients wait in the kernel's line.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use listenfd::ListenFd;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use socket2::{Domain, SockAddr, Socket as Socket2, Type};

pub use mio::Waker;

pub use super::happening::Event;
use super::wire::Socket;

/// Clients that wait to be accepted; the system has a limit of its own, which is usually less.
const BACKLOG: i32 = 4096;
/// The system knows no addresses of this family.
pub const NO_FAMILY: i32 = nix::libc::EAFNOSUPPORT;
/// The system has no such address.
pub const NO_ADDRESS: i32 = nix::libc::EADDRNOTAVAIL;

/// A socket at which clients come in.
#[derive(Debug)]
pub struct Listener {
    socket: Entrance,
}

#[derive(Debug)]
enum Entrance {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Listens at an address of the network. One of IPv6 takes IPv6 alone, so that both may be named.
    ///
    /// # Errors
    /// What the system says.
    pub fn tcp(address: &SocketAddr) -> io::Result<Self> {
        let socket = Socket2::new(Domain::for_address(*address), Type::STREAM, None)?;
        // Or nobody could listen here for a while after a daemon has stopped.
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&(*address).into())?;
        socket.listen(BACKLOG)?;
        Self::ready(Entrance::Tcp(TcpListener::from(socket)))
    }

    /// Listens at a socket in the file system; one that was left behind is replaced.
    ///
    /// # Errors
    /// What the system says.
    pub fn unix(path: &Path) -> io::Result<Self> {
        let is_socket = fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket());
        if is_socket && is_left_behind(path)? {
            super::durable::remove(path)?;
        }
        Self::ready(Entrance::Unix(UnixListener::bind(path)?))
    }

    /// One that another process of minimta has opened.
    ///
    /// # Errors
    /// What the system says.
    pub fn of(descriptor: OwnedFd) -> io::Result<Self> {
        let is_tcp = Socket2::from(descriptor.try_clone()?)
            .local_addr()?
            .as_socket()
            .is_some();
        Self::ready(if is_tcp {
            Entrance::Tcp(TcpListener::from(descriptor))
        } else {
            Entrance::Unix(UnixListener::from(descriptor))
        })
    }

    fn ready(socket: Entrance) -> io::Result<Self> {
        match &socket {
            Entrance::Tcp(listener) => listener.set_nonblocking(true)?,
            Entrance::Unix(listener) => listener.set_nonblocking(true)?,
        }
        Ok(Self { socket })
    }

    /// Where it listens; `None`: at a socket in the file system.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Entrance::Tcp(listener) => listener.local_addr().ok(),
            Entrance::Unix(_) => None,
        }
    }

    fn fd(&self) -> i32 {
        match &self.socket {
            Entrance::Tcp(listener) => listener.as_raw_fd(),
            Entrance::Unix(listener) => listener.as_raw_fd(),
        }
    }

    /// The next client. His socket blocks, as new ones do wherever minimta runs.
    fn accept(&self) -> io::Result<(Socket, Option<SocketAddr>)> {
        match &self.socket {
            Entrance::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                Ok((Socket::Tcp(stream), Some(peer)))
            }
            Entrance::Unix(listener) => Ok((Socket::Unix(listener.accept()?.0), None)),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Entrance::Tcp(listener) => listener.as_fd(),
            Entrance::Unix(listener) => listener.as_fd(),
        }
    }
}

/// Whether nobody listens at a socket in the file system any more. Whoever is only slow to let others in is there, and is
/// not waited for.
fn is_left_behind(path: &Path) -> io::Result<bool> {
    let socket = Socket2::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    let connected = socket.connect(&SockAddr::unix(path)?);
    Ok(connected.is_err_and(|e| e.kind() != ErrorKind::WouldBlock))
}

/// The sockets that were handed over by whoever has started this process (systemd's LISTEN_FDS), with the names that
/// he gave them.
///
/// # Errors
/// A descriptor is no listening stream socket.
pub fn inherited() -> io::Result<Vec<(String, Listener)>> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut descriptors = ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..descriptors.len() {
        let socket = match descriptors.take_tcp_listener(index) {
            Ok(listener) => listener.map(Entrance::Tcp),
            Err(_) => descriptors.take_unix_listener(index)?.map(Entrance::Unix),
        };
        let name = names.next().unwrap_or_default().to_owned();
        if let Some(socket) = socket {
            listeners.push((name, Listener::ready(socket)?));
        }
    }
    Ok(listeners)
}

/// Waits for everything.
#[derive(Debug)]
pub struct Watch {
    poll: Poll,
    events: Events,
    listeners: Vec<Listener>,
    signals: SignalFd,
    /// Listeners that may have more clients.
    ready: Vec<bool>,
    /// Nothing is accepted before.
    pause: Option<Instant>,
    /// Whether the trouble was told.
    told: bool,
}

const TRIGGER: Token = Token(usize::MAX - 1);
const SIGNALS: Token = Token(usize::MAX - 2);
const WAKER: Token = Token(usize::MAX - 3);
/// Clients that one listener may bring in before others have their turn.
const AT_ONCE: usize = 32;
/// How long nothing is accepted after an error.
const PAUSE: Duration = Duration::from_millis(200);

impl Watch {
    /// For these listeners and this trigger. Signals are taken from now on; the threads of this process must be
    /// made after this.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(listeners: Vec<Listener>, trigger: &File) -> io::Result<(Self, Waker)> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            set.add(signal);
        }
        set.thread_block()?;
        let signals = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let poll = Poll::new()?;
        let registry = poll.registry();
        for (index, listener) in listeners.iter().enumerate() {
            registry.register(
                &mut SourceFd(&listener.fd()),
                Token(index),
                Interest::READABLE,
            )?;
        }
        let waker = Waker::new(registry, WAKER)?;
        for (fd, token) in [
            (trigger.as_raw_fd(), TRIGGER),
            (signals.as_fd().as_raw_fd(), SIGNALS),
        ] {
            registry.register(&mut SourceFd(&fd), token, Interest::READABLE)?;
        }
        let watch = Self {
            events: Events::with_capacity(32),
            ready: vec![false; listeners.len()],
            poll,
            listeners,
            signals,
            pause: None,
            told: false,
        };
        Ok((watch, waker))
    }

    /// Waits until something happens, or `limit` is over, and tells it all.
    ///
    /// # Errors
    /// What the system says; there is no way to go on then.
    pub fn wait(&mut self, limit: Option<Duration>, tell: &mut dyn FnMut(Event)) -> io::Result<()> {
        let limit = self.limit(limit);
        match self.poll.poll(&mut self.events, limit) {
            Err(e) if e.kind() == ErrorKind::Interrupted => return Ok(()),
            done => done?,
        }
        let tokens: Vec<Token> = self.events.iter().map(mio::event::Event::token).collect();
        for token in tokens {
            match token {
                TRIGGER => tell(Event::Trigger),
                WAKER => tell(Event::Woken),
                SIGNALS => self.signals(tell),
                Token(index) => {
                    if let Some(ready) = self.ready.get_mut(index) {
                        *ready = true;
                    }
                }
            }
        }
        if self.pause.is_none_or(|until| until <= Instant::now()) {
            self.pause = None;
            for index in 0..self.listeners.len() {
                self.accept(index, tell);
            }
        }
        Ok(())
    }

    /// Takes no more clients; those who wait in the kernel's line are turned away by it.
    pub fn close(&mut self) {
        self.ready.clear();
        self.listeners.clear();
    }

    fn limit(&self, limit: Option<Duration>) -> Option<Duration> {
        let waiting = self.ready.contains(&true);
        let pause = match self.pause {
            Some(until) => Some(until.saturating_duration_since(Instant::now())),
            None => waiting.then_some(Duration::ZERO),
        };
        [limit, pause].into_iter().flatten().min()
    }

    fn signals(&self, tell: &mut dyn FnMut(Event)) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            let number = i32::try_from(signal.ssi_signo).unwrap_or_default();
            tell(match Signal::try_from(number) {
                Ok(Signal::SIGHUP) => Event::Reload,
                _ => Event::Stop,
            });
        }
    }

    fn accept(&mut self, index: usize, tell: &mut dyn FnMut(Event)) {
        // An edge is told once: what is there must be taken, now or in the next turn.
        for _ in 0..AT_ONCE {
            let (Some(listener), Some(true)) = (self.listeners.get(index), self.ready.get(index))
            else {
                return;
            };
            match listener.accept() {
                Ok((socket, peer)) => {
                    self.told = false;
                    tell(Event::Client {
                        listener: index,
                        socket,
                        peer,
                    });
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    if let Some(ready) = self.ready.get_mut(index) {
                        *ready = false;
                    }
                }
                // One client has gone before we came to him.
                Err(e)
                    if matches!(
                        e.kind(),
                        ErrorKind::Interrupted | ErrorKind::ConnectionAborted
                    ) => {}
                Err(e) => {
                    self.pause = Some(Instant::now() + PAUSE);
                    if !std::mem::replace(&mut self.told, true) {
                        tell(Event::Trouble(e));
                    }
                    return;
                }
            }
        }
    }
}
