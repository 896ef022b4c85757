//! Recipients who are the same: one copy, and every report that is asked for with any of them (RFC 3461 4.1, 5.2.7).

use std::collections::BTreeMap;

use super::{account, has_alias};
use crate::error::Error;
use crate::flow::{Context, hops};
use crate::host::accounts::Account;
use crate::host::clock;
use crate::host::spool::{Asked, Claim};
use crate::proto::address::Mailbox;
use crate::proto::end::End;
use crate::proto::envelope::{Envelope, Notify, Recipient};
use crate::proto::expand::{Key, Leaf, Trouble, children};
use crate::proto::outcome::{Outcome, Verdict};
use crate::proto::reply::Enhanced;
use crate::proto::route::Hop;

/// Who has the message, or will have it, by index.
pub type Same = BTreeMap<Key, usize>;

/// Whether a recipient of the envelope stands for his own mailbox and nothing else. So does a user whose ~/.forward
/// this process may not read: he waits as he is.
pub fn is_itself(context: &Context, recipient: &Recipient, leaves: &[Leaf]) -> bool {
    let [leaf] = leaves else {
        return false;
    };
    if leaf.address != recipient.address || leaf.sender.is_some() {
        return false;
    }
    match (&leaf.end, &recipient.origin) {
        (Some(End::Mailbox), None) | (None, None) => {
            let account = account(context, &recipient.address);
            leaf.user.is_some() && account.is_ok_and(|a| a.map(|a| a.name) == leaf.user)
        }
        (None, Some(origin)) => leaf.user == origin.user,
        _ => false,
    }
}

/// Who has the message because of a recipient, or will have it. That it is in the mailbox of a user whom the envelope
/// names is said when he has it: a ~/.forward that is still to be read may lead elsewhere.
pub fn has_already(context: &Context, recipient: &Recipient, has_it: bool) -> Vec<Key> {
    match &recipient.origin {
        Some(origin) => vec![Key::of(
            &recipient.address,
            origin.end.as_ref(),
            origin.user.as_ref(),
        )],
        None if hops::of(context, &recipient.address) == Hop::Local => {
            if has_alias(context, &recipient.address) {
                return Vec::new();
            }
            let account = account(context, &recipient.address).ok().flatten();
            let of = |account: Account| {
                let both = [false, true].into_iter().filter(|own| has_it || !own);
                both.map(|own| Key::User(account.name.clone(), own))
                    .collect()
            };
            account.map_or_else(Vec::new, of)
        }
        None => vec![Key::Address(recipient.address.clone())],
    }
}

/// The places of those who stand for nothing but their own mailbox, and whose they are. A user has one under all spellings
/// of his name, and one for each detail.
pub struct Seats(BTreeMap<(Key, String), usize>);

impl Seats {
    /// Those that expansions have found before.
    pub fn found(envelope: &Envelope) -> Self {
        let recipients = envelope.recipients.iter().enumerate();
        let place = |(index, recipient): (usize, &Recipient)| {
            let origin = recipient.origin.as_ref()?;
            let is_place = origin.end == Some(End::Mailbox);
            let place = || {
                seat(
                    &recipient.address,
                    origin.end.as_ref(),
                    origin.user.as_ref(),
                )
            };
            is_place.then(|| (place(), index))
        };
        Self(recipients.filter_map(place).collect())
    }

    /// Gives a recipient the place that he stands for. Returned is who has it, if somebody has.
    pub fn take(&mut self, leaves: &[Leaf], index: usize) -> Option<usize> {
        let leaf = leaves.first()?;
        let seat = seat(&leaf.address, leaf.end.as_ref(), leaf.user.as_ref());
        let owner = *self.0.entry(seat).or_insert(index);
        (owner != index).then_some(owner)
    }
}

fn seat(address: &Mailbox, end: Option<&End>, user: Option<&String>) -> (Key, String) {
    let local = address.local();
    let detail = user
        .and_then(|user| local.split_at_checked(user.len()))
        .filter(|(name, _)| user.is_some_and(|user| user.eq_ignore_ascii_case(name)))
        .map_or(local, |(_, detail)| detail);
    (Key::of(address, end, user), detail.to_owned())
}

/// Those who stand for a recipient.
pub struct Successors {
    /// New ones.
    pub new: Vec<Recipient>,
    /// Who each of these is.
    pub keys: Vec<Key>,
    /// Those who have the message anyway.
    pub others: Vec<Recipient>,
    /// What became of one of these before.
    pub had: Option<Outcome>,
}

/// Finds out who is new, and who is the `same` as somebody who has the message.
///
/// # Errors
/// When that cannot be told now.
pub fn divide(
    claim: &Claim,
    (index, recipient): (usize, &Recipient),
    leaves: Vec<Leaf>,
    same: &Same,
) -> Result<Successors, Trouble> {
    let envelope = claim.envelope();
    let (mut new, mut keys) = (Vec::new(), Vec::new());
    let (mut others, mut had) = (Vec::new(), None);
    let all: Vec<Key> = leaves.iter().map(Leaf::key).collect();
    let is_alone = leaves.len() == 1;
    for (key, child) in all
        .into_iter()
        .zip(children(recipient, index, leaves, is_alone))
    {
        let other = same.get(&key);
        match share(claim, other, &child)? {
            Shared::Apart => {
                keys.push(key);
                new.push(child);
                continue;
            }
            Shared::Covered => {}
            Shared::Had(outcome) => had = Some(outcome),
        }
        others.extend(other.and_then(|i| envelope.recipients.get(*i)).cloned());
    }
    Ok(Successors {
        new,
        keys,
        others,
        had,
    })
}

/// What a recipient that an expansion makes has to do with one who is the same.
enum Shared {
    /// That one gets the copy, and the reports of both are made for him.
    Covered,
    /// That one got it so, before a report of it was asked for.
    Had(Outcome),
    /// There is none; or the message failed for him before a report of it was asked for, and has to fail anew for that; or
    /// what becomes of him is told to nobody who is to hear of this one.
    Apart,
}

/// Settles what comes of a new recipient who is the same as the one of this index.
///
/// # Errors
/// When that cannot be told now.
fn share(claim: &Claim, same: Option<&usize>, new: &Recipient) -> Result<Shared, Trouble> {
    let envelope = claim.envelope();
    let known = same.and_then(|same| Some((*same, envelope.recipients.get(*same)?)));
    let Some((index, known)) = known else {
        return Ok(Shared::Apart);
    };
    let wishes = new.notify.unwrap_or(Notify::UNSAID);
    // What is told to the owner of a list is nothing to the sender, and the other way round: where nobody hears that it
    // fails for that one, or it has failed already, or where a success is to be told, this one gets it as well.
    if envelope.sender_for(known) != envelope.sender_for(new) {
        let is_heard = known.notify.unwrap_or(Notify::UNSAID).failure;
        let last = claim.standing(index).and_then(|s| s.last);
        let last = last.map(|(_, outcome)| outcome);
        let has_failed = last.as_ref().is_some_and(|o| o.verdict == Verdict::Failed);
        return Ok(match last {
            Some(had) if had.verdict == Verdict::Delivered => match wishes.success {
                true => Shared::Had(had),
                false => Shared::Covered,
            },
            _ if wishes.success || wishes.failure && (has_failed || !is_heard) => Shared::Apart,
            _ => Shared::Covered,
        });
    }
    if !known.clone().ask_for(new) {
        return Ok(Shared::Covered);
    }
    let later = |sentence: String| Trouble {
        enhanced: Enhanced(4, 3, 0),
        sentence,
    };
    let asked = claim.ask(clock::now(), index, new);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::mailbox::scratch::Scratch;
    use crate::host::spool::Spool;
    use crate::proto::envelope::sample;

    /// Nobody has a place by an expansion that was put off: whoever gets that place would be taken for him.
    #[test]
    fn only_who_is_new_has_a_place_when_all_is_known() {
        let scratch = Scratch::new("same");
        let spool = Spool::new(&scratch.path("spool"), 0, 100);
        spool.create().unwrap();
        let mut envelope = sample(&["team@x.example", "known@y.example"]);
        envelope.recipients[1].notify = Some(Notify::default());
        let mut draft = spool.begin(&envelope).unwrap();
        draft.write(b"Subject: x\r\n\r\n").unwrap();
        let claim = draft.commit().unwrap();
        let leaf = |address: &str| Leaf {
            address: Mailbox::parse(address).unwrap(),
            end: None,
            user: None,
            sender: None,
            through: None,
            path: Vec::new(),
        };
        let known = leaf("known@y.example").key();
        let same = Same::from([(known, 1)]);
        let divided = |addresses: &[&str]| {
            let leaves = addresses.iter().map(|a| leaf(a)).collect();
            let team = (0, &envelope.recipients[0]);
            let divided = divide(&claim, team, leaves, &same);
            divided.map(|successors| successors.keys).ok()
        };
        // What is to be told of him is being settled.
        claim.begin_settlement(&[1]);
        let other = leaf("other@y.example").key();
        assert_eq!(divided(&["other@y.example"]), Some(vec![other.clone()]));
        assert_eq!(divided(&["other@y.example", "known@y.example"]), None);
        claim.end_settlement(&[1]);
        assert_eq!(
            divided(&["other@y.example", "known@y.example"]),
            Some(vec![other])
        );
    }
}
