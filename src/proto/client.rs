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

use std::collections::VecDeque;

use super::envelope::{Outcome, Verdict};
use super::letter::{Capabilities, Letter, rcpt};
use super::reply::{Enhanced, Reply};

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
    /// The server holds a transaction of ours that no dot has ended.
    open: bool,
    usable: bool,
    delivered: bool,
}

/// Status of a server to which a message with REQUIRETLS may not go (RFC 8689 8): not this one, but maybe another.
pub const REQUIRETLS: Enhanced = Enhanced(4, 7, 30);

/// The most commands that wait for a reply at once: their replies fit into the smallest receive buffer, so that
/// the server is never kept from reading on because we do not read (RFC 2920 3.1).
const MAX_GROUP: usize = 100;
/// A group is not made longer than this, octets: it fits into the send buffer, so that writing it never blocks.
const MAX_GROUP_OCTETS: usize = 8 * 1024;

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
        let text = "an address is not ASCII, and this host does not offer SMTPUTF8";
        let outcome = self.own(Verdict::Failed, Enhanced(5, 6, 7), text);
        let whole = self.letter.needs_smtputf8();
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
        self.phase = Phase::Over;
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

    fn write_group(&mut self, out: &mut Vec<u8>) {
        if !self.mail_sent && std::mem::take(&mut self.reset_first) {
            self.write(out, Command::Reset, "RSET");
            if !self.capabilities.pipelining {
                return;
            }
        }
        if !self.mail_sent {
            self.mail_sent = true;
            let mut named = self
                .unnamed
                .iter()
                .filter_map(|i| self.letter.recipients.get(*i));
            let ascii = named.all(|recipient| recipient.address.is_ascii());
            let text = self.letter.mail(self.capabilities, ascii);
            self.write(out, Command::Mail, &text);
            if !self.capabilities.pipelining {
                return;
            }
        }
        while self.waiting.len() < MAX_GROUP && out.len() < MAX_GROUP_OCTETS {
            let Some(index) = self.unnamed.pop_front() else {
                return self.write_data(out);
            };
            let Some(recipient) = self.letter.recipients.get(index) else {
                continue;
            };
            self.write(
                out,
                Command::Rcpt(index),
                &rcpt(recipient, self.capabilities),
            );
            if !self.capabilities.pipelining {
                return;
            }
        }
    }

    /// DATA, unless it is known already that nobody will be there to have the message.
    fn write_data(&mut self, out: &mut Vec<u8>) {
        self.phase = Phase::Over;
        if self.has(&Standing::Accepted) || self.has(&Standing::Open) {
            self.write(out, Command::Data, "DATA");
        }
    }

    fn write(&mut self, out: &mut Vec<u8>, command: Command, text: &str) {
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(b"\r\n");
        self.waiting.push_back(command);
    }

    /// Takes the reply to the command that has waited longest.
    pub fn take(&mut self, reply: &Reply) {
        let Some(command) = self.waiting.pop_front() else {
            return self.out_of_step("answered what was not asked");
        };
        if reply.code == 421 {
            let outcome = self.said(Verdict::Deferred, reply);
            return self.end(&outcome);
        }
        self.answered = true;
        match (command, reply.class()) {
            (Command::Reset, 2) => self.open = false,
            (Command::Mail, 2) => self.open = true,
            (Command::Mail, 4 | 5) => self.mail_refused(reply),
            (Command::Rcpt(index), 2) => self.move_on(index, Standing::Accepted),
            (Command::Rcpt(index), 4 | 5) => {
                let settled = self.rcpt_refused(reply);
                self.put_off_the_rest(&settled);
                self.move_on(index, Standing::Settled(settled));
            }
            (Command::Data, 3) => self.phase = Phase::Granted,
            (Command::Data, 4 | 5) => {
                let outcome = self.said(verdict_on(reply), reply);
                self.settle(|s| *s == Standing::Accepted, &outcome);
            }
            (Command::Dot, 2 | 4 | 5) => self.dot_answered(reply, |_| true),
            (Command::DotFor(this), 2 | 4 | 5) => self.dot_answered(reply, |index| index == this),
            (_, _) => {
                let (word, code) = (command.word(), reply.code);
                self.out_of_step(&format!("answered {word} with {code} {}", reply.text()));
            }
        }
    }

    /// MAIL decides for all. The server still answers what was sent behind it; that counts for nothing.
    fn mail_refused(&mut self, reply: &Reply) {
        let outcome = self.said(verdict_on(reply), reply);
        self.settle(|s| *s == Standing::Open, &outcome);
        self.unnamed.clear();
        self.phase = Phase::Over;
    }

    fn rcpt_refused(&self, reply: &Reply) -> Settled {
        if !matches!(reply.code, 452 | 552) {
            return Settled::Now(self.said(verdict_on(reply), reply));
        }
        let outcome = self.said(Verdict::Deferred, reply);
        // 4.2.2 is one full mailbox and 4.3.1 a full disk: neither passes by with the next transaction.
        match reply.enhanced {
            Some(Enhanced(_, 2 | 3, _)) => Settled::Now(outcome),
            _ => Settled::Again(outcome),
        }
    }

    /// Once the server takes no more, the others are not named to it: each refusal may count as an error there.
    fn put_off_the_rest(&mut self, settled: &Settled) {
        if matches!(settled, Settled::Again(_)) && self.has(&Standing::Accepted) {
            while let Some(index) = self.unnamed.pop_front() {
                self.move_on(index, Standing::Settled(settled.clone()));
            }
        }
    }

    fn dot_answered(&mut self, reply: &Reply, whose: impl Fn(usize) -> bool) {
        self.open = false;
        let verdict = match reply.class() {
            2 => Verdict::Delivered,
            _ => verdict_on(reply),
        };
        self.delivered |= verdict == Verdict::Delivered && self.has(&Standing::Accepted);
        let mut outcome = self.said(verdict, reply);
        outcome.dsn_passed = verdict == Verdict::Delivered && self.capabilities.dsn;
        for (index, standing) in self.standings.iter_mut().enumerate() {
            if *standing == Standing::Accepted && whose(index) {
                *standing = Standing::Settled(Settled::Now(outcome.clone()));
            }
        }
    }

    /// The server broke off while the message was being sent, and said this. A yes counts for nothing: it does
    /// not have the whole message.
    pub fn take_early(&mut self, reply: &Reply) {
        if matches!(reply.class(), 4 | 5) {
            let outcome = self.said(verdict_on(reply), reply);
            self.end(&outcome);
        } else {
            self.out_of_step("answered before the message was at its end");
        }
    }

    /// The connection is gone, or of no further use. Who was not settled is deferred, with these words.
    pub fn lost(&mut self, enhanced: Enhanced, text: &str) {
        let outcome = self.own(Verdict::Deferred, enhanced, text);
        self.end(&outcome);
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

    /// Whether the connection went before anything was answered. An idle connection that the server has closed
    /// looks so, and is no reason to defer (K46).
    pub fn is_untouched(&self) -> bool {
        !self.usable && !self.answered
    }

    /// What became of each recipient of this transaction, by index.
    pub fn finish(self) -> Vec<(usize, Settled)> {
        let again = self.delivered && self.usable;
        let unfinished = "the transaction was not brought to its end";
        let unfinished = self.own(Verdict::Deferred, Enhanced(4, 3, 0), unfinished);
        let standings = self.standings.into_iter().enumerate();
        let settled = standings.filter_map(|(index, standing)| match standing {
            Standing::Absent => None,
            Standing::Settled(Settled::Again(outcome)) if !again => {
                Some((index, Settled::Now(outcome)))
            }
            Standing::Settled(settled) => Some((index, settled)),
            Standing::Open | Standing::Accepted => Some((index, Settled::Now(unfinished.clone()))),
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

/// An outcome in the server's words. The class of its enhanced code is that of the verdict, whatever the server
/// thinks: a status that says "never" in the journal would be read as such.
pub fn said(verdict: Verdict, reply: &Reply, host: &str) -> Outcome {
    let class = match verdict {
        Verdict::Delivered | Verdict::Expanded => 2,
        Verdict::Deferred => 4,
        Verdict::Failed => 5,
    };
    let Enhanced(_, subject, detail) = reply.enhanced.unwrap_or(Enhanced(class, 0, 0));
    let enhanced = Enhanced(class, subject, detail);
    Outcome::new(verdict, Some(reply.code), enhanced, host, &reply.text())
}

/// What a refusal of MAIL, RCPT, DATA or the dot means for the mail.
fn verdict_on(reply: &Reply) -> Verdict {
    match (reply.class(), reply.code) {
        (5, 530 | 534 | 535 | 538) => Verdict::Deferred,
        (5, _) => Verdict::Failed,
        _ => Verdict::Deferred,
    }
}

#[cfg(test)]
mod tests {
    use super::super::address::{Mailbox, ReversePath};
    use super::super::envelope::{Facts, Notify, Recipient, Ret};
    use super::super::letter::capabilities;
    use super::super::reply::ReplyReader;
    use super::*;

    fn reply(text: &str) -> Reply {
        let (taken, reply) = ReplyReader::default().feed(text.as_bytes()).unwrap();
        assert_eq!(taken, text.len());
        reply.unwrap()
    }

    /// How a transaction went: the groups that were sent (a message is "(message)"), and what became of each
    /// recipient: "=" delivered, "~" deferred, "!" failed, "+" again, with the words.
    struct Run {
        groups: Vec<String>,
        verdicts: Vec<String>,
        usable: bool,
        left_open: bool,
    }

    /// Runs a transaction against replies; where they end, the connection is gone.
    fn run(letter: &Letter<'_>, offered: &str, replies: &[&str]) -> Run {
        let mut capabilities = capabilities(offered);
        capabilities.lmtp = offered.starts_with(LMTP);
        run_with(letter, &capabilities, replies)
    }

    fn run_with(letter: &Letter<'_>, capabilities: &Capabilities, replies: &[&str]) -> Run {
        let all: Vec<usize> = (0..letter.recipients.len()).collect();
        let mut transaction = Transaction::new(letter, &all, capabilities, "mx", false);
        let mut replies = replies.iter();
        let mut groups = Vec::new();
        loop {
            let mut out = Vec::new();
            let next = transaction.next(&mut out);
            if !out.is_empty() {
                let text = String::from_utf8(out).unwrap();
                groups.push(text.trim_end().replace("\r\n", "|"));
            }
            match next {
                Next::Reply(_) => match replies.next() {
                    Some(text) => transaction.take(&reply(&format!("{text}\r\n"))),
                    None => transaction.lost(Enhanced(4, 4, 2), "gone"),
                },
                Next::Message | Next::NoMessage => {
                    let nothing = next == Next::NoMessage;
                    groups.push(if nothing { "." } else { "(message)" }.to_owned());
                    transaction.sent();
                }
                Next::Done => break,
            }
        }
        assert_eq!(replies.next(), None);
        let (usable, left_open) = (transaction.is_usable(), transaction.left_open());
        let settled = transaction.finish().into_iter();
        let verdicts = settled.map(|(_, settled)| match settled {
            Settled::Again(outcome) => format!("+ {}", outcome.words()),
            Settled::Now(outcome) => {
                let sign = match outcome.verdict {
                    Verdict::Delivered => "=",
                    Verdict::Deferred => "~",
                    Verdict::Failed | Verdict::Expanded => "!",
                };
                format!("{sign} {}", outcome.words())
            }
        });
        Run {
            groups,
            verdicts: verdicts.collect(),
            usable,
            left_open,
        }
    }

    fn recipients(count: usize) -> Vec<Recipient> {
        let addresses = (1..=count).map(|n| Mailbox::parse(&format!("r{n}@b.example")).unwrap());
        addresses.map(Recipient::plain).collect()
    }

    fn with_letter<T>(recipients: &[Recipient], then: impl FnOnce(Letter<'_>) -> T) -> T {
        let sender = ReversePath::Mailbox(Mailbox::parse("a@b.example").unwrap());
        let borrowed: Vec<&Recipient> = recipients.iter().collect();
        then(Letter {
            sender: &sender,
            recipients: &borrowed,
            facts: Facts {
                size: 5000,
                crc32: 0,
                longest_line: 70,
                eight_bit: false,
            },
            smtputf8: false,
            requiretls: false,
            ret: None,
            envid: None,
        })
    }

    const PIPED: &str = "PIPELINING";
    /// As a server of LMTP; no keyword, but what is not known is passed over.
    const LMTP: &str = "LMTP";
    const GROUP: &str = "MAIL FROM:<a@b.example>|RCPT TO:<r1@b.example>|DATA";

    /// Recipients, what is offered, replies; groups sent, verdicts, usable afterwards, left open.
    type Row = (
        usize,
        &'static str,
        &'static [&'static str],
        &'static [&'static str],
        &'static [&'static str],
        bool,
        bool,
    );

    #[rustfmt::skip]
    const ROWS: &[Row] = &[
        // K29: LMTP has a reply for each recipient after the dot; one that does not come defers.
        (3, LMTP, &["250 ok", "250 ok", "250 ok", "250 ok", "354 go", "250 2.0.0 there", "452 4.2.2 full", "550 5.7.1 no"],
         &["MAIL FROM:<a@b.example>", "RCPT TO:<r1@b.example>", "RCPT TO:<r2@b.example>", "RCPT TO:<r3@b.example>", "DATA", "(message)"],
         &["= 250 2.0.0 there", "~ 452 4.2.2 full", "! 550 5.7.1 no"], true, false),
        (2, LMTP, &["250 ok", "250 ok", "250 ok", "354 go", "250 2.0.0 there"],
         &["MAIL FROM:<a@b.example>", "RCPT TO:<r1@b.example>", "RCPT TO:<r2@b.example>", "DATA", "(message)"],
         &["= 250 2.0.0 there", "~ 4.4.2 gone"], false, false),
        (2, LMTP, &["250 ok", "550 no", "250 ok", "354 go", "250 2.0.0 there"],
         &["MAIL FROM:<a@b.example>", "RCPT TO:<r1@b.example>", "RCPT TO:<r2@b.example>", "DATA", "(message)"],
         &["! 550 5.0.0 no", "= 250 2.0.0 there"], true, false),
        // All well: one at a time, and in one group.
        (1, "", &["250 ok", "250 ok", "354 go", "250 2.0.0 queued"],
         &["MAIL FROM:<a@b.example>", "RCPT TO:<r1@b.example>", "DATA", "(message)"],
         &["= 250 2.0.0 queued"], true, false),
        (1, PIPED, &["250 ok", "251 ok", "354 go", "250 queued"],
         &[GROUP, "(message)"], &["= 250 2.0.0 queued"], true, false),
        // K14 without its 421: each has its own verdict, and 452 is tried again at once.
        (5, PIPED, &["250 ok", "250 ok", "450 later", "550 5.1.1 no", "452 4.5.3 many", "552 many", "354 go", "250 ok"],
         &["MAIL FROM:<a@b.example>|RCPT TO:<r1@b.example>|RCPT TO:<r2@b.example>|RCPT TO:<r3@b.example>|RCPT TO:<r4@b.example>|RCPT TO:<r5@b.example>|DATA", "(message)"],
         &["= 250 2.0.0 ok", "~ 450 4.0.0 later", "! 550 5.1.1 no", "+ 452 4.5.3 many", "+ 552 4.0.0 many"], true, false),
        // K14: with 421 all that is not decided is deferred.
        (3, PIPED, &["250 ok", "250 ok", "550 no", "421 bye"],
         &["MAIL FROM:<a@b.example>|RCPT TO:<r1@b.example>|RCPT TO:<r2@b.example>|RCPT TO:<r3@b.example>|DATA"],
         &["~ 421 4.0.0 bye", "! 550 5.0.0 no", "~ 421 4.0.0 bye"], false, true),
        // 452 for one full mailbox is no reason for another transaction; nor is any 452 when nobody was accepted.
        (2, PIPED, &["250 ok", "250 ok", "452 4.2.2 full", "354 go", "250 ok"],
         &["MAIL FROM:<a@b.example>|RCPT TO:<r1@b.example>|RCPT TO:<r2@b.example>|DATA", "(message)"],
         &["= 250 2.0.0 ok", "~ 452 4.2.2 full"], true, false),
        (1, PIPED, &["250 ok", "452 4.5.3 many", "503 none"], &[GROUP], &["~ 452 4.5.3 many"], true, true),
        (2, PIPED, &["250 ok", "250 ok", "452 many", "354 go", "451 not now"],
         &["MAIL FROM:<a@b.example>|RCPT TO:<r1@b.example>|RCPT TO:<r2@b.example>|DATA", "(message)"],
         &["~ 451 4.0.0 not now", "~ 452 4.0.0 many"], true, false),
        // After "too many" the rest is not named.
        (3, "", &["250 ok", "250 ok", "452 many", "354 go", "250 ok"],
         &["MAIL FROM:<a@b.example>", "RCPT TO:<r1@b.example>", "RCPT TO:<r2@b.example>", "DATA", "(message)"],
         &["= 250 2.0.0 ok", "+ 452 4.0.0 many", "+ 452 4.0.0 many"], true, false),
        // K49: MAIL decides for all; so do DATA and the dot.
        (1, PIPED, &["550 no", "503 none", "503 none"], &[GROUP], &["! 550 5.0.0 no"], true, false),
        (1, "", &["452 full"], &["MAIL FROM:<a@b.example>"], &["~ 452 4.0.0 full"], true, false),
        (1, "", &["250 ok", "250 ok", "554 no"], &["MAIL FROM:<a@b.example>", "RCPT TO:<r1@b.example>", "DATA"],
         &["! 554 5.0.0 no"], true, true),
        (1, PIPED, &["250 ok", "250 ok", "451 no"], &[GROUP], &["~ 451 4.0.0 no"], true, true),
        (1, PIPED, &["250 ok", "250 ok", "354 go", "552 5.3.4 big"], &[GROUP, "(message)"], &["! 552 5.3.4 big"], true, false),
        (1, PIPED, &["250 ok", "250 ok", "354 go", "554 spam"], &[GROUP, "(message)"], &["! 554 5.0.0 spam"], true, false),
        // Our login or TLS is not what it wants: not the mail's fault.
        (1, PIPED, &["530 5.7.0 log in", "503 x", "503 x"], &[GROUP], &["~ 530 4.7.0 log in"], true, false),
        // Nobody accepted, one at a time: no DATA.
        (1, "", &["250 ok", "550 no"], &["MAIL FROM:<a@b.example>", "RCPT TO:<r1@b.example>"], &["! 550 5.0.0 no"], true, true),
        // K51: DATA granted although nobody was accepted, or MAIL was not.
        (1, PIPED, &["250 ok", "550 no", "354 go", "250 ok"], &[GROUP, "."], &["! 550 5.0.0 no"], true, false),
        (1, PIPED, &["451 no", "250 ok", "354 go", "250 ok"], &[GROUP, "."], &["~ 451 4.0.0 no"], true, false),
        // K15: 421 at each step.
        (1, "", &["421 bye"], &["MAIL FROM:<a@b.example>"], &["~ 421 4.0.0 bye"], false, false),
        (1, PIPED, &["250 ok", "421 bye"], &[GROUP], &["~ 421 4.0.0 bye"], false, true),
        (1, PIPED, &["250 ok", "250 ok", "421 bye"], &[GROUP], &["~ 421 4.0.0 bye"], false, true),
        (1, PIPED, &["250 ok", "250 ok", "354 go", "421 bye"], &[GROUP, "(message)"], &["~ 421 4.0.0 bye"], false, true),
        // A drop at each step; after the dot nobody has it (R111).
        (1, "", &[], &["MAIL FROM:<a@b.example>"], &["~ 4.4.2 gone"], false, false),
        (1, PIPED, &["250 ok"], &[GROUP], &["~ 4.4.2 gone"], false, true),
        (1, PIPED, &["250 ok", "250 ok"], &[GROUP], &["~ 4.4.2 gone"], false, true),
        (1, PIPED, &["250 ok", "250 ok", "354 go"], &[GROUP, "(message)"], &["~ 4.4.2 gone"], false, true),
        // K50, K11: replies that do not fit.
        (1, PIPED, &["250 ok", "250 ok", "250 ok"], &[GROUP],
         &["~ 4.5.0 the server broke the protocol: it answered DATA with 250 ok"], false, true),
        (1, PIPED, &["250 ok", "354 go"], &[GROUP],
         &["~ 4.5.0 the server broke the protocol: it answered RCPT with 354 go"], false, true),
        (1, "", &["354 go"], &["MAIL FROM:<a@b.example>"],
         &["~ 4.5.0 the server broke the protocol: it answered MAIL with 354 go"], false, false),
        (1, PIPED, &["250 ok", "250 ok", "354 go", "354 go"], &[GROUP, "(message)"],
         &["~ 4.5.0 the server broke the protocol: it answered the end of the message with 354 go"], false, true),
        // K23: larger than the server takes; exactly as large.
        (1, "SIZE_4999", &[], &[], &["! 5.3.4 the message has 5000 octets, and this host takes at most 4999"], true, false),
        (1, "SIZE_5000", &["550 no"], &["MAIL FROM:<a@b.example> SIZE=5000"], &["! 550 5.0.0 no"], true, false),
        (1, "SIZE_0", &["550 no"], &["MAIL FROM:<a@b.example> SIZE=5000"], &["! 550 5.0.0 no"], true, false),
    ];

    #[test]
    fn each_recipient_gets_its_verdict() {
        for (count, offered, replies, groups, verdicts, usable, left_open) in ROWS {
            let run = with_letter(&recipients(*count), |letter| run(&letter, offered, replies));
            assert_eq!(run.groups, *groups, "{replies:?}");
            assert_eq!(run.verdicts, *verdicts, "{replies:?}");
            assert_eq!(run.usable, *usable, "{replies:?}");
            assert_eq!(run.left_open, *left_open, "{replies:?}");
        }
    }

    /// RFC 8689 4.2.1: only to a server that offers it and is known to be the right one.
    #[test]
    fn what_requires_tls_is_not_named_to_others() {
        let to = recipients(1);
        let rows = [
            (
                "REQUIRETLS",
                true,
                &["MAIL FROM:<a@b.example> REQUIRETLS"][..],
            ),
            ("REQUIRETLS", false, &[]),
            ("", true, &[]),
            ("", false, &[]),
        ];
        for (offered, authentic, groups) in rows {
            let run = with_letter(&to, |mut letter| {
                letter.requiretls = true;
                let capabilities = Capabilities {
                    authentic,
                    ..capabilities(offered)
                };
                run_with(&letter, &capabilities, &["550 no"][..groups.len()])
            });
            assert_eq!(run.groups, groups, "{offered} {authentic}");
            let about = run.verdicts[0].starts_with("~ 4.7.30 the sender asks for REQUIRETLS");
            assert_eq!(about, groups.is_empty(), "{}", run.verdicts[0]);
        }
    }

    #[test]
    fn parameters_are_said_only_to_servers_that_know_them() {
        let mut to = recipients(1);
        to[0].notify = Notify::parse("SUCCESS,FAILURE");
        to[0].orcpt = Some("rfc822;r1@b.example".to_owned());
        let rows = [
            ("", "MAIL FROM:<a@b.example>|RCPT TO:<r1@b.example>|DATA"),
            (
                "SIZE 8BITMIME SMTPUTF8 DSN",
                "MAIL FROM:<a@b.example> SIZE=5000 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ|\
                 RCPT TO:<r1@b.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;r1@b.example|DATA",
            ),
        ];
        for (offered, expected) in rows {
            let replies = ["250 ok", "250 ok", "354 go", "250 ok"];
            let run = with_letter(&to, |mut letter| {
                letter.facts.eight_bit = true;
                letter.smtputf8 = !offered.is_empty();
                letter.ret = Some(Ret::Headers);
                letter.envid = Some("QQ");
                run(&letter, &format!("{offered} PIPELINING"), &replies)
            });
            assert_eq!(run.groups[0], expected);
        }
        // What could become a second parameter is left out.
        to[0].orcpt = Some("rfc822;a NOTIFY=NEVER".to_owned());
        let run = with_letter(&to, |letter| run(&letter, "DSN", &["250 ok", "250 ok"]));
        assert_eq!(
            run.groups[1],
            "RCPT TO:<r1@b.example> NOTIFY=SUCCESS,FAILURE"
        );
    }

    #[test]
    fn only_those_who_need_smtputf8_fail_without_it() {
        // K24. Which addresses are beyond ASCII (sender, then recipients), submitted as SMTPUTF8, 8-bit; who
        // fails.
        let rows: &[([&str; 3], bool, bool, [bool; 2])] = &[
            (
                ["a@b.example", "b@c.example", "c@d.example"],
                false,
                true,
                [false, false],
            ),
            (
                ["a@b.example", "b@c.example", "c@d.example"],
                true,
                false,
                [false, false],
            ),
            (
                ["a@b.example", "b@c.example", "c@d.example"],
                true,
                true,
                [true, true],
            ),
            (
                ["a@b.example", "b@c.example", "jos\u{e9}@d.example"],
                false,
                false,
                [false, true],
            ),
            (
                ["jos\u{e9}@a.example", "b@c.example", "c@d.example"],
                false,
                false,
                [true, true],
            ),
            // A domain has a form in ASCII.
            (
                [
                    "a@\u{e9}.example",
                    "b@\u{e9}.example",
                    "jos\u{e9}@\u{e9}.example",
                ],
                false,
                false,
                [false, true],
            ),
        ];
        for ([from, one, two], smtputf8, eight_bit, failing) in rows {
            let sender = ReversePath::Mailbox(Mailbox::parse(from).unwrap());
            let to = [one, two].map(|a| Recipient::plain(Mailbox::parse(a).unwrap()));
            let with = |offered: &str| {
                let letter = Letter {
                    sender: &sender,
                    recipients: &[&to[0], &to[1]],
                    facts: Facts {
                        eight_bit: *eight_bit,
                        ..Facts::default()
                    },
                    smtputf8: *smtputf8,
                    requiretls: false,
                    ret: None,
                    envid: None,
                };
                run(&letter, offered, &[])
            };
            let without = with("");
            let failed: Vec<bool> = without
                .verdicts
                .iter()
                .map(|v| v.starts_with("! 5.6.7"))
                .collect();
            assert_eq!(failed, failing, "{from} {one} {two}");
            assert!(!without.groups.iter().any(|g| g.contains("SMTPUTF8")));
            let wanted = *smtputf8 || ![*from, *one, *two].iter().all(|a| a.is_ascii());
            let offered = with("SMTPUTF8");
            assert_eq!(offered.groups[0].ends_with(" SMTPUTF8"), wanted);
            assert!(offered.verdicts.iter().all(|v| v.starts_with("~ 4.4.2")));
        }
    }

    #[test]
    fn groups_are_bounded() {
        let to = recipients(250);
        let replies = ["250 ok"].repeat(251);
        let mut replies = replies.clone();
        replies.extend(["354 go", "250 ok"]);
        let run = with_letter(&to, |letter| run(&letter, PIPED, &replies));
        let counts: Vec<usize> = run.groups.iter().map(|g| g.split('|').count()).collect();
        assert_eq!(counts, [100, 100, 52, 1]);
        let text = |g: &String| g.len() < MAX_GROUP_OCTETS + 600;
        assert!(run.groups.iter().all(text));
        assert!(run.verdicts.iter().all(|v| v.starts_with('=')));
    }

    #[test]
    fn a_transaction_left_open_is_reset_first() {
        with_letter(&recipients(1), |letter| {
            let capabilities = capabilities(PIPED);
            let mut transaction = Transaction::new(&letter, &[0], &capabilities, "mx", true);
            let mut out = Vec::new();
            assert_eq!(transaction.next(&mut out), Next::Reply(Command::Reset));
            assert!(out.starts_with(b"RSET\r\nMAIL FROM:<"));
            transaction.take(&reply("250 ok\r\n"));
            transaction.take(&reply("550 no\r\n"));
            assert!(!transaction.left_open() && transaction.is_usable());
        });
    }

    #[test]
    fn what_the_server_says_while_the_message_is_sent_is_used() {
        // K16. A yes counts for nothing, as the server has not seen the end.
        for (said, expected) in [
            ("550 5.7.1 spam\r\n", Verdict::Failed),
            ("451 no\r\n", Verdict::Deferred),
            ("421 bye\r\n", Verdict::Deferred),
            ("250 ok\r\n", Verdict::Deferred),
        ] {
            with_letter(&recipients(1), |letter| {
                let capabilities = capabilities(PIPED);
                let mut transaction = Transaction::new(&letter, &[0], &capabilities, "mx", false);
                for text in ["250 ok\r\n", "250 ok\r\n", "354 go\r\n"] {
                    transaction.next(&mut Vec::new());
                    transaction.take(&reply(text));
                }
                assert_eq!(transaction.next(&mut Vec::new()), Next::Message);
                transaction.take_early(&reply(said));
                assert_eq!(transaction.next(&mut Vec::new()), Next::Done);
                assert!(!transaction.is_usable());
                let Some((_, Settled::Now(outcome))) = transaction.finish().pop() else {
                    panic!("no outcome");
                };
                assert_eq!(outcome.verdict, expected, "{said}");
            });
        }
    }

    #[test]
    fn the_duty_to_report_goes_on_with_the_message() {
        for (offered, expected) in [("PIPELINING", false), ("PIPELINING DSN", true)] {
            with_letter(&recipients(1), |letter| {
                let capabilities = capabilities(offered);
                let mut transaction = Transaction::new(&letter, &[0], &capabilities, "mx", false);
                for text in ["250 ok\r\n", "250 ok\r\n", "354 go\r\n"] {
                    transaction.next(&mut Vec::new());
                    transaction.take(&reply(text));
                }
                transaction.sent();
                transaction.take(&reply("250 ok\r\n"));
                let Some((_, Settled::Now(outcome))) = transaction.finish().pop() else {
                    panic!("no outcome");
                };
                assert_eq!(outcome.dsn_passed, expected);
            });
        }
    }

    #[test]
    fn a_closed_idle_connection_is_known_as_such() {
        with_letter(&recipients(1), |letter| {
            let capabilities = capabilities("");
            let begin = || Transaction::new(&letter, &[0], &capabilities, "mx", false);
            let mut gone = begin();
            gone.next(&mut Vec::new());
            gone.lost(Enhanced(4, 4, 2), "gone");
            assert!(gone.is_untouched());
            let mut closing = begin();
            closing.next(&mut Vec::new());
            closing.take(&reply("421 idle too long\r\n"));
            assert!(closing.is_untouched()); // K46
            let mut later = begin();
            later.next(&mut Vec::new());
            later.take(&reply("250 ok\r\n"));
            later.lost(Enhanced(4, 4, 2), "gone");
            assert!(!later.is_untouched());
        });
    }
}
