//! The client's side of a mail transaction (RFC 5321 3.3): replies in, commands out, a verdict per recipient.
//!
//! [`Transaction::next`] says what is to be done, the caller does it and tells: [`Transaction::take`] a reply,
//! [`Transaction::sent`] that message and final dot are out, [`Transaction::lost`] that the connection is gone.
//! Commands leave in groups, whole (RFC 2920) or of one command each, and the next group leaves when each reply
//! to the last one is in; so whoever finds a reply that nobody asked for between two groups knows that the two
//! sides are out of step.
//!
//! 1. What the server has said it cannot take (SIZE, SMTPUTF8) is failed here, and not sent; nor is what must not be
//!    sent to it (REQUIRETLS), for which another one is tried.
//! 2. RSET, if the last transaction was left open; MAIL, RCPTs, DATA.
//! 3. The message, if anybody was accepted; a lone dot, if DATA was granted for nobody.
//! 4. The reply to the dot decides for all who were accepted. Without that reply nobody has it (RFC 5321 6.1). A
//!    server of LMTP replies once for each of them, in their order (RFC 2033 4.2).
//!
//! Only a 5xx to MAIL, RCPT, DATA or the dot is final. A 552 to RCPT means too many recipients (RFC 5321
//! 4.5.3.1.10), 421 that the server closes, and 530, 534, 535, 538 that our login or TLS is not what it wants
//! (RFC 4954 6): these are temporary, as the mail is not to blame for them.

mod commands;
mod replies;

use std::collections::VecDeque;

use super::letter::{Capabilities, Letter};
use super::outcome::{Outcome, Verdict};
use super::reply::{Enhanced, Reply};

pub use replies::{judged, said};

/// What the caller has to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Send the commands, if there are any, and take the reply to this one.
    Reply(Command),
    /// Send the message and the final dot.
    Message,
    /// Send the final dot alone: DATA was granted although nobody was accepted (RFC 2920 3.1).
    NoMessage,
    /// There is nothing left to do.
    Done,
}

/// A command that waits for its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// RSET.
    Reset,
    /// MAIL FROM.
    Mail,
    /// RCPT TO, for the recipient of this index.
    Rcpt(usize),
    /// DATA.
    Data,
    /// The final dot.
    Dot,
    /// The final dot, for the recipient of this index alone.
    DotFor(usize),
}

/// How it ended for one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// This is the outcome.
    Now(Outcome),
    /// The server takes no more recipients at a time: another transaction may follow at once. If none does,
    /// this is the outcome.
    Again(Outcome),
}

/// How far it has come for one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// Not in this transaction.
    Absent,
    /// Not named yet, or named and not answered.
    Open,
    /// RCPT was answered with yes.
    Accepted,
    /// It is decided.
    Settled(Settled),
}

/// How far the transaction has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Commands are to be sent.
    Commands,
    /// DATA was granted.
    Granted,
    /// The dot is out, or the server has refused.
    Over,
}

/// One mail transaction.
#[derive(Debug)]
pub struct Transaction<'a> {
    letter: &'a Letter<'a>,
    capabilities: &'a Capabilities,
    host: &'a str,
    standings: Vec<Standing>,
    /// Recipients still to be named, by index.
    unnamed: VecDeque<usize>,
    waiting: VecDeque<Command>,
    phase: Phase,
    reset_first: bool,
    mail_sent: bool,
    answered: bool,
    turned_away: bool,
    dot_sent: bool,
    /// The server holds a transaction of ours that no dot has ended.
    open: bool,
    usable: bool,
    delivered: bool,
}

/// Status of a server to which a message with REQUIRETLS may not go (RFC 8689 8): not this one, but maybe another.
pub const REQUIRETLS: Enhanced = Enhanced(4, 7, 30);

/// Status of a server that takes its time (RFC 3463 3.5: congestion).
const SLOW: Enhanced = Enhanced(4, 4, 5);

impl<'a> Transaction<'a> {
    /// A transaction for the recipients of these indices. `host` is named in the outcomes. `reset_first` tells
    /// that the last transaction [`Transaction::left_open`].
    pub fn new(
        letter: &'a Letter<'a>,
        recipients: &[usize],
        capabilities: &'a Capabilities,
        host: &'a str,
        reset_first: bool,
    ) -> Self {
        let mut transaction = Self {
            letter,
            capabilities,
            host,
            standings: vec![Standing::Absent; letter.recipients.len()],
            unnamed: VecDeque::new(),
            waiting: VecDeque::new(),
            phase: Phase::Commands,
            reset_first,
            mail_sent: false,
            answered: false,
            turned_away: false,
            dot_sent: false,
            open: reset_first,
            usable: true,
            delivered: false,
        };
        for index in recipients {
            if let Some(standing) = transaction.standings.get_mut(*index) {
                *standing = Standing::Open;
            }
        }
        transaction.refuse_what_cannot_pass();
        let standings = transaction.standings.iter().enumerate();
        let open = standings.filter(|(_, s)| **s == Standing::Open);
        transaction.unnamed = open.map(|(index, _)| index).collect();
        if transaction.unnamed.is_empty() {
            transaction.phase = Phase::Over;
        }
        transaction
    }

    /// Settles those for whom the server has said no already, in what it offers.
    fn refuse_what_cannot_pass(&mut self) {
        let size = self.letter.facts.size;
        if let Some(limit) = self.capabilities.size.filter(|l| *l > 0 && size > *l) {
            let text =
                format!("the message has {size} octets, and this host takes at most {limit}");
            let outcome = self.own(Verdict::Failed, Enhanced(5, 3, 4), &text);
            self.settle(|s| *s == Standing::Open, &outcome);
        }
        // Whoever speaks LMTP delivers: it goes no further (RFC 8689 4.2.2).
        let protected = self.capabilities.requiretls && self.capabilities.authentic;
        if self.letter.requiretls && !protected && !self.capabilities.lmtp {
            let outcome = self.own(Verdict::Deferred, REQUIRETLS, self.unprotected());
            self.settle(|s| *s == Standing::Open, &outcome);
        }
        if self.capabilities.smtputf8 {
            return;
        }
        let whole = self.letter.needs_smtputf8();
        let text = match whole && self.letter.facts.eight_bit_header {
            true => "the header is not ASCII, and this host does not offer SMTPUTF8",
            false => "an address is not ASCII, and this host does not offer SMTPUTF8",
        };
        let outcome = self.own(Verdict::Failed, Enhanced(5, 6, 7), text);
        for (standing, recipient) in self.standings.iter_mut().zip(self.letter.recipients) {
            if *standing == Standing::Open && (whole || recipient.address.to_ascii().is_none()) {
                *standing = Standing::Settled(Settled::Now(outcome.clone()));
            }
        }
    }

    fn unprotected(&self) -> &'static str {
        match self.capabilities.authentic {
            true => "the sender asks for REQUIRETLS, and this host does not offer it",
            false => {
                "the sender asks for REQUIRETLS, and this host has not shown over TLS that it is the right one"
            }
        }
    }

    /// What is to be done next. Commands to be sent are appended to `out`; there are some only while no reply
    /// is awaited.
    pub fn next(&mut self, out: &mut Vec<u8>) -> Next {
        if self.waiting.is_empty() && self.phase == Phase::Commands {
            self.write_group(out);
        }
        match (self.waiting.front(), self.phase) {
            (Some(command), _) => Next::Reply(*command),
            (None, Phase::Granted) if self.has(&Standing::Accepted) => Next::Message,
            (None, Phase::Granted) => Next::NoMessage,
            (None, _) => Next::Done,
        }
    }

    /// Message and final dot, or the dot alone, are on their way.
    pub fn sent(&mut self) {
        (self.phase, self.dot_sent) = (Phase::Over, true);
        if !self.capabilities.lmtp {
            return self.waiting.push_back(Command::Dot);
        }
        let accepted = self.standings.iter().enumerate();
        let accepted = accepted.filter(|(_, s)| **s == Standing::Accepted);
        self.waiting
            .extend(accepted.map(|(index, _)| Command::DotFor(index)));
        // Without a recipient nothing is answered, and so nothing ends what DATA has begun.
        self.usable = !self.waiting.is_empty();
    }

    /// The connection is gone, or of no further use. Who was not settled is deferred, with these words.
    pub fn lost(&mut self, enhanced: Enhanced, text: &str) {
        let outcome = self.own(Verdict::Deferred, enhanced, text);
        // Whoever is still without an answer has waited for the one to the dot.
        self.end(&match self.dot_sent {
            true => outcome.doubted(),
            false => outcome,
        });
    }

    /// No more recipients are named: those who were not are deferred, with these words. Who was accepted has the message.
    pub fn name_no_more(&mut self, text: &str) {
        let outcome = self.own(Verdict::Deferred, SLOW, text);
        while let Some(index) = self.unnamed.pop_front() {
            self.move_on(index, Standing::Settled(Settled::Now(outcome.clone())));
        }
    }

    fn out_of_step(&mut self, what: &str) {
        let text = format!("the server broke the protocol: it {what}");
        self.lost(Enhanced(4, 5, 0), &text);
    }

    fn end(&mut self, outcome: &Outcome) {
        self.settle(
            |s| matches!(s, Standing::Open | Standing::Accepted),
            outcome,
        );
        self.waiting.clear();
        self.phase = Phase::Over;
        self.usable = false;
    }

    /// Whether the connection can carry another transaction.
    pub fn is_usable(&self) -> bool {
        self.usable
    }

    /// Whether the server holds a transaction that the next one has to reset.
    pub fn left_open(&self) -> bool {
        self.open
    }

    /// Whether the connection went, or is of no further use, before anything was answered that is about this transaction.
    /// An idle connection that the server has closed looks so, and is no reason to defer (K46).
    pub fn is_untouched(&self) -> bool {
        !self.usable && !self.answered
    }

    /// Whether the server would not begin it now. One that has taken others over this connection has perhaps had enough
    /// of them, and not of us.
    pub fn is_turned_away(&self) -> bool {
        self.turned_away
    }

    /// What became of each recipient of this transaction, by index.
    pub fn finish(self) -> Vec<(usize, Settled)> {
        let again = self.delivered && self.usable;
        let unfinished = "the transaction was not brought to its end";
        let unfinished = || {
            Outcome::new(
                Verdict::Deferred,
                None,
                Enhanced(4, 3, 0),
                self.host,
                unfinished,
            )
        };
        let standings = self.standings.into_iter().enumerate();
        let settled = standings.filter_map(|(index, standing)| match standing {
            Standing::Absent => None,
            Standing::Settled(Settled::Again(outcome)) if !again => {
                Some((index, Settled::Now(outcome)))
            }
            Standing::Settled(settled) => Some((index, settled)),
            Standing::Open | Standing::Accepted => Some((index, Settled::Now(unfinished()))),
        });
        settled.collect()
    }

    fn has(&self, standing: &Standing) -> bool {
        self.standings.contains(standing)
    }

    /// Moves a recipient on, unless it is settled.
    fn move_on(&mut self, index: usize, to: Standing) {
        if let Some(standing) = self.standings.get_mut(index)
            && *standing == Standing::Open
        {
            *standing = to;
        }
    }

    fn settle(&mut self, which: impl Fn(&Standing) -> bool, outcome: &Outcome) {
        for standing in self.standings.iter_mut().filter(|s| which(s)) {
            *standing = Standing::Settled(Settled::Now(outcome.clone()));
        }
    }

    fn said(&self, verdict: Verdict, reply: &Reply) -> Outcome {
        said(verdict, reply, self.host)
    }

    fn own(&self, verdict: Verdict, enhanced: Enhanced, text: &str) -> Outcome {
        Outcome::new(verdict, None, enhanced, self.host, text)
    }
}

impl Command {
    /// Its word, as a person knows it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Reset => "RSET",
            Self::Mail => "MAIL",
            Self::Rcpt(_) => "RCPT",
            Self::Data => "DATA",
            Self::Dot | Self::DotFor(_) => "the end of the message",
        }
    }
}

#[cfg(test)]
mod tests;
