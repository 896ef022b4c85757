//! One connection as a stream of octets: plain or TLS, with a deadline that no trickle of octets moves.
//!
//! Whoever uses it sets [`Wire::set_limit`] before each step of its protocol, reads through [`BufRead`] and
//! writes through [`Write`]; what is written waits for [`Write::flush`], so that a group of commands is one
//! packet. After a write has failed, reading goes on: what the other side said before it closed is still there,
//! and tells why it did.
//!
//! The system is asked for as little as possible. The socket's own time limits are changed only when they would
//! end a wait too late; a wait that ends too early is begun again.

use std::io::{self, BufRead, IoSlice, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::tls::{Session, Trust};

/// Octets read at a time.
const INPUT: usize = 8 * 1024;
/// A buffer of so many octets is read into at once.
const ROOMY: usize = 512;
/// Octets that are kept back for one write.
const OUTPUT: usize = 32 * 1024;
/// Octets that fit into any socket's send buffer. As long as no more are unanswered, a write does not block.
const NEVER_BLOCKS: usize = 8 * 1024;
/// What is told of a socket of this system that lets nobody in.
const FULL: &str = "nobody is let in there, and too many wait for it already";
/// Octets that are read and thrown away from a client that goes on after it was told to go.
const MOST_THROWN_AWAY: usize = 256 * 1024;

/// A connected socket, of the network or of this system.
#[derive(Debug)]
pub enum Socket {
    /// Of the network.
    Tcp(TcpStream),
    /// Of this system.
    Unix(UnixStream),
}

impl Socket {
    /// The address of the other end, and its port; `None`: it is on this system.
    pub fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// Closes one direction, or both; whoever waits in it is woken. An error means that it is closed already.
    pub fn shutdown(&self, how: Shutdown) {
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(how),
            Self::Unix(stream) => stream.shutdown(how),
        };
    }

    /// Writes what goes out at once, and closes: for a client there is no place for.
    pub fn refuse(&self, octets: &[u8]) {
        let done = match self {
            Self::Tcp(stream) => stream
                .set_nonblocking(true)
                .and_then(|()| (&*stream).write(octets)),
            Self::Unix(stream) => stream
                .set_nonblocking(true)
                .and_then(|()| (&*stream).write(octets)),
        };
        if done.is_ok() {
            self.shutdown(Shutdown::Write);
        }
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&*stream).read(buffer),
            Self::Unix(stream) => (&*stream).read(buffer),
        }
    }

    /// A plain write to a socket never raises SIGPIPE; the vectored one needs it to be ignored, as Rust's start-up
    /// has it.
    fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match (self, slices) {
            (Self::Tcp(stream), [one]) => (&*stream).write(one),
            (Self::Unix(stream), [one]) => (&*stream).write(one),
            (Self::Tcp(stream), _) => (&*stream).write_vectored(slices),
            (Self::Unix(stream), _) => (&*stream).write_vectored(slices),
        }
    }

    fn set_read_timeout(&self, limit: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_read_timeout(Some(limit)),
            Self::Unix(stream) => stream.set_read_timeout(Some(limit)),
        }
    }

    fn set_write_timeout(&self, limit: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_write_timeout(Some(limit)),
            Self::Unix(stream) => stream.set_write_timeout(Some(limit)),
        }
    }
}

/// A connection.
#[derive(Debug)]
pub struct Wire {
    channel: Channel,
    tls: Option<Box<Session>>,
    /// Room to read into, once something was read; `unread` tells the part in use.
    input: Vec<u8>,
    /// Where in `input` that stands which was received and not consumed yet.
    unread: Range<usize>,
    output: Vec<u8>,
}

/// Connects within `limit`. The time for a write bounds this wait, too, with fewer calls than a socket that does not block;
/// returned is what it is by now.
fn connect(
    socket: &socket2::Socket,
    to: &socket2::SockAddr,
    limit: Duration,
) -> io::Result<Duration> {
    let until = Instant::now() + limit;
    loop {
        // None at all would be no bound.
        let left = until.saturating_duration_since(Instant::now());
        let bound = left.max(Duration::from_millis(1));
        socket.set_write_timeout(Some(bound))?;
        match socket.connect(to) {
            Ok(()) => return Ok(bound),
            // A process that was stopped and goes on: the socket is connecting, and is waited for again.
            Err(e) if e.kind() == io::ErrorKind::Interrupted && !left.is_zero() => {}
            Err(e) if is_time_out(&e) => {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "connection timed out",
                ));
            }
            Err(e) => return Err(e),
        }
    }
}

/// What sockets of the network and of this system say when the time for connect(2) is over.
fn is_time_out(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw);
    matches!(
        code,
        Some(Errno::EINPROGRESS | Errno::EALREADY | Errno::EAGAIN | Errno::EINTR)
    )
}

impl Wire {
    /// Connects, within `limit`, from an address of this machine if one is given.
    pub fn connect(
        address: &SocketAddr,
        from: Option<IpAddr>,
        limit: Duration,
    ) -> io::Result<Self> {
        let domain = socket2::Domain::for_address(*address);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
        if let Some(from) = from {
            socket.bind(&SocketAddr::new(from, 0).into())?;
        }
        let bound = connect(&socket, &(*address).into(), limit)?;
        let mut wire = Self::accepted(socket.into(), limit);
        wire.channel.write_limit = Some(bound);
        Ok(wire)
    }

    /// Connects to a socket of this system, within `limit`. It may be as far as the other side's line, which is full
    /// when nobody is let in.
    pub fn connect_local(path: &Path, limit: Duration) -> io::Result<Self> {
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
        let bound =
            connect(&socket, &socket2::SockAddr::unix(path)?, limit).map_err(|e| {
                match e.kind() {
                    io::ErrorKind::TimedOut => io::Error::new(io::ErrorKind::TimedOut, FULL),
                    _ => e,
                }
            })?;
        let socket = Socket::Unix(UnixStream::from(OwnedFd::from(socket)));
        let mut wire = Self::shared(Arc::new(socket), limit);
        wire.channel.write_limit = Some(bound);
        Ok(wire)
    }

    /// A connection that was made, and how long its first step may take.
    pub fn accepted(stream: TcpStream, limit: Duration) -> Self {
        Self::shared(Arc::new(Socket::Tcp(stream)), limit)
    }

    /// The same on a socket that somebody else may shut down.
    pub fn shared(socket: Arc<Socket>, limit: Duration) -> Self {
        Self::new(socket, limit)
    }

    fn new(socket: Arc<Socket>, limit: Duration) -> Self {
        Self {
            channel: Channel {
                socket,
                deadline: Instant::now() + limit,
                read_limit: None,
                write_limit: None,
                unanswered: 0,
                no_delay: false,
            },
            tls: None,
            input: Vec::new(),
            unread: 0..0,
            output: Vec::new(),
        }
    }

    /// All that is done from now on must be over within `limit`, or fails as `TimedOut`.
    pub fn set_limit(&mut self, limit: Duration) {
        self.channel.deadline = Instant::now() + limit;
    }

    /// What was received and not consumed yet.
    pub fn received(&self) -> &[u8] {
        self.input.get(self.unread.clone()).unwrap_or_default()
    }

    /// Goes on with TLS. Octets that came in the clear after the last reply or command would be taken for the
    /// other side's words inside TLS, whoever has sent them: with such octets it is refused (CVE-2011-0411).
    pub fn start_tls(&mut self, mut session: Session) -> io::Result<()> {
        if !self.received().is_empty() {
            let text = "more was sent in the clear than was asked for; somebody may be interfering";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        self.channel.no_delay()?; // each side writes twice in a row
        session.handshake(&mut self.channel)?;
        self.tls = Some(Box::new(session));
        Ok(())
    }

    /// Whether all is encrypted.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Version and cipher, when all is encrypted.
    pub fn tls_words(&self) -> Option<String> {
        self.tls.as_ref().map(|session| session.words())
    }

    /// The other side's certificate, in DER, when all is encrypted.
    pub fn certificate(&self) -> Option<&[u8]> {
        self.tls.as_ref().and_then(|session| session.certificate())
    }

    /// Whether the other side's certificate makes it good for this name; `None`: nothing is encrypted.
    pub fn proves(&self, trust: &Trust, name: &str, now: i64) -> Option<io::Result<()>> {
        let session = self.tls.as_ref()?;
        Some(session.proves(trust, name, now))
    }

    /// The address of this end.
    pub fn local_address(&self) -> Option<SocketAddr> {
        match &*self.channel.socket {
            Socket::Tcp(stream) => stream.local_addr().ok(),
            Socket::Unix(_) => None,
        }
    }

    /// Whether the other end is on this machine.
    pub fn is_local(&self) -> bool {
        match &*self.channel.socket {
            Socket::Tcp(_) => self
                .channel
                .socket
                .peer()
                .is_some_and(|a| is_loopback(a.ip())),
            Socket::Unix(_) => true,
        }
    }

    /// Ends the connection at once. What was not flushed is not sent.
    pub fn abandon(&mut self) {
        self.output.clear();
        self.channel.socket.shutdown(Shutdown::Both);
    }

    /// Ends the connection in an orderly way, as far as the other side lets it.
    pub fn close(mut self) {
        if let Some(session) = &mut self.tls {
            let _ = session.close(&mut self.channel);
        }
    }

    /// Ends the connection so that what was said last arrives: a socket that is closed with octets unread destroys
    /// what is still on its way out. So only this direction is closed, and what comes is thrown away, until the
    /// other side closes or `limit` is over.
    pub fn part(mut self, limit: Duration) {
        self.set_limit(limit);
        if let Some(session) = &mut self.tls {
            let _ = session.close(&mut self.channel);
        }
        self.channel.socket.shutdown(Shutdown::Write);
        let mut rest = [0; 512];
        for _ in 0..MOST_THROWN_AWAY / rest.len() {
            if !matches!(self.channel.read(&mut rest), Ok(n) if n > 0) {
                return;
            }
        }
    }

    fn write_now(&mut self, octets: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            Some(session) => session.write(&mut self.channel, octets),
            None => self.channel.write_all(octets),
        }
    }

    fn flush_output(&mut self) -> io::Result<()> {
        if self.output.is_empty() {
            return Ok(());
        }
        let mut octets = std::mem::take(&mut self.output);
        let done = self.write_now(&octets);
        // What was large may be so again; a small one is not worth the memory while nothing is said.
        if octets.capacity() >= OUTPUT / 2 {
            octets.clear();
            self.output = octets;
        }
        done
    }
}

impl BufRead for Wire {
    /// Empty when the other side has closed.
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.received().is_empty() {
            if self.input.is_empty() {
                self.input = vec![0; INPUT];
            }
            self.unread = 0..0;
            let length = match &mut self.tls {
                Some(session) => session.read(&mut self.channel, &mut self.input)?,
                None => self.channel.read(&mut self.input)?,
            };
            self.unread = 0..length.min(INPUT);
        }
        Ok(self.received())
    }

    fn consume(&mut self, amount: usize) {
        self.unread.start = self.unread.end.min(self.unread.start + amount);
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Who brings room for it needs none here.
        if self.received().is_empty() && buffer.len() >= ROOMY {
            self.input = Vec::new();
            self.unread = 0..0;
            return match &mut self.tls {
                Some(session) => session.read(&mut self.channel, buffer),
                None => self.channel.read(buffer),
            };
        }
        let mut received = self.fill_buf()?;
        let length = received.read(buffer)?;
        self.consume(length);
        Ok(length)
    }
}

impl Write for Wire {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        if self.output.len() + octets.len() > OUTPUT {
            self.flush_output()?;
        }
        if octets.len() >= OUTPUT {
            self.write_now(octets)?;
        } else {
            self.output.extend_from_slice(octets);
        }
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.flush_output()
    }
}

/// The connection that standard input is, and the address of its client: inetd and systemd start a program so.
pub fn on_standard_input() -> Option<(Socket, SocketAddr)> {
    let input = io::stdin().as_fd().try_clone_to_owned().ok()?;
    let stream = TcpStream::from(input);
    // Anything else than such a connection has no address of this kind.
    let peer = stream.peer_addr().ok()?;
    Some((Socket::Tcp(stream), peer))
}

/// What the octets go through, TLS or not.
#[derive(Debug)]
struct Channel {
    socket: Arc<Socket>,
    deadline: Instant,
    /// The socket's own limits, as they were last set.
    read_limit: Option<Duration>,
    write_limit: Option<Duration>,
    /// Octets written since something was last read.
    unanswered: usize,
    no_delay: bool,
}

impl Channel {
    /// What is left until the deadline, and whether a limit that is set already serves as well: it may end the
    /// wait early, but by an eighth of what is left at most too late.
    fn limit(&self, set: Option<Duration>) -> io::Result<Option<Duration>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let serves = set.is_some_and(|set| set <= left + left / 8);
        Ok((!serves).then_some(left))
    }

    fn before_read(&mut self) -> io::Result<()> {
        if let Some(limit) = self.limit(self.read_limit)? {
            self.socket.set_read_timeout(limit)?;
            self.read_limit = Some(limit);
        }
        Ok(())
    }

    fn before_write(&mut self, octets: usize) -> io::Result<()> {
        if self.unanswered > 0 {
            // The system would keep the second of two small writes back until the first is acknowledged, which
            // the other side does late.
            self.no_delay()?;
        }
        self.unanswered = self.unanswered.saturating_add(octets);
        if self.unanswered > NEVER_BLOCKS
            && let Some(limit) = self.limit(self.write_limit)?
        {
            self.socket.set_write_timeout(limit)?;
            self.write_limit = Some(limit);
        }
        Ok(())
    }

    fn no_delay(&mut self) -> io::Result<()> {
        if let (Socket::Tcp(stream), false) = (&*self.socket, self.no_delay) {
            stream.set_nodelay(true)?;
            self.no_delay = true;
        }
        Ok(())
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Whether to try once more: a signal came, or the socket's limit is over before the deadline.
fn is_early(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
    )
}

impl Read for Channel {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.before_read()?;
            match self.socket.read(buffer) {
                Err(e) if is_early(&e) => {}
                done => {
                    self.unanswered = 0;
                    return done;
                }
            }
        }
    }
}

impl Write for Channel {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(octets)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let octets = slices.iter().map(|s| s.len()).sum();
        loop {
            self.before_write(octets)?;
            match self.socket.write(slices) {
                Err(e) if is_early(&e) => {}
                done => return done,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
