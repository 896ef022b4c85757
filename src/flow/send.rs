//! Letters over one connection to another host, with an outcome for each recipient.
//!
//! For each letter:
//!
//! 1. when the server could not take the message as it is, a first look at it: what is to be converted
//! 2. when it is to be signed, a look at what will be sent: the signature stands before it
//! 3. a transaction (`proto/client.rs`), with the message streamed from where it is kept
//! 4. another one at once for those whom the server did not take at the same time
//!
//! Each command has the time that RFC 5321 4.5.3.2 gives it, but there may be thousands of RCPT, and a server that answers
//! each at the last moment would have a worker for days. So after half an hour no more recipients are named to it: who was
//! accepted gets the message, and the others are deferred.
//!
//! A message that cannot be read to its end never gets its final dot: the connection is broken off, and the
//! server forgets what it has seen (RFC 5321 4.1.1.4). A connection that was idle and is found closed is made
//! anew; nobody is deferred for that.

mod transact;

use self::transact::{Message, convert, run};
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use super::connect::{Target, UNVERIFIED, connect};
use super::dialogue::{Dialogue, Outgoing};
use super::text;
use crate::host::tls::{self, Trust};
use crate::host::{clock, words};
use crate::proto::address::Mailbox;
use crate::proto::client::{Command, Settled, Transaction, judged};
use crate::proto::dkim::sign::{Signable, Signing};
use crate::proto::letter::{Capabilities, Letter};
use crate::proto::mime::{self, Plan, Survey};
use crate::proto::outcome::{Outcome, Verdict};
use crate::proto::reply::Enhanced;
use crate::proto::x509;

/// A message that can be read more than once: hands it out in chunks to the function it is given, from its first
/// octet to its last, and stops with the error that function returns.
pub type Source<'s> = dyn FnMut(&mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> + 's;

/// Makes what is to stand before a message: signatures of it. The error says what keeps it from that.
pub type Seal<'s> = dyn Fn(&Signable) -> Result<Vec<u8>, String> + 's;

/// A server that takes mail.
pub struct Connection<'a> {
    target: Target<'a>,
    outgoing: &'a Outgoing<'a>,
    dialogue: Dialogue<'a>,
    capabilities: Capabilities,
    address: Option<SocketAddr>,
    /// Where else the host is to be tried with what it defers here, in this order.
    others: Vec<SocketAddr>,
    /// What kept it from TLS, as reports call it (RFC 8460 4.3).
    pub tls_fault: Option<&'static str>,
    /// The same of addresses of the host that were tried before.
    pub earlier_faults: Vec<&'static str>,
    /// The server holds a transaction that the next one has to reset.
    left_open: bool,
    usable: bool,
    /// It has carried something, and may have been closed since.
    used: bool,
    /// The server has taken a message over it.
    took: bool,
}

impl<'a> Connection<'a> {
    /// Connects, encrypts and logs in.
    ///
    /// # Errors
    /// Why not, as the outcome for each recipient: always deferred.
    pub fn open(target: Target<'a>, outgoing: &'a Outgoing<'a>) -> Result<Self, Outcome> {
        Self::open_by(target, outgoing, outgoing.opened_by())
    }

    /// As [`Connection::open`], until then.
    ///
    /// # Errors
    /// The same.
    pub fn open_by(
        target: Target<'a>,
        outgoing: &'a Outgoing<'a>,
        until: Instant,
    ) -> Result<Self, Outcome> {
        let reached = connect(&target, outgoing, until)?;
        Ok(Self {
            target,
            outgoing,
            dialogue: reached.dialogue,
            capabilities: reached.capabilities,
            address: reached.address,
            others: reached.others,
            tls_fault: reached.tls_fault,
            earlier_faults: reached.earlier_faults,
            left_open: false,
            usable: true,
            used: false,
            took: false,
        })
    }

    /// Notes that something was deferred here, and says where else the host is to be tried with it.
    pub fn others_than(&self, tried: &mut Vec<SocketAddr>) -> Vec<SocketAddr> {
        tried.extend(self.address);
        let mut others = self.others.clone();
        others.retain(|other| !tried.contains(other));
        others
    }

    /// Closes, and connects to one of these other addresses of the host. Those where this was `tried` may take what comes
    /// later: they are the last ones for it.
    ///
    /// # Errors
    /// Why there is none.
    pub fn move_on(
        self,
        others: Vec<SocketAddr>,
        tried: &[SocketAddr],
        until: Instant,
    ) -> Result<Self, Outcome> {
        let mut target = self.target.clone();
        (target.addresses, target.turn) = (Some(others), 0);
        let outgoing = self.outgoing;
        self.close();
        let mut moved = Self::open_by(target, outgoing, until)?;
        moved.others.extend(tried);
        Ok(moved)
    }

    /// Delivers one letter: an outcome for each of its recipients, in their order.
    pub fn deliver(
        &mut self,
        letter: &Letter<'_>,
        source: &mut Source<'_>,
        seal: Option<&Seal<'_>>,
    ) -> Vec<Outcome> {
        let mut outcomes = vec![None; letter.recipients.len()];
        let mut left: Vec<usize> = (0..outcomes.len()).collect();
        let begun = Instant::now();
        // Each transaction but the last delivers to somebody, or was the first on a connection found closed.
        while !left.is_empty() {
            let stopped = match self.transact(letter, &left, source, seal, begun) {
                Ok(settled) => {
                    left = record(&mut outcomes, settled);
                    // Who is left has been deferred, if no other transaction follows.
                    if begun.elapsed() >= self.outgoing.timeouts.recipients {
                        break;
                    }
                    continue;
                }
                Err(Stopped::Closed) => match self.reopen() {
                    Ok(()) => continue,
                    Err(outcome) => outcome,
                },
                Err(Stopped::Unreadable(outcome)) => outcome,
            };
            let all = left
                .drain(..)
                .map(|index| (index, Settled::Now(stopped.clone())));
            record(&mut outcomes, all);
        }
        let protection = self.short_protection();
        let forgotten = "the delivery was not brought to its end";
        let finished = outcomes.into_iter().map(|outcome| Outcome {
            protection: protection.clone(),
            ..outcome.unwrap_or_else(|| self.target.deferred(Enhanced(4, 3, 0), forgotten))
        });
        finished.collect()
    }

    /// How it is protected, for the log: `TLSv1.3 dane`, or `none`.
    fn short_protection(&self) -> String {
        let words = self.dialogue.wire.tls_words().unwrap_or_default();
        match words.split_once(' ') {
            Some((version, _)) => format!("{version} {}", self.target.verification()),
            None => "none".to_owned(),
        }
    }

    /// Whether it may carry another letter. If not, the next letter finds a new connection made for it.
    pub fn is_usable(&self) -> bool {
        self.usable
    }

    /// How it is protected, in words.
    pub fn protection(&self) -> String {
        match self.dialogue.wire.tls_words() {
            Some(words) => match self.target.verification() {
                UNVERIFIED => format!("{words}, certificate not verified"),
                how => format!("{words}, certificate verified ({how})"),
            },
            None => "connected without TLS".to_owned(),
        }
    }

    /// What its certificate says of itself.
    pub fn certificate(&self) -> Option<x509::Words> {
        self.dialogue.wire.certificate().and_then(x509::words)
    }

    /// What keeps its certificate from being good for its name, as reports call it, if anybody asked for that.
    pub fn certificate_fault(&self, trust: &Trust) -> Option<&'static str> {
        let found = self
            .dialogue
            .wire
            .proves(trust, &self.target.host, clock::now())?;
        found.err().map(|error| tls::fault(&error))
    }

    /// Asks whether the server would take mail from somebody, and sends none.
    ///
    /// # Errors
    /// What the server said against it.
    pub fn offer(&mut self, sender: &Mailbox) -> Result<Outcome, Outcome> {
        self.question(Command::Mail, &format!("MAIL FROM:<{sender}>"))
    }

    /// Asks whether the server would take mail from `sender` to `recipient`, and sends none.
    ///
    /// # Errors
    /// What the server said against it: what becomes of such mail.
    pub fn ask(
        &mut self,
        sender: Option<&Mailbox>,
        recipient: &Mailbox,
    ) -> Result<Outcome, Outcome> {
        let sender = sender.map(ToString::to_string).unwrap_or_default();
        self.question(Command::Mail, &format!("MAIL FROM:<{sender}>"))?;
        self.question(Command::Rcpt(0), &format!("RCPT TO:<{recipient}>"))
    }

    fn question(&mut self, command: Command, line: &str) -> Result<Outcome, Outcome> {
        let outcome = match self.dialogue.ask(line) {
            Ok(reply) => judged(command, &reply, &self.target.host),
            Err(trouble) => {
                let text = format!("after {}: {}", command.word(), trouble.text);
                self.target.deferred(trouble.enhanced, &text)
            }
        };
        let protection = self.short_protection();
        let outcome = Outcome {
            protection,
            ..outcome
        };
        match outcome.verdict {
            Verdict::Delivered => Ok(outcome),
            _ => Err(outcome),
        }
    }

    /// Says QUIT and closes.
    pub fn close(self) {
        self.dialogue.quit();
    }

    fn reopen(&mut self) -> Result<(), Outcome> {
        self.dialogue.part();
        *self = Self::open(self.target.clone(), self.outgoing)?;
        Ok(())
    }

    /// One transaction: what became of each of its recipients.
    fn transact(
        &mut self,
        letter: &Letter<'_>,
        recipients: &[usize],
        source: &mut Source<'_>,
        seal: Option<&Seal<'_>>,
        begun: Instant,
    ) -> Result<Vec<(usize, Settled)>, Stopped> {
        if !self.usable {
            return Err(Stopped::Closed);
        }
        let unreadable = |e: io::Error| {
            let text = format!("the message cannot be read from the spool: {}", words(&e));
            Stopped::Unreadable(self.target.deferred(UNREADABLE, &text))
        };
        let plan = self.survey(letter, source).map_err(unreadable)?;
        let front = match seal {
            Some(seal) => {
                let signable = look(source, plan.as_ref()).map_err(unreadable)?;
                seal(&signable)
                    .map_err(|why| Stopped::Unreadable(self.target.deferred(NOT_SIGNED, &why)))?
            }
            None => Vec::new(),
        };
        // What is declared is what will be sent.
        let mut letter = *letter;
        letter.facts.eight_bit = plan
            .as_ref()
            .map_or(letter.facts.eight_bit, |p| p.left().eight_bit);
        letter.facts.eight_bit_header &= letter.facts.eight_bit;
        let converted = plan.as_ref().filter(|_| self.capabilities.size.is_some());
        if let Some(plan) = converted {
            letter.facts.size = measure(source, plan).map_err(unreadable)?;
        }
        letter.facts.size += front.len() as u64;
        let host = self.target.host.clone();
        let mut transaction = Transaction::new(
            &letter,
            recipients,
            &self.capabilities,
            &host,
            self.left_open,
        );
        let mut message = Message {
            source,
            plan,
            front,
        };
        run(
            &mut self.dialogue,
            &mut transaction,
            &mut message,
            &self.outgoing.timeouts,
            begun,
        );
        self.usable = transaction.is_usable();
        self.left_open = transaction.left_open();
        if self.used && transaction.is_untouched() {
            return Err(Stopped::Closed);
        }
        // Once: a new connection has taken none.
        if self.took && self.usable && transaction.is_turned_away() {
            self.usable = false;
            return Err(Stopped::Closed);
        }
        self.used = true;
        let settled = transaction.finish();
        let delivered =
            |s: &Settled| matches!(s, Settled::Now(o) if o.verdict == Verdict::Delivered);
        self.took |= settled.iter().any(|(_, s)| delivered(s));
        Ok(settled)
    }

    /// The first look at a message that the server may not be able to take as it is; `None`: it is.
    fn survey(&self, letter: &Letter<'_>, source: &mut Source<'_>) -> io::Result<Option<Plan>> {
        let (facts, eight_bit_ok) = (&letter.facts, self.capabilities.eight_bit_mime);
        let long = facts.longest_line > mime::MAX_LINE as u64;
        if !long && (eight_bit_ok || !facts.eight_bit) {
            return Ok(None);
        }
        let mut survey = Survey::new(mime::Need { eight_bit_ok });
        source(&mut |chunk| {
            survey.feed(chunk);
            Ok(())
        })?;
        Ok(Some(survey.finish()).filter(Plan::changes))
    }
}

/// What of a message is signed, as it will be sent.
fn look(source: &mut Source<'_>, plan: Option<&Plan>) -> io::Result<Signable> {
    let mut signing = Signing::new(text::MAX_HEADER);
    convert(source, plan, &mut |chunk| {
        let fed = signing.feed(chunk);
        fed.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "its header is too long"))
    })?;
    Ok(signing.finish())
}

/// How many octets a message has when it is converted.
fn measure(source: &mut Source<'_>, plan: &Plan) -> io::Result<u64> {
    let mut size = 0;
    convert(source, Some(plan), &mut |chunk| {
        size += chunk.len() as u64;
        Ok(())
    })?;
    Ok(size)
}

/// Why there was no transaction.
enum Stopped {
    /// The connection was idle, and the server has closed it.
    Closed,
    /// The message is not to be read; the outcome for all.
    Unreadable(Outcome),
}

/// Status of a message that we cannot read (RFC 3463 3.4: other or undefined mail system status).
const UNREADABLE: Enhanced = Enhanced(4, 3, 0);

/// Status of a message that we must sign and cannot (RFC 3463 3.4: system incorrectly configured).
const NOT_SIGNED: Enhanced = Enhanced(4, 3, 5);

/// Notes what became of recipients, and returns those who may be tried again at once.
fn record(
    outcomes: &mut [Option<Outcome>],
    settled: impl IntoIterator<Item = (usize, Settled)>,
) -> Vec<usize> {
    let mut again = Vec::new();
    for (index, settled) in settled {
        let outcome = match settled {
            Settled::Now(outcome) => outcome,
            Settled::Again(outcome) => {
                again.push(index);
                outcome
            }
        };
        if let Some(place) = outcomes.get_mut(index) {
            *place = Some(outcome);
        }
    }
    again
}

#[cfg(test)]
mod tests;
