//! Reports of success, to whom asked for them (RFC 3461 5.2).

use super::Settlement;
use crate::events;
use crate::flow::Outcomes;
use crate::flow::expand::Replaced;
use crate::proto::address::ReversePath;
use crate::proto::dsn::Action;
use crate::proto::outcome::{Outcome, Verdict};
use crate::proto::reply::Enhanced;

impl Settlement<'_> {
    /// A success that its sender wants to hear of, and that no other server will report (RFC 3461 5.2).
    pub(super) fn report_successes(&mut self, replaced: &[Replaced]) {
        let is_asked_for = |(index, outcome): &&(usize, Outcome)| {
            outcome.verdict == Verdict::Delivered && self.is_wanted(*index, Action::Delivered)
        };
        let delivered = self.outcomes.iter().filter(is_asked_for).cloned().collect();
        for (sender, delivered) in self.by_sender(delivered) {
            for action in [Action::Delivered, Action::Relayed] {
                let here = |o: &Outcome| of(o) == action && !o.dsn_passed;
                let about = delivered.iter().filter(|(_, o)| here(o)).cloned().collect();
                self.report_success(&sender, action, about);
            }
        }
        for one in replaced {
            // One successor reports for himself, unless he had the message before he was asked to; a list has taken the
            // message over (RFC 3461 5.2.7).
            let told = |text| Outcome::new(Verdict::Expanded, None, Enhanced(2, 0, 0), "", text);
            let (action, outcome) = match (&one.had, one.is_list, one.is_alone) {
                (_, true, _) => (Action::Delivered, told("to the mailing list")),
                (_, _, false) => (Action::Expanded, told("it stands for several recipients")),
                (Some(had), _, _) => (of(had), had.clone()),
                (None, _, true) => continue,
            };
            for (sender, about) in self.by_sender(vec![(one.index, outcome)]) {
                self.report_success(&sender, action, about);
            }
        }
    }

    /// The message was delivered, whatever becomes of the news.
    fn report_success(&mut self, sender: &ReversePath, action: Action, mut about: Outcomes) {
        about.retain(|(i, _)| self.is_wanted(*i, action));
        let ReversePath::Mailbox(sender) = sender else {
            return;
        };
        if let Err(error) = self.report(sender, action, about) {
            let text = format!("the report of success could not be queued: {error}");
            events::trouble(&self.claim.id, &text);
        }
    }
}

/// What a success is: in a mailbox, or on its way through a server that says nothing more of it.
fn of(outcome: &Outcome) -> Action {
    match outcome.code {
        Some(_) if !outcome.kept => Action::Relayed,
        _ => Action::Delivered,
    }
}
