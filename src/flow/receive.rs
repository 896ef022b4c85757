//! A session on a stream: lines go to the session, replies go back, messages go to whoever accepts them.
//!
//! 1. The greeting is said; then one line after the other is read and answered.
//! 2. Replies are sent when there is no more input to answer (RFC 2920 3.1), and before every wait.
//! 3. DATA: [`Accept::begin`] first, so that a full disk is said before the client sends; then 354; then the
//!    message is passed on as it comes, and read to its end even when it is refused; 250 only once
//!    [`Accept::commit`] has returned.
//! 4. When the client goes away in the middle, or reading or writing fails, [`Accept::abort`]: nothing is kept.
//!
//! What is held in memory: one line, or one block of a message.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::ops::Range;

use crate::proto::command::HANDSHAKE;
use crate::proto::data::{DataFault, DataReader, lengthen};
use crate::proto::replies::{self, Reply};
use crate::proto::session::{Policy, Session, Then};
use crate::proto::transaction::Transaction;

/// Where a message goes, piece by piece. A refusal is the reply to the client.
///
/// The calls come as `begin`, any number of `write`, then `commit` or `abort`. After a `begin` or `commit` that
/// failed nothing follows; after a `write` that failed, `abort`.
pub trait Accept {
    /// A message is to come.
    fn begin(&mut self, transaction: &Transaction) -> Result<(), Reply>;

    /// The next octets, canonical: dots taken out, every line ended by CRLF.
    fn write(&mut self, octets: &[u8]) -> Result<(), Reply>;

    /// The text is refused for what it is, before the rest of it comes here; `abort` follows.
    fn refused(&mut self, _reply: &Reply) {}

    /// That was all. Once this returns the message's queue id, the message survives a power cut.
    fn commit(&mut self) -> Result<String, Reply>;

    /// The message is not to be kept.
    fn abort(&mut self);
}

/// What a session is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// A command, or the answer to a challenge.
    Command {
        /// Whether it belongs to a message that the client has begun to send.
        in_transaction: bool,
    },
    /// A message, to its last octet.
    Message,
}

/// What a session is held on.
pub trait Stream: Read + Write {
    /// From now on the session waits for this, so that the stream knows how long reading may take. A read that takes
    /// too long fails as `TimedOut`; one that is to fail with another reply, as [`Closing`].
    fn expect(&mut self, _next: Wait) {}

    /// Whether others wait for this place, so that nothing is done for politeness alone.
    fn is_wanted(&self) -> bool {
        false
    }
}

/// Why a stream reads nothing more, as the reply to the client.
#[derive(Debug)]
pub struct Closing(pub Reply);

impl fmt::Display for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Closing {}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The client stopped sending without QUIT.
    Gone,
    /// The server closes, after QUIT or for another reason. The last reply is sent, but there may be unread input;
    /// a socket must be closed so that the reply is not destroyed by it.
    HungUp,
    /// The client was too slow, or is to go for another reason; it was told.
    TimedOut,
    /// STARTTLS was answered, and nothing had followed it: after the handshake and [`Session::tls_started`],
    /// [`serve`] goes on with the same session.
    StartTls,
}

/// Two streams as one: standard input and output.
#[derive(Debug)]
pub struct Duplex<R, W> {
    /// What is read.
    pub input: R,
    /// What is written.
    pub output: W,
}

impl<R: Read, W> Read for Duplex<R, W> {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        self.input.read(block)
    }
}

impl<R, W: Write> Write for Duplex<R, W> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.output.write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

impl<R: Read, W: Write> Stream for Duplex<R, W> {}

/// Holds a session on a stream until one side ends it.
///
/// # Errors
/// What reading or writing failed with; there is nobody left to be told. A time-out of the stream is no error: it
/// is said with 421.
pub fn serve<S: Stream>(
    stream: &mut S,
    session: &mut Session,
    policy: &mut dyn Policy,
    sink: &mut dyn Accept,
) -> io::Result<Ended> {
    let mut wire = Wire::new(stream);
    match converse(&mut wire, session, policy, sink) {
        Err(error) => {
            let reply = last_words(error)?;
            // With no message begun, silence is nobody's loss.
            if reply == replies::TIMED_OUT && session.transaction().is_some() {
                policy.closed(&reply);
            }
            wire.say(&reply)?;
            wire.flush()?;
            Ok(Ended::TimedOut)
        }
        ended => ended,
    }
}

/// What is said to a client that nothing more is read from; an error when nobody is there to hear it.
fn last_words(error: io::Error) -> io::Result<Reply> {
    if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) {
        return Ok(replies::TIMED_OUT);
    }
    let closing = error.get_ref().and_then(|e| e.downcast_ref::<Closing>());
    match closing {
        Some(Closing(reply)) => Ok(reply.clone()),
        None => Err(error),
    }
}

fn converse<S: Stream>(
    wire: &mut Wire<'_, S>,
    session: &mut Session,
    policy: &mut dyn Policy,
    sink: &mut dyn Accept,
) -> io::Result<Ended> {
    if let Some(greeting) = session.greeting() {
        wire.say(&greeting)?;
    }
    loop {
        let in_transaction = session.transaction().is_some();
        wire.stream.expect(Wait::Command { in_transaction });
        let (reply, then) = match wire.line(session.line_limit())? {
            Line::Whole(line) => session.command(&line, wire.is_behind(), policy),
            Line::TooLong => session.line_too_long(policy),
            Line::Endless => hang_up(replies::LINE_WITHOUT_END, policy),
            Line::Handshake => hang_up(replies::NOT_SMTP, policy),
            Line::Gone => return Ok(Ended::Gone),
        };
        let then = if then == Then::ReadData {
            match receive(wire, &reply, session, policy, sink)? {
                Some(then) => then,
                None => return Ok(Ended::Gone),
            }
        } else {
            wire.say(&reply)?;
            then
        };
        let ended = match then {
            Then::Continue | Then::ReadData => continue,
            Then::StartTls => Ended::StartTls,
            Then::HangUp => Ended::HungUp,
        };
        wire.flush()?;
        return Ok(ended);
    }
}

/// The session ends with what is no line.
fn hang_up(reply: Reply, policy: &mut dyn Policy) -> (Reply, Then) {
    policy.closed(&reply);
    (reply, Then::HangUp)
}

/// DATA, from 354 to the reply to the message; `None` when the client went away.
fn receive<S: Stream>(
    wire: &mut Wire<'_, S>,
    ready: &Reply,
    session: &mut Session,
    policy: &mut dyn Policy,
    sink: &mut dyn Accept,
) -> io::Result<Option<Then>> {
    let begun = match session.transaction() {
        Some(transaction) => sink.begin(transaction),
        None => Err(replies::CANNOT_STORE),
    };
    if let Err(reply) = begun {
        let (reply, then) = session.refuse_data(reply, wire.is_behind(), policy);
        wire.say(&reply)?;
        return Ok(Some(then));
    }
    let mut message = Message { sink, open: true };
    wire.say(ready)?;
    wire.stream.expect(Wait::Message);
    let Some(taken) = message.read(wire, session.size_limit())? else {
        return Ok(None);
    };
    let verdict = taken.and_then(|()| message.commit());
    let (answers, then) = session.data_end(verdict);
    for reply in &answers {
        wire.say(reply)?;
    }
    // A message must not come a second time because its answer waited for the answers to what was behind it.
    wire.flush()?;
    Ok(Some(then))
}

/// A message that was begun. Unless it is committed, its end is an abort, whichever way that comes.
struct Message<'a> {
    sink: &'a mut dyn Accept,
    /// Begun, and neither committed nor aborted.
    open: bool,
}

impl Message<'_> {
    /// Reads to the end mark and passes the text on; `None` when the client went away before it. After a fault of
    /// the text or of the disk the rest is only read: refused in its middle, it would be taken for commands. One that
    /// goes on and on, or that keeps others waiting, is refused where it is, and the session ends with it.
    fn read<S: Stream>(
        &mut self,
        wire: &mut Wire<'_, S>,
        limit: u64,
    ) -> io::Result<Option<Result<(), Reply>>> {
        let mut reader = DataReader::new(limit);
        let mut text = Vec::new();
        let mut room = FIRST_BLOCK;
        let mut taken: Result<(), Reply> = Ok(());
        let mut patience = limit.clamp(LEAST_PATIENCE, MOST_PATIENCE);
        loop {
            let progress = reader.feed(wire.unread(), &mut text);
            wire.take(progress.consumed);
            if let (Err(reply), false) = (&taken, progress.ended) {
                patience = patience.saturating_sub(progress.consumed as u64);
                if patience == 0 || wire.stream.is_wanted() {
                    return Err(io::Error::other(Closing(reply.clone())));
                }
            }
            if taken.is_ok() {
                taken = match reader.fault().map(refusal) {
                    None => self.sink.write(&text),
                    Some(reply) => {
                        self.sink.refused(&reply);
                        Err(reply)
                    }
                };
                if taken.is_err() {
                    self.abort();
                }
            }
            text.clear();
            if progress.ended {
                wire.give_back();
                return Ok(Some(taken));
            }
            if !wire.fill(room)? {
                return Ok(None);
            }
            // Where more comes than there is room for, the next piece may be larger.
            if wire.unread().len() >= room {
                room = (room * 4).min(DATA_BLOCK);
            }
        }
    }

    fn commit(&mut self) -> Result<String, Reply> {
        self.open = false;
        self.sink.commit()
    }

    fn abort(&mut self) {
        if std::mem::replace(&mut self.open, false) {
            self.sink.abort();
        }
    }
}

impl Drop for Message<'_> {
    fn drop(&mut self) {
        self.abort();
    }
}

fn refusal(fault: DataFault) -> Reply {
    match fault {
        DataFault::BareCr | DataFault::BareLf => replies::BARE_LINE_END,
        DataFault::Nul => replies::NUL_IN_MESSAGE,
        DataFault::TooBig => replies::TOO_BIG,
    }
}

/// Octets of a message that are read although it is refused already: as much as one may have, within these bounds.
const LEAST_PATIENCE: u64 = 4 * 1024 * 1024;
const MOST_PATIENCE: u64 = 64 * 1024 * 1024;
/// Octets read at a time for commands; an idle connection holds no more.
const COMMAND_BLOCK: usize = 512;
/// Octets read at a time for a message, at first and at most; held only while it comes.
const FIRST_BLOCK: usize = 4 * 1024;
const DATA_BLOCK: usize = 32 * 1024;
/// Replies held back while there is input to answer.
const MAX_UNSENT: usize = 4 * 1024;
/// An overlong line is skipped up to here; what goes on beyond is no line.
const MAX_SKIPPED: usize = 128 * 1024;

/// What [`Wire::line`] found.
enum Line {
    /// A line, without its line end.
    Whole(Vec<u8>),
    /// A line over the limit, all of it skipped.
    TooLong,
    /// More than [`MAX_SKIPPED`] octets without a line end.
    Endless,
    /// A TLS handshake, which has no line end to wait for (RFC 8446 5.1).
    Handshake,
    /// No more input; an unfinished line counts for nothing.
    Gone,
}

/// A stream with what was read too far, and what is yet to be written.
struct Wire<'a, S> {
    stream: &'a mut S,
    /// Room to read into; `unread` tells the part in use.
    buffer: Vec<u8>,
    /// Where in the buffer that stands which was read and not used yet; never beyond its length.
    unread: Range<usize>,
    output: Vec<u8>,
}

impl<'a, S: Stream> Wire<'a, S> {
    fn new(stream: &'a mut S) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            unread: 0..0,
            output: Vec::new(),
        }
    }

    fn unread(&self) -> &[u8] {
        self.buffer.get(self.unread.clone()).unwrap_or_default()
    }

    fn is_behind(&self) -> bool {
        !self.unread.is_empty()
    }

    fn take(&mut self, octets: usize) {
        self.unread.start = (self.unread.start + octets).min(self.unread.end);
    }

    /// Moves the unread octets to the buffer's beginning.
    fn settle(&mut self) {
        self.buffer.copy_within(self.unread.clone(), 0);
        self.unread = 0..self.unread.len();
    }

    /// The memory a message needed is not an idle connection's.
    fn give_back(&mut self) {
        self.settle();
        self.buffer.truncate(self.unread.end);
        self.buffer.shrink_to(COMMAND_BLOCK);
    }

    /// Reads up to `room` octets more; false when no more will come. Everything unsent goes out before.
    fn fill(&mut self, room: usize) -> io::Result<bool> {
        self.flush()?;
        self.settle();
        let held = self.unread.end;
        if self.buffer.len() < held + room {
            lengthen(&mut self.buffer, held + room);
        }
        loop {
            // The buffer is at least this long since the lines above.
            match self.stream.read(&mut self.buffer[held..held + room]) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
                Ok(read) => {
                    self.unread.end += read.min(room);
                    return Ok(read > 0);
                }
            }
        }
    }

    /// The next line of at most `limit` octets. A bare LF ends a command as well as CRLF does: it can hide
    /// nothing there, and scripts that talk to `-bs` send it. Message text has stricter rules.
    fn line(&mut self, limit: usize) -> io::Result<Line> {
        let mut skipped = 0;
        // Octets of the unread ones that were looked at already: one octet a read must not cost a look at all.
        let mut seen = 0;
        loop {
            let unread = self.unread();
            let new = unread.get(seen..).unwrap_or_default();
            if let Some(at) = new.iter().position(|b| *b == b'\n') {
                let (line, _) = unread.split_at(seen + at);
                let length = line.len();
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                let found = if skipped + length > MAX_SKIPPED {
                    Line::Endless
                } else if skipped > 0 || line.len() > limit {
                    Line::TooLong
                } else {
                    Line::Whole(line.to_vec())
                };
                self.take(length + 1);
                return Ok(found);
            }
            if skipped == 0 && unread.first() == Some(&HANDSHAKE) {
                return Ok(Line::Handshake);
            }
            seen = unread.len();
            // One more than the limit may be the CR of the line end.
            if seen > limit + 1 {
                skipped += seen;
                self.take(seen);
                seen = 0;
            }
            if skipped > MAX_SKIPPED {
                return Ok(Line::Endless);
            }
            if !self.fill(COMMAND_BLOCK)? {
                return Ok(Line::Gone);
            }
        }
    }

    fn say(&mut self, reply: &Reply) -> io::Result<()> {
        reply.write_to(&mut self.output);
        if self.output.len() > MAX_UNSENT {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.output.is_empty() {
            // Nothing is kept for the next reply: most of the time an open connection is silent.
            let output = std::mem::take(&mut self.output);
            self.stream.write_all(&output)?;
            self.stream.flush()?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "../../tests/harness/transcript.rs"]
mod transcript;

#[cfg(test)]
mod tests;
