//! The two sides of an SMTP connection, taking turns: what is said, what is heard, how long that may take, and what
//! `-v` shows of it.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::stopping::InHand;
use crate::host::tls;
use crate::host::wire::Wire;
use crate::host::words;
use crate::proto::address::Domain;
use crate::proto::reply::{Enhanced, Reply, ReplyReader};

/// The two sides of a connection, taking turns.
pub struct Dialogue<'a> {
    /// The connection.
    pub wire: Wire,
    reader: ReplyReader,
    /// What it shares with all others.
    pub outgoing: &'a Outgoing<'a>,
    /// When all that comes before MAIL must be over, until it is.
    pub opening: Option<Instant>,
    broken: bool,
}

impl<'a> Dialogue<'a> {
    /// On a connection that was just made.
    pub fn new(wire: Wire, outgoing: &'a Outgoing<'a>, opening: Instant) -> Self {
        Self {
            wire,
            reader: ReplyReader::default(),
            outgoing,
            opening: Some(opening),
            broken: false,
        }
    }

    /// What a step may take of its time.
    fn left(&self, limit: Duration) -> Duration {
        let left = self.opening.map(left_until);
        left.map_or(limit, |left| left.min(limit))
    }

    /// Sends commands, with their line ends. When that fails, what the server said before it closed is still
    /// there: the next [`Dialogue::hear`] tells.
    pub fn say(&mut self, commands: &[u8]) {
        self.wire.set_limit(self.left(self.outgoing.timeouts.block));
        self.broken |= self
            .wire
            .write_all(commands)
            .and_then(|()| self.wire.flush())
            .is_err();
    }

    /// Waits for one reply.
    pub fn hear(&mut self, limit: Duration) -> Result<Reply, Trouble> {
        self.hear_secretly(limit, &[])
    }

    fn hear_secretly(&mut self, limit: Duration, secrets: &[String]) -> Result<Reply, Trouble> {
        let heard = self.read_reply(limit);
        match &heard {
            Ok(reply) if self.outgoing.trace.is_some() => {
                self.trace_reply(&reply.without(secrets));
            }
            Ok(_) => {}
            Err(_) => self.broken = true,
        }
        heard
    }

    fn read_reply(&mut self, limit: Duration) -> Result<Reply, Trouble> {
        let left = self.left(limit);
        self.wire.set_limit(left);
        loop {
            let received = self.wire.fill_buf().map_err(|e| match e.kind() {
                io::ErrorKind::TimedOut if left < limit => {
                    let minutes = self.outgoing.timeouts.opening.as_secs() / 60;
                    Trouble::new(BROKEN, format!("the server took more than {minutes} minutes over all that comes before MAIL"))
                }
                io::ErrorKind::TimedOut => {
                    let seconds = limit.as_secs();
                    Trouble::new(BROKEN, format!("no answer within {seconds} seconds"))
                }
                _ => Trouble::new(BROKEN, format!("the connection broke: {}", words(&e))),
            })?;
            if received.is_empty() {
                return Err(Trouble::new(BROKEN, "the server closed the connection"));
            }
            let (taken, reply) = self.reader.feed(received).map_err(|malformed| {
                Trouble::new(PROTOCOL, format!("the server's answer {malformed}"))
            })?;
            self.wire.consume(taken);
            if let Some(reply) = reply {
                return Ok(reply);
            }
        }
    }

    /// Whether the server has said something that it was not asked: the two sides are out of step, and nobody
    /// knows what its next reply is about (K11).
    pub fn is_out_of_step(&self) -> bool {
        !self.wire.received().is_empty()
    }

    /// Shows commands, unless they are secret.
    pub fn trace_commands(&self, commands: &[u8]) {
        if self.outgoing.trace.is_some() {
            for line in String::from_utf8_lossy(commands).lines() {
                self.outgoing.trace(&format!("> {line}"));
            }
        }
    }

    fn trace_reply(&self, reply: &Reply) {
        for (number, line) in reply.lines.iter().enumerate() {
            let last = number + 1 == reply.lines.len();
            let (code, dash) = (reply.code, if last { ' ' } else { '-' });
            self.outgoing.trace(&format!("< {code}{dash}{line}"));
        }
    }

    /// One command and its reply.
    pub fn ask(&mut self, command: &str) -> Result<Reply, Trouble> {
        self.ask_secretly(command, command, &[])
    }

    /// As [`Dialogue::ask`], with other words to show than are said, and nothing of these texts in what is shown of the
    /// reply. The reply itself is as it came: the login stands on its words.
    pub fn ask_secretly(
        &mut self,
        command: &str,
        shown: &str,
        secrets: &[String],
    ) -> Result<Reply, Trouble> {
        if self.is_out_of_step() {
            self.broken = true;
            return Err(Trouble::out_of_step());
        }
        self.trace_commands(shown.as_bytes());
        self.say(format!("{command}\r\n").as_bytes());
        self.hear_secretly(self.outgoing.timeouts.command, secrets)
    }

    /// Goes on with TLS, or never again.
    pub fn start_tls(&mut self, session: tls::Session) -> io::Result<()> {
        self.wire
            .set_limit(self.left(self.outgoing.timeouts.handshake));
        let done = self.wire.start_tls(session);
        self.broken |= done.is_err();
        if done.is_ok() {
            self.outgoing.trace("= TLS begins");
        }
        done
    }

    /// Says QUIT, waits a moment for the reply (RFC 5321 4.1.1.10), and closes.
    pub fn quit(mut self) {
        self.part();
        self.wire.close();
    }

    /// The same, and leaves it to its owner to drop the connection.
    pub fn part(&mut self) {
        if !self.broken && !self.is_out_of_step() {
            self.trace_commands(b"QUIT");
            self.say(b"QUIT\r\n");
            // Whatever it says, nothing more is wanted of it.
            let _ = self.hear(self.outgoing.timeouts.quit);
        }
    }
}

/// Why a dialogue cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Its status, of class 4.
    pub enhanced: Enhanced,
    /// A sentence's end, after what was waited for.
    pub text: String,
}

impl Trouble {
    /// The server has answered what was not asked.
    pub fn out_of_step() -> Self {
        let text = "the server broke the protocol: it answered what was not asked";
        Self::new(PROTOCOL, text)
    }

    fn new(enhanced: Enhanced, text: impl Into<String>) -> Self {
        Self {
            enhanced,
            text: text.into(),
        }
    }
}

/// Status of a connection that broke or fell silent (RFC 3463 3.5).
pub const BROKEN: Enhanced = Enhanced(4, 4, 2);
/// Status of a server that breaks the protocol.
const PROTOCOL: Enhanced = Enhanced(4, 5, 0);

/// How long each step may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Connecting to one address.
    pub connect: Duration,
    /// The TLS handshake.
    pub handshake: Duration,
    /// All that comes before MAIL: the addresses of a host, one after the other, and what is said to one that answers.
    pub opening: Duration,
    /// The greeting.
    pub greeting: Duration,
    /// The reply to EHLO, AUTH, MAIL, RCPT and the like.
    pub command: Duration,
    /// The reply to DATA.
    pub data: Duration,
    /// The sending of one block of the message.
    pub block: Duration,
    /// The reply to the final dot.
    pub dot: Duration,
    /// The reply to QUIT, and what a server that has closed said before.
    pub quit: Duration,
    /// `password_command`.
    pub password: Duration,
    /// The recipients of one message: after it no others are named to the server.
    pub recipients: Duration,
}

impl Default for Timeouts {
    /// Those of RFC 5321 4.5.3.2, where it has one. It has none for many steps together, each of which ends at the last
    /// moment.
    fn default() -> Self {
        const MINUTE: Duration = Duration::from_secs(60);
        Self {
            connect: MINUTE / 2,
            handshake: MINUTE,
            opening: 15 * MINUTE,
            greeting: 5 * MINUTE,
            command: 5 * MINUTE,
            data: 2 * MINUTE,
            block: 3 * MINUTE,
            dot: 10 * MINUTE, // shorter ones make duplicates (RFC 1047)
            quit: MINUTE / 12,
            password: MINUTE / 2,
            recipients: 30 * MINUTE,
        }
    }
}

impl Timeouts {
    /// No step longer than `command` or, where the message itself is on its way, `data`.
    pub fn capped(self, command: Duration, data: Duration) -> Self {
        Self {
            connect: self.connect.min(command),
            handshake: self.handshake.min(command),
            opening: self.opening,
            greeting: self.greeting.min(command),
            command: self.command.min(command),
            data: self.data.min(command),
            block: self.block.min(data),
            dot: self.dot.min(data),
            quit: self.quit.min(command),
            password: self.password.min(command),
            // What it cuts off is no command, and comes with the next attempt.
            recipients: self.recipients,
        }
    }
}

/// The time until then.
pub fn left_until(then: Instant) -> Duration {
    then.saturating_duration_since(Instant::now())
}

/// Addresses at which nobody answered in this run, and why: each try may cost the time of a connection, and hosts share
/// addresses.
#[derive(Debug, Default)]
pub struct Dead(Mutex<BTreeMap<SocketAddr, String>>);

impl Dead {
    /// Why it is not tried again.
    pub fn why(&self, address: &SocketAddr) -> Option<String> {
        self.lock().get(address).cloned()
    }

    /// Nobody answers there.
    pub fn bury(&self, address: SocketAddr, why: &str) {
        self.lock().insert(address, why.to_owned());
    }

    /// All of them are tried again.
    pub fn forget(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all connections of a worker share.
pub struct Outgoing<'a> {
    /// What this machine calls itself.
    pub hostname: &'a Domain,
    /// How long each step may take.
    pub timeouts: Timeouts,
    /// What TLS needs, made when it is needed.
    pub tls: &'a tls::Clients,
    /// Addresses at which nobody answered.
    pub dead: &'a Dead,
    /// Is shown each line of the dialogue, without passwords (`-v`).
    pub trace: Option<&'a (dyn Fn(&str) + Sync)>,
    /// The message that goes over them now.
    pub in_hand: InHand,
}

impl Outgoing<'_> {
    /// When all that comes before MAIL must be over at a host to which it begins now.
    pub fn opened_by(&self) -> Instant {
        Instant::now() + self.timeouts.opening
    }

    /// Shows a line.
    pub fn trace(&self, line: &str) {
        if let Some(trace) = self.trace {
            trace(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R97, K18: no step is given up before RFC 5321 4.5.3.2 allows it, and the keys of the configuration only shorten.
    #[test]
    fn each_step_has_its_time() {
        let all = Timeouts::default();
        let minutes = [all.greeting, all.command, all.data, all.block, all.dot];
        assert_eq!(minutes.map(|limit| limit.as_secs() / 60), [5, 5, 2, 3, 10]);
        let second = Duration::from_secs(1);
        let short = all.capped(7 * second, 90 * second);
        assert_eq!(
            (short.greeting, short.command, short.data),
            (7 * second, 7 * second, 7 * second)
        );
        assert_eq!((short.block, short.dot), (90 * second, 90 * second));
        let week = Duration::from_secs(7 * 24 * 3600);
        assert_eq!(all.capped(week, week), all);
    }
}
