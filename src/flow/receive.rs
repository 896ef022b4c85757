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

use std::io::{self, ErrorKind, Read, Write};

use crate::proto::command::HANDSHAKE;
use crate::proto::data::{DataFault, DataReader};
use crate::proto::replies::{self, Reply};
use crate::proto::session::{Policy, Session, Then, Transaction};

/// Where a message goes, piece by piece. A refusal is the reply to the client.
///
/// The calls come as `begin`, any number of `write`, then `commit` or `abort`. After a `begin` or `commit` that
/// failed nothing follows; after a `write` that failed, `abort`.
pub trait Accept {
    /// A message is to come.
    fn begin(&mut self, transaction: &Transaction) -> Result<(), Reply>;

    /// The next octets, canonical: dots taken out, every line ended by CRLF.
    fn write(&mut self, octets: &[u8]) -> Result<(), Reply>;

    /// That was all. Once this returns the message's queue id, the message survives a power cut.
    fn commit(&mut self) -> Result<String, Reply>;

    /// The message is not to be kept.
    fn abort(&mut self);
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The client stopped sending without QUIT.
    Gone,
    /// The server closes, after QUIT or for another reason. The last reply is sent, but there may be unread input;
    /// a socket must be closed so that the reply is not destroyed by it.
    HungUp,
    /// The client was too slow; it was told.
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

/// Holds a session on a stream until one side ends it.
///
/// # Errors
/// What reading or writing failed with; there is nobody left to be told. A time-out of the stream is no error: it
/// is said with 421.
pub fn serve<S: Read + Write>(
    stream: &mut S,
    session: &mut Session,
    policy: &mut dyn Policy,
    sink: &mut dyn Accept,
) -> io::Result<Ended> {
    let mut wire = Wire::new(stream);
    match converse(&mut wire, session, policy, sink) {
        Err(e) if matches!(e.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => {
            wire.say(&replies::TIMED_OUT)?;
            wire.flush()?;
            Ok(Ended::TimedOut)
        }
        ended => ended,
    }
}

fn converse<S: Read + Write>(
    wire: &mut Wire<'_, S>,
    session: &mut Session,
    policy: &mut dyn Policy,
    sink: &mut dyn Accept,
) -> io::Result<Ended> {
    if let Some(greeting) = session.greeting() {
        wire.say(&greeting)?;
    }
    loop {
        let (reply, then) = match wire.line(session.line_limit())? {
            Line::Whole(line) => session.command(&line, wire.is_behind(), policy),
            Line::TooLong => session.line_too_long(),
            Line::Endless => (replies::LINE_WITHOUT_END, Then::HangUp),
            Line::Handshake => (replies::NOT_SMTP, Then::HangUp),
            Line::Gone => return Ok(Ended::Gone),
        };
        let then = if then == Then::ReadData {
            match receive(wire, &reply, session, sink)? {
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

/// DATA, from 354 to the reply to the message; `None` when the client went away.
fn receive<S: Read + Write>(
    wire: &mut Wire<'_, S>,
    ready: &Reply,
    session: &mut Session,
    sink: &mut dyn Accept,
) -> io::Result<Option<Then>> {
    let begun = match session.transaction() {
        Some(transaction) => sink.begin(transaction),
        None => Err(replies::CANNOT_STORE),
    };
    if let Err(reply) = begun {
        let (reply, then) = session.refuse_data(reply, wire.is_behind());
        wire.say(&reply)?;
        return Ok(Some(then));
    }
    let mut message = Message { sink, open: true };
    wire.say(ready)?;
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
    /// the text or of the disk the rest is only read: refused in its middle, it would be taken for commands.
    fn read<S: Read + Write>(
        &mut self,
        wire: &mut Wire<'_, S>,
        limit: u64,
    ) -> io::Result<Option<Result<(), Reply>>> {
        let mut reader = DataReader::new(limit);
        let mut text = Vec::with_capacity(DATA_BLOCK);
        let mut taken = Ok(());
        loop {
            let progress = reader.feed(wire.unread(), &mut text);
            wire.take(progress.consumed);
            if taken.is_ok() {
                let fault = reader.fault().map_or(Ok(()), |fault| Err(refusal(fault)));
                taken = fault.and_then(|()| self.sink.write(&text));
                if taken.is_err() {
                    self.abort();
                }
            }
            text.clear();
            if progress.ended {
                wire.give_back();
                return Ok(Some(taken));
            }
            if !wire.fill(DATA_BLOCK)? {
                return Ok(None);
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

/// Octets read at a time for commands; an idle connection holds no more.
const COMMAND_BLOCK: usize = 2 * 1024;
/// Octets read at a time for a message; held only while it comes.
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
    input: Vec<u8>,
    /// How much of `input` was used already.
    taken: usize,
    output: Vec<u8>,
}

impl<'a, S: Read + Write> Wire<'a, S> {
    fn new(stream: &'a mut S) -> Self {
        Self {
            stream,
            input: Vec::new(),
            taken: 0,
            output: Vec::new(),
        }
    }

    /// What was read and not used yet.
    fn unread(&self) -> &[u8] {
        self.input.get(self.taken..).unwrap_or_default()
    }

    fn is_behind(&self) -> bool {
        !self.unread().is_empty()
    }

    fn take(&mut self, octets: usize) {
        self.taken = (self.taken + octets).min(self.input.len());
    }

    /// The memory a message needed is not an idle connection's.
    fn give_back(&mut self) {
        self.input.drain(..self.taken);
        self.taken = 0;
        self.input.shrink_to(COMMAND_BLOCK);
    }

    /// Reads up to `room` octets more; false when no more will come. Everything unsent goes out before.
    fn fill(&mut self, room: usize) -> io::Result<bool> {
        self.flush()?;
        self.input.drain(..self.taken);
        self.taken = 0;
        let held = self.input.len();
        self.input.resize(held + room, 0);
        let read = loop {
            // held is less than the length, which has just grown.
            match self.stream.read(&mut self.input[held..]) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.input.truncate(held + *read.as_ref().unwrap_or(&0));
        Ok(read? > 0)
    }

    /// The next line of at most `limit` octets. A bare LF ends a command as well as CRLF does: it can hide
    /// nothing there, and scripts that talk to `-bs` send it. Message text has stricter rules.
    fn line(&mut self, limit: usize) -> io::Result<Line> {
        let mut skipped = 0;
        loop {
            let unread = self.unread();
            if let Some(at) = unread.iter().position(|b| *b == b'\n') {
                let (line, _) = unread.split_at(at);
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                let found = if skipped + at > MAX_SKIPPED {
                    Line::Endless
                } else if skipped > 0 || line.len() > limit {
                    Line::TooLong
                } else {
                    Line::Whole(line.to_vec())
                };
                self.take(at + 1);
                return Ok(found);
            }
            if skipped == 0 && unread.first() == Some(&HANDSHAKE) {
                return Ok(Line::Handshake);
            }
            // One more than the limit may be the CR of the line end.
            if unread.len() > limit + 1 {
                skipped += unread.len();
                self.take(unread.len());
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
            self.stream.write_all(&self.output)?;
            self.stream.flush()?;
            self.output.clear();
        }
        Ok(())
    }
}
