//! `--test ADDRESS`: why does my mail not go out? The way of a message, gone up to its recipient, and told.
//!
//! 1. as whom the sender leaves, and where the recipient's mail goes
//! 2. each host in its order: what it has to prove, every line that is said, TLS and certificate
//! 3. the question whether it would take such mail; and goodbye. After a "not now" the next one is asked, as in a delivery
//!
//! Nothing is sent, and nothing is kept but a policy of MTA-STS that was fetched on the way.

use std::sync::OnceLock;

use super::Context;
use super::admin::place;
use super::dialogue::{Outgoing, left_until};
use super::exchange::own_domains;
use super::hops;
use super::links::{Shared, Station};
use super::policies::Asking;
use super::send::Connection;
use super::verify::{goals, sender};
use crate::cli::{Invocation, say};
use crate::error::{Error, Result};
use crate::host::privilege;
use crate::proto::address::Mailbox;
use crate::proto::outcome::{Outcome, Verdict};
use crate::proto::reply::Enhanced;
use crate::proto::route::Hop;

/// Goes the way of a message up to the recipient, says what it meets, and sends nothing.
///
/// # Errors
/// What would keep a message to this address from being delivered now.
pub fn test(context: &Context, call: &Invocation, text: &str) -> Result<()> {
    let mut hops = Vec::new();
    let sender = sender(context, call)?;
    say(&format!("{text}\n"))?;
    for goal in goals(context, sender.as_ref(), text) {
        if let Some(fault) = goal.fault {
            return Err(fault);
        }
        say(&format!("  goes to {}\n", goal.in_words()))?;
        if let Some((peer, mailbox)) = goal.server {
            hops.push((Hop::Lmtp(peer), mailbox));
        } else if let Ok(address) = Mailbox::qualify(&goal.address, &context.config.hostname) {
            hops.push((
                hops::of_mail_from(context, sender.as_ref(), &address),
                address,
            ));
        }
    }
    // As the worker does: root reads a password that it cannot.
    if let Some(worker) = &context.servant {
        privilege::act_as(worker).map_err(Error::Os)?;
    }
    hops.iter()
        .try_for_each(|(hop, address)| reach(context, hop, &sender, address))
}

/// Connects to whoever takes the mail of a hop, and asks.
fn reach(context: &Context, hop: &Hop, sender: &Option<Mailbox>, address: &Mailbox) -> Result<()> {
    let shared = Shared::new(context).asking(Asking::Anew);
    let unsaid = OnceLock::new();
    let show = |line: &str| {
        if let Err(error) = say(&format!("    {line}\n")) {
            let _ = unsaid.set(error);
        }
    };
    let outgoing = Outgoing {
        trace: Some(&show),
        ..shared.outgoing()
    };
    let hosts = match hop {
        Hop::Mx(domain, _) => shared.hosts(domain).unwrap_or_default(),
        _ => Vec::new(),
    };
    let mut why: Option<Outcome> = None;
    for station in shared.stations(hop, &hosts) {
        let target = &station.target;
        say(&format!("  {}\n", place(&target.host, target.port)))?;
        match try_one(context, &shared, &outgoing, station, sender, address) {
            Ok(()) => return unsaid.get().cloned().map_or(Ok(()), Err),
            Err(outcome) => {
                show(&outcome.words());
                let is_final = outcome.verdict == Verdict::Failed;
                why = Some(match why {
                    Some(earlier) => earlier.or(outcome),
                    None => outcome,
                });
                if is_final {
                    break;
                }
            }
        }
    }
    why.map_or(Ok(()), |why| Err(fault(hop, &why)))
}

/// What kept the mail from going out, as an error of this program.
fn fault(hop: &Hop, why: &Outcome) -> Error {
    let words = why.words();
    if why.verdict == Verdict::Failed {
        return Error::Unavailable(format!("{} does not take it: {words}", why.host));
    }
    if why.code.is_some() {
        return Error::TempFail(format!("{} does not take it now: {words}", why.host));
    }
    let what = if *hop == Hop::Smarthost {
        "smarthost"
    } else {
        "mail server"
    };
    let sentence = format!("no {what} can be used now: {words}");
    match why.enhanced {
        // Its address cannot be found.
        Enhanced(4, 4, 3) => Error::NoHost(sentence),
        _ => Error::TempFail(sentence),
    }
}

/// One host, at one of its addresses after the other, as in a delivery: why none of them takes such mail.
fn try_one<'a>(
    context: &Context,
    shared: &'a Shared<'a>,
    outgoing: &'a Outgoing<'a>,
    mut station: Station<'a>,
    sender: &Option<Mailbox>,
    address: &Mailbox,
) -> std::result::Result<(), Outcome> {
    shared.demand(&mut station)?;
    if let Some(words) = station.duty(address.domain()) {
        outgoing.trace(&words);
    }
    let seen = leaving(context, station.from, sender.as_ref());
    let until = outgoing.opened_by();
    let mut connection = Connection::open_by(station.target, outgoing, until)?;
    let mut tried = Vec::new();
    loop {
        show_protection(outgoing, &connection);
        if let (Some(sender), Some(seen)) = (sender, &seen)
            && sender != seen
        {
            outgoing.trace(&format!("mail of {sender} leaves as {seen}"));
        }
        let outcome = match connection.ask(seen.as_ref(), address) {
            Ok(outcome) => {
                connection.close();
                let said = outcome.words();
                outgoing.trace(&format!("takes mail for {address}: {said}"));
                return Ok(());
            }
            Err(outcome) => outcome,
        };
        let others = connection.others_than(&mut tried);
        if outcome.verdict == Verdict::Failed || others.is_empty() || left_until(until).is_zero() {
            connection.close();
            return Err(outcome);
        }
        connection = connection.move_on(others, &tried, until).map_err(|later| {
            outgoing.trace(&later.words());
            outcome.or(later)
        })?;
    }
}

fn show_protection(outgoing: &Outgoing<'_>, connection: &Connection<'_>) {
    outgoing.trace(&connection.protection());
    if let Some(words) = connection.certificate() {
        outgoing.trace(&format!(
            "certificate of {}, signed by {}, good until {}",
            words.subject, words.issuer, words.until
        ));
    }
}

/// Whom others see as the sender.
pub fn leaving(
    context: &Context,
    from: Option<&Mailbox>,
    sender: Option<&Mailbox>,
) -> Option<Mailbox> {
    let (rewriting, own) = (
        &context.config.rewrite.leaving,
        own_domains(&context.config),
    );
    let rewritten = sender.and_then(|s| rewriting.address(s, &own));
    from.cloned().or(rewritten).or_else(|| sender.cloned())
}
