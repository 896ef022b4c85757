//! `sendmail`: a message on standard input becomes a message in the spool.
//!
//! 1. read the header; recipients from it (`-t`) and from the command line; what is missing is made, Bcc goes
//! 2. stream the rest into the spool's draft, to the end of standard input: no network, no lock on the queue
//! 3. commit: from here on the mail is safe, and the exit code is 0
//! 4. report the recipients that are no addresses; try the others, in the background unless told otherwise
//!
//! A bad recipient among good ones does not stop the message: it is named on standard error and in a report to
//! the sender. With no good recipient nothing is kept.

use std::io::Read;

use super::direct::{self, Resting};
use super::intake::{Accepted, Intake, Origin, Repeats, envelope, own_address};
use super::sink::Left;
use super::{Context, fault, queue, settle};
use crate::cli::{Delivery, Invocation, complain};
use crate::error::{Error, Result};
use crate::host::accounts::Account;
use crate::host::spool::{Folder, Item};
use crate::host::words;
use crate::proto::address::{Mailbox, ReversePath};
use crate::proto::addrlist::addresses;
use crate::proto::data::LocalText;
use crate::proto::header::{Field, Found, Header};
use crate::proto::outcome::{Outcome, Verdict, one_line};
use crate::proto::reply::Enhanced;

/// Octets read from standard input at a time, and as soon as it brings so many: most messages are shorter. No fewer than
/// the standard library reads at a time, which would else be copied once more.
const FIRST: usize = 8 * 1024;
const BLOCK: usize = 64 * 1024;
/// Octets of them that are made canonical at a time.
const STEP: usize = 1024;
/// Octets that are left free before them. What comes of a step is twice as long, at most, and what earlier steps held
/// back: it then never reaches what is not read yet.
const GAP: usize = 2 * STEP;

/// Takes the message on standard input.
///
/// # Errors
/// `Usage` for a sender that is none; `Data` without recipients, or for a message over a limit; `NoUser` when no
/// recipient is known; `TempFail` and the like when the spool would not have it. Nothing is kept then.
pub fn run(context: &Context, call: &Invocation) -> Result<()> {
    let mut intake = intake(context, call)?;
    let nuls = read(&mut intake, call.dot_ends)?;
    if nuls > 0 {
        complain(
            &context.program,
            &format!("{nuls} NUL octets were left out of the message"),
        );
    }
    if direct::is_wanted(context) && call.delivery != Delivery::Queue {
        return straight(context, call.delivery, intake.finish()?);
    }
    let accepted = intake.commit()?;
    if let Repeats::New(first) = &accepted.repeats {
        first.remember(context);
    }
    after(context, call.delivery, accepted);
    Ok(())
}

/// Reads the message to its end; returned is how many NUL octets were left out of it.
fn read(intake: &mut Intake<'_>, dot_ends: bool) -> Result<u64> {
    let mut input = std::io::stdin().lock();
    let mut text = LocalText::new(dot_ends);
    let mut block = vec![0; GAP + FIRST];
    let mut is_empty = true;
    loop {
        let length = match input.read(block.get_mut(GAP..).unwrap_or_default()) {
            Ok(0) => break,
            Ok(length) => length,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => {
                let why = words(&e);
                return Err(Error::Io(format!(
                    "cannot read the message on standard input: {why}"
                )));
            }
        };
        is_empty = false;
        let filled = GAP + length;
        if hand_on(
            &mut text,
            block.get_mut(..filled).unwrap_or_default(),
            intake,
        )? {
            return Ok(text.nuls());
        }
        if filled == block.len() && length == FIRST {
            // The smaller one goes first: it is never there beside the larger one.
            drop(block);
            block = vec![0; GAP + BLOCK];
        }
    }
    if is_empty {
        return Err(Error::Data(
            "standard input is empty: there is no message to send".to_owned(),
        ));
    }
    let mut last = Vec::new();
    text.finish(&mut last);
    intake.write(&last)?;
    Ok(text.nuls())
}

/// Makes what stands in the block behind the gap canonical, in its place: a large message would else need the room twice.
/// Returned is whether the message has ended.
fn hand_on(text: &mut LocalText, block: &mut [u8], intake: &mut Intake<'_>) -> Result<bool> {
    let mut step = Vec::with_capacity(GAP);
    // What was made stands from the beginning on, and what is to be made begins here.
    let (mut made, mut rest) = (0, GAP);
    let mut ended = false;
    while rest < block.len() && !ended {
        let next = block.len().min(rest + STEP);
        step.clear();
        ended = text
            .feed(block.get(rest..next).unwrap_or_default(), &mut step)
            .ended;
        rest = next;
        if made + step.len() > rest {
            // Only of a text of shortest lines.
            intake.write(block.get(..made).unwrap_or_default())?;
            made = 0;
        }
        // The gap is long enough for this to end before what is not read yet, which is in the block.
        block[made..made + step.len()].copy_from_slice(&step);
        made += step.len();
    }
    intake.write(block.get(..made).unwrap_or_default())?;
    Ok(ended)
}

/// Passes the message on before this process ends; it goes into the spool only if that fails.
fn straight(context: &Context, delivery: Delivery, accepted: Accepted) -> Result<()> {
    if !accepted.bad.is_empty() || matches!(accepted.repeats, Repeats::Waits) {
        accepted.claim.store()?;
        after(context, delivery, accepted);
        return Ok(());
    }
    let Accepted { claim, repeats, .. } = accepted;
    let resting = Resting::default();
    let passage = direct::Passage::new(context, &resting);
    let outgoing = passage.outgoing();
    let mut way = passage.way(&outgoing);
    let (mut message, mut reports) = (None, Vec::new());
    let passed = way.pass(claim, &mut |left| match left {
        Left::Message(claim) => message = Some(*claim),
        Left::Report(id) => reports.push(queue::fresh(id)),
        // It was tried just now.
        Left::Due(_) => queue::have_looked(context),
    });
    way.close();
    passed?;
    fault::promised();
    if let Repeats::New(first) = repeats {
        first.remember(context);
    }
    if message.is_some() || !reports.is_empty() {
        let background = delivery == Delivery::Background && !context.verbose;
        queue::first_attempt(context, message, reports, background);
    }
    Ok(())
}

/// What follows the commit: nothing in it can take back what was promised, so it has no error.
fn after(context: &Context, delivery: Delivery, accepted: Accepted) {
    fault::promised();
    let Accepted {
        claim,
        bad,
        repeats,
        held: _,
    } = accepted;
    if matches!(repeats, Repeats::Waits) {
        // It is tried when it is due, by whoever looks after the queue then.
        return queue::have_looked(context);
    }
    let fail = |(index, why): (usize, String)| {
        (
            index,
            Outcome::new(Verdict::Failed, None, Enhanced(5, 1, 3), "", &why),
        )
    };
    let failed: Vec<(usize, Outcome)> = bad.into_iter().map(fail).collect();
    let reports = if failed.is_empty() {
        Vec::new()
    } else {
        settle::settle(context, &claim, failed, &[], &|_| ())
    };
    if delivery == Delivery::Queue {
        return;
    }
    let background = delivery == Delivery::Background && !context.verbose;
    let reports = reports.into_iter().map(|id| Item {
        id,
        folder: Folder::New,
        due: 0,
    });
    queue::first_attempt(context, Some(claim), reports.collect(), background);
}

/// The intake for `sendmail`: sender, recipients and DSN wishes from the command line.
fn intake<'a>(context: &'a Context, call: &Invocation) -> Result<Intake<'a>> {
    let caller = context.caller();
    let sender = sender(context, call.sender.as_deref(), &caller)?;
    let mut envelope = envelope(&caller, sender);
    envelope.ret = call.ret;
    envelope.envid = call.envid.clone();
    let mut intake = Intake::new(context, Origin::Local(caller), envelope, None, None)?;
    intake.extract = call.extract;
    intake.notify = call.notify;
    intake.collapse = !context.config.submit.collapse.is_zero();
    intake.full_name = call.full_name.clone().or(intake.full_name);
    for argument in &call.arguments {
        add_argument(&mut intake, argument);
    }
    if !call.extract {
        // Nothing that the message will say can change this, so nobody has to wait for it.
        intake.check_recipients(None)?;
    }
    Ok(intake)
}

/// An argument is an address, or a list of them as in a To field.
fn add_argument(intake: &mut Intake<'_>, argument: &str) {
    if argument.chars().any(char::is_control) {
        let shown = one_line(argument);
        let why = format!("{shown} is not a valid address: it has a control character");
        return intake.bad.push((shown, why));
    }
    let mut list = Header::default();
    list.append(Field::made("To", argument));
    let found = list.recipients(&intake.context.config.hostname);
    if found == Found::default() {
        intake.bad.push((
            argument.to_owned(),
            format!("{argument:?} names no recipient"),
        ));
    }
    intake.add(found);
}

/// The envelope sender: `-f`, or the caller.
pub fn sender(context: &Context, typed: Option<&str>, caller: &Account) -> Result<ReversePath> {
    let Some(typed) = typed else {
        return own_address(context, caller).map(ReversePath::Mailbox);
    };
    let bare = typed.trim();
    let bare = bare
        .strip_prefix('<')
        .and_then(|t| t.strip_suffix('>'))
        .unwrap_or(bare);
    if bare.is_empty() {
        return Ok(ReversePath::Null);
    }
    let qualify = |spec: &str| Mailbox::qualify(spec, &context.config.hostname);
    // Some programs give what stands in From, with a name or a comment.
    let named = || {
        let mut list = addresses(typed.as_bytes());
        let (one, other) = (list.next()?.spec.ok()?, list.next());
        let is_plain = other.is_none() && !typed.contains(char::is_control);
        is_plain.then(|| qualify(&one).ok())?
    };
    let mailbox = qualify(bare).or_else(|why| named().ok_or(why));
    mailbox.map(ReversePath::Mailbox).map_err(|why| {
        Error::Usage(format!(
            "the sender {} of -f is not a valid address: {why}",
            one_line(typed)
        ))
    })
}
