//! What all connections of a pass share: TLS, the resolver, the signing keys, what was found out about servers, and how
//! many connections there are to each.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::lock;
use super::stations::Place;
use crate::cli::complain;
use crate::flow::Context;
use crate::flow::dialogue::{Dead, Outgoing, Timeouts};
use crate::flow::exchange;
use crate::flow::policies::{Asking, Policies};
use crate::flow::signing::Signers;
use crate::flow::stopping::InHand;
use crate::flow::tlsrpt::Counter;
use crate::host::dns::Dns;
use crate::host::tls;
use crate::proto::address::Domain;
use crate::proto::dane::Tlsa;
use crate::proto::mx::{Host, NoAnswer};
use crate::proto::outcome::Outcome;

/// What all connections of a run share, besides the configuration.
pub struct Shared<'a> {
    pub(super) context: &'a Context,
    pub(super) tls: tls::Clients,
    pub(super) dead: Dead,
    pub(super) dns: Dns,
    pub(super) signers: Signers,
    trace: Box<dyn Fn(&str) + Sync + 'a>,
    /// Servers found to be down in this run, and what was found: with no addresses, at all that it has; with some, at
    /// these, while it answers at others.
    pub(super) down: Mutex<BTreeMap<(Place, Vec<SocketAddr>), Outcome>>,
    /// The TLSA records of names that were asked for.
    pub(super) tlsa: Mutex<BTreeMap<String, Result<Vec<Tlsa>, NoAnswer>>>,
    /// What domains say on their web servers.
    pub(super) policies: Policies,
    /// How TLS with them went.
    pub(super) counter: Counter,
    /// How many connections there are to each host, of this run and of others.
    slots: Arc<Slots>,
    /// How many of them are of this run.
    own: Mutex<BTreeMap<Place, usize>>,
}

/// How many connections there are to each host, in all runs of a process: what the configuration allows is for all.
#[derive(Debug, Default)]
pub struct Slots {
    taken: Mutex<BTreeMap<Place, usize>>,
    /// A connection was closed.
    freed: Condvar,
}

impl<'a> Shared<'a> {
    /// Nothing is made before it is needed.
    pub fn new(context: &'a Context) -> Self {
        Self::beside(context, Arc::default())
    }

    /// The same beside other runs.
    pub fn beside(context: &'a Context, slots: Arc<Slots>) -> Self {
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
            slots,
            own: Mutex::default(),
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
            in_hand: InHand::new(&self.context.stopping),
        }
    }

    /// Whether a smarthost was found to be down.
    pub fn is_blocked(&self) -> bool {
        let down = lock(&self.down);
        down.keys()
            .any(|(place, at)| matches!(place, Place::Smarthost(_)) && at.is_empty())
    }

    /// Forgets who was found to be down.
    pub fn forget(&self) {
        lock(&self.down).clear();
        self.dead.forget();
    }

    /// Waits for what goes on beside the mail, in a process that ends now.
    pub fn settle(&self) {
        self.policies.settle();
    }

    /// The hosts that take mail for a domain.
    ///
    /// # Errors
    /// What becomes of its mail when there are none.
    pub fn hosts(&self, domain: &Domain) -> Result<Vec<Host>, Outcome> {
        exchange::hosts(&self.dns, &self.context.config, domain)
    }

    /// Waits until one more connection to a place may be made. Whoever waits must have no connection himself. `None`: an
    /// older run has all there may be, and may have them for long.
    pub(super) fn slot(&'a self, place: &Place) -> Option<Slot<'a>> {
        let limit = self.context.config.queue.per_destination;
        let mut taken = lock(&self.slots.taken);
        while taken.get(place).is_some_and(|n| *n >= limit) {
            if !lock(&self.own).contains_key(place) {
                return None;
            }
            let freed = self.slots.freed.wait(taken);
            taken = freed.unwrap_or_else(PoisonError::into_inner);
        }
        *taken.entry(place.clone()).or_default() += 1;
        *lock(&self.own).entry(place.clone()).or_default() += 1;
        Some(Slot {
            shared: self,
            place: place.clone(),
        })
    }
}

/// One of the connections that may be made to a host at once.
pub(super) struct Slot<'a> {
    shared: &'a Shared<'a>,
    place: Place,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut taken = lock(&self.shared.slots.taken);
        for counts in [&mut *taken, &mut *lock(&self.shared.own)] {
            if let Some(count) = counts.get_mut(&self.place) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    counts.remove(&self.place);
                }
            }
        }
        self.shared.slots.freed.notify_all();
    }
}
