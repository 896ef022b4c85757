//! The queue run: who is due, claimed and grouped by next hop, until everything was tried once.
//!
//! 1. sweep what crashed writers left
//! 2. list new/ and cur/ (what is not due is not even opened), look at each envelope, group by next hop
//! 3. a few workers take the groups; in a group, one message after another over one connection
//! 4. each message is claimed, tried for its recipients of this hop, and settled ([`super::settle`])
//! 5. the reports made on the way are tried in the same run, and what is new while others take their time
//!
//! Steps 3 to 5 are a pass ([`super::pass`]). Two runs share the work: the lock of a queue file decides, message by
//! message.

use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;

use super::fault::{self, By, Process, Then};
use super::pass::Pass;
use super::settle::policy;
use super::stopping::{ANSWERS, Tell};
use super::{Context, admin, deliver, hops, parent, tlsrpt};
use crate::cli::{Invocation, Select, complain};
use crate::error::{Error, Result};
use crate::events;
use crate::host::accounts::{self, Account};
use crate::host::spool::{Claim, Folder, Item};
use crate::host::{clock, privilege};
use crate::proto::end::Mailboxes;
use crate::proto::envelope::{Envelope, Parsed};
use crate::proto::order;
use crate::proto::route::Hop;

/// A delivery needs little; a thread that has more than it needs takes memory from a small machine.
pub const STACK: usize = 256 * 1024;

/// `minimta -q`: tries what is selected, once. A user of a shared queue tries what he has sent himself, and leaves what he
/// may not deliver to the daemon; he could hold up what others have sent by stopping his process.
///
/// # Errors
/// Those of reading the spool; `TempFail` when there is a message that could not be had to be tried. A message that could
/// not be delivered is none.
pub fn run(context: &Context, call: &Invocation) -> Result<()> {
    if let Some(keeper) = context.keeper.as_ref().filter(|k| k.is_parent()) {
        // There are none; but it says that, too.
        keeper.take_doors(&context.config, false)?;
    }
    make_spool(context)?;
    fault::then(Then::Again(Process::Run, By::of(context, false)));
    let is_guest = privilege::has_group();
    if is_guest && let Some(daemon) = context.daemon() {
        daemon.wake();
    }
    context
        .spool
        .sweep(&mut |id| events::swept(id, "its writer died before it was accepted"));
    let now = clock::now();
    let mut items = context.spool.scan(Folder::New)?;
    items.extend(match call.due {
        true => context.spool.scan(Folder::Cur)?,
        false => context.spool.names(Folder::Cur)?,
    });
    let named = |item: &Item| call.only.is_empty() || call.only.contains(&item.id);
    items.retain(|item| {
        (!call.due || is_due(context, item, now))
            && named(item)
            && is_selected(context, item, &call.select)
    });
    if is_guest {
        items.retain(|item| admin::is_ours(context, item));
    }
    let talk = context.verbose || std::io::stderr().is_terminal();
    if !items.is_empty() {
        heed_signals(context, talk);
    }
    let run = Pass::new(context, talk);
    let run = if call.due { run.of_what_is_due() } else { run };
    let more = || {
        // Who asks for some messages wants no others.
        let is_for_all = call.only.is_empty() && call.select.is_empty();
        let mut items = match is_for_all {
            true => context.spool.scan(Folder::New).unwrap_or_default(),
            false => Vec::new(),
        };
        items.retain(|item| {
            is_due(context, item, clock::now()) && (!is_guest || admin::is_ours(context, item))
        });
        items
    };
    run.all_and_more(items, &more);
    context.stopping.rest_if_ending();
    let tally = run.into_tally();
    if is_guest || tally.next.is_some() {
        // The daemon passed over what was held here.
        have_looked(context);
    }
    tlsrpt::settle(context);
    if talk {
        complain(&context.program, &tally.sentence(now));
    }
    context.ledger.flush();
    context.ledger.fold();
    if tally.tried > 0 {
        events::queue_run(tally.delivered, tally.deferred, tally.failed);
    }
    match tally.untried {
        0 => Ok(()),
        // Why was said of each.
        _ => Err(Error::TempFail(
            "not all mail of the queue could be tried; it waits for the next queue run".to_owned(),
        )),
    }
}

/// Makes the folders of the spool that are missing, which those who hand in mail by the program's group cannot. One that
/// is root's to make is not begun by others; and without such a group they are made with the first message.
///
/// # Errors
/// `CannotCreate`.
pub fn make_spool(context: &Context) -> Result<()> {
    let root = context.spool.root();
    let is_shared = || {
        let program = std::env::current_exe().and_then(|path| path.metadata());
        program.is_ok_and(|about| about.mode() & 0o2000 != 0)
    };
    let lacks = |folder: Folder| !root.join(folder.name()).is_dir();
    let is_worker = context.keeper.as_ref().is_some_and(|k| k.is_parent());
    let is_bare = || root.is_dir() && (lacks(Folder::Tmp) || lacks(Folder::New));
    if is_worker || is_bare() && context.is_private() && is_shared() {
        context.spool.create()?;
    }
    Ok(())
}

/// The attempt right after a submission: of a message that is still held, or of some that were let go.
///
/// In the background it is left to the daemon, when one runs; otherwise it goes on in a process of its own, if one of
/// the few places that its user has for such is free and there is a recipient that this process can try at all. If none
/// is, it is left to one of the user's that has one.
pub fn first_attempt(
    context: &Context,
    held: Option<Claim>,
    mut items: Vec<Item>,
    background: bool,
) {
    if background && let Some(daemon) = context.daemon() {
        // It cannot take what is still held here.
        drop(held);
        daemon.wake();
        return;
    }
    if let Some(servant) = &context.servant {
        let ids = held.iter().map(|claim| claim.id.clone());
        let ids: Vec<String> = ids.chain(items.into_iter().map(|item| item.id)).collect();
        // The worker cannot take what is still held here.
        drop(held);
        return attempt_by_worker(context, servant, &ids, background);
    }
    let worth = |claim: &Claim| {
        claim
            .progress()
            .waiting()
            .into_iter()
            .any(|i| deliver::is_ours_to_try(context, claim, i))
    };
    if items.is_empty() && !held.as_ref().is_some_and(worth) {
        if let Some(claim) = held {
            leave(context, claim);
        }
        return;
    }
    let (mut place, workers) = (None, context.config.queue.workers);
    if background {
        place = context.spool.place(context.caller_uid(), workers);
        // The one who asked is told "done" and goes on; standard streams are his, not ours.
        if place.is_none() || privilege::detach().is_err() {
            return;
        }
    }
    match held.as_ref().map(|claim| owing(context, claim)) {
        // Nobody answers for what ends in a mailbox.
        Some(0) if items.is_empty() => {}
        Some(1) if items.is_empty() => {
            let tell = tell(context, context.verbose);
            context.stopping.heed_signals_later(tell);
        }
        // More than one thread may be at work.
        _ => heed_signals(context, context.verbose),
    }
    let run = Pass::new(context, context.verbose);
    let held = held.map(|claim| run.adopt(claim));
    items.extend(held.iter().map(|claim| fresh(claim.id.clone())));
    run.all(items);
    context.stopping.rest_if_ending();
    if let Some(claim) = held {
        run.release_own(claim);
    }
    if run.leaves_work() {
        have_looked(context);
    }
    while place.is_some() && !run.is_blocked() {
        // Another process of our user's, that found no place in the meantime, relies on us to look after its message.
        place = place.and_then(|place| context.spool.next_wanted(place, workers));
        if place.is_some() {
            let mut items = context.spool.scan(Folder::New).unwrap_or_default();
            // Whoever can stop a process must not hold up with it what others have sent.
            items.retain(|item| {
                is_due(context, item, clock::now()) && admin::is_ours(context, item)
            });
            run.all(items);
        }
    }
}

/// Has the daemon look into the queue, if one runs: what was put off here, or left to it, is due before it would look by
/// itself.
pub fn have_looked(context: &Context) {
    if let Some(daemon) = context.daemon() {
        daemon.wake_for_all();
    }
}

/// Signals end this process from now on, but not before whoever has all of a message has answered for it.
fn heed_signals(context: &Context, talk: bool) {
    context.stopping.heed_signals(tell(context, talk));
}

/// Tells whoever wants to know that it does not end at once.
fn tell(context: &Context, talk: bool) -> Tell {
    let program = context.program.clone();
    Tell::new(move || {
        if talk {
            let words = format!(
                "whoever has a message whole has not answered for it yet: minimta waits for that, {} seconds at most; \
                 ask again to end it at once",
                ANSWERS.as_secs()
            );
            complain(&program, &words);
        }
    })
}

/// To how many places a message goes, if one of them is a server, or a command that has all mailboxes; or 0.
fn owing(context: &Context, claim: &Claim) -> usize {
    let hops = hops::of_message(context, &claim.envelope());
    let waiting = claim.progress().waiting().into_iter();
    let mut places: Vec<&Hop> = waiting.filter_map(|i| hops.get(i)).collect();
    order::sort(&mut places, &Ord::cmp);
    places.dedup();
    let is_kept = matches!(context.config.local.mailbox, Mailboxes::Files(_));
    let is_far = |hop: &&Hop| !is_kept || **hop != Hop::Local;
    if places.iter().any(is_far) {
        places.len()
    } else {
        0
    }
}

/// Leaves a message to those who have more rights than this process.
fn leave(context: &Context, claim: Claim) {
    let id = claim.id.clone();
    let mut words = format!("{id}: {}", deliver::FOR_ROOT);
    if let Some(daemon) = context.daemon() {
        // It cannot take what is still held here.
        drop(claim);
        daemon.wake();
        words = format!("{id}: left to the daemon, which delivers it now");
    }
    if context.verbose {
        complain(&context.program, &words);
    }
}

/// Whether a message is to be tried by now. A time that no schedule could have set was set by a clock that was wrong,
/// and would strand the message until then.
pub fn is_due(context: &Context, item: &Item, now: i64) -> bool {
    let most = policy(context).max.saturating_mul(2);
    let most = most.max(context.config.submit.collapse.as_secs());
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    item.due <= now || item.due > now.saturating_add(most)
}

/// The same for what root submits: root does not do it himself, and has helpers made for mail of other users.
fn attempt_by_worker(context: &Context, servant: &Account, ids: &[String], background: bool) {
    if ids.is_empty() {
        return;
    }
    let workers = context.config.queue.workers;
    let mut place = None;
    if background {
        place = context.spool.place(accounts::caller_uid(), workers);
        if place.is_none() || privilege::detach().is_err() {
            return;
        }
    }
    let run = |ids: &[String]| {
        let done = privilege::be_root()
            .map_err(Error::Os)
            .and_then(|()| parent::run_queue(context, servant, ids));
        if let Err(error) = &done {
            events::trouble("-", error);
        }
        done.is_ok()
    };
    let mut goes_on = run(ids);
    while goes_on && place.is_some() {
        place = place.and_then(|place| context.spool.next_wanted(place, workers));
        goes_on = place.is_some() && run(&[]);
    }
}

fn is_selected(context: &Context, item: &Item, select: &[Select]) -> bool {
    let is_of_those = |(parsed, _): (Parsed, _)| is_of(&parsed.envelope, select);
    is_named(item, select)
        && (asks_for_nobody(select) || context.spool.look(item).is_some_and(is_of_those))
}

/// Whether a queue id is one of those that are asked for.
pub fn is_named(item: &Item, select: &[Select]) -> bool {
    let other = |s: &Select| matches!(s, Select::Id(part) if !item.id.contains(part.as_str()));
    !select.iter().any(other)
}

/// Whether senders and recipients are all the same to whoever asks.
pub fn asks_for_nobody(select: &[Select]) -> bool {
    select.iter().all(|s| matches!(s, Select::Id(_)))
}

/// Whether a message is from, and for, those who are asked for.
pub fn is_of(envelope: &Envelope, select: &[Select]) -> bool {
    let contains = |text: &dyn std::fmt::Display, part: &str| {
        text.to_string()
            .to_lowercase()
            .contains(&part.to_lowercase())
    };
    select.iter().all(|s| match s {
        Select::Id(_) => true,
        Select::Sender(part) => contains(&envelope.sender, part),
        Select::Recipient(part) => envelope
            .recipients
            .iter()
            .any(|r| contains(&r.address, part)),
    })
}

/// A message that was just accepted.
pub fn fresh(id: String) -> Item {
    Item {
        id,
        folder: Folder::New,
        due: 0,
    }
}
