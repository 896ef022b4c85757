//! One connection as a stream of octets: plain or TLS, with a deadline that no trickle of octets moves.
//!
//! Whoever uses it sets [`Wire::set_limit`] before each step of its protocol, reads through [`BufRead`] and
//! writes through [`Write`]; what is written waits for [`Write::flush`], so that a group of commands is one
//! packet. After a write has failed, reading goes on: what the other side said before it closed is still there,
//! and tells why it did.
//!
//! The system is asked for as little as possible. The socket's own time limits are changed only when they would
//! end a wait too late; a wait that ends too early is begun again.

use std::fs::File;
use std::io::{self, BufRead, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::tls::Session;

/// Octets read at a time.
const INPUT: usize = 8 * 1024;
/// Octets that are kept back for one write.
const OUTPUT: usize = 32 * 1024;
/// Octets that fit into any socket's send buffer. As long as no more are unanswered, a write does not block.
const NEVER_BLOCKS: usize = 8 * 1024;

/// A connection.
#[derive(Debug)]
pub struct Wire {
    channel: Channel,
    tls: Option<Box<Session>>,
    input: Vec<u8>,
    /// How much of `input` was consumed.
    consumed: usize,
    output: Vec<u8>,
}

impl Wire {
    /// Connects, within `limit`.
    pub fn connect(address: &SocketAddr, limit: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(address, limit)?;
        Ok(Self::new(End::Tcp(stream), limit))
    }

    /// A connection that was accepted, and how long its first step may take.
    pub fn accepted(stream: TcpStream, limit: Duration) -> Self {
        Self::new(End::Tcp(stream), limit)
    }

    /// Two files, such as standard input and output. They know no deadlines: only their own user waits.
    pub fn files(input: File, output: File) -> Self {
        Self::new(End::Files { input, output }, Duration::ZERO)
    }

    fn new(end: End, limit: Duration) -> Self {
        Self {
            channel: Channel {
                end,
                deadline: Instant::now() + limit,
                read_limit: None,
                write_limit: None,
                unanswered: 0,
                no_delay: false,
            },
            tls: None,
            input: Vec::new(),
            consumed: 0,
            output: Vec::new(),
        }
    }

    /// All that is done from now on must be over within `limit`, or fails as `TimedOut`.
    pub fn set_limit(&mut self, limit: Duration) {
        self.channel.deadline = Instant::now() + limit;
    }

    /// What was received and not consumed yet.
    pub fn received(&self) -> &[u8] {
        self.input.get(self.consumed..).unwrap_or_default()
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

    /// The address of this end.
    pub fn local_address(&self) -> Option<SocketAddr> {
        match &self.channel.end {
            End::Tcp(stream) => stream.local_addr().ok(),
            End::Files { .. } => None,
        }
    }

    /// Whether the other end is on this machine.
    pub fn is_local(&self) -> bool {
        match &self.channel.end {
            End::Tcp(stream) => stream
                .peer_addr()
                .is_ok_and(|a| a.ip().to_canonical().is_loopback()),
            End::Files { .. } => true,
        }
    }

    /// Ends the connection at once. What was not flushed is not sent.
    pub fn abandon(&mut self) {
        self.output.clear();
        if let End::Tcp(stream) = &self.channel.end {
            // An error means that it is closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Ends the connection in an orderly way, as far as the other side lets it.
    pub fn close(mut self) {
        if let Some(session) = &mut self.tls {
            let _ = session.close(&mut self.channel);
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
        octets.clear();
        self.output = octets;
        done
    }
}

impl BufRead for Wire {
    /// Empty when the other side has closed.
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.received().is_empty() {
            self.input.resize(INPUT, 0);
            self.consumed = INPUT;
            let length = match &mut self.tls {
                Some(session) => session.read(&mut self.channel, &mut self.input),
                None => self.channel.read(&mut self.input),
            };
            self.input.truncate(*length.as_ref().unwrap_or(&0));
            self.consumed = 0;
            length?;
        }
        Ok(self.received())
    }

    fn consume(&mut self, amount: usize) {
        self.consumed = self.input.len().min(self.consumed + amount);
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
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

/// What the octets go through, TLS or not.
#[derive(Debug)]
struct Channel {
    end: End,
    deadline: Instant,
    /// The socket's own limits, as they were last set.
    read_limit: Option<Duration>,
    write_limit: Option<Duration>,
    /// Octets written since something was last read.
    unanswered: usize,
    no_delay: bool,
}

#[derive(Debug)]
enum End {
    Tcp(TcpStream),
    Files { input: File, output: File },
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
        if let End::Tcp(stream) = &self.end
            && let Some(limit) = self.limit(self.read_limit)?
        {
            stream.set_read_timeout(Some(limit))?;
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
        if let End::Tcp(stream) = &self.end
            && self.unanswered > NEVER_BLOCKS
            && let Some(limit) = self.limit(self.write_limit)?
        {
            stream.set_write_timeout(Some(limit))?;
            self.write_limit = Some(limit);
        }
        Ok(())
    }

    fn no_delay(&mut self) -> io::Result<()> {
        if let (End::Tcp(stream), false) = (&self.end, self.no_delay) {
            stream.set_nodelay(true)?;
            self.no_delay = true;
        }
        Ok(())
    }
}

/// Whether to try once more: a signal came, or the socket's limit is over before the deadline.
fn is_early(error: &io::Error, end: &End) -> bool {
    match error.kind() {
        io::ErrorKind::Interrupted => true,
        io::ErrorKind::WouldBlock => matches!(end, End::Tcp(_)),
        _ => false,
    }
}

impl Read for Channel {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.before_read()?;
            let done = match &mut self.end {
                End::Tcp(stream) => stream.read(buffer),
                End::Files { input, .. } => input.read(buffer),
            };
            match done {
                Err(e) if is_early(&e, &self.end) => {}
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
            let done = match &mut self.end {
                End::Tcp(stream) => stream.write_vectored(slices),
                End::Files { output, .. } => output.write_vectored(slices),
            };
            match done {
                Err(e) if is_early(&e, &self.end) => {}
                done => return done,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
