//! A socket, of the network or of this system: how it is connected, and what is asked of both kinds alike.

use std::io::{self, IoSlice, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;

/// What is told of a socket of this system that lets nobody in.
pub(super) const FULL: &str = "nobody is let in there, and too many wait for it already";

/// A connected socket, of the network or of this system.
#[derive(Debug)]
pub enum Socket {
    /// Of the network.
    Tcp(TcpStream),
    /// Of this system.
    Unix(UnixStream),
}

impl Socket {
    /// Connects, within `limit`, from an address of this machine if one is given. Returned is also the time that a write has
    /// by now.
    pub(super) fn connect(
        address: &SocketAddr,
        from: Option<IpAddr>,
        limit: Duration,
    ) -> io::Result<(Self, Duration)> {
        let domain = socket2::Domain::for_address(*address);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
        if let Some(from) = from {
            socket.bind(&SocketAddr::new(from, 0).into())?;
        }
        let bound = connect(&socket, &(*address).into(), limit)?;
        Ok((Self::Tcp(socket.into()), bound))
    }

    /// The same to a socket of this system.
    pub(super) fn connect_local(path: &Path, limit: Duration) -> io::Result<(Self, Duration)> {
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
        let to = socket2::SockAddr::unix(path)?;
        let bound = connect(&socket, &to, limit).map_err(|e| match e.kind() {
            io::ErrorKind::TimedOut => io::Error::new(io::ErrorKind::TimedOut, FULL),
            _ => e,
        })?;
        let stream = UnixStream::from(OwnedFd::from(socket));
        Ok((Self::Unix(stream), bound))
    }

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

    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&*stream).read(buffer),
            Self::Unix(stream) => (&*stream).read(buffer),
        }
    }

    /// A plain write to a socket never raises SIGPIPE; the vectored one needs it to be ignored, as Rust's start-up
    /// has it.
    pub(super) fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match (self, slices) {
            (Self::Tcp(stream), [one]) => (&*stream).write(one),
            (Self::Unix(stream), [one]) => (&*stream).write(one),
            (Self::Tcp(stream), _) => (&*stream).write_vectored(slices),
            (Self::Unix(stream), _) => (&*stream).write_vectored(slices),
        }
    }

    pub(super) fn set_read_timeout(&self, limit: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_read_timeout(Some(limit)),
            Self::Unix(stream) => stream.set_read_timeout(Some(limit)),
        }
    }

    pub(super) fn set_write_timeout(&self, limit: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_write_timeout(Some(limit)),
            Self::Unix(stream) => stream.set_write_timeout(Some(limit)),
        }
    }
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

/// The connection that standard input is, and the address of its client: inetd and systemd start a program so.
pub fn on_standard_input() -> Option<(Socket, SocketAddr)> {
    let input = io::stdin().as_fd().try_clone_to_owned().ok()?;
    let stream = TcpStream::from(input);
    // Anything else than such a connection has no address of this kind.
    let peer = stream.peer_addr().ok()?;
    Some((Socket::Tcp(stream), peer))
}
