//! What octets go through on their way to a socket: the deadline, kept with as few calls as it takes.

use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Socket;

/// Octets that fit into any socket's send buffer. As long as no more are unanswered, a write does not block.
const NEVER_BLOCKS: usize = 8 * 1024;

/// What the octets go through, TLS or not.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) socket: Arc<Socket>,
    pub(super) deadline: Instant,
    /// The socket's own limits, as they were last set.
    read_limit: Option<Duration>,
    pub(super) write_limit: Option<Duration>,
    /// Octets written since something was last read.
    unanswered: usize,
    no_delay: bool,
}

impl Channel {
    /// Through this socket; the first step may take as long as `limit`.
    pub(super) fn new(socket: Arc<Socket>, limit: Duration) -> Self {
        Self {
            socket,
            deadline: Instant::now() + limit,
            read_limit: None,
            write_limit: None,
            unanswered: 0,
            no_delay: false,
        }
    }

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

    pub(super) fn no_delay(&mut self) -> io::Result<()> {
        if let (Socket::Tcp(stream), false) = (&*self.socket, self.no_delay) {
            stream.set_nodelay(true)?;
            self.no_delay = true;
        }
        Ok(())
    }
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
