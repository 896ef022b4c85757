//! What is asked for with a recipient after the message was accepted: an alias stands for somebody who has the message
//! already, and its sender wants other reports of it. One worker may expand the alias while another sends to that
//! recipient; whatever is asked for before it is settled what became of him counts.

use std::sync::Arc;

use super::claim::Claim;
use crate::error::Result;
use crate::proto::envelope::{Envelope, Recipient};
use crate::proto::journal::{Entry, ask};
use crate::proto::outcome::{Outcome, Verdict};

/// What comes of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// He waits, and it is noted.
    Noted,
    /// It is decided already what became of him.
    Done(Outcome),
    /// It is being decided at this moment.
    Now,
}

impl Claim {
    /// Asks for the reports of another recipient, who is the same as this one, and notes it in the journal. Nothing is
    /// synced, as of an expansion.
    ///
    /// # Errors
    /// As for every write, or for a journal that would be too long; nothing has changed then.
    pub fn ask(&self, now: i64, index: usize, other: &Recipient) -> Result<Asked> {
        let mut state = self.state();
        let last = state.progress.standings.get(index);
        let last = last.and_then(|standing| standing.last.as_ref());
        if let Some((_, outcome)) = last.filter(|(_, o)| o.verdict != Verdict::Deferred) {
            return Ok(Asked::Done(outcome.clone()));
        }
        if state.in_settlement.contains(&index) {
            return Ok(Asked::Now);
        }
        let Some(mut both) = state.envelope.recipients.get(index).cloned() else {
            return Ok(Asked::Noted);
        };
        if both.ask_for(other) {
            let line = Entry::Asked(index, both.clone()).line(now);
            self.note(&line, &mut state)?;
            ask(
                &mut Arc::make_mut(&mut state.envelope).recipients,
                index,
                both,
            );
        }
        Ok(Asked::Noted)
    }

    /// From now on nobody asks for more with these: the envelope as it counts for what is told of them.
    pub fn begin_settlement(&self, of: &[usize]) -> Arc<Envelope> {
        let mut state = self.state();
        state.in_settlement.extend(of);
        state.envelope.clone()
    }

    /// What became of them is written down, as far as it could be.
    pub fn end_settlement(&self, of: &[usize]) {
        self.state()
            .in_settlement
            .retain(|index| !of.contains(index));
    }
}
