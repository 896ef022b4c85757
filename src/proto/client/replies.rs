//! The replies: whom each of them is about, and what it means for the mail (RFC 5321 4.2, 4.3.2).

use super::super::outcome::{Outcome, Verdict};
use super::super::reply::{Enhanced, Reply};
use super::{Command, Phase, Settled, Standing, Transaction};

impl Transaction<'_> {
    /// Takes the reply to the command that has waited longest.
    pub fn take(&mut self, reply: &Reply) {
        let Some(command) = self.waiting.pop_front() else {
            return self.out_of_step("answered what was not asked");
        };
        if reply.code == 421 {
            return self.closing(command, reply);
        }
        self.answered = true;
        match (command, reply.class()) {
            (Command::Reset, 2) => self.open = false,
            (Command::Reset, 4 | 5) => self.reset_refused(reply),
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

    /// The server closes, and will have no more of us. By LMTP this may be said of one recipient, whose mailbox cannot be
    /// had: each of the others has his own reply, which comes behind it or is lost with the connection (RFC 2033 4.2).
    fn closing(&mut self, command: Command, reply: &Reply) {
        let outcome = self.said(Verdict::Deferred, reply);
        match command {
            Command::DotFor(this) if !self.waiting.is_empty() => {
                self.settle_accepted(&outcome, |index| index == this);
                self.usable = false;
            }
            _ => self.end(&outcome),
        }
    }

    /// A server that does not forget the last transaction has said nothing of this one: another connection may have it.
    fn reset_refused(&mut self, reply: &Reply) {
        let outcome = self.said(Verdict::Deferred, reply);
        self.end(&outcome);
        self.answered = false;
    }

    /// MAIL decides for all. The server still answers what was sent behind it; that counts for nothing.
    fn mail_refused(&mut self, reply: &Reply) {
        let outcome = self.said(verdict_on(reply), reply);
        self.settle(|s| *s == Standing::Open, &outcome);
        self.unnamed.clear();
        self.phase = Phase::Over;
        self.turned_away = reply.class() == 4;
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
        outcome.kept = verdict == Verdict::Delivered && self.capabilities.lmtp;
        self.settle_accepted(&outcome, whose);
    }

    /// Settles those of these indices who were accepted.
    fn settle_accepted(&mut self, outcome: &Outcome, whose: impl Fn(usize) -> bool) {
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
}

/// An outcome in the server's words, whose status is of the class of the verdict, whatever the server thinks.
pub fn said(verdict: Verdict, reply: &Reply, host: &str) -> Outcome {
    let of = |enhanced, text: &str| Outcome::new(verdict, Some(reply.code), enhanced, host, text);
    match reply.enhanced {
        // Of itself it would be taken for one that we have put there.
        Some(status @ Enhanced(4 | 5, 0, 0)) => of(status, &reply.text())
            .with_own_status()
            .taken_as(verdict),
        Some(status) => of(status, &reply.text()).taken_as(verdict),
        None => of(Enhanced(verdict.class(), 0, 0), &reply.whole()),
    }
}

/// What a reply to MAIL or RCPT means for a recipient, of whom only that is asked.
pub fn judged(command: Command, reply: &Reply, host: &str) -> Outcome {
    let verdict = match (command, reply.class(), reply.code) {
        (_, 2, _) => Verdict::Delivered,
        // Too many of them (RFC 5321 4.5.3.1.10).
        (Command::Rcpt(_), _, 552) => Verdict::Deferred,
        (_, _, _) => verdict_on(reply),
    };
    said(verdict, reply, host)
}

/// What a refusal of MAIL, RCPT, DATA or the dot means for the mail.
fn verdict_on(reply: &Reply) -> Verdict {
    match (reply.class(), reply.code) {
        (5, 530 | 534 | 535 | 538) => Verdict::Deferred,
        (5, _) => Verdict::Failed,
        _ => Verdict::Deferred,
    }
}
