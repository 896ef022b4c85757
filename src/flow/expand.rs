//! The recipients of this system that stand for others: aliases, ~/.forward, the address for unknown names.
//!
//! 1. each recipient who waits and is of this system is looked up ([`crate::proto::expand`])
//! 2. who is just himself stays as he is; nothing is written
//! 3. in place of any other, the journal gets those he stands for, without those whom the message has already
//! 4. the sender is told of the expansion where he asked for it
//! 5. what ends here is delivered by the caller; what goes elsewhere waits for its hop like any other recipient
//!
//! An address that cannot be expanded now, because a file must be mended first, is deferred.

mod here;
mod same;

use self::here::Here;
pub use self::here::included;
use self::same::{Same, Seats, Successors};
use super::forward::Reader;
use super::helpers::Helpers;
use super::{Context, Outcomes, deliver, hops, srs, text};
use crate::events;
use crate::host::accounts::{self, Account};
use crate::host::clock;
use crate::host::spool::Claim;
use crate::proto::address::{Mailbox, ReversePath};
use crate::proto::alias::{Table, Target};
use crate::proto::envelope::{Envelope, Recipient};
use crate::proto::expand::{self, Found, Leaf, Rules, Start, Trouble, World, without_detail};
use crate::proto::journal::Standing;
use crate::proto::outcome::{Outcome, Verdict};
use crate::proto::reply::Enhanced;
use crate::proto::route::{Hop, is_role};

fn rules(context: &Context) -> Rules<'_> {
    let local = &context.config.local;
    Rules {
        delimiter: local.delimiter,
        unknown_user: local.unknown_user.as_ref(),
    }
}

/// The user of a name. A uid without an entry, as containers have them, still hears of what became of its mail.
pub fn named(name: &str) -> Result<Option<Account>, String> {
    let found = accounts::entry(name)?;
    let found = found.or_else(|| Some(accounts::caller()).filter(|caller| caller.name == name));
    match found {
        None => accounts::see_that_there_are_users().map(|()| None),
        found => Ok(found),
    }
}

/// Whether an account has nobody who reads its mail.
fn is_service(context: &Context, account: &Account) -> bool {
    !account.is_person() && account.uid != 0 && account.name != root(context)
}

/// Who reads root's mail: on a private system whoever owns it.
fn root(context: &Context) -> String {
    match context.keeper.is_none() && context.is_private() {
        true => accounts::caller().name,
        false => "root".to_owned(),
    }
}

/// Whether a name without an alias is one whose mail is root's: that of a role, or of a service.
pub fn is_for_root(context: &Context, name: &str) -> bool {
    match named(name) {
        Ok(Some(account)) => is_service(context, &account),
        Ok(None) => is_role(name),
        // That says nothing about the name.
        Err(_) => false,
    }
}

/// Whose mailbox an address of this system is, aliases aside. Postmaster and the like are root, or whoever owns a
/// private system: someone reads their mail with no configuration at all (RFC 5321 4.5.1).
///
/// # Errors
/// A sentence when the user database does not answer; that says nothing about the user.
pub fn account(context: &Context, address: &Mailbox) -> Result<Option<Account>, String> {
    let whole = address.local();
    let base = without_detail(whole, context.config.local.delimiter);
    for name in std::iter::once(whole).chain(base) {
        if let Some(account) = named(name)? {
            return Ok(Some(account));
        }
    }
    match is_role(base.unwrap_or(whole)) {
        true => named(&root(context)),
        false => Ok(None),
    }
}

/// Whether mail for an address of this system finds anybody: an alias, a user, or who stands for all others.
///
/// # Errors
/// A sentence when that cannot be told now.
pub fn is_known(context: &Context, address: &Mailbox) -> Result<bool, String> {
    if let Some(original) = srs::original(context, address)? {
        return Ok(original.is_ok());
    }
    let table = context.aliases.table()?;
    let exists = |address: &Mailbox| -> Result<bool, String> {
        Ok(stands(context, &table, address) || account(context, address)?.is_some())
    };
    if exists(address)? {
        return Ok(true);
    }
    // Who stands for all others must be somebody himself.
    let other = match &context.config.local.unknown_user {
        Some(Target::Name(name)) => Mailbox::new(name.clone(), address.domain().clone()).ok(),
        Some(Target::Address(other)) if hops::of(context, other) == Hop::Local => {
            Some(other.clone())
        }
        Some(_) => return Ok(true),
        None => None,
    };
    if other.is_some_and(|other| exists(&other).unwrap_or(true)) {
        return Ok(true);
    }
    let here = Here {
        context,
        reader: Reader::Nobody,
        table,
        has_been_at: &|_| false,
    };
    here.is_doubtful(address).map_or(Ok(false), Err)
}

/// Whether an alias stands for an address, or is likely to: then any process can say whom it means.
pub fn has_alias(context: &Context, address: &Mailbox) -> bool {
    let table = context.aliases.table();
    table.is_ok_and(|table| stands(context, &table, address))
}

fn stands(context: &Context, table: &Table, address: &Mailbox) -> bool {
    let whole = address.local();
    let base = without_detail(whole, context.config.local.delimiter);
    table.has(whole)
        || base.is_some_and(|base| table.has(base))
        || table.has("root")
            && (is_role(base.unwrap_or(whole))
                || matches!(account(context, address), Ok(Some(a)) if is_service(context, &a)))
}

/// Whom an address of this system stands for, in the end; for people who ask.
///
/// # Errors
/// See [`Trouble`].
pub fn look(context: &Context, address: &Mailbox) -> Result<Found, Trouble> {
    let here = Here::new(context, Reader::asked(), &|_| false)?;
    let start = Start {
        address,
        user: None,
        sender: &ReversePath::Null,
        before: &[],
    };
    expand::expand(&here, rules(context), start)
}

/// What became of recipients that were looked up.
#[derive(Debug, Default)]
pub struct Expanded {
    /// Those of this system, old and new, that can be delivered now.
    pub ready: Vec<usize>,
    /// Those that were not expanded, and why.
    pub outcomes: Outcomes,
    /// Those that others took the place of, with how many these are.
    pub replaced: Vec<Replaced>,
}

/// A recipient that others took the place of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// Which.
    pub index: usize,
    /// How many new ones there are.
    pub count: usize,
    /// Whether it is a mailing list, which takes the message over.
    pub is_list: bool,
    /// Whether it stands for a single one, who has its wishes.
    pub is_alone: bool,
    /// What became of this single one, who had the message before anybody knew what is asked for here.
    pub had: Option<Outcome>,
}

/// Expands those recipients of a message, all of this system, whose indices are given.
pub fn expand(
    context: &Context,
    helpers: Option<&Helpers>,
    claim: &Claim,
    waiting: &[usize],
) -> Expanded {
    let mut done = Expanded::default();
    let has_been_at = |address: &Mailbox| was_at(context, claim, address);
    let here = match Here::new(context, Reader::of(helpers), &has_been_at) {
        Ok(here) => here,
        Err(trouble) => {
            done.outcomes = waiting.iter().map(|i| (*i, outcome(&trouble))).collect();
            return done;
        }
    };
    let (mut waiting, mut themselves) = (waiting.to_vec(), Same::new());
    while !waiting.is_empty() {
        waiting = round(&here, claim, &waiting, &mut themselves, &mut done);
    }
    done
}

/// Looks each of them up once. Returned are those new ones that must be looked up as well; `themselves` are those who
/// were found to stand for themselves, so far.
fn round(
    here: &Here<'_>,
    claim: &Claim,
    waiting: &[usize],
    themselves: &mut Same,
    done: &mut Expanded,
) -> Vec<usize> {
    let (context, envelope) = (here.context, claim.envelope());
    let mut replaced = Vec::new();
    let mut seats = Seats::found(&envelope);
    for index in waiting {
        let Some(recipient) = envelope.recipients.get(*index) else {
            continue;
        };
        if recipient.origin.is_some() && recipient.end().is_some() {
            done.ready.push(*index);
            continue;
        }
        match one(here, &envelope, recipient) {
            Err(outcome) => done.outcomes.push((*index, outcome)),
            Ok(leaves) if same::is_itself(context, recipient, &leaves) => {
                let keys = leaves.iter().map(Leaf::key);
                match seats.take(&leaves, *index) {
                    None => {
                        themselves.extend(keys.map(|key| (key, *index)));
                        done.ready.push(*index);
                    }
                    Some(other) => {
                        let mut same = keys.map(|key| (key, other)).collect();
                        replace(context, claim, (*index, recipient), leaves, &mut same, done);
                    }
                }
            }
            Ok(leaves) => replaced.push((*index, leaves)),
        }
    }
    if replaced.is_empty() {
        return Vec::new();
    }
    let others = envelope.recipients.iter().enumerate();
    let others = others.filter(|(index, _)| replaced.iter().all(|(i, _)| i != index));
    let standings = claim.progress().standings;
    let mut same = themselves.clone();
    for (index, other) in others {
        let has_it = standings.get(index).is_some_and(Standing::is_delivered);
        for key in same::has_already(context, other, has_it) {
            same.entry(key).or_insert(index);
        }
    }
    let mut further = Vec::new();
    for (index, leaves) in replaced {
        if let Some(recipient) = envelope.recipients.get(index) {
            let unknown = replace(context, claim, (index, recipient), leaves, &mut same, done);
            further.extend(unknown);
        }
    }
    further
}

/// Writes down that these stand for a recipient, but for those who are the `same` as somebody who has the message. Returned
/// are the new ones that must be looked up as well.
fn replace(
    context: &Context,
    claim: &Claim,
    (index, recipient): (usize, &Recipient),
    leaves: Vec<Leaf>,
    same: &mut Same,
    done: &mut Expanded,
) -> Vec<usize> {
    let (is_alone, is_list) = (leaves.len() == 1, leaves.iter().any(|l| l.sender.is_some()));
    let first = claim.envelope().recipients.len();
    let successors = match same::divide(claim, (index, recipient), leaves, same) {
        Ok(successors) => successors,
        Err(trouble) => {
            done.outcomes.push((index, outcome(&trouble)));
            return Vec::new();
        }
    };
    let Successors { new, keys, .. } = successors;
    let numbered = || new.iter().enumerate().map(|(i, r)| (first + i, r));
    let ready: Vec<usize> = numbered()
        .filter(|(_, r)| r.end().is_some())
        .map(|(i, _)| i)
        .collect();
    let unknown: Vec<usize> = numbered()
        .filter(|(_, r)| is_name(context, r))
        .map(|(i, _)| i)
        .collect();
    let count = new.len();
    events::expanded(&claim.id, &recipient.address, &new, &successors.others);
    if let Err(error) = claim.expand(clock::now(), index, new) {
        let trouble = Trouble {
            enhanced: Enhanced(4, 3, 0),
            sentence: error.to_string(),
        };
        done.outcomes.push((index, outcome(&trouble)));
        return Vec::new();
    }
    // Not before: nobody is to be taken for the one who has such a number later.
    same.extend(keys.into_iter().zip(first..));
    done.ready.extend(ready);
    done.replaced.push(Replaced {
        index,
        count,
        is_list,
        is_alone,
        had: successors.had,
    });
    unknown
}

/// Whether it is an address of this system that was not looked at yet.
fn is_name(context: &Context, recipient: &Recipient) -> bool {
    let origin = recipient.origin.as_ref();
    origin.is_some_and(|o| o.end.is_none() && o.user.is_none())
        && hops::of(context, &recipient.address) == Hop::Local
}

/// Whom one recipient stands for.
fn one(here: &Here<'_>, envelope: &Envelope, recipient: &Recipient) -> Result<Vec<Leaf>, Outcome> {
    let origin = recipient.origin.as_ref();
    let mut before = Vec::new();
    let mut of = origin.map(|origin| origin.of);
    while let Some(parent) = of.and_then(|of| envelope.recipients.get(of)) {
        let origin = parent.origin.as_ref();
        before.push((parent.address.clone(), origin.and_then(|o| o.user.clone())));
        of = origin.map(|origin| origin.of);
    }
    before.reverse();
    let start = Start {
        address: &recipient.address,
        user: origin.and_then(|origin| origin.user.as_deref()),
        sender: &envelope.sender,
        before: &before,
    };
    match expand::expand(here, rules(here.context), start) {
        Ok(Found::Leaves(leaves)) => Ok(leaves),
        Ok(Found::Nobody) => {
            let text = format!("there is no user {} here", recipient.address.local());
            Err(Outcome::new(
                Verdict::Failed,
                None,
                Enhanced(5, 1, 1),
                "",
                &text,
            ))
        }
        Err(trouble) => Err(outcome(&trouble)),
    }
}

fn outcome(trouble: &Trouble) -> Outcome {
    let verdict = match trouble.enhanced {
        Enhanced(5, ..) => Verdict::Failed,
        _ => Verdict::Deferred,
    };
    Outcome::new(verdict, None, trouble.enhanced, "", &trouble.sentence)
}

/// Whether a message says that it was delivered for an address before. Whoever makes that up only keeps it from being
/// sent on.
fn was_at(context: &Context, claim: &Claim, address: &Mailbox) -> bool {
    let hostname = &context.config.hostname;
    text::header(claim).is_ok_and(|header| deliver::was_here(&header, hostname, address))
}
