//! What a session refuses by itself, and why it ends, for whoever writes it down; and how much of it is enough.

use super::super::command::Step;
use super::super::replies::Reply;
use super::{Policy, Refusal, Session, Then};

impl Session {
    /// Tells of a refusal that nobody has told yet. Out of order (503) nothing is refused: what was in order has had its
    /// answer.
    pub(super) fn tell(&self, step: Step, line: &[u8], reply: &Reply, policy: &mut dyn Policy) {
        if self.told || reply.is_positive() || reply.code() == 503 {
            return;
        }
        policy.refused(&Refusal {
            step,
            sender: self.transaction.as_ref().map(|t| &t.sender),
            line,
            reply,
        });
    }

    /// Counts what leads nowhere, and ends the session when it is enough.
    pub(super) fn count(
        &mut self,
        (reply, then): (Reply, Then),
        policy: &mut dyn Policy,
    ) -> (Reply, Then) {
        self.tally.replied(&reply);
        if reply.code() == 421 || then == Then::HangUp {
            if !self.told && !reply.is_positive() {
                policy.closed(&reply);
            }
            return (reply, Then::HangUp);
        }
        let Some(enough) = self.tally.enough() else {
            return (reply, then);
        };
        self.reset();
        policy.closed(&enough);
        (enough, Then::HangUp)
    }
}
