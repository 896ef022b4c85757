//! The connections of a queue run: servers tried in their order, each over one connection for many messages, and not
//! again in the same run once one is found to be down.
//!
//! For each next hop there are stations: the smarthosts, one server of a route, or the mail exchangers of a domain.
//! Whoever is only deferred at one is tried at the next (RFC 5321 5.1); a final answer is final.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::connect::{Proof, Target, UNPROVEN};
use super::dialogue::{Dead, Outgoing, Timeouts};
use super::exchange::{self, own_domains};
use super::policies::{Asking, Policies};
use super::send::{Connection, Seal};
use super::signing::{self, Signers};
use super::tlsrpt::Counter;
use super::{Context, Damaged, Outcomes, srs, text};
use crate::cli::complain;
use crate::config::Tls;
use crate::host::dns::Dns;
use crate::host::spool::Claim;
use crate::host::tls;
use crate::proto::address::{Domain, Mailbox, ReversePath};
use crate::proto::client::REQUIRETLS;
use crate::proto::dane::{self, Dane, Tlsa};
use crate::proto::envelope::{Envelope, Facts, Recipient};
use crate::proto::header::Header;
use crate::proto::letter::Letter;
use crate::proto::mx::{Host, NoAnswer};
use crate::proto::outcome::{Outcome, Verdict};
use crate::proto::reply::Enhanced;
use crate::proto::rewrite::leave_as;
use crate::proto::route::{Hop, Protection};
use crate::proto::sts::Mode;
use crate::proto::tlsrpt::Applied;

/// What all connections of a run share, besides the configuration.
pub struct Shared<'a> {
    context: &'a Context,
    tls: tls::Clients,
    dead: Dead,
    dns: Dns,
    signers: Signers,
    trace: Box<dyn Fn(&str) + Sync + 'a>,
    /// Servers found to be down in this run, and what was found.
    down: Mutex<BTreeMap<Place, Outcome>>,
    /// The TLSA records of names that were asked for.
    tlsa: Mutex<BTreeMap<String, Result<Vec<Tlsa>, NoAnswer>>>,
    /// What domains say on their web servers.
    policies: Policies,
    /// How TLS with them went.
    counter: Counter,
    /// How many connections there are to each host.
    taken: Mutex<BTreeMap<Place, usize>>,
    /// A connection was closed.
    freed: Condvar,
}

impl<'a> Shared<'a> {
    /// Nothing is made before it is needed.
    pub fn new(context: &'a Context) -> Self {
        let trace = Box::new(|line: &str| complain(&context.program, line));
        Self {
            context,
            tls: tls::Clients::new(),
            dead: Dead::default(),
            dns: exchange::resolver(&context.config),
            signers: Signers::default(),
            trace,
            down: Mutex::default(),
            tlsa: Mutex::default(),
            policies: Policies::default(),
            counter: Counter::new(&context.config),
            taken: Mutex::default(),
            freed: Condvar::new(),
        }
    }

    /// When web servers are asked for policies.
    #[must_use]
    pub fn asking(mut self, asking: Asking) -> Self {
        self.policies.asking = asking;
        self
    }

    /// For a connection of this run.
    pub fn outgoing(&self) -> Outgoing<'_> {
        let limits = &self.context.config.limits;
        Outgoing {
            hostname: &self.context.config.hostname,
            timeouts: Timeouts::default().capped(limits.command_timeout, limits.data_timeout),
            tls: &self.tls,
            dead: &self.dead,
            trace: self.context.verbose.then_some(&*self.trace),
        }
    }

    /// Whether a smarthost was found to be down.
    pub fn is_blocked(&self) -> bool {
        let down = lock(&self.down);
        down.keys()
            .any(|place| matches!(place, Place::Smarthost(_)))
    }

    /// The hosts that take mail for a domain.
    ///
    /// # Errors
    /// What becomes of its mail when there are none.
    pub fn hosts(&self, domain: &Domain) -> Result<Vec<Host>, Outcome> {
        exchange::hosts(&self.dns, &self.context.config, domain)
    }

    /// Where the mail of a hop can be handed over, best first; `hosts` are those of its domain.
    pub fn stations(&self, hop: &Hop, hosts: &[Host]) -> Vec<Station<'_>> {
        match hop {
            Hop::Smarthost => (0..)
                .zip(&self.context.config.smarthosts)
                .map(|(number, smarthost)| Station {
                    place: Place::Smarthost(number),
                    target: smarthost.into(),
                    from: smarthost.from.as_ref(),
                    listed: None,
                })
                .collect(),
            Hop::Host(peer, protection) => {
                vec![self.station(&peer.host, peer.port, *protection, None)]
            }
            Hop::Lmtp(peer) => {
                let mut station = self.station(&peer.host, peer.port, Protection::None, None);
                station.target.lmtp = true;
                vec![station]
            }
            Hop::Mx(domain, protection) => {
                let port = self.context.config.remote.port;
                let of = |host: &Host| {
                    let mut station = self.station(&host.name, port, *protection, Some(host));
                    station.listed = (*protection != Protection::None).then(|| Listed {
                        domain: domain.clone(),
                        names: host.secure_names.clone(),
                    });
                    station
                };
                hosts.iter().map(of).collect()
            }
            Hop::Local | Hop::Refuse(_) => Vec::new(),
        }
    }

    fn station(
        &self,
        name: &str,
        port: u16,
        protection: Protection,
        host: Option<&Host>,
    ) -> Station<'_> {
        Station {
            place: Place::Host(name.to_owned(), port, protection, Proof::Nothing),
            target: Target {
                host: Cow::Owned(name.to_owned()),
                port,
                lmtp: false,
                addresses: host.map(|host| host.addresses.clone()),
                bind: &self.context.config.remote.bind,
                tls: protection_of(protection),
                // Nobody has told us whose certificate it should be.
                verify: false,
                ca_file: None,
                fingerprint: None,
                login: None,
                proof: Proof::Nothing,
            },
            from: None,
            listed: None,
        }
    }

    /// Finds out what a mail server has to prove, which is done only when it is about to be connected to.
    ///
    /// # Errors
    /// Nobody can tell now: it is passed over (RFC 7672 2.1.2).
    pub fn demand(&self, station: &mut Station<'_>) -> Result<(), Outcome> {
        let Some(listed) = &station.listed else {
            return Ok(());
        };
        // What DANE says goes first, and a policy must not soften it (RFC 8461 2).
        let proof = match self.dane(listed, &station.target)? {
            Proof::Nothing => self.sts(listed, &station.target)?,
            proof => proof,
        };
        if proof != Proof::Nothing {
            station.target.tls = Tls::Starttls;
        }
        if let Place::Host(_, _, _, demanded) = &mut station.place {
            demanded.clone_from(&proof);
        }
        station.target.proof = proof;
        Ok(())
    }

    /// What its TLSA records say: those of the name it is an alias of, or those of its own (RFC 7672 2.2.2).
    fn dane(&self, listed: &Listed, target: &Target<'_>) -> Result<Proof, Outcome> {
        for name in &listed.names {
            let records = self.tlsa(name, target.port).map_err(|why| {
                let why = match why {
                    NoAnswer::Temporary(why) => why,
                    NoAnswer::NoData | NoAnswer::NoSuchDomain => String::new(),
                };
                let text = format!(
                    "cannot tell which certificate the server should have (TLSA records of {name}): {why}"
                );
                target.deferred(UNKNOWN, &text)
            })?;
            if records.is_empty() {
                continue;
            }
            let records = dane::usable(records);
            if records.is_empty() {
                return Ok(Proof::Encryption);
            }
            let names = vec![name.clone(), listed.domain.as_str().to_owned()];
            return Ok(Proof::Dane(Dane { records, names }));
        }
        Ok(Proof::Nothing)
    }

    /// What the domain's policy says of it.
    fn sts(&self, listed: &Listed, target: &Target<'_>) -> Result<Proof, Outcome> {
        let (config, domain) = (&self.context.config, &listed.domain);
        let policy = self.policies.of(config, &self.dns, &self.tls, domain);
        let Some(policy) = policy.filter(|policy| policy.mode == Mode::Enforce) else {
            return Ok(Proof::Nothing);
        };
        if policy.names(&target.host) {
            return Ok(Proof::Sts(config.remote.ca_file.clone()));
        }
        self.count(
            listed,
            &Proof::Sts(None),
            &target.host,
            Some("validation-failure"),
        );
        let text = format!("the policy of {domain} (MTA-STS) does not name this server");
        Err(target.deferred(UNPROVEN, &text))
    }

    /// Counts a connection for reports about TLS, if anybody wants them.
    fn count(&self, listed: &Listed, proof: &Proof, server: &str, fault: Option<&str>) {
        let config = &self.context.config;
        if !self.counter.is_wanted() {
            return;
        }
        let domain = listed.domain.ascii();
        let (mut kind, mut text, mut fault) = ("no-policy-found", Vec::new(), fault);
        if let Proof::Dane(dane) = proof {
            (kind, text) = ("tlsa", dane.records.iter().map(Tlsa::text).collect());
        } else if let Some(policy) = self
            .policies
            .of(config, &self.dns, &self.tls, &listed.domain)
        {
            (kind, text) = ("sts", policy.lines());
            if !policy.names(server) {
                fault = fault.or(Some("validation-failure"));
            }
        } else if let Some(trouble) = self.policies.trouble(domain) {
            (kind, fault) = ("sts", Some(trouble));
        }
        self.counter
            .count(domain, &Applied { kind, text }, server, fault);
    }

    fn tlsa(&self, name: &str, port: u16) -> Result<Vec<Tlsa>, NoAnswer> {
        if let Some(known) = lock(&self.tlsa).get(name) {
            return known.clone();
        }
        let found = self.dns.tlsa(name, port);
        lock(&self.tlsa).insert(name.to_owned(), found.clone());
        found
    }

    /// Waits until one more connection to a place may be made. Whoever waits must have no connection himself.
    fn slot(&'a self, place: &Place) -> Slot<'a> {
        let limit = self.context.config.queue.per_destination;
        let mut taken = lock(&self.taken);
        while taken.get(place).is_some_and(|n| *n >= limit) {
            taken = self
                .freed
                .wait(taken)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *taken.entry(place.clone()).or_default() += 1;
        Slot {
            shared: self,
            place: place.clone(),
        }
    }
}

fn protection_of(protection: Protection) -> Tls {
    match protection {
        Protection::Opportunistic => Tls::Opportunistic,
        Protection::Require => Tls::Starttls,
        Protection::None => Tls::None,
    }
}

/// Which server a connection leads to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// By its number in the configuration: two logins at one host are two.
    Smarthost(usize),
    /// By name, port and protection: domains with the same exchanger share its connection.
    /// What it has to prove belongs to it, too: a connection that proves less must not carry other mail.
    Host(String, u16, Protection, Proof),
}

/// A server where mail can be handed over.
pub struct Station<'a> {
    place: Place,
    /// How to reach it.
    pub target: Target<'a>,
    /// The address all mail leaves as there.
    pub from: Option<&'a Mailbox>,
    /// Who has named it.
    listed: Option<Listed>,
}

/// A mail server that the MX records of a domain have named.
struct Listed {
    domain: Domain,
    /// Where its TLSA records may stand.
    names: Vec<String>,
}

impl Station<'_> {
    /// What it has to prove, as far as anybody has to; `domain` is that of the recipient.
    pub fn duty(&self, domain: &Domain) -> Option<String> {
        let words = self.target.proof.words(domain.as_str());
        let nothing = "has nothing to prove: neither DANE nor MTA-STS speaks of it";
        words.or_else(|| self.listed.as_ref().map(|_| nothing.to_owned()))
    }

    /// For mail with `TLS-Required: No`: what the recipient's domain demands is passed over, what this system's
    /// configuration says is not.
    fn ask_for_nothing(&mut self) {
        if let Place::Host(_, _, protection, proof) = &mut self.place {
            (*proof, self.target.proof) = (Proof::Nothing, Proof::Nothing);
            self.target.tls = protection_of(*protection);
        }
    }

    /// For mail with REQUIRETLS (RFC 8689 4.2.1): a server that has nothing to prove has to show a good certificate of
    /// its name. One that the configuration names is reached as it says.
    fn prove_its_name(&mut self) {
        let target = &mut self.target;
        if let Place::Host(_, _, _, proof) = &mut self.place
            && matches!(target.proof, Proof::Nothing | Proof::Encryption)
            && target.tls != Tls::None
        {
            (*proof, target.proof) = (Proof::Name, Proof::Name);
            target.tls = Tls::Starttls;
        }
    }
}

/// Whether a message says that its sender wants it delivered rather than kept back for a certificate (RFC 8689 4.1).
fn is_tls_optional(header: &Header) -> bool {
    let field = header.get("TLS-Required");
    field.is_some_and(|f| f.body().trim_ascii().eq_ignore_ascii_case(b"no"))
}

/// One of the connections that may be made to a host at once.
struct Slot<'a> {
    shared: &'a Shared<'a>,
    place: Place,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut taken = lock(&self.shared.taken);
        if let Some(count) = taken.get_mut(&self.place) {
            *count = count.saturating_sub(1);
        }
        self.shared.freed.notify_all();
    }
}

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
            for (index, outcome) in self.try_one(station, best, claim, &left)? {
                unprotected &= outcome.enhanced == REQUIRETLS;
                outcomes.insert(index, outcome);
            }
            left.retain(|i| {
                outcomes
                    .get(i)
                    .is_none_or(|o: &Outcome| o.verdict == Verdict::Deferred)
            });
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
                let ours = signing::is_ours(config, &claim.envelope());
                let seal: &Seal<'_> = &|message| self.shared.signers.fields(config, ours, message);
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
            Err(outcome) if best && outcome.enhanced == CIRCLE => {
                Ok(all(left, &never(outcome, CIRCLE)))
            }
            // It cannot have such mail; a certificate that is not good, or no answer, is trouble that may pass.
            Err(mut outcome) if outcome.enhanced == NO_STARTTLS && is_named(&place) => {
                outcome.enhanced = REQUIRETLS;
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
                let slot = self.shared.slot(&place);
                // Another may have found out in the meantime.
                if let Some(outcome) = is_down() {
                    return Err(outcome);
                }
                Some(slot)
            }
        };
        let told = listed.map(|listed| (listed, target.proof.clone(), target.host.to_string()));
        let count = |fault| {
            if let Some((listed, proof, server)) = &told {
                self.shared.count(listed, proof, server, fault);
            }
        };
        match Connection::open(target, self.outgoing) {
            Ok(connection) => {
                count(connection.tls_fault);
                Ok(Link {
                    connection,
                    _slot: slot,
                })
            }
            Err(outcome) => {
                if outcome.tls_fault.is_some() {
                    count(outcome.tls_fault);
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

/// A hop that leads to none.
fn no_server() -> Outcome {
    let text = "there is no server to hand it to";
    Outcome::new(Verdict::Deferred, None, Enhanced(4, 4, 0), "", text)
}

/// Status of a directory that does not answer (RFC 3463 3.5).
const UNKNOWN: Enhanced = Enhanced(4, 4, 3);

/// Status of what must be mended here (RFC 3463 3.4).
const NOT_SET_UP: Enhanced = Enhanced(4, 3, 5);
/// Status of a server that does not offer STARTTLS, and must.
const NO_STARTTLS: Enhanced = Enhanced(4, 7, 4);
/// Status of a server that turns out to be this machine.
const CIRCLE: Enhanced = Enhanced(4, 4, 6);

/// What no later try will change: the best exchanger of a domain is this machine, by whatever name it is listed
/// (K36); or no server may have the mail.
fn never(outcome: Outcome, Enhanced(_, subject, detail): Enhanced) -> Outcome {
    Outcome {
        verdict: Verdict::Failed,
        enhanced: Enhanced(5, subject, detail),
        ..outcome
    }
}

/// Whether a server has to prove its name.
fn is_named(place: &Place) -> bool {
    matches!(place, Place::Host(_, _, _, Proof::Name))
}

fn all(indices: &[usize], outcome: &Outcome) -> Outcomes {
    indices.iter().map(|i| (*i, outcome.clone())).collect()
}

/// What a message is given on its way out.
#[derive(Clone, Copy)]
struct Way<'w> {
    context: &'w Context,
    /// As whom all mail leaves there.
    from: Option<&'w Mailbox>,
    lmtp: bool,
    seal: Option<&'w Seal<'w>>,
}

impl Way<'_> {
    /// As whose mail a message goes to one of its recipients.
    fn sender(self, envelope: &Envelope, recipient: &Recipient) -> Result<ReversePath, String> {
        let config = &self.context.config;
        let own_sender = envelope.sender_for(recipient);
        match self.from {
            // A report has no sender to be replaced: it must not be answered (RFC 5321 4.5.5).
            Some(from) if own_sender != ReversePath::Null => Ok(ReversePath::Mailbox(from.clone())),
            // Who takes mail by LMTP keeps it.
            _ if self.lmtp => {
                let leaving = &config.rewrite.leaving;
                Ok(leaving.sender(&own_sender, &own_domains(config)))
            }
            _ => srs::sender(self.context, envelope, recipient),
        }
    }
}

/// One letter for all who get the same: members of a list have another sender, and what a ~/.forward sends on says
/// whose it is.
fn deliver(
    connection: &mut Connection<'_>,
    way: Way<'_>,
    claim: &Claim,
    indices: &[usize],
) -> Result<Outcomes, Damaged> {
    let envelope = claim.envelope();
    let mut outcomes = Outcomes::new();
    let mut left = indices.to_vec();
    while let Some(first) = left.first().and_then(|i| envelope.recipients.get(*i)) {
        let sender = way.sender(&envelope, first);
        let differs = |recipient: &Recipient| {
            let of = |r: &Recipient| r.origin.as_ref().and_then(|o| o.through.clone());
            envelope.sender_for(recipient) != envelope.sender_for(first)
                || of(recipient) != of(first)
                || way.sender(&envelope, recipient) != sender
        };
        let (others, same): (Vec<usize>, Vec<usize>) = left
            .iter()
            .partition(|i| envelope.recipients.get(**i).is_none_or(differs));
        let done = match &sender {
            Ok(sender) => deliver_one(connection, way, sender, claim, &same),
            Err(why) => {
                let outcome = Outcome::new(Verdict::Deferred, None, NOT_SET_UP, "", why);
                Ok(all(&same, &outcome))
            }
        };
        match done {
            Ok(some) => outcomes.extend(some),
            // That others have it must not be forgotten; the next attempt will find the damage.
            Err(Damaged) if outcomes.is_empty() => return Err(Damaged),
            Err(Damaged) => break,
        }
        left = others;
    }
    Ok(outcomes)
}

/// One letter.
fn deliver_one(
    connection: &mut Connection<'_>,
    way: Way<'_>,
    sender: &ReversePath,
    claim: &Claim,
    indices: &[usize],
) -> Result<Outcomes, Damaged> {
    let envelope = claim.envelope();
    let (indices, recipients): (Vec<usize>, Vec<&Recipient>) = indices
        .iter()
        .filter_map(|i| envelope.recipients.get(*i).map(|r| (*i, r)))
        .unzip();
    let origin = recipients.first().and_then(|r| r.origin.as_ref());
    let own_sender = recipients
        .first()
        .map_or(ReversePath::Null, |r| envelope.sender_for(r));
    // What the sender asked for, the owner of a list did not.
    let is_senders = own_sender == envelope.sender;
    let through = origin.and_then(|o| o.through.as_ref().filter(|t| t.is_ascii()));
    let config = &way.context.config;
    let (leaving, own) = (&config.rewrite.leaving, own_domains(config));
    // What it leaves as is written into its header, too.
    let beyond = way.from.is_some_and(|from| !from.is_ascii());
    let stamp = through.map(|through| format!("Delivered-To: {through}\r\n"));
    let letter = Letter {
        sender,
        recipients: &recipients,
        facts: Facts {
            size: claim.facts.size + stamp.as_ref().map_or(0, |s| s.len() as u64),
            eight_bit: claim.facts.eight_bit || beyond,
            eight_bit_header: claim.facts.eight_bit_header || beyond,
            ..claim.facts
        },
        requiretls: envelope.requiretls,
        smtputf8: envelope.smtputf8 || sender.mailbox().is_some_and(|m| !m.is_ascii()),
        ret: envelope.ret.filter(|_| is_senders),
        envid: envelope.envid.as_deref().filter(|_| is_senders),
    };
    let change = |header: &mut Header| {
        leaving.header(header, &own);
        if let Some(from) = way.from {
            leave_as(header, &from.to_string());
        }
    };
    let changes = way.from.is_some() || !leaving.is_empty();
    let mut damaged = false;
    let mut source = |take: &mut dyn FnMut(&[u8]) -> io::Result<()>| {
        let message: Box<dyn Read> = if changes {
            Box::new(text::changed(claim, &change)?)
        } else {
            Box::new(claim.message())
        };
        let message = Cursor::new(stamp.clone().unwrap_or_default()).chain(message);
        let copied = text::copy(message, take);
        damaged |= matches!(&copied, Err(e) if e.kind() == io::ErrorKind::InvalidData);
        copied
    };
    let outcomes = connection.deliver(&letter, &mut source, way.seal);
    // Whoever has it already, in an earlier transaction, has it whole: that must not be forgotten.
    if damaged && outcomes.iter().all(|o| o.verdict != Verdict::Delivered) {
        return Err(Damaged);
    }
    Ok(indices.into_iter().zip(outcomes).collect())
}

/// Nothing shared is ever left half-changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
