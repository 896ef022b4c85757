//! One connection as a stream of octets: plain or TLS, with a deadline that no trickle of octets moves.
//!
//! Whoever uses it sets [`Wire::set_limit`] before each step of its protocol, reads through [`BufRead`] and
//! writes through [`Write`]; what is written waits for [`Write::flush`], so that a group of commands is one
//! packet. After a write has failed, reading goes on: what the other side said before it closed is still there,
//! and tells why it did.
//!
//! The system is asked for as little as possible. The socket's own time limits are changed only when they would
//! end a wait too late; a wait that ends too early is begun again.

mod channel;
mod socket;

use std::io::{self, BufRead, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::channel::Channel;
pub use self::socket::{Socket, on_standard_input};
use super::tls::{Session, Trust};

/// Octets read at a time.
const INPUT: usize = 8 * 1024;
/// A buffer of so many octets is read into at once.
const ROOMY: usize = 512;
/// Octets that are kept back for one write.
const OUTPUT: usize = 32 * 1024;
/// Octets that are read and thrown away from a client that goes on after it was told to go.
const MOST_THROWN_AWAY: usize = 256 * 1024;

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

impl Wire {
    /// Connects, within `limit`, from an address of this machine if one is given.
    pub fn connect(
        address: &SocketAddr,
        from: Option<IpAddr>,
        limit: Duration,
    ) -> io::Result<Self> {
        let connected = Socket::connect(address, from, limit)?;
        Ok(Self::connected(connected, limit))
    }

    /// Connects to a socket of this system, within `limit`. It may be as far as the other side's line, which is full
    /// when nobody is let in.
    pub fn connect_local(path: &Path, limit: Duration) -> io::Result<Self> {
        let connected = Socket::connect_local(path, limit)?;
        Ok(Self::connected(connected, limit))
    }

    fn connected((socket, write_limit): (Socket, Duration), limit: Duration) -> Self {
        let mut wire = Self::shared(Arc::new(socket), limit);
        wire.channel.write_limit = Some(write_limit);
        wire
    }

    /// The other end of a connection, in tests.
    #[cfg(test)]
    pub fn accepted(stream: std::net::TcpStream, limit: Duration) -> Self {
        Self::shared(Arc::new(Socket::Tcp(stream)), limit)
    }

    /// A connection that was made, on a socket that somebody else may shut down, and how long its first step may take.
    pub fn shared(socket: Arc<Socket>, limit: Duration) -> Self {
        Self {
            channel: Channel::new(socket, limit),
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

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests;
