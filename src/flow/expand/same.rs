//! Recipients who are the same: one copy, and every report that is asked for with any of them (RFC 3461 4.1, 5.2.7).

use std::collections::BTreeMap;

use crate::error::Error;
use crate::host::clock;
use crate::host::spool::{Asked, Claim};
use crate::proto::envelope::{Notify, Recipient};
use crate::proto::expand::{Key, Trouble};
use crate::proto::outcome::{Outcome, Verdict};
use crate::proto::reply::Enhanced;

/// Who has the message, or will have it, by index.
pub type Same = BTreeMap<Key, usize>;

/// What a recipient that an expansion makes has to do with one who is the same.
pub enum Shared {
    /// That one gets the copy, and the reports of both are made for him.
    Covered,
    /// That one got it so, before a report of it was asked for.
    Had(Outcome),
    /// There is none; or the message failed for him before a report of it was asked for, and has to fail anew for that.
    Apart,
}

/// Settles what comes of a new recipient who is the same as the one of this index.
///
/// # Errors
/// When that cannot be told now.
pub fn share(claim: &Claim, same: Option<&usize>, new: &Recipient) -> Result<Shared, Trouble> {
    let envelope = claim.envelope();
    let known = same.and_then(|same| Some((*same, envelope.recipients.get(*same)?)));
    let Some((index, known)) = known else {
        return Ok(Shared::Apart);
    };
    // What is told to the owner of a list is nothing to the sender, and the other way round.
    let is_told_to_others = envelope.sender_for(known) != envelope.sender_for(new);
    if is_told_to_others || !known.clone().ask_for(new) {
        return Ok(Shared::Covered);
    }
    let later = |sentence: String| Trouble {
        enhanced: Enhanced(4, 3, 0),
        sentence,
    };
    let asked = claim.ask(clock::now(), index, new);
    let wishes = new.notify.unwrap_or(Notify::UNSAID);
    match asked.map_err(|error: Error| later(error.to_string()))? {
        Asked::Noted => Ok(Shared::Covered),
        Asked::Done(outcome) => Ok(match outcome.verdict {
            Verdict::Delivered if wishes.success => Shared::Had(outcome),
            Verdict::Failed if wishes.failure => Shared::Apart,
            _ => Shared::Covered,
        }),
        Asked::Now => Err(later(format!(
            "the message is being sent to {} at this moment; reports of it are asked for later",
            new.address
        ))),
    }
}
