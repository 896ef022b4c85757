//! The smarthosts of a queue run: tried in their order, each over one connection for many messages, and not again
//! in the same run once one is found to be down.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::send::Connection;
use super::{Context, Damaged, Outcomes, text};
use crate::config::Smarthost;
use crate::host::spool::Claim;
use crate::proto::address::ReversePath;
use crate::proto::client::Letter;
use crate::proto::envelope::{Outcome, Recipient, Verdict};
use crate::proto::header::{Field, Header};
use crate::proto::reply::Enhanced;

/// Connections of one worker.
pub struct Links<'a> {
    context: &'a Context,
    /// Smarthosts found to be down in this run, by their number, and what was found.
    down: &'a Mutex<BTreeMap<usize, Outcome>>,
    open: BTreeMap<usize, Connection>,
}

/// Connects to a smarthost, as far as the login.
///
/// # Errors
/// Why it cannot be used now, as the outcome of every recipient: deferred.
pub fn open(context: &Context, smarthost: &Smarthost) -> Result<Connection, Outcome> {
    Connection::open(smarthost, &context.config.hostname, context.verbose)
}

impl<'a> Links<'a> {
    /// No connection yet.
    pub fn new(context: &'a Context, down: &'a Mutex<BTreeMap<usize, Outcome>>) -> Self {
        Self {
            context,
            down,
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
        for (number, smarthost) in self.context.config.smarthosts.iter().enumerate() {
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
        smarthost: &Smarthost,
        claim: &Claim,
        indices: &[usize],
    ) -> Result<Outcomes, Damaged> {
        let all = |outcome: &Outcome| Ok(indices.iter().map(|i| (*i, outcome.clone())).collect());
        // A connection that the last message left unusable, or that the server has closed since, is made anew.
        for fresh in [false, true] {
            let down = self
                .down
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(&number)
                .cloned();
            if let Some(outcome) = down {
                return all(&outcome);
            }
            let mut connection = match self.open.remove(&number) {
                Some(connection) if connection.is_usable() && !fresh => connection,
                _ => match open(self.context, smarthost) {
                    Ok(connection) => connection,
                    Err(outcome) => {
                        let mut down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
                        return all(down.entry(number).or_insert(outcome));
                    }
                },
            };
            let reused = connection.is_reused();
            let outcomes = deliver(&mut connection, smarthost, claim, indices)?;
            let stale = reused && connection.is_stale();
            self.open.insert(number, connection);
            if !stale {
                return Ok(outcomes);
            }
        }
        all(&Outcome::new(
            Verdict::Deferred,
            None,
            Enhanced(4, 4, 2),
            &smarthost.host,
            "it closes every connection",
        ))
    }

    /// Says goodbye to all.
    pub fn close(self) {
        self.open.into_values().for_each(Connection::close);
    }
}

fn deliver(
    connection: &mut Connection,
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
    let mut source = || -> std::io::Result<Box<dyn std::io::Read + '_>> {
        match smarthost.from {
            Some(_) => text::changed(claim, &change).map(|m| Box::new(m) as _),
            None => Ok(Box::new(claim.message())),
        }
    };
    let outcomes = connection.deliver(&letter, &mut source)?;
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
