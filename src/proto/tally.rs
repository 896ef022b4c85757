//! How much of a session led nowhere, and when it is enough: without an end to it, one client could hold a
//! connection, try names or fill a log for ever.

use super::replies::{self, Reply};

/// Idle commands, NOOP and RSET and the like, before 421: who sends a thousand messages needs none in between.
const MAX_IDLE: u32 = 100;
/// Refusals by the policy before 421: who tries names until one exists is to find few.
const MAX_REFUSED: u32 = 100;

/// What a client did that led nowhere.
#[derive(Debug)]
pub struct Tally {
    max_errors: u32,
    max_recipients: usize,
    /// Bad commands since the last message.
    errors: u32,
    /// Idle or untimely commands since the last message.
    idle: u32,
    /// Refused senders, recipients and messages.
    refused: u32,
    /// Recipients over the limit of a message.
    surplus: usize,
}

impl Tally {
    /// Nothing yet. A client may name as many recipients too many as a message may have.
    pub fn new(max_errors: u32, max_recipients: usize) -> Self {
        Self {
            max_errors,
            max_recipients,
            errors: 0,
            idle: 0,
            refused: 0,
            surplus: 0,
        }
    }

    /// A command that leads to no message, for itself or because of its place.
    pub fn idle(&mut self) {
        self.idle += 1;
    }

    /// A message was accepted: errors before it are forgiven. Refusals are not, or a message now and then would
    /// allow any number of guesses.
    pub fn accepted(&mut self) {
        (self.errors, self.idle) = (0, 0);
    }

    /// A reply was given.
    pub fn replied(&mut self, reply: &Reply) {
        // A bad address is not the client's fault, but of whoever wrote to it.
        let address = reply.enhanced().is_some_and(|e| e.1 == 1);
        match reply.code() {
            // Out of order is counted as idle: a refused MAIL in a group has a refused RCPT for every recipient.
            503 | ..400 => {}
            500..=504 | 530 | 535 | 538 | 555 if !address => self.errors += 1,
            _ if *reply == replies::TOO_MANY_RECIPIENTS => self.surplus += 1,
            _ => self.refused += 1,
        }
    }

    /// The reply that ends the session, when it is enough.
    pub fn enough(&self) -> Option<Reply> {
        if self.errors > self.max_errors {
            Some(replies::TOO_MANY_ERRORS)
        } else if self.idle > MAX_IDLE {
            Some(replies::TOO_MANY_COMMANDS)
        } else if self.refused > MAX_REFUSED || self.surplus > self.max_recipients {
            Some(replies::TOO_MANY_REFUSED)
        } else {
            None
        }
    }
}
