//! The connections of a queue run: servers tried in their order, each over one connection for many messages, and not
//! again in the same run once one is found to be down.
//!
//! For each next hop there are stations: the smarthosts, one server of a route, or the mail exchangers of a domain.
//! Whoever is only deferred at one is tried at the next (RFC 5321 5.1); a final answer is final.

mod letters;
mod shared;
mod stations;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use self::letters::{Way, deliver};
use self::shared::Slot;
pub use self::shared::{Shared, Slots};
pub use self::stations::Station;
use self::stations::{Counted, Place};
use super::connect::Proof;
use super::dialogue::Outgoing;
use super::send::{Connection, Seal};
use super::{Damaged, Outcomes, signing, text};
use crate::host::spool::Claim;
use crate::proto::address::Domain;
use crate::proto::client::REQUIRETLS;
use crate::proto::header::Header;
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
        let (mut outcomes, mut left) = (BTreeMap::new(), indices.to_vec());
        let mut unprotected = claim.envelope().requiretls;
        for (number, station) in stations.into_iter().enumerate() {
            let best = number == 0 && matches!(hop, Hop::Mx(..));
            let tried = match self.try_one(station, best, claim, &left) {
                // What an earlier server has said for good must not be forgotten; the next attempt will find the damage.
                Err(Damaged) if outcomes.values().any(is_final) => break,
                tried => tried?,
            };
            for (index, outcome) in tried {
                unprotected &= outcome.enhanced == REQUIRETLS;
                outcomes.insert(index, outcome);
            }
            left.retain(|i| outcomes.get(i).is_none_or(|o| !is_final(o)));
            if left.is_empty() {
                break;
            }
        }
        let settled = outcomes.into_iter();
        Ok(match unprotected {
            // No server was without this fault, and no later try will find another (RFC 8689 4.2.1).
            true => settled.map(|(i, o)| (i, never(o, REQUIRETLS))).collect(),
            false => settled.collect(),
        })
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
        let place = station.place.clone();
        let mut link = self.link(station)?;
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

    fn try_one(
        &mut self,
        mut station: Station<'a>,
        best: bool,
        claim: &Claim,
        left: &[usize],
    ) -> Result<Outcomes, Damaged> {
        let requiretls = claim.envelope().requiretls;
        let demanded = self.shared.demand(&mut station);
        if (demanded.is_err() || station.target.proof != Proof::Nothing)
            && !requiretls
            && text::header(claim).is_ok_and(|header| is_tls_optional(&header))
        {
            station.ask_for_nothing();
        } else if let Err(outcome) = demanded {
            return Ok(all(left, &outcome));
        }
        if requiretls {
            station.prove_its_name();
        }
        let (place, from, lmtp) = (station.place.clone(), station.from, station.target.lmtp);
        match self.link(station) {
            Ok(mut link) => {
                let config = &self.shared.context.config;
                let whose = signing::whose(config, &claim.envelope());
                let seal: &Seal<'_> = &|message| self.shared.signers.fields(config, whose, message);
                // Who takes mail by LMTP keeps it.
                let seal = Some(seal).filter(|_| !lmtp && !config.dkim.is_empty());
                let way = Way {
                    context: self.shared.context,
                    from,
                    lmtp,
                    seal,
                };
                let outcomes = deliver(&mut link.connection, way, claim, left);
                self.open.insert(place, link);
                outcomes
            }
            // In our own words: another server may say of itself what it likes.
            Err(outcome) if best && outcome.enhanced == CIRCLE && outcome.code.is_none() => {
                Ok(all(left, &never(outcome, CIRCLE)))
            }
            // It cannot have such mail; a certificate that is not good, or no answer, is trouble that may pass.
            Err(outcome) if outcome.enhanced == NO_STARTTLS && place.is_named() => {
                let Enhanced(_, subject, detail) = REQUIRETLS;
                let outcome = outcome.taken_for(Verdict::Deferred, subject, detail);
                Ok(all(left, &outcome))
            }
            Err(outcome) => Ok(all(left, &outcome)),
        }
    }

    /// The connection of the last message, or a new one, unless the server was found to be down.
    fn link(&mut self, station: Station<'a>) -> Result<Link<'a>, Outcome> {
        let Station {
            place,
            target,
            listed,
            ..
        } = station;
        if let Some(link) = self.open.remove(&place)
            && link.connection.is_usable()
        {
            return Ok(link);
        }
        let is_down = || lock(&self.shared.down).get(&place).cloned();
        if let Some(outcome) = is_down() {
            return Err(outcome);
        }
        let slot = match place {
            Place::Smarthost(_) => None,
            Place::Host(..) => {
                // Whoever waits for one host must not keep others waiting for another.
                close(&mut self.open);
                let Some(slot) = self.shared.slot(&place) else {
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
        let told = listed.map(|listed| (listed, target.proof.clone(), target.host.to_string()));
        let count = |fault, connection: Option<&Connection<'_>>| {
            if let Some((listed, proof, server)) = &told {
                let counted = Counted {
                    proof,
                    server,
                    fault,
                };
                self.shared.count(listed, &counted, connection);
            }
        };
        match Connection::open(target, self.outgoing) {
            Ok(connection) => {
                count(connection.tls_fault, Some(&connection));
                Ok(Link {
                    connection,
                    _slot: slot,
                })
            }
            Err(outcome) => {
                if outcome.tls_fault.is_some() {
                    count(outcome.tls_fault, None);
                }
                lock(&self.shared.down).insert(place, outcome.clone());
                Err(outcome)
            }
        }
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
