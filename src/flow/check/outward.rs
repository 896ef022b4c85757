//! What `--check` looks at for mail that goes straight to the servers of its recipients: whether the way out is open.
//!
//! Whose server is asked is not ours to choose: those of the addresses that were named (`--check you@example.net`), or
//! else those of whoever gets root's mail. They are connected to, and nothing is sent.

use std::time::Duration;

use super::{Finding, Grade, add};
use crate::flow::Context;
use crate::flow::dialogue::Outgoing;
use crate::flow::hops;
use crate::flow::links::Shared;
use crate::flow::send::Connection;
use crate::flow::verify::goals;
use crate::proto::address::{Domain, Mailbox};
use crate::proto::outcome::Outcome;
use crate::proto::route::Hop;

/// How long a server may take for a step.
const STEP: Duration = Duration::from_secs(5);
/// Domains that are tried, and servers of each.
const MOST: usize = 2;

/// Adds what it finds.
pub fn look(context: &Context, named: &[String], findings: &mut Vec<Finding>) {
    let port = context.config.remote.port;
    let root = ["root".to_owned()];
    let addresses = if named.is_empty() { &root } else { named };
    let mut hops: Vec<Hop> = addresses
        .iter()
        .flat_map(|address| goals(context, None, address))
        .filter_map(|goal| Mailbox::qualify(&goal.address, &context.config.hostname).ok())
        .map(|address| hops::of(context, &address))
        .filter(|hop| matches!(hop, Hop::Mx(..)))
        .collect();
    hops.dedup();
    if hops.is_empty() {
        let text = format!(
            "many networks close port {port} outward: minimta --check you@example.net (an address elsewhere) tries it, and sends nothing"
        );
        return add(findings, Grade::Ok, "direct delivery", text);
    }
    let shared = Shared::new(context);
    let outgoing = shared.outgoing();
    let outgoing = Outgoing {
        timeouts: outgoing.timeouts.capped(STEP, STEP),
        ..outgoing
    };
    for hop in hops.iter().take(MOST) {
        let Hop::Mx(domain, _) = hop else {
            continue;
        };
        let thing = format!("port {port} outward");
        let (grade, text) = match shared.hosts(domain) {
            Ok(hosts) => try_some(&shared, &outgoing, hop, &hosts, domain),
            Err(outcome) => (
                Grade::Warning,
                format!(
                    "the mail servers of {domain} cannot be found: {}",
                    outcome.words()
                ),
            ),
        };
        add(findings, grade, thing, text);
    }
}

fn try_some(
    shared: &Shared<'_>,
    outgoing: &Outgoing<'_>,
    hop: &Hop,
    hosts: &[crate::proto::mx::Host],
    domain: &Domain,
) -> (Grade, String) {
    let mut why = None;
    for station in shared.stations(hop, hosts).into_iter().take(MOST) {
        let host = station.target.host.to_string();
        match Connection::open(station.target, outgoing) {
            Ok(connection) => {
                connection.close();
                return (Grade::Ok, format!("open: {host} answers for {domain}"));
            }
            // It speaks to us, whatever it says.
            Err(outcome) if outcome.code.is_some() => {
                return (
                    Grade::Warning,
                    format!(
                        "open, but {host} of {domain} takes no mail from here: {}",
                        outcome.words()
                    ),
                );
            }
            Err(outcome) => why = Some(outcome),
        }
    }
    let why = why
        .as_ref()
        .map_or_else(|| "it has none".to_owned(), Outcome::words);
    (
        Grade::Error,
        format!(
            "no mail server of {domain} can be reached: {why}; if others cannot either, this network closes the port: have its provider \
             open it, or send through a [smarthost]"
        ),
    )
}
