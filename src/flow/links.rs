//! The connections of a queue run: servers tried in their order, each over one connection for many messages, and not
//! again in the same run once one is found to be down.
//!
//! For each next hop there are stations: the smarthosts, one server of a route, or the mail exchangers of a domain.
//! Whoever is only deferred at one is tried at the next (RFC 5321 5.1): first at the other addresses of the same host, then
//! at the next host. A final answer is final. What is told of somebody who waits is what tells most of why.
//!
//! A server that had all of a message, and has not said what became of it, may have taken it (RFC 1047): whoever else got
//! it at once would make a duplicate of it, so nobody does. The next attempt begins behind that server, and the addresses
//! of each host have their turns, lest one that always breaks off there keeps the mail from all others.

mod letters;
mod shared;
mod stations;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use self::letters::{Way, deliver};
use self::shared::Slot;
pub use self::shared::{Shared, Slots};
pub use self::stations::Station;
use self::stations::{Counted, Place};
use super::connect::Proof;
use super::dialogue::{Outgoing, left_until};
use super::send::{Connection, Seal};
use super::stopping::InHand;
use super::{Damaged, Outcomes, signing, text};
use crate::host::spool::Claim;
use crate::proto::address::Domain;
use crate::proto::client::REQUIRETLS;
use crate::proto::header::Header;
use crate::proto::journal::Progress;
use crate::proto::mx::Host;
use crate::proto::outcome::{Outcome, Verdict};
use crate::proto::reply::Enhanced;
use crate::proto::route::Hop;

/// Status of a server that does not offer STARTTLS, and must.
const NO_STARTTLS: Enhanced = Enhanced(4, 7, 4);
/// Status of a server that has enough to do with us (RFC 3463 3.5: congestion).
const BUSY: Enhanced = Enhanced(4, 4, 5);
/// Status of a server that turns out to be this machine.
const CIRCLE: Enhanced = Enhanced(4, 4, 6);

/// A connection, and its place among those to its host.
struct Link<'a> {
    connection: Connection<'a>,
    _slot: Option<Slot<'a>>,
}

/// Connections of one worker.
pub struct Links<'a> {
    shared: &'a Shared<'a>,
    outgoing: &'a Outgoing<'a>,
    open: BTreeMap<Place, Link<'a>>,
    /// The hosts of the domain that was last sent to.
    found: Option<(Domain, Result<Vec<Host>, Outcome>)>,
}

impl<'a> Links<'a> {
    /// No connection yet.
    pub fn new(shared: &'a Shared<'a>, outgoing: &'a Outgoing<'a>) -> Self {
        Self {
            shared,
            outgoing,
            open: BTreeMap::new(),
            found: None,
        }
    }

    /// Sends a message to those of its recipients whose indices are given, all of them of this hop: to the first
    /// server that takes it or refuses it for good. Whoever is only deferred by one is tried at the next.
    ///
    /// # Errors
    /// [`Damaged`] when the message is not what was accepted; nobody was given it then.
    pub fn send(
        &mut self,
        hop: &Hop,
        claim: &Claim,
        indices: &[usize],
    ) -> Result<Outcomes, Damaged> {
        let stations = match self.stations(hop) {
            Ok(stations) => stations,
            Err(outcome) => return Ok(all(indices, &outcome)),
        };
        let mut attempt = Attempt::new(indices, claim.envelope().requiretls);
        let is_mx = matches!(hop, Hop::Mx(..));
        let stations = stations.into_iter().enumerate();
        let mut stations: Vec<_> = stations.map(|(n, s)| (is_mx && n == 0, s)).collect();
        let progress = claim.progress();
        let hosts: Vec<&str> = stations.iter().map(|(_, s)| &*s.target.host).collect();
        let first = begin_at(&hosts, &progress, indices);
        let turn = turn(hosts.len(), &progress, indices);
        stations.rotate_left(first);
        for (_, station) in &mut stations {
            station.target.turn = turn;
        }
        for (best, station) in stations {
            match self.try_one(station, best, claim, &mut attempt) {
                // What an earlier server has said for good must not be forgotten; the next attempt will find the damage.
                Err(Damaged) if attempt.outcomes.values().any(is_final) => break,
                tried => tried?,
            }
            if attempt.left.is_empty() || self.shared.context.stopping.has_begun() {
                break;
            }
        }
        Ok(attempt.finish())
    }

    /// Does something over the connection to the only server of a hop.
    ///
    /// # Errors
    /// Why there is no connection, as the outcome for a recipient: always deferred.
    pub fn over<T>(
        &mut self,
        hop: &Hop,
        say: impl FnOnce(&mut Connection<'_>) -> T,
    ) -> Result<T, Outcome> {
        let station = self.shared.stations(hop, &[]).into_iter().next();
        let station = station.ok_or_else(no_server)?;
        let (mut link, _) = self.link(&station)?;
        let place = station.place;
        let said = say(&mut link.connection);
        self.open.insert(place, link);
        Ok(said)
    }

    fn stations(&mut self, hop: &Hop) -> Result<Vec<Station<'a>>, Outcome> {
        let Hop::Mx(domain, _) = hop else {
            return Ok(self.shared.stations(hop, &[]));
        };
        let found = match self.found.take() {
            Some((last, found)) if last == *domain => found,
            _ => self.shared.hosts(domain),
        };
        let stations = found.clone().map(|hosts| self.shared.stations(hop, &hosts));
        self.found = Some((domain.clone(), found));
        stations
    }

    /// Tries a host, at one of its addresses after the other.
    fn try_one(
        &mut self,
        mut station: Station<'a>,
        best: bool,
        claim: &Claim,
        attempt: &mut Attempt,
    ) -> Result<(), Damaged> {
        let requiretls = claim.envelope().requiretls;
        let demanded = self.shared.demand(&mut station);
        if (demanded.is_err() || station.target.proof != Proof::Nothing)
            && !requiretls
            && text::header(claim).is_ok_and(|header| is_tls_optional(&header))
        {
            station.ask_for_nothing();
        } else if let Err(outcome) = demanded {
            attempt.note(all(&attempt.left, &outcome));
            return Ok(());
        }
        if requiretls {
            station.prove_its_name();
        }
        match self.link(&station) {
            Ok((link, until)) => self.hand_over(&station, link, until, claim, attempt)?,
            // In our own words: another server may say of itself what it likes.
            Err(outcome) if best && outcome.enhanced == CIRCLE && outcome.code.is_none() => {
                attempt.note(all(&attempt.left, &never(outcome, CIRCLE)));
            }
            Err(outcome) => attempt.note(all(&attempt.left, &unfit(outcome, &station.place))),
        }
        Ok(())
    }

    /// Delivers over a connection; and what is deferred there at the other addresses of the host, until then (RFC 5321
    /// 5.1).
    fn hand_over(
        &mut self,
        station: &Station<'a>,
        mut link: Link<'a>,
        until: Instant,
        claim: &Claim,
        attempt: &mut Attempt,
    ) -> Result<(), Damaged> {
        let (context, lmtp) = (self.shared.context, station.target.lmtp);
        let whose = signing::whose(&context.config, &claim.envelope());
        let seal: &Seal<'_> = &|message| {
            let signers = &self.shared.signers;
            signers.fields(&context.config, whose, message)
        };
        let way = Way {
            context,
            from: station.from,
            lmtp,
            // Who takes mail by LMTP keeps it.
            seal: Some(seal).filter(|_| !lmtp && !context.config.dkim.is_empty()),
        };
        let (mut left, mut tried) = (attempt.left.clone(), Vec::new());
        let done = loop {
            match deliver(&mut link.connection, way, claim, &left) {
                Ok(outcomes) => attempt.note(outcomes),
                Err(Damaged) => break Err(Damaged),
            }
            left.clone_from(&attempt.left);
            let others = link.connection.others_than(&mut tried);
            let is_last = others.is_empty() || context.stopping.has_begun();
            if left.is_empty() || is_last || left_until(until).is_zero() {
                break Ok(());
            }
            let (next, why) = self.move_on(station, link, others, &tried, until);
            if let Some(outcome) = &why {
                attempt.note(all(&left, outcome));
            }
            match (next, why) {
                (Some(next), None) => link = next,
                (Some(kept), Some(_)) => {
                    link = kept;
                    break Ok(());
                }
                (None, _) => return Ok(()),
            }
        };
        self.open.insert(station.place.clone(), link);
        done
    }

    /// The connection to one of these other addresses of the host instead, or why there is none. Where that was known
    /// before, the connection stays for what comes next.
    fn move_on(
        &self,
        station: &Station<'a>,
        mut link: Link<'a>,
        others: Vec<SocketAddr>,
        tried: &[SocketAddr],
        until: Instant,
    ) -> (Option<Link<'a>>, Option<Outcome>) {
        let key = (station.place.clone(), others.clone());
        let known = lock(&self.shared.down).get(&key).cloned();
        if known.is_some() {
            return (Some(link), known);
        }
        let moved = link.connection.move_on(others, tried, until);
        self.count(station, &moved);
        match moved {
            Ok(connection) => {
                link.connection = connection;
                (Some(link), None)
            }
            Err(outcome) => {
                let outcome = unfit(outcome, &station.place);
                lock(&self.shared.down).insert(key, outcome.clone());
                (None, Some(outcome))
            }
        }
    }

    /// The connection of the last message, or a new one, unless the server was found to be down; and until when other
    /// addresses of the host may be tried.
    fn link(&mut self, station: &Station<'a>) -> Result<(Link<'a>, Instant), Outcome> {
        let Station { place, target, .. } = station;
        // The connection of the last message may lead to an address whose turn it is not.
        if target.turn > 0
            && let Some(link) = self.open.remove(place)
        {
            link.connection.close();
        }
        if let Some(link) = self.open.remove(place)
            && link.connection.is_usable()
        {
            return Ok((link, self.outgoing.opened_by()));
        }
        let key = (place.clone(), Vec::new());
        let is_down = || lock(&self.shared.down).get(&key).cloned();
        if let Some(outcome) = is_down() {
            return Err(outcome);
        }
        let slot = match place {
            Place::Smarthost(_) => None,
            Place::Host(..) => {
                // Whoever waits for one host must not keep others waiting for another.
                close(&mut self.open);
                let Some(slot) = self.shared.slot(place) else {
                    let text =
                        "as many connections as [queue] per_destination allows are busy there";
                    return Err(target.deferred(BUSY, text));
                };
                // Another may have found out in the meantime.
                if let Some(outcome) = is_down() {
                    return Err(outcome);
                }
                Some(slot)
            }
        };
        let until = self.outgoing.opened_by();
        let opened = Connection::open_by(target.clone(), self.outgoing, until);
        self.count(station, &opened);
        match opened {
            Ok(connection) => Ok((
                Link {
                    connection,
                    _slot: slot,
                },
                until,
            )),
            Err(outcome) => {
                lock(&self.shared.down).insert(key, outcome.clone());
                Err(outcome)
            }
        }
    }

    /// Counts what reports about TLS are to say of a connection, or of there being none.
    fn count(&self, station: &Station<'a>, opened: &Result<Connection<'_>, Outcome>) {
        let Some(listed) = &station.listed else {
            return;
        };
        let count = |fault, connection: Option<&Connection<'_>>| {
            let counted = Counted {
                proof: &station.target.proof,
                server: &station.target.host,
                fault,
            };
            self.shared.count(listed, &counted, connection);
        };
        match opened {
            Ok(connection) => {
                for fault in &connection.earlier_faults {
                    count(Some(fault), None);
                }
                count(connection.tls_fault, Some(connection));
            }
            Err(outcome) if outcome.tls_fault.is_some() => count(outcome.tls_fault, None),
            Err(_) => {}
        }
    }

    /// The message that goes over them now.
    pub fn in_hand(&self) -> &'a InHand {
        &self.outgoing.in_hand
    }

    /// Says goodbye to all.
    pub fn close(&mut self) {
        close(&mut self.open);
    }
}

fn close(open: &mut BTreeMap<Place, Link<'_>>) {
    for link in std::mem::take(open).into_values() {
        link.connection.close();
    }
}

/// What has become of the recipients of a message at the servers that were tried with it.
struct Attempt {
    outcomes: BTreeMap<usize, Outcome>,
    /// Those for whom others are to be tried: they wait, and no server may have taken their mail.
    left: Vec<usize>,
    /// No server that was tried may have it.
    unprotected: bool,
}

impl Attempt {
    fn new(indices: &[usize], requiretls: bool) -> Self {
        Self {
            outcomes: BTreeMap::new(),
            left: indices.to_vec(),
            unprotected: requiretls,
        }
    }

    /// What one server came to.
    fn note(&mut self, tried: Outcomes) {
        for (index, outcome) in tried {
            self.unprotected &= outcome.enhanced == REQUIRETLS;
            let outcome = match self.outcomes.remove(&index) {
                Some(earlier) => earlier.or(outcome),
                None => outcome,
            };
            self.outcomes.insert(index, outcome);
        }
        let outcomes = &self.outcomes;
        let is_left = |o: &Outcome| !is_final(o) && !o.in_doubt;
        self.left.retain(|i| outcomes.get(i).is_none_or(is_left));
    }

    fn finish(self) -> Outcomes {
        let settled = self.outcomes.into_iter();
        match self.unprotected {
            // No server was without this fault, and no later try will find another (RFC 8689 4.2.1).
            true => settled.map(|(i, o)| (i, never(o, REQUIRETLS))).collect(),
            false => settled.collect(),
        }
    }
}

/// At which of these hosts an attempt begins: at the first, or behind the one that may have the message since the last
/// attempt for one of these recipients.
fn begin_at(hosts: &[&str], progress: &Progress, indices: &[usize]) -> usize {
    let doubtful = indices.iter().find_map(|index| {
        let standing = progress.standings.get(*index)?;
        let (_, last) = standing.last.as_ref().filter(|(_, o)| o.in_doubt)?;
        Some((standing.attempts, last.host.as_str()))
    });
    let Some((attempts, host)) = doubtful else {
        return 0;
    };
    let named: Vec<usize> = (0..hosts.len())
        .filter(|i| hosts.get(*i) == Some(&host))
        .collect();
    // Two logins at one host have one name: they have their turns.
    let turn = usize::try_from(attempts.saturating_sub(1)).unwrap_or_default();
    let found = turn.checked_rem(named.len()).and_then(|n| named.get(n));
    found.map_or(0, |at| (at + 1) % hosts.len())
}

/// Which turn the addresses of so many hosts have: the next one when each of the hosts has had its own.
fn turn(hosts: usize, progress: &Progress, indices: &[usize]) -> usize {
    let standings = indices.iter().filter_map(|i| progress.standings.get(*i));
    let doubts = standings.map(|s| s.doubts).max().unwrap_or_default();
    let doubts = usize::try_from(doubts).unwrap_or_default();
    doubts.checked_div(hosts).unwrap_or_default()
}

/// A server without STARTTLS cannot have mail for which it has to prove its name; a certificate that is not good, or no
/// answer, is trouble that may pass.
fn unfit(outcome: Outcome, place: &Place) -> Outcome {
    let Enhanced(_, subject, detail) = REQUIRETLS;
    match outcome.enhanced == NO_STARTTLS && place.is_named() {
        true => outcome.taken_for(Verdict::Deferred, subject, detail),
        false => outcome,
    }
}

/// Whether no other server is to be asked.
fn is_final(outcome: &Outcome) -> bool {
    outcome.verdict != Verdict::Deferred
}

/// A hop that leads to none.
fn no_server() -> Outcome {
    let text = "there is no server to hand it to";
    Outcome::new(Verdict::Deferred, None, Enhanced(4, 4, 0), "", text)
}

/// What no later try will change: the best exchanger of a domain is this machine, by whatever name it is listed
/// (K36); or no server may have the mail.
fn never(outcome: Outcome, Enhanced(_, subject, detail): Enhanced) -> Outcome {
    outcome.taken_for(Verdict::Failed, subject, detail)
}

fn all(indices: &[usize], outcome: &Outcome) -> Outcomes {
    indices.iter().map(|i| (*i, outcome.clone())).collect()
}

/// Whether a message says that its sender wants it delivered rather than kept back for a certificate (RFC 8689 4.1).
fn is_tls_optional(header: &Header) -> bool {
    let field = header.get("TLS-Required");
    field.is_some_and(|f| f.body().trim_ascii().eq_ignore_ascii_case(b"no"))
}

/// Nothing shared is ever left half-changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
