//! The smarthosts of a queue run: tried in their order, each over one connection for many messages, and not again
//! in the same run once one is found to be down.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};

use super::dialogue::{Outgoing, Timeouts};
use super::send::Connection;
use super::{Context, Damaged, Outcomes, text};
use crate::cli::complain;
use crate::config::Smarthost;
use crate::host::spool::Claim;
use crate::host::tls;
use crate::proto::address::ReversePath;
use crate::proto::envelope::{Outcome, Recipient, Verdict};
use crate::proto::header::{Field, Header};
use crate::proto::letter::Letter;

/// What all connections of a run share, besides the configuration.
pub struct Shared<'a> {
    context: &'a Context,
    tls: tls::Clients,
    trace: Box<dyn Fn(&str) + Sync + 'a>,
    /// Smarthosts found to be down in this run, by their number, and what was found.
    down: Mutex<BTreeMap<usize, Outcome>>,
}

impl<'a> Shared<'a> {
    /// Nothing is made before it is needed.
    pub fn new(context: &'a Context) -> Self {
        let trace = Box::new(|line: &str| complain(&context.program, line));
        Self {
            context,
            tls: tls::Clients::new(),
            trace,
            down: Mutex::default(),
        }
    }

    /// For a connection of this run.
    pub fn outgoing(&self) -> Outgoing<'_> {
        let limits = &self.context.config.limits;
        Outgoing {
            hostname: &self.context.config.hostname,
            timeouts: Timeouts::default().capped(limits.command_timeout, limits.data_timeout),
            tls: &self.tls,
            trace: self.context.verbose.then_some(&*self.trace),
        }
    }

    /// Whether a smarthost was found to be down.
    pub fn is_blocked(&self) -> bool {
        !self
            .down
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }
}

/// Connections of one worker.
pub struct Links<'a> {
    shared: &'a Shared<'a>,
    outgoing: &'a Outgoing<'a>,
    open: BTreeMap<usize, Connection<'a>>,
}

impl<'a> Links<'a> {
    /// No connection yet.
    pub fn new(shared: &'a Shared<'a>, outgoing: &'a Outgoing<'a>) -> Self {
        Self {
            shared,
            outgoing,
            open: BTreeMap::new(),
        }
    }

    /// Sends a message to those of its recipients whose indices are given: to the first smarthost that takes it or
    /// refuses it for good. Whoever is only deferred by one is tried at the next.
    ///
    /// # Errors
    /// [`Damaged`] when the message is not what was accepted; nobody was given it then.
    pub fn send(&mut self, claim: &Claim, indices: &[usize]) -> Result<Outcomes, Damaged> {
        let (mut outcomes, mut left) = (BTreeMap::new(), indices.to_vec());
        for (number, smarthost) in self.shared.context.config.smarthosts.iter().enumerate() {
            for (index, outcome) in self.try_one(number, smarthost, claim, &left)? {
                outcomes.insert(index, outcome);
            }
            left.retain(|i| {
                outcomes
                    .get(i)
                    .is_none_or(|o: &Outcome| o.verdict == Verdict::Deferred)
            });
            if left.is_empty() {
                break;
            }
        }
        Ok(outcomes.into_iter().collect())
    }

    fn try_one(
        &mut self,
        number: usize,
        smarthost: &'a Smarthost,
        claim: &Claim,
        left: &[usize],
    ) -> Result<Outcomes, Damaged> {
        match self.connection(number, smarthost) {
            Ok(mut connection) => {
                let outcomes = deliver(&mut connection, smarthost, claim, left);
                self.open.insert(number, connection);
                outcomes
            }
            Err(outcome) => Ok(left.iter().map(|i| (*i, outcome.clone())).collect()),
        }
    }

    /// The connection of the last message, or a new one, unless the smarthost was found to be down.
    fn connection(
        &mut self,
        number: usize,
        smarthost: &'a Smarthost,
    ) -> Result<Connection<'a>, Outcome> {
        if let Some(connection) = self.open.remove(&number).filter(Connection::is_usable) {
            return Ok(connection);
        }
        let down = || {
            self.shared
                .down
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(outcome) = down().get(&number) {
            return Err(outcome.clone());
        }
        Connection::open(smarthost.into(), self.outgoing).inspect_err(|outcome| {
            down().insert(number, outcome.clone());
        })
    }

    /// Says goodbye to all.
    pub fn close(self) {
        self.open.into_values().for_each(Connection::close);
    }
}

fn deliver(
    connection: &mut Connection<'_>,
    smarthost: &Smarthost,
    claim: &Claim,
    indices: &[usize],
) -> Result<Outcomes, Damaged> {
    let envelope = &claim.envelope;
    let (indices, recipients): (Vec<usize>, Vec<&Recipient>) = indices
        .iter()
        .filter_map(|i| envelope.recipients.get(*i).map(|r| (*i, r)))
        .unzip();
    // A report has no sender to be replaced: it must not be answered (RFC 5321 4.5.5).
    let from = smarthost
        .from
        .as_ref()
        .filter(|_| envelope.sender != ReversePath::Null);
    let sender = from.map_or_else(
        || envelope.sender.clone(),
        |from| ReversePath::Mailbox(from.clone()),
    );
    let letter = Letter {
        sender: &sender,
        recipients: &recipients,
        facts: claim.facts,
        smtputf8: envelope.smtputf8,
        ret: envelope.ret,
        envid: envelope.envid.as_deref(),
    };
    let change = |header: &mut Header| {
        if let Some(from) = &smarthost.from {
            leave_as(header, &from.to_string());
        }
    };
    let mut damaged = false;
    let mut source = |take: &mut dyn FnMut(&[u8]) -> io::Result<()>| {
        let message: Box<dyn Read> = match smarthost.from {
            Some(_) => Box::new(text::changed(claim, &change)?),
            None => Box::new(claim.message()),
        };
        let copied = text::copy(message, take);
        damaged |= matches!(&copied, Err(e) if e.kind() == io::ErrorKind::InvalidData);
        copied
    };
    let outcomes = connection.deliver(&letter, &mut source);
    // Whoever has it already, in an earlier transaction, has it whole: that must not be forgotten.
    if damaged && outcomes.iter().all(|o| o.verdict != Verdict::Delivered) {
        return Err(Damaged);
    }
    Ok(indices.into_iter().zip(outcomes).collect())
}

/// Everything leaves as one address: who wrote it stays reachable through Reply-To.
fn leave_as(header: &mut Header, from: &str) {
    let old = header.get("From").map(|f| f.body().to_vec());
    header.rewrite_addresses(&["From"], &mut |address| {
        (address != from).then(|| from.to_owned())
    });
    let changed = header.get("From").map(|f| f.body().to_vec()) != old;
    if let (true, None, Some(old)) = (changed, header.get("Reply-To"), old) {
        header.append(Field::made(
            "Reply-To",
            String::from_utf8_lossy(&old).trim(),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::header::sample;

    #[test]
    fn everything_leaves_as_one_address_and_its_author_stays_reachable() {
        let rows = [
            (
                "From: root <root@pi.example>\r\n",
                "From: root <me@example.org>\r\nReply-To: root <root@pi.example>\r\n",
            ),
            (
                "From: root@pi.example (Cron)\r\n",
                "From: me@example.org (Cron)\r\nReply-To: root@pi.example (Cron)\r\n",
            ),
            (
                "From: a@pi.example\r\nReply-To: b@c.example\r\n",
                "From: me@example.org\r\nReply-To: b@c.example\r\n",
            ),
            (
                "From: Me <me@example.org>\r\n",
                "From: Me <me@example.org>\r\n",
            ),
            ("Subject: x\r\n", "Subject: x\r\n"),
        ];
        for (before, after) in rows {
            let mut header = sample(before);
            leave_as(&mut header, "me@example.org");
            let mut text = Vec::new();
            header.write(&mut text);
            assert_eq!(String::from_utf8_lossy(&text), format!("{after}\r\n"));
        }
    }
}
